/* Draws to files. `.npz`: one array per variable, (chain, draw, *shape), derived variables by request, and
 * sample_stats.*;
 * `.csv`: the layout of CmdStan, one file per chain. Clamped coordinates are filled in, coordinates the target does not
 * mention are NaN.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "answer/session.h"
#include "core/alloc.h"
#include "formats/tensor_write.h"
#include "formats/text_file.h"

/* Everything the writers need: full rows over all coordinates of the program, [chains * draws, total]. */
typedef struct save_job {
  poei_session *session;
  const poei_target *target;
  const poei_sampling *sampling;
  const poei_gate *gate;
  size_t rows, total;
  double *full;
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

static poe_status save_variable(poei_npz_writer *writer, const save_job *job, const poei_variable *variable,
                                poe_error *error) {
  double *values = poei_alloc(job->rows * variable->dim, sizeof *values);
  if (values == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t i = 0; i < job->rows; i++) {
    memcpy(values + i * variable->dim, job->full + i * job->total + variable->offset, variable->dim * sizeof *values);
  }
  poe_status status = save_array(writer, job, variable->name, variable->ndim, variable->shape, values, error);
  poei_free(values);
  return status;
}

static poe_status save_derived(poei_npz_writer *writer, const save_job *job, const char *name, poe_error *error) {
  poei_derived derived;
  poe_status status = poei_program_derived(job->session->program, name, &derived, error);
  if (status != POE_OK) {
    return status;
  }
  double *in = poei_alloc(job->rows * derived.in_dim, sizeof *in);
  double *out = poei_alloc(job->rows * derived.dim, sizeof *out);
  if (in == NULL || out == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory for %zu images of '%s'", job->rows, name);
  } else {
    for (size_t i = 0; i < job->rows; i++) {
      for (size_t j = 0; j < derived.in_dim; j++) {
        in[i * derived.in_dim + j] = job->full[i * job->total + derived.coordinates[j]];
      }
    }
    status = poei_apply_rows(job->session, derived.map, (poe_rows){job->rows, derived.in_dim, derived.in_dim, in}, out,
                             error);
  }
  if (status == POE_OK) {
    status = save_array(writer, job, name, derived.ndim, derived.shape, out, error);
  }
  poei_free(in);
  poei_free(out);
  return status;
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

static poe_status save_npz(const save_job *job, const char *path, size_t n_save, const char *const *save,
                           poe_error *error) {
  poei_npz_writer *writer = NULL;
  poe_status status = poei_npz_writer_open(path, &writer, error);
  const poei_program *program = job->session->program;
  for (size_t i = 0; status == POE_OK && i < poei_program_variable_count(program); i++) {
    const poei_variable *variable = poei_program_variable(program, i);
    if (save_mentions(job->target, variable)) {
      status = save_variable(writer, job, variable, error);
    }
  }
  for (size_t i = 0; status == POE_OK && i < n_save; i++) {
    if (poei_program_variable_find(program, save[i]) == NULL) {
      status = save_derived(writer, job, save[i], error);
    }
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

/* "x.2.1", counted from 1, as CmdStan names the elements of an array. */
static void csv_name(FILE *out, const poei_variable *variable, size_t element) {
  size_t stride = variable->dim;
  fputs(variable->name, out);
  for (size_t k = 0; k < variable->ndim; k++) {
    stride /= variable->shape[k];
    fprintf(out, ".%zu", element / stride + 1);
    element %= stride;
  }
}

static void csv_chain(FILE *out, const save_job *job, size_t chain) {
  const poei_draws *draws = &job->sampling->draws;
  const poei_program *program = job->session->program;
  size_t n = poei_program_variable_count(program);
  fprintf(out, "# model = %s\n# method = %s\n# save_warmup = 0\n", job->target->name, job->sampling->method);
  fprintf(out, "# chain = %zu\n# seed = %llu\n", chain + 1, (unsigned long long)job->session->seed);
  if (job->gate != NULL) {
    fprintf(out, "# gate = %s\n", job->gate->passed ? "passed" : "failed");
  }
  fputs("lp__,accept_stat__,stepsize__,divergent__,energy__", out);
  for (size_t v = 0; v < n; v++) {
    const poei_variable *variable = poei_program_variable(program, v);
    for (size_t j = 0; save_mentions(job->target, variable) && j < variable->dim; j++) {
      fputc(',', out);
      csv_name(out, variable, j);
    }
  }
  fputc('\n', out);
  for (size_t i = 0; i < draws->draws; i++) {
    size_t row = chain * draws->draws + i;
    fprintf(out, "%.17g,%.17g,%.17g,%d,%.17g", draws->lp[row], draws->acceptance[row], draws->step_size[chain],
            (int)draws->diverging[row], draws->energy[row]);
    for (size_t v = 0; v < n; v++) {
      const poei_variable *variable = poei_program_variable(program, v);
      for (size_t j = 0; save_mentions(job->target, variable) && j < variable->dim; j++) {
        fprintf(out, ",%.17g", job->full[row * job->total + variable->offset + j]);
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

poe_status poei_save_draws(poei_session *session, const poei_target *target, const poei_sampling *sampling,
                           const char *path, size_t n_save, const char *const *save, const poei_gate *gate,
                           poe_error *error) {
  const char *ending = strrchr(path, '.');
  bool npz = ending != NULL && strcmp(ending, ".npz") == 0, csv = ending != NULL && strcmp(ending, ".csv") == 0;
  if (!npz && !csv) {
    poe_error_set(error, POE_E_USAGE, "cannot write draws to '%s'", path);
    poe_error_hint(error, "the ending says the format: .npz or .csv");
    return POE_E_USAGE;
  }
  save_job job = {.session = session, .target = target, .sampling = sampling, .gate = gate};
  job.rows = sampling->draws.chains * sampling->draws.draws;
  job.total = poei_program_dim(session->program);
  job.full = poei_alloc(job.rows * job.total, sizeof *job.full);
  if (job.full == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory for %zu rows of %zu numbers", job.rows, job.total);
  }
  poei_expand_rows(session->program, target, job.rows, sampling->draws.x, job.full);
  poe_status status = npz ? save_npz(&job, path, n_save, save, error) : save_csv(&job, path, error);
  poei_free(job.full);
  return status;
}
