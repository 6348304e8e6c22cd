/* Constructors given something wrong: the status, the place and the words of the message. */
#include <stdint.h>
#include <string.h>

#include "core/alloc.h"
#include "experts/list.h"
#include "formats/tensor_write.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

static poet_args a;
static poe_error error;

static const double one = 1.0, zero = 0.0, minus = -1.0, nan_value = NAN, infinite = INFINITY;

/* Creates, expecting failure; the output must stay untouched. */
static void refuses(const poe_expert_ops *ops, poe_status status, int column, const char *part) {
  poe_expert *expert = NULL;
  memset(&error, 0, sizeof error);
  check_fails(poe_expert_create(ops, &a.args, &expert, &error), status, error, part);
  assert_null(expert);
  assert_int_equal(error.column, column);
}

static void start(const char *kind, size_t dim) {
  poet_args_start(&a, kind);
  poet_args_real_variable(&a, "x", dim);
}

static void arguments_in_general(void **state) {
  (void)state;
  static const double three[3] = {1.0, 2.0, 3.0};
  start("gaussian", 2);
  poet_args_scalar(&a, "sdd", &one);
  refuses(&poei_gaussian_ops, POE_E_USAGE, 10, "no parameter `sdd`");
  assert_non_null(strstr(error.hint, "sd"));
  start("gaussian", 2);
  poet_args_text(&a, "sd", POE_ARG_STRING, "one");
  refuses(&poei_gaussian_ops, POE_E_TYPE, 10, "must be numbers");
  start("gaussian", 2);
  poet_args_scalar(&a, "sd", &one);
  poet_args_scalar(&a, "sd", &one);
  refuses(&poei_gaussian_ops, POE_E_USAGE, 20, "twice");
  start("gaussian", 2);
  poet_args_scalar(&a, "sd", &one);
  poet_args_vector(&a, "mean", 3, three);
  refuses(&poei_gaussian_ops, POE_E_SHAPE, 20, "shape [3], but [2] is needed");
  start("gaussian", 2);
  poet_args_scalar(&a, "sd", &one);
  poet_args_scalar(&a, "mean", &nan_value);
  refuses(&poei_gaussian_ops, POE_E_DOMAIN, 20, "finite");
  poet_args_start(&a, "gaussian");
  poet_args_scalar(&a, "sd", &one);
  refuses(&poei_gaussian_ops, POE_E_USAGE, 0, "variable");
}

static void gaussian_arguments(void **state) {
  (void)state;
  static const double singular[4] = {1.0, 1.0, 1.0, 1.0}, skew[4] = {1.0, 0.2, 0.3, 1.0};
  static const double indefinite[9] = {1.0, 0.0, 0.0, 0.0, 1.0, 2.0, 0.0, 2.0, 1.0};
  static const double negative[4] = {1.0, 0.0, 0.0, -2.0};
  start("gaussian", 2);
  refuses(&poei_gaussian_ops, POE_E_USAGE, 0, "sd, cov, precision or precision_file");
  start("gaussian", 2);
  poet_args_scalar(&a, "sd", &one);
  poet_args_scalar(&a, "cov", &one);
  refuses(&poei_gaussian_ops, POE_E_USAGE, 20, "not both");
  start("gaussian", 2);
  poet_args_scalar(&a, "sd", &zero);
  refuses(&poei_gaussian_ops, POE_E_DOMAIN, 10, "positive");
  start("gaussian", 2);
  poet_args_matrix(&a, "cov", 2, 2, singular);
  refuses(&poei_gaussian_ops, POE_E_DOMAIN, 10, "along 0.707*x[0] - 0.707*x[1]");
  start("gaussian", 2);
  poet_args_matrix(&a, "cov", 2, 2, skew);
  refuses(&poei_gaussian_ops, POE_E_DOMAIN, 10, "not symmetric: entry [1, 0] is 0.3 and [0, 1] is 0.2");
  start("gaussian", 3);
  poet_args_matrix(&a, "precision", 3, 3, indefinite);
  refuses(&poei_gaussian_ops, POE_E_DOMAIN, 10, "along 0.707*x[1] - 0.707*x[2] (value -1)");
  start("gaussian", 2);
  poet_args_matrix(&a, "cov", 2, 2, negative);
  refuses(&poei_gaussian_ops, POE_E_DOMAIN, 10, "x[1] (value -2)");
  poet_args_start(&a, "gaussian");
  poet_args_discrete_variable(&a, "flag", 1, 2);
  poet_args_scalar(&a, "sd", &one);
  refuses(&poei_gaussian_ops, POE_E_TYPE, 0, "`flag` is discrete");
  assert_non_null(strstr(error.hint, "bernoulli"));
}

static void gaussian_factors(void **state) {
  (void)state;
  static const double columns[6] = {1.0, 0.0, 0.5, 1.0, 0.0, 2.0};
  start("gaussian", 3);
  poet_args_scalar(&a, "cov", &one);
  poet_args_matrix(&a, "factor", 3, 2, columns);
  refuses(&poei_gaussian_ops, POE_E_USAGE, 20, "goes with `sd`, not with `cov`");
  start("gaussian", 3);
  poet_args_scalar(&a, "sd", &one);
  poet_args_matrix(&a, "factor", 2, 3, columns);
  refuses(&poei_gaussian_ops, POE_E_SHAPE, 20, "shape [2, 3], but [3, r] is needed");
  start("gaussian", 3);
  poet_args_scalar(&a, "sd", &one);
  poet_args_scalar(&a, "factor", &one);
  refuses(&poei_gaussian_ops, POE_E_SHAPE, 20, "[3, r] is needed");
  start("gaussian", 3);
  poet_args_matrix(&a, "factor", 3, 2, columns);
  refuses(&poei_gaussian_ops, POE_E_USAGE, 0, "sd, cov, precision or precision_file");
}

/* A 3 x 3 matrix in a file: indptr[4], indices[n], data[n]; count: numbers of data that are written. */
static const char *sparse_file(const char *name, size_t n, size_t count, const int64_t *indptr, const int64_t *indices,
                               const double *data, const char *format) {
  poei_npz_writer *writer = NULL;
  poe_error failed = {0};
  const char *path = poet_temp_path(name);
  check_ok(poei_npz_writer_open(path, &writer, &failed), failed);
  check_ok(poei_npz_writer_add(writer, "indptr", POEI_I64, 1, (size_t[]){4}, indptr, &failed), failed);
  check_ok(poei_npz_writer_add(writer, "indices", POEI_I64, 1, &n, indices, &failed), failed);
  check_ok(poei_npz_writer_add(writer, "data", POEI_F64, 1, &count, data, &failed), failed);
  if (format != NULL) {
    size_t length = strlen(format);
    check_ok(poei_npz_writer_add(writer, "format", POEI_U8, 1, &length, format, &failed), failed);
  }
  check_ok(poei_npz_writer_commit(writer, &failed), failed);
  return path;
}

static void gaussian_precision_files(void **state) {
  (void)state;
  static const struct {
    int64_t indptr[4], indices[5];
    double data[5];
    size_t n, count;
    const char *format;
    poe_status status;
    int column;
    const char *part;
  } cases[] = {
      {{0, 2, 4, 5}, {0, 1, 0, 1, 2}, {1, 2, 2, 1, 1}, 5, 5, NULL, POE_E_DOMAIN, 10, "not positive along"},
      {{0, 2, 4, 5},
       {0, 1, 0, 1, 2},
       {2, 1, 0.9, 2, 1},
       5,
       5,
       NULL,
       POE_E_DOMAIN,
       10,
       "[1, 0] and [0, 1] differ by -0.1"},
      {{0, 2, 3, 4}, {0, 1, 1, 2}, {2, 1, 2, 1}, 4, 4, "csr", POE_E_DOMAIN, 10, "[1, 0] and [0, 1] differ by -1"},
      {{0, 1, 2, 2}, {0, 1}, {1, 1}, 2, 2, NULL, POE_E_DOMAIN, 10, "x[2] (value 0)"},
      {{0, 1, 2, 3}, {0, 1, 3}, {1, 1, 1}, 3, 3, NULL, POE_E_FORMAT, 0, "number 2 is 3, not a column of 3"},
      {{0, 1, 2, 3}, {0, -1, 2}, {1, 1, 1}, 3, 3, NULL, POE_E_FORMAT, 0, "number 1 is -1"},
      {{0, 2, 1, 3}, {0, 1, 2}, {1, 1, 1}, 3, 3, NULL, POE_E_FORMAT, 0, "number 2 is 1"},
      {{0, 1, 2, 9}, {0, 1, 2}, {1, 1, 1}, 3, 3, NULL, POE_E_FORMAT, 0, "number 3 is 9"},
      {{1, 1, 2, 3}, {0, 1, 2}, {1, 1, 1}, 3, 3, NULL, POE_E_FORMAT, 0, "number 0 is 1"},
      {{0, 1, 2, 2}, {0, 1, 2}, {1, 1, 1}, 3, 3, NULL, POE_E_FORMAT, 0, "number 3 is 2"},
      {{0, 1, 2, 3}, {0, 1, 2}, {1, 1, 1}, 3, 2, NULL, POE_E_FORMAT, 0, "'data': has shape [2], but [3]"},
      {{0, 1, 2, 3}, {0, 1, 2}, {1, NAN, 1}, 3, 3, NULL, POE_E_FORMAT, 0, "'data': number 1 is nan"},
      {{0, 1, 2, 3}, {0, 1, 2}, {1, 1, 1}, 3, 3, "coo", POE_E_UNSUPPORTED, 0, "is 'coo'; csr and csc"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    start("gaussian", 3);
    poet_args_text(&a, "precision_file", POE_ARG_FILE,
                   sparse_file("sparse.npz", cases[i].n, cases[i].count, cases[i].indptr, cases[i].indices,
                               cases[i].data, cases[i].format));
    refuses(&poei_gaussian_ops, cases[i].status, cases[i].column, cases[i].part);
  }
  start("gaussian", 4);
  poet_args_text(&a, "precision_file", POE_ARG_FILE,
                 sparse_file("sparse.npz", 3, 3, cases[4].indptr, cases[4].indices, cases[4].data, NULL));
  refuses(&poei_gaussian_ops, POE_E_FORMAT, 0, "'indptr': has shape [4], but [5]");
  start("gaussian", 3);
  poet_args_text(&a, "precision_file", POE_ARG_FILE, "/nowhere/q.npz");
  refuses(&poei_gaussian_ops, POE_E_FILE, 0, "/nowhere/q.npz");
}

static void other_real_families(void **state) {
  (void)state;
  static const double weights[2] = {1.0, -1.0}, none[2] = {0.0, 0.0}, means[2] = {0.0, 1.0};
  start("gmm", 1);
  refuses(&poei_gmm_ops, POE_E_USAGE, 0, "`means` or `file`");
  start("gmm", 1);
  poet_args_vector(&a, "means", 2, means);
  poet_args_scalar(&a, "sds", &one);
  poet_args_vector(&a, "weights", 2, weights);
  refuses(&poei_gmm_ops, POE_E_DOMAIN, 30, "number 1 is -1");
  start("gmm", 1);
  poet_args_vector(&a, "means", 2, means);
  poet_args_scalar(&a, "sds", &one);
  poet_args_vector(&a, "weights", 2, none);
  refuses(&poei_gmm_ops, POE_E_DOMAIN, 30, "positive sum");
  start("gmm", 3);
  poet_args_vector(&a, "means", 2, means);
  poet_args_scalar(&a, "sds", &one);
  refuses(&poei_gmm_ops, POE_E_SHAPE, 10, "[k, 3]");
  start("gmm", 1);
  poet_args_vector(&a, "means", 2, means);
  poet_args_vector(&a, "covs", 2, none);
  refuses(&poei_gmm_ops, POE_E_DOMAIN, 20, "not positive definite");
  start("linear_gaussian", 1);
  poet_args_scalar(&a, "A", &one);
  poet_args_scalar(&a, "sd", &one);
  refuses(&poei_linear_gaussian_ops, POE_E_USAGE, 0, "two variables");
  start("linear_gaussian", 1);
  poet_args_real_variable(&a, "z", 2);
  poet_args_scalar(&a, "A", &one);
  poet_args_scalar(&a, "sd", &one);
  refuses(&poei_linear_gaussian_ops, POE_E_SHAPE, 10, "[1, 2]");
  start("student_t", 1);
  poet_args_scalar(&a, "df", &zero);
  refuses(&poei_student_t_ops, POE_E_DOMAIN, 10, "positive");
  start("laplace", 1);
  poet_args_scalar(&a, "scale", &minus);
  refuses(&poei_laplace_ops, POE_E_DOMAIN, 10, "positive");
  start("uniform", 1);
  refuses(&poei_uniform_ops, POE_E_IMPROPER, 0, "no bounds");
  start("uniform", 1);
  poet_args_scalar(&a, "low", &one);
  poet_args_scalar(&a, "high", &zero);
  refuses(&poei_uniform_ops, POE_E_DOMAIN, 20, "less than");
  start("uniform", 1);
  poet_args_scalar(&a, "high", &infinite);
  refuses(&poei_uniform_ops, POE_E_DOMAIN, 10, "finite");
  start("formula", 1);
  refuses(&poei_formula_ops, POE_E_USAGE, 0, "energy or log_density");
}

static void discrete_families(void **state) {
  (void)state;
  static const double p[3] = {0.5, 0.5, 1.5}, negative[3] = {1.0, 1.0, -0.5}, nothing[3] = {0.0, 0.0, 0.0};
  start("bernoulli", 1);
  poet_args_scalar(&a, "p", &one);
  refuses(&poei_bernoulli_ops, POE_E_TYPE, 0, "`x` is real");
  poet_args_start(&a, "bernoulli");
  poet_args_discrete_variable(&a, "b", 3, 2);
  poet_args_vector(&a, "p", 3, p);
  refuses(&poei_bernoulli_ops, POE_E_DOMAIN, 10, "number 2 is 1.5");
  poet_args_start(&a, "bernoulli");
  poet_args_discrete_variable(&a, "c", 1, 3);
  poet_args_scalar(&a, "p", &one);
  refuses(&poei_bernoulli_ops, POE_E_TYPE, 0, "binary");
  poet_args_start(&a, "categorical");
  poet_args_discrete_variable(&a, "c", 1, 3);
  poet_args_vector(&a, "p", 3, negative);
  refuses(&poei_categorical_ops, POE_E_DOMAIN, 10, "number 2 is -0.5");
  poet_args_start(&a, "categorical");
  poet_args_discrete_variable(&a, "c", 1, 4);
  poet_args_vector(&a, "p", 3, p);
  refuses(&poei_categorical_ops, POE_E_SHAPE, 10, "[4] is needed");
  poet_args_start(&a, "categorical");
  poet_args_discrete_variable(&a, "c", 1, 3);
  a.support[0][0].high = INFINITY;
  poet_args_vector(&a, "p", 3, p);
  refuses(&poei_categorical_ops, POE_E_TYPE, 0, "no bound");
  poet_args_start(&a, "table");
  poet_args_discrete_variable(&a, "c", 1, 3);
  poet_args_vector(&a, "p", 3, negative);
  refuses(&poei_table_ops, POE_E_DOMAIN, 10, "number 2 is -0.5");
  poet_args_start(&a, "table");
  poet_args_discrete_variable(&a, "c", 1, 3);
  poet_args_vector(&a, "p", 3, nothing);
  refuses(&poei_table_ops, POE_E_EMPTY, 10, "value 0");
  poet_args_start(&a, "table");
  poet_args_discrete_variable(&a, "u", 2, 3);
  poet_args_vector(&a, "p", 3, p);
  refuses(&poei_table_ops, POE_E_SHAPE, 10, "[9] is needed");
}

/* ---- files ---- */

static void gmm_from_file(void **state) {
  (void)state;
  static const double weights[2] = {1.0, 3.0}, covs[8] = {1.0, 0.3, 0.3, 1.0, 2.0, 0.0, 0.0, 1.0};
  static const float means[4] = {0.0f, 1.0f, -1.0f, 2.0f};
  static const size_t shape[3] = {2, 2, 2};
  const char *path = poet_temp_path("mixture.npz");
  poei_npz_writer *writer = NULL;
  memset(&error, 0, sizeof error);
  check_ok(poei_npz_writer_open(path, &writer, &error), error);
  check_ok(poei_npz_writer_add(writer, "weights", POEI_F64, 1, shape, weights, &error), error);
  check_ok(poei_npz_writer_add(writer, "means", POEI_F32, 2, shape, means, &error), error);
  check_ok(poei_npz_writer_add(writer, "covs", POEI_F64, 3, shape, covs, &error), error);
  check_ok(poei_npz_writer_commit(writer, &error), error);

  static const double same_means[4] = {0.0, 1.0, -1.0, 2.0}, points[4] = {0.3, 0.7, -2.0, 1.0};
  poe_expert *from_file = NULL, *from_numbers = NULL;
  start("gmm", 2);
  poet_args_text(&a, "file", POE_ARG_FILE, path);
  check_ok(poe_expert_create(&poei_gmm_ops, &a.args, &from_file, &error), error);
  start("gmm", 2);
  poet_args_matrix(&a, "means", 2, 2, same_means);
  poet_args_cube(&a, "covs", 2, 2, 2, covs);
  poet_args_vector(&a, "weights", 2, weights);
  check_ok(poe_expert_create(&poei_gmm_ops, &a.args, &from_numbers, &error), error);
  double left[2], right[2];
  poet_eval(from_file, 2, 2, points, left, NULL);
  poet_eval(from_numbers, 2, 2, points, right, NULL);
  check_same_bits(left, right, 2);
  poe_expert_release(from_file);
  poe_expert_release(from_numbers);

  start("gmm", 3); /* the file is about another dimension */
  poet_args_text(&a, "file", POE_ARG_FILE, path);
  refuses(&poei_gmm_ops, POE_E_SHAPE, 10, "`means` of `gmm` has shape [2, 2], but [2, 3]");
  assert_non_null(strstr(error.hint, "mixture.npz"));
  start("gmm", 2);
  poet_args_text(&a, "file", POE_ARG_FILE, path);
  poet_args_scalar(&a, "sds", &one);
  refuses(&poei_gmm_ops, POE_E_USAGE, 10, "either a file or numbers");
  start("gmm", 2);
  poet_args_text(&a, "file", POE_ARG_FILE, poet_temp_path("missing.npz"));
  refuses(&poei_gmm_ops, POE_E_FILE, 0, "missing.npz");
}

static void table_from_file(void **state) {
  (void)state;
  static const double p[6] = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}, row[2] = {1.0, 2.0};
  static const size_t shape[2] = {2, 3}, wrong[1] = {5};
  const char *path = poet_temp_path("table.npy");
  memset(&error, 0, sizeof error);
  check_ok(poei_npy_write(path, POEI_F64, 2, shape, p, &error), error);
  poet_args_start(&a, "table");
  poet_args_discrete_variable(&a, "u", 1, 2);
  poet_args_discrete_variable(&a, "v", 1, 3);
  poet_args_text(&a, "file", POE_ARG_FILE, path);
  poe_expert *expert = NULL;
  check_ok(poe_expert_create(&poei_table_ops, &a.args, &expert, &error), error);
  double logp = 0.0, log_z = 0.0;
  poet_eval(expert, 1, 2, row, &logp, NULL);
  check_close(logp, log(6.0), 1e-15, 0.0);
  check_ok(poe_expert_log_z(expert, &log_z, &error), error);
  check_close(log_z, log(21.0), 1e-14, 0.0);
  poe_expert_release(expert);
  check_ok(poei_npy_write(path, POEI_F64, 1, wrong, p, &error), error);
  refuses(&poei_table_ops, POE_E_SHAPE, 10, "6 states");
}

/* ---- what a constructor does beyond its conformance points ---- */

static void capabilities_are_named(void **state) {
  (void)state;
  poe_expert *expert = NULL;
  start("linear_gaussian", 1);
  poet_args_real_variable(&a, "z", 1);
  poet_args_scalar(&a, "A", &one);
  poet_args_scalar(&a, "sd", &one);
  check_ok(poe_expert_create(&poei_linear_gaussian_ops, &a.args, &expert, &error), error);
  double x[2] = {0.0, 0.0}, log_z = 0.0;
  poe_rng at = poe_rng_seed(1);
  poe_scratch *scratch = poe_scratch_create(64);
  check_fails(poe_expert_sample(expert, (poe_rows_out){1, 2, 2, x}, &at, scratch, &error), POE_E_CAPABILITY, error,
              "`linear_gaussian` has no exact sampler");
  check_fails(poe_expert_log_z(expert, &log_z, &error), POE_E_CAPABILITY, error, "log Z");
  poe_scratch_destroy(scratch);
  poe_expert_release(expert);
}

/* Large tables of independent coordinates have no closed form, and say so by their capabilities. */
static void forms_stay_small(void **state) {
  (void)state;
  static const double half = 0.5;
  poe_expert *few = NULL, *many = NULL;
  poet_args_start(&a, "bernoulli");
  poet_args_discrete_variable(&a, "b", 20, 2);
  poet_args_scalar(&a, "p", &half);
  check_ok(poe_expert_create(&poei_bernoulli_ops, &a.args, &few, &error), error);
  poet_args_start(&a, "bernoulli");
  poet_args_discrete_variable(&a, "b", 21, 2);
  poet_args_scalar(&a, "p", &half);
  check_ok(poe_expert_create(&poei_bernoulli_ops, &a.args, &many, &error), error);
  assert_true((poe_expert_traits(few)->capabilities & POE_CAN_FORM) != 0);
  assert_true((poe_expert_traits(many)->capabilities & POE_CAN_FORM) == 0);
  poe_expert_release(few);
  poe_expert_release(many);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(arguments_in_general),   cmocka_unit_test(gaussian_arguments),
      cmocka_unit_test(gaussian_factors),       cmocka_unit_test(gaussian_precision_files),
      cmocka_unit_test(other_real_families),    cmocka_unit_test(discrete_families),
      cmocka_unit_test(gmm_from_file),          cmocka_unit_test(table_from_file),
      cmocka_unit_test(capabilities_are_named), cmocka_unit_test(forms_stay_small),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
