/* The verb bench: how fast a target is evaluated here, beside the bare matrix products of the networks in it (those of
 * gradients, where it has them, else of values) and, for the energy of an MLP, beside PyTorch.
 *
 * All are timed in the same run, in turn, and the best of several passes counts: absolute times mean little on a
 * shared machine, the ratios do. One thread evaluates the tiles' products that one worker would; where there is one
 * thread, its processor time is taken, and the peer's.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "answer/bench_peer.h"
#include "answer/session.h"
#include "compose/nodes/nodes.h"
#include "core/alloc.h"
#include "core/linalg.h"
#include "experts/network.h"
#include "formats/text_file.h"

enum { BENCH_PASSES = 6, BENCH_DRAW_PASSES = 4, BENCH_SIZES = 3, BENCH_WHY = 320 };
static const double bench_pass_seconds = 0.1, bench_start_seconds = 60.0, bench_answer_seconds = 60.0;
static const size_t bench_sizes[BENCH_SIZES] = {1, 64, 1024};

typedef struct bench_job {
  poei_session *session;
  poei_runner *runner;
  const poe_expert *expert;
  size_t n, d, threads;
  bool values, gradients, draws; /* what is timed      */
  double *x, *logp, *grad;       /* [n, d], [n], [n, d]      */
  poe_rng *at;                   /* [n] addresses of draws   */
  poe_scratch *scratch;          /* for a tile of draws      */
  poei_peer *peer;               /* NULL: none               */
  char why[BENCH_WHY];           /* there is none            */
} bench_job;

/* One contestant: the best pass so far. */
typedef struct bench_time {
  double seconds;
  size_t repeats;
} bench_time;

/* ---- passes ---- */

/* On one thread the processor's time, of which other jobs on the machine take less than of the wall clock's. */
static double bench_clock(const bench_job *job) {
  struct timespec used;
  return job->threads == 1 && clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) == 0
             ? (double)used.tv_sec + 1e-9 * (double)used.tv_nsec
             : poei_clock();
}

/* One pass of many evaluations. The first one only warms up and finds how many evaluations fill a pass. */
static poe_status bench_pass(const bench_job *job, bool gradient, bool first, bench_time *best, poe_error *error) {
  poe_rows rows = {job->n, job->d, job->d, job->x};
  double start = bench_clock(job);
  for (size_t r = 0; r < best->repeats; r++) {
    poe_status status = poei_runner_rows(job->runner, job->expert, rows, job->logp, gradient ? job->grad : NULL, error);
    if (status != POE_OK) {
      return status;
    }
  }
  double taken = (bench_clock(job) - start) / (double)best->repeats;
  if (first) {
    best->repeats = (size_t)fmin(1e6, fmax(1.0, bench_pass_seconds / fmax(taken, 1e-7)));
  } else {
    best->seconds = fmin(best->seconds, taken);
  }
  return POE_OK;
}

/* A pass of exact draws, tile by tile, on this thread; timed as above. */
static poe_status bench_draw_pass(const bench_job *job, bool first, bench_time *best, poe_error *error) {
  double start = bench_clock(job);
  for (size_t r = 0; r < best->repeats; r++) {
    for (size_t i = 0; i < job->n; i += POEI_TILE) {
      size_t rows = job->n - i < POEI_TILE ? job->n - i : POEI_TILE;
      poe_rows_out out = {rows, job->d, job->d, job->grad + i * job->d};
      poe_status status = poe_expert_sample(job->expert, out, job->at + i, job->scratch, error);
      if (status != POE_OK) {
        return status;
      }
    }
  }
  double taken = (bench_clock(job) - start) / (double)best->repeats;
  if (first) {
    best->repeats = (size_t)fmin(1e6, fmax(1.0, bench_pass_seconds / fmax(taken, 1e-7)));
  } else {
    best->seconds = fmin(best->seconds, taken);
  }
  return POE_OK;
}

/* The peer's pass; when it fails the peer is given up. */
static poe_status bench_peer_pass(bench_job *job, bool first, double *best, poe_error *error) {
  json_t *reply = NULL, *request = json_pack("{s:I,s:f}", "rows", (json_int_t)job->n, "seconds", bench_pass_seconds);
  poe_status status = poei_json_made(request, error);
  if (status == POE_OK) {
    status = poei_peer_ask(job->peer, request, bench_answer_seconds, job->session->monitor.stop, &reply, job->why,
                           sizeof job->why, error);
  }
  double taken = json_number_value(json_object_get(reply, "seconds"));
  if (status == POE_OK && !(taken > 0.0)) {
    poei_peer_close(job->peer);
    job->peer = NULL;
    *best = INFINITY;
  } else if (status == POE_OK && !first) {
    *best = fmin(*best, taken);
  }
  json_decref(request);
  json_decref(reply);
  return status;
}

static poe_status bench_passes(bench_job *job, bench_time *values, bench_time *gradients, bench_time *draws,
                               double *peer, poe_error *error) {
  poe_status status = POE_OK;
  *values = *gradients = *draws = (bench_time){INFINITY, 1};
  *peer = INFINITY;
  for (size_t pass = 0; pass < BENCH_PASSES && status == POE_OK; pass++) {
    const atomic_bool *stop = job->session->monitor.stop;
    if (stop != NULL && atomic_load(stop)) {
      return poe_error_set(error, POE_E_INTERRUPTED, "interrupted");
    }
    if (job->values) {
      status = bench_pass(job, false, pass == 0, values, error);
    }
    if (status == POE_OK && job->gradients) {
      status = bench_pass(job, true, pass == 0, gradients, error);
    }
    if (status == POE_OK && job->draws && pass < BENCH_DRAW_PASSES) {
      status = bench_draw_pass(job, pass == 0, draws, error);
    }
    if (status == POE_OK && job->peer != NULL) {
      status = bench_peer_pass(job, pass == 0, peer, error);
    }
  }
  return status;
}

/* ---- the yardstick ---- */

/* The bare matrix products of the networks below an expert. */
typedef struct bench_yardstick {
  double seconds, flops;
  size_t networks;
} bench_yardstick;

/* Repetitions of a product: some seconds for the largest networks, at most. */
static size_t bench_repeats(const poei_net *net, size_t n) {
  return (size_t)fmin(50.0, fmax(3.0, 1e10 / (3.0 * poei_net_flops(net) * (double)n)));
}

/* `times` evaluations of n rows by one network. */
static poe_status bench_net(const poei_net *net, unsigned want, size_t n, size_t times, bench_yardstick *sum,
                            poe_error *error) {
  double seconds = 0.0, flops = 0.0;
  poe_status status =
      times == 0 ? POE_OK : poei_net_time_gemms(net, want, n, bench_repeats(net, n), &seconds, &flops, error);
  if (flops > 0.0) {
    sum->seconds += (double)times * seconds;
    sum->flops += (double)times * flops;
  }
  return status;
}

static poe_status bench_nets(const poe_expert *expert, bool gradient, size_t n, bench_yardstick *sum,
                             poe_error *error) {
  size_t count = poei_expert_nets(expert, gradient, NULL, 0);
  poei_net_use *uses = poei_alloc(count + 1, sizeof *uses);
  if (uses == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  poei_expert_nets(expert, gradient, uses, count);
  if (poei_node_kind_of(expert) == POEI_NODE_through) {
    const poei_net *net = poei_decoder_net(poei_through_map(expert));
    uses[0] = (poei_net_use){net, gradient ? 0 : 1, gradient ? 1 : 0};
    count = net != NULL;
  }
  poe_status status = POE_OK;
  for (size_t k = 0; k < count && status == POE_OK; k++) {
    status = bench_net(uses[k].net, POE_WANT_LOGP, n, uses[k].forward, sum, error);
    status = status == POE_OK ? bench_net(uses[k].net, POE_WANT_GRAD, n, uses[k].both, sum, error) : status;
    sum->networks++;
  }
  poei_free(uses);
  return status;
}

/* Adds the seconds and operations of the bare matrix products of every network below `expert`, for n rows. */
static poe_status bench_products(const poe_expert *expert, bool gradient, size_t n, bench_yardstick *sum,
                                 poe_error *error) {
  poe_status status = bench_nets(expert, gradient, n, sum, error);
  for (size_t i = 0; status == POE_OK && i < poei_node_child_count(expert); i++) {
    status = bench_products(poei_node_child(expert, i), gradient, n, sum, error);
  }
  return status;
}

/* ---- one number of rows ---- */

/* null: not measured. */
static json_t *bench_number(double value) {
  return isnan(value) ? json_null() : poei_json_number(value);
}

static poe_status bench_measure(bench_job *job, json_t **result, poe_error *error) {
  bench_time values, gradients, draws;
  bench_yardstick bare = {0};
  double peer = INFINITY, rows = (double)job->n;
  size_t tile = job->n < POEI_TILE ? job->n : POEI_TILE, tiles = (job->n + POEI_TILE - 1) / POEI_TILE;
  poe_status status = bench_passes(job, &values, &gradients, &draws, &peer, error);
  if (status == POE_OK) {
    status = bench_products(job->expert, job->gradients, tile, &bare, error);
  }
  if (status != POE_OK) {
    return status;
  }
  double used = (double)(job->threads < tiles ? job->threads : tiles);
  double gemm = bare.flops > 0.0 ? bare.flops / bare.seconds * used * 1e-9 : NAN;
  double done = bare.flops * (double)tiles * (rows / (double)(tiles * tile)); /* in one evaluation */
  double taken = job->gradients ? gradients.seconds : job->values ? values.seconds : NAN;
  double reached = bare.flops > 0.0 ? done / taken * 1e-9 : NAN;
  *result = json_pack("{s:I,s:o,s:o,s:o,s:o,s:o}", "rows", (json_int_t)job->n, "rows_per_second",
                      bench_number(job->values ? rows / values.seconds : NAN), "gradient_rows_per_second",
                      bench_number(job->gradients ? rows / gradients.seconds : NAN), "gflops", bench_number(reached),
                      "gemm_gflops", bench_number(gemm), "fraction", bench_number(reached / gemm));
  status = poei_json_made(*result, error);
  if (!(bare.flops > 0.0)) {
    const char *why =
        bare.networks == 0 ? "there is no network in the target" : "nothing in its networks is a matrix product";
    status = poei_json_set(status, *result, "gemm_absent", json_string(why), error);
  }
  if (job->draws) {
    status = poei_json_set(status, *result, "draws_per_second", poei_json_number(rows / draws.seconds), error);
  }
  if (job->peer != NULL && isfinite(peer)) {
    status = poei_json_set(status, *result, "pytorch_gradient_rows_per_second", poei_json_number(rows / peer), error);
    status = poei_json_set(status, *result, "pytorch_ratio", poei_json_number(peer / gradients.seconds), error);
  }
  return status;
}

/* Memory for n rows, and their measurement. */
static poe_status bench_size(bench_job *job, size_t n, json_t **result, poe_error *error) {
  job->n = n;
  job->x = poei_alloc(n, job->d * sizeof *job->x);
  job->grad = poei_alloc(n, job->d * sizeof *job->grad);
  job->logp = poei_alloc(n, sizeof *job->logp);
  job->at = poei_alloc(n, sizeof *job->at);
  job->scratch = poe_scratch_create(job->draws ? poe_expert_scratch(job->expert, POE_WANT_SAMPLE, POEI_TILE) : 0);
  poe_status status = POE_OK;
  for (size_t i = 0; job->at != NULL && i < n; i++) {
    job->at[i] = poe_rng_seed(1);
    job->at[i].chain = (uint32_t)i;
  }
  if (job->x == NULL || job->grad == NULL || job->logp == NULL || job->at == NULL || job->scratch == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory for %zu rows", n);
  } else {
    poei_support_points(poe_expert_traits(job->expert)->support, job->d, n, job->x);
    status = bench_measure(job, result, error);
  }
  poei_free(job->x);
  poei_free(job->logp);
  poei_free(job->grad);
  poei_free(job->at);
  poe_scratch_destroy(job->scratch);
  return status;
}

/* ---- PyTorch ---- */

/* The `energy` that a target is and nothing else: inside its bounds a restricted one is its child. */
static const poe_expert *bench_energy(const poe_expert *expert) {
  while (poei_node_kind_of(expert) == POEI_NODE_restrict) {
    expert = poei_node_child(expert, 0);
  }
  return poei_energy_net(expert) != NULL ? expert : NULL;
}

static json_t *bench_texts(const poe_arg *arg) {
  json_t *list = json_array();
  for (size_t i = 0; list != NULL && i < arg->n_texts; i++) {
    if (json_array_append_new(list, json_string(arg->texts[i])) != 0) {
      json_decref(list);
      return NULL;
    }
  }
  return list;
}

/* What the peer is to build, and a point to compare at: the arguments of the energy's call. */
static poe_status bench_request(const bench_job *job, const poe_expert *energy, const double *x, json_t **request,
                                poe_error *error) {
  static const char *const names[] = {"file", "layers", "activation", "output_activation", "precision"};
  json_t *out = json_pack("{s:I,s:I,s:o}", "threads", (json_int_t)job->threads, "dim", (json_int_t)job->d, "x",
                          poei_json_numbers(x, job->d));
  size_t n = 0;
  const poe_arg *args = poei_program_arguments(job->session->program, energy, &n);
  poe_status status = poei_json_made(out, error);
  for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
    json_t *value = json_null();
    for (size_t i = 0; i < n; i++) {
      if (strcmp(args[i].name, names[k]) == 0) {
        value = args[i].type == POE_ARG_STRINGS ? bench_texts(&args[i]) : json_string(args[i].text);
      }
    }
    status = poei_json_set(status, out, names[k], value, error);
  }
  if (status != POE_OK) {
    json_decref(out);
    return status;
  }
  *request = out;
  return POE_OK;
}

/* Does the peer compute the same density? Both work in single precision, perhaps. */
static void bench_compare(bench_job *job, double ours, double theirs) {
  double apart = fabs(ours - theirs);
  if (!(apart <= 1e-3 * (1.0 + fabs(ours)))) {
    snprintf(job->why, sizeof job->why, "PyTorch's log-density is %.6g where it should be %.6g", theirs, ours);
    poei_peer_close(job->peer);
    job->peer = NULL;
  }
}

static poe_status bench_peer_open(bench_job *job, const poe_expert *energy, json_t **reply, poe_error *error) {
  double *x = poei_alloc(job->d, sizeof *x), logp = 0.0;
  json_t *request = NULL;
  if (x == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  poei_support_points(poe_expert_traits(job->expert)->support, job->d, 1, x);
  poe_status status = poei_runner_rows(job->runner, job->expert, (poe_rows){1, job->d, job->d, x}, &logp, NULL, error);
  if (status == POE_OK) {
    status = bench_request(job, energy, x, &request, error);
  }
  if (status == POE_OK) {
    status = poei_peer_open(poei_peer_pythons, request, bench_start_seconds, job->session->monitor.stop, &job->peer,
                            reply, job->why, sizeof job->why, error);
  }
  if (status == POE_OK && job->peer != NULL) {
    bench_compare(job, logp, json_number_value(json_object_get(*reply, "log_density")));
  }
  json_decref(request);
  poei_free(x);
  return status;
}

/* job->peer, or job->why there is none; *version: PyTorch's. */
static poe_status bench_find_peer(bench_job *job, const char *wanted, json_t **version, poe_error *error) {
  const poe_expert *energy = bench_energy(job->expert);
  json_t *reply = NULL;
  poe_status status = POE_OK;
  if (energy == NULL || !job->gradients) {
    snprintf(job->why, sizeof job->why, "the target is not a network's energy alone");
  } else {
    status = bench_peer_open(job, energy, &reply, error);
  }
  if (status == POE_OK && job->peer == NULL && strcmp(wanted, "pytorch") == 0) {
    poe_error_set(error, POE_E_CAPABILITY, "there is no PyTorch to compare with: %s", job->why);
    poe_error_hint(error, energy == NULL ? "bench an energy(...) on its own, or leave out --peer pytorch"
                                         : "Debian: apt install python3-torch; or leave out --peer pytorch");
    status = POE_E_CAPABILITY;
  }
  *version = json_incref(json_object_get(reply, "version"));
  json_decref(reply);
  return status;
}

/* ---- the verb ---- */

/* The sizes asked for, each measured; *last: the keys of the last one. */
static poe_status bench_all(bench_job *job, size_t rows, json_t *sizes, json_t **last, poe_error *error) {
  poe_status status = POE_OK;
  for (size_t k = 0; k < (rows > 0 ? 1 : BENCH_SIZES) && status == POE_OK; k++) {
    *last = NULL;
    status = bench_size(job, rows > 0 ? rows : bench_sizes[k], last, error);
    if (status == POE_OK) {
      status = poei_json_append(status, sizes, *last, error); /* the array's reference */
    } else {
      json_decref(*last);
    }
  }
  return status;
}

static poe_status bench_json(bench_job *job, const char *target, size_t rows, const json_t *version, json_t **result,
                             poe_error *error) {
  json_t *sizes = json_array(), *last = NULL;
  json_t *out = json_pack("{s:s,s:I,s:s,s:o}", "target", target, "threads", (json_int_t)job->threads, "blas_core",
                          poei_linalg_core_name(), "sizes", sizes);
  poe_status status = poei_json_made(out, error);
  if (status == POE_OK) {
    status = bench_all(job, rows, sizes, &last, error);
  }
  if (status == POE_OK && json_object_update(out, last) != 0) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  if (job->peer != NULL) {
    status = poei_json_set(status, out, "pytorch_version", json_deep_copy(version), error);
  } else if (job->why[0] != '\0') {
    status = poei_json_set(status, out, "pytorch_absent", json_string(job->why), error);
  }
  if (status != POE_OK) {
    json_decref(out);
    return status;
  }
  *result = out;
  return POE_OK;
}

static poe_status bench_solved(bench_job *job, const poei_action *action, const char *target, size_t rows,
                               json_t **result, poe_error *error) {
  const char *wanted = poei_option_text(action, "peer");
  size_t bytes = poe_expert_scratch(job->expert, job->gradients ? POE_WANT_GRAD : POE_WANT_LOGP, POEI_TILE);
  json_t *version = NULL;
  poe_status status = poei_runner_open(job->session, bytes, &job->runner, error);
  if (status == POE_OK && strcmp(wanted, "none") != 0) {
    status = bench_find_peer(job, wanted, &version, error);
  }
  if (status == POE_OK) {
    status = bench_json(job, target, rows, version, result, error);
  }
  poei_peer_close(job->peer);
  poei_runner_close(job->runner);
  json_decref(version);
  return status;
}

poe_status poei_answer_bench(poei_session *session, const poei_action *action, json_t **result, poe_error *error) {
  size_t rows = 0;
  poe_status status = poei_option_integer(action, "rows", 1, 1u << 24, &rows, error);
  poei_solved solved;
  if (status == POE_OK) {
    status = poei_solve_values(session, action->n_targets > 0 ? action->targets[0] : NULL, &solved, error);
  }
  if (status != POE_OK) {
    return status;
  }
  const poe_expert *expert = solved.plan->expert;
  bench_job job = {.session = session,
                   .expert = expert,
                   .d = solved.target.dim,
                   .threads = session->pool == NULL ? 1 : poei_pool_threads(session->pool),
                   .values = !poei_option_flag(action, "grad"),
                   .gradients = (poe_expert_traits(expert)->capabilities & POE_CAN_GRADIENT) != 0,
                   .draws = poei_option_flag(action, "draws")};
  if (job.draws && (poe_expert_traits(expert)->capabilities & POE_CAN_SAMPLE) == 0) {
    poei_solved_free(&solved);
    poe_error_set(error, POE_E_CAPABILITY, "the target has no exact draws of its own");
    poe_error_hint(error, "leave out --draws; `poe sample` times its run");
    return POE_E_CAPABILITY;
  }
  status = bench_solved(&job, action, solved.target.name, rows, result, error);
  poei_solved_free(&solved);
  return status;
}
