/* The maps of joined_map.h.
 *
 * Gradients: y = h(f_1(u), f_2(u), u). A map's apply_vjp hands its output to a function that says how the result
 * depends on it; here that function runs the next part, so all outputs are there when the caller is asked, and the
 * parts take their shares on the way back.
 */
#include "compose/language/joined_map.h"

#include <string.h>

#include "core/alloc.h"

typedef struct joined {
  size_t in_dim, n_parts, out_dim;
  poe_map **maps;              /* [n_parts] */
  size_t **index;              /* [n_parts, in_dim of the part] */
  size_t *part_in, *part_out;  /* [n_parts] */
  poei_joined_output *outputs; /* [out_dim] */
} joined;

/* What is to be built, handed to `create` through the one argument that can carry a pointer. */
typedef struct map_recipe {
  size_t in_dim, n_parts, out_dim;
  const poei_joined_part *parts;
  const poei_joined_output *outputs;
  const poe_map *inner, *outer;
} map_recipe;

static const poe_param recipe_params[] = {{"recipe", POE_ARG_FORMULA, "", NULL, "what it is made of"}, {0}};

size_t poei_map_out_dim(const poe_map *map) {
  size_t shape[POE_MAX_DIMS], n = poe_map_ops_of(map)->out_shape(poe_map_self(map), shape), dim = 1;
  for (size_t i = 0; i < n; i++) {
    dim *= shape[i];
  }
  return dim;
}

static size_t map_in_dim(const poe_map *map) {
  return poe_map_ops_of(map)->in_dim(poe_map_self(map));
}

static size_t map_scratch(const poe_map *map, unsigned want, size_t n) {
  return poe_map_ops_of(map)->scratch(poe_map_self(map), want, n);
}

static poe_status make(const poe_map_ops *ops, const map_recipe *recipe, poe_map **map, poe_error *error) {
  poe_arg arg = {.name = "recipe", .type = POE_ARG_FORMULA, .formula = recipe};
  poe_args args = {.kind = ops->kind, .n_args = 1, .args = &arg};
  return poe_map_create(ops, &args, map, error);
}

/* ---- joined ---- */

static void joined_destroy(void *state) {
  joined *self = state;
  for (size_t p = 0; p < self->n_parts; p++) {
    poe_map_release(self->maps ? self->maps[p] : NULL);
    poei_free(self->index ? self->index[p] : NULL);
  }
  poei_free(self->maps);
  poei_free(self->index);
  poei_free(self->part_in);
  poei_free(self->part_out);
  poei_free(self->outputs);
  poei_free(self);
}

static poe_status joined_create(const poe_args *args, void **out, poe_error *error) {
  const map_recipe *recipe = args->args[0].formula;
  joined *self = poei_calloc(1, sizeof *self);
  if (!self) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  size_t n = recipe->n_parts;
  self->in_dim = recipe->in_dim;
  self->out_dim = recipe->out_dim;
  self->maps = poei_calloc(n, sizeof(poe_map *));
  self->index = poei_calloc(n, sizeof(size_t *));
  self->part_in = poei_calloc(n, sizeof(size_t));
  self->part_out = poei_calloc(n, sizeof(size_t));
  self->outputs = poei_copy(recipe->outputs, recipe->out_dim, sizeof *self->outputs);
  bool ok = self->maps && self->index && self->part_in && self->part_out && self->outputs;
  for (size_t p = 0; ok && p < n; p++) {
    const poei_joined_part *part = &recipe->parts[p];
    self->maps[p] = poe_map_retain(part->map);
    self->n_parts++;
    self->part_in[p] = map_in_dim(part->map);
    self->part_out[p] = poei_map_out_dim(part->map);
    self->index[p] = poei_copy(part->index, self->part_in[p], sizeof(size_t));
    ok = self->index[p] != NULL;
  }
  if (!ok) {
    joined_destroy(self);
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  *out = self;
  return POE_OK;
}

static size_t joined_in_dim(const void *self) {
  return ((const joined *)self)->in_dim;
}

static size_t joined_out_shape(const void *self, size_t *shape) {
  shape[0] = ((const joined *)self)->out_dim;
  return 1;
}

static size_t joined_scratch(const void *state, unsigned want, size_t n) {
  const joined *self = state;
  size_t bytes = poe_scratch_need(self->n_parts * sizeof(poe_rows) + 1, 1) +
                 poe_scratch_need(self->n_parts * sizeof(double *) + 1, 1);
  for (size_t p = 0; p < self->n_parts; p++) {
    bytes += 2 * poe_scratch_need(n * self->part_in[p], sizeof(double));
    bytes += 2 * poe_scratch_need(n * self->part_out[p], sizeof(double));
    bytes += map_scratch(self->maps[p], want, n);
  }
  return bytes + 2 * poe_scratch_need(n * self->out_dim, sizeof(double));
}

static poe_rows gather(const joined *self, size_t part, poe_rows x, poe_scratch *scratch) {
  size_t d = self->part_in[part];
  double *to = poe_scratch_doubles(scratch, x.n * d);
  for (size_t i = 0; i < x.n; i++) {
    for (size_t j = 0; j < d; j++) {
      to[i * d + j] = x.x[i * x.ld + self->index[part][j]];
    }
  }
  return (poe_rows){x.n, d, d, to};
}

/* y[n, ldy] from the parts' outputs, part_y[p] with stride ld[p]. */
static void assemble(const joined *self, poe_rows x, const poe_rows *part_y, double *y, size_t ldy) {
  for (size_t i = 0; i < x.n; i++) {
    for (size_t k = 0; k < self->out_dim; k++) {
      poei_joined_output from = self->outputs[k];
      y[i * ldy + k] = from.part == SIZE_MAX ? x.x[i * x.ld + from.index]
                                             : part_y[from.part].x[i * part_y[from.part].ld + from.index];
    }
  }
}

static poe_status joined_apply(const void *state, poe_rows x, poe_rows_out y, poe_scratch *scratch, poe_error *error) {
  const joined *self = state;
  size_t mark = poe_scratch_mark(scratch);
  for (size_t k = 0; k < self->out_dim; k++) {
    if (self->outputs[k].part == SIZE_MAX) {
      for (size_t i = 0; i < x.n; i++) {
        y.x[i * y.ld + k] = x.x[i * x.ld + self->outputs[k].index];
      }
    }
  }
  for (size_t p = 0; p < self->n_parts; p++) {
    size_t d = self->part_out[p];
    poe_rows in = gather(self, p, x, scratch);
    double *out = poe_scratch_doubles(scratch, x.n * d);
    poe_status status = poe_map_ops_of(self->maps[p])
                            ->apply(poe_map_self(self->maps[p]), in, (poe_rows_out){x.n, d, d, out}, scratch, error);
    if (status != POE_OK) {
      return status;
    }
    for (size_t k = 0; k < self->out_dim; k++) {
      for (size_t i = 0; self->outputs[k].part == p && i < x.n; i++) {
        y.x[i * y.ld + k] = out[i * d + self->outputs[k].index];
      }
    }
    poe_scratch_release(scratch, mark);
  }
  return POE_OK;
}

typedef poe_status pull_function(void *context, poe_rows y, double *dy, poe_scratch *scratch, poe_error *error);

/* One backward pass: what the parts have given so far, and what they will get back. */
typedef struct backward_pass {
  const joined *self;
  poe_rows x;
  size_t part; /* the one running */
  poe_rows *y; /* [n_parts] outputs */
  double **dy; /* [n_parts] contiguous */
  pull_function *pull;
  void *context;
  double *dx;
  size_t ldx;
} backward_pass;

static poe_status pass_finish(backward_pass *pass, poe_scratch *scratch, poe_error *error) {
  const joined *self = pass->self;
  size_t mark = poe_scratch_mark(scratch), n = pass->x.n, d = self->out_dim;
  double *y = poe_scratch_doubles(scratch, n * d), *dy = poe_scratch_doubles(scratch, n * d);
  assemble(self, pass->x, pass->y, y, d);
  poe_status status = pass->pull(pass->context, (poe_rows){n, d, d, y}, dy, scratch, error);
  for (size_t k = 0; k < d && status == POE_OK; k++) {
    poei_joined_output from = self->outputs[k];
    double *to = from.part == SIZE_MAX ? pass->dx + from.index : pass->dy[from.part] + from.index;
    size_t ld = from.part == SIZE_MAX ? pass->ldx : self->part_out[from.part];
    for (size_t i = 0; i < n; i++) {
      to[i * ld] += dy[i * d + k];
    }
  }
  poe_scratch_release(scratch, mark);
  return status;
}

static poe_status pass_step(backward_pass *pass, poe_scratch *scratch, poe_error *error);

static poe_status pass_pull(void *context, poe_rows y, double *dy, poe_scratch *scratch, poe_error *error) {
  backward_pass *pass = context;
  pass->y[pass->part] = y;
  pass->dy[pass->part] = dy;
  memset(dy, 0, y.n * pass->self->part_out[pass->part] * sizeof *dy);
  pass->part++;
  poe_status status = pass_step(pass, scratch, error);
  pass->part--;
  return status;
}

static poe_status pass_step(backward_pass *pass, poe_scratch *scratch, poe_error *error) {
  const joined *self = pass->self;
  size_t p = pass->part;
  if (p == self->n_parts) {
    return pass_finish(pass, scratch, error);
  }
  size_t mark = poe_scratch_mark(scratch), d = self->part_in[p], n = pass->x.n;
  poe_rows in = gather(self, p, pass->x, scratch);
  double *dx = poe_scratch_doubles(scratch, n * d);
  memset(dx, 0, n * d * sizeof *dx);
  const poe_map *map = self->maps[p];
  poe_status status = poe_map_ops_of(map)->apply_vjp(poe_map_self(map), in, pass_pull, pass, dx, d, scratch, error);
  for (size_t i = 0; i < n && status == POE_OK; i++) {
    for (size_t j = 0; j < d; j++) {
      pass->dx[i * pass->ldx + self->index[p][j]] += dx[i * d + j];
    }
  }
  poe_scratch_release(scratch, mark);
  return status;
}

static poe_status joined_apply_vjp(const void *state, poe_rows x, pull_function *pull, void *context, double *dx,
                                   size_t ldx, poe_scratch *scratch, poe_error *error) {
  const joined *self = state;
  size_t mark = poe_scratch_mark(scratch);
  backward_pass pass = {.self = self, .x = x, .pull = pull, .context = context, .dx = dx, .ldx = ldx};
  pass.y = poe_scratch_bytes(scratch, self->n_parts * sizeof(poe_rows) + 1);
  pass.dy = poe_scratch_bytes(scratch, self->n_parts * sizeof(double *) + 1);
  poe_status status = pass_step(&pass, scratch, error);
  poe_scratch_release(scratch, mark);
  return status;
}

static const poe_map_ops joined_ops = {
    .struct_size = sizeof(poe_map_ops),
    .kind = "joined",
    .doc = "several maps side by side",
    .params = recipe_params,
    .create = joined_create,
    .destroy = joined_destroy,
    .in_dim = joined_in_dim,
    .out_shape = joined_out_shape,
    .scratch = joined_scratch,
    .apply = joined_apply,
    .apply_vjp = joined_apply_vjp,
};

poe_status poei_joined_map_create(size_t in_dim, size_t n_parts, const poei_joined_part *parts, size_t out_dim,
                                  const poei_joined_output *outputs, poe_map **map, poe_error *error) {
  map_recipe recipe = {.in_dim = in_dim, .n_parts = n_parts, .parts = parts, .out_dim = out_dim, .outputs = outputs};
  return make(&joined_ops, &recipe, map, error);
}

/* ---- piped ---- */

typedef struct piped {
  poe_map *inner, *outer;
  size_t middle; /* numbers between them */
} piped;

static void piped_destroy(void *state) {
  piped *self = state;
  poe_map_release(self->inner);
  poe_map_release(self->outer);
  poei_free(self);
}

static poe_status piped_create(const poe_args *args, void **out, poe_error *error) {
  const map_recipe *recipe = args->args[0].formula;
  piped *self = poei_calloc(1, sizeof *self);
  if (!self) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  self->inner = poe_map_retain(recipe->inner);
  self->outer = poe_map_retain(recipe->outer);
  self->middle = map_in_dim(recipe->outer);
  *out = self;
  return POE_OK;
}

static size_t piped_in_dim(const void *self) {
  return map_in_dim(((const piped *)self)->inner);
}

static size_t piped_out_shape(const void *state, size_t *shape) {
  const piped *self = state;
  return poe_map_ops_of(self->outer)->out_shape(poe_map_self(self->outer), shape);
}

static size_t piped_scratch(const void *state, unsigned want, size_t n) {
  const piped *self = state;
  return map_scratch(self->inner, want, n) + map_scratch(self->outer, want, n) +
         poe_scratch_need(n * self->middle, sizeof(double));
}

static poe_status piped_apply(const void *state, poe_rows x, poe_rows_out y, poe_scratch *scratch, poe_error *error) {
  const piped *self = state;
  size_t mark = poe_scratch_mark(scratch), d = self->middle;
  double *middle = poe_scratch_doubles(scratch, x.n * d);
  poe_status status = poe_map_ops_of(self->inner)
                          ->apply(poe_map_self(self->inner), x, (poe_rows_out){x.n, d, d, middle}, scratch, error);
  if (status == POE_OK) {
    status =
        poe_map_ops_of(self->outer)->apply(poe_map_self(self->outer), (poe_rows){x.n, d, d, middle}, y, scratch, error);
  }
  poe_scratch_release(scratch, mark);
  return status;
}

typedef struct piped_pass {
  const piped *self;
  pull_function *pull;
  void *context;
} piped_pass;

static poe_status piped_pull(void *context, poe_rows middle, double *dmiddle, poe_scratch *scratch, poe_error *error) {
  const piped_pass *pass = context;
  size_t d = pass->self->middle;
  memset(dmiddle, 0, middle.n * d * sizeof *dmiddle);
  const poe_map *outer = pass->self->outer;
  return poe_map_ops_of(outer)->apply_vjp(poe_map_self(outer), middle, pass->pull, pass->context, dmiddle, d, scratch,
                                          error);
}

static poe_status piped_apply_vjp(const void *state, poe_rows x, pull_function *pull, void *context, double *dx,
                                  size_t ldx, poe_scratch *scratch, poe_error *error) {
  const piped *self = state;
  piped_pass pass = {.self = self, .pull = pull, .context = context};
  return poe_map_ops_of(self->inner)
      ->apply_vjp(poe_map_self(self->inner), x, piped_pull, &pass, dx, ldx, scratch, error);
}

static const poe_map_ops piped_ops = {
    .struct_size = sizeof(poe_map_ops),
    .kind = "piped",
    .doc = "one map after another",
    .params = recipe_params,
    .create = piped_create,
    .destroy = piped_destroy,
    .in_dim = piped_in_dim,
    .out_shape = piped_out_shape,
    .scratch = piped_scratch,
    .apply = piped_apply,
    .apply_vjp = piped_apply_vjp,
};

poe_status poei_piped_map_create(const poe_map *inner, const poe_map *outer, poe_map **map, poe_error *error) {
  map_recipe recipe = {.inner = inner, .outer = outer};
  return make(&piped_ops, &recipe, map, error);
}
