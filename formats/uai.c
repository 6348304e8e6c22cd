/* Reading factor graphs and evidence (uai.h): one pass over whitespace-separated words.
 *
 * Every count is checked against what is left of the file before memory is taken for it: a number needs at least two
 * bytes, so a file of b bytes cannot announce more than b of them.
 */
#include "formats/uai.h"

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "formats/c_locale.h"
#include "formats/whole_file.h"

enum { UAI_MOST_BYTES = 1 << 30 };

typedef struct uai_reader {
  const char *path;
  const char *at, *end, *line; /* line: its first byte */
  int number;                  /* of the line, from 1  */
  const char *word;            /* the last word read   */
  size_t length;
} uai_reader;

/* ---- words ---- */

static poe_status uai_wrong(const uai_reader *reader, poe_error *error) {
  poe_error_at(error, reader->path, reader->number, (int)(reader->word - reader->line) + 1, (int)reader->length);
  return POE_E_FORMAT;
}

/* The next word; false at the end of the file, when `word` is the empty place there. */
static bool uai_next(uai_reader *reader) {
  while (reader->at < reader->end && strchr(" \t\r\n\v\f", *reader->at) != NULL) {
    if (*reader->at++ == '\n') {
      reader->line = reader->at;
      reader->number++;
    }
  }
  reader->word = reader->at;
  while (reader->at < reader->end && strchr(" \t\r\n\v\f", *reader->at) == NULL) {
    reader->at++;
  }
  reader->length = (size_t)(reader->at - reader->word);
  return reader->length > 0;
}

/* A whole number in low..high; `what` it is, for messages. */
static poe_status uai_count(uai_reader *reader, const char *what, size_t low, size_t high, size_t *out,
                            poe_error *error) {
  if (!uai_next(reader)) {
    poe_error_set(error, POE_E_FORMAT, "the file ends where %s should be", what);
    return uai_wrong(reader, error);
  }
  size_t value = 0;
  bool digits = reader->length <= 15;
  for (size_t i = 0; i < reader->length && digits; i++) {
    digits = reader->word[i] >= '0' && reader->word[i] <= '9';
    value = 10 * value + (size_t)(reader->word[i] - '0');
  }
  if (!digits || value < low || value > high) {
    int shown = reader->length < 40 ? (int)reader->length : 40;
    if (high == SIZE_MAX) {
      poe_error_set(error, POE_E_FORMAT, "%s should be a whole number, not '%.*s'", what, shown, reader->word);
    } else {
      poe_error_set(error, POE_E_FORMAT, "%s should be a whole number from %zu to %zu, not '%.*s'", what, low, high,
                    shown, reader->word);
    }
    return uai_wrong(reader, error);
  }
  *out = value;
  return POE_OK;
}

/* A table's number: finite and not negative. */
static poe_status uai_value(uai_reader *reader, double *out, poe_error *error) {
  if (!uai_next(reader)) {
    poe_error_set(error, POE_E_FORMAT, "the file ends inside a table");
    return uai_wrong(reader, error);
  }
  char *stop = NULL; /* the file ends with a NUL, and a word is followed by a blank or that */
  errno = 0;
  *out = strtod(reader->word, &stop);
  if (stop != reader->at || !isfinite(*out) || *out < 0.0) {
    int shown = reader->length < 40 ? (int)reader->length : 40;
    poe_error_set(error, POE_E_FORMAT, "a table's value should be finite and at least 0, not '%.*s'", shown,
                  reader->word);
    return uai_wrong(reader, error);
  }
  return POE_OK;
}

/* How many numbers can still come. */
static size_t uai_room(const uai_reader *reader) {
  return (size_t)(reader->end - reader->at) / 2 + 1;
}

static poe_status uai_memory(poe_error *error) {
  return poe_error_set(error, POE_E_MEMORY, "out of memory for a factor graph");
}

/* ---- networks ---- */

static poe_status uai_head(uai_reader *reader, poei_uai *network, poe_error *error) {
  if (!uai_next(reader) || !((reader->length == 6 && memcmp(reader->word, "MARKOV", 6) == 0) ||
                             (reader->length == 5 && memcmp(reader->word, "BAYES", 5) == 0))) {
    poe_error_set(error, POE_E_FORMAT, "a UAI network begins with MARKOV or BAYES");
    return uai_wrong(reader, error);
  }
  network->bayes = reader->length == 5;
  poe_status status = uai_count(reader, "the number of variables", 1, uai_room(reader), &network->n, error);
  if (status != POE_OK) {
    return status;
  }
  network->cardinality = poei_calloc(network->n, sizeof *network->cardinality);
  if (network->cardinality == NULL) {
    return uai_memory(error);
  }
  for (size_t v = 0; v < network->n && status == POE_OK; v++) {
    status = uai_count(reader, "the number of values of a variable", 1, 1u << 30, &network->cardinality[v], error);
  }
  return status;
}

/* seen[n]: 1 + the number of the factor that last had the variable. */
static poe_status uai_scope(uai_reader *reader, const poei_uai *network, size_t f, size_t *seen, poe_error *error) {
  poei_uai_factor *factor = &network->factor[f];
  poe_status status = uai_count(reader, "the size of a scope", 0, network->n, &factor->n, error);
  if (status != POE_OK) {
    return status;
  }
  factor->variable = poei_calloc(factor->n, sizeof *factor->variable);
  if (factor->variable == NULL && factor->n > 0) {
    return uai_memory(error);
  }
  factor->states = 1;
  for (size_t j = 0; j < factor->n && status == POE_OK; j++) {
    status = uai_count(reader, "a variable's number", 0, network->n - 1, &factor->variable[j], error);
    size_t v = factor->variable[j];
    if (status == POE_OK && seen[v] == f + 1) {
      poe_error_set(error, POE_E_FORMAT, "variable %zu stands twice in the scope of factor %zu", v, f);
      status = uai_wrong(reader, error);
    }
    seen[v] = f + 1;
    if (status == POE_OK && !poei_mul_size(factor->states, network->cardinality[v], &factor->states)) {
      poe_error_set(error, POE_E_FORMAT, "factor %zu has too many joint states", f);
      status = uai_wrong(reader, error);
    }
  }
  return status;
}

static poe_status uai_table(uai_reader *reader, const poei_uai *network, size_t f, poe_error *error) {
  poei_uai_factor *factor = &network->factor[f];
  size_t count = 0;
  poe_status status = uai_count(reader, "the size of a table", 0, SIZE_MAX, &count, error);
  if (status == POE_OK && count != factor->states) {
    poe_error_set(error, POE_E_FORMAT, "factor %zu has %zu joint states, but its table has %zu numbers", f,
                  factor->states, count);
    return uai_wrong(reader, error);
  }
  if (status == POE_OK && count > uai_room(reader)) {
    poe_error_set(error, POE_E_FORMAT, "the file is too short for the %zu numbers of factor %zu", count, f);
    return uai_wrong(reader, error);
  }
  if (status != POE_OK) {
    return status;
  }
  factor->value = poei_alloc(count, sizeof *factor->value);
  if (factor->value == NULL) {
    return uai_memory(error);
  }
  for (size_t s = 0; s < count && status == POE_OK; s++) {
    status = uai_value(reader, &factor->value[s], error);
  }
  return status;
}

static poe_status uai_end(uai_reader *reader, poe_error *error) {
  if (!uai_next(reader)) {
    return POE_OK;
  }
  poe_error_set(error, POE_E_FORMAT, "the file goes on after its last number");
  return uai_wrong(reader, error);
}

/* Files of the first competitions go on with whole numbers that are no part of the network. */
static poe_status uai_rest(uai_reader *reader, poe_error *error) {
  size_t ignored = 0;
  poe_status status = POE_OK;
  uai_reader ahead = *reader;
  while (status == POE_OK && uai_next(&ahead)) {
    status = uai_count(reader, "what stands after the last table", 0, SIZE_MAX, &ignored, error);
  }
  return status;
}

static poe_status uai_parse(uai_reader *reader, poei_uai *network, poe_error *error) {
  poe_status status = uai_head(reader, network, error);
  if (status == POE_OK) {
    status = uai_count(reader, "the number of factors", 0, uai_room(reader), &network->factors, error);
  }
  if (status != POE_OK) {
    return status;
  }
  network->factor = poei_calloc(network->factors, sizeof *network->factor);
  size_t *seen = poei_calloc(network->n, sizeof *seen);
  if ((network->factor == NULL && network->factors > 0) || seen == NULL) {
    poei_free(seen);
    return uai_memory(error);
  }
  for (size_t f = 0; f < network->factors && status == POE_OK; f++) {
    status = uai_scope(reader, network, f, seen, error);
  }
  for (size_t f = 0; f < network->factors && status == POE_OK; f++) {
    status = uai_table(reader, network, f, error);
  }
  poei_free(seen);
  return status == POE_OK ? uai_rest(reader, error) : status;
}

/* A reader at the beginning of a file; *text is the caller's to free. */
static poe_status uai_open(const char *path, char **text, uai_reader *reader, poe_error *error) {
  size_t size = 0;
  poe_status status = poei_file_read(path, UAI_MOST_BYTES, text, &size, error);
  if (status == POE_OK) {
    *reader = (uai_reader){.path = path, .at = *text, .end = *text + size, .line = *text, .number = 1};
  }
  return status;
}

poe_status poei_uai_read(const char *path, poei_uai *network, poe_error *error) {
  char *text = NULL;
  uai_reader reader;
  poei_c_locale scope;
  poe_status status = uai_open(path, &text, &reader, error);
  if (status != POE_OK) {
    return status;
  }
  if (!poei_c_locale_enter(&scope)) {
    poei_free(text);
    return uai_memory(error);
  }
  poei_uai made = {0};
  status = uai_parse(&reader, &made, error);
  poei_c_locale_leave(&scope);
  poei_free(text);
  if (status != POE_OK) {
    poei_uai_free(&made);
    return status;
  }
  *network = made;
  return POE_OK;
}

void poei_uai_free(poei_uai *network) {
  if (network == NULL) {
    return;
  }
  for (size_t f = 0; network->factor != NULL && f < network->factors; f++) {
    poei_free(network->factor[f].variable);
    poei_free(network->factor[f].value);
  }
  poei_free(network->factor);
  poei_free(network->cardinality);
  *network = (poei_uai){0};
}

/* ---- evidence ---- */

static poe_status uai_pairs(uai_reader *reader, const poei_uai *network, poei_uai_evidence *evidence,
                            poe_error *error) {
  unsigned char *seen = poei_calloc(network->n, 1);
  poe_status status = seen == NULL ? uai_memory(error) : POE_OK;
  for (size_t i = 0; i < evidence->n && status == POE_OK; i++) {
    status = uai_count(reader, "the number of an observed variable", 0, network->n - 1, &evidence->variable[i], error);
    size_t v = evidence->variable[i];
    if (status == POE_OK && seen[v]++ != 0) {
      poe_error_set(error, POE_E_FORMAT, "variable %zu is observed twice", v);
      status = uai_wrong(reader, error);
    }
    if (status == POE_OK) {
      status = uai_count(reader, "an observed value", 0, network->cardinality[v] - 1, &evidence->value[i], error);
    }
  }
  poei_free(seen);
  return status == POE_OK ? uai_end(reader, error) : status;
}

/* Number of words left. */
static size_t uai_words(uai_reader reader) {
  size_t words = 0;
  while (uai_next(&reader)) {
    words++;
  }
  return words;
}

static poe_status uai_evidence_parse(uai_reader *reader, const poei_uai *network, poei_uai_evidence *evidence,
                                     poe_error *error) {
  size_t words = uai_words(*reader);
  poe_status status = uai_count(reader, "the number of observations", 0, words, &evidence->n, error);
  if (status == POE_OK && evidence->n == 1 && words % 2 == 0) { /* one sample, whose own count follows */
    status = uai_count(reader, "the number of observations", 0, words, &evidence->n, error);
  }
  if (status != POE_OK) {
    return status;
  }
  evidence->variable = poei_calloc(evidence->n, sizeof *evidence->variable);
  evidence->value = poei_calloc(evidence->n, sizeof *evidence->value);
  if (evidence->n > 0 && (evidence->variable == NULL || evidence->value == NULL)) {
    return uai_memory(error);
  }
  return uai_pairs(reader, network, evidence, error);
}

poe_status poei_uai_evidence_read(const char *path, const poei_uai *network, poei_uai_evidence *evidence,
                                  poe_error *error) {
  char *text = NULL;
  uai_reader reader;
  poe_status status = uai_open(path, &text, &reader, error);
  if (status != POE_OK) {
    return status;
  }
  poei_uai_evidence made = {0};
  status = uai_evidence_parse(&reader, network, &made, error);
  poei_free(text);
  if (status != POE_OK) {
    poei_uai_evidence_free(&made);
    return status;
  }
  *evidence = made;
  return POE_OK;
}

void poei_uai_evidence_free(poei_uai_evidence *evidence) {
  if (evidence != NULL) {
    poei_free(evidence->variable);
    poei_free(evidence->value);
    *evidence = (poei_uai_evidence){0};
  }
}
