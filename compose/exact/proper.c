/* Properness: what can be seen, without integrating, about whether a target has a finite integral.
 *
 * Five things can be: a coordinate that no factor bounds, or that only factors hold which are divided out again; a
 * neural energy over an unbounded space with nothing to hold it; a divisor that is 0 on a box where the rest is not; a
 * Gaussian form whose precision is not positive definite; a divisor that falls off faster than the rest along a
 * coordinate. Everything else is left open (the caller may warn).
 */
#include <math.h>
#include <string.h>

#include "compose/exact/routes.h"
#include "core/alloc.h"
#include "experts/closed.h"

/* Nothing but networks, as far as positive factors go. */
static bool is_bare(const poe_expert *expert) {
  poei_node_kind kind = poei_node_kind_of(expert);
  if (kind == POEI_NODE_LEAF) {
    return strcmp(poe_expert_ops_of(expert)->kind, "energy") == 0;
  }
  for (size_t i = 0; i < poei_node_child_count(expert); i++) {
    bool counts = kind != POEI_NODE_product || poei_product_exponent(expert, i) > 0.0;
    if (counts && is_bare(poei_node_child(expert, i)) == (kind == POEI_NODE_mixture)) {
      return kind == POEI_NODE_mixture; /* one bare component spoils a mixture, one other factor saves a product */
    }
  }
  return kind != POEI_NODE_mixture;
}

/* The exponent of factor i of a product, summed over all factors that are the same expert: a^2 / a^3 is 1 / a. */
static double net_exponent(const poe_expert *product, size_t i) {
  double net = 0.0;
  for (size_t k = 0; k < poei_node_child_count(product); k++) {
    net += poei_node_child(product, k) == poei_node_child(product, i) ? poei_product_exponent(product, k) : 0.0;
  }
  return net;
}

/* Does anything hold coordinate c of this expert at infinity? Networks do not: their energy is what it is. */
static bool holds(const poe_expert *expert, size_t c) {
  const unsigned char *touch = poei_node_touch(expert);
  if (touch != NULL && !touch[c]) {
    return false;
  }
  if (!poei_support_unbounded(&poe_expert_traits(expert)->support[c])) {
    return true;
  }
  const poe_expert *child = poei_node_child_count(expert) > 0 ? poei_node_child(expert, 0) : NULL;
  switch (poei_node_kind_of(expert)) {
  case POEI_NODE_LEAF:
    return strcmp(poe_expert_ops_of(expert)->kind, "energy") != 0;
  case POEI_NODE_product:
    for (size_t i = 0; i < poei_node_child_count(expert); i++) {
      if (poei_product_exponent(expert, i) > 0.0 && holds(poei_node_child(expert, i), c) &&
          net_exponent(expert, i) > 0.0) {
        return true;
      }
    }
    return false;
  case POEI_NODE_mixture:
    for (size_t k = 0; k < poei_node_child_count(expert); k++) {
      if (!holds(poei_node_child(expert, k), c)) {
        return false;
      }
    }
    return true;
  case POEI_NODE_slice: {
    const size_t *index = poei_slice_index(expert);
    for (size_t j = 0; j < poe_expert_traits(child)->dim; j++) {
      if (index[j] == c) {
        return holds(child, j);
      }
    }
    return false;
  }
  case POEI_NODE_plate: {
    size_t d = poe_expert_traits(child)->dim;
    for (size_t k = 0; k < d * poei_plate_count(expert); k++) {
      if (poei_plate_index(expert)[k] == c && holds(child, k % d)) {
        return true;
      }
    }
    return false;
  }
  case POEI_NODE_given: {
    size_t full = c; /* the coordinate of the joint */
    for (size_t j = 0; j <= full; j++) {
      for (size_t k = 0; k < poei_given_count(expert); k++) {
        full += poei_given_index(expert)[k] == j;
      }
    }
    return holds(child, full);
  }
  case POEI_NODE_through: {
    const poe_map *map = poei_through_map(expert);
    size_t in = poe_map_ops_of(map)->in_dim(poe_map_self(map)), dim = poe_expert_traits(child)->dim;
    if (c >= in) {
      return holds(child, c - in + dim - (poe_expert_traits(expert)->dim - in));
    }
    return !is_bare(child); /* the range of the map says nothing about z */
  }
  default:
    return holds(child, c);
  }
}

static poe_status check_held(const poe_expert *target, poe_error *error) {
  const poe_traits *traits = poe_expert_traits(target);
  const unsigned char *touch = poei_node_touch(target);
  for (size_t c = 0; c < traits->dim; c++) {
    if (!poei_support_unbounded(&traits->support[c]) || holds(target, c)) {
      continue;
    }
    if (touch != NULL && !touch[c]) {
      poe_error_set(error, POE_E_IMPROPER, "no expert says anything about coordinate %zu, and it is unbounded", c);
    } else {
      poe_error_set(error, POE_E_IMPROPER,
                    "nothing shows that the density can be normalised: along coordinate %zu it "
                    "is a bare network or a divisor over an unbounded space",
                    c);
    }
    poe_error_hint(error, "multiply it by a prior");
    return POE_E_IMPROPER;
  }
  return POE_OK;
}

/* a > 0 over 0: a divisor's support box ends inside the target's. */
static poe_status check_divisors(const poe_expert *target, poe_error *error) {
  poei_parts parts;
  poe_status status = poei_parts_open(target, POEI_OPEN_ALL, &parts, NULL, error);
  if (status != POE_OK) {
    return status;
  }
  const poe_support *whole = poe_expert_traits(target)->support;
  for (size_t i = 0; i < parts.n && status == POE_OK; i++) {
    const poe_support *own = poe_expert_traits(parts.item[i].expert)->support;
    for (size_t j = 0; j < parts.item[i].n && parts.item[i].exponent < 0.0 && status == POE_OK; j++) {
      size_t c = parts.item[i].index[j];
      if (!poei_support_covers(&own[j], &whole[c])) {
        status = poe_error_set(error, POE_E_IMPROPER,
                               "the divisor `%s` is 0 outside [%g, %g] in coordinate %zu, where the rest is not",
                               poe_expert_ops_of(parts.item[i].expert)->kind, own[j].low, own[j].high, c);
        poe_error_hint(error, "restrict the numerator, or divide by a density that is positive everywhere it is");
      }
    }
  }
  poei_parts_free(&parts);
  return status;
}

/* A whole target with a Gaussian form is judged by it. */
static poe_status check_form(const poe_expert *target, poe_error *error) {
  if (!poei_expert_can(target, POE_CAN_FORM) || poei_expert_can(target, POE_CAN_LOG_Z)) {
    return POE_OK;
  }
  poe_form form = {0};
  double log_z;
  poe_status status = poe_expert_form(target, &form, error);
  if (status == POE_OK) {
    status = poei_form_log_z(&form, &log_z, error);
  }
  poe_form_release(&form);
  return status == POE_E_IMPROPER || status == POE_E_EMPTY || status == POE_E_MEMORY ? status : POE_OK;
}

/* ---- how fast the factors fall ---- */

/* Adds to fall[] how a factor to its power falls off along each of its coordinates, log p = -fall x^2 / 2 at infinity,
 * and to size[] the sum of what was added without signs. A mixture falls like its widest component. False for a factor
 * about which this is not known. */
static bool add_fall(const poei_part *part, double *fall, double *size) {
  const char *kind = poe_expert_ops_of(part->expert)->kind;
  if (poei_node_kind_of(part->expert) == POEI_NODE_LEAF &&
      (strcmp(kind, "laplace") == 0 || strcmp(kind, "student_t") == 0)) {
    return true; /* slower than any Gaussian */
  }
  poe_form form = {0};
  poe_error ignored;
  if (!poei_expert_can(part->expert, POE_CAN_FORM) || poe_expert_form(part->expert, &form, &ignored) != POE_OK) {
    return false;
  }
  for (size_t j = 0; form.kind == POE_FORM_GAUSSIANS && j < part->n; j++) {
    double widest = INFINITY;
    for (size_t k = 0; k < form.components; k++) {
      if (form.constant[k] != -INFINITY) {
        widest = fmin(widest, form.precision[(k * part->n + j) * part->n + j]);
      }
    }
    fall[part->index[j]] += part->exponent * widest;
    size[part->index[j]] += fabs(part->exponent * widest);
  }
  poe_form_release(&form);
  return true;
}

/* A divisor that falls off faster than all the rest: the quotient grows along that coordinate. */
static poe_status check_tails(const poe_expert *target, poe_error *error) {
  poei_parts parts;
  poe_status status = poei_parts_open(target, POEI_OPEN_ALL, &parts, NULL, error);
  if (status != POE_OK) {
    return status;
  }
  size_t dim = parts.dim;
  double *fall = poei_calloc(dim, sizeof *fall), *size = poei_calloc(dim, sizeof *size);
  unsigned char *unknown = poei_calloc(dim, 1);
  bool divided = false;
  for (size_t i = 0; i < parts.n; i++) {
    divided = divided || parts.item[i].exponent < 0.0;
  }
  if (fall == NULL || size == NULL || unknown == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t i = 0; divided && i < parts.n && status == POE_OK; i++) {
    bool known = add_fall(&parts.item[i], fall, size);
    for (size_t j = 0; j < parts.item[i].n && !known; j++) {
      unknown[parts.item[i].index[j]] = 1;
    }
  }
  for (size_t c = 0; divided && c < dim && status == POE_OK; c++) {
    if (!unknown[c] && poei_support_unbounded(&poe_expert_traits(target)->support[c]) && fall[c] < -1e-9 * size[c]) {
      status = poe_error_set(error, POE_E_IMPROPER,
                             "the density cannot be normalised: along coordinate %zu the divisors fall off faster than "
                             "the rest (total precision %.3g)",
                             c, fall[c]);
      poe_error_hint(error, "multiply it by an expert that is proper in that direction, or take less of the divisor");
    }
  }
  poei_free(fall);
  poei_free(size);
  poei_free(unknown);
  poei_parts_free(&parts);
  return status;
}

poe_status poei_check_proper(const poe_expert *target, poe_error *error) {
  poe_status status = check_form(target, error);
  if (status == POE_OK) {
    status = check_held(target, error);
  }
  if (status == POE_OK) {
    status = check_divisors(target, error);
  }
  return status == POE_OK ? check_tails(target, error) : status;
}
