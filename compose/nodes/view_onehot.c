/* One-hot gradients of sums of terms: each term's gradient, put where its coordinates are in the node's embedding.
 *
 * Rows are taken a few at a time, so that memory stays bounded whatever the embedding. Terms come in the order in which
 * the node evaluates them, so that -inf of a factor stays -inf whatever a divisor says. At rows where the node vanishes
 * (also beyond a wall, which no term knows of) the numbers mean nothing, as the contract has it.
 */
#include <string.h>

#include "compose/nodes/view.h"

enum { ONEHOT_NUMBERS = 1 << 16 };

static size_t term_width(const poei_view_term *term) {
  const poe_traits *traits = poe_expert_traits(term->expert);
  size_t width = 0;
  for (size_t j = 0; j < traits->dim; j++) {
    width += poei_support_states(&traits->support[j]);
  }
  return width;
}

/* A term without part in a discrete coordinate adds nothing. */
static bool contributes(const poei_view *view, const poei_view_term *term) {
  for (size_t j = 0; j < poe_expert_traits(term->expert)->dim; j++) {
    size_t c = poei_view_coordinate(term, j);
    if (c != SIZE_MAX && view->support[c].kind == POE_DISCRETE && poei_expert_can(term->expert, POE_CAN_ONEHOT)) {
      return true;
    }
  }
  return false;
}

/* Rows at a time. */
static size_t onehot_rows(const poei_view *view, size_t n) {
  size_t width = view->begin[view->dim], rows = ONEHOT_NUMBERS / width;
  rows = rows > 0 ? rows : 1;
  return rows < n ? rows : n;
}

size_t poei_node_onehot_scratch(const poei_node *node, size_t n) {
  const poei_view *view = node->view;
  if (view == NULL) {
    return 0;
  }
  size_t most = 0, m = onehot_rows(view, n);
  for (size_t f = 0; f < view->n; f++) {
    if (contributes(view, &view->term[f])) {
      const poe_expert *expert = view->term[f].expert;
      size_t bytes = poei_child_scratch(expert, POE_WANT_ONEHOT, m) +
                     poe_scratch_need(m * poe_expert_traits(expert)->dim, sizeof(double)) +
                     poe_scratch_need(m * term_width(&view->term[f]), sizeof(double));
      most = bytes > most ? bytes : most;
    }
  }
  return most + poe_scratch_need(m * view->begin[view->dim], sizeof(double));
}

/* Adds one row of a term's gradient, part[its width], to total[width]. */
static void place_row(const poei_view *view, const poei_view_term *term, const double *part, double *total) {
  const poe_traits *traits = poe_expert_traits(term->expert);
  const unsigned char *touch = poei_node_touch(term->expert);
  for (size_t j = 0; j < traits->dim; j++) {
    size_t own = poei_support_states(&traits->support[j]), c = poei_view_coordinate(term, j);
    if (own > 0 && c != SIZE_MAX && (touch == NULL || touch[j])) {
      double shift = view->support[c].low - traits->support[j].low;
      size_t k = view->begin[c + 1] - view->begin[c];
      for (size_t v = 0; v < k; v++) {
        double at = shift + (double)v;
        bool inside = at >= 0.0 && at < (double)own;
        poe_accum_value(&total[view->begin[c] + v], term->exponent, inside ? part[(size_t)at] : -INFINITY);
      }
    }
    part += own;
  }
}

static poe_status add_term(const poei_view *view, const poei_view_term *term, poe_rows rows, double *total,
                           poe_scratch *scratch, poe_error *error) {
  size_t mark = poe_scratch_mark(scratch), d = poe_expert_traits(term->expert)->dim, width = term_width(term);
  double *x = poe_scratch_doubles(scratch, rows.n * d), *part = poe_scratch_doubles(scratch, rows.n * width);
  double one = 1.0;
  for (size_t i = 0; i < rows.n; i++) {
    for (size_t j = 0; j < d; j++) {
      size_t c = poei_view_coordinate(term, j);
      x[i * d + j] = c == SIZE_MAX ? term->clamp[j] : rows.x[i * rows.ld + c];
    }
  }
  memset(part, 0, rows.n * width * sizeof *part);
  poe_status status = poe_expert_onehot_grad_add(term->expert, (poe_rows){rows.n, d, d, x}, (poe_weights){&one, 0},
                                                 part, width, scratch, error);
  for (size_t i = 0; i < rows.n && status == POE_OK; i++) {
    place_row(view, term, part + i * width, total + i * view->begin[view->dim]);
  }
  poe_scratch_release(scratch, mark);
  return status;
}

poe_status poei_node_onehot_grad_add(const void *self, poe_rows rows, poe_weights weights, double *out, size_t ldo,
                                     poe_scratch *scratch, poe_error *error) {
  const poei_view *view = ((const poei_node *)self)->view;
  size_t mark = poe_scratch_mark(scratch), block = onehot_rows(view, rows.n), width = view->begin[view->dim];
  double *total = poe_scratch_doubles(scratch, block * width);
  poe_status status = POE_OK;
  for (size_t start = 0; start < rows.n && status == POE_OK; start += block) {
    poe_rows part = {rows.n - start < block ? rows.n - start : block, rows.d, rows.ld, rows.x + start * rows.ld};
    memset(total, 0, part.n * width * sizeof *total);
    for (size_t f = 0; f < view->n && status == POE_OK; f++) {
      if (contributes(view, &view->term[f])) {
        status = add_term(view, &view->term[f], part, total, scratch, error);
      }
    }
    for (size_t i = 0; i < part.n && status == POE_OK; i++) {
      for (size_t a = 0; a < width; a++) {
        poe_accum_value(&out[(start + i) * ldo + a], weights.w[(start + i) * weights.inc], total[i * width + a]);
      }
    }
  }
  poe_scratch_release(scratch, mark);
  return status;
}
