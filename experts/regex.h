/* Regular expressions: a pattern to a syntax tree (regex_parse.c), the tree to an automaton (regex_compile.c).
 *
 *   pattern  = sequence { "|" sequence }                    one or the other
 *   sequence = { item [ "*" | "+" | "?" | "{m}" | "{m,}" | "{m,n}" ] }
 *   item     = a character of the alphabet
 *            | "."                                          any symbol
 *            | "[" [ "^" ] { c | c "-" c | escape } "]"     one of these (^: none of these)
 *            | "(" pattern ")" | "(?:" pattern ")"
 *            | escape
 *   escape   = "\d" digits  "\w" letters, digits, _  "\s" blanks  (capital: all others)  "\n" "\t" "\r"
 *            | "\" and any punctuation: that character
 *
 * The whole sequence must match. Ranges and the classes \d \w \s take what the alphabet has of them.
 */
#ifndef POE_EXPERTS_REGEX_H
#define POE_EXPERTS_REGEX_H

#include "experts/dfa.h"

enum {
  POEI_REGEX_SYMBOLS = 4096, /* letters of an alphabet                   */
  POEI_REGEX_LENGTH = 4096,  /* characters of a pattern                  */
  POEI_REGEX_DEPTH = 100,    /* nested groups                            */
  POEI_REGEX_TIMES = 10000,  /* the largest number in {m,n}              */
  POEI_REGEX_PARTS = 1 << 16 /* of a pattern with its repetitions written out */
};
#define POEI_REGEX_NONE UINT32_MAX

typedef enum poei_regex_kind {
  POEI_REGEX_SET,
  POEI_REGEX_SEQUENCE, /* children from the last to the first; none: the empty word */
  POEI_REGEX_CHOICE,
  POEI_REGEX_REPEAT /* one child */
} poei_regex_kind;

typedef struct poei_regex_node {
  poei_regex_kind kind;
  uint32_t child, sibling; /* POEI_REGEX_NONE: none                    */
  uint32_t set;            /* SET                                      */
  uint32_t least, most;    /* REPEAT; most POEI_REGEX_NONE: any number */
  uint32_t position;       /* in the pattern, from 1                   */
} poei_regex_node;

typedef struct poei_regex {
  const poe_arg *arg; /* the pattern, for messages            */
  size_t symbols, words;
  const uint32_t *alphabet; /* [symbols] code points, borrowed     */
  size_t n_nodes, node_room, n_sets, set_room;
  poei_regex_node *node; /* [n_nodes]                            */
  uint64_t *set;         /* [n_sets, words] bits of symbols       */
  uint32_t root;
} poei_regex;

/* Code points of a UTF-8 text into *out[*n], allocated. POE_E_FORMAT at `arg`. */
poe_status poei_regex_decode(const poe_arg *arg, const char *text, uint32_t **out, size_t *n, poe_error *error);
/* A character as it is shown in messages. */
const char *poei_regex_show(uint32_t code, char text[16]);
/* An error at a character of the pattern: "`pattern`, character 4: ..." and a hint (NULL: none). */
#if defined(__GNUC__)
__attribute__((format(printf, 6, 7)))
#endif
poe_status
poei_regex_error(const poe_arg *arg, size_t position, poe_status status, const char *hint, poe_error *error,
                 const char *format, ...);

/* Fills the nodes and sets of a zeroed regex with arg, symbols and alphabet set. Released in any case. */
poe_status poei_regex_parse(const uint32_t *pattern, size_t n, poei_regex *regex, poe_error *error);
void poei_regex_release(poei_regex *regex);
static inline bool poei_regex_has(const poei_regex *regex, uint32_t set, size_t symbol) {
  return (regex->set[set * regex->words + symbol / 64] >> (symbol % 64) & 1) != 0;
}

/* The smallest automaton of a parsed regex, for words of at most `length` symbols. POE_E_SHAPE when it would be too
 * large. */
poe_status poei_regex_compile(const poei_regex *regex, size_t length, poei_dfa *dfa, poe_error *error);

#endif
