/* Operators on vectors, for one type (each_type.h). */

/* y = f(x w' + b), the numbers of a row in blocks of `in` where the weight is for the last axis. The product lands on
 * the tape when there is one, and the activation's pass moves it to y and leaves its derivative behind. An energy's
 * last layer is summed in double and stays so. */
static void NAME(linear_forward)(const poei_call *call) {
  const poei_attributes *attributes = &call->node->attributes;
  size_t out = call->weight_shapes[0]->size[0], in = call->weight_shapes[0]->size[1];
  size_t rows = call->n * (call->node->shape.count / out);
  const REAL *w = call->weights[0], *b = call->weights[1];
  if (call->head != NULL) {
    PRODUCT_HEAD(rows, out, in, call->x[0], w, b, call->head);
    if (attributes->activation != POEI_IDENTITY) {
      double slope[64]; /* the activation in double; its slope goes to the tape in the type */
      REAL *tape = call->tape;
      size_t count = rows * out;
      for (size_t i = 0; i < count; i += 64) {
        size_t m = count - i < 64 ? count - i : 64;
        poei_activate_double(attributes->activation, attributes->parameter, 1, m, NULL, 0, 0, call->head + i,
                             call->head + i, slope);
        for (size_t k = 0; k < m && tape != NULL; k++) {
          tape[i + k] = (REAL)slope[k];
        }
      }
    }
    return;
  }
  REAL *z = call->tape != NULL ? call->tape : call->y;
  (call->steady ? PRODUCT_STEADY : PRODUCT)(rows, out, in, call->x[0], w, z);
  if (attributes->activation != POEI_IDENTITY || b != NULL) {
    ACTIVATE(attributes->activation, (REAL)attributes->parameter, rows, out, b, 0, 1, z, call->y, call->tape);
  }
}

static void NAME(linear_vjp)(const poei_call *call) {
  if (call->node->attributes.activation != POEI_IDENTITY) {
    NAME(through_activation)(call);
  }
  if (call->dx[0] != NULL) {
    size_t out = call->weight_shapes[0]->size[0], in = call->weight_shapes[0]->size[1];
    PRODUCT_BACK(call->n * (call->node->shape.count / out), out, in, call->dy, call->weights[0], call->accumulate[0],
                 call->dx[0]);
  }
}

static void NAME(activation_forward)(const poei_call *call) {
  const poei_attributes *attributes = &call->node->attributes;
  ACTIVATE(attributes->activation, (REAL)attributes->parameter, call->n, call->node->shape.count, NULL, 0, 0,
           call->x[0], call->y, call->tape);
}

static void NAME(activation_vjp)(const poei_call *call) {
  NAME(through_activation)(call);
  NAME(give)(call, 0, (REAL)1, call->dy);
}

static void NAME(affine_forward)(const poei_call *call) {
  const REAL *x = call->x[0];
  REAL *y = call->y;
  REAL scale = (REAL)call->node->attributes.scale, shift = (REAL)call->node->attributes.shift;
  size_t count = call->n * call->node->shape.count;
  for (size_t i = 0; i < count; i++) {
    y[i] = scale * x[i] + shift;
  }
}

static void NAME(affine_vjp)(const poei_call *call) {
  NAME(give)(call, 0, (REAL)call->node->attributes.scale, call->dy);
}

static void NAME(add_forward)(const poei_call *call) {
  const REAL *a = call->x[0], *b = call->x[1];
  REAL *y = call->y;
  size_t count = call->n * call->node->shape.count;
  for (size_t i = 0; i < count; i++) {
    y[i] = a[i] + b[i];
  }
}

static void NAME(add_vjp)(const poei_call *call) {
  NAME(give)(call, 0, (REAL)1, call->dy);
  NAME(give)(call, 1, (REAL)1, call->dy);
}
