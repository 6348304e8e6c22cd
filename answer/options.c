/* Options of an action, read with the defaults of the one table in compose/language/verbs.h. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "answer/session.h"
#include "core/alloc.h"

const poei_option_value *poei_option_given(const poei_action *action, const char *name) {
  for (size_t i = 0; i < action->n_options; i++) {
    if (strcmp(action->options[i].name, name) == 0) {
      return &action->options[i];
    }
  }
  return NULL;
}

const char *poei_option_text(const poei_action *action, const char *name) {
  const poei_option_value *given = poei_option_given(action, name);
  if (given != NULL) {
    return given->text;
  }
  const poei_option *option = poei_option_find(action->verb, name);
  return option == NULL ? NULL : option->fallback;
}

bool poei_option_flag(const poei_action *action, const char *name) {
  const char *text = poei_option_text(action, name);
  return text != NULL && strcmp(text, "true") == 0;
}

/* An error at the option's place in the file, or about the flag when it has none. */
static poe_status option_error(const poei_action *action, const char *name, poe_error *error, const char *wanted) {
  const poei_option_value *given = poei_option_given(action, name);
  poe_error_set(error, POE_E_USAGE, "option '%s' of %s must be %s, not '%s'", name, action->verb->name, wanted,
                given == NULL ? "" : given->text);
  if (given != NULL) {
    poe_error_at(error, NULL, given->line, given->column, given->span);
  }
  return POE_E_USAGE;
}

poe_status poei_option_number(const poei_action *action, const char *name, double low, double high, double *out,
                              poe_error *error) {
  const char *text = poei_option_text(action, name);
  if (text == NULL) {
    return POE_OK;
  }
  char *end = NULL;
  double value = strtod(text, &end);
  if (end == text || *end != '\0' || !(value >= low && value <= high)) {
    char wanted[96];
    snprintf(wanted, sizeof wanted, "a number from %g to %g", low, high);
    return option_error(action, name, error, wanted);
  }
  *out = value;
  return POE_OK;
}

poe_status poei_option_integer(const poei_action *action, const char *name, size_t low, size_t high, size_t *out,
                               poe_error *error) {
  const char *text = poei_option_text(action, name);
  if (text == NULL) {
    return POE_OK;
  }
  char *end = NULL;
  errno = 0;
  unsigned long long value = strtoull(text, &end, 10);
  bool digits = text[0] >= '0' && text[0] <= '9'; /* strtoull takes blanks and signs */
  if (!digits || *end != '\0' || errno != 0 || value < low || value > high) {
    char wanted[96];
    snprintf(wanted, sizeof wanted, "a whole number from %zu to %zu", low, high);
    return option_error(action, name, error, wanted);
  }
  *out = (size_t)value;
  return POE_OK;
}

poe_status poei_option_bytes(const poei_action *action, const char *name, size_t *out, poe_error *error) {
  static const char suffix[] = "KMG";
  const char *text = poei_option_text(action, name);
  if (text == NULL) {
    return POE_OK;
  }
  char *end = NULL;
  double value = strtod(text, &end);
  const char *unit = *end == '\0' ? NULL : strchr(suffix, *end);
  for (ptrdiff_t i = 0; unit != NULL && i <= unit - suffix; i++) {
    value *= 1024.0;
  }
  bool whole = *end == '\0' || (unit != NULL && end[1] == '\0');
  if (end == text || !whole || !(value >= 1024.0 && value <= 0x1p60)) {
    return option_error(action, name, error, "a number of bytes from 1K on, such as 1G, 512M or 2e9");
  }
  *out = (size_t)value;
  return POE_OK;
}

const char *const *poei_option_items(const poei_action *action, const char *name, size_t *n) {
  const poei_option_value *given = poei_option_given(action, name);
  *n = 0;
  if (given == NULL) {
    return NULL;
  }
  if (given->n_items > 0) {
    *n = given->n_items;
    return given->items;
  }
  *n = given->text != NULL && given->text[0] != '\0';
  return &given->text;
}

char *poei_session_path(const poei_session *session, const char *name) {
  if (session->out_dir == NULL || name[0] == '/') {
    return poei_strdup(name);
  }
  return poei_format("%s/%s", session->out_dir, name);
}

poe_status poei_run_options_read(const poei_session *session, const poei_action *action, poei_run_options *options,
                                 poe_error *error) {
  memset(options, 0, sizeof *options);
  options->seed = session->seed;
  options->pool = session->pool;
  options->monitor = session->monitor;
  poe_status status = poei_option_integer(action, "chains", 1, 1u << 20, &options->chains, error);
  if (status == POE_OK) {
    status = poei_option_integer(action, "warmup", 0, 1u << 30, &options->warmup, error);
  }
  if (status == POE_OK) {
    status = poei_option_integer(action, "draws", 1, 1u << 30, &options->draws, error);
  }
  if (status == POE_OK) {
    status = poei_option_integer(action, "thin", 1, 1u << 20, &options->thin, error);
  }
  if (status == POE_OK) {
    status = poei_option_number(action, "step_size", 1e-300, 1e6, &options->step_size, error);
  }
  if (status == POE_OK) {
    status = poei_option_integer(action, "leapfrog", 1, 1u << 16, &options->leapfrog, error);
  }
  if (options->warmup == 0) {
    options->warmup = POEI_NO_WARMUP;
  }
  return status;
}

double poei_clock(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
