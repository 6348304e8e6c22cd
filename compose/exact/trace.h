/* What a rewriting did to whom, kept only for those who want to tell it (`explain`). */
#ifndef POE_COMPOSE_EXACT_TRACE_H
#define POE_COMPOSE_EXACT_TRACE_H

#include "compose/exact/tree.h"

/* A factor of a product. */
typedef struct poei_traced {
  poe_expert *expert; /* retained */
  double exponent;
  size_t *place; /* [its dim] coordinates of the target, or of whoever asks; SIZE_MAX: none of them. Owned */
} poei_traced;
/* The factors of an expert over place[dim], constants left out: one when it is no product. */
poe_status poei_traced_open(const poe_expert *expert, const size_t *place, poei_traced **list, size_t *n,
                            poe_error *error);
void poei_traced_free(poei_traced *list, size_t n); /* NULL is allowed */

/* One rule that fired: factors that are gone, and those that stand in their place. The rest of the node stayed. */
typedef struct poei_firing {
  const char *rule;   /* name in the table                                                           */
  char *what;         /* in the rule's own words                                                     */
  poe_expert *origin; /* what stood here before any rule; retained                                   */
  size_t dim, *place; /* [dim] its coordinates in the target; SIZE_MAX for those that are none       */
  size_t n_gone, n_made;
  poei_traced *gone, *made;
} poei_firing;

/* Zero-initialise. */
typedef struct poei_trace {
  poe_expert *root; /* the tree it began with, constants filled in; retained, NULL: it did not begin */
  size_t n, capacity;
  poei_firing *item;
  poei_memo ancestor; /* an expert that was made -> the one it took the place of */
} poei_trace;

/* Frees the contents (NULL is allowed) and zeroes it. */
void poei_trace_free(poei_trace *trace);
/* Starts over with a tree. */
void poei_trace_begin(poei_trace *trace, const poe_expert *root);
/* A rule turned `before`, whose coordinates are place[] and which stands for `origin`, into `after`; copies `what`. */
poe_status poei_trace_fired(poei_trace *trace, const char *rule, const char *what, const poe_expert *origin,
                            const poe_expert *before, const poe_expert *after, const size_t *place, poe_error *error);
/* `made` stands where `from` stood. */
poe_status poei_trace_made(poei_trace *trace, const poe_expert *made, const poe_expert *from, poe_error *error);
/* Where the coordinates of child i are, when those of the node are place[]: on the heap, [dim of the child]; SIZE_MAX
 * for clamped and latent coordinates and what a map makes. A plate's child: its first copy. NULL: out of memory. */
size_t *poei_child_place(const poe_expert *expert, size_t i, const size_t *place);

#endif
