/* Judging rows with a classifier file: one pass of its network, then its heads (softmax: the largest logit; sigmoid: a
 * positive logit). */
#include "evaluate/judge.h"

#include <string.h>

#include "core/alloc.h"
#include "formats/tensor_file.h"
#include "formats/text_file.h"
#include "net/net.h"

enum { JUDGE_LABEL_SIZE = 64, JUDGE_MAX_LABELS = 4096 };

typedef struct judge_label {
  char name[JUDGE_LABEL_SIZE];
  size_t logit, head_first, head_size; /* softmax: the logits of its head; sigmoid: head_size 1 */
} judge_label;

struct poei_judge {
  poei_net *net;
  size_t n, capacity;
  judge_label *labels;
};

void poei_judge_close(poei_judge *judge) {
  if (judge != NULL) {
    poei_net_release(judge->net);
    poei_free(judge->labels);
    poei_free(judge);
  }
}

static poe_status judge_add(poei_judge *judge, const json_t *name, size_t logit, size_t first, size_t size,
                            poe_error *error) {
  const char *text = json_string_value(name);
  if (text == NULL || text[0] == '\0' || strlen(text) >= JUDGE_LABEL_SIZE || judge->n >= JUDGE_MAX_LABELS) {
    return poe_error_set(error, POE_E_FORMAT, "poe.heads: label %zu is not a short text", judge->n);
  }
  if (poei_judge_find(judge, text) != SIZE_MAX) {
    return poe_error_set(error, POE_E_FORMAT, "poe.heads: the label '%s' is there twice", text);
  }
  if (judge->n == judge->capacity) {
    size_t capacity = 2 * judge->capacity + 16;
    judge_label *labels = poei_realloc(judge->labels, capacity, sizeof *labels);
    if (labels == NULL) {
      return poe_error_set(error, POE_E_MEMORY, "out of memory");
    }
    judge->labels = labels;
    judge->capacity = capacity;
  }
  judge_label *label = &judge->labels[judge->n++];
  memset(label, 0, sizeof *label);
  memcpy(label->name, text, strlen(text));
  label->logit = logit;
  label->head_first = first;
  label->head_size = size;
  return POE_OK;
}

/* One head of poe.heads; *next is the first logit it has not consumed. */
static poe_status judge_head(poei_judge *judge, const json_t *head, size_t *next, poe_error *error) {
  const char *kind = json_string_value(json_object_get(head, "kind"));
  if (kind != NULL && strcmp(kind, "sigmoid") == 0) {
    poe_status status = judge_add(judge, json_object_get(head, "name"), *next, *next, 1, error);
    *next += 1;
    return status;
  }
  const json_t *labels = json_object_get(head, "labels");
  if (kind == NULL || strcmp(kind, "softmax") != 0 || !json_is_array(labels) || json_array_size(labels) < 2) {
    return poe_error_set(error, POE_E_FORMAT,
                         "poe.heads: a head is {name, kind: sigmoid} or {name, kind: softmax, labels: [two or more]}");
  }
  size_t size = json_array_size(labels);
  for (size_t i = 0; i < size; i++) {
    poe_status status = judge_add(judge, json_array_get(labels, i), *next + i, *next, size, error);
    if (status != POE_OK) {
      return status;
    }
  }
  *next += size;
  return POE_OK;
}

static poe_status judge_heads(poei_judge *judge, const poei_tensor_file *file, poe_error *error) {
  const char *text = poei_tensor_file_metadata(file, "poe.heads");
  if (text == NULL) {
    return poe_error_set(error, POE_E_FORMAT, "a judge needs poe.heads: what its logits mean");
  }
  poe_error parse = {0};
  json_t *heads = poei_json_parse(text, strlen(text), &parse);
  if (heads == NULL) {
    return poe_error_set(error, parse.status, "poe.heads: %s", parse.message);
  }
  poe_status status = json_is_array(heads) ? POE_OK : poe_error_set(error, POE_E_FORMAT, "poe.heads is not an array");
  size_t next = 0, size = poei_net_out_dim(judge->net);
  for (size_t i = 0; status == POE_OK && i < json_array_size(heads); i++) {
    status = judge_head(judge, json_array_get(heads, i), &next, error);
  }
  if (status == POE_OK && next != size) {
    status = poe_error_set(error, POE_E_FORMAT, "poe.heads describes %zu logits, the network has %zu", next, size);
  }
  json_decref(heads);
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
    status = judge_heads(self, file, error);
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
