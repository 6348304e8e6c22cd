/* Distances to the nearest image of a reference set, against all distances one by one. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "evaluate/judge.h"
#include "formats/tensor_write.h"
#include "poe/rng.h"
#include "tests/support/check.h"

enum { D = 6, M = 6, N = 70, HELD = 3, ROWS = 150 };

/* A reference of D = M: the projection is sqrt(M) times a rotation (a product of plane rotations), so distances of the
 * projections are distances of the images. */
typedef struct reference_data {
  float projection[D * M];
  signed char codes[N * M];
  double scale, images[N * D], heldout[HELD];
} reference_data;

static void data_make(reference_data *r) {
  double q[D][D] = {{0}};
  for (size_t j = 0; j < D; j++) {
    q[j][j] = 1.0;
  }
  for (size_t a = 0; a + 1 < D; a++) {
    double c = cos(0.7 + (double)a), s = sin(0.7 + (double)a);
    for (size_t j = 0; j < D; j++) {
      double u = q[j][a], v = q[j][a + 1];
      q[j][a] = c * u - s * v;
      q[j][a + 1] = s * u + c * v;
    }
  }
  poe_stream stream = poe_stream_open(poe_rng_seed(11));
  r->scale = 0.05;
  for (size_t i = 0; i < N * M; i++) {
    r->codes[i] = (signed char)(poe_stream_uniform(&stream) * 254.0 - 127.0);
  }
  for (size_t j = 0; j < D * M; j++) {
    r->projection[j] = (float)(sqrt(M) * q[j / M][j % M]);
  }
  for (size_t i = 0; i < N; i++) { /* image = code scale Q' / sqrt(M) */
    for (size_t j = 0; j < D; j++) {
      r->images[i * D + j] = 0.0;
      for (size_t k = 0; k < M; k++) {
        r->images[i * D + j] += r->codes[i * M + k] * r->scale * q[j][k] / sqrt(M);
      }
    }
  }
  for (size_t i = 0; i < HELD; i++) {
    r->heldout[i] = 0.5 + (double)i;
  }
}

typedef struct part {
  const char *name;
  poei_dtype dtype;
  size_t ndim, shape[2];
  const void *data;
} part;

enum { PROJECTION, CODES, SCALE, HELDOUT, PARTS };

static void parts_of(const reference_data *r, part *parts) {
  parts[PROJECTION] = (part){"projection", POEI_F32, 2, {D, M}, r->projection};
  parts[CODES] = (part){"codes", POEI_I8, 2, {N, M}, r->codes};
  parts[SCALE] = (part){"scale", POEI_F64, 0, {0, 0}, &r->scale};
  parts[HELDOUT] = (part){"heldout_nearest", POEI_F64, 1, {HELD, 0}, r->heldout};
}

static const char *parts_write(const part *parts, size_t left_out) {
  const char *path = poet_temp_path("reference.npz");
  poe_error error = {0};
  poei_npz_writer *writer = NULL;
  check_ok(poei_npz_writer_open(path, &writer, &error), error);
  for (size_t k = 0; k < PARTS; k++) {
    if (k != left_out) {
      check_ok(poei_npz_writer_add(writer, parts[k].name, parts[k].dtype, parts[k].ndim, parts[k].shape, parts[k].data,
                                   &error),
               error);
    }
  }
  check_ok(poei_npz_writer_commit(writer, &error), error);
  return path;
}

static void test_nearest(void **state) {
  (void)state;
  static reference_data r;
  part parts[PARTS];
  poe_error error = {0};
  poei_reference *reference = NULL;
  data_make(&r);
  parts_of(&r, parts);
  check_ok(poei_reference_open(parts_write(parts, PARTS), &reference, &error), error);
  assert_int_equal(poei_reference_dim(reference), D);
  size_t n = 0;
  assert_memory_equal(poei_reference_heldout(reference, &n), r.heldout, sizeof r.heldout);
  assert_int_equal(n, HELD);
  double x[ROWS * D], distance[ROWS];
  poe_stream stream = poe_stream_open(poe_rng_seed(12));
  for (size_t i = 0; i < ROWS * D; i++) {
    x[i] = 4.0 * poe_stream_uniform(&stream) - 2.0;
  }
  memcpy(x + D, r.images + 5 * D, D * sizeof *x); /* a copy of an image */
  x[2 * D] = NAN;
  check_ok(poei_reference_nearest(reference, ROWS, x, distance, &error), error);
  for (size_t i = 0; i < ROWS; i++) {
    double best = INFINITY;
    for (size_t k = 0; k < N; k++) {
      double square = 0.0;
      for (size_t j = 0; j < D; j++) {
        square += (x[i * D + j] - r.images[k * D + j]) * (x[i * D + j] - r.images[k * D + j]);
      }
      best = fmin(best, sqrt(square));
    }
    if (i == 2) {
      assert_true(isnan(distance[i])); /* not 0, which would be a copy */
    } else {
      check_close(distance[i], best, 1e-5, 1e-5);
    }
  }
  assert_true(distance[1] < 1e-5);
  poei_reference_close(reference);
  poei_reference_close(NULL);
}

static void expect_refused(const part *parts, size_t left_out, const char *what) {
  poe_error error = {0};
  poei_reference *reference = NULL;
  poe_status status = poei_reference_open(parts_write(parts, left_out), &reference, &error);
  poet_check_fails(status, POE_E_FORMAT, &error, what, what, __FILE__, __LINE__);
  assert_non_null(strstr(error.file, "reference.npz"));
  assert_null(reference);
}

static void test_refused(void **state) {
  (void)state;
  static reference_data r;
  part parts[PARTS];
  data_make(&r);
  parts_of(&r, parts);
  for (size_t k = 0; k < PARTS; k++) {
    expect_refused(parts, k, parts[k].name);
  }
  parts[CODES].shape[0] = N * M / 5;
  parts[CODES].shape[1] = 5; /* not the projection's width */
  expect_refused(parts, PARTS, "codes [N, m]");
  parts_of(&r, parts);
  parts[CODES].shape[0] = 0;
  expect_refused(parts, PARTS, "codes [N, m]");
  parts_of(&r, parts);
  parts[PROJECTION].ndim = 1;
  expect_refused(parts, PARTS, "projection [d, m]");
  parts_of(&r, parts);
  parts[HELDOUT].shape[0] = 0;
  expect_refused(parts, PARTS, "heldout_nearest [M]");
  parts_of(&r, parts);
  static const double scales[] = {0.0, -1.0, INFINITY, NAN, 1e300};
  for (size_t k = 0; k < sizeof scales / sizeof scales[0]; k++) {
    r.scale = scales[k];
    expect_refused(parts, PARTS, "'scale'");
  }
  parts[SCALE] = (part){"scale", POEI_F64, 1, {2, 0}, r.heldout};
  expect_refused(parts, PARTS, "'scale'");
  data_make(&r);
  parts_of(&r, parts);
  r.projection[7] = NAN;
  expect_refused(parts, PARTS, "'projection'");
  data_make(&r);
  r.heldout[1] = -0.5;
  expect_refused(parts, PARTS, "'heldout_nearest'");
}

static void test_memory(void **state) {
  (void)state;
  static reference_data r;
  part parts[PARTS];
  data_make(&r);
  parts_of(&r, parts);
  const char *path = parts_write(parts, PARTS);
  size_t failed = 0;
  for (uint64_t n = 1;; n++) {
    uint64_t before = poei_alloc_count();
    poe_error error = {0};
    poei_reference *reference = NULL;
    double distance = -1.0;
    poei_alloc_fail_at(n);
    poe_status status = poei_reference_open(path, &reference, &error);
    if (status == POE_OK) {
      status = poei_reference_nearest(reference, 1, r.images, &distance, &error);
    }
    poei_alloc_fail_at(0);
    poei_reference_close(reference);
    if (status == POE_OK) {
      check_close(distance, 0.0, 1e-5, 0);
    } else {
      poet_check_status(status, POE_E_MEMORY, &error, "a reference without memory", __FILE__, __LINE__);
      failed++;
    }
    if (poei_alloc_count() - before < n) {
      break;
    }
  }
  assert_true(failed > 10);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_nearest),
      cmocka_unit_test(test_refused),
      cmocka_unit_test(test_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
