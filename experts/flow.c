/* flow(x | file=...): a normalizing flow, log p(x) = log base(f(x)) + log |det df/dx|, with f a chain of invertible
 * layers (experts/flow.h, docs/MODEL-FORMAT.md).
 *
 * Normalised, with exact draws x = f^-1(z). On a variable whose declared bounds cut the flow's domain it is the same
 * density restricted to them, not renormalised, and then without draws or log Z.
 */
#include <string.h>

#include "core/alloc.h"
#include "experts/family.h"
#include "experts/flow.h"
#include "experts/list.h"
#include "experts/network.h"

/* Draws are made by so many rows at a time: a network gives a row the same bits in every batch up to this size, so
 * that a draw is a function of its address alone. */
enum { FLOW_DRAWS = 32 };

static const poe_param flow_params[] = {
    {"file", POE_ARG_FILE, "", NULL, "safetensors file with the flow's weights and layers"},
    POEI_DESCRIPTION_PARAM,
    {"precision", POE_ARG_SYMBOL, "single|double", NULL,
     "arithmetic of the networks inside (default: that of the weights)"},
    {0},
};

typedef struct flow {
  poei_flow *chain;
  size_t d;
  poe_support *support; /* [d] where the declared bounds and the flow's domain meet */
  unsigned char *head;  /* [d] ones; NULL when the declared bounds cut the domain   */
  bool bounded;
} flow;

poe_status poei_flow_rest(poei_flow_pass *pass, poe_error *error) {
  if (pass->next == pass->flow->n_layers) {
    poei_flow_base_apply(&pass->flow->base, pass);
    return POE_OK;
  }
  const poei_flow_layer *layer = &pass->flow->layers[pass->next++];
  return layer->ops->apply(layer->self, pass, error);
}

/* ---- life ---- */

static void flow_destroy(void *self) {
  flow *f = self;
  if (f != NULL) {
    poei_flow_destroy(f->chain);
    poei_free(f->support);
    poei_free(f->head);
    poei_free(f);
  }
}

/* The declared support, cut by the domain; without heads when something of the domain is cut off. */
static void flow_support(flow *f) {
  bool whole = true;
  for (size_t j = 0; j < f->d; j++) {
    poe_support *s = &f->support[j];
    double low = f->chain->low[j], high = f->chain->high[j];
    whole = whole && s->low <= low && s->high >= high;
    s->kind = POE_CONTINUOUS;
    if (low >= s->low) {
      s->low = low;
      s->low_open = true;
    }
    if (high <= s->high) {
      s->high = high;
      s->high_open = true;
    }
    f->bounded = f->bounded || isfinite(s->low) || isfinite(s->high);
  }
  if (!whole) {
    poei_free(f->head);
    f->head = NULL;
  }
}

static poe_status flow_create(const poe_args *args, void **self, poe_error *error) {
  poe_status status = poei_family_need(args, POE_CONTINUOUS, error);
  if (status != POE_OK) {
    return status;
  }
  const poe_arg *path = poe_args_find(args, "file"), *precision = poe_args_find(args, "precision");
  if (path == NULL) {
    return poe_error_set(error, POE_E_USAGE, "`%s` needs `file`", args->kind);
  }
  flow *f = poei_calloc(1, sizeof *f);
  if (f == NULL) {
    return poei_family_memory(args->kind, error);
  }
  f->d = poe_args_dim(args);
  f->support = poei_family_declared(args);
  f->head = poei_family_heads(f->d);
  if (f->support == NULL || f->head == NULL) {
    status = poei_family_memory(args->kind, error);
  } else {
    poei_tensor_file *file = NULL;
    status = poei_network_file(args, &file, error);
    if (status == POE_OK) {
      status = poei_flow_from_file(file, precision == NULL ? NULL : precision->text, f->d, &f->chain, error);
    }
    poei_tensor_file_close(file);
    status = poei_family_file_status(status, error);
    if (status != POE_OK) {
      poe_error_at(error, NULL, path->line, path->column, path->span);
    }
  }
  if (status == POE_OK) {
    flow_support(f);
    for (size_t j = 0; status == POE_OK && j < f->d; j++) {
      if (!(f->support[j].low < f->support[j].high)) {
        status = poe_args_error(path, error, POE_E_DOMAIN,
                                "coordinate %zu: the flow in '%s' lives on (%g, %g), outside the variable's bounds", j,
                                path->text, f->chain->low[j], f->chain->high[j]);
      }
    }
  }
  if (status != POE_OK) {
    flow_destroy(f);
    return status;
  }
  *self = f;
  return POE_OK;
}

static void flow_traits(const void *self, poe_traits *traits) {
  const flow *f = self;
  unsigned whole = f->head == NULL ? 0u : POE_CAN_SAMPLE | POE_CAN_LOG_Z;
  *traits = (poe_traits){
      .dim = f->d, .support = f->support, .head = f->head, .capabilities = POE_CAN_EVAL | POE_CAN_GRADIENT | whole};
}

/* ---- evaluation ---- */

/* With a gradient the layers hold their scratch at the same time, otherwise one after the other. */
static size_t flow_scratch(const void *self, unsigned want, size_t n) {
  const flow *f = self;
  if ((want & POE_WANT_SAMPLE) != 0 && want != POE_WANT_SAMPLE) {
    size_t eval = flow_scratch(self, want & ~(unsigned)POE_WANT_SAMPLE, n),
           draw = flow_scratch(self, POE_WANT_SAMPLE, n);
    return eval > draw ? eval : draw;
  }
  unsigned how = (want & POE_WANT_SAMPLE) != 0 ? POE_WANT_SAMPLE : want & POE_WANT_GRAD;
  n = how == POE_WANT_SAMPLE && n > FLOW_DRAWS ? FLOW_DRAWS : n;
  size_t sum = 0, most = 0;
  for (size_t k = 0; k < f->chain->n_layers; k++) {
    const poei_flow_layer *layer = &f->chain->layers[k];
    size_t bytes = layer->ops->scratch == NULL ? 0 : layer->ops->scratch(layer->self, how, n);
    sum = bytes > SIZE_MAX / 2 - sum ? SIZE_MAX / 2 : sum + bytes;
    most = bytes > most ? bytes : most;
  }
  size_t rows = poe_scratch_need(n * f->d, sizeof(double));
  return (how == POE_WANT_GRAD ? sum + 2 * rows : most + rows) + poe_scratch_need(n, sizeof(double));
}

static bool flow_inside(const flow *f, const double *x) {
  for (size_t j = 0; f->bounded && j < f->d; j++) {
    const poe_support *s = &f->support[j];
    bool above = s->low_open ? x[j] > s->low : x[j] >= s->low;
    bool below = s->high_open ? x[j] < s->high : x[j] <= s->high;
    if ((!above || !below) && !isnan(x[j])) { /* at NaN the density is NaN, not 0 */
      return false;
    }
  }
  return true;
}

static double flow_somewhere(const poe_support *s) {
  if (isfinite(s->low)) {
    return isfinite(s->high) ? 0.5 * (s->low + s->high) : s->low + 1.0;
  }
  return isfinite(s->high) ? s->high - 1.0 : 0.0;
}

static poe_status flow_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                poe_scratch *scratch, poe_error *error) {
  const flow *f = self;
  size_t mark = poe_scratch_mark(scratch), n = rows.n, d = f->d;
  poei_flow_pass pass = {.flow = f->chain, .n = n, .d = d, .scratch = scratch};
  pass.x = poe_scratch_doubles(scratch, n * d);
  pass.log_p = poe_scratch_doubles(scratch, n);
  pass.grad = out.grad == NULL ? NULL : poe_scratch_doubles(scratch, n * d);
  for (size_t i = 0; i < n; i++) {
    bool inside = flow_inside(f, rows.x + i * rows.ld);
    for (size_t j = 0; j < d; j++) { /* a row outside goes through as a point inside, so that it stays at -inf */
      pass.x[i * d + j] = inside ? rows.x[i * rows.ld + j] : flow_somewhere(&f->support[j]);
    }
    pass.log_p[i] = inside ? 0.0 : -INFINITY;
  }
  poe_status status = poei_flow_rest(&pass, error);
  for (size_t i = 0; status == POE_OK && i < n; i++) {
    double w = weights.w[i * weights.inc];
    poe_accum_value(&out.logp[i], w, pass.log_p[i]);
    if (out.grad == NULL || w == 0.0 || pass.log_p[i] == -INFINITY) {
      continue;
    }
    for (size_t j = 0; j < d; j++) {
      out.grad[i * out.ldg + j] += w * pass.grad[i * d + j];
    }
  }
  poe_scratch_release(scratch, mark);
  return status;
}

static poe_status flow_sample(const void *self, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                              poe_error *error) {
  (void)error;
  const flow *f = self;
  size_t mark = poe_scratch_mark(scratch), d = f->d, most = rows.n < FLOW_DRAWS ? rows.n : FLOW_DRAWS;
  poei_flow_pass pass = {.flow = f->chain, .d = d, .scratch = scratch};
  pass.x = poe_scratch_doubles(scratch, most * d);
  for (size_t start = 0; start < rows.n; start += most) {
    pass.n = rows.n - start < most ? rows.n - start : most;
    for (size_t i = 0; i < pass.n; i++) {
      poei_flow_base_draw(&f->chain->base, d, at[start + i], pass.x + i * d);
    }
    for (size_t k = f->chain->n_layers; k-- > 0;) {
      f->chain->layers[k].ops->invert(f->chain->layers[k].self, &pass);
    }
    for (size_t i = 0; i < pass.n; i++) {
      memcpy(rows.x + (start + i) * rows.ld, pass.x + i * d, d * sizeof *pass.x);
    }
  }
  poe_scratch_release(scratch, mark);
  return POE_OK;
}

static poe_status flow_log_z(const void *self, double *log_z, poe_error *error) {
  (void)self;
  (void)error;
  *log_z = 0.0;
  return POE_OK;
}

const poe_expert_ops poei_flow_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "flow",
    .doc = "a normalizing flow: noise through a chain of invertible networks; normalised, with exact draws",
    .params = flow_params,
    .create = flow_create,
    .destroy = flow_destroy,
    .traits = flow_traits,
    .scratch = flow_scratch,
    .eval_add = flow_eval_add,
    .sample = flow_sample,
    .log_z = flow_log_z,
};

const poei_flow *poei_flow_chain(const poe_expert *expert) {
  return ((const flow *)poe_expert_self(expert))->chain;
}

bool poei_flow_cut(const poe_expert *expert, double *low, double *high) {
  if (poe_expert_ops_of(expert) != &poei_flow_ops) {
    return false;
  }
  const flow *f = poe_expert_self(expert);
  for (size_t j = 0; f->head == NULL && j < f->d; j++) {
    *low = f->chain->low[j];
    *high = f->chain->high[j];
    if (f->support[j].low > *low || f->support[j].high < *high) {
      return true;
    }
  }
  return false;
}
