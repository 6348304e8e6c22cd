/* Factor graphs as data. A graph under construction is always one that poe_structure_release can free. */
#include "experts/factors.h"

#include <string.h>

#include "core/alloc.h"

static poe_status factors_memory(poe_structure *structure, poe_error *error) {
  poe_structure_release(structure);
  return poe_error_set(error, POE_E_MEMORY, "out of memory for a factor graph");
}

poe_status poei_factors_start(poe_structure *structure, size_t dim, size_t k, size_t latents, size_t factors,
                              poe_error *error) {
  poe_structure made = {.kind = POE_STRUCTURE_FACTORS, .dim = dim};
  poe_factors *graph = &made.as.factors;
  graph->latents = latents;
  graph->cardinality = poei_alloc(dim + latents, sizeof *graph->cardinality);
  graph->low = poei_calloc(dim, sizeof *graph->low);
  graph->factor = poei_calloc(factors, sizeof *graph->factor);
  if (graph->cardinality == NULL || graph->low == NULL || graph->factor == NULL) {
    return factors_memory(&made, error);
  }
  for (size_t j = 0; j < dim + latents; j++) {
    graph->cardinality[j] = j < dim ? k : 1;
  }
  *structure = made;
  return POE_OK;
}

poe_status poei_factors_add(poe_structure *structure, size_t n, const size_t *variable, double **log_value,
                            poe_error *error) {
  poe_factors *graph = &structure->as.factors;
  poe_factor *factor = &graph->factor[graph->n];
  size_t numbers = 1;
  bool fits = true;
  for (size_t i = 0; i < n; i++) {
    fits = fits && poei_mul_size(numbers, graph->cardinality[variable[i]], &numbers);
  }
  factor->n = n;
  factor->variable = poei_copy(variable, n, sizeof *variable);
  factor->log_value = fits ? poei_alloc(numbers, sizeof *factor->log_value) : NULL;
  graph->n++;
  if (factor->variable == NULL || factor->log_value == NULL) {
    return factors_memory(structure, error);
  }
  *log_value = factor->log_value;
  return POE_OK;
}

poe_status poei_factors_copy(poe_structure *structure, size_t n, const size_t *variable, const double *log_value,
                             poe_error *error) {
  double *to;
  poe_status status = poei_factors_add(structure, n, variable, &to, error);
  if (status == POE_OK) {
    const poe_factors *graph = &structure->as.factors;
    size_t numbers = 1;
    for (size_t i = 0; i < n; i++) {
      numbers *= graph->cardinality[variable[i]];
    }
    memcpy(to, log_value, numbers * sizeof *to);
  }
  return status;
}
