/* Numbers in log space and vector maths. Vectors are contiguous; `out` may equal an input. */
#ifndef POE_CORE_NUMERICS_H
#define POE_CORE_NUMERICS_H

#include <stddef.h>

#define POEI_LOG_2PI 1.8378770664093454836
#define POEI_LOG_2 0.69314718055994530942
#define POEI_PI 3.14159265358979323846

/* log(e^a + e^b), log(e^a - e^b) for a >= b, log(1 + e^x), log(1 - e^x) for x < 0, 1/(1+e^-x); exact at infinities. */
double poei_log_add(double a, double b);
double poei_log_sub(double a, double b);
double poei_softplus(double x);
double poei_log1m_exp(double x);
double poei_sigmoid(double x);
/* log sum_i exp(x[i * inc]) over n values; -inf for n = 0 or all -inf; +inf and NaN propagate. */
double poei_log_sum_exp(const double *x, size_t n, size_t inc);
/* Sum by Neumaier's compensated summation. */
double poei_sum(const double *x, size_t n);
/* Standard normal: log density, distribution function, log of it, quantile (Wichura 1988, AS 241, ~1e-16). */
double poei_normal_log_pdf(double x);
double poei_normal_cdf(double x);
double poei_normal_log_cdf(double x);
double poei_normal_quantile(double p);
/* Student t: distribution function and quantile with df > 0 degrees of freedom (to 1e-10). */
double poei_student_cdf(double x, double df);
double poei_student_quantile(double p, double df);
/* Chi-square upper tail probability with df degrees of freedom; Kolmogorov's limiting upper tail P(sqrt(n) D > x). */
double poei_chi_square_tail(double x, double df);
double poei_kolmogorov_tail(double x);

/* Elementwise (SLEEF, <= 1 ulp), n values each; f: single. */
void poei_vexp(const double *x, double *out, size_t n);
void poei_vlog(const double *x, double *out, size_t n);
void poei_vlog1p(const double *x, double *out, size_t n);
void poei_vtanh(const double *x, double *out, size_t n);
void poei_verf(const double *x, double *out, size_t n);
void poei_vsincos(const double *x, double *sine, double *cosine, size_t n);
void poei_vexpf(const float *x, float *out, size_t n);
void poei_vlogf(const float *x, float *out, size_t n);
void poei_vlog1pf(const float *x, float *out, size_t n);
void poei_vtanhf(const float *x, float *out, size_t n);
void poei_verff(const float *x, float *out, size_t n);

#endif
