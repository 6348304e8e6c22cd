/* What the parts of a density know about where they lie (spots.h).
 *
 * The tree is walked down to the parts that know: a Gaussian form its means and standard deviations (the forms among
 * the factors of a product are also multiplied out, for what they say together), an expert that can be drawn its median
 * and quartiles, from draws at fixed addresses, and a bounded support its middle. Divisors are asked as well: where
 * they lie the quotient has detail. A part over one of two coordinates gives half a spot; halves are completed by each
 * other and by whole spots.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "compose/exact/gaussian.h"
#include "compose/exact/spots.h"
#include "compose/exact/tree.h"
#include "core/alloc.h"
#include "core/linalg.h"
#include "experts/form.h"

enum {
  DRAWS = 64,      /* of a part, for its quartiles                             */
  MOST_DIM = 64,   /* of a part that is asked                                  */
  MOST_TERMS = 64, /* components of the forms of a product, multiplied out     */
  MOST_SETS = 16   /* index sets of a plate                                    */
};

static const double quartiles = 1.349; /* interquartile range of a Gaussian, in standard deviations */

/* Coordinate j of the part at hand is coordinate to[j] of the target, SIZE_MAX: none. */
static poe_status walk(const poe_expert *expert, const size_t *to, poei_spots *spots, poe_error *error);

static poe_status out_of_memory(poe_error *error) {
  return poe_error_set(error, POE_E_MEMORY, "out of memory");
}

/* centre[n], scale[n] of a part. */
static poe_status add_part(size_t n, const size_t *to, const double *centre, const double *scale, poei_spots *spots,
                           poe_error *error) {
  poei_spot spot = {{NAN, NAN}, {NAN, NAN}};
  bool any = false;
  for (size_t j = 0; j < n; j++) {
    if (to[j] < 2 && isfinite(centre[j]) && isfinite(scale[j]) && scale[j] > 0.0) {
      spot.at[to[j]] = centre[j];
      spot.scale[to[j]] = scale[j];
      any = true;
    }
  }
  return any ? poei_spots_add(spots, spot, error) : POE_OK;
}

/* ---- what a part knows ---- */

/* Means and standard deviations of the proper components. */
static poe_status add_form(const poe_form *form, const size_t *to, poei_spots *spots, poe_error *error) {
  size_t d = form->dim;
  if (form->kind != POE_FORM_GAUSSIANS || d > MOST_DIM) {
    return POE_OK;
  }
  double *work = poei_alloc(2 * d * d + 2 * d, sizeof *work), log_z;
  poe_status status = work == NULL ? out_of_memory(error) : POE_OK;
  for (size_t c = 0; c < form->components && status == POE_OK && spots->n < POEI_MOST_KNOWN; c++) {
    double *factor = work, *cov = factor + d * d, *mean = cov + d * d, *sd = mean + d;
    status =
        form->constant[c] == -INFINITY ? POE_E_IMPROPER : poei_form_component(form, c, factor, mean, &log_z, error);
    if (status == POE_E_IMPROPER) {
      status = POE_OK;
      continue;
    }
    poei_cholesky_inverse(d, factor, cov);
    for (size_t j = 0; j < d; j++) {
      sd[j] = sqrt(cov[j * d + j]);
    }
    status = add_part(d, to, mean, sd, spots, error);
  }
  poei_free(work);
  return status;
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Medians and quartiles of an expert that can be drawn. */
static poe_status add_draws(const poe_expert *expert, const size_t *to, poei_spots *spots, poe_error *error) {
  size_t d = poe_expert_traits(expert)->dim;
  double *x = poei_alloc(DRAWS * d + DRAWS + 2 * d, sizeof *x);
  poe_scratch *scratch = poe_scratch_create(poe_expert_scratch(expert, POE_WANT_SAMPLE, DRAWS));
  poe_rng at[DRAWS];
  for (uint32_t i = 0; i < DRAWS; i++) {
    at[i] = poe_rng_seed(0);
    at[i].chain = i;
  }
  poe_status status = x == NULL || scratch == NULL
                          ? out_of_memory(error)
                          : poe_expert_sample(expert, (poe_rows_out){DRAWS, d, d, x}, at, scratch, error);
  if (status == POE_OK) {
    double *column = x + DRAWS * d, *centre = column + DRAWS, *scale = centre + d;
    for (size_t j = 0; j < d; j++) {
      for (size_t i = 0; i < DRAWS; i++) {
        column[i] = x[i * d + j];
      }
      qsort(column, DRAWS, sizeof *column, ascending);
      centre[j] = column[DRAWS / 2];
      scale[j] = (column[3 * DRAWS / 4] - column[DRAWS / 4]) / quartiles;
    }
    status = add_part(d, to, centre, scale, spots, error);
  }
  poe_scratch_destroy(scratch);
  poei_free(x);
  return status;
}

/* The middle of what is bounded on both sides. */
static poe_status add_support(const poe_traits *traits, const size_t *to, poei_spots *spots, poe_error *error) {
  double centre[MOST_DIM], scale[MOST_DIM];
  for (size_t j = 0; j < traits->dim; j++) {
    centre[j] = 0.5 * traits->support[j].low + 0.5 * traits->support[j].high;
    scale[j] = 0.25 * (traits->support[j].high - traits->support[j].low);
  }
  return add_part(traits->dim, to, centre, scale, spots, error);
}

static poe_status add_leaf(const poe_expert *expert, const size_t *to, poei_spots *spots, poe_error *error) {
  const poe_traits *traits = poe_expert_traits(expert);
  for (size_t j = 0; j < traits->dim; j++) {
    if (traits->support[j].kind != POE_CONTINUOUS) {
      return POE_OK;
    }
  }
  if (traits->dim > MOST_DIM) {
    return POE_OK;
  }
  return poei_expert_can(expert, POE_CAN_SAMPLE) ? add_draws(expert, to, spots, error)
                                                 : add_support(traits, to, spots, error);
}

/* ---- nodes ---- */

/* The child's coordinates in the target: child coordinate j is own coordinate index[j], SIZE_MAX: none. */
static poe_status walk_into(const poe_expert *child, const size_t *index, const size_t *to, poei_spots *spots,
                            poe_error *error) {
  size_t n = poe_expert_traits(child)->dim, *inner = poei_alloc(n, sizeof *inner);
  if (inner == NULL) {
    return out_of_memory(error);
  }
  for (size_t j = 0; j < n; j++) {
    inner[j] = index[j] == SIZE_MAX ? SIZE_MAX : to[index[j]];
  }
  poe_status status = walk(child, inner, spots, error);
  poei_free(inner);
  return status;
}

static poe_status walk_given(const poe_expert *expert, const size_t *to, poei_spots *spots, poe_error *error) {
  const poe_expert *child = poei_node_child(expert, 0);
  size_t full = poe_expert_traits(child)->dim, *index = poei_calloc(full, sizeof *index), next = 0;
  if (index == NULL) {
    return out_of_memory(error);
  }
  for (size_t k = 0; k < poei_given_count(expert); k++) {
    index[poei_given_index(expert)[k]] = SIZE_MAX;
  }
  for (size_t c = 0; c < full; c++) {
    index[c] = index[c] == SIZE_MAX ? SIZE_MAX : next++;
  }
  poe_status status = walk_into(child, index, to, spots, error);
  poei_free(index);
  return status;
}

/* A single part: what it knows itself, or else what its children do. */
static poe_status walk_part(const poe_expert *expert, const size_t *to, poei_spots *spots, poe_error *error) {
  const poe_traits *traits = poe_expert_traits(expert);
  if (poei_expert_can(expert, POE_CAN_FORM) && traits->dim <= MOST_DIM && traits->support[0].kind == POE_CONTINUOUS) {
    poe_form form = {0};
    poe_status status = poe_expert_form(expert, &form, error);
    if (status == POE_OK) {
      status = add_form(&form, to, spots, error);
      poe_form_release(&form);
      return status;
    }
    if (status == POE_E_MEMORY) {
      return status;
    }
  }
  poe_status status = POE_OK;
  switch (poei_node_kind_of(expert)) {
  case POEI_NODE_LEAF:
    return add_leaf(expert, to, spots, error);
  case POEI_NODE_mixture:
  case POEI_NODE_normalise:
  case POEI_NODE_restrict:
    for (size_t i = 0; i < poei_node_child_count(expert) && status == POE_OK; i++) {
      status = walk(poei_node_child(expert, i), to, spots, error);
    }
    return status;
  case POEI_NODE_given:
    return walk_given(expert, to, spots, error);
  case POEI_NODE_plate: {
    const poe_expert *child = poei_node_child(expert, 0);
    for (size_t m = 0; m < poei_plate_count(expert) && m < MOST_SETS && status == POE_OK; m++) {
      status = walk_into(child, poei_plate_index(expert) + m * poe_expert_traits(child)->dim, to, spots, error);
    }
    return status;
  }
  default: /* behind a map nothing is known */
    return POE_OK;
  }
}

/* The forms among the factors, multiplied out. */
static poe_status add_product(const poei_parts *parts, const size_t *to, poei_spots *spots, poe_error *error) {
  poei_scoped_form *scoped = poei_calloc(parts->n, sizeof *scoped);
  poe_form form = {0};
  size_t n = 0;
  poe_status status = scoped == NULL ? out_of_memory(error) : POE_OK;
  for (size_t i = 0; i < parts->n && status == POE_OK && parts->dim <= MOST_DIM; i++) {
    const poei_part *part = &parts->item[i];
    if (part->exponent < 0.0 || !poei_expert_can(part->expert, POE_CAN_FORM)) {
      continue;
    }
    status = poe_expert_form(part->expert, &scoped[n].form, error);
    if (status == POE_OK && scoped[n].form.kind == POE_FORM_GAUSSIANS) {
      scoped[n].index = part->index;
      scoped[n++].exponent = part->exponent;
    } else {
      poe_form_release(&scoped[n].form);
      status = status == POE_E_MEMORY ? status : POE_OK;
    }
  }
  if (status == POE_OK && n >= 2) {
    status = poei_gaussians_product(parts->dim, n, scoped, MOST_TERMS, &form, error);
    if (status == POE_OK) {
      status = add_form(&form, to, spots, error);
    }
    status = status == POE_E_MEMORY ? status : POE_OK;
  }
  poe_form_release(&form);
  for (size_t i = 0; scoped != NULL && i < n; i++) {
    poe_form_release(&scoped[i].form);
  }
  poei_free(scoped);
  return status;
}

static poe_status walk(const poe_expert *expert, const size_t *to, poei_spots *spots, poe_error *error) {
  poei_parts parts = {0};
  if (spots->n >= POEI_MOST_KNOWN) {
    return POE_OK;
  }
  poe_status status = poei_parts_open(expert, POEI_OPEN_ALL, &parts, NULL, error);
  if (status != POE_OK) {
    return status;
  }
  if (parts.n == 1 && parts.item[0].expert == expert) {
    status = walk_part(expert, to, spots, error);
  } else {
    status = parts.n >= 2 ? add_product(&parts, to, spots, error) : POE_OK;
    for (size_t i = 0; i < parts.n && status == POE_OK; i++) {
      status = walk_into(parts.item[i].expert, parts.item[i].index, to, spots, error);
    }
  }
  poei_parts_free(&parts);
  return status;
}

/* ---- halves of spots ---- */

static bool lacks(const poei_spot *spot, size_t axis) {
  return isnan(spot->at[axis]);
}

/* Completes the spots that are about one coordinate only by the others' other coordinate, and by 0. */
static poe_status complete(poei_spots *spots, poe_error *error) {
  poei_spots whole = {0};
  poe_status status = POE_OK;
  for (size_t i = 0; i < spots->n && status == POE_OK; i++) {
    const poei_spot *half = &spots->item[i];
    size_t missing = lacks(half, 0) ? 0 : 1;
    if (!lacks(half, missing)) {
      status = poei_spots_add(&whole, *half, error);
      continue;
    }
    bool found = false;
    for (size_t k = 0; k < spots->n && status == POE_OK && whole.n < POEI_MOST_KNOWN; k++) {
      if (!lacks(&spots->item[k], missing)) {
        poei_spot made = *half;
        made.at[missing] = spots->item[k].at[missing];
        made.scale[missing] = spots->item[k].scale[missing];
        status = poei_spots_add(&whole, made, error);
        found = true;
      }
    }
    if (!found && status == POE_OK) {
      poei_spot made = *half;
      made.at[missing] = 0.0;
      status = poei_spots_add(&whole, made, error);
    }
  }
  if (status != POE_OK) {
    poei_spots_free(&whole);
    return status;
  }
  poei_free(spots->item);
  spots->item = whole.item;
  spots->n = whole.n;
  spots->capacity = whole.capacity;
  return POE_OK;
}

poe_status poei_spots_known(const poe_expert *target, poei_spots *spots, poe_error *error) {
  size_t to[2] = {0, 1};
  poe_status status = walk(target, to, spots, error);
  if (status == POE_OK && poe_expert_traits(target)->dim == 2) {
    status = complete(spots, error);
  }
  spots->n = spots->n < POEI_MOST_KNOWN ? spots->n : POEI_MOST_KNOWN;
  spots->known = spots->n;
  return status;
}
