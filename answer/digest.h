/* Identity of an expression within a program, for seeds and the cache of estimates. */
#ifndef POE_ANSWER_DIGEST_H
#define POE_ANSWER_DIGEST_H

#include "compose/language/program.h"

/* SHA-256 over the program's text, the files its definitions read (they are lowered for it), the expression's tree and
 * `settings`, as 64 hexadecimal digits. */
poe_status poei_digest(poei_program *program, const poe_expert *expert, const char *settings, char hex[65],
                       poe_error *error);
/* The first 64 bits of a digest. */
uint64_t poei_digest_seed(const char hex[65]);

/* The user's cache of estimates: XDG_CACHE_HOME/poe or HOME/.cache/poe. Reading gives false when there is no valid
 * entry; writing fails silently (a cache may be missing). memory: as poei_log_z has it (session.h). */
bool poei_cache_read(const char hex[65], double *log_z, double *std_error, double *memory);
void poei_cache_write(const char hex[65], double log_z, double std_error, double memory);

#endif
