/* Points, evaluation, draws and constructor arguments for the conformance suite. */
#include <stdlib.h>
#include <string.h>

#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

double *poet_doubles(size_t n) {
  double *x = calloc(n > 0 ? n : 1, sizeof *x);
  if (x == NULL) {
    fail_msg("out of memory");
  }
  return x;
}

static poe_rng fixture_address(size_t row) {
  poe_rng at = poe_rng_seed(20241);
  at.chain = (uint32_t)row;
  return at;
}

double poet_spread(size_t row, size_t column, double low, double high) {
  poe_rng at = fixture_address(row);
  at.site = (uint32_t)column + 1;
  double u = 0.0;
  poe_rng_uniforms(at, 1, &u);
  return low + (high - low) * u;
}

void poet_points_normal(size_t n, size_t d, double *x) {
  for (size_t i = 0; i < n; i++) {
    poe_rng_normals(fixture_address(i), d, x + i * d);
  }
}

double *poet_points(const poet_case *c, const poe_expert *expert, size_t n) {
  size_t d = poe_expert_traits(expert)->dim;
  double *x = poet_doubles(n * d);
  if (c->points != NULL) {
    c->points(n, d, x);
  } else if (poet_draw(expert, 7, n, d, x) != POE_OK) {
    fail_msg("%s: the case has neither points nor draws", c->name);
  }
  return x;
}

poe_status poet_eval(const poe_expert *expert, size_t n, size_t ld, const double *x, double *logp, double *grad) {
  size_t d = poe_expert_traits(expert)->dim;
  unsigned want = grad != NULL ? POE_WANT_GRAD : POE_WANT_LOGP;
  poe_scratch *scratch = poe_scratch_create(poe_expert_scratch(expert, want, n));
  if (scratch == NULL) {
    fail_msg("out of memory");
  }
  double one = 1.0;
  memset(logp, 0, n * sizeof *logp);
  if (grad != NULL) {
    memset(grad, 0, n * d * sizeof *grad);
  }
  poe_error error = {0};
  poe_status status = poe_expert_eval_add(expert, (poe_rows){n, d, ld, x}, (poe_weights){&one, 0},
                                          (poe_accum){logp, grad, d}, scratch, &error);
  poe_scratch_destroy(scratch);
  return status;
}

poe_status poet_draw(const poe_expert *expert, uint64_t seed, size_t n, size_t ld, double *x) {
  size_t d = poe_expert_traits(expert)->dim;
  poe_scratch *scratch = poe_scratch_create(poe_expert_scratch(expert, POE_WANT_SAMPLE, n));
  poe_rng *at = calloc(n > 0 ? n : 1, sizeof *at);
  if (scratch == NULL || at == NULL) {
    fail_msg("out of memory");
  }
  for (size_t i = 0; i < n; i++) {
    at[i] = poe_rng_seed(seed);
    at[i].chain = (uint32_t)i;
  }
  poe_error error = {0};
  poe_status status = poe_expert_sample(expert, (poe_rows_out){n, d, ld, x}, at, scratch, &error);
  free(at);
  poe_scratch_destroy(scratch);
  return status;
}

/* ---- arguments ---- */

void poet_args_start(poet_args *a, const char *kind) {
  memset(a, 0, sizeof *a);
  a->args.kind = kind;
  a->args.subjects = a->subjects;
  a->args.args = a->arg;
}

static void args_variable(poet_args *a, const char *name, size_t dim, poe_support support) {
  size_t i = a->args.n_subjects++;
  assert_true(i < POET_MAX_SUBJECTS && dim <= POET_MAX_DIM);
  a->shapes[i] = dim;
  for (size_t j = 0; j < dim; j++) {
    a->support[i][j] = support;
  }
  a->subjects[i] = (poe_subject){.name = name, .ndim = 1, .shape = &a->shapes[i], .dim = dim, .support = a->support[i]};
}

void poet_args_real_variable(poet_args *a, const char *name, size_t dim) {
  args_variable(a, name, dim, (poe_support){POE_CONTINUOUS, -INFINITY, INFINITY, true, true});
}

void poet_args_interval_variable(poet_args *a, const char *name, size_t dim, double low, double high) {
  args_variable(a, name, dim, (poe_support){POE_CONTINUOUS, low, high, isinf(low) != 0, isinf(high) != 0});
}

void poet_args_discrete_variable(poet_args *a, const char *name, size_t dim, size_t cardinality) {
  args_variable(a, name, dim, (poe_support){POE_DISCRETE, 0.0, (double)cardinality - 1.0, false, false});
}

void poet_args_simplex_variable(poet_args *a, const char *name, size_t n, size_t k) {
  size_t i = a->args.n_subjects;
  args_variable(a, name, n * k, (poe_support){.kind = POE_SIMPLEX_NEXT, .low = 0.0, .high = 1.0});
  for (size_t s = 0; s < n; s++) {
    a->support[i][s * k].kind = POE_SIMPLEX;
  }
  a->axes[i][0] = n;
  a->axes[i][1] = k;
  a->subjects[i].ndim = 2;
  a->subjects[i].shape = a->axes[i];
}

void poet_args_discrete_grid(poet_args *a, const char *name, size_t ndim, const size_t *shape, size_t cardinality) {
  size_t i = a->args.n_subjects, dim = 1;
  for (size_t axis = 0; axis < ndim; axis++) {
    a->axes[i][axis] = shape[axis];
    dim *= shape[axis];
  }
  poet_args_discrete_variable(a, name, dim, cardinality);
  a->subjects[i].ndim = ndim;
  a->subjects[i].shape = a->axes[i];
}

static poe_arg *args_add(poet_args *a, const char *name, poe_arg_type type) {
  size_t i = a->args.n_args++;
  assert_true(i < POET_MAX_ARGS);
  a->arg[i] = (poe_arg){.name = name, .type = type, .line = 1, .column = 10 * (int)(i + 1), .span = 3};
  return &a->arg[i];
}

void poet_args_scalar(poet_args *a, const char *name, const double *value) {
  args_add(a, name, POE_ARG_REAL)->real = value;
}

void poet_args_vector(poet_args *a, const char *name, size_t n, const double *values) {
  poe_arg *arg = args_add(a, name, POE_ARG_REAL);
  arg->ndim = 1;
  arg->shape[0] = n;
  arg->real = values;
}

void poet_args_matrix(poet_args *a, const char *name, size_t rows, size_t columns, const double *values) {
  poe_arg *arg = args_add(a, name, POE_ARG_REAL);
  arg->ndim = 2;
  arg->shape[0] = rows;
  arg->shape[1] = columns;
  arg->real = values;
}

void poet_args_cube(poet_args *a, const char *name, size_t k, size_t rows, size_t columns, const double *values) {
  poe_arg *arg = args_add(a, name, POE_ARG_REAL);
  arg->ndim = 3;
  arg->shape[0] = k;
  arg->shape[1] = rows;
  arg->shape[2] = columns;
  arg->real = values;
}

void poet_args_text(poet_args *a, const char *name, poe_arg_type type, const char *text) {
  args_add(a, name, type)->text = text;
}

void poet_args_formula(poet_args *a, const char *name, const void *formula) {
  args_add(a, name, POE_ARG_FORMULA)->formula = formula;
}
