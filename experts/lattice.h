/* Pair potentials between neighbours of a grid: what ising and potts are underneath.
 *
 * The grid is the shape of the one variable, 1 to 3 axes; a bond joins neighbours along an axis. A periodic axis also
 * joins its two ends, except one of length 2 or 1: there the neighbours round the back are already joined, or the site
 * itself. So no two sites have two bonds. The functions from destroy on have the signatures of the expert's slots.
 */
#ifndef POE_EXPERTS_LATTICE_H
#define POE_EXPERTS_LATTICE_H

#include "experts/discrete.h"

enum { POEI_LATTICE_AXES = 3, POEI_LATTICE_NEIGHBOURS = 2 * POEI_LATTICE_AXES };

typedef struct poei_lattice {
  size_t ndim, side[POEI_LATTICE_AXES], stride[POEI_LATTICE_AXES];
  bool wraps[POEI_LATTICE_AXES];
  double coupling[POEI_LATTICE_AXES]; /* of the bonds along each axis */
  size_t n, k;                        /* sites, values of each        */
  double *field;                      /* as the family says, or NULL  */
  poe_support *support;               /* [n] 0 .. k-1                 */
} poei_lattice;

/* Reads the variable and the arguments `coupling` (one number, or one for each axis) and `periodic`. The caller fills
 * `field` and passes the grid to destroy. */
poe_status poei_lattice_create(const poe_args *args, poei_lattice **grid, poe_error *error);

/* The neighbours of a site: at most 6, each with the coupling of its bond. Returns how many. */
size_t poei_lattice_neighbours(const poei_lattice *grid, size_t site, size_t *neighbour, double *coupling);
/* sum over bonds of coupling * pair(x_i, x_j), where pairs(m, x, y) is the sum of pair(x[i], y[i]) over i < m. */
double poei_lattice_bonds(const poei_lattice *grid, const double *x,
                          double (*pairs)(size_t m, const double *x, const double *y));
/* NaN when a number of x[n] is, -inf when one is none of the values, else 0. */
double poei_lattice_outside(const poei_lattice *grid, const double *x);
/* A factor graph with a factor for each bond: coupling * pair[k, k]; and one for each site when site[n or 1, k] is not
 * NULL: site[i * site_step + v]. */
poe_status poei_lattice_factors(const poei_lattice *grid, const double *pair, const double *site, size_t site_step,
                                poe_structure *structure, poe_error *error);

void poei_lattice_destroy(void *self);
void poei_lattice_traits(const void *self, poe_traits *traits);
/* The state of the single-site view is a poei_sites; broken counts the sites outside their values. */
size_t poei_lattice_state_bytes(const void *self);
size_t poei_lattice_no_scratch(const void *self);
poe_status poei_lattice_open(const void *self, const double *x, void *state, poe_scratch *scratch, poe_error *error);
poe_status poei_lattice_set(const void *self, void *state, size_t j, double value, poe_scratch *scratch,
                            poe_error *error);
/* True when a site other than j is outside; then out[k] is -inf. */
bool poei_lattice_broken(const poei_lattice *grid, const poei_sites *sites, size_t j, double *out);

#endif
