/* The rule of conjugacy: in a product, exponential families over the same coordinates become one closed factor.
 *
 * Factors whose coordinates are independent and in exponential families (to any power, restricted, clamped, on plates),
 * and independent Gaussians that share a coordinate with one, are taken apart by coordinate: their coefficients add up.
 * Coordinates whose sum is of a known family come together in closed factors with exact log Z and draws; coordinates
 * where it is not (a gamma times a Gaussian) keep their factors, each by itself, for quadrature. Closed factors are
 * kept as small as what else is in the product allows: coordinates that the other factors tie together stay together,
 * the rest is independent of them.
 */
#include <stdint.h>
#include <string.h>

#include "compose/exact/families.h"
#include "compose/exact/rules.h"
#include "core/alloc.h"

enum { MOST_PIECES = 1024 }; /* a product is not taken apart into more */

/* A group of factors over coordinates of their own. */
typedef struct job {
  const poei_parts *parts; /* the whole product                                        */
  const size_t *group;     /* [parts->n] of each factor                                */
  size_t which;            /* the group at hand                                        */
  poei_parts own;          /* its factors, over                                        */
  size_t *index;           /* [own.dim] these coordinates of the product               */
  poei_families families;
  bool *good;    /* [own.dim] one of a known family                          */
  size_t *piece; /* [own.dim] the closed factor it goes to, SIZE_MAX: none   */
  size_t pieces;
} job;

static void job_free(job *j) {
  poei_parts_free(&j->own);
  poei_free(j->index);
  poei_families_free(&j->families);
  poei_free(j->good);
  poei_free(j->piece);
}

/* A failure that only means "not this way". */
static bool refused(poe_status status) {
  return status == POE_E_CAPABILITY || status == POE_E_IMPROPER || status == POE_E_EMPTY || status == POE_E_NUMERIC;
}

/* ---- which coordinates go together ---- */

static size_t root_of(size_t *parent, size_t i) {
  while (parent[i] != i) {
    parent[i] = parent[parent[i]];
    i = parent[i];
  }
  return i;
}

/* Ties the coordinates that factors outside the group read together: parent[dim] of the product; read[dim]. */
static void tie(const job *j, size_t *parent, unsigned char *read) {
  for (size_t c = 0; c < j->parts->dim; c++) {
    parent[c] = c;
  }
  for (size_t i = 0; i < j->parts->n; i++) {
    const poei_part *part = &j->parts->item[i];
    const unsigned char *touch = poei_node_touch(part->expert);
    size_t first = SIZE_MAX;
    for (size_t k = 0; k < part->n && j->group[i] != j->which; k++) {
      size_t c = part->index[k];
      if (touch == NULL || touch[k]) {
        read[c] = 1;
        first = first == SIZE_MAX ? c : first;
        parent[root_of(parent, c)] = root_of(parent, first);
      }
    }
  }
}

/* Numbers the closed factors: one for each set of good coordinates that are tied, one for all that are free. */
static poe_status set_pieces(job *j, poe_error *error) {
  size_t dim = j->parts->dim, *parent = poei_alloc(dim, sizeof *parent), *number = poei_alloc(dim, sizeof *number);
  unsigned char *read = poei_calloc(dim, 1);
  poe_status status = POE_OK;
  if (parent == NULL || number == NULL || read == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  } else {
    size_t free_piece = SIZE_MAX;
    tie(j, parent, read);
    memset(number, 0xff, dim * sizeof *number);
    for (size_t c = 0; c < j->own.dim; c++) {
      size_t root = root_of(parent, j->index[c]), *of = read[j->index[c]] ? &number[root] : &free_piece;
      j->piece[c] = SIZE_MAX;
      if (j->good[c]) {
        *of = *of == SIZE_MAX ? j->pieces++ : *of;
        j->piece[c] = *of;
      }
    }
  }
  poei_free(parent);
  poei_free(number);
  poei_free(read);
  return status;
}

/* ---- is there anything to gain? ---- */

/* A closed factor as this rule makes them. */
static bool is_plain(const poei_part *part) {
  return part->exponent == 1.0 && poei_node_kind_of(part->expert) == POEI_NODE_LEAF &&
         poei_expert_can(part->expert, POE_CAN_SAMPLE | POE_CAN_LOG_Z);
}

/* Factors become fewer where they meet on a good coordinate; a factor that lies across pieces, or across coordinates
 * that are not good, is taken apart. */
static bool worth_it(const job *j) {
  size_t loose = 0;
  bool gain = false;
  for (size_t i = 0; i < j->own.n; i++) {
    const poei_part *part = &j->own.item[i];
    for (size_t k = 0; k < part->n; k++) {
      size_t c = part->index[k], first = part->index[0];
      loose += !j->good[c];
      gain = gain || (j->good[c] && (j->families.factors[c] > 1 || !is_plain(part)));
      gain = gain || j->piece[c] != j->piece[first] || (k > 0 && !j->good[c]);
    }
  }
  return gain && j->pieces + loose <= MOST_PIECES;
}

/* ---- making the factors ---- */

/* Factor i of the group as one expert for each coordinate that is not good, to its power; a factor that stays as it is
 * keeps its constant, which *constant, the group's, loses. */
static poe_status add_loose(const job *j, size_t i, poei_parts *out, double *constant, poe_error *error) {
  const poei_part *part = &j->own.item[i];
  poei_families alone = {0};
  poe_status status = poei_families_start(&alone, j->own.dim, error);
  if (status == POE_OK) {
    status = poei_families_add(&alone, part->expert, part->index, 1.0, error);
  }
  if (status == POE_OK) {
    poei_families_settle(&alone);
  }
  if (status == POE_OK && part->n == 1 && !j->good[part->index[0]]) {
    *constant -= part->exponent * alone.constant;
    status = poei_parts_add(out, part->expert, 1, &j->index[part->index[0]], part->exponent, error);
    poei_families_free(&alone);
    return status;
  }
  for (size_t c = 0; c < j->own.dim && status == POE_OK; c++) {
    if (alone.factors[c] > 0 && !j->good[c]) {
      poe_expert *one = NULL;
      status = poei_families_close(&alone, 1, &c, 0.0, &one, error);
      if (status == POE_OK) {
        status = poei_parts_add(out, one, 1, &j->index[c], part->exponent, error);
      }
      poe_expert_release(one);
    }
  }
  poei_families_free(&alone);
  return status;
}

/* The closed factors; the first takes the group's constant. */
static poe_status add_pieces(const job *j, double constant, poei_parts *out, poe_error *error) {
  size_t *own = poei_alloc(j->own.dim, sizeof *own), *place = poei_alloc(j->own.dim, sizeof *place);
  poe_status status = own == NULL || place == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  for (size_t p = 0; p < j->pieces && status == POE_OK; p++) {
    poe_expert *closed = NULL;
    size_t n = 0;
    for (size_t c = 0; c < j->own.dim; c++) {
      if (j->piece[c] == p) {
        own[n] = c;
        place[n++] = j->index[c];
      }
    }
    status = poei_families_close(&j->families, n, own, p == 0 ? constant : 0.0, &closed, error);
    if (status == POE_OK) {
      status = poei_parts_add(out, closed, n, place, 1.0, error);
    }
    poe_expert_release(closed);
  }
  out->constant += j->pieces == 0 ? constant : 0.0;
  poei_free(own);
  poei_free(place);
  return status;
}

/* The product with the group's factors replaced. */
static poe_status rebuild(const job *j, poe_expert **out, poe_error *error) {
  poei_parts made = {.dim = j->parts->dim, .constant = j->parts->constant, .variance = j->parts->variance};
  double constant = j->families.constant;
  poe_status status = POE_OK;
  for (size_t i = 0; i < j->parts->n && status == POE_OK; i++) {
    const poei_part *part = &j->parts->item[i];
    if (j->group[i] != j->which) {
      status = poei_parts_add(&made, part->expert, part->n, part->index, part->exponent, error);
    }
  }
  for (size_t i = 0; i < j->own.n && status == POE_OK; i++) {
    status = add_loose(j, i, &made, &constant, error);
  }
  if (status == POE_OK) {
    status = add_pieces(j, constant, &made, error);
  }
  if (status == POE_OK) {
    status = poei_parts_close(&made, out, error);
  }
  poei_parts_free(&made);
  return status;
}

/* What the good coordinates are, in words. */
static const char *kind_of(const job *j) {
  const char *kind = NULL;
  for (size_t c = 0; c < j->own.dim; c++) {
    const char *own = j->good[c] ? poei_natural_kind(&j->families.at[c]) : kind;
    if (kind != NULL && strcmp(own, kind) != 0) {
      return "exponential family";
    }
    kind = own;
  }
  return kind;
}

static char *describe(const job *j) {
  const char *kind = kind_of(j);
  size_t good = 0;
  for (size_t c = 0; c < j->own.dim; c++) {
    good += j->good[c];
  }
  if (j->own.n == 1 && is_plain(&j->own.item[0])) {
    return poei_format("a factor of %zu independent coordinates became %zu factors", j->own.dim, j->pieces);
  }
  if (good == 0) {
    return poei_format("%zu factors were taken apart into their %zu coordinates", j->own.n, j->own.dim);
  }
  const char *plural = j->own.n == 1 ? "" : "s";
  return good == j->own.dim ? poei_format("%zu factor%s became one %s over %zu coordinate%s", j->own.n, plural, kind,
                                          good, good == 1 ? "" : "s")
                            : poei_format("%zu factor%s became one %s in %zu of %zu coordinates", j->own.n, plural,
                                          kind, good, j->own.dim);
}

/* ---- the rule ---- */

/* Gathers the group; refused when its factors do not fit together. */
static poe_status gather(job *j, poe_error *error) {
  poe_status status = poei_parts_group(j->parts, j->group, j->which, &j->own, &j->index, error);
  if (status == POE_OK) {
    j->good = poei_calloc(j->own.dim, sizeof *j->good);
    j->piece = poei_calloc(j->own.dim, sizeof *j->piece);
    status = j->good == NULL || j->piece == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                                                 : poei_families_start(&j->families, j->own.dim, error);
  }
  for (size_t i = 0; i < j->own.n && status == POE_OK; i++) {
    const poei_part *part = &j->own.item[i];
    status = poei_families_add(&j->families, part->expert, part->index, part->exponent, error);
  }
  if (status != POE_OK) {
    return status;
  }
  poei_families_settle(&j->families);
  for (size_t c = 0; c < j->own.dim; c++) {
    bool here = j->families.factors[c] > 0;
    if (here && !j->families.whole[c]) {
      return poe_error_set(error, POE_E_CAPABILITY, "a divisor is 0 where the rest is not");
    }
    j->good[c] = here && poei_natural_kind(&j->families.at[c]) != NULL;
  }
  return set_pieces(j, error);
}

static poe_status try_group(const poei_parts *parts, const size_t *group, size_t which, poe_expert **out, char **what,
                            poe_error *error) {
  job j = {.parts = parts, .group = group, .which = which};
  poe_error why = {0};
  poe_status status = gather(&j, &why);
  if (status == POE_OK && worth_it(&j)) {
    status = rebuild(&j, out, &why);
    *what = status == POE_OK ? describe(&j) : NULL;
  }
  job_free(&j);
  if (status == POE_OK || refused(status)) {
    return POE_OK;
  }
  *error = why;
  return status;
}

static poe_status fuse_product(const poe_expert *expert, poe_expert **out, char **what, poe_error *error) {
  poei_parts parts;
  poe_status status = poei_parts_open(expert, POEI_OPEN_SURFACE, &parts, NULL, error);
  if (status != POE_OK) {
    return status;
  }
  unsigned char *member = poei_calloc(parts.n, 1), *some = poei_calloc(parts.n, 1);
  size_t *group = poei_alloc(parts.n, sizeof *group), *owner = poei_alloc(parts.dim, sizeof *owner), count = 0;
  if (member == NULL || some == NULL || group == NULL || owner == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t i = 0; i < parts.n && status == POE_OK; i++) {
    poei_family_sort sort;
    status = poei_family_sort_of(parts.item[i].expert, parts.item[i].exponent, &sort, error);
    member[i] = (unsigned char)sort;
  }
  if (status == POE_OK) {
    status = poei_parts_groups(&parts, member, group, owner, &count, error);
  }
  for (size_t i = 0; i < parts.n && status == POE_OK; i++) { /* groups of Gaussians alone have a rule of their own */
    if (group[i] != SIZE_MAX && member[i] == POEI_SOME_FAMILY) {
      some[group[i]] = 1;
    }
  }
  for (size_t which = 0; which < count && *out == NULL && status == POE_OK; which++) {
    if (some[which]) {
      status = try_group(&parts, group, which, out, what, error);
    }
  }
  poei_free(member);
  poei_free(some);
  poei_free(group);
  poei_free(owner);
  poei_parts_free(&parts);
  return status;
}

/* A node over families as one closed expert. */
static poe_status close_node(const poe_expert *expert, poe_expert **out, char **what, poe_error *error) {
  size_t dim = poe_expert_traits(expert)->dim, *index = poei_alloc(dim, sizeof *index);
  poei_families f = {0};
  poe_error why = {0};
  poe_status status =
      index == NULL ? poe_error_set(&why, POE_E_MEMORY, "out of memory") : poei_families_start(&f, dim, &why);
  for (size_t c = 0; c < dim && status == POE_OK; c++) {
    index[c] = c;
  }
  if (status == POE_OK) {
    status = poei_families_add(&f, expert, index, 1.0, &why);
  }
  if (status == POE_OK) {
    poei_families_settle(&f);
    for (size_t c = 0; c < dim && status == POE_OK; c++) {
      bool whole = f.factors[c] > 0 && f.whole[c];
      status = whole ? POE_OK : poe_error_set(&why, POE_E_CAPABILITY, "a coordinate is flat or divided by 0");
    }
  }
  if (status == POE_OK) {
    status = poei_families_close(&f, dim, index, f.constant, out, &why);
  }
  if (status == POE_OK) {
    *what = poei_format("a %s became a closed form over %zu coordinate%s",
                        poei_node_kind_name(poei_node_kind_of(expert)), dim, dim == 1 ? "" : "s");
  }
  poei_families_free(&f);
  poei_free(index);
  if (status == POE_OK || refused(status)) {
    return POE_OK;
  }
  *error = why;
  return status;
}

/* Some family, or memory ran out, which the rewriting will find out. */
static bool may_be_family(const poe_expert *expert, double exponent) {
  poei_family_sort sort;
  poe_error ignored;
  return poei_family_sort_of(expert, exponent, &sort, &ignored) != POE_OK || sort == POEI_SOME_FAMILY;
}

/* A product with a family among its factors, or another node over families. */
bool poei_rule_conjugate_applies(const poe_expert *expert) {
  poei_node_kind kind = poei_node_kind_of(expert);
  if (kind == POEI_NODE_LEAF || kind == POEI_NODE_slice || kind == POEI_NODE_transform) {
    return false;
  }
  if (kind != POEI_NODE_product) {
    return may_be_family(expert, 1.0);
  }
  for (size_t i = 0; i < poei_node_child_count(expert); i++) {
    if (may_be_family(poei_node_child(expert, i), poei_product_exponent(expert, i))) {
      return true;
    }
  }
  return false;
}

poe_status poei_rule_conjugate_rewrite(const poe_expert *expert, const poei_plan_options *options, poe_expert **out,
                                       char **what, poe_error *error) {
  (void)options;
  return poei_node_kind_of(expert) == POEI_NODE_product ? fuse_product(expert, out, what, error)
                                                        : close_node(expert, out, what, error);
}
