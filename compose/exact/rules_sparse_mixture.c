/* Rewriting rule "sparse mixtures": in a space too large for dense forms a mixture of Gaussians is multiplied out,
 *
 *   (sum_k w_k c_k) prod_i f_i = sum_k w_k (c_k prod_i f_i)
 *
 * where every component c_k is a Gaussian and every other factor f_i one, a mixture of few, or something closed: each
 * product is then one Gaussian of sparse precision, by itself or beside factors of few coordinates.
 */
#include "compose/exact/rules.h"
#include "compose/exact/sparse_gaussian.h"
#include "core/alloc.h"

enum { MOST_COMPONENTS = 64 }; /* of all mixtures together: each costs a factorisation */

static poe_status is_gaussian(const poe_expert *expert, bool *gaussian, poe_error *error) {
  size_t dim = poe_expert_traits(expert)->dim, *same = poei_alloc(dim, sizeof *same);
  poei_triplets entries = {0};
  *gaussian = false;
  for (size_t j = 0; same != NULL && j < dim; j++) {
    same[j] = j;
  }
  poe_status status = same == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                                   : poei_sparse_collect(expert, 1.0, same, &entries, gaussian, error);
  poei_triplets_free(&entries);
  poei_free(same);
  return status;
}

/* Of a factor: 1 for a Gaussian, and for a closed mixture over few coordinates, which is answered beside a Gaussian; k
 * for a mixture of k Gaussians; 0 for anything else. */
static poe_status count_components(const poei_part *part, size_t *count, poe_error *error) {
  const poe_expert *expert = part->expert;
  bool gaussian = false;
  *count = 0;
  poe_status status = is_gaussian(expert, &gaussian, error);
  bool closed = poei_node_kind_of(expert) == POEI_NODE_LEAF && poei_expert_can(expert, POE_CAN_FORM);
  if (status != POE_OK || gaussian || closed) {
    *count = 1;
    return status;
  }
  if (poei_node_kind_of(expert) != POEI_NODE_mixture || part->exponent != 1.0) {
    return POE_OK;
  }
  size_t n = poei_node_child_count(expert);
  gaussian = n <= MOST_COMPONENTS && poe_expert_traits(expert)->offset_error == 0.0;
  for (size_t k = 0; k < n && gaussian && status == POE_OK; k++) {
    status = is_gaussian(poei_node_child(expert, k), &gaussian, error);
  }
  *count = gaussian ? n : 0;
  return status;
}

/* *which: the mixture to be multiplied out, parts->n when there is none or something else stands in the way. */
static poe_status find_mixture(const poei_parts *parts, size_t *which, poe_error *error) {
  size_t total = 1, count = 1;
  *which = parts->n;
  poe_status status = POE_OK;
  for (size_t i = 0; i < parts->n && status == POE_OK; i++) {
    status = count_components(&parts->item[i], &count, error);
    total *= count;
    if (total == 0 || total > MOST_COMPONENTS) {
      *which = parts->n;
      return status;
    }
    *which = count > 1 && *which == parts->n ? i : *which;
  }
  return status;
}

/* The other factors times component k. */
static poe_status make_component(const poei_parts *parts, size_t which, size_t k, poe_expert **out, poe_error *error) {
  poei_parts own = {.dim = parts->dim, .constant = parts->constant, .variance = parts->variance};
  poe_status status = POE_OK;
  for (size_t i = 0; i < parts->n && status == POE_OK; i++) {
    const poei_part *part = &parts->item[i];
    const poe_expert *factor = i == which ? poei_node_child(part->expert, k) : part->expert;
    status = poei_parts_add(&own, factor, part->n, part->index, part->exponent, error);
  }
  if (status == POE_OK) {
    status = poei_parts_close(&own, out, error);
  }
  poei_parts_free(&own);
  return status;
}

static poe_status multiply_out(const poei_parts *parts, size_t which, poe_expert **out, poe_error *error) {
  const poe_expert *mixture = parts->item[which].expert;
  size_t n = poei_node_child_count(mixture), made = 0;
  poe_expert **component = poei_calloc(n, sizeof(poe_expert *));
  double *log_weight = poei_alloc(n, sizeof *log_weight);
  poe_status status =
      component == NULL || log_weight == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  for (; made < n && status == POE_OK; made += status == POE_OK) {
    log_weight[made] = poei_mixture_log_weight(mixture, made);
    status = make_component(parts, which, made, &component[made], error);
  }
  if (status == POE_OK) {
    status = poei_mixture_create(n, (const poe_expert *const *)component, log_weight, out, error);
  }
  for (size_t k = 0; component != NULL && k < made; k++) {
    poe_expert_release(component[k]);
  }
  poei_free(component);
  poei_free(log_weight);
  return status;
}

bool poei_rule_sparse_mixture_applies(const poe_expert *expert) {
  return poei_node_kind_of(expert) == POEI_NODE_product && poe_expert_traits(expert)->dim > POEI_FORM_MAX_DIM;
}

poe_status poei_rule_sparse_mixture_rewrite(const poe_expert *expert, const poei_plan_options *options,
                                            poe_expert **out, char **what, poe_error *error) {
  (void)options;
  poei_parts parts = {0};
  size_t which = 0;
  poe_status status = poei_parts_open(expert, POEI_OPEN_SURFACE, &parts, NULL, error);
  if (status == POE_OK && parts.n > 1) {
    status = find_mixture(&parts, &which, error);
  }
  if (status == POE_OK && parts.n > 1 && which < parts.n) {
    *what = poei_format("a mixture of %zu was multiplied out over %zu coordinates",
                        poei_node_child_count(parts.item[which].expert), parts.dim);
    status =
        *what == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : multiply_out(&parts, which, out, error);
    if (status != POE_OK) {
      poei_free(*what);
      *what = NULL;
    }
  }
  poei_parts_free(&parts);
  return status;
}
