/* regex(x | pattern, alphabet): 1 on the sequences that match a pattern from end to end, else 0.
 *
 * The letters of `alphabet` name the symbols 0, 1, ...; the syntax of patterns is told in experts/regex.h. log Z is the
 * log of the number of matching sequences of the variable's length; draws are even among them.
 */
#include "experts/regex.h"

#include "core/alloc.h"
#include "experts/accepted.h"
#include "experts/family.h"
#include "experts/list.h"

static const poe_param regex_params[] = {
    {"pattern", POE_ARG_STRING, "", NULL,
     "what the whole sequence must match: a b . [ab] [^ab] ab a|b a* a+ a? a{2,3} (ab)"},
    {"alphabet", POE_ARG_STRING, "", "0..9a..z", "the characters that name the symbols 0, 1, ..."},
    {0},
};

static poe_status regex_alphabet(const poe_args *args, size_t k, uint32_t **alphabet, poe_error *error) {
  static const char usual[] = "0123456789abcdefghijklmnopqrstuvwxyz";
  const poe_arg *arg = poe_args_find(args, "alphabet"), fallback = {.name = "alphabet"};
  size_t n = 0;
  if (arg == NULL && k > sizeof usual - 1) {
    poe_error_set(error, POE_E_USAGE, "`%s` over %zu values needs `alphabet`", args->kind, k);
    poe_error_hint(error, "a text of %zu characters, one for each value", k);
    return POE_E_USAGE;
  }
  poe_status status =
      poei_regex_decode(arg != NULL ? arg : &fallback, arg != NULL ? arg->text : usual, alphabet, &n, error);
  if (status != POE_OK) {
    return status;
  }
  if (arg != NULL && n != k) {
    poe_args_error(arg, error, POE_E_SHAPE, "`alphabet` of `%s` has %zu characters, but `%s` takes %zu values",
                   args->kind, n, args->subjects[0].name, k);
    poe_error_hint(error, "one character for each value: the first stands for 0, the second for 1, ...");
    return POE_E_SHAPE;
  }
  for (size_t i = 0; i < k; i++) {
    for (size_t j = 0; j < i; j++) {
      if ((*alphabet)[i] == (*alphabet)[j]) {
        char shown[16];
        return poe_args_error(arg, error, POE_E_DOMAIN, "%s stands twice in `alphabet` of `%s`, for %zu and for %zu",
                              poei_regex_show((*alphabet)[i], shown), args->kind, j, i);
      }
    }
  }
  return POE_OK;
}

static poe_status regex_no_match(const poe_args *args, poe_error *error) {
  poe_args_error(poe_args_find(args, "pattern"), error, POE_E_EMPTY, "no sequence of length %zu matches `pattern`",
                 poe_args_dim(args));
  poe_error_hint(error, "the whole sequence must match; .* before and after lets a pattern stand anywhere in it");
  return POE_E_EMPTY;
}

static poe_status regex_dfa(const poe_args *args, size_t k, const uint32_t *alphabet, poei_dfa *dfa, poe_error *error) {
  const poe_arg *arg = poe_args_find(args, "pattern");
  uint32_t *pattern = NULL;
  size_t n = 0;
  if (arg == NULL) {
    return poe_error_set(error, POE_E_USAGE, "`%s` needs `pattern`", args->kind);
  }
  poei_regex regex = {.arg = arg, .symbols = k, .alphabet = alphabet};
  poe_status status = poei_regex_decode(arg, arg->text, &pattern, &n, error);
  if (status == POE_OK) {
    status = poei_regex_parse(pattern, n, &regex, error);
  }
  if (status == POE_OK) {
    status = poei_regex_compile(&regex, poe_args_dim(args), dfa, error);
    status = status == POE_E_EMPTY ? regex_no_match(args, error) : status;
  }
  poei_regex_release(&regex);
  poei_free(pattern);
  return status;
}

static poe_status regex_create(const poe_args *args, void **self, poe_error *error) {
  size_t k = 0;
  uint32_t *alphabet = NULL;
  poei_dfa dfa = {0};
  poei_accepted *accepted = NULL;
  poe_status status = poei_discrete_sequence(args, &k, error);
  if (status == POE_OK && k > POEI_REGEX_SYMBOLS) {
    status = poe_error_set(error, POE_E_SHAPE, "`%s` is over at most %d values, but `%s` takes %zu", args->kind,
                           POEI_REGEX_SYMBOLS, args->subjects[0].name, k);
  }
  if (status == POE_OK) {
    status = regex_alphabet(args, k, &alphabet, error);
  }
  if (status == POE_OK) {
    status = regex_dfa(args, k, alphabet, &dfa, error);
  }
  if (status == POE_OK) {
    status = poei_accepted_create(&dfa, poe_args_dim(args), &accepted, error);
    status = status == POE_E_EMPTY ? regex_no_match(args, error) : status;
  }
  poei_dfa_release(&dfa);
  poei_free(alphabet);
  if (status == POE_OK) {
    *self = accepted;
  }
  return status;
}

static poe_status regex_form(const void *self, poe_form *form, poe_error *error) {
  return poei_discrete_form(&poei_regex_ops, self, form, error);
}

const poe_expert_ops poei_regex_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "regex",
    .doc = "hard constraint: the sequences that match a regular expression",
    .params = regex_params,
    .create = regex_create,
    .destroy = poei_accepted_destroy,
    .traits = poei_accepted_traits,
    .scratch = poei_accepted_scratch,
    .eval_add = poei_accepted_eval_add,
    .sample = poei_accepted_sample,
    .log_z = poei_accepted_log_z,
    .form = regex_form,
    .structure = poei_accepted_structure,
    .local = &poei_accepted_local,
    .onehot_grad_add = poei_accepted_onehot_grad_add,
};
