/* Inside of a formula: shared by its builder and its evaluator. */
#ifndef POE_NET_FORMULA_NODES_H
#define POE_NET_FORMULA_NODES_H

#include <stdatomic.h>

#include "net/formula.h"

typedef enum poei_formula_kind { POEI_FORMULA_CONSTANT, POEI_FORMULA_COORDINATE, POEI_FORMULA_APPLY } poei_formula_kind;

/* One scalar operation; its arguments are earlier nodes. */
typedef struct poei_formula_node {
  poei_formula_kind kind;
  poei_formula_op op; /* APPLY                                         */
  size_t n_args;      /* APPLY                                         */
  size_t first;       /* APPLY: index into the array of arguments      */
  size_t coordinate;  /* COORDINATE                                    */
  double constant;    /* CONSTANT                                      */
  bool varies;        /* depends on a coordinate: only then it has a gradient */
} poei_formula_node;

struct poei_formula {
  _Atomic int references;
  size_t dim;
  size_t n_nodes;
  poei_formula_node *nodes; /* [n_nodes] in order of evaluation; the last one is the root */
  size_t n_args;
  poei_formula_value *args; /* [n_args] */
  size_t block;             /* rows evaluated at a time: chosen so that the vectors of all nodes stay in cache */
};

/* The value of an operation on n >= 1 numbers: what constants are folded with. */
double poei_formula_scalar(poei_formula_op op, size_t n, const double *args);
/* Derivative of log |Gamma(x)| (core/special.h); NaN and infinities as in C. */
double poei_digamma(double x);

#endif
