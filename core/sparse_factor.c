/* Factoring a sparse symmetric positive definite matrix: order and pattern by CXSparse (approximate minimum degree,
 * elimination tree, column counts: Davis 2006, Direct Methods for Sparse Linear Systems, chapters 4 and 7), the numbers
 * here, row by row ("up-looking"): with L_11 known, row k solves L_11 l = a_k and L_kk = sqrt(a_kk - l'l). The nonzeros
 * of l are what the elimination tree reaches from those of a_k.
 *
 * The pivot d = a_kk - l'l equals v'Av for v = (-A_11^-1 a_k, 1), so a pivot that is not positive comes with the
 * direction that shows it. To rounding the computed d is v'(A + E)v with |E| <= c eps |A| (Higham 2002, Accuracy and
 * Stability, theorem 10.3; c grows with the columns' lengths): small pivots are held against c eps |v|'|A||v|.
 */
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#define NCOMPLEX /* of CXSparse only the real part is declared */
#include <cs.h>

#include "core/alloc.h"
#include "core/sparse.h"

/* ---- order and pattern ---- */

void poei_sparse_factor_destroy(poei_sparse_factor *factor) {
  if (factor != NULL) {
    poei_free(factor->order);
    poei_free(factor->place);
    poei_free(factor->parent);
    poei_free(factor->start);
    poei_free(factor->row);
    poei_free(factor->value);
    poei_free(factor);
  }
}

static poe_status out_of_memory(poe_error *error) {
  return poe_error_set(error, POE_E_MEMORY, "out of memory for a sparse factorisation");
}

/* The upper triangle by columns, as CXSparse reads it: start[n + 1], row[numbers]. */
static void transpose(const poei_sparse_matrix *a, cs_long_t *start, cs_long_t *row) {
  size_t n = a->n, numbers = a->start[n];
  memset(start, 0, (n + 1) * sizeof *start);
  for (size_t k = 0; k < numbers; k++) {
    start[a->row[k] + 1]++;
  }
  for (size_t j = 0; j < n; j++) {
    start[j + 1] += start[j];
  }
  for (size_t j = 0; j < n; j++) {
    for (size_t k = a->start[j]; k < a->start[j + 1]; k++) {
      row[start[a->row[k]]++] = (cs_long_t)j;
    }
  }
  for (size_t j = n; j > 0; j--) { /* what was moved to the ends of the columns goes back to their beginnings */
    start[j] = start[j - 1];
  }
  start[0] = 0;
}

static void take_analysis(const cs_dls *analysis, poei_sparse_factor *factor) {
  size_t n = factor->n;
  for (size_t i = 0; i < n; i++) {
    factor->place[i] = (size_t)analysis->pinv[i];
    factor->order[factor->place[i]] = i;
    factor->parent[i] = analysis->parent[i] < 0 ? n : (size_t)analysis->parent[i];
    factor->start[i] = (size_t)analysis->cp[i];
  }
  factor->start[n] = (size_t)analysis->cp[n];
  for (size_t i = 0; i < n; i++) {
    size_t length = factor->start[i + 1] - factor->start[i];
    factor->most = length > factor->most ? length : factor->most;
    factor->flops += (double)length * (double)length;
  }
}

poe_status poei_sparse_analyse(const poei_sparse_matrix *a, poei_sparse_factor **out, poe_error *error) {
  size_t n = a->n, numbers = a->start[n];
  poei_sparse_factor *factor = poei_calloc(1, sizeof *factor);
  cs_long_t *start = poei_alloc(n + 1, sizeof *start), *row = poei_alloc(numbers, sizeof *row);
  if (factor != NULL) {
    factor->n = n;
    factor->order = poei_alloc(n, sizeof *factor->order);
    factor->place = poei_alloc(n, sizeof *factor->place);
    factor->parent = poei_alloc(n, sizeof *factor->parent);
    factor->start = poei_alloc(n + 1, sizeof *factor->start);
  }
  bool room = factor != NULL && factor->order != NULL && factor->place != NULL && factor->parent != NULL &&
              factor->start != NULL && start != NULL && row != NULL;
  cs_dls *analysis = NULL;
  if (room) {
    transpose(a, start, row);
    cs_dl upper = {.nzmax = (cs_long_t)numbers, .m = (cs_long_t)n, .n = (cs_long_t)n, .p = start, .i = row, .nz = -1};
    analysis = cs_dl_schol(1, &upper); /* 1: order by approximate minimum degree of A + A' */
  }
  if (analysis != NULL) {
    take_analysis(analysis, factor);
  }
  poei_free(start);
  poei_free(row);
  if (analysis == NULL) { /* its only other failure is a malformed matrix, which the caller's type excludes */
    poei_sparse_factor_destroy(factor);
    return out_of_memory(error);
  }
  cs_dl_sfree(analysis);
  *out = factor;
  return POE_OK;
}

/* ---- numbers ---- */

/* The upper triangle in elimination order, and the workspace of the factorisation. */
typedef struct numeric {
  size_t *start, *row; /* [n + 1], [numbers]: column k holds rows <= k */
  double *value;       /* [numbers]                                   */
  size_t *next;        /* [n] where column j of L goes on             */
  size_t *mark;        /* [n] last row whose reach held this column   */
  size_t *reach;       /* [n] columns of the row, from `top` on       */
  double *x;           /* [n] the row, zero between rows              */
} numeric;

static void numeric_free(numeric *work) {
  poei_free(work->start);
  poei_free(work->row);
  poei_free(work->value);
  poei_free(work->next);
  poei_free(work->mark);
  poei_free(work->reach);
  poei_free(work->x);
}

static bool numeric_alloc(const poei_sparse_matrix *a, numeric *work) {
  size_t n = a->n, numbers = a->start[n];
  work->start = poei_calloc(n + 1, sizeof *work->start);
  work->row = poei_alloc(numbers, sizeof *work->row);
  work->value = poei_alloc(numbers, sizeof *work->value);
  work->next = poei_alloc(n, sizeof *work->next);
  work->mark = poei_alloc(n, sizeof *work->mark);
  work->reach = poei_alloc(n, sizeof *work->reach);
  work->x = poei_calloc(n, sizeof *work->x);
  return work->start != NULL && work->row != NULL && work->value != NULL && work->next != NULL && work->mark != NULL &&
         work->reach != NULL && work->x != NULL;
}

static void permute(const poei_sparse_matrix *a, const size_t *place, numeric *work) {
  size_t n = a->n;
  for (int fill = 0; fill <= 1; fill++) {
    for (size_t j = 0; j < n; j++) {
      for (size_t k = a->start[j]; k < a->start[j + 1]; k++) {
        size_t p = place[j], q = place[a->row[k]], column = p > q ? p : q;
        if (fill == 0) {
          work->start[column + 1]++;
        } else {
          size_t at = work->next[column]++;
          work->row[at] = p > q ? q : p;
          work->value[at] = a->value[k];
        }
      }
    }
    for (size_t j = 0; fill == 0 && j < n; j++) {
      work->start[j + 1] += work->start[j];
      work->next[j] = work->start[j];
    }
  }
}

/* reach[top .. n - 1]: the columns of row k of L in an order in which each comes after those it depends on. */
static size_t row_reach(const poei_sparse_factor *factor, numeric *work, size_t k) {
  size_t top = factor->n;
  work->mark[k] = k;
  for (size_t p = work->start[k]; p < work->start[k + 1]; p++) {
    size_t length = 0;
    for (size_t i = work->row[p]; work->mark[i] != k; i = factor->parent[i]) {
      work->reach[length++] = i; /* up the tree to what is known */
      work->mark[i] = k;
    }
    while (length > 0) {
      work->reach[--top] = work->reach[--length];
    }
  }
  return top;
}

/* Row k of L; returns the pivot's square, *diagonal gets a_kk. */
static double eliminate(poei_sparse_factor *factor, numeric *work, size_t k, double *diagonal) {
  size_t top = row_reach(factor, work, k);
  double *x = work->x;
  for (size_t p = work->start[k]; p < work->start[k + 1]; p++) {
    x[work->row[p]] = work->value[p];
  }
  double pivot = *diagonal = x[k];
  x[k] = 0.0;
  for (; top < factor->n; top++) {
    size_t i = work->reach[top];
    double l = x[i] / factor->value[factor->start[i]];
    x[i] = 0.0;
    for (size_t p = factor->start[i] + 1; p < work->next[i]; p++) {
      x[factor->row[p]] -= factor->value[p] * l;
    }
    pivot -= l * l;
    factor->row[work->next[i]] = k;
    factor->value[work->next[i]++] = l;
  }
  return pivot;
}

/* v[0 .. k] with v_k = 1 and v'Av the pivot of k, from the k rows of L before it and row k. */
static void certify(const poei_sparse_factor *factor, const numeric *work, size_t k, double *v) {
  v[k] = 1.0;
  for (size_t i = k; i-- > 0;) {
    double sum = 0.0;
    for (size_t p = factor->start[i] + 1; p < work->next[i]; p++) {
      sum += factor->value[p] * v[factor->row[p]];
    }
    v[i] = sum == 0.0 ? 0.0 : -sum / factor->value[factor->start[i]];
  }
}

/* |v|'|A||v| over the first k + 1 coordinates. */
static double size_of_terms(const numeric *work, size_t k, const double *v) {
  double sum = 0.0;
  for (size_t j = 0; j <= k; j++) {
    for (size_t p = work->start[j]; p < work->start[j + 1] && v[j] != 0.0; p++) {
      sum += (work->row[p] == j ? 1.0 : 2.0) * fabs(v[j] * work->value[p] * v[work->row[p]]);
    }
  }
  return sum;
}

/* Is the pivot of k more than rounding? v[n] is room. */
static bool is_positive(const poei_sparse_factor *factor, const numeric *work, size_t k, double pivot, double diagonal,
                        double *v) {
  if (!(pivot > 0.0 && pivot < INFINITY)) {
    return false;
  }
  if (pivot > 4.0 * (double)factor->n * DBL_EPSILON * diagonal) {
    return true;
  }
  certify(factor, work, k, v);
  return pivot > 4.0 * (double)factor->most * DBL_EPSILON * size_of_terms(work, k, v);
}

/* The failing direction in the order of the coordinates. v[n] is room. */
static void report_failure(const poei_sparse_factor *factor, const numeric *work, size_t k, double pivot, double *v,
                           poei_sparse_failure *failure) {
  failure->coordinate = factor->order[k];
  failure->value = pivot;
  if (failure->direction == NULL) {
    return;
  }
  memset(failure->direction, 0, factor->n * sizeof *failure->direction);
  certify(factor, work, k, v);
  for (size_t i = 0; i <= k; i++) {
    failure->direction[factor->order[i]] = v[i];
  }
}

/* False when row k has no positive pivot. */
static bool factorise(poei_sparse_factor *factor, numeric *work, double *v, poei_sparse_failure *failure) {
  size_t n = factor->n;
  for (size_t j = 0; j < n; j++) {
    work->next[j] = factor->start[j];
    work->mark[j] = SIZE_MAX;
  }
  for (size_t k = 0; k < n; k++) {
    double diagonal, pivot = eliminate(factor, work, k, &diagonal);
    if (!is_positive(factor, work, k, pivot, diagonal, v)) {
      report_failure(factor, work, k, pivot, v, failure);
      return false;
    }
    factor->row[work->next[k]] = k;
    factor->value[work->next[k]++] = sqrt(pivot);
  }
  return true;
}

poe_status poei_sparse_factorise(poei_sparse_factor *factor, const poei_sparse_matrix *a, bool *failed,
                                 poei_sparse_failure *failure, poe_error *error) {
  size_t numbers = factor->start[factor->n];
  numeric work = {0};
  double *v = poei_alloc(factor->n, sizeof *v);
  factor->row = poei_alloc(numbers, sizeof *factor->row);
  factor->value = poei_alloc(numbers, sizeof *factor->value);
  bool room = numeric_alloc(a, &work) && v != NULL && factor->row != NULL && factor->value != NULL;
  *failed = false;
  if (room) {
    permute(a, factor->place, &work);
    *failed = !factorise(factor, &work, v, failure);
  }
  numeric_free(&work);
  poei_free(v);
  if (!room || *failed) {
    poei_free(factor->row);
    poei_free(factor->value);
    factor->row = NULL;
    factor->value = NULL;
  }
  return room ? POE_OK : out_of_memory(error);
}
