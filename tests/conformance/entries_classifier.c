/* Conformance entry of classifier. The independent formula is the network written out in double precision, followed by
 * the logarithm of a softmax or of a logistic function. */
#include <stdint.h>
#include <string.h>

#include "experts/list.h"
#include "formats/tensor_write.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

enum { IN = 3, HIDDEN = 11, LABELS = 4, LOGITS = LABELS + 1 };

static double weight_number(size_t i) {
  return (double)(float)(0.9 * sin(2.3 * (double)i + 0.1));
}

/* Logits of a file with two heads: kind (four labels), then big (a sigmoid). */
static void logits_of(const double *x, double *z) {
  double h[HIDDEN];
  for (size_t i = 0; i < HIDDEN; i++) {
    h[i] = weight_number(500 + i);
    for (size_t j = 0; j < IN; j++) {
      h[i] += weight_number(i * IN + j) * x[j];
    }
    h[i] = tanh(h[i]);
  }
  for (size_t o = 0; o < LOGITS; o++) {
    z[o] = weight_number(900 + o);
    for (size_t i = 0; i < HIDDEN; i++) {
      z[o] += weight_number(600 + o * HIDDEN + i) * h[i];
    }
  }
}

static double kind_value(const double *x) {
  double z[LOGITS], sum = 0.0;
  logits_of(x, z);
  for (size_t o = 0; o < LABELS; o++) {
    sum += exp(z[o]);
  }
  return z[(size_t)x[IN]] - log(sum);
}

static double big_value(const double *x) {
  double z[LOGITS];
  logits_of(x, z);
  return -log1p(exp(x[IN] == 1.0 ? -z[LABELS] : z[LABELS]));
}

/* Writes the file once, for every build after the first reads it. */
static const char *classifier_file(void) {
  static char path[256];
  static const char *const metadata[][2] = {
      {"poe.format", "1"},
      {"poe.family", "classifier"},
      {"poe.input", "[3]"},
      {"poe.heads", "[{\"name\":\"kind\",\"kind\":\"softmax\",\"labels\":[\"a\",\"b\",\"c\",\"d\"]},"
                    "{\"name\":\"big\",\"kind\":\"sigmoid\"}]"},
      {"poe.layers", "[{\"op\":\"linear\",\"weight\":\"a.weight\",\"bias\":\"a.bias\"},{\"op\":\"tanh\"},"
                     "{\"op\":\"linear\",\"weight\":\"b.weight\",\"bias\":\"b.bias\"}]"}};
  static const size_t firsts[4] = {0, 500, 600, 900}, counts[4] = {HIDDEN * IN, HIDDEN, LOGITS * HIDDEN, LOGITS};
  static const char *const names[4] = {"a.weight", "a.bias", "b.weight", "b.bias"};
  if (path[0] != '\0') {
    return path;
  }
  double numbers[4][LOGITS * HIDDEN];
  poei_tensor tensors[4];
  for (size_t t = 0; t < 4; t++) {
    for (size_t i = 0; i < counts[t]; i++) {
      numbers[t][i] = weight_number(firsts[t] + i);
    }
    tensors[t] = (poei_tensor){
        .name = names[t], .dtype = POEI_F64, .count = counts[t], .data = (const unsigned char *)numbers[t]};
    tensors[t].ndim = t % 2 == 0 ? 2 : 1;
    tensors[t].shape[0] = t < 2 ? HIDDEN : LOGITS;
    tensors[t].shape[1] = t == 0 ? IN : HIDDEN;
  }
  poe_error error = {0};
  const char *fresh = poet_temp_path("classifier.safetensors");
  check_ok(poei_safetensors_write(fresh, 4, tensors, sizeof metadata / sizeof metadata[0], metadata, &error), error);
  memcpy(path, fresh, strlen(fresh) + 1);
  return path;
}

static poe_status classifier_build(const char *head, size_t labels, bool bounded, poe_expert **expert,
                                   poe_error *error) {
  poet_args a;
  poet_args_start(&a, "classifier");
  if (bounded) {
    poet_args_interval_variable(&a, "x", IN, -3.0, 3.0);
  } else {
    poet_args_real_variable(&a, "x", IN);
  }
  poet_args_discrete_variable(&a, "c", 1, labels);
  poet_args_text(&a, "file", POE_ARG_FILE, classifier_file());
  poet_args_text(&a, "head", POE_ARG_STRING, head);
  return poe_expert_create(&poei_classifier_ops, &a.args, expert, error);
}

static poe_status build_kind(poe_expert **expert, poe_error *error) {
  return classifier_build("kind", LABELS, false, expert, error);
}

static poe_status build_big(poe_expert **expert, poe_error *error) {
  return classifier_build("big", 2, true, expert, error);
}

/* Over pixels of three values. */
static poe_status build_pixels(poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "classifier");
  poet_args_discrete_variable(&a, "x", IN, 3);
  poet_args_discrete_variable(&a, "c", 1, LABELS);
  poet_args_text(&a, "file", POE_ARG_FILE, classifier_file());
  poet_args_text(&a, "head", POE_ARG_STRING, "kind");
  return poe_expert_create(&poei_classifier_ops, &a.args, expert, error);
}

static void pixel_points(size_t n, size_t d, double *x) {
  for (size_t i = 0; i < n; i++) {
    for (size_t j = 0; j < IN; j++) {
      x[i * d + j] = (double)((i / (j + 1) + j) % 3);
    }
    x[i * d + IN] = (double)(i % LABELS);
  }
}

static void points(size_t n, size_t d, double *x, size_t labels) {
  for (size_t i = 0; i < n; i++) {
    for (size_t j = 0; j < IN; j++) {
      x[i * d + j] = poet_spread(i, j, -2.5, 2.5);
    }
    x[i * d + IN] = (double)(i % labels);
  }
}

static void kind_points(size_t n, size_t d, double *x) {
  points(n, d, x, LABELS);
}

static void big_points(size_t n, size_t d, double *x) {
  points(n, d, x, 2);
}

static const poet_case classifier_cases[] = {
    {.name = "classifier by a softmax", .build = build_kind, .points = kind_points, .log_density = kind_value},
    {.name = "classifier by a logistic function, bounded",
     .build = build_big,
     .points = big_points,
     .log_density = big_value},
    {.name = "classifier over discrete coordinates",
     .build = build_pixels,
     .points = pixel_points,
     .log_density = kind_value,
     .needs_no_interior = true},
};
POET_ENTRY(classifier, classifier_cases);
