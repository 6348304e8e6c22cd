/* Conformance entries of the families that run on networks: energy. The independent formula is the network written out
 * in double precision. */
#include <stdint.h>
#include <string.h>

#include "experts/list.h"
#include "formats/tensor_write.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

enum { IN = 3, HIDDEN = 17 };

static const double energy_scale = 2.5;

/* Weights as anyone would see them after a cast to single precision, so that both files hold the same numbers. */
static double weight_number(size_t i) {
  return (double)(float)(0.8 * sin(1.7 * (double)i + 0.3));
}

static double energy_value(const double *x) {
  double energy = weight_number(900);
  for (size_t h = 0; h < HIDDEN; h++) {
    double sum = weight_number(500 + h);
    for (size_t j = 0; j < IN; j++) {
      sum += weight_number(h * IN + j) * x[j];
    }
    energy += weight_number(700 + h) * tanh(sum);
  }
  return -energy / energy_scale;
}

/* Writes the network [3] -> 17 tanh -> 1 with weights of that type; once, for every build after the first reads it. */
static const char *energy_file(poei_dtype dtype) {
  static char paths[2][256];
  static const char *const metadata[][2] = {
      {"poe.format", "1"},
      {"poe.family", "energy"},
      {"poe.input", "[3]"},
      {"poe.energy_scale", "2.5"},
      {"poe.layers", "[{\"op\":\"linear\",\"weight\":\"a.weight\",\"bias\":\"a.bias\"},{\"op\":\"tanh\"},"
                     "{\"op\":\"linear\",\"weight\":\"b.weight\",\"bias\":\"b.bias\"}]"}};
  static const size_t firsts[4] = {0, 500, 700, 900}, counts[4] = {HIDDEN * IN, HIDDEN, HIDDEN, 1};
  static const char *const names[4] = {"a.weight", "a.bias", "b.weight", "b.bias"};
  char *path = paths[dtype == POEI_F64];
  if (path[0] != '\0') {
    return path;
  }
  double numbers[4][HIDDEN * IN];
  float singles[4][HIDDEN * IN];
  poei_tensor tensors[4];
  for (size_t t = 0; t < 4; t++) {
    for (size_t i = 0; i < counts[t]; i++) {
      numbers[t][i] = weight_number(firsts[t] + i);
      singles[t][i] = (float)numbers[t][i];
    }
    const void *data = dtype == POEI_F64 ? (const void *)numbers[t] : (const void *)singles[t];
    tensors[t] = (poei_tensor){.name = names[t], .dtype = dtype, .count = counts[t], .data = data};
    bool matrix = t % 2 == 0;
    tensors[t].ndim = matrix ? 2 : 1;
    tensors[t].shape[0] = t == 0 ? HIDDEN : t == 1 ? HIDDEN : 1;
    tensors[t].shape[1] = t == 0 ? IN : HIDDEN;
  }
  poe_error error = {0};
  const char *fresh = poet_temp_path(dtype == POEI_F64 ? "energy64.safetensors" : "energy32.safetensors");
  check_ok(poei_safetensors_write(fresh, 4, tensors, sizeof metadata / sizeof metadata[0], metadata, &error), error);
  memcpy(path, fresh, strlen(fresh) + 1);
  return path;
}

static poe_status energy_build(poei_dtype dtype, bool bounded, poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "energy");
  if (bounded) {
    poet_args_interval_variable(&a, "x", IN, -3.0, 3.0);
  } else {
    poet_args_real_variable(&a, "x", IN);
  }
  poet_args_text(&a, "file", POE_ARG_FILE, energy_file(dtype));
  return poe_expert_create(&poei_energy_ops, &a.args, expert, error);
}

static poe_status energy_double(poe_expert **expert, poe_error *error) {
  return energy_build(POEI_F64, false, expert, error);
}

static poe_status energy_single(poe_expert **expert, poe_error *error) {
  return energy_build(POEI_F32, false, expert, error);
}

static poe_status energy_bounded(poe_expert **expert, poe_error *error) {
  return energy_build(POEI_F64, true, expert, error);
}

static void energy_points(size_t n, size_t d, double *x) {
  for (size_t i = 0; i < n; i++) {
    for (size_t j = 0; j < d; j++) {
      x[i * d + j] = poet_spread(i, j, -2.5, 2.5);
    }
  }
}

static const poet_case energy_cases[] = {
    {.name = "energy in double precision",
     .build = energy_double,
     .points = energy_points,
     .log_density = energy_value},
    {.name = "energy in single precision",
     .build = energy_single,
     .points = energy_points,
     .log_density = energy_value,
     .tolerance = 3e-6,
     .gradient_tolerance = 1e-2, /* differences of single-precision values a 1e-4 apart */
     .shape_tolerance = 1e-6},
    {.name = "energy over a bounded variable",
     .build = energy_bounded,
     .points = energy_points,
     .log_density = energy_value},
};
POET_ENTRY(energy, energy_cases);
