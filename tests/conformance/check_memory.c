/* Checks of memory, threads and ownership: scratch within the declaration, no allocation while evaluating, every
 * allocation of a constructor failing in turn, the same bits for any number of workers, reference counts. */
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/pool.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

static bool has(const poe_expert *expert, unsigned bits) {
  return (poe_expert_traits(expert)->capabilities & bits) == bits;
}

/* Runs one use of n rows in an arena with room beyond the declaration, so that taking more is seen rather than crashes;
 * reports on the heap or on the arena. (poet_eval has exactly the declared size.) */
static void scratch_use(const poet_case *c, const poe_expert *expert, unsigned want, size_t n, bool heap,
                        poet_report *report) {
  size_t d = poe_expert_traits(expert)->dim, declared = poe_expert_scratch(expert, want, n);
  poe_scratch *scratch = poe_scratch_create(declared + (1u << 20));
  double *x = poet_points(c, expert, n), *logp = poet_doubles(n), *grad = poet_doubles(n * d), one = 1.0;
  poe_rng *at = calloc(n, sizeof *at);
  poe_error error = {0};
  assert_non_null(scratch);
  assert_non_null(at);
  for (size_t i = 0; i < n; i++) {
    at[i] = poe_rng_seed(i);
  }
  uint64_t allocations = poei_alloc_count();
  poe_status status = POE_OK;
  if ((want & POE_WANT_SAMPLE) != 0) {
    status = poe_expert_sample(expert, (poe_rows_out){n, d, d, x}, at, scratch, &error);
  } else {
    bool gradient = (want & POE_WANT_GRAD) != 0;
    status = poe_expert_eval_add(expert, (poe_rows){n, d, d, x}, (poe_weights){&one, 0},
                                 (poe_accum){logp, gradient ? grad : NULL, d}, scratch, &error);
  }
  if (status != POE_OK) {
    poet_fail(report, "%zu rows failed: %s", n, error.message);
  }
  if (heap && poei_alloc_count() != allocations) {
    poet_fail(report, "%zu allocations on the heap while evaluating %zu rows",
              (size_t)(poei_alloc_count() - allocations), n);
  }
  if (!heap && poe_scratch_high_water(scratch) > declared) {
    poet_fail(report, "%zu rows used %zu bytes of scratch, %zu were declared", n, poe_scratch_high_water(scratch),
              declared);
  }
  if (!heap && poe_scratch_mark(scratch) != 0) {
    poet_fail(report, "scratch was taken and not released");
  }
  poe_scratch_destroy(scratch);
  free(x);
  free(logp);
  free(grad);
  free(at);
}

static void scratch_uses(const poet_case *c, const poe_expert *expert, bool heap, poet_report *report) {
  static const size_t counts[] = {1, 2, 7, 8, 63, 64, 65, 200};
  for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
    if (has(expert, POE_CAN_EVAL)) {
      scratch_use(c, expert, POE_WANT_LOGP, counts[i], heap, report);
    }
    if (has(expert, POE_CAN_GRADIENT)) {
      scratch_use(c, expert, POE_WANT_GRAD, counts[i], heap, report);
    }
    if (has(expert, POE_CAN_SAMPLE)) {
      scratch_use(c, expert, POE_WANT_SAMPLE, counts[i], heap, report);
    }
  }
}

void poet_check_scratch(const poet_case *c, const poe_expert *expert, poet_report *report) {
  static const unsigned wants[] = {POE_WANT_LOGP, POE_WANT_GRAD, POE_WANT_SAMPLE, POE_WANT_ONEHOT};
  for (size_t w = 0; w < 4; w++) {
    for (size_t n = 1; n < 200; n++) {
      if (poe_expert_scratch(expert, wants[w], n) > poe_expert_scratch(expert, wants[w], n + 1)) {
        poet_fail(report, "fewer bytes of scratch are declared for %zu rows than for %zu", n + 1, n);
      }
    }
  }
  scratch_uses(c, expert, false, report);
}

/* The closed form may take memory from the heap (it is the caller's); evaluating and drawing may not. */
void poet_check_allocation(const poet_case *c, const poe_expert *expert, poet_report *report) {
  scratch_uses(c, expert, true, report);
}

static bool failing_build(const poet_case *c, uint64_t n, poet_report *report) {
  poe_expert *const untouched = (poe_expert *)(uintptr_t)0x10;
  poe_expert *expert = untouched;
  poe_error error = {0};
  uint64_t before = poei_alloc_count();
  poei_alloc_fail_at(n);
  poe_status status = c->build(&expert, &error);
  poei_alloc_fail_at(0);
  bool reached = poei_alloc_count() - before >= n;
  if (status == POE_OK) {
    if (expert == untouched) {
      poet_fail(report, "building succeeded without an expert");
    } else {
      poe_expert_release(expert); /* it could do without that piece of memory */
    }
    return reached;
  }
  if (!reached || status != POE_E_MEMORY) {
    poet_fail(report, "with allocation %zu failing, building ends with %s: %s", (size_t)n, poe_status_name(status),
              error.message);
  }
  if (expert != untouched) {
    poet_fail(report, "with allocation %zu failing, the output was written", (size_t)n);
  }
  if (error.status != status || error.message[0] == '\0') {
    poet_fail(report, "with allocation %zu failing, the error has no text", (size_t)n);
  }
  return reached;
}

static bool failing_form(const poe_expert *expert, uint64_t n, poet_report *report) {
  poe_form form = {0};
  poe_error error = {0};
  uint64_t before = poei_alloc_count();
  poei_alloc_fail_at(n);
  poe_status status = poe_expert_form(expert, &form, &error);
  poei_alloc_fail_at(0);
  bool reached = poei_alloc_count() - before >= n;
  if (reached && status != POE_OK && status != POE_E_MEMORY) {
    poet_fail(report, "with allocation %zu failing, the form ends with %s", (size_t)n, poe_status_name(status));
  }
  if (status != POE_OK && (form.constant != NULL || form.log_value != NULL)) {
    poet_fail(report, "with allocation %zu failing, the form was written", (size_t)n);
  }
  poe_form_release(&form);
  return reached;
}

static bool failing_structure(const poe_expert *expert, uint64_t n, poet_report *report) {
  poe_structure structure = {0}, untouched = {0};
  poe_error error = {0};
  uint64_t before = poei_alloc_count();
  poei_alloc_fail_at(n);
  poe_status status = poe_expert_structure(expert, &structure, &error);
  poei_alloc_fail_at(0);
  bool reached = poei_alloc_count() - before >= n;
  if (reached && status != POE_OK && status != POE_E_MEMORY) {
    poet_fail(report, "with allocation %zu failing, the structure ends with %s", (size_t)n, poe_status_name(status));
  }
  if (status != POE_OK && memcmp(&structure, &untouched, sizeof structure) != 0) {
    poet_fail(report, "with allocation %zu failing, the structure was written", (size_t)n);
  }
  poe_structure_release(&structure);
  return reached;
}

void poet_check_failing_allocations(const poet_case *c, const poe_expert *expert, poet_report *report) {
  enum { MANY = 20000 };
  uint64_t n = 1;
  while (n < MANY && failing_build(c, n, report)) {
    n++;
  }
  if (n == 1 || n == MANY) {
    poet_fail(report, "building takes %zu allocations", (size_t)n - 1);
  }
  n = 1;
  while (has(expert, POE_CAN_FORM) && n < MANY && failing_form(expert, n, report)) {
    n++;
  }
  n = 1;
  while (has(expert, POE_CAN_STRUCTURE) && n < MANY && failing_structure(expert, n, report)) {
    n++;
  }
}

/* ---- workers ---- */

enum { WORKER_ROWS = 16 * POEI_TILE + 11 };

typedef struct worker_run {
  const poe_expert *expert;
  const double *x;
  double *logp, *grad;
  poe_scratch *scratch[2];
} worker_run;

static poe_status worker_tile(void *context, size_t index, size_t worker) {
  worker_run *run = context;
  size_t start = index * POEI_TILE, d = poe_expert_traits(run->expert)->dim;
  size_t n = WORKER_ROWS - start < POEI_TILE ? WORKER_ROWS - start : POEI_TILE;
  double one = 1.0;
  poe_error error = {0};
  return poe_expert_eval_add(run->expert, (poe_rows){n, d, d, run->x + start * d}, (poe_weights){&one, 0},
                             (poe_accum){run->logp + start, run->grad != NULL ? run->grad + start * d : NULL, d},
                             run->scratch[worker], &error);
}

static void worker_all(const poe_expert *expert, size_t threads, const double *x, double *logp, double *grad,
                       poet_report *report) {
  bool gradient = has(expert, POE_CAN_GRADIENT);
  worker_run run = {.expert = expert, .x = x, .logp = logp, .grad = gradient ? grad : NULL};
  for (size_t i = 0; i < 2; i++) {
    run.scratch[i] = poe_scratch_create(poe_expert_scratch(expert, gradient ? POE_WANT_GRAD : 0u, POEI_TILE));
    assert_non_null(run.scratch[i]);
  }
  poei_pool *pool = poei_pool_create(threads);
  assert_non_null(pool);
  if (poei_pool_run(pool, (WORKER_ROWS + POEI_TILE - 1) / POEI_TILE, worker_tile, &run) != POE_OK) {
    poet_fail(report, "evaluation failed with %zu workers", threads);
  }
  poei_pool_destroy(pool);
  poe_scratch_destroy(run.scratch[0]);
  poe_scratch_destroy(run.scratch[1]);
}

void poet_check_workers(const poet_case *c, const poe_expert *expert, poet_report *report) {
  if (!has(expert, POE_CAN_EVAL)) {
    return;
  }
  size_t d = poe_expert_traits(expert)->dim, n = WORKER_ROWS;
  double *x = poet_points(c, expert, n), *logp = poet_doubles(2 * n), *grad = poet_doubles(2 * n * d);
  worker_all(expert, 1, x, logp, grad, report);
  worker_all(expert, 2, x, logp + n, grad + n * d, report);
  if (memcmp(logp, logp + n, n * sizeof *logp) != 0 || memcmp(grad, grad + n * d, n * d * sizeof *grad) != 0) {
    poet_fail(report, "two workers give other bits than one");
  }
  free(x);
  free(logp);
  free(grad);
}

/* An expert with one reference must survive retain and release in pairs, from the outside indistinguishable. That the
 * last release frees everything is seen by the leak checker, and a release too many by the address sanitizer. */
void poet_check_references(const poet_case *c, const poe_expert *expert, poet_report *report) {
  poe_expert *other = NULL, *alias = NULL;
  poe_error error = {0};
  if (c->build(&other, &error) != POE_OK) {
    poet_fail(report, "cannot be built twice: %s", error.message);
    return;
  }
  alias = poe_expert_retain(other);
  if (alias != other) {
    poet_fail(report, "retain gave another object");
  }
  poe_expert_release(other);
  if (poe_expert_traits(alias)->dim != poe_expert_traits(expert)->dim) {
    poet_fail(report, "two builds differ in dimension");
  }
  poe_expert_release(alias);
  poe_expert_release(NULL);
}
