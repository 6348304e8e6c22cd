/* L-BFGS in lockstep (lbfgs.h). Each start is a small state machine: it names a trial point, is told value and gradient
 * there, and either narrows its line search or moves on. Along the line phi(a) = f(x + a p):
 *
 *   bracket  a grows until phi rises, or phi' >= 0, or both Wolfe conditions hold
 *   zoom     an interval [low, high] that holds such a point shrinks by safeguarded cubic steps
 *
 *   phi(a) <= phi(0) + c1 a phi'(0),   |phi'(a)| <= c2 |phi'(0)|,   c1 = 1e-4, c2 = 0.9
 */
#include "core/lbfgs.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "core/alloc.h"

static const double wolfe_decrease = 1e-4, wolfe_curvature = 0.9;
enum { LINE_STEPS = 40, FLAT_STEPS = 2 };

/* A point of the line: step, phi and phi' there. */
typedef struct line_point {
  double a, value, slope;
} line_point;

typedef struct lbfgs_run {
  bool active, zooming;
  double value;            /* at x                                        */
  double *x, *gradient;    /* [d] the current point                       */
  double *direction;       /* [d]                                         */
  double *trial, *trial_g; /* [d] the point asked about                   */
  double *s, *y, *rho;     /* [memory, d], [memory, d], [memory]          */
  size_t stored, newest;   /* pairs in the ring                           */
  size_t iteration, steps; /* steps: of this line search                  */
  size_t flat;             /* iterations in a row that hardly improved    */
  line_point zero, last, low, high;
  double a; /* of the trial                                               */
} lbfgs_run;

void poei_lbfgs_defaults(poei_lbfgs_options *options) {
  *options = (poei_lbfgs_options){.memory = 20, .iterations = 5000, .gradient = 1e-9, .improvement = 1e-14};
}

static double dot(size_t d, const double *a, const double *b) {
  double sum = 0.0;
  for (size_t j = 0; j < d; j++) {
    sum += a[j] * b[j];
  }
  return sum;
}

static double largest(size_t d, const double *a) {
  double most = 0.0;
  for (size_t j = 0; j < d; j++) {
    double size = fabs(a[j]);
    most = size > most || isnan(size) ? size : most;
  }
  return most;
}

/* ---- directions ---- */

/* direction = -H gradient by the two loops over the stored pairs. alpha[memory] is work space. */
static void run_direction(lbfgs_run *run, size_t d, size_t memory, double *alpha) {
  for (size_t j = 0; j < d; j++) {
    run->direction[j] = -run->gradient[j];
  }
  for (size_t k = 0; k < run->stored; k++) {
    size_t i = (run->newest + memory - k) % memory;
    alpha[i] = run->rho[i] * dot(d, run->s + i * d, run->direction);
    for (size_t j = 0; j < d; j++) {
      run->direction[j] -= alpha[i] * run->y[i * d + j];
    }
  }
  if (run->stored > 0) { /* the newest pair's curvature sets the scale */
    size_t i = run->newest;
    double scale = 1.0 / (run->rho[i] * dot(d, run->y + i * d, run->y + i * d));
    for (size_t j = 0; j < d; j++) {
      run->direction[j] *= scale;
    }
  }
  for (size_t k = run->stored; k-- > 0;) {
    size_t i = (run->newest + memory - k) % memory;
    double beta = run->rho[i] * dot(d, run->y + i * d, run->direction);
    for (size_t j = 0; j < d; j++) {
      run->direction[j] += (alpha[i] - beta) * run->s[i * d + j];
    }
  }
}

static void run_try(lbfgs_run *run, size_t d, double a) {
  run->a = a;
  for (size_t j = 0; j < d; j++) {
    run->trial[j] = run->x[j] + a * run->direction[j];
  }
}

/* Begins a line search; without a descent direction the memory is forgotten. */
static void run_search(lbfgs_run *run, size_t d, size_t memory, double *alpha) {
  run_direction(run, d, memory, alpha);
  double slope = dot(d, run->gradient, run->direction);
  if (!(slope < 0.0) || !isfinite(slope)) {
    run->stored = 0;
    run_direction(run, d, memory, alpha);
    slope = dot(d, run->gradient, run->direction);
  }
  run->zero = run->last = (line_point){0.0, run->value, slope};
  run->zooming = false;
  run->steps = 0;
  run_try(run, d, run->stored > 0 ? 1.0 : fmin(1.0, 1.0 / sqrt(-slope)));
}

/* ---- line search ---- */

/* The minimum of the cubic through low and high, kept inside the middle of the interval. */
static double zoom_step(const line_point *low, const line_point *high) {
  double width = high->a - low->a, step = 0.5;
  if (isfinite(high->value) && isfinite(high->slope)) {
    double d1 = low->slope + high->slope - 3.0 * (low->value - high->value) / (low->a - high->a);
    double square = d1 * d1 - low->slope * high->slope;
    if (square >= 0.0) {
      double d2 = width < 0.0 ? -sqrt(square) : sqrt(square);
      step = 1.0 - (high->slope + d2 - d1) / (high->slope - low->slope + 2.0 * d2);
    }
  }
  if (!(step >= 0.1 && step <= 0.9)) {
    step = isfinite(high->value) ? fmin(fmax(isnan(step) ? 0.5 : step, 0.1), 0.9) : 0.1;
  }
  return low->a + step * width;
}

typedef enum line_verdict { LINE_GO_ON, LINE_ACCEPT, LINE_GIVE_UP } line_verdict;

/* What the trial's value and slope mean for the search; sets the next trial step where it goes on. */
static line_verdict run_judge(lbfgs_run *run, double value, double slope, double *next) {
  line_point here = {run->a, value, slope};
  bool finite = isfinite(value) && isfinite(slope);
  bool above = !finite || value > run->zero.value + wolfe_decrease * run->a * run->zero.slope;
  bool level = finite && fabs(slope) <= -wolfe_curvature * run->zero.slope;
  if (++run->steps > LINE_STEPS) {
    return LINE_GIVE_UP;
  }
  if (!run->zooming) {
    if (above || (run->steps > 1 && value >= run->last.value)) {
      run->low = run->last;
      run->high = here;
      run->zooming = true;
    } else if (level) {
      return LINE_ACCEPT;
    } else if (slope >= 0.0) {
      run->low = here;
      run->high = run->last;
      run->zooming = true;
    } else {
      run->last = here;
      *next = 2.0 * run->a;
      return LINE_GO_ON;
    }
  } else if (above || value >= run->low.value) {
    run->high = here;
  } else {
    if (level) {
      return LINE_ACCEPT;
    }
    if (slope * (run->high.a - run->low.a) >= 0.0) {
      run->high = run->low;
    }
    run->low = here;
  }
  if (fabs(run->high.a - run->low.a) <= 4.0 * DBL_EPSILON * fabs(run->low.a)) {
    return LINE_GIVE_UP;
  }
  *next = zoom_step(&run->low, &run->high);
  return LINE_GO_ON;
}

/* ---- iterations ---- */

static void run_end(lbfgs_run *run, poei_lbfgs_end how, poei_lbfgs_end *end) {
  run->active = false;
  *end = how;
}

/* Moves to the trial point, whose value is `value`, and remembers the pair of differences. */
static void run_move(lbfgs_run *run, size_t d, size_t memory, double value) {
  size_t i = run->stored == 0 ? 0 : (run->newest + 1) % memory;
  double *s = run->s + i * d, *y = run->y + i * d;
  for (size_t j = 0; j < d; j++) {
    s[j] = run->trial[j] - run->x[j];
    y[j] = run->trial_g[j] - run->gradient[j];
  }
  double curvature = dot(d, s, y);
  if (curvature > DBL_EPSILON * sqrt(dot(d, s, s)) * sqrt(dot(d, y, y)) && curvature > 0.0) {
    run->rho[i] = 1.0 / curvature;
    run->newest = i;
    run->stored += run->stored < memory;
  }
  memcpy(run->x, run->trial, d * sizeof *run->x);
  memcpy(run->gradient, run->trial_g, d * sizeof *run->gradient);
  run->value = value;
}

/* Is the current point good enough? `before`: the value one iteration ago. */
static bool run_settled(lbfgs_run *run, size_t d, double before, const poei_lbfgs_options *options) {
  double scale = fmax(1.0, fabs(run->value));
  if (largest(d, run->gradient) <= options->gradient * scale) {
    return true;
  }
  run->flat = before - run->value <= options->improvement * scale ? run->flat + 1 : 0;
  return run->flat >= FLAT_STEPS;
}

/* The trial has been evaluated. */
static void run_tell(lbfgs_run *run, size_t d, const poei_lbfgs_options *options, double value, double *alpha,
                     poei_lbfgs_end *end) {
  double next = 0.0, before = run->value;
  if (value < -1e300) {
    run_move(run, d, options->memory, value);
    run_end(run, POEI_LBFGS_UNBOUNDED, end);
    return;
  }
  line_verdict verdict = run_judge(run, value, dot(d, run->trial_g, run->direction), &next);
  if (verdict == LINE_GO_ON) {
    run_try(run, d, next);
    return;
  }
  if (verdict == LINE_GIVE_UP && !(value < before)) {
    if (run->stored == 0) { /* even downhill nothing is to be gained: rounding has the word */
      run_end(run, POEI_LBFGS_CONVERGED, end);
      return;
    }
    run->stored = 0;
  } else {
    run_move(run, d, options->memory, value);
    if (run_settled(run, d, before, options)) {
      run_end(run, POEI_LBFGS_CONVERGED, end);
      return;
    }
  }
  if (++run->iteration >= options->iterations) {
    run_end(run, POEI_LBFGS_LIMIT, end);
    return;
  }
  run_search(run, d, options->memory, alpha);
}

/* ---- all starts ---- */

typedef struct lbfgs_all {
  size_t n, d;
  lbfgs_run *run;               /* [n]                                   */
  double *numbers;              /* what the runs' arrays are parts of    */
  double *x, *value, *gradient; /* [n, d], [n], [n, d] of one round     */
  double *alpha;                /* [memory]                              */
  size_t *who;                  /* [n] runs in the round                 */
} lbfgs_all;

static void all_free(lbfgs_all *all) {
  poei_free(all->run);
  poei_free(all->numbers);
  poei_free(all->x);
  poei_free(all->value);
  poei_free(all->gradient);
  poei_free(all->alpha);
  poei_free(all->who);
}

static bool all_make(lbfgs_all *all, size_t n, size_t d, size_t memory) {
  size_t own = 0, total = 0; /* total: more than n * d, so that does not overflow either */
  *all = (lbfgs_all){.n = n, .d = d};
  if (!poei_mul_size(d, 5 + 2 * memory, &own) || !poei_add_size(own, memory, &own) || !poei_mul_size(own, n, &total)) {
    return false;
  }
  all->run = poei_calloc(n, sizeof *all->run);
  all->numbers = poei_calloc(total, sizeof *all->numbers);
  all->x = poei_alloc(n * d, sizeof *all->x);
  all->value = poei_alloc(n, sizeof *all->value);
  all->gradient = poei_alloc(n * d, sizeof *all->gradient);
  all->alpha = poei_alloc(memory, sizeof *all->alpha);
  all->who = poei_alloc(n, sizeof *all->who);
  if (all->run == NULL || all->numbers == NULL || all->x == NULL || all->value == NULL || all->gradient == NULL ||
      all->alpha == NULL || all->who == NULL) {
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    double *at = all->numbers + i * own;
    lbfgs_run *run = &all->run[i];
    *run =
        (lbfgs_run){.x = at, .gradient = at + d, .direction = at + 2 * d, .trial = at + 3 * d, .trial_g = at + 4 * d};
    run->s = at + 5 * d;
    run->y = run->s + memory * d;
    run->rho = run->y + memory * d;
  }
  return true;
}

/* Evaluates the trial points of all active runs: value and gradient of the k-th are all->value[k], trial_g. */
static poe_status all_evaluate(lbfgs_all *all, poei_objective f, void *context, size_t *asked, poe_error *error) {
  size_t d = all->d, m = 0;
  for (size_t i = 0; i < all->n; i++) {
    if (all->run[i].active) {
      memcpy(all->x + m * d, all->run[i].trial, d * sizeof *all->x);
      all->who[m++] = i;
    }
  }
  *asked = m;
  poe_status status = m == 0 ? POE_OK : f(context, m, d, all->x, all->value, all->gradient, error);
  for (size_t k = 0; k < m && status == POE_OK; k++) {
    memcpy(all->run[all->who[k]].trial_g, all->gradient + k * d, d * sizeof *all->gradient);
  }
  return status;
}

static void all_begin(lbfgs_all *all, const poei_lbfgs_options *options, poei_lbfgs_end *end) {
  size_t d = all->d;
  for (size_t i = 0; i < all->n; i++) {
    lbfgs_run *run = &all->run[i];
    memcpy(run->x, run->trial, d * sizeof *run->x);
    memcpy(run->gradient, run->trial_g, d * sizeof *run->gradient);
    run->value = all->value[i];
    if (!isfinite(run->value) || !isfinite(largest(d, run->gradient))) {
      run_end(run, POEI_LBFGS_BAD_START, &end[i]);
    } else if (run_settled(run, d, INFINITY, options)) {
      run_end(run, POEI_LBFGS_CONVERGED, &end[i]);
    } else {
      run_search(run, d, options->memory, all->alpha);
    }
  }
}

poe_status poei_lbfgs(poei_objective f, void *context, size_t n, size_t d, double *x, const poei_lbfgs_options *options,
                      double *value, poei_lbfgs_end *end, size_t *evaluations, poe_error *error) {
  lbfgs_all all;
  poe_status status = POE_OK;
  size_t asked = 0, total = 0;
  if (!all_make(&all, n, d, options->memory)) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory for %zu minimisations in %zu dimensions", n, d);
  }
  for (size_t i = 0; i < n && status == POE_OK; i++) {
    memcpy(all.run[i].trial, x + i * d, d * sizeof *x);
    all.run[i].active = true;
  }
  if (status == POE_OK) {
    status = all_evaluate(&all, f, context, &asked, error);
  }
  if (status == POE_OK) {
    total = asked;
    all_begin(&all, options, end);
  }
  while (status == POE_OK && asked > 0) {
    status = all_evaluate(&all, f, context, &asked, error);
    total += asked;
    for (size_t k = 0; k < asked && status == POE_OK; k++) {
      size_t i = all.who[k];
      run_tell(&all.run[i], d, options, all.value[k], all.alpha, &end[i]);
    }
  }
  for (size_t i = 0; i < n && status == POE_OK; i++) {
    memcpy(x + i * d, all.run[i].x, d * sizeof *x);
    value[i] = all.run[i].value;
  }
  if (status == POE_OK && evaluations != NULL) {
    *evaluations = total;
  }
  all_free(&all);
  return status;
}
