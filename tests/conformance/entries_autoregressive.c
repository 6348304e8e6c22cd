/* Conformance entry of autoregressive. The independent formula is a masked network written out in loops, followed by
 * each conditional density from its definition. */
#include <stdio.h>
#include <string.h>

#include "experts/list.h"
#include "formats/tensor_write.h"
#include "tests/conformance/conformance.h"
#include "tests/conformance/sequence_models.h"
#include "tests/support/check.h"

enum { MOST = 6, HIDDEN = 9, MOST_OUT = 64 };

/* A masked autoencoder d -> HIDDEN tanh -> d parameters, coordinate j at place[j] of the order. */
typedef struct made {
  const char *file, *output;
  size_t d, parameters;
  bool last; /* where the parameters stand */
  size_t place[MOST];
} made;

static const made bits = {"bits", "{\"op\":\"bernoulli\"}", 5, 1, false, {2, 0, 4, 1, 3}};
static const made symbols = {
    "symbols", "{\"op\":\"categorical\",\"values\":3,\"layout\":\"interleaved\"}", 4, 3, true, {0, 1, 2, 3}};
static const made plane = {"plane", "{\"op\":\"gaussian_mixture\",\"components\":2}", 2, 6, false, {1, 0}};
static const made space = {
    "space", "{\"op\":\"gaussian_mixture\",\"components\":1,\"log_scale_min\":-0.2}", 3, 2, false, {0, 1, 2}};
static const made levels = {"levels", "{\"op\":\"logistic_mixture\",\"components\":2,\"values\":7}", 3, 6, false,
                            {0, 2, 1}};

static double number(size_t i) {
  return (double)(float)(0.5 * sin(1.9 * (double)i + 0.4));
}

static size_t degree(const made *m, size_t h) {
  return h % (m->d - 1);
}

static bool sees(const made *m, size_t h, size_t i) {
  return m->place[i] <= degree(m, h);
}

static size_t owner(const made *m, size_t o) {
  return m->last ? o / m->parameters : o % m->d;
}

static bool heard(const made *m, size_t o, size_t h) {
  return degree(m, h) < m->place[owner(m, o)];
}

/* t[parameters] of coordinate j. */
static void parameters_of(const made *m, const double *x, size_t j, double *t) {
  double hidden[HIDDEN];
  for (size_t h = 0; h < HIDDEN; h++) {
    hidden[h] = number(700 + h);
    for (size_t i = 0; i < m->d; i++) {
      hidden[h] += sees(m, h, i) ? number(h * m->d + i) * x[i] : 0.0;
    }
    hidden[h] = tanh(hidden[h]);
  }
  for (size_t p = 0; p < m->parameters; p++) {
    size_t o = m->last ? j * m->parameters + p : p * m->d + j;
    t[p] = number(800 + o);
    for (size_t h = 0; h < HIDDEN; h++) {
      t[p] += heard(m, o, h) ? number(100 + o * HIDDEN + h) * hidden[h] : 0.0;
    }
  }
}

static double sigmoid(double v) {
  return 1.0 / (1.0 + exp(-v));
}

static double bits_value(const double *x) {
  double sum = 0.0, t[1];
  for (size_t j = 0; j < bits.d; j++) {
    parameters_of(&bits, x, j, t);
    sum += log(x[j] == 1.0 ? sigmoid(t[0]) : sigmoid(-t[0]));
  }
  return sum;
}

static double symbols_value(const double *x) {
  double sum = 0.0, t[3];
  for (size_t j = 0; j < symbols.d; j++) {
    parameters_of(&symbols, x, j, t);
    sum += log(exp(t[(size_t)x[j]]) / (exp(t[0]) + exp(t[1]) + exp(t[2])));
  }
  return sum;
}

static double normal(double x, double mean, double sd) {
  return exp(-0.5 * (x - mean) * (x - mean) / (sd * sd)) / (sd * sqrt(2.0 * acos(-1.0)));
}

static double plane_value(const double *x) {
  double sum = 0.0, t[6];
  for (size_t j = 0; j < plane.d; j++) {
    parameters_of(&plane, x, j, t);
    double w = exp(t[0]) / (exp(t[0]) + exp(t[1]));
    sum += log(w * normal(x[j], t[2], exp(t[4])) + (1.0 - w) * normal(x[j], t[3], exp(t[5])));
  }
  return sum;
}

static double space_value(const double *x) {
  double sum = 0.0, t[2];
  for (size_t j = 0; j < space.d; j++) {
    parameters_of(&space, x, j, t);
    sum += log(normal(x[j], t[0], exp(fmax(t[1], -0.2))));
  }
  return sum;
}

static double levels_value(const double *x) {
  double sum = 0.0, t[6];
  for (size_t j = 0; j < levels.d; j++) {
    parameters_of(&levels, x, j, t);
    double w = exp(t[0]) / (exp(t[0]) + exp(t[1])), p = 0.0, center = x[j] / 3.0 - 1.0;
    for (size_t c = 0; c < 2; c++) {
      double scale = exp(t[4 + c]);
      double high = x[j] == 6.0 ? 1.0 : sigmoid((center + 1.0 / 6.0 - t[2 + c]) / scale);
      double low = x[j] == 0.0 ? 0.0 : sigmoid((center - 1.0 / 6.0 - t[2 + c]) / scale);
      p += (c == 0 ? w : 1.0 - w) * (high - low);
    }
    sum += log(p);
  }
  return sum;
}

static poei_tensor tensor_of(const char *name, size_t rows, size_t columns, const double *data) {
  poei_tensor t = {.name = name, .dtype = POEI_F64, .ndim = columns == 0 ? 1 : 2, .shape = {rows, columns}};
  t.count = rows * (columns == 0 ? 1 : columns);
  t.data = (const unsigned char *)data;
  return t;
}

/* Writes the file once, for every build after the first reads it. Weights that the mask cuts are not 0 in the file. */
static const char *made_file(const made *m) {
  static struct {
    const made *of;
    char path[256];
  } known[8];
  size_t k = 0;
  while (known[k].of != NULL && known[k].of != m) {
    k++;
  }
  if (known[k].of == m) {
    return known[k].path;
  }
  size_t outputs = m->d * m->parameters;
  double w[HIDDEN * MOST], wm[HIDDEN * MOST], v[MOST_OUT * HIDDEN], vm[MOST_OUT * HIDDEN], b[HIDDEN], c[MOST_OUT];
  for (size_t i = 0; i < HIDDEN * m->d; i++) {
    w[i] = number(i);
    wm[i] = sees(m, i / m->d, i % m->d) ? 1.0 : 0.0;
  }
  for (size_t i = 0; i < outputs * HIDDEN; i++) {
    v[i] = number(100 + i);
    vm[i] = heard(m, i / HIDDEN, i % HIDDEN) ? 1.0 : 0.0;
  }
  for (size_t i = 0; i < HIDDEN; i++) {
    b[i] = number(700 + i);
  }
  for (size_t i = 0; i < outputs; i++) {
    c[i] = number(800 + i);
  }
  const poei_tensor tensors[] = {tensor_of("w", HIDDEN, m->d, w),      tensor_of("wm", HIDDEN, m->d, wm),
                                 tensor_of("b", HIDDEN, 0, b),         tensor_of("v", outputs, HIDDEN, v),
                                 tensor_of("vm", outputs, HIDDEN, vm), tensor_of("c", outputs, 0, c)};
  char input[32], name[64];
  snprintf(input, sizeof input, "[%zu]", m->d);
  snprintf(name, sizeof name, "%s.safetensors", m->file);
  const char *const metadata[][2] = {
      {"poe.format", "1"},
      {"poe.family", "autoregressive"},
      {"poe.input", input},
      {"poe.output", m->output},
      {"poe.layers", "[{\"op\":\"linear\",\"weight\":\"w\",\"mask\":\"wm\",\"bias\":\"b\"},{\"op\":\"tanh\"},"
                     "{\"op\":\"linear\",\"weight\":\"v\",\"mask\":\"vm\",\"bias\":\"c\"}]"}};
  poe_error error = {0};
  const char *fresh = poet_temp_path(name);
  check_ok(poei_safetensors_write(fresh, 6, tensors, sizeof metadata / sizeof metadata[0], metadata, &error), error);
  known[k].of = m;
  memcpy(known[k].path, fresh, strlen(fresh) + 1);
  return known[k].path;
}

static poe_status made_build(const made *m, size_t values, poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "autoregressive");
  if (values == 0) {
    poet_args_real_variable(&a, "x", m->d);
  } else {
    poet_args_discrete_variable(&a, "x", m->d, values);
  }
  poet_args_text(&a, "file", POE_ARG_FILE, made_file(m));
  return poe_expert_create(&poei_autoregressive_ops, &a.args, expert, error);
}

static poe_status build_bits(poe_expert **expert, poe_error *error) {
  return made_build(&bits, 2, expert, error);
}
static poe_status build_symbols(poe_expert **expert, poe_error *error) {
  return made_build(&symbols, 3, expert, error);
}
static poe_status build_plane(poe_expert **expert, poe_error *error) {
  return made_build(&plane, 0, expert, error);
}
static poe_status build_space(poe_expert **expert, poe_error *error) {
  return made_build(&space, 0, expert, error);
}
static poe_status build_levels(poe_expert **expert, poe_error *error) {
  return made_build(&levels, 7, expert, error);
}

static const poet_case autoregressive_cases[] = {
    {.name = "autoregressive over bits, in an order of its own",
     .build = build_bits,
     .log_density = bits_value,
     .sample = POET_SAMPLE_STATES,
     .needs_no_interior = true,
     .knows_log_z = true},
    {.name = "autoregressive over symbols",
     .build = build_symbols,
     .log_density = symbols_value,
     .sample = POET_SAMPLE_STATES,
     .needs_no_interior = true,
     .knows_log_z = true},
    {.name = "autoregressive over levels of grey",
     .build = build_levels,
     .log_density = levels_value,
     .sample = POET_SAMPLE_STATES,
     .needs_no_interior = true,
     .knows_log_z = true},
    {.name = "autoregressive mixtures of two Gaussians",
     .build = build_plane,
     .log_density = plane_value,
     .sample = POET_SAMPLE_BOX,
     .box = {-14.0, 14.0, -14.0, 14.0},
     .knows_log_z = true},
    {.name = "autoregressive Gaussians with a least scale",
     .build = build_space,
     .points = poet_points_normal,
     .log_density = space_value,
     .sample = POET_SAMPLE_NONE,
     .knows_log_z = true},
    {.name = "autoregressive over strings that end",
     .build = poet_build_strings,
     .log_density = poet_log_strings,
     .sample = POET_SAMPLE_STATES,
     .needs_no_interior = true,
     .knows_log_z = true},
    {.name = "autoregressive over letters, two layers",
     .build = poet_build_letters,
     .log_density = poet_log_letters,
     .sample = POET_SAMPLE_STATES,
     .needs_no_interior = true,
     .knows_log_z = true},
    {.name = "autoregressive over two numbers, recurrent",
     .build = poet_build_numbers,
     .log_density = poet_log_numbers,
     .sample = POET_SAMPLE_BOX,
     .box = {-14.0, 14.0, -14.0, 14.0},
     .knows_log_z = true},
    {.name = "autoregressive over pairs of numbers, recurrent",
     .build = poet_build_pairs,
     .points = poet_points_normal,
     .log_density = poet_log_pairs,
     .sample = POET_SAMPLE_NONE,
     .knows_log_z = true},
    {.name = "NADE",
     .build = poet_build_nade,
     .log_density = poet_log_nade,
     .sample = POET_SAMPLE_STATES,
     .needs_no_interior = true,
     .knows_log_z = true},
    {.name = "NADE over two numbers",
     .build = poet_build_real_nade,
     .log_density = poet_log_real_nade,
     .sample = POET_SAMPLE_BOX,
     .box = {-30.0, 30.0, -30.0, 30.0},
     .knows_log_z = true},
};
POET_ENTRY(autoregressive, autoregressive_cases);
