/* Weighted Gaussians around an origin of their own: p(x) = sum_c w_c N(x - o; m_c, S_c).
 *
 * A double near 1e8 is 1e-8 coarse: rounded to it, a mean of width 1e-3 moves by 1e-5 of its width. Kept relative to an
 * origin near by, which is a double and exact, means have the digits of their widths; x - o is exact where it matters.
 * The closed form, whose origins are doubles, has what they lack in its linear terms.
 */
#include "compose/exact/fused.h"

#include <math.h>

#include "compose/nodes/node.h"
#include "core/alloc.h"
#include "core/pool.h"

enum { TILE = POEI_TILE };

typedef struct fused {
  poei_normals *normals; /* means relative to the origin */
  double *origin;        /* [d]                          */
} fused;

static void fused_destroy(void *state) {
  fused *self = state;
  poei_normals_destroy(self->normals);
  poei_free(self->origin);
  poei_free(self);
}

static void fused_traits(const void *state, poe_traits *traits) {
  poei_normals_traits(((const fused *)state)->normals, traits);
}

static size_t fused_scratch(const void *state, unsigned want, size_t n) {
  const fused *self = state;
  size_t rows = n < TILE ? n : TILE;
  if ((want & POE_WANT_SAMPLE) != 0) {
    return poei_normals_scratch(self->normals, want, n);
  }
  return poe_scratch_need(rows * self->normals->d, sizeof(double)) + poei_normals_scratch(self->normals, want, rows);
}

static poe_status fused_eval_add(const void *state, poe_rows rows, poe_weights weights, poe_accum out,
                                 poe_scratch *scratch, poe_error *error) {
  const fused *self = state;
  size_t mark = poe_scratch_mark(scratch), d = self->normals->d;
  double *u = poe_scratch_doubles(scratch, (rows.n < TILE ? rows.n : TILE) * d);
  poe_status status = POE_OK;
  for (size_t start = 0; start < rows.n && status == POE_OK; start += TILE) {
    size_t n = rows.n - start < TILE ? rows.n - start : TILE;
    for (size_t i = 0; i < n; i++) {
      for (size_t j = 0; j < d; j++) {
        u[i * d + j] = rows.x[(start + i) * rows.ld + j] - self->origin[j];
      }
    }
    poe_weights part_weights = {weights.w + start * weights.inc, weights.inc};
    poe_accum part_out = {out.logp + start, out.grad != NULL ? out.grad + start * out.ldg : NULL, out.ldg};
    status = poei_normals_eval_add(self->normals, (poe_rows){n, d, d, u}, part_weights, part_out, scratch, error);
  }
  poe_scratch_release(scratch, mark);
  return status;
}

static poe_status fused_sample(const void *state, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                               poe_error *error) {
  const fused *self = state;
  poe_status status = poei_normals_sample(self->normals, rows, at, scratch, error);
  for (size_t i = 0; i < rows.n && status == POE_OK; i++) {
    for (size_t j = 0; j < rows.d; j++) {
      rows.x[i * rows.ld + j] += self->origin[j];
    }
  }
  return status;
}

static poe_status fused_log_z(const void *state, double *log_z, poe_error *error) {
  return poei_normals_log_z(((const fused *)state)->normals, log_z, error);
}

/* Moves the origins by o and rounds them; what was lost, s, goes to l = P s and c -= s'P s / 2. */
static poe_status fused_form(const void *state, poe_form *form, poe_error *error) {
  const fused *self = state;
  size_t d = self->normals->d;
  poe_status status = poei_normals_form(self->normals, form, error);
  for (size_t c = 0; status == POE_OK && c < form->components; c++) {
    double *origin = &form->origin[c * d], *linear = &form->linear[c * d], *precision = &form->precision[c * d * d];
    for (size_t j = 0; j < d; j++) {
      double mean = origin[j];
      origin[j] = self->origin[j] + mean;
      double lost = self->origin[j] - origin[j] + mean;
      form->constant[c] -= lost * (linear[j] + 0.5 * lost * precision[j * d + j]);
      for (size_t i = 0; i < d && lost != 0.0; i++) {
        linear[i] += precision[i * d + j] * lost;
      }
    }
  }
  return status;
}

static const poe_param no_params[] = {{0}};

static const poe_expert_ops fused_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "closed",
    .doc = "a sum of weighted Gaussians in closed form",
    .params = no_params,
    .create = poei_node_create,
    .destroy = fused_destroy,
    .traits = fused_traits,
    .scratch = fused_scratch,
    .eval_add = fused_eval_add,
    .sample = fused_sample,
    .log_z = fused_log_z,
    .form = fused_form,
};

poe_status poei_fused_create(poei_normals *normals, const double *origin, poe_expert **out, poe_error *error) {
  fused *self = poei_calloc(1, sizeof *self);
  double *copy = poei_copy(origin, normals->d, sizeof *origin);
  if (self == NULL || copy == NULL) {
    poei_free(self);
    poei_free(copy);
    poei_normals_destroy(normals);
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  *self = (fused){normals, copy};
  return poei_node_wrap(&fused_ops, self, out, error);
}
