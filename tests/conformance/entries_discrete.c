/* Conformance entries of bernoulli, categorical and table. */
#include <stdint.h>
#include <string.h>

#include "experts/list.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

/* ---- bernoulli ---- */

static const double flip_p[4] = {0.1, 0.5, 0.999, 0.3}, flip_logit[3] = {-2.0, 0.0, 700.0};

static poe_status bernoulli_p(poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "bernoulli");
  poet_args_discrete_variable(&a, "x", 3, 2);
  poet_args_discrete_variable(&a, "y", 1, 2);
  poet_args_vector(&a, "p", 4, flip_p);
  return poe_expert_create(&poei_bernoulli_ops, &a.args, expert, error);
}

static double bernoulli_p_value(const double *x) {
  double p = 1.0;
  for (size_t j = 0; j < 4; j++) {
    p *= x[j] == 1.0 ? flip_p[j] : 1.0 - flip_p[j];
  }
  return log(p);
}

static poe_status bernoulli_logit(poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "bernoulli");
  poet_args_discrete_variable(&a, "x", 3, 2);
  poet_args_vector(&a, "logit", 3, flip_logit);
  return poe_expert_create(&poei_bernoulli_ops, &a.args, expert, error);
}

static double bernoulli_logit_value(const double *x) {
  double odds = exp(-2.0), first = x[0] == 1.0 ? odds / (1.0 + odds) : 1.0 / (1.0 + odds);
  return log(first) + log(0.5) + (x[2] == 1.0 ? 0.0 : -700.0);
}

static poe_status bernoulli_sure(poe_expert **expert, poe_error *error) {
  static const double p[3] = {0.0, 1.0, 0.25};
  poet_args a;
  poet_args_start(&a, "bernoulli");
  poet_args_discrete_variable(&a, "x", 3, 2);
  poet_args_vector(&a, "p", 3, p);
  return poe_expert_create(&poei_bernoulli_ops, &a.args, expert, error);
}

static double bernoulli_sure_value(const double *x) {
  if (x[0] == 1.0 || x[1] == 0.0) {
    return -INFINITY;
  }
  return log(x[2] == 1.0 ? 0.25 : 0.75);
}

static const poet_case bernoulli_cases[] = {
    {.name = "bernoulli of p",
     .build = bernoulli_p,
     .log_density = bernoulli_p_value,
     .sample = POET_SAMPLE_STATES,
     .needs_no_interior = true},
    {.name = "bernoulli of logits",
     .build = bernoulli_logit,
     .log_density = bernoulli_logit_value,
     .sample = POET_SAMPLE_STATES,
     .needs_no_interior = true},
    {.name = "bernoulli of certainties",
     .build = bernoulli_sure,
     .log_density = bernoulli_sure_value,
     .sample = POET_SAMPLE_STATES,
     .needs_no_interior = true},
};
POET_ENTRY(bernoulli, bernoulli_cases);

/* ---- categorical ---- */

static const double loaded_p[4] = {1.0, 0.0, 2.5, 1.5}; /* sum 5 */
static const double loaded_logits[6] = {0.0, 1.0, 2.0, 3.0, -1.0, -INFINITY};

static poe_status categorical_shared(poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "categorical");
  poet_args_discrete_variable(&a, "c", 3, 4);
  poet_args_vector(&a, "p", 4, loaded_p);
  return poe_expert_create(&poei_categorical_ops, &a.args, expert, error);
}

static double categorical_shared_value(const double *x) {
  return log(loaded_p[(int)x[0]] / 5.0) + log(loaded_p[(int)x[1]] / 5.0) + log(loaded_p[(int)x[2]] / 5.0);
}

static poe_status categorical_each(poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "categorical");
  poet_args_discrete_variable(&a, "c", 2, 3);
  poet_args_matrix(&a, "logits", 2, 3, loaded_logits);
  return poe_expert_create(&poei_categorical_ops, &a.args, expert, error);
}

static double categorical_each_value(const double *x) {
  double value = 0.0;
  for (size_t j = 0; j < 2; j++) {
    const double *row = loaded_logits + 3 * j;
    value += row[(int)x[j]] - log(exp(row[0]) + exp(row[1]) + exp(row[2]));
  }
  return value;
}

static const poet_case categorical_cases[] = {
    {.name = "categorical of shared p",
     .build = categorical_shared,
     .log_density = categorical_shared_value,
     .sample = POET_SAMPLE_STATES,
     .needs_no_interior = true},
    {.name = "categorical of logits for each",
     .build = categorical_each,
     .log_density = categorical_each_value,
     .sample = POET_SAMPLE_STATES,
     .needs_no_interior = true},
};
POET_ENTRY(categorical, categorical_cases);

/* ---- table ---- */

enum { U = 3, V = 2, W = 4 };

static void table_numbers(double *p) {
  for (size_t s = 0; s < U * V * W; s++) {
    p[s] = s % 7 == 3 ? 0.0 : 0.5 + (double)(s * s % 11);
  }
}

static poe_status table_p(poe_expert **expert, poe_error *error) {
  double p[U * V * W];
  table_numbers(p);
  poet_args a;
  poet_args_start(&a, "table");
  poet_args_discrete_variable(&a, "u", 1, U);
  poet_args_discrete_variable(&a, "v", 1, V);
  poet_args_discrete_variable(&a, "w", 1, W);
  poet_args_cube(&a, "p", U, V, W, p);
  return poe_expert_create(&poei_table_ops, &a.args, expert, error);
}

static double table_p_value(const double *x) {
  double p[U * V * W];
  table_numbers(p);
  return log(p[((size_t)x[0] * V + (size_t)x[1]) * W + (size_t)x[2]]);
}

/* Points of the support: where p > 0. */
static void table_p_points(size_t n, size_t d, double *x) {
  double p[U * V * W];
  table_numbers(p);
  for (size_t i = 0; i < n; i++) {
    size_t s = i % (U * V * W);
    s = p[s] == 0.0 ? s + 1 : s;
    x[i * d] = (double)(s / (V * W));
    x[i * d + 1] = (double)(s / W % V);
    x[i * d + 2] = (double)(s % W);
  }
}

static const double table_logs[4] = {698.0, 701.0, -INFINITY, 700.0};

static poe_status table_log(poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "table");
  poet_args_discrete_variable(&a, "c", 1, 4);
  poet_args_vector(&a, "log", 4, table_logs);
  return poe_expert_create(&poei_table_ops, &a.args, expert, error);
}

static double table_log_value(const double *x) {
  return table_logs[(int)x[0]];
}

static const poet_case table_cases[] = {
    {.name = "table of p over three variables",
     .build = table_p,
     .points = table_p_points,
     .log_density = table_p_value,
     .sample = POET_SAMPLE_STATES,
     .needs_no_interior = true},
    {.name = "table of logs",
     .build = table_log,
     .log_density = table_log_value,
     .sample = POET_SAMPLE_STATES,
     .needs_no_interior = true,
     .expected_log_z = 701.34901221674816, /* 701 + log(1 + e^-1 + e^-3) */
     .knows_log_z = true},
};
POET_ENTRY(table, table_cases);
