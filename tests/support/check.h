/* What cmocka lacks: comparisons of doubles with explicit tolerances and NaN rules, and temporary files. */
#ifndef POE_TESTS_CHECK_H
#define POE_TESTS_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "poe/status.h"

/* |a - b| <= absolute + relative * max(|a|, |b|); equal infinities are equal; NaN equals nothing. */
#define check_close(actual, expected, absolute, relative)                                                              \
  poet_check_close((actual), (expected), (absolute), (relative), #actual, __FILE__, __LINE__)
/* The same doubles, bit for bit (n of them); all NaNs differ unless their bits agree. */
#define check_same_bits(a, b, n) poet_check_same_bits((a), (b), (n), __FILE__, __LINE__)
/* A call that must succeed; prints the error otherwise. `error` is a poe_error. */
#define check_ok(call, error) poet_check_status((call), POE_OK, &(error), #call, __FILE__, __LINE__)
/* A call that must fail with that status and a message that contains `part`. */
#define check_fails(call, status, error, part)                                                                         \
  poet_check_fails((call), (status), &(error), (part), #call, __FILE__, __LINE__)

void poet_check_close(double actual, double expected, double absolute, double relative, const char *what,
                      const char *file, int line);
void poet_check_same_bits(const double *a, const double *b, size_t n, const char *file, int line);
void poet_check_status(poe_status actual, poe_status expected, const poe_error *error, const char *what,
                       const char *file, int line);
void poet_check_fails(poe_status actual, poe_status expected, const poe_error *error, const char *part,
                      const char *what, const char *file, int line);

/* Path of a fresh temporary directory (removed at exit), and of a file in it; static storage, valid until the 16th next
 * call. */
const char *poet_temp_dir(void);
const char *poet_temp_path(const char *name);
/* Writes a file in the temporary directory and returns its path. */
const char *poet_temp_file(const char *name, const void *data, size_t size);

#endif
