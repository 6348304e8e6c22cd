/* uai(x, ... | file): a factor graph in the format of the UAI inference competitions, unnormalised as written.
 *
 * Variable j of the file is coordinate j of the subjects, whose values are numbered from 0; where a coordinate may take
 * more values than the file's variable has, those beyond are impossible. In a BAYES file every factor is the
 * distribution of its last variable given the others. When that is so (each sums to 1 within 1e-12, each variable is
 * the last one of one factor, and no cycle: the factors' product is a distribution) the density is normalised.
 */
#include <stdint.h>

#include "core/alloc.h"
#include "core/numerics.h"
#include "experts/factor_graph.h"
#include "experts/family.h"
#include "experts/list.h"
#include "formats/uai.h"

static const poe_param uai_params[] = {
    {"file", POE_ARG_FILE, "", NULL, "a factor graph (.uai)"},
    {0},
};

static poe_status uai_memory(const poe_args *args, poe_error *error) {
  return poei_family_memory(args->kind, error);
}

/* The coordinates must be able to hold the network's values. */
static poe_status uai_fit(const poe_args *args, const poei_uai *network, poe_error *error) {
  const poe_arg *file = poe_args_find(args, "file");
  size_t d = poe_args_dim(args);
  if (d != network->n) {
    return poe_args_error(file, error, POE_E_SHAPE, "'%s' has %zu variables; the subjects have %zu coordinates",
                          file->text, network->n, d);
  }
  for (size_t j = 0; j < d; j++) {
    const poe_subject *subject = NULL;
    const poe_support *support = poei_family_support(args, j, &subject);
    double last = (double)(network->cardinality[j] - 1);
    if (support->low > 0.0 || support->high < last) {
      poe_args_error(file, error, POE_E_SHAPE, "variable %zu of '%s' has the values 0 to %g; `%s` has %g to %g there",
                     j, file->text, last, subject->name, support->low, support->high);
      poe_error_hint(error, "declare `%s` as int(%zu) or wider", subject->name, network->cardinality[j]);
      return POE_E_SHAPE;
    }
  }
  return POE_OK;
}

/* The network's tables as log values; factors of no variables go into the constant. */
static poe_status uai_factors(const poe_args *args, const poei_uai *network, poe_factors *out, poe_error *error) {
  out->cardinality = poei_copy(network->cardinality, network->n, sizeof *network->cardinality);
  out->low = poei_calloc(network->n, sizeof *out->low);
  out->factor = poei_calloc(network->factors, sizeof *out->factor);
  if (out->cardinality == NULL || out->low == NULL || out->factor == NULL) {
    return uai_memory(args, error);
  }
  for (size_t f = 0; f < network->factors; f++) {
    const poei_uai_factor *from = &network->factor[f];
    double top = 0.0;
    for (size_t s = 0; s < from->states; s++) {
      top = fmax(top, from->value[s]);
    }
    if (top == 0.0) {
      const poe_arg *file = poe_args_find(args, "file");
      return poe_args_error(file, error, POE_E_EMPTY, "every value of factor %zu of '%s' is 0", f, file->text);
    }
    if (from->n == 0) {
      out->constant += log(from->value[0]);
      continue;
    }
    poe_factor *to = &out->factor[out->n++];
    to->n = from->n;
    to->variable = poei_copy(from->variable, from->n, sizeof *from->variable);
    to->log_value = poei_alloc(from->states, sizeof *to->log_value);
    if (to->variable == NULL || to->log_value == NULL) {
      return uai_memory(args, error);
    }
    for (size_t s = 0; s < from->states; s++) {
      to->log_value[s] = log(from->value[s]);
    }
  }
  return POE_OK;
}

/* Does every factor give a distribution of its last variable, and each variable have one? owner[n]: its factor. */
static bool uai_is_conditional(const poei_uai *network, size_t *owner) {
  if (!network->bayes || network->factors != network->n) {
    return false;
  }
  for (size_t v = 0; v < network->n; v++) {
    owner[v] = SIZE_MAX;
  }
  for (size_t f = 0; f < network->factors; f++) {
    const poei_uai_factor *factor = &network->factor[f];
    if (factor->n == 0 || owner[factor->variable[factor->n - 1]] != SIZE_MAX) {
      return false;
    }
    size_t last = factor->variable[factor->n - 1], k = network->cardinality[last];
    owner[last] = f;
    for (size_t s = 0; s < factor->states; s += k) {
      if (fabs(poei_sum(factor->value + s, k) - 1.0) > 1e-12) {
        return false;
      }
    }
  }
  return true;
}

/* Depth-first from every variable to its parents: false when the path meets itself. next[n]: the parent to look at
 * next, SIZE_MAX once done; path[n]: the variables under way. */
static bool uai_is_acyclic(const poei_uai *network, const size_t *owner, size_t *next, size_t *path) {
  for (size_t v = 0; v < network->n; v++) {
    next[v] = 0;
  }
  for (size_t root = 0; root < network->n; root++) {
    size_t depth = 0;
    path[depth++] = root;
    while (next[root] != SIZE_MAX) {
      size_t v = path[depth - 1];
      const poei_uai_factor *factor = &network->factor[owner[v]];
      if (next[v] + 1 >= factor->n) {
        next[v] = SIZE_MAX;
        depth--;
        continue;
      }
      size_t parent = factor->variable[next[v]++];
      if (next[parent] == 0) {
        path[depth++] = parent;
      } else if (next[parent] != SIZE_MAX) {
        return false; /* entered, with parents, and not left */
      }
    }
  }
  return true;
}

static poe_status uai_build(const poe_args *args, const poei_uai *network, void **self, poe_error *error) {
  poe_factors factors = {0};
  poei_factor_graph *graph = NULL;
  size_t *work = poei_calloc(network->n, 3 * sizeof *work), *owner = work, n = network->n;
  unsigned char *head = poei_family_heads(n);
  poe_status status = work == NULL || head == NULL ? uai_memory(args, error) : POE_OK;
  if (status == POE_OK) {
    status = uai_factors(args, network, &factors, error);
  }
  if (status == POE_OK) {
    bool normalised = uai_is_conditional(network, owner) && uai_is_acyclic(network, owner, work + n, work + 2 * n);
    status = poei_factor_graph_create(n, &factors, normalised ? head : NULL, &graph, error);
  }
  if (status == POE_OK) {
    *self = graph;
  }
  poe_structure rest = {.kind = POE_STRUCTURE_FACTORS, .as.factors = factors};
  poe_structure_release(&rest);
  poei_free(work);
  poei_free(head);
  return status;
}

static poe_status uai_create(const poe_args *args, void **self, poe_error *error) {
  poe_status status = poei_family_need_finite(args, error);
  const poe_arg *file = poe_args_find(args, "file");
  if (status == POE_OK && file == NULL) {
    status = poe_error_set(error, POE_E_USAGE, "`%s` needs `file`", args->kind);
  }
  if (status != POE_OK) {
    return status;
  }
  poei_uai network = {0};
  status = poei_uai_read(file->text, &network, error);
  if (status == POE_OK) {
    status = uai_fit(args, &network, error);
  }
  if (status == POE_OK) {
    status = uai_build(args, &network, self, error);
  }
  poei_uai_free(&network);
  return status;
}

const poe_expert_ops poei_uai_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "uai",
    .doc = "a factor graph over discrete variables, from a file",
    .params = uai_params,
    .create = uai_create,
    .destroy = poei_factor_graph_destroy,
    .traits = poei_factor_graph_traits,
    .scratch = poei_factor_graph_scratch,
    .eval_add = poei_factor_graph_eval_add,
    .structure = poei_factor_graph_structure,
    .local = &poei_factor_graph_local,
    .onehot_grad_add = poei_factor_graph_onehot_grad_add,
};
