/* `poe info` for a person: tensors, what they are as a model, and what to write. */
#include <string.h>

#include "cli/cli.h"

static const char *print_text(const json_t *object, const char *key) {
  const char *text = json_string_value(json_object_get(object, key));
  return text == NULL ? "" : text;
}

/* "[28, 28]" */
static void print_sizes(FILE *out, const json_t *shape) {
  size_t k;
  json_t *size;
  fputc('[', out);
  json_array_foreach(shape, k, size) {
    fprintf(out, "%s%lld", k > 0 ? ", " : "", (long long)json_integer_value(size));
  }
  fputc(']', out);
}

/* Texts of a list, one a line. */
static void print_lines(FILE *out, const json_t *lines) {
  size_t i;
  json_t *line;
  json_array_foreach(lines, i, line) {
    fprintf(out, "  %s\n", json_string_value(line));
  }
}

/* What the file is as a model, and how to write it. */
static void print_info_model(FILE *out, const json_t *r) {
  if (json_object_get(r, "input_shape") != NULL) {
    fputs("\nfrom ", out);
    print_sizes(out, json_object_get(r, "input_shape"));
    if (json_object_get(r, "output_shape") != NULL) {
      fputs(" to ", out);
      print_sizes(out, json_object_get(r, "output_shape"));
    }
    fputc('\n', out);
  }
  size_t i;
  json_t *head;
  json_array_foreach(json_object_get(r, "heads"), i, head) {
    fprintf(out, "head \"%s\": %s, %lld labels\n", print_text(head, "name"), print_text(head, "kind"),
            (long long)json_integer_value(json_object_get(head, "labels")));
  }
  if (json_object_get(r, "use") != NULL) {
    fputs("\nwrite\n", out);
    print_lines(out, json_object_get(r, "declare"));
    fprintf(out, "  %s\n", print_text(r, "use"));
  }
  if (json_object_get(r, "suggestion") != NULL) {
    fputs("\nsuggestion\n", out);
    print_lines(out, json_object_get(r, "suggestion"));
    if (json_array_size(json_object_get(r, "unnamed")) > 0) {
      fputs("tensors that these lines leave out\n", out);
      print_lines(out, json_object_get(r, "unnamed"));
    }
  }
  if (json_object_get(r, "note") != NULL) {
    fprintf(out, "%s\n", print_text(r, "note"));
  }
  if (json_array_size(json_object_get(r, "missing_ops")) > 0) {
    fputs("\nlayers that poe does not have:\n", out);
    print_lines(out, json_object_get(r, "missing_ops"));
  }
  if (json_object_get(r, "problem") != NULL) {
    fprintf(out, "\nit cannot be opened: %s\n", print_text(r, "problem"));
    fprintf(out, "%s%s%s", json_object_get(r, "hint") == NULL ? "" : "  ", print_text(r, "hint"),
            json_object_get(r, "hint") == NULL ? "" : "\n");
  }
}

void cli_print_info(FILE *out, const json_t *r) {
  fprintf(out, "%s: %s", print_text(r, "file"), print_text(r, "format"));
  if (json_is_string(json_object_get(r, "family"))) {
    fprintf(out, ", family %s", print_text(r, "family"));
  }
  if (json_object_get(r, "rows") != NULL) {
    fprintf(out, ", %lld rows of %lld numbers", (long long)json_integer_value(json_object_get(r, "rows")),
            (long long)json_integer_value(json_object_get(r, "columns")));
  } else if (json_object_get(r, "parameters") != NULL) {
    fprintf(out, ", %lld parameters", (long long)json_integer_value(json_object_get(r, "parameters")));
  }
  if (json_object_get(r, "bytes") != NULL) {
    fprintf(out, ", %lld bytes of tensors", (long long)json_integer_value(json_object_get(r, "bytes")));
  }
  fputc('\n', out);
  size_t i;
  json_t *tensor;
  json_array_foreach(json_object_get(r, "tensors"), i, tensor) {
    fprintf(out, "  %-28s %-5s ", print_text(tensor, "name"), print_text(tensor, "dtype"));
    print_sizes(out, json_object_get(tensor, "shape"));
    fputc('\n', out);
  }
  const char *key;
  json_t *value;
  json_object_foreach(json_object_get(r, "metadata"), key, value) {
    fprintf(out, "  %s: %s\n", key, json_string_value(value));
  }
  print_info_model(out, r);
}
