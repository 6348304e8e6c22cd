/* Conformance entries of student_t, laplace, uniform and formula. */
#include <stdint.h>
#include <string.h>

#include "experts/list.h"
#include "net/formula.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

/* ---- student_t: log Gamma of halves by the recurrence, independent of the library's expansion ---- */

static const double t_df = 3.0, t_loc = -0.5, t_scale = 1.25;

static poe_status t_one(poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "student_t");
  poet_args_real_variable(&a, "x", 1);
  poet_args_scalar(&a, "df", &t_df);
  poet_args_scalar(&a, "loc", &t_loc);
  poet_args_scalar(&a, "scale", &t_scale);
  return poe_expert_create(&poei_student_t_ops, &a.args, expert, error);
}

/* df = 3: p(z) = 6 sqrt(3) / (pi (3 + z^2)^2). */
static double t_one_value(const double *x) {
  double z = (x[0] - t_loc) / t_scale;
  return log(6.0 * sqrt(3.0)) - log(acos(-1.0)) - 2.0 * log(3.0 + z * z) - log(t_scale);
}

enum { T_DIM = 9 };
static const double t_dfs[T_DIM] = {1.0, 3.0, 5.0, 7.0, 25.0, 99.0, 101.0, 1001.0, 99999.0};

static poe_status t_many(poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "student_t");
  poet_args_real_variable(&a, "x", T_DIM);
  poet_args_vector(&a, "df", T_DIM, t_dfs);
  return poe_expert_create(&poei_student_t_ops, &a.args, expert, error);
}

/* Odd df: Gamma((v+1)/2) / Gamma(v/2) = [product of (k+1/2)^-1 k ... ] / sqrt(pi), multiplied out from v = 1. */
static double t_many_value(const double *x) {
  double sum = 0.0;
  for (size_t j = 0; j < T_DIM; j++) {
    double v = t_dfs[j], ratio = -0.5 * log(acos(-1.0)), lost = 0.0;
    for (double u = 1.0; u < v; u += 2.0) {
      double term = log1p(0.5 / (u / 2.0)) - lost, next = ratio + term; /* Kahan's compensation */
      lost = (next - ratio) - term;
      ratio = next;
    }
    sum += ratio - 0.5 * log(v * acos(-1.0)) - (v + 1.0) / 2.0 * log1p(x[j] * x[j] / v);
  }
  return sum;
}

static poe_status t_light(poe_expert **expert, poe_error *error) {
  static const double df[2] = {8.0, 40.0}, loc[2] = {1.0, 0.0};
  poet_args a;
  poet_args_start(&a, "student_t");
  poet_args_real_variable(&a, "x", 2);
  poet_args_vector(&a, "df", 2, df);
  poet_args_vector(&a, "loc", 2, loc);
  return poe_expert_create(&poei_student_t_ops, &a.args, expert, error);
}

static const poet_case student_t_cases[] = {
    {.name = "student_t of 3 degrees",
     .build = t_one,
     .points = poet_points_normal,
     .log_density = t_one_value,
     .sample = POET_SAMPLE_BOX,
     .box = {-15.0, 14.0}},
    {.name = "student_t of many degrees", .build = t_many, .points = poet_points_normal, .log_density = t_many_value},
    {.name = "student_t in the plane",
     .build = t_light,
     .points = poet_points_normal,
     .sample = POET_SAMPLE_BOX,
     .box = {-6.0, 8.0, -5.0, 5.0}},
};
POET_ENTRY(student_t, student_t_cases);

/* ---- laplace ---- */

static const double laplace_loc[2] = {0.5, -1.0}, laplace_scale[2] = {0.7, 2.0};

static poe_status laplace_build(size_t d, poe_expert **expert, poe_error *error) {
  double loc[11], scale[11];
  for (size_t j = 0; j < d; j++) {
    loc[j] = laplace_loc[j % 2];
    scale[j] = laplace_scale[j % 2];
  }
  poet_args a;
  poet_args_start(&a, "laplace");
  poet_args_real_variable(&a, "x", d);
  poet_args_vector(&a, "loc", d, loc);
  poet_args_vector(&a, "scale", d, scale);
  return poe_expert_create(&poei_laplace_ops, &a.args, expert, error);
}

static poe_status laplace_one(poe_expert **expert, poe_error *error) {
  return laplace_build(1, expert, error);
}

static poe_status laplace_many(poe_expert **expert, poe_error *error) {
  return laplace_build(11, expert, error);
}

static double laplace_value(size_t d, const double *x) {
  double sum = 0.0;
  for (size_t j = 0; j < d; j++) {
    sum -= fabs(x[j] - laplace_loc[j % 2]) / laplace_scale[j % 2] + log(2.0 * laplace_scale[j % 2]);
  }
  return sum;
}

static double laplace_one_value(const double *x) {
  return laplace_value(1, x);
}

static double laplace_many_value(const double *x) {
  return laplace_value(11, x);
}

/* A little away from the kink on either side. */
static void laplace_points(size_t n, size_t d, double *x) {
  for (size_t i = 0; i < n; i++) {
    for (size_t j = 0; j < d; j++) {
      double distance = poet_spread(i, j, 0.05, 4.0);
      x[i * d + j] = laplace_loc[j % 2] + ((i + j) % 2 == 0 ? distance : -distance);
    }
  }
}

static const poet_case laplace_cases[] = {
    {.name = "laplace on a line",
     .build = laplace_one,
     .points = laplace_points,
     .log_density = laplace_one_value,
     .sample = POET_SAMPLE_BOX,
     .box = {-5.5, 6.5}},
    {.name = "laplace in 11 dimensions",
     .build = laplace_many,
     .points = laplace_points,
     .log_density = laplace_many_value,
     .sample = POET_SAMPLE_STEIN},
};
POET_ENTRY(laplace, laplace_cases);

/* ---- uniform ---- */

static poe_status uniform_plane(poe_expert **expert, poe_error *error) {
  static const double low[2] = {-1.0, 2.0}, high[2] = {1.5, 2.5};
  poet_args a;
  poet_args_start(&a, "uniform");
  poet_args_real_variable(&a, "x", 2);
  poet_args_vector(&a, "low", 2, low);
  poet_args_vector(&a, "high", 2, high);
  return poe_expert_create(&poei_uniform_ops, &a.args, expert, error);
}

static void uniform_plane_points(size_t n, size_t d, double *x) {
  for (size_t i = 0; i < n; i++) {
    x[i * d] = poet_spread(i, 0, -0.9, 1.4);
    x[i * d + 1] = poet_spread(i, 1, 2.05, 2.45);
  }
}

static double uniform_plane_value(const double *x) {
  (void)x;
  return -log(2.5 * 0.5);
}

static poe_status uniform_declared(poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "uniform");
  poet_args_interval_variable(&a, "x", 1, 0.0, 4.0);
  a.support[0][0].low_open = true;
  return poe_expert_create(&poei_uniform_ops, &a.args, expert, error);
}

static void uniform_declared_points(size_t n, size_t d, double *x) {
  for (size_t i = 0; i < n * d; i++) {
    x[i] = poet_spread(i, 0, 0.1, 3.9);
  }
}

static double uniform_declared_value(const double *x) {
  (void)x;
  return -log(4.0);
}

static poe_status uniform_dice(poe_expert **expert, poe_error *error) {
  static const double low[3] = {1.0, 1.0, 0.0}, high[3] = {6.0, 4.0, 1.0};
  poet_args a;
  poet_args_start(&a, "uniform");
  poet_args_discrete_variable(&a, "x", 3, 7);
  poet_args_vector(&a, "low", 3, low);
  poet_args_vector(&a, "high", 3, high);
  return poe_expert_create(&poei_uniform_ops, &a.args, expert, error);
}

static double uniform_dice_value(const double *x) {
  (void)x;
  return -log(48.0);
}

static poe_status uniform_mixed(poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "uniform");
  poet_args_interval_variable(&a, "x", 1, -2.0, 2.0);
  poet_args_discrete_variable(&a, "c", 1, 5);
  return poe_expert_create(&poei_uniform_ops, &a.args, expert, error);
}

static double uniform_mixed_value(const double *x) {
  (void)x;
  return -log(20.0);
}

static void uniform_mixed_points(size_t n, size_t d, double *x) {
  for (size_t i = 0; i < n; i++) {
    x[i * d] = poet_spread(i, 0, -1.9, 1.9);
    x[i * d + 1] = (double)(i % 5);
  }
}

static const poet_case uniform_cases[] = {
    {.name = "uniform in a rectangle",
     .build = uniform_plane,
     .points = uniform_plane_points,
     .log_density = uniform_plane_value,
     .sample = POET_SAMPLE_BOX,
     .box = {-1.0, 1.5, 2.0, 2.5}},
    {.name = "uniform over the declared interval",
     .build = uniform_declared,
     .points = uniform_declared_points,
     .log_density = uniform_declared_value,
     .sample = POET_SAMPLE_BOX,
     .box = {0.0, 4.0}},
    {.name = "uniform over integers",
     .build = uniform_dice,
     .log_density = uniform_dice_value,
     .sample = POET_SAMPLE_STATES},
    {.name = "uniform over a real and an integer",
     .build = uniform_mixed,
     .points = uniform_mixed_points,
     .log_density = uniform_mixed_value},
};
POET_ENTRY(uniform, uniform_cases);

/* ---- formula ---- */

static poei_formula_value op1(poei_formula_builder *b, poei_formula_op op, poei_formula_value x) {
  return poei_formula_apply(b, op, 1, &x);
}

static poei_formula_value op2(poei_formula_builder *b, poei_formula_op op, poei_formula_value x, poei_formula_value y) {
  poei_formula_value both[2] = {x, y};
  return poei_formula_apply(b, op, 2, both);
}

/* (x^2 + (y - x^2)^2) / 2 + exp(-x) */
static poei_formula_value banana(poei_formula_builder *b) {
  poei_formula_value x = poei_formula_coordinate(b, 0), y = poei_formula_coordinate(b, 1);
  poei_formula_value two = poei_formula_constant(b, 2.0), square = op2(b, POEI_FORMULA_POW, x, two);
  poei_formula_value bend = op2(b, POEI_FORMULA_POW, op2(b, POEI_FORMULA_SUB, y, square), two);
  poei_formula_value half = op2(b, POEI_FORMULA_DIV, op2(b, POEI_FORMULA_ADD, square, bend), two);
  return op2(b, POEI_FORMULA_ADD, half, op1(b, POEI_FORMULA_EXP, op1(b, POEI_FORMULA_NEG, x)));
}

/* c log(x) - 2 x, over x and a discrete c */
static poei_formula_value gamma_like(poei_formula_builder *b) {
  poei_formula_value x = poei_formula_coordinate(b, 0), c = poei_formula_coordinate(b, 1);
  poei_formula_value power = op2(b, POEI_FORMULA_MUL, c, op1(b, POEI_FORMULA_LOG, x));
  return op2(b, POEI_FORMULA_SUB, power, op2(b, POEI_FORMULA_MUL, poei_formula_constant(b, 2.0), x));
}

/* (x - 2 y + 30)^2 / 2 + 3 x - x y: a Gaussian factor, improper on its own */
static poei_formula_value saddle(poei_formula_builder *b) {
  poei_formula_value x = poei_formula_coordinate(b, 0), y = poei_formula_coordinate(b, 1);
  poei_formula_value two = poei_formula_constant(b, 2.0), shift = poei_formula_constant(b, 30.0);
  poei_formula_value gap =
      op2(b, POEI_FORMULA_ADD, op2(b, POEI_FORMULA_SUB, x, op2(b, POEI_FORMULA_MUL, two, y)), shift);
  poei_formula_value half = op2(b, POEI_FORMULA_DIV, op2(b, POEI_FORMULA_POW, gap, two), two);
  poei_formula_value tilt = op2(b, POEI_FORMULA_MUL, poei_formula_constant(b, 3.0), x);
  return op2(b, POEI_FORMULA_SUB, op2(b, POEI_FORMULA_ADD, half, tilt), op2(b, POEI_FORMULA_MUL, x, y));
}

/* log(c) - exp(c d): a table; impossible where c is 0 */
static poei_formula_value states(poei_formula_builder *b) {
  poei_formula_value c = poei_formula_coordinate(b, 0), d = poei_formula_coordinate(b, 1);
  poei_formula_value power = op1(b, POEI_FORMULA_EXP, op2(b, POEI_FORMULA_MUL, c, d));
  return op2(b, POEI_FORMULA_SUB, op1(b, POEI_FORMULA_LOG, c), power);
}

static poe_status formula_build(const char *name, poei_formula_value (*write)(poei_formula_builder *b), size_t discrete,
                                poe_expert **expert, poe_error *error) {
  poei_formula_builder *builder = poei_formula_builder_create(2);
  poei_formula *graph = NULL;
  if (builder == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  poe_status status = poei_formula_finish(builder, write(builder), &graph, error);
  poei_formula_builder_destroy(builder);
  if (status == POE_OK) {
    poet_args a;
    poet_args_start(&a, "formula");
    if (discrete < 2) {
      poet_args_real_variable(&a, "x", 2 - discrete);
    }
    if (discrete > 0) {
      poet_args_discrete_variable(&a, "c", 1, 4);
    }
    if (discrete > 1) {
      poet_args_discrete_variable(&a, "d", 1, 3);
    }
    poet_args_formula(&a, name, graph);
    status = poe_expert_create(&poei_formula_ops, &a.args, expert, error);
  }
  poei_formula_release(graph);
  return status;
}

static poe_status formula_banana(poe_expert **expert, poe_error *error) {
  return formula_build("energy", banana, 0, expert, error);
}

static double formula_banana_value(const double *x) {
  double bend = x[1] - x[0] * x[0];
  return -((x[0] * x[0] + bend * bend) / 2.0 + exp(-x[0]));
}

static poe_status formula_mixed(poe_expert **expert, poe_error *error) {
  return formula_build("log_density", gamma_like, 1, expert, error);
}

static double formula_mixed_value(const double *x) {
  return x[1] * log(x[0]) - 2.0 * x[0];
}

static void formula_mixed_points(size_t n, size_t d, double *x) {
  for (size_t i = 0; i < n; i++) {
    x[i * d] = poet_spread(i, 0, 0.2, 4.0);
    x[i * d + 1] = (double)(1 + i % 3);
  }
}

static poe_status formula_saddle(poe_expert **expert, poe_error *error) {
  return formula_build("energy", saddle, 0, expert, error);
}

static double formula_saddle_value(const double *x) {
  double gap = x[0] - 2.0 * x[1] + 30.0;
  return -gap * gap / 2.0 - 3.0 * x[0] + x[0] * x[1];
}

static poe_status formula_states(poe_expert **expert, poe_error *error) {
  return formula_build("log_density", states, 2, expert, error);
}

static double formula_states_value(const double *x) {
  return log(x[0]) - exp(x[0] * x[1]);
}

static void formula_states_points(size_t n, size_t d, double *x) {
  for (size_t i = 0; i < n; i++) {
    x[i * d] = (double)(i % 4);
    x[i * d + 1] = (double)(i / 4 % 3);
  }
}

static const poet_case formula_cases[] = {
    {.name = "formula of an energy",
     .build = formula_banana,
     .points = poet_points_normal,
     .log_density = formula_banana_value},
    {.name = "formula of a log density with a discrete variable",
     .build = formula_mixed,
     .points = formula_mixed_points,
     .log_density = formula_mixed_value},
    {.name = "formula that is a Gaussian factor",
     .build = formula_saddle,
     .points = poet_points_normal,
     .log_density = formula_saddle_value},
    {.name = "formula over few states",
     .build = formula_states,
     .points = formula_states_points,
     .log_density = formula_states_value},
};
POET_ENTRY(formula, formula_cases);
