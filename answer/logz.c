/* log Z of a plan, and the verb: exact, by quadrature, or by sequential Monte Carlo until the standard error is small.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "answer/session.h"
#include "core/alloc.h"
#include "core/numerics.h"
#include "formats/text_file.h"

enum { LOG_Z_ROUNDS = 6 }; /* doublings of the particles before the tolerance is given up */

/* Parts that multiply: sums; errors in quadrature. */
static poe_status log_z_blocks(poei_session *session, const poei_plan *plan, uint64_t seed, double tolerance,
                               size_t islands, size_t particles, poei_log_z *result, poe_error *error) {
  double total = plan->part_constant, variance = plan->part_constant_error * plan->part_constant_error;
  double memory = 0.0;
  bool exact = variance == 0.0;
  for (size_t i = 0; i < plan->n_parts; i++) {
    poei_log_z part = {0};
    poe_status status = poei_plan_log_z(session, plan->parts[i], poei_part_seed(seed, i),
                                        tolerance / sqrt((double)plan->n_parts), islands, particles, &part, error);
    if (status != POE_OK) {
      return status;
    }
    total += part.log_z;
    variance += part.std_error * part.std_error;
    memory = fmax(memory, part.memory);
    exact = exact && part.exact;
  }
  *result = (poei_log_z){total, sqrt(variance), exact, poei_method_word(plan->method), NAN, memory};
  return POE_OK;
}

poei_log_z poei_smc_log_z(const poei_plan *plan, const poei_smc_report *report) {
  double error = hypot(report->std_error, poe_expert_traits(plan->expert)->offset_error);
  return (poei_log_z){plan->base_log_z + report->log_z_ratio, error,       false,
                      poei_method_word(POEI_METHOD_SMC),      report->ess, report->memory};
}

/* More particles do not make the error of constants inside smaller: the run's own decides. */
static poe_status log_z_smc(poei_session *session, const poei_plan *plan, uint64_t seed, double tolerance,
                            size_t islands, size_t particles, poei_log_z *result, poe_error *error) {
  for (size_t round = 0;; round++) {
    poei_run_options options = {.chains = islands,
                                .draws = particles << round,
                                .thin = 1,
                                .estimate_only = true,
                                .seed = poei_part_seed(seed, round),
                                .pool = session->pool,
                                .monitor = session->monitor};
    poei_draws draws = {0};
    poei_smc_report report = {0};
    poe_status status = poei_plan_smc(session, plan, &options, &draws, &report, error);
    bool interrupted = draws.interrupted;
    poei_draws_free(&draws);
    if (status != POE_OK) {
      return status;
    }
    if (interrupted) {
      return poe_error_set(error, POE_E_INTERRUPTED, "interrupted while estimating log Z");
    }
    *result = poei_smc_log_z(plan, &report);
    if (report.std_error <= tolerance || round + 1 == LOG_Z_ROUNDS) {
      return POE_OK;
    }
  }
}

poei_log_z poei_plan_known_log_z(const poei_plan *plan) {
  bool exact = plan->log_z_error == 0.0 && plan->log_z_method != POEI_METHOD_QUADRATURE;
  return (poei_log_z){plan->log_z, plan->log_z_error, exact, poei_method_word(plan->log_z_method), NAN, 0.0};
}

poe_status poei_plan_log_z(poei_session *session, const poei_plan *plan, uint64_t seed, double tolerance,
                           size_t islands, size_t particles, poei_log_z *result, poe_error *error) {
  if (plan->has_log_z) {
    *result = poei_plan_known_log_z(plan);
    return POE_OK;
  }
  if (plan->n_parts > 0 && plan->method != POEI_METHOD_MIXTURE) {
    return log_z_blocks(session, plan, seed, tolerance, islands, particles, result, error);
  }
  if (plan->method == POEI_METHOD_SMC) {
    return log_z_smc(session, plan, seed, tolerance, islands, particles, result, error);
  }
  poe_error_set(error, POE_E_CAPABILITY, "log Z has no route: %s", plan->reason);
  poe_error_hint(error,
                 "multiply the target by an expert over all its coordinates that can be drawn exactly, such as a "
                 "gaussian: sequential Monte Carlo can then start there");
  return POE_E_CAPABILITY;
}

/* ---- how far to trust it ---- */

poe_status poei_settled_json(poe_status status, json_t *object, const poei_solved *solved, const poei_log_z *z,
                             const char *more, poe_error *error) {
  double own = z->exact ? 0.0 : z->memory, inside = 0.0;
  for (size_t i = 0; !z->exact && i < solved->n_estimates; i++) {
    inside = fmax(inside, solved->estimates[i].memory);
  }
  bool settled = own == 0.0 && inside == 0.0;
  const char *caution = z->exact ? NULL : solved->plan->caution;
  status = poei_json_set(status, object, "settled", json_boolean(settled), error);
  if (caution != NULL) {
    status = poei_json_set(status, object, "caution", json_string(caution), error);
  }
  if (settled) {
    return status;
  }
  char remedy[64] = "helps"; /* constants inside are estimated with particles enough, which no option changes */
  if (own >= inside) {
    snprintf(remedy, sizeof remedy, "or more particles (--%s), helps", more);
  }
  char *text = poei_format("the moves of sequential Monte Carlo had not forgotten their start%s (correlation %.2f): "
                           "log Z may be off by more than its standard error; an expert to start from that is nearer "
                           "to the target%s %s",
                           own >= inside ? "" : " when a constant inside was estimated", fmax(own, inside),
                           own >= inside ? "," : "", remedy);
  status = poei_json_set(status, object, "warning", text == NULL ? NULL : json_string(text), error);
  poei_free(text);
  return status;
}

/* An estimate also says how many draws it is worth and whether --tol was reached. */
static poe_status logz_json(const poei_session *session, const poei_solved *solved, const poei_log_z *z,
                            double tolerance, json_t **result, poe_error *error) {
  json_t *out =
      json_pack("{s:s,s:o,s:o,s:b,s:s,s:n}", "target", solved->target.name, "log_z", poei_json_number(z->log_z),
                "std_error", poei_json_number(z->std_error), "exact", (int)z->exact, "method", z->method, "gap");
  poe_status status = poei_json_made(out, error);
  if (!z->exact) {
    status = poei_json_set(status, out, "tolerance_reached", json_boolean(z->std_error <= tolerance), error);
  }
  status = poei_settled_json(status, out, solved, z, "particles", error);
  if (session->prune > 0.0) {
    status = poei_json_set(status, out, "discarded_mass", poei_json_number(solved->plan->discarded), error);
  }
  if (isfinite(z->ess)) {
    status = poei_json_set(status, out, "ess", poei_json_number(z->ess), error);
  }
  if (poei_uai_named(poei_program_path(session->program))) { /* as the competitions report it */
    status = poei_json_set(status, out, "log10_z", poei_json_number(z->log_z / log(10.0)), error);
  }
  if (status != POE_OK) {
    json_decref(out);
    return status;
  }
  *result = out;
  return POE_OK;
}

poe_status poei_answer_logz(poei_session *session, const poei_action *action, json_t **result, poe_error *error) {
  double tolerance = POEI_LOG_Z_TOLERANCE;
  size_t islands = POEI_LOG_Z_ISLANDS, particles = POEI_LOG_Z_PARTICLES;
  poe_status status = poei_option_number(action, "tol", 1e-12, 1e6, &tolerance, error);
  if (status == POE_OK) {
    status = poei_option_integer(action, "chains", 2, 1u << 16, &islands, error);
  }
  if (status == POE_OK) {
    status = poei_option_integer(action, "particles", 8, 1u << 24, &particles, error);
  }
  poei_solved solved;
  if (status == POE_OK) {
    status = poei_solve_action(session, action, &solved, error);
  }
  if (status != POE_OK) {
    return status;
  }
  poei_log_z z = {0};
  status = poei_plan_log_z(session, solved.plan, session->seed, tolerance, islands, particles, &z, error);
  if (status == POE_E_CAPABILITY) {
    poei_target_place(&solved.target, error);
  }
  poei_target_place_numbers(&solved.target, status, error);
  if (status == POE_OK) {
    status = logz_json(session, &solved, &z, tolerance, result, error);
  }
  poei_solved_free(&solved);
  return status;
}
