/* The public session (poe/session.h): the same answers as the command's, without JSON. */
#include "poe/session.h"

#include <string.h>

#include "answer/session.h"
#include "core/alloc.h"

struct poe_session {
  poei_session inner;
  poei_diagnostics diagnostics;
};

void poe_session_close(poe_session *session) {
  if (session != NULL) {
    poei_program_free(session->inner.program);
    poei_pool_destroy(session->inner.pool);
    poei_diagnostics_free(&session->diagnostics);
    poei_free(session);
  }
}

poe_status poe_session_open(const char *path, uint64_t seed, size_t threads, poe_session **session, poe_error *error) {
  poe_session *self = poei_calloc(1, sizeof *self);
  if (self == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  self->inner.diagnostics = &self->diagnostics;
  self->inner.seed = seed;
  self->inner.pool = poei_pool_create(threads == 0 ? poei_pool_default_threads() : threads);
  poe_status status = self->inner.pool == NULL ? poe_error_set(error, POE_E_MEMORY, "no worker threads") : POE_OK;
  if (status == POE_OK) {
    status = poei_program_load(path, NULL, 0, NULL, &self->diagnostics, &self->inner.program);
    if (status != POE_OK && poei_session_error(&self->inner, error) == POE_OK) {
      poe_error_set(error, status, "%s cannot be read", path);
    }
  }
  if (status != POE_OK) {
    poe_session_close(self);
    return status;
  }
  *session = self;
  return POE_OK;
}

/* Every call starts with no diagnostics: the first error is then its own. */
static poe_status embed_solve(poe_session *session, const char *target, bool values_only, poei_solved *solved,
                              poe_error *error) {
  poei_diagnostics_free(&session->diagnostics);
  return values_only ? poei_solve_values(&session->inner, target, solved, error)
                     : poei_solve(&session->inner, target, solved, error);
}

poe_status poe_session_dim(poe_session *session, const char *target, size_t *dim, poe_error *error) {
  poei_solved solved;
  poe_status status = embed_solve(session, target, true, &solved, error);
  if (status == POE_OK) {
    *dim = solved.target.dim;
    poei_solved_free(&solved);
  }
  return status;
}

poe_status poe_session_score(poe_session *session, const char *target, size_t n, const double *x, double *log_density,
                             double *grad, poe_error *error) {
  poei_solved solved;
  poe_status status = embed_solve(session, target, true, &solved, error);
  if (status != POE_OK) {
    return status;
  }
  const poe_expert *expert = solved.plan->expert;
  if (grad != NULL && (poe_expert_traits(expert)->capabilities & POE_CAN_GRADIENT) == 0) {
    status = poe_error_set(error, POE_E_CAPABILITY, "'%s' has no gradient", solved.target.name);
  } else {
    size_t d = solved.target.dim;
    status = poei_evaluate_rows(&session->inner, expert, (poe_rows){n, d, d, x}, log_density, grad, error);
  }
  poei_solved_free(&solved);
  return status;
}

poe_status poe_session_log_z(poe_session *session, const char *target, double *log_z, double *std_error, bool *exact,
                             poe_error *error) {
  poei_solved solved;
  poe_status status = embed_solve(session, target, false, &solved, error);
  if (status != POE_OK) {
    return status;
  }
  poei_log_z z = {0};
  status = poei_plan_log_z(&session->inner, solved.plan, session->inner.seed, POEI_LOG_Z_TOLERANCE, POEI_LOG_Z_ISLANDS,
                           POEI_LOG_Z_PARTICLES, &z, error);
  poei_target_place_numbers(&solved.target, status, error);
  if (status == POE_OK) {
    *log_z = z.log_z;
    *std_error = z.std_error;
    *exact = z.exact;
  }
  poei_solved_free(&solved);
  return status;
}

poe_status poe_session_sample(poe_session *session, const char *target, size_t chains, size_t draws, double *x,
                              bool *trusted, poe_error *error) {
  if (chains == 0 || draws == 0) {
    return poe_error_set(error, POE_E_USAGE, "%zu chains of %zu draws are no draws", chains, draws);
  }
  poei_solved solved;
  poe_status status = embed_solve(session, target, false, &solved, error);
  if (status != POE_OK) {
    return status;
  }
  poei_run_options options = {.chains = chains,
                              .warmup = 1000,
                              .draws = draws,
                              .thin = 1,
                              .seed = session->inner.seed,
                              .pool = session->inner.pool};
  poei_sampling sampling = {0};
  poei_gate gate = {0};
  status = poei_draw(&session->inner, solved.plan, "auto", &options, NULL, 0, &sampling, error);
  poei_target_place_numbers(&solved.target, status, error);
  if (status == POE_OK) {
    status = poei_gate_run(&sampling.draws, sampling.exact, sampling.biased, &gate, error);
  }
  if (status == POE_OK) {
    memcpy(x, sampling.draws.x, chains * draws * solved.target.dim * sizeof *x);
    *trusted = gate.passed;
  }
  poei_sampling_free(&sampling);
  poei_solved_free(&solved);
  return status;
}
