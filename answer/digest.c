/* Identity of an expression: what an estimate's seed and its place in the cache are derived from.
 *
 * The digest covers the program's own text, the contents of every file its definitions read, the structure of the
 * expression's tree and the values of its leaves at fixed points. Neither the user's seed nor what the session did
 * before enters (all definitions are lowered first, so that the same files are known; their digests are sorted): an
 * estimate is the same for everyone.
 */
#include "answer/digest.h"

#include <stdlib.h>
#include <string.h>

#include "answer/session.h"
#include "compose/nodes/nodes.h"
#include "core/alloc.h"
#include "formats/text_file.h"

enum { DIGEST_PROBES = 4 };

typedef struct digest_text {
  char *text;
  size_t size, capacity;
  bool failed;
} digest_text;

static void digest_append(digest_text *out, const void *data, size_t size) {
  if (out->failed) {
    return;
  }
  if (out->size + size > out->capacity) {
    size_t capacity = 2 * (out->size + size) + 256;
    char *text = poei_realloc(out->text, capacity, 1);
    if (text == NULL) {
      out->failed = true;
      return;
    }
    out->text = text;
    out->capacity = capacity;
  }
  memcpy(out->text + out->size, data, size);
  out->size += size;
}

static void digest_word(digest_text *out, const char *word) {
  digest_append(out, word, strlen(word) + 1);
}

static void digest_number(digest_text *out, double value) {
  digest_append(out, &value, sizeof value);
}

static void digest_leaf(digest_text *out, const poe_expert *leaf) {
  const poe_traits *traits = poe_expert_traits(leaf);
  size_t d = traits->dim;
  double *x = poei_alloc(d * DIGEST_PROBES, sizeof *x);
  poe_scratch *scratch = poe_scratch_create(poe_expert_scratch(leaf, POE_WANT_LOGP, DIGEST_PROBES));
  if (x == NULL || scratch == NULL) {
    out->failed = true;
  } else if ((traits->capabilities & POE_CAN_EVAL) != 0) {
    poei_support_points(traits->support, d, DIGEST_PROBES, x);
    double logp[DIGEST_PROBES] = {0};
    const double one = 1.0;
    poe_rows rows = {DIGEST_PROBES, d, d, x};
    if (poe_expert_eval_add(leaf, rows, (poe_weights){&one, 0}, (poe_accum){logp, NULL, 0}, scratch, NULL) == POE_OK) {
      digest_append(out, logp, sizeof logp);
    }
  }
  poei_free(x);
  poe_scratch_destroy(scratch);
}

static void digest_tree(digest_text *out, const poe_expert *expert) {
  const poe_traits *traits = poe_expert_traits(expert);
  poei_node_kind kind = poei_node_kind_of(expert);
  size_t n = poei_node_child_count(expert);
  digest_word(out, poe_expert_ops_of(expert)->kind);
  digest_number(out, (double)traits->dim);
  digest_number(out, (double)n);
  for (size_t j = 0; j < traits->dim; j++) {
    digest_number(out, traits->support[j].low);
    digest_number(out, traits->support[j].high);
  }
  for (size_t i = 0; i < n; i++) {
    const poe_expert *child = poei_node_child(expert, i);
    size_t d = poe_expert_traits(child)->dim;
    if (kind == POEI_NODE_product) {
      const size_t *index = poei_product_index(expert, i);
      digest_number(out, poei_product_exponent(expert, i));
      if (index != NULL) {
        digest_append(out, index, d * sizeof *index);
      }
    } else if (kind == POEI_NODE_mixture) {
      digest_number(out, poei_mixture_log_weight(expert, i));
    } else if (kind == POEI_NODE_normalise) {
      double std_error = 0.0;
      digest_number(out, poei_normalise_log_z(expert, &std_error));
    } else if (kind == POEI_NODE_slice) {
      digest_append(out, poei_slice_index(expert), d * sizeof(size_t));
    } else if (kind == POEI_NODE_plate) {
      digest_append(out, poei_plate_index(expert), poei_plate_count(expert) * d * sizeof(size_t));
    } else if (kind == POEI_NODE_given) {
      digest_append(out, poei_given_index(expert), poei_given_count(expert) * sizeof(size_t));
      digest_append(out, poei_given_value(expert), poei_given_count(expert) * sizeof(double));
    }
    digest_tree(out, child);
  }
  if (n == 0) {
    digest_leaf(out, expert);
  }
}

/* Opens every file the program's definitions read. A definition that cannot be built reads nothing more. */
static poe_status digest_lower(poei_program *program, poe_error *error) {
  poei_diagnostics unseen = {0};
  poe_status status = POE_OK;
  for (size_t i = 0; status == POE_OK && i < poei_program_density_count(program); i++) {
    poei_target target;
    poe_status built = poei_program_target(program, poei_program_density(program, i), &target, &unseen);
    if (built == POE_OK) {
      poei_target_free(&target);
    } else if (built == POE_E_MEMORY) {
      status = poe_error_set(error, POE_E_MEMORY, "out of memory");
    }
  }
  poei_diagnostics_free(&unseen);
  return status;
}

typedef struct digest_hex {
  char text[65];
} digest_hex;

static int digest_order(const void *a, const void *b) {
  return strcmp(((const digest_hex *)a)->text, ((const digest_hex *)b)->text);
}

static poe_status digest_files(digest_text *out, const poei_program *program, poe_error *error) {
  size_t n = poei_program_file_count(program);
  digest_hex *files = poei_alloc(n, sizeof *files);
  poe_status status = files == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  for (size_t i = 0; status == POE_OK && i < n; i++) {
    status = poei_sha256_file(poei_program_file(program, i), files[i].text, error);
  }
  if (status == POE_OK) {
    qsort(files, n, sizeof *files, digest_order);
  }
  for (size_t i = 0; status == POE_OK && i < n; i++) {
    digest_word(out, files[i].text);
  }
  poei_free(files);
  return status;
}

poe_status poei_digest(poei_program *program, const poe_expert *expert, const char *settings, char hex[65],
                       poe_error *error) {
  digest_text out = {0};
  poe_status status = digest_lower(program, error);
  if (status != POE_OK) {
    return status;
  }
  char *text = poei_program_print(program);
  if (text == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  digest_word(&out, text);
  poei_free(text);
  digest_word(&out, settings);
  status = digest_files(&out, program, error);
  if (status == POE_OK) {
    digest_tree(&out, expert);
    if (out.failed) {
      status = poe_error_set(error, POE_E_MEMORY, "out of memory");
    } else {
      poei_sha256(out.text, out.size, hex);
    }
  }
  poei_free(out.text);
  return status;
}

uint64_t poei_digest_seed(const char hex[65]) {
  uint64_t seed = 0;
  for (int i = 0; i < 16; i++) {
    char c = hex[i];
    seed = seed * 16 + (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
  }
  return seed;
}
