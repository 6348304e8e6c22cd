/* Regular expressions: random patterns against a matcher that works on the tree they were written from, and what is
 * refused, with the character it is refused at. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "experts/list.h"
#include "experts/regex.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

static poet_args a;
static poe_error error;

static poe_status create(size_t d, size_t k, const char *pattern, const char *alphabet, poe_expert **expert) {
  memset(&error, 0, sizeof error);
  poet_args_start(&a, "regex");
  poet_args_discrete_variable(&a, "x", d, k);
  poet_args_text(&a, "pattern", POE_ARG_STRING, pattern);
  if (alphabet != NULL) {
    poet_args_text(&a, "alphabet", POE_ARG_STRING, alphabet);
  }
  return poe_expert_create(&poei_regex_ops, &a.args, expert, &error);
}

/* ---- random trees ---- */

enum { LENGTH = 5, SYMBOLS = 3, WORDS = 243, TREE_NODES = 2000, TEXT = 4000 };

typedef enum tree_kind { LETTERS, SEQUENCE, CHOICE, REPEAT } tree_kind;

typedef struct tree {
  tree_kind kind;
  unsigned letters; /* LETTERS: bits of symbols */
  size_t n, part[3];
  int least, most; /* REPEAT; most -1: any */
} tree;

/* A pattern under construction, as a tree and as text. */
typedef struct author {
  uint64_t state;
  tree node[TREE_NODES];
  size_t n, used;
  char text[TEXT];
} author;

static size_t pick(author *w, size_t n) {
  w->state = w->state * 6364136223846793005u + 1442695040888963407u;
  return (size_t)(w->state >> 33) % n;
}

static void put(author *w, const char *text) {
  size_t length = strlen(text);
  assert_true(w->used + length < TEXT);
  memcpy(w->text + w->used, text, length + 1);
  w->used += length;
}

static size_t new_node(author *w, tree_kind kind) {
  assert_true(w->n < TREE_NODES);
  w->node[w->n] = (tree){.kind = kind};
  return w->n++;
}

static size_t write_letters(author *w) {
  static const struct {
    const char *text;
    unsigned letters;
  } known[] = {{"a", 1},     {"b", 2},     {"c", 4},      {".", 7},    {"[ab]", 3},  {"[^b]", 5},
               {"[a-c]", 7}, {"[b-z]", 6}, {"[^a-b]", 4}, {"\\w", 7},  {"[\\D]", 7}, {"(?:a)", 1},
               {"[ca]", 5},  {"[^c]", 3},  {"(c)", 4},    {"[-a]", 1}, {"[a\\-]", 1}};
  size_t i = pick(w, sizeof known / sizeof known[0] - 2), index = new_node(w, LETTERS); /* '-' is not in the alphabet */
  put(w, known[i].text);
  w->node[index].letters = known[i].letters;
  return index;
}

static size_t write_choice(author *w, int depth);

static size_t write_item(author *w, int depth) {
  if (depth == 0 || pick(w, 2) == 0) {
    return write_letters(w);
  }
  put(w, pick(w, 3) == 0 ? "(?:" : "(");
  size_t index = write_choice(w, depth - 1);
  put(w, ")");
  return index;
}

static size_t write_repeat(author *w, int depth) {
  static const struct {
    const char *text;
    int least, most;
  } known[] = {{"*", 0, -1},    {"+", 1, -1},    {"?", 0, 1},     {"{2}", 2, 2},   {"{0}", 0, 0},
               {"{1,}", 1, -1}, {"{2,}", 2, -1}, {"{0,2}", 0, 2}, {"{1,3}", 1, 3}, {"{0,}", 0, -1}};
  size_t inside = write_item(w, depth), i = pick(w, 2 * sizeof known / sizeof known[0]);
  if (i >= sizeof known / sizeof known[0]) {
    return inside;
  }
  put(w, known[i].text);
  size_t index = new_node(w, REPEAT);
  w->node[index].n = 1;
  w->node[index].part[0] = inside;
  w->node[index].least = known[i].least;
  w->node[index].most = known[i].most;
  return index;
}

static size_t write_sequence(author *w, int depth) {
  size_t index = new_node(w, SEQUENCE), n = pick(w, 8) == 0 ? 0 : 1 + pick(w, 3);
  for (size_t i = 0; i < n; i++) {
    size_t part = write_repeat(w, depth);
    w->node[index].part[w->node[index].n++] = part;
  }
  return index;
}

static size_t write_choice(author *w, int depth) {
  size_t index = new_node(w, CHOICE), n = 1 + pick(w, 3);
  for (size_t i = 0; i < n; i++) {
    put(w, i > 0 ? "|" : "");
    size_t part = write_sequence(w, depth);
    w->node[index].part[w->node[index].n++] = part;
  }
  return index;
}

/* The places (bits 0 .. LENGTH) where a match of the node may end that begins at one of the places `from`. */
static unsigned ends(const author *w, size_t index, const int *word, unsigned from) {
  const tree *node = &w->node[index];
  unsigned to = 0;
  switch (node->kind) {
  case LETTERS:
    for (int i = 0; i < LENGTH; i++) {
      to |= (from >> i & 1) && (node->letters >> word[i] & 1) ? 2u << i : 0u;
    }
    return to;
  case SEQUENCE:
    for (size_t i = 0; i < node->n; i++) {
      from = ends(w, node->part[i], word, from);
    }
    return from;
  case CHOICE:
    for (size_t i = 0; i < node->n; i++) {
      to |= ends(w, node->part[i], word, from);
    }
    return to;
  case REPEAT:
    for (int i = 0; i < node->least; i++) {
      from = ends(w, node->part[0], word, from);
    }
    for (int i = node->least; node->most < 0 ? i < node->least + LENGTH + 1 : i < node->most; i++) {
      from |= ends(w, node->part[0], word, from);
    }
    return from;
  }
  return 0;
}

static void random_patterns(void **state) {
  (void)state;
  static author w;
  size_t accepted_somewhere = 0;
  for (uint64_t seed = 1; seed <= 600; seed++) {
    memset(&w, 0, sizeof w);
    w.state = seed * 977;
    size_t root = write_choice(&w, 3), count = 0;
    bool matches[WORDS];
    double x[WORDS * LENGTH], logp[WORDS], log_z = 0.0;
    for (int word = 0; word < WORDS; word++) {
      int letter[LENGTH];
      for (int t = 0, rest = word; t < LENGTH; t++, rest /= SYMBOLS) {
        letter[t] = rest % SYMBOLS;
        x[word * LENGTH + t] = letter[t];
      }
      matches[word] = (ends(&w, root, letter, 1u) >> LENGTH & 1) != 0;
      count += matches[word];
    }
    poe_expert *expert = NULL;
    poe_status status = create(LENGTH, SYMBOLS, w.text, "abc", &expert);
    if (count == 0) {
      assert_int_equal(status, POE_E_EMPTY);
      continue;
    }
    accepted_somewhere++;
    if (status != POE_OK) {
      fail_msg("`%s`: %s", w.text, error.message);
    }
    check_ok(poe_expert_log_z(expert, &log_z, &error), error);
    check_close(log_z, log((double)count), 1e-12, 0.0);
    poet_eval(expert, WORDS, LENGTH, x, logp, NULL);
    for (int word = 0; word < WORDS; word++) {
      if (logp[word] != (matches[word] ? 0.0 : -INFINITY)) {
        fail_msg("`%s` on word %d: log p is %g", w.text, word, logp[word]);
      }
    }
    poe_expert_release(expert);
  }
  assert_in_range(accepted_somewhere, 200, 560); /* both kinds occur */
}

/* ---- alphabets ---- */

static void alphabets(void **state) {
  (void)state;
  poe_expert *expert = NULL;
  double logp[3], x[3 * 2] = {0, 1, 1, 0, 2, 2};
  check_ok(create(2, 3, "\xc3\xa9[\xe2\x82\xac-\xf0\x9f\x98\x80]", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", &expert),
           error);
  poet_eval(expert, 3, 2, x, logp, NULL);
  assert_true(logp[0] == 0.0 && isinf(logp[1]) && isinf(logp[2]));
  poe_expert_release(expert);
  check_ok(create(2, 3, "0[12]|2\\d", NULL, &expert), error); /* digits, then letters, name the symbols */
  poet_eval(expert, 3, 2, x, logp, NULL);
  assert_true(logp[0] == 0.0 && isinf(logp[1]) && logp[2] == 0.0);
  poe_expert_release(expert);
  expert = NULL;
  check_fails(create(2, 40, "a", NULL, &expert), POE_E_USAGE, error, "needs `alphabet`");
  check_fails(create(2, 3, "a", "ab", &expert), POE_E_SHAPE, error, "has 2 characters, but `x` takes 3 values");
  check_fails(create(2, 3, "a", "abcd", &expert), POE_E_SHAPE, error, "has 4 characters");
  assert_int_equal(error.column, 20);
  assert_non_null(strstr(error.hint, "one character for each value"));
  check_fails(create(2, 3, "a", "aba", &expert), POE_E_DOMAIN, error, "'a' stands twice");
  check_fails(create(2, 3, "a", "ab\xff", &expert), POE_E_FORMAT, error, "UTF-8");
  check_fails(create(2, 3, "\xff", "abc", &expert), POE_E_FORMAT, error, "UTF-8");
  poet_args_start(&a, "regex");
  poet_args_discrete_variable(&a, "x", 2, 2);
  check_fails(poe_expert_create(&poei_regex_ops, &a.args, &expert, &error), POE_E_USAGE, error, "needs `pattern`");
  poet_args_start(&a, "regex");
  poet_args_discrete_variable(&a, "x", 2, 5000);
  check_fails(poe_expert_create(&poei_regex_ops, &a.args, &expert, &error), POE_E_SHAPE, error, "at most 4096 values");
  assert_null(expert);
}

/* ---- what is refused ---- */

static const struct {
  const char *pattern;
  poe_status status;
  const char *part; /* of the message, after "`pattern`, " */
} refused[] = {
    {"a(b", POE_E_SYNTAX, "character 2: this '(' is never closed"},
    {"ab)c", POE_E_SYNTAX, "character 3: this ')' was never opened"},
    {"a[bc", POE_E_SYNTAX, "character 2: this '[' is never closed"},
    {"a[]", POE_E_EMPTY, "character 2: no symbol of the alphabet is meant"},
    {"[^abc]", POE_E_EMPTY, "character 1: no symbol"},
    {"ab\\d", POE_E_EMPTY, "character 3: no symbol"},
    {"[x-z]", POE_E_EMPTY, "character 1: no symbol"},
    {"[c-a]", POE_E_SYNTAX, "character 2: this range is the wrong way round"},
    {"[a-\\w]", POE_E_SYNTAX, "character 2: this range"},
    {"abz", POE_E_NAME, "character 3: 'z' is not in the alphabet"},
    {"[az]", POE_E_NAME, "character 3: 'z' is not in the alphabet"},
    {"a\\n", POE_E_NAME, "character 2: U+000A is not in the alphabet"},
    {"*a", POE_E_SYNTAX, "character 1: there is nothing before this '*'"},
    {"a|+", POE_E_SYNTAX, "character 3: there is nothing before this '+'"},
    {"(?a)", POE_E_SYNTAX, "character 1: there are no groups of this kind"},
    {"a**", POE_E_SYNTAX, "character 3: a repetition cannot be repeated"},
    {"a+?", POE_E_SYNTAX, "character 3: a repetition cannot be repeated"},
    {"a{2}{3}", POE_E_SYNTAX, "character 5: a repetition cannot be repeated"},
    {"a{", POE_E_SYNTAX, "character 2: this is no number of repetitions"},
    {"a{,3}", POE_E_SYNTAX, "character 2: this is no number of repetitions"},
    {"a{2;3}", POE_E_SYNTAX, "character 2: this is no number of repetitions"},
    {"a{3,2}", POE_E_SYNTAX, "character 2: {3,2}: the smaller number comes first"},
    {"a{10001}", POE_E_SHAPE, "character 3: a repetition is at most 10000 times"},
    {"a{99999999999999999999}", POE_E_SHAPE, "character 3: a repetition is at most"},
    {"^ab", POE_E_SYNTAX, "character 1: the whole sequence must match: there is no '^'"},
    {"ab$", POE_E_SYNTAX, "character 3: the whole sequence must match: there is no '$'"},
    {"a\\", POE_E_SYNTAX, "character 2: nothing follows the backslash"},
    {"\\q", POE_E_SYNTAX, "character 1: 'q' is no escape"},
    {"[\\q]", POE_E_SYNTAX, "character 2: 'q' is no escape"},
    {"a{100}{", POE_E_SYNTAX, "character 7: a repetition cannot be repeated"},
    {"((a{1000}){1000}){1000}", POE_E_SHAPE, "character 11: with its repetitions written out"},
    {"(a{0,300}){0,300}", POE_E_SHAPE, "character 11: with its repetitions written out"},
};

static void bad_patterns(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
    poe_expert *expert = NULL;
    char part[200];
    snprintf(part, sizeof part, "`pattern`, %s", refused[i].part);
    check_fails(create(3, 3, refused[i].pattern, "abc", &expert), refused[i].status, error, part);
    assert_null(expert);
    assert_int_equal(error.column, 10);
  }
  poe_expert *expert = NULL;
  char deep[400] = "", large[5000];
  memset(deep, '(', 101);
  memcpy(deep + 101, "a", 2);
  memset(deep + 102, ')', 101);
  check_fails(create(3, 3, deep, "abc", &expert), POE_E_SYNTAX, error, "groups nest more than 100 deep");
  memset(large, 'a', 4500);
  large[4500] = '\0';
  check_fails(create(3, 3, large, "abc", &expert), POE_E_SHAPE, error, "at most 4096 characters");
  check_fails(create(30, 3, "(a|b)*a(a|b){20}", "abc", &expert), POE_E_SHAPE, error, "more than 10000 states");
  check_fails(create(3, 3, "", "abc", &expert), POE_E_EMPTY, error, "no sequence of length 3 matches");
  check_fails(create(3, 3, "ab|c{5}", "abc", &expert), POE_E_EMPTY, error, "no sequence of length 3 matches");
  check_fails(create(3, 3, "c{5}", "abc", &expert), POE_E_EMPTY, error, "no sequence of length 3 matches");
  assert_int_equal(error.column, 10);
  assert_non_null(strstr(error.hint, ".*"));
  assert_null(expert);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(random_patterns),
      cmocka_unit_test(alphabets),
      cmocka_unit_test(bad_patterns),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
