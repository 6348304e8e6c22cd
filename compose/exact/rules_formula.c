/* Rewriting rule "split formula": a formula that is a sum of terms over different coordinates becomes a product of
 * formulas. Terms over coordinates that nothing else ties fall into blocks of their own, quadratic ones into Gaussian
 * factors, so that what is exact becomes so whatever else was written on the same line.
 */
#include "compose/exact/rules.h"
#include "compose/exact/tree.h"
#include "core/alloc.h"
#include "experts/formula.h"

bool poei_rule_formula_applies(const poe_expert *expert) {
  return poei_node_kind_of(expert) == POEI_NODE_LEAF && poei_formula_is(expert) && poe_expert_traits(expert)->dim > 1 &&
         !poei_expert_can(expert, POE_CAN_FORM) && !poei_expert_can(expert, POE_CAN_STRUCTURE);
}

poe_status poei_rule_formula_rewrite(const poe_expert *expert, const poei_plan_options *options, poe_expert **out,
                                     char **what, poe_error *error) {
  (void)options;
  size_t n = 0;
  poei_formula_part *part = NULL;
  poe_expert **made = NULL;
  poei_parts parts = {.dim = poe_expert_traits(expert)->dim};
  poe_status status = poei_formula_terms(expert, &n, &part, &made, error);
  if (status != POE_OK || n == 0) {
    return status;
  }
  for (size_t i = 0; i < n && status == POE_OK; i++) {
    status = poei_parts_add(&parts, made[i], part[i].n, part[i].index, 1.0, error);
  }
  if (status == POE_OK) {
    status = poei_parts_close(&parts, out, error);
  }
  if (status == POE_OK) {
    *what = poei_format("a formula became a product of %zu", n);
  }
  for (size_t i = 0; i < n; i++) {
    poe_expert_release(made[i]);
  }
  poei_free(made);
  poei_formula_parts_free(n, part);
  poei_parts_free(&parts);
  return status;
}
