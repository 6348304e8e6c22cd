/* The conformance suite on every family of the list: a family without an entry does not link. */
#include "experts/list.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

#define FAMILY_DECLARE(name) extern const poet_entry poet_conformance_##name;
POEI_FAMILY_LIST(FAMILY_DECLARE)
#undef FAMILY_DECLARE

#define FAMILY_TEST(name)                                                                                              \
  static void conforms_##name(void **state) {                                                                          \
    (void)state;                                                                                                       \
    poet_run_entry(&poet_conformance_##name);                                                                          \
  }
POEI_FAMILY_LIST(FAMILY_TEST)
#undef FAMILY_TEST

static void list_is_complete(void **state) {
  (void)state;
  size_t n = 0;
#define FAMILY_FIND(name) assert_ptr_equal(poei_family_find(#name), poei_families[n++]);
  POEI_FAMILY_LIST(FAMILY_FIND)
#undef FAMILY_FIND
  assert_null(poei_families[n]);
  assert_null(poei_family_find("gaussien"));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(list_is_complete),
#define FAMILY_ROW(name) cmocka_unit_test(conforms_##name),
                                     POEI_FAMILY_LIST(FAMILY_ROW)
#undef FAMILY_ROW
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
