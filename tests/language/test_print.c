/* The canonical form is a fixed point: of every case that parses, and of expressions made at random. */
#include <stdlib.h>
#include <string.h>

#include "compose/language/syntax.h"
#include "core/alloc.h"
#include "tests/language/cases.h"

/* Prints a text canonically, again, and compares; false when the text does not parse. */
static bool check_fixed(const char *name, const char *text) {
  poei_diagnostics diagnostics = {0};
  char *once = poei_language_format(name, text, &diagnostics);
  poei_diagnostics_free(&diagnostics);
  if (!once) {
    return false;
  }
  char *twice = poei_language_format(name, once, &diagnostics);
  if (!twice) {
    poet_print_diagnostics(&diagnostics, once);
    fail_msg("%s: the canonical form does not parse:\n%s", name, once);
  }
  if (strcmp(once, twice) != 0) {
    fail_msg("%s: not a fixed point:\n%s----\n%s", name, once, twice);
  }
  poei_free(once);
  poei_free(twice);
  poei_diagnostics_free(&diagnostics);
  return true;
}

static void test_cases(void **state) {
  (void)state;
  poet_case *cases;
  size_t n = poet_cases_read(&cases), parsed = 0;
  for (size_t i = 0; i < n; i++) {
    parsed += check_fixed(cases[i].name, cases[i].text);
  }
  poet_cases_free(n, cases);
  assert_true(parsed > 100);
}

/* ---- expressions at random ---- */

typedef struct maker {
  unsigned long long state;
  poei_region region;
} maker;

static unsigned pick(maker *m, unsigned n) {
  m->state = m->state * 6364136223846793005u + 1442695040888963407u;
  return (unsigned)(m->state >> 33) % n;
}

static const poei_syntax *make(maker *m, int depth);

static poei_syntax *node(maker *m, poei_syntax_kind kind, size_t n, int depth) {
  poei_syntax *syntax = poei_region_take(&m->region, 1, sizeof *syntax);
  const poei_syntax **items = poei_region_take(&m->region, n, sizeof *items);
  assert_true(syntax && items);
  syntax->kind = kind;
  syntax->n = n;
  syntax->items = items;
  for (size_t i = 0; i < n; i++) {
    items[i] = make(m, depth - 1);
  }
  return syntax;
}

static const char *make_name(maker *m) {
  static const char *const names[] = {"a", "x_1", "thick", "in_", "given2", "E", "_"};
  return names[pick(m, sizeof names / sizeof *names)];
}

static poei_syntax *make_chain(maker *m, poei_syntax_kind kind, int depth) {
  size_t n = 2 + pick(m, 3);
  poei_syntax *syntax = node(m, kind, n, depth);
  bool *inverse = poei_region_take(&m->region, n, sizeof *inverse);
  for (size_t i = 1; i < n; i++) {
    inverse[i] = (kind == POEI_SYNTAX_SUM || kind == POEI_SYNTAX_TERM) && pick(m, 2);
  }
  syntax->inverse = inverse;
  return syntax;
}

static poei_syntax *make_place(maker *m, int depth) {
  poei_syntax *syntax = node(m, POEI_SYNTAX_PLACE, depth > 0 ? pick(m, 3) : 0, depth);
  syntax->text = make_name(m);
  for (size_t i = 0; i < syntax->n; i++) {
    unsigned shape = pick(m, 3);
    const poei_syntax **items = (const poei_syntax **)syntax->items;
    if (shape == 0) {
      items[i] = node(m, POEI_SYNTAX_ALL, 0, 0);
    } else if (shape == 1) {
      items[i] = node(m, POEI_SYNTAX_RANGE, 2, depth);
    }
  }
  return syntax;
}

static poei_syntax *make_leaf(maker *m, int depth) {
  static const double numbers[] = {0, 1, 0.1, 1e-300, 12345678.9, 3e17, 1.0 / 3, 5e-324};
  static const char *const texts[] = {"", "a b", "\"\\\n\t\x01", "größe"};
  poei_syntax *syntax;
  switch (pick(m, 3)) {
  case 0:
    syntax = node(m, POEI_SYNTAX_NUMBER, 0, 0);
    syntax->number = numbers[pick(m, 8)];
    return syntax;
  case 1:
    syntax = node(m, POEI_SYNTAX_STRING, 0, 0);
    syntax->text = texts[pick(m, 4)];
    return syntax;
  default:
    return make_place(m, depth);
  }
}

static poei_syntax *make_call(maker *m, int depth) {
  poei_syntax *syntax = node(m, POEI_SYNTAX_CALL, pick(m, 5), depth);
  const poei_syntax **items = (const poei_syntax **)syntax->items;
  syntax->text = make_name(m);
  syntax->bar = syntax->n > 0 && pick(m, 2);
  syntax->n_subjects = syntax->bar ? 1 + pick(m, (unsigned)syntax->n) : 0;
  for (size_t i = 0; i < syntax->n; i++) {
    if (i < syntax->n_subjects) {
      items[i] = make_place(m, depth - 1);
    } else if (pick(m, 2)) {
      poei_syntax *argument = node(m, POEI_SYNTAX_ARGUMENT, 1, depth);
      argument->text = make_name(m);
      items[i] = argument;
    }
  }
  return syntax;
}

/* product(i in a:b, ... -> body) */
static poei_syntax *make_comprehension(maker *m, int depth) {
  size_t n = 2 + pick(m, 2);
  poei_syntax *call = node(m, POEI_SYNTAX_CALL, 1, 0), *each = node(m, POEI_SYNTAX_EACH, n, depth);
  const poei_syntax **items = (const poei_syntax **)each->items;
  for (size_t i = 0; i + 1 < n; i++) {
    poei_syntax *index = node(m, POEI_SYNTAX_INDEX, 2, depth);
    index->text = make_name(m);
    items[i] = index;
  }
  ((const poei_syntax **)call->items)[0] = each;
  call->text = "product";
  return call;
}

static poei_syntax *make_given(maker *m, int depth) {
  poei_syntax *syntax = node(m, POEI_SYNTAX_GIVEN, 2 + pick(m, 2), depth);
  for (size_t i = 1; i < syntax->n; i++) {
    poei_syntax *binding = node(m, POEI_SYNTAX_BINDING, 2, depth);
    ((const poei_syntax **)binding->items)[0] = make_place(m, depth - 1);
    ((const poei_syntax **)syntax->items)[i] = binding;
  }
  return syntax;
}

static const poei_syntax *make(maker *m, int depth) {
  static const poei_syntax_kind chains[] = {POEI_SYNTAX_OR, POEI_SYNTAX_AND, POEI_SYNTAX_SUM, POEI_SYNTAX_TERM};
  if (depth <= 0) {
    return make_leaf(m, 0);
  }
  switch (pick(m, 11)) {
  case 0:
    return node(m, POEI_SYNTAX_LIST, pick(m, 4), depth);
  case 1:
    return make_call(m, depth);
  case 2:
    return make_comprehension(m, depth);
  case 3:
    return make_given(m, depth);
  case 4:
    return node(m, POEI_SYNTAX_NOT, 1, depth);
  case 5:
    return node(m, POEI_SYNTAX_NEGATIVE, 1, depth);
  case 6:
    return node(m, POEI_SYNTAX_POWER, 2, depth);
  case 7:
    return make_leaf(m, depth);
  default:
    return make_chain(m, chains[pick(m, 4)], depth);
  }
}

/* Same tree, but that brackets at the beginning of a product or conjunction mean nothing. */
static bool same(const poei_syntax *a, const poei_syntax *b) {
  bool texts = a->kind == POEI_SYNTAX_STRING || a->kind == POEI_SYNTAX_PLACE || a->kind == POEI_SYNTAX_CALL ||
               a->kind == POEI_SYNTAX_ARGUMENT || a->kind == POEI_SYNTAX_INDEX;
  if (a->kind != b->kind || a->n != b->n || a->bar != b->bar || a->n_subjects != b->n_subjects ||
      (texts && strcmp(a->text, b->text) != 0) || (a->kind == POEI_SYNTAX_NUMBER && a->number != b->number)) {
    return false;
  }
  for (size_t i = 0; i < a->n; i++) {
    bool signs = !a->inverse || !b->inverse || a->inverse[i] == b->inverse[i];
    if (!signs || !same(a->items[i], b->items[i])) {
      return false;
    }
  }
  return true;
}

static bool has_nested_start(const poei_syntax *syntax) {
  bool merges = syntax->kind == POEI_SYNTAX_TERM || syntax->kind == POEI_SYNTAX_AND;
  if (merges && syntax->items[0]->kind == syntax->kind) {
    return true;
  }
  for (size_t i = 0; i < syntax->n; i++) {
    if (has_nested_start(syntax->items[i])) {
      return true;
    }
  }
  return false;
}

static void test_random(void **state) {
  (void)state;
  size_t compared = 0;
  for (unsigned seed = 0; seed < 20000; seed++) {
    maker m = {.state = seed * 7919u + 1};
    poei_region_init(&m.region, 1u << 26);
    const poei_syntax *made = make(&m, 1 + (int)(seed % 5));
    const char *text = poei_print_expression(&m.region, made);
    poei_diagnostics diagnostics = {0};
    poei_reader reader = {.region = &m.region, .diagnostics = &diagnostics};
    poei_source source = {.path = "random", .anchor = "", .text = text, .size = strlen(text)};
    const poei_syntax *parsed = poei_parse_expression_text(&reader, &source);
    if (!parsed) {
      poet_print_diagnostics(&diagnostics, text);
      fail_msg("seed %u: %s", seed, text);
    }
    const char *again = poei_print_expression(&m.region, parsed);
    assert_string_equal(text, again);
    if (!has_nested_start(made)) {
      compared++;
      if (!same(made, parsed)) {
        fail_msg("seed %u: another tree: %s", seed, text);
      }
    }
    char *definition = poei_format("name = %s\n", text);
    assert_true(check_fixed("random", definition));
    poei_free(definition);
    poei_diagnostics_free(&diagnostics);
    poei_region_free(&m.region);
  }
  assert_true(compared > 15000);
}

static void test_numbers(void **state) {
  (void)state;
  static const struct {
    double number;
    const char *text;
  } numbers[] = {{0.1, "0.1"},
                 {1, "1"},
                 {1e100, "1e+100"},
                 {1.0 / 3, "0.3333333333333333"},
                 {0, "0"},
                 {5e-324, "4.94065645841247e-324"},
                 {123456789, "123456789"},
                 {INFINITY, "inf"}};
  char text[POEI_NUMBER_TEXT];
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    assert_string_equal(poei_number_text(numbers[i].number, text), numbers[i].text);
    assert_true(strtod(text, NULL) == numbers[i].number);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases), cmocka_unit_test(test_random),
                                     cmocka_unit_test(test_numbers)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
