/* The option clamp: coordinates of a target that are given values, in the words of the language.
 *
 * "x[3] = 1, y = [0, 2]" makes the target `(target) given (x[3] = 1, y = [0, 2])`; "x[0:2] = points.csv" (for minimize)
 * names the coordinates that take the values of each row of a file. Both may stand together, separated by commas.
 */
#include "answer/clamp.h"

#include <math.h>
#include <string.h>

#include "core/alloc.h"

/* The first '=' that is not inside brackets, NULL when there is none. */
static const char *equals_of(const char *text) {
  int depth = 0;
  for (; *text != '\0'; text++) {
    depth += (*text == '[' || *text == '(') - (*text == ']' || *text == ')');
    if (*text == '=' && depth == 0) {
      return text;
    }
  }
  return NULL;
}

static bool ends_with(const char *text, const char *ending) {
  size_t n = strlen(text), m = strlen(ending);
  return n >= m && strcmp(text + n - m, ending) == 0;
}

static poe_status malformed(const char *text, poe_error *error) {
  poe_error_set(error, POE_E_USAGE, "--clamp takes variable=value or variable=FILE, not '%s'", text);
  poe_error_hint(error,
                 "such as 'x[3]=1, y=[0, 2]'; for minimize also a file with a value of the variable in each row: "
                 "x=points.csv (npy, npz, csv or safetensors)");
  return POE_E_USAGE;
}

static bool is_file(const char *text) {
  static const char *const endings[] = {".npy", ".npz", ".csv", ".safetensors"};
  bool found = false;
  for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
    found = found || ends_with(text, endings[i]);
  }
  return found;
}

/* ---- pieces ---- */

void poei_clamps_free(poei_clamps *clamps) {
  for (size_t i = 0; i < clamps->n; i++) {
    poei_free(clamps->file[i].place);
    poei_free(clamps->file[i].path);
  }
  poei_free(clamps->file);
  poei_free(clamps->values);
  *clamps = (poei_clamps){0};
}

/* Without the blanks at its ends, on the heap. */
static char *trimmed(const char *text, size_t n) {
  while (n > 0 && strchr(" \t", text[n - 1]) != NULL) {
    n--;
  }
  while (n > 0 && strchr(" \t", *text) != NULL) {
    text++;
    n--;
  }
  return poei_strndup(text, n);
}

/* The end of a piece: the comma before the next `place=`. A comma inside brackets, or in the name of a file, is none.
 */
static const char *piece_end(const char *text) {
  int depth = 0;
  const char *comma = NULL;
  const char *equals = equals_of(text);
  for (text = equals == NULL ? text : equals + 1; *text != '\0'; text++) {
    depth += (*text == '[' || *text == '(') - (*text == ']' || *text == ')');
    comma = *text == ',' && depth == 0 ? text : comma;
    if (*text == '=' && depth == 0 && comma != NULL) {
      return comma;
    }
  }
  return text;
}

/* One piece, a file or a value. Takes over `piece`. */
static poe_status add_piece(poei_clamps *out, char *piece, const char *whole, poe_error *error) {
  const char *equals = piece == NULL ? NULL : equals_of(piece);
  bool good = equals != NULL && equals != piece && equals[1] != '\0';
  poe_status status = piece == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                      : good        ? POE_OK
                                    : malformed(whole, error);
  if (status == POE_OK && is_file(piece)) {
    poei_clamp_rows *file = poei_realloc(out->file, out->n + 1, sizeof *file);
    if (file != NULL) {
      out->file = file;
      file[out->n].place = trimmed(piece, (size_t)(equals - piece));
      file[out->n].path = trimmed(equals + 1, strlen(equals + 1));
      out->n++;
    }
    bool made = file != NULL && file[out->n - 1].place != NULL && file[out->n - 1].path != NULL;
    status = made ? POE_OK : poe_error_set(error, POE_E_MEMORY, "out of memory");
  } else if (status == POE_OK) {
    char *values = out->values == NULL ? poei_strdup(piece) : poei_format("%s, %s", out->values, piece);
    poei_free(out->values);
    out->values = values;
    status = values != NULL ? POE_OK : poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  poei_free(piece);
  return status;
}

poe_status poei_clamps_read(const char *text, poei_clamps *clamps, poe_error *error) {
  *clamps = (poei_clamps){0};
  poe_status status = POE_OK;
  for (const char *at = text; status == POE_OK; at++) {
    const char *end = piece_end(at);
    status = add_piece(clamps, trimmed(at, (size_t)(end - at)), text, error);
    at = end;
    if (*at == '\0') {
      break;
    }
  }
  if (status != POE_OK) {
    poei_clamps_free(clamps);
  }
  return status;
}

static const char *target_of(const poei_session *session, const poei_action *action) {
  size_t n = poei_program_density_count(session->program);
  return action->n_targets > 0 ? action->targets[0] : n > 0 ? poei_program_density(session->program, n - 1) : NULL;
}

poe_status poei_clamps_target(const poei_session *session, const poei_action *action, const poei_clamps *clamps,
                              char **text, poe_error *error) {
  const char *target = target_of(session, action);
  *text = NULL;
  if (target != NULL) { /* without a target the language says that there is none */
    *text = clamps->values == NULL ? poei_strdup(target) : poei_format("(%s) given (%s)", target, clamps->values);
  }
  return target != NULL && *text == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
}

poe_status poei_clamp_target(const poei_session *session, const poei_action *action, char **text, poe_error *error) {
  const char *clamp = poei_option_text(action, "clamp");
  poei_clamps clamps = {0};
  *text = NULL;
  poe_status status = clamp == NULL ? POE_OK : poei_clamps_read(clamp, &clamps, error);
  if (status == POE_OK && clamps.n > 0) {
    poe_error_set(error, POE_E_USAGE, "--clamp takes the rows of a file with minimize only, not '%s=%s'",
                  clamps.file[0].place, clamps.file[0].path);
    poe_error_hint(error, "one value for all: --clamp '%s=data(\"%s\")[0]'", clamps.file[0].place, clamps.file[0].path);
    status = POE_E_USAGE;
  }
  if (status == POE_OK) {
    status = poei_clamps_target(session, action, &clamps, text, error);
  }
  poei_clamps_free(&clamps);
  return status;
}

/* ---- the coordinates of a place ---- */

/* A value that all coordinates may take together. */
static double some_value(const poei_variable *variable) {
  const poe_support *support = &variable->support[0];
  bool low = isfinite(support->low), high = isfinite(support->high);
  if (support->kind == POE_SIMPLEX) {
    return 1.0 / (double)variable->shape[variable->ndim - 1];
  }
  if (support->kind == POE_DISCRETE || (!low && !high)) {
    return low ? support->low : 0.0;
  }
  return low && high ? 0.5 * (support->low + support->high) : low ? support->low + 1.0 : support->high - 1.0;
}

/* Is the id among the target's own clamped ones? */
static bool clamped_before(const poei_target *target, size_t id) {
  bool found = false;
  for (size_t k = 0; k < target->n_clamped; k++) {
    found = found || target->clamped[k] == id;
  }
  return found;
}

poe_status poei_clamp_places(const poei_session *session, const poei_target *target, const char *place, size_t *n,
                             size_t *position, poe_error *error) {
  char *name = poei_strndup(place, strcspn(place, "[ "));
  const poei_variable *variable = name == NULL ? NULL : poei_program_variable_find(session->program, name);
  poe_status status = POE_OK;
  if (variable == NULL) {
    status = name == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                          : poe_error_set(error, POE_E_NAME, "--clamp: there is no variable '%s'", name);
    poei_free(name);
    return status;
  }
  poei_free(name);
  char *text = poei_format("(%s) given %s = %.17g", target->text, place, some_value(variable));
  poei_target clamped = {0};
  poei_diagnostics diagnostics = {0};
  status = text == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                        : poei_program_target(session->program, text, &clamped, &diagnostics);
  if (status != POE_OK && diagnostics.n > 0) {
    status = poe_error_set(error, diagnostics.items[0].error.status, "--clamp: %s", diagnostics.items[0].error.message);
  }
  *n = 0;
  for (size_t k = 0; k < clamped.n_clamped && status == POE_OK; k++) {
    for (size_t j = 0; j < target->dim && !clamped_before(target, clamped.clamped[k]); j++) {
      if (target->coordinates[j] == clamped.clamped[k]) {
        position[(*n)++] = j;
      }
    }
  }
  if (status == POE_OK) {
    poei_target_free(&clamped);
  }
  poei_diagnostics_free(&diagnostics);
  poei_free(text);
  return status;
}
