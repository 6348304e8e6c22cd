/* Boltzmann machines in layers: what `rbm` and `dbm` are underneath.
 *
 * Layers 0 (visible), 1, ... of units, coupled between neighbouring layers only. Over binary units
 *
 *   log p(x_0, x_1, ...) = sum_l bias_l . x_l + sum_l x_l' weight_l x_{l+1},
 *
 * and with Gaussian visible units v of standard deviation sd and one hidden layer h
 *
 *   log p(v, h) = -sum_i (v_i - bias_i)^2 / (2 sd_i^2) + c . h + (v / sd^2)' W h,  weight_ij = W_ij / sd_i^2.
 *
 * The coordinates are the units of all layers, or of the visible one alone: then the hidden units are summed out.
 * Units are numbered layer by layer from the visible ones, so a unit that is a coordinate has that coordinate's number.
 * A builder allocates, fills weight, bias and (Gaussian) scale, and finishes. The functions from destroy on have the
 * signatures of the expert's slots.
 */
#ifndef POE_EXPERTS_BOLTZMANN_H
#define POE_EXPERTS_BOLTZMANN_H

#include "poe/expert.h"

enum {
  POEI_BOLTZMANN_LAYERS = 9,            /* at most, the visible one included                                */
  POEI_BOLTZMANN_UNITS = 20,            /* the most units whose joint states are enumerated                 */
  POEI_BOLTZMANN_COUPLINGS = 1 << 22,   /* the most couplings that are offered as a factor graph            */
  POEI_BOLTZMANN_COMPONENTS = 8,        /* hidden units of a mixture of Gaussians offered as closed form ... */
  POEI_BOLTZMANN_FORM_NUMBERS = 1 << 22 /* ... and numbers in its precisions                               */
};

/* How log p of the coordinates comes about. */
typedef enum poei_boltzmann_sum {
  POEI_BOLTZMANN_JOINT,  /* nothing to sum: every unit is a coordinate                                          */
  POEI_BOLTZMANN_CLOSED, /* one hidden layer: a softplus for each unit                                          */
  POEI_BOLTZMANN_FIRST,  /* over the states of layer 1, with a table of the layers above it                     */
  POEI_BOLTZMANN_SECOND, /* over the states of layer 2, layer 1 in closed form, a table of the layers above     */
  POEI_BOLTZMANN_NONE    /* too many states: no log-density                                                     */
} poei_boltzmann_sum;

/* The states of every other layer with their cumulative probabilities; made when first asked for. */
typedef struct poei_boltzmann_states poei_boltzmann_states;

typedef struct poei_boltzmann {
  const char *kind; /* the family, for messages */
  size_t layers, size[POEI_BOLTZMANN_LAYERS], start[POEI_BOLTZMANN_LAYERS + 1];
  size_t units;                                /* start[layers]                                                 */
  bool joint;                                  /* all layers are coordinates                                    */
  size_t dim;                                  /* of the coordinates                                            */
  double *bias;                                /* [units]                                                       */
  double *weight[POEI_BOLTZMANN_LAYERS - 1];   /* [size l, size l+1]                                            */
  double *weight_t[POEI_BOLTZMANN_LAYERS - 1]; /* [size l+1, size l] (finish)                                   */
  double *scale;                               /* [size 0] 1 / sd of Gaussian visible units; NULL: binary ones  */
  poe_support *support;                        /* [dim]                                                         */
  size_t couplings;                            /* that are not 0 (finish)                                       */
  poei_boltzmann_sum sum;                      /* (finish)                                                      */
  double *table;                               /* FIRST, SECOND: [2^size of that layer] log weights of its states,
                                                  the layers above it (and its own bias) summed in (finish)     */
  poei_boltzmann_states *states;               /* NULL: too many for exact log Z and draws (finish)             */
} poei_boltzmann;

/* A machine of layers >= 2 with size[layers] units, all numbers zero. NULL when out of memory or too large. */
poei_boltzmann *poei_boltzmann_alloc(const char *kind, size_t layers, const size_t *size, bool gaussian, bool joint);
/* Derives the rest. POE_E_DOMAIN when the numbers are so large that sums of them overflow, POE_E_MEMORY. */
poe_status poei_boltzmann_finish(poei_boltzmann *m, poe_error *error);

/* POE_E_CAPABILITY, naming the layers and their units, when there are too many hidden states to sum over. */
poe_status poei_boltzmann_evaluable(const poei_boltzmann *m, poe_error *error);

/* ---- arithmetic shared by the slots ---- */

/* sum_j log(1 + e^a_j); e[n] gets exp(-|a_j|). */
double poei_softplus_sum(size_t n, const double *a, double *e);
/* The fields[units] of binary units with nothing set around them; 0 for Gaussian ones. */
void poei_boltzmann_quiet(const poei_boltzmann *m, double *field);
/* field[units] += delta * (couplings of unit u to the units of the neighbouring layers). */
void poei_boltzmann_shift(const poei_boltzmann *m, size_t layer, size_t u, double delta, double *field);
/* For visible units alone. From the fields a[n, size 1] that layer 1 feels (its bias included): value[n] = log of the
 * sum over all hidden states; mean[n, size 1] (NULL: unwanted) the expectation of layer 1, the gradient of value. */
void poei_boltzmann_sum_out(const poei_boltzmann *m, size_t n, const double *a, double *value, double *mean,
                            poe_scratch *scratch);
size_t poei_boltzmann_sum_scratch(const poei_boltzmann *m, size_t n);
/* Units in the layers lowest, lowest + 1, ... that are `parity` (0, 1) layers away from layer 0, modulo 2. */
size_t poei_boltzmann_side(const poei_boltzmann *m, size_t lowest, size_t parity);
/* Layer, and place in it, of the i-th unit of a side. */
void poei_boltzmann_side_unit(const poei_boltzmann *m, size_t lowest, size_t parity, size_t i, size_t *layer,
                              size_t *unit);
/* Factors that enumerating the states of that side takes, infinite when they are too many; few enough to do it? */
double poei_boltzmann_work(const poei_boltzmann *m, size_t lowest, size_t parity);
bool poei_boltzmann_few(const poei_boltzmann *m, size_t lowest, size_t parity);
/* log_weight[2^side] of the states of that side, the other units of layers lowest, ... summed (integrated) out. Bit i
 * of a state is the i-th unit of the side. POE_E_MEMORY. */
poe_status poei_boltzmann_log_weights(const poei_boltzmann *m, size_t lowest, size_t parity, double *log_weight,
                                      poe_error *error);
/* Prepares exact log Z and draws where that is possible; small tables are made at once. */
poe_status poei_boltzmann_states_create(poei_boltzmann *m, poe_error *error);
void poei_boltzmann_states_destroy(poei_boltzmann_states *states);

/* ---- slots ---- */

extern const poe_local_ops poei_boltzmann_local;
void poei_boltzmann_destroy(void *self);
void poei_boltzmann_traits(const void *self, poe_traits *traits);
size_t poei_boltzmann_scratch(const void *self, unsigned want, size_t n);
poe_status poei_boltzmann_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                   poe_scratch *scratch, poe_error *error);
poe_status poei_boltzmann_sample(const void *self, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                                 poe_error *error);
poe_status poei_boltzmann_log_z(const void *self, double *log_z, poe_error *error);
poe_status poei_boltzmann_form(const void *self, poe_form *form, poe_error *error);
poe_status poei_boltzmann_structure(const void *self, poe_structure *structure, poe_error *error);
poe_status poei_boltzmann_onehot_grad_add(const void *self, poe_rows rows, poe_weights weights, double *out, size_t ldo,
                                          poe_scratch *scratch, poe_error *error);

#endif
