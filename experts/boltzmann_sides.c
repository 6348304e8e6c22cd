/* Layered Boltzmann machines: enumerating the states of every other layer.
 *
 * Given the layers of one parity the units of the others are independent: each is summed (integrated) on its own,
 *
 *   log(1 + e^field) for a binary unit,
 *   log(2 pi sd^2)/2 + bias field + sd^2 field^2 / 2 for a Gaussian one (field = sum_j W_ij h_j / sd_i^2),
 *
 * the latter by completing the square. States are visited in blocks of 64: a field is that of the low bits (a table)
 * plus that of the high ones, so that 1 + e^field = 1 + e^low e^high needs no exponential of its own (fields too large
 * for that take the slow way).
 */
#include <stdint.h>
#include <string.h>

#include "core/alloc.h"
#include "core/numerics.h"
#include "experts/boltzmann.h"
#include "experts/family.h"

enum { LOW_BITS = 6 };

static const double most_work = 0x1p33; /* factors 1 + e^field in one enumeration */

/* ---- one side and the other ---- */

size_t poei_boltzmann_side(const poei_boltzmann *m, size_t lowest, size_t parity) {
  size_t units = 0;
  for (size_t l = lowest; l < m->layers; l++) {
    units += l % 2 == parity ? m->size[l] : 0;
  }
  return units;
}

double poei_boltzmann_work(const poei_boltzmann *m, size_t lowest, size_t parity) {
  size_t side = poei_boltzmann_side(m, lowest, parity);
  if (side > POEI_BOLTZMANN_UNITS || (m->scale != NULL && parity == 0)) {
    return INFINITY;
  }
  return ldexp((double)(poei_boltzmann_side(m, lowest, 1 - parity) + 1), (int)side);
}

bool poei_boltzmann_few(const poei_boltzmann *m, size_t lowest, size_t parity) {
  return poei_boltzmann_work(m, lowest, parity) <= most_work;
}

void poei_boltzmann_side_unit(const poei_boltzmann *m, size_t lowest, size_t parity, size_t i, size_t *layer,
                              size_t *unit) {
  *layer = lowest % 2 == parity ? lowest : lowest + 1;
  while (i >= m->size[*layer]) {
    i -= m->size[*layer];
    *layer += 2;
  }
  *unit = i;
}

void poei_boltzmann_quiet(const poei_boltzmann *m, double *field) {
  memcpy(field, m->bias, m->units * sizeof *field);
  if (m->scale != NULL) {
    memset(field, 0, m->size[0] * sizeof *field);
  }
}

/* Sets unit i of the side: its bias joins *linear, its couplings the fields. */
static void set_unit(const poei_boltzmann *m, size_t lowest, size_t parity, size_t i, double *linear, double *field) {
  size_t layer, unit;
  poei_boltzmann_side_unit(m, lowest, parity, i, &layer, &unit);
  *linear += m->bias[m->start[layer] + unit];
  poei_boltzmann_shift(m, layer, unit, 1.0, field);
}

/* ---- the other side, summed out ---- */

/* Fields of the other side in two parts: of the low bits of a state, a block of them, and of the high bits. */
typedef struct enumeration {
  const poei_boltzmann *m;
  size_t lowest, parity, side, bits;
  double *low, *low_linear;  /* [2^bits, units], [2^bits] */
  double *high, high_linear; /* [units]                   */
  double *field, *e;         /* [units] for the work      */
  double *numbers;           /* what all of them are in   */
  size_t run;                /* 0, or low and high hold exponentials, of which so many multiply without overflow */
} enumeration;

/* log of the integral over Gaussian visible units. */
static double gaussian_side(const enumeration *all, const double *low) {
  const poei_boltzmann *m = all->m;
  double sum = 0.0;
  for (size_t i = 0; i < m->size[0]; i++) {
    double field = low[i] + all->high[i], z = field / m->scale[i];
    sum += field * m->bias[i] + z * z / 2.0;
  }
  return sum;
}

/* sum_j log(1 + low_j high_j): the factors are multiplied, `run` of them at a time, and their powers of two counted. */
static double log_product(size_t n, const double *low, const double *high, size_t run) {
  enum { LANES = 8 };
  double product[LANES] = {1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0};
  uint64_t power = 0, bits[LANES];
  for (size_t first = 0; first < n; first += run * LANES) {
    size_t count = n - first < run * LANES ? n - first : run * LANES, whole = count - count % LANES;
    const double *x = low + first, *y = high + first;
    for (size_t j = 0; j < whole; j += LANES) {
      for (size_t l = 0; l < LANES; l++) {
        product[l] *= 1.0 + x[j + l] * y[j + l];
      }
    }
    for (size_t j = whole; j < count; j++) {
      product[j - whole] *= 1.0 + x[j] * y[j];
    }
    memcpy(bits, product, sizeof bits);
    for (size_t l = 0; l < LANES; l++) { /* every product is at least 1 and finite: exponents from 1023 on */
      power += (bits[l] >> 52) - 1023;
      bits[l] = (bits[l] & 0xFFFFFFFFFFFFFU) | 0x3FF0000000000000U;
    }
    memcpy(product, bits, sizeof bits);
  }
  double rest =
      ((product[0] * product[4]) * (product[1] * product[5])) * ((product[2] * product[6]) * (product[3] * product[7]));
  return (double)power * POEI_LOG_2 + log(rest);
}

/* log of the sum over the other side in the state whose low bits are s. */
static double other_side(const enumeration *all, size_t s) {
  const poei_boltzmann *m = all->m;
  const double *low = all->low + s * m->units;
  double sum = 0.0;
  for (size_t l = all->lowest; l < m->layers; l++) {
    size_t first = m->start[l], n = m->size[l];
    if (l % 2 == all->parity) {
      continue;
    }
    if (l == 0 && m->scale != NULL) {
      sum += gaussian_side(all, low);
    } else if (all->run > 0) {
      sum += log_product(n, low + first, all->high + first, all->run);
    } else {
      for (size_t u = first; u < first + n; u++) {
        all->field[u] = low[u] + all->high[u];
      }
      sum += poei_softplus_sum(n, all->field + first, all->e);
    }
  }
  return sum;
}

/* The largest field that a binary unit of the other side can have, in size. */
static double largest_field(enumeration *all) {
  const poei_boltzmann *m = all->m;
  double *size = all->field, most = 0.0, unused = 0.0;
  for (size_t u = 0; u < m->units; u++) {
    size[u] = fabs(m->bias[u]);
  }
  for (size_t i = 0; i < all->side; i++) {
    memset(all->e, 0, m->units * sizeof *all->e);
    set_unit(m, all->lowest, all->parity, i, &unused, all->e);
    for (size_t u = 0; u < m->units; u++) {
      size[u] += fabs(all->e[u]);
    }
  }
  for (size_t l = all->lowest; l < m->layers; l++) {
    for (size_t u = m->start[l]; l % 2 != all->parity && u < m->start[l + 1]; u++) {
      most = fmax(most, size[u]);
    }
  }
  return most;
}

static poe_status enumeration_open(enumeration *all, const poei_boltzmann *m, size_t lowest, size_t parity,
                                   poe_error *error) {
  size_t side = poei_boltzmann_side(m, lowest, parity), bits = side < LOW_BITS ? side : LOW_BITS;
  size_t block = (size_t)1 << bits, units = m->units;
  *all = (enumeration){.m = m, .lowest = lowest, .parity = parity, .side = side, .bits = bits};
  all->numbers = poei_calloc(units + 1, (block + 3) * sizeof(double));
  if (all->numbers == NULL) {
    return poei_family_memory(m->kind, error);
  }
  all->low = all->numbers;
  all->high = all->low + block * units;
  all->field = all->high + units;
  all->e = all->field + units;
  all->low_linear = all->e + units;
  double bound = largest_field(all);
  poei_boltzmann_quiet(m, all->low);
  for (size_t bit = 0; bit < bits; bit++) {
    for (size_t s = 0; s < (size_t)1 << bit; s++) {
      size_t with = s + ((size_t)1 << bit);
      memcpy(all->low + with * units, all->low + s * units, units * sizeof(double));
      all->low_linear[with] = all->low_linear[s];
      set_unit(m, lowest, parity, bit, &all->low_linear[with], all->low + with * units);
    }
  }
  /* e^bound, twice over in a lane's product, stays below e^709; Gaussian units need their fields. */
  if (m->scale == NULL && bound <= 300.0) {
    all->run = (size_t)(650.0 / (bound + 1.0));
    poei_vexp(all->low, all->low, block * units);
  }
  return POE_OK;
}

/* The high bits of a block of states. */
static void enumeration_block(enumeration *all, size_t first) {
  memset(all->high, 0, all->m->units * sizeof *all->high);
  all->high_linear = 0.0;
  for (size_t bit = all->bits; bit < all->side; bit++) {
    if ((first >> bit & 1) != 0) {
      set_unit(all->m, all->lowest, all->parity, bit, &all->high_linear, all->high);
    }
  }
  if (all->run > 0) {
    poei_vexp(all->high, all->high, all->m->units);
  }
}

poe_status poei_boltzmann_log_weights(const poei_boltzmann *m, size_t lowest, size_t parity, double *log_weight,
                                      poe_error *error) {
  enumeration all;
  poe_status status = enumeration_open(&all, m, lowest, parity, error);
  if (status != POE_OK) {
    return status;
  }
  double constant = 0.0;
  for (size_t i = 0; m->scale != NULL && i < m->size[0]; i++) {
    constant += POEI_LOG_2PI / 2.0 - log(m->scale[i]);
  }
  size_t block = (size_t)1 << all.bits;
  for (size_t first = 0; first < (size_t)1 << all.side; first += block) {
    enumeration_block(&all, first);
    for (size_t s = 0; s < block; s++) {
      log_weight[first + s] = constant + all.low_linear[s] + all.high_linear + other_side(&all, s);
    }
  }
  poei_free(all.numbers);
  return POE_OK;
}
