/* Rewriting rule: a restricted Boltzmann machine with clamped units is a smaller one.
 *
 * The couplings of the clamped units go to the biases of the others, c' = c + v'u for the hidden ones (u = W, over
 * Gaussian visible units W / sd^2), their own terms to a constant. Gaussian visible units with clamped hidden ones move
 * their centres: -(v - b)^2 r / 2 + f v = -(v - b - f / r)^2 r / 2 + f b + f^2 / (2 r), r = 1 / sd^2. When both layers
 * are coordinates and all of one is clamped, the units of the other are independent.
 */
#include <math.h>
#include <string.h>

#include "compose/exact/rules.h"
#include "compose/exact/tree.h"
#include "core/alloc.h"
#include "core/numerics.h"
#include "experts/closed.h"
#include "experts/independent.h"
#include "experts/list.h"
#include "experts/rbm.h"

static poe_status memory(poe_error *error) {
  return poe_error_set(error, POE_E_MEMORY, "out of memory");
}

/* The units of a machine that are free, and what the clamped ones leave. */
typedef struct clamped {
  const poei_boltzmann *m;
  double *value;   /* [units] of clamped units                                                              */
  size_t *free;    /* [units] the free ones, visible first: those of the new machine, in its order          */
  size_t visible;  /* how many of them are visible                                                          */
  size_t hidden;   /* and hidden; a machine over its visible units keeps all of them                        */
  double *bias;    /* [visible + hidden] of the free units                                                  */
  double constant; /* log of what does not depend on them                                                   */
} clamped;

static void clamped_free(clamped *c) {
  poei_free(c->value);
  poei_free(c->free);
  poei_free(c->bias);
}

/* Moves the clamped units' couplings to the fields[units] of the others, and their own terms to the constant. */
static void move_terms(clamped *c, const unsigned char *is_clamped, double *field) {
  const poei_boltzmann *m = c->m;
  for (size_t u = 0; u < m->units; u++) {
    if (!is_clamped[u]) {
      continue;
    }
    size_t layer = u < m->start[1] ? 0 : 1;
    if (layer == 0 && m->scale != NULL) {
      double z = (c->value[u] - m->bias[u]) * m->scale[u];
      c->constant -= z * z / 2.0;
    } else {
      c->constant += m->bias[u] * c->value[u];
    }
    if (layer == 1) { /* the fields hold the clamped visible units' by now */
      c->constant += field[u] * c->value[u];
    }
    poei_boltzmann_shift(m, layer, u - m->start[layer], c->value[u], field);
  }
}

static poe_status clamp(clamped *c, const poe_expert *given, poe_error *error) {
  const poei_boltzmann *m = c->m;
  c->value = poei_calloc(m->units, sizeof *c->value);
  c->free = poei_alloc(m->units, sizeof *c->free);
  c->bias = poei_alloc(m->units, sizeof *c->bias);
  double *field = poei_calloc(m->units, sizeof *field);
  unsigned char *is_clamped = poei_calloc(m->units, 1);
  bool whole = c->value != NULL && c->free != NULL && c->bias != NULL && field != NULL && is_clamped != NULL;
  for (size_t k = 0; whole && k < poei_given_count(given); k++) {
    is_clamped[poei_given_index(given)[k]] = 1; /* units have the numbers of their coordinates */
    c->value[poei_given_index(given)[k]] = poei_given_value(given)[k];
  }
  if (whole) {
    move_terms(c, is_clamped, field);
  }
  for (size_t u = 0, n = 0; whole && u < m->units; u++) {
    if (is_clamped[u]) {
      continue;
    }
    bool square = u < m->start[1] && m->scale != NULL;
    double shift = square ? field[u] / m->scale[u] / m->scale[u] : field[u];
    c->constant += square ? shift * m->scale[u] * m->scale[u] * (m->bias[u] + shift / 2.0) : 0.0;
    c->bias[n] = m->bias[u] + shift;
    c->visible += u < m->start[1];
    c->hidden += u >= m->start[1];
    c->free[n++] = u;
  }
  poei_free(field);
  poei_free(is_clamped);
  return whole ? POE_OK : memory(error);
}

/* Some units of both layers are left: a smaller machine. */
static poe_status smaller_machine(const clamped *c, poe_expert **out, poe_error *error) {
  const poei_boltzmann *from = c->m;
  poei_boltzmann *m =
      poei_boltzmann_alloc("rbm", 2, (size_t[]){c->visible, c->hidden}, from->scale != NULL, from->joint);
  if (m == NULL) {
    return memory(error);
  }
  memcpy(m->bias, c->bias, m->units * sizeof *m->bias);
  for (size_t i = 0; i < c->visible; i++) {
    for (size_t j = 0; j < c->hidden; j++) {
      size_t column = c->free[c->visible + j] - from->start[1];
      m->weight[0][i * c->hidden + j] = from->weight[0][c->free[i] * from->size[1] + column];
    }
    if (m->scale != NULL) {
      m->scale[i] = from->scale[c->free[i]];
    }
  }
  return poei_rbm_create(m, out, error);
}

/* One layer of binary units with these log odds: exp(bias.x) = prod (1 + e^bias) times a normalised density. */
static poe_status binary_layer(clamped *c, poe_expert **out, poe_error *error) {
  size_t n = c->visible + c->hidden;
  poei_independent *made = poei_independent_alloc(n, 2);
  if (made == NULL) {
    return memory(error);
  }
  for (size_t j = 0; j < n; j++) {
    made->log_p[2 * j] = -poei_softplus(c->bias[j]);
    made->log_p[2 * j + 1] = -poei_softplus(-c->bias[j]);
    c->constant += poei_softplus(c->bias[j]);
  }
  poei_independent_finish(made);
  poe_status status = poe_expert_wrap(&poei_bernoulli_ops, made, out, error);
  if (status != POE_OK) {
    poei_independent_destroy(made);
  }
  return status;
}

/* Gaussian visible units with all hidden ones clamped. */
static poe_status gaussian_layer(const clamped *c, poe_expert **out, poe_error *error) {
  poe_form form = {0};
  size_t d = c->visible;
  poe_status status = poei_form_gaussians(&form, 1, d, error);
  for (size_t i = 0; status == POE_OK && i < d; i++) {
    form.origin[i] = c->bias[i];
    form.precision[i * d + i] = c->m->scale[c->free[i]] * c->m->scale[c->free[i]];
  }
  if (status == POE_OK) {
    status = poei_closed_create(&form, out, error);
  }
  poe_form_release(&form);
  return status;
}

/* A machine, some of whose coordinates have values. */
bool poei_rule_rbm_given_applies(const poe_expert *expert) {
  return poei_node_kind_of(expert) == POEI_NODE_given && poei_rbm_machine(poei_node_child(expert, 0)) != NULL;
}

poe_status poei_rule_rbm_given_rewrite(const poe_expert *expert, const poei_plan_options *options, poe_expert **out,
                                       char **what, poe_error *error) {
  (void)options;
  clamped c = {.m = poei_rbm_machine(poei_node_child(expert, 0))};
  poe_expert *rest = NULL;
  poe_status status = clamp(&c, expert, error);
  if (status == POE_OK && c.visible > 0 && c.hidden > 0) {
    status = smaller_machine(&c, &rest, error);
  } else if (status == POE_OK && c.m->joint && c.visible + c.hidden > 0) {
    bool square = c.hidden == 0 && c.m->scale != NULL;
    status = square ? gaussian_layer(&c, &rest, error) : binary_layer(&c, &rest, error);
  }
  if (status == POE_E_DOMAIN || status == POE_E_NUMERIC) {
    status = POE_OK; /* numbers too large to be moved about: the node stays as it is */
  }
  if (status == POE_OK && rest != NULL && isfinite(c.constant)) {
    status = poei_scaled(rest, c.constant, 0.0, out, error);
    *what = status != POE_OK
                ? NULL
                : poei_format("%zu clamped units of an rbm went to the biases of the others", poei_given_count(expert));
  }
  poe_expert_release(rest);
  clamped_free(&c);
  return status;
}
