/* The rule of Dirichlet densities: in a product, powers of the numbers of a simplex become one Dirichlet density.
 *
 *   prod_f D(x | alpha_f)^t_f = constant * D(x | 1 + sum_f t_f (alpha_f - 1))
 *
 * Gamma, beta and uniform densities of the numbers take part where they are powers too (simplices.h). Every simplex
 * gets a factor of its own, so that what reads one of them leaves the others independent; only where there are very
 * many do neighbours share one.
 */
#include <string.h>

#include "compose/exact/rules.h"
#include "compose/exact/simplices.h"
#include "compose/nodes/sticks.h"
#include "core/alloc.h"
#include "experts/dirichlet.h"

/* A product and what is known of its factors. */
typedef struct job {
  poei_parts parts;
  const poe_support *support; /* [dim] of the product                                  */
  unsigned char *member;      /* [parts.n] the factor is made of powers                */
  unsigned char *mixed;       /* [dim] a factor that is no member reads the coordinate */
  poei_powers all;            /* of the members                                        */
  double *alpha;              /* [dim]                                                 */
  size_t simplices;           /* that members are over                                 */
} job;

static void job_free(job *j) {
  poei_parts_free(&j->parts);
  poei_free(j->member);
  poei_free(j->mixed);
  poei_powers_free(&j->all);
  poei_free(j->alpha);
}

/* ---- which factors ---- */

/* Finds the members by adding each to powers of its own. */
static poe_status find_members(job *j, poe_error *error) {
  for (size_t i = 0; i < j->parts.n; i++) {
    const poei_part *part = &j->parts.item[i];
    poei_powers alone = {0};
    poe_error why = {0};
    size_t *own = poei_alloc(part->n, sizeof *own);
    poe_status status =
        own == NULL ? poe_error_set(&why, POE_E_MEMORY, "out of memory") : poei_powers_start(&alone, part->n, &why);
    for (size_t k = 0; k < part->n && status == POE_OK; k++) {
      own[k] = k;
    }
    if (status == POE_OK) {
      status = poei_powers_add(&alone, part->expert, own, part->exponent, &why);
    }
    j->member[i] = status == POE_OK;
    poei_powers_free(&alone);
    poei_free(own);
    if (status == POE_E_MEMORY) {
      *error = why;
      return status;
    }
  }
  return POE_OK;
}

static poe_status add_members(job *j, poe_error *error) {
  poei_powers_free(&j->all);
  poe_status status = poei_powers_start(&j->all, j->parts.dim, error);
  for (size_t i = 0; i < j->parts.n && status == POE_OK; i++) {
    const poei_part *part = &j->parts.item[i];
    if (j->member[i]) {
      status = poei_powers_add(&j->all, part->expert, part->index, part->exponent, error);
    }
  }
  return status;
}

/* Members over a simplex that does not close are none; false when there were such. */
static bool drop_open(job *j) {
  bool closed = true;
  for (size_t c = 0, step; c < j->parts.dim; c += step) {
    size_t k = poei_simplex_at(j->parts.dim, j->support, c);
    step = k > 0 ? k : 1;
    if (k == 0 ? j->all.factors[c] == 0
               : j->all.factors[c] == 0 || poei_powers_are_dirichlet(&j->all, c, k, &j->alpha[c])) {
      j->simplices += k > 0 && j->all.factors[c] > 0;
      continue;
    }
    for (size_t i = 0; i < j->parts.n; i++) {
      const poei_part *part = &j->parts.item[i];
      for (size_t m = 0; m < part->n && j->member[i]; m++) {
        if (part->index[m] >= c && part->index[m] < c + step) {
          j->member[i] = 0;
          closed = false;
        }
      }
    }
  }
  return closed;
}

static poe_status gather(job *j, const poe_expert *expert, poe_error *error) {
  poe_status status = poei_parts_open(expert, POEI_OPEN_SURFACE, &j->parts, NULL, error);
  if (status != POE_OK) {
    return status;
  }
  j->support = poe_expert_traits(expert)->support;
  j->member = poei_calloc(j->parts.n, 1);
  j->mixed = poei_calloc(j->parts.dim, 1);
  j->alpha = poei_alloc(j->parts.dim, sizeof *j->alpha);
  if (j->member == NULL || j->mixed == NULL || j->alpha == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  status = find_members(j, error);
  do {
    j->simplices = 0;
    status = status == POE_OK ? add_members(j, error) : status;
  } while (status == POE_OK && !drop_open(j));
  for (size_t i = 0; i < j->parts.n; i++) {
    for (size_t k = 0; k < j->parts.item[i].n && !j->member[i]; k++) {
      j->mixed[j->parts.item[i].index[k]] = 1;
    }
  }
  return status;
}

/* Factors become fewer, or a Dirichlet density of several simplices is taken apart beside a factor that reads one. */
static bool worth_it(const job *j) {
  bool gain = false;
  for (size_t i = 0; i < j->parts.n && !gain; i++) {
    const poei_part *part = &j->parts.item[i];
    size_t k = 0;
    bool plain = part->exponent == 1.0 && poei_dirichlet_alpha(part->expert, &k) != NULL, mixed = false;
    for (size_t m = 0; m < part->n && j->member[i]; m++) {
      gain = gain || !plain || j->all.factors[part->index[m]] > 1;
      mixed = mixed || j->mixed[part->index[m]];
    }
    gain = gain || (mixed && part->n > k && j->simplices <= POEI_MOST_SIMPLICES);
  }
  return gain;
}

/* ---- making the factors ---- */

static poe_status rebuild(const job *j, poe_expert **out, poe_error *error) {
  poei_parts made = {.dim = j->parts.dim, .constant = j->parts.constant, .variance = j->parts.variance};
  poe_status status = POE_OK;
  for (size_t i = 0; i < j->parts.n && status == POE_OK; i++) {
    const poei_part *part = &j->parts.item[i];
    if (!j->member[i]) {
      status = poei_parts_add(&made, part->expert, part->n, part->index, part->exponent, error);
    }
  }
  if (status == POE_OK) {
    status = poei_powers_close(&j->all, j->support, &made, error);
  }
  if (status == POE_OK) {
    status = poei_parts_close(&made, out, error);
  }
  poei_parts_free(&made);
  return status;
}

static char *describe(const job *j) {
  size_t members = 0;
  for (size_t i = 0; i < j->parts.n; i++) {
    members += j->member[i];
  }
  return poei_format("%zu factor%s became dirichlet over %zu simple%s", members, members == 1 ? "" : "s", j->simplices,
                     j->simplices == 1 ? "x" : "xes");
}

/* ---- the rule ---- */

bool poei_rule_simplex_applies(const poe_expert *expert) {
  const poe_traits *traits = poe_expert_traits(expert);
  poei_node_kind kind = poei_node_kind_of(expert);
  return (kind == POEI_NODE_product || kind == POEI_NODE_simplex) && poei_simplex_any(traits->dim, traits->support);
}

poe_status poei_rule_simplex_rewrite(const poe_expert *expert, const poei_plan_options *options, poe_expert **out,
                                     char **what, poe_error *error) {
  job j = {0};
  poe_status status = gather(&j, expert, error);
  if (status == POE_OK && worth_it(&j)) {
    status = rebuild(&j, out, error);
    *what = status == POE_OK ? describe(&j) : NULL;
  }
  job_free(&j);
  if (status == POE_OK && *out == NULL) {
    status = poei_simplex_distribute(expert, options->mixture_limit, out, what, error);
  }
  return status;
}
