/* Draws to files. `.npz`: one array per variable, (chain, draw, *shape), derived variables by request, and
 * sample_stats.*; `.csv`: the layout of CmdStan, one file per chain, the same quantities as columns. Clamped
 * coordinates are filled in; coordinates the target does not mention are NaN.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "answer/session.h"
#include "core/alloc.h"
#include "formats/tensor_write.h"
#include "formats/text_file.h"

/* One quantity of every draw. */
typedef struct save_quantity {
  const char *name;
  size_t ndim, dim, shape[POE_MAX_DIMS];
  double *values; /* [rows, dim] */
} save_quantity;

/* Everything the writers need. */
typedef struct save_job {
  poei_session *session;
  const poei_target *target;
  const poei_sampling *sampling;
  const poei_gate *gate;
  size_t rows, n;
  save_quantity *quantities; /* [n] */
} save_job;

/* Does the target mention or clamp a coordinate of the variable? */
static bool save_mentions(const poei_target *target, const poei_variable *variable) {
  for (size_t i = 0; i < target->dim; i++) {
    if (target->coordinates[i] - variable->offset < variable->dim) {
      return true;
    }
  }
  for (size_t i = 0; i < target->n_clamped; i++) {
    if (target->clamped[i] - variable->offset < variable->dim) {
      return true;
    }
  }
  return false;
}

/* ---- what is saved ---- */

static poe_status save_add(save_job *job, const char *name, size_t ndim, const size_t *shape, size_t dim,
                           poe_error *error) {
  save_quantity *quantity = &job->quantities[job->n];
  *quantity = (save_quantity){.name = name, .ndim = ndim, .dim = dim};
  memcpy(quantity->shape, shape, ndim * sizeof *shape);
  quantity->values = poei_alloc(job->rows, dim * sizeof(double));
  if (quantity->values == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory for %zu draws of '%s'", job->rows, name);
  }
  job->n++;
  return POE_OK;
}

/* full[rows, total]: the draws over all coordinates of the program. */
static poe_status save_variables(save_job *job, const double *full, poe_error *error) {
  const poei_program *program = job->session->program;
  size_t total = poei_program_dim(program);
  poe_status status = POE_OK;
  for (size_t v = 0; status == POE_OK && v < poei_program_variable_count(program); v++) {
    const poei_variable *variable = poei_program_variable(program, v);
    if (!save_mentions(job->target, variable)) {
      continue;
    }
    status = save_add(job, variable->name, variable->ndim, variable->shape, variable->dim, error);
    for (size_t i = 0; status == POE_OK && i < job->rows; i++) {
      memcpy(job->quantities[job->n - 1].values + i * variable->dim, full + i * total + variable->offset,
             variable->dim * sizeof *full);
    }
  }
  return status;
}

static bool save_has(const save_job *job, const char *name) {
  for (size_t k = 0; k < job->n; k++) {
    if (strcmp(job->quantities[k].name, name) == 0) {
      return true;
    }
  }
  return false;
}

static poe_status save_derived(save_job *job, const char *name, const double *full, poe_error *error) {
  if (save_has(job, name) || poei_program_variable_find(job->session->program, name) != NULL) {
    return POE_OK;
  }
  poei_derived derived;
  poe_status status = poei_program_derived(job->session->program, name, &derived, error);
  if (status == POE_OK) {
    status = save_add(job, name, derived.ndim, derived.shape, derived.dim, error);
  }
  if (status == POE_OK) {
    status = poei_full_derived(job->session, &derived, job->rows, full, job->quantities[job->n - 1].values, error);
  }
  return status;
}

static poe_status save_collect(save_job *job, size_t n_save, const char *const *save, poe_error *error) {
  const poei_program *program = job->session->program;
  size_t total = poei_program_dim(program);
  double *full = poei_alloc(job->rows, total * sizeof *full);
  job->quantities = poei_calloc(poei_program_variable_count(program) + n_save, sizeof *job->quantities);
  poe_status status = POE_OK;
  if (full == NULL || job->quantities == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory for %zu rows of %zu numbers", job->rows, total);
  } else {
    poei_expand_rows(program, job->target, job->rows, job->sampling->draws.x, full);
    status = save_variables(job, full, error);
  }
  for (size_t i = 0; status == POE_OK && i < n_save; i++) {
    status = save_derived(job, save[i], full, error);
  }
  poei_free(full);
  return status;
}

static void save_free(save_job *job) {
  for (size_t k = 0; k < job->n; k++) {
    poei_free(job->quantities[k].values);
  }
  poei_free(job->quantities);
}

/* ---- npz ---- */

static poe_status save_array(poei_npz_writer *writer, const save_job *job, const char *name, size_t ndim,
                             const size_t *shape, const double *values, poe_error *error) {
  size_t full[POEI_MAX_DIMS] = {job->sampling->draws.chains, job->sampling->draws.draws};
  if (ndim + 2 > POEI_MAX_DIMS) {
    return poe_error_set(error, POE_E_SHAPE, "'%s' has too many dimensions for an npz file", name);
  }
  for (size_t i = 0; i < ndim; i++) {
    full[i + 2] = shape[i];
  }
  return poei_npz_writer_add(writer, name, POEI_F64, ndim + 2, full, values, error);
}

static poe_status save_stats(poei_npz_writer *writer, const save_job *job, poe_error *error) {
  const poei_draws *draws = &job->sampling->draws;
  size_t shape[2] = {draws->chains, draws->draws};
  poe_status status = save_array(writer, job, "sample_stats.lp", 0, NULL, draws->lp, error);
  if (status == POE_OK && !job->sampling->exact) {
    status = save_array(writer, job, "sample_stats.acceptance_rate", 0, NULL, draws->acceptance, error);
    if (status == POE_OK) {
      status = poei_npz_writer_add(writer, "sample_stats.diverging", POEI_BOOL, 2, shape, draws->diverging, error);
    }
    if (status == POE_OK) {
      status = save_array(writer, job, "sample_stats.energy", 0, NULL, draws->energy, error);
    }
  }
  if (status == POE_OK && job->gate != NULL) {
    unsigned char passed = job->gate->passed;
    status = poei_npz_writer_add(writer, "gate.passed", POEI_BOOL, 0, NULL, &passed, error);
  }
  return status;
}

static poe_status save_npz(const save_job *job, const char *path, poe_error *error) {
  poei_npz_writer *writer = NULL;
  poe_status status = poei_npz_writer_open(path, &writer, error);
  for (size_t k = 0; status == POE_OK && k < job->n; k++) {
    const save_quantity *q = &job->quantities[k];
    status = save_array(writer, job, q->name, q->ndim, q->shape, q->values, error);
  }
  if (status == POE_OK) {
    status = save_stats(writer, job, error);
  }
  if (status != POE_OK) {
    poei_npz_writer_abort(writer);
    return status;
  }
  return poei_npz_writer_commit(writer, error);
}

/* ---- csv ---- */

/* "x.2.1", counted from 1, as CmdStan names the elements of an array. */
static void csv_name(FILE *out, const save_quantity *quantity, size_t element) {
  size_t stride = quantity->dim;
  fputs(quantity->name, out);
  for (size_t k = 0; k < quantity->ndim; k++) {
    stride /= quantity->shape[k];
    fprintf(out, ".%zu", element / stride + 1);
    element %= stride;
  }
}

static void csv_head(FILE *out, const save_job *job, size_t chain) {
  fputs("# model = ", out);
  for (const char *c = job->target->name; *c != '\0'; c++) {
    fputc(*c == '\n' || *c == '\r' ? ' ' : *c, out); /* an expression may span lines */
  }
  fprintf(out, "\n# method = %s\n# save_warmup = 0\n# chain = %zu\n# seed = %llu\n", job->sampling->method, chain + 1,
          (unsigned long long)job->session->seed);
  if (job->gate != NULL) {
    fprintf(out, "# gate = %s\n", job->gate->passed ? "passed" : "failed");
  }
  fputs("lp__,accept_stat__,stepsize__,divergent__,energy__", out);
  for (size_t k = 0; k < job->n; k++) {
    for (size_t j = 0; j < job->quantities[k].dim; j++) {
      fputc(',', out);
      csv_name(out, &job->quantities[k], j);
    }
  }
  fputc('\n', out);
}

static void csv_chain(FILE *out, const save_job *job, size_t chain) {
  const poei_draws *draws = &job->sampling->draws;
  csv_head(out, job, chain);
  for (size_t i = 0; i < draws->draws; i++) {
    size_t row = chain * draws->draws + i;
    fprintf(out, "%.17g,%.17g,%.17g,%d,%.17g", draws->lp[row], draws->acceptance[row], draws->step_size[chain],
            (int)draws->diverging[row], draws->energy[row]);
    for (size_t k = 0; k < job->n; k++) {
      const save_quantity *q = &job->quantities[k];
      for (size_t j = 0; j < q->dim; j++) {
        fprintf(out, ",%.17g", q->values[row * q->dim + j]);
      }
    }
    fputc('\n', out);
  }
}

static poe_status save_csv(const save_job *job, const char *path, poe_error *error) {
  size_t stem = strlen(path) - strlen(".csv");
  poe_status status = POE_OK;
  for (size_t c = 0; status == POE_OK && c < job->sampling->draws.chains; c++) {
    char *name = poei_format("%.*s_%zu.csv", (int)stem, path, c + 1);
    poei_atomic_file *file = NULL;
    status = name == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : poei_atomic_open(name, &file, error);
    if (status == POE_OK) {
      csv_chain(poei_atomic_stream(file), job, c);
      status = poei_atomic_commit(file, error);
    }
    poei_free(name);
  }
  return status;
}

/* ---- the two entrances ---- */

static bool save_ends(const char *path, const char *with) {
  const char *ending = strrchr(path, '.');
  return ending != NULL && strcmp(ending, with) == 0;
}

poe_status poei_folder_check(const char *path, poe_error *error) {
  const char *slash = strrchr(path, '/');
  char *folder = slash == NULL ? poei_strdup(".") : poei_strndup(path, slash == path ? 1 : (size_t)(slash - path));
  if (folder == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  poe_status status = POE_OK;
  if (access(folder, W_OK | X_OK) != 0) {
    status = poe_error_set(error, POE_E_FILE, "cannot write %s: folder %s: %s", path, folder, strerror(errno));
    poe_error_hint(error, errno == ENOENT ? "create it first: mkdir -p %s" : "choose another than %s", folder);
  }
  poei_free(folder);
  return status;
}

poe_status poei_save_check(poei_session *session, const char *path, size_t n_save, const char *const *save,
                           poe_error *error) {
  poe_status status = POE_OK;
  for (size_t i = 0; status == POE_OK && i < n_save; i++) {
    poei_derived derived;
    if (poei_program_variable_find(session->program, save[i]) == NULL) {
      status = poei_program_derived(session->program, save[i], &derived, error);
    }
  }
  if (status != POE_OK || path == NULL) {
    return status;
  }
  if (!save_ends(path, ".npz") && !save_ends(path, ".csv")) {
    poe_error_set(error, POE_E_USAGE, "cannot write draws to '%s'", path);
    poe_error_hint(error, "the ending says the format: .npz or .csv");
    return POE_E_USAGE;
  }
  return poei_folder_check(path, error);
}

poe_status poei_save_draws(poei_session *session, const poei_target *target, const poei_sampling *sampling,
                           const char *path, size_t n_save, const char *const *save, const poei_gate *gate,
                           poe_error *error) {
  poe_status status = poei_save_check(session, path, n_save, save, error);
  if (status != POE_OK) {
    return status;
  }
  save_job job = {.session = session, .target = target, .sampling = sampling, .gate = gate};
  job.rows = sampling->draws.chains * sampling->draws.draws;
  status = save_collect(&job, n_save, save, error);
  if (status == POE_OK) {
    status = save_ends(path, ".npz") ? save_npz(&job, path, error) : save_csv(&job, path, error);
  }
  save_free(&job);
  return status;
}
