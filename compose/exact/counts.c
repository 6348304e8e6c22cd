/* Targets over one count without an upper end, by adding up (numeric.h).
 *
 * States are evaluated from the lowest on until what is left is proven to be less than 2^-60 of the sum. The proof is
 * the ratio test: if log p(n + 1) - log p(n) <= s < 0 for all n >= N, all states beyond N together have at most
 * p(N) e^s / (1 - e^s). Bounds on the steps follow the tree: those of exponential families are known (their
 * coefficients add up), factors add theirs, and a step of a mixture lies between the steps of its components. Nothing
 * is known about formulas and networks: then there is no proof, and no answer this way.
 */
#include <math.h>
#include <string.h>

#include "compose/exact/families.h"
#include "compose/exact/numeric.h"
#include "compose/nodes/node.h"
#include "core/alloc.h"
#include "core/numerics.h"
#include "experts/separable.h"
#include "experts/series.h"

static const double left_out = 0x1p-60;

/* ---- bounds on steps ---- */

/* log p(n + 1) - log p(n) for all n >= from. */
typedef struct steps {
  double low, high; /* may be infinite */
} steps;

/* *known: whether there are such bounds. POE_E_MEMORY. */
static poe_status bound_steps(const poe_expert *expert, double from, steps *out, bool *known, poe_error *error);

/* t + f log(n + 1) + q (2 n + 1): each term rises or falls throughout. */
static bool bound_natural(const poei_natural_coordinate *c, double from, steps *out) {
  double f = c->coefficient[POE_STATISTIC_LOG_FACTORIAL], q = c->coefficient[POE_STATISTIC_SQUARE];
  double now = c->coefficient[POE_STATISTIC_IDENTITY];
  for (unsigned s = 0; s < POE_STATISTICS; s++) {
    bool known = s == POE_STATISTIC_IDENTITY || s == POE_STATISTIC_SQUARE || s == POE_STATISTIC_LOG_FACTORIAL;
    if (!known && c->coefficient[s] != 0.0) {
      return false;
    }
  }
  now += f != 0.0 ? f * log(from + 1.0) : 0.0;
  now += q * (2.0 * from + 1.0);
  *out = (steps){f < 0.0 || q < 0.0 ? -INFINITY : now, f > 0.0 || q > 0.0 ? INFINITY : now};
  return true;
}

/* One factor of a product: a family joins the others, of which the steps are bounded together, so that what cancels
 * cancels; anything else adds its own bounds to *sum. */
static poe_status bound_part(const poei_part *part, double from, poei_families *families, steps *sum, bool *known,
                             poe_error *error) {
  static const size_t index[1] = {0};
  poei_family_sort sort;
  steps own;
  poe_status status = poei_family_sort_of(part->expert, part->exponent, &sort, error);
  if (status == POE_OK && sort == POEI_SOME_FAMILY) {
    status = poei_families_add(families, part->expert, index, part->exponent, error);
    *known = status == POE_OK;
    return status == POE_E_MEMORY ? status : POE_OK;
  }
  *known = poei_node_kind_of(part->expert) != POEI_NODE_product;
  if (status == POE_OK && *known) {
    status = bound_steps(part->expert, from, &own, known, error);
  }
  if (status == POE_OK && *known) {
    sum->low += part->exponent * (part->exponent > 0.0 ? own.low : own.high);
    sum->high += part->exponent * (part->exponent > 0.0 ? own.high : own.low);
  }
  return status;
}

static poe_status bound_product(const poe_expert *product, double from, steps *out, bool *known, poe_error *error) {
  poei_parts parts = {0};
  poei_families families = {0};
  steps others = {0.0, 0.0};
  *known = true;
  poe_status status = poei_parts_open(product, POEI_OPEN_ALL, &parts, NULL, error);
  if (status == POE_OK) {
    status = poei_families_start(&families, 1, error);
  }
  for (size_t i = 0; i < parts.n && status == POE_OK && *known; i++) {
    status = bound_part(&parts.item[i], from, &families, &others, known, error);
  }
  if (status == POE_OK && *known) {
    *out = (steps){0.0, 0.0};
    poei_families_settle(&families);
    *known = families.factors[0] == 0 || bound_natural(&families.at[0], from, out);
    out->low += others.low;
    out->high += others.high;
    *known = *known && !isnan(out->low) && !isnan(out->high);
  }
  poei_families_free(&families);
  poei_parts_free(&parts);
  return status;
}

/* Between the steps of the components that still are; those that end before `from` are gone. */
static poe_status bound_mixture(const poe_expert *mixture, double from, steps *out, bool *known, poe_error *error) {
  poe_status status = POE_OK;
  *out = (steps){INFINITY, -INFINITY};
  *known = true;
  for (size_t k = 0; k < poei_node_child_count(mixture) && *known && status == POE_OK; k++) {
    const poe_expert *component = poei_node_child(mixture, k);
    const poe_support *support = &poe_expert_traits(component)->support[0];
    steps own = {0.0, 0.0};
    if (poei_mixture_log_weight(mixture, k) == -INFINITY || support->high < from) {
      continue;
    }
    *known = support->low <= from && isinf(support->high);
    if (*known) {
      status = bound_steps(component, from, &own, known, error);
    }
    out->low = fmin(out->low, own.low);
    out->high = fmax(out->high, own.high);
  }
  *known = *known && out->low <= out->high;
  return status;
}

static poe_status bound_steps(const poe_expert *expert, double from, steps *out, bool *known, poe_error *error) {
  switch (poei_node_kind_of(expert)) {
  case POEI_NODE_mixture:
    return bound_mixture(expert, from, out, known, error);
  case POEI_NODE_normalise:
  case POEI_NODE_restrict: /* not cut off above: the target's support is not */
    *known = isinf(poe_expert_traits(expert)->support[0].high);
    return *known ? bound_steps(poei_node_child(expert, 0), from, out, known, error) : POE_OK;
  case POEI_NODE_LEAF: /* what a family is not said to be is not known about */
    *known = poe_expert_ops_of(expert)->structure == poei_separable_structure;
    return *known ? bound_product(expert, from, out, known, error) : POE_OK;
  case POEI_NODE_product:
    return bound_product(expert, from, out, known, error);
  default:
    *known = false;
    return POE_OK;
  }
}

/* ---- the expert ---- */

typedef struct counted {
  poe_expert *target;
  poei_series *series;
} counted;

static void counted_destroy(void *state) {
  counted *self = state;
  poe_expert_release(self->target);
  poei_free(self->series);
  poei_free(self);
}

static void counted_traits(const void *state, poe_traits *traits) {
  *traits = *poe_expert_traits(((const counted *)state)->target);
  traits->capabilities &= POE_CAN_EVAL;
  traits->capabilities |= POE_CAN_SAMPLE | POE_CAN_LOG_Z;
}

static size_t counted_scratch(const void *state, unsigned want, size_t n) {
  return (want & POE_WANT_SAMPLE) != 0 ? 0 : poe_expert_scratch(((const counted *)state)->target, POE_WANT_LOGP, n);
}

static poe_status counted_eval_add(const void *state, poe_rows rows, poe_weights weights, poe_accum out,
                                   poe_scratch *scratch, poe_error *error) {
  return poe_expert_eval_add(((const counted *)state)->target, rows, weights, out, scratch, error);
}

static poe_status counted_sample(const void *state, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                                 poe_error *error) {
  (void)scratch;
  (void)error;
  for (size_t i = 0; i < rows.n; i++) {
    poe_stream stream = poe_stream_open(at[i]);
    rows.x[i * rows.ld] = poei_series_quantile(((const counted *)state)->series, poe_stream_uniform(&stream));
  }
  return POE_OK;
}

static poe_status counted_log_z(const void *state, double *log_z, poe_error *error) {
  (void)error;
  *log_z = ((const counted *)state)->series->log_total;
  return POE_OK;
}

static const poe_param no_params[] = {{0}};

static const poe_expert_ops counted_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "enumeration",
    .doc = "a density over a count with the states that matter at hand",
    .params = no_params,
    .create = poei_node_create,
    .destroy = counted_destroy,
    .traits = counted_traits,
    .scratch = counted_scratch,
    .eval_add = counted_eval_add,
    .sample = counted_sample,
    .log_z = counted_log_z,
};

/* ---- adding up ---- */

/* log_p[n] = log p(first), log p(first + 1), ...; *top becomes the largest so far. */
static poe_status evaluate(poei_evaluator *evaluator, double first, size_t n, double *log_p, double *top,
                           poe_error *error) {
  double x[POEI_EVALUATOR_ROWS];
  for (size_t i = 0; i < n; i++) {
    x[i] = first + (double)i;
  }
  poe_status status = poei_evaluator_run(evaluator, n, x, log_p, error);
  for (size_t i = 0; i < n && status == POE_OK; i++) {
    if (isnan(log_p[i])) {
      status = poe_error_set(error, POE_E_NUMERIC, "the density is not a number at %.0f", x[i]);
    } else if (log_p[i] == INFINITY) {
      status = poe_error_set(error, POE_E_IMPROPER, "a divisor is 0 where the rest is not, at %.0f", x[i]);
    }
    *top = fmax(*top, log_p[i]);
  }
  return status;
}

/* Have all states from the last on, of log-density last, less than left_out of exp(total)? */
static poe_status settled(const poe_expert *target, double n, double last, double total, bool *done, poe_error *error) {
  steps after = {0.0, 0.0};
  bool known;
  poe_status status = bound_steps(target, n, &after, &known, error);
  *done = status == POE_OK && known && after.high < 0.0 && total > -INFINITY &&
          last + after.high - poei_log1m_exp(after.high) <= total + log(left_out);
  return status;
}

/* Evaluates states until the rest does not count: *log_p grows; *n = 0 when that does not happen within `limit`. */
static poe_status collect(const poe_expert *target, size_t limit, double **log_p, size_t *n, double *top,
                          poe_error *error) {
  double low = poe_expert_traits(target)->support[0].low, total = -INFINITY;
  poei_evaluator evaluator;
  poe_status status = poei_evaluator_open(target, &evaluator, error);
  size_t capacity = 0, next = POEI_EVALUATOR_ROWS;
  bool done = false;
  *n = 0;
  *top = -INFINITY;
  while (status == POE_OK && !done && *n < limit) {
    if (*n == capacity) {
      capacity = capacity == 0 ? 4 * POEI_EVALUATOR_ROWS : 2 * capacity;
      double *wide = poei_realloc(*log_p, capacity, sizeof *wide);
      if (wide == NULL) {
        status = poe_error_set(error, POE_E_MEMORY, "out of memory");
        break;
      }
      *log_p = wide;
    }
    status = evaluate(&evaluator, low + (double)*n, POEI_EVALUATOR_ROWS, &(*log_p)[*n], top, error);
    total = poei_log_add(total, poei_log_sum_exp(&(*log_p)[*n], POEI_EVALUATOR_ROWS, 1));
    *n += POEI_EVALUATOR_ROWS;
    if (status == POE_OK && *n >= next) { /* asking costs as much as some states: ask seldom */
      status = settled(target, low + (double)(*n - 1), (*log_p)[*n - 1], total, &done, error);
      next = *n + *n / 4;
    }
  }
  poei_evaluator_close(&evaluator);
  *n = done ? *n : 0;
  return status;
}

static poe_status make_series(double low, const double *log_p, size_t n, double top, poei_series **out,
                              poe_error *error) {
  poei_series *made = poei_alloc(1, sizeof *made + n * sizeof made->cumulative[0]);
  if (made == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  double total = 0.0, lost = 0.0, before = 0.0; /* Neumaier's sum, kept monotone */
  for (size_t i = 0; i < n; i++) {
    double value = exp(log_p[i] - top), sum = total + value;
    lost += fabs(total) >= value ? (total - sum) + value : (value - sum) + total;
    total = sum;
    before = fmax(before, total + lost);
    made->cumulative[i] = before;
  }
  made->low = low;
  made->n = n;
  made->log_total = top + log(made->cumulative[n - 1]);
  *out = made;
  return POE_OK;
}

static poe_status wrap(const poe_expert *target, poei_series *series, poe_expert **out, poe_error *error) {
  counted *self = poei_alloc(1, sizeof *self);
  if (self == NULL) {
    poei_free(series);
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  *self = (counted){poe_expert_retain(target), series};
  return poei_node_wrap(&counted_ops, self, out, error);
}

poe_status poei_counts_create(const poe_expert *target, size_t limit, poe_expert **out, double *last,
                              poe_error *error) {
  const poe_traits *traits = poe_expert_traits(target);
  if (traits->dim != 1 || traits->support[0].kind != POE_DISCRETE || isinf(traits->support[0].low) ||
      isfinite(traits->support[0].high) || !poei_expert_can(target, POE_CAN_EVAL)) {
    return POE_OK;
  }
  double *log_p = NULL, top;
  size_t n = 0;
  poei_series *series = NULL;
  steps any;
  bool known;
  poe_status status = bound_steps(target, traits->support[0].low + (double)limit, &any, &known, error);
  if (status != POE_OK || !known) {
    return status; /* there never will be a proof */
  }
  status = collect(target, limit, &log_p, &n, &top, error);
  if (status == POE_OK && n > 0) {
    status = make_series(traits->support[0].low, log_p, n, top, &series, error);
  }
  poei_free(log_p);
  if (status != POE_OK || series == NULL) {
    return status;
  }
  *last = traits->support[0].low + (double)(n - 1);
  return wrap(target, series, out, error);
}
