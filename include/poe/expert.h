/* The expert: a log-density over named coordinates, behind one table of functions. All that a plug-in needs.
 *
 * One primitive, "accumulate with a weight per row", makes every composition cheap: a product is a loop, a power a
 * multiplication, tempering another weight per row. An expert is immutable once created and may be evaluated from
 * many threads at once; all mutable memory is a scratch arena that the caller owns, one per thread.
 *
 * Numbers: nats, doubles. log p = -inf means outside the support; it is a value, not an error.
 */
#ifndef POE_EXPERT_H
#define POE_EXPERT_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "poe/rng.h"
#include "poe/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- rows ----------------------------------------------------------------------------------------------------- */

/* n points of a d-dimensional space, row-major with stride ld >= d. Discrete coordinates hold exact integers. */
typedef struct poe_rows {
  size_t n, d, ld;
  const double *x; /* [n, ld] */
} poe_rows;

/* Where draws go: like poe_rows, writable. Columns d..ld-1 are never touched. */
typedef struct poe_rows_out {
  size_t n, d, ld;
  double *x; /* [n, ld] */
} poe_rows_out;

/* A weight per row: row i has weight w[i * inc]; inc 0 gives every row the weight w[0]. Weights are finite. */
typedef struct poe_weights {
  const double *w;
  size_t inc; /* 0 or 1 */
} poe_weights;

/* Where results are added: logp[i] += w_i log p(x_i); grad[i, :] += w_i d log p / d x. grad NULL = not wanted.
 * Gradients with respect to discrete coordinates are never written. Columns d..ldg-1 are never touched. */
typedef struct poe_accum {
  double *logp; /* [n]             */
  double *grad; /* [n, ldg] or NULL */
  size_t ldg;   /* >= d            */
} poe_accum;

/* Adds w * value to *logp by the rules of the library: -inf stays -inf; a value of -inf makes the sum -inf when
 * w > 0, +inf when w < 0 (an expert divided out where it vanishes: the caller reports it), nothing when w = 0.
 * Every eval_add adds its values with this function. */
static inline void poe_accum_value(double *logp, double w, double value) {
  if (*logp == -INFINITY || w == 0.0) {
    return;
  }
  *logp += w * value;
}

/* ---- scratch ------------------------------------------------------------------------------------------------- */

/* A bump arena. Memory taken is valid until released to an earlier mark. Within the number of bytes an expert declares
 * by its `scratch` function, taking never fails, so callers do not check. */
typedef struct poe_scratch poe_scratch;

/* Bytes that taking `count` elements of `size` bytes needs, alignment and redzone included. Sum these to declare. */
size_t poe_scratch_need(size_t count, size_t size);
/* Takes memory, 64-byte aligned, uninitialised. NULL when the arena is exhausted (a wrong declaration). */
double *poe_scratch_doubles(poe_scratch *scratch, size_t count);
float *poe_scratch_floats(poe_scratch *scratch, size_t count);
void *poe_scratch_bytes(poe_scratch *scratch, size_t bytes);
/* The current position, and going back to it: everything taken since is gone. */
size_t poe_scratch_mark(const poe_scratch *scratch);
void poe_scratch_release(poe_scratch *scratch, size_t mark);
/* An arena of `bytes` usable bytes; NULL when out of memory. Freed with poe_scratch_destroy (NULL is allowed). */
poe_scratch *poe_scratch_create(size_t bytes);
void poe_scratch_destroy(poe_scratch *scratch);
/* Largest number of bytes ever in use at once. */
size_t poe_scratch_high_water(const poe_scratch *scratch);

/* ---- parameters ---------------------------------------------------------------------------------------------- */

typedef enum poe_arg_type {
  POE_ARG_REAL,    /* numbers: a scalar, a vector, a matrix ...; a scalar is broadcast to the shape wanted  */
  POE_ARG_STRING,  /* text                                                                                 */
  POE_ARG_STRINGS, /* a list of texts                                                                      */
  POE_ARG_SYMBOL,  /* a bare word such as silu or true                                                     */
  POE_ARG_FILE,    /* a path, already made relative to the working directory                               */
  POE_ARG_FORMULA  /* an arithmetic expression over the subjects                                           */
} poe_arg_type;

enum { POE_MAX_DIMS = 8 };

/* One parameter of a family: drives the parser, the documentation and `poe explain`. */
typedef struct poe_param {
  const char *name;
  poe_arg_type type;
  const char *shape;    /* in words for REAL: "", "d", "k", "k,d", "d,d" ..., and words that may stand for the numbers
                           "d|a|b" (the argument then comes as a SYMBOL); for SYMBOL the words allowed "a|b|c"; else "" */
  const char *fallback; /* text of the default; NULL = none (required, or one of several alternatives)      */
  const char *doc;      /* one line                                                                        */
} poe_param;

/* One argument as given. */
typedef struct poe_arg {
  const char *name;
  poe_arg_type type;
  size_t ndim, shape[POE_MAX_DIMS]; /* REAL: ndim 0 is a scalar                                   */
  const double *real;               /* REAL: product of shape numbers, row-major                  */
  const char *text;                 /* STRING, SYMBOL, FILE                                       */
  size_t n_texts;
  const char *const *texts; /* STRINGS                                                    */
  const void *formula;      /* FORMULA: a const poei_formula * (net/formula.h)            */
  int line, column, span;   /* place in the .poe file, 0 = none                           */
} poe_arg;

/* The first of k >= 2 numbers >= 0 that sum to 1 is POE_SIMPLEX, the k - 1 that follow it POE_SIMPLEX_NEXT. Densities
 * over them are with respect to Lebesgue measure on the first k - 1, gradients the k partial derivatives of the
 * formula: only their differences along the simplex mean anything. Families of real coordinates may be asked for
 * numbers of a simplex: they answer as over the interval [0, 1], and whoever asks restricts them to the simplex. */
typedef enum poe_coordinate_kind { POE_CONTINUOUS, POE_DISCRETE, POE_SIMPLEX, POE_SIMPLEX_NEXT } poe_coordinate_kind;

/* The support of one coordinate: an interval of reals, or of integers. Infinite ends are open. */
typedef struct poe_support {
  poe_coordinate_kind kind;
  double low, high; /* discrete: the integers low..high, both included          */
  bool low_open, high_open;
} poe_support;

/* What stands before the bar: `gaussian(x[0:3], y | ...)` has two subjects. */
typedef struct poe_subject {
  const char *name;
  size_t ndim;
  const size_t *shape;        /* [ndim]                                             */
  size_t dim;                 /* product of shape                                   */
  const poe_support *support; /* [dim] as the variable was declared                 */
} poe_subject;

typedef struct poe_args {
  const char *kind; /* the family, for messages                           */
  size_t n_subjects;
  const poe_subject *subjects; /* their coordinates, concatenated, are the expert's  */
  size_t n_args;
  const poe_arg *args;
} poe_args;

/* The argument of that name, NULL when it was not given. */
const poe_arg *poe_args_find(const poe_args *args, const char *name);
/* Sum of the subjects' dimensions. */
size_t poe_args_dim(const poe_args *args);
/* Reads a REAL argument into out[count] (row-major), broadcasting a scalar to all of it. Accepts exactly the shape
 * `shape[ndim]` or, for ndim 1, any shape with that many numbers. When it is missing: fills with `fallback` if that is
 * not NaN, else E_USAGE naming it. Numbers must be finite unless `allow_infinite`. E_SHAPE, E_DOMAIN at the argument's
 * place. */
poe_status poe_args_real(const poe_args *args, const char *name, size_t ndim, const size_t *shape, double fallback,
                         bool allow_infinite, double *out, poe_error *error);
/* Sets an error at the place of an argument (arg NULL: no place) and returns its status. */
#if defined(__GNUC__)
__attribute__((format(printf, 4, 5)))
#endif
poe_status
poe_args_error(const poe_arg *arg, poe_error *error, poe_status status, const char *format, ...);

/* ---- closed forms -------------------------------------------------------------------------------------------- */

typedef enum poe_form_kind {
  POE_FORM_GAUSSIANS, /* log sum_k exp(constant_k + linear_k . u - u' precision_k u / 2) with u = x - origin_k:
                         information form around a point near the bulk, so that narrow Gaussians far from 0 lose no
                         digits; may be improper */
  POE_FORM_TABLE /* discrete coordinates: log value per state, first coordinate slowest                             */
} poe_form_kind;

/* A closed-form description of a density (unnormalised, with its constant) on which the planner computes exactly.
 * Owned by whoever called `form`; released with poe_form_release. */
typedef struct poe_form {
  poe_form_kind kind;
  size_t dim;
  size_t components;   /* GAUSSIANS: k >= 1                                             */
  double *constant;    /* GAUSSIANS: [k]                                                */
  double *origin;      /* GAUSSIANS: [k, d]                                             */
  double *linear;      /* GAUSSIANS: [k, d]                                             */
  double *precision;   /* GAUSSIANS: [k, d, d] symmetric                                */
  size_t *cardinality; /* TABLE: [d] number of states of each coordinate              */
  double *low;         /* TABLE: [d] smallest value of each coordinate                */
  double *log_value;   /* TABLE: [product of cardinality]                             */
} poe_form;

/* Frees the arrays of a form (NULL is allowed) and zeroes it. */
void poe_form_release(poe_form *form);

/* ---- structures ---- */

typedef enum poe_structure_kind {
  POE_STRUCTURE_SPARSE,  /* a Gaussian whose precision is sparse                                      */
  POE_STRUCTURE_NATURAL, /* independent coordinates in exponential families                           */
  POE_STRUCTURE_FACTORS  /* a factor graph over discrete coordinates and latent variables, summed over */
} poe_structure_kind;

/* constant + linear . u - u' P u / 2 with u = x - origin; P in compressed columns of its lower triangle. */
typedef struct poe_sparse_gaussian {
  double constant;
  double *origin, *linear; /* [d]                                                                      */
  size_t *column_start;    /* [d + 1]                                                                  */
  size_t *row;             /* [column_start[d]] ascending in each column, the diagonal first, always there */
  double *precision;       /* [column_start[d]]                                                        */
} poe_sparse_gaussian;

/* The statistics T_s of exponential families on one coordinate. X(identifier, T(x) in words) */
#define POE_STATISTIC_LIST(X)                                                                                          \
  X(IDENTITY, "x")                                                                                                     \
  X(SQUARE, "x^2")                                                                                                     \
  X(LOG, "log x")                                                                                                      \
  X(LOG_COMPLEMENT, "log(1 - x)")                                                                                      \
  X(LOG_SQUARE, "(log x)^2")                                                                                           \
  X(COS, "cos x")                                                                                                      \
  X(SIN, "sin x")                                                                                                      \
  X(LOG_FACTORIAL, "log x!")

typedef enum poe_statistic {
#define POE_STATISTIC_ENUM(identifier, words) POE_STATISTIC_##identifier,
  POE_STATISTIC_LIST(POE_STATISTIC_ENUM)
#undef POE_STATISTIC_ENUM
      POE_STATISTICS /* how many */
} poe_statistic;

/* constant + sum_j sum_s coefficient[j, s] T_s(x_j). */
typedef struct poe_natural {
  double constant;
  double *coefficient; /* [d, POE_STATISTICS] */
} poe_natural;

typedef struct poe_factor {
  size_t n;
  size_t *variable;  /* [n] distinct; below d a coordinate, from d on a latent variable               */
  double *log_value; /* [product of their cardinality] first variable slowest; -inf: impossible       */
} poe_factor;

/* constant + log sum over the latent variables of exp sum_f log_value_f. */
typedef struct poe_factors {
  double constant;
  size_t latents;
  size_t *cardinality; /* [d + latents] number of values, >= 1        */
  double *low;         /* [d] smallest value of each coordinate       */
  size_t n;
  poe_factor *factor; /* [n] */
} poe_factors;

/* A closed form that stays factored, for densities too large for a dense poe_form: what sparse elimination, conjugacy
 * and junction trees work on. Inside the expert's support it equals log p; outside the density is 0 whatever it says.
 * Owned by whoever called `structure`; released with poe_structure_release. */
typedef struct poe_structure {
  poe_structure_kind kind;
  size_t dim;
  union {
    poe_sparse_gaussian sparse;
    poe_natural natural;
    poe_factors factors;
  } as;
} poe_structure;

/* Frees the arrays of a structure (NULL is allowed) and zeroes it. */
void poe_structure_release(poe_structure *structure);

/* ---- the table of functions ---------------------------------------------------------------------------------- */

/* Capabilities. A NULL slot never has its bit; a composition has a bit only when its children allow it. */
enum {
  POE_CAN_EVAL = 1u << 0,      /* eval_add                                   */
  POE_CAN_GRADIENT = 1u << 1,  /* eval_add with grad, for its continuous coordinates */
  POE_CAN_SAMPLE = 1u << 2,    /* exact draws                                */
  POE_CAN_LOG_Z = 1u << 3,     /* exact log Z                                */
  POE_CAN_FORM = 1u << 4,      /* a dense closed form                        */
  POE_CAN_STRUCTURE = 1u << 5, /* a factored closed form                    */
  POE_CAN_LOCAL = 1u << 6,     /* the single-site view                       */
  POE_CAN_ONEHOT = 1u << 7,    /* gradients in the one-hot embedding of its discrete coordinates */
  POE_CAN_PREFIX = 1u << 8     /* one coordinate after the other              */
};

/* What an expert is. The arrays belong to the expert and live as long as it. */
typedef struct poe_traits {
  size_t dim;
  const poe_support *support; /* [dim] outside of it log p = -inf                                               */
  const unsigned char *head;  /* [dim] 1: belongs to the head. For each value of the other coordinates exp(log p)
                                 integrates to 1 over the head. NULL: not normalised over anything               */
  unsigned capabilities;      /* POE_CAN_...                                                                     */
  double offset_error; /* standard error (nats) of the additive constant in log p; 0 unless it contains an estimate */
} poe_traits;

/* What an evaluation wants, for sizing its scratch. */
enum { POE_WANT_LOGP = 0u, POE_WANT_GRAD = 1u << 0, POE_WANT_SAMPLE = 1u << 1, POE_WANT_ONEHOT = 1u << 2 };

/* The single-site view of a density with discrete coordinates of finitely many values: what log p becomes when one of
 * them changes, at a fraction of an evaluation. The caller's state is plain memory, 64-byte aligned, for one row and
 * one thread; it holds no references and is dropped without a call. All slots are set. */
typedef struct poe_local_ops {
  /* Bytes of a state. */
  size_t (*state_bytes)(const void *self);
  /* Scratch that each of the calls below may take (and releases). */
  size_t (*scratch)(const void *self);
  /* The state of row x[dim]; values outside the support are allowed, the density is 0 there. */
  poe_status (*open)(const void *self, const double *x, void *state, poe_scratch *scratch, poe_error *error);
  /* out[v] = log p(x with x_j = low_j + v) + a constant that is the same for all v, for each of the high_j - low_j + 1
   * values of the discrete coordinate j; -inf where the density vanishes, all of them -inf only when it vanishes for
   * every v. */
  poe_status (*conditional)(const void *self, void *state, size_t j, double *out, poe_scratch *scratch,
                            poe_error *error);
  /* x_j becomes `value`, whatever it is. */
  poe_status (*set)(const void *self, void *state, size_t j, double value, poe_scratch *scratch, poe_error *error);
} poe_local_ops;

/* The densities of the coordinates one after the other, each given those before it. They are normalised and their
 * logarithms add up to log p. The state is plain memory as in the single-site view: copying its bytes forks it. All
 * slots are set; `table` is for a next coordinate that is discrete, with finitely many values, `density` for any. */
typedef struct poe_prefix_ops {
  /* Bytes of a state. */
  size_t (*state_bytes)(const void *self);
  /* Scratch that each of the calls below may take (and releases). */
  size_t (*scratch)(const void *self);
  /* The coordinates in the order of the steps: [dim], the expert's. */
  const size_t *(*order)(const void *self);
  /* The state before the first coordinate. */
  poe_status (*open)(const void *self, void *state, poe_scratch *scratch, poe_error *error);
  /* log_p[v] of each of the high - low + 1 values of the next coordinate. Not after the last one. */
  poe_status (*table)(const void *self, void *state, double *log_p, poe_scratch *scratch, poe_error *error);
  /* log_p[n] of the next coordinate at x[n]. Not after the last one. */
  poe_status (*density)(const void *self, void *state, size_t n, const double *x, double *log_p, poe_scratch *scratch,
                        poe_error *error);
  /* The next coordinate is `value`. */
  poe_status (*step)(const void *self, void *state, double value, poe_scratch *scratch, poe_error *error);
} poe_prefix_ops;

typedef struct poe_expert_ops {
  uint32_t struct_size;    /* sizeof(poe_expert_ops) of the header it was compiled against; slots are only appended */
  const char *kind;        /* the word of the language                                                            */
  const char *doc;         /* one line: what density                                                              */
  const poe_param *params; /* ends with a zeroed entry                                                            */

  /* REQUIRED */
  /* Builds the immutable state. Copies what it needs of args. On failure *self is untouched. */
  poe_status (*create)(const poe_args *args, void **self, poe_error *error);
  void (*destroy)(void *self);
  /* Fills *traits; pure. */
  void (*traits)(const void *self, poe_traits *traits);
  /* Bytes of scratch that eval_add (or sample, with POE_WANT_SAMPLE) needs for n rows; monotone in n. */
  size_t (*scratch)(const void *self, unsigned want, size_t n);

  /* OPTIONAL: NULL when the family cannot */
  /* Adds weighted log-densities and gradients of n >= 1 rows to `out` (see poe_accum, poe_accum_value).
   * Rows are independent: row i's result depends only on row i and, in its last bits, on n. Where log p is -inf the
   * row's gradient contribution is unspecified but never NaN. A NaN log-density is stored as it is; the caller looks.
   * An error status is for what no caller can mend (such as a plug-in's own failure). */
  poe_status (*eval_add)(const void *self, poe_rows rows, poe_weights weights, poe_accum out, poe_scratch *scratch,
                         poe_error *error);
  /* Exact draws of the normalised density: row i is a function of at[i] (n addresses) alone. */
  poe_status (*sample)(const void *self, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch, poe_error *error);
  /* Exact log Z over all coordinates. */
  poe_status (*log_z)(const void *self, double *log_z, poe_error *error);
  /* The closed form, allocated for the caller. */
  poe_status (*form)(const void *self, poe_form *form, poe_error *error);
  /* The factored closed form, allocated for the caller. */
  poe_status (*structure)(const void *self, poe_structure *structure, poe_error *error);
  /* The single-site view; traits().capabilities says whether this expert has it. */
  const poe_local_ops *local;
  /* out[i, :] += w_i times the gradient of log p in the one-hot embedding of the discrete coordinates, at row i: the
   * embedded coordinates one after the other, high_j - low_j + 1 numbers each, so that out is n x ldo. For an expert
   * without an embedding of its own these are the conditionals of `local`, of which only differences between the
   * values of one coordinate matter. Weights as in eval_add; rows at -inf contribute numbers that are not NaN. */
  poe_status (*onehot_grad_add)(const void *self, poe_rows rows, poe_weights weights, double *out, size_t ldo,
                                poe_scratch *scratch, poe_error *error);
  /* One coordinate after the other; traits().capabilities says whether this expert has it. */
  const poe_prefix_ops *prefix;
} poe_expert_ops;

/* ---- the expert object --------------------------------------------------------------------------------------- */

/* An immutable, reference-counted expert. */
typedef struct poe_expert poe_expert;

/* Creates an expert of a family; *expert has one reference, released with poe_expert_release. On failure *expert is
 * untouched. Thread-safe. */
poe_status poe_expert_create(const poe_expert_ops *ops, const poe_args *args, poe_expert **expert, poe_error *error);
/* Wraps an already built state; takes ownership of `self` only when it succeeds. */
poe_status poe_expert_wrap(const poe_expert_ops *ops, void *self, poe_expert **expert, poe_error *error);
/* One more reference (returns its argument), one less (NULL is allowed). Thread-safe, atomic. */
poe_expert *poe_expert_retain(const poe_expert *expert);
void poe_expert_release(poe_expert *expert);
const poe_expert_ops *poe_expert_ops_of(const poe_expert *expert);
const void *poe_expert_self(const poe_expert *expert);
/* The traits, computed once at creation. */
const poe_traits *poe_expert_traits(const poe_expert *expert);

/* Shorthands for the slots; each is E_CAPABILITY, naming the family, when the expert has not the capability. */
size_t poe_expert_scratch(const poe_expert *expert, unsigned want, size_t n);
poe_status poe_expert_eval_add(const poe_expert *expert, poe_rows rows, poe_weights weights, poe_accum out,
                               poe_scratch *scratch, poe_error *error);
poe_status poe_expert_sample(const poe_expert *expert, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                             poe_error *error);
poe_status poe_expert_log_z(const poe_expert *expert, double *log_z, poe_error *error);
poe_status poe_expert_form(const poe_expert *expert, poe_form *form, poe_error *error);
poe_status poe_expert_structure(const poe_expert *expert, poe_structure *structure, poe_error *error);
/* NULL without POE_CAN_LOCAL; its functions take poe_expert_self(expert). */
const poe_local_ops *poe_expert_local(const poe_expert *expert);
/* NULL without POE_CAN_PREFIX; its functions take poe_expert_self(expert). */
const poe_prefix_ops *poe_expert_prefix(const poe_expert *expert);
poe_status poe_expert_onehot_grad_add(const poe_expert *expert, poe_rows rows, poe_weights weights, double *out,
                                      size_t ldo, poe_scratch *scratch, poe_error *error);

/* ---- maps ---------------------------------------------------------------------------------------------------- */

/* A deterministic differentiable function R^in -> R^out, such as a decoder. Immutable and re-entrant like an expert. */
typedef struct poe_map_ops {
  uint32_t struct_size;
  const char *kind;
  const char *doc;
  const poe_param *params;
  poe_status (*create)(const poe_args *args, void **self, poe_error *error);
  void (*destroy)(void *self);
  size_t (*in_dim)(const void *self);
  /* The shape of the output: writes up to POE_MAX_DIMS sizes, returns how many. */
  size_t (*out_shape)(const void *self, size_t *shape);
  /* Scratch for apply, or (POE_WANT_GRAD) for apply_vjp, on n rows. */
  size_t (*scratch)(const void *self, unsigned want, size_t n);
  /* y[n, ldy] = f(x). */
  poe_status (*apply)(const void *self, poe_rows x, poe_rows_out y, poe_scratch *scratch, poe_error *error);
  /* Runs f forwards, calls `pull` once with y so that it fills dy[n, out] (contiguous; uninitialised before), then
   * adds J' dy to dx[n, ldx]. What `pull` takes from the scratch it releases. */
  poe_status (*apply_vjp)(const void *self, poe_rows x,
                          poe_status (*pull)(void *context, poe_rows y, double *dy, poe_scratch *scratch,
                                             poe_error *error),
                          void *context, double *dx, size_t ldx, poe_scratch *scratch, poe_error *error);
} poe_map_ops;

/* An immutable, reference-counted map; the same rules as for experts. */
typedef struct poe_map poe_map;
poe_status poe_map_create(const poe_map_ops *ops, const poe_args *args, poe_map **map, poe_error *error);
poe_map *poe_map_retain(const poe_map *map);
void poe_map_release(poe_map *map);
const poe_map_ops *poe_map_ops_of(const poe_map *map);
const void *poe_map_self(const poe_map *map);

#ifdef __cplusplus
}
#endif
#endif
