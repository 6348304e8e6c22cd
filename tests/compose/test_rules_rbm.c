/* The rules over restricted Boltzmann machines: each on its own (what it must do, and where it must not fire), and on
 * random compositions: the rewritten density is the written one at every point, and so is log Z. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compose/exact/rules.h"
#include "compose/nodes/node.h"
#include "core/alloc.h"
#include "core/numerics.h"
#include "experts/list.h"
#include "experts/rbm.h"
#include "tests/compose/build.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

static poe_error error;

/* A machine with random numbers, a function of the seed. sd 0: binary visible units; else about that. */
static const poe_expert *rbm(tree *t, uint64_t seed, size_t v, size_t h, double sd, bool joint) {
  double w[20 * 64], b[20], c[64], s[20];
  poe_rng at = poe_rng_seed(seed);
  poet_args a;
  assert_true(v <= 20 && h <= 64 && t->n < TREE_MAX);
  poe_rng_normals(at, v * h, w);
  poe_rng_normals(poe_rng_child(at, 1), v, b);
  poe_rng_normals(poe_rng_child(at, 2), h, c);
  poe_rng_uniforms(poe_rng_child(at, 3), v, s);
  poet_args_start(&a, "rbm");
  if (sd > 0.0) {
    for (size_t i = 0; i < v; i++) {
      s[i] = sd * (0.6 + s[i]);
    }
    poet_args_real_variable(&a, "v", v);
    poet_args_vector(&a, "sd", v, s);
  } else {
    poet_args_discrete_variable(&a, "v", v, 2);
  }
  if (joint) {
    poet_args_discrete_variable(&a, "h", h, 2);
  }
  poet_args_matrix(&a, "W", v, h, w);
  poet_args_vector(&a, "b", v, b);
  poet_args_vector(&a, "c", h, c);
  poe_expert *made = NULL;
  t->status = t->status != POE_OK ? t->status : poe_expert_create(&poei_rbm_ops, &a.args, &made, &t->error);
  if (made != NULL) {
    t->made[t->n++] = made;
  }
  return made;
}

static const poe_expert *coins(tree *t, size_t d, const double *p) {
  poet_args a;
  poe_expert *made = NULL;
  poet_args_start(&a, "bernoulli");
  poet_args_discrete_variable(&a, "x", d, 2);
  poet_args_vector(&a, "p", d, p);
  t->status = t->status != POE_OK ? t->status : poe_expert_create(&poei_bernoulli_ops, &a.args, &made, &t->error);
  if (made != NULL) {
    t->made[t->n++] = made;
  }
  return made;
}

static poe_expert *rewrite(const poe_expert *expert, const char *only, size_t *fired) {
  poei_plan_options options;
  poei_plan_options_default(&options);
  poei_fired list = {0};
  poe_expert *out = NULL;
  check_ok(poei_rewrite(expert, &options, only, &list, &out, &error), error);
  *fired = 0;
  for (size_t i = 0; i < list.n; i++) {
    *fired += strncmp(list.item[i].rule, "RBM", 3) == 0;
    assert_non_null(list.item[i].what);
  }
  poei_fired_free(&list);
  return out;
}

static void same_density(const poe_expert *a, const poe_expert *b, double tolerance) {
  enum { N = 96 };
  const poe_traits *traits = poe_expert_traits(a);
  size_t d = traits->dim;
  assert_int_equal(d, poe_expert_traits(b)->dim);
  double *x = poet_doubles(N * d), *va = poet_doubles(N), *vb = poet_doubles(N), *ga = poet_doubles(N * d),
         *gb = poet_doubles(N * d);
  for (size_t i = 0; i < N * d; i++) {
    const poe_support *s = &traits->support[i % d];
    double u = poet_spread(i / d, i % d, 0.0, 1.0);
    x[i] = s->kind == POE_DISCRETE ? s->low + floor(u * (s->high - s->low + 1.0)) : 7.0 * u - 3.0;
    assert_int_equal(s->kind, poe_expert_traits(b)->support[i % d].kind);
  }
  assert_int_equal(poet_eval(a, N, d, x, va, ga), POE_OK);
  assert_int_equal(poet_eval(b, N, d, x, vb, gb), POE_OK);
  for (size_t i = 0; i < N; i++) {
    check_close(va[i], vb[i], tolerance, tolerance);
    for (size_t j = 0; j < d && isfinite(va[i]); j++) {
      check_close(ga[i * d + j], gb[i * d + j], 10.0 * tolerance, 10.0 * tolerance);
    }
  }
  free(x);
  free(va);
  free(vb);
  free(ga);
  free(gb);
}

/* The rule fires `times` times and keeps the density; the result. */
static poe_expert *fires(tree *t, const poe_expert *expert, const char *rule, size_t times) {
  size_t fired;
  tree_check(t);
  poe_expert *out = rewrite(expert, rule, &fired);
  assert_int_equal(fired, times);
  same_density(expert, out, 1e-11);
  return out;
}

static void silent(tree *t, const poe_expert *expert, const char *rule) {
  poe_expert *out = fires(t, expert, rule, 0);
  assert_ptr_equal(out, expert);
  poe_expert_release(out);
}

/* What is under constants and slices. */
static const poe_expert *inside(const poe_expert *expert) {
  while (poei_node_child_count(expert) == 1) {
    expert = poei_node_child(expert, 0);
  }
  return expert;
}

static const poei_boltzmann *machine_in(const poe_expert *expert) {
  return poei_rbm_machine(inside(expert));
}

/* log of the sum of an all-binary density over its states. */
static double brute_log_z(const poe_expert *expert) {
  size_t d = poe_expert_traits(expert)->dim, states = (size_t)1 << d;
  double *x = poet_doubles(states * d), *value = poet_doubles(states);
  for (size_t i = 0; i < states * d; i++) {
    x[i] = (double)(i / d >> (i % d) & 1);
  }
  assert_int_equal(poet_eval(expert, states, d, x, value, NULL), POE_OK);
  double log_z = poei_log_sum_exp(value, states, 1);
  free(x);
  free(value);
  return log_z;
}

static double log_z_of(const poe_expert *expert) {
  double log_z = NAN;
  check_ok(poe_expert_log_z(expert, &log_z, &error), error);
  return log_z;
}

static const double ones[6] = {1.0, 1.0, 1.0, 1.0, 1.0, 1.0};

/* ---- products ---- */

static void binary_products(void **state) {
  (void)state;
  tree t = {0};
  static const double p[6] = {0.1, 0.9, 0.5, 0.35, 0.7, 0.2}, sure[6] = {0.1, 1.0, 0.5, 0.5, 0.5, 0.5};
  const poe_expert *a = rbm(&t, 1, 6, 4, 0.0, false), *b = rbm(&t, 2, 6, 3, 0.0, false), *c = coins(&t, 6, p);
  /* Two machines and a coin with a negative and a fractional power. */
  const poe_expert *four[4] = {a, c, b, c};
  const poe_expert *target = tree_product(&t, 6, 4, four, (double[]){1.0, -0.5, 1.0, 2.25});
  poe_expert *out = fires(&t, target, "RBM product", 1);
  assert_int_equal(machine_in(out)->size[1], 7);
  check_close(log_z_of(out), brute_log_z(target), 1e-11, 0.0);
  poe_expert_release(out);
  /* Different subsets: in other orders, and one inside the other. */
  const poe_expert *inner = tree_slice(&t, rbm(&t, 3, 3, 5, 0.0, false), 6, (size_t[]){4, 0, 2});
  const poe_expert *apart[3] = {inner, tree_slice(&t, a, 6, (size_t[]){5, 3, 1, 0, 2, 4}),
                                tree_at(&t, tree_bernoulli(&t, 0.3), 6, 1)};
  target = tree_product(&t, 6, 3, apart, ones);
  out = fires(&t, target, "RBM product", 1);
  assert_int_equal(machine_in(out)->size[1], 9);
  check_close(log_z_of(out), brute_log_z(target), 1e-11, 0.0);
  poe_expert_release(out);
  /* The rest of a product stays. */
  double pair[4] = {0.1, -0.4, 0.8, 0.3};
  const poe_expert *table = tree_slice(&t, tree_table(&t, 2, (size_t[]){2, 2}, pair), 6, (size_t[]){0, 5});
  out = fires(&t, tree_product(&t, 6, 3, (const poe_expert *const[]){a, table, b}, ones), "RBM product", 1);
  assert_int_equal(poei_node_child_count(inside(out)), 2);
  poe_expert_release(out);
  /* Powers of machines, coins that never fall on one side, machines apart, all units coordinates: not one machine. */
  silent(&t, tree_product(&t, 6, 2, (const poe_expert *const[]){a, b}, (double[]){1.0, 2.0}), "RBM product");
  silent(&t, tree_product(&t, 6, 2, (const poe_expert *const[]){a, b}, (double[]){1.0, -1.0}), "RBM product");
  silent(&t, tree_times(&t, a, coins(&t, 6, sure)), "RBM product");
  const poe_expert *blocks[2] = {tree_slice(&t, a, 12, (size_t[]){0, 1, 2, 3, 4, 5}),
                                 tree_slice(&t, b, 12, (size_t[]){6, 7, 8, 9, 10, 11})};
  silent(&t, tree_product(&t, 12, 2, blocks, ones), "RBM product");
  silent(&t, tree_times(&t, rbm(&t, 4, 3, 3, 0.0, true), rbm(&t, 5, 6, 2, 0.0, false)), "RBM product");
  silent(&t, tree_over(&t, a, b), "RBM product");
  /* Machines that share one coordinate of many would become mostly zeros: filling in may double the numbers, no more.
   */
  size_t left[11], right[11], far[11];
  for (size_t i = 0; i < 11; i++) {
    left[i] = i;
    right[i] = 10 + i;
    far[i] = 20 + i;
  }
  const poe_expert *chain[3] = {tree_slice(&t, rbm(&t, 6, 11, 12, 0.0, false), 31, left),
                                tree_slice(&t, rbm(&t, 7, 11, 12, 0.0, false), 31, right),
                                tree_slice(&t, rbm(&t, 8, 11, 12, 0.0, false), 31, far)};
  out = fires(&t, tree_product(&t, 31, 3, chain, ones), "RBM product", 1);
  assert_int_equal(poei_node_child_count(inside(out)), 2);
  poe_expert_release(out);
  tree_free(&t);
}

/* log Z of one-dimensional densities by the trapezoid rule, exact to rounding at this step. */
static double trapezoid(const poe_expert *expert) {
  enum { N = 20000 };
  double *x = poet_doubles(N), *value = poet_doubles(N), step = 80.0 / N;
  for (size_t i = 0; i < N; i++) {
    x[i] = -40.0 + step * (double)i;
  }
  assert_int_equal(poet_eval(expert, N, 1, x, value, NULL), POE_OK);
  double log_z = poei_log_sum_exp(value, N, 1) + log(step);
  free(x);
  free(value);
  return log_z;
}

static void gaussian_products(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *a = rbm(&t, 11, 1, 4, 1.0, false), *b = rbm(&t, 12, 1, 3, 0.5, false);
  const poe_expert *g = tree_normal(&t, 0.7, 1.5);
  const poe_expert *target = tree_product(&t, 1, 3, (const poe_expert *const[]){a, g, b}, (double[]){1.0, 0.5, 1.0});
  poe_expert *out = fires(&t, target, "RBM product", 1);
  check_close(log_z_of(out), trapezoid(target), 1e-10, 0.0);
  poe_expert_release(out);
  /* A divisor that leaves a positive precision, wherever it stands; and one that does not. */
  target = tree_product(&t, 1, 3, (const poe_expert *const[]){g, b, a}, (double[]){-0.3, 1.0, 1.0});
  out = fires(&t, target, "RBM product", 1);
  check_close(log_z_of(out), trapezoid(target), 1e-10, 0.0);
  poe_expert_release(out);
  silent(&t, tree_product(&t, 1, 2, (const poe_expert *const[]){a, tree_normal(&t, 0.0, 0.1)}, (double[]){1.0, -1.0}),
         "RBM product");
  /* Several coordinates, different subsets, a Gaussian of diagonal precision; a correlated one stays. */
  double mean[3] = {0.5, -0.5, 1.0}, diagonal[9] = {1.0, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 2.0};
  double full[9] = {1.0, 0.3, 0.0, 0.3, 0.5, 0.0, 0.0, 0.0, 2.0};
  const poe_expert *three = rbm(&t, 13, 3, 4, 0.8, false);
  const poe_expert *two = tree_slice(&t, rbm(&t, 14, 2, 3, 1.3, false), 3, (size_t[]){2, 0});
  const poe_expert *factors[4] = {three, tree_gaussian(&t, 3, mean, full), two, tree_gaussian(&t, 3, mean, diagonal)};
  out = fires(&t, tree_product(&t, 3, 4, factors, ones), "RBM product", 1);
  assert_int_equal(poei_node_child_count(inside(out)), 2);
  poe_expert_release(out);
  /* Each can be drawn from, the product could not: they stay apart, as a start for a sampler. */
  const poe_expert *wide[2] = {rbm(&t, 15, 2, 12, 1.0, false), rbm(&t, 16, 2, 12, 1.0, false)};
  silent(&t, tree_product(&t, 2, 2, wide, ones), "RBM product");
  const poe_expert *mixed[3] = {wide[0], wide[1], tree_slice(&t, g, 2, (size_t[]){1})};
  out = fires(&t, tree_product(&t, 2, 3, mixed, ones), "RBM product", 1);
  assert_int_equal(poei_node_child_count(inside(out)), 2);
  poe_expert_release(out);
  /* None of these can be drawn from. */
  const poe_expert *large[2] = {rbm(&t, 17, 2, 30, 1.0, false), rbm(&t, 18, 2, 30, 1.0, false)};
  out = fires(&t, tree_product(&t, 2, 2, large, ones), "RBM product", 1);
  assert_int_equal(machine_in(out)->size[1], 60);
  poe_expert_release(out);
  tree_free(&t);
}

/* ---- given ---- */

static void clamped_units(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *marginal = rbm(&t, 21, 6, 4, 0.0, false), *joint = rbm(&t, 22, 4, 3, 0.0, true);
  const poe_expert *real = rbm(&t, 23, 3, 4, 0.8, false), *mixed = rbm(&t, 24, 2, 3, 0.8, true);
  const poe_expert *target = tree_given(&t, marginal, 3, (size_t[]){4, 0, 1}, (double[]){1.0, 0.0, 1.0});
  poe_expert *out = fires(&t, target, "RBM given", 1);
  check_close(log_z_of(out), brute_log_z(target), 1e-11, 0.0);
  assert_int_equal(machine_in(out)->size[0], 3);
  poe_expert_release(out);
  /* Both layers are coordinates: some of each, all visible, all hidden. */
  target = tree_given(&t, joint, 3, (size_t[]){1, 5, 3}, (double[]){1.0, 1.0, 0.0});
  out = fires(&t, target, "RBM given", 1);
  check_close(log_z_of(out), brute_log_z(target), 1e-11, 0.0);
  assert_true(machine_in(out)->joint);
  poe_expert_release(out);
  target = tree_given(&t, joint, 4, (size_t[]){0, 1, 2, 3}, (double[]){1.0, 0.0, 1.0, 1.0});
  out = fires(&t, target, "RBM given", 1);
  check_close(log_z_of(out), brute_log_z(target), 1e-11, 0.0);
  assert_true(poei_expert_can(out, POE_CAN_SAMPLE));
  poe_expert_release(out);
  target = tree_given(&t, joint, 4, (size_t[]){6, 4, 5, 2}, (double[]){1.0, 1.0, 0.0, 1.0});
  out = fires(&t, target, "RBM given", 1);
  check_close(log_z_of(out), brute_log_z(target), 1e-11, 0.0);
  poe_expert_release(out);
  /* Gaussian visible units. */
  target = tree_given(&t, real, 2, (size_t[]){2, 0}, (double[]){0.3, -1.1});
  out = fires(&t, target, "RBM given", 1);
  check_close(log_z_of(out), trapezoid(target), 1e-10, 0.0);
  poe_expert_release(out);
  target = tree_given(&t, mixed, 4, (size_t[]){1, 2, 3, 4}, (double[]){0.4, 1.0, 0.0, 1.0});
  out = fires(&t, target, "RBM given", 1); /* one Gaussian */
  check_close(log_z_of(out), trapezoid(target), 1e-10, 0.0);
  poe_expert_release(out);
  target = tree_given(&t, mixed, 2, (size_t[]){0, 1}, (double[]){0.4, -0.9});
  out = fires(&t, target, "RBM given", 1); /* independent hidden units */
  check_close(log_z_of(out), brute_log_z(target), 1e-11, 0.0);
  poe_expert_release(out);
  out = fires(&t, tree_given(&t, mixed, 2, (size_t[]){0, 3}, (double[]){0.4, 1.0}), "RBM given", 1);
  assert_true(machine_in(out)->joint && machine_in(out)->scale != NULL);
  poe_expert_release(out);
  silent(&t, tree_given(&t, tree_normal(&t, 0.0, 1.0), 0, NULL, NULL), "RBM given");
  tree_free(&t);
}

/* ---- all together ---- */

/* A factor over some of the five binary coordinates. */
static const poe_expert *random_factor(tree *t, size_t trial, size_t place) {
  size_t order[5] = {0, 1, 2, 3, 4}, n = 1 + (size_t)poet_spread(trial, place, 0.0, 4.999);
  for (size_t i = 0; i < 5; i++) {
    size_t k = i + (size_t)poet_spread(trial, place + 10 + i, 0.0, 4.999 - (double)i), swap = order[i];
    order[i] = order[k];
    order[k] = swap;
  }
  double pick = poet_spread(trial, place + 1, 0.0, 10.0), p[5];
  uint64_t seed = 1000 * trial + place;
  if (pick < 5.0) {
    return tree_slice(t, rbm(t, seed, n, 1 + seed % 4, 0.0, false), 5, order);
  }
  if (pick < 7.0) { /* of a larger machine, some units clamped */
    size_t index[2] = {0, n};
    const poe_expert *all = rbm(t, seed, n + 2 < 6 ? n + 2 : 6, 3, 0.0, false);
    index[1] = poe_expert_traits(all)->dim - 1;
    const poe_expert *rest = tree_given(t, all, 2, index, (double[]){1.0, 0.0});
    return rest == NULL ? NULL : tree_slice(t, rest, 5, order);
  }
  for (size_t i = 0; i < n; i++) {
    p[i] = poet_spread(trial, place + 20 + i, 0.05, 0.95);
  }
  return tree_slice(t, coins(t, n, p), 5, order);
}

static void random_products_keep_their_density(void **state) {
  (void)state;
  size_t changed = 0, machines = 0;
  for (size_t trial = 0; trial < 80; trial++) {
    tree t = {0};
    static const double p[5] = {0.4, 0.2, 0.7, 0.5, 0.6};
    const poe_expert *factors[5] = {coins(&t, 5, p)}; /* over all coordinates: nobody else may speak of some */
    double exponents[5] = {0.75};
    for (size_t i = 1; i < 5; i++) {
      factors[i] = random_factor(&t, trial, 100 * i);
      exponents[i] = poet_spread(trial, 100 * i + 50, 0.0, 1.0) < 0.7 ? 1.0 : i % 2 == 0 ? 0.5 : -0.5;
    }
    const poe_expert *target = tree_product(&t, 5, 5, factors, exponents);
    if (trial % 3 == 0) {
      target = tree_given(&t, target, 1, (size_t[]){trial % 5}, (double[]){(double)(trial % 2)});
    }
    tree_check(&t);
    size_t fired;
    poe_expert *out = rewrite(target, NULL, &fired);
    changed += fired > 0;
    same_density(target, out, 1e-11);
    if (machine_in(out) != NULL && poei_expert_can(out, POE_CAN_LOG_Z)) { /* the whole became one machine */
      machines++;
      check_close(log_z_of(out), brute_log_z(target), 1e-10, 0.0);
    }
    poe_expert_release(out);
    poei_plan_options options;
    poei_plan_options_default(&options);
    poei_plan *rewritten = NULL, *written = NULL;
    check_ok(poei_plan_build(target, &options, &rewritten, &error), error);
    options.no_rewrite = true;
    check_ok(poei_plan_build(target, &options, &written, &error), error);
    assert_true(rewritten->has_log_z && written->has_log_z);
    check_close(rewritten->log_z, written->log_z, 1e-10, 0.0);
    poei_plan_destroy(rewritten);
    poei_plan_destroy(written);
    tree_free(&t);
  }
  assert_true(changed >= 40 && machines >= 10);
}

/* Over one real coordinate, by the plan: two machines of different sd, one of them perhaps with a clamped unit, and
 * Gaussians with any exponent. */
static void random_gaussian_products(void **state) {
  (void)state;
  size_t fused = 0;
  for (size_t trial = 0; trial < 40; trial++) {
    tree t = {0};
    const poe_expert *pair = rbm(&t, 5000 + trial, 2, 3, poet_spread(trial, 0, 0.4, 2.0), false);
    const poe_expert *factors[4] = {rbm(&t, 6000 + trial, 1, 4, poet_spread(trial, 1, 0.4, 2.0), false),
                                    trial % 2 == 0 ? tree_given(&t, pair, 1, (size_t[]){trial / 2 % 2}, (double[]){0.7})
                                                   : rbm(&t, 7000 + trial, 1, 2, 1.0, false),
                                    tree_normal(&t, poet_spread(trial, 2, -2.0, 2.0), poet_spread(trial, 3, 0.5, 2.0)),
                                    tree_normal(&t, poet_spread(trial, 4, -2.0, 2.0), poet_spread(trial, 5, 2.0, 4.0))};
    double exponents[4] = {1.0, 1.0, poet_spread(trial, 6, 0.2, 2.0), poet_spread(trial, 7, -0.5, 0.5)};
    const poe_expert *target = tree_product(&t, 1, 4, factors, exponents);
    tree_check(&t);
    poei_plan_options options;
    poei_plan_options_default(&options);
    poei_plan *plan = NULL;
    check_ok(poei_plan_build(target, &options, &plan, &error), error);
    for (size_t i = 0; i < plan->n_rules; i++) {
      fused += strcmp(plan->rules[i].rule, "RBM product") == 0;
    }
    same_density(target, plan->expert, 1e-11);
    assert_true(plan->has_log_z && plan->exact);
    check_close(plan->log_z, trapezoid(target), 1e-10, 0.0);
    poei_plan_destroy(plan);
    tree_free(&t);
  }
  assert_int_equal(fused, 40);
}

/* Every allocation of a rewriting failing in turn. */
static void memory_runs_out(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *a = rbm(&t, 31, 3, 2, 0.7, false), *b = rbm(&t, 32, 3, 2, 0.9, false);
  const poe_expert *target = tree_given(&t, tree_times(&t, a, b), 1, (size_t[]){1}, (double[]){0.5});
  tree_check(&t);
  poei_plan_options options;
  poei_plan_options_default(&options);
  bool reached = true;
  for (uint64_t n = 1; reached; n++) {
    poei_fired list = {0};
    poe_expert *out = NULL;
    uint64_t before = poei_alloc_count();
    poei_alloc_fail_at(n);
    poe_status status = poei_rewrite(target, &options, NULL, &list, &out, &error);
    poei_alloc_fail_at(0);
    reached = poei_alloc_count() - before >= n;
    assert_true(status == POE_OK || (reached && status == POE_E_MEMORY));
    if (status == POE_OK) {
      same_density(target, out, 1e-11);
      poe_expert_release(out);
    }
    poei_fired_free(&list);
  }
  tree_free(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(binary_products),
      cmocka_unit_test(gaussian_products),
      cmocka_unit_test(clamped_units),
      cmocka_unit_test(random_products_keep_their_density),
      cmocka_unit_test(random_gaussian_products),
      cmocka_unit_test(memory_runs_out),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
