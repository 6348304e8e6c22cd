/* Statements: tokens to a document. Expressions are in parse_expression.c.
 *
 *   statement = "var" name {"," name} ":" space | name ["(" name {"," name} ")"] "=" expr | call | "include" string
 *
 * A statement with an error is reported once and left out; parsing goes on at the next statement. Where a bracket was
 * never closed the next statement is found by its looks (`name =`, `var`) and its indentation.
 */
#include "compose/language/parse.h"

#include <stdio.h>
#include <string.h>

/* ---- the cursor ---- */

const poei_token *poei_parser_peek(poei_parser *parser) {
  const poei_token *token = &parser->tokens.items[parser->next];
  if (token->kind == POEI_TOKEN_END || parser->brackets > 0 || !token->first || parser->next == parser->start) {
    return token;
  }
  const poei_token *last = token - 1;
  if (poei_token_continues(last->kind)) {
    return token;
  }
  parser->line = (poei_token){.kind = POEI_TOKEN_LINE, .span = last->span};
  parser->line.span.offset += last->span.length;
  parser->line.span.column += (int)last->span.length;
  parser->line.span.length = 0;
  return &parser->line;
}

const poei_token *poei_parser_take(poei_parser *parser) {
  const poei_token *token = poei_parser_peek(parser);
  if (token->kind != POEI_TOKEN_END && token->kind != POEI_TOKEN_LINE) {
    parser->next++;
  }
  return token;
}

bool poei_parser_accept(poei_parser *parser, poei_token_kind kind) {
  if (poei_parser_peek(parser)->kind != kind) {
    return false;
  }
  poei_parser_take(parser);
  return true;
}

bool poei_parser_expected(poei_parser *parser, const char *wanted) {
  const poei_token *token = poei_parser_peek(parser);
  if (token->kind == POEI_TOKEN_INVALID) {
    return false; /* the lexer has told it */
  }
  poei_span span = token->span;
  if (token->kind == POEI_TOKEN_END && parser->next > 0) { /* behind the last token, not after all the blank lines */
    span = token[-1].span;
    span.offset += span.length;
    span.column += (int)span.length;
    span.length = 0;
  }
  if (token->kind == POEI_TOKEN_NAME) {
    return poei_report(parser->reader, POE_E_SYNTAX, token->span, NULL, "expected %s, found '%s'", wanted, token->text);
  }
  const char *hint = token->kind >= POEI_TOKEN_VAR ? "it is a word of the language, not a name" : NULL;
  return poei_report(parser->reader, POE_E_SYNTAX, span, hint, "expected %s, found %s", wanted,
                     poei_token_text(token->kind));
}

bool poei_parser_expect(poei_parser *parser, poei_token_kind kind) {
  return poei_parser_accept(parser, kind) || poei_parser_expected(parser, poei_token_text(kind));
}

const poei_token *poei_parser_open(poei_parser *parser) {
  parser->brackets++;
  return &parser->tokens.items[parser->next++];
}

/* Does a statement seem to begin at this token? `name =`, `name(a, b) =`, `var`, `include`. */
static bool looks_like_statement(const poei_parser *parser, size_t at) {
  const poei_token *token = &parser->tokens.items[at];
  if (token->kind == POEI_TOKEN_VAR || token->kind == POEI_TOKEN_INCLUDE) {
    return true;
  }
  if (token->kind != POEI_TOKEN_NAME) {
    return false;
  }
  token++;
  if (token->kind == POEI_TOKEN_OPEN) {
    do {
      token++;
    } while (token->kind == POEI_TOKEN_NAME || token->kind == POEI_TOKEN_COMMA);
    if (token->kind != POEI_TOKEN_CLOSE) {
      return false;
    }
    token++;
  }
  return token->kind == POEI_TOKEN_EQUALS;
}

static bool begins_statement(const poei_parser *parser, size_t at) {
  const poei_token *token = &parser->tokens.items[at];
  return token->kind == POEI_TOKEN_END ||
         (token->first && token->span.column <= parser->tokens.items[parser->start].span.column &&
          looks_like_statement(parser, at));
}

bool poei_parser_close(poei_parser *parser, const poei_token *open, poei_token_kind kind) {
  if (poei_parser_peek(parser)->kind == kind) {
    poei_parser_take(parser);
    parser->brackets--;
    return true;
  }
  if (begins_statement(parser, parser->next)) {
    return poei_report(parser->reader, POE_E_SYNTAX, open->span, NULL, "%s is never closed",
                       poei_token_text(open->kind));
  }
  char wanted[64];
  snprintf(wanted, sizeof wanted, "',' or %s", poei_token_text(kind));
  return poei_parser_expected(parser, wanted);
}

bool poei_items_add(poei_parser *parser, poei_items *list, const poei_syntax *item) {
  if (!item) {
    return false;
  }
  const poei_syntax **items =
      poei_region_grow(parser->reader->region, list->items, list->n, &list->capacity, sizeof *items);
  if (!items) {
    return poei_report_memory(parser->reader);
  }
  list->items = items;
  items[list->n++] = item;
  return true;
}

/* ---- statements ---- */

static bool parse_name(poei_parser *parser, const char *wanted, poei_name *name) {
  const poei_token *token = poei_parser_peek(parser);
  if (token->kind != POEI_TOKEN_NAME) {
    return poei_parser_expected(parser, wanted);
  }
  poei_parser_take(parser);
  *name = (poei_name){.text = token->text, .span = token->span};
  return true;
}

/* name {"," name}, after the `first` that stand there already. */
static bool parse_names(poei_parser *parser, const char *wanted, size_t first, const poei_name *before,
                        poei_statement *statement) {
  size_t n = 0, capacity = 0;
  poei_name *names = NULL;
  for (bool more = true; more;) {
    poei_name name = n < first ? before[n] : (poei_name){0};
    if (n >= first) {
      if (!parse_name(parser, wanted, &name)) {
        return false;
      }
      more = poei_parser_accept(parser, POEI_TOKEN_COMMA);
    }
    names = poei_region_grow(parser->reader->region, names, n, &capacity, sizeof *names);
    if (!names) {
      return poei_report_memory(parser->reader);
    }
    names[n++] = name;
  }
  statement->n_names = n;
  statement->names = names;
  return true;
}

/* A list of expressions up to a closing bracket; the open one is taken. */
static bool parse_sizes(poei_parser *parser, const poei_token *open, poei_token_kind close, size_t *n,
                        const poei_syntax ***items) {
  poei_items list = {0};
  do {
    if (!poei_items_add(parser, &list, poei_parse_expression(parser))) {
      return false;
    }
  } while (poei_parser_accept(parser, POEI_TOKEN_COMMA));
  *n = list.n;
  *items = list.items;
  return poei_parser_close(parser, open, close);
}

static bool parse_interval(poei_parser *parser, poei_space *space) {
  poei_token_kind kind = poei_parser_peek(parser)->kind;
  if (kind != POEI_TOKEN_OPEN && kind != POEI_TOKEN_OPEN_LIST) {
    return poei_parser_expected(parser, "an interval such as (0, inf) or [0, 1]");
  }
  const poei_token *open = poei_parser_open(parser);
  space->has_interval = true;
  space->low_open = kind == POEI_TOKEN_OPEN;
  space->low = poei_parse_expression(parser);
  if (!space->low || !poei_parser_expect(parser, POEI_TOKEN_COMMA) || !(space->high = poei_parse_expression(parser))) {
    return false;
  }
  const poei_token *close = poei_parser_peek(parser);
  space->high_open = close->kind == POEI_TOKEN_CLOSE;
  space->interval = poei_span_join(open->span, close->span);
  return poei_parser_close(parser, open, space->high_open ? POEI_TOKEN_CLOSE : POEI_TOKEN_CLOSE_LIST);
}

static bool parse_space(poei_parser *parser, poei_space *space) {
  if (!parse_name(parser, "a space: real, binary, int, simplex or tokens", &space->kind)) {
    return false;
  }
  if (poei_parser_peek(parser)->kind == POEI_TOKEN_OPEN) {
    space->has_args = true;
    const poei_token *open = poei_parser_open(parser);
    if (!parse_sizes(parser, open, POEI_TOKEN_CLOSE, &space->n_args, &space->args)) {
      return false;
    }
  }
  if (poei_parser_peek(parser)->kind == POEI_TOKEN_OPEN_LIST) {
    const poei_token *open = poei_parser_open(parser);
    if (!parse_sizes(parser, open, POEI_TOKEN_CLOSE_LIST, &space->ndim, &space->shape)) {
      return false;
    }
  }
  if (poei_parser_accept(parser, POEI_TOKEN_IN) && !parse_interval(parser, space)) {
    return false;
  }
  space->span = poei_span_join(space->kind.span, parser->tokens.items[parser->next - 1].span);
  return true;
}

static bool parse_var(poei_parser *parser, poei_statement *statement) {
  statement->kind = POEI_STATEMENT_VAR;
  poei_parser_take(parser);
  return parse_names(parser, "the name of a variable", 0, NULL, statement) &&
         (poei_parser_accept(parser, POEI_TOKEN_COLON) ||
          poei_parser_expected(parser, "':' and a space, such as real[2]")) &&
         parse_space(parser, &statement->space);
}

static bool parse_include(poei_parser *parser, poei_statement *statement) {
  statement->kind = POEI_STATEMENT_INCLUDE;
  poei_parser_take(parser);
  const poei_token *token = poei_parser_peek(parser);
  if (token->kind != POEI_TOKEN_STRING) {
    return poei_parser_expected(parser, "the path of a .poe file, in quotes");
  }
  statement->path = poei_parser_take(parser)->text;
  return true;
}

static bool parse_definition(poei_parser *parser, poei_statement *statement) {
  statement->kind = POEI_STATEMENT_DEFINITION;
  poei_name name;
  if (!parse_name(parser, "a name", &name)) {
    return false;
  }
  statement->n_names = 1;
  statement->names = poei_region_copy(parser->reader->region, &name, 1, sizeof name);
  if (!statement->names) {
    return poei_report_memory(parser->reader);
  }
  if (poei_parser_peek(parser)->kind == POEI_TOKEN_OPEN) {
    const poei_token *open = poei_parser_open(parser);
    statement->formal = true;
    if (!parse_names(parser, "the name of a formal variable", 1, &name, statement) ||
        !poei_parser_close(parser, open, POEI_TOKEN_CLOSE)) {
      return false;
    }
  }
  return poei_parser_expect(parser, POEI_TOKEN_EQUALS) && (statement->body = poei_parse_expression(parser)) != NULL;
}

static bool parse_action(poei_parser *parser, poei_statement *statement) {
  statement->kind = POEI_STATEMENT_ACTION;
  const poei_token *first = poei_parser_peek(parser);
  statement->body = poei_parse_expression(parser);
  if (!statement->body || poei_parser_peek(parser)->kind == POEI_TOKEN_INVALID) {
    return false;
  }
  if (statement->body->kind != POEI_SYNTAX_CALL) {
    const char *hint =
        "a statement is a definition 'name = ...', a 'var', an 'include' or an action such as sample(...)";
    return poei_report(parser->reader, POE_E_SYNTAX,
                       first->kind == POEI_TOKEN_NAME ? statement->body->span : first->span, hint,
                       "an expression alone does nothing");
  }
  return true;
}

static bool parse_statement(poei_parser *parser, poei_statement *statement) {
  poei_span start = poei_parser_peek(parser)->span;
  *statement = (poei_statement){0};
  bool ok;
  switch (poei_parser_peek(parser)->kind) {
  case POEI_TOKEN_VAR:
    ok = parse_var(parser, statement);
    break;
  case POEI_TOKEN_INCLUDE:
    ok = parse_include(parser, statement);
    break;
  default:
    ok = looks_like_statement(parser, parser->next) ? parse_definition(parser, statement)
                                                    : parse_action(parser, statement);
  }
  if (!ok) {
    return false;
  }
  statement->span = poei_span_join(start, parser->tokens.items[parser->next - 1].span);
  poei_token_kind end = poei_parser_peek(parser)->kind;
  if (end != POEI_TOKEN_LINE && end != POEI_TOKEN_END) {
    return poei_parser_expected(parser, "the end of the statement");
  }
  return true;
}

/* What is left of a statement with an error: the names it would have defined. */
static void broken(const poei_parser *parser, poei_statement *statement) {
  const poei_token *first = &parser->tokens.items[parser->start];
  size_t n_names = statement->kind == POEI_STATEMENT_VAR ? statement->n_names : 0;
  const poei_name *names = statement->names;
  poei_name *name = NULL;
  if (statement->kind == POEI_STATEMENT_DEFINITION && first->kind == POEI_TOKEN_NAME) {
    name = poei_region_take(parser->reader->region, 1, sizeof *name);
  }
  if (name) {
    *name = (poei_name){.text = first->text, .span = first->span};
    names = name;
    n_names = 1;
  }
  *statement = (poei_statement){.kind = POEI_STATEMENT_BROKEN, .span = first->span, .n_names = n_names, .names = names};
}

/* Moves to the next statement after an error in this one: past the line on which all brackets are closed; when they
 * never are, to the next line that looks like a statement. */
static void recover(poei_parser *parser) {
  size_t round = 0, square = 0, at = parser->start; /* open brackets of each kind */
  const poei_token *items = parser->tokens.items;
  for (; items[at].kind != POEI_TOKEN_END; at++) {
    bool open = round + square > 0;
    if (at > parser->start && items[at].first && !open && !poei_token_continues(items[at - 1].kind)) {
      break;
    }
    round += items[at].kind == POEI_TOKEN_OPEN;
    square += items[at].kind == POEI_TOKEN_OPEN_LIST;
    round -= items[at].kind == POEI_TOKEN_CLOSE && round > 0;
    square -= items[at].kind == POEI_TOKEN_CLOSE_LIST && square > 0;
  }
  if (round + square > 0) {
    for (at = parser->start + 1; !begins_statement(parser, at); at++) {
    }
  }
  parser->next = at;
}

bool poei_parse(poei_reader *reader, const poei_source *source, poei_document *document) {
  *document = (poei_document){.source = source};
  poei_parser parser = {.reader = reader, .source = source};
  if (!poei_lex(reader, source, &parser.tokens)) {
    return false;
  }
  document->n_comments = parser.tokens.n_comments;
  document->comments = parser.tokens.comments;
  size_t capacity = 0;
  while (parser.tokens.items[parser.next].kind != POEI_TOKEN_END) {
    poei_statement statement;
    parser.start = parser.next;
    parser.brackets = parser.nesting = 0;
    if (!parse_statement(&parser, &statement)) {
      if (reader->status == POE_E_MEMORY) {
        return false;
      }
      broken(&parser, &statement);
      recover(&parser);
    }
    document->statements =
        poei_region_grow(reader->region, document->statements, document->n, &capacity, sizeof statement);
    if (!document->statements) {
      return poei_report_memory(reader);
    }
    document->statements[document->n++] = statement;
  }
  return true;
}

const poei_syntax *poei_parse_expression_text(poei_reader *reader, const poei_source *source) {
  poei_parser parser = {.reader = reader, .source = source};
  if (!poei_lex(reader, source, &parser.tokens)) {
    return NULL;
  }
  parser.brackets = 1; /* newlines mean nothing here */
  const poei_syntax *syntax = poei_parse_expression(&parser);
  if (syntax && poei_parser_peek(&parser)->kind != POEI_TOKEN_END) {
    poei_parser_expected(&parser, "the end of the expression");
    return NULL;
  }
  return syntax;
}
