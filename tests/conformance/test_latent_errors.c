/* rbm and dbm given something wrong, by argument or by file: the status, the place, and the words of message and hint.
 */
#include <string.h>

#include "experts/list.h"
#include "formats/tensor_write.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

static poet_args a;
static poe_error error;

static void refuses(const poe_expert_ops *ops, poe_status status, int column, const char *part, const char *hint) {
  poe_expert *expert = NULL;
  memset(&error, 0, sizeof error);
  check_fails(poe_expert_create(ops, &a.args, &expert, &error), status, error, part);
  assert_null(expert);
  assert_int_equal(error.column, column);
  if (hint != NULL && strstr(error.hint, hint) == NULL) {
    fail_msg("the hint is '%s', without '%s'", error.hint, hint);
  }
}

static void start(const char *kind, size_t v) {
  poet_args_start(&a, kind);
  poet_args_discrete_variable(&a, "v", v, 2);
}

static const double six[6] = {1.0, -1.0, 0.5, 0.25, 2.0, 0.0}, two[2] = {1.0, 2.0}, three[3] = {1.0, 2.0, 3.0};

static void arguments(void **state) {
  (void)state;
  static const double bad[6] = {1.0, 2.0, NAN, 0.0, 0.0, 0.0}, huge[6] = {1e300, 1e300, 1e300, 0.0, 0.0, 0.0};
  static const double zero = 0.0;
  start("rbm", 3);
  refuses(&poei_rbm_ops, POE_E_USAGE, 0, "`rbm` needs `file` or `W`", NULL);
  start("rbm", 3);
  poet_args_matrix(&a, "W", 2, 3, six);
  refuses(&poei_rbm_ops, POE_E_SHAPE, 10, "shape [2, 3], but [3, hidden] is needed", "transposed");
  start("rbm", 4);
  poet_args_matrix(&a, "W", 2, 3, six);
  refuses(&poei_rbm_ops, POE_E_SHAPE, 10, "[4, hidden]", "");
  start("rbm", 3);
  poet_args_discrete_variable(&a, "h", 3, 2);
  poet_args_matrix(&a, "W", 3, 2, six);
  refuses(&poei_rbm_ops, POE_E_SHAPE, 10, "[3, 3] is needed", NULL);
  start("rbm", 3);
  poet_args_matrix(&a, "W", 3, 2, six);
  poet_args_vector(&a, "b", 2, two);
  poet_args_vector(&a, "c", 3, three);
  refuses(&poei_rbm_ops, POE_E_SHAPE, 20, "`b` of `rbm` has shape [2]", "swapped");
  start("rbm", 3);
  poet_args_matrix(&a, "W", 3, 2, bad);
  refuses(&poei_rbm_ops, POE_E_DOMAIN, 10, "`W` of `rbm` must be finite; number 2 is nan", NULL);
  start("rbm", 3);
  poet_args_matrix(&a, "W", 3, 2, huge);
  refuses(&poei_rbm_ops, POE_E_DOMAIN, 0, "too large", NULL);
  start("rbm", 3);
  poet_args_matrix(&a, "W", 3, 2, six);
  poet_args_scalar(&a, "sd", two);
  refuses(&poei_rbm_ops, POE_E_USAGE, 20, "`sd` is for real variables, but `v` is binary", NULL);
  poet_args_start(&a, "rbm");
  poet_args_real_variable(&a, "v", 3);
  poet_args_matrix(&a, "W", 3, 2, six);
  poet_args_scalar(&a, "sd", &zero);
  refuses(&poei_rbm_ops, POE_E_DOMAIN, 20, "positive", NULL);
  poet_args_start(&a, "rbm");
  poet_args_discrete_variable(&a, "v", 3, 4);
  poet_args_matrix(&a, "W", 3, 2, six);
  refuses(&poei_rbm_ops, POE_E_TYPE, 0, "the units of `rbm` are binary, but `v` is not", "or as real");
  start("rbm", 3);
  poet_args_real_variable(&a, "h", 2);
  poet_args_matrix(&a, "W", 3, 2, six);
  refuses(&poei_rbm_ops, POE_E_TYPE, 0, "`h` is not", "declare `h` as binary");
  start("rbm", 3);
  poet_args_discrete_variable(&a, "h", 2, 2);
  poet_args_discrete_variable(&a, "g", 2, 2);
  poet_args_matrix(&a, "W", 3, 2, six);
  refuses(&poei_rbm_ops, POE_E_SHAPE, 0, "2 layers, but there are 3 variables", NULL);
  poet_args_start(&a, "rbm");
  poet_args_matrix(&a, "W", 3, 2, six);
  refuses(&poei_rbm_ops, POE_E_USAGE, 0, "a variable before the bar", NULL);
  start("dbm", 3);
  poet_args_matrix(&a, "W1", 3, 2, six);
  refuses(&poei_dbm_ops, POE_E_USAGE, 0, "`dbm` needs `W2`", "rbm");
  start("dbm", 3);
  poet_args_matrix(&a, "W1", 3, 2, six);
  poet_args_matrix(&a, "W2", 3, 2, six);
  refuses(&poei_dbm_ops, POE_E_SHAPE, 20, "`W2` of `dbm` has shape [3, 2], but [2, hidden]", "transposed");
  start("dbm", 3);
  poet_args_matrix(&a, "W1", 3, 2, six);
  poet_args_matrix(&a, "W2", 2, 3, six);
  poet_args_vector(&a, "c3", 3, three);
  refuses(&poei_dbm_ops, POE_E_USAGE, 30, "`c3` of `dbm` belongs to a layer beyond `W2`", NULL);
  poet_args_start(&a, "dbm");
  poet_args_real_variable(&a, "v", 3);
  poet_args_matrix(&a, "W1", 3, 2, six);
  poet_args_matrix(&a, "W2", 2, 3, six);
  refuses(&poei_dbm_ops, POE_E_TYPE, 0, "the units of `dbm` are binary", "declare `v` as binary");
}

/* An npz with the arrays W [3, 2], b [3], c [2], some of them left out or replaced. */
static const char *file_of(const char *w, size_t rows, size_t columns, const double *numbers, const char *b,
                           const char *c) {
  poei_npz_writer *writer = NULL;
  const char *path = poet_temp_path("machine.npz");
  check_ok(poei_npz_writer_open(path, &writer, &error), error);
  if (w != NULL) {
    check_ok(poei_npz_writer_add(writer, w, POEI_F64, 2, (size_t[]){rows, columns}, numbers, &error), error);
  }
  if (b != NULL) {
    check_ok(poei_npz_writer_add(writer, b, POEI_F64, 1, (size_t[]){3}, three, &error), error);
  }
  if (c != NULL) {
    check_ok(poei_npz_writer_add(writer, c, POEI_F64, 1, (size_t[]){2}, two, &error), error);
  }
  check_ok(poei_npz_writer_commit(writer, &error), error);
  return path;
}

static void start_file(const char *path) {
  start("rbm", 3);
  poet_args_text(&a, "file", POE_ARG_FILE, path);
}

static void add_tensors(size_t n, const char *const *names) {
  poe_arg *list = &a.arg[a.args.n_args++];
  *list = (poe_arg){.name = "tensors", .type = POE_ARG_STRINGS, .n_texts = n, .texts = names};
  list->line = 1;
  list->column = 10 * (int)a.args.n_args;
}

static void files(void **state) {
  (void)state;
  static const double bad[6] = {1.0, 2.0, INFINITY, 0.0, 0.0, 0.0};
  static const char *const names[] = {"W", "b", "c"};
  start_file(poet_temp_path("missing.npz"));
  refuses(&poei_rbm_ops, POE_E_FILE, 0, "missing.npz", NULL);
  start_file(file_of("weight", 3, 2, six, "b", "c"));
  refuses(&poei_rbm_ops, POE_E_FORMAT, 10, "'W': there is no tensor of this name; the file holds 'weight' [3, 2]",
          NULL);
  start_file(file_of("W", 3, 2, six, NULL, "c"));
  refuses(&poei_rbm_ops, POE_E_FORMAT, 10, "'b': there is no tensor", NULL);
  start_file(file_of("W", 2, 3, six, "b", "c"));
  refuses(&poei_rbm_ops, POE_E_FORMAT, 10, "[3, hidden] is needed", "torch.nn.Linear");
  start_file(file_of("W", 3, 2, bad, "b", "c"));
  refuses(&poei_rbm_ops, POE_E_FORMAT, 10, "`W` of `rbm` must be finite; number 2 is inf", "machine.npz");
  start_file(file_of("W", 3, 2, six, "b", "c"));
  poet_args_matrix(&a, "W", 3, 2, six);
  refuses(&poei_rbm_ops, POE_E_USAGE, 20, "either a file or numbers", NULL);
  start_file(file_of("W", 3, 2, six, "b", "c"));
  add_tensors(2, names);
  refuses(&poei_rbm_ops, POE_E_USAGE, 20, "`tensors` has 2 names", NULL);
  start("rbm", 3);
  add_tensors(3, names);
  refuses(&poei_rbm_ops, POE_E_USAGE, 10, "`tensors` of `rbm` needs `file`", NULL);
  start("dbm", 3);
  poet_args_text(&a, "file", POE_ARG_FILE, file_of("W1", 3, 2, six, "b", "c1"));
  refuses(&poei_dbm_ops, POE_E_FORMAT, 10, "'W2': there is no tensor", NULL);
  /* A file that says it is something else. */
  static const char *const metadata[][2] = {{"poe.format", "1"}, {"poe.family", "energy"}};
  poei_tensor tensor = {.name = "W", .dtype = POEI_F64, .ndim = 2, .shape = {3, 2}, .count = 6};
  tensor.data = (const unsigned char *)six;
  const char *path = poet_temp_path("other.safetensors");
  check_ok(poei_safetensors_write(path, 1, &tensor, 2, metadata, &error), error);
  start_file(path);
  refuses(&poei_rbm_ops, POE_E_FORMAT, 0, "energy", NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(arguments), cmocka_unit_test(files)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
