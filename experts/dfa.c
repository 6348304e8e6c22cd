/* Making an automaton small: drop what lies on no accepting path, merge states (Moore 1956), merge symbols.
 *
 * Merging refines a partition of the states until no class tells two of its members apart. It starts from the length of
 * the shortest accepted word from each state, which equivalent states share; so chains are told apart at once.
 */
#include "experts/dfa.h"

#include <string.h>

#include "core/alloc.h"

void poei_dfa_release(poei_dfa *dfa) {
  if (dfa != NULL) {
    poei_free(dfa->class_of);
    poei_free(dfa->member);
    poei_free(dfa->member_start);
    poei_free(dfa->next);
    poei_free(dfa->accept);
    memset(dfa, 0, sizeof *dfa);
  }
}

static poe_status dfa_memory(poe_error *error) {
  return poe_error_set(error, POE_E_MEMORY, "out of memory for an automaton");
}

/* ---- equal rows ---- */

static uint64_t hash_row(size_t m, const uint32_t *row) {
  uint64_t hash = 14695981039346656037u;
  for (size_t i = 0; i < m; i++) {
    hash = (hash ^ row[i]) * 1099511628211u;
  }
  return hash ^ (hash >> 29);
}

size_t poei_dfa_group(size_t n, size_t m, const uint32_t *key, uint32_t *group) {
  size_t room = 16, groups = 0;
  while (room < 2 * n) {
    room *= 2;
  }
  uint32_t *slot = poei_calloc(room, sizeof *slot); /* row + 1 of the first of a group; 0: empty */
  if (slot == NULL) {
    return 0;
  }
  for (size_t i = 0; i < n; i++) {
    size_t at = (size_t)hash_row(m, key + i * m) & (room - 1);
    while (slot[at] != 0 && memcmp(key + (slot[at] - 1) * m, key + i * m, m * sizeof *key) != 0) {
      at = (at + 1) & (room - 1);
    }
    if (slot[at] == 0) {
      slot[at] = (uint32_t)i + 1;
      group[i] = (uint32_t)groups++;
    } else {
      group[i] = group[slot[at] - 1];
    }
  }
  poei_free(slot);
  return groups;
}

/* Sorts the items 0..n-1 by key[n] into buckets: those of bucket b are item[begin[b]] .. item[begin[b + 1] - 1], in
 * order; begin[buckets + 1]. Items whose key is no bucket are left out. */
static void sort_into(size_t n, const uint32_t *key, size_t buckets, uint32_t *begin, uint32_t *item) {
  memset(begin, 0, (buckets + 1) * sizeof *begin);
  for (size_t i = 0; i < n; i++) {
    if (key[i] < buckets) {
      begin[key[i]]++;
    }
  }
  for (size_t b = 1; b <= buckets; b++) { /* the end of each bucket */
    begin[b] += begin[b - 1];
  }
  for (size_t i = n; i-- > 0;) { /* filled from the back, the ends walk down to the beginnings */
    if (key[i] < buckets) {
      item[--begin[key[i]]] = (uint32_t)i;
    }
  }
}

/* ---- useful states ---- */

/* Work of poei_dfa_create: an automaton that shrinks. */
typedef struct work {
  size_t states, symbols, classes, start;
  uint32_t *class_of;    /* [symbols]         */
  int32_t *next;         /* [states, classes] */
  unsigned char *accept; /* [states]          */
  uint32_t *distance;    /* [states] length of the shortest accepted word, UINT32_MAX: none */
} work;

/* distance[], breadth-first from acceptance along the edges turned round. */
static bool find_distances(work *w) {
  size_t edges = w->states * w->classes, head = 0, tail = 0;
  uint32_t *begin = poei_alloc(w->states + 1, sizeof *begin), *edge = poei_alloc(edges, sizeof *edge);
  uint32_t *queue = poei_alloc(w->states, sizeof *queue);
  bool ok = begin != NULL && edge != NULL && queue != NULL;
  if (ok) {
    sort_into(edges, (const uint32_t *)w->next, w->states, begin, edge);
  }
  for (size_t s = 0; ok && s < w->states; s++) {
    w->distance[s] = w->accept[s] ? 0 : UINT32_MAX;
    if (w->accept[s]) {
      queue[tail++] = (uint32_t)s;
    }
  }
  while (ok && head < tail) {
    size_t s = queue[head++];
    for (size_t i = begin[s]; i < begin[s + 1]; i++) {
      size_t from = edge[i] / w->classes;
      if (w->distance[from] == UINT32_MAX) {
        w->distance[from] = w->distance[s] + 1;
        queue[tail++] = (uint32_t)from;
      }
    }
  }
  poei_free(begin);
  poei_free(edge);
  poei_free(queue);
  return ok;
}

/* Renumbers in place: state s becomes to[s] <= s; UINT32_MAX is dropped; equivalent ones may become one. */
static void renumber(work *w, size_t kept, const uint32_t *to) {
  int32_t *next = w->next;
  for (size_t s = 0; s < w->states; s++) {
    if (to[s] == UINT32_MAX) {
      continue;
    }
    for (size_t c = 0; c < w->classes; c++) {
      int32_t target = next[s * w->classes + c];
      bool lost = target < 0 || to[target] == UINT32_MAX;
      next[to[s] * w->classes + c] = lost ? -1 : (int32_t)to[target];
    }
    w->accept[to[s]] = w->accept[s];
    w->distance[to[s]] = w->distance[s];
  }
  w->start = to[w->start];
  w->states = kept;
}

/* Keeps the states that the start reaches and that reach acceptance. */
static bool keep_useful(work *w) {
  uint32_t *to = poei_alloc(w->states, sizeof *to), *stack = poei_alloc(w->states, sizeof *stack);
  bool ok = to != NULL && stack != NULL && find_distances(w);
  size_t depth = 0, kept = 0;
  for (size_t s = 0; ok && s < w->states; s++) {
    to[s] = UINT32_MAX;
  }
  if (ok && w->distance[w->start] != UINT32_MAX) {
    stack[depth++] = (uint32_t)w->start;
    to[w->start] = 0;
  }
  while (ok && depth > 0) {
    size_t s = stack[--depth];
    for (size_t c = 0; c < w->classes; c++) {
      int32_t target = w->next[s * w->classes + c];
      if (target >= 0 && to[target] == UINT32_MAX && w->distance[target] != UINT32_MAX) {
        to[target] = 0;
        stack[depth++] = (uint32_t)target;
      }
    }
  }
  for (size_t s = 0; ok && s < w->states; s++) { /* in their old order, so that renumbering can be done in place */
    if (to[s] != UINT32_MAX) {
      to[s] = (uint32_t)kept++;
    }
  }
  if (ok && kept > 0) {
    renumber(w, kept, to);
  } else {
    w->states = kept;
  }
  poei_free(to);
  poei_free(stack);
  return ok;
}

/* ---- merging ---- */

/* Moore's refinement. After ROUNDS rounds without an end the states are left as they are: nothing depends on it. */
static bool merge_states(work *w) {
  enum { ROUNDS = 200 };
  size_t m = w->classes + 1, groups = 0;
  uint32_t *group = poei_alloc(w->states, sizeof *group), *key = poei_alloc(w->states, m * sizeof *key);
  bool ok = group != NULL && key != NULL, done = false;
  if (ok) {
    groups = poei_dfa_group(w->states, 1, w->distance, group);
    ok = groups > 0;
  }
  for (int round = 0; ok && !done && round < ROUNDS; round++) {
    for (size_t s = 0; s < w->states; s++) {
      key[s * m] = group[s];
      for (size_t c = 0; c < w->classes; c++) {
        int32_t target = w->next[s * w->classes + c];
        key[s * m + c + 1] = target < 0 ? UINT32_MAX : group[target];
      }
    }
    size_t finer = poei_dfa_group(w->states, m, key, group);
    ok = finer > 0;
    done = finer == groups;
    groups = finer;
  }
  if (ok && done) {
    renumber(w, groups, group);
  }
  poei_free(group);
  poei_free(key);
  return ok;
}

/* Classes with equal columns become one. */
static bool merge_classes(work *w) {
  uint32_t *key = poei_alloc(w->classes, w->states * sizeof *key), *group = poei_alloc(w->classes, sizeof *group);
  size_t groups = 0;
  if (key != NULL && group != NULL) {
    for (size_t c = 0; c < w->classes; c++) {
      for (size_t s = 0; s < w->states; s++) {
        key[c * w->states + s] = (uint32_t)w->next[s * w->classes + c];
      }
    }
    groups = poei_dfa_group(w->classes, w->states, key, group);
  }
  if (groups > 0) {
    for (size_t i = 0; i < w->symbols; i++) {
      w->class_of[i] = group[w->class_of[i]];
    }
    for (size_t c = 0; c < w->classes; c++) {
      for (size_t s = 0; s < w->states; s++) {
        w->next[s * groups + group[c]] = (int32_t)key[c * w->states + s]; /* key keeps the old columns */
      }
    }
    w->classes = groups;
  }
  poei_free(key);
  poei_free(group);
  return groups > 0;
}

/* ---- all together ---- */

static bool list_members(poei_dfa *dfa) {
  dfa->member = poei_alloc(dfa->symbols, sizeof *dfa->member);
  dfa->member_start = poei_alloc(dfa->classes + 1, sizeof *dfa->member_start);
  if (dfa->member == NULL || dfa->member_start == NULL) {
    return false;
  }
  sort_into(dfa->symbols, dfa->class_of, dfa->classes, dfa->member_start, dfa->member);
  return true;
}

poe_status poei_dfa_create(size_t states, size_t symbols, size_t classes, const uint32_t *class_of, const int32_t *next,
                           const unsigned char *accept, size_t start, poei_dfa *dfa, poe_error *error) {
  work w = {.states = states, .symbols = symbols, .classes = classes, .start = start};
  w.class_of = poei_copy(class_of, symbols, sizeof *class_of);
  w.next = poei_copy(next, states * classes, sizeof *next);
  w.accept = poei_copy(accept, states, 1);
  w.distance = poei_alloc(states, sizeof *w.distance);
  bool ok = w.class_of != NULL && w.next != NULL && w.accept != NULL && w.distance != NULL;
  for (size_t e = 0; ok && e < states * classes; e++) {
    w.next[e] = w.next[e] < 0 || (size_t)w.next[e] >= states ? -1 : w.next[e];
  }
  ok = ok && keep_useful(&w);
  bool empty = ok && w.states == 0;
  ok = ok && (empty || (merge_states(&w) && merge_classes(&w)));
  poei_dfa made = {w.states, symbols, w.classes, w.start, w.class_of, NULL, NULL, w.next, w.accept};
  poei_free(w.distance);
  if (!ok || empty || !list_members(&made)) {
    poei_dfa_release(&made);
    return empty ? poe_error_set(error, POE_E_EMPTY, "the automaton accepts nothing") : dfa_memory(error);
  }
  *dfa = made;
  return POE_OK;
}
