/* Special functions behind the exponential families, in logarithms and for the whole range of their arguments. */
#ifndef POE_CORE_SPECIAL_H
#define POE_CORE_SPECIAL_H

/* log(1 + x) - x for x > -1, and e^x - 1 - x: what is left of second order, to full relative precision near 0. */
double poei_log1p_less(double x);
double poei_expm1_less(double x);

/* log Gamma(x) minus Stirling's (x - 1/2) log x - x + log(2 pi) / 2, for x > 0; log |Gamma(x)|. (libm's lgamma
 * writes a global.) */
double poei_stirling_rest(double x);
double poei_log_gamma(double x);
/* log n!, n >= 0. */
double poei_log_factorial(double n);
/* log of the Poisson probability of n >= 0 (whole) at rate > 0: no cancellation however large both are. */
double poei_poisson_log_p(double n, double rate);
/* log(e^-k I_0(k)), k >= 0: the modified Bessel function of order 0. */
double poei_log_bessel_i0(double k);

/* The standard normal on (a, b), a < b: log of its mass (width = b - a, which the caller may know better than by the
 * difference), and the point below which a share u of it lies; stable however far out the interval is. */
double poei_normal_log_mass(double a, double b, double width);
double poei_normal_between(double a, double b, double u);

#endif
