/* What the rules did, in the words of the program: the factors that are gone -> those that stand in their place.
 *
 * A firing turns a node into another of equal density; its factors are compared before and after. Firings that read the
 * same, as of the components of a mixture or the factors of a comprehension, are told once.
 */
#include <stdlib.h>
#include <string.h>

#include "answer/explain_parts.h"
#include "compose/exact/rules.h"
#include "compose/exact/words.h"
#include "core/alloc.h"

/* A firing in the coordinates of the program. */
typedef struct change {
  size_t gone, made;
  poei_traced *before, *after; /* [gone], [made] */
} change;

static void change_free(change *c) {
  poei_traced_free(c->before, c->gone);
  poei_traced_free(c->after, c->made);
}

static poe_status in_program(const poei_teller *t, size_t n, const poei_traced *list, poei_traced **out, size_t *n_out,
                             poe_error *error) {
  *n_out = 0;
  *out = poei_calloc(n, sizeof **out);
  for (; *out != NULL && *n_out < n; (*n_out)++) {
    poei_traced *own = &(*out)[*n_out];
    own->place = poei_teller_ids(t, poe_expert_traits(list[*n_out].expert)->dim, list[*n_out].place);
    if (own->place == NULL) {
      break;
    }
    own->expert = poe_expert_retain(list[*n_out].expert);
    own->exponent = list[*n_out].exponent;
  }
  return *n_out < n || *out == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
}

static poe_status change_open(const poei_teller *t, const poei_firing *firing, change *c, poe_error *error) {
  *c = (change){0};
  poe_status status = in_program(t, firing->n_gone, firing->gone, &c->before, &c->gone, error);
  if (status == POE_OK) {
    status = in_program(t, firing->n_made, firing->made, &c->after, &c->made, error);
  }
  if (status != POE_OK) {
    change_free(c);
  }
  return status;
}

/* ---- words ---- */

/* A leaf that no word of the program stands for: a rule made it. */
static bool new_leaf(const poei_teller *t, const poei_traced *told) {
  const poei_outline *node = poei_teller_find(t, told->expert, told->place);
  return poei_node_kind_of(told->expert) == POEI_NODE_LEAF && (node == NULL || (!node->name && !node->text));
}

/* "one Gaussian over x, z[0:4]" for what a rule made; else what it is made of. bare: without the variables. */
static void made_text(const poei_teller *t, const poei_traced *told, bool first, bool bare, char *text, size_t size) {
  char words[POEI_WORDS_SIZE], over[POEI_WORDS_SIZE] = "";
  bool whole = poei_node_kind_of(told->expert) == POEI_NODE_LEAF && told->exponent == 1.0;
  if (whole && (first || new_leaf(t, told))) {
    poei_expert_words(told->expert, words, sizeof words);
    if (!bare) {
      poei_teller_over(t, poe_expert_traits(told->expert)->dim, told->place, over, sizeof over);
    }
    snprintf(text, size, over[0] == '\0' ? "one %s" : "one %s over %s", words, over);
  } else {
    poei_told_text(t, 1, told, text, size);
  }
}

/* The derived variable that the first factor reads; NULL: none. */
static const char *map_name(const poei_teller *t, const change *c) {
  const poei_outline *node = c->gone > 0 ? poei_teller_find(t, c->before[0].expert, c->before[0].place) : NULL;
  for (size_t i = 0; node != NULL && i < node->n_over; i++) {
    if (node->over[i].derived) {
      return node->over[i].name;
    }
  }
  return NULL;
}

static bool moves(const char *rule) {
  static const char *const words[] = {"unwrap", "flatten", "collect", "share map"};
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
    if (strcmp(words[i], rule) == 0) {
      return true;
    }
  }
  return false;
}

/* Was one closed form made? Then its variables are told with those of firings that read the same. */
static bool closes_one(const poei_firing *firing, const change *c) {
  return !moves(firing->rule) && c->made == 1 && poei_node_kind_of(c->after[0].expert) == POEI_NODE_LEAF &&
         c->after[0].exponent == 1.0;
}

static void after_text(const poei_teller *t, const poei_firing *firing, const change *c, char *text, size_t size) {
  enum { TOLD_MADE = 4 };
  size_t used = 0;
  if (strcmp(firing->rule, "share map") == 0) {
    const char *map = map_name(t, c);
    snprintf(text, size, "one density of %s, which is worked out once", map == NULL ? "the map's value" : map);
    return;
  }
  if (moves(firing->rule) || c->made > TOLD_MADE) {
    poei_told_text(t, c->made, c->after, text, size);
    if (c->made > TOLD_MADE && strstr(text, "factors)") == NULL && strstr(text, "times)") == NULL) {
      snprintf(text, size, "%zu factors", c->made);
    }
    return;
  }
  text[0] = '\0';
  for (size_t i = 0; i < c->made && used + 8 < size; i++) {
    char own[POEI_TOLD_SIZE];
    made_text(t, &c->after[i], c->made == 1, closes_one(firing, c), own, sizeof own);
    used += (size_t)snprintf(text + used, size - used, "%s%s", i > 0 ? "; " : "", own);
  }
  if (c->made == 0) {
    snprintf(text, size, "nothing");
  }
}

/* What was made is called by what it was made of from now on. */
static poe_status label_made(poei_teller *t, const change *c, const char *before, poe_error *error) {
  enum { LONGEST_LABEL = 48 };
  poe_status status = POE_OK;
  for (size_t i = 0; i < c->made && status == POE_OK; i++) {
    const poei_traced *told = &c->after[i];
    if (!new_leaf(t, told)) {
      continue;
    }
    char words[POEI_WORDS_SIZE], text[POEI_TOLD_SIZE];
    poei_expert_words(told->expert, words, sizeof words);
    if (strlen(before) > LONGEST_LABEL) {
      snprintf(text, sizeof text, "that %s", words);
    } else if (c->gone == 1 && strncmp(before, "normalise(the ", 14) == 0) { /* what it is was told before */
      snprintf(text, sizeof text, "%s", before);
    } else {
      snprintf(text, sizeof text, "the %s of %s", words, before);
    }
    status = poei_teller_label(t, told->expert, text, error);
  }
  return status;
}

/* ---- the list ---- */

typedef struct rule_entry {
  const char *rule, *what;
  char before[POEI_TOLD_SIZE], after[POEI_TOLD_SIZE];
  const poei_outline *node; /* where; NULL: nowhere */
  size_t times, n, n_made;
  size_t *over, *made; /* [n], [n_made] ids: of the nodes, of the closed forms that were made */
} rule_entry;

static void entry_free(rule_entry *entry) {
  poei_free(entry->over);
  poei_free(entry->made);
}

static poe_status entry_fill(poei_teller *t, const poei_firing *firing, rule_entry *entry, poe_error *error) {
  change c;
  *entry = (rule_entry){.rule = firing->rule, .what = firing->what, .times = 1, .n = firing->dim};
  entry->over = poei_teller_ids(t, firing->dim, firing->place);
  if (entry->over == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  poe_status status = change_open(t, firing, &c, error);
  if (status != POE_OK) {
    entry_free(entry);
    return status;
  }
  poei_told_text(t, c.gone, c.before, entry->before, sizeof entry->before);
  after_text(t, firing, &c, entry->after, sizeof entry->after);
  entry->node = poei_teller_find(t, firing->origin, entry->over);
  status = label_made(t, &c, entry->before, error);
  if (closes_one(firing, &c)) {
    entry->n_made = poe_expert_traits(c.after[0].expert)->dim;
    entry->made = c.after[0].place;
    c.after[0].place = NULL;
  }
  change_free(&c);
  if (status != POE_OK) {
    entry_free(entry);
  }
  return status;
}

/* ids[*n] and more[n_more], one after the other: those that are there already are told once later. */
static poe_status append_ids(size_t **ids, size_t *n, const size_t *more, size_t n_more, poe_error *error) {
  size_t *longer = poei_realloc(*ids, *n + n_more, sizeof *longer);
  if (longer == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  memcpy(longer + *n, more, n_more * sizeof *more);
  *ids = longer;
  *n += n_more;
  return POE_OK;
}

/* One more of the same: takes over the contents of `more`. */
static poe_status entry_merge(rule_entry *entry, rule_entry *more, poe_error *error) {
  entry->times++;
  poe_status status = POE_OK;
  if (entry->n != more->n || memcmp(entry->over, more->over, more->n * sizeof *more->over) != 0) {
    status = append_ids(&entry->over, &entry->n, more->over, more->n, error);
  }
  bool same = entry->n_made == more->n_made &&
              (more->n_made == 0 || memcmp(entry->made, more->made, more->n_made * sizeof *more->made) == 0);
  if (status == POE_OK && !same && more->n_made > 0) {
    status = append_ids(&entry->made, &entry->n_made, more->made, more->n_made, error);
  }
  entry_free(more);
  return status;
}

static bool same_entry(const rule_entry *a, const rule_entry *b) {
  return strcmp(a->rule, b->rule) == 0 && strcmp(a->before, b->before) == 0 && strcmp(a->after, b->after) == 0 &&
         a->node == b->node && (a->made == NULL) == (b->made == NULL);
}

static const char *rule_doc(const char *name) {
  for (const poei_rule *rule = poei_rules; rule->name != NULL; rule++) {
    if (strcmp(rule->name, name) == 0) {
      return rule->doc;
    }
  }
  return "";
}

static poe_status append_entry(const poei_teller *t, const rule_entry *entry, json_t *list, poe_error *error) {
  char over[POEI_TOLD_SIZE], made[POEI_TOLD_SIZE] = "", after[2 * POEI_TOLD_SIZE + 8];
  poei_teller_over(t, entry->n, entry->over, over, sizeof over);
  if (entry->made != NULL) {
    poei_teller_over(t, entry->n_made, entry->made, made, sizeof made);
  }
  snprintf(after, sizeof after, "%s%s%s", entry->after, made[0] == '\0' ? "" : " over ", made);
  json_t *item =
      json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:I}", "rule", entry->rule, "doc", rule_doc(entry->rule), "what", entry->what,
                "before", entry->before, "after", after, "over", over, "times", (json_int_t)entry->times);
  poe_status status = poei_json_made(item, error);
  if (status == POE_OK && entry->node != NULL) {
    const poei_outline *node = entry->node;
    status = poei_json_set(status, item, "name", node->inside == NULL ? json_null() : json_string(node->inside), error);
    status = poei_json_set(status, item, "place",
                           json_pack("{s:s,s:i,s:i}", "file", node->file, "line", node->line, "column", node->column),
                           error);
  }
  return poei_json_append(status, list, item, error);
}

poe_status poei_explain_rules(poei_teller *teller, json_t **out, poe_error *error) {
  enum { RECENT = 64 }; /* entries that a new one is compared with */
  size_t n = 0, most = teller->trace->n;
  rule_entry *entry = poei_calloc(most, sizeof *entry);
  json_t *list = json_array();
  poe_status status = entry == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : poei_json_made(list, error);
  for (size_t i = 0; i < most && status == POE_OK; i++) {
    status = entry_fill(teller, &teller->trace->item[i], &entry[n], error);
    bool known = false;
    for (size_t k = n; status == POE_OK && k-- > 0 && n - k <= RECENT && !known;) {
      known = same_entry(&entry[k], &entry[n]);
      status = known ? entry_merge(&entry[k], &entry[n], error) : POE_OK;
    }
    n += status == POE_OK && !known;
  }
  for (size_t i = 0; i < n; i++) {
    status = status == POE_OK ? append_entry(teller, &entry[i], list, error) : status;
    entry_free(&entry[i]);
  }
  poei_free(entry);
  if (status != POE_OK) {
    json_decref(list);
    return status;
  }
  *out = list;
  return POE_OK;
}
