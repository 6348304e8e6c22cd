/* Exact inference in discrete factor graphs by eliminating variables on a junction tree. Inside compose/ only.
 *
 *   p(x) = exp(constant + sum_f log_value_f(x_f))   over variables with finitely many values, not normalised
 *
 * Eliminating variable v multiplies the tables that read v and sums v out; the result is a message to the table of the
 * variable that comes next. The messages give log Z; kept, they give exact joint draws (backwards through the order),
 * all marginals, and with maxima in place of sums the most probable values (Dechter 1999, "Bucket elimination"; Koller
 * and Friedman 2009, chapters 9, 10 and 13). The cost is the size of the largest table, which the order decides.
 */
#ifndef POE_COMPOSE_EXACT_JUNCTION_H
#define POE_COMPOSE_EXACT_JUNCTION_H

#include "poe/expert.h"

/* ---- factor graphs: discrete random fields ---- */

typedef struct poei_field poei_field;

#define POEI_FIELD_FREE SIZE_MAX /* no value */

/* The empty graph: p = 1. */
poe_status poei_field_create(poei_field **graph, poe_error *error);
void poei_field_destroy(poei_field *graph); /* NULL is allowed */
/* One more variable with values 0 .. cardinality - 1 (at least one); *variable is its number. */
poe_status poei_field_variable(poei_field *graph, size_t cardinality, size_t *variable, poe_error *error);
/* One more table, read by any number of factors; copied, unless one of the last few is the same. POE_E_NUMERIC for a
 * value that is NaN or +inf. */
poe_status poei_field_table(poei_field *graph, size_t size, const double *log_value, size_t *table, poe_error *error);
/* One more factor: a table over variable[n], all different, the first slowest. POE_E_SHAPE when the sizes differ. */
poe_status poei_field_factor(poei_field *graph, size_t n, const size_t *variable, size_t table, poe_error *error);
/* Both at once. */
poe_status poei_field_add(poei_field *graph, size_t n, const size_t *variable, const double *log_value,
                          poe_error *error);
/* Multiplies by exp(constant). */
void poei_field_scale(poei_field *graph, double constant);

size_t poei_field_variables(const poei_field *graph);
size_t poei_field_cardinality(const poei_field *graph, size_t variable);
/* Sum of all cardinalities: the length of a list of marginals. */
size_t poei_field_values(const poei_field *graph);
/* log p(x[n]). */
double poei_field_log_value(const poei_field *graph, const size_t *x);
/* The graph where variable i has the value value[i], unless that is POEI_FIELD_FREE; log Z of it is the log evidence.
 * The variables keep their numbers; one that is clamped has a single value, 0. */
poe_status poei_field_clamp(const poei_field *graph, const size_t *value, poei_field **out, poe_error *error);

/* known[n]: 1 marks variables that are given; those that they determine, one after the other, are marked too: where
 * some factor allows one value at most, given the others it reads. A sum over these may as well be a maximum. */
poe_status poei_field_determine(const poei_field *graph, unsigned char *known, poe_error *error);

/* ---- elimination ---- */

typedef enum poei_junction_goal {
  POEI_JUNCTION_LOG_Z, /* log Z alone: a table is freed as soon as it was read          */
  POEI_JUNCTION_DRAWS, /* log Z, draws and marginals                                    */
  POEI_JUNCTION_BEST   /* the most probable values                                      */
} poei_junction_goal;

typedef struct poei_junction_options {
  poei_junction_goal goal;
  size_t byte_limit;           /* of the tables held at one time: what does not fit is made again when it is read,
                                  if that fits */
  const unsigned char *summed; /* BEST: [n] 1: summed out before the others are maximised; NULL: none   */
} poei_junction_options;

/* What an elimination order costs. */
typedef struct poei_junction_size {
  size_t width;  /* variables of the largest clique less one: the treewidth, as far as was found */
  double states; /* joint states of the largest clique                                           */
  double bytes;  /* of the tables held at one time                                               */
  double work;   /* joint states of all cliques together                                         */
  bool at_least; /* the search for an order was given up: the numbers are lower bounds           */
} poei_junction_size;

typedef struct poei_junction poei_junction;

/* Finds an order; nothing is computed. The graph must outlive the junction and stay as it is. */
poe_status poei_junction_create(const poei_field *graph, const poei_junction_options *options, poei_junction **junction,
                                poe_error *error);
void poei_junction_destroy(poei_junction *junction); /* NULL is allowed */
poei_junction_size poei_junction_size_of(const poei_junction *junction);
/* "85.4 MiB" into text[size]; returns text. */
const char *poei_bytes_text(double bytes, char *text, size_t size);
/* Eliminates. POE_E_CAPABILITY beyond the byte limit, naming treewidth, bytes and the largest clique; POE_E_EMPTY when
 * no joint value is possible. */
poe_status poei_junction_run(poei_junction *junction, poe_error *error);
/* After POE_E_EMPTY: a variable where the factors contradict each other. */
size_t poei_junction_conflict(const poei_junction *junction);

/* The functions below read a junction that was run; from any number of threads. */

/* log sum_x p(x); for BEST the log of the largest value. */
double poei_junction_log_z(const poei_junction *junction);
/* DRAWS: one exact draw x[n], a function of the address. */
void poei_junction_draw(const poei_junction *junction, poe_rng at, size_t *x, poe_scratch *scratch);
size_t poei_junction_draw_scratch(const poei_junction *junction);
/* Are all messages held? Else poei_junction_draw cannot be called; marginals, the best values and the draws below make
 * messages again, which takes the time of a few eliminations and memory within the byte limit. */
bool poei_junction_is_kept(const poei_junction *junction);
/* DRAWS: n such draws at once, x[n, variables], equal to those one by one but for rounding. */
poe_status poei_junction_draws(const poei_junction *junction, size_t n, const poe_rng *at, size_t *x, poe_error *error);
/* DRAWS: the marginal probabilities of all values of all variables, one variable after the other: p[values]. */
poe_status poei_junction_marginals(const poei_junction *junction, double *p, poe_error *error);
/* BEST: the k most probable joint values in order, as many as there are with positive probability: *found rows of
 * x[k, n] (POEI_FIELD_FREE for variables summed out) and log_value[k]. Equal values come in a fixed order. */
poe_status poei_junction_best(const poei_junction *junction, size_t k, size_t *found, size_t *x, double *log_value,
                              poe_error *error);

/* The graph with variables eliminated: those of phase[v] 0 by sums, then those of phase 1 by (1/beta) log sum
 * exp(beta log .), or by maxima where beta is infinite; those of phase 2 stay. The variables keep their numbers; one
 * that is gone has a single value, 0. Where nothing is possible some factor says so. POE_E_CAPABILITY beyond the byte
 * limit, naming the treewidth: phases bind the order. */
poe_status poei_field_reduce(const poei_field *graph, const unsigned char *phase, double beta, size_t byte_limit,
                             poei_field **out, poe_error *error);

/* log of the sum of p over all variables but keep[n] (all different): out[product of their cardinality], first
 * slowest; -inf where nothing is possible. Errors as for poei_junction_run. */
poe_status poei_field_project(const poei_field *graph, size_t byte_limit, size_t n, const size_t *keep, double *out,
                              poe_error *error);

#endif
