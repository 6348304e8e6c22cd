/* `coupling` and `autoregressive`: coordinates sent through increasing curves (experts/flow_curve.h) whose parameters a
 * network computes from other coordinates.
 *
 *   coupling        noise_B = T(data_B; N(data_A)), noise_A = data_A
 *   autoregressive  noise_j = T(data_j; N(data)_j), N(data)_j a function of the coordinates before j   (MAF)
 *     from noise    noise_j = T(data_j; N(noise)_j)                                                    (IAF)
 *   inverse         T^-1 in the place of T
 *
 * One direction has what the network reads and takes one pass of it; in the other the coordinates come out level by
 * level (a level depends on lower ones alone), a pass for each. The gradient of that runs through the same levels
 * backwards. A coupling has a single level in both directions.
 *
 * Dinh, Sohl-Dickstein and Bengio 2017; Papamakarios, Pavlakou and Murray 2017 (MAF); Kingma et al. 2016 (IAF).
 */
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "experts/flow_conditioned.h"

static void conditioned_destroy(void *self) {
  poei_conditioned *c = self;
  if (c != NULL) {
    poei_net_release(c->net);
    poei_free(c->in);
    poei_free(c->off);
    poei_free(c->out);
    poei_free(c->slot);
    poei_free(c->level);
    poei_free(c);
  }
}

/* ---- one coordinate ---- */

static void conditioned_theta(const poei_conditioned *c, const double *row, size_t k, double *theta) {
  const double *from = row + poei_conditioned_place(c, k);
  for (size_t p = 0; p < c->curve.parameters; p++) {
    theta[p] = from[p * c->inner];
  }
}

/* v through the k-th column's curve, to noise or to data; *log_det is the log slope of that way. */
static double conditioned_cross(const poei_conditioned *c, bool to_noise, double v, const double *row, size_t k,
                                double *log_det) {
  double theta[POEI_CURVE_MAX_PARAMETERS];
  conditioned_theta(c, row, k, theta);
  if (to_noise != c->inverse) {
    poei_curve_point point = poei_curve_at(&c->curve, v, theta, NULL, NULL);
    *log_det = point.log_slope;
    return point.value;
  }
  double result = poei_curve_solve(&c->curve, v, theta, log_det);
  *log_det = -*log_det;
  return result;
}

/* From g, the gradient at the noise: the gradient at the data, and that of the network's outputs in seeds. `argument`
 * is where the curve was taken: the data, or with `inverse` the noise. */
static double conditioned_back(const poei_conditioned *c, double argument, const double *row, size_t k, double g,
                               double *seeds) {
  double theta[POEI_CURVE_MAX_PARAMETERS], value[POEI_CURVE_MAX_PARAMETERS], slope[POEI_CURVE_MAX_PARAMETERS];
  conditioned_theta(c, row, k, theta);
  poei_curve_point point = poei_curve_at(&c->curve, argument, theta, value, slope);
  double *to = seeds + poei_conditioned_place(c, k), sign = c->inverse ? -1.0 : 1.0;
  double back = c->inverse ? (g - point.bend) * exp(-point.log_slope) : g * exp(point.log_slope) + point.bend;
  double at_curve = c->inverse ? back : g;
  for (size_t p = 0; p < c->curve.parameters; p++) {
    to[p * c->inner] = sign * (at_curve * value[p] + slope[p]);
  }
  return back;
}

/* ---- rows ---- */

/* What the network reads of x[n, d], into read[n, n_in]. */
static void conditioned_gather(const poei_conditioned *c, size_t n, size_t d, const double *x, double *read) {
  for (size_t i = 0; i < n; i++) {
    for (size_t k = 0; k < c->n_in; k++) {
      read[i * c->n_in + k] = c->off[k] ? 0.0 : x[i * d + c->in[k]];
    }
  }
}

/* x[n, d] across the layer level by level. read[n, n_in]: what the network reads, completed here when the layer is
 * sequential; theta[n, outputs] is the network's output at the end. log_p NULL: not wanted. */
static void conditioned_solve(const poei_conditioned *c, bool to_noise, poei_flow_pass *pass, double *log_p,
                              double *read, double *theta) {
  size_t width = poei_net_out_dim(c->net), n = pass->n;
  for (size_t level = 0; level < c->passes; level++) {
    poei_net_eval(c->net, (poe_rows){n, c->n_in, c->n_in, read}, theta, width, pass->scratch);
    for (size_t i = 0; i < n; i++) {
      for (size_t k = 0; k < c->n_out; k++) {
        if (c->level[k] != level) {
          continue;
        }
        double log_det, *x = &pass->x[i * pass->d + c->out[k]];
        *x = conditioned_cross(c, to_noise, *x, theta + i * width, k, &log_det);
        if (log_p != NULL) {
          log_p[i] += log_det;
        }
        if (c->sequential) {
          read[i * c->n_in + k] = *x;
        }
      }
    }
  }
}

/* All columns at once, to noise, with the network's output at hand; kept[n, n_out] (may be NULL) gets the curves'
 * arguments. */
static void conditioned_ahead(const poei_conditioned *c, poei_flow_pass *pass, const double *theta, double *kept) {
  size_t width = poei_net_out_dim(c->net);
  for (size_t i = 0; i < pass->n; i++) {
    for (size_t k = 0; k < c->n_out; k++) {
      double log_det, *x = &pass->x[i * pass->d + c->out[k]], before = *x;
      *x = conditioned_cross(c, true, before, theta + i * width, k, &log_det);
      pass->log_p[i] += log_det;
      if (kept != NULL) {
        kept[i * c->n_out + k] = c->inverse ? *x : before;
      }
    }
  }
}

/* ---- the network reads the data: one pass each way ---- */

typedef struct conditioned_call {
  const poei_conditioned *c;
  poei_flow_pass *pass;
  double *kept; /* [n, n_out] */
} conditioned_call;

/* Between the network's forward and backward pass lies the rest of the flow. */
static poe_status conditioned_pull(void *context, poe_rows y, double *dy, poe_scratch *scratch, poe_error *error) {
  (void)scratch;
  const conditioned_call *call = context;
  const poei_conditioned *c = call->c;
  poei_flow_pass *pass = call->pass;
  conditioned_ahead(c, pass, y.x, call->kept);
  poe_status status = poei_flow_rest(pass, error);
  memset(dy, 0, y.n * y.d * sizeof *dy); /* outputs of a masked coupling that nothing uses */
  for (size_t i = 0; status == POE_OK && i < y.n; i++) {
    for (size_t k = 0; k < c->n_out; k++) {
      double *g = &pass->grad[i * pass->d + c->out[k]];
      *g = conditioned_back(c, call->kept[i * c->n_out + k], y.x + i * y.ld, k, *g, dy + i * y.d);
    }
  }
  return status;
}

static poe_status conditioned_apply_data(const poei_conditioned *c, poei_flow_pass *pass, poe_error *error) {
  size_t mark = poe_scratch_mark(pass->scratch), n = pass->n, width = poei_net_out_dim(c->net);
  double *read = poe_scratch_doubles(pass->scratch, n * c->n_in);
  conditioned_gather(c, n, pass->d, pass->x, read);
  poe_rows rows = {n, c->n_in, c->n_in, read};
  if (pass->grad == NULL) {
    double *theta = poe_scratch_doubles(pass->scratch, n * width);
    poei_net_eval(c->net, rows, theta, width, pass->scratch);
    conditioned_ahead(c, pass, theta, NULL);
    poe_scratch_release(pass->scratch, mark);
    return poei_flow_rest(pass, error);
  }
  double *back = poe_scratch_doubles(pass->scratch, n * c->n_in);
  conditioned_call call = {c, pass, poe_scratch_doubles(pass->scratch, n * c->n_out)};
  memset(back, 0, n * c->n_in * sizeof *back);
  poe_status status = poei_net_eval_vjp(c->net, rows, conditioned_pull, &call, back, c->n_in, pass->scratch, error);
  for (size_t i = 0; status == POE_OK && i < n; i++) {
    for (size_t k = 0; k < c->n_in; k++) {
      pass->grad[i * pass->d + c->in[k]] += c->off[k] ? 0.0 : back[i * c->n_in + k];
    }
  }
  poe_scratch_release(pass->scratch, mark);
  return status;
}

/* ---- the network reads the noise: level by level ---- */

static poe_status conditioned_pull_seeds(void *context, poe_rows y, double *dy, poe_scratch *scratch,
                                         poe_error *error) {
  (void)scratch;
  (void)error;
  memcpy(dy, context, y.n * y.d * sizeof *dy);
  return POE_OK;
}

/* From the highest level down: its noise is read by the curves of higher levels alone, so what they pull back through
 * the network completes its gradient. */
static poe_status conditioned_back_levels(const poei_conditioned *c, poei_flow_pass *pass, const double *read,
                                          const double *theta, const double *kept, poe_error *error) {
  size_t mark = poe_scratch_mark(pass->scratch), n = pass->n, m = c->n_in, width = poei_net_out_dim(c->net);
  double *seeds = poe_scratch_doubles(pass->scratch, n * width), *back = poe_scratch_doubles(pass->scratch, n * m);
  memset(seeds, 0, n * width * sizeof *seeds);
  memset(back, 0, n * m * sizeof *back);
  poe_status status = POE_OK;
  for (size_t level = c->passes; level-- > 0 && status == POE_OK;) {
    for (size_t i = 0; i < n; i++) {
      for (size_t k = 0; k < c->n_out; k++) {
        if (c->level[k] == level) {
          double *g = &pass->grad[i * pass->d + k];
          *g = conditioned_back(c, kept[i * m + k], theta + i * width, k, *g + back[i * m + k], seeds + i * width);
        }
      }
    }
    if (level > 0) {
      memset(back, 0, n * m * sizeof *back);
      status = poei_net_eval_vjp(c->net, (poe_rows){n, m, m, read}, conditioned_pull_seeds, seeds, back, m,
                                 pass->scratch, error);
    }
  }
  poe_scratch_release(pass->scratch, mark);
  return status;
}

static poe_status conditioned_apply_noise(const poei_conditioned *c, poei_flow_pass *pass, poe_error *error) {
  size_t mark = poe_scratch_mark(pass->scratch), n = pass->n, m = c->n_in, width = poei_net_out_dim(c->net);
  double *read = poe_scratch_doubles(pass->scratch, n * m), *theta = poe_scratch_doubles(pass->scratch, n * width);
  double *kept = pass->grad == NULL ? NULL : poe_scratch_doubles(pass->scratch, n * m);
  memset(read, 0, n * m * sizeof *read);
  if (kept != NULL) {
    conditioned_gather(c, n, pass->d, pass->x, kept);
  }
  conditioned_solve(c, true, pass, pass->log_p, read, theta);
  if (kept != NULL && c->inverse) {
    memcpy(kept, read, n * m * sizeof *kept);
  }
  if (kept == NULL) {
    poe_scratch_release(pass->scratch, mark);
    return poei_flow_rest(pass, error);
  }
  poe_status status = poei_flow_rest(pass, error);
  if (status == POE_OK) {
    status = conditioned_back_levels(c, pass, read, theta, kept, error);
  }
  poe_scratch_release(pass->scratch, mark);
  return status;
}

/* ---- the slots ---- */

static size_t conditioned_scratch(const void *self, unsigned want, size_t n) {
  const poei_conditioned *c = self;
  bool grad = (want & POE_WANT_GRAD) != 0;
  size_t read = poe_scratch_need(n * c->n_in, sizeof(double)), out = poe_scratch_need(n * c->n_out, sizeof(double));
  size_t theta = poe_scratch_need(n * poei_net_out_dim(c->net), sizeof(double));
  size_t net = poei_net_scratch(c->net, grad ? POE_WANT_GRAD : POE_WANT_LOGP, n);
  if (grad && c->from_noise) { /* the solution's forward passes need no more than the backward ones */
    size_t forward = poei_net_scratch(c->net, POE_WANT_LOGP, n);
    return (net > forward ? net : forward) + 3 * read + 2 * theta;
  }
  return grad ? net + 2 * read + out : net + read + theta;
}

static poe_status conditioned_apply(const void *self, poei_flow_pass *pass, poe_error *error) {
  const poei_conditioned *c = self;
  return c->from_noise ? conditioned_apply_noise(c, pass, error) : conditioned_apply_data(c, pass, error);
}

static void conditioned_invert(const void *self, poei_flow_pass *pass) {
  const poei_conditioned *c = self;
  size_t mark = poe_scratch_mark(pass->scratch), n = pass->n, width = poei_net_out_dim(c->net);
  double *read = poe_scratch_doubles(pass->scratch, n * c->n_in), log_det;
  double *theta = poe_scratch_doubles(pass->scratch, n * width);
  if (c->sequential && !c->from_noise) {
    memset(read, 0, n * c->n_in * sizeof *read);
    conditioned_solve(c, false, pass, NULL, read, theta);
  } else {
    conditioned_gather(c, n, pass->d, pass->x, read);
    poei_net_eval(c->net, (poe_rows){n, c->n_in, c->n_in, read}, theta, width, pass->scratch);
    for (size_t i = 0; i < n; i++) {
      for (size_t k = 0; k < c->n_out; k++) {
        double *x = &pass->x[i * pass->d + c->out[k]];
        *x = conditioned_cross(c, false, *x, theta + i * width, k, &log_det);
      }
    }
  }
  poe_scratch_release(pass->scratch, mark);
}

const poei_bijector poei_conditioned_layer = {.destroy = conditioned_destroy,
                                              .scratch = conditioned_scratch,
                                              .apply = conditioned_apply,
                                              .invert = conditioned_invert};
