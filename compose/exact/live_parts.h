/* What live.c makes and live_run.c runs. */
#ifndef POE_COMPOSE_EXACT_LIVE_PARTS_H
#define POE_COMPOSE_EXACT_LIVE_PARTS_H

#include "compose/exact/junction_parts.h"
#include "compose/exact/live.h"

enum { POEI_LIVE_AXES = 64 }; /* of a clique at most: each has two values or more */

/* A live table or the message of a child, as read by a bucket. */
typedef struct poei_live_input {
  bool table, live; /* a live table, else the message of a child; it is not in the base */
  size_t start;     /* of it among the tables or messages                             */
  size_t *stride;   /* [axes + 1] of the clique's axes in it; the variable's last     */
} poei_live_input;

/* A variable, and the clique it is eliminated from: the message's axes (slowest first), then the variable. */
typedef struct poei_live_bucket {
  bool live;
  size_t variable, parent;
  double beta;                 /* of the sum over the variable; infinite: a maximum */
  size_t axes, states, values; /* of the message, of the message, of the variable                                */
  const size_t *axis;          /* [axes] positions                                                                */
  size_t *cardinality;         /* [axes]                                                                          */
  double *base;                /* [states, values] live: logs of what is not; else p(variable | message's axes)   */
  size_t start;                /* of the message: live ones come first                                            */
  size_t n_inputs;
  poei_live_input *input; /* live tables, and all children                                                  */
} poei_live_bucket;

struct poei_live {
  poei_region region;
  size_t n, variables, values, longest, largest; /* buckets; of the graph; most values, largest clique          */
  size_t *position;                              /* [variables]                                                 */
  size_t *value_start;                           /* [variables]                                                 */
  size_t *value_count;                           /* [variables]                                                 */
  poei_live_bucket *bucket;                      /* [n] in the order of elimination                             */
  double constant;                               /* with what was eliminated once                               */
  size_t n_tables, tables;
  size_t *table_start; /* [n_tables]                           */
  size_t *home;        /* [n_tables] bucket that reads it, POEI_NO_POSITION: none */
  double beta;
  bool ordered; /* not all variables go by the same operation */
  size_t n_loose;
  size_t *loose; /* [n_loose] starts of tables of one entry */
  size_t messages, all_messages;
  double work;
};

/* at: offset of the joint state before; returns that of the next one along strides. digit[axes]. */
static inline size_t poei_live_next(const poei_live_bucket *bucket, const size_t *stride, size_t *digit, size_t at) {
  for (size_t j = bucket->axes; j-- > 0;) {
    at += stride[j];
    if (++digit[j] < bucket->cardinality[j]) {
      return at;
    }
    at -= stride[j] * bucket->cardinality[j];
    digit[j] = 0;
  }
  return at;
}

/* joint[states, values] += the table at `from`. */
void poei_live_join(const poei_live_bucket *bucket, const size_t *stride, const double *from, double *joint);
/* message[states] = log sum of each row of joint[states, values] at the bucket's beta; the rows become probabilities.
 */
void poei_live_sum(const poei_live_bucket *bucket, double *joint, double *message);

/* The joint table of a live bucket, its rows as probabilities: joint[states, values], message[states]. */
void poei_live_contract(const poei_live_bucket *bucket, const double *table, const double *messages, double *joint,
                        double *message);

#endif
