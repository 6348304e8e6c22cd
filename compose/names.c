/* Coordinates and directions in words (names.h). */
#include "compose/names.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>

const char *poei_names_text(const poei_names *names, size_t coordinate, char *text, size_t size) {
  if (names != NULL && names->text != NULL) {
    return names->text(names->context, coordinate, text, size);
  }
  snprintf(text, size, "coordinate %zu", coordinate);
  return text;
}

enum { DIRECTION_TERMS = 4 };

/* The largest entry of v[dim] that is smaller than the one at `before` (ties in order); dim when there is none. */
static size_t next_entry(size_t dim, const double *v, size_t before) {
  size_t next = dim;
  for (size_t j = 0; j < dim; j++) {
    bool after = before == dim || fabs(v[j]) < fabs(v[before]) || (fabs(v[j]) == fabs(v[before]) && j > before);
    if (after && (next == dim || fabs(v[j]) > fabs(v[next]))) {
      next = j;
    }
  }
  return next;
}

const char *poei_direction_text(const poei_names *names, size_t dim, const double *v, char *text, size_t size) {
  bool named = names != NULL && names->text != NULL;
  char name[POEI_NAME_SIZE];
  double norm = 0.0;
  for (size_t j = 0; j < dim; j++) {
    norm = hypot(norm, v[j]);
  }
  size_t at = next_entry(dim, v, dim);
  double sign = at < dim && v[at] < 0.0 ? -1.0 : 1.0;
  if (at == dim || norm - fabs(v[at]) < 1e-6 * norm) {
    return poei_names_text(names, at == dim ? 0 : at, text, size);
  }
  int used = 0;
  for (size_t k = 0; at < dim && (k == 0 || fabs(v[at]) >= 5e-3 * norm) && used >= 0 && (size_t)used < size; k++) {
    double entry = sign * v[at] / norm;
    if (k == DIRECTION_TERMS) {
      snprintf(text + used, size - (size_t)used, " + ...");
      break;
    }
    const char *joint = k == 0 ? "" : entry < 0.0 ? " - " : " + ";
    poei_names_text(names, at, name, sizeof name);
    used += snprintf(text + used, size - (size_t)used, named ? "%s%.2g*%s" : "%s%.2g*(%s)", joint, fabs(entry), name);
    at = next_entry(dim, v, at);
  }
  return text;
}
