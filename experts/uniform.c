/* uniform(x | low, high): independent coordinates, each uniform between its bounds; normalised.
 *
 * Real coordinates: density 1 / (high - low) on the interval; discrete ones: 1 / (high - low + 1) on the integers low
 * .. high. Bounds that are not given are those of the variable's declaration, open or closed as it says.
 */
#include "core/alloc.h"
#include "experts/family.h"
#include "experts/form.h"
#include "experts/list.h"
#include "experts/states.h"

static const poe_param uniform_params[] = {
    {"low", POE_ARG_REAL, "d", NULL, "lower bound (default: the variable's)"},
    {"high", POE_ARG_REAL, "d", NULL, "upper bound (default: the variable's)"},
    {0},
};

typedef struct uniform {
  size_t d;
  poe_support *support; /* [d] the bounds                              */
  unsigned char *head;  /* [d] */
  double constant;      /* -sum log of the lengths (numbers of states) */
  size_t states;        /* all coordinates discrete: product of their numbers of states if it is small, else 0 */
} uniform;

static void uniform_destroy(void *self) {
  uniform *u = self;
  if (u != NULL) {
    poei_free(u->support);
    poei_free(u->head);
    poei_free(u);
  }
}

/* Replaces the declared bounds by the arguments, coordinate by coordinate. */
static poe_status uniform_bounds(const poe_args *args, const char *name, uniform *u, double *bound, poe_error *error) {
  if (poe_args_find(args, name) == NULL) {
    return POE_OK;
  }
  poe_status status = poe_args_real(args, name, 1, &u->d, NAN, false, bound, error);
  bool low = name[0] == 'l';
  for (size_t j = 0; status == POE_OK && j < u->d; j++) {
    if (low) {
      u->support[j].low = bound[j];
      u->support[j].low_open = false;
    } else {
      u->support[j].high = bound[j];
      u->support[j].high_open = false;
    }
  }
  return status;
}

static poe_status uniform_check(const poe_args *args, uniform *u, poe_error *error) {
  const poe_arg *place = poe_args_find(args, "high") != NULL ? poe_args_find(args, "high") : poe_args_find(args, "low");
  u->states = 1;
  for (size_t j = 0; j < u->d; j++) {
    const poe_support *s = &u->support[j];
    bool discrete = s->kind == POE_DISCRETE;
    if (!isfinite(s->low) || !isfinite(s->high)) {
      const poe_subject *subject = NULL;
      poei_family_support(args, j, &subject);
      poe_args_error(place, error, POE_E_IMPROPER, "`%s` over `%s`, which has no bounds, cannot be normalised",
                     args->kind, subject->name);
      poe_error_hint(error, "give low and high, or declare the variable within an interval");
      return POE_E_IMPROPER;
    }
    if (discrete ? !(s->low <= s->high) : !(s->low < s->high)) {
      return poe_args_error(place, error, POE_E_DOMAIN,
                            "`low` of `%s` must be less than `high`; at %zu they are %g, %g", args->kind, j, s->low,
                            s->high);
    }
    if (discrete && (s->low != floor(s->low) || s->high != floor(s->high))) {
      return poe_args_error(place, error, POE_E_DOMAIN, "bounds of a discrete variable must be whole; at %zu: %g, %g",
                            j, s->low, s->high);
    }
    double length = s->high - s->low + (discrete ? 1.0 : 0.0);
    if (!isfinite(length)) {
      return poe_args_error(place, error, POE_E_DOMAIN, "the interval of `%s` is too long", args->kind);
    }
    u->constant -= log(length);
    u->states = discrete && length <= (double)(POEI_FORM_STATES / (u->states > 0 ? u->states : 1))
                    ? u->states * (size_t)length
                    : 0;
  }
  return POE_OK;
}

static poe_status uniform_create(const poe_args *args, void **self, poe_error *error) {
  size_t d = poe_args_dim(args);
  if (d == 0) {
    return poe_error_set(error, POE_E_USAGE, "`%s` needs a variable before the bar", args->kind);
  }
  uniform *u = poei_calloc(1, sizeof *u);
  double *bound = poei_alloc(d, sizeof *bound);
  poe_status status = POE_OK;
  if (u != NULL) {
    u->d = d;
    u->support = poei_family_declared(args);
    u->head = poei_family_heads(d);
  }
  if (u == NULL || bound == NULL || u->support == NULL || u->head == NULL) {
    status = poei_family_memory(args->kind, error);
  }
  if (status == POE_OK) {
    status = uniform_bounds(args, "low", u, bound, error);
  }
  if (status == POE_OK) {
    status = uniform_bounds(args, "high", u, bound, error);
  }
  if (status == POE_OK) {
    status = uniform_check(args, u, error);
  }
  poei_free(bound);
  if (status != POE_OK) {
    uniform_destroy(u);
    return status;
  }
  *self = u;
  return POE_OK;
}

static void uniform_traits(const void *self, poe_traits *traits) {
  const uniform *u = self;
  *traits = (poe_traits){.dim = u->d, .support = u->support, .head = u->head};
  traits->capabilities = POE_CAN_EVAL | POE_CAN_GRADIENT | POE_CAN_SAMPLE | POE_CAN_LOG_Z;
  if (u->states > 0) {
    traits->capabilities |= POE_CAN_FORM;
  }
}

static size_t uniform_scratch(const void *self, unsigned want, size_t n) {
  (void)self;
  (void)want;
  (void)n;
  return 0;
}

static double uniform_value(const uniform *u, const double *x) {
  double value = u->constant;
  for (size_t j = 0; j < u->d; j++) {
    const poe_support *s = &u->support[j];
    if (isnan(x[j])) {
      return NAN;
    }
    bool inside = (s->low_open ? x[j] > s->low : x[j] >= s->low) && (s->high_open ? x[j] < s->high : x[j] <= s->high);
    if (s->kind == POE_DISCRETE) {
      inside = x[j] >= s->low && x[j] <= s->high && x[j] == floor(x[j]);
    }
    value = inside ? value : -INFINITY;
  }
  return value;
}

static poe_status uniform_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                   poe_scratch *scratch, poe_error *error) {
  (void)scratch;
  (void)error;
  for (size_t i = 0; i < rows.n; i++) { /* the gradient is 0 */
    poe_accum_value(&out.logp[i], weights.w[i * weights.inc], uniform_value(self, rows.x + i * rows.ld));
  }
  return POE_OK;
}

static double uniform_draw(const poe_support *s, double u) {
  if (s->kind == POE_DISCRETE) {
    return fmin(s->low + floor(u * (s->high - s->low + 1.0)), s->high);
  }
  /* Rounding may reach a bound; an open one is stepped back from. */
  double x = fmin(fmax(s->low + u * (s->high - s->low), s->low), s->high);
  if (x == s->low && s->low_open) {
    x = nextafter(x, s->high);
  }
  return x == s->high && s->high_open ? nextafter(x, s->low) : x;
}

static poe_status uniform_sample(const void *self, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                                 poe_error *error) {
  (void)scratch;
  (void)error;
  const uniform *u = self;
  for (size_t i = 0; i < rows.n; i++) {
    poe_rng_uniforms(at[i], u->d, rows.x + i * rows.ld);
    for (size_t j = 0; j < u->d; j++) {
      rows.x[i * rows.ld + j] = uniform_draw(&u->support[j], rows.x[i * rows.ld + j]);
    }
  }
  return POE_OK;
}

static poe_status uniform_log_z(const void *self, double *log_z, poe_error *error) {
  (void)self;
  (void)error;
  *log_z = 0.0;
  return POE_OK;
}

static poe_status uniform_form(const void *self, poe_form *form, poe_error *error) {
  const uniform *u = self;
  size_t *cardinality = poei_alloc(u->d, sizeof *cardinality);
  double *low = poei_alloc(u->d, sizeof *low);
  poe_status status = POE_OK;
  if (cardinality == NULL || low == NULL) {
    status = poei_family_memory("uniform", error);
  }
  for (size_t j = 0; status == POE_OK && j < u->d; j++) {
    low[j] = u->support[j].low;
    cardinality[j] = (size_t)(u->support[j].high - low[j]) + 1;
  }
  if (status == POE_OK) {
    status = poei_form_table(form, u->d, cardinality, low, error);
  }
  for (size_t s = 0; status == POE_OK && s < u->states; s++) {
    form->log_value[s] = u->constant;
  }
  poei_free(cardinality);
  poei_free(low);
  return status;
}

const poe_expert_ops poei_uniform_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "uniform",
    .doc = "uniform density (or probability) between bounds",
    .params = uniform_params,
    .create = uniform_create,
    .destroy = uniform_destroy,
    .traits = uniform_traits,
    .scratch = uniform_scratch,
    .eval_add = uniform_eval_add,
    .sample = uniform_sample,
    .log_z = uniform_log_z,
    .form = uniform_form,
};
