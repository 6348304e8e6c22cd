/* Experts in the words of the program: what a rule or a plan works on, told by the names and texts it was written with.
 *
 * The language says which expert stands where (poei_outline_mentions); the trace of the rewriting says what took whose
 * place. An expert that neither knows is told by what it is made of, or by what it is.
 */
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "answer/explain_parts.h"
#include "compose/exact/words.h"
#include "core/alloc.h"

enum { MOST_MENTIONS = 1 << 16, TOLD_FACTORS = 5, LONGEST_CALL = 56 };

static poe_status out_of_memory(poe_error *error) {
  return poe_error_set(error, POE_E_MEMORY, "out of memory");
}

/* ---- mentions ---- */

/* Takes over ids. */
static poe_status add_mention(poei_teller *t, const poe_expert *expert, size_t dim, size_t *ids,
                              const poei_outline *node, const char *step, poe_error *error) {
  if (ids != NULL && t->n == t->capacity) {
    size_t capacity = t->capacity == 0 ? 32 : 2 * t->capacity;
    poei_mention *larger = poei_realloc(t->mention, capacity, sizeof *larger);
    if (larger != NULL) {
      t->mention = larger;
      t->capacity = capacity;
    }
  }
  if (ids == NULL || t->n == t->capacity) {
    poei_free(ids);
    return out_of_memory(error);
  }
  t->mention[t->n] = (poei_mention){expert, dim, ids, node, step, t->n};
  t->n++;
  return POE_OK;
}

/* The expert and what is inside of its wrappers: rules take those off. */
static poe_status add_layers(poei_teller *t, const poe_expert *expert, const size_t *ids, const poei_outline *node,
                             const char *step, poe_error *error) {
  size_t dim = poe_expert_traits(expert)->dim;
  poe_status status = add_mention(t, expert, dim, poei_copy(ids, dim, sizeof *ids), node, step, error);
  poei_node_kind kind = poei_node_kind_of(expert);
  if (status == POE_OK && (kind == POEI_NODE_slice || kind == POEI_NODE_restrict || kind == POEI_NODE_through)) {
    size_t *inner = poei_child_place(expert, 0, ids);
    status = inner == NULL ? out_of_memory(error) : add_layers(t, poei_node_child(expert, 0), inner, node, step, error);
    poei_free(inner);
  }
  return status;
}

typedef struct telling {
  poei_teller *teller;
  poe_status status;
  poe_error *error;
} telling;

static bool tell(void *context, const poe_expert *expert, size_t dim, const size_t *ids, const poei_outline *node,
                 const char *step) {
  telling *all = context;
  (void)dim;
  if (all->teller->n < MOST_MENTIONS) {
    all->status = add_layers(all->teller, expert, ids, node, step, all->error);
  }
  return all->status == POE_OK;
}

static int compare_mentions(const void *a, const void *b) {
  const poei_mention *x = a, *y = b;
  if (x->expert != y->expert) {
    return (uintptr_t)x->expert < (uintptr_t)y->expert ? -1 : 1;
  }
  return (x->order > y->order) - (x->order < y->order);
}

/* The tree with its constants against the one as written: node by node, as far as they agree. */
static poe_status pair_trees(poei_teller *t, const poe_expert *filled, const poe_expert *written, poe_error *error) {
  if (filled == written || poei_memo_find(&t->written, filled) != NULL ||
      poei_node_kind_of(filled) != poei_node_kind_of(written) ||
      poei_node_child_count(filled) != poei_node_child_count(written)) {
    return POE_OK;
  }
  poe_status status = poei_memo_put(&t->written, filled, written, false, error);
  for (size_t i = 0; i < poei_node_child_count(filled) && status == POE_OK; i++) {
    status = pair_trees(t, poei_node_child(filled, i), poei_node_child(written, i), error);
  }
  return status;
}

poe_status poei_teller_open(poei_teller *teller, const poei_program *program, const poei_target *target,
                            const poei_outline *outline, const poei_trace *trace, bool *failed, poe_error *error) {
  *teller = (poei_teller){.program = program, .target = target, .trace = trace, .failed = failed};
  *failed = false;
  telling all = {teller, POE_OK, error};
  poei_outline_mentions(outline, tell, &all);
  if (teller->n > 0) {
    qsort(teller->mention, teller->n, sizeof *teller->mention, compare_mentions);
  }
  if (all.status == POE_OK && trace->root != NULL) {
    all.status = pair_trees(teller, trace->root, target->expert, error);
  }
  if (all.status != POE_OK) {
    poei_teller_close(teller);
  }
  return all.status;
}

void poei_teller_close(poei_teller *teller) {
  for (size_t i = 0; i < teller->n; i++) {
    poei_free(teller->mention[i].ids);
  }
  poei_free(teller->mention);
  for (size_t i = 0; i < teller->n_labels; i++) {
    poei_free(teller->label[i].text);
  }
  poei_free(teller->label);
  poei_memo_free(&teller->written);
  *teller = (poei_teller){0};
}

poe_status poei_teller_label(poei_teller *teller, const poe_expert *expert, const char *text, poe_error *error) {
  if (teller->n_labels == teller->label_capacity) {
    size_t capacity = teller->label_capacity == 0 ? 8 : 2 * teller->label_capacity;
    poei_label *larger = poei_realloc(teller->label, capacity, sizeof *larger);
    if (larger == NULL) {
      return out_of_memory(error);
    }
    teller->label = larger;
    teller->label_capacity = capacity;
  }
  char *copy = poei_strdup(text);
  if (copy == NULL) {
    return out_of_memory(error);
  }
  teller->label[teller->n_labels++] = (poei_label){expert, copy};
  return POE_OK;
}

size_t *poei_teller_ids(const poei_teller *teller, size_t dim, const size_t *place) {
  size_t *ids = poei_alloc(dim, sizeof *ids);
  for (size_t j = 0; ids != NULL && j < dim; j++) {
    ids[j] = place[j] < teller->target->dim ? teller->target->coordinates[place[j]] : SIZE_MAX;
  }
  return ids;
}

/* ---- finding ---- */

static bool fits(const poei_mention *mention, const size_t *ids) {
  for (size_t j = 0; j < mention->dim; j++) {
    if (mention->ids[j] != SIZE_MAX && ids[j] != SIZE_MAX && mention->ids[j] != ids[j]) {
      return false;
    }
  }
  return true;
}

/* The first mention of an expert. */
static size_t first_mention(const poei_teller *t, const poe_expert *expert) {
  size_t low = 0, high = t->n;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if ((uintptr_t)t->mention[middle].expert < (uintptr_t)expert) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

/* Equal calls share one expert: the place decides, or, when no place fits, that there is one writing only. */
static const poei_mention *mentioned(const poei_teller *t, const poe_expert *expert, const size_t *ids) {
  const poei_mention *only = NULL;
  for (size_t i = first_mention(t, expert); i < t->n && t->mention[i].expert == expert; i++) {
    if (fits(&t->mention[i], ids)) {
      return &t->mention[i];
    }
    if (only != NULL && only->node != t->mention[i].node) {
      return NULL;
    }
    only = only == NULL ? &t->mention[i] : only;
  }
  return only;
}

static const poei_mention *find(const poei_teller *teller, const poe_expert *expert, const size_t *ids) {
  while (expert != NULL) {
    const poei_memo_entry *filled = poei_memo_find(&teller->written, expert);
    const poei_mention *mention = mentioned(teller, filled == NULL ? expert : filled->value, ids);
    if (mention != NULL) {
      return mention;
    }
    const poei_memo_entry *before = poei_memo_find(&teller->trace->ancestor, expert);
    expert = before == NULL ? NULL : before->value;
  }
  return NULL;
}

const poei_outline *poei_teller_find(const poei_teller *teller, const poe_expert *expert, const size_t *ids) {
  const poei_mention *mention = find(teller, expert, ids);
  return mention == NULL ? NULL : mention->node;
}

/* ---- texts ---- */

/* A text that ends in "..." when it does not fit. */
typedef struct writing {
  char *text;
  size_t n, size;
} writing;

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
static void
put(writing *w, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int length = w->n + 4 < w->size ? vsnprintf(w->text + w->n, w->size - w->n, format, args) : 0;
  va_end(args);
  if (length > 0 && w->n + (size_t)length >= w->size) {
    size_t end = w->size - 4;
    while (end > 0 && ((unsigned char)w->text[end] & 0xc0) == 0x80) { /* not inside a character */
      end--;
    }
    memcpy(w->text + end, "...", 4);
    w->n = w->size;
  } else if (length > 0) {
    w->n += (size_t)length;
  }
}

static void put_expert(const poei_teller *t, writing *w, const poe_expert *expert, const size_t *ids, bool alone);

static int compare_ids(const void *a, const void *b) {
  size_t x = *(const size_t *)a, y = *(const size_t *)b;
  return (x > y) - (x < y);
}

const char *poei_teller_over(const poei_teller *teller, size_t dim, const size_t *ids, char *text, size_t size) {
  size_t *sorted = poei_copy(ids, dim, sizeof *ids), n = 0;
  *teller->failed = *teller->failed || sorted == NULL;
  if (sorted != NULL && dim > 1) {
    qsort(sorted, dim, sizeof *sorted, compare_ids);
  }
  for (size_t j = 0; sorted != NULL && j < dim && sorted[j] != SIZE_MAX; j++) {
    if (n == 0 || sorted[j] != sorted[n - 1]) {
      sorted[n++] = sorted[j];
    }
  }
  poei_program_over_text(teller->program, n, sorted, text, size);
  poei_free(sorted);
  return text;
}

static void put_power(writing *w, double exponent) {
  if (exponent != 1.0) {
    put(w, "^%.12g", exponent);
  }
}

/* A call as written, shortened. */
static void put_call(writing *w, const char *text) {
  size_t length = strlen(text);
  if (length > LONGEST_CALL) {
    length = LONGEST_CALL - 4;
    while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80) {
      length--;
    }
    put(w, "%.*s ...)", (int)length, text);
  } else {
    put(w, "%s", text);
  }
}

static bool put_known(const poei_teller *t, writing *w, const poe_expert *expert, const size_t *ids) {
  for (size_t i = t->n_labels; i-- > 0;) {
    if (t->label[i].expert == expert) {
      put(w, "%s", t->label[i].text);
      return true;
    }
  }
  const poei_mention *mention = find(t, expert, ids);
  const poei_outline *node = mention == NULL ? NULL : mention->node;
  if (node == NULL || (node->name == NULL && node->text == NULL)) {
    return false;
  }
  if (node->name != NULL) {
    put(w, "%s", node->name);
  } else {
    put_call(w, node->text);
    if (t->steps && mention->step != NULL && fits(mention, ids)) { /* elsewhere it was made at another step */
      put(w, " at %s", mention->step);
    }
  }
  return true;
}

static void put_list(const poei_teller *t, writing *w, size_t n, const poei_traced *list) {
  char last[POEI_TOLD_SIZE] = "", own[POEI_TOLD_SIZE];
  size_t times = 0, told = 0, i = 0;
  for (; i < n && told <= TOLD_FACTORS; i++) {
    writing piece = {own, 0, sizeof own};
    bool divides = list[i].exponent < 0.0 && told + times > 0;
    put_expert(t, &piece, list[i].expert, list[i].place, n == 1 && list[i].exponent == 1.0);
    put_power(&piece, divides ? -list[i].exponent : list[i].exponent);
    char joined[POEI_TOLD_SIZE + 4];
    snprintf(joined, sizeof joined, "%s%s", divides ? " / " : told + times > 0 ? " * " : "", own);
    const char *bare = strncmp(joined, " * ", 3) == 0 ? joined + 3 : joined;
    if (times > 0 && strcmp(bare, last) == 0) {
      times++;
      continue;
    }
    if (times > 1) {
      put(w, " (%zu times)", times);
    }
    times = 1;
    if (++told > TOLD_FACTORS) {
      break;
    }
    put(w, "%s", joined);
    snprintf(last, sizeof last, "%.*s", (int)sizeof last - 1, bare);
  }
  if (told > TOLD_FACTORS) {
    put(w, " * ... (%zu factors)", n);
  } else if (times > 1) {
    put(w, " (%zu times)", times);
  }
}

static void put_product(const poei_teller *t, writing *w, const poe_expert *expert, const size_t *ids, bool alone) {
  poei_traced *list = NULL;
  size_t n = 0;
  poe_error ignored;
  if (poei_traced_open(expert, ids, &list, &n, &ignored) == POE_OK && n > 0) {
    bool bracket = !alone && (n > 1 || list[0].exponent != 1.0);
    put(w, "%s", bracket ? "(" : "");
    put_list(t, w, n, list);
    put(w, "%s", bracket ? ")" : "");
  } else {
    *t->failed = *t->failed || list == NULL;
    put(w, "1");
  }
  poei_traced_free(list, n);
}

static void put_child(const poei_teller *t, writing *w, const poe_expert *expert, size_t i, const size_t *ids,
                      bool alone) {
  size_t *own = poei_child_place(expert, i, ids);
  if (own != NULL) {
    put_expert(t, w, poei_node_child(expert, i), own, alone);
  }
  *t->failed = *t->failed || own == NULL;
  poei_free(own);
}

static void put_mixture(const poei_teller *t, writing *w, const poe_expert *expert, const size_t *ids, bool alone) {
  size_t n = poei_node_child_count(expert);
  if (n == 1) {
    put_child(t, w, expert, 0, ids, alone);
    return;
  }
  put(w, alone ? "" : "(");
  for (size_t k = 0; k < n && k < 3; k++) {
    put(w, "%s", k > 0 ? " or " : "");
    put_child(t, w, expert, k, ids, false);
  }
  if (n > 3) {
    put(w, " or ... (%zu components)", n);
  }
  put(w, alone ? "" : ")");
}

/* An expert by its parts, or by what it is. */
static void put_structure(const poei_teller *t, writing *w, const poe_expert *expert, const size_t *ids, bool alone) {
  char text[POEI_WORDS_SIZE], over[POEI_WORDS_SIZE];
  size_t n;
  switch (poei_node_kind_of(expert)) {
  case POEI_NODE_product:
    put_product(t, w, expert, ids, alone);
    return;
  case POEI_NODE_mixture:
    put_mixture(t, w, expert, ids, alone);
    return;
  case POEI_NODE_slice:
  case POEI_NODE_restrict:
  case POEI_NODE_through:
  case POEI_NODE_transform:
    put_child(t, w, expert, 0, ids, alone);
    return;
  case POEI_NODE_normalise:
    put(w, "normalise(");
    put_child(t, w, expert, 0, ids, true);
    put(w, ")");
    return;
  case POEI_NODE_plate:
    put_child(t, w, expert, 0, ids, false);
    put(w, " (%zu times)", poei_plate_count(expert));
    return;
  case POEI_NODE_given:
    n = poei_given_count(expert);
    put(w, alone ? "" : "(");
    put_child(t, w, expert, 0, ids, false);
    put(w, " given %zu value%s%s", n, n == 1 ? "" : "s", alone ? "" : ")");
    return;
  case POEI_NODE_marginal:
    put(w, "%s(", isinf(poei_marginal_beta(expert)) ? "profile" : "marginal");
    put_child(t, w, expert, 0, ids, true);
    put(w, ")");
    return;
  default:
    poei_expert_words(expert, text, sizeof text);
    poei_teller_over(t, poe_expert_traits(expert)->dim, ids, over, sizeof over);
    put(w, over[0] == '\0' ? "%s %s" : "%s %s over %s", poei_article(text), text, over);
  }
}

static void put_expert(const poei_teller *t, writing *w, const poe_expert *expert, const size_t *ids, bool alone) {
  if (!put_known(t, w, expert, ids)) {
    put_structure(t, w, expert, ids, alone);
  }
}

const char *poei_teller_text(const poei_teller *teller, const poe_expert *expert, const size_t *ids, char *text,
                             size_t size) {
  writing w = {text, 0, size};
  text[0] = '\0';
  put_expert(teller, &w, expert, ids, true);
  return text;
}

const char *poei_told_text(const poei_teller *teller, size_t n, const poei_traced *list, char *text, size_t size) {
  writing w = {text, 0, size};
  text[0] = '\0';
  put_list(teller, &w, n, list);
  return text;
}
