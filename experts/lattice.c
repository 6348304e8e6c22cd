/* Grids of sites with bonds between neighbours. Sites are numbered row-major, the last axis fastest. */
#include "experts/lattice.h"

#include <string.h>

#include "core/alloc.h"
#include "experts/factors.h"
#include "experts/family.h"
#include "experts/states.h"

/* ---- reading ---- */

static poe_status grid_shape(const poe_args *args, poei_lattice *grid, poe_error *error) {
  if (args->n_subjects != 1) {
    return poe_error_set(error, POE_E_USAGE, "`%s` is over one variable, whose shape is the grid; here are %zu",
                         args->kind, args->n_subjects);
  }
  const poe_subject *subject = &args->subjects[0];
  if (subject->ndim > POEI_LATTICE_AXES) {
    return poe_error_set(error, POE_E_SHAPE, "`%s` is over grids of 1 to %d axes, but `%s` has %zu", args->kind,
                         POEI_LATTICE_AXES, subject->name, subject->ndim);
  }
  grid->ndim = subject->ndim > 0 ? subject->ndim : 1;
  grid->side[0] = 1; /* a scalar is a grid of one site */
  for (size_t a = 0; a < subject->ndim; a++) {
    grid->side[a] = subject->shape[a];
  }
  grid->n = 1;
  for (size_t a = grid->ndim; a-- > 0;) {
    grid->stride[a] = grid->n;
    grid->n *= grid->side[a];
  }
  return POE_OK;
}

static poe_status grid_periodic(const poe_args *args, poei_lattice *grid, poe_error *error) {
  const poe_arg *arg = poe_args_find(args, "periodic");
  const char *word = arg == NULL ? "false" : arg->text;
  bool periodic = strcmp(word, "true") == 0;
  if (!periodic && strcmp(word, "false") != 0) {
    return poe_args_error(arg, error, POE_E_USAGE, "`periodic` of `%s` is true or false, not '%s'", args->kind, word);
  }
  for (size_t a = 0; a < grid->ndim; a++) {
    grid->wraps[a] = periodic && grid->side[a] > 2;
  }
  return POE_OK;
}

poe_status poei_lattice_create(const poe_args *args, poei_lattice **grid, poe_error *error) {
  size_t k = 0;
  poei_lattice made = {0};
  poe_status status = poei_discrete_values(args, &k, error);
  if (status == POE_OK) {
    status = grid_shape(args, &made, error);
  }
  if (status == POE_OK) {
    status = grid_periodic(args, &made, error);
  }
  if (status == POE_OK) {
    status = poe_args_real(args, "coupling", 1, &made.ndim, NAN, false, made.coupling, error);
  }
  if (status != POE_OK) {
    return status;
  }
  made.k = k;
  made.support = poei_discrete_support(made.n, k);
  poei_lattice *own = poei_copy(&made, 1, sizeof made);
  if (made.support == NULL || own == NULL) {
    poei_free(made.support);
    poei_free(own);
    return poei_family_memory(args->kind, error);
  }
  *grid = own;
  return POE_OK;
}

/* ---- bonds ---- */

size_t poei_lattice_neighbours(const poei_lattice *grid, size_t site, size_t *neighbour, double *coupling) {
  size_t n = 0;
  for (size_t a = 0; a < grid->ndim; a++) {
    size_t side = grid->side[a], stride = grid->stride[a], at = site / stride % side;
    if (at + 1 < side || grid->wraps[a]) {
      neighbour[n] = at + 1 < side ? site + stride : site - at * stride;
      coupling[n++] = grid->coupling[a];
    }
    if (at > 0 || grid->wraps[a]) {
      neighbour[n] = at > 0 ? site - stride : site + (side - 1) * stride;
      coupling[n++] = grid->coupling[a];
    }
  }
  return n;
}

double poei_lattice_bonds(const poei_lattice *grid, const double *x,
                          double (*pairs)(size_t m, const double *x, const double *y)) {
  double total = 0.0;
  for (size_t a = 0; a < grid->ndim; a++) {
    size_t stride = grid->stride[a], length = grid->side[a] * stride;
    double sum = 0.0; /* of small integers: exact in any order */
    for (const double *line = x; line < x + grid->n; line += length) {
      sum += pairs(length - stride, line, line + stride);
      sum += grid->wraps[a] ? pairs(stride, line, line + length - stride) : 0.0;
    }
    total += grid->coupling[a] * sum;
  }
  return total;
}

double poei_lattice_outside(const poei_lattice *grid, const double *x) {
  double top = (double)(grid->k - 1);
  bool inside = true;
  for (size_t i = 0; i < grid->n; i++) {
    inside = inside && x[i] >= 0.0 && x[i] <= top && x[i] == floor(x[i]);
  }
  if (inside) {
    return 0.0;
  }
  for (size_t i = 0; i < grid->n; i++) {
    if (isnan(x[i])) {
      return NAN;
    }
  }
  return -INFINITY;
}

static size_t grid_bond_count(const poei_lattice *grid) {
  size_t bonds = 0;
  for (size_t a = 0; a < grid->ndim; a++) {
    bonds += grid->n / grid->side[a] * (grid->side[a] - 1 + grid->wraps[a]);
  }
  return bonds;
}

static poe_status factors_bond(const poei_lattice *grid, size_t site, size_t axis, const double *pair,
                               poe_structure *structure, poe_error *error) {
  size_t side = grid->side[axis], stride = grid->stride[axis], at = site / stride % side;
  if (at + 1 == side && !grid->wraps[axis]) {
    return POE_OK;
  }
  size_t variable[2] = {site, at + 1 < side ? site + stride : site - at * stride};
  double *log_value;
  poe_status status = poei_factors_add(structure, 2, variable, &log_value, error);
  for (size_t i = 0; status == POE_OK && i < grid->k * grid->k; i++) {
    log_value[i] = grid->coupling[axis] * pair[i];
  }
  return status;
}

poe_status poei_lattice_factors(const poei_lattice *grid, const double *pair, const double *site, size_t site_step,
                                poe_structure *structure, poe_error *error) {
  poe_structure made = {0};
  size_t factors = grid_bond_count(grid) + (site == NULL ? 0 : grid->n);
  poe_status status = poei_factors_start(&made, grid->n, grid->k, 0, factors, error);
  for (size_t i = 0; status == POE_OK && site != NULL && i < grid->n; i++) {
    status = poei_factors_copy(&made, 1, &i, site + i * site_step, error);
  }
  for (size_t i = 0; i < grid->n; i++) {
    for (size_t a = 0; status == POE_OK && a < grid->ndim; a++) {
      status = factors_bond(grid, i, a, pair, &made, error);
    }
  }
  if (status == POE_OK) {
    *structure = made;
  }
  return status;
}

/* ---- slots ---- */

void poei_lattice_destroy(void *self) {
  poei_lattice *grid = self;
  if (grid != NULL) {
    poei_free(grid->field);
    poei_free(grid->support);
    poei_free(grid);
  }
}

void poei_lattice_traits(const void *self, poe_traits *traits) {
  const poei_lattice *grid = self;
  *traits = (poe_traits){.dim = grid->n, .support = grid->support};
  traits->capabilities = POE_CAN_EVAL | POE_CAN_GRADIENT | POE_CAN_LOCAL | POE_CAN_ONEHOT;
  if (poei_discrete_small(grid->n, grid->k)) {
    traits->capabilities |= POE_CAN_FORM;
  }
  if ((double)grid->k * (double)grid->k * (double)(grid_bond_count(grid) + 1) <= (double)POEI_FORM_NUMBERS) {
    traits->capabilities |= POE_CAN_STRUCTURE;
  }
}

size_t poei_lattice_state_bytes(const void *self) {
  return poei_sites_bytes(((const poei_lattice *)self)->n);
}

size_t poei_lattice_no_scratch(const void *self) {
  (void)self;
  return 0;
}

poe_status poei_lattice_open(const void *self, const double *x, void *state, poe_scratch *scratch, poe_error *error) {
  (void)scratch;
  (void)error;
  const poei_lattice *grid = self;
  poei_sites_open(state, grid->n, grid->k, x);
  return POE_OK;
}

poe_status poei_lattice_set(const void *self, void *state, size_t j, double value, poe_scratch *scratch,
                            poe_error *error) {
  (void)scratch;
  (void)error;
  const poei_lattice *grid = self;
  poei_sites *sites = state;
  size_t index = poei_state_index(value, 0.0, grid->k);
  sites->broken += index == grid->k;
  sites->broken -= sites->value[j] == grid->k;
  sites->value[j] = (uint32_t)index;
  return POE_OK;
}

bool poei_lattice_broken(const poei_lattice *grid, const poei_sites *sites, size_t j, double *out) {
  bool broken = sites->broken > (sites->value[j] == grid->k);
  for (size_t v = 0; broken && v < grid->k; v++) {
    out[v] = -INFINITY;
  }
  return broken;
}
