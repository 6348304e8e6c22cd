/* Properness: what can be seen, without integrating, about whether a target has a finite integral.
 *
 * Five things can be: a coordinate that no factor bounds, or that only factors hold which are divided out again; a
 * neural energy over an unbounded space with nothing to hold it; a divisor that is 0 on a box where the rest is not; a
 * Gaussian form whose precision is not positive definite; a divisor that falls off faster than the rest along some
 * direction (tails.c). What no form shows, rays may (rays.c); everything else is left open.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compose/exact/families.h"
#include "compose/exact/fuse.h"
#include "compose/exact/routes.h"
#include "compose/exact/simplices.h"
#include "compose/exact/sparse_gaussian.h"
#include "core/alloc.h"
#include "core/linalg.h"
#include "experts/closed.h"

/* A leaf whose value is what a network makes of its coordinates (a classifier: of those before its label). */
static bool is_network(const poe_expert *leaf) {
  const char *kind = poe_expert_ops_of(leaf)->kind;
  return strcmp(kind, "energy") == 0 || strcmp(kind, "classifier") == 0;
}

static bool same_place(size_t n, const size_t *a, const size_t *b) {
  return a == b || (a != NULL && b != NULL && memcmp(a, b, n * sizeof *a) == 0);
}

/* The exponent of factor i of a product, summed over all factors that are the same: a^2 / a^3 is 1 / a. */
static double net_exponent(const poe_expert *product, size_t i) {
  const poe_expert *factor = poei_node_child(product, i);
  size_t n = poe_expert_traits(factor)->dim;
  double net = 0.0;
  for (size_t k = 0; k < poei_node_child_count(product); k++) {
    bool same = poei_node_child(product, k) == factor &&
                same_place(n, poei_product_index(product, k), poei_product_index(product, i));
    net += same ? poei_product_exponent(product, k) : 0.0;
  }
  return net;
}

static poe_status mark_held(const poe_expert *expert, unsigned char *held, poe_error *error);

/* held[place of j] |= what child j's coordinates are; `sets` index sets (index NULL: one, of all). */
static poe_status mark_child(const poe_expert *child, size_t sets, const size_t *index, unsigned char *held,
                             poe_error *error) {
  size_t d = poe_expert_traits(child)->dim;
  unsigned char *own = poei_calloc(d, 1);
  if (own == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  poe_status status = mark_held(child, own, error);
  for (size_t k = 0; k < sets * d; k++) {
    held[index == NULL ? k : index[k]] |= own[k % d];
  }
  poei_free(own);
  return status;
}

static poe_status mark_product(const poe_expert *expert, unsigned char *held, poe_error *error) {
  size_t n = poei_node_child_count(expert);
  bool divides = false;
  poe_status status = POE_OK;
  for (size_t i = 0; i < n; i++) {
    divides = divides || poei_product_exponent(expert, i) < 0.0;
  }
  for (size_t i = 0; i < n && status == POE_OK; i++) {
    if (poei_product_exponent(expert, i) > 0.0 && (!divides || net_exponent(expert, i) > 0.0)) {
      status = mark_child(poei_node_child(expert, i), 1, poei_product_index(expert, i), held, error);
    }
  }
  return status;
}

/* A mixture is held where every component is. */
static poe_status mark_mixture(const poe_expert *expert, unsigned char *held, poe_error *error) {
  size_t dim = poe_expert_traits(expert)->dim;
  unsigned char *own = poei_alloc(dim, 1);
  if (own == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  memset(held, 1, dim);
  poe_status status = POE_OK;
  for (size_t k = 0; k < poei_node_child_count(expert) && status == POE_OK; k++) {
    memset(own, 0, dim);
    status = mark_held(poei_node_child(expert, k), own, error);
    for (size_t c = 0; c < dim; c++) {
      held[c] &= own[c];
    }
  }
  poei_free(own);
  return status;
}

static poe_status mark_given(const poe_expert *expert, unsigned char *held, poe_error *error) {
  const poe_expert *child = poei_node_child(expert, 0);
  size_t full = poe_expert_traits(child)->dim;
  unsigned char *own = poei_calloc(2 * full, 1), *clamped = own + full;
  if (own == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  poe_status status = mark_held(child, own, error);
  for (size_t k = 0; k < poei_given_count(expert); k++) {
    clamped[poei_given_index(expert)[k]] = 1;
  }
  for (size_t c = 0, j = 0; c < full; c++) {
    if (!clamped[c]) {
      held[j++] = own[c];
    }
  }
  poei_free(own);
  return status;
}

static poe_status mark_marginal(const poe_expert *expert, unsigned char *held, poe_error *error) {
  const poe_expert *child = poei_node_child(expert, 0);
  unsigned char *own = poei_calloc(poe_expert_traits(child)->dim, 1);
  if (own == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  poe_status status = mark_held(child, own, error);
  for (size_t j = 0; j < poe_expert_traits(expert)->dim; j++) {
    held[j] = own[poei_marginal_free(expert)[j]];
  }
  poei_free(own);
  return status;
}

static poe_status mark_through(const poe_expert *expert, unsigned char *held, poe_error *error) {
  const poe_expert *child = poei_node_child(expert, 0);
  const poe_map *map = poei_through_map(expert);
  size_t in = poe_map_ops_of(map)->in_dim(poe_map_self(map)), dim = poe_expert_traits(expert)->dim;
  size_t inner = poe_expert_traits(child)->dim;
  unsigned char *own = poei_calloc(inner, 1);
  if (own == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  poe_status status = mark_held(child, own, error);
  memset(held, 0, in); /* the range of the map says nothing about z */
  memcpy(held + in, own + inner - (dim - in), dim - in);
  poei_free(own);
  return status;
}

/* held[dim] (zeroed): does anything hold this coordinate at infinity? Networks do not: their energy is what it is. */
static poe_status mark_held(const poe_expert *expert, unsigned char *held, poe_error *error) {
  const poe_traits *traits = poe_expert_traits(expert);
  const unsigned char *touch = poei_node_touch(expert);
  const poe_expert *child = poei_node_child_count(expert) > 0 ? poei_node_child(expert, 0) : NULL;
  poe_status status = POE_OK;
  switch (poei_node_kind_of(expert)) {
  case POEI_NODE_LEAF:
    for (size_t c = 0; c < traits->dim; c++) {
      held[c] = !is_network(expert) || (traits->head != NULL && traits->head[c] != 0);
    }
    break;
  case POEI_NODE_product:
    status = mark_product(expert, held, error);
    break;
  case POEI_NODE_mixture:
    status = mark_mixture(expert, held, error);
    break;
  case POEI_NODE_slice:
    status = mark_child(child, 1, poei_slice_index(expert), held, error);
    break;
  case POEI_NODE_plate:
    status = mark_child(child, poei_plate_count(expert), poei_plate_index(expert), held, error);
    break;
  case POEI_NODE_given:
    status = mark_given(expert, held, error);
    break;
  case POEI_NODE_marginal:
    status = mark_marginal(expert, held, error);
    break;
  case POEI_NODE_through:
    status = mark_through(expert, held, error);
    break;
  default:
    status = mark_held(child, held, error);
  }
  for (size_t c = 0; c < traits->dim; c++) {
    bool depends = touch == NULL || touch[c];
    held[c] = depends && (held[c] || !poei_support_unbounded(&traits->support[c]));
  }
  return status;
}

static poe_status check_held(const poe_expert *target, const poei_names *names, poe_error *error) {
  const poe_traits *traits = poe_expert_traits(target);
  const unsigned char *touch = poei_node_touch(target);
  unsigned char *held = poei_calloc(traits->dim, 1);
  poe_status status =
      held == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : mark_held(target, held, error);
  for (size_t c = 0; c < traits->dim && status == POE_OK; c++) {
    if (!poei_support_unbounded(&traits->support[c]) || held[c]) {
      continue;
    }
    char name[POEI_NAME_SIZE];
    poei_names_text(names, c, name, sizeof name);
    if (touch != NULL && !touch[c]) {
      poe_error_set(error, POE_E_IMPROPER, "no expert says anything about %s, and it is unbounded", name);
    } else {
      poe_error_set(error, POE_E_IMPROPER,
                    "nothing shows that the density can be normalised: along %s it is a bare network or a divisor over "
                    "an unbounded space",
                    name);
    }
    poe_error_hint(error, "multiply it by a prior");
    status = POE_E_IMPROPER;
  }
  poei_free(held);
  return status;
}

/* a > 0 over 0: a divisor's support box ends inside the target's. */
static poe_status check_divisors(const poe_expert *target, const poei_names *names, poe_error *error) {
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
        char name[POEI_NAME_SIZE];
        status =
            poe_error_set(error, POE_E_IMPROPER, "the divisor `%s` is 0 outside [%g, %g] in %s, where the rest is not",
                          poe_expert_ops_of(parts.item[i].expert)->kind, own[j].low, own[j].high,
                          poei_names_text(names, c, name, sizeof name));
        poe_error_hint(error, "restrict the numerator, or divide by a density that is positive everywhere it is");
      }
    }
  }
  poei_parts_free(&parts);
  return status;
}

/* Have the factors a finite integral by their square roots, which see through more rounding than their sum? */
static poe_status is_proper(const poe_expert *target, bool *proper, poe_error *error) {
  poei_parts parts;
  poe_expert *closed = NULL;
  poe_status status = poei_parts_open(target, POEI_OPEN_ALL, &parts, NULL, error);
  if (status != POE_OK) {
    return status;
  }
  status = poei_fuse(parts.dim, parts.n, parts.item, POEI_FORM_MAX_COMPONENTS, &closed, error);
  *proper = status == POE_OK;
  poe_expert_release(closed);
  poei_parts_free(&parts);
  return status == POE_E_MEMORY ? status : POE_OK;
}

/* A direction along which a component's precision[d, d] is not positive: the axis where it is least, or the lowest
 * eigenvector in units that make the diagonal 1. False when there is none. v[d]; work[d, d + 1]. */
static bool flat_direction(size_t d, const double *precision, double *v, double *work, double *value) {
  size_t least = 0;
  for (size_t j = 1; j < d; j++) {
    least = precision[j * d + j] < precision[least * d + least] ? j : least;
  }
  memset(v, 0, d * sizeof *v);
  *value = precision[least * d + least];
  v[least] = 1.0;
  if (!(*value > 0.0)) {
    return true;
  }
  for (size_t i = 0; i < d; i++) {
    for (size_t j = 0; j < d; j++) {
      work[i * d + j] = precision[i * d + j] / sqrt(precision[i * d + i]) / sqrt(precision[j * d + j]);
    }
  }
  if (!poei_symmetric_eigen(d, work, work + d * d, work) || !(work[d * d] < 1e-9)) {
    return false;
  }
  double norm = 0.0;
  for (size_t j = 0; j < d; j++) {
    v[j] = work[j] / sqrt(precision[j * d + j]); /* v'Pv is the eigenvalue */
    norm = hypot(norm, v[j]);
  }
  *value = work[d * d] / norm / norm;
  return true;
}

/* Says in which direction a Gaussian form does not fall off, if `error` is about that. */
static poe_status name_direction(const poe_form *form, const poei_names *names, poe_error *error) {
  size_t d = form->dim;
  double *v = poei_alloc(d, sizeof *v), *work = poei_alloc(d + 1, d * sizeof *work), value;
  if (v == NULL || work == NULL) {
    poei_free(v);
    poei_free(work);
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t k = 0; k < form->components; k++) {
    if (form->constant[k] != -INFINITY && flat_direction(d, form->precision + k * d * d, v, work, &value)) {
      char which[64] = "", text[POEI_DIRECTION_SIZE];
      if (form->components > 1) {
        snprintf(which, sizeof which, "component %zu of %zu of ", k + 1, form->components);
      }
      poe_error_set(error, POE_E_IMPROPER,
                    "%sthe density cannot be normalised: its precision is not positive along %s (value %.3g)", which,
                    poei_direction_text(names, d, v, text, sizeof text), value);
      poe_error_hint(error, "multiply it by an expert that is proper in that direction");
      break;
    }
  }
  poei_free(v);
  poei_free(work);
  return POE_E_IMPROPER;
}

/* A whole target with a Gaussian form is judged by it; tables are left to whoever adds them up. */
static poe_status check_form(const poe_expert *target, const poei_names *names, poe_error *error) {
  if (poe_expert_traits(target)->dim > 0 && poe_expert_traits(target)->support[0].kind == POE_DISCRETE) {
    return POE_OK;
  }
  bool large = poe_expert_traits(target)->dim > POEI_FORM_MAX_DIM;
  if (large && !poei_expert_can(target, POE_CAN_FORM) && !poei_expert_can(target, POE_CAN_LOG_Z)) {
    return poei_sparse_check(target, names, error);
  }
  if (!poei_expert_can(target, POE_CAN_FORM) || poei_expert_can(target, POE_CAN_LOG_Z)) {
    return POE_OK;
  }
  poe_form form = {0};
  double log_z;
  poe_status status = poe_expert_form(target, &form, error);
  if (status == POE_OK) {
    status = poei_form_log_z(&form, &log_z, error);
  }
  if (status == POE_E_IMPROPER && form.kind == POE_FORM_GAUSSIANS) {
    poe_error ignored;
    bool proper = false;
    poe_status second = is_proper(target, &proper, &ignored);
    status = second != POE_OK || proper ? second : name_direction(&form, names, error);
  }
  poe_form_release(&form);
  return status == POE_E_IMPROPER || status == POE_E_EMPTY || status == POE_E_MEMORY ? status : POE_OK;
}

poe_status poei_check_proper(const poe_expert *target, const poei_names *names, poe_error *error) {
  poe_status status = check_form(target, names, error);
  if (status == POE_OK) {
    status = poei_check_families(target, names, error);
  }
  if (status == POE_OK) {
    status = poei_check_simplices(target, names, error);
  }
  if (status == POE_OK) {
    status = check_held(target, names, error);
  }
  if (status == POE_OK) {
    status = check_divisors(target, names, error);
  }
  return status == POE_OK ? poei_check_tails(target, names, error) : status;
}
