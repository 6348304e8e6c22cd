/* The prefix suspect: x_1 of three values, then x_0 normal around it with the standard deviation 1 or 2, sound or with
 * one defect. */
#include <string.h>

#include "core/alloc.h"
#include "tests/conformance/suspects.h"

enum { VALUES = 3 };

static const double p[VALUES] = {0.2, 0.5, 0.3};

typedef struct pair {
  suspect_defect defect;
  poe_support support[2];
} pair;

static double pair_next(double x, double value) {
  double sd = value == 2.0 ? 2.0 : 1.0, z = (x - value) / sd;
  return -0.5 * z * z - log(sd) - 0.5 * log(2.0 * acos(-1.0));
}

static double pair_value(const double *x) {
  if (isnan(x[0]) || isnan(x[1])) {
    return NAN;
  }
  bool inside = x[1] >= 0.0 && x[1] < VALUES && x[1] == floor(x[1]);
  return inside ? log(p[(size_t)x[1]]) + pair_next(x[0], x[1]) : -INFINITY;
}

static void pair_destroy(void *self) {
  poei_free(self);
}

static void pair_traits(const void *self, poe_traits *traits) {
  const pair *s = self;
  *traits = (poe_traits){.dim = 2, .support = s->support, .capabilities = POE_CAN_EVAL | POE_CAN_PREFIX};
}

static size_t pair_scratch(const void *self, unsigned want, size_t n) {
  (void)self;
  (void)want;
  (void)n;
  return 0;
}

static poe_status pair_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                poe_scratch *scratch, poe_error *error) {
  (void)self;
  (void)scratch;
  (void)error;
  for (size_t i = 0; i < rows.n; i++) {
    poe_accum_value(&out.logp[i], weights.w[i * weights.inc], pair_value(rows.x + i * rows.ld));
  }
  return POE_OK;
}

/* ---- the facet ---- */

typedef struct pair_state {
  size_t known;
  double value, *own; /* own: where its value is, for the defect */
} pair_state;

static size_t pair_bytes(const void *self) {
  (void)self;
  return sizeof(pair_state);
}

static size_t pair_prefix_scratch(const void *self) {
  (void)self;
  return poe_scratch_need(1, sizeof(double));
}

static const size_t *pair_order(const void *self) {
  static const size_t sound[2] = {1, 0}, twice[2] = {1, 1};
  return ((const pair *)self)->defect == SUSPECT_PREFIX_WRONG_ORDER ? twice : sound;
}

static poe_status pair_open(const void *self, void *state, poe_scratch *scratch, poe_error *error) {
  (void)scratch;
  (void)error;
  pair_state *s = state;
  *s = (pair_state){.own = &s->value};
  if (((const pair *)self)->defect == SUSPECT_PREFIX_OVERRUNS) {
    memset(s + 1, 0, 1);
  }
  return POE_OK;
}

static poe_status pair_density(const void *self, void *state, size_t n, const double *x, double *log_p,
                               poe_scratch *scratch, poe_error *error) {
  (void)error;
  const pair *s = self;
  pair_state *at = state;
  if (s->defect == SUSPECT_PREFIX_ALLOCATES) {
    poei_free(poei_alloc(1, 1));
  }
  size_t mark = poe_scratch_mark(scratch);
  poe_scratch_doubles(scratch, s->defect == SUSPECT_PREFIX_TAKES_MORE_SCRATCH ? 100 : 1);
  if (s->defect != SUSPECT_PREFIX_KEEPS_SCRATCH) {
    poe_scratch_release(scratch, mark);
  }
  double value = s->defect == SUSPECT_PREFIX_POINTS_INTO_ITSELF ? *at->own : at->value;
  value = s->defect == SUSPECT_PREFIX_IGNORES_A_STEP ? 0.0 : value;
  for (size_t i = 0; i < n; i++) {
    log_p[i] = at->known == 0 ? log(p[(size_t)x[i]]) : pair_next(x[i], value);
    log_p[i] += s->defect == SUSPECT_PREFIX_WRONG_DENSITY && at->known == 1 ? 0.01 : 0.0;
  }
  at->value += s->defect == SUSPECT_PREFIX_MOVES_WHEN_ASKED ? 0.25 : 0.0; /* a carried state that goes on by itself */
  return POE_OK;
}

static poe_status pair_table(const void *self, void *state, double *log_p, poe_scratch *scratch, poe_error *error) {
  static const double values[VALUES] = {0.0, 1.0, 2.0};
  poe_status status = pair_density(self, state, VALUES, values, log_p, scratch, error);
  for (size_t v = 0; v < VALUES && ((const pair *)self)->defect == SUSPECT_PREFIX_WRONG_TABLE; v++) {
    log_p[v] += 0.01;
  }
  return status;
}

static poe_status pair_step(const void *self, void *state, double value, poe_scratch *scratch, poe_error *error) {
  (void)scratch;
  (void)error;
  pair_state *s = state;
  bool moved = ((const pair *)self)->defect == SUSPECT_PREFIX_MOVES_WHEN_ASKED;
  s->value = s->known > 0 ? s->value : moved ? s->value + value : value;
  s->known++;
  return POE_OK;
}

static const poe_prefix_ops pair_prefix = {.state_bytes = pair_bytes,
                                           .scratch = pair_prefix_scratch,
                                           .order = pair_order,
                                           .open = pair_open,
                                           .table = pair_table,
                                           .density = pair_density,
                                           .step = pair_step};

static poe_status pair_create(const poe_args *args, void **self, poe_error *error) {
  (void)args;
  pair *made = poei_alloc(1, sizeof *made);
  if (made == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory for a suspect");
  }
  *made =
      (pair){.defect = suspect_building,
             .support = {{POE_CONTINUOUS, -INFINITY, INFINITY, true, true}, {POE_DISCRETE, 0.0, 2.0, false, false}}};
  *self = made;
  return POE_OK;
}

static const poe_param pair_params[] = {{0}};

static const poe_expert_ops pair_ops = {.struct_size = sizeof(poe_expert_ops),
                                        .kind = "pair",
                                        .doc = "a value, then a number given it",
                                        .params = pair_params,
                                        .create = pair_create,
                                        .destroy = pair_destroy,
                                        .traits = pair_traits,
                                        .scratch = pair_scratch,
                                        .eval_add = pair_eval_add,
                                        .prefix = &pair_prefix};

static poe_status pair_build(poe_expert **expert, poe_error *error) {
  return poe_expert_create(&pair_ops, &(poe_args){.kind = "pair"}, expert, error);
}

static void pair_points(size_t n, size_t d, double *x) {
  for (size_t i = 0; i < n; i++) {
    x[i * d] = poet_spread(i, 0, -2.0, 3.0);
    x[i * d + 1] = (double)((2 * i + 1) % VALUES);
  }
}

const poet_case suspect_prefix_case = {
    .name = "prefix suspect", .build = pair_build, .points = pair_points, .log_density = pair_value};
