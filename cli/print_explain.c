/* `poe explain` for a person: the tree as written, what became of it, and how the target is answered.
 *
 *   both = code * three^2                                      target.poe
 *
 *   as written
 *     both   product                       over z              9:8
 *       code = gmm(z | file=...)                               4:8
 *   rules
 *     gaussian algebra   a * b → one Gaussian over x           both, 9:8
 *   method    sequential Monte Carlo (not exact)
 *
 * Places are those of the program's own file unless another is named. Columns fit the terminal; --json has everything.
 */
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "cli/cli.h"

typedef struct page {
  FILE *out;
  bool colour;
  size_t width;
  const char *file; /* of the program */
} page;

typedef enum ink { PLAIN, HEAD, NAME, DIM, GOOD, WARN, BAD } ink;

static const char *ink_code(const page *p, ink which) {
  static const char *const codes[] = {"", "\033[1m", "\033[36m", "\033[2m", "\033[32m", "\033[33m", "\033[1;31m"};
  return p->colour ? codes[which] : "";
}

static const char *ink_end(const page *p, ink which) {
  return p->colour && which != PLAIN ? "\033[0m" : "";
}

static const char *text_of(const json_t *object, const char *key) {
  const char *text = json_string_value(json_object_get(object, key));
  return text == NULL ? "" : text;
}

static long long integer_of(const json_t *object, const char *key) {
  return (long long)json_integer_value(json_object_get(object, key));
}

/* ---- text in columns ---- */

/* Columns that a text takes: its characters, as UTF-8 counts them. */
static size_t columns_of(const char *text, size_t length) {
  size_t n = 0;
  for (size_t i = 0; i < length; i++) {
    n += ((unsigned char)text[i] & 0xc0) != 0x80;
  }
  return n;
}

/* The bytes of the first `columns` characters. */
static size_t bytes_of(const char *text, size_t columns) {
  size_t i = 0;
  for (size_t n = 0; text[i] != '\0'; i++) {
    n += ((unsigned char)text[i] & 0xc0) != 0x80;
    if (n > columns) {
      break;
    }
  }
  return i;
}

/* Wraps a text between columns `left` and the width; the first line begins at column `at`. Ends the line. */
static void wrap(const page *p, size_t at, size_t left, const char *text) {
  size_t room = p->width > left + 20 ? p->width - left : 20;
  bool first = true;
  while (*text != '\0') {
    if (!first) {
      fprintf(p->out, "%*s", (int)left, "");
    } else if (at < left) {
      fprintf(p->out, "%*s", (int)(left - at), "");
    }
    size_t end = bytes_of(text, room);
    if (text[end] != '\0') {
      size_t space = end;
      while (space > 0 && text[space] != ' ') {
        space--;
      }
      end = space > 0 ? space : end;
    }
    while (end > 0 && text[end - 1] == ' ') {
      end--;
    }
    fprintf(p->out, "%.*s\n", (int)end, text);
    text += end;
    while (*text == ' ') {
      text++;
    }
    first = false;
  }
  if (first) {
    fputc('\n', p->out);
  }
}

/* "9:8", or with its file when that is another than the program's. */
static const char *place_text(const page *p, const json_t *place, char *text, size_t size) {
  const char *file = text_of(place, "file");
  long long line = integer_of(place, "line");
  bool own = strcmp(file, p->file) == 0;
  text[0] = '\0';
  if (line > 0 && own) {
    snprintf(text, size, "%lld:%lld", line, integer_of(place, "column"));
  } else if (line > 0) {
    snprintf(text, size, "%s:%lld:%lld", file, line, integer_of(place, "column"));
  } else if (!own) {
    snprintf(text, size, "%s", file);
  }
  return text;
}

/* "text ....  place", the text cut to fit; it begins at column `at` (indented and in colour already). */
static void finish_line(const page *p, size_t at, const char *text, ink which, const char *place) {
  size_t end = p->width > strlen(place) + 2 ? p->width - strlen(place) - 2 : 20;
  size_t room = end > at + 8 ? end - at : 8, length = strlen(text), taken = columns_of(text, length);
  bool cut = taken > room;
  if (cut) {
    length = bytes_of(text, room - 3);
    taken = room;
  }
  fprintf(p->out, "%s%.*s%s%s", ink_code(p, which), (int)length, text, cut ? "..." : "", ink_end(p, which));
  if (place[0] != '\0') {
    size_t gap = end > at + taken ? end - at - taken + 2 : 2;
    fprintf(p->out, "%*s%s%s%s", (int)gap, "", ink_code(p, DIM), place, ink_end(p, DIM));
  }
  fputc('\n', p->out);
}

/* ---- the tree ---- */

static void join_over(const json_t *node, char *text, size_t size) {
  size_t i, used = 0;
  json_t *over;
  text[0] = '\0';
  json_array_foreach(json_object_get(node, "variables"), i, over) {
    const char *own = text_of(over, "text");
    if (used + strlen(own) + 8 >= size) {
      snprintf(text + used, size - used, ", ...");
      return;
    }
    used += (size_t)snprintf(text + used, size - used, "%s%s", i > 0 ? ", " : "", own);
  }
}

/* "x[0] = 1, c = 2", or what has values when these are many. */
static const char *given_text(const json_t *node, char *text, size_t size) {
  enum { MOST_GIVEN = 4 };
  const json_t *list = json_object_get(node, "coordinates");
  size_t i, used = 0;
  json_t *item;
  if (json_array_size(list) > MOST_GIVEN) {
    snprintf(text, size, "values of %s", text_of(node, "given"));
    return text;
  }
  text[0] = '\0';
  json_array_foreach(list, i, item) {
    if (used < size) {
      used += (size_t)snprintf(text + used, size - used, "%s%s = %.6g", i > 0 ? ", " : "", text_of(item, "variable"),
                               json_number_value(json_object_get(item, "value")));
    }
  }
  return text;
}

/* What a composition is, in words. */
static void composition_text(const json_t *node, char *text, size_t size) {
  const char *kind = text_of(node, "kind"), *without = text_of(node, "without");
  char over[200], given[300];
  join_over(node, over, sizeof over);
  if (strcmp(kind, "plate") == 0) {
    snprintf(text, size, "product over %s", over);
  } else if (text_of(node, "given")[0] != '\0') {
    snprintf(text, size, "given %s; over %s", given_text(node, given, sizeof given), over);
  } else if (without[0] != '\0') {
    bool most = strcmp(kind, "profile") == 0;
    snprintf(text, size, "%s over %s; a density over %s", most ? "maximum" : "integral", without, over);
  } else if (strcmp(kind, "normalise") == 0) {
    snprintf(text, size, "divided by its integral; over %s", over);
  } else {
    snprintf(text, size, "%s over %s", kind, over);
  }
}

static void print_node(const page *p, const json_t *node, size_t level, const char *role) {
  char place[512], text[1024], head[512];
  const char *name = text_of(node, "name"), *call = text_of(node, "text");
  long long count = integer_of(node, "count");
  bool again = json_is_true(json_object_get(node, "again"));
  snprintf(head, sizeof head, "%*s%s", (int)(2 * level), "", role);
  ink name_ink = name[0] == '\0' ? PLAIN : NAME;
  fprintf(p->out, "%s%s%s%s", head, ink_code(p, name_ink), name, ink_end(p, name_ink));
  size_t at = columns_of(head, strlen(head)) + columns_of(name, strlen(name));
  place_text(p, json_object_get(node, "place"), place, sizeof place);
  if (again) {
    finish_line(p, at, name[0] != '\0' ? " (above)" : "(above)", DIM, "");
    return;
  }
  if (name[0] != '\0') {
    fputs(" = ", p->out);
    at += 3;
  }
  if (count > 1) {
    char many[40];
    snprintf(many, sizeof many, "%lld times ", count);
    fputs(many, p->out);
    at += strlen(many);
  }
  const char *step = text_of(node, "step");
  if (call[0] != '\0' && step[0] != '\0') {
    snprintf(text, sizeof text, "%s at %s", call, step);
    finish_line(p, at, text, PLAIN, place);
  } else if (call[0] != '\0') {
    finish_line(p, at, call, PLAIN, place);
  } else {
    composition_text(node, text, sizeof text);
    finish_line(p, at, text, PLAIN, place);
  }
  size_t i;
  json_t *child;
  json_array_foreach(json_object_get(node, "children"), i, child) {
    const json_t *weight = json_object_get(child, "weight"), *exponent = json_object_get(child, "exponent");
    char own[64] = "";
    if (call[0] != '\0') {
      snprintf(own, sizeof own, "with ");
    } else if (weight != NULL) {
      snprintf(own, sizeof own, "%.6g * ", json_number_value(weight));
    } else if (exponent != NULL) {
      snprintf(own, sizeof own, "^%.6g ", json_number_value(exponent));
    }
    print_node(p, child, level + 1, own);
  }
}

static void print_networks(const page *p, const json_t *r) {
  size_t i;
  json_t *network;
  json_array_foreach(json_object_get(r, "networks"), i, network) {
    const json_t *largest = json_object_get(network, "largest");
    const char *name = text_of(network, "name");
    char text[1024];
    size_t used = (size_t)snprintf(text, sizeof text, "%s: %lld variables and %lld tables",
                                   name[0] != '\0' ? name : text_of(network, "file"), integer_of(network, "variables"),
                                   integer_of(network, "tables"));
    if (largest != NULL && used < sizeof text) {
      snprintf(text + used, sizeof text - used, "; the largest is table %lld, of %lld values over the variables %s",
               integer_of(largest, "table"), integer_of(largest, "entries"), text_of(largest, "variables"));
    }
    wrap(p, 0, 4, text);
  }
}

/* ---- rules ---- */

static void head_line(const page *p, const char *text) {
  fprintf(p->out, "\n%s%s%s\n", ink_code(p, HEAD), text, ink_end(p, HEAD));
}

static void print_rule(const page *p, const json_t *rule, size_t left) {
  char what[1600], place[512], where[640] = "", many[40] = "";
  const char *name = text_of(rule, "name");
  long long times = integer_of(rule, "times");
  place_text(p, json_object_get(rule, "place"), place, sizeof place);
  if (name[0] != '\0' || place[0] != '\0') {
    snprintf(where, sizeof where, "  (in %s%s%s)", name, name[0] != '\0' && place[0] != '\0' ? " at " : "", place);
  }
  if (times > 1) {
    snprintf(many, sizeof many, ", %lld times", times);
  }
  snprintf(what, sizeof what, "%s → %s%s%s", text_of(rule, "before"), text_of(rule, "after"), many, where);
  fprintf(p->out, "  %s%-*s%s", ink_code(p, NAME), (int)(left - 4), text_of(rule, "rule"), ink_end(p, NAME));
  wrap(p, left - 2, left, what);
}

static void print_rules(const page *p, const json_t *r) {
  enum { MOST_RULES = 24 };
  const json_t *rules = json_object_get(r, "rules");
  size_t i, shown = 0, longest = 0;
  json_t *rule;
  if (rules == NULL) {
    return;
  }
  json_array_foreach(rules, i, rule) {
    size_t length = strlen(text_of(rule, "rule"));
    longest = length > longest ? length : longest;
  }
  head_line(p, "rules");
  json_array_foreach(rules, i, rule) {
    if (strcmp(text_of(rule, "before"), text_of(rule, "after")) == 0) {
      continue; /* only a wrapper went */
    }
    if (shown++ < MOST_RULES) {
      print_rule(p, rule, longest + 6);
    }
  }
  if (shown > MOST_RULES) {
    fprintf(p->out, "  ... and %zu more (--json lists all)\n", shown - MOST_RULES);
  }
  if (shown == 0) {
    bool off = json_is_false(json_object_get(r, "rewritten"));
    fputs(off ? "  none: --no-rewrite keeps the tree as written\n" : "  none applies\n", p->out);
  }
}

/* ---- the plan ---- */

enum { LEFT = 13 };

static void key_line(const page *p, size_t indent, const char *key, const char *text) {
  fprintf(p->out, "%*s%s%-*s%s", (int)indent, "", ink_code(p, HEAD), LEFT - 1, key, ink_end(p, HEAD));
  wrap(p, indent + LEFT - 1, indent + LEFT, text);
}

static void one_method(const page *p, size_t indent, const char *key, const char *method, bool exact) {
  fprintf(p->out, "%*s%s%-*s%s %s%s (%s)%s\n", (int)indent, "", ink_code(p, HEAD), LEFT - 1, key, ink_end(p, HEAD),
          ink_code(p, exact ? GOOD : WARN), method, exact ? "exact" : "not exact", ink_end(p, exact ? GOOD : WARN));
}

/* How it is drawn, and how log Z is found where that is another way. */
static void method_line(const page *p, size_t indent, const json_t *r) {
  const char *method = text_of(r, "method"), *log_z = text_of(r, "log_z_method");
  one_method(p, indent, "method", method, json_is_true(json_object_get(r, "exact")));
  if (strcmp(method, log_z) != 0) {
    one_method(p, indent, "log Z", log_z, json_is_true(json_object_get(r, "log_z_exact")));
  }
}

static const char *size_text(double bytes, char *text, size_t size) {
  static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  size_t u = 0;
  for (; bytes >= 1024.0 && u < 4; u++) {
    bytes /= 1024.0;
  }
  snprintf(text, size, u == 0 ? "%.0f %s" : "%.1f %s", bytes, units[u]);
  return text;
}

static void memory_line(const page *p, size_t indent, const json_t *r) {
  const json_t *memory = json_object_get(r, "memory");
  char text[256], bytes[2][32];
  size_t used = (size_t)snprintf(
      text, sizeof text, "%s of scratch per worker",
      size_text(json_number_value(json_object_get(memory, "scratch_bytes_per_worker")), bytes[0], sizeof bytes[0]));
  if (json_object_get(memory, "treewidth") != NULL) {
    used += (size_t)snprintf(
        text + used, sizeof text - used, "; %s of tables held at one time (treewidth %lld, %.0f joint states)",
        size_text(json_number_value(json_object_get(memory, "table_bytes")), bytes[1], sizeof bytes[1]),
        integer_of(memory, "treewidth"), json_number_value(json_object_get(memory, "largest_clique_states")));
  }
  if (json_object_get(memory, "factor_nonzeros") != NULL) {
    snprintf(text + used, sizeof text - used, "; %lld numbers in the sparse precision, %lld in its factor",
             integer_of(memory, "precision_nonzeros"), integer_of(memory, "factor_nonzeros"));
  }
  key_line(p, indent, "memory", text);
}

static void print_plan(const page *p, size_t indent, const json_t *r);

static void print_part(const page *p, size_t indent, const json_t *part) {
  char text[1200], share[64] = "", many[48] = "";
  const json_t *probability = json_object_get(part, "probability");
  long long times = integer_of(part, "times");
  if (times > 1) {
    snprintf(many, sizeof many, "%lld times ", times);
  }
  if (probability != NULL) {
    snprintf(share, sizeof share, ", with probability %.4g%s", json_number_value(probability),
             times > 1 ? " together" : "");
  }
  snprintf(text, sizeof text, "%s%s over %s (%s%s)", many, text_of(part, "expression"), text_of(part, "over"),
           text_of(part, "role"), share);
  fprintf(p->out, "%*s", (int)indent, "");
  wrap(p, indent, indent, text);
  print_plan(p, indent + 2, part);
}

static void print_plan(const page *p, size_t indent, const json_t *r) {
  method_line(p, indent, r);
  key_line(p, indent, "reason", text_of(r, "reason"));
  if (text_of(r, "caution")[0] != '\0') {
    key_line(p, indent, "caution", text_of(r, "caution"));
  }
  const json_t *path = json_object_get(r, "path");
  if (path != NULL) {
    char text[1024];
    snprintf(text, sizeof text, "exact draws of %s are moved to the target by way of %s", text_of(path, "from"),
             text_of(path, "through"));
    key_line(p, indent, "path", text);
  }
  const json_t *parts = json_object_get(r, "parts");
  enum { MOST_PARTS = 12 };
  size_t i, n = json_array_size(parts);
  json_t *part;
  if (n > 0) {
    fprintf(p->out, "%*s%s%s%s\n", (int)indent, "", ink_code(p, HEAD), "parts", ink_end(p, HEAD));
  }
  json_array_foreach(parts, i, part) {
    if (i < MOST_PARTS) {
      print_part(p, indent + 2, part);
    }
  }
  if (n > MOST_PARTS) {
    fprintf(p->out, "%*s... and %zu more (--json lists all)\n", (int)indent + 2, "", n - MOST_PARTS);
  }
}

static void print_obstacles(const page *p, const json_t *r) {
  size_t i;
  json_t *item;
  json_array_foreach(json_object_get(r, "obstacles"), i, item) {
    char text[1024];
    snprintf(text, sizeof text, "%s, which has no closed form", text_of(item, "what"));
    key_line(p, 0, i == 0 ? "in the way" : "", text);
  }
}

static void print_refusal(const page *p, const json_t *refused) {
  char place[512], text[1400];
  place_text(p, refused, place, sizeof place);
  fprintf(p->out, "%s%-*s%s %snone: the target is refused%s\n", ink_code(p, HEAD), LEFT - 1, "method", ink_end(p, HEAD),
          ink_code(p, BAD), ink_end(p, BAD));
  snprintf(text, sizeof text, "%s%s%s%s", text_of(refused, "message"), place[0] != '\0' ? " (at " : "", place,
           place[0] != '\0' ? ")" : "");
  key_line(p, 0, "reason", text);
  if (text_of(refused, "hint")[0] != '\0') {
    key_line(p, 0, "hint", text_of(refused, "hint"));
  }
}

void cli_print_explain(FILE *out, const json_t *r) {
  page p = {out, cli_colour(out), cli_width(out), text_of(r, "file")};
  char title[1024], dimensions[512];
  bool named = strcmp(text_of(r, "target"), text_of(r, "expression")) != 0;
  snprintf(title, sizeof title, "%s%s%s", text_of(r, "target"), named ? " = " : "",
           named ? text_of(r, "expression") : "");
  finish_line(&p, 0, title, HEAD, p.file);
  head_line(&p, "as written");
  print_node(&p, json_object_get(r, "tree"), 1, "");
  print_networks(&p, r);
  print_rules(&p, r);
  fputc('\n', out);
  long long constants = integer_of(r, "constants");
  if (constants > 0) {
    char text[160];
    snprintf(text, sizeof text, "%lld normalising constant%s estimated by sequential Monte Carlo, before anything else",
             constants, constants == 1 ? " is" : "s are");
    key_line(&p, 0, "first", text);
  }
  const json_t *refused = json_object_get(r, "refused");
  if (refused != NULL) {
    print_refusal(&p, refused);
  } else {
    print_plan(&p, 0, r);
  }
  print_obstacles(&p, r);
  if (json_object_get(r, "dimensions") != NULL) {
    snprintf(dimensions, sizeof dimensions, "%lld: %s", integer_of(r, "dimensions"), text_of(r, "over"));
    key_line(&p, 0, "dimensions", dimensions);
  }
  if (refused == NULL) {
    memory_line(&p, 0, r);
  }
}
