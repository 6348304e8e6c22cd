/* Checks of the closed form: it is the same density, written down; and an expert made of it is the same expert. */
#include <stdlib.h>
#include <string.h>

#include "core/numerics.h"
#include "experts/closed.h"
#include "tests/conformance/conformance.h"

static bool has(const poe_expert *expert, unsigned bits) {
  return (poe_expert_traits(expert)->capabilities & bits) == bits;
}

/* The definition in poe/expert.h, term by term. */
static double form_value(const poe_form *form, const double *x) {
  size_t d = form->dim;
  if (form->kind == POE_FORM_TABLE) {
    size_t index = 0;
    for (size_t j = 0; j < d; j++) {
      index = index * form->cardinality[j] + (size_t)(x[j] - form->low[j]);
    }
    return form->log_value[index];
  }
  double *each = poet_doubles(form->components);
  for (size_t c = 0; c < form->components; c++) {
    const double *o = form->origin + c * d;
    each[c] = form->constant[c];
    for (size_t i = 0; i < d; i++) {
      double row = 0.0;
      for (size_t j = 0; j < d; j++) {
        row += form->precision[(c * d + i) * d + j] * (x[j] - o[j]);
        if (form->precision[(c * d + i) * d + j] != form->precision[(c * d + j) * d + i]) {
          each[c] = NAN; /* not symmetric */
        }
      }
      each[c] += form->linear[c * d + i] * (x[i] - o[i]) - (x[i] - o[i]) * row / 2.0;
    }
  }
  double value = poei_log_sum_exp(each, form->components, 1);
  free(each);
  return value;
}

/* What rounding alone costs: in information form the constant of a density far from 0 is large and cancels. */
static double form_tolerance(const poe_form *form) {
  double largest = 0.0;
  for (size_t c = 0; form->kind == POE_FORM_GAUSSIANS && c < form->components; c++) {
    largest = fmax(largest, fabs(form->constant[c]));
  }
  return 1e-10 + 16.0 * 2.2e-16 * largest;
}

static void form_closed(const poe_expert *expert, const poe_form *form, size_t n, const double *x, const double *logp,
                        poet_report *report) {
  poe_expert *closed = NULL;
  poe_error error = {0};
  poe_status status = poei_closed_create(form, &closed, &error);
  if (status == POE_E_IMPROPER && !has(expert, POE_CAN_LOG_Z)) {
    return; /* such as a conditional density */
  }
  if (status != POE_OK) {
    poet_fail(report, "no expert can be made of its form: %s", error.message);
    return;
  }
  double *again = poet_doubles(n), log_z = 0.0, closed_z = 0.0;
  poet_eval(closed, n, form->dim, x, again, NULL);
  for (size_t i = 0; i < n; i++) {
    poet_close(report, again[i], logp[i], form_tolerance(form), "log p of the closed expert", i, 0);
  }
  if (has(expert, POE_CAN_LOG_Z) && poe_expert_log_z(expert, &log_z, &error) == POE_OK &&
      poe_expert_log_z(closed, &closed_z, &error) == POE_OK) {
    poet_close(report, closed_z, log_z, form_tolerance(form), "log Z of the closed expert", 0, 0);
  }
  free(again);
  poe_expert_release(closed);
}

void poet_check_form(const poet_case *c, const poe_expert *expert, poet_report *report) {
  enum { N = 40 };
  size_t d = poe_expert_traits(expert)->dim;
  poe_form form = {0};
  poe_error error = {0};
  if (!has(expert, POE_CAN_FORM)) {
    return;
  }
  poe_status status = poe_expert_form(expert, &form, &error);
  if (status != POE_OK || form.dim != d) {
    poet_fail(report, "the form failed: %s", error.message);
    poe_form_release(&form);
    return;
  }
  double *x = poet_points(c, expert, N), *logp = poet_doubles(N), log_z = 0.0, form_z = 0.0;
  poet_eval(expert, N, d, x, logp, NULL);
  for (size_t i = 0; i < N; i++) {
    poet_close(report, form_value(&form, x + i * d), logp[i], form_tolerance(&form), "log p of the form", i, 0);
  }
  if (has(expert, POE_CAN_LOG_Z) && poe_expert_log_z(expert, &log_z, &error) == POE_OK) {
    if (poei_form_log_z(&form, &form_z, &error) != POE_OK) {
      poet_fail(report, "the form has no log Z: %s", error.message);
    }
    poet_close(report, form_z, log_z, form_tolerance(&form), "log Z of the form", 0, 0);
  }
  form_closed(expert, &form, N, x, logp, report);
  free(x);
  free(logp);
  poe_form_release(&form);
}
