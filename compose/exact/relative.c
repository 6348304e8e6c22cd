/* A density up to a constant factor: the tree without the normalising constants that only multiply the whole.
 *
 * log Z of a factor cancels when two points of a target are compared: in products, powers and quotients, under slices,
 * plates, restrictions and clamped values, and behind maps. In a mixture it does not: there it weighs the components.
 */
#include "compose/exact/tree.h"
#include "compose/plan.h"

static poe_status drop(void *context, const poe_expert *expert, poe_expert **out, poe_error *error) {
  switch (poei_node_kind_of(expert)) {
  case POEI_NODE_normalise:
    return drop(context, poei_node_child(expert, 0), out, error);
  case POEI_NODE_product:
  case POEI_NODE_slice:
  case POEI_NODE_plate:
  case POEI_NODE_given:
  case POEI_NODE_restrict:
  case POEI_NODE_through:
    return poei_tree_rebuild(expert, drop, context, out, error);
  default:
    *out = poe_expert_retain(expert);
    return POE_OK;
  }
}

poe_status poei_drop_constants(const poe_expert *expert, poe_expert **out, poe_error *error) {
  return drop(NULL, expert, out, error);
}
