/* Arguments and files of layered Boltzmann machines (boltzmann_read.h).
 *
 * A file's tensors become arguments of the same names, so that both are checked by the same lines. Orientation:
 * weight[visible, hidden]; PyTorch's Linear has it the other way round, which is recognised where the sizes tell.
 */
#include "experts/boltzmann_read.h"

#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "experts/family.h"
#include "formats/tensor_file.h"
#include "net/net.h"

enum { MAX_ARGS = 2 * POEI_BOLTZMANN_LAYERS };

/* The arguments wherever they came from. */
typedef struct source {
  poe_args args;         /* kind and subjects of the user's, arguments below */
  poe_arg arg[MAX_ARGS]; /* weights, biases, sd                              */
  double *numbers;       /* of a file, NULL otherwise                        */
  const poe_arg *file;   /* NULL when the numbers were given                 */
  size_t layers;         /* the visible one included                         */
} source;

static void source_add(source *from, const char *name, const poe_arg *arg) {
  poe_arg *own = &from->arg[from->args.n_args++];
  *own = *arg;
  own->name = name;
}

/* ---- the file ---- */

/* How many hidden layers the file's own names (names NULL) or the list of names speaks of. */
static poe_status file_layers(const poei_boltzmann_names *names, const poei_tensor_file *file, const poe_arg *tensors,
                              size_t *hidden, bool *sd, poe_error *error) {
  *hidden = 0;
  *sd = false;
  if (tensors != NULL) {
    *hidden = (tensors->n_texts > 0 ? tensors->n_texts - 1 : 0) / 2;
    *sd = names->gaussian && tensors->n_texts == 2 * *hidden + 2;
    if (*hidden >= names->least && *hidden <= names->most && (tensors->n_texts % 2 == 1 || *sd)) {
      return POE_OK;
    }
    poe_args_error(tensors, error, POE_E_USAGE, "`tensors` has %zu names, but there must be %s", tensors->n_texts,
                   names->most == 1 ? "three or four: those of W, b, c and sd"
                                    : "one for each of W1, W2, ..., then b, c1, c2, ...");
    return POE_E_USAGE;
  }
  while (*hidden < names->most && poei_tensor_file_find(file, names->weight[*hidden]) != NULL) {
    (*hidden)++;
  }
  *hidden = *hidden < names->least ? names->least : *hidden; /* what is missing is then asked for by name */
  *sd = names->gaussian && poei_tensor_file_find(file, "sd") != NULL;
  return POE_OK;
}

/* The i-th number array of `hidden` layers: weights, then biases, then sd. */
static const char *array_name(const poei_boltzmann_names *names, size_t hidden, size_t i) {
  return i < hidden ? names->weight[i] : i <= 2 * hidden ? names->bias[i - hidden] : "sd";
}

/* The tensors of a file as arguments, at the place of `file`. */
static poe_status file_arguments(const poe_args *args, const poei_boltzmann_names *names, const poei_tensor_file *file,
                                 source *from, poe_error *error) {
  const poe_arg *list = poe_args_find(args, "tensors"), *sd_given = poe_args_find(args, "sd");
  size_t hidden = 0, total = 0;
  bool sd = false;
  poe_status status = file_layers(names, file, list, &hidden, &sd, error);
  size_t n = 2 * hidden + 1 + (sd && sd_given == NULL ? 1 : 0);
  const poei_tensor *tensor[MAX_ARGS];
  for (size_t i = 0; i < n && status == POE_OK; i++) {
    const char *name = list != NULL ? list->texts[i] : array_name(names, hidden, i);
    status = poei_tensor_file_require(file, name, &tensor[i], error);
    if (status != POE_OK) {
      poe_error_at(error, NULL, from->file->line, from->file->column, from->file->span);
    } else if (!poei_add_size(total, tensor[i]->count, &total)) {
      status = poei_family_memory(args->kind, error);
    }
  }
  if (status != POE_OK) {
    return status;
  }
  from->numbers = poei_alloc(total, sizeof *from->numbers);
  if (from->numbers == NULL) {
    return poei_family_memory(args->kind, error);
  }
  double *next = from->numbers;
  for (size_t i = 0; i < n; i++) {
    poe_arg arg = {.type = POE_ARG_REAL, .ndim = tensor[i]->ndim, .real = next};
    arg.line = from->file->line;
    arg.column = from->file->column;
    arg.span = from->file->span;
    memcpy(arg.shape, tensor[i]->shape, tensor[i]->ndim * sizeof arg.shape[0]);
    poei_tensor_to_double(tensor[i], next);
    next += tensor[i]->count;
    source_add(from, array_name(names, hidden, i), &arg);
  }
  from->layers = hidden + 1;
  return POE_OK;
}

static poe_status read_file(const poe_args *args, const poei_boltzmann_names *names, source *from, poe_error *error) {
  for (size_t i = 0; i < args->n_args; i++) {
    const char *name = args->args[i].name;
    if (strcmp(name, "file") != 0 && strcmp(name, "tensors") != 0 && strcmp(name, "sd") != 0) {
      return poe_args_error(&args->args[i], error, POE_E_USAGE, "`%s` takes either a file or numbers, not both",
                            args->kind);
    }
  }
  poei_tensor_file *file = NULL;
  poe_status status = poei_tensor_file_open(from->file->text, &file, error);
  if (status == POE_OK) {
    status = poei_net_check_family(file, args->kind, error);
  }
  if (status == POE_OK) {
    status = file_arguments(args, names, file, from, error);
  }
  poei_tensor_file_close(file);
  return status;
}

/* The arguments as given: as many layers as there are weights. */
static poe_status read_numbers(const poe_args *args, const poei_boltzmann_names *names, source *from,
                               poe_error *error) {
  if (poe_args_find(args, "tensors") != NULL) {
    return poe_args_error(poe_args_find(args, "tensors"), error, POE_E_USAGE, "`tensors` of `%s` needs `file`",
                          args->kind);
  }
  size_t hidden = 0;
  while (hidden < names->most && poe_args_find(args, names->weight[hidden]) != NULL) {
    source_add(from, names->weight[hidden], poe_args_find(args, names->weight[hidden]));
    hidden++;
  }
  if (hidden == 0) {
    return poe_error_set(error, POE_E_USAGE, "`%s` needs `file` or `%s`", args->kind, names->weight[0]);
  }
  if (hidden < names->least) {
    poe_error_set(error, POE_E_USAGE, "`%s` needs `%s`: it has %zu hidden layers or more", args->kind,
                  names->weight[hidden], names->least);
    poe_error_hint(error, "with one hidden layer it is an `rbm`");
    return POE_E_USAGE;
  }
  for (size_t l = 0; l <= names->most; l++) {
    const poe_arg *bias = poe_args_find(args, names->bias[l]);
    const poe_arg *weight = l < names->most ? poe_args_find(args, names->weight[l]) : NULL;
    if (bias != NULL && l <= hidden) {
      source_add(from, names->bias[l], bias);
    } else if (bias != NULL || (weight != NULL && l >= hidden)) {
      return poe_args_error(bias != NULL ? bias : weight, error, POE_E_USAGE,
                            "`%s` of `%s` belongs to a layer beyond `%s`",
                            bias != NULL ? names->bias[l] : names->weight[l], args->kind, names->weight[hidden - 1]);
    }
  }
  from->layers = hidden + 1;
  return POE_OK;
}

/* ---- subjects ---- */

static poe_status need_binary(const poe_args *args, const poe_subject *subject, poe_error *error) {
  for (size_t j = 0; j < subject->dim; j++) {
    const poe_support *s = &subject->support[j];
    if (s->kind != POE_DISCRETE || s->low != 0.0 || s->high != 1.0) {
      poe_error_set(error, POE_E_TYPE, "the units of `%s` are binary, but `%s` is not", args->kind, subject->name);
      poe_error_hint(error, "declare `%s` as binary", subject->name);
      return POE_E_TYPE;
    }
  }
  return POE_OK;
}

/* One subject, or one for each layer; all binary, or the visible one real. */
static poe_status check_subjects(const poe_args *args, const poei_boltzmann_names *names, size_t layers, bool *gaussian,
                                 poe_error *error) {
  if (poe_args_dim(args) == 0) {
    return poe_error_set(error, POE_E_USAGE, "`%s` needs a variable before the bar", args->kind);
  }
  if (args->n_subjects != 1 && args->n_subjects != layers) {
    poe_error_set(error, POE_E_SHAPE, "`%s` has %zu layers, but there are %zu variables before the bar", args->kind,
                  layers, args->n_subjects);
    poe_error_hint(error, "name the visible variable alone (the hidden units are summed out), or one for each layer");
    return POE_E_SHAPE;
  }
  const poe_subject *visible = &args->subjects[0];
  size_t real = 0;
  for (size_t j = 0; j < visible->dim; j++) {
    real += visible->support[j].kind != POE_DISCRETE;
  }
  *gaussian = names->gaussian && real == visible->dim;
  poe_status status = *gaussian ? POE_OK : need_binary(args, visible, error);
  if (status != POE_OK && names->gaussian) {
    poe_error_hint(error, "declare `%s` as binary, or as real for Gaussian visible units", visible->name);
  }
  for (size_t i = 1; i < args->n_subjects && status == POE_OK; i++) {
    status = need_binary(args, &args->subjects[i], error);
  }
  const poe_arg *sd = poe_args_find(args, "sd");
  if (status == POE_OK && sd != NULL && !*gaussian) {
    status = poe_args_error(sd, error, POE_E_USAGE, "`sd` is for real variables, but `%s` is binary", visible->name);
  }
  return status;
}

/* ---- numbers ---- */

/* What is wrong with numbers of a file is the file's fault (exit code 3), with a hint where they came from unless there
 * is a better one. `sd` may be an argument beside a file: then its place is another. */
static poe_status blame(const source *from, poe_status status, poe_error *error) {
  if (status == POE_OK || from->file == NULL || error == NULL || error->line != from->file->line ||
      error->column != from->file->column) {
    return status;
  }
  if (error->hint[0] == '\0') {
    poe_error_hint(error, "read from %s", from->file->text);
  }
  error->status = status == POE_E_SHAPE || status == POE_E_DOMAIN ? POE_E_FORMAT : status;
  return error->status;
}

/* size[layers] from the weights' shapes; they must chain from the visible units on, and fit the subjects. */
static poe_status read_sizes(const source *from, const poei_boltzmann_names *names, size_t *size, poe_error *error) {
  const poe_args *args = &from->args;
  size[0] = args->subjects[0].dim;
  for (size_t l = 0; l + 1 < from->layers; l++) {
    const poe_arg *arg = poe_args_find(args, names->weight[l]);
    size_t wanted = args->n_subjects > 1 ? args->subjects[l + 1].dim : 0;
    bool matrix = arg->ndim == 2, any = wanted == 0 && matrix && arg->shape[1] > 0;
    if (matrix && arg->shape[0] == size[l] && (any || arg->shape[1] == wanted)) {
      size[l + 1] = arg->shape[1];
      continue;
    }
    char shape[160], columns[32] = "hidden";
    if (wanted > 0) {
      snprintf(columns, sizeof columns, "%zu", wanted);
    }
    poe_args_error(arg, error, POE_E_SHAPE, "`%s` of `%s` has shape %s, but [%zu, %s] is needed", names->weight[l],
                   args->kind, poei_shape_text(arg->ndim, arg->shape, shape, sizeof shape), size[l], columns);
    if (matrix && arg->shape[1] == size[l] && (wanted == 0 || arg->shape[0] == wanted)) {
      poe_error_hint(error, "it looks transposed, as the weight of torch.nn.Linear is: save `%s.T`, [visible, hidden]",
                     names->weight[l]);
    }
    return blame(from, POE_E_SHAPE, error);
  }
  return POE_OK;
}

static poe_status read_biases(const source *from, const poei_boltzmann_names *names, poei_boltzmann *m,
                              poe_error *error) {
  const poe_args *args = &from->args;
  for (size_t l = 0; l < m->layers; l++) {
    poe_status status = poe_args_real(args, names->bias[l], 1, &m->size[l], 0.0, false, m->bias + m->start[l], error);
    const poe_arg *arg = poe_args_find(args, names->bias[l]);
    if (status == POE_E_SHAPE && m->layers == 2 && arg->ndim > 0 && arg->shape[arg->ndim - 1] == m->size[1 - l]) {
      poe_error_hint(error, "`%s` is the bias of the visible units, `%s` that of the hidden ones: they look swapped",
                     names->bias[0], names->bias[1]);
    }
    if (status != POE_OK) {
      return blame(from, status, error);
    }
  }
  return POE_OK;
}

/* scale[size 0] = 1 / sd, and the weights divided by the variances. */
static poe_status read_sd(const source *from, poei_boltzmann *m, poe_error *error) {
  poe_status status = poe_args_real(&from->args, "sd", 1, &m->size[0], 1.0, false, m->scale, error);
  if (status == POE_OK) {
    status = poei_family_positive(&from->args, "sd", m->size[0], m->scale, error);
  }
  for (size_t i = 0; i < m->size[0] && status == POE_OK; i++) {
    m->scale[i] = 1.0 / m->scale[i];
    for (size_t j = 0; j < m->size[1]; j++) {
      m->weight[0][i * m->size[1] + j] *= m->scale[i] * m->scale[i];
    }
  }
  return blame(from, status, error);
}

static poe_status build(const source *from, const poei_boltzmann_names *names, bool gaussian, poei_boltzmann **out,
                        poe_error *error) {
  size_t size[POEI_BOLTZMANN_LAYERS];
  poe_status status = read_sizes(from, names, size, error);
  if (status != POE_OK) {
    return status;
  }
  poei_boltzmann *m = poei_boltzmann_alloc(from->args.kind, from->layers, size, gaussian, from->args.n_subjects > 1);
  if (m == NULL) {
    return poei_family_memory(from->args.kind, error);
  }
  for (size_t l = 0; l + 1 < m->layers && status == POE_OK; l++) {
    status =
        blame(from, poe_args_real(&from->args, names->weight[l], 2, &size[l], 0.0, false, m->weight[l], error), error);
  }
  if (status == POE_OK) {
    status = read_biases(from, names, m, error);
  }
  if (status == POE_OK && gaussian) {
    status = read_sd(from, m, error);
  }
  if (status == POE_OK) {
    status = blame(from, poei_boltzmann_finish(m, error), error);
  }
  if (status != POE_OK) {
    poei_boltzmann_destroy(m);
    return status;
  }
  *out = m;
  return POE_OK;
}

poe_status poei_boltzmann_read(const poe_args *args, const poei_boltzmann_names *names, poei_boltzmann **out,
                               poe_error *error) {
  source from = {.args = {args->kind, args->n_subjects, args->subjects, 0, NULL}, .file = poe_args_find(args, "file")};
  from.args.args = from.arg;
  bool gaussian = false;
  poe_status status =
      from.file != NULL ? read_file(args, names, &from, error) : read_numbers(args, names, &from, error);
  if (status == POE_OK && poe_args_find(args, "sd") != NULL) {
    source_add(&from, "sd", poe_args_find(args, "sd"));
  }
  if (status == POE_OK) {
    status = check_subjects(args, names, from.layers, &gaussian, error);
  }
  if (status == POE_OK) {
    status = build(&from, names, gaussian, out, error);
  }
  poei_free(from.numbers);
  return status;
}
