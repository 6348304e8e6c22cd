/* What the two halves of the parser share: the cursor over the tokens. */
#ifndef POE_COMPOSE_LANGUAGE_PARSE_H
#define POE_COMPOSE_LANGUAGE_PARSE_H

#include "compose/language/syntax.h"

typedef struct poei_parser {
  poei_reader *reader;
  const poei_source *source;
  poei_tokens tokens;
  size_t next, start; /* the next token; the first token of this statement                            */
  size_t brackets;    /* open ones: inside of them a newline means nothing                            */
  size_t nesting;     /* of expressions                                                               */
  poei_token line;    /* the LINE token that stands for a newline which ends the statement            */
} poei_parser;

/* The next token, LINE where a newline ends the statement. */
const poei_token *poei_parser_peek(poei_parser *parser);
/* Moves past the next token and returns it; never past END or LINE. */
const poei_token *poei_parser_take(poei_parser *parser);
/* Takes the next token if it is of that kind. */
bool poei_parser_accept(poei_parser *parser, poei_token_kind kind);
/* Reports that `wanted` was expected where something else stands; false. */
bool poei_parser_expected(poei_parser *parser, const char *wanted);
/* Takes a token of that kind or reports. */
bool poei_parser_expect(poei_parser *parser, poei_token_kind kind);
/* Opens a bracket (the next token, which must be one) and returns it; closes one: takes `kind` or reports, pointing at
 * the open bracket when it was never closed. */
const poei_token *poei_parser_open(poei_parser *parser);
bool poei_parser_close(poei_parser *parser, const poei_token *open, poei_token_kind kind);

/* A growing list of trees. */
typedef struct poei_items {
  size_t n, capacity;
  const poei_syntax **items;
} poei_items;
bool poei_items_add(poei_parser *parser, poei_items *list, const poei_syntax *item); /* false when item is NULL */

/* Each returns NULL after a report. */
const poei_syntax *poei_parse_expression(poei_parser *parser);
/* A sum or what binds tighter: the value of a binding, an end of a range. */
const poei_syntax *poei_parse_sum(poei_parser *parser);

#endif
