/* Importance weights w = p / q of independent draws from q: what they say about the draws, and about q. */
#ifndef POE_SAMPLER_WEIGHTS_H
#define POE_SAMPLER_WEIGHTS_H

#include "sampler/target.h"

/* From here on the mean of weights is not to be believed (Vehtari, Simpson, Gelman, Yao and Gabry 2024, section 3.2.4),
 * nor from that share of a single weight on. */
#define POEI_WEIGHTS_INDEX 0.7
#define POEI_WEIGHTS_SHARE 0.05

typedef struct poei_weights {
  size_t n;          /* weights looked at                                                            */
  double log_mean;   /* log of their mean: log of the integral of p over that of q                   */
  double std_error;  /* of log_mean, from the variance of the weights; means nothing where the index is .5 or more */
  double ess;        /* (sum w)^2 / sum w^2                                                          */
  double largest;    /* share of the largest weight in the sum                                       */
  double tail_index; /* of the largest weights (smc_tail.c); -inf where there is no tail             */
} poei_weights;

/* log_weight[n], -inf allowed. POE_E_NUMERIC when all are. */
poe_status poei_weights_judge(const double *log_weight, size_t n, poei_weights *out, poe_error *error);
/* May means under these weights be believed? */
bool poei_weights_trusted(const poei_weights *weights);

#endif
