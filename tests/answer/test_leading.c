/* What an autoregressive expert says first is given: log Z is the sum of those conditionals and the rest is drawn
 * exactly; against sums over all states. The network is one masked linear layer, so that the density is written down
 * here. */
#include <math.h>
#include <stdio.h>

#include "core/numerics.h"
#include "tests/answer/fixture.h"
#include "tests/net/model_file.h"
#include "tests/support/check.h"

#define FALSE_ALARM 1e-6 /* of each chi-square test here */

enum { D = 9, GIVEN = 4, FREE = D - GIVEN };

static const size_t numbered[D] = {0, 1, 2, 3, 4, 5, 6, 7, 8}, turned[D] = {8, 3, 5, 0, 7, 1, 6, 2, 4};

static const char program[] = "var x : binary[9]\n"
                              "a = autoregressive(x | file=\"numbered.safetensors\")\n"
                              "b = autoregressive(x | file=\"turned.safetensors\")\n"
                              "first = a given x[0:4] = [1, 0, 1, 1]\n"
                              "other = b given (x[8] = 1, x[3] = 0, x[5] = 1, x[0] = 1)\n"
                              "late = a given x[5:9] = [1, 0, 1, 1]\n"
                              "same = b given x[0:4] = [1, 0, 1, 1]\n";

/* The weight of coordinate j in the logit of coordinate i, and the logit's constant. */
static float weight(const size_t *order, size_t i, size_t j) {
  size_t at[D];
  for (size_t k = 0; k < D; k++) {
    at[order[k]] = k;
  }
  return at[j] < at[i] ? 1.5F * sinf((float)(3 * i + 7 * j + 1)) : 0.0F;
}

static float constant(size_t i) {
  return cosf((float)(5 * i));
}

static void write_model(const char *file, const size_t *order) {
  float w[D * D], b[D];
  for (size_t i = 0; i < D; i++) {
    b[i] = constant(i);
    for (size_t j = 0; j < D; j++) {
      w[i * D + j] = weight(order, i, j);
    }
  }
  const model_tensor tensors[] = {{"w", D, D, w}, {"b", D, 0, b}};
  const char *const metadata[][2] = {{"poe.format", "1"},
                                     {"poe.family", "autoregressive"},
                                     {"poe.input", "[9]"},
                                     {"poe.output", "{\"op\":\"bernoulli\"}"},
                                     {"poe.layers", "[{\"op\":\"linear\",\"weight\":\"w\",\"bias\":\"b\"}]"},
                                     {NULL, NULL}};
  model_write(file, 2, tensors, metadata);
}

static double log_p(const size_t *order, const int *x) {
  double sum = 0.0;
  for (size_t i = 0; i < D; i++) {
    double logit = (double)constant(i);
    for (size_t j = 0; j < D; j++) {
      logit += (double)weight(order, i, j) * x[j];
    }
    sum -= log1p(exp(x[i] == 1 ? -logit : logit));
  }
  return sum;
}

/* p[2^FREE] of what is left, its coordinates in the order of free[]; returns the log of their sum. */
static double left_over(const size_t *order, const size_t *given, const size_t *free, double *p) {
  static const int value[GIVEN] = {1, 0, 1, 1};
  double sum = 0.0;
  for (size_t s = 0; s < (size_t)1 << FREE; s++) {
    int x[D];
    for (size_t k = 0; k < GIVEN; k++) {
      x[given[k]] = value[k];
    }
    for (size_t k = 0; k < FREE; k++) {
      x[free[k]] = (int)(s >> k & 1);
    }
    p[s] = exp(log_p(order, x));
    sum += p[s];
  }
  return log(sum);
}

/* log Z, the method, and the draws' chi-square tail against the sums. */
static void check_target(fixture *f, const char *target, const size_t *order, const size_t *given, const size_t *free,
                         bool leads) {
  double p[1 << FREE], count[1 << FREE] = {0}, chi = 0.0, n = 8000.0, log_z = left_over(order, given, free, p);
  poei_solved solved;
  poei_sampling sampling;
  poe_error error = {0};
  poei_run_options options = {.chains = 4, .draws = 2000, .seed = 5, .pool = f->session.pool};
  check_ok(poei_solve(&f->session, target, &solved, &error), error);
  assert_int_equal(solved.plan->method == POEI_METHOD_CLOSED, leads);
  assert_true(solved.plan->has_log_z && solved.plan->exact);
  check_close(solved.plan->log_z, log_z, 1e-5, 0.0); /* the network is in single precision */
  check_ok(poei_draw(&f->session, solved.plan, "auto", &options, NULL, 0, &sampling, &error), error);
  for (size_t i = 0; i < 8000; i++) {
    size_t s = 0;
    for (size_t k = 0; k < FREE; k++) {
      s |= (size_t)(sampling.draws.x[i * FREE + k] == 1.0) << k;
    }
    count[s] += 1.0;
  }
  for (size_t s = 0; s < (size_t)1 << FREE; s++) {
    double expected = n * p[s] / exp(log_z);
    chi += (count[s] - expected) * (count[s] - expected) / expected;
  }
  assert_true(poei_chi_square_tail(chi, (double)(1 << FREE) - 1.0) > FALSE_ALARM);
  poei_sampling_free(&sampling);
  poei_solved_free(&solved);
}

static void test_given(void **state) {
  (void)state;
  fixture f;
  write_model("numbered.safetensors", numbered);
  write_model("turned.safetensors", turned);
  fixture_open(&f, "leading.poe", program, 1);
  static const size_t low[GIVEN] = {0, 1, 2, 3}, high[GIVEN] = {5, 6, 7, 8}, first[GIVEN] = {8, 3, 5, 0};
  static const size_t after[FREE] = {4, 5, 6, 7, 8}, before[FREE] = {0, 1, 2, 3, 4}, rest[FREE] = {1, 2, 4, 6, 7};
  check_target(&f, "first", numbered, low, after, true);
  check_target(&f, "other", turned, first, rest, true);
  check_target(&f, "late", numbered, high, before, false);
  check_target(&f, "same", turned, low, after, false);
  fixture_close(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_given)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
