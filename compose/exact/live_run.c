/* Running a junction tree at a point (see live.h): from the leaves to the roots for log Z, back for probabilities and
 * draws.
 *
 * A clique's joint table is the product of its tables; each row of it (one joint value of the message's axes) sums to
 * the message and, divided by that, is the variable's conditional distribution. On the way back the rows are multiplied
 * with the probability of the message's axes, which gives the joint probabilities that tables and children read.
 */
#include <math.h>
#include <string.h>

#include "compose/exact/live_parts.h"
#include "core/numerics.h"

/* ---- cliques ---- */

void poei_live_join(const poei_live_bucket *bucket, const size_t *stride, const double *from, double *joint) {
  size_t digit[POEI_LIVE_AXES] = {0}, at = 0, values = bucket->values, step = stride[bucket->axes];
  for (size_t s = 0; s < bucket->states; s++) {
    for (size_t a = 0; a < values; a++) {
      joint[s * values + a] += from[at + a * step];
    }
    at = poei_live_next(bucket, stride, digit, at);
  }
}

/* to[.] += what the joint table has there. */
static void scatter(const poei_live_bucket *bucket, const size_t *stride, const double *joint, double *to) {
  size_t digit[POEI_LIVE_AXES] = {0}, at = 0, values = bucket->values, step = stride[bucket->axes];
  for (size_t s = 0; s < bucket->states; s++) {
    for (size_t a = 0; a < values; a++) {
      to[at + a * step] += joint[s * values + a];
    }
    at = poei_live_next(bucket, stride, digit, at);
  }
}

/* A row's largest value, and all probability on the first entry that has it; NaN where one is. */
static double best_of(size_t values, double *row) {
  size_t best = 0;
  bool bad = false;
  for (size_t a = 0; a < values; a++) {
    bad = bad || isnan(row[a]);
    best = row[a] > row[best] ? a : best;
  }
  double top = row[best];
  for (size_t a = 0; a < values; a++) {
    row[a] = a == best && top > -INFINITY ? 1.0 : 0.0;
  }
  if (bad) {
    return NAN;
  }
  return top;
}

void poei_live_sum(const poei_live_bucket *bucket, double *joint, double *message) {
  size_t values = bucket->values, n = bucket->states * values;
  double beta = bucket->beta;
  for (size_t s = 0; s < bucket->states && isinf(beta); s++) {
    message[s] = best_of(values, joint + s * values);
  }
  for (size_t s = 0; s < bucket->states && !isinf(beta); s++) {
    double *row = joint + s * values, top = -INFINITY;
    for (size_t a = 0; a < values; a++) {
      top = row[a] > top ? row[a] : top;
    }
    message[s] = top;
    double shift = top == -INFINITY ? 0.0 : top;
    for (size_t a = 0; a < values; a++) {
      row[a] = (row[a] - shift) * beta;
    }
  }
  if (isinf(beta)) {
    return;
  }
  poei_vexp(joint, joint, n);
  for (size_t s = 0; s < bucket->states; s++) {
    double *row = joint + s * values, sum = 0.0;
    for (size_t a = 0; a < values; a++) {
      sum += row[a];
    }
    double scale = sum == 0.0 ? 0.0 : 1.0 / sum;
    for (size_t a = 0; a < values; a++) {
      row[a] *= scale;
    }
    message[s] += log(sum) / beta;
  }
}

void poei_live_contract(const poei_live_bucket *bucket, const double *table, const double *messages, double *joint,
                        double *message) {
  memcpy(joint, bucket->base, bucket->states * bucket->values * sizeof *joint);
  for (size_t i = 0; i < bucket->n_inputs; i++) {
    const poei_live_input *input = &bucket->input[i];
    if (input->live) {
      poei_live_join(bucket, input->stride, (input->table ? table : messages) + input->start, joint);
    }
  }
  poei_live_sum(bucket, joint, message);
}

/* ---- to the roots ---- */

size_t poei_live_scratch(const poei_live *live, bool marginals) {
  size_t back = poe_scratch_need(marginals ? live->all_messages : live->messages, sizeof(double)) +
                2 * poe_scratch_need(live->largest, sizeof(double));
  size_t draw = 2 * poe_scratch_need(live->n, sizeof(double)) + poe_scratch_need(live->longest, sizeof(double));
  return back > draw ? back : draw;
}

double poei_live_log_z(const poei_live *live, const double *table, double *message, poe_scratch *scratch) {
  size_t mark = poe_scratch_mark(scratch);
  double *joint = poe_scratch_doubles(scratch, live->largest), total = live->constant, lost = 0.0;
  for (size_t i = 0; i < live->n_loose; i++) {
    total += table[live->loose[i]];
  }
  for (size_t p = 0; p < live->n; p++) {
    const poei_live_bucket *bucket = &live->bucket[p];
    if (!bucket->live) {
      continue;
    }
    double *own = message + bucket->start, top = -INFINITY;
    poei_live_contract(bucket, table, message, joint, own);
    for (size_t s = 0; s < bucket->states; s++) {
      if (own[s] > top || isnan(own[s])) {
        top = own[s];
      }
    }
    if (!(top > -INFINITY)) { /* nothing is possible, or not a number */
      total = top;
      break;
    }
    for (size_t s = 0; s < bucket->states; s++) {
      own[s] -= top;
    }
    double next = total + top; /* Neumaier's sum */
    lost += fabs(total) >= fabs(top) ? (total - next) + top : (top - next) + total;
    total = next;
  }
  poe_scratch_release(scratch, mark);
  return isfinite(total) ? total + lost : total;
}

/* ---- back ---- */

/* The clique of bucket p with the probability of every joint state: share[states] is that of the message's axes. */
static void joint_probabilities(const poei_live_bucket *bucket, const double *table, const double *message,
                                const double *share, double *joint, double *room) {
  if (bucket->live) {
    poei_live_contract(bucket, table, message, joint, room);
  } else {
    memcpy(joint, bucket->base, bucket->states * bucket->values * sizeof *joint);
  }
  for (size_t s = 0; s < bucket->states; s++) {
    for (size_t a = 0; a < bucket->values; a++) {
      joint[s * bucket->values + a] *= share[s];
    }
  }
}

void poei_live_posterior(const poei_live *live, const double *table, const double *message, double *posterior,
                         poe_scratch *scratch) {
  size_t mark = poe_scratch_mark(scratch);
  double *joint = poe_scratch_doubles(scratch, live->largest), *room = poe_scratch_doubles(scratch, live->largest);
  double *share = poe_scratch_doubles(scratch, live->messages);
  memset(posterior, 0, live->tables * sizeof *posterior);
  memset(share, 0, live->messages * sizeof *share);
  for (size_t i = 0; i < live->n_loose; i++) {
    posterior[live->loose[i]] = 1.0;
  }
  for (size_t p = live->n; p-- > 0;) {
    const poei_live_bucket *bucket = &live->bucket[p];
    if (!bucket->live) {
      continue;
    }
    if (bucket->axes == 0) {
      share[bucket->start] = 1.0;
    }
    joint_probabilities(bucket, table, message, share + bucket->start, joint, room);
    for (size_t i = 0; i < bucket->n_inputs; i++) {
      const poei_live_input *input = &bucket->input[i];
      if (input->live) {
        scatter(bucket, input->stride, joint, (input->table ? posterior : share) + input->start);
      }
    }
  }
  poe_scratch_release(scratch, mark);
}

void poei_live_marginals(const poei_live *live, const double *table, const double *message, double *p,
                         poe_scratch *scratch) {
  size_t mark = poe_scratch_mark(scratch);
  double *joint = poe_scratch_doubles(scratch, live->largest), *room = poe_scratch_doubles(scratch, live->largest);
  double *share = poe_scratch_doubles(scratch, live->all_messages);
  memset(share, 0, live->all_messages * sizeof *share);
  for (size_t v = 0; v < live->variables; v++) {
    double certain = live->position[v] == POEI_NO_POSITION ? 1.0 : 0.0;
    for (size_t a = 0; a < live->value_count[v]; a++) {
      p[live->value_start[v] + a] = certain;
    }
  }
  for (size_t q = live->n; q-- > 0;) {
    const poei_live_bucket *bucket = &live->bucket[q];
    double *own = &p[live->value_start[bucket->variable]];
    if (bucket->axes == 0) {
      share[bucket->start] = 1.0;
    }
    joint_probabilities(bucket, table, message, share + bucket->start, joint, room);
    for (size_t i = 0; i < bucket->states * bucket->values; i++) {
      own[i % bucket->values] += joint[i];
    }
    for (size_t i = 0; i < bucket->n_inputs; i++) {
      const poei_live_input *input = &bucket->input[i];
      if (!input->table) {
        scatter(bucket, input->stride, joint, share + input->start);
      }
    }
  }
  poe_scratch_release(scratch, mark);
}

/* ---- draws ---- */

/* weight[values] of a bucket's variable, given digit[axes] of the message's axes. */
static void weigh(const poei_live_bucket *bucket, const size_t *digit, const double *table, const double *message,
                  double *weight) {
  size_t values = bucket->values, row = 0;
  for (size_t j = 0; j < bucket->axes; j++) {
    row = row * bucket->cardinality[j] + digit[j];
  }
  memcpy(weight, bucket->base + row * values, values * sizeof *weight);
  if (!bucket->live) {
    return;
  }
  double top = -INFINITY;
  for (size_t i = 0; i < bucket->n_inputs; i++) {
    const poei_live_input *input = &bucket->input[i];
    const double *from = (input->table ? table : message) + input->start;
    for (size_t j = 0; j < bucket->axes && input->live; j++) {
      from += digit[j] * input->stride[j];
    }
    for (size_t a = 0; a < values && input->live; a++) {
      weight[a] += from[a * input->stride[bucket->axes]];
    }
  }
  for (size_t a = 0; a < values; a++) {
    top = weight[a] > top ? weight[a] : top;
  }
  for (size_t a = 0; a < values; a++) {
    weight[a] -= top;
  }
  poei_vexp(weight, weight, values);
}

/* The first value at which the running sum exceeds u of the whole; one of probability 0 never is. */
static size_t choose(const double *weight, size_t n, double u) {
  double total = 0.0, sum = 0.0;
  size_t last = 0;
  for (size_t a = 0; a < n; a++) {
    total += weight[a];
  }
  for (size_t a = 0; a < n; a++) {
    sum += weight[a];
    last = weight[a] > 0.0 ? a : last;
    if (weight[a] > 0.0 && sum > u * total) {
      return a;
    }
  }
  return last; /* rounding carried u * total up to the sum */
}

void poei_live_draw(const poei_live *live, const double *table, const double *message, poe_rng at, size_t *x,
                    poe_scratch *scratch) {
  size_t mark = poe_scratch_mark(scratch), digit[POEI_LIVE_AXES];
  size_t *known = poe_scratch_bytes(scratch, live->n * sizeof(double));
  double *u = poe_scratch_doubles(scratch, live->n), *weight = poe_scratch_doubles(scratch, live->longest);
  poe_rng_uniforms(at, live->n, u);
  for (size_t p = live->n; p-- > 0;) {
    const poei_live_bucket *bucket = &live->bucket[p];
    for (size_t j = 0; j < bucket->axes; j++) {
      digit[j] = known[bucket->axis[j]];
    }
    weigh(bucket, digit, table, message, weight);
    known[p] = choose(weight, bucket->values, u[p]);
  }
  for (size_t v = 0; v < live->variables; v++) {
    x[v] = live->position[v] == POEI_NO_POSITION ? 0 : known[live->position[v]];
  }
  poe_scratch_release(scratch, mark);
}
