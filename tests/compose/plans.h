/* Plans that must succeed, fail, or have a method and a log Z, for the tests of the planner. */
#ifndef POE_TESTS_COMPOSE_PLANS_H
#define POE_TESTS_COMPOSE_PLANS_H

#include "compose/plan.h"
#include "tests/compose/build.h"

poei_plan *plan_with(const tree *t, const poe_expert *target, bool no_rewrite);
poei_plan *plan_of(const tree *t, const poe_expert *target);
void plan_fails(const tree *t, const poe_expert *target, poe_status status, const char *message, const char *hint);
/* log Z of a plan, which must have the method and the value. */
void expect(poei_plan *plan, poei_method method, double log_z, double tolerance);
const poe_expert *standard(tree *t, size_t d);

#endif
