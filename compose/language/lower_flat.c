/* What is left of a factor with the exponent 0: it is 1 wherever its coordinates may be.
 *
 * Factors with exponent 0 are dropped. A coordinate that no other factor reads would then be unknown, so that it gets a
 * factor of its own, constant over the values it may have: `table(c | p=...)^0` counts the values of c. Where these are
 * unbounded, or infinitely many, nothing is added: the density has no finite integral, which is told elsewhere.
 */
#include <math.h>

#include "compose/language/program_parts.h"
#include "compose/nodes/nodes.h"
#include "experts/list.h"

enum { MOST_VALUES = 1 << 20 };

/* 1 over a bounded coordinate; *flat stays NULL for any other. */
static poe_status make_flat(poei_region *region, const poe_support *support, poe_expert **flat, poe_error *error) {
  double width = support->high - support->low;
  bool table = support->kind == POE_DISCRETE && width < MOST_VALUES;
  if (!table && !(support->kind == POE_CONTINUOUS && isfinite(width) && width > 0.0)) {
    return POE_OK;
  }
  size_t values = table ? (size_t)width + 1 : 1;
  double *one = poei_region_take(region, values, sizeof *one);
  if (one == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t i = 0; i < values; i++) {
    one[i] = 1.0;
  }
  poe_subject subject = {.name = "flat", .dim = 1, .support = support};
  poe_arg numbers = {.name = "p", .type = POE_ARG_REAL, .ndim = 1, .shape = {values}, .real = one};
  poe_arg ends[2] = {{.name = "low", .type = POE_ARG_REAL, .real = &support->low},
                     {.name = "high", .type = POE_ARG_REAL, .real = &support->high}};
  poe_args args = {.kind = table ? "table" : "uniform",
                   .n_subjects = 1,
                   .subjects = &subject,
                   .n_args = table ? 1 : 2,
                   .args = table ? &numbers : ends};
  poe_expert *made = NULL;
  poe_status status = poe_expert_create(poei_family_find(args.kind), &args, &made, error);
  if (status != POE_OK || table) {
    *flat = made;
    return status;
  }
  double log_width = log(width); /* from 1 / width to 1 */
  const poe_expert *child = made;
  status = poei_mixture_create(1, &child, &log_width, flat, error);
  poe_expert_release(made);
  return status;
}

/* Coordinates of the term that a factor with another exponent reads. */
static void mark_read(const poei_term *term, const size_t *const *index, bool *read) {
  for (size_t i = 0; i < term->n; i++) {
    for (size_t j = 0; term->factor[i] != 0.0 && j < term->children[i]->dim; j++) {
      read[index[i] == NULL ? j : index[i][j]] = true;
    }
  }
}

poe_status poei_lower_flat(poei_checker *checker, const poei_term *term, const size_t *const *index,
                           poei_flat_factors *out, poe_error *error) {
  poei_region *region = &checker->program->region;
  size_t zeros = 0;
  *out = (poei_flat_factors){0};
  for (size_t i = 0; i < term->n; i++) {
    zeros += term->factor[i] == 0.0;
  }
  if (zeros == 0) {
    return POE_OK;
  }
  bool *read = poei_region_take(region, term->dim, sizeof *read);
  out->expert = poei_region_take(region, term->dim, sizeof *out->expert);
  out->coordinate = poei_region_take(region, term->dim, sizeof *out->coordinate);
  if (read == NULL || out->expert == NULL || out->coordinate == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  mark_read(term, index, read);
  poe_status status = POE_OK;
  for (size_t i = 0; i < term->n && status == POE_OK; i++) {
    const poei_term *child = term->children[i];
    for (size_t j = 0; term->factor[i] == 0.0 && j < child->dim && status == POE_OK; j++) {
      size_t at = index[i] == NULL ? j : index[i][j];
      poe_expert *flat = NULL;
      status = read[at] ? POE_OK : make_flat(region, &poe_expert_traits(child->expert)->support[j], &flat, error);
      read[at] = true;
      if (flat != NULL) {
        out->expert[out->n] = flat;
        out->coordinate[out->n++] = at;
      }
    }
  }
  return status;
}

void poei_flat_release(poei_flat_factors *flat) {
  for (size_t i = 0; i < flat->n; i++) {
    poe_expert_release(flat->expert[i]);
  }
  flat->n = 0;
}
