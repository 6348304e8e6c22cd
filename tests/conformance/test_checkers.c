/* The checkers checked: a sound expert passes every check, and for every check there is a defect that it catches. */
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include "core/alloc.h"
#include "experts/closed.h"
#include "tests/conformance/conformance.h"
#include "tests/conformance/suspects.h"
#include "tests/support/check.h"

/* A standard normal in the plane, sound or with one defect. */
typedef enum defect {
  SOUND,
  OPEN_END_CLOSED,
  WRONG_CONSTANT,
  WRONG_GRADIENT,
  DEPENDS_ON_PLACE,
  OVERWRITES,
  IGNORES_WEIGHTS,
  TOUCHES_PADDING,
  NAN_SPREADS,
  TAKES_MORE_SCRATCH,
  KEEPS_SCRATCH,
  ALLOCATES,
  WRONG_STATUS_OF_FAILURE,
  WRITES_ON_FAILURE,
  REMEMBERS,
  DRAWS_DEPEND_ON_BATCH,
  DRAWS_TOUCH_PADDING,
  DRAWS_TOO_WIDE,
  DRAWS_TOO_DEPENDENT,
  WRONG_LOG_Z,
  HEADS_NOT_NORMALISED,
  WRONG_FORM,
  CHANGES_BETWEEN_BUILDS
} defect;

enum { PLANE = 2 };

typedef struct normal {
  defect defect;
  size_t dim;
  poe_support support[PLANE + 1];
  unsigned char head[PLANE + 1];
} normal;

static defect building; /* what the next build is to be */

static void normal_destroy(void *self) {
  poei_free(self);
}

static void normal_traits(const void *self, poe_traits *traits) {
  const normal *p = self;
  *traits = (poe_traits){.dim = p->dim, .support = p->support, .head = p->head};
  traits->capabilities = POE_CAN_EVAL | POE_CAN_GRADIENT | POE_CAN_SAMPLE | POE_CAN_LOG_Z | POE_CAN_FORM;
}

static size_t normal_scratch(const void *self, unsigned want, size_t n) {
  (void)self;
  (void)want;
  return poe_scratch_need(n, sizeof(double));
}

static poe_status normal_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                  poe_scratch *scratch, poe_error *error) {
  static _Atomic unsigned calls;
  const normal *p = self;
  size_t mark = poe_scratch_mark(scratch);
  (void)error;
  double *spare = poe_scratch_doubles(scratch, rows.n * (p->defect == TAKES_MORE_SCRATCH ? 3 : 1));
  if (spare != NULL) {
    spare[0] = 0.0;
  }
  if (p->defect == ALLOCATES) {
    poei_free(poei_alloc(1, 8));
  }
  double blur = p->defect == REMEMBERS ? 1e-9 * (double)(atomic_fetch_add(&calls, 1) % 1000) : 0.0, all = 0.0;
  for (size_t i = 0; i < rows.n; i++) {
    const double *x = rows.x + i * rows.ld;
    double w = p->defect == IGNORES_WEIGHTS ? weights.w[0] : weights.w[i * weights.inc];
    double value = -(x[0] * x[0] + x[1] * x[1]) / 2.0 - 1.8378770664093454836;
    all += p->defect == NAN_SPREADS ? 0.0 * x[0] : 0.0;
    value += all + blur + (p->defect == WRONG_CONSTANT || p->defect == HEADS_NOT_NORMALISED ? 1e-3 : 0.0);
    value += p->defect == DEPENDS_ON_PLACE ? 1e-15 * (double)i : 0.0;
    if (p->defect == OVERWRITES) {
      out.logp[i] = w * value;
    } else {
      poe_accum_value(&out.logp[i], w, value);
    }
    for (size_t j = 0; out.grad != NULL && w != 0.0 && isfinite(value) && j < PLANE; j++) {
      out.grad[i * out.ldg + j] -= w * x[j] * (p->defect == WRONG_GRADIENT && j == 1 ? 1.0001 : 1.0);
    }
    if (out.grad != NULL && p->defect == TOUCHES_PADDING && out.ldg > PLANE) {
      out.grad[i * out.ldg + PLANE] = 0.0;
    }
  }
  if (p->defect != KEEPS_SCRATCH) {
    poe_scratch_release(scratch, mark);
  }
  return POE_OK;
}

static poe_status normal_sample(const void *self, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                                poe_error *error) {
  const normal *p = self;
  (void)scratch;
  (void)error;
  for (size_t i = 0; i < rows.n; i++) {
    double *x = rows.x + i * rows.ld;
    poe_rng_normals(p->defect == DRAWS_DEPEND_ON_BATCH ? at[rows.n - 1 - i] : at[i], PLANE, x);
    if (p->defect == DRAWS_TOO_WIDE) {
      x[1] *= 1.05;
    }
    if (p->defect == DRAWS_TOO_DEPENDENT) { /* right marginals, correlation 0.06 */
      x[1] = 0.06 * x[0] + sqrt(1.0 - 0.06 * 0.06) * x[1];
    }
    if (p->defect == DRAWS_TOUCH_PADDING && rows.ld > PLANE) {
      x[PLANE] = 0.0;
    }
  }
  return POE_OK;
}

static poe_status normal_log_z(const void *self, double *log_z, poe_error *error) {
  (void)error;
  *log_z = ((const normal *)self)->defect == WRONG_LOG_Z ? 1e-6 : 0.0;
  return POE_OK;
}

static poe_status normal_form(const void *self, poe_form *form, poe_error *error) {
  poe_status status = poei_form_gaussians(form, 1, PLANE, error);
  if (status == POE_OK) {
    form->constant[0] = -1.8378770664093454836;
    form->precision[0] = 1.0;
    form->precision[3] = ((const normal *)self)->defect == WRONG_FORM ? 1.00001 : 1.0;
  }
  return status;
}

static const poe_param normal_params[] = {{0}};
static const poe_expert_ops normal_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "normal",
    .doc = "a standard normal in the plane",
    .params = normal_params,
    .destroy = normal_destroy,
    .traits = normal_traits,
    .scratch = normal_scratch,
    .eval_add = normal_eval_add,
    .sample = normal_sample,
    .log_z = normal_log_z,
    .form = normal_form,
};

static poe_status normal_build(poe_expert **expert, poe_error *error) {
  static size_t builds;
  normal *p = poei_calloc(1, sizeof *p);
  if (p == NULL) {
    if (building == WRITES_ON_FAILURE) {
      *expert = NULL;
    }
    return poe_error_set(error, building == WRONG_STATUS_OF_FAILURE ? POE_E_USAGE : POE_E_MEMORY, "out of memory");
  }
  builds++;
  *p = (normal){.defect = building, .dim = PLANE + (building == CHANGES_BETWEEN_BUILDS ? builds % 2 : 0)};
  for (size_t j = 0; j < PLANE + 1; j++) {
    p->support[j] = (poe_support){POE_CONTINUOUS, -INFINITY, INFINITY, true, true};
    p->head[j] = building == HEADS_NOT_NORMALISED ? j == 0 : 1;
  }
  p->support[1].high_open = building != OPEN_END_CLOSED;
  poe_status status = poe_expert_wrap(&normal_ops, p, expert, error);
  if (status != POE_OK) {
    poei_free(p);
  }
  return status;
}

static double normal_value(const double *x) {
  return -(x[0] * x[0] + x[1] * x[1]) / 2.0 - log(2.0 * acos(-1.0));
}

static poet_case normal_case(poet_sample_check sample) {
  return (poet_case){.name = "normal",
                     .build = normal_build,
                     .points = poet_points_normal,
                     .log_density = normal_value,
                     .sample = sample,
                     .box = {-4.5, 4.5, -4.5, 4.5}};
}

/* ---- discrete: a die that never shows its last face, though its density says so ---- */

static poe_status die_build(poe_expert **expert, poe_error *error);

static poe_status die_sample(const void *self, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                             poe_error *error) {
  (void)self;
  (void)scratch;
  (void)error;
  for (size_t i = 0; i < rows.n; i++) {
    double u = 0.0;
    poe_rng_uniforms(at[i], 1, &u);
    double faces = building == DRAWS_TOO_WIDE ? 5.0 + 0.9 : 6.0; /* the last face a little too rare */
    rows.x[i * rows.ld] = floor(u * faces);
  }
  return POE_OK;
}

static poe_status die_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                               poe_scratch *scratch, poe_error *error) {
  (void)self;
  (void)scratch;
  (void)error;
  for (size_t i = 0; i < rows.n; i++) {
    double x = rows.x[i * rows.ld];
    bool face = x >= 0.0 && x <= 5.0 && x == floor(x);
    poe_accum_value(&out.logp[i], weights.w[i * weights.inc], isnan(x) ? NAN : face ? -log(6.0) : -INFINITY);
    if (out.grad != NULL && building == WRONG_GRADIENT) {
      out.grad[i * out.ldg] += 1.0; /* of a discrete coordinate */
    }
  }
  return POE_OK;
}

static void die_traits(const void *self, poe_traits *traits) {
  const normal *p = self;
  *traits = (poe_traits){.dim = 1, .support = p->support};
  traits->capabilities = POE_CAN_EVAL | POE_CAN_GRADIENT | POE_CAN_SAMPLE;
}

static const poe_expert_ops die_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "die",
    .doc = "a die",
    .params = normal_params,
    .destroy = normal_destroy,
    .traits = die_traits,
    .scratch = normal_scratch,
    .eval_add = die_eval_add,
    .sample = die_sample,
};

static poe_status die_build(poe_expert **expert, poe_error *error) {
  normal *p = poei_calloc(1, sizeof *p);
  if (p == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  p->support[0] = (poe_support){POE_DISCRETE, 0.0, 5.0, false, false};
  poe_status status = poe_expert_wrap(&die_ops, p, expert, error);
  if (status != POE_OK) {
    poei_free(p);
  }
  return status;
}

static const poet_case die_case = {
    .name = "die", .build = die_build, .sample = POET_SAMPLE_STATES, .needs_no_interior = true};

/* ---- tests ---- */

static poet_report report;

static size_t failures(const poet_case *c, defect what, const char *check) {
  memset(&report, 0, sizeof report);
  building = what;
  poet_run_check(c, check, &report);
  building = SOUND;
  return report.failures;
}

static void sound_experts_pass(void **state) {
  (void)state;
  poet_case box = normal_case(POET_SAMPLE_BOX), stein = normal_case(POET_SAMPLE_STEIN);
  const poet_case *cases[] = {&box, &stein, &die_case, &suspect_case, &suspect_prefix_case};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    if (failures(cases[i], SOUND, NULL) > 0) {
      fail_msg("a sound expert fails:\n%s", report.text);
    }
  }
}

/* Each check with a defect that it must see; the list of checks makes sure that none is left out. */
static const struct {
  const char *check;
  defect defect;
} caught[] = {
    {"traits", OPEN_END_CLOSED},
    {"values", WRONG_CONSTANT},
    {"gradient", WRONG_GRADIENT},
    {"rows", DEPENDS_ON_PLACE},
    {"accumulation", OVERWRITES},
    {"weights", IGNORES_WEIGHTS},
    {"padding", TOUCHES_PADDING},
    {"outside", NAN_SPREADS},
    {"scratch", TAKES_MORE_SCRATCH},
    {"scratch", KEEPS_SCRATCH},
    {"allocation", ALLOCATES},
    {"failing_allocations", WRONG_STATUS_OF_FAILURE},
    {"failing_allocations", WRITES_ON_FAILURE},
    {"workers", REMEMBERS},
    {"addresses", DRAWS_DEPEND_ON_BATCH},
    {"addresses", DRAWS_TOUCH_PADDING},
    {"draws", DRAWS_TOO_WIDE},
    {"draws", DRAWS_TOO_DEPENDENT},
    {"normalisation", WRONG_LOG_Z},
    {"normalisation", WRONG_CONSTANT},
    {"normalisation", HEADS_NOT_NORMALISED},
    {"form", WRONG_FORM},
    {"references", CHANGES_BETWEEN_BUILDS},
};

static void defects_are_caught(void **state) {
  (void)state;
  poet_case box = normal_case(POET_SAMPLE_BOX), stein = normal_case(POET_SAMPLE_STEIN);
  for (size_t i = 0; i < sizeof caught / sizeof caught[0]; i++) {
    if (failures(&box, caught[i].defect, caught[i].check) == 0) {
      fail_msg("check `%s` does not see defect %d", caught[i].check, (int)caught[i].defect);
    }
    if (strcmp(caught[i].check, "draws") == 0 && failures(&stein, caught[i].defect, "draws") == 0) {
      fail_msg("Stein's identities do not see defect %d", (int)caught[i].defect);
    }
  }
  assert_true(failures(&die_case, DRAWS_TOO_WIDE, "draws") > 0);
  assert_true(failures(&die_case, WRONG_GRADIENT, "gradient") > 0);
  assert_true(failures(&die_case, SOUND, "no such check") > 0);
}

static const struct {
  const char *check;
  suspect_defect defect;
} caught_suspects[] = {
#define SUSPECT_ROW(defect, check) {#check, SUSPECT_##defect},
    SUSPECT_LIST(SUSPECT_ROW)
#undef SUSPECT_ROW
};

static void suspects_are_caught(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof caught_suspects / sizeof caught_suspects[0]; i++) {
    suspect_building = caught_suspects[i].defect;
    bool prefix = strcmp(caught_suspects[i].check, "prefix") == 0;
    size_t found = failures(prefix ? &suspect_prefix_case : &suspect_case, SOUND, caught_suspects[i].check);
    suspect_building = SUSPECT_SOUND;
    if (found == 0) {
      fail_msg("check `%s` does not see suspect %d", caught_suspects[i].check, (int)caught_suspects[i].defect);
    }
  }
}

static void every_check_has_a_defect(void **state) {
  (void)state;
#define CHECK_COVERED(name)                                                                                            \
  {                                                                                                                    \
    bool found = false;                                                                                                \
    for (size_t i = 0; i < sizeof caught / sizeof caught[0]; i++) {                                                    \
      found = found || strcmp(caught[i].check, #name) == 0;                                                            \
    }                                                                                                                  \
    for (size_t i = 0; i < sizeof caught_suspects / sizeof caught_suspects[0]; i++) {                                  \
      found = found || strcmp(caught_suspects[i].check, #name) == 0;                                                   \
    }                                                                                                                  \
    assert_true(found);                                                                                                \
  }
  POET_CHECK_LIST(CHECK_COVERED)
#undef CHECK_COVERED
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sound_experts_pass),
      cmocka_unit_test(defects_are_caught),
      cmocka_unit_test(suspects_are_caught),
      cmocka_unit_test(every_check_has_a_defect),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
