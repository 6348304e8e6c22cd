/* Rewriting rules about mixtures and clamped values.
 *
 * push given: log-densities add, so clamping a product clamps its factors; a factor whose coordinates are all clamped
 * is a number. Clamping a mixture clamps its components; into a formula the values are written. That brings samplable
 * factors, closed forms and components to the surface, where the planner finds them. common factor: sum_k w_k a b_k = a
 * sum_k w_k b_k, inside a product that has other factors: a becomes a place to start sampling from. (A mixture that is
 * the whole target stays: there each component has a plan of its own.)
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "compose/exact/rules.h"
#include "compose/exact/tree.h"
#include "core/alloc.h"
#include "experts/formula.h"

/* ---- push given ---- */

bool poei_rule_given_applies(const poe_expert *expert) {
  if (poei_node_kind_of(expert) != POEI_NODE_given) {
    return false;
  }
  switch (poei_node_kind_of(poei_node_child(expert, 0))) {
  case POEI_NODE_product:
  case POEI_NODE_mixture:
    return true;
  case POEI_NODE_LEAF:
    return poei_formula_is(poei_node_child(expert, 0));
  case POEI_NODE_normalise:
    return !isnan(poei_normalise_log_z(poei_node_child(expert, 0), NULL));
  default:
    return false;
  }
}

/* log-density of an expert at one point x[dim]. */
static poe_status value_at(const poe_expert *expert, const double *x, double *value, poe_error *error) {
  size_t dim = poe_expert_traits(expert)->dim;
  poe_scratch *scratch = poe_scratch_create(poe_expert_scratch(expert, POE_WANT_LOGP, 1));
  if (scratch == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  double one = 1.0;
  *value = 0.0;
  poe_status status = poe_expert_eval_add(expert, (poe_rows){1, dim, dim, x}, (poe_weights){&one, 0},
                                          (poe_accum){.logp = value}, scratch, error);
  poe_scratch_destroy(scratch);
  return status;
}

/* Where the coordinates of the joint went. */
typedef struct clamping {
  const poe_expert *node;
  size_t *position; /* [full] among the free ones, SIZE_MAX when clamped */
  double *value;    /* [full] */
} clamping;

/* `expert` with values clamped, or the node that was made for an equal factor before: factors stay comparable. */
static poe_status clamp_expert(const poe_expert *expert, size_t n, const size_t *index, const double *value,
                               const poei_parts *parts, poe_expert **out, poe_error *error) {
  for (size_t i = 0; i < parts->n; i++) {
    poe_expert *made = parts->item[i].expert;
    if (poei_node_kind_of(made) == POEI_NODE_given && poei_node_child(made, 0) == expert &&
        poei_given_count(made) == n && memcmp(poei_given_index(made), index, n * sizeof *index) == 0 &&
        memcmp(poei_given_value(made), value, n * sizeof *value) == 0) {
      *out = poe_expert_retain(made);
      return POE_OK;
    }
  }
  return poei_given_create(expert, n, index, value, out, error);
}

/* Adds one factor of the joint, clamped, to `parts` over the free coordinates. */
static poe_status clamp_part(const clamping *clamps, const poei_part *part, poei_parts *parts, poe_error *error) {
  size_t n = 0, left = 0;
  size_t *index = poei_alloc(part->n, sizeof *index), *place = poei_alloc(part->n, sizeof *place);
  double *value = poei_alloc(part->n, sizeof *value);
  poe_expert *clamped = NULL;
  poe_status status = POE_OK;
  if (index == NULL || place == NULL || value == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t j = 0; j < part->n && status == POE_OK; j++) {
    size_t c = part->index[j];
    if (clamps->position[c] == SIZE_MAX) {
      index[n] = j;
      value[n++] = clamps->value[c];
    } else {
      place[left++] = clamps->position[c];
    }
  }
  if (status == POE_OK && n == 0) {
    status = poei_parts_add(parts, part->expert, part->n, place, part->exponent, error);
  } else if (status == POE_OK && left == 0) {
    double log_p;
    status = value_at(part->expert, value, &log_p, error);
    parts->constant += part->exponent * log_p;
  } else if (status == POE_OK) {
    status = clamp_expert(part->expert, n, index, value, parts, &clamped, error);
    if (status == POE_OK) {
      status = poei_parts_add(parts, clamped, left, place, part->exponent, error);
    }
  }
  poe_expert_release(clamped);
  poei_free(index);
  poei_free(place);
  poei_free(value);
  return status;
}

static poe_status push_into_product(const poe_expert *expert, poe_expert **out, poe_error *error) {
  const poe_expert *joint = poei_node_child(expert, 0);
  size_t full = poe_expert_traits(joint)->dim, n = poei_given_count(expert), left = 0;
  clamping clamps = {expert, poei_calloc(full, sizeof(size_t)), poei_calloc(full, sizeof(double))};
  poei_parts source = {0}, parts = {.dim = full - n};
  poe_status status = POE_OK;
  if (clamps.position == NULL || clamps.value == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  } else {
    for (size_t k = 0; k < n; k++) {
      clamps.position[poei_given_index(expert)[k]] = SIZE_MAX;
      clamps.value[poei_given_index(expert)[k]] = poei_given_value(expert)[k];
    }
    for (size_t c = 0; c < full; c++) {
      clamps.position[c] = clamps.position[c] == SIZE_MAX ? SIZE_MAX : left++;
    }
    status = poei_parts_open(joint, POEI_OPEN_SURFACE, &source, NULL, error);
  }
  for (size_t i = 0; i < source.n && status == POE_OK; i++) {
    status = clamp_part(&clamps, &source.item[i], &parts, error);
  }
  parts.constant += source.constant;
  parts.variance += source.variance;
  if (status == POE_OK && isfinite(parts.constant)) { /* an impossible value is for the planner to report */
    status = poei_parts_close(&parts, out, error);
  }
  poei_parts_free(&source);
  poei_parts_free(&parts);
  poei_free(clamps.position);
  poei_free(clamps.value);
  return status;
}

/* given over each child of a mixture, or over the one of a normalise, whose constant stays as it is. */
static poe_status push_into_sum(const poe_expert *expert, poe_expert **out, poe_error *error) {
  const poe_expert *joint = poei_node_child(expert, 0);
  bool constant = poei_node_kind_of(joint) == POEI_NODE_normalise;
  size_t n = poei_node_child_count(joint), made = 0;
  poe_expert **children = poei_calloc(n, sizeof *children);
  double *weights = poei_alloc(n, sizeof *weights);
  poe_status status = POE_OK;
  if (children == NULL || weights == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  double extra = 0.0;
  for (; made < n && status == POE_OK; made++) {
    weights[made] = constant ? -poei_normalise_log_z(joint, &extra) : poei_mixture_log_weight(joint, made);
    status = poei_given_create(poei_node_child(joint, made), poei_given_count(expert), poei_given_index(expert),
                               poei_given_value(expert), &children[made], error);
  }
  if (status == POE_OK) {
    status = poei_mixture_create_estimated(n, (const poe_expert *const *)children, weights, extra, out, error);
  } else if (status == POE_E_EMPTY) {
    status = POE_OK; /* impossible in one component: the mixture as a whole knows what to do */
  }
  for (size_t k = 0; children != NULL && k < made; k++) {
    poe_expert_release(children[k]);
  }
  poei_free(children);
  poei_free(weights);
  return status;
}

poe_status poei_rule_given_rewrite(const poe_expert *expert, const poei_plan_options *options, poe_expert **out,
                                   char **what, poe_error *error) {
  (void)options;
  const poe_expert *joint = poei_node_child(expert, 0);
  poei_node_kind kind = poei_node_kind_of(joint);
  poe_status status = kind == POEI_NODE_product ? push_into_product(expert, out, error)
                      : kind == POEI_NODE_LEAF
                          ? poei_formula_given(joint, poei_given_count(expert), poei_given_index(expert),
                                               poei_given_value(expert), out, error)
                          : push_into_sum(expert, out, error);
  if (status == POE_OK && *out != NULL) {
    *what = poei_format("%zu given values went into a %s", poei_given_count(expert),
                        kind == POEI_NODE_LEAF ? poe_expert_ops_of(joint)->kind : poei_node_kind_name(kind));
  }
  return status;
}

/* ---- common factor ---- */

static bool is_mixture(const poe_expert *expert) {
  return poei_node_kind_of(expert) == POEI_NODE_mixture && poei_node_child_count(expert) >= 2;
}

bool poei_rule_common_applies(const poe_expert *expert) {
  if (poei_node_kind_of(expert) != POEI_NODE_product || poei_node_child_count(expert) < 2) {
    return false;
  }
  for (size_t i = 0; i < poei_node_child_count(expert); i++) {
    const poe_expert *inside;
    poei_scope_of(poei_node_child(expert, i), &inside);
    if (is_mixture(inside) && poei_product_exponent(expert, i) == 1.0) {
      return true;
    }
  }
  return false;
}

/* Position of a factor like `part` (same expert, same coordinates, positive exponent), SIZE_MAX when there is none. */
static size_t position_of(const poei_parts *parts, const poei_part *part) {
  for (size_t i = 0; i < parts->n; i++) {
    const poei_part *other = &parts->item[i];
    if (other->expert == part->expert && other->exponent > 0.0 &&
        memcmp(other->index, part->index, part->n * sizeof *part->index) == 0) {
      return i;
    }
  }
  return SIZE_MAX;
}

/* Moves factors that all component[n] have into `common`. Divisors stay inside: 0/0 = 0 holds in each component. */
static poe_status take_common(size_t n, poei_parts *component, poei_parts *common, poe_error *error) {
  for (size_t i = 0; i < component[0].n;) {
    const poei_part part = component[0].item[i];
    double exponent = part.exponent;
    for (size_t k = 1; k < n && exponent > 0.0; k++) {
      size_t at = position_of(&component[k], &part);
      exponent = at == SIZE_MAX ? 0.0 : fmin(exponent, component[k].item[at].exponent);
    }
    if (exponent <= 0.0) {
      i++;
      continue;
    }
    poe_status status = poei_parts_add(common, part.expert, part.n, part.index, exponent, error);
    if (status != POE_OK) {
      return status;
    }
    poei_part keep = common->item[common->n - 1];
    for (size_t k = 0; k < n; k++) {
      size_t at = position_of(&component[k], &keep);
      component[k].item[at].exponent -= exponent;
      if (component[k].item[at].exponent == 0.0) {
        poei_parts_remove(&component[k], at);
      }
    }
  }
  return POE_OK;
}

/* common * mixture of what is left of the components, as one expert; *out stays NULL when nothing is common. */
static poe_status take_out(const poe_expert *mixture, poe_expert **out, size_t *taken, poe_error *error) {
  size_t n = poei_node_child_count(mixture), opened = 0, made = 0;
  poei_parts *component = poei_calloc(n, sizeof *component);
  poe_expert **rest = poei_calloc(n, sizeof *rest);
  double *weights = poei_alloc(n, sizeof *weights), variance = 0.0;
  poei_parts common = {.dim = poe_expert_traits(mixture)->dim};
  poe_expert *sum = NULL;
  poe_status status = POE_OK;
  if (component == NULL || rest == NULL || weights == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (; opened < n && status == POE_OK; opened++) {
    status = poei_parts_open(poei_node_child(mixture, opened), POEI_OPEN_SURFACE, &component[opened], NULL, error);
    if (status == POE_OK && poei_node_kind_of(poei_node_child(mixture, opened)) != POEI_NODE_product) {
      poei_parts_free(&component[opened]);
      status = poei_parts_open(poei_node_child(mixture, opened), POEI_OPEN_ALL, &component[opened], NULL, error);
    }
  }
  if (status == POE_OK) {
    status = take_common(n, component, &common, error);
  }
  *taken = common.n;
  for (; made < n && status == POE_OK && common.n > 0; made++) {
    weights[made] = poei_mixture_log_weight(mixture, made) + component[made].constant;
    variance = fmax(variance, component[made].variance);
    component[made].constant = component[made].variance = 0.0;
    status = poei_parts_close(&component[made], &rest[made], error);
  }
  if (status == POE_OK && common.n > 0) {
    status = poei_mixture_create_estimated(n, (const poe_expert *const *)rest, weights, sqrt(variance), &sum, error);
  }
  if (sum != NULL) {
    size_t *all = poei_alloc(common.dim, sizeof *all);
    status = all == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
    for (size_t j = 0; j < common.dim && status == POE_OK; j++) {
      all[j] = j;
    }
    if (status == POE_OK) {
      status = poei_parts_add(&common, sum, common.dim, all, 1.0, error);
    }
    if (status == POE_OK) {
      status = poei_parts_close(&common, out, error);
    }
    poei_free(all);
  }
  poe_expert_release(sum);
  for (size_t k = 0; component != NULL && k < opened; k++) {
    poei_parts_free(&component[k]);
  }
  for (size_t k = 0; rest != NULL && k < made; k++) {
    poe_expert_release(rest[k]);
  }
  poei_parts_free(&common);
  poei_free(component);
  poei_free(rest);
  poei_free(weights);
  return status;
}

poe_status poei_rule_common_rewrite(const poe_expert *expert, const poei_plan_options *options, poe_expert **out,
                                    char **what, poe_error *error) {
  (void)options;
  poei_parts parts;
  size_t taken = 0;
  poe_status status = poei_parts_open(expert, POEI_OPEN_SURFACE, &parts, NULL, error);
  if (status != POE_OK) {
    return status;
  }
  for (size_t i = 0; i < parts.n && status == POE_OK && taken == 0; i++) {
    if (!is_mixture(parts.item[i].expert) || parts.item[i].exponent != 1.0) {
      continue;
    }
    poe_expert *opened = NULL;
    status = take_out(parts.item[i].expert, &opened, &taken, error);
    if (status == POE_OK && opened != NULL) {
      poe_expert_release(parts.item[i].expert);
      parts.item[i].expert = opened;
    }
  }
  if (status == POE_OK && taken > 0) {
    status = poei_parts_close(&parts, out, error);
    *what = status == POE_OK ? poei_format("%zu factors of every component came out of a mixture", taken) : NULL;
  }
  poei_parts_free(&parts);
  return status;
}
