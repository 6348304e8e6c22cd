/* Reading the arguments of `rbm` and `dbm`, or the file they name, into a machine. */
#ifndef POE_EXPERTS_BOLTZMANN_READ_H
#define POE_EXPERTS_BOLTZMANN_READ_H

#include "experts/boltzmann.h"

/* What the numbers of a family are called. */
typedef struct poei_boltzmann_names {
  size_t most;                                   /* hidden layers it may have                                 */
  size_t least;                                  /* hidden layers it must have                                */
  const char *weight[POEI_BOLTZMANN_LAYERS - 1]; /* [most]                                       */
  const char *bias[POEI_BOLTZMANN_LAYERS];       /* [most + 1] the visible one first             */
  bool gaussian;                                 /* visible variables may be real: then there is `sd`         */
} poei_boltzmann_names;

/* The finished machine of the subjects: one, visible, or as many as there are layers. Errors name the argument, or the
 * file and the tensor, and what is wrong with it. */
poe_status poei_boltzmann_read(const poe_args *args, const poei_boltzmann_names *names, poei_boltzmann **out,
                               poe_error *error);

#endif
