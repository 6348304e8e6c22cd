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

#endif
