/* formula(x | energy=...) or formula(x | log_density=...): any density one can write down; not normalised.
 *
 * The expression is a net/formula.h graph over the subjects' coordinates; its gradient is derived there. Coordinates
 * may be discrete: they enter the value and have no gradient.
 *
 * A polynomial of degree two or less in real coordinates is a Gaussian factor, proper or not: its coefficients, derived
 * from the graph around a point near its bulk, are its closed form. One over few discrete states is a table.
 */
#include "experts/formula.h"

#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/pool.h"
#include "experts/closed.h"
#include "experts/family.h"
#include "experts/form.h"
#include "experts/list.h"
#include "experts/sparse_normal.h"
#include "net/formula_quadratic.h"

enum {
  TILE = POEI_TILE,
  DENSE_DIM = 300,     /* a dense form is offered up to this many coordinates, and where the precision is dense */
  MOST_DENSE = 2000,   /* in truth, up to this many                                                            */
  TABLE_STATES = 4096, /* of a table                                                                          */
  SWEEPS = 8
};

static const double most_flops = 1e8; /* of a factorisation that only looks for a good origin */

static const poe_param formula_params[] = {
    {"energy", POE_ARG_FORMULA, "", NULL, "minus the log-density"},
    {"log_density", POE_ARG_FORMULA, "", NULL, "the log-density, up to a constant"},
    {0},
};

typedef struct formula {
  size_t d;
  poei_formula *graph;
  double sign;          /* -1 when the graph is an energy */
  poe_support *support; /* [d]                            */
  bool is_quadratic;
  poei_quadratic quadratic; /* of the log-density around origin, when it is one */
  double *origin;           /* [d]                                              */
  size_t states;            /* of a table; 0: it is none                        */
} formula;

static void formula_destroy(void *self) {
  formula *f = self;
  if (f != NULL) {
    poei_formula_release(f->graph);
    poei_quadratic_release(&f->quadratic);
    poei_free(f->origin);
    poei_free(f->support);
    poei_free(f);
  }
}

/* ---- what is known of it ---- */

/* The point of a quadratic's bulk, x += P^-1 linear; where P is not positive definite, a few sweeps towards the maximum
 * along one coordinate after the other. work[2, d]. */
static poe_status nearer(const poei_quadratic *q, double *x, double *work, poe_error *error) {
  size_t d = q->dim;
  double *step = work, *residual = work + d;
  poei_sparse_factor *factor = NULL;
  bool failed = true;
  poei_sparse_failure failure = {0};
  poe_status status = poei_sparse_analyse(&q->precision, &factor, error);
  if (status == POE_OK && factor->flops <= most_flops) {
    status = poei_sparse_factorise(factor, &q->precision, &failed, &failure, error);
  }
  memcpy(step, q->linear, d * sizeof *step);
  if (status == POE_OK && !failed) {
    poei_sparse_solve(factor, step, residual);
  }
  poei_sparse_factor_destroy(factor);
  memset(step, 0, (status == POE_OK && !failed ? 0 : d) * sizeof *step);
  for (size_t sweep = 0; status == POE_OK && failed && sweep < SWEEPS; sweep++) {
    poei_sparse_multiply(&q->precision, 1, step, residual);
    for (size_t j = 0; j < d; j++) {
      size_t first = q->precision.start[j], end = q->precision.start[j + 1];
      double own = q->precision.value[first], move = own > 0.0 ? (q->linear[j] - residual[j]) / own : 0.0;
      step[j] += move;
      for (size_t k = first + 1; k < end; k++) { /* what later coordinates see */
        residual[q->precision.row[k]] += q->precision.value[k] * move;
      }
    }
  }
  for (size_t j = 0; j < d; j++) {
    x[j] += isfinite(x[j] + step[j]) ? step[j] : 0.0;
  }
  return status;
}

/* The log-density's own coefficients around f->origin, if it has any. */
static poe_status coefficients(formula *f, poe_error *error) {
  poei_quadratic_release(&f->quadratic);
  poe_status status = poei_formula_quadratic(f->graph, f->origin, &f->quadratic, &f->is_quadratic, error);
  if (status == POE_OK && f->is_quadratic) {
    f->quadratic.constant *= f->sign;
    for (size_t j = 0; j < f->d; j++) {
      f->quadratic.linear[j] *= f->sign;
    }
    for (size_t k = 0; k < f->quadratic.precision.start[f->d]; k++) {
      f->quadratic.precision.value[k] *= f->sign;
    }
  }
  return status;
}

/* Is the formula a Gaussian factor? Twice around a better point: coefficients near the bulk keep their digits. */
static poe_status find_quadratic(formula *f, poe_error *error) {
  f->origin = poei_calloc(f->d, sizeof *f->origin);
  double *work = poei_alloc(f->d, 2 * sizeof *work);
  poe_status status = f->origin == NULL || work == NULL ? poei_family_memory("formula", error) : coefficients(f, error);
  for (size_t step = 0; step < 2 && status == POE_OK && f->is_quadratic; step++) {
    status = nearer(&f->quadratic, f->origin, work, error);
    if (status == POE_OK) {
      status = coefficients(f, error);
    }
  }
  if (status == POE_OK && !f->is_quadratic) {
    memset(f->origin, 0, f->d * sizeof *f->origin);
  }
  poei_free(work);
  return status;
}

/* Sorts a new formula: Gaussian factor, table, or neither. */
static poe_status look(formula *f, poe_error *error) {
  bool continuous = true;
  f->states = 1;
  for (size_t j = 0; j < f->d; j++) {
    const poe_support *s = &f->support[j];
    continuous = continuous && s->kind == POE_CONTINUOUS;
    double values = s->kind == POE_DISCRETE ? s->high - s->low + 1.0 : INFINITY;
    f->states = (double)f->states * values <= (double)TABLE_STATES ? f->states * (size_t)values : 0;
  }
  return continuous ? find_quadratic(f, error) : POE_OK;
}

/* Takes the support, whatever happens. */
static poe_status formula_make(const poei_formula *graph, double sign, poe_support *support, formula **out,
                               poe_error *error) {
  formula *f = poei_calloc(1, sizeof *f);
  if (f == NULL) {
    poei_free(support);
    return poei_family_memory("formula", error);
  }
  *f = (formula){.d = poei_formula_dim(graph), .graph = poei_formula_retain(graph), .sign = sign, .support = support};
  poe_status status = look(f, error);
  if (status != POE_OK) {
    formula_destroy(f);
    return status;
  }
  *out = f;
  return POE_OK;
}

static poe_status formula_create(const poe_args *args, void **self, poe_error *error) {
  static const char *const names[] = {"energy", "log_density"};
  size_t which = 0, d = poe_args_dim(args);
  if (d == 0) {
    return poe_error_set(error, POE_E_USAGE, "`%s` needs a variable before the bar", args->kind);
  }
  poe_status status = poei_family_one_of(args, 2, names, &which, error);
  if (status != POE_OK) {
    return status;
  }
  const poe_arg *arg = poe_args_find(args, names[which]);
  const poei_formula *graph = arg->formula;
  if (poei_formula_dim(graph) != d) {
    return poe_args_error(arg, error, POE_E_SHAPE, "`%s` of `%s` is an expression of %zu coordinates, not %zu",
                          arg->name, args->kind, poei_formula_dim(graph), d);
  }
  poe_support *support = poei_family_declared(args);
  if (support == NULL) {
    return poei_family_memory(args->kind, error);
  }
  for (size_t j = 0; j < d; j++) {
    if (support[j].kind == POE_CONTINUOUS) { /* the declaration's bounds are not the formula's business */
      support[j] = (poe_support){POE_CONTINUOUS, -INFINITY, INFINITY, true, true};
    }
  }
  formula *f = NULL;
  status = formula_make(graph, which == 0 ? -1.0 : 1.0, support, &f, error);
  if (status == POE_OK) {
    *self = f;
  }
  return status;
}

static void formula_traits(const void *self, poe_traits *traits) {
  const formula *f = self;
  *traits = (poe_traits){.dim = f->d, .support = f->support, .capabilities = POE_CAN_EVAL | POE_CAN_GRADIENT};
  if (f->is_quadratic) {
    size_t numbers = f->quadratic.precision.start[f->d];
    bool dense = f->d <= MOST_DENSE && numbers >= f->d * f->d / 8;
    traits->capabilities |= POE_CAN_STRUCTURE | (f->d <= DENSE_DIM || dense ? (unsigned)POE_CAN_FORM : 0u);
  } else if (f->states > 0) {
    traits->capabilities |= POE_CAN_FORM;
  }
}

static size_t formula_scratch(const void *self, unsigned want, size_t n) {
  const formula *f = self;
  size_t tile = n < TILE ? n : TILE, number = sizeof(double), bytes = poe_scratch_need(tile, number);
  if ((want & POE_WANT_GRAD) != 0) {
    bytes += poe_scratch_need(tile, number) + poe_scratch_need(tile * f->d, number);
  }
  return bytes + poei_formula_scratch(f->graph, want, tile);
}

/* Adds the gradients of rows that have a value; derivatives at points outside the support may be anything. */
static void formula_gradient(const formula *f, poe_rows rows, poe_weights weights, poe_accum out, const double *value,
                             const double *grad) {
  for (size_t i = 0; i < rows.n; i++) {
    double w = weights.w[i * weights.inc];
    for (size_t j = 0; w != 0.0 && isfinite(value[i]) && j < f->d; j++) {
      if (f->support[j].kind == POE_CONTINUOUS) {
        out.grad[i * out.ldg + j] += w * grad[i * f->d + j];
      }
    }
  }
}

static void formula_tile(const formula *f, poe_rows rows, poe_weights weights, poe_accum out, double *value,
                         double *seed, double *grad, poe_scratch *scratch) {
  bool discrete_ok = true;
  if (out.grad != NULL) {
    memset(grad, 0, rows.n * f->d * sizeof *grad);
    for (size_t i = 0; i < rows.n; i++) {
      seed[i] = f->sign;
    }
  }
  poei_formula_eval(f->graph, rows, value, seed, out.grad != NULL ? grad : NULL, f->d, scratch);
  for (size_t i = 0; i < rows.n; i++) {
    value[i] *= f->sign;
    for (size_t j = 0; j < f->d; j++) { /* a discrete coordinate has no value off its integers */
      const poe_support *s = &f->support[j];
      double x = rows.x[i * rows.ld + j];
      discrete_ok = s->kind == POE_CONTINUOUS || isnan(x) || (x >= s->low && x <= s->high && x == floor(x));
      value[i] = discrete_ok ? value[i] : -INFINITY;
    }
    poe_accum_value(&out.logp[i], weights.w[i * weights.inc], value[i]);
  }
  if (out.grad != NULL) {
    formula_gradient(f, rows, weights, out, value, grad);
  }
}

static poe_status formula_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                   poe_scratch *scratch, poe_error *error) {
  (void)error;
  const formula *f = self;
  size_t mark = poe_scratch_mark(scratch), tile = rows.n < TILE ? rows.n : TILE;
  double *value = poe_scratch_doubles(scratch, tile), *seed = NULL, *grad = NULL;
  if (out.grad != NULL) {
    seed = poe_scratch_doubles(scratch, tile);
    grad = poe_scratch_doubles(scratch, tile * f->d);
  }
  for (size_t start = 0; start < rows.n; start += TILE) {
    size_t n = rows.n - start < TILE ? rows.n - start : TILE;
    poe_rows part = {n, rows.d, rows.ld, rows.x + start * rows.ld};
    poe_weights part_weights = {weights.w + start * weights.inc, weights.inc};
    poe_accum part_out = {out.logp + start, out.grad != NULL ? out.grad + start * out.ldg : NULL, out.ldg};
    formula_tile(f, part, part_weights, part_out, value, seed, grad, scratch);
  }
  poe_scratch_release(scratch, mark);
  return POE_OK;
}

/* ---- closed forms ---- */

static poe_status gaussian_form(const formula *f, poe_form *form, poe_error *error) {
  const poei_sparse_matrix *precision = &f->quadratic.precision;
  poe_form made = {0};
  poe_status status = poei_form_gaussians(&made, 1, f->d, error);
  if (status != POE_OK) {
    return status;
  }
  made.constant[0] = f->quadratic.constant;
  memcpy(made.origin, f->origin, f->d * sizeof *made.origin);
  memcpy(made.linear, f->quadratic.linear, f->d * sizeof *made.linear);
  for (size_t j = 0; j < f->d; j++) {
    for (size_t k = precision->start[j]; k < precision->start[j + 1]; k++) {
      made.precision[j * f->d + precision->row[k]] = precision->value[k];
      made.precision[precision->row[k] * f->d + j] = precision->value[k];
    }
  }
  *form = made;
  return POE_OK;
}

/* The value of every state, evaluated. */
static poe_status table_form(const formula *f, poe_form *form, poe_error *error) {
  size_t *count = poei_alloc(f->d, sizeof *count);
  double *low = poei_alloc(f->d, sizeof *low), *x = poei_alloc(f->d, sizeof *x), one = 1.0;
  poe_scratch *scratch = poe_scratch_create(formula_scratch(f, POE_WANT_LOGP, 1));
  poe_form made = {0};
  poe_status status = POE_OK;
  if (count == NULL || low == NULL || x == NULL || scratch == NULL) {
    status = poei_family_memory("formula", error);
  }
  for (size_t j = 0; status == POE_OK && j < f->d; j++) {
    low[j] = f->support[j].low;
    count[j] = (size_t)(f->support[j].high - low[j] + 1.0);
  }
  if (status == POE_OK) {
    status = poei_form_table(&made, f->d, count, low, error);
  }
  for (size_t s = 0; status == POE_OK && s < f->states; s++) {
    for (size_t j = f->d, rest = s; j-- > 0; rest /= count[j]) {
      x[j] = low[j] + (double)(rest % count[j]);
    }
    status = formula_eval_add(f, (poe_rows){1, f->d, f->d, x}, (poe_weights){&one, 0},
                              (poe_accum){.logp = &made.log_value[s]}, scratch, error);
    if (status == POE_OK && (isnan(made.log_value[s]) || made.log_value[s] == INFINITY)) {
      status = poe_error_set(error, POE_E_CAPABILITY, "a formula that is not finite is no table");
    }
  }
  if (status == POE_OK) {
    *form = made;
    made = (poe_form){0};
  }
  poe_form_release(&made);
  poe_scratch_destroy(scratch);
  poei_free(count);
  poei_free(low);
  poei_free(x);
  return status;
}

static poe_status formula_form(const void *self, poe_form *form, poe_error *error) {
  const formula *f = self;
  return f->is_quadratic ? gaussian_form(f, form, error) : table_form(f, form, error);
}

static poe_status formula_structure(const void *self, poe_structure *structure, poe_error *error) {
  const formula *f = self;
  poe_status status =
      poei_sparse_structure(f->origin, f->quadratic.constant, &f->quadratic.precision, structure, error);
  if (status == POE_OK) {
    memcpy(structure->as.sparse.linear, f->quadratic.linear, f->d * sizeof(double));
  }
  return status;
}

const poe_expert_ops poei_formula_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "formula",
    .doc = "a density written as an expression",
    .params = formula_params,
    .create = formula_create,
    .destroy = formula_destroy,
    .traits = formula_traits,
    .scratch = formula_scratch,
    .eval_add = formula_eval_add,
    .form = formula_form,
    .structure = formula_structure,
};

/* ---- coordinates fixed ---- */

bool poei_formula_is(const poe_expert *expert) {
  return poe_expert_ops_of(expert) == &poei_formula_ops;
}

poe_status poei_formula_given(const poe_expert *expert, size_t n, const size_t *index, const double *value,
                              poe_expert **out, poe_error *error) {
  const formula *f = poe_expert_self(expert);
  poe_support *support = poei_copy(f->support, f->d, sizeof *support);
  poei_formula *graph = NULL;
  formula *made = NULL;
  size_t left = 0;
  poe_status status = support == NULL ? poei_family_memory("formula", error)
                                      : poei_formula_bind(f->graph, n, index, value, &graph, error);
  for (size_t c = 0; status == POE_OK && c < f->d; c++) {
    bool fixed = false;
    for (size_t k = 0; k < n; k++) {
      fixed = fixed || index[k] == c;
    }
    if (!fixed) {
      support[left++] = f->support[c];
    }
  }
  if (status == POE_OK) {
    status = formula_make(graph, f->sign, support, &made, error);
  } else {
    poei_free(support);
  }
  if (status == POE_OK) {
    status = poe_expert_wrap(&poei_formula_ops, made, out, error);
    if (status != POE_OK) {
      formula_destroy(made);
    }
  }
  poei_formula_release(graph);
  return status;
}

/* ---- sums taken apart ---- */

/* One part as an expert. */
static poe_status part_create(const formula *f, const poei_formula_part *part, poe_expert **out, poe_error *error) {
  poe_support *support = poei_alloc(part->n, sizeof *support);
  formula *made = NULL;
  if (support == NULL) {
    return poei_family_memory("formula", error);
  }
  for (size_t j = 0; j < part->n; j++) {
    support[j] = f->support[part->index[j]];
  }
  poe_status status = formula_make(part->formula, f->sign, support, &made, error);
  if (status == POE_OK) {
    status = poe_expert_wrap(&poei_formula_ops, made, out, error);
    if (status != POE_OK) {
      formula_destroy(made);
    }
  }
  return status;
}

poe_status poei_formula_terms(const poe_expert *expert, size_t *n, poei_formula_part **parts, poe_expert ***experts,
                              poe_error *error) {
  const formula *f = poe_expert_self(expert);
  *n = 0;
  poe_status status = f->is_quadratic || f->states > 0 ? POE_OK : poei_formula_split(f->graph, n, parts, error);
  if (status != POE_OK || *n == 0) {
    return status;
  }
  poe_expert **made = poei_calloc(*n, sizeof *made);
  status = made == NULL ? poei_family_memory("formula", error) : POE_OK;
  for (size_t i = 0; i < *n && status == POE_OK; i++) {
    status = part_create(f, &(*parts)[i], &made[i], error);
  }
  if (status != POE_OK) {
    for (size_t i = 0; made != NULL && i < *n; i++) {
      poe_expert_release(made[i]);
    }
    poei_free(made);
    poei_formula_parts_free(*n, *parts);
    *n = 0;
    return status;
  }
  *experts = made;
  return POE_OK;
}

/* ---- from coefficients ---- */

static poei_formula_value apply2(poei_formula_builder *b, poei_formula_op op, poei_formula_value x,
                                 poei_formula_value y) {
  return poei_formula_apply(b, op, 2, (poei_formula_value[]){x, y});
}

/* c + sum_j u_j (l_j - sum_i<=j p_ij u_i (1 or 1/2)), u = x - origin. */
static poei_formula_value write_form(poei_formula_builder *b, const poe_form *form, poei_formula_value *u) {
  size_t d = form->dim;
  poei_formula_value sum = poei_formula_constant(b, form->constant[0]);
  for (size_t j = 0; j < d; j++) {
    u[j] = apply2(b, POEI_FORMULA_SUB, poei_formula_coordinate(b, j), poei_formula_constant(b, form->origin[j]));
    poei_formula_value slope = poei_formula_constant(b, form->linear[j]);
    for (size_t i = 0; i <= j; i++) {
      double p = form->precision[i * d + j] * (i == j ? 0.5 : 1.0);
      if (p != 0.0) {
        slope = apply2(b, POEI_FORMULA_SUB, slope, apply2(b, POEI_FORMULA_MUL, poei_formula_constant(b, p), u[i]));
      }
    }
    sum = apply2(b, POEI_FORMULA_ADD, sum, apply2(b, POEI_FORMULA_MUL, slope, u[j]));
  }
  return sum;
}

poe_status poei_formula_of_form(const poe_form *form, poe_expert **out, poe_error *error) {
  poei_formula_builder *builder = poei_formula_builder_create(form->dim);
  poei_formula_value *u = poei_alloc(form->dim, sizeof *u);
  poe_support *support = poei_family_reals(form->dim);
  poei_formula *graph = NULL;
  formula *made = NULL;
  poe_status status = builder == NULL || u == NULL || support == NULL
                          ? poei_family_memory("formula", error)
                          : poei_formula_finish(builder, write_form(builder, form, u), &graph, error);
  if (status == POE_OK) {
    status = formula_make(graph, 1.0, support, &made, error);
  } else {
    poei_free(support);
  }
  if (status == POE_OK) {
    status = poe_expert_wrap(&poei_formula_ops, made, out, error);
    if (status != POE_OK) {
      formula_destroy(made);
    }
  }
  poei_formula_release(graph);
  poei_formula_builder_destroy(builder);
  poei_free(u);
  return status;
}
