/* Whether the path of sequential Monte Carlo still gets anywhere (smc.h).
 *
 * Where int base rest^beta diverges from some beta < 1 on, the particles follow what they find of it: outwards, until
 * their spread means nothing, or up a slope on which every step of beta is shorter than the last. Neither proves that
 * the target has no finite integral; both mean that its estimate would be worthless, and that beta = 1 is out of reach.
 *
 *   runaway   a coordinate spreads SMC_GROWTH times as wide as after the first temperature
 *   stall     over SMC_WINDOW temperatures beta moved by less than SMC_PACE of itself and of what is left: at that pace
 *             more than ten times SMC_MOST_TEMPERATURES would be needed */
#include "sampler/smc.h"

#include <math.h>

enum { SMC_MOST_TEMPERATURES = 10000, SMC_WINDOW = 25 };
#define SMC_GROWTH 1e6
#define SMC_WIDE 100.0    /* names the coordinate of a stall */
#define SMC_NARROW 1e-180 /* variances below are those of particles that are all the same */
#define SMC_PACE (SMC_WINDOW / (10.0 * SMC_MOST_TEMPERATURES))

/* How many times wider the particles spread than after the first temperature, along the coordinate where that is most.
 */
static double smc_growth(const poei_smc *smc, size_t *coordinate) {
  double most = 0.0;
  for (size_t j = 0; j < smc->d; j++) {
    double growth = smc->metric[j] / smc->first_metric[j];
    if (growth > most && smc->first_metric[j] > SMC_NARROW) {
      most = growth;
      *coordinate = j;
    }
  }
  return sqrt(most);
}

static poe_status smc_runaway(const poei_smc *smc, double growth, size_t coordinate, poe_error *error) {
  poei_trouble *trouble = smc->options.trouble;
  if (trouble != NULL) {
    trouble->has_coordinate = true;
    trouble->coordinate = coordinate;
  }
  poe_error_set(error, POE_E_NUMERIC,
                "the particles run away along coordinate %zu: at %.3g %% of the path they spread %.2g times as wide as "
                "at its start",
                coordinate, 100.0 * smc->beta, growth);
  poe_error_hint(error, "the density seems to have no finite integral: multiply it by a prior that holds it");
  return POE_E_NUMERIC;
}

poe_status poei_smc_check_path(poei_smc *smc, poe_error *error) {
  size_t coordinate = 0;
  double growth = smc_growth(smc, &coordinate);
  if (growth > SMC_GROWTH) {
    return smc_runaway(smc, growth, coordinate, error);
  }
  if (smc->temperatures % SMC_WINDOW == 0 && smc->beta < 1.0) {
    double moved = smc->beta - smc->mark, left = 1.0 - smc->beta;
    if (moved < SMC_PACE * fmin(smc->beta, left)) {
      if (growth > SMC_WIDE) {
        return smc_runaway(smc, growth, coordinate, error);
      }
      poe_error_set(error, POE_E_NUMERIC, "the path stalls at %.3g %% of its length, after %zu temperatures",
                    100.0 * smc->beta, smc->temperatures);
      poe_error_hint(error, "the density seems to grow without bound (is its sign right?), or lies far from there");
      return POE_E_NUMERIC;
    }
    smc->mark = smc->beta;
  }
  if (smc->temperatures >= SMC_MOST_TEMPERATURES && smc->beta < 1.0) {
    poe_error_set(error, POE_E_NUMERIC, "the path needs more than %d temperatures", SMC_MOST_TEMPERATURES);
    poe_error_hint(error, "start from an expert nearer to the target");
    return POE_E_NUMERIC;
  }
  return POE_OK;
}
