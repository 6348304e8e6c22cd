/* A judge: a classifier that took no part in a composition and says what its draws show. */
#ifndef POE_EVALUATE_JUDGE_H
#define POE_EVALUATE_JUDGE_H

#include "answer/session.h"

typedef struct poei_judge poei_judge;

/* Reads a `classifier` file (docs/MODEL-FORMAT.md: poe.layers and poe.heads). */
poe_status poei_judge_open(const char *path, poei_judge **judge, poe_error *error);
void poei_judge_close(poei_judge *judge); /* NULL is allowed */
size_t poei_judge_in_dim(const poei_judge *judge);
size_t poei_judge_label_count(const poei_judge *judge);
const char *poei_judge_label(const poei_judge *judge, size_t index);
/* Index of a label, or SIZE_MAX. */
size_t poei_judge_find(const poei_judge *judge, const char *label);
/* found[n, labels] = 1 where the judge finds the label in a row of x[n, in_dim]: the largest logit of a softmax head, a
 * probability above one half of a sigmoid head. */
poe_status poei_judge_rows(const poei_session *session, const poei_judge *judge, size_t n, const double *x,
                           unsigned char *found, poe_error *error);

/* Distances to the nearest image of a reference set, estimated from random projections (Johnson and Lindenstrauss
 * 1984): |P'x - code| / sqrt(m). A file with `projection` [d, m], `codes` [N, m], `scale` (codes times scale are the
 * projections) and `heldout_nearest` [M], the same distance for held-out images. */
typedef struct poei_reference poei_reference;
poe_status poei_reference_open(const char *path, poei_reference **reference, poe_error *error);
void poei_reference_close(poei_reference *reference);
size_t poei_reference_dim(const poei_reference *reference);
const double *poei_reference_heldout(const poei_reference *reference, size_t *n);
/* distance[n] of the rows of x[n, dim]. */
poe_status poei_reference_nearest(const poei_reference *reference, size_t n, const double *x, double *distance,
                                  poe_error *error);

#endif
