/* The rule of conjugacy: what it does alone, known posteriors, log Z against closed forms and quadrature, random
 * products against the unrewritten tree, what is refused and in which words. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compose/exact/rules.h"
#include "compose/nodes/node.h"
#include "compose/plan.h"
#include "core/alloc.h"
#include "core/numerics.h"
#include "experts/list.h"
#include "tests/compose/build.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

static const double ones[8] = {1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0};

/* ---- families ---- */

/* d equal coordinates of a family with one or two parameters (names in a NULL-terminated list), on [low, high] when
 * low < high; counts for poisson. */
static const poe_expert *family_on(tree *t, const poe_expert_ops *ops, size_t d, double a, double b, double low,
                                   double high) {
  poet_args args;
  poe_expert *made = NULL;
  const char *first = ops->params[0].name, *second = ops->params[1].name;
  poet_args_start(&args, ops->kind);
  if (ops == &poei_poisson_ops) {
    poet_args_discrete_variable(&args, "k", d, 1);
    for (size_t j = 0; j < d; j++) {
      args.support[0][j].high = low < high ? high : INFINITY;
      args.support[0][j].low = low < high ? low : 0.0;
    }
  } else if (low < high) {
    poet_args_interval_variable(&args, "x", d, low, high);
  } else {
    poet_args_real_variable(&args, "x", d);
  }
  poet_args_scalar(&args, first, &a);
  if (second != NULL) {
    poet_args_scalar(&args, second, &b);
  }
  if (t->status == POE_OK) {
    t->status = poe_expert_create(ops, &args.args, &made, &t->error);
  }
  if (t->status != POE_OK) {
    return NULL;
  }
  assert_true(t->n < TREE_MAX);
  t->made[t->n++] = made;
  return made;
}

static const poe_expert *family(tree *t, const poe_expert_ops *ops, double a, double b) {
  return family_on(t, ops, 1, a, b, 0.0, 0.0);
}

static const poe_expert *gamma_of(tree *t, double shape, double rate) {
  return family(t, &poei_gamma_ops, shape, rate);
}

static const poe_expert *poisson_of(tree *t, double rate) {
  return family(t, &poei_poisson_ops, rate, 0.0);
}

/* ---- comparing ---- */

static poe_expert *rewrite(const poe_expert *expert, const char *only, size_t *fired) {
  poei_plan_options options;
  poei_plan_options_default(&options);
  poei_fired list = {0};
  poe_expert *out = NULL;
  poe_error error = {0};
  check_ok(poei_rewrite(expert, &options, only, &list, &out, &error), error);
  *fired = list.n;
  for (size_t i = 0; i < list.n; i++) {
    assert_non_null(list.item[i].what);
  }
  poei_fired_free(&list);
  return out;
}

/* Values and gradients of both at 200 points inside the support of the first, infinite ends cut at `reach`. */
static void same_density(const poe_expert *a, const poe_expert *b, double reach, double tolerance) {
  enum { N = 200 };
  const poe_traits *traits = poe_expert_traits(a);
  size_t d = traits->dim;
  assert_int_equal(d, poe_expert_traits(b)->dim);
  double *x = poet_doubles(N * d), *va = poet_doubles(N), *vb = poet_doubles(N), *ga = poet_doubles(N * d),
         *gb = poet_doubles(N * d);
  for (size_t i = 0; i < N * d; i++) {
    const poe_support *s = &traits->support[i % d];
    double low = fmax(s->low, -reach), high = fmin(s->high, reach), u = poet_spread(i / d, i % d, 0.001, 0.999);
    x[i] = s->kind == POE_DISCRETE ? low + floor(u * (high - low + 1.0)) : low + (high - low) * u;
  }
  for (size_t i = 0; i < d && i < N; i++) { /* outside as well */
    x[i * d + i] = fmax(traits->support[i].low, -reach) - 1.0;
  }
  bool gradient = poei_expert_can(a, POE_CAN_GRADIENT) && poei_expert_can(b, POE_CAN_GRADIENT);
  assert_int_equal(poet_eval(a, N, d, x, va, gradient ? ga : NULL), POE_OK);
  assert_int_equal(poet_eval(b, N, d, x, vb, gradient ? gb : NULL), POE_OK);
  for (size_t i = 0; i < N; i++) {
    if (isnan(va[i]) || va[i] == INFINITY) {
      continue; /* a divisor vanished alone: no density there */
    }
    check_close(vb[i], va[i], tolerance, tolerance);
    for (size_t j = 0; j < d && gradient && isfinite(va[i]); j++) {
      check_close(gb[i * d + j], ga[i * d + j], 100.0 * tolerance, 100.0 * tolerance);
    }
  }
  free(x);
  free(va);
  free(vb);
  free(ga);
  free(gb);
}

static poe_expert *fires(tree *t, const poe_expert *expert, size_t times) {
  size_t fired = 0;
  tree_check(t);
  poe_expert *out = rewrite(expert, "conjugate", &fired);
  assert_int_equal(fired, times);
  same_density(expert, out, 6.0, 1e-12);
  size_t again = 0;
  poe_expert *fixed = rewrite(out, "conjugate", &again);
  assert_int_equal(again, 0);
  assert_ptr_equal(fixed, out);
  poe_expert_release(fixed);
  return out;
}

static double log_z_of(const poe_expert *expert) {
  double log_z = NAN;
  poe_error error = {0};
  check_ok(poe_expert_log_z(expert, &log_z, &error), error);
  return log_z;
}

/* The rule makes one closed factor of it, in so many steps, with this log Z. */
static void becomes_in(tree *t, const poe_expert *expert, size_t times, double log_z) {
  poe_expert *out = fires(t, expert, times);
  assert_int_equal(poei_node_kind_of(out), POEI_NODE_LEAF);
  assert_true(poei_expert_can(out, POE_CAN_SAMPLE | POE_CAN_LOG_Z));
  check_close(log_z_of(out), log_z, 1e-12, 1e-12);
  poe_expert_release(out);
}

static void becomes(tree *t, const poe_expert *expert, double log_z) {
  becomes_in(t, expert, 1, log_z);
}

/* Simpson's rule over 20000 panels: rounding is all that is left of smooth functions. */
static double integral(double (*f)(double x), double low, double high) {
  enum { N = 40000 };
  double sum = f(low) + f(high), h = (high - low) / N;
  for (int i = 1; i < N; i++) {
    sum += (i % 2 == 0 ? 2.0 : 4.0) * f(low + h * i);
  }
  return sum * h / 3.0;
}

static double inverse_cube(double x) {
  return exp(2.0 * x) / (x * x * x);
}

static double narrow_arc(double x) {
  return exp(3.0 * cos(x - 0.5));
}

static const poe_expert *two(tree *t, const poe_expert *a, const poe_expert *b, double p, double q) {
  return tree_product(t, poe_expert_traits(a)->dim, 2, (const poe_expert *const[]){a, b}, (double[]){p, q});
}

/* log Gamma(k) - k log r, and its like. */
static double log_gamma_integral(double k, double r) {
  return lgamma(k) - k * log(r);
}

static double log_beta(double a, double b) {
  return lgamma(a) + lgamma(b) - lgamma(a + b);
}

static double log_i0(double kappa) {
  double mean = 0.0;
  for (int i = 0; i < 1000; i++) {
    mean += exp(kappa * cos(i * acos(-1.0) / 500.0)) / 1000.0;
  }
  return log(mean);
}

/* ---- one law after the other ---- */

static void known_products(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *gamma = gamma_of(&t, 2.5, 1.5), *half = gamma_of(&t, 0.5, 1.0);
  const poe_expert *exponential = family(&t, &poei_exponential_ops, 0.75, 0.0);
  double norm = -log_gamma_integral(2.5, 1.5), half_norm = -log_gamma_integral(0.5, 1.0);
  /* gamma * exponential, powers and quotients of gammas */
  becomes(&t, two(&t, gamma, exponential, 1.0, 1.0), norm + log(0.75) + log_gamma_integral(2.5, 2.25));
  becomes(&t, two(&t, gamma, half, 2.0, -0.5), 2.0 * norm - 0.5 * half_norm + log_gamma_integral(4.25, 2.5));
  becomes(&t, tree_power(&t, half, 0.25), 0.25 * half_norm + log_gamma_integral(0.875, 0.25));
  becomes(&t, tree_power(&t, exponential, 3.0), 3.0 * log(0.75) - log(2.25));
  /* gamma / gamma of the same shape is exponential */
  becomes(&t, two(&t, gamma, gamma_of(&t, 2.5, 1.0), 1.0, -1.0), norm + log_gamma_integral(2.5, 1.0) - log(0.5));
  /* beta */
  const poe_expert *beta = family(&t, &poei_beta_ops, 2.5, 3.5), *low = family(&t, &poei_beta_ops, 0.5, 0.75);
  becomes(&t, two(&t, beta, low, 1.0, 1.0), log_beta(2.0, 3.25) - log_beta(2.5, 3.5) - log_beta(0.5, 0.75));
  becomes(&t, two(&t, beta, low, 1.0, -2.0), log_beta(3.5, 4.0) - log_beta(2.5, 3.5) + 2.0 * log_beta(0.5, 0.75));
  /* lognormal: the density of log x is Gaussian with a tilt */
  const poe_expert *log_normal = family(&t, &poei_lognormal_ops, 0.3, 0.8);
  double p = 2.0 / 0.64, mean = (0.6 / 0.64 - 1.0) / p, constant = -log(2.0 * acos(-1.0) * 0.64) - 0.09 / 0.64;
  becomes(&t, tree_power(&t, log_normal, 2.0), constant + 0.5 * p * mean * mean + 0.5 * log(2.0 * acos(-1.0) / p));
  /* von Mises: vectors add */
  const poe_expert *east = family(&t, &poei_von_mises_ops, 0.5, 2.0),
                   *north = family(&t, &poei_von_mises_ops, 2.0, 3.0);
  double kappa = hypot(2.0 * cos(0.5) + 3.0 * cos(2.0), 2.0 * sin(0.5) + 3.0 * sin(2.0));
  becomes(&t, two(&t, east, north, 1.0, 1.0), log_i0(kappa) - log_i0(2.0) - log_i0(3.0) - log(2.0 * acos(-1.0)));
  tree_free(&t);
}

static void gaussians_meet_families(void **state) {
  (void)state;
  tree t = {0};
  /* N(x; m, s) r e^-rx on x > 0: a Gaussian moved by r s^2, cut at 0. */
  const poe_expert *exponential = family(&t, &poei_exponential_ops, 1.25, 0.0), *normal = tree_normal(&t, 0.4, 0.8);
  double moved = 0.4 - 1.25 * 0.64, log_z = log(1.25) - 1.25 * 0.4 + 0.5 * 1.25 * 1.25 * 0.64;
  becomes(&t, two(&t, exponential, normal, 1.0, 1.0), log_z + poei_normal_log_cdf(moved / 0.8));
  /* far from 0 and narrow: no digits are lost */
  const poe_expert *far = tree_normal(&t, 1e6, 1e-3), *slow = family(&t, &poei_exponential_ops, 1e-3, 0.0);
  poe_expert *out = fires(&t, two(&t, far, slow, 1.0, 1.0), 1);
  check_close(log_z_of(out), log(1e-3) - 1e3 + 0.5e-12, 1e-10, 0.0);
  double x[3] = {1e6 - 0.0015, 1e6, 1e6 + 0.002};
  for (size_t i = 0; i < 3; i++) {
    check_close(tree_value(out, &x[i]), tree_value(far, &x[i]) + tree_value(slow, &x[i]), 1e-10, 0.0);
  }
  poe_expert_release(out);
  /* uniform cuts; a Gaussian on other coordinates too goes along */
  const poe_expert *plane = tree_gaussian(&t, 2, (double[]){0.5, -1.0}, (double[]){1.0, 0.0, 0.0, 4.0});
  const poe_expert *cut = tree_at(&t, tree_uniform(&t, 1, -1.0, 2.0), 2, 1);
  becomes(&t, two(&t, plane, cut, 1.0, 1.0), log(poei_normal_cdf(1.5) - poei_normal_cdf(0.0)) - log(3.0));
  /* dependent Gaussians, and Gaussians alone, are not its business */
  size_t fired;
  const poe_expert *tied = tree_gaussian(&t, 2, (double[]){0.5, -1.0}, (double[]){1.0, 0.3, 0.3, 4.0});
  const poe_expert *others[2] = {two(&t, tied, cut, 1.0, 1.0), two(&t, normal, normal, 1.0, 2.0)};
  for (size_t i = 0; i < 2; i++) {
    out = rewrite(others[i], "conjugate", &fired);
    assert_int_equal(fired, 0);
    poe_expert_release(out);
  }
  tree_free(&t);
}

/* Bounds intersect; inside them shapes may be anything. */
static void on_bounded_variables(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *a = family_on(&t, &poei_gamma_ops, 1, 2.0, 1.0, 0.5, 4.0);
  const poe_expert *b = family_on(&t, &poei_gamma_ops, 1, 5.0, 3.0, 0.25, 5.0);
  double norm = log_gamma_integral(5.0, 3.0) - log_gamma_integral(2.0, 1.0);
  poe_expert *out = fires(&t, two(&t, a, b, 1.0, -1.0), 1);
  check_close(log_z_of(out), log(integral(inverse_cube, 0.5, 4.0)) + norm, 1e-12, 0.0);
  assert_true(poe_expert_traits(out)->support[0].low == 0.5 && poe_expert_traits(out)->support[0].high == 4.0);
  poe_expert_release(out);
  /* a divisor that is 0 where the rest is not stays apart */
  size_t fired;
  out = rewrite(two(&t, b, a, 1.0, -1.0), "conjugate", &fired);
  assert_int_equal(fired, 0);
  poe_expert_release(out);
  /* exponential / exponential^2 on an interval grows: still an exponential */
  const poe_expert *e = family_on(&t, &poei_exponential_ops, 1, 1.5, 0.0, 1.0, 3.0);
  const poe_expert *f = family_on(&t, &poei_exponential_ops, 1, 2.0, 0.0, 1.0, 3.0);
  becomes(&t, two(&t, e, f, 1.0, -2.0), log(1.5) - 2.0 * log(2.0) + log((exp(7.5) - exp(2.5)) / 2.5));
  /* and flat when the rates cancel, although 0.1 * 3 is not 0.3 */
  const poe_expert *g = family_on(&t, &poei_exponential_ops, 1, 0.3, 0.0, 1.0, 3.0);
  const poe_expert *h = family_on(&t, &poei_exponential_ops, 1, 0.1, 0.0, 1.0, 3.0);
  out = fires(&t, two(&t, g, h, 1.0, -3.0), 1);
  check_close(log_z_of(out), log(0.3) - 3.0 * log(0.1) + log(2.0), 1e-14, 0.0);
  poe_expert_release(out);
  /* parts of the circle */
  const poe_expert *u = family_on(&t, &poei_von_mises_ops, 1, 0.5, 2.0, 0.0, 3.0);
  const poe_expert *v = family_on(&t, &poei_von_mises_ops, 1, 0.5, 1.0, -1.0, 2.0);
  becomes(&t, two(&t, u, v, 1.0, 1.0),
          log(integral(narrow_arc, 0.0, 2.0)) - log_i0(2.0) - log_i0(1.0) - 2.0 * log(2.0 * acos(-1.0)));
  tree_free(&t);
}

/* Restrictions, clamped values, plates, constants and nested products are looked through. */
static void through_nodes(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *three = family_on(&t, &poei_gamma_ops, 3, 2.0, 1.5, 0.0, 0.0), *one = gamma_of(&t, 3.0, 0.5);
  double value = 0.7, clamped = 2.0 * log(1.5) + log(0.7) - 1.5 * 0.7;
  becomes(&t, tree_given(&t, three, 1, (size_t[]){1}, &value), clamped);
  const poe_expert *plate = tree_plate(&t, one, 4, 4, (size_t[]){2, 0, 3, 1});
  becomes(&t, plate, 0.0);
  double twice = log_gamma_integral(5.0, 1.0) - 2.0 * log_gamma_integral(3.0, 0.5);
  becomes(&t, tree_plate(&t, one, 4, 2, (size_t[]){1, 0, 0, 1}), 2.0 * twice);
  const poe_expert *boxed = tree_restrict(&t, family(&t, &poei_exponential_ops, 2.0, 0.0), -1.0, 1.5);
  becomes(&t, boxed, log(1.0 - exp(-3.0)));
  becomes_in(&t, two(&t, boxed, one, 1.0, 1.0), 2,
             log_z_of(family_on(&t, &poei_gamma_ops, 1, 3.0, 2.5, 0.0, 1.5)) + log(2.0) - log_gamma_integral(3.0, 0.5) +
                 log_gamma_integral(3.0, 2.5));
  becomes_in(&t, tree_normalise(&t, tree_power(&t, one, 2.0), 0.25, 0.0), 2, twice - 0.25);
  /* An estimated constant is not closed away: its error would be lost. */
  size_t fired;
  poe_expert *out = rewrite(tree_normalise(&t, one, 0.25, 0.1), "conjugate", &fired);
  assert_int_equal(fired, 0);
  poe_expert_release(out);
  tree_free(&t);
}

/* What is not known stays, the rest goes on; coordinates that others tie together stay together. */
static void mixed_products(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *gamma = gamma_of(&t, 2.5, 1.5), *normal = tree_normal(&t, 0.4, 0.8);
  size_t fired;
  poe_expert *out = rewrite(two(&t, gamma, normal, 1.0, 1.0), "conjugate", &fired);
  assert_int_equal(fired, 0);
  poe_expert_release(out);
  /* Over four coordinates, of which the Gaussian has one: the other three become one gamma. */
  const poe_expert *four = family_on(&t, &poei_gamma_ops, 4, 2.0, 1.5, 0.0, 0.0);
  const poe_expert *more = family_on(&t, &poei_exponential_ops, 4, 0.5, 0.0, 0.0, 0.0);
  const poe_expert *factors[3] = {four, more, tree_at(&t, normal, 4, 2)};
  out = fires(&t, tree_product(&t, 4, 3, factors, ones), 1);
  assert_int_equal(poei_node_child_count(out), 4);
  poe_expert_release(out);
  /* A network over two of four: these stay together, apart from the other two. */
  const poe_expert *with[3] = {four, more, tree_slice(&t, tree_bare(&t, 2, 0.3), 4, (size_t[]){3, 1})};
  out = fires(&t, tree_product(&t, 4, 3, with, ones), 1);
  assert_int_equal(poei_node_child_count(out), 3);
  poe_expert_release(out);
  /* Two networks, one coordinate each: three closed factors, also without anything to fuse. */
  const poe_expert *apart[3] = {four, tree_at(&t, tree_bare(&t, 1, 0.3), 4, 0),
                                tree_at(&t, tree_bare(&t, 1, 0.1), 4, 3)};
  out = fires(&t, tree_product(&t, 4, 3, apart, ones), 1);
  assert_int_equal(poei_node_child_count(out), 5);
  poe_expert_release(out);
  /* The plan keeps the exact part exact. */
  poei_plan *plan = NULL;
  poe_error error = {0};
  check_ok(poei_plan_build(tree_product(&t, 4, 3, apart, ones), NULL, &plan, &error), error);
  assert_int_equal(plan->method, POEI_METHOD_BLOCKS);
  size_t closed = 0;
  for (size_t i = 0; i < plan->n_parts; i++) {
    closed += plan->parts[i]->exact && plan->parts[i]->dim == 2;
  }
  assert_int_equal(closed, 1);
  poei_plan_destroy(plan);
  tree_free(&t);
}

/* ---- what is refused ---- */

static void refuses(tree *t, const poe_expert *target, const char *message) {
  tree_check(t);
  for (int no_rewrite = 0; no_rewrite <= 1; no_rewrite++) {
    poei_plan_options options;
    poei_plan_options_default(&options);
    options.no_rewrite = no_rewrite == 1;
    poei_plan *plan = NULL;
    poe_error error = {0};
    check_fails(poei_plan_build(target, &options, &plan, &error), POE_E_IMPROPER, error, message);
    assert_null(plan);
  }
}

static void improper_products(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *gamma = gamma_of(&t, 0.5, 2.0), *exponential = family(&t, &poei_exponential_ops, 1.0, 0.0);
  refuses(&t, two(&t, gamma, gamma_of(&t, 2.0, 1.0), 1.0, -1.0),
          "along coordinate 0 it has no finite integral at 0: "
          "shape -0.5 <= 0");
  refuses(&t, two(&t, gamma, exponential, 1.0, -3.0), "rate -1 <= 0");
  refuses(&t, two(&t, exponential, gamma_of(&t, 1.0, 0.1), 1.0, -10.0), "rate 0 <= 0"); /* 10 * 0.1 is 1 */
  refuses(&t, two(&t, exponential, tree_normal(&t, 0.0, 1.0), 1.0, -1.0), "precision -1 <= 0");
  refuses(&t, two(&t, family(&t, &poei_beta_ops, 2.0, 0.5), family(&t, &poei_beta_ops, 1.0, 2.0), 1.0, -0.5),
          "at 1: b 0 <= 0");
  refuses(&t, two(&t, poisson_of(&t, 3.0), poisson_of(&t, 2.0), 1.0, -1.0), "rate");
  refuses(&t, two(&t, poisson_of(&t, 3.0), poisson_of(&t, 5.0), 1.0, -2.0), "(x!)^1");
  refuses(&t, two(&t, family(&t, &poei_lognormal_ops, 0.0, 1.0), family(&t, &poei_lognormal_ops, 0.0, 0.5), 1.0, -1.0),
          "(log x)^2");
  /* Held by something else it is nobody's to refuse; in a product over several coordinates the bad one is named. */
  const poe_expert *pair[3] = {tree_at(&t, gamma, 2, 0), tree_at(&t, gamma, 2, 1),
                               tree_at(&t, gamma_of(&t, 2.0, 1.0), 2, 1)};
  refuses(&t, tree_product(&t, 2, 3, pair, (double[]){1.0, 1.0, -1.0}), "along coordinate 1");
  tree_free(&t);
}

/* ---- random products ---- */

static const poe_expert *random_family(tree *t, size_t trial, size_t place, size_t dim) {
  static const poe_expert_ops *const all[] = {&poei_exponential_ops, &poei_gamma_ops, &poei_lognormal_ops};
  double a = poet_spread(trial, place, 0.4, 3.0), b = poet_spread(trial, place + 1, 0.5, 2.0);
  size_t c = (size_t)poet_spread(trial, place + 2, 0.0, (double)dim - 0.001);
  double pick = poet_spread(trial, place + 3, 0.0, 6.0);
  bool bounded = poet_spread(trial, place + 4, 0.0, 1.0) < 0.3;
  if (pick < 4.5) {
    const poe_expert_ops *ops = all[(size_t)(pick / 1.5)];
    if (poet_spread(trial, place + 5, 0.0, 1.0) < 0.3) {
      return family_on(t, ops, dim, a, b, bounded ? 0.25 : 0.0, bounded ? 3.0 : 0.0);
    }
    return tree_at(t, family_on(t, ops, 1, a, b, bounded ? 0.25 : 0.0, bounded ? 3.0 : 0.0), dim, c);
  }
  if (pick < 5.0) {
    return tree_at(t, tree_uniform(t, 1, 0.5, 2.0 + a), dim, c);
  }
  return pick < 5.5 ? tree_at(t, tree_normal(t, a, b), dim, c) : tree_at(t, tree_bare(t, 1, a), dim, c);
}

/* Products of families and others over three coordinates: the same density, and log Z by quadrature in one. */
static void random_products(void **state) {
  (void)state;
  size_t changed = 0, integrated = 0;
  for (size_t trial = 0; trial < 200; trial++) {
    tree t = {0};
    size_t dim = trial % 2 == 0 ? 1 : 3, n = 3 + trial % 4;
    const poe_expert *factor[8] = {family_on(&t, &poei_gamma_ops, dim, 3.0, 2.0, 0.0, 0.0)};
    double exponent[8] = {1.0};
    for (size_t i = 1; i < n; i++) {
      factor[i] = random_family(&t, trial, 10 * i, dim);
      exponent[i] = i % 3 == 2 ? poet_spread(trial, 10 * i + 9, -0.3, 1.5) : 1.0;
    }
    const poe_expert *target = tree_product(&t, dim, n, factor, exponent);
    if (t.status != POE_OK) { /* supports do not meet */
      assert_int_equal(t.status, POE_E_EMPTY);
      tree_free(&t);
      continue;
    }
    size_t fired;
    poe_expert *out = rewrite(target, "conjugate", &fired), *all = rewrite(target, NULL, &fired);
    changed += out != target;
    same_density(target, out, 8.0, 1e-11);
    same_density(target, all, 8.0, 1e-10);
    poei_plan *plan = NULL, *plain = NULL;
    poei_plan_options options;
    poe_error error = {0};
    poei_plan_options_default(&options);
    options.no_rewrite = true;
    if (dim == 1 && poei_plan_build(target, NULL, &plan, &error) == POE_OK && plan->exact &&
        poei_plan_build(target, &options, &plain, &error) == POE_OK && plain->has_log_z) {
      check_close(plan->log_z, plain->log_z, 1e-8 + 2.0 * plain->log_z_error, 1e-9);
      integrated++;
    }
    poei_plan_destroy(plan);
    poei_plan_destroy(plain);
    poe_expert_release(out);
    poe_expert_release(all);
    tree_free(&t);
  }
  if (changed <= 100 || integrated <= 10) {
    fail_msg("%zu changed, %zu integrated", changed, integrated);
  }
}

/* Every allocation fails in turn: an error, nothing lost. */
static void failing_allocations(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *four = family_on(&t, &poei_gamma_ops, 4, 2.0, 1.5, 0.0, 0.0);
  const poe_expert *factors[4] = {four, family_on(&t, &poei_exponential_ops, 4, 0.5, 0.0, 0.0, 3.0),
                                  tree_at(&t, tree_normal(&t, 0.4, 0.8), 4, 2),
                                  tree_at(&t, tree_bare(&t, 1, 0.3), 4, 0)};
  const poe_expert *target = tree_product(&t, 4, 4, factors, ones);
  const poe_expert *count = two(&t, poisson_of(&t, 7.5), poisson_of(&t, 2.5), 1.0, 1.0);
  tree_check(&t);
  for (int which = 0; which < 2; which++) {
    poei_plan_options options;
    poei_plan_options_default(&options);
    options.no_rewrite = which == 1;
    size_t failures = 0;
    for (uint64_t at = 1; at < 100000; at++) {
      poei_plan *plan = NULL;
      poe_error error = {0};
      poei_alloc_fail_at(at);
      poe_status status = poei_plan_build(which == 0 ? target : count, &options, &plan, &error);
      poei_alloc_fail_at(0);
      if (status == POE_OK) {
        poei_plan_destroy(plan);
        break;
      }
      assert_int_equal(status, POE_E_MEMORY);
      failures++;
    }
    assert_true(failures > 10);
  }
  tree_free(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(known_products),       cmocka_unit_test(gaussians_meet_families),
      cmocka_unit_test(on_bounded_variables), cmocka_unit_test(through_nodes),
      cmocka_unit_test(mixed_products),       cmocka_unit_test(improper_products),
      cmocka_unit_test(random_products),      cmocka_unit_test(failing_allocations),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
