/* How fast the factors of a target fall off: is there a direction along which its divisors fall faster than the rest?
 *
 * Far out along v a Gaussian mixture with precisions P_k falls like its widest component, log p = -t^2 m(v) / 2 with
 * m(v) = min_k v'P_k v; Laplace and Student t densities fall more slowly than any Gaussian, m = 0. The product
 * prod_i p_i^(e_i) then behaves like M(v) = sum_i e_i m_i(v). M is continuous: where M(v) < 0 the density grows in a
 * whole cone of directions around v, and its integral diverges. M >= 0 everywhere proves nothing and is let pass.
 *
 * Axes are tried first: the simplest evidence. Then, for every choice of components c of the positive factors,
 *
 *   M(v) <= max over the divisors' components d of v'(N_c - D_d) v,   N_c, D_d sums of precisions times |e_i|,
 *
 * is made negative by the lowest eigenvector of N_c - sum_d lambda_d D_d, whose weights lambda move towards the
 * components that hold it back (Frank and Wolfe's step on a concave function, the lowest eigenvalue). An eigenvalue
 * that is not negative proves that there is no such direction for this c. What is found is checked against M itself.
 */
#include <math.h>
#include <string.h>

#include "compose/exact/routes.h"
#include "compose/exact/truncated.h"
#include "core/alloc.h"
#include "core/linalg.h"

enum { TAILS_MAX_DIM = 128, TAILS_CHOICES = 64, TAILS_STEPS = 32 };
static const double tails_noise = 1e-9; /* of the sum of sizes: a total below is rounding */

/* One factor to its power. */
typedef struct tail {
  double exponent;
  size_t n;            /* its coordinates                                          */
  const size_t *index; /* [n] in the target                                        */
  size_t components;   /* 0: falls more slowly than any Gaussian                   */
  double *diagonal;    /* [components, n] of the precisions                        */
  double *precision;   /* [components, n, n]; NULL when they are diagonal or too large for the search */
} tail;

typedef struct tails {
  size_t dim, n;
  tail *item;
  unsigned char *open; /* [dim] unbounded, and all about it is known */
  const poe_support *support;
  double *fall;        /* [2, dim] work: M along the axes, and its size */
  bool divided, large; /* a known divisor; precisions that were left out */
} tails;

static void tails_free(tails *all) {
  for (size_t i = 0; i < all->n; i++) {
    poei_free(all->item[i].diagonal);
    poei_free(all->item[i].precision);
  }
  poei_free(all->item);
  poei_free(all->open);
  poei_free(all->fall);
}

/* ---- what each factor says ---- */

/* Of a Gaussian mixture; components with weight 0 are left out. */
static poe_status tail_of_form(const poe_form *form, tail *t, poe_error *error) {
  size_t n = t->n, dense = n <= TAILS_MAX_DIM ? n : 0;
  t->diagonal = poei_calloc(form->components, n * sizeof *t->diagonal);
  t->precision = dense > 0 ? poei_calloc(form->components, n * n * sizeof *t->precision) : NULL;
  if (t->diagonal == NULL || (dense > 0 && t->precision == NULL)) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t k = 0; k < form->components; k++) {
    const double *own = form->precision + k * n * n;
    if (form->constant[k] == -INFINITY) {
      continue;
    }
    for (size_t j = 0; j < n; j++) {
      t->diagonal[t->components * n + j] = own[j * n + j];
    }
    if (dense > 0) {
      memcpy(t->precision + t->components * n * n, own, n * n * sizeof *own);
    }
    t->components++;
  }
  return POE_OK;
}

static poe_status tail_of_sparse(const poe_sparse_gaussian *sparse, tail *t, poe_error *error) {
  size_t n = t->n;
  bool dense = n <= TAILS_MAX_DIM;
  t->diagonal = poei_calloc(n, sizeof *t->diagonal);
  t->precision = dense ? poei_calloc(n * n, sizeof *t->precision) : NULL;
  if (t->diagonal == NULL || (dense && t->precision == NULL)) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t j = 0; j < n; j++) {
    t->diagonal[j] = sparse->precision[sparse->column_start[j]];
    for (size_t k = sparse->column_start[j]; dense && k < sparse->column_start[j + 1]; k++) {
      t->precision[sparse->row[k] * n + j] = t->precision[j * n + sparse->row[k]] = sparse->precision[k];
    }
  }
  t->components = 1;
  return POE_OK;
}

static poe_status tail_of_structure(const poe_structure *structure, tail *t, poe_error *error) {
  switch (structure->kind) {
  case POE_STRUCTURE_SPARSE:
    return tail_of_sparse(&structure->as.sparse, t, error);
  case POE_STRUCTURE_NATURAL: /* beside the square every statistic is smaller far out */
    t->diagonal = poei_alloc(t->n, sizeof *t->diagonal);
    for (size_t j = 0; t->diagonal != NULL && j < t->n; j++) {
      t->diagonal[j] = -2.0 * structure->as.natural.coefficient[j * POE_STATISTICS + POE_STATISTIC_SQUARE];
    }
    t->components = 1;
    return t->diagonal == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  case POE_STRUCTURE_FACTORS: /* over discrete coordinates */
    break;
  }
  return POE_OK;
}

static bool is_slow(const poe_expert *expert) {
  const char *kind = poe_expert_ops_of(expert)->kind;
  return poei_node_kind_of(expert) == POEI_NODE_LEAF &&
         (strcmp(kind, "laplace") == 0 || strcmp(kind, "student_t") == 0);
}

/* Inside its box a restricted density is its child. */
static const poe_expert *unboxed(const poe_expert *expert) {
  while (poei_node_kind_of(expert) == POEI_NODE_restrict) {
    expert = poei_node_child(expert, 0);
  }
  return expert;
}

/* *known false: nothing can be said about this factor. */
static poe_status tail_of(const poei_part *part, tail *t, bool *known, poe_error *error) {
  const poe_expert *expert = unboxed(part->expert);
  bool boxed = poei_truncated_is(expert);
  poe_status status = POE_OK, found = POE_E_CAPABILITY;
  *t = (tail){.exponent = part->exponent, .n = part->n, .index = part->index};
  if (is_slow(expert)) {
    found = POE_OK;
  } else if (boxed || poei_expert_can(expert, POE_CAN_FORM)) {
    poe_form form = {0};
    found = (boxed ? poei_truncated_form : poe_expert_form)(expert, &form, error);
    if (found == POE_OK && form.kind == POE_FORM_GAUSSIANS) {
      status = tail_of_form(&form, t, error);
    }
    poe_form_release(&form);
  } else if (poei_expert_can(expert, POE_CAN_STRUCTURE)) {
    poe_structure structure = {0};
    found = poe_expert_structure(expert, &structure, error);
    if (found == POE_OK) {
      status = tail_of_structure(&structure, t, error);
    }
    poe_structure_release(&structure);
  }
  *known = found == POE_OK;
  return found == POE_E_MEMORY ? found : status;
}

static poe_status tails_open(const poe_expert *target, const poei_parts *parts, tails *all, poe_error *error) {
  *all = (tails){.dim = parts->dim, .support = poe_expert_traits(target)->support};
  all->item = poei_calloc(parts->n, sizeof *all->item);
  all->open = poei_alloc(parts->dim, 1);
  all->fall = poei_calloc(parts->dim, 2 * sizeof *all->fall);
  if (all->item == NULL || all->open == NULL || all->fall == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t c = 0; c < all->dim; c++) {
    all->open[c] = all->support[c].kind == POE_CONTINUOUS && poei_support_unbounded(&all->support[c]);
  }
  for (size_t i = 0; i < parts->n; i++) {
    bool known = false;
    poe_status status = tail_of(&parts->item[i], &all->item[all->n++], &known, error);
    if (status != POE_OK) {
      return status;
    }
    for (size_t j = 0; j < parts->item[i].n && !known; j++) {
      all->open[parts->item[i].index[j]] = 0;
    }
    all->divided = all->divided || (all->item[i].components > 0 && parts->item[i].exponent < 0.0);
    all->large = all->large || (known && parts->item[i].n > TAILS_MAX_DIM);
  }
  return POE_OK;
}

/* ---- along a direction ---- */

/* v'Pv of one component, v[dim]. */
static double tail_component(const tail *t, size_t k, const double *v) {
  double sum = 0.0;
  for (size_t i = 0; i < t->n; i++) {
    double vi = v[t->index[i]];
    if (vi == 0.0) {
      continue;
    }
    if (t->precision == NULL) {
      sum += vi * vi * t->diagonal[k * t->n + i];
      continue;
    }
    const double *row = t->precision + (k * t->n + i) * t->n;
    for (size_t j = 0; j < t->n; j++) {
      sum += vi * row[j] * v[t->index[j]];
    }
  }
  return sum;
}

static double tail_along(const tail *t, const double *v, size_t *widest) {
  double least = t->components == 0 ? 0.0 : INFINITY;
  for (size_t k = 0; k < t->components; k++) {
    double own = tail_component(t, k, v);
    if (own < least) {
      least = own;
      *widest = k;
    }
  }
  return least;
}

/* M(v); *size: the sum without signs. */
static double tails_along(const tails *all, const double *v, double *size) {
  double total = 0.0;
  *size = 0.0;
  for (size_t i = 0; i < all->n; i++) {
    size_t unused;
    double own = all->item[i].exponent * tail_along(&all->item[i], v, &unused);
    total += own;
    *size += fabs(own);
  }
  return total;
}

/* Does the support reach to infinity along v or -v? */
static bool tails_reach(const tails *all, const double *v) {
  bool up = true, down = true;
  for (size_t c = 0; c < all->dim; c++) {
    const poe_support *s = &all->support[c];
    if (v[c] != 0.0) {
      up = up && (v[c] > 0.0 ? s->high == INFINITY : s->low == -INFINITY);
      down = down && (v[c] > 0.0 ? s->low == -INFINITY : s->high == INFINITY);
    }
  }
  return up || down;
}

static bool tails_grow(const tails *all, const double *v, double *total) {
  double size;
  *total = tails_along(all, v, &size);
  return *total < -tails_noise * size && tails_reach(all, v);
}

/* The axis along which the density grows most, in units of what the factors say about it. */
static bool tails_axis(const tails *all, double *v, double *total) {
  double *fall = all->fall, *size = fall + all->dim, worst = -tails_noise;
  size_t found = SIZE_MAX;
  for (size_t i = 0; i < all->n; i++) {
    const tail *t = &all->item[i];
    for (size_t j = 0; j < t->n && t->components > 0; j++) {
      double widest = INFINITY;
      for (size_t k = 0; k < t->components; k++) {
        widest = fmin(widest, t->diagonal[k * t->n + j]);
      }
      fall[t->index[j]] += t->exponent * widest;
      size[t->index[j]] += fabs(t->exponent * widest);
    }
  }
  for (size_t c = 0; c < all->dim; c++) {
    if (all->open[c] && fall[c] < worst * size[c]) {
      worst = fall[c] / size[c];
      found = c;
    }
  }
  for (size_t c = 0; c < all->dim && found != SIZE_MAX; c++) {
    v[c] = c == found ? 1.0 : 0.0;
  }
  *total = found != SIZE_MAX ? fall[found] : 0.0;
  return found != SIZE_MAX;
}

/* ---- the search ---- */

typedef struct search {
  const tails *all;
  bool memory;                       /* ran out                      */
  size_t m;                          /* open coordinates             */
  size_t *coordinate;                /* [m]                          */
  size_t *place;                     /* [dim] their inverse; SIZE_MAX for the others */
  size_t *choice;                    /* [factors] component of a positive factor     */
  double *weight;                    /* [sum of components] of the divisors          */
  double *scale;                     /* [m] 1 / sqrt of the sizes on the diagonal    */
  double *matrix, *vectors, *values; /* [m, m], [m, m], [m] */
} search;

static void search_free(search *s) {
  poei_free(s->coordinate);
  poei_free(s->place);
  poei_free(s->choice);
  poei_free(s->weight);
  poei_free(s->scale);
  poei_free(s->matrix);
  poei_free(s->vectors);
  poei_free(s->values);
}

static bool search_open(search *s, const tails *all) {
  size_t components = 0;
  *s = (search){.all = all};
  for (size_t c = 0; c < all->dim; c++) {
    s->m += all->open[c];
  }
  for (size_t i = 0; i < all->n; i++) {
    components += all->item[i].components;
  }
  s->coordinate = poei_alloc(s->m, sizeof *s->coordinate);
  s->place = poei_alloc(all->dim, sizeof *s->place);
  s->choice = poei_calloc(all->n, sizeof *s->choice);
  s->weight = poei_alloc(components, sizeof *s->weight);
  s->scale = poei_alloc(s->m, sizeof *s->scale);
  s->matrix = poei_alloc(s->m, s->m * sizeof *s->matrix);
  s->vectors = poei_alloc(s->m, s->m * sizeof *s->vectors);
  s->values = poei_alloc(s->m, sizeof *s->values);
  size_t at = 0;
  for (size_t c = 0; s->coordinate != NULL && s->place != NULL && c < all->dim; c++) {
    s->place[c] = all->open[c] ? at : SIZE_MAX;
    if (all->open[c]) {
      s->coordinate[at++] = c;
    }
  }
  return s->coordinate != NULL && s->place != NULL && s->choice != NULL && s->weight != NULL && s->scale != NULL &&
         s->matrix != NULL && s->vectors != NULL && s->values != NULL;
}

/* matrix += factor P_k on the open coordinates, and scale += its diagonal without signs. */
static void search_add(search *s, const tail *t, size_t k, double factor) {
  for (size_t i = 0; i < t->n; i++) {
    size_t pi = s->place[t->index[i]];
    if (pi == SIZE_MAX) {
      continue;
    }
    s->scale[pi] += fabs(factor * t->diagonal[k * t->n + i]);
    if (t->precision == NULL) {
      s->matrix[pi * s->m + pi] += factor * t->diagonal[k * t->n + i];
      continue;
    }
    for (size_t j = 0; j < t->n; j++) {
      size_t pj = s->place[t->index[j]];
      if (pj != SIZE_MAX) {
        s->matrix[pi * s->m + pj] += factor * t->precision[(k * t->n + i) * t->n + j];
      }
    }
  }
}

/* The lowest eigenvector of N_c - sum lambda_d D_d in scaled coordinates, into the unit vector v[dim]; false when its
 * value is not negative. */
static bool search_lowest(search *s, double *v) {
  size_t m = s->m, at = 0;
  memset(s->matrix, 0, m * m * sizeof *s->matrix);
  memset(s->scale, 0, m * sizeof *s->scale);
  for (size_t i = 0; i < s->all->n; i++) {
    const tail *t = &s->all->item[i];
    if (t->exponent > 0.0 && t->components > 0) {
      search_add(s, t, s->choice[i], t->exponent);
    }
    for (size_t k = 0; k < t->components; k++, at++) {
      if (t->exponent < 0.0 && s->weight[at] > 0.0) {
        search_add(s, t, k, t->exponent * s->weight[at]);
      }
    }
  }
  for (size_t i = 0; i < m; i++) {
    s->scale[i] = s->scale[i] > 0.0 ? 1.0 / sqrt(s->scale[i]) : 1.0;
  }
  for (size_t i = 0; i < m; i++) {
    for (size_t j = 0; j < m; j++) {
      s->matrix[i * m + j] *= s->scale[i] * s->scale[j];
    }
  }
  for (size_t i = 0; i < m * m; i++) {
    if (!isfinite(s->matrix[i])) {
      return false;
    }
  }
  s->memory = s->memory || !poei_symmetric_eigen(m, s->matrix, s->values, s->vectors);
  if (s->memory || !(s->values[0] < -tails_noise)) {
    return false;
  }
  double most = 0.0, norm = 0.0;
  for (size_t i = 0; i < m; i++) {
    most = fmax(most, fabs(s->vectors[i]));
    norm = hypot(norm, s->vectors[i] * s->scale[i]);
  }
  memset(v, 0, s->all->dim * sizeof *v);
  for (size_t i = 0; i < m; i++) {
    v[s->coordinate[i]] = fabs(s->vectors[i]) > 1e-9 * most ? s->vectors[i] * s->scale[i] / norm : 0.0;
  }
  return true;
}

/* Moves the weights of the divisors by `step` towards the components that are widest along v. */
static void search_turn(search *s, const double *v, double step) {
  size_t at = 0;
  for (size_t i = 0; i < s->all->n; i++) {
    const tail *t = &s->all->item[i];
    size_t widest = 0;
    tail_along(t, v, &widest);
    for (size_t k = 0; k < t->components; k++, at++) {
      s->weight[at] = (1.0 - step) * s->weight[at] + (k == widest ? step : 0.0);
    }
  }
}

static bool search_choice(search *s, double *v, double *total) {
  size_t at = 0;
  for (size_t i = 0; i < s->all->n; i++) {
    for (size_t k = 0; k < s->all->item[i].components; k++) {
      s->weight[at++] = 1.0 / (double)s->all->item[i].components;
    }
  }
  for (size_t k = 0; k < TAILS_STEPS && search_lowest(s, v); k++) {
    if (tails_grow(s->all, v, total)) {
      return true;
    }
    search_turn(s, v, 2.0 / ((double)k + 3.0));
  }
  return false;
}

/* The next choice of components of the positive factors; false after the last. */
static bool search_next(search *s) {
  for (size_t i = 0; i < s->all->n; i++) {
    const tail *t = &s->all->item[i];
    if (t->exponent > 0.0 && t->components > 0) {
      if (++s->choice[i] < t->components) {
        return true;
      }
      s->choice[i] = 0;
    }
  }
  return false;
}

static poe_status tails_direction(const tails *all, double *v, double *total, bool *found, poe_error *error) {
  search s;
  bool memory = search_open(&s, all);
  if (memory && s.m >= 2 && s.m <= TAILS_MAX_DIM) {
    size_t tried = 0, most = s.m <= 16 ? TAILS_CHOICES : 4;
    do {
      *found = search_choice(&s, v, total);
    } while (!*found && !s.memory && ++tried < most && search_next(&s));
  }
  memory = memory && !s.memory;
  search_free(&s);
  return memory ? POE_OK : poe_error_set(error, POE_E_MEMORY, "out of memory");
}

static poe_status tails_report(const tails *all, const poei_names *names, poe_error *error) {
  double *v = poei_calloc(all->dim, sizeof *v), total = 0.0;
  if (v == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  bool found = tails_axis(all, v, &total);
  poe_status status = found || all->large ? POE_OK : tails_direction(all, v, &total, &found, error);
  if (status == POE_OK && found) {
    char text[POEI_DIRECTION_SIZE];
    status = poe_error_set(error, POE_E_IMPROPER,
                           "the density cannot be normalised: along %s the divisors fall off faster than the rest "
                           "(total precision %.3g)",
                           poei_direction_text(names, all->dim, v, text, sizeof text), total);
    poe_error_hint(error, "multiply it by an expert that is proper in that direction, or take less of the divisor");
  }
  poei_free(v);
  return status;
}

poe_status poei_check_tails(const poe_expert *target, const poei_names *names, poe_error *error) {
  poei_parts parts;
  poe_status status = poei_parts_open(unboxed(target), POEI_OPEN_ALL, &parts, NULL, error);
  if (status != POE_OK) {
    return status;
  }
  tails all = {0};
  bool divides = false;
  for (size_t i = 0; i < parts.n; i++) {
    divides = divides || parts.item[i].exponent < 0.0;
  }
  if (divides) {
    status = tails_open(target, &parts, &all, error);
  }
  if (status == POE_OK && all.divided) {
    status = tails_report(&all, names, error);
  }
  tails_free(&all);
  poei_parts_free(&parts);
  return status;
}
