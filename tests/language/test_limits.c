/* Texts made to hurt: deep, long and exploding. Each must be refused with a place, quickly, without running out of
 * stack. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "tests/language/evaluate.h"

/* A text being written; ended by finish(), freed by whoever gets it. */
typedef struct writer {
  FILE *file;
  char *text;
  size_t size;
} writer;

static void begin(writer *out) {
  out->file = open_memstream(&out->text, &out->size);
  assert_non_null(out->file);
}

static char *finish(writer *out) {
  fclose(out->file);
  return out->text;
}

/* `before`, then `piece` n times, then `after`. */
static char *repeat(const char *before, const char *piece, size_t n, const char *after) {
  writer out;
  begin(&out);
  fputs(before, out.file);
  for (size_t i = 0; i < n; i++) {
    fputs(piece, out.file);
  }
  fputs(after, out.file);
  return finish(&out);
}

static void refused(char *text, const char *part) {
  poei_diagnostics diagnostics = {0};
  poei_program *program = NULL;
  poe_status status = poei_program_load("bomb.poe", text, 0, NULL, &diagnostics, &program);
  bool found = false;
  for (size_t i = 0; i < diagnostics.n; i++) {
    found = found || strstr(diagnostics.items[i].error.message, part);
  }
  if (status == POE_OK || !found) {
    text[200] = '\0';
    fail_msg("%s: %s (%s)", text, status == POE_OK ? "accepted" : "another message", part);
  }
  poei_program_free(program);
  poei_diagnostics_free(&diagnostics);
  free(text);
}

static void accepted(char *text) {
  poei_diagnostics diagnostics = {0};
  poei_program *program = NULL;
  poe_status status = poei_program_load("long.poe", text, 0, NULL, &diagnostics, &program);
  poet_print_diagnostics(&diagnostics, NULL);
  assert_int_equal(status, POE_OK);
  if (poei_program_density_count(program) > 0) {
    poei_target target;
    poet_target(program, NULL, &target);
    poei_target_free(&target);
  }
  poei_program_free(program);
  poei_diagnostics_free(&diagnostics);
  free(text);
}

static void test_deep(void **state) {
  (void)state;
  refused(repeat("a = ", "(", 100000, "1"), "nested more than");
  refused(repeat("a = ", "[", 100000, "1"), "nested more than");
  refused(repeat("a = ", "f(", 100000, "1"), "nested more than");
  refused(repeat("a = x", "[x", 100000, "]"), "nested more than");
  refused(repeat("a = ", "not ", 100000, "b"), "nested more than");
  refused(repeat("a = 2", "^2", 100000, ""), "nested more than");
  refused(repeat("a = ", "-(", 100000, "1"), "nested more than");
}

static void test_long(void **state) {
  (void)state;
  accepted(repeat("a = 0", "+1", 100000, "\n"));
  accepted(repeat("a = [0", ",1", 200000, "]\n"));
  accepted(repeat("var x : real\ng = gaussian(x | mean=0, sd=1)\na = g", "*g", 1000, "\n"));
  accepted(repeat("var x : real\ng = gaussian(x | mean=0, sd=1)\na = g", " or g", 1000, "\n"));
  accepted(repeat("", "\n", 1000000, "a = 1\n"));
  refused(repeat("a = ", "a", 1000, "\n"), "too long");
  refused(repeat("", "# a comment that is repeated until the file is too large\n", 100000, ""), "more than");
}

/* a1 = a0*a0, a2 = a1*a1, ...: 2^60 leaves in sixty lines. */
static void test_exploding(void **state) {
  (void)state;
  writer out;
  begin(&out);
  fputs("var x : real\na0 = gaussian(x | mean=0, sd=1)\n", out.file);
  for (int i = 1; i <= 60; i++) {
    fprintf(out.file, "a%d = a%d * a%d\n", i, i - 1, i - 1);
  }
  refused(finish(&out), "more than");
  begin(&out);
  fputs("var x : real\na0 = gaussian(x | mean=0, sd=1)\n", out.file);
  for (int i = 1; i <= 1000; i++) {
    fprintf(out.file, "a%d = a%d^2 * a0\n", i, i - 1);
  }
  refused(finish(&out), "nested more than");
  refused(repeat("var x : real\n",
                 "f(u) = product(i in 0:1000 -> product(j in 0:1000 -> product(k in 0:1000 -> "
                 "gaussian(u | mean=i, sd=j + k + 1))))\na = f(x)\n",
                 1, ""),
          "the program");
  refused(repeat("", "a = sum(i in 0:100000, j in 0:100000 -> 1)\n", 1, ""), "more than");
  begin(&out);
  fputs("f0(t) = t + 1\n", out.file);
  for (int i = 1; i <= 40; i++) {
    fprintf(out.file, "f%d(t) = f%d(f%d(t))\n", i, i - 1, i - 1);
  }
  fputs("a = f40(0)\n", out.file);
  refused(finish(&out), "the program");
}

/* Definitions that name the next one, thousands deep; in the order of use there is no depth. */
static void test_chain(void **state) {
  (void)state;
  writer out;
  begin(&out);
  for (int i = 0; i < 5000; i++) {
    fprintf(out.file, "a%d = a%d + 1\n", i, i + 1);
  }
  fputs("a5000 = 0\n", out.file);
  refused(finish(&out), "nested too deep");
  begin(&out);
  fputs("a0 = 0\n", out.file);
  for (int i = 1; i < 5000; i++) {
    fprintf(out.file, "a%d = a%d + 1\n", i, i - 1);
  }
  accepted(finish(&out));
}

static void test_many_errors(void **state) {
  (void)state;
  char *text = repeat("", "a = * 2\n", 10000, "");
  poei_diagnostics diagnostics = {0};
  poei_program *program = NULL;
  assert_int_equal(poei_program_load("many.poe", text, 0, NULL, &diagnostics, &program), POE_E_SYNTAX);
  assert_int_equal(diagnostics.n, 100);
  poei_diagnostics_free(&diagnostics);
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_deep), cmocka_unit_test(test_long),
                                     cmocka_unit_test(test_exploding), cmocka_unit_test(test_chain),
                                     cmocka_unit_test(test_many_errors)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
