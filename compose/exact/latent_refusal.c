/* Why a target with latent coordinates has no values, and perhaps no joint density that could be drawn instead
 * (latent.h), in the words of whoever wrote it: which marginal, at which beta and exponent, and what would do. */
#include <math.h>
#include <stdio.h>

#include "compose/exact/latent.h"
#include "compose/exact/summed.h"
#include "compose/exact/tree.h"

enum { MOST_COPIES = 64 };

/* Why discrete latent coordinates are not eliminated at every point; empty where they have no such way at all. */
static void no_elimination(const poe_expert *marginal, size_t byte_limit, poe_error *why) {
  poei_plan_options options;
  poe_expert *value = NULL;
  poei_plan_options_default(&options);
  options.byte_limit = byte_limit > 0 ? byte_limit : options.byte_limit;
  poe_status status =
      poei_summed_over(poei_node_child(marginal, 0), poei_marginal_count(marginal), poei_marginal_latent(marginal),
                       poei_marginal_beta(marginal), &options, &value, why);
  if (status == POE_OK) { /* it was not tried: the tree is as written */
    why->message[0] = '\0';
  }
  poe_expert_release(value);
}

/* What is in the way of values. *hint: what would do, empty for nothing in particular. */
static const char *obstacle(const poe_expert *marginal, size_t byte_limit, char *text, size_t size, poe_error *hint) {
  const poe_support *support = poe_expert_traits(poei_node_child(marginal, 0))->support;
  size_t n = poei_marginal_count(marginal), continuous = 0;
  double states = 1.0;
  for (size_t k = 0; k < n; k++) {
    const poe_support *own = &support[poei_marginal_latent(marginal)[k]];
    size_t values = poei_support_states(own);
    continuous += own->kind != POE_DISCRETE;
    states *= own->kind != POE_DISCRETE ? 1.0 : values == 0 ? INFINITY : (double)values;
  }
  if (continuous == 0 && isfinite(states)) {
    no_elimination(marginal, byte_limit, hint);
  }
  if (hint->message[0] != '\0') {
    snprintf(text, size, "its discrete latent coordinates have %.3g joint values, and %s", states, hint->message);
  } else if (!poei_expert_can(poei_node_child(marginal, 0), POE_CAN_EVAL)) {
    snprintf(text, size, "what is in it cannot be evaluated");
  } else if (continuous > 2) {
    snprintf(text, size,
             "it is over %zu continuous latent coordinates that hang together, and values are for 2 at most",
             continuous);
  } else {
    snprintf(text, size, "its discrete latent coordinates have %.3g joint values, and values are for %d at most%s",
             states, continuous > 0 ? POEI_MARGINAL_BRANCHES : POEI_MARGINAL_STATES,
             continuous > 0 ? " beside continuous ones" : "");
  }
  return text;
}

static bool is_whole(double copies) {
  return copies >= 1.0 && copies <= (double)MOST_COPIES && copies == floor(copies);
}

/* Says why the factor M^exponent cannot be drawn with copies of its latent coordinates either. */
static poe_status refuse(const poe_expert *marginal, double exponent, size_t byte_limit, poe_error *error) {
  double beta = poei_marginal_beta(marginal), copies = exponent / beta;
  const char *word = isinf(beta) ? "profile" : "marginal";
  char why[400], than[64];
  poe_error hint = {0};
  obstacle(marginal, byte_limit, why, sizeof why, &hint);
  snprintf(than, sizeof than, isinf(beta) ? "" : " at beta = %g", beta);
  if (is_whole(copies)) {
    poe_error_set(error, POE_E_CAPABILITY, "a `%s`%s cannot be evaluated: %s", word, than, why);
    poe_error_hint(error, "it can be drawn from (poe sample): its latent coordinates are drawn along");
  } else if (isinf(beta)) {
    poe_error_set(error, POE_E_CAPABILITY, "a `%s` cannot be evaluated: %s; and a maximum has no joint density to draw",
                  word, why);
    poe_error_hint(error, "maximise over fewer coordinates, or draw a `marginal` with a large beta");
  } else if (exponent < 0.0) {
    poe_error_set(error, POE_E_CAPABILITY,
                  "a `%s`%s that is divided out (its exponent is %g) cannot be evaluated: %s; and copies of its latent "
                  "coordinates stand for a factor only, not for a divisor",
                  word, than, exponent, why);
    poe_error_hint(error, "divide by what can be evaluated");
  } else if (copies > (double)MOST_COPIES && copies == floor(copies)) {
    poe_error_set(error, POE_E_CAPABILITY,
                  "a `%s`%s to the power %g cannot be evaluated: %s; and its %g copies are more "
                  "than the %d that can be drawn along",
                  word, than, exponent, why, copies, MOST_COPIES);
    poe_error_hint(error, "a larger beta takes fewer copies");
  } else {
    double whole = fmax(1.0, floor(copies + 0.5));
    poe_error_set(error, POE_E_CAPABILITY,
                  "a `%s`%s to the power %g cannot be evaluated: %s; and drawing its latent coordinates along takes "
                  "exponent / beta = %g copies of them, which is not a whole number",
                  word, than, exponent, why, copies);
    poe_error_hint(error, "beta = %g (or the power %g) makes it %g", exponent / whole, beta * whole, whole);
  }
  if (hint.hint[0] != '\0') {
    char other[POE_ERROR_HINT_SIZE];
    snprintf(other, sizeof other, "%s", error->hint);
    poe_error_hint(error, "%s; or %s", hint.hint, other);
  }
  return POE_E_CAPABILITY;
}

poe_status poei_latent_refuse(const poe_expert *target, size_t byte_limit, poe_error *error) {
  poei_parts parts;
  const poei_part *worst = NULL;
  poe_status status = poei_parts_open(target, POEI_OPEN_ALL, &parts, NULL, error);
  if (status != POE_OK) {
    return status;
  }
  for (size_t i = 0; i < parts.n; i++) { /* one that cannot even be drawn, else any */
    const poei_part *part = &parts.item[i];
    bool blind = poei_node_kind_of(part->expert) == POEI_NODE_marginal && poei_marginal_points(part->expert) == 0;
    if (blind && (worst == NULL || !is_whole(part->exponent / poei_marginal_beta(part->expert)))) {
      worst = part;
    }
  }
  if (worst != NULL) {
    status = refuse(worst->expert, worst->exponent, byte_limit, error);
  } else { /* a family without values, or a marginal deeper inside: in a mixture, say */
    poe_error_set(error, POE_E_CAPABILITY,
                  "the log-density of the target cannot be evaluated: something inside of it has no values");
    poe_error_hint(error,
                   "a marginal has values over one or two continuous latent coordinates, and over up to %d joint "
                   "values of discrete ones",
                   (int)POEI_MARGINAL_STATES);
    status = POE_E_CAPABILITY;
  }
  poei_parts_free(&parts);
  return status;
}
