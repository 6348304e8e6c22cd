/* Arguments of families and maps: an expression becomes what the parameter's type asks for.
 *
 *   REAL     numbers, lists, tables, data(...)      STRING, FILE  a text     STRINGS  a list of texts
 *            (or one of the words the parameter names)
 *   SYMBOL   a bare word of those allowed            FORMULA       arithmetic over the subjects
 */
#include <string.h>

#include "compose/language/program_parts.h"

typedef struct argument_job {
  poei_checker *checker;
  const poei_scope *scope;
  const poe_param *param;
  const poei_syntax *argument; /* name=value */
  const poei_syntax *value;
  poe_arg *arg;
} argument_job;

static bool wrong_sort(const argument_job *job, const char *wanted, const poei_value *value) {
  const char *hint = value->sort == POEI_SORT_PLACE && job->param->type == POE_ARG_REAL
                         ? "parameters are constants; a density that depends on another variable is linear_gaussian, "
                           "table or formula"
                         : NULL;
  return poei_report(&job->checker->reader, POE_E_TYPE, job->value->span, hint, "'%s' must be %s, not %s",
                     job->param->name, wanted, poei_sort_text(value));
}

/* Is `text` one of the words that may stand for the numbers of a REAL parameter? It becomes the argument. */
static bool take_word(const argument_job *job, const char *text) {
  const char *words = job->param->shape ? strchr(job->param->shape, '|') : NULL;
  size_t n = 0;
  const char *const *split = NULL;
  if (!words || !poei_split_words(job->checker, words + 1, &n, &split)) {
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    if (strcmp(split[i], text) == 0) {
      job->arg->type = POE_ARG_SYMBOL;
      job->arg->text = split[i];
      return true;
    }
  }
  return false;
}

static bool read_real(const argument_job *job) {
  poei_value value;
  bool bare = job->value->kind == POEI_SYNTAX_PLACE && job->value->n == 0;
  if (bare && !poei_symbol_find(job->checker->program, job->value->text) && take_word(job, job->value->text)) {
    return true;
  }
  if (!poei_evaluate(job->checker, job->scope, job->value, POEI_WANT_NUMBER, &value)) {
    return false;
  }
  if (value.sort == POEI_SORT_TEXT && take_word(job, value.text)) {
    return true;
  }
  if (value.sort != POEI_SORT_NUMBERS) {
    return wrong_sort(job, "numbers", &value);
  }
  job->arg->ndim = value.ndim;
  memcpy(job->arg->shape, value.shape, sizeof job->arg->shape);
  job->arg->real = value.number;
  return true;
}

static bool read_text(const argument_job *job) {
  poei_value value;
  bool file = job->param->type == POE_ARG_FILE;
  if (!poei_evaluate(job->checker, job->scope, job->value, POEI_WANT_ANY, &value)) {
    return false;
  }
  if (value.sort != POEI_SORT_TEXT) {
    return wrong_sort(job, file ? "the path of a file, in quotes" : "a text in quotes", &value);
  }
  job->arg->text = file ? poei_resolve_path(&job->checker->program->region, value.in, value.text) : value.text;
  return job->arg->text != NULL;
}

static bool read_texts(const argument_job *job) {
  poei_value value;
  if (!poei_evaluate(job->checker, job->scope, job->value, POEI_WANT_ANY, &value)) {
    return false;
  }
  bool empty = value.sort == POEI_SORT_NUMBERS && value.n == 0 && value.ndim == 1;
  if (value.sort != POEI_SORT_TEXTS && !empty) {
    return wrong_sort(job, "a list of texts", &value);
  }
  job->arg->n_texts = value.n;
  job->arg->texts = value.texts;
  return true;
}

/* A bare word belongs to the parameter before it is looked up as a name; a name of a text constant also serves. */
static bool read_symbol(const argument_job *job) {
  poei_checker *checker = job->checker;
  size_t n = 0;
  const char *const *words = NULL;
  if (!poei_split_words(checker, job->param->shape ? job->param->shape : "", &n, &words)) {
    return false;
  }
  const char *word = NULL;
  bool bare = job->value->kind == POEI_SYNTAX_PLACE && job->value->n == 0;
  if (bare) {
    const poei_symbol *symbol = poei_symbol_find(checker->program, job->value->text);
    bool constant = symbol && symbol->definition && !symbol->definition->statement->formal &&
                    poei_check_definition(checker, symbol->definition, job->value->at) &&
                    symbol->definition->value.sort == POEI_SORT_TEXT;
    word = constant ? symbol->definition->value.text : job->value->text;
    for (size_t i = 0; i < n; i++) {
      word = strcmp(words[i], job->value->text) == 0 ? words[i] : word;
    }
  } else {
    poei_value value;
    if (!poei_evaluate(checker, job->scope, job->value, POEI_WANT_ANY, &value)) {
      return false;
    }
    if (value.sort != POEI_SORT_TEXT) {
      return wrong_sort(job, "a word", &value);
    }
    word = value.text;
  }
  bool known = n == 0;
  for (size_t i = 0; i < n; i++) {
    known = known || strcmp(words[i], word) == 0;
  }
  if (!known) {
    return poei_report(&checker->reader, POE_E_NAME, job->value->span, poei_suggest(checker, word, "words", n, words),
                       "'%s' is no value of '%s'", word, job->param->name);
  }
  job->arg->text = word;
  return true;
}

static bool read_formula(const argument_job *job, const poei_leaf *leaf, const poei_code **out) {
  poei_checker *checker = job->checker;
  poei_code *code = poei_region_take(&checker->program->region, 1, sizeof *code);
  if (!code) {
    return false;
  }
  code->dim = leaf->dim;
  code->hash = 14695981039346656037u;
  poei_formula_frame frame = {.code = code, .leaf = leaf}, *outer = checker->formula;
  poei_value value;
  checker->formula = &frame;
  bool ok = poei_evaluate(checker, job->scope, job->value, POEI_WANT_NUMBER, &value);
  if (ok && value.sort != POEI_SORT_NUMBERS) {
    ok = wrong_sort(job, "arithmetic over the variables", &value);
  } else if (ok && value.ndim > 0) {
    ok = poei_report(&checker->reader, POE_E_SHAPE, job->value->span, "reduce it with sum(...)",
                     "'%s' must be one number, this is %zu", job->param->name, value.n);
  }
  int32_t root = -1;
  if (ok) {
    root = value.code ? value.code[0] : -1;
    ok = root >= 0 || (root = poei_code_constant(checker, value.number[0])) >= 0;
  }
  checker->formula = outer;
  if (!ok) {
    return false;
  }
  code->root = root;
  code->hash = poei_hash_bytes(code->hash, &code->root, sizeof code->root);
  *out = code;
  return true;
}

bool poei_evaluate_argument(poei_checker *checker, const poei_scope *scope, const poe_param *param,
                            const poei_syntax *argument, const poei_leaf *leaf, poe_arg *arg, const poei_code **code) {
  argument_job job = {.checker = checker,
                      .scope = scope,
                      .param = param,
                      .argument = argument,
                      .value = argument->items[0],
                      .arg = arg};
  poe_error place = {0};
  poei_span_place(job.value->span, &place);
  *arg = (poe_arg){
      .name = param->name, .type = param->type, .line = place.line, .column = place.column, .span = place.span};
  poei_formula_frame *outer = checker->formula;
  checker->formula = NULL;
  bool ok = false;
  switch (param->type) {
  case POE_ARG_REAL:
    ok = read_real(&job);
    break;
  case POE_ARG_STRING:
  case POE_ARG_FILE:
    ok = read_text(&job);
    break;
  case POE_ARG_STRINGS:
    ok = read_texts(&job);
    break;
  case POE_ARG_SYMBOL:
    ok = read_symbol(&job);
    break;
  case POE_ARG_FORMULA:
    ok = read_formula(&job, leaf, code);
    break;
  }
  checker->formula = outer;
  return ok;
}
