/* Draws of a planned target in the user's space: by the plan's own method, or by a forced one.
 *
 * A mixture draws its component first and takes the component's next draw from the component's own plan; independent
 * blocks are drawn apart and put side by side. What has a closed form, is enumerated or gridded is drawn exactly.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "answer/draw_independent.h"
#include "answer/draw_latent.h"
#include "answer/session.h"
#include "compose/exact/discrete.h"
#include "compose/nodes/nodes.h"
#include "core/alloc.h"
#include "sampler/draws.h"

void poei_sampling_free(poei_sampling *sampling) {
  poei_draws_free(&sampling->draws);
  memset(sampling, 0, sizeof *sampling);
}

static void draw_method(poei_sampling *sampling, const char *word) {
  snprintf(sampling->method, sizeof sampling->method, "%s", word);
}

uint64_t poei_part_seed(uint64_t seed, size_t index) {
  return poe_rng_child(poe_rng_seed(seed), (uint32_t)(index + 1)).key;
}

/* Draws that share work: all of a run's at once, at the addresses of poei_run_exact. */
static poe_status draw_together(const poe_expert *sampler, const poei_run_options *options, poei_draws *draws,
                                poe_error *error) {
  poei_run_options wanted;
  poe_status status = poei_run_defaults(sampler, options, &wanted, error);
  size_t d = poe_expert_traits(sampler)->dim, n = 0;
  if (status == POE_OK) {
    status = poei_draws_create(wanted.chains, wanted.draws, d, draws, error);
    n = wanted.chains * wanted.draws;
  }
  poe_rng *at = status == POE_OK ? poei_alloc(n, sizeof *at) : NULL;
  if (status == POE_OK && at == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t i = 0; i < n && status == POE_OK; i++) {
    at[i] = poe_rng_seed(wanted.seed);
    at[i].chain = (uint32_t)(i / wanted.draws);
    at[i].step = (uint32_t)(i % wanted.draws);
  }
  if (status == POE_OK) {
    status = poei_elimination_draw(sampler, (poe_rows_out){.n = n, .d = d, .ld = d, .x = draws->x}, at, error);
  }
  poei_free(at);
  if (status != POE_OK) {
    poei_draws_free(draws);
  }
  return status;
}

static poe_status draw_no_exact(const poei_plan *plan, poe_error *error) {
  poe_error_set(error, POE_E_CAPABILITY, "the target has no exact draws: %s", plan->reason);
  if (plan->method == POEI_METHOD_ELIMINATION) {
    poe_error_hint(error, "--table-bytes allows more tables; or give values to some of the variables");
  }
  return POE_E_CAPABILITY;
}

static poe_status draw_exact(const poei_plan *plan, const poei_run_options *options, poei_sampling *sampling,
                             poe_error *error) {
  if (plan->sampler == NULL) {
    return draw_no_exact(plan, error);
  }
  sampling->exact = plan->method != POEI_METHOD_QUADRATURE && plan->discarded == 0.0;
  draw_method(sampling, poei_method_word(plan->method));
  return poei_elimination_draws_together(plan->sampler)
             ? draw_together(plan->sampler, options, &sampling->draws, error)
             : poei_run_exact(plan->sampler, options, &sampling->draws, error);
}

/* x <- user's space, in place: both spaces have the same dimension. */
static void draw_constrain(const poe_expert *smooth, poei_draws *draws) {
  poei_transform_constrain(smooth, draws->chains * draws->draws, draws->x, draws->dim, draws->x, draws->dim);
}

poe_status poei_plan_smc(const poei_session *session, const poei_plan *plan, const poei_run_options *options,
                         poei_draws *draws, poei_smc_report *report, poe_error *error) {
  poei_run_options own = *options;
  poei_trouble trouble = {.point = poei_alloc(plan->dim, sizeof *trouble.point)};
  own.trouble = &trouble;
  poe_status status = poei_run_smc(plan->base, plan->rest, &own, draws, report, error);
  if (status == POE_E_NUMERIC) {
    poei_blame_run(session, plan, plan->smooth, &trouble, false, error);
  }
  poei_free(trouble.point);
  return status;
}

static poe_status draw_smc(const poei_session *session, const poei_plan *plan, const poei_run_options *options,
                           poei_sampling *sampling, poe_error *error) {
  poei_smc_report report = {0};
  poe_status status = poei_plan_smc(session, plan, options, &sampling->draws, &report, error);
  if (status != POE_OK) {
    return status;
  }
  draw_constrain(plan->smooth, &sampling->draws);
  draw_method(sampling, poei_method_word(POEI_METHOD_SMC));
  sampling->has_log_z = true;
  sampling->log_z = poei_smc_log_z(plan, &report);
  return POE_OK;
}

/* Starts of a kernel's chains in unconstrained space, or NULL in *start: the user's points in turn, else draws of the
 * base of the path, else the kernel's own random starts. */
static poe_status draw_starts(const poei_plan *plan, const poe_expert *smooth, const poei_run_options *options,
                              const double *init, size_t n_init, double **start, poe_error *error) {
  size_t d = plan->dim, chains = options->chains;
  *start = NULL;
  if (n_init == 0 && plan->base == NULL) {
    return POE_OK;
  }
  double *u = poei_alloc(chains * d, sizeof *u);
  if (u == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  if (n_init > 0) {
    for (size_t i = 0; i < chains; i++) {
      poei_transform_unconstrain(smooth, 1, init + (i % n_init) * d, d, u + i * d, d);
    }
  } else {
    poei_run_options one = *options;
    one.draws = 1;
    one.thin = 1;
    one.monitor = (poei_monitor){0}; /* starts are there or not, whatever is interrupted */
    one.seed = poei_part_seed(options->seed, 7);
    poei_draws draws = {0};
    poe_status status = poei_run_exact(plan->base, &one, &draws, error);
    if (status != POE_OK) {
      poei_free(u);
      return status;
    }
    memcpy(u, draws.x, chains * d * sizeof *u);
    poei_draws_free(&draws);
  }
  *start = u;
  return POE_OK;
}

static poe_status draw_mcmc(const poei_session *session, const poei_plan *plan, const poei_kernel *kernel,
                            const poei_run_options *options, const double *init, size_t n_init, poei_sampling *sampling,
                            poe_error *error) {
  poe_expert *smooth = plan->smooth == NULL ? NULL : poe_expert_retain(plan->smooth);
  poe_status status = POE_OK;
  if (smooth == NULL) {
    status = poei_transform_create(plan->expert, &smooth, error);
  }
  double *start = NULL;
  if (status == POE_OK) {
    status = draw_starts(plan, smooth, options, init, n_init, &start, error);
  }
  if (status == POE_OK) {
    poei_run_options own = *options;
    poei_trouble trouble = {.point = poei_alloc(plan->dim, sizeof *trouble.point)};
    own.trouble = &trouble;
    status = poei_run_mcmc(smooth, kernel, &own, start, &sampling->draws, error);
    if (status == POE_E_NUMERIC) {
      poei_blame_run(session, plan, smooth, &trouble, kernel->needs_gradient, error);
    }
    poei_free(trouble.point);
  }
  if (status == POE_OK) {
    draw_constrain(smooth, &sampling->draws);
    draw_method(sampling, kernel->name);
    sampling->biased = kernel->biased ? kernel->name : NULL;
  }
  poei_free(start);
  poe_expert_release(smooth);
  return status;
}

/* Copies row `from` of a part's chain over row `to` of the whole, with its statistics. */
static void draw_take(poei_draws *whole, const poei_draws *part, size_t chain, size_t to, size_t from,
                      const size_t *index) {
  size_t w = chain * whole->draws + to, p = chain * part->draws + from;
  for (size_t j = 0; j < part->dim; j++) {
    whole->x[w * whole->dim + (index == NULL ? j : index[j])] = part->x[p * part->dim + j];
  }
  whole->diverging[w] = (unsigned char)(whole->diverging[w] | part->diverging[p]);
}

/* Which component draw i of each chain belongs to: label[chains, draws], and how often at most a chain uses each. */
static void draw_labels(const poei_plan *plan, const poei_run_options *options, uint32_t *label, size_t *most,
                        double *weight, size_t *used) {
  for (size_t k = 0; k < plan->n_parts; k++) {
    weight[k] = exp(plan->part_log_weight[k]);
    most[k] = 0;
  }
  poe_rng at = poe_rng_seed(poei_part_seed(options->seed, plan->n_parts));
  for (size_t c = 0; c < options->chains; c++) {
    memset(used, 0, plan->n_parts * sizeof *used);
    for (size_t i = 0; i < options->draws; i++) {
      at.chain = (uint32_t)c;
      at.step = (uint32_t)i;
      poe_stream stream = poe_stream_open(at);
      size_t k = poe_stream_categorical(&stream, weight, plan->n_parts);
      label[c * options->draws + i] = (uint32_t)k;
      used[k]++;
      most[k] = used[k] > most[k] ? used[k] : most[k];
    }
  }
}

enum { DRAW_MIN_PARTICLES = 64 };

/* What parts add to the whole besides their draws. */
static void draw_add(poei_sampling *sampling, const poei_sampling *part) {
  sampling->draws.gradient_evaluations += part->draws.gradient_evaluations;
  sampling->draws.density_evaluations += part->draws.density_evaluations;
  sampling->draws.interrupted = sampling->draws.interrupted || part->draws.interrupted;
  sampling->exact = sampling->exact && part->exact;
  sampling->biased = part->biased != NULL ? part->biased : sampling->biased;
}

/* Draws of part k go where the labels say so: the j-th use of a chain takes the part's j-th draw. *have: how many draws
 * of each chain there were. */
static poe_status draw_component(poei_session *session, const poei_plan *plan, size_t k, const char *method,
                                 const poei_run_options *options, size_t most, const uint32_t *label, size_t *have,
                                 poei_sampling *sampling, poe_error *error) {
  poei_run_options part_options = *options;
  part_options.draws = most < DRAW_MIN_PARTICLES ? DRAW_MIN_PARTICLES : most;
  part_options.seed = poei_part_seed(options->seed, k);
  poei_sampling part = {0};
  poe_status status = poei_draw(session, plan->parts[k], method, &part_options, NULL, 0, &part, error);
  if (status != POE_OK) {
    return status;
  }
  for (size_t c = 0; c < options->chains; c++) {
    size_t j = 0;
    for (size_t i = 0; i < options->draws && j < part.draws.draws; i++) {
      if (label[c * options->draws + i] == k) {
        draw_take(&sampling->draws, &part.draws, c, i, j++, NULL);
      }
    }
  }
  *have = part.draws.draws;
  draw_add(sampling, &part);
  poei_sampling_free(&part);
  return POE_OK;
}

/* After an interruption: cuts every chain before the first draw that its component cannot give. Stopping at the
 * (j + 1)-th use of a component leaves its share unbiased (inverse sampling, Haldane 1945) if j > 0: nothing is kept
 * when a component that is used has no draw at all. */
static poe_status draw_mixture_cut(size_t parts, const uint32_t *label, const size_t *most, const size_t *have,
                                   size_t *used, poei_draws *draws, poe_error *error) {
  size_t kept = draws->draws;
  for (size_t k = 0; k < parts; k++) {
    kept = most[k] > 0 && have[k] == 0 ? 0 : kept;
  }
  for (size_t c = 0; c < draws->chains; c++) {
    memset(used, 0, parts * sizeof *used);
    for (size_t i = 0; i < kept; i++) {
      size_t k = label[c * draws->draws + i];
      if (used[k]++ == have[k]) {
        kept = i;
      }
    }
  }
  if (kept == 0) {
    return poe_error_set(error, POE_E_INTERRUPTED, "interrupted before every component of the mixture was drawn");
  }
  poei_draws_cut(draws, kept);
  return POE_OK;
}

/* Exact parts are drawn first (pass 0), so that an interruption of the others loses least. */
static bool draw_in_pass(const poei_plan *part, size_t pass) {
  return (part->sampler != NULL) == (pass == 0);
}

static poe_status draw_mixture(poei_session *session, const poei_plan *plan, const char *method,
                               const poei_run_options *options, poei_sampling *sampling, poe_error *error) {
  size_t n = options->chains * options->draws, parts = plan->n_parts;
  uint32_t *label = poei_alloc(n, sizeof *label);
  size_t *most = poei_calloc(parts, sizeof *most), *used = poei_alloc(parts, sizeof *used);
  size_t *have = poei_calloc(parts, sizeof *have); /* draws each component gave */
  double *weight = poei_alloc(parts, sizeof *weight);
  poe_status status = label == NULL || most == NULL || used == NULL || have == NULL || weight == NULL
                          ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                          : poei_draws_create(options->chains, options->draws, plan->dim, &sampling->draws, error);
  if (status == POE_OK) {
    draw_labels(plan, options, label, most, weight, used);
    sampling->exact = plan->log_z_error == 0.0;
    draw_method(sampling, poei_method_word(POEI_METHOD_MIXTURE));
  }
  for (size_t turn = 0; status == POE_OK && turn < 2 * parts && !sampling->draws.interrupted; turn++) {
    size_t k = turn % parts;
    if (most[k] > 0 && draw_in_pass(plan->parts[k], turn / parts)) {
      status = draw_component(session, plan, k, method, options, most[k], label, &have[k], sampling, error);
    }
  }
  if (status == POE_OK && sampling->draws.interrupted) {
    status = draw_mixture_cut(parts, label, most, have, used, &sampling->draws, error);
  }
  poei_free(label);
  poei_free(most);
  poei_free(used);
  poei_free(have);
  poei_free(weight);
  return status;
}

/* Lets the coordinates of the first block follow those that the second one has replaced; before[n_read]. */
static void draw_follow(const poei_plan *plan, const double *before, double *x) {
  for (size_t j = 0; plan->n_read > 0 && j < plan->parts[0]->dim; j++) {
    double move = 0.0;
    for (size_t s = 0; s < plan->n_read; s++) {
      move += plan->gain[j * plan->n_read + s] * (x[plan->read[s]] - before[s]);
    }
    x[plan->part_index[0][j]] += move;
  }
}

/* The draws of block b beside those of the others; *kept: how many draws every block so far has. */
static poe_status draw_block(poei_session *session, const poei_plan *plan, size_t b, const char *method,
                             const poei_run_options *options, size_t *kept, poei_sampling *sampling, poe_error *error) {
  poei_run_options part_options = *options;
  part_options.seed = poei_part_seed(options->seed, b);
  poei_sampling part = {0};
  poe_status status = poei_draw(session, plan->parts[b], method, &part_options, NULL, 0, &part, error);
  if (status != POE_OK) {
    return status;
  }
  *kept = part.draws.draws < *kept ? part.draws.draws : *kept;
  double *before = poei_alloc(plan->n_read, sizeof *before);
  if (before == NULL) {
    poei_sampling_free(&part);
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t c = 0; c < options->chains; c++) {
    for (size_t i = 0; i < *kept; i++) {
      double *x = sampling->draws.x + (c * sampling->draws.draws + i) * plan->dim;
      for (size_t s = 0; s < plan->n_read; s++) {
        before[s] = x[plan->read[s]];
      }
      draw_take(&sampling->draws, &part.draws, c, i, i, plan->part_index[b]);
      if (b == 1) {
        draw_follow(plan, before, x);
      }
    }
  }
  poei_free(before);
  draw_add(sampling, &part);
  poei_sampling_free(&part);
  return POE_OK;
}

static poe_status draw_blocks(poei_session *session, const poei_plan *plan, const char *method,
                              const poei_run_options *options, poei_sampling *sampling, poe_error *error) {
  poe_status status = poei_draws_create(options->chains, options->draws, plan->dim, &sampling->draws, error);
  size_t kept = options->draws;
  sampling->exact = true;
  draw_method(sampling, poei_method_word(plan->method));
  for (size_t turn = 0; status == POE_OK && turn < 2 * plan->n_parts; turn++) {
    size_t b = turn % plan->n_parts;
    if (draw_in_pass(plan->parts[b], turn / plan->n_parts)) {
      status = draw_block(session, plan, b, method, options, &kept, sampling, error);
    }
  }
  if (status == POE_OK && kept == 0) {
    status = poe_error_set(error, POE_E_INTERRUPTED, "interrupted before every block was drawn");
  } else if (status == POE_OK) {
    poei_draws_cut(&sampling->draws, kept);
  }
  return status;
}

/* The density of every draw under the whole target, in the user's space: parts know their own only, kernels that of the
 * unconstrained coordinates. */
static poe_status draw_fill_lp(poei_session *session, const poei_plan *plan, poei_draws *draws, poe_error *error) {
  bool evaluates = (poe_expert_traits(plan->expert)->capabilities & POE_CAN_EVAL) != 0;
  if (!evaluates ||
      plan->method == POEI_METHOD_JOINT) { /* drawn jointly because it is slow to evaluate, or cannot be */
    return POE_OK;
  }
  poe_rows rows = {draws->chains * draws->draws, draws->dim, draws->dim, draws->x};
  return poei_evaluate_rows(session, plan->expert, rows, draws->lp, NULL, error);
}

/* smc (kernel NULL) and the kernels that need something to start from, which an exact plan has not looked for. */
static poe_status draw_from_start(poei_session *session, const poei_plan *plan, const poei_kernel *kernel,
                                  const poei_run_options *options, const double *init, size_t n_init,
                                  poei_sampling *sampling, poe_error *error) {
  const char *name = kernel == NULL ? "smc" : kernel->name;
  poei_plan *own = NULL;
  poe_status status = plan->base != NULL ? POE_OK : poei_plan_sampled(plan, NULL, &own, error);
  const poei_plan *used = own == NULL ? plan : own;
  if (status == POE_OK && used->base == NULL) {
    status = poe_error_set(error, POE_E_CAPABILITY, "%s has no expert to start from: %s", name, used->reason);
  } else if (status == POE_OK && kernel == NULL) {
    status = draw_smc(session, used, options, sampling, error);
  } else if (status == POE_OK && kernel->independent) {
    status = poei_draw_independent(session, used, options, init, n_init, sampling, error);
  } else if (status == POE_OK) {
    status = draw_mcmc(session, used, kernel, options, init, n_init, sampling, error);
  }
  poei_plan_destroy(own);
  return status;
}

static poe_status draw_auto(poei_session *session, const poei_plan *plan, const poei_run_options *options,
                            const double *init, size_t n_init, poei_sampling *sampling, poe_error *error) {
  switch (plan->method) {
  case POEI_METHOD_CLOSED:
  case POEI_METHOD_ENUMERATION:
  case POEI_METHOD_QUADRATURE:
    return draw_exact(plan, options, sampling, error);
  case POEI_METHOD_ELIMINATION: /* where its tables allow log Z only, draws are had in another way */
    return plan->sampler != NULL ? draw_exact(plan, options, sampling, error)
                                 : draw_from_start(session, plan, NULL, options, NULL, 0, sampling, error);
  case POEI_METHOD_MIXTURE:
    return draw_mixture(session, plan, "auto", options, sampling, error);
  case POEI_METHOD_BLOCKS:
  case POEI_METHOD_REST:
    return draw_blocks(session, plan, "auto", options, sampling, error);
  case POEI_METHOD_JOINT:
  case POEI_METHOD_MARGINAL:
    return poei_draw_latent(session, plan, "auto", options, sampling, error);
  case POEI_METHOD_SMC:
    return draw_smc(session, plan, options, sampling, error);
  case POEI_METHOD_MCMC:
    break;
  }
  bool gradient = (poe_expert_traits(plan->smooth)->capabilities & POE_CAN_GRADIENT) != 0;
  return draw_mcmc(session, plan, gradient ? &poei_hmc_kernel : &poei_rwm_kernel, options, init, n_init, sampling,
                   error);
}

static poe_status draw_forced_exact(poei_session *session, const poei_plan *plan, const poei_run_options *options,
                                    poei_sampling *sampling, poe_error *error) {
  if (plan->sampler != NULL) {
    return draw_exact(plan, options, sampling, error);
  }
  if (plan->method == POEI_METHOD_MIXTURE) {
    return draw_mixture(session, plan, "exact", options, sampling, error);
  }
  if (plan->method == POEI_METHOD_BLOCKS || plan->method == POEI_METHOD_REST) {
    return draw_blocks(session, plan, "exact", options, sampling, error);
  }
  return draw_no_exact(plan, error);
}

static poe_status draw_forced(poei_session *session, const poei_plan *plan, const char *method,
                              const poei_run_options *options, const double *init, size_t n_init,
                              poei_sampling *sampling, poe_error *error) {
  if (plan->method == POEI_METHOD_JOINT || plan->method == POEI_METHOD_MARGINAL) {
    return poei_draw_latent(session, plan, method, options, sampling, error);
  }
  if (strcmp(method, "exact") == 0) {
    return draw_forced_exact(session, plan, options, sampling, error);
  }
  const poei_kernel *kernel = poei_kernel_find(method);
  bool smc = strcmp(method, "smc") == 0;
  if (kernel == NULL && !smc) {
    return poe_error_set(error, POE_E_USAGE, "unknown method '%s'", method);
  }
  if (smc || kernel->independent || kernel->discrete) {
    return draw_from_start(session, plan, kernel, options, init, n_init, sampling, error);
  }
  return draw_mcmc(session, plan, kernel, options, init, n_init, sampling, error);
}

/* Starting points are for kernels: elsewhere they would be ignored. */
static poe_status draw_check_init(const poei_plan *plan, const char *method, size_t n_init, poe_error *error) {
  bool kernel = poei_kernel_find(method) != NULL || (strcmp(method, "auto") == 0 && plan->method == POEI_METHOD_MCMC);
  if (n_init == 0 || kernel) {
    return POE_OK;
  }
  poe_error_set(error, POE_E_USAGE, "starting points have no meaning: the target is drawn by %s",
                strcmp(method, "auto") == 0 ? poei_method_word(plan->method) : method);
  poe_error_hint(error, "name a kernel, such as method hmc, to start chains there");
  return POE_E_USAGE;
}

poe_status poei_draw(poei_session *session, const poei_plan *plan, const char *method, const poei_run_options *options,
                     const double *init, size_t n_init, poei_sampling *sampling, poe_error *error) {
  memset(sampling, 0, sizeof *sampling);
  method = method == NULL ? "auto" : method;
  poe_status status = draw_check_init(plan, method, n_init, error);
  if (status == POE_OK && strcmp(method, "auto") == 0) {
    status = draw_auto(session, plan, options, init, n_init, sampling, error);
  } else if (status == POE_OK) {
    status = draw_forced(session, plan, method, options, init, n_init, sampling, error);
  }
  if (status == POE_OK && sampling->draws.draws == 0) {
    status = poe_error_set(error, POE_E_INTERRUPTED, "interrupted before the first draw");
  }
  if (status == POE_OK) {
    status = draw_fill_lp(session, plan, &sampling->draws, error);
  }
  if (status == POE_OK && plan->has_log_z) {
    sampling->has_log_z = true;
    sampling->log_z = poei_plan_known_log_z(plan);
  }
  if (status != POE_OK) {
    poei_sampling_free(sampling);
  }
  return status;
}
