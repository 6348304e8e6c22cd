/* What the planner sees of an `rbm` or a `dbm`: its machine. */
#ifndef POE_EXPERTS_RBM_H
#define POE_EXPERTS_RBM_H

#include "experts/boltzmann.h"

/* The machine of an `rbm` expert (borrowed), NULL when it is something else. */
const poei_boltzmann *poei_rbm_machine(const poe_expert *expert);
/* The same of an `rbm` or a `dbm`. */
const poei_boltzmann *poei_boltzmann_of(const poe_expert *expert);
/* An `rbm` expert of a machine with its numbers filled in; finishes it, and takes it over whether or not this succeeds.
 */
poe_status poei_rbm_create(poei_boltzmann *machine, poe_expert **expert, poe_error *error);

#endif
