/* What experts are, in words for a person. */
#ifndef POE_COMPOSE_EXACT_WORDS_H
#define POE_COMPOSE_EXACT_WORDS_H

#include "poe/expert.h"

enum { POEI_WORDS_SIZE = 128 };

/* "Gaussian", "mixture of 25 Gaussians", "table of 12 entries", "neural energy", "product of 3 factors" into
 * text[size]; returns text. What closed forms hold is looked up, so that it costs a copy of them. */
const char *poei_expert_words(const poe_expert *expert, char *text, size_t size);
/* "a" or "an", for what follows it. */
const char *poei_article(const char *word);

#endif
