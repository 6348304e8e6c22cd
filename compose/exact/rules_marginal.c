/* The rule for marginals and profiles: what does not read a latent coordinate comes out, and latent coordinates that no
 * factor joins are integrated (or maximised) apart:
 *
 *   M_h [ a(x) b(x, h1) c(x, h2) ] = a(x) M_h1[b](x) M_h2[c](x),   M = (1/beta) log int exp(beta .), or max
 *
 * Applies to a marginal of a product of which at least one factor reads no latent coordinate, or whose factors fall
 * into two or more groups by the latent coordinates they share. Constants come out too. Closed forms of what is left
 * are the business of the rules over forms.
 *
 * A factor that is normalised over latent coordinates that no other factor reads integrates to 1 and goes, over and
 * over (barren nodes: Shachter 1986): the marginal of p(z) p(c | z) over c is p(z).
 *
 * Discrete latent coordinates that hang together and have too many joint values for the node to go through are
 * eliminated instead where the factors allow it: variables one after the other, at every point.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "compose/exact/choose.h"
#include "compose/exact/rules.h"
#include "compose/exact/summed.h"
#include "compose/exact/tree.h"
#include "core/alloc.h"

bool poei_rule_marginal_applies(const poe_expert *expert) {
  return poei_node_kind_of(expert) == POEI_NODE_marginal &&
         poei_node_kind_of(poei_node_child(expert, 0)) != POEI_NODE_LEAF;
}

/* The factors of a marginal's child, sorted by the latent coordinates they read. */
typedef struct split {
  poei_parts parts;      /* over the child's coordinates                              */
  size_t *rank;          /* [child dim] position among the free coordinates; LATENT, or GONE with its factor */
  size_t *owner, *group; /* [child dim], [parts.n] groups joined by latent coordinates; SIZE_MAX: none */
  size_t groups, gone;   /* gone: factors that integrated to 1 */
} split;

#define LATENT SIZE_MAX
#define GONE (SIZE_MAX - 1)

static void split_free(split *s) {
  poei_parts_free(&s->parts);
  poei_free(s->rank);
  poei_free(s->owner);
  poei_free(s->group);
}

/* The group a coordinate's group was joined to. */
static size_t root_of(const size_t *joined, size_t g) {
  while (joined[g] != g) {
    g = joined[g];
  }
  return g;
}

/* Joins the factors that share latent coordinates; owner and group get the groups' numbers. */
static poe_status join(split *s, poe_error *error) {
  size_t *joined = poei_alloc(s->parts.n + 1, sizeof *joined), *number = poei_alloc(s->parts.n + 1, sizeof *number);
  if (joined == NULL || number == NULL) {
    poei_free(joined);
    poei_free(number);
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t c = 0; c < s->parts.dim; c++) {
    s->owner[c] = SIZE_MAX;
  }
  for (size_t i = 0; i < s->parts.n; i++) {
    const poei_part *part = &s->parts.item[i];
    joined[i] = i;
    number[i] = SIZE_MAX;
    s->group[i] = SIZE_MAX;
    for (size_t j = 0; j < part->n; j++) {
      size_t c = part->index[j];
      if (s->rank[c] != LATENT) {
        continue;
      }
      s->group[i] = i;
      if (s->owner[c] == SIZE_MAX) {
        s->owner[c] = i;
      } else {
        joined[root_of(joined, s->owner[c])] = root_of(joined, i);
      }
    }
  }
  for (size_t i = 0; i < s->parts.n; i++) {
    if (s->group[i] != SIZE_MAX) {
      size_t root = root_of(joined, i);
      number[root] = number[root] == SIZE_MAX ? s->groups++ : number[root];
      s->group[i] = number[root];
    }
  }
  poei_free(joined);
  poei_free(number);
  return POE_OK;
}

/* Does the factor integrate to 1 over latent coordinates that nothing else reads, and leave the others to other
 * factors? readers[child dim]: factors that read a coordinate. */
static bool is_barren(const split *s, const poei_part *part, const size_t *readers) {
  const poe_traits *traits = poe_expert_traits(part->expert);
  bool any = false;
  if (part->exponent != 1.0 || traits->head == NULL || traits->offset_error > 0.0) {
    return false;
  }
  for (size_t k = 0; k < part->n; k++) {
    size_t c = part->index[k];
    bool own = s->rank[c] == LATENT && readers[c] == 1;
    if (traits->head[k] ? !own : readers[c] == 1) {
      return false;
    }
    any = any || traits->head[k];
  }
  return any;
}

/* Takes barren factors away until none is left; s->owner is the work space. */
static void drop_barren(split *s) {
  size_t *readers = s->owner;
  for (size_t c = 0; c < s->parts.dim; c++) {
    readers[c] = 0;
  }
  for (size_t i = 0; i < s->parts.n; i++) {
    for (size_t k = 0; k < s->parts.item[i].n; k++) {
      readers[s->parts.item[i].index[k]]++;
    }
  }
  for (size_t i = 0; i < s->parts.n;) {
    const poei_part *part = &s->parts.item[i];
    if (!is_barren(s, part, readers)) {
      i++;
      continue;
    }
    for (size_t k = 0; k < part->n; k++) {
      readers[part->index[k]]--;
      if (poe_expert_traits(part->expert)->head[k]) {
        s->rank[part->index[k]] = GONE;
      }
    }
    poei_parts_remove(&s->parts, i);
    s->gone++;
    i = 0; /* what it read may be read by one factor alone now */
  }
}

static poe_status split_open(const poe_expert *expert, split *s, poe_error *error) {
  const poe_expert *child = poei_node_child(expert, 0);
  size_t dim = poe_expert_traits(child)->dim;
  poe_status status = poei_parts_open(child, POEI_OPEN_ALL, &s->parts, NULL, error);
  if (status != POE_OK) {
    return status;
  }
  s->rank = poei_alloc(dim, sizeof *s->rank);
  s->owner = poei_alloc(dim, sizeof *s->owner);
  s->group = poei_alloc(s->parts.n, sizeof *s->group);
  if (s->rank == NULL || s->owner == NULL || s->group == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t c = 0; c < dim; c++) {
    s->rank[c] = LATENT;
  }
  for (size_t j = 0; j < poe_expert_traits(expert)->dim; j++) {
    s->rank[poei_marginal_free(expert)[j]] = j;
  }
  if (poei_marginal_beta(expert) == 1.0) {
    drop_barren(s);
  }
  return join(s, error);
}

/* Is there something to take apart? Every latent coordinate must be read by a factor. */
static bool split_useful(const split *s) {
  size_t outside = 0;
  for (size_t i = 0; i < s->parts.n; i++) {
    outside += s->group[i] == SIZE_MAX;
  }
  for (size_t c = 0; c < s->parts.dim; c++) {
    if (s->rank[c] == LATENT && s->owner[c] == SIZE_MAX) {
      return false;
    }
  }
  return outside > 0 || s->groups > 1 || s->gone > 0 || s->parts.constant != 0.0;
}

static int compare_indices(const void *a, const void *b) {
  size_t x = *(const size_t *)a, y = *(const size_t *)b;
  return (x > y) - (x < y);
}

/* The coordinates of a group, ascending: where[*n]; place[child dim] is each one's position. */
static void group_coordinates(const split *s, size_t which, size_t *where, size_t *n, size_t *place) {
  *n = 0;
  for (size_t c = 0; c < s->parts.dim; c++) {
    place[c] = SIZE_MAX;
  }
  for (size_t i = 0; i < s->parts.n; i++) {
    for (size_t j = 0; s->group[i] == which && j < s->parts.item[i].n; j++) {
      size_t c = s->parts.item[i].index[j];
      if (place[c] == SIZE_MAX) {
        place[c] = 0;
        where[(*n)++] = c;
      }
    }
  }
  qsort(where, *n, sizeof *where, compare_indices);
  for (size_t k = 0; k < *n; k++) {
    place[where[k]] = k;
  }
}

/* Adds the constant that a group of latent coordinates alone is, (1/beta) log int product^beta, where its log Z is
 * closed or a quadrature's; POE_E_CAPABILITY where it is neither. */
static poe_status add_constant(const poe_expert *product, double beta, const poei_plan_options *options,
                               poei_parts *whole, poe_error *error) {
  size_t dim = poe_expert_traits(product)->dim;
  poei_parts sharpened = {.dim = dim};
  poe_expert *powered = NULL;
  poei_plan *plan = NULL;
  poei_plan_options own = *options;
  own.names = (poei_names){0};
  own.trace = NULL;
  size_t *all = poei_alloc(dim, sizeof *all);
  poe_status status = all == NULL        ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                      : isinf(beta) != 0 ? poe_error_set(error, POE_E_CAPABILITY, "a maximum stands alone")
                                         : POE_OK;
  for (size_t j = 0; j < dim && status == POE_OK; j++) {
    all[j] = j;
  }
  status = status == POE_OK ? poei_parts_add(&sharpened, product, dim, all, beta, error) : status;
  status = status == POE_OK ? poei_parts_close(&sharpened, &powered, error) : status;
  status = status == POE_OK ? poei_plan_tree(powered, &own, true, &plan, error) : status;
  if (status == POE_OK && plan->has_log_z) {
    whole->constant += plan->log_z / beta;
    whole->variance += plan->log_z_error * plan->log_z_error / (beta * beta);
  } else if (status == POE_OK) {
    status = poe_error_set(error, POE_E_CAPABILITY, "a group of latent coordinates stands alone");
  }
  poei_plan_destroy(plan);
  poe_expert_release(powered);
  poei_parts_free(&sharpened);
  poei_free(all);
  return status;
}

/* Appends to `whole` the marginal of one group. where, place, index: [child dim] work space. */
static poe_status add_group(const split *s, double beta, const poei_plan_options *options, size_t which, size_t *where,
                            size_t *place, size_t *index, poei_parts *whole, poe_error *error) {
  size_t n = 0, latents = 0, left = 0;
  group_coordinates(s, which, where, &n, place);
  poei_parts own = {.dim = n};
  poe_expert *product = NULL, *node = NULL;
  poe_status status = POE_OK;
  for (size_t i = 0; i < s->parts.n && status == POE_OK; i++) {
    const poei_part *part = &s->parts.item[i];
    for (size_t j = 0; j < part->n; j++) {
      index[j] = place[part->index[j]];
    }
    if (s->group[i] == which) {
      status = poei_parts_add(&own, part->expert, part->n, index, part->exponent, error);
    }
  }
  if (status == POE_OK) {
    status = poei_parts_close(&own, &product, error);
  }
  for (size_t k = 0; k < n; k++) { /* latent positions in `index`, the others' ranks in `where` */
    if (s->rank[where[k]] == LATENT) {
      index[latents++] = k;
    } else {
      where[left++] = s->rank[where[k]];
    }
  }
  if (status == POE_OK && left == 0) {
    status = add_constant(product, beta, options, whole, error);
  } else if (status == POE_OK) {
    status = poei_marginal_create(product, latents, index, beta, &node, error);
  }
  if (status == POE_OK && node != NULL) {
    status = poei_parts_add(whole, node, left, where, 1.0, error);
  }
  poe_expert_release(product);
  poe_expert_release(node);
  poei_parts_free(&own);
  return status;
}

/* Appends the factors that read no latent coordinate. */
static poe_status add_outside(const split *s, size_t *index, poei_parts *whole, poe_error *error) {
  poe_status status = POE_OK;
  for (size_t i = 0; i < s->parts.n && status == POE_OK; i++) {
    const poei_part *part = &s->parts.item[i];
    if (s->group[i] != SIZE_MAX) {
      continue;
    }
    for (size_t j = 0; j < part->n; j++) {
      index[j] = s->rank[part->index[j]];
    }
    status = poei_parts_add(whole, part->expert, part->n, index, part->exponent, error);
  }
  return status;
}

/* Latent values too many to be gone through? */
static bool is_summable(const poe_expert *expert) {
  const poe_support *support = poe_expert_traits(poei_node_child(expert, 0))->support;
  bool summable = poei_marginal_points(expert) == 0;
  for (size_t k = 0; k < poei_marginal_count(expert); k++) {
    summable = summable && poei_support_states(&support[poei_marginal_latent(expert)[k]]) > 0;
  }
  return summable;
}

/* Eliminates them at every point (summed.h); *out stays NULL where that cannot be done. The marginal stays what it is,
 * as a whole of discrete coordinates may be eliminated at once, latent ones and all. */
static poe_status sum_out(const poe_expert *expert, const poei_plan_options *options, poe_expert **out, char **what,
                          poe_error *error) {
  size_t n = poei_marginal_count(expert);
  double beta = poei_marginal_beta(expert);
  poe_expert *value = NULL;
  poe_error why = {0};
  poe_status status =
      poei_summed_over(poei_node_child(expert, 0), n, poei_marginal_latent(expert), beta, options, &value, &why);
  if (status != POE_OK) {
    return status == POE_E_MEMORY ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  }
  status = poei_marginal_through(expert, value, 1, out, error);
  if (status == POE_OK) {
    *what = poei_format("%zu discrete latent coordinates are %s at every point", n,
                        isinf(beta) ? "maximised over by elimination" : "eliminated");
  }
  poe_expert_release(value);
  return status;
}

poe_status poei_rule_marginal_rewrite(const poe_expert *expert, const poei_plan_options *options, poe_expert **out,
                                      char **what, poe_error *error) {
  split s = {0};
  poei_parts whole = {.dim = poe_expert_traits(expert)->dim};
  poe_status status = split_open(expert, &s, error);
  size_t dim = s.parts.dim;
  size_t *work = status == POE_OK ? poei_alloc(3 * dim, sizeof *work) : NULL;
  if (status == POE_OK && work == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  if (status == POE_OK && split_useful(&s)) {
    whole.constant = s.parts.constant;
    whole.variance = s.parts.variance;
    status = add_outside(&s, work, &whole, error);
    size_t n = 0;
    for (size_t g = 0; g < s.groups && status == POE_OK; g++) {
      status = add_group(&s, poei_marginal_beta(expert), options, g, work, work + dim, work + 2 * dim, &whole, error);
    }
    if (status == POE_OK) {
      n = whole.n;
      status = poei_parts_close(&whole, out, error);
      *what = status == POE_OK
                  ? poei_format("a marginal over %zu coordinates became %zu factors, %zu of them marginals",
                                poei_marginal_count(expert), n, s.groups)
                  : NULL;
    } else if (status == POE_E_CAPABILITY) {
      status = POE_OK; /* a latent group of its own is a number only an integral gives: left as it is */
    }
  } else if (status == POE_OK && is_summable(expert)) {
    status = sum_out(expert, options, out, what, error);
  }
  poei_free(work);
  poei_parts_free(&whole);
  split_free(&s);
  return status;
}
