/* Conformance entries of markov, hmm, automaton and regex: against every path of latent states, and against rules
 * written down by hand. */
#include <string.h>

#include "experts/list.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

/* ---- markov ---- */

static const double first3[3] = {0.5, 0.25, 0.25};
static const double steps3[9] = {0.1, 0.9, 0.0, 0.3, 0.3, 0.4, 0.0, 0.0, 1.0};

static poe_status markov_long(poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "markov");
  poet_args_discrete_variable(&a, "s", 3, 3);
  poet_args_discrete_variable(&a, "t", 2, 3);
  poet_args_vector(&a, "initial", 3, first3);
  poet_args_matrix(&a, "transition", 3, 3, steps3);
  return poe_expert_create(&poei_markov_ops, &a.args, expert, error);
}

static double markov_long_value(const double *x) {
  double p = first3[(int)x[0]];
  for (int t = 1; t < 5; t++) {
    p *= steps3[3 * (int)x[t - 1] + (int)x[t]];
  }
  return log(p);
}

static poe_status markov_one(poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "markov");
  poet_args_discrete_grid(&a, "s", 0, NULL, 3);
  poet_args_vector(&a, "initial", 3, first3);
  poet_args_matrix(&a, "transition", 3, 3, steps3);
  return poe_expert_create(&poei_markov_ops, &a.args, expert, error);
}

static double markov_one_value(const double *x) {
  return log(first3[(int)x[0]]);
}

static const poet_case markov_cases[] = {
    {.name = "markov of five steps, some impossible",
     .build = markov_long,
     .log_density = markov_long_value,
     .sample = POET_SAMPLE_STATES,
     .expected_log_z = 0.0,
     .knows_log_z = true,
     .needs_no_interior = true},
    {.name = "markov of one step",
     .build = markov_one,
     .log_density = markov_one_value,
     .sample = POET_SAMPLE_STATES,
     .needs_no_interior = true},
};
POET_ENTRY(markov, markov_cases);

/* ---- hmm ---- */

/* p(x) over d symbols as the sum over all states^d paths. */
static double all_paths(size_t states, size_t k, size_t d, const double *initial, const double *transition,
                        const double *emission, const double *x) {
  size_t paths = 1;
  double sum = 0.0;
  for (size_t t = 0; t < d; t++) {
    paths *= states;
  }
  for (size_t path = 0; path < paths; path++) {
    size_t rest = path, before = 0;
    double p = 1.0;
    for (size_t t = 0; t < d; t++) {
      size_t z = rest % states;
      rest /= states;
      p *= (t == 0 ? initial[z] : transition[before * states + z]) * emission[z * k + (size_t)x[t]];
      before = z;
    }
    sum += p;
  }
  return log(sum);
}

static const double emit3[12] = {0.7, 0.1, 0.1, 0.1, 0.0, 0.5, 0.5, 0.0, 0.25, 0.25, 0.0, 0.5};

static poe_status hmm_usual(poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "hmm");
  poet_args_discrete_variable(&a, "x", 5, 4);
  poet_args_vector(&a, "initial", 3, first3);
  poet_args_matrix(&a, "transition", 3, 3, steps3);
  poet_args_matrix(&a, "emission", 3, 4, emit3);
  return poe_expert_create(&poei_hmm_ops, &a.args, expert, error);
}

static double hmm_usual_value(const double *x) {
  return all_paths(3, 4, 5, first3, steps3, emit3, x);
}

/* Two chains that never meet; the second takes over only at a symbol that the first cannot show, when its share has
 * fallen by 1e-100 at each of the symbols before: far below the smallest double. */
static const double even[2] = {0.5, 0.5}, apart[4] = {1.0, 0.0, 0.0, 1.0};
static const double rare[6] = {1.0 - 1e-9, 1e-9, 0.0, 1e-100, 0.0, 1.0};

static poe_status hmm_rare(poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "hmm");
  poet_args_discrete_variable(&a, "x", 6, 3);
  poet_args_vector(&a, "initial", 2, even);
  poet_args_matrix(&a, "transition", 2, 2, apart);
  poet_args_matrix(&a, "emission", 2, 3, rare);
  return poe_expert_create(&poei_hmm_ops, &a.args, expert, error);
}

static double hmm_rare_value(const double *x) {
  double first = log(0.5), second = log(0.5);
  for (size_t t = 0; t < 6; t++) {
    first += log(rare[(int)x[t]]);
    second += log(rare[3 + (int)x[t]]);
  }
  double top = fmax(first, second);
  return top == -INFINITY ? top : top + log(exp(first - top) + exp(second - top));
}

static void rare_points(size_t n, size_t d, double *x) {
  for (size_t i = 0; i < n; i++) {
    for (size_t j = 0; j < d; j++) {
      x[i * d + j] = i % 2 == 0 ? floor(poet_spread(i, j, 0.0, 2.0)) : j + 1 < d ? 0.0 : 2.0;
    }
  }
}

static poe_status hmm_single(poe_expert **expert, poe_error *error) {
  static const double sure = 1.0;
  poet_args a;
  poet_args_start(&a, "hmm");
  poet_args_discrete_variable(&a, "x", 3, 4);
  poet_args_scalar(&a, "initial", &sure);
  poet_args_scalar(&a, "transition", &sure);
  poet_args_matrix(&a, "emission", 1, 4, emit3);
  return poe_expert_create(&poei_hmm_ops, &a.args, expert, error);
}

static double hmm_single_value(const double *x) {
  return log(emit3[(int)x[0]]) + log(emit3[(int)x[1]]) + log(emit3[(int)x[2]]);
}

static const poet_case hmm_cases[] = {
    {.name = "hmm of three states and four symbols",
     .build = hmm_usual,
     .log_density = hmm_usual_value,
     .sample = POET_SAMPLE_STATES,
     .expected_log_z = 0.0,
     .knows_log_z = true,
     .needs_no_interior = true},
    {.name = "hmm whose likely state is ruled out at the end",
     .build = hmm_rare,
     .points = rare_points,
     .log_density = hmm_rare_value,
     .sample = POET_SAMPLE_STATES,
     .needs_no_interior = true},
    {.name = "hmm of one state",
     .build = hmm_single,
     .log_density = hmm_single_value,
     .sample = POET_SAMPLE_STATES,
     .needs_no_interior = true},
};
POET_ENTRY(hmm, hmm_cases);

/* ---- automaton ---- */

/* States 2 and 5 lead nowhere, 3 is 0 again and 4 is 1 again: two states do. */
static const double parity_next[18] = {0, 1, 4, 3, 1, 2, -1, 5, 2, 3, 1, 4, 0, 1, -1, 5, 5, 5};
static const double parity_end[2] = {0, 3}, parity_start = 3;

static poe_status automaton_parity(poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "automaton");
  poet_args_discrete_variable(&a, "x", 6, 3);
  poet_args_matrix(&a, "transition", 6, 3, parity_next);
  poet_args_vector(&a, "accept", 2, parity_end);
  poet_args_scalar(&a, "start", &parity_start);
  return poe_expert_create(&poei_automaton_ops, &a.args, expert, error);
}

static double automaton_parity_value(const double *x) {
  int state = 3;
  for (int t = 0; t < 6 && state >= 0; t++) {
    state = (int)parity_next[3 * state + (int)x[t]];
  }
  return state == 0 || state == 3 ? 0.0 : -INFINITY;
}

static poe_status automaton_any(poe_expert **expert, poe_error *error) {
  static const double next[2] = {0, 0}, end = 0;
  poet_args a;
  poet_args_start(&a, "automaton");
  poet_args_discrete_variable(&a, "x", 1, 2);
  poet_args_matrix(&a, "transition", 1, 2, next);
  poet_args_scalar(&a, "accept", &end);
  return poe_expert_create(&poei_automaton_ops, &a.args, expert, error);
}

static double automaton_any_value(const double *x) {
  (void)x;
  return 0.0;
}

static const poet_case automaton_cases[] = {
    {.name = "automaton with states of no use",
     .build = automaton_parity,
     .log_density = automaton_parity_value,
     .sample = POET_SAMPLE_STATES,
     .needs_no_interior = true},
    {.name = "automaton that accepts everything",
     .build = automaton_any,
     .log_density = automaton_any_value,
     .sample = POET_SAMPLE_STATES,
     .expected_log_z = 0.69314718055994530942,
     .knows_log_z = true,
     .needs_no_interior = true},
};
POET_ENTRY(automaton, automaton_cases);

/* ---- regex ---- */

/* Words over a, b, c: blocks "ab" or "c", then at least one b or c. */
static poe_status regex_blocks(poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "regex");
  poet_args_discrete_variable(&a, "x", 6, 3);
  poet_args_text(&a, "pattern", POE_ARG_STRING, "(ab|c)*[^a]+");
  poet_args_text(&a, "alphabet", POE_ARG_STRING, "abc");
  return poe_expert_create(&poei_regex_ops, &a.args, expert, error);
}

static double regex_blocks_value(const double *x) {
  int t = 0;
  while (t < 6 && (x[t] == 2.0 || (x[t] == 0.0 && t < 5 && x[t + 1] == 1.0))) {
    t += x[t] == 2.0 ? 1 : 2;
  }
  int tail = t; /* what no block explains must have no a; if nothing is left, the last block must serve as the tail */
  while (tail < 6 && x[tail] != 0.0) {
    tail++;
  }
  return tail == 6 && (t < 6 || x[5] == 2.0) ? 0.0 : -INFINITY;
}

/* Classes of unequal size: nine words after an a, four after b or c. */
static poe_status regex_classes(poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "regex");
  poet_args_discrete_variable(&a, "x", 3, 3);
  poet_args_text(&a, "pattern", POE_ARG_STRING, "a..|[bc]{2}a");
  poet_args_text(&a, "alphabet", POE_ARG_STRING, "abc");
  return poe_expert_create(&poei_regex_ops, &a.args, expert, error);
}

static double regex_classes_value(const double *x) {
  return x[0] == 0.0 || (x[1] != 0.0 && x[2] == 0.0) ? 0.0 : -INFINITY;
}

static const poet_case regex_cases[] = {
    {.name = "regex with classes of unequal size",
     .build = regex_classes,
     .log_density = regex_classes_value,
     .sample = POET_SAMPLE_STATES,
     .expected_log_z = 2.5649493574615367, /* log 13 */
     .knows_log_z = true,
     .needs_no_interior = true},
    {.name = "regex of blocks and a tail",
     .build = regex_blocks,
     .log_density = regex_blocks_value,
     .sample = POET_SAMPLE_STATES,
     .needs_no_interior = true},
};
POET_ENTRY(regex, regex_cases);
