/* Maps made of maps, for derived variables that are not one map of declared variables alone.
 *
 * joined: u -> (f_1(u[index_1]), f_2(u[index_2]), ..., u), of which chosen numbers are kept. piped: u -> g(f(u)).
 * Both retain the maps they are made of and differentiate through them.
 */
#ifndef POE_COMPOSE_LANGUAGE_JOINED_MAP_H
#define POE_COMPOSE_LANGUAGE_JOINED_MAP_H

#include "poe/expert.h"

typedef struct poei_joined_part {
  const poe_map *map;
  const size_t *index; /* [in_dim of the map] positions in u */
} poei_joined_part;

/* One number of the output: number `index` of part `part`, or u[index] when part is SIZE_MAX. */
typedef struct poei_joined_output {
  size_t part, index;
} poei_joined_output;

/* u has in_dim numbers, the output out_dim. Copies the arrays. */
poe_status poei_joined_map_create(size_t in_dim, size_t n_parts, const poei_joined_part *parts, size_t out_dim,
                                  const poei_joined_output *outputs, poe_map **map, poe_error *error);
/* outer(inner(u)); the dimensions must fit. */
poe_status poei_piped_map_create(const poe_map *inner, const poe_map *outer, poe_map **map, poe_error *error);
size_t poei_map_out_dim(const poe_map *map);

#endif
