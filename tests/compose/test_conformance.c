/* The conformance suite on every composition node (one without an entry does not link) and on the experts that the
 * planner makes. */
#include "compose/nodes/nodes.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

#define NODE_DECLARE(name) extern const poet_entry poet_conformance_##name;
POEI_NODE_LIST(NODE_DECLARE)
#undef NODE_DECLARE

#define NODE_TEST(name)                                                                                                \
  static void conforms_##name(void **state) {                                                                          \
    (void)state;                                                                                                       \
    poet_run_entry(&poet_conformance_##name);                                                                          \
  }
POEI_NODE_LIST(NODE_TEST)
#undef NODE_TEST

const poet_entry *exact_fused(void);
const poet_entry *exact_truncated(void);
const poet_entry *exact_grid(void);
const poet_entry *exact_summed(void);
const poet_entry *exact_islands(void);
extern const poet_entry poet_conformance_enumeration;

static void conforms_fused(void **state) {
  (void)state;
  poet_run_entry(exact_fused());
}

extern const poet_entry poet_conformance_sticks;

static void conforms_sticks(void **state) {
  (void)state;
  poet_run_entry(&poet_conformance_sticks);
}

extern const poet_entry poet_conformance_views;

static void conforms_views(void **state) {
  (void)state;
  poet_run_entry(&poet_conformance_views);
}

static void conforms_truncated(void **state) {
  (void)state;
  poet_run_entry(exact_truncated());
}

static void conforms_enumeration(void **state) {
  (void)state;
  poet_run_entry(&poet_conformance_enumeration);
}

static void conforms_grid(void **state) {
  (void)state;
  poet_run_entry(exact_grid());
}

static void conforms_summed(void **state) {
  (void)state;
  poet_run_entry(exact_summed());
}

static void conforms_islands(void **state) {
  (void)state;
  poet_run_entry(exact_islands());
}

int main(void) {
  const struct CMUnitTest tests[] = {
#define NODE_ROW(name) cmocka_unit_test(conforms_##name),
      POEI_NODE_LIST(NODE_ROW)
#undef NODE_ROW
          cmocka_unit_test(conforms_fused),
      cmocka_unit_test(conforms_sticks),
      cmocka_unit_test(conforms_views),
      cmocka_unit_test(conforms_truncated),
      cmocka_unit_test(conforms_enumeration),
      cmocka_unit_test(conforms_grid),
      cmocka_unit_test(conforms_summed),
      cmocka_unit_test(conforms_islands),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
