/* The conformance suite: what every expert must do, whatever it is. A family or node brings an entry (cases: how to
 * build one, points to look at, an independent formula); the suite does the rest.
 *
 * A family or node in its X-macro list without `poet_conformance_<word>` does not link, so it cannot be forgotten.
 * Checks report instead of failing at once, so that the suite can be turned on deliberately wrong experts
 * (test_checkers.c): a check that a broken expert passes is itself broken.
 */
#ifndef POE_TESTS_CONFORMANCE_H
#define POE_TESTS_CONFORMANCE_H

#include <stdbool.h>
#include <stddef.h>

#include "poe/expert.h"

/* How draws are compared with the density. */
typedef enum poet_sample_check {
  POET_SAMPLE_NONE,   /* not compared (the expert cannot be drawn from, or another case covers it)               */
  POET_SAMPLE_BOX,    /* 1 or 2 real dimensions: chi-square over cells of `box`, probabilities by quadrature      */
  POET_SAMPLE_STATES, /* finitely many states: chi-square over all of them, probabilities by enumeration         */
  POET_SAMPLE_STEIN   /* real, smooth, unbounded, light tails: E grad log p = 0 and E (x_i - c_i) d_i log p = -1  */
} poet_sample_check;

/* One expert to examine. Everything is a pure function, so a case can be built again and again. */
typedef struct poet_case {
  const char *name;
  /* Builds the expert; called with every allocation failing in turn, so it must pass failures on and leak nothing.
   * May write files (poet_temp_file), but then the same each time. */
  poe_status (*build)(poe_expert **expert, poe_error *error);
  /* Fills x[n, d] with points of the support, well spread and away from kinks (gradients are checked there), each a
   * function of its row's number. NULL: draws of the expert itself. */
  void (*points)(size_t n, size_t d, double *x);
  /* log p(x) written down independently of the library; NULL when there is no other way to compute it. */
  double (*log_density)(const double *x);
  double tolerance;          /* of values against log_density, absolute + relative; 0 = 1e-12           */
  double gradient_tolerance; /* of gradients against finite differences, likewise; 0 = 1e-6             */
  double shape_tolerance;    /* of one row against a tile of 64; 0 = 1e-12 (1e-6 in single precision)   */
  poet_sample_check sample;
  double box[4];          /* SAMPLE_BOX: low and high of each dimension; holds all but a little of the mass */
  double expected_log_z;  /* compared when the expert has log Z and `knows_log_z`                           */
  bool knows_log_z;       /*                                                                                */
  bool needs_no_interior; /* points may be anywhere: skips the finite differences (all coordinates discrete) */
  bool embeds; /* its one-hot gradient is that of log_density at x_j = sum_v v e_jv, as with units 0 and 1 that enter
                  linearly; otherwise it is made of conditionals */
} poet_case;

/* The entry of a family or node: defined as `const poet_entry poet_conformance_<word>`. */
typedef struct poet_entry {
  const char *word;
  size_t n;
  const poet_case *cases; /* [n], at least one */
} poet_entry;

/* Defines the entry of a word from an array of cases. */
#define POET_ENTRY(word, array)                                                                                        \
  const poet_entry poet_conformance_##word = {#word, sizeof(array) / sizeof((array)[0]), (array)}

/* ---- reports ---- */

typedef struct poet_report {
  size_t failures;
  char text[4096]; /* one line for each of the first failures */
} poet_report;
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void poet_fail(poet_report *report, const char *format, ...);
/* As check_close: false and a line in the report when the two differ. */
bool poet_close(poet_report *report, double actual, double expected, double tolerance, const char *what, size_t row,
                size_t column);

/* ---- checks ---- */

/* X(name): poet_check_<name>(case, expert, report) */
#define POET_CHECK_LIST(X)                                                                                             \
  X(traits)                                                                                                            \
  X(values)                                                                                                            \
  X(gradient)                                                                                                          \
  X(rows)                                                                                                              \
  X(accumulation)                                                                                                      \
  X(weights)                                                                                                           \
  X(padding)                                                                                                           \
  X(outside)                                                                                                           \
  X(scratch)                                                                                                           \
  X(allocation)                                                                                                        \
  X(failing_allocations)                                                                                               \
  X(workers) X(addresses) X(draws) X(normalisation) X(form) X(structure) X(local) X(onehot) X(prefix) X(references)

#define POET_CHECK_DECLARE(name)                                                                                       \
  void poet_check_##name(const poet_case *c, const poe_expert *expert, poet_report *report);
POET_CHECK_LIST(POET_CHECK_DECLARE)
#undef POET_CHECK_DECLARE

/* Builds the case and runs one check by name (all checks: NULL). */
void poet_run_check(const poet_case *c, const char *check, poet_report *report);
/* All checks on all cases of an entry; fails the running cmocka test with the reports. */
void poet_run_entry(const poet_entry *entry);

/* ---- fixtures ---- */

/* Points of a case: its own, or draws of the expert. x[n, d], on the heap (free). */
double *poet_points(const poet_case *c, const poe_expert *expert, size_t n);
/* Evaluates rows into fresh arrays: logp[n], and grad[n, d] when not NULL, with weight 1; scratch as declared. */
poe_status poet_eval(const poe_expert *expert, size_t n, size_t ld, const double *x, double *logp, double *grad);
/* Row i of draws reads address (seed, chain i). x[n, ld]. */
poe_status poet_draw(const poe_expert *expert, uint64_t seed, size_t n, size_t ld, double *x);
/* Uniform number in [low, high], a function of (row, column) alone. */
double poet_spread(size_t row, size_t column, double low, double high);
/* Standard normals in x[n, d], each a function of its place. */
void poet_points_normal(size_t n, size_t d, double *x);
/* Memory for tests: never NULL (fails the test). */
double *poet_doubles(size_t n);

/* ---- arguments of families ---- */

enum { POET_MAX_SUBJECTS = 4, POET_MAX_ARGS = 6, POET_MAX_DIM = 64 };

/* A poe_args under construction; zero-initialise, start, add, pass &a.args. Not to be copied once started. */
typedef struct poet_args {
  poe_args args;
  poe_subject subjects[POET_MAX_SUBJECTS];
  size_t shapes[POET_MAX_SUBJECTS], axes[POET_MAX_SUBJECTS][POE_MAX_DIMS];
  poe_support support[POET_MAX_SUBJECTS][POET_MAX_DIM];
  poe_arg arg[POET_MAX_ARGS];
} poet_args;
void poet_args_start(poet_args *a, const char *kind);
/* Variables before the bar: real[dim], real[dim] in [low, high], int(cardinality)[dim] (binary for 2). */
void poet_args_real_variable(poet_args *a, const char *name, size_t dim);
void poet_args_interval_variable(poet_args *a, const char *name, size_t dim, double low, double high);
void poet_args_simplex_variable(poet_args *a, const char *name, size_t n, size_t k); /* simplex(k)[n] */
void poet_args_discrete_variable(poet_args *a, const char *name, size_t dim, size_t cardinality);
/* int(cardinality)[shape] */
void poet_args_discrete_grid(poet_args *a, const char *name, size_t ndim, const size_t *shape, size_t cardinality);
/* Arguments; arrays are borrowed. Their places are line 1, column 10, 20, 30 ... */
void poet_args_scalar(poet_args *a, const char *name, const double *value);
void poet_args_vector(poet_args *a, const char *name, size_t n, const double *values);
void poet_args_matrix(poet_args *a, const char *name, size_t rows, size_t columns, const double *values);
void poet_args_cube(poet_args *a, const char *name, size_t k, size_t rows, size_t columns, const double *values);
void poet_args_text(poet_args *a, const char *name, poe_arg_type type, const char *text);
void poet_args_formula(poet_args *a, const char *name, const void *formula);

#endif
