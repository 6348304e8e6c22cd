/* Products of exponential families, gathered (families.h), as experts again; and whether they have a finite integral.
 *
 * A coefficient smaller than the rounding of what was added up is taken for 0: exponential(3) divided by
 * exponential(1)^3 is flat, and must be seen to be.
 */
#include <math.h>
#include <string.h>

#include "compose/exact/families.h"
#include "compose/exact/truncated.h"
#include "core/alloc.h"
#include "experts/closed.h"

static const double rounding = 1e-14;

/* ---- what it comes to ---- */

/* A coefficient that is a whole `edge` (0, -1) up to the rounding of the sum. */
static void settle(double *coefficient, double edge, double size) {
  if (fabs(*coefficient - edge) <= rounding * (size + fabs(edge))) {
    *coefficient = edge;
  }
}

static void settle_coordinate(poei_natural_coordinate *c, const double *size, double pull, double *extra) {
  for (size_t s = 0; s < POE_STATISTICS; s++) {
    settle(&c->coefficient[s], 0.0, size[s]);
  }
  settle(&c->coefficient[POE_STATISTIC_LOG], -1.0, size[POE_STATISTIC_LOG]);
  settle(&c->coefficient[POE_STATISTIC_LOG_COMPLEMENT], -1.0, size[POE_STATISTIC_LOG_COMPLEMENT]);
  settle(&c->coefficient[POE_STATISTIC_LOG_FACTORIAL], -1.0, size[POE_STATISTIC_LOG_FACTORIAL]);
  double square = c->coefficient[POE_STATISTIC_SQUARE] - 0.5 * c->precision;
  if (fabs(square) > rounding * size[POE_STATISTIC_SQUARE] || (c->precision == 0.0 && c->linear == 0.0)) {
    return;
  }
  *extra += poei_families_recentre(c, 0.0); /* no square is left: what was Gaussian is linear */
  c->coefficient[POE_STATISTIC_IDENTITY] += c->linear;
  c->coefficient[POE_STATISTIC_SQUARE] = c->precision = c->linear = 0.0;
  settle(&c->coefficient[POE_STATISTIC_IDENTITY], 0.0, size[POE_STATISTIC_IDENTITY] + pull);
}

void poei_families_settle(poei_families *f) {
  for (size_t c = 0; c < f->dim; c++) {
    poe_support *support = &f->at[c].support;
    settle_coordinate(&f->at[c], &f->size[c * POE_STATISTICS], f->pull[c], &f->extra[c]);
    /* As in a product: integers that only divisors bound end where these do. */
    f->whole[c] = support->kind == POE_DISCRETE && poei_support_unbounded(support)
                      ? poei_support_intersect(support, &f->wall[c])
                      : poei_support_covers(&f->wall[c], support);
    support->low_open = support->low_open || (f->wall[c].low == support->low && f->wall[c].low_open);
    support->high_open = support->high_open || (f->wall[c].high == support->high && f->wall[c].high_open);
  }
}

/* All Gaussian: as a form, which the algebra of Gaussians can go on with. */
static poe_status close_gaussians(size_t n, const poei_natural_coordinate *own, double constant, poe_expert **out,
                                  poe_error *error) {
  poe_form form = {0};
  poe_support *box = poei_alloc(n, sizeof *box);
  bool bounded = false;
  poe_status status =
      box == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : poei_form_gaussians(&form, 1, n, error);
  for (size_t j = 0; j < n && status == POE_OK; j++) {
    double square = own[j].coefficient[POE_STATISTIC_SQUARE], o = own[j].origin;
    constant += (own[j].coefficient[POE_STATISTIC_IDENTITY] + square * o) * o;
    form.origin[j] = o;
    form.linear[j] = own[j].linear + own[j].coefficient[POE_STATISTIC_IDENTITY] + 2.0 * square * o;
    form.precision[j * (n + 1)] = own[j].precision - 2.0 * square;
    box[j] = own[j].support;
    bounded = bounded || isfinite(box[j].low) || isfinite(box[j].high);
  }
  if (status == POE_OK) {
    form.constant[0] = constant;
    status = bounded ? poei_truncated_create(&form, 0, box, out, error) : poei_closed_create(&form, out, error);
  }
  poe_form_release(&form);
  poei_free(box);
  return status;
}

poe_status poei_families_close(const poei_families *f, size_t n, const size_t *index, double constant, poe_expert **out,
                               poe_error *error) {
  poei_natural_coordinate *own = poei_alloc(n, sizeof *own);
  if (own == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  bool gaussian = n <= 64;
  for (size_t j = 0; j < n; j++) {
    own[j] = f->at[index[j]];
    constant += f->extra[index[j]];
    const char *kind = poei_natural_kind(&own[j]);
    gaussian = gaussian && kind != NULL && strcmp(kind, "gaussian") == 0;
  }
  poe_status status =
      gaussian ? close_gaussians(n, own, constant, out, error) : poei_natural_create(n, own, constant, out, error);
  poei_free(own);
  return status;
}

/* ---- properness ---- */

poe_status poei_check_families(const poe_expert *target, const poei_names *names, poe_error *error) {
  poei_parts parts;
  poei_families f = {0};
  poe_error why = {0};
  if (poei_expert_can(target, POE_CAN_LOG_Z)) {
    return POE_OK;
  }
  poe_status status = poei_parts_open(target, POEI_OPEN_ALL, &parts, NULL, error);
  if (status != POE_OK) {
    return status;
  }
  unsigned char *other = poei_calloc(parts.dim, 1); /* something else is over this coordinate too */
  status =
      other == NULL ? poe_error_set(&why, POE_E_MEMORY, "out of memory") : poei_families_start(&f, parts.dim, &why);
  for (size_t i = 0; i < parts.n && status == POE_OK; i++) {
    const poei_part *part = &parts.item[i];
    poei_family_sort sort;
    status = poei_family_sort_of(part->expert, part->exponent, &sort, &why);
    if (status == POE_OK && sort != POEI_NO_FAMILY) {
      status = poei_families_add(&f, part->expert, part->index, part->exponent, &why);
    }
    for (size_t j = 0; j < part->n && sort == POEI_NO_FAMILY; j++) {
      other[part->index[j]] = 1;
    }
  }
  if (status == POE_OK) {
    poei_families_settle(&f);
  }
  for (size_t c = 0; c < parts.dim && status == POE_OK; c++) {
    char reason[160], name[POEI_NAME_SIZE];
    if (!other[c] && f.factors[c] > 0 && poei_natural_diverges(&f.at[c], reason, sizeof reason)) {
      status = poe_error_set(&why, POE_E_IMPROPER, "the density cannot be normalised: along %s %s",
                             poei_names_text(names, c, name, sizeof name), reason);
      poe_error_hint(&why, "multiply it by an expert that is proper there, or take less of the divisor");
    }
  }
  poei_free(other);
  poei_families_free(&f);
  poei_parts_free(&parts);
  if (status == POE_E_IMPROPER || status == POE_E_MEMORY) {
    *error = why;
    return status;
  }
  return POE_OK;
}
