/* Conformance entry of dirichlet. */
#include <math.h>

#include "experts/list.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

static const double three[3] = {2.0, 0.7, 4.5}, pair[2] = {0.5, 1.0},
                    many[12] = {0.3, 1.0, 2.0, 5.0, 1.5, 1.5, 1.5, 1.5, 9.0, 4.0, 1.0, 0.8};

static poe_status build(size_t n, size_t k, const double *alpha, poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "dirichlet");
  poet_args_simplex_variable(&a, "w", n, k);
  if (n > 1) {
    poet_args_matrix(&a, "alpha", n, k, alpha);
  } else {
    poet_args_vector(&a, "alpha", k, alpha);
  }
  return poe_expert_create(&poei_dirichlet_ops, &a.args, expert, error);
}

/* By lgamma, without the library's centred form. */
static double value(size_t n, size_t k, const double *alpha, const double *x) {
  double sum = 0.0;
  for (size_t s = 0; s < n; s++) {
    double total = 0.0;
    for (size_t i = s * k; i < (s + 1) * k; i++) {
      total += alpha[i];
      sum += (alpha[i] - 1.0) * log(x[i]) - lgamma(alpha[i]);
    }
    sum += lgamma(total);
  }
  return sum;
}

static poe_status build_three(poe_expert **expert, poe_error *error) {
  return build(1, 3, three, expert, error);
}

static double value_three(const double *x) {
  return value(1, 3, three, x);
}

static poe_status build_pair(poe_expert **expert, poe_error *error) {
  return build(1, 2, pair, expert, error);
}

static double value_pair(const double *x) {
  return value(1, 2, pair, x);
}

static poe_status build_many(poe_expert **expert, poe_error *error) {
  return build(3, 4, many, expert, error);
}

static double value_many(const double *x) {
  return value(3, 4, many, x);
}

static poe_status build_same(poe_expert **expert, poe_error *error) {
  static const double one = 1.0;
  poet_args a;
  poet_args_start(&a, "dirichlet");
  poet_args_simplex_variable(&a, "w", 2, 5);
  poet_args_scalar(&a, "alpha", &one);
  return poe_expert_create(&poei_dirichlet_ops, &a.args, expert, error);
}

static double value_same(const double *x) {
  (void)x;
  return 2.0 * log(24.0);
}

static const poet_case dirichlet_cases[] = {
    {.name = "one simplex", .build = build_three, .log_density = value_three, .knows_log_z = true},
    {.name = "two numbers", .build = build_pair, .log_density = value_pair, .knows_log_z = true},
    {.name = "three simplices", .build = build_many, .log_density = value_many, .knows_log_z = true},
    {.name = "uniform on two simplices", .build = build_same, .log_density = value_same, .knows_log_z = true},
};
POET_ENTRY(dirichlet, dirichlet_cases);
