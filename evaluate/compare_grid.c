/* compare: the image grid. Its place and size are checked before anything is drawn, its images kept as the targets are
 * measured. */
#include <string.h>

#include "core/alloc.h"
#include "evaluate/compare_internal.h"

enum { GRID_ROWS = 3, /* of images per target */ GRID_CAPTION_LENGTH = 64 };

static size_t grid_images(const compare_job *job, size_t draws) {
  size_t n = GRID_ROWS * job->columns;
  return n < draws ? n : draws;
}

static bool grid_shown(const compare_job *job) {
  return job->has_view && job->view.ndim >= 2;
}

/* *path: what --output names; `run` keeps a grid always, as compare-<last target>.png. */
static poe_status grid_path(const compare_job *job, char **path, poe_error *error) {
  const poei_session *session = job->session;
  const char *output = poei_option_text(job->action, "output"),
             *last = job->action->targets[job->action->n_targets - 1];
  if (output == NULL && session->out_dir == NULL) {
    return POE_OK;
  }
  bool named = poei_program_density_named(session->program, last);
  char *name = output != NULL ? poei_strdup(output) : poei_format("compare-%s.png", named ? last : "grid");
  *path = name == NULL ? NULL : poei_session_path(session, name);
  poei_free(name);
  return *path == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
}

static poe_status grid_check(const compare_job *job, poe_error *error) {
  const poei_derived *view = &job->view;
  size_t n = job->action->n_targets, images = grid_images(job, job->run.chains * job->run.draws);
  poei_image_band *bands = poei_calloc(n + 1, sizeof *bands);
  if (bands == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t t = 0; t < n; t++) {
    bands[t] = (poei_image_band){job->action->targets[t], images, NULL};
  }
  bands[n] = (poei_image_band){compare_adds_base(job) ? job->base : "", images, NULL};
  poe_status status = poei_image_grid_check(view->shape[view->ndim - 2], view->shape[view->ndim - 1], job->columns,
                                            n + compare_adds_base(job), bands, error);
  poei_free(bands);
  return status;
}

poe_status compare_grid_open(compare_job *job, poe_error *error) {
  if (!grid_shown(job)) {
    return POE_OK;
  }
  poe_status status = grid_path(job, &job->grid, error);
  if (status == POE_OK && job->grid != NULL) {
    status = poei_folder_check(job->grid, error);
  }
  if (status == POE_OK && job->grid != NULL) {
    status = grid_check(job, error);
  }
  return status;
}

poe_status compare_grid_keep(compare_job *job, const compare_draws *draws, const double *view, poe_error *error) {
  if (job->grid == NULL) {
    return POE_OK;
  }
  size_t n = grid_images(job, draws->n), dim = job->view.dim;
  poei_image_band *bands = poei_realloc(job->bands, job->n_bands + 1, sizeof *bands);
  if (bands == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  job->bands = bands;
  const poei_target *target = &draws->solved.target;
  bool named = strcmp(target->name, target->text) != 0;
  char *caption = named ? poei_format("%s = %.*s", target->name, GRID_CAPTION_LENGTH, target->text)
                        : poei_format("%.*s", GRID_CAPTION_LENGTH, target->text);
  double *images = poei_alloc(n, dim * sizeof *images);
  if (caption == NULL || images == NULL) {
    poei_free(caption);
    poei_free(images);
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t i = 0; i < n; i++) {
    memcpy(images + i * dim, view + i * draws->n / n * dim, dim * sizeof *images);
  }
  bands[job->n_bands++] = (poei_image_band){caption, n, images};
  return POE_OK;
}

poe_status compare_grid_write(const compare_job *job, poe_error *error) {
  const poei_derived *view = &job->view;
  return poei_image_grid_write(job->grid, view->shape[view->ndim - 2], view->shape[view->ndim - 1], job->columns,
                               job->n_bands, job->bands, error);
}
