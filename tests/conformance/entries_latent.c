/* Conformance entries of the families with hidden units: rbm, dbm. The independent formula writes the energy of all
 * units down and adds up every state of the hidden ones. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "experts/list.h"
#include "formats/tensor_write.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

enum { MAX_LAYERS = 5, MAX_NUMBERS = 1024 };

/* A machine as its author would have it. */
typedef struct design {
  size_t layers, size[MAX_LAYERS];
  double spread; /* of the weights                                */
  bool gaussian, joint, single;
} design;

/* Numbers that single precision holds too, so that files of either type say the same: multiples of 2^-16. */
static double number(size_t i, double scale) {
  return rint(65536.0 * scale * sin(2.3 * (double)i + 0.7 * (double)(i % 5) + 0.4)) / 65536.0;
}

static double numbers[2 * MAX_LAYERS][MAX_NUMBERS];
static const design *written;

/* Fills numbers: weights in rows 0 ..., biases behind them, sd last. */
static void write_numbers(const design *m) {
  size_t biases = m->layers - 1;
  for (size_t l = 0; l < m->layers && written != m; l++) {
    for (size_t i = 0; i < m->size[l]; i++) {
      numbers[biases + l][i] = number(700 + 40 * l + i, 0.8);
      numbers[2 * m->layers - 1][i] = 0.5 + 0.25 * (double)(i % 4);
      for (size_t j = 0; l + 1 < m->layers && j < m->size[l + 1]; j++) {
        size_t k = i * m->size[l + 1] + j;
        numbers[l][k] = number(100 * l + k, m->spread);
      }
    }
  }
  written = m;
}

static size_t first_unit(const design *m, size_t layer) {
  size_t first = 0;
  for (size_t l = 0; l < layer; l++) {
    first += m->size[l];
  }
  return first;
}

/* log p of all units x, the formula of the page. */
static double log_joint(const design *m, const double *x) {
  const double *sd = numbers[2 * m->layers - 1];
  double value = 0.0;
  for (size_t l = 0; l < m->layers; l++) {
    const double *own = x + first_unit(m, l), *next = own + m->size[l], *bias = numbers[m->layers - 1 + l];
    for (size_t i = 0; i < m->size[l]; i++) {
      double input = own[i];
      if (l == 0 && m->gaussian) {
        double z = (own[i] - bias[i]) / sd[i];
        value -= z * z / 2.0;
        input = own[i] / (sd[i] * sd[i]);
      } else {
        value += bias[i] * own[i];
      }
      for (size_t j = 0; l + 1 < m->layers && j < m->size[l + 1]; j++) {
        value += input * numbers[l][i * m->size[l + 1] + j] * next[j];
      }
    }
  }
  return value;
}

/* log of the sum over all states of the units from `first` on, those before it as in x. */
static double log_total(const design *m, size_t first, double *x) {
  double top = -INFINITY, sum = 0.0;
  size_t hidden = first_unit(m, m->layers) - first;
  for (size_t s = 0; s < (size_t)1 << hidden; s++) {
    for (size_t j = 0; j < hidden; j++) {
      x[first + j] = (double)(s >> j & 1);
    }
    double value = log_joint(m, x);
    sum = value > top ? sum * exp(top - value) + 1.0 : sum + exp(value - top);
    top = fmax(top, value);
  }
  return top + log(sum);
}

static double log_marginal(const design *m, const double *v) {
  double x[128];
  write_numbers(m);
  size_t shown = m->joint ? first_unit(m, m->layers) : m->size[0];
  memcpy(x, v, shown * sizeof *x);
  return m->joint ? log_joint(m, x) : log_total(m, shown, x);
}

/* ---- building ---- */

static const char *array_name(const design *m, size_t i) {
  static const char *const deep[] = {"W1", "W2", "W3", "W4"}, *const offset[] = {"b", "c1", "c2", "c3", "c4"};
  static const char *const flat[] = {"W", "b", "c"};
  return m->layers == 2 ? flat[i] : i + 1 < m->layers ? deep[i] : offset[i - (m->layers - 1)];
}

static void add_variables(const design *m, poet_args *a) {
  static const char *const names[] = {"v", "h1", "h2", "h3", "h4"};
  for (size_t l = 0; l < (m->joint ? m->layers : 1); l++) {
    if (l == 0 && m->gaussian) {
      poet_args_real_variable(a, names[l], m->size[l]);
    } else {
      poet_args_discrete_variable(a, names[l], m->size[l], 2);
    }
  }
}

static poe_status create(const design *m, const poet_args *a, poe_expert **expert, poe_error *error) {
  return poe_expert_create(m->layers == 2 ? &poei_rbm_ops : &poei_dbm_ops, &a->args, expert, error);
}

/* All arrays in a safetensors file that says what it is. */
static const char *described_file(const design *m) {
  static char text[512];
  static const char *const metadata[][2] = {{"poe.format", "1"}, {"poe.family", "dbm"}};
  poei_tensor tensors[2 * MAX_LAYERS];
  poe_error error = {0};
  size_t n = 2 * m->layers - 1, biases = m->layers - 1;
  for (size_t i = 0; i < n; i++) {
    bool matrix = i < biases;
    size_t rows = m->size[matrix ? i : i - biases], columns = matrix ? m->size[i + 1] : 1;
    tensors[i] = (poei_tensor){.name = array_name(m, i), .dtype = POEI_F64, .ndim = matrix ? 2 : 1};
    tensors[i].shape[0] = rows;
    tensors[i].shape[1] = columns;
    tensors[i].count = rows * columns;
    tensors[i].data = (const unsigned char *)numbers[i];
  }
  snprintf(text, sizeof text, "%s", poet_temp_path("dbm.safetensors"));
  check_ok(poei_safetensors_write(text, n, tensors, 2, metadata, &error), error);
  return text;
}

static poe_status build(const design *m, poe_expert **expert, poe_error *error) {
  static const design *in_file;
  static char path[512];
  poet_args a;
  write_numbers(m);
  poet_args_start(&a, m->layers == 2 ? "rbm" : "dbm");
  add_variables(m, &a);
  if (m->layers > 3) { /* written once, so that writing takes no part in failing allocations */
    if (in_file != m) {
      snprintf(path, sizeof path, "%s", described_file(m));
      in_file = m;
    }
    poet_args_text(&a, "file", POE_ARG_FILE, path);
    return create(m, &a, expert, error);
  }
  for (size_t i = 0; i < 2 * m->layers - 1; i++) {
    if (i + 1 < m->layers) {
      poet_args_matrix(&a, array_name(m, i), m->size[i], m->size[i + 1], numbers[i]);
    } else {
      poet_args_vector(&a, array_name(m, i), m->size[i - (m->layers - 1)], numbers[i]);
    }
  }
  if (m->gaussian) {
    poet_args_vector(&a, "sd", m->size[0], numbers[2 * m->layers - 1]);
  }
  return create(m, &a, expert, error);
}

/* The file holds W [v, h], the bias of v as [1, v] (as some training codes keep it), and sd. Written once. */
static const char *rbm_file(const design *m, const char *name, const char *const *tensors) {
  static char paths[2][256];
  static const char *const own[] = {"W", "b", "c", "sd"};
  char *path = paths[m->gaussian];
  if (path[0] != '\0') {
    return path;
  }
  write_numbers(m);
  poei_npz_writer *writer = NULL;
  poe_error error = {0};
  size_t shapes[4][2] = {{m->size[0], m->size[1]}, {1, m->size[0]}, {m->size[1], 0}, {m->size[0], 0}};
  const size_t ndim[4] = {2, 2, 1, 1};
  const char *fresh = poet_temp_path(name);
  check_ok(poei_npz_writer_open(fresh, &writer, &error), error);
  for (size_t i = 0; i < (m->gaussian ? 4 : 3); i++) {
    float singles[MAX_NUMBERS];
    for (size_t k = 0; k < MAX_NUMBERS; k++) {
      singles[k] = (float)numbers[i][k];
    }
    const void *data = m->single ? (const void *)singles : (const void *)numbers[i];
    check_ok(poei_npz_writer_add(writer, tensors == NULL ? own[i] : tensors[i], m->single ? POEI_F32 : POEI_F64,
                                 ndim[i], shapes[i], data, &error),
             error);
  }
  check_ok(poei_npz_writer_commit(writer, &error), error);
  memcpy(path, fresh, strlen(fresh) + 1);
  return path;
}

/* ---- points ---- */

static void binary_points(size_t n, size_t d, double *x) {
  for (size_t i = 0; i < n * d; i++) {
    x[i] = poet_spread(i / d, i % d, 0.0, 1.0) < 0.5 ? 0.0 : 1.0;
  }
}

static void real_points(size_t n, size_t d, double *x) {
  for (size_t i = 0; i < n * d; i++) {
    x[i] = poet_spread(i / d, i % d, -2.5, 3.5);
  }
}

static void mixed_points(size_t n, size_t d, double *x) { /* two real coordinates, the others binary */
  for (size_t i = 0; i < n * d; i++) {
    double u = poet_spread(i / d, i % d, -1.0, 1.0);
    x[i] = i % d < 2 ? 3.0 * u : u < 0.0 ? 0.0 : 1.0;
  }
}

/* Defines the pure functions of a case from its design. */
#define CASE(name, ...)                                                                                                \
  static const design name = {__VA_ARGS__};                                                                            \
  static poe_status name##_build(poe_expert **expert, poe_error *error) {                                              \
    return build(&name, expert, error);                                                                                \
  }                                                                                                                    \
  static double name##_value(const double *x) {                                                                        \
    return log_marginal(&name, x);                                                                                     \
  }

/* ---- rbm ---- */

CASE(few_hidden, .layers = 2, .size = {6, 3}, .spread = 1.5)
CASE(few_visible, .layers = 2, .size = {4, 9}, .spread = 1.5)
CASE(both, .layers = 2, .size = {3, 4}, .spread = 1.5, .joint = true)
CASE(real, .layers = 2, .size = {2, 4}, .spread = 1.0, .gaussian = true)
CASE(real_both, .layers = 2, .size = {2, 3}, .spread = 1.0, .gaussian = true, .joint = true)
CASE(large, .layers = 2, .size = {60, 11}, .spread = 0.5)

/* Without exact draws: 41 visible and 24 hidden units, of which 14 have no couplings, so that the reference need not
 * enumerate them. */
static const design few = {.layers = 2, .size = {41, 10}, .spread = 0.6};

static poe_status wide_build(poe_expert **expert, poe_error *error) {
  static double w[41 * 24], c[24];
  write_numbers(&few);
  for (size_t j = 0; j < 24; j++) {
    for (size_t i = 0; i < 41; i++) {
      w[i * 24 + j] = j < 10 ? numbers[0][i * 10 + j] : 0.0;
    }
    c[j] = j < 10 ? numbers[2][j] : -0.5;
  }
  poet_args a;
  poet_args_start(&a, "rbm");
  poet_args_discrete_variable(&a, "v", 41, 2);
  poet_args_matrix(&a, "W", 41, 24, w);
  poet_args_vector(&a, "b", 41, numbers[1]);
  poet_args_vector(&a, "c", 24, c);
  return create(&few, &a, expert, error);
}

static double wide_value(const double *x) {
  return log_marginal(&few, x) + 14.0 * log(1.0 + exp(-0.5));
}

static const design from_single = {.layers = 2, .size = {5, 3}, .spread = 1.2, .single = true};
static const design from_named = {.layers = 2, .size = {2, 2}, .spread = 0.9, .gaussian = true};
static const char *const torch_names[] = {"weight", "v_bias", "h_bias", "sigma"};

static poe_status from_single_build(poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "rbm");
  add_variables(&from_single, &a);
  poet_args_text(&a, "file", POE_ARG_FILE, rbm_file(&from_single, "rbm32.npz", NULL));
  return create(&from_single, &a, expert, error);
}

static double from_single_value(const double *x) {
  return log_marginal(&from_single, x);
}

static poe_status from_named_build(poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "rbm");
  add_variables(&from_named, &a);
  poet_args_text(&a, "file", POE_ARG_FILE, rbm_file(&from_named, "rbm-torch.npz", torch_names));
  poe_arg *list = &a.arg[a.args.n_args++];
  *list = (poe_arg){.name = "tensors", .type = POE_ARG_STRINGS, .n_texts = 4, .texts = torch_names};
  return create(&from_named, &a, expert, error);
}

static double from_named_value(const double *x) {
  return log_marginal(&from_named, x);
}

static const poet_case rbm_cases[] = {
    {.name = "rbm of few hidden units",
     .build = few_hidden_build,
     .log_density = few_hidden_value,
     .embeds = true,
     .sample = POET_SAMPLE_STATES,
     .needs_no_interior = true},
    {.name = "rbm of few visible units",
     .build = few_visible_build,
     .log_density = few_visible_value,
     .embeds = true,
     .sample = POET_SAMPLE_STATES,
     .needs_no_interior = true},
    {.name = "rbm over both layers",
     .build = both_build,
     .log_density = both_value,
     .embeds = true,
     .sample = POET_SAMPLE_STATES,
     .needs_no_interior = true},
    {.name = "rbm of Gaussian visible units",
     .build = real_build,
     .points = real_points,
     .log_density = real_value,
     .sample = POET_SAMPLE_BOX,
     .box = {-4.0, 5.0, -4.0, 5.0}},
    {.name = "rbm over Gaussian visible and binary hidden units",
     .build = real_both_build,
     .points = mixed_points,
     .log_density = real_both_value},
    {.name = "rbm of 60 visible units",
     .build = large_build,
     .log_density = large_value,
     .embeds = true,
     .needs_no_interior = true},
    {.name = "rbm without exact draws",
     .build = wide_build,
     .points = binary_points,
     .log_density = wide_value,
     .embeds = true,
     .needs_no_interior = true},
    {.name = "rbm from a file in single precision",
     .build = from_single_build,
     .log_density = from_single_value,
     .embeds = true,
     .sample = POET_SAMPLE_STATES,
     .needs_no_interior = true},
    {.name = "rbm from a file with other names",
     .build = from_named_build,
     .points = real_points,
     .log_density = from_named_value,
     .sample = POET_SAMPLE_BOX,
     .box = {-4.0, 5.0, -4.0, 5.0}},
};
POET_ENTRY(rbm, rbm_cases);

/* ---- dbm ---- */

CASE(first, .layers = 3, .size = {5, 3, 6}, .spread = 1.2)
CASE(second, .layers = 3, .size = {4, 9, 2}, .spread = 1.2)

/* More states than one block of 64: too many to add up all, so layer 1 goes by its 1 + e^field here too. */
static const design seconds = {.layers = 3, .size = {3, 12, 7}, .spread = 0.7};
static poe_status seconds_build(poe_expert **expert, poe_error *error) {
  return build(&seconds, expert, error);
}
static double seconds_value(const double *v) {
  double total = 0.0, top = 0.0;
  write_numbers(&seconds);
  for (size_t s = 0; s < 128; s++) {
    double term = 0.0;
    for (size_t k = 0; k < 7; k++) {
      term += (s >> k & 1) != 0 ? numbers[4][k] : 0.0;
    }
    for (size_t j = 0; j < 12; j++) {
      double field = numbers[3][j];
      for (size_t i = 0; i < 3; i++) {
        field += v[i] * numbers[0][i * 12 + j];
      }
      for (size_t k = 0; k < 7; k++) {
        field += (s >> k & 1) != 0 ? numbers[1][j * 7 + k] : 0.0;
      }
      term += log(1.0 + exp(field));
    }
    total += exp(term);
  }
  for (size_t i = 0; i < 3; i++) {
    top += v[i] * numbers[2][i];
  }
  return top + log(total);
}
CASE(first_of_four, .layers = 5, .size = {3, 2, 3, 2, 2}, .spread = 1.2)
CASE(second_of_four, .layers = 5, .size = {3, 6, 2, 3, 2}, .spread = 1.2)
CASE(all, .layers = 3, .size = {3, 2, 4}, .spread = 1.2, .joint = true)

/* Too many hidden states for a density: only the factor graph is left. */
static const design deep = {.layers = 3, .size = {4, 22, 23}, .spread = 0.3};
static poe_status deep_build(poe_expert **expert, poe_error *error) {
  return build(&deep, expert, error);
}

static const poet_case dbm_cases[] = {
    {.name = "dbm over the states of the first layer",
     .build = first_build,
     .log_density = first_value,
     .embeds = true,
     .sample = POET_SAMPLE_STATES,
     .needs_no_interior = true},
    {.name = "dbm over the states of the second layer",
     .build = second_build,
     .log_density = second_value,
     .embeds = true,
     .sample = POET_SAMPLE_STATES,
     .needs_no_interior = true},
    {.name = "dbm over two blocks of states of the second layer",
     .build = seconds_build,
     .log_density = seconds_value,
     .embeds = true,
     .sample = POET_SAMPLE_STATES,
     .needs_no_interior = true},
    {.name = "dbm of four hidden layers",
     .build = first_of_four_build,
     .log_density = first_of_four_value,
     .embeds = true,
     .sample = POET_SAMPLE_STATES,
     .needs_no_interior = true},
    {.name = "dbm of four hidden layers, over the even ones",
     .build = second_of_four_build,
     .log_density = second_of_four_value,
     .embeds = true,
     .sample = POET_SAMPLE_STATES,
     .needs_no_interior = true},
    {.name = "dbm over all layers",
     .build = all_build,
     .log_density = all_value,
     .embeds = true,
     .sample = POET_SAMPLE_STATES,
     .needs_no_interior = true},
    {.name = "dbm of too many hidden states", .build = deep_build, .points = binary_points, .needs_no_interior = true},
};
POET_ENTRY(dbm, dbm_cases);
