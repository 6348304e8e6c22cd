/* Deterministic finite automata over the symbols 0 .. k-1, in their smallest useful form: only states that lie on a
 * path from the start to acceptance, equivalent states merged, symbols that act alike in one class. */
#ifndef POE_EXPERTS_DFA_H
#define POE_EXPERTS_DFA_H

#include "poe/expert.h"

enum {
  POEI_DFA_STATES = 10000,   /* states at most           */
  POEI_DFA_ENTRIES = 1 << 24 /* states x classes at most */
};

typedef struct poei_dfa {
  size_t states, symbols, classes, start;
  uint32_t *class_of;     /* [symbols]                                                        */
  uint32_t *member;       /* [symbols] the symbols of class 0, of class 1, ...                */
  uint32_t *member_start; /* [classes + 1] where those of each class begin                    */
  int32_t *next;          /* [states, classes], -1: from there no word of any length is accepted */
  unsigned char *accept;  /* [states]                                                         */
} poei_dfa;

/* Builds the smallest form of the automaton next[states, classes] over class_of[symbols]; entries outside 0..states-1
 * mean that there is no way. POE_E_EMPTY when nothing at all is accepted, POE_E_MEMORY. On failure *dfa is untouched.
 */
poe_status poei_dfa_create(size_t states, size_t symbols, size_t classes, const uint32_t *class_of, const int32_t *next,
                           const unsigned char *accept, size_t start, poei_dfa *dfa, poe_error *error);
/* Frees the arrays (NULL is allowed) and zeroes it. */
void poei_dfa_release(poei_dfa *dfa);

/* Numbers the distinct ones of n rows key[n, m] in order of first appearance: group[n] gets the number of each row's.
 * Returns how many there are, 0 when out of memory (n = 0 aside). */
size_t poei_dfa_group(size_t n, size_t m, const uint32_t *key, uint32_t *group);

/* The state after a symbol index (symbols: none of them), -1 when there is no way or `state` is -1. */
static inline int32_t poei_dfa_next(const poei_dfa *dfa, int32_t state, size_t symbol) {
  return state < 0 || symbol >= dfa->symbols ? -1 : dfa->next[(size_t)state * dfa->classes + dfa->class_of[symbol]];
}

#endif
