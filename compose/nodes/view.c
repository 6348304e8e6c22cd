/* Single-site views of sums of terms.
 *
 *   log p(x_j = v, rest) = sum over terms f with x_j of t_f log p_f(x_j = v, rest) + a constant in v
 *
 * The constant is -inf when a term without x_j vanishes there. So each term's sign is kept: -1 where its contribution
 * is -inf, +1 where it is +inf (a divisor that vanishes, or diverges inside), 0 otherwise. A conditional sees the signs
 * at every value, so that setting one of them costs nothing; other changes ask the terms again.
 *
 * A state: this head, the row x, the sign of each term, the signs seen by the last conditional, the states of the terms
 * that have views.
 */
#include "compose/nodes/view.h"

#include <string.h>

#include "core/alloc.h"

enum { ALIGNMENT = 64, CANDIDATES = 64, CANDIDATE_NUMBERS = 1 << 15 };

typedef struct view_head {
  size_t minus, plus; /* terms of sign -1, +1                                      */
  size_t beyond;      /* coordinates beyond their walls                            */
  size_t looked;      /* the coordinate whose signs were seen last, SIZE_MAX: none */
} view_head;

/* True when x is outside of the wall of coordinate c. */
static bool is_beyond(const poei_view *view, size_t c, double x) {
  return view->wall != NULL && view->wall[c] && !poei_support_contains(&view->support[c], x);
}

/* ---- making ---- */

static bool has_view(const poe_expert *expert) {
  return poei_expert_can(expert, POE_CAN_LOCAL);
}

static size_t aligned(size_t bytes) {
  return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static bool depends(const poei_view_term *term, size_t j) {
  const unsigned char *touch = poei_node_touch(term->expert);
  return poei_view_coordinate(term, j) != SIZE_MAX && (touch == NULL || touch[j]);
}

/* How many candidate rows of a term are evaluated together. */
static size_t candidate_rows(const poei_view *view, const poei_view_term *term) {
  size_t d = poe_expert_traits(term->expert)->dim, rows = CANDIDATE_NUMBERS / (d > 0 ? d : 1);
  rows = rows > CANDIDATES ? CANDIDATES : rows > 0 ? rows : 1;
  return rows < view->widest ? rows : view->widest;
}

/* Whether a term answers for its coordinate j by its own view. */
static bool asks(const poei_view_term *term, size_t j) {
  return has_view(term->expert) && poei_support_states(&poe_expert_traits(term->expert)->support[j]) > 0;
}

/* Scratch of one question to a term. */
static size_t term_scratch(const poei_view *view, const poei_view_term *term) {
  const poe_traits *traits = poe_expert_traits(term->expert);
  size_t widest = 1, rows = candidate_rows(view, term), own = 0;
  for (size_t j = 0; j < traits->dim; j++) {
    size_t values = poei_support_states(&traits->support[j]);
    widest = values > widest ? values : widest;
  }
  if (has_view(term->expert)) {
    own = poe_expert_local(term->expert)->scratch(poe_expert_self(term->expert)) +
          poe_scratch_need(traits->dim, sizeof(double)) + poe_scratch_need(widest, sizeof(double));
  }
  size_t evaluated =
      poei_child_scratch(term->expert, POE_WANT_LOGP, rows) + poe_scratch_need(rows * traits->dim, sizeof(double));
  return own > evaluated ? own : evaluated;
}

static poe_status link_terms(poei_view *view, poe_error *error) {
  size_t places = 0;
  for (size_t f = 0; f < view->n; f++) {
    for (size_t j = 0; j < poe_expert_traits(view->term[f].expert)->dim; j++) {
      if (depends(&view->term[f], j)) {
        view->first[poei_view_coordinate(&view->term[f], j)]++;
        places++;
      }
    }
  }
  view->link = poei_alloc(places, sizeof *view->link);
  if (view->link == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t c = 0; c < view->dim; c++) {
    view->most_links = view->first[c] > view->most_links ? view->first[c] : view->most_links;
    view->first[c + 1] += view->first[c]; /* the end of each coordinate's links */
  }
  view->first[view->dim] = places;
  for (size_t f = view->n; f-- > 0;) { /* filled from the back: the ends walk down to the beginnings */
    for (size_t j = poe_expert_traits(view->term[f].expert)->dim; j-- > 0;) {
      if (depends(&view->term[f], j)) {
        view->link[--view->first[poei_view_coordinate(&view->term[f], j)]] = (poei_view_link){f, j};
      }
    }
  }
  return POE_OK;
}

/* Where the parts of a state are; false when it would be too large to address. */
static bool lay_out(poei_view *view) {
  size_t seen = 0, bytes = aligned(sizeof(view_head));
  view->x = bytes;
  bytes += aligned(view->dim * sizeof(double));
  view->status = bytes;
  bytes += aligned(view->n);
  view->seen = bytes;
  bool fits = poei_mul_size(view->most_links, view->widest, &seen) && poei_add_size(bytes, seen, &bytes);
  for (size_t f = 0; f < view->n && fits; f++) {
    const poe_expert *expert = view->term[f].expert;
    bytes = aligned(bytes);
    view->place[f] = bytes;
    fits = !has_view(expert) ||
           poei_add_size(bytes, poe_expert_local(expert)->state_bytes(poe_expert_self(expert)), &bytes);
    size_t scratch = term_scratch(view, &view->term[f]);
    view->scratch = scratch > view->scratch ? scratch : view->scratch;
  }
  view->bytes = bytes;
  return fits && bytes < SIZE_MAX / 2;
}

/* Numbers the coordinates of the embedding; false when there is none: no discrete coordinate, or one without bounds. */
static bool embed(poei_view *view) {
  for (size_t c = 0; c < view->dim; c++) {
    size_t values = poei_support_states(&view->support[c]);
    if (view->support[c].kind == POE_DISCRETE && values == 0) {
      return false;
    }
    view->widest = values > view->widest ? values : view->widest;
    view->begin[c + 1] = view->begin[c] + values;
  }
  return view->begin[view->dim] > 0;
}

/* One-hot gradients: every term that depends on a discrete coordinate must have one, with values for that coordinate.
 */
static bool terms_embed(const poei_view *view) {
  for (size_t c = 0; c < view->dim; c++) {
    for (size_t l = view->first[c]; l < view->first[c + 1] && view->support[c].kind == POE_DISCRETE; l++) {
      const poe_expert *expert = view->term[view->link[l].term].expert;
      if (!poei_expert_can(expert, POE_CAN_ONEHOT) ||
          poei_support_states(&poe_expert_traits(expert)->support[view->link[l].position]) == 0) {
        return false;
      }
    }
  }
  return true;
}

void poei_view_destroy(poei_view *view) {
  if (view != NULL) {
    poei_free(view->wall);
    poei_free(view->term);
    poei_free(view->first);
    poei_free(view->link);
    poei_free(view->place);
    poei_free(view->begin);
    poei_free(view);
  }
}

static poe_status view_fill(poei_view *view, const poei_view_term *terms, const unsigned char *wall, bool *local,
                            bool *onehot, poe_error *error) {
  view->term = poei_copy(terms, view->n, sizeof *terms);
  view->first = poei_calloc(view->dim + 1, sizeof *view->first);
  view->place = poei_calloc(view->n, sizeof *view->place);
  view->begin = poei_calloc(view->dim + 1, sizeof *view->begin);
  view->wall = wall == NULL ? NULL : poei_copy(wall, view->dim, 1);
  if (view->term == NULL || view->first == NULL || view->place == NULL || view->begin == NULL ||
      (wall != NULL && view->wall == NULL)) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  if (!embed(view)) {
    *local = *onehot = false;
    return POE_OK;
  }
  poe_status status = link_terms(view, error);
  if (status == POE_OK) {
    *local = *local && lay_out(view);
    *onehot = *onehot && terms_embed(view);
  }
  return status;
}

poe_status poei_node_view(poei_node *node, size_t n, const poei_view_term *terms, const unsigned char *wall,
                          bool evaluates, poe_error *error) {
  unsigned *own = &node->traits.capabilities;
  bool local = true, onehot = true, discrete = false;
  *own &= ~(unsigned)(POE_CAN_LOCAL | POE_CAN_ONEHOT);
  for (size_t f = 0; f < n; f++) {
    local = local && (evaluates || has_view(terms[f].expert));
  }
  for (size_t c = 0; c < node->traits.dim; c++) {
    discrete = discrete || node->support[c].kind == POE_DISCRETE;
  }
  if ((*own & POE_CAN_EVAL) == 0 || !discrete || n == 0) {
    return POE_OK;
  }
  poei_view *view = poei_calloc(1, sizeof *view);
  if (view == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  view->dim = node->traits.dim;
  view->n = n;
  view->support = node->support;
  poe_status status = view_fill(view, terms, wall, &local, &onehot, error);
  if (status != POE_OK || !(local || onehot)) {
    poei_view_destroy(view);
    return status;
  }
  node->view = view;
  *own |= (local ? POE_CAN_LOCAL : 0u) | (onehot ? POE_CAN_ONEHOT : 0u);
  return POE_OK;
}

/* ---- asking a term ---- */

static const poei_view *view_of(const void *self) {
  return ((const poei_node *)self)->view;
}

static double *state_x(const poei_view *view, void *state) {
  return (double *)(void *)((unsigned char *)state + view->x);
}

static signed char *state_status(const poei_view *view, void *state) {
  return (signed char *)state + view->status;
}

static signed char *state_seen(const poei_view *view, void *state) {
  return (signed char *)state + view->seen;
}

static void *term_state(const poei_view *view, void *state, size_t f) {
  return (unsigned char *)state + view->place[f];
}

static double term_value(const poei_view_term *term, const double *x, size_t j) {
  size_t c = poei_view_coordinate(term, j);
  return c == SIZE_MAX ? term->clamp[j] : x[c];
}

/* value[k] = log p of the term with its coordinate j at low, low + 1, ..., the others as in the node's row x. */
static poe_status evaluate(const poei_view *view, const poei_view_term *term, const double *x, size_t j, double low,
                           size_t k, double *value, poe_scratch *scratch, poe_error *error) {
  size_t mark = poe_scratch_mark(scratch), d = poe_expert_traits(term->expert)->dim;
  size_t block = candidate_rows(view, term);
  double *rows = poe_scratch_doubles(scratch, block * d), one = 1.0;
  poe_status status = POE_OK;
  for (size_t start = 0; start < k && status == POE_OK; start += block) {
    size_t n = k - start < block ? k - start : block;
    for (size_t i = 0; i < n; i++) {
      for (size_t p = 0; p < d; p++) {
        rows[i * d + p] = p == j ? low + (double)(start + i) : term_value(term, x, p);
      }
      value[start + i] = 0.0;
    }
    status = poei_child_eval(term->expert, (poe_rows){n, d, d, rows}, (poe_weights){&one, 0},
                             (poe_accum){.logp = value + start}, scratch, error);
  }
  poe_scratch_release(scratch, mark);
  return status;
}

/* value[k] = log p of a term, up to a constant, with its coordinate j at the node's values low, low + 1, ...; k of
 * them.
 */
static poe_status ask(const poei_view *view, size_t f, void *state, size_t j, double low, size_t k, double *value,
                      poe_scratch *scratch, poe_error *error) {
  const poei_view_term *term = &view->term[f];
  if (!asks(term, j)) {
    return evaluate(view, term, state_x(view, state), j, low, k, value, scratch, error);
  }
  const poe_support *support = &poe_expert_traits(term->expert)->support[j];
  size_t own = poei_support_states(support), mark = poe_scratch_mark(scratch);
  double *all = poe_scratch_doubles(scratch, own), shift = low - support->low;
  poe_status status =
      poe_expert_local(term->expert)
          ->conditional(poe_expert_self(term->expert), term_state(view, state, f), j, all, scratch, error);
  for (size_t v = 0; v < k && status == POE_OK; v++) {
    double at = shift + (double)v;
    value[v] = at >= 0.0 && at < (double)own ? all[(size_t)at] : -INFINITY;
  }
  poe_scratch_release(scratch, mark);
  return status;
}

/* ---- signs ---- */

static signed char sign_of(double exponent, double value) {
  if (!isinf(value)) {
    return 0;
  }
  return (value > 0.0) == (exponent > 0.0) ? 1 : -1;
}

static void set_sign(view_head *head, signed char *status, size_t f, signed char sign) {
  head->minus -= status[f] < 0;
  head->plus -= status[f] > 0;
  status[f] = sign;
  head->minus += sign < 0;
  head->plus += sign > 0;
}

/* True when a term can be asked for its coordinate j where it stands. */
static bool can_ask(const poei_view_term *term, const double *x, size_t j) {
  return asks(term, j) && poei_support_contains(&poe_expert_traits(term->expert)->support[j], term_value(term, x, j));
}

/* The sign of a term where it stands: asked for one of its coordinates, `near` if it can, else by evaluation. */
static poe_status find_sign(const poei_view *view, size_t f, void *state, size_t near, poe_scratch *scratch,
                            poe_error *error) {
  const poei_view_term *term = &view->term[f];
  const double *x = state_x(view, state);
  size_t d = poe_expert_traits(term->expert)->dim, j = near;
  double value = 0.0;
  if (!can_ask(term, x, j)) {
    for (j = 0; j < d && !can_ask(term, x, j);) {
      j++;
    }
  }
  poe_status status = j < d ? ask(view, f, state, j, term_value(term, x, j), 1, &value, scratch, error)
                            : evaluate(view, term, x, SIZE_MAX, 0.0, 1, &value, scratch, error);
  if (status == POE_OK) {
    set_sign(state, state_status(view, state), f, sign_of(term->exponent, value));
  }
  return status;
}

/* ---- the slots ---- */

static size_t view_state_bytes(const void *self) {
  return view_of(self)->bytes;
}

static size_t view_scratch(const void *self) {
  const poei_view *view = view_of(self);
  return view->scratch + poe_scratch_need(view->widest, sizeof(double));
}

static poe_status open_term(const poei_view *view, size_t f, void *state, poe_scratch *scratch, poe_error *error) {
  const poei_view_term *term = &view->term[f];
  if (!has_view(term->expert)) {
    return POE_OK;
  }
  size_t mark = poe_scratch_mark(scratch), d = poe_expert_traits(term->expert)->dim;
  double *row = poe_scratch_doubles(scratch, d);
  for (size_t j = 0; j < d; j++) {
    row[j] = term_value(term, state_x(view, state), j);
  }
  poe_status status = poe_expert_local(term->expert)
                          ->open(poe_expert_self(term->expert), row, term_state(view, state, f), scratch, error);
  poe_scratch_release(scratch, mark);
  return status;
}

static poe_status view_open(const void *self, const double *x, void *state, poe_scratch *scratch, poe_error *error) {
  const poei_view *view = view_of(self);
  view_head *head = state;
  *head = (view_head){.looked = SIZE_MAX};
  memcpy(state_x(view, state), x, view->dim * sizeof *x);
  memset(state_status(view, state), 0, view->n);
  for (size_t c = 0; c < view->dim; c++) {
    head->beyond += is_beyond(view, c, x[c]);
  }
  poe_status status = POE_OK;
  for (size_t f = 0; f < view->n && status == POE_OK; f++) {
    status = open_term(view, f, state, scratch, error);
    if (status == POE_OK) {
      status = find_sign(view, f, state, 0, scratch, error);
    }
  }
  return status;
}

static poe_status view_conditional(const void *self, void *state, size_t c, double *out, poe_scratch *scratch,
                                   poe_error *error) {
  const poei_view *view = view_of(self);
  view_head *head = state;
  const signed char *sign = state_status(view, state);
  size_t k = view->begin[c + 1] - view->begin[c], minus = head->minus, plus = head->plus;
  size_t mark = poe_scratch_mark(scratch);
  double *value = poe_scratch_doubles(scratch, k);
  poe_status status = POE_OK;
  for (size_t v = 0; v < k; v++) {
    out[v] = 0.0;
  }
  for (size_t l = view->first[c]; l < view->first[c + 1] && status == POE_OK; l++) {
    size_t f = view->link[l].term;
    signed char *seen = state_seen(view, state) + (l - view->first[c]) * k;
    double exponent = view->term[f].exponent;
    status = ask(view, f, state, view->link[l].position, view->support[c].low, k, value, scratch, error);
    for (size_t v = 0; v < k && status == POE_OK; v++) {
      poe_accum_value(&out[v], exponent, value[v]);
      seen[v] = sign_of(exponent, value[v]);
    }
    minus -= sign[f] < 0;
    plus -= sign[f] > 0;
  }
  bool vanishes = minus > 0 || head->beyond > is_beyond(view, c, state_x(view, state)[c]);
  for (size_t v = 0; v < k && (vanishes || plus > 0); v++) {
    out[v] = vanishes || out[v] == -INFINITY ? -INFINITY : INFINITY;
  }
  head->looked = status == POE_OK ? c : SIZE_MAX;
  poe_scratch_release(scratch, mark);
  return status;
}

static poe_status view_set(const void *self, void *state, size_t c, double value, poe_scratch *scratch,
                           poe_error *error) {
  const poei_view *view = view_of(self);
  view_head *head = state;
  double *x = state_x(view, state);
  size_t k = view->begin[c + 1] - view->begin[c];
  head->beyond -= is_beyond(view, c, x[c]);
  head->beyond += is_beyond(view, c, value);
  x[c] = value;
  poe_status status = POE_OK;
  for (size_t l = view->first[c]; l < view->first[c + 1] && status == POE_OK; l++) {
    size_t f = view->link[l].term;
    const poe_expert *expert = view->term[f].expert;
    if (has_view(expert)) {
      status = poe_expert_local(expert)->set(poe_expert_self(expert), term_state(view, state, f),
                                             view->link[l].position, value, scratch, error);
    }
  }
  bool known = head->looked == c && poei_support_contains(&view->support[c], value);
  for (size_t l = view->first[c]; l < view->first[c + 1] && status == POE_OK; l++) {
    size_t f = view->link[l].term;
    if (known) {
      size_t v = (size_t)(value - view->support[c].low);
      set_sign(head, state_status(view, state), f, state_seen(view, state)[(l - view->first[c]) * k + v]);
    } else {
      status = find_sign(view, f, state, view->link[l].position, scratch, error);
    }
  }
  head->looked = known ? c : SIZE_MAX;
  return status;
}

const poe_local_ops poei_node_local = {
    .state_bytes = view_state_bytes,
    .scratch = view_scratch,
    .open = view_open,
    .conditional = view_conditional,
    .set = view_set,
};
