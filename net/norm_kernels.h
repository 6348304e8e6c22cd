/* Normalising operators, for one type (each_type.h). Sums are in double: groups may be large and their numbers far from
 * 0. */

/* h[m] = (x - mean) / sqrt(var + eps) of one group, var with 1/m; returns 1 / sqrt(var + eps). */
static double NAME(normalise)(size_t m, const REAL *x, double eps, REAL *h) {
  double mean = 0.0, square = 0.0;
  for (size_t i = 0; i < m; i++) {
    mean += (double)x[i];
  }
  mean /= (double)m;
  for (size_t i = 0; i < m; i++) {
    square += ((double)x[i] - mean) * ((double)x[i] - mean);
  }
  double inverse = 1.0 / sqrt(square / (double)m + eps);
  for (size_t i = 0; i < m; i++) {
    h[i] = (REAL)(((double)x[i] - mean) * inverse);
  }
  return inverse;
}

/* Its adjoint, in place: e[m] becomes inverse (e - mean(e) - h mean(e h)). */
static void NAME(normalise_back)(size_t m, const REAL *h, double inverse, REAL *e) {
  double mean = 0.0, along = 0.0;
  for (size_t i = 0; i < m; i++) {
    mean += (double)e[i];
    along += (double)e[i] * (double)h[i];
  }
  mean /= (double)m;
  along /= (double)m;
  for (size_t i = 0; i < m; i++) {
    e[i] = (REAL)(inverse * ((double)e[i] - mean - (double)h[i] * along));
  }
}

/* Per group of m numbers y = h w + b. The tape keeps h of all groups of a row, then 1 / sqrt(var + eps) of each. */
static void NAME(layer_norm_forward)(const poei_call *call) {
  size_t count = call->node->shape.count, m = call->weight_shapes[0]->count, groups = count / m;
  const REAL *w = call->weights[0], *b = call->weights[1];
  for (size_t r = 0; r < call->n; r++) {
    REAL *kept = call->tape == NULL ? NULL : (REAL *)call->tape + r * (count + groups);
    for (size_t g = 0; g < groups; g++) {
      REAL *y = (REAL *)call->y + r * count + g * m, *h = kept == NULL ? y : kept + g * m;
      double inverse = NAME(normalise)(m, (const REAL *)call->x[0] + r * count + g * m, call->node->attributes.eps, h);
      for (size_t i = 0; i < m; i++) {
        y[i] = h[i] * w[i] + (b == NULL ? (REAL)0 : b[i]);
      }
      if (kept != NULL) {
        kept[count + g] = (REAL)inverse;
      }
    }
  }
}

static void NAME(layer_norm_vjp)(const poei_call *call) {
  size_t count = call->node->shape.count, m = call->weight_shapes[0]->count, groups = count / m;
  const REAL *w = call->weights[0];
  for (size_t r = 0; r < call->n; r++) {
    const REAL *kept = (const REAL *)call->tape + r * (count + groups);
    for (size_t g = 0; g < groups; g++) {
      REAL *e = (REAL *)call->dy + r * count + g * m;
      for (size_t i = 0; i < m; i++) {
        e[i] *= w[i];
      }
      NAME(normalise_back)(m, kept + g * m, (double)kept[count + g], e);
    }
  }
  NAME(give)(call, 0, (REAL)1, call->dy);
}

/* y[c, k] = x[c, k] w[c] + b[c] for one row, in place allowed; w or b NULL: left out. */
static void NAME(by_channel)(size_t channels, size_t each, const REAL *x, const REAL *w, const REAL *b, REAL *y) {
  for (size_t c = 0; c < channels; c++) {
    REAL scale = w == NULL ? (REAL)1 : w[c], shift = b == NULL ? (REAL)0 : b[c];
    for (size_t k = c * each; k < (c + 1) * each; k++) {
      y[k] = x[k] * scale + shift;
    }
  }
}

/* As layer_norm, over groups of neighbouring channels, with one weight and bias per channel. */
static void NAME(group_norm_forward)(const poei_call *call) {
  size_t count = call->node->shape.count, groups = call->node->attributes.groups, m = count / groups;
  size_t channels = call->in[0]->size[0];
  for (size_t r = 0; r < call->n; r++) {
    REAL *y = (REAL *)call->y + r * count;
    REAL *kept = call->tape == NULL ? NULL : (REAL *)call->tape + r * (count + groups), *h = kept == NULL ? y : kept;
    for (size_t g = 0; g < groups; g++) {
      double inverse =
          NAME(normalise)(m, (const REAL *)call->x[0] + r * count + g * m, call->node->attributes.eps, h + g * m);
      if (kept != NULL) {
        kept[count + g] = (REAL)inverse;
      }
    }
    NAME(by_channel)(channels, count / channels, h, call->weights[0], call->weights[1], y);
  }
}

static void NAME(group_norm_vjp)(const poei_call *call) {
  size_t count = call->node->shape.count, groups = call->node->attributes.groups, m = count / groups;
  size_t channels = call->in[0]->size[0];
  for (size_t r = 0; r < call->n; r++) {
    const REAL *kept = (const REAL *)call->tape + r * (count + groups);
    REAL *e = (REAL *)call->dy + r * count;
    if (call->weights[0] != NULL) {
      NAME(by_channel)(channels, count / channels, e, call->weights[0], NULL, e);
    }
    for (size_t g = 0; g < groups; g++) {
      NAME(normalise_back)(m, kept + g * m, (double)kept[count + g], e + g * m);
    }
  }
  NAME(give)(call, 0, (REAL)1, call->dy);
}

static void NAME(channel_affine_forward)(const poei_call *call) {
  size_t count = call->node->shape.count, channels = call->in[0]->size[0];
  for (size_t r = 0; r < call->n; r++) {
    NAME(by_channel)
    (channels, count / channels, (const REAL *)call->x[0] + r * count, call->weights[0], call->weights[1],
     (REAL *)call->y + r * count);
  }
}

static void NAME(channel_affine_vjp)(const poei_call *call) {
  size_t count = call->node->shape.count, channels = call->in[0]->size[0];
  for (size_t r = 0; r < call->n; r++) {
    REAL *e = (REAL *)call->dy + r * count;
    NAME(by_channel)(channels, count / channels, e, call->weights[0], NULL, e);
  }
  NAME(give)(call, 0, (REAL)1, call->dy);
}
