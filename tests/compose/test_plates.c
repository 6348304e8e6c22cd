/* Plates cut along independent groups of coordinates: the value stays, groups are those of a transitive closure, and
 * the planner answers each block by itself. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compose/exact/tree.h"
#include "compose/plan.h"
#include "core/alloc.h"
#include "tests/compose/build.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

enum { D = 12, MOST_SETS = 8 };

/* A whole number below n, from a fixed sequence. */
static size_t pick(uint64_t *seed, size_t n) {
  *seed = *seed * 6364136223846793005u + 1442695040888963407u;
  return (size_t)(*seed >> 33) % n;
}

/* A product of plates over random pairs and single coordinates, and of one factor over a pair. */
static const poe_expert *random_product(tree *t, uint64_t *seed) {
  static const double mean[2] = {0.3, -0.2}, cov[4] = {1.0, 0.6, 0.6, 1.0};
  const poe_expert *child[4] = {tree_ring(t, 1.0, 0.5), tree_student(t, 3.0, 0.1, 1.0), tree_gaussian(t, 2, mean, cov),
                                NULL};
  size_t dims[3] = {2, 1, 2}, index[2 * MOST_SETS];
  for (size_t p = 0; p < 3; p++) {
    size_t sets = 1 + pick(seed, MOST_SETS);
    for (size_t s = 0; s < sets; s++) {
      size_t a = pick(seed, D);
      index[s * dims[p]] = a;
      if (dims[p] == 2) {
        index[s * 2 + 1] = (a + 1 + pick(seed, 3)) % D;
      }
    }
    child[p] = tree_plate(t, child[p], sets, D, index);
  }
  child[3] = tree_slice(t, tree_ring(t, 2.0, 1.0), D, (size_t[]){pick(seed, D / 2), D / 2 + pick(seed, D / 2)});
  return tree_product(t, D, 4, child, (double[]){1.0, 2.0, 0.5, 1.0});
}

/* together[a, b]: one set of a factor holds both; then closed transitively. */
static void closure(const poei_parts *parts, unsigned char together[D][D]) {
  memset(together, 0, D * D);
  for (size_t i = 0; i < parts->n; i++) {
    const poei_part *part = &parts->item[i];
    bool plate = poei_node_kind_of(part->expert) == POEI_NODE_plate;
    size_t sets = plate ? poei_plate_count(part->expert) : 1, d = plate ? 0 : part->n;
    d = plate ? poe_expert_traits(poei_node_child(part->expert, 0))->dim : d;
    for (size_t s = 0; s < sets; s++) {
      for (size_t j = 0; j < d * d; j++) {
        size_t a = s * d + j / d, b = s * d + j % d;
        together[part->index[plate ? poei_plate_index(part->expert)[a] : a]]
                [part->index[plate ? poei_plate_index(part->expert)[b] : b]] = 1;
      }
    }
  }
  for (size_t k = 0; k < D; k++) {
    for (size_t a = 0; a < D; a++) {
      for (size_t b = 0; b < D; b++) {
        together[a][b] |= together[a][k] & together[k][b];
      }
    }
  }
}

static void test_random_cuts(void **state) {
  (void)state;
  uint64_t seed = 5;
  size_t more = 0;
  for (size_t trial = 0; trial < 200; trial++) {
    tree t = {0};
    const poe_expert *product = random_product(&t, &seed);
    tree_check(&t);
    poei_parts parts;
    poe_error error = {0};
    unsigned char before[D][D], after[D][D];
    check_ok(poei_parts_open(product, POEI_OPEN_SURFACE, &parts, NULL, &error), error);
    closure(&parts, before);
    size_t whole = parts.n;
    check_ok(poei_parts_cut(&parts, &error), error);
    closure(&parts, after);
    assert_memory_equal(before, after, sizeof before);
    for (size_t i = 0; i < parts.n; i++) { /* no part lies across groups */
      for (size_t j = 1; j < parts.item[i].n; j++) {
        assert_true(after[parts.item[i].index[0]][parts.item[i].index[j]]);
      }
    }
    more += parts.n > whole;
    poe_expert *closed = NULL;
    check_ok(poei_parts_close(&parts, &closed, &error), error);
    for (size_t row = 0; row < 5; row++) {
      double x[D];
      for (size_t j = 0; j < D; j++) {
        x[j] = poet_spread(row, j, -2.0, 2.0);
      }
      check_close(tree_value(closed, x), tree_value(product, x), 1e-12, 1e-12);
    }
    poe_expert_release(closed);
    poei_parts_free(&parts);
    tree_free(&t);
  }
  assert_true(more > 100);
}

/* Four equal densities of one coordinate, and a pair tied by a fifth factor. */
static void test_plan(void **state) {
  (void)state;
  static const size_t index[4] = {3, 1, 0, 2};
  tree t = {0};
  const poe_expert *each = tree_student(&t, 3.0, 0.1, 1.0), *other = tree_student(&t, 5.0, -1.0, 0.5);
  const poe_expert *alone = tree_plate(&t, tree_times(&t, each, other), 4, 4, index);
  const poe_expert *parts[3] = {tree_plate(&t, each, 4, 4, index), tree_plate(&t, other, 4, 4, index),
                                tree_slice(&t, tree_ring(&t, 1.0, 1.0), 4, (size_t[]){1, 2})};
  const poe_expert *tied = tree_product(&t, 4, 3, parts, (double[]){1.0, 1.0, 1.0});
  const poe_expert *pair =
      tree_times(&t, tree_plate(&t, tree_times(&t, each, other), 2, 2, (size_t[]){0, 1}), tree_ring(&t, 1.0, 1.0));
  tree_check(&t);
  poe_error error = {0};
  double log_z[4];
  const poe_expert *targets[4] = {tree_times(&t, each, other), alone, pair, tied};
  for (size_t i = 0; i < 4; i++) {
    poei_plan *plan = NULL;
    check_ok(poei_plan_build(targets[i], NULL, &plan, &error), error);
    assert_int_equal(plan->method, i % 2 == 0 ? POEI_METHOD_QUADRATURE : POEI_METHOD_BLOCKS);
    assert_int_equal(plan->n_parts, i == 1 ? 4 : i == 3 ? 3 : 0);
    log_z[i] = plan->log_z;
    poei_plan_destroy(plan);
  }
  check_close(log_z[1], 4.0 * log_z[0], 1e-7, 0.0);
  check_close(log_z[3], 2.0 * log_z[0] + log_z[2], 1e-6, 0.0);
  tree_free(&t);
}

static void test_memory(void **state) {
  (void)state;
  uint64_t seed = 11;
  tree t = {0};
  const poe_expert *product = random_product(&t, &seed);
  tree_check(&t);
  for (size_t n = 1;; n++) {
    poei_parts parts;
    poe_error error = {0};
    check_ok(poei_parts_open(product, POEI_OPEN_SURFACE, &parts, NULL, &error), error);
    poei_alloc_fail_at(n);
    poe_status status = poei_parts_cut(&parts, &error);
    poei_alloc_fail_at(0);
    poei_parts_free(&parts);
    if (status == POE_OK) {
      assert_true(n > 5);
      break;
    }
    assert_int_equal(status, POE_E_MEMORY);
  }
  tree_free(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_random_cuts),
      cmocka_unit_test(test_plan),
      cmocka_unit_test(test_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
