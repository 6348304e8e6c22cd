#include "tests/answer/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/check.h"

void fixture_open(fixture *f, const char *name, const char *text, uint64_t seed) {
  memset(f, 0, sizeof *f);
  setenv("XDG_CACHE_HOME", poet_temp_dir(), 1);
  const char *path = poet_temp_file(name, text, strlen(text));
  f->session.diagnostics = &f->diagnostics;
  f->session.seed = seed;
  f->session.monitor.stop = &f->stop;
  f->session.pool = poei_pool_create(2);
  assert_non_null(f->session.pool);
  poe_status status = poei_program_load(path, NULL, 0, NULL, &f->diagnostics, &f->session.program);
  if (status != POE_OK) {
    fail_msg("%s: %s", path, f->diagnostics.n > 0 ? f->diagnostics.items[0].error.message : "no diagnostics");
  }
}

void fixture_close(fixture *f) {
  poei_program_free(f->session.program);
  poei_pool_destroy(f->session.pool);
  poei_diagnostics_free(&f->diagnostics);
}

const poei_action *fixture_act(fixture_action *a, const char *verb, const char *target,
                               const char *const (*options)[2]) {
  memset(a, 0, sizeof *a);
  a->action.verb = poei_verb_find(verb);
  assert_non_null(a->action.verb);
  a->targets[0] = target;
  a->action.targets = a->targets;
  a->action.n_targets = target != NULL;
  a->action.options = a->options;
  for (size_t i = 0; options != NULL && options[i][0] != NULL; i++) {
    assert_true(i < FIXTURE_MAX_OPTIONS);
    const poei_option *known = poei_option_find(a->action.verb, options[i][0]);
    assert_non_null(known);
    poei_option_value *value = &a->options[a->action.n_options++];
    *value = (poei_option_value){.name = known->name, .text = options[i][1]};
    if (known->type == POEI_OPTION_NAMES) {
      snprintf(a->text[i], sizeof a->text[i], "%s", options[i][1]);
      value->items = a->items[i];
      for (char *at = a->text[i]; at != NULL && *at != '\0';) {
        char *comma = strchr(at, ',');
        a->items[i][value->n_items++] = at;
        at = comma == NULL ? NULL : comma + 1;
        if (comma != NULL) {
          *comma = '\0';
        }
      }
    }
  }
  return &a->action;
}

json_t *fixture_perform(fixture *f, fixture_verb *verb, const poei_action *action, poe_status expected,
                        poe_error *error) {
  json_t *result = NULL;
  poe_status status = verb(&f->session, action, &result, error);
  poet_check_status(status, expected, error, action->verb->name, __FILE__, __LINE__);
  return result;
}

double fixture_number(const json_t *object, const char *key) {
  const json_t *value = json_object_get(object, key);
  if (!json_is_number(value)) {
    fail_msg("'%s' is not a number", key);
  }
  return json_number_value(value);
}
