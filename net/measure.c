/* Timing the matrix products of a network by themselves (poei_net_time_gemms): the yardstick of `poe bench`.
 *
 * Every product has operands of its own, as the network's layers have, so that the yardstick reads its weights from
 * where the network reads them. A pass runs all products in the network's order; the best of the passes counts, because
 * other programs only ever make one slower.
 */
#include <math.h>
#include <time.h>

#include "core/alloc.h"
#include "core/linalg.h"
#include "net/compile.h"

static double measure_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void measure_product(poei_precision precision, const poei_gemm_shape *g, const void *a, const void *b, void *c) {
  size_t lda = g->transposed_a ? g->m : g->k, ldb = g->transposed_b ? g->k : g->n;
  for (size_t i = 0; i < g->times; i++) {
    if (precision == POEI_FLOAT32) {
      poei_sgemm(g->transposed_a, g->transposed_b, g->m, g->n, g->k, 1.0f, a, lda, b, ldb, 0.0f, c, g->n);
    } else {
      poei_dgemm(g->transposed_a, g->transposed_b, g->m, g->n, g->k, 1.0, a, lda, b, ldb, 0.0, c, g->n);
    }
  }
}

/* Operands of product i in one block: A, then B, then C. */
static void *measure_operands(const poei_gemm_shape *g, size_t size) {
  size_t a, b, c, sum;
  bool fits = poei_mul_size(g->m, g->k, &a) && poei_mul_size(g->k, g->n, &b) && poei_mul_size(g->m, g->n, &c) &&
              poei_add_size(a, b, &sum) && poei_add_size(sum, c, &sum);
  return fits ? poei_calloc(sum, size) : NULL;
}

poe_status poei_net_time_gemms(const poei_net *net, unsigned want, size_t n, size_t repeats, double *seconds,
                               double *flops, poe_error *error) {
  poei_precision precision = net->graph->precision;
  size_t count = poei_net_gemms(net, want, n, NULL, 0), made = 0;
  size_t size = precision == POEI_FLOAT32 ? sizeof(float) : sizeof(double);
  poei_gemm_shape *shapes = poei_alloc(count, sizeof *shapes);
  void **operands = poei_calloc(count, sizeof *operands);
  bool memory = shapes != NULL && operands != NULL;
  if (memory) {
    poei_net_gemms(net, want, n, shapes, count);
    while (made < count && (operands[made] = measure_operands(&shapes[made], size)) != NULL) {
      made++;
    }
    memory = made == count;
  }
  double best = INFINITY, sum = 0.0;
  for (size_t r = 0; memory && r < repeats; r++) {
    double start = measure_now();
    for (size_t i = 0; i < count; i++) {
      const poei_gemm_shape *g = &shapes[i];
      unsigned char *a = operands[i], *b = a + g->m * g->k * size, *c = b + g->k * g->n * size;
      measure_product(precision, g, a, b, c);
    }
    best = fmin(best, measure_now() - start);
  }
  for (size_t i = 0; memory && i < count; i++) {
    sum += 2.0 * (double)shapes[i].m * (double)shapes[i].n * (double)shapes[i].k * (double)shapes[i].times;
  }
  while (made > 0) {
    poei_free(operands[--made]);
  }
  poei_free(operands);
  poei_free(shapes);
  if (!memory) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory for measuring matrix products");
  }
  *seconds = best;
  *flops = sum;
  return POE_OK;
}
