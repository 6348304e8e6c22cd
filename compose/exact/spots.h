/* Where a density over one or two continuous coordinates has mass or detail: what its parts know (spots_known.c), and
 * what following its gradient finds (spots.c). Inside compose/exact only. */
#ifndef POE_COMPOSE_EXACT_SPOTS_H
#define POE_COMPOSE_EXACT_SPOTS_H

#include <stdatomic.h>

#include "core/quadrature.h"
#include "poe/expert.h"

enum { POEI_MOST_KNOWN = 4096 };

/* Zero-initialise. */
typedef struct poei_spots {
  size_t n, capacity;
  poei_spot *item;         /* [n]                                                                     */
  size_t known;            /* spots that the parts of the target named                               */
  size_t ascents;          /* starts from which its gradient was followed; 0: it has none             */
  const atomic_bool *stop; /* what is done with them ends with POE_E_INTERRUPTED once it is true; NULL: never */
} poei_spots;

/* The spots of an expert over 1 or 2 continuous coordinates (spots->stop is read), by falling mass as far as its value
 * and scale show it; such as cannot matter are left out. Deterministic. */
poe_status poei_spots_find(const poe_expert *target, poei_spots *spots, poe_error *error);
void poei_spots_free(poei_spots *spots);

/* What was looked at, for whoever reads an integral; on the heap, NULL when out of memory. */
char *poei_spots_text(const poei_spots *spots);

/* Appends where the parts of `target` lie: the components of Gaussian forms, alone and multiplied out; medians and
 * quartiles of what can be drawn; the middle of bounded supports. At most POEI_MOST_KNOWN. */
poe_status poei_spots_known(const poe_expert *target, poei_spots *spots, poe_error *error);
/* Appends one spot. */
poe_status poei_spots_add(poei_spots *spots, poei_spot spot, poe_error *error);

#endif
