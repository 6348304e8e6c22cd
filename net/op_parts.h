/* What the records of operators share: checks of shapes and usual costs. Inside net/ only. */
#ifndef POE_NET_OP_PARTS_H
#define POE_NET_OP_PARTS_H

#include "net/graph.h"

/* node->shape = shape of input 0. */
poe_status poei_op_same_shape(const poei_graph *graph, poei_node *node, poe_error *error);
/* "[3, 4]" of a shape, in the caller's text. */
const char *poei_op_text(const poei_shape *shape, char text[160]);
/* The optional bias (weight 1) must hold `count` numbers. */
poe_status poei_op_check_bias(const poei_graph *graph, const poei_node *node, size_t count, poe_error *error);
/* attributes.eps must be a finite number >= 0. */
poe_status poei_op_check_eps(const poei_node *node, poe_error *error);

/* Costs (poei_op_record): one operation per number; a tape of one number per number, always or where an activation was
 * fused. */
double poei_op_flops_each(const poei_graph *graph, const poei_node *node);
size_t poei_op_tape_each(const poei_graph *graph, const poei_node *node);
size_t poei_op_tape_fused(const poei_graph *graph, const poei_node *node);

/* to[count, words] |= from[count, words]. */
void poei_op_depend_unite(size_t words, uint64_t *to, const uint64_t *from, size_t count);
/* Dependence (poei_op_record) of a value whose every number depends on the number at its place in each input. */
void poei_op_depend_each(const poei_graph *graph, const poei_node *node, size_t words, const uint64_t *const *from,
                         uint64_t *sets);
/* ... whose numbers depend on all of the m neighbours that they stand among, in groups of m. */
void poei_op_depend_groups(const poei_node *node, size_t m, size_t words, const uint64_t *from, uint64_t *sets);
/* ... [positions, ...] whose every position depends on all inputs at it (strict: not at it) and before it. */
void poei_op_depend_before(const poei_graph *graph, const poei_node *node, size_t positions, bool strict, size_t words,
                           const uint64_t *from, uint64_t *sets);
/* by_position (poei_op_record) of elementwise operators. */
bool poei_op_by_position_each(const poei_graph *graph, const poei_node *node, size_t positions);
/* Whether number i of weight 0 is not 0. */
bool poei_op_connects(const poei_graph *graph, const poei_node *node, size_t i);

/* The members of a record that each_type.h compiled. */
#define POEI_OP_FUNCTIONS(word)                                                                                        \
  .forward = {word##_forward_float, word##_forward_double}, .vjp = {word##_vjp_float, word##_vjp_double}

#endif
