/* Opening a discrete target: its nodes (discrete_open.c), its leaves (discrete_leaves.c), and what both add to the
 * graph (discrete_factors.c). */
#ifndef POE_COMPOSE_EXACT_DISCRETE_PARTS_H
#define POE_COMPOSE_EXACT_DISCRETE_PARTS_H

#include "compose/exact/discrete.h"

/* A factor that counts only where one variable has one value: inside a component of a mixture. */
typedef struct poei_gate {
  size_t variable, value;
} poei_gate;

/* Tables made of one expert, for the next time it comes: a plate brings it thousands of times. */
typedef struct poei_known {
  const poe_expert *expert; /* NULL: a free slot                                             */
  double exponent;
  poe_structure structure; /* valid when has_structure                                      */
  bool has_structure;
  size_t n_tables, *table; /* tables of the graph: of the structure's factors, or just one  */
  size_t n;                /* coordinates of the one table, and their ranges                */
  size_t *cardinality;
  double *low;
} poei_known;

typedef struct poei_opener {
  poei_field *graph;
  const poei_plan_options *options;
  size_t n_low, low_capacity;
  double *low; /* [variables] value of each variable's 0 */
  size_t n_positive, positive_capacity;
  unsigned char *positive; /* [factors] 1: not a divisor */
  size_t n_doubtful, doubtful_capacity;
  size_t *doubtful; /* divisors that are 0 somewhere */
  bool maxima;      /* the largest value is wanted: profiles' latent variables may be variables of the graph */
  size_t n_maximised, maximised_capacity;
  size_t *maximised; /* those that are */
  size_t n_known, known_capacity;
  poei_known *known; /* [known_capacity] open addressing */
} poei_opener;

/* One more variable whose values are low, low + 1, ... */
poe_status poei_opener_variable(poei_opener *opener, size_t cardinality, double low, size_t *variable,
                                poe_error *error);
/* Multiplies by exp(constant), behind the gate (NULL: none). */
poe_status poei_opener_constant(poei_opener *opener, double constant, const poei_gate *gate, poe_error *error);
/* Multiplies by a factor over variable[n] to a power: log_value, one number per joint value, is overwritten. 0 to a
 * negative power is noted as doubtful and counts as 0. *table: the graph's table, for poei_opener_again. */
poe_status poei_opener_factor(poei_opener *opener, size_t n, const size_t *variable, double *log_value, double exponent,
                              const poei_gate *gate, size_t *table, poe_error *error);
/* Multiplies by a factor with a table that is there already (no gate). */
poe_status poei_opener_again(poei_opener *opener, size_t n, const size_t *variable, size_t table, double exponent,
                             poe_error *error);
/* One more variable to be summed over. Where the gate is closed it sums to 1. */
poe_status poei_opener_hidden(poei_opener *opener, size_t values, double low, const poei_gate *gate, size_t *variable,
                              poe_error *error);
/* Notes that a hidden variable is to be maximised over. */
poe_status poei_opener_maximised(poei_opener *opener, size_t variable, poe_error *error);
/* Multiplies by a power of a marginal or profile over discrete coordinates at place[dim]: its latent coordinates are
 * eliminated at once, and what is left are factors over the others (discrete_latents.c). POE_E_CAPABILITY, naming the
 * treewidth, when these are too large. */
poe_status poei_opener_reduce(poei_opener *opener, const poe_expert *expert, const size_t *place, double exponent,
                              const poei_gate *gate, poe_error *error);
/* 0 where a coordinate is outside its support, if the variable has such values. */
poe_status poei_opener_box(poei_opener *opener, size_t variable, const poe_support *support, double exponent,
                           const poei_gate *gate, poe_error *error);
/* The joint values of those among place[dim] that the expert depends on, *n of them at coordinates which[] (NULL is
 * allowed); 0 when there are more than `limit`. */
size_t poei_opener_states(const poei_opener *opener, const poe_expert *expert, const size_t *place, size_t limit,
                          size_t *n, size_t *which);
/* Multiplies by a power of an expert at place[dim], as one table, or by its factors where it gives them. */
poe_status poei_opener_tabulate(poei_opener *opener, const poe_expert *expert, const size_t *place, double exponent,
                                const poei_gate *gate, poe_error *error);
poe_status poei_opener_leaf(poei_opener *opener, const poe_expert *expert, const size_t *place, double exponent,
                            const poei_gate *gate, poe_error *error);
/* How often a sum is multiplied to reach a power of it; 0 when it cannot be reached so. */
size_t poei_opener_times(double exponent);
/* POE_E_IMPROPER when a doubtful divisor is 0 where all other factors are positive. dim coordinates come first. */
poe_status poei_opener_check(const poei_opener *opener, size_t dim, poe_error *error);
/* The entry of an expert to a power, made when there is none; NULL when out of memory. Valid until the next call. */
poei_known *poei_opener_known(poei_opener *opener, const poe_expert *expert, double exponent);
void poei_opener_free(poei_opener *opener);

#endif
