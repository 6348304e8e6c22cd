/* Rewriting rule "low rank": Gaussians of covariance D_i + F_i F_i' times diagonal ones, over a space too large for
 * dense forms, become one of the same kind.
 *
 * Each is the marginal of x = m_i + F_i f_i + noise of variance D_i over f_i ~ N(0, I). Given all f, the coordinates
 * are independent with precision P = diag(q) + sum_i D_i^-1, q that of the diagonal factors; so that the product has
 * the covariance P^-1 + V V', with
 *
 *   V = P^-1 B L^-T,  B = [D_i^-1 F_i],  L L' = S,  S_ik = (i = k) (I + F_i' D_i^-1 F_i) - F_i' D_i^-1 P^-1 D_k^-1 F_k
 *
 * (Woodbury 1950). On the diagonal of S the difference is F_i' D_i^-1 (1 - D_i^-1 P^-1) F_i, in which nothing cancels.
 * A power t divides a covariance. The mean is where Newton's method leads, and the constant the value there.
 */
#include <math.h>
#include <string.h>

#include "compose/exact/rules.h"
#include "compose/exact/sparse_gaussian.h"
#include "core/alloc.h"
#include "core/linalg.h"
#include "experts/low_rank.h"

enum { MOST_RANK = 1024, STEPS = 3 };

typedef struct factors {
  poei_parts parts;
  const poei_low_rank **low; /* [parts.n] NULL: a diagonal factor       */
  double *diagonal;          /* [dim] q                                 */
  double *precision;         /* [dim] P                                 */
  size_t rank, n_low;        /* of all together; how many               */
  double *b;                 /* [dim, rank] B, then P^-1 B, then V      */
  double *s;                 /* [rank, rank] S, then its factor         */
} factors;

static void factors_free(factors *f) {
  poei_parts_free(&f->parts);
  poei_free(f->low);
  poei_free(f->diagonal);
  poei_free(f->precision);
  poei_free(f->b);
  poei_free(f->s);
}

static poe_status no_memory(poe_error *error) {
  return poe_error_set(error, POE_E_MEMORY, "out of memory");
}

/* Adds what a factor that is diagonal says to q; *diagonal is false for any other. */
static poe_status add_diagonal(factors *f, const poei_part *part, bool *diagonal, poe_error *error) {
  poei_triplets entries = {0};
  poe_status status = poei_sparse_collect(part->expert, part->exponent, part->index, &entries, diagonal, error);
  for (size_t e = 0; e < entries.n && *diagonal && status == POE_OK; e++) {
    *diagonal = entries.item[e].row == entries.item[e].column;
    f->diagonal[entries.item[e].row] += entries.item[e].value;
  }
  poei_triplets_free(&entries);
  return status;
}

/* *fits: every factor is one of the two kinds, there is something to do, and every coordinate is held. */
static poe_status read_factors(const poe_expert *expert, factors *f, bool *fits, poe_error *error) {
  poe_status status = poei_parts_open(expert, POEI_OPEN_SURFACE, &f->parts, NULL, error);
  if (status != POE_OK) {
    return status;
  }
  f->low = poei_calloc(f->parts.n, sizeof *f->low);
  f->diagonal = poei_calloc(f->parts.dim, sizeof(double));
  f->precision = poei_calloc(f->parts.dim, sizeof(double));
  if (f->low == NULL || f->diagonal == NULL || f->precision == NULL) {
    return no_memory(error);
  }
  *fits = f->parts.n >= 2 && poe_expert_traits(expert)->offset_error == 0.0;
  for (size_t i = 0; i < f->parts.n && *fits; i++) { /* first what is cheap to see */
    const poei_part *part = &f->parts.item[i];
    f->low[i] = poei_low_rank_of(part->expert);
    f->n_low += f->low[i] != NULL;
    f->rank += f->low[i] == NULL ? 0 : f->low[i]->r;
    *fits = f->low[i] == NULL || part->exponent > 0.0;
    for (size_t j = 0; f->low[i] != NULL && j < part->n; j++) {
      f->precision[part->index[j]] += part->exponent * f->low[i]->scale[j] * f->low[i]->scale[j];
    }
  }
  *fits = *fits && f->n_low > 0 && f->rank <= MOST_RANK;
  for (size_t i = 0; i < f->parts.n && *fits && status == POE_OK; i++) {
    status = f->low[i] == NULL ? add_diagonal(f, &f->parts.item[i], fits, error) : POE_OK;
  }
  for (size_t j = 0; j < f->parts.dim && *fits; j++) {
    f->precision[j] += f->diagonal[j];
    *fits = f->precision[j] > 0.0 && isfinite(f->precision[j]);
  }
  return status;
}

/* B, and S but for the products of different factors: what other factors say of each coordinate weighs its diagonal
 * blocks. others[dim] is room. */
static void fill_blocks(factors *f, double *others, double *row) {
  size_t rank = f->rank, dim = f->parts.dim;
  for (size_t i = 0, at = 0; i < f->parts.n; i++) {
    const poei_part *part = &f->parts.item[i];
    const poei_low_rank *low = f->low[i];
    if (low == NULL) {
      continue;
    }
    memcpy(others, f->diagonal, dim * sizeof *others);
    for (size_t k = 0; k < f->parts.n; k++) {
      const poei_part *other = &f->parts.item[k];
      for (size_t j = 0; f->low[k] != NULL && k != i && j < other->n; j++) {
        others[other->index[j]] += other->exponent * f->low[k]->scale[j] * f->low[k]->scale[j];
      }
    }
    for (size_t j = 0; j < part->n; j++) {
      size_t c = part->index[j];
      double share = others[c] / f->precision[c];
      for (size_t a = 0; a < low->r; a++) {
        row[a] = low->w[j * low->r + a];
        f->b[c * rank + at + a] = sqrt(part->exponent) * low->scale[j] * row[a];
      }
      for (size_t a = 0; a < low->r; a++) {
        for (size_t e = 0; e < low->r; e++) {
          f->s[(at + a) * rank + at + e] += share * row[a] * row[e];
        }
      }
    }
    for (size_t a = 0; a < low->r; a++) {
      f->s[(at + a) * rank + at + a] += 1.0;
    }
    at += low->r;
  }
}

/* S -= B' P^-1 B off its diagonal blocks, then V in place of B. False when S is not positive definite. */
static bool close_blocks(factors *f, double *cross) {
  size_t rank = f->rank, dim = f->parts.dim;
  for (size_t c = 0; c < dim; c++) {
    for (size_t a = 0; a < rank; a++) {
      f->b[c * rank + a] /= sqrt(f->precision[c]);
    }
  }
  if (f->n_low > 1) {
    poei_dgemm(true, false, rank, rank, dim, 1.0, f->b, rank, f->b, rank, 0.0, cross, rank);
    for (size_t i = 0, at = 0; i < f->parts.n; i++) {
      size_t r = f->low[i] == NULL ? 0 : f->low[i]->r;
      for (size_t a = at; a < at + r; a++) {
        for (size_t e = 0; e < rank; e++) {
          f->s[a * rank + e] -= e >= at && e < at + r ? 0.0 : cross[a * rank + e];
        }
      }
      at += r;
    }
  }
  if (poei_cholesky(rank, f->s, f->s) != 0) {
    return false;
  }
  poei_solve_lower(rank, f->s, dim, f->b, rank);
  for (size_t c = 0; c < dim; c++) {
    for (size_t a = 0; a < rank; a++) {
      f->b[c * rank + a] /= sqrt(f->precision[c]);
    }
  }
  return true;
}

static poe_status find_covariance(factors *f, bool *fits, poe_error *error) {
  size_t total;
  f->b = poei_mul_size(f->parts.dim, f->rank, &total) ? poei_calloc(total, sizeof(double)) : NULL;
  f->s = poei_calloc(f->rank * f->rank, sizeof(double));
  double *others = poei_alloc(f->parts.dim, sizeof *others), *row = poei_alloc(f->rank, sizeof *row);
  double *cross = poei_alloc(f->rank * f->rank, sizeof *cross);
  poe_status status = POE_OK;
  if (f->b == NULL || f->s == NULL || others == NULL || row == NULL || cross == NULL) {
    status = no_memory(error);
  } else {
    fill_blocks(f, others, row);
    *fits = close_blocks(f, cross);
  }
  poei_free(others);
  poei_free(row);
  poei_free(cross);
  return status;
}

/* mean[dim] <- mean + (P^-1 + V V') g. room[rank]. */
static void step(const factors *f, const double *g, double *mean, double *room) {
  size_t rank = f->rank, dim = f->parts.dim;
  memset(room, 0, rank * sizeof *room);
  for (size_t c = 0; c < dim; c++) {
    for (size_t a = 0; a < rank; a++) {
      room[a] += f->b[c * rank + a] * g[c];
    }
  }
  for (size_t c = 0; c < dim; c++) {
    mean[c] += g[c] / f->precision[c] + poei_ddot(rank, &f->b[c * rank], room);
  }
}

/* The mean, and log f there. */
static poe_status find_mean(const factors *f, const poe_expert *product, double *mean, double *value,
                            poe_error *error) {
  size_t dim = f->parts.dim;
  double *g = poei_alloc(dim + f->rank, sizeof *g), one = 1.0;
  poe_scratch *scratch = poe_scratch_create(poe_expert_scratch(product, POE_WANT_GRAD, 1));
  poe_status status = g == NULL || scratch == NULL ? no_memory(error) : POE_OK;
  memset(mean, 0, dim * sizeof *mean);
  for (int i = 0; i <= STEPS && status == POE_OK; i++) {
    memset(g, 0, dim * sizeof *g);
    *value = 0.0;
    status = poe_expert_eval_add(product, (poe_rows){1, dim, dim, mean}, (poe_weights){&one, 0},
                                 (poe_accum){value, g, dim}, scratch, error);
    if (i < STEPS) {
      step(f, g, mean, g + dim);
    }
  }
  poe_scratch_destroy(scratch);
  poei_free(g);
  return status;
}

static poe_status close_factors(const factors *f, const poe_expert *product, poe_expert **out, poe_error *error) {
  size_t dim = f->parts.dim;
  double value = 0.0;
  poei_low_rank *made = poei_low_rank_alloc(dim, f->rank);
  poe_expert *gaussian = NULL;
  if (made == NULL) {
    return no_memory(error);
  }
  for (size_t c = 0; c < dim; c++) {
    made->scale[c] = sqrt(f->precision[c]);
  }
  memcpy(made->w, f->b, dim * f->rank * sizeof *made->w);
  poe_status status = find_mean(f, product, made->mean, &value, error);
  if (status == POE_OK) {
    status = poei_low_rank_finish(made, error);
  }
  if (status == POE_OK && !isfinite(value)) {
    status = poe_error_set(error, POE_E_NUMERIC, "the factors of a Gaussian are too far apart: its value overflows");
  }
  double offset = made->offset;
  if (status == POE_OK) {
    status = poei_low_rank_wrap(made, &gaussian, error);
  }
  if (gaussian == NULL) {
    poei_low_rank_destroy(made);
    return status;
  }
  status = poei_scaled(gaussian, value - offset, 0.0, out, error);
  poe_expert_release(gaussian);
  return status;
}

bool poei_rule_low_rank_applies(const poe_expert *expert) {
  return poei_node_kind_of(expert) == POEI_NODE_product && poe_expert_traits(expert)->dim > POEI_FORM_MAX_DIM;
}

poe_status poei_rule_low_rank_rewrite(const poe_expert *expert, const poei_plan_options *options, poe_expert **out,
                                      char **what, poe_error *error) {
  (void)options;
  factors f = {0};
  bool fits = false;
  poe_error why = {0};
  poe_status status = read_factors(expert, &f, &fits, &why);
  if (status == POE_OK && fits) {
    status = find_covariance(&f, &fits, &why);
  }
  if (status == POE_OK && fits) {
    *what =
        poei_format("%zu factors became one Gaussian of rank %zu over %zu coordinates", f.parts.n, f.rank, f.parts.dim);
    status = *what == NULL ? no_memory(&why) : close_factors(&f, expert, out, &why);
    if (status != POE_OK) {
      poei_free(*what);
      *what = NULL;
    }
  }
  factors_free(&f);
  if (status == POE_E_NUMERIC || status == POE_E_DOMAIN || status == POE_E_CAPABILITY) {
    return POE_OK; /* not this way */
  }
  if (status != POE_OK) {
    *error = why;
  }
  return status;
}
