/* The command as a user meets it: exit codes, JSON keys, messages with place and hint, and what is left on disk.
 * Every case runs the built program on files written by the test. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "experts/list.h"
#include "formats/tensor_file.h"
#include "formats/tensor_write.h"
#include "formats/text_file.h"
#include "tests/support/check.h"

enum { OUTPUT_SIZE = 1 << 20 };

static char out_text[OUTPUT_SIZE], err_text[OUTPUT_SIZE];

static void read_text(const char *path, char *text) {
  FILE *file = fopen(path, "rb");
  size_t n = file == NULL ? 0 : fread(text, 1, OUTPUT_SIZE - 1, file);
  text[n] = '\0';
  if (file != NULL) {
    fclose(file);
  }
}

/* Runs `poe <arguments>` in the temporary directory; returns the exit code and fills out_text and err_text. */
static int poe(const char *arguments) {
  char line[4096];
  snprintf(line, sizeof line, "cd %s && XDG_CACHE_HOME=%s %s %s >out.txt 2>err.txt </dev/null", poet_temp_dir(),
           poet_temp_dir(), POE_COMMAND, arguments);
  int status = system(line);
  read_text(poet_temp_path("out.txt"), out_text);
  read_text(poet_temp_path("err.txt"), err_text);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void write_text(const char *name, const char *text) {
  poet_temp_file(name, text, strlen(text));
}

/* The JSON object printed by the last run; the test owns it. */
static json_t *printed(void) {
  json_error_t error;
  json_t *value = json_loads(out_text, 0, &error);
  if (value == NULL) {
    fail_msg("not JSON (%s): %.200s\nstderr: %.400s", error.text, out_text, err_text);
  }
  return value;
}

static double number(const json_t *object, const char *key) {
  const json_t *value = json_object_get(object, key);
  if (!json_is_number(value)) {
    fail_msg("'%s' is not a number in %.300s", key, out_text);
  }
  return json_number_value(value);
}

static void expect_exit(const char *arguments, int code) {
  int actual = poe(arguments);
  if (actual != code) {
    fail_msg("poe %s: exit code %d, expected %d\nstdout: %.300s\nstderr: %.600s", arguments, actual, code, out_text,
             err_text);
  }
}

static const char gaussians[] = "var x : real[2]\n"
                                "a = gaussian(x | mean=[1, -1], sd=2)\n"
                                "b = gaussian(x | mean=0, sd=[1, 3])\n"
                                "both = a * b\n"
                                "either = a or b\n";

/* log Z of the product of two diagonal Gaussians: sum of log N(m1 - m2; 0, s1^2 + s2^2). */
static double gaussians_log_z(void) {
  double z = 0.0, m[2] = {1.0, -1.0}, v[2] = {4.0 + 1.0, 4.0 + 9.0};
  for (int j = 0; j < 2; j++) {
    z += -0.5 * log(2.0 * 3.14159265358979323846 * v[j]) - 0.5 * m[j] * m[j] / v[j];
  }
  return z;
}

/* An estimate whose moves had not forgotten their start is an answer, with a warning; its neighbour comes without. */
static void test_unsettled(void **state) {
  (void)state;
  static const char program[] = "var v : real\n"
                                "var x : real[9]\n"
                                "wide = gaussian(v | mean=0, sd=3) * gaussian(x | mean=0, sd=10)\n"
                                "neck = formula(v, x | energy=0.5*exp(-2*abs(v))*sum(x^2) - 0.005*sum(x^2) + "
                                "9*abs(v))\n"
                                "funnel = wide * neck\n"
                                "easy = gaussian(v | mean=0, sd=1) * gaussian(x | mean=0, sd=1) *\n"
                                "       formula(v, x | energy=(v*x[0])^2 + (x[1]*x[2])^2)\n";
  static const char *const verbs[] = {"logz unsettled.poe %s --chains 2 --tol 10",
                                      "sample unsettled.poe %s --chains 2 --draws 128 --gate report",
                                      "compare unsettled.poe %s --by easy --chains 2 --draws 128 --gate report"};
  poet_temp_file("unsettled.poe", program, strlen(program));
  for (size_t i = 0; i < 3; i++) {
    char text[256];
    snprintf(text, sizeof text, verbs[i], "funnel");
    expect_exit(text, 0);
    assert_non_null(strstr(out_text, "warning: the moves of sequential Monte Carlo had not forgotten their start"));
    assert_non_null(strstr(out_text, i == 0 ? "--particles" : "--draws"));
    snprintf(text, sizeof text, verbs[i], "easy");
    expect_exit(text, 0);
    assert_null(strstr(out_text, "warning"));
  }
}

static void test_logz(void **state) {
  (void)state;
  write_text("g.poe", gaussians);
  expect_exit("logz g.poe both --json", 0);
  json_t *r = printed();
  check_close(number(r, "log_z"), gaussians_log_z(), 1e-9, 0);
  check_close(number(r, "std_error"), 0.0, 0, 0);
  assert_true(json_is_true(json_object_get(r, "exact")));
  assert_string_equal(json_string_value(json_object_get(r, "target")), "both");
  assert_non_null(json_object_get(r, "method"));
  assert_non_null(json_object_get(r, "gap"));
  assert_non_null(json_object_get(r, "seconds"));
  json_decref(r);
  expect_exit("logz g.poe 'a * b^2 / b' --json", 0);
  r = printed();
  check_close(number(r, "log_z"), gaussians_log_z(), 1e-9, 0);
  json_decref(r);
  expect_exit("logz g.poe either --json", 0); /* the default weights of `or` sum to 1 */
  r = printed();
  check_close(number(r, "log_z"), 0.0, 1e-9, 0);
  json_decref(r);
}

static void test_score(void **state) {
  (void)state;
  write_text("g.poe", gaussians);
  write_text("points.csv", "0,0\n1,-1\n");
  expect_exit("score g.poe both --data points.csv --grad --each --json", 0);
  json_t *r = printed();
  json_t *logp = json_object_get(r, "log_density"), *each = json_object_get(r, "each");
  assert_int_equal(json_array_size(logp), 2);
  for (size_t i = 0; i < 2; i++) {
    double a = json_number_value(json_array_get(json_object_get(each, "a"), i));
    double b = json_number_value(json_array_get(json_object_get(each, "b"), i));
    check_close(json_number_value(json_array_get(logp, i)), a + b, 1e-12, 1e-12);
  }
  /* d/dx0 at 0: 1/4 from a, 0 from b; d/dx1: -1/4 */
  json_t *g = json_array_get(json_object_get(r, "grad"), 0);
  check_close(json_number_value(json_array_get(g, 0)), 0.25, 1e-12, 0);
  check_close(json_number_value(json_array_get(g, 1)), -0.25, 1e-12, 0);
  assert_true(json_is_false(json_object_get(r, "normalised")));
  json_decref(r);
}

static void test_sample(void **state) {
  (void)state;
  write_text("g.poe", gaussians);
  expect_exit("sample g.poe both --json -o draws.npz --seed 3", 0);
  json_t *r = printed();
  assert_true(json_is_true(json_object_get(r, "exact")));
  assert_true(json_is_true(json_object_get(json_object_get(r, "gate"), "passed")));
  json_t *row = json_array_get(json_object_get(json_object_get(r, "summary"), "x"), 0);
  static const char *const keys[] = {"index",  "mean", "sd",   "mcse_mean", "q5",
                                     "median", "q95",  "rhat", "ess_bulk",  "ess_tail"};
  for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++) {
    (void)number(row, keys[k]);
  }
  /* x0 ~ N(0.2, 0.8): 5 standard errors of 4000 independent draws, false alarm 6e-7 */
  check_close(number(row, "mean"), 0.2, 5.0 * sqrt(0.8 / 4000.0), 0);
  json_decref(r);
  poei_tensor_file *file = NULL;
  poe_error error = {0};
  check_ok(poei_tensor_file_open(poet_temp_path("draws.npz"), &file, &error), error);
  const poei_tensor *x = poei_tensor_file_find(file, "x");
  assert_non_null(x);
  assert_int_equal(x->ndim, 3);
  assert_int_equal(x->shape[0], 4);
  assert_int_equal(x->shape[1], 1000);
  assert_int_equal(x->shape[2], 2);
  assert_non_null(poei_tensor_file_find(file, "sample_stats.lp"));
  poei_tensor_file_close(file);
  expect_exit("sample g.poe both --quiet -o draws.csv --draws 10", 0);
  read_text(poet_temp_path("draws_4.csv"), out_text);
  assert_non_null(strstr(out_text, "lp__,accept_stat__,stepsize__,divergent__,energy__,x.1,x.2"));
}

/* Same seed, same bits, for 1 and 2 threads and every route of drawing. */
static void test_threads(void **state) {
  (void)state;
  write_text("t.poe", "var x : real[3]\n"
                      "a = gaussian(x | mean=0, sd=1)\n"
                      "b = formula(x | energy=(x[0]^2 - x[1])^2 + abs(x[2])^3)\n"
                      "both = a * b\n"
                      "other = a * formula(x | energy=softplus(4*x[0]))\n"
                      "either = both or other\n");
  static const char *const runs[] = {"both --method hmc --draws 50 --warmup 50 --chains 80",
                                     "both --method mala --draws 50 --warmup 50 --chains 3",
                                     "both --method smc --chains 4 --draws 100", "either --chains 4 --draws 60"};
  for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++) {
    char line[512];
    snprintf(line, sizeof line, "sample t.poe %s --gate report --no-cache --threads 1 --seed 7 -o one.npz", runs[i]);
    expect_exit(line, 0);
    snprintf(line, sizeof line, "sample t.poe %s --gate report --no-cache --threads 2 --seed 7 -o two.npz", runs[i]);
    expect_exit(line, 0);
    char hex[2][65];
    poe_error error = {0};
    check_ok(poei_sha256_file(poet_temp_path("one.npz"), hex[0], &error), error);
    check_ok(poei_sha256_file(poet_temp_path("two.npz"), hex[1], &error), error);
    assert_string_equal(hex[0], hex[1]);
  }
}

typedef struct bad_case {
  const char *arguments, *text; /* text: contents of bad.poe */
  int code;
  const char *parts[3]; /* of stderr */
} bad_case;

static void test_bad_input(void **state) {
  (void)state;
  static const bad_case cases[] = {
      {"frobnicate bad.poe", "", 2, {"unknown verb 'frobnicate'"}},
      {"sampel bad.poe", "", 2, {"did you mean 'sample'?"}},
      {"sample", "", 2, {"sample needs a file"}},
      {"sample bad.poe --chians 3", "", 2, {"--chians", "did you mean '--chains'?"}},
      {"sample bad.poe --chains", "", 2, {"--chains needs a value"}},
      {"sample bad.poe --step-sise 1", "", 2, {"--step-sise", "did you mean '--step-size'?"}},
      {"sample bad.poe --json=maybe", "", 2, {"--json"}},
      {"sample bad.poe --seed 1 --seed 2", "", 2, {"--seed is given twice"}},
      {"sample bad.poe --seed 18446744073709551616", "var x : real\na = gaussian(x | mean=0, sd=1)\n", 2, {"seed"}},
      {"sample bad.poe --threads -1", "var x : real\na = gaussian(x | mean=0, sd=1)\n", 2, {"threads"}},
      {"sample bad.poe --threads 2x", "var x : real\na = gaussian(x | mean=0, sd=1)\n", 2, {"threads"}},
      {"sample bad.poe --set a", "var x : real\na = gaussian(x | mean=0, sd=1)\n", 2, {"--set takes"}},
      {"sample bad.poe --set a.=1", "var x : real\na = gaussian(x | mean=0, sd=1)\n", 2, {"--set takes"}},
      {"check bad.poe",
       "var x : real[2]\na = gaussian(x | mean=0, sd=2)\nb = gaussian(x | mean=0, sd=[1, 9])\nc = a / b\nsample(c)\n",
       2,
       {"bad.poe:4:5", "normalis"}},
      {"check bad.poe",
       "var x : real\na = uniform(x | low=0, high=1)\nb = uniform(x | low=2, high=3)\nlogz(a * b)\n",
       2,
       {"a * b", "empty"}},
#define ABC "var x : real\na = gaussian(x | mean=0, sd=2)\nb = gaussian(x | mean=0, sd=1)\nc = b / (a * a)\n"
      {"check bad.poe", ABC "d = a / b\n", 2, {"bad.poe:5:5: error", "normalis", "along x "}}, /* the default target */
      {"check bad.poe", ABC "d = a / b\nlogz(c)\n", 0, {"bad.poe:5:5: warning", "normalis", "along x "}},
      {"check bad.poe", ABC "d = a / b\nlogz(d)\n", 2, {"bad.poe:5:5: error", "normalis"}},
      {"check bad.poe", ABC "d = a / b\nexplain(d)\n", 2, {"bad.poe:5:5: error", "normalis"}},
      {"check bad.poe", ABC "d = a / b\nscore(d, data=\"x.csv\")\n", 0, {""}},
      {"check bad.poe", ABC "d = a / b\nsample(b)\nlogz(b / (a * a))\ne = d * c\n", 0, {"bad.poe:8:5: warning"}},
      {"logz bad.poe", /* what no form shows, sampling meets */
       "var x, y, z : real\na = gaussian(x, y, z | mean=0, sd=1)\n"
       "far = a * formula(x, y, z | log_density=0.6*y^2 - 50*(x - 0.2*y*sin(log1p(y^2)))^2 - 0.01*log1p(x^2*z^2))\n",
       4,
       {"bad.poe:3:7: error", "run away along y:", "finite integral"}},
      {"logz bad.poe", /* or a ray */
       "var x, y, z : real\na = gaussian(x, y, z | mean=0, sd=1)\n"
       "far = a * formula(x, y, z | log_density=0.6*y^2*(1 + 1e-9*tanh(x*z)) - 0.01*log1p(x^2*z^2))\n",
       2,
       {"bad.poe:3:7: error", "along y it grows without bound", "falls off faster"}},
      {"logz bad.poe",
       "var x, y, z : real\na = gaussian(x, y, z | mean=0, sd=1)\n"
       "far = a * formula(x, y, z | log_density=sqrt(x*y*z))\n",
       4,
       {"bad.poe:3:11: error", "nan at a draw", "it comes from `formula`"}},
      {"bench bad.poe --peer numpy", "var x : real\na = gaussian(x | mean=0, sd=1)\n", 2, {"auto|pytorch|none"}},
      {"bench bad.poe --peer pytorch", "var x : real\na = gaussian(x | mean=0, sd=1)\n", 2, {"energy alone"}},
      {"sample bad.poe --chains x", "var x : real\na = gaussian(x | mean=0, sd=1)\n", 2, {"whole number", "'x'"}},
      {"sample bad.poe --method warp", "", 2, {"--method cannot be 'warp'", "auto|exact"}},
      {"logz missing.poe", "", 3, {"missing.poe"}},
      {"logz bad.poe", "var x : real\na = gausian(x | mean=0, sd=1)\n", 2, {"bad.poe:2:5", "did you mean 'gaussian'?"}},
      {"logz bad.poe", "var x : real\na = gaussian(x | mean=[0,1], sd=1)\n", 2, {"bad.poe:2:", "mean"}},
      {"logz bad.poe", "var x : real[2]\na = gaussian(x | mean=0, cov=[[1,2],[2,1]])\n", 2, {"bad.poe:2:", "definite"}},
      {"logz bad.poe",
       "var x : real[2]\na = gaussian(x | mean=0, sd=2)\nb = gaussian(x | mean=0, sd=[1, 9])\nc = a / b\n",
       2,
       {"bad.poe:4:5", "normalis", "x[0]"}},
      {"logz bad.poe",
       "var x : real\na = uniform(x | low=0, high=1)\nb = uniform(x | low=2, high=3)\nc = a * b\n",
       2,
       {"empty"}},
      {"logz bad.poe", "var x : real[4]\na = energy(x | file=\"none.safetensors\")\n", 3, {"none.safetensors"}},
      {"logz bad.poe", "var x : real[4]\na = energy(x | file=\"broken.safetensors\")\n", 3, {"broken.safetensors"}},
      {"score bad.poe", "var x : real\na = gaussian(x | mean=0, sd=1)\n", 2, {"--data"}},
      {"score bad.poe --data wide.csv", "var x : real\na = gaussian(x | mean=0, sd=1)\n", 2, {"wide.csv", "3 columns"}},
      {"score bad.poe --data none.csv", "var x : real\na = gaussian(x | mean=0, sd=1)\n", 3, {"none.csv"}},
      {"sample bad.poe -o draws.xyz",
       "var x : real\na = gaussian(x | mean=0, sd=1)\n",
       2,
       {"draws.xyz", ".npz or .csv"}},
      {"sample bad.poe -o no/such/folder.npz", "var x : real\na = gaussian(x | mean=0, sd=1)\n", 3, {"no/such/folder"}},
      {"run bad.poe", "var x : real\na = gaussian(x | mean=0, sd=1)\n", 2, {"no actions"}},
      {"info none.safetensors", "", 3, {"none.safetensors"}},
      {"info broken.safetensors", "", 3, {"broken.safetensors"}},
      {"help nothing", "", 2, {"no help on 'nothing'"}},
      {"help gausian", "", 2, {"no help on 'gausian'", "did you mean 'gaussian'?"}},
      {"help decodr", "", 2, {"did you mean 'decoder'?"}},
      {"help smaple", "", 2, {"did you mean 'sample'?"}},
      {"help expert", "", 2, {"did you mean 'experts'?"}},
      {"sample bad.poe --method exact",
       "var x : real[3]\na = gaussian(x | mean=0, sd=1)\n"
       "b = a * formula(x | energy=x[0]^4 + x[1]^4 + x[2]^4 * x[0]^2)\n",
       2,
       {"no exact draws"}},
  };
  write_text("broken.safetensors", "\x40\x00\x00\x00\x00\x00\x00\x00{\"a\":");
  write_text("wide.csv", "1,2,3\n");
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    write_text("bad.poe", cases[i].text);
    expect_exit(cases[i].arguments, cases[i].code);
    for (size_t k = 0; k < 3 && cases[i].parts[k] != NULL; k++) {
      if (strstr(err_text, cases[i].parts[k]) == NULL) {
        fail_msg("poe %s (%s): '%s' is not in: %s", cases[i].arguments, cases[i].text, cases[i].parts[k], err_text);
      }
    }
  }
}

/* A run that fails leaves the old file as it was. */
static void test_nothing_overwritten(void **state) {
  (void)state;
  write_text("g.poe", gaussians);
  write_text("kept.npz", "precious");
  expect_exit("sample g.poe both --save nothing -o kept.npz", 2);
  read_text(poet_temp_path("kept.npz"), out_text);
  assert_string_equal(out_text, "precious");
}

static void test_gate(void **state) {
  (void)state;
  /* two narrow modes far apart: chains started in both cannot mix, whatever the kernel */
  write_text("modes.poe", "var x : real[3]\n"
                          "m = formula(x | log_density=logsumexp(-norm([x[0]-9, x[1], x[2]])^2*8, "
                          "-norm([x[0]+9, x[1], x[2]])^2*8))\n"
                          "flat = uniform(x | low=-12, high=12)\n"
                          "target = flat * m\n");
  expect_exit("sample modes.poe target --method hmc --chains 8 --draws 200 --warmup 200 -o modes.npz --json", 1);
  json_t *r = printed();
  json_t *gate = json_object_get(r, "gate");
  assert_true(json_is_false(json_object_get(gate, "passed")));
  assert_true(json_array_size(json_object_get(gate, "reasons")) > 0);
  json_decref(r);
  assert_int_equal(access(poet_temp_path("modes.npz"), R_OK), 0); /* results are still written */
  expect_exit("sample modes.poe target --method hmc --chains 8 --draws 200 --warmup 200 --gate report", 0);
}

static void test_run(void **state) {
  (void)state;
  write_text("job.poe", "var x : real[2]\n"
                        "a = gaussian(x | mean=[1, -1], sd=2)\n"
                        "b = gaussian(x | mean=0, sd=[1, 3])\n"
                        "both = a * b\n"
                        "either = a or b\n"
                        "sample(both, draws=100)\n"
                        "logz(both)\n"
                        "compare(both, either, by=[a, b], draws=500)\n");
  expect_exit("run job.poe", 0);
  read_text(poet_temp_path("job.out/summary.json"), out_text);
  json_t *r = printed();
  json_t *actions = json_object_get(r, "actions");
  assert_int_equal(json_array_size(actions), 3);
  json_t *compare = json_object_get(json_array_get(actions, 2), "result");
  json_t *targets = json_object_get(compare, "targets");
  json_t *and = json_object_get(targets, "both"), * or = json_object_get(targets, "either");
  assert_true(number(and, "all") > number(or, "all"));
  (void)number(json_object_get(and, "satisfaction"), "a");
  (void)number(json_object_get(and, "satisfaction"), "a_se");
  (void)number(json_object_get(and, "mean_log_density"), "b_se");
  json_decref(r);
  read_text(poet_temp_path("job.out/manifest.json"), out_text);
  r = printed();
  assert_int_equal(json_array_size(json_object_get(r, "inputs")), 1);
  json_decref(r);
  assert_int_equal(access(poet_temp_path("job.out/both.npz"), R_OK), 0);
  expect_exit("run job.poe --quiet", 0); /* again, over its own results */
  char line[300];
  snprintf(line, sizeof line, "rm -r %s", poet_temp_path("job.out"));
  assert_int_equal(system(line), 0);
}

/* Files an action reads are relative to its .poe file, whatever the working directory; what it writes goes into the
 * run's folder. */
static void test_run_elsewhere(void **state) {
  (void)state;
  char line[300];
  snprintf(line, sizeof line, "mkdir -p %s", poet_temp_path("sub"));
  assert_int_equal(system(line), 0);
  write_text("sub/points.csv", "0,0\n1,-1\n");
  write_text("sub/job.poe", "var x : real[2]\n"
                            "a = gaussian(x | mean=0, sd=1)\n"
                            "score(a, data=\"points.csv\", output=\"scores.csv\")\n");
  expect_exit("run sub/job.poe --quiet", 0);
  assert_int_equal(access(poet_temp_path("sub/job.out/scores.csv"), R_OK), 0);
  snprintf(line, sizeof line, "rm -r %s", poet_temp_path("sub"));
  assert_int_equal(system(line), 0);
}

static void test_check(void **state) {
  (void)state;
  write_text("bad.poe", "var x : real\na = gausian(x | mean=0, sd=1)\nb = nope * 2\n");
  expect_exit("check bad.poe --json", 2);
  json_t *r = printed();
  assert_true(json_is_false(json_object_get(r, "ok")));
  json_t *list = json_object_get(r, "diagnostics");
  assert_true(json_array_size(list) >= 2); /* several errors at once */
  json_t *first = json_array_get(list, 0);
  static const char *const keys[] = {"file", "line", "column", "severity", "message", "hint"};
  for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++) {
    assert_non_null(json_object_get(first, keys[k]));
  }
  assert_int_equal(json_integer_value(json_object_get(first, "line")), 2);
  json_decref(r);
  write_text("g.poe", gaussians);
  expect_exit("check g.poe", 0);
  expect_exit("fmt g.poe", 0);
  write_text("f.poe", out_text);
  static char once[OUTPUT_SIZE];
  memcpy(once, out_text, sizeof once);
  expect_exit("fmt f.poe", 0);
  assert_string_equal(once, out_text);
}

static void test_explain_and_verify(void **state) {
  (void)state;
  write_text("g.poe", gaussians);
  expect_exit("explain g.poe both --json", 0);
  json_t *r = printed();
  static const char *const keys[] = {"target", "tree",   "rules",         "method",
                                     "exact",  "reason", "scratch_bytes", "seconds"};
  for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++) {
    assert_non_null(json_object_get(r, keys[k]));
  }
  assert_true(json_is_true(json_object_get(r, "exact")));
  json_decref(r);
  expect_exit("verify g.poe either --json", 0);
  r = printed();
  assert_true(json_array_size(json_object_get(r, "checks")) >= 4);
  json_decref(r);
}

/* The longest line of what was printed, in characters. */
static size_t longest_line(const char *text) {
  size_t longest = 0, n = 0;
  for (; *text != '\0'; text++) {
    n = *text == '\n' ? 0 : n + (((unsigned char)*text & 0xc0) != 0x80);
    longest = n > longest ? n : longest;
  }
  return longest;
}

/* explain for a person: aligned, wrapped, in the words of the program; a refused target is told as far as it goes. */
static void test_explain_text(void **state) {
  (void)state;
  unsetenv("COLUMNS");
  write_text("x.poe", "var x : real[3]\n"
                      "a = gaussian(x | mean=0, sd=1)\n"
                      "b = gaussian(x | mean=1, sd=0.5)\n"
                      "far = gaussian(x[0] | mean=3, sd=4)\n"
                      "both = a * b^2 / far\n"
                      "grows = a / b\n"
                      "odd = a * formula(x | energy=norm(x)^4 + x[0]*x[1]*x[2] + cos(x[0])^2 + sin(x[1])^2 + "
                      "exp(-x[2]^2))\n");
  expect_exit("explain x.poe both", 0);
  char *memory = strstr(out_text, "\nmemory       ");
  assert_true(memory != NULL && strstr(memory, " KiB of scratch per worker\n") != NULL);
  memory[1] = '\0'; /* how much depends on the build */
  assert_string_equal(
      out_text, "both = a * b^2 / far                                                                           x.poe\n"
                "\n"
                "as written\n"
                "  both = product over x                                                                          5:8\n"
                "    a = gaussian(x | mean=0, sd=1)                                                               2:5\n"
                "    ^2 b = gaussian(x | mean=1, sd=0.5)                                                          3:5\n"
                "    ^-1 far = gaussian(x[0] | mean=3, sd=4)                                                      4:7\n"
                "\n"
                "rules\n"
                "  gaussian algebra    a * b^2 / far → one Gaussian over x  (in both at 5:8)\n"
                "\n"
                "method       closed form (exact)\n"
                "reason       the whole is a Gaussian, which is drawn from directly; log Z is known\n"
                "dimensions   3: x\n");
  expect_exit("explain x.poe odd", 0);
  assert_true(longest_line(out_text) <= 100 && strchr(out_text, '\033') == NULL);
  assert_non_null(strstr(out_text, "in the way   `odd` has at 7:11 a formula over 3 variables"));
  setenv("COLUMNS", "60", 1);
  expect_exit("explain x.poe odd", 0);
  assert_true(longest_line(out_text) <= 60);
  unsetenv("COLUMNS");
  expect_exit("explain x.poe grows", 2);
  assert_non_null(strstr(out_text, "  grows = product over x"));
  assert_non_null(strstr(out_text, "none: the target is refused"));
  expect_exit("explain x.poe both --no-rewrite", 0);
  assert_non_null(strstr(out_text, "--no-rewrite keeps the tree as written"));
  write_text("y.poe", "var s : binary[5]\n" /* parts of different sizes are not told as one twice */
                      "y = [0, 1, 0, 1, 0]\n"
                      "seen = product(i in 0:5 -> bernoulli(s[i] | p=0.1 + 0.8*y[i]))\n");
  expect_exit("explain y.poe", 0);
  assert_non_null(strstr(out_text, "3 times bernoulli"));
  assert_non_null(strstr(out_text, "2 times bernoulli"));
  write_text("n.uai", "MARKOV\n2\n2 3\n2\n1 0\n2 0 1\n2 1 2\n6 1 2 3 4 5 6\n");
  expect_exit("explain n.uai", 0); /* the generated program has no lines to point at: the file's tables are */
  assert_non_null(strstr(out_text, "net: 2 variables and 2 tables; the largest is table 1, of 6 values over"));
  assert_null(strstr(out_text, "2:7"));
}

/* Seeds are whole 64-bit numbers, and all of them differ; constants and arguments can be set. */
static void test_settings(void **state) {
  (void)state;
  write_text("s.poe", "var x : real\nm = 3\na = gaussian(x | mean=m, sd=1)\nsample(a, draws=4, chains=2)\n"
                      "sample(a, draws=4, chains=2, seed=9)\n");
  expect_exit("sample s.poe --draws 4 --seed 18446744073709551615 --json", 0);
  json_t *large = printed();
  expect_exit("sample s.poe --draws 4 --seed 18446744073709551614 --json", 0);
  json_t *other = printed();
  assert_false(json_equal(json_object_get(large, "summary"), json_object_get(other, "summary")));
  json_decref(large);
  json_decref(other);
  expect_exit("run s.poe --seed 18446744073709551615 --quiet", 0);
  read_text(poet_temp_path("s.out/manifest.json"), out_text);
  json_t *manifest = printed();
  assert_string_equal(json_string_value(json_object_get(manifest, "seed")), "18446744073709551615");
  json_decref(manifest);
  /* an action's own seed is the one it is drawn with, whatever the command's */
  char first[OUTPUT_SIZE / 64];
  for (size_t k = 0; k < 2; k++) {
    expect_exit(k == 0 ? "run s.poe --json --seed 1" : "run s.poe --json --seed 2", 0);
    json_t *r = printed(), *actions = json_object_get(r, "actions");
    json_t *own = json_object_get(json_object_get(json_array_get(actions, 1), "result"), "summary");
    char *text = json_dumps(own, JSON_SORT_KEYS);
    if (k == 0) {
      snprintf(first, sizeof first, "%s", text);
    } else {
      assert_string_equal(first, text);
    }
    assert_false(json_equal(own, json_object_get(json_object_get(json_array_get(actions, 0), "result"), "summary")));
    free(text);
    json_decref(r);
  }
  expect_exit("run s.poe --quiet", 0);
  assert_string_equal(out_text, "results in s.out/\n");
  static const char *const sets[] = {"--set m=5", "--set a.mean=5", "--set=a.mean=2 --set m=1"};
  static const double means[] = {5.0, 5.0, 2.0};
  for (size_t k = 0; k < 3; k++) {
    char line[200];
    snprintf(line, sizeof line, "score s.poe a --data five.csv --json %s", sets[k]);
    write_text("five.csv", "5\n");
    expect_exit(line, 0);
    json_t *r = printed();
    double expected = -0.5 * log(2.0 * 3.14159265358979323846) - 0.5 * (5.0 - means[k]) * (5.0 - means[k]);
    check_close(json_number_value(json_array_get(json_object_get(r, "log_density"), 0)), expected, 1e-12, 0);
    json_decref(r);
  }
  char line[300];
  snprintf(line, sizeof line, "rm -r %s", poet_temp_path("s.out"));
  assert_int_equal(system(line), 0);
}

/* Results that cannot be written are an error, not a success. */
static void test_full_output(void **state) {
  (void)state;
  char line[4096];
  write_text("g.poe", gaussians);
  snprintf(line, sizeof line, "cd %s && %s logz g.poe both >/dev/full 2>err.txt", poet_temp_dir(), POE_COMMAND);
  int status = system(line);
  assert_int_equal(WEXITSTATUS(status), 3);
}

static void test_help(void **state) {
  (void)state;
  expect_exit("sample g.poe --help", 0);
  assert_non_null(strstr(out_text, "--step-size"));
  expect_exit("--version", 0);
  assert_non_null(strstr(out_text, "poe "));
  static const char *const topics[] = {"run",  "check",  "explain", "score",   "logz",     "sample", "compare",
                                       "info", "verify", "bench",   "experts", "gaussian", "decoder"};
  for (size_t i = 0; i < sizeof topics / sizeof topics[0]; i++) {
    char line[64];
    snprintf(line, sizeof line, "help %s", topics[i]);
    expect_exit(line, 0);
    assert_true(strlen(out_text) > 40);
  }
  expect_exit("", 2);
}

/* Every family and map is in the list with its line, and its help has every parameter of the table that the parser
 * reads: an argument of another name is refused with the nearest of them. */
static void test_help_experts(void **state) {
  (void)state;
  expect_exit("help experts", 0);
  char *list = strdup(out_text);
  assert_non_null(list);
  size_t grouped = 0, all = 0;
  for (const poei_family_group *group = poei_family_groups; group->title != NULL; group++) {
    assert_non_null(strstr(list, group->title));
    for (size_t i = 0; group->families[i] != NULL; i++) {
      grouped++;
    }
  }
  for (size_t i = 0; poei_families[i] != NULL; i++, all++) {
    const poe_expert_ops *family = poei_families[i];
    char line[64];
    assert_non_null(strstr(list, family->doc));
    snprintf(line, sizeof line, "help %s", family->kind);
    expect_exit(line, 0);
    assert_memory_equal(out_text, family->kind, strlen(family->kind));
    for (const poe_param *p = family->params; p->name != NULL; p++) {
      snprintf(line, sizeof line, "\n  %s", p->name);
      assert_non_null(strstr(out_text, line));
      assert_non_null(strstr(out_text, p->doc));
    }
  }
  assert_int_equal(grouped, all);
  for (size_t i = 0; poei_maps[i] != NULL; i++) {
    assert_non_null(strstr(list, poei_maps[i]->doc));
  }
  free(list);
}

/* A state dict: info says what to write, and that is opened; over another variable it is exit code 3, with both sizes.
 */
static void test_info_text(void **state) {
  (void)state;
  const float numbers[8] = {0.5f, -1, 2, 3, 0.25f, 1, 1, 1};
  const unsigned char *data = (const unsigned char *)numbers;
  const poei_tensor tensors[] = {{"net.0.weight", POEI_F32, 2, {2, 3}, 6, data},
                                 {"net.1.weight", POEI_F32, 2, {1, 2}, 2, data}};
  poe_error error = {0};
  check_ok(poei_safetensors_write(poet_temp_path("state.safetensors"), 2, tensors, 0, NULL, &error), error);
  expect_exit("info state.safetensors", 0);
  static const char *const parts[] = {"8 parameters", "32 bytes",        "net.0.weight",
                                      "[2, 3]",       "var x : real[3]", "layers=[\"net.0\", \"net.1\"]"};
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
    if (strstr(out_text, parts[i]) == NULL) {
      fail_msg("no `%s` in: %s", parts[i], out_text);
    }
  }
  static const char uses[] =
      "a = energy(x | file=\"state.safetensors\", layers=[\"net.0\", \"net.1\"], activation=relu)\n"
      "b = a * gaussian(x | mean=0, sd=1)\n";
  char program[400];
  for (int size = 3; size <= 4; size++) {
    snprintf(program, sizeof program, "var x : real[%d]\n%s", size, uses);
    write_text("state.poe", program);
    expect_exit("check state.poe", size == 3 ? 0 : 3);
  }
  assert_non_null(strstr(err_text, "takes 3 numbers, but the variable has 4"));
  write_text("state.json", "{\"poe.format\": 1, \"poe.family\": \"energy\", \"poe.input\": [3], \"poe.layers\": "
                           "[{\"op\": \"linear\", \"weight\": \"net.0.weight\"}, {\"op\": \"hyena\"}]}");
  expect_exit("info state.safetensors --description state.json", 0);
  assert_non_null(strstr(out_text, "layers that poe does not have:\n  hyena"));
  assert_non_null(strstr(out_text, "it cannot be opened: "));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_logz),
      cmocka_unit_test(test_unsettled),
      cmocka_unit_test(test_score),
      cmocka_unit_test(test_sample),
      cmocka_unit_test(test_threads),
      cmocka_unit_test(test_bad_input),
      cmocka_unit_test(test_nothing_overwritten),
      cmocka_unit_test(test_gate),
      cmocka_unit_test(test_run),
      cmocka_unit_test(test_run_elsewhere),
      cmocka_unit_test(test_check),
      cmocka_unit_test(test_explain_and_verify),
      cmocka_unit_test(test_explain_text),
      cmocka_unit_test(test_help),
      cmocka_unit_test(test_help_experts),
      cmocka_unit_test(test_info_text),
      cmocka_unit_test(test_settings),
      cmocka_unit_test(test_full_output),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
