/* Opening the network of an expert or map (experts/network.h). */
#include "experts/network.h"

#include <stdlib.h>
#include <string.h>

#include "experts/family.h"
#include "formats/file_error.h"

static const char *network_text(const poe_args *args, const char *name) {
  const poe_arg *arg = poe_args_find(args, name);
  return arg == NULL ? NULL : arg->text;
}

/* poe.energy_scale of the file, 1 when it has none. */
static poe_status network_scale(const poei_tensor_file *file, double *scale, poe_error *error) {
  const char *text = poei_tensor_file_metadata(file, "poe.energy_scale");
  *scale = 1.0;
  if (text == NULL) {
    return POE_OK;
  }
  char *end;
  *scale = strtod(text, &end);
  if (end == text || *end != '\0' || !isfinite(*scale) || *scale <= 0.0) {
    poei_shown shown;
    return poei_file_error(error, POE_E_FORMAT, poei_tensor_file_path(file), NULL,
                           "poe.energy_scale is '%s', but a positive number is needed",
                           poei_show(&shown, text, strlen(text)));
  }
  return POE_OK;
}

static poe_status network_load(const poe_args *args, const poei_tensor_file *file, size_t in_dim, poei_net **net,
                               poe_error *error) {
  const poe_arg *layers = poe_args_find(args, "layers");
  poei_net_source source = {.file = file,
                            .n_layers = layers == NULL ? 0 : layers->n_texts,
                            .layers = layers == NULL ? NULL : layers->texts,
                            .activation = network_text(args, "activation"),
                            .output_activation = network_text(args, "output_activation"),
                            .precision = network_text(args, "precision"),
                            .in_dim = in_dim};
  return poei_net_load(&source, net, error);
}

poe_status poei_network_file(const poe_args *args, poei_tensor_file **file, poe_error *error) {
  const poe_arg *path = poe_args_find(args, "file"), *description = poe_args_find(args, "description");
  if (path == NULL) {
    return poe_error_set(error, POE_E_USAGE, "`%s` needs `file`", args->kind);
  }
  poei_tensor_file *opened = NULL;
  poe_status status = poei_tensor_file_open(path->text, &opened, error);
  if (status == POE_OK && description != NULL) {
    status = poei_tensor_file_describe(opened, description->text, error);
  }
  if (status != POE_OK) {
    poei_tensor_file_close(opened);
    return status;
  }
  *file = opened;
  return POE_OK;
}

/* Opens `file` and checks that it is of that family. */
static poe_status network_file(const poe_args *args, const char *family, poei_tensor_file **file, poe_error *error) {
  poe_status status = poei_network_file(args, file, error);
  return status == POE_OK ? poei_net_check_family(*file, family, error) : status;
}

/* Closes the file; an error gets the place of the argument that named it. */
static poe_status network_end(const poe_args *args, poei_tensor_file *file, poe_status status, poe_error *error) {
  const poe_arg *path = poe_args_find(args, "file");
  poei_tensor_file_close(file);
  if (status != POE_OK && path != NULL) {
    poe_error_at(error, NULL, path->line, path->column, path->span);
  }
  return poei_family_file_status(status, error);
}

poe_status poei_network_open(const poe_args *args, const char *family, poei_net **net, double *scale,
                             poe_error *error) {
  poei_tensor_file *file = NULL;
  double found = 1.0;
  poe_status status = network_file(args, family, &file, error);
  status = status == POE_OK ? network_scale(file, &found, error) : status;
  status = status == POE_OK ? network_load(args, file, poe_args_dim(args), net, error) : status;
  if (status == POE_OK && scale != NULL) {
    *scale = found;
  }
  return network_end(args, file, status, error);
}

poe_status poei_network_open_classifier(const poe_args *args, size_t in_dim, poei_net **net, poei_heads *heads,
                                        poe_error *error) {
  poei_tensor_file *file = NULL;
  poei_net *loaded = NULL;
  poe_status status = network_file(args, "classifier", &file, error);
  status = status == POE_OK ? network_load(args, file, in_dim, &loaded, error) : status;
  status = status == POE_OK ? poei_heads_read(file, poei_net_out_dim(loaded), heads, error) : status;
  if (status == POE_OK) {
    *net = loaded;
  } else {
    poei_net_release(loaded);
  }
  return network_end(args, file, status, error);
}
