/* Where sequential Monte Carlo starts: a density base, drawn exactly and with known log Z, such that
 * target = base * rest and both are over the same coordinates.
 *
 * First choice: factors of the target that can be drawn and together cover every coordinate once. When several do, the
 * narrowest (by the determinant of its Gaussian form) is nearest to the target. Factors with an exponent above 1 give
 * one of it to the base. Second choice: a factor that is a mixture, each component of which has such a base: the base
 * is the mixture of those, and rest = target / base. Third choice: a Gaussian on a box, whose coordinates depend on
 * each other: the base has its means and independent coordinates on the same box, wide enough that target / base is
 * bounded (else rare particles would carry the answer), and rest = target / base. Then: uniform densities on simplices;
 * factors with an exponent below 1, of which the rest then has a negative power. Last, where some coordinates are
 * discrete, what can be drawn and uniform densities elsewhere (base_filled.c). */
#include <math.h>
#include <string.h>

#include "compose/exact/base_parts.h"
#include "compose/exact/sparse_gaussian.h"
#include "compose/exact/truncated.h"
#include "compose/nodes/sticks.h"
#include "core/alloc.h"
#include "core/linalg.h"
#include "experts/dirichlet.h"
#include "experts/form.h"

void poei_base_free(poei_base *base) {
  poe_expert_release(base->base);
  poe_expert_release(base->rest);
  poei_free(base->why);
  *base = (poei_base){0};
}

const poe_expert *poei_strip(const poe_expert *target, double *constant) {
  *constant = 0.0;
  for (;;) {
    poei_node_kind kind = poei_node_kind_of(target);
    if (kind == POEI_NODE_normalise && !isnan(poei_normalise_log_z(target, NULL))) {
      *constant -= poei_normalise_log_z(target, NULL);
    } else if (kind == POEI_NODE_mixture && poei_node_child_count(target) == 1) {
      *constant += poei_mixture_log_weight(target, 0);
    } else {
      return target;
    }
    target = poei_node_child(target, 0);
  }
}

/* ---- factors that cover the coordinates ---- */

/* How narrow a factor is: mean log precision per coordinate of its Gaussian form; -inf when it has none. */
static double sharpness(const poe_expert *expert) {
  poe_form form = {0};
  poe_error ignored;
  double value = -INFINITY;
  if (poei_sparse_log_det(expert, &value)) {
    return value / (double)poe_expert_traits(expert)->dim;
  }
  if (!poei_expert_can(expert, POE_CAN_FORM) || poe_expert_form(expert, &form, &ignored) != POE_OK) {
    return value;
  }
  if (form.kind == POE_FORM_GAUSSIANS) {
    for (size_t k = 0; k < form.components; k++) { /* the widest component decides */
      double *p = &form.precision[k * form.dim * form.dim];
      if (poei_cholesky(form.dim, p, p) == 0) {
        double own = 2.0 * poei_cholesky_half_log_det(form.dim, p) / (double)form.dim;
        value = k == 0 ? own : fmin(value, own);
      }
    }
  }
  poe_form_release(&form);
  return value;
}

/* Larger factors first, then narrower ones, then in the order written. */
static bool precedes(const poei_base_candidate *a, const poei_base_candidate *b) {
  if (a->size != b->size) {
    return a->size > b->size;
  }
  return a->sharpness != b->sharpness ? a->sharpness > b->sharpness : a->part < b->part;
}

size_t poei_base_list(const poei_parts *parts, double least, poei_base_candidate *list) {
  size_t n = 0;
  for (size_t i = 0; i < parts->n; i++) {
    const poei_part *part = &parts->item[i];
    double log_z;
    if (part->exponent < least || !poei_expert_can(part->expert, POE_CAN_SAMPLE | POE_CAN_EVAL) ||
        !poei_expert_known_log_z(part->expert, &log_z)) {
      continue;
    }
    poei_base_candidate own = {i, part->n, sharpness(part->expert)};
    size_t at = n++;
    for (; at > 0 && precedes(&own, &list[at - 1]); at--) {
      list[at] = list[at - 1];
    }
    list[at] = own;
  }
  return n;
}

bool poei_base_cover(const poei_parts *parts, const poei_base_candidate *list, size_t n, size_t first,
                     unsigned char *chosen, unsigned char *taken) {
  memset(chosen, 0, parts->n);
  memset(taken, 0, parts->dim);
  size_t covered = 0;
  for (size_t k = 0; k < n; k++) {
    const poei_part *part = &parts->item[list[k == 0 ? first : k <= first ? k - 1 : k].part];
    bool disjoint = true;
    for (size_t j = 0; j < part->n && disjoint; j++) {
      disjoint = !taken[part->index[j]];
    }
    if (!disjoint) {
      continue;
    }
    chosen[part - parts->item] = 1;
    covered += part->n;
    for (size_t j = 0; j < part->n; j++) {
      taken[part->index[j]] = 1;
    }
  }
  return covered == parts->dim;
}

poe_status poei_base_split(const poei_parts *parts, const unsigned char *chosen, double constant, const char *choice,
                           poei_base *found, poe_error *error) {
  poei_parts base = {.dim = parts->dim}, rest = {.dim = parts->dim, .constant = parts->constant + constant};
  poe_status status = POE_OK;
  found->log_z = 0.0;
  for (size_t i = 0; i < parts->n && status == POE_OK; i++) {
    const poei_part *part = &parts->item[i];
    double left = part->exponent;
    if (chosen[i]) {
      double log_z = 0.0;
      poei_expert_known_log_z(part->expert, &log_z);
      found->log_z += log_z;
      status = poei_parts_add(&base, part->expert, part->n, part->index, 1.0, error);
      left -= 1.0;
    }
    if (left != 0.0 && status == POE_OK) {
      status = poei_parts_add(&rest, part->expert, part->n, part->index, left, error);
    }
  }
  if (status == POE_OK) {
    status = poei_parts_close(&base, &found->base, error);
  }
  if (status == POE_OK) {
    status = poei_parts_close(&rest, &found->rest, error);
  }
  if (status == POE_OK) {
    found->why = base.n == 1 ? poei_format("a factor that can be drawn exactly (%s%s)",
                                           poe_expert_ops_of(base.item[0].expert)->kind, choice)
                             : poei_format("%zu factors that can be drawn exactly", base.n);
    status = found->why == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  }
  poei_parts_free(&base);
  poei_parts_free(&rest);
  return status;
}

/* Why the candidate list[first] was taken, where others would have served alone. */
static const char *choice_among(const poei_parts *parts, const poei_base_candidate *list, size_t n, size_t first) {
  bool others = false, alike = true;
  for (size_t k = 0; k < n; k++) {
    if (k != first && list[k].size == parts->dim) {
      others = true;
      alike = alike && list[k].sharpness == list[first].sharpness;
    }
  }
  return !others || list[first].size < parts->dim ? ""
         : alike                                  ? ", the first of several"
                                                  : ", the narrowest of several";
}

poe_status poei_base_cover_find(const poei_parts *parts, double least, double constant, poei_base *found,
                                poe_error *error) {
  poei_base_candidate *list = poei_alloc(parts->n, sizeof *list);
  unsigned char *chosen = poei_alloc(parts->n, 1), *taken = poei_alloc(parts->dim, 1);
  poe_status status = POE_OK;
  if (list == NULL || chosen == NULL || taken == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  } else {
    size_t n = poei_base_list(parts, least, list);
    for (size_t first = 0; first < n && found->base == NULL && status == POE_OK; first++) {
      if (poei_base_cover(parts, list, n, first, chosen, taken)) {
        status = poei_base_split(parts, chosen, constant, choice_among(parts, list, n, first), found, error);
      }
    }
  }
  poei_free(list);
  poei_free(chosen);
  poei_free(taken);
  return status;
}

/* ---- inside a mixture ---- */

/* Bases of all components of a mixture over all coordinates, mixed; *base stays NULL when one has none. */
static poe_status mix_bases(const poe_expert *mixture, poe_expert **base, poe_error *error) {
  size_t n = poei_node_child_count(mixture), made = 0;
  poe_expert **children = poei_calloc(n, sizeof *children);
  double *weights = poei_alloc(n, sizeof *weights);
  poe_status status = POE_OK;
  bool all = true;
  if (children == NULL || weights == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (; made < n && all && status == POE_OK; made++) {
    poei_base own = {0};
    double constant;
    const poe_expert *inner = poei_strip(poei_node_child(mixture, made), &constant);
    status = poei_base_find(inner, &own, error);
    all = status == POE_OK && own.base != NULL;
    children[made] = all ? poe_expert_retain(own.base) : NULL;
    /* Each base stands for its whole component: its own mass does not count, the component's weight does. */
    weights[made] = poei_mixture_log_weight(mixture, made) - own.log_z;
    poei_base_free(&own);
  }
  if (status == POE_OK && all) {
    status = poei_mixture_create(n, (const poe_expert *const *)children, weights, base, error);
  }
  for (size_t k = 0; children != NULL && k < made; k++) {
    poe_expert_release(children[k]);
  }
  poei_free(children);
  poei_free(weights);
  return status;
}

static poe_status find_in_mixture(const poe_expert *target, const poei_parts *parts, poei_base *found,
                                  poe_error *error) {
  for (size_t i = 0; i < parts->n && found->base == NULL; i++) {
    const poei_part *part = &parts->item[i];
    poe_expert *mixed = NULL, *placed = NULL;
    if (part->exponent <= 0.0 || part->n != parts->dim || poei_node_kind_of(part->expert) != POEI_NODE_mixture) {
      continue;
    }
    poe_status status = mix_bases(part->expert, &mixed, error);
    if (status == POE_OK && mixed != NULL && poei_expert_can(mixed, POE_CAN_SAMPLE | POE_CAN_LOG_Z)) {
      status = poei_place(mixed, parts->dim, part->index, &placed, error);
      if (status == POE_OK) {
        const poe_expert *both[2] = {target, placed};
        status = poei_product_create(parts->dim, 2, both, (double[]){1.0, -1.0}, &found->rest, error);
      }
      if (status == POE_OK) {
        status = poe_expert_log_z(placed, &found->log_z, error);
      }
      found->base = placed;
      found->why =
          poei_format("the drawable factors of a mixture's %zu components", poei_node_child_count(part->expert));
      if (status == POE_OK && found->why == NULL) {
        status = poe_error_set(error, POE_E_MEMORY, "out of memory");
      }
    }
    poe_expert_release(mixed);
    if (status != POE_OK) {
      return status;
    }
  }
  return POE_OK;
}

/* ---- a Gaussian on a box ---- */

/* form <- independent Gaussians with its mean and the variances S_jj r_j, r_j the sum of |correlations| in row j:
 * diag(r) minus the correlation matrix is diagonally dominant, so these are nowhere narrower (Gershgorin's circles).
 * False when it is not one proper Gaussian; work[d, 2 d + 1]. */
static bool make_independent(poe_form *form, double *work) {
  size_t d = form->dim;
  double *factor = work, *cov = work + d * d, *mean = cov + d * d, log_z;
  poe_error ignored;
  if (poei_form_component(form, 0, factor, mean, &log_z, &ignored) != POE_OK) {
    return false;
  }
  poei_cholesky_inverse(d, factor, cov);
  memset(form->precision, 0, d * d * sizeof *form->precision);
  memset(form->linear, 0, d * sizeof *form->linear);
  memcpy(form->origin, mean, d * sizeof *mean);
  form->constant[0] = 0.0;
  for (size_t j = 0; j < d; j++) {
    double row = 0.0;
    for (size_t k = 0; k < d; k++) {
      row += fabs(cov[j * d + k]) / sqrt(cov[j * d + j] * cov[k * d + k]);
    }
    form->precision[j * d + j] = 1.0 / (cov[j * d + j] * row);
  }
  return true;
}

/* *out stays NULL when `expert` is not a Gaussian on a box. */
static poe_status boxed_base(const poe_expert *expert, poe_expert **out, poe_error *error) {
  const poe_expert *inside = expert;
  while (poei_node_kind_of(inside) == POEI_NODE_restrict) {
    inside = poei_node_child(inside, 0);
  }
  poe_form form = {0};
  poe_error why = {0};
  if (inside == expert || !poei_expert_can(inside, POE_CAN_FORM)) {
    return POE_OK;
  }
  poe_status status = poe_expert_form(inside, &form, &why);
  if (status == POE_OK && form.kind == POE_FORM_GAUSSIANS && form.components == 1) {
    double *work = poei_alloc(form.dim, (2 * form.dim + 1) * sizeof *work);
    if (work == NULL) {
      status = poe_error_set(&why, POE_E_MEMORY, "out of memory");
    } else if (make_independent(&form, work)) {
      status = poei_truncated_create(&form, 0, poe_expert_traits(expert)->support, out, &why);
    }
    poei_free(work);
  }
  poe_form_release(&form);
  if (status == POE_E_MEMORY) {
    *error = why;
    return status;
  }
  return POE_OK;
}

static poe_status find_boxed(const poe_expert *target, const poei_parts *parts, poei_base *found, poe_error *error) {
  for (size_t i = 0; i < parts->n && found->base == NULL; i++) {
    const poei_part *part = &parts->item[i];
    poe_expert *own = NULL, *placed = NULL;
    if (part->exponent <= 0.0 || part->n != parts->dim) {
      continue;
    }
    poe_status status = boxed_base(part->expert, &own, error);
    if (status == POE_OK && own != NULL) {
      status = poei_place(own, parts->dim, part->index, &placed, error);
      if (status == POE_OK) {
        const poe_expert *both[2] = {target, placed};
        status = poei_product_create(parts->dim, 2, both, (double[]){1.0, -1.0}, &found->rest, error);
      }
      if (status == POE_OK) {
        status = poe_expert_log_z(placed, &found->log_z, error);
      }
      found->base = placed;
      found->why = poei_format("independent Gaussians on the box");
      if (status == POE_OK && found->why == NULL) {
        status = poe_error_set(error, POE_E_MEMORY, "out of memory");
      }
    }
    poe_expert_release(own);
    if (status != POE_OK) {
      return status;
    }
  }
  return POE_OK;
}

/* ---- uniform densities ---- */

/* Every simplex of the target with its uniform density (k - 1)! as one more factor, and that constant taken off.
 * *some: there is one. */
static poe_status add_simplices(const poe_traits *traits, poei_parts *parts, double *constant, bool *some,
                                poe_error *error) {
  poe_status status = POE_OK;
  *some = false;
  for (size_t j = 0; j < traits->dim && status == POE_OK; j++) {
    size_t k = poei_simplex_at(traits->dim, traits->support, j);
    if (k == 0) {
      continue;
    }
    *some = true;
    poe_expert *uniform = NULL;
    double *alpha = poei_alloc(k, sizeof *alpha);
    size_t *index = poei_alloc(k, sizeof *index);
    if (alpha == NULL || index == NULL) {
      status = poe_error_set(error, POE_E_MEMORY, "out of memory");
    }
    for (size_t i = 0; i < k && status == POE_OK; i++) {
      alpha[i] = 1.0;
      index[i] = j + i;
    }
    if (status == POE_OK) {
      *constant += poei_dirichlet_log_integral(k, alpha);
      status = poei_dirichlet_create(1, k, alpha, &uniform, error);
    }
    if (status == POE_OK) {
      status = poei_parts_add(parts, uniform, k, index, 1.0, error);
    }
    poe_expert_release(uniform);
    poei_free(alpha);
    poei_free(index);
  }
  return status;
}

/* ---- all of it ---- */

/* What is left to try when no whole factors cover the target. */
static poe_status find_less(const poe_expert *target, poei_parts *parts, double constant, poei_base *found,
                            poe_error *error) {
  const poe_traits *traits = poe_expert_traits(target);
  bool some = false;
  poe_status status = find_in_mixture(target, parts, found, error);
  if (status == POE_OK && found->base == NULL) {
    status = find_boxed(target, parts, found, error);
  }
  if (status == POE_OK && found->base == NULL) {
    status = add_simplices(traits, parts, &constant, &some, error);
    if (status == POE_OK && some) {
      status = poei_base_cover_find(parts, POEI_BASE_WHOLE, constant, found, error);
    }
  }
  if (status == POE_OK && found->base == NULL) {
    status = poei_base_cover_find(parts, POEI_BASE_SOME, constant, found, error);
  }
  if (status == POE_OK && found->base == NULL) {
    status = poei_base_fill(traits, parts, constant, found, error);
  }
  return status;
}

poe_status poei_base_find(const poe_expert *target, poei_base *found, poe_error *error) {
  *found = (poei_base){0};
  double constant;
  const poe_expert *inner = poei_strip(target, &constant);
  poei_parts parts = {0};
  poe_status status = poei_parts_open(inner, POEI_OPEN_SURFACE, &parts, NULL, error);
  if (status == POE_OK) {
    status = poei_base_cover_find(&parts, POEI_BASE_WHOLE, constant, found, error);
    if (status == POE_OK && found->base == NULL) { /* look deeper: normalised products inside the product */
      poei_parts_free(&parts);
      status = poei_parts_open(inner, POEI_OPEN_ALL, &parts, NULL, error);
      if (status == POE_OK) {
        status = poei_base_cover_find(&parts, POEI_BASE_WHOLE, constant, found, error);
      }
    }
    if (status == POE_OK && found->base == NULL) {
      status = find_less(target, &parts, constant, found, error);
    }
  }
  poei_parts_free(&parts);
  if (status != POE_OK) {
    poei_base_free(found);
  }
  return status;
}
