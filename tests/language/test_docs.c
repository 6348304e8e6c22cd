/* docs/LANGUAGE.md: every ```poe block loads and lowers; a ```text block after one is what it prints. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "tests/language/cases.h"

#define PAGE POE_SOURCE_DIR "/docs/LANGUAGE.md"

/* The block after a fence `open` at or after *at, up to the closing fence; NULL when there is none. */
static char *next_block(const char **at, const char *open) {
  const char *start = strstr(*at, open);
  if (!start) {
    return NULL;
  }
  start += strlen(open);
  const char *end = strstr(start, "```");
  assert_non_null(end);
  *at = end + 3;
  return poei_strndup(start, (size_t)(end - start));
}

/* All diagnostics of a text as the command shows them. */
static char *shown(const char *text) {
  poei_diagnostics diagnostics = {0};
  poei_program *program = NULL;
  poei_program_load("example.poe", text, 0, NULL, &diagnostics, &program);
  char *all = poei_strdup("");
  for (size_t i = 0; i < diagnostics.n; i++) {
    char *one = poei_diagnostic_text(&diagnostics.items[i], text, false);
    char *longer = poei_format("%s%s", all, one);
    poei_free(all);
    poei_free(one);
    all = longer;
  }
  poei_diagnostics_free(&diagnostics);
  poei_program_free(program);
  return all;
}

static void check_right(const char *text) {
  poei_program *program = poet_load(POE_SOURCE_DIR "/docs/example.poe", text);
  for (size_t i = 0; i < poei_program_density_count(program); i++) {
    poei_target target;
    poet_target(program, poei_program_density(program, i), &target);
    poei_target_free(&target);
  }
  poei_program_free(program);
}

static void test_blocks(void **state) {
  (void)state;
  char *page = poet_read_text(PAGE);
  assert_non_null(page);
  size_t right = 0, wrong = 0;
  const char *at = page;
  for (char *block; (block = next_block(&at, "```poe\n"));) {
    const char *rest = at + strspn(at, "\n");
    if (strncmp(rest, "```text\n", 8) == 0) {
      char *expected = next_block(&at, "```text\n"), *actual = shown(block);
      assert_string_equal(actual, expected);
      poei_free(expected);
      poei_free(actual);
      wrong++;
    } else {
      check_right(block);
      right++;
    }
    poei_free(block);
  }
  free(page);
  assert_true(right >= 10 && wrong >= 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_blocks)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
