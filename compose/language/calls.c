/* Calls of families, maps and definitions.
 *
 * A family's table of parameters drives the check: unknown, doubled and unnamed arguments are found here, values and
 * shapes by the family when it is created. A definition's body is worked out anew for every call, with its formals
 * bound to places and numbers; it sees its formals and the globals, nothing of the caller.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compose/language/program_parts.h"

const poe_param *poei_find_param(const poe_param *params, const char *name) {
  for (; params && params->name; params++) {
    if (strcmp(params->name, name) == 0) {
      return params;
    }
  }
  return NULL;
}

bool poei_unknown_param(poei_checker *checker, const char *kind, const poe_param *params, const poei_syntax *argument) {
  size_t n = 0, capacity = 0;
  const char **words = NULL;
  for (; params && params->name; params++) {
    words = poei_region_grow(&checker->program->region, words, n, &capacity, sizeof *words);
    if (!words) {
      return false;
    }
    words[n++] = params->name;
  }
  const char *hint = poei_suggest(checker, argument->text, "parameters", n, words);
  return poei_report(&checker->reader, POE_E_NAME, argument->at, hint, "'%s' has no parameter '%s'", kind,
                     argument->text);
}

/* ---- subjects ---- */

static const poe_support *supports_of(poei_checker *checker, const poei_value *place) {
  poe_support *supports = poei_region_take(&checker->program->region, place->n, sizeof *supports);
  for (size_t i = 0; supports && i < place->n; i++) {
    if (place->of) {
      supports[i] = (poe_support){
          .kind = POE_CONTINUOUS, .low = -INFINITY, .high = INFINITY, .low_open = true, .high_open = true};
    } else {
      supports[i] = checker->program->support[place->index[i]];
    }
  }
  return supports;
}

static bool read_subject(poei_checker *checker, const poei_scope *scope, const poei_syntax *call,
                         const poei_syntax *syntax, poei_part *part) {
  poei_value place;
  if (!poei_evaluate(checker, scope, syntax, POEI_WANT_PLACE, &place)) {
    return false;
  }
  if (place.sort != POEI_SORT_PLACE) {
    bool density = place.sort == POEI_SORT_DENSITY;
    return poei_report(&checker->reader, POE_E_TYPE, syntax->span,
                       density ? "to combine experts use * or 'and'; to read one's values give it to a decoder" : NULL,
                       "'%s' is over variables, this is %s", call->text, poei_sort_text(&place));
  }
  size_t *shape = poei_region_copy(&checker->program->region, place.shape, place.ndim, sizeof *shape);
  const poe_support *support = supports_of(checker, &place);
  const char *name = poei_print_expression(&checker->program->region, syntax);
  if (!shape || !support || !name) {
    return false;
  }
  *part = (poei_part){.subject = {.name = name, .ndim = place.ndim, .shape = shape, .dim = place.n, .support = support},
                      .of = place.of,
                      .index = place.index};
  return true;
}

/* No coordinate twice among the subjects. */
static bool check_distinct(poei_checker *checker, const poei_syntax *call, const poei_leaf *leaf) {
  for (size_t p = 0; p < leaf->n_parts; p++) {
    bool first = true; /* of the parts that read the same thing */
    size_t n = 0;
    for (size_t q = 0; q < leaf->n_parts; q++) {
      first = first && !(q < p && leaf->parts[q].of == leaf->parts[p].of);
      n += leaf->parts[q].of == leaf->parts[p].of ? leaf->parts[q].subject.dim : 0;
    }
    if (!first) {
      continue;
    }
    size_t *ids = poei_region_take(&checker->program->region, n, sizeof *ids);
    if (!ids) {
      return false;
    }
    n = 0;
    for (size_t q = p; q < leaf->n_parts; q++) {
      const poei_part *part = &leaf->parts[q];
      if (part->of == leaf->parts[p].of) {
        memcpy(ids + n, part->index, part->subject.dim * sizeof *ids);
        n += part->subject.dim;
      }
    }
    if (poei_sort_unique(ids, n) < n) {
      return poei_report(&checker->reader, POE_E_SHAPE, call->span, NULL,
                         "a coordinate stands twice before the '|' of '%s'", call->text);
    }
  }
  return true;
}

static bool read_subjects(poei_checker *checker, const poei_scope *scope, const poei_syntax *call, size_t n,
                          poei_leaf *leaf) {
  poei_part *parts = poei_region_take(&checker->program->region, n, sizeof *parts);
  if (!parts) {
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    if (!read_subject(checker, scope, call, call->items[i], &parts[i])) {
      return false;
    }
    leaf->dim += parts[i].subject.dim;
  }
  leaf->n_parts = n;
  leaf->parts = parts;
  return check_distinct(checker, call, leaf);
}

/* ---- families and maps ---- */

static uint64_t hash_leaf(const poei_leaf *leaf) {
  uint64_t hash = poei_hash_bytes(14695981039346656037u, leaf->kind, strlen(leaf->kind));
  for (size_t p = 0; p < leaf->n_parts; p++) {
    const poe_subject *subject = &leaf->parts[p].subject;
    hash = poei_hash_bytes(hash, subject->shape, subject->ndim * sizeof *subject->shape);
  }
  for (size_t a = 0; a < leaf->n_args; a++) {
    const poe_arg *arg = &leaf->args[a];
    hash = poei_hash_bytes(hash, arg->name, strlen(arg->name) + 1);
    if (arg->text) {
      hash = poei_hash_bytes(hash, arg->text, strlen(arg->text));
    }
    if (arg->real) {
      size_t n = 1;
      for (size_t i = 0; i < arg->ndim; i++) {
        n *= arg->shape[i];
      }
      hash = poei_hash_bytes(hash, arg->real, n * sizeof *arg->real);
    }
    if (leaf->codes[a]) {
      hash = poei_hash_bytes(hash, &leaf->codes[a]->hash, sizeof leaf->codes[a]->hash);
    }
  }
  return hash;
}

static bool read_arguments(poei_checker *checker, const poei_scope *scope, const poei_syntax *call, size_t first,
                           const poe_param *params, poei_leaf *leaf) {
  size_t n = call->n - first;
  leaf->args = poei_region_take(&checker->program->region, n, sizeof *leaf->args);
  leaf->codes = poei_region_take(&checker->program->region, n, sizeof *leaf->codes);
  if (!leaf->args || !leaf->codes) {
    return false;
  }
  bool ok = true;
  for (size_t i = 0; i < n; i++) {
    const poei_syntax *item = call->items[first + i];
    if (item->kind != POEI_SYNTAX_ARGUMENT) {
      const char *hint =
          params->name ? poei_region_format(&checker->program->region, "write %s=...", params->name) : NULL;
      ok = poei_report(&checker->reader, POE_E_SYNTAX, item->span, hint, "an argument of '%s' needs its name",
                       call->text);
      continue;
    }
    const poe_param *param = poei_find_param(params, item->text);
    if (!param) {
      ok = poei_unknown_param(checker, call->text, params, item);
      continue;
    }
    for (size_t j = 0; j < leaf->n_args; j++) {
      if (strcmp(leaf->args[j].name, item->text) == 0) {
        ok = poei_report(&checker->reader, POE_E_NAME, item->at, NULL, "'%s' is given twice", item->text);
      }
    }
    ok = poei_evaluate_argument(checker, scope, param, item, leaf, &leaf->args[leaf->n_args],
                                &leaf->codes[leaf->n_args]) &&
         ok;
    leaf->n_args++;
  }
  return ok;
}

static bool read_leaf(poei_checker *checker, const poei_scope *scope, const poei_syntax *call, const poe_param *params,
                      poei_leaf **out) {
  size_t n_subjects = call->n_subjects;
  while (!call->bar && n_subjects < call->n && call->items[n_subjects]->kind != POEI_SYNTAX_ARGUMENT) {
    n_subjects++;
  }
  if (n_subjects == 0) {
    const char *hint = poei_region_format(&checker->program->region, "write %s(x | ...)", call->text);
    return poei_report(&checker->reader, POE_E_SYNTAX, call->at, hint, "'%s' needs a variable before its arguments",
                       call->text);
  }
  if (!call->bar && n_subjects < call->n) {
    const char *hint = poei_region_format(&checker->program->region, "write %s(x | %s=...)", call->text,
                                          call->items[n_subjects]->text);
    return poei_report(&checker->reader, POE_E_SYNTAX, call->items[n_subjects]->at, hint,
                       "a '|' stands between variables and arguments");
  }
  poei_leaf *leaf = poei_region_take(&checker->program->region, 1, sizeof *leaf);
  if (!leaf) {
    return false;
  }
  leaf->kind = call->text;
  leaf->syntax = call;
  if (!read_subjects(checker, scope, call, n_subjects, leaf) ||
      !read_arguments(checker, scope, call, n_subjects, params, leaf)) {
    return false;
  }
  leaf->hash = hash_leaf(leaf);
  *out = leaf;
  return true;
}

bool poei_call_family(poei_checker *checker, const poei_scope *scope, const poei_syntax *call,
                      const poe_expert_ops *family, poei_value *value) {
  poei_leaf *leaf;
  if (checker->formula) {
    return poei_report(&checker->reader, POE_E_TYPE, call->at, NULL, "an expert cannot stand inside a formula");
  }
  if (!read_leaf(checker, scope, call, family->params, &leaf)) {
    return false;
  }
  *value = (poei_value){.sort = POEI_SORT_DENSITY, .term = poei_term_leaf(checker, call, family, leaf)};
  return value->term != NULL;
}

bool poei_call_map(poei_checker *checker, const poei_scope *scope, const poei_syntax *call, const poe_map_ops *map,
                   poei_value *value) {
  poei_leaf *leaf;
  poei_derivation *derived = poei_region_take(&checker->program->region, 1, sizeof *derived);
  if (checker->formula) {
    const char *hint = "define it first: image = decoder(z | ...), then formula(image | ...)";
    return poei_report(&checker->reader, POE_E_TYPE, call->at, hint, "a map cannot stand inside a formula");
  }
  if (!derived || !read_leaf(checker, scope, call, map->params, &leaf) ||
      !poei_make_map(checker, leaf, map, &derived->map)) {
    return false;
  }
  derived->leaf = leaf;
  derived->ndim = map->out_shape(poe_map_self(derived->map), derived->shape);
  derived->dim = 1;
  for (size_t i = 0; i < derived->ndim; i++) {
    derived->dim *= derived->shape[i];
  }
  size_t *identity = poei_region_take(&checker->program->region, derived->dim, sizeof *identity);
  if (!identity) {
    return false;
  }
  for (size_t i = 0; i < derived->dim; i++) {
    identity[i] = i;
  }
  derived->identity = identity;
  if (!poei_derivation_flatten(checker, derived)) {
    return false;
  }
  *value = (poei_value){.sort = POEI_SORT_PLACE,
                        .ndim = derived->ndim,
                        .n = derived->dim,
                        .of = derived,
                        .index = identity,
                        .name = call->text};
  memcpy(value->shape, derived->shape, sizeof value->shape);
  return true;
}

/* ---- definitions with formals ---- */

bool poei_call_definition(poei_checker *checker, const poei_scope *scope, const poei_syntax *call,
                          poei_definition *definition, poei_value *value) {
  const poei_statement *statement = definition->statement;
  size_t n = statement->n_names - 1;
  if (definition->state == POEI_CHECKING) {
    return poei_report(&checker->reader, POE_E_NAME, call->at, "a definition cannot use itself",
                       "'%s' is defined in terms of itself", definition->name);
  }
  if (definition->state == POEI_FAILED) {
    return false;
  }
  if (call->bar) {
    return poei_report(&checker->reader, POE_E_SYNTAX, call->at, "write its arguments without a '|'",
                       "'%s' is a definition, not a family", definition->name);
  }
  if (call->n != n) {
    return poei_report(&checker->reader, POE_E_USAGE, call->span, NULL, "'%s' takes %zu argument%s, not %zu",
                       definition->name, n, n == 1 ? "" : "s", call->n);
  }
  poei_scope *formals = poei_region_take(&checker->program->region, n + 1, sizeof *formals);
  if (!formals) {
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    const poei_syntax *item = call->items[i];
    if (item->kind == POEI_SYNTAX_ARGUMENT || item->kind == POEI_SYNTAX_EACH) {
      return poei_report(&checker->reader, POE_E_SYNTAX, item->span, NULL,
                         "the arguments of a definition have no names: they stand in order");
    }
    formals[i] = (poei_scope){.name = statement->names[i + 1].text, .outer = i > 0 ? &formals[i - 1] : NULL};
    if (!poei_evaluate(checker, scope, item, POEI_WANT_ANY, &formals[i].value)) {
      return false;
    }
    if (formals[i].value.sort >= POEI_SORT_DENSITY) {
      return poei_report(&checker->reader, POE_E_TYPE, item->span, NULL,
                         "a formal variable stands for a place or a number, not %s", poei_sort_text(&formals[i].value));
    }
  }
  definition->state = POEI_CHECKING;
  definition->called = true;
  bool ok = poei_evaluate(checker, n > 0 ? &formals[n - 1] : NULL, statement->body, POEI_WANT_EXPERT, value);
  definition->state = POEI_UNCHECKED;
  return ok;
}
