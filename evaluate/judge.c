/* Judging rows with a classifier file: one pass of its network, then its heads (softmax: the largest logit; sigmoid: a
 * positive logit). */
#include "evaluate/judge.h"

#include <string.h>

#include "core/alloc.h"
#include "formats/tensor_file.h"
#include "net/heads.h"
#include "net/net.h"

/* A label in the order of the logits. */
typedef struct judge_label {
  const char *name;
  size_t logit, head_first, head_size; /* softmax: the logits of its head; sigmoid: head_size 1 */
} judge_label;

struct poei_judge {
  poei_net *net;
  poei_heads heads;
  size_t n;
  judge_label *labels; /* [n] names in heads */
};

void poei_judge_close(poei_judge *judge) {
  if (judge != NULL) {
    poei_net_release(judge->net);
    poei_heads_free(&judge->heads);
    poei_free(judge->labels);
    poei_free(judge);
  }
}

static poe_status judge_labels(poei_judge *judge, const poei_tensor_file *file, poe_error *error) {
  size_t logits = poei_net_out_dim(judge->net);
  poe_status status = poei_heads_read(file, logits, &judge->heads, error);
  if (status == POE_OK && judge->heads.n == 0) {
    status = poe_error_set(error, POE_E_FORMAT, "a judge needs poe.heads: what its logits mean");
  }
  if (status == POE_OK && (judge->labels = poei_calloc(logits, sizeof *judge->labels)) == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t i = 0; i < judge->heads.n && status == POE_OK; i++) {
    const poei_head *head = &judge->heads.head[i];
    for (size_t k = 0; k < head->size; k++) {
      judge->labels[judge->n++] = (judge_label){head->label[k], head->first + k, head->first, head->size};
    }
  }
  return status;
}

poe_status poei_judge_open(const char *path, poei_judge **judge, poe_error *error) {
  poei_tensor_file *file = NULL;
  poe_status status = poei_tensor_file_open(path, &file, error);
  if (status != POE_OK) {
    return status;
  }
  poei_judge *self = poei_calloc(1, sizeof *self);
  const char *family = poei_tensor_file_metadata(file, "poe.family");
  if (self == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  } else if (family == NULL || strcmp(family, "classifier") != 0) {
    status = poe_error_set(error, POE_E_FORMAT, "poe.family is '%s', a judge is a 'classifier'",
                           family == NULL ? "" : family);
  } else {
    poei_net_source source = {.file = file};
    status = poei_net_load(&source, &self->net, error);
  }
  if (status == POE_OK) {
    status = judge_labels(self, file, error);
  }
  if (status != POE_OK) {
    poe_error_at(error, path, 0, 0, 0);
    poei_judge_close(self);
  } else {
    *judge = self;
  }
  poei_tensor_file_close(file);
  return status;
}

size_t poei_judge_in_dim(const poei_judge *judge) {
  return poei_net_in_dim(judge->net);
}

size_t poei_judge_label_count(const poei_judge *judge) {
  return judge->n;
}

const char *poei_judge_label(const poei_judge *judge, size_t index) {
  return judge->labels[index].name;
}

size_t poei_judge_find(const poei_judge *judge, const char *label) {
  for (size_t i = 0; i < judge->n; i++) {
    if (strcmp(judge->labels[i].name, label) == 0) {
      return i;
    }
  }
  return SIZE_MAX;
}

static unsigned char judge_found(const judge_label *label, const double *logit) {
  double own = logit[label->logit];
  if (label->head_size == 1) {
    return own > 0.0;
  }
  for (size_t j = label->head_first; j < label->head_first + label->head_size; j++) {
    bool beaten = j < label->logit ? !(own > logit[j]) : !(own >= logit[j]);
    if (beaten) { /* of equal logits the first is found; NaN never is, and nothing beside it */
      return 0;
    }
  }
  return 1;
}

typedef struct judge_job {
  const poei_judge *judge;
  size_t n;
  const double *x;
  unsigned char *found;
  poe_scratch **scratch;
} judge_job;

static poe_status judge_tile(void *context, size_t index, size_t worker) {
  judge_job *job = context;
  const poei_judge *judge = job->judge;
  size_t d = poei_net_in_dim(judge->net), out = poei_net_out_dim(judge->net);
  size_t first = index * POEI_TILE, n = job->n - first < POEI_TILE ? job->n - first : POEI_TILE;
  poe_scratch *scratch = job->scratch[worker];
  size_t mark = poe_scratch_mark(scratch);
  double *logits = poe_scratch_doubles(scratch, n * out);
  poei_net_eval(judge->net, (poe_rows){n, d, d, job->x + first * d}, logits, out, scratch);
  for (size_t i = 0; i < n; i++) {
    for (size_t k = 0; k < judge->n; k++) {
      job->found[(first + i) * judge->n + k] = judge_found(&judge->labels[k], logits + i * out);
    }
  }
  poe_scratch_release(scratch, mark);
  return POE_OK;
}

poe_status poei_judge_rows(const poei_session *session, const poei_judge *judge, size_t n, const double *x,
                           unsigned char *found, poe_error *error) {
  size_t workers = session->pool == NULL ? 1 : poei_pool_threads(session->pool);
  size_t bytes = poei_net_scratch(judge->net, POE_WANT_LOGP, POEI_TILE) +
                 poe_scratch_need(POEI_TILE * poei_net_out_dim(judge->net), sizeof(double));
  judge_job job = {judge, n, x, found, poei_calloc(workers, sizeof *job.scratch)};
  poe_status status = job.scratch == NULL ? POE_E_MEMORY : POE_OK;
  for (size_t i = 0; status == POE_OK && i < workers; i++) {
    job.scratch[i] = poe_scratch_create(bytes);
    status = job.scratch[i] == NULL ? POE_E_MEMORY : POE_OK;
  }
  if (status == POE_OK) {
    status = poei_pool_run(session->pool, (n + POEI_TILE - 1) / POEI_TILE, judge_tile, &job);
  } else {
    poe_error_set(error, status, "out of memory for the judge");
  }
  for (size_t i = 0; job.scratch != NULL && i < workers; i++) {
    poe_scratch_destroy(job.scratch[i]);
  }
  poei_free(job.scratch);
  return status;
}
