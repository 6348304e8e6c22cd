/* Checks of values and gradients: against an independent formula, against finite differences, row by row, accumulated
 * onto junk, weighted, strided, and outside the support. */
#include <stdlib.h>
#include <string.h>

#include "tests/conformance/conformance.h"

enum { ROWS = 64 };

static double tolerance_of(double given, double fallback) {
  return given > 0.0 ? given : fallback;
}

static bool has(const poe_expert *expert, unsigned bits) {
  return (poe_expert_traits(expert)->capabilities & bits) == bits;
}

static bool same_bits(double a, double b) {
  return memcmp(&a, &b, sizeof a) == 0;
}

void poet_check_traits(const poet_case *c, const poe_expert *expert, poet_report *report) {
  (void)c;
  const poe_traits *traits = poe_expert_traits(expert);
  const poe_expert_ops *ops = poe_expert_ops_of(expert);
  if (traits->dim == 0 || traits->support == NULL) {
    poet_fail(report, "it has %zu coordinates and support %p", traits->dim, (const void *)traits->support);
    return;
  }
  for (size_t j = 0; j < traits->dim; j++) {
    const poe_support *s = &traits->support[j];
    if (!(s->low <= s->high) || (s->kind == POE_CONTINUOUS && !(s->low < s->high))) {
      poet_fail(report, "the support of coordinate %zu is %g .. %g", j, s->low, s->high);
    }
    if ((isinf(s->low) && s->kind == POE_CONTINUOUS && !s->low_open) ||
        (isinf(s->high) && s->kind == POE_CONTINUOUS && !s->high_open)) {
      poet_fail(report, "an infinite end of coordinate %zu is not open", j);
    }
  }
  if ((traits->capabilities & POE_CAN_GRADIENT) != 0 && (traits->capabilities & POE_CAN_EVAL) == 0) {
    poet_fail(report, "it has a gradient but no value");
  }
  if (ops->doc == NULL || ops->params == NULL) {
    poet_fail(report, "it has no documentation");
  }
  poe_traits again;
  ops->traits(poe_expert_self(expert), &again);
  if (again.dim != traits->dim || again.support != traits->support || again.head != traits->head) {
    poet_fail(report, "its traits change from one call to the next");
  }
}

void poet_check_values(const poet_case *c, const poe_expert *expert, poet_report *report) {
  if (c->log_density == NULL || !has(expert, POE_CAN_EVAL)) {
    return;
  }
  size_t n = 3 * ROWS + 5, d = poe_expert_traits(expert)->dim;
  double *x = poet_points(c, expert, n), *logp = poet_doubles(n);
  if (poet_eval(expert, n, d, x, logp, NULL) != POE_OK) {
    poet_fail(report, "evaluation failed");
  }
  for (size_t i = 0; i < n; i++) {
    poet_close(report, logp[i], c->log_density(x + i * d), tolerance_of(c->tolerance, 1e-12), "log p", i, 0);
  }
  free(x);
  free(logp);
}

/* The number of a simplex that gives what coordinate j takes; d when j is on none. */
static size_t partner_of(const poe_traits *traits, size_t j) {
  size_t first = j;
  while (traits->support[first].kind == POE_SIMPLEX_NEXT) {
    first--;
  }
  return traits->support[first].kind != POE_SIMPLEX ? traits->dim : first == j ? j + 1 : first;
}

/* Central difference with step h, and with h/2, extrapolated (Richardson): the error is of order h^4. Along a simplex
 * against the partner. */
static double difference(const poe_expert *expert, double *x, size_t j, size_t partner, double h, double *logp) {
  size_t d = poe_expert_traits(expert)->dim;
  double at = x[j], other = partner < d ? x[partner] : 0.0, slope[2];
  for (size_t k = 0; k < 2; k++, h /= 2.0) {
    double up = at + h, down = at - h, value[2];
    for (size_t side = 0; side < 2; side++) {
      x[j] = side == 0 ? down : up;
      if (partner < d) {
        x[partner] = other + (at - x[j]);
      }
      poet_eval(expert, 1, d, x, logp, NULL);
      value[side] = logp[0];
    }
    slope[k] = (value[1] - value[0]) / (up - down);
  }
  x[j] = at;
  if (partner < d) {
    x[partner] = other;
  }
  return (4.0 * slope[1] - slope[0]) / 3.0;
}

void poet_check_gradient(const poet_case *c, const poe_expert *expert, poet_report *report) {
  const poe_traits *traits = poe_expert_traits(expert);
  if (!has(expert, POE_CAN_GRADIENT)) {
    return;
  }
  size_t n = 12, d = traits->dim;
  double *x = poet_points(c, expert, n), *logp = poet_doubles(n), *plain = poet_doubles(n), *grad = poet_doubles(n * d);
  if (poet_eval(expert, n, d, x, logp, grad) != POE_OK || poet_eval(expert, n, d, x, plain, NULL) != POE_OK) {
    poet_fail(report, "evaluation failed");
  }
  double one = 0.0;
  for (size_t i = 0; i < n; i++) {
    poet_close(report, logp[i], plain[i], 1e-12, "log p with gradient, against without,", i, 0);
    for (size_t j = 0; j < d; j++) {
      if (traits->support[j].kind == POE_DISCRETE) {
        if (grad[i * d + j] != 0.0) {
          poet_fail(report, "the gradient of the discrete coordinate %zu was written", j);
        }
      } else if (!c->needs_no_interior) {
        size_t partner = partner_of(traits, j);
        const double *at = x + i * d;
        double h = 2e-4 * (partner < d ? fmin(at[j], at[partner]) : 1.0 + fabs(at[j]));
        double slope = difference(expert, x + i * d, j, partner, h, &one);
        double own = grad[i * d + j] - (partner < d ? grad[i * d + partner] : 0.0);
        poet_close(report, own, slope, tolerance_of(c->gradient_tolerance, 1e-6), "gradient", i, j);
      }
    }
  }
  free(x);
  free(logp);
  free(plain);
  free(grad);
}

/* Evaluates rows in the order given by from[n]; results in that order. */
static void eval_permuted(const poe_expert *expert, size_t n, const size_t *from, const double *x, double *logp,
                          double *grad, poet_report *report) {
  size_t d = poe_expert_traits(expert)->dim;
  double *moved = poet_doubles(n * d);
  for (size_t i = 0; i < n; i++) {
    memcpy(moved + i * d, x + from[i] * d, d * sizeof *x);
  }
  if (poet_eval(expert, n, d, moved, logp, grad) != POE_OK) {
    poet_fail(report, "evaluation failed");
  }
  free(moved);
}

/* Rows in another order within a tile of n: the same bits, and the value of a single row nearly so. */
static void rows_of(const poet_case *c, const poe_expert *expert, size_t n, poet_report *report) {
  size_t d = poe_expert_traits(expert)->dim;
  bool gradient = has(expert, POE_CAN_GRADIENT);
  double *x = poet_points(c, expert, n), *logp = poet_doubles(2 * n), *grad = poet_doubles(2 * n * d);
  size_t from[ROWS + 5];
  for (size_t i = 0; i < n; i++) {
    from[i] = i;
  }
  eval_permuted(expert, n, from, x, logp, gradient ? grad : NULL, report);
  for (size_t shift = 1; shift <= 11; shift += 5) {
    for (size_t i = 0; i < n; i++) {
      from[i] = (n - 1 - i + shift) % n;
    }
    eval_permuted(expert, n, from, x, logp + n, gradient ? grad + n * d : NULL, report);
    for (size_t i = 0; i < n; i++) {
      if (!same_bits(logp[n + i], logp[from[i]]) ||
          (gradient && memcmp(grad + (n + i) * d, grad + from[i] * d, d * sizeof *grad) != 0)) {
        poet_fail(report, "in a tile of %zu, row %zu has other bits at place %zu: %.17g, %.17g", n, from[i], i,
                  logp[from[i]], logp[n + i]);
      }
    }
  }
  for (size_t i = 0; i < n; i++) {
    double tolerance = tolerance_of(c->shape_tolerance, 1e-12);
    poet_eval(expert, 1, d, x + i * d, logp + n, gradient ? grad + n * d : NULL);
    poet_close(report, logp[n], logp[i], tolerance, "log p of a row alone, against its tile,", i, 0);
    for (size_t j = 0; gradient && j < d; j++) {
      poet_close(report, grad[n * d + j], grad[i * d + j], tolerance, "gradient of a row alone, against its tile,", i,
                 j);
    }
  }
  free(x);
  free(logp);
  free(grad);
}

void poet_check_rows(const poet_case *c, const poe_expert *expert, poet_report *report) {
  if (has(expert, POE_CAN_EVAL)) {
    rows_of(c, expert, ROWS, report);
    rows_of(c, expert, 37, report);
    rows_of(c, expert, 3, report);
  }
}

/* One evaluation with everything a caller can vary. */
typedef struct evaluation {
  size_t n, d, ld, ldg;
  double *x, *weights, *logp, *grad;
  size_t inc;
} evaluation;

static evaluation evaluation_make(const poet_case *c, const poe_expert *expert, size_t n, size_t pad) {
  size_t d = poe_expert_traits(expert)->dim;
  evaluation e = {.n = n, .d = d, .ld = d + pad, .ldg = d + 2 * pad, .inc = 1};
  double *points = poet_points(c, expert, n);
  e.x = poet_doubles(n * e.ld);
  e.weights = poet_doubles(n);
  e.logp = poet_doubles(n);
  e.grad = poet_doubles(n * e.ldg);
  for (size_t i = 0; i < n; i++) {
    e.weights[i] = 1.0;
    for (size_t j = 0; j < e.ld; j++) {
      e.x[i * e.ld + j] = j < d ? points[i * d + j] : NAN;
    }
  }
  free(points);
  return e;
}

static void evaluation_free(evaluation *e) {
  free(e->x);
  free(e->weights);
  free(e->logp);
  free(e->grad);
}

static void evaluation_run(const poe_expert *expert, evaluation *e, poet_report *report) {
  bool gradient = has(expert, POE_CAN_GRADIENT);
  poe_scratch *scratch = poe_scratch_create(poe_expert_scratch(expert, gradient ? POE_WANT_GRAD : 0u, e->n));
  poe_error error = {0};
  if (scratch == NULL ||
      poe_expert_eval_add(expert, (poe_rows){e->n, e->d, e->ld, e->x}, (poe_weights){e->weights, e->inc},
                          (poe_accum){e->logp, gradient ? e->grad : NULL, e->ldg}, scratch, &error) != POE_OK) {
    poet_fail(report, "evaluation failed: %s", error.message);
  }
  poe_scratch_destroy(scratch);
}

void poet_check_accumulation(const poet_case *c, const poe_expert *expert, poet_report *report) {
  if (!has(expert, POE_CAN_EVAL)) {
    return;
  }
  evaluation plain = evaluation_make(c, expert, ROWS, 0), onto = evaluation_make(c, expert, ROWS, 0);
  for (size_t i = 0; i < ROWS; i++) {
    onto.logp[i] = i % 7 == 0 ? -INFINITY : 3.25 - (double)i;
    for (size_t j = 0; j < onto.d; j++) {
      onto.grad[i * onto.ldg + j] = -1.5 + (double)j;
    }
  }
  evaluation_run(expert, &plain, report);
  evaluation_run(expert, &onto, report);
  for (size_t i = 0; i < ROWS; i++) {
    double sum = i % 7 == 0 ? -INFINITY : 3.25 - (double)i + plain.logp[i];
    poet_close(report, onto.logp[i], sum, 1e-13, "accumulated log p", i, 0);
    for (size_t j = 0; has(expert, POE_CAN_GRADIENT) && sum != -INFINITY && j < onto.d; j++) {
      poet_close(report, onto.grad[i * onto.ldg + j], -1.5 + (double)j + plain.grad[i * plain.ldg + j], 1e-12,
                 "accumulated gradient", i, j);
    }
  }
  evaluation_free(&plain);
  evaluation_free(&onto);
}

void poet_check_weights(const poet_case *c, const poe_expert *expert, poet_report *report) {
  static const double weights[] = {1.0, -1.0, 0.0, 0.5, 2.75, -0.125};
  if (!has(expert, POE_CAN_EVAL)) {
    return;
  }
  evaluation plain = evaluation_make(c, expert, ROWS, 0), each = evaluation_make(c, expert, ROWS, 0);
  for (size_t i = 0; i < ROWS; i++) {
    each.weights[i] = weights[i % 6];
  }
  evaluation_run(expert, &plain, report);
  evaluation_run(expert, &each, report);
  for (size_t i = 0; i < ROWS; i++) {
    double w = each.weights[i], value = w == 0.0 ? 0.0 : w * plain.logp[i];
    poet_close(report, each.logp[i], value, 1e-13, "weighted log p", i, 0);
    for (size_t j = 0; has(expert, POE_CAN_GRADIENT) && j < each.d; j++) {
      poet_close(report, each.grad[i * each.ldg + j], w == 0.0 ? 0.0 : w * plain.grad[i * plain.ldg + j], 1e-12,
                 "weighted gradient", i, j);
    }
  }
  evaluation shared = evaluation_make(c, expert, ROWS, 0);
  shared.inc = 0;
  shared.weights[0] = 0.75;
  shared.weights[1] = NAN; /* must not be read */
  evaluation_run(expert, &shared, report);
  for (size_t i = 0; i < ROWS; i++) {
    poet_close(report, shared.logp[i], 0.75 * plain.logp[i], 1e-13, "log p with one weight for all rows", i, 0);
  }
  evaluation_free(&plain);
  evaluation_free(&each);
  evaluation_free(&shared);
}

void poet_check_padding(const poet_case *c, const poe_expert *expert, poet_report *report) {
  if (!has(expert, POE_CAN_EVAL)) {
    return;
  }
  const double sentinel = 12345.678;
  evaluation plain = evaluation_make(c, expert, 37, 0), wide = evaluation_make(c, expert, 37, 3);
  for (size_t i = 0; i < wide.n; i++) {
    for (size_t j = wide.d; j < wide.ldg; j++) {
      wide.grad[i * wide.ldg + j] = sentinel;
    }
  }
  evaluation_run(expert, &plain, report);
  evaluation_run(expert, &wide, report);
  for (size_t i = 0; i < wide.n; i++) {
    if (!same_bits(plain.logp[i], wide.logp[i])) {
      poet_fail(report, "with a stride, log p of row %zu is %.17g, not %.17g", i, wide.logp[i], plain.logp[i]);
    }
    for (size_t j = 0; j < wide.ldg; j++) {
      double expected = j >= wide.d ? sentinel : plain.grad[i * plain.ldg + j];
      if (!same_bits(wide.grad[i * wide.ldg + j], expected)) {
        poet_fail(report, "with a stride, column %zu of the gradient of row %zu is %.17g, not %.17g%s", j, i,
                  wide.grad[i * wide.ldg + j], expected, j >= wide.d ? " (padding was touched)" : "");
      }
    }
  }
  evaluation_free(&plain);
  evaluation_free(&wide);
}

/* A point of row 1 replaced by `value` in coordinate j: what row 1 gives, and that its neighbours keep their bits. */
static double disturbed(const poe_expert *expert, const evaluation *plain, evaluation *e, size_t j, double value,
                        poet_report *report) {
  double kept = e->x[e->ld + j];
  memset(e->logp, 0, e->n * sizeof *e->logp);
  memset(e->grad, 0, e->n * e->ldg * sizeof *e->grad);
  e->x[e->ld + j] = value;
  evaluation_run(expert, e, report);
  e->x[e->ld + j] = kept;
  for (size_t i = 0; i < e->n; i++) {
    if (i != 1 && (!same_bits(e->logp[i], plain->logp[i]) ||
                   memcmp(e->grad + i * e->ldg, plain->grad + i * e->ldg, e->d * sizeof *e->grad) != 0)) {
      poet_fail(report, "with %g in coordinate %zu of row 1, row %zu changes from %.17g to %.17g", value, j, i,
                plain->logp[i], e->logp[i]);
    }
  }
  for (size_t k = 0; e->logp[1] == -INFINITY && k < e->d; k++) {
    if (isnan(e->grad[e->ldg + k])) {
      poet_fail(report, "outside the support (%g in coordinate %zu) the gradient is NaN", value, j);
    }
  }
  return e->logp[1];
}

void poet_check_outside(const poet_case *c, const poe_expert *expert, poet_report *report) {
  if (!has(expert, POE_CAN_EVAL)) {
    return;
  }
  const poe_traits *traits = poe_expert_traits(expert);
  evaluation plain = evaluation_make(c, expert, 8, 0), e = evaluation_make(c, expert, 8, 0);
  evaluation_run(expert, &plain, report);
  for (size_t i = 0; i < plain.n; i++) {
    if (isnan(plain.logp[i])) {
      poet_fail(report, "log p of row %zu, a point of the support, is NaN", i);
    }
  }
  for (size_t j = 0; j < traits->dim; j++) {
    const poe_support *s = &traits->support[j];
    bool discrete = s->kind == POE_DISCRETE;
    double beyond[] = {s->low - 1.0, s->high + 1.0, s->low, s->high, s->low + 0.5};
    bool outside[] = {isfinite(s->low) != 0, isfinite(s->high) != 0, !discrete && s->low_open && isfinite(s->low),
                      !discrete && s->high_open && isfinite(s->high), discrete && isfinite(s->low)};
    for (size_t k = 0; k < sizeof beyond / sizeof beyond[0]; k++) {
      double value = outside[k] ? disturbed(expert, &plain, &e, j, beyond[k], report) : -INFINITY;
      if (value != -INFINITY) {
        poet_fail(report, "log p at %g in coordinate %zu, outside the support, is %g", beyond[k], j, value);
      }
    }
    if (!isnan(disturbed(expert, &plain, &e, j, NAN, report))) {
      poet_fail(report, "log p at NaN in coordinate %zu is %g", j, e.logp[1]);
    }
    disturbed(expert, &plain, &e, j, INFINITY, report);
    disturbed(expert, &plain, &e, j, 1e300, report);
  }
  evaluation_free(&plain);
  evaluation_free(&e);
}
