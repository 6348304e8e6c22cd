/* explain: the tree, the rules, the plan and its parts, and targets that are refused; each as JSON with its structure.
 */
#include <stdio.h>
#include <string.h>

#include "answer/session.h"
#include "core/alloc.h"
#include "tests/answer/fixture.h"
#include "tests/net/model_file.h"
#include "tests/support/check.h"

static const char program[] = "var x : real[3]\n"
                              "var y : real\n"
                              "var c : int(3)\n"
                              "a = gaussian(x | mean=0, sd=1)\n"
                              "b = gaussian(x | mean=1, sd=0.5)\n"
                              "fused = a * b^2 / gaussian(x[0:2] | mean=0, sd=2)^0.5\n"
                              "many = mixture(i in 0:50 -> a * gaussian(x | mean=i + 1, sd=1))\n"
                              "e = formula(y | energy=y^4 - y)\n"
                              "k = categorical(c | p=[0.2, 0.3, 0.5])\n"
                              "blocks = a * e * k\n"
                              "steep = a * formula(x | energy=norm(x)^4 + x[0]*x[1])\n"
                              "either = 0.25*steep + 0.75*b\n"
                              "grows = a / b\n"
                              "mixed = steep * formula(x, c | energy=c*x[0])\n"
                              "hidden = marginal(steep, over=x[2]) given x[0] = 0.5\n"
                              "nowhere = uniform(y | low=0, high=1) * uniform(y | low=2, high=3)\n";

static json_t *explain(fixture *f, const char *target, poe_status expected) {
  fixture_action a;
  poe_error error = {0};
  json_t *r = fixture_perform(f, poei_answer_explain, fixture_act(&a, "explain", target, NULL), expected, &error);
  assert_non_null(r);
  return r;
}

static const char *text(const json_t *object, const char *key) {
  const char *value = json_string_value(json_object_get(object, key));
  if (value == NULL) {
    fail_msg("'%s' is no text", key);
  }
  return value;
}

static const json_t *at(const json_t *object, const char *key, size_t i) {
  const json_t *item = json_array_get(json_object_get(object, key), i);
  if (item == NULL) {
    fail_msg("'%s' has no item %zu", key, i);
  }
  return item;
}

/* ---- comprehensions ---- */

/* Experts that a comprehension makes say at which step. */
static void test_steps(void **state) {
  (void)state;
  fixture f;
  fixture_open(&f, "steps.poe",
               "var x : real[4]\n"
               "spread = mixture(k in 0:3 -> (k + 1)*formula(x[0] | energy=(x[0] - k)^4 + x[0]^2))\n"
               "row = product(i in 0:4 -> laplace(x[i] | loc=i, scale=1)) * formula(x | energy=cos(sum(x)))\n"
               "grid = product(i in 0:2, j in 0:2 -> student_t(x[2*i + j] | df=3, loc=i - 2*j, scale=1))\n",
               0);
  json_t *r = explain(&f, "spread", POE_OK);
  for (size_t k = 0; k < 3; k++) {
    char step[16];
    snprintf(step, sizeof step, "k = %zu", k);
    assert_string_equal(text(at(json_object_get(r, "tree"), "children", k), "step"), step);
    assert_non_null(strstr(text(at(r, "parts", k), "expression"), step));
  }
  json_decref(r);
  r = explain(&f, "row", POE_OK);
  const json_t *first = at(json_object_get(r, "tree"), "children", 0);
  assert_int_equal(fixture_number(first, "count"), 4);
  assert_string_equal(text(first, "step"), "i = 0; i = 1; i = 2; i = 3");
  assert_null(json_object_get(at(json_object_get(r, "tree"), "children", 1), "step"));
  json_decref(r);
  r = explain(&f, "grid", POE_OK);
  assert_string_equal(text(at(json_object_get(r, "tree"), "children", 0), "step"),
                      "i = 0, j = 0; i = 0, j = 1; i = 1, j = 0; i = 1, j = 1");
  json_decref(r);
  fixture_close(&f);
}

/* ---- trees ---- */

/* The structure that every node has; how many nodes there are. */
static size_t check_node(const json_t *node) {
  const json_t *place = json_object_get(node, "place"), *name = json_object_get(node, "name"),
               *call = json_object_get(node, "text"), *children = json_object_get(node, "children"), *over;
  assert_true(text(node, "kind")[0] != '\0' && text(place, "file")[0] != '\0');
  assert_true(fixture_number(place, "line") > 0 && fixture_number(place, "column") > 0);
  assert_true(json_is_null(name) || json_is_string(name));
  assert_true(json_is_null(call) || json_is_string(call));
  assert_true(json_is_array(children));
  size_t i, nodes = 1;
  json_array_foreach(json_object_get(node, "variables"), i, over) {
    assert_true(text(over, "name")[0] != '\0' && text(over, "text")[0] != '\0');
    assert_true(fixture_number(over, "count") >= 1 && fixture_number(over, "count") <= fixture_number(over, "of"));
  }
  assert_true(i > 0);
  for (i = 0; i < json_array_size(children); i++) {
    nodes += check_node(json_array_get(children, i));
  }
  return nodes;
}

static void test_tree(void **state) {
  (void)state;
  fixture f;
  fixture_open(&f, "tree.poe", program, 0);
  json_t *r = explain(&f, "fused", POE_OK);
  const json_t *tree = json_object_get(r, "tree"), *b = at(tree, "children", 1), *part = at(tree, "children", 2);
  assert_int_equal(check_node(tree), 4);
  assert_string_equal(text(tree, "kind"), "product");
  assert_string_equal(text(tree, "name"), "fused");
  assert_string_equal(text(b, "name"), "b");
  assert_string_equal(text(b, "text"), "gaussian(x | mean=1, sd=0.5)");
  assert_true(fixture_number(b, "exponent") == 2.0 && fixture_number(json_object_get(b, "place"), "line") == 5);
  assert_string_equal(text(at(part, "variables", 0), "text"), "x[0:2]");
  assert_true(fixture_number(part, "exponent") == -0.5);
  json_decref(r);
  r = explain(&f, "many", POE_OK); /* fifty equal ones are told once */
  tree = json_object_get(r, "tree");
  assert_int_equal(json_array_size(json_object_get(tree, "children")), 1);
  assert_int_equal(fixture_number(at(tree, "children", 0), "count"), 50);
  assert_non_null(json_object_get(at(tree, "children", 0), "weight"));
  json_decref(r);
  r = explain(&f, "hidden", POE_OK);
  tree = json_object_get(r, "tree");
  assert_string_equal(text(tree, "given"), "x[0]");
  assert_true(fixture_number(at(tree, "coordinates", 0), "value") == 0.5);
  assert_string_equal(text(at(tree, "children", 0), "without"), "x[2]");
  json_decref(r);
  fixture_close(&f);
}

/* The map behind a derived variable stands below whoever reads it, once. */
static void test_maps(void **state) {
  (void)state;
  static const model_tensor tensors[] = {{"w", 3, 2, NULL}, {"b", 3, 0, NULL}};
  static const char *const metadata[][2] = {{"poe.format", "1"},
                                            {"poe.family", "decoder"},
                                            {"poe.input", "[2]"},
                                            {"poe.layers", "[{\"op\":\"linear\",\"weight\":\"w\",\"bias\":\"b\"}]"},
                                            {NULL, NULL}};
  model_write("map.safetensors", 2, tensors, metadata);
  fixture f;
  fixture_open(&f, "maps.poe",
               "var z : real[2]\ncode = gaussian(z | mean=0, sd=1)\n"
               "image = decoder(z | file=\"map.safetensors\")\n"
               "low = formula(image | energy=image[0]^4)\nhigh = formula(image | energy=image[1]^4)\n"
               "both = code * low * high\n",
               0);
  json_t *r = explain(&f, "both", POE_OK);
  const json_t *tree = json_object_get(r, "tree"), *map = at(at(tree, "children", 1), "children", 0),
               *again = at(at(tree, "children", 2), "children", 0);
  check_node(tree);
  assert_string_equal(text(map, "kind"), "decoder");
  assert_string_equal(text(map, "name"), "image");
  assert_true(strncmp(text(map, "text"), "decoder(z | ", 12) == 0);
  assert_true(json_is_true(json_object_get(again, "again")));
  assert_true(json_is_true(json_object_get(at(at(tree, "children", 1), "variables", 0), "derived")));
  const json_t *rule = at(r, "rules", 0);
  assert_string_equal(text(rule, "rule"), "share map");
  assert_string_equal(text(rule, "before"), "low * high");
  assert_non_null(strstr(text(rule, "after"), "image"));
  json_decref(r);
  fixture_close(&f);
}

/* ---- rules ---- */

static void test_rules(void **state) {
  (void)state;
  fixture f;
  fixture_open(&f, "rules.poe", program, 0);
  json_t *r = explain(&f, "fused", POE_OK);
  assert_int_equal(json_array_size(json_object_get(r, "rules")), 1);
  const json_t *rule = at(r, "rules", 0);
  assert_string_equal(text(rule, "rule"), "gaussian algebra");
  assert_string_equal(text(rule, "before"), "a * b^2 / gaussian(x[0:2] | mean=0, sd=2)^0.5");
  assert_string_equal(text(rule, "after"), "one Gaussian over x");
  assert_string_equal(text(rule, "name"), "fused");
  assert_true(fixture_number(json_object_get(rule, "place"), "line") == 6 && fixture_number(rule, "times") == 1);
  assert_string_equal(text(rule, "what"), "3 factors became one Gaussian over 3 coordinates");
  json_decref(r);
  r = explain(&f, "many", POE_OK);
  rule = at(r, "rules", 0);
  assert_string_equal(text(rule, "before"), "a * gaussian(x | mean=i + 1, sd=1)");
  assert_int_equal(fixture_number(rule, "times"), 50);
  size_t i, firings = 0;
  json_t *item;
  json_array_foreach(json_object_get(r, "rules"), i, item) {
    firings += (size_t)fixture_number(item, "times");
  }
  assert_true(i < 8 && firings > 100); /* each product, each constant, then the mixture */
  json_decref(r);
  f.session.no_rewrite = true;
  r = explain(&f, "fused", POE_OK);
  assert_true(json_array_size(json_object_get(r, "rules")) == 0 && json_is_false(json_object_get(r, "rewritten")));
  json_decref(r);
  fixture_close(&f);
}

/* ---- plans ---- */

static void test_parts(void **state) {
  (void)state;
  fixture f;
  fixture_open(&f, "parts.poe", program, 0);
  json_t *r = explain(&f, "blocks", POE_OK);
  static const char *const methods[] = {"closed form", "quadrature", "closed form"};
  static const char *const over[] = {"x", "y", "c"}, *const names[] = {"a", "e", "k"};
  assert_int_equal(json_array_size(json_object_get(r, "parts")), 3);
  for (size_t i = 0; i < 3; i++) {
    const json_t *part = at(r, "parts", i);
    assert_string_equal(text(part, "method"), methods[i]);
    assert_string_equal(text(part, "over"), over[i]);
    assert_string_equal(text(part, "expression"), names[i]);
    assert_true(fixture_number(json_object_get(part, "memory"), "scratch_bytes_per_worker") >= 0);
  }
  assert_int_equal(json_array_size(json_object_get(r, "obstacles")), 1);
  assert_non_null(strstr(text(at(r, "obstacles", 0), "what"), "`e` at 8:5 is a formula over 1 variable"));
  json_decref(r);
  r = explain(&f, "either", POE_OK);
  assert_int_equal(fixture_number(r, "constants"), 1);
  const json_t *first = at(r, "parts", 0), *second = at(r, "parts", 1);
  check_close(fixture_number(first, "probability"), 0.25, 1e-12, 0);
  check_close(fixture_number(second, "probability"), 0.75, 1e-12, 0);
  assert_string_equal(text(json_object_get(first, "path"), "from"), "a");
  assert_non_null(strstr(text(json_object_get(first, "path"), "through"), "formula(x | energy="));
  assert_string_equal(text(second, "expression"), "b");
  json_decref(r);
  r = explain(&f, "mixed", POE_OK); /* one part that stands for the whole */
  assert_int_equal(json_array_size(json_object_get(r, "parts")), 1);
  assert_string_equal(text(at(r, "parts", 0), "over"), "x");
  json_decref(r);
  fixture_close(&f);
}

/* What the factorisations hold, against counts by hand. */
static void test_memory(void **state) {
  (void)state;
  fixture f;
  fixture_open(&f, "memory.poe",
               "var x : real[500]\nvar s : int(3)[40]\n"
               "walk = gaussian(x[0] | mean=0, sd=1) * product(i in 0:499 -> linear_gaussian(x[i+1], x[i] | A=0.9, "
               "b=0, sd=1))\n"
               "chain = product(i in 0:39 -> table(s[i], s[i+1] | p=[[3, 1, 1], [1, 3, 1], [1, 1, 3]]))\n",
               0);
  json_t *r = explain(&f, "walk", POE_OK);
  const json_t *memory = json_object_get(r, "memory");
  assert_int_equal(fixture_number(memory, "precision_nonzeros"), 500 + 499);
  assert_int_equal(fixture_number(memory, "factor_nonzeros"), 500 + 499); /* a chain fills nothing in */
  assert_true(json_is_true(json_object_get(r, "exact")));
  json_decref(r);
  r = explain(&f, "chain", POE_OK);
  memory = json_object_get(r, "memory");
  assert_string_equal(text(r, "method"), "elimination");
  assert_int_equal(fixture_number(memory, "treewidth"), 1);
  assert_int_equal(fixture_number(memory, "largest_clique_states"), 9);
  assert_true(fixture_number(memory, "table_bytes") > 0);
  assert_int_equal(fixture_number(memory, "scratch_bytes_per_worker"), fixture_number(r, "scratch_bytes"));
  json_decref(r);
  fixture_close(&f);
}

/* ---- refusals ---- */

/* The tree and the rules are told all the same. */
static void test_refused(void **state) {
  (void)state;
  fixture f;
  fixture_open(&f, "refused.poe", program, 0);
  json_t *r = explain(&f, "grows", POE_E_IMPROPER);
  const json_t *refused = json_object_get(r, "refused");
  assert_true(json_is_null(json_object_get(r, "method")) && json_is_false(json_object_get(r, "exact")));
  assert_string_equal(text(refused, "message"), text(r, "reason"));
  assert_non_null(strstr(text(refused, "message"), "x[0]"));
  assert_int_equal(fixture_number(refused, "line"), 13);
  assert_int_equal(check_node(json_object_get(r, "tree")), 3);
  assert_true(json_is_array(json_object_get(r, "rules")));
  json_decref(r);
  r = explain(&f, "nowhere", POE_E_EMPTY); /* not even an expert */
  assert_true(json_is_null(json_object_get(r, "method")));
  assert_int_equal(check_node(json_object_get(r, "tree")), 3);
  assert_string_equal(text(json_object_get(r, "refused"), "message"), text(r, "reason"));
  json_decref(r);
  fixture_action a;
  poe_error error = {0};
  json_t *none = fixture_perform(&f, poei_answer_explain, fixture_act(&a, "explain", "nothing", NULL), POE_E_EMPTY,
                                 &error); /* the first error of the session */
  assert_null(none);
  fixture_close(&f);
}

/* Each allocation fails in turn: told, or overcome. */
static void test_allocations(void **state) {
  (void)state;
  static const char *const targets[] = {"fused", "either", "grows"};
  fixture f;
  fixture_action a;
  fixture_open(&f, "allocations.poe", program, 0);
  for (size_t t = 0; t < 3; t++) {
    const poei_action *action = fixture_act(&a, "explain", targets[t], NULL);
    poe_error error = {0};
    json_t *full = NULL, *result = NULL;
    poe_status usual = poei_answer_explain(&f.session, action, &full, &error);
    assert_non_null(full);
    uint64_t before = poei_alloc_count();
    poei_answer_explain(&f.session, action, &result, &error);
    uint64_t n = poei_alloc_count() - before, failed = 0, tried = 0;
    json_decref(result);
    assert_true(n > 20);
    for (uint64_t i = 1; i <= n; i += n > 300 ? 17 : 1, tried++) {
      result = NULL;
      poei_alloc_fail_at(i);
      poe_status status = poei_answer_explain(&f.session, action, &result, &error);
      poei_alloc_fail_at(0);
      if (status != usual && status != POE_E_MEMORY) {
        fail_msg("%s, allocation %llu: %s: %s", targets[t], (unsigned long long)i, poe_status_name(status),
                 error.message);
      }
      assert_true(status == usual || result == NULL);
      failed += status == POE_E_MEMORY;
      json_decref(result);
    }
    assert_true(failed > tried / 2);
    json_decref(full);
  }
  fixture_close(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_tree),        cmocka_unit_test(test_maps),   cmocka_unit_test(test_rules),
      cmocka_unit_test(test_parts),       cmocka_unit_test(test_memory), cmocka_unit_test(test_refused),
      cmocka_unit_test(test_allocations), cmocka_unit_test(test_steps),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
