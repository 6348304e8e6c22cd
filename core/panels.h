/* Integrals and quantiles of one-dimensional densities given by a smooth log-density whose ups and downs are known:
 * what the masses and draws of truncated families are computed with. Relative precision about 1e-14 however far out in
 * a tail the interval lies. */
#ifndef POE_CORE_PANELS_H
#define POE_CORE_PANELS_H

#include <stddef.h>

/* A log-density at s. */
typedef double (*poei_curve)(const void *context, double s);

/* Panels next to each other that hold all but exp(-45) of the mass; immutable. Freed with poei_free. */
typedef struct poei_panels {
  size_t n;
  double top;     /* masses are relative to exp(top)                                    */
  double at[][2]; /* [n + 1] where panel i begins, and the mass before it               */
} poei_panels;

/* log of the integral of exp f from cut[0] to cut[n]. The cuts ascend; the first may be -inf, the last +inf; f rises or
 * falls throughout between neighbours, and is finite where the cuts are. Where f bends on the scale of 1 without
 * turning a cut helps. +inf when the integral diverges. */
double poei_panels_log_mass(poei_curve f, const void *context, size_t n, const double *cut);
/* The panels themselves, NULL when out of memory or when the integral diverges. */
poei_panels *poei_panels_create(poei_curve f, const void *context, size_t n, const double *cut);
/* The point below which a share 0 < u < 1 of the mass lies. */
double poei_panels_quantile(const poei_panels *panels, poei_curve f, const void *context, double u);

#endif
