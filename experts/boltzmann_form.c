/* Layered Boltzmann machines as closed forms.
 *
 * Binary units are a factor graph: a table for each unit and one for each coupling, the hidden units latent variables
 * when they are no coordinates. Gaussian visible units over few hidden ones are a mixture of 2^hidden Gaussians with
 * precision 1 / sd^2; component h has mean m = bias + sd^2 weight h and there the log value
 * c . h + sum_i (m_i^2 - bias_i^2) / (2 sd_i^2).
 */
#include <string.h>

#include "core/alloc.h"
#include "experts/boltzmann.h"
#include "experts/closed.h"
#include "experts/family.h"

/* ---- factors ---- */

static poe_status structure_memory(const poei_boltzmann *m, poe_structure *structure, poe_error *error) {
  poe_structure_release(structure);
  return poei_family_memory(m->kind, error);
}

/* Appends the table of one unit (n = 1) or of two, with `value` where all of them are 1. False when out of memory. */
static bool add_factor(poe_factors *factors, size_t n, const size_t *variable, double value) {
  poe_factor *factor = &factors->factor[factors->n];
  size_t states = (size_t)1 << n;
  factor->n = n;
  factor->variable = poei_copy(variable, n, sizeof *variable);
  factor->log_value = poei_calloc(states, sizeof *factor->log_value);
  factors->n++; /* also half-made, so that releasing finds it */
  if (factor->variable == NULL || factor->log_value == NULL) {
    return false;
  }
  factor->log_value[states - 1] = value;
  return true;
}

poe_status poei_boltzmann_structure(const void *self, poe_structure *structure, poe_error *error) {
  const poei_boltzmann *m = self;
  poe_structure made = {.kind = POE_STRUCTURE_FACTORS, .dim = m->dim};
  poe_factors *factors = &made.as.factors;
  factors->latents = m->units - m->dim;
  factors->cardinality = poei_alloc(m->units, sizeof *factors->cardinality);
  factors->low = poei_calloc(m->dim, sizeof *factors->low);
  factors->factor = poei_calloc(m->units + m->couplings, sizeof *factors->factor);
  bool whole = factors->cardinality != NULL && factors->low != NULL && factors->factor != NULL;
  for (size_t u = 0; u < m->units && whole; u++) {
    factors->cardinality[u] = 2;
    whole = add_factor(factors, 1, &u, m->bias[u]);
  }
  for (size_t l = 0; l + 1 < m->layers && whole; l++) {
    for (size_t i = 0; i < m->size[l]; i++) {
      for (size_t j = 0; j < m->size[l + 1] && whole; j++) {
        double weight = m->weight[l][i * m->size[l + 1] + j];
        size_t pair[2] = {m->start[l] + i, m->start[l + 1] + j};
        whole = weight == 0.0 || add_factor(factors, 2, pair, weight);
      }
    }
  }
  if (!whole) {
    return structure_memory(m, &made, error);
  }
  *structure = made;
  return POE_OK;
}

/* ---- a mixture of Gaussians ---- */

/* Component s of the form: hidden unit j is on where bit j of s is. */
static void form_component(const poei_boltzmann *m, size_t s, poe_form *form) {
  size_t d = m->size[0];
  double *mean = form->origin + s * d, *precision = form->precision + s * d * d, constant = 0.0;
  for (size_t j = 0; j < m->size[1]; j++) {
    for (size_t i = 0; i < d && (s >> j & 1) != 0; i++) {
      mean[i] += m->weight_t[0][j * d + i];
    }
    constant += (s >> j & 1) != 0 ? m->bias[m->start[1] + j] : 0.0;
  }
  for (size_t i = 0; i < d; i++) {
    double field = mean[i], sd = 1.0 / m->scale[i];
    mean[i] = m->bias[i] + sd * sd * field;
    precision[i * d + i] = m->scale[i] * m->scale[i];
    constant += field * (m->bias[i] + sd * sd * field / 2.0);
  }
  form->constant[s] = constant;
}

poe_status poei_boltzmann_form(const void *self, poe_form *form, poe_error *error) {
  const poei_boltzmann *m = self;
  size_t states = (size_t)1 << m->size[1];
  poe_status status = poei_form_gaussians(form, states, m->size[0], error);
  for (size_t s = 0; status == POE_OK && s < states; s++) {
    form_component(m, s, form);
  }
  return status;
}
