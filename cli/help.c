/* Help, printed from the tables that drive the parser: verbs and options, families and parameters. */
#include <string.h>

#include "cli/cli.h"
#include "experts/list.h"
#include "sampler/kernel.h"

static void help_options(FILE *out, const poei_option *options) {
  for (const poei_option *o = options; o->name != NULL; o++) {
    char flag[64];
    cli_flag_text(o->name, flag, sizeof flag);
    static const char *const kinds[] = {"", "N", "NUMBER", "TEXT", "FILE", NULL, "A,B,..."};
    const char *kind = o->type == POEI_OPTION_CHOICE ? o->choices : kinds[o->type];
    fprintf(out, "  --%s%s%s\n      %s", flag, kind[0] == '\0' ? "" : " ", kind, o->doc);
    if (o->fallback != NULL && o->type != POEI_OPTION_FLAG) {
      fprintf(out, " (default %s)", o->fallback);
    }
    fputc('\n', out);
  }
}

static void help_verb(FILE *out, const poei_verb *verb) {
  bool info = strcmp(verb->name, "info") == 0;
  fprintf(out, "poe %s %s%s [options]\n\n  %s\n", verb->name, info ? "MODEL" : "FILE.poe",
          info || verb->max_targets == 0 ? "" : (verb->max_targets == 1 ? " [TARGET]" : " TARGET ..."), verb->doc);
  if (verb->options[0].name != NULL) {
    fputs("\nOptions\n", out);
    help_options(out, verb->options);
  }
  fputs("\nOptions of every verb\n", out);
  help_options(out, poei_common_options);
  if (verb->action) {
    fprintf(out,
            "\nIn a file: %s(target, option=value, ...). TARGET is a definition's name or an expression in quotes;\n"
            "the last density of the file when left out.\n",
            verb->name);
  }
}

/* What an argument is written as, for types that the table gives no words for. */
static const char *help_type(const poe_param *p) {
  switch (p->type) {
  case POE_ARG_STRING:
    return "\"text\"";
  case POE_ARG_STRINGS:
    return "[\"text\", ...]";
  case POE_ARG_FILE:
    return "\"FILE\"";
  case POE_ARG_FORMULA:
    return "expression";
  case POE_ARG_REAL:
    return p->shape[0] == '\0' ? "number" : NULL;
  case POE_ARG_SYMBOL:
    break;
  }
  return NULL;
}

static void help_params(FILE *out, const char *kind, const char *doc, const poe_param *params) {
  fprintf(out, "%s(... |", kind);
  for (const poe_param *p = params; p->name != NULL; p++) {
    fprintf(out, "%s %s", p == params ? "" : ",", p->name);
  }
  fprintf(out, ")\n  %s\n", doc);
  for (const poe_param *p = params; p->name != NULL; p++) {
    const char *type = help_type(p);
    fprintf(out, type == NULL ? "  %s [%s]" : "  %s %s", p->name, type == NULL ? p->shape : type);
    if (p->fallback != NULL) {
      fprintf(out, " = %s", p->fallback);
    }
    fprintf(out, "\n      %s\n", p->doc);
  }
}

/* What a family offers, read off its table of functions; single experts may offer less. */
static void help_offers(FILE *out, const poe_expert_ops *ops) {
  const struct {
    bool there;
    const char *word;
  } offers[] = {{ops->eval_add != NULL, "values and gradients"},
                {ops->sample != NULL, "exact draws"},
                {ops->log_z != NULL, "exact log Z"},
                {ops->form != NULL || ops->structure != NULL, "a closed form"},
                {ops->local != NULL, "single-site conditionals"},
                {ops->prefix != NULL, "conditionals in order"}};
  fputs("offers", out);
  size_t shown = 0;
  for (size_t i = 0; i < sizeof offers / sizeof offers[0]; i++) {
    if (offers[i].there) {
      fprintf(out, "%s %s", shown++ > 0 ? "," : "", offers[i].word);
    }
  }
  fputs(" (where its variables and parameters allow)\n", out);
}

static void help_experts(FILE *out) {
  fputs("Experts: name = family(variables | parameters)\n", out);
  for (const poei_family_group *group = poei_family_groups; group->title != NULL; group++) {
    fprintf(out, "\n%s\n", group->title);
    for (size_t i = 0; group->families[i] != NULL; i++) {
      fprintf(out, "  %-16s %s\n", group->families[i]->kind, group->families[i]->doc);
    }
  }
  fputs("\nMaps: name = map(variables | parameters) is a derived variable\n", out);
  for (size_t i = 0; poei_maps[i] != NULL; i++) {
    fprintf(out, "  %-16s %s\n", poei_maps[i]->kind, poei_maps[i]->doc);
  }
  fputs("\npoe help NAME prints the parameters of one.\n", out);
}

static void help_all(FILE *out) {
  fputs("poe composes pretrained generative models: multiplies them (AND), mixes them (OR), divides them (NOT).\n\n"
        "  poe VERB FILE.poe [TARGET] [--option value ...]\n\n",
        out);
  for (size_t i = 0; poei_verbs[i] != NULL; i++) {
    fprintf(out, "  %-10s %s\n", poei_verbs[i]->name, poei_verbs[i]->doc);
  }
  fputs("\n  poe help VERB       options of a verb\n"
        "  poe help experts    families of experts; poe help NAME for one\n"
        "  poe --version\n\n"
        "Results go to stdout, messages to stderr. Exit codes: 0 good; 1 the gate failed; 2 usage or language error;\n"
        "3 unreadable model or data file; 4 numerical failure; 130 interrupted.\n",
        out);
}

bool cli_help(FILE *out, const char *topic) {
  if (topic == NULL) {
    help_all(out);
    return true;
  }
  const poei_verb *verb = poei_verb_find(topic);
  if (verb != NULL) {
    help_verb(out, verb);
    return true;
  }
  if (strcmp(topic, "experts") == 0) {
    help_experts(out);
    return true;
  }
  const poe_expert_ops *family = poei_family_find(topic);
  if (family != NULL) {
    help_params(out, family->kind, family->doc, family->params);
    help_offers(out, family);
    return true;
  }
  const poe_map_ops *map = poei_map_find(topic);
  if (map != NULL) {
    help_params(out, map->kind, map->doc, map->params);
    return true;
  }
  const poei_kernel *kernel = poei_kernel_find(topic);
  if (kernel != NULL) {
    fprintf(out, "sample ... --method %s\n  %s\n", kernel->name, kernel->doc);
    return true;
  }
  return false;
}

const char *cli_help_nearest(const char *topic) {
  const char *words[256] = {"experts"};
  size_t n = 1, room = sizeof words / sizeof words[0];
  for (size_t i = 0; poei_verbs[i] != NULL && n < room; i++) {
    words[n++] = poei_verbs[i]->name;
  }
  for (size_t i = 0; poei_families[i] != NULL && n < room; i++) {
    words[n++] = poei_families[i]->kind;
  }
  for (size_t i = 0; poei_maps[i] != NULL && n < room; i++) {
    words[n++] = poei_maps[i]->kind;
  }
  return poei_nearest_word(topic, n, words);
}
