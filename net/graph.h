/* Tensor graphs: what a network is before it is compiled.
 *
 * A graph is a list of nodes, each an operator on earlier nodes, in the order in which it was built (so it has no
 * cycles). A value is the output of a node, [n, shape...] with a free leading number of rows. Weights are constants of
 * the graph in its precision. poei_net_compile (net/compile.h) turns a graph into an evaluable network.
 *
 * An operator is one const record (poei_op_record): shapes, forwards, vector-Jacobian product, cost. A new operator is
 * a line in the list and a record; nothing else in this floor knows operators by name, except that compilation fuses an
 * activation into the operator before it when the record says it can. What a vjp needs of the forward pass the operator
 * leaves on its tape; inputs and outputs are not kept, so that their memory is reused.
 */
#ifndef POE_NET_GRAPH_H
#define POE_NET_GRAPH_H

#include "net/activation.h"
#include "net/net.h"

/* X(name, word) */
#define POEI_OP_LIST(X)                                                                                                \
  X(INPUT, input)                       /* the rows                                                               */   \
  X(LINEAR, linear)                     /* y = x W' + b; W [out, in], b [out]; x of `in` numbers, or its last axis */  \
  X(CONV2D, conv2d)                     /* cross-correlation; W [out, in / groups, kh, kw], b [out]; x [in, h, w] */   \
  X(CONV_TRANSPOSE2D, conv_transpose2d) /* its adjoint; W [in, out / groups, kh, kw], b [out]                     */   \
  X(AVG_POOL2D, avg_pool2d)             /* mean over windows, padding counted as 0; x [c, h, w]                   */   \
  X(MAX_POOL2D, max_pool2d)             /* maximum over windows, padding left out                                 */   \
  X(UPSAMPLE2D, upsample2d)             /* every pixel size[0] x size[1] times (nearest neighbour); x [c, h, w]   */   \
  X(RESHAPE, reshape)                   /* the same numbers in another shape                                      */   \
  X(AFFINE, affine)                     /* scale * x + shift                                                      */   \
  X(LAYER_NORM, layer_norm)             /* (x - mean) / sqrt(var + eps) * w + b over the last axes, w's shape     */   \
  X(GROUP_NORM, group_norm)             /* (x - mean) / sqrt(var + eps) * w + b over groups of channels; w, b [c] */   \
  X(CHANNEL_AFFINE, channel_affine)     /* w[c] x + b[c]; x [c, ...]: batch norm at inference, actnorm            */   \
  X(ACTIVATION, activation)             /* elementwise, see net/activation.h                                      */   \
  X(ADD, add)                           /* x0 + x1, equal shapes                                                  */   \
  X(EMBEDDING, embedding)               /* row x of W [values, size], or of the identity where there is no W      */   \
  X(SHIFT, shift)                       /* y_t = x_{t-1} along the first axis; y_0 = w, or `scale` everywhere     */   \
  X(GRU, gru)                           /* W_ih [3h, in], W_hh [3h, h], b_ih, b_hh [3h]; x [t, ...], y [t, h]     */   \
  X(LSTM, lstm)                         /* the same with 4h                                                       */   \
  X(NADE, nade)                         /* W [d, h], V [d, h] or [d, p, h], b, c [h]; y [d, p]: net/sequence_ops.c */

typedef enum poei_op {
#define POEI_OP_ENUM(name, word) POEI_OP_##name,
  POEI_OP_LIST(POEI_OP_ENUM)
#undef POEI_OP_ENUM
      POEI_OP_COUNT
} poei_op;

enum { POEI_OP_MAX_INPUTS = 2, POEI_OP_MAX_WEIGHTS = 4 };

/* Numbers of one value per row, and of one weight, above which a graph is refused. */
#define POEI_MAX_VALUE ((size_t)1 << 24)
enum { POEI_MAX_NODES = 4096 };

typedef struct poei_shape {
  size_t ndim, size[POEI_MAX_DIMS];
  size_t count; /* product of size */
} poei_shape;

/* A constant of the graph: data[shape.count] of the graph's precision, 64-byte aligned. */
typedef struct poei_weight {
  char *name;
  poei_shape shape;
  void *data;
  void *memory; /* what data points into */
} poei_weight;

/* What an operator is told beside its inputs and weights; each reads its own members. */
typedef struct poei_attributes {
  poei_activation activation; /* ACTIVATION, NADE; set by compilation on an operator it was fused into */
  double parameter;           /* of the activation                                               */
  /* Convolutions and pools, (height, width): stride and dilation >= 1; output_padding < stride or dilation. */
  size_t stride[2], padding[2], dilation[2], output_padding[2];
  size_t size[2];      /* pools: window; UPSAMPLE2D: factor; EMBEDDING without a weight: {values} */
  size_t groups;       /* convolutions, GROUP_NORM: >= 1    */
  double scale, shift; /* AFFINE; SHIFT: scale              */
  double eps;          /* LAYER_NORM, GROUP_NORM            */
  poei_shape shape;    /* INPUT, RESHAPE                    */
} poei_attributes;

typedef int32_t poei_value; /* index of a node; negative: failed */

typedef struct poei_node {
  poei_op op;
  size_t n_inputs;
  poei_value inputs[POEI_OP_MAX_INPUTS];
  size_t n_weights;
  int32_t weights[POEI_OP_MAX_WEIGHTS]; /* index of a weight, -1 = absent (optional bias) */
  poei_attributes attributes;
  poei_shape shape; /* of the value, inferred */
} poei_node;

typedef struct poei_graph {
  poei_precision precision;
  size_t n_nodes, node_capacity;
  poei_node *nodes; /* [n_nodes] nodes[0] is the input */
  size_t n_weights, weight_capacity;
  poei_weight *weights; /* [n_weights] */
} poei_graph;

/* "[2, 3]" -> count; POE_E_SHAPE when a size is 0 or the product is above POEI_MAX_VALUE. */
poe_status poei_shape_make(size_t ndim, const size_t *size, poei_shape *shape, poe_error *error);

/* An empty graph, and its end (NULL is allowed). */
poe_status poei_graph_create(poei_precision precision, poei_graph **graph, poe_error *error);
void poei_graph_destroy(poei_graph *graph);
/* Adds a constant with room for its numbers, to be filled by the caller; *index for poei_node.weights. */
poe_status poei_graph_weight(poei_graph *graph, const char *name, size_t ndim, const size_t *size, int32_t *index,
                             void **data, poe_error *error);
/* Frees the weight that was added last. */
void poei_graph_drop_weight(poei_graph *graph);
/* Adds a node (a copy of *node with its shape inferred); the first must be the INPUT and only it may be one. Messages
 * are about the operator alone: the caller puts the layer's place in front. */
poe_status poei_graph_add(poei_graph *graph, const poei_node *node, poei_value *value, poe_error *error);

/* One call of an operator on n rows. REAL below is float or double after the graph's precision. */
typedef struct poei_call {
  const poei_node *node;
  size_t n;
  const poei_shape *in[POEI_OP_MAX_INPUTS]; /* shapes of the inputs                                         */
  const void *x[POEI_OP_MAX_INPUTS];        /* REAL [n, in[i]->count]; NULL in a vjp                     */
  const void *weights[POEI_OP_MAX_WEIGHTS]; /* REAL, NULL = absent                                          */
  const poei_shape *weight_shapes[POEI_OP_MAX_WEIGHTS];
  void *y;                             /* forward: REAL [n, node->shape.count]                         */
  void *tape;                          /* REAL [n, tape(node)]: forward writes, vjp reads; NULL: none wanted */
  double *head;                        /* forward, when the record has a head and it was asked: write y here
                                          instead, in double [n, node->shape.count]                    */
  void *dy;                            /* vjp: REAL [n, node->shape.count], may be overwritten         */
  void *dx[POEI_OP_MAX_INPUTS];        /* vjp: REAL [n, in[i]->count], NULL = not wanted               */
  bool accumulate[POEI_OP_MAX_INPUTS]; /* vjp: add to dx[i] instead of setting it                      */
  void *scratch;                       /* REAL [scratch(...)]                                          */
  void *work;                          /* REAL [n, work(...)], contents undefined                      */
  bool steady;                         /* the bits of a row must not depend on n                       */
  size_t position;                     /* step: t                                                      */
  void *state;                         /* step: REAL [n, state(node)]                                  */
} poei_call;

/* What a call is part of: an evaluation alone, one that keeps a tape for its way back, one position of a sequence. */
typedef enum poei_pass { POEI_PASS_FORWARD, POEI_PASS_TAPED, POEI_PASS_STEP } poei_pass;

typedef struct poei_op_record {
  const char *name;
  size_t n_inputs;
  size_t min_weights, max_weights;
  bool view;             /* the value is its input's memory under another shape; no functions are called      */
  bool fuses_activation; /* applies attributes.activation to its result                                      */
  bool has_head;         /* can write its value in double, accumulated in double (energies)                   */
  bool strict;           /* sequences: position t of the value sees its input before t only                   */
  /* Checks inputs, weights and attributes and fills node->shape. */
  poe_status (*infer)(const poei_graph *graph, poei_node *node, poe_error *error);
  void (*forward[2])(const poei_call *call); /* by precision */
  void (*vjp[2])(const poei_call *call);
  /* Floating-point operations of one row forwards, multiplication and addition counted apart; NULL: none to speak of.
   */
  double (*flops)(const poei_graph *graph, const poei_node *node);
  /* REALs kept per row for the vjp; NULL: none. */
  size_t (*tape)(const poei_graph *graph, const poei_node *node);
  /* REALs of working memory, for any number of rows; NULL: none. */
  size_t (*scratch)(const poei_graph *graph, const poei_node *node);
  /* REALs of working memory for each row of a call; NULL: none. */
  size_t (*work)(const poei_graph *graph, const poei_node *node, poei_pass pass);
  /* Sequences, [positions, ...]: part t of a value is its t-th count / positions numbers. Whether part t comes from
   * part t of the inputs alone, by `forward` on a node of the parts' sizes; NULL: no. */
  bool (*by_position)(const poei_graph *graph, const poei_node *node, size_t positions);
  /* ... or from part t (strict: t - 1, x[0] NULL for the first) and what went before, kept in the state: part
   * call->position of the value. The node and shapes of the call are of one part. NULL: no. */
  void (*step[2])(const poei_call *call);
  /* REALs of state per row, 0 before the first position; NULL: none. It is state_parts arrays (0: one) of n rows. */
  size_t (*state)(const poei_graph *graph, const poei_node *node);
  size_t state_parts;
  /* Which inputs of the network each number of the value can depend on (net/dependence.h): adds to sets[count, words]
   * those of from[k][in[k]->count, words], through weights that are not 0; NULL: not known. */
  void (*depend)(const poei_graph *graph, const poei_node *node, size_t words, const uint64_t *const *from,
                 uint64_t *sets);
  /* Fills shapes[2] with the products of a forward and of a backward call on n rows; NULL: none. */
  void (*gemms)(const poei_graph *graph, const poei_node *node, size_t n, poei_gemm_shape *shapes);
} poei_op_record;

/* Shape of input i, of weight i (NULL when absent) of a node. */
const poei_shape *poei_node_input_shape(const poei_graph *graph, const poei_node *node, size_t i);
const poei_shape *poei_node_weight_shape(const poei_graph *graph, const poei_node *node, size_t i);

/* The records by operator; each stands beside its kernels, in one of the files *_ops.c. */
extern const poei_op_record *const poei_op_records[POEI_OP_COUNT];
#define POEI_OP_DECLARE(name, word) extern const poei_op_record poei_op_##word;
POEI_OP_LIST(POEI_OP_DECLARE)
#undef POEI_OP_DECLARE

#endif
