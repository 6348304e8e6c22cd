/* A mixture over the joint values k of the discrete coordinates (branches.h):
 *
 *   Z = sum_k Z_k,   Z_k = int p(x, k) dx,   p(k) = Z_k / Z,   x | k ~ p(., k) / Z_k.
 *
 * Each component is the target with those values given, rewritten by the same rules as any target: where factors are
 * quadratic in x for every k, it becomes one Gaussian. Values are those of the target itself.
 */
#include "compose/exact/branches.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "compose/exact/choose_parts.h"
#include "compose/exact/routes.h"
#include "compose/exact/rules.h"
#include "core/alloc.h"
#include "core/numerics.h"
#include "experts/closed.h"
#include "experts/form.h"

enum {
  MOST_PLANS = 64,        /* joint values that have plans of their own               */
  MOST_VALUES = 4096,     /* joint values of the discrete coordinates                */
  MOST_NUMBERS = 1 << 25, /* of all components' covariances, if they were dense      */
  DENSE_DIM = 300         /* beyond it components are taken for sparse: so many numbers a coordinate */
};

typedef struct branches {
  poe_expert *target;
  size_t n; /* possible values                                     */
  size_t n_discrete, n_continuous;
  size_t *discrete;    /* [n_discrete] ascending                              */
  size_t *continuous;  /* [n_continuous] ascending                            */
  double *value;       /* [n, n_discrete]                                     */
  poe_expert **part;   /* [n] over the continuous coordinates                 */
  double *probability; /* [n]                                                 */
  double log_z;
} branches;

static void branches_destroy(void *state) {
  branches *self = state;
  for (size_t k = 0; k < self->n; k++) {
    poe_expert_release(self->part[k]);
  }
  poe_expert_release(self->target);
  poei_free(self->discrete);
  poei_free(self->continuous);
  poei_free(self->value);
  poei_free(self->part);
  poei_free(self->probability);
  poei_free(self);
}

static void branches_traits(const void *state, poe_traits *traits) {
  *traits = *poe_expert_traits(((const branches *)state)->target);
  traits->capabilities &= POE_CAN_EVAL | POE_CAN_GRADIENT;
  traits->capabilities |= POE_CAN_SAMPLE | POE_CAN_LOG_Z;
}

static size_t branches_scratch(const void *state, unsigned want, size_t n) {
  const branches *self = state;
  if ((want & POE_WANT_SAMPLE) == 0) {
    return poe_expert_scratch(self->target, want, n);
  }
  size_t most = 0;
  for (size_t k = 0; k < self->n; k++) {
    size_t own = poe_expert_scratch(self->part[k], POE_WANT_SAMPLE, n);
    most = own > most ? own : most;
  }
  return most + 2 * poe_scratch_need(n, sizeof(size_t)) + poe_scratch_need(n, sizeof(poe_rng)) +
         poe_scratch_need(n * self->n_continuous, sizeof(double));
}

static poe_status branches_eval_add(const void *state, poe_rows rows, poe_weights weights, poe_accum out,
                                    poe_scratch *scratch, poe_error *error) {
  return poe_expert_eval_add(((const branches *)state)->target, rows, weights, out, scratch, error);
}

/* Draws the rows which[i] == which[first] of component `k`; they are marked SIZE_MAX. row[n], own[n], x[n, continuous]:
 * room. */
static poe_status draw_part(const branches *self, size_t k, size_t first, size_t *which, size_t *row, poe_rng *own,
                            double *x, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch, poe_error *error) {
  size_t count = 0, d = self->n_continuous;
  for (size_t i = first; i < rows.n; i++) {
    if (which[i] == k) {
      which[i] = SIZE_MAX;
      row[count] = i;
      own[count++] = poe_rng_child(at[i], 1);
    }
  }
  poe_status status = poe_expert_sample(self->part[k], (poe_rows_out){count, d, d, x}, own, scratch, error);
  for (size_t i = 0; i < count && status == POE_OK; i++) {
    double *to = &rows.x[row[i] * rows.ld];
    for (size_t j = 0; j < d; j++) {
      to[self->continuous[j]] = x[i * d + j];
    }
    for (size_t j = 0; j < self->n_discrete; j++) {
      to[self->discrete[j]] = self->value[k * self->n_discrete + j];
    }
  }
  return status;
}

static poe_status branches_sample(const void *state, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                                  poe_error *error) {
  const branches *self = state;
  size_t mark = poe_scratch_mark(scratch);
  size_t *which = poe_scratch_bytes(scratch, rows.n * sizeof *which);
  size_t *row = poe_scratch_bytes(scratch, rows.n * sizeof *row);
  poe_rng *own = poe_scratch_bytes(scratch, rows.n * sizeof *own);
  double *x = poe_scratch_doubles(scratch, rows.n * self->n_continuous);
  poe_status status = POE_OK;
  for (size_t i = 0; i < rows.n; i++) {
    poe_stream stream = poe_stream_open(poe_rng_child(at[i], 0));
    which[i] = poe_stream_categorical(&stream, self->probability, self->n);
  }
  for (size_t i = 0; i < rows.n && status == POE_OK; i++) {
    if (which[i] != SIZE_MAX) {
      status = draw_part(self, which[i], i, which, row, own, x, rows, at, scratch, error);
    }
  }
  poe_scratch_release(scratch, mark);
  return status;
}

static poe_status branches_log_z(const void *state, double *log_z, poe_error *error) {
  (void)error;
  *log_z = ((const branches *)state)->log_z;
  return POE_OK;
}

static const poe_param no_params[] = {{0}};

static const poe_expert_ops branches_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "branches",
    .doc = "a density that is closed for every value of its discrete coordinates",
    .params = no_params,
    .create = poei_node_create,
    .destroy = branches_destroy,
    .traits = branches_traits,
    .scratch = branches_scratch,
    .eval_add = branches_eval_add,
    .sample = branches_sample,
    .log_z = branches_log_z,
};

bool poei_branches_is(const poe_expert *expert) {
  return poe_expert_ops_of(expert) == &branches_ops;
}

void poei_branches_look(const poe_expert *expert, size_t *n, const double **p, size_t *discrete, const size_t **index,
                        const double **value) {
  const branches *self = poe_expert_self(expert);
  *n = self->n;
  *p = self->probability;
  *discrete = self->n_discrete;
  *index = self->discrete;
  *value = self->value;
}

/* ---- making ---- */

/* Sorts the coordinates. Returns the number of joint values, 0: this is no such target. */
static size_t sort_coordinates(branches *self) {
  const poe_traits *traits = poe_expert_traits(self->target);
  size_t values = 1;
  for (size_t c = 0; c < traits->dim; c++) {
    if (traits->support[c].kind != POE_DISCRETE) {
      self->continuous[self->n_continuous++] = c;
      continue;
    }
    size_t own = poei_support_states(&traits->support[c]);
    self->discrete[self->n_discrete++] = c;
    if (own == 0 || !poei_mul_size(values, own, &values) || values > MOST_VALUES) {
      return 0;
    }
  }
  size_t d = self->n_continuous, each = d <= DENSE_DIM ? d * d : d * DENSE_DIM;
  return self->n_discrete > 0 && d > 0 && each <= MOST_NUMBERS / values ? values : 0;
}

/* The k-th joint value, the first coordinate slowest. */
static void joint_value(const branches *self, size_t k, double *value) {
  const poe_support *support = poe_expert_traits(self->target)->support;
  for (size_t j = self->n_discrete; j-- > 0;) {
    const poe_support *own = &support[self->discrete[j]];
    size_t states = poei_support_states(own);
    value[j] = own->low + (double)(k % states);
    k /= states;
  }
}

/* Is a factor over discrete coordinates alone 0 at row[dim]? Then it does not matter what the others say. */
static poe_status is_impossible(const poei_parts *parts, const double *row, double *x, bool *impossible,
                                poe_error *error) {
  poe_status status = POE_OK;
  *impossible = false;
  for (size_t i = 0; i < parts->n && status == POE_OK && !*impossible; i++) {
    const poei_part *part = &parts->item[i];
    const poe_support *support = poe_expert_traits(part->expert)->support;
    bool discrete = part->exponent > 0.0;
    for (size_t j = 0; j < part->n && discrete; j++) {
      discrete = support[j].kind == POE_DISCRETE;
      x[j] = row[part->index[j]];
    }
    poe_scratch *scratch = discrete ? poe_scratch_create(poe_expert_scratch(part->expert, POE_WANT_LOGP, 1)) : NULL;
    double value = 0.0, one = 1.0;
    if (discrete && scratch == NULL) {
      status = poe_error_set(error, POE_E_MEMORY, "out of memory");
    } else if (discrete) {
      status = poe_expert_eval_add(part->expert, (poe_rows){1, part->n, part->n, x}, (poe_weights){&one, 0},
                                   (poe_accum){.logp = &value}, scratch, error);
      *impossible = value == -INFINITY;
    }
    poe_scratch_destroy(scratch);
  }
  return status;
}

/* The names of the continuous coordinates. */
typedef struct subset {
  const poei_names *names;
  const size_t *index;
} subset;

static const char *subset_text(const void *context, size_t coordinate, char *text, size_t size) {
  const subset *own = context;
  return poei_names_text(own->names, own->index[coordinate], text, size);
}

/* POE_E_IMPROPER with the values for which it is so, when the component has no finite integral. */
static poe_status check_part(const branches *self, const poe_expert *part, const double *value,
                             const poei_plan_options *options, poe_error *error) {
  subset own = {&options->names, self->continuous};
  poei_names names = {subset_text, &own};
  poe_error why = {0};
  poe_status status = poei_check_proper(part, &names, &why);
  if (status == POE_E_MEMORY) {
    *error = why;
    return status;
  }
  if (status != POE_E_IMPROPER) {
    return POE_OK;
  }
  char text[POEI_NAME_SIZE], where[2 * POEI_NAME_SIZE] = "";
  size_t used = 0;
  for (size_t j = 0; j < self->n_discrete && used < sizeof where - 1; j++) {
    poei_names_text(&options->names, self->discrete[j], text, sizeof text);
    int more = snprintf(where + used, sizeof where - used, "%s%s = %g", j > 0 ? ", " : "", text, value[j]);
    used += more > 0 ? (size_t)more : 0;
  }
  *error = why;
  poe_error_set(error, POE_E_IMPROPER, "with %s %s", where, why.message);
  return POE_E_IMPROPER;
}

/* Takes in one joint value; *closed false: no component for it. */
static poe_status add_value(branches *self, const double *value, const poei_plan_options *options, bool *closed,
                            poe_error *error) {
  poe_expert *given = NULL, *part = NULL;
  poei_fired fired = {0};
  double log_z;
  poe_status status = poei_given_create(self->target, self->n_discrete, self->discrete, value, &given, error);
  if (status == POE_E_EMPTY) {
    return POE_OK;
  }
  if (status == POE_OK) {
    status = poei_rewrite(given, options, NULL, &fired, &part, error);
  }
  poei_fired_free(&fired);
  poe_expert_release(given);
  if (status != POE_OK) {
    return status;
  }
  *closed = poei_expert_can(part, POE_CAN_SAMPLE) && poei_expert_known_log_z(part, &log_z) &&
            poe_expert_traits(part)->offset_error == 0.0;
  if (!*closed || log_z == -INFINITY) {
    status = *closed ? POE_OK : check_part(self, part, value, options, error);
    poe_expert_release(part);
    return status;
  }
  self->probability[self->n] = log_z;
  self->part[self->n++] = part;
  return POE_OK;
}

/* Turns the log integrals into probabilities. */
static poe_status weigh(branches *self, poe_error *error) {
  self->log_z = self->n > 0 ? poei_log_sum_exp(self->probability, self->n, 1) : -INFINITY;
  if (self->log_z == -INFINITY) {
    return poe_error_set(error, POE_E_EMPTY, "every value of the discrete coordinates has probability 0");
  }
  if (!isfinite(self->log_z)) {
    return poe_error_set(error, POE_E_IMPROPER, "log Z of the target is %g", self->log_z);
  }
  for (size_t k = 0; k < self->n; k++) {
    self->probability[k] = exp(self->probability[k] - self->log_z);
  }
  return POE_OK;
}

static poe_status fill(branches *self, size_t values, const poei_plan_options *options, bool *closed,
                       poe_error *error) {
  size_t dim = poe_expert_traits(self->target)->dim, m = self->n_discrete;
  double *row = poei_calloc(dim, 2 * sizeof *row);
  poei_parts parts = {0};
  poe_status status = row == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                                  : poei_parts_open(self->target, POEI_OPEN_ALL, &parts, NULL, error);
  *closed = true;
  for (size_t k = 0; k < values && status == POE_OK && *closed; k++) {
    double *value = &self->value[self->n * m];
    bool impossible = false;
    joint_value(self, k, value);
    for (size_t j = 0; j < m; j++) {
      row[self->discrete[j]] = value[j];
    }
    status = is_impossible(&parts, row, row + dim, &impossible, error);
    if (status == POE_OK && !impossible) {
      status = add_value(self, value, options, closed, error);
    }
  }
  poei_parts_free(&parts);
  poei_free(row);
  return status == POE_OK && *closed ? weigh(self, error) : status;
}

/* A state with its coordinates sorted and room for *values components; *values 0: the target is not of this kind. */
static poe_status state_open(const poe_expert *target, branches **out, size_t *values, poe_error *error) {
  size_t dim = poe_expert_traits(target)->dim;
  branches *self = poei_calloc(1, sizeof *self);
  if (self == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  self->target = poe_expert_retain(target);
  self->discrete = poei_alloc(dim, sizeof *self->discrete);
  self->continuous = poei_alloc(dim, sizeof *self->continuous);
  if (self->discrete != NULL && self->continuous != NULL) {
    *values = sort_coordinates(self);
    self->value = poei_alloc(*values * self->n_discrete, sizeof *self->value);
    self->part = poei_calloc(*values, sizeof(poe_expert *));
    self->probability = poei_alloc(*values, sizeof *self->probability);
  }
  if (self->value == NULL || self->part == NULL || self->probability == NULL) {
    branches_destroy(self);
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  *out = self;
  return POE_OK;
}

/* *out stays NULL when the target is not of this kind; *values: how many joint values are possible. */
static poe_status create(const poe_expert *target, const poei_plan_options *options, poe_expert **out, size_t *values,
                         poe_error *error) {
  branches *self = NULL;
  size_t count = 0;
  bool closed = false;
  poe_status status = state_open(target, &self, &count, error);
  if (status == POE_OK && count > 0) {
    status = fill(self, count, options, &closed, error);
  }
  if (status != POE_OK || !closed) {
    if (self != NULL) {
      branches_destroy(self);
    }
    return status;
  }
  *values = self->n;
  return poei_node_wrap(&branches_ops, self, out, error);
}

/* ---- each value a target of its own ---- */

/* One on value[n_discrete], 0 elsewhere. */
static poe_status point_create(const branches *self, const double *value, poe_expert **out, poe_error *error) {
  const poe_support *support = poe_expert_traits(self->target)->support;
  size_t n = self->n_discrete, at = 0, *count = poei_alloc(n, sizeof *count);
  double *low = poei_alloc(n, sizeof *low);
  poe_form form = {0};
  poe_status status = count == NULL || low == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  for (size_t j = 0; j < n && status == POE_OK; j++) {
    count[j] = poei_support_states(&support[self->discrete[j]]);
    low[j] = support[self->discrete[j]].low;
    at = at * count[j] + (size_t)(value[j] - low[j]);
  }
  if (status == POE_OK) {
    status = poei_form_table(&form, n, count, low, error);
  }
  for (size_t k = 0; status == POE_OK && k < poei_form_states(&form); k++) {
    form.log_value[k] = k == at ? 0.0 : -INFINITY;
  }
  if (status == POE_OK) {
    status = poei_closed_create(&form, out, error);
  }
  poe_form_release(&form);
  poei_free(count);
  poei_free(low);
  return status;
}

/* The target where its discrete coordinates have value[]; *out stays NULL where it is 0. */
static poe_status value_create(const branches *self, const double *value, poe_expert **out, poe_error *error) {
  poei_parts parts = {.dim = poe_expert_traits(self->target)->dim};
  poe_expert *given = NULL, *point = NULL;
  poe_status status = poei_given_create(self->target, self->n_discrete, self->discrete, value, &given, error);
  if (status == POE_E_EMPTY) {
    return POE_OK;
  }
  if (status == POE_OK) {
    status = point_create(self, value, &point, error);
  }
  if (status == POE_OK) {
    status = poei_parts_add(&parts, given, self->n_continuous, self->continuous, 1.0, error);
  }
  if (status == POE_OK) {
    status = poei_parts_add(&parts, point, self->n_discrete, self->discrete, 1.0, error);
  }
  if (status == POE_OK) {
    status = poei_parts_close(&parts, out, error);
  }
  poei_parts_free(&parts);
  poe_expert_release(given);
  poe_expert_release(point);
  return status;
}

/* Fills part[] with the targets of the possible values; probability[] (logs) with 0. */
static poe_status list_values(branches *self, size_t values, poe_error *error) {
  size_t dim = poe_expert_traits(self->target)->dim, m = self->n_discrete;
  double *row = poei_calloc(dim, 2 * sizeof *row);
  poei_parts parts = {0};
  poe_status status = row == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                                  : poei_parts_open(self->target, POEI_OPEN_ALL, &parts, NULL, error);
  for (size_t k = 0; k < values && status == POE_OK; k++) {
    bool impossible = false;
    joint_value(self, k, self->value);
    for (size_t j = 0; j < m; j++) {
      row[self->discrete[j]] = self->value[j];
    }
    status = is_impossible(&parts, row, row + dim, &impossible, error);
    if (status == POE_OK && !impossible) {
      self->probability[self->n] = 0.0;
      status = value_create(self, self->value, &self->part[self->n], error);
      self->n += self->part[self->n] != NULL;
    }
  }
  poei_parts_free(&parts);
  poei_free(row);
  return status;
}

poe_status poei_branches_mixture(const poe_expert *target, poe_expert **out, poe_error *error) {
  branches *self = NULL;
  size_t values = 0;
  *out = NULL;
  poe_status status = state_open(target, &self, &values, error);
  if (status == POE_OK && values > 0 && values <= MOST_PLANS && self->n_continuous > 2) {
    status = list_values(self, values, error);
    if (status == POE_OK && self->n > 0) {
      status = poei_mixture_create(self->n, (const poe_expert *const *)self->part, self->probability, out, error);
    }
  }
  if (self != NULL) {
    branches_destroy(self);
  }
  return status;
}

/* ---- the route ---- */

poe_status poei_route_branches(const poei_chooser *choose, bool *done, poe_error *error) {
  poei_plan *plan = choose->plan;
  poe_expert *all = NULL;
  size_t values = 0;
  double log_z = 0.0;
  if (choose->options->no_rewrite || poe_expert_traits(plan->expert)->offset_error != 0.0) {
    return POE_OK;
  }
  poe_status status = create(plan->expert, choose->options, &all, &values, error);
  if (status != POE_OK || all == NULL) {
    return status;
  }
  *done = true;
  status = poe_expert_log_z(all, &log_z, error);
  if (!plan->has_log_z) {
    poei_choose_log_z(plan, POEI_METHOD_CLOSED, log_z, 0.0);
  }
  plan->method = POEI_METHOD_CLOSED;
  plan->exact = plan->log_z_error == 0.0;
  plan->sampler = all;
  return status != POE_OK
             ? status
             : poei_choose_reason(plan,
                                  poei_format("a mixture with one closed component for each of %zu possible value%s of "
                                              "the discrete coordinates",
                                              values, values == 1 ? "" : "s"),
                                  error);
}
