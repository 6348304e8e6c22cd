/* autoregressive(x | file=...): log p(x) = sum_j log p(x_j | what comes before it), normalised.
 *
 * A network gives the parameters of every coordinate's conditional density from all of x (MADE: Germain, Gregor, Murray
 * and Larochelle 2015; PixelCNN: van den Oord, Kalchbrenner and Kavukcuoglu 2016). That the parameters of no coordinate
 * see it, or what follows it, is not believed but shown when the file is read (net/dependence.h), which also finds the
 * order: coordinates stand on levels, those of one level see only levels below. A density is one pass of the network,
 * its gradient one more; a draw is one pass per level, all coordinates of a level at once.
 *
 * Of P parameters of d coordinates, parameter p of coordinate j is number p d + j of the network's output ("layout":
 * "grouped"), or those of one coordinate, of an image of one channel, stand together ("interleaved": j P + p; [c, P, h,
 * w]).
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "experts/conditionals.h"
#include "experts/family.h"
#include "experts/list.h"
#include "formats/file_error.h"
#include "net/compile.h"
#include "net/dependence.h"
#include "net/layers.h"

static const poe_param autoregressive_params[] = {
    {"file", POE_ARG_FILE, "", NULL, "safetensors file with the network's weights, poe.layers and poe.output"},
    {"precision", POE_ARG_SYMBOL, "single|double", NULL, "arithmetic of the network (default: that of its weights)"},
    {0},
};

typedef struct autoregressive {
  poei_net *net;
  poei_conditional conditional;
  size_t d;
  size_t plane;         /* coordinates whose first parameters stand side by side */
  size_t levels;        /* how many                                             */
  size_t *order;        /* [d] coordinates by level                             */
  size_t *first;        /* [levels + 1] where each level begins in `order`      */
  poe_support *support; /* [d]                                                  */
  unsigned char *head;  /* [d] all 1                                            */
} autoregressive;

static void autoregressive_destroy(void *self) {
  autoregressive *a = self;
  if (a != NULL) {
    poei_net_release(a->net);
    poei_free(a->order);
    poei_free(a->first);
    poei_free(a->support);
    poei_free(a->head);
    poei_free(a);
  }
}

/* ---- creation ---- */

/* The variable's values must be those of the conditional densities. */
static poe_status autoregressive_values(const poe_args *args, const autoregressive *a, poe_error *error) {
  const poe_subject *subject = NULL;
  for (size_t j = 0; j < a->d; j++) {
    const poe_support *s = poei_family_support(args, j, &subject);
    bool continuous = a->conditional.values == 0;
    bool fits = continuous ? s->kind == POE_CONTINUOUS && isinf(s->low) && isinf(s->high)
                           : s->kind == POE_DISCRETE && s->low == 0.0 && s->high + 1.0 == (double)a->conditional.values;
    if (fits) {
      continue;
    }
    poe_status status =
        continuous
            ? poe_error_set(error, POE_E_TYPE, "the model in '%s' is over real numbers without bounds, but `%s` is not",
                            poe_args_find(args, "file")->text, subject->name)
            : poe_error_set(error, POE_E_TYPE, "the model in '%s' is over %zu values, but those of `%s` are others",
                            poe_args_find(args, "file")->text, a->conditional.values, subject->name);
    if (!continuous) {
      poe_error_hint(error, "declare it as %s", a->conditional.values == 2 ? "`binary`" : "`int(k)`");
    }
    return status;
  }
  return POE_OK;
}

/* poe.output: the conditional densities and where their parameters stand. */
static poe_status autoregressive_output(const poei_tensor_file *file, autoregressive *a, poe_error *error) {
  json_t *output = NULL;
  poe_status status = poei_layers_metadata(file, "poe.output", &output, error);
  if (status != POE_OK) {
    return status;
  }
  poe_error inner = {0};
  const json_t *layout = json_object_get(output, "layout");
  const char *word = layout == NULL ? "grouped" : json_string_value(layout);
  bool grouped = word != NULL && strcmp(word, "grouped") == 0;
  status = poei_conditional_read(output, &a->conditional, &inner);
  if (status == POE_OK && !grouped && (word == NULL || strcmp(word, "interleaved") != 0)) {
    status = poe_error_set(&inner, POE_E_FORMAT, "poe.output: 'layout' must be \"grouped\" or \"interleaved\"");
  }
  size_t given = poei_net_out_dim(a->net),
         wanted = a->d * a->conditional.parameters; /* both small: see POEI_MAX_VALUE */
  if (status == POE_OK && given != wanted) {
    status =
        poe_error_set(&inner, POE_E_SHAPE, "the network gives %zu numbers, but %zu for each of %zu coordinates are %zu",
                      given, a->conditional.parameters, a->d, wanted);
  }
  if (status == POE_OK) {
    const poei_shape *in = &a->net->graph->nodes[0].shape;
    a->plane = grouped ? a->d : in->ndim == 3 ? in->size[1] * in->size[2] : 1;
  } else {
    poei_file_error(error, status, poei_tensor_file_path(file), NULL, "%s", inner.message);
    if (inner.hint[0] != '\0') {
      poe_error_hint(error, "%s", inner.hint);
    }
  }
  json_decref(output);
  return status;
}

/* Sorts the coordinates by level, each level ascending. */
static void autoregressive_sort(autoregressive *a, const size_t *level) {
  size_t placed = 0;
  for (a->levels = 0; placed < a->d; a->levels++) {
    a->first[a->levels] = placed;
    for (size_t j = 0; j < a->d; j++) {
      if (level[j] == a->levels) {
        a->order[placed++] = j;
      }
    }
  }
  a->first[a->levels] = placed;
}

/* Shows that the network is autoregressive and finds its order. */
static poe_status autoregressive_order(const poei_tensor_file *file, autoregressive *a, poe_error *error) {
  size_t outputs = poei_net_out_dim(a->net);
  size_t *owner = poei_alloc(outputs, sizeof *owner), *level = poei_alloc(a->d, sizeof *level);
  a->order = poei_alloc(a->d, sizeof *a->order);
  a->first = poei_alloc(a->d + 1, sizeof *a->first);
  poe_error inner = {0};
  poe_status status = POE_OK;
  if (owner == NULL || level == NULL || a->order == NULL || a->first == NULL) {
    status = poei_file_memory_error(error, poei_tensor_file_path(file));
  } else {
    for (size_t o = 0; o < outputs; o++) {
      owner[o] = o / (a->conditional.parameters * a->plane) * a->plane + o % a->plane;
    }
    status = poei_dependence_levels(a->net->graph, owner, level, &inner);
    if (status == POE_OK) {
      autoregressive_sort(a, level);
    } else {
      poei_file_error(error, status, poei_tensor_file_path(file), NULL, "%s", inner.message);
    }
  }
  poei_free(owner);
  poei_free(level);
  return status;
}

static poe_status autoregressive_read(const poe_args *args, const poei_tensor_file *file, autoregressive *a,
                                      poe_error *error) {
  const poe_arg *precision = poe_args_find(args, "precision");
  poei_net_source source = {.file = file, .in_dim = a->d, .precision = precision == NULL ? NULL : precision->text};
  poe_status status = poei_net_check_family(file, "autoregressive", error);
  status = status == POE_OK ? poei_net_load(&source, &a->net, error) : status;
  status = status == POE_OK ? autoregressive_output(file, a, error) : status;
  return status == POE_OK ? autoregressive_order(file, a, error) : status;
}

static poe_status autoregressive_create(const poe_args *args, void **self, poe_error *error) {
  const poe_arg *path = poe_args_find(args, "file");
  if (poe_args_dim(args) == 0 || path == NULL) {
    return poe_error_set(error, POE_E_USAGE, "`%s` needs %s", args->kind,
                         path == NULL ? "`file`" : "a variable before the bar");
  }
  autoregressive *a = poei_calloc(1, sizeof *a);
  if (a == NULL) {
    return poei_family_memory(args->kind, error);
  }
  a->d = poe_args_dim(args);
  a->support = poei_family_declared(args);
  a->head = poei_family_heads(a->d);
  poei_tensor_file *file = NULL;
  poe_status status = a->support == NULL || a->head == NULL ? poei_family_memory(args->kind, error)
                                                            : poei_tensor_file_open(path->text, &file, error);
  status = status == POE_OK ? autoregressive_read(args, file, a, error) : status;
  status = status == POE_OK ? autoregressive_values(args, a, error) : status;
  poei_tensor_file_close(file);
  if (status != POE_OK) {
    poe_error_at(error, NULL, path->line, path->column, path->span);
    autoregressive_destroy(a);
    return status;
  }
  *self = a;
  return POE_OK;
}

static void autoregressive_traits(const void *self, poe_traits *traits) {
  const autoregressive *a = self;
  *traits =
      (poe_traits){.dim = a->d,
                   .support = a->support,
                   .head = a->head,
                   .capabilities = POE_CAN_EVAL | POE_CAN_GRADIENT | POE_CAN_SAMPLE | POE_CAN_LOG_Z | POE_CAN_PREFIX};
}

static poe_status autoregressive_log_z(const void *self, double *log_z, poe_error *error) {
  (void)self;
  (void)error;
  *log_z = 0.0;
  return POE_OK;
}

/* ---- values ---- */

static size_t autoregressive_scratch(const void *self, unsigned want, size_t n) {
  const autoregressive *a = self;
  size_t outputs = poe_scratch_need(n * poei_net_out_dim(a->net), sizeof(double));
  size_t parameters = 2 * poe_scratch_need(a->conditional.parameters, sizeof(double));
  size_t draws = (want & POE_WANT_SAMPLE) != 0 ? poe_scratch_need(n, sizeof(poe_stream)) : 0;
  return poei_net_scratch(a->net, want & POE_WANT_GRAD, n) + outputs + parameters + draws;
}

/* Where the first parameter of coordinate j is in a row of the network's output; the next ones follow at steps of
 * a->plane. */
static size_t autoregressive_place(const autoregressive *a, size_t j) {
  return j / a->plane * a->plane * a->conditional.parameters + j % a->plane;
}

/* t[parameters] of coordinate j. */
static void autoregressive_gather(const autoregressive *a, const double *y, size_t j, double *t) {
  size_t first = autoregressive_place(a, j);
  for (size_t p = 0; p < a->conditional.parameters; p++) {
    t[p] = y[first + p * a->plane];
  }
}

typedef struct autoregressive_call {
  const autoregressive *a;
  poe_rows rows;
  poe_weights weights;
  poe_accum out;
} autoregressive_call;

/* Log-densities from the network's outputs; with dy, what it is to be pulled by. The direct share of x_j in its own
 * conditional goes to the gradient here. */
static poe_status autoregressive_pull(void *context, poe_rows y, double *dy, poe_scratch *scratch, poe_error *error) {
  (void)error;
  const autoregressive_call *call = context;
  const autoregressive *a = call->a;
  size_t mark = poe_scratch_mark(scratch), parameters = a->conditional.parameters;
  double *t = poe_scratch_doubles(scratch, parameters), *dt = poe_scratch_doubles(scratch, parameters);
  for (size_t i = 0; i < y.n; i++) {
    const double *x = call->rows.x + i * call->rows.ld;
    double w = call->weights.w[i * call->weights.inc], sum = 0.0, dx = 0.0;
    for (size_t j = 0; j < a->d; j++) {
      autoregressive_gather(a, y.x + i * y.ld, j, t);
      sum += poei_conditional_log_p(&a->conditional, t, x[j], dy == NULL ? NULL : dt, &dx);
      for (size_t p = 0; p < parameters && dy != NULL; p++) {
        dy[i * y.d + autoregressive_place(a, j) + p * a->plane] = w * dt[p];
      }
      if (dy != NULL) {
        call->out.grad[i * call->out.ldg + j] += w * dx;
      }
    }
    poe_accum_value(&call->out.logp[i], w, sum);
  }
  poe_scratch_release(scratch, mark);
  return POE_OK;
}

static poe_status autoregressive_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                          poe_scratch *scratch, poe_error *error) {
  const autoregressive *a = self;
  autoregressive_call call = {a, rows, weights, out};
  if (out.grad != NULL && a->conditional.values == 0) {
    return poei_net_eval_vjp(a->net, rows, autoregressive_pull, &call, out.grad, out.ldg, scratch, error);
  }
  size_t mark = poe_scratch_mark(scratch), outputs = poei_net_out_dim(a->net);
  double *y = poe_scratch_doubles(scratch, rows.n * outputs);
  poei_net_eval(a->net, rows, y, outputs, scratch);
  poe_rows seen = {.n = rows.n, .d = outputs, .ld = outputs, .x = y};
  poe_status status = autoregressive_pull(&call, seen, NULL, scratch, error);
  poe_scratch_release(scratch, mark);
  return status;
}

static poe_status autoregressive_sample(const void *self, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                                        poe_error *error) {
  (void)error;
  const autoregressive *a = self;
  size_t mark = poe_scratch_mark(scratch), outputs = poei_net_out_dim(a->net);
  double *y = poe_scratch_doubles(scratch, rows.n * outputs);
  double *t = poe_scratch_doubles(scratch, a->conditional.parameters);
  poe_stream *stream = poe_scratch_bytes(scratch, rows.n * sizeof *stream);
  for (size_t i = 0; i < rows.n; i++) {
    stream[i] = poe_stream_open(at[i]);
    memset(rows.x + i * rows.ld, 0, a->d * sizeof *rows.x);
  }
  for (size_t level = 0; level < a->levels; level++) {
    poei_net_eval(a->net, (poe_rows){.n = rows.n, .d = a->d, .ld = rows.ld, .x = rows.x}, y, outputs, scratch);
    for (size_t i = 0; i < rows.n; i++) {
      for (size_t k = a->first[level]; k < a->first[level + 1]; k++) {
        autoregressive_gather(a, y + i * outputs, a->order[k], t);
        rows.x[i * rows.ld + a->order[k]] = poei_conditional_draw(&a->conditional, t, &stream[i]);
      }
    }
  }
  poe_scratch_release(scratch, mark);
  return POE_OK;
}

/* ---- one coordinate after the other ---- */

/* The state: how many coordinates are known, whether the network has seen them all, the row, its output. */
typedef struct autoregressive_state {
  size_t known;
  bool seen;
  double number[]; /* x[d], y[outputs] */
} autoregressive_state;

static size_t autoregressive_state_bytes(const void *self) {
  const autoregressive *a = self;
  return sizeof(autoregressive_state) + (a->d + poei_net_out_dim(a->net)) * sizeof(double);
}

static size_t autoregressive_prefix_scratch(const void *self) {
  return autoregressive_scratch(self, POE_WANT_LOGP, 1);
}

static const size_t *autoregressive_prefix_order(const void *self) {
  return ((const autoregressive *)self)->order;
}

static poe_status autoregressive_open(const void *self, void *state, poe_scratch *scratch, poe_error *error) {
  (void)scratch;
  (void)error;
  memset(state, 0, autoregressive_state_bytes(self));
  return POE_OK;
}

/* t[parameters] of the next coordinate; one pass of the network serves a level. */
static void autoregressive_next(const autoregressive *a, autoregressive_state *s, double *t, poe_scratch *scratch) {
  double *y = s->number + a->d;
  if (!s->seen) {
    poei_net_eval(a->net, (poe_rows){.n = 1, .d = a->d, .ld = a->d, .x = s->number}, y, poei_net_out_dim(a->net),
                  scratch);
    s->seen = true;
  }
  autoregressive_gather(a, y, a->order[s->known], t);
}

static poe_status autoregressive_table(const void *self, void *state, double *log_p, poe_scratch *scratch,
                                       poe_error *error) {
  (void)error;
  const autoregressive *a = self;
  size_t mark = poe_scratch_mark(scratch);
  double *t = poe_scratch_doubles(scratch, a->conditional.parameters);
  autoregressive_next(a, state, t, scratch);
  poei_conditional_table(&a->conditional, t, log_p);
  poe_scratch_release(scratch, mark);
  return POE_OK;
}

static poe_status autoregressive_density(const void *self, void *state, size_t n, const double *x, double *log_p,
                                         poe_scratch *scratch, poe_error *error) {
  (void)error;
  const autoregressive *a = self;
  size_t mark = poe_scratch_mark(scratch);
  double *t = poe_scratch_doubles(scratch, a->conditional.parameters);
  autoregressive_next(a, state, t, scratch);
  for (size_t i = 0; i < n; i++) {
    log_p[i] = poei_conditional_log_p(&a->conditional, t, x[i], NULL, NULL);
  }
  poe_scratch_release(scratch, mark);
  return POE_OK;
}

/* The network looks again only when a level is complete. */
static poe_status autoregressive_step(const void *self, void *state, double value, poe_scratch *scratch,
                                      poe_error *error) {
  (void)scratch;
  (void)error;
  const autoregressive *a = self;
  autoregressive_state *s = state;
  s->number[a->order[s->known++]] = value;
  for (size_t level = 1; level < a->levels && a->first[level] <= s->known; level++) {
    s->seen = s->seen && a->first[level] != s->known;
  }
  return POE_OK;
}

static const poe_prefix_ops autoregressive_prefix = {
    .state_bytes = autoregressive_state_bytes,
    .scratch = autoregressive_prefix_scratch,
    .order = autoregressive_prefix_order,
    .open = autoregressive_open,
    .table = autoregressive_table,
    .density = autoregressive_density,
    .step = autoregressive_step,
};

const poe_expert_ops poei_autoregressive_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "autoregressive",
    .doc = "one coordinate after the other, each from a network that sees those before it, normalised",
    .params = autoregressive_params,
    .create = autoregressive_create,
    .destroy = autoregressive_destroy,
    .traits = autoregressive_traits,
    .scratch = autoregressive_scratch,
    .eval_add = autoregressive_eval_add,
    .sample = autoregressive_sample,
    .log_z = autoregressive_log_z,
    .prefix = &autoregressive_prefix,
};
