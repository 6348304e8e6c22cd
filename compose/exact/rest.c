/* Almost exact targets (see rest.h): target = N(x; m, S) f(x_r, y), f reading few of the Gaussian's coordinates.
 *
 * Integrating the others out leaves N(x_r; m_r, S_rr) f(x_r, y), small, with the same log Z. Given x_r the others are
 * Gaussian again, and if z ~ N(m, S) then z + S_.r S_rr^-1 (x_r - z_r) has that distribution (conditioning by kriging:
 * Rue and Held 2005, section 2.3.3), so that only the small target has to be sampled.
 */
#include "compose/exact/rest.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "compose/exact/routes.h"
#include "core/alloc.h"
#include "core/linalg.h"
#include "core/numerics.h"
#include "experts/closed.h"
#include "experts/sparse_normal.h"

enum {
  MOST_READ = 300,       /* coordinates the front may share with the Gaussian */
  MOST_NUMBERS = 1 << 26 /* of the gain                                       */
};

void poei_rest_free(poei_rest *rest) {
  poe_expert_release(rest->gaussian);
  poe_expert_release(rest->front);
  poei_free(rest->index);
  poei_free(rest->front_index);
  poei_free(rest->read);
  poei_free(rest->gain);
  *rest = (poei_rest){0};
}

/* The largest sparse Gaussian among the factors; parts->n when there is none. */
static size_t largest_gaussian(const poei_parts *parts) {
  size_t best = parts->n;
  for (size_t i = 0; i < parts->n; i++) {
    const poei_part *part = &parts->item[i];
    bool counts = part->exponent == 1.0 && poei_sparse_normal_of(part->expert) != NULL;
    if (counts && (best == parts->n || part->n > parts->item[best].n)) {
      best = i;
    }
  }
  return best;
}

/* touched[dim]: 1 where a factor other than `which` has a coordinate (flat or not: its space must stay whole). */
static void mark_others(const poei_parts *parts, size_t which, unsigned char *touched) {
  memset(touched, 0, parts->dim);
  for (size_t i = 0; i < parts->n; i++) {
    for (size_t j = 0; i != which && j < parts->item[i].n; j++) {
      touched[parts->item[i].index[j]] = 1;
    }
  }
}

/* Lists coordinates: of the Gaussian and of both. place[dim]: their positions in the front, SIZE_MAX for those that are
 * integrated out; own[n_read]: positions of those of both in the Gaussian. */
static poe_status list_coordinates(const poei_parts *parts, const poei_part *part, const unsigned char *touched,
                                   size_t *place, size_t *own, poei_rest *found, poe_error *error) {
  found->n = part->n;
  found->index = poei_copy(part->index, part->n, sizeof *part->index);
  found->read = poei_alloc(found->n_read, sizeof *found->read);
  found->front_index = poei_alloc(parts->dim, sizeof *found->front_index);
  if (found->index == NULL || found->read == NULL || found->front_index == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  memset(place, 0, parts->dim * sizeof *place);
  for (size_t j = 0, r = 0; j < part->n; j++) {
    if (touched[part->index[j]]) {
      found->read[r] = part->index[j];
      own[r++] = j;
    } else {
      place[part->index[j]] = SIZE_MAX;
    }
  }
  for (size_t c = 0; c < parts->dim; c++) {
    if (place[c] != SIZE_MAX) {
      found->front_index[found->front_n] = c;
      place[c] = found->front_n++;
    }
  }
  return POE_OK;
}

/* gain <- S_.r S_rr^-1, and the marginal over r as a closed expert. own[n_read]: positions of r in the Gaussian. */
static poe_status condition(const poei_sparse_normal *g, size_t r, const size_t *own, double *gain,
                            poe_expert **marginal, poe_error *error) {
  double *column = poei_alloc(g->d, 2 * sizeof *column), *factor = poei_alloc(r, r * sizeof *factor);
  poe_form form = {0};
  poe_status status = column == NULL || factor == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                                                       : poei_form_gaussians(&form, 1, r, error);
  for (size_t s = 0; s < r && status == POE_OK; s++) {
    memset(column, 0, g->d * sizeof *column);
    column[own[s]] = 1.0;
    poei_sparse_solve(g->factor, column, column + g->d);
    for (size_t j = 0; j < g->d; j++) {
      gain[j * r + s] = column[j];
    }
  }
  for (size_t i = 0; i < r && status == POE_OK; i++) {
    for (size_t s = 0; s < r; s++) {
      factor[i * r + s] = gain[own[i > s ? i : s] * r + (i > s ? s : i)];
    }
  }
  if (status == POE_OK && poei_cholesky(r, factor, factor) != 0) {
    status = poe_error_set(error, POE_E_CAPABILITY, "a marginal that is singular to rounding");
  }
  if (status == POE_OK) {
    poei_solve_lower(r, factor, g->d, gain, r);
    poei_solve_lower_transposed(r, factor, g->d, gain, r);
    poei_cholesky_inverse(r, factor, form.precision);
    for (size_t i = 0; i < r; i++) {
      form.origin[i] = g->mean[own[i]];
      memset(gain + own[i] * r, 0, r * sizeof *gain);
    }
    form.constant[0] = g->log_z - (double)r * POEI_LOG_2PI / 2.0 - poei_cholesky_half_log_det(r, factor);
    status = poei_closed_create(&form, marginal, error);
  }
  poe_form_release(&form);
  poei_free(column);
  poei_free(factor);
  return status;
}

/* The other factors and the marginal over the front's coordinates. */
static poe_status close_front(const poei_parts *parts, size_t which, double constant, const poe_expert *marginal,
                              const size_t *place, poei_rest *found, poe_error *error) {
  poei_parts front = {.dim = found->front_n, .constant = parts->constant + constant, .variance = parts->variance};
  size_t *index = poei_alloc(parts->dim, sizeof *index);
  poe_status status = index == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  for (size_t i = 0; i < parts->n && status == POE_OK; i++) {
    const poei_part *part = &parts->item[i];
    for (size_t j = 0; i != which && j < part->n; j++) {
      index[j] = place[part->index[j]];
    }
    if (i != which) {
      status = poei_parts_add(&front, part->expert, part->n, index, part->exponent, error);
    }
  }
  if (status == POE_OK) {
    for (size_t s = 0; s < found->n_read; s++) {
      index[s] = place[found->read[s]];
    }
    status = poei_parts_add(&front, marginal, found->n_read, index, 1.0, error);
  }
  if (status == POE_OK) {
    status = poei_parts_close(&front, &found->front, error);
  }
  poei_parts_free(&front);
  poei_free(index);
  return status;
}

/* Takes the target apart at factor `which`. */
static poe_status take_apart(const poei_parts *parts, size_t which, double constant, const unsigned char *touched,
                             poei_rest *found, poe_error *error) {
  const poei_part *part = &parts->item[which];
  const poei_sparse_normal *g = poei_sparse_normal_of(part->expert);
  size_t *place = poei_alloc(parts->dim, sizeof *place), *own = poei_alloc(found->n_read, sizeof *own);
  poe_expert *marginal = NULL;
  poe_status status = place == NULL || own == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                                                   : list_coordinates(parts, part, touched, place, own, found, error);
  if (status == POE_OK) {
    found->gain = poei_alloc(part->n * found->n_read, sizeof *found->gain);
    status = found->gain == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                                 : condition(g, found->n_read, own, found->gain, &marginal, error);
  }
  if (status == POE_OK) {
    status = close_front(parts, which, constant, marginal, place, found, error);
  }
  if (status == POE_OK) {
    status = poei_normalise_create(part->expert, g->log_z, 0.0, &found->gaussian, error);
  }
  poe_expert_release(marginal);
  poei_free(place);
  poei_free(own);
  return status;
}

poe_status poei_rest_find(const poe_expert *target, poei_rest *found, poe_error *error) {
  *found = (poei_rest){0};
  double constant;
  const poe_expert *inner = poei_strip(target, &constant);
  if (poei_node_kind_of(inner) != POEI_NODE_product) {
    return POE_OK;
  }
  poei_parts parts;
  poe_status status = poei_parts_open(inner, POEI_OPEN_SURFACE, &parts, NULL, error);
  if (status != POE_OK) {
    return status;
  }
  size_t which = largest_gaussian(&parts);
  unsigned char *touched = which < parts.n ? poei_alloc(parts.dim, 1) : NULL;
  if (which < parts.n && touched == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  if (touched != NULL) {
    const poei_part *part = &parts.item[which];
    mark_others(&parts, which, touched);
    for (size_t j = 0; j < part->n; j++) {
      found->n_read += touched[part->index[j]];
    }
    if (found->n_read > 0 && found->n_read <= MOST_READ && 2 * found->n_read <= part->n &&
        part->n <= MOST_NUMBERS / found->n_read) {
      status = take_apart(&parts, which, constant, touched, found, error);
    }
  }
  poei_free(touched);
  poei_parts_free(&parts);
  if (status != POE_OK || found->gaussian == NULL) {
    poei_rest_free(found);
  }
  return status == POE_E_CAPABILITY ? POE_OK : status;
}
