/* What can be asked of a program: targets, mentions, overrides, actions, texts of diagnostics, words. */
#include <stdio.h>
#include <string.h>

#include "compose/nodes/nodes.h"
#include "core/alloc.h"
#include "formats/file_error.h"
#include "tests/language/evaluate.h"

static const char normals[] = "var x, y : real[2]\n"
                              "var c : int(3)\n"
                              "width = 2\n"
                              "a = gaussian(x | mean=0, sd=1)\n"
                              "b = gaussian(x | mean=1, sd=width)\n"
                              "k = categorical(c | p=[0.2, 0.3, 0.5])\n"
                              "both = a * b^2 * k\n"
                              "part = both given (c = 1, x[1] = 0.5)\n"
                              "sample(both, chains=8, save=[x, c], gate=report)\n"
                              "logz(a * b, tol=.5)\n";

static void test_variables(void **state) {
  (void)state;
  poei_program *program = poet_load("normals.poe", normals);
  assert_int_equal(poei_program_variable_count(program), 3);
  const poei_variable *y = poei_program_variable_find(program, "y");
  assert_int_equal(y->offset, 2);
  assert_int_equal(y->dim, 2);
  assert_int_equal(y->shape[0], 2);
  assert_ptr_equal(poei_program_variable(program, 1), y);
  assert_null(poei_program_variable(program, 3));
  assert_null(poei_program_variable_find(program, "a"));
  const poei_variable *c = poei_program_variable_find(program, "c");
  assert_int_equal(c->space, POEI_SPACE_INT);
  assert_true(c->support[0].kind == POE_DISCRETE && c->support[0].low == 0 && c->support[0].high == 2);
  char text[32];
  assert_string_equal(poei_program_coordinate_text(program, 3, text, sizeof text), "y[1]");
  assert_string_equal(poei_program_coordinate_text(program, 4, text, sizeof text), "c");
  assert_string_equal(poei_program_coordinate_text(program, 5, text, sizeof text), "");
  assert_string_equal(poei_program_coordinate_text(program, 3, text, 3), "y[");
  assert_string_equal(poei_program_path(program), "normals.poe");
  assert_string_equal(poei_program_source(program, "normals.poe"), normals);
  assert_null(poei_program_source(program, "other.poe"));
  poei_program_free(program);
}

static void test_targets(void **state) {
  (void)state;
  poei_program *program = poet_load("normals.poe", normals);
  poei_target target;
  poet_target(program, NULL, &target); /* the last density */
  assert_string_equal(target.name, "part");
  assert_string_equal(target.text, "both given (c = 1, x[1] = 0.5)");
  assert_int_equal(target.dim, 1);
  assert_int_equal(target.coordinates[0], 0);
  assert_int_equal(target.n_clamped, 2);
  assert_int_equal(target.clamped[0], 1);
  assert_int_equal(target.clamped[1], 4);
  check_close(target.clamped_value[0], 0.5, 0, 0);
  check_close(target.clamped_value[1], 1, 0, 0);
  assert_false(target.normalised);
  poei_target_free(&target);

  poet_target(program, "normalise(both given c = 2)", &target);
  assert_string_equal(target.name, "normalise(both given c = 2)");
  assert_int_equal(target.dim, 2);
  assert_int_equal(target.n_clamped, 1);
  assert_true(target.normalised);
  poei_target_free(&target);

  poet_target(program, " a*b ", &target);
  assert_string_equal(target.text, "a * b");
  poei_target_free(&target);

  poet_target(program, "a or b", &target);
  assert_true(target.normalised);
  poei_target_free(&target);
  poei_program_free(program);
}

/* One definition is one object, wherever and however often it is named: the planner knows holes by identity. */
static void test_sharing(void **state) {
  (void)state;
  poei_program *program = poet_load("s.poe", "var x : real[2]\n"
                                             "a = gaussian(x | mean=0, sd=1)\n"
                                             "r = formula(x | energy=norm(x)) * a\n"
                                             "m = r or a\n"
                                             "n = 0.3*r + 0.7*a\n"
                                             "p = gaussian(x | mean=0, sd=1) * a\n");
  poei_target m, n, r, p, again;
  poet_target(program, "m", &m);
  poet_target(program, "n", &n);
  poet_target(program, "r", &r);
  poet_target(program, "p", &p);
  poet_target(program, "m", &again);
  assert_ptr_equal(m.expert, again.expert);
  const poe_expert *hole = poei_node_child(m.expert, 0), *other = poei_node_child(n.expert, 0);
  assert_int_equal(poei_node_kind_of(hole), POEI_NODE_normalise);
  double error;
  assert_true(isnan(poei_normalise_log_z(hole, &error)));
  assert_ptr_equal(poei_node_child(hole, 0), r.expert);
  assert_ptr_equal(poei_node_child(other, 0), r.expert);
  assert_ptr_equal(poei_node_child(m.expert, 1), poei_node_child(n.expert, 1));
  assert_ptr_equal(poei_node_child(p.expert, 0), poei_node_child(p.expert, 1)); /* equal calls are one expert */
  check_close(exp(poei_mixture_log_weight(n.expert, 0)), 0.3, 1e-15, 0);
  poei_target_free(&m);
  poei_target_free(&n);
  poei_target_free(&r);
  poei_target_free(&p);
  poei_program_free(program);
  double x[2] = {0, 0}; /* a target outlives its program */
  check_close(poet_log_density(poei_node_child(again.expert, 1), x, NULL), -1.8378770664093453, 1e-12, 0);
  poei_target_free(&again);
}

static void test_wrong_targets(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int column;
    const char *part;
  } wrong[] = {
      {"a * nothing", 5, "unknown expert 'nothing'"},
      {"a *", 4, "expected an expression"},
      {"a b", 3, "expected the end of the expression"},
      {"2*a", 1, "a weight only means something"},
      {"x", 1, "an expert is needed here"},
      {"width", 1, "an expert is needed here"},
      {"a = b", 3, "expected the end of the expression"},
  };
  poei_program *program = poet_load("normals.poe", normals);
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    poei_diagnostics diagnostics = {0};
    poei_target target;
    assert_true(poei_program_target(program, wrong[i].text, &target, &diagnostics) != POE_OK);
    assert_int_equal(diagnostics.n, 1);
    assert_string_equal(diagnostics.items[0].error.file, "target");
    assert_int_equal(diagnostics.items[0].error.column, wrong[i].column);
    assert_non_null(strstr(diagnostics.items[0].error.message, wrong[i].part));
    assert_string_equal(poei_program_source(program, "target"), wrong[i].text);
    poei_diagnostics_free(&diagnostics);
  }
  poei_program_free(program);
}

static void test_mentions(void **state) {
  (void)state;
  poei_program *program = poet_load("normals.poe", normals);
  const char *names[4];
  assert_int_equal(poei_program_mentions(program, "both", names, 4), 3);
  assert_string_equal(names[0], "a");
  assert_string_equal(names[1], "b");
  assert_string_equal(names[2], "k");
  assert_int_equal(poei_program_mentions(program, "b * a^2 * b", names, 4), 2);
  assert_string_equal(names[0], "b");
  assert_int_equal(poei_program_mentions(program, "a", names, 4), 1);
  assert_string_equal(names[0], "a");
  assert_int_equal(poei_program_mentions(program, NULL, names, 4), 1);
  assert_string_equal(names[0], "both");
  assert_int_equal(poei_program_mentions(program, "both", names, 2), 2);
  assert_int_equal(poei_program_mentions(program, "nothing", names, 4), 0);
  assert_int_equal(poei_program_density_count(program), 5);
  assert_string_equal(poei_program_density(program, 3), "both");
  assert_null(poei_program_density(program, 5));
  poei_program_free(program);
}

static void test_actions(void **state) {
  (void)state;
  poei_program *program = poet_load("folder/normals.poe", normals);
  assert_int_equal(poei_program_action_count(program), 2);
  const poei_action *sample = poei_program_action(program, 0), *logz = poei_program_action(program, 1);
  assert_string_equal(sample->verb->name, "sample");
  assert_int_equal(sample->line, 9);
  assert_int_equal(sample->n_targets, 1);
  assert_string_equal(sample->targets[0], "both");
  assert_int_equal(sample->n_options, 3);
  assert_string_equal(sample->options[0].name, "chains");
  assert_string_equal(sample->options[0].text, "8");
  assert_int_equal(sample->options[0].column, 21);
  assert_string_equal(sample->options[1].text, "[x, c]");
  assert_int_equal(sample->options[1].n_items, 2);
  assert_string_equal(sample->options[1].items[1], "c");
  assert_string_equal(logz->targets[0], "a * b");
  assert_string_equal(logz->options[0].text, "0.5");
  assert_null(poei_program_action(program, 2));
  poei_program_free(program);
  program = poet_load("folder/p.poe", "var x : real\na = gaussian(x | mean=0, sd=1)\nscore(a, data=\"d.csv\")\n"
                                      "score(a, data=\"/d.csv\")\n");
  assert_string_equal(poei_program_action(program, 0)->options[0].text, "folder/d.csv");
  assert_string_equal(poei_program_action(program, 1)->options[0].text, "/d.csv");
  poei_program_free(program);
}

/* ---- overrides ---- */

static poe_status load_with(const char *text, const char *name, const char *param, const char *value,
                            poei_diagnostics *diagnostics, poei_program **program) {
  poei_override override = {name, param, value};
  return poei_program_load("o.poe", text, 1, &override, diagnostics, program);
}

static void test_overrides(void **state) {
  (void)state;
  static const struct {
    const char *name, *param, *value;
    double mean, sd;
  } right[] = {{"a", "mean", "3", 3, 1},   {"a", "sd", "1/2", 0, 0.5}, {"both", "loc", "7", 0, 1},
               {"width", NULL, "2", 0, 2}, {"width", "", "4", 0, 4},   {"a", "sd", "2*width", 0, 2}};
  static const char text[] = "var x : real\nwidth = 1\na = gaussian(x | sd=width, mean=0)\n"
                             "both = laplace(x | loc=0, scale=1) * a\n";
  for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
    poei_diagnostics diagnostics = {0};
    poei_program *program = NULL;
    poei_target target;
    if (load_with(text, right[i].name, right[i].param, right[i].value, &diagnostics, &program) != POE_OK) {
      poet_print_diagnostics(&diagnostics, text);
      fail_msg("%s.%s=%s", right[i].name, right[i].param ? right[i].param : "", right[i].value);
    }
    poet_target(program, "a", &target);
    double z = (1 - right[i].mean) / right[i].sd, one = 1;
    check_close(poet_log_density(target.expert, &one, NULL), -0.9189385332046727 - log(right[i].sd) - z * z / 2, 1e-12,
                0);
    poei_target_free(&target);
    poei_program_free(program);
    poei_diagnostics_free(&diagnostics);
  }
}

static void test_wrong_overrides(void **state) {
  (void)state;
  static const struct {
    const char *name, *param, *value, *part;
  } wrong[] = {{"aa", "mean", "3", "unknown definition 'aa'"},
               {"a", "maen", "3", "'gaussian' has no parameter 'maen'"},
               {"both", "file", "3", "no call in 'both' has a parameter 'file'"},
               {"twice", "mean", "3", "several calls in 'twice' have a parameter 'mean'"},
               {"a", "mean", "3 +", "expected an expression"},
               {"a", "mean", "nothing", "unknown name 'nothing'"},
               {"a", "mean", "\"t\"", "'mean' must be numbers"}};
  static const char text[] = "var x : real\na = gaussian(x | mean=0, sd=1)\nboth = a * a\n"
                             "twice = gaussian(x | mean=0, sd=1) * gaussian(x | mean=1, sd=1)\n";
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    poei_diagnostics diagnostics = {0};
    poei_program *program = NULL;
    assert_true(load_with(text, wrong[i].name, wrong[i].param, wrong[i].value, &diagnostics, &program) != POE_OK);
    assert_null(program);
    assert_int_equal(diagnostics.n, 1);
    if (!strstr(diagnostics.items[0].error.message, wrong[i].part)) {
      fail_msg("%s: %s", wrong[i].part, diagnostics.items[0].error.message);
    }
    poei_diagnostics_free(&diagnostics);
  }
}

/* ---- texts ---- */

static char *first_text(const char *text, bool colour) {
  poei_diagnostics diagnostics = {0};
  poei_program *program = NULL;
  poei_program_load("bad.poe", text, 0, NULL, &diagnostics, &program);
  assert_true(diagnostics.n > 0);
  char *shown = poei_diagnostic_text(&diagnostics.items[0], text, colour);
  poei_diagnostics_free(&diagnostics);
  poei_program_free(program);
  return shown;
}

static void test_diagnostic_text(void **state) {
  (void)state;
  char *text = first_text("var x : real\nflow = gaussian(x | mean=0, sd=1)\nboth = flow * flwo^0.5\n", false);
  assert_string_equal(text, "bad.poe:3:15: error: unknown expert 'flwo'\n"
                            "    3 | both = flow * flwo^0.5\n"
                            "      |               ^~~~ did you mean 'flow'?\n");
  poei_free(text);
  text = first_text("t = \"größe\" + 3\n", false); /* carets under characters, not bytes */
  assert_string_equal(text, "bad.poe:1:5: error: numbers are needed here, this is a text\n"
                            "    1 | t = \"größe\" + 3\n"
                            "      |     ^~~~~~~~~~~\n");
  poei_free(text);
  text = first_text("var x : real\nb = gaussian(x | mean=0, sd=1) * \xc3\xa4\n", true);
  assert_non_null(strstr(text, "\033[1;31merror: \033[0m"));
  poei_free(text);
  char line[1000] = "a = 0";
  size_t n = strlen(line);
  for (; n < 900; n += 2) {
    memcpy(line + n, "+1", 3);
  }
  memcpy(line + n, "+nothing\n", 10);
  text = first_text(line, false); /* a long line is shown in part */
  assert_non_null(strstr(text, "| ..."));
  assert_non_null(strstr(text, "^~~~~~~"));
  assert_true(strlen(text) < 500);
  poei_free(text);
}

/* What is not UTF-8 is refused with its place; long messages are cut between characters. */
static void test_utf8(void **state) {
  (void)state;
  static const char *const wrong[] = {"# a\xff\n", "# \xc0\x80", "t = \"\xed\xa0\x80\"", "\xf5\x80\x80\x80",
                                      "# \xe2\x82"};
  static const int columns[] = {4, 3, 6, 1, 3};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    poei_diagnostics diagnostics = {0};
    poei_program *program = NULL;
    assert_int_equal(poei_program_load("u.poe", wrong[i], 0, NULL, &diagnostics, &program), POE_E_SYNTAX);
    assert_int_equal(diagnostics.n, 1);
    assert_non_null(strstr(diagnostics.items[0].error.message, "not UTF-8"));
    assert_int_equal(diagnostics.items[0].error.column, columns[i]);
    poei_diagnostics_free(&diagnostics);
  }
  for (size_t pad = 0; pad < 2; pad++) { /* the cut falls into a character of one of the two */
    char path[700] = "a";
    size_t n = pad;
    for (; n < 600; n += 2) {
      memcpy(path + n, "\xc3\xa4", 3);
    }
    poei_diagnostics diagnostics = {0};
    poei_program *program = NULL;
    assert_int_equal(poei_program_load(path, "a = b\n", 0, NULL, &diagnostics, &program), POE_E_NAME);
    const char *file = diagnostics.items[0].error.file;
    assert_true(strlen(file) > 250);
    assert_true(poei_utf8_valid(file, strlen(file)));
    poei_diagnostics_free(&diagnostics);
  }
}

typedef struct told {
  size_t n, named;
  bool stop;
} told;

static bool tell(void *context, const poe_expert *expert, size_t dim, const size_t *ids, const poei_outline *node,
                 const char *step) {
  told *count = context;
  assert_null(step); /* no comprehension made them */
  assert_int_equal(poe_expert_traits(expert)->dim, dim);
  assert_true(dim == 0 || ids[dim - 1] < 64);
  count->n++;
  count->named += node->name != NULL;
  return !count->stop;
}

static void test_outline(void **state) {
  (void)state;
  poei_program *program = poet_load("normals.poe", normals);
  poei_diagnostics diagnostics = {0};
  const poei_outline *root = poei_program_outline(program, "both / a", &diagnostics);
  assert_non_null(root);
  assert_string_equal(root->kind, "product");
  assert_true(root->name == NULL && root->n == 2 && root->n_over == 2 && root->count == 1);
  const poei_outline *both = root->children[0], *again = root->children[1];
  assert_string_equal(both->name, "both");
  assert_true(both->line == 7 && strstr(both->file, "normals.poe") != NULL);
  const poei_outline *square = both->children[1];
  assert_true(square->factor == 2 && square->n_over == 1 && square->line == 5);
  assert_string_equal(square->text, "gaussian(x | mean=1, sd=width)");
  assert_string_equal(square->name, "b");
  assert_true(again->again && again->factor == -1 && again->n == 0);
  assert_string_equal(again->name, "a");
  told count = {0}; /* nothing is lowered yet */
  assert_true(poei_outline_mentions(root, tell, &count) && count.n == 0);
  poei_target target;
  assert_int_equal(poei_program_target(program, "both", &target, &diagnostics), POE_OK);
  assert_true(poei_outline_mentions(root, tell, &count) && count.n >= 4 && count.named == count.n);
  count = (told){.stop = true};
  assert_true(!poei_outline_mentions(root, tell, &count) && count.n == 1);
  poei_target_free(&target);
  assert_null(poei_program_outline(program, "nothing", &diagnostics));
  assert_int_equal(diagnostics.errors, 1);
  poei_diagnostics_free(&diagnostics);
  poei_program_free(program);
}

/* What a comprehension makes is told once, and variables as they would be written. */
static void test_outline_equal(void **state) {
  (void)state;
  poei_program *program =
      poet_load("equal.poe", "var x : real[6]\nvar s : binary[2, 3]\n"
                             "a = product(i in 0:4 -> gaussian(x[i+1] | mean=i, sd=1))\n"
                             "b = a * gaussian(x[0] | mean=0, sd=1) * bernoulli(s[:, 0:2] | p=0.5)\n"
                             "c = b given x[2] = 1\n");
  poei_diagnostics diagnostics = {0};
  const poei_outline *root = poei_program_outline(program, "c", &diagnostics);
  assert_non_null(root);
  assert_true(root->n_gone == 1 && root->gone[0] == 2 && root->gone_value[0] == 1);
  const poei_outline *b = root->children[0], *a = b->children[0];
  assert_int_equal(b->n, 3);
  assert_int_equal(a->n, 1);
  assert_int_equal(a->children[0]->count, 4);
  assert_string_equal(a->over[0].text, "x[1:5]");
  assert_string_equal(b->children[1]->over[0].text, "x[0]");
  assert_string_equal(b->children[2]->over[0].text, "s (4 of 6)");
  char text[32];
  const size_t ids[] = {0, 1, 2, 3, 4, 5, 7, 8};
  assert_string_equal(poei_program_over_text(program, 8, ids, text, sizeof text), "x, s[0, 1], s[0, 2]");
  assert_string_equal(poei_program_over_text(program, 8, ids, text, 14), "x, ...");
  poei_program_free(program);
}

static void test_files(void **state) {
  (void)state;
  const char *data = poet_temp_file("numbers.csv", "1,2\n", 4);
  char text[600];
  snprintf(text, sizeof text, "var x : real[2]\nm = data(\"%s\")\na = gaussian(x | mean=m[0], sd=1)\n", data);
  const char *path = poet_temp_file("main.poe", text, strlen(text));
  poei_diagnostics diagnostics = {0};
  poei_program *program = NULL;
  assert_int_equal(poei_program_load(path, NULL, 0, NULL, &diagnostics, &program), POE_OK);
  assert_int_equal(poei_program_file_count(program), 2);
  assert_string_equal(poei_program_file(program, 0), path);
  assert_string_equal(poei_program_file(program, 1), data);
  poei_program_free(program);
  program = NULL;
  assert_int_equal(poei_program_load("/nothing/here.poe", NULL, 0, NULL, &diagnostics, &program), POE_E_FILE);
  assert_int_equal(diagnostics.n, 1);
  assert_null(program);
  poei_diagnostics_free(&diagnostics);
  path = poet_temp_file("zero.poe", "a = 1\0b = 2\n", 12);
  assert_int_equal(poei_program_load(path, NULL, 0, NULL, &diagnostics, &program), POE_E_SYNTAX);
  assert_non_null(strstr(diagnostics.items[0].error.message, "zero byte"));
  poei_diagnostics_free(&diagnostics);
}

/* ---- words ---- */

static void test_words(void **state) {
  (void)state;
  static const char *const words[] = {"gaussian", "gmm", "laplace", "sd", "x"};
  assert_string_equal(poei_nearest_word("gausian", 5, words), "gaussian");
  assert_string_equal(poei_nearest_word("guassian", 5, words), "gaussian");
  assert_string_equal(poei_nearest_word("ds", 5, words), "sd");
  assert_null(poei_nearest_word("zzzzzz", 5, words));
  assert_null(poei_nearest_word("", 5, words));
  assert_null(poei_nearest_word("gaussian", 0, words));
  char longest[200];
  memset(longest, 'a', sizeof longest);
  longest[199] = '\0';
  assert_null(poei_nearest_word(longest, 5, words));
}

static void test_verbs(void **state) {
  (void)state;
  assert_non_null(poei_verb_find("sample"));
  assert_null(poei_verb_find("smaple"));
  assert_string_equal(poei_option_find(poei_verb_find("sample"), "step-size")->name, "step_size");
  assert_string_equal(poei_option_find(poei_verb_find("sample"), "step_size")->name, "step_size");
  assert_string_equal(poei_option_find(poei_verb_find("check"), "no-rewrite")->name, "no_rewrite");
  assert_null(poei_option_find(poei_verb_find("check"), "chains"));
  for (size_t v = 0; poei_verbs[v]; v++) {
    const poei_verb *verb = poei_verbs[v];
    assert_true(verb->doc[0] && verb->min_targets <= verb->max_targets);
    for (const poei_option *o = verb->options; o->name; o++) {
      assert_true(o->doc[0] && ((o->type == POEI_OPTION_CHOICE) == (o->choices != NULL)));
      for (const poei_option *other = o + 1; other->name; other++) {
        assert_string_not_equal(o->name, other->name);
      }
      for (const poei_option *common = poei_common_options; common->name; common++) {
        assert_string_not_equal(o->name, common->name);
      }
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_variables),
                                     cmocka_unit_test(test_targets),
                                     cmocka_unit_test(test_sharing),
                                     cmocka_unit_test(test_wrong_targets),
                                     cmocka_unit_test(test_mentions),
                                     cmocka_unit_test(test_actions),
                                     cmocka_unit_test(test_overrides),
                                     cmocka_unit_test(test_wrong_overrides),
                                     cmocka_unit_test(test_diagnostic_text),
                                     cmocka_unit_test(test_utf8),
                                     cmocka_unit_test(test_outline),
                                     cmocka_unit_test(test_outline_equal),
                                     cmocka_unit_test(test_files),
                                     cmocka_unit_test(test_words),
                                     cmocka_unit_test(test_verbs)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
