/* Composed densities from C: open a .poe file, evaluate, normalise and draw its targets.
 *
 * A session owns a program, its workers and its settings. Its functions may not be called from two threads at once; two
 * sessions may. A target is the name of a definition, an expression in the language, or NULL for the file's last
 * density. Arrays are the caller's, row-major, and must not overlap; on failure outputs hold nothing of use, and
 * *error (NULL is allowed) says why, with its place in the file where it has one. Estimated constants are kept in the
 * user's cache directory, as the command does.
 */
#ifndef POE_SESSION_H
#define POE_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "poe/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct poe_session poe_session;

/* Opens the program at `path`. threads 0: one per processor. Every result is a function of the file, the call and
 * `seed`. On failure *session is untouched and *error is the first error, with its place in the file. */
poe_status poe_session_open(const char *path, uint64_t seed, size_t threads, poe_session **session, poe_error *error);
/* Frees a session (NULL is allowed). */
void poe_session_close(poe_session *session);

/* Number of free coordinates of a target: a row of x below is that many doubles, variables flattened in the order they
 * are declared. */
poe_status poe_session_dim(poe_session *session, const char *target, size_t *dim, poe_error *error);

/* log_density[n] (nats) and, unless grad is NULL, grad[n, dim] at the rows of x[n, dim]. A target that is not
 * normalised is evaluated as it is written. */
poe_status poe_session_score(poe_session *session, const char *target, size_t n, const double *x, double *log_density,
                             double *grad, poe_error *error);

/* log of the integral of a target, in nats, with its standard error: 0 when `exact` (closed form, enumeration), the
 * error bound of quadrature, or that of sequential Monte Carlo. */
poe_status poe_session_log_z(poe_session *session, const char *target, double *log_z, double *std_error, bool *exact,
                             poe_error *error);

/* x[chains, draws, dim]: draws by the target's planned method, after 1000 steps of warmup where that is a Markov chain;
 * chains and draws at least 1 (POE_E_USAGE). *trusted: the gate passed; draws are given either way. */
poe_status poe_session_sample(poe_session *session, const char *target, size_t chains, size_t draws, double *x,
                              bool *trusted, poe_error *error);

#ifdef __cplusplus
}
#endif
#endif
