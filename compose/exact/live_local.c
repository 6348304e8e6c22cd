/* Elimination at a point next to one where it was done (see live.h): a table has a part in the messages on the way from
 * where it is read to the root, and in no others. Going back from the root,
 *
 *   outside_p(axes of p) = sum over the rest of parent q's clique of (tables at q, messages of p's siblings, outside_q)
 *
 * is what all tables but those of p's subtree say; together with the clique of p it is the whole sum (Shafer and Shenoy
 * 1990), and it stays as it is while only p's subtree changes.
 */
#include <math.h>
#include <string.h>

#include "compose/exact/live_parts.h"
#include "core/numerics.h"

size_t poei_live_buckets(const poei_live *live) {
  return live->n;
}

size_t poei_live_local_scratch(const poei_live *live) {
  return poe_scratch_need(live->n * sizeof(size_t), 1) + 2 * poe_scratch_need(live->largest, sizeof(double));
}

void poei_live_touch(const poei_live *live, size_t i, unsigned char *stale) {
  for (size_t p = live->home[i]; p != POEI_NO_POSITION; p = live->bucket[p].parent) {
    stale[p] = 1;
  }
}

/* The message of a bucket less its largest value, which goes to *shift. */
static void renew(const poei_live_bucket *bucket, const double *table, double *message, double *shift, double *joint) {
  double *own = message + bucket->start, top = -INFINITY;
  poei_live_contract(bucket, table, message, joint, own);
  for (size_t s = 0; s < bucket->states; s++) {
    if (own[s] > top || isnan(own[s])) {
      top = own[s];
    }
  }
  for (size_t s = 0; s < bucket->states && top > -INFINITY; s++) {
    own[s] -= top;
  }
  *shift = top;
}

double poei_live_refresh(const poei_live *live, const double *table, const unsigned char *stale,
                         const unsigned char *but, double *message, double *shift, poe_scratch *scratch) {
  size_t mark = poe_scratch_mark(scratch);
  double *joint = poe_scratch_doubles(scratch, live->largest), total = live->constant, lost = 0.0;
  for (size_t i = 0; i < live->n_loose; i++) {
    total += table[live->loose[i]];
  }
  bool empty = total == -INFINITY, bad = isnan(total);
  for (size_t p = 0; p < live->n; p++) {
    const poei_live_bucket *bucket = &live->bucket[p];
    if (!bucket->live || (but != NULL && but[p])) {
      continue;
    }
    if (stale[p]) {
      renew(bucket, table, message, &shift[p], joint);
    }
    empty = empty || shift[p] == -INFINITY;
    bad = bad || isnan(shift[p]);
    double next = total + shift[p]; /* Neumaier's sum */
    lost += fabs(total) >= fabs(shift[p]) ? (total - next) + shift[p] : (shift[p] - next) + total;
    total = next;
  }
  poe_scratch_release(scratch, mark);
  if (bad) {
    return NAN;
  }
  if (empty) {
    return -INFINITY;
  }
  return isfinite(total) ? total + lost : total;
}

/* ---- from outside ---- */

bool poei_live_goes_back(const poei_live *live) {
  return !live->ordered;
}

size_t poei_live_home(const poei_live *live, size_t i) {
  return live->home[i] == POEI_NO_POSITION ? POEI_LIVE_NOWHERE : live->home[i];
}

void poei_live_hear(const poei_live *live, size_t i, unsigned char *away) {
  for (size_t p = live->home[i]; p != POEI_NO_POSITION; p = live->bucket[p].parent) {
    away[p] |= 2; /* has the table in its subtree */
  }
  for (size_t p = 0; p < live->n; p++) {
    away[p] = (away[p] & 2) != 0 ? away[p] & 1 : 1;
  }
}

/* to[size] = the sum at beta of the joint states that fall on each entry; joint is used up, sum[size] is work space. */
static void scatter_sum(const poei_live *live, const poei_live_bucket *bucket, const size_t *stride, double *joint,
                        size_t size, double *sum, double *to) {
  size_t values = bucket->values, n = bucket->states * values, step = stride[bucket->axes], at = 0;
  size_t digit[POEI_LIVE_AXES] = {0};
  for (size_t i = 0; i < size; i++) {
    to[i] = -INFINITY;
    sum[i] = 0.0;
  }
  for (size_t s = 0; s < bucket->states; s++) { /* the largest of each */
    for (size_t a = 0; a < values; a++) {
      double v = joint[s * values + a];
      if (v > to[at + a * step] || isnan(v)) {
        to[at + a * step] = v;
      }
    }
    at = poei_live_next(bucket, stride, digit, at);
  }
  if (isinf(live->beta)) {
    return;
  }
  for (size_t s = 0; s < bucket->states; s++) { /* digits and offset are back at their start */
    for (size_t a = 0; a < values; a++) {
      double most = to[at + a * step];
      joint[s * values + a] = (joint[s * values + a] - (most == -INFINITY ? 0.0 : most)) * live->beta;
    }
    at = poei_live_next(bucket, stride, digit, at);
  }
  poei_vexp(joint, joint, n);
  for (size_t s = 0; s < bucket->states; s++) {
    for (size_t a = 0; a < values; a++) {
      sum[at + a * step] += joint[s * values + a];
    }
    at = poei_live_next(bucket, stride, digit, at);
  }
  for (size_t i = 0; i < size; i++) {
    to[i] += to[i] == -INFINITY ? 0.0 : log(sum[i]) / live->beta;
  }
}

/* outside of bucket p, given that of its parent. */
static void renew_outside(const poei_live *live, size_t p, const double *table, const double *message, double *outside,
                          poe_scratch *scratch) {
  size_t mark = poe_scratch_mark(scratch), q = live->bucket[p].parent, n = live->bucket[p].states;
  double *own = outside + live->bucket[p].start, top = -INFINITY;
  if (q == POEI_NO_POSITION) {
    own[0] = 0.0; /* a root's message is one number */
    return;
  }
  const poei_live_bucket *bucket = &live->bucket[q];
  size_t values = bucket->values;
  const size_t *stride = NULL;
  double *joint = poe_scratch_doubles(scratch, live->largest), *sum = poe_scratch_doubles(scratch, live->largest);
  memcpy(joint, bucket->base, bucket->states * values * sizeof *joint);
  for (size_t i = 0; i < bucket->n_inputs; i++) {
    const poei_live_input *input = &bucket->input[i];
    if (!input->table && input->start == live->bucket[p].start) {
      stride = input->stride;
    } else if (input->live) {
      poei_live_join(bucket, input->stride, (input->table ? table : message) + input->start, joint);
    }
  }
  for (size_t s = 0; s < bucket->states; s++) {
    for (size_t a = 0; a < values; a++) {
      joint[s * values + a] += outside[bucket->start + s];
    }
  }
  scatter_sum(live, bucket, stride, joint, n, sum, own);
  for (size_t i = 0; i < n; i++) {
    if (own[i] > top || isnan(own[i])) {
      top = own[i];
    }
  }
  for (size_t i = 0; i < n && top > -INFINITY; i++) {
    own[i] -= top;
  }
  poe_scratch_release(scratch, mark);
}

void poei_live_outside(const poei_live *live, size_t p, const double *table, const double *message, double *outside,
                       unsigned char *away, poe_scratch *scratch) {
  size_t mark = poe_scratch_mark(scratch), n = 0, *path = poe_scratch_bytes(scratch, live->n * sizeof *path);
  for (size_t q = p; q != POEI_NO_POSITION && away[q] != 0; q = live->bucket[q].parent) {
    path[n++] = q;
  }
  while (n > 0) { /* from above */
    renew_outside(live, path[--n], table, message, outside, scratch);
    away[path[n]] = 0;
  }
  poe_scratch_release(scratch, mark);
}

double poei_live_seen_from(const poei_live *live, size_t p, const double *table, const double *message,
                           const double *outside, poe_scratch *scratch) {
  size_t mark = poe_scratch_mark(scratch), n = live->bucket[p].states;
  const poei_live_bucket *bucket = &live->bucket[p];
  double *joint = poe_scratch_doubles(scratch, live->largest), *own = poe_scratch_doubles(scratch, n), value = 0.0;
  poei_live_contract(bucket, table, message, joint, own);
  poei_live_bucket all = {.beta = live->beta, .states = 1, .values = n};
  for (size_t s = 0; s < n; s++) {
    own[s] += outside[bucket->start + s];
  }
  poei_live_sum(&all, own, &value);
  poe_scratch_release(scratch, mark);
  return value;
}
