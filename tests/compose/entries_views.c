/* Conformance of the single-site views and one-hot gradients of composition nodes: factors with and without views of
 * their own, zeros that come and go, divisors, narrower supports, walls, clamps, mixed coordinates. Evaluation, which
 * other entries compare with formulas, is the reference. */
#include <math.h>

#include "experts/list.h"
#include "tests/compose/build.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

/* ---- leaves ---- */

static const poe_expert *made(tree *t, const poe_expert_ops *ops, const poet_args *a) {
  poe_expert *expert = NULL;
  if (t->status == POE_OK) {
    t->status = poe_expert_create(ops, &a->args, &expert, &t->error);
  }
  if (t->status != POE_OK) {
    return NULL;
  }
  assert_true(t->n < TREE_MAX);
  t->made[t->n++] = expert;
  return expert;
}

static const poe_expert *ising(tree *t, size_t rows, size_t columns, double coupling) {
  poet_args a;
  poet_args_start(&a, "ising");
  poet_args_discrete_grid(&a, "s", 2, (size_t[]){rows, columns}, 2);
  poet_args_scalar(&a, "coupling", &coupling);
  return made(t, &poei_ising_ops, &a);
}

static const poe_expert *potts(tree *t, size_t n, size_t k, double coupling) {
  poet_args a;
  poet_args_start(&a, "potts");
  poet_args_discrete_variable(&a, "s", n, k);
  poet_args_scalar(&a, "coupling", &coupling);
  return made(t, &poei_potts_ops, &a);
}

static const poe_expert *categorical(tree *t, size_t k, const double *p) {
  poet_args a;
  poet_args_start(&a, "categorical");
  poet_args_discrete_variable(&a, "c", 1, k);
  poet_args_vector(&a, "p", k, p);
  return made(t, &poei_categorical_ops, &a);
}

static const poe_expert *poisson(tree *t, double rate) {
  poet_args a;
  poet_args_start(&a, "poisson");
  poet_args_discrete_variable(&a, "n", 1, 2);
  a.support[0][0].high = INFINITY;
  poet_args_scalar(&a, "rate", &rate);
  return made(t, &poei_poisson_ops, &a);
}

static const poe_expert *chain(tree *t, size_t d) {
  static const double initial[3] = {0.2, 0.5, 0.3}, transition[9] = {0.5, 0.5, 0.0, 0.1, 0.6, 0.3, 0.4, 0.0, 0.6};
  poet_args a;
  poet_args_start(&a, "markov");
  poet_args_discrete_variable(&a, "s", d, 3);
  poet_args_vector(&a, "initial", 3, initial);
  poet_args_matrix(&a, "transition", 3, 3, transition);
  return made(t, &poei_markov_ops, &a);
}

static const poe_expert *hidden(tree *t, size_t d) {
  static const double initial[2] = {0.25, 0.75}, transition[4] = {0.9, 0.1, 0.3, 0.7};
  static const double emission[6] = {0.6, 0.4, 0.0, 0.1, 0.2, 0.7};
  poet_args a;
  poet_args_start(&a, "hmm");
  poet_args_discrete_variable(&a, "x", d, 3);
  poet_args_vector(&a, "initial", 2, initial);
  poet_args_matrix(&a, "transition", 2, 2, transition);
  poet_args_matrix(&a, "emission", 2, 3, emission);
  return made(t, &poei_hmm_ops, &a);
}

static const poe_expert *pattern(tree *t, size_t d, const char *text) {
  poet_args a;
  poet_args_start(&a, "regex");
  poet_args_discrete_variable(&a, "x", d, 3);
  poet_args_text(&a, "pattern", POE_ARG_STRING, text);
  return made(t, &poei_regex_ops, &a);
}

/* A mixture of two tables over two variables of three values: an expert without a view, zero in places. */
static const poe_expert *viewless(tree *t) {
  static const size_t k[2] = {3, 3};
  static const double one[9] = {0.0, 1.0, -1.0, 0.5, -INFINITY, 0.2, 0.1, -INFINITY, -2.0};
  static const double two[9] = {-1.0, -INFINITY, 0.3, 0.0, -INFINITY, 1.2, -0.7, 0.4, 0.6};
  return tree_or(t, tree_table(t, 2, k, one), tree_table(t, 2, k, two));
}

/* ---- points ---- */

static void whole_points(size_t n, size_t d, double *x, double low, double k) {
  for (size_t i = 0; i < n * d; i++) {
    x[i] = low + floor(poet_spread(i / d, i % d, 0.0, k));
  }
}

static void binary_points(size_t n, size_t d, double *x) {
  whole_points(n, d, x, 0.0, 2.0);
}

static void upper_points(size_t n, size_t d, double *x) {
  whole_points(n, d, x, 1.0, 2.0);
}

/* 1 or 2, then a path of chain(): zeros, a one, twos. */
static void range_points(size_t n, size_t d, double *x) {
  for (size_t i = 0; i < n * d; i++) {
    size_t row = i / d, j = i % d, turn = 2 + row % (d - 2);
    x[i] = j < 2 ? 1.0 + floor(poet_spread(row, j, 0.0, 2.0)) : j < turn ? 0.0 : j == turn ? 1.0 : 2.0;
  }
}

/* Two values, then reals. */
static void mixed_points(size_t n, size_t d, double *x) {
  for (size_t i = 0; i < n * d; i++) {
    x[i] = i % d < 2 ? floor(poet_spread(i / d, i % d, 0.0, 2.0)) : poet_spread(i / d, i % d, -2.0, 2.0);
  }
}

/* Words that match (0|1)*12* : ones and zeros, a one, twos; the values allowed by chain() too. */
static void word_points(size_t n, size_t d, double *x) {
  for (size_t i = 0; i < n * d; i++) {
    size_t row = i / d, j = i % d, turn = row % d;
    x[i] = j < turn ? (double)((row + j) % 3 == 0) : j == turn ? 1.0 : 2.0;
  }
}

/* ---- products ---- */

static poe_status product_grid(poe_expert **expert, poe_error *error) {
  tree t = {0};
  const poe_expert *factors[3] = {ising(&t, 2, 3, 0.4), tree_at(&t, tree_bernoulli(&t, 0.2), 6, 4),
                                  tree_slice(&t, ising(&t, 1, 2, 1.5), 6, (size_t[]){5, 0})};
  return tree_finish(&t, tree_product(&t, 6, 3, factors, (double[]){1.0, 2.5, -0.75}), expert, error);
}

static poe_status product_words(poe_expert **expert, poe_error *error) {
  tree t = {0};
  const poe_expert *factors[3] = {chain(&t, 5), pattern(&t, 5, "(0|1)*12*"), hidden(&t, 5)};
  return tree_finish(&t, tree_product(&t, 5, 3, factors, (double[]){0.5, 1.0, 1.0}), expert, error);
}

static poe_status product_fallback(poe_expert **expert, poe_error *error) {
  tree t = {0};
  const poe_expert *factors[3] = {tree_slice(&t, viewless(&t), 4, (size_t[]){3, 1}),
                                  tree_slice(&t, viewless(&t), 4, (size_t[]){1, 0}),
                                  tree_slice(&t, chain(&t, 2), 4, (size_t[]){2, 0})};
  return tree_finish(&t, tree_product(&t, 4, 3, factors, (double[]){1.0, 2.0, 1.0}), expert, error);
}

static void fallback_points(size_t n, size_t d, double *x) { /* no pair (1, 1) of 1 and 0, nor of 3 and 1, ... */
  static const double good[4][4] = {{0, 0, 0, 0}, {1, 0, 0, 2}, {2, 1, 1, 0}, {0, 2, 1, 2}};
  for (size_t i = 0; i < n * d; i++) {
    x[i] = good[i / d % 4][i % d];
  }
}

/* Divisors that vanish: +inf where only they do, -inf where the others do too. */
static poe_status product_ratio(poe_expert **expert, poe_error *error) {
  tree t = {0};
  static const size_t k[2] = {3, 3};
  static const double upper[9] = {0.0, 1.0, -INFINITY, 0.5, -INFINITY, 0.2, 0.1, 0.7, -2.0};
  static const double lower[9] = {0.3, -INFINITY, -INFINITY, 0.1, -INFINITY, 0.4, -INFINITY, 0.0, 1.0};
  static const double p[3] = {0.5, 0.0, 0.5};
  const poe_expert *factors[4] = {tree_slice(&t, tree_table(&t, 2, k, lower), 8, (size_t[]){0, 6}),
                                  tree_slice(&t, tree_table(&t, 2, k, upper), 8, (size_t[]){0, 3}),
                                  tree_at(&t, categorical(&t, 3, p), 8, 3), chain(&t, 8)};
  return tree_finish(&t, tree_product(&t, 8, 4, factors, (double[]){-1.0, 1.0, -2.0, 1.0}), expert, error);
}

static void ratio_points(size_t n, size_t d, double *x) {
  static const double good[3][8] = {{0, 0, 0, 0, 0, 0, 0, 1}, {1, 1, 1, 0, 1, 2, 2, 2}, {2, 2, 2, 2, 0, 0, 1, 1}};
  for (size_t i = 0; i < n * d; i++) {
    x[i] = good[i / d % 3][i % d];
  }
}

/* One coordinate on 0..3 here and 1..2 there; one on 0..3 with a divisor that is 0 at 3. */
static poe_status product_ranges(poe_expert **expert, poe_error *error) {
  tree t = {0};
  static const double four[4] = {0.1, 0.2, 0.3, 0.4}, three[3] = {0.2, 0.2, 0.6};
  size_t rest[8] = {2, 3, 4, 5, 6, 7, 8, 9}; /* so many states that there is no table, which would refuse 1/0 */
  const poe_expert *factors[5] = {tree_at(&t, categorical(&t, 4, four), 10, 0),
                                  tree_at(&t, tree_restrict(&t, categorical(&t, 4, four), 0.5, 2.5), 10, 0),
                                  tree_at(&t, categorical(&t, 3, three), 10, 1),
                                  tree_at(&t, categorical(&t, 4, four), 10, 1), tree_slice(&t, chain(&t, 8), 10, rest)};
  return tree_finish(&t, tree_product(&t, 10, 5, factors, (double[]){1.0, 1.0, -1.0, 1.0, 1.0}), expert, error);
}

/* Over 0, 1, 2, ...: the divisor ends at 2, and so does the product. */
static poe_status product_wall(poe_expert **expert, poe_error *error) {
  tree t = {0};
  static const double three[3] = {0.2, 0.2, 0.6};
  const poe_expert *factors[3] = {tree_at(&t, poisson(&t, 1.5), 2, 0), tree_at(&t, categorical(&t, 3, three), 2, 0),
                                  tree_at(&t, categorical(&t, 3, three), 2, 1)};
  return tree_finish(&t, tree_product(&t, 2, 3, factors, (double[]){1.0, -1.0, 1.0}), expert, error);
}

static poe_status product_mixed(poe_expert **expert, poe_error *error) {
  tree t = {0};
  const poe_expert *left[2] = {tree_at(&t, tree_bernoulli(&t, 0.3), 2, 0),
                               tree_at(&t, tree_normal(&t, -1.0, 1.0), 2, 1)};
  const poe_expert *right[2] = {tree_at(&t, tree_bernoulli(&t, 0.8), 2, 0),
                                tree_at(&t, tree_normal(&t, 1.0, 0.5), 2, 1)};
  const poe_expert *both = tree_or(&t, tree_product(&t, 2, 2, left, (double[]){1.0, 1.0}),
                                   tree_product(&t, 2, 2, right, (double[]){1.0, 1.0}));
  const poe_expert *factors[3] = {tree_slice(&t, both, 3, (size_t[]){0, 2}),
                                  tree_slice(&t, ising(&t, 1, 2, 0.7), 3, (size_t[]){0, 1}),
                                  tree_at(&t, tree_student(&t, 4.0, 0.0, 1.0), 3, 2)};
  return tree_finish(&t, tree_product(&t, 3, 3, factors, (double[]){1.0, 1.0, 0.5}), expert, error);
}

/* ---- plates ---- */

static poe_status plate_ring(poe_expert **expert, poe_error *error) {
  tree t = {0};
  static const size_t k[2] = {3, 3}, index[10] = {0, 1, 1, 2, 2, 3, 3, 4, 4, 0};
  static const double pair[9] = {0.0, 0.4, -INFINITY, 0.3, -0.2, 0.1, 0.6, 0.0, -1.0};
  return tree_finish(&t, tree_plate(&t, tree_table(&t, 2, k, pair), 5, 5, index), expert, error);
}

static void ring_points(size_t n, size_t d, double *x) { /* never 0 and then 2, round the ring */
  for (size_t i = 0; i < n * d; i++) {
    x[i] = poet_spread(i / d, i % d, 0.0, 1.0) < 0.5 ? 1.0 : i / d % 2 == 0 ? 0.0 : 2.0;
  }
}

static poe_status plate_fallback(poe_expert **expert, poe_error *error) {
  tree t = {0};
  return tree_finish(&t, tree_plate(&t, viewless(&t), 3, 4, (size_t[]){0, 1, 2, 1, 3, 0}), expert, error);
}

static void plate_points(size_t n, size_t d, double *x) {
  static const double good[3][4] = {{0, 0, 0, 0}, {2, 0, 1, 0}, {1, 2, 0, 2}};
  for (size_t i = 0; i < n * d; i++) {
    x[i] = good[i / d % 3][i % d];
  }
}

/* ---- nodes of one child ---- */

static poe_status slice_hidden(poe_expert **expert, poe_error *error) {
  tree t = {0};
  return tree_finish(&t, tree_slice(&t, hidden(&t, 4), 4, (size_t[]){2, 0, 3, 1}), expert, error);
}

/* A slice of two coordinates among three, the third clamped. */
static poe_status slice_part(poe_expert **expert, poe_error *error) {
  tree t = {0};
  const poe_expert *part = tree_slice(&t, ising(&t, 1, 2, 0.9), 3, (size_t[]){2, 0});
  return tree_finish(&t, tree_given(&t, part, 1, (size_t[]){1}, (double[]){0.5}), expert, error);
}

static poe_status given_grid(poe_expert **expert, poe_error *error) {
  tree t = {0};
  return tree_finish(&t, tree_given(&t, ising(&t, 3, 2, -0.6), 2, (size_t[]){4, 1}, (double[]){1.0, 0.0}), expert,
                     error);
}

static poe_status restrict_potts(poe_expert **expert, poe_error *error) {
  tree t = {0};
  return tree_finish(&t, tree_restrict(&t, potts(&t, 4, 5, 0.8), 0.5, 2.0), expert, error);
}

static poe_status normalise_grid(poe_expert **expert, poe_error *error) {
  tree t = {0};
  double log_z = log(16.0 * (pow(cosh(0.3), 4.0) + pow(sinh(0.3), 4.0))); /* a ring of four */
  return tree_finish(&t, tree_normalise(&t, ising(&t, 2, 2, 0.3), log_z, 0.1), expert, error);
}

/* One inside the other: given(restrict(product(plate, slice))). */
static poe_status nested(poe_expert **expert, poe_error *error) {
  tree t = {0};
  static const size_t k[2] = {3, 3}, index[6] = {0, 1, 1, 2, 2, 3};
  static const double pair[9] = {0.0, 0.4, 0.7, 0.3, -INFINITY, 0.1, 0.6, 0.0, -1.0};
  const poe_expert *factors[2] = {tree_plate(&t, tree_table(&t, 2, k, pair), 3, 4, index),
                                  tree_slice(&t, chain(&t, 3), 4, (size_t[]){3, 0, 2})};
  const poe_expert *product = tree_product(&t, 4, 2, factors, (double[]){1.0, 0.5});
  const poe_expert *box = tree_restrict(&t, product, 0.0, 1.0);
  return tree_finish(&t, tree_given(&t, box, 1, (size_t[]){2}, (double[]){0.0}), expert, error);
}

static void nested_points(size_t n, size_t d, double *x) {
  static const double good[3][3] = {{0, 0, 0}, {0, 1, 1}, {1, 0, 1}};
  for (size_t i = 0; i < n * d; i++) {
    x[i] = good[i / d % 3][i % d];
  }
}

static const poet_case view_cases[] = {
    {.name = "grid with a field and a divided bond",
     .build = product_grid,
     .points = binary_points,
     .needs_no_interior = true},
    {.name = "chains under a pattern", .build = product_words, .points = word_points, .needs_no_interior = true},
    {.name = "factors without views", .build = product_fallback, .points = fallback_points, .needs_no_interior = true},
    {.name = "divisors that vanish", .build = product_ratio, .points = ratio_points, .needs_no_interior = true},
    {.name = "factors of unequal ranges", .build = product_ranges, .points = range_points, .needs_no_interior = true},
    {.name = "a range that only a divisor ends",
     .build = product_wall,
     .points = binary_points,
     .needs_no_interior = true},
    {.name = "switches and a real number", .build = product_mixed, .points = mixed_points},
    {.name = "plate round a ring", .build = plate_ring, .points = ring_points, .needs_no_interior = true},
    {.name = "plate without a view", .build = plate_fallback, .points = plate_points, .needs_no_interior = true},
    {.name = "permuted hidden chain", .build = slice_hidden, .needs_no_interior = true},
    {.name = "slice around a number", .build = slice_part, .points = binary_points, .needs_no_interior = true},
    {.name = "grid given two sites", .build = given_grid, .points = binary_points, .needs_no_interior = true},
    {.name = "potts on two of its values", .build = restrict_potts, .points = upper_points, .needs_no_interior = true},
    {.name = "normalised grid", .build = normalise_grid, .points = binary_points, .needs_no_interior = true},
    {.name = "nodes in nodes", .build = nested, .points = nested_points, .needs_no_interior = true},
};
const poet_entry poet_conformance_views = {"views", sizeof view_cases / sizeof *view_cases, view_cases};
