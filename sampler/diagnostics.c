/* The diagnostics of one quantity (diagnostics.h): ranks and folding, and the public functions.
 *
 * Vehtari, Gelman, Simpson, Carpenter and Buerkner 2021: chains are split in halves; values are replaced by the normal
 * scores of their pooled ranks, Phi^-1((r - 3/8) / (S + 1/4)), ties sharing their mean rank (equation 14); R-hat is the
 * larger of that of the scores and of the scores of |x - median| (section 3.1); bulk ESS is that of the scores, tail
 * ESS the smaller of those of the indicators x <= 5 % and x <= 95 % quantile (section 3.3). */
#include <string.h>

#include "core/alloc.h"
#include "core/numerics.h"
#include "sampler/ranks.h"

poe_status poei_bench_create(size_t chains, size_t draws, poei_bench *bench, poe_error *error) {
  size_t size, bytes;
  poei_bench made = {.chains = chains, .draws = draws, .half = draws / 2};
  if (chains == 0 || draws == 0) {
    return poe_error_set(error, POE_E_SHAPE, "there are no draws to diagnose");
  }
  if (poei_mul_size(chains, draws, &size) && poei_mul_size(size, sizeof *made.order, &bytes) && chains < SIZE_MAX / 2) {
    made.x = poei_alloc(size, sizeof(double));
    made.sorted = poei_alloc(size, sizeof(double));
    made.part = poei_alloc(size, sizeof(double));
    made.rho = poei_alloc(made.half + 2, sizeof(double));
    made.mean = poei_alloc(2 * chains, sizeof(double));
    made.score = poei_calloc(size, sizeof(double));
    made.order = poei_alloc(size, sizeof *made.order);
    made.spare = poei_alloc(size, sizeof *made.spare);
  }
  if (made.x == NULL || made.sorted == NULL || made.part == NULL || made.rho == NULL || made.mean == NULL ||
      made.score == NULL || made.order == NULL || made.spare == NULL) {
    poei_bench_free(&made);
    return poe_error_set(error, POE_E_MEMORY, "out of memory to diagnose %zu chains of %zu draws", chains, draws);
  }
  *bench = made;
  return POE_OK;
}

void poei_bench_free(poei_bench *bench) {
  poei_free(bench->x);
  poei_free(bench->sorted);
  poei_free(bench->part);
  poei_free(bench->rho);
  poei_free(bench->mean);
  poei_free(bench->score);
  poei_free(bench->order);
  poei_free(bench->spare);
  *bench = (poei_bench){0};
}

/* Merge sort of bench->order by value, ascending and stable; bench->spare is its second array. */
static void bench_sort(poei_bench *bench, size_t n) {
  for (size_t width = 1; width < n; width *= 2) {
    poei_ranked *from = bench->order, *to = bench->spare;
    for (size_t begin = 0; begin < n; begin += 2 * width) {
      size_t middle = begin + width < n ? begin + width : n, end = middle + width < n ? middle + width : n;
      size_t left = begin, right = middle;
      for (size_t k = begin; k < end; k++) {
        bool takes_left = right == end || (left < middle && from[left].value <= from[right].value);
        to[k] = takes_left ? from[left++] : from[right++];
      }
    }
    bench->order = to;
    bench->spare = from;
  }
}

poei_load poei_bench_load(poei_bench *bench, poei_series series) {
  size_t size = bench->chains * bench->draws;
  bool finite = true;
  for (size_t c = 0; c < bench->chains; c++) {
    for (size_t s = 0; s < bench->draws; s++) {
      double value = series.x[c * series.stride_chain + s * series.stride_draw];
      size_t k = c * bench->draws + s;
      finite = finite && isfinite(value);
      bench->x[k] = value;
      bench->order[k] = (poei_ranked){.value = value, .index = k};
    }
  }
  if (!finite) {
    return POEI_LOAD_NOT_FINITE;
  }
  bench_sort(bench, size);
  for (size_t k = 0; k < size; k++) {
    bench->sorted[k] = bench->order[k].value;
  }
  return bench->sorted[0] < bench->sorted[size - 1] ? POEI_LOAD_VARIES : POEI_LOAD_CONSTANT;
}

double poei_bench_quantile(const poei_bench *bench, double probability) {
  size_t size = bench->chains * bench->draws;
  double place = 1.0 + (double)(size - 1) * probability, share = place - floor(place);
  size_t below = (size_t)place - 1, above = below + 1 < size ? below + 1 : below;
  double low = bench->sorted[below], high = bench->sorted[above];
  return share > 0.0 && low != high ? (1.0 - share) * low + share * high : low;
}

/* Where number k of x is in `part`, SIZE_MAX for an odd middle draw. First halves come first, as chains 0.., second
 * halves after them. */
static size_t bench_place(const poei_bench *bench, size_t k) {
  size_t chain = k / bench->draws, draw = k % bench->draws, half = bench->half, second = bench->draws - half;
  if (draw < half) {
    return chain * half + draw;
  }
  return draw >= second ? (bench->chains + chain) * half + (draw - second) : SIZE_MAX;
}

static double bench_score(double rank, size_t n) {
  return poei_normal_quantile((rank - 0.375) / ((double)n + 0.25));
}

/* The scores of whole ranks, once for all quantities; they are symmetric. */
static void bench_score_table(poei_bench *bench, size_t n) {
  if (n > 0 && bench->score[0] == 0.0) {
    for (size_t k = 0; k < n / 2; k++) { /* n is even */
      bench->score[k] = bench_score((double)(k + 1), n);
      bench->score[n - 1 - k] = -bench->score[k];
    }
  }
}

/* part = normal scores of the ranks of the values in `order` (all of them, ascending), among those with a place. */
static void bench_scores(poei_bench *bench, const poei_ranked *order) {
  size_t size = bench->chains * bench->draws, n = 2 * bench->chains * bench->half, ranked = 0;
  bench_score_table(bench, n);
  for (size_t first = 0, last; first < size; first = last) {
    size_t tied = 0;
    for (last = first; last < size && order[last].value == order[first].value; last++) {
      tied += bench_place(bench, order[last].index) != SIZE_MAX;
    }
    /* the mean of the ranks ranked + 1 .. ranked + tied */
    double score = tied == 1 ? bench->score[ranked] : bench_score((double)ranked + 0.5 * (double)(tied + 1), n);
    ranked += tied;
    for (size_t k = first; k < last; k++) {
      size_t place = bench_place(bench, order[k].index);
      if (place != SIZE_MAX) {
        bench->part[place] = score;
      }
    }
  }
}

/* spare = |x - median| in ascending order, by merging the values below the median, backwards, with those above. */
static void bench_fold(poei_bench *bench) {
  size_t size = bench->chains * bench->draws, right = 0;
  double median = poei_bench_quantile(bench, 0.5);
  while (right < size && bench->order[right].value < median) {
    right++;
  }
  size_t left = right; /* one past the next value below */
  for (size_t k = 0; k < size; k++) {
    double below = left > 0 ? median - bench->order[left - 1].value : INFINITY;
    double above = right < size ? bench->order[right].value - median : INFINITY;
    bool takes_right = right < size && (left == 0 || above <= below);
    size_t from = takes_right ? right++ : --left;
    bench->spare[k] = (poei_ranked){.value = takes_right ? above : below, .index = bench->order[from].index};
  }
}

void poei_bench_fill(poei_bench *bench, poei_part part, double probability) {
  size_t size = bench->chains * bench->draws, n = 2 * bench->chains * bench->half;
  if (part == POEI_PART_FOLDED) {
    bench_fold(bench);
    bench_scores(bench, bench->spare);
  } else if (part == POEI_PART_BULK) {
    bench_scores(bench, bench->order);
  } else {
    double limit = part == POEI_PART_BELOW ? poei_bench_quantile(bench, probability) : 0.0;
    for (size_t k = 0; k < size; k++) {
      size_t place = bench_place(bench, k);
      if (place != SIZE_MAX) {
        bench->part[place] = part == POEI_PART_PLAIN ? bench->x[k] : bench->x[k] <= limit ? 1.0 : 0.0;
      }
    }
  }
  bench->centred = false;
  bench->constant = true;
  for (size_t k = 1; k < n && bench->constant; k++) {
    bench->constant = bench->part[k] == bench->part[0];
  }
}

/* ---- one quantity ---- */

static double bench_filled_ess(poei_bench *bench, poei_part part, double probability) {
  poei_bench_fill(bench, part, probability);
  return poei_bench_ess(bench);
}

static double bench_full_rhat(poei_bench *bench) {
  poei_bench_fill(bench, POEI_PART_BULK, 0.0);
  double bulk = poei_bench_rhat(bench);
  poei_bench_fill(bench, POEI_PART_FOLDED, 0.0);
  double folded = poei_bench_rhat(bench);
  return isnan(bulk) || isnan(folded) ? NAN : fmax(bulk, folded);
}

double poei_bench_tail_ess(poei_bench *bench) {
  double low = bench_filled_ess(bench, POEI_PART_BELOW, 0.05), error = bench->error;
  double high = bench_filled_ess(bench, POEI_PART_BELOW, 0.95);
  bench->error = low < high || isnan(high) ? error : bench->error;
  return fmin(low, high); /* a constant indicator (NaN) has no say */
}

static double series_mean(const poei_bench *bench) {
  size_t size = bench->chains * bench->draws;
  return poei_sum(bench->x, size) / (double)size;
}

static double series_sd(const poei_bench *bench, double mean) {
  size_t size = bench->chains * bench->draws;
  double sum = 0.0;
  for (size_t k = 0; k < size; k++) {
    sum += (bench->x[k] - mean) * (bench->x[k] - mean);
  }
  return sqrt(sum / (double)(size - 1));
}

poe_status poei_summarise(poei_series series, poei_summary *summary, poe_error *error) {
  poei_bench bench;
  poe_status status = poei_bench_create(series.chains, series.draws, &bench, error);
  if (status != POE_OK) {
    return status;
  }
  *summary = (poei_summary){NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
  poei_load load = poei_bench_load(&bench, series);
  if (load == POEI_LOAD_VARIES) {
    summary->mean = series_mean(&bench);
    summary->sd = series_sd(&bench, summary->mean);
    summary->mcse_mean = summary->sd / sqrt(bench_filled_ess(&bench, POEI_PART_PLAIN, 0.0));
    summary->q5 = poei_bench_quantile(&bench, 0.05);
    summary->median = poei_bench_quantile(&bench, 0.5);
    summary->q95 = poei_bench_quantile(&bench, 0.95);
    summary->rhat = bench_full_rhat(&bench);
    summary->ess_bulk = bench_filled_ess(&bench, POEI_PART_BULK, 0.0);
    summary->ess_tail = poei_bench_tail_ess(&bench);
  } else if (load == POEI_LOAD_CONSTANT) {
    summary->mean = summary->q5 = summary->median = summary->q95 = bench.x[0];
    summary->sd = 0.0;
  }
  poei_bench_free(&bench);
  return POE_OK;
}

/* What the functions that return one number share. */
static poe_status series_number(poei_series series, double (*number)(poei_bench *bench, double argument),
                                double argument, double *out, poe_error *error) {
  poei_bench bench;
  poe_status status = poei_bench_create(series.chains, series.draws, &bench, error);
  if (status == POE_OK) {
    *out = poei_bench_load(&bench, series) == POEI_LOAD_VARIES ? number(&bench, argument) : NAN;
    poei_bench_free(&bench);
  }
  return status;
}

static double number_rhat(poei_bench *bench, double argument) {
  (void)argument;
  return bench_full_rhat(bench);
}

static double number_nested(poei_bench *bench, double argument) {
  poei_bench_fill(bench, POEI_PART_BULK, 0.0);
  double bulk = poei_bench_nested_rhat(bench, (size_t)argument);
  poei_bench_fill(bench, POEI_PART_FOLDED, 0.0);
  double folded = poei_bench_nested_rhat(bench, (size_t)argument);
  return isnan(bulk) || isnan(folded) ? NAN : fmax(bulk, folded);
}

static double number_mean(poei_bench *bench, double argument) {
  return bench_filled_ess(bench, POEI_PART_PLAIN, argument);
}

static double number_bulk(poei_bench *bench, double argument) {
  return bench_filled_ess(bench, POEI_PART_BULK, argument);
}

static double number_tail(poei_bench *bench, double argument) {
  (void)argument;
  return poei_bench_tail_ess(bench);
}

static double number_quantile(poei_bench *bench, double probability) {
  return bench_filled_ess(bench, POEI_PART_BELOW, probability);
}

poe_status poei_rhat(poei_series series, double *rhat, poe_error *error) {
  return series_number(series, number_rhat, 0.0, rhat, error);
}

poe_status poei_nested_rhat(poei_series series, size_t superchains, double *rhat, poe_error *error) {
  if (superchains < 2 || superchains > 32 || series.chains % superchains != 0) {
    return poe_error_set(error, POE_E_USAGE, "%zu chains cannot be put into %zu equal superchains (2 to 32)",
                         series.chains, superchains);
  }
  return series_number(series, number_nested, (double)superchains, rhat, error);
}

poe_status poei_ess_mean(poei_series series, double *ess, poe_error *error) {
  return series_number(series, number_mean, 0.0, ess, error);
}

poe_status poei_ess_bulk(poei_series series, double *ess, poe_error *error) {
  return series_number(series, number_bulk, 0.0, ess, error);
}

poe_status poei_ess_tail(poei_series series, double *ess, poe_error *error) {
  return series_number(series, number_tail, 0.0, ess, error);
}

poe_status poei_ess_quantile(poei_series series, double probability, double *ess, poe_error *error) {
  if (!(probability > 0.0 && probability < 1.0)) {
    return poe_error_set(error, POE_E_USAGE, "a quantile needs a probability between 0 and 1");
  }
  return series_number(series, number_quantile, probability, ess, error);
}
