/* Gaussian mixtures in information form, log sum_k exp(c_k + l_k' u - u' P_k u / 2) with u = x - o_k, closed under
 * products, powers, quotients, conditioning and marginalising.
 *
 *   origin o + s c' = c + l' s - s' P s / 2,  l' = l - P s,  P' = P
 *   product      c, l, P around one origin add (Hinton 2002); a mixture distributes: one component per combination
 *   given o_v + v  c' = c + l_v' v - v' P_vv v / 2,  l' = l_f - P_fv v,  P' = P_ff
 *   marginal     c' = c + l_r' P_rr^-1 l_r / 2 + r/2 log 2 pi - log det P_rr / 2,
 *                l' = l_k - P_kr P_rr^-1 l_r,  P' = P_kk - P_kr P_rr^-1 P_rk          (completing the square)
 *
 * The origin of a product lies between those of its factors, weighted by their precisions: what is squared is then the
 * distance of the factors, not their distance from 0, and a narrow factor is not moved by a wide one.
 * Components may be improper (P not positive definite): that is for whoever integrates to find out.
 */
#include "compose/exact/gaussian.h"

#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/linalg.h"
#include "core/numerics.h"
#include "experts/closed.h"

enum { MAX_POWER = 16 };                    /* of a mixture                         */
static const size_t max_numbers = 1u << 25; /* doubles in the precisions of one form */

/* ---- products ---- */

/* How often a factor's components are multiplied in: once for a Gaussian, whatever its exponent; as often as the
 * exponent says for a mixture. 0: no such power. */
static size_t repeats(const poei_scoped_form *factor) {
  double t = factor->exponent;
  if (factor->form.components == 1) {
    return 1;
  }
  return t >= 1.0 && t <= MAX_POWER && t == floor(t) ? (size_t)t : 0;
}

/* Number of components of the product, within the limits. */
static poe_status count_components(size_t dim, size_t n, const poei_scoped_form *factors, size_t limit, size_t *count,
                                   poe_error *error) {
  *count = 1;
  for (size_t i = 0; i < n; i++) {
    size_t times = repeats(&factors[i]);
    if (times == 0) {
      return poe_error_set(error, POE_E_CAPABILITY, "a mixture to the power %g is not a mixture of Gaussians",
                           factors[i].exponent);
    }
    for (size_t r = 0; r < times; r++) {
      if (!poei_mul_size(*count, factors[i].form.components, count) || *count > limit) {
        return poe_error_set(error, POE_E_CAPABILITY, "the product of mixtures has more than %zu components", limit);
      }
    }
  }
  size_t numbers;
  if (!poei_mul_size(dim, dim, &numbers) || !poei_mul_size(numbers, *count, &numbers) || numbers > max_numbers) {
    return poe_error_set(error, POE_E_CAPABILITY, "%zu Gaussians in %zu dimensions are too large to multiply out",
                         *count, dim);
  }
  return POE_OK;
}

/* Where the product of two factors lies in one coordinate, from their origins a, b and precisions p, q. */
static double between(double a, double p, double b, double q) {
  if (p > 0.0 && q > 0.0) {
    return a + (b - a) * (q / (p + q));
  }
  return fabs(q) > fabs(p) ? b : a;
}

/* Moves the origin of component a in one coordinate. */
static void move_origin(poe_form *form, size_t a, size_t coordinate, double to) {
  size_t dim = form->dim;
  double *linear = &form->linear[a * dim], *precision = &form->precision[a * dim * dim];
  double shift = to - form->origin[a * dim + coordinate];
  form->origin[a * dim + coordinate] = to;
  if (shift == 0.0) {
    return;
  }
  form->constant[a] += shift * (linear[coordinate] - 0.5 * shift * precision[coordinate * dim + coordinate]);
  for (size_t i = 0; i < dim; i++) {
    linear[i] -= precision[i * dim + coordinate] * shift;
  }
}

/* Adds t times component b of a scoped form to component a of form. */
static void add_component(poe_form *form, size_t a, const poei_scoped_form *factor, size_t b, double t) {
  size_t dim = form->dim, own = factor->form.dim;
  double *origin = &form->origin[a * dim], *linear = &form->linear[a * dim],
         *precision = &form->precision[a * dim * dim];
  const double *from_origin = &factor->form.origin[b * own], *from_linear = &factor->form.linear[b * own];
  const double *from = &factor->form.precision[b * own * own];
  for (size_t i = 0; i < own; i++) {
    size_t row = factor->index == NULL ? i : factor->index[i];
    double p = precision[row * dim + row], q = t * from[i * own + i];
    move_origin(form, a, row, between(origin[row], p, from_origin[i], q));
  }
  form->constant[a] += t * factor->form.constant[b];
  for (size_t i = 0; i < own; i++) {
    size_t row = factor->index == NULL ? i : factor->index[i];
    double pull = 0.0; /* row i of P s, s the way from the factor's origin to the product's */
    for (size_t j = 0; j < own; j++) {
      size_t column = factor->index == NULL ? j : factor->index[j];
      pull += from[i * own + j] * (origin[column] - from_origin[j]);
      precision[row * dim + column] += t * from[i * own + j];
    }
    form->constant[a] += t * (from_linear[i] - 0.5 * pull) * (origin[row] - from_origin[i]);
    linear[row] += t * (from_linear[i] - pull);
  }
}

/* form <- form times a mixture: component (a, b) is the product of a and b. */
static poe_status distribute(poe_form *form, const poei_scoped_form *factor, poe_error *error) {
  size_t k = form->components, m = factor->form.components, dim = form->dim;
  poe_form wide = {0};
  poe_status status = poei_form_gaussians(&wide, k * m, dim, error);
  if (status != POE_OK) {
    return status;
  }
  for (size_t a = 0; a < k; a++) {
    for (size_t b = 0; b < m; b++) {
      size_t c = a * m + b;
      wide.constant[c] = form->constant[a];
      memcpy(&wide.origin[c * dim], &form->origin[a * dim], dim * sizeof(double));
      memcpy(&wide.linear[c * dim], &form->linear[a * dim], dim * sizeof(double));
      memcpy(&wide.precision[c * dim * dim], &form->precision[a * dim * dim], dim * dim * sizeof(double));
      add_component(&wide, c, factor, b, 1.0);
    }
  }
  poe_form_release(form);
  *form = wide;
  return POE_OK;
}

poe_status poei_gaussians_product(size_t dim, size_t n, const poei_scoped_form *factors, size_t limit, poe_form *out,
                                  poe_error *error) {
  size_t count;
  poe_status status = count_components(dim, n, factors, limit, &count, error);
  if (status != POE_OK) {
    return status;
  }
  poe_form form = {0};
  status = poei_form_gaussians(&form, 1, dim, error);
  if (status != POE_OK) {
    return status;
  }
  for (size_t i = 0; i < n; i++) { /* single Gaussians first: they are added once, not once per component */
    if (factors[i].form.components == 1) {
      add_component(&form, 0, &factors[i], 0, factors[i].exponent);
    }
  }
  for (size_t i = 0; i < n && status == POE_OK; i++) {
    for (size_t r = 0; factors[i].form.components > 1 && r < repeats(&factors[i]) && status == POE_OK; r++) {
      status = distribute(&form, &factors[i], error);
    }
  }
  if (status != POE_OK) {
    poe_form_release(&form);
    return status;
  }
  *out = form;
  return POE_OK;
}

/* ---- mixtures ---- */

poe_status poei_gaussians_mixture(size_t n, const poe_form *forms, const double *log_weight, size_t limit,
                                  poe_form *out, poe_error *error) {
  size_t count = 0, dim = forms[0].dim, numbers;
  for (size_t i = 0; i < n; i++) {
    count += forms[i].components;
  }
  if (count > limit || !poei_mul_size(dim * dim, count, &numbers) || numbers > max_numbers) {
    return poe_error_set(error, POE_E_CAPABILITY, "a mixture of %zu Gaussians in %zu dimensions is too large", count,
                         dim);
  }
  poe_form form = {0};
  poe_status status = poei_form_gaussians(&form, count, dim, error);
  if (status != POE_OK) {
    return status;
  }
  for (size_t i = 0, at = 0; i < n; at += forms[i++].components) {
    size_t k = forms[i].components;
    for (size_t a = 0; a < k; a++) {
      form.constant[at + a] = forms[i].constant[a] + log_weight[i];
    }
    memcpy(&form.origin[at * dim], forms[i].origin, k * dim * sizeof(double));
    memcpy(&form.linear[at * dim], forms[i].linear, k * dim * sizeof(double));
    memcpy(&form.precision[at * dim * dim], forms[i].precision, k * dim * dim * sizeof(double));
  }
  *out = form;
  return POE_OK;
}

/* ---- conditioning ---- */

/* rest[dim - n]: the coordinates that are not in index[n], ascending. NULL when out of memory. */
static size_t *complement(size_t dim, size_t n, const size_t *index) {
  size_t *rest = poei_alloc(dim - n, sizeof *rest);
  for (size_t c = 0, j = 0; rest != NULL && c < dim; c++) {
    bool named = false;
    for (size_t k = 0; k < n && !named; k++) {
      named = index[k] == c;
    }
    if (!named) {
      rest[j++] = c;
    }
  }
  return rest;
}

poe_status poei_gaussians_given(const poe_form *form, size_t n, const size_t *index, const double *value, poe_form *out,
                                poe_error *error) {
  size_t dim = form->dim, left = dim - n;
  size_t *rest = complement(dim, n, index);
  poe_form made = {0};
  poe_status status = rest == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                                   : poei_form_gaussians(&made, form->components, left, error);
  for (size_t k = 0; k < form->components && status == POE_OK; k++) {
    const double *o = &form->origin[k * dim], *l = &form->linear[k * dim], *p = &form->precision[k * dim * dim];
    double constant = form->constant[k];
    for (size_t a = 0; a < n; a++) {
      double pull = l[index[a]];
      for (size_t b = 0; b < n; b++) {
        pull -= 0.5 * p[index[a] * dim + index[b]] * (value[b] - o[index[b]]);
      }
      constant += pull * (value[a] - o[index[a]]);
    }
    made.constant[k] = constant;
    for (size_t i = 0; i < left; i++) {
      double linear = l[rest[i]];
      for (size_t a = 0; a < n; a++) {
        linear -= p[rest[i] * dim + index[a]] * (value[a] - o[index[a]]);
      }
      made.origin[k * left + i] = o[rest[i]];
      made.linear[k * left + i] = linear;
      for (size_t j = 0; j < left; j++) {
        made.precision[(k * left + i) * left + j] = p[rest[i] * dim + rest[j]];
      }
    }
  }
  poei_free(rest);
  if (status == POE_OK) {
    *out = made;
  }
  return status;
}

/* ---- marginals ---- */

/* One component of a marginal: r coordinates `rest` integrated out of dim, n kept. work: [r, r], [n + 1, r]. */
static bool marginalise(const poe_form *form, size_t k, size_t n, const size_t *keep, size_t r, const size_t *rest,
                        double *factor, double *solved, poe_form *made) {
  size_t dim = form->dim;
  const double *l = &form->linear[k * dim], *p = &form->precision[k * dim * dim];
  for (size_t i = 0; i < r; i++) {
    for (size_t j = 0; j < r; j++) {
      factor[i * r + j] = p[rest[i] * dim + rest[j]];
    }
    for (size_t a = 0; a < n; a++) {
      solved[a * r + i] = p[keep[a] * dim + rest[i]];
    }
    solved[n * r + i] = l[rest[i]];
  }
  if (poei_cholesky(r, factor, factor) != 0) {
    return false;
  }
  poei_solve_lower(r, factor, n + 1, solved, r); /* rows L^-1 P_rk and L^-1 l_r: inner products are the quadratics */
  const double *own = &solved[n * r];
  made->constant[k] = form->constant[k] + 0.5 * poei_ddot(r, own, own) + 0.5 * (double)r * POEI_LOG_2PI -
                      poei_cholesky_half_log_det(r, factor);
  for (size_t a = 0; a < n; a++) {
    made->origin[k * n + a] = form->origin[k * dim + keep[a]];
    made->linear[k * n + a] = l[keep[a]] - poei_ddot(r, &solved[a * r], own);
    for (size_t b = 0; b < n; b++) {
      made->precision[(k * n + a) * n + b] = p[keep[a] * dim + keep[b]] - poei_ddot(r, &solved[a * r], &solved[b * r]);
    }
  }
  return true;
}

poe_status poei_gaussians_marginal(const poe_form *form, size_t n, const size_t *keep, poe_form *out,
                                   poe_error *error) {
  size_t r = form->dim - n;
  size_t *rest = complement(form->dim, n, keep);
  double *factor = poei_alloc(r * r, sizeof *factor), *solved = poei_alloc((n + 1) * r, sizeof *solved);
  poe_form made = {0};
  poe_status status = rest == NULL || factor == NULL || solved == NULL
                          ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                          : poei_form_gaussians(&made, form->components, n, error);
  for (size_t k = 0; k < form->components && status == POE_OK; k++) {
    if (!marginalise(form, k, n, keep, r, rest, factor, solved, &made)) {
      status = poe_error_set(error, POE_E_IMPROPER, "component %zu has no marginal: its integral diverges", k);
    }
  }
  poei_free(rest);
  poei_free(factor);
  poei_free(solved);
  if (status != POE_OK) {
    poe_form_release(&made);
    return status;
  }
  *out = made;
  return POE_OK;
}
