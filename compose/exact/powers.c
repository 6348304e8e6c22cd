/* Products over simplices, gathered number by number (simplices.h): powers add up.
 *
 * On a simplex of two numbers log(1 - x) of one is log x of the other. A linear term with the same slope for all
 * numbers of a simplex is a constant, because they sum to 1.
 */
#include <math.h>
#include <string.h>

#include "compose/exact/families.h"
#include "compose/exact/simplices.h"
#include "compose/nodes/sticks.h"
#include "core/alloc.h"
#include "experts/dirichlet.h"

static const double rounding = 1e-13; /* of a sum, relative to its terms */

poe_status poei_powers_start(poei_powers *p, size_t dim, poe_error *error) {
  *p = (poei_powers){.dim = dim};
  p->power = poei_calloc(dim, sizeof *p->power);
  p->linear = poei_calloc(dim, sizeof *p->linear);
  p->power_size = poei_calloc(dim, sizeof *p->power_size);
  p->linear_size = poei_calloc(dim, sizeof *p->linear_size);
  p->factors = poei_calloc(dim, sizeof *p->factors);
  if (p->power == NULL || p->linear == NULL || p->power_size == NULL || p->linear_size == NULL || p->factors == NULL) {
    poei_powers_free(p);
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  return POE_OK;
}

void poei_powers_free(poei_powers *p) {
  poei_free(p->power);
  poei_free(p->linear);
  poei_free(p->power_size);
  poei_free(p->linear_size);
  poei_free(p->factors);
  *p = (poei_powers){0};
}

static poe_status no_family(poe_error *error) {
  return poe_error_set(error, POE_E_CAPABILITY, "not a product of powers on simplices");
}

static void add_power(poei_powers *p, size_t c, double power) {
  p->power[c] += power;
  p->power_size[c] += fabs(power);
}

static void add_linear(poei_powers *p, size_t c, double slope) {
  p->linear[c] += slope;
  p->linear_size[c] += fabs(slope);
}

/* ---- leaves ---- */

static poe_status add_dirichlet(poei_powers *p, const poe_expert *leaf, const size_t *index, double exponent,
                                poe_error *error) {
  size_t k = 0, dim = poe_expert_traits(leaf)->dim;
  const double *alpha = poei_dirichlet_alpha(leaf, &k);
  if (alpha == NULL) {
    return no_family(error);
  }
  for (size_t j = 0; j < dim; j++) {
    p->constant -= j % k == 0 ? exponent * poei_dirichlet_log_integral(k, &alpha[j]) : 0.0;
    p->factors[index[j]]++;
    add_power(p, index[j], exponent * (alpha[j] - 1.0));
  }
  return POE_OK;
}

/* One coordinate of a family on a simplex, beside its partner when the simplex has two numbers (else SIZE_MAX). */
static poe_status add_coordinate(poei_powers *p, const poei_natural_coordinate *own, size_t c, size_t partner,
                                 double exponent, poe_error *error) {
  const double *b = own->coefficient;
  if (own->precision != 0.0 || own->support.low > 0.0 || own->support.high < 1.0) {
    return no_family(error);
  }
  for (size_t s = 0; s < POE_STATISTICS; s++) {
    bool fits = s == POE_STATISTIC_LOG || s == POE_STATISTIC_IDENTITY ||
                (s == POE_STATISTIC_LOG_COMPLEMENT && partner != SIZE_MAX);
    if (b[s] != 0.0 && !fits) {
      return no_family(error);
    }
  }
  add_power(p, c, exponent * b[POE_STATISTIC_LOG]);
  if (partner != SIZE_MAX) {
    add_power(p, partner, exponent * b[POE_STATISTIC_LOG_COMPLEMENT]);
  }
  add_linear(p, c, exponent * (b[POE_STATISTIC_IDENTITY] + own->linear));
  p->constant -= exponent * own->linear * own->origin;
  return POE_OK;
}

/* The other coordinate of a simplex of two, SIZE_MAX for others. */
static size_t partner_of(const poe_traits *traits, size_t j) {
  size_t first = traits->support[j].kind == POE_SIMPLEX_NEXT && j > 0 ? j - 1 : j;
  if (traits->support[first].kind != POE_SIMPLEX || poei_simplex_at(traits->dim, traits->support, first) != 2) {
    return SIZE_MAX;
  }
  return first == j ? j + 1 : first;
}

/* A family of real coordinates on simplices: all of its coordinates must be numbers of one. */
static poe_status add_formula(poei_powers *p, const poe_expert *node, const size_t *index, double exponent,
                              poe_error *error) {
  const poe_traits *traits = poe_expert_traits(node);
  const poe_expert *child = poei_node_child(node, 0);
  poei_families f = {0};
  poei_family_sort sort;
  poe_status status = poei_family_sort_of(child, 1.0, &sort, error);
  if (status != POE_OK || sort == POEI_NO_FAMILY) {
    return status != POE_OK ? status : no_family(error);
  }
  size_t *own = poei_alloc(traits->dim, sizeof *own);
  status =
      own == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : poei_families_start(&f, traits->dim, error);
  for (size_t j = 0; j < traits->dim && status == POE_OK; j++) {
    own[j] = j;
    status = traits->support[j].kind == POE_CONTINUOUS ? no_family(error) : POE_OK;
  }
  if (status == POE_OK) {
    status = poei_families_add(&f, child, own, 1.0, error);
  }
  for (size_t j = 0; j < traits->dim && status == POE_OK; j++) {
    size_t partner = partner_of(traits, j);
    bool walled = f.wall[j].low > 0.0 || f.wall[j].high < 1.0; /* a divisor that is 0 somewhere */
    p->factors[index[j]]++;
    p->constant += exponent * f.extra[j];
    status =
        walled ? no_family(error)
               : add_coordinate(p, &f.at[j], index[j], partner == SIZE_MAX ? partner : index[partner], exponent, error);
  }
  p->constant += status == POE_OK ? exponent * f.constant : 0.0;
  poei_families_free(&f);
  poei_free(own);
  return status == POE_E_EMPTY ? no_family(error) : status;
}

/* ---- compositions ---- */

/* The child of a node, once for each of `sets` index sets at[sets, child dim] into the node's coordinates. */
static poe_status add_placed(poei_powers *p, const poe_expert *child, size_t sets, const size_t *at,
                             const size_t *index, double exponent, poe_error *error) {
  size_t d = poe_expert_traits(child)->dim;
  size_t *own = poei_alloc(d, sizeof *own);
  poe_status status = own == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  for (size_t set = 0; set < sets && status == POE_OK; set++) {
    for (size_t j = 0; j < d; j++) {
      own[j] = index[at == NULL ? j : at[set * d + j]];
    }
    status = poei_powers_add(p, child, own, exponent, error);
  }
  poei_free(own);
  return status;
}

static poe_status add_product(poei_powers *p, const poe_expert *product, const size_t *index, double exponent,
                              poe_error *error) {
  poe_status status = poei_product_has_walls(product) ? no_family(error) : POE_OK;
  for (size_t i = 0; i < poei_node_child_count(product) && status == POE_OK; i++) {
    double own = poei_product_exponent(product, i);
    status = exponent < 0.0 && own < 0.0 /* (b/c)^-1 is not c/b where both vanish */
                 ? no_family(error)
                 : add_placed(p, poei_node_child(product, i), 1, poei_product_index(product, i), index, exponent * own,
                              error);
  }
  return status;
}

poe_status poei_powers_add(poei_powers *p, const poe_expert *expert, const size_t *index, double exponent,
                           poe_error *error) {
  const poe_expert *child = poei_node_child_count(expert) == 0 ? NULL : poei_node_child(expert, 0);
  if (poe_expert_traits(expert)->offset_error != 0.0) {
    return no_family(error);
  }
  switch (poei_node_kind_of(expert)) {
  case POEI_NODE_LEAF:
    return add_dirichlet(p, expert, index, exponent, error);
  case POEI_NODE_simplex:
    return add_formula(p, expert, index, exponent, error);
  case POEI_NODE_product:
    return add_product(p, expert, index, exponent, error);
  case POEI_NODE_plate:
    return add_placed(p, child, poei_plate_count(expert), poei_plate_index(expert), index, exponent, error);
  case POEI_NODE_slice:
    return add_placed(p, child, 1, poei_slice_index(expert), index, exponent, error);
  case POEI_NODE_normalise: {
    double log_z = poei_normalise_log_z(expert, NULL);
    p->constant -= exponent * log_z;
    return isnan(log_z) ? no_family(error) : poei_powers_add(p, child, index, exponent, error);
  }
  case POEI_NODE_mixture:
    p->constant += exponent * poei_mixture_log_weight(expert, 0);
    return poei_node_child_count(expert) != 1 ? no_family(error) : poei_powers_add(p, child, index, exponent, error);
  default:
    return no_family(error);
  }
}

/* ---- what came of it ---- */

bool poei_powers_are_dirichlet(const poei_powers *p, size_t first, size_t k, double *alpha) {
  for (size_t c = first; c < first + k; c++) {
    double gap = p->linear[c] - p->linear[first];
    alpha[c - first] = 1.0 + p->power[c];
    bool proper = alpha[c - first] > rounding * (1.0 + p->power_size[c]);
    if (p->factors[c] == 0 || !proper || fabs(gap) > rounding * (p->linear_size[c] + p->linear_size[first])) {
      return false;
    }
  }
  return true;
}

/* The Dirichlet density of `run` simplices of k numbers from coordinate c on. */
static poe_status add_run(const poei_powers *p, size_t c, size_t run, size_t k, poei_parts *out, poe_error *error) {
  poe_expert *made = NULL;
  double *alpha = poei_alloc(run, k * sizeof *alpha);
  size_t *index = poei_alloc(run, k * sizeof *index);
  poe_status status = alpha == NULL || index == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  for (size_t m = 0; m < run * k && status == POE_OK; m++) {
    index[m] = c + m;
    if (m % k == 0 && !poei_powers_are_dirichlet(p, c + m, k, &alpha[m])) {
      status = no_family(error);
    } else if (m % k == 0) {
      out->constant += p->linear[c + m] + poei_dirichlet_log_integral(k, &alpha[m]);
    }
  }
  if (status == POE_OK) {
    status = poei_dirichlet_create(run, k, alpha, &made, error);
  }
  if (status == POE_OK) {
    status = poei_parts_add(out, made, run * k, index, 1.0, error);
  }
  poe_expert_release(made);
  poei_free(alpha);
  poei_free(index);
  return status;
}

poe_status poei_powers_close(const poei_powers *p, const poe_support *support, poei_parts *out, poe_error *error) {
  size_t simplices = 0;
  poe_status status = POE_OK;
  for (size_t c = 0; c < p->dim; c++) {
    simplices += support[c].kind == POE_SIMPLEX && p->factors[c] > 0;
  }
  out->constant += p->constant;
  for (size_t c = 0, step; c < p->dim && status == POE_OK; c += step) {
    size_t k = poei_simplex_at(p->dim, support, c), run = 1;
    step = 1;
    if (k == 0 || p->factors[c] == 0) {
      continue;
    }
    while (simplices > POEI_MOST_SIMPLICES && c + run * k < p->dim && p->factors[c + run * k] > 0 &&
           poei_simplex_at(p->dim, support, c + run * k) == k) {
      run++;
    }
    status = add_run(p, c, run, k, out, error);
    step = run * k;
  }
  return status;
}

/* The first number of a simplex, all of whose factors are powers, whose own power is -1 or less; dim: there is none. */
static size_t find_divergence(const poei_powers *p, const poe_support *support, const unsigned char *other) {
  for (size_t c = 0; c < p->dim; c++) {
    bool on = support[c].kind == POE_SIMPLEX || support[c].kind == POE_SIMPLEX_NEXT;
    if (on && !other[c] && p->factors[c] > 0 && 1.0 + p->power[c] <= rounding * (1.0 + p->power_size[c])) {
      return c;
    }
  }
  return p->dim;
}

poe_status poei_check_simplices(const poe_expert *target, const poei_names *names, poe_error *error) {
  const poe_traits *traits = poe_expert_traits(target);
  poei_parts parts = {0};
  if (!poei_simplex_any(traits->dim, traits->support) || poei_expert_can(target, POE_CAN_LOG_Z)) {
    return POE_OK;
  }
  if (poei_node_kind_of(target) == POEI_NODE_mixture) { /* each component by itself */
    poe_status each = POE_OK;
    for (size_t i = 0; i < poei_node_child_count(target) && each == POE_OK; i++) {
      each = poei_check_simplices(poei_node_child(target, i), names, error);
    }
    return each;
  }
  poe_status status = poei_parts_open(target, POEI_OPEN_ALL, &parts, NULL, error);
  poei_powers all = {0};
  unsigned char *other = poei_calloc(traits->dim, 1); /* something else is over this coordinate too */
  if (status == POE_OK && other == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  if (status == POE_OK) {
    status = poei_powers_start(&all, traits->dim, error);
  }
  for (size_t i = 0; i < parts.n && status == POE_OK; i++) {
    const poei_part *part = &parts.item[i];
    poe_error why = {0};
    poe_status own = poei_powers_add(&all, part->expert, part->index, part->exponent, &why);
    for (size_t j = 0; j < part->n && own != POE_OK; j++) {
      other[part->index[j]] = 1;
    }
    if (own == POE_E_MEMORY) {
      *error = why;
      status = own;
    }
  }
  size_t c = status == POE_OK ? find_divergence(&all, traits->support, other) : traits->dim;
  if (c < traits->dim) {
    char name[POEI_NAME_SIZE];
    poei_names_text(names, c, name, sizeof name);
    status =
        poe_error_set(error, POE_E_IMPROPER, "the density cannot be normalised: towards %s = 0 it grows like %s^%.4g",
                      name, name, all.power[c]);
    poe_error_hint(error, "multiply it by an expert that is proper there, or take less of the divisor");
  }
  poei_free(other);
  poei_powers_free(&all);
  poei_parts_free(&parts);
  return status;
}
