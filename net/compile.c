/* Compiling a graph (net/compile.h): fusion, the list of steps, the memory plans, and the network's life. */
#include "net/compile.h"

#include <string.h>

#include "core/alloc.h"

/* Numbers of arena per row above which a network is refused, and outputs up to which the last layer is summed in
 * double. */
#define NET_MAX_PER_ROW ((size_t)1 << 27)
enum { NET_HEAD_OUTPUTS = 16 };

/* Whether node i computes nothing of its own: a view, an identity, or an activation that the operator before it takes
 * over because nothing else reads that operator's value. */
static bool compile_absorbs(poei_graph *graph, size_t i, const size_t *readers) {
  poei_node *node = &graph->nodes[i];
  if (poei_op_records[node->op]->view) {
    return true;
  }
  if (node->op != POEI_OP_ACTIVATION) {
    return false;
  }
  if (node->attributes.activation == POEI_IDENTITY) {
    return true;
  }
  poei_node *before = &graph->nodes[node->inputs[0]];
  if (!poei_op_records[before->op]->fuses_activation || before->attributes.activation != POEI_IDENTITY ||
      readers[node->inputs[0]] != 1) {
    return false;
  }
  before->attributes.activation = node->attributes.activation;
  before->attributes.parameter = node->attributes.parameter;
  return true;
}

/* Fills readers[n_nodes]; every node but the last must have one. */
static poe_status compile_count_readers(const poei_graph *graph, size_t *readers, poe_error *error) {
  memset(readers, 0, graph->n_nodes * sizeof *readers);
  for (size_t i = 0; i < graph->n_nodes; i++) {
    for (size_t k = 0; k < graph->nodes[i].n_inputs; k++) {
      readers[graph->nodes[i].inputs[k]]++;
    }
  }
  for (size_t i = 0; i + 1 < graph->n_nodes; i++) {
    if (readers[i] == 0) {
      return poe_error_set(error, POE_E_FORMAT, "nothing uses the output of operator %zu ('%s')", i,
                           poei_op_records[graph->nodes[i].op]->name);
    }
  }
  return POE_OK;
}

static void compile_steps(poei_net *net, const size_t *readers) {
  poei_graph *graph = net->graph;
  for (size_t i = 0; i < graph->n_nodes; i++) {
    poei_node *node = &graph->nodes[i];
    if (i > 0 && compile_absorbs(graph, i, readers)) {
      net->step[i] = net->step[node->inputs[0]];
      continue;
    }
    const poei_op_record *record = poei_op_records[node->op];
    size_t scratch = record->scratch == NULL ? 0 : record->scratch(graph, node);
    net->scratch = scratch > net->scratch ? scratch : net->scratch;
    net->step[i] = (int32_t)net->n_steps;
    net->last_reader[net->n_steps] = net->n_steps;
    for (size_t k = 0; k < node->n_inputs; k++) {
      net->last_reader[net->step[node->inputs[k]]] = net->n_steps;
    }
    net->node[net->n_steps++] = (int32_t)i;
  }
  net->last_reader[net->n_steps - 1] = net->n_steps;
  const poei_node *last = &graph->nodes[net->node[net->n_steps - 1]];
  net->head = poei_op_records[last->op]->has_head && last->shape.count <= NET_HEAD_OUTPUTS;
  net->out_shape = graph->nodes[graph->n_nodes - 1].shape;
}

static void compile_free(poei_net *net) {
  poei_free(net->node);
  poei_free(net->step);
  poei_free(net->last_reader);
  poei_free(net->plan[0].offset);
  poei_free(net->plan[1].offset);
  poei_walk_free(&net->walk);
  poei_free(net);
}

poe_status poei_net_compile(poei_graph *graph, poei_net **net, poe_error *error) {
  poei_net *made = poei_calloc(1, sizeof *made);
  size_t *readers = poei_alloc(graph->n_nodes, sizeof *readers);
  if (made != NULL) {
    made->node = poei_alloc(graph->n_nodes, sizeof *made->node);
    made->step = poei_alloc(graph->n_nodes, sizeof *made->step);
    made->last_reader = poei_alloc(graph->n_nodes, sizeof *made->last_reader);
  }
  if (made == NULL || readers == NULL || made->node == NULL || made->step == NULL || made->last_reader == NULL) {
    poei_free(readers);
    if (made != NULL) {
      compile_free(made);
    }
    return poe_error_set(error, POE_E_MEMORY, "out of memory for a network");
  }
  made->references = 1;
  made->graph = graph;
  poe_status status = compile_count_readers(graph, readers, error);
  if (status == POE_OK) {
    compile_steps(made, readers);
    status = poei_plan_make(made, false, &made->plan[0], error);
  }
  poei_free(readers);
  if (status == POE_OK) {
    status = poei_plan_make(made, true, &made->plan[1], error);
  }
  if (status == POE_OK && made->plan[1].per_row > NET_MAX_PER_ROW) {
    status = poe_error_set(error, POE_E_UNSUPPORTED,
                           "the network needs %zu numbers of working memory per row, at most %zu are allowed",
                           made->plan[1].per_row, NET_MAX_PER_ROW);
  }
  status = status == POE_OK ? poei_walk_make(made, error) : status;
  if (status != POE_OK) {
    compile_free(made);
    return status;
  }
  *net = made;
  return POE_OK;
}

poei_net *poei_net_retain(const poei_net *net) {
  poei_net *counted = (poei_net *)net; /* only the counter changes */
  atomic_fetch_add_explicit(&counted->references, 1, memory_order_relaxed);
  return counted;
}

void poei_net_release(poei_net *net) {
  if (net != NULL && atomic_fetch_sub_explicit(&net->references, 1, memory_order_acq_rel) == 1) {
    poei_graph_destroy(net->graph);
    compile_free(net);
  }
}

size_t poei_net_in_dim(const poei_net *net) {
  return net->graph->nodes[0].shape.count;
}

size_t poei_net_out_dim(const poei_net *net) {
  return net->out_shape.count;
}

size_t poei_net_out_shape(const poei_net *net, size_t *shape) {
  memcpy(shape, net->out_shape.size, net->out_shape.ndim * sizeof *shape);
  return net->out_shape.ndim;
}

size_t poei_net_parameters(const poei_net *net) {
  size_t sum = 0;
  for (size_t i = 0; i < net->graph->n_weights; i++) {
    sum += net->graph->weights[i].shape.count;
  }
  return sum;
}

double poei_net_flops(const poei_net *net) {
  double sum = 0.0;
  for (size_t k = 0; k < net->n_steps; k++) {
    const poei_node *node = &net->graph->nodes[net->node[k]];
    const poei_op_record *record = poei_op_records[node->op];
    sum += record->flops == NULL ? 0.0 : record->flops(net->graph, node);
  }
  return sum;
}

poei_precision poei_net_precision(const poei_net *net) {
  return net->graph->precision;
}

size_t poei_net_gemms(const poei_net *net, unsigned want, size_t n, poei_gemm_shape *shapes, size_t capacity) {
  size_t count = 0;
  bool backwards = (want & POE_WANT_GRAD) != 0;
  for (size_t t = 0; t < (backwards ? 2 : 1) * net->n_steps; t++) {
    size_t back = t >= net->n_steps ? 1 : 0;
    const poei_node *node = &net->graph->nodes[net->node[back ? 2 * net->n_steps - 1 - t : t]];
    const poei_op_record *record = poei_op_records[node->op];
    if (record->gemms == NULL) {
      continue;
    }
    poei_gemm_shape both[2];
    record->gemms(net->graph, node, n, both);
    if (count < capacity) {
      shapes[count] = both[back];
    }
    count++;
  }
  return count;
}
