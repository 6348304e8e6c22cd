/* Importance weights (weights.h). ESS: Kong, Liu and Wong 1994. */
#include "sampler/weights.h"

#include <math.h>

#include "core/alloc.h"
#include "sampler/smc.h"

poe_status poei_weights_judge(const double *log_weight, size_t n, poei_weights *out, poe_error *error) {
  double most = -INFINITY, sum = 0.0, squares = 0.0, count = (double)n;
  for (size_t i = 0; i < n; i++) {
    most = fmax(most, log_weight[i]);
  }
  if (most == -INFINITY) {
    return poe_error_set(error, POE_E_NUMERIC, "none of %zu weights is positive", n);
  }
  for (size_t i = 0; i < n; i++) {
    double w = exp(log_weight[i] - most);
    sum += w;
    squares += w * w;
  }
  double *tail = poei_alloc(poei_smc_tail_room(n), sizeof *tail);
  if (tail == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  poei_smc_tail(log_weight, n, tail);
  out->n = n;
  out->log_mean = most + log(sum / count);
  out->ess = sum * sum / squares;
  out->std_error = n > 1 ? sqrt(fmax(1.0 / out->ess - 1.0 / count, 0.0) * count / (count - 1.0)) : INFINITY;
  out->largest = 1.0 / sum;
  out->tail_index = poei_smc_tail_index(tail, n, 1.0);
  poei_free(tail);
  return POE_OK;
}

bool poei_weights_trusted(const poei_weights *weights) {
  return weights->tail_index <= POEI_WEIGHTS_INDEX && weights->largest <= POEI_WEIGHTS_SHARE;
}
