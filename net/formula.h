/* Formulas: scalar arithmetic over the coordinates of a row, with derived gradients.
 *
 * Built once by the language (or a test) as a directed acyclic graph of scalar operations, common subexpressions
 * shared; evaluated for a tile of rows at a time, one vector of n numbers per operation; gradient by reverse
 * accumulation. Derivatives at kinks (abs, min, max, relu) are one-sided choices: 0 for abs and relu at 0, the first
 * argument for ties.
 */
#ifndef POE_NET_FORMULA_H
#define POE_NET_FORMULA_H

#include "poe/expert.h"

/* X(name, arity (0 = any number >= 1), word in the language) */
#define POEI_FORMULA_OP_LIST(X)                                                                                        \
  X(ADD, 2, "+")                                                                                                       \
  X(SUB, 2, "-")                                                                                                       \
  X(MUL, 2, "*")                                                                                                       \
  X(DIV, 2, "/")                                                                                                       \
  X(POW, 2, "^")                                                                                                       \
  X(NEG, 1, "-")                                                                                                       \
  X(EXP, 1, "exp")                                                                                                     \
  X(LOG, 1, "log")                                                                                                     \
  X(LOG1P, 1, "log1p")                                                                                                 \
  X(EXPM1, 1, "expm1")                                                                                                 \
  X(SQRT, 1, "sqrt")                                                                                                   \
  X(SIN, 1, "sin")                                                                                                     \
  X(COS, 1, "cos")                                                                                                     \
  X(TANH, 1, "tanh")                                                                                                   \
  X(ATAN2, 2, "atan2")                                                                                                 \
  X(ABS, 1, "abs")                                                                                                     \
  X(SOFTPLUS, 1, "softplus")                                                                                           \
  X(SIGMOID, 1, "sigmoid")                                                                                             \
  X(RELU, 1, "relu")                                                                                                   \
  X(ERF, 1, "erf")                                                                                                     \
  X(LGAMMA, 1, "lgamma")                                                                                               \
  X(MIN, 0, "min")                                                                                                     \
  X(MAX, 0, "max")                                                                                                     \
  X(SUM, 0, "sum")                                                                                                     \
  X(LOGSUMEXP, 0, "logsumexp")                                                                                         \
  X(NORM, 0, "norm")

typedef enum poei_formula_op {
#define POEI_FORMULA_OP_ENUM(name, arity, word) POEI_FORMULA_##name,
  POEI_FORMULA_OP_LIST(POEI_FORMULA_OP_ENUM)
#undef POEI_FORMULA_OP_ENUM
} poei_formula_op;

typedef struct poei_formula_builder poei_formula_builder;
typedef struct poei_formula poei_formula; /* immutable, reference-counted */
typedef int32_t poei_formula_value;       /* a node of the graph; negative = failed (sticky: finish reports it) */

poei_formula_builder *poei_formula_builder_create(size_t dim); /* NULL when out of memory */
void poei_formula_builder_destroy(poei_formula_builder *builder);
poei_formula_value poei_formula_constant(poei_formula_builder *builder, double value);
poei_formula_value poei_formula_coordinate(poei_formula_builder *builder, size_t index);
/* args[n]; constants are folded, equal subexpressions shared. */
poei_formula_value poei_formula_apply(poei_formula_builder *builder, poei_formula_op op, size_t n,
                                      const poei_formula_value *args);
/* Builds the formula with that root; the builder stays valid. */
poe_status poei_formula_finish(poei_formula_builder *builder, poei_formula_value root, poei_formula **formula,
                               poe_error *error);
poei_formula *poei_formula_retain(const poei_formula *formula);
void poei_formula_release(poei_formula *formula);
size_t poei_formula_dim(const poei_formula *formula);
size_t poei_formula_scratch(const poei_formula *formula, unsigned want, size_t n);
/* value[n]; when grad is not NULL, grad[n, ldg] += seed[i] * d value_i / dx (seed[n]). */
void poei_formula_eval(const poei_formula *formula, poe_rows rows, double *value, const double *seed, double *grad,
                       size_t ldg, poe_scratch *scratch);

#endif
