/* What a sampler sees: experts over unconstrained real coordinates, a pool, and nothing else. */
#ifndef POE_SAMPLER_TARGET_H
#define POE_SAMPLER_TARGET_H

#include <stdatomic.h>

#include "core/pool.h"
#include "poe/expert.h"

/* Progress and interruption. `report` may be NULL; it is called from the calling thread between steps. */
typedef struct poei_monitor {
  void (*report)(void *context, const char *phase, size_t done, size_t total);
  void *context;
  const atomic_bool
      *stop; /* NULL or a flag a signal handler sets: the run ends after the current step, keeping what it has */
} poei_monitor;

/* What ended a run with POE_E_NUMERIC, for those who know what the coordinates stand for. */
typedef struct poei_trouble {
  double *point; /* [dim] the caller's; gets the point at which a density was not finite    */
  bool has_point;
  bool has_coordinate;
  size_t coordinate; /* along which particles ran away */
} poei_trouble;

/* As poei_run_options.warmup: none at all. */
#define POEI_NO_WARMUP SIZE_MAX

/* Settings of a run; zeroed fields have the defaults named. */
typedef struct poei_run_options {
  size_t chains;      /* default 4                                                                          */
  size_t warmup;      /* default 1000                                                                       */
  size_t draws;       /* kept per chain, default 1000                                                       */
  size_t thin;        /* default 1: steps per kept draw                                                     */
  double step_size;   /* 0 = adapted; otherwise fixed (MALA's epsilon is that of x + eps^2/2 M grad + eps sqrt(M) xi) */
  size_t leapfrog;    /* HMC: mean number of steps per draw (it is jittered), 0 = 2 / step_size, at most 64           */
  bool estimate_only; /* SMC: log Z is all that is wanted; the particles are not moved at the target      */
  bool fixed_metric;  /* keep the identity metric                                                            */
  uint64_t seed;
  poei_pool *pool; /* NULL = one thread                                                                  */
  poei_monitor monitor;
  poei_trouble *trouble; /* NULL, or says more about a failure */
} poei_run_options;

/* Draws of one run. All arrays owned; freed with poei_draws_free. Exact draws have n_stats = 0 columns filled with NaN.
 */
typedef struct poei_draws {
  size_t chains, draws, dim; /* draws: as many as were finished (less than asked when interrupted)        */
  double *x;                 /* [chains, draws, dim]                                                      */
  double *lp;                /* [chains, draws] log density of the sampled (unconstrained) target          */
  double *acceptance;        /* [chains, draws] acceptance probability; NaN where there is none            */
  unsigned char *diverging;  /* [chains, draws]                                                           */
  double *energy;            /* [chains, draws] Hamiltonian at the draw (HMC), else NaN                    */
  double *step_size;         /* [chains]                                                                  */
  uint64_t density_evaluations, gradient_evaluations; /* rows evaluated                                    */
  bool interrupted;
} poei_draws;
poe_status poei_draws_create(size_t chains, size_t draws, size_t dim, poei_draws *out, poe_error *error);
void poei_draws_free(poei_draws *draws);

#endif
