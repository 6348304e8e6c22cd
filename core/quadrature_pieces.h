/* A box cut into pieces, each with coordinates of its own that resolve what is known to lie in it
 * (quadrature_pieces.c).
 */
#ifndef POE_CORE_QUADRATURE_PIECES_H
#define POE_CORE_QUADRATURE_PIECES_H

#include "core/quadrature.h"
#include "core/quadrature_rule.h"

/* A rectangle of the box, in the t of its own axes; the axes are of the whole box. */
typedef struct poei_piece {
  poei_axis axis[2];
  double t_low[2], t_high[2];
} poei_piece;

typedef struct poei_pieces {
  size_t n;
  poei_piece *item; /* [n] they cover the box once */
} poei_pieces;

/* Cuts low[d]..high[d] (ends may be infinite) around spots[n]; n = 0: one piece. Spots outside are moved to the
 * nearest point. On failure nothing is allocated. */
poe_status poei_pieces_make(size_t d, const double *low, const double *high, size_t n, const poei_spot *spots,
                            poei_pieces *pieces, poe_error *error);
void poei_pieces_free(poei_pieces *pieces);
/* Cell k of the piece's first grid, `side` cells per coordinate: low[d]..high[d] in t. */
void poei_piece_cell(size_t d, const poei_piece *piece, size_t side, size_t k, double *low, double *high);
/* The part low[d]..high[d] of the piece's t with the mass around a spot; false when that is elsewhere. */
bool poei_piece_window(size_t d, const poei_piece *piece, const poei_spot *spot, double *low, double *high);
/* Does the cell low[d]..high[d] meet the window, and is it wider than `widest` scales of the spot? *axis: the side to
 * halve. */
bool poei_piece_too_wide(size_t d, const poei_piece *piece, const double *low, const double *high,
                         const double *window_low, const double *window_high, const poei_spot *spot, double widest,
                         unsigned *axis);

#endif
