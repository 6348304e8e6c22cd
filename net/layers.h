/* Layers: the architecture of a model file as a list, from the file's metadata or from arguments, to a graph. Used by
 * poei_net_load; docs/MODEL-FORMAT.md says what users write. */
#ifndef POE_NET_LAYERS_H
#define POE_NET_LAYERS_H

#include <jansson.h>

#include "net/graph.h"

/* A graph under construction from a file. */
typedef struct poei_layers {
  const poei_tensor_file *file;
  poei_graph *graph;
  poei_value value;    /* output of the layers so far             */
  unsigned char *used; /* [tensors of the file] 1: became a weight */
  size_t count;        /* layers so far, for messages             */
} poei_layers;

/* Adds the tensor of that name to the graph's weights; missing, non-finite and oversized ones are errors. */
poe_status poei_layers_weight(poei_layers *layers, const char *name, int32_t *index, poe_error *error);
/* Adds one operator on layers->value and moves on to its output; `word` is the layer's name in messages. */
poe_status poei_layers_add(poei_layers *layers, const char *word, poei_node *node, poe_error *error);
/* Adds all layers of a JSON array (poe.layers). */
poe_status poei_layers_from_json(poei_layers *layers, const json_t *array, poe_error *error);

/* What the readers of a self-describing file share. */
/* The JSON of a metadata key (json_decref); missing and malformed ones are POE_E_FORMAT. */
poe_status poei_layers_metadata(const poei_tensor_file *file, const char *key, json_t **value, poe_error *error);
/* poe.input. */
poe_status poei_layers_input(const poei_tensor_file *file, poei_shape *shape, poe_error *error);
/* "single" or "double" as given; NULL: double when a tensor of the file is. */
poe_status poei_layers_precision(const poei_tensor_file *file, const char *given, poei_precision *precision,
                                 poe_error *error);
/* POE_E_FORMAT naming the tensors that became no weight. */
poe_status poei_layers_check_used(const poei_layers *layers, poe_error *error);

#endif
