/* The factors of a mixed target (see summed.h), opened as far as elimination needs: plates of mixed factors into their
 * sets, and clamped values pushed into plates and products, so that each factor is over few coordinates. */
#include <math.h>

#include "compose/exact/numeric.h"
#include "compose/exact/summed_parts.h"
#include "core/alloc.h"

static poe_status no_memory(poe_error *error) {
  return poe_error_set(error, POE_E_MEMORY, "out of memory");
}

poei_sort poei_sort_of(const poe_traits *traits, const poei_part *part) {
  size_t discrete = 0;
  for (size_t j = 0; j < part->n; j++) {
    discrete += traits->support[part->index[j]].kind == POE_DISCRETE;
  }
  return discrete == part->n ? POEI_ALL_DISCRETE : discrete == 0 ? POEI_ALL_CONTINUOUS : POEI_MIXED;
}

/* Appends the factors of one plate: those of its child, once for each set. */
static poe_status open_plate(poei_parts *parts, const poei_part *plate, poe_error *error) {
  const poe_expert *child = poei_node_child(plate->expert, 0);
  size_t d = poe_expert_traits(child)->dim, sets = poei_plate_count(plate->expert);
  const size_t *index = poei_plate_index(plate->expert);
  poei_parts inner;
  poe_status status = poei_parts_open(child, POEI_OPEN_ALL, &inner, NULL, error);
  if (status != POE_OK) {
    return status;
  }
  size_t *own = poei_alloc(d, sizeof *own);
  status = own == NULL ? no_memory(error) : POE_OK;
  for (size_t i = 0; i < inner.n && status == POE_OK; i++) { /* sets of one expert side by side */
    const poei_part *part = &inner.item[i];
    for (size_t s = 0; s < sets && status == POE_OK; s++) {
      for (size_t j = 0; j < part->n; j++) {
        own[j] = plate->index[index[s * d + part->index[j]]];
      }
      status = poei_parts_add(parts, part->expert, part->n, own, plate->exponent * part->exponent, error);
    }
  }
  double times = plate->exponent * (double)sets;
  parts->constant += times * inner.constant;
  parts->variance += times * times * inner.variance;
  poei_free(own);
  poei_parts_free(&inner);
  return status;
}

/* ---- clamped values ---- */

/* Where the coordinates of a given node's child are. */
typedef struct clamps {
  size_t *place; /* [child dim] coordinate of the target, SIZE_MAX: clamped */
  double *value; /* [child dim] what it is clamped to                       */
  size_t *where, *left;
  double *at; /* [child dim] work space */
} clamps;

static void clamps_free(clamps *c) {
  poei_free(c->place);
  poei_free(c->value);
}

static poe_status clamps_open(const poei_part *given, clamps *c, poe_error *error) {
  size_t full = poe_expert_traits(poei_node_child(given->expert, 0))->dim, free_one = 0;
  *c = (clamps){poei_alloc(full, 3 * sizeof *c->place), poei_alloc(full, 2 * sizeof *c->value), NULL, NULL, NULL};
  if (c->place == NULL || c->value == NULL) {
    clamps_free(c);
    return no_memory(error);
  }
  c->where = c->place + full;
  c->left = c->where + full;
  c->at = c->value + full;
  for (size_t j = 0; j < full; j++) {
    c->place[j] = 0;
  }
  for (size_t k = 0; k < poei_given_count(given->expert); k++) {
    c->place[poei_given_index(given->expert)[k]] = SIZE_MAX;
    c->value[poei_given_index(given->expert)[k]] = poei_given_value(given->expert)[k];
  }
  for (size_t j = 0; j < full; j++) {
    c->place[j] = c->place[j] == SIZE_MAX ? SIZE_MAX : given->index[free_one++];
  }
  return POE_OK;
}

/* A factor all of whose coordinates are clamped is a number. */
static poe_status add_number(poei_parts *parts, const poe_expert *expert, const double *x, double exponent,
                             poe_error *error) {
  poei_evaluator evaluator;
  double value = 0.0;
  poe_status status = poei_evaluator_open(expert, &evaluator, error);
  if (status == POE_OK) {
    status = poei_evaluator_run(&evaluator, 1, x, &value, error);
    poei_evaluator_close(&evaluator);
  }
  if (status == POE_OK && !isfinite(value)) {
    return poe_error_set(error, POE_E_CAPABILITY, "`%s` is %g at the values given", poe_expert_ops_of(expert)->kind,
                         exp(value));
  }
  parts->constant += exponent * value;
  return status;
}

/* One factor of the child of a given node, to a power. */
static poe_status add_clamped(poei_parts *parts, const poei_part *part, const clamps *c, double exponent,
                              poe_error *error) {
  size_t clamped = 0, left = 0;
  for (size_t j = 0; j < part->n; j++) {
    size_t own = part->index[j];
    if (c->place[own] == SIZE_MAX) {
      c->where[clamped] = j;
      c->at[clamped++] = c->value[own];
    } else {
      c->left[left++] = c->place[own];
    }
  }
  if (clamped == 0) {
    return poei_parts_add(parts, part->expert, left, c->left, exponent, error);
  }
  if (left == 0) {
    return add_number(parts, part->expert, c->at, exponent, error);
  }
  poe_expert *given = NULL;
  poe_status status = poei_given_create(part->expert, clamped, c->where, c->at, &given, error);
  if (status == POE_OK) {
    status = poei_parts_add(parts, given, left, c->left, exponent, error);
  }
  poe_expert_release(given);
  return status;
}

static poe_status expand(poei_parts *parts, const poe_traits *traits, poe_error *error);

/* Appends the factors of one given node: those of its child with the values that they read. */
static poe_status open_given(poei_parts *parts, const poei_part *given, poe_error *error) {
  poei_parts inner = {0};
  clamps c;
  poe_status status = clamps_open(given, &c, error);
  if (status != POE_OK) {
    return status;
  }
  status = poei_parts_open(poei_node_child(given->expert, 0), POEI_OPEN_ALL, &inner, NULL, error);
  if (status == POE_OK) {
    status = expand(&inner, NULL, error);
  }
  for (size_t i = 0; i < inner.n && status == POE_OK; i++) {
    status = add_clamped(parts, &inner.item[i], &c, given->exponent * inner.item[i].exponent, error);
  }
  parts->constant += given->exponent * inner.constant;
  parts->variance += given->exponent * given->exponent * inner.variance;
  poei_parts_free(&inner);
  clamps_free(&c);
  return status;
}

/* ---- all of them ---- */

/* Is there something in a factor that can be opened? A positive power: 0/0 is left as it is. */
static bool opens(const poei_part *part) {
  poei_node_kind kind = poei_node_kind_of(part->expert);
  if (part->exponent <= 0.0 || (kind != POEI_NODE_plate && kind != POEI_NODE_given)) {
    return false;
  }
  poei_node_kind inner = poei_node_kind_of(poei_node_child(part->expert, 0));
  return kind == POEI_NODE_plate || inner == POEI_NODE_plate || inner == POEI_NODE_slice ||
         (inner == POEI_NODE_product && !poei_product_has_walls(poei_node_child(part->expert, 0)));
}

/* Opens in place those that are mixed among coordinates with these traits (NULL: all). */
static poe_status expand(poei_parts *parts, const poe_traits *traits, poe_error *error) {
  poe_status status = POE_OK;
  for (size_t i = 0; status == POE_OK && i < parts->n;) {
    const poei_part *part = &parts->item[i];
    if (!opens(part) || (traits != NULL && poei_sort_of(traits, part) != POEI_MIXED)) {
      i++;
      continue;
    }
    poei_part own = {poe_expert_retain(part->expert), part->n, poei_copy(part->index, part->n, sizeof(size_t)),
                     part->exponent};
    poei_parts_remove(parts, i); /* what comes out goes to the end, and may have more in it */
    status = own.index == NULL                                  ? no_memory(error)
             : poei_node_kind_of(own.expert) == POEI_NODE_plate ? open_plate(parts, &own, error)
                                                                : open_given(parts, &own, error);
    poe_expert_release(own.expert);
    poei_free(own.index);
  }
  return status;
}

poe_status poei_mixed_factors(const poe_expert *target, poei_parts *parts, poe_error *error) {
  poe_status status = poei_parts_open(target, POEI_OPEN_ALL, parts, NULL, error);
  return status == POE_OK ? expand(parts, poe_expert_traits(target), error) : status;
}
