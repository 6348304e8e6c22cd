/* One sparse Gaussian out of many (see sparse_gaussian.h).
 *
 * Only the precision is put together from the factors, P = sum_i t_i P_i. The rest of the product f comes from its
 * values and gradients, by Newton's method, which on a quadratic is exact but for rounding: with g = grad log f(x) and
 * s = P^-1 g the mean is x + s and log f(x + s) = log f(x) + g's/2. Repeated from the new point, the factors are looked
 * at where the mass is: there their residuals are small, and nothing of the size of the coordinates cancels.
 *
 *   log Z = log f(m) + (d/2) log 2 pi - log det P / 2
 *
 * Clamped coordinates drop out of P and are values to f, so conditioning needs no algebra of its own.
 */
#include "compose/exact/sparse_gaussian.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "core/alloc.h"
#include "experts/sparse_normal.h"

enum { MOST_STEPS = 8, BLOCK = 64 };
static const double dense_advantage = 8.0;   /* how much faster a dense factorisation does its arithmetic     */
static const size_t most_numbers = 1u << 27; /* of a factor: 2 GiB with its indices                           */
static const double most_arithmetic = 1e12;  /* multiplications of a factorisation: minutes                   */

/* ---- collecting the precision ---- */

void poei_triplets_free(poei_triplets *triplets) {
  poei_free(triplets->item);
  *triplets = (poei_triplets){0};
}

static poe_status out_of_memory(poe_error *error) {
  return poe_error_set(error, POE_E_MEMORY, "out of memory for a sparse Gaussian");
}

/* Appends value at the places of a coordinate's row and column; clamped ones and zeros are left out. */
static poe_status push(poei_triplets *triplets, size_t row, size_t column, double value, poe_error *error) {
  if (row == SIZE_MAX || column == SIZE_MAX || value == 0.0) {
    return POE_OK;
  }
  if (triplets->n == triplets->capacity) {
    size_t capacity = triplets->capacity == 0 ? 64 : 2 * triplets->capacity;
    poei_triplet *item = poei_realloc(triplets->item, capacity, sizeof *item);
    if (item == NULL) {
      return out_of_memory(error);
    }
    triplets->item = item;
    triplets->capacity = capacity;
  }
  triplets->item[triplets->n++] = (poei_triplet){row > column ? row : column, row > column ? column : row, value};
  return POE_OK;
}

static poe_status collect_structure(const poe_expert *expert, double exponent, const size_t *place,
                                    poei_triplets *triplets, bool *gaussian, poe_error *error) {
  poe_structure structure = {0};
  poe_status status = poe_expert_structure(expert, &structure, error);
  if (status != POE_OK) {
    return status;
  }
  const poe_sparse_gaussian *sparse = &structure.as.sparse;
  *gaussian = structure.kind == POE_STRUCTURE_SPARSE;
  for (size_t j = 0; *gaussian && j < structure.dim && status == POE_OK; j++) {
    for (size_t k = sparse->column_start[j]; k < sparse->column_start[j + 1] && status == POE_OK; k++) {
      status = push(triplets, place[sparse->row[k]], place[j], exponent * sparse->precision[k], error);
    }
  }
  poe_structure_release(&structure);
  return status;
}

static poe_status collect_form(const poe_expert *expert, double exponent, const size_t *place, poei_triplets *triplets,
                               bool *gaussian, poe_error *error) {
  poe_form form = {0};
  poe_status status = poe_expert_form(expert, &form, error);
  if (status != POE_OK) {
    return status;
  }
  *gaussian = form.kind == POE_FORM_GAUSSIANS && form.components == 1;
  for (size_t j = 0; *gaussian && j < form.dim && status == POE_OK; j++) {
    for (size_t i = j; i < form.dim && status == POE_OK; i++) {
      status = push(triplets, place[i], place[j], exponent * form.precision[i * form.dim + j], error);
    }
  }
  poe_form_release(&form);
  return status;
}

static poe_status collect_leaf(const poe_expert *expert, double exponent, const size_t *place, poei_triplets *triplets,
                               bool *gaussian, poe_error *error) {
  const poe_traits *traits = poe_expert_traits(expert);
  unsigned need = POE_CAN_EVAL | POE_CAN_GRADIENT;
  *gaussian = (traits->capabilities & need) == need && traits->offset_error == 0.0;
  for (size_t j = 0; j < traits->dim && *gaussian; j++) { /* before anything is built: a Gaussian is bounded nowhere */
    const poe_support *own = &traits->support[j];
    *gaussian = own->kind == POE_CONTINUOUS && own->low == -INFINITY && own->high == INFINITY;
  }
  if (*gaussian && poei_expert_can(expert, POE_CAN_STRUCTURE)) {
    return collect_structure(expert, exponent, place, triplets, gaussian, error);
  }
  if (*gaussian && poei_expert_can(expert, POE_CAN_FORM) && traits->dim <= POEI_FORM_MAX_DIM) {
    return collect_form(expert, exponent, place, triplets, gaussian, error);
  }
  *gaussian = false;
  return POE_OK;
}

/* The child's coordinates in the space of the triplets: n of them, index NULL: one after the other. */
static size_t *places_of(size_t n, const size_t *index, const size_t *place) {
  size_t *own = poei_alloc(n, sizeof *own);
  for (size_t j = 0; own != NULL && j < n; j++) {
    own[j] = place[index == NULL ? j : index[j]];
  }
  return own;
}

static poe_status collect_at(const poe_expert *child, double exponent, const size_t *index, const size_t *place,
                             poei_triplets *triplets, bool *gaussian, poe_error *error) {
  size_t *own = places_of(poe_expert_traits(child)->dim, index, place);
  poe_status status =
      own == NULL ? out_of_memory(error) : poei_sparse_collect(child, exponent, own, triplets, gaussian, error);
  poei_free(own);
  return status;
}

/* The child's precision once, then at each of the index sets. */
static poe_status collect_plate(const poe_expert *expert, double exponent, const size_t *place, poei_triplets *triplets,
                                bool *gaussian, poe_error *error) {
  const poe_expert *child = poei_node_child(expert, 0);
  size_t d = poe_expert_traits(child)->dim, *same = poei_alloc(d, sizeof *same);
  poei_triplets once = {0};
  for (size_t j = 0; same != NULL && j < d; j++) {
    same[j] = j;
  }
  poe_status status =
      same == NULL ? out_of_memory(error) : poei_sparse_collect(child, exponent, same, &once, gaussian, error);
  for (size_t set = 0; *gaussian && set < poei_plate_count(expert) && status == POE_OK; set++) {
    const size_t *index = poei_plate_index(expert) + set * d;
    for (size_t e = 0; e < once.n && status == POE_OK; e++) {
      const poei_triplet *entry = &once.item[e];
      status = push(triplets, place[index[entry->row]], place[index[entry->column]], entry->value, error);
    }
  }
  poei_free(same);
  poei_triplets_free(&once);
  return status;
}

static poe_status collect_given(const poe_expert *expert, double exponent, const size_t *place, poei_triplets *triplets,
                                bool *gaussian, poe_error *error) {
  const poe_expert *child = poei_node_child(expert, 0);
  size_t full = poe_expert_traits(child)->dim, *own = poei_calloc(full, sizeof *own);
  for (size_t k = 0; own != NULL && k < poei_given_count(expert); k++) {
    own[poei_given_index(expert)[k]] = SIZE_MAX;
  }
  for (size_t c = 0, j = 0; own != NULL && c < full; c++) {
    own[c] = own[c] == SIZE_MAX ? SIZE_MAX : place[j++];
  }
  poe_status status =
      own == NULL ? out_of_memory(error) : poei_sparse_collect(child, exponent, own, triplets, gaussian, error);
  poei_free(own);
  return status;
}

poe_status poei_sparse_collect(const poe_expert *expert, double exponent, const size_t *place, poei_triplets *triplets,
                               bool *gaussian, poe_error *error) {
  poe_status status = POE_OK;
  switch (poei_node_kind_of(expert)) {
  case POEI_NODE_LEAF:
    return collect_leaf(expert, exponent, place, triplets, gaussian, error);
  case POEI_NODE_product:
    *gaussian = true;
    for (size_t i = 0; i < poei_node_child_count(expert) && *gaussian && status == POE_OK; i++) {
      status = collect_at(poei_node_child(expert, i), exponent * poei_product_exponent(expert, i),
                          poei_product_index(expert, i), place, triplets, gaussian, error);
    }
    return status;
  case POEI_NODE_slice:
    return collect_at(poei_node_child(expert, 0), exponent, poei_slice_index(expert), place, triplets, gaussian, error);
  case POEI_NODE_plate:
    return collect_plate(expert, exponent, place, triplets, gaussian, error);
  case POEI_NODE_given:
    return collect_given(expert, exponent, place, triplets, gaussian, error);
  case POEI_NODE_normalise:
    *gaussian = !isnan(poei_normalise_log_z(expert, NULL)) && poe_expert_traits(expert)->offset_error == 0.0;
    break;
  case POEI_NODE_mixture:
    *gaussian = poei_node_child_count(expert) == 1 && poe_expert_traits(expert)->offset_error == 0.0;
    break;
  default:
    *gaussian = false;
  }
  return *gaussian ? poei_sparse_collect(poei_node_child(expert, 0), exponent, place, triplets, gaussian, error)
                   : POE_OK;
}

/* ---- the product as a function ---- */

/* A sum that keeps what rounding takes from it (Neumaier 1974): ten thousand equal terms lose nothing. */
typedef struct running_sum {
  double total, lost;
} running_sum;

static void sum_add(running_sum *sum, double term) {
  double next = sum->total + term;
  sum->lost += fabs(sum->total) >= fabs(term) ? (sum->total - next) + term : (term - next) + sum->total;
  sum->total = next;
}

typedef struct evaluation {
  poe_scratch *scratch;
  double *row, *grad; /* [BLOCK, most coordinates] */
  double value[BLOCK];
} evaluation;

static void evaluation_free(evaluation *work) {
  poe_scratch_destroy(work->scratch);
  poei_free(work->row);
  poei_free(work->grad);
}

/* What is evaluated at once of a part: the child of a plate on its index sets, else the part itself on one. */
static const poe_expert *unit_of(const poei_part *part, size_t *sets, const size_t **index) {
  bool plate = poei_node_kind_of(part->expert) == POEI_NODE_plate;
  *sets = plate ? poei_plate_count(part->expert) : 1;
  *index = plate ? poei_plate_index(part->expert) : NULL;
  return plate ? poei_node_child(part->expert, 0) : part->expert;
}

static poe_status evaluation_open(const poei_parts *parts, evaluation *work, poe_error *error) {
  size_t most = 1, bytes = 0, sets;
  const size_t *index;
  for (size_t i = 0; i < parts->n; i++) {
    const poe_expert *unit = unit_of(&parts->item[i], &sets, &index);
    size_t n = sets < BLOCK ? sets : BLOCK, numbers = n * poe_expert_traits(unit)->dim;
    size_t own = poe_expert_scratch(unit, POE_WANT_GRAD, n);
    most = numbers > most ? numbers : most;
    bytes = own > bytes ? own : bytes;
  }
  *work = (evaluation){.scratch = poe_scratch_create(bytes),
                       .row = poei_alloc(most, sizeof(double)),
                       .grad = poei_alloc(most, sizeof(double))};
  if (work->scratch == NULL || work->row == NULL || work->grad == NULL) {
    evaluation_free(work);
    return out_of_memory(error);
  }
  return POE_OK;
}

/* Adds what one part says at x to the sum and to g. */
static poe_status evaluate_part(const poei_part *part, evaluation *work, const double *x, running_sum *sum, double *g,
                                poe_error *error) {
  size_t sets;
  const size_t *index;
  const poe_expert *unit = unit_of(part, &sets, &index);
  size_t d = poe_expert_traits(unit)->dim;
  poe_status status = POE_OK;
  for (size_t first = 0; first < sets && status == POE_OK; first += BLOCK) {
    size_t n = sets - first < BLOCK ? sets - first : BLOCK;
    for (size_t k = 0; k < n * d; k++) {
      work->row[k] = x[part->index[index == NULL ? k : index[first * d + k]]];
      work->grad[k] = 0.0;
    }
    memset(work->value, 0, n * sizeof *work->value);
    status = poe_expert_eval_add(unit, (poe_rows){n, d, d, work->row}, (poe_weights){&part->exponent, 0},
                                 (poe_accum){work->value, work->grad, d}, work->scratch, error);
    for (size_t r = 0; r < n; r++) {
      sum_add(sum, work->value[r]);
    }
    for (size_t k = 0; k < n * d; k++) {
      g[part->index[index == NULL ? k : index[first * d + k]]] += work->grad[k];
    }
  }
  return status;
}

/* log f(x) and its gradient g[dim]. */
static poe_status evaluate(const poei_parts *parts, evaluation *work, const double *x, double *value, double *g,
                           poe_error *error) {
  poe_status status = POE_OK;
  running_sum sum = {0};
  memset(g, 0, parts->dim * sizeof *g);
  for (size_t i = 0; i < parts->n && status == POE_OK; i++) {
    status = evaluate_part(&parts->item[i], work, x, &sum, g, error);
  }
  *value = sum.total + sum.lost;
  return status;
}

/* mean[dim] and log f(mean), by Newton's method from 0 until the steps are nothing but rounding. */
static poe_status find_mean(const poei_parts *parts, const poei_sparse_factor *factor, double *mean, double *offset,
                            poe_error *error) {
  size_t d = parts->dim;
  evaluation work;
  double *g = poei_alloc(d, 3 * sizeof *g), last = INFINITY;
  if (g == NULL) {
    return out_of_memory(error);
  }
  double *step = g + d, *room = step + d;
  poe_status status = evaluation_open(parts, &work, error);
  if (status != POE_OK) {
    poei_free(g);
    return status;
  }
  memset(mean, 0, d * sizeof *mean);
  for (size_t i = 0; i < MOST_STEPS && status == POE_OK; i++) {
    double gain = 0.0;
    status = evaluate(parts, &work, mean, offset, g, error);
    memcpy(step, g, d * sizeof *step);
    poei_sparse_solve(factor, step, room);
    for (size_t j = 0; j < d; j++) {
      gain += g[j] * step[j] / 2.0;
      mean[j] += step[j];
    }
    if (status == POE_OK && !(isfinite(gain) && isfinite(*offset))) {
      status = poe_error_set(error, POE_E_NUMERIC, "the factors of a Gaussian are too far apart: its value overflows");
    }
    *offset += gain;
    if (gain < 1e-24 || gain > last / 4.0) {
      break;
    }
    last = gain;
  }
  evaluation_free(&work);
  poei_free(g);
  return status;
}

/* ---- one Gaussian ---- */

bool poei_sparse_worth(const poei_sparse_factor *factor) {
  double d = (double)factor->n, numbers = (double)factor->start[factor->n];
  if (factor->start[factor->n] > most_numbers || factor->flops > most_arithmetic) {
    return false;
  }
  return factor->n > POEI_FORM_MAX_DIM || (dense_advantage * factor->flops < d * d * d / 3.0 && numbers < d * d / 8.0);
}

static poe_status close_gaussian(const poei_parts *parts, poei_sparse_matrix *precision, poe_expert **out,
                                 poe_error *error) {
  poei_sparse_factor *factor = NULL;
  poei_sparse_normal *normal = NULL;
  char why[256];
  double offset = 0.0, *mean = poei_alloc(parts->dim, sizeof *mean);
  poe_status status = mean == NULL ? out_of_memory(error) : poei_sparse_analyse(precision, &factor, error);
  if (status == POE_OK && !poei_sparse_worth(factor)) {
    status = poe_error_set(error, POE_E_CAPABILITY, "not better as a sparse matrix, or too large");
  }
  if (status == POE_OK) {
    status = poei_sparse_normal_factor(precision, &factor, why, sizeof why, error);
  }
  if (status == POE_OK) {
    status = find_mean(parts, factor, mean, &offset, error);
  }
  if (status == POE_OK) {
    status = poei_sparse_normal_create(mean, precision, &factor, offset, false, &normal, error);
  }
  if (status == POE_OK) {
    status = poei_sparse_normal_wrap(normal, out, error);
  }
  poei_sparse_factor_destroy(factor);
  poei_free(mean);
  return status;
}

poe_status poei_sparse_fuse(const poei_parts *parts, const poei_triplets *triplets, poe_expert **out,
                            poe_error *error) {
  poei_sparse_matrix precision = {0};
  poe_status status = poei_sparse_assemble(parts->dim, triplets->n, triplets->item, &precision, error);
  if (status == POE_OK) {
    status = close_gaussian(parts, &precision, out, error);
  }
  poei_sparse_matrix_release(&precision);
  return status;
}

/* Factors the precision of one Gaussian, if that is worth it, to see whether it is positive definite. */
static poe_status check_precision(const poei_sparse_matrix *precision, const poei_names *names, poe_error *error) {
  poei_sparse_factor *factor = NULL;
  poei_sparse_failure failure = {.direction = poei_alloc(precision->n, sizeof(double))};
  bool failed = false;
  poe_status status = failure.direction == NULL ? out_of_memory(error) : poei_sparse_analyse(precision, &factor, error);
  if (status == POE_OK && poei_sparse_worth(factor)) {
    status = poei_sparse_factorise(factor, precision, &failed, &failure, error);
  }
  if (status == POE_OK && failed) {
    char along[POEI_DIRECTION_SIZE] = "";
    double norm = 0.0;
    for (size_t j = 0; j < precision->n; j++) {
      norm = hypot(norm, failure.direction[j]);
    }
    poei_direction_text(names, precision->n, failure.direction, along, sizeof along);
    if (along[0] == '\0') { /* so many coordinates that each is a small part of it */
      poei_names_text(names, failure.coordinate, along, sizeof along);
    }
    poe_error_set(error, POE_E_IMPROPER,
                  "the density cannot be normalised: its precision is not positive along %s (value %.3g)", along,
                  failure.value / norm / norm);
    poe_error_hint(error, "multiply it by an expert that is proper in that direction");
    status = POE_E_IMPROPER;
  }
  poei_free(failure.direction);
  poei_sparse_factor_destroy(factor);
  return status;
}

poe_status poei_sparse_check(const poe_expert *expert, const poei_names *names, poe_error *error) {
  size_t d = poe_expert_traits(expert)->dim, *same = poei_alloc(d, sizeof *same);
  poei_triplets triplets = {0};
  poei_sparse_matrix precision = {0};
  bool gaussian = false;
  for (size_t j = 0; same != NULL && j < d; j++) {
    same[j] = j;
  }
  poe_status status =
      same == NULL ? out_of_memory(error) : poei_sparse_collect(expert, 1.0, same, &triplets, &gaussian, error);
  if (status == POE_OK && gaussian) {
    status = poei_sparse_assemble(d, triplets.n, triplets.item, &precision, error);
    if (status == POE_OK) {
      status = check_precision(&precision, names, error);
    }
  }
  poei_sparse_matrix_release(&precision);
  poei_triplets_free(&triplets);
  poei_free(same);
  return status;
}

bool poei_sparse_log_det(const poe_expert *expert, double *log_det) {
  const poei_sparse_normal *normal = poei_sparse_normal_of(expert);
  if (normal != NULL) {
    *log_det = 2.0 * poei_sparse_half_log_det(normal->factor);
    return true;
  }
  poe_structure structure = {0};
  poei_sparse_factor *factor = NULL;
  poe_error ignored;
  bool known = false;
  if (poei_expert_can(expert, POE_CAN_STRUCTURE) && poe_expert_structure(expert, &structure, &ignored) == POE_OK &&
      structure.kind == POE_STRUCTURE_SPARSE) {
    const poe_sparse_gaussian *own = &structure.as.sparse;
    poei_sparse_matrix precision = {structure.dim, own->column_start, own->row, own->precision}; /* borrowed */
    char why[256];
    known = poei_sparse_normal_factor(&precision, &factor, why, sizeof why, &ignored) == POE_OK;
  }
  if (known) {
    *log_det = 2.0 * poei_sparse_half_log_det(factor);
  }
  poei_sparse_factor_destroy(factor);
  poe_structure_release(&structure);
  return known;
}
