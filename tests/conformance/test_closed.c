/* Closed forms: an expert made of one conforms, and what cannot be normalised is refused with its direction. */
#include <stdint.h>
#include <string.h>

#include "experts/closed.h"
#include "tests/conformance/conformance.h"
#include "tests/conformance/reference.h"
#include "tests/support/check.h"

static poe_error error;

/* Two Gaussians with weights 2 and exp(-1), as N = exp(constant + linear.x - x'Px/2). */
static const double closed_means[4] = {1.0, -1.0, -2.0, 0.5}, closed_logs[2] = {0.69314718055994531, -1.0};
static const double closed_covs[8] = {1.0, 0.4, 0.4, 0.6, 0.5, -0.2, -0.2, 1.5};

static poe_status closed_two(poe_expert **expert, poe_error *e) {
  poe_form form = {0};
  poe_status status = poei_form_gaussians(&form, 2, 2, e);
  for (size_t c = 0; status == POE_OK && c < 2; c++) {
    const double *mean = closed_means + 2 * c, *cov = closed_covs + 4 * c;
    double *precision = form.precision + 4 * c, *linear = form.linear + 2 * c;
    reference_inverse(2, cov, precision);
    linear[0] = precision[0] * mean[0] + precision[1] * mean[1];
    linear[1] = precision[2] * mean[0] + precision[3] * mean[1];
    form.constant[c] =
        closed_logs[c] + reference_gaussian(2, mean, mean, cov) - 0.5 * (linear[0] * mean[0] + linear[1] * mean[1]);
  }
  if (status == POE_OK) {
    status = poei_closed_create(&form, expert, e);
  }
  poe_form_release(&form);
  return status;
}

static double closed_two_value(const double *x) {
  double p = 0.0;
  for (size_t c = 0; c < 2; c++) {
    p += exp(closed_logs[c] + reference_gaussian(2, x, closed_means + 2 * c, closed_covs + 4 * c));
  }
  return log(p);
}

/* exp(-x^2 / 2 + 3 x) (y - independent), unnormalised: log Z = 9/2 + log(2 pi) + log(1/2). */
static poe_status closed_diagonal(poe_expert **expert, poe_error *e) {
  poe_form form = {0};
  poe_status status = poei_form_gaussians(&form, 1, 2, e);
  if (status == POE_OK) {
    form.linear[0] = 3.0;
    form.precision[0] = 1.0;
    form.precision[3] = 4.0;
    status = poei_closed_create(&form, expert, e);
  }
  poe_form_release(&form);
  return status;
}

static double closed_diagonal_value(const double *x) {
  return 3.0 * x[0] - 0.5 * x[0] * x[0] - 2.0 * x[1] * x[1];
}

static size_t table_cardinality[2] = {2, 3};
static double table_low[2] = {0.0, 1.0}, table_values[6] = {0.0, -1.0, 2.0, -INFINITY, 0.5, -3.0};
static const poe_form table_form = {
    .kind = POE_FORM_TABLE, .dim = 2, .cardinality = table_cardinality, .low = table_low, .log_value = table_values};

static poe_status closed_table(poe_expert **expert, poe_error *e) {
  return poei_closed_create(&table_form, expert, e);
}

static double closed_table_value(const double *x) {
  return table_values[3 * (size_t)x[0] + (size_t)(x[1] - 1.0)];
}

static const poet_case closed_cases[] = {
    {.name = "closed form of two Gaussians",
     .build = closed_two,
     .points = poet_points_normal,
     .log_density = closed_two_value,
     .tolerance = 1e-11,
     .sample = POET_SAMPLE_BOX,
     .box = {-6.0, 6.0, -6.0, 6.0}},
    {.name = "closed form of a diagonal Gaussian",
     .build = closed_diagonal,
     .points = poet_points_normal,
     .log_density = closed_diagonal_value,
     .sample = POET_SAMPLE_STEIN,
     .box = {-3.0, 9.0, -3.0, 3.0},
     .expected_log_z = 4.5 + 1.8378770664093454836 - 0.69314718055994531,
     .knows_log_z = true},
    {.name = "closed form of a table",
     .build = closed_table,
     .log_density = closed_table_value,
     .sample = POET_SAMPLE_STATES,
     .needs_no_interior = true},
};
static POET_ENTRY(closed, closed_cases);

static void closed_conforms(void **state) {
  (void)state;
  poet_run_entry(&poet_conformance_closed);
}

static void weights_add_up(void **state) {
  (void)state;
  poe_expert *expert = NULL;
  double log_z = 0.0;
  check_ok(closed_two(&expert, &error), error);
  check_ok(poe_expert_log_z(expert, &log_z, &error), error);
  check_close(log_z, log(2.0 + exp(-1.0)), 1e-13, 0.0);
  poe_expert_release(expert);
}

/* Refusals of a form with that precision; the direction is part of the message. */
static void improper(size_t d, const double *precision, const char *direction) {
  poe_form form = {0};
  poe_expert *expert = NULL;
  double log_z = 0.0;
  check_ok(poei_form_gaussians(&form, 2, d, &error), error);
  for (size_t i = 0; i < d; i++) {
    form.precision[i * d + i] = 1.0;
  }
  memcpy(form.precision + d * d, precision, d * d * sizeof *precision);
  check_fails(poei_closed_create(&form, &expert, &error), POE_E_IMPROPER, error, direction);
  assert_non_null(strstr(error.message, "component 2 of 2"));
  assert_null(expert);
  check_fails(poei_form_log_z(&form, &log_z, &error), POE_E_IMPROPER, error, direction);
  form.constant[1] = -INFINITY; /* with weight 0 it does not matter */
  check_ok(poei_form_log_z(&form, &log_z, &error), error);
  check_close(log_z, (double)d * 0.5 * log(2.0 * acos(-1.0)), 1e-13, 0.0);
  check_ok(poei_closed_create(&form, &expert, &error), error);
  poe_expert_release(expert);
  poe_form_release(&form);
}

static void improper_is_refused(void **state) {
  (void)state;
  static const double flat[4] = {1.0, 0.0, 0.0, 0.0}, negative[4] = {1.0, 0.0, 0.0, -0.75};
  static const double ridge[4] = {1.0, -1.0, -1.0, 1.0}, tiny_ridge[4] = {1e-12, -1e-3, -1e-3, 1e6};
  static const double saddle[9] = {2.0, 0.0, 3.0, 0.0, 1.0, 0.0, 3.0, 0.0, 2.0};
  improper(2, flat, "x[1] (value 0)");
  improper(2, negative, "x[1] (value -0.75)");
  improper(2, ridge, "0.707*x[0] + 0.707*x[1]");
  improper(2, tiny_ridge, "1*x[0]"); /* in units a billion apart: still singular */
  improper(3, saddle, "0.707*x[0] - 0.707*x[2] (value -1)");
}

static void steep_is_proper(void **state) {
  (void)state; /* units a billion apart and a correlation of 0.999 are no reason to refuse */
  poe_form form = {0};
  poe_expert *expert = NULL;
  double log_z = 0.0;
  check_ok(poei_form_gaussians(&form, 1, 2, &error), error);
  form.precision[0] = 1e-12;
  form.precision[1] = form.precision[2] = 0.999e-3;
  form.precision[3] = 1e6;
  check_ok(poei_closed_create(&form, &expert, &error), error);
  check_ok(poe_expert_log_z(expert, &log_z, &error), error);
  check_close(log_z, log(2.0 * acos(-1.0)) - 0.5 * log(1e-6 * (1.0 - 0.999 * 0.999)), 1e-10, 0.0);
  poe_expert_release(expert);
  poe_form_release(&form);
}

static void empty_is_refused(void **state) {
  (void)state;
  poe_form form = {0}, table = {0};
  poe_expert *expert = NULL;
  check_ok(poei_form_gaussians(&form, 1, 1, &error), error);
  form.constant[0] = -INFINITY;
  check_fails(poei_closed_create(&form, &expert, &error), POE_E_EMPTY, error, "weight 0");
  poe_form_release(&form);
  check_ok(poei_form_copy(&table_form, &table, &error), error);
  for (size_t s = 0; s < 6; s++) {
    table.log_value[s] = -INFINITY;
  }
  check_fails(poei_closed_create(&table, &expert, &error), POE_E_EMPTY, error, "probability 0");
  table.log_value[2] = NAN;
  check_fails(poei_closed_create(&table, &expert, &error), POE_E_DOMAIN, error, "state 2");
  assert_null(expert);
  poe_form_release(&table);
  poe_form_release(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(closed_conforms), cmocka_unit_test(weights_add_up),   cmocka_unit_test(improper_is_refused),
      cmocka_unit_test(steep_is_proper), cmocka_unit_test(empty_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
