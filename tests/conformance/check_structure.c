/* Checks of the factored closed form: term by term as poe/expert.h defines it, with every configuration of the latent
 * variables added up, it is log p at points of the support and at random points of its box. */
#include <stdlib.h>
#include <string.h>

#include "core/numerics.h"
#include "tests/conformance/conformance.h"

enum { CONFIGURATIONS = 1 << 20, CHEAP = 1 << 14 };

static bool has(const poe_expert *expert, unsigned bits) {
  return (poe_expert_traits(expert)->capabilities & bits) == bits;
}

/* ---- sparse Gaussians ---- */

static bool sparse_sound(const poe_sparse_gaussian *g, size_t d, poet_report *report) {
  if (g->column_start[0] != 0) {
    poet_fail(report, "the first column does not start at 0");
    return false;
  }
  for (size_t j = 0; j < d; j++) {
    size_t first = g->column_start[j], end = g->column_start[j + 1];
    bool sound = first < end && g->row[first] == j;
    for (size_t i = first; sound && i < end; i++) {
      sound = g->row[i] < d && (i == first || g->row[i] > g->row[i - 1]);
    }
    if (!sound) {
      poet_fail(report, "column %zu of the precision is not a diagonal and ascending rows below it", j);
      return false;
    }
  }
  return true;
}

static double sparse_value(const poe_sparse_gaussian *g, size_t d, const double *x) {
  double value = g->constant;
  for (size_t j = 0; j < d; j++) {
    double u = x[j] - g->origin[j];
    value += g->linear[j] * u;
    for (size_t i = g->column_start[j]; i < g->column_start[j + 1]; i++) {
      size_t r = g->row[i];
      value -= (r == j ? 0.5 : 1.0) * u * g->precision[i] * (x[r] - g->origin[r]); /* both triangles */
    }
  }
  return value;
}

/* ---- exponential families ---- */

static double statistic(poe_statistic s, double x) {
  switch (s) {
  case POE_STATISTIC_IDENTITY:
    return x;
  case POE_STATISTIC_SQUARE:
    return x * x;
  case POE_STATISTIC_LOG:
    return log(x);
  case POE_STATISTIC_LOG_COMPLEMENT:
    return log1p(-x);
  case POE_STATISTIC_LOG_SQUARE:
    return log(x) * log(x);
  case POE_STATISTIC_COS:
    return cos(x);
  case POE_STATISTIC_SIN:
    return sin(x);
  case POE_STATISTIC_LOG_FACTORIAL:
    return lgamma(x + 1.0);
  case POE_STATISTICS:
    break;
  }
  return NAN;
}

static double natural_value(const poe_natural *natural, size_t d, const double *x) {
  double value = natural->constant;
  for (size_t j = 0; j < d; j++) {
    for (int s = 0; s < POE_STATISTICS; s++) {
      double coefficient = natural->coefficient[j * POE_STATISTICS + (size_t)s];
      value += coefficient == 0.0 ? 0.0 : coefficient * statistic((poe_statistic)s, x[j]);
    }
  }
  return value;
}

/* ---- factor graphs ---- */

/* part[latents]: the smallest latent variable that each one is connected with through factors, given the coordinates.
 */
static void find_parts(const poe_factors *graph, size_t d, size_t *part) {
  for (size_t l = 0; l < graph->latents; l++) {
    part[l] = l;
  }
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t f = 0; f < graph->n; f++) {
      const poe_factor *factor = &graph->factor[f];
      size_t least = SIZE_MAX;
      for (size_t i = 0; i < factor->n; i++) {
        if (factor->variable[i] >= d && part[factor->variable[i] - d] < least) {
          least = part[factor->variable[i] - d];
        }
      }
      for (size_t i = 0; i < factor->n; i++) {
        if (factor->variable[i] >= d && part[factor->variable[i] - d] != least) {
          part[factor->variable[i] - d] = least;
          changed = true;
        }
      }
    }
  }
}

/* Number of configurations of the latent variables of one part, at most a little above CONFIGURATIONS. */
static size_t configurations(const poe_factors *graph, size_t d, const size_t *part, size_t which) {
  size_t count = 1;
  for (size_t l = 0; l < graph->latents && count <= CONFIGURATIONS; l++) {
    count *= part[l] == which ? graph->cardinality[d + l] : 1;
  }
  return count;
}

static bool factor_sound(const poe_factor *factor, const poe_factors *graph, size_t d) {
  size_t numbers = 1;
  for (size_t i = 0; i < factor->n; i++) {
    if (factor->variable[i] >= d + graph->latents) {
      return false;
    }
    for (size_t j = 0; j < i; j++) {
      if (factor->variable[j] == factor->variable[i]) {
        return false;
      }
    }
    numbers *= graph->cardinality[factor->variable[i]];
  }
  for (size_t i = 0; i < numbers; i++) {
    if (isnan(factor->log_value[i]) || factor->log_value[i] == INFINITY) {
      return false;
    }
  }
  return true;
}

static bool factors_sound(const poe_expert *expert, const poe_factors *graph, poet_report *report) {
  const poe_traits *traits = poe_expert_traits(expert);
  size_t d = traits->dim;
  for (size_t j = 0; j < d + graph->latents; j++) {
    bool fits = graph->cardinality[j] >= 1;
    if (j < d) {
      const poe_support *s = &traits->support[j];
      fits =
          s->kind == POE_DISCRETE && graph->low[j] == s->low && (double)graph->cardinality[j] == s->high - s->low + 1;
    }
    if (!fits) {
      poet_fail(report, "variable %zu of the factor graph has %zu values", j, graph->cardinality[j]);
      return false;
    }
  }
  for (size_t f = 0; f < graph->n; f++) {
    if (!factor_sound(&graph->factor[f], graph, d)) {
      poet_fail(report, "factor %zu is over unknown or repeated variables, or holds NaN or inf", f);
      return false;
    }
  }
  return true;
}

/* The part of a factor, SIZE_MAX when it has no latent variable. */
static size_t part_of(const poe_factor *factor, size_t d, const size_t *part) {
  for (size_t i = 0; i < factor->n; i++) {
    if (factor->variable[i] >= d) {
      return part[factor->variable[i] - d];
    }
  }
  return SIZE_MAX;
}

/* Sum of n factors at value[d + latents]. */
static double sum_factors(const poe_factors *graph, size_t n, const size_t *which, const size_t *value) {
  double sum = 0.0;
  for (size_t f = 0; f < n; f++) {
    const poe_factor *factor = &graph->factor[which[f]];
    size_t index = 0;
    for (size_t i = 0; i < factor->n; i++) {
      index = index * graph->cardinality[factor->variable[i]] + value[factor->variable[i]];
    }
    sum += factor->log_value[index];
  }
  return sum;
}

/* list[] = the factors of a part; returns how many. */
static size_t factors_of(const poe_factors *graph, size_t d, const size_t *part, size_t which, size_t *list) {
  size_t n = 0;
  for (size_t f = 0; f < graph->n; f++) {
    if (part_of(&graph->factor[f], d, part) == which) {
      list[n++] = f;
    }
  }
  return n;
}

/* log of the sum over the configurations of a part; value[] holds the coordinates. NaN when there are too many. */
static double part_sum(const poe_factors *graph, size_t d, const size_t *part, size_t which, size_t n,
                       const size_t *list, size_t *value) {
  size_t count = configurations(graph, d, part, which);
  if (count > CONFIGURATIONS) {
    return NAN;
  }
  double *each = poet_doubles(count);
  for (size_t s = 0; s < count; s++) {
    size_t rest = s;
    for (size_t l = 0; l < graph->latents; l++) {
      if (part[l] == which) {
        value[d + l] = rest % graph->cardinality[d + l];
        rest /= graph->cardinality[d + l];
      }
    }
    each[s] = sum_factors(graph, n, list, value);
  }
  double total = poei_log_sum_exp(each, count, 1);
  free(each);
  return total;
}

/* log of the sum over the latent variables at x: parts that do not meet are added up each by itself. */
static double factors_value(const poe_factors *graph, size_t d, const double *x, poet_report *report) {
  size_t variables = d + graph->latents, *value = calloc(2 * variables + graph->n + 1, sizeof *value);
  size_t *part = value + variables, *list = part + variables;
  if (value == NULL) {
    return NAN;
  }
  find_parts(graph, d, part);
  for (size_t j = 0; j < d; j++) {
    value[j] = (size_t)(x[j] - graph->low[j]);
  }
  double total = graph->constant + sum_factors(graph, factors_of(graph, d, part, SIZE_MAX, list), list, value);
  for (size_t which = 0; which < graph->latents; which++) {
    if (part[which] == which) {
      total += part_sum(graph, d, part, which, factors_of(graph, d, part, which, list), list, value);
    }
  }
  free(value);
  if (isnan(total)) {
    poet_fail(report, "the latent variables have more than %d configurations: make the case smaller", CONFIGURATIONS);
  }
  return total;
}

/* ---- all together ---- */

static bool structure_sound(const poe_expert *expert, const poe_structure *structure, poet_report *report) {
  if (structure->dim != poe_expert_traits(expert)->dim) {
    poet_fail(report, "the structure has %zu coordinates", structure->dim);
    return false;
  }
  switch (structure->kind) {
  case POE_STRUCTURE_SPARSE:
    return sparse_sound(&structure->as.sparse, structure->dim, report);
  case POE_STRUCTURE_FACTORS:
    return factors_sound(expert, &structure->as.factors, report);
  case POE_STRUCTURE_NATURAL:
    break;
  }
  return true;
}

static double structure_value(const poe_structure *structure, const double *x, poet_report *report) {
  switch (structure->kind) {
  case POE_STRUCTURE_SPARSE:
    return sparse_value(&structure->as.sparse, structure->dim, x);
  case POE_STRUCTURE_NATURAL:
    return natural_value(&structure->as.natural, structure->dim, x);
  case POE_STRUCTURE_FACTORS:
    return factors_value(&structure->as.factors, structure->dim, x, report);
  }
  return NAN;
}

/* What rounding alone costs, as for dense forms. */
static double structure_tolerance(const poe_structure *structure) {
  double largest = structure->kind == POE_STRUCTURE_SPARSE ? fabs(structure->as.sparse.constant) : 0.0;
  for (size_t j = 0; structure->kind == POE_STRUCTURE_NATURAL && j < structure->dim * POE_STATISTICS; j++) {
    largest = fmax(largest, fabs(structure->as.natural.coefficient[j]));
  }
  return 1e-10 + 16.0 * 2.2e-16 * largest;
}

/* Every which point is looked at: all when they are cheap, a few when adding up takes long. */
static size_t structure_step(const poe_structure *structure) {
  if (structure->kind != POE_STRUCTURE_FACTORS) {
    return 1;
  }
  const poe_factors *graph = &structure->as.factors;
  size_t *part = calloc(graph->latents + 1, sizeof *part), most = 1;
  if (part != NULL) {
    find_parts(graph, structure->dim, part);
  }
  for (size_t l = 0; part != NULL && l < graph->latents; l++) {
    size_t count = configurations(graph, structure->dim, part, l);
    most = count > most ? count : most;
  }
  free(part);
  return 1 + most / CHEAP;
}

/* Points of the support, then (for factor graphs, which must know their zeros) random ones of its box. */
static double *structure_points(const poet_case *c, const poe_expert *expert, size_t n, size_t more) {
  const poe_traits *traits = poe_expert_traits(expert);
  double *points = poet_points(c, expert, n), *x = poet_doubles((n + more) * traits->dim);
  memcpy(x, points, n * traits->dim * sizeof *x);
  for (size_t i = n; i < n + more; i++) {
    for (size_t j = 0; j < traits->dim; j++) {
      const poe_support *s = &traits->support[j];
      x[i * traits->dim + j] = floor(poet_spread(i, j, s->low, s->high + 1.0));
    }
  }
  free(points);
  return x;
}

void poet_check_structure(const poet_case *c, const poe_expert *expert, poet_report *report) {
  enum { N = 30 };
  poe_structure structure = {0};
  poe_error error = {0};
  if (!has(expert, POE_CAN_STRUCTURE)) {
    return;
  }
  if (poe_expert_structure(expert, &structure, &error) != POE_OK) {
    poet_fail(report, "the structure failed: %s", error.message);
    return;
  }
  if (structure_sound(expert, &structure, report) && has(expert, POE_CAN_EVAL)) {
    size_t d = structure.dim, more = structure.kind == POE_STRUCTURE_FACTORS ? N : 0;
    double *x = structure_points(c, expert, N, more), *logp = poet_doubles(N + more);
    poet_eval(expert, N + more, d, x, logp, NULL);
    size_t step = structure_step(&structure), failed = report->failures;
    for (size_t i = 0; i < N + more && report->failures == failed; i += step) {
      poet_close(report, structure_value(&structure, x + i * d, report), logp[i], structure_tolerance(&structure),
                 "log p of the structure", i, 0);
    }
    free(x);
    free(logp);
  }
  poe_structure_release(&structure);
  if (structure.as.factors.n != 0 || structure.dim != 0) {
    poet_fail(report, "a released structure is not empty");
  }
}
