/* Text to tokens.
 *
 * One pass, no look-ahead beyond two bytes. Newlines are not tokens: a token knows that it is the first of its line,
 * and the parser, which knows the open brackets, decides whether that ends a statement. Comments are kept beside the
 * tokens for the printer.
 *
 * Invariants: offsets grow; the last token is END; names, strings and numbers are copied out of the text. What is not
 * in the language is reported once and becomes an INVALID token.
 */
#include <ctype.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compose/language/syntax.h"
#include "formats/file_error.h"

typedef struct lexer {
  poei_reader *reader;
  const poei_source *source;
  size_t at, line_start; /* offsets: of the next byte, of the first byte of its line */
  int line;
  bool first; /* nothing but blanks so far on this line */
  poei_tokens *out;
  size_t capacity, comment_capacity;
} lexer;

const char *poei_token_text(poei_token_kind kind) {
  static const char *const texts[] = {
#define TOKEN_TEXT(name, text, continues) text,
      POEI_TOKEN_LIST(TOKEN_TEXT)
#undef TOKEN_TEXT
  };
  return texts[kind];
}

bool poei_token_continues(poei_token_kind kind) {
  static const bool continues[] = {
#define TOKEN_CONTINUES(name, text, continues) continues,
      POEI_TOKEN_LIST(TOKEN_CONTINUES)
#undef TOKEN_CONTINUES
  };
  return continues[kind];
}

static const struct {
  const char *word;
  poei_token_kind kind;
} keywords[] = {
    {"var", POEI_TOKEN_VAR}, {"include", POEI_TOKEN_INCLUDE}, {"in", POEI_TOKEN_IN},       {"and", POEI_TOKEN_AND},
    {"or", POEI_TOKEN_OR},   {"not", POEI_TOKEN_NOT},         {"given", POEI_TOKEN_GIVEN},
};

/* Characters of other languages, and what to write instead. */
static const struct {
  char c;
  const char *hint;
} strangers[] = {
    {'&', "write 'and', or '*'"},
    {'!', "write 'a and not b', or 'a / b'"},
    {';', "one statement stands on one line"},
    {'\'', "strings stand in double quotes"},
    {'{', "lists stand in [ ]"},
    {'}', "lists stand in [ ]"},
    {'<', "an interval is written: real in (0, inf)"},
    {'>', "an interval is written: real in (0, inf)"},
    {'~', "write a definition: name = gaussian(x | mean=0)"},
};

static int peek_byte(const lexer *lex, size_t ahead) {
  return lex->at + ahead < lex->source->size ? (unsigned char)lex->source->text[lex->at + ahead] : -1;
}

static bool is_digit(int c) {
  return c >= '0' && c <= '9';
}

static bool is_name_start(int c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_name_part(int c) {
  return is_name_start(c) || is_digit(c);
}

static poei_span span_from(const lexer *lex, size_t start) {
  return (poei_span){.source = lex->source,
                     .offset = start,
                     .length = lex->at - start,
                     .line = lex->line,
                     .column = (int)(start - lex->line_start) + 1};
}

static poei_token *add_token(lexer *lex, poei_token_kind kind, size_t start) {
  poei_tokens *out = lex->out;
  poei_token *items = poei_region_grow(lex->reader->region, out->items, out->n, &lex->capacity, sizeof *items);
  if (!items) {
    return NULL;
  }
  out->items = items;
  poei_token *token = &items[out->n++];
  *token = (poei_token){.kind = kind, .first = lex->first, .span = span_from(lex, start)};
  lex->first = false;
  return token;
}

static bool invalid(lexer *lex, size_t start, const char *hint, const char *what) {
  poei_report(lex->reader, POE_E_SYNTAX, span_from(lex, start), hint, "%s", what);
  return add_token(lex, POEI_TOKEN_INVALID, start) != NULL;
}

static bool lex_comment(lexer *lex) {
  size_t start = lex->at;
  bool alone = lex->first;
  while (peek_byte(lex, 0) >= 0 && peek_byte(lex, 0) != '\n') {
    lex->at++;
  }
  poei_span span = span_from(lex, start);
  while (span.length > 1 && isspace((unsigned char)lex->source->text[start + span.length - 1])) {
    span.length--;
  }
  poei_tokens *out = lex->out;
  poei_comment *comments =
      poei_region_grow(lex->reader->region, out->comments, out->n_comments, &lex->comment_capacity, sizeof *comments);
  if (!comments) {
    return false;
  }
  out->comments = comments;
  comments[out->n_comments++] = (poei_comment){.span = span, .alone = alone};
  return true;
}

static bool lex_name(lexer *lex) {
  size_t start = lex->at;
  while (is_name_part(peek_byte(lex, 0))) {
    lex->at++;
  }
  const char *text = lex->source->text + start;
  size_t length = lex->at - start;
  if (length > POEI_MAX_NAME) {
    return invalid(lex, start, "a name has at most 127 letters", "this name is too long");
  }
  for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++) {
    if (strlen(keywords[i].word) == length && memcmp(keywords[i].word, text, length) == 0) {
      return add_token(lex, keywords[i].kind, start) != NULL;
    }
  }
  poei_token *token = add_token(lex, POEI_TOKEN_NAME, start);
  return token && (token->text = poei_region_text(lex->reader->region, text, length)) != NULL;
}

/* strtod reads the decimal point of the locale; the language always writes a point. */
static double to_double(char *text) {
  const char *point = localeconv()->decimal_point;
  char *dot = strchr(text, '.');
  if (dot && point && strlen(point) == 1) {
    *dot = point[0];
  }
  return strtod(text, NULL);
}

static bool lex_number(lexer *lex) {
  enum { LONGEST = 400 };
  size_t start = lex->at;
  while (is_digit(peek_byte(lex, 0))) {
    lex->at++;
  }
  if (peek_byte(lex, 0) == '.') {
    lex->at++;
    while (is_digit(peek_byte(lex, 0))) {
      lex->at++;
    }
  }
  int e = peek_byte(lex, 0);
  size_t sign = peek_byte(lex, 1) == '+' || peek_byte(lex, 1) == '-' ? 2 : 1;
  if ((e == 'e' || e == 'E') && is_digit(peek_byte(lex, sign))) {
    lex->at += sign;
    while (is_digit(peek_byte(lex, 0))) {
      lex->at++;
    }
  }
  if (is_name_part(peek_byte(lex, 0)) || peek_byte(lex, 0) == '.') {
    while (is_name_part(peek_byte(lex, 0)) || peek_byte(lex, 0) == '.') {
      lex->at++;
    }
    return invalid(lex, start, "write a product with '*'; a name begins with a letter", "this is not a number");
  }
  char digits[LONGEST + 1];
  size_t length = lex->at - start;
  if (length > LONGEST) {
    return invalid(lex, start, NULL, "this number has too many digits");
  }
  memcpy(digits, lex->source->text + start, length);
  digits[length] = '\0';
  double number = to_double(digits);
  if (!isfinite(number)) {
    return invalid(lex, start, "infinity is written 'inf'", "this number is too large");
  }
  poei_token *token = add_token(lex, POEI_TOKEN_NUMBER, start);
  if (token) {
    token->number = number;
  }
  return token != NULL;
}

static int hex_digit(int c) {
  return is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Reads one escape after its backslash into *c; -1 when there is no such escape. */
static int lex_escape(lexer *lex) {
  int c = peek_byte(lex, 0);
  if (c < 0 || c == '\n') {
    return -1;
  }
  lex->at++;
  switch (c) {
  case 'n':
    return '\n';
  case 't':
    return '\t';
  case 'r':
    return '\r';
  case '"':
  case '\\':
    return c;
  case 'x': {
    int high = hex_digit(peek_byte(lex, 0)), low = high < 0 ? -1 : hex_digit(peek_byte(lex, 1));
    lex->at += low < 0 ? 0 : 2; /* ASCII only: strings stay UTF-8 */
    return low < 0 || high > 7 || high * 16 + low == 0 ? -1 : high * 16 + low;
  }
  default:
    return -1;
  }
}

static bool lex_string(lexer *lex) {
  size_t start = lex->at++;
  size_t longest = 0;
  while (peek_byte(lex, longest) >= 0 && peek_byte(lex, longest) != '\n' && peek_byte(lex, longest) != '"') {
    longest += peek_byte(lex, longest) == '\\' && peek_byte(lex, longest + 1) > 0 ? 2 : 1;
  }
  char *text = poei_region_take(lex->reader->region, longest + 1, 1);
  if (!text) {
    return false;
  }
  size_t n = 0;
  for (;;) {
    int c = peek_byte(lex, 0);
    if (c < 0 || c == '\n') {
      return invalid(lex, start, "close it with \" on the same line", "this string is never closed");
    }
    lex->at++;
    if (c == '"') {
      break;
    }
    if (c == '\\') {
      size_t escape = lex->at - 1;
      c = lex_escape(lex);
      if (c < 0) {
        while (peek_byte(lex, 0) >= 0 && peek_byte(lex, 0) != '\n' && peek_byte(lex, 0) != '"') {
          lex->at++;
        }
        lex->at += peek_byte(lex, 0) == '"';
        return invalid(lex, escape, "the escapes are \\\" \\\\ \\n \\t \\r \\xHH", "this is not an escape");
      }
    }
    text[n++] = (char)c;
  }
  poei_token *token = add_token(lex, POEI_TOKEN_STRING, start);
  if (token) {
    token->text = text;
  }
  return token != NULL;
}

static bool lex_stranger(lexer *lex) {
  size_t start = lex->at;
  int c = peek_byte(lex, 0);
  lex->at++;
  while (c >= 0x80 && peek_byte(lex, 0) >= 0x80 && (peek_byte(lex, 0) & 0xC0) == 0x80) {
    lex->at++; /* all bytes of one character */
  }
  const char *hint = c >= 0x80 ? "names are made of the letters a-z A-Z, digits and _" : NULL;
  for (size_t i = 0; i < sizeof strangers / sizeof *strangers; i++) {
    if (strangers[i].c == c) {
      hint = strangers[i].hint;
    }
  }
  char what[64];
  if (c < 0x20 || c == 0x7F) {
    snprintf(what, sizeof what, "byte 0x%02x is not part of the language", (unsigned)c);
  } else {
    snprintf(what, sizeof what, "'%.*s' is not part of the language", (int)(lex->at - start < 8 ? lex->at - start : 8),
             lex->source->text + start);
  }
  return invalid(lex, start, hint, what);
}

static bool lex_mark(lexer *lex) {
  static const struct {
    char c;
    poei_token_kind kind;
  } marks[] = {
      {'(', POEI_TOKEN_OPEN},  {')', POEI_TOKEN_CLOSE}, {'[', POEI_TOKEN_OPEN_LIST}, {']', POEI_TOKEN_CLOSE_LIST},
      {',', POEI_TOKEN_COMMA}, {':', POEI_TOKEN_COLON}, {'=', POEI_TOKEN_EQUALS},    {'|', POEI_TOKEN_BAR},
      {'+', POEI_TOKEN_PLUS},  {'-', POEI_TOKEN_MINUS}, {'*', POEI_TOKEN_STAR},      {'/', POEI_TOKEN_SLASH},
      {'^', POEI_TOKEN_CARET},
  };
  size_t start = lex->at;
  int c = peek_byte(lex, 0), next = peek_byte(lex, 1);
  if (c == '-' && next == '>') {
    lex->at += 2;
    return add_token(lex, POEI_TOKEN_ARROW, start) != NULL;
  }
  if ((c == '*' || c == '|' || c == '=') && next == c) {
    lex->at += 2;
    return invalid(lex, start,
                   c == '*'   ? "a power is written '^'"
                   : c == '|' ? "write 'or'"
                              : "write one '='",
                   "this is not an operator of the language");
  }
  for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
    if (marks[i].c == c) {
      lex->at++;
      return add_token(lex, marks[i].kind, start) != NULL;
    }
  }
  return lex_stranger(lex);
}

static bool lex_next(lexer *lex) {
  int c = peek_byte(lex, 0);
  if (c == '\n') {
    lex->at++;
    lex->line++;
    lex->line_start = lex->at;
    lex->first = true;
    return true;
  }
  if (c == ' ' || c == '\t' || c == '\r') {
    lex->at++;
    return true;
  }
  if (c == '#') {
    return lex_comment(lex);
  }
  if (is_name_start(c)) {
    return lex_name(lex);
  }
  if (is_digit(c) || (c == '.' && is_digit(peek_byte(lex, 1)))) {
    return lex_number(lex);
  }
  return c == '"' ? lex_string(lex) : lex_mark(lex);
}

/* Length of the UTF-8 character at text[n], 0 when it is none. */
static size_t utf8_length(const char *text, size_t n) {
  unsigned char c = (unsigned char)text[0];
  size_t length = c < 0xC0 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
  return length <= n && poei_utf8_valid(text, length) ? length : 0;
}

/* All of it UTF-8, so that every message and name can be shown and written as JSON? */
static bool check_utf8(lexer *lex) {
  const char *text = lex->source->text;
  while (lex->at < lex->source->size) {
    size_t length = utf8_length(text + lex->at, lex->source->size - lex->at);
    if (length == 0) {
      size_t start = lex->at++;
      return poei_report(lex->reader, POE_E_SYNTAX, span_from(lex, start), "save the file as UTF-8",
                         "byte 0x%02x: this text is not UTF-8", (unsigned char)text[start]);
    }
    if (text[lex->at] == '\n') {
      lex->line++;
      lex->line_start = lex->at + 1;
    }
    lex->at += length;
  }
  lex->at = lex->line_start = 0;
  lex->line = 1;
  return true;
}

bool poei_lex(poei_reader *reader, const poei_source *source, poei_tokens *tokens) {
  *tokens = (poei_tokens){0};
  lexer lex = {.reader = reader, .source = source, .line = 1, .first = true, .out = tokens};
  if (!check_utf8(&lex)) {
    lex.at = source->size;
  } else if (source->size >= 3 && memcmp(source->text, "\xEF\xBB\xBF", 3) == 0) {
    lex.at = lex.line_start = 3; /* the byte-order mark some editors write */
  }
  while (lex.at < source->size) {
    if (!lex_next(&lex)) {
      return poei_report_memory(reader);
    }
  }
  lex.first = true;
  return add_token(&lex, POEI_TOKEN_END, lex.at) != NULL || poei_report_memory(reader);
}
