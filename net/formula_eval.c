/* Evaluating formulas (net/formula.h): a vector per node and block of rows, and reverse accumulation over them.
 *
 * Values follow IEEE 754: the logarithm of a negative number is NaN, of 0 -inf, and the caller reports it. Derivatives
 * are written so that they neither overflow nor cancel where the true derivative is finite: sech^2 and the logistic
 * slope through e^-|x|, softmax weights for logsumexp, x / norm for norm (0 at 0).
 */
#include <math.h>
#include <string.h>

#include "core/numerics.h"
#include "core/special.h"
#include "net/formula_nodes.h"

/* ---- scalar functions that neither C nor core has in this form ---- */

/* Abramowitz and Stegun 6.3.18, 6.3.5, 6.3.7. */
double poei_digamma(double x) {
  if (isnan(x) || x == INFINITY) {
    return x;
  }
  if (x <= 0.0 && x == floor(x)) {
    return NAN;
  }
  if (x < 0.0) {
    double turn = x - floor(x);
    return poei_digamma(1.0 - x) - POEI_PI / tan(POEI_PI * turn);
  }
  double sum = 0.0;
  while (x < 10.0) {
    sum -= 1.0 / x;
    x += 1.0;
  }
  double r = 1.0 / x, s = r * r;
  double series =
      s * (1.0 / 12 - s * (1.0 / 120 -
                           s * (1.0 / 252 - s * (1.0 / 240 - s * (1.0 / 132 - s * (691.0 / 32760 - s * (1.0 / 12)))))));
  return sum + log(x) - 0.5 * r - series;
}

/* e / (1 + e)^2 with e = e^-|x|: the slope of the sigmoid. */
static double formula_logistic_slope(double x) {
  double e = exp(-fabs(x));
  return e / ((1.0 + e) * (1.0 + e));
}

/* sqrt(sum of squares) without overflow; +inf when any is infinite. */
static double formula_norm(size_t n, const double *args) {
  double largest = 0.0, sum = 0.0;
  bool nan = false;
  for (size_t i = 0; i < n; i++) {
    largest = fmax(largest, fabs(args[i]));
    nan = nan || isnan(args[i]);
  }
  if (nan || largest == 0.0 || largest == INFINITY) {
    return nan ? NAN : largest;
  }
  for (size_t i = 0; i < n; i++) {
    sum += (args[i] / largest) * (args[i] / largest);
  }
  return largest * sqrt(sum);
}

/* ---- values ---- */

/* Vectors of one node's arguments. */
typedef struct formula_frame {
  const poei_formula *formula;
  size_t n;        /* rows of this block                   */
  double *values;  /* [n_nodes, block]                     */
  double *adjoint; /* [n_nodes, block], NULL = not wanted  */
  double *work;    /* [2, block]                           */
} formula_frame;

static double *formula_vector(const formula_frame *frame, double *of, poei_formula_value v) {
  return of + (size_t)v * frame->formula->block;
}

static poei_formula_value formula_arg(const formula_frame *frame, const poei_formula_node *node, size_t k) {
  return frame->formula->args[node->first + k];
}

static void formula_softplus(size_t n, const double *x, double *out, double *work) {
  for (size_t i = 0; i < n; i++) {
    work[i] = -fabs(x[i]);
  }
  poei_vexp(work, work, n);
  poei_vlog1p(work, work, n);
  for (size_t i = 0; i < n; i++) {
    out[i] = (x[i] > 0.0 ? x[i] : 0.0) + work[i];
    out[i] = isnan(x[i]) ? x[i] : out[i];
  }
}

static void formula_sigmoid(size_t n, const double *x, double *out, double *work) {
  for (size_t i = 0; i < n; i++) {
    work[i] = -fabs(x[i]);
  }
  poei_vexp(work, work, n);
  for (size_t i = 0; i < n; i++) {
    out[i] = (x[i] < 0.0 ? work[i] : 1.0) / (1.0 + work[i]);
  }
}

/* One argument; true when the operation has one. */
static bool formula_unary(poei_formula_op op, size_t n, const double *x, double *out, double *work) {
#define EACH(expression)                                                                                               \
  for (size_t i = 0; i < n; i++) {                                                                                     \
    double a = x[i];                                                                                                   \
    out[i] = (expression);                                                                                             \
  }                                                                                                                    \
  return true
  switch (op) {
  case POEI_FORMULA_NEG:
    EACH(-a);
  case POEI_FORMULA_EXP:
    poei_vexp(x, out, n);
    return true;
  case POEI_FORMULA_LOG:
    poei_vlog(x, out, n);
    return true;
  case POEI_FORMULA_LOG1P:
    poei_vlog1p(x, out, n);
    return true;
  case POEI_FORMULA_EXPM1:
    EACH(expm1(a));
  case POEI_FORMULA_SQRT:
    EACH(sqrt(a));
  case POEI_FORMULA_SIN:
    poei_vsincos(x, out, work, n);
    return true;
  case POEI_FORMULA_COS:
    poei_vsincos(x, work, out, n);
    return true;
  case POEI_FORMULA_TANH:
    poei_vtanh(x, out, n);
    return true;
  case POEI_FORMULA_ABS:
    EACH(fabs(a));
  case POEI_FORMULA_SOFTPLUS:
    formula_softplus(n, x, out, work);
    return true;
  case POEI_FORMULA_SIGMOID:
    formula_sigmoid(n, x, out, work);
    return true;
  case POEI_FORMULA_RELU:
    EACH(a <= 0.0 ? 0.0 : a);
  case POEI_FORMULA_ERF:
    poei_verf(x, out, n);
    return true;
  case POEI_FORMULA_LGAMMA:
    EACH(poei_log_gamma(a));
  default:
    return false;
  }
#undef EACH
}

/* Two arguments; true when the operation has two. */
static bool formula_binary(poei_formula_op op, size_t n, const double *x, const double *y, double *out) {
#define EACH(expression)                                                                                               \
  for (size_t i = 0; i < n; i++) {                                                                                     \
    double a = x[i], b = y[i];                                                                                         \
    out[i] = (expression);                                                                                             \
  }                                                                                                                    \
  return true
  switch (op) {
  case POEI_FORMULA_ADD:
    EACH(a + b);
  case POEI_FORMULA_SUB:
    EACH(a - b);
  case POEI_FORMULA_MUL:
    EACH(a * b);
  case POEI_FORMULA_DIV:
    EACH(a / b);
  case POEI_FORMULA_POW:
    EACH(pow(a, b));
  case POEI_FORMULA_ATAN2:
    EACH(atan2(a, b));
  default:
    return false;
  }
#undef EACH
}

/* Smaller of a and b by the formula's rules: the first of equals, NaN wins. */
static double formula_extreme(bool smaller, double a, double b) {
  if (isnan(a) || isnan(b)) {
    return NAN;
  }
  return (smaller ? b < a : b > a) ? b : a;
}

/* Any number of arguments. */
static void formula_many(const formula_frame *frame, const poei_formula_node *node, double *out) {
  size_t n = frame->n;
  const double *first = formula_vector(frame, frame->values, formula_arg(frame, node, 0));
  memcpy(out, first, n * sizeof *out);
  for (size_t k = 1; k < node->n_args; k++) {
    const double *x = formula_vector(frame, frame->values, formula_arg(frame, node, k));
    for (size_t i = 0; i < n; i++) {
      out[i] = node->op == POEI_FORMULA_SUM    ? out[i] + x[i]
               : node->op == POEI_FORMULA_MIN  ? formula_extreme(true, out[i], x[i])
               : node->op == POEI_FORMULA_NORM ? formula_extreme(false, fabs(out[i]), fabs(x[i]))
                                               : formula_extreme(false, out[i], x[i]);
    }
  }
  if (node->op != POEI_FORMULA_LOGSUMEXP && node->op != POEI_FORMULA_NORM) {
    return;
  }
  /* out holds the largest (in size): scale by it. Rows where it is not finite, or 0 for norm, are what it is. */
  double *sum = frame->work, *term = frame->work + frame->formula->block;
  memset(sum, 0, n * sizeof *sum);
  for (size_t k = 0; k < node->n_args; k++) {
    const double *x = formula_vector(frame, frame->values, formula_arg(frame, node, k));
    for (size_t i = 0; i < n; i++) {
      bool usable = isfinite(out[i]);
      term[i] = !usable ? 0.0 : node->op == POEI_FORMULA_NORM ? x[i] / (out[i] == 0.0 ? 1.0 : out[i]) : x[i] - out[i];
    }
    if (node->op == POEI_FORMULA_LOGSUMEXP) {
      poei_vexp(term, term, n);
    }
    for (size_t i = 0; i < n; i++) {
      sum[i] += node->op == POEI_FORMULA_NORM ? term[i] * term[i] : term[i];
    }
  }
  for (size_t i = 0; i < n; i++) {
    if (isfinite(out[i])) {
      out[i] = node->op == POEI_FORMULA_NORM ? out[i] * sqrt(sum[i]) : out[i] + log(sum[i]);
    }
  }
}

static void formula_forward(const formula_frame *frame, const double *x, size_t ld) {
  size_t n = frame->n;
  for (size_t v = 0; v < frame->formula->n_nodes; v++) {
    const poei_formula_node *node = &frame->formula->nodes[v];
    double *out = formula_vector(frame, frame->values, (poei_formula_value)v);
    if (node->kind != POEI_FORMULA_APPLY) {
      for (size_t i = 0; i < n; i++) {
        out[i] = node->kind == POEI_FORMULA_CONSTANT ? node->constant : x[i * ld + node->coordinate];
      }
      continue;
    }
    const double *a = formula_vector(frame, frame->values, formula_arg(frame, node, 0));
    const double *b = node->n_args < 2 ? a : formula_vector(frame, frame->values, formula_arg(frame, node, 1));
    if (!formula_unary(node->op, n, a, out, frame->work) && !formula_binary(node->op, n, a, b, out)) {
      formula_many(frame, node, out);
    }
  }
}

double poei_formula_scalar(poei_formula_op op, size_t n, const double *args) {
  double out, work;
  if (formula_unary(op, 1, args, &out, &work) || (n >= 2 && formula_binary(op, 1, &args[0], &args[1], &out))) {
    return out;
  }
  switch (op) {
  case POEI_FORMULA_LOGSUMEXP:
    return poei_log_sum_exp(args, n, 1);
  case POEI_FORMULA_NORM:
    return formula_norm(n, args);
  default:
    out = args[0];
    for (size_t i = 1; i < n; i++) {
      out = op == POEI_FORMULA_SUM ? out + args[i] : formula_extreme(op == POEI_FORMULA_MIN, out, args[i]);
    }
    return out;
  }
}

/* ---- derivatives ---- */

static const bool formula_takes_many[] = {
#define FORMULA_TAKES_MANY(name, arity, word) (arity) == 0,
    POEI_FORMULA_OP_LIST(FORMULA_TAKES_MANY)
#undef FORMULA_TAKES_MANY
};

/* d value / d a of an operation of one argument, at a with value v. */
static double formula_slope(poei_formula_op op, double a, double v) {
  switch (op) {
  case POEI_FORMULA_NEG:
    return -1.0;
  case POEI_FORMULA_EXP:
    return v;
  case POEI_FORMULA_LOG:
    return 1.0 / a;
  case POEI_FORMULA_LOG1P:
    return 1.0 / (1.0 + a);
  case POEI_FORMULA_EXPM1:
    return exp(a);
  case POEI_FORMULA_SQRT:
    return 0.5 / v;
  case POEI_FORMULA_SIN:
    return cos(a);
  case POEI_FORMULA_COS:
    return -sin(a);
  case POEI_FORMULA_TANH:
    return 4.0 * formula_logistic_slope(2.0 * a);
  case POEI_FORMULA_ABS:
    return a > 0.0 ? 1.0 : a < 0.0 ? -1.0 : 0.0 * a;
  case POEI_FORMULA_SOFTPLUS:
    return poei_sigmoid(a);
  case POEI_FORMULA_SIGMOID:
    return formula_logistic_slope(a);
  case POEI_FORMULA_RELU:
    return a > 0.0 ? 1.0 : 0.0;
  case POEI_FORMULA_ERF:
    return 1.12837916709551257390 * exp(-a * a);
  default: /* LGAMMA */
    return poei_digamma(a);
  }
}

/* d value / d argument k of an operation of two arguments. */
static double formula_slope_of(poei_formula_op op, size_t k, double a, double b, double v) {
  switch (op) {
  case POEI_FORMULA_ADD:
    return 1.0;
  case POEI_FORMULA_SUB:
    return k == 0 ? 1.0 : -1.0;
  case POEI_FORMULA_MUL:
    return k == 0 ? b : a;
  case POEI_FORMULA_DIV:
    return k == 0 ? 1.0 / b : -v / b;
  case POEI_FORMULA_POW:
    if (k == 0) {
      return b == 0.0 ? 0.0 : b * pow(a, b - 1.0);
    }
    return v == 0.0 ? 0.0 : v * log(a);
  default: { /* ATAN2 */
    double r = hypot(a, b);
    return k == 0 ? b / r / r : -a / r / r;
  }
  }
}

/* d value / d argument x of an operation of many; `taken` says that an earlier argument has the gradient of a tie. */
static double formula_share(poei_formula_op op, double x, double v, bool taken) {
  switch (op) {
  case POEI_FORMULA_SUM:
    return 1.0;
  case POEI_FORMULA_LOGSUMEXP:
    return v == -INFINITY ? 0.0 : exp(x - v);
  case POEI_FORMULA_NORM:
    return v == 0.0 ? 0.0 : x / v;
  default: /* MIN, MAX */
    return !taken && x == v ? 1.0 : 0.0;
  }
}

static void formula_backward_many(const formula_frame *frame, const poei_formula_node *node, const double *v,
                                  const double *adjoint) {
  double *taken = frame->work;
  memset(taken, 0, frame->n * sizeof *taken);
  for (size_t k = 0; k < node->n_args; k++) {
    poei_formula_value arg = formula_arg(frame, node, k);
    const double *x = formula_vector(frame, frame->values, arg);
    double *to = formula_vector(frame, frame->adjoint, arg);
    bool varies = frame->formula->nodes[arg].varies;
    for (size_t i = 0; i < frame->n; i++) {
      double share = formula_share(node->op, x[i], v[i], taken[i] != 0.0);
      taken[i] = taken[i] != 0.0 || x[i] == v[i] ? 1.0 : 0.0;
      to[i] += varies ? adjoint[i] * share : 0.0;
    }
  }
}

static void formula_backward(const formula_frame *frame, const double *seed) {
  const poei_formula *formula = frame->formula;
  memset(frame->adjoint, 0, formula->n_nodes * formula->block * sizeof *frame->adjoint);
  memcpy(formula_vector(frame, frame->adjoint, (poei_formula_value)(formula->n_nodes - 1)), seed,
         frame->n * sizeof *seed);
  for (size_t v = formula->n_nodes; v-- > 0;) {
    const poei_formula_node *node = &formula->nodes[v];
    if (node->kind != POEI_FORMULA_APPLY) {
      continue;
    }
    const double *value = formula_vector(frame, frame->values, (poei_formula_value)v);
    const double *adjoint = formula_vector(frame, frame->adjoint, (poei_formula_value)v);
    if (formula_takes_many[node->op]) {
      formula_backward_many(frame, node, value, adjoint);
      continue;
    }
    const double *a = formula_vector(frame, frame->values, formula_arg(frame, node, 0));
    const double *b = node->n_args < 2 ? a : formula_vector(frame, frame->values, formula_arg(frame, node, 1));
    for (size_t k = 0; k < node->n_args; k++) {
      poei_formula_value arg = formula_arg(frame, node, k);
      double *to = formula_vector(frame, frame->adjoint, arg);
      for (size_t i = 0; formula->nodes[arg].varies && i < frame->n; i++) {
        to[i] += adjoint[i] * (node->n_args == 1 ? formula_slope(node->op, a[i], value[i])
                                                 : formula_slope_of(node->op, k, a[i], b[i], value[i]));
      }
    }
  }
}

/* ---- the interface ---- */

size_t poei_formula_scratch(const poei_formula *formula, unsigned want, size_t n) {
  (void)n;
  size_t numbers = formula->n_nodes * formula->block, need = poe_scratch_need(numbers, sizeof(double));
  bool grad = (want & POE_WANT_GRAD) != 0;
  return need + (grad ? need : 0) + poe_scratch_need(2 * formula->block, sizeof(double));
}

void poei_formula_eval(const poei_formula *formula, poe_rows rows, double *value, const double *seed, double *grad,
                       size_t ldg, poe_scratch *scratch) {
  size_t mark = poe_scratch_mark(scratch), numbers = formula->n_nodes * formula->block;
  formula_frame frame = {.formula = formula};
  frame.values = poe_scratch_doubles(scratch, numbers);
  frame.work = poe_scratch_doubles(scratch, 2 * formula->block);
  frame.adjoint = grad == NULL ? NULL : poe_scratch_doubles(scratch, numbers);
  for (size_t at = 0; at < rows.n; at += frame.n) {
    frame.n = rows.n - at < formula->block ? rows.n - at : formula->block;
    formula_forward(&frame, rows.x + at * rows.ld, rows.ld);
    memcpy(value + at, formula_vector(&frame, frame.values, (poei_formula_value)(formula->n_nodes - 1)),
           frame.n * sizeof *value);
    if (grad == NULL) {
      continue;
    }
    formula_backward(&frame, seed + at);
    for (size_t v = 0; v < formula->n_nodes; v++) {
      const poei_formula_node *node = &formula->nodes[v];
      const double *from = formula_vector(&frame, frame.adjoint, (poei_formula_value)v);
      for (size_t i = 0; node->kind == POEI_FORMULA_COORDINATE && i < frame.n; i++) {
        grad[(at + i) * ldg + node->coordinate] += seed[at + i] == 0.0 ? 0.0 : from[i];
      }
    }
  }
  poe_scratch_release(scratch, mark);
}
