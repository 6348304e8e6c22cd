/* The door into the language: loading a program, and what can be asked of it (program.h).
 *
 * Invariant: a program that was handed out has no errors; everything it lends lives until poei_program_free.
 */
#include <stdio.h>
#include <string.h>

#include "compose/language/program_parts.h"
#include "core/alloc.h"

/* ---- loading ---- */

/* Diagnostics of one file in the order of its lines; files stay in the order they were first told. */
static void sort_diagnostics(poei_diagnostics *diagnostics, size_t first) {
  for (size_t i = first + 1; i < diagnostics->n; i++) {
    poei_diagnostic item = diagnostics->items[i];
    size_t at = i;
    while (at > first) {
      const poe_error *before = &diagnostics->items[at - 1].error;
      bool later =
          strcmp(before->file, item.error.file) == 0 &&
          (before->line > item.error.line || (before->line == item.error.line && before->column > item.error.column));
      if (!later) {
        break;
      }
      diagnostics->items[at] = diagnostics->items[at - 1];
      at--;
    }
    diagnostics->items[at] = item;
  }
}

poe_status poei_program_load(const char *path, const char *text, size_t n_overrides, const poei_override *overrides,
                             poei_diagnostics *diagnostics, poei_program **program) {
  size_t first = diagnostics->n;
  poei_program *made = poei_calloc(1, sizeof *made);
  if (!made) {
    poe_error error = {0};
    poe_error_set(&error, POE_E_MEMORY, "out of memory");
    poei_diagnostics_add(diagnostics, POEI_ERROR, &error);
    return POE_E_MEMORY;
  }
  poei_region_init(&made->region, POEI_MAX_MEMORY);
  poei_checker checker = {.reader = {.region = &made->region, .diagnostics = diagnostics}, .program = made};
  bool ok = poei_load_sources(&checker, path, text) && poei_apply_overrides(&checker, n_overrides, overrides);
  if (ok || made->main.source) { /* what was read is checked even when a part was not: all errors at once */
    ok = poei_check_program(&checker) && ok;
  }
  poei_checker_finish(&checker);
  sort_diagnostics(diagnostics, first);
  if (checker.reader.status != POE_OK || !ok) {
    poei_program_free(made);
    return checker.reader.status != POE_OK ? checker.reader.status : POE_E_MEMORY;
  }
  *program = made;
  return POE_OK;
}

void poei_program_free(poei_program *program) {
  if (!program) {
    return;
  }
  for (size_t i = program->n_made; i-- > 0;) { /* compositions before what they are made of */
    poe_expert_release(program->made[i].expert);
    poe_map_release(program->made[i].map);
  }
  poei_free(program->made);
  poei_free(program->made_bucket);
  poei_region_free(&program->region);
  poei_free(program);
}

static char *heap_copy(const char *text) {
  return text ? poei_strdup(text) : NULL;
}

char *poei_program_print(const poei_program *program) {
  poei_region region;
  poei_region_init(&region, POEI_MAX_MEMORY);
  char *text = heap_copy(poei_print_document(&region, &program->main));
  poei_region_free(&region);
  return text;
}

char *poei_language_format(const char *path, const char *text, poei_diagnostics *diagnostics) {
  poei_region region;
  poei_document document;
  poei_region_init(&region, POEI_MAX_MEMORY);
  poei_reader reader = {.region = &region, .diagnostics = diagnostics};
  poei_source source = {.path = path, .anchor = "", .text = text, .size = strlen(text)};
  size_t first = diagnostics->n;
  char *printed = NULL;
  if (source.size > POEI_MAX_TEXT) {
    poei_report(&reader, POE_E_SYNTAX, (poei_span){.source = &source}, NULL, "the text has more than %d bytes",
                POEI_MAX_TEXT);
  } else if (poei_parse(&reader, &source, &document) && reader.status == POE_OK) {
    printed = heap_copy(poei_print_document(&region, &document));
    if (!printed) {
      poei_report_memory(&reader);
    }
  }
  sort_diagnostics(diagnostics, first);
  poei_region_free(&region);
  return printed;
}

/* ---- asking ---- */

const char *poei_program_path(const poei_program *program) {
  return program->path;
}

/* An error holds the beginning of a long path. */
static bool same_file(const char *path, const char *file) {
  size_t length = strlen(file);
  return strncmp(path, file, length) == 0 && (path[length] == '\0' || length + 4 >= POE_ERROR_FILE_SIZE);
}

const char *poei_program_source(const poei_program *program, const char *file) {
  for (size_t i = program->n_sources; i-- > 0;) { /* the newest: targets share a name */
    if (same_file(program->sources[i]->path, file)) {
      return program->sources[i]->text;
    }
  }
  return NULL;
}

size_t poei_program_file_count(const poei_program *program) {
  return program->n_files;
}

const char *poei_program_file(const poei_program *program, size_t index) {
  return index < program->n_files ? program->files[index] : NULL;
}

size_t poei_program_variable_count(const poei_program *program) {
  return program->n_variables;
}

const poei_variable *poei_program_variable(const poei_program *program, size_t index) {
  return index < program->n_variables ? program->variables[index] : NULL;
}

const poei_variable *poei_program_variable_find(const poei_program *program, const char *name) {
  const poei_symbol *symbol = poei_symbol_find(program, name);
  return symbol ? symbol->variable : NULL;
}

size_t poei_program_density_count(const poei_program *program) {
  return program->n_densities;
}

bool poei_program_density_is_part(const poei_program *program, size_t index) {
  const poei_symbol *symbol =
      index < program->n_densities ? poei_symbol_find(program, program->densities[index]) : NULL;
  const poei_definition *definition = symbol ? symbol->definition : NULL;
  return definition && (definition->used || definition->value.term->kind == POEI_TERM_LEAF);
}

const char *poei_program_density(const poei_program *program, size_t index) {
  return index < program->n_densities ? program->densities[index] : NULL;
}

size_t poei_program_action_count(const poei_program *program) {
  return program->n_actions;
}

const poei_action *poei_program_action(const poei_program *program, size_t index) {
  return index < program->n_actions ? &program->actions[index] : NULL;
}

const char *poei_program_coordinate_text(const poei_program *program, size_t coordinate, char *text, size_t size) {
  const poei_variable *variable = poei_variable_of(program, coordinate);
  if (size == 0) {
    return text;
  }
  text[0] = '\0';
  if (!variable || coordinate - variable->offset >= variable->dim) {
    return text;
  }
  size_t rest = coordinate - variable->offset, index[POE_MAX_DIMS] = {0};
  for (size_t a = variable->ndim; a-- > 0;) {
    index[a] = rest % variable->shape[a];
    rest /= variable->shape[a];
  }
  int used = snprintf(text, size, "%s%s", variable->name, variable->ndim > 0 ? "[" : "");
  for (size_t a = 0; a < variable->ndim && used >= 0 && (size_t)used < size; a++) {
    used += snprintf(text + used, size - (size_t)used, "%s%zu%s", a > 0 ? ", " : "", index[a],
                     a + 1 == variable->ndim ? "]" : "");
  }
  return text;
}

poe_status poei_program_derived(poei_program *program, const char *name, poei_derived *derived, poe_error *error) {
  const poei_symbol *symbol = poei_symbol_find(program, name);
  const poei_definition *definition = symbol ? symbol->definition : NULL;
  const poei_value *value = definition && definition->state == POEI_CHECKED ? &definition->value : NULL;
  if (!value || value->sort != POEI_SORT_PLACE || !value->of || value->n != value->of->dim) {
    return poe_error_set(error, POE_E_NAME, "'%s' is not a derived variable", name);
  }
  const poei_derivation *of = value->of;
  *derived = (poei_derived){.name = definition->name,
                            .map = of->flat,
                            .in_dim = of->flat_dim,
                            .coordinates = of->flat_coordinate,
                            .ndim = of->ndim,
                            .dim = of->dim};
  memcpy(derived->shape, of->shape, sizeof derived->shape);
  return POE_OK;
}
