/* Operators on vectors, for one type. Included by ops.c with REAL, NAME(x) and the functions of the type: PRODUCT,
 * PRODUCT_BACK, PRODUCT_HEAD, ACTIVATE. All arrays are [n, count], contiguous; see poei_call for their meaning.
 */

/* dz = dy * f'(z): in place on dy, with the derivative that the forward pass left on the tape. */
static void NAME(through_activation)(const poei_call *call) {
  const REAL *slope = call->tape;
  REAL *dy = call->dy;
  size_t count = call->n * call->node->shape.count;
  for (size_t i = 0; i < count; i++) {
    dy[i] *= slope[i];
  }
}

/* Sets or adds `scale * from` to the wanted gradient of input i. */
static void NAME(give)(const poei_call *call, size_t i, REAL scale, const REAL *from) {
  REAL *dx = call->dx[i];
  size_t count = call->n * call->in[i]->count;
  if (dx == NULL) {
    return;
  }
  if (call->accumulate[i]) {
    for (size_t k = 0; k < count; k++) {
      dx[k] += scale * from[k];
    }
  } else {
    for (size_t k = 0; k < count; k++) {
      dx[k] = scale * from[k];
    }
  }
}

/* y = f(x w' + b). The product lands on the tape when there is one, and the activation's pass moves it to y and leaves
 * its derivative behind. An energy's last layer is summed in double and stays so. */
static void NAME(linear_forward)(const poei_call *call) {
  const poei_attributes *attributes = &call->node->attributes;
  size_t out = call->node->shape.count, in = call->in[0]->count;
  const REAL *w = call->weights[0], *b = call->weights[1];
  if (call->head != NULL) {
    PRODUCT_HEAD(call->n, out, in, call->x[0], w, b, call->head);
    if (attributes->activation != POEI_IDENTITY) {
      double slope[64]; /* the activation in double; its slope goes to the tape in the type */
      REAL *tape = call->tape;
      size_t count = call->n * out;
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
  PRODUCT(call->n, out, in, call->x[0], w, z);
  if (attributes->activation != POEI_IDENTITY || b != NULL) {
    ACTIVATE(attributes->activation, (REAL)attributes->parameter, call->n, out, b, 0, 1, z, call->y, call->tape);
  }
}

static void NAME(linear_vjp)(const poei_call *call) {
  if (call->node->attributes.activation != POEI_IDENTITY) {
    NAME(through_activation)(call);
  }
  if (call->dx[0] != NULL) {
    PRODUCT_BACK(call->n, call->node->shape.count, call->in[0]->count, call->dy, call->weights[0], call->accumulate[0],
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

/* Per group of m numbers: h = (x - mean) / sqrt(var + eps), y = h w + b. The tape keeps h of all groups of a row, then
 * 1 / sqrt(var + eps) of each. Sums in double: m may be large and the numbers far from 0. */
static void NAME(layer_norm_forward)(const poei_call *call) {
  size_t count = call->node->shape.count, m = call->weight_shapes[0]->count, groups = count / m;
  const REAL *w = call->weights[0], *b = call->weights[1];
  for (size_t r = 0; r < call->n; r++) {
    REAL *kept = call->tape == NULL ? NULL : (REAL *)call->tape + r * (count + groups);
    for (size_t g = 0; g < groups; g++) {
      const REAL *x = (const REAL *)call->x[0] + r * count + g * m;
      REAL *y = (REAL *)call->y + r * count + g * m;
      double mean = 0.0, square = 0.0;
      for (size_t i = 0; i < m; i++) {
        mean += (double)x[i];
      }
      mean /= (double)m;
      for (size_t i = 0; i < m; i++) {
        square += ((double)x[i] - mean) * ((double)x[i] - mean);
      }
      double inverse = 1.0 / sqrt(square / (double)m + call->node->attributes.eps);
      for (size_t i = 0; i < m; i++) {
        REAL h = (REAL)(((double)x[i] - mean) * inverse);
        y[i] = h * w[i] + (b == NULL ? (REAL)0 : b[i]);
        if (kept != NULL) {
          kept[g * m + i] = h;
        }
      }
      if (kept != NULL) {
        kept[count + g] = (REAL)inverse;
      }
    }
  }
}

/* With e = dy w: dx = inverse (e - mean(e) - h mean(e h)). */
static void NAME(layer_norm_vjp)(const poei_call *call) {
  size_t count = call->node->shape.count, m = call->weight_shapes[0]->count, groups = count / m;
  const REAL *w = call->weights[0];
  for (size_t r = 0; r < call->n; r++) {
    const REAL *kept = (const REAL *)call->tape + r * (count + groups);
    for (size_t g = 0; g < groups; g++) {
      const REAL *h = kept + g * m;
      REAL *e = (REAL *)call->dy + r * count + g * m;
      double mean = 0.0, along = 0.0;
      for (size_t i = 0; i < m; i++) {
        e[i] *= w[i];
        mean += (double)e[i];
        along += (double)e[i] * (double)h[i];
      }
      mean /= (double)m;
      along /= (double)m;
      for (size_t i = 0; i < m; i++) {
        e[i] = (REAL)((double)kept[count + g] * ((double)e[i] - mean - (double)h[i] * along));
      }
    }
  }
  NAME(give)(call, 0, (REAL)1, call->dy);
}
