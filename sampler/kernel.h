/* Markov kernels: const records. A kernel sees an expert in unconstrained coordinates and advances many chains in
 * lockstep, a tile at a time; every kernel here leaves the target invariant except where `biased` says otherwise. */
#ifndef POE_SAMPLER_KERNEL_H
#define POE_SAMPLER_KERNEL_H

#include "sampler/target.h"

/* X(word) defines poei_<word>_kernel */
#define POEI_KERNEL_LIST(X) X(rwm) X(ula) X(mala) X(hmc) X(imh) X(gibbs)

/* State of n chains of one tile; arrays are the run's. */
typedef struct poei_tile {
  size_t n, d;
  double *x;                /* [n, d] current states                          */
  double *logp;             /* [n] log density there                          */
  double *grad;             /* [n, d] gradient there (kernels that need one)  */
  double *acceptance;       /* [n] out: probability to accept (first attempt) */
  double *energy;           /* [n] out: Hamiltonian, or NaN                   */
  unsigned char *diverging; /* [n] out                                  */
  const poe_rng *at;        /* [n] addresses of this step                     */
} poei_tile;

/* What a step needs to know. */
typedef struct poei_kernel_settings {
  double step_size;
  const double *metric;       /* [d] diagonal of M (inverse mass): proposals are scaled by sqrt(M) */
  size_t leapfrog;            /* HMC: mean number of steps */
  const double *center;       /* HMC: [d] about which it dilates now and then (kernels/dilation.h); NULL: it does not */
  const poe_expert *proposal; /* imh: what it draws from, which can be evaluated too                           */
  bool keeps_gradient;        /* imh, gibbs: tile->grad is kept true for a kernel that needs it                */
} poei_kernel_settings;

/* The density a kernel samples: log p = sum_j weight_j[i * inc] log expert_j. One term with weight 1, or base and
 * rest^beta with a beta per row along a path. */
typedef struct poei_density {
  size_t n_terms;
  const poe_expert *term[2];
  poe_weights weight[2];
} poei_density;

typedef struct poei_kernel {
  const char *name;
  const char *doc;
  bool needs_gradient;
  bool biased;              /* no Metropolis correction */
  bool independent;         /* draws from settings->proposal, whatever the coordinates are */
  bool discrete;            /* moves the discrete coordinates and no others                */
  double target_acceptance; /* for step-size adaptation; 0 = none */
  /* Scratch besides that of the density's gradient for n rows. */
  size_t (*scratch)(size_t n, size_t d);
  /* The same, for kernels that need more of the experts than their density; NULL: nothing. */
  size_t (*more)(const poei_density *density, const poei_kernel_settings *settings, size_t n);
  /* One transition of every chain in the tile. Adds to *gradients, *densities the rows evaluated. */
  poe_status (*step)(const poei_density *density, const poei_kernel_settings *settings, poei_tile *tile,
                     uint64_t *densities, uint64_t *gradients, poe_scratch *scratch, poe_error *error);
} poei_kernel;

#define POEI_KERNEL_DECLARE(word) extern const poei_kernel poei_##word##_kernel;
POEI_KERNEL_LIST(POEI_KERNEL_DECLARE)
#undef POEI_KERNEL_DECLARE
extern const poei_kernel *const poei_kernels[]; /* ends with NULL */
const poei_kernel *poei_kernel_find(const char *name);

#endif
