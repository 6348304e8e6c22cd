/* Down a junction tree, from its roots to its leaves, with as many messages as the byte limit allows.
 *
 * Draws, marginals and the most probable values read the tables of every bucket once, the last position first. Where
 * all messages fit they are there. Else they are made again, a stretch of positions at a time: a stretch that does not
 * fit is halved; the first half is eliminated for the messages that the second one reads, the second half is gone
 * through, then the first (Griewank 1992, "checkpointing"). Each halving costs about half an elimination more.
 */
#include <math.h>
#include <string.h>

#include "compose/exact/junction_parts.h"
#include "core/alloc.h"

typedef struct descent {
  poei_junction part; /* the junction, with buckets of its own */
  poei_bucket_visit *visit;
  void *context;
} descent;

static double bytes_of(const poei_junction *junction, size_t from, size_t to) {
  return junction->bytes[to] - junction->bytes[from];
}

/* The position in from + 1 .. to - 1 that halves the bytes of a stretch. */
static size_t middle(const poei_junction *junction, size_t from, size_t to) {
  size_t at = from + 1;
  while (at + 1 < to && bytes_of(junction, from, at) < 0.5 * bytes_of(junction, from, to)) {
    at++;
  }
  return at;
}

/* Is the message of p, in a stretch that ends before `to`, read in it? */
static bool is_read(const poei_junction *junction, size_t p, size_t to) {
  size_t parent = junction->order.parent[p];
  return parent != POEI_NO_POSITION && parent < to;
}

static double bytes_needed(const poei_junction *junction, size_t from, size_t to, double limit) {
  double all = bytes_of(junction, from, to);
  if (all <= limit || to - from <= 1) {
    return all;
  }
  size_t half = middle(junction, from, to);
  double held = 0.0, most = 0.0;
  for (size_t p = from; p < half; p++) {
    held += bytes_of(junction, p, p + 1);
    most = fmax(most, held);
    for (size_t c = junction->bucket[p].child; c != POEI_NO_POSITION; c = junction->bucket[c].sibling) {
      held -= c >= from ? bytes_of(junction, c, c + 1) : 0.0;
    }
    held -= is_read(junction, p, to) ? 0.0 : bytes_of(junction, p, p + 1);
  }
  most = fmax(most, held + bytes_needed(junction, half, to, limit - held));
  return fmax(most, bytes_needed(junction, from, half, limit));
}

double poei_descent_bytes(const poei_junction *junction, double limit) {
  return bytes_needed(junction, 0, junction->order.eliminated, limit);
}

/* ---- stretches ---- */

static void drop(poei_junction *part, size_t p) {
  poei_bucket *bucket = &part->bucket[p];
  poei_free(bucket->value);
  *bucket = (poei_bucket){.child = bucket->child, .sibling = bucket->sibling};
}

/* Inputs are of the region: what is left of a stretch are its messages. */
static void forget_inputs(poei_junction *part, size_t from, size_t to) {
  for (size_t p = from; p < to; p++) {
    part->bucket[p].input = NULL;
    part->bucket[p].n_inputs = 0;
  }
  poei_region_free(&part->region);
  poei_region_init(&part->region, SIZE_MAX);
}

/* The messages of from .. half - 1 that half .. to - 1 reads; *held: their bytes. */
static poe_status advance(descent *run, size_t from, size_t half, size_t to, double *held, poe_error *error) {
  poe_status status = POE_OK;
  *held = 0.0;
  for (size_t p = from; p < half && status == POE_OK; p++) {
    status = poei_bucket_eliminate(&run->part, p, from, error);
    if (status == POE_OK && !is_read(&run->part, p, to)) {
      drop(&run->part, p);
    }
  }
  forget_inputs(&run->part, from, half);
  for (size_t p = from; p < half; p++) {
    *held += run->part.bucket[p].value == NULL ? 0.0 : bytes_of(&run->part, p, p + 1);
  }
  return status;
}

static poe_status pass(descent *run, size_t from, size_t to, poe_error *error) {
  poe_status status = POE_OK;
  for (size_t p = from; p < to && status == POE_OK; p++) {
    status = poei_bucket_eliminate(&run->part, p, SIZE_MAX, error);
  }
  if (status == POE_OK) {
    status = run->visit(run->context, &run->part, from, to, error);
  }
  forget_inputs(&run->part, from, to);
  for (size_t p = from; p < to; p++) {
    drop(&run->part, p);
  }
  return status;
}

static poe_status descend(descent *run, size_t from, size_t to, double limit, poe_error *error) {
  if (bytes_of(&run->part, from, to) <= limit || to - from <= 1) {
    return pass(run, from, to, error);
  }
  size_t half = middle(&run->part, from, to);
  double held;
  poe_status status = advance(run, from, half, to, &held, error);
  if (status == POE_OK) {
    status = descend(run, half, to, limit - held, error);
  }
  for (size_t p = from; p < half; p++) {
    drop(&run->part, p);
  }
  return status == POE_OK ? descend(run, from, half, limit, error) : status;
}

poe_status poei_junction_descend(const poei_junction *junction, poei_bucket_visit *visit, void *context,
                                 poe_error *error) {
  size_t n = junction->order.eliminated;
  if (junction->kept || n == 0) {
    return visit(context, junction, 0, n, error);
  }
  descent run = {*junction, visit, context};
  run.part.bucket = poei_calloc(n, sizeof *run.part.bucket);
  if (run.part.bucket == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t p = 0; p < n; p++) {
    run.part.bucket[p].child = junction->bucket[p].child;
    run.part.bucket[p].sibling = junction->bucket[p].sibling;
  }
  poei_region_init(&run.part.region, SIZE_MAX);
  poe_status status = descend(&run, 0, n, (double)junction->options.byte_limit, error);
  for (size_t p = 0; p < n; p++) {
    poei_free(run.part.bucket[p].value);
  }
  poei_free(run.part.bucket);
  poei_region_free(&run.part.region);
  return status;
}
