/* Draws on disk: arrays and their shapes, clamped and derived variables, CmdStan's layout, and what is refused before
 * anything is drawn. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/alloc.h"
#include "formats/tensor_file.h"
#include "formats/text_file.h"
#include "tests/answer/fixture.h"
#include "tests/net/model_file.h"
#include "tests/support/check.h"

enum { CHAINS = 2, DRAWS = 5 };

static const char program[] =
    "var z : real[2]\n"
    "var y : real[2, 2]\n"
    "var unused : real\n"
    "image = decoder(z | file=\"decoder.safetensors\", shape=[3, 1])\n"
    "a = gaussian(z | mean=[1, -1], sd=2)\n"
    "b = gaussian(y | mean=0, sd=1)\n"
    "known = (a * b) given (y[1] = [7, 8])\n"
    "bent = formula(z | energy=norm(z)^4 + z[0]*z[1]/4)\n"
    "three = formula(z, y[0] | energy=norm(z)^4 + norm(y[0])^4 + z[0]*z[1]*y[0, 0]*y[0, 1]/9)\n";

/* image_k = sum_j w[k, j] z_j + b_k with the numbers of model_write: 0.01 (index + 1). */
static double image_value(const double *z, size_t k) {
  double value = 0.01 * (double)(k + 1);
  for (size_t j = 0; j < 2; j++) {
    value += 0.01 * (double)(2 * k + j + 1) * z[j];
  }
  return value;
}

static void open_program(fixture *f) {
  static const model_tensor tensors[] = {{"w", 3, 2, NULL}, {"b", 3, 0, NULL}};
  static const char *const metadata[][2] = {{"poe.format", "1"},
                                            {"poe.family", "decoder"},
                                            {"poe.input", "[2]"},
                                            {"poe.layers", "[{\"op\":\"linear\",\"weight\":\"w\",\"bias\":\"b\"}]"},
                                            {NULL, NULL}};
  model_write("decoder.safetensors", 2, tensors, metadata);
  fixture_open(f, "files.poe", program, 18446744073709551615u); /* seeds are whole 64-bit numbers */
}

static json_t *sample(fixture *f, const char *target, const char *file, const char *method, const char *save,
                      poe_status expected, poe_error *error) {
  fixture_action a;
  const char *options[9][2] = {
      {"chains", "2"}, {"draws", "5"}, {"warmup", "20"}, {"gate", "report"}, {"method", method}};
  size_t n = 5;
  if (file != NULL) {
    options[n][0] = "output";
    options[n++][1] = file;
  }
  if (save != NULL) {
    options[n][0] = "save";
    options[n][1] = save;
  }
  return fixture_perform(f, poei_answer_sample, fixture_act(&a, "sample", target, (const char *const(*)[2])options),
                         expected, error);
}

static void read_array(const poei_tensor_file *file, const char *name, size_t ndim, const size_t *shape, double *out) {
  const poei_tensor *t = poei_tensor_file_find(file, name);
  if (t == NULL) {
    fail_msg("no array '%s'", name);
  }
  assert_int_equal(t->ndim, ndim);
  for (size_t k = 0; k < ndim; k++) {
    assert_int_equal(t->shape[k], shape[k]);
  }
  if (out != NULL) {
    poei_tensor_to_double(t, out);
  }
}

static void test_npz(void **state) {
  (void)state;
  fixture f;
  poe_error error = {0};
  open_program(&f);
  const char *path = poet_temp_path("draws.npz");
  json_decref(sample(&f, "known", path, "auto", "image,z,image", POE_OK, &error));
  poei_tensor_file *file = NULL;
  check_ok(poei_tensor_file_open(path, &file, &error), error);
  double z[CHAINS * DRAWS * 2], y[CHAINS * DRAWS * 4], image[CHAINS * DRAWS * 3], passed = 0.0;
  read_array(file, "z", 3, (size_t[]){CHAINS, DRAWS, 2}, z);
  read_array(file, "y", 4, (size_t[]){CHAINS, DRAWS, 2, 2}, y);
  read_array(file, "image", 4, (size_t[]){CHAINS, DRAWS, 3, 1}, image);
  read_array(file, "gate.passed", 0, NULL, &passed);
  double lp[CHAINS * DRAWS];
  read_array(file, "sample_stats.lp", 2, (size_t[]){CHAINS, DRAWS}, lp);
  assert_true(passed == 1.0); /* exact draws */
  assert_null(poei_tensor_file_find(file, "unused"));
  assert_null(poei_tensor_file_find(file, "sample_stats.energy"));
  for (size_t i = 0; i < CHAINS * DRAWS; i++) {
    assert_true(y[4 * i + 2] == 7.0 && y[4 * i + 3] == 8.0); /* clamped, and in its place */
    for (size_t k = 0; k < 3; k++) {
      check_close(image[3 * i + k], image_value(z + 2 * i, k), 1e-6, 1e-6);
    }
    /* lp is that of the target, the clamped factor included */
    double x[6] = {z[2 * i], z[2 * i + 1], y[4 * i], y[4 * i + 1], 7.0, 8.0}, expected = 0.0;
    for (size_t j = 0; j < 6; j++) {
      double u = j < 2 ? (x[j] - (j == 0 ? 1.0 : -1.0)) / 2.0 : x[j];
      expected += -0.5 * log(2.0 * 3.14159265358979323846) - (j < 2 ? log(2.0) : 0.0) - 0.5 * u * u;
    }
    check_close(lp[i], expected, 1e-9, 1e-9);
  }
  poei_tensor_file_close(file);
  /* a kernel's draws have its statistics, and a failed gate is said */
  json_t *r = sample(&f, "bent", path, "hmc", NULL, POE_OK, &error);
  assert_true(json_is_false(json_object_get(json_object_get(r, "gate"), "passed"))); /* 10 draws */
  json_decref(r);
  check_ok(poei_tensor_file_open(path, &file, &error), error);
  static const char *const stats[] = {"sample_stats.lp", "sample_stats.acceptance_rate", "sample_stats.diverging",
                                      "sample_stats.energy"};
  for (size_t k = 0; k < 4; k++) {
    read_array(file, stats[k], 2, (size_t[]){CHAINS, DRAWS}, NULL);
  }
  read_array(file, "gate.passed", 0, NULL, &passed);
  assert_true(passed == 0.0);
  poei_tensor_file_close(file);
  fixture_close(&f);
}

static void test_csv(void **state) {
  (void)state;
  fixture f;
  poe_error error = {0};
  open_program(&f);
  json_decref(sample(&f, "known", poet_temp_path("draws.csv"), "auto", "image", POE_OK, &error));
  static const char *const names[] = {"lp__",  "accept_stat__", "stepsize__", "divergent__", "energy__",
                                      "z.1",   "z.2",           "y.1.1",      "y.1.2",       "y.2.1",
                                      "y.2.2", "image.1.1",     "image.2.1",  "image.3.1"};
  enum { COLUMNS = 14 };
  for (size_t c = 1; c <= CHAINS; c++) {
    char name[32];
    snprintf(name, sizeof name, "draws_%zu.csv", c);
    poei_csv csv = {0};
    check_ok(poei_csv_read(poet_temp_path(name), &csv, &error), error);
    assert_int_equal(csv.rows, DRAWS);
    assert_int_equal(csv.columns, COLUMNS);
    for (size_t j = 0; j < COLUMNS; j++) {
      assert_string_equal(csv.names[j], names[j]);
    }
    for (size_t i = 0; i < DRAWS; i++) {
      const double *row = csv.values + i * COLUMNS;
      assert_true(row[9] == 7.0 && row[10] == 8.0);
      check_close(row[12], image_value(row + 5, 1), 1e-6, 1e-6);
    }
    poei_csv_free(&csv);
  }
  char *text = NULL;
  size_t size = 0;
  check_ok(poei_file_read(poet_temp_path("draws_2.csv"), 1 << 20, &text, &size, &error), error);
  static const char *const lines[] = {"# model = known\n", "# chain = 2\n", "# seed = 18446744073709551615\n",
                                      "# gate = passed\n"};
  for (size_t k = 0; k < 4; k++) {
    assert_non_null(strstr(text, lines[k]));
  }
  poei_free(text);
  fixture_close(&f);
}

/* What cannot be written is refused before the first draw: the run would take hours otherwise. */
static void test_refused_early(void **state) {
  (void)state;
  fixture f;
  poe_error error = {0};
  open_program(&f);
  atomic_store(&f.stop, true); /* drawing would end in POE_E_INTERRUPTED */
  assert_null(sample(&f, "bent", "draws.txt", "hmc", NULL, POE_E_USAGE, &error));
  assert_null(sample(&f, "bent", "draws", "hmc", NULL, POE_E_USAGE, &error));
  assert_null(sample(&f, "bent", "/none/such/draws.npz", "hmc", NULL, POE_E_FILE, &error));
  assert_non_null(strstr(error.message, "/none/such"));
  assert_null(sample(&f, "bent", poet_temp_path("ok.npz"), "hmc", "imgae", POE_E_NAME, &error));
  assert_non_null(strstr(error.message, "imgae"));
  assert_null(sample(&f, "bent", NULL, "hmc", "bent", POE_E_NAME, &error)); /* an expert is not a variable */
  assert_null(sample(&f, "bent", poet_temp_path("ok.npz"), "hmc", "image", POE_E_INTERRUPTED, &error));
  assert_int_not_equal(access(poet_temp_path("ok.npz"), F_OK), 0);
  fixture_close(&f);
}

static void test_init(void **state) {
  (void)state;
  fixture f;
  fixture_action a;
  poe_error error = {0};
  open_program(&f);
  static const struct {
    const char *text, *method;
    poe_status status;
    const char *part;
  } cases[] = {{"1,2\n3,4\n", "hmc", POE_OK, ""},
               {"1\n", "hmc", POE_E_SHAPE, "of 1 columns"},
               {"1,2,3\n", "rwm", POE_E_SHAPE, "of 3 columns"},
               {"1,2\n1,x\n", "rwm", POE_E_FORMAT, ""},
               {"nan,1\n", "rwm", POE_E_NUMERIC, "chain"},
               {"1,2\n", "exact", POE_E_USAGE, "starting points"},
               {NULL, "hmc", POE_E_FILE, "none.csv"}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    const char *path = cases[i].text == NULL ? poet_temp_path("none.csv")
                                             : poet_temp_file("init.csv", cases[i].text, strlen(cases[i].text));
    const char *const options[][2] = {{"init", path},  {"method", cases[i].method}, {"draws", "5"},
                                      {"warmup", "0"}, {"gate", "report"},          {"thin", "3"},
                                      {NULL, NULL}};
    json_t *r =
        fixture_perform(&f, poei_answer_sample, fixture_act(&a, "sample", "bent", options), cases[i].status, &error);
    assert_int_equal(r != NULL, cases[i].status == POE_OK);
    if (cases[i].status != POE_OK) {
      assert_non_null(strstr(error.message, cases[i].part));
    } else {
      /* no warmup is no warmup: 4 chains of 5 draws, 3 steps each, jittered leapfrogs of a step size found at the start
       */
      assert_true(fixture_number(r, "density_evaluations") + fixture_number(r, "gradient_evaluations") < 4 * 15 * 600);
    }
    json_decref(r);
  }
  static const char *const bad[][2] = {{"thin", "0"},      {"draws", "0"},      {"chains", "-1"},
                                       {"step_size", "0"}, {"step_size", "-1"}, {"leapfrog", "0"}};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    const char *const options[][2] = {{bad[i][0], bad[i][1]}, {NULL, NULL}};
    assert_null(
        fixture_perform(&f, poei_answer_sample, fixture_act(&a, "sample", "bent", options), POE_E_USAGE, &error));
    assert_non_null(strstr(error.message, bad[i][0]));
  }
  fixture_close(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_npz),
      cmocka_unit_test(test_csv),
      cmocka_unit_test(test_refused_early),
      cmocka_unit_test(test_init),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
