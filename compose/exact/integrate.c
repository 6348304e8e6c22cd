/* log Z of one- and two-dimensional targets by adaptive quadrature over their support box (core/quadrature.h).
 *
 * Where the target has Gaussian factors, their bulk tells the quadrature where to look. A density that is +inf at a
 * point of a quotient is a divisor vanishing alone: improper.
 */
#include <math.h>

#include "compose/exact/numeric.h"
#include "compose/exact/tree.h"
#include "core/alloc.h"
#include "core/linalg.h"
#include "core/quadrature.h"

typedef struct integrand {
  poei_evaluator evaluator;
  bool infinite;
  double at[2];
} integrand;

static poe_status evaluate(void *context, size_t n, size_t d, const double *x, double *log_value, poe_error *error) {
  integrand *f = context;
  poe_status status = poei_evaluator_run(&f->evaluator, n, x, log_value, error);
  for (size_t i = 0; i < n && status == POE_OK && !f->infinite; i++) {
    if (log_value[i] == INFINITY) {
      f->infinite = true;
      for (size_t j = 0; j < d; j++) {
        f->at[j] = x[i * d + j];
      }
    }
  }
  return status;
}

/* Mean and standard deviation of the first component of a one-Gaussian form of dimension <= 2. */
static bool form_bulk(const poe_form *form, double *mean, double *sd) {
  if (form->kind != POE_FORM_GAUSSIANS || form->components != 1 || form->dim > 2) {
    return false;
  }
  double factor[4], cov[4];
  if (poei_cholesky(form->dim, form->precision, factor) != 0) {
    return false;
  }
  poei_cholesky_inverse(form->dim, factor, cov);
  for (size_t i = 0; i < form->dim; i++) {
    mean[i] = form->origin[i];
    for (size_t j = 0; j < form->dim; j++) {
      mean[i] += cov[i * form->dim + j] * form->linear[j];
    }
    sd[i] = sqrt(cov[i * form->dim + i]);
  }
  return true;
}

bool poei_scale_hint(const poe_expert *target, double *hint) {
  poei_parts parts;
  poe_error ignored;
  size_t dim = poe_expert_traits(target)->dim, found = 0;
  if (dim > 2 || poei_parts_open(target, POEI_OPEN_ALL, &parts, NULL, &ignored) != POE_OK) {
    return false;
  }
  bool have[2] = {false, false};
  for (size_t i = 0; i < parts.n; i++) {
    const poei_part *part = &parts.item[i];
    poe_form form = {0};
    double mean[2], sd[2];
    if (part->exponent <= 0.0 || !poei_expert_can(part->expert, POE_CAN_FORM) ||
        poe_expert_form(part->expert, &form, &ignored) != POE_OK) {
      continue;
    }
    for (size_t j = 0; form_bulk(&form, mean, sd) && j < part->n; j++) {
      size_t c = part->index[j];
      double scale = 2.0 * sd[j] / sqrt(part->exponent);
      if (!have[c] || scale < hint[2 * c + 1]) { /* the narrowest says most */
        found += !have[c];
        have[c] = true;
        hint[2 * c] = mean[j];
        hint[2 * c + 1] = scale;
      }
    }
    poe_form_release(&form);
  }
  poei_parts_free(&parts);
  return found == dim;
}

poe_status poei_integrate(const poe_expert *target, double tolerance, double *log_z, double *bound, bool *converged,
                          poe_error *error) {
  const poe_traits *traits = poe_expert_traits(target);
  double low[2], high[2], hint[4];
  for (size_t j = 0; j < traits->dim; j++) {
    low[j] = traits->support[j].low;
    high[j] = traits->support[j].high;
  }
  integrand f = {.infinite = false};
  poe_status status = poei_evaluator_open(target, &f.evaluator, error);
  if (status != POE_OK) {
    return status;
  }
  poei_quadrature_result result = {0};
  bool hinted = poei_scale_hint(target, hint);
  status = poei_quadrature(evaluate, &f, traits->dim, low, high, hinted ? hint : NULL, tolerance, &result, error);
  poei_evaluator_close(&f.evaluator);
  if (f.infinite && poei_node_diverges(target)) {
    poe_error_set(error, POE_E_IMPROPER, "a divisor is 0 where the rest is not, at (%g%s%g)", f.at[0],
                  traits->dim == 2 ? ", " : ") = (", f.at[traits->dim - 1]);
    poe_error_hint(error, "restrict the numerator to where the divisor is positive");
    return POE_E_IMPROPER;
  }
  if (status != POE_OK) {
    return status;
  }
  if (result.log_integral == -INFINITY) {
    return poe_error_set(error, POE_E_EMPTY, "the density is 0 everywhere quadrature looked");
  }
  *log_z = result.log_integral;
  *bound = result.error_bound;
  *converged = result.converged && isfinite(result.log_integral);
  return POE_OK;
}
