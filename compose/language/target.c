/* Targets: an expression of a user, or a definition's name, lowered to one expert with its coordinates. */
#include <math.h>
#include <string.h>

#include "compose/language/program_parts.h"
#include "core/alloc.h"

static poei_checker checker_for(poei_program *program, poei_diagnostics *diagnostics) {
  return (poei_checker){.reader = {.region = &program->region, .diagnostics = diagnostics}, .program = program};
}

static poei_definition *density_of(poei_program *program, const char *name) {
  const poei_symbol *symbol = poei_symbol_find(program, name);
  poei_definition *definition = symbol ? symbol->definition : NULL;
  return definition && definition->state == POEI_CHECKED && definition->value.sort == POEI_SORT_DENSITY ? definition
                                                                                                        : NULL;
}

static bool read_expression(poei_checker *checker, const char *expression, const poei_syntax **syntax,
                            poei_term **term) {
  poei_program *program = checker->program;
  size_t size = strlen(expression);
  if (size > POEI_MAX_TEXT) {
    return poei_report(&checker->reader, POE_E_SYNTAX, (poei_span){0}, NULL, "the target has more than %d bytes",
                       POEI_MAX_TEXT);
  }
  const char *text = poei_region_text(&program->region, expression, size);
  const char *anchor = program->sources[0]->anchor;
  const poei_source *source = text ? poei_program_add_source(checker, "target", anchor, text, size) : NULL;
  poei_value value;
  if (!source || !(*syntax = poei_parse_expression_text(&checker->reader, source)) ||
      !poei_evaluate(checker, NULL, *syntax, POEI_WANT_EXPERT, &value) ||
      !poei_need_density(checker, *syntax, &value)) {
    return false;
  }
  *term = value.term;
  return value.term->dim > 0 ||
         poei_report(&checker->reader, POE_E_TYPE, (*syntax)->span, NULL, "this expert is over no variable");
}

bool poei_check_target(poei_checker *checker, const char *expression, const poei_syntax **syntax, poei_term **term) {
  poei_program *program = checker->program;
  if (!expression && program->n_densities == 0) {
    poe_error error = {0};
    poe_error_set(&error, POE_E_NAME, "there is no expert in this file");
    poe_error_hint(&error, "define one: a = gaussian(x | mean=0, sd=1)");
    poe_error_at(&error, program->path, 0, 0, 0);
    return poei_report_error(&checker->reader, POEI_ERROR, &error);
  }
  const char *name = expression ? expression : program->densities[program->n_densities - 1];
  poei_definition *definition = density_of(program, name);
  if (definition) {
    *syntax = definition->statement->body;
    *term = definition->value.term;
    return true;
  }
  return read_expression(checker, expression, syntax, term);
}

/* ---- names of dimensions ---- */

typedef struct target_names {
  const poei_program *program;
  const size_t *coordinates; /* of the target */
} target_names;

static const char *target_name(const void *context, size_t dimension, char *text, size_t size) {
  const target_names *names = context;
  return poei_program_coordinate_text(names->program, names->coordinates[dimension], text, size);
}

static bool name_target(const poei_program *program, poei_target *target) {
  target_names *names = poei_alloc(1, sizeof *names);
  if (names) {
    *names = (target_names){program, target->coordinates};
    target->names = (poei_names){target_name, names};
  }
  return names != NULL;
}

/* ---- targets ---- */

static bool copy_target(const poei_program *program, const char *expression, const poei_syntax *syntax,
                        const poei_term *term, poei_target *target) {
  poei_region region;
  poei_region_init(&region, POEI_MAX_MEMORY);
  const char *text = poei_print_expression(&region, syntax);
  bool last = !expression && program->n_densities > 0;
  const char *name = last ? program->densities[program->n_densities - 1] : expression;
  if (syntax->span.source && strcmp(syntax->span.source->path, "target") == 0) {
    name = text; /* an expression: its canonical text */
  }
  target->text = text ? poei_strdup(text) : NULL;
  target->name = name ? poei_strdup(name) : NULL;
  poei_region_free(&region);
  target->dim = term->dim;
  target->coordinates = poei_copy(term->coordinate, term->dim, sizeof *target->coordinates);
  target->n_clamped = term->n_clamped;
  target->clamped = poei_copy(term->clamped, term->n_clamped, sizeof *target->clamped);
  target->clamped_value = poei_copy(term->clamped_value, term->n_clamped, sizeof *target->clamped_value);
  return target->text && target->name && target->coordinates && target->clamped && target->clamped_value &&
         name_target(program, target);
}

static bool is_normalised(const poei_term *term) {
  const poe_traits *traits = poe_expert_traits(term->expert);
  bool full = traits->head != NULL;
  for (size_t i = 0; full && i < traits->dim; i++) {
    full = traits->head[i];
  }
  return full || term->log_z == 0;
}

poe_status poei_program_target(poei_program *program, const char *expression, poei_target *target,
                               poei_diagnostics *diagnostics) {
  poei_checker checker = checker_for(program, diagnostics);
  const poei_syntax *syntax = NULL;
  poei_term *term = NULL;
  poei_target made = {0};
  bool ok = poei_check_target(&checker, expression, &syntax, &term) && poei_lower_term(&checker, term);
  if (ok && !copy_target(program, expression, syntax, term, &made)) {
    poei_target_free(&made);
    program->region.failed = true;
    ok = false;
  }
  poei_checker_finish(&checker);
  program->region.failed = program->region.full = false; /* a later target may need less */
  if (!ok) {
    return checker.reader.status != POE_OK ? checker.reader.status : POE_E_MEMORY;
  }
  made.expert = poe_expert_retain(term->expert);
  made.normalised = is_normalised(term);
  poe_error place = {0};
  poei_span_place(syntax->span, &place);
  made.file = syntax->span.source ? syntax->span.source->path : program->path;
  made.line = place.line;
  made.column = place.column;
  made.span = place.span;
  *target = made;
  return POE_OK;
}

void poei_target_free(poei_target *target) {
  if (!target) {
    return;
  }
  poe_expert_release(target->expert);
  poei_free(target->text);
  poei_free(target->name);
  poei_free(target->coordinates);
  poei_free(target->clamped);
  poei_free(target->clamped_value);
  poei_free((void *)target->names.context);
  *target = (poei_target){0};
}

/* ---- origins ---- */

static const poei_leaf *leaf_of(const poei_program *program, const poe_expert *expert) {
  for (size_t i = 0; i < program->n_made; i++) {
    if (program->made[i].expert == expert) {
      return program->made[i].leaf;
    }
  }
  return NULL;
}

const poe_arg *poei_program_arguments(const poei_program *program, const poe_expert *expert, size_t *n) {
  const poei_leaf *leaf = leaf_of(program, expert);
  *n = leaf ? leaf->n_args : 0;
  return leaf ? leaf->args : NULL;
}

bool poei_program_origin(const poei_program *program, const poe_expert *expert, const char **name, poe_error *error) {
  const poei_leaf *leaf = leaf_of(program, expert);
  if (!leaf) {
    return false;
  }
  poei_span span = leaf->syntax->span;
  *name = NULL;
  for (size_t i = 0; !*name && i < program->n_definitions; i++) {
    const poei_definition *definition = program->definitions[i];
    const poei_term *term = definition->state == POEI_CHECKED && definition->value.sort == POEI_SORT_DENSITY
                                ? definition->value.term
                                : NULL;
    if (term && term->kind == POEI_TERM_LEAF && term->expert && term->family == poe_expert_ops_of(expert) &&
        poei_leaf_same(term->leaf, leaf)) {
      *name = definition->name;
      span = term->syntax->span;
    }
  }
  poei_span_place(span, error);
  return true;
}

/* ---- mentions ---- */

static size_t mention(poei_program *program, const poei_syntax *syntax, const char **names, size_t n, size_t capacity) {
  if (syntax->kind == POEI_SYNTAX_PLACE && syntax->n == 0) {
    const poei_definition *definition = density_of(program, syntax->text);
    bool known = !definition;
    for (size_t i = 0; !known && i < n && i < capacity; i++) {
      known = strcmp(names[i], definition->name) == 0;
    }
    if (!known) {
      if (n < capacity) {
        names[n] = definition->name;
      }
      n++;
    }
  }
  for (size_t i = 0; i < syntax->n; i++) {
    n = mention(program, syntax->items[i], names, n, capacity);
  }
  return n;
}

size_t poei_program_mentions(poei_program *program, const char *expression, const char **names, size_t capacity) {
  poei_diagnostics none = {0};
  poei_checker checker = checker_for(program, &none);
  const poei_syntax *syntax = NULL;
  poei_term *term = NULL;
  size_t n = 0;
  if (poei_check_target(&checker, expression, &syntax, &term)) {
    n = mention(program, syntax, names, 0, capacity);
    if (n == 0 && (!expression || density_of(program, expression))) { /* a leaf stands for itself */
      const poei_definition *own =
          density_of(program, expression ? expression : program->densities[program->n_densities - 1]);
      if (capacity > 0) {
        names[0] = own->name;
      }
      n = 1;
    }
  }
  poei_diagnostics_free(&none);
  return n < capacity ? n : capacity;
}
