/* Probabilities of whole numbers by adding up: the states around the mode of a log-concave sequence until what is left
 * out is proven to be below 2^-60 of the sum. */
#ifndef POE_EXPERTS_SERIES_H
#define POE_EXPERTS_SERIES_H

#include "poe/expert.h"

/* A sequence of weights w(n). step(n) = log w(n + 1) - log w(n) must not increase with n. */
typedef struct poei_sequence {
  double (*value)(const double *p, double n); /* log w(n) */
  double (*step)(const double *p, double n);
  const double *p;
} poei_sequence;

/* The states low .. low + n - 1 with their cumulated weights; immutable. Freed with poei_free. */
typedef struct poei_series {
  double low, log_total; /* log of the sum of all weights */
  size_t n;
  double cumulative[]; /* [n] relative to any constant */
} poei_series;

/* Adds up from low to high (which may be infinite; then step must become negative). POE_E_CAPABILITY above 2^22 terms,
 * POE_E_IMPROPER when the steps do not become negative. */
poe_status poei_series_create(const poei_sequence *sequence, double low, double high, poei_series **out,
                              poe_error *error);
/* The state at which the cumulated weights pass a share 0 < u < 1 of all. */
double poei_series_quantile(const poei_series *series, double u);

#endif
