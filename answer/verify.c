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
  const poei_session *session;
  const poe_expert *expert, *written;
  size_t n, d;
  const double *x; /* [n, d] */
  json_t *checks;
  poe_status memory; /* of building `checks` */
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
  json_t *check = json_pack("{s:s,s:b,s:s}", "name", name, "passed", (int)passed, "detail", detail);
  job->memory = poei_json_append(job->memory, job->checks, check, NULL);
  job->passed = job->passed && passed;
}

static poe_status verify_eval(const verify_job *job, const poe_expert *expert, size_t n, const double *x, double *logp,
                              double *grad, poe_error *error) {
  return poei_evaluate_rows(job->session, expert, (poe_rows){n, job->d, job->d, x}, logp, grad, error);
}

/* The number of a simplex that gives what coordinate j takes; job->d when j is on none. */
static size_t verify_partner(const verify_job *job, size_t j) {
  const poe_support *support = poe_expert_traits(job->expert)->support;
  size_t first = j;
  while (support[first].kind == POE_SIMPLEX_NEXT && first > 0) {
    first--;
  }
  return support[first].kind != POE_SIMPLEX ? job->d : first == j ? j + 1 : first;
}

static double verify_step(const verify_job *job, size_t i, size_t j, size_t partner, double relative) {
  const double *x = &job->x[i * job->d];
  return relative * (partner < job->d ? fmin(x[j], x[partner]) : fmax(1.0, fabs(x[j])));
}

/* Central differences at h and h/2, extrapolated, along coordinate j of every point (along a simplex, against its
 * partner): [n]. Points where a shifted value is not finite (an edge of the support) give NaN. */
static poe_status verify_difference(const verify_job *job, size_t j, double relative_step, double *shifted,
                                    double *logp, double *out, poe_error *error) {
  size_t partner = verify_partner(job, j);
  for (int half = 0; half < 2; half++) {
    for (int side = 0; side < 2; side++) {
      memcpy(shifted, job->x, job->n * job->d * sizeof *shifted);
      for (size_t i = 0; i < job->n; i++) {
        double h = verify_step(job, i, j, partner, relative_step) / (side == 0 ? half + 1 : -(half + 1));
        shifted[i * job->d + j] += h;
        if (partner < job->d) {
          shifted[i * job->d + partner] -= h;
        }
      }
      poe_status status =
          verify_eval(job, job->expert, job->n, shifted, logp + (size_t)(2 * half + side) * job->n, NULL, error);
      if (status != POE_OK) {
        return status;
      }
    }
  }
  for (size_t i = 0; i < job->n; i++) {
    double h = verify_step(job, i, j, partner, relative_step);
    double coarse = (logp[i] - logp[job->n + i]) / (2.0 * h);
    double fine = (logp[2 * job->n + i] - logp[3 * job->n + i]) / h;
    out[i] = isfinite(coarse) && isfinite(fine) ? (4.0 * fine - coarse) / 3.0 : NAN;
  }
  return POE_OK;
}

enum { VERIFY_MAX_COORDINATES = 64 };

enum { VERIFY_STEPS = 4 };

/* Working memory of the gradient check. */
typedef struct verify_gradient {
  double *grad, *shifted;    /* [n, d]                                            */
  double *logp;              /* [4, n]                                            */
  double *difference;        /* [VERIFY_STEPS, n]                                 */
  double worst;              /* gap of the derivatives that differences can tell  */
  size_t compared, doubtful; /* how many they can tell, and cannot                */
} verify_gradient;

/* What counts as agreement, of max(1, |derivative|). */
static const double verify_agreement = 1e-3;

/* The gap of one derivative from the two largest neighbouring steps whose differences agree, less five times what they
 * differ by; NaN when none do: at the kinks of a network of rectifiers, and where the noise of single precision, 1e-7
 * of the value, drowns the quotient. */
static double verify_gap_of(const double *difference, size_t stride, double exact) {
  for (size_t s = VERIFY_STEPS - 1; s-- > 0;) {
    double fine = difference[s * stride], coarse = difference[(s + 1) * stride], scale = fmax(1.0, fabs(coarse));
    double spread = fabs(fine - coarse), gap = fmin(fabs(fine - exact), fabs(coarse - exact));
    if (spread < verify_agreement * scale) {
      return isnan(gap) ? INFINITY : fmax(gap - 5.0 * spread, 0.0) / scale;
    }
  }
  return NAN;
}

/* Largest gap of derivative j over the points. */
static poe_status verify_coordinate(const verify_job *job, verify_gradient *g, size_t j, poe_error *error) {
  static const double steps[VERIFY_STEPS] = {1e-6, 1e-4, 2e-3, 2e-2};
  size_t partner = verify_partner(job, j);
  poe_status status = POE_OK;
  for (size_t s = 0; status == POE_OK && s < VERIFY_STEPS; s++) {
    status = verify_difference(job, j, steps[s], g->shifted, g->logp, g->difference + s * job->n, error);
  }
  for (size_t i = 0; status == POE_OK && i < job->n; i++) {
    double exact = g->grad[i * job->d + j] - (partner < job->d ? g->grad[i * job->d + partner] : 0.0);
    double gap = verify_gap_of(g->difference + i, job->n, exact);
    g->compared += isnan(gap) ? 0 : 1;
    g->doubtful += isnan(gap) ? 1 : 0;
    g->worst = fmax(g->worst, gap); /* ignores NaN */
  }
  return status;
}

static poe_status verify_derivatives(verify_job *job, verify_gradient *g, poe_error *error) {
  const poe_support *support = poe_expert_traits(job->expert)->support;
  size_t step = 1 + job->d / VERIFY_MAX_COORDINATES, continuous = 0;
  poe_status status = verify_eval(job, job->expert, job->n, job->x, g->logp, g->grad, error);
  for (size_t j = 0; status == POE_OK && j < job->d; j += step) {
    if (support[j].kind != POE_DISCRETE) {
      continuous++;
      status = verify_coordinate(job, g, j, error);
    }
  }
  if (status == POE_OK && continuous == 0) {
    verify_add(job, "gradient", true, "no continuous coordinate");
  } else if (status == POE_OK) {
    char doubtful[96] = "";
    if (g->doubtful > 0) {
      snprintf(doubtful, sizeof doubtful, "; %zu at edges, kinks or in noise, where differences cannot tell",
               g->doubtful);
    }
    verify_add(
        job, "gradient", g->worst < verify_agreement && 10 * g->compared > g->doubtful,
        "largest difference beyond the error of finite differences %.2g of max(1, |gradient|) over %zu derivatives%s",
        g->worst, g->compared, doubtful);
  }
  return status;
}

static poe_status verify_gradients(verify_job *job, poe_error *error) {
  if ((poe_expert_traits(job->expert)->capabilities & POE_CAN_GRADIENT) == 0) {
    verify_add(job, "gradient", true, "the target has none");
    return POE_OK;
  }
  size_t size = job->n * job->d;
  verify_gradient g = {.grad = poei_alloc(size, sizeof *g.grad),
                       .shifted = poei_alloc(size, sizeof *g.shifted),
                       .logp = poei_alloc(4 * job->n, sizeof *g.logp),
                       .difference = poei_alloc(VERIFY_STEPS * job->n, sizeof *g.difference)};
  bool memory = g.grad != NULL && g.shifted != NULL && g.logp != NULL && g.difference != NULL;
  poe_status status = memory ? verify_derivatives(job, &g, error) : poe_error_set(error, POE_E_MEMORY, "out of memory");
  poei_free(g.grad);
  poei_free(g.shifted);
  poei_free(g.logp);
  poei_free(g.difference);
  return status;
}

/* |a - b| relative to max(1, |b|); equal infinities agree, NaN never. */
static double verify_gap(double a, double b) {
  double gap = a == b ? 0.0 : fabs(a - b) / fmax(1.0, fabs(b));
  return isnan(gap) ? INFINITY : gap;
}

/* The row that stands at place i when every tile is turned round: bits are promised at equal tile shape. */
static size_t verify_turned(size_t i, size_t n) {
  size_t first = i / POEI_TILE * POEI_TILE, size = n - first < POEI_TILE ? n - first : POEI_TILE;
  return first + (size - 1 - (i - first));
}

static poe_status verify_order(verify_job *job, double *turned, double *a, double *b, poe_error *error) {
  poe_status status = verify_eval(job, job->expert, job->n, job->x, a, NULL, error);
  for (size_t i = 0; i < job->n; i++) {
    memcpy(turned + i * job->d, job->x + verify_turned(i, job->n) * job->d, job->d * sizeof *turned);
  }
  if (status == POE_OK) {
    status = verify_eval(job, job->expert, job->n, turned, b, NULL, error);
  }
  size_t differing = 0;
  double worst = 0.0;
  for (size_t i = 0; status == POE_OK && i < job->n; i++) {
    differing += memcmp(&a[i], &b[verify_turned(i, job->n)], sizeof *a) != 0;
    double single = 0.0;
    status = verify_eval(job, job->expert, 1, job->x + i * job->d, &single, NULL, error);
    worst = fmax(worst, verify_gap(single, a[i]));
  }
  if (status == POE_OK) {
    verify_add(job, "rows in another order", differing == 0, "%zu of %zu rows change bits", differing, job->n);
    verify_add(job, "tile against single rows", worst < 1e-5, "largest relative difference %.2g", worst);
  }
  return status;
}

/* Not where the tree as written holds a constant or a marginal that the rewritten one does without, and nobody
 * computed.
 */
static poe_status verify_rewriting(verify_job *job, double *a, double *b, poe_error *error) {
  if ((poe_expert_traits(job->written)->capabilities & POE_CAN_EVAL) == 0) {
    verify_add(job, "rewritten against written", true, "the tree as written has no values of its own");
    return POE_OK;
  }
  poe_status status = verify_eval(job, job->expert, job->n, job->x, a, NULL, error);
  if (status == POE_OK) {
    status = verify_eval(job, job->written, job->n, job->x, b, NULL, error);
  }
  double worst = 0.0;
  for (size_t i = 0; status == POE_OK && i < job->n; i++) {
    worst = fmax(worst, verify_gap(a[i], b[i]));
  }
  if (status == POE_OK) {
    verify_add(job, "rewritten against written", worst < 1e-6, "largest relative difference %.2g", worst);
  }
  return status;
}

static poe_status verify_rows(verify_job *job, poe_error *error) {
  double *turned = poei_alloc(job->n, job->d * sizeof *turned);
  double *a = poei_alloc(job->n, sizeof *a), *b = poei_alloc(job->n, sizeof *b);
  poe_status status = turned == NULL || a == NULL || b == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                                                               : verify_order(job, turned, a, b, error);
  if (status == POE_OK) {
    status = verify_rewriting(job, a, b, error);
  }
  poei_free(turned);
  poei_free(a);
  poei_free(b);
  return status;
}

poe_status poei_verify_expert(const poei_session *session, const poe_expert *expert, const poe_expert *written,
                              size_t n, const double *x, json_t *checks, bool *passed, poe_error *error) {
  verify_job job = {.session = session,
                    .expert = expert,
                    .written = written,
                    .n = n,
                    .d = poe_expert_traits(expert)->dim,
                    .x = x,
                    .checks = checks,
                    .passed = true};
  poe_status status = verify_gradients(&job, error);
  if (status == POE_OK) {
    status = verify_rows(&job, error);
  }
  if (status == POE_OK && job.memory != POE_OK) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  *passed = job.passed;
  return status;
}

/* x[n, d]: draws of the target by its own method, a short run. */
static poe_status verify_points(poei_session *session, const poei_plan *plan, size_t n, double *x, poe_error *error) {
  poei_run_options options = {.chains = 1,
                              .warmup = 200,
                              .draws = n,
                              .thin = 1,
                              .seed = session->seed,
                              .pool = session->pool,
                              .monitor = session->monitor};
  poei_sampling sampling = {0};
  poe_status status = poei_draw(session, plan, "auto", &options, NULL, 0, &sampling, error);
  if (status == POE_OK && sampling.draws.draws < n) {
    status = poe_error_set(error, POE_E_INTERRUPTED, "interrupted while drawing the points to verify at");
  }
  if (status == POE_OK) {
    memcpy(x, sampling.draws.x, n * sampling.draws.dim * sizeof *x);
  }
  poei_sampling_free(&sampling);
  return status;
}

static poe_status verify_solved(poei_session *session, const poei_solved *solved, size_t n, double *x, json_t **result,
                                poe_error *error) {
  bool passed = false;
  json_t *checks = json_array();
  poe_status status = verify_points(session, solved->plan, n, x, error);
  poei_target_place_numbers(&solved->target, status, error);
  if (status == POE_OK) {
    status = poei_verify_expert(session, solved->plan->expert, solved->filled, n, x, checks, &passed, error);
  }
  if (status == POE_OK) {
    *result = json_pack("{s:s,s:b,s:O}", "target", solved->target.name, "passed", (int)passed, "checks", checks);
    status = poei_json_made(*result, error);
  }
  json_decref(checks);
  if (status == POE_OK && !passed) {
    status = poe_error_set(error, POE_E_NUMERIC, "'%s' failed its self-test", solved->target.name);
  }
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
  double *x = poei_alloc(points, solved.target.dim * sizeof *x);
  status = x == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                     : verify_solved(session, &solved, points, x, result, error);
  poei_free(x);
  poei_solved_free(&solved);
  return status;
}
