/* Mixtures of Dirichlet densities in a product, multiplied out (simplices.h):
 *
 *   prod_m (sum_k w_mk f_mk) prod_f g_f = sum over k_1, k_2 ... of prod_m w_m k_m f_m k_m prod_f g_f
 *
 * where every term is made of powers of the numbers of the same simplices, so that it is a Dirichlet density times a
 * constant, which becomes its weight. Only when all terms are: then log Z and draws are exact.
 */
#include <math.h>
#include <string.h>

#include "compose/exact/simplices.h"
#include "core/alloc.h"

typedef struct terms {
  poei_parts own;       /* the factors that go together, over coordinates of their own */
  poe_support *support; /* [own.dim]                                                    */
  size_t n;             /* terms                                                        */
  poe_expert **term;    /* [n]                                                          */
  double *log_weight;   /* [n]                                                          */
} terms;

static void terms_free(terms *all) {
  for (size_t k = 0; all->term != NULL && k < all->n; k++) {
    poe_expert_release(all->term[k]);
  }
  poei_free(all->term);
  poei_free(all->log_weight);
  poei_free(all->support);
  poei_parts_free(&all->own);
}

/* How many components the factor has as a mixture to the power 1; 1 for others. */
static size_t components(const poei_part *part) {
  bool mixture = part->exponent == 1.0 && poei_node_kind_of(part->expert) == POEI_NODE_mixture;
  return mixture ? poei_node_child_count(part->expert) : 1;
}

/* Is the factor made of powers, or a mixture of such? */
static poe_status is_member(const poei_part *part, bool *member, poe_error *error) {
  size_t n = components(part);
  size_t *own = poei_alloc(part->n, sizeof *own);
  poe_status status = own == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  *member = true;
  for (size_t j = 0; j < part->n && status == POE_OK; j++) {
    own[j] = j;
  }
  for (size_t k = 0; k < n && *member && status == POE_OK; k++) {
    const poe_expert *one = n > 1 ? poei_node_child(part->expert, k) : part->expert;
    poei_powers alone = {0};
    poe_error why = {0};
    poe_status found = poei_powers_start(&alone, part->n, &why);
    found = found == POE_OK ? poei_powers_add(&alone, one, own, part->exponent, &why) : found;
    poei_powers_free(&alone);
    *member = found == POE_OK;
    if (found == POE_E_MEMORY) {
      *error = why;
      status = found;
    }
  }
  poei_free(own);
  return status;
}

/* Term number `which`, its digits the components of the mixtures. POE_E_CAPABILITY when it is no Dirichlet density. */
static poe_status make_term(terms *all, size_t which, poe_error *error) {
  poei_powers powers = {0};
  poei_parts made = {.dim = all->own.dim};
  double log_weight = 0.0;
  size_t left = which;
  poe_status status = poei_powers_start(&powers, all->own.dim, error);
  for (size_t i = 0; i < all->own.n && status == POE_OK; i++) {
    const poei_part *part = &all->own.item[i];
    size_t n = components(part), k = left % n;
    left /= n;
    log_weight += n > 1 ? poei_mixture_log_weight(part->expert, k) : 0.0;
    status = poei_powers_add(&powers, n > 1 ? poei_node_child(part->expert, k) : part->expert, part->index,
                             part->exponent, error);
  }
  if (status == POE_OK) {
    status = poei_powers_close(&powers, all->support, &made, error);
  }
  if (status == POE_OK) {
    all->log_weight[which] = log_weight + made.constant;
    made.constant = 0.0;
    status = poei_parts_close(&made, &all->term[which], error);
  }
  poei_powers_free(&powers);
  poei_parts_free(&made);
  return status;
}

/* One group of factors as a mixture; *mixture stays NULL when it is none, or too large. */
static poe_status multiply_out(terms *all, size_t limit, poe_expert **mixture, poe_error *error) {
  poe_error why = {0};
  size_t n = 1;
  for (size_t i = 0; i < all->own.n; i++) {
    size_t more = components(&all->own.item[i]);
    if (n > limit / more) {
      return POE_OK;
    }
    n *= more;
  }
  if (n == 1 || all->own.n == 1) {
    return POE_OK;
  }
  all->n = n;
  all->term = poei_calloc(n, sizeof *all->term);
  all->log_weight = poei_alloc(n, sizeof *all->log_weight);
  poe_status status =
      all->term == NULL || all->log_weight == NULL ? poe_error_set(&why, POE_E_MEMORY, "out of memory") : POE_OK;
  for (size_t k = 0; k < n && status == POE_OK; k++) {
    status = make_term(all, k, &why);
  }
  if (status == POE_OK) {
    status = poei_mixture_create(n, (const poe_expert *const *)all->term, all->log_weight, mixture, &why);
  }
  if (status == POE_E_MEMORY) {
    *error = why;
    return status;
  }
  return POE_OK;
}

/* The product with the factors of group `which` replaced by a mixture. */
static poe_status replace(const poei_parts *parts, const poe_support *support, const size_t *group, size_t which,
                          size_t limit, poe_expert **out, char **what, poe_error *error) {
  terms all = {0};
  size_t *index = NULL;
  poe_expert *mixture = NULL;
  poei_parts made = {.dim = parts->dim, .constant = parts->constant, .variance = parts->variance};
  poe_status status = poei_parts_group(parts, group, which, &all.own, &index, error);
  if (status == POE_OK) {
    all.support = poei_alloc(all.own.dim, sizeof *all.support);
    status = all.support == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  }
  for (size_t c = 0; c < all.own.dim && status == POE_OK; c++) {
    all.support[c] = support[index[c]];
  }
  if (status == POE_OK) {
    status = multiply_out(&all, limit, &mixture, error);
  }
  for (size_t i = 0; i < parts->n && status == POE_OK && mixture != NULL; i++) {
    const poei_part *part = &parts->item[i];
    if (group[i] != which) {
      status = poei_parts_add(&made, part->expert, part->n, part->index, part->exponent, error);
    }
  }
  if (status == POE_OK && mixture != NULL) {
    status = poei_parts_add(&made, mixture, all.own.dim, index, 1.0, error);
  }
  if (status == POE_OK && mixture != NULL) {
    status = poei_parts_close(&made, out, error);
    *what = status == POE_OK ? poei_format("%zu factors became a mixture of %zu dirichlet components", all.own.n, all.n)
                             : NULL;
  }
  poe_expert_release(mixture);
  poei_parts_free(&made);
  poei_free(index);
  terms_free(&all);
  return status;
}

poe_status poei_simplex_distribute(const poe_expert *product, size_t limit, poe_expert **out, char **what,
                                   poe_error *error) {
  poei_parts parts = {0};
  poe_status status = poei_parts_open(product, POEI_OPEN_SURFACE, &parts, NULL, error);
  if (status != POE_OK) {
    return status;
  }
  unsigned char *member = poei_calloc(parts.n, 1);
  size_t *group = poei_alloc(parts.n, sizeof *group), *owner = poei_alloc(parts.dim, sizeof *owner), count = 0;
  bool some = false;
  if (member == NULL || group == NULL || owner == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t i = 0; i < parts.n && status == POE_OK; i++) {
    bool own = false;
    status = is_member(&parts.item[i], &own, error);
    member[i] = own;
    some = some || (own && components(&parts.item[i]) > 1);
  }
  if (status == POE_OK && some) {
    status = poei_parts_groups(&parts, member, group, owner, &count, error);
  }
  for (size_t which = 0; which < count && *out == NULL && status == POE_OK; which++) {
    status = replace(&parts, poe_expert_traits(product)->support, group, which, limit, out, what, error);
  }
  poei_free(member);
  poei_free(group);
  poei_free(owner);
  poei_parts_free(&parts);
  return status;
}
