/* The program that a UAI network stands for when it is given in place of a .poe file:
 *
 *   var x : int(k)[n]                      k: the largest number of values
 *   net = uai(x | file="FILE")
 *   observed = net given (x[3] = 1, ...)   with evidence
 *
 * A network's path may hold any character: it is written as a string of the language.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compose/language/program.h"
#include "core/alloc.h"
#include "formats/uai.h"

bool poei_uai_named(const char *path) {
  size_t length = strlen(path);
  return length > 4 && strcmp(path + length - 4, ".uai") == 0;
}

/* The file's name as the language writes it, relative to the program, which stands beside it. */
static void write_name(FILE *out, const char *path) {
  const char *slash = strrchr(path, '/');
  for (const char *c = slash == NULL ? path : slash + 1; *c != '\0'; c++) {
    if (*c == '"' || *c == '\\') {
      fputc('\\', out);
    }
    fputc(*c, out);
  }
}

static void write_program(FILE *out, const char *path, const poei_uai *network, const poei_uai_evidence *evidence) {
  size_t widest = 1;
  for (size_t v = 0; v < network->n; v++) {
    widest = network->cardinality[v] > widest ? network->cardinality[v] : widest;
  }
  fprintf(out, "var x : int(%zu)[%zu]\nnet = uai(x | file=\"", widest, network->n);
  write_name(out, path);
  fputs("\")\n", out);
  for (size_t i = 0; i < evidence->n; i++) {
    fprintf(out, "%sx[%zu] = %zu", i == 0 ? "observed = net given (" : ", ", evidence->variable[i], evidence->value[i]);
  }
  fputs(evidence->n > 0 ? ")\n" : "", out);
}

poe_status poei_uai_program(const char *path, const char *evidence_path, char **text, poe_error *error) {
  poei_uai network = {0};
  poei_uai_evidence evidence = {0};
  poe_status status = poei_uai_read(path, &network, error);
  if (status == POE_OK && evidence_path != NULL) {
    status = poei_uai_evidence_read(evidence_path, &network, &evidence, error);
  }
  if (status == POE_OK) {
    char *made = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&made, &size);
    if (out != NULL) {
      write_program(out, path, &network, &evidence);
    }
    bool whole = out != NULL && ferror(out) == 0;
    whole = out != NULL && fclose(out) == 0 && whole;
    *text = whole ? poei_strdup(made) : NULL;
    free(made);
    status = *text == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  }
  poei_uai_free(&network);
  poei_uai_evidence_free(&evidence);
  return status;
}
