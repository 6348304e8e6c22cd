/* autoregressive(x | file=...), shared by its files: creation (autoregressive_read.c), values and draws
 * (autoregressive.c), one coordinate after the other (autoregressive_prefix.c), single sites (autoregressive_local.c).
 */
#ifndef POE_EXPERTS_AUTOREGRESSIVE_H
#define POE_EXPERTS_AUTOREGRESSIVE_H

#include "experts/conditionals.h"
#include "net/net.h"

typedef struct poei_autoregressive {
  poei_net *net;
  poei_conditional conditional;
  size_t d;
  size_t plane;     /* coordinates whose first parameters stand side by side                      */
  size_t positions; /* networks over sequences: of them, each of d / positions coordinates; else 0 */
  size_t levels;    /* how many                                                                    */
  size_t *order;    /* [d] coordinates by level                                                    */
  size_t *turn;  /* [d] coordinates one after the other: as they are numbered where that is an order, else by level */
  size_t *need;  /* [d] how many of the first ones of `turn` the coordinate at each place of it depends on */
  size_t *first; /* [levels + 1] where each level begins in `order`                             */
  poe_support *support; /* [d]                                                                         */
  unsigned char *head;  /* [d] all 1                                                                   */
} poei_autoregressive;

poe_status poei_autoregressive_create(const poe_args *args, void **self, poe_error *error);
void poei_autoregressive_destroy(void *self);
size_t poei_autoregressive_scratch(const void *self, unsigned want, size_t n);
extern const poe_prefix_ops poei_autoregressive_prefix;
extern const poe_local_ops poei_autoregressive_local;
/* log p of coordinate j of row x[d], with its derivatives in the parameters t and in x_j (dt NULL: not wanted); *ended:
 * whether an end came before. */
double poei_autoregressive_coordinate(const poei_autoregressive *a, const double *x, size_t j, const double *t,
                                      bool *ended, double *dt, double *dx);

/* Where the first parameter of coordinate j is in a row of the network's output; the next ones follow at steps of
 * a->plane. */
static inline size_t poei_autoregressive_place(const poei_autoregressive *a, size_t j) {
  return j / a->plane * a->plane * a->conditional.parameters + j % a->plane;
}

/* t[parameters] of coordinate j from y, the network's output from number `first` of the row on. */
static inline void poei_autoregressive_gather(const poei_autoregressive *a, const double *y, size_t first, size_t j,
                                              double *t) {
  size_t place = poei_autoregressive_place(a, j) - first;
  for (size_t p = 0; p < a->conditional.parameters; p++) {
    t[p] = y[place + p * a->plane];
  }
}

/* Numbers of the network's output at one position. */
static inline size_t poei_autoregressive_width(const poei_autoregressive *a) {
  return poei_net_out_dim(a->net) / a->positions;
}

#endif
