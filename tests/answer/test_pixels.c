/* The shipped pixel models (models/pixels): densities as PyTorch has them, at the points of sample.npz, and draws
 * against densities. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "formats/tensor_file.h"
#include "poe/session.h"
#include "tests/support/check.h"

#define FOLDER POE_SOURCE_DIR "/models/pixels/"

static const double alpha = 1e-6; /* of the logits (images.py) */

/* ---- densities ---- */

/* The array of that name, on the heap; *rows and *columns are its shape (columns 1 for a vector). */
static double *stored(const char *name, size_t *rows, size_t *columns) {
  poe_error error = {0};
  poei_tensor_file *file = NULL;
  const poei_tensor *tensor = NULL;
  check_ok(poei_tensor_file_open(FOLDER "sample.npz", &file, &error), error);
  check_ok(poei_tensor_file_require(file, name, &tensor, &error), error);
  double *numbers = malloc(tensor->count * sizeof *numbers);
  assert_non_null(numbers);
  poei_tensor_to_double(tensor, numbers);
  *rows = tensor->shape[0];
  *columns = tensor->count / tensor->shape[0];
  poei_tensor_file_close(file);
  return numbers;
}

static poe_session *opened(const char *path) {
  poe_error error = {0};
  poe_session *session = NULL;
  check_ok(poe_session_open(path, 1, 2, &session, &error), error);
  return session;
}

static double *scores(poe_session *session, const char *target, size_t n, const double *x) {
  poe_error error = {0};
  double *log_p = malloc(n * sizeof *log_p);
  assert_non_null(log_p);
  check_ok(poe_session_score(session, target, n, x, log_p, NULL, &error), error);
  return log_p;
}

/* Networks compute in single precision, PyTorch's numbers are in double: 1e-6 of the sum of what is added up, which is
 * a few hundred to a few thousand nats, some of them cancelling. */
static void check_scores(poe_session *session, const char *target, const char *points) {
  size_t n, d, rows, one;
  double *x = stored(points, &n, &d), *expected = stored(target, &rows, &one);
  assert_int_equal(rows, n);
  double *log_p = scores(session, target, n, x);
  for (size_t i = 0; i < n; i++) {
    check_close(log_p[i], expected[i], 2e-3, 1e-5);
  }
  free(x);
  free(expected);
  free(log_p);
}

static void test_scores(void **state) {
  (void)state;
  poe_session *small = opened(FOLDER "pixels.poe"), *large = opened(FOLDER "flow28.poe");
  check_scores(small, "flow", "y");
  check_scores(small, "cnn", "y");
  check_scores(large, "digit", "x");
  poe_session_close(small);
  poe_session_close(large);
}

/* AND adds log-densities, OR is the mean of densities. */
static void test_operators(void **state) {
  (void)state;
  size_t n, d;
  poe_session *session = opened(FOLDER "pixels.poe");
  double *y = stored("y", &n, &d);
  double *flow = scores(session, "flow", n, y), *cnn = scores(session, "cnn", n, y);
  double *both = scores(session, "both", n, y), *either = scores(session, "either", n, y);
  for (size_t i = 0; i < n; i++) {
    double top = fmax(flow[i], cnn[i]), mean = top + log(0.5 * (exp(flow[i] - top) + exp(cnn[i] - top)));
    check_close(both[i], flow[i] + cnn[i], 0.0, 1e-12);
    check_close(either[i], mean, 0.0, 1e-12);
  }
  double *arrays[] = {y, flow, cnn, both, either};
  for (size_t k = 0; k < sizeof arrays / sizeof *arrays; k++) {
    free(arrays[k]);
  }
  poe_session_close(session);
}

/* ---- draws ---- */

/* A mean is `expected` to 6 of its standard errors: of 48 numbers, a false alarm in 4 million (Student). */
static void check_mean(const double *values, size_t n, double expected) {
  double mean = 0.0, square = 0.0, count = (double)n;
  for (size_t i = 0; i < n; i++) {
    mean += values[i] / count;
  }
  for (size_t i = 0; i < n; i++) {
    square += (values[i] - mean) * (values[i] - mean) / (count - 1.0);
  }
  check_close(mean, expected, 6.0 * sqrt(square / count), 0.0);
}

/* Stein's identities, which join draws and density: E sum_j d_j log p = 0 and E sum_j y_j d_j log p = -d, for the
 * density of the logits y. With `grey`, x are grey levels in (0, 1) with ds/dy = s (1 - s) for s = alpha + (1 - 2
 * alpha) x. */
static void check_draws(const char *path, const char *target, bool grey) {
  enum { DRAWS = 48 };
  poe_error error = {0};
  poe_session *session = opened(path);
  size_t d;
  bool trusted;
  check_ok(poe_session_dim(session, target, &d, &error), error);
  double *x = malloc(2 * DRAWS * d * sizeof *x), *grad = x + DRAWS * d, log_p[DRAWS], sum[DRAWS], product[DRAWS];
  assert_non_null(x);
  check_ok(poe_session_sample(session, target, 1, DRAWS, x, &trusted, &error), error);
  check_ok(poe_session_score(session, target, DRAWS, x, log_p, grad, &error), error);
  for (size_t i = 0; i < DRAWS; i++) {
    assert_true(isfinite(log_p[i]));
    sum[i] = product[i] = 0.0;
    for (size_t j = i * d; j < (i + 1) * d; j++) {
      double s = alpha + (1.0 - 2.0 * alpha) * x[j], y = grey ? log(s / (1.0 - s)) : x[j];
      double slope = grey ? grad[j] * s * (1.0 - s) / (1.0 - 2.0 * alpha) + 1.0 - 2.0 * s : grad[j];
      sum[i] += slope;
      product[i] += y * slope;
    }
  }
  check_mean(sum, DRAWS, 0.0);
  check_mean(product, DRAWS, -(double)d);
  free(x);
  poe_session_close(session);
}

static void test_draws_of_the_small_flow(void **state) {
  (void)state;
  check_draws(FOLDER "pixels.poe", "flow", false);
}

static void test_draws_of_the_pixel_network(void **state) {
  (void)state;
  check_draws(FOLDER "pixels.poe", "cnn", false);
}

static void test_draws_of_the_large_flow(void **state) {
  (void)state;
  check_draws(FOLDER "flow28.poe", "digit", true);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_scores),
      cmocka_unit_test(test_operators),
      cmocka_unit_test(test_draws_of_the_small_flow),
      cmocka_unit_test(test_draws_of_the_pixel_network),
      cmocka_unit_test(test_draws_of_the_large_flow),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
