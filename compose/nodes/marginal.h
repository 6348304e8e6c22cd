/* The marginal node from inside: what its files share. marginal.c is the node, marginal_sum.c adds up finitely many
 * latent values, marginal_line.c looks along one continuous latent coordinate, marginal_integral.c integrates along it
 * and marginal_profile.c maximises.
 *
 * More latent coordinates than one are taken one after the other, each by a node of its own: with M_h the marginal over
 * h at one beta, M_(k, h1, h2) = M_h2 M_h1 M_k for a discrete k and continuous h1, h2.
 */
#ifndef POE_COMPOSE_MARGINAL_H
#define POE_COMPOSE_MARGINAL_H

#include "compose/nodes/node.h"

typedef enum poei_marginal_route {
  POEI_MARGINAL_NONE, /* cannot be evaluated            */
  POEI_MARGINAL_SUM,  /* finitely many latent values    */
  POEI_MARGINAL_LINE, /* one continuous coordinate left */
  POEI_MARGINAL_VALUE /* through another expert         */
} poei_marginal_route;

/* A continuous coordinate h by an unconstrained u: h = u, low + e^u, high - e^u, or low + (high - low) / (1 + e^-u). */
typedef struct poei_warp {
  double low, high;     /* of h, perhaps infinite                                        */
  double least, most;   /* extreme doubles h may take                                    */
  double u_low, u_high; /* beyond, rounding no longer tells h from the end (or infinite) */
} poei_warp;

typedef struct poei_marginal {
  poei_node node;
  size_t n, full; /* latent coordinates, all coordinates of the child */
  size_t *latent; /* [n] ascending                                    */
  size_t *free;   /* [dim] the child's coordinate of each free one    */
  double beta;    /* infinite: maximised                              */
  poei_marginal_route route;
  size_t states;      /* SUM: joint values of the latents; VALUE: what one row is worth */
  poe_expert *value;  /* VALUE: the same density over the free coordinates              */
  poe_expert *inner;  /* LINE: the child, all latent coordinates but one taken */
  size_t wide;        /* its coordinates: dim + 1                              */
  size_t at;          /* the latent one                                        */
  size_t *inner_free; /* [dim] the others                                      */
  poei_warp warp;     /* of the latent one                                     */
  size_t looks;
  double *look; /* [looks] ascending: u where every row is looked at first     */
} poei_marginal;

/* ---- marginal_sum.c ---- */

size_t poei_marginal_sum_scratch(const poei_marginal *self, unsigned want, size_t n);
poe_status poei_marginal_sum(const poei_marginal *self, poe_rows rows, poe_weights weights, poe_accum out,
                             poe_scratch *scratch, poe_error *error);

/* ---- marginal_line.c ---- */

enum {
  POEI_LINE_ROWS = 272, /* points evaluated at a time           */
  POEI_LINE_DENSE = 16, /* times as many looks, when the first saw nothing */
  POEI_LINE_LOOKS = 72, /* most looks                           */
  POEI_LINE_MODES = 12  /* most that are followed               */
};

/* One row of free coordinates and what is evaluated along its latent coordinate: g(u) = beta log p + log dh/du, or
 * log p alone for a profile. */
typedef struct poei_line {
  const poei_marginal *self;
  double *x;     /* [ROWS, wide] the row, again and again               */
  double *value; /* [ROWS]                                              */
  double *grad;  /* [ROWS, wide]; NULL: no gradient is wanted           */
  double *u, *g; /* [LOOKS * DENSE] points and values                   */
  double bad;    /* what the row is, once +inf was met or the search failed; else 0 */
  bool nan;      /* a search met a NaN                                              */
  poe_scratch *scratch;
  poe_error *error;
} poei_line;

/* A peak of g between a and b: a < m < b, g(m) the largest of the three. */
typedef struct poei_mode {
  double a, m, b, ga, gm, gb;
  double left, right; /* scales: how far g takes to fall by 1/2 */
} poei_mode;

/* Sets the coordinates and the looks of a node whose inner expert is known. */
poe_status poei_line_prepare(poei_marginal *self, poe_error *error);
double poei_warp_h(const poei_warp *warp, double u);
double poei_warp_log_slope(const poei_warp *warp, double u);
size_t poei_line_scratch(const poei_marginal *self, unsigned want);
/* Takes the arrays from the scratch. */
void poei_line_open(poei_line *line, const poei_marginal *self, bool gradient, poe_scratch *scratch, poe_error *error);
void poei_line_row(poei_line *line, const double *free);
/* line->value[n] = log p (and line->grad) at h[n], n <= ROWS. */
poe_status poei_line_at(poei_line *line, size_t n, const double *h, bool gradient);
/* g[n] at u[n], any n; +inf becomes -inf and is noted. */
poe_status poei_line_values(poei_line *line, size_t n, const double *u, double *g);
/* The same while searching: NaN becomes -inf too and is noted. */
poe_status poei_line_search(poei_line *line, size_t n, const double *u, double *g);
/* Peaks of g, as narrow as they are: *n brackets with g(m) - g(a), g(m) - g(b) <= 2. None: -inf wherever looked. */
poe_status poei_line_modes(poei_line *line, poei_mode *modes, size_t *n);
/* Narrows brackets until g falls by no more than `fine` to either side, or as far as doubles go. */
poe_status poei_line_narrow(poei_line *line, size_t n, poei_mode *modes, double fine);
/* Sets left and right. */
poe_status poei_line_scales(poei_line *line, size_t n, poei_mode *modes);

/* ---- marginal_integral.c, marginal_profile.c ---- */

size_t poei_marginal_integral_scratch(const poei_marginal *self, unsigned want);
/* *value = log p at the line's row, and its gradient grad[dim] (NULL: not wanted). *value is NaN where the integral was
 * not found, or diverges. */
poe_status poei_marginal_integral(poei_line *line, double *value, double *grad);
poe_status poei_marginal_profile(poei_line *line, double *value, double *grad);

#endif
