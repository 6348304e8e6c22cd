/* A density on simplices: log p_child(x) where the numbers of every simplex are >= 0 and sum to 1, -inf elsewhere; not
 * renormalised, so that log Z is that of the child's formula over the simplex.
 *
 * What a family of real coordinates becomes when it reads numbers of a simplex: the measure is another one, so none of
 * its closed forms, draws or constants stays. The rule of Dirichlet densities (exact/rules_simplex.c) looks inside.
 */
#include <string.h>

#include "compose/nodes/node.h"
#include "compose/nodes/sticks.h"
#include "core/alloc.h"

typedef struct simplex {
  poei_node node;
  size_t n;      /* simplices                                    */
  size_t *first; /* [n] where each begins                        */
  size_t *size;  /* [n] how many numbers it has                  */
  poe_support *given;
} simplex;

static void simplex_destroy(void *state) {
  simplex *self = state;
  poei_free(self->first);
  poei_free(self->size);
  poei_free(self->given);
  poei_node_free(&self->node);
}

static size_t simplex_scratch(const void *state, unsigned want, size_t n) {
  const simplex *self = state;
  size_t bytes = poei_child_scratch(self->node.child[0], want, n) + poe_scratch_need(n, sizeof(double));
  return bytes + ((want & POE_WANT_GRAD) != 0 ? poe_scratch_need(n * self->node.traits.dim, sizeof(double)) : 0);
}

static bool has_nan(size_t n, const double *x) {
  for (size_t i = 0; i < n; i++) {
    if (isnan(x[i])) {
      return true;
    }
  }
  return false;
}

static poe_status simplex_eval_add(const void *state, poe_rows rows, poe_weights weights, poe_accum out,
                                   poe_scratch *scratch, poe_error *error) {
  const simplex *self = state;
  size_t mark = poe_scratch_mark(scratch), size = rows.n * rows.d;
  double one = 1.0;
  poe_accum value = {.logp = poe_scratch_doubles(scratch, rows.n), .ldg = rows.d};
  memset(value.logp, 0, rows.n * sizeof(double));
  if (out.grad != NULL) {
    value.grad = poe_scratch_doubles(scratch, size);
    memset(value.grad, 0, size * sizeof(double));
  }
  poe_status status = poei_child_eval(self->node.child[0], rows, (poe_weights){&one, 0}, value, scratch, error);
  for (size_t i = 0; i < rows.n; i++) {
    const double *row = &rows.x[i * rows.ld];
    for (size_t s = 0; s < self->n; s++) {
      if (!poei_simplex_holds(self->size[s], &row[self->first[s]])) {
        value.logp[i] = has_nan(rows.d, row) ? NAN : -INFINITY;
        break;
      }
    }
  }
  if (status == POE_OK) {
    poei_accum_rows(rows.n, rows.d, value.logp, value.grad, weights, out, self->node.support);
  }
  poe_scratch_release(scratch, mark);
  return status;
}

static const poe_param no_params[] = {{0}};

static const poe_expert_ops simplex_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "simplex",
    .doc = "a density on simplices",
    .params = no_params,
    .create = poei_node_create,
    .destroy = simplex_destroy,
    .traits = poei_node_traits,
    .scratch = simplex_scratch,
    .eval_add = simplex_eval_add,
};

/* ---- making ---- */

static poe_status set_traits(simplex *self, poe_error *error) {
  const poe_expert *child = self->node.child[0];
  const poe_traits *traits = poe_expert_traits(child);
  const unsigned char *touch = poei_node_touch(child);
  for (size_t j = 0; j < traits->dim; j++) {
    poe_support whole = {.kind = self->given[j].kind, .low = 0.0, .high = 1.0};
    bool on = whole.kind == POE_SIMPLEX || whole.kind == POE_SIMPLEX_NEXT;
    self->node.support[j] = traits->support[j];
    if (on && !poei_support_intersect(&self->node.support[j], &whole)) {
      return poe_error_set(error, POE_E_EMPTY, "the density is 0 on the whole simplex, by coordinate %zu", j);
    }
    self->node.touch[j] = touch == NULL || touch[j] || on;
  }
  for (size_t j = 0; j < traits->dim; j++) {
    size_t k = poei_simplex_at(traits->dim, self->given, j);
    if (k > 0) {
      self->first[self->n] = j;
      self->size[self->n++] = k;
    }
  }
  self->node.traits.capabilities = traits->capabilities & (POE_CAN_EVAL | POE_CAN_GRADIENT);
  self->node.traits.offset_error = traits->offset_error;
  return POE_OK;
}

poe_status poei_simplex_create(const poe_expert *child, const poe_support *support, poe_expert **out,
                               poe_error *error) {
  size_t dim = poe_expert_traits(child)->dim;
  simplex *self = poei_node_new(sizeof *self, dim, 1, &child, error);
  if (self == NULL) {
    return POE_E_MEMORY;
  }
  self->given = poei_copy(support, dim, sizeof *support);
  self->first = poei_alloc(dim, sizeof *self->first);
  self->size = poei_alloc(dim, sizeof *self->size);
  poe_status status = self->given == NULL || self->first == NULL || self->size == NULL
                          ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                          : set_traits(self, error);
  if (status != POE_OK) {
    simplex_destroy(self);
    return status;
  }
  return poei_node_wrap(&simplex_ops, self, out, error);
}

static poe_status simplex_rebuild(const poei_node *node, const poe_expert *const *children, poe_expert **out,
                                  poe_error *error) {
  return poei_simplex_create(children[0], ((const simplex *)node)->given, out, error);
}

const poei_node_look poei_simplex_look = {&simplex_ops, "simplex", simplex_rebuild};
