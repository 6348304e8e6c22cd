/* Conformance entries of factor graphs from files. */
#include <string.h>

#include "experts/list.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

/* ---- uai ---- */

static const char loop[] = "MARKOV\n4\n2 3 2 2\n5\n2 0 1\n2 2 1\n2 3 0\n1 2\n0\n"
                           "6 1 2 3 0.5 0 4\n6 1 0.25 2 0 3 1\n4 0.1 5 7 1\n2 0.5 3\n1 2.5\n";
static const double loop_a[2][3] = {{1, 2, 3}, {0.5, 0, 4}}, loop_b[2][3] = {{1, 0.25, 2}, {0, 3, 1}},
                    loop_c[2][2] = {{0.1, 5}, {7, 1}}, loop_d[2] = {0.5, 3};

static poe_status uai_expert(const char *text, size_t values, size_t dim, poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "uai");
  poet_args_discrete_variable(&a, "x", dim, values);
  poet_args_text(&a, "file", POE_ARG_FILE, poet_temp_file("graph.uai", text, strlen(text)));
  return poe_expert_create(&poei_uai_ops, &a.args, expert, error);
}

static poe_status uai_loop(poe_expert **expert, poe_error *error) {
  return uai_expert(loop, 3, 4, expert, error);
}

static double uai_loop_value(const double *x) {
  int i = (int)x[0], j = (int)x[1], k = (int)x[2], l = (int)x[3];
  return log(2.5 * loop_a[i][j] * loop_b[k][j] * loop_c[l][i] * loop_d[k]);
}

static void uai_loop_points(size_t n, size_t d, double *x) {
  static const double cardinality[4] = {2, 3, 2, 2};
  for (size_t i = 0; i < n * d; i++) {
    x[i] = floor(poet_spread(i / d, i % d, 0.0, cardinality[i % d]));
  }
}

/* A network with heads: rain -> sprinkler, (rain, sprinkler) -> grass. */
static const char wet[] = "BAYES\n3\n2 2 2\n3\n2 0 1\n3 0 1 2\n1 0\n"
                          "4 0.6 0.4 0.99 0.01\n8 1 0 0.1 0.9 0.2 0.8 0.01 0.99\n2 0.8 0.2\n";

static poe_status uai_wet(poe_expert **expert, poe_error *error) {
  return uai_expert(wet, 2, 3, expert, error);
}

static double uai_wet_value(const double *x) {
  static const double sprinkler[2] = {0.4, 0.01}, grass[2][2] = {{0.0, 0.9}, {0.8, 0.99}};
  int rain = (int)x[0], on = (int)x[1];
  double p = rain ? 0.2 : 0.8;
  p *= on ? sprinkler[rain] : 1.0 - sprinkler[rain];
  return log(p * (x[2] == 1.0 ? grass[rain][on] : 1.0 - grass[rain][on]));
}

static void uai_wet_points(size_t n, size_t d, double *x) {
  for (size_t i = 0; i < n * d; i++) {
    x[i] = floor(poet_spread(i / d, i % d, 0.0, 2.0));
  }
}

static const poet_case uai_cases[] = {
    {.name = "uai, a loop of unequal variables",
     .build = uai_loop,
     .points = uai_loop_points,
     .log_density = uai_loop_value,
     .needs_no_interior = true},
    {.name = "uai, a Bayesian network",
     .build = uai_wet,
     .points = uai_wet_points,
     .log_density = uai_wet_value,
     .needs_no_interior = true},
};
POET_ENTRY(uai, uai_cases);
