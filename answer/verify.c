/* The verb verify: a target tested against itself at points of its support.
 *
 * gradients against central differences with Richardson extrapolation; a tile of rows against the same rows in another
 * order (bitwise) and against single rows; the rewritten tree against the tree as written.
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "answer/session.h"
#include "compose/nodes/nodes.h"
#include "core/alloc.h"

typedef struct verify_job {
  poei_session *session;
  const poe_expert *expert, *written;
  size_t n, d;
  double *x; /* [n, d] */
  json_t *checks;
  bool passed;
} verify_job;

#if defined(__GNUC__)
__attribute__((format(printf, 4, 5)))
#endif
static void
verify_add(verify_job *job, const char *name, bool passed, const char *format, ...) {
  char detail[256];
  va_list args;
  va_start(args, format);
  vsnprintf(detail, sizeof detail, format, args);
  va_end(args);
  json_array_append_new(job->checks, json_pack("{s:s,s:b,s:s}", "name", name, "passed", (int)passed, "detail", detail));
  job->passed = job->passed && passed;
}

static poe_status verify_eval(const verify_job *job, const poe_expert *expert, size_t n, const double *x, double *logp,
                              double *grad, poe_error *error) {
  return poei_evaluate_rows(job->session, expert, (poe_rows){n, job->d, job->d, x}, logp, grad, error);
}

/* Central differences at h and h/2, extrapolated, along coordinate j of every point: [n]. Points where a shifted
 * value is not finite (an edge of the support) give NaN. */
static poe_status verify_difference(const verify_job *job, size_t j, double relative_step, double *shifted,
                                    double *logp, double *out, poe_error *error) {
  for (int half = 0; half < 2; half++) {
    for (int side = 0; side < 2; side++) {
      memcpy(shifted, job->x, job->n * job->d * sizeof *shifted);
      for (size_t i = 0; i < job->n; i++) {
        double h = relative_step * fmax(1.0, fabs(job->x[i * job->d + j])) / (half + 1);
        shifted[i * job->d + j] += side == 0 ? h : -h;
      }
      poe_status status =
          verify_eval(job, job->expert, job->n, shifted, logp + (size_t)(2 * half + side) * job->n, NULL, error);
      if (status != POE_OK) {
        return status;
      }
    }
  }
  for (size_t i = 0; i < job->n; i++) {
    double h = relative_step * fmax(1.0, fabs(job->x[i * job->d + j]));
    double coarse = (logp[i] - logp[job->n + i]) / (2.0 * h);
    double fine = (logp[2 * job->n + i] - logp[3 * job->n + i]) / h;
    out[i] = isfinite(coarse) && isfinite(fine) ? (4.0 * fine - coarse) / 3.0 : NAN;
  }
  return POE_OK;
}

enum { VERIFY_MAX_COORDINATES = 64 };

static poe_status verify_gradients(verify_job *job, poe_error *error) {
  const poe_traits *traits = poe_expert_traits(job->expert);
  if ((traits->capabilities & POE_CAN_GRADIENT) == 0) {
    verify_add(job, "gradient", true, "the target has none");
    return POE_OK;
  }
  size_t size = job->n * job->d;
  double *grad = poei_alloc(size, sizeof *grad), *shifted = poei_alloc(size, sizeof *shifted);
  double *logp = poei_alloc(4 * job->n, sizeof *logp), *difference = poei_alloc(job->n, sizeof *difference);
  poe_status status = grad == NULL || shifted == NULL || logp == NULL || difference == NULL
                          ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                          : verify_eval(job, job->expert, job->n, job->x, logp, grad, error);
  double worst = 0.0;
  size_t compared = 0, step = 1 + job->d / VERIFY_MAX_COORDINATES;
  for (size_t j = 0; status == POE_OK && j < job->d; j += step) {
    if (traits->support[j].kind == POE_DISCRETE) {
      continue;
    }
    /* single-precision networks carry noise of 1e-7 of the value: a larger step keeps the quotient meaningful */
    double best[2] = {0.0, 0.0};
    for (int wide = 0; status == POE_OK && wide < 2; wide++) {
      status = verify_difference(job, j, wide == 0 ? 1e-4 : 2e-2, shifted, logp, difference, error);
      for (size_t i = 0; status == POE_OK && i < job->n; i++) {
        double g = grad[i * job->d + j], gap = fabs(difference[i] - g) / fmax(1.0, fabs(g));
        if (isfinite(difference[i])) {
          best[wide] = fmax(best[wide], isfinite(gap) ? gap : INFINITY);
          compared += wide == 0;
        }
      }
    }
    worst = fmax(worst, fmin(best[0], best[1]));
  }
  if (status == POE_OK) {
    verify_add(job, "gradient", worst < 1e-3 && compared > 0,
               "largest difference from finite differences %.2g of max(1, |gradient|) over %zu derivatives", worst,
               compared);
  }
  poei_free(grad);
  poei_free(shifted);
  poei_free(logp);
  poei_free(difference);
  return status;
}

static poe_status verify_rows(verify_job *job, poe_error *error) {
  double *turned = poei_alloc(job->n * job->d, sizeof *turned);
  double *a = poei_alloc(job->n, sizeof *a), *b = poei_alloc(job->n, sizeof *b);
  poe_status status =
      turned == NULL || a == NULL || b == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  if (status == POE_OK) {
    status = verify_eval(job, job->expert, job->n, job->x, a, NULL, error);
  }
  for (size_t i = 0; status == POE_OK && i < job->n; i++) {
    memcpy(turned + i * job->d, job->x + (job->n - 1 - i) * job->d, job->d * sizeof *turned);
  }
  if (status == POE_OK) {
    status = verify_eval(job, job->expert, job->n, turned, b, NULL, error);
  }
  size_t differing = 0;
  double worst = 0.0;
  for (size_t i = 0; status == POE_OK && i < job->n; i++) {
    differing += memcmp(&a[i], &b[job->n - 1 - i], sizeof *a) != 0;
    double single = 0.0;
    status = verify_eval(job, job->expert, 1, job->x + i * job->d, &single, NULL, error);
    double gap = single == a[i] ? 0.0 : fabs(single - a[i]) / fmax(1.0, fabs(a[i]));
    worst = fmax(worst, isnan(gap) ? INFINITY : gap);
  }
  if (status == POE_OK) {
    verify_add(job, "rows in another order", differing == 0, "%zu of %zu rows change bits", differing, job->n);
    verify_add(job, "tile against single rows", worst < 1e-5, "largest relative difference %.2g", worst);
  }
  poei_free(turned);
  poei_free(a);
  poei_free(b);
  return status;
}

static poe_status verify_rewriting(verify_job *job, poe_error *error) {
  double *a = poei_alloc(job->n, sizeof *a), *b = poei_alloc(job->n, sizeof *b);
  poe_status status = a == NULL || b == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                                             : verify_eval(job, job->expert, job->n, job->x, a, NULL, error);
  if (status == POE_OK) {
    status = verify_eval(job, job->written, job->n, job->x, b, NULL, error);
  }
  double worst = 0.0;
  for (size_t i = 0; status == POE_OK && i < job->n; i++) {
    double gap = a[i] == b[i] ? 0.0 : fabs(a[i] - b[i]) / fmax(1.0, fabs(b[i]));
    worst = fmax(worst, isnan(gap) ? INFINITY : gap);
  }
  if (status == POE_OK) {
    verify_add(job, "rewritten against written", worst < 1e-6, "largest relative difference %.2g", worst);
  }
  poei_free(a);
  poei_free(b);
  return status;
}

/* Points of the target: a few draws by its own method, cheap ones. */
static poe_status verify_points(verify_job *job, const poei_plan *plan, poe_error *error) {
  poei_run_options options = {.chains = 1,
                              .warmup = 200,
                              .draws = job->n,
                              .thin = 1,
                              .seed = job->session->seed,
                              .pool = job->session->pool,
                              .monitor = job->session->monitor};
  poei_sampling sampling = {0};
  poe_status status = poei_draw(job->session, plan, "auto", &options, NULL, 0, &sampling, error);
  if (status == POE_OK && sampling.draws.draws < job->n) {
    status = poe_error_set(error, POE_E_INTERRUPTED, "interrupted");
  }
  if (status == POE_OK) {
    memcpy(job->x, sampling.draws.x, job->n * job->d * sizeof *job->x);
  }
  poei_sampling_free(&sampling);
  return status;
}

poe_status poei_answer_verify(poei_session *session, const poei_action *action, json_t **result, poe_error *error) {
  size_t points = 20;
  poe_status status = poei_option_integer(action, "points", 1, 4096, &points, error);
  poei_solved solved;
  if (status == POE_OK) {
    status = poei_solve(session, action->n_targets > 0 ? action->targets[0] : NULL, &solved, error);
  }
  if (status != POE_OK) {
    return status;
  }
  verify_job job = {.session = session,
                    .expert = solved.plan->expert,
                    .written = solved.filled,
                    .n = points,
                    .d = solved.target.dim,
                    .checks = json_array(),
                    .passed = true};
  job.x = poei_alloc(job.n * job.d, sizeof *job.x);
  status =
      job.x == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : verify_points(&job, solved.plan, error);
  if (status == POE_OK) {
    status = verify_gradients(&job, error);
  }
  if (status == POE_OK) {
    status = verify_rows(&job, error);
  }
  if (status == POE_OK) {
    status = verify_rewriting(&job, error);
  }
  if (status == POE_OK) {
    *result = json_pack("{s:s,s:b,s:O}", "target", solved.target.name, "passed", (int)job.passed, "checks", job.checks);
    if (!job.passed) {
      status = poe_error_set(error, POE_E_NUMERIC, "'%s' failed its self-test", solved.target.name);
    }
  }
  json_decref(job.checks);
  poei_free(job.x);
  poei_solved_free(&solved);
  return status;
}
