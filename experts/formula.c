/* formula(x | energy=...) or formula(x | log_density=...): any density one can write down; not normalised.
 *
 * The expression is a net/formula.h graph over the subjects' coordinates; its gradient is derived there. Coordinates
 * may be discrete: they enter the value and have no gradient.
 */
#include <string.h>

#include "core/alloc.h"
#include "core/pool.h"
#include "experts/family.h"
#include "experts/list.h"
#include "net/formula.h"

enum { TILE = POEI_TILE };

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
} formula;

static void formula_destroy(void *self) {
  formula *f = self;
  if (f != NULL) {
    poei_formula_release(f->graph);
    poei_free(f->support);
    poei_free(f);
  }
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
  formula *f = poei_calloc(1, sizeof *f);
  poe_support *support = poei_family_declared(args);
  if (f == NULL || support == NULL) {
    poei_free(f);
    poei_free(support);
    return poei_family_memory(args->kind, error);
  }
  for (size_t j = 0; j < d; j++) {
    if (support[j].kind == POE_CONTINUOUS) { /* the declaration's bounds are not the formula's business */
      support[j] = (poe_support){POE_CONTINUOUS, -INFINITY, INFINITY, true, true};
    }
  }
  *f = (formula){d, poei_formula_retain(graph), which == 0 ? -1.0 : 1.0, support};
  *self = f;
  return POE_OK;
}

static void formula_traits(const void *self, poe_traits *traits) {
  const formula *f = self;
  *traits = (poe_traits){.dim = f->d, .support = f->support, .capabilities = POE_CAN_EVAL | POE_CAN_GRADIENT};
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
};
