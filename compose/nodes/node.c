/* The common part of composition nodes: allocation, shared slots, and looking into a tree.
 *
 * Invariant: a node's arrays and children live exactly as long as the expert that wraps it, so pointers handed out by
 * poe_expert_traits and by the functions below stay valid while the caller holds the expert.
 */
#include "compose/nodes/node.h"

#include <string.h>

#include "core/alloc.h"

static const poei_node_look *const looks[] = {
#define POEI_NODE_ENTRY(kind) [POEI_NODE_##kind] = &poei_##kind##_look,
    POEI_NODE_LIST(POEI_NODE_ENTRY)
#undef POEI_NODE_ENTRY
};

enum { POEI_NODE_KINDS = sizeof looks / sizeof looks[0] };

/* ---- making ---- */

void *poei_node_new(size_t size, size_t dim, size_t n, const poe_expert *const *children, poe_error *error) {
  poei_node *node = poei_calloc(1, size);
  if (node == NULL) {
    poe_error_set(error, POE_E_MEMORY, "out of memory");
    return NULL;
  }
  node->support = poei_alloc(dim, sizeof *node->support);
  node->head = poei_calloc(dim, 1);
  node->touch = poei_calloc(dim, 1);
  node->child = poei_calloc(n, sizeof *node->child);
  if (node->support == NULL || node->head == NULL || node->touch == NULL || node->child == NULL) {
    poei_node_free(node);
    poe_error_set(error, POE_E_MEMORY, "out of memory");
    return NULL;
  }
  for (size_t j = 0; j < dim; j++) {
    node->support[j] = poei_support_reals();
  }
  for (size_t i = 0; i < n; i++) {
    node->child[i] = poe_expert_retain(children[i]);
    node->diverges = node->diverges || poei_node_diverges(children[i]);
    node->n++;
  }
  node->traits.dim = dim;
  node->traits.support = node->support;
  return node;
}

void poei_node_free(poei_node *node) {
  if (node == NULL) {
    return;
  }
  for (size_t i = 0; i < node->n; i++) {
    poe_expert_release(node->child[i]);
  }
  poei_view_destroy(node->view);
  poei_free(node->child);
  poei_free(node->support);
  poei_free(node->head);
  poei_free(node->touch);
  poei_free(node);
}

poe_status poei_node_create(const poe_args *args, void **self, poe_error *error) {
  (void)self;
  return poe_error_set(error, POE_E_USAGE, "`%s` is made by the operators of the language, not by a call", args->kind);
}

void poei_node_traits(const void *self, poe_traits *traits) {
  const poei_node *node = self;
  *traits = node->traits;
}

poe_status poei_node_wrap(const poe_expert_ops *ops, void *self, poe_expert **out, poe_error *error) {
  poe_status status = poe_expert_wrap(ops, self, out, error);
  if (status != POE_OK) {
    ops->destroy(self);
  }
  return status;
}

void poei_node_publish_head(poei_node *node) {
  node->traits.head = memchr(node->head, 1, node->traits.dim) != NULL ? node->head : NULL;
}

/* ---- looking in ---- */

poei_node_kind poei_node_kind_of(const poe_expert *expert) {
  const poe_expert_ops *ops = poe_expert_ops_of(expert);
  for (int k = POEI_NODE_LEAF + 1; k < POEI_NODE_KINDS; k++) {
    if (looks[k]->ops == ops) {
      return (poei_node_kind)k;
    }
  }
  return POEI_NODE_LEAF;
}

const char *poei_node_kind_name(poei_node_kind kind) {
  return kind == POEI_NODE_LEAF ? "leaf" : looks[kind]->name;
}

const poei_node *poei_node_of(const poe_expert *expert) {
  return poei_node_kind_of(expert) == POEI_NODE_LEAF ? NULL : poe_expert_self(expert);
}

size_t poei_node_child_count(const poe_expert *expert) {
  const poei_node *node = poei_node_of(expert);
  return node == NULL ? 0 : node->n;
}

const poe_expert *poei_node_child(const poe_expert *expert, size_t index) {
  return poei_node_of(expert)->child[index];
}

poe_status poei_node_rebuild(const poe_expert *expert, const poe_expert *const *children, poe_expert **out,
                             poe_error *error) {
  poei_node_kind kind = poei_node_kind_of(expert);
  if (kind == POEI_NODE_LEAF) {
    *out = poe_expert_retain(expert);
    return POE_OK;
  }
  return looks[kind]->rebuild(poe_expert_self(expert), children, out, error);
}

const unsigned char *poei_node_touch(const poe_expert *expert) {
  const poei_node *node = poei_node_of(expert);
  return node == NULL ? NULL : node->touch;
}

bool poei_node_diverges(const poe_expert *expert) {
  const poei_node *node = poei_node_of(expert);
  return node != NULL && node->diverges;
}

bool poei_expert_can(const poe_expert *expert, unsigned capabilities) {
  return (poe_expert_traits(expert)->capabilities & capabilities) == capabilities;
}

bool poei_expert_normalised(const poe_expert *expert) {
  const poe_traits *traits = poe_expert_traits(expert);
  return traits->head != NULL && memchr(traits->head, 0, traits->dim) == NULL;
}

bool poei_expert_differentiable(const poe_expert *expert) {
  const poe_traits *traits = poe_expert_traits(expert);
  if ((traits->capabilities & POE_CAN_GRADIENT) != 0) {
    return true;
  }
  const unsigned char *touch = poei_node_touch(expert);
  for (size_t j = 0; j < traits->dim; j++) {
    if (traits->support[j].kind != POE_DISCRETE && (touch == NULL || touch[j])) {
      return false;
    }
  }
  return true;
}

bool poei_expert_known_log_z(const poe_expert *expert, double *log_z) {
  if (poei_expert_normalised(expert)) {
    *log_z = 0.0;
    return true;
  }
  poe_error ignored;
  return poei_expert_can(expert, POE_CAN_LOG_Z) && poe_expert_log_z(expert, log_z, &ignored) == POE_OK;
}

/* ---- evaluating children ---- */

poe_status poei_child_eval(const poe_expert *child, poe_rows rows, poe_weights weights, poe_accum out,
                           poe_scratch *scratch, poe_error *error) {
  if (!poei_expert_can(child, POE_CAN_GRADIENT)) {
    out.grad = NULL;
  }
  return poe_expert_eval_add(child, rows, weights, out, scratch, error);
}

size_t poei_child_scratch(const poe_expert *child, unsigned want, size_t n) {
  if ((want & POE_WANT_SAMPLE) != 0 && !poei_expert_can(child, POE_CAN_SAMPLE)) {
    return 0;
  }
  if ((want & POE_WANT_GRAD) != 0 && !poei_expert_can(child, POE_CAN_GRADIENT)) {
    want &= ~(unsigned)POE_WANT_GRAD;
  }
  return poe_expert_scratch(child, want, n);
}

void poei_accum_rows(size_t n, size_t d, const double *value, const double *grad, poe_weights weights, poe_accum out,
                     const poe_support *support) {
  for (size_t i = 0; i < n; i++) {
    double w = weights.w[i * weights.inc];
    poe_accum_value(&out.logp[i], w, value[i]);
    if (out.grad == NULL || w == 0.0 || value[i] == -INFINITY) {
      continue;
    }
    for (size_t j = 0; j < d; j++) {
      if (support[j].kind != POE_DISCRETE) {
        out.grad[i * out.ldg + j] += w * grad[i * d + j];
      }
    }
  }
}

poe_rng *poei_child_addresses(size_t n, const poe_rng *at, uint32_t index, poe_scratch *scratch) {
  poe_rng *child = poe_scratch_bytes(scratch, n * sizeof *child);
  for (size_t i = 0; i < n; i++) {
    child[i] = poe_rng_child(at[i], index);
  }
  return child;
}
