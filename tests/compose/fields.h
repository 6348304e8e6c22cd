/* Random factor graphs and their truth by brute force, for the tests of the junction tree. */
#ifndef POE_TESTS_COMPOSE_FIELDS_H
#define POE_TESTS_COMPOSE_FIELDS_H

#include "compose/exact/junction.h"

enum { MOST = 24 }; /* variables */

typedef struct shape {
  size_t variables, most_values, factors, most_scope;
  double scale, zeros; /* log values are scale * normal, a part of them -inf; one joint value is always possible */
  bool all;            /* every variable has most_values values, else 1 to most_values                            */
  double steep;        /* some of the other values are so much lower                                              */
} shape;

/* The heap's; poei_field_destroy. */
poei_field *random_graph(const shape *s, uint64_t seed);
size_t below(poe_stream *stream, size_t n);

typedef struct truth {
  size_t n, states, *cardinality;
  double *log_p; /* [states] first variable slowest */
  double log_z;
} truth;

truth enumerate(const poei_field *graph);
void forget(truth *all);
/* x[n] of joint value s. */
void unpack(const truth *all, size_t s, size_t *x);

/* A junction that was run, within a byte limit; summed NULL: none. */
poei_junction *junction_within(const poei_field *graph, poei_junction_goal goal, size_t byte_limit,
                               const unsigned char *summed);
/* The same without a limit that matters. */
poei_junction *junction_of(const poei_field *graph, poei_junction_goal goal, const unsigned char *summed);

#endif
