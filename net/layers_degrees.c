/* Masks of autoencoders from the degrees of their units (net/layers.h): Germain, Gregor, Murray and Larochelle 2015.
 *
 * poe.degrees is a list of lists: the degrees of the inputs, that is the place of each coordinate in the order, then
 * those of every hidden layer. A weight of a hidden layer stays where the unit's degree is at least that of what it
 * reads (equation 12), one of the last layer where the coordinate's is larger (equation 13); the others become 0. */
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "formats/file_error.h"
#include "net/layers.h"

poe_status poei_layers_degrees(poei_layers *layers, poe_error *error) {
  const char *path = poei_tensor_file_path(layers->file);
  if (poei_tensor_file_metadata(layers->file, "poe.degrees") == NULL) {
    return POE_OK;
  }
  poe_status status = poei_layers_metadata(layers->file, "poe.degrees", &layers->degrees, error);
  if (status == POE_OK && (!json_is_array(layers->degrees) || json_array_size(layers->degrees) == 0)) {
    return poei_file_error(error, POE_E_FORMAT, path, NULL, "poe.degrees is not a list of lists of numbers");
  }
  json_t *output = NULL;
  if (status == POE_OK && poei_tensor_file_metadata(layers->file, "poe.output") != NULL) {
    status = poei_layers_metadata(layers->file, "poe.output", &output, error);
    const char *layout = json_string_value(json_object_get(output, "layout"));
    layers->interleaved = layout != NULL && strcmp(layout, "interleaved") == 0;
    json_decref(output);
  }
  return status;
}

/* List i of poe.degrees, numbers or the name of a tensor of them, into degree[count]. */
static poe_status degrees_read(poei_layers *layers, size_t i, size_t count, double *degree, poe_error *error) {
  const char *path = poei_tensor_file_path(layers->file);
  const json_t *list = json_array_get(layers->degrees, i);
  const poei_tensor *tensor = NULL;
  if (json_is_string(list)) {
    poe_status status = poei_tensor_file_require(layers->file, json_string_value(list), &tensor, error);
    if (status != POE_OK) {
      return status;
    }
    poei_layers_mark(layers, tensor);
  }
  size_t given = tensor != NULL ? tensor->count : json_array_size(list);
  if (given != count) {
    return poei_file_error(error, POE_E_SHAPE, path, NULL,
                           "list %zu of poe.degrees has %zu numbers, but %zu are needed", i, given, count);
  }
  if (tensor != NULL) {
    poei_tensor_to_double(tensor, degree);
  }
  for (size_t k = 0; k < count; k++) {
    const json_t *number = tensor == NULL ? json_array_get(list, k) : NULL;
    degree[k] = tensor == NULL ? json_number_value(number) : degree[k];
    if ((tensor == NULL && !json_is_number(number)) || !isfinite(degree[k])) {
      return poei_file_error(error, POE_E_FORMAT, path, NULL, "number %zu of list %zu of poe.degrees is none", k, i);
    }
  }
  return POE_OK;
}

/* out[n] of the last layer: the degree of the coordinate that each number is a parameter of. */
static poe_status degrees_of_outputs(poei_layers *layers, size_t n, double *out, poe_error *error) {
  size_t d = layers->graph->nodes[0].shape.count;
  if (n % d != 0) {
    return poei_file_error(error, POE_E_SHAPE, poei_tensor_file_path(layers->file), NULL,
                           "the last linear layer gives %zu numbers, which are not as many for each of %zu coordinates",
                           n, d);
  }
  poe_status status = degrees_read(layers, 0, d, out, error); /* then each to its places, the last first */
  for (size_t k = n; status == POE_OK && layers->interleaved && k-- > 0;) {
    out[k] = out[k / (n / d)];
  }
  for (size_t k = d; status == POE_OK && !layers->interleaved && k < n; k++) {
    out[k] = out[k % d];
  }
  return status;
}

poe_status poei_layers_degrees_mask(poei_layers *layers, const poei_node *node, poe_error *error) {
  if (layers->degrees == NULL) {
    return POE_OK;
  }
  const char *path = poei_tensor_file_path(layers->file);
  poei_weight *w = &layers->graph->weights[node->weights[0]];
  size_t i = layers->linears++, n = json_array_size(layers->degrees);
  if (i >= n || w->shape.ndim != 2) {
    return poei_file_error(error, POE_E_FORMAT, path, i >= n ? NULL : w->name,
                           i >= n ? "poe.degrees has %zu lists, one for each linear layer, but there are more layers"
                                  : "this weight of a layer that poe.degrees masks (of %zu) is no matrix",
                           n);
  }
  size_t rows = w->shape.size[0], columns = w->shape.size[1];
  double *in = poei_alloc(columns, sizeof *in), *out = poei_alloc(rows, sizeof *out);
  poe_status status =
      in == NULL || out == NULL ? poei_file_memory_error(error, path) : degrees_read(layers, i, columns, in, error);
  bool last = i + 1 == n;
  if (status == POE_OK) {
    status = last ? degrees_of_outputs(layers, rows, out, error) : degrees_read(layers, i + 1, rows, out, error);
  }
  for (size_t k = 0; status == POE_OK && k < rows * columns; k++) {
    double to = out[k / columns], from = in[k % columns];
    if (last ? to > from : to >= from) {
      continue;
    }
    if (layers->graph->precision == POEI_FLOAT32) {
      ((float *)w->data)[k] = 0.0f;
    } else {
      ((double *)w->data)[k] = 0.0;
    }
  }
  poei_free(in);
  poei_free(out);
  return status;
}

poe_status poei_layers_degrees_end(poei_layers *layers, poe_error *error) {
  size_t n = json_array_size(layers->degrees); /* 0 where there are none */
  return n == layers->linears || layers->degrees == NULL
             ? POE_OK
             : poei_file_error(error, POE_E_FORMAT, poei_tensor_file_path(layers->file), NULL,
                               "poe.degrees has %zu lists, one for each linear layer, but there are %zu layers", n,
                               layers->linears);
}
