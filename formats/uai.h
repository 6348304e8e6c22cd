/* Factor graphs as the UAI inference competitions write them (.uai), and evidence (.evid).
 *
 *   MARKOV | BAYES
 *   n   k_0 ... k_{n-1}                 number of variables, number of values of each
 *   m   then m lines: size, variables   scopes, the factor's own order
 *   m times: count, values              tables, the last variable of the scope fastest
 *
 * All of it is whitespace-separated; the file is untrusted.
 */
#ifndef POE_FORMATS_UAI_H
#define POE_FORMATS_UAI_H

#include <stdbool.h>
#include <stddef.h>

#include "poe/status.h"

typedef struct poei_uai_factor {
  size_t n;
  size_t *variable; /* [n] distinct, below the number of variables   */
  size_t states;    /* product of their cardinalities                */
  double *value;    /* [states] >= 0, first variable slowest         */
} poei_uai_factor;

typedef struct poei_uai {
  bool bayes; /* factor i is the distribution of its last variable given the others */
  size_t n;
  size_t *cardinality; /* [n] >= 1 */
  size_t factors;
  poei_uai_factor *factor; /* [factors] */
} poei_uai;

/* Reads a network. Errors name the file with line and column (POE_E_FILE, _FORMAT, _MEMORY); *network is then
 * untouched. */
poe_status poei_uai_read(const char *path, poei_uai *network, poe_error *error);
/* Frees the arrays (NULL is allowed) and zeroes it. */
void poei_uai_free(poei_uai *network);

/* Variables and the values observed for them. */
typedef struct poei_uai_evidence {
  size_t n;
  size_t *variable, *value; /* [n] */
} poei_uai_evidence;

/* Reads evidence for a network: a count, then pairs of variable and value; the later competitions' leading number of
 * samples is read when it is 1. POE_E_FORMAT for a variable or value the network has not, or a variable named twice. */
poe_status poei_uai_evidence_read(const char *path, const poei_uai *network, poei_uai_evidence *evidence,
                                  poe_error *error);
void poei_uai_evidence_free(poei_uai_evidence *evidence);

#endif
