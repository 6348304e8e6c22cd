/* Mixtures and `normalise`: who is divided by its integral, and by what.
 *
 *   components with equal heads (p(y|x) mixtures too), or normalised over all coordinates   as they are
 *   log Z known exactly                                                                      divided by it
 *   otherwise                                            a hole (NaN), which answer/ fills with an estimate or exactly
 *
 * Before a hole is left the component's integral must have a chance to be finite: a bare network over an unbounded
 * space is refused; where finiteness cannot be shown a warning says so. A Gaussian factor shows it for any number of
 * networks, whose energies grow at most linearly.
 */
#include <math.h>
#include <string.h>

#include "compose/language/program_parts.h"
#include "compose/nodes/nodes.h"
#include "experts/closed.h"

/* ---- what is known ---- */

static bool full_head(const poe_expert *expert) {
  const poe_traits *traits = poe_expert_traits(expert);
  for (size_t i = 0; traits->head && i < traits->dim; i++) {
    if (!traits->head[i]) {
      return false;
    }
  }
  return traits->head != NULL;
}

/* log Z of a closed form; NaN when there is none or it is too large. An integral that diverges is an error. */
static poe_status form_log_z(const poe_expert *expert, double *log_z, poe_error *error) {
  poe_form form = {0};
  *log_z = NAN;
  if (!(poe_expert_traits(expert)->capabilities & POE_CAN_FORM) || poe_expert_form(expert, &form, NULL) != POE_OK) {
    return POE_OK;
  }
  poe_status status = poei_form_log_z(&form, log_z, error);
  poe_form_release(&form);
  return status;
}

/* log Z when it is known exactly: by construction, by heads, or because the expert can tell. False only on an error. */
static bool known_log_z(poei_checker *checker, poei_term *term) {
  if (!isnan(term->log_z)) {
    return true;
  }
  if (full_head(term->expert)) {
    term->log_z = 0;
    return true;
  }
  poe_error error = {0};
  double log_z = NAN;
  bool tells = poe_expert_traits(term->expert)->capabilities & POE_CAN_LOG_Z;
  poe_status status = tells ? poe_expert_log_z(term->expert, &log_z, &error) : form_log_z(term->expert, &log_z, &error);
  if (status != POE_OK) {
    return poei_report_at(checker, term->syntax->span, &error);
  }
  if (log_z == -INFINITY || log_z == INFINITY) {
    return poei_report(&checker->reader, log_z < 0 ? POE_E_EMPTY : POE_E_IMPROPER, term->syntax->span, NULL,
                       log_z < 0 ? "this expert is 0 everywhere: it cannot be normalised"
                                 : "the integral of this expert diverges: it cannot be normalised");
  }
  term->log_z = log_z;
  return true;
}

/* ---- is the integral finite? ---- */

/* What one factor says about one unbounded coordinate. */
typedef enum witness {
  SILENT,   /* not over it                                                    */
  GAUSSIAN, /* integrates to a finite number, with Gaussian tails             */
  FINITE,   /* integrates to a finite number                                  */
  NETWORK,  /* grows or falls at most linearly: harmless beside a Gaussian    */
  UNKNOWN
} witness;

typedef struct survey {
  size_t coordinate;
  bool gaussian, finite, network, unknown;
} survey;

static size_t rank_of(const poei_term *term, size_t id) {
  for (size_t low = 0, high = term->dim; low < high;) {
    size_t middle = low + (high - low) / 2;
    if (term->coordinate[middle] == id) {
      return middle;
    }
    if (term->coordinate[middle] < id) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return SIZE_MAX;
}

/* Is a coordinate among those of the first subject? (linear_gaussian(y, x | ...) has tails in y only.) */
static bool in_first(const poei_leaf *leaf, size_t id) {
  const poei_part *part = &leaf->parts[0];
  for (size_t i = 0; !part->of && i < part->subject.dim; i++) {
    if (part->index[i] == id) {
      return true;
    }
  }
  return false;
}

/* What a family says about its own variables, restricted to their spaces or not. */
static witness ask_leaf(const poei_leaf *leaf, size_t id) {
  static const struct {
    const char *kind;
    witness says;
  } families[] = {
      {"gaussian", GAUSSIAN}, {"gmm", GAUSSIAN},   {"linear_gaussian", GAUSSIAN},
      {"student_t", FINITE},  {"laplace", FINITE}, {"uniform", FINITE},
      {"energy", NETWORK},    {"kde", GAUSSIAN},   {"exponential", FINITE},
      {"gamma", FINITE},      {"beta", FINITE},    {"lognormal", FINITE},
      {"von_mises", FINITE},  {"poisson", FINITE}, {"rbm", GAUSSIAN},
  };
  for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
    if (strcmp(families[i].kind, leaf->kind) == 0) {
      bool conditional = strcmp(leaf->kind, "linear_gaussian") == 0 && !in_first(leaf, id);
      return conditional ? SILENT : families[i].says; /* p(y | x) is bounded in x */
    }
  }
  return UNKNOWN;
}

static witness ask(const poei_term *term, size_t id, double exponent) {
  size_t rank = rank_of(term, id);
  if (rank == SIZE_MAX || exponent == 0) {
    return SILENT;
  }
  witness leaf = term->kind == POEI_TERM_LEAF ? ask_leaf(term->leaf, id) : UNKNOWN;
  if (leaf == NETWORK) {
    return NETWORK;
  }
  if (exponent < 0) {
    return UNKNOWN;
  }
  if (leaf == FINITE && exponent < 1 && strcmp(term->leaf->kind, "student_t") == 0) {
    return UNKNOWN; /* a power below 1 of heavy tails may diverge */
  }
  if (leaf != UNKNOWN) {
    return leaf;
  }
  const poe_traits *traits = term->expert ? poe_expert_traits(term->expert) : NULL;
  bool headed = traits && traits->head && traits->head[rank];
  bool normal = headed || (traits && (traits->capabilities & POE_CAN_LOG_Z)) || !isnan(term->log_z) ||
                term->kind == POEI_TERM_NORMALISE;
  return normal && exponent >= 1 ? FINITE : UNKNOWN;
}

static void survey_term(const poei_term *term, double exponent, survey *all);

/* A mixture whose components all have Gaussian tails, or such a density divided by its integral. */
static bool gaussian_parts(const poei_term *term, size_t coordinate) {
  if (term->kind != POEI_TERM_MIXTURE && term->kind != POEI_TERM_NORMALISE) {
    return false;
  }
  for (size_t i = 0; i < term->n; i++) {
    survey part = {.coordinate = coordinate};
    survey_term(term->children[i], 1, &part);
    if (!part.gaussian || part.unknown) {
      return false;
    }
  }
  return true;
}

/* Is the integral of a marginal's power finite where that of its child's is? With finitely many latent values it is at
 * any beta, and for a profile: max_h p <= (sum_h p^beta)^(1/beta) <= n^(1/beta) max_h p <= n^(1/beta) sum_h p. With
 * others the integral over them must be finite, too, and nothing be raised to a power. *latent: they are asked as well.
 */
static bool marginal_follows(const poei_term *term, double exponent, bool *latent) {
  const poei_term *child = term->children[0];
  *latent = false;
  if (!child->expert || exponent <= 0) {
    return false;
  }
  const poe_support *support = poe_expert_traits(child->expert)->support;
  for (size_t i = 0; i < term->n_given; i++) {
    const poe_support *own = &support[rank_of(child, term->given[i])];
    *latent = *latent || own->kind != POE_DISCRETE || isinf(own->low) || isinf(own->high);
  }
  return !*latent || (term->beta == 1 && exponent == 1);
}

/* A marginal says what its child says. */
static void survey_marginal(const poei_term *term, double exponent, bool latent, survey *all) {
  survey_term(term->children[0], exponent, all);
  for (size_t i = 0; i < term->n_given && latent; i++) {
    survey hidden = {.coordinate = term->given[i]};
    const poe_support *own =
        &poe_expert_traits(term->children[0]->expert)->support[rank_of(term->children[0], term->given[i])];
    if (isfinite(own->low) && isfinite(own->high)) {
      continue;
    }
    survey_term(term->children[0], exponent, &hidden);
    all->unknown = all->unknown || hidden.unknown || !(hidden.gaussian || hidden.finite);
  }
}

static void survey_term(const poei_term *term, double exponent, survey *all) {
  bool latent = false;
  if (term->kind == POEI_TERM_MARGINAL && isnan(term->log_z) && marginal_follows(term, exponent, &latent)) {
    survey_marginal(term, exponent, latent, all);
    return;
  }
  bool open = term->kind == POEI_TERM_PRODUCT || term->kind == POEI_TERM_UNNORMALISED || term->kind == POEI_TERM_GIVEN;
  if (open && isnan(term->log_z)) {
    for (size_t i = 0; i < term->n; i++) {
      survey_term(term->children[i], exponent * (term->kind == POEI_TERM_PRODUCT ? term->factor[i] : 1), all);
    }
    return;
  }
  if (term->kind == POEI_TERM_PLATE) { /* each of its copies says what the first one says */
    const poei_term *child = term->children[0];
    for (size_t i = 0; i < term->count * child->dim; i++) {
      if (term->index[i] == all->coordinate) {
        survey copy = {.coordinate = child->coordinate[i % child->dim]};
        survey_term(child, exponent, &copy);
        all->gaussian = all->gaussian || copy.gaussian;
        all->finite = all->finite || copy.finite;
        all->network = all->network || copy.network;
        all->unknown = all->unknown || copy.unknown;
      }
    }
    return;
  }
  if (exponent > 0 && gaussian_parts(term, all->coordinate)) {
    all->gaussian = true;
    return;
  }
  witness said = ask(term, all->coordinate, exponent);
  all->gaussian = all->gaussian || said == GAUSSIAN;
  all->finite = all->finite || said == FINITE;
  all->network = all->network || said == NETWORK;
  all->unknown = all->unknown || said == UNKNOWN;
}

static bool all_forms(const poei_term *term) {
  if (term->kind == POEI_TERM_PRODUCT || term->kind == POEI_TERM_GIVEN || term->kind == POEI_TERM_UNNORMALISED ||
      term->kind == POEI_TERM_PLATE) {
    for (size_t i = 0; i < term->n; i++) {
      if (!all_forms(term->children[i])) {
        return false;
      }
    }
    return true;
  }
  return term->expert && (poe_expert_traits(term->expert)->capabilities & POE_CAN_FORM);
}

static void warn(poei_checker *checker, const poei_term *term, const char *name) {
  poe_error error = {0};
  poe_error_set(&error, POE_E_IMPROPER, "cannot show that the integral of this expert over %s is finite", name);
  poe_error_hint(&error, "a factor such as gaussian(...) over it would show it");
  poei_span_place(term->syntax->span, &error);
  poei_report_error(&checker->reader, POEI_WARNING, &error);
}

/* Before log Z of a term is left to be computed. The planner knows all about closed forms. */
static bool check_finite(poei_checker *checker, const poei_term *term) {
  if (all_forms(term)) {
    return true;
  }
  const poe_traits *traits = poe_expert_traits(term->expert);
  for (size_t i = 0; i < term->dim; i++) {
    const poe_support *support = &traits->support[i];
    if (isfinite(support->low) && isfinite(support->high)) {
      continue;
    }
    survey found = {.coordinate = term->coordinate[i]};
    survey_term(term, 1, &found);
    char name[64];
    poei_program_coordinate_text(checker->program, term->coordinate[i], name, sizeof name);
    if (!found.gaussian && !found.finite && !found.unknown && found.network) {
      return poei_report(&checker->reader, POE_E_IMPROPER, term->syntax->span, "multiply it by a prior",
                         "a bare network over an unbounded space cannot be normalised (%s is unbounded)", name);
    }
    if (found.unknown || (found.network && !found.gaussian) || !(found.gaussian || found.finite)) {
      warn(checker, term, name);
      return true;
    }
  }
  return true;
}

/* ---- lowering ---- */

/* The term divided by its integral, one reference. */
static bool normalised(poei_checker *checker, poei_term *term, poe_expert **out) {
  if (!known_log_z(checker, term)) {
    return false;
  }
  if (term->log_z == 0) {
    *out = poe_expert_retain(term->expert);
    return true;
  }
  if (isnan(term->log_z) && !check_finite(checker, term)) {
    return false;
  }
  poe_error error = {0};
  return poei_normalise_create(term->expert, term->log_z, 0, out, &error) == POE_OK ||
         poei_report_at(checker, term->syntax->span, &error);
}

bool poei_lower_normalise(poei_checker *checker, poei_term *term, poe_expert **expert) {
  if (!poei_lower_term(checker, term->children[0]) || !normalised(checker, term->children[0], expert)) {
    return false;
  }
  term->log_z = 0;
  return true;
}

/* Do all components integrate to 1 over the same coordinates, for each value of the others? */
static bool equal_heads(const poei_term *term) {
  const poe_traits *first = poe_expert_traits(term->children[0]->expert);
  for (size_t i = 0; i < term->n; i++) {
    const poe_traits *traits = poe_expert_traits(term->children[i]->expert);
    if (!traits->head || !first->head || memcmp(traits->head, first->head, traits->dim) != 0) {
      return false;
    }
  }
  return first->head && memchr(first->head, 1, first->dim) != NULL;
}

bool poei_lower_mixture(poei_checker *checker, poei_term *term, poe_expert **expert) {
  poei_region *region = &checker->program->region;
  poe_expert **children = poei_region_take(region, term->n, sizeof(poe_expert *));
  double *log_weights = poei_region_take(region, term->n, sizeof *log_weights), sum = 0;
  bool ok = children && log_weights;
  for (size_t i = 0; ok && i < term->n; i++) {
    ok = poei_lower_term(checker, term->children[i]);
  }
  if (!ok) {
    return false;
  }
  bool as_they_are = equal_heads(term), all_normal = true;
  size_t made = 0;
  for (; ok && made < term->n; made++) {
    poei_term *child = term->children[made];
    log_weights[made] = log(term->factor[made]);
    sum += term->factor[made];
    if (as_they_are || child->kind == POEI_TERM_UNNORMALISED) {
      all_normal = all_normal && full_head(child->expert);
      children[made] = poe_expert_retain(child->expert);
    } else {
      ok = normalised(checker, child, &children[made]);
    }
    if (!ok) {
      break;
    }
  }
  poe_error error = {0};
  if (ok) {
    ok = poei_mixture_create(term->n, (const poe_expert *const *)children, log_weights, expert, &error) == POE_OK ||
         poei_report_at(checker, term->syntax->span, &error);
  }
  for (size_t i = 0; i < made; i++) {
    poe_expert_release(children[i]);
  }
  if (ok && all_normal) {
    term->log_z = fabs(sum - 1) < 1e-12 ? 0 : log(sum);
  }
  return ok;
}
