/* Means and standard deviations of continuous coordinates, for a person: one line each. */
#include <string.h>

#include "cli/cli.h"

enum { MOST_LINES = 40 };

/* Nested lists of one shape, as lines "h[2, 0]  mean  sd"; *lines: how many there were, of which the first are printed.
 */
static void print_nested(FILE *out, const char *name, const json_t *mean, const json_t *sd, size_t *lines) {
  if (json_is_null(mean)) {
    return;
  }
  if (!json_is_array(mean)) {
    if ((*lines)++ < MOST_LINES) {
      fprintf(out, "%-10s %12.6g %12.6g\n", name, json_number_value(mean), json_number_value(sd));
    }
    return;
  }
  size_t i, length = strlen(name);
  bool nested = length > 0 && name[length - 1] == ']';
  json_t *item;
  json_array_foreach(mean, i, item) {
    char longer[160];
    snprintf(longer, sizeof longer, "%.*s%s%zu]", (int)(nested ? length - 1 : length), name, nested ? ", " : "[", i);
    print_nested(out, longer, item, json_array_get(sd, i), lines);
  }
}

void cli_print_moments(FILE *out, const json_t *moments) {
  if (moments == NULL) {
    return;
  }
  const char *name;
  json_t *item;
  size_t lines = 0;
  if (json_object_size(moments) > 0) {
    fprintf(out, "%-10s %12s %12s\n", "", "mean", "sd");
  }
  json_object_foreach((json_t *)moments, name, item) {
    print_nested(out, name, json_object_get(item, "mean"), json_object_get(item, "sd"), &lines);
  }
  if (lines > MOST_LINES) {
    fprintf(out, "... and %zu more coordinates (--json prints all)\n", lines - MOST_LINES);
  }
}
