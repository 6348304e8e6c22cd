/* Patterns to trees, by recursive descent. Every error names the character of the pattern it is about. */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "experts/regex.h"
#include "formats/file_error.h"

/* ---- characters ---- */

poe_status poei_regex_decode(const poe_arg *arg, const char *text, uint32_t **out, size_t *n, poe_error *error) {
  size_t length = strlen(text), count = 0;
  if (!poei_utf8_valid(text, length)) {
    return poe_args_error(arg, error, POE_E_FORMAT, "`%s` is not valid UTF-8", arg->name);
  }
  uint32_t *code = poei_alloc(length, sizeof *code);
  if (code == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory for `%s`", arg->name);
  }
  for (const unsigned char *at = (const unsigned char *)text; *at != '\0';) {
    int more = *at >= 0xf0 ? 3 : *at >= 0xe0 ? 2 : *at >= 0xc0 ? 1 : 0;
    uint32_t value = more == 0 ? *at : *at & (0x3fu >> more);
    for (at++; more > 0; more--) {
      value = value << 6 | (*at++ & 0x3fu);
    }
    code[count++] = value;
  }
  *out = code;
  *n = count;
  return POE_OK;
}

const char *poei_regex_show(uint32_t code, char text[16]) {
  if (code < 0x20 || (code >= 0x7f && code < 0xa0)) {
    snprintf(text, 16, "U+%04X", (unsigned)code);
  } else if (code < 0x80) {
    snprintf(text, 16, "'%c'", (int)code);
  } else if (code < 0x800) {
    snprintf(text, 16, "'%c%c'", (int)(0xc0 | code >> 6), (int)(0x80 | (code & 0x3f)));
  } else if (code < 0x10000) {
    snprintf(text, 16, "'%c%c%c'", (int)(0xe0 | code >> 12), (int)(0x80 | (code >> 6 & 0x3f)),
             (int)(0x80 | (code & 0x3f)));
  } else {
    snprintf(text, 16, "'%c%c%c%c'", (int)(0xf0 | code >> 18), (int)(0x80 | (code >> 12 & 0x3f)),
             (int)(0x80 | (code >> 6 & 0x3f)), (int)(0x80 | (code & 0x3f)));
  }
  return text;
}

poe_status poei_regex_error(const poe_arg *arg, size_t position, poe_status status, const char *hint, poe_error *error,
                            const char *format, ...) {
  char message[400];
  va_list list;
  va_start(list, format);
  vsnprintf(message, sizeof message, format, list);
  va_end(list);
  poe_args_error(arg, error, status, "`pattern`, character %zu: %s", position, message);
  if (hint != NULL) {
    poe_error_hint(error, "%s", hint);
  }
  return status;
}

/* ---- the parser ---- */

typedef struct parser {
  const uint32_t *text; /* [n] */
  size_t n, at, depth;
  poei_regex *out;
  poe_error *error;
} parser;

enum { END = 0 }; /* no character of a text is 0 */

static uint32_t peek(const parser *p, size_t ahead) {
  return p->at + ahead < p->n ? p->text[p->at + ahead] : END;
}

static poe_status memory(parser *p) {
  return poe_error_set(p->error, POE_E_MEMORY, "out of memory for a pattern");
}

/* Doubles the room of an array that is full. */
static bool grow(void **array, size_t n, size_t *room, size_t size) {
  if (n < *room) {
    return true;
  }
  size_t more = *room == 0 ? 16 : 2 * *room;
  void *moved = poei_realloc(*array, more, size);
  if (moved == NULL) {
    return false;
  }
  *array = moved;
  *room = more;
  return true;
}

static poe_status add_node(parser *p, poei_regex_kind kind, size_t position, uint32_t *index) {
  poei_regex *r = p->out;
  void *node = r->node;
  if (!grow(&node, r->n_nodes, &r->node_room, sizeof *r->node)) {
    return memory(p);
  }
  r->node = node;
  *index = (uint32_t)r->n_nodes++;
  r->node[*index] = (poei_regex_node){
      .kind = kind, .child = POEI_REGEX_NONE, .sibling = POEI_REGEX_NONE, .position = (uint32_t)position};
  return POE_OK;
}

/* A SET node with an empty set. */
static poe_status add_set(parser *p, size_t position, uint32_t *index) {
  poei_regex *r = p->out;
  void *set = r->set;
  if (!grow(&set, r->n_sets, &r->set_room, r->words * sizeof *r->set)) {
    return memory(p);
  }
  r->set = set;
  memset(r->set + r->n_sets * r->words, 0, r->words * sizeof *r->set);
  poe_status status = add_node(p, POEI_REGEX_SET, position, index);
  if (status == POE_OK) {
    r->node[*index].set = (uint32_t)r->n_sets++;
  }
  return status;
}

static uint64_t *set_of(parser *p, uint32_t node) {
  return p->out->set + p->out->node[node].set * p->out->words;
}

static void set_put(uint64_t *set, size_t symbol) {
  set[symbol / 64] |= (uint64_t)1 << (symbol % 64);
}

/* ---- sets ---- */

/* Adds the symbols between two characters; returns how many there are. */
static size_t put_range(parser *p, uint32_t node, uint32_t first, uint32_t last) {
  size_t found = 0;
  for (size_t i = 0; i < p->out->symbols; i++) {
    if (p->out->alphabet[i] >= first && p->out->alphabet[i] <= last) {
      set_put(set_of(p, node), i);
      found++;
    }
  }
  return found;
}

static poe_status put_character(parser *p, uint32_t node, uint32_t code, size_t position) {
  if (put_range(p, node, code, code) > 0) {
    return POE_OK;
  }
  char shown[16];
  return poei_regex_error(p->out->arg, position, POE_E_NAME,
                          "`alphabet` names the symbols in order; left out it is 0123456789abc...", p->error,
                          "%s is not in the alphabet", poei_regex_show(code, shown));
}

static bool in_class(uint32_t code, char class) {
  bool ascii = code < 0x80;
  bool digit = ascii && isdigit((int)code) != 0, letter = ascii && isalpha((int)code) != 0;
  switch (tolower(class)) {
  case 'd':
    return digit;
  case 'w':
    return digit || letter || code == '_';
  default:
    return code == ' ' || (code >= '\t' && code <= '\r');
  }
}

/* An escape after its backslash: a class is added to the set at once (*code = END), a character is given back. */
static poe_status escape(parser *p, uint32_t node, uint32_t *code) {
  size_t position = p->at;
  uint32_t c = peek(p, 0);
  p->at += c != END;
  if (c == END) {
    return poei_regex_error(p->out->arg, position, POE_E_SYNTAX, "a backslash itself is written \\\\", p->error,
                            "nothing follows the backslash");
  }
  *code = c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c;
  if (*code != c || (c < 0x80 && ispunct((int)c))) {
    return POE_OK;
  }
  if (c < 0x80 && strchr("dDwWsS", (int)c) != NULL) {
    for (size_t i = 0; i < p->out->symbols; i++) {
      if (in_class(p->out->alphabet[i], (char)c) == (islower((int)c) != 0)) {
        set_put(set_of(p, node), i);
      }
    }
    *code = END;
    return POE_OK;
  }
  char shown[16];
  return poei_regex_error(p->out->arg, position, POE_E_SYNTAX,
                          "the escapes are \\d \\w \\s \\D \\W \\S \\n \\t \\r and "
                          "\\ before punctuation",
                          p->error, "%s is no escape", poei_regex_show(c, shown));
}

/* What stands in brackets, after "[" and "^". */
static poe_status bracket_item(parser *p, uint32_t node) {
  size_t position = p->at + 1;
  uint32_t first = p->text[p->at++];
  poe_status status = first == '\\' ? escape(p, node, &first) : POE_OK;
  if (status != POE_OK || first == END) {
    return status;
  }
  if (peek(p, 0) != '-' || peek(p, 1) == ']' || peek(p, 1) == END) {
    return put_character(p, node, first, position);
  }
  p->at++;
  uint32_t last = p->text[p->at++];
  if (last == '\\') {
    status = escape(p, node, &last);
  }
  if (status == POE_OK && last < first) { /* also after a class, which is no end of a range */
    status = poei_regex_error(p->out->arg, position, POE_E_SYNTAX, "a range goes from the lower to the higher: a-z",
                              p->error, "this range is the wrong way round");
  }
  if (status == POE_OK) {
    put_range(p, node, first, last);
  }
  return status;
}

/* Fails when a set is empty: no sequence could pass it. */
static poe_status not_empty(parser *p, uint32_t node) {
  const uint64_t *set = set_of(p, node);
  for (size_t i = 0; i < p->out->words; i++) {
    if (set[i] != 0) {
      return POE_OK;
    }
  }
  return poei_regex_error(p->out->arg, p->out->node[node].position, POE_E_EMPTY, NULL, p->error,
                          "no symbol of the alphabet is meant by this");
}

static poe_status bracket(parser *p, uint32_t *index) {
  size_t position = p->at++;
  poe_status status = add_set(p, position + 1, index);
  bool negated = peek(p, 0) == '^';
  p->at += negated;
  while (status == POE_OK && peek(p, 0) != ']') {
    if (peek(p, 0) == END) {
      return poei_regex_error(p->out->arg, position + 1, POE_E_SYNTAX, "write \\[ for the bracket itself", p->error,
                              "this '[' is never closed");
    }
    status = bracket_item(p, *index);
  }
  p->at++;
  if (status == POE_OK && negated) {
    uint64_t *set = set_of(p, *index);
    for (size_t i = 0; i < p->out->words; i++) {
      size_t left = p->out->symbols - 64 * i;
      set[i] = ~set[i] & (left < 64 ? ((uint64_t)1 << left) - 1 : UINT64_MAX);
    }
  }
  return status == POE_OK ? not_empty(p, *index) : status;
}

/* ---- items ---- */

static poe_status choice(parser *p, uint32_t *index);

static poe_status group(parser *p, uint32_t *index) {
  size_t position = p->at++;
  if (p->depth == POEI_REGEX_DEPTH) {
    return poei_regex_error(p->out->arg, position + 1, POE_E_SYNTAX, NULL, p->error, "groups nest more than %d deep",
                            POEI_REGEX_DEPTH);
  }
  if (peek(p, 0) == '?') {
    if (peek(p, 1) != ':') {
      return poei_regex_error(p->out->arg, position + 1, POE_E_SYNTAX, "groups are ( ) and (?: )", p->error,
                              "there are no groups of this kind");
    }
    p->at += 2;
  }
  p->depth++;
  poe_status status = choice(p, index);
  p->depth--;
  if (status == POE_OK && peek(p, 0) != ')') {
    return poei_regex_error(p->out->arg, position + 1, POE_E_SYNTAX, "write \\( for the parenthesis itself", p->error,
                            "this '(' is never closed");
  }
  p->at++;
  return status;
}

static poe_status item(parser *p, uint32_t *index) {
  size_t position = p->at + 1;
  uint32_t c = peek(p, 0);
  if (c == '(' || c == '[') {
    return c == '(' ? group(p, index) : bracket(p, index);
  }
  if (c < 0x80 && strchr("*+?{", (int)c) != NULL) {
    return poei_regex_error(p->out->arg, position, POE_E_SYNTAX, "write a backslash before it for the character itself",
                            p->error, "there is nothing before this '%c' to repeat", (int)c);
  }
  if (c == '^' || c == '$') {
    return poei_regex_error(p->out->arg, position, POE_E_SYNTAX,
                            "leave it out; a backslash before it means the character itself", p->error,
                            "the whole sequence must match: there is no '%c'", (int)c);
  }
  p->at++;
  poe_status status = add_set(p, position, index);
  if (status != POE_OK) {
    return status;
  }
  if (c == '.') {
    put_range(p, *index, 0, UINT32_MAX);
    return POE_OK;
  }
  if (c == '\\') {
    status = escape(p, *index, &c);
  }
  if (status == POE_OK && c == END) {
    return not_empty(p, *index);
  }
  return status == POE_OK ? put_character(p, *index, c, position) : status;
}

/* ---- repetitions ---- */

/* A number of {m,n}; POEI_REGEX_NONE when there is none. */
static poe_status times(parser *p, uint32_t *value) {
  size_t position = p->at + 1;
  uint32_t number = 0, digits = 0;
  for (; peek(p, 0) >= '0' && peek(p, 0) <= '9'; p->at++, digits++) {
    number = number * 10 + (peek(p, 0) - '0');
    if (number > POEI_REGEX_TIMES) {
      return poei_regex_error(p->out->arg, position, POE_E_SHAPE, NULL, p->error, "a repetition is at most %d times",
                              POEI_REGEX_TIMES);
    }
  }
  *value = digits > 0 ? number : POEI_REGEX_NONE;
  return POE_OK;
}

static poe_status braces(parser *p, uint32_t *least, uint32_t *most) {
  size_t position = ++p->at;
  poe_status status = times(p, least);
  *most = *least;
  if (status == POE_OK && peek(p, 0) == ',') {
    p->at++;
    status = times(p, most);
  }
  if (status != POE_OK) {
    return status;
  }
  if (*least == POEI_REGEX_NONE || peek(p, 0) != '}') {
    return poei_regex_error(p->out->arg, position, POE_E_SYNTAX, "write {3}, {3,} or {3,5}; \\{ for the brace itself",
                            p->error, "this is no number of repetitions");
  }
  p->at++;
  if (*most < *least) {
    return poei_regex_error(p->out->arg, position, POE_E_SYNTAX, NULL, p->error,
                            "{%u,%u}: the smaller number comes first", (unsigned)*least, (unsigned)*most);
  }
  return POE_OK;
}

/* What follows an item, if it is a repetition. */
static poe_status repetition(parser *p, uint32_t *index) {
  size_t position = p->at + 1;
  uint32_t c = peek(p, 0), least = c == '+', most = c == '?' ? 1 : POEI_REGEX_NONE, node;
  if (c == END || c >= 0x80 || strchr("*+?{", (int)c) == NULL) {
    return POE_OK;
  }
  poe_status status = POE_OK;
  if (c == '{') {
    status = braces(p, &least, &most);
  } else {
    p->at++;
  }
  if (status == POE_OK) {
    status = add_node(p, POEI_REGEX_REPEAT, position, &node);
  }
  if (status != POE_OK) {
    return status;
  }
  p->out->node[node].child = *index;
  p->out->node[node].least = least;
  p->out->node[node].most = most;
  *index = node;
  c = peek(p, 0);
  if (c != END && c < 0x80 && strchr("*+?{", (int)c) != NULL) {
    return poei_regex_error(p->out->arg, p->at + 1, POE_E_SYNTAX, "put what is repeated in parentheses", p->error,
                            "a repetition cannot be repeated");
  }
  return POE_OK;
}

static poe_status sequence(parser *p, uint32_t *index) {
  poe_status status = add_node(p, POEI_REGEX_SEQUENCE, p->at + 1, index);
  while (status == POE_OK && peek(p, 0) != END && peek(p, 0) != '|' && peek(p, 0) != ')') {
    uint32_t part = POEI_REGEX_NONE;
    status = item(p, &part);
    if (status == POE_OK) {
      status = repetition(p, &part);
    }
    if (status == POE_OK) {
      p->out->node[part].sibling = p->out->node[*index].child;
      p->out->node[*index].child = part;
    }
  }
  return status;
}

static poe_status choice(parser *p, uint32_t *index) {
  uint32_t part = POEI_REGEX_NONE;
  poe_status status = add_node(p, POEI_REGEX_CHOICE, p->at + 1, index);
  for (bool more = true; status == POE_OK && more;) {
    status = sequence(p, &part);
    if (status == POE_OK) {
      p->out->node[part].sibling = p->out->node[*index].child;
      p->out->node[*index].child = part;
      more = peek(p, 0) == '|';
      p->at += more;
    }
  }
  return status;
}

poe_status poei_regex_parse(const uint32_t *pattern, size_t n, poei_regex *regex, poe_error *error) {
  parser p = {.text = pattern, .n = n, .out = regex, .error = error};
  regex->words = (regex->symbols + 63) / 64;
  if (n > POEI_REGEX_LENGTH) {
    return poei_regex_error(regex->arg, POEI_REGEX_LENGTH + 1, POE_E_SHAPE, NULL, error,
                            "a pattern has at most %d characters", POEI_REGEX_LENGTH);
  }
  poe_status status = choice(&p, &regex->root);
  if (status == POE_OK && p.at < n) { /* only a ')' stops a choice before the end */
    return poei_regex_error(regex->arg, p.at + 1, POE_E_SYNTAX, "write \\) for the parenthesis itself", error,
                            "this ')' was never opened");
  }
  return status;
}

void poei_regex_release(poei_regex *regex) {
  poei_free(regex->node);
  poei_free(regex->set);
  regex->node = NULL;
  regex->set = NULL;
}
