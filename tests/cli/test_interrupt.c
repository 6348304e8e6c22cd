/* ^C in the middle of a long run: exit code 130, a complete file with the draws so far, and nothing else on disk. */
#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "formats/tensor_file.h"
#include "formats/text_file.h"
#include "tests/support/check.h"

enum { MOST_ARGUMENTS = 24, DRAWS = 200000 };

static const char program[] = "var x : real[3]\n"
                              "t = formula(x | energy=norm(x)^4 + x[0]*x[1]*x[2])\n"
                              "sample(t, chains=4, draws=200000, warmup=100, method=hmc, leapfrog=500, gate=report)\n";

static void wait_a_little(double seconds) {
  struct timespec time = {(time_t)seconds, (long)((seconds - floor(seconds)) * 1e9)};
  nanosleep(&time, NULL);
}

/* Runs poe with `arguments` (NULL at the end), interrupts it after some time, and returns its exit code. */
static int interrupt_after(const char *const *arguments, double after) {
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    const char *argv[MOST_ARGUMENTS + 2] = {POE_COMMAND};
    for (size_t i = 0; i < MOST_ARGUMENTS && arguments[i] != NULL; i++) {
      argv[i + 1] = arguments[i];
    }
    int out = open("out.txt", O_WRONLY | O_CREAT | O_TRUNC, 0600),
        err = open("err.txt", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (out < 0 || err < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0) {
      _exit(99);
    }
    execv(POE_COMMAND, (char *const *)(uintptr_t)argv);
    _exit(98);
  }
  wait_a_little(after);
  kill(child, SIGINT);
  int status = 0;
  assert_int_equal(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* The same, later and later until the run had time to leave `file`: how fast it is depends on the machine. */
static int interrupt(const char *const *arguments, const char *file) {
  int code = 0;
  for (double after = 1.0; after < 100.0; after *= 2.0) {
    code = interrupt_after(arguments, after);
    if (code != 130 || access(file, R_OK) == 0) {
      break;
    }
  }
  return code;
}

/* No temporary file was left in the folder. */
static void expect_clean(const char *folder) {
  DIR *dir = opendir(folder);
  assert_non_null(dir);
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
    if (strstr(entry->d_name, "tmp") != NULL) {
      fail_msg("left behind: %s/%s", folder, entry->d_name);
    }
  }
  closedir(dir);
}

static size_t expect_draws(const char *path) {
  poei_tensor_file *file = NULL;
  poe_error error = {0};
  check_ok(poei_tensor_file_open(path, &file, &error), error);
  const poei_tensor *x = poei_tensor_file_find(file, "x"), *lp = poei_tensor_file_find(file, "sample_stats.lp");
  assert_non_null(x);
  assert_non_null(lp);
  assert_non_null(poei_tensor_file_find(file, "gate.passed"));
  assert_int_equal(x->ndim, 3);
  assert_int_equal(x->shape[0], 4);
  size_t draws = x->shape[1];
  assert_true(draws > 0 && draws < DRAWS);
  assert_int_equal(x->shape[2], 3);
  assert_int_equal(lp->count, 4 * draws);
  double *values = malloc(x->count * sizeof *values);
  poei_tensor_to_double(x, values);
  for (size_t i = 0; i < x->count; i++) {
    assert_true(isfinite(values[i]) && fabs(values[i]) < 10.0);
  }
  free(values);
  poei_tensor_file_close(file);
  return draws;
}

static void test_sample(void **state) {
  (void)state;
  const char *const arguments[] = {"sample",   "long.poe", "t",          "--draws", "200000", "--warmup", "100",
                                   "--method", "hmc",      "--leapfrog", "500",     "-o",     "cut.npz",  "--threads",
                                   "2",        "--json",   "--seed",     "5",       NULL};
  assert_int_equal(interrupt(arguments, "cut.npz"), 130);
  size_t draws = expect_draws("cut.npz");
  json_error_t error;
  json_t *result = json_load_file("out.txt", 0, &error);
  assert_non_null(result);
  assert_int_equal(json_integer_value(json_object_get(result, "draws")), draws);
  assert_true(json_is_true(json_object_get(result, "interrupted")));
  assert_non_null(json_object_get(result, "summary"));
  json_decref(result);
  expect_clean(".");
}

static void test_run(void **state) {
  (void)state;
  const char *const arguments[] = {"run", "long.poe", "--threads", "2", "--quiet", NULL};
  assert_int_equal(interrupt(arguments, "long.out/t.npz"), 130);
  expect_draws("long.out/t.npz");
  expect_clean("long.out");
  json_error_t error;
  json_t *summary = json_load_file("long.out/summary.json", 0, &error), *actions = json_object_get(summary, "actions");
  assert_string_equal(json_string_value(json_object_get(summary, "status")), "E_INTERRUPTED");
  assert_int_equal(json_array_size(actions), 1);
  assert_true(json_is_true(json_object_get(json_object_get(json_array_get(actions, 0), "result"), "interrupted")));
  json_decref(summary);
  json_t *manifest = json_load_file("long.out/manifest.json", 0, &error);
  assert_non_null(manifest);
  json_decref(manifest);
  static const char *const files[] = {"t.npz", "summary.json", "manifest.json"};
  for (size_t i = 0; i < 3; i++) {
    char path[64];
    snprintf(path, sizeof path, "long.out/%s", files[i]);
    assert_int_equal(unlink(path), 0);
  }
  assert_int_equal(rmdir("long.out"), 0);
}

/* Before the first draw there is nothing to keep: the old file stays. */
static void test_too_early(void **state) {
  (void)state;
  poet_temp_file("old.npz", "precious", 8);
  const char *const arguments[] = {"sample",   "long.poe", "t",        "--draws", "10",
                                   "--warmup", "4000000",  "--method", "hmc",     "--leapfrog",
                                   "500",      "-o",       "old.npz",  "--quiet", NULL};
  assert_int_equal(interrupt_after(arguments, 0.7), 130);
  char *text = NULL;
  size_t size = 0;
  poe_error error = {0};
  check_ok(poei_file_read("old.npz", 100, &text, &size, &error), error);
  assert_string_equal(text, "precious");
  free(text);
  expect_clean(".");
}

int main(void) {
  poet_temp_file("long.poe", program, sizeof program - 1);
  if (chdir(poet_temp_dir()) != 0) {
    return 1;
  }
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_sample),
      cmocka_unit_test(test_run),
      cmocka_unit_test(test_too_early),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
