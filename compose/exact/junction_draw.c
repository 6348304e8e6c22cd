/* Exact joint draws from a junction: backwards through the elimination order.
 *
 * When a variable's turn comes, everything its bucket reads but itself is known, and the product of the bucket's tables
 * is its conditional distribution: p(x_v | later) ~ prod_f table_f(x_v, later).
 */
#include <math.h>

#include "compose/exact/junction_parts.h"
#include "core/alloc.h"
#include "core/numerics.h"

void poei_bucket_weights(const poei_junction *junction, size_t p, const size_t *x, double *weight) {
  const poei_bucket *bucket = &junction->bucket[p];
  size_t k = junction->cardinality[p];
  for (size_t a = 0; a < k; a++) {
    weight[a] = bucket->log ? 0.0 : 1.0;
  }
  for (size_t i = 0; i < bucket->n_inputs; i++) {
    const poei_potential *table = &bucket->input[i];
    size_t offset = 0, stride = 0;
    for (size_t j = 0; j < table->n; j++) {
      size_t axis = table->axis[j], cardinality = junction->cardinality[axis];
      stride = axis == p ? 1 : stride * cardinality;
      offset = offset * cardinality + (axis == p ? 0 : x[axis]);
    }
    const double *value = &table->value[offset];
    for (size_t a = 0; a < k && bucket->log; a++) {
      weight[a] += value[a * stride];
    }
    for (size_t a = 0; a < k && !bucket->log; a++) {
      weight[a] *= value[a * stride];
    }
  }
}

/* The first value at which the running sum exceeds u of the whole; one of probability 0 never is. */
static size_t choose(double *weight, size_t k, bool logs, double u) {
  double total = 0.0;
  if (logs) {
    double top = -INFINITY;
    for (size_t a = 0; a < k; a++) {
      top = weight[a] > top ? weight[a] : top;
    }
    for (size_t a = 0; a < k; a++) {
      weight[a] -= top;
    }
    poei_vexp(weight, weight, k);
  }
  for (size_t a = 0; a < k; a++) {
    total += weight[a];
  }
  size_t last = 0;
  double sum = 0.0;
  for (size_t a = 0; a < k; a++) {
    sum += weight[a];
    if (weight[a] > 0.0) {
      last = a;
      if (sum > u * total) {
        return a;
      }
    }
  }
  return last; /* rounding carried u * total up to the sum */
}

size_t poei_junction_draw_scratch(const poei_junction *junction) {
  size_t n = junction->order.n;
  return 2 * poe_scratch_need(n, sizeof(double)) + poe_scratch_need(junction->longest, sizeof(double));
}

void poei_junction_draw(const poei_junction *junction, poe_rng at, size_t *x, poe_scratch *scratch) {
  const poei_elimination *order = &junction->order;
  size_t mark = poe_scratch_mark(scratch), *known = poe_scratch_bytes(scratch, order->n * sizeof(double));
  double *u = poe_scratch_doubles(scratch, order->n), *weight = poe_scratch_doubles(scratch, junction->longest);
  poe_rng_uniforms(at, order->n, u);
  for (size_t p = order->eliminated; p-- > 0;) {
    poei_bucket_weights(junction, p, known, weight);
    known[p] = choose(weight, junction->cardinality[p], junction->bucket[p].log, u[p]);
  }
  for (size_t v = 0; v < junction->graph->n; v++) {
    x[v] = order->position[v] == POEI_NO_POSITION ? 0 : known[order->position[v]];
  }
  poe_scratch_release(scratch, mark);
}

/* ---- many draws, of a junction that does not hold all its messages ---- */

typedef struct crowd {
  size_t n;
  const poe_rng *at; /* [n]                        */
  size_t *known;     /* [n, order n] by position   */
  double *u;         /* [order n]                  */
  double *weight;    /* [longest]                  */
} crowd;

static poe_status draw_part(void *context, const poei_junction *part, size_t from, size_t to, poe_error *error) {
  (void)error;
  crowd *all = context;
  for (size_t i = 0; i < all->n; i++) {
    size_t *known = &all->known[i * part->order.n];
    poe_rng_uniforms(all->at[i], part->order.n, all->u);
    for (size_t p = to; p-- > from;) {
      poei_bucket_weights(part, p, known, all->weight);
      known[p] = choose(all->weight, part->cardinality[p], part->bucket[p].log, all->u[p]);
    }
  }
  return POE_OK;
}

bool poei_junction_is_kept(const poei_junction *junction) {
  return junction->kept;
}

poe_status poei_junction_draws(const poei_junction *junction, size_t n, const poe_rng *at, size_t *x,
                               poe_error *error) {
  const poei_elimination *order = &junction->order;
  size_t total;
  crowd all = {.n = n, .at = at};
  all.known = poei_mul_size(n, order->n, &total) ? poei_alloc(total, sizeof *all.known) : NULL;
  all.u = poei_alloc(order->n, sizeof *all.u);
  all.weight = poei_alloc(junction->longest, sizeof *all.weight);
  poe_status status = all.known == NULL || all.u == NULL || all.weight == NULL
                          ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                          : poei_junction_descend(junction, draw_part, &all, error);
  for (size_t i = 0; status == POE_OK && i < n; i++) {
    for (size_t v = 0; v < junction->graph->n; v++) {
      size_t p = order->position[v];
      x[i * junction->graph->n + v] = p == POEI_NO_POSITION ? 0 : all.known[i * order->n + p];
    }
  }
  poei_free(all.known);
  poei_free(all.u);
  poei_free(all.weight);
  return status;
}
