/* Rewriting rule "sparse gaussian algebra": Gaussian factors over different, overlapping coordinates of a large space
 * become one Gaussian with a sparse precision, where a dense one would be slow or too large.
 *
 * Applies to products, plates, quadratic formulas, and clamped, placed or scaled Gaussians over at least `least_dim`
 * coordinates. In a product the factors that are Gaussians fall into groups by shared coordinates. Groups that no other
 * factor touches are answered exactly whatever the rest is, so they become one expert together; a group that another
 * factor touches becomes one of its own, which can be drawn and is where sampling starts. A group that meets a mixture
 * of Gaussians in a space small enough for dense forms is left to be multiplied out. Where divisors make a group
 * improper, the other factors are taken without them.
 */
#include <stdint.h>
#include <string.h>

#include "compose/exact/rules.h"
#include "compose/exact/sparse_gaussian.h"
#include "core/alloc.h"

enum { LEAST_DIM = 200 }; /* below, a dense matrix is no burden */

/* The factors of a product and what is known about them. */
typedef struct sorting {
  poei_parts parts;
  poei_triplets entries;  /* of all Gaussian factors, over the product's coordinates */
  size_t *first;          /* [n + 1] where the entries of each factor begin          */
  unsigned char *member;  /* [n] 1: a Gaussian factor                                */
  size_t *group, *owner;  /* [n], [dim] groups of members (tree.h)                   */
  unsigned char *touched; /* [groups] by a factor that is none: 1; that has a form: 2 */
  size_t groups;
} sorting;

static void sorting_free(sorting *s) {
  poei_parts_free(&s->parts);
  poei_triplets_free(&s->entries);
  poei_free(s->first);
  poei_free(s->member);
  poei_free(s->group);
  poei_free(s->owner);
  poei_free(s->touched);
}

/* A failure that only means "not this way". */
static bool refused(poe_status status) {
  return status == POE_E_CAPABILITY || status == POE_E_IMPROPER || status == POE_E_NUMERIC;
}

/* ---- sorting the factors ---- */

static poe_status collect_members(sorting *s, poe_error *error) {
  poe_status status = POE_OK;
  for (size_t i = 0; i < s->parts.n && status == POE_OK; i++) {
    const poei_part *part = &s->parts.item[i];
    bool gaussian = false;
    s->first[i] = s->entries.n;
    status = poei_sparse_collect(part->expert, part->exponent, part->index, &s->entries, &gaussian, error);
    s->member[i] = gaussian;
    s->entries.n = gaussian ? s->entries.n : s->first[i];
  }
  s->first[s->parts.n] = s->entries.n;
  return status;
}

static void mark_touched(sorting *s) {
  for (size_t i = 0; i < s->parts.n; i++) {
    const poei_part *part = &s->parts.item[i];
    const unsigned char *touch = poei_node_touch(part->expert);
    for (size_t j = 0; !s->member[i] && j < part->n; j++) {
      size_t owner = s->owner[part->index[j]];
      if (owner != SIZE_MAX && (touch == NULL || touch[j])) {
        s->touched[owner] |= poei_expert_can(part->expert, POE_CAN_FORM) ? 3 : 1;
      }
    }
  }
}

/* Untouched groups become one: the first of them. */
static void join_untouched(sorting *s) {
  size_t joint = SIZE_MAX;
  for (size_t i = 0; i < s->parts.n; i++) {
    if (s->member[i] && s->touched[s->group[i]] == 0) {
      joint = joint == SIZE_MAX ? s->group[i] : joint;
      s->group[i] = joint;
    }
  }
}

static poe_status sort_factors(const poe_expert *expert, sorting *s, poe_error *error) {
  poe_status status = poei_parts_open(expert, POEI_OPEN_SURFACE, &s->parts, NULL, error);
  if (status != POE_OK) {
    return status;
  }
  size_t n = s->parts.n;
  s->first = poei_alloc(n + 1, sizeof *s->first);
  s->member = poei_calloc(n, 1);
  s->group = poei_alloc(n, sizeof *s->group);
  s->owner = poei_alloc(s->parts.dim, sizeof *s->owner);
  s->touched = poei_calloc(n, 1);
  if (s->first == NULL || s->member == NULL || s->group == NULL || s->owner == NULL || s->touched == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  status = collect_members(s, error);
  if (status == POE_OK) {
    status = poei_parts_groups(&s->parts, s->member, s->group, s->owner, &s->groups, error);
  }
  if (status == POE_OK) {
    mark_touched(s);
    join_untouched(s);
  }
  return status;
}

/* ---- fusing a group ---- */

/* Is a group more than one Gaussian leaf that can be drawn as it is? */
static bool worth_fusing(const sorting *s, size_t which, bool positive_only) {
  size_t n = 0;
  bool plain = true;
  for (size_t i = 0; i < s->parts.n; i++) {
    const poei_part *part = &s->parts.item[i];
    if (s->group[i] == which && (!positive_only || part->exponent > 0.0)) {
      n++;
      plain = plain && part->exponent == 1.0 && poei_node_kind_of(part->expert) == POEI_NODE_LEAF &&
              poei_expert_can(part->expert, POE_CAN_LOG_Z);
    }
  }
  return n >= 2 || (n == 1 && !plain);
}

/* The factors of one group over their own coordinates, *index of them, and their entries. */
static poe_status take_group(const sorting *s, size_t which, bool positive_only, poei_parts *own, size_t **index,
                             poei_triplets *entries, poe_error *error) {
  size_t *group = poei_copy(s->group, s->parts.n, sizeof *group);
  size_t *place = poei_alloc(s->parts.dim, sizeof *place), count = 0;
  if (group == NULL || place == NULL) {
    poei_free(group);
    poei_free(place);
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t i = 0; i < s->parts.n; i++) {
    bool left_out = positive_only && s->parts.item[i].exponent < 0.0;
    group[i] = left_out ? SIZE_MAX : group[i];
    count += group[i] == which ? s->first[i + 1] - s->first[i] : 0;
  }
  poe_status status = poei_parts_group(&s->parts, group, which, own, index, error);
  entries->item = status == POE_OK ? poei_alloc(count, sizeof *entries->item) : NULL;
  if (status == POE_OK && entries->item == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t j = 0; status == POE_OK && j < own->dim; j++) {
    place[(*index)[j]] = j; /* ascending, so that lower triangles stay lower */
  }
  for (size_t i = 0; status == POE_OK && i < s->parts.n; i++) {
    for (size_t e = s->first[i]; group[i] == which && e < s->first[i + 1]; e++) {
      const poei_triplet *entry = &s->entries.item[e];
      entries->item[entries->n++] = (poei_triplet){place[entry->row], place[entry->column], entry->value};
    }
  }
  poei_free(group);
  poei_free(place);
  return status;
}

/* *closed: the group as one expert over *index, NULL when refused. */
static poe_status fuse_group(const sorting *s, size_t which, bool positive_only, poe_expert **closed, size_t **index,
                             size_t *dim, poe_error *error) {
  poei_parts own = {0};
  poei_triplets entries = {0};
  poe_error why = {0};
  poe_status status = take_group(s, which, positive_only, &own, index, &entries, &why);
  bool mixed = (s->touched[which] & 2) != 0 && own.dim <= POEI_FORM_MAX_DIM;
  if (status == POE_OK && own.dim >= LEAST_DIM && !mixed) {
    status = poei_sparse_fuse(&own, &entries, closed, &why);
  }
  *dim = own.dim;
  poei_parts_free(&own);
  poei_triplets_free(&entries);
  if (refused(status)) {
    return POE_OK;
  }
  if (status != POE_OK) {
    *error = why;
  }
  return status;
}

/* What became of the product. */
typedef struct outcome {
  poei_parts made;      /* the fused ones                         */
  unsigned char *gone;  /* [n] factors that were fused            */
  size_t fused, closed; /* how many factors, into how many        */
  size_t dim;           /* coordinates of the last                */
} outcome;

static poe_status fuse_groups(const sorting *s, outcome *result, poe_error *error) {
  poe_status status = POE_OK;
  for (size_t which = 0; which < s->groups && status == POE_OK; which++) {
    poe_expert *closed = NULL;
    bool positive_only = false;
    for (int attempt = 0; attempt < 2 && closed == NULL && status == POE_OK; attempt++) {
      positive_only = attempt == 1;
      size_t *index = NULL;
      if (worth_fusing(s, which, positive_only)) {
        status = fuse_group(s, which, positive_only, &closed, &index, &result->dim, error);
      }
      if (closed != NULL) {
        status = poei_parts_add(&result->made, closed, result->dim, index, 1.0, error);
        result->closed++;
      }
      poei_free(index);
    }
    for (size_t i = 0; closed != NULL && i < s->parts.n; i++) {
      if (s->group[i] == which && (!positive_only || s->parts.item[i].exponent > 0.0)) {
        result->gone[i] = 1;
        result->fused++;
      }
    }
    poe_expert_release(closed);
  }
  return status;
}

/* The factors that stay, then the fused ones, as one expert. */
static poe_status close_outcome(const sorting *s, const outcome *result, poe_expert **out, poe_error *error) {
  poei_parts all = {.dim = s->parts.dim, .constant = s->parts.constant, .variance = s->parts.variance};
  poe_status status = POE_OK;
  for (size_t i = 0; i < s->parts.n + result->made.n && status == POE_OK; i++) {
    bool old = i < s->parts.n;
    const poei_part *part = old ? &s->parts.item[i] : &result->made.item[i - s->parts.n];
    if (!old || !result->gone[i]) {
      status = poei_parts_add(&all, part->expert, part->n, part->index, part->exponent, error);
    }
  }
  if (status == POE_OK) {
    status = poei_parts_close(&all, out, error);
  }
  poei_parts_free(&all);
  return status;
}

/* ---- the rule ---- */

bool poei_rule_sparse_applies(const poe_expert *expert) {
  const poe_traits *traits = poe_expert_traits(expert);
  if (traits->dim < LEAST_DIM) {
    return false;
  }
  switch (poei_node_kind_of(expert)) {
  case POEI_NODE_product:
  case POEI_NODE_plate:
  case POEI_NODE_given:
    return true;
  case POEI_NODE_LEAF: /* a formula */
    return poei_expert_can(expert, POE_CAN_STRUCTURE) && !poei_expert_can(expert, POE_CAN_LOG_Z);
  default:
    return false;
  }
}

poe_status poei_rule_sparse_rewrite(const poe_expert *expert, const poei_plan_options *options, poe_expert **out,
                                    char **what, poe_error *error) {
  (void)options;
  sorting s = {0};
  outcome result = {0};
  poe_status status = sort_factors(expert, &s, error);
  if (status == POE_OK) {
    result.gone = poei_calloc(s.parts.n, 1);
    status =
        result.gone == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : fuse_groups(&s, &result, error);
  }
  if (status == POE_OK && result.fused > 0) {
    status = close_outcome(&s, &result, out, error);
    *what = status != POE_OK     ? NULL
            : result.closed == 1 ? poei_format("%zu factor%s became one sparse Gaussian over %zu coordinates",
                                               result.fused, result.fused == 1 ? "" : "s", result.dim)
                                 : poei_format("%zu factors became %zu sparse Gaussians", result.fused, result.closed);
  }
  poei_parts_free(&result.made);
  poei_free(result.gone);
  sorting_free(&s);
  return status;
}
