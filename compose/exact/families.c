/* Gathering products of exponential families (families.h): which experts are, and adding them up.
 *
 * Coefficients of factors to powers add up, coordinate by coordinate; so do Gaussian parts, each kept around the origin
 * of the narrowest.
 */
#include "compose/exact/families.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "compose/exact/truncated.h"
#include "core/alloc.h"
#include "core/special.h"
#include "experts/separable.h"

enum { DENSE_MOST = 64 }; /* coordinates of a Gaussian that is only known by a dense form */

/* ---- which experts ---- */

static bool diagonal_sparse(const poe_structure *structure) {
  bool diagonal = structure->kind == POE_STRUCTURE_SPARSE;
  for (size_t j = 0; diagonal && j < structure->dim; j++) {
    diagonal = structure->as.sparse.column_start[j + 1] == structure->as.sparse.column_start[j] + 1;
  }
  return diagonal;
}

static bool diagonal_form(const poe_form *form) {
  bool diagonal = form->kind == POE_FORM_GAUSSIANS && form->components == 1;
  for (size_t i = 0; diagonal && i < form->dim * form->dim; i++) {
    diagonal = i % (form->dim + 1) == 0 || form->precision[i] == 0.0;
  }
  return diagonal;
}

/* The dense form of a leaf of Gaussians; *form stays empty when it has none or is too large. */
static poe_status small_form(const poe_expert *leaf, poe_form *form, poe_error *error) {
  const poe_traits *traits = poe_expert_traits(leaf);
  if (traits->dim > DENSE_MOST || traits->support[0].kind == POE_DISCRETE) {
    return POE_OK;
  }
  if (poei_truncated_is(leaf)) {
    return poei_truncated_form(leaf, form, error);
  }
  return (traits->capabilities & POE_CAN_FORM) != 0 ? poe_expert_form(leaf, form, error) : POE_OK;
}

/* Coordinates of diagonal precision that are no Gaussians (of formulas): exponential tilts, constants. */
static bool has_tilts(const poe_sparse_gaussian *sparse, size_t dim) {
  bool tilts = false;
  for (size_t j = 0; j < dim; j++) {
    tilts = tilts || !(sparse->precision[sparse->column_start[j]] > 0.0);
  }
  return tilts;
}

static poe_status leaf_sort(const poe_expert *leaf, poei_family_sort *sort, poe_error *error) {
  const poe_traits *traits = poe_expert_traits(leaf);
  poe_structure structure = {0};
  poe_form form = {0};
  poe_status status = POE_OK;
  if (traits->dim == 0) {
    return POE_OK;
  }
  if (poe_expert_ops_of(leaf)->structure == poei_separable_structure) {
    *sort = POEI_SOME_FAMILY;
    return POE_OK;
  }
  if ((traits->capabilities & POE_CAN_STRUCTURE) != 0 && traits->support[0].kind == POE_CONTINUOUS) {
    status = poe_expert_structure(leaf, &structure, error);
    if (status == POE_OK && structure.kind == POE_STRUCTURE_NATURAL) {
      *sort = POEI_SOME_FAMILY;
    } else if (status == POE_OK && diagonal_sparse(&structure)) {
      *sort = has_tilts(&structure.as.sparse, traits->dim) ? POEI_SOME_FAMILY : POEI_GAUSSIAN_FAMILY;
    }
  } else {
    status = small_form(leaf, &form, error);
    if (status == POE_OK && form.dim > 0 && diagonal_form(&form)) {
      *sort = POEI_GAUSSIAN_FAMILY;
    }
  }
  poe_structure_release(&structure);
  poe_form_release(&form);
  return status == POE_E_MEMORY ? status : POE_OK;
}

static poe_status product_sort(const poe_expert *product, double exponent, poei_family_sort *sort, poe_error *error) {
  poei_family_sort all = POEI_GAUSSIAN_FAMILY;
  if (poei_product_has_walls(product) || poei_node_child_count(product) == 0) {
    return POE_OK;
  }
  for (size_t i = 0; i < poei_node_child_count(product); i++) {
    double own = poei_product_exponent(product, i);
    poei_family_sort one;
    poe_status status = poei_family_sort_of(poei_node_child(product, i), exponent * own, &one, error);
    if (status != POE_OK || one == POEI_NO_FAMILY || (exponent < 0.0 && own < 0.0)) {
      return status; /* (b/c)^-1 is not c/b where both vanish */
    }
    all = one == POEI_SOME_FAMILY ? one : all;
  }
  *sort = all;
  return POE_OK;
}

poe_status poei_family_sort_of(const poe_expert *expert, double exponent, poei_family_sort *sort, poe_error *error) {
  double std_error;
  *sort = POEI_NO_FAMILY;
  if (poe_expert_traits(expert)->offset_error != 0.0) {
    return POE_OK;
  }
  switch (poei_node_kind_of(expert)) {
  case POEI_NODE_LEAF:
    return leaf_sort(expert, sort, error);
  case POEI_NODE_product:
    return product_sort(expert, exponent, sort, error);
  case POEI_NODE_normalise:
    if (isnan(poei_normalise_log_z(expert, &std_error))) {
      return POE_OK;
    }
    return poei_family_sort_of(poei_node_child(expert, 0), exponent, sort, error);
  case POEI_NODE_mixture:
    if (poei_node_child_count(expert) != 1) {
      return POE_OK;
    }
    return poei_family_sort_of(poei_node_child(expert, 0), exponent, sort, error);
  case POEI_NODE_restrict:
  case POEI_NODE_plate:
  case POEI_NODE_given:
  case POEI_NODE_slice:
    return poei_family_sort_of(poei_node_child(expert, 0), exponent, sort, error);
  default:
    return POE_OK;
  }
}

/* ---- gathering ---- */

poe_status poei_families_start(poei_families *f, size_t dim, poe_error *error) {
  *f = (poei_families){.dim = dim};
  f->at = poei_calloc(dim, sizeof *f->at);
  f->extra = poei_calloc(dim, sizeof *f->extra);
  f->size = poei_calloc(dim, POE_STATISTICS * sizeof *f->size);
  f->pull = poei_calloc(dim, sizeof *f->pull);
  f->wall = poei_calloc(dim, sizeof *f->wall);
  f->factors = poei_calloc(dim, sizeof *f->factors);
  f->whole = poei_calloc(dim, sizeof *f->whole);
  if (f->at == NULL || f->extra == NULL || f->size == NULL || f->pull == NULL || f->wall == NULL ||
      f->factors == NULL || f->whole == NULL) {
    poei_families_free(f);
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t c = 0; c < dim; c++) {
    f->at[c].support = f->wall[c] = poei_support_reals();
  }
  return POE_OK;
}

void poei_families_free(poei_families *f) {
  poei_free(f->at);
  poei_free(f->extra);
  poei_free(f->size);
  poei_free(f->pull);
  poei_free(f->wall);
  poei_free(f->factors);
  poei_free(f->whole);
  *f = (poei_families){0};
}

double poei_families_recentre(poei_natural_coordinate *c, double origin) {
  double shift = origin - c->origin; /* u = u' + shift */
  double constant = c->linear * shift - 0.5 * c->precision * shift * shift;
  c->linear -= c->precision * shift;
  c->origin = origin;
  return constant;
}

/* Where a coordinate of an expert lies: in the product, or clamped. */
typedef struct site {
  size_t index; /* SIZE_MAX: clamped */
  double value;
} site;

/* Value of a coordinate at a point. */
static double value_at(const poei_natural_coordinate *c, double x) {
  double u = x - c->origin, sum = c->linear * u - 0.5 * c->precision * u * u;
  const double *b = c->coefficient;
  double statistic[POE_STATISTICS] = {[POE_STATISTIC_IDENTITY] = x,
                                      [POE_STATISTIC_SQUARE] = x * x,
                                      [POE_STATISTIC_COS] = cos(x),
                                      [POE_STATISTIC_SIN] = sin(x)};
  statistic[POE_STATISTIC_LOG] = log(x);
  statistic[POE_STATISTIC_LOG_COMPLEMENT] = log1p(-x);
  statistic[POE_STATISTIC_LOG_SQUARE] = log(x) * log(x);
  statistic[POE_STATISTIC_LOG_FACTORIAL] = poei_log_factorial(x);
  for (size_t s = 0; s < POE_STATISTICS; s++) {
    sum += b[s] != 0.0 ? b[s] * statistic[s] : 0.0;
  }
  return sum;
}

/* Multiplies the product by one coordinate to a power. */
static poe_status add_coordinate(poei_families *f, poei_natural_coordinate own, site at, double exponent,
                                 poe_error *error) {
  if (at.index == SIZE_MAX) {
    if (!poei_support_contains(&own.support, at.value)) {
      return poe_error_set(error, POE_E_EMPTY, "the density is 0 at a clamped value");
    }
    f->constant += exponent * value_at(&own, at.value);
    return isfinite(f->constant) ? POE_OK : poe_error_set(error, POE_E_EMPTY, "the density is 0 at a clamped value");
  }
  size_t c = at.index;
  poei_natural_coordinate *all = &f->at[c];
  f->factors[c]++;
  if (!poei_support_intersect(exponent > 0.0 ? &all->support : &f->wall[c], &own.support)) {
    return poe_error_set(error, POE_E_EMPTY, "the factors share no value of a coordinate");
  }
  for (size_t s = 0; s < POE_STATISTICS; s++) {
    all->coefficient[s] += exponent * own.coefficient[s];
    f->size[c * POE_STATISTICS + s] += fabs(exponent * own.coefficient[s]);
  }
  if (own.precision == 0.0 && own.linear == 0.0) {
    return POE_OK;
  }
  own.linear *= exponent;
  own.precision *= exponent;
  f->size[c * POE_STATISTICS + POE_STATISTIC_SQUARE] += 0.5 * fabs(own.precision);
  f->pull[c] += fabs(own.linear) + fabs(own.precision * own.origin);
  if (fabs(own.precision) > fabs(all->precision)) {
    f->extra[c] += poei_families_recentre(all, own.origin);
  } else {
    f->extra[c] += poei_families_recentre(&own, all->origin);
  }
  all->linear += own.linear;
  all->precision += own.precision;
  return POE_OK;
}

/* A leaf's coordinates, own[dim], and its constant. */
static poe_status read_leaf(const poe_expert *leaf, poei_natural_coordinate *own, double *constant, poe_error *error) {
  const poe_traits *traits = poe_expert_traits(leaf);
  poe_structure structure = {0};
  poe_form form = {0};
  poe_status status = poei_natural_read(leaf, own, constant, error);
  if (status != POE_E_CAPABILITY) {
    return status;
  }
  status = (traits->capabilities & POE_CAN_STRUCTURE) != 0 ? poe_expert_structure(leaf, &structure, error)
                                                           : small_form(leaf, &form, error);
  bool sparse = status == POE_OK && structure.dim > 0 && diagonal_sparse(&structure);
  if (status == POE_OK && !sparse && (form.dim == 0 || !diagonal_form(&form))) {
    status = poe_error_set(error, POE_E_CAPABILITY, "not independent Gaussians");
  }
  for (size_t j = 0; status == POE_OK && j < traits->dim; j++) {
    own[j] = (poei_natural_coordinate){.support = traits->support[j]};
    own[j].origin = sparse ? structure.as.sparse.origin[j] : form.origin[j];
    own[j].linear = sparse ? structure.as.sparse.linear[j] : form.linear[j];
    own[j].precision = sparse ? structure.as.sparse.precision[j] : form.precision[j * (traits->dim + 1)];
  }
  if (status == POE_OK) {
    *constant = sparse ? structure.as.sparse.constant : form.constant[0];
  }
  poe_structure_release(&structure);
  poe_form_release(&form);
  return status;
}

static poe_status add_leaf(poei_families *f, const poe_expert *leaf, const site *at, double exponent,
                           poe_error *error) {
  size_t dim = poe_expert_traits(leaf)->dim;
  poei_natural_coordinate *own = poei_alloc(dim, sizeof *own);
  double constant = 0.0;
  poe_status status =
      own == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : read_leaf(leaf, own, &constant, error);
  for (size_t j = 0; j < dim && status == POE_OK; j++) {
    status = add_coordinate(f, own[j], at[j], exponent, error);
  }
  f->constant += exponent * constant;
  poei_free(own);
  return status;
}

static poe_status add_expert(poei_families *f, const poe_expert *expert, const site *at, double exponent,
                             poe_error *error);

/* The child of a node, once for each of `sets` index sets index[sets, child dim] into the node's coordinates. */
static poe_status add_placed(poei_families *f, const poe_expert *child, size_t sets, const size_t *index,
                             const site *at, double exponent, poe_error *error) {
  size_t d = poe_expert_traits(child)->dim;
  site *own = poei_alloc(d, sizeof *own);
  poe_status status = own == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  for (size_t set = 0; set < sets && status == POE_OK; set++) {
    for (size_t j = 0; j < d; j++) {
      own[j] = index == NULL ? at[j] : at[index[set * d + j]];
    }
    status = add_expert(f, child, own, exponent, error);
  }
  poei_free(own);
  return status;
}

static poe_status add_given(poei_families *f, const poe_expert *given, const site *at, double exponent,
                            poe_error *error) {
  const poe_expert *child = poei_node_child(given, 0);
  size_t d = poe_expert_traits(child)->dim, free_one = 0;
  site *own = poei_alloc(d, sizeof *own);
  unsigned char *clamped = poei_calloc(d, 1);
  poe_status status = own == NULL || clamped == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  for (size_t k = 0; k < poei_given_count(given) && status == POE_OK; k++) {
    size_t j = poei_given_index(given)[k];
    clamped[j] = 1;
    own[j] = (site){SIZE_MAX, poei_given_value(given)[k]};
  }
  for (size_t j = 0; j < d && status == POE_OK; j++) {
    own[j] = clamped[j] ? own[j] : at[free_one++];
  }
  if (status == POE_OK) {
    status = add_expert(f, child, own, exponent, error);
  }
  poei_free(own);
  poei_free(clamped);
  return status;
}

/* The box of a restriction, then what is in it. */
static poe_status add_restricted(poei_families *f, const poe_expert *node, const site *at, double exponent,
                                 poe_error *error) {
  const poe_traits *traits = poe_expert_traits(node);
  for (size_t j = 0; j < traits->dim; j++) {
    const poe_support *box = &traits->support[j];
    bool some = at[j].index == SIZE_MAX
                    ? poei_support_contains(box, at[j].value)
                    : poei_support_intersect(exponent > 0.0 ? &f->at[at[j].index].support : &f->wall[at[j].index], box);
    if (!some) {
      return poe_error_set(error, POE_E_EMPTY, "the factors share no value of a coordinate");
    }
  }
  return add_expert(f, poei_node_child(node, 0), at, exponent, error);
}

static poe_status add_expert(poei_families *f, const poe_expert *expert, const site *at, double exponent,
                             poe_error *error) {
  const poe_expert *child = poei_node_child_count(expert) == 0 ? NULL : poei_node_child(expert, 0);
  double std_error;
  switch (poei_node_kind_of(expert)) {
  case POEI_NODE_LEAF:
    return add_leaf(f, expert, at, exponent, error);
  case POEI_NODE_restrict:
    return add_restricted(f, expert, at, exponent, error);
  case POEI_NODE_given:
    return add_given(f, expert, at, exponent, error);
  case POEI_NODE_plate:
    return add_placed(f, child, poei_plate_count(expert), poei_plate_index(expert), at, exponent, error);
  case POEI_NODE_slice:
    return add_placed(f, child, 1, poei_slice_index(expert), at, exponent, error);
  case POEI_NODE_normalise:
    f->constant -= exponent * poei_normalise_log_z(expert, &std_error);
    return add_expert(f, child, at, exponent, error);
  case POEI_NODE_mixture:
    f->constant += exponent * poei_mixture_log_weight(expert, 0);
    return add_expert(f, child, at, exponent, error);
  case POEI_NODE_product: {
    poe_status status = POE_OK;
    for (size_t i = 0; i < poei_node_child_count(expert) && status == POE_OK; i++) {
      status = add_placed(f, poei_node_child(expert, i), 1, poei_product_index(expert, i), at,
                          exponent * poei_product_exponent(expert, i), error);
    }
    return status;
  }
  default:
    return poe_error_set(error, POE_E_CAPABILITY, "`%s` is no exponential family", poe_expert_ops_of(expert)->kind);
  }
}

poe_status poei_families_add(poei_families *f, const poe_expert *expert, const size_t *index, double exponent,
                             poe_error *error) {
  size_t dim = poe_expert_traits(expert)->dim;
  site *at = poei_alloc(dim, sizeof *at);
  if (at == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t j = 0; j < dim; j++) {
    at[j] = (site){index[j], 0.0};
  }
  poe_status status = add_expert(f, expert, at, exponent, error);
  poei_free(at);
  return status;
}
