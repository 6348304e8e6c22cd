/* The inside of the verb explain: experts in the words of the program, and the pieces of its result. Private to
 * answer/explain*.c. */
#ifndef POE_ANSWER_EXPLAIN_PARTS_H
#define POE_ANSWER_EXPLAIN_PARTS_H

#include "answer/session.h"
#include "compose/exact/trace.h"

/* ---- experts in the words of the program (explain_names.c) ---- */

/* Where an expert of the written tree stands: several may share one. */
typedef struct poei_mention {
  const poe_expert *expert;
  size_t dim, *ids; /* [dim] coordinates of the program; SIZE_MAX: none of them. Owned */
  const poei_outline *node;
  const char *step; /* of the comprehension that made it, or NULL */
  size_t order;
} poei_mention;

/* What a rule made, by what it was made of. */
typedef struct poei_label {
  const poe_expert *expert; /* borrowed from the trace */
  char *text;
} poei_label;

typedef struct poei_teller {
  const poei_program *program;
  const poei_target *target;
  const poei_trace *trace;
  size_t n, capacity;
  poei_mention *mention; /* [n] by expert, then in the order of the tree                              */
  poei_memo written;     /* an expert of the trace's tree -> the one that stands there in the target's */
  size_t n_labels, label_capacity;
  poei_label *label;
  bool steps;   /* texts say at which step of a comprehension an expert was made */
  bool *failed; /* set when memory ran out for a text, which then lacks a piece */
} poei_teller;

/* The target must have been lowered. The teller is freed on failure. *failed: see above. */
poe_status poei_teller_open(poei_teller *teller, const poei_program *program, const poei_target *target,
                            const poei_outline *outline, const poei_trace *trace, bool *failed, poe_error *error);
void poei_teller_close(poei_teller *teller);
/* Calls `expert` by `text` (copied) from now on. */
poe_status poei_teller_label(poei_teller *teller, const poe_expert *expert, const char *text, poe_error *error);
/* Coordinates of the target, place[dim] (SIZE_MAX: none of them), to ids of the program: on the heap. */
size_t *poei_teller_ids(const poei_teller *teller, size_t dim, const size_t *place);
/* Where the program writes an expert over ids[dim], or what it was made of; NULL: nowhere. */
const poei_outline *poei_teller_find(const poei_teller *teller, const poe_expert *expert, const size_t *ids);

enum { POEI_TOLD_SIZE = 320 };
/* "three * thick^2 / near" into text[size], with "..." where it is long; returns text. Places are ids of the program.
 */
const char *poei_told_text(const poei_teller *teller, size_t n, const poei_traced *list, char *text, size_t size);
/* The same of one expert over ids[dim]. */
const char *poei_teller_text(const poei_teller *teller, const poe_expert *expert, const size_t *ids, char *text,
                             size_t size);
/* "x[0:2], y" of ids[dim] in any order, equal ones once; returns text. */
const char *poei_teller_over(const poei_teller *teller, size_t dim, const size_t *ids, char *text, size_t size);

/* ---- pieces of the result: new references ---- */

poe_status poei_explain_tree(const poei_program *program, const poei_outline *outline, json_t **out, poe_error *error);
/* What the rules did, equal firings told once (explain_rules.c). */
poe_status poei_explain_rules(poei_teller *teller, json_t **out, poe_error *error);
/* Sets method, exact, reason, memory, parts ... of a plan over ids[dim] (explain_plan.c). */
poe_status poei_explain_plan(const poei_teller *teller, const poei_plan *plan, const size_t *ids, json_t *out,
                             poe_error *error);
/* What the UAI files of a target hold, as the files number it (explain_network.c). */
poe_status poei_explain_networks(const poei_program *program, const poei_outline *outline, json_t **out,
                                 poe_error *error);
/* What has no closed form, each once with its number. */
poe_status poei_explain_obstacles(const poei_session *session, const poei_outline *outline, json_t **out,
                                  poe_error *error);

#endif
