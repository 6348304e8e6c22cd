/* Almost exact targets: a Gaussian of which the other factors read only some coordinates. Inside compose/ only. */
#ifndef POE_COMPOSE_EXACT_REST_H
#define POE_COMPOSE_EXACT_REST_H

#include "poe/expert.h"

/* target = front(x[front_index]) * (what the Gaussian says of its other coordinates given those the front reads). With
 * z a draw of the Gaussian and x_r a draw of the front, the other coordinates z + gain (x_r - z_r) complete a draw of
 * the target. Owned; released with poei_rest_free. */
typedef struct poei_rest {
  poe_expert *gaussian; /* normalised, over n coordinates; NULL: the target is not of this kind */
  poe_expert *front;    /* the other factors times the marginal of the Gaussian, constants included */
  size_t n, front_n, n_read;
  size_t *index;       /* [n] coordinates of the Gaussian in the target         */
  size_t *front_index; /* [front_n] coordinates of the front in the target      */
  size_t *read;        /* [n_read] those of both                                */
  double *gain;        /* [n, n_read]; rows of coordinates that are read are 0  */
} poei_rest;

/* dense: dense Gaussians count too, not only sparse ones. */
poe_status poei_rest_find(const poe_expert *target, bool dense, poei_rest *found, poe_error *error);
void poei_rest_free(poei_rest *rest);
/* The same where the Gaussian factors have no finite integral on their own, but one over the coordinates that no other
 * factor reads, given those that others do: exp(-(y - x)^2 / 2) beside a density of x (rest_conditional.c). */
poe_status poei_rest_conditional(const poe_expert *target, poei_rest *found, poe_error *error);
/* A product of a mixture of few Gaussians and other factors over one or two coordinates, multiplied out: a mixture of
 * products of the kind above. *out stays NULL when the target is something else. */
poe_status poei_rest_mixture(const poe_expert *target, poe_expert **out, poe_error *error);

#endif
