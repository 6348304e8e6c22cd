/* The conformance suite on every composition node: a node without an entry does not link. */
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

int main(void) {
  const struct CMUnitTest tests[] = {
#define NODE_ROW(name) cmocka_unit_test(conforms_##name),
      POEI_NODE_LIST(NODE_ROW)
#undef NODE_ROW
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
