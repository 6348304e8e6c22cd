/* Products of Gaussians as one closed expert, with the digits of the factors (fuse.h).
 *
 * Where and how high the product is comes from its factors themselves, not from their expanded polynomials: with
 * f = sum_i t_i log f_i and g its gradient, both evaluated at a point m, and P = M'M the sum of the precisions,
 *
 *   f(x) = f(m) + g (x - m) - (x - m)' P (x - m) / 2,
 *   log Z = f(m) + g' P^-1 g / 2 + d/2 log 2 pi - sum_j log M_jj,      mean = m + P^-1 g,
 *
 * exactly, for any m. The step to the mean is repeated until it is small against the width (Newton; iterative
 * refinement, Higham 2002, chapter 12): at the mean every factor's residual is of the order of its own width, so
 * nothing large cancels, wherever 0 may be. P is kept by its square root (root.c).
 *
 * A mixture distributes: one component per choice of a term in each. Terms with an expert of their own are evaluated by
 * it; components of a form around their origins, their means.
 */
#include "compose/exact/fuse.h"

#include <math.h>
#include <string.h>

#include "compose/exact/fused.h"
#include "compose/exact/root.h"
#include "compose/exact/terms.h"
#include "core/alloc.h"
#include "core/numerics.h"

enum {
  MAX_POWER = 16, /* of a mixture              */
  MOST_STEPS = 12,
  BATCH = 64 /* points per call of an expert */
};
static const size_t max_numbers = 1u << 25; /* doubles in the factors of one result */
static const double small_step = 1e-6;      /* squared, in standard deviations      */
static const double small_error = 1e-10;    /* of a log integral                    */
static const double most_noise = 1e-6;      /* relative, of a root                  */

/* A part with its terms; a mixture to the power r is r factors. */
typedef struct factor {
  const poei_part *part;
  const poei_terms *terms;
  size_t stride; /* component c of the product has term c / stride % n_terms */
} factor;

typedef struct fusion {
  size_t dim, n_sources, n_factors, k;
  poei_terms *source; /* [n_sources] */
  factor *factor;     /* [n_factors] */
  bool diagonal;
  poei_normals *made;
  double noise;             /* relative error of the precisions' roots, at most */
  double *point;            /* [k, dim] where the factors are evaluated: near the means */
  double *value, *gradient; /* [k], [k, dim]                                           */
} fusion;

/* ---- the components of the product ---- */

/* How often a part's terms are multiplied in: once for a Gaussian, whatever its exponent; as often as the exponent says
 * for a mixture. 0: no such power. */
static size_t repeats(const poei_terms *terms, double exponent) {
  if (terms->n_terms == 1) {
    return 1;
  }
  return exponent >= 1.0 && exponent <= MAX_POWER && exponent == floor(exponent) ? (size_t)exponent : 0;
}

static double exponent_of(const factor *own) {
  return own->terms->n_terms == 1 ? own->part->exponent : 1.0;
}

/* Lists the factors and counts the components. */
static poe_status list_factors(fusion *f, const poei_part *parts, size_t limit, poe_error *error) {
  size_t most = 0, numbers;
  for (size_t i = 0; i < f->n_sources; i++) {
    size_t times = repeats(&f->source[i], parts[i].exponent);
    if (f->source[i].n_terms == 0) {
      return poe_error_set(error, POE_E_EMPTY, "every component of a factor has weight 0");
    }
    if (times == 0) {
      return poe_error_set(error, POE_E_CAPABILITY, "a mixture to the power %g is not a mixture of Gaussians",
                           parts[i].exponent);
    }
    most += times;
  }
  f->factor = poei_calloc(most, sizeof *f->factor);
  if (f->factor == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  f->k = 1;
  for (size_t i = 0; i < f->n_sources; i++) {
    for (size_t r = repeats(&f->source[i], parts[i].exponent); r > 0; r--) {
      f->factor[f->n_factors++] = (factor){&parts[i], &f->source[i], f->k};
      if (!poei_mul_size(f->k, f->source[i].n_terms, &f->k) || f->k > limit) {
        return poe_error_set(error, POE_E_CAPABILITY, "the product of mixtures has more than %zu components", limit);
      }
    }
  }
  if (!poei_mul_size(f->dim, f->dim, &numbers) || !poei_mul_size(numbers, f->k, &numbers) || numbers > max_numbers) {
    return poe_error_set(error, POE_E_CAPABILITY, "%zu Gaussians in %zu dimensions are too large to multiply out", f->k,
                         f->dim);
  }
  return POE_OK;
}

static const poei_term *term_of(const factor *own, size_t c) {
  return &own->terms->term[c / own->stride % own->terms->n_terms];
}

/* ---- precisions ---- */

/* What a term adds to the precision, and what it takes away: a divisor the other way round. */
typedef struct rows {
  size_t n;
  const double *row; /* [n, part n] */
  double t;          /* times this  */
} rows;

static rows added_rows(const factor *own, const poei_term *one) {
  double t = exponent_of(own);
  return t > 0.0 ? (rows){one->n_rows, one->row, t} : (rows){one->n_minus, one->minus, -t};
}

static rows taken_rows(const factor *own, const poei_term *one) {
  double t = exponent_of(own);
  return t > 0.0 ? (rows){one->n_minus, one->minus, t} : (rows){one->n_rows, one->row, -t};
}

static void add_term(poei_root *root, const factor *own, const poei_term *one) {
  rows add = added_rows(own, one);
  for (size_t r = 0; r < add.n; r++) {
    poei_root_add(root, add.t, own->part->n, own->part->index, &add.row[r * own->part->n]);
  }
}

/* Writes what a term takes away over all coordinates into w[*at.., dim]. */
static void take_term(const fusion *f, const factor *own, const poei_term *one, double *w, size_t *at) {
  rows take = taken_rows(own, one);
  for (size_t r = 0; r < take.n; r++, ++*at) {
    memset(&w[*at * f->dim], 0, f->dim * sizeof *w);
    for (size_t j = 0; j < own->part->n; j++) {
      w[*at * f->dim + own->part->index[j]] = sqrt(take.t) * take.row[r * own->part->n + j];
    }
  }
}

/* What every component takes away, w[*m, dim], and room for that and what one may take besides; both on the heap. */
static poe_status taken_from_all(const fusion *f, double **w, double **copy, size_t *m, poe_error *error) {
  size_t room = 0, numbers;
  for (size_t i = 0; i < f->n_factors; i++) {
    size_t most = 0;
    for (size_t k = 0; k < f->factor[i].terms->n_terms; k++) {
      size_t own = taken_rows(&f->factor[i], &f->factor[i].terms->term[k]).n;
      most = own > most ? own : most;
    }
    room += most;
  }
  *m = 0;
  if (poei_mul_size(room, f->dim, &numbers)) {
    *w = poei_alloc(numbers, sizeof **w);
    *copy = poei_alloc(numbers, sizeof **copy);
  }
  if (*w == NULL || *copy == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t i = 0; i < f->n_factors; i++) {
    if (f->factor[i].terms->n_terms == 1) {
      take_term(f, &f->factor[i], f->factor[i].terms->term, *w, m);
    }
  }
  return POE_OK;
}

/* About the precision of each coordinate, and a first guess at its mean: the origins of the first terms, weighted. */
static void guess(const fusion *f, double *diagonal, double *mean) {
  for (size_t i = 0; i < f->n_factors; i++) {
    const factor *own = &f->factor[i];
    const poei_term *one = own->terms->term;
    size_t n = own->part->n;
    for (size_t j = 0; exponent_of(own) > 0.0 && j < n; j++) {
      size_t at = own->part->index[j];
      double p = exponent_of(own) * one->form->precision[(one->component * n + j) * n + j];
      diagonal[at] += p > 0.0 ? p : 0.0;
      if (p > 0.0) {
        mean[at] += (one->form->origin[one->component * n + j] - mean[at]) * (p / diagonal[at]);
      }
    }
  }
}

/* The factor of component c from the root of the Gaussians that all have. taken[m, dim]: what they take away; copy has
 * room for what this one takes besides. */
static poe_status component_factor(fusion *f, size_t c, const poei_root *common, poei_root *root, size_t m,
                                   const double *taken, double *copy, poe_error *error) {
  size_t d = f->dim;
  bool proper = false;
  poei_root_copy(root, common);
  memcpy(copy, taken, m * d * sizeof *copy);
  for (size_t i = 0; i < f->n_factors; i++) {
    if (f->factor[i].terms->n_terms > 1) {
      add_term(root, &f->factor[i], term_of(&f->factor[i], c));
      take_term(f, &f->factor[i], term_of(&f->factor[i], c), copy, &m);
    }
  }
  poe_status status = poei_root_subtract(root, m, copy, &proper, error);
  if (status == POE_OK && !proper) {
    status = poe_error_set(error, POE_E_IMPROPER, "the product of the factors has no finite integral");
  }
  for (size_t j = 0; status == POE_OK && j < d; j++) {
    f->noise = fmax(f->noise, root->noise[j] / root->factor[j * d + j]);
  }
  if (status == POE_OK && f->diagonal) {
    for (size_t j = 0; j < d; j++) {
      f->made->factor[c * d + j] = root->factor[j * d + j] * root->scale[j];
    }
  } else if (status == POE_OK) {
    poei_root_inverse(root, &f->made->factor[c * d * d]);
  }
  return status;
}

static poe_status make_factors(fusion *f, poe_error *error) {
  size_t d = f->dim, m = 0;
  poei_root common = {0}, root = {0};
  double *diagonal = poei_calloc(d, sizeof *diagonal), *w = NULL, *copy = NULL;
  poe_status status = diagonal == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  if (status == POE_OK) {
    guess(f, diagonal, f->point);
    for (size_t c = 1; c < f->k; c++) {
      memcpy(&f->point[c * d], f->point, d * sizeof(double));
    }
    status = poei_root_start(&common, d, diagonal, error);
  }
  if (status == POE_OK) {
    status = poei_root_start(&root, d, diagonal, error);
  }
  if (status == POE_OK) {
    status = taken_from_all(f, &w, &copy, &m, error);
  }
  for (size_t i = 0; i < f->n_factors && status == POE_OK; i++) {
    if (f->factor[i].terms->n_terms == 1) {
      add_term(&common, &f->factor[i], f->factor[i].terms->term);
    }
  }
  for (size_t c = 0; c < f->k && status == POE_OK; c++) {
    status = component_factor(f, c, &common, &root, m, w, copy, error);
  }
  poei_root_free(&common);
  poei_root_free(&root);
  poei_free(diagonal);
  poei_free(w);
  poei_free(copy);
  return status;
}

/* ---- heights and means ---- */

typedef struct workspace {
  double *x, *gradient, *value; /* [BATCH, part n], the same, [BATCH] */
  size_t *component;            /* [BATCH] */
} workspace;

/* Adds a term's part to the values and gradients of `count` components. */
static poe_status add_values(fusion *f, const factor *own, const poei_term *one, size_t count, workspace *w,
                             poe_scratch *scratch, poe_error *error) {
  size_t n = own->part->n;
  double t = exponent_of(own);
  for (size_t i = 0; i < count; i++) {
    for (size_t j = 0; j < n; j++) {
      w->x[i * n + j] = f->point[w->component[i] * f->dim + own->part->index[j]];
    }
  }
  poe_status status = poei_term_values(one, n, count, w->x, w->value, w->gradient, scratch, error);
  for (size_t i = 0; i < count && status == POE_OK; i++) {
    f->value[w->component[i]] += t * w->value[i];
    for (size_t j = 0; j < n; j++) {
      f->gradient[w->component[i] * f->dim + own->part->index[j]] += t * w->gradient[i * n + j];
    }
  }
  return status;
}

/* A term at the means of all components that have it. */
static poe_status evaluate_term(fusion *f, const factor *own, const poei_term *one, workspace *w, poe_error *error) {
  poe_scratch *scratch = one->expert == NULL ? NULL : poe_scratch_create(poei_term_scratch(one, BATCH));
  if (scratch == NULL && one->expert != NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  poe_status status = POE_OK;
  for (size_t c = 0, count = 0; c < f->k && status == POE_OK; c++) {
    if (term_of(own, c) == one) {
      w->component[count++] = c;
    }
    if (count == BATCH || c + 1 == f->k) {
      status = add_values(f, own, one, count, w, scratch, error);
      count = 0;
    }
  }
  poe_scratch_destroy(scratch);
  return status;
}

static poe_status evaluate(fusion *f, workspace *w, poe_error *error) {
  poe_status status = POE_OK;
  memset(f->value, 0, f->k * sizeof *f->value);
  memset(f->gradient, 0, f->k * f->dim * sizeof *f->gradient);
  for (size_t i = 0; i < f->n_factors && status == POE_OK; i++) {
    for (size_t t = 0; t < f->factor[i].terms->n_terms && status == POE_OK; t++) {
      status = evaluate_term(f, &f->factor[i], &f->factor[i].terms->term[t], w, error);
    }
  }
  return status;
}

/* The way from component c's point to its mean, which becomes made->mean; its integral. Returns the squared length of
 * that way in standard deviations. */
static double step(fusion *f, size_t c) {
  size_t d = f->dim;
  double *g = &f->gradient[c * d], *way = &f->made->mean[c * d], square = 0.0, half_log_det = 0.0;
  const double *l = &f->made->factor[c * (f->diagonal ? d : d * d)];
  for (size_t j = 0; j < d && f->diagonal; j++) {
    g[j] /= l[j];
    way[j] = g[j] / l[j];
    square += g[j] * g[j];
    half_log_det -= log(l[j]);
  }
  for (size_t j = 0; j < d && !f->diagonal; j++) { /* g <- L' g, in place: row j of L' reads g[j..] only */
    double sum = 0.0;
    for (size_t i = j; i < d; i++) {
      sum += l[i * d + j] * g[i];
    }
    g[j] = sum;
    square += sum * sum;
    half_log_det += log(l[j * d + j]);
  }
  for (size_t i = 0; i < d && !f->diagonal; i++) {
    way[i] = 0.0;
    for (size_t j = 0; j <= i; j++) {
      way[i] += l[i * d + j] * g[j];
    }
  }
  f->made->log_weight[c] = f->value[c] + 0.5 * square + 0.5 * (double)d * POEI_LOG_2PI + half_log_det;
  return square;
}

/* Until every way is short or, where the spacing of doubles forbids that, two points give the same integrals. */
static poe_status find_means(fusion *f, workspace *w, poe_error *error) {
  bool found = false;
  for (size_t k = 0; k < MOST_STEPS && !found && f->noise <= most_noise; k++) {
    for (size_t i = 0; k > 0 && i < f->k * f->dim; i++) {
      f->point[i] += f->made->mean[i];
    }
    poe_status status = evaluate(f, w, error);
    if (status != POE_OK) {
      return status;
    }
    bool near = true, agree = k > 0;
    for (size_t c = 0; c < f->k; c++) {
      double before = f->made->log_weight[c], square = step(f, c), now = f->made->log_weight[c];
      near = near && square <= small_step;
      agree = agree && square * f->noise <= small_error && fabs(now - before) <= small_error * (1.0 + fabs(now));
    }
    found = near || agree;
  }
  for (size_t c = 0; c < f->k; c++) {
    found = found && isfinite(f->made->log_weight[c]);
    for (size_t j = 0; j < f->dim; j++) { /* relative to the first component's point */
      f->made->mean[c * f->dim + j] += f->point[c * f->dim + j] - f->point[j];
    }
  }
  return found ? POE_OK : poe_error_set(error, POE_E_NUMERIC, "doubles cannot hold the product of the factors");
}

/* ---- the expert ---- */

static poe_status fuse(fusion *f, const poei_part *parts, size_t limit, poe_error *error) {
  size_t widest = 1;
  poe_status status = POE_OK;
  for (size_t i = 0; i < f->n_sources && status == POE_OK; i++) {
    status = poei_terms_open(&f->source[i], parts[i].expert, &f->diagonal, error);
    widest = parts[i].n > widest ? parts[i].n : widest;
  }
  if (status == POE_OK) {
    status = list_factors(f, parts, limit, error);
  }
  if (status != POE_OK) {
    return status;
  }
  workspace w = {.x = poei_alloc(BATCH * widest, sizeof(double)),
                 .gradient = poei_alloc(BATCH * widest, sizeof(double))};
  w.value = poei_alloc(BATCH, sizeof(double));
  w.component = poei_alloc(BATCH, sizeof(size_t));
  f->made = poei_normals_alloc(f->k, f->dim, f->diagonal ? POEI_NORMALS_DIAGONAL : POEI_NORMALS_COVARIANCE, false);
  f->point = poei_calloc(f->k * f->dim, sizeof(double));
  f->value = poei_alloc(f->k, sizeof(double));
  f->gradient = poei_alloc(f->k * f->dim, sizeof(double));
  if (w.x == NULL || w.gradient == NULL || w.value == NULL || w.component == NULL || f->made == NULL ||
      f->point == NULL || f->value == NULL || f->gradient == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  } else {
    status = make_factors(f, error);
  }
  if (status == POE_OK) {
    status = find_means(f, &w, error);
  }
  poei_free(w.x);
  poei_free(w.gradient);
  poei_free(w.value);
  poei_free(w.component);
  return status;
}

poe_status poei_fuse(size_t dim, size_t n, const poei_part *parts, size_t limit, poe_expert **out, poe_error *error) {
  fusion f = {.dim = dim, .n_sources = n, .diagonal = true};
  f.source = poei_calloc(n, sizeof *f.source);
  poe_status status =
      f.source == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : fuse(&f, parts, limit, error);
  if (status == POE_OK) {
    poei_normals_finish(f.made);
    status = poei_fused_create(f.made, f.point, out, error); /* takes it either way */
    f.made = NULL;
  }
  poei_normals_destroy(f.made);
  for (size_t i = 0; f.source != NULL && i < n; i++) {
    poei_terms_close(&f.source[i]);
  }
  poei_free(f.source);
  poei_free(f.factor);
  poei_free(f.point);
  poei_free(f.value);
  poei_free(f.gradient);
  return status;
}
