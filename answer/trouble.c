/* Whose doing is it that a log-density is not finite? A walk down the tree as it was written, one point, every expert
 * on its own: the deepest that is NaN or +inf there, else the divisor that is 0 there. Named with the place of its
 * call.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "answer/session.h"
#include "compose/nodes/nodes.h"
#include "core/alloc.h"

/* What is looked for. */
typedef enum blame_sign {
  BLAME_BAD,     /* NaN, or +inf           */
  BLAME_ZERO,    /* -inf: the density is 0 */
  BLAME_GRADIENT /* a gradient not finite  */
} blame_sign;

typedef struct blame {
  poei_session session; /* one thread */
  blame_sign sign;
  const poe_expert *culprit;
} blame;

/* ---- one expert at one point ---- */

/* Does it show the sign at x? False, too, when it cannot be evaluated; *known says which. */
static bool blame_shows(const blame *job, const poe_expert *expert, const double *x, bool *known) {
  size_t d = poe_expert_traits(expert)->dim;
  unsigned can = poe_expert_traits(expert)->capabilities;
  bool gradient = job->sign == BLAME_GRADIENT && (can & POE_CAN_GRADIENT) != 0;
  double logp = 0.0, *grad = gradient ? poei_alloc(d, sizeof *grad) : NULL;
  poe_error ignored;
  *known = (can & POE_CAN_EVAL) != 0 && (!gradient || grad != NULL) &&
           poei_evaluate_rows(&job->session, expert, (poe_rows){1, d, d, x}, &logp, grad, &ignored) == POE_OK;
  bool shows = job->sign == BLAME_ZERO ? logp == -INFINITY : isnan(logp) || logp == INFINITY;
  for (size_t j = 0; gradient && grad != NULL && j < d; j++) {
    shows = shows || (logp != -INFINITY && !isfinite(grad[j]));
  }
  poei_free(grad);
  return *known && shows;
}

/* ---- the points of children ---- */

/* How many points a child is evaluated at. */
static size_t blame_copies(const poe_expert *expert) {
  return poei_node_kind_of(expert) == POEI_NODE_plate ? poei_plate_count(expert) : 1;
}

static void blame_given(const poe_expert *expert, size_t d, const double *x, double *y) {
  for (size_t j = 0, free = 0; j < d; j++) {
    bool clamped = false;
    for (size_t k = 0; k < poei_given_count(expert); k++) {
      if (poei_given_index(expert)[k] == j) {
        clamped = true;
        y[j] = poei_given_value(expert)[k];
      }
    }
    if (!clamped) {
      y[j] = x[free++];
    }
  }
}

static poe_status blame_through(const blame *job, const poe_expert *expert, size_t d, const double *x, double *y) {
  const poe_map *map = poei_through_map(expert);
  size_t in = poe_map_ops_of(map)->in_dim(poe_map_self(map)), rest = poe_expert_traits(expert)->dim - in;
  poe_error ignored;
  memcpy(y + d - rest, x + in, rest * sizeof *y);
  return poei_apply_rows(&job->session, map, (poe_rows){1, in, in, x}, y, &ignored);
}

/* y[d] = x[index[d]]; index NULL: all of x. */
static void blame_gather(size_t d, const size_t *index, const double *x, double *y) {
  for (size_t j = 0; j < d; j++) {
    y[j] = x[index == NULL ? j : index[j]];
  }
}

/* y[d] of copy m of child i from x. */
static poe_status blame_point(const blame *job, const poe_expert *expert, size_t i, size_t m, size_t d, const double *x,
                              double *y) {
  switch (poei_node_kind_of(expert)) {
  case POEI_NODE_product:
    blame_gather(d, poei_product_index(expert, i), x, y);
    return POE_OK;
  case POEI_NODE_slice:
    blame_gather(d, poei_slice_index(expert), x, y);
    return POE_OK;
  case POEI_NODE_plate:
    blame_gather(d, poei_plate_index(expert) + m * d, x, y);
    return POE_OK;
  case POEI_NODE_given:
    blame_given(expert, d, x, y);
    return POE_OK;
  case POEI_NODE_through:
    return blame_through(job, expert, d, x, y);
  case POEI_NODE_transform:
    poei_transform_constrain(expert, 1, x, d, y, d);
    return POE_OK;
  default: /* a child over more coordinates has a point of its own that is not known here */
    if (d != poe_expert_traits(expert)->dim) {
      return POE_E_CAPABILITY;
    }
    blame_gather(d, NULL, x, y);
    return POE_OK;
  }
}

/* ---- the walk ---- */

static bool blame_visit(blame *job, const poe_expert *expert, const double *x);

static bool blame_child(blame *job, const poe_expert *expert, size_t i, const double *x) {
  const poe_expert *child = poei_node_child(expert, i);
  size_t d = poe_expert_traits(child)->dim;
  double *y = poei_alloc(d, sizeof *y);
  bool found = false;
  for (size_t m = 0; y != NULL && !found && m < blame_copies(expert); m++) {
    found = blame_point(job, expert, i, m, d, x, y) == POE_OK && blame_visit(job, child, y);
  }
  poei_free(y);
  return found;
}

/* The divisor of a product that is 0 at x. */
static bool blame_divisor(blame *job, const poe_expert *product, const double *x) {
  bool found = false;
  job->sign = BLAME_ZERO;
  for (size_t i = 0; !found && i < poei_node_child_count(product); i++) {
    found = poei_product_exponent(product, i) < 0.0 && blame_child(job, product, i, x);
  }
  job->sign = found ? BLAME_ZERO : BLAME_BAD;
  return found;
}

/* True when the culprit is this expert or below it. What cannot be evaluated (a mixture whose constants are not known
 * yet) is looked into all the same. */
static bool blame_visit(blame *job, const poe_expert *expert, const double *x) {
  bool known, shows = blame_shows(job, expert, x, &known), product = poei_node_kind_of(expert) == POEI_NODE_product;
  if (known && !shows) {
    return false;
  }
  for (size_t i = 0; i < poei_node_child_count(expert); i++) {
    bool counts = job->sign != BLAME_ZERO || !product || poei_product_exponent(expert, i) > 0.0;
    if (counts && blame_child(job, expert, i, x)) {
      return true;
    }
  }
  if (job->sign == BLAME_BAD && product && blame_divisor(job, expert, x)) {
    return true;
  }
  job->culprit = shows ? expert : NULL;
  return shows;
}

/* ---- words ---- */

/* A marginal or profile whose search along a latent coordinate failed. */
static void blame_latent(const poe_expert *culprit, poe_error *error) {
  bool maximised = isinf(poei_marginal_beta(culprit));
  poe_error before = *error;
  poe_error_set(error, before.status, "%s: %s over its %zu latent coordinate%s", before.message,
                maximised ? "a `profile` has no largest value" : "a `marginal` has no integral that could be found",
                poei_marginal_count(culprit), poei_marginal_count(culprit) == 1 ? "" : "s");
  poe_error_hint(error, "multiply what is in it by an expert that holds the latent coordinate, such as a gaussian");
}

static void blame_tell(const blame *job, bool zero, poe_error *error) {
  poe_error place = {0};
  const char *name = NULL, *kind = poe_expert_ops_of(job->culprit)->kind;
  bool origin = poei_program_origin(job->session.program, job->culprit, &name, &place);
  if (poei_node_kind_of(job->culprit) == POEI_NODE_marginal && poei_marginal_integrates(job->culprit)) {
    blame_latent(job->culprit, error);
  }
  if (!origin && poei_node_kind_of(job->culprit) != POEI_NODE_LEAF) {
    return; /* a sum that overflowed: the whole is to blame */
  }
  poe_error before = *error;
  char who[160];
  snprintf(who, sizeof who, name != NULL ? "'%.120s'" : "`%.120s`", name != NULL ? name : kind);
  if (zero || job->sign != BLAME_ZERO) {
    poe_error_set(error, before.status, "%s; it comes from %s", before.message, who);
  } else {
    poe_error_set(error, before.status, "%s; it comes from dividing by %s, which is 0 there", before.message, who);
  }
  poe_error_hint(error, "%s", before.hint);
  if (origin) {
    poe_error_at(error, place.file, place.line, place.column, place.span);
  }
}

void poei_blame(const poei_session *session, const poe_expert *tree, const double *x, bool gradient, poe_error *error) {
  static const blame_sign order[] = {BLAME_BAD, BLAME_ZERO, BLAME_GRADIENT};
  blame job = {.session = *session};
  job.session.pool = NULL;
  for (size_t k = 0; error != NULL && k < (gradient ? 3 : 2); k++) {
    job.sign = order[k];
    if (blame_visit(&job, tree, x) && job.culprit != NULL) {
      blame_tell(&job, order[k] == BLAME_ZERO, error);
      return;
    }
  }
}

/* ---- runs ---- */

enum { BLAME_SHOWN = 4 };

/* "x = 0.31, y = -2", or the numbers alone where there are no names: where the coordinates of the plan were. */
static void blame_where(const poei_plan *plan, const double *x, poe_error *error) {
  const poei_plan *whole = plan;
  while (whole->whole != NULL) {
    whole = whole->whole;
  }
  bool named = whole->names.text != NULL;
  char text[POE_ERROR_HINT_SIZE] = "", name[POEI_NAME_SIZE];
  int used = 0;
  for (size_t j = 0; j < plan->dim && j < BLAME_SHOWN && used >= 0 && (size_t)used < sizeof text; j++) {
    poei_plan_coordinate_text(plan, j, name, sizeof name);
    used += snprintf(text + used, sizeof text - (size_t)used, "%s%s%s%.6g", j > 0 ? ", " : "", named ? name : "",
                     named ? " = " : "", x[j]);
  }
  poe_error_hint(error, "it was met at %s%s", text, plan->dim > BLAME_SHOWN ? ", ..." : "");
}

/* "coordinate 3" in a message of the sampler's own becomes the coordinate's name. */
static void blame_rename(const poei_plan *plan, size_t coordinate, poe_error *error) {
  char number[64], name[POEI_NAME_SIZE];
  snprintf(number, sizeof number, "coordinate %zu", coordinate);
  poe_error before = *error;
  char *at = strstr(before.message, number);
  if (at != NULL) {
    poei_plan_coordinate_text(plan, coordinate, name, sizeof name);
    *at = '\0';
    poe_error_set(error, before.status, "%s%s%s", before.message, name, at + strlen(number));
    poe_error_hint(error, "%s", before.hint);
  }
}

void poei_blame_run(const poei_session *session, const poei_plan *plan, const poe_expert *smooth,
                    const poei_trouble *trouble, bool gradient, poe_error *error) {
  if (error == NULL) {
    return;
  }
  if (trouble->has_coordinate) {
    blame_rename(plan, trouble->coordinate, error);
  }
  double *x = trouble->has_point ? poei_alloc(plan->dim, sizeof *x) : NULL;
  if (x != NULL) {
    poei_transform_constrain(smooth, 1, trouble->point, plan->dim, x, plan->dim);
    if (error->hint[0] == '\0') {
      blame_where(plan, x, error);
    }
    poei_blame(session, plan->written, x, gradient, error);
  }
  poei_free(x);
}
