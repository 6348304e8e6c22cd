/* A session over a program written by the test, and actions as the command line would make them. */
#ifndef POE_TESTS_ANSWER_FIXTURE_H
#define POE_TESTS_ANSWER_FIXTURE_H

#include "answer/session.h"

typedef struct fixture {
  poei_session session;
  poei_diagnostics diagnostics;
  atomic_bool stop; /* what the session's monitor looks at */
} fixture;

/* Opens `text` as the file `name` in the temporary directory, with 2 workers. The cache of estimates is a folder in the
 * temporary directory from the first call on. Fails the test on errors. */
void fixture_open(fixture *f, const char *name, const char *text, uint64_t seed);
void fixture_close(fixture *f);

enum { FIXTURE_MAX_OPTIONS = 12 };

/* verb, target (NULL: none) and options as name, value pairs that end with a NULL name. A value with commas is a list.
 */
typedef struct fixture_action {
  poei_action action;
  poei_option_value options[FIXTURE_MAX_OPTIONS];
  const char *targets[4];
  const char *items[FIXTURE_MAX_OPTIONS][8];
  char text[FIXTURE_MAX_OPTIONS][128];
} fixture_action;
const poei_action *fixture_act(fixture_action *a, const char *verb, const char *target,
                               const char *const (*options)[2]);

typedef poe_status fixture_verb(poei_session *session, const poei_action *action, json_t **result, poe_error *error);
/* Performs a verb that must succeed with `expected`; the result is the test's. */
json_t *fixture_perform(fixture *f, fixture_verb *verb, const poei_action *action, poe_status expected,
                        poe_error *error);
/* A number of a result; fails the test when it is none. */
double fixture_number(const json_t *object, const char *key);

#endif
