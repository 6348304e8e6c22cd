/* Rewriting rules over closed forms: Gaussian algebra, mixtures multiplied out, tables joined.
 *
 * In a product, factors with forms that share coordinates are fused into one closed expert; factors without a form stay
 * as they are, and so do forms whose product would not be proper on its own (a closed expert must be). Whatever was
 * samplable stays so: the fused expert can be drawn from, and it is over the same coordinates.
 *
 * Gaussians restricted to a box (bounded variables) take part with the form they have inside it: the product is the
 * Gaussian product on the intersection of the boxes, exact when its coordinates are independent.
 */
#include <stdint.h>

#include "compose/exact/fuse.h"
#include "compose/exact/numeric.h"
#include "compose/exact/rules.h"
#include "compose/exact/table.h"
#include "compose/exact/terms.h"
#include "compose/exact/tree.h"
#include "compose/exact/truncated.h"
#include "core/alloc.h"
#include "experts/closed.h"
#include "experts/formula.h"

typedef enum wanted { ONE_GAUSSIAN, GAUSSIANS, TABLES } wanted;

enum { FUSED_STATES = 4096 }; /* of a joint table; beyond it elimination does better than one large table */

/* ---- in general ---- */

/* A closed form, or a restriction to a box of something that has one. */
static bool offers_form(const poe_expert *expert, poe_coordinate_kind kind) {
  if (poei_node_kind_of(expert) == POEI_NODE_restrict && kind == POE_CONTINUOUS) {
    return offers_form(poei_node_child(expert, 0), kind);
  }
  const poe_traits *traits = poe_expert_traits(expert);
  if (kind == POE_DISCRETE && poei_joint_states(expert, FUSED_STATES) == 0) {
    return false;
  }
  return ((traits->capabilities & POE_CAN_FORM) != 0 || poei_truncated_is(expert)) && traits->offset_error == 0.0 &&
         traits->dim > 0 && traits->support[0].kind == kind;
}

static bool is_wanted(const poe_form *form, wanted what) {
  if (form->kind == POE_FORM_TABLE) {
    return what == TABLES;
  }
  return what == GAUSSIANS || (what == ONE_GAUSSIAN && form->components == 1);
}

/* A failure that only means "not this way". */
static bool refused(poe_status status) {
  return status == POE_E_CAPABILITY || status == POE_E_IMPROPER || status == POE_E_EMPTY || status == POE_E_NUMERIC ||
         status == POE_E_SHAPE;
}

static bool is_boxed(size_t dim, const poe_support *box) {
  for (size_t j = 0; j < dim; j++) {
    if (box[j].kind == POE_CONTINUOUS && (isfinite(box[j].low) || isfinite(box[j].high))) {
      return true;
    }
  }
  return false;
}

/* Every component on the box, mixed: POE_E_CAPABILITY when coordinates are not independent. */
static poe_status truncate(const poe_form *form, const poe_support *box, poe_expert **out, poe_error *error) {
  size_t n = form->components, made = 0;
  poe_expert **part = poei_calloc(n, sizeof *part);
  double *weight = poei_calloc(n, sizeof *weight);
  poe_status status = part == NULL || weight == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  for (; made < n && status == POE_OK; made++) {
    status = poei_truncated_create(form, made, box, &part[made], error);
  }
  if (status == POE_OK && n == 1) {
    *out = poe_expert_retain(part[0]);
  } else if (status == POE_OK) {
    status = poei_mixture_create(n, (const poe_expert *const *)part, weight, out, error);
  }
  for (size_t k = 0; part != NULL && k < made; k++) {
    poe_expert_release(part[k]);
  }
  poei_free(part);
  poei_free(weight);
  return status;
}

/* The product of Gaussian factors on a box, as one expert; POE_E_CAPABILITY where that would be a restriction of a
 * closed form, unless `restricted` allows it. */
static poe_status close_gaussians(size_t dim, size_t n, const poei_part *parts, size_t limit, const poe_support *box,
                                  bool restricted, poe_expert **out, poe_error *error) {
  poe_expert *closed = NULL;
  poe_status status = poei_fuse(dim, n, parts, limit, &closed, error);
  if (status != POE_OK) {
    return status;
  }
  if (!is_boxed(dim, box)) {
    *out = closed;
    return POE_OK;
  }
  poe_form form = {0};
  status = poe_expert_form(closed, &form, error);
  if (status == POE_OK) {
    status = truncate(&form, box, out, error);
  }
  if (status == POE_E_CAPABILITY && restricted) { /* dependent coordinates */
    status = poei_restrict_create(closed, box, out, error);
  }
  poe_form_release(&form);
  poe_expert_release(closed);
  return status;
}

/* A node of Gaussians as a closed expert. */
static poe_status close_one(const poe_expert *expert, size_t limit, poe_expert **out, poe_error *error) {
  const poe_traits *traits = poe_expert_traits(expert);
  size_t *index = poei_alloc(traits->dim, sizeof *index);
  if (index == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t j = 0; j < traits->dim; j++) {
    index[j] = j;
  }
  poei_part whole = {(poe_expert *)(uintptr_t)expert, traits->dim, index, 1.0};
  poe_status status = close_gaussians(traits->dim, 1, &whole, limit, traits->support, false, out, error);
  poei_free(index);
  return status;
}

/* A node with a form of the wanted kind, other than a product, as a closed expert; *out stays NULL when refused. */
static poe_status close_node(const poe_expert *expert, wanted what, size_t limit, poe_expert **out, poe_error *error) {
  poe_form form = {0};
  poe_status status = poei_unboxed_form(expert, &form, error);
  if (status == POE_OK && is_wanted(&form, what)) {
    status = what == TABLES ? poei_closed_create(&form, out, error) : close_one(expert, limit, out, error);
  }
  poe_form_release(&form);
  return refused(status) ? POE_OK : status;
}

/* ---- fusing factors ---- */

/* The box[dim] of a product: where all its factors with positive exponents are positive. False when a divisor's box
 * ends inside it. */
static bool common_box(const poei_parts *own, bool positive_only, poe_support *box) {
  for (size_t c = 0; c < own->dim; c++) {
    box[c] = poei_support_reals();
  }
  for (int divisors = 0; divisors <= 1; divisors++) {
    for (size_t i = 0; i < own->n; i++) {
      const poei_part *part = &own->item[i];
      const poe_support *support = poe_expert_traits(part->expert)->support;
      for (size_t j = 0; j < part->n && (part->exponent < 0.0) == (divisors == 1); j++) {
        poe_support *at = &box[part->index[j]];
        if (divisors == 1 ? !positive_only && !poei_support_covers(&support[j], at)
                          : !poei_support_intersect(at, &support[j])) {
          return false;
        }
      }
    }
  }
  return true;
}

/* The factors of `own` with positive exponents, or all: borrowed, to be freed. */
static poei_part *chosen_parts(const poei_parts *own, bool positive_only, size_t *n) {
  poei_part *chosen = poei_alloc(own->n, sizeof *chosen);
  *n = 0;
  for (size_t i = 0; chosen != NULL && i < own->n; i++) {
    if (!positive_only || own->item[i].exponent > 0.0) {
      chosen[(*n)++] = own->item[i];
    }
  }
  return chosen;
}

static poe_status fuse_tables(size_t dim, size_t n, const poei_part *parts, size_t limit, poe_expert **out,
                              poe_error *error) {
  poei_scoped_form *scoped = poei_calloc(n, sizeof *scoped);
  poe_form form = {0};
  poe_status status = scoped == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  for (size_t i = 0; i < n && status == POE_OK; i++) {
    scoped[i].index = parts[i].index;
    scoped[i].exponent = parts[i].exponent;
    status = poe_expert_form(parts[i].expert, &scoped[i].form, error);
  }
  if (status == POE_OK) {
    status = poei_table_product(dim, n, scoped, limit, &form, error);
  }
  if (status == POE_OK) {
    status = poei_closed_create(&form, out, error);
  }
  poe_form_release(&form);
  for (size_t i = 0; scoped != NULL && i < n; i++) {
    poe_form_release(&scoped[i].form);
  }
  poei_free(scoped);
  return status;
}

static poe_status fuse_gaussians(const poei_parts *own, bool positive_only, size_t n, const poei_part *parts,
                                 size_t limit, poe_expert **out, poe_error *error) {
  poe_support *box = poei_alloc(own->dim, sizeof *box);
  poe_status status = box == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  if (status == POE_OK && !common_box(own, positive_only, box)) {
    status = poe_error_set(error, POE_E_CAPABILITY, "a divisor is 0 where the rest is not");
  }
  if (status == POE_OK) {
    status = close_gaussians(own->dim, n, parts, limit, box, true, out, error);
  }
  poei_free(box);
  return status;
}

/* The product of the factors of `own` (all have forms), without its divisors when positive_only, closed. */
static poe_status fuse_parts(const poei_parts *own, wanted what, bool positive_only, size_t limit, poe_expert **out,
                             poe_error *error) {
  size_t n;
  poei_part *parts = chosen_parts(own, positive_only, &n);
  if (parts == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  poe_status status = what == TABLES ? fuse_tables(own->dim, n, parts, limit, out, error)
                                     : fuse_gaussians(own, positive_only, n, parts, limit, out, error);
  poei_free(parts);
  return status;
}

static bool worth_fusing(const poei_parts *own, bool positive_only) {
  size_t n = 0;
  bool powered = false;
  for (size_t i = 0; i < own->n; i++) {
    if (!positive_only || own->item[i].exponent > 0.0) {
      n++;
      powered = powered || own->item[i].exponent != 1.0;
    }
  }
  return n >= 2 || (n == 1 && powered);
}

/* Fuses one group of factors; in parts they are replaced by one closed factor, the last. *fused: how many, 0 when
 * refused. When divisors make the group improper, the others are fused without them. */
static poe_status fuse_group(poei_parts *parts, size_t *group, size_t which, wanted what, size_t limit, size_t *fused,
                             poe_error *error) {
  poei_parts own = {0};
  size_t *index = NULL;
  poe_expert *closed = NULL;
  *fused = 0;
  poe_status status = poei_parts_group(parts, group, which, &own, &index, error);
  bool positive_only = false;
  for (int attempt = 0; attempt < 2 && status == POE_OK && closed == NULL; attempt++) {
    positive_only = attempt == 1;
    if (worth_fusing(&own, positive_only)) {
      status = fuse_parts(&own, what, positive_only, limit, &closed, error);
      status = refused(status) ? POE_OK : status;
    }
  }
  if (status == POE_OK && closed != NULL) {
    status = poei_parts_add(parts, closed, own.dim, index, 1.0, error);
    for (size_t i = parts->n - 1; status == POE_OK && i-- > 0;) {
      if (group[i] == which && (!positive_only || parts->item[i].exponent > 0.0)) {
        poei_parts_remove(parts, i);
        (*fused)++;
      }
    }
  }
  poe_expert_release(closed);
  poei_parts_free(&own);
  poei_free(index);
  return status;
}

/* Marks the factors to fuse: those with a form of the wanted kind. */
static poe_status mark(const poei_parts *parts, wanted what, unsigned char *member, poe_error *error) {
  for (size_t i = 0; i < parts->n; i++) {
    member[i] = 0;
    if (!offers_form(parts->item[i].expert, what == TABLES ? POE_DISCRETE : POE_CONTINUOUS)) {
      continue;
    }
    poe_form form = {0};
    poe_status status = poei_unboxed_form(parts->item[i].expert, &form, error);
    if (status == POE_OK) {
      member[i] = is_wanted(&form, what);
    } else if (!refused(status)) {
      return status;
    }
    poe_form_release(&form);
  }
  return POE_OK;
}

/* Fuses the first group of factors that can be; the engine comes back for the others. */
static poe_status fuse_product(const poe_expert *expert, wanted what, size_t limit, poe_expert **out, char **text,
                               poe_error *error) {
  poei_parts parts;
  poe_status status = poei_parts_open(expert, POEI_OPEN_SURFACE, &parts, NULL, error);
  if (status != POE_OK) {
    return status;
  }
  unsigned char *member = poei_alloc(parts.n, 1);
  size_t *group = poei_alloc(parts.n, sizeof *group), *owner = poei_alloc(parts.dim, sizeof *owner);
  size_t count = 0, fused = 0;
  if (member == NULL || group == NULL || owner == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  } else {
    status = mark(&parts, what, member, error);
  }
  if (status == POE_OK) {
    status = poei_parts_groups(&parts, member, group, owner, &count, error);
  }
  for (size_t which = 0; which < count && fused == 0 && status == POE_OK; which++) {
    status = fuse_group(&parts, group, which, what, limit, &fused, error);
  }
  if (status == POE_OK && fused > 0) {
    size_t dim = parts.item[parts.n - 1].n;
    status = poei_parts_close(&parts, out, error);
    *text = status == POE_OK
                ? poei_format("%zu factor%s became one %s over %zu coordinate%s", fused, fused == 1 ? "" : "s",
                              what == TABLES         ? "table"
                              : what == ONE_GAUSSIAN ? "Gaussian"
                                                     : "mixture of Gaussians",
                              dim, dim == 1 ? "" : "s")
                : NULL;
  }
  poei_free(member);
  poei_free(group);
  poei_free(owner);
  poei_parts_free(&parts);
  return status;
}

/* ---- the rules ---- */

/* Nodes that have a closed form of their own, and formulas that do; a slice of a larger space would be flat there, so
 * it stays. */
static bool closes(const poe_expert *expert, poe_coordinate_kind kind) {
  poei_node_kind node = poei_node_kind_of(expert);
  if ((node == POEI_NODE_LEAF && !poei_formula_is(expert)) || node == POEI_NODE_transform ||
      !offers_form(expert, kind)) {
    return false;
  }
  return node != POEI_NODE_slice ||
         poe_expert_traits(expert)->dim == poe_expert_traits(poei_node_child(expert, 0))->dim;
}

/* Is any factor worth looking at? */
static bool has_candidate(const poe_expert *expert, poe_coordinate_kind kind) {
  size_t n = 0;
  bool powered = false;
  for (size_t i = 0; i < poei_node_child_count(expert); i++) {
    const poe_expert *inside;
    poei_scope_of(poei_node_child(expert, i), &inside);
    if (offers_form(inside, kind)) {
      n++;
      powered = powered || poei_product_exponent(expert, i) != 1.0;
    }
  }
  return n >= 2 || powered;
}

static bool applies(const poe_expert *expert, poe_coordinate_kind kind) {
  return poei_node_kind_of(expert) == POEI_NODE_product ? has_candidate(expert, kind) : closes(expert, kind);
}

static poe_status rewrite(const poe_expert *expert, wanted what, size_t limit, poe_expert **out, char **text,
                          poe_error *error) {
  if (poei_node_kind_of(expert) == POEI_NODE_product) {
    return fuse_product(expert, what, limit, out, text, error);
  }
  poe_status status = close_node(expert, what, limit, out, error);
  if (status == POE_OK && *out != NULL) {
    poei_node_kind kind = poei_node_kind_of(expert);
    *text = poei_format("a %s became a closed form over %zu coordinates",
                        kind == POEI_NODE_LEAF ? poe_expert_ops_of(expert)->kind : poei_node_kind_name(kind),
                        poe_expert_traits(expert)->dim);
  }
  return status;
}

bool poei_rule_gaussian_applies(const poe_expert *expert) {
  return applies(expert, POE_CONTINUOUS);
}

poe_status poei_rule_gaussian_rewrite(const poe_expert *expert, const poei_plan_options *options, poe_expert **out,
                                      char **what, poe_error *error) {
  return rewrite(expert, ONE_GAUSSIAN, options->mixture_limit, out, what, error);
}

bool poei_rule_distribute_applies(const poe_expert *expert) {
  return applies(expert, POE_CONTINUOUS);
}

poe_status poei_rule_distribute_rewrite(const poe_expert *expert, const poei_plan_options *options, poe_expert **out,
                                        char **what, poe_error *error) {
  return rewrite(expert, GAUSSIANS, options->mixture_limit, out, what, error);
}

bool poei_rule_tables_applies(const poe_expert *expert) {
  return applies(expert, POE_DISCRETE);
}

poe_status poei_rule_tables_rewrite(const poe_expert *expert, const poei_plan_options *options, poe_expert **out,
                                    char **what, poe_error *error) {
  size_t limit = options->state_limit < FUSED_STATES ? options->state_limit : FUSED_STATES;
  return rewrite(expert, TABLES, limit, out, what, error);
}
