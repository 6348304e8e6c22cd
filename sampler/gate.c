/* The gate: may these draws be trusted? (diagnostics.h)
 *
 * Up to 8 chains: split rank-normalised R-hat and bulk and tail ESS of 100 per chain. More: nested R-hat over 8
 * superchains (or the largest number below that divides the chains; plain R-hat when none does) and a total ESS of 400.
 * No divergence (for hmc: one that smaller steps do not mend, kernels/hmc.c); E-BFMI >= 0.3; everything finite;
 * something accepted; a biased kernel never passes.
 *
 * The limit of R-hat. If all chains sample the target, the means of the G groups that R-hat compares (2 per chain, or
 * 2 per superchain) are nearly independent with variance s^2 G / E, where E is the effective number of draws in all, so
 *   R-hat^2 - 1 ~ (G / E) chi^2_{G-1} / (G - 1) / (1 - G / E),
 * the last factor because the variance inside a group misses that of its mean. A fixed limit would fail good runs with
 * few draws or many coordinates; ours is max(1.01, the quantile of this law at 1 - 0.0005 / (2 d)), 2 d being the
 * number of R-hats looked at: about 0.05 % of good runs fail by R-hat, whatever their length. E must come from inside
 * the chains, or disagreement, which lowers the ESS, would excuse itself. But autocorrelations inside a chain of a few
 * effective draws are underestimated. So: where a half chain has 50 effective draws or more by its own
 * autocorrelations, those give E; elsewhere the ESS of all chains does, at least the ESS wanted. Where that ESS is
 * surely below the one wanted the run fails anyway, and the limit is 1.01 again, to say whether chains disagree.
 *
 * The ESS is an estimate as well, with a relative standard error of 20 to 30 % where it is near the one wanted
 * (ranks.h). A run fails when its ESS is below by more than two of them, which an estimate of 215 or less of 400 is.
 * Measured false alarms: see diagnostics.h. */
#include <stdarg.h>
#include <stdio.h>

#include "core/numerics.h"
#include "sampler/ranks.h"

enum { GATE_SUPERCHAINS = 8 };
#define GATE_RHAT 1.01
#define GATE_ESS_PER_CHAIN 100.0
#define GATE_ESS_TOTAL 400.0
#define GATE_EBFMI 0.3
#define GATE_RHAT_ALARM 0.0005
#define GATE_LONG 50.0  /* effective draws per half chain */
#define GATE_ERRORS 2.0 /* standard errors by which an ESS must miss */

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
static void
gate_fail(poei_gate *gate, const char *format, ...) {
  gate->passed = false;
  if (gate->n_reasons < POEI_GATE_MAX_REASONS) {
    va_list list;
    va_start(list, format);
    vsnprintf(gate->reasons[gate->n_reasons++], POEI_GATE_REASON_SIZE, format, list);
    va_end(list);
  }
}

/* The worst coordinate of one diagnostic. */
typedef struct gate_worst {
  size_t failed, where;
  double excess, value, limit; /* excess: by how much it fails, in its own units */
} gate_worst;

static void gate_note(gate_worst *worst, size_t where, double value, double limit, double excess) {
  if (excess <= 0.0) {
    return;
  }
  if (worst->failed++ == 0 || excess > worst->excess) {
    *worst = (gate_worst){.failed = worst->failed, .where = where, .excess = excess, .value = value, .limit = limit};
  }
}

/* The upper quantile of chi-square by bisection on its tail. */
static double gate_chi_square(double tail, double df) {
  double low = 0.0, high = df + 10.0;
  while (poei_chi_square_tail(high, df) > tail) {
    high *= 2.0;
  }
  for (int i = 0; i < 60; i++) {
    double middle = 0.5 * (low + high);
    *(poei_chi_square_tail(middle, df) > tail ? &low : &high) = middle;
  }
  return high;
}

double poei_gate_rhat_limit(size_t groups, double ess, size_t looks) {
  double g = (double)groups, share = g / ess;
  if (!(share < 0.5)) {
    share = 0.5; /* so few effective draws fail by their number */
  }
  double quantile = gate_chi_square(GATE_RHAT_ALARM / (double)looks, g - 1.0);
  return fmax(GATE_RHAT, sqrt(1.0 + share / (1.0 - share) * quantile / (g - 1.0)));
}

static size_t gate_superchains(size_t chains) {
  size_t k = GATE_SUPERCHAINS;
  while (chains % k != 0) {
    k--;
  }
  return k;
}

/* By how much an ESS is too small, more than its own error explains; 0 when it is not. NaN: wanted. */
static double gate_lack(double ess, double error, double wanted) {
  return isnan(ess) ? wanted : ess * exp(GATE_ERRORS * error) < wanted ? wanted - ess : 0.0;
}

typedef struct gate_checks {
  size_t superchains; /* 0: R-hat over chains */
  double ess_wanted;
  gate_worst rhat, bulk, tail;
} gate_checks;

/* R-hat and ESS of the filled half chains. `bulk`: this ESS must reach the wanted one. Where it does not, the run fails
 * whatever R-hat is, and 1.01 tells whether that is because chains disagree. */
static void gate_compare(poei_bench *bench, gate_checks *checks, size_t coordinate, size_t looks, bool bulk) {
  double rhat = checks->superchains > 0 ? poei_bench_nested_rhat(bench, checks->superchains) : poei_bench_rhat(bench);
  double ess = poei_bench_ess(bench), wanted = checks->ess_wanted;
  double lack = bulk ? gate_lack(ess, bench->error, wanted) : 0.0;
  size_t groups = 2 * (checks->superchains > 0 ? checks->superchains : bench->chains);
  double within = poei_bench_within_ess(bench), halves = 2.0 * (double)bench->chains;
  double limit = poei_gate_rhat_limit(groups, within >= GATE_LONG * halves ? within : fmax(ess, wanted), looks);
  limit = lack > 0.0 ? GATE_RHAT : limit;
  gate_note(&checks->rhat, coordinate, rhat, limit, rhat >= limit ? rhat - limit : 0.0); /* NaN: constant, no say */
  gate_note(&checks->bulk, coordinate, ess, wanted, lack);
}

static void gate_coordinate(poei_bench *bench, gate_checks *checks, size_t coordinate, size_t dim) {
  poei_bench_fill(bench, POEI_PART_FOLDED, 0.0);
  gate_compare(bench, checks, coordinate, 2 * dim, false);
  poei_bench_fill(bench, POEI_PART_BULK, 0.0);
  gate_compare(bench, checks, coordinate, 2 * dim, true);
  double wanted = checks->ess_wanted, tail = poei_bench_tail_ess(bench);
  gate_note(&checks->tail, coordinate, tail, wanted, isnan(tail) ? 0.0 : gate_lack(tail, bench->error, wanted));
}

static poe_status gate_coordinates(const poei_draws *draws, poei_gate *gate, poe_error *error) {
  size_t dim = draws->dim;
  bool many = draws->chains > GATE_SUPERCHAINS && gate_superchains(draws->chains) > 1;
  gate_checks checks = {.superchains = many ? gate_superchains(draws->chains) : 0,
                        .ess_wanted = draws->chains > GATE_SUPERCHAINS ? GATE_ESS_TOTAL
                                                                       : GATE_ESS_PER_CHAIN * (double)draws->chains};
  poei_bench bench;
  poe_status status = poei_bench_create(draws->chains, draws->draws, &bench, error);
  for (size_t j = 0; status == POE_OK && j < dim; j++) {
    poei_series series = {draws->x + j, draws->chains, draws->draws, draws->draws * dim, dim};
    if (poei_bench_load(&bench, series) == POEI_LOAD_VARIES) {
      gate_coordinate(&bench, &checks, j, dim);
    }
  }
  if (status != POE_OK) {
    return status;
  }
  poei_bench_free(&bench);
  if (checks.rhat.failed > 0) {
    gate_fail(gate,
              "%s is %.3f (limit %.3f) for coordinate %zu, and too large in %zu of %zu checks: chains disagree; run "
              "longer, or look for modes that chains do not leave",
              many ? "nested R-hat" : "R-hat", checks.rhat.value, checks.rhat.limit, checks.rhat.where,
              checks.rhat.failed, 2 * dim); /* bulk and folded */
  }
  if (checks.bulk.failed > 0) {
    gate_fail(gate, "bulk ESS is %.0f (wanted: %.0f) for coordinate %zu, and too small for %zu of %zu: draw more",
              checks.bulk.value, checks.bulk.limit, checks.bulk.where, checks.bulk.failed, dim);
  }
  if (checks.tail.failed > 0) {
    gate_fail(gate, "tail ESS is %.0f (wanted: %.0f) for coordinate %zu, and too small for %zu of %zu: draw more",
              checks.tail.value, checks.tail.limit, checks.tail.where, checks.tail.failed, dim);
  }
  return POE_OK;
}

/* False when a draw is not finite; the other checks are then void. */
static bool gate_finite(const poei_draws *draws, poei_gate *gate) {
  size_t rows = draws->chains * draws->draws;
  for (size_t k = 0; k < rows * draws->dim; k++) {
    if (!isfinite(draws->x[k])) {
      gate_fail(gate, "chain %zu, draw %zu, coordinate %zu is not finite", k / draws->dim / draws->draws,
                k / draws->dim % draws->draws, k % draws->dim);
      return false;
    }
  }
  return true;
}

static void gate_moves(const poei_draws *draws, poei_gate *gate) {
  size_t rows = draws->chains * draws->draws, diverging = 0, rated = 0;
  double accepted = 0.0;
  for (size_t k = 0; k < rows; k++) {
    diverging += draws->diverging[k] != 0;
    if (!isnan(draws->acceptance[k])) {
      rated++;
      accepted += draws->acceptance[k];
    }
  }
  if (diverging > 0) {
    gate_fail(gate,
              "%zu of %zu draws diverged: the density is too steep there for the step size; use a smaller one, "
              "or other coordinates",
              diverging, rows);
  }
  if (rated > 0 && accepted == 0.0) {
    gate_fail(gate, "no proposal was accepted: use a smaller step size");
  }
}

/* E-BFMI (Betancourt 2016): sum of squared changes of the energy over its squared deviations, in each chain, or in each
 * superchain where there are many (short) chains. */
static void gate_energy(const poei_draws *draws, poei_gate *gate) {
  size_t groups = draws->chains > GATE_SUPERCHAINS ? gate_superchains(draws->chains) : draws->chains;
  size_t members = draws->chains / groups, failed = 0;
  double worst = INFINITY;
  for (size_t g = 0; g < groups; g++) {
    double changes = 0.0, deviations = 0.0;
    for (size_t c = g * members; c < (g + 1) * members; c++) {
      const double *energy = draws->energy + c * draws->draws;
      double mean = poei_sum(energy, draws->draws) / (double)draws->draws;
      for (size_t s = 0; s < draws->draws; s++) {
        deviations += (energy[s] - mean) * (energy[s] - mean);
        changes += s > 0 ? (energy[s] - energy[s - 1]) * (energy[s] - energy[s - 1]) : 0.0;
      }
    }
    if (deviations > 0.0 && changes / deviations < GATE_EBFMI) { /* NaN: no energies */
      failed++;
      worst = fmin(worst, changes / deviations);
    }
  }
  if (failed > 0) {
    gate_fail(gate,
              "E-BFMI is %.2f (limit %.1f) in %zu of %zu groups of chains: momenta do not reach all energies; "
              "heavy tails need other coordinates",
              worst, GATE_EBFMI, failed, groups);
  }
}

poe_status poei_gate_run(const poei_draws *draws, bool exact, const char *biased, poei_gate *gate, poe_error *error) {
  *gate = (poei_gate){.passed = true};
  if (biased != NULL) {
    gate_fail(gate, "`%s` makes no correction for its step: its draws are biased", biased);
  }
  bool finite = gate_finite(draws, gate);
  if (exact || !finite) {
    return POE_OK;
  }
  if (draws->draws < 8) {
    gate_fail(gate, "%zu draws per chain are too few to judge: draw more", draws->draws);
    return POE_OK;
  }
  gate_moves(draws, gate);
  gate_energy(draws, gate);
  return gate_coordinates(draws, gate, error);
}
