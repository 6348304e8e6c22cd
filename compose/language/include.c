/* Files of a program: the main one and what it includes, each read once.
 *
 * An include stands for the statements of its file; paths in it are relative to that file. A file that includes itself,
 * directly or through others, is refused with the chain.
 */
#define _XOPEN_SOURCE 700 /* realpath */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "compose/language/program_parts.h"
#include "core/alloc.h"
#include "formats/text_file.h"

#ifndef PATH_MAX
#define PATH_MAX 4096
#endif

typedef struct loading {
  const poei_source *source;
  const char *real; /* its path with links and dots resolved */
  const struct loading *outer;
} loading;

typedef struct loader_state {
  poei_checker *checker;
  size_t n, capacity;
  const char **done; /* real paths of files read */
} loader_state;

static const char *folder_of(poei_region *region, const char *path) {
  const char *slash = strrchr(path, '/');
  if (!slash) {
    return "";
  }
  return poei_region_text(region, path, slash == path ? 1 : (size_t)(slash - path));
}

poei_source *poei_program_add_source(poei_checker *checker, const char *path, const char *anchor, const char *text,
                                     size_t size) {
  poei_program *program = checker->program;
  poei_source *source = poei_region_take(&program->region, 1, sizeof *source);
  const poei_source **sources = poei_region_grow(&program->region, program->sources, program->n_sources,
                                                 &program->source_capacity, sizeof *sources);
  if (!source || !sources) {
    return NULL;
  }
  *source = (poei_source){.path = path, .anchor = anchor, .text = text, .size = size};
  program->sources = sources;
  sources[program->n_sources++] = source;
  return source;
}

/* Reads a file into the region; `text` non-NULL stands for its contents. */
static poei_source *read_source(poei_checker *checker, const char *path, const char *text, const poei_span *from) {
  poei_region *region = &checker->program->region;
  size_t size = text ? strlen(text) : 0;
  poe_error error = {0};
  char *read = NULL;
  if (text && size > POEI_MAX_TEXT) {
    poe_error_set(&error, POE_E_SYNTAX, "the text has more than %d bytes", POEI_MAX_TEXT);
  } else if (!text && poei_file_read(path, POEI_MAX_TEXT, &read, &size, &error) == POE_OK && strlen(read) < size) {
    poe_error_set(&error, POE_E_SYNTAX, "'%s' is not a text: it holds a zero byte", path);
  }
  if (error.status != POE_OK) {
    poei_free(read);
    if (from) {
      poei_report_at(checker, *from, &error);
    } else {
      poe_error_at(&error, error.file[0] ? NULL : path, 0, 0, 0);
      poei_report_error(&checker->reader, POEI_ERROR, &error);
    }
    return NULL;
  }
  const char *copy = poei_region_text(region, text ? text : read, size);
  const char *name = poei_region_text(region, path, strlen(path)), *anchor = name ? folder_of(region, name) : NULL;
  poei_free(read);
  if (!copy || !name || !anchor || (!text && !poei_program_read(checker, name))) {
    return NULL;
  }
  return poei_program_add_source(checker, name, anchor, copy, size);
}

static const char *real_path(poei_region *region, const char *path) {
  char buffer[PATH_MAX];
  const char *real = realpath(path, buffer) ? buffer : path;
  return poei_region_text(region, real, strlen(real));
}

static bool load_document(loader_state *loader, const loading *file, poei_document *document);

static bool report_cycle(loader_state *loader, const poei_statement *statement, const loading *file, const char *real) {
  poei_region *region = &loader->checker->program->region;
  const char *chain = statement->path;
  for (const loading *outer = file; outer && chain; outer = outer->outer) {
    chain = poei_region_format(region, "%s -> %s", outer->source->path, chain);
    if (strcmp(outer->real, real) == 0) {
      break;
    }
  }
  return poei_report(&loader->checker->reader, POE_E_NAME, statement->span, chain, "this file includes itself");
}

static bool include_file(loader_state *loader, const loading *file, const poei_statement *statement) {
  poei_checker *checker = loader->checker;
  poei_region *region = &checker->program->region;
  const char *path = poei_resolve_path(region, file->source, statement->path);
  const char *real = path ? real_path(region, path) : NULL;
  if (!real) {
    return false;
  }
  for (const loading *outer = file; outer; outer = outer->outer) {
    if (strcmp(outer->real, real) == 0) {
      return report_cycle(loader, statement, file, real);
    }
  }
  for (size_t i = 0; i < loader->n; i++) {
    if (strcmp(loader->done[i], real) == 0) {
      return true;
    }
  }
  if (loader->n >= POEI_MAX_INCLUDES) {
    return poei_report(&checker->reader, POE_E_SYNTAX, statement->span, NULL, "more than %d files are included",
                       POEI_MAX_INCLUDES);
  }
  poei_source *source = read_source(checker, path, NULL, &statement->span);
  if (!source) {
    return false;
  }
  poei_document document;
  loading inner = {.source = source, .real = real, .outer = file};
  return load_document(loader, &inner, &document);
}

static bool add_statement(poei_program *program, poei_statement *statement) {
  poei_statement **statements = poei_region_grow(&program->region, program->statements, program->n_statements,
                                                 &program->statement_capacity, sizeof(poei_statement *));
  if (!statements) {
    return false;
  }
  program->statements = statements;
  statements[program->n_statements++] = statement;
  return true;
}

static bool load_document(loader_state *loader, const loading *file, poei_document *document) {
  poei_checker *checker = loader->checker;
  const char **done =
      poei_region_grow(&checker->program->region, loader->done, loader->n, &loader->capacity, sizeof *done);
  if (!done) {
    return false;
  }
  loader->done = done;
  done[loader->n++] = file->real;
  if (!poei_parse(&checker->reader, file->source, document)) {
    return false;
  }
  for (size_t i = 0; i < document->n; i++) {
    poei_statement *statement = &document->statements[i];
    if (statement->kind == POEI_STATEMENT_INCLUDE) {
      include_file(loader, file, statement);
    } else if (!add_statement(checker->program, statement)) {
      return false;
    }
  }
  return true;
}

bool poei_load_sources(poei_checker *checker, const char *path, const char *text) {
  poei_program *program = checker->program;
  loader_state loader = {.checker = checker};
  poei_source *source = read_source(checker, path, text, NULL);
  if (!source) {
    return false;
  }
  program->path = source->path;
  source->generated = text && poei_uai_named(path);
  loading file = {.source = source, .real = real_path(&program->region, path)};
  return file.real && load_document(&loader, &file, &program->main);
}
