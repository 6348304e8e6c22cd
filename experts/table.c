/* table(u, v, ... | p | log | file): a potential over discrete variables, as given: not normalised.
 *
 * One number per joint state, first variable slowest. The file (npy, npz or safetensors) holds them under the name `p`
 * or `log`; an npy file, whose array has no name, holds p.
 */
#include "core/alloc.h"
#include "experts/family.h"
#include "experts/form.h"
#include "experts/list.h"
#include "experts/states.h"
#include "formats/tensor_file.h"

static const poe_param table_params[] = {
    {"p", POE_ARG_REAL, "k,...", NULL, "value of each joint state, >= 0, first variable slowest"},
    {"log", POE_ARG_REAL, "k,...", NULL, "log value of each joint state"},
    {"file", POE_ARG_FILE, "", NULL, "npy, npz or safetensors with `p` or `log`"},
    {0},
};

enum { TABLE_MOST_STATES = 1 << 28 };

/* A zeroed table over the subjects' states. */
static poe_status table_shape(const poe_args *args, poe_form *form, poe_error *error) {
  size_t d = poe_args_dim(args), states = 1, *cardinality = poei_alloc(d, sizeof *cardinality);
  double *low = poei_alloc(d, sizeof *low);
  poe_status status = POE_OK;
  if (cardinality == NULL || low == NULL) {
    status = poei_family_memory(args->kind, error);
  }
  for (size_t j = 0; status == POE_OK && j < d; j++) {
    const poe_support *support = poei_family_support(args, j, NULL);
    low[j] = support->low;
    cardinality[j] = support->high - support->low < 9e15 ? (size_t)(support->high - support->low) + 1 : SIZE_MAX;
    if (!poei_mul_size(states, cardinality[j], &states) || states > TABLE_MOST_STATES) {
      status = poe_error_set(error, POE_E_SHAPE, "a `%s` over %zu variables has too many joint states to list",
                             args->kind, d);
      poe_error_hint(error, "write it as a product of tables over a few variables each");
    }
  }
  if (status == POE_OK) {
    status = poei_form_table(form, d, cardinality, low, error);
  }
  poei_free(cardinality);
  poei_free(low);
  return status;
}

/* Fills the table from a file; *logs tells what its numbers are. */
static poe_status table_read(const poe_arg *arg, poe_form *form, bool *logs, poe_error *error) {
  poei_tensor_file *file = NULL;
  poe_status status = poei_tensor_file_open(arg->text, &file, error);
  if (status != POE_OK) {
    return status;
  }
  const poei_tensor *tensor = poei_tensor_file_find(file, "log");
  *logs = tensor != NULL;
  if (tensor == NULL && (tensor = poei_tensor_file_find(file, "")) == NULL) {
    status = poei_tensor_file_require(file, "p", &tensor, error);
  }
  size_t states = poei_form_states(form);
  if (status == POE_OK && tensor->count != states) {
    status = poe_args_error(arg, error, POE_E_SHAPE, "'%s' holds a table of %zu numbers; the variables have %zu states",
                            arg->text, tensor->count, states);
  }
  if (status == POE_OK) {
    poei_tensor_to_double(tensor, form->log_value);
  }
  poei_tensor_file_close(file);
  return status;
}

static poe_status table_logs(const poe_args *args, const poe_arg *arg, poe_form *form, bool logs, poe_error *error) {
  size_t states = poei_form_states(form);
  double top = -INFINITY;
  for (size_t s = 0; s < states; s++) {
    double v = form->log_value[s];
    if (isnan(v) || v == INFINITY || (!logs && v < 0.0)) {
      return poe_args_error(arg, error, POE_E_DOMAIN, "`%s` of `%s` must be %s; number %zu is %g", arg->name,
                            args->kind, logs ? "less than infinity" : "finite and at least 0", s, v);
    }
    form->log_value[s] = logs ? v : log(v);
    top = fmax(top, form->log_value[s]);
  }
  if (top == -INFINITY) {
    return poe_args_error(arg, error, POE_E_EMPTY, "every state of the `%s` has value 0", args->kind);
  }
  return POE_OK;
}

static poe_status table_fill(const poe_args *args, poe_form *form, poe_error *error) {
  static const char *const names[] = {"p", "log", "file"};
  size_t which = 0;
  poe_status status = poei_family_one_of(args, 3, names, &which, error);
  if (status != POE_OK) {
    return status;
  }
  const poe_arg *arg = poe_args_find(args, names[which]);
  size_t states = poei_form_states(form);
  bool logs = which == 1;
  status = which == 2 ? table_read(arg, form, &logs, error)
                      : poe_args_real(args, names[which], 1, &states, NAN, logs, form->log_value, error);
  return status == POE_OK ? table_logs(args, arg, form, logs, error) : status;
}

static poe_status table_create(const poe_args *args, void **self, poe_error *error) {
  poe_status status = poei_family_need_finite(args, error);
  poe_form form = {0};
  if (status == POE_OK) {
    status = table_shape(args, &form, error);
  }
  if (status == POE_OK) {
    status = table_fill(args, &form, error);
  }
  poei_states *states = NULL;
  if (status == POE_OK) {
    status = poei_states_create(&form, &states, error);
  }
  poe_form_release(&form);
  if (status == POE_OK) {
    *self = states;
  }
  return status;
}

const poe_expert_ops poei_table_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "table",
    .doc = "a potential over discrete variables, one number per joint state",
    .params = table_params,
    .create = table_create,
    .destroy = poei_states_destroy,
    .traits = poei_states_traits,
    .scratch = poei_states_scratch,
    .eval_add = poei_states_eval_add,
    .sample = poei_states_sample,
    .log_z = poei_states_log_z,
    .form = poei_states_form,
    .structure = poei_states_structure,
    .local = &poei_states_local,
    .onehot_grad_add = poei_states_onehot_grad_add,
};
