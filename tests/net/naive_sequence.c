/* Operators over sequences by their definitions, number by number, from the beginning each time. */
#include <math.h>

#include "tests/net/net_build.h"

enum { MOST_UNITS = 16 };

static double sigmoid(double v) {
  return 1.0 / (1.0 + exp(-v));
}

/* Row `row` of W_ih x + b_ih or (hidden) of W_hh h + b_hh. */
static double gate(const poei_graph *graph, const poei_node *node, bool hidden, size_t width, const double *x,
                   size_t row) {
  double sum = net_naive_weight(graph, node, hidden ? 3 : 2, row);
  for (size_t i = 0; i < width; i++) {
    sum += net_naive_weight(graph, node, hidden ? 1 : 0, row * width + i) * x[i];
  }
  return sum;
}

/* h[units] and c[units] after one more position x[width]. */
static void advance(const poei_graph *graph, const poei_node *node, size_t width, size_t units, const double *x,
                    double *h, double *c) {
  double a[4][MOST_UNITS], b[4][MOST_UNITS];
  size_t gates = node->op == POEI_OP_GRU ? 3 : 4;
  for (size_t g = 0; g < gates; g++) {
    for (size_t i = 0; i < units; i++) {
      a[g][i] = gate(graph, node, false, width, x, g * units + i);
      b[g][i] = gate(graph, node, true, units, h, g * units + i);
    }
  }
  for (size_t i = 0; i < units; i++) {
    if (node->op == POEI_OP_GRU) {
      double r = sigmoid(a[0][i] + b[0][i]), z = sigmoid(a[1][i] + b[1][i]), n = tanh(a[2][i] + r * b[2][i]);
      h[i] = (1.0 - z) * n + z * h[i];
    } else {
      c[i] = sigmoid(a[1][i] + b[1][i]) * c[i] + sigmoid(a[0][i] + b[0][i]) * tanh(a[2][i] + b[2][i]);
      h[i] = sigmoid(a[3][i] + b[3][i]) * tanh(c[i]);
    }
  }
}

static double recurrent(const poei_graph *graph, const poei_node *node, const poei_shape *in, const double *x,
                        size_t at) {
  double h[MOST_UNITS] = {0}, c[MOST_UNITS] = {0};
  size_t units = node->shape.size[1], width = in->count / in->size[0];
  for (size_t t = 0; t <= at / units; t++) {
    advance(graph, node, width, units, x + t * width, h, c);
  }
  return h[at % units];
}

/* b + V f(c + sum of the columns of W before the position, times x). */
static double nade(const poei_graph *graph, const poei_node *node, const double *x, size_t at) {
  size_t units = graph->weights[node->weights[3]].shape.count, position = at / node->shape.size[1];
  double sum = net_naive_weight(graph, node, 2, at);
  for (size_t i = 0; i < units; i++) {
    double a = net_naive_weight(graph, node, 3, i);
    for (size_t d = 0; d < position; d++) {
      a += net_naive_weight(graph, node, 0, d * units + i) * x[d];
    }
    sum += net_naive_weight(graph, node, 1, at * units + i) * net_naive_activation(node->attributes.activation, a);
  }
  return sum;
}

double net_naive_sequence(const poei_graph *graph, const poei_node *node, const poei_shape *in, const double *x,
                          size_t at) {
  size_t width = in->count / in->size[0];
  switch (node->op) {
  case POEI_OP_SHIFT:
    return at >= width             ? x[at - width]
           : node->weights[0] >= 0 ? net_naive_weight(graph, node, 0, at)
                                   : node->attributes.scale;
  case POEI_OP_NADE:
    return nade(graph, node, x, at);
  default:
    return recurrent(graph, node, in, x, at);
  }
}
