/* Which inputs each output of a graph can depend on, through weights that are not 0: what shows that a network is
 * autoregressive (the product of masks of Germain, Gregor, Murray and Larochelle 2015, section 4.1, for every
 * operator).
 */
#ifndef POE_NET_DEPENDENCE_H
#define POE_NET_DEPENDENCE_H

#include "net/graph.h"

/* Words of a set of m inputs: bit i % 64 of word i / 64 is input i. */
size_t poei_dependence_words(size_t m);

/* needs[outputs, words] of the graph's last node. POE_E_UNSUPPORTED when the sets of all its numbers together are too
 * large, POE_E_MEMORY. */
poe_status poei_dependence_find(const poei_graph *graph, uint64_t *needs, poe_error *error);

/* Levels of an order in which m coordinates can follow each other: coordinate j, whose parameters are the outputs o
 * with owner[o] = j, stands at the first level at which all that they depend on is below. POE_E_FORMAT naming two
 * coordinates when there is none. */
poe_status poei_dependence_levels(const poei_graph *graph, const size_t *owner, size_t *levels, poe_error *error);

#endif
