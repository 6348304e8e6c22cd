/* The increasing functions of one real number that couplings and autoregressive layers are made of, y = T(v; theta).
 *
 *   additive  y = v + t                                         theta = (t)
 *   affine    y = s v + t                                       theta = (t, r) or (r, t), s a function of the raw r
 *   rqs       a rational-quadratic spline on [-B, B], y = v outside   theta = (widths, heights, slopes), all raw
 *
 * Dinh, Krueger and Bengio 2015; Dinh, Sohl-Dickstein and Bengio 2017; Durkan, Bekasov, Murray and Papamakarios 2019,
 * section 3.1 and appendix A.
 */
#ifndef POE_EXPERTS_FLOW_CURVE_H
#define POE_EXPERTS_FLOW_CURVE_H

#include "experts/flow.h"

typedef enum poei_curve_kind { POEI_CURVE_ADDITIVE, POEI_CURVE_AFFINE, POEI_CURVE_RQS } poei_curve_kind;
#define POEI_CURVE_WORDS "additive|affine|rqs"

/* How a raw number r becomes log s. */
typedef enum poei_curve_scale {
  POEI_SCALE_EXP,      /* r                                */
  POEI_SCALE_TANH,     /* limit tanh(r)                    */
  POEI_SCALE_SOFT,     /* r / (1 + |r| / limit)            */
  POEI_SCALE_SIGMOID,  /* log(sigmoid(r + offset) + eps)   */
  POEI_SCALE_SOFTPLUS, /* log(softplus(r + offset) + eps)  */
  POEI_SCALE_ATAN,     /* limit atan(r)                    */
} poei_curve_scale;
#define POEI_SCALE_WORDS "exp|tanh|soft|sigmoid|softplus|atan"

/* How raw numbers become the knots of a spline. */
typedef enum poei_curve_knots {
  POEI_KNOTS_SOFTPLUS, /* widths min + (1 - K min) softmax(f r), slopes min + softplus(r)          */
  POEI_KNOTS_EXP       /* widths softmax(soft(r)) with limit/2, slopes exp(soft(r)) with limit     */
} poei_curve_knots;
#define POEI_KNOTS_WORDS "softplus|exp"

enum { POEI_CURVE_MAX_BINS = 128, POEI_CURVE_MAX_PARAMETERS = 3 * POEI_CURVE_MAX_BINS - 1 };

typedef struct poei_curve {
  poei_curve_kind kind;
  size_t parameters;                       /* numbers of theta                 */
  poei_curve_scale scale;                  /* AFFINE                           */
  bool scale_first;                        /* AFFINE: theta = (r, t)           */
  double limit, offset, eps;               /* AFFINE; limit also of KNOTS_EXP  */
  size_t bins;                             /* RQS: K                           */
  poei_curve_knots knots;                  /* RQS                              */
  double bound, factor;                    /* RQS: B, f                        */
  double min_width, min_height, min_slope; /* RQS                              */
} poei_curve;

/* A curve at v. */
typedef struct poei_curve_point {
  double value;     /* T(v)             */
  double log_slope; /* log T'(v)        */
  double bend;      /* d log T' / dv    */
} poei_curve_point;

/* At v. With value_theta[parameters] and slope_theta[parameters] not NULL also the derivatives of T and of log T' with
 * respect to theta. */
poei_curve_point poei_curve_at(const poei_curve *curve, double v, const double *theta, double *value_theta,
                               double *slope_theta);
/* The v with T(v) = y; *log_slope is that of T at v. */
double poei_curve_solve(const poei_curve *curve, double y, const double *theta, double *log_slope);
/* The curve that a layer describes; `keys` are the layer's own, any others are refused. */
poe_status poei_curve_read(const poei_flow_reader *reader, const char *keys, poei_curve *curve, poe_error *error);

#endif
