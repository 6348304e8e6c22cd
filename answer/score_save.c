/* Scores to a file: what `score --json` prints, as numbers. */
#include <stdio.h>
#include <string.h>

#include "answer/session.h"
#include "core/alloc.h"
#include "formats/tensor_write.h"
#include "formats/text_file.h"

static bool scores_end(const char *path, const char *with) {
  const char *ending = strrchr(path, '.');
  return ending != NULL && strcmp(ending, with) == 0;
}

poe_status poei_scores_check(const char *path, poe_error *error) {
  if (scores_end(path, ".npy") || scores_end(path, ".npz") || scores_end(path, ".csv")) {
    return POE_OK;
  }
  poe_error_set(error, POE_E_USAGE, "cannot write log-densities to '%s'", path);
  poe_error_hint(error, "the ending says the format: .npy, .npz or .csv");
  return POE_E_USAGE;
}

static poe_status scores_npz(const char *path, const poei_scores *s, poe_error *error) {
  poei_npz_writer *writer = NULL;
  size_t shape[2] = {s->n, s->d};
  poe_status status = poei_npz_writer_open(path, &writer, error);
  if (status == POE_OK) {
    status = poei_npz_writer_add(writer, "log_density", POEI_F64, 1, shape, s->logp, error);
  }
  if (status == POE_OK && s->grad != NULL) {
    status = poei_npz_writer_add(writer, "grad", POEI_F64, 2, shape, s->grad, error);
  }
  for (size_t k = 0; status == POE_OK && k < s->n_each; k++) {
    char *name = poei_format("each.%s", s->names[k]);
    status = name == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                          : poei_npz_writer_add(writer, name, POEI_F64, 1, shape, s->each + k * s->n, error);
    poei_free(name);
  }
  if (status != POE_OK) {
    poei_npz_writer_abort(writer);
    return status;
  }
  return poei_npz_writer_commit(writer, error);
}

/* Columns log_density, grad.1 ... grad.d, each.NAME ... */
static void scores_csv_write(FILE *out, const poei_scores *s) {
  fputs("log_density", out);
  for (size_t j = 0; s->grad != NULL && j < s->d; j++) {
    fprintf(out, ",grad.%zu", j + 1);
  }
  for (size_t k = 0; k < s->n_each; k++) {
    fprintf(out, ",each.%s", s->names[k]);
  }
  fputc('\n', out);
  for (size_t i = 0; i < s->n; i++) {
    fprintf(out, "%.17g", s->logp[i]);
    for (size_t j = 0; s->grad != NULL && j < s->d; j++) {
      fprintf(out, ",%.17g", s->grad[i * s->d + j]);
    }
    for (size_t k = 0; k < s->n_each; k++) {
      fprintf(out, ",%.17g", s->each[k * s->n + i]);
    }
    fputc('\n', out);
  }
}

poe_status poei_scores_save(const char *path, const poei_scores *scores, poe_error *error) {
  poe_status status = poei_scores_check(path, error);
  if (status != POE_OK) {
    return status;
  }
  if (scores_end(path, ".npz")) {
    return scores_npz(path, scores, error);
  }
  if (scores_end(path, ".npy")) {
    return poei_npy_write(path, POEI_F64, 1, &scores->n, scores->logp, error);
  }
  poei_atomic_file *file = NULL;
  status = poei_atomic_open(path, &file, error);
  if (status == POE_OK) {
    scores_csv_write(poei_atomic_stream(file), scores);
    status = poei_atomic_commit(file, error);
  }
  return status;
}
