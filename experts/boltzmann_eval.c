/* Layered Boltzmann machines: values, gradients and one-hot gradients of a tile of rows.
 *
 * One hidden layer: log p(v) = bias . v + sum_j log(1 + e^a_j), a = c + v'W (minus the free energy; Hinton 2012, "A
 * practical guide to training restricted Boltzmann machines", equation 25); with Gaussian visible units the first term
 * is -sum (v - bias)^2 / (2 sd^2) and a = c + (v / sd^2)'W (Cho, Ilin and Raiko 2011, "Improved learning of
 * Gaussian-Bernoulli restricted Boltzmann machines", equation 1). More hidden layers (Salakhutdinov and Hinton 2009,
 * "Deep Boltzmann machines", equation 9): log p(v) = bias . v + F(a) with F(a) = log sum over the states of
 * layer 1 of exp(h . a) times a table of the layers above, or over the states of layer 2 with layer 1 as above.
 * In all of them the gradient of F is the mean of layer 1, so grad log p = bias + W mean (or its Gaussian counterpart).
 *
 * Fields of binary units add up without rounding (boltzmann.c), sums go row by row: a row of a binary machine has the
 * same bits in any tile.
 */
#include <stdio.h>
#include <string.h>

#include "core/numerics.h"
#include "experts/boltzmann.h"
#include "experts/family.h"
#include "net/product.h"

enum { LANES = 8, BLOCK = 512 };

/* log(1 + e^a) = max(a, 0) + log(1 + e^-|a|); the latter's arguments lie in [1, 2], so 512 of them multiply without
 * overflow and share one logarithm. */
double poei_softplus_sum(size_t n, const double *a, double *e) {
  for (size_t j = 0; j < n; j++) {
    e[j] = -fabs(a[j]);
  }
  poei_vexp(e, e, n);
  double sum = 0.0;
  for (size_t first = 0; first < n; first += BLOCK) {
    size_t count = n - first < BLOCK ? n - first : BLOCK, whole = count - count % LANES;
    const double *x = a + first, *y = e + first;
    double linear[LANES] = {0}, product[LANES] = {1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0};
    for (size_t j = 0; j < whole; j += LANES) {
      for (size_t l = 0; l < LANES; l++) {
        linear[l] += x[j + l] > 0.0 ? x[j + l] : 0.0;
        product[l] *= 1.0 + y[j + l];
      }
    }
    for (size_t j = whole; j < count; j++) {
      linear[j - whole] += x[j] > 0.0 ? x[j] : 0.0;
      product[j - whole] *= 1.0 + y[j];
    }
    for (size_t half = LANES / 2; half > 0; half /= 2) {
      for (size_t l = 0; l < half; l++) {
        linear[l] += linear[l + half];
        product[l] *= product[l + half];
      }
    }
    sum += linear[0] + log(product[0]);
  }
  return sum;
}

/* mean[n] of binary units with fields a[n]; e = exp(-|a|). */
static void sigmoids(size_t n, const double *a, const double *e, double *mean) {
  for (size_t j = 0; j < n; j++) {
    mean[j] = (a[j] >= 0.0 ? 1.0 : e[j]) / (1.0 + e[j]);
  }
}

/* ---- the hidden units summed out ---- */

static void sum_closed(const poei_boltzmann *m, size_t n, const double *a, double *value, double *mean,
                       poe_scratch *scratch) {
  size_t h = m->size[1];
  double *e = poe_scratch_doubles(scratch, h);
  for (size_t i = 0; i < n; i++) {
    value[i] = poei_softplus_sum(h, a + i * h, e);
    if (mean != NULL) {
      sigmoids(h, a + i * h, e, mean + i * h);
    }
  }
}

/* p[2^h] = probabilities of the states, up to a factor; folds halves: mean[j] is what the upper half of bit j holds. */
static void fold_means(size_t h, double *p, double *mean) {
  for (size_t j = h; j-- > 0;) {
    size_t half = (size_t)1 << j;
    double upper = 0.0;
    for (size_t s = 0; s < half; s++) {
      upper += p[half + s];
      p[s] += p[half + s];
    }
    mean[j] = upper;
  }
  for (size_t j = 0; j < h; j++) {
    mean[j] /= p[0];
  }
}

/* Over the states of layer 1. The table holds their bias, which a holds too. */
static void sum_first(const poei_boltzmann *m, size_t n, const double *a, double *value, double *mean,
                      poe_scratch *scratch) {
  size_t h = m->size[1], states = (size_t)1 << h;
  const double *bias = m->bias + m->start[1];
  double *s = poe_scratch_doubles(scratch, states);
  for (size_t i = 0; i < n; i++) {
    s[0] = 0.0;
    for (size_t j = 0; j < h; j++) { /* sums of every subset of the fields, by doubling */
      double field = a[i * h + j] - bias[j];
      size_t half = (size_t)1 << j;
      for (size_t k = 0; k < half; k++) {
        s[half + k] = s[k] + field;
      }
    }
    for (size_t k = 0; k < states; k++) {
      s[k] += m->table[k];
    }
    value[i] = poei_log_sum_exp(s, states, 1);
    if (mean != NULL) {
      for (size_t k = 0; k < states; k++) {
        s[k] -= value[i];
      }
      poei_vexp(s, s, states);
      fold_means(h, s, mean + i * h);
    }
  }
}

/* Adds one state's term e^term to a running log-sum-exp (top, total), and its means to the running mean[h]. */
static void take_term(size_t h, double term, const double *means, double *top, double *total, double *mean) {
  double weight = 1.0, keep = 1.0;
  if (term > *top) {
    keep = exp(*top - term);
    *top = term;
  } else {
    weight = exp(term - *top);
  }
  *total = *total * keep + weight;
  for (size_t j = 0; mean != NULL && j < h; j++) {
    mean[j] = mean[j] * keep + weight * means[j];
  }
}

enum { LOW_BITS = 6 };

/* Over the states of layer 2, a block of 64 at a time: their couplings to layer 1 are those of the low bits (a table)
 * plus those of the high ones. */
static void sum_second(const poei_boltzmann *m, size_t n, const double *a, double *value, double *mean,
                       poe_scratch *scratch) {
  size_t h = m->size[1], k = m->size[2], low_bits = k < LOW_BITS ? k : LOW_BITS, block = (size_t)1 << low_bits;
  double *low = poe_scratch_doubles(scratch, block * h), *high = poe_scratch_doubles(scratch, h);
  double *field = poe_scratch_doubles(scratch, h), *e = poe_scratch_doubles(scratch, h);
  double *total = poe_scratch_doubles(scratch, n);
  memset(low, 0, h * sizeof *low);
  for (size_t bit = 0; bit < low_bits; bit++) {
    const double *row = m->weight_t[1] + bit * h;
    for (size_t s = 0; s < (size_t)1 << bit; s++) {
      for (size_t j = 0; j < h; j++) {
        low[(s + ((size_t)1 << bit)) * h + j] = low[s * h + j] + row[j];
      }
    }
  }
  for (size_t i = 0; i < n; i++) {
    value[i] = -INFINITY;
    total[i] = 0.0;
  }
  if (mean != NULL) {
    memset(mean, 0, n * h * sizeof *mean);
  }
  for (size_t first = 0; first < (size_t)1 << k; first += block) {
    memset(high, 0, h * sizeof *high);
    for (size_t bit = low_bits; bit < k; bit++) {
      const double *row = m->weight_t[1] + bit * h;
      for (size_t j = 0; (first >> bit & 1) != 0 && j < h; j++) {
        high[j] += row[j];
      }
    }
    for (size_t i = 0; i < n; i++) {
      for (size_t s = 0; s < block; s++) {
        for (size_t j = 0; j < h; j++) {
          field[j] = a[i * h + j] + (high[j] + low[s * h + j]);
        }
        double term = m->table[first + s] + poei_softplus_sum(h, field, e);
        if (mean != NULL) {
          sigmoids(h, field, e, e);
        }
        take_term(h, term, e, &value[i], &total[i], mean == NULL ? NULL : mean + i * h);
      }
    }
  }
  for (size_t i = 0; i < n; i++) {
    value[i] += log(total[i]);
    for (size_t j = 0; mean != NULL && j < h; j++) {
      mean[i * h + j] /= total[i];
    }
  }
}

void poei_boltzmann_sum_out(const poei_boltzmann *m, size_t n, const double *a, double *value, double *mean,
                            poe_scratch *scratch) {
  size_t mark = poe_scratch_mark(scratch);
  if (m->sum == POEI_BOLTZMANN_CLOSED) {
    sum_closed(m, n, a, value, mean, scratch);
  } else if (m->sum == POEI_BOLTZMANN_FIRST) {
    sum_first(m, n, a, value, mean, scratch);
  } else {
    sum_second(m, n, a, value, mean, scratch);
  }
  poe_scratch_release(scratch, mark);
}

size_t poei_boltzmann_sum_scratch(const poei_boltzmann *m, size_t n) {
  size_t h = m->size[1], number = sizeof(double);
  if (m->sum == POEI_BOLTZMANN_CLOSED) {
    return poe_scratch_need(h, number);
  }
  if (m->sum == POEI_BOLTZMANN_FIRST) {
    return poe_scratch_need((size_t)1 << h, number);
  }
  size_t block = (size_t)1 << (m->size[2] < LOW_BITS ? m->size[2] : LOW_BITS);
  return poe_scratch_need(block * h, number) + 3 * poe_scratch_need(h, number) + poe_scratch_need(n, number);
}

/* ---- rows ---- */

/* What is outside the support, or overflowed on the way there: -inf, but NaN for a row that has one. */
static double nowhere(const poei_boltzmann *m, const double *x) {
  for (size_t j = 0; j < m->dim; j++) {
    if (isnan(x[j])) {
      return NAN;
    }
  }
  return -INFINITY;
}

/* The term of the visible layer alone; not finite when the row x[dim] as a whole is not in the support. */
static double visible_value(const poei_boltzmann *m, const double *x) {
  size_t others = 0;
  for (size_t j = m->scale == NULL ? 0 : m->size[0]; j < m->dim; j++) {
    others += (size_t)(x[j] != 0.0) & (size_t)(x[j] != 1.0);
  }
  if (others > 0) {
    return nowhere(m, x);
  }
  if (m->scale == NULL) {
    return poei_dot(m->size[0], m->bias, x);
  }
  double square = poei_scaled_square(m->size[0], x, m->bias, m->scale);
  return isfinite(square) ? -square / 2.0 : nowhere(m, x);
}

/* Layer `layer` of n rows, contiguous. */
static void gather(const poei_boltzmann *m, poe_rows rows, size_t layer, double *x) {
  for (size_t i = 0; i < rows.n; i++) {
    memcpy(x + i * m->size[layer], rows.x + i * rows.ld + m->start[layer], m->size[layer] * sizeof *x);
  }
}

/* field[n, size 1] = bias + x weight_0 of visible rows; x[n, size 0] is for the work. */
static void first_fields(const poei_boltzmann *m, poe_rows rows, double *x, double *field) {
  size_t h = m->size[1];
  gather(m, rows, 0, x);
  poei_product_double(rows.n, h, m->size[0], x, m->weight_t[0], field);
  for (size_t i = 0; i < rows.n; i++) {
    for (size_t j = 0; j < h; j++) {
      field[i * h + j] += m->bias[m->start[1] + j];
    }
  }
}

static size_t widest(const poei_boltzmann *m) {
  size_t most = 0;
  for (size_t l = 0; l < m->layers; l++) {
    most = m->size[l] > most ? m->size[l] : most;
  }
  return most;
}

size_t poei_boltzmann_scratch(const void *self, unsigned want, size_t n) {
  const poei_boltzmann *m = self;
  size_t number = sizeof(double);
  if ((want & POE_WANT_SAMPLE) != 0) {
    return 2 * poe_scratch_need(m->units, number);
  }
  bool slopes = (want & (POE_WANT_GRAD | POE_WANT_ONEHOT)) != 0;
  if (m->joint) {
    return (slopes ? 3 : 2) * poe_scratch_need(n * widest(m), number) + poe_scratch_need(n, number);
  }
  size_t visible = poe_scratch_need(n * m->size[0], number), hidden = poe_scratch_need(n * m->size[1], number);
  size_t bytes = m->sum == POEI_BOLTZMANN_NONE ? 0 : poei_boltzmann_sum_scratch(m, n);
  return bytes + visible + poe_scratch_need(n, number) + (slopes ? 2 : 1) * hidden;
}

/* Adds the gradient with respect to Gaussian visible units: slope[n, size 0] of the rest and that of the square. */
static void add_gradient(const poei_boltzmann *m, poe_rows rows, poe_weights weights, const double *value,
                         const double *slope, poe_accum out) {
  size_t v = m->size[0];
  for (size_t i = 0; i < rows.n; i++) {
    double w = weights.w[i * weights.inc];
    const double *x = rows.x + i * rows.ld;
    for (size_t k = 0; isfinite(value[i]) && k < v; k++) {
      out.grad[i * out.ldg + k] += w * (slope[i * v + k] - (x[k] - m->bias[k]) * m->scale[k] * m->scale[k]);
    }
  }
}

/* value[n] of rows over the visible units; mean[n, size 1] (NULL: unwanted). x[n, size 0] is for the work. */
static void marginal_values(const poei_boltzmann *m, poe_rows rows, double *x, double *value, double *mean,
                            poe_scratch *scratch) {
  size_t mark = poe_scratch_mark(scratch);
  double *field = poe_scratch_doubles(scratch, rows.n * m->size[1]);
  first_fields(m, rows, x, field);
  poei_boltzmann_sum_out(m, rows.n, field, value, mean, scratch);
  for (size_t i = 0; i < rows.n; i++) {
    double visible = visible_value(m, rows.x + i * rows.ld);
    value[i] = isfinite(visible) ? visible + value[i] : visible;
  }
  poe_scratch_release(scratch, mark);
}

/* value[n] of rows over all units; x, field [n, widest] are for the work. */
static void joint_values(const poei_boltzmann *m, poe_rows rows, double *x, double *field, double *value) {
  for (size_t i = 0; i < rows.n; i++) {
    value[i] = visible_value(m, rows.x + i * rows.ld);
  }
  for (size_t l = 0; l + 1 < m->layers; l++) {
    size_t above = m->size[l + 1];
    gather(m, rows, l, x);
    poei_product_double(rows.n, above, m->size[l], x, m->weight_t[l], field);
    for (size_t i = 0; i < rows.n; i++) {
      const double *up = rows.x + i * rows.ld + m->start[l + 1];
      if (isfinite(value[i])) {
        value[i] += poei_dot(above, m->bias + m->start[l + 1], up) + poei_dot(above, field + i * above, up);
      }
    }
  }
}

/* "1, 3 (250 units)": the layers lowest, lowest + 2, ... */
static void name_layers(const poei_boltzmann *m, size_t lowest, char *text, size_t size) {
  size_t used = 0;
  for (size_t l = lowest; l < m->layers; l += 2) {
    int wrote = snprintf(text + used, size - used, "%s%zu", used > 0 ? ", " : "", l);
    used += wrote > 0 ? (size_t)wrote : 0;
  }
  snprintf(text + used, size - used, " (%zu units)", poei_boltzmann_side(m, lowest, lowest % 2));
}

poe_status poei_boltzmann_evaluable(const poei_boltzmann *m, poe_error *error) {
  if (m->sum != POEI_BOLTZMANN_NONE) {
    return POE_OK;
  }
  char odd[64], even[64];
  name_layers(m, 1, odd, sizeof odd);
  name_layers(m, 2, even, sizeof even);
  poe_error_set(error, POE_E_CAPABILITY,
                "`%s` has no log-density over its visible units alone: to sum the hidden ones out, the states of the "
                "hidden layers %s or of %s would be enumerated, and at most %d units are",
                m->kind, odd, even, POEI_BOLTZMANN_UNITS);
  poe_error_hint(error, "name the hidden layers as variables too: %s(v, h1, h2, ... | ...)", m->kind);
  return POE_E_CAPABILITY;
}

poe_status poei_boltzmann_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                   poe_scratch *scratch, poe_error *error) {
  const poei_boltzmann *m = self;
  if (m->sum == POEI_BOLTZMANN_NONE) {
    return poei_boltzmann_evaluable(m, error);
  }
  size_t mark = poe_scratch_mark(scratch), n = rows.n, wide = m->joint ? widest(m) : m->size[0];
  bool gradient = out.grad != NULL && m->scale != NULL;
  double *x = poe_scratch_doubles(scratch, n * wide), *value = poe_scratch_doubles(scratch, n);
  if (m->joint) {
    double *field = poe_scratch_doubles(scratch, n * wide);
    joint_values(m, rows, x, field, value);
    if (gradient) {
      double *hidden = poe_scratch_doubles(scratch, n * wide);
      gather(m, rows, 1, hidden);
      poei_product_back_double(n, m->size[1], m->size[0], hidden, m->weight_t[0], false, x);
    }
  } else {
    double *mean = gradient ? poe_scratch_doubles(scratch, n * m->size[1]) : NULL;
    marginal_values(m, rows, x, value, mean, scratch);
    if (gradient) {
      poei_product_back_double(n, m->size[1], m->size[0], mean, m->weight_t[0], false, x);
    }
  }
  for (size_t i = 0; i < n; i++) {
    poe_accum_value(&out.logp[i], weights.w[i * weights.inc], value[i]);
  }
  if (gradient) {
    add_gradient(m, rows, weights, value, x, out);
  }
  poe_scratch_release(scratch, mark);
  return POE_OK;
}

/* ---- one-hot gradients: log p is linear in the probability of each coordinate's 1 ---- */

/* Adds w * field[n, size layer] at the ones of the embedding of a layer whose first coordinate has column `first`. */
static void add_onehot(const poei_boltzmann *m, poe_rows rows, poe_weights weights, size_t layer, size_t first,
                       const double *field, double *out, size_t ldo) {
  for (size_t i = 0; i < rows.n; i++) {
    double w = weights.w[i * weights.inc];
    if (w == 0.0 || !isfinite(visible_value(m, rows.x + i * rows.ld))) {
      continue;
    }
    for (size_t j = 0; j < m->size[layer]; j++) {
      out[i * ldo + first + 2 * j + 1] += w * (m->bias[m->start[layer] + j] + field[i * m->size[layer] + j]);
    }
  }
}

poe_status poei_boltzmann_onehot_grad_add(const void *self, poe_rows rows, poe_weights weights, double *out, size_t ldo,
                                          poe_scratch *scratch, poe_error *error) {
  (void)error;
  const poei_boltzmann *m = self;
  size_t mark = poe_scratch_mark(scratch), n = rows.n, wide = m->joint ? widest(m) : m->size[0];
  double *x = poe_scratch_doubles(scratch, n * wide);
  if (!m->joint) {
    double *value = poe_scratch_doubles(scratch, n), *mean = poe_scratch_doubles(scratch, n * m->size[1]);
    marginal_values(m, rows, x, value, mean, scratch);
    poei_product_back_double(n, m->size[1], m->size[0], mean, m->weight_t[0], false, x);
    add_onehot(m, rows, weights, 0, 0, x, out, ldo);
    poe_scratch_release(scratch, mark);
    return POE_OK;
  }
  double *field = poe_scratch_doubles(scratch, n * wide);
  size_t embedded = m->scale == NULL ? 0 : 1; /* the first layer of binary units */
  for (size_t l = embedded; l < m->layers; l++) {
    memset(field, 0, n * m->size[l] * sizeof *field);
    if (l > 0) {
      gather(m, rows, l - 1, x);
      poei_product_double(n, m->size[l], m->size[l - 1], x, m->weight_t[l - 1], field);
    }
    if (l + 1 < m->layers) {
      gather(m, rows, l + 1, x);
      poei_product_back_double(n, m->size[l + 1], m->size[l], x, m->weight_t[l], true, field);
    }
    add_onehot(m, rows, weights, l, 2 * (m->start[l] - m->start[embedded]), field, out, ldo);
  }
  poe_scratch_release(scratch, mark);
  return POE_OK;
}
