/* Conformance entry of flow: every kind of layer, in double and in single precision. Normalisation by quadrature and
 * draws by chi-square in the plane, by Stein's identities above it; splines in the plane, whose slopes have kinks, are
 * integrated in test_flow.c. Values against an independent program are in tests/interop/flows.py. */
#include "experts/list.h"
#include "tests/conformance/conformance.h"
#include "tests/conformance/flow_files.h"

static poe_status flow_build(flow_kind kind, poei_dtype dtype, double low, double high, poe_expert **expert,
                             poe_error *error) {
  poet_args a;
  poet_args_start(&a, "flow");
  if (low < high) {
    poet_args_interval_variable(&a, "x", flow_kind_dim(kind), low, high);
  } else {
    poet_args_real_variable(&a, "x", flow_kind_dim(kind));
  }
  poet_args_text(&a, "file", POE_ARG_FILE, flow_kind_file(kind, 1, dtype));
  return poe_expert_create(&poei_flow_ops, &a.args, expert, error);
}

#define FLOW_BUILD(name, word, dtype)                                                                                  \
  static poe_status name##_##word(poe_expert **expert, poe_error *error) {                                             \
    return flow_build(FLOW_##word, dtype, 0.0, 0.0, expert, error);                                                    \
  }
FLOW_BUILD(build, additive, POEI_F64)
FLOW_BUILD(build, coupling, POEI_F64)
FLOW_BUILD(build, coupling_wide, POEI_F64)
FLOW_BUILD(build, maf, POEI_F64)
FLOW_BUILD(build, maf_wide, POEI_F64)
FLOW_BUILD(build, iaf, POEI_F64)
FLOW_BUILD(build, iaf_plane, POEI_F64)
FLOW_BUILD(build, iaf_inverse, POEI_F64)
FLOW_BUILD(build, spline_maf, POEI_F64)
FLOW_BUILD(build, spline_wide, POEI_F64)
FLOW_BUILD(build, spline_iaf, POEI_F64)
FLOW_BUILD(build, linear_student, POEI_F64)
FLOW_BUILD(build, laplace_base, POEI_F64)
FLOW_BUILD(build, logistic_base, POEI_F64)
FLOW_BUILD(build, logit_plane, POEI_F64)
FLOW_BUILD(build, image, POEI_F64)
FLOW_BUILD(single, coupling_wide, POEI_F32)
FLOW_BUILD(single, maf_wide, POEI_F32)
FLOW_BUILD(single, iaf, POEI_F32)
FLOW_BUILD(single, spline_wide, POEI_F32)
FLOW_BUILD(single, image, POEI_F32)

static poe_status build_cut(poe_expert **expert, poe_error *error) {
  return flow_build(FLOW_coupling, POEI_F64, -1.0, 2.0, expert, error);
}

/* The declared bounds are just the flow's domain. */
static poe_status build_fitting(poe_expert **expert, poe_error *error) {
  return flow_build(FLOW_logit_plane, POEI_F64, 0.0, 1.0, expert, error);
}

static void points_cut(size_t n, size_t d, double *x) {
  for (size_t i = 0; i < n; i++) {
    for (size_t j = 0; j < d; j++) {
      x[i * d + j] = poet_spread(i, j, -0.99, 1.99);
    }
  }
}

/* The gradient of a spline's log density jumps at its knots: points with none within the steps of the differences. */
static void points_between_knots(size_t n, size_t d, double *x) {
  for (size_t i = 0; i < n; i++) {
    for (size_t j = 0; j < d; j++) {
      x[i * d + j] = poet_spread(i, j, -2.4, 2.4);
    }
  }
}

static void points_inside(size_t n, size_t d, double *x) {
  for (size_t i = 0; i < n; i++) {
    for (size_t j = 0; j < d; j++) {
      x[i * d + j] = poet_spread(i, j, 0.05, 0.95);
    }
  }
}

#define PLANE .box = {-7.0, 7.0, -7.0, 7.0}, .sample = POET_SAMPLE_BOX
/* Differences of single-precision values 1e-4 apart, as noisy as there are coordinates; what single precision gives is
 * compared with double in test_flow.c. */
#define SINGLE(word, of, noise)                                                                                        \
  {                                                                                                                    \
    .name = #word " in single precision", .build = single_##word, .points = of, .gradient_tolerance = noise,           \
    .shape_tolerance = 1e-4                                                                                            \
  }

static const poet_case flow_cases[] = {
    {.name = "additive couplings", .build = build_additive, .points = poet_points_normal, PLANE},
    {.name = "affine couplings", .build = build_coupling, .points = poet_points_normal, PLANE},
    {.name = "all affine couplings",
     .build = build_coupling_wide,
     .points = poet_points_normal,
     .sample = POET_SAMPLE_STEIN},
    {.name = "MAF", .build = build_maf, .points = poet_points_normal, PLANE},
    {.name = "MAF, other scales", .build = build_maf_wide, .points = poet_points_normal, .sample = POET_SAMPLE_STEIN},
    {.name = "IAF", .build = build_iaf, .points = poet_points_normal, .sample = POET_SAMPLE_STEIN},
    {.name = "IAF in the plane", .build = build_iaf_plane, .points = poet_points_normal, PLANE},
    {.name = "IAF, inverse curves",
     .build = build_iaf_inverse,
     .points = poet_points_normal,
     .sample = POET_SAMPLE_STEIN},
    {.name = "autoregressive splines",
     .build = build_spline_maf,
     .points = points_between_knots,
     .sample = POET_SAMPLE_STEIN},
    {.name = "all splines", .build = build_spline_wide, .points = points_between_knots, .sample = POET_SAMPLE_STEIN},
    {.name = "splines from noise",
     .build = build_spline_iaf,
     .points = points_between_knots,
     .sample = POET_SAMPLE_STEIN},
    {.name = "linear, Student t base", .build = build_linear_student, .points = poet_points_normal},
    {.name = "Laplace base", .build = build_laplace_base, .points = poet_points_normal, .sample = POET_SAMPLE_STEIN},
    {.name = "logistic base", .build = build_logistic_base, .points = poet_points_normal, PLANE},
    {.name = "logit",
     .build = build_logit_plane,
     .points = points_inside,
     .box = {0.0, 1.0, 0.0, 1.0},
     .sample = POET_SAMPLE_BOX},
    {.name = "image", .build = build_image, .points = points_inside},
    {.name = "cut by its variable", .build = build_cut, .points = points_cut},
    {.name = "on the variable that fits",
     .build = build_fitting,
     .points = points_inside,
     .box = {0.0, 1.0, 0.0, 1.0},
     .sample = POET_SAMPLE_BOX},
    SINGLE(coupling_wide, poet_points_normal, 2e-2),
    SINGLE(maf_wide, poet_points_normal, 2e-2),
    SINGLE(iaf, poet_points_normal, 2e-2),
    SINGLE(spline_wide, points_between_knots, 2e-2),
    SINGLE(image, points_inside, 1e-1),
};
POET_ENTRY(flow, flow_cases);
