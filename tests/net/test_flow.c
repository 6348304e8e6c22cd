/* Normalizing flows: inverses, determinants by finite differences, mass in the plane, noise pulled back from draws,
 * single against double precision, and what is refused. (Gradients, batches, failing allocations and more are in the
 * conformance entry; values against PyTorch in tests/interop/flows.py.) */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/numerics.h"
#include "experts/flow.h"
#include "experts/list.h"
#include "tests/conformance/conformance.h"
#include "tests/conformance/flow_files.h"
#include "tests/support/check.h"

enum { ROWS = 32, SEEDS = 3, MOST = 16 };

/* ---- a flow from inside ---- */

/* Data to noise, and back, in place. */
static void to_noise(const poei_flow *flow, size_t n, double *x) {
  poe_error error = {0};
  double *log_p = poet_doubles(n);
  memset(log_p, 0, n * sizeof *log_p);
  poe_scratch *scratch = poe_scratch_create((size_t)1 << 24);
  poei_flow_pass pass = {.flow = flow, .n = n, .d = flow->d, .x = x, .log_p = log_p, .scratch = scratch};
  check_ok(poei_flow_rest(&pass, &error), error);
  poe_scratch_destroy(scratch);
  free(log_p);
}

static void to_data(const poei_flow *flow, size_t n, double *x) {
  poe_scratch *scratch = poe_scratch_create((size_t)1 << 24);
  poei_flow_pass pass = {.flow = flow, .n = n, .d = flow->d, .x = x, .scratch = scratch};
  for (size_t k = flow->n_layers; k-- > 0;) {
    flow->layers[k].ops->invert(flow->layers[k].self, &pass);
  }
  poe_scratch_destroy(scratch);
}

static poei_flow *open_flow(const char *path, size_t d) {
  poe_error error = {0};
  poei_flow *flow = NULL;
  check_ok(poei_flow_read(path, NULL, d, &flow, &error), error);
  return flow;
}

static poe_status create(const char *path, size_t d, poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "flow");
  poet_args_real_variable(&a, "x", d);
  poet_args_text(&a, "file", POE_ARG_FILE, path);
  return poe_expert_create(&poei_flow_ops, &a.args, expert, error);
}

/* Points where the flow is defined: 1.4 standard normal, or spread over (0.05, 0.95). */
static void points(flow_kind kind, size_t n, double *x) {
  size_t d = flow_kind_dim(kind);
  poet_points_normal(n, d, x);
  for (size_t i = 0; i < n * d; i++) {
    x[i] = kind == FLOW_image || kind == FLOW_logit_plane ? poet_spread(i / d, i % d, 0.05, 0.95) : 1.4 * x[i];
  }
}

/* ---- tests ---- */

/* Both ways round, at points and at draws, relative to 1 + |x|. Both precisions reach this, because states are double
 * and both directions see the same network outputs; but for batches of one size only: in another a single-precision
 * network's outputs may differ in their last bits. */
static void test_inverse(void **state) {
  (void)state;
  poe_error error = {0};
  for (flow_kind kind = 0; kind < FLOW_KINDS; kind++) {
    size_t d = flow_kind_dim(kind);
    for (uint32_t run = 0; run < 2 * SEEDS; run++) {
      const char *path = flow_kind_file(kind, 1 + run / 2, run % 2 == 0 ? POEI_F32 : POEI_F64);
      poei_flow *flow = open_flow(path, d);
      poe_expert *expert = NULL;
      check_ok(create(path, d, &expert, &error), error);
      double x[2 * ROWS * MOST], back[2 * ROWS * MOST], worst = 0.0;
      points(kind, ROWS, x);
      assert_int_equal(poet_draw(expert, run, ROWS, d, x + ROWS * d), POE_OK);
      memcpy(back, x, 2 * ROWS * d * sizeof *x);
      for (size_t half = 0; half < 2; half++) {
        to_noise(flow, ROWS, back + half * ROWS * d);
        to_data(flow, ROWS, back + half * ROWS * d);
      }
      for (size_t i = 0; i < 2 * ROWS * d; i++) {
        worst = fmax(worst, fabs(back[i] - x[i]) / (1.0 + fabs(x[i])));
      }
      if (!(worst < 1e-10)) {
        fail_msg("%s, seed %u: the inverse is off by %g", flow_kind_name(kind), 1 + run / 2, worst);
      }
      poei_flow_destroy(flow);
      poe_expert_release(expert);
    }
  }
}

/* log |det| of a matrix [d, d] by elimination, in place. */
static double log_det(size_t d, double *a) {
  double sum = 0.0;
  for (size_t c = 0; c < d; c++) {
    size_t best = c;
    for (size_t r = c; r < d; r++) {
      best = fabs(a[r * d + c]) > fabs(a[best * d + c]) ? r : best;
    }
    for (size_t j = 0; j < d; j++) {
      double kept = a[c * d + j];
      a[c * d + j] = a[best * d + j];
      a[best * d + j] = kept;
    }
    sum += log(fabs(a[c * d + c]));
    for (size_t r = c + 1; r < d; r++) {
      for (size_t j = d; j-- > c;) {
        a[r * d + j] -= a[r * d + c] / a[c * d + c] * a[c * d + j];
      }
    }
  }
  return sum;
}

/* log p(x) = log N(z) + log |det dz/dx|, the Jacobian by central differences (step 1e-5: error below 1e-7). */
static void test_determinant(void **state) {
  (void)state;
  poe_error error = {0};
  for (flow_kind kind = 0; kind < FLOW_KINDS; kind++) {
    size_t d = flow_kind_dim(kind);
    const char *path = flow_kind_file(kind, 2, POEI_F64);
    poei_flow *flow = open_flow(path, d);
    poe_expert *expert = NULL;
    check_ok(create(path, d, &expert, &error), error);
    double x[ROWS * MOST], logp[ROWS], jacobian[MOST * MOST];
    points(kind, 8, x);
    assert_int_equal(poet_eval(expert, 8, d, x, logp, NULL), POE_OK);
    for (size_t i = 0; i < 8 && flow->base.law == POEI_FLOW_NORMAL; i++) {
      const double h = 1e-5;
      double rows[2 * MOST * MOST + MOST], expected = 0.0;
      for (size_t j = 0; j <= 2 * d; j++) {
        memcpy(rows + j * d, x + i * d, d * sizeof *x);
        if (j < 2 * d) {
          rows[j * d + j / 2] += j % 2 == 0 ? h : -h;
        }
      }
      to_noise(flow, 2 * d + 1, rows);
      for (size_t j = 0; j < d; j++) {
        for (size_t k = 0; k < d; k++) {
          jacobian[k * d + j] = (rows[2 * j * d + k] - rows[(2 * j + 1) * d + k]) / (2.0 * h);
        }
        expected += poei_normal_log_pdf(rows[2 * d * d + j]);
      }
      check_close(logp[i], expected + log_det(d, jacobian), 1e-5, 1e-6);
    }
    poei_flow_destroy(flow);
    poe_expert_release(expert);
  }
}

/* The midpoint rule over the plane in x = 2 sinh(u), |u| < 5, or over the square: within 1e-6 for smooth
 * densities (it converges exponentially), 1e-5 on the square, 1e-3 for splines, whose densities have kinks. */
static double place(bool square, double k, double side, double *weight) {
  double t = (k + 0.5) / side, u = 10.0 * t - 5.0;
  *weight = square ? 1.0 / side : 20.0 * cosh(u) / side;
  return square ? t : 2.0 * sinh(u);
}

static void test_mass(void **state) {
  (void)state;
  enum { SIDE = 360 };
  poe_error error = {0};
  double *x = poet_doubles(2 * SIDE), *logp = poet_doubles(SIDE);
  for (flow_kind kind = 0; kind < FLOW_KINDS; kind++) {
    for (uint32_t seed = 1; seed <= SEEDS && flow_kind_dim(kind) == 2; seed++) {
      poe_expert *expert = NULL;
      check_ok(create(flow_kind_file(kind, seed, POEI_F64), 2, &expert, &error), error);
      bool spline = kind == FLOW_spline_coupling || kind == FLOW_spline_plane;
      bool square = kind == FLOW_logit_plane;
      double sum = 0.0, weight[SIDE], across;
      for (size_t i = 0; i < SIDE; i++) {
        for (size_t j = 0; j < SIDE; j++) {
          x[2 * j] = place(square, (double)i, SIDE, &across);
          x[2 * j + 1] = place(square, (double)j, SIDE, &weight[j]);
        }
        assert_int_equal(poet_eval(expert, SIDE, 2, x, logp, NULL), POE_OK);
        for (size_t j = 0; j < SIDE; j++) {
          sum += exp(logp[j]) * across * weight[j];
        }
      }
      if (!(fabs(sum - 1.0) < (spline ? 1e-3 : square ? 1e-5 : 1e-6))) {
        fail_msg("%s, seed %u: the mass is %.9g", flow_kind_name(kind), seed, sum);
      }
      poe_expert_release(expert);
    }
  }
  free(x);
  free(logp);
}

static int by_size(const void *a, const void *b) {
  const double *p = a, *q = b;
  return (*p > *q) - (*p < *q);
}

/* Draws pulled back are standard normal: Kolmogorov and Smirnov's test of every coordinate, chance of a false alarm
 * 1e-7 each (a hundred tests). */
static void test_noise(void **state) {
  (void)state;
  enum { DRAWS = 4000 };
  poe_error error = {0};
  double *x = poet_doubles(DRAWS * MOST), *sorted = poet_doubles(DRAWS);
  for (flow_kind kind = 0; kind < FLOW_KINDS; kind++) {
    size_t d = flow_kind_dim(kind);
    const char *path = flow_kind_file(kind, 3, POEI_F32);
    poei_flow *flow = open_flow(path, d);
    poe_expert *expert = NULL;
    check_ok(create(path, d, &expert, &error), error);
    assert_int_equal(poet_draw(expert, 5, DRAWS, d, x), POE_OK);
    for (size_t start = 0; start < DRAWS; start += ROWS) {
      to_noise(flow, DRAWS - start < ROWS ? DRAWS - start : ROWS, x + start * d);
    }
    for (size_t j = 0; j < d && flow->base.law == POEI_FLOW_NORMAL; j++) {
      for (size_t i = 0; i < DRAWS; i++) {
        sorted[i] = x[i * d + j];
      }
      qsort(sorted, DRAWS, sizeof *sorted, by_size);
      double distance = 0.0;
      for (size_t i = 0; i < DRAWS; i++) {
        double p = poei_normal_cdf(sorted[i]);
        distance = fmax(distance, fmax(p - (double)i / DRAWS, (double)(i + 1) / DRAWS - p));
      }
      assert_true(poei_kolmogorov_tail(sqrt(DRAWS) * distance) > 1e-7);
    }
    poei_flow_destroy(flow);
    poe_expert_release(expert);
  }
  free(x);
  free(sorted);
}

/* The same weights in both precisions. */
static void test_precision(void **state) {
  (void)state;
  poe_error error = {0};
  for (flow_kind kind = 0; kind < FLOW_KINDS; kind++) {
    size_t d = flow_kind_dim(kind);
    poe_expert *expert[2] = {NULL, NULL};
    double x[ROWS * MOST], logp[2][ROWS], grad[2][ROWS * MOST], largest = 1.0;
    points(kind, ROWS, x);
    for (size_t k = 0; k < 2; k++) {
      check_ok(create(flow_kind_file(kind, 1, k == 0 ? POEI_F32 : POEI_F64), d, &expert[k], &error), error);
      assert_int_equal(poet_eval(expert[k], ROWS, d, x, logp[k], grad[k]), POE_OK);
    }
    for (size_t i = 0; i < ROWS * d; i++) {
      largest = fmax(largest, fabs(grad[1][i]));
    }
    for (size_t i = 0; i < ROWS; i++) {
      check_close(logp[0][i], logp[1][i], 1e-5, 1e-5);
    }
    for (size_t i = 0; i < ROWS * d; i++) {
      check_close(grad[0][i], grad[1][i], 1e-5 * largest, 1e-5);
    }
    poe_expert_release(expert[0]);
    poe_expert_release(expert[1]);
  }
}

/* ---- refusals ---- */

/* Tensors that the texts below name: t0 [1, 1], t1 [2, 2] regular, t2 [2, 2] singular, t3 [2] with 0.5, t4 [2] with
 * NaN, t5 [4, 2] of ones, t6 [2] of zeros. */
static poe_status open_text(const char *layers, const char *base, const char *shape, size_t d, size_t tensors,
                            poe_error *error) {
  static const double one[1] = {0.5}, regular[4] = {1.0, 0.5, -0.5, 1.0}, singular[4] = {1.0, 2.0, 2.0, 4.0};
  static const double half[2] = {0.5, 1.0}, ones[8] = {1, 1, 1, 1, 1, 1, 1, 1}, zeros[2] = {0.0, 0.0};
  const double nan[2] = {1.0, NAN};
  const struct {
    size_t ndim, shape[2];
    const double *numbers;
  } list[] = {{2, {1, 1}, one}, {2, {2, 2}, regular}, {2, {2, 2}, singular}, {1, {2}, half},
              {1, {2}, nan},    {2, {4, 2}, ones},    {1, {2}, zeros}};
  flow_maker *m = flow_maker_start(1, POEI_F64);
  for (size_t t = 0; t < 7; t++) {
    if ((tensors >> t & 1) != 0) {
      flow_maker_tensor(m, list[t].ndim, list[t].shape, list[t].numbers);
    } else {
      m->site++; /* keeps the names */
    }
    if ((tensors >> t & 1) != 0) {
      snprintf(m->names[m->n - 1], sizeof m->names[0], "t%zu", t);
    }
  }
  flow_maker_text(m, "%s", layers);
  m->base = base;
  poei_flow *flow = NULL;
  poe_status status = poei_flow_read(flow_maker_write(m, "refused.safetensors", shape), NULL, d, &flow, error);
  poei_flow_destroy(flow);
  return status;
}

typedef struct refusal {
  const char *layers;
  size_t tensors; /* bit t: tensor t is in the file */
  poe_status status;
  const char *part; /* of the message */
} refusal;

#define NET(w) "\"layers\":[{\"op\":\"linear\",\"weight\":\"" w "\"}]}"
#define COUPLE "{\"op\":\"coupling\",\"transformed\":\"first_half\",\"transform\":\"additive\","
#define REGRESS "{\"op\":\"autoregressive\",\"transform\":\"additive\","

static const refusal refusals[] = {
    {"{\"op\":\"glow\"}", 0, POE_E_UNSUPPORTED, "flow layer 1 ('glow'): this layer is not known"},
    {"3", 0, POE_E_FORMAT, "flow layer 1 is not an object"},
    {"{\"op\":\"reverse\",\"dim\":1}", 0, POE_E_FORMAT, "it has no 'dim'"},
    {"{\"op\":\"reverse\"},{\"op\":\"affine\",\"scale\":\"missing\"}", 2, POE_E_FORMAT, "'t1' [2, 2]"},
    {"{\"op\":\"affine\",\"scale\":\"t6\"}", 1 << 6, POE_E_DOMAIN, "no inverse"},
    {"{\"op\":\"affine\",\"scale\":\"t4\"}", 1 << 4, POE_E_FORMAT, "not finite"},
    {"{\"op\":\"affine\",\"scale\":1e308}", 0, POE_E_DOMAIN,
     "it scales by 1e+308 and shifts by 0: with numbers beyond"},
    {"{\"op\":\"affine\",\"scale\":1e-308,\"inverse\":true}", 0, POE_E_DOMAIN, "it scales by 1e+308"},
    {"{\"op\":\"affine\",\"scale\":-1e-200}", 0, POE_E_DOMAIN, "it scales by -1e-200"},
    {"{\"op\":\"affine\",\"log_scale\":700}", 0, POE_E_DOMAIN, "numbers beyond"},
    {"{\"op\":\"affine\",\"log_scale\":800}", 0, POE_E_DOMAIN, "no inverse"},
    {"{\"op\":\"affine\",\"shift\":-1e200}", 0, POE_E_DOMAIN, "shifts by -1e+200: with numbers beyond"},
    {"{\"op\":\"affine\",\"scale\":1e-100,\"shift\":1e100}", 0, POE_E_DOMAIN, "numbers beyond"},
    {"{\"op\":\"linear\",\"weight\":\"t1\",\"bias\":1e300}", 2, POE_E_DOMAIN, "the number 1e+300"},
    {"{\"op\":\"affine\",\"scale\":\"t5\"}", 1 << 5, POE_E_SHAPE, "shape [4, 2]"},
    {"{\"op\":\"reverse\"}", 2, POE_E_FORMAT, "1 tensors are used by no layer of poe.layers: 't1'"},
    {"{\"op\":\"linear\",\"weight\":\"t2\"}", 4, POE_E_DOMAIN, "singular"},
    {"{\"op\":\"linear\",\"weight\":\"t5\"}", 1 << 5, POE_E_SHAPE, "[2, 2] is needed"},
    {"{\"op\":\"linear\"}", 0, POE_E_FORMAT, "'weight' is missing"},
    {"{\"op\":\"lu\",\"lower\":\"t1\",\"upper\":\"t5\"}", 34, POE_E_SHAPE, "'t5' of 'upper'"},
    {"{\"op\":\"lu\",\"lower\":\"t1\",\"upper\":\"t1\",\"diagonal\":\"t6\"}", 66, POE_E_DOMAIN, "singular"},
    {"{\"op\":\"lu\",\"lower\":\"t1\",\"upper\":\"t1\",\"eps\":0.1}", 2, POE_E_FORMAT, "it has no 'eps'"},
    {"{\"op\":\"lu\",\"lower\":\"t1\",\"upper\":\"t1\",\"permutation\":\"t3\"}", 10, POE_E_FORMAT, "row numbers"},
    {"{\"op\":\"permute\",\"permutation\":[1,1]}", 0, POE_E_FORMAT, "once"},
    {"{\"op\":\"permute\",\"permutation\":[0,1,2]}", 0, POE_E_SHAPE, "has 3 numbers"},
    {"{\"op\":\"permute\",\"permutation\":\"t3\"}", 8, POE_E_FORMAT, "once"},
    {"{\"op\":\"squeeze\"}", 0, POE_E_SHAPE, "even sides"},
    {"{\"op\":\"split\"},{\"op\":\"split\"}", 0, POE_E_SHAPE, "layer 2 ('split'): there are not two channels"},
    {"{\"op\":\"logit\",\"alpha\":0.5}", 0, POE_E_DOMAIN, "'alpha' must be a number"},
    {"{\"op\":\"dequantize\",\"levels\":1}", 0, POE_E_DOMAIN, "'levels'"},
    {COUPLE "\"layers\":3}", 0, POE_E_FORMAT, "list of its network's layers"},
    {COUPLE NET("t1"), 2, POE_E_SHAPE, "in its network"},
    {"{\"op\":\"coupling\",\"transformed\":\"first_half\",\"transform\":\"affine\"," NET("t0"), 1, POE_E_SHAPE,
     "its network gives 1 numbers for an input [1], but its transform needs 2"},
    {"{\"op\":\"coupling\",\"transformed\":\"first_half\"," NET("t0"), 1, POE_E_FORMAT, "'transform' is missing"},
    {"{\"op\":\"coupling\",\"transform\":\"additive\"," NET("t0"), 1, POE_E_FORMAT, "'transformed' is missing"},
    {"{\"op\":\"coupling\",\"transformed\":[0,1],\"transform\":\"additive\"," NET("t0"), 1, POE_E_DOMAIN,
     "all of the 2"},
    {"{\"op\":\"coupling\",\"transformed\":[],\"transform\":\"additive\"," NET("t0"), 1, POE_E_DOMAIN, "none of the 2"},
    {"{\"op\":\"coupling\",\"transformed\":[2],\"transform\":\"additive\"," NET("t0"), 1, POE_E_DOMAIN, "from 0 to 1"},
    {"{\"op\":\"coupling\",\"transformed\":\"checkerboard_odd\",\"transform\":\"additive\"," NET("t0"), 1, POE_E_SHAPE,
     "checkerboard"},
    {COUPLE "\"bins\":3," NET("t0"), 1, POE_E_FORMAT, "it has no 'bins'"},
    {"{\"op\":\"coupling\",\"transformed\":\"odd\",\"transform\":\"rqs\",\"bound\":3,\"bins\":1000," NET("t0"), 1,
     POE_E_DOMAIN, "'bins'"},
    {"{\"op\":\"coupling\",\"transformed\":\"odd\",\"transform\":\"rqs\",\"bound\":3,\"bins\":2.5," NET("t0"), 1,
     POE_E_DOMAIN, "whole"},
    {"{\"op\":\"coupling\",\"transformed\":\"odd\",\"transform\":\"rqs\",\"bound\":3,\"bins\":4,\"min_width\":0.3," NET(
         "t0"),
     1, POE_E_DOMAIN, "'min_width'"},
    {REGRESS NET("t1"), 2, POE_E_FORMAT, "coordinate 0 depend on coordinate 0, itself"},
    {REGRESS "\"layers\":[{\"op\":\"linear\",\"weight\":\"t1\",\"mask\":\"t3\"}]}", 10, POE_E_SHAPE,
     "this mask has shape [2]"},
    {REGRESS "\"layers\":[{\"op\":\"linear\",\"weight\":\"t1\",\"mask\":\"t1\"}]}", 2, POE_E_FORMAT, "0 or 1"},
};

static void test_refusals(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
    poe_error error = {0};
    const refusal *r = &refusals[i];
    poe_status status = open_text(r->layers, NULL, "[2]", 2, r->tensors, &error);
    if (status != r->status || strstr(error.message, r->part) == NULL) {
      fail_msg("%s: status %d, %s", r->layers, (int)status, error.message);
    }
  }
  poe_error error = {0};
  check_fails(open_text("", NULL, "[3]", 2, 0, &error), POE_E_SHAPE, error, "takes 3 numbers, but the variable has 2");
  check_fails(open_text("", NULL, "[16777216,16777216]", 2, 0, &error), POE_E_SHAPE, error, "poe.input");
  check_fails(open_text("", "3", "[2]", 2, 0, &error), POE_E_FORMAT, error, "poe.base");
  check_fails(open_text("", "{\"op\":\"cauchy\"}", "[2]", 2, 0, &error), POE_E_FORMAT, error, "'op' must be one of");
  check_fails(open_text("", "{\"op\":\"student_t\"}", "[2]", 2, 0, &error), POE_E_DOMAIN, error, "'df'");
  check_fails(open_text("", "{\"op\":\"normal\",\"df\":3}", "[2]", 2, 0, &error), POE_E_FORMAT, error, "no 'df'");
  check_fails(open_text("", "{\"op\":\"normal\",\"scale\":1e308}", "[2]", 2, 0, &error), POE_E_DOMAIN, error,
              "scale 1e+308");
  check_fails(open_text("", "{\"op\":\"normal\",\"scale\":\"t6\"}", "[2]", 2, 1 << 6, &error), POE_E_DOMAIN, error,
              "scale 0");
  check_ok(open_text("", "{\"op\":\"uniform\",\"location\":-1,\"scale\":\"t3\"}", "[2]", 2, 8, &error), error);
}

/* 513 layers. */
static void test_many_layers(void **state) {
  (void)state;
  flow_maker *m = flow_maker_start(1, POEI_F32);
  for (size_t k = 0; k < POEI_FLOW_MAX_LAYERS; k++) {
    flow_maker_text(m, "{\"op\":\"reverse\"},");
  }
  flow_maker_text(m, "{\"op\":\"reverse\"}");
  poe_error error = {0};
  poei_flow *flow = NULL;
  check_fails(poei_flow_read(flow_maker_write(m, "long.safetensors", "[2]"), NULL, 2, &flow, &error), POE_E_FORMAT,
              error, "at most 512 layers");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_inverse),    cmocka_unit_test(test_determinant),
                                     cmocka_unit_test(test_mass),       cmocka_unit_test(test_noise),
                                     cmocka_unit_test(test_precision),  cmocka_unit_test(test_refusals),
                                     cmocka_unit_test(test_many_layers)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
