/* Expressions, by precedence (Pratt, "Top down operator precedence", POPL 1973): the table below is the grammar.
 *
 * Operators of one level make one chain node. Exceptions that the table cannot say are in the functions: unary minus
 * stands before a power and not before another minus; `given` is followed by bindings; ranges and comprehensions only
 * stand where the grammar has them.
 */
#include "compose/language/parse.h"

typedef enum precedence {
  PREC_GIVEN = 1, /* e given x = 1            */
  PREC_OR,        /* a or b or c              */
  PREC_AND,       /* a and b                  */
  PREC_NOT,       /* not a + b = not (a + b)  */
  PREC_SUM,       /* a + b - c                */
  PREC_TERM,      /* a * b / c                */
  PREC_SIGN,      /* -a^2 = -(a^2)            */
  PREC_POWER      /* a^b^c = a^(b^c)          */
} precedence;

static const struct infix {
  poei_token_kind token;
  precedence precedence;
  poei_syntax_kind kind;
  bool inverse;
} infixes[] = {
    {POEI_TOKEN_GIVEN, PREC_GIVEN, POEI_SYNTAX_GIVEN, false}, {POEI_TOKEN_OR, PREC_OR, POEI_SYNTAX_OR, false},
    {POEI_TOKEN_AND, PREC_AND, POEI_SYNTAX_AND, false},       {POEI_TOKEN_PLUS, PREC_SUM, POEI_SYNTAX_SUM, false},
    {POEI_TOKEN_MINUS, PREC_SUM, POEI_SYNTAX_SUM, true},      {POEI_TOKEN_STAR, PREC_TERM, POEI_SYNTAX_TERM, false},
    {POEI_TOKEN_SLASH, PREC_TERM, POEI_SYNTAX_TERM, true},    {POEI_TOKEN_CARET, PREC_POWER, POEI_SYNTAX_POWER, false},
};

static const struct infix *find_infix(poei_token_kind token) {
  for (size_t i = 0; i < sizeof infixes / sizeof *infixes; i++) {
    if (infixes[i].token == token) {
      return &infixes[i];
    }
  }
  return NULL;
}

static const poei_syntax *parse_at(poei_parser *parser, precedence lowest);

static poei_syntax *node(poei_parser *parser, poei_syntax_kind kind, poei_span span) {
  poei_syntax *syntax = poei_region_take(parser->reader->region, 1, sizeof *syntax);
  if (!syntax) {
    poei_report_memory(parser->reader);
    return NULL;
  }
  syntax->kind = kind;
  syntax->span = syntax->at = span;
  return syntax;
}

/* The end of the last token taken, joined to a beginning. */
static poei_span to_here(const poei_parser *parser, poei_span first) {
  return poei_span_join(first, parser->tokens.items[parser->next - 1].span);
}

static const poei_syntax *with_items(poei_parser *parser, poei_syntax *syntax, const poei_items *list) {
  syntax->n = list->n;
  syntax->items = list->items;
  syntax->span = to_here(parser, syntax->span);
  return syntax;
}

/* ---- operators ---- */

typedef struct operands {
  poei_items items;
  size_t capacity;
  bool *inverse;
} operands;

static bool chain_add(poei_parser *parser, operands *chain, const poei_syntax *item, bool inverse) {
  if (!item) {
    return false;
  }
  bool *signs = poei_region_grow(parser->reader->region, chain->inverse, chain->items.n, &chain->capacity, 1);
  if (!signs) {
    return poei_report_memory(parser->reader);
  }
  chain->inverse = signs;
  signs[chain->items.n] = inverse;
  return poei_items_add(parser, &chain->items, item);
}

/* left {op right} for all operators of one level. A parenthesised product at the beginning of a product is part of it
 * (brackets there mean nothing); a parenthesised sum is not, for it is a mixture with its own log Z. */
static const poei_syntax *parse_chain(poei_parser *parser, const poei_syntax *left, const struct infix *first) {
  poei_syntax *syntax = node(parser, first->kind, left->span);
  if (!syntax) {
    return NULL;
  }
  operands chain = {0};
  bool merge = left->kind == first->kind && (first->kind == POEI_SYNTAX_TERM || first->kind == POEI_SYNTAX_AND);
  for (size_t i = 0; merge && i < left->n; i++) {
    if (!chain_add(parser, &chain, left->items[i], left->inverse[i])) {
      return NULL;
    }
  }
  if (!merge && !chain_add(parser, &chain, left, false)) {
    return NULL;
  }
  syntax->at = poei_parser_peek(parser)->span;
  for (;;) {
    const struct infix *op = find_infix(poei_parser_peek(parser)->kind);
    if (!op || op->kind != first->kind) {
      break;
    }
    poei_parser_take(parser);
    if (!chain_add(parser, &chain, parse_at(parser, op->precedence + 1), op->inverse)) {
      return NULL;
    }
  }
  syntax->inverse = chain.inverse;
  return with_items(parser, syntax, &chain.items);
}

static const poei_syntax *parse_power(poei_parser *parser, const poei_syntax *base) {
  poei_syntax *syntax = node(parser, POEI_SYNTAX_POWER, base->span);
  poei_items list = {0};
  if (!syntax) {
    return NULL;
  }
  syntax->at = poei_parser_take(parser)->span;
  if (!poei_items_add(parser, &list, base) || !poei_items_add(parser, &list, parse_at(parser, PREC_SIGN))) {
    return NULL;
  }
  return with_items(parser, syntax, &list);
}

static const poei_syntax *parse_place(poei_parser *parser);

static const poei_syntax *parse_binding(poei_parser *parser) {
  poei_items list = {0};
  if (poei_parser_peek(parser)->kind != POEI_TOKEN_NAME) {
    poei_parser_expected(parser, "a variable and its value, such as x = 1");
    return NULL;
  }
  poei_syntax *syntax = node(parser, POEI_SYNTAX_BINDING, poei_parser_peek(parser)->span);
  if (!syntax || !poei_items_add(parser, &list, parse_place(parser)) ||
      !poei_parser_expect(parser, POEI_TOKEN_EQUALS) || !poei_items_add(parser, &list, poei_parse_sum(parser))) {
    return NULL;
  }
  return with_items(parser, syntax, &list);
}

static const poei_syntax *parse_given(poei_parser *parser, const poei_syntax *joint) {
  poei_syntax *syntax = node(parser, POEI_SYNTAX_GIVEN, joint->span);
  poei_items list = {0};
  if (!syntax || !poei_items_add(parser, &list, joint)) {
    return NULL;
  }
  syntax->at = poei_parser_take(parser)->span;
  if (poei_parser_peek(parser)->kind == POEI_TOKEN_OPEN) {
    const poei_token *open = poei_parser_open(parser);
    do {
      if (!poei_items_add(parser, &list, parse_binding(parser))) {
        return NULL;
      }
    } while (poei_parser_accept(parser, POEI_TOKEN_COMMA));
    if (!poei_parser_close(parser, open, POEI_TOKEN_CLOSE)) {
      return NULL;
    }
  } else if (!poei_items_add(parser, &list, parse_binding(parser))) {
    return NULL;
  }
  if (poei_parser_peek(parser)->kind == POEI_TOKEN_GIVEN) {
    poei_report(parser->reader, POE_E_SYNTAX, poei_parser_peek(parser)->span, "write: e given (x = 1, y = 2)",
                "'given' stands once in an expression");
    return NULL;
  }
  return with_items(parser, syntax, &list);
}

static const poei_syntax *parse_infix(poei_parser *parser, const poei_syntax *left, const struct infix *op) {
  switch (op->kind) {
  case POEI_SYNTAX_POWER:
    return parse_power(parser, left);
  case POEI_SYNTAX_GIVEN:
    return parse_given(parser, left);
  default:
    return parse_chain(parser, left, op);
  }
}

/* ---- names and calls ---- */

static const poei_syntax *parse_slice(poei_parser *parser) {
  const poei_token *token = poei_parser_peek(parser);
  if (token->kind == POEI_TOKEN_COLON) {
    const poei_span span = poei_parser_take(parser)->span;
    poei_token_kind next = poei_parser_peek(parser)->kind;
    if (next != POEI_TOKEN_COMMA && next != POEI_TOKEN_CLOSE_LIST) {
      poei_report(parser->reader, POE_E_SYNTAX, span, "write both ends: 0:3", "a range needs its beginning");
      return NULL;
    }
    return node(parser, POEI_SYNTAX_ALL, span);
  }
  const poei_syntax *first = poei_parse_expression(parser);
  if (!first || poei_parser_peek(parser)->kind != POEI_TOKEN_COLON) {
    return first;
  }
  poei_syntax *range = node(parser, POEI_SYNTAX_RANGE, first->span);
  poei_items list = {0};
  if (!range) {
    return NULL;
  }
  range->at = poei_parser_take(parser)->span;
  poei_token_kind next = poei_parser_peek(parser)->kind;
  if (next == POEI_TOKEN_COMMA || next == POEI_TOKEN_CLOSE_LIST) {
    poei_report(parser->reader, POE_E_SYNTAX, range->at, "write both ends: 0:3, the last not included",
                "a range needs its end");
    return NULL;
  }
  if (!poei_items_add(parser, &list, first) || !poei_items_add(parser, &list, poei_parse_expression(parser))) {
    return NULL;
  }
  return with_items(parser, range, &list);
}

/* A name, with slices. */
static const poei_syntax *parse_place(poei_parser *parser) {
  const poei_token *name = poei_parser_take(parser);
  poei_syntax *syntax = node(parser, POEI_SYNTAX_PLACE, name->span);
  if (!syntax) {
    return NULL;
  }
  syntax->text = name->text;
  if (poei_parser_peek(parser)->kind != POEI_TOKEN_OPEN_LIST) {
    return syntax;
  }
  const poei_token *open = poei_parser_open(parser);
  poei_items list = {0};
  do {
    if (!poei_items_add(parser, &list, parse_slice(parser))) {
      return NULL;
    }
  } while (poei_parser_accept(parser, POEI_TOKEN_COMMA));
  return poei_parser_close(parser, open, POEI_TOKEN_CLOSE_LIST) ? with_items(parser, syntax, &list) : NULL;
}

/* name in a:b */
static const poei_syntax *parse_index(poei_parser *parser) {
  const poei_token *name = poei_parser_peek(parser);
  if (name->kind != POEI_TOKEN_NAME) {
    poei_parser_expected(parser, "an index, such as i in 0:9");
    return NULL;
  }
  poei_parser_take(parser);
  poei_syntax *syntax = node(parser, POEI_SYNTAX_INDEX, name->span);
  poei_items list = {0};
  if (!syntax || !poei_parser_expect(parser, POEI_TOKEN_IN) || !poei_items_add(parser, &list, poei_parse_sum(parser)) ||
      !poei_parser_expect(parser, POEI_TOKEN_COLON) || !poei_items_add(parser, &list, poei_parse_sum(parser))) {
    return NULL;
  }
  syntax->text = name->text;
  return with_items(parser, syntax, &list);
}

/* index {"," index} "->" expr */
static const poei_syntax *parse_each(poei_parser *parser) {
  poei_syntax *syntax = node(parser, POEI_SYNTAX_EACH, poei_parser_peek(parser)->span);
  poei_items list = {0};
  if (!syntax) {
    return NULL;
  }
  do {
    if (!poei_items_add(parser, &list, parse_index(parser))) {
      return NULL;
    }
  } while (poei_parser_accept(parser, POEI_TOKEN_COMMA));
  if (!(poei_parser_accept(parser, POEI_TOKEN_ARROW) || poei_parser_expected(parser, "'->' and what is repeated")) ||
      !poei_items_add(parser, &list, poei_parse_expression(parser))) {
    return NULL;
  }
  return with_items(parser, syntax, &list);
}

static const poei_syntax *parse_argument(poei_parser *parser) {
  const poei_token *token = poei_parser_peek(parser);
  poei_token_kind after = token->kind == POEI_TOKEN_NAME ? token[1].kind : POEI_TOKEN_END;
  if (after == POEI_TOKEN_IN) {
    return parse_each(parser);
  }
  if (after != POEI_TOKEN_EQUALS) {
    return poei_parse_expression(parser);
  }
  poei_syntax *syntax = node(parser, POEI_SYNTAX_ARGUMENT, token->span);
  poei_items list = {0};
  if (!syntax) {
    return NULL;
  }
  syntax->text = token->text;
  poei_parser_take(parser);
  poei_parser_take(parser);
  return poei_items_add(parser, &list, poei_parse_expression(parser)) ? with_items(parser, syntax, &list) : NULL;
}

/* What stands before the bar are places or calls. */
static bool check_subjects(poei_parser *parser, const poei_items *list, poei_span bar) {
  if (list->n == 0) {
    return poei_report(parser->reader, POE_E_SYNTAX, bar, "write gaussian(x | mean=0)",
                       "a variable must stand before the '|'");
  }
  for (size_t i = 0; i < list->n; i++) {
    const poei_syntax *item = list->items[i];
    if (item->kind != POEI_SYNTAX_PLACE && item->kind != POEI_SYNTAX_CALL) {
      return poei_report(parser->reader, POE_E_SYNTAX, item->span, NULL,
                         "only variables, slices of them and maps stand before the '|'");
    }
  }
  return true;
}

static const poei_syntax *parse_call(poei_parser *parser) {
  const poei_token *name = poei_parser_take(parser);
  poei_syntax *syntax = node(parser, POEI_SYNTAX_CALL, name->span);
  poei_items list = {0};
  if (!syntax) {
    return NULL;
  }
  syntax->text = name->text;
  const poei_token *open = poei_parser_open(parser);
  bool wants_item = poei_parser_peek(parser)->kind != POEI_TOKEN_CLOSE;
  while (wants_item) {
    poei_token_kind kind = poei_parser_peek(parser)->kind;
    if (kind != POEI_TOKEN_BAR && !poei_items_add(parser, &list, parse_argument(parser))) {
      return NULL;
    }
    if (!syntax->bar && poei_parser_peek(parser)->kind == POEI_TOKEN_BAR) {
      poei_span bar = poei_parser_take(parser)->span;
      if (!check_subjects(parser, &list, bar)) {
        return NULL;
      }
      syntax->bar = true;
      syntax->n_subjects = list.n;
      wants_item = poei_parser_peek(parser)->kind != POEI_TOKEN_CLOSE;
    } else {
      wants_item = poei_parser_accept(parser, POEI_TOKEN_COMMA);
    }
  }
  return poei_parser_close(parser, open, POEI_TOKEN_CLOSE) ? with_items(parser, syntax, &list) : NULL;
}

static const poei_syntax *parse_list(poei_parser *parser) {
  poei_syntax *syntax = node(parser, POEI_SYNTAX_LIST, poei_parser_peek(parser)->span);
  poei_items list = {0};
  if (!syntax) {
    return NULL;
  }
  const poei_token *open = poei_parser_open(parser);
  if (poei_parser_peek(parser)->kind != POEI_TOKEN_CLOSE_LIST) {
    do {
      if (!poei_items_add(parser, &list, poei_parse_expression(parser))) {
        return NULL;
      }
    } while (poei_parser_accept(parser, POEI_TOKEN_COMMA));
  }
  return poei_parser_close(parser, open, POEI_TOKEN_CLOSE_LIST) ? with_items(parser, syntax, &list) : NULL;
}

/* ---- prefixes ---- */

static const poei_syntax *parse_prefix(poei_parser *parser, poei_syntax_kind kind, precedence operand) {
  poei_syntax *syntax = node(parser, kind, poei_parser_take(parser)->span);
  poei_items list = {0};
  if (!syntax || !poei_items_add(parser, &list, parse_at(parser, operand))) {
    return NULL;
  }
  return with_items(parser, syntax, &list);
}

static const poei_syntax *parse_minus(poei_parser *parser, precedence lowest) {
  if (lowest > PREC_SIGN) {
    poei_report(parser->reader, POE_E_SYNTAX, poei_parser_peek(parser)->span, "write -(-x)", "two signs in a row");
    return NULL;
  }
  return parse_prefix(parser, POEI_SYNTAX_NEGATIVE, PREC_POWER);
}

static const poei_syntax *parse_not(poei_parser *parser, precedence lowest) {
  if (lowest > PREC_NOT) {
    poei_report(parser->reader, POE_E_SYNTAX, poei_parser_peek(parser)->span, "write 'a and not b', or 'a / b'",
                "'not' cannot stand after this operator");
    return NULL;
  }
  return parse_prefix(parser, POEI_SYNTAX_NOT, PREC_NOT);
}

static const poei_syntax *parse_primary(poei_parser *parser, precedence lowest) {
  const poei_token *token = poei_parser_peek(parser);
  poei_syntax *syntax;
  switch (token->kind) {
  case POEI_TOKEN_NUMBER:
  case POEI_TOKEN_STRING:
    poei_parser_take(parser);
    syntax = node(parser, token->kind == POEI_TOKEN_NUMBER ? POEI_SYNTAX_NUMBER : POEI_SYNTAX_STRING, token->span);
    if (syntax) {
      syntax->number = token->number;
      syntax->text = token->text;
    }
    return syntax;
  case POEI_TOKEN_NAME: {
    bool call = token[1].kind == POEI_TOKEN_OPEN && !(token[1].first && parser->brackets == 0);
    return call ? parse_call(parser) : parse_place(parser);
  }
  case POEI_TOKEN_OPEN_LIST:
    return parse_list(parser);
  case POEI_TOKEN_OPEN: {
    const poei_token *open = poei_parser_open(parser);
    const poei_syntax *inner = poei_parse_expression(parser);
    return inner && poei_parser_close(parser, open, POEI_TOKEN_CLOSE) ? inner : NULL;
  }
  case POEI_TOKEN_MINUS:
    return parse_minus(parser, lowest);
  case POEI_TOKEN_NOT:
    return parse_not(parser, lowest);
  default:
    poei_parser_expected(parser, "an expression");
    return NULL;
  }
}

/* An operand and all operators that bind at least as tightly as `lowest`. */
static const poei_syntax *parse_at(poei_parser *parser, precedence lowest) {
  if (parser->nesting >= POEI_MAX_NESTING) {
    poei_report(parser->reader, POE_E_SYNTAX, poei_parser_peek(parser)->span, "give a part of it a name of its own",
                "this is nested more than %d deep", POEI_MAX_NESTING);
    return NULL;
  }
  parser->nesting++;
  const poei_syntax *left = parse_primary(parser, lowest);
  while (left) {
    const struct infix *op = find_infix(poei_parser_peek(parser)->kind);
    if (!op || op->precedence < lowest) {
      break;
    }
    left = parse_infix(parser, left, op);
  }
  parser->nesting--;
  return left;
}

const poei_syntax *poei_parse_expression(poei_parser *parser) {
  return parse_at(parser, PREC_GIVEN);
}

const poei_syntax *poei_parse_sum(poei_parser *parser) {
  return parse_at(parser, PREC_SUM);
}
