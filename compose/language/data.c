/* data("file.npz", "key"): numbers from a file, as a constant. Also where paths of a program are resolved and recorded.
 *
 * npy, npz, safetensors (by their first bytes) and csv (by name). A file is read once per program and key.
 */
#include <math.h>
#include <string.h>

#include "compose/language/program_parts.h"
#include "core/alloc.h"
#include "formats/tensor_file.h"
#include "formats/text_file.h"

const char *poei_resolve_path(poei_region *region, const poei_source *source, const char *path) {
  if (path[0] == '/' || !source || !source->anchor[0]) {
    return path;
  }
  return poei_region_format(region, "%s/%s", source->anchor, path);
}

bool poei_program_read(poei_checker *checker, const char *path) {
  poei_program *program = checker->program;
  for (size_t i = 0; i < program->n_files; i++) {
    if (strcmp(program->files[i], path) == 0) {
      return true;
    }
  }
  const char **files =
      poei_region_grow(&program->region, program->files, program->n_files, &program->file_capacity, sizeof *files);
  if (!files) {
    return false;
  }
  program->files = files;
  files[program->n_files++] = path;
  return true;
}

static bool numbers_of_tensor(poei_checker *checker, const poei_tensor *tensor, poei_value *value) {
  *value = (poei_value){.sort = POEI_SORT_NUMBERS, .ndim = tensor->ndim, .n = tensor->count};
  memcpy(value->shape, tensor->shape, tensor->ndim * sizeof *tensor->shape);
  double *number = poei_region_take(&checker->program->region, tensor->count, sizeof *number);
  if (!number) {
    return false;
  }
  poei_tensor_to_double(tensor, number);
  value->number = number;
  return true;
}

static bool read_tensor(poei_checker *checker, const poei_syntax *call, const char *path, const char *key,
                        poei_value *value) {
  poe_error error = {0};
  poei_tensor_file *file = NULL;
  if (poei_tensor_file_open(path, &file, &error) != POE_OK) {
    return poei_report_at(checker, call->items[0]->span, &error);
  }
  const poei_tensor *tensor = NULL;
  bool ok = true;
  if (!key && poei_tensor_file_count(file) == 1) {
    tensor = poei_tensor_file_at(file, 0);
  } else if (!key) {
    poei_report(&checker->reader, POE_E_USAGE, call->span, "name one: data(\"file.npz\", \"key\")",
                "'%s' holds %zu arrays", path, poei_tensor_file_count(file));
    ok = false;
  } else if (poei_tensor_file_require(file, key, &tensor, &error) != POE_OK) {
    ok = poei_report_at(checker, call->items[1]->span, &error);
  }
  ok = ok && numbers_of_tensor(checker, tensor, value);
  poei_tensor_file_close(file);
  return ok;
}

static bool read_csv(poei_checker *checker, const poei_syntax *call, const char *path, poei_value *value) {
  poe_error error = {0};
  poei_csv csv = {0};
  if (poei_csv_read(path, &csv, &error) != POE_OK) {
    return poei_report_at(checker, call->items[0]->span, &error);
  }
  *value = (poei_value){.sort = POEI_SORT_NUMBERS,
                        .ndim = csv.columns == 1 ? 1 : 2,
                        .shape = {csv.rows, csv.columns},
                        .n = csv.rows * csv.columns};
  value->number = poei_region_copy(&checker->program->region, csv.values, value->n, sizeof *value->number);
  poei_csv_free(&csv);
  return value->number != NULL;
}

static bool read_texts(poei_checker *checker, const poei_scope *scope, const poei_syntax *call, poei_value texts[2]) {
  if (call->bar || call->n < 1 || call->n > 2) {
    return poei_report(&checker->reader, POE_E_USAGE, call->span, NULL,
                       "data takes a file and the name of an array in it: data(\"file.npz\", \"key\")");
  }
  for (size_t i = 0; i < call->n; i++) {
    const poei_syntax *item = call->items[i];
    if (item->kind == POEI_SYNTAX_ARGUMENT || item->kind == POEI_SYNTAX_EACH) {
      return poei_report(&checker->reader, POE_E_SYNTAX, item->span, NULL, "data takes two texts");
    }
    if (!poei_evaluate(checker, scope, item, POEI_WANT_ANY, &texts[i])) {
      return false;
    }
    if (texts[i].sort != POEI_SORT_TEXT) {
      return poei_report(&checker->reader, POE_E_TYPE, item->span, NULL, "%s is needed here, this is %s",
                         i == 0 ? "the path of a file, in quotes," : "the name of an array, in quotes,",
                         poei_sort_text(&texts[i]));
    }
  }
  return true;
}

bool poei_call_data(poei_checker *checker, const poei_scope *scope, const poei_syntax *call, poei_value *value) {
  poei_program *program = checker->program;
  poei_value texts[2] = {{0}};
  if (!read_texts(checker, scope, call, texts)) {
    return false;
  }
  const char *path = poei_resolve_path(&program->region, texts[0].in, texts[0].text);
  const char *key = call->n == 2 ? texts[1].text : NULL;
  if (!path) {
    return false;
  }
  for (const poei_data *data = program->data; data; data = data->next) {
    if (strcmp(data->path, path) == 0 && (key ? data->key && strcmp(data->key, key) == 0 : !data->key)) {
      *value = data->value;
      return true;
    }
  }
  size_t length = strlen(path);
  bool csv = length > 4 && strcmp(path + length - 4, ".csv") == 0 && !key;
  if (!(csv ? read_csv(checker, call, path, value) : read_tensor(checker, call, path, key, value)) ||
      !poei_program_read(checker, path)) {
    return false;
  }
  poei_data *data = poei_region_take(&program->region, 1, sizeof *data);
  if (!data) {
    return false;
  }
  *data = (poei_data){.path = path, .key = key, .value = *value, .next = program->data};
  program->data = data;
  return true;
}
