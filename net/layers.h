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
  bool integers;       /* the input may be looked up in a table: it is a discrete variable */
  json_t *degrees;     /* poe.degrees or NULL, of the caller      */
  size_t linears;      /* linear layers so far                    */
  bool interleaved;    /* how the last layer's numbers stand      */
} poei_layers;

/* Adds the tensor of that name to the graph's weights; missing, non-finite and oversized ones are errors. */
poe_status poei_layers_weight(poei_layers *layers, const char *name, int32_t *index, poe_error *error);
/* Adds one operator on layers->value and moves on to its output; `word` is the layer's name in messages. */
poe_status poei_layers_add(poei_layers *layers, const char *word, poei_node *node, poe_error *error);
/* Adds all layers of a JSON array (poe.layers). */
poe_status poei_layers_from_json(poei_layers *layers, const json_t *array, poe_error *error);

/* Adds a layer over sequences of that word (net/layers_sequence.c): shift, gru, lstm, nade. */
poe_status poei_layers_sequence(poei_layers *layers, const char *word, const json_t *layer, poe_error *error);
bool poei_layers_is_sequence(const char *word);
/* Marks a tensor as used. */
void poei_layers_mark(poei_layers *layers, const poei_tensor *tensor);

/* Masks from the degrees of units (net/layers_degrees.c). Reads poe.degrees, where the file has it. */
poe_status poei_layers_degrees(poei_layers *layers, poe_error *error);
/* Sets weights of a linear layer to 0 by them; nothing where there are none. */
poe_status poei_layers_degrees_mask(poei_layers *layers, const poei_node *node, poe_error *error);
/* As many lists as linear layers. */
poe_status poei_layers_degrees_end(poei_layers *layers, poe_error *error);

/* An error about the layer that is read, which it names by number and word. */
#if defined(__GNUC__)
__attribute__((format(printf, 5, 6)))
#endif
poe_status
poei_layers_error(const poei_layers *layers, const char *word, poe_error *error, poe_status status, const char *format,
                  ...);

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
