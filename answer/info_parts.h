/* The parts of `poe info`: tensors (info.c), what their description makes of them (info_model.c), and what a state dict
 * without one looks like (info_bare.c). Inside answer/ only. */
#ifndef POE_ANSWER_INFO_PARTS_H
#define POE_ANSWER_INFO_PARTS_H

#include <jansson.h>

#include "formats/tensor_file.h"

/* A file with poe.family, `path` and `description` (NULL: none) as the user wrote them. Sets in `result`: declare
 * (lines of the language), use (one more), input_shape, output_shape, parameters, missing_ops; `problem` and `hint`
 * where the model cannot be opened as it is. */
poe_status poei_info_model(const poei_tensor_file *file, const char *path, const char *description, json_t *result,
                           poe_error *error);
/* The same as if the file said that family; its variables are taken from the tensors: gmm, rbm, dbm. */
poe_status poei_info_family(const poei_tensor_file *file, const char *family, const char *path, const char *description,
                            json_t *result, poe_error *error);

/* A file without: `suggestion`, lines of the language to start from, or of a description's poe.layers with `unnamed`,
 * the tensors that they leave out, and `note`. */
poe_status poei_info_bare(const poei_tensor_file *file, const char *path, json_t *result, poe_error *error);

/* Numbers in tensors of floating type, masks that poe.layers names left out. */
size_t poei_info_parameters(const poei_tensor_file *file);

#endif
