/* A session: a program and what answering needs (workers, seed, cache, monitor). One function per verb takes a session
 * and an action (from the file or built from the command line) and gives a JSON object with the keys of
 * docs/LANGUAGE.md; whatever a person reads is a view of that object.
 */
#ifndef POE_ANSWER_SESSION_H
#define POE_ANSWER_SESSION_H

#include <jansson.h>

#include "compose/language/program.h"
#include "compose/plan.h"
#include "core/pool.h"
#include "sampler/diagnostics.h"
#include "sampler/run.h"

typedef struct poei_session {
  poei_program *program;
  poei_pool *pool; /* NULL: one thread                                            */
  uint64_t seed;
  bool no_rewrite, no_cache;
  double prune;       /* mass of mixture components that an action lets be left out; 0: none                */
  size_t table_bytes; /* of the tables of exact elimination; 0: the planner's default                */
  poei_monitor monitor;
  const char *out_dir;           /* where `run` collects files; NULL: the working directory         */
  poei_diagnostics *diagnostics; /* where lowering puts its errors and warnings                      */
} poei_session;

/* ---- options of an action (answer/options.c) ---- */

/* The value of an option as text: given, else the table's default, else NULL. */
const char *poei_option_text(const poei_action *action, const char *name);
const poei_option_value *poei_option_given(const poei_action *action, const char *name);
bool poei_option_flag(const poei_action *action, const char *name);
/* Whole numbers in [low, high], numbers; E_USAGE naming the option otherwise. A missing option without default leaves
 * *out. */
poe_status poei_option_integer(const poei_action *action, const char *name, size_t low, size_t high, size_t *out,
                               poe_error *error);
/* A number of bytes, "1000" or "1.5G" (K, M, G: powers of 1024). */
poe_status poei_option_bytes(const poei_action *action, const char *name, size_t *out, poe_error *error);
poe_status poei_option_number(const poei_action *action, const char *name, double low, double high, double *out,
                              poe_error *error);
/* A list option: its items, or the single word given. *n = 0 when absent. */
const char *const *poei_option_items(const poei_action *action, const char *name, size_t *n);
/* A path under the session's output folder (heap; poei_free). Absolute paths and sessions without a folder: as given.
 */
char *poei_session_path(const poei_session *session, const char *name);

/* ---- building results (answer/json.c) ---- */

/* One step of building: adds `value` (a new reference, taken in any case) unless an earlier step failed. Returns
 * `status` when that is not POE_OK, else POE_E_MEMORY when jansson ran out of memory (a NULL value says so). */
poe_status poei_json_set(poe_status status, json_t *object, const char *key, json_t *value, poe_error *error);
poe_status poei_json_append(poe_status status, json_t *array, json_t *value, poe_error *error);
/* POE_E_MEMORY for NULL. */
poe_status poei_json_made(const json_t *value, poe_error *error);

/* ---- targets with all their constants (answer/solve.c) ---- */

/* One estimated constant that a plan needed. */
typedef struct poei_estimate {
  double log_z, std_error, memory; /* memory: as poei_log_z has it */
  const char *method;              /* static text */
  bool cached;
} poei_estimate;

typedef struct poei_solved {
  poei_target target;
  poe_expert *filled; /* target.expert with its holes filled */
  poei_plan *plan;    /* of `filled`                         */
  size_t n_estimates;
  poei_estimate *estimates;
} poei_solved;

/* session->prune as the action wants it. */
poe_status poei_prune_read(poei_session *session, const poei_action *action, poe_error *error);
/* How the session wants targets planned. */
poei_plan_options poei_session_plan_options(const poei_session *session);

/* Lowers, plans and fills the constants of an expression (NULL: the last density). */
poe_status poei_solve(poei_session *session, const char *expression, poei_solved *solved, poe_error *error);
/* The target of an action, what its option clamp says being given, and pruned as its option prune says. */
poe_status poei_solve_action(poei_session *session, const poei_action *action, poei_solved *solved, poe_error *error);
/* The same for values only: the tree is rewritten and its constants filled, but no method is chosen and the target need
 * not be proper (plan->expert is all that may be used of the plan). */
poe_status poei_solve_values(poei_session *session, const char *expression, poei_solved *solved, poe_error *error);
/* The same up to a constant: normalising constants that cancel between two points are left out, not computed. */
poe_status poei_solve_differences(poei_session *session, const char *expression, poei_solved *solved, poe_error *error);
void poei_solved_free(poei_solved *solved);
/* The plan of a target before anything is estimated or integrated: constants that would be are taken as 0 and counted.
 */
poe_status poei_plan_outline(poei_session *session, const poei_target *target, poei_plan **plan, size_t *constants,
                             poe_error *error);
/* POE_E_IMPROPER for a target that is known to have no finite integral; no method is chosen. */
poe_status poei_target_check_proper(poei_session *session, const poei_target *target, poe_error *error);
/* Gives an error without a place that of the target it is about; the second only what went wrong with its numbers. */
void poei_target_place(const poei_target *target, poe_error *error);
void poei_target_place_numbers(const poei_target *target, poe_status status, poe_error *error);
/* Moves the first error of the session's diagnostics into *error and returns its status. */
poe_status poei_session_error(const poei_session *session, poe_error *error);

/* ---- densities that are not finite (answer/trouble.c) ---- */

/* Completes an error about log p(x[dim]) of a tree, NaN or infinite (or, with `gradient`, about its gradient): names
 * whose doing it is, found by evaluating the experts below one by one, and gives the place where that was written. When
 * it is nobody's alone, or memory runs out, the error stays as it is. */
void poei_blame(const poei_session *session, const poe_expert *tree, const double *x, bool gradient, poe_error *error);
/* The same for what ended a sampler's run of a plan in the unconstrained coordinates of `smooth`; a coordinate that ran
 * away gets its name. */
void poei_blame_run(const poei_session *session, const poei_plan *plan, const poe_expert *smooth,
                    const poei_trouble *trouble, bool gradient, poe_error *error);

/* ---- log Z (answer/logz.c) ---- */

typedef struct poei_log_z {
  double log_z, std_error;
  bool exact;
  const char *method; /* static text */
  double ess;         /* of SMC; NaN otherwise */
  double memory;      /* of SMC (sampler/run.h): > 0 where std_error may be too small; 0 otherwise */
} poei_log_z;

/* log Z of an SMC plan, from a run. Its error holds that of the constants inside. */
poei_log_z poei_smc_log_z(const poei_plan *plan, const poei_smc_report *report);
/* log Z as the plan knows it (plan->has_log_z). */
poei_log_z poei_plan_known_log_z(const poei_plan *plan);

/* Defaults of an estimate: standard error to reach, independent islands, particles of each to begin with. */
#define POEI_LOG_Z_TOLERANCE 0.05
enum { POEI_LOG_Z_ISLANDS = 8, POEI_LOG_Z_PARTICLES = 128 };

/* log Z of a plan: exact, by quadrature, or by SMC repeated with more particles until std_error <= tolerance. */
poe_status poei_plan_log_z(poei_session *session, const poei_plan *plan, uint64_t seed, double tolerance,
                           size_t islands, size_t particles, poei_log_z *result, poe_error *error);

/* Keys beside a log Z of a solved target: `settled`, false where the moves of an estimate, its own or that of a
 * constant inside, ended with a memory of their start; then `warning`, in words. `more`: the option that gives more
 * particles. A step of building (poei_json_set). */
poe_status poei_settled_json(poe_status status, json_t *object, const poei_solved *solved, const poei_log_z *z,
                             const char *more, poe_error *error);

/* ---- draws (answer/draw.c) ---- */

/* The seed of part `index` of a run: of a component, a block, a repetition. */
uint64_t poei_part_seed(uint64_t seed, size_t index);

/* Sequential Monte Carlo of a plan that has a base, in the coordinates of plan->smooth; errors name who is to blame. */
poe_status poei_plan_smc(const poei_session *session, const poei_plan *plan, const poei_run_options *options,
                         poei_draws *draws, poei_smc_report *report, poe_error *error);

typedef struct poei_sampling {
  poei_draws draws; /* the target's free coordinates, user's space */
  bool exact;
  char method[64];    /* "closed form", "sequential Monte Carlo", "hmc" ... */
  const char *biased; /* name of an unadjusted kernel, or NULL        */
  bool has_log_z;
  poei_log_z log_z;
  bool has_weights; /* imh: */
  poei_weights weights;
  char proposal[POEI_GATE_REASON_SIZE]; /* what proposals are drawn from, in words */
} poei_sampling;

/* Draws by the plan's own method (method NULL or "auto") or a forced one: "exact", "smc" or a kernel's name. For smc,
 * imh and gibbs a plan that has nothing to start from is replaced by poei_plan_sampled's. Kernels start at init[n_init,
 * dim] in turn. draws.lp is the log-density of the target in the user's space. An interrupted run is POE_OK with
 * draws.interrupted set and what was drawn, or POE_E_INTERRUPTED when that is nothing. */
poe_status poei_draw(poei_session *session, const poei_plan *plan, const char *method, const poei_run_options *options,
                     const double *init, size_t n_init, poei_sampling *sampling, poe_error *error);
void poei_sampling_free(poei_sampling *sampling);
/* The plan of a solved target that samples from the expert of that name, or expression, in the same program:
 * poei_plan_sampled. POE_E_CAPABILITY when it cannot be drawn, or is over coordinates that the target has not. */
poe_status poei_propose(poei_session *session, const poei_solved *solved, const char *expression, poei_plan **plan,
                        poe_error *error);
/* The settings of a run from an action's options. */
poe_status poei_run_options_read(const poei_session *session, const poei_action *action, poei_run_options *options,
                                 poe_error *error);

/* ---- rows (answer/evaluate_rows.c) ---- */

/* Log-densities, and gradients unless grad is NULL, of any number of rows, in tiles over the pool. */
poe_status poei_evaluate_rows(const poei_session *session, const poe_expert *expert, poe_rows rows, double *logp,
                              double *grad, poe_error *error);
/* The same in two steps, for evaluating again and again: the workers' scratch is made once. Closing NULL is allowed. */
typedef struct poei_runner poei_runner;
poe_status poei_runner_open(const poei_session *session, size_t scratch_bytes, poei_runner **runner, poe_error *error);
poe_status poei_runner_rows(poei_runner *runner, const poe_expert *expert, poe_rows rows, double *logp, double *grad,
                            poe_error *error);
void poei_runner_close(poei_runner *runner);
/* y[n, out] = map(x), in tiles over the pool. */
poe_status poei_apply_rows(const poei_session *session, const poe_map *map, poe_rows rows, double *y, poe_error *error);
/* The same from rows over all coordinates of the program, full[n, total]: logp[n] of a target, y[n, derived->dim]. */
poe_status poei_full_values(const poei_session *session, const poei_solved *solved, size_t n, const double *full,
                            double *logp, poe_error *error);
poe_status poei_full_derived(const poei_session *session, const poei_derived *derived, size_t n, const double *full,
                             double *y, poe_error *error);
/* Rows of all coordinates of the program, [n, total], from draws of a target: free coordinates copied, clamped ones
 * filled, others NaN. */
void poei_expand_rows(const poei_program *program, const poei_target *target, size_t n, const double *x, double *full);
size_t poei_program_dim(const poei_program *program);

/* Points from a csv, npy, npz or safetensors file: *x [n, d] on the heap (poei_free). A vector is n points of 1 number.
 */
poe_status poei_points_read(const char *path, double **x, size_t *n, size_t *d, poe_error *error);
/* x[n, d]: fixed points inside a support[d], the same whenever asked; for probing and timing. */
void poei_support_points(const poe_support *support, size_t d, size_t n, double *x);
/* Is `name` a density defined in the program (rather than an expression)? */
bool poei_program_density_named(const poei_program *program, const char *name);

/* ---- saving (answer/save.c) ---- */

/* {passed, reasons[]} of a gate; a new reference. */
json_t *poei_gate_json(const poei_gate *gate);

/* Whether draws can be written to `path` with save[n_save], asked before they are made: the ending, the folder, the
 * names. path NULL: only the names. */
poe_status poei_save_check(poei_session *session, const char *path, size_t n_save, const char *const *save,
                           poe_error *error);
/* POE_E_FILE when the folder of `path` cannot be written to; asked before long work. */
poe_status poei_folder_check(const char *path, poe_error *error);
/* Writes draws as .npz or .csv (CmdStan's layout, one file per chain): the variables of the target, the derived
 * variables in save[n_save], and the sampler's statistics. Both say whether the gate passed (gate NULL: they do not).
 */
poe_status poei_save_draws(poei_session *session, const poei_target *target, const poei_sampling *sampling,
                           const char *path, size_t n_save, const char *const *save, const poei_gate *gate,
                           poe_error *error);

/* Scores of n points of d coordinates in a file, by its ending: .npy (log_density), .npz (log_density, grad, each.NAME)
 * or .csv (the same as columns). grad[n, d] and each[n_each][n] may be NULL. */
typedef struct poei_scores {
  size_t n, d, n_each;
  double *logp, *grad;
  const char **names; /* [n_each]    */
  double *each;       /* [n_each, n] */
} poei_scores;
poe_status poei_scores_check(const char *path, poe_error *error);
poe_status poei_scores_save(const char *path, const poei_scores *scores, poe_error *error);

/* ---- verbs: each gives a new JSON object (json_decref) ---- */

poe_status poei_answer_explain(poei_session *session, const poei_action *action, json_t **result, poe_error *error);
poe_status poei_answer_score(poei_session *session, const poei_action *action, json_t **result, poe_error *error);
poe_status poei_answer_logz(poei_session *session, const poei_action *action, json_t **result, poe_error *error);
/* POE_E_GATE with a result when the gate failed and --gate is fail; POE_E_INTERRUPTED with a result when interrupted.
 */
poe_status poei_answer_sample(poei_session *session, const poei_action *action, json_t **result, poe_error *error);
poe_status poei_answer_marginals(poei_session *session, const poei_action *action, json_t **result, poe_error *error);
/* POE_E_NUMERIC where the density grows without bound. */
poe_status poei_answer_minimize(poei_session *session, const poei_action *action, json_t **result, poe_error *error);
poe_status poei_answer_verify(poei_session *session, const poei_action *action, json_t **result, poe_error *error);
/* Its checks of an expert at x[n, dim], against the tree as it was `written`, appended to the array `checks`; *passed:
 * all of them. */
poe_status poei_verify_expert(const poei_session *session, const poe_expert *expert, const poe_expert *written,
                              size_t n, const double *x, json_t *checks, bool *passed, poe_error *error);
poe_status poei_answer_bench(poei_session *session, const poei_action *action, json_t **result, poe_error *error);
/* Needs no program: what a model or data file holds, and what to write to use it. description: a file of poe.* metadata
 * for it, NULL for none. */
poe_status poei_answer_info(const char *path, const char *description, json_t **result, poe_error *error);

/* Wall-clock seconds from an arbitrary origin. */
double poei_clock(void);

#endif
