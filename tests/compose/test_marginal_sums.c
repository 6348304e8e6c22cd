/* Marginals and profiles over many discrete latent coordinates by elimination: values, gradients and the single-site
 * view against adding up (looking through) all latent values of the target as written; refusals. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compose/exact/numeric.h"
#include "compose/exact/summed.h"
#include "compose/plan.h"
#include "core/alloc.h"
#include "core/numerics.h"
#include "tests/compose/build.h"
#include "tests/compose/discrete_trees.h"
#include "tests/compose/fields.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

/* ---- random targets ---- */

/* Coordinates 0..4 of three values are an HMM's, 5..12 are binary, 13 and 14 (if any) are normal given two of them. */
enum { TERNARY = 5, DISCRETE = 13, MIXED = 15 };

static size_t values_of(size_t c) {
  return c < TERNARY ? 3 : 2;
}

/* One random table over `n` different discrete coordinates; some of its entries vanish. */
static const poe_expert *random_table(tree *t, poe_stream *stream, size_t dim, size_t n) {
  size_t index[3], k[3], size = 1;
  double value[27];
  for (size_t i = 0; i < n; i++) {
    bool again = true;
    while (again) {
      index[i] = below(stream, DISCRETE);
      again = i > 0 && (index[i] == index[0] || (i > 1 && index[i] == index[1]));
    }
    k[i] = values_of(index[i]);
    size *= k[i];
  }
  for (size_t i = 0; i < size; i++) {
    double zero = poe_stream_uniform(stream);
    value[i] = 1.5 * poe_stream_normal(stream);
    if (i > 0 && zero < 0.06) {
      value[i] = -INFINITY;
    }
  }
  return tree_slice(t, tree_table(t, n, k, value), dim, index);
}

static const poe_expert *web(tree *t, poe_stream *stream, const poe_expert *hidden, bool continuous) {
  const poe_expert *part[48];
  double exponent[48];
  size_t n = 0, dim = continuous ? MIXED : DISCRETE;
  for (size_t c = 0; c < DISCRETE; c++) {
    double value[3] = {poe_stream_normal(stream), poe_stream_normal(stream), poe_stream_normal(stream)};
    exponent[n] = 1.0;
    part[n++] = tree_at(t, tree_table(t, 1, (size_t[]){values_of(c)}, value), dim, c);
  }
  for (size_t f = 0; f < 13; f++) {
    exponent[n] = f == 0 ? 0.6 : f == 1 ? 1.7 : 1.0;
    part[n++] = random_table(t, stream, dim, 1 + f % 3);
  }
  exponent[n] = 1.0;
  part[n++] = tree_slice(t, hidden, dim, (size_t[]){0, 1, 2, 3, 4});
  for (size_t c = 0; c < 2 && continuous; c++) {
    double a = 0.5 + poe_stream_uniform(stream), b = poe_stream_normal(stream);
    exponent[n] = c == 0 ? 1.0 : 0.7;
    part[n++] =
        tree_slice(t, tree_linear(t, 1, 1, &a, &b, 0.9), dim, (size_t[]){DISCRETE + c, below(stream, DISCRETE)});
  }
  return tree_product(t, dim, n, part, exponent);
}

/* Marks about half of the discrete coordinates; their number, at least 2 and less than all. */
static size_t random_latents(poe_stream *stream, size_t *latent) {
  size_t n = 0;
  while (n < 2 || n > 9) {
    n = 0;
    for (size_t c = 0; c < DISCRETE; c++) {
      if (poe_stream_uniform(stream) < 0.5) {
        latent[n++] = c;
      }
    }
  }
  return n;
}

/* (1/beta) log sum_h exp(beta log p(x, h)), or the maximum, over latent[n] of the row x, which is overwritten there. */
static double brute(const poei_evaluator *evaluator, double *x, size_t n, const size_t *latent, double beta) {
  size_t states = 1;
  for (size_t k = 0; k < n; k++) {
    states *= values_of(latent[k]);
  }
  double *value = poet_doubles(states), best = -INFINITY;
  poe_error error = {0};
  for (size_t s = 0; s < states; s++) {
    size_t left = s;
    for (size_t k = n; k-- > 0; left /= values_of(latent[k])) {
      x[latent[k]] = (double)(left % values_of(latent[k]));
    }
    check_ok(poei_evaluator_run((poei_evaluator *)evaluator, 1, x, &value[s], &error), error);
    best = fmax(best, value[s]);
    value[s] *= isinf(beta) ? 1.0 : beta;
  }
  double all = isinf(beta) ? best : poei_log_sum_exp(value, states, 1) / beta;
  free(value);
  return all;
}

/* The free coordinates of x[dim], in order. */
static void take_free(size_t dim, const double *x, size_t n, const size_t *latent, double *y) {
  for (size_t c = 0, k = 0, j = 0; c < dim; c++) {
    if (k < n && latent[k] == c) {
      k++;
    } else {
      y[j++] = x[c];
    }
  }
}

static const double temperature[4] = {0.4, 1.0, 2.5, INFINITY};

static double value_and_gradient(const poe_expert *expert, const double *y, double *grad) {
  double logp = 0.0, one = 1.0;
  size_t d = poe_expert_traits(expert)->dim;
  poe_error error = {0};
  poe_scratch *scratch = poe_scratch_create(poe_expert_scratch(expert, POE_WANT_GRAD, 1));
  memset(grad, 0, d * sizeof *grad);
  check_ok(poe_expert_eval_add(expert, (poe_rows){1, d, d, y}, (poe_weights){&one, 0}, (poe_accum){&logp, grad, d},
                               scratch, &error),
           error);
  poe_scratch_destroy(scratch);
  return logp;
}

/* d/dx_c of the brute force, by central differences of the third order; NaN at a kink, which a second difference shows
 * that no curvature here comes near. */
static double slope_of(const poei_evaluator *evaluator, double *x, size_t c, size_t n, const size_t *latent,
                       double beta) {
  double at = x[c], h = 1e-3, f[5];
  for (int k = 0; k < 5; k++) {
    x[c] = at + h * (double)(k - 2);
    f[k] = brute(evaluator, x, n, latent, beta);
  }
  x[c] = at;
  bool kink = fabs(f[0] - 2.0 * f[2] + f[4]) > 40.0 * 4.0 * h * h || fabs(f[1] - 2.0 * f[2] + f[3]) > 40.0 * h * h;
  if (kink) {
    return NAN;
  }
  return (f[0] - 8.0 * f[1] + 8.0 * f[3] - f[4]) / (12.0 * h);
}

/* Values within 1e-9 and gradients within 1e-7 (the differences' own error; not at a profile's kinks). */
static void values_are_sums_and_maxima(void **state) {
  (void)state;
  poe_stream stream = poe_stream_open(poe_rng_seed(71));
  poe_expert *hidden = hmm(5);
  size_t compared = 0, slopes = 0;
  for (int instance = 0; instance < 16; instance++) {
    bool continuous = instance % 2 == 1;
    double beta = temperature[instance / 2 % 4], x[MIXED], y[MIXED], grad[MIXED];
    size_t latent[DISCRETE], dim = continuous ? MIXED : DISCRETE;
    tree t = {0};
    const poe_expert *target = web(&t, &stream, hidden, continuous);
    tree_check(&t);
    size_t n = random_latents(&stream, latent);
    poei_plan_options options = defaults();
    poe_expert *made = NULL;
    poei_evaluator evaluator;
    poe_error error = {0};
    check_ok(poei_summed_over(target, n, latent, beta, &options, &made, &error), error);
    check_ok(poei_evaluator_open(target, &evaluator, &error), error);
    assert_int_equal(poe_expert_traits(made)->dim, dim - n);
    assert_int_equal((poe_expert_traits(made)->capabilities & POE_CAN_GRADIENT) != 0, true);
    for (int row = 0; row < 12; row++) {
      for (size_t c = 0; c < dim; c++) {
        x[c] = c < DISCRETE ? (double)below(&stream, values_of(c)) : 2.0 * poe_stream_normal(&stream);
      }
      double expected = brute(&evaluator, x, n, latent, beta);
      take_free(dim, x, n, latent, y);
      check_close(value_and_gradient(made, y, grad), expected, 1e-9, 1e-12);
      compared += isfinite(expected);
      for (size_t c = DISCRETE; c < dim && row < 4 && isfinite(expected); c++) {
        double wanted = slope_of(&evaluator, x, c, n, latent, beta);
        assert_true(isinf(beta) || !isnan(wanted));
        if (!isnan(wanted)) {
          check_close(grad[c - n], wanted, 1e-7, 1e-7);
          slopes++;
        }
      }
    }
    poei_evaluator_close(&evaluator);
    poe_expert_release(made);
    tree_free(&t);
  }
  assert_true(compared > 100 && slopes > 40);
  poe_expert_release(hidden);
}

/* Conditionals of the single-site view against values of their own, along random changes of the row. */
static void one_site_at_a_time(void **state) {
  (void)state;
  poe_stream stream = poe_stream_open(poe_rng_seed(72));
  poe_expert *hidden = hmm(5);
  size_t compared = 0;
  for (int instance = 0; instance < 12; instance++) {
    bool continuous = instance % 2 == 1;
    size_t latent[DISCRETE], dim = continuous ? MIXED : DISCRETE;
    tree t = {0};
    const poe_expert *target = web(&t, &stream, hidden, continuous);
    tree_check(&t);
    size_t n = random_latents(&stream, latent), d = dim - n;
    poei_plan_options options = defaults();
    poe_expert *made = NULL;
    poei_evaluator evaluator;
    poe_error error = {0};
    check_ok(poei_summed_over(target, n, latent, temperature[instance % 4], &options, &made, &error), error);
    const poe_local_ops *local = poe_expert_local(made);
    const void *self = poe_expert_self(made);
    const poe_support *support = poe_expert_traits(made)->support;
    assert_non_null(local);
    check_ok(poei_evaluator_open(made, &evaluator, &error), error);
    void *memory = aligned_alloc(64, (local->state_bytes(self) + 63) / 64 * 64);
    poe_scratch *scratch = poe_scratch_create(local->scratch(self));
    double y[MIXED], out[3], value[3];
    for (size_t j = 0; j < d; j++) {
      y[j] = support[j].kind == POE_DISCRETE ? (double)below(&stream, (size_t)support[j].high + 1) : 0.3;
    }
    check_ok(local->open(self, y, memory, scratch, &error), error);
    for (int step = 0; step < 30; step++) {
      size_t j = below(&stream, d);
      if (support[j].kind != POE_DISCRETE) {
        y[j] = poe_stream_normal(&stream);
        check_ok(local->set(self, memory, j, y[j], scratch, &error), error);
        continue;
      }
      size_t values = (size_t)support[j].high + 1, reference = values;
      double was = y[j];
      check_ok(local->conditional(self, memory, j, out, scratch, &error), error);
      for (size_t v = 0; v < values; v++) {
        y[j] = (double)v;
        check_ok(poei_evaluator_run(&evaluator, 1, y, &value[v], &error), error);
        if (value[v] == -INFINITY) {
          check_close(out[v], -INFINITY, 0.0, 0.0);
        } else {
          reference = reference == values ? v : reference;
          check_close(out[v] - out[reference], value[v] - value[reference], 1e-10, 1e-12);
          compared += v != reference;
        }
      }
      y[j] = was;
      if (step % 3 != 0) {
        y[j] = (double)below(&stream, values);
        check_ok(local->set(self, memory, j, y[j], scratch, &error), error);
      }
    }
    poe_scratch_destroy(scratch);
    free(memory);
    poei_evaluator_close(&evaluator);
    poe_expert_release(made);
    tree_free(&t);
  }
  assert_true(compared > 60);
  poe_expert_release(hidden);
}

/* ---- refusals ---- */

/* Every pair of 20 latent coordinates has a table: treewidth 19, which 1 MiB has no room for. */
static void what_is_too_wide_is_named(void **state) {
  (void)state;
  enum { WIDE = 20 };
  tree t = {0};
  size_t pairs[WIDE * (WIDE - 1)], n = 0, latent[WIDE];
  for (size_t i = 0; i < WIDE; i++) {
    latent[i] = i;
    for (size_t j = 0; j < i; j++) {
      pairs[n++] = j;
      pairs[n++] = i;
    }
  }
  const double pair[4] = {0.4, -0.1, 0.2, 0.3}, slope = 1.0, shift = 0.0;
  const poe_expert *part[2] = {
      tree_plate(&t, tree_table(&t, 2, (size_t[]){2, 2}, pair), n / 2, WIDE + 1, pairs),
      tree_slice(&t, tree_linear(&t, 1, 1, &slope, &shift, 1.0), WIDE + 1, (size_t[]){WIDE, 0})};
  const poe_expert *joint = tree_product(&t, WIDE + 1, 2, part, (double[]){1.0, 1.0});
  tree_check(&t);
  poe_expert *profile = NULL;
  poei_plan *plan = NULL;
  poei_plan_options options = defaults();
  poe_error error = {0};
  check_ok(poei_marginal_create(joint, WIDE, latent, INFINITY, &profile, &error), error);
  options.byte_limit = 1 << 20;
  check_fails(poei_plan_build(profile, &options, &plan, &error), POE_E_CAPABILITY, error, "treewidth at least 19");
  assert_non_null(strstr(error.hint, "--table-bytes"));
  options.byte_limit = (size_t)1 << 30;
  check_ok(poei_plan_build(profile, &options, &plan, &error), error);
  poei_plan_destroy(plan);
  poe_expert_release(profile);
  tree_free(&t);
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  poe_stream stream = poe_stream_open(poe_rng_seed(76));
  poe_expert *hidden = hmm(5);
  tree t = {0};
  const poe_expert *target = web(&t, &stream, hidden, true);
  tree_check(&t);
  poei_plan_options options = defaults();
  poe_status status = POE_E_MEMORY;
  for (uint64_t n = 1; status == POE_E_MEMORY; n++) {
    poe_expert *made = NULL;
    poe_error error = {0};
    poei_alloc_fail_at(n);
    status = poei_summed_over(target, 6, (size_t[]){0, 2, 4, 6, 8, 10}, 2.5, &options, &made, &error);
    poei_alloc_fail_at(0);
    assert_true(status == POE_OK || status == POE_E_MEMORY);
    poe_expert_release(made);
  }
  poe_expert_release(hidden);
  tree_free(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(values_are_sums_and_maxima),
      cmocka_unit_test(one_site_at_a_time),
      cmocka_unit_test(what_is_too_wide_is_named),
      cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
