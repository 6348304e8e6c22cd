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

/* The members of a record that each_type.h compiled. */
#define POEI_OP_FUNCTIONS(word)                                                                                        \
  .forward = {word##_forward_float, word##_forward_double}, .vjp = {word##_vjp_float, word##_vjp_double}

#endif
