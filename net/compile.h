/* From a graph to an evaluable network: activations fused, memory planned.
 *
 * A compiled network is a list of steps (nodes that compute something, in order). Views and fused activations are not
 * steps: their values live in the memory of the step they look at. Memory is one arena per evaluation; a plan gives
 * each buffer (value, tape, gradient of a step) an offset such that buffers alive at the same time do not overlap.
 * Sizes and offsets are in numbers per row, multiples of 16, so that everything is 64-byte aligned for any n.
 */
#ifndef POE_NET_COMPILE_H
#define POE_NET_COMPILE_H

#include <stdatomic.h>

#include "net/graph.h"

/* WORK and WORK_BACK are the working memory of a step forwards and backwards. */
typedef enum poei_buffer {
  POEI_BUFFER_VALUE,
  POEI_BUFFER_TAPE,
  POEI_BUFFER_GRAD,
  POEI_BUFFER_WORK,
  POEI_BUFFER_WORK_BACK,
  POEI_BUFFER_COUNT
} poei_buffer;

#define POEI_NO_BUFFER SIZE_MAX

/* How a network goes through its sequences one position after the other (net/step.c): every step computes one part of
 * its value at a time, from the parts before it. */
typedef struct poei_walk {
  size_t positions;  /* 0: it cannot                                                                        */
  poei_node *part;   /* [n_steps] the step's node with the shape of one part                                 */
  bool *before;      /* [n_steps] it is one position behind the output                                       */
  size_t *value;     /* [n_steps] offsets of the values in the arena, numbers per row                        */
  size_t *state;     /* [n_steps] ... of the states in the memory of the state                               */
  size_t work;       /* ... of the working memory of each, behind the values                                 */
  size_t per_row;    /* arena                                                                                */
  size_t state_size; /* numbers per row                                                                      */
} poei_walk;

/* Offsets in the arena, in numbers per row; POEI_NO_BUFFER where there is none. */
typedef struct poei_plan {
  size_t (*offset)[POEI_BUFFER_COUNT]; /* [n_steps] */
  size_t per_row;                      /* arena */
} poei_plan;

struct poei_net {
  _Atomic int references;
  poei_graph *graph; /* owned; fused activations are attributes of their operators */
  size_t n_steps;
  int32_t *node;       /* [n_steps] node of each step; step 0 is the input                    */
  int32_t *step;       /* [graph->n_nodes] step whose memory holds the value of a node        */
  size_t *last_reader; /* [n_steps] last step that reads the value; n_steps for the output    */
  poei_plan plan[2];   /* forwards; forwards and backwards                                    */
  size_t scratch;      /* numbers of working memory of the neediest operator                  */
  bool head;           /* the last step writes doubles                                        */
  poei_walk walk;
  poei_shape out_shape; /* of the graph's last node                                            */
};

/* Compiles the graph, whose last node is the output; the last step then computes it. Takes ownership of the graph when
 * it succeeds. POE_E_FORMAT when a node before the last is read by none, POE_E_UNSUPPORTED when a row would need an
 * absurd amount of memory. */
poe_status poei_net_compile(poei_graph *graph, poei_net **net, poe_error *error);
/* Fills plan (allocates plan->offset) for the steps of a network whose other members are set. */
poe_status poei_plan_make(const poei_net *net, bool backwards, poei_plan *plan, poe_error *error);
/* Fills net->walk, whose positions are 0 for a network that is none over sequences. POE_E_MEMORY. */
poe_status poei_walk_make(poei_net *net, poe_error *error);
void poei_walk_free(poei_walk *walk);

#endif
