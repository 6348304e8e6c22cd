/* What the files of the junction tree share (junction*.c only).
 *
 * Variables with one value take part in nothing. The others have a position in the elimination order, and every table
 * is over positions. Tables are held divided by their largest value, as values ("linear") where the smallest is not so
 * small that products could underflow, else as logs; so that most of the work is multiplying and adding, and nothing
 * is lost where factors are extreme.
 */
#ifndef POE_COMPOSE_EXACT_JUNCTION_PARTS_H
#define POE_COMPOSE_EXACT_JUNCTION_PARTS_H

#include "compose/exact/junction.h"
#include "compose/language/region.h"

#define POEI_NO_POSITION SIZE_MAX

/* Nats that values may lie below the largest possible one: exp(-POEI_DEPTH) has all its digits. */
#define POEI_DEPTH 690.0

/* ---- graphs (junction_graph.c) ---- */

typedef struct poei_field_table_data {
  size_t size;
  double top;        /* largest log value; 0 when all are -inf                                */
  double depth;      /* top less the smallest log value that is not -inf                      */
  double *log_value; /* [size] less top                                                       */
  double *linear;    /* [size] exp(log_value); NULL when too deep                             */
} poei_field_table_data;

typedef struct poei_field_factor_data {
  size_t n, table;
  size_t *variable; /* [n] */
} poei_field_factor_data;

struct poei_field {
  size_t n, n_capacity;
  size_t *cardinality; /* [n] */
  double constant, constant_lost;
  size_t n_tables, table_capacity;
  poei_field_table_data *table;
  size_t n_factors, factor_capacity;
  poei_field_factor_data *factor;
};

/* ---- orders (junction_order.c) ---- */

/* An elimination order in which children come before their parents and subtrees follow each other. */
typedef struct poei_elimination {
  size_t n, eliminated;    /* variables with two values or more; those from `eliminated` on are kept           */
  size_t *variable;        /* [n] at each position                                                              */
  size_t *position;        /* [graph n] of each variable; POEI_NO_POSITION for those with one value             */
  size_t *parent;          /* [eliminated] position that gets the message; POEI_NO_POSITION: a root             */
  size_t *start;           /* [eliminated + 1]                                                                  */
  size_t *scope;           /* [start[eliminated]] positions the message is over, ascending                      */
  poei_junction_size size; /* bytes: of all messages                                                         */
  double peak_bytes;       /* of the messages alive at one time                                              */
  bool found;
} poei_elimination;

/* phase[graph n]: variables of phase 0 go first, then those of phase 1; those of phase 2 stay. NULL: all 0. When no
 * order keeps every message within the byte limit, `found` is false and only the sizes are set, for the report. Memory
 * is of `region`. */
poe_status poei_elimination_find(const poei_field *graph, const unsigned char *phase, size_t byte_limit,
                                 poei_region *region, poei_elimination *order, poe_error *error);

/* The graph of variables that share a factor, in compressed rows; at each vertex the neighbours in ascending order. */
typedef struct poei_adjacency {
  size_t n;
  size_t *start;       /* [n + 1]                  */
  uint32_t *neighbour; /* [start[n]]               */
  double *bits;        /* [n] log2 of cardinality  */
} poei_adjacency;

typedef enum poei_greedy { POEI_GREEDY_FILL, POEI_GREEDY_WEIGHT } poei_greedy;

/* Where a search is given up. */
typedef struct poei_greedy_bounds {
  double work;         /* joint states of all cliques */
  double message_bits; /* log2 of a message's states  */
  size_t steps;
} poei_greedy_bounds;

typedef struct poei_greedy_result {
  bool complete; /* no bound was met; else the numbers are what was reached  */
  size_t n;      /* vertices eliminated                                      */
  size_t steps;
  double work, bytes;
  size_t widest; /* variables of the largest clique                          */
  double widest_bits;
} poei_greedy_result;

/* Greedy elimination (junction_greedy.c): the vertex whose neighbours lack the fewest edges, or whose clique is
 * smallest, goes first; ties by the other, then at random from `seed` (0: by number). order[graph n]; phase[graph n] or
 * NULL. */
poe_status poei_greedy_order(const poei_adjacency *graph, const unsigned char *phase, poei_greedy rule, uint64_t seed,
                             const poei_greedy_bounds *bounds, uint32_t *order, poei_greedy_result *result,
                             poe_error *error);

/* ---- symbolic elimination (junction_tree.c) ---- */

#define POEI_NO_VERTEX UINT32_MAX

/* The elimination tree of an order and the messages' scopes, as positions in that order. */
typedef struct poei_symbolic {
  size_t n, eliminated, capacity;
  uint32_t *place;           /* [n] position of each vertex      */
  uint32_t *parent;          /* [n]                              */
  uint32_t *child, *sibling; /* [n] first child, next sibling    */
  uint32_t *mark;            /* [n]                              */
  size_t *start;             /* [n + 1]                          */
  uint32_t *scope;           /* [start[eliminated]] ascending    */
  double work;
} poei_symbolic;

poe_status poei_symbolic_open(size_t n, poei_symbolic *run, poe_error *error);
void poei_symbolic_close(poei_symbolic *run);
/* Eliminates in the given order of all vertices; those beyond `eliminated` stay. Stops, with infinite work, above the
 * bounds. */
poe_status poei_symbolic_run(const poei_adjacency *graph, const uint32_t *order, size_t eliminated,
                             const poei_greedy_bounds *bounds, poei_symbolic *run, poe_error *error);
/* The order as it will be used, in postorder; name[n]: the graph's variable of each vertex. order->position is there
 * already. */
poe_status poei_symbolic_publish(const poei_adjacency *graph, const uint32_t *best, size_t eliminated,
                                 const size_t *name, poei_region *region, poei_symbolic *tree, poei_elimination *order,
                                 poe_error *error);

/* ---- tables ---- */

typedef struct poei_potential {
  size_t n;
  const size_t *axis; /* [n] positions, slowest first                              */
  size_t size;
  const double *value;         /* [size]                                                   */
  bool log;                    /* value is logs                                            */
  double depth;                /* nats between the largest and the smallest positive value */
  double *own;                 /* value, when it may be changed in place; else ...         */
  const double *logs, *linear; /* ... a factor's table, both ways (linear NULL: too deep)  */
  size_t child;                /* the bucket whose message it is, or POEI_NO_POSITION      */
} poei_potential;

/* ---- walking over a joint table (junction_walk.c) ---- */

/* How a table runs while the fastest axes of the joint table do. */
typedef enum poei_run { POEI_RUN_CONSTANT, POEI_RUN_DIRECT, POEI_RUN_GATHER } poei_run;

typedef struct poei_walker {
  size_t offset;  /* of the current block at value 0 of the variable */
  size_t step;    /* stride of the variable                          */
  size_t *stride; /* [outer axes]                                    */
  poei_run run;
  uint32_t *index; /* [block] GATHER: offsets within the block        */
} poei_walker;

/* The joint states of a message's axes, in order, and of one variable: blocks of the fastest axes, for each the values
 * of the variable. */
typedef struct poei_walk {
  size_t block, blocks; /* states per block, blocks                        */
  size_t values;        /* of the variable                                 */
  size_t n_outer;
  size_t *cardinality, *digit; /* [n_outer]                                */
  size_t n;
  poei_walker *table; /* [n] */
} poei_walk;

/* axis[n] in the order of the result, slowest first; variable: summed over (POEI_NO_POSITION: nothing is). The tables
 * have their axes among these. cardinality by position. */
poe_status poei_walk_open(poei_region *region, const size_t *cardinality, size_t n, const size_t *axis, size_t variable,
                          size_t n_tables, const poei_potential *table, poei_walk *walk, poe_error *error);
/* To the next block. */
void poei_walk_next(poei_walk *walk);

typedef enum poei_algebra { POEI_SUM_LINEAR, POEI_SUM_LOG, POEI_MAX_LOG } poei_algebra;

/* out[blocks * block] = sum (max) over the variable of the product of the tables. row[3 * block]. */
void poei_walk_contract(poei_walk *walk, poei_algebra algebra, const poei_potential *table, double *out, double *row);
/* row[block] = the product (sum of logs) of the first n tables at one value of the variable; false when it is 0 all
 * over (then row is not set). */
bool poei_walk_row(const poei_walk *walk, bool logs, size_t n, const poei_potential *table, size_t value, double *row);

/* ---- junctions (junction.c) ---- */

typedef struct poei_bucket {
  size_t n_inputs;
  poei_potential *input;  /* [n_inputs] tables that read this position and none before it */
  poei_potential message; /* over its scope; value NULL once freed                        */
  double *value;          /* of the message, owned                                        */
  double shift;           /* log of what the message was divided by                       */
  bool log;               /* the inputs are logs                                          */
  size_t child, sibling;  /* first child, next sibling: POEI_NO_POSITION ends             */
} poei_bucket;

struct poei_junction {
  const poei_field *graph;
  poei_junction_options options;
  unsigned char *phase; /* [graph n] or NULL: all 0 */
  poei_region region;
  poei_elimination order;
  size_t *cardinality; /* [order.n] by position                          */
  size_t *factor;      /* factors by the first position they read ...    */
  size_t *first;       /* [order.n + 1] ... where each position's begin  */
  poei_bucket *bucket; /* [order.eliminated]                             */
  size_t longest;      /* most values of a variable                      */
  double *bytes;       /* [order.eliminated + 1] of the messages before each position */
  double needed;       /* bytes of the tables held at one time           */
  bool kept;           /* DRAWS, BEST: every message is held; else they are made again when they are read */
  double sum, lost;    /* of logs: log Z at the end                      */
  size_t conflict;
};

/* As poei_junction_create, with phases as for poei_elimination_find. */
poe_status poei_junction_open(const poei_field *graph, const poei_junction_options *options, const unsigned char *phase,
                              poei_junction **junction, poe_error *error);
/* The tables that are left over the variables that stay: factors and messages of the roots. */
poe_status poei_junction_rest(poei_junction *junction, size_t *n, poei_potential **rest, poe_error *error);
/* Makes the message of p, those of its children being there; children from position `first_freed` on lose theirs. */
poe_status poei_bucket_eliminate(poei_junction *junction, size_t p, size_t first_freed, poe_error *error);

/* Reads the buckets from .. to - 1 of a part of the tree, all of whose inputs and messages are there. */
typedef poe_status poei_bucket_visit(void *context, const poei_junction *part, size_t from, size_t to,
                                     poe_error *error);
/* Visits all positions of a junction that was run for DRAWS or BEST, the last stretch first (junction_descend.c). */
poe_status poei_junction_descend(const poei_junction *junction, poei_bucket_visit *visit, void *context,
                                 poe_error *error);
/* Bytes held at one time by a descent that keeps to the limit, or the least that one can do with. */
double poei_descent_bytes(const poei_junction *junction, double limit);

/* Is the position maximised, not summed? */
bool poei_bucket_is_maximum(const poei_junction *junction, size_t p);
/* weight[k] = the product of a bucket's tables at the k values of its position, given x[later positions]; its log when
 * the bucket has logs. */
void poei_bucket_weights(const poei_junction *junction, size_t p, const size_t *x, double *weight);
/* Makes a table logs, or values. */
void poei_potential_bring(poei_potential *table, bool logs);

#endif
