/* Opening the network of an expert or map (experts/network.h). */
#include "experts/network.h"

#include <stdlib.h>
#include <string.h>

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

static poe_status network_load(const poe_args *args, const poei_tensor_file *file, poei_net **net, poe_error *error) {
  const poe_arg *layers = poe_args_find(args, "layers");
  poei_net_source source = {.file = file,
                            .n_layers = layers == NULL ? 0 : layers->n_texts,
                            .layers = layers == NULL ? NULL : layers->texts,
                            .activation = network_text(args, "activation"),
                            .output_activation = network_text(args, "output_activation"),
                            .precision = network_text(args, "precision"),
                            .in_dim = poe_args_dim(args)};
  return poei_net_load(&source, net, error);
}

poe_status poei_network_open(const poe_args *args, const char *family, poei_net **net, double *scale,
                             poe_error *error) {
  const poe_arg *path = poe_args_find(args, "file");
  if (path == NULL) {
    return poe_error_set(error, POE_E_USAGE, "`%s` needs `file`", args->kind);
  }
  poei_tensor_file *file = NULL;
  double found = 1.0;
  poe_status status = poei_tensor_file_open(path->text, &file, error);
  if (status == POE_OK) {
    status = poei_net_check_family(file, family, error);
  }
  if (status == POE_OK) {
    status = network_scale(file, &found, error);
  }
  if (status == POE_OK) {
    status = network_load(args, file, net, error);
  }
  if (status == POE_OK && scale != NULL) {
    *scale = found;
  }
  poei_tensor_file_close(file);
  if (status != POE_OK) {
    poe_error_at(error, NULL, path->line, path->column, path->span);
  }
  return status;
}
