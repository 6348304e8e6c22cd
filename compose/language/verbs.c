/* The table of verbs and options (see verbs.h), and the search for the nearest known word.
 *
 * Edit distance: optimal string alignment (insertions, deletions, substitutions, swaps of neighbours; each costs 1).
 * Invariant: option names are written with underscores here and compared with dashes and underscores alike.
 */
#include "compose/language/verbs.h"

#include <string.h>

const poei_option poei_common_options[] = {
    {"seed", POEI_OPTION_INTEGER, NULL, "0", "every random number is a function of this"},
    {"threads", POEI_OPTION_INTEGER, NULL, "0", "worker threads; 0 takes one per core"},
    {"json", POEI_OPTION_FLAG, NULL, "false", "print one JSON object on stdout"},
    {"quiet", POEI_OPTION_FLAG, NULL, "false", "print results and errors only"},
    {"no_rewrite", POEI_OPTION_FLAG, NULL, "false", "evaluate the tree as it is written"},
    {"table_bytes", POEI_OPTION_TEXT, NULL, "1G",
     "memory for the tables of exact elimination: bytes, or with K, M or G"},
    {"no_cache", POEI_OPTION_FLAG, NULL, "false", "estimate every constant anew"},
    {"evidence", POEI_OPTION_FILE, NULL, NULL, "observed values (.evid), where FILE is a UAI network (.uai)"},
    {"set", POEI_OPTION_NAMES, NULL, NULL, "change a constructor argument: name.param=value"},
    {0},
};

#define POEI_METHOD_CHOICES "auto|exact|smc|rwm|ula|mala|hmc|imh|gibbs"

static const poei_option run_options[] = {
    {"output", POEI_OPTION_FILE, NULL, NULL, "folder of the results (default FILE.out)"},
    {"gate", POEI_OPTION_CHOICE, "fail|report", "fail", "whether a failed gate fails the command"},
    {0},
};

static const poei_option no_options[] = {{0}};

#define POEI_CLAMP_OPTION                                                                                              \
  { "clamp", POEI_OPTION_TEXT, NULL, NULL, "values that are given: 'x[3]=1, y=[0, 2]'" }

#define POEI_PRUNE_OPTION                                                                                              \
  { "prune", POEI_OPTION_NUMBER, NULL, "0", "mass of mixture components that may be left out; 0: all stay" }

static const poei_option explain_options[] = {POEI_PRUNE_OPTION, {0}};

static const poei_option score_options[] = {
    {"data", POEI_OPTION_FILE, NULL, NULL, "points, one per row: npy, npz or csv, n x d"},
    {"grad", POEI_OPTION_FLAG, NULL, "false", "gradients too"},
    {"each", POEI_OPTION_FLAG, NULL, "false", "the log-density of each named expert of the target too"},
    {"relative_to", POEI_OPTION_INTEGER, NULL, NULL,
     "differences from this row (the first is 0): normalising constants that cancel are not computed"},
    {"rank", POEI_OPTION_FLAG, NULL, "false", "the rows in the order of their log-densities, the best first"},
    {"output", POEI_OPTION_FILE, NULL, NULL, "write the numbers to this file (npy, npz or csv)"},
    {0},
};

static const poei_option logz_options[] = {
    POEI_CLAMP_OPTION,
    {"tol", POEI_OPTION_NUMBER, NULL, "0.05", "standard error to reach, in nats, where log Z is estimated"},
    {"chains", POEI_OPTION_INTEGER, NULL, "8", "independent repetitions of an estimate"},
    {"particles", POEI_OPTION_INTEGER, NULL, "128", "particles of each repetition to begin with"},
    POEI_PRUNE_OPTION,
    {0},
};

static const poei_option sample_options[] = {
    {"method", POEI_OPTION_CHOICE, POEI_METHOD_CHOICES, "auto", "how to draw"},
    {"proposal", POEI_OPTION_TEXT, NULL, NULL, "expert that imh draws from and smc starts from (default: as planned)"},
    POEI_CLAMP_OPTION,
    {"chains", POEI_OPTION_INTEGER, NULL, "4", "chains in lockstep"},
    {"warmup", POEI_OPTION_INTEGER, NULL, "1000", "adaptation steps, thrown away"},
    {"draws", POEI_OPTION_INTEGER, NULL, "1000", "draws kept per chain"},
    POEI_PRUNE_OPTION,
    {"thin", POEI_OPTION_INTEGER, NULL, "1", "steps per kept draw"},
    {"step_size", POEI_OPTION_NUMBER, NULL, NULL, "fixes the step size (default: adapted)"},
    {"leapfrog", POEI_OPTION_INTEGER, NULL, NULL, "leapfrog steps per proposal of hmc (default: adapted)"},
    {"init", POEI_OPTION_FILE, NULL, NULL, "starting points, one per row: npy, npz or csv"},
    {"save", POEI_OPTION_NAMES, NULL, NULL, "derived variables to keep beside the variables"},
    {"gate", POEI_OPTION_CHOICE, "fail|report", "fail", "whether a failed gate fails the command"},
    {"output", POEI_OPTION_FILE, NULL, NULL, "write the draws to this file (npz or csv)"},
    {0},
};

static const poei_option minimize_options[] = {
    {"starts", POEI_OPTION_INTEGER, NULL, "64", "searches begun, where the answer is not exact"},
    {"modes", POEI_OPTION_INTEGER, NULL, "10", "modes reported, the best first (with --clamp: 1 for each row)"},
    {"clamp", POEI_OPTION_TEXT, NULL, NULL,
     "values given, x[3]=1; or x=FILE: the best of the rest for each row of the file (npy, npz, csv)"},
    {"init", POEI_OPTION_FILE, NULL, NULL, "starting points, one per row: npy, npz or csv"},
    {0},
};

static const poei_option marginals_options[] = {
    POEI_CLAMP_OPTION,
    {"chains", POEI_OPTION_INTEGER, NULL, "4", "chains, where the answer is not exact"},
    {"warmup", POEI_OPTION_INTEGER, NULL, "1000", "adaptation steps, thrown away"},
    {"draws", POEI_OPTION_INTEGER, NULL, "1000", "draws per chain"},
    {"gate", POEI_OPTION_CHOICE, "fail|report", "fail", "whether a failed gate of draws fails the command"},
    {0},
};

static const poei_option compare_options[] = {
    {"by", POEI_OPTION_NAMES, NULL, NULL, "experts whose satisfaction is measured"},
    {"base", POEI_OPTION_TEXT, NULL, NULL, "a density every expert of `by` is multiplied with"},
    {"judge", POEI_OPTION_FILE, NULL, NULL,
     "a classifier that took no part in the composition; its labels stand for the experts of the same names"},
    {"reference", POEI_OPTION_FILE, NULL, NULL, "a fingerprint of data to measure distances to"},
    {"view", POEI_OPTION_TEXT, NULL, NULL, "the variable or derived variable that is judged and drawn as an image"},
    {"quantile", POEI_OPTION_NUMBER, NULL, "0.05",
     "an expert is satisfied above this quantile of its log-density under its own draws"},
    {"chains", POEI_OPTION_INTEGER, NULL, "4", "chains per target"},
    {"draws", POEI_OPTION_INTEGER, NULL, "1000", "draws per chain"},
    {"warmup", POEI_OPTION_INTEGER, NULL, "1000", "adaptation steps per chain"},
    {"thin", POEI_OPTION_INTEGER, NULL, "1", "steps per draw"},
    {"step_size", POEI_OPTION_NUMBER, NULL, NULL, "fixes the step size (default: adapted)"},
    {"leapfrog", POEI_OPTION_INTEGER, NULL, NULL, "leapfrog steps per proposal of hmc (default: adapted)"},
    {"method", POEI_OPTION_CHOICE, POEI_METHOD_CHOICES, "auto", "how to draw"},
    {"grid", POEI_OPTION_INTEGER, NULL, "10", "columns of the image grid"},
    {"save", POEI_OPTION_NAMES, NULL, NULL, "derived variables to keep beside the variables"},
    {"gate", POEI_OPTION_CHOICE, "fail|report", "fail", "whether a failed gate fails the command"},
    {"output", POEI_OPTION_FILE, NULL, NULL, "write the image grid to this file (png)"},
    {0},
};

static const poei_option bench_options[] = {
    {"rows", POEI_OPTION_INTEGER, NULL, NULL, "rows per evaluation (default: 1, 64 and 1024 in turn)"},
    {"grad", POEI_OPTION_FLAG, NULL, "false", "measure gradients only"},
    {"draws", POEI_OPTION_FLAG, NULL, "false", "measure exact draws too, of a target that has them (on one thread)"},
    {"peer", POEI_OPTION_CHOICE, "auto|pytorch|none", "auto",
     "time PyTorch on the same network beside it: when it is there, or it must be, or never"},
    {0},
};

static const poei_option verify_options[] = {
    {"points", POEI_OPTION_INTEGER, NULL, "20", "points at which gradients are compared"},
    {0},
};

static const poei_option info_options[] = {
    {"description", POEI_OPTION_FILE, NULL, NULL, "JSON file with the poe.* metadata of a state dict that has none"},
    {0},
};

static const poei_verb run_verb = {"run", "perform the file's actions", false, 0, 0, run_options};
static const poei_verb check_verb = {"check", "parse and type-check a file", false, 0, 0, no_options};
static const poei_verb explain_verb = {"explain",      "say how a target would be answered, and why", true, 0, 1,
                                       explain_options};
static const poei_verb score_verb = {"score", "log-densities at given points", true, 0, 1, score_options};
static const poei_verb logz_verb = {"logz", "log of the integral of a target, in nats", true, 0, 1, logz_options};
static const poei_verb sample_verb = {"sample", "draw from a target", true, 0, 1, sample_options};
static const poei_verb minimize_verb = {"minimize",      "find where a target is most probable: its modes", true, 0, 1,
                                        minimize_options};
static const poei_verb marginals_verb = {
    "marginals", "probabilities of the values of discrete variables", true, 0, 1, marginals_options};
static const poei_verb compare_verb = {"compare",      "measure which target satisfies which expert", true, 1, 64,
                                       compare_options};
static const poei_verb info_verb = {"info",      "say what a model file holds, without executing it", false, 1, 1,
                                    info_options};
static const poei_verb verify_verb = {
    "verify", "test a target: gradients, batches, draws against known truth", true, 0, 1, verify_options};
static const poei_verb bench_verb = {"bench", "measure the speed of a target here", true, 0, 1, bench_options};
static const poei_verb fmt_verb = {"fmt", "print a file in canonical form", false, 0, 0, no_options};

const poei_verb *const poei_verbs[] = {
    &run_verb,       &check_verb,   &explain_verb, &score_verb,  &logz_verb,  &sample_verb, &minimize_verb,
    &marginals_verb, &compare_verb, &info_verb,    &verify_verb, &bench_verb, &fmt_verb,    NULL,
};

const poei_verb *poei_verb_find(const char *name) {
  for (size_t i = 0; poei_verbs[i]; i++) {
    if (strcmp(poei_verbs[i]->name, name) == 0) {
      return poei_verbs[i];
    }
  }
  return NULL;
}

static bool same_option(const char *a, const char *b) {
  for (; *a && *b; a++, b++) {
    char ca = *a == '-' ? '_' : *a, cb = *b == '-' ? '_' : *b;
    if (ca != cb) {
      return false;
    }
  }
  return *a == *b;
}

const poei_option *poei_option_find(const poei_verb *verb, const char *name) {
  for (const poei_option *option = verb ? verb->options : no_options; option->name; option++) {
    if (same_option(option->name, name)) {
      return option;
    }
  }
  for (const poei_option *option = poei_common_options; option->name; option++) {
    if (same_option(option->name, name)) {
      return option;
    }
  }
  return NULL;
}

/* ---- the nearest word ---- */

enum { LONGEST_WORD = 63 };

static size_t smaller(size_t a, size_t b) {
  return a < b ? a : b;
}

/* Optimal string alignment distance of two words of at most LONGEST_WORD bytes. */
static size_t word_distance(const char *a, size_t na, const char *b, size_t nb) {
  size_t row[3][LONGEST_WORD + 1]; /* distances of the last two prefixes of a and the current one */
  size_t *before = row[0], *last = row[1], *now = row[2];
  for (size_t j = 0; j <= nb; j++) {
    last[j] = j;
    before[j] = j;
  }
  for (size_t i = 1; i <= na; i++) {
    now[0] = i;
    for (size_t j = 1; j <= nb; j++) {
      size_t best = smaller(last[j] + 1, now[j - 1] + 1);
      best = smaller(best, last[j - 1] + (a[i - 1] != b[j - 1]));
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        best = smaller(best, before[j - 2] + 1);
      }
      now[j] = best;
    }
    size_t *oldest = before;
    before = last;
    last = now;
    now = oldest;
  }
  return last[nb];
}

const char *poei_nearest_word(const char *word, size_t n, const char *const *words) {
  size_t length = strlen(word);
  if (length == 0 || length > LONGEST_WORD) {
    return NULL;
  }
  /* One slip in a short word, one in three letters of a longer one; never all of it. */
  size_t limit = length < 3 ? 1 : (length + 2) / 3;
  const char *nearest = NULL;
  size_t nearest_distance = limit + 1;
  for (size_t i = 0; i < n; i++) {
    size_t other = strlen(words[i]);
    if (other > LONGEST_WORD || other + limit < length || length + limit < other) {
      continue;
    }
    size_t distance = word_distance(word, length, words[i], other);
    if (distance > 0 && distance < nearest_distance && distance < smaller(length, other) + (length > 1)) {
      nearest = words[i];
      nearest_distance = distance;
    }
  }
  return nearest;
}
