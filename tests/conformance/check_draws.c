/* Checks of draws and of normalisation: draws are functions of their addresses, follow the density, and the density
 * integrates to what the expert says.
 *
 * Each statistical comparison has a false-alarm rate of 1e-4 per seed and is made for three fixed seeds.
 */
#include <stdlib.h>
#include <string.h>

#include "core/numerics.h"
#include "core/quadrature.h"
#include "tests/conformance/conformance.h"

enum { DRAWS = 20000, SEEDS = 3, MAX_STATES = 4096 };
static const double false_alarm = 1e-4;

static bool has(const poe_expert *expert, unsigned bits) {
  return (poe_expert_traits(expert)->capabilities & bits) == bits;
}

/* ---- addresses ---- */

void poet_check_addresses(const poet_case *c, const poe_expert *expert, poet_report *report) {
  if (!has(expert, POE_CAN_SAMPLE)) {
    return;
  }
  enum { N = 64, PAD = 2 };
  (void)c;
  size_t d = poe_expert_traits(expert)->dim, ld = d + PAD, changed = 0;
  double *many = poet_doubles(N * ld), *few = poet_doubles(N * ld), *other = poet_doubles(N * ld);
  double *logp = poet_doubles(N);
  for (size_t i = 0; i < N * ld; i++) {
    many[i] = few[i] = other[i] = -77.25;
  }
  if (poet_draw(expert, 1, N, ld, many) != POE_OK || poet_draw(expert, 1, 5, ld, few) != POE_OK ||
      poet_draw(expert, 2, N, ld, other) != POE_OK) {
    poet_fail(report, "drawing failed");
  }
  for (size_t i = 0; i < N; i++) {
    if (i < 5 && memcmp(many + i * ld, few + i * ld, d * sizeof *many) != 0) {
      poet_fail(report, "draw %zu depends on how many are drawn with it", i);
    }
    changed += memcmp(many + i * ld, other + i * ld, d * sizeof *many) != 0;
    for (size_t j = d; j < ld; j++) {
      if (many[i * ld + j] != -77.25) {
        poet_fail(report, "drawing touches the padding of row %zu", i);
      }
    }
  }
  if (changed < N / 8) {
    poet_fail(report, "%zu of %d draws change with the seed", changed, N);
  }
  if (has(expert, POE_CAN_EVAL) && poet_eval(expert, N, ld, many, logp, NULL) == POE_OK) {
    for (size_t i = 0; i < N; i++) {
      if (!isfinite(logp[i])) {
        poet_fail(report, "draw %zu has log p %g", i, logp[i]);
      }
    }
  }
  free(many);
  free(few);
  free(other);
  free(logp);
}

/* ---- states of discrete experts ---- */

/* Number of states, 0 when not all coordinates are discrete and bounded, or they are too many. */
static size_t state_count(const poe_traits *traits, const unsigned char *only) {
  size_t count = 1;
  for (size_t j = 0; j < traits->dim; j++) {
    const poe_support *s = &traits->support[j];
    if (only != NULL && only[j] == 0) {
      continue;
    }
    if (s->kind != POE_DISCRETE || !isfinite(s->low) || !isfinite(s->high)) {
      return 0;
    }
    count *= (size_t)(s->high - s->low) + 1;
    if (count > MAX_STATES) {
      return 0;
    }
  }
  return count;
}

/* Writes state `index` (last coordinate fastest) into x[d], only where only[j] (NULL: everywhere). */
static void state_write(const poe_traits *traits, const unsigned char *only, size_t index, double *x) {
  for (size_t j = traits->dim; j-- > 0;) {
    const poe_support *s = &traits->support[j];
    if (only == NULL || only[j] != 0) {
      size_t k = (size_t)(s->high - s->low) + 1;
      x[j] = s->low + (double)(index % k);
      index /= k;
    }
  }
}

static size_t state_read(const poe_traits *traits, const double *x) {
  size_t index = 0;
  for (size_t j = 0; j < traits->dim; j++) {
    const poe_support *s = &traits->support[j];
    index = index * ((size_t)(s->high - s->low) + 1) + (size_t)(x[j] - s->low);
  }
  return index;
}

/* log of the sum over the states of the chosen coordinates, the others as in x[d]. */
static double state_sum(const poe_expert *expert, const unsigned char *only, size_t count, const double *x,
                        double *logp) {
  const poe_traits *traits = poe_expert_traits(expert);
  size_t d = traits->dim;
  double *rows = poet_doubles(count * d);
  for (size_t s = 0; s < count; s++) {
    memcpy(rows + s * d, x, d * sizeof *x);
    state_write(traits, only, s, rows + s * d);
  }
  poet_eval(expert, count, d, rows, logp, NULL);
  free(rows);
  return poei_log_sum_exp(logp, count, 1);
}

/* ---- quadrature ---- */

typedef struct integrand {
  const poe_expert *expert;
  const double *at;       /* [dim] the other coordinates     */
  const size_t *position; /* [1 or 2] where the integrated go */
} integrand;

static poe_status integrand_value(void *context, size_t n, size_t d, const double *x, double *value, poe_error *error) {
  const integrand *f = context;
  size_t dim = poe_expert_traits(f->expert)->dim;
  double *rows = poet_doubles(n * dim);
  (void)error;
  for (size_t i = 0; i < n; i++) {
    memcpy(rows + i * dim, f->at, dim * sizeof *rows);
    for (size_t j = 0; j < d; j++) {
      rows[i * dim + f->position[j]] = x[i * d + j];
    }
  }
  poe_status status = poet_eval(f->expert, n, dim, rows, value, NULL);
  free(rows);
  return status;
}

/* log of the integral over coordinates position[d] (d = 1 or 2) between low and high, the others as in at. */
static double integral(const poe_expert *expert, size_t d, const size_t *position, const double *at, const double *low,
                       const double *high, const double *hint, double tolerance, poet_report *report) {
  integrand f = {.expert = expert, .at = at, .position = position};
  poei_quadrature_result result = {0};
  poe_error error = {0};
  if (poei_quadrature(integrand_value, &f, d, low, high, hint, tolerance, &result, &error) != POE_OK) {
    poet_fail(report, "quadrature failed: %s", error.message);
    return NAN;
  }
  if (!result.converged && result.log_integral > -25.0) {
    poet_fail(report, "quadrature reached an error of %.3g only", result.error_bound);
  }
  return result.log_integral;
}

/* ---- chi-square ---- */

/* Cells of which fewer than five draws are expected are taken together. */
static void chi_square(const double *probability, const size_t *count, size_t cells, size_t draws, const char *what,
                       poet_report *report) {
  double statistic = 0.0, rest_expected = 0.0, rest_count = 0.0, df = -1.0;
  for (size_t i = 0; i < cells; i++) {
    double expected = probability[i] * (double)draws;
    if (expected < 5.0) {
      rest_expected += expected;
      rest_count += (double)count[i];
      continue;
    }
    double gap = (double)count[i] - expected;
    statistic += gap * gap / expected;
    df += 1.0;
  }
  if (rest_expected >= 5.0) {
    statistic += (rest_count - rest_expected) * (rest_count - rest_expected) / rest_expected;
    df += 1.0;
  } else if (rest_count > 30.0) { /* Poisson with mean < 5: beyond 1e-13 */
    poet_fail(report, "%s: %g draws where %.3g are expected", what, rest_count, rest_expected);
  }
  if (df >= 1.0 && poei_chi_square_tail(statistic, df) < false_alarm) {
    poet_fail(report, "%s: chi-square %.4g on %g degrees of freedom, p = %.2g", what, statistic, df,
              poei_chi_square_tail(statistic, df));
  }
}

static void draws_states(const poe_expert *expert, uint64_t seed, const double *x, poet_report *report) {
  const poe_traits *traits = poe_expert_traits(expert);
  size_t states = state_count(traits, NULL), d = traits->dim;
  if (states == 0) {
    poet_fail(report, "its states cannot be enumerated");
    return;
  }
  double *p = poet_doubles(states);
  size_t *count = calloc(states, sizeof *count);
  double total = state_sum(expert, NULL, states, x, p);
  for (size_t s = 0; s < states; s++) {
    p[s] = exp(p[s] - total);
  }
  for (size_t i = 0; count != NULL && i < DRAWS; i++) {
    size_t s = state_read(traits, x + i * d);
    if (s >= states || p[s] == 0.0) {
      poet_fail(report, "seed %d: draw %zu is outside the support", (int)seed, i);
      break;
    }
    count[s]++;
  }
  if (count != NULL) {
    chi_square(p, count, states, DRAWS, "draws against probabilities", report);
  }
  free(count);
  free(p);
}

/* Mass of one cell (d = 1 or 2) by five-point Gauss-Legendre on eight panels per side: far more exact than the draws.
 */
static double cell_mass(const poe_expert *expert, size_t d, const double *low, const double *high, double log_z) {
  static const double node[5] = {-0.906179845938664, -0.538469310105683, 0.0, 0.538469310105683, 0.906179845938664};
  static const double weight[5] = {0.236926885056189, 0.478628670499366, 0.568888888888889, 0.478628670499366,
                                   0.236926885056189};
  enum { PANELS = 8, SIDE = 5 * PANELS };
  size_t n = d == 1 ? SIDE : SIDE * SIDE;
  double *x = poet_doubles(n * d), *logp = poet_doubles(n), sum = 0.0;
  for (size_t i = 0; i < n; i++) {
    for (size_t j = 0; j < d; j++) {
      size_t k = j == 0 ? i % SIDE : i / SIDE;
      double half = (high[j] - low[j]) / (2.0 * PANELS);
      x[i * d + j] = low[j] + half * (2.0 * (double)(k / 5) + 1.0 + node[k % 5]);
    }
  }
  poet_eval(expert, n, d, x, logp, NULL);
  for (size_t i = 0; i < n; i++) {
    double factor = weight[i % SIDE % 5] * (high[0] - low[0]) / (2.0 * PANELS);
    if (d == 2) {
      factor *= weight[i / SIDE % 5] * (high[1] - low[1]) / (2.0 * PANELS);
    }
    sum += factor * exp(logp[i] - log_z);
  }
  free(x);
  free(logp);
  return sum;
}

/* Probabilities of the cells of a grid over the box, and of what lies outside it (last). */
static size_t box_probabilities(const poet_case *c, const poe_expert *expert, double *p, poet_report *report) {
  size_t d = poe_expert_traits(expert)->dim, side = d == 1 ? 24 : 7, cells = d == 1 ? side : side * side;
  double sum = 0.0, log_z = c->expected_log_z;
  poe_error error = {0};
  if (has(expert, POE_CAN_LOG_Z)) {
    poe_expert_log_z(expert, &log_z, &error);
  }
  for (size_t i = 0; i < cells; i++) {
    double low[2] = {0.0, 0.0}, high[2] = {0.0, 0.0};
    for (size_t j = 0; j < d; j++) {
      size_t k = d == 1 ? i : j == 0 ? i / side : i % side;
      double width = (c->box[2 * j + 1] - c->box[2 * j]) / (double)side;
      low[j] = c->box[2 * j] + (double)k * width;
      high[j] = low[j] + width;
    }
    p[i] = cell_mass(expert, d, low, high, log_z);
    sum += p[i];
  }
  if (!(sum < 1.0 + 1e-4) || !(sum > 0.9)) {
    poet_fail(report, "the box holds %.6g of the mass", sum);
  }
  p[cells] = fmax(0.0, 1.0 - sum);
  return cells;
}

static void draws_box(const poet_case *c, const poe_expert *expert, const double *p, size_t cells, const double *x,
                      poet_report *report) {
  size_t d = poe_expert_traits(expert)->dim, side = d == 1 ? cells : 7;
  size_t *count = calloc(cells + 1, sizeof *count);
  for (size_t i = 0; count != NULL && i < DRAWS; i++) {
    size_t cell = 0;
    for (size_t j = 0; j < d && cell < cells; j++) {
      double k = (x[i * d + j] - c->box[2 * j]) / (c->box[2 * j + 1] - c->box[2 * j]) * (double)side;
      cell = k >= 0.0 && k < (double)side ? cell * side + (size_t)k : cells;
    }
    count[cell]++;
  }
  if (count != NULL) {
    chi_square(p, count, cells + 1, DRAWS, "draws against the integrated density", report);
  }
  free(count);
}

/* z-test of a mean over the draws against `expected`. */
static void stein_test(const double *f, double expected, size_t tests, const char *what, size_t i, size_t j,
                       poet_report *report) {
  double mean = 0.0, square = 0.0;
  for (size_t r = 0; r < DRAWS; r++) {
    mean += f[r] / DRAWS;
  }
  for (size_t r = 0; r < DRAWS; r++) {
    square += (f[r] - mean) * (f[r] - mean) / (DRAWS - 1);
  }
  double z = (mean - expected) / sqrt(square / DRAWS);
  if (!(fabs(z) < poei_normal_quantile(1.0 - false_alarm / 2.0 / (double)tests))) {
    poet_fail(report, "%s (coordinates %zu, %zu) has mean %.4g, not %.4g (z = %.2f)", what, i, j, mean, expected, z);
  }
}

static void draws_stein(const poe_expert *expert, const double *x, poet_report *report) {
  size_t d = poe_expert_traits(expert)->dim, tests = 3 * d;
  double *logp = poet_doubles(DRAWS), *grad = poet_doubles(DRAWS * d), *f = poet_doubles(DRAWS);
  poet_eval(expert, DRAWS, d, x, logp, grad);
  for (size_t i = 0; i < d; i++) {
    size_t next = (i + 1) % d;
    for (size_t r = 0; r < DRAWS; r++) {
      f[r] = grad[r * d + i];
    }
    stein_test(f, 0.0, tests, "the gradient", i, i, report);
    for (size_t r = 0; r < DRAWS; r++) {
      f[r] = x[r * d + i] * grad[r * d + i];
    }
    stein_test(f, -1.0, tests, "x times the gradient", i, i, report);
    for (size_t r = 0; r < DRAWS; r++) {
      f[r] = x[r * d + next] * grad[r * d + i];
    }
    stein_test(f, next == i ? -1.0 : 0.0, tests, "x times the gradient", next, i, report);
  }
  free(logp);
  free(grad);
  free(f);
}

void poet_check_draws(const poet_case *c, const poe_expert *expert, poet_report *report) {
  if (c->sample == POET_SAMPLE_NONE) {
    return;
  }
  if (!has(expert, POE_CAN_SAMPLE | POE_CAN_EVAL)) {
    poet_fail(report, "the case promises draws, the expert has none");
    return;
  }
  size_t d = poe_expert_traits(expert)->dim, cells = 0;
  double *x = poet_doubles(DRAWS * d), p[7 * 7 + 1] = {0.0};
  if (c->sample == POET_SAMPLE_BOX) {
    cells = box_probabilities(c, expert, p, report);
  }
  for (uint64_t seed = 1; seed <= SEEDS; seed++) {
    if (poet_draw(expert, seed, DRAWS, d, x) != POE_OK) {
      poet_fail(report, "drawing failed");
    } else if (c->sample == POET_SAMPLE_BOX) {
      draws_box(c, expert, p, cells, x, report);
    } else if (c->sample == POET_SAMPLE_STATES) {
      draws_states(expert, seed, x, report);
    } else {
      draws_stein(expert, x, report);
    }
  }
  free(x);
}

/* ---- normalisation ---- */

/* log of the integral over the coordinates in `only` (NULL: all), the others as in x; NaN when it cannot be had here.
 */
static double integral_over(const poet_case *c, const poe_expert *expert, const unsigned char *only, const double *x,
                            poet_report *report) {
  const poe_traits *traits = poe_expert_traits(expert);
  size_t states = state_count(traits, only), position[2] = {0, 0}, found = 0;
  if (states > 0) {
    double *logp = poet_doubles(states), sum = state_sum(expert, only, states, x, logp);
    free(logp);
    return sum;
  }
  double low[2] = {0.0, 0.0}, high[2] = {0.0, 0.0}, hint[4] = {0.0};
  for (size_t j = 0; j < traits->dim; j++) {
    if (only != NULL && only[j] == 0) {
      continue;
    }
    if (found == 2 || traits->support[j].kind == POE_DISCRETE) {
      return NAN;
    }
    position[found] = j;
    low[found] = traits->support[j].low;
    high[found] = traits->support[j].high;
    hint[2 * found] = only == NULL ? (c->box[2 * found] + c->box[2 * found + 1]) / 2.0 : x[j];
    hint[2 * found + 1] = only == NULL ? (c->box[2 * found + 1] - c->box[2 * found]) / 8.0 : 1.0;
    found++;
  }
  return integral(expert, found, position, x, low, high, hint, 1e-9, report);
}

static void heads_of(const poet_case *c, const poe_expert *expert, const double *x, poet_report *report) {
  enum { POINTS = 5 };
  const poe_traits *traits = poe_expert_traits(expert);
  size_t heads = 0;
  for (size_t j = 0; j < traits->dim; j++) {
    heads += traits->head[j] != 0;
  }
  if (heads == traits->dim) {
    double log_z = 0.0;
    poe_error error = {0};
    if (has(expert, POE_CAN_LOG_Z) && (poe_expert_log_z(expert, &log_z, &error) != POE_OK || fabs(log_z) > 1e-12)) {
      poet_fail(report, "every coordinate is a head, but log Z is %g", log_z);
    }
    return;
  }
  for (size_t i = 0; i < POINTS; i++) {
    double sum = integral_over(c, expert, traits->head, x + i * traits->dim, report);
    if (!isnan(sum)) {
      poet_close(report, sum, 0.0, 1e-7, "log of the integral over the heads", i, 0);
    }
  }
}

void poet_check_normalisation(const poet_case *c, const poe_expert *expert, poet_report *report) {
  const poe_traits *traits = poe_expert_traits(expert);
  poe_error error = {0};
  double log_z = NAN;
  if (!has(expert, POE_CAN_EVAL)) {
    return;
  }
  double *x = poet_points(c, expert, 8);
  if (has(expert, POE_CAN_LOG_Z) && poe_expert_log_z(expert, &log_z, &error) != POE_OK) {
    poet_fail(report, "log Z failed: %s", error.message);
  }
  if (c->knows_log_z) {
    poet_close(report, log_z, c->expected_log_z, 1e-9, "log Z", 0, 0);
  }
  bool boxed = c->sample == POET_SAMPLE_BOX || c->box[1] > c->box[0];
  if (!isnan(log_z) && (state_count(traits, NULL) > 0 || boxed)) {
    poet_close(report, integral_over(c, expert, NULL, x, report), log_z, 1e-7, "log of the integral", 0, 0);
  }
  if (traits->head != NULL) {
    heads_of(c, expert, x, report);
  }
  free(x);
}
