/* Plans that must succeed or fail (see plans.h). */
#include "tests/compose/plans.h"

#include <string.h>

#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

poei_plan *plan_with(const tree *t, const poe_expert *target, bool no_rewrite) {
  poei_plan_options options;
  poei_plan_options_default(&options);
  options.no_rewrite = no_rewrite;
  poei_plan *plan = NULL;
  poe_error error = {0};
  tree_check(t);
  check_ok(poei_plan_build(target, &options, &plan, &error), error);
  assert_ptr_equal(plan->written, target);
  assert_int_equal(plan->dim, poe_expert_traits(target)->dim);
  assert_non_null(plan->reason);
  return plan;
}

poei_plan *plan_of(const tree *t, const poe_expert *target) {
  return plan_with(t, target, false);
}

void plan_fails(const tree *t, const poe_expert *target, poe_status status, const char *message, const char *hint) {
  poei_plan *plan = NULL;
  poe_error error = {0};
  tree_check(t);
  check_fails(poei_plan_build(target, NULL, &plan, &error), status, error, message);
  if (hint != NULL && strstr(error.hint, hint) == NULL) {
    fail_msg("the hint '%s' does not contain '%s'", error.hint, hint);
  }
  assert_null(plan);
}

/* log Z of a plan, which must have the method and the value. */
void expect(poei_plan *plan, poei_method method, double log_z, double tolerance) {
  if (plan->method != method || !plan->has_log_z) {
    fail_msg("the method is %s (%s), log Z %s", poei_method_word(plan->method), plan->reason,
             plan->has_log_z ? "known" : "unknown");
  }
  check_close(plan->log_z, log_z, tolerance, 0.0);
  assert_true(plan->log_z_error <= tolerance + 1e-15);
  poei_plan_destroy(plan);
}

const poe_expert *standard(tree *t, size_t d) {
  double mean[8] = {0.0}, cov[64] = {0.0};
  for (size_t i = 0; i < d; i++) {
    cov[i * d + i] = 1.0;
  }
  return tree_gaussian(t, d, mean, cov);
}
