/* Pruning of mixtures (prune.h): sum_k w_k p_k without the components of least mass,
 *
 *   discarded = sum_{k left out} Z_k / sum_k Z_k <= most.
 *
 * Only a mixture that is a whole target (or a whole block of one) is pruned: of a factor, the mass of a component says
 * nothing about what the product needs of it.
 */
#include "compose/exact/prune.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compose/exact/routes.h"
#include "core/alloc.h"
#include "core/numerics.h"
#include "core/pool.h"
#include "experts/closed.h"
#include "experts/form.h"

/* A component and its share of the mass. */
typedef struct share {
  size_t component;
  double mass;
} share;

static int compare_shares(const void *a, const void *b) {
  const share *x = a, *y = b;
  if (x->mass != y->mass) {
    return x->mass < y->mass ? -1 : 1;
  }
  return x->component < y->component ? -1 : 1;
}

static poe_status out_of_memory(poe_error *error) {
  return poe_error_set(error, POE_E_MEMORY, "out of memory");
}

/* keep[n] (zeroed) <- 1 for what stays, by the log integrals log_z[n]. Returns the mass of the others; *left counts
 * them. NaN: memory ran out. */
static double select_components(size_t n, const double *log_z, double most, unsigned char *keep, size_t *left) {
  share *all = poei_alloc(n, sizeof *all);
  double total = poei_log_sum_exp(log_z, n, 1), gone = 0.0;
  if (all == NULL) {
    return NAN;
  }
  for (size_t k = 0; k < n; k++) {
    all[k] = (share){k, exp(log_z[k] - total)};
  }
  qsort(all, n, sizeof *all, compare_shares);
  *left = 0;
  while (*left + 1 < n && gone + all[*left].mass <= most) {
    gone += all[(*left)++].mass;
  }
  for (size_t i = *left; i < n; i++) {
    keep[all[i].component] = 1;
  }
  poei_free(all);
  return gone;
}

/* log_z[k] of the components of a form. False when one is not known. */
static bool form_integrals(const poe_form *form, double *log_z) {
  size_t d = form->dim;
  poe_error ignored;
  double *factor = poei_alloc(d + 1, d * sizeof *factor);
  bool known = factor != NULL;
  for (size_t k = 0; k < form->components && known; k++) {
    log_z[k] = -INFINITY;
    known = form->constant[k] == -INFINITY ||
            poei_form_component(form, k, factor, factor + d * d, &log_z[k], &ignored) == POE_OK;
  }
  poei_free(factor);
  return known;
}

/* The form with the components of keep[] only, in place. */
static void keep_components(poe_form *form, const unsigned char *keep) {
  size_t d = form->dim, n = 0;
  for (size_t k = 0; k < form->components; k++) {
    if (keep[k]) {
      form->constant[n] = form->constant[k];
      memmove(form->origin + n * d, form->origin + k * d, d * sizeof *form->origin);
      memmove(form->linear + n * d, form->linear + k * d, d * sizeof *form->linear);
      memmove(form->precision + n * d * d, form->precision + k * d * d, d * d * sizeof *form->precision);
      n++;
    }
  }
  form->components = n;
}

/* *out: a mixture of Gaussians with fewer components; NULL: it is none, or all stay. */
static poe_status prune_form(const poe_expert *expert, double most, poe_expert **out, double *gone, size_t *left,
                             poe_error *error) {
  poe_form form = {0};
  poe_error ignored;
  if (!poei_expert_can(expert, POE_CAN_FORM) || poe_expert_form(expert, &form, &ignored) != POE_OK) {
    return POE_OK;
  }
  poe_status status = POE_OK;
  if (form.kind == POE_FORM_GAUSSIANS && form.components > 1) {
    double *log_z = poei_alloc(form.components, sizeof *log_z);
    unsigned char *keep = poei_calloc(form.components, 1);
    status = log_z == NULL || keep == NULL ? out_of_memory(error) : POE_OK;
    if (status == POE_OK && form_integrals(&form, log_z)) {
      *gone = select_components(form.components, log_z, most, keep, left);
      status = isnan(*gone) ? out_of_memory(error) : POE_OK;
    }
    if (status == POE_OK && *left > 0) {
      keep_components(&form, keep);
      status = poei_closed_create(&form, out, error);
    }
    poei_free(log_z);
    poei_free(keep);
  }
  poe_form_release(&form);
  return status;
}

/* The children of a mixture with keep[], and the constant around it. */
static poe_status rebuild(const poe_expert *mixture, double constant, const unsigned char *keep, poe_expert **out,
                          poe_error *error) {
  size_t n = poei_node_child_count(mixture), kept = 0;
  const poe_expert **child = poei_alloc(n, sizeof *child);
  double *weight = poei_alloc(n, sizeof *weight);
  poe_status status = child == NULL || weight == NULL ? out_of_memory(error) : POE_OK;
  for (size_t k = 0; k < n && status == POE_OK; k++) {
    if (keep[k]) {
      child[kept] = poei_node_child(mixture, k);
      weight[kept++] = poei_mixture_log_weight(mixture, k) + constant;
    }
  }
  if (status == POE_OK) {
    status = poei_mixture_create(kept, child, weight, out, error);
  }
  poei_free(child);
  poei_free(weight);
  return status;
}

/* The same of a mixture of other things. */
static poe_status prune_mixture(const poe_expert *expert, double most, poe_expert **out, double *gone, size_t *left,
                                poe_error *error) {
  double constant;
  const poe_expert *mixture = poei_strip(expert, &constant);
  if (poei_node_kind_of(mixture) != POEI_NODE_mixture || poe_expert_traits(mixture)->offset_error != 0.0) {
    return POE_OK;
  }
  size_t n = poei_node_child_count(mixture);
  double *log_z = poei_alloc(n, sizeof *log_z);
  unsigned char *keep = poei_calloc(n, 1);
  poe_status status = log_z == NULL || keep == NULL ? out_of_memory(error) : POE_OK;
  bool known = status == POE_OK;
  for (size_t k = 0; k < n && known; k++) {
    known = poei_expert_known_log_z(poei_node_child(mixture, k), &log_z[k]);
    log_z[k] += poei_mixture_log_weight(mixture, k);
  }
  if (known) {
    *gone = select_components(n, log_z, most, keep, left);
    status = isnan(*gone) ? out_of_memory(error) : POE_OK;
  }
  if (status == POE_OK && *left > 0) {
    status = rebuild(mixture, constant, keep, out, error);
  }
  poei_free(log_z);
  poei_free(keep);
  return status;
}

poe_status poei_prune(poei_plan *plan, double most, poe_error *error) {
  poe_expert *pruned = NULL;
  double gone = 0.0;
  size_t left = 0;
  poe_status status = prune_form(plan->expert, most, &pruned, &gone, &left, error);
  if (status == POE_OK && pruned == NULL) {
    status = prune_mixture(plan->expert, most, &pruned, &gone, &left, error);
  }
  if (status == POE_OK && pruned != NULL) {
    poe_expert_release(plan->expert);
    plan->expert = pruned;
    plan->discarded = gone;
    plan->left_out = left;
  }
  return status;
}

poe_status poei_prune_tell(poei_plan *plan, poe_error *error) {
  double kept = 1.0, sum = 0.0;
  for (size_t i = 0; i < plan->n_parts; i++) {
    const poei_plan *part = plan->parts[i];
    kept *= 1.0 - part->discarded;
    sum += plan->method == POEI_METHOD_MIXTURE ? exp(plan->part_log_weight[i]) * part->discarded : 0.0;
    plan->left_out += part->left_out;
  }
  if (plan->n_parts > 0) {
    plan->discarded = plan->method == POEI_METHOD_MIXTURE ? sum : 1.0 - kept;
  }
  if (plan->left_out == 0) {
    return POE_OK;
  }
  double bound = -log1p(-plan->discarded);
  plan->log_z_error = plan->log_z_error > bound ? plan->log_z_error : bound;
  plan->exact = plan->exact && plan->log_z_error == 0.0;
  char *reason =
      poei_format("%s; %zu component%s with %.3g of the mass %s left out, as was asked", plan->reason, plan->left_out,
                  plan->left_out == 1 ? "" : "s", plan->discarded, plan->left_out == 1 ? "was" : "were");
  if (reason == NULL) {
    return out_of_memory(error);
  }
  poei_free(plan->reason);
  plan->reason = reason;
  return POE_OK;
}
