/* Evaluating an expert over some coordinates of a larger row (see node.h): a contiguous range is a view into the rows
 * with their stride; other index sets are gathered, and gradients scattered back.
 */
#include <string.h>

#include "compose/nodes/node.h"

poei_place_in poei_place_at(size_t n, const size_t *index) {
  poei_place_in place = {n, index == NULL || n == 0 ? 0 : index[0], index};
  for (size_t j = 0; index != NULL && j < n; j++) {
    if (index[j] != place.offset + j) {
      return place;
    }
  }
  place.index = NULL;
  return place;
}

size_t poei_place_scratch(const poe_expert *child, const poei_place_in *place, unsigned want, size_t n) {
  size_t bytes = poei_child_scratch(child, want, n);
  if (place->index != NULL) {
    bytes += poe_scratch_need(n * place->n, sizeof(double));
    bytes += (want & POE_WANT_GRAD) != 0 ? poe_scratch_need(n * place->n, sizeof(double)) : 0;
  }
  return bytes;
}

poe_status poei_place_eval(const poe_expert *child, const poei_place_in *place, const poe_support *support,
                           poe_rows rows, poe_weights weights, poe_accum out, poe_scratch *scratch, poe_error *error) {
  size_t mark = poe_scratch_mark(scratch), d = place->n;
  if (place->index == NULL) {
    rows.d = d;
    rows.x += place->offset;
    out.grad = out.grad == NULL ? NULL : out.grad + place->offset;
    return poei_child_eval(child, rows, weights, out, scratch, error);
  }
  double *x = poe_scratch_doubles(scratch, rows.n * d);
  for (size_t i = 0; i < rows.n; i++) {
    for (size_t j = 0; j < d; j++) {
      x[i * d + j] = rows.x[i * rows.ld + place->index[j]];
    }
  }
  poe_accum part = {.logp = out.logp, .ldg = d};
  if (out.grad != NULL) {
    part.grad = poe_scratch_doubles(scratch, rows.n * d);
    memset(part.grad, 0, rows.n * d * sizeof(double));
  }
  poe_status status = poei_child_eval(child, (poe_rows){rows.n, d, d, x}, weights, part, scratch, error);
  for (size_t j = 0; j < d && status == POE_OK && out.grad != NULL; j++) {
    if (support[place->index[j]].kind != POE_DISCRETE) {
      for (size_t i = 0; i < rows.n; i++) {
        out.grad[i * out.ldg + place->index[j]] += part.grad[i * d + j];
      }
    }
  }
  poe_scratch_release(scratch, mark);
  return status;
}
