/* Fuzz target of the language: any text is loaded, lowered and printed without a fault, and the canonical form of what
 * parses is a fixed point. The first byte splits the input into a program and a target. */
#include <stdlib.h>
#include <string.h>

#include "compose/language/program.h"
#include "core/alloc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Names of files would let the fuzzer read whatever is on the machine: paths are made harmless. */
static void disarm(char *text) {
  for (char *at = text; (at = strpbrk(at, "/~")) != NULL; at++) {
    bool inside = at > text && at[-1] == '"';
    *at = inside ? '_' : *at;
  }
}

static void check_fixed(const char *text) {
  poei_diagnostics diagnostics = {0};
  char *once = poei_language_format("fuzz.poe", text, &diagnostics);
  poei_diagnostics_free(&diagnostics);
  if (once) {
    char *twice = poei_language_format("fuzz.poe", once, &diagnostics);
    if (!twice || strcmp(once, twice) != 0) {
      abort();
    }
    poei_free(twice);
  }
  poei_free(once);
  poei_diagnostics_free(&diagnostics);
}

static void show_all(poei_diagnostics *diagnostics, const char *text) {
  for (size_t i = 0; i < diagnostics->n; i++) {
    poei_free(poei_diagnostic_text(&diagnostics->items[i], text, i % 2));
  }
  poei_diagnostics_free(diagnostics);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2 || memchr(data + 1, 0, size - 1)) {
    return 0;
  }
  size_t split = 1 + (size_t)data[0] * (size - 1) / 255;
  char *text = poei_strndup((const char *)data + 1, size - 1),
       *target = poei_strndup((const char *)data + split, size - split);
  disarm(text);
  disarm(target);
  check_fixed(text);
  poei_diagnostics diagnostics = {0};
  poei_program *program = NULL;
  if (poei_program_load("fuzz.poe", text, 0, NULL, &diagnostics, &program) == POE_OK) {
    poei_target lowered;
    for (size_t i = 0; i < poei_program_density_count(program); i++) {
      const char *name = poei_program_density(program, i);
      if (poei_program_target(program, name, &lowered, &diagnostics) == POE_OK) {
        poei_target_free(&lowered);
      }
      poei_program_outline(program, name, &diagnostics);
    }
    if (poei_program_target(program, target, &lowered, &diagnostics) == POE_OK) {
      poei_target_free(&lowered);
    }
    const char *names[4];
    poei_program_mentions(program, target, names, 4);
    poei_free(poei_program_print(program));
    poei_program_free(program);
  }
  show_all(&diagnostics, text);
  poei_free(text);
  poei_free(target);
  return 0;
}
