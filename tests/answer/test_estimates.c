/* Constants that are estimated: their seed is what they are, never the user's; where they are kept. */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "answer/digest.h"
#include "tests/answer/fixture.h"
#include "tests/net/model_file.h"
#include "tests/support/check.h"

/* Both components of `mix` need an estimate: 3 coordinates, no closed form. */
static const char program[] = "var x : real[3]\n"
                              "m = data(\"means.csv\")\n"
                              "o = data(\"other.csv\")\n"
                              "left = gaussian(x | mean=m[0], sd=1) * formula(x | energy=(x[1]*x[2])^2 - 7)\n"
                              "right = gaussian(x | mean=[6, 0, 0], sd=1) * formula(x | energy=(x[1]*x[2])^2)\n"
                              "other = gaussian(x | mean=o[0], sd=1)\n"
                              "mix = 0.3*left + 0.7*right\n";

static void write_text(const char *name, const char *text) {
  poet_temp_file(name, text, strlen(text));
}

static void write_inputs(void) {
  write_text("means.csv", "-6,0,0\n");
  write_text("other.csv", "1,2,3\n");
}

static void cache_empty(void) {
  char path[512];
  snprintf(path, sizeof path, "%s/poe", poet_temp_dir());
  DIR *dir = opendir(path);
  if (dir == NULL) {
    return;
  }
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
    char file[1024];
    snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
    unlink(file);
  }
  closedir(dir);
  rmdir(path);
}

/* The estimates behind `mix`: how many, their log Z in z[2], whether they came from the cache. */
static void estimates(fixture *f, double *z, bool *cached) {
  poe_error error = {0};
  poei_solved solved;
  check_ok(poei_solve(&f->session, "mix", &solved, &error), error);
  assert_int_equal(solved.n_estimates, 2);
  for (size_t i = 0; i < 2; i++) {
    z[i] = solved.estimates[i].log_z;
    *cached = solved.estimates[i].cached;
    assert_true(solved.estimates[i].std_error > 0.0 && solved.estimates[i].std_error < 0.1);
  }
  poei_solved_free(&solved);
}

static void test_seed_is_not_the_users(void **state) {
  (void)state;
  write_inputs();
  double z[2][2];
  bool cached = true;
  for (size_t k = 0; k < 2; k++) {
    fixture f;
    fixture_open(&f, "mix.poe", program, 17 * k);
    f.session.no_cache = true;
    estimates(&f, z[k], &cached);
    assert_false(cached);
    fixture_close(&f);
  }
  check_same_bits(z[0], z[1], 2);
  /* E exp(-(ab)^2) = E (1 + 2 b^2)^(-1/2), a, b standard normal: the integral over b by the trapezoid rule */
  double sum = 0.0;
  for (int i = -4000; i <= 4000; i++) {
    double b = 0.0025 * i;
    sum += 0.0025 * exp(-0.5 * b * b) / sqrt(2.0 * 3.14159265358979323846) / sqrt(1.0 + 2.0 * b * b);
  }
  /* in whatever order: one has the constant e^7. 6 standard errors of at most 0.05 */
  double low = fmin(z[0][0], z[0][1]), high = fmax(z[0][0], z[0][1]);
  check_close(low, log(sum), 0.3, 0);
  check_close(high, log(sum) + 7.0, 0.3, 0);
}

static void test_cache(void **state) {
  (void)state;
  write_inputs();
  cache_empty();
  double first[2], again[2];
  bool cached = true;
  fixture f;
  fixture_open(&f, "mix.poe", program, 1);
  estimates(&f, first, &cached);
  assert_false(cached);
  estimates(&f, again, &cached);
  assert_true(cached);
  check_same_bits(first, again, 2);
  f.session.no_cache = true;
  estimates(&f, again, &cached);
  assert_false(cached);
  check_same_bits(first, again, 2);
  fixture_close(&f);
  cache_empty();
}

/* Entries that are not valid are as good as none. */
static void test_cache_damaged(void **state) {
  (void)state;
  static const char *const damaged[] = {"",
                                        "{",
                                        "[]",
                                        "7",
                                        "{\"log_z\": \"inf\", \"std_error\": 0.1, \"memory\": 0}",
                                        "{\"log_z\": 1, \"std_error\": -1, \"memory\": 0}",
                                        "{\"log_z\": 1, \"memory\": 0}",
                                        "{\"log_z\": 1, \"std_error\": \"nan\", \"memory\": 0}",
                                        "{\"log_z\": 1, \"std_error\": 1e999, \"memory\": 0}",
                                        "{\"log_z\": 1, \"std_error\": 0.1}",
                                        "{\"log_z\": 1, \"std_error\": 0.1, \"memory\": -1}"};
  const char hex[65] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
  char path[600];
  fixture f;
  fixture_open(&f, "plain.poe", "var x : real\na = gaussian(x | mean=0, sd=1)\n", 0); /* sets the cache's place */
  double z = 0.0, se = 0.0, left = 0.0;
  assert_false(poei_cache_read(hex, &z, &se, &left));
  poei_cache_write(hex, -1.0 / 3.0, 0.25, 0.625);
  assert_true(poei_cache_read(hex, &z, &se, &left));
  check_same_bits(&z, &(double){-1.0 / 3.0}, 1);
  check_same_bits(&se, &(double){0.25}, 1);
  check_same_bits(&left, &(double){0.625}, 1);
  snprintf(path, sizeof path, "%s/poe/%s.json", poet_temp_dir(), hex);
  for (size_t i = 0; i < sizeof damaged / sizeof damaged[0]; i++) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fputs(damaged[i], file);
    fclose(file);
    if (poei_cache_read(hex, &z, &se, &left)) {
      fail_msg("taken for an entry: %s", damaged[i]);
    }
  }
  fixture_close(&f);
  cache_empty();
}

static void digest_of(fixture *f, const char *target, const char *settings, char hex[65]) {
  poe_error error = {0};
  poei_target built;
  check_ok(poei_program_target(f->session.program, target, &built, &f->diagnostics), error);
  check_ok(poei_digest(f->session.program, built.expert, settings, hex, &error), error);
  poei_target_free(&built);
}

/* The digest of a target of a program opened anew, after looking at `before` (NULL: at nothing). */
static void digest_anew(const char *text, const char *before, const char *target, const char *settings, char hex[65]) {
  fixture f;
  fixture_open(&f, "digest.poe", text, 5);
  char unused[65];
  if (before != NULL) {
    digest_of(&f, before, "", unused);
  }
  digest_of(&f, target, settings, hex);
  fixture_close(&f);
}

static void test_digest(void **state) {
  (void)state;
  write_inputs();
  char base[65], hex[65], text[sizeof program];
  digest_anew(program, NULL, "left", "s", base);
  assert_int_equal(strlen(base), 64);
  digest_anew(program, NULL, "left", "s", hex);
  assert_string_equal(base, hex);
  digest_anew(program, "other", "left", "s", hex); /* what was asked before does not matter */
  assert_string_equal(base, hex);
  digest_anew(program, NULL, "left", "t", hex);
  assert_string_not_equal(base, hex);
  digest_anew(program, NULL, "right", "s", hex);
  assert_string_not_equal(base, hex);
  digest_anew(program, NULL, "left^2", "s", hex);
  assert_string_not_equal(base, hex);
  memcpy(text, program, sizeof program);
  *strstr(text, "- 7") = '+';
  digest_anew(text, NULL, "left", "s", hex);
  assert_string_not_equal(base, hex);
  write_text("means.csv", "-6,0,1\n");
  digest_anew(program, NULL, "left", "s", hex);
  assert_string_not_equal(base, hex);
  write_inputs();
  digest_anew(program, NULL, "left", "s", hex);
  assert_string_equal(base, hex);
  assert_int_not_equal(poei_digest_seed(base), 0);
  char one[65] = "00000000000000ff";
  assert_int_equal(poei_digest_seed(one), 255);
}

/* Files that only building a definition opens are in the digest too, whether or not it was built before. */
static void test_digest_models(void **state) {
  (void)state;
  static const char text[] = "var x : real[2]\n"
                             "net = energy(x | file=\"net.safetensors\")\n"
                             "a = gaussian(x | mean=0, sd=1)\n"
                             "b = a * net\n";
  static const char *const metadata[][2] = {{"poe.format", "1"},
                                            {"poe.family", "energy"},
                                            {"poe.input", "[2]"},
                                            {"poe.layers", "[{\"op\":\"linear\",\"weight\":\"w\"}]"},
                                            {NULL, NULL}};
  float weights[2] = {0.25f, 0.5f};
  const model_tensor tensor = {"w", 1, 2, weights};
  char base[3][65], hex[65];
  static const char *const targets[] = {"a", "b", "net"};
  model_write("net.safetensors", 1, &tensor, metadata);
  for (size_t k = 0; k < 3; k++) {
    digest_anew(text, NULL, targets[k], "s", base[k]);
    for (size_t j = 0; j < 3; j++) {
      digest_anew(text, targets[j], targets[k], "s", hex);
      assert_string_equal(base[k], hex);
    }
  }
  weights[1] = 0.75f;
  model_write("net.safetensors", 1, &tensor, metadata);
  for (size_t k = 0; k < 3; k++) {
    digest_anew(text, NULL, targets[k], "s", hex);
    assert_string_not_equal(base[k], hex);
  }
}

/* A constant beside blocks whose log Z is estimated counts: c is exp(3.5155...) everywhere. */
static void test_constant_beside_blocks(void **state) {
  (void)state;
  static const char text[] = "var x, y : real[3]\n"
                             "a = gaussian(x | mean=0, sd=1) * formula(x | energy=sum(x^4))\n"
                             "b = gaussian(y | mean=0, sd=1) * formula(y | energy=sum(y^4))\n"
                             "k = gaussian(x[0] | mean=0, sd=1) * gaussian(x[0] | mean=3, sd=1)\n"
                             "c = k / normalise(k)\n"
                             "plain = a * b\n"
                             "scaled = a * b * c\n";
  static const char *const none[][2] = {{NULL, NULL}};
  fixture f;
  fixture_action act;
  poe_error error = {0};
  double log_z[2];
  fixture_open(&f, "scaled.poe", text, 0);
  for (size_t i = 0; i < 2; i++) {
    const poei_action *action = fixture_act(&act, "logz", i == 0 ? "plain" : "scaled", none);
    json_t *r = fixture_perform(&f, poei_answer_logz, action, POE_OK, &error);
    log_z[i] = fixture_number(r, "log_z");
    assert_true(fixture_number(r, "std_error") > 0.0);
    json_decref(r);
  }
  check_close(log_z[1] - log_z[0], -0.25 * 9.0 - 0.5 * log(4.0 * acos(-1.0)), 1e-9, 0.0);
  fixture_close(&f);
}

/* ---- estimates whose moves had not forgotten where they started ---- */

/* A funnel in 10 dimensions with a mouth at either end, which no direction of its own opens; two modes that moves do
 * not leave; one. */
static const char unsettled[] = "var v : real\n"
                                "var x : real[9]\n"
                                "var y : real[6]\n"
                                "wide = gaussian(v | mean=0, sd=3) * gaussian(x | mean=0, sd=10)\n"
                                "funnel = wide * formula(v, x | energy=0.5*exp(-2*abs(v))*sum(x^2) - 0.005*sum(x^2)"
                                " + 9*abs(v))\n"
                                "pair = formula(y | energy=-log(exp(-0.5*sum((y-2)^2)) + exp(-0.5*sum((y+2)^2))))\n"
                                "modes = gaussian(y | mean=0, sd=3) * pair\n"
                                "narrow = gaussian(y | mean=0, sd=1)\n"
                                "easy = narrow * formula(y | energy=(y[0]*y[1])^2)\n"
                                "plain = normalise(easy) * narrow\n"
                                "inside = easy * (modes / normalise(modes))\n";

/* Whether the result says that its log Z is settled; if not, why not. */
static bool settled(const json_t *r, bool constant) {
  const char *warning = json_string_value(json_object_get(r, "warning"));
  if (json_is_true(json_object_get(r, "settled"))) {
    assert_null(warning);
    return true;
  }
  assert_true(json_is_false(json_object_get(r, "settled")));
  assert_non_null(warning);
  assert_int_equal(strstr(warning, "a constant inside") != NULL, constant);
  double correlation = 0.0;
  const char *number = strstr(warning, "(correlation ");
  assert_non_null(number);
  assert_int_equal(sscanf(number, "(correlation %lf)", &correlation), 1);
  assert_true(correlation > 0.1 && correlation <= 1.0);
  return false;
}

/* Of 10 other seeds of the funnel, here estimated and sampled alike, all left more than .45 to remember; of 20 of two
 * such modes, with 8 x 128 particles, none more than .1. */
static void test_settled(void **state) {
  (void)state;
  static const char *const rough[][2] = {{"chains", "2"}, {"tol", "10"}, {NULL, NULL}};
  static const char *const few[][2] = {{"chains", "2"}, {"draws", "128"}, {"gate", "report"}, {NULL, NULL}};
  static const char *const targets[] = {"funnel", "modes", "easy", "plain", "narrow"};
  for (uint64_t seed = 0; seed < 3; seed++) {
    fixture f;
    fixture_open(&f, "unsettled.poe", unsettled, seed);
    for (size_t k = 0; k < sizeof targets / sizeof targets[0]; k++) {
      fixture_action act;
      poe_error error = {0};
      json_t *r = fixture_perform(&f, poei_answer_logz, fixture_act(&act, "logz", targets[k], rough), POE_OK, &error);
      assert_int_equal(settled(r, false), k > 0);
      assert_int_equal(json_is_true(json_object_get(r, "exact")), k == 4);
      json_decref(r);
      r = fixture_perform(&f, poei_answer_sample, fixture_act(&act, "sample", targets[k], few), POE_OK, &error);
      assert_int_equal(settled(r, false), k > 0);
      json_decref(r);
    }
    fixture_close(&f);
  }
}

/* Rewrites the memory of the one entry of the cache. */
static void cache_remember(double memory) {
  char path[512];
  snprintf(path, sizeof path, "%s/poe", poet_temp_dir());
  DIR *dir = opendir(path);
  assert_non_null(dir);
  size_t n = 0;
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
    char hex[65] = "";
    double z, se, left;
    if (sscanf(entry->d_name, "%64[0-9a-f].json", hex) == 1 && poei_cache_read(hex, &z, &se, &left)) {
      assert_true(left == 0.0);
      poei_cache_write(hex, z, se, memory);
      n++;
    }
  }
  closedir(dir);
  assert_int_equal(n, 1);
}

/* A constant inside that is not settled is so for the whole, and so is its error; the cache keeps both. */
static void test_settled_inside(void **state) {
  (void)state;
  static const char *const rough[][2] = {{"chains", "2"}, {"tol", "10"}, {NULL, NULL}};
  static const char *const few[][2] = {{"chains", "2"}, {"draws", "128"}, {"gate", "report"}, {NULL, NULL}};
  cache_empty();
  fixture f;
  poe_error error = {0};
  fixture_open(&f, "unsettled.poe", unsettled, 1);
  for (size_t k = 0; k < 2; k++) {
    fixture_action act;
    poei_solved solved;
    check_ok(poei_solve(&f.session, "inside", &solved, &error), error);
    assert_int_equal(solved.n_estimates, 1);
    assert_int_equal(solved.estimates[0].cached, k == 1);
    check_same_bits(&solved.estimates[0].memory, &(double){k == 0 ? 0.0 : 0.625}, 1);
    double constant_error = solved.estimates[0].std_error;
    assert_true(constant_error > 0.001);
    poei_solved_free(&solved);
    json_t *r = fixture_perform(&f, poei_answer_logz, fixture_act(&act, "logz", "inside", rough), POE_OK, &error);
    assert_int_equal(settled(r, true), k == 0);
    assert_true(fixture_number(r, "std_error") > constant_error);
    json_decref(r);
    r = fixture_perform(&f, poei_answer_sample, fixture_act(&act, "sample", "inside", few), POE_OK, &error);
    assert_int_equal(settled(r, true), k == 0);
    assert_true(fixture_number(r, "log_z_std_error") > constant_error);
    json_decref(r);
    if (k == 0) {
      cache_remember(0.625);
    }
  }
  fixture_close(&f);
  cache_empty();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_seed_is_not_the_users),
      cmocka_unit_test(test_cache),
      cmocka_unit_test(test_cache_damaged),
      cmocka_unit_test(test_digest),
      cmocka_unit_test(test_digest_models),
      cmocka_unit_test(test_constant_beside_blocks),
      cmocka_unit_test(test_settled),
      cmocka_unit_test(test_settled_inside),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
