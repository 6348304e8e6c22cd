/* The tree of a target as written, for `explain`:
 *
 *   both = product over z[0..15]                      t.poe:9:8
 *     code = gaussian(z | mean=0, sd=1)               t.poe:4:8
 *     three = energy(image | file="three.safetensors")
 *     ^-0.5 thick = energy(...)
 *
 * A named expert is written out where it comes first; later it is its name alone.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compose/language/program_parts.h"
#include "core/alloc.h"

typedef struct tree {
  poei_checker *checker;
  const poei_term **seen; /* named ones already written out */
  size_t n_seen, seen_capacity;
  char *text;
  size_t n, capacity;
  bool failed;
} tree;

static void put(tree *out, const char *text) {
  size_t length = strlen(text);
  if (out->failed) {
    return;
  }
  if (out->capacity - out->n <= length) {
    size_t capacity = out->capacity * 2 + length + 256;
    char *larger = poei_realloc(out->text, capacity, 1);
    if (!larger) {
      out->failed = true;
      return;
    }
    out->text = larger;
    out->capacity = capacity;
  }
  memcpy(out->text + out->n, text, length + 1);
  out->n += length;
}

static const char *word_of(const poei_term *term) {
  switch (term->kind) {
  case POEI_TERM_PRODUCT:
    return "product";
  case POEI_TERM_PLATE:
    return "plate";
  case POEI_TERM_MIXTURE:
    return "mixture";
  case POEI_TERM_NORMALISE:
    return "normalise";
  case POEI_TERM_UNNORMALISED:
    return "unnormalised";
  case POEI_TERM_GIVEN:
    return "given";
  case POEI_TERM_MARGINAL:
    return isinf(term->beta) ? "profile" : "marginal";
  default:
    return "";
  }
}

/* "x[0..3], c": variables with the first and last of their coordinates. */
static void put_coordinates(tree *out, const poei_term *term) {
  const poei_program *program = out->checker->program;
  char text[160];
  for (size_t i = 0; i < term->dim;) {
    const poei_variable *variable = poei_variable_of(program, term->coordinate[i]);
    size_t j = i;
    while (j < term->dim && term->coordinate[j] < variable->offset + variable->dim) {
      j++;
    }
    put(out, i > 0 ? ", " : " over ");
    put(out, variable->name);
    if (j - i < variable->dim) {
      snprintf(text, sizeof text, " (%zu of %zu coordinates)", j - i, variable->dim);
      put(out, text);
    }
    i = j;
  }
}

static void put_place(tree *out, const poei_term *term) {
  enum { PLACE_COLUMN = 72 };
  char text[64];
  poei_span span = term->syntax->span;
  size_t start = out->n;
  while (start > 0 && out->text && out->text[start - 1] != '\n') {
    start--;
  }
  do {
    put(out, " ");
  } while (!out->failed && out->n - start < PLACE_COLUMN);
  put(out, span.source->path);
  snprintf(text, sizeof text, ":%d:%d\n", span.line, span.column);
  put(out, text);
}

static void put_leaf(tree *out, const poei_term *term) {
  enum { LONGEST = 200 };
  const char *text = poei_print_expression(&out->checker->program->region, term->syntax);
  char piece[LONGEST + 8];
  snprintf(piece, sizeof piece, "%.*s%s", LONGEST, text ? text : term->leaf->kind,
           text && strlen(text) > LONGEST ? " ..." : "");
  put(out, piece);
}

static bool already_seen(tree *out, const poei_term *term) {
  for (size_t i = 0; i < out->n_seen; i++) {
    if (out->seen[i] == term) {
      return true;
    }
  }
  const poei_term **seen =
      poei_region_grow(&out->checker->program->region, out->seen, out->n_seen, &out->seen_capacity, sizeof *seen);
  if (!seen) {
    out->failed = true;
    return true;
  }
  out->seen = seen;
  seen[out->n_seen++] = term;
  return false;
}

static void put_term(tree *out, const poei_term *term, size_t level, const char *role) {
  for (size_t i = 0; i < level; i++) {
    put(out, "  ");
  }
  put(out, role);
  if (term->name) {
    put(out, term->name);
    if (already_seen(out, term)) {
      put(out, " (above)\n");
      return;
    }
    put(out, " = ");
  }
  if (term->kind == POEI_TERM_LEAF) {
    put_leaf(out, term);
    put_place(out, term);
    return;
  }
  char text[96];
  put(out, word_of(term));
  if (term->kind == POEI_TERM_PLATE) {
    snprintf(text, sizeof text, " of %zu", term->count);
    put(out, text);
  } else if (term->kind == POEI_TERM_GIVEN) {
    snprintf(text, sizeof text, " %zu fixed coordinate%s", term->n_given, term->n_given == 1 ? "" : "s");
    put(out, text);
  }
  if (term->kind == POEI_TERM_MARGINAL) {
    snprintf(text, sizeof text, " without %zu coordinate%s", term->n_given, term->n_given == 1 ? "" : "s");
    put(out, text);
    if (isfinite(term->beta) && term->beta != 1.0) {
      char number[POEI_NUMBER_TEXT];
      snprintf(text, sizeof text, " at beta %s", poei_number_text(term->beta, number));
      put(out, text);
    }
  }
  put_coordinates(out, term);
  put_place(out, term);
  for (size_t i = 0; i < term->n && !out->failed; i++) {
    char number[POEI_NUMBER_TEXT];
    text[0] = '\0';
    if (term->kind == POEI_TERM_MIXTURE) {
      snprintf(text, sizeof text, "%s * ", poei_number_text(term->factor[i], number));
    } else if (term->kind == POEI_TERM_PRODUCT && term->factor[i] != 1) {
      snprintf(text, sizeof text, "^%s ", poei_number_text(term->factor[i], number));
    }
    put_term(out, term->children[i], level + 1, text);
  }
}

char *poei_program_tree(poei_program *program, const char *expression, poei_diagnostics *diagnostics) {
  poei_checker checker = {.reader = {.region = &program->region, .diagnostics = diagnostics}, .program = program};
  const poei_syntax *syntax = NULL;
  poei_term *term = NULL;
  tree out = {.checker = &checker};
  if (!poei_check_target(&checker, expression, &syntax, &term)) {
    poei_checker_finish(&checker);
    return NULL;
  }
  put_term(&out, term, 0, "");
  if (out.failed) {
    poei_report_memory(&checker.reader);
    poei_free(out.text);
    return NULL;
  }
  return out.text;
}
