/* Functions of numbers: exp(x), sum(x), dot(a, b), sum(i in 0:9 -> ...), in formulas and in constants.
 *
 * Their words are those of the formula operations, and `dot`. Elementwise functions keep the shape; sum, min, max, norm
 * and logsumexp take all elements of all arguments to one number.
 */
#include <string.h>

#include "compose/language/program_parts.h"

static const struct function {
  const char *word;
  poei_formula_op op;
  size_t arity; /* 0: any number */
} functions[] = {
#define FUNCTION(name, arity, word) {word, POEI_FORMULA_##name, arity},
    POEI_FORMULA_OP_LIST(FUNCTION)
#undef FUNCTION
};

const char *const poei_function_words[] = {
#define FUNCTION_WORD(name, arity, word) (word)[0] >= 'a' ? (word) : "dot",
    POEI_FORMULA_OP_LIST(FUNCTION_WORD)
#undef FUNCTION_WORD
        NULL};

static const struct function *find_function(const char *word) {
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    if (strcmp(functions[i].word, word) == 0 && word[0] >= 'a') {
      return &functions[i];
    }
  }
  return NULL;
}

bool poei_is_function(const char *word) {
  return strcmp(word, "dot") == 0 || find_function(word);
}

static bool dot(poei_checker *checker, const poei_syntax *call, const poei_value *args, poei_value *value) {
  if (args[0].n != args[1].n) {
    return poei_report(&checker->reader, POE_E_SHAPE, call->span, NULL, "dot of %zu and %zu numbers", args[0].n,
                       args[1].n);
  }
  poei_value flat[2] = {args[0], args[1]}, product;
  for (size_t i = 0; i < 2; i++) {
    flat[i].ndim = flat[i].sort == POEI_SORT_NUMBERS ? 1 : flat[i].ndim;
    flat[i].shape[0] = flat[i].n;
  }
  return poei_numbers_apply(checker, call->span, POEI_FORMULA_MUL, 2, flat, &product) &&
         poei_numbers_apply(checker, call->span, POEI_FORMULA_SUM, 1, &product, value);
}

static bool read_arguments(poei_checker *checker, const poei_scope *scope, const poei_syntax *call, size_t *n,
                           poei_value **args) {
  if (call->n == 1 && call->items[0]->kind == POEI_SYNTAX_EACH) {
    return poei_evaluate_each(checker, scope, call->items[0], POEI_WANT_NUMBER, n, args);
  }
  *n = call->n;
  *args = poei_region_take(&checker->program->region, call->n, sizeof **args);
  if (!*args) {
    return false;
  }
  for (size_t i = 0; i < call->n; i++) {
    const poei_syntax *item = call->items[i];
    if (item->kind == POEI_SYNTAX_ARGUMENT || item->kind == POEI_SYNTAX_EACH) {
      return poei_report(&checker->reader, POE_E_SYNTAX, item->span, NULL, "'%s' takes numbers only", call->text);
    }
    if (!poei_evaluate(checker, scope, item, POEI_WANT_NUMBER, &(*args)[i])) {
      return false;
    }
  }
  return true;
}

bool poei_call_function(poei_checker *checker, const poei_scope *scope, const poei_syntax *call, poei_value *value) {
  const struct function *function = find_function(call->text);
  size_t arity = function ? function->arity : 2, n;
  bool each = call->n == 1 && call->items[0]->kind == POEI_SYNTAX_EACH;
  if (call->bar) {
    return poei_report(&checker->reader, POE_E_SYNTAX, call->at, NULL, "'%s' is a function: it has no '|'", call->text);
  }
  if (arity > 0 ? call->n != arity || each : call->n == 0) {
    return poei_report(&checker->reader, POE_E_USAGE, call->at, NULL, "'%s' takes %s argument%s", call->text,
                       arity == 0   ? "at least one"
                       : arity == 1 ? "one"
                                    : "two",
                       arity == 2 ? "s" : "");
  }
  poei_value *args;
  if (!read_arguments(checker, scope, call, &n, &args)) {
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    if (args[i].sort != POEI_SORT_NUMBERS) {
      bool density = args[i].sort >= POEI_SORT_DENSITY;
      return poei_report(&checker->reader, POE_E_TYPE, call->items[each ? 0 : i]->span,
                         density && strcmp(call->text, "sum") == 0 ? "a sum of experts is mixture(...)" : NULL,
                         "'%s' takes numbers, not %s", call->text, poei_sort_text(&args[i]));
    }
  }
  if (!function) {
    return dot(checker, call, args, value);
  }
  return poei_numbers_apply(checker, call->span, function->op, n, args, value);
}
