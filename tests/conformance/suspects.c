/* The suspects: p(x) = sum over a switch h of u_h[x_0] w_h[x_1], which is 0 at x = (2, 0), sound or with one defect. */
#include "tests/conformance/suspects.h"

#include <string.h>

#include "core/alloc.h"
#include "experts/factors.h"

enum { VALUES = 3, PLACES = 2 };

suspect_defect suspect_building;

static const double u[2][VALUES] = {{0.5, 1.5, 0.0}, {1.0, 0.25, 2.0}},
                    w[2][VALUES] = {{1.0, 0.75, 0.5}, {0.0, 1.25, 2.0}};

typedef struct suspect {
  suspect_defect defect;
  poe_support support[PLACES];
} suspect;

static double suspect_value(const double *x) {
  double p = 0.0;
  for (size_t j = 0; j < PLACES; j++) {
    if (isnan(x[j])) {
      return NAN;
    }
    if (!(x[j] >= 0.0 && x[j] < VALUES && x[j] == floor(x[j]))) {
      return -INFINITY;
    }
  }
  for (size_t h = 0; h < 2; h++) {
    p += u[h][(size_t)x[0]] * w[h][(size_t)x[1]];
  }
  return log(p);
}

static void suspect_destroy(void *self) {
  poei_free(self);
}

static void suspect_traits(const void *self, poe_traits *traits) {
  const suspect *s = self;
  *traits = (poe_traits){.dim = PLACES, .support = s->support};
  traits->capabilities = POE_CAN_EVAL | POE_CAN_GRADIENT | POE_CAN_STRUCTURE | POE_CAN_LOCAL | POE_CAN_ONEHOT;
}

static size_t suspect_scratch(const void *self, unsigned want, size_t n) {
  (void)self;
  (void)want;
  (void)n;
  return poe_scratch_need(VALUES, sizeof(double));
}

static poe_status suspect_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                   poe_scratch *scratch, poe_error *error) {
  (void)self;
  (void)scratch;
  (void)error;
  for (size_t i = 0; i < rows.n; i++) {
    poe_accum_value(&out.logp[i], weights.w[i * weights.inc], suspect_value(rows.x + i * rows.ld));
  }
  return POE_OK;
}

/* ---- the view ---- */

typedef struct view {
  double x[PLACES], *own; /* own: where it was opened */
  size_t sets;
} view;

static size_t view_bytes(const void *self) {
  (void)self;
  return sizeof(view);
}

static size_t view_scratch(const void *self) {
  (void)self;
  return poe_scratch_need(VALUES, sizeof(double));
}

static poe_status view_open(const void *self, const double *x, void *state, poe_scratch *scratch, poe_error *error) {
  const suspect *s = self;
  view *v = state;
  (void)scratch;
  (void)error;
  memcpy(v->x, x, sizeof v->x);
  v->own = v->x;
  v->sets = 0;
  if (s->defect == SUSPECT_LOCAL_OVERRUNS) {
    *((unsigned char *)state + sizeof(view)) = 0;
  }
  return POE_OK;
}

static poe_status view_conditional(const void *self, void *state, size_t j, double *out, poe_scratch *scratch,
                                   poe_error *error) {
  const suspect *s = self;
  view *v = state;
  (void)error;
  size_t mark = poe_scratch_mark(scratch);
  double *row = poe_scratch_doubles(scratch, s->defect == SUSPECT_LOCAL_TAKES_MORE_SCRATCH ? 100 : VALUES);
  memcpy(row, s->defect == SUSPECT_LOCAL_POINTS_INTO_ITSELF ? v->own : v->x, PLACES * sizeof *row);
  if (s->defect == SUSPECT_LOCAL_ALLOCATES) {
    poei_free(poei_alloc(1, 8));
  }
  for (size_t k = 0; k < VALUES; k++) {
    row[j] = (double)k;
    out[k] = suspect_value(row) + 7.5;
    if (out[k] == -INFINITY && isfinite(suspect_value((double[]){row[0], 1.0})) &&
        s->defect == SUSPECT_LOCAL_FINITE_WHERE_ZERO) {
      out[k] = -700.0;
    }
    out[k] += s->defect == SUSPECT_LOCAL_WRONG_VALUE && k == 1 ? 1e-6 : 0.0;
  }
  if (s->defect == SUSPECT_LOCAL_FINITE_WHERE_ZERO_ELSEWHERE && out[0] == -INFINITY && out[1] == -INFINITY &&
      out[2] == -INFINITY) {
    memset(out, 0, VALUES * sizeof *out);
  }
  if (s->defect != SUSPECT_LOCAL_KEEPS_SCRATCH) {
    poe_scratch_release(scratch, mark);
  }
  return POE_OK;
}

static poe_status view_set(const void *self, void *state, size_t j, double value, poe_scratch *scratch,
                           poe_error *error) {
  const suspect *s = self;
  view *v = state;
  (void)scratch;
  (void)error;
  v->sets++;
  if (s->defect == SUSPECT_LOCAL_FORGETS_A_SET && v->sets % 11 == 10) {
    return POE_OK;
  }
  if (s->defect == SUSPECT_LOCAL_STALE_NEIGHBOUR && j == 1 && value == 2.0) {
    value = 1.0;
  }
  v->x[j] = value;
  return POE_OK;
}

static const poe_local_ops suspect_local = {view_bytes, view_scratch, view_open, view_conditional, view_set};

/* ---- the one-hot gradient ---- */

static poe_status suspect_onehot(const void *self, poe_rows rows, poe_weights weights, double *out, size_t ldo,
                                 poe_scratch *scratch, poe_error *error) {
  const suspect *s = self;
  (void)error;
  size_t mark = poe_scratch_mark(scratch);
  double *spare = poe_scratch_doubles(scratch, s->defect == SUSPECT_ONEHOT_TAKES_MORE_SCRATCH ? 100 : VALUES);
  spare[0] = 0.0;
  if (s->defect == SUSPECT_ONEHOT_ALLOCATES) {
    poei_free(poei_alloc(1, 8));
  }
  for (size_t i = 0; i < rows.n; i++) {
    const double *x = rows.x + i * rows.ld;
    double weight = s->defect == SUSPECT_ONEHOT_IGNORES_WEIGHTS ? weights.w[0] : weights.w[i * weights.inc];
    for (size_t a = 0; a < PLACES * VALUES; a++) {
      double row[PLACES] = {x[0], x[1]}, *to = &out[i * ldo + a];
      row[a / VALUES] = (double)(a % VALUES);
      double value = suspect_value(row) + (s->defect == SUSPECT_ONEHOT_WRONG_VALUE && a == 4 ? 1e-6 : 0.0);
      *to = s->defect == SUSPECT_ONEHOT_OVERWRITES ? 0.0 : *to;
      poe_accum_value(to, weight, s->defect == SUSPECT_ONEHOT_GIVES_NAN && value == -INFINITY ? NAN : value);
    }
    if (s->defect == SUSPECT_ONEHOT_TOUCHES_PADDING && ldo > PLACES * VALUES) {
      out[i * ldo + PLACES * VALUES] = 0.0;
    }
  }
  poe_scratch_release(scratch, mark);
  return POE_OK;
}

/* ---- the structure ---- */

static poe_status suspect_structure(const void *self, poe_structure *structure, poe_error *error) {
  suspect_defect defect = ((const suspect *)self)->defect;
  double log_u[VALUES][2], log_w[VALUES][2];
  for (size_t k = 0; k < VALUES; k++) {
    for (size_t h = 0; h < 2; h++) {
      log_u[k][h] = log(u[h][k]);
      log_w[k][h] = log(w[h][k]);
    }
  }
  log_u[1][1] += defect == SUSPECT_STRUCTURE_WRONG_VALUE ? 1e-6 : 0.0;
  log_w[0][1] = defect == SUSPECT_STRUCTURE_MISSES_A_ZERO ? -40.0 : log_w[0][1];
  log_w[2][1] = defect == SUSPECT_STRUCTURE_NAN ? NAN : log_w[2][1];
  poe_structure made = {0};
  poe_status status = poei_factors_start(&made, PLACES, VALUES, 1, 2, error);
  if (status == POE_OK) {
    made.as.factors.cardinality[PLACES] = 2;
    made.as.factors.constant = defect == SUSPECT_STRUCTURE_WRONG_CONSTANT ? 1e-6 : 0.0;
    status = poei_factors_copy(&made, 2, (size_t[]){0, PLACES}, &log_u[0][0], error);
  }
  if (status == POE_OK) {
    status = poei_factors_copy(&made, 2, (size_t[]){1, PLACES}, &log_w[0][0], error);
  }
  if (status == POE_OK && defect == SUSPECT_STRUCTURE_WRONG_CARDINALITY) {
    made.as.factors.cardinality[1] = 2;
  }
  if (status == POE_OK && defect == SUSPECT_STRUCTURE_WRONG_LATENT) {
    made.as.factors.cardinality[PLACES] = 1;
  }
  if (status == POE_OK && defect == SUSPECT_STRUCTURE_UNKNOWN_VARIABLE) {
    made.as.factors.factor[1].variable[1] = PLACES + 1;
  }
  if (status == POE_OK && defect == SUSPECT_STRUCTURE_REPEATED_VARIABLE) {
    made.as.factors.factor[1].variable[1] = 1;
  }
  if (status == POE_OK || defect == SUSPECT_STRUCTURE_WRITES_ON_FAILURE) {
    made.dim = PLACES;
    *structure = made;
  }
  return status;
}

/* ---- building ---- */

static const poe_param suspect_params[] = {{0}};
static const poe_expert_ops suspect_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "suspect",
    .doc = "two coordinates and a switch",
    .params = suspect_params,
    .destroy = suspect_destroy,
    .traits = suspect_traits,
    .scratch = suspect_scratch,
    .eval_add = suspect_eval_add,
    .structure = suspect_structure,
    .local = &suspect_local,
    .onehot_grad_add = suspect_onehot,
};

static poe_status suspect_build(poe_expert **expert, poe_error *error) {
  suspect *s = poei_calloc(1, sizeof *s);
  if (s == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  s->defect = suspect_building;
  for (size_t j = 0; j < PLACES; j++) {
    double high = s->defect == SUSPECT_LOCAL_WITHOUT_BOUNDS ? INFINITY : VALUES - 1;
    s->support[j] = (poe_support){POE_DISCRETE, 0.0, high, false, false};
  }
  poe_status status = poe_expert_wrap(&suspect_ops, s, expert, error);
  if (status != POE_OK) {
    poei_free(s);
  }
  return status;
}

/* Every state but (2, 0). */
static void suspect_points(size_t n, size_t d, double *x) {
  for (size_t i = 0; i < n; i++) {
    size_t state = i % 8 < 6 ? i % 8 : i % 8 + 1;
    x[i * d] = (double)(state / VALUES);
    x[i * d + 1] = (double)(state % VALUES);
  }
}

const poet_case suspect_case = {.name = "suspect",
                                .build = suspect_build,
                                .points = suspect_points,
                                .log_density = suspect_value,
                                .needs_no_interior = true};
