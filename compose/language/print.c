/* Trees to canonical text.
 *
 * Parsing what is printed gives the same tree, and printing that gives the same text. Parentheses stand only where the
 * grammar needs them; products are written tightly inside sums and arguments; a statement that does not fit 100
 * columns is broken inside its calls, lists and chains. Comments and single blank lines are kept.
 */
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compose/language/syntax.h"

enum { COLUMNS = 100 };

/* How closely operators are set. */
typedef enum tightness {
  LOOSE,      /* a * b + c              */
  TIGHT_TERM, /* a*b + c: in sums, arguments, lists */
  TIGHT       /* a*b+c: in slices       */
} tightness;

typedef struct printer {
  poei_region *region;
  char *text;
  size_t n, capacity;
  bool failed;
} printer;

static void put(printer *out, const char *text) {
  size_t length = strlen(text);
  if (out->failed) {
    return;
  }
  if (out->capacity - out->n <= length) {
    size_t capacity = out->capacity * 2 + length + 256;
    char *larger = poei_region_take(out->region, capacity, 1);
    if (!larger) {
      out->failed = true;
      return;
    }
    if (out->n > 0) {
      memcpy(larger, out->text, out->n);
    }
    out->text = larger;
    out->capacity = capacity;
  }
  memcpy(out->text + out->n, text, length + 1);
  out->n += length;
}

static void put_spaces(printer *out, size_t n) {
  while (n-- > 0) {
    put(out, " ");
  }
}

const char *poei_number_text(double number, char text[POEI_NUMBER_TEXT]) {
  if (isnan(number) || isinf(number)) {
    snprintf(text, POEI_NUMBER_TEXT, "%s", isnan(number) ? "nan" : number > 0 ? "inf" : "-inf");
    return text;
  }
  for (int digits = 15; digits <= 17; digits++) {
    snprintf(text, POEI_NUMBER_TEXT, "%.*g", digits, number);
    if (strtod(text, NULL) == number) {
      break;
    }
  }
  const char *point = localeconv()->decimal_point;
  char *comma = point && strlen(point) == 1 ? strchr(text, point[0]) : NULL;
  if (comma) {
    *comma = '.';
  }
  return text;
}

static void put_number(printer *out, double number) {
  char text[POEI_NUMBER_TEXT];
  put(out, poei_number_text(number, text));
}

static void put_string(printer *out, const char *text) {
  put(out, "\"");
  for (; *text; text++) {
    char piece[8] = {*text, '\0'};
    unsigned char c = (unsigned char)*text;
    if (c == '"' || c == '\\') {
      snprintf(piece, sizeof piece, "\\%c", c);
    } else if (c == '\n' || c == '\t' || c == '\r') {
      snprintf(piece, sizeof piece, "\\%c", c == '\n' ? 'n' : c == '\t' ? 't' : 'r');
    } else if (c < 0x20 || c == 0x7F) {
      snprintf(piece, sizeof piece, "\\x%02x", c);
    }
    put(out, piece);
  }
  put(out, "\"");
}

/* ---- one line ---- */

/* The level of parse_expression.c at which a node was made; primaries bind tightest. */
static int level_of(poei_syntax_kind kind) {
  switch (kind) {
  case POEI_SYNTAX_GIVEN:
    return 1;
  case POEI_SYNTAX_OR:
    return 2;
  case POEI_SYNTAX_AND:
    return 3;
  case POEI_SYNTAX_NOT:
    return 4;
  case POEI_SYNTAX_SUM:
    return 5;
  case POEI_SYNTAX_TERM:
    return 6;
  case POEI_SYNTAX_NEGATIVE:
    return 7;
  case POEI_SYNTAX_POWER:
    return 8;
  default:
    return 9;
  }
}

/* The lowest level an item of a node may have without parentheses. */
static int item_level(const poei_syntax *syntax, size_t item) {
  switch (syntax->kind) {
  case POEI_SYNTAX_GIVEN:
    return item == 0 ? 2 : 9;
  case POEI_SYNTAX_OR:
    return 3;
  case POEI_SYNTAX_AND:
    return item == 0 ? 3 : 4; /* brackets at the beginning of a chain mean nothing */
  case POEI_SYNTAX_NOT:
    return 4;
  case POEI_SYNTAX_SUM:
    return 6;
  case POEI_SYNTAX_TERM:
    return item == 0 ? 6 : 7;
  case POEI_SYNTAX_NEGATIVE:
    return 8;
  case POEI_SYNTAX_POWER:
    return item == 0 ? 9 : 7;
  case POEI_SYNTAX_BINDING:
    return item == 0 ? 9 : 5;
  case POEI_SYNTAX_INDEX:
    return 5;
  default:
    return 1;
  }
}

static const char *operator_text(const poei_syntax *syntax, size_t item, tightness tight) {
  bool inverse = syntax->inverse && syntax->inverse[item];
  switch (syntax->kind) {
  case POEI_SYNTAX_OR:
    return " or ";
  case POEI_SYNTAX_AND:
    return " and ";
  case POEI_SYNTAX_SUM:
    return tight == TIGHT ? (inverse ? "-" : "+") : inverse ? " - " : " + ";
  case POEI_SYNTAX_TERM:
    return tight != LOOSE ? (inverse ? "/" : "*") : inverse ? " / " : " * ";
  default:
    return ", ";
  }
}

static tightness inside(const poei_syntax *syntax, tightness tight) {
  bool sum_or_argument = syntax->kind == POEI_SYNTAX_SUM || syntax->kind == POEI_SYNTAX_ARGUMENT ||
                         syntax->kind == POEI_SYNTAX_LIST || syntax->kind == POEI_SYNTAX_BINDING ||
                         syntax->kind == POEI_SYNTAX_POWER;
  if (syntax->kind == POEI_SYNTAX_PLACE || syntax->kind == POEI_SYNTAX_INDEX || syntax->kind == POEI_SYNTAX_RANGE) {
    return TIGHT;
  }
  if (syntax->kind == POEI_SYNTAX_CALL) {
    return tight == TIGHT ? TIGHT_TERM : tight;
  }
  return sum_or_argument && tight == LOOSE ? TIGHT_TERM : tight;
}

static void put_flat(printer *out, const poei_syntax *syntax, int lowest, tightness tight);

static void put_item(printer *out, const poei_syntax *syntax, size_t item, tightness tight) {
  put_flat(out, syntax->items[item], item_level(syntax, item), inside(syntax, tight));
}

static void put_items(printer *out, const poei_syntax *syntax, size_t first, size_t last, tightness tight) {
  for (size_t i = first; i < last; i++) {
    put(out, i > first ? operator_text(syntax, i, tight) : "");
    put_item(out, syntax, i, tight);
  }
}

static void put_call(printer *out, const poei_syntax *syntax, tightness tight) {
  put(out, syntax->text);
  put(out, "(");
  put_items(out, syntax, 0, syntax->n_subjects, tight);
  put(out, syntax->bar ? " |" : "");
  put(out, syntax->bar && syntax->n > syntax->n_subjects ? " " : "");
  put_items(out, syntax, syntax->n_subjects, syntax->n, tight);
  put(out, ")");
}

static void put_given(printer *out, const poei_syntax *syntax, tightness tight) {
  put_item(out, syntax, 0, tight);
  put(out, " given ");
  put(out, syntax->n > 2 ? "(" : "");
  put_items(out, syntax, 1, syntax->n, tight);
  put(out, syntax->n > 2 ? ")" : "");
}

static void put_each(printer *out, const poei_syntax *syntax, tightness tight) {
  put_items(out, syntax, 0, syntax->n - 1, tight);
  put(out, " -> ");
  put_item(out, syntax, syntax->n - 1, tight);
}

static void put_node(printer *out, const poei_syntax *syntax, tightness tight) {
  switch (syntax->kind) {
  case POEI_SYNTAX_NUMBER:
    put_number(out, syntax->number);
    break;
  case POEI_SYNTAX_STRING:
    put_string(out, syntax->text);
    break;
  case POEI_SYNTAX_LIST:
    put(out, "[");
    put_items(out, syntax, 0, syntax->n, tight);
    put(out, "]");
    break;
  case POEI_SYNTAX_PLACE:
    put(out, syntax->text);
    put(out, syntax->n > 0 ? "[" : "");
    put_items(out, syntax, 0, syntax->n, tight);
    put(out, syntax->n > 0 ? "]" : "");
    break;
  case POEI_SYNTAX_ALL:
    put(out, ":");
    break;
  case POEI_SYNTAX_RANGE:
  case POEI_SYNTAX_INDEX:
    put(out, syntax->kind == POEI_SYNTAX_INDEX ? syntax->text : "");
    put(out, syntax->kind == POEI_SYNTAX_INDEX ? " in " : "");
    put_item(out, syntax, 0, tight);
    put(out, ":");
    put_item(out, syntax, 1, tight);
    break;
  case POEI_SYNTAX_CALL:
    put_call(out, syntax, tight);
    break;
  case POEI_SYNTAX_ARGUMENT:
    put(out, syntax->text);
    put(out, "=");
    put_item(out, syntax, 0, tight);
    break;
  case POEI_SYNTAX_EACH:
    put_each(out, syntax, tight);
    break;
  case POEI_SYNTAX_NOT:
  case POEI_SYNTAX_NEGATIVE:
    put(out, syntax->kind == POEI_SYNTAX_NOT ? "not " : "-");
    put_item(out, syntax, 0, tight);
    break;
  case POEI_SYNTAX_POWER:
  case POEI_SYNTAX_BINDING:
    put_item(out, syntax, 0, tight);
    put(out, syntax->kind == POEI_SYNTAX_POWER ? "^" : " = ");
    put_item(out, syntax, 1, tight);
    break;
  case POEI_SYNTAX_GIVEN:
    put_given(out, syntax, tight);
    break;
  case POEI_SYNTAX_OR:
  case POEI_SYNTAX_AND:
  case POEI_SYNTAX_SUM:
  case POEI_SYNTAX_TERM:
    put_items(out, syntax, 0, syntax->n, tight);
    break;
  }
}

static void put_flat(printer *out, const poei_syntax *syntax, int lowest, tightness tight) {
  bool brackets = level_of(syntax->kind) < lowest;
  put(out, brackets ? "(" : "");
  put_node(out, syntax, tight);
  put(out, brackets ? ")" : "");
}

/* ---- several lines ---- */

static size_t column(const printer *out) {
  size_t start = out->n;
  while (start > 0 && out->text[start - 1] != '\n') {
    start--;
  }
  return out->n - start;
}

static void new_line(printer *out, size_t indent) {
  while (out->n > 0 && out->text[out->n - 1] == ' ') {
    out->text[--out->n] = '\0';
  }
  put(out, "\n");
  put_spaces(out, indent);
}

static void put_laid_out(printer *out, const poei_syntax *syntax, int lowest, tightness tight, size_t indent);

/* Items of a call or list, filled into lines (numbers) or one per line. */
static void lay_out_items(printer *out, const poei_syntax *syntax, size_t first, tightness tight, size_t indent) {
  for (size_t i = first; i < syntax->n; i++) {
    const poei_syntax *item = syntax->items[i];
    bool small = syntax->kind == POEI_SYNTAX_LIST && item->kind != POEI_SYNTAX_LIST;
    if (small) {
      size_t before = out->n;
      put(out, i > first ? " " : "");
      put_item(out, syntax, i, tight);
      if (!out->failed && column(out) < COLUMNS - 2) {
        put(out, i + 1 < syntax->n ? "," : "");
        continue;
      }
      if (out->failed) {
        return;
      }
      out->n = before;
      out->text[before] = '\0';
    }
    if (i > first || syntax->kind != POEI_SYNTAX_LIST) {
      new_line(out, indent);
    }
    put_laid_out(out, item, item_level(syntax, i), inside(syntax, tight), indent);
    put(out, i + 1 < syntax->n ? "," : "");
  }
}

static void lay_out_chain(printer *out, const poei_syntax *syntax, tightness tight, size_t indent) {
  for (size_t i = 0; i < syntax->n; i++) {
    if (i > 0) {
      put(out, operator_text(syntax, i, tight));
      new_line(out, indent);
    }
    put_laid_out(out, syntax->items[i], item_level(syntax, i), inside(syntax, tight), indent);
  }
}

/* On one line if it fits, else broken at its outermost items. */
static void put_laid_out(printer *out, const poei_syntax *syntax, int lowest, tightness tight, size_t indent) {
  size_t before = out->n;
  put_flat(out, syntax, lowest, tight);
  if (out->failed || column(out) < COLUMNS - 1) {
    return;
  }
  bool brackets = level_of(syntax->kind) < lowest;
  bool breaks = (syntax->kind == POEI_SYNTAX_CALL && syntax->n > syntax->n_subjects) ||
                (syntax->kind == POEI_SYNTAX_LIST && syntax->n > 0) || syntax->kind == POEI_SYNTAX_OR ||
                syntax->kind == POEI_SYNTAX_AND || syntax->kind == POEI_SYNTAX_SUM ||
                syntax->kind == POEI_SYNTAX_TERM || syntax->kind == POEI_SYNTAX_ARGUMENT;
  if (!breaks) {
    return;
  }
  out->n = before;
  out->text[before] = '\0';
  put(out, brackets ? "(" : "");
  if (syntax->kind == POEI_SYNTAX_ARGUMENT) {
    put(out, syntax->text);
    put(out, "=");
    put_laid_out(out, syntax->items[0], 1, inside(syntax, tight), indent);
  } else if (syntax->kind == POEI_SYNTAX_CALL) {
    put(out, syntax->text);
    put(out, "(");
    put_items(out, syntax, 0, syntax->n_subjects, tight);
    put(out, syntax->bar ? " |" : "");
    lay_out_items(out, syntax, syntax->n_subjects, tight, indent + 2);
    put(out, ")");
  } else if (syntax->kind == POEI_SYNTAX_LIST) {
    put(out, "[");
    lay_out_items(out, syntax, 0, tight, indent + 1);
    put(out, "]");
  } else {
    lay_out_chain(out, syntax, tight, indent + 2);
  }
  put(out, brackets ? ")" : "");
}

/* ---- statements ---- */

static void put_sizes(printer *out, const char *open, size_t n, const poei_syntax *const *items, const char *close) {
  put(out, open);
  for (size_t i = 0; i < n; i++) {
    put(out, i > 0 ? ", " : "");
    put_flat(out, items[i], 1, TIGHT);
  }
  put(out, close);
}

static void put_space(printer *out, const poei_space *space) {
  put(out, space->kind.text);
  if (space->has_args) {
    put_sizes(out, "(", space->n_args, space->args, ")");
  }
  if (space->ndim > 0) {
    put_sizes(out, "[", space->ndim, space->shape, "]");
  }
  if (space->has_interval) {
    put(out, space->low_open ? " in (" : " in [");
    put_flat(out, space->low, 1, TIGHT);
    put(out, ", ");
    put_flat(out, space->high, 1, TIGHT);
    put(out, space->high_open ? ")" : "]");
  }
}

static void put_names(printer *out, size_t first, const poei_statement *statement) {
  for (size_t i = first; i < statement->n_names; i++) {
    put(out, i > first ? ", " : "");
    put(out, statement->names[i].text);
  }
}

static void put_statement(printer *out, const poei_statement *statement) {
  switch (statement->kind) {
  case POEI_STATEMENT_VAR:
    put(out, "var ");
    put_names(out, 0, statement);
    put(out, " : ");
    put_space(out, &statement->space);
    break;
  case POEI_STATEMENT_DEFINITION:
    put(out, statement->names[0].text);
    if (statement->formal) {
      put(out, "(");
      put_names(out, 1, statement);
      put(out, ")");
    }
    put(out, " = ");
    put_laid_out(out, statement->body, 1, LOOSE, 0);
    break;
  case POEI_STATEMENT_ACTION:
    put_laid_out(out, statement->body, 1, LOOSE, 0);
    break;
  case POEI_STATEMENT_INCLUDE:
    put(out, "include ");
    put_string(out, statement->path);
    break;
  case POEI_STATEMENT_BROKEN:
    break;
  }
}

static void put_comment(printer *out, const poei_comment *comment) {
  char *text = poei_region_text(out->region, comment->span.source->text + comment->span.offset, comment->span.length);
  if (!text) {
    out->failed = true;
    return;
  }
  put(out, text);
}

/* Separates an item that began on `line` of the source from the last one, which ended on `*last`. */
static void separate(printer *out, int line, int *last) {
  if (out->n > 0 && line - *last > 1) {
    put(out, "\n");
  }
  *last = line;
}

static int last_line(const poei_statement *statement) {
  int line = statement->span.line;
  for (size_t i = 0; i < statement->span.length; i++) {
    line += statement->span.source->text[statement->span.offset + i] == '\n';
  }
  return line;
}

const char *poei_print_document(poei_region *region, const poei_document *document) {
  printer out = {.region = region};
  size_t next = 0; /* comment */
  int last = 0;
  put(&out, "");
  for (size_t i = 0; i < document->n; i++) {
    const poei_statement *statement = &document->statements[i];
    int end = last_line(statement);
    const poei_comment *trailing = NULL;
    for (; next < document->n_comments && document->comments[next].span.line <= end; next++) {
      const poei_comment *comment = &document->comments[next];
      int line = comment->span.line;
      if (line == end && !comment->alone) {
        trailing = comment;
        continue;
      }
      separate(&out, line < statement->span.line ? line : statement->span.line, &last);
      put_comment(&out, comment);
      put(&out, "\n");
    }
    separate(&out, statement->span.line, &last);
    put_statement(&out, statement);
    if (trailing) {
      put(&out, "  ");
      put_comment(&out, trailing);
    }
    put(&out, "\n");
    last = end;
  }
  for (; next < document->n_comments; next++) {
    separate(&out, document->comments[next].span.line, &last);
    put_comment(&out, &document->comments[next]);
    put(&out, "\n");
  }
  return out.failed ? NULL : out.text;
}

const char *poei_print_expression(poei_region *region, const poei_syntax *syntax) {
  printer out = {.region = region};
  put_flat(&out, syntax, 1, LOOSE);
  return out.failed ? NULL : out.text;
}
