/* The syntax tree: what the text says, before anybody asks what it means.
 *
 * Every node knows the place it was read from. Chains of one precedence are one node (`a or b or c` has three items),
 * because a chain means something else than nested pairs: thirds, not a half and two quarters. Trees live in a region
 * and are immutable once parsed.
 */
#ifndef POE_COMPOSE_LANGUAGE_SYNTAX_H
#define POE_COMPOSE_LANGUAGE_SYNTAX_H

#include <stdbool.h>
#include <stddef.h>

#include "compose/language/program.h"
#include "compose/language/region.h"

enum {
  POEI_MAX_TEXT = 1 << 22,    /* bytes of one source file                                            */
  POEI_MAX_NESTING = 200,     /* brackets and operators inside one another; definitions inside one another */
  POEI_MAX_NAME = 127,        /* bytes of a name                                                     */
  POEI_MAX_DIAGNOSTICS = 100, /* errors told before the rest is kept back                            */
};

/* ---- places ---- */

/* One text being read. */
typedef struct poei_source {
  const char *path;   /* as it is shown and as relative paths are anchored */
  const char *anchor; /* folder that relative paths start from, "" for the working directory */
  const char *text;
  size_t size;
  bool generated; /* written for the user, who has no lines of it: a UAI network's program */
} poei_source;

/* A piece of a source. Lines and columns count from 1, columns in bytes; length 0 is a place without width. */
typedef struct poei_span {
  const poei_source *source;
  size_t offset, length;
  int line, column;
} poei_span;

/* From the beginning of one span to the end of another that comes after it. */
poei_span poei_span_join(poei_span first, poei_span last);
/* Puts a span into an error. A span over several lines ends with its first line. */
void poei_span_place(poei_span span, poe_error *error);

/* ---- tokens ---- */

/* X(token, how a message names it, whether a line that ends in it continues) */
#define POEI_TOKEN_LIST(X)                                                                                             \
  X(END, "the end of the file", false)                                                                                 \
  X(LINE, "the end of the line", false)                                                                                \
  X(NAME, "a name", false)                                                                                             \
  X(NUMBER, "a number", false)                                                                                         \
  X(STRING, "a string", false)                                                                                         \
  X(INVALID, "an invalid character", false)                                                                            \
  X(OPEN, "'('", false)                                                                                                \
  X(CLOSE, "')'", false)                                                                                               \
  X(OPEN_LIST, "'['", false)                                                                                           \
  X(CLOSE_LIST, "']'", false)                                                                                          \
  X(COMMA, "','", true)                                                                                                \
  X(COLON, "':'", true)                                                                                                \
  X(EQUALS, "'='", true)                                                                                               \
  X(BAR, "'|'", true)                                                                                                  \
  X(ARROW, "'->'", true)                                                                                               \
  X(PLUS, "'+'", true)                                                                                                 \
  X(MINUS, "'-'", true)                                                                                                \
  X(STAR, "'*'", true)                                                                                                 \
  X(SLASH, "'/'", true)                                                                                                \
  X(CARET, "'^'", true)                                                                                                \
  X(VAR, "'var'", true)                                                                                                \
  X(INCLUDE, "'include'", true)                                                                                        \
  X(IN, "'in'", true)                                                                                                  \
  X(AND, "'and'", true)                                                                                                \
  X(OR, "'or'", true)                                                                                                  \
  X(NOT, "'not'", true)                                                                                                \
  X(GIVEN, "'given'", true)

typedef enum poei_token_kind {
#define POEI_TOKEN_ENUM(name, text, continues) POEI_TOKEN_##name,
  POEI_TOKEN_LIST(POEI_TOKEN_ENUM)
#undef POEI_TOKEN_ENUM
} poei_token_kind;

typedef struct poei_token {
  poei_token_kind kind;
  bool first; /* of its line */
  poei_span span;
  const char *text; /* NAME, STRING (unescaped) */
  double number;    /* NUMBER */
} poei_token;

typedef struct poei_comment {
  poei_span span; /* from # to the end of the line, blanks at the end left out */
  bool alone;     /* nothing else on its line */
} poei_comment;

typedef struct poei_tokens {
  size_t n;
  poei_token *items; /* the last is END */
  size_t n_comments;
  poei_comment *comments;
} poei_tokens;

const char *poei_token_text(poei_token_kind kind);
bool poei_token_continues(poei_token_kind kind);

/* ---- trees ---- */

typedef enum poei_syntax_kind {
  POEI_SYNTAX_NUMBER,   /* number                                                             */
  POEI_SYNTAX_STRING,   /* text                                                               */
  POEI_SYNTAX_LIST,     /* items                                                              */
  POEI_SYNTAX_PLACE,    /* text[items]: a name, with its slices                               */
  POEI_SYNTAX_RANGE,    /* items[0]:items[1], only as a slice                                 */
  POEI_SYNTAX_ALL,      /* `:`, only as a slice                                               */
  POEI_SYNTAX_CALL,     /* text(items): the first n_subjects stand before the bar             */
  POEI_SYNTAX_ARGUMENT, /* text=items[0]                                                      */
  POEI_SYNTAX_EACH,     /* a comprehension: all items but the last are INDEX, the last is what is repeated */
  POEI_SYNTAX_INDEX,    /* text in items[0]:items[1]                                          */
  POEI_SYNTAX_OR,       /* chain                                                              */
  POEI_SYNTAX_AND,      /* chain                                                              */
  POEI_SYNTAX_NOT,      /* not items[0]                                                       */
  POEI_SYNTAX_SUM,      /* chain of + and -                                                   */
  POEI_SYNTAX_TERM,     /* chain of * and /                                                   */
  POEI_SYNTAX_NEGATIVE, /* -items[0]                                                          */
  POEI_SYNTAX_POWER,    /* items[0]^items[1]                                                  */
  POEI_SYNTAX_GIVEN,    /* items[0] given the rest, all BINDING                               */
  POEI_SYNTAX_BINDING   /* items[0] = items[1]: a place and its value                         */
} poei_syntax_kind;

typedef struct poei_syntax poei_syntax;
struct poei_syntax {
  poei_syntax_kind kind;
  poei_span span; /* all of it                                               */
  poei_span at;   /* the name or the operator: where a message points        */
  const char *text;
  double number;
  size_t n;
  const poei_syntax **items; /* [n] */
  const bool *inverse;       /* SUM, TERM: [n], true where - or / stands before the item; the first is false */
  size_t n_subjects;
  bool bar; /* CALL: a `|` was written */
};

typedef struct poei_name {
  const char *text;
  poei_span span;
} poei_name;

/* What stands after the colon of a `var`. */
typedef struct poei_space {
  poei_name kind;
  bool has_args;
  size_t n_args, ndim;
  const poei_syntax **args, **shape; /* [n_args], [ndim] */
  bool has_interval, low_open, high_open;
  const poei_syntax *low, *high;
  poei_span span, interval;
} poei_space;

typedef enum poei_statement_kind {
  POEI_STATEMENT_VAR,
  POEI_STATEMENT_DEFINITION,
  POEI_STATEMENT_ACTION,
  POEI_STATEMENT_INCLUDE,
  POEI_STATEMENT_BROKEN /* told and left out; only the names it would have defined */
} poei_statement_kind;

typedef struct poei_statement {
  poei_statement_kind kind;
  poei_span span;
  size_t n_names; /* VAR: the names; DEFINITION: the name, then the formals */
  const poei_name *names;
  bool formal;             /* DEFINITION: has a list of formals            */
  poei_space space;        /* VAR                                          */
  const poei_syntax *body; /* DEFINITION: the expression; ACTION: the call */
  const char *path;        /* INCLUDE                                      */
} poei_statement;

typedef struct poei_document {
  const poei_source *source;
  size_t n;
  poei_statement *statements;
  size_t n_comments;
  const poei_comment *comments;
} poei_document;

/* ---- from text to tree and back ---- */

/* Where errors go while a text is worked on, with its memory. */
typedef struct poei_reader {
  poei_region *region;
  poei_diagnostics *diagnostics;
  poe_status status; /* of the first error */
} poei_reader;

/* Appends an error at a span; `hint` may be NULL. Equal errors at one place are told once. Returns false always, so
 * that `return poei_report(...)` fails. */
#if defined(__GNUC__)
__attribute__((format(printf, 5, 6)))
#endif
bool
poei_report(poei_reader *reader, poe_status status, poei_span span, const char *hint, const char *format, ...);
/* The same with a filled error; its place is kept. */
bool poei_report_error(poei_reader *reader, poei_severity severity, const poe_error *error);
/* Out of memory or beyond the region's limit: told once. */
bool poei_report_memory(poei_reader *reader);
/* Appends to a list; false when out of memory. */
bool poei_diagnostics_add(poei_diagnostics *diagnostics, poei_severity severity, const poe_error *error);

/* false: out of memory. Lexical errors are reported and leave INVALID tokens. */
bool poei_lex(poei_reader *reader, const poei_source *source, poei_tokens *tokens);
/* Parses a file; statements with errors are reported and left out. false: out of memory. */
bool poei_parse(poei_reader *reader, const poei_source *source, poei_document *document);
/* Parses one expression that fills the text (a target, the value of an override); NULL and a report otherwise. */
const poei_syntax *poei_parse_expression_text(poei_reader *reader, const poei_source *source);
/* Canonical text of an expression or a document, in the region; NULL when out of memory. */
const char *poei_print_expression(poei_region *region, const poei_syntax *syntax);
const char *poei_print_document(poei_region *region, const poei_document *document);
/* The shortest text that reads back as the same double, with a point whatever the locale; returns text. */
enum { POEI_NUMBER_TEXT = 32 };
const char *poei_number_text(double number, char text[POEI_NUMBER_TEXT]);

#endif
