/* Layered Boltzmann machines: memory, traits, and the preparation of their numbers (boltzmann.h).
 *
 * The weights of binary machines are rounded to grids on which the fields of the units add up without rounding: field
 * u = bias_u + sum_k w_uk x_k, x binary, |field u| <= S_u = |bias_u| + sum_k |w_uk| < 2^e, and every term a multiple of
 * 2^(e-51) makes every partial sum, in whatever order, a multiple of it below 2^(e+1): a double holds that exactly. So
 * a field has the same bits by a matrix product over any tile and by any number of single-site changes, and an
 * incremental sampler does not drift. It costs at most 2^-51 S_u in each weight, what adding with rounding costs
 * anyway.
 */
#include "experts/boltzmann.h"

#include "core/alloc.h"
#include "core/numerics.h"
#include "experts/family.h"

/* Sums of numbers above this could overflow. */
static const double largest = 1e300;

poei_boltzmann *poei_boltzmann_alloc(const char *kind, size_t layers, const size_t *size, bool gaussian, bool joint) {
  poei_boltzmann *m = poei_calloc(1, sizeof *m);
  if (m == NULL) {
    return NULL;
  }
  *m = (poei_boltzmann){.kind = kind, .layers = layers, .joint = joint};
  bool complete = true;
  for (size_t l = 0; l < layers; l++) {
    m->size[l] = size[l];
    complete = complete && size[l] > 0 && poei_add_size(m->start[l], size[l], &m->start[l + 1]);
  }
  m->units = m->start[layers];
  m->dim = joint ? m->units : size[0];
  m->bias = complete ? poei_calloc(m->units, sizeof *m->bias) : NULL;
  m->support = complete ? poei_family_reals(m->dim) : NULL;
  m->scale = complete && gaussian ? poei_calloc(size[0], sizeof *m->scale) : NULL;
  complete = complete && m->bias != NULL && m->support != NULL && (!gaussian || m->scale != NULL);
  for (size_t l = 0; l + 1 < layers && complete; l++) {
    size_t numbers = 0;
    complete = poei_mul_size(size[l], size[l + 1], &numbers);
    m->weight[l] = complete ? poei_calloc(numbers, sizeof(double)) : NULL;
    m->weight_t[l] = complete ? poei_calloc(numbers, sizeof(double)) : NULL;
    complete = complete && m->weight[l] != NULL && m->weight_t[l] != NULL;
  }
  if (!complete) {
    poei_boltzmann_destroy(m);
    return NULL;
  }
  for (size_t j = gaussian ? size[0] : 0; j < m->dim; j++) {
    m->support[j] = (poe_support){POE_DISCRETE, 0.0, 1.0, false, false};
  }
  return m;
}

void poei_boltzmann_destroy(void *self) {
  poei_boltzmann *m = self;
  if (m != NULL) {
    for (size_t l = 0; l + 1 < m->layers; l++) {
      poei_free(m->weight[l]);
      poei_free(m->weight_t[l]);
    }
    poei_boltzmann_states_destroy(m->states);
    poei_free(m->bias);
    poei_free(m->scale);
    poei_free(m->support);
    poei_free(m->table);
    poei_free(m);
  }
}

/* ---- preparation ---- */

/* Sums of sizes S[units] of what each unit adds up; the couplings that are not 0 are counted on the way. */
static void size_sums(poei_boltzmann *m, double *sum) {
  for (size_t u = 0; u < m->units; u++) {
    sum[u] = fabs(m->bias[u]);
  }
  m->couplings = 0;
  for (size_t l = 0; l + 1 < m->layers; l++) {
    double *below = sum + m->start[l], *above = sum + m->start[l + 1];
    for (size_t i = 0; i < m->size[l]; i++) {
      const double *row = m->weight[l] + i * m->size[l + 1];
      for (size_t j = 0; j < m->size[l + 1]; j++) {
        below[i] += fabs(row[j]);
        above[j] += fabs(row[j]);
        m->couplings += row[j] != 0.0;
      }
    }
  }
}

/* x to the nearest multiple of 2^-52 of the magic number's power of two: adding 1.5 * 2^k leaves no bits below. */
static double on_grid(double x, double magic) {
  return (x + magic) - magic;
}

/* S[units] becomes the magic number of each unit's grid, and the numbers go there; a coupling to the coarser of its two
 * units' grids. */
static void round_numbers(poei_boltzmann *m, double *sum) {
  for (size_t u = 0; u < m->units; u++) {
    int exponent = 0;
    frexp(sum[u], &exponent);
    sum[u] = sum[u] == 0.0 ? 0.0 : ldexp(1.5, exponent + 1);
    m->bias[u] = on_grid(m->bias[u], sum[u]);
  }
  for (size_t l = 0; l + 1 < m->layers; l++) {
    const double *below = sum + m->start[l], *above = sum + m->start[l + 1];
    for (size_t i = 0; i < m->size[l]; i++) {
      double *row = m->weight[l] + i * m->size[l + 1];
      for (size_t j = 0; j < m->size[l + 1]; j++) {
        row[j] = on_grid(row[j], below[i] > above[j] ? below[i] : above[j]);
      }
    }
  }
}

static void transpose(poei_boltzmann *m) {
  enum { BLOCK = 16 };
  for (size_t l = 0; l + 1 < m->layers; l++) {
    size_t rows = m->size[l], columns = m->size[l + 1];
    for (size_t first = 0; first < rows; first += BLOCK) {
      for (size_t j = 0; j < columns; j++) {
        for (size_t i = first; i < rows && i < first + BLOCK; i++) {
          m->weight_t[l][j * rows + i] = m->weight[l][i * columns + j];
        }
      }
    }
  }
}

/* Which sum gives log p, the cheaper where both do: 2^size(1) states of one exponential each, or 2^size(2) states of a
 * softplus for each unit of layer 1 (about twice as much). */
static poei_boltzmann_sum choose_sum(const poei_boltzmann *m) {
  if (m->joint) {
    return POEI_BOLTZMANN_JOINT;
  }
  if (m->layers == 2) {
    return POEI_BOLTZMANN_CLOSED;
  }
  bool first = poei_boltzmann_few(m, 1, 1), second = poei_boltzmann_few(m, 2, 0);
  if (first && second) {
    double one = ldexp(1.0, (int)m->size[1]), two = ldexp(2.0 * (double)m->size[1], (int)m->size[2]);
    return one <= two ? POEI_BOLTZMANN_FIRST : POEI_BOLTZMANN_SECOND;
  }
  return first ? POEI_BOLTZMANN_FIRST : second ? POEI_BOLTZMANN_SECOND : POEI_BOLTZMANN_NONE;
}

/* The table of the states of layer 1 or 2, in which the other layers of its side are summed too. */
static poe_status make_table(poei_boltzmann *m, poe_error *error) {
  size_t layer = m->sum == POEI_BOLTZMANN_FIRST ? 1 : 2, side = poei_boltzmann_side(m, layer, layer % 2);
  size_t states = (size_t)1 << m->size[layer], rest = (size_t)1 << (side - m->size[layer]);
  double *all = poei_alloc(states * rest, sizeof *all);
  poe_status status =
      all == NULL ? poei_family_memory(m->kind, error) : poei_boltzmann_log_weights(m, layer, layer % 2, all, error);
  if (status == POE_OK && rest == 1) {
    m->table = all;
    return POE_OK;
  }
  m->table = status == POE_OK ? poei_alloc(states, sizeof *m->table) : NULL;
  if (status == POE_OK && m->table == NULL) {
    status = poei_family_memory(m->kind, error);
  }
  for (size_t s = 0; status == POE_OK && s < states; s++) {
    m->table[s] = poei_log_sum_exp(all + s, rest, states);
  }
  poei_free(all);
  return status;
}

poe_status poei_boltzmann_finish(poei_boltzmann *m, poe_error *error) {
  double *sum = poei_alloc(m->units, sizeof *sum);
  if (sum == NULL) {
    return poei_family_memory(m->kind, error);
  }
  poe_status status = POE_OK;
  size_sums(m, sum);
  for (size_t u = 0; u < m->units && status == POE_OK; u++) {
    if (!(sum[u] < largest)) {
      status = poe_error_set(error, POE_E_DOMAIN, "the weights of `%s` are too large: those of one unit add up to %g",
                             m->kind, sum[u]);
    }
  }
  if (status == POE_OK && m->scale == NULL) {
    round_numbers(m, sum);
  }
  poei_free(sum);
  transpose(m);
  m->sum = choose_sum(m);
  if (status == POE_OK && (m->sum == POEI_BOLTZMANN_FIRST || m->sum == POEI_BOLTZMANN_SECOND)) {
    status = make_table(m, error);
  }
  return status == POE_OK ? poei_boltzmann_states_create(m, error) : status;
}

/* ---- traits ---- */

static bool has_form(const poei_boltzmann *m) {
  if (m->scale == NULL || m->joint || m->size[1] > POEI_BOLTZMANN_COMPONENTS) {
    return false;
  }
  size_t numbers = (size_t)1 << m->size[1];
  return m->size[0] <= POEI_BOLTZMANN_FORM_NUMBERS / numbers / m->size[0];
}

void poei_boltzmann_traits(const void *self, poe_traits *traits) {
  const poei_boltzmann *m = self;
  *traits = (poe_traits){.dim = m->dim, .support = m->support};
  if (m->sum != POEI_BOLTZMANN_NONE) {
    bool discrete = m->scale == NULL || m->joint;
    traits->capabilities = POE_CAN_EVAL | POE_CAN_GRADIENT | (discrete ? POE_CAN_LOCAL | POE_CAN_ONEHOT : 0u);
  }
  traits->capabilities |= m->states != NULL ? POE_CAN_SAMPLE | POE_CAN_LOG_Z : 0u;
  traits->capabilities |= has_form(m) ? POE_CAN_FORM : 0u;
  traits->capabilities |= m->scale == NULL && m->couplings <= POEI_BOLTZMANN_COUPLINGS ? POE_CAN_STRUCTURE : 0u;
}

void poei_boltzmann_shift(const poei_boltzmann *m, size_t layer, size_t u, double delta, double *field) {
  if (layer > 0) {
    size_t n = m->size[layer - 1];
    const double *row = m->weight_t[layer - 1] + u * n;
    double *below = field + m->start[layer - 1];
    for (size_t i = 0; i < n; i++) {
      below[i] += delta * row[i];
    }
  }
  if (layer + 1 < m->layers) {
    size_t n = m->size[layer + 1];
    const double *row = m->weight[layer] + u * n;
    double *above = field + m->start[layer + 1];
    for (size_t j = 0; j < n; j++) {
      above[j] += delta * row[j];
    }
  }
}
