/* One-dimensional laws: what independent coordinates of the exponential families are made of. A law is a table of
 * functions over a handful of numbers, p; families fill them from their parameters, the planner from coefficients of
 * statistics (natural.h).
 *
 * A law's value need not be normalised over its whole range, and where the whole range has no finite integral it
 * cannot be; its mass over the support in hand is always exact to rounding. */
#ifndef POE_EXPERTS_LAWS_H
#define POE_EXPERTS_LAWS_H

#include "poe/expert.h"

enum { POEI_LAW_NUMBERS = 6, POEI_LAW_ROWS = 64 };

typedef struct poei_law {
  const char *kind; /* "gamma": for messages */
  /* value[n] = log-density at x[n], n <= POEI_LAW_ROWS points of the support; slope[n] its derivative, NULL: not
   * wanted. */
  void (*eval)(const double *p, size_t n, const double *x, double *value, double *slope);
  /* log of the integral (sum) over `on`, and what draws from it need beside p (NULL: nothing), freed with poei_free.
   * POE_E_MEMORY, POE_E_IMPROPER, POE_E_CAPABILITY (too many terms to add up). */
  poe_status (*prepare)(const double *p, const poe_support *on, double *log_mass, void **table, poe_error *error);
  /* A draw from the law restricted to `on`; the caller keeps it off open ends. */
  double (*draw)(const double *p, const poe_support *on, const void *table, poe_stream *stream);
  /* value = constant + sum_s coefficient[s] T_s(x): adds to coefficient[POE_STATISTICS], gives the constant. */
  double (*natural)(const double *p, double *coefficient);
} poei_law;

/* out[n] = log(x / x0), and log((1 - x) / (1 - x0)) with rest0 = 1 - x0: n <= POEI_LAW_ROWS points, with full precision
 * where x is near x0 as well. */
void poei_law_log_ratio(size_t n, const double *x, double x0, double *out);
void poei_law_log_rest(size_t n, const double *x, double x0, double rest0, double *out);
/* cut[more + 2] = low, those of candidate[more] that lie strictly between, ascending, high; how many intervals that
 * makes. */
size_t poei_law_cuts(double low, double high, size_t more, const double *candidate, double *cut);

/* log of a Gamma(shape, rate 1) number, which itself may be too small to write down. */
double poei_log_gamma_draw(poe_stream *stream, double shape);

/* Each set fills p[POEI_LAW_NUMBERS]. */

/* The same log-density everywhere; reals or integers. */
extern const poei_law poei_flat_law;
void poei_flat_set(double log_density, double *p);
/* log|r| - r (x - anchor): r > 0 on half-lines to the right of the anchor, r < 0 to its left. */
extern const poei_law poei_exponential_law;
void poei_exponential_set(double rate, double anchor, double *p);
/* log N(x; origin + shift, sd), the mean in two parts; the same of log x, less log x. */
extern const poei_law poei_normal_law, poei_lognormal_law;
void poei_normal_set(double origin, double shift, double sd, double *p);
/* Normalised when shape > 0 and rate > 0; otherwise (shape - 1) log(x / anchor) - rate (x - anchor), anchor > 0. */
extern const poei_law poei_gamma_law;
void poei_gamma_set(double shape, double rate, double anchor, double *p);
/* Normalised when a > 0 and b > 0; otherwise (a - 1) log(x / anchor) + (b - 1) log((1 - x) / (1 - anchor)). */
extern const poei_law poei_beta_law;
void poei_beta_set(double a, double b, double anchor, double *p);
/* kappa cos(x - mu) - log(2 pi I_0(kappa)), kappa >= 0. */
extern const poei_law poei_von_mises_law;
void poei_von_mises_set(double mu, double kappa, double *p);
/* n log rate - rate - log n! */
extern const poei_law poei_poisson_law;
void poei_poisson_set(double rate, double *p);
/* log(1 - e^-|t|) + t (n - anchor): t < 0 above the anchor, t > 0 below. */
extern const poei_law poei_geometric_law;
void poei_geometric_set(double t, double anchor, double *p);
/* t n + f log n! + q n^2; without an upper end f <= 0 and q <= 0, one of them < 0. */
extern const poei_law poei_series_law;
void poei_series_set(double t, double f, double q, double *p);

#endif
