/* Tables of numbers as text. */
#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "formats/text_file.h"
#include "tests/support/check.h"

static const char *text_file(const char *text) {
  return poet_temp_file("table.csv", text, strlen(text));
}

static const struct {
  const char *text;
  size_t rows, columns;
  double values[6];
  const char *names[3]; /* NULL = no header */
} good[] = {
    {"1,2\n3,4\n", 2, 2, {1, 2, 3, 4}, {0}},
    {"1,2\n3,4", 2, 2, {1, 2, 3, 4}, {0}},
    {"1,2\r\n3,4\r\n", 2, 2, {1, 2, 3, 4}, {0}},
    {"\xEF\xBB\xBF"
     "1,2\n",
     1,
     2,
     {1, 2},
     {0}},
    {"# made by hand\n\n  \t\n 1 ,\t2 \n # note\n\n3,4\n\n", 2, 2, {1, 2, 3, 4}, {0}},
    {"x,y\n1,2\n", 1, 2, {1, 2}, {"x", "y"}},
    {" x , \"y, \"\"z\"\"\" , \n1,2,3\n", 1, 3, {1, 2, 3}, {"x", "y, \"z\"", ""}},
    {"lp__,x.1\r\n-1.5,+2e-3\r\n", 1, 2, {-1.5, 0.002}, {"lp__", "x.1"}},
    {"\"1\",\"2\"\n3,4\n", 1, 2, {3, 4}, {"1", "2"}},
    {"1,x\n3,4\n", 1, 2, {3, 4}, {"1", "x"}}, /* not all numbers: a header */
    {"7", 1, 1, {7}, {0}},
    {"x\n", 0, 1, {0}, {"x"}},
    {"inf,-inf,Infinity\n", 1, 3, {INFINITY, -INFINITY, INFINITY}, {0}},
    {".5,5.,-.5e1\n", 1, 3, {0.5, 5, -5}, {0}},
    {"1e-400,4.9e-324,1.7976931348623157e308\n", 1, 3, {0, 4.9406564584124654e-324, DBL_MAX}, {0}},
};

static void tables_are_read(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
    poei_csv csv = {0};
    poe_error error = {0};
    check_ok(poei_csv_read(text_file(good[i].text), &csv, &error), error);
    assert_int_equal(csv.rows, good[i].rows);
    assert_int_equal(csv.columns, good[i].columns);
    check_same_bits(csv.values, good[i].values, csv.rows * csv.columns);
    assert_int_equal(csv.names != NULL, good[i].names[0] != NULL);
    for (size_t k = 0; csv.names != NULL && k < csv.columns; k++) {
      assert_string_equal(csv.names[k], good[i].names[k]);
    }
    poei_csv_free(&csv);
    assert_null(csv.values);
  }
}

static const struct {
  const char *text;
  int line, column;
  const char *part;
} bad[] = {
    {"", 0, 0, "holds no numbers"},
    {"# nothing\n\n", 0, 0, "holds no numbers"},
    {"1,2\n3,x\n", 2, 3, "line 2, column 3: 'x' is not a number"},
    {"1,2\n\n# note\n3,4,5\n", 4, 1, "3 fields where line 1 has 2"},
    {"x,y\n3\n", 2, 1, "1 field where line 1 has 2"},
    {"1,2\n3,\n", 2, 3, "an empty field"},
    {"1,2\n,4\n", 2, 1, "an empty field"},
    {"1,2\n3, \n", 2, 3, "an empty field"},
    {"1,2\n0x10,4\n", 2, 1, "'0x10' is not a number"},
    {"1,2\nnan(1),4\n", 2, 1, "'nan(1)' is not a number"},
    {"1,2\n1.5.2,4\n", 2, 1, "'1.5.2' is not a number"},
    {"1,2\n1 2,4\n", 2, 1, "'1 2' is not a number"},
    {"1,2\n1e,4\n", 2, 1, "'1e' is not a number"},
    {"1,2\n--1,4\n", 2, 1, "'--1' is not a number"},
    {"1,2\nNA,4\n", 2, 1, "'NA' is not a number"},
    {"1,2\n\"3\",4\n", 2, 1, "is not a number"},
    {"1;2\n3;4\n5;6\n", 2, 1, "'3;4' is not a number"},
    {"1,2\n1e999,4\n", 2, 1, "'1e999' is too large"},
    {"1,-1e999\n", 1, 3, "'-1e999' is too large"},
    {"\"x,y\n1,2\n", 1, 1, "quoted name is not closed"},
    {"\"x\"z,y\n1,2\n", 1, 1, "goes on after its quote"},
    {"1,2\n\x1b[31m\xFF,4\n", 2, 1, "'?[31m?' is not a number"},
};

static void errors_name_line_and_column(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    poei_csv csv = {.rows = 7};
    poe_error error = {0};
    check_fails(poei_csv_read(text_file(bad[i].text), &csv, &error), POE_E_FORMAT, error, bad[i].part);
    assert_int_equal(error.line, bad[i].line);
    assert_int_equal(error.column, bad[i].column);
    assert_int_equal(csv.rows, 7); /* untouched */
    assert_non_null(strstr(error.message, "table.csv"));
  }
  poei_csv csv;
  poe_error error = {0};
  check_fails(poei_csv_read(poet_temp_file("zero.csv", "1,2\0\n", 5), &csv, &error), POE_E_FORMAT, error, "zero byte");
  check_fails(poei_csv_read(poet_temp_path("absent.csv"), &csv, &error), POE_E_FILE, error, "No such file");
}

static void nan_is_read(void **state) {
  (void)state;
  poei_csv csv = {0};
  poe_error error = {0};
  check_ok(poei_csv_read(text_file("nan,NaN,-nan\n"), &csv, &error), error);
  assert_true(isnan(csv.values[0]) && isnan(csv.values[1]) && isnan(csv.values[2]));
  assert_null(csv.names);
  poei_csv_free(&csv);
}

static void long_lines_are_read(void **state) {
  (void)state;
  enum { COLUMNS = 20000 };
  static char text[2 * (8 * COLUMNS + 1)];
  size_t used = 0;
  for (size_t i = 0; i < 2 * COLUMNS; i++) {
    used += (size_t)snprintf(text + used, sizeof text - used, "%zu%c", i, (i + 1) % COLUMNS == 0 ? '\n' : ',');
  }
  poei_csv csv = {0};
  poe_error error = {0};
  check_ok(poei_csv_read(text_file(text), &csv, &error), error);
  assert_int_equal(csv.rows, 2);
  assert_int_equal(csv.columns, COLUMNS);
  for (size_t i = 0; i < 2 * COLUMNS; i++) {
    check_close(csv.values[i], (double)i, 0, 0);
  }
  poei_csv_free(&csv);
}

/* Random bit patterns, so that every exponent comes. */
static void doubles_come_back_bit_for_bit(void **state) {
  (void)state;
  enum { N = 3000 };
  static double values[N];
  uint64_t seed = 12345;
  for (size_t i = 0; i < N; i++) {
    do {
      seed = seed * 6364136223846793005u + 1442695040888963407u;
      uint64_t bits = seed ^ seed >> 29;
      memcpy(&values[i], &bits, 8);
    } while (isnan(values[i]));
  }
  const double special[] = {0.0, -0.0, INFINITY, -INFINITY, DBL_MAX, DBL_TRUE_MIN, 0.1, 1.0 / 3};
  memcpy(values, special, sizeof special);
  const char *const names[] = {"x.1", "a,b", "\"", "5", "inf", "# x", "", "lp__", "\xC3\xA4", " pad "};
  const char *path = poet_temp_path("back.csv");
  for (int header = 0; header < 2; header++) {
    poei_csv csv = {0};
    poe_error error = {0};
    check_ok(poei_csv_write(path, N / 10, 10, values, header ? names : NULL, &error), error);
    check_ok(poei_csv_read(path, &csv, &error), error);
    assert_int_equal(csv.rows, N / 10);
    assert_int_equal(csv.columns, 10);
    check_same_bits(csv.values, values, N);
    assert_int_equal(csv.names != NULL, header);
    for (size_t k = 0; header && k < 10; k++) {
      assert_string_equal(csv.names[k], names[k]);
    }
    poei_csv_free(&csv);
  }
}

static void numbers_are_short(void **state) {
  (void)state;
  const double values[] = {0.1, 1e300, NAN, -2};
  const char *const names[] = {"lp__", "x.1", "y_2", "nan"};
  const char *path = poet_temp_path("short.csv");
  char *text;
  size_t size;
  poe_error error = {0};
  check_ok(poei_csv_write(path, 1, 4, values, names, &error), error);
  check_ok(poei_file_read(path, 1000, &text, &size, &error), error);
  assert_string_equal(text, "lp__,x.1,y_2,\"nan\"\n0.1,1e+300,nan,-2\n");
  poei_free(text);
}

/* In a locale with decimal commas (when the machine has one) nothing changes. */
static void locale_does_not_matter(void **state) {
  (void)state;
  if (setlocale(LC_ALL, "de_DE.UTF-8") == NULL && setlocale(LC_ALL, "fr_FR.UTF-8") == NULL) {
    skip();
  }
  poei_csv csv = {0};
  poe_error error = {0};
  poe_status status = poei_csv_read(text_file("1.5,2\n"), &csv, &error);
  poe_status wrote = poei_csv_write(poet_temp_path("locale.csv"), 1, 2, csv.values, NULL, &error);
  setlocale(LC_ALL, "C");
  check_ok(status, error);
  check_ok(wrote, error);
  check_close(csv.values[0], 1.5, 0, 0);
  poei_csv_free(&csv);
  check_ok(poei_csv_read(poet_temp_path("locale.csv"), &csv, &error), error);
  assert_int_equal(csv.columns, 2);
  poei_csv_free(&csv);
}

static void writer_refuses(void **state) {
  (void)state;
  const char *const names[] = {"a\nb"};
  const double value = 1;
  poe_error error = {0};
  check_fails(poei_csv_write(poet_temp_path("x.csv"), 1, 0, &value, NULL, &error), POE_E_USAGE, error, "one column");
  check_fails(poei_csv_write(poet_temp_path("x.csv"), 1, 1, &value, names, &error), POE_E_USAGE, error, "one line");
  check_fails(poei_csv_write("/dev/full", 1, 1, &value, NULL, &error), POE_E_FILE, error, "No space");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(tables_are_read),
      cmocka_unit_test(errors_name_line_and_column),
      cmocka_unit_test(nan_is_read),
      cmocka_unit_test(long_lines_are_read),
      cmocka_unit_test(doubles_come_back_bit_for_bit),
      cmocka_unit_test(numbers_are_short),
      cmocka_unit_test(locale_does_not_matter),
      cmocka_unit_test(writer_refuses),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
