/* Almost exact targets (see rest.h): target = N(x; m, S) f(x_r, y), f reading few of the Gaussian's coordinates.
 *
 * Integrating the others out leaves N(x_r; m_r, S_rr) f(x_r, y), small, with the same log Z. Given x_r the others are
 * Gaussian again, and if z ~ N(m, S) then z + S_.r S_rr^-1 (x_r - z_r) has that distribution (conditioning by kriging:
 * Rue and Held 2005, section 2.3.3), so that only the small target has to be sampled.
 */
#include "compose/exact/rest_parts.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "compose/exact/routes.h"
#include "core/alloc.h"
#include "core/linalg.h"
#include "core/numerics.h"
#include "experts/closed.h"
#include "experts/form.h"
#include "experts/sparse_normal.h"

enum {
  MOST_READ = 300,        /* coordinates the front may share with the Gaussian  */
  MOST_NUMBERS = 1 << 26, /* of the gain                                        */
  MOST_DENSE = 1000,      /* coordinates of a dense Gaussian                    */
  MOST_COMPONENTS = 64,   /* of a mixture                                       */
  FEW = 2                 /* coordinates that can be integrated numerically     */
};

/* The Gaussian that is taken apart: by its sparse factor or its dense covariance. */
typedef struct source {
  const poei_sparse_normal *sparse;
  size_t d;
  double *mean, *covariance; /* dense: [d], [d, d] */
  double log_z;
} source;

static void source_free(source *g) {
  poei_free(g->mean);
  poei_free(g->covariance);
  *g = (source){0};
}

static const double *source_mean(const source *g) {
  return g->sparse != NULL ? g->sparse->mean : g->mean;
}

/* column[d] of the covariance; work[d]. */
static void source_column(const source *g, size_t j, double *column, double *work) {
  if (g->sparse == NULL) {
    memcpy(column, g->covariance + j * g->d, g->d * sizeof *column);
    return;
  }
  memset(column, 0, g->d * sizeof *column);
  column[j] = 1.0;
  poei_sparse_solve(g->sparse->factor, column, work);
}

static poe_status source_open(const poe_expert *expert, source *g, poe_error *error) {
  *g = (source){.sparse = poei_sparse_normal_of(expert), .d = poe_expert_traits(expert)->dim};
  if (g->sparse != NULL) {
    g->log_z = g->sparse->log_z;
    return POE_OK;
  }
  poe_form form = {0};
  poe_status status = poe_expert_form(expert, &form, error);
  g->mean = poei_alloc(g->d, sizeof *g->mean);
  g->covariance = poei_alloc(g->d, g->d * sizeof *g->covariance);
  if (status == POE_OK && (g->mean == NULL || g->covariance == NULL)) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  if (status == POE_OK) {
    status = poei_form_component(&form, 0, g->covariance, g->mean, &g->log_z, error);
  }
  if (status == POE_OK) {
    poei_cholesky_inverse(g->d, g->covariance, g->covariance);
    poei_expert_known_log_z(expert, &g->log_z); /* with the expert's own digits */
  }
  poe_form_release(&form);
  if (status != POE_OK) {
    source_free(g);
  }
  return status == POE_E_IMPROPER ? poe_error_set(error, POE_E_CAPABILITY, "a Gaussian that is singular to rounding")
                                  : status;
}

void poei_rest_free(poei_rest *rest) {
  poe_expert_release(rest->gaussian);
  poe_expert_release(rest->front);
  poei_free(rest->index);
  poei_free(rest->front_index);
  poei_free(rest->read);
  poei_free(rest->gain);
  *rest = (poei_rest){0};
}

/* How many Gaussians a factor is the sum of, 0: it is none, or not one that can be drawn and whose integral is known.
 */
static poe_status count_components(const poei_part *part, size_t *n, poe_error *error) {
  unsigned need = POE_CAN_SAMPLE | POE_CAN_LOG_Z | POE_CAN_FORM;
  const poe_traits *traits = poe_expert_traits(part->expert);
  poe_form form = {0};
  *n = 0;
  if (part->exponent != 1.0 || traits->offset_error != 0.0) {
    return POE_OK;
  }
  if (poei_sparse_normal_of(part->expert) != NULL) {
    *n = 1;
    return POE_OK;
  }
  if (!poei_expert_can(part->expert, need) || part->n > MOST_DENSE || traits->support[0].kind == POE_DISCRETE) {
    return POE_OK;
  }
  for (size_t j = 0; j < part->n; j++) {
    if (traits->support[j].low != -INFINITY || traits->support[j].high != INFINITY) {
      return POE_OK;
    }
  }
  poe_status status = poe_expert_form(part->expert, &form, error);
  *n = status == POE_OK && form.kind == POE_FORM_GAUSSIANS ? form.components : 0;
  poe_form_release(&form);
  return status == POE_E_MEMORY ? status : POE_OK;
}

/* The Gaussian (or, with most > 1, mixture of so many; 0: only sparse ones) of which most coordinates are in no other
 * factor: *which, parts->n when there is none; *read: how many of its coordinates the others have. */
static poe_status find_gaussian(const poei_parts *parts, size_t most, size_t *which, size_t *read, poe_error *error) {
  size_t *factors = poei_calloc(parts->dim, sizeof *factors), own = 0;
  poe_status status = factors == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  *which = parts->n;
  for (size_t i = 0; i < parts->n && status == POE_OK; i++) {
    for (size_t j = 0; j < parts->item[i].n; j++) {
      factors[parts->item[i].index[j]]++;
    }
  }
  for (size_t i = 0; i < parts->n && status == POE_OK; i++) {
    const poei_part *part = &parts->item[i];
    size_t alone = 0, components = 0;
    for (size_t j = 0; j < part->n; j++) {
      alone += factors[part->index[j]] == 1;
    }
    if (alone > own && alone < part->n) {
      status = count_components(part, &components, error);
    }
    if (components > 0 && (components <= most || poei_sparse_normal_of(part->expert) != NULL)) {
      own = alone;
      *which = i;
      *read = part->n - alone;
    }
  }
  poei_free(factors);
  return status;
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

poe_status poei_rest_list(size_t dim, size_t n, const size_t *index, const unsigned char *touched, size_t *place,
                          size_t *own, poei_rest *found, poe_error *error) {
  found->n = n;
  found->index = poei_copy(index, n, sizeof *index);
  found->read = poei_alloc(found->n_read, sizeof *found->read);
  found->front_index = poei_alloc(dim, sizeof *found->front_index);
  if (found->index == NULL || found->read == NULL || found->front_index == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  memset(place, 0, dim * sizeof *place);
  for (size_t j = 0, r = 0; j < n; j++) {
    if (touched[index[j]]) {
      found->read[r] = index[j];
      own[r++] = j;
    } else {
      place[index[j]] = SIZE_MAX;
    }
  }
  for (size_t c = 0; c < dim; c++) {
    if (place[c] != SIZE_MAX) {
      found->front_index[found->front_n] = c;
      place[c] = found->front_n++;
    }
  }
  return POE_OK;
}

/* gain <- S_.r S_rr^-1, and the marginal over r as a closed expert. own[n_read]: positions of r in the Gaussian. */
static poe_status condition(const source *g, size_t r, const size_t *own, double *gain, poe_expert **marginal,
                            poe_error *error) {
  double *column = poei_alloc(g->d, 2 * sizeof *column), *factor = poei_alloc(r, r * sizeof *factor);
  poe_form form = {0};
  poe_status status = column == NULL || factor == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                                                       : poei_form_gaussians(&form, 1, r, error);
  for (size_t s = 0; s < r && status == POE_OK; s++) {
    source_column(g, own[s], column, column + g->d);
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
      form.origin[i] = source_mean(g)[own[i]];
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

poe_status poei_rest_close(const poei_parts *parts, const unsigned char *gone, const poe_expert *marginal,
                           const size_t *place, poei_rest *found, poe_error *error) {
  poei_parts front = {.dim = found->front_n, .constant = parts->constant, .variance = parts->variance};
  size_t *index = poei_alloc(parts->dim, sizeof *index);
  poe_status status = index == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  for (size_t i = 0; i < parts->n && status == POE_OK; i++) {
    const poei_part *part = &parts->item[i];
    for (size_t j = 0; !gone[i] && j < part->n; j++) {
      index[j] = place[part->index[j]];
    }
    if (!gone[i]) {
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
static poe_status take_apart(const poei_parts *parts, size_t which, const unsigned char *touched, poei_rest *found,
                             poe_error *error) {
  const poei_part *part = &parts->item[which];
  source g = {0};
  size_t *place = poei_alloc(parts->dim, sizeof *place), *own = poei_alloc(found->n_read, sizeof *own);
  unsigned char *gone = poei_calloc(parts->n, 1);
  poe_expert *marginal = NULL;
  poe_status status = place == NULL || own == NULL || gone == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                                                                   : source_open(part->expert, &g, error);
  if (status == POE_OK) {
    gone[which] = 1;
    status = poei_rest_list(parts->dim, part->n, part->index, touched, place, own, found, error);
  }
  if (status == POE_OK) {
    found->gain = poei_alloc(part->n * found->n_read, sizeof *found->gain);
    status = found->gain == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                                 : condition(&g, found->n_read, own, found->gain, &marginal, error);
  }
  if (status == POE_OK) {
    status = poei_rest_close(parts, gone, marginal, place, found, error);
  }
  if (status == POE_OK) {
    status = poei_normalise_create(part->expert, g.log_z, 0.0, &found->gaussian, error);
  }
  source_free(&g);
  poe_expert_release(marginal);
  poei_free(place);
  poei_free(own);
  poei_free(gone);
  return status;
}

poe_status poei_rest_open(const poe_expert *target, poei_parts *parts, bool *is, poe_error *error) {
  double constant;
  const poe_expert *inner = poei_strip(target, &constant);
  *parts = (poei_parts){0};
  *is = poei_node_kind_of(inner) == POEI_NODE_product;
  poe_status status = *is ? poei_parts_open(inner, POEI_OPEN_SURFACE, parts, NULL, error) : POE_OK;
  parts->constant += constant;
  return status;
}

poe_status poei_rest_find(const poe_expert *target, bool dense, poei_rest *found, poe_error *error) {
  poei_parts parts;
  size_t which = 0;
  bool is;
  *found = (poei_rest){0};
  poe_status status = poei_rest_open(target, &parts, &is, error);
  if (status != POE_OK || !is) {
    return status;
  }
  status = find_gaussian(&parts, dense ? 1 : 0, &which, &found->n_read, error);
  unsigned char *touched = status == POE_OK && which < parts.n ? poei_alloc(parts.dim, 1) : NULL;
  if (status == POE_OK && which < parts.n && touched == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  if (touched != NULL && found->n_read <= MOST_READ && parts.item[which].n <= MOST_NUMBERS / found->n_read) {
    mark_others(&parts, which, touched);
    status = take_apart(&parts, which, touched, found, error);
  }
  poei_free(touched);
  poei_parts_free(&parts);
  if (status != POE_OK || found->gaussian == NULL) {
    poei_rest_free(found);
  }
  return status == POE_E_CAPABILITY ? POE_OK : status;
}

/* ---- mixtures ---- */

/* How many coordinates the factors other than `which` have. */
static poe_status count_front(const poei_parts *parts, size_t which, size_t *n, poe_error *error) {
  unsigned char *touched = poei_alloc(parts->dim, 1);
  if (touched == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  mark_others(parts, which, touched);
  *n = 0;
  for (size_t c = 0; c < parts->dim; c++) {
    *n += touched[c];
  }
  poei_free(touched);
  return POE_OK;
}

/* The product with component c of the form in place of factor `which`. */
static poe_status with_component(const poei_parts *parts, size_t which, const poe_form *form, size_t c,
                                 poe_expert **out, poe_error *error) {
  size_t d = form->dim;
  poe_form one = {.kind = POE_FORM_GAUSSIANS,
                  .dim = d,
                  .components = 1,
                  .constant = form->constant + c,
                  .origin = form->origin + c * d,
                  .linear = form->linear + c * d,
                  .precision = form->precision + c * d * d}; /* borrowed */
  poei_parts own = {.dim = parts->dim, .constant = parts->constant, .variance = parts->variance};
  poe_expert *component = NULL;
  poe_status status = poei_closed_create(&one, &component, error);
  for (size_t i = 0; i < parts->n && status == POE_OK; i++) {
    const poei_part *part = &parts->item[i];
    status = poei_parts_add(&own, i == which ? component : part->expert, part->n, part->index, part->exponent, error);
  }
  if (status == POE_OK) {
    status = poei_parts_close(&own, out, error);
  }
  poei_parts_free(&own);
  poe_expert_release(component);
  return status;
}

static poe_status multiply_out(const poei_parts *parts, size_t which, poe_expert **out, poe_error *error) {
  poe_form form = {0};
  poe_status status = poe_expert_form(parts->item[which].expert, &form, error);
  if (status != POE_OK) {
    return status;
  }
  poe_expert **child = poei_calloc(form.components, sizeof(poe_expert *));
  double *weight = poei_calloc(form.components, sizeof *weight);
  size_t n = 0;
  status = child == NULL || weight == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  for (size_t c = 0; c < form.components && status == POE_OK; c++) {
    if (form.constant[c] != -INFINITY) {
      status = with_component(parts, which, &form, c, &child[n], error);
      n += status == POE_OK;
    }
  }
  if (status == POE_OK) {
    status = poei_mixture_create(n, (const poe_expert *const *)child, weight, out, error);
  }
  for (size_t k = 0; child != NULL && k < n; k++) {
    poe_expert_release(child[k]);
  }
  poei_free(child);
  poei_free(weight);
  poe_form_release(&form);
  return status;
}

poe_status poei_rest_mixture(const poe_expert *target, poe_expert **out, poe_error *error) {
  poei_parts parts;
  size_t which = 0, read = 0, front = 0, components = 0;
  bool is;
  *out = NULL;
  poe_status status = poei_rest_open(target, &parts, &is, error);
  if (status != POE_OK || !is) {
    return status;
  }
  status = find_gaussian(&parts, MOST_COMPONENTS, &which, &read, error);
  if (status == POE_OK && which < parts.n) {
    status = count_components(&parts.item[which], &components, error);
  }
  if (status == POE_OK && components > 1) {
    status = count_front(&parts, which, &front, error);
  }
  if (status == POE_OK && components > 1 && front <= FEW) {
    status = multiply_out(&parts, which, out, error);
  }
  poei_parts_free(&parts);
  return status == POE_E_CAPABILITY || status == POE_E_IMPROPER ? POE_OK : status;
}
