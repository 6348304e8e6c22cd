/* von_mises(x | mu, kappa): independent angles with density exp(kappa cos(x - mu)) / (2 pi I_0(kappa)).
 *
 * A density on the circle, written on an interval: [-pi, pi] when the variable is unbounded, else the variable's own
 * interval, which must not be longer than once around (2 pi). On a shorter one it is the density restricted to it; log
 * Z is the log of the mass inside. kappa = 0 is the uniform density.
 *
 * Values are -2 kappa sin((x - mu)/2)^2 + const, which keeps its digits however large kappa is. Masses of parts of the
 * circle and draws from them are taken by panels (core/panels.h) between the tops and bottoms of the cosine; draws of
 * the whole circle by rejection (Best and Fisher 1979).
 */
#include <math.h>

#include "core/numerics.h"
#include "core/panels.h"
#include "core/special.h"
#include "experts/family.h"
#include "experts/list.h"
#include "experts/separable.h"

static const double circle = 2.0 * POEI_PI, rounding = 1e-9, whole = 1e-14;

static const poe_param von_mises_params[] = {
    {"mu", POE_ARG_REAL, "d", "0", "mean direction, in radians"},
    {"kappa", POE_ARG_REAL, "d", NULL, "concentration, >= 0"},
    {0},
};

/* ---- the law: p = mu, kappa, log-density at mu ---- */

void poei_von_mises_set(double mu, double kappa, double *p) {
  p[0] = mu;
  p[1] = kappa;
  p[2] = -POEI_LOG_2PI - poei_log_bessel_i0(kappa);
}

static void von_mises_eval(const double *p, size_t n, const double *x, double *value, double *slope) {
  double sine[POEI_LAW_ROWS], cosine[POEI_LAW_ROWS];
  for (size_t i = 0; i < n; i++) {
    value[i] = 0.5 * (x[i] - p[0]);
  }
  poei_vsincos(value, sine, cosine, n);
  for (size_t i = 0; i < n; i++) {
    value[i] = p[2] - 2.0 * p[1] * sine[i] * sine[i];
  }
  for (size_t i = 0; slope != NULL && i < n; i++) {
    slope[i] = -2.0 * p[1] * sine[i] * cosine[i];
  }
}

/* The density over w = x - base, relative to the base, the highest point of the interval at hand: there the numbers are
 * small and keep their digits. */
typedef struct von_mises_curve {
  double kappa, base, offset; /* offset: of the base from mu, up to whole turns */
} von_mises_curve;

static double von_mises_log_curve(const void *context, double w) {
  const von_mises_curve *c = context; /* sin^2 s - sin^2 t = sin(s + t) sin(s - t) */
  return -2.0 * c->kappa * sin(c->offset + 0.5 * w) * sin(0.5 * w);
}

/* Curve and cuts of [low, low + width], width at most a little over once around. */
static size_t von_mises_interval(const double *p, double low, double width, von_mises_curve *curve, double *cut) {
  double from = remainder(low - p[0], circle), to = remainder(low + width - p[0], circle);
  double ahead = from > 0.0 ? circle - from : -from; /* from the low end to the next top */
  *curve = (von_mises_curve){p[1], low, from};
  if (ahead <= width) {
    *curve = (von_mises_curve){p[1], low + ahead, 0.0};
  } else if (fabs(to) < fabs(from)) {
    *curve = (von_mises_curve){p[1], low + width, to};
  }
  double marks[9], begin = low - curve->base;
  for (int k = 0; k < 9; k++) {
    marks[k] = (k - 4) * POEI_PI - curve->offset;
  }
  return poei_law_cuts(begin, begin + width, 9, marks, cut);
}

/* log of the mass of [low, low + width]; empty intervals have none. */
static double von_mises_log_mass(const double *p, double low, double width) {
  von_mises_curve curve;
  double cut[11];
  if (!(width > 0.0)) {
    return -INFINITY;
  }
  size_t n = von_mises_interval(p, low, width, &curve, cut);
  double sine = sin(0.5 * curve.offset);
  return p[2] - 2.0 * p[1] * sine * sine + poei_panels_log_mass(von_mises_log_curve, &curve, n, cut);
}

static poe_status von_mises_prepare(const double *p, const poe_support *on, double *log_mass, void **table,
                                    poe_error *error) {
  von_mises_curve curve;
  double cut[11], width = on->high - on->low, missing = circle - width;
  if (!(width <= circle * (1.0 + rounding))) {
    return poe_error_set(error, POE_E_IMPROPER, "it goes more than once around the circle");
  }
  if (fabs(missing) <= whole) {
    *log_mass = 0.0;
    return POE_OK;
  }
  /* by what is missing where that is less than a half: digits near log 1 = 0 */
  double outside = missing > 0.0 ? exp(von_mises_log_mass(p, on->high, missing)) : 1.0;
  *log_mass = outside < 0.5 ? log1p(-outside) : von_mises_log_mass(p, on->low, width);
  size_t n = von_mises_interval(p, on->low, width, &curve, cut);
  *table = poei_panels_create(von_mises_log_curve, &curve, n, cut);
  return *table != NULL ? POE_OK : poe_error_set(error, POE_E_MEMORY, "out of memory for a `von_mises`");
}

/* The angle from mu, without its sign, by rejection from a wrapped Cauchy with s = (1 + sqrt(1 + 4 kappa^2)) / 2 kappa:
 * cos = (1 + s z) / (s + z), z = cos(pi u), accepted with probability y e^(1-y), y = kappa (s - cos). All differences
 * from 1 are taken by half angles, so that no kappa is too large. */
static double angle_draw(double kappa, poe_stream *stream) {
  double above = (1.0 + 1.0 / (sqrt(1.0 + 4.0 * kappa * kappa) + 2.0 * kappa)) / (2.0 * kappa); /* s - 1 */
  for (;;) {
    double half = 0.5 * POEI_PI * poe_stream_uniform(stream), sine = sin(half), cosine = cos(half);
    double sum = above + 2.0 * cosine * cosine, y = kappa * above * ((2.0 + above) / sum);
    if (log(poe_stream_uniform(stream)) <= log(y) + 1.0 - y) {
      return 2.0 * asin(fmin(sine * sqrt(above / sum), 1.0));
    }
  }
}

static double von_mises_draw(const double *p, const poe_support *on, const void *table, poe_stream *stream) {
  double width = on->high - on->low;
  if (table == NULL) { /* all round */
    double tiny = 1e-150, u = poe_stream_uniform(stream), angle = (2.0 * u - 1.0) * POEI_PI;
    if (p[1] > tiny) {
      angle = u < 0.5 ? angle_draw(p[1], stream) : -angle_draw(p[1], stream);
    }
    double x = remainder(p[0] - on->low + angle, circle);
    return on->low + (x < 0.0 ? x + circle : x);
  }
  von_mises_curve curve;
  double cut[11];
  von_mises_interval(p, on->low, width, &curve, cut);
  return curve.base + poei_panels_quantile(table, von_mises_log_curve, &curve, poe_stream_uniform(stream));
}

static double von_mises_natural(const double *p, double *coefficient) {
  coefficient[POE_STATISTIC_COS] += p[1] * cos(p[0]);
  coefficient[POE_STATISTIC_SIN] += p[1] * sin(p[0]);
  return p[2] - p[1];
}

const poei_law poei_von_mises_law = {"von_mises", von_mises_eval, von_mises_prepare, von_mises_draw, von_mises_natural};

/* ---- the family ---- */

static poe_support von_mises_set(const double *param, const poe_support *declared, double *p) {
  poei_von_mises_set(param[0], param[1], p);
  bool unbounded = isinf(declared->low) && isinf(declared->high);
  double end = unbounded ? POEI_PI : INFINITY;
  return (poe_support){POE_CONTINUOUS, -end, end, !unbounded, !unbounded};
}

static poe_status check_variables(const poe_args *args, poe_error *error) {
  for (size_t j = 0; j < poe_args_dim(args); j++) {
    const poe_subject *subject = NULL;
    const poe_support *declared = poei_family_support(args, j, &subject);
    bool unbounded = isinf(declared->low) && isinf(declared->high);
    if (!unbounded && !(declared->high - declared->low <= circle * (1.0 + rounding))) {
      poe_error_set(error, POE_E_DOMAIN,
                    "`%s` is a density on the circle, but `%s` in [%g, %g] goes more than once around", args->kind,
                    subject->name, declared->low, declared->high);
      poe_error_hint(error, "declare `%s` in [-pi, pi], or without bounds, which means the same", subject->name);
      return POE_E_DOMAIN;
    }
  }
  return POE_OK;
}

static poe_status von_mises_create(const poe_args *args, void **self, poe_error *error) {
  static const poei_separable_family family = {POE_CONTINUOUS,
                                               &poei_von_mises_law,
                                               2,
                                               {{"mu", 0.0, POEI_ANY_NUMBER}, {"kappa", NAN, POEI_NOT_NEGATIVE}},
                                               von_mises_set};
  poe_status status = poei_family_need(args, POE_CONTINUOUS, error);
  if (status == POE_OK) {
    status = check_variables(args, error);
  }
  return status == POE_OK ? poei_separable_create(&family, args, self, error) : status;
}

const poe_expert_ops poei_von_mises_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "von_mises",
    .doc = "von Mises density of independent angles",
    .params = von_mises_params,
    .create = von_mises_create,
    .destroy = poei_separable_destroy,
    .traits = poei_separable_traits,
    .scratch = poei_separable_scratch,
    .eval_add = poei_separable_eval_add,
    .sample = poei_separable_sample,
    .log_z = poei_separable_log_z,
    .structure = poei_separable_structure,
};
