/* Builders of test experts (see build.h). */
#include "tests/compose/build.h"

#include <stdlib.h>
#include <string.h>

#include "experts/list.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

size_t tree_map_passes;

/* What a constructor made, through a pointer: arguments are evaluated in any order. */
static const poe_expert *keep(tree *t, poe_status status, poe_expert *const *made) {
  if (status != POE_OK) {
    t->status = status;
    return NULL;
  }
  assert_true(t->n < TREE_MAX);
  t->made[t->n++] = *made;
  return *made;
}

void tree_free(tree *t) {
  for (size_t i = 0; i < t->n; i++) {
    poe_expert_release(t->made[i]);
  }
  for (size_t i = 0; i < t->n_maps; i++) {
    poe_map_release(t->map[i]);
  }
  t->n = t->n_maps = 0;
}

poe_status tree_finish(tree *t, const poe_expert *root, poe_expert **out, poe_error *error) {
  poe_status status = t->status;
  if (status == POE_OK) {
    *out = poe_expert_retain(root);
  } else {
    *error = t->error;
  }
  tree_free(t);
  return status;
}

void tree_check(const tree *t) {
  check_ok(t->status, t->error);
}

/* ---- families ---- */

static const poe_expert *create(tree *t, const poe_expert_ops *ops, const poet_args *a) {
  poe_expert *made = NULL;
  return t->status != POE_OK ? NULL : keep(t, poe_expert_create(ops, &a->args, &made, &t->error), &made);
}

const poe_expert *tree_normal(tree *t, double mean, double sd) {
  double cov = sd * sd;
  return tree_gaussian(t, 1, &mean, &cov);
}

const poe_expert *tree_gaussian(tree *t, size_t d, const double *mean, const double *cov) {
  poet_args a;
  poet_args_start(&a, "gaussian");
  poet_args_real_variable(&a, "x", d);
  poet_args_vector(&a, "mean", d, mean);
  poet_args_matrix(&a, "cov", d, d, cov);
  return create(t, &poei_gaussian_ops, &a);
}

const poe_expert *tree_gmm(tree *t, size_t k, size_t d, const double *weights, const double *means, const double *sds) {
  poet_args a;
  poet_args_start(&a, "gmm");
  poet_args_real_variable(&a, "x", d);
  poet_args_vector(&a, "weights", k, weights);
  poet_args_matrix(&a, "means", k, d, means);
  poet_args_vector(&a, "sds", k, sds);
  return create(t, &poei_gmm_ops, &a);
}

const poe_expert *tree_student(tree *t, double df, double loc, double scale) {
  poet_args a;
  poet_args_start(&a, "student_t");
  poet_args_real_variable(&a, "x", 1);
  poet_args_scalar(&a, "df", &df);
  poet_args_scalar(&a, "loc", &loc);
  poet_args_scalar(&a, "scale", &scale);
  return create(t, &poei_student_t_ops, &a);
}

const poe_expert *tree_uniform(tree *t, size_t d, double low, double high) {
  poet_args a;
  poet_args_start(&a, "uniform");
  poet_args_real_variable(&a, "x", d);
  poet_args_scalar(&a, "low", &low);
  poet_args_scalar(&a, "high", &high);
  return create(t, &poei_uniform_ops, &a);
}

const poe_expert *tree_bounded_normal(tree *t, double low, double high, double mean, double sd) {
  return tree_restrict(t, tree_normal(t, mean, sd), low, high);
}

const poe_expert *tree_linear(tree *t, size_t dy, size_t dx, const double *matrix, const double *b, double sd) {
  poet_args a;
  poet_args_start(&a, "linear_gaussian");
  poet_args_real_variable(&a, "y", dy);
  poet_args_real_variable(&a, "x", dx);
  poet_args_matrix(&a, "A", dy, dx, matrix);
  poet_args_vector(&a, "b", dy, b);
  poet_args_scalar(&a, "sd", &sd);
  return create(t, &poei_linear_gaussian_ops, &a);
}

const poe_expert *tree_table(tree *t, size_t n, const size_t *k, const double *log_value) {
  static const char *const names[] = {"a", "b", "c", "d"};
  poet_args a;
  poet_args_start(&a, "table");
  poe_arg *arg = &a.arg[a.args.n_args++];
  *arg = (poe_arg){.name = "log", .type = POE_ARG_REAL, .ndim = n, .real = log_value};
  for (size_t i = 0; i < n; i++) {
    poet_args_discrete_variable(&a, names[i], 1, k[i]);
    arg->shape[i] = k[i];
  }
  return create(t, &poei_table_ops, &a);
}

const poe_expert *tree_bernoulli(tree *t, double p) {
  poet_args a;
  poet_args_start(&a, "bernoulli");
  poet_args_discrete_variable(&a, "b", 1, 2);
  poet_args_scalar(&a, "p", &p);
  return create(t, &poei_bernoulli_ops, &a);
}

/* ---- experts without draws or constants ---- */

typedef struct leaf {
  size_t dim;
  double a, b;
  poe_support support[8];
} leaf;

static void leaf_destroy(void *state) {
  free(state);
}

static void leaf_traits(const void *state, poe_traits *traits) {
  const leaf *self = state;
  *traits = (poe_traits){
      .dim = self->dim, .support = self->support, .capabilities = POE_CAN_EVAL | POE_CAN_GRADIENT, .offset_error = 0.0};
}

static size_t leaf_scratch(const void *state, unsigned want, size_t n) {
  (void)state;
  (void)want;
  (void)n;
  return 0;
}

static poe_status ring_eval_add(const void *state, poe_rows rows, poe_weights weights, poe_accum out,
                                poe_scratch *scratch, poe_error *error) {
  (void)scratch;
  (void)error;
  const leaf *self = state;
  for (size_t i = 0; i < rows.n; i++) {
    const double *x = &rows.x[i * rows.ld];
    double r = hypot(x[0], x[1]), gap = r - self->a, w = weights.w[i * weights.inc];
    poe_accum_value(&out.logp[i], w, -0.5 * gap * gap / (self->b * self->b));
    for (size_t j = 0; out.grad != NULL && j < 2 && r > 0.0 && isfinite(r); j++) {
      out.grad[i * out.ldg + j] += w * (-gap / (self->b * self->b)) * x[j] / r;
    }
  }
  return POE_OK;
}

static poe_status bare_eval_add(const void *state, poe_rows rows, poe_weights weights, poe_accum out,
                                poe_scratch *scratch, poe_error *error) {
  (void)scratch;
  (void)error;
  const leaf *self = state;
  for (size_t i = 0; i < rows.n; i++) {
    double sum = 0.0, w = weights.w[i * weights.inc];
    for (size_t j = 0; j < rows.d; j++) {
      double x = rows.x[i * rows.ld + j] + self->a;
      sum += cos(x);
      if (out.grad != NULL) {
        out.grad[i * out.ldg + j] -= w * sin(x);
      }
    }
    poe_accum_value(&out.logp[i], w, sum);
  }
  return POE_OK;
}

static const poe_param no_params[] = {{0}};
static const poe_expert_ops ring_ops = {.struct_size = sizeof(poe_expert_ops),
                                        .kind = "ring",
                                        .doc = "a ring",
                                        .params = no_params,
                                        .destroy = leaf_destroy,
                                        .traits = leaf_traits,
                                        .scratch = leaf_scratch,
                                        .eval_add = ring_eval_add};
static const poe_expert_ops bare_ops = {.struct_size = sizeof(poe_expert_ops),
                                        .kind = "energy",
                                        .doc = "a wavy energy",
                                        .params = no_params,
                                        .destroy = leaf_destroy,
                                        .traits = leaf_traits,
                                        .scratch = leaf_scratch,
                                        .eval_add = bare_eval_add};

static const poe_expert *make_leaf(tree *t, const poe_expert_ops *ops, size_t dim, double a, double b) {
  if (t->status != POE_OK) {
    return NULL;
  }
  leaf *self = calloc(1, sizeof *self);
  assert_non_null(self);
  assert_true(dim <= 8);
  self->dim = dim;
  self->a = a;
  self->b = b;
  for (size_t j = 0; j < dim; j++) {
    self->support[j] = (poe_support){POE_CONTINUOUS, -INFINITY, INFINITY, true, true};
  }
  poe_expert *made = NULL;
  poe_status status = poe_expert_wrap(ops, self, &made, &t->error);
  if (status != POE_OK) {
    free(self);
  }
  return keep(t, status, &made);
}

const poe_expert *tree_ring(tree *t, double radius, double width) {
  return make_leaf(t, &ring_ops, 2, radius, width);
}

const poe_expert *tree_bare(tree *t, size_t d, double shift) {
  return make_leaf(t, &bare_ops, d, shift, 0.0);
}

/* ---- nodes ---- */

const poe_expert *tree_product(tree *t, size_t dim, size_t n, const poe_expert *const *children,
                               const double *exponents) {
  poe_expert *made = NULL;
  return t->status != POE_OK ? NULL
                             : keep(t, poei_product_create(dim, n, children, exponents, &made, &t->error), &made);
}

static const poe_expert *two(tree *t, const poe_expert *a, const poe_expert *b, double exponent) {
  if (t->status != POE_OK) {
    return NULL;
  }
  const poe_expert *both[2] = {a, b};
  return tree_product(t, poe_expert_traits(a)->dim, 2, both, (double[]){1.0, exponent});
}

const poe_expert *tree_times(tree *t, const poe_expert *a, const poe_expert *b) {
  return two(t, a, b, 1.0);
}

const poe_expert *tree_over(tree *t, const poe_expert *a, const poe_expert *b) {
  return two(t, a, b, -1.0);
}

const poe_expert *tree_power(tree *t, const poe_expert *a, double exponent) {
  return t->status != POE_OK ? NULL : tree_product(t, poe_expert_traits(a)->dim, 1, &a, &exponent);
}

const poe_expert *tree_mixture(tree *t, size_t n, const poe_expert *const *children, const double *weights) {
  poe_expert *made = NULL;
  double log_weight[16];
  assert_true(n <= 16);
  for (size_t k = 0; k < n; k++) {
    log_weight[k] = log(weights[k]);
  }
  return t->status != POE_OK ? NULL : keep(t, poei_mixture_create(n, children, log_weight, &made, &t->error), &made);
}

const poe_expert *tree_or(tree *t, const poe_expert *a, const poe_expert *b) {
  const poe_expert *both[2] = {a, b};
  return tree_mixture(t, 2, both, (double[]){0.5, 0.5});
}

const poe_expert *tree_normalise(tree *t, const poe_expert *child, double log_z, double std_error) {
  poe_expert *made = NULL;
  return t->status != POE_OK ? NULL : keep(t, poei_normalise_create(child, log_z, std_error, &made, &t->error), &made);
}

const poe_expert *tree_slice(tree *t, const poe_expert *child, size_t dim, const size_t *index) {
  poe_expert *made = NULL;
  return t->status != POE_OK ? NULL : keep(t, poei_slice_create(child, dim, index, &made, &t->error), &made);
}

const poe_expert *tree_at(tree *t, const poe_expert *child, size_t dim, size_t coordinate) {
  return tree_slice(t, child, dim, &coordinate);
}

const poe_expert *tree_plate(tree *t, const poe_expert *child, size_t m, size_t dim, const size_t *index) {
  poe_expert *made = NULL;
  return t->status != POE_OK ? NULL : keep(t, poei_plate_create(child, m, dim, index, &made, &t->error), &made);
}

const poe_expert *tree_given(tree *t, const poe_expert *child, size_t n, const size_t *index, const double *value) {
  poe_expert *made = NULL;
  return t->status != POE_OK ? NULL : keep(t, poei_given_create(child, n, index, value, &made, &t->error), &made);
}

const poe_expert *tree_through(tree *t, const poe_map *map, const poe_expert *child) {
  poe_expert *made = NULL;
  return t->status != POE_OK ? NULL : keep(t, poei_through_create(map, child, &made, &t->error), &made);
}

const poe_expert *tree_restrict(tree *t, const poe_expert *child, double low, double high) {
  poe_expert *made = NULL;
  poe_support box[16];
  if (t->status != POE_OK) {
    return NULL;
  }
  for (size_t j = 0; j < poe_expert_traits(child)->dim; j++) {
    box[j] = (poe_support){POE_CONTINUOUS, low, high, isinf(low) != 0, isinf(high) != 0};
  }
  return keep(t, poei_restrict_create(child, box, &made, &t->error), &made);
}

const poe_expert *tree_transform(tree *t, const poe_expert *child) {
  poe_expert *made = NULL;
  return t->status != POE_OK ? NULL : keep(t, poei_transform_create(child, &made, &t->error), &made);
}

/* ---- a map ---- */

static poe_status map_create(const poe_args *args, void **self, poe_error *error) {
  (void)args;
  *self = malloc(1);
  return *self == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
}

static size_t map_in_dim(const void *self) {
  (void)self;
  return 2;
}

static size_t map_out_shape(const void *self, size_t *shape) {
  (void)self;
  shape[0] = 3;
  return 1;
}

static size_t map_scratch(const void *self, unsigned want, size_t n) {
  (void)self;
  return (want & POE_WANT_GRAD) != 0 ? 2 * poe_scratch_need(3 * n, sizeof(double)) : 0;
}

static void map_value(const double *z, double *y) {
  y[0] = tanh(z[0] + z[1]);
  y[1] = z[0] * z[1];
  y[2] = sin(z[1]) - 0.5 * z[0];
}

static poe_status map_apply(const void *self, poe_rows x, poe_rows_out y, poe_scratch *scratch, poe_error *error) {
  (void)self;
  (void)scratch;
  (void)error;
  tree_map_passes++;
  for (size_t i = 0; i < x.n; i++) {
    map_value(&x.x[i * x.ld], &y.x[i * y.ld]);
  }
  return POE_OK;
}

static poe_status map_apply_vjp(const void *self, poe_rows x,
                                poe_status (*pull)(void *context, poe_rows y, double *dy, poe_scratch *scratch,
                                                   poe_error *error),
                                void *context, double *dx, size_t ldx, poe_scratch *scratch, poe_error *error) {
  (void)self;
  size_t mark = poe_scratch_mark(scratch);
  double *y = poe_scratch_doubles(scratch, 3 * x.n), *dy = poe_scratch_doubles(scratch, 3 * x.n);
  tree_map_passes++;
  for (size_t i = 0; i < x.n; i++) {
    map_value(&x.x[i * x.ld], &y[3 * i]);
  }
  poe_status status = pull(context, (poe_rows){x.n, 3, 3, y}, dy, scratch, error);
  for (size_t i = 0; i < x.n && status == POE_OK; i++) {
    const double *z = &x.x[i * x.ld], *g = &dy[3 * i];
    double slope = 1.0 - y[3 * i] * y[3 * i];
    dx[i * ldx] += slope * g[0] + z[1] * g[1] - 0.5 * g[2];
    dx[i * ldx + 1] += slope * g[0] + z[0] * g[1] + cos(z[1]) * g[2];
  }
  poe_scratch_release(scratch, mark);
  return status;
}

static const poe_map_ops map_ops = {.struct_size = sizeof(poe_map_ops),
                                    .kind = "testmap",
                                    .doc = "a map",
                                    .params = no_params,
                                    .create = map_create,
                                    .destroy = leaf_destroy,
                                    .in_dim = map_in_dim,
                                    .out_shape = map_out_shape,
                                    .scratch = map_scratch,
                                    .apply = map_apply,
                                    .apply_vjp = map_apply_vjp};

const poe_map *tree_map(tree *t) {
  poe_args args = {.kind = "testmap"};
  poe_map *made = NULL;
  if (t->status != POE_OK) {
    return NULL;
  }
  t->status = poe_map_create(&map_ops, &args, &made, &t->error);
  if (t->status == POE_OK) {
    t->map[t->n_maps++] = made;
  }
  return made;
}

double tree_value(const poe_expert *expert, const double *x) {
  double value = 0.0;
  assert_int_equal(poet_eval(expert, 1, poe_expert_traits(expert)->dim, x, &value, NULL), POE_OK);
  return value;
}
