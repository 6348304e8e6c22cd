/* Marginals and profiles over one or two continuous latent coordinates whose integrand has no closed form that the node
 * could know: values and gradients against closed forms of the answer. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/numerics.h"
#include "tests/compose/curves.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

static const poe_support line = {POE_CONTINUOUS, -INFINITY, INFINITY, true, true};
static const poe_support half = {POE_CONTINUOUS, 0.0, INFINITY, true, true};
static const poe_support unit = {POE_CONTINUOUS, 0.0, 1.0, true, true};
static const poe_support coin = {POE_DISCRETE, 0.0, 2.0, false, false};

static double log_normal(double x, double mean, double sd) {
  double z = (x - mean) / sd;
  return -0.5 * z * z - log(sd) - 0.5 * POEI_LOG_2PI;
}

static double log_student(double x, double df, double scale) {
  double z = x / scale;
  return lgamma(0.5 * (df + 1.0)) - lgamma(0.5 * df) - 0.5 * log(df * POEI_PI) - log(scale) -
         0.5 * (df + 1.0) * log1p(z * z / df);
}

static double log_beta(double a, double b) {
  return lgamma(a) + lgamma(b) - lgamma(a + b);
}

/* ---- joint densities ---- */

/* x | l ~ N(0, 1/l), l ~ gamma(2, 3): Student t with 4 degrees of freedom and scale sqrt(3/2). */
static double scale_mixture(const double *x, double *grad) {
  double l = x[1];
  grad[0] = -l * x[0];
  grad[1] = 0.5 / l - 0.5 * x[0] * x[0] + 1.0 / l - 3.0;
  return 0.5 * log(l) - 0.5 * l * x[0] * x[0] - 0.5 * POEI_LOG_2PI + 2.0 * log(3.0) + log(l) - 3.0 * l;
}

static double scale_mixture_answer(const double *x) {
  return log_student(x[0], 4.0, sqrt(1.5));
}

/* x | h ~ N(2 h - 1, sd), h ~ N(0.3, 1.2): at any beta, exp(beta log p) is Gaussian in h. */
static double linear_sd = 0.5;

static double linear(const double *x, double *grad) {
  double r = (x[0] - 2.0 * x[1] + 1.0) / (linear_sd * linear_sd), p = (x[1] - 0.3) / 1.44;
  grad[0] = -r;
  grad[1] = 2.0 * r - p;
  return log_normal(x[0], 2.0 * x[1] - 1.0, linear_sd) + log_normal(x[1], 0.3, 1.2);
}

/* The largest value over h, and the precision of h. */
static double linear_best(double x, double *precision) {
  double s2 = linear_sd * linear_sd, variance = 4.0 * 1.44 + s2;
  *precision = 4.0 / s2 + 1.0 / 1.44;
  double z = (x + 0.4) / sqrt(variance);
  return -0.5 * z * z - log(linear_sd) - log(1.2) - POEI_LOG_2PI;
}

static double linear_answer(double x, double beta) {
  double precision, best = linear_best(x, &precision);
  return isinf(beta) ? best : best + 0.5 * log(2.0 * POEI_PI / (beta * precision)) / beta;
}

/* Two Laplace densities convolved: a kink at h = 0 and at h = x. */
static double kinks(const double *x, double *grad) {
  double r = x[0] - x[1];
  grad[0] = r > 0.0 ? -1.0 : 1.0;
  grad[1] = (r > 0.0 ? 1.0 : -1.0) - (x[1] > 0.0 ? 1.0 : -1.0);
  return -fabs(r) - fabs(x[1]) - 2.0 * POEI_LOG_2;
}

static double kinks_answer(const double *x) {
  return log1p(fabs(x[0])) - fabs(x[0]) - 2.0 * POEI_LOG_2;
}

/* x uniform on [h - 0.3, h + 0.7], h ~ N(0, 1): jumps, and nothing but -inf wherever the ladder looks. */
static double jumps(const double *x, double *grad) {
  grad[0] = 0.0;
  grad[1] = -x[1];
  return x[0] > x[1] - 0.3 && x[0] < x[1] + 0.7 ? log_normal(x[1], 0.0, 1.0) : -INFINITY;
}

static double jumps_answer(const double *x) {
  return log(poei_normal_cdf(x[0] + 0.3) - poei_normal_cdf(x[0] - 0.7));
}

/* Powers of h and 1 - h on (0, 1): the beta function. The ends are poles where x < 1. */
static double powers(const double *x, double *grad) {
  grad[0] = log(x[1]) - log1p(-x[1]);
  grad[1] = (x[0] - 1.0) / x[1] - (3.0 - x[0]) / (1.0 - x[1]);
  return (x[0] - 1.0) * log(x[1]) + (3.0 - x[0]) * log1p(-x[1]);
}

static double powers_answer(const double *x) {
  return log_beta(x[0], 4.0 - x[0]);
}

/* Cauchy times Cauchy: the convolution is Cauchy of twice the width; algebraic tails. */
static double cauchy(const double *x, double *grad) {
  double r = x[0] - x[1];
  grad[0] = -2.0 * r / (1.0 + r * r);
  grad[1] = 2.0 * r / (1.0 + r * r) - 2.0 * x[1] / (1.0 + x[1] * x[1]);
  return -log1p(r * r) - log1p(x[1] * x[1]) - 2.0 * log(POEI_PI);
}

static double cauchy_answer(const double *x) {
  return log(2.0 / POEI_PI) - log(4.0 + x[0] * x[0]);
}

/* x = h^2 up to 0.05, h ~ N(0, 2): two narrow peaks at +-sqrt x; the sum over a fine grid for an answer. */
static double square(const double *x, double *grad) {
  double r = (x[0] - x[1] * x[1]) / 0.0025;
  grad[0] = -r;
  grad[1] = 2.0 * x[1] * r - x[1] / 4.0;
  return log_normal(x[0], x[1] * x[1], 0.05) + log_normal(x[1], 0.0, 2.0);
}

static double square_answer(const double *x) {
  double sum = 0.0, step = 1e-4, unused[2];
  for (int k = -80000; k <= 80000; k++) {
    sum += exp(square((double[]){x[0], k * step}, unused)) * step;
  }
  return log(sum);
}

/* x | m, l ~ N(m, 1/l), m | l ~ N(0, 1/(l/2)), l ~ gamma(2, 3): Student t again, over two latent coordinates. */
static double normal_gamma(const double *x, double *grad) {
  double l = x[1], m = x[2], r = x[0] - m;
  grad[0] = -l * r;
  grad[1] = 1.0 / l + 1.0 / l - 3.0 - 0.5 * r * r - 0.25 * m * m;
  grad[2] = l * r - 0.5 * l * m;
  return log(l) + 0.5 * log(0.5) - POEI_LOG_2PI - 0.5 * l * (r * r + 0.5 * m * m) + 2.0 * log(3.0) + log(l) - 3.0 * l;
}

static double normal_gamma_answer(const double *x) {
  return log_student(x[0], 4.0, sqrt(1.5 * 3.0));
}

/* The same scale mixture with a coin that shifts x by 3 k; k has the weights 1, 2, 4 over 7. */
static double switched(const double *x, double *grad) {
  double place[2] = {x[0] - 3.0 * x[2], x[1]};
  return scale_mixture(place, grad) + log(pow(2.0, x[2]) / 7.0);
}

static double switched_answer(const double *x) {
  double sum = 0.0;
  for (int k = 0; k < 3; k++) {
    sum += exp(log_student(x[0] - 3.0 * k, 4.0, sqrt(1.5))) * pow(2.0, k) / 7.0;
  }
  return log(sum);
}

/* ---- the tests ---- */

static const poe_expert *marginal_of(tree *t, const poe_expert *child, size_t n, const size_t *index, double beta) {
  poe_expert *made = NULL;
  tree_check(t);
  check_ok(poei_marginal_create(child, n, index, beta, &made, &t->error), t->error);
  t->made[t->n++] = made;
  return made;
}

typedef struct closed {
  const char *name;
  tree_function f;
  size_t dim;
  const poe_support *support; /* [dim] */
  double (*answer)(const double *x);
  double low, high; /* of x[0] */
  double tolerance; /* of the value        */
  size_t most;      /* evaluations a row   */
} closed;

static const poe_support with_line[2] = {line, line}, with_half[2] = {line, half}, with_unit[2] = {half, unit};
static const poe_support with_both[3] = {line, half, line}, with_coin[3] = {line, half, coin};

static const closed answers[] = {
    {"scale mixture", scale_mixture, 2, with_half, scale_mixture_answer, -30.0, 30.0, 1e-10, 500},
    {"kinks", kinks, 2, with_line, kinks_answer, -9.0, 9.0, 2e-9, 3000},
    {"jumps", jumps, 2, with_line, jumps_answer, -3.0, 3.0, 2e-9, 6000},
    {"powers", powers, 2, with_unit, powers_answer, 0.05, 3.0, 1e-10, 700},
    {"cauchy", cauchy, 2, with_line, cauchy_answer, -2e3, 2e3, 1e-9, 2500},
    {"square", square, 2, with_line, square_answer, 0.1, 9.0, 1e-10, 1200},
    {"normal-gamma", normal_gamma, 3, with_both, normal_gamma_answer, -20.0, 20.0, 2e-9, 200000},
    {"switched", switched, 3, with_coin, switched_answer, -15.0, 15.0, 1e-10, 1500},
};

static void values_are_the_closed_ones(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
    const closed *c = &answers[i];
    for (int smooth = 0; smooth < 2; smooth++) {
      tree t = {0};
      const poe_expert *joint = tree_curve(&t, c->dim, c->support, c->f, smooth == 1);
      const poe_expert *m = marginal_of(&t, joint, c->dim - 1, (size_t[]){1, 2}, 1.0);
      size_t rows = c->dim == 3 ? 12 : 60;
      double worst = 0.0;
      tree_curve_points = 0;
      for (size_t k = 0; k < rows; k++) {
        double x = k == 0 ? 1.0 : poet_spread(k, 0, c->low, c->high);
        double gap = fabs(tree_value(m, &x) - c->answer(&x));
        if (!(gap <= c->tolerance)) {
          print_error("%s at %.17g: %.17g, not %.17g\n", c->name, x, tree_value(m, &x), c->answer(&x));
        }
        worst = isnan(gap) || gap > worst ? gap : worst;
      }
      print_message("%s: error %.2g, %zu evaluations a row\n", c->name, worst, tree_curve_points / rows);
      assert_true(worst <= c->tolerance);
      assert_true(tree_curve_points / rows <= c->most);
      tree_free(&t);
    }
  }
}

/* Value and gradient at one point. */
static double at(const poe_expert *expert, const double *x, double *grad) {
  double value = NAN;
  size_t d = poe_expert_traits(expert)->dim;
  assert_int_equal(poet_eval(expert, 1, d, x, &value, grad), POE_OK);
  return value;
}

static void any_temperature_and_width(void **state) {
  (void)state;
  static const double betas[6] = {1.0, 0.37, 2.5, 40.0, 1e4, INFINITY}, sds[4] = {0.5, 1e-3, 1e-6, 20.0};
  for (size_t k = 0; k < 24; k++) {
    tree t = {0};
    double beta = betas[k % 6];
    linear_sd = sds[k / 6];
    const poe_expert *m = marginal_of(&t, tree_curve(&t, 2, with_line, linear, true), 1, (size_t[]){1}, beta);
    for (size_t i = 0; i < 20; i++) {
      double x = poet_spread(i, k, -40.0, 40.0), grad, precision,
             slope = -(x + 0.4) / (4.0 * 1.44 + linear_sd * linear_sd);
      double value = at(m, &x, &grad);
      linear_best(x, &precision);
      check_close(value, linear_answer(x, beta), 1e-9, 1e-12);
      /* rounding of h moves the slope of a narrow density: by |h| eps / sd^2 */
      check_close(grad, slope, 1e-8 + 4e-15 * fabs(x) / (linear_sd * linear_sd), 1e-8);
    }
    tree_free(&t);
  }
  linear_sd = 0.5;
}

/* (1/beta) log int exp(beta f) - max f = log(2 pi / (beta precision)) / (2 beta): it falls as beta grows (from where it
 * is positive), and the values follow it. */
static void the_cold_limit_is_the_profile(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *joint = tree_curve(&t, 2, with_line, linear, true);
  const poe_expert *best = marginal_of(&t, joint, 1, (size_t[]){1}, INFINITY);
  double x = 1.7, before = INFINITY, precision;
  linear_best(x, &precision);
  for (double beta = 1e2; beta < 1e9; beta *= 10.0) {
    const poe_expert *cold = marginal_of(&t, joint, 1, (size_t[]){1}, beta);
    double gap = tree_value(best, &x) - tree_value(cold, &x);
    check_close(gap, -0.5 * log(2.0 * POEI_PI / (beta * precision)) / beta, 1e-9, 0.0);
    assert_true(fabs(gap) < before);
    before = fabs(gap);
  }
  assert_true(before < 1e-6);
  tree_free(&t);
}

static void gradients_are_those_of_the_answers(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
    const closed *c = &answers[i];
    if (c->f == jumps) { /* moved by x, the jump is not seen by a gradient inside */
      continue;
    }
    tree t = {0};
    const poe_expert *m =
        marginal_of(&t, tree_curve(&t, c->dim, c->support, c->f, true), c->dim - 1, (size_t[]){1, 2}, 1.0);
    assert_true((poe_expert_traits(m)->capabilities & POE_CAN_GRADIENT) != 0);
    for (size_t k = 1; k < (c->dim == 3 ? 8 : 30); k++) {
      double x = poet_spread(k, 1, c->low + 0.1, c->high), h = 1e-4 * (1.0 + fabs(x)), grad, up = x + h, down = x - h;
      at(m, &x, &grad);
      double wide = (c->answer(&up) - c->answer(&down)) / (2.0 * h);
      check_close(grad, wide, 1e-5, 1e-5);
    }
    tree_free(&t);
  }
}

/* f(x, h) = -(h - sin 3x)^2 (1 + x^2) - cos x + 0.3 tanh(4 h): the largest value has no formula, a fine grid has. */
static double wavy(const double *x, double *grad) {
  double r = x[1] - sin(3.0 * x[0]), w = 1.0 + x[0] * x[0], th = tanh(4.0 * x[1]);
  grad[0] = 6.0 * r * cos(3.0 * x[0]) * w - 2.0 * x[0] * r * r + sin(x[0]);
  grad[1] = -2.0 * r * w + 1.2 * (1.0 - th * th);
  return -r * r * w - cos(x[0]) + 0.3 * th;
}

static double grid_best(tree_function f, double x, double low, double high) {
  double best = -INFINITY, unused[2];
  for (int k = 0; k <= 2000000; k++) {
    best = fmax(best, f((double[]){x, low + (high - low) * k / 2e6}, unused));
  }
  return best;
}

static void profiles_are_the_largest_values(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *m = marginal_of(&t, tree_curve(&t, 2, with_line, wavy, true), 1, (size_t[]){1}, INFINITY);
  const poe_expert *blind = marginal_of(&t, tree_curve(&t, 2, with_line, wavy, false), 1, (size_t[]){1}, INFINITY);
  for (size_t k = 0; k < 10; k++) {
    double x = poet_spread(k, 0, -2.0, 2.0), grad, h = 1e-5, up = x + h, down = x - h;
    double value = at(m, &x, &grad), grid = grid_best(wavy, x, -2.0, 2.0);
    assert_true(value >= grid - 1e-13 && value <= grid + 1e-10);
    check_close(tree_value(blind, &x), value, 1e-14, 1e-14);
    check_close(grad, (tree_value(m, &up) - tree_value(m, &down)) / (2.0 * h), 1e-8, 1e-8);
  }
  /* two peaks: the better one; beyond, an end of the interval */
  const poe_expert *peaks = marginal_of(&t, tree_curve(&t, 2, with_line, square, true), 1, (size_t[]){1}, INFINITY);
  double x = 4.0;
  check_close(tree_value(peaks, &x), grid_best(square, x, 0.0, 4.0), 1e-8, 0.0);
  const poe_expert *ends = marginal_of(&t, tree_curve(&t, 2, with_unit, powers, true), 1, (size_t[]){1}, INFINITY);
  double inside = 2.0, end = 3.0; /* x^1 (1 - x)^1; x^2 */
  check_close(tree_value(ends, &inside), 2.0 * log(0.5), 1e-14, 0.0);
  check_close(tree_value(ends, &end), 0.0, 1e-14, 0.0);
  tree_free(&t);
}

static void profiles_over_two_coordinates(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *joint = tree_curve(&t, 3, with_both, normal_gamma, true);
  const poe_expert *m = marginal_of(&t, joint, 2, (size_t[]){1, 2}, INFINITY);
  for (size_t k = 0; k < 6; k++) {
    /* the best m is 2x/3, of all l: r^2 + m^2/2 = x^2/3; then l^2 exp(-l (3 + x^2/6)) is largest at 2 / (3 + x^2/6) */
    double x = poet_spread(k, 0, -8.0, 8.0), rate = 3.0 + x * x / 6.0, l = 2.0 / rate, grad, unused[3];
    double best = normal_gamma((double[]){x, l, 2.0 * x / 3.0}, unused);
    check_close(at(m, &x, &grad), best, 1e-12, 1e-12);
    check_close(grad, -l * x / 3.0, 1e-7, 1e-7);
  }
  tree_free(&t);
}

/* 1: grows for ever. 2: flat. 3: a pole that doubles cannot come near enough to: (1 - h)^(-0.95). */
static double grows(const double *x, double *grad) {
  grad[0] = grad[1] = 0.0;
  return -x[0] * x[0] + 0.1 * x[1];
}

static double flat(const double *x, double *grad) {
  grad[0] = grad[1] = 0.0;
  return -x[0] * x[0];
}

static double pole(const double *x, double *grad) {
  grad[0] = grad[1] = 0.0;
  return -x[0] * x[0] - 0.95 * log1p(-x[1]);
}

static void what_is_not_found_is_no_number(void **state) {
  (void)state;
  static const poe_support pair[2] = {line, unit};
  tree t = {0};
  double x = 0.5;
  assert_true(isnan(tree_value(marginal_of(&t, tree_curve(&t, 2, with_line, grows, true), 1, (size_t[]){1}, 1.0), &x)));
  assert_true(isnan(tree_value(marginal_of(&t, tree_curve(&t, 2, with_line, flat, true), 1, (size_t[]){1}, 2.0), &x)));
  assert_true(
      isnan(tree_value(marginal_of(&t, tree_curve(&t, 2, with_line, grows, true), 1, (size_t[]){1}, INFINITY), &x)));
  assert_true(isnan(tree_value(marginal_of(&t, tree_curve(&t, 2, pair, pole, true), 1, (size_t[]){1}, 1.0), &x)));
  check_close(tree_value(marginal_of(&t, tree_curve(&t, 2, pair, flat, true), 1, (size_t[]){1}, 3.0), &x), -0.25, 1e-9,
              0.0);
  tree_free(&t);
}

/* What looking and halving are for: 15 nodes placed once, around the peak of the prior, are not enough. */
static void a_fixed_rule_would_fail(void **state) {
  (void)state;
  static const double node[3] = {-1.7320508075688773, 0.0, 1.7320508075688773}, weight[3] = {1 / 6.0, 2 / 3.0, 1 / 6.0};
  linear_sd = 1e-3;
  tree t = {0};
  const poe_expert *m = marginal_of(&t, tree_curve(&t, 2, with_line, linear, true), 1, (size_t[]){1}, 1.0);
  double x = 2.0, sum = 0.0;
  for (int k = 0; k < 3; k++) { /* Gauss-Hermite for the prior */
    sum += weight[k] * exp(log_normal(x, 2.0 * (0.3 + 1.2 * node[k]) - 1.0, linear_sd));
  }
  assert_true(!(fabs(log(sum) - linear_answer(x, 1.0)) < 1.0));
  check_close(tree_value(m, &x), linear_answer(x, 1.0), 1e-9, 0.0);
  linear_sd = 0.5;
  tree_free(&t);
}

/* A log-density that is rounded to about 1e-6, as a single precision network's is. */
static double rough(const double *x, double *grad) {
  return linear(x, grad) + 1e-6 * sin(1e9 * (x[1] + x[0]));
}

static void rounding_is_not_chased(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *m = marginal_of(&t, tree_curve(&t, 2, with_line, rough, true), 1, (size_t[]){1}, 1.0);
  tree_curve_points = 0;
  for (size_t k = 0; k < 20; k++) {
    double x = poet_spread(k, 0, -6.0, 6.0), value = tree_value(m, &x);
    check_close(value, linear_answer(x, 1.0), 2e-6, 0.0);
  }
  print_message("rounded to 1e-6: %zu evaluations a row\n", tree_curve_points / 20);
  assert_true(tree_curve_points / 20 < 8000);
  tree_free(&t);
}

static void a_row_is_the_same_in_any_batch(void **state) {
  (void)state;
  enum { ROWS = 37 };
  tree t = {0};
  double x[ROWS], together[ROWS], apart[ROWS], grad[ROWS], own[ROWS];
  for (int k = 0; k < 2; k++) {
    const poe_expert *joint = tree_curve(&t, 2, with_half, scale_mixture, true);
    const poe_expert *m = marginal_of(&t, joint, 1, (size_t[]){1}, k == 0 ? 0.7 : INFINITY);
    for (size_t i = 0; i < ROWS; i++) {
      x[i] = poet_spread(i, 3, -9.0, 9.0);
      apart[i] = at(m, &x[i], &own[i]);
    }
    assert_int_equal(poet_eval(m, ROWS, 1, x, together, grad), POE_OK);
    check_same_bits(together, apart, ROWS);
    check_same_bits(grad, own, ROWS);
  }
  tree_free(&t);
}

static void too_much_cannot_be_evaluated(void **state) {
  (void)state;
  static const poe_support many = {POE_DISCRETE, 0.0, 999.0, false, false};
  const poe_support beside[3] = {line, half, many}, three[4] = {line, line, line, line};
  tree t = {0};
  const poe_expert *m = marginal_of(&t, tree_curve(&t, 3, beside, switched, true), 2, (size_t[]){1, 2}, 1.0);
  assert_false((poe_expert_traits(m)->capabilities & POE_CAN_EVAL) != 0);
  m = marginal_of(&t, tree_curve(&t, 4, three, linear, true), 3, (size_t[]){1, 2, 3}, 1.0);
  assert_false((poe_expert_traits(m)->capabilities & POE_CAN_EVAL) != 0);
  m = marginal_of(&t, tree_curve(&t, 4, three, linear, true), 2, (size_t[]){1, 3}, 0.7);
  assert_true((poe_expert_traits(m)->capabilities & POE_CAN_EVAL) != 0);
  tree_free(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(values_are_the_closed_ones),      cmocka_unit_test(any_temperature_and_width),
      cmocka_unit_test(the_cold_limit_is_the_profile),   cmocka_unit_test(gradients_are_those_of_the_answers),
      cmocka_unit_test(profiles_are_the_largest_values), cmocka_unit_test(profiles_over_two_coordinates),
      cmocka_unit_test(what_is_not_found_is_no_number),  cmocka_unit_test(a_fixed_rule_would_fail),
      cmocka_unit_test(rounding_is_not_chased),          cmocka_unit_test(a_row_is_the_same_in_any_batch),
      cmocka_unit_test(too_much_cannot_be_evaluated),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
