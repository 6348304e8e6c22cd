/* Which formulas are quadratic, and their coefficients: random sums, products of affine terms and norms against their
 * values at random points; what only looks quadratic; sharing, size, digits far from 0; formulas with coordinates
 * fixed; sums taken apart. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "net/formula_quadratic.h"
#include "tests/support/check.h"

enum { DIM = 5 };

static double number(uint64_t *state) { /* in (-1, 1); splitmix64 */
  uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return (double)((z ^ (z >> 31)) >> 11) * 0x1p-52 - 1.0;
}

static poei_formula_value apply2(poei_formula_builder *b, poei_formula_op op, poei_formula_value x,
                                 poei_formula_value y) {
  return poei_formula_apply(b, op, 2, (poei_formula_value[]){x, y});
}

static poei_formula *finish(poei_formula_builder *b, poei_formula_value root) {
  poe_error error = {0};
  poei_formula *f = NULL;
  check_ok(poei_formula_finish(b, root, &f, &error), error);
  poei_formula_builder_destroy(b);
  return f;
}

static double value_of(const poei_formula *f, const double *x) {
  double value = 0.0;
  size_t d = poei_formula_dim(f);
  poe_scratch *scratch = poe_scratch_create(poei_formula_scratch(f, POE_WANT_LOGP, 1));
  poei_formula_eval(f, (poe_rows){1, d, d, x}, &value, NULL, NULL, 0, scratch);
  poe_scratch_destroy(scratch);
  return value;
}

/* The definition, and the sum of the absolute values of its terms. */
static double polynomial(const poei_quadratic *q, const double *origin, const double *x, double *size) {
  double value = q->constant;
  *size = fabs(value);
  for (size_t j = 0; j < q->dim; j++) {
    double u = x[j] - origin[j];
    value += q->linear[j] * u;
    *size += fabs(q->linear[j] * u);
    for (size_t k = q->precision.start[j]; k < q->precision.start[j + 1]; k++) {
      size_t r = q->precision.row[k];
      double term = (r == j ? 0.5 : 1.0) * u * q->precision.value[k] * (x[r] - origin[r]);
      value -= term;
      *size += fabs(term);
    }
  }
  return value;
}

/* c + sum_j a_j x_j, with about a third of the coefficients. */
static poei_formula_value random_affine(poei_formula_builder *b, uint64_t *state) {
  poei_formula_value sum = poei_formula_constant(b, number(state));
  for (size_t j = 0; j < DIM; j++) {
    if (number(state) < -0.3) {
      poei_formula_value x = poei_formula_coordinate(b, j), c = poei_formula_constant(b, 3.0 * number(state));
      poei_formula_value term =
          number(state) < 0.0 ? apply2(b, POEI_FORMULA_MUL, c, x) : apply2(b, POEI_FORMULA_DIV, x, c);
      sum = apply2(b, number(state) < 0.0 ? POEI_FORMULA_ADD : POEI_FORMULA_SUB, sum, term);
    }
  }
  return sum;
}

static poei_formula_value random_square(poei_formula_builder *b, uint64_t *state) {
  poei_formula_value args[4] = {random_affine(b, state), random_affine(b, state), random_affine(b, state)};
  double which = number(state);
  if (which < -0.5) {
    return apply2(b, POEI_FORMULA_MUL, args[0], args[1]);
  }
  if (which < 0.0) {
    return apply2(b, POEI_FORMULA_POW, args[0], poei_formula_constant(b, 2.0));
  }
  poei_formula_op op = which < 0.5 ? POEI_FORMULA_NORM : POEI_FORMULA_ABS;
  poei_formula_value norm = poei_formula_apply(b, op, op == POEI_FORMULA_NORM ? 3 : 1, args);
  return apply2(b, POEI_FORMULA_MUL, norm, norm);
}

static poei_formula *random_quadratic(uint64_t *state) {
  poei_formula_builder *b = poei_formula_builder_create(DIM);
  poei_formula_value part[4];
  for (size_t k = 0; k < 3; k++) {
    part[k] = apply2(b, POEI_FORMULA_MUL, random_square(b, state), poei_formula_constant(b, 2.0 * number(state)));
  }
  part[3] = apply2(b, POEI_FORMULA_DIV, random_affine(b, state), poei_formula_constant(b, 0.5 + fabs(number(state))));
  poei_formula_value sum = poei_formula_apply(b, POEI_FORMULA_SUM, 4, part);
  return finish(b, poei_formula_apply(b, POEI_FORMULA_NEG, 1, &sum));
}

static void random_formulas_are_their_coefficients(void **unused) {
  (void)unused;
  uint64_t state = 7;
  for (size_t trial = 0; trial < 300; trial++) {
    poei_formula *f = random_quadratic(&state);
    double origin[DIM], x[DIM], zero[DIM] = {0};
    for (size_t j = 0; j < DIM; j++) {
      origin[j] = 5.0 * number(&state);
    }
    for (size_t shifted = 0; shifted < 2; shifted++) {
      poei_quadratic q;
      bool is = false;
      poe_error error = {0};
      check_ok(poei_formula_quadratic(f, shifted == 1 ? origin : NULL, &q, &is, &error), error);
      assert_true(is);
      for (size_t i = 0; i < 10; i++) {
        for (size_t j = 0; j < DIM; j++) {
          x[j] = 4.0 * number(&state);
        }
        double size, value = polynomial(&q, shifted == 1 ? origin : zero, x, &size);
        check_close(value, value_of(f, x), 1e-13 * (1.0 + size), 0.0);
      }
      poei_quadratic_release(&q);
    }
    poei_formula_release(f);
  }
}

static bool is_quadratic(poei_formula *f) {
  poei_quadratic q;
  bool is = false;
  poe_error error = {0};
  check_ok(poei_formula_quadratic(f, NULL, &q, &is, &error), error);
  poei_quadratic_release(&q);
  poei_formula_release(f);
  return is;
}

static poei_formula_value one_of(poei_formula_builder *b, int which) {
  poei_formula_value x = poei_formula_coordinate(b, 0), y = poei_formula_coordinate(b, 1);
  poei_formula_value square = apply2(b, POEI_FORMULA_MUL, x, x), both[2] = {x, y};
  switch (which) {
  case 0:
    return apply2(b, POEI_FORMULA_MUL, square, y);
  case 1:
    return apply2(b, POEI_FORMULA_POW, x, poei_formula_constant(b, 3.0));
  case 2:
    return poei_formula_apply(b, POEI_FORMULA_EXP, 1, &x);
  case 3:
    return apply2(b, POEI_FORMULA_MUL, x, poei_formula_apply(b, POEI_FORMULA_ABS, 1, &x));
  case 4:
    return poei_formula_apply(b, POEI_FORMULA_NORM, 2, both);
  case 5:
    return apply2(b, POEI_FORMULA_DIV, poei_formula_constant(b, 1.0), x);
  case 6:
    return poei_formula_apply(b, POEI_FORMULA_MAX, 2, both);
  case 7: /* |x| |y| is no polynomial */
    return apply2(b, POEI_FORMULA_MUL, poei_formula_apply(b, POEI_FORMULA_ABS, 1, &x),
                  poei_formula_apply(b, POEI_FORMULA_ABS, 1, &y));
  case 8: /* infinite coefficients */
    return apply2(b, POEI_FORMULA_MUL, square, poei_formula_constant(b, INFINITY));
  default: /* x / 0 */
    return apply2(b, POEI_FORMULA_DIV, x, poei_formula_constant(b, 0.0));
  }
}

static void others_are_not(void **unused) {
  (void)unused;
  for (int which = 0; which < 10; which++) {
    poei_formula_builder *b = poei_formula_builder_create(2);
    assert_false(is_quadratic(finish(b, one_of(b, which))));
  }
}

/* x + x, that doubled, ... sixty times: one visit each. And what cancels is 0, not rounding. */
static void sharing_and_cancelling(void **unused) {
  (void)unused;
  poei_formula_builder *b = poei_formula_builder_create(2);
  poei_formula_value x = poei_formula_coordinate(b, 0), y = poei_formula_coordinate(b, 1), twice = x;
  for (size_t k = 0; k < 60; k++) {
    twice = apply2(b, POEI_FORMULA_ADD, twice, twice);
  }
  poei_formula_value tenth = apply2(b, POEI_FORMULA_MUL, x, poei_formula_constant(b, 0.1));
  poei_formula_value third = apply2(b, POEI_FORMULA_MUL, y, poei_formula_constant(b, 0.3));
  poei_formula_value sum = apply2(b, POEI_FORMULA_ADD, tenth, third), gap = apply2(b, POEI_FORMULA_SUB, tenth, third);
  poei_formula_value squares = apply2(b, POEI_FORMULA_SUB, apply2(b, POEI_FORMULA_MUL, sum, sum),
                                      apply2(b, POEI_FORMULA_MUL, gap, gap)); /* 4 * 0.03 x y */
  poei_formula *f = finish(b, apply2(b, POEI_FORMULA_ADD, twice, squares));
  poei_quadratic q;
  bool is = false;
  poe_error error = {0};
  check_ok(poei_formula_quadratic(f, NULL, &q, &is, &error), error);
  assert_true(is);
  assert_true(q.linear[0] == 0x1p60 && q.linear[1] == 0.0);
  assert_true(q.precision.value[0] == 0.0 && q.precision.value[2] == 0.0); /* xx, yx, yy */
  check_close(q.precision.value[1], -0.12, 1e-16, 0.0);
  poei_quadratic_release(&q);
  poei_formula_release(f);
}

/* sum (x_i+1 - 0.9 x_i)^2 over ten thousand: 2 n - 1 numbers, tridiagonal. */
static void long_chains_stay_sparse(void **unused) {
  (void)unused;
  enum { LONG = 10000 };
  poei_formula_builder *b = poei_formula_builder_create(LONG);
  poei_formula_value sum = poei_formula_constant(b, 0.0);
  for (size_t i = 0; i + 1 < LONG; i++) {
    poei_formula_value next = poei_formula_coordinate(b, i + 1);
    poei_formula_value own = apply2(b, POEI_FORMULA_MUL, poei_formula_coordinate(b, i), poei_formula_constant(b, 0.9));
    poei_formula_value gap = apply2(b, POEI_FORMULA_SUB, next, own);
    sum = apply2(b, POEI_FORMULA_SUB, sum, apply2(b, POEI_FORMULA_MUL, gap, gap)); /* nested ten thousand deep */
  }
  poei_formula *f = finish(b, sum);
  poei_quadratic q;
  bool is = false;
  poe_error error = {0};
  check_ok(poei_formula_quadratic(f, NULL, &q, &is, &error), error);
  assert_true(is);
  assert_int_equal(q.precision.start[LONG], 2 * LONG - 1);
  check_close(q.precision.value[2], 2.0 * (1.0 + 0.81), 1e-15, 0.0);
  check_close(q.precision.value[3], -1.8, 1e-15, 0.0);
  poei_quadratic_release(&q);
  poei_formula_release(f);
}

/* (sum of 20000)^2 has 2e8 numbers: it is let be, and quickly. */
static void what_is_too_large_is_let_be(void **unused) {
  (void)unused;
  enum { LONG = 20000 };
  poei_formula_builder *b = poei_formula_builder_create(LONG);
  poei_formula_value *all = malloc(LONG * sizeof *all);
  for (size_t i = 0; i < LONG; i++) {
    all[i] = poei_formula_coordinate(b, i);
  }
  poei_formula_value sum = poei_formula_apply(b, POEI_FORMULA_SUM, LONG, all);
  free(all);
  assert_false(is_quadratic(finish(b, apply2(b, POEI_FORMULA_MUL, sum, sum))));
}

/* -((x - 1e8) 1e4)^2 / 2 around 1e8: nothing cancels. */
static void coefficients_around_a_point(void **unused) {
  (void)unused;
  poei_formula_builder *b = poei_formula_builder_create(1);
  poei_formula_value gap = apply2(b, POEI_FORMULA_SUB, poei_formula_coordinate(b, 0), poei_formula_constant(b, 1e8));
  poei_formula_value z = apply2(b, POEI_FORMULA_MUL, gap, poei_formula_constant(b, 1e4));
  poei_formula *f =
      finish(b, apply2(b, POEI_FORMULA_DIV, apply2(b, POEI_FORMULA_MUL, z, z), poei_formula_constant(b, -2.0)));
  poei_quadratic q;
  bool is = false;
  poe_error error = {0};
  double origin = 1e8;
  check_ok(poei_formula_quadratic(f, &origin, &q, &is, &error), error);
  assert_true(is);
  assert_true(q.constant == 0.0 && q.linear[0] == 0.0);
  assert_true(q.precision.value[0] == 1e8);
  poei_quadratic_release(&q);
  poei_formula_release(f);
}

/* -x^2 y^2 / 2 - x y z: no quadratic until y has a value. */
static void values_are_written_in(void **unused) {
  (void)unused;
  poei_formula_builder *b = poei_formula_builder_create(3);
  poei_formula_value x = poei_formula_coordinate(b, 0), y = poei_formula_coordinate(b, 1);
  poei_formula_value xy = apply2(b, POEI_FORMULA_MUL, x, y);
  poei_formula_value half =
      apply2(b, POEI_FORMULA_DIV, apply2(b, POEI_FORMULA_MUL, xy, xy), poei_formula_constant(b, -2.0));
  poei_formula *f =
      finish(b, apply2(b, POEI_FORMULA_SUB, half, apply2(b, POEI_FORMULA_MUL, xy, poei_formula_coordinate(b, 2))));
  poei_formula *given = NULL;
  poe_error error = {0};
  size_t at = 1;
  double to = 3.0;
  check_ok(poei_formula_bind(f, 1, &at, &to, &given, &error), error);
  assert_int_equal(poei_formula_dim(given), 2);
  uint64_t state = 3;
  for (size_t i = 0; i < 20; i++) {
    double full[3] = {number(&state), 3.0, number(&state)}, left[2] = {full[0], full[2]};
    check_close(value_of(given, left), value_of(f, full), 1e-15, 1e-15);
  }
  poei_formula_retain(given);
  assert_true(is_quadratic(given));
  poei_formula_release(given);
  assert_false(is_quadratic(f));
}

/* The parts at a row of the whole. */
static double sum_of(size_t n, const poei_formula_part *parts, const double *x) {
  double sum = 0.0, own[DIM];
  for (size_t i = 0; i < n; i++) {
    for (size_t k = 0; k < parts[i].n; k++) {
      own[k] = x[parts[i].index[k]];
    }
    sum += value_of(parts[i].formula, own);
  }
  return sum;
}

/* A sum of random terms, some quadratic, some not, over one or two coordinates each. */
static poei_formula *random_sum(uint64_t *state) {
  poei_formula_builder *b = poei_formula_builder_create(DIM);
  poei_formula_value sum = poei_formula_constant(b, number(state));
  for (size_t k = 0; k < 7; k++) { /* the first DIM see to it that every coordinate is read */
    size_t i = k < DIM ? k : (size_t)(DIM * (0.5 + number(state) / 2.0));
    poei_formula_value x = poei_formula_coordinate(b, i), y = x, one;
    if (number(state) < -0.2) {
      y = poei_formula_coordinate(b, (i + 1) % DIM);
    }
    one = apply2(b, POEI_FORMULA_MUL, x, y);
    if (number(state) < 0.0) {
      one = poei_formula_apply(b, POEI_FORMULA_COS, 1, &one);
    }
    one = apply2(b, POEI_FORMULA_MUL, one, poei_formula_constant(b, 2.0 * number(state)));
    sum = apply2(b, number(state) < 0.0 ? POEI_FORMULA_SUB : POEI_FORMULA_ADD, sum, one);
  }
  return finish(b, sum);
}

static void sums_are_taken_apart(void **unused) {
  (void)unused;
  uint64_t state = 5;
  size_t taken = 0;
  for (size_t trial = 0; trial < 300; trial++) {
    poei_formula *f = random_sum(&state);
    poei_formula_part *parts = NULL;
    size_t n = 0;
    poe_error error = {0};
    check_ok(poei_formula_split(f, &n, &parts, &error), error);
    assert_int_not_equal(n, 1);
    taken += n > 1;
    for (size_t i = 0; n > 0 && i < 10; i++) {
      double x[DIM];
      for (size_t j = 0; j < DIM; j++) {
        x[j] = 3.0 * number(&state);
      }
      check_close(sum_of(n, parts, x), value_of(f, x), 1e-13, 1e-13);
    }
    for (size_t i = 0; i < n; i++) { /* what is not quadratic shares no coordinate with another such */
      for (size_t j = 0; j < i; j++) {
        poei_quadratic q;
        bool one = false, other = false, shares = false;
        check_ok(poei_formula_quadratic(parts[i].formula, NULL, &q, &one, &error), error);
        poei_quadratic_release(&q);
        check_ok(poei_formula_quadratic(parts[j].formula, NULL, &q, &other, &error), error);
        poei_quadratic_release(&q);
        for (size_t a = 0; a < parts[i].n; a++) {
          for (size_t c = 0; c < parts[j].n; c++) {
            shares = shares || parts[i].index[a] == parts[j].index[c];
          }
        }
        assert_true(!shares || one != other);
      }
    }
    poei_formula_parts_free(n, parts);
    poei_formula_release(f);
  }
  assert_true(taken > 100);
}

/* Two steps away from a sum: exp of one is none, and what needs more than a sweep stays whole. */
static void others_stay_whole(void **unused) {
  (void)unused;
  for (int which = 0; which < 2; which++) {
    poei_formula_builder *b = poei_formula_builder_create(2);
    poei_formula_value x = poei_formula_coordinate(b, 0), y = poei_formula_coordinate(b, 1);
    poei_formula_value sum = apply2(b, POEI_FORMULA_ADD, x, y);
    sum = which == 0 ? poei_formula_apply(b, POEI_FORMULA_EXP, 1, &sum)
                     : apply2(b, POEI_FORMULA_ADD, poei_formula_apply(b, POEI_FORMULA_EXP, 1, &x),
                              apply2(b, POEI_FORMULA_MUL, poei_formula_constant(b, INFINITY), y));
    poei_formula *f = finish(b, sum);
    poei_formula_part *parts = NULL;
    size_t n = 7;
    poe_error error = {0};
    check_ok(poei_formula_split(f, &n, &parts, &error), error);
    assert_int_equal(n, 0);
    poei_formula_release(f);
  }
}

static void every_allocation_fails(void **unused) {
  (void)unused;
  uint64_t state = 11;
  poei_formula *f = random_quadratic(&state), *sum = random_sum(&state);
  poe_status status = POE_E_MEMORY;
  size_t at = 2;
  double to = 0.5;
  for (uint64_t n = 1; status == POE_E_MEMORY; n++) {
    poei_quadratic q;
    poei_formula *given = NULL;
    poei_formula_part *part = NULL;
    size_t parts = 0;
    bool is = false;
    poe_error error = {0};
    poei_alloc_fail_at(n);
    status = poei_formula_quadratic(f, NULL, &q, &is, &error);
    if (status == POE_OK) {
      assert_true(is);
      status = poei_formula_bind(f, 1, &at, &to, &given, &error);
    }
    if (status == POE_OK) {
      status = poei_formula_split(sum, &parts, &part, &error);
    }
    poei_alloc_fail_at(0);
    poei_formula_parts_free(status == POE_OK ? parts : 0, part);
    assert_true(status == POE_OK || (status == POE_E_MEMORY && error.status == POE_E_MEMORY));
    poei_quadratic_release(&q);
    poei_formula_release(given);
  }
  poei_formula_release(f);
  poei_formula_release(sum);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(random_formulas_are_their_coefficients),
      cmocka_unit_test(others_are_not),
      cmocka_unit_test(sharing_and_cancelling),
      cmocka_unit_test(long_chains_stay_sparse),
      cmocka_unit_test(what_is_too_large_is_let_be),
      cmocka_unit_test(coefficients_around_a_point),
      cmocka_unit_test(values_are_written_in),
      cmocka_unit_test(sums_are_taken_apart),
      cmocka_unit_test(others_stay_whole),
      cmocka_unit_test(every_allocation_fails),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
