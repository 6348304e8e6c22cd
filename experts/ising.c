/* ising(s | coupling, field, periodic): binary sites on a grid, 0 and 1 standing for spins -1 and +1.
 *
 *   log p(s) = coupling * sum over neighbours s_i s_j + sum_i field_i s_i   (unnormalised; Ising 1925)
 *
 * The grid is the shape of the variable (see experts/lattice.h, also for periodic ones). log Z and exact draws are for
 * the planner, which eliminates the sites of the factor graph in a good order; up to 4096 states there is also the
 * table.
 */
#include "core/alloc.h"
#include "experts/family.h"
#include "experts/lattice.h"
#include "experts/list.h"

static const poe_param ising_params[] = {
    {"coupling", POE_ARG_REAL, "axes", NULL, "of neighbours; one number, or one for each axis of the grid"},
    {"field", POE_ARG_REAL, "shape", "0", "of single sites; one number, or one for each site"},
    {"periodic", POE_ARG_SYMBOL, "true|false", "false", "whether the ends of each axis are neighbours"},
    {0},
};

static poe_status ising_read_field(const poe_args *args, poei_lattice *grid, poe_error *error) {
  if (poe_args_find(args, "field") == NULL) {
    return POE_OK;
  }
  grid->field = poei_alloc(grid->n, sizeof *grid->field);
  if (grid->field == NULL) {
    return poei_family_memory(args->kind, error);
  }
  return poe_args_real(args, "field", grid->ndim, grid->side, NAN, false, grid->field, error);
}

static poe_status ising_create(const poe_args *args, void **self, poe_error *error) {
  poei_lattice *grid = NULL;
  poe_status status = poei_lattice_create(args, &grid, error);
  if (status == POE_OK && grid->k != 2) {
    status = poe_error_set(error, POE_E_TYPE, "`%s` needs a binary variable, but `%s` has %zu values", args->kind,
                           args->subjects[0].name, grid->k);
    poe_error_hint(error, "declare `%s` as binary, or use potts", args->subjects[0].name);
  }
  if (status == POE_OK) {
    status = ising_read_field(args, grid, error);
  }
  if (status != POE_OK) {
    poei_lattice_destroy(grid);
    return status;
  }
  *self = grid;
  return POE_OK;
}

static size_t ising_scratch(const void *self, unsigned want, size_t n);

static poe_status ising_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                 poe_scratch *scratch, poe_error *error) {
  (void)error;
  const poei_lattice *grid = self;
  size_t mark = poe_scratch_mark(scratch);
  double *spin = poe_scratch_doubles(scratch, grid->n);
  for (size_t i = 0; i < rows.n; i++) {
    const double *x = rows.x + i * rows.ld;
    double value = poei_lattice_outside(grid, x);
    if (value == 0.0) {
      for (size_t s = 0; s < grid->n; s++) {
        spin[s] = 2.0 * x[s] - 1.0;
      }
      value = poei_lattice_bonds(grid, spin, poei_dot);
      value += grid->field != NULL ? poei_dot(grid->n, grid->field, spin) : 0.0;
    }
    poe_accum_value(&out.logp[i], weights.w[i * weights.inc], value);
  }
  poe_scratch_release(scratch, mark);
  return POE_OK;
}

static poe_status ising_conditional(const void *self, void *state, size_t j, double *out, poe_scratch *scratch,
                                    poe_error *error) {
  (void)scratch;
  (void)error;
  const poei_lattice *grid = self;
  const poei_sites *sites = state;
  if (poei_lattice_broken(grid, sites, j, out)) {
    return POE_OK;
  }
  size_t neighbour[POEI_LATTICE_NEIGHBOURS];
  double coupling[POEI_LATTICE_NEIGHBOURS], field = grid->field != NULL ? grid->field[j] : 0.0;
  size_t n = poei_lattice_neighbours(grid, j, neighbour, coupling);
  for (size_t i = 0; i < n; i++) {
    field += sites->value[neighbour[i]] == 1 ? coupling[i] : -coupling[i];
  }
  out[0] = -field;
  out[1] = field;
  return POE_OK;
}

static const poe_local_ops ising_local = {
    .state_bytes = poei_lattice_state_bytes,
    .scratch = poei_lattice_no_scratch,
    .open = poei_lattice_open,
    .conditional = ising_conditional,
    .set = poei_lattice_set,
};

static size_t ising_scratch(const void *self, unsigned want, size_t n) {
  const poei_lattice *grid = self;
  (void)n;
  if ((want & POE_WANT_ONEHOT) != 0) {
    return poei_onehot_scratch(&ising_local, self, grid->n, grid->support);
  }
  return (want & POE_WANT_SAMPLE) != 0 ? 0 : poe_scratch_need(grid->n, sizeof(double));
}

static poe_status ising_onehot_grad_add(const void *self, poe_rows rows, poe_weights weights, double *out, size_t ldo,
                                        poe_scratch *scratch, poe_error *error) {
  const poei_lattice *grid = self;
  return poei_onehot_grad_add(&ising_local, self, grid->support, rows, weights, out, ldo, scratch, error);
}

static poe_status ising_form(const void *self, poe_form *form, poe_error *error) {
  return poei_discrete_form(&poei_ising_ops, self, form, error);
}

static poe_status ising_structure(const void *self, poe_structure *structure, poe_error *error) {
  static const double pair[4] = {1.0, -1.0, -1.0, 1.0};
  const poei_lattice *grid = self;
  double *site = NULL;
  if (grid->field != NULL) {
    site = poei_alloc(grid->n, 2 * sizeof *site);
    if (site == NULL) {
      return poei_family_memory("ising", error);
    }
    for (size_t i = 0; i < grid->n; i++) {
      site[2 * i] = -grid->field[i];
      site[2 * i + 1] = grid->field[i];
    }
  }
  poe_status status = poei_lattice_factors(grid, pair, site, 2, structure, error);
  poei_free(site);
  return status;
}

const poe_expert_ops poei_ising_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "ising",
    .doc = "spins on a grid that like (or dislike) to agree with their neighbours; unnormalised",
    .params = ising_params,
    .create = ising_create,
    .destroy = poei_lattice_destroy,
    .traits = poei_lattice_traits,
    .scratch = ising_scratch,
    .eval_add = ising_eval_add,
    .form = ising_form,
    .structure = ising_structure,
    .local = &ising_local,
    .onehot_grad_add = ising_onehot_grad_add,
};
