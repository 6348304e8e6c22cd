/* Statuses and error texts.
 *
 * Every function of the library that can fail returns a poe_status and, where it takes one, fills a caller-owned
 * poe_error. The library has no global state, never prints, never exits and does not use errno to report.
 * The list below is the only place where a status is named; the exit code of the command follows from it.
 */
#ifndef POE_STATUS_H
#define POE_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

/* X(name, exit code of the command, meaning) */
#define POE_STATUS_LIST(X)                                                                                             \
  X(OK, 0, "no error")                                                                                                 \
  X(E_GATE, 1, "the diagnostics gate failed")                                                                          \
  X(E_USAGE, 2, "wrong argument or option")                                                                            \
  X(E_SYNTAX, 2, "the text is not in the language")                                                                    \
  X(E_NAME, 2, "unknown or doubly defined name")                                                                       \
  X(E_TYPE, 2, "a value of another sort or space is needed")                                                           \
  X(E_SHAPE, 2, "shapes or sizes disagree")                                                                            \
  X(E_DOMAIN, 2, "a parameter is outside its domain")                                                                  \
  X(E_IMPROPER, 2, "the density cannot be normalised")                                                                 \
  X(E_EMPTY, 2, "the joint support is empty")                                                                          \
  X(E_CAPABILITY, 2, "an expert lacks what is asked of it")                                                            \
  X(E_FILE, 3, "a file cannot be opened, read or written")                                                             \
  X(E_FORMAT, 3, "a file violates its format")                                                                         \
  X(E_UNSUPPORTED, 3, "a file uses a feature that is not supported")                                                   \
  X(E_NUMERIC, 4, "a number is not finite where it must be")                                                           \
  X(E_MEMORY, 4, "out of memory")                                                                                      \
  X(E_INTERRUPTED, 130, "interrupted")

typedef enum poe_status {
#define POE_STATUS_ENUM(name, exit_code, text) POE_##name,
  POE_STATUS_LIST(POE_STATUS_ENUM)
#undef POE_STATUS_ENUM
} poe_status;

enum { POE_ERROR_FILE_SIZE = 256, POE_ERROR_MESSAGE_SIZE = 768, POE_ERROR_HINT_SIZE = 256 };

/* One error. Owned by the caller; a zeroed struct is valid and means no error. All texts are NUL-terminated. */
typedef struct poe_error {
  poe_status status;
  char file[POE_ERROR_FILE_SIZE];       /* file the error is about, "" when none               */
  int line, column, span;               /* 1-based place in `file` and length in bytes, 0 = none */
  char message[POE_ERROR_MESSAGE_SIZE]; /* what is wrong                                       */
  char hint[POE_ERROR_HINT_SIZE];       /* what to do about it, "" when none                   */
} poe_error;

/* Name of a status, as "E_SHAPE"; "?" for a value outside the list. Thread-safe; the text is static. */
const char *poe_status_name(poe_status status);
/* Meaning of a status in a few words. Thread-safe; the text is static. */
const char *poe_status_text(poe_status status);
/* Exit code the command uses for a status (0, 1, 2, 3, 4 or 130). */
int poe_status_exit_code(poe_status status);

/* Fills `error` (NULL is allowed) from a printf format, clears its place and hint, and returns `status`, so that
 * `return poe_error_set(error, POE_E_SHAPE, ...)` is the idiom. Longer texts are cut. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
poe_status
poe_error_set(poe_error *error, poe_status status, const char *format, ...);

/* Sets the hint of an error (NULL is allowed). */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void
poe_error_hint(poe_error *error, const char *format, ...);

/* Sets the place of an error (NULL is allowed). `file` may be NULL to keep the file; positions are 1-based, 0 = none.
 */
void poe_error_at(poe_error *error, const char *file, int line, int column, int span);

#ifdef __cplusplus
}
#endif
#endif
