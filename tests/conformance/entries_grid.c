/* Conformance entries of ising and potts. The reference looks at every pair of sites and asks whether they are
 * neighbours, so that no pair can count twice. */
#include "experts/list.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

/* ---- every pair of sites ---- */

/* The axis along which two sites are neighbours, SIZE_MAX when they are not. */
static size_t bond_axis(size_t ndim, const size_t *side, bool periodic, size_t i, size_t j) {
  size_t found = SIZE_MAX, apart = 0;
  for (size_t a = ndim; a-- > 0;) {
    size_t x = i % side[a], y = j % side[a], gap = x > y ? x - y : y - x;
    i /= side[a];
    j /= side[a];
    if (gap == 0) {
      continue;
    }
    apart++;
    if (gap == 1 || (periodic && gap == side[a] - 1)) {
      found = a;
    }
  }
  return apart == 1 ? found : SIZE_MAX;
}

static double bonds(size_t ndim, const size_t *side, bool periodic, const double *coupling, const double *x,
                    double (*pair)(double, double)) {
  size_t n = 1;
  double sum = 0.0;
  for (size_t a = 0; a < ndim; a++) {
    n *= side[a];
  }
  for (size_t i = 0; i < n; i++) {
    for (size_t j = 0; j < i; j++) {
      size_t a = bond_axis(ndim, side, periodic, i, j);
      sum += a == SIZE_MAX ? 0.0 : coupling[a] * pair(x[i], x[j]);
    }
  }
  return sum;
}

static double spins(double x, double y) {
  return (2.0 * x - 1.0) * (2.0 * y - 1.0);
}

static double equal(double x, double y) {
  return x == y ? 1.0 : 0.0;
}

static void points_of(size_t n, size_t d, double *x, double k) {
  for (size_t i = 0; i < n * d; i++) {
    x[i] = floor(poet_spread(i / d, i % d, 0.0, k));
  }
}

static void binary_points(size_t n, size_t d, double *x) {
  points_of(n, d, x, 2.0);
}

static void ternary_points(size_t n, size_t d, double *x) {
  points_of(n, d, x, 3.0);
}

/* ---- ising ---- */

static const size_t plane[2] = {3, 4}, block[3] = {2, 3, 2}, square[2] = {2, 2}, ring[1] = {5}, wide[2] = {9, 7};
static const double two[2] = {0.7, -0.3}, three[3] = {0.2, 0.5, -0.4}, one[3] = {0.44, 0.44, 0.44}, minus = -0.8;
static const double plane_field[12] = {0.1, -0.2, 0.3, 0.0, 1.5, -0.7, 0.2, 0.9, -1.1, 0.4, 0.05, -0.3};

static poe_status ising_plane(poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "ising");
  poet_args_discrete_grid(&a, "s", 2, plane, 2);
  poet_args_vector(&a, "coupling", 2, two);
  poet_args_matrix(&a, "field", 3, 4, plane_field);
  poet_args_text(&a, "periodic", POE_ARG_SYMBOL, "true");
  return poe_expert_create(&poei_ising_ops, &a.args, expert, error);
}

static double ising_plane_value(const double *x) {
  double value = bonds(2, plane, true, two, x, spins);
  for (size_t i = 0; i < 12; i++) {
    value += plane_field[i] * (2.0 * x[i] - 1.0);
  }
  return value;
}

static poe_status ising_block(poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "ising");
  poet_args_discrete_grid(&a, "s", 3, block, 2);
  poet_args_vector(&a, "coupling", 3, three);
  poet_args_scalar(&a, "field", &minus);
  return poe_expert_create(&poei_ising_ops, &a.args, expert, error);
}

static double ising_block_value(const double *x) {
  double value = bonds(3, block, false, three, x, spins);
  for (size_t i = 0; i < 12; i++) {
    value += minus * (2.0 * x[i] - 1.0);
  }
  return value;
}

/* Periodic sides of 2: neighbours once, not twice. */
static poe_status ising_square(poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "ising");
  poet_args_discrete_grid(&a, "s", 2, square, 2);
  poet_args_scalar(&a, "coupling", &one[0]);
  poet_args_text(&a, "periodic", POE_ARG_SYMBOL, "true");
  return poe_expert_create(&poei_ising_ops, &a.args, expert, error);
}

static double ising_square_value(const double *x) {
  return 0.44 * (spins(x[0], x[1]) + spins(x[2], x[3]) + spins(x[0], x[2]) + spins(x[1], x[3]));
}

static poe_status ising_wide(poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "ising");
  poet_args_discrete_grid(&a, "s", 2, wide, 2);
  poet_args_scalar(&a, "coupling", &one[0]);
  poet_args_text(&a, "periodic", POE_ARG_SYMBOL, "false");
  return poe_expert_create(&poei_ising_ops, &a.args, expert, error);
}

static double ising_wide_value(const double *x) {
  return bonds(2, wide, false, one, x, spins);
}

static poe_status ising_alone(poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "ising");
  poet_args_discrete_grid(&a, "s", 0, NULL, 2);
  poet_args_scalar(&a, "coupling", &one[0]);
  poet_args_scalar(&a, "field", &minus);
  poet_args_text(&a, "periodic", POE_ARG_SYMBOL, "true");
  return poe_expert_create(&poei_ising_ops, &a.args, expert, error);
}

static double ising_alone_value(const double *x) {
  return x[0] == 1.0 ? minus : -minus;
}

static const poet_case ising_cases[] = {
    {.name = "ising on a periodic plane with fields",
     .build = ising_plane,
     .points = binary_points,
     .log_density = ising_plane_value,
     .needs_no_interior = true},
    {.name = "ising on a block",
     .build = ising_block,
     .points = binary_points,
     .log_density = ising_block_value,
     .needs_no_interior = true},
    {.name = "ising on a periodic square of side 2",
     .build = ising_square,
     .points = binary_points,
     .log_density = ising_square_value,
     .needs_no_interior = true},
    {.name = "ising on a plane too large for a table",
     .build = ising_wide,
     .points = binary_points,
     .log_density = ising_wide_value,
     .needs_no_interior = true},
    {.name = "ising of one site",
     .build = ising_alone,
     .points = binary_points,
     .log_density = ising_alone_value,
     .needs_no_interior = true},
};
POET_ENTRY(ising, ising_cases);

/* ---- potts ---- */

static const double likes[3] = {0.5, -1.0, 0.25};

static poe_status potts_plane(poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "potts");
  poet_args_discrete_grid(&a, "s", 2, plane, 3);
  poet_args_vector(&a, "coupling", 2, two);
  poet_args_vector(&a, "field", 3, likes);
  poet_args_text(&a, "periodic", POE_ARG_SYMBOL, "true");
  return poe_expert_create(&poei_potts_ops, &a.args, expert, error);
}

static double potts_plane_value(const double *x) {
  double value = bonds(2, plane, true, two, x, equal);
  for (size_t i = 0; i < 12; i++) {
    value += likes[(int)x[i]];
  }
  return value;
}

static poe_status potts_ring(poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "potts");
  poet_args_discrete_grid(&a, "s", 1, ring, 3);
  poet_args_scalar(&a, "coupling", &minus);
  poet_args_text(&a, "periodic", POE_ARG_SYMBOL, "true");
  return poe_expert_create(&poei_potts_ops, &a.args, expert, error);
}

static double potts_ring_value(const double *x) {
  return bonds(1, ring, true, &minus, x, equal);
}

static const poet_case potts_cases[] = {
    {.name = "potts on a periodic plane with a field",
     .build = potts_plane,
     .points = ternary_points,
     .log_density = potts_plane_value,
     .needs_no_interior = true},
    {.name = "potts on a ring",
     .build = potts_ring,
     .points = ternary_points,
     .log_density = potts_ring_value,
     .needs_no_interior = true},
};
POET_ENTRY(potts, potts_cases);
