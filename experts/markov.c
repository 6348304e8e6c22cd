/* markov(s | initial, transition): a first-order chain over k values, normalised over the whole sequence.
 *
 *   log p(s) = log initial[s_0] + sum_t log transition[s_(t-1)][s_t]
 */
#include "core/alloc.h"
#include "experts/discrete.h"
#include "experts/factors.h"
#include "experts/family.h"
#include "experts/list.h"
#include "experts/messages.h"
#include "experts/states.h"

static const poe_param markov_params[] = {
    {"initial", POE_ARG_REAL, "k", NULL, "probabilities of the first value"},
    {"transition", POE_ARG_REAL, "k,k", NULL, "transition[from][to]: probabilities of the next value, a row for each"},
    {0},
};

typedef struct markov {
  size_t d, k;
  double *initial, *log_initial;       /* [k]    */
  double *transition, *log_transition; /* [k, k] */
  poe_support *support;                /* [d]    */
  unsigned char *head;                 /* [d]    */
} markov;

static void markov_destroy(void *self) {
  markov *m = self;
  if (m != NULL) {
    poei_free(m->initial);
    poei_free(m->log_initial);
    poei_free(m->transition);
    poei_free(m->log_transition);
    poei_free(m->support);
    poei_free(m->head);
    poei_free(m);
  }
}

static poe_status markov_fill(const poe_args *args, markov *m, poe_error *error) {
  m->d = poe_args_dim(args);
  m->support = poei_discrete_support(m->d, m->k);
  m->head = poei_family_heads(m->d);
  if (m->support == NULL || m->head == NULL) {
    return poei_family_memory(args->kind, error);
  }
  poe_status status = poei_discrete_stochastic(args, "initial", 1, m->k, &m->initial, &m->log_initial, error);
  if (status == POE_OK) {
    status = poei_discrete_stochastic(args, "transition", m->k, m->k, &m->transition, &m->log_transition, error);
  }
  return status;
}

static poe_status markov_create(const poe_args *args, void **self, poe_error *error) {
  size_t k = 0;
  poe_status status = poei_discrete_sequence(args, &k, error);
  if (status != POE_OK) {
    return status;
  }
  markov *m = poei_calloc(1, sizeof *m);
  if (m == NULL) {
    return poei_family_memory(args->kind, error);
  }
  m->k = k;
  status = markov_fill(args, m, error);
  if (status != POE_OK) {
    markov_destroy(m);
    return status;
  }
  *self = m;
  return POE_OK;
}

static void markov_traits(const void *self, poe_traits *traits) {
  const markov *m = self;
  *traits = (poe_traits){.dim = m->d, .support = m->support, .head = m->head};
  traits->capabilities =
      POE_CAN_EVAL | POE_CAN_GRADIENT | POE_CAN_SAMPLE | POE_CAN_LOG_Z | POE_CAN_LOCAL | POE_CAN_ONEHOT;
  if (poei_discrete_small(m->d, m->k)) {
    traits->capabilities |= POE_CAN_FORM;
  }
  if ((double)m->k * (double)m->k * (double)m->d <= (double)POEI_FORM_NUMBERS) {
    traits->capabilities |= POE_CAN_STRUCTURE;
  }
}

static double markov_value(const markov *m, const double *x) {
  size_t k = m->k, before = k;
  poei_running_sum total = {0};
  for (size_t t = 0; t < m->d; t++) {
    if (isnan(x[t])) {
      return NAN;
    }
    size_t value = poei_state_index(x[t], 0.0, k);
    bool inside = value < k && (t == 0 || before < k);
    poei_running_add(&total, !inside  ? -INFINITY
                             : t == 0 ? m->log_initial[value]
                                      : m->log_transition[before * k + value]);
    before = value;
  }
  return poei_running_total(&total);
}

static poe_status markov_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                  poe_scratch *scratch, poe_error *error) {
  (void)scratch;
  (void)error;
  for (size_t i = 0; i < rows.n; i++) {
    poe_accum_value(&out.logp[i], weights.w[i * weights.inc], markov_value(self, rows.x + i * rows.ld));
  }
  return POE_OK;
}

static poe_status markov_sample(const void *self, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                                poe_error *error) {
  (void)scratch;
  (void)error;
  const markov *m = self;
  for (size_t i = 0; i < rows.n; i++) {
    poe_stream stream = poe_stream_open(at[i]);
    size_t value = poe_stream_categorical(&stream, m->initial, m->k);
    rows.x[i * rows.ld] = (double)value;
    for (size_t t = 1; t < m->d; t++) {
      value = poe_stream_categorical(&stream, m->transition + value * m->k, m->k);
      rows.x[i * rows.ld + t] = (double)value;
    }
  }
  return POE_OK;
}

static poe_status markov_log_z(const void *self, double *log_z, poe_error *error) {
  (void)self;
  (void)error;
  *log_z = 0.0;
  return POE_OK;
}

static poe_status markov_form(const void *self, poe_form *form, poe_error *error) {
  return poei_discrete_form(&poei_markov_ops, self, form, error);
}

static poe_status markov_structure(const void *self, poe_structure *structure, poe_error *error) {
  const markov *m = self;
  poe_structure made = {0};
  poe_status status = poei_factors_start(&made, m->d, m->k, 0, m->d, error);
  if (status == POE_OK) {
    status = poei_factors_copy(&made, 1, (size_t[]){0}, m->log_initial, error);
  }
  for (size_t t = 1; status == POE_OK && t < m->d; t++) {
    status = poei_factors_copy(&made, 2, (size_t[]){t - 1, t}, m->log_transition, error);
  }
  if (status == POE_OK) {
    *structure = made;
  }
  return status;
}

/* ---- one site: broken counts the steps t, of d, that are impossible or outside ---- */

static double step_value(const markov *m, const poei_sites *sites, size_t t) {
  size_t k = m->k;
  const uint32_t *value = sites->value + t;
  if (*value == k || (t > 0 && value[-1] == k)) {
    return -INFINITY;
  }
  return t == 0 ? m->log_initial[*value] : m->log_transition[value[-1] * k + *value];
}

/* How many of the steps into and out of site j are impossible. */
static size_t broken_around(const markov *m, const poei_sites *sites, size_t j) {
  size_t next = j + 1 < m->d && step_value(m, sites, j + 1) == -INFINITY;
  return next + (step_value(m, sites, j) == -INFINITY);
}

static size_t markov_state_bytes(const void *self) {
  return poei_sites_bytes(((const markov *)self)->d);
}

static size_t markov_local_scratch(const void *self) {
  (void)self;
  return 0;
}

static poe_status markov_open(const void *self, const double *x, void *state, poe_scratch *scratch, poe_error *error) {
  (void)scratch;
  (void)error;
  const markov *m = self;
  poei_sites *sites = state;
  poei_sites_open(sites, m->d, m->k, x);
  sites->broken = 0;
  for (size_t t = 0; t < m->d; t++) {
    sites->broken += step_value(m, sites, t) == -INFINITY;
  }
  return POE_OK;
}

static poe_status markov_conditional(const void *self, void *state, size_t j, double *out, poe_scratch *scratch,
                                     poe_error *error) {
  (void)scratch;
  (void)error;
  const markov *m = self;
  const poei_sites *sites = state;
  size_t k = m->k, before = j > 0 ? sites->value[j - 1] : 0, after = j + 1 < m->d ? sites->value[j + 1] : 0;
  bool broken = sites->broken > broken_around(m, sites, j) || before == k || after == k;
  const double *in = j == 0 ? m->log_initial : m->log_transition + before * k;
  for (size_t v = 0; v < k; v++) {
    out[v] = broken ? -INFINITY : in[v] + (j + 1 < m->d ? m->log_transition[v * k + after] : 0.0);
  }
  return POE_OK;
}

static poe_status markov_set(const void *self, void *state, size_t j, double value, poe_scratch *scratch,
                             poe_error *error) {
  (void)scratch;
  (void)error;
  const markov *m = self;
  poei_sites *sites = state;
  sites->broken -= broken_around(m, sites, j);
  sites->value[j] = (uint32_t)poei_state_index(value, 0.0, m->k);
  sites->broken += broken_around(m, sites, j);
  return POE_OK;
}

static const poe_local_ops markov_local = {
    .state_bytes = markov_state_bytes,
    .scratch = markov_local_scratch,
    .open = markov_open,
    .conditional = markov_conditional,
    .set = markov_set,
};

static size_t markov_scratch(const void *self, unsigned want, size_t n) {
  const markov *m = self;
  (void)n;
  return (want & POE_WANT_ONEHOT) != 0 ? poei_onehot_scratch(&markov_local, self, m->d, m->support) : 0;
}

static poe_status markov_onehot_grad_add(const void *self, poe_rows rows, poe_weights weights, double *out, size_t ldo,
                                         poe_scratch *scratch, poe_error *error) {
  const markov *m = self;
  return poei_onehot_grad_add(&markov_local, self, m->support, rows, weights, out, ldo, scratch, error);
}

const poe_expert_ops poei_markov_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "markov",
    .doc = "first-order Markov chain over the values of a sequence",
    .params = markov_params,
    .create = markov_create,
    .destroy = markov_destroy,
    .traits = markov_traits,
    .scratch = markov_scratch,
    .eval_add = markov_eval_add,
    .sample = markov_sample,
    .log_z = markov_log_z,
    .form = markov_form,
    .structure = markov_structure,
    .local = &markov_local,
    .onehot_grad_add = markov_onehot_grad_add,
};
