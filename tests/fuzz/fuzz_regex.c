/* Fuzz target of regular expressions: any pattern is refused with a message that names a character of it, or compiled
 * into an automaton whose words, all tried, are as many as its log Z says. The first byte chooses alphabet and length.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "experts/list.h"
#include "formats/file_error.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SYMBOLS = 4, LENGTH = 6 };

static double count_words(const poe_expert *expert, size_t k, size_t d) {
  double x[LENGTH], one = 1.0, count = 0.0;
  size_t words = 1;
  for (size_t j = 0; j < d; j++) {
    words *= k;
  }
  for (size_t word = 0; word < words; word++) {
    double logp = 0.0;
    for (size_t j = 0, rest = word; j < d; j++, rest /= k) {
      x[j] = (double)(rest % k);
    }
    poe_error error = {0};
    if (poe_expert_eval_add(expert, (poe_rows){1, d, d, x}, (poe_weights){&one, 0}, (poe_accum){.logp = &logp}, NULL,
                            &error) != POE_OK) {
      abort();
    }
    count += logp == 0.0;
  }
  return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const alphabets[] = {"abcd", "a1 _", "a\xc3\xa9-]", "ab\xe2\x82\xac\\"};
  char pattern[512];
  if (size == 0 || size > sizeof pattern || memchr(data, 0, size) != NULL) {
    return 0;
  }
  memcpy(pattern, data + 1, size - 1);
  pattern[size - 1] = '\0';
  size_t d = 1 + data[0] % LENGTH;
  poe_support support[LENGTH];
  for (size_t j = 0; j < d; j++) {
    support[j] = (poe_support){POE_DISCRETE, 0.0, SYMBOLS - 1, false, false};
  }
  poe_subject subject = {.name = "x", .ndim = 1, .shape = &d, .dim = d, .support = support};
  poe_arg list[2] = {{.name = "pattern", .type = POE_ARG_STRING, .text = pattern, .line = 1, .column = 1},
                     {.name = "alphabet", .type = POE_ARG_STRING, .text = alphabets[data[0] / LENGTH % 4]}};
  poe_args args = {.kind = "regex", .n_subjects = 1, .subjects = &subject, .n_args = 2, .args = list};
  poe_expert *expert = NULL;
  poe_error error = {0};
  if (poe_expert_create(&poei_regex_ops, &args, &expert, &error) != POE_OK) {
    if (error.message[0] == '\0' || !poei_utf8_valid(error.message, strlen(error.message)) || error.column != 1) {
      abort();
    }
    return 0;
  }
  double log_z = 0.0;
  if (poe_expert_log_z(expert, &log_z, &error) != POE_OK || fabs(log_z - log(count_words(expert, SYMBOLS, d))) > 1e-9) {
    abort();
  }
  poe_expert_release(expert);
  return 0;
}
