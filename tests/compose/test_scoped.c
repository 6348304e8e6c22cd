/* Products whose factors have places of their own: the same density, gradient, head, draws and form as the product of
 * slices; nested, with divisors; what is refused; how much room they take.
 */
#include <math.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "compose/nodes/node.h"
#include "core/alloc.h"
#include "tests/compose/build.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

static poe_expert *scoped(size_t dim, size_t n, const poe_expert *const *children, const size_t *const *index,
                          const double *exponents) {
  poe_expert *out = NULL;
  poe_error error = {0};
  check_ok(poei_product_create_scoped(dim, n, children, index, exponents, &out, &error), error);
  return out;
}

static void same(const poe_expert *a, const poe_expert *b) {
  enum { N = 70 };
  const poe_traits *ta = poe_expert_traits(a), *tb = poe_expert_traits(b);
  size_t d = ta->dim;
  assert_int_equal(d, tb->dim);
  assert_int_equal(ta->capabilities, tb->capabilities);
  assert_int_equal(ta->head != NULL, tb->head != NULL);
  double *x = poet_doubles(N * d), *va = poet_doubles(N), *vb = poet_doubles(N), *ga = poet_doubles(N * d),
         *gb = poet_doubles(N * d);
  poet_points_normal(N, d, x);
  assert_int_equal(poet_eval(a, N, d, x, va, ga), POE_OK);
  assert_int_equal(poet_eval(b, N, d, x, vb, gb), POE_OK);
  for (size_t i = 0; i < N; i++) {
    check_close(va[i], vb[i], 1e-13, 1e-13);
    for (size_t j = 0; j < d; j++) {
      check_close(ga[i * d + j], gb[i * d + j], 1e-13, 1e-13);
      assert_true(ta->head == NULL || ta->head[j] == tb->head[j]);
    }
  }
  free(x), free(va), free(vb), free(ga), free(gb);
}

static void as_slices(void **state) {
  (void)state;
  tree t = {0};
  const double a[2] = {0.5, -1.0}, b = 0.25;
  const poe_expert *ring = tree_ring(&t, 1.0, 0.5), *normal = tree_normal(&t, 0.5, 2.0);
  const poe_expert *line = tree_linear(&t, 1, 2, a, &b, 0.7); /* y given two */
  static const size_t far[2] = {4, 1}, three[3] = {2, 0, 3}, one[1] = {2}, run[2] = {2, 3};
  const poe_expert *child[] = {ring, line, normal, ring};
  const size_t *index[] = {far, three, one, run};
  const double exponents[] = {1.0, 1.5, -0.25, 2.0};
  const poe_expert *slice[] = {tree_slice(&t, ring, 5, far), tree_slice(&t, line, 5, three),
                               tree_slice(&t, normal, 5, one), tree_slice(&t, ring, 5, run)};
  tree_check(&t);
  poe_expert *a_product = scoped(5, 4, child, index, exponents);
  same(a_product, tree_product(&t, 5, 4, slice, exponents));
  assert_ptr_equal(poei_node_child(a_product, 1), line);
  assert_memory_equal(poei_product_index(a_product, 1), three, sizeof three);
  /* a product of that, over a permutation and in a larger space; a slice as a child is looked through */
  static const size_t mixed[5] = {5, 0, 3, 1, 6}, all[7] = {0, 1, 2, 3, 4, 5, 6};
  const poe_expert *placed = tree_slice(&t, a_product, 7, mixed), *whole = tree_at(&t, normal, 7, 2);
  poe_expert *nested =
      scoped(7, 2, (const poe_expert *[]){a_product, whole}, (const size_t *[]){mixed, NULL}, (double[]){2.0, 1.0});
  same(nested, tree_product(&t, 7, 2, (const poe_expert *[]){placed, whole}, (double[]){2.0, 1.0}));
  assert_ptr_equal(poei_node_child(nested, 1), normal);
  assert_int_equal(poei_product_index(nested, 1)[0], 2);
  poe_expert *outer = scoped(7, 1, (const poe_expert *[]){whole}, (const size_t *[]){all}, (double[]){1.0});
  assert_int_equal(poei_product_index(outer, 0)[0], 2);
  size_t n;
  const poei_factor *factors = poei_product_factors(nested, &n);
  assert_int_equal(n, 5);
  for (size_t i = 0; i < n; i++) { /* as evaluated: opened, in the outer coordinates */
    assert_int_not_equal(poei_node_kind_of(factors[i].expert), POEI_NODE_slice);
    if (factors[i].expert == line) {
      assert_true(factors[i].exponent == 3.0 && factors[i].index[0] == 3 && factors[i].index[1] == 5 &&
                  factors[i].index[2] == 1);
    }
  }
  poe_expert_release(a_product), poe_expert_release(nested), poe_expert_release(outer);
  tree_free(&t);
}

/* p(x2) p(x0 | x2, x1) p(x1): normalised; independent factors can be drawn, each at its place. */
static void heads_and_draws(void **state) {
  (void)state;
  tree t = {0};
  const double a[2] = {0.5, -1.0}, b = 0.25;
  const poe_expert *normal = tree_normal(&t, 3.0, 0.5), *line = tree_linear(&t, 1, 2, a, &b, 0.7);
  static const size_t zero[1] = {0}, one[1] = {1}, two[1] = {2}, all[3] = {0, 2, 1};
  tree_check(&t);
  poe_expert *joint = scoped(3, 3, (const poe_expert *[]){normal, line, normal}, (const size_t *[]){two, all, one},
                             (double[]){1.0, 1.0, 1.0});
  assert_true(poei_expert_normalised(joint));
  poe_expert *apart = scoped(3, 3, (const poe_expert *[]){normal, normal, normal}, (const size_t *[]){two, zero, one},
                             (double[]){1.0, 1.0, 1.0});
  assert_true(poei_expert_can(apart, POE_CAN_SAMPLE | POE_CAN_LOG_Z));
  double x[300];
  assert_int_equal(poet_draw(apart, 5, 100, 3, x), POE_OK);
  for (size_t i = 0; i < 300; i++) {
    assert_true(fabs(x[i] - 3.0) < 0.5 * 6.5); /* of 300 draws none is farther: false alarm 3e-8 */
  }
  poe_expert_release(joint), poe_expert_release(apart);
  tree_free(&t);
}

static void refusals(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *ring = tree_ring(&t, 1.0, 0.5);
  tree_check(&t);
  poe_expert *out = NULL;
  poe_error error = {0};
  const double one = 1.0, infinite = INFINITY;
  static const size_t twice[2] = {1, 1}, beyond[2] = {0, 3}, right[2] = {2, 0};
  check_fails(poei_product_create_scoped(3, 1, &ring, (const size_t *[]){twice}, &one, &out, &error), POE_E_SHAPE,
              error, "coordinate 1 is named twice");
  check_fails(poei_product_create_scoped(3, 1, &ring, (const size_t *[]){beyond}, &one, &out, &error), POE_E_SHAPE,
              error, "coordinate 3 is not among the 3");
  check_fails(poei_product_create_scoped(3, 1, &ring, NULL, &one, &out, &error), POE_E_SHAPE, error,
              "2 coordinates, not 3");
  check_fails(poei_product_create_scoped(3, 1, &ring, (const size_t *[]){right}, &infinite, &out, &error), POE_E_DOMAIN,
              error, "exponent 0");
  assert_null(out);
  for (uint64_t at = 1;; at++) {
    poei_alloc_fail_at(at);
    poe_status status =
        poei_product_create_scoped(3, 2, (const poe_expert *[]){ring, ring}, (const size_t *[]){right, right},
                                   (double[]){1.0, -1.0}, &out, &error);
    poei_alloc_fail_at(0);
    if (status == POE_OK) {
      assert_true(at > 10);
      break;
    }
    assert_int_equal(status, POE_E_MEMORY);
    assert_null(out);
  }
  poe_expert_release(out);
  tree_free(&t);
}

/* 20,000 factors over 20,000 coordinates: arrays of the whole space for each would be 14 gigabytes. */
static void room(void **state) {
  (void)state;
  enum { N = 20000 };
  tree t = {0};
  const double a = 0.5, b = 0.0;
  const poe_expert *line = tree_linear(&t, 1, 1, &a, &b, 1.0), *normal = tree_normal(&t, 0.0, 1.0);
  tree_check(&t);
  const poe_expert **child = poei_alloc(N, sizeof *child);
  const size_t **index = poei_alloc(N, sizeof *index);
  size_t *pairs = poei_alloc(2 * (size_t)N, sizeof *pairs);
  double *exponents = poei_alloc(N, sizeof *exponents);
  for (size_t i = 0; i < N; i++) {
    child[i] = i == 0 ? normal : line;
    pairs[2 * i] = i;
    pairs[2 * i + 1] = i == 0 ? 0 : i - 1;
    index[i] = pairs + 2 * i;
    exponents[i] = 1.0;
  }
  poe_expert *chain = scoped(N, N, child, index, exponents);
  assert_true(poei_expert_normalised(chain));
  struct rusage usage;
  assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
  assert_true(usage.ru_maxrss < 1000 * 1024); /* kilobytes, also under the sanitizers */
  poe_expert_release(chain);
  poei_free(child), poei_free(index), poei_free(pairs), poei_free(exponents);
  tree_free(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(as_slices), cmocka_unit_test(heads_and_draws),
                                     cmocka_unit_test(refusals), cmocka_unit_test(room)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
