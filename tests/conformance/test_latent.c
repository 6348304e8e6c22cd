/* rbm and dbm beyond their conformance points: exact numbers of random machines, conditionals one unit at a time, the
 * same bits on every way, large tables, draws over mixed coordinates. (What is refused: test_latent_errors.c) */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/numerics.h"
#include "experts/boltzmann.h"
#include "experts/list.h"
#include "experts/rbm.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

enum { MOST = 64 * 64 };

static poet_args a;
static poe_error error;

/* Random numbers of a machine: a function of the seed. */
typedef struct machine {
  size_t v, h;
  double w[MOST], b[64], c[512], sd[64];
} machine;

static machine *machine_random(uint64_t seed, size_t v, size_t h, double spread) {
  machine *m = calloc(1, sizeof *m);
  assert_non_null(m);
  m->v = v;
  m->h = h;
  poe_rng_normals(poe_rng_seed(seed), v * h, m->w);
  poe_rng_normals(poe_rng_child(poe_rng_seed(seed), 1), v, m->b);
  poe_rng_normals(poe_rng_child(poe_rng_seed(seed), 2), h, m->c);
  poe_rng_uniforms(poe_rng_child(poe_rng_seed(seed), 3), v, m->sd);
  for (size_t i = 0; i < v * h; i++) {
    m->w[i] *= spread;
  }
  for (size_t i = 0; i < v; i++) {
    m->sd[i] += 0.4;
  }
  return m;
}

static poe_expert *machine_expert(const machine *m, bool joint, bool gaussian) {
  poe_expert *expert = NULL;
  poet_args_start(&a, "rbm");
  if (gaussian) {
    poet_args_real_variable(&a, "v", m->v);
    poet_args_vector(&a, "sd", m->v, m->sd);
  } else {
    poet_args_discrete_variable(&a, "v", m->v, 2);
  }
  if (joint) {
    poet_args_discrete_variable(&a, "h", m->h, 2);
  }
  poet_args_matrix(&a, "W", m->v, m->h, m->w);
  poet_args_vector(&a, "b", m->v, m->b);
  poet_args_vector(&a, "c", m->h, m->c);
  check_ok(poe_expert_create(&poei_rbm_ops, &a.args, &expert, &error), error);
  return expert;
}

static double log_z_of(const poe_expert *expert) {
  double log_z = NAN;
  check_ok(poe_expert_log_z(expert, &log_z, &error), error);
  return log_z;
}

/* ---- log Z ---- */

/* log Z by adding up the visible states, plainly. */
static double brute_log_z(const machine *m) {
  double top = -INFINITY, sum = 0.0;
  for (size_t s = 0; s < (size_t)1 << m->v; s++) {
    double value = 0.0;
    for (size_t i = 0; i < m->v; i++) {
      value += (s >> i & 1) != 0 ? m->b[i] : 0.0;
    }
    for (size_t j = 0; j < m->h; j++) {
      double field = m->c[j];
      for (size_t i = 0; i < m->v; i++) {
        field += (s >> i & 1) != 0 ? m->w[i * m->h + j] : 0.0;
      }
      value += field > 0.0 ? field + log1p(exp(-field)) : log1p(exp(field));
    }
    sum = value > top ? sum * exp(top - value) + 1.0 : sum + exp(value - top);
    top = fmax(top, value);
  }
  return top + log(sum);
}

static void log_z_of_random_machines(void **state) {
  (void)state;
  static const size_t sizes[][2] = {{1, 1},  {1, 16},  {3, 7},   {7, 8},   {10, 16},
                                    {16, 5}, {14, 14}, {16, 16}, {12, 40}, {6, 512}};
  for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
    for (uint64_t seed = 0; seed < 5; seed++) {
      static const double spreads[] = {0.3, 1.5, 12.0, 25.0, 400.0}; /* fields up to hundreds, and thousands */
      double spread = spreads[seed];
      machine *m = machine_random(100 * k + seed, sizes[k][0], sizes[k][1], spread);
      poe_expert *marginal = machine_expert(m, false, false);
      poe_expert *joint = m->h <= POET_MAX_DIM ? machine_expert(m, true, false) : NULL;
      double expected = brute_log_z(m);
      check_close(log_z_of(marginal), expected, 1e-11, 1e-12);
      if (joint != NULL) {
        check_close(log_z_of(joint), expected, 1e-11, 1e-12);
      }
      poe_expert_release(marginal);
      poe_expert_release(joint);
      free(m);
    }
  }
}

/* The density of a Gaussian machine over one coordinate, integrated by the trapezoid rule (exact to rounding for such
 * functions at this step); of three, one coordinate after the other given the hidden units. */
static void log_z_of_gaussian_machines(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 4; seed++) {
    machine *m = machine_random(900 + seed, 1, 8, 0.7);
    poe_expert *marginal = machine_expert(m, false, true), *joint = machine_expert(m, true, true);
    enum { N = 16384 };
    double *x = poet_doubles(N), *logp = poet_doubles(N), total = 0.0, step = 60.0 / N;
    for (size_t i = 0; i < N; i++) {
      x[i] = -30.0 + step * (double)i;
    }
    assert_int_equal(poet_eval(marginal, N, 1, x, logp, NULL), POE_OK);
    double top = 0.0;
    for (size_t i = 0; i < N; i++) {
      top = fmax(top, logp[i]);
    }
    for (size_t i = 0; i < N; i++) {
      total += exp(logp[i] - top) * step;
    }
    check_close(log_z_of(marginal), top + log(total), 1e-11, 0.0);
    check_close(log_z_of(joint), top + log(total), 1e-11, 0.0);
    free(x);
    free(logp);
    poe_expert_release(marginal);
    poe_expert_release(joint);
    free(m);
  }
}

/* ---- one unit at a time ---- */

/* x after a walk of single-site changes; the conditionals on the way against the density. */
static void walk(const poe_expert *expert, uint64_t seed, size_t steps, void *local, poe_scratch *scratch, double *x) {
  const poe_local_ops *ops = poe_expert_local(expert);
  const void *self = poe_expert_self(expert);
  const poe_traits *traits = poe_expert_traits(expert);
  poe_stream stream = poe_stream_open(poe_rng_seed(seed));
  for (size_t t = 0; t < steps; t++) {
    size_t j = poe_stream_bits(&stream) % traits->dim;
    if (traits->support[j].kind == POE_CONTINUOUS) {
      x[j] = poe_stream_normal(&stream);
      check_ok(ops->set(self, local, j, x[j], scratch, &error), error);
      continue;
    }
    double out[2], both[2], kept = x[j];
    if (t % 3 != 0) { /* setting without asking first must work too */
      check_ok(ops->conditional(self, local, j, out, scratch, &error), error);
      for (size_t value = 0; value < 2; value++) {
        x[j] = (double)value;
        poet_eval(expert, 1, traits->dim, x, &both[value], NULL);
      }
      check_close(out[1] - out[0], both[1] - both[0], 1e-11, 1e-11);
    }
    x[j] = poe_stream_uniform(&stream) < 0.5 ? 1.0 - kept : kept;
    check_ok(ops->set(self, local, j, x[j], scratch, &error), error);
  }
}

static void conditionals_of(const poe_expert *expert, bool exact) {
  const poe_local_ops *ops = poe_expert_local(expert);
  const void *self = poe_expert_self(expert);
  size_t d = poe_expert_traits(expert)->dim, bytes = ops->state_bytes(self);
  void *walked = aligned_alloc(64, (bytes + 63) / 64 * 64), *fresh = aligned_alloc(64, (bytes + 63) / 64 * 64);
  poe_scratch *scratch = poe_scratch_create(ops->scratch(self));
  double *x = poet_doubles(d);
  assert_non_null(walked);
  assert_non_null(fresh);
  assert_non_null(scratch);
  check_ok(ops->open(self, x, walked, scratch, &error), error);
  walk(expert, 17, 400, walked, scratch, x);
  /* Where it is counts, not how it came there: the same bits as a state opened here. */
  check_ok(ops->open(self, x, fresh, scratch, &error), error);
  for (size_t j = 0; j < d; j++) {
    if (poe_expert_traits(expert)->support[j].kind == POE_DISCRETE) {
      double one[2], other[2];
      check_ok(ops->conditional(self, walked, j, one, scratch, &error), error);
      check_ok(ops->conditional(self, fresh, j, other, scratch, &error), error);
      if (exact) {
        check_same_bits(one, other, 2);
      }
      check_close(one[1] - one[0], other[1] - other[0], 1e-12, 1e-12);
    }
  }
  assert_int_equal(poe_scratch_mark(scratch), 0);
  poe_scratch_destroy(scratch);
  free(walked);
  free(fresh);
  free(x);
}

static poe_expert *random_dbm(uint64_t seed, size_t layers, const size_t *size, bool joint) {
  poei_boltzmann *m = poei_boltzmann_alloc("dbm", layers, size, false, joint);
  poe_expert *expert = NULL;
  assert_non_null(m);
  for (size_t l = 0; l + 1 < layers; l++) {
    poe_rng_normals(poe_rng_child(poe_rng_seed(seed), (uint32_t)l), size[l] * size[l + 1], m->weight[l]);
  }
  poe_rng_normals(poe_rng_child(poe_rng_seed(seed), 50), m->units, m->bias);
  check_ok(poei_boltzmann_finish(m, &error), error);
  check_ok(poe_expert_wrap(&poei_dbm_ops, m, &expert, &error), error);
  return expert;
}

static void conditionals(void **state) {
  (void)state;
  machine *m = machine_random(41, 23, 19, 0.8);
  poe_expert *made[] = {machine_expert(m, false, false),
                        machine_expert(m, true, false),
                        machine_expert(m, true, true),
                        random_dbm(1, 3, (size_t[]){9, 4, 12}, false),
                        random_dbm(2, 3, (size_t[]){9, 30, 2}, false),
                        random_dbm(3, 4, (size_t[]){5, 4, 6, 3}, true)};
  for (size_t i = 0; i < sizeof made / sizeof made[0]; i++) {
    conditionals_of(made[i], true);
    poe_expert_release(made[i]);
  }
  free(m);
}

/* A row of a binary machine has the same bits alone, in a tile and in a heap of rows. */
static void rows_have_the_same_bits_in_any_tile(void **state) {
  (void)state;
  machine *m = machine_random(5, 60, 64, 0.9);
  poe_expert *made[] = {machine_expert(m, false, false), random_dbm(6, 3, (size_t[]){60, 50, 3}, false)};
  for (size_t k = 0; k < 2; k++) {
    enum { N = 129, D = 60 };
    static double x[N * D], together[N], alone[N];
    for (size_t i = 0; i < N * D; i++) {
      x[i] = poet_spread(i / D, i % D, 0.0, 1.0) < 0.5 ? 0.0 : 1.0;
    }
    assert_int_equal(poet_eval(made[k], N, D, x, together, NULL), POE_OK);
    for (size_t i = 0; i < N; i++) {
      assert_int_equal(poet_eval(made[k], 1, D, x + i * D, &alone[i], NULL), POE_OK);
    }
    check_same_bits(alone, together, N);
    poe_expert_release(made[k]);
  }
  free(m);
}

/* A state outside the support: only the coordinate that can mend it has a conditional. */
static void conditionals_outside(void **state) {
  (void)state;
  machine *m = machine_random(8, 4, 3, 1.0);
  poe_expert *expert = machine_expert(m, false, false);
  const poe_local_ops *ops = poe_expert_local(expert);
  const void *self = poe_expert_self(expert);
  double x[4] = {1.0, 0.5, 0.0, 1.0}, out[2], mended[4] = {1.0, 1.0, 0.0, 1.0}, both[2];
  _Alignas(64) char local[1024];
  assert_true(ops->state_bytes(self) <= sizeof local);
  poe_scratch *scratch = poe_scratch_create(ops->scratch(self));
  check_ok(ops->open(self, x, local, scratch, &error), error);
  check_ok(ops->conditional(self, local, 0, out, scratch, &error), error);
  assert_true(out[0] == -INFINITY && out[1] == -INFINITY);
  for (size_t value = 0; value < 2; value++) {
    mended[1] = (double)value;
    poet_eval(expert, 1, 4, mended, &both[value], NULL);
  }
  check_ok(ops->conditional(self, local, 1, out, scratch, &error), error);
  check_close(out[1] - out[0], both[1] - both[0], 1e-12, 0.0);
  check_ok(ops->set(self, local, 1, 1.0, scratch, &error), error);
  check_ok(ops->conditional(self, local, 0, out, scratch, &error), error);
  assert_true(isfinite(out[0]) && isfinite(out[1]));
  poe_scratch_destroy(scratch);
  poe_expert_release(expert);
  free(m);
}

/* ---- closed forms ---- */

/* log of the sum over the latent variables of the factors, plainly. */
static double factors_value(const poe_structure *structure, const double *x) {
  const poe_factors *factors = &structure->as.factors;
  double total = 0.0;
  for (size_t s = 0; s < (size_t)1 << factors->latents; s++) {
    double value = factors->constant;
    for (size_t f = 0; f < factors->n; f++) {
      const poe_factor *factor = &factors->factor[f];
      size_t index = 0;
      for (size_t j = 0; j < factor->n; j++) {
        size_t u = factor->variable[j], bit = u < structure->dim ? (size_t)x[u] : s >> (u - structure->dim) & 1;
        index = index * factors->cardinality[u] + bit;
      }
      value += factor->log_value[index];
    }
    total += exp(value);
  }
  return log(total);
}

static void structure_of(const poe_expert *expert, size_t latents) {
  size_t d = poe_expert_traits(expert)->dim;
  poe_structure structure = {0};
  check_ok(poe_expert_structure(expert, &structure, &error), error);
  assert_int_equal(structure.kind, POE_STRUCTURE_FACTORS);
  assert_int_equal(structure.dim, d);
  assert_int_equal(structure.as.factors.latents, latents);
  for (size_t i = 0; i < 40; i++) {
    double x[64], logp = 0.0;
    for (size_t j = 0; j < d; j++) {
      x[j] = poet_spread(i, j, 0.0, 1.0) < 0.5 ? 0.0 : 1.0;
    }
    poet_eval(expert, 1, d, x, &logp, NULL);
    check_close(factors_value(&structure, x), logp, 1e-11, 1e-12);
  }
  poe_structure_release(&structure);
  bool reached = true;
  for (uint64_t n = 1; reached; n++) { /* every allocation failing in turn */
    uint64_t before = poei_alloc_count();
    poei_alloc_fail_at(n);
    poe_status status = poe_expert_structure(expert, &structure, &error);
    poei_alloc_fail_at(0);
    reached = poei_alloc_count() - before >= n;
    assert_int_equal(status, reached ? POE_E_MEMORY : POE_OK);
    poe_structure_release(&structure);
  }
}

static void structures(void **state) {
  (void)state;
  machine *m = machine_random(77, 6, 4, 1.0);
  m->w[3] = m->w[7] = 0.0; /* no factor */
  poe_expert *made[] = {machine_expert(m, false, false), machine_expert(m, true, false),
                        random_dbm(4, 4, (size_t[]){4, 3, 2, 3}, false), random_dbm(5, 3, (size_t[]){3, 2, 2}, true)};
  static const size_t latents[] = {4, 0, 8, 0};
  poe_structure structure = {0};
  check_ok(poe_expert_structure(made[0], &structure, &error), error);
  assert_int_equal(structure.as.factors.n, 10 + 24 - 2);
  poe_structure_release(&structure);
  for (size_t i = 0; i < 4; i++) {
    structure_of(made[i], latents[i]);
    poe_expert_release(made[i]);
  }
  free(m);
}

/* ---- one-hot gradients ---- */

/* Of coordinate j at x: over all units log p is linear in each, so it is the difference of the two values. Over the
 * visible ones it is b_j + sum_k W_jk E[h_k | v], the mean by adding up every state of all hidden units. */
static double onehot_slope(const poe_expert *expert, const double *x, size_t j) {
  const poei_boltzmann *m = poe_expert_self(expert);
  double unit[64], total = 0.0, sum = 0.0;
  memcpy(unit, x, m->dim * sizeof *unit);
  if (m->joint) {
    double both[2];
    for (size_t value = 0; value < 2; value++) {
      unit[j] = (double)value;
      poet_eval(expert, 1, m->dim, unit, &both[value], NULL);
    }
    return both[1] - both[0];
  }
  for (size_t s = 0; s < (size_t)1 << (m->units - m->dim); s++) {
    double value = 0.0, slope = m->bias[j];
    for (size_t u = m->dim; u < m->units; u++) {
      unit[u] = (double)(s >> (u - m->dim) & 1);
      value += m->bias[u] * unit[u];
    }
    for (size_t l = 0; l + 1 < m->layers; l++) {
      for (size_t k = 0; k < m->size[l] * m->size[l + 1]; k++) {
        size_t below = m->start[l] + k / m->size[l + 1], above = m->start[l + 1] + k % m->size[l + 1];
        value += unit[below] * m->weight[l][k] * unit[above];
        slope += below == j ? m->weight[l][k] * unit[above] : 0.0;
      }
    }
    total += exp(value);
    sum += slope * exp(value);
  }
  return sum / total;
}

static void onehot_of(const poe_expert *expert) {
  enum { N = 9, LDO = 40 };
  const poe_traits *traits = poe_expert_traits(expert);
  size_t d = traits->dim;
  double x[N * 16], out[N * LDO], weights[N];
  for (size_t i = 0; i < N; i++) {
    weights[i] = i == 4 ? 0.0 : 0.5 * (double)i - 1.0;
    for (size_t j = 0; j < d; j++) {
      double u = poet_spread(i, j, 0.0, 1.0);
      x[i * d + j] = traits->support[j].kind == POE_CONTINUOUS ? 3.0 * u - 1.0 : u < 0.5 ? 0.0 : 1.0;
    }
  }
  for (size_t i = 0; i < N * LDO; i++) {
    out[i] = 0.25;
  }
  poe_scratch *scratch = poe_scratch_create(poe_expert_scratch(expert, POE_WANT_ONEHOT, N));
  check_ok(
      poe_expert_onehot_grad_add(expert, (poe_rows){N, d, d, x}, (poe_weights){weights, 1}, out, LDO, scratch, &error),
      error);
  assert_int_equal(poe_scratch_mark(scratch), 0);
  poe_scratch_destroy(scratch);
  for (size_t i = 0; i < N; i++) {
    size_t column = 0;
    for (size_t j = 0; j < d; j++) {
      if (traits->support[j].kind == POE_DISCRETE) {
        const double *at = out + i * LDO + column;
        check_close(at[1] - at[0], weights[i] * onehot_slope(expert, x + i * d, j), 1e-11, 1e-11);
        column += 2;
      }
    }
    for (; column < LDO; column++) {
      assert_true(out[i * LDO + column] == 0.25);
    }
  }
}

static void onehot_gradients(void **state) {
  (void)state;
  machine *m = machine_random(31, 7, 5, 0.9);
  poe_expert *made[] = {machine_expert(m, false, false), machine_expert(m, true, false), machine_expert(m, true, true),
                        random_dbm(7, 3, (size_t[]){5, 3, 6}, false), random_dbm(8, 3, (size_t[]){5, 12, 2}, false)};
  for (size_t k = 0; k < sizeof made / sizeof made[0]; k++) {
    onehot_of(made[k]);
    poe_expert_release(made[k]);
  }
  free(m);
}

/* ---- large tables, mixed draws ---- */

static void *draw_some(void *expert) {
  size_t d = poe_expert_traits(expert)->dim;
  double *x = poet_doubles(8 * d);
  assert_int_equal(poet_draw(expert, 3, 8, d, x), POE_OK);
  return x;
}

/* A table of 2^18 states is made when first asked for: by two at once, and with memory failing before. */
static void large_tables_wait(void **state) {
  (void)state;
  machine *m = machine_random(3, 60, 18, 0.5);
  poe_expert *expert = machine_expert(m, false, false), *other = machine_expert(m, true, false);
  double log_z = 0.0;
  poei_alloc_fail_at(1);
  check_fails(poe_expert_log_z(expert, &log_z, &error), POE_E_MEMORY, error, "rbm");
  poei_alloc_fail_at(0);
  pthread_t thread;
  void *left = NULL, *right;
  assert_int_equal(pthread_create(&thread, NULL, draw_some, expert), 0);
  right = draw_some(expert);
  assert_int_equal(pthread_join(thread, &left), 0);
  check_same_bits(left, right, (size_t)8 * 60);
  check_close(log_z_of(expert), log_z_of(other), 1e-12, 1e-12);
  free(left);
  free(right);
  poe_expert_release(expert);
  poe_expert_release(other);
  free(m);
}

/* Draws of (v, h): the frequencies of h against its exact probabilities by chi-square, and the normal scores of v given
 * h by Kolmogorov's statistic for each coordinate. Three seeds, false-alarm rate 1e-4 each over the 1 + v tests. */
static void gaussian_joint_draws(void **state) {
  (void)state;
  enum { V = 3, H = 4, N = 20000 };
  machine *m = machine_random(12, V, H, 0.4);
  poe_expert *expert = machine_expert(m, true, true);
  double p[1 << H], total = -INFINITY;
  for (size_t s = 0; s < 1 << H; s++) { /* log integral over v: complete the square */
    p[s] = 0.0;
    for (size_t j = 0; j < H; j++) {
      p[s] += (s >> j & 1) != 0 ? m->c[j] : 0.0;
    }
    for (size_t i = 0; i < V; i++) {
      double mean = m->b[i];
      for (size_t j = 0; j < H; j++) {
        mean += (s >> j & 1) != 0 ? m->w[i * H + j] : 0.0;
      }
      p[s] += (mean * mean - m->b[i] * m->b[i]) / (2.0 * m->sd[i] * m->sd[i]);
    }
    total = poei_log_add(total, p[s]);
  }
  for (uint64_t seed = 1; seed <= 3; seed++) {
    double *x = poet_doubles(N * (V + H)), *u = poet_doubles(N), statistic = 0.0;
    size_t count[1 << H] = {0};
    assert_int_equal(poet_draw(expert, seed, N, V + H, x), POE_OK);
    for (size_t i = 0; i < N; i++) {
      size_t s = 0;
      for (size_t j = 0; j < H; j++) {
        s += x[i * (V + H) + V + j] == 1.0 ? (size_t)1 << j : 0;
      }
      count[s]++;
    }
    for (size_t s = 0; s < 1 << H; s++) {
      double expected = N * exp(p[s] - total);
      assert_true(expected > 5.0);
      statistic += ((double)count[s] - expected) * ((double)count[s] - expected) / expected;
    }
    assert_true(poei_chi_square_tail(statistic, (1 << H) - 1) > 1e-4 / (1 + V));
    for (size_t k = 0; k < V; k++) {
      double worst = 0.0;
      for (size_t i = 0; i < N; i++) {
        double mean = m->b[k];
        for (size_t j = 0; j < H; j++) {
          mean += x[i * (V + H) + V + j] * m->w[k * H + j];
        }
        u[i] = poei_normal_cdf((x[i * (V + H) + k] - mean) / m->sd[k]);
      }
      size_t below[256] = {0};
      for (size_t i = 0; i < N; i++) {
        below[(size_t)(256.0 * u[i])]++;
      }
      for (size_t cell = 0, sum = 0; cell < 256; cell++) {
        sum += below[cell];
        worst = fmax(worst, fabs((double)sum / N - (double)(cell + 1) / 256.0));
      }
      assert_true(poei_kolmogorov_tail(worst * sqrt((double)N)) > 1e-4 / (1 + V));
    }
    free(x);
    free(u);
  }
  poe_expert_release(expert);
  free(m);
}

/* ---- too many states ---- */

static void too_many_states(void **state) {
  (void)state;
  poe_expert *expert = random_dbm(9, 4, (size_t[]){30, 21, 22, 4}, false);
  unsigned can = poe_expert_traits(expert)->capabilities;
  assert_int_equal(can, POE_CAN_STRUCTURE);
  check_fails(poei_boltzmann_evaluable(poei_boltzmann_of(expert), &error), POE_E_CAPABILITY, error,
              "hidden layers 1, 3 (25 units) or of 2 (22 units)");
  poe_expert_release(expert);
  poe_expert *large = random_dbm(10, 3, (size_t[]){64, 32, 20}, true);
  can = poe_expert_traits(large)->capabilities;
  assert_int_equal(can, POE_CAN_EVAL | POE_CAN_GRADIENT | POE_CAN_LOCAL | POE_CAN_ONEHOT | POE_CAN_STRUCTURE);
  poe_expert_release(large);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(log_z_of_random_machines),
      cmocka_unit_test(log_z_of_gaussian_machines),
      cmocka_unit_test(conditionals),
      cmocka_unit_test(rows_have_the_same_bits_in_any_tile),
      cmocka_unit_test(conditionals_outside),
      cmocka_unit_test(structures),
      cmocka_unit_test(onehot_gradients),
      cmocka_unit_test(large_tables_wait),
      cmocka_unit_test(gaussian_joint_draws),
      cmocka_unit_test(too_many_states),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
