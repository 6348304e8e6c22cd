/* The expert S(x) = sum_s D(s) prod_m M_m(s_m, x_m) (see summed.h).
 *
 * At every row each mixed factor is evaluated at all its joint discrete values; these are the live tables of an
 * elimination. The gradient needs no derivative of the elimination: d log S = sum_m E[d log M_m(s_m, x_m) | x], so the
 * factors are evaluated once more, each value with its posterior probability as the row's weight.
 */
#include "compose/exact/summed.h"

#include <math.h>
#include <string.h>

#include "compose/exact/summed_parts.h"
#include "core/alloc.h"

enum { BLOCK_NUMBERS = 1 << 18 }; /* of tables held at a time, unless one row has more */

void poei_summed_destroy(void *state) {
  poei_summed *self = state;
  for (size_t m = 0; self->factor != NULL && m < self->n; m++) {
    poe_expert_release(self->factor[m].expert);
    poei_free(self->factor[m].from);
    poei_free(self->factor[m].low);
  }
  poei_free(self->factor);
  poei_free(self->own);
  poei_free(self->discrete);
  poei_free(self->low);
  poei_free(self->support);
  poei_live_destroy(self->live);
  for (size_t k = 0; self->slice != NULL && k < self->n_slices; k++) {
    poei_free(self->slice[k].from);
    poei_free(self->slice[k].offset);
  }
  poei_free(self->slice);
  poei_free(self->first_reader);
  poei_free(self->reader);
  poei_discrete_destroy(self->graph);
  poei_free(self);
}

static void summed_traits(const void *state, poe_traits *traits) {
  const poei_summed *self = state;
  *traits = (poe_traits){.dim = self->dim,
                         .support = self->support,
                         .capabilities = POE_CAN_EVAL | (self->gradient ? POE_CAN_GRADIENT : 0u) |
                                         (self->reader != NULL ? POE_CAN_LOCAL | POE_CAN_ONEHOT : 0u),
                         .offset_error = self->offset_error};
}

/* ---- many evaluations of the mixed factors ---- */

/* Rows of one expert, gathered until there are enough: each is a factor's joint value at a row. */
typedef struct batch {
  const poei_summed *self;
  poe_scratch *scratch;
  poe_rows rows;
  double *table;           /* [rows.n, tables] values are stored here ...                  */
  const double *posterior; /* [rows.n, tables] ... or weighed with this, and gradients     */
  double *gradient;        /* [rows.n, rows.d] added here                                  */
  size_t n, tables;
  double *x, *value, *weight, *grad; /* [ROWS, widest], [ROWS], [ROWS], [ROWS, widest]     */
  size_t *row, *entry;
  const poei_summed_factor **factor;
} batch;

size_t poei_summed_batch_scratch(const poei_summed *self, unsigned want) {
  size_t children = 0, rows = POEI_SUMMED_ROWS;
  for (size_t m = 0; m < self->n; m++) {
    size_t own = poei_child_scratch(self->factor[m].expert, want, rows);
    children = own > children ? own : children;
  }
  return children + 2 * poe_scratch_need(rows * self->widest, sizeof(double)) +
         2 * poe_scratch_need(rows, sizeof(double)) + 2 * poe_scratch_need(rows, sizeof(size_t)) +
         poe_scratch_need(rows, sizeof(void *));
}

static void batch_open(batch *b) {
  size_t rows = POEI_SUMMED_ROWS;
  b->x = poe_scratch_doubles(b->scratch, rows * b->self->widest);
  b->grad = poe_scratch_doubles(b->scratch, rows * b->self->widest);
  b->value = poe_scratch_doubles(b->scratch, rows);
  b->weight = poe_scratch_doubles(b->scratch, rows);
  b->row = poe_scratch_bytes(b->scratch, rows * sizeof *b->row);
  b->entry = poe_scratch_bytes(b->scratch, rows * sizeof *b->entry);
  b->factor = poe_scratch_bytes(b->scratch, rows * sizeof *b->factor);
  b->tables = poei_live_tables(b->self->live);
}

/* Where a value goes. */
static void keep_value(const batch *b, size_t r) {
  double value = b->value[r];
  b->table[b->row[r] * b->tables + b->entry[r]] = value == -INFINITY ? -INFINITY : b->factor[r]->exponent * value;
}

static void keep_gradient(const batch *b, size_t r, size_t d) {
  for (size_t j = 0; j < d; j++) {
    size_t c = b->factor[r]->from[j];
    if (c != SIZE_MAX) {
      b->gradient[b->row[r] * b->rows.d + c] += b->grad[r * d + j];
    }
  }
}

static poe_status flush(batch *b, poe_error *error) {
  static const double one = 1.0;
  if (b->n == 0) {
    return POE_OK;
  }
  const poe_expert *expert = b->factor[0]->expert;
  size_t d = b->factor[0]->n;
  bool gradient = b->gradient != NULL;
  memset(b->value, 0, b->n * sizeof *b->value);
  if (gradient) {
    memset(b->grad, 0, b->n * d * sizeof *b->grad);
  }
  poe_accum out = {b->value, gradient ? b->grad : NULL, d};
  poe_weights weights = gradient ? (poe_weights){b->weight, 1} : (poe_weights){&one, 0};
  poe_status status = poei_child_eval(expert, (poe_rows){b->n, d, d, b->x}, weights, out, b->scratch, error);
  for (size_t r = 0; r < b->n && status == POE_OK; r++) {
    if (gradient) {
      keep_gradient(b, r, d);
    } else {
      keep_value(b, r);
    }
  }
  b->n = 0;
  return status;
}

/* One more evaluation: joint value s of a factor at row i. */
static poe_status add(batch *b, const poei_summed_factor *factor, size_t i, size_t s, poe_error *error) {
  size_t entry = factor->start + s;
  double weight = b->posterior == NULL ? 1.0 : b->posterior[i * b->tables + entry] * factor->exponent;
  if (weight == 0.0) {
    return POE_OK;
  }
  if (b->n == POEI_SUMMED_ROWS || (b->n > 0 && b->factor[0]->expert != factor->expert)) {
    poe_status status = flush(b, error);
    if (status != POE_OK) {
      return status;
    }
  }
  double *x = b->x + b->n * factor->n;
  for (size_t j = 0; j < factor->n; j++) {
    x[j] = factor->from[j] == SIZE_MAX ? factor->low[j] : b->rows.x[i * b->rows.ld + factor->from[j]];
  }
  for (size_t k = factor->n_digits; k-- > 0;) {
    x[factor->digit[k]] += (double)(s % factor->cardinality[k]);
    s /= factor->cardinality[k];
  }
  b->weight[b->n] = weight;
  b->row[b->n] = i;
  b->entry[b->n] = entry;
  b->factor[b->n++] = factor;
  return POE_OK;
}

/* All joint values of one factor at all rows. */
static poe_status run_factor(batch *b, const poei_summed_factor *factor, poe_error *error) {
  poe_status status = POE_OK;
  for (size_t i = 0; i < b->rows.n; i++) {
    for (size_t s = 0; s < factor->states && status == POE_OK; s++) {
      status = add(b, factor, i, s, error);
    }
  }
  return status;
}

/* The same of all factors: neighbours are of one expert where a plate brought it many times. */
static poe_status run(batch *b, poe_error *error) {
  poe_status status = POE_OK;
  for (size_t m = 0; m < b->self->n && status == POE_OK; m++) {
    status = run_factor(b, &b->self->factor[m], error);
  }
  return status == POE_OK ? flush(b, error) : status;
}

poe_status poei_summed_table(const poei_summed *self, size_t m, const double *x, double *table, poe_scratch *scratch,
                             poe_error *error) {
  size_t mark = poe_scratch_mark(scratch);
  batch b = {.self = self, .scratch = scratch, .rows = {1, self->dim, self->dim, x}, .table = table};
  batch_open(&b);
  poe_status status = run_factor(&b, &self->factor[m], error);
  status = status == POE_OK ? flush(&b, error) : status;
  poe_scratch_release(scratch, mark);
  return status;
}

poe_status poei_summed_tables(const poei_summed *self, poe_rows rows, double *table, poe_scratch *scratch,
                              poe_error *error) {
  size_t mark = poe_scratch_mark(scratch);
  batch b = {.self = self, .scratch = scratch, .rows = rows, .table = table};
  for (size_t i = 0; i < rows.n && self->n_slices > 0; i++) {
    for (size_t k = 0; k < self->n_slices; k++) {
      poei_summed_slice_at(self, &self->slice[k], rows.x + i * rows.ld, table + i * poei_live_tables(self->live));
    }
  }
  batch_open(&b);
  poe_status status = run(&b, error);
  poe_scratch_release(scratch, mark);
  return status;
}

static poe_status add_gradients(const poei_summed *self, poe_rows rows, const double *posterior, double *gradient,
                                poe_scratch *scratch, poe_error *error) {
  size_t mark = poe_scratch_mark(scratch);
  batch b = {.self = self, .scratch = scratch, .rows = rows, .posterior = posterior, .gradient = gradient};
  batch_open(&b);
  poe_status status = run(&b, error);
  poe_scratch_release(scratch, mark);
  return status;
}

/* ---- values ---- */

/* Rows whose tables are held at a time: a function of the expert alone. */
static size_t block_rows(const poei_summed *self, size_t n) {
  size_t tables = poei_live_tables(self->live), rows = BLOCK_NUMBERS / (tables + 1);
  rows = rows == 0 ? 1 : rows;
  return rows < n ? rows : n;
}

static size_t summed_scratch(const void *state, unsigned want, size_t n) {
  const poei_summed *self = state;
  if ((want & POE_WANT_ONEHOT) != 0) {
    return poei_summed_onehot_scratch(self);
  }
  size_t rows = block_rows(self, n), tables = poei_live_tables(self->live);
  size_t own = poe_scratch_need(rows * tables, sizeof(double)) + poe_scratch_need(rows, sizeof(double)) +
               poe_scratch_need(poei_live_messages(self->live), sizeof(double));
  if ((want & POE_WANT_GRAD) != 0) {
    own += poe_scratch_need(rows * tables, sizeof(double)) + poe_scratch_need(rows * self->dim, sizeof(double));
  }
  size_t values = poei_summed_batch_scratch(self, want), live = poei_live_scratch(self->live, false);
  return own + (values > live ? values : live);
}

/* Values, and gradients unless out.grad is NULL, of a block of rows. */
static poe_status eval_block(const poei_summed *self, poe_rows rows, poe_weights weights, poe_accum out,
                             poe_scratch *scratch, poe_error *error) {
  size_t mark = poe_scratch_mark(scratch), tables = poei_live_tables(self->live);
  double *table = poe_scratch_doubles(scratch, rows.n * tables), *value = poe_scratch_doubles(scratch, rows.n);
  double *message = poe_scratch_doubles(scratch, poei_live_messages(self->live)), *posterior = NULL, *grad = NULL;
  if (out.grad != NULL) {
    posterior = poe_scratch_doubles(scratch, rows.n * tables);
    grad = poe_scratch_doubles(scratch, rows.n * rows.d);
    memset(posterior, 0, rows.n * tables * sizeof *posterior);
    memset(grad, 0, rows.n * rows.d * sizeof *grad);
  }
  poe_status status = poei_summed_tables(self, rows, table, scratch, error);
  for (size_t i = 0; i < rows.n && status == POE_OK; i++) {
    const double *own = table + i * tables;
    value[i] = poei_live_log_z(self->live, own, message, scratch);
    if (posterior != NULL && isfinite(value[i])) {
      poei_live_posterior(self->live, own, message, posterior + i * tables, scratch);
    }
  }
  if (status == POE_OK && grad != NULL) {
    status = add_gradients(self, rows, posterior, grad, scratch, error);
  }
  if (status == POE_OK) {
    poei_accum_rows(rows.n, rows.d, value, grad, weights, out, self->support);
  }
  poe_scratch_release(scratch, mark);
  return status;
}

static poe_status summed_eval_add(const void *state, poe_rows rows, poe_weights weights, poe_accum out,
                                  poe_scratch *scratch, poe_error *error) {
  const poei_summed *self = state;
  size_t block = block_rows(self, rows.n);
  poe_status status = POE_OK;
  for (size_t first = 0; first < rows.n && status == POE_OK; first += block) {
    size_t count = rows.n - first < block ? rows.n - first : block;
    poe_rows own = {count, rows.d, rows.ld, rows.x + first * rows.ld};
    poe_accum part = {out.logp + first, out.grad == NULL ? NULL : out.grad + first * out.ldg, out.ldg};
    status = eval_block(self, own, (poe_weights){weights.w + first * weights.inc, weights.inc}, part, scratch, error);
  }
  return status;
}

static const poe_param no_params[] = {{0}};

static const poe_expert_ops summed_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "summed",
    .doc = "factors over discrete and continuous coordinates with the discrete ones summed out by elimination",
    .params = no_params,
    .create = poei_node_create,
    .destroy = poei_summed_destroy,
    .traits = summed_traits,
    .scratch = summed_scratch,
    .eval_add = summed_eval_add,
    .local = &poei_summed_local,
    .onehot_grad_add = poei_summed_onehot_grad_add,
};

poe_status poei_summed_wrap(poei_summed *self, poe_expert **out, poe_error *error) {
  return poei_node_wrap(&summed_ops, self, out, error);
}

/* ---- looking in ---- */

bool poei_is_summed(const poe_expert *expert) {
  return poe_expert_ops_of(expert) == &summed_ops;
}

size_t poei_summed_values(const poe_expert *summed) {
  return poei_live_tables(((const poei_summed *)poe_expert_self(summed))->live);
}

double poei_summed_work(const poe_expert *summed) {
  return poei_live_work(((const poei_summed *)poe_expert_self(summed))->live);
}

size_t poei_summed_discrete(const poe_expert *summed, const size_t **coordinate) {
  const poei_summed *self = poe_expert_self(summed);
  *coordinate = self->discrete;
  return self->n_discrete;
}

size_t poei_summed_probabilities(const poe_expert *summed) {
  return ((const poei_summed *)poe_expert_self(summed))->probabilities;
}
