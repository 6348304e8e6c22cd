/* What the files of rest.h share. Inside compose/exact/ only. */
#ifndef POE_COMPOSE_EXACT_REST_PARTS_H
#define POE_COMPOSE_EXACT_REST_PARTS_H

#include "compose/exact/rest.h"
#include "compose/exact/tree.h"

/* The factors of a product with the constants around it; *is false: it is no product. */
poe_status poei_rest_open(const poe_expert *target, poei_parts *parts, bool *is, poe_error *error);
/* Lists coordinates: index[n] of the Gaussian and those it shares, which are touched[dim] by others (found->n_read, set
 * before). place[dim]: their positions in the front, SIZE_MAX for those that are integrated out; own[n_read]: positions
 * of the shared ones among index. */
poe_status poei_rest_list(size_t dim, size_t n, const size_t *index, const unsigned char *touched, size_t *place,
                          size_t *own, poei_rest *found, poe_error *error);
/* The factors that are not gone[parts->n] and the marginal over the shared coordinates, over the front's. */
poe_status poei_rest_close(const poei_parts *parts, const unsigned char *gone, const poe_expert *marginal,
                           const size_t *place, poei_rest *found, poe_error *error);

#endif
