/* Densities of one coordinate (conditionals.h).
 *
 * The discretised logistic mixture is that of Salimans, Karpathy, Chen and Kingma 2017 (PixelCNN++, equation 2), for
 * one channel: value v stands for the interval of width 2/(k-1) around 2 v/(k-1) - 1, the first and the last for all
 * beyond as well. With a = (low end - mean)/scale and b likewise, log(s(b) - s(a)) = log s(b) + log s(-a) + log(1 -
 * e^(a-b)) for the logistic function s: exact at any distance from the mean.
 */
#include "experts/conditionals.h"

#include <math.h>
#include <string.h>

#include "core/numerics.h"
#include "experts/states.h"

enum { CONDITIONAL_MOST_VALUES = 1 << 16, CONDITIONAL_MOST_COMPONENTS = 1 << 12 };

static const double log_two_pi = 1.8378770664093453;

/* ---- reading ---- */

static poe_status conditional_size(const json_t *output, const char *key, size_t least, size_t most, size_t *size,
                                   poe_error *error) {
  const json_t *value = json_object_get(output, key);
  if (!json_is_integer(value) || json_integer_value(value) < (json_int_t)least ||
      json_integer_value(value) > (json_int_t)most) {
    return poe_error_set(error, POE_E_FORMAT, "poe.output: '%s' must be an integer from %zu to %zu", key, least, most);
  }
  *size = (size_t)json_integer_value(value);
  return POE_OK;
}

/* Which keys an output has beside "op" and "layout". */
typedef struct conditional_rule {
  const char *word;
  poei_conditional_kind kind;
  bool values, components;
} conditional_rule;

static const conditional_rule conditional_rules[] = {
    {"bernoulli", POEI_CONDITIONAL_BERNOULLI, false, false},
    {"categorical", POEI_CONDITIONAL_CATEGORICAL, true, false},
    {"gaussian_mixture", POEI_CONDITIONAL_GAUSSIAN_MIXTURE, false, true},
    {"logistic_mixture", POEI_CONDITIONAL_LOGISTIC_MIXTURE, true, true},
};

static poe_status conditional_keys(const json_t *output, const conditional_rule *rule, poe_error *error) {
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)output, key, value) {
    bool known =
        strcmp(key, "op") == 0 || strcmp(key, "layout") == 0 || (rule->values && strcmp(key, "values") == 0) ||
        (rule->components && (strcmp(key, "components") == 0 || strcmp(key, "log_scale_min") == 0)) ||
        (rule->kind == POEI_CONDITIONAL_CATEGORICAL && (strcmp(key, "end") == 0 || strcmp(key, "padding") == 0));
    if (!known) {
      return poe_error_set(error, POE_E_FORMAT, "poe.output: '%s' has no '%.40s'", rule->word, key);
    }
  }
  return POE_OK;
}

/* "end" and "padding" of categorical coordinates. */
static poe_status conditional_end(const json_t *output, poei_conditional *made, poe_error *error) {
  size_t end = 0, padding = 0;
  made->ends = json_object_get(output, "end") != NULL;
  bool padded = json_object_get(output, "padding") != NULL;
  if (padded && !made->ends) {
    return poe_error_set(error, POE_E_FORMAT, "poe.output: 'padding' means something beside 'end' alone");
  }
  poe_status status = made->ends ? conditional_size(output, "end", 0, made->values - 1, &end, error) : POE_OK;
  if (status == POE_OK && padded) {
    status = conditional_size(output, "padding", 0, made->values - 1, &padding, error);
  }
  made->end = (double)end;
  made->padding = padded ? (double)padding : made->end;
  return status;
}

poe_status poei_conditional_read(const json_t *output, poei_conditional *conditional, poe_error *error) {
  const char *word = json_string_value(json_object_get(output, "op"));
  const conditional_rule *rule = NULL;
  for (size_t i = 0; word != NULL && i < sizeof conditional_rules / sizeof *conditional_rules; i++) {
    rule = strcmp(word, conditional_rules[i].word) == 0 ? &conditional_rules[i] : rule;
  }
  if (rule == NULL) {
    poe_status status = poe_error_set(error, POE_E_FORMAT, "poe.output has no 'op' that is known");
    poe_error_hint(error, "known are bernoulli, categorical, gaussian_mixture and logistic_mixture");
    return status;
  }
  poei_conditional made = {.kind = rule->kind, .components = 1, .log_scale_min = -INFINITY};
  poe_status status = conditional_keys(output, rule, error);
  if (status == POE_OK && rule->values) {
    status = conditional_size(output, "values", 2, CONDITIONAL_MOST_VALUES, &made.values, error);
  }
  if (status == POE_OK && rule->components) {
    status = conditional_size(output, "components", 1, CONDITIONAL_MOST_COMPONENTS, &made.components, error);
  }
  status = status == POE_OK ? conditional_end(output, &made, error) : status;
  const json_t *least = json_object_get(output, "log_scale_min");
  if (status == POE_OK && least != NULL) {
    made.log_scale_min = json_number_value(least);
    if (!json_is_number(least)) {
      status = poe_error_set(error, POE_E_FORMAT, "poe.output: 'log_scale_min' must be a number");
    }
  }
  if (status != POE_OK) {
    return status;
  }
  made.parameters = rule->components ? made.components * (made.components == 1 ? 2 : 3)
                    : rule->values   ? made.values
                                     : 1;
  made.values = rule->kind == POEI_CONDITIONAL_BERNOULLI ? 2 : made.values;
  *conditional = made;
  return POE_OK;
}

/* ---- mixtures ---- */

/* Where the numbers of component c are; log_weight is minus the logarithm of the sum over the logits. */
typedef struct conditional_mixture {
  const double *logit; /* [m], NULL for one component */
  const double *mean, *log_scale;
  double log_total;
} conditional_mixture;

static conditional_mixture conditional_open(const poei_conditional *conditional, const double *t) {
  size_t m = conditional->components, first = m == 1 ? 0 : m;
  conditional_mixture mixture = {.logit = m == 1 ? NULL : t, .mean = t + first, .log_scale = t + first + m};
  mixture.log_total = m == 1 ? 0.0 : poei_log_sum_exp(t, m, 1);
  return mixture;
}

static double conditional_log_scale(const poei_conditional *conditional, const conditional_mixture *mixture, size_t c) {
  return fmax(mixture->log_scale[c], conditional->log_scale_min);
}

/* A component's log density at x, with its derivatives in mean, log scale and x. */
static double gaussian_component(double mean, double log_sd, double x, double d[3]) {
  double z = (x - mean) * exp(-log_sd);
  d[0] = z * exp(-log_sd);
  d[1] = z * z - 1.0;
  d[2] = -d[0];
  return -0.5 * (z * z + log_two_pi) - log_sd;
}

/* 1/(1 + e^-v) without overflow. */
static double logistic(double v) {
  return v >= 0.0 ? 1.0 / (1.0 + exp(-v)) : exp(v) / (1.0 + exp(v));
}

/* The log-probability of value v of k; derivatives in mean and log scale. */
static double logistic_component(double mean, double log_scale, size_t v, size_t k, double d[3]) {
  double width = 2.0 / (double)(k - 1), center = (double)v * width - 1.0, inverse = exp(-log_scale);
  double a = (center - 0.5 * width - mean) * inverse, b = (center + 0.5 * width - mean) * inverse;
  bool first = v == 0, last = v == k - 1;
  double log_p = (last ? 0.0 : -poei_softplus(-b)) - (first ? 0.0 : poei_softplus(a));
  double da = first ? 0.0 : -logistic(a), db = last ? 0.0 : logistic(-b); /* of the terms above */
  if (!first && !last) {
    double gap = a - b, share = 1.0 / expm1(-gap); /* d log(1 - e^(a-b)) / da = -1 / (e^(b-a) - 1) */
    log_p += log(-expm1(gap));
    da -= share;
    db += share;
  }
  d[0] = -(da + db) * inverse;
  d[1] = (first ? 0.0 : -a * da) + (last ? 0.0 : -b * db);
  d[2] = 0.0;
  return log_p;
}

static double conditional_component(const poei_conditional *conditional, const conditional_mixture *mixture, size_t c,
                                    double x, double d[3]) {
  double log_scale = conditional_log_scale(conditional, mixture, c);
  double value = conditional->kind == POEI_CONDITIONAL_GAUSSIAN_MIXTURE
                     ? gaussian_component(mixture->mean[c], log_scale, x, d)
                     : logistic_component(mixture->mean[c], log_scale, (size_t)x, conditional->values, d);
  d[1] = mixture->log_scale[c] < conditional->log_scale_min ? 0.0 : d[1];
  return value + (mixture->logit == NULL ? 0.0 : mixture->logit[c] - mixture->log_total);
}

/* Two passes: the sum over the components, then each one's share in the derivatives. */
static double conditional_mixed(const poei_conditional *conditional, const double *t, double x, double *dt,
                                double *dx) {
  conditional_mixture mixture = conditional_open(conditional, t);
  size_t m = conditional->components, first = m == 1 ? 0 : m;
  double sum = -INFINITY, d[3], slope = 0.0;
  for (size_t c = 0; c < m; c++) {
    sum = poei_log_add(sum, conditional_component(conditional, &mixture, c, x, d));
  }
  for (size_t c = 0; c < m && dt != NULL; c++) {
    double share = sum == -INFINITY ? 0.0 : exp(conditional_component(conditional, &mixture, c, x, d) - sum);
    if (mixture.logit != NULL) {
      dt[c] = share - exp(mixture.logit[c] - mixture.log_total);
    }
    dt[first + c] = share == 0.0 ? 0.0 : share * d[0];
    dt[first + m + c] = share == 0.0 ? 0.0 : share * d[1];
    slope += share == 0.0 ? 0.0 : share * d[2];
  }
  if (dx != NULL) {
    *dx = slope;
  }
  return sum;
}

/* ---- all kinds ---- */

static double conditional_bernoulli(double logit, size_t value, double *dt) {
  if (dt != NULL) {
    dt[0] = (double)value - logistic(logit);
  }
  return value == 1 ? -poei_softplus(-logit) : -poei_softplus(logit);
}

static double conditional_categorical(const double *t, size_t k, size_t value, double *dt) {
  double total = poei_log_sum_exp(t, k, 1);
  for (size_t i = 0; i < k && dt != NULL; i++) {
    dt[i] = (i == value ? 1.0 : 0.0) - exp(t[i] - total);
  }
  return t[value] - total;
}

double poei_conditional_log_p(const poei_conditional *conditional, const double *t, double x, double *dt, double *dx) {
  size_t k = conditional->values, value = k == 0 ? 0 : poei_state_index(x, 0.0, k);
  if (dx != NULL) {
    *dx = 0.0;
  }
  if (isnan(x) || (k > 0 && value == k)) {
    if (dt != NULL) {
      memset(dt, 0, conditional->parameters * sizeof *dt);
    }
    return isnan(x) ? NAN : -INFINITY;
  }
  switch (conditional->kind) {
  case POEI_CONDITIONAL_BERNOULLI:
    return conditional_bernoulli(t[0], value, dt);
  case POEI_CONDITIONAL_CATEGORICAL:
    return conditional_categorical(t, k, value, dt);
  default:
    return conditional_mixed(conditional, t, x, dt, dx);
  }
}

double poei_conditional_log_padding(const poei_conditional *conditional, double x) {
  return isnan(x) ? NAN : x == conditional->padding ? 0.0 : -INFINITY;
}

void poei_conditional_table(const poei_conditional *conditional, const double *t, double *log_p) {
  size_t k = conditional->values;
  if (conditional->kind == POEI_CONDITIONAL_CATEGORICAL) {
    double total = poei_log_sum_exp(t, k, 1);
    for (size_t v = 0; v < k; v++) {
      log_p[v] = t[v] - total;
    }
    return;
  }
  for (size_t v = 0; v < k; v++) {
    log_p[v] = poei_conditional_log_p(conditional, t, (double)v, NULL, NULL);
  }
}

/* Of n logits, by the largest of logit + Gumbel noise (Gumbel 1954): no sum is needed, and no array. */
static size_t conditional_draw_logits(const double *logit, size_t n, poe_stream *stream) {
  size_t best = 0;
  double most = -INFINITY;
  for (size_t i = 0; i < n; i++) {
    double noisy = logit[i] - log(poe_stream_exponential(stream));
    if (noisy > most) {
      most = noisy;
      best = i;
    }
  }
  return best;
}

double poei_conditional_draw(const poei_conditional *conditional, const double *t, poe_stream *stream) {
  if (conditional->kind == POEI_CONDITIONAL_BERNOULLI) {
    return poe_stream_uniform(stream) < logistic(t[0]) ? 1.0 : 0.0;
  }
  if (conditional->kind == POEI_CONDITIONAL_CATEGORICAL) {
    return (double)conditional_draw_logits(t, conditional->values, stream);
  }
  conditional_mixture mixture = conditional_open(conditional, t);
  size_t m = conditional->components, c = m == 1 ? 0 : conditional_draw_logits(t, m, stream);
  double scale = exp(conditional_log_scale(conditional, &mixture, c));
  if (conditional->kind == POEI_CONDITIONAL_GAUSSIAN_MIXTURE) {
    return mixture.mean[c] + scale * poe_stream_normal(stream);
  }
  double u = poe_stream_uniform(stream), k = (double)conditional->values - 1.0;
  double x = mixture.mean[c] + scale * (log(u) - log1p(-u)); /* a logistic variable, to the nearest value */
  return fmin(fmax(floor((x + 1.0) * 0.5 * k + 0.5), 0.0), k);
}
