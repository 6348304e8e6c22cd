/* The expert object: a table of functions, an immutable state and an atomic reference count.
 *
 * Invariants: traits are asked once, at creation, and cached; a capability bit is kept only when its slot is there, so
 * callers may trust the bits alone. Nothing but the count changes after creation.
 */
#include <stdatomic.h>
#include <string.h>

#include "core/alloc.h"
#include "poe/expert.h"

struct poe_expert {
  atomic_size_t references;
  const poe_expert_ops *ops;
  void *self;
  poe_traits traits;
};

struct poe_map {
  atomic_size_t references;
  const poe_map_ops *ops;
  void *self;
};

/* ---- arguments against the table of parameters ---- */

/* Texts of any type are interchangeable here: which of them a word was is the language's business. */
static bool arg_type_fits(poe_arg_type given, const poe_param *param) {
  poe_arg_type wanted = param->type;
  bool given_text = given == POE_ARG_STRING || given == POE_ARG_SYMBOL || given == POE_ARG_FILE;
  bool wanted_text = wanted == POE_ARG_STRING || wanted == POE_ARG_SYMBOL || wanted == POE_ARG_FILE;
  bool or_word = wanted == POE_ARG_REAL && param->shape != NULL && strchr(param->shape, '|') != NULL;
  return given == wanted || (given_text && (wanted_text || or_word));
}

static const char *arg_type_word(poe_arg_type type) {
  switch (type) {
  case POE_ARG_REAL:
    return "numbers";
  case POE_ARG_STRING:
    return "a string";
  case POE_ARG_STRINGS:
    return "a list of strings";
  case POE_ARG_SYMBOL:
    return "a word";
  case POE_ARG_FILE:
    return "a path";
  case POE_ARG_FORMULA:
    return "an expression over the variables";
  }
  return "a value";
}

static void arg_hint_names(const poe_param *params, poe_error *error) {
  char names[POE_ERROR_HINT_SIZE] = "";
  for (const poe_param *param = params; param->name != NULL; param++) {
    size_t used = strlen(names), room = sizeof names - used;
    size_t length = strlen(param->name), comma = used > 0 ? 2 : 0;
    if (length + comma + 1 > room) {
      break;
    }
    memcpy(names + used, ", ", comma);
    memcpy(names + used + comma, param->name, length + 1);
  }
  poe_error_hint(error, "its parameters are %s", names[0] != '\0' ? names : "none");
}

static poe_status args_check(const char *kind, const poe_param *params, const poe_args *args, poe_error *error) {
  static const poe_param none = {0};
  params = params != NULL ? params : &none;
  for (size_t i = 0; i < args->n_args; i++) {
    const poe_arg *arg = &args->args[i];
    const poe_param *param = params;
    while (param->name != NULL && strcmp(param->name, arg->name) != 0) {
      param++;
    }
    if (param->name == NULL) {
      poe_args_error(arg, error, POE_E_USAGE, "`%s` has no parameter `%s`", kind, arg->name);
      arg_hint_names(params, error);
      return POE_E_USAGE;
    }
    if (!arg_type_fits(arg->type, param)) {
      return poe_args_error(arg, error, POE_E_TYPE, "`%s` of `%s` must be %s, not %s", arg->name, kind,
                            arg_type_word(param->type), arg_type_word(arg->type));
    }
    if (poe_args_find(args, arg->name) != arg) {
      return poe_args_error(arg, error, POE_E_USAGE, "`%s` of `%s` is given twice", arg->name, kind);
    }
  }
  return POE_OK;
}

/* ---- experts ---- */

static bool ops_complete(const poe_expert_ops *ops) {
  return ops->struct_size >= sizeof(poe_expert_ops) && ops->kind != NULL && ops->destroy != NULL &&
         ops->traits != NULL && ops->scratch != NULL;
}

poe_status poe_expert_create(const poe_expert_ops *ops, const poe_args *args, poe_expert **expert, poe_error *error) {
  if (!ops_complete(ops) || ops->create == NULL) {
    return poe_error_set(error, POE_E_USAGE, "the table of functions of `%s` is incomplete or of another version",
                         ops->kind != NULL ? ops->kind : "?");
  }
  poe_status status = args_check(ops->kind, ops->params, args, error);
  if (status != POE_OK) {
    return status;
  }
  void *self = NULL;
  status = ops->create(args, &self, error);
  if (status != POE_OK) {
    return status;
  }
  status = poe_expert_wrap(ops, self, expert, error);
  if (status != POE_OK) {
    ops->destroy(self);
  }
  return status;
}

poe_status poe_expert_wrap(const poe_expert_ops *ops, void *self, poe_expert **expert, poe_error *error) {
  if (!ops_complete(ops)) {
    return poe_error_set(error, POE_E_USAGE, "the table of functions of `%s` is incomplete or of another version",
                         ops->kind != NULL ? ops->kind : "?");
  }
  poe_expert *made = poei_alloc(1, sizeof *made);
  if (made == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory for a `%s`", ops->kind);
  }
  *made = (poe_expert){.ops = ops, .self = self};
  atomic_init(&made->references, 1);
  ops->traits(self, &made->traits);
  unsigned possible = (ops->eval_add != NULL ? POE_CAN_EVAL | POE_CAN_GRADIENT : 0u) |
                      (ops->sample != NULL ? POE_CAN_SAMPLE : 0u) | (ops->log_z != NULL ? POE_CAN_LOG_Z : 0u) |
                      (ops->form != NULL ? POE_CAN_FORM : 0u) | (ops->structure != NULL ? POE_CAN_STRUCTURE : 0u) |
                      (ops->local != NULL ? POE_CAN_LOCAL : 0u) | (ops->onehot_grad_add != NULL ? POE_CAN_ONEHOT : 0u) |
                      (ops->prefix != NULL ? POE_CAN_PREFIX : 0u);
  made->traits.capabilities &= possible;
  *expert = made;
  return POE_OK;
}

poe_expert *poe_expert_retain(const poe_expert *expert) {
  poe_expert *counted = (poe_expert *)(uintptr_t)expert; /* the count is the one thing that is not constant */
  if (counted != NULL) {
    atomic_fetch_add_explicit(&counted->references, 1, memory_order_relaxed);
  }
  return counted;
}

void poe_expert_release(poe_expert *expert) {
  /* The last release must see everything other threads did with the expert before theirs. */
  if (expert != NULL && atomic_fetch_sub_explicit(&expert->references, 1, memory_order_acq_rel) == 1) {
    expert->ops->destroy(expert->self);
    poei_free(expert);
  }
}

const poe_expert_ops *poe_expert_ops_of(const poe_expert *expert) {
  return expert->ops;
}

const void *poe_expert_self(const poe_expert *expert) {
  return expert->self;
}

const poe_traits *poe_expert_traits(const poe_expert *expert) {
  return &expert->traits;
}

/* ---- shorthands ---- */

static poe_status capability_missing(const poe_expert *expert, unsigned bit, const char *what, poe_error *error) {
  if ((expert->traits.capabilities & bit) != 0) {
    return POE_OK;
  }
  return poe_error_set(error, POE_E_CAPABILITY, "`%s` has no %s", expert->ops->kind, what);
}

size_t poe_expert_scratch(const poe_expert *expert, unsigned want, size_t n) {
  return expert->ops->scratch(expert->self, want, n);
}

poe_status poe_expert_eval_add(const poe_expert *expert, poe_rows rows, poe_weights weights, poe_accum out,
                               poe_scratch *scratch, poe_error *error) {
  poe_status status = capability_missing(expert, POE_CAN_EVAL, "log-density", error);
  if (status == POE_OK && out.grad != NULL) {
    status = capability_missing(expert, POE_CAN_GRADIENT, "gradient", error);
  }
  if (status != POE_OK || rows.n == 0) {
    return status;
  }
  return expert->ops->eval_add(expert->self, rows, weights, out, scratch, error);
}

poe_status poe_expert_sample(const poe_expert *expert, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                             poe_error *error) {
  poe_status status = capability_missing(expert, POE_CAN_SAMPLE, "exact sampler", error);
  if (status != POE_OK || rows.n == 0) {
    return status;
  }
  return expert->ops->sample(expert->self, rows, at, scratch, error);
}

poe_status poe_expert_log_z(const poe_expert *expert, double *log_z, poe_error *error) {
  poe_status status = capability_missing(expert, POE_CAN_LOG_Z, "exact log Z", error);
  return status != POE_OK ? status : expert->ops->log_z(expert->self, log_z, error);
}

poe_status poe_expert_form(const poe_expert *expert, poe_form *form, poe_error *error) {
  poe_status status = capability_missing(expert, POE_CAN_FORM, "closed form", error);
  return status != POE_OK ? status : expert->ops->form(expert->self, form, error);
}

poe_status poe_expert_structure(const poe_expert *expert, poe_structure *structure, poe_error *error) {
  poe_status status = capability_missing(expert, POE_CAN_STRUCTURE, "factored form", error);
  return status != POE_OK ? status : expert->ops->structure(expert->self, structure, error);
}

const poe_local_ops *poe_expert_local(const poe_expert *expert) {
  return (expert->traits.capabilities & POE_CAN_LOCAL) != 0 ? expert->ops->local : NULL;
}

const poe_prefix_ops *poe_expert_prefix(const poe_expert *expert) {
  return (expert->traits.capabilities & POE_CAN_PREFIX) != 0 ? expert->ops->prefix : NULL;
}

poe_status poe_expert_onehot_grad_add(const poe_expert *expert, poe_rows rows, poe_weights weights, double *out,
                                      size_t ldo, poe_scratch *scratch, poe_error *error) {
  poe_status status = capability_missing(expert, POE_CAN_ONEHOT, "one-hot gradient", error);
  if (status != POE_OK || rows.n == 0) {
    return status;
  }
  return expert->ops->onehot_grad_add(expert->self, rows, weights, out, ldo, scratch, error);
}

/* ---- maps ---- */

poe_status poe_map_create(const poe_map_ops *ops, const poe_args *args, poe_map **map, poe_error *error) {
  if (ops->struct_size < sizeof(poe_map_ops) || ops->create == NULL || ops->destroy == NULL) {
    return poe_error_set(error, POE_E_USAGE, "the table of functions of `%s` is incomplete or of another version",
                         ops->kind != NULL ? ops->kind : "?");
  }
  poe_status status = args_check(ops->kind, ops->params, args, error);
  void *self = NULL;
  if (status == POE_OK) {
    status = ops->create(args, &self, error);
  }
  if (status != POE_OK) {
    return status;
  }
  poe_map *made = poei_alloc(1, sizeof *made);
  if (made == NULL) {
    ops->destroy(self);
    return poe_error_set(error, POE_E_MEMORY, "out of memory for a `%s`", ops->kind);
  }
  *made = (poe_map){.ops = ops, .self = self};
  atomic_init(&made->references, 1);
  *map = made;
  return POE_OK;
}

poe_map *poe_map_retain(const poe_map *map) {
  poe_map *counted = (poe_map *)(uintptr_t)map;
  if (counted != NULL) {
    atomic_fetch_add_explicit(&counted->references, 1, memory_order_relaxed);
  }
  return counted;
}

void poe_map_release(poe_map *map) {
  if (map != NULL && atomic_fetch_sub_explicit(&map->references, 1, memory_order_acq_rel) == 1) {
    map->ops->destroy(map->self);
    poei_free(map);
  }
}

const poe_map_ops *poe_map_ops_of(const poe_map *map) {
  return map->ops;
}

const void *poe_map_self(const poe_map *map) {
  return map->self;
}
