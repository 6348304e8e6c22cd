/* Exponential families by their coefficients (natural.h).
 *
 * With coefficients t of x, s of x^2, p of log x, q of log(1 - x), r of (log x)^2, c and d of cos x and sin x, f of
 * log x!, a coordinate is
 *
 *   on the reals    uniform: none;  exponential: t;  gaussian: s < 0, t;  gamma: p and t;  beta: p and q;
 *                   lognormal: r < 0, p;  von_mises: c, d
 *   on the counts   uniform: none;  geometric: t;  poisson: f = -1, t;  counting: f <= 0, s <= 0, t
 *
 * An integral diverges where the term that wins at an end of the support grows there: x^2 over log x! over x over
 * (log x)^2 over log x at infinity, (log x)^2 over log x at 0, log(1 - x) at 1.
 */
#include "experts/natural.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/numerics.h"
#include "experts/separable.h"

/* ---- what grows ---- */

/* The coefficients of x and x^2 with the Gaussian part taken in. */
static double curvature(const poei_natural_coordinate *c) {
  return c->coefficient[POE_STATISTIC_SQUARE] - 0.5 * c->precision;
}

static double slope(const poei_natural_coordinate *c) {
  return c->coefficient[POE_STATISTIC_IDENTITY] + c->linear + c->precision * c->origin;
}

static bool diverges_above(const poei_natural_coordinate *c, char *why, size_t size) {
  double square = curvature(c), factorial = c->coefficient[POE_STATISTIC_LOG_FACTORIAL], linear = slope(c);
  double log_square = c->coefficient[POE_STATISTIC_LOG_SQUARE], power = c->coefficient[POE_STATISTIC_LOG];
  if (square != 0.0) {
    snprintf(why, size, "it grows like exp(%g x^2) (precision %g <= 0)", square, -2.0 * square);
    return square > 0.0;
  }
  if (factorial != 0.0) {
    snprintf(why, size, "it grows like (x!)^%g", factorial);
    return factorial > 0.0;
  }
  if (linear != 0.0) {
    snprintf(why, size, "it grows like exp(%g x) (rate %g <= 0)", linear, -linear);
    return linear > 0.0;
  }
  if (log_square != 0.0) {
    snprintf(why, size, "it grows like exp(%g (log x)^2)", log_square);
    return log_square > 0.0;
  }
  if (power == 0.0) {
    snprintf(why, size, "nothing makes it fall (rate 0 <= 0)");
  } else {
    snprintf(why, size, "it does not fall faster than x^%g (rate 0 <= 0)", power);
  }
  return power >= -1.0;
}

static bool diverges_below(const poei_natural_coordinate *c, char *why, size_t size) {
  double square = curvature(c), linear = slope(c);
  if (square != 0.0) {
    snprintf(why, size, "it grows like exp(%g x^2) (precision %g <= 0)", square, -2.0 * square);
    return square > 0.0;
  }
  snprintf(why, size, "it does not fall towards -inf (rate %g <= 0)", linear);
  return linear <= 0.0;
}

bool poei_natural_diverges(const poei_natural_coordinate *c, char *why, size_t size) {
  double power = c->coefficient[POE_STATISTIC_LOG], complement = c->coefficient[POE_STATISTIC_LOG_COMPLEMENT];
  double log_square = c->coefficient[POE_STATISTIC_LOG_SQUARE];
  if (c->support.high == INFINITY && diverges_above(c, why, size)) {
    return true;
  }
  if (c->support.low == -INFINITY && diverges_below(c, why, size)) {
    return true;
  }
  if (c->support.kind == POE_DISCRETE) {
    return false;
  }
  if (c->support.low == 0.0 && (log_square > 0.0 || (log_square == 0.0 && power <= -1.0))) {
    snprintf(why, size, "it has no finite integral at 0: shape %g <= 0", power + 1.0);
    if (log_square > 0.0) {
      snprintf(why, size, "it grows like exp(%g (log x)^2) at 0", log_square);
    }
    return true;
  }
  if (c->support.high == 1.0 && complement <= -1.0) {
    snprintf(why, size, "it has no finite integral at 1: b %g <= 0", complement + 1.0);
    return true;
  }
  return false;
}

/* ---- which family ---- */

typedef enum family {
  UNKNOWN,
  FLAT,
  EXPONENTIAL,
  NORMAL,
  GAMMA,
  BETA,
  LOGNORMAL,
  VON_MISES,
  GEOMETRIC,
  POISSON,
  COUNTING
} family;

/* The statistics that count, as a set. */
static unsigned statistics(const poei_natural_coordinate *c) {
  unsigned set = 0;
  for (unsigned s = 0; s < POE_STATISTICS; s++) {
    set |= c->coefficient[s] != 0.0 ? 1u << s : 0u;
  }
  set |= c->linear != 0.0 || (c->precision != 0.0 && c->origin != 0.0) ? 1u << POE_STATISTIC_IDENTITY : 0u;
  return set | (c->precision != 0.0 ? 1u << POE_STATISTIC_SQUARE : 0u);
}

static bool within(unsigned set, unsigned a, unsigned b) {
  return (set & ~(1u << a | 1u << b)) == 0;
}

static family count_family(const poei_natural_coordinate *c, unsigned set) {
  double factorial = c->coefficient[POE_STATISTIC_LOG_FACTORIAL], t = c->coefficient[POE_STATISTIC_IDENTITY];
  if (!within(set & ~(1u << POE_STATISTIC_SQUARE), POE_STATISTIC_IDENTITY, POE_STATISTIC_LOG_FACTORIAL) ||
      !(c->support.low >= 0.0)) {
    return UNKNOWN;
  }
  if (factorial == 0.0 && curvature(c) == 0.0) {
    return t == 0.0 ? FLAT : GEOMETRIC;
  }
  if (factorial == -1.0 && curvature(c) == 0.0 && isnormal(exp(t))) {
    return POISSON;
  }
  return factorial <= 0.0 && curvature(c) <= 0.0 ? COUNTING : UNKNOWN;
}

static family family_of(const poei_natural_coordinate *c) {
  unsigned set = statistics(c);
  const poe_support *on = &c->support;
  char why[160];
  if (poei_natural_diverges(c, why, sizeof why)) {
    return UNKNOWN;
  }
  if (on->kind == POE_DISCRETE) {
    return count_family(c, set);
  }
  if (within(set, POE_STATISTIC_IDENTITY, POE_STATISTIC_SQUARE)) {
    double square = curvature(c);
    return square < 0.0 ? NORMAL : square > 0.0 ? UNKNOWN : slope(c) == 0.0 ? FLAT : EXPONENTIAL;
  }
  if (within(set, POE_STATISTIC_COS, POE_STATISTIC_SIN)) {
    return on->high - on->low <= 2.0 * POEI_PI * (1.0 + 1e-9) ? VON_MISES : UNKNOWN;
  }
  if (!(on->low >= 0.0)) {
    return UNKNOWN;
  }
  if (within(set, POE_STATISTIC_LOG, POE_STATISTIC_IDENTITY)) {
    return GAMMA;
  }
  if (within(set, POE_STATISTIC_LOG, POE_STATISTIC_LOG_COMPLEMENT) && on->high <= 1.0) {
    return BETA;
  }
  if (within(set, POE_STATISTIC_LOG, POE_STATISTIC_LOG_SQUARE)) {
    return c->coefficient[POE_STATISTIC_LOG_SQUARE] < 0.0 ? LOGNORMAL : UNKNOWN;
  }
  return UNKNOWN;
}

static const poei_law *const laws[] = {
    NULL,
    &poei_flat_law,
    &poei_exponential_law,
    &poei_normal_law,
    &poei_gamma_law,
    &poei_beta_law,
    &poei_lognormal_law,
    &poei_von_mises_law,
    &poei_geometric_law,
    &poei_poisson_law,
    &poei_series_law,
};

const char *poei_natural_kind(const poei_natural_coordinate *c) {
  family found = family_of(c);
  return found == UNKNOWN ? NULL : laws[found]->kind;
}

/* ---- from coefficients to a law ---- */

/* log f at a point, as it is written: for anchors. */
static double written_value(const poei_natural_coordinate *c, double x) {
  double u = x - c->origin, value = c->linear * u - 0.5 * c->precision * u * u;
  return value + c->coefficient[POE_STATISTIC_IDENTITY] * x + c->coefficient[POE_STATISTIC_SQUARE] * x * x;
}

/* Around the Gaussian part's origin o: const + L u - P u^2 / 2 = const + L^2 / 2 P - (u - L / P)^2 P / 2. */
static double set_normal(const poei_natural_coordinate *c, double *p) {
  double precision = -2.0 * curvature(c), square = c->coefficient[POE_STATISTIC_SQUARE], o = c->origin;
  double linear = c->linear + c->coefficient[POE_STATISTIC_IDENTITY] + 2.0 * square * o, shift = linear / precision;
  poei_normal_set(o, shift, 1.0 / sqrt(precision), p);
  return written_value(c, o) + 0.5 * linear * shift + 0.5 * (POEI_LOG_2PI - log(precision));
}

/* A point of the interval to anchor laws at that have no mean: an end where the density is finite and not 0. */
static double anchor_of(const poe_support *on, double smallest, double largest) {
  if (on->low > smallest) {
    return on->low;
  }
  return on->high < largest ? on->high : 0.5 * (on->low + fmin(on->high, on->low + 2.0));
}

/* Fills p; what log f is above the law's value. */
static double set_law(family found, const poei_natural_coordinate *c, double *p) {
  const double *b = c->coefficient;
  double unused[POE_STATISTICS] = {0.0}, rate = -slope(c), r = b[POE_STATISTIC_LOG_SQUARE];
  double power = b[POE_STATISTIC_LOG] + 1.0;
  switch (found) {
  case FLAT:
    poei_flat_set(0.0, p);
    break;
  case EXPONENTIAL: {
    double anchor = rate > 0.0 ? c->support.low : c->support.high;
    poei_exponential_set(rate, anchor, p);
    return written_value(c, anchor) - log(fabs(rate));
  }
  case NORMAL:
    return set_normal(c, p);
  case GAMMA:
    poei_gamma_set(power, rate, anchor_of(&c->support, 0.0, INFINITY), p);
    break;
  case BETA:
    poei_beta_set(power, b[POE_STATISTIC_LOG_COMPLEMENT] + 1.0, anchor_of(&c->support, 0.0, 1.0), p);
    break;
  case LOGNORMAL:
    poei_normal_set(0.0, -0.5 * power / r, 1.0 / sqrt(-2.0 * r), p);
    break;
  case VON_MISES:
    poei_von_mises_set(atan2(b[POE_STATISTIC_SIN], b[POE_STATISTIC_COS]),
                       hypot(b[POE_STATISTIC_SIN], b[POE_STATISTIC_COS]), p);
    break;
  case GEOMETRIC:
    poei_geometric_set(-rate, rate > 0.0 ? c->support.low : c->support.high, p);
    break;
  case POISSON:
    poei_poisson_set(exp(-rate), p);
    break;
  default:
    poei_series_set(-rate, b[POE_STATISTIC_LOG_FACTORIAL], curvature(c), p);
    break;
  }
  return -laws[found]->natural(p, unused);
}

/* ---- the expert ---- */

static const poe_param no_params[] = {{0}};

static const poe_expert_ops natural_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "closed",
    .doc = "independent coordinates in exponential families",
    .params = no_params,
    .destroy = poei_separable_destroy,
    .traits = poei_separable_traits,
    .scratch = poei_separable_scratch,
    .eval_add = poei_separable_eval_add,
    .sample = poei_separable_sample,
    .log_z = poei_separable_log_z,
    .form = poei_separable_form,
    .structure = poei_separable_structure,
    .local = &poei_separable_local,
    .onehot_grad_add = poei_separable_onehot_grad_add,
};

poe_status poei_natural_create(size_t d, const poei_natural_coordinate *coordinate, double constant, poe_expert **out,
                               poe_error *error) {
  poei_separable *s = poei_separable_alloc(d);
  poe_status status = s == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory for a closed form") : POE_OK;
  for (size_t j = 0; status == POE_OK && j < d; j++) {
    char why[160];
    family found = family_of(&coordinate[j]);
    if (found == UNKNOWN) {
      status =
          poei_natural_diverges(&coordinate[j], why, sizeof why)
              ? poe_error_set(error, POE_E_IMPROPER, "the density cannot be normalised in coordinate %zu: %s", j, why)
              : poe_error_set(error, POE_E_CAPABILITY, "coordinate %zu is of no known family", j);
      break;
    }
    s->law[j] = laws[found];
    s->support[j] = coordinate[j].support;
    constant += set_law(found, &coordinate[j], s->p[j]);
  }
  if (status == POE_OK) {
    s->constant = constant;
    status = poei_separable_finish(s, error);
  }
  if (status == POE_OK) {
    status = poe_expert_wrap(&natural_ops, s, out, error);
  }
  if (status != POE_OK) {
    poei_separable_destroy(s);
  }
  return status;
}

/* What a coordinate is made of: Gaussians around their mean, all others by their coefficients. */
static double read_law(const poei_law *law, const double *p, poei_natural_coordinate *c) {
  if (law != &poei_normal_law) {
    return law->natural(p, c->coefficient);
  }
  c->origin = p[0];
  c->precision = 1.0 / (p[1] * p[1]);
  c->linear = c->precision * p[3];
  return p[2] - 0.5 * c->linear * p[3];
}

poe_status poei_natural_read(const poe_expert *expert, poei_natural_coordinate *coordinate, double *constant,
                             poe_error *error) {
  const poe_traits *traits = poe_expert_traits(expert);
  for (size_t j = 0; j < traits->dim; j++) {
    coordinate[j] = (poei_natural_coordinate){.support = traits->support[j]};
  }
  if (poe_expert_ops_of(expert)->structure == poei_separable_structure) {
    const poei_separable *s = poe_expert_self(expert);
    *constant = s->constant;
    for (size_t j = 0; j < s->d; j++) {
      *constant += read_law(s->law[j], s->p[j], &coordinate[j]);
    }
    return POE_OK;
  }
  poe_structure structure = {0};
  poe_status status = poe_expert_structure(expert, &structure, error);
  if (status == POE_OK && structure.kind != POE_STRUCTURE_NATURAL) {
    status = poe_error_set(error, POE_E_CAPABILITY, "`%s` is no exponential family", poe_expert_ops_of(expert)->kind);
  }
  for (size_t j = 0; status == POE_OK && j < structure.dim; j++) {
    memcpy(coordinate[j].coefficient, &structure.as.natural.coefficient[j * POE_STATISTICS],
           sizeof coordinate[j].coefficient);
  }
  if (status == POE_OK) {
    *constant = structure.as.natural.constant;
  }
  poe_structure_release(&structure);
  return status;
}
