/* Independent coordinates with laws (separable.h): log p(x) = constant + sum_j value_j(x_j) on a box, -inf outside.
 *
 * Evaluation goes coordinate by coordinate over a tile of rows, so that a law's vector functions see whole tiles and
 * its numbers are scalars in the loop. Points outside the support are replaced by one inside before the law sees them.
 */
#include "experts/separable.h"

#include <float.h>
#include <string.h>

#include "core/alloc.h"
#include "experts/family.h"
#include "experts/form.h"

enum { ROWS = POEI_LAW_ROWS };

/* ---- building ---- */

poei_separable *poei_separable_alloc(size_t d) {
  poei_separable *s = poei_calloc(1, sizeof *s);
  if (s == NULL) {
    return NULL;
  }
  s->d = d;
  s->law = poei_calloc(d, sizeof *s->law);
  s->p = poei_calloc(d, sizeof *s->p);
  s->support = poei_calloc(d, sizeof *s->support);
  s->table = poei_calloc(d, sizeof *s->table);
  s->inside = poei_calloc(d, sizeof *s->inside);
  if (s->law == NULL || s->p == NULL || s->support == NULL || s->table == NULL || s->inside == NULL) {
    poei_separable_destroy(s);
    return NULL;
  }
  return s;
}

void poei_separable_destroy(void *self) {
  poei_separable *s = self;
  if (s == NULL) {
    return;
  }
  for (size_t j = 0; s->table != NULL && j < s->d; j++) {
    if (j == 0 || s->table[j] != s->table[j - 1]) {
      poei_free(s->table[j]);
    }
  }
  poei_free(s->law);
  poei_free(s->p);
  poei_free(s->support);
  poei_free(s->table);
  poei_free(s->inside);
  poei_free(s->head);
  poei_free(s);
}

/* Keeps a draw that rounding carried to or over an end inside; at an open end at 0 numbers begin where doubles have
 * full precision, so that slopes are finite. */
static double clamp(const poe_support *s, double x) {
  if (s->kind == POE_DISCRETE) {
    return fmin(fmax(x, s->low), s->high);
  }
  double first = s->low_open ? nextafter(s->low, INFINITY) : s->low;
  double last = s->high_open ? nextafter(s->high, -INFINITY) : s->high;
  if (s->low_open && s->low == 0.0) {
    first = fmin(DBL_MIN, last);
  }
  return fmin(fmax(x, first), last);
}

static double point_inside(const poe_support *s) {
  if (isinf(s->low) && isinf(s->high)) {
    return 0.0;
  }
  if (s->kind == POE_DISCRETE) {
    return isinf(s->low) ? s->high : s->low;
  }
  if (isinf(s->low) || isinf(s->high)) {
    return isinf(s->low) ? s->high - fmax(1.0, fabs(s->high)) : s->low + fmax(1.0, fabs(s->low));
  }
  return clamp(s, 0.5 * s->low + 0.5 * s->high);
}

static bool same_as_before(const poei_separable *s, size_t j) {
  if (j == 0 || s->law[j] != s->law[j - 1] || memcmp(s->p[j], s->p[j - 1], sizeof s->p[j]) != 0) {
    return false;
  }
  const poe_support *a = &s->support[j], *b = &s->support[j - 1];
  return a->kind == b->kind && a->low == b->low && a->high == b->high;
}

/* Are all coordinates discrete, and have they at most `limit` values together (joint: joint states)? */
static bool few_values(const poei_separable *s, double limit, bool joint) {
  double count = joint ? 1.0 : 0.0;
  for (size_t j = 0; j < s->d; j++) {
    double own = s->support[j].high - s->support[j].low + 1.0;
    count = joint ? count * own : count + own;
    if (s->support[j].kind != POE_DISCRETE || !(count <= limit)) {
      return false;
    }
  }
  return true;
}

poe_status poei_separable_finish(poei_separable *s, poe_error *error) {
  double log_mass = 0.0;
  s->log_z = s->constant;
  for (size_t j = 0; j < s->d; j++) {
    s->inside[j] = point_inside(&s->support[j]);
    if (same_as_before(s, j)) {
      s->table[j] = s->table[j - 1];
    } else {
      poe_status status = s->law[j]->prepare(s->p[j], &s->support[j], &log_mass, &s->table[j], error);
      if (status == POE_OK && !isfinite(log_mass)) {
        status = poe_error_set(error, POE_E_NUMERIC, "the log mass of a %s density on [%g, %g] is %g", s->law[j]->kind,
                               s->support[j].low, s->support[j].high, log_mass);
      }
      if (status != POE_OK) {
        return status;
      }
    }
    s->log_z += log_mass;
  }
  s->finite = few_values(s, POEI_FORM_NUMBERS, false);
  s->small = s->finite && few_values(s, POEI_FORM_STATES, true);
  if (s->log_z == 0.0 && s->constant == 0.0) {
    s->head = poei_family_heads(s->d);
    return s->head != NULL ? POE_OK : poei_family_memory("density", error);
  }
  return POE_OK;
}

/* ---- families ---- */

/* values[d, n], read parameter by parameter. */
static poe_status read_params(const poei_separable_family *family, const poe_args *args, size_t d, double *column,
                              double *values, poe_error *error) {
  for (size_t k = 0; k < family->n; k++) {
    const char *name = family->param[k].name;
    poe_status status = poe_args_real(args, name, 1, &d, family->param[k].fallback, false, column, error);
    if (status == POE_OK && family->param[k].sign == POEI_POSITIVE) {
      status = poei_family_positive(args, name, d, column, error);
    }
    for (size_t j = 0; status == POE_OK && family->param[k].sign == POEI_NOT_NEGATIVE && j < d; j++) {
      if (column[j] < 0.0) {
        status = poe_args_error(poe_args_find(args, name), error, POE_E_DOMAIN,
                                "`%s` of `%s` must be at least 0; number %zu is %g", name, args->kind, j, column[j]);
      }
    }
    if (status != POE_OK) {
      return status;
    }
    for (size_t j = 0; j < d; j++) {
      values[j * family->n + k] = column[j];
    }
  }
  return POE_OK;
}

/* a <- what both allow; false when that is nothing. */
static bool meet(poe_support *a, const poe_support *b) {
  if (b->low > a->low || (b->low == a->low && b->low_open)) {
    a->low = b->low;
    a->low_open = b->low_open;
  }
  if (b->high < a->high || (b->high == a->high && b->high_open)) {
    a->high = b->high;
    a->high_open = b->high_open;
  }
  return a->kind == POE_DISCRETE ? a->low <= a->high : a->low < a->high;
}

static poe_status set_coordinates(const poei_separable_family *family, const poe_args *args, const double *values,
                                  poei_separable *s, poe_error *error) {
  for (size_t j = 0; j < s->d; j++) {
    const poe_subject *subject = NULL;
    const poe_support *declared = poei_family_support(args, j, &subject);
    s->law[j] = family->law;
    s->support[j] = family->set(&values[j * family->n], declared, s->p[j]);
    double low = s->support[j].low, high = s->support[j].high;
    if (!meet(&s->support[j], declared)) {
      return poe_error_set(error, POE_E_EMPTY, "`%s` is a density on [%g, %g], but `%s` holds [%g, %g]", args->kind,
                           low, high, subject->name, declared->low, declared->high);
    }
  }
  return POE_OK;
}

poe_status poei_separable_create(const poei_separable_family *family, const poe_args *args, void **self,
                                 poe_error *error) {
  poe_status status = poei_family_need(args, family->kind, error);
  if (status != POE_OK) {
    return status;
  }
  size_t d = poe_args_dim(args);
  poei_separable *s = poei_separable_alloc(d);
  double *values = poei_alloc(d, (family->n + 1) * sizeof *values);
  if (s == NULL || values == NULL) {
    status = poei_family_memory(args->kind, error);
  }
  if (status == POE_OK) {
    status = read_params(family, args, d, values + d * family->n, values, error);
  }
  if (status == POE_OK) {
    status = set_coordinates(family, args, values, s, error);
  }
  if (status == POE_OK) {
    status = poei_separable_finish(s, error);
  }
  poei_free(values);
  if (status != POE_OK) {
    poei_separable_destroy(s);
    return status;
  }
  *self = s;
  return POE_OK;
}

/* ---- slots ---- */

void poei_separable_traits(const void *self, poe_traits *traits) {
  const poei_separable *s = self;
  *traits = (poe_traits){.dim = s->d, .support = s->support, .head = s->head};
  traits->capabilities = POE_CAN_EVAL | POE_CAN_GRADIENT | POE_CAN_SAMPLE | POE_CAN_LOG_Z | POE_CAN_STRUCTURE;
  traits->capabilities |= s->finite ? POE_CAN_LOCAL | POE_CAN_ONEHOT : 0u;
  traits->capabilities |= s->small ? POE_CAN_FORM : 0u;
}

size_t poei_separable_scratch(const void *self, unsigned want, size_t n) {
  (void)n;
  return (want & POE_WANT_ONEHOT) != 0 ? poei_separable_onehot_scratch(self) : 0;
}

static bool is_inside(const poe_support *s, double x) {
  if (s->kind == POE_DISCRETE) {
    return x >= s->low && x <= s->high && isfinite(x) && x == floor(x);
  }
  bool inside = (s->low_open ? x > s->low : x >= s->low) && (s->high_open ? x < s->high : x <= s->high);
  return inside && isfinite(x);
}

static void separable_tile(const poei_separable *s, poe_rows rows, poe_weights weights, poe_accum out) {
  double x[ROWS], value[ROWS], slope[ROWS], sum[ROWS], outside[ROWS];
  for (size_t i = 0; i < rows.n; i++) {
    sum[i] = s->constant;
  }
  for (size_t j = 0; j < s->d; j++) {
    const poe_support *support = &s->support[j];
    for (size_t i = 0; i < rows.n; i++) {
      double given = rows.x[i * rows.ld + j];
      bool inside = is_inside(support, given);
      x[i] = inside ? given : s->inside[j];
      outside[i] = inside ? 0.0 : isnan(given) ? NAN : -INFINITY;
    }
    bool wanted = out.grad != NULL && support->kind == POE_CONTINUOUS;
    s->law[j]->eval(s->p[j], rows.n, x, value, wanted ? slope : NULL);
    for (size_t i = 0; i < rows.n; i++) {
      sum[i] += value[i] + outside[i];
    }
    for (size_t i = 0; wanted && i < rows.n; i++) {
      double w = weights.w[i * weights.inc];
      out.grad[i * out.ldg + j] += w != 0.0 && outside[i] == 0.0 ? w * slope[i] : 0.0;
    }
  }
  for (size_t i = 0; i < rows.n; i++) {
    poe_accum_value(&out.logp[i], weights.w[i * weights.inc], sum[i]);
  }
}

poe_status poei_separable_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                   poe_scratch *scratch, poe_error *error) {
  (void)scratch;
  (void)error;
  for (size_t start = 0; start < rows.n; start += ROWS) {
    size_t n = rows.n - start < ROWS ? rows.n - start : ROWS;
    poe_rows part = {n, rows.d, rows.ld, rows.x + start * rows.ld};
    poe_weights part_weights = {weights.w + start * weights.inc, weights.inc};
    poe_accum part_out = {out.logp + start, out.grad != NULL ? out.grad + start * out.ldg : NULL, out.ldg};
    separable_tile(self, part, part_weights, part_out);
  }
  return POE_OK;
}

poe_status poei_separable_sample(const void *self, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                                 poe_error *error) {
  (void)scratch;
  (void)error;
  const poei_separable *s = self;
  for (size_t i = 0; i < rows.n; i++) {
    poe_stream stream = poe_stream_open(at[i]);
    for (size_t j = 0; j < s->d; j++) {
      double x = s->law[j]->draw(s->p[j], &s->support[j], s->table[j], &stream);
      rows.x[i * rows.ld + j] = clamp(&s->support[j], x);
    }
  }
  return POE_OK;
}

poe_status poei_separable_log_z(const void *self, double *log_z, poe_error *error) {
  (void)error;
  *log_z = ((const poei_separable *)self)->log_z;
  return POE_OK;
}

/* ---- the closed forms ---- */

static poe_status form_fill(const poei_separable *s, size_t total, size_t *cardinality, double *low, poe_form *form,
                            poe_error *error) {
  double *log_p = poei_alloc(total, sizeof *log_p), *next = log_p;
  if (log_p == NULL) {
    return poei_family_memory("table", error);
  }
  for (size_t j = 0; j < s->d; j++) {
    poei_separable_values(s, j, next);
    for (size_t i = 0; j == 0 && i < cardinality[0]; i++) {
      next[i] += s->constant;
    }
    next += cardinality[j];
  }
  poe_status status = poei_form_independent(form, s->d, cardinality, low, log_p, error);
  poei_free(log_p);
  return status;
}

poe_status poei_separable_form(const void *self, poe_form *form, poe_error *error) {
  const poei_separable *s = self;
  size_t *cardinality = poei_alloc(s->d, sizeof *cardinality), total = 0;
  double *low = poei_alloc(s->d, sizeof *low);
  poe_status status = cardinality == NULL || low == NULL ? poei_family_memory("table", error) : POE_OK;
  for (size_t j = 0; status == POE_OK && j < s->d; j++) {
    low[j] = s->support[j].low;
    cardinality[j] = (size_t)(s->support[j].high - low[j]) + 1; /* few: see few_values */
    total += cardinality[j];
  }
  if (status == POE_OK) {
    status = form_fill(s, total, cardinality, low, form, error);
  }
  poei_free(cardinality);
  poei_free(low);
  return status;
}

poe_status poei_separable_structure(const void *self, poe_structure *structure, poe_error *error) {
  const poei_separable *s = self;
  if (s->finite) {
    return poei_separable_factors(s, structure, error);
  }
  poe_structure made = {.kind = POE_STRUCTURE_NATURAL, .dim = s->d};
  made.as.natural.constant = s->constant;
  made.as.natural.coefficient = poei_calloc(s->d, POE_STATISTICS * sizeof(double));
  if (made.as.natural.coefficient == NULL) {
    return poei_family_memory("closed form", error);
  }
  for (size_t j = 0; j < s->d; j++) {
    made.as.natural.constant += s->law[j]->natural(s->p[j], &made.as.natural.coefficient[j * POE_STATISTICS]);
  }
  *structure = made;
  return POE_OK;
}
