/* kde(x | data, bandwidth): density estimate by Gaussian kernels, (1/n) sum_i prod_j N(x_j; data[i, j], h_j).
 *
 * The points come as numbers or from a file. The bandwidth h is one number, one per coordinate, or a rule of thumb:
 * h_j = s_j c n^(-1/(d+4)) with s_j the standard deviation of the data and c = 1 (`scott`: Scott 1992, equation 6.42)
 * or c = (4/(d+2))^(1/(d+4)) (`silverman`: Silverman 1986, equation 4.14).
 */
#include <string.h>

#include "core/alloc.h"
#include "core/numerics.h"
#include "experts/family.h"
#include "experts/list.h"
#include "experts/normals.h"
#include "formats/csv.h"
#include "formats/tensor_file.h"

/* A closed form with more components is not offered: the planner could do nothing with it. */
enum { MOST_COMPONENTS = 4096 };

static const poe_param kde_params[] = {
    {"data", POE_ARG_REAL, "n,d", NULL, "points, one to a row"},
    {"file", POE_ARG_FILE, "", NULL, "csv, npy, npz or safetensors with one array: the points"},
    {"bandwidth", POE_ARG_REAL, "d|scott|silverman", "scott", "standard deviation of a kernel, or a rule for it"},
    {0},
};

/* ---- the points, wherever they come from ---- */

typedef struct kde_points {
  size_t n;
  double *x; /* [n, d] */
} kde_points;

/* Takes rows x columns numbers that must be d to a row; for d = 1 any list of numbers is n rows. */
static poe_status take_points(const poe_args *args, const poe_arg *place, size_t d, size_t ndim, const size_t *shape,
                              size_t count, kde_points *points, poe_error *error) {
  char text[160];
  bool fits = d == 1 ? ndim == 1 || (ndim == 2 && (shape[0] == 1 || shape[1] == 1)) : ndim == 2 && shape[1] == d;
  if (!fits || count == 0) {
    return poe_args_error(place, error, POE_E_SHAPE, "the points of `%s` have shape %s, but [n, %zu] is needed",
                          args->kind, poei_shape_text(ndim, shape, text, sizeof text), d);
  }
  points->n = count / d;
  points->x = poei_alloc(count, sizeof *points->x);
  return points->x != NULL ? POE_OK : poei_family_memory(args->kind, error);
}

static poe_status read_numbers(const poe_args *args, size_t d, kde_points *points, poe_error *error) {
  const poe_arg *arg = poe_args_find(args, "data");
  size_t count = 1;
  for (size_t i = 0; i < arg->ndim; i++) {
    count *= arg->shape[i];
  }
  size_t one[1] = {1}; /* a single number is a single point */
  poe_status status = arg->ndim == 0 ? take_points(args, arg, d, 1, one, 1, points, error)
                                     : take_points(args, arg, d, arg->ndim, arg->shape, count, points, error);
  if (status == POE_OK) {
    memcpy(points->x, arg->real, count * sizeof *points->x);
  }
  return status;
}

static poe_status read_csv(const poe_args *args, const poe_arg *place, size_t d, kde_points *points, poe_error *error) {
  poei_csv csv = {0};
  poe_status status = poei_csv_read(place->text, &csv, error);
  if (status == POE_OK) {
    size_t shape[2] = {csv.rows, csv.columns};
    status = take_points(args, place, d, 2, shape, csv.rows * csv.columns, points, error);
    if (status == POE_OK) {
      memcpy(points->x, csv.values, csv.rows * csv.columns * sizeof *points->x);
    }
  }
  poei_csv_free(&csv);
  return status;
}

static poe_status read_tensor(const poe_args *args, const poe_arg *place, size_t d, kde_points *points,
                              poe_error *error) {
  poei_tensor_file *file = NULL;
  poe_status status = poei_tensor_file_open(place->text, &file, error);
  if (status != POE_OK) {
    return status;
  }
  if (poei_tensor_file_count(file) != 1) {
    poe_args_error(place, error, POE_E_FORMAT, "`%s` needs a file with one array, `%s` has %zu", args->kind,
                   place->text, poei_tensor_file_count(file));
    poe_error_hint(error, "give the array by name: data=data(\"file.npz\", \"key\")");
    status = POE_E_FORMAT;
  } else {
    const poei_tensor *tensor = poei_tensor_file_at(file, 0);
    status = take_points(args, place, d, tensor->ndim, tensor->shape, tensor->count, points, error);
    if (status == POE_OK) {
      poei_tensor_to_double(tensor, points->x);
    }
  }
  poei_tensor_file_close(file);
  return status;
}

static poe_status read_points(const poe_args *args, size_t d, kde_points *points, poe_error *error) {
  static const char *const sources[] = {"data", "file"};
  size_t which = 0;
  poe_status status = poei_family_one_of(args, 2, sources, &which, error);
  if (status != POE_OK) {
    return status;
  }
  const poe_arg *place = poe_args_find(args, sources[which]);
  if (which == 0) {
    status = read_numbers(args, d, points, error);
  } else {
    size_t length = strlen(place->text);
    bool csv = length > 4 && strcmp(place->text + length - 4, ".csv") == 0;
    status = csv ? read_csv(args, place, d, points, error) : read_tensor(args, place, d, points, error);
  }
  for (size_t i = 0; status == POE_OK && i < points->n * d; i++) {
    if (!isfinite(points->x[i])) {
      status =
          poe_args_error(place, error, POE_E_DOMAIN, "the points of `%s` must be finite; row %zu, column %zu is %g",
                         args->kind, i / d, i % d, points->x[i]);
    }
  }
  return status;
}

/* ---- the bandwidth ---- */

/* Standard deviation (n - 1) of column j, in two passes. */
static double column_sd(const kde_points *points, size_t d, size_t j) {
  double mean = 0.0, square = 0.0, n = (double)points->n;
  for (size_t i = 0; i < points->n; i++) {
    mean += points->x[i * d + j] / n;
  }
  for (size_t i = 0; i < points->n; i++) {
    double gap = points->x[i * d + j] - mean;
    square += gap * gap / (n - 1.0);
  }
  return sqrt(square);
}

static poe_status thumb_rule(const poe_args *args, const poe_arg *place, size_t d, const kde_points *points,
                             double *bandwidth, poe_error *error) {
  double n = (double)points->n, dim = (double)d, root = 1.0 / (dim + 4.0);
  bool silverman = place != NULL && strcmp(place->text, "silverman") == 0;
  if (place != NULL && !silverman && strcmp(place->text, "scott") != 0) {
    return poe_args_error(place, error, POE_E_NAME, "`bandwidth` of `%s` is a number, `scott` or `silverman`, not `%s`",
                          args->kind, place->text);
  }
  for (size_t j = 0; j < d; j++) {
    double sd = points->n < 2 ? 0.0 : column_sd(points, d, j);
    bandwidth[j] = sd * pow(n, -root) * (silverman ? pow(4.0 / (dim + 2.0), root) : 1.0);
    if (!(bandwidth[j] > 0.0) || isinf(bandwidth[j])) {
      poe_args_error(place, error, POE_E_DOMAIN, "the %zu points of `%s` have no spread in coordinate %zu", points->n,
                     args->kind, j);
      poe_error_hint(error, "give the bandwidth as a number");
      return POE_E_DOMAIN;
    }
  }
  return POE_OK;
}

static poe_status read_bandwidth(const poe_args *args, size_t d, const kde_points *points, double *bandwidth,
                                 poe_error *error) {
  const poe_arg *arg = poe_args_find(args, "bandwidth");
  if (arg == NULL || arg->type != POE_ARG_REAL) {
    return thumb_rule(args, arg, d, points, bandwidth, error);
  }
  poe_status status = poe_args_real(args, "bandwidth", 1, &d, NAN, false, bandwidth, error);
  return status == POE_OK ? poei_family_positive(args, "bandwidth", d, bandwidth, error) : status;
}

/* ---- making ---- */

static poe_status kde_build(const poe_args *args, size_t d, const kde_points *points, double *bandwidth, void **self,
                            poe_error *error) {
  poe_status status = read_bandwidth(args, d, points, bandwidth, error);
  if (status != POE_OK) {
    return status;
  }
  poei_normals *normals = poei_normals_alloc(points->n, d, POEI_NORMALS_DIAGONAL, true);
  if (normals == NULL) {
    return poei_family_memory(args->kind, error);
  }
  memcpy(normals->mean, points->x, points->n * d * sizeof *normals->mean);
  for (size_t i = 0; i < points->n; i++) {
    normals->log_weight[i] = -log((double)points->n);
    for (size_t j = 0; j < d; j++) {
      normals->factor[i * d + j] = 1.0 / bandwidth[j];
    }
  }
  poei_normals_finish(normals);
  *self = normals;
  return POE_OK;
}

static poe_status kde_create(const poe_args *args, void **self, poe_error *error) {
  poe_status status = poei_family_need(args, POE_CONTINUOUS, error);
  if (status != POE_OK) {
    return status;
  }
  size_t d = poe_args_dim(args);
  kde_points points = {0};
  double *bandwidth = poei_alloc(d, sizeof *bandwidth);
  status = bandwidth == NULL ? poei_family_memory(args->kind, error) : read_points(args, d, &points, error);
  if (status == POE_OK) {
    status = kde_build(args, d, &points, bandwidth, self, error);
  }
  poei_free(bandwidth);
  poei_free(points.x);
  return status;
}

/* ---- slots that differ from those of any mixture ---- */

static void kde_traits(const void *self, poe_traits *traits) {
  poei_normals_traits(self, traits);
  if (((const poei_normals *)self)->k > MOST_COMPONENTS) {
    traits->capabilities &= ~(unsigned)POE_CAN_FORM;
  }
}

/* All kernels weigh the same, so the point is found without a search. */
static poe_status kde_sample(const void *self, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                             poe_error *error) {
  (void)scratch;
  (void)error;
  const poei_normals *g = self;
  for (size_t i = 0; i < rows.n; i++) {
    double *x = rows.x + i * rows.ld;
    poe_stream stream = poe_stream_open(at[i]);
    size_t pick = (size_t)(poe_stream_uniform(&stream) * (double)g->k);
    size_t first = (pick < g->k ? pick : g->k - 1) * g->d;
    poe_rng_normals(poe_rng_child(at[i], 1), g->d, x);
    for (size_t j = 0; j < g->d; j++) {
      x[j] = g->mean[first + j] + x[j] / g->factor[first + j];
    }
  }
  return POE_OK;
}

const poe_expert_ops poei_kde_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "kde",
    .doc = "kernel density estimate with Gaussian kernels",
    .params = kde_params,
    .create = kde_create,
    .destroy = poei_normals_destroy,
    .traits = kde_traits,
    .scratch = poei_normals_scratch,
    .eval_add = poei_normals_eval_add,
    .sample = kde_sample,
    .log_z = poei_normals_log_z,
    .form = poei_normals_form,
};
