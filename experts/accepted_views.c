/* The factors of an automaton's sequences, and the view of one symbol.
 *
 * Factors: one for each symbol, f_t(s_t, x_t, s_(t+1)) = 0 where x_t leads from s_t to s_(t+1), else -inf, over latent
 * states s_1 .. s_(d-1); those before the first and after the last symbol are the start and acceptance. As the
 * automaton is deterministic, the sum over the latent states has one term. At each place only the states count that the
 * start reaches in as many steps as that, and from which the rest can be accepted.
 *
 * One symbol: which states x_(j+1) .. leads to acceptance from is kept as a set for each j, and the state before each
 * j; `set` at j leaves the states up to j and the sets from j on as they are.
 */
#include <string.h>

#include "core/alloc.h"
#include "experts/accepted.h"
#include "experts/factors.h"
#include "experts/family.h"
#include "experts/states.h"

/* ---- factors ---- */

enum { ALIVE_MAX = 1 << 26 }; /* states at all places together */

/* alive[d + 1, states]: 1 where a state counts at a place. Zeroed before. */
static void find_alive(const poei_accepted *a, unsigned char *alive) {
  const poei_dfa *dfa = &a->dfa;
  size_t q = dfa->states;
  alive[dfa->start] = 1;
  for (size_t t = 0; t < a->d; t++) {
    for (size_t s = 0; s < q; s++) {
      for (size_t c = 0; alive[t * q + s] && c < dfa->classes; c++) {
        int32_t next = dfa->next[s * dfa->classes + c];
        if (next >= 0) {
          alive[(t + 1) * q + (size_t)next] = 1;
        }
      }
    }
  }
  for (size_t s = 0; s < q; s++) {
    alive[a->d * q + s] &= dfa->accept[s] != 0;
  }
  for (size_t t = a->d; t-- > 0;) {
    for (size_t s = 0; s < q; s++) {
      bool on = false;
      for (size_t c = 0; alive[t * q + s] && c < dfa->classes; c++) {
        int32_t next = dfa->next[s * dfa->classes + c];
        on = on || (next >= 0 && alive[(t + 1) * q + (size_t)next]);
      }
      alive[t * q + s] = on;
    }
  }
}

/* Numbers the states of a place: id[states], returns how many count. */
static size_t number_alive(const unsigned char *alive, size_t states, uint32_t *id) {
  size_t n = 0;
  for (size_t s = 0; s < states; s++) {
    id[s] = alive[s] ? (uint32_t)n++ : UINT32_MAX;
  }
  return n;
}

static bool alive_fits(const poei_accepted *a, size_t *size) {
  return poei_mul_size(a->d + 1, a->dfa.states, size) && *size <= ALIVE_MAX;
}

poe_status poei_accepted_measure(poei_accepted *a, poe_error *error) {
  size_t size, q = a->dfa.states;
  a->numbers = 0;
  if (!alive_fits(a, &size)) {
    return POE_OK;
  }
  unsigned char *alive = poei_calloc(size, 1);
  uint32_t *id = poei_alloc(q, sizeof *id);
  if (alive == NULL || id == NULL) {
    poei_free(alive);
    poei_free(id);
    return poe_error_set(error, POE_E_MEMORY, "out of memory for an automaton");
  }
  find_alive(a, alive);
  double numbers = 0.0, left = 1.0;
  for (size_t t = 0; t < a->d; t++) {
    double right = t + 1 < a->d ? (double)number_alive(alive + (t + 1) * q, q, id) : 1.0;
    numbers += left * right * (double)a->dfa.symbols;
    left = right;
  }
  a->numbers = numbers <= (double)POEI_FORM_NUMBERS ? (size_t)numbers : 0;
  poei_free(alive);
  poei_free(id);
  return POE_OK;
}

/* The factor of symbol t, between the states numbered in left and right (NULL: start, acceptance). */
static poe_status add_factor(const poei_accepted *a, size_t t, const unsigned char *alive, const uint32_t *left,
                             const uint32_t *right, poe_structure *structure, poe_error *error) {
  const poei_dfa *dfa = &a->dfa;
  size_t variable[3], n = 0, q = dfa->states, k = dfa->symbols, rights = 1, lefts = 1;
  if (left != NULL) {
    lefts = structure->as.factors.cardinality[a->d + t - 1];
    variable[n++] = a->d + t - 1;
  }
  variable[n++] = t;
  if (right != NULL) {
    rights = structure->as.factors.cardinality[a->d + t];
    variable[n++] = a->d + t;
  }
  double *value;
  poe_status status = poei_factors_add(structure, n, variable, &value, error);
  if (status != POE_OK) {
    return status;
  }
  for (size_t i = 0; i < lefts * k * rights; i++) {
    value[i] = -INFINITY;
  }
  for (size_t s = 0; s < q; s++) {
    if (!alive[t * q + s]) {
      continue;
    }
    size_t row = left != NULL ? left[s] : 0;
    for (size_t v = 0; v < k; v++) {
      int32_t next = poei_dfa_next(dfa, (int32_t)s, v);
      if (next >= 0 && alive[(t + 1) * q + (size_t)next]) {
        value[(row * k + v) * rights + (right != NULL ? right[next] : 0)] = 0.0;
      }
    }
  }
  return POE_OK;
}

static poe_status add_factors(const poei_accepted *a, const unsigned char *alive, uint32_t *left, uint32_t *right,
                              poe_structure *structure, poe_error *error) {
  size_t d = a->d, q = a->dfa.states;
  poe_status status = poei_factors_start(structure, d, a->dfa.symbols, d - 1, d, error);
  for (size_t t = 0; status == POE_OK && t < d; t++) {
    bool last = t + 1 == d;
    if (!last) {
      structure->as.factors.cardinality[d + t] = number_alive(alive + (t + 1) * q, q, right);
    }
    status = add_factor(a, t, alive, t > 0 ? left : NULL, last ? NULL : right, structure, error);
    uint32_t *swap = left;
    left = right;
    right = swap;
  }
  return status;
}

poe_status poei_accepted_structure(const void *self, poe_structure *structure, poe_error *error) {
  const poei_accepted *a = self;
  size_t size = 0, q = a->dfa.states;
  alive_fits(a, &size);
  unsigned char *alive = poei_calloc(size, 1);
  uint32_t *id = poei_alloc(q, 2 * sizeof *id);
  poe_structure made = {0};
  poe_status status = POE_OK;
  if (alive == NULL || id == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory for an automaton");
  } else {
    find_alive(a, alive);
    status = add_factors(a, alive, id, id + q, &made, error);
  }
  poei_free(alive);
  poei_free(id);
  if (status == POE_OK) {
    *structure = made;
  }
  return status;
}

/* ---- one symbol ---- */

typedef struct view {
  size_t forward, backward; /* before[0 .. forward] and ends[backward .. d-1] are up to date                   */
  uint32_t symbol[];        /* [d], then int32_t before[d], then the sets unsigned char ends[d, states]: whether the
                               symbols after t are accepted from a state */
} view;

static int32_t *view_before(const poei_accepted *a, view *v) {
  return (int32_t *)(void *)(v->symbol + a->d);
}

static unsigned char *view_ends(const poei_accepted *a, view *v, size_t t) {
  return (unsigned char *)(v->symbol + 2 * a->d) + t * a->dfa.states;
}

static size_t accepted_state_bytes(const void *self) {
  const poei_accepted *a = self;
  return sizeof(view) + a->d * (sizeof(uint32_t) + sizeof(int32_t) + a->dfa.states);
}

static size_t accepted_local_scratch(const void *self) {
  (void)self;
  return 0;
}

static poe_status accepted_open(const void *self, const double *x, void *state, poe_scratch *scratch,
                                poe_error *error) {
  (void)scratch;
  (void)error;
  const poei_accepted *a = self;
  view *v = state;
  for (size_t t = 0; t < a->d; t++) {
    v->symbol[t] = (uint32_t)poei_state_index(x[t], 0.0, a->dfa.symbols);
  }
  view_before(a, v)[0] = (int32_t)a->dfa.start;
  memcpy(view_ends(a, v, a->d - 1), a->dfa.accept, a->dfa.states);
  v->forward = 0;
  v->backward = a->d - 1;
  return POE_OK;
}

static poe_status accepted_conditional(const void *self, void *state, size_t j, double *out, poe_scratch *scratch,
                                       poe_error *error) {
  (void)scratch;
  (void)error;
  const poei_accepted *a = self;
  view *v = state;
  int32_t *before = view_before(a, v);
  for (; v->forward < j; v->forward++) {
    before[v->forward + 1] = poei_dfa_next(&a->dfa, before[v->forward], v->symbol[v->forward]);
  }
  for (; v->backward > j; v->backward--) {
    const unsigned char *ends = view_ends(a, v, v->backward);
    unsigned char *earlier = view_ends(a, v, v->backward - 1);
    for (size_t s = 0; s < a->dfa.states; s++) {
      int32_t next = poei_dfa_next(&a->dfa, (int32_t)s, v->symbol[v->backward]);
      earlier[s] = next >= 0 && ends[next];
    }
  }
  const unsigned char *ends = view_ends(a, v, j);
  for (size_t i = 0; i < a->dfa.symbols; i++) {
    int32_t next = poei_dfa_next(&a->dfa, before[j], i);
    out[i] = next >= 0 && ends[next] ? 0.0 : -INFINITY;
  }
  return POE_OK;
}

static poe_status accepted_set(const void *self, void *state, size_t j, double value, poe_scratch *scratch,
                               poe_error *error) {
  (void)scratch;
  (void)error;
  const poei_accepted *a = self;
  view *v = state;
  v->symbol[j] = (uint32_t)poei_state_index(value, 0.0, a->dfa.symbols);
  v->forward = v->forward < j ? v->forward : j;
  v->backward = v->backward > j ? v->backward : j;
  return POE_OK;
}

const poe_local_ops poei_accepted_local = {
    .state_bytes = accepted_state_bytes,
    .scratch = accepted_local_scratch,
    .open = accepted_open,
    .conditional = accepted_conditional,
    .set = accepted_set,
};

poe_status poei_accepted_onehot_grad_add(const void *self, poe_rows rows, poe_weights weights, double *out, size_t ldo,
                                         poe_scratch *scratch, poe_error *error) {
  const poei_accepted *a = self;
  return poei_onehot_grad_add(&poei_accepted_local, self, a->support, rows, weights, out, ldo, scratch, error);
}
