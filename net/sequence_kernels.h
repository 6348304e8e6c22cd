/* Operators on sequences, for one type (each_type.h). Rows are [n, positions, ...]. A call of `step` is one position:
 * its arrays are [n, ...], its node and shapes those of one position. */

/* ---- embedding: rows of a table ---- */

/* What is no value becomes 0 everywhere; its density is 0 whatever the network says. */
static void NAME(embedding_forward)(const poei_call *call) {
  const REAL *x = call->x[0], *w = call->weights[0];
  size_t count = call->n * call->in[0]->count, width = call->node->shape.count / call->in[0]->count;
  size_t values = w == NULL ? call->node->attributes.size[0] : call->weight_shapes[0]->size[0];
  for (size_t i = 0; i < count; i++) {
    REAL *y = (REAL *)call->y + i * width;
    bool inside = x[i] >= (REAL)0 && x[i] < (REAL)values;
    size_t value = inside ? (size_t)x[i] : 0;
    bool valid = inside && (REAL)value == x[i];
    if (valid && w != NULL) {
      memcpy(y, w + value * width, width * sizeof *y);
    } else {
      memset(y, 0, width * sizeof *y);
      y[value] = valid ? (REAL)1 : (REAL)0;
    }
  }
}

/* Values are numbers without neighbours: there is nothing to pass on. */
static void NAME(embedding_vjp)(const poei_call *call) {
  NAME(start)(call);
}

/* ---- shift ---- */

/* What stands at the first position. */
static void NAME(shift_begin)(const poei_call *call, size_t width, REAL *y) {
  const REAL *w = call->weights[0];
  for (size_t i = 0; i < width; i++) {
    y[i] = w == NULL ? (REAL)call->node->attributes.scale : w[i];
  }
}

static void NAME(shift_forward)(const poei_call *call) {
  size_t count = call->node->shape.count, width = count / call->in[0]->size[0];
  for (size_t r = 0; r < call->n; r++) {
    REAL *y = (REAL *)call->y + r * count;
    NAME(shift_begin)(call, width, y);
    memcpy(y + width, (const REAL *)call->x[0] + r * count, (count - width) * sizeof *y);
  }
}

static void NAME(shift_vjp)(const poei_call *call) {
  size_t count = call->node->shape.count, width = count / call->in[0]->size[0];
  REAL *dx = NAME(start)(call);
  for (size_t r = 0; dx != NULL && r < call->n; r++) {
    for (size_t i = 0; i + width < count; i++) {
      dx[r * count + i] += ((const REAL *)call->dy)[r * count + i + width];
    }
  }
}

/* The input already is that of the position before. */
static void NAME(shift_step)(const poei_call *call) {
  size_t width = call->node->shape.count;
  for (size_t r = 0; call->x[0] == NULL && r < call->n; r++) {
    NAME(shift_begin)(call, width, (REAL *)call->y + r * width);
  }
  if (call->x[0] != NULL) {
    memcpy(call->y, call->x[0], call->n * width * sizeof(REAL));
  }
}

/* ---- recurrent layers ---- */

/* One position of one row of h units: g[gates h] holds W_ih x and becomes the gates, p[gates h] holds W_hh h and is
 * used up; h[h] and c[h] (lstm) are the state, before and after; kept[2 h] (NULL: not wanted) is what the way back
 * wants beside the gates. */
typedef void NAME(recurrent_cell)(size_t h, const REAL *b_ih, const REAL *b_hh, REAL *g, REAL *p, REAL *state, REAL *c,
                                  REAL *kept);
/* Its way back: g becomes the gradient at W_ih x, p that at W_hh h; dh and dc, the gradients after the position, become
 * the shares of the state before it that did not go through W_hh. */
typedef void NAME(recurrent_back)(size_t h, REAL *g, const REAL *kept, REAL *p, REAL *dh, REAL *dc);

/* to[count] += a + b, where they are. */
static inline void NAME(add_two)(size_t count, const REAL *a, const REAL *b, REAL *to) {
  for (size_t i = 0; a != NULL && i < count; i++) {
    to[i] += a[i];
  }
  for (size_t i = 0; b != NULL && i < count; i++) {
    to[i] += b[i];
  }
}

/* g: r, z, n; kept: W_hn h + b_hn, the state before. */
static void NAME(gru_cell)(size_t h, const REAL *b_ih, const REAL *b_hh, REAL *g, REAL *p, REAL *state, REAL *c,
                           REAL *kept) {
  (void)c;
  REAL *n = g + 2 * h;
  NAME(add_two)(3 * h, b_hh, NULL, p);
  NAME(add_two)(3 * h, b_ih, NULL, g);
  NAME(add_two)(2 * h, p, NULL, g);
  ACTIVATE(POEI_SIGMOID, (REAL)0, 1, 2 * h, NULL, 0, 0, g, g, NULL);
  for (size_t i = 0; i < h; i++) {
    n[i] += g[i] * p[2 * h + i];
  }
  ACTIVATE(POEI_TANH, (REAL)0, 1, h, NULL, 0, 0, n, n, NULL);
  if (kept != NULL) {
    memcpy(kept, p + 2 * h, h * sizeof *kept);
    memcpy(kept + h, state, h * sizeof *kept);
  }
  for (size_t i = 0; i < h; i++) {
    state[i] = n[i] + g[h + i] * (state[i] - n[i]);
  }
}

static void NAME(gru_back)(size_t h, REAL *g, const REAL *kept, REAL *p, REAL *dh, REAL *dc) {
  (void)dc;
  for (size_t i = 0; i < h; i++) {
    REAL r = g[i], z = g[h + i], n = g[2 * h + i], d = dh[i];
    REAL dn = d * ((REAL)1 - z) * ((REAL)1 - n * n);
    g[i] = p[i] = dn * kept[i] * r * ((REAL)1 - r);
    g[h + i] = p[h + i] = d * (kept[h + i] - n) * z * ((REAL)1 - z);
    g[2 * h + i] = dn;
    p[2 * h + i] = dn * r;
    dh[i] = d * z;
  }
}

/* g: i, f, g, o; kept: the state c before, tanh of the one after. */
static void NAME(lstm_cell)(size_t h, const REAL *b_ih, const REAL *b_hh, REAL *g, REAL *p, REAL *state, REAL *c,
                            REAL *kept) {
  NAME(add_two)(4 * h, b_ih, b_hh, g);
  NAME(add_two)(4 * h, p, NULL, g);
  ACTIVATE(POEI_SIGMOID, (REAL)0, 1, 2 * h, NULL, 0, 0, g, g, NULL);
  ACTIVATE(POEI_TANH, (REAL)0, 1, h, NULL, 0, 0, g + 2 * h, g + 2 * h, NULL);
  ACTIVATE(POEI_SIGMOID, (REAL)0, 1, h, NULL, 0, 0, g + 3 * h, g + 3 * h, NULL);
  if (kept != NULL) {
    memcpy(kept, c, h * sizeof *kept);
  }
  for (size_t i = 0; i < h; i++) {
    c[i] = g[h + i] * c[i] + g[i] * g[2 * h + i];
  }
  ACTIVATE(POEI_TANH, (REAL)0, 1, h, NULL, 0, 0, c, p, NULL);
  if (kept != NULL) {
    memcpy(kept + h, p, h * sizeof *kept);
  }
  for (size_t i = 0; i < h; i++) {
    state[i] = g[3 * h + i] * p[i];
  }
}

static void NAME(lstm_back)(size_t h, REAL *g, const REAL *kept, REAL *p, REAL *dh, REAL *dc) {
  for (size_t k = 0; k < h; k++) {
    REAL i = g[k], f = g[h + k], c = g[2 * h + k], o = g[3 * h + k], t = kept[h + k];
    REAL d = dc[k] + dh[k] * o * ((REAL)1 - t * t);
    g[k] = d * c * i * ((REAL)1 - i);
    g[h + k] = d * kept[k] * f * ((REAL)1 - f);
    g[2 * h + k] = d * i * ((REAL)1 - c * c);
    g[3 * h + k] = dh[k] * t * o * ((REAL)1 - o);
    dc[k] = d * f;
    dh[k] = (REAL)0;
  }
  memcpy(p, g, 4 * h * sizeof *p);
}

/* One position of all rows: g[n, stride], p[n, gates h], h[n, h], c[n, h] or NULL where the cell has none. */
static void NAME(recurrent_position)(const poei_call *call, NAME(recurrent_cell) * cell, REAL *g, size_t stride,
                                     REAL *p, REAL *h, REAL *c, REAL *kept, size_t kept_stride) {
  size_t rows = call->weight_shapes[1]->size[0], units = call->weight_shapes[1]->size[1];
  (call->steady ? PRODUCT_STEADY : PRODUCT)(call->n, rows, units, h, call->weights[1], p);
  for (size_t r = 0; r < call->n; r++) {
    cell(units, call->weights[2], call->weights[3], g + r * stride, p + r * rows, h + r * units,
         c == NULL ? NULL : c + r * units, kept == NULL ? NULL : kept + r * kept_stride);
  }
}

/* W_ih x of all positions at once, then position after position. The tape has the gates [n, t, gates h], then what the
 * cells keep [n, t, 2 h]; without one the gates are in the working memory behind p, h and c. */
static void NAME(recurrent_forward)(const poei_call *call, NAME(recurrent_cell) * cell) {
  size_t n = call->n, positions = call->in[0]->size[0], in = call->in[0]->count / positions;
  size_t rows = call->weight_shapes[1]->size[0], units = call->weight_shapes[1]->size[1];
  REAL *p = call->work, *h = p + n * rows, *c = h + n * units;
  REAL *gates = call->tape == NULL ? c + n * units : call->tape;
  REAL *kept = call->tape == NULL ? NULL : gates + n * positions * rows;
  PRODUCT(n * positions, rows, in, call->x[0], call->weights[0], gates);
  memset(h, 0, 2 * n * units * sizeof *h);
  for (size_t t = 0; t < positions; t++) {
    NAME(recurrent_position)
    (call, cell, gates + t * rows, positions * rows, p, h, c, kept == NULL ? NULL : kept + t * 2 * units,
     positions * 2 * units);
    for (size_t r = 0; r < n; r++) {
      memcpy((REAL *)call->y + (r * positions + t) * units, h + r * units, units * sizeof *h);
    }
  }
}

static void NAME(recurrent_vjp)(const poei_call *call, NAME(recurrent_back) * back) {
  size_t n = call->n, positions = call->in[0]->size[0], in = call->in[0]->count / positions;
  size_t rows = call->weight_shapes[1]->size[0], units = call->weight_shapes[1]->size[1];
  REAL *gates = call->tape, *kept = gates + n * positions * rows;
  REAL *p = call->work, *dh = p + n * rows, *dc = dh + n * units;
  memset(dh, 0, 2 * n * units * sizeof *dh);
  for (size_t t = positions; t-- > 0;) {
    for (size_t r = 0; r < n; r++) {
      size_t at = r * positions + t;
      NAME(add_two)(units, (const REAL *)call->dy + at * units, NULL, dh + r * units);
      back(units, gates + at * rows, kept + at * 2 * units, p + r * rows, dh + r * units, dc + r * units);
    }
    PRODUCT_BACK(n, rows, units, p, call->weights[1], true, dh);
  }
  if (call->dx[0] != NULL) {
    PRODUCT_BACK(n * positions, rows, in, gates, call->weights[0], call->accumulate[0], call->dx[0]);
  }
}

/* The state is h[n, h], then c[n, h] for cells that have it. */
static void NAME(recurrent_step)(const poei_call *call, NAME(recurrent_cell) * cell) {
  size_t n = call->n, rows = call->weight_shapes[1]->size[0], units = call->weight_shapes[1]->size[1];
  REAL *h = call->state, *p = call->work, *gates = p + n * rows;
  (call->steady ? PRODUCT_STEADY : PRODUCT)(n, rows, call->in[0]->count, call->x[0], call->weights[0], gates);
  NAME(recurrent_position)(call, cell, gates, rows, p, h, rows == 4 * units ? h + n * units : NULL, NULL, 0);
  memcpy(call->y, h, n * units * sizeof *h);
}

static void NAME(gru_forward)(const poei_call *call) {
  NAME(recurrent_forward)(call, NAME(gru_cell));
}

static void NAME(gru_vjp)(const poei_call *call) {
  NAME(recurrent_vjp)(call, NAME(gru_back));
}

static void NAME(gru_step)(const poei_call *call) {
  NAME(recurrent_step)(call, NAME(gru_cell));
}

static void NAME(lstm_forward)(const poei_call *call) {
  NAME(recurrent_forward)(call, NAME(lstm_cell));
}

static void NAME(lstm_vjp)(const poei_call *call) {
  NAME(recurrent_vjp)(call, NAME(lstm_back));
}

static void NAME(lstm_step)(const poei_call *call) {
  NAME(recurrent_step)(call, NAME(lstm_cell));
}

/* ---- NADE ---- */

/* y[n, p] (a row every `stride`) of position d from a[n, h]; f[n, h] and flat[n, p] are work space; slope[n, h] (a row
 * every slope_stride; NULL: not wanted) f'(a). */
static void NAME(nade_position)(const poei_call *call, size_t d, const REAL *a, REAL *f, REAL *flat, REAL *y,
                                size_t stride, REAL *slope, size_t slope_stride) {
  const poei_attributes *attributes = &call->node->attributes;
  size_t n = call->n, units = call->weight_shapes[3]->count, each = call->weight_shapes[2]->count;
  size_t p = each / call->weight_shapes[0]->size[0];
  const REAL *v = (const REAL *)call->weights[1] + d * p * units, *b = (const REAL *)call->weights[2] + d * p;
  for (size_t r = 0; r < n; r++) {
    ACTIVATE(attributes->activation, (REAL)attributes->parameter, 1, units, NULL, 0, 0, a + r * units, f + r * units,
             slope == NULL ? NULL : slope + r * slope_stride);
  }
  (call->steady ? PRODUCT_STEADY : PRODUCT)(n, p, units, f, v, flat);
  for (size_t r = 0; r < n; r++) {
    for (size_t i = 0; i < p; i++) {
      y[r * stride + i] = flat[r * p + i] + b[i];
    }
  }
}

/* a[n, h] += x_d W_d, x_d a number every `stride`. */
static void NAME(nade_take)(const poei_call *call, size_t d, const REAL *x, size_t stride, REAL *a) {
  size_t units = call->weight_shapes[3]->count;
  const REAL *w = (const REAL *)call->weights[0] + d * units;
  for (size_t r = 0; r < call->n; r++) {
    REAL number = x[r * stride];
    for (size_t i = 0; number != (REAL)0 && i < units; i++) {
      a[r * units + i] += number * w[i];
    }
  }
}

static void NAME(nade_begin)(const poei_call *call, REAL *a) {
  size_t units = call->weight_shapes[3]->count;
  for (size_t r = 0; r < call->n; r++) {
    memcpy(a + r * units, call->weights[3], units * sizeof *a);
  }
}

/* Position by position, all rows at once: each row of W and V is read once. */
static void NAME(nade_forward)(const poei_call *call) {
  size_t n = call->n, units = call->weight_shapes[3]->count, positions = call->in[0]->count;
  size_t p = call->node->shape.count / positions;
  REAL *a = call->work, *f = a + n * units, *flat = f + n * units, *slope = call->tape;
  NAME(nade_begin)(call, a);
  for (size_t d = 0; d < positions; d++) {
    NAME(nade_position)
    (call, d, a, f, flat, (REAL *)call->y + d * p, positions * p, slope == NULL ? NULL : slope + d * units,
     positions * units);
    NAME(nade_take)(call, d, (const REAL *)call->x[0] + d, positions, a);
  }
}

/* da, the gradient at a_d, grows from the last position to the first: x_d is in all that follow. */
static void NAME(nade_vjp)(const poei_call *call) {
  size_t n = call->n, units = call->weight_shapes[3]->count, positions = call->in[0]->count;
  size_t p = call->node->shape.count / positions;
  REAL *da = call->work, *df = da + n * units, *flat = df + n * units, *dx = NAME(start)(call);
  memset(da, 0, n * units * sizeof *da);
  for (size_t d = positions; dx != NULL && d-- > 0;) {
    const REAL *v = (const REAL *)call->weights[1] + d * p * units, *w = (const REAL *)call->weights[0] + d * units;
    for (size_t r = 0; r < n; r++) {
      memcpy(flat + r * p, (const REAL *)call->dy + (r * positions + d) * p, p * sizeof *flat);
    }
    PRODUCT_BACK(n, p, units, flat, v, false, df);
    for (size_t r = 0; r < n; r++) {
      const REAL *slope = (const REAL *)call->tape + (r * positions + d) * units;
      REAL sum = (REAL)0;
      for (size_t i = 0; i < units; i++) {
        sum += da[r * units + i] * w[i];
        da[r * units + i] += df[r * units + i] * slope[i];
      }
      dx[r * positions + d] += sum;
    }
  }
}

static void NAME(nade_step)(const poei_call *call) {
  size_t n = call->n, units = call->weight_shapes[3]->count, p = call->node->shape.count;
  REAL *a = call->state, *f = call->work, *flat = f + n * units;
  if (call->position == 0) {
    NAME(nade_begin)(call, a);
  } else {
    NAME(nade_take)(call, call->position - 1, call->x[0], 1, a);
  }
  NAME(nade_position)(call, call->position, a, f, flat, call->y, p, NULL, 0);
}
