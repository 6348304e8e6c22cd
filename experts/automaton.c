/* automaton(x | transition, start, accept): 1 on the sequences that a deterministic finite automaton accepts, else 0.
 *
 * transition[state][symbol] is the state after the symbol, -1 where there is no way on. log Z is the log of the number
 * of accepted sequences of the variable's length; draws are even among them.
 */
#include "core/alloc.h"
#include "experts/accepted.h"
#include "experts/family.h"
#include "experts/list.h"

static const poe_param automaton_params[] = {
    {"transition", POE_ARG_REAL, "states,k", NULL, "transition[state][symbol]: the state after it, -1 for none"},
    {"start", POE_ARG_REAL, "", "0", "the first state"},
    {"accept", POE_ARG_REAL, "n", NULL, "the states in which a sequence may end"},
    {0},
};

/* A whole number of an argument in low .. states-1. */
static poe_status automaton_whole(const poe_args *args, const poe_arg *arg, double value, double low, size_t states,
                                  poe_error *error) {
  if (value >= low && value < (double)states && value == floor(value)) {
    return POE_OK;
  }
  return poe_args_error(arg, error, POE_E_DOMAIN,
                        "`%s` of `%s` holds %g, which is no state: there are states 0 to %zu%s", arg->name, args->kind,
                        value, states - 1, low < 0.0 ? " (and -1 for none)" : "");
}

static poe_status automaton_shape(const poe_args *args, size_t k, size_t *states, poe_error *error) {
  const poe_arg *arg = poe_args_find(args, "transition");
  if (arg == NULL) {
    return poe_error_set(error, POE_E_USAGE, "`%s` needs `transition`", args->kind);
  }
  if (arg->ndim != 2 || arg->shape[1] != k || arg->shape[0] == 0) {
    poe_args_error(arg, error, POE_E_SHAPE, "`transition` of `%s` must have a row for each state, each of %zu states",
                   args->kind, k);
    poe_error_hint(error, "transition[state][symbol] is the next state; the variable has %zu symbols", k);
    return POE_E_SHAPE;
  }
  *states = arg->shape[0];
  if (*states > POEI_DFA_STATES || k > POEI_DFA_ENTRIES / *states) {
    return poe_args_error(arg, error, POE_E_SHAPE, "`%s` of %zu states and %zu symbols is too large", args->kind,
                          *states, k);
  }
  return POE_OK;
}

/* The tables of an automaton as given. */
typedef struct raw {
  size_t states, k, start;
  uint32_t *class_of;    /* [k] each symbol by itself */
  int32_t *next;         /* [states, k]               */
  unsigned char *accept; /* [states]                  */
} raw;

static poe_status raw_fill(const poe_args *args, raw *r, poe_error *error) {
  const poe_arg *transition = poe_args_find(args, "transition"), *accept = poe_args_find(args, "accept");
  const poe_arg *start = poe_args_find(args, "start");
  poe_status status = POE_OK;
  for (size_t i = 0; status == POE_OK && i < r->states * r->k; i++) {
    status = automaton_whole(args, transition, transition->real[i], -1.0, r->states, error);
    r->next[i] = status == POE_OK ? (int32_t)transition->real[i] : -1;
  }
  if (status == POE_OK && (accept == NULL || accept->ndim > 1)) {
    return poe_args_error(accept, error, accept == NULL ? POE_E_USAGE : POE_E_SHAPE,
                          "`%s` needs `accept`, a list of states", args->kind);
  }
  size_t n = accept == NULL || accept->ndim == 0 ? 1 : accept->shape[0];
  for (size_t i = 0; status == POE_OK && i < n; i++) {
    status = automaton_whole(args, accept, accept->real[i], 0.0, r->states, error);
    if (status == POE_OK) {
      r->accept[(size_t)accept->real[i]] = 1;
    }
  }
  size_t one = 1;
  double first = 0.0;
  if (status == POE_OK) {
    status = poe_args_real(args, "start", 1, &one, 0.0, false, &first, error);
  }
  if (status == POE_OK && start != NULL) {
    status = automaton_whole(args, start, first, 0.0, r->states, error);
  }
  r->start = status == POE_OK ? (size_t)first : 0;
  for (size_t i = 0; i < r->k; i++) {
    r->class_of[i] = (uint32_t)i;
  }
  return status;
}

static poe_status automaton_dfa(const poe_args *args, size_t k, size_t states, poei_dfa *dfa, poe_error *error) {
  raw r = {.states = states, .k = k};
  r.class_of = poei_alloc(k, sizeof *r.class_of);
  r.next = poei_alloc(states, k * sizeof *r.next);
  r.accept = poei_calloc(states, 1);
  poe_status status = POE_OK;
  if (r.class_of == NULL || r.next == NULL || r.accept == NULL) {
    status = poei_family_memory(args->kind, error);
  } else {
    status = raw_fill(args, &r, error);
  }
  if (status == POE_OK) {
    status = poei_dfa_create(states, k, k, r.class_of, r.next, r.accept, r.start, dfa, error);
  }
  poei_free(r.class_of);
  poei_free(r.next);
  poei_free(r.accept);
  return status;
}

static poe_status automaton_create(const poe_args *args, void **self, poe_error *error) {
  size_t k = 0, states = 0;
  poei_dfa dfa = {0};
  poei_accepted *accepted = NULL;
  poe_status status = poei_discrete_sequence(args, &k, error);
  if (status == POE_OK) {
    status = automaton_shape(args, k, &states, error);
  }
  if (status == POE_OK) {
    status = automaton_dfa(args, k, states, &dfa, error);
  }
  if (status == POE_OK) {
    status = poei_accepted_create(&dfa, poe_args_dim(args), &accepted, error);
  }
  poei_dfa_release(&dfa);
  if (status == POE_OK) {
    *self = accepted;
  } else if (status == POE_E_EMPTY) {
    poe_args_error(poe_args_find(args, "transition"), error, POE_E_EMPTY,
                   "the automaton accepts no sequence of length %zu", poe_args_dim(args));
  }
  return status;
}

static poe_status automaton_form(const void *self, poe_form *form, poe_error *error) {
  return poei_discrete_form(&poei_automaton_ops, self, form, error);
}

const poe_expert_ops poei_automaton_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "automaton",
    .doc = "hard constraint: the sequences that a finite automaton accepts",
    .params = automaton_params,
    .create = automaton_create,
    .destroy = poei_accepted_destroy,
    .traits = poei_accepted_traits,
    .scratch = poei_accepted_scratch,
    .eval_add = poei_accepted_eval_add,
    .sample = poei_accepted_sample,
    .log_z = poei_accepted_log_z,
    .form = automaton_form,
    .structure = poei_accepted_structure,
    .local = &poei_accepted_local,
    .onehot_grad_add = poei_accepted_onehot_grad_add,
};
