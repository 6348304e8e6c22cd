/* classifier(x, c | file=...): log p(c | x), normalised over the label c for each x.
 *
 * A network gives the logits z of the values of c from the coordinates before it: log p(c = i | x) = z_i - log sum_k
 * exp z_k. One logit is that of c = 1 over a binary c: log p(1 | x) = -log(1 + exp(-z)). Files with several heads
 * (poe.heads) name the one that is meant by `head`. Gradients in x are those of the chosen log-probability, z's share
 * (1[k = c] - p_k). The single-site view keeps the logits of a row: one pass of the network serves all values of c.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/numerics.h"
#include "experts/discrete.h"
#include "experts/family.h"
#include "experts/list.h"
#include "experts/network.h"
#include "experts/states.h"

static const poe_param classifier_params[] = {
    POEI_NETWORK_PARAMS,
    {"head", POE_ARG_STRING, "", NULL, "which head, for files with several (poe.heads)"},
    {0},
};

typedef struct classifier {
  poei_net *net;
  size_t dx;            /* coordinates of x; the label is coordinate dx     */
  size_t k;             /* values of the label                              */
  size_t first;         /* its logits: first .. first + (binary ? 1 : k)    */
  bool sigmoid;         /* one logit                                        */
  bool continuous;      /* all coordinates of x are: there is a gradient    */
  bool discrete;        /* all coordinates of x are                         */
  size_t values;        /* most values of a discrete one, 0: infinitely many */
  poe_support *support; /* [dx + 1]                                         */
  unsigned char *head;  /* [dx + 1] 1 for the label                         */
} classifier;

static void classifier_destroy(void *self) {
  classifier *c = self;
  if (c != NULL) {
    poei_net_release(c->net);
    poei_free(c->support);
    poei_free(c->head);
    poei_free(c);
  }
}

/* ---- creation ---- */

/* The last subject is the label: one coordinate of finitely many values. */
static poe_status classifier_label(const poe_args *args, classifier *c, poe_error *error) {
  if (args->n_subjects < 2) {
    return poe_error_set(error, POE_E_USAGE, "`%s` needs two variables before the bar: x, c", args->kind);
  }
  const poe_subject *label = &args->subjects[args->n_subjects - 1];
  const poe_support *range = label->support;
  bool fits = label->dim == 1 && range->kind == POE_DISCRETE && range->low == 0.0 && isfinite(range->high);
  if (!fits) {
    poe_status status =
        poe_error_set(error, POE_E_TYPE, "`%s` predicts `%s`, which must be one label", args->kind, label->name);
    poe_error_hint(error, "declare it as `var %s : int(10)` or `binary`; the label comes last", label->name);
    return status;
  }
  c->dx = poe_args_dim(args) - 1;
  c->k = range->high < (double)POEI_MAX_LABELS ? (size_t)range->high + 1 : 0;
  return c->k > 0 ? POE_OK
                  : poe_error_set(error, POE_E_SHAPE, "`%s` over a label of %.0f values is too large", args->kind,
                                  range->high + 1.0);
}

/* "digit, thick" of a file's heads, cut where it does not fit. */
static void classifier_names(const poei_heads *heads, size_t size, char *text) {
  size_t at = 0;
  for (size_t i = 0; i < heads->n && at + 1 < size; i++) {
    int wrote = snprintf(text + at, size - at, "%s\"%s\"", i == 0 ? "" : ", ", heads->head[i].name);
    at += wrote < 0 ? 0 : (size_t)wrote;
  }
}

/* Finds the logits of the label among those of the network. */
static poe_status classifier_head(const poe_args *args, const poei_heads *heads, classifier *c, poe_error *error) {
  const poe_arg *wanted = poe_args_find(args, "head"), *file = poe_args_find(args, "file");
  size_t size = poei_net_out_dim(c->net);
  const poei_head *found = wanted == NULL && heads->n == 1 ? &heads->head[0] : NULL;
  for (size_t i = 0; wanted != NULL && i < heads->n && found == NULL; i++) {
    found = strcmp(heads->head[i].name, wanted->text) == 0 ? &heads->head[i] : NULL;
  }
  if (found == NULL && (wanted != NULL || heads->n > 1)) {
    char names[256] = "none";
    classifier_names(heads, sizeof names, names);
    poe_status status = poe_args_error(wanted == NULL ? file : wanted, error, POE_E_DOMAIN,
                                       wanted == NULL ? "'%s' has %zu heads" : "'%s' is none of the %zu heads",
                                       wanted == NULL ? file->text : wanted->text, heads->n);
    poe_error_hint(error, "head= one of %s", names);
    return status;
  }
  c->first = found == NULL ? 0 : found->first;
  size = found == NULL ? size : found->size;
  c->sigmoid = found == NULL ? size == 1 : found->sigmoid;
  if (c->k != (c->sigmoid ? 2 : size)) {
    return poe_args_error(file, error, POE_E_FORMAT, "the classifier in '%s' has %zu labels, but `%s` has %zu values",
                          file->text, c->sigmoid ? (size_t)2 : size, args->subjects[args->n_subjects - 1].name, c->k);
  }
  return POE_OK;
}

static poe_status classifier_fill(const poe_args *args, classifier *c, poe_error *error) {
  poei_heads heads = {0};
  c->support = poei_family_declared(args);
  c->head = poei_calloc(c->dx + 1, 1);
  if (c->support == NULL || c->head == NULL) {
    return poei_family_memory(args->kind, error);
  }
  c->head[c->dx] = 1;
  c->continuous = c->discrete = true;
  c->values = c->k;
  for (size_t j = 0; j < c->dx; j++) {
    const poe_support *s = &c->support[j];
    c->continuous = c->continuous && s->kind == POE_CONTINUOUS;
    c->discrete = c->discrete && s->kind == POE_DISCRETE;
    double values = s->kind == POE_CONTINUOUS ? 1.0 : s->high - s->low + 1.0;
    bool few = c->values > 0 && values <= (double)POEI_FORM_STATES;
    c->values = !few ? 0 : (size_t)values > c->values ? (size_t)values : c->values;
  }
  poe_status status = poei_network_open_classifier(args, c->dx, &c->net, &heads, error);
  status = status == POE_OK ? classifier_head(args, &heads, c, error) : status;
  poei_heads_free(&heads);
  return status;
}

static poe_status classifier_create(const poe_args *args, void **self, poe_error *error) {
  classifier *c = poei_calloc(1, sizeof *c);
  if (c == NULL) {
    return poei_family_memory(args->kind, error);
  }
  poe_status status = classifier_label(args, c, error);
  status = status == POE_OK ? classifier_fill(args, c, error) : status;
  if (status != POE_OK) {
    classifier_destroy(c);
    return status;
  }
  *self = c;
  return POE_OK;
}

static void classifier_traits(const void *self, poe_traits *traits) {
  const classifier *c = self;
  *traits = (poe_traits){.dim = c->dx + 1,
                         .support = c->support,
                         .head = c->head,
                         .capabilities =
                             POE_CAN_EVAL | (c->continuous ? POE_CAN_GRADIENT | POE_CAN_LOCAL | POE_CAN_ONEHOT : 0u)};
}

/* ---- values ---- */

/* log_p[k] from the logits of one row. */
static void classifier_log_p(const classifier *c, const double *logits, double *log_p) {
  const double *z = logits + c->first;
  if (c->sigmoid) {
    log_p[0] = -poei_softplus(z[0]);
    log_p[1] = -poei_softplus(-z[0]);
    return;
  }
  double total = poei_log_sum_exp(z, c->k, 1);
  for (size_t i = 0; i < c->k; i++) {
    log_p[i] = z[i] - total;
  }
}

static const poe_local_ops classifier_local;

/* Bytes for the logits and log-probabilities of n rows. */
static size_t classifier_numbers(const classifier *c, size_t n) {
  return poe_scratch_need(n * poei_net_out_dim(c->net), sizeof(double)) + poe_scratch_need(c->k, sizeof(double));
}

static size_t classifier_scratch(const void *self, unsigned want, size_t n) {
  const classifier *c = self;
  if ((want & POE_WANT_ONEHOT) != 0 && !c->continuous) {
    return poei_onehot_scratch(&classifier_local, self, c->dx + 1, c->support);
  }
  return poei_net_scratch(c->net, want & POE_WANT_GRAD, n) + classifier_numbers(c, n);
}

/* One evaluation, as the pull of the network's backward pass sees it. */
typedef struct classifier_call {
  const classifier *c;
  poe_rows rows;
  poe_weights weights;
  poe_accum out;
} classifier_call;

static poe_status classifier_pull(void *context, poe_rows y, double *dy, poe_scratch *scratch, poe_error *error) {
  (void)error;
  const classifier_call *call = context;
  const classifier *c = call->c;
  size_t mark = poe_scratch_mark(scratch);
  double *log_p = poe_scratch_doubles(scratch, c->k);
  for (size_t i = 0; i < y.n; i++) {
    const double *x = call->rows.x + i * call->rows.ld;
    double w = call->weights.w[i * call->weights.inc], *row = dy == NULL ? NULL : dy + i * y.d;
    size_t label = poei_state_index(x[c->dx], 0.0, c->k);
    classifier_log_p(c, y.x + i * y.ld, log_p);
    bool inside = label < c->k && poei_family_inside(c->support, c->dx, x);
    double value = isnan(x[c->dx]) ? NAN : inside ? log_p[label] : -INFINITY;
    poe_accum_value(&call->out.logp[i], w, value);
    if (row == NULL) {
      continue;
    }
    memset(row, 0, y.d * sizeof *row);
    if (!inside || value == -INFINITY) {
      continue;
    }
    if (c->sigmoid) {
      row[c->first] = w * ((double)label - exp(log_p[1]));
      continue;
    }
    for (size_t k = 0; k < c->k; k++) {
      row[c->first + k] = w * ((k == label ? 1.0 : 0.0) - exp(log_p[k]));
    }
  }
  poe_scratch_release(scratch, mark);
  return POE_OK;
}

/* The rows without their label. */
static poe_rows classifier_inputs(const classifier *c, poe_rows rows) {
  return (poe_rows){.n = rows.n, .d = c->dx, .ld = rows.ld, .x = rows.x};
}

static poe_status classifier_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                      poe_scratch *scratch, poe_error *error) {
  const classifier *c = self;
  classifier_call call = {c, rows, weights, out};
  poe_rows inputs = classifier_inputs(c, rows);
  if (out.grad != NULL && c->continuous) {
    return poei_net_eval_vjp(c->net, inputs, classifier_pull, &call, out.grad, out.ldg, scratch, error);
  }
  size_t mark = poe_scratch_mark(scratch), outs = poei_net_out_dim(c->net);
  double *y = poe_scratch_doubles(scratch, rows.n * outs);
  poei_net_eval(c->net, inputs, y, outs, scratch);
  poe_status status =
      classifier_pull(&call, (poe_rows){.n = rows.n, .d = outs, .ld = outs, .x = y}, NULL, scratch, error);
  poe_scratch_release(scratch, mark);
  return status;
}

/* ---- one site ---- */

typedef struct classifier_state {
  bool stale;      /* log_p is not that of x             */
  double number[]; /* log_p[k], then the row x[dx + 1]   */
} classifier_state;

static size_t classifier_state_bytes(const void *self) {
  const classifier *c = self;
  return sizeof(classifier_state) + (c->k + c->dx + 1) * sizeof(double);
}

static size_t classifier_local_scratch(const void *self) {
  const classifier *c = self;
  return poei_net_scratch(c->net, POE_WANT_LOGP, c->values) + classifier_numbers(c, c->values) +
         poe_scratch_need(c->values * c->dx, sizeof(double));
}

static poe_status classifier_open(const void *self, const double *x, void *state, poe_scratch *scratch,
                                  poe_error *error) {
  (void)scratch;
  (void)error;
  const classifier *c = self;
  classifier_state *s = state;
  s->stale = true;
  memcpy(s->number + c->k, x, (c->dx + 1) * sizeof *x);
  return POE_OK;
}

/* The label: log p(c | x) of every c, kept until x changes. */
static void classifier_labels(const classifier *c, classifier_state *s, double *out, poe_scratch *scratch) {
  size_t mark = poe_scratch_mark(scratch), outs = poei_net_out_dim(c->net);
  const double *x = s->number + c->k;
  if (s->stale) {
    double *y = poe_scratch_doubles(scratch, outs);
    poei_net_eval(c->net, (poe_rows){.n = 1, .d = c->dx, .ld = c->dx, .x = x}, y, outs, scratch);
    classifier_log_p(c, y, s->number);
    s->stale = false;
  }
  bool inside = poei_family_inside(c->support, c->dx, x);
  for (size_t i = 0; i < c->k; i++) {
    out[i] = inside ? s->number[i] : -INFINITY;
  }
  poe_scratch_release(scratch, mark);
}

/* A discrete coordinate of x: the log-probability of the label at each of its values. */
static void classifier_inputs_of(const classifier *c, const classifier_state *s, size_t j, double *out,
                                 poe_scratch *scratch) {
  size_t mark = poe_scratch_mark(scratch), outs = poei_net_out_dim(c->net);
  const double *x = s->number + c->k;
  size_t n = (size_t)(c->support[j].high - c->support[j].low) + 1, label = poei_state_index(x[c->dx], 0.0, c->k);
  double *rows = poe_scratch_doubles(scratch, n * c->dx), *y = poe_scratch_doubles(scratch, n * outs);
  double *log_p = poe_scratch_doubles(scratch, c->k);
  for (size_t v = 0; v < n; v++) {
    memcpy(rows + v * c->dx, x, c->dx * sizeof *x);
    rows[v * c->dx + j] = c->support[j].low + (double)v;
  }
  poei_net_eval(c->net, (poe_rows){.n = n, .d = c->dx, .ld = c->dx, .x = rows}, y, outs, scratch);
  for (size_t v = 0; v < n; v++) {
    classifier_log_p(c, y + v * outs, log_p);
    bool inside = label < c->k && poei_family_inside(c->support, c->dx, rows + v * c->dx);
    out[v] = inside ? log_p[label] : -INFINITY;
  }
  poe_scratch_release(scratch, mark);
}

static poe_status classifier_conditional(const void *self, void *state, size_t j, double *out, poe_scratch *scratch,
                                         poe_error *error) {
  (void)error;
  const classifier *c = self;
  if (j == c->dx) {
    classifier_labels(c, state, out, scratch);
  } else {
    classifier_inputs_of(c, state, j, out, scratch);
  }
  return POE_OK;
}

static poe_status classifier_set(const void *self, void *state, size_t j, double value, poe_scratch *scratch,
                                 poe_error *error) {
  (void)scratch;
  (void)error;
  const classifier *c = self;
  classifier_state *s = state;
  s->stale = s->stale || j < c->dx;
  s->number[c->k + j] = value;
  return POE_OK;
}

static const poe_local_ops classifier_local = {
    .state_bytes = classifier_state_bytes,
    .scratch = classifier_local_scratch,
    .open = classifier_open,
    .conditional = classifier_conditional,
    .set = classifier_set,
};

static poe_status classifier_onehot_grad_add(const void *self, poe_rows rows, poe_weights weights, double *out,
                                             size_t ldo, poe_scratch *scratch, poe_error *error) {
  const classifier *c = self;
  if (!c->continuous) {
    return poei_onehot_grad_add(&classifier_local, self, c->support, rows, weights, out, ldo, scratch, error);
  }
  size_t mark = poe_scratch_mark(scratch), outs = poei_net_out_dim(c->net);
  double *y = poe_scratch_doubles(scratch, rows.n * outs), *log_p = poe_scratch_doubles(scratch, c->k);
  poei_net_eval(c->net, classifier_inputs(c, rows), y, outs, scratch);
  for (size_t i = 0; i < rows.n; i++) {
    double w = weights.w[i * weights.inc];
    classifier_log_p(c, y + i * outs, log_p);
    for (size_t k = 0; k < c->k && poei_family_inside(c->support, c->dx, rows.x + i * rows.ld); k++) {
      out[i * ldo + k] += w * log_p[k];
    }
  }
  poe_scratch_release(scratch, mark);
  return POE_OK;
}

const poe_expert_ops poei_classifier_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "classifier",
    .doc = "a network's p(c | x): the label c comes last, normalised for each x",
    .params = classifier_params,
    .create = classifier_create,
    .destroy = classifier_destroy,
    .traits = classifier_traits,
    .scratch = classifier_scratch,
    .eval_add = classifier_eval_add,
    .local = &classifier_local,
    .onehot_grad_add = classifier_onehot_grad_add,
};

const poei_net *poei_classifier_net(const poe_expert *expert, bool *continuous) {
  const classifier *c = poe_expert_self(expert);
  *continuous = c->continuous;
  return c->net;
}
