/* A process that answers questions about speed: PyTorch beside `poe bench` (bench_torch.py). Inside answer/ only. */
#ifndef POE_ANSWER_BENCH_PEER_H
#define POE_ANSWER_BENCH_PEER_H

#include <jansson.h>
#include <stdatomic.h>

#include "poe/status.h"

typedef struct poei_peer poei_peer;

/* Where Debian's PyTorch is, then what the user's PATH finds; ends with NULL. */
extern const char *const poei_peer_pythons[];

/* Starts the first of programs[] (ends with NULL) that gives an answer to `request`, a JSON object, within limit_s
 * seconds. *reply is that answer (json_decref). Without one, *peer is NULL and why[size] says so; that is POE_OK.
 * POE_E_INTERRUPTED when *stop (may be NULL) becomes true. */
poe_status poei_peer_open(const char *const *programs, const json_t *request, double limit_s, const atomic_bool *stop,
                          poei_peer **peer, json_t **reply, char *why, size_t size, poe_error *error);
/* One question more; *reply NULL, with why[size], when it is not answered in time: the process is of no use then. */
poe_status poei_peer_ask(poei_peer *peer, const json_t *request, double limit_s, const atomic_bool *stop,
                         json_t **reply, char *why, size_t size, poe_error *error);
/* Ends the process; NULL is allowed. */
void poei_peer_close(poei_peer *peer);

#endif
