/* Addressed randomness: Philox known answers (Random123's published vectors for philox4x32-10), an independent
 * implementation, the layout of streams, and distributions.
 *
 * Every statistical test compares a p-value, computed from the exact or limiting law, with ALPHA: it fails a correct
 * generator with that probability over the choice of its fixed seed. There are fewer than 200 p-values here, so the
 * suite would have failed with probability below 2e-4 for a random choice of the seed; the seed is the first one taken.
 * Each kind of test is also run on a broken sequence, where it must fail. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/numerics.h"
#include "poe/rng.h"
#include "tests/support/check.h"

#define ALPHA 1e-6

enum { SAMPLES = 100000 };

static const poe_rng place = {.key = 20240607, .chain = 1, .step = 2, .site = 3};

/* ---- the generator ---- */

/* Philox4x32-10 as the paper states it: word by word. */
static void philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
  uint32_t x[4] = {counter[0], counter[1], counter[2], counter[3]}, k[2] = {key[0], key[1]};
  for (int round = 0; round < 10; round++) {
    uint64_t a = (uint64_t)x[0] * 0xD2511F53U, b = (uint64_t)x[2] * 0xCD9E8D57U;
    uint32_t y[4] = {(uint32_t)(b >> 32) ^ x[1] ^ k[0], (uint32_t)b, (uint32_t)(a >> 32) ^ x[3] ^ k[1], (uint32_t)a};
    memcpy(x, y, sizeof x);
    k[0] += 0x9E3779B9U;
    k[1] += 0xBB67AE85U;
  }
  memcpy(out, x, sizeof x);
}

static void test_known_answers(void **state) {
  (void)state;
  static const struct {
    uint32_t counter[4], key[2], out[4];
  } known[] = {
      {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
       {0xffffffff, 0xffffffff},
       {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
       {0xa4093822, 0x299f31d0},
       {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    uint32_t out[4];
    philox(known[i].counter, known[i].key, out);
    assert_memory_equal(out, known[i].out, sizeof out);
    poe_rng at = {.key = (uint64_t)known[i].key[1] << 32 | known[i].key[0],
                  .site = known[i].counter[1],
                  .step = known[i].counter[2],
                  .chain = known[i].counter[3]};
    poe_stream stream = poe_stream_open(at);
    stream.block = known[i].counter[0];
    for (size_t word = 0; word < 4; word++) {
      assert_int_equal(poe_stream_bits(&stream), known[i].out[word]);
    }
  }
}

static void test_stream_is_the_counter_sequence(void **state) {
  (void)state;
  poe_stream stream = poe_stream_open(place);
  for (uint32_t block = 0; block < 50; block++) {
    const uint32_t counter[4] = {block, place.site, place.step, place.chain}, key[2] = {(uint32_t)place.key, 0};
    uint32_t out[4];
    philox(counter, key, out);
    for (size_t word = 0; word < 4; word++) {
      assert_int_equal(poe_stream_bits(&stream), out[word]);
    }
  }
}

static void test_seed_and_children(void **state) {
  (void)state;
  poe_rng root = poe_rng_seed(77), other = poe_rng_seed(78);
  assert_true(root.chain == 0 && root.step == 0 && root.site == 0 && root.key != other.key);
  enum { CHILDREN = 1000 };
  static uint64_t keys[CHILDREN + 1];
  for (uint32_t i = 0; i < CHILDREN; i++) {
    poe_rng child = poe_rng_child(place, i);
    assert_true(child.chain == place.chain && child.step == place.step && child.site == place.site);
    poe_rng again = place;
    again.step += 5; /* the key depends on the parent's key and the index only */
    assert_true(poe_rng_child(again, i).key == child.key);
    keys[i] = child.key;
  }
  keys[CHILDREN] = place.key;
  for (size_t i = 0; i <= CHILDREN; i++) {
    for (size_t j = 0; j < i; j++) {
      assert_true(keys[i] != keys[j]);
    }
  }
  assert_true(poe_rng_child(poe_rng_child(place, 0), 1).key != poe_rng_child(poe_rng_child(place, 1), 0).key);
}

/* ---- layout ---- */

static void test_uniforms_are_the_stream(void **state) {
  (void)state;
  double all[100], one[101];
  poe_stream stream = poe_stream_open(place);
  for (size_t i = 0; i < 100; i++) {
    all[i] = poe_stream_uniform(&stream);
    assert_true(all[i] > 0.0 && all[i] < 1.0);
  }
  for (size_t n = 0; n <= 100; n++) {
    one[n] = -1.0;
    poe_rng_uniforms(place, n, one);
    check_same_bits(one, all, n);
    assert_true(one[n] == -1.0);
  }
}

static void test_normals_do_not_depend_on_n(void **state) {
  (void)state;
  double all[100], some[101], uniform[100];
  poe_rng_normals(place, 100, all);
  poe_rng_uniforms(place, 100, uniform);
  for (size_t n = 0; n <= 100; n++) {
    some[n] = -99.0;
    poe_rng_normals(place, n, some);
    check_same_bits(some, all, n);
    assert_true(some[n] == -99.0);
  }
  for (size_t i = 0; i < 100; i += 2) { /* Box and Muller's pairs of the uniforms' pairs */
    double radius = sqrt(-2.0 * log(uniform[i])), angle = 2.0 * POEI_PI * uniform[i + 1];
    check_close(all[i], radius * cos(angle), 1e-15, 1e-14);
    check_close(all[i + 1], radius * sin(angle), 1e-15, 1e-14);
  }
}

static void test_positions_are_predictable(void **state) {
  (void)state;
  poe_stream a = poe_stream_open(place), b = a;
  for (size_t i = 0; i < 10; i++) {
    poe_stream_normal(&a);
    poe_stream_uniform(&b);
    poe_stream_uniform(&b);
  }
  assert_int_equal(poe_stream_bits(&a), poe_stream_bits(&b));
}

/* ---- distributions ---- */

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* p-value of Kolmogorov's test of x[n] (sorted here); u are the distribution function's values. */
static double ks_p_value(double *u, size_t n) {
  qsort(u, n, sizeof *u, ascending);
  double d = 0.0;
  for (size_t i = 0; i < n; i++) {
    d = fmax(d, fmax(u[i] - (double)i / (double)n, (double)(i + 1) / (double)n - u[i]));
  }
  return poei_kolmogorov_tail((sqrt((double)n) + 0.12 + 0.11 / sqrt((double)n)) * d); /* Stephens 1970 */
}

/* p-value of the chi-square test of equal cells. */
static double chi_square_p_value(const double *count, const double *expected, size_t cells) {
  double sum = 0.0;
  for (size_t i = 0; i < cells; i++) {
    sum += (count[i] - expected[i]) * (count[i] - expected[i]) / expected[i];
  }
  return poei_chi_square_tail(sum, (double)(cells - 1));
}

/* Two-sided p-value of a standard normal statistic. */
static double normal_p_value(double z) {
  return 2.0 * poei_normal_cdf(-fabs(z));
}

static void test_uniform_and_normal_laws(void **state) {
  (void)state;
  double *x = poei_alloc(SAMPLES, sizeof *x), *u = poei_alloc(SAMPLES, sizeof *u);
  poe_rng_uniforms(place, SAMPLES, u);
  assert_true(ks_p_value(u, SAMPLES) > ALPHA);
  poe_rng_normals(place, SAMPLES, x);
  double moment[5] = {0};
  for (size_t i = 0; i < SAMPLES; i++) {
    u[i] = poei_normal_cdf(x[i]);
    for (int k = 1; k <= 4; k++) {
      moment[k] += pow(x[i], k) / SAMPLES;
    }
  }
  assert_true(ks_p_value(u, SAMPLES) > ALPHA);
  /* variances of x, x^2, x^3, x^4: 1, 2, 15, 96 */
  assert_true(normal_p_value(moment[1] * sqrt(SAMPLES)) > ALPHA);
  assert_true(normal_p_value((moment[2] - 1.0) * sqrt(SAMPLES / 2.0)) > ALPHA);
  assert_true(normal_p_value(moment[3] * sqrt(SAMPLES / 15.0)) > ALPHA);
  assert_true(normal_p_value((moment[4] - 3.0) * sqrt(SAMPLES / 96.0)) > ALPHA);
  poe_stream stream = poe_stream_open(poe_rng_child(place, 1));
  for (size_t i = 0; i < SAMPLES; i++) {
    u[i] = poei_normal_cdf(poe_stream_normal(&stream));
  }
  assert_true(ks_p_value(u, SAMPLES) > ALPHA);
  for (size_t i = 0; i < SAMPLES; i++) {
    u[i] = exp(-poe_stream_exponential(&stream));
  }
  assert_true(ks_p_value(u, SAMPLES) > ALPHA);
  for (size_t i = 0; i < SAMPLES; i++) { /* broken: 6 % too wide */
    u[i] = poei_normal_cdf(1.06 * x[i]);
  }
  assert_true(ks_p_value(u, SAMPLES) < ALPHA);
  poei_free(x), poei_free(u);
}

static void test_bits_are_fair(void **state) {
  (void)state;
  double ones[33] = {0}, bytes[256] = {0}, expected[256];
  poe_stream stream = poe_stream_open(place);
  for (size_t i = 0; i < SAMPLES; i++) {
    uint32_t word = poe_stream_bits(&stream);
    for (unsigned bit = 0; bit < 32; bit++) {
      ones[bit] += (double)(word >> bit & 1U);
    }
    bytes[word & 255U]++;
  }
  for (unsigned bit = 0; bit < 32; bit++) {
    assert_true(normal_p_value((ones[bit] - SAMPLES / 2.0) / sqrt(SAMPLES / 4.0)) > ALPHA);
  }
  for (size_t i = 0; i < 256; i++) {
    expected[i] = SAMPLES / 256.0;
  }
  assert_true(chi_square_p_value(bytes, expected, 256) > ALPHA);
  bytes[3] += SAMPLES / 256.0; /* broken: one value twice as often */
  assert_true(chi_square_p_value(bytes, expected, 256) < ALPHA);
}

/* z of the correlation of x and y, means 0, variances 1. */
static double correlation_z(const double *x, const double *y, size_t n) {
  double sum = 0.0;
  for (size_t i = 0; i < n; i++) {
    sum += x[i] * y[i];
  }
  return sum / sqrt((double)n);
}

static void test_neighbouring_addresses_are_independent(void **state) {
  (void)state;
  enum { ROWS = 20000, LANES = 3 };
  static double first[ROWS], next[ROWS], row[2 * LANES];
  for (int axis = 0; axis < 6; axis++) {
    for (size_t lane = 0; lane < LANES; lane++) {
      for (uint32_t i = 0; i < ROWS; i++) { /* x_i at address i along the axis; its neighbour is i + 1 */
        poe_rng at = place;
        switch (axis) {
        case 0:
          at.chain = i;
          break;
        case 1:
          at.step = i;
          break;
        case 2:
          at.site = i;
          break;
        case 3:
          at.key = i;
          break;
        case 4:
          at.key = (uint64_t)i << 32;
          break;
        default:
          at = poe_rng_child(at, i);
          break;
        }
        poe_rng_normals(at, LANES, row);
        first[i] = row[lane];
        next[i] = row[(lane + 1) % LANES];
      }
      assert_true(normal_p_value(correlation_z(first, first + 1, ROWS - 1)) > ALPHA);
      assert_true(normal_p_value(correlation_z(first, next + 1, ROWS - 1)) > ALPHA);
      for (size_t i = 0; i < ROWS; i++) {
        next[i] = poei_normal_cdf(first[i]);
      }
      assert_true(ks_p_value(next, ROWS) > ALPHA);
    }
  }
  for (size_t i = 1; i < ROWS; i++) { /* broken: a twentieth of the neighbour leaks in */
    next[i] = first[i] + 0.05 * first[i - 1];
  }
  assert_true(normal_p_value(correlation_z(next + 1, first, ROWS - 1)) < ALPHA);
}

static void test_serial_correlation(void **state) {
  (void)state;
  double *x = poei_alloc(SAMPLES, sizeof *x);
  poe_rng_normals(place, SAMPLES, x);
  for (size_t lag = 1; lag <= 16; lag++) {
    assert_true(normal_p_value(correlation_z(x, x + lag, SAMPLES - lag)) > ALPHA);
  }
  poei_free(x);
}

static void test_gamma(void **state) {
  (void)state;
  double *u = poei_alloc(SAMPLES, sizeof *u);
  static const double shapes[] = {0.05, 0.5, 1.0, 2.5, 30.0, 1000.0};
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
    poe_stream stream = poe_stream_open(poe_rng_child(place, (uint32_t)s));
    for (size_t i = 0; i < SAMPLES; i++) {
      double x = poe_stream_gamma(&stream, shapes[s]);
      assert_true(x >= 0.0);
      u[i] = poei_chi_square_tail(2.0 * x, 2.0 * shapes[s]);
    }
    assert_true(ks_p_value(u, SAMPLES) > ALPHA);
  }
  poe_stream stream = poe_stream_open(place);
  for (size_t i = 0; i < SAMPLES; i++) { /* broken: shape off by 2 % */
    u[i] = poei_chi_square_tail(2.0 * poe_stream_gamma(&stream, 2.55), 5.0);
  }
  assert_true(ks_p_value(u, SAMPLES) < ALPHA);
  poei_free(u);
}

static void test_categorical(void **state) {
  (void)state;
  const double weight[7] = {0.0, 3.0, 0.0, 1.0, 0.5, 5.5, 0.0}, positive[4] = {3.0, 1.0, 0.5, 5.5};
  double count[7] = {0}, seen[4], expected[4];
  poe_stream stream = poe_stream_open(place);
  for (size_t i = 0; i < SAMPLES; i++) {
    size_t k = poe_stream_categorical(&stream, weight, 7);
    assert_true(k < 7);
    count[k]++;
  }
  assert_true(count[0] == 0.0 && count[2] == 0.0 && count[6] == 0.0); /* weight 0 is never drawn */
  const size_t at[4] = {1, 3, 4, 5};
  for (size_t i = 0; i < 4; i++) {
    seen[i] = count[at[i]];
    expected[i] = SAMPLES * positive[i] / 10.0;
  }
  assert_true(chi_square_p_value(seen, expected, 4) > ALPHA);
  expected[0] += 0.02 * SAMPLES; /* broken: 2 % of the draws at another place */
  expected[3] -= 0.02 * SAMPLES;
  assert_true(chi_square_p_value(seen, expected, 4) < ALPHA);
  const double lone[3] = {0.0, 1e-300, 0.0}; /* one positive weight, tiny */
  for (size_t i = 0; i < 100; i++) {
    assert_int_equal(poe_stream_categorical(&stream, lone, 3), 1);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_known_answers),
      cmocka_unit_test(test_stream_is_the_counter_sequence),
      cmocka_unit_test(test_seed_and_children),
      cmocka_unit_test(test_uniforms_are_the_stream),
      cmocka_unit_test(test_normals_do_not_depend_on_n),
      cmocka_unit_test(test_positions_are_predictable),
      cmocka_unit_test(test_uniform_and_normal_laws),
      cmocka_unit_test(test_bits_are_fair),
      cmocka_unit_test(test_neighbouring_addresses_are_independent),
      cmocka_unit_test(test_serial_correlation),
      cmocka_unit_test(test_gamma),
      cmocka_unit_test(test_categorical),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
