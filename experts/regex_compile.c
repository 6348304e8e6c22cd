/* Trees to automata: Thompson's construction (1968), then the sets of its states as states (Rabin and Scott 1959).
 *
 * The non-deterministic automaton is written from its end to its start: each part is given the state that follows it.
 * Symbols that no set of the pattern tells apart form one class; the subsets are formed over classes.
 */
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "experts/regex.h"

/* ---- Thompson ---- */

enum { MATCH = -1, SPLIT = -2 };

typedef struct nfa_state {
  int32_t set;         /* of symbols that lead to out; MATCH; SPLIT: to out and other without a symbol */
  uint32_t out, other; /* POEI_REGEX_NONE: none */
} nfa_state;

typedef struct nfa {
  const poei_regex *regex;
  nfa_state *state; /* [n] */
  size_t n;
  uint32_t start;
} nfa;

/* States that a node takes; above POEI_REGEX_PARTS the count stops and *widest is the repetition that is to blame. */
static size_t count_parts(const poei_regex *r, uint32_t index, uint32_t *widest) {
  const poei_regex_node *node = &r->node[index];
  size_t parts = node->kind == POEI_REGEX_SET;
  for (uint32_t c = node->child; c != POEI_REGEX_NONE && parts <= POEI_REGEX_PARTS; c = r->node[c].sibling) {
    parts += count_parts(r, c, widest) + (node->kind == POEI_REGEX_CHOICE);
  }
  if (node->kind == POEI_REGEX_REPEAT && parts <= POEI_REGEX_PARTS) {
    bool endless = node->most == POEI_REGEX_NONE;
    size_t copies = endless ? (node->least > 0 ? node->least : 1) : node->most;
    parts = copies * (parts + 1); /* at most 1e4 times 1e5 */
    *widest = parts > POEI_REGEX_PARTS ? index : *widest;
  }
  return parts;
}

static uint32_t add_state(nfa *a, int32_t set, uint32_t out, uint32_t other) {
  a->state[a->n] = (nfa_state){set, out, other};
  return (uint32_t)a->n++;
}

static uint32_t emit(nfa *a, uint32_t index, uint32_t out);

static uint32_t emit_repeat(nfa *a, const poei_regex_node *node, uint32_t out) {
  uint32_t copies = node->least, entry = out;
  if (node->most == POEI_REGEX_NONE) {
    uint32_t loop = add_state(a, SPLIT, POEI_REGEX_NONE, out);
    uint32_t body = emit(a, node->child, loop);
    a->state[loop].out = body;
    entry = copies == 0 ? loop : body; /* entered at the body, it has run once */
    copies -= copies > 0;
  } else {
    for (uint32_t i = node->least; i < node->most; i++) {
      uint32_t body = emit(a, node->child, entry);
      entry = add_state(a, SPLIT, body, out);
    }
  }
  for (uint32_t i = 0; i < copies; i++) {
    entry = emit(a, node->child, entry);
  }
  return entry;
}

/* Writes a node that is followed by `out`; returns where it is entered. */
static uint32_t emit(nfa *a, uint32_t index, uint32_t out) {
  const poei_regex_node *node = &a->regex->node[index];
  if (node->kind == POEI_REGEX_SET) {
    return add_state(a, (int32_t)node->set, out, POEI_REGEX_NONE);
  }
  if (node->kind == POEI_REGEX_REPEAT) {
    return emit_repeat(a, node, out);
  }
  uint32_t entry = node->kind == POEI_REGEX_SEQUENCE ? out : POEI_REGEX_NONE;
  for (uint32_t c = node->child; c != POEI_REGEX_NONE; c = a->regex->node[c].sibling) {
    if (node->kind == POEI_REGEX_SEQUENCE) {
      entry = emit(a, c, entry);
    } else {
      uint32_t branch = emit(a, c, out);
      entry = entry == POEI_REGEX_NONE ? branch : add_state(a, SPLIT, branch, entry);
    }
  }
  return entry;
}

static poe_status build_nfa(const poei_regex *regex, nfa *a, poe_error *error) {
  uint32_t widest = regex->root;
  size_t parts = count_parts(regex, regex->root, &widest);
  if (parts > POEI_REGEX_PARTS) {
    return poei_regex_error(regex->arg, regex->node[widest].position, POE_E_SHAPE, "repeat less, or less deeply", error,
                            "with its repetitions written out the pattern has more than %d parts", POEI_REGEX_PARTS);
  }
  a->state = poei_alloc(parts + 1, sizeof *a->state);
  if (a->state == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory for a pattern");
  }
  a->regex = regex;
  a->start = emit(a, regex->root, add_state(a, MATCH, POEI_REGEX_NONE, POEI_REGEX_NONE));
  return POE_OK;
}

/* ---- classes of symbols ---- */

/* class_of[symbols]; returns how many classes, 0 when out of memory. */
static size_t find_classes(const poei_regex *r, uint32_t *class_of) {
  uint32_t *key = poei_alloc(r->symbols, 2 * sizeof *key);
  size_t classes = key == NULL ? 0 : 1;
  memset(class_of, 0, r->symbols * sizeof *class_of);
  for (uint32_t s = 0; classes > 0 && s < r->n_sets; s++) {
    for (size_t i = 0; i < r->symbols; i++) {
      key[2 * i] = class_of[i];
      key[2 * i + 1] = poei_regex_has(r, s, i);
    }
    classes = poei_dfa_group(r->symbols, 2, key, class_of);
  }
  poei_free(key);
  return classes;
}

/* ---- subsets ---- */

/* The deterministic automaton as it grows. A subset is a sorted list of NFA states that read a symbol or match. */
typedef struct subsets {
  const nfa *nfa;
  size_t n, room, n_items, item_room, classes, slots;
  size_t *first;         /* [n + 1] where each subset begins in item */
  uint32_t *item;        /* [n_items]                                */
  int32_t *next;         /* [n, classes]                             */
  uint32_t *slot;        /* [slots] hash table of subset + 1         */
  uint32_t *mark;        /* [nfa states] the last closure it was in  */
  uint32_t *stack, *own; /* [nfa states] of the closure at work      */
  uint32_t *member;      /* [classes] a symbol of each class         */
  uint32_t closures;
} subsets;

static void subsets_free(subsets *d) {
  poei_free(d->first);
  poei_free(d->item);
  poei_free(d->next);
  poei_free(d->slot);
  poei_free(d->mark);
  poei_free(d->stack);
  poei_free(d->own);
  poei_free(d->member);
}

static int compare_items(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return x < y ? -1 : x > y;
}

/* Adds what is reached from an NFA state without a symbol to own[count]; returns the new count. */
static size_t close_over(subsets *d, uint32_t from, size_t count) {
  size_t depth = 0;
  if (d->mark[from] != d->closures) {
    d->mark[from] = d->closures;
    d->stack[depth++] = from;
  }
  while (depth > 0) {
    uint32_t at = d->stack[--depth];
    const nfa_state *state = &d->nfa->state[at];
    if (state->set != SPLIT) {
      d->own[count++] = at;
      continue;
    }
    uint32_t both[2] = {state->out, state->other};
    for (size_t i = 0; i < 2; i++) {
      if (d->mark[both[i]] != d->closures) {
        d->mark[both[i]] = d->closures;
        d->stack[depth++] = both[i];
      }
    }
  }
  return count;
}

static size_t hash_items(const uint32_t *item, size_t n) {
  uint64_t hash = 14695981039346656037u;
  for (size_t i = 0; i < n; i++) {
    hash = (hash ^ item[i]) * 1099511628211u;
  }
  return (size_t)(hash ^ (hash >> 29));
}

static bool reserve(void **array, size_t need, size_t *room, size_t size) {
  if (need <= *room) {
    return true;
  }
  size_t more = *room;
  while (more < need) {
    more = 2 * more + 64;
  }
  void *moved = poei_realloc(*array, more, size);
  if (moved != NULL) {
    *array = moved;
    *room = more;
  }
  return moved != NULL;
}

static poe_status too_large(const subsets *d, poe_error *error) {
  poe_args_error(d->nfa->regex->arg, error, POE_E_SHAPE, "the automaton of `pattern` has more than %d states",
                 POEI_DFA_STATES);
  poe_error_hint(error, "what makes it large is a counted repetition after an open one, as in .*a.{20}");
  return POE_E_SHAPE;
}

static poe_status out_of_memory(poe_error *error) {
  return poe_error_set(error, POE_E_MEMORY, "out of memory for a pattern");
}

/* The number of the subset own[count], a new one if need be. */
static poe_status find_subset(subsets *d, size_t count, int32_t *number, poe_error *error) {
  enum { ITEMS = 1 << 24 };
  qsort(d->own, count, sizeof *d->own, compare_items);
  size_t at = hash_items(d->own, count) & (d->slots - 1);
  for (; d->slot[at] != 0; at = (at + 1) & (d->slots - 1)) {
    size_t s = d->slot[at] - 1;
    if (d->first[s + 1] - d->first[s] == count && memcmp(d->item + d->first[s], d->own, count * sizeof *d->own) == 0) {
      *number = (int32_t)s;
      return POE_OK;
    }
  }
  if (d->n == POEI_DFA_STATES || d->n_items + count > ITEMS || (d->n + 1) * d->classes > POEI_DFA_ENTRIES) {
    return too_large(d, error);
  }
  void *item = d->item, *next = d->next;
  size_t next_room = d->room;
  bool ok = reserve(&item, d->n_items + count, &d->item_room, sizeof *d->item);
  d->item = item;
  ok = ok && reserve(&next, d->n + 1, &next_room, d->classes * sizeof *d->next);
  d->next = next;
  d->room = next_room;
  if (!ok) {
    return out_of_memory(error);
  }
  memcpy(d->item + d->n_items, d->own, count * sizeof *d->own);
  d->n_items += count;
  d->slot[at] = (uint32_t)d->n + 1;
  *number = (int32_t)d->n++;
  d->first[d->n] = d->n_items;
  return POE_OK;
}

/* The ways on from subset s. */
static poe_status expand(subsets *d, size_t s, poe_error *error) {
  for (size_t c = 0; c < d->classes; c++) {
    size_t count = 0;
    int32_t number = -1;
    d->closures++;
    for (size_t i = d->first[s]; i < d->first[s + 1]; i++) {
      const nfa_state *state = &d->nfa->state[d->item[i]];
      if (state->set >= 0 && poei_regex_has(d->nfa->regex, (uint32_t)state->set, d->member[c])) {
        count = close_over(d, state->out, count);
      }
    }
    poe_status status = count > 0 ? find_subset(d, count, &number, error) : POE_OK;
    if (status != POE_OK) {
      return status;
    }
    d->next[s * d->classes + c] = number;
  }
  return POE_OK;
}

/* Subsets are found in the order of the shortest word that leads to them; those that only words of `length` symbols
 * lead to need no way on. */
static poe_status build_subsets(subsets *d, const uint32_t *class_of, size_t length, poe_error *error) {
  const nfa *a = d->nfa;
  d->slots = 1 << 15; /* more than twice POEI_DFA_STATES */
  d->first = poei_calloc(POEI_DFA_STATES + 1, sizeof *d->first);
  d->slot = poei_calloc(d->slots, sizeof *d->slot);
  d->mark = poei_calloc(a->n, sizeof *d->mark);
  d->stack = poei_alloc(a->n, sizeof *d->stack);
  d->own = poei_alloc(a->n, sizeof *d->own);
  d->member = poei_alloc(d->classes, sizeof *d->member);
  if (d->first == NULL || d->slot == NULL || d->mark == NULL || d->stack == NULL || d->own == NULL ||
      d->member == NULL) {
    return out_of_memory(error);
  }
  for (size_t i = a->regex->symbols; i-- > 0;) {
    d->member[class_of[i]] = (uint32_t)i;
  }
  int32_t start;
  d->closures = 1;
  poe_status status = find_subset(d, close_over(d, a->start, 0), &start, error);
  size_t s = 0;
  for (size_t depth = 0; status == POE_OK && depth < length && s < d->n; depth++) {
    for (size_t end = d->n; status == POE_OK && s < end; s++) {
      status = expand(d, s, error);
    }
  }
  for (size_t e = s * d->classes; status == POE_OK && e < d->n * d->classes; e++) {
    d->next[e] = -1;
  }
  return status;
}

static poe_status finish(const subsets *d, const uint32_t *class_of, poei_dfa *dfa, poe_error *error) {
  unsigned char *accept = poei_calloc(d->n, 1);
  if (accept == NULL) {
    return out_of_memory(error);
  }
  for (size_t s = 0; s < d->n; s++) {
    for (size_t i = d->first[s]; i < d->first[s + 1]; i++) {
      accept[s] |= d->nfa->state[d->item[i]].set == MATCH;
    }
  }
  poe_status status =
      poei_dfa_create(d->n, d->nfa->regex->symbols, d->classes, class_of, d->next, accept, 0, dfa, error);
  poei_free(accept);
  return status;
}

poe_status poei_regex_compile(const poei_regex *regex, size_t length, poei_dfa *dfa, poe_error *error) {
  nfa a = {0};
  subsets d = {.nfa = &a};
  uint32_t *class_of = poei_alloc(regex->symbols, sizeof *class_of);
  poe_status status = class_of == NULL ? out_of_memory(error) : build_nfa(regex, &a, error);
  if (status == POE_OK) {
    d.classes = find_classes(regex, class_of);
    status = d.classes == 0 ? out_of_memory(error) : build_subsets(&d, class_of, length, error);
  }
  if (status == POE_OK) {
    status = finish(&d, class_of, dfa, error);
  }
  subsets_free(&d);
  poei_free(a.state);
  poei_free(class_of);
  return status;
}
