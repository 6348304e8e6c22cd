/* hmm(x | initial, transition, emission): a chain of latent states z seen through symbols x, the chain summed out.
 *
 *   p(x) = sum over z of initial[z_0] emission[z_0][x_0] prod_t transition[z_(t-1)][z_t] emission[z_t][x_t]
 *
 * by the forward algorithm (Rabiner 1989, equations 18-21) on log messages, for all rows side by side: no length and no
 * unlikely symbol underflows. Normalised over the whole sequence.
 */
#include "experts/hmm.h"

#include <string.h>

#include "core/alloc.h"
#include "core/numerics.h"
#include "experts/factors.h"
#include "experts/family.h"
#include "experts/list.h"
#include "experts/messages.h"
#include "experts/states.h"

static const poe_param hmm_params[] = {
    {"initial", POE_ARG_REAL, "k", NULL, "probabilities of the first latent state"},
    {"transition", POE_ARG_REAL, "k,k", NULL, "transition[from][to]: probabilities of the next latent state"},
    {"emission", POE_ARG_REAL, "k,symbols", NULL, "emission[state][symbol]: probabilities of what is seen"},
    {0},
};

/* ---- making ---- */

static void hmm_destroy(void *self) {
  poei_hmm *h = self;
  if (h != NULL) {
    poei_free(h->initial);
    poei_free(h->log_initial);
    poei_free(h->transition);
    poei_free(h->log_transition);
    poei_free(h->back);
    poei_free(h->log_back);
    poei_free(h->emission);
    poei_free(h->log_emission);
    poei_free(h->log_symbol);
    poei_free(h->support);
    poei_free(h->head);
    poei_free(h);
  }
}

/* to[columns, rows] = from[rows, columns] transposed. */
static void transpose(size_t rows, size_t columns, const double *from, double *to) {
  for (size_t r = 0; r < rows; r++) {
    for (size_t c = 0; c < columns; c++) {
      to[c * rows + r] = from[r * columns + c];
    }
  }
}

static poe_status hmm_read(const poe_args *args, poei_hmm *h, poe_error *error) {
  const poe_arg *initial = poe_args_find(args, "initial");
  h->states = initial != NULL && initial->ndim > 0 ? initial->shape[initial->ndim - 1] : 1;
  size_t s = h->states;
  poe_status status = poei_discrete_stochastic(args, "initial", 1, s, &h->initial, &h->log_initial, error);
  if (status == POE_OK) {
    status = poei_discrete_stochastic(args, "transition", s, s, &h->transition, &h->log_transition, error);
  }
  if (status == POE_OK) {
    status = poei_discrete_stochastic(args, "emission", s, h->k, &h->emission, &h->log_emission, error);
  }
  if (status == POE_OK) {
    h->back = poei_alloc(s, s * sizeof(double));
    h->log_back = poei_alloc(s, s * sizeof(double));
    h->log_symbol = poei_alloc(h->k + 1, s * sizeof(double));
    if (h->back == NULL || h->log_back == NULL || h->log_symbol == NULL) {
      status = poei_family_memory(args->kind, error);
    }
  }
  if (status == POE_OK) {
    transpose(s, s, h->transition, h->back);
    transpose(s, s, h->log_transition, h->log_back);
    transpose(s, h->k, h->log_emission, h->log_symbol);
    for (size_t z = 0; z < s; z++) {
      h->log_symbol[h->k * s + z] = -INFINITY;
    }
  }
  return status;
}

static poe_status hmm_create(const poe_args *args, void **self, poe_error *error) {
  size_t k = 0;
  poe_status status = poei_discrete_sequence(args, &k, error);
  if (status != POE_OK) {
    return status;
  }
  poei_hmm *h = poei_calloc(1, sizeof *h);
  if (h == NULL) {
    return poei_family_memory(args->kind, error);
  }
  h->d = poe_args_dim(args);
  h->k = k;
  h->support = poei_discrete_support(h->d, k);
  h->head = poei_family_heads(h->d);
  status = h->support == NULL || h->head == NULL ? poei_family_memory(args->kind, error) : hmm_read(args, h, error);
  if (status != POE_OK) {
    hmm_destroy(h);
    return status;
  }
  *self = h;
  return POE_OK;
}

static void hmm_traits(const void *self, poe_traits *traits) {
  const poei_hmm *h = self;
  *traits = (poe_traits){.dim = h->d, .support = h->support, .head = h->head};
  traits->capabilities =
      POE_CAN_EVAL | POE_CAN_GRADIENT | POE_CAN_SAMPLE | POE_CAN_LOG_Z | POE_CAN_LOCAL | POE_CAN_ONEHOT;
  if (poei_discrete_small(h->d, h->k)) {
    traits->capabilities |= POE_CAN_FORM;
  }
  if ((double)h->states * (double)(h->states + h->k) * (double)h->d <= (double)POEI_FORM_NUMBERS) {
    traits->capabilities |= POE_CAN_STRUCTURE;
  }
}

/* ---- values ---- */

enum { HMM_ROWS = 64 }; /* rows side by side */

static size_t hmm_scratch(const void *self, unsigned want, size_t n) {
  const poei_hmm *h = self;
  if ((want & POE_WANT_ONEHOT) != 0) {
    return poei_onehot_scratch(&poei_hmm_local, self, h->d, h->support);
  }
  if ((want & POE_WANT_SAMPLE) != 0) {
    return 0;
  }
  size_t m = n < HMM_ROWS ? n : HMM_ROWS;
  return 3 * poe_scratch_need(m * h->states, sizeof(double)) + poe_scratch_need(m, sizeof(double)) +
         poe_scratch_need(m, sizeof(poei_running_sum)) + poe_scratch_need(m, 1);
}

/* Multiplies the messages a[states, n] by the probability of each row's symbol x[t]; nan[n] marks rows with a NaN. */
static void hmm_see(const poei_hmm *h, poe_rows rows, size_t t, double *a, unsigned char *nan) {
  for (size_t i = 0; i < rows.n; i++) {
    double x = rows.x[i * rows.ld + t];
    nan[i] = nan[i] || isnan(x);
    const double *symbol = h->log_symbol + poei_state_index(x, 0.0, h->k) * h->states;
    for (size_t z = 0; z < h->states; z++) {
      a[z * rows.n + i] += symbol[z];
    }
  }
}

static void hmm_block(const poei_hmm *h, poe_rows rows, const double *w, size_t inc, double *logp,
                      poe_scratch *scratch) {
  size_t mark = poe_scratch_mark(scratch), n = rows.n;
  double *a = poe_scratch_doubles(scratch, n * h->states), *next = poe_scratch_doubles(scratch, n * h->states);
  double *work = poe_scratch_doubles(scratch, n * h->states), *shift = poe_scratch_doubles(scratch, n);
  poei_running_sum *total = poe_scratch_bytes(scratch, n * sizeof *total);
  unsigned char *nan = poe_scratch_bytes(scratch, n);
  memset(total, 0, n * sizeof *total);
  memset(nan, 0, n);
  for (size_t z = 0; z < h->states; z++) {
    for (size_t i = 0; i < n; i++) {
      a[z * n + i] = h->log_initial[z];
    }
  }
  hmm_see(h, rows, 0, a, nan);
  for (size_t t = 1; t < h->d; t++) {
    poei_message_step(h->states, h->states, h->transition, h->log_transition, n, a, next, shift, work);
    for (size_t i = 0; i < n; i++) {
      poei_running_add(&total[i], shift[i]);
    }
    double *swap = a;
    a = next;
    next = swap;
    hmm_see(h, rows, t, a, nan);
  }
  for (size_t i = 0; i < n; i++) {
    poei_running_add(&total[i], poei_log_sum_exp(a + i, h->states, n));
    poe_accum_value(&logp[i], w[i * inc], nan[i] ? NAN : poei_running_total(&total[i]));
  }
  poe_scratch_release(scratch, mark);
}

static poe_status hmm_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                               poe_scratch *scratch, poe_error *error) {
  (void)error;
  for (size_t start = 0; start < rows.n; start += HMM_ROWS) {
    size_t n = rows.n - start < HMM_ROWS ? rows.n - start : HMM_ROWS;
    hmm_block(self, (poe_rows){n, rows.d, rows.ld, rows.x + start * rows.ld}, weights.w + start * weights.inc,
              weights.inc, out.logp + start, scratch);
  }
  return POE_OK;
}

static poe_status hmm_sample(const void *self, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                             poe_error *error) {
  (void)scratch;
  (void)error;
  const poei_hmm *h = self;
  for (size_t i = 0; i < rows.n; i++) {
    poe_stream stream = poe_stream_open(at[i]);
    size_t z = 0;
    for (size_t t = 0; t < h->d; t++) {
      z = poe_stream_categorical(&stream, t == 0 ? h->initial : h->transition + z * h->states, h->states);
      rows.x[i * rows.ld + t] = (double)poe_stream_categorical(&stream, h->emission + z * h->k, h->k);
    }
  }
  return POE_OK;
}

static poe_status hmm_log_z(const void *self, double *log_z, poe_error *error) {
  (void)self;
  (void)error;
  *log_z = 0.0;
  return POE_OK;
}

/* ---- forms ---- */

static poe_status hmm_form(const void *self, poe_form *form, poe_error *error) {
  return poei_discrete_form(&poei_hmm_ops, self, form, error);
}

static poe_status hmm_structure(const void *self, poe_structure *structure, poe_error *error) {
  const poei_hmm *h = self;
  size_t d = h->d;
  poe_structure made = {0};
  poe_status status = poei_factors_start(&made, d, h->k, d, 2 * d, error);
  for (size_t t = 0; status == POE_OK && t < d; t++) {
    made.as.factors.cardinality[d + t] = h->states;
  }
  for (size_t t = 0; status == POE_OK && t < d; t++) {
    if (t == 0) {
      status = poei_factors_copy(&made, 1, (size_t[]){d}, h->log_initial, error);
    } else {
      status = poei_factors_copy(&made, 2, (size_t[]){d + t - 1, d + t}, h->log_transition, error);
    }
    if (status == POE_OK) {
      status = poei_factors_copy(&made, 2, (size_t[]){t, d + t}, h->log_symbol, error);
    }
  }
  if (status == POE_OK) {
    *structure = made;
  }
  return status;
}

static poe_status hmm_onehot_grad_add(const void *self, poe_rows rows, poe_weights weights, double *out, size_t ldo,
                                      poe_scratch *scratch, poe_error *error) {
  const poei_hmm *h = self;
  return poei_onehot_grad_add(&poei_hmm_local, self, h->support, rows, weights, out, ldo, scratch, error);
}

const poe_expert_ops poei_hmm_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "hmm",
    .doc = "hidden Markov model of a sequence, its latent states summed out",
    .params = hmm_params,
    .create = hmm_create,
    .destroy = hmm_destroy,
    .traits = hmm_traits,
    .scratch = hmm_scratch,
    .eval_add = hmm_eval_add,
    .sample = hmm_sample,
    .log_z = hmm_log_z,
    .form = hmm_form,
    .structure = hmm_structure,
    .local = &poei_hmm_local,
    .onehot_grad_add = hmm_onehot_grad_add,
};
