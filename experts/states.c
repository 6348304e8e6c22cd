/* Potentials over finite grids: lookup, draws by inversion of the running sums, log Z by summation.
 *
 * State index of x: ((i_0 k_1 + i_1) k_2 + i_2) ..., i_j = x_j - low_j (first coordinate slowest).
 */
#include "experts/states.h"

#include <string.h>

#include "core/alloc.h"
#include "experts/closed.h"
#include "experts/discrete.h"
#include "experts/factors.h"
#include "experts/family.h"
#include "experts/form.h"

poe_status poei_states_create(poe_form *form, poei_states **states, poe_error *error) {
  size_t count = poei_form_states(form);
  double top = -INFINITY;
  for (size_t s = 0; s < count; s++) {
    if (isnan(form->log_value[s]) || form->log_value[s] == INFINITY) {
      return poe_error_set(error, POE_E_DOMAIN, "the table's log value of state %zu is %g", s, form->log_value[s]);
    }
    top = fmax(top, form->log_value[s]);
  }
  if (top == -INFINITY) {
    return poe_error_set(error, POE_E_EMPTY, "every state of the table has probability 0");
  }
  poei_states *made = poei_calloc(1, sizeof *made);
  if (made == NULL) {
    return poei_family_memory("table", error);
  }
  made->count = count;
  made->cumulative = poei_alloc(count, sizeof(double));
  made->support = poei_alloc(form->dim, sizeof *made->support);
  made->stride = poei_alloc(form->dim, sizeof *made->stride);
  if (made->cumulative == NULL || made->support == NULL || made->stride == NULL) {
    poei_states_destroy(made);
    return poei_family_memory("table", error);
  }
  double sum = 0.0;
  for (size_t s = 0; s < count; s++) {
    sum += exp(form->log_value[s] - top);
    made->cumulative[s] = sum;
  }
  made->log_z = top + log(sum);
  for (size_t j = form->dim, stride = 1; j-- > 0;) {
    double low = form->low[j];
    made->stride[j] = stride;
    stride *= form->cardinality[j];
    made->support[j] = (poe_support){POE_DISCRETE, low, low + (double)(form->cardinality[j] - 1), false, false};
  }
  made->form = *form;
  *form = (poe_form){0};
  *states = made;
  return POE_OK;
}

void poei_states_destroy(void *self) {
  poei_states *states = self;
  if (states != NULL) {
    poe_form_release(&states->form);
    poei_free(states->cumulative);
    poei_free(states->support);
    poei_free(states->stride);
    poei_free(states);
  }
}

void poei_states_traits(const void *self, poe_traits *traits) {
  const poei_states *states = self;
  *traits = (poe_traits){.dim = states->form.dim, .support = states->support};
  traits->capabilities = POE_CAN_EVAL | POE_CAN_GRADIENT | POE_CAN_SAMPLE | POE_CAN_LOG_Z | POE_CAN_STRUCTURE |
                         POE_CAN_LOCAL | POE_CAN_ONEHOT;
  if (states->count <= POEI_FORM_STATES) {
    traits->capabilities |= POE_CAN_FORM;
  }
}

size_t poei_states_scratch(const void *self, unsigned want, size_t n) {
  const poei_states *states = self;
  (void)n;
  return (want & POE_WANT_ONEHOT) != 0
             ? poei_onehot_scratch(&poei_states_local, self, states->form.dim, states->support)
             : 0;
}

size_t poei_state_index(double x, double low, size_t cardinality) {
  double offset = x - low;
  if (!(offset >= 0.0 && offset < (double)cardinality)) {
    return cardinality;
  }
  size_t index = (size_t)offset;
  return (double)index == offset ? index : cardinality;
}

static double states_value(const poei_states *states, const double *x) {
  size_t index = 0;
  for (size_t j = 0; j < states->form.dim; j++) {
    size_t cardinality = states->form.cardinality[j];
    size_t i = poei_state_index(x[j], states->form.low[j], cardinality);
    if (i == cardinality) {
      return isnan(x[j]) ? NAN : -INFINITY;
    }
    index = index * cardinality + i;
  }
  return states->form.log_value[index];
}

poe_status poei_states_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                poe_scratch *scratch, poe_error *error) {
  (void)scratch;
  (void)error;
  for (size_t i = 0; i < rows.n; i++) {
    poe_accum_value(&out.logp[i], weights.w[i * weights.inc], states_value(self, rows.x + i * rows.ld));
  }
  return POE_OK;
}

/* The first state whose running sum is above u: a state of probability 0 never is. */
static size_t states_search(const poei_states *states, double u) {
  size_t low = 0, high = states->count - 1;
  double target = u * states->cumulative[high];
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (states->cumulative[middle] > target) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  while (states->form.log_value[low] == -INFINITY) { /* only when rounding carried u * total up to the total */
    low--;
  }
  return low;
}

poe_status poei_states_sample(const void *self, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                              poe_error *error) {
  (void)scratch;
  (void)error;
  const poei_states *states = self;
  for (size_t i = 0; i < rows.n; i++) {
    poe_stream stream = poe_stream_open(at[i]);
    size_t index = states_search(states, poe_stream_uniform(&stream));
    for (size_t j = states->form.dim; j-- > 0;) {
      size_t cardinality = states->form.cardinality[j];
      rows.x[i * rows.ld + j] = states->form.low[j] + (double)(index % cardinality);
      index /= cardinality;
    }
  }
  return POE_OK;
}

poe_status poei_states_log_z(const void *self, double *log_z, poe_error *error) {
  (void)error;
  *log_z = ((const poei_states *)self)->log_z;
  return POE_OK;
}

poe_status poei_states_form(const void *self, poe_form *form, poe_error *error) {
  return poei_form_copy(&((const poei_states *)self)->form, form, error);
}

/* One factor over all coordinates. */
poe_status poei_states_structure(const void *self, poe_structure *structure, poe_error *error) {
  const poei_states *states = self;
  size_t d = states->form.dim, *variable = poei_alloc(d, sizeof *variable);
  poe_structure made = {0};
  poe_status status =
      variable == NULL ? poei_family_memory("table", error) : poei_factors_start(&made, d, 1, 0, 1, error);
  for (size_t j = 0; status == POE_OK && j < d; j++) {
    made.as.factors.cardinality[j] = states->form.cardinality[j];
    made.as.factors.low[j] = states->form.low[j];
    variable[j] = j;
  }
  if (status == POE_OK) {
    status = poei_factors_copy(&made, d, variable, states->form.log_value, error);
  }
  poei_free(variable);
  if (status == POE_OK) {
    *structure = made;
  }
  return status;
}

/* ---- one site ---- */

typedef struct states_view {
  size_t outside; /* coordinates that are none of their values                       */
  size_t at;      /* index of the state, with 0 for the coordinates that are outside */
  size_t index[]; /* [dim] cardinality: outside                                      */
} states_view;

static size_t states_state_bytes(const void *self) {
  return sizeof(states_view) + ((const poei_states *)self)->form.dim * sizeof(size_t);
}

static size_t states_local_scratch(const void *self) {
  (void)self;
  return 0;
}

static poe_status states_set(const void *self, void *state, size_t j, double value, poe_scratch *scratch,
                             poe_error *error) {
  (void)scratch;
  (void)error;
  const poei_states *states = self;
  states_view *view = state;
  size_t cardinality = states->form.cardinality[j], before = view->index[j];
  size_t after = poei_state_index(value, states->form.low[j], cardinality);
  view->at -= before < cardinality ? before * states->stride[j] : 0;
  view->at += after < cardinality ? after * states->stride[j] : 0;
  view->outside -= before == cardinality;
  view->outside += after == cardinality;
  view->index[j] = after;
  return POE_OK;
}

static poe_status states_open(const void *self, const double *x, void *state, poe_scratch *scratch, poe_error *error) {
  const poei_states *states = self;
  states_view *view = state;
  view->outside = view->at = 0;
  for (size_t j = 0; j < states->form.dim; j++) {
    view->index[j] = 0;
    states_set(self, state, j, x[j], scratch, error);
  }
  return POE_OK;
}

static poe_status states_conditional(const void *self, void *state, size_t j, double *out, poe_scratch *scratch,
                                     poe_error *error) {
  (void)scratch;
  (void)error;
  const poei_states *states = self;
  const states_view *view = state;
  size_t cardinality = states->form.cardinality[j], stride = states->stride[j], own = view->index[j];
  bool outside = view->outside > (own == cardinality);
  const double *first = states->form.log_value + view->at - (own < cardinality ? own * stride : 0);
  for (size_t v = 0; v < cardinality; v++) {
    out[v] = outside ? -INFINITY : first[v * stride];
  }
  return POE_OK;
}

const poe_local_ops poei_states_local = {
    .state_bytes = states_state_bytes,
    .scratch = states_local_scratch,
    .open = states_open,
    .conditional = states_conditional,
    .set = states_set,
};

poe_status poei_states_onehot_grad_add(const void *self, poe_rows rows, poe_weights weights, double *out, size_t ldo,
                                       poe_scratch *scratch, poe_error *error) {
  const poei_states *states = self;
  return poei_onehot_grad_add(&poei_states_local, self, states->support, rows, weights, out, ldo, scratch, error);
}
