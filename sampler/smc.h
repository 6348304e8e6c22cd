/* The state of a sequential Monte Carlo run, shared by smc.c (weights, resampling, estimates), smc_pool.c (the first
 * step), smc_path.c (does it get anywhere?) and smc_moves.c (moving the particles). Internal to these files. */
#ifndef POE_SAMPLER_SMC_H
#define POE_SAMPLER_SMC_H

#include "sampler/kernels/fan.h"
#include "sampler/run.h"
#include "sampler/workers.h"

/* One island: a particle system with weights of its own. */
typedef struct poei_smc_island {
  double log_z;     /* log of the product of the mean incremental weights */
  double variance;  /* relative variance of exp(log_z) from the genealogy */
  double ancestors; /* effective number of first ancestors                */
  double min_ess;   /* smallest ESS of the weights, as a fraction         */
  size_t filled;    /* particles drawn from the base so far               */
  uint64_t tried;   /* draws of the base up to the last particle          */
} poei_smc_island;

/* Coordinates that the spread of others follows (smc_fan.c). */
typedef struct poei_smc_fans {
  double *level;     /* [islands, particles] sum of log distances from the means   */
  double *score;     /* [d] squared correlations with it, 0 where they may be noise */
  double *mean, *sd; /* [d] of the particles just after resampling                  */
  double total;      /* of the scores; 0: there is no fan                           */
  bool seen;         /* particles were moved along one at some temperature          */
  poei_fan fan;      /* the one that was fitted last; along d: none                 */
} poei_smc_fans;

/* All islands share the path and the tuning of the moves. Arrays of islands, particles and coordinates are row-major in
 * that order. */
typedef struct poei_smc {
  const poe_expert *base, *rest;
  poei_run_options options;
  const poei_kernel *kernel;  /* the moves, which are tuned                                      */
  const poei_kernel *also[2]; /* made before each of them: discrete coordinates need others too  */
  size_t n_also;
  bool gradient;
  size_t islands, particles, d, tile_rows, tiles; /* tiles: per island */
  poe_rng root;
  poei_workers workers;
  double beta, change;  /* inverse temperature, and its last increment            */
  size_t temperatures;  /* betas used so far                                      */
  double mark;          /* beta when progress was last looked at                  */
  poei_density density; /* base * rest^beta; its second weight points at beta     */
  poei_kernel_settings settings;
  double *metric;                  /* [d]                                                    */
  double *first_metric;            /* [d] after the first temperature                        */
  double *tail;                    /* [poei_smc_tail_room(islands * particles)]              */
  double *memory;                  /* [d + 1] correlations with the start, log density last  */
  bool heavy;                      /* the tails of weights were heavy at some temperature    */
  double memory_left;              /* of the log density, where moves ended too early: most  */
  size_t steps;                    /* moves so far, all temperatures                         */
  double accepted;                 /* sum over them of the mean acceptance                   */
  poei_smc_island *island;         /* [islands]                                              */
  double *x, *start;               /* [islands, particles, d] now, and after resampling      */
  double *start_logp;              /* [islands, particles] log density just after resampling         */
  double *logp, *grad;             /* [.., particles], [.., particles, d] of base * rest^beta */
  double *log_base, *log_rest;     /* [islands, particles]                                   */
  double *grad_base, *grad_rest;   /* [islands, particles, d], NULL without gradients        */
  double *weight;                  /* [islands, particles] normalised                        */
  double *acceptance, *energy;     /* [islands, particles]                                   */
  unsigned char *diverging;        /* [islands, particles]                                   */
  size_t *eve, *eve_spare;         /* [islands, particles] first ancestors                   */
  poe_rng *at;                     /* [islands, particles]                                   */
  uint64_t *densities, *gradients; /* [islands, tiles] rows evaluated                        */
  poei_smc_fans fans;              /* from the moves that take long */
  size_t round;                    /* of base draws                                          */
  size_t founders;                 /* draws of the base per island that ancestors are counted among */
} poei_smc;

enum { POEI_SMC_KEY_BASE = 1, POEI_SMC_KEY_RESAMPLE = 2, POEI_SMC_KEY_MOVE = 3, POEI_SMC_KEY_FAN = 4 };

/* First row and number of rows of a tile (numbered island * tiles + tile). */
size_t poei_smc_tile_rows(const poei_smc *smc, size_t tile, size_t *first);
/* Where the base is drawn for row `row` (island * particles + particle) of round `round`. */
poe_rng poei_smc_base_address(const poei_smc *smc, size_t round, size_t row);
/* One draw of the base for every particle of the islands that are not full, into `start`; its log rest into `logp`. */
poe_status poei_smc_draw_base(poei_smc *smc, poe_error *error);
/* POE_E_NUMERIC when `logp` of an island has a NaN or +inf at a point of `start`. */
poe_status poei_smc_check_values(const poei_smc *smc, size_t which, poe_error *error);
/* Weights for a change of beta, normalised, into weight[n]; their ESS as a fraction and the log of their mean. */
double poei_smc_weigh(const double *log_rest, size_t n, double change, double *weight, double *log_mean);
/* The largest change of beta, at most `most`, that keeps the ESS fraction of the weights at `least_ess` or more (to a
 * thousandth of the change) and their tail index at `most_index` or less (to a hundredth). *index: what the ESS alone
 * would have given. weight[n], tail[poei_smc_tail_room(n)]: overwritten. */
double poei_smc_next_change(const double *log_rest, size_t n, double most, double least_ess, double most_index,
                            double *weight, double *tail, double *index);
/* ---- smc_tail.c ---- */

/* Numbers that the tail of n weights needs. */
size_t poei_smc_tail_room(size_t n);
/* The largest log weights, in descending order, into tail[poei_smc_tail_room(n)]. */
void poei_smc_tail(const double *log_rest, size_t n, double *tail);
/* Tail index of the n weights rest^change, from what poei_smc_tail has left in `tail`; -inf where there is no tail. */
double poei_smc_tail_index(double *tail, size_t n, double change);
/* ---- smc_pool.c ---- */

/* The first step, from a pool of draws. *used is false, and nothing has changed, when the pool does not suffice.
 * *settled: it reached the target with particles so good that they need not be moved. */
poe_status poei_smc_pool(poei_smc *smc, bool *used, bool *settled, poe_error *error);
/* ---- smc_path.c ---- */

/* After the metric of a new beta: POE_E_NUMERIC when the path will not get to its end. */
poe_status poei_smc_check_path(poei_smc *smc, poe_error *error);
/* ---- smc_fan.c ---- */

/* Room for fans among `rows` particles; false without memory. poei_smc_fan_free suits what either leaves. */
bool poei_smc_fan_create(poei_smc *smc, size_t rows);
void poei_smc_fan_free(poei_smc *smc);
/* Looks for fans among the particles as they were resampled. */
poe_status poei_smc_fan_find(poei_smc *smc, poe_error *error);
/* Moves every particle along one of the fans that were found, if any. */
poe_status poei_smc_fan_move(poei_smc *smc, poe_error *error);
/* ---- smc_moves.c ---- */

size_t poei_smc_scratch(const poei_smc *smc);
/* Sets the metric from the weighted particles; before resampling. */
poe_status poei_smc_set_metric(poei_smc *smc, poe_error *error);
/* Moves the particles until they have forgotten where they were resampled. Stops early when the monitor says so. */
poe_status poei_smc_move(poei_smc *smc, poe_error *error);
/* Fills log_base, log_rest and their gradients at the particles. */
poe_status poei_smc_refresh(poei_smc *smc, poe_error *error);

#endif
