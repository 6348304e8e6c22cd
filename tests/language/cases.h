/* Cases in .poe files: programs with what is expected of them in their comments.
 *
 * A file holds several cases, each after a line `#---- name`. Line 1 of a case is the line after that. Expectations:
 *
 *   # expect error 3:7 part of the message      when the program is loaded (or a density of it lowered)
 *   # expect warning 3:7 part                   likewise
 *   # expect hint part                          of one of those
 *   # expect print text                         a line of the canonical form
 *   # expect tree NAME product(gaussian,plate(formula))    the experts a density is lowered to
 *   # expect logz NAME number                   its exact log Z, to 1e-9
 *   # expect logp NAME x1,x2,... = number       its log-density at a point, to 1e-9
 *   # expect over NAME x[0] x[1] c              its coordinates
 *
 * Every error and warning must be expected, and what is expected must occur.
 */
#ifndef POE_TESTS_LANGUAGE_CASES_H
#define POE_TESTS_LANGUAGE_CASES_H

#include <stdbool.h>
#include <stddef.h>

#include "tests/language/evaluate.h"

typedef struct poet_case {
  char *name; /* file and case, for messages */
  char *path; /* of the file                 */
  char *text;
} poet_case;

/* All cases of all files of tests/language/cases, sorted by file; ends the program when there are none. */
size_t poet_cases_read(poet_case **cases);
void poet_cases_free(size_t n, poet_case *cases);
/* Checks all expectations of a case; false after printing what is wrong. */
bool poet_case_check(const poet_case *test);
/* A file's text on the heap (free), NULL when it cannot be read. */
char *poet_read_text(const char *path);

#endif
