/* Messages along a chain of finitely many states, in the log domain: one step of forward or backward summation.
 *
 * Messages are K numbers (for each of n rows, side by side: message[z, i]), known up to a common factor that is kept
 * apart in `shift`, so that neither length nor unlikely states underflow: entries may differ by any factor.
 */
#ifndef POE_EXPERTS_MESSAGES_H
#define POE_EXPERTS_MESSAGES_H

#include <stddef.h>

/* A running sum with its lost low bits (Neumaier): the log-density of a million steps keeps its digits. */
typedef struct poei_running_sum {
  double sum, lost;
} poei_running_sum;
void poei_running_add(poei_running_sum *total, double x);
/* The sum; infinities and NaN that were added win. */
double poei_running_total(const poei_running_sum *total);

/* out[y, i] + m_i = log sum_z exp(a[z, i]) p[z, y] with m_i = max_z a[z, i], which is written to shift[i] (0 where the
 * message is all -inf). p[from, to] and log_p its log; a [from, n], out [to, n]; work [max(from, to), n]. No two arrays
 * may overlap. */
void poei_message_step(size_t from, size_t to, const double *p, const double *log_p, size_t n, const double *a,
                       double *out, double *shift, double *work);

#endif
