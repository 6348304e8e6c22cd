/* potts(s | coupling, field, periodic): sites of k values on a grid, alike or not.
 *
 *   log p(s) = coupling * sum over neighbours [s_i = s_j] + sum_i field[s_i]   (unnormalised; Potts 1952)
 *
 * The grid is the shape of the variable (see experts/lattice.h). As for ising, log Z and exact draws are the planner's.
 */
#include "core/alloc.h"
#include "experts/family.h"
#include "experts/lattice.h"
#include "experts/list.h"

static const poe_param potts_params[] = {
    {"coupling", POE_ARG_REAL, "axes", NULL, "of neighbours; one number, or one for each axis of the grid"},
    {"field", POE_ARG_REAL, "k", "0", "of each value, at every site"},
    {"periodic", POE_ARG_SYMBOL, "true|false", "false", "whether the ends of each axis are neighbours"},
    {0},
};

static poe_status potts_read_field(const poe_args *args, poei_lattice *grid, poe_error *error) {
  const poe_arg *arg = poe_args_find(args, "field");
  if (arg == NULL) {
    return POE_OK;
  }
  if (arg->ndim == 0 && grid->k > 1) {
    poe_args_error(arg, error, POE_E_SHAPE, "`field` of `%s` must be %zu numbers, one for each value, not one",
                   args->kind, grid->k);
    poe_error_hint(error, "a field of its own for each site is a factor: * categorical(s | logits=...)");
    return POE_E_SHAPE;
  }
  grid->field = poei_alloc(grid->k, sizeof *grid->field);
  if (grid->field == NULL) {
    return poei_family_memory(args->kind, error);
  }
  return poe_args_real(args, "field", 1, &grid->k, NAN, false, grid->field, error);
}

static poe_status potts_create(const poe_args *args, void **self, poe_error *error) {
  poei_lattice *grid = NULL;
  poe_status status = poei_lattice_create(args, &grid, error);
  if (status == POE_OK) {
    status = potts_read_field(args, grid, error);
  }
  if (status != POE_OK) {
    poei_lattice_destroy(grid);
    return status;
  }
  *self = grid;
  return POE_OK;
}

static double count_equal(size_t m, const double *x, const double *y) {
  size_t equal = 0;
  for (size_t i = 0; i < m; i++) {
    equal += x[i] == y[i];
  }
  return (double)equal;
}

static poe_status potts_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                 poe_scratch *scratch, poe_error *error) {
  (void)scratch;
  (void)error;
  const poei_lattice *grid = self;
  for (size_t i = 0; i < rows.n; i++) {
    const double *x = rows.x + i * rows.ld;
    double value = poei_lattice_outside(grid, x);
    if (value == 0.0) {
      value = poei_lattice_bonds(grid, x, count_equal);
      for (size_t s = 0; grid->field != NULL && s < grid->n; s++) {
        value += grid->field[(size_t)x[s]];
      }
    }
    poe_accum_value(&out.logp[i], weights.w[i * weights.inc], value);
  }
  return POE_OK;
}

static poe_status potts_conditional(const void *self, void *state, size_t j, double *out, poe_scratch *scratch,
                                    poe_error *error) {
  (void)scratch;
  (void)error;
  const poei_lattice *grid = self;
  const poei_sites *sites = state;
  if (poei_lattice_broken(grid, sites, j, out)) {
    return POE_OK;
  }
  size_t neighbour[POEI_LATTICE_NEIGHBOURS];
  double coupling[POEI_LATTICE_NEIGHBOURS];
  for (size_t v = 0; v < grid->k; v++) {
    out[v] = grid->field != NULL ? grid->field[v] : 0.0;
  }
  size_t n = poei_lattice_neighbours(grid, j, neighbour, coupling);
  for (size_t i = 0; i < n; i++) {
    out[sites->value[neighbour[i]]] += coupling[i];
  }
  return POE_OK;
}

static const poe_local_ops potts_local = {
    .state_bytes = poei_lattice_state_bytes,
    .scratch = poei_lattice_no_scratch,
    .open = poei_lattice_open,
    .conditional = potts_conditional,
    .set = poei_lattice_set,
};

static size_t potts_scratch(const void *self, unsigned want, size_t n) {
  const poei_lattice *grid = self;
  (void)n;
  return (want & POE_WANT_ONEHOT) != 0 ? poei_onehot_scratch(&potts_local, self, grid->n, grid->support) : 0;
}

static poe_status potts_onehot_grad_add(const void *self, poe_rows rows, poe_weights weights, double *out, size_t ldo,
                                        poe_scratch *scratch, poe_error *error) {
  const poei_lattice *grid = self;
  return poei_onehot_grad_add(&potts_local, self, grid->support, rows, weights, out, ldo, scratch, error);
}

static poe_status potts_form(const void *self, poe_form *form, poe_error *error) {
  return poei_discrete_form(&poei_potts_ops, self, form, error);
}

static poe_status potts_structure(const void *self, poe_structure *structure, poe_error *error) {
  const poei_lattice *grid = self;
  double *pair = poei_calloc(grid->k, grid->k * sizeof *pair);
  if (pair == NULL) {
    return poei_family_memory("potts", error);
  }
  for (size_t v = 0; v < grid->k; v++) {
    pair[v * grid->k + v] = 1.0;
  }
  poe_status status = poei_lattice_factors(grid, pair, grid->field, 0, structure, error);
  poei_free(pair);
  return status;
}

const poe_expert_ops poei_potts_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "potts",
    .doc = "values on a grid that like (or dislike) to equal their neighbours; unnormalised",
    .params = potts_params,
    .create = potts_create,
    .destroy = poei_lattice_destroy,
    .traits = poei_lattice_traits,
    .scratch = potts_scratch,
    .eval_add = potts_eval_add,
    .form = potts_form,
    .structure = potts_structure,
    .local = &potts_local,
    .onehot_grad_add = potts_onehot_grad_add,
};
