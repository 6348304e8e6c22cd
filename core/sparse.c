/* Sparse matrices as data: putting together, multiplying, solving with a factor, the selected inverse.
 *
 * Selected inverse (Takahashi, Fagan and Chin 1973, equations 4 and 5; Erisman and Tinney 1975): with A = LL',
 *   Z_ij = -sum_{k > j} Z_ik L_kj / L_jj  (i > j),   Z_jj = (1 / L_jj - sum_{k > j} Z_kj L_kj) / L_jj,
 * from the last column to the first. Every Z_ik in it is on the pattern of L, because the rows of a column of L are
 * each other's neighbours once it is eliminated.
 */
#include "core/sparse.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"

/* ---- matrices ---- */

void poei_sparse_matrix_release(poei_sparse_matrix *a) {
  if (a != NULL) {
    poei_free(a->start);
    poei_free(a->row);
    poei_free(a->value);
    *a = (poei_sparse_matrix){0};
  }
}

/* Counts the entries by `key` into start[n + 1], so that start[i] is where those of key i begin. */
static void count_starts(size_t n, size_t *start) {
  size_t total = 0;
  for (size_t i = 0; i <= n; i++) {
    size_t own = start[i];
    start[i] = total;
    total += own;
  }
}

/* Entries plus a zero for each diagonal, sorted by row (stably) into order[count + n]: entry numbers, those from count
 * on are the diagonals. */
static void sort_by_row(size_t n, size_t count, const poei_triplet *entry, size_t *start, size_t *order) {
  memset(start, 0, (n + 1) * sizeof *start);
  for (size_t e = 0; e < count; e++) {
    start[entry[e].row]++;
  }
  for (size_t j = 0; j < n; j++) {
    start[j]++;
  }
  count_starts(n, start);
  for (size_t e = 0; e < count; e++) {
    order[start[entry[e].row]++] = e;
  }
  for (size_t j = 0; j < n; j++) {
    order[start[j]++] = count + j;
  }
}

/* Puts the entries, taken in order[], into columns: rows come ascending, equal ones next to each other and are added.
 * a->start: [n + 1], filled; returns the number of places. */
static size_t fill_columns(size_t n, size_t count, const poei_triplet *entry, const size_t *order,
                           poei_sparse_matrix *a) {
  size_t *next = a->start;
  memset(next, 0, (n + 1) * sizeof *next);
  for (size_t e = 0; e < count; e++) {
    next[entry[e].column]++;
  }
  for (size_t j = 0; j < n; j++) {
    next[j]++;
  }
  count_starts(n, next);
  for (size_t k = 0; k < count + n; k++) {
    bool diagonal = order[k] >= count;
    size_t column = diagonal ? order[k] - count : entry[order[k]].column;
    size_t at = next[column]++;
    a->row[at] = diagonal ? column : entry[order[k]].row;
    a->value[at] = diagonal ? 0.0 : entry[order[k]].value;
  }
  /* next[j] is now the end of column j */
  size_t used = 0, from = 0;
  for (size_t j = 0; j < n; j++) {
    size_t end = next[j], begin = used;
    for (size_t k = from; k < end; k++) {
      if (used > begin && a->row[used - 1] == a->row[k]) {
        a->value[used - 1] += a->value[k];
      } else {
        a->row[used] = a->row[k];
        a->value[used++] = a->value[k];
      }
    }
    from = end;
    next[j] = begin;
  }
  next[n] = used;
  return used;
}

poe_status poei_sparse_assemble(size_t n, size_t count, const poei_triplet *entry, poei_sparse_matrix *out,
                                poe_error *error) {
  for (size_t e = 0; e < count; e++) {
    if (entry[e].row >= n || entry[e].column > entry[e].row) {
      return poe_error_set(error, POE_E_SHAPE, "entry [%zu, %zu] is not in the lower triangle of a %zu x %zu matrix",
                           entry[e].row, entry[e].column, n, n);
    }
  }
  size_t all;
  poei_sparse_matrix made = {.n = n};
  size_t *order = NULL;
  if (poei_add_size(count, n, &all)) {
    made.start = poei_alloc(n + 1, sizeof *made.start);
    made.row = poei_alloc(all, sizeof *made.row);
    made.value = poei_alloc(all, sizeof *made.value);
    order = poei_alloc(all, sizeof *order);
  }
  if (made.start == NULL || made.row == NULL || made.value == NULL || order == NULL) {
    poei_sparse_matrix_release(&made);
    poei_free(order);
    return poe_error_set(error, POE_E_MEMORY, "out of memory for a sparse matrix of %zu numbers", count);
  }
  sort_by_row(n, count, entry, made.start, order);
  fill_columns(n, count, entry, order, &made);
  poei_free(order);
  *out = made;
  return POE_OK;
}

void poei_sparse_multiply(const poei_sparse_matrix *a, size_t m, const double *x, double *y) {
  memset(y, 0, a->n * m * sizeof *y);
  for (size_t j = 0; j < a->n; j++) {
    const double *xj = x + j * m;
    double *yj = y + j * m, diagonal = a->value[a->start[j]];
    for (size_t r = 0; r < m; r++) {
      yj[r] += diagonal * xj[r];
    }
    for (size_t k = a->start[j] + 1; k < a->start[j + 1]; k++) {
      const double *xi = x + a->row[k] * m;
      double *yi = y + a->row[k] * m, value = a->value[k];
      for (size_t r = 0; r < m; r++) {
        yi[r] += value * xj[r];
        yj[r] += value * xi[r];
      }
    }
  }
}

/* ---- solving ---- */

/* With what rounding takes from the sum kept beside it (Neumaier 1974): the pivots of a long chain are equal, and so
 * would be their rounding errors. */
double poei_sparse_half_log_det(const poei_sparse_factor *factor) {
  double sum = 0.0, lost = 0.0;
  for (size_t j = 0; j < factor->n; j++) {
    double term = log(factor->value[factor->start[j]]), next = sum + term;
    lost += fabs(sum) >= fabs(term) ? (sum - next) + term : (term - next) + sum;
    sum = next;
  }
  return sum + lost;
}

void poei_sparse_solve_lower(const poei_sparse_factor *factor, size_t m, double *x) {
  for (size_t j = 0; j < factor->n; j++) {
    double *xj = x + j * m, pivot = factor->value[factor->start[j]];
    for (size_t r = 0; r < m; r++) {
      xj[r] /= pivot;
    }
    for (size_t k = factor->start[j] + 1; k < factor->start[j + 1]; k++) {
      double *xi = x + factor->row[k] * m, value = factor->value[k];
      for (size_t r = 0; r < m; r++) {
        xi[r] -= value * xj[r];
      }
    }
  }
}

void poei_sparse_solve_lower_transposed(const poei_sparse_factor *factor, size_t m, double *x) {
  for (size_t j = factor->n; j-- > 0;) {
    double *xj = x + j * m, pivot = factor->value[factor->start[j]];
    for (size_t k = factor->start[j] + 1; k < factor->start[j + 1]; k++) {
      const double *xi = x + factor->row[k] * m;
      double value = factor->value[k];
      for (size_t r = 0; r < m; r++) {
        xj[r] -= value * xi[r];
      }
    }
    for (size_t r = 0; r < m; r++) {
      xj[r] /= pivot;
    }
  }
}

void poei_sparse_solve(const poei_sparse_factor *factor, double *x, double *work) {
  for (size_t k = 0; k < factor->n; k++) {
    work[k] = x[factor->order[k]];
  }
  poei_sparse_solve_lower(factor, 1, work);
  poei_sparse_solve_lower_transposed(factor, 1, work);
  for (size_t k = 0; k < factor->n; k++) {
    x[factor->order[k]] = work[k];
  }
}

/* ---- the selected inverse ---- */

/* z[count] -= Z l over the rows of a column of L: count rows row[], values l[]. Each Z_ab is read once. */
static void multiply_selected(const poei_sparse_factor *factor, size_t count, const size_t *row, const double *l,
                              const double *inverse, double *z) {
  for (size_t b = 0; b < count; b++) {
    size_t at = factor->start[row[b]]; /* column row[b] holds all of row[b ..] */
    z[b] -= inverse[at] * l[b];
    for (size_t a = b + 1; a < count; a++) {
      while (factor->row[at] < row[a]) {
        at++;
      }
      z[a] -= inverse[at] * l[b];
      z[b] -= inverse[at] * l[a];
    }
  }
}

void poei_sparse_inverse(const poei_sparse_factor *factor, double *inverse, double *work) {
  for (size_t j = factor->n; j-- > 0;) {
    size_t begin = factor->start[j], count = factor->start[j + 1] - begin - 1;
    const double *l = factor->value + begin + 1;
    double pivot = factor->value[begin], own = 1.0 / pivot;
    memset(work, 0, count * sizeof *work);
    multiply_selected(factor, count, factor->row + begin + 1, l, inverse, work);
    for (size_t k = 0; k < count; k++) {
      inverse[begin + 1 + k] = work[k] / pivot;
      own -= inverse[begin + 1 + k] * l[k];
    }
    inverse[begin] = own / pivot;
  }
}
