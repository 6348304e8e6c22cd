/* The verb bench: how fast a target is evaluated here, beside the bare matrix products of the networks in it.
 *
 * Both are timed in the same run, in turn, and the best of several passes counts: absolute times mean little on a
 * shared machine, the fraction does. One thread evaluates the tiles' products that one worker would.
 */
#include <math.h>
#include <string.h>

#include "answer/session.h"
#include "compose/nodes/nodes.h"
#include "core/alloc.h"
#include "core/linalg.h"
#include "experts/network.h"
#include "formats/text_file.h"

enum { BENCH_PASSES = 7 };
static const double bench_pass_seconds = 0.15;

typedef struct bench_job {
  poei_runner *runner;
  const poe_expert *expert;
  size_t n, d;
  double *x, *logp, *grad; /* [n, d], [n], [n, d] */
} bench_job;

/* Seconds of one evaluation of all rows: the best of several passes of many. */
static poe_status bench_time(const bench_job *job, bool gradient, double *seconds, poe_error *error) {
  poe_rows rows = {job->n, job->d, job->d, job->x};
  *seconds = INFINITY;
  size_t repeats = 1;
  for (size_t pass = 0; pass < BENCH_PASSES; pass++) {
    double start = poei_clock();
    for (size_t r = 0; r < repeats; r++) {
      poe_status status =
          poei_runner_rows(job->runner, job->expert, rows, job->logp, gradient ? job->grad : NULL, error);
      if (status != POE_OK) {
        return status;
      }
    }
    double taken = (poei_clock() - start) / (double)repeats;
    *seconds = taken < *seconds ? taken : *seconds;
    if (pass == 0) { /* the first pass warms up and finds how many evaluations fill a pass */
      repeats = (size_t)fmin(1e6, fmax(1.0, bench_pass_seconds / fmax(taken, 1e-7)));
      *seconds = INFINITY;
    }
  }
  return POE_OK;
}

/* Adds the seconds and operations of the bare matrix products of every network below `expert`, for n rows with
 * gradient. */
static poe_status bench_products(const poe_expert *expert, size_t n, double *seconds, double *flops, poe_error *error) {
  const poei_net *nets[2] = {poei_energy_net(expert), NULL};
  if (poei_node_kind_of(expert) == POEI_NODE_through) {
    nets[1] = poei_decoder_net(poei_through_map(expert));
  }
  for (size_t k = 0; k < 2; k++) {
    double s = 0.0, f = 0.0;
    poe_status status = nets[k] == NULL ? POE_OK : poei_net_time_gemms(nets[k], POE_WANT_GRAD, n, 50, &s, &f, error);
    if (status != POE_OK) {
      return status;
    }
    *seconds += s;
    *flops += f;
  }
  poe_status status = POE_OK;
  for (size_t i = 0; status == POE_OK && i < poei_node_child_count(expert); i++) {
    status = bench_products(poei_node_child(expert, i), n, seconds, flops, error);
  }
  return status;
}

/* time_values: log-densities are timed too, not gradients only. */
static poe_status bench_measure(bench_job *job, size_t threads, bool time_values, const char *target, json_t **result,
                                poe_error *error) {
  double values = NAN, gradients = NAN, gemm_seconds = 0.0, flops = 0.0;
  size_t tile = job->n < POEI_TILE ? job->n : POEI_TILE, tiles = (job->n + POEI_TILE - 1) / POEI_TILE;
  bool gradient = (poe_expert_traits(job->expert)->capabilities & POE_CAN_GRADIENT) != 0;
  poe_status status = time_values ? bench_time(job, false, &values, error) : POE_OK;
  if (status == POE_OK && gradient) {
    status = bench_time(job, true, &gradients, error);
  }
  if (status == POE_OK) {
    status = bench_products(job->expert, tile, &gemm_seconds, &flops, error);
  }
  if (status != POE_OK) {
    return status;
  }
  double used = (double)(threads < tiles ? threads : tiles);
  double gemm = flops > 0.0 ? flops / gemm_seconds * used * 1e-9 : NAN;
  double reached =
      flops > 0.0 ? flops * (double)tiles * ((double)job->n / (double)(tiles * tile)) / gradients * 1e-9 : NAN;
  double rows = (double)job->n;
  *result = json_pack("{s:s,s:I,s:I,s:s,s:o,s:o,s:o,s:o,s:o}", "target", target, "rows", (json_int_t)job->n, "threads",
                      (json_int_t)threads, "blas_core", poei_linalg_core_name(), "rows_per_second",
                      poei_json_number(rows / values), "gradient_rows_per_second", poei_json_number(rows / gradients),
                      "gflops", poei_json_number(reached), "gemm_gflops", poei_json_number(gemm), "fraction",
                      poei_json_number(reached / gemm));
  return poei_json_made(*result, error);
}

poe_status poei_answer_bench(poei_session *session, const poei_action *action, json_t **result, poe_error *error) {
  size_t rows = 1024;
  poe_status status = poei_option_integer(action, "rows", 1, 1u << 24, &rows, error);
  poei_solved solved;
  if (status == POE_OK) {
    status = poei_solve_values(session, action->n_targets > 0 ? action->targets[0] : NULL, &solved, error);
  }
  if (status != POE_OK) {
    return status;
  }
  size_t threads = session->pool == NULL ? 1 : poei_pool_threads(session->pool);
  bench_job job = {.expert = solved.plan->expert, .n = rows, .d = solved.target.dim};
  job.x = poei_alloc(rows, job.d * sizeof *job.x);
  job.grad = poei_alloc(rows, job.d * sizeof *job.grad);
  job.logp = poei_alloc(rows, sizeof *job.logp);
  if (job.x == NULL || job.grad == NULL || job.logp == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory for %zu rows", rows);
  } else {
    poei_support_points(poe_expert_traits(job.expert)->support, job.d, rows, job.x);
    size_t bytes = poe_expert_scratch(job.expert, POE_WANT_GRAD, POEI_TILE);
    status = poei_runner_open(session, bytes, &job.runner, error);
  }
  if (status == POE_OK) {
    status = bench_measure(&job, threads, !poei_option_flag(action, "grad"), solved.target.name, result, error);
  }
  poei_runner_close(job.runner);
  poei_free(job.x);
  poei_free(job.grad);
  poei_free(job.logp);
  poei_solved_free(&solved);
  return status;
}
