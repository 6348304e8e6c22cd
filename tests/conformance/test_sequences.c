/* Long sequences: a million steps without underflow, against extended precision and closed forms; the views of long
 * sequences against fresh ones; automata as small as they can be; what is too large to write down as factors. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/alloc.h"
#include "core/numerics.h"
#include "experts/dfa.h"
#include "experts/list.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

enum { MILLION = 1000000 };

static poe_error error;

/* ---- sequences of any length ---- */

typedef struct sequence {
  size_t d;
  poe_subject subject;
  poe_support *support;
  poe_arg arg[3];
  size_t n_args;
} sequence;

static sequence *sequence_start(size_t d, size_t k) {
  sequence *s = calloc(1, sizeof *s);
  assert_non_null(s);
  s->d = d;
  s->support = calloc(d, sizeof *s->support);
  assert_non_null(s->support);
  for (size_t j = 0; j < d; j++) {
    s->support[j] = (poe_support){POE_DISCRETE, 0.0, (double)(k - 1), false, false};
  }
  s->subject = (poe_subject){.name = "x", .ndim = 1, .shape = &s->d, .dim = d, .support = s->support};
  return s;
}

static void sequence_numbers(sequence *s, const char *name, size_t rows, size_t columns, const double *real) {
  s->arg[s->n_args++] = (poe_arg){.name = name,
                                  .type = POE_ARG_REAL,
                                  .ndim = rows == 0 ? 1 : 2,
                                  .shape = {rows == 0 ? columns : rows, columns},
                                  .real = real};
}

static void sequence_text(sequence *s, const char *name, const char *text) {
  s->arg[s->n_args++] = (poe_arg){.name = name, .type = POE_ARG_STRING, .text = text};
}

/* The expert; frees the sequence. */
static poe_expert *sequence_expert(sequence *s, const poe_expert_ops *ops) {
  poe_args args = {.kind = ops->kind, .n_subjects = 1, .subjects = &s->subject, .n_args = s->n_args, .args = s->arg};
  poe_expert *expert = NULL;
  check_ok(poe_expert_create(ops, &args, &expert, &error), error);
  free(s->support);
  free(s);
  return expert;
}

static const double initial2[2] = {0.3, 0.7}, transition2[4] = {0.95, 0.05, 0.1, 0.9};
static const double emission2[6] = {0.7, 0.2, 0.1, 0.05, 0.25, 0.7};

static poe_expert *hmm_of(size_t d) {
  sequence *s = sequence_start(d, 3);
  sequence_numbers(s, "initial", 0, 2, initial2);
  sequence_numbers(s, "transition", 2, 2, transition2);
  sequence_numbers(s, "emission", 2, 3, emission2);
  return sequence_expert(s, &poei_hmm_ops);
}

/* No two ones in a row. */
static poe_expert *golden(size_t d) {
  sequence *s = sequence_start(d, 2);
  sequence_text(s, "pattern", "(0|10)*1?");
  return sequence_expert(s, &poei_regex_ops);
}

/* ---- a million steps ---- */

static void hmm_of_a_million_steps(void **state) {
  (void)state;
  poe_expert *expert = hmm_of(MILLION);
  double *x = poet_doubles(2 * (size_t)MILLION), logp[2];
  assert_int_equal(poet_draw(expert, 5, 2, MILLION, x), POE_OK);
  assert_int_equal(poet_eval(expert, 2, MILLION, x, logp, NULL), POE_OK);
  for (size_t i = 0; i < 2; i++) {
    long double a[2] = {initial2[0], initial2[1]}, total = 0.0L;
    for (size_t t = 0; t < MILLION; t++) {
      size_t symbol = (size_t)x[i * MILLION + t];
      long double seen[2] = {a[0] * emission2[symbol], a[1] * emission2[3 + symbol]}, sum = seen[0] + seen[1];
      total += logl(sum);
      a[0] = (seen[0] * transition2[0] + seen[1] * transition2[2]) / sum;
      a[1] = (seen[0] * transition2[1] + seen[1] * transition2[3]) / sum;
    }
    assert_true(logp[i] < -5e5);
    check_close(logp[i], (double)total, 1e-9, 1e-15);
  }
  free(x);
  poe_expert_release(expert);
}

static void markov_of_a_million_steps(void **state) {
  (void)state;
  sequence *s = sequence_start(MILLION, 2);
  sequence_numbers(s, "initial", 0, 2, initial2);
  sequence_numbers(s, "transition", 2, 2, transition2);
  poe_expert *expert = sequence_expert(s, &poei_markov_ops);
  double *x = poet_doubles(MILLION), logp = 0.0;
  assert_int_equal(poet_draw(expert, 6, 1, MILLION, x), POE_OK);
  assert_int_equal(poet_eval(expert, 1, MILLION, x, &logp, NULL), POE_OK);
  size_t count[2][2] = {{0}};
  for (size_t t = 1; t < MILLION; t++) {
    count[(size_t)x[t - 1]][(size_t)x[t]]++;
  }
  long double total = logl((long double)initial2[(size_t)x[0]]);
  for (size_t i = 0; i < 4; i++) {
    total += (long double)count[i / 2][i % 2] * logl((long double)transition2[i]);
  }
  check_close(logp, (double)total, 1e-9, 1e-15);
  free(x);
  poe_expert_release(expert);
}

/* The number of 0/1 words of length d without 11 is the Fibonacci number F(d + 2). */
static void words_of_a_million_symbols(void **state) {
  (void)state;
  poe_expert *expert = golden(MILLION);
  double log_z = 0.0, phi = (1.0 + sqrt(5.0)) / 2.0, logp = 0.0, *x = poet_doubles(MILLION);
  check_ok(poe_expert_log_z(expert, &log_z, &error), error);
  check_close(log_z, (double)((MILLION + 2) * logl((1.0L + sqrtl(5.0L)) / 2.0L) - logl(5.0L) / 2.0L), 1e-9, 1e-15);
  assert_int_equal(poet_draw(expert, 7, 1, MILLION, x), POE_OK);
  assert_int_equal(poet_eval(expert, 1, MILLION, x, &logp, NULL), POE_OK);
  assert_true(logp == 0.0);
  /* In the middle a one has probability 1 / (1 + phi^2), and ones a step apart have covariance -p^2; the number of
   * ones in d places is normal with variance d p (1 - p) (1 - 1/phi^2) / (1 + 1/phi^2) (a two-state chain of second
   * eigenvalue -1/phi^2). Beyond 4.9 standard deviations: false alarm 1e-6. */
  double p = 1.0 / (1.0 + phi * phi), ones = 0.0, eigenvalue = -1.0 / (phi * phi);
  for (size_t t = 0; t < MILLION; t++) {
    ones += x[t];
  }
  double sd = sqrt(MILLION * p * (1.0 - p) * (1.0 + eigenvalue) / (1.0 - eigenvalue));
  check_close(ones, MILLION * p, 4.9 * sd, 0.0);
  free(x);
  poe_expert_release(expert);
}

/* ---- views of long sequences ---- */

/* After random changes and looks, the conditional of a view is that of a fresh one. */
static void view_keeps_up(const poe_expert *expert, size_t d, size_t k) {
  const poe_local_ops *local = poe_expert_local(expert);
  const void *self = poe_expert_self(expert);
  double *x = poet_doubles(d), kept[8], fresh[8];
  void *state = malloc(local->state_bytes(self)), *other = malloc(local->state_bytes(self));
  poe_scratch *scratch = poe_scratch_create(local->scratch(self));
  assert_true(state != NULL && other != NULL && scratch != NULL && k <= 8);
  assert_int_equal(poet_draw(expert, 11, 1, d, x), POE_OK);
  check_ok(local->open(self, x, state, scratch, &error), error);
  for (size_t turn = 0; turn < 600; turn++) {
    size_t j = (size_t)poet_spread(turn, 0, 0.0, (double)d), v = (size_t)poet_spread(turn, 1, 0.0, (double)k);
    if (turn % 3 == 0) {
      x[j] = (double)v;
      check_ok(local->set(self, state, j, x[j], scratch, &error), error);
    }
    check_ok(local->conditional(self, state, j, kept, scratch, &error), error);
    check_ok(local->open(self, x, other, scratch, &error), error);
    check_ok(local->conditional(self, other, j, fresh, scratch, &error), error);
    for (size_t i = 0; i < k; i++) {
      bool same = kept[i] == fresh[i] || fabs((kept[i] - kept[0]) - (fresh[i] - fresh[0])) < 1e-9;
      if (!same) {
        fail_msg("turn %zu, site %zu, value %zu: %.17g, afresh %.17g", turn, j, i, kept[i], fresh[i]);
      }
    }
  }
  free(x);
  free(state);
  free(other);
  poe_scratch_destroy(scratch);
}

static void views_keep_up(void **state) {
  (void)state;
  poe_expert *hidden = hmm_of(400), *words = golden(300);
  view_keeps_up(hidden, 400, 3);
  view_keeps_up(words, 300, 2);
  poe_expert_release(hidden);
  poe_expert_release(words);
}

/* A sweep along the sequence costs one step per site: 50,000 sites in well under a minute, where starting afresh at
 * each would take hours. */
static void a_sweep_is_linear(void **state) {
  (void)state;
  enum { LONG = 50000 };
  poe_expert *expert = hmm_of(LONG);
  const poe_local_ops *local = poe_expert_local(expert);
  const void *self = poe_expert_self(expert);
  double *x = poet_doubles(LONG), out[3];
  void *own = malloc(local->state_bytes(self));
  poe_scratch *scratch = poe_scratch_create(local->scratch(self));
  assert_true(own != NULL && scratch != NULL);
  clock_t before = clock();
  check_ok(local->open(self, x, own, scratch, &error), error);
  for (size_t j = 0; j < LONG; j++) {
    check_ok(local->conditional(self, own, j, out, scratch, &error), error);
    check_ok(local->set(self, own, j, (double)(j % 3), scratch, &error), error);
  }
  assert_true((double)(clock() - before) / CLOCKS_PER_SEC < 30.0);
  free(x);
  free(own);
  poe_scratch_destroy(scratch);
  poe_expert_release(expert);
}

/* ---- automata ---- */

static void automata_are_minimal(void **state) {
  (void)state;
  /* Ends in abb: 4 states suffice. State 4 copies 0, state 5 is never reached, state 6 never leaves. Symbol 2 acts as
   * symbol 0. */
  static const int32_t next[28] = {1, 4, 1, 6, 1, 2,  1, -1, 1, 3, 1, 9, 1, 0,
                                   1, 6, 1, 4, 1, -1, 5, 0,  0, 0, 6, 6, 6, 6};
  static const unsigned char accept[7] = {0, 0, 0, 1, 0, 1, 0};
  static const uint32_t class_of[4] = {0, 1, 2, 3};
  poei_dfa dfa = {0};
  check_ok(poei_dfa_create(7, 4, 4, class_of, next, accept, 0, &dfa, &error), error);
  assert_int_equal(dfa.states, 4);
  assert_int_equal(dfa.classes, 3); /* a with its twin, b, and the symbol that leads nowhere */
  assert_int_equal(dfa.class_of[0], dfa.class_of[2]);
  assert_true(dfa.class_of[0] != dfa.class_of[1] && dfa.class_of[3] != dfa.class_of[1]);
  for (size_t word = 0; word < 1024; word++) { /* all words of length 5 take the same way */
    int32_t small = (int32_t)dfa.start, large = 0;
    for (size_t t = 0; t < 5; t++) {
      size_t symbol = word >> (2 * t) & 3;
      small = poei_dfa_next(&dfa, small, symbol);
      large = large < 0 || large > 6 ? -1 : next[4 * large + (int32_t)symbol];
    }
    bool accepts = large >= 0 && large <= 6 && accept[large];
    assert_true((small >= 0 && dfa.accept[small]) == accepts);
  }
  poei_dfa_release(&dfa);
  static const unsigned char nothing[7] = {0};
  check_fails(poei_dfa_create(7, 4, 4, class_of, next, nothing, 0, &dfa, &error), POE_E_EMPTY, error, "nothing");
  assert_null(dfa.next);
}

/* Chains of states, told apart by how far it is to the end: not 10,000 rounds of refinement. */
static void long_patterns_compile(void **state) {
  (void)state;
  sequence *s = sequence_start(9000, 2);
  sequence_text(s, "pattern", "(0|1){9000}");
  clock_t before = clock();
  poe_expert *expert = sequence_expert(s, &poei_regex_ops);
  assert_true((double)(clock() - before) / CLOCKS_PER_SEC < 30.0);
  double log_z = 0.0;
  check_ok(poe_expert_log_z(expert, &log_z, &error), error);
  check_close(log_z, 9000.0 * log(2.0), 1e-9, 0.0);
  poe_expert_release(expert);
}

/* ---- what is too large ---- */

static bool can(const poe_expert *expert, unsigned bits) {
  return (poe_expert_traits(expert)->capabilities & bits) == bits;
}

static void large_forms_are_not_offered(void **state) {
  (void)state;
  poe_expert *few = hmm_of(7), *more = hmm_of(8), *all = hmm_of(MILLION), *too_many = hmm_of(4 * (size_t)MILLION);
  assert_true(can(few, POE_CAN_FORM | POE_CAN_STRUCTURE));
  assert_false(can(more, POE_CAN_FORM)); /* 3^8 states are more than 4096 */
  assert_true(can(more, POE_CAN_STRUCTURE));
  assert_true(can(all, POE_CAN_STRUCTURE));
  assert_false(can(too_many, POE_CAN_STRUCTURE));
  assert_true(can(too_many, POE_CAN_EVAL | POE_CAN_LOCAL | POE_CAN_SAMPLE | POE_CAN_LOG_Z));
  poe_expert_release(few);
  poe_expert_release(more);
  poe_expert_release(all);
  poe_expert_release(too_many);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(hmm_of_a_million_steps),     cmocka_unit_test(markov_of_a_million_steps),
      cmocka_unit_test(words_of_a_million_symbols), cmocka_unit_test(views_keep_up),
      cmocka_unit_test(a_sweep_is_linear),          cmocka_unit_test(automata_are_minimal),
      cmocka_unit_test(long_patterns_compile),      cmocka_unit_test(large_forms_are_not_offered),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
