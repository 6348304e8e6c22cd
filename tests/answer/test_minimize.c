/* The verb minimize: modes of known functions, exact ones by looking at all, clamped rows, what cannot be answered. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/answer/fixture.h"
#include "tests/support/check.h"

static const char program[] =
    "var x : real[2]\n"
    "var y : real[2] in [0, inf)\n"
    "var k : int(3)\n"
    "var s : binary[24]\n"
    "valley = formula(x | energy=100*(x[1] - x[0]^2)^2 + (1 - x[0])^2)\n"
    "narrow = gaussian(x | mean=[1000, -2], sd=[0.001, 5])\n"
    "wells = 0.3*gaussian(x | mean=[-3, 0], sd=1) + 0.7*gaussian(x | mean=[3, 1], sd=1)\n"
    "corner = formula(y | energy=y[0] + (y[1] - 2)^2)\n"
    "choice = categorical(k | p=[0.2, 0.5, 0.3])\n"
    "label = formula(x, k | energy=(x[0] - k)^2 + x[1]^2)\n"
    "chain = product(i in 0:23 -> formula(s[i], s[i+1] | log_density=0.5*(2*s[i]-1)*(2*s[i+1]-1)))\n"
    "tilted = chain * bernoulli(s | logit=0.01)\n"
    "var g : binary[24, 24]\n"
    "sheet = ising(g | coupling=0.3, field=0.2, periodic=true)\n"
    "torn = sheet * formula(g[0, 0], g[1, 1] | log_density=-40*g[0, 0] - 0.001*g[1, 1])\n"
    "var h : real[500]\n"
    "walk = gaussian(h[0] | mean=3, sd=1) * product(i in 0:499 -> linear_gaussian(h[i+1], h[i] | A=1, b=0.5, cov=2))\n"
    "both = gaussian(x | mean=[1, 2], sd=1) * choice\n"
    "hole = formula(x | energy=-exp(x[0]))\n"
    "saddle = formula(x | energy=x[0]^2*x[1]^2 - 0.5*x[1]^2)\n"
    "slope = formula(x | energy=abs(x[0]) - 2*abs(x[1]) + x[0]^2*x[1]^2/10)\n"
    "pole = formula(x | energy=0.5*log(abs(x[0])) + x[0]^2 + x[1]^2)\n"
    "var p : real in [0, 1]\n"
    "var q : real[2] in (0, 1)\n"
    "horns = beta(p | a=0.5, b=0.5)\n"
    "corners = beta(q[0] | a=0.5, b=2) * beta(q[1] | a=0.3, b=0.7) * formula(q | energy=q[0]*q[1])\n"
    "valley_of_kinks = formula(x | energy=abs(x[0] - 1) + 3*abs(x[1] - 2*x[0]))\n"
    "roof = formula(x | energy=max(abs(x[0] - 1), 10*abs(x[1] - 2*x[0])) + 0.01*x[0]^2)\n"
    "plain = formula(x | energy=relu(x[0] - x[1]) + relu(x[1] - 3*x[0]) + 0.1*relu(1 - x[0]) +\n"
    "  0.2*relu(x[0] + x[1] - 3))\n"
    "steep = formula(x | energy=4.23*abs(3.83*(x[1] + 1.54) - 0.57*(x[0] + 2.29)) +\n"
    "  4.26*abs(3.83*(x[0] + 2.29) + 0.57*(x[1] + 1.54)))\n"
    "var w : real[3]\n"
    "crease = formula(w | energy=3.2*sqrt(1 + (w[1] + 0.6*w[2] - 0.2*w[0] - 2)^2) + 4.7*abs(0.1*w[0] - 0.6*w[1] +\n"
    "  w[2] - 2.7) + 4.7*(0.1*w[0] - 0.6*w[1] + w[2] - 2.7)^2 + 3.4*relu(1.2*w[0] + 0.3*w[1] - 2) +\n"
    "  0.5*relu(2 - 1.2*w[0] - 0.3*w[1]))\n"
    "twins = formula(x | energy=min((1000*x[0])^2, (1000*x[0] - 8)^2 + 0.1) + x[1]^2)\n"
    "nowhere = formula(x | log_density=log(x[0] - x[0] - 1))\n";

static json_t *perform(fixture *f, const char *target, const char *const (*options)[2], poe_status expected,
                       poe_error *error) {
  fixture_action a;
  return fixture_perform(f, poei_answer_minimize, fixture_act(&a, "minimize", target, options), expected, error);
}

static const char *const none[][2] = {{NULL, NULL}};

static double coordinate(const json_t *r, size_t mode, size_t j) {
  const json_t *item = json_array_get(json_object_get(r, "modes"), mode);
  return json_number_value(json_array_get(json_object_get(item, "x"), j));
}

static const json_t *mode_of(const json_t *r, size_t mode) {
  return json_array_get(json_object_get(r, "modes"), mode);
}

static void continuous_modes(void **state) {
  (void)state;
  fixture f;
  poe_error error = {0};
  fixture_open(&f, "minimize.poe", program, 0);
  json_t *r = perform(&f, "valley", none, POE_OK, &error);
  assert_int_equal(json_array_size(json_object_get(r, "modes")), 1);
  check_close(coordinate(r, 0, 0), 1.0, 1e-6, 0.0);
  check_close(coordinate(r, 0, 1), 1.0, 1e-6, 0.0);
  check_close(fixture_number(mode_of(r, 0), "starts"), 64.0, 0.0, 0.0);
  assert_false(json_is_true(json_object_get(r, "exact")));
  json_decref(r);

  r = perform(&f, "narrow", none, POE_OK, &error); /* closed: the mean */
  assert_true(json_is_true(json_object_get(r, "exact")));
  check_close(coordinate(r, 0, 0), 1000.0, 1e-9, 0.0);
  check_close(fixture_number(mode_of(r, 0), "log_density"), -log(2.0 * 3.14159265358979323846 * 0.005), 1e-9, 0.0);
  json_decref(r);

  r = perform(&f, "walk", none, POE_OK, &error); /* a chain of 500: mean 3 + i / 2 */
  assert_true(json_is_true(json_object_get(r, "exact")));
  for (size_t i = 0; i < 500; i += 83) {
    check_close(coordinate(r, 0, i), 3.0 + 0.5 * (double)i, 1e-7, 0.0);
  }
  json_decref(r);

  r = perform(&f, "wells", none, POE_OK, &error); /* two, the heavier first, all searches accounted for */
  assert_int_equal(json_array_size(json_object_get(r, "modes")), 2);
  check_close(coordinate(r, 0, 0), 3.0, 1e-4, 0.0);
  check_close(coordinate(r, 1, 0), -3.0, 1e-4, 0.0);
  check_close(fixture_number(mode_of(r, 0), "starts") + fixture_number(mode_of(r, 1), "starts"), 64.0, 0.0, 0.0);
  json_decref(r);

  r = perform(&f, "corner", none, POE_OK, &error); /* at the end of one range, not at that of the other */
  assert_int_equal(json_array_size(json_object_get(r, "modes")), 1);
  check_close(coordinate(r, 0, 0), 0.0, 1e-7, 0.0);
  check_close(coordinate(r, 0, 1), 2.0, 1e-6, 0.0);
  assert_true(json_is_true(json_object_get(mode_of(r, 0), "at_bound")));
  json_decref(r);
  fixture_close(&f);
}

/* Ridges of piecewise linear densities, where a line search finds nothing better, are no modes: the only ones are
 * (1, 2) for the first two, and for the third the triangle x0 >= 1, x0 <= x1 <= 3 - x0 where the energy is 0. */
static void kinks_are_told_from_modes(void **state) {
  (void)state;
  static const char *const targets[] = {"valley_of_kinks", "roof", "plain"};
  for (uint64_t seed = 0; seed < 2; seed++) {
    fixture f;
    poe_error error = {0};
    fixture_open(&f, "minimize.poe", program, seed);
    for (size_t t = 0; t < 3; t++) {
      json_t *r = perform(&f, targets[t], none, POE_OK, &error);
      const json_t *modes = json_object_get(r, "modes");
      for (size_t k = 0; k < json_array_size(modes); k++) {
        assert_string_not_equal(json_string_value(json_object_get(mode_of(r, k), "end")), "unfinished");
      }
      assert_int_equal(json_array_size(modes), 1);
      double x = coordinate(r, 0, 0), y = coordinate(r, 0, 1);
      if (t < 2) {
        check_close(x, 1.0, 1e-5, 0.0);
        check_close(y, 2.0, 1e-5, 0.0);
        check_close(fixture_number(mode_of(r, 0), "log_density"), t == 0 ? 0.0 : -0.01, 2e-5, 0.0);
      } else {
        assert_true(x >= 1.0 - 1e-6 && y >= x - 1e-6 && x + y <= 3.0 + 1e-6);
      }
      if (t == 1) {
        assert_string_equal(json_string_value(json_object_get(mode_of(r, 0), "end")), "kink");
      }
      double starts = fixture_number(mode_of(r, 0), "starts") + fixture_number(r, "unconverged");
      check_close(starts, 64.0, 0.0, 0.0);
      json_decref(r);
    }
    fixture_close(&f);
  }
}

/* At the ends of its range a beta density with shapes below 1 is infinite: one mode for each such corner. */
static void infinite_corners(void **state) {
  (void)state;
  static const double corner[2][2] = {{0, 0}, {0, 1}};
  fixture f;
  poe_error error = {0};
  fixture_open(&f, "minimize.poe", program, 0);
  json_t *r = perform(&f, "horns", none, POE_OK, &error);
  bool found[2] = {false, false};
  assert_int_equal(json_array_size(json_object_get(r, "modes")), 2);
  for (size_t k = 0; k < 2; k++) {
    double x = coordinate(r, k, 0);
    assert_true(x == 0.0 || x == 1.0);
    found[x == 1.0] = true;
    assert_string_equal(json_string_value(json_object_get(mode_of(r, k), "end")), "infinite");
    assert_string_equal(json_string_value(json_object_get(mode_of(r, k), "log_density")), "inf");
    assert_true(json_is_true(json_object_get(mode_of(r, k), "at_bound")));
  }
  assert_true(found[0] && found[1]);
  json_decref(r);
  r = perform(&f, "corners", none, POE_OK, &error);
  assert_int_equal(json_array_size(json_object_get(r, "modes")), 2);
  for (size_t i = 0; i < 2; i++) {
    bool there = false;
    for (size_t k = 0; k < 2; k++) {
      there = there || (coordinate(r, k, 0) == corner[i][0] && coordinate(r, k, 1) == corner[i][1]);
    }
    assert_true(there);
  }
  json_decref(r);
  fixture_close(&f);
}

static void discrete_modes(void **state) {
  (void)state;
  fixture f;
  poe_error error = {0};
  fixture_open(&f, "minimize.poe", program, 0);
  json_t *r = perform(&f, "choice", none, POE_OK, &error);
  static const double order[3] = {1, 2, 0}, p[3] = {0.5, 0.3, 0.2};
  assert_true(json_is_true(json_object_get(r, "exact")));
  for (size_t i = 0; i < 3; i++) {
    check_close(coordinate(r, i, 0), order[i], 0.0, 0.0);
    check_close(fixture_number(mode_of(r, i), "log_density"), log(p[i]), 1e-12, 0.0);
  }
  json_decref(r);
  const char *const best[][2] = {{"modes", "1"}, {NULL, NULL}};
  r = perform(&f, "tilted", best, POE_OK, &error); /* 2^24 joint values */
  assert_int_equal(json_array_size(json_object_get(r, "modes")), 1);
  for (size_t j = 0; j < 24; j++) {
    check_close(coordinate(r, 0, j), 1.0, 0.0, 0.0);
  }
  check_close(fixture_number(mode_of(r, 0), "log_density"), 23 * 0.5 - 24 * log1p(exp(-0.01)), 1e-10, 0.0);
  json_decref(r);
  /* too wide to eliminate: coordinate ascent finds all ones, and the one pixel that is better off */
  static const char *const wide[2] = {"sheet", "torn"};
  for (size_t t = 0; t < 2; t++) {
    r = perform(&f, wide[t], best, POE_OK, &error);
    assert_false(json_is_true(json_object_get(r, "exact")));
    for (size_t j = 0; j < 24 * 24; j++) {
      check_close(coordinate(r, 0, j), t == 1 && j == 0 ? 0.0 : 1.0, 0.0, 0.0);
    }
    double whole = 2.0 * 24 * 24 * 0.3 + 24 * 24 * 0.2;
    check_close(fixture_number(mode_of(r, 0), "log_density"), t == 0 ? whole : whole - 8 * 0.3 - 2 * 0.2 - 0.001, 1e-9,
                0.0);
    json_decref(r);
  }
  r = perform(&f, "both", none, POE_OK, &error);
  check_close(coordinate(r, 0, 0), 1.0, 1e-9, 0.0);
  check_close(coordinate(r, 0, 2), 1.0, 0.0, 0.0);
  assert_int_equal(json_array_size(json_object_get(r, "modes")), 3);
  json_decref(r);
  fixture_close(&f);
}

/* The numbers of a mode have names, those of rows without what was clamped. */
static void coordinates_are_named(void **state) {
  (void)state;
  static const char points[] = "0.2,5\n";
  char clamp[256];
  fixture f;
  poe_error error = {0};
  fixture_open(&f, "minimize.poe", program, 0);
  json_t *r = perform(&f, "label", none, POE_OK, &error);
  const json_t *names = json_object_get(r, "coordinates");
  static const char *const expected[3] = {"x[0]", "x[1]", "k"};
  assert_int_equal(json_array_size(names), 3);
  for (size_t j = 0; j < 3; j++) {
    assert_string_equal(json_string_value(json_array_get(names, j)), expected[j]);
  }
  json_decref(r);
  snprintf(clamp, sizeof clamp, "x=%s", poet_temp_file("point.csv", points, strlen(points)));
  const char *const options[][2] = {{"clamp", clamp}, {NULL, NULL}};
  r = perform(&f, "label", options, POE_OK, &error);
  names = json_object_get(r, "coordinates");
  assert_int_equal(json_array_size(names), 1);
  assert_string_equal(json_string_value(json_array_get(names, 0)), "k");
  json_decref(r);
  fixture_close(&f);
}

static void rows_are_clamped(void **state) {
  (void)state;
  static const char points[] = "0.2,5\n1.4,0\n9,1\n";
  char clamp[256];
  fixture f;
  poe_error error = {0};
  fixture_open(&f, "minimize.poe", program, 0);
  snprintf(clamp, sizeof clamp, "x=%s", poet_temp_file("points.csv", points, strlen(points)));
  const char *const options[][2] = {{"clamp", clamp}, {NULL, NULL}};
  json_t *r = perform(&f, "label", options, POE_OK, &error);
  static const double nearest[3] = {0, 1, 2};
  assert_int_equal(json_array_size(json_object_get(r, "modes")), 3);
  for (size_t row = 0; row < 3; row++) {
    check_close(fixture_number(mode_of(r, row), "row"), (double)row, 0.0, 0.0);
    check_close(coordinate(r, row, 0), nearest[row], 0.0, 0.0);
  }
  json_decref(r);
  static const struct {
    const char *clamp, *part;
    poe_status status;
  } bad[] = {{"x", "variable=FILE", POE_E_USAGE},
             {"z=points.csv", "no variable 'z'", POE_E_NAME},
             {"y=points.csv", "free coordinates of 'y'", POE_E_USAGE},
             {"x=absent.csv", "absent.csv", POE_E_FILE}};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    const char *const wrong[][2] = {{"clamp", bad[i].clamp}, {NULL, NULL}};
    fixture_action a;
    json_t *none_made = NULL;
    error = (poe_error){0};
    check_fails(poei_answer_minimize(&f.session, fixture_act(&a, "minimize", "label", wrong), &none_made, &error),
                bad[i].status, error, bad[i].part);
    assert_null(none_made);
  }
  fixture_close(&f);
}

static void what_has_no_mode(void **state) {
  (void)state;
  static const struct {
    const char *target, *part;
  } bad[] = {{"hole", "grows without bound"},
             {"nowhere", "starting points"},
             {"saddle", "grows without bound along x[1]"},
             {"slope", "grows without bound along x[1]"},
             {"pole", "a search ran away with x[0]"}};
  fixture f;
  fixture_open(&f, "minimize.poe", program, 0);
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    fixture_action a;
    json_t *r = NULL;
    poe_error error = {0};
    check_fails(poei_answer_minimize(&f.session, fixture_act(&a, "minimize", bad[i].target, none), &r, &error),
                POE_E_NUMERIC, error, bad[i].part);
    assert_null(r);
    assert_true(error.line > 0);
  }
  atomic_store(&f.stop, true);
  fixture_action a;
  json_t *r = NULL;
  poe_error error = {0};
  check_fails(poei_answer_minimize(&f.session, fixture_act(&a, "minimize", "valley", none), &r, &error),
              POE_E_INTERRUPTED, error, "interrupted");
  fixture_close(&f);
}

/* Searches that end next to a kink, some a little lower than others, have found one mode: (-2.29, -1.54); and where
 * -w0/5 + w1 + 3 w2/5 = 2, w0/10 - 3 w1/5 + w2 = 2.7, 6 w0/5 + 3 w1/10 = 2. Two that lie close together with a ridge
 * between them remain two. */
static void ends_at_a_kink_are_one_mode(void **state) {
  (void)state;
  static const struct {
    const char *target;
    size_t modes;
    double x, y;
  } cases[] = {
      {"steep", 1, -2.29, -1.54}, {"crease", 1, 1.5239766081871347, 0.5707602339181287}, {"twins", 2, 0.0, 0.0}};
  for (uint64_t seed = 0; seed < 4; seed++) {
    fixture f;
    poe_error error = {0};
    fixture_open(&f, "minimize.poe", program, seed);
    for (size_t t = 0; t < sizeof cases / sizeof cases[0]; t++) {
      json_t *r = perform(&f, cases[t].target, none, POE_OK, &error);
      assert_int_equal(json_array_size(json_object_get(r, "modes")), cases[t].modes);
      check_close(coordinate(r, 0, 0), cases[t].x, 1e-5, 0.0);
      check_close(coordinate(r, 0, 1), cases[t].y, 1e-5, 0.0);
      if (cases[t].modes == 2) {
        check_close(coordinate(r, 1, 0), 0.008, 1e-5, 0.0);
      }
      json_decref(r);
    }
    fixture_close(&f);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(continuous_modes),
      cmocka_unit_test(kinks_are_told_from_modes),
      cmocka_unit_test(ends_at_a_kink_are_one_mode),
      cmocka_unit_test(infinite_corners),
      cmocka_unit_test(coordinates_are_named),
      cmocka_unit_test(discrete_modes),
      cmocka_unit_test(rows_are_clamped),
      cmocka_unit_test(what_has_no_mode),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
