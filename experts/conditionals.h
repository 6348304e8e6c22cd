/* Densities of one coordinate from the numbers a network gives for it: what autoregressive models end in. */
#ifndef POE_EXPERTS_CONDITIONALS_H
#define POE_EXPERTS_CONDITIONALS_H

#include <jansson.h>

#include "poe/expert.h"

typedef enum poei_conditional_kind {
  POEI_CONDITIONAL_BERNOULLI,        /* logit of 1                                                              */
  POEI_CONDITIONAL_CATEGORICAL,      /* k logits                                                                */
  POEI_CONDITIONAL_GAUSSIAN_MIXTURE, /* weights' logits (none for one component), means, log standard deviations */
  POEI_CONDITIONAL_LOGISTIC_MIXTURE  /* over 0 .. k-1: weights' logits, means, log scales, in units of [-1, 1]   */
} poei_conditional_kind;

typedef struct poei_conditional {
  poei_conditional_kind kind;
  size_t values;     /* of a discrete coordinate, 0: continuous */
  size_t components; /* of mixtures                             */
  size_t parameters; /* numbers per coordinate                  */
  double log_scale_min;
  bool ends;           /* categorical: after the value `end` every coordinate is `padding`, with probability 1 */
  double end, padding; /* values                                                                               */
} poei_conditional;

/* Reads the metadata poe.output of a file: {"op": "bernoulli"}, {"op": "categorical", "values": k}, {"op":
 * "gaussian_mixture", "components": m}, {"op": "logistic_mixture", "components": m, "values": k}; the mixtures may have
 * a "log_scale_min", categorical an "end" and, beside it, a "padding" (default: the end). POE_E_FORMAT naming the key.
 */
poe_status poei_conditional_read(const json_t *output, poei_conditional *conditional, poe_error *error);

/* log p(x) from t[parameters]; -inf where x is none of the values, NaN at NaN. dt[parameters] and *dx (NULL: not
 * wanted) are its derivatives, 0 where it is -inf. */
double poei_conditional_log_p(const poei_conditional *conditional, const double *t, double x, double *dt, double *dx);
/* The same for a coordinate after the end. */
double poei_conditional_log_padding(const poei_conditional *conditional, double x);
/* log p of all values of a discrete coordinate. */
void poei_conditional_table(const poei_conditional *conditional, const double *t, double *log_p);
double poei_conditional_draw(const poei_conditional *conditional, const double *t, poe_stream *stream);

#endif
