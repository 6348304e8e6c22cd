/* Building small random networks for tests, and evaluating them by naive loops in double. */
#ifndef POE_TESTS_NET_BUILD_H
#define POE_TESTS_NET_BUILD_H

#include "net/compile.h"

/* A graph and the mirror of its weights in double. Weights are random numbers of a fixed address, scaled to keep values
 * of size one. */
typedef struct net_build {
  poei_graph *graph;
  uint32_t next_weight;
} net_build;

net_build net_build_start(poei_precision precision, size_t ndim, const size_t *shape);
/* Each adds a node on `input` and returns its value. bias: whether there is one. */
poei_value net_build_linear(net_build *build, poei_value input, size_t out, bool bias);
poei_value net_build_conv(net_build *build, poei_value input, size_t out, size_t kernel_height, size_t kernel_width,
                          size_t stride, size_t padding, bool bias);
/* A convolution or its transpose; the members of moves that concern it are taken from there. */
poei_value net_build_conv_with(net_build *build, poei_value input, bool transpose, size_t out, size_t kernel_height,
                               size_t kernel_width, const poei_attributes *moves, bool bias);
poei_value net_build_pool(net_build *build, poei_value input, bool max, size_t size);
poei_value net_build_pool_with(net_build *build, poei_value input, bool max, const poei_attributes *moves);
poei_value net_build_upsample(net_build *build, poei_value input, size_t height, size_t width);
poei_value net_build_group_norm(net_build *build, poei_value input, size_t groups, bool weight, bool bias);
poei_value net_build_channel_affine(net_build *build, poei_value input, bool bias);
poei_value net_build_activation(net_build *build, poei_value input, poei_activation activation);
poei_value net_build_layer_norm(net_build *build, poei_value input, size_t ndim);
poei_value net_build_affine(net_build *build, poei_value input, double scale, double shift);
poei_value net_build_reshape(net_build *build, poei_value input, size_t ndim, const size_t *shape);
poei_value net_build_add(net_build *build, poei_value a, poei_value b);
/* Over sequences: `out` numbers in the place of those along the last axis; a shift, with weights at the start or 0.5; a
 * recurrent layer (GRU or LSTM); NADE with p parameters at each position. */
poei_value net_build_linear_last(net_build *build, poei_value input, size_t out, bool bias);
poei_value net_build_shift(net_build *build, poei_value input, bool weight);
poei_value net_build_recurrent(net_build *build, poei_value input, poei_op op, size_t units, bool bias_ih,
                               bool bias_hh);
poei_value net_build_nade(net_build *build, poei_value input, size_t units, size_t parameters,
                          poei_activation activation);
/* Compiles; the naive evaluation below needs a graph that was not compiled (fusion changes it), so build it twice. */
poei_net *net_build_finish(net_build *build);

/* One row through the graph, naively, in double: y[out]. */
void net_naive(const poei_graph *graph, const double *x, double *y);
/* Number `at` of an operator over sequences (naive_sequence.c); x[in->count]. */
double net_naive_sequence(const poei_graph *graph, const poei_node *node, const poei_shape *in, const double *x,
                          size_t at);
/* Weight i of a node's weight; 0 where there is none. */
double net_naive_weight(const poei_graph *graph, const poei_node *node, size_t weight, size_t i);
double net_naive_activation(poei_activation activation, double v);
/* Doubles of the stream at `site`, standard normal. */
void net_numbers(uint32_t site, size_t n, double *out);

#endif
