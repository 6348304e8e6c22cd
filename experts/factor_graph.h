/* A product of factors over discrete coordinates, each over a few of them: what `uai` is underneath. The functions from
 * destroy on have the signatures of the expert's slots. */
#ifndef POE_EXPERTS_FACTOR_GRAPH_H
#define POE_EXPERTS_FACTOR_GRAPH_H

#include "poe/expert.h"

typedef struct poei_factor_graph poei_factor_graph;

/* Takes over factors without latents over dim coordinates (left zeroed) when it succeeds. head[dim] marks the
 * coordinates it is normalised over; NULL: none. POE_E_MEMORY. */
poe_status poei_factor_graph_create(size_t dim, poe_factors *factors, const unsigned char *head,
                                    poei_factor_graph **graph, poe_error *error);

extern const poe_local_ops poei_factor_graph_local;
void poei_factor_graph_destroy(void *self);
void poei_factor_graph_traits(const void *self, poe_traits *traits);
size_t poei_factor_graph_scratch(const void *self, unsigned want, size_t n);
poe_status poei_factor_graph_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                      poe_scratch *scratch, poe_error *error);
poe_status poei_factor_graph_structure(const void *self, poe_structure *structure, poe_error *error);
poe_status poei_factor_graph_onehot_grad_add(const void *self, poe_rows rows, poe_weights weights, double *out,
                                             size_t ldo, poe_scratch *scratch, poe_error *error);

#endif
