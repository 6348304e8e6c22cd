/* The status list, its exit codes, and the setters of poe_error: NULL, cutting, wrapping of a message in itself. */
#include <string.h>

#include "tests/support/check.h"

static void test_names_and_codes(void **state) {
  (void)state;
  assert_string_equal(poe_status_name(POE_OK), "OK");
  assert_string_equal(poe_status_name(POE_E_SHAPE), "E_SHAPE");
  assert_string_equal(poe_status_name(POE_E_INTERRUPTED), "E_INTERRUPTED");
  assert_string_equal(poe_status_name((poe_status)9999), "?");
  assert_string_equal(poe_status_name((poe_status)-1), "?");
  assert_string_equal(poe_status_text(POE_OK), "no error");
  assert_string_equal(poe_status_text((poe_status)9999), "unknown status");
  assert_int_equal(poe_status_exit_code(POE_OK), 0);
  assert_int_equal(poe_status_exit_code(POE_E_GATE), 1);
  assert_int_equal(poe_status_exit_code(POE_E_SYNTAX), 2);
  assert_int_equal(poe_status_exit_code(POE_E_FORMAT), 3);
  assert_int_equal(poe_status_exit_code(POE_E_MEMORY), 4);
  assert_int_equal(poe_status_exit_code(POE_E_INTERRUPTED), 130);
  assert_int_equal(poe_status_exit_code((poe_status)9999), 4);
}

static void test_set_clears_place_and_hint(void **state) {
  (void)state;
  poe_error error = {0};
  poe_error_at(&error, "a.poe", 3, 7, 2);
  poe_error_hint(&error, "try %d", 4);
  assert_string_equal(error.file, "a.poe");
  assert_string_equal(error.hint, "try 4");
  assert_int_equal(poe_error_set(&error, POE_E_NAME, "no %s here", "x"), POE_E_NAME);
  assert_int_equal(error.status, POE_E_NAME);
  assert_string_equal(error.message, "no x here");
  assert_string_equal(error.hint, "");
  assert_string_equal(error.file, "");
  assert_int_equal(error.line, 0);
}

static void test_null_error_is_accepted(void **state) {
  (void)state;
  assert_int_equal(poe_error_set(NULL, POE_E_FILE, "x"), POE_E_FILE);
  poe_error_hint(NULL, "x");
  poe_error_at(NULL, "x", 1, 1, 1);
}

static void test_long_texts_are_cut(void **state) {
  (void)state;
  char text[4096];
  memset(text, 'x', sizeof text - 1);
  text[sizeof text - 1] = '\0';
  poe_error error;
  memset(&error, 0xff, sizeof error);
  poe_error_set(&error, POE_E_FILE, "%s", text);
  poe_error_hint(&error, "%s", text);
  poe_error_at(&error, text, 1, 2, 3);
  assert_int_equal(strlen(error.message), POE_ERROR_MESSAGE_SIZE - 1);
  assert_int_equal(strlen(error.hint), POE_ERROR_HINT_SIZE - 1);
  assert_int_equal(strlen(error.file), POE_ERROR_FILE_SIZE - 1);
}

static void test_a_message_may_wrap_itself(void **state) {
  (void)state;
  poe_error error = {0};
  poe_error_set(&error, POE_E_FILE, "inner");
  poe_error_hint(&error, "hint");
  poe_error_set(&error, POE_E_FORMAT, "outer: %s (%s)", error.message, error.hint);
  assert_string_equal(error.message, "outer: inner (hint)");
}

static void test_null_file_keeps_the_file(void **state) {
  (void)state;
  poe_error error = {0};
  poe_error_at(&error, "a.poe", 1, 1, 1);
  poe_error_at(&error, NULL, 5, 6, 7);
  assert_string_equal(error.file, "a.poe");
  poe_error_at(&error, error.file, 8, 0, 0);
  assert_string_equal(error.file, "a.poe");
  assert_int_equal(error.line, 8);
  assert_int_equal(error.span, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_names_and_codes),           cmocka_unit_test(test_set_clears_place_and_hint),
      cmocka_unit_test(test_null_error_is_accepted),    cmocka_unit_test(test_long_texts_are_cut),
      cmocka_unit_test(test_a_message_may_wrap_itself), cmocka_unit_test(test_null_file_keeps_the_file),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
