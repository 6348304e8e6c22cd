/* Gaussian factors that are proper only given what other factors read (rest.h). With a the coordinates that are in
 * Gaussian factors alone and r the others of theirs, in information form around an origin,
 *
 *   q(a, r) = c + h'u - u'Pu / 2,   a | r ~ N(m_a - P_aa^-1 P_ar u_r, P_aa^-1),   int exp q da = exp(Schur complement),
 *
 * which needs a positive definite P_aa and nothing else: what is left over r may be flat, or grow; the other factors
 * decide. Draws of a take any Gaussian with the same conditional, here with r of unit variance around the origin, and
 * follow r from there as those of a proper one do (rest.c).
 */
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "compose/exact/gaussian.h"
#include "compose/exact/rest_parts.h"
#include "core/alloc.h"
#include "core/linalg.h"
#include "experts/closed.h"
#include "experts/formula.h"

enum { MOST_DIM = 300 };
static const double rounding = 8.0 * DBL_EPSILON; /* of a Schur complement, relative to what it is left of */

typedef struct split {
  poei_parts parts;
  unsigned char *gaussian; /* [parts.n] one Gaussian, proper or not, over all reals       */
  unsigned char *touched;  /* [parts.dim] 1: by a factor that is none                     */
  unsigned char *inside;   /* [parts.dim] 1: by one that is, and is integrated            */
  size_t n, *index;        /* the coordinates of these, ascending                         */
  size_t *position;        /* [parts.dim] in index                                        */
  poe_form form;           /* of their product, over index                                */
} split;

static void split_free(split *s) {
  poei_parts_free(&s->parts);
  poe_form_release(&s->form);
  poei_free(s->gaussian);
  poei_free(s->touched);
  poei_free(s->inside);
  poei_free(s->index);
  poei_free(s->position);
}

static poe_status out_of_memory(poe_error *error) {
  return poe_error_set(error, POE_E_MEMORY, "out of memory");
}

/* Is a factor one Gaussian, bounded nowhere? */
static poe_status is_gaussian(const poei_part *part, unsigned char *is, poe_error *error) {
  const poe_traits *traits = poe_expert_traits(part->expert);
  bool open = poei_expert_can(part->expert, POE_CAN_FORM) && part->n <= MOST_DIM && traits->offset_error == 0.0;
  poe_form form = {0};
  *is = 0;
  for (size_t j = 0; j < part->n && open; j++) {
    const poe_support *own = &traits->support[j];
    open = own->kind == POE_CONTINUOUS && own->low == -INFINITY && own->high == INFINITY;
  }
  poe_status status = open ? poe_expert_form(part->expert, &form, error) : POE_OK;
  *is = open && status == POE_OK && form.kind == POE_FORM_GAUSSIANS && form.components == 1;
  poe_form_release(&form);
  return status == POE_E_MEMORY ? status : POE_OK;
}

/* Marks factors and coordinates. A Gaussian factor that reads only what others do is one of the others. */
static poe_status sort_factors(split *s, poe_error *error) {
  poe_status status = POE_OK;
  for (size_t i = 0; i < s->parts.n && status == POE_OK; i++) {
    const poei_part *part = &s->parts.item[i];
    status = is_gaussian(part, &s->gaussian[i], error);
    for (size_t j = 0; j < part->n; j++) {
      s->touched[part->index[j]] |= !s->gaussian[i];
    }
  }
  for (size_t i = 0; i < s->parts.n && status == POE_OK; i++) {
    const poei_part *part = &s->parts.item[i];
    bool alone = false;
    for (size_t j = 0; j < part->n; j++) {
      alone = alone || !s->touched[part->index[j]];
    }
    s->gaussian[i] = s->gaussian[i] && alone;
    for (size_t j = 0; j < part->n; j++) {
      s->inside[part->index[j]] |= s->gaussian[i];
    }
  }
  for (size_t c = 0; c < s->parts.dim; c++) {
    if (s->inside[c]) {
      s->position[c] = s->n;
      s->index[s->n++] = c;
    }
  }
  return status;
}

/* The Gaussian factors multiplied. */
static poe_status multiply(split *s, poe_error *error) {
  poei_scoped_form *scoped = poei_calloc(s->parts.n, sizeof *scoped);
  size_t total = 0, used = 0, n = 0;
  for (size_t i = 0; i < s->parts.n; i++) {
    total += s->gaussian[i] ? s->parts.item[i].n : 0;
  }
  size_t *at = poei_alloc(total, sizeof *at);
  poe_status status = scoped == NULL || at == NULL ? out_of_memory(error) : POE_OK;
  for (size_t i = 0; i < s->parts.n && status == POE_OK; i++) {
    const poei_part *part = &s->parts.item[i];
    if (s->gaussian[i]) {
      status = poe_expert_form(part->expert, &scoped[n].form, error);
      scoped[n].exponent = part->exponent;
      scoped[n++].index = at + used;
      for (size_t j = 0; j < part->n; j++) {
        at[used++] = s->position[part->index[j]];
      }
    }
  }
  if (status == POE_OK) {
    status = poei_gaussians_product(s->n, n, scoped, 1, &s->form, error);
  }
  for (size_t i = 0; i < n; i++) {
    poe_form_release(&scoped[i].form);
  }
  poei_free(scoped);
  poei_free(at);
  return status;
}

/* Where r (n_read) and a (m) are among index, and rows P_aa^-1 (P_ar, h_a), [n_read + 1, m]. */
typedef struct schur {
  size_t r, m;
  size_t *own, *alone; /* [r], [n] */
  double *solved;
} schur;

static void schur_free(schur *c) {
  poei_free(c->own);
  poei_free(c->alone);
  poei_free(c->solved);
}

/* POE_E_CAPABILITY when P_aa is not positive definite. */
static poe_status solve_alone(const split *s, schur *c, poe_error *error) {
  const poe_form *q = &s->form;
  size_t n = s->n, m = c->m;
  double *factor = poei_alloc(m, m * sizeof *factor);
  c->solved = poei_alloc(c->r + 1, m * sizeof *c->solved);
  poe_status status = factor == NULL || c->solved == NULL ? out_of_memory(error) : POE_OK;
  for (size_t i = 0; i < m && status == POE_OK; i++) {
    for (size_t j = 0; j < m; j++) {
      factor[i * m + j] = q->precision[c->alone[i] * n + c->alone[j]];
    }
    for (size_t t = 0; t < c->r; t++) {
      c->solved[t * m + i] = q->precision[c->alone[i] * n + c->own[t]];
    }
    c->solved[c->r * m + i] = q->linear[c->alone[i]];
  }
  if (status == POE_OK && poei_cholesky(m, factor, factor) != 0) {
    status = poe_error_set(error, POE_E_CAPABILITY, "not proper given what the others read");
  }
  if (status == POE_OK) {
    poei_solve_lower(m, factor, c->r + 1, c->solved, m);
    poei_solve_lower_transposed(m, factor, c->r + 1, c->solved, m);
  }
  poei_free(factor);
  return status;
}

/* sum_i P[own_t, alone_i] solved[row, i]. */
static double pulled(const split *s, const schur *c, size_t t, size_t row) {
  double sum = 0.0;
  for (size_t i = 0; i < c->m; i++) {
    sum += s->form.precision[c->own[t] * s->n + c->alone[i]] * c->solved[row * c->m + i];
  }
  return sum;
}

/* gain[n, n_read] = -P_aa^-1 P_ar in the rows of a, 0 in those of r. */
static void set_gain(const split *s, const schur *c, double *gain) {
  memset(gain, 0, s->n * c->r * sizeof *gain);
  for (size_t i = 0; i < c->m; i++) {
    for (size_t t = 0; t < c->r; t++) {
      gain[c->alone[i] * c->r + t] = -c->solved[t * c->m + i];
    }
  }
}

/* The Gaussian with the same a | r, and r ~ N(origin, 1): its Schur complement is 1, the slope of that 0. */
static poe_status make_surrogate(const split *s, const schur *c, poe_expert **surrogate, poe_error *error) {
  poe_form made = {0};
  size_t n = s->n;
  poe_status status = poei_form_copy(&s->form, &made, error);
  for (size_t t = 0; t < c->r && status == POE_OK; t++) {
    made.linear[c->own[t]] = pulled(s, c, t, c->r);
    for (size_t k = 0; k <= t; k++) {
      double p = (t == k ? 1.0 : 0.0) + pulled(s, c, t, k);
      made.precision[c->own[t] * n + c->own[k]] = made.precision[c->own[k] * n + c->own[t]] = p;
    }
  }
  if (status == POE_OK) {
    made.constant[0] = 0.0;
    status = poei_closed_create(&made, surrogate, error);
  }
  poe_form_release(&made);
  return status;
}

/* What is left over r once a is integrated out. Where that is as flat as rounding can tell, it is flat: a width of 1e8
 * that nobody meant would cost the digits. */
static poe_status integrate(const split *s, size_t r, const size_t *own, poe_expert **marginal, poe_error *error) {
  poe_form form = {0};
  poe_status status = poei_gaussians_marginal(&s->form, r, own, &form, error);
  for (size_t i = 0; i < r && status == POE_OK; i++) {
    for (size_t j = 0; j < r; j++) {
      const double *p = s->form.precision;
      double size = sqrt(fabs(p[own[i] * (s->n + 1)])) * sqrt(fabs(p[own[j] * (s->n + 1)]));
      form.precision[i * r + j] *= fabs(form.precision[i * r + j]) > rounding * (double)s->n * size;
    }
  }
  if (status == POE_OK) {
    status = poei_formula_of_form(&form, marginal, error);
  }
  poe_form_release(&form);
  return status == POE_E_IMPROPER ? poe_error_set(error, POE_E_CAPABILITY, "not proper") : status;
}

/* Lists coordinates: place[dim] as in rest_parts.h, those of c. */
static poe_status list_coordinates(const split *s, schur *c, size_t *place, poei_rest *found, poe_error *error) {
  c->r = found->n_read;
  c->own = poei_alloc(c->r, sizeof *c->own);
  c->alone = poei_alloc(s->n, sizeof *c->alone);
  if (place == NULL || c->own == NULL || c->alone == NULL) {
    return out_of_memory(error);
  }
  for (size_t j = 0; j < s->n; j++) {
    if (!s->touched[s->index[j]]) {
      c->alone[c->m++] = j;
    }
  }
  return poei_rest_list(s->parts.dim, s->n, s->index, s->touched, place, c->own, found, error);
}

static poe_status take_apart(const split *s, poei_rest *found, poe_error *error) {
  size_t *place = poei_alloc(s->parts.dim, sizeof *place);
  schur c = {0};
  poe_expert *surrogate = NULL, *marginal = NULL;
  double log_z = 0.0;
  poe_status status = list_coordinates(s, &c, place, found, error);
  if (status == POE_OK) {
    found->gain = poei_alloc(s->n * c.r, sizeof *found->gain);
    status = found->gain == NULL ? out_of_memory(error) : solve_alone(s, &c, error);
  }
  if (status == POE_OK) {
    set_gain(s, &c, found->gain);
    status = make_surrogate(s, &c, &surrogate, error);
  }
  if (status == POE_OK) {
    status = integrate(s, c.r, c.own, &marginal, error);
  }
  if (status == POE_OK) {
    status = poei_rest_close(&s->parts, s->gaussian, marginal, place, found, error);
  }
  if (status == POE_OK) {
    status = poe_expert_log_z(surrogate, &log_z, error);
  }
  if (status == POE_OK) {
    status = poei_normalise_create(surrogate, log_z, 0.0, &found->gaussian, error);
  }
  poe_expert_release(surrogate);
  poe_expert_release(marginal);
  schur_free(&c);
  poei_free(place);
  return status;
}

poe_status poei_rest_conditional(const poe_expert *target, poei_rest *found, poe_error *error) {
  split s = {0};
  bool is;
  *found = (poei_rest){0};
  poe_status status = poei_rest_open(target, &s.parts, &is, error);
  if (status == POE_OK && is) {
    s.gaussian = poei_calloc(s.parts.n, 1);
    s.touched = poei_calloc(s.parts.dim, 1);
    s.inside = poei_calloc(s.parts.dim, 1);
    s.index = poei_alloc(s.parts.dim, sizeof *s.index);
    s.position = poei_alloc(s.parts.dim, sizeof *s.position);
    bool have = s.gaussian != NULL && s.touched != NULL && s.inside != NULL && s.index != NULL && s.position != NULL;
    status = have ? sort_factors(&s, error) : out_of_memory(error);
  }
  for (size_t j = 0; j < s.n; j++) {
    found->n_read += s.touched[s.index[j]];
  }
  if (status == POE_OK && found->n_read > 0 && found->n_read < s.n && s.n <= MOST_DIM) {
    status = multiply(&s, error);
    if (status == POE_OK) {
      status = take_apart(&s, found, error);
    }
  }
  split_free(&s);
  if (status != POE_OK || found->gaussian == NULL) {
    poei_rest_free(found);
  }
  return status == POE_E_CAPABILITY || status == POE_E_IMPROPER ? POE_OK : status;
}
