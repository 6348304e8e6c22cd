/* The networks inside the layers of a flow: read like any other network (net/layers.h); that of an autoregressive layer
 * is shown to be one (net/dependence.h). */
#include "experts/flow.h"
#include "net/compile.h"
#include "net/dependence.h"

/* Fails with an error about the layer's network. */
static poe_status network_refuse(const poei_flow_reader *reader, poe_error *error, poe_status status,
                                 const poe_error *inner) {
  poei_flow_refuse(reader, error, status, "in its network: %s", inner->message);
  if (inner->hint[0] != '\0') {
    poe_error_hint(error, "%s", inner->hint);
  }
  return status;
}

/* Reads the layers into reader->from.graph. */
static poe_status network_read(poei_flow_reader *reader, const poei_shape *input, size_t outputs, poe_error *error) {
  poei_node node = {.op = POEI_OP_INPUT, .attributes.shape = *input};
  poe_error inner = {0};
  reader->from.count = 0;
  poe_status status = poei_graph_add(reader->from.graph, &node, &reader->from.value, &inner);
  if (status == POE_OK) {
    status = poei_layers_from_json(&reader->from, json_object_get(reader->layer, "layers"), &inner);
  }
  if (status != POE_OK) {
    return network_refuse(reader, error, status, &inner);
  }
  size_t count = reader->from.graph->nodes[reader->from.value].shape.count;
  if (count != outputs) {
    char text[160];
    return poei_flow_refuse(reader, error, POE_E_SHAPE,
                            "its network gives %zu numbers for an input %s, but its transform needs %zu", count,
                            poei_shape_text(input->ndim, input->size, text, sizeof text), outputs);
  }
  return POE_OK;
}

poe_status poei_flow_network(poei_flow_reader *reader, const poei_shape *input, size_t outputs, const size_t *owner,
                             size_t *levels, poei_net **net, poe_error *error) {
  if (!json_is_array(json_object_get(reader->layer, "layers"))) {
    return poei_flow_refuse(reader, error, POE_E_FORMAT, "'layers', the list of its network's layers, is missing");
  }
  poe_error inner = {0};
  poe_status status = poei_graph_create(reader->precision, &reader->from.graph, &inner);
  if (status != POE_OK) {
    return poei_flow_no_memory(reader, error);
  }
  poei_graph *graph = reader->from.graph;
  status = network_read(reader, input, outputs, error);
  if (status == POE_OK && levels != NULL) {
    status = poei_dependence_levels(graph, owner, levels, &inner);
    status = status == POE_OK ? POE_OK : network_refuse(reader, error, status, &inner);
  }
  if (status == POE_OK) {
    status = poei_net_compile(graph, net, &inner);
    status = status == POE_OK ? POE_OK : network_refuse(reader, error, status, &inner);
  }
  if (status != POE_OK) {
    poei_graph_destroy(graph);
  }
  reader->from.graph = NULL;
  return status;
}
