/* marginal(e, over=h, beta=1) and profile(e, over=h): latent variables integrated out or maximised over.
 *
 *   log marginal = (1/beta) log int exp(beta log e) dh        log profile = max_h log e
 */
#include <math.h>
#include <string.h>

#include "compose/language/program_parts.h"

/* What the call says. */
typedef struct latents {
  size_t n, capacity;
  size_t *ids; /* [n] */
  double beta;
  bool given_over, given_beta;
} latents;

static bool add_place(poei_checker *checker, const poei_scope *scope, const poei_syntax *syntax, const poei_term *term,
                      latents *all) {
  poei_value place;
  if (!poei_evaluate(checker, scope, syntax, POEI_WANT_PLACE, &place)) {
    return false;
  }
  if (place.sort != POEI_SORT_PLACE || place.of) {
    return poei_report(&checker->reader, POE_E_TYPE, syntax->span,
                       place.of ? "only declared variables can be latent" : NULL, "this is %s, not a variable",
                       poei_sort_text(&place));
  }
  for (size_t i = 0; i < place.n; i++) {
    size_t at = 0;
    while (at < term->dim && term->coordinate[at] != place.index[i]) {
      at++;
    }
    if (at == term->dim) {
      char name[64];
      return poei_report(&checker->reader, POE_E_NAME, syntax->span, NULL,
                         "%s is not among the variables of this expert",
                         poei_program_coordinate_text(checker->program, place.index[i], name, sizeof name));
    }
    size_t *ids = poei_region_grow(&checker->program->region, all->ids, all->n, &all->capacity, sizeof *ids);
    if (!ids) {
      return false;
    }
    all->ids = ids;
    ids[all->n++] = place.index[i];
  }
  return true;
}

static bool read_over(poei_checker *checker, const poei_scope *scope, const poei_syntax *value, const poei_term *term,
                      latents *all) {
  all->given_over = true;
  if (value->kind != POEI_SYNTAX_LIST) {
    return add_place(checker, scope, value, term, all);
  }
  for (size_t i = 0; i < value->n; i++) {
    if (!add_place(checker, scope, value->items[i], term, all)) {
      return false;
    }
  }
  return true;
}

static bool read_beta(poei_checker *checker, const poei_scope *scope, const poei_syntax *value, latents *all) {
  poei_value number;
  all->given_beta = true;
  if (!poei_evaluate(checker, scope, value, POEI_WANT_NUMBER, &number)) {
    return false;
  }
  if (number.sort != POEI_SORT_NUMBERS || number.ndim != 0 || !(number.number[0] > 0)) {
    return poei_report(&checker->reader, POE_E_DOMAIN, value->span, "beta = inf is written profile(...)",
                       "'beta' is a positive number");
  }
  all->beta = number.number[0];
  return isfinite(all->beta) || poei_report(&checker->reader, POE_E_DOMAIN, value->span,
                                            "beta = inf is written profile(...)", "'beta' must be finite");
}

static bool read_arguments(poei_checker *checker, const poei_scope *scope, const poei_syntax *call,
                           const poei_term *term, latents *all) {
  bool maximised = strcmp(call->text, "profile") == 0;
  for (size_t i = 1; i < call->n; i++) {
    const poei_syntax *item = call->items[i];
    bool over = item->kind == POEI_SYNTAX_ARGUMENT && strcmp(item->text, "over") == 0;
    bool beta = item->kind == POEI_SYNTAX_ARGUMENT && strcmp(item->text, "beta") == 0 && !maximised;
    if (!over && !beta) {
      return poei_report(&checker->reader, POE_E_USAGE, item->span, NULL, "'%s' takes an expert, over=%s", call->text,
                         maximised ? "..." : "... and beta=...");
    }
    if (over ? all->given_over : all->given_beta) {
      return poei_report(&checker->reader, POE_E_USAGE, item->span, NULL, "'%s' is given twice", item->text);
    }
    if (!(over ? read_over(checker, scope, item->items[0], term, all)
               : read_beta(checker, scope, item->items[0], all))) {
      return false;
    }
  }
  return true;
}

bool poei_density_marginal(poei_checker *checker, const poei_scope *scope, const poei_syntax *call, poei_value *value) {
  bool first = call->n >= 1 && !call->bar && call->items[0]->kind != POEI_SYNTAX_ARGUMENT &&
               call->items[0]->kind != POEI_SYNTAX_EACH;
  const char *hint = poei_region_format(&checker->program->region, "%s(expert, over=h)", call->text);
  if (!first) {
    return poei_report(&checker->reader, POE_E_USAGE, call->span, hint, "'%s' takes an expert", call->text);
  }
  poei_value joint;
  latents all = {.beta = 1};
  if (!poei_evaluate(checker, scope, call->items[0], POEI_WANT_EXPERT, &joint) ||
      !poei_need_density(checker, call->items[0], &joint) || !read_arguments(checker, scope, call, joint.term, &all)) {
    return false;
  }
  size_t n = poei_sort_unique(all.ids, all.n);
  if (n == 0) {
    return poei_report(&checker->reader, POE_E_USAGE, call->span, hint, "'%s' must say over which variables",
                       call->text);
  }
  if (n < all.n) {
    return poei_report(&checker->reader, POE_E_NAME, call->span, NULL, "a variable is named twice");
  }
  if (!poei_check_whole_simplices(checker, call->span, n, all.ids,
                                  strcmp(call->text, "profile") == 0 ? "maximised over" : "integrated out")) {
    return false;
  }
  if (n == joint.term->dim) {
    bool maximised = strcmp(call->text, "profile") == 0;
    return poei_report(&checker->reader, POE_E_TYPE, call->span,
                       maximised ? "the largest value is told by 'minimize'"
                                 : "the integral over all is told by 'logz'",
                       "nothing is left free");
  }
  bool maximised = strcmp(call->text, "profile") == 0;
  *value = (poei_value){.sort = POEI_SORT_DENSITY, .weight = 1};
  value->term = poei_term_marginal(checker, call, joint.term, n, all.ids, maximised ? INFINITY : all.beta);
  return value->term != NULL;
}
