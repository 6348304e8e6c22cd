/* Rewriting rule: a product of restricted Boltzmann machines is one.
 *
 * Hidden units of different factors stay different units, so free energies add: exp(b.v) prod_j (1 + e^a_j)
 * is closed under products. Over the union of the coordinates the biases add and the hidden units stand side by side;
 * a coordinate that a factor does not have gets couplings 0. Independent binary coordinates are a machine without
 * hidden units, b = logit. Gaussian visible units have precision r and centre b; a hidden unit's field c + sum_i u_i
 * v_i with u_i = W_i r_i does not change, and the squares add,
 *
 *   r1 (v - b1)^2 + r2 (v - b2)^2 = R (v - B)^2 + (r1 r2 / R) (b1 - b2)^2,  R = r1 + r2, B = (r1 b1 + r2 b2) / R,
 *
 * so different sd combine by their precisions (W = u / R), and a Gaussian of diagonal precision is such a factor too.
 * Only the exponent 1: (1 + e^a)^t is not a softplus of its own, so the power of a machine is none. Factors without
 * hidden units may have any exponent.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "compose/exact/rules.h"
#include "compose/exact/tree.h"
#include "core/alloc.h"
#include "experts/independent.h"
#include "experts/list.h"
#include "experts/rbm.h"

static poe_status memory(poe_error *error) {
  return poe_error_set(error, POE_E_MEMORY, "out of memory");
}

/* The machine of an rbm over its visible units alone. */
static const poei_boltzmann *free_energy(const poe_expert *expert) {
  const poei_boltzmann *m = poei_rbm_machine(expert);
  return m != NULL && !m->joint ? m : NULL;
}

/* A factor: constant + (binary) b.v or (Gaussian) -sum r (v - b)^2 / 2, and hidden units if it has a machine. */
typedef struct ingredient {
  const poei_boltzmann *m; /* NULL: no hidden units */
  bool gaussian;
  double constant;
  double *b, *r; /* [n] */
} ingredient;

static void ingredient_free(ingredient *in) {
  poei_free(in->b);
  poei_free(in->r);
}

/* Independent binary coordinates; false when one of the values is impossible, for weights are finite. */
static bool take_independent(const poei_independent *from, double exponent, ingredient *in) {
  bool possible = from->k == 2;
  for (size_t j = 0; j < from->d && possible; j++) {
    in->b[j] = exponent * (from->log_p[2 * j + 1] - from->log_p[2 * j]);
    in->constant += exponent * from->log_p[2 * j];
    possible = isfinite(in->b[j]);
  }
  return possible;
}

/* One Gaussian of diagonal precision. */
static bool take_gaussian(const poe_form *form, double exponent, ingredient *in) {
  bool fits = form->kind == POE_FORM_GAUSSIANS && form->components == 1;
  in->gaussian = true;
  in->constant = fits ? exponent * form->constant[0] : 0.0;
  for (size_t i = 0; i < form->dim && fits; i++) {
    double r = form->precision[i * form->dim + i], l = form->linear[i];
    for (size_t j = 0; j < i && fits; j++) {
      fits = form->precision[i * form->dim + j] == 0.0;
    }
    fits = fits && r > 0.0;
    in->r[i] = exponent * r;
    in->b[i] = form->origin[i] + l / r;
    in->constant += exponent * l * l / (2.0 * r);
  }
  return fits;
}

/* Reads a factor; *fits: it can be part of a machine. Zero-initialise. */
static poe_status ingredient_read(const poei_part *part, ingredient *in, bool *fits, poe_error *error) {
  const poe_traits *traits = poe_expert_traits(part->expert);
  const poe_expert_ops *ops = poe_expert_ops_of(part->expert);
  *fits = false;
  in->b = poei_calloc(part->n, sizeof *in->b);
  in->r = poei_calloc(part->n, sizeof *in->r);
  if (in->b == NULL || in->r == NULL) {
    return memory(error);
  }
  const poei_boltzmann *m = free_energy(part->expert);
  if (m != NULL) {
    in->m = m;
    in->gaussian = m->scale != NULL;
    for (size_t i = 0; i < part->n; i++) {
      in->b[i] = m->bias[i];
      in->r[i] = m->scale != NULL ? m->scale[i] * m->scale[i] : 0.0;
    }
    *fits = part->exponent == 1.0;
  } else if (ops == &poei_bernoulli_ops || ops == &poei_categorical_ops) {
    *fits = take_independent(poe_expert_self(part->expert), part->exponent, in);
  } else if (poei_node_kind_of(part->expert) == POEI_NODE_LEAF && poei_expert_can(part->expert, POE_CAN_FORM) &&
             traits->offset_error == 0.0 && traits->support[0].kind == POE_CONTINUOUS &&
             poei_support_unbounded(&traits->support[0])) {
    poe_form form = {0};
    poe_status status = poe_expert_form(part->expert, &form, error);
    *fits = status == POE_OK && take_gaussian(&form, part->exponent, in);
    poe_form_release(&form);
    return status == POE_E_MEMORY ? status : POE_OK;
  }
  return POE_OK;
}

/* What has been put together so far. */
typedef struct blend {
  size_t dim, *position; /* [dim] of the product: place among the visible units, SIZE_MAX: not one of them */
  size_t visible, hidden, parts;
  size_t numbers;       /* couplings that are not 0, and biases           */
  bool gaussian, drawn; /* drawn: some factor can be drawn from exactly   */
  unsigned char *taken; /* [parts of the product]                         */
} blend;

/* A machine of these sizes would have exact draws. */
static bool would_draw(bool gaussian, size_t visible, size_t hidden) {
  poei_boltzmann m = {.layers = 2, .size = {visible, hidden}};
  double unit = 1.0;
  m.scale = gaussian ? &unit : NULL;
  return poei_boltzmann_few(&m, 0, 0) || poei_boltzmann_few(&m, 0, 1);
}

/* Couplings that are not 0, and biases. */
static size_t numbers_in(const poei_part *part, const ingredient *in) {
  return in->m == NULL ? part->n + 1 : in->m->couplings + in->m->units + 1;
}

/* Does this factor join? It must share a coordinate with what is there; filling in zeros for those that it does not
 * share may at most double the numbers (a chain of machines does not become one full of zeros); and over Gaussian
 * units, which are sampled along a path from a factor that can be drawn from, the whole must be drawable if one of its
 * parts is. (Binary units need no such path.) */
static bool joins(const blend *mix, const poei_part *part, const ingredient *in) {
  size_t shared = 0, hidden = in->m == NULL ? 0 : in->m->size[1];
  for (size_t j = 0; j < part->n; j++) {
    shared += mix->position[part->index[j]] != SIZE_MAX;
  }
  size_t visible = mix->visible + part->n - shared, all = mix->hidden + hidden;
  if (shared == 0 || in->gaussian != mix->gaussian || (visible + 1) > SIZE_MAX / (all + 1)) {
    return false;
  }
  size_t separate = mix->numbers + numbers_in(part, in);
  bool drawn = mix->drawn || poei_expert_can(part->expert, POE_CAN_SAMPLE);
  return (visible + 1) * (all + 1) / 2 <= separate && (!mix->gaussian || !drawn || would_draw(true, visible, all));
}

static void add(blend *mix, const poei_part *part, const ingredient *in, size_t i) {
  size_t hidden = in->m == NULL ? 0 : in->m->size[1];
  for (size_t j = 0; j < part->n; j++) {
    size_t *position = &mix->position[part->index[j]];
    mix->visible += *position == SIZE_MAX;
    *position = 0;
  }
  mix->hidden += hidden;
  mix->numbers += numbers_in(part, in);
  mix->drawn = mix->drawn || poei_expert_can(part->expert, POE_CAN_SAMPLE);
  mix->gaussian = in->gaussian;
  mix->taken[i] = 1;
  mix->parts++;
}

/* Chooses the factors that join the machine of factor `seed`, until none does. */
static void choose(blend *mix, const poei_parts *parts, const ingredient *in, const unsigned char *fits, size_t seed) {
  memset(mix->taken, 0, parts->n);
  for (size_t c = 0; c < mix->dim; c++) {
    mix->position[c] = SIZE_MAX;
  }
  mix->visible = mix->hidden = mix->parts = mix->numbers = 0;
  mix->drawn = false;
  add(mix, &parts->item[seed], &in[seed], seed);
  for (bool more = true; more;) {
    more = false;
    for (size_t i = 0; i < parts->n; i++) {
      if (fits[i] && !mix->taken[i] && joins(mix, &parts->item[i], &in[i])) {
        add(mix, &parts->item[i], &in[i], i);
        more = true;
      }
    }
  }
  size_t next = 0;
  for (size_t c = 0; c < mix->dim; c++) {
    mix->position[c] = mix->position[c] == SIZE_MAX ? SIZE_MAX : next++;
  }
}

/* Adds one factor to the machine: m->scale holds precisions on the way, `hidden` units are there already. */
static void pour(poei_boltzmann *m, const size_t *position, const poei_part *part, const ingredient *in, size_t hidden,
                 double *constant) {
  *constant += in->constant;
  for (size_t i = 0; i < part->n; i++) {
    size_t at = position[part->index[i]];
    if (m->scale != NULL) {
      double old = m->scale[at], sum = old + in->r[i], gap = m->bias[at] - in->b[i];
      *constant -= old * in->r[i] == 0.0 ? 0.0 : old * in->r[i] / sum * gap * gap / 2.0;
      m->bias[at] = old == 0.0 ? in->b[i] : m->bias[at] + in->r[i] / sum * (in->b[i] - m->bias[at]);
      m->scale[at] = sum;
    } else {
      m->bias[at] += in->b[i];
    }
    for (size_t j = 0; in->m != NULL && j < in->m->size[1]; j++) {
      m->weight[0][at * m->size[1] + hidden + j] = in->m->weight[0][i * in->m->size[1] + j];
    }
  }
  for (size_t j = 0; in->m != NULL && j < in->m->size[1]; j++) {
    m->bias[m->start[1] + hidden + j] = in->m->bias[in->m->start[1] + j];
  }
}

/* The chosen factors as one machine; *out stays NULL when divisors leave a direction without positive precision. */
static poe_status mix_machine(const blend *mix, const poei_parts *parts, const ingredient *in, double *constant,
                              poe_expert **out, poe_error *error) {
  poei_boltzmann *m = poei_boltzmann_alloc("rbm", 2, (size_t[]){mix->visible, mix->hidden}, mix->gaussian, false);
  if (m == NULL) {
    return memory(error);
  }
  size_t hidden = 0;
  bool proper = true;
  for (int divisors = 0; divisors <= 1; divisors++) { /* precisions are added before they are taken away */
    for (size_t i = 0; i < parts->n; i++) {
      if (mix->taken[i] && (parts->item[i].exponent < 0.0) == (divisors == 1)) {
        pour(m, mix->position, &parts->item[i], &in[i], hidden, constant);
        hidden += in[i].m == NULL ? 0 : in[i].m->size[1];
      }
    }
  }
  for (size_t i = 0; i < mix->visible && mix->gaussian; i++) {
    proper = proper && m->scale[i] > 0.0 && isfinite(m->scale[i]);
    m->scale[i] = sqrt(m->scale[i]);
  }
  if (!proper || !isfinite(*constant)) {
    poei_boltzmann_destroy(m);
    return POE_OK;
  }
  poe_status status = poei_rbm_create(m, out, error);
  return status == POE_E_DOMAIN || status == POE_E_NUMERIC ? POE_OK : status;
}

/* Replaces the chosen factors by the machine. */
static poe_status replace(poei_parts *parts, const blend *mix, const poe_expert *machine, double constant,
                          poe_error *error) {
  size_t *index = poei_alloc(mix->visible, sizeof *index);
  if (index == NULL) {
    return memory(error);
  }
  for (size_t c = 0; c < mix->dim; c++) {
    if (mix->position[c] != SIZE_MAX) {
      index[mix->position[c]] = c;
    }
  }
  size_t n = parts->n;
  poe_status status = poei_parts_add(parts, machine, mix->visible, index, 1.0, error);
  for (size_t i = n; status == POE_OK && i-- > 0;) {
    if (mix->taken[i]) {
      poei_parts_remove(parts, i);
    }
  }
  parts->constant += constant;
  poei_free(index);
  return status;
}

/* Looks for a machine that others join, and puts them together. */
static poe_status fuse(poei_parts *parts, blend *mix, ingredient *in, unsigned char *fits, bool *fused,
                       poe_error *error) {
  poe_status status = POE_OK;
  size_t n = parts->n;
  for (size_t i = 0; i < n && status == POE_OK; i++) {
    bool fit = false;
    status = ingredient_read(&parts->item[i], &in[i], &fit, error);
    fits[i] = fit;
  }
  for (size_t seed = 0; seed < n && status == POE_OK && !*fused; seed++) {
    double constant = 0.0;
    poe_expert *machine = NULL;
    if (!fits[seed] || in[seed].m == NULL) {
      continue;
    }
    choose(mix, parts, in, fits, seed);
    if (mix->parts >= 2) {
      status = mix_machine(mix, parts, in, &constant, &machine, error);
    }
    if (status == POE_OK && machine != NULL) {
      *fused = true;
      status = replace(parts, mix, machine, constant, error);
    }
    poe_expert_release(machine);
  }
  return status;
}

/* ---- the rule ---- */

/* A product in which a machine over its visible units has the exponent 1, and company. */
bool poei_rule_rbm_applies(const poe_expert *expert) {
  if (poei_node_kind_of(expert) != POEI_NODE_product || poei_node_child_count(expert) < 2) {
    return false;
  }
  for (size_t i = 0; i < poei_node_child_count(expert); i++) {
    const poe_expert *inside;
    poei_scope_of(poei_node_child(expert, i), &inside);
    if (free_energy(inside) != NULL && poei_product_exponent(expert, i) == 1.0) {
      return true;
    }
  }
  return false;
}

poe_status poei_rule_rbm_rewrite(const poe_expert *expert, const poei_plan_options *options, poe_expert **out,
                                 char **what, poe_error *error) {
  (void)options;
  poei_parts parts;
  poe_status status = poei_parts_open(expert, POEI_OPEN_SURFACE, &parts, NULL, error);
  if (status != POE_OK) {
    return status;
  }
  size_t n = parts.n;
  blend mix = {.dim = parts.dim};
  mix.position = poei_alloc(parts.dim, sizeof *mix.position);
  mix.taken = poei_calloc(n, 1);
  ingredient *in = poei_calloc(n, sizeof *in);
  unsigned char *fits = poei_calloc(n, 1);
  bool fused = false;
  if (mix.position == NULL || mix.taken == NULL || in == NULL || fits == NULL) {
    status = memory(error);
  } else {
    status = fuse(&parts, &mix, in, fits, &fused, error);
  }
  if (status == POE_OK && fused) {
    status = poei_parts_close(&parts, out, error);
  }
  if (status == POE_OK && fused) {
    *what = poei_format("%zu factors became one rbm of %zu visible and %zu hidden units", mix.parts, mix.visible,
                        mix.hidden);
  }
  for (size_t i = 0; in != NULL && i < n; i++) {
    ingredient_free(&in[i]);
  }
  poei_free(in);
  poei_free(fits);
  poei_free(mix.position);
  poei_free(mix.taken);
  poei_parts_free(&parts);
  return status;
}
