/* Model files that are wrong, one fault at a time, for every family that reads one: refused with exit code 3, a message
 * that says what was expected and what is there (names and shapes), and little memory. The file without a fault opens,
 * so that each refusal is due to its fault. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "experts/list.h"
#include "tests/conformance/conformance.h"
#include "tests/net/model_file.h"
#include "tests/support/check.h"

enum { MAX_TENSORS = 6, MAX_KEYS = 6 };

typedef struct model {
  const char *family;
  const char *metadata[MAX_KEYS][2]; /* ends with NULL; beside poe.format and poe.family */
  model_tensor tensors[MAX_TENSORS]; /* ends with a NULL name                            */
  size_t d, values;                  /* the variable: real[d], or int(values)[d]         */
  size_t label;                      /* values of a label after it, 0: none              */
} model;

static const float below[9] = {0, 0, 0, 1, 0, 0, 1, 1, 0};
static const float three[3] = {0.1f, -0.2f, 0.3f};

#define DENSE "{\"op\":\"linear\",\"weight\":\"w\",\"bias\":\"b\"}"
#define LAST "{\"op\":\"linear\",\"weight\":\"v\",\"bias\":\"c\"}"
#define SHIFTED "{\"op\":\"shift\",\"start\":3},{\"op\":\"embedding\",\"weight\":\"e\"}"
#define TWO_LAYERS                                                                                                     \
  { "poe.layers", "[" DENSE ",{\"op\":\"tanh\"}," LAST "]" }

static const model models[] = {
    {"energy",
     {{"poe.input", "[4]"}, TWO_LAYERS},
     {{"w", 3, 4, NULL}, {"b", 3, 0, NULL}, {"v", 1, 3, NULL}, {"c", 1, 0, NULL}},
     4,
     0,
     0},
    {"decoder",
     {{"poe.input", "[4]"}, TWO_LAYERS},
     {{"w", 3, 4, NULL}, {"b", 3, 0, NULL}, {"v", 5, 3, NULL}, {"c", 5, 0, NULL}},
     4,
     0,
     0},
    {"classifier",
     {{"poe.input", "[4]"}, TWO_LAYERS},
     {{"w", 3, 4, NULL}, {"b", 3, 0, NULL}, {"v", 5, 3, NULL}, {"c", 5, 0, NULL}},
     4,
     0,
     5},
    {"flow",
     {{"poe.input", "[4]"},
      {"poe.layers", "[{\"op\":\"coupling\",\"transformed\":\"odd\",\"transform\":\"affine\",\"layers\":[" DENSE
                     ",{\"op\":\"tanh\"}," LAST "]}]"}},
     {{"w", 3, 2, NULL}, {"b", 3, 0, NULL}, {"v", 4, 3, NULL}, {"c", 4, 0, NULL}},
     4,
     0,
     0},
    {"autoregressive",
     {{"poe.input", "[3]"}, {"poe.layers", "[" DENSE "]"}, {"poe.output", "{\"op\":\"bernoulli\"}"}},
     {{"w", 3, 3, below}, {"b", 3, 0, three}},
     3,
     2,
     0},
    {"autoregressive",
     {{"poe.input", "[3]"},
      {"poe.layers", "[{\"op\":\"nade\",\"W\":\"w\",\"V\":\"v\",\"b\":\"b\",\"c\":\"c\"}]"},
      {"poe.output", "{\"op\":\"bernoulli\"}"}},
     {{"w", 5, 3, NULL}, {"v", 3, 5, NULL}, {"b", 3, 0, NULL}, {"c", 5, 0, NULL}},
     3,
     2,
     0},
    {"autoregressive",
     {{"poe.input", "[4]"},
      {"poe.layers", "[" SHIFTED ",{\"op\":\"gru\",\"prefix\":\"\"}," DENSE "]"},
      {"poe.output", "{\"op\":\"categorical\",\"values\":3}"}},
     {{"e", 4, 2, NULL},
      {"weight_ih_l0", 6, 2, NULL},
      {"weight_hh_l0", 6, 2, NULL},
      {"w", 3, 2, NULL},
      {"b", 3, 0, NULL}},
     4,
     3,
     0},
    {"autoregressive",
     {{"poe.input", "[4]"},
      {"poe.layers", "[{\"op\":\"shift\"},{\"op\":\"lstm\",\"prefix\":\"rnn\"}," DENSE "]"},
      {"poe.output", "{\"op\":\"gaussian_mixture\",\"components\":1}"}},
     {{"rnn.weight_ih_l0", 8, 1, NULL}, {"rnn.weight_hh_l0", 8, 2, NULL}, {"w", 2, 2, NULL}, {"b", 2, 0, NULL}},
     4,
     0,
     0},
    {"rbm", {{NULL, NULL}}, {{"W", 4, 3, NULL}, {"b", 4, 0, NULL}, {"c", 3, 0, NULL}}, 4, 2, 0},
    {"dbm",
     {{NULL, NULL}},
     {{"W1", 4, 3, NULL}, {"W2", 3, 2, NULL}, {"b", 4, 0, NULL}, {"c1", 3, 0, NULL}, {"c2", 2, 0, NULL}},
     4,
     2,
     0},
};
enum { MODELS = sizeof models / sizeof models[0] };

static bool is_machine(const model *m) {
  return m->metadata[0][0] == NULL;
}

/* Writes the file: `key` of the metadata (NULL: none) has `value` instead. */
static const char *write_model(const model *m, const char *key, const char *value) {
  const char *metadata[MAX_KEYS + 3][2] = {{"poe.format", "1"}, {"poe.family", m->family}};
  size_t n = 0, keys = 2;
  while (n < MAX_TENSORS && m->tensors[n].name != NULL) {
    n++;
  }
  for (size_t k = 0; k < MAX_KEYS && m->metadata[k][0] != NULL; k++) {
    metadata[keys][0] = m->metadata[k][0];
    metadata[keys][1] = key != NULL && strcmp(key, m->metadata[k][0]) == 0 ? value : m->metadata[k][1];
    keys++;
  }
  return model_write("model.safetensors", n, m->tensors, metadata);
}

static poe_status open_model(const model *m, const char *path, size_t d, poe_error *error) {
  poet_args a = {0};
  poe_expert *expert = NULL;
  poe_map *map = NULL;
  memset(error, 0, sizeof *error);
  poet_args_start(&a, m->family);
  if (m->values > 0) {
    poet_args_discrete_variable(&a, "x", d, m->values);
  } else {
    poet_args_real_variable(&a, "x", d);
  }
  if (m->label > 0) {
    poet_args_discrete_variable(&a, "k", 1, m->label);
  }
  poet_args_text(&a, "file", POE_ARG_FILE, path);
  const poe_expert_ops *family = poei_family_find(m->family);
  poe_status status = family != NULL ? poe_expert_create(family, &a.args, &expert, error)
                                     : poe_map_create(poei_map_find(m->family), &a.args, &map, error);
  poe_expert_release(expert);
  poe_map_release(map);
  return status;
}

/* Exit code 3, and the parts (up to four, NULL ends them) in message or hint. */
static void refused(const model *m, const char *what, poe_status status, const poe_error *error,
                    const char *const *parts) {
  if (poe_status_exit_code(status) != 3 || status != error->status) {
    fail_msg("%s, %s: status %s: %s", m->family, what, poe_status_name(status), error->message);
  }
  for (size_t k = 0; k < 4 && parts[k] != NULL; k++) {
    if (strstr(error->message, parts[k]) == NULL && strstr(error->hint, parts[k]) == NULL) {
      fail_msg("%s, %s: no `%s` in: %s (%s)", m->family, what, parts[k], error->message, error->hint);
    }
  }
}

/* "[3, 4]" of a tensor, as messages have it. */
static const char *shape_of(const model_tensor *t, char *text, size_t size) {
  snprintf(text, size, t->columns > 0 ? "[%zu, %zu]" : "[%zu]", t->rows, t->columns);
  return text;
}

static void test_good(void **state) {
  (void)state;
  poe_error error;
  for (size_t i = 0; i < MODELS; i++) {
    check_ok(open_model(&models[i], write_model(&models[i], NULL, NULL), models[i].d, &error), error);
  }
}

static void test_variable(void **state) {
  (void)state;
  poe_error error;
  for (size_t i = 0; i < MODELS; i++) {
    const model *m = &models[i];
    char file_has[32], variable_has[32];
    snprintf(file_has, sizeof file_has, "%zu", m->d);
    snprintf(variable_has, sizeof variable_has, "%zu", m->d + 2);
    poe_status status = open_model(m, write_model(m, NULL, NULL), m->d + 2, &error);
    refused(m, "another variable", status, &error,
            (const char *const[]){"model.safetensors", file_has, variable_has, NULL});
  }
}

static void test_numbers(void **state) {
  (void)state;
  static const float bad[] = {NAN, INFINITY, -INFINITY};
  poe_error error;
  for (size_t i = 0; i < MODELS; i++) {
    for (size_t t = 0; t < MAX_TENSORS && models[i].tensors[t].name != NULL; t++) {
      model m = models[i];
      model_tensor *tensor = &m.tensors[t];
      float numbers[32];
      size_t n = tensor->rows * (tensor->columns > 0 ? tensor->columns : 1);
      for (size_t k = 0; k < n; k++) {
        numbers[k] = tensor->data == NULL ? 0.01f : tensor->data[k];
      }
      numbers[n - 1] = bad[t % 3];
      tensor->data = numbers;
      poe_status status = open_model(&m, write_model(&m, NULL, NULL), m.d, &error);
      refused(&m, tensor->name, status, &error,
              (const char *const[]){"model.safetensors", tensor->name, "finite", NULL});
    }
  }
}

/* Every tensor but the last of a machine's, which tells how many layers there are. */
static void test_missing(void **state) {
  (void)state;
  poe_error error;
  for (size_t i = 0; i < MODELS; i++) {
    for (size_t t = 0; t < MAX_TENSORS && models[i].tensors[t].name != NULL; t++) {
      model m = models[i];
      char quoted[16], there[64];
      snprintf(quoted, sizeof quoted, "'%s'", m.tensors[t].name);
      for (size_t k = t; k + 1 < MAX_TENSORS; k++) {
        m.tensors[k] = m.tensors[k + 1];
      }
      poe_status status = open_model(&m, write_model(&m, NULL, NULL), m.d, &error);
      refused(&m, quoted, status, &error,
              (const char *const[]){quoted, m.tensors[0].name, shape_of(&m.tensors[0], there, sizeof there), NULL});
    }
  }
}

/* Tensors that nothing uses; the arrays of a machine may have others beside them. */
static void test_extra(void **state) {
  (void)state;
  poe_error error;
  for (size_t i = 0; i < MODELS; i++) {
    model m = models[i];
    size_t n = 0;
    while (m.tensors[n].name != NULL) {
      n++;
    }
    m.tensors[n] = (model_tensor){"stray", 2, 7, NULL};
    poe_status status = open_model(&m, write_model(&m, NULL, NULL), m.d, &error);
    if (is_machine(&m)) {
      check_ok(status, error);
      continue;
    }
    refused(&m, "an extra tensor", status, &error, (const char *const[]){"'stray'", "[2, 7]", "poe.ignore", NULL});
    size_t keys = 0;
    while (m.metadata[keys][0] != NULL) {
      keys++;
    }
    static const struct {
      const char *list;
      bool good;
    } ignored[] = {{"[\"stray\"]", true}, {"[\"st*\"]", true},     {"[\"other\",\"*ray\"]", true},
                   {"[\"str\"]", false},  {"[\"strays\"]", false}, {"[\"*straying\"]", false},
                   {"[]", false},         {"\"stray\"", false},    {"[1]", false}};
    for (size_t k = 0; k < sizeof ignored / sizeof ignored[0]; k++) {
      m.metadata[keys][0] = "poe.ignore";
      m.metadata[keys][1] = ignored[k].list;
      status = open_model(&m, write_model(&m, NULL, NULL), m.d, &error);
      if (ignored[k].good) {
        check_ok(status, error);
      } else {
        refused(&m, ignored[k].list, status, &error, (const char *const[]){"poe.", "tensors", NULL});
      }
    }
  }
}

/* Weights that do not chain, are of other rank or belong to another family. */
static void test_shapes(void **state) {
  (void)state;
  poe_error error;
  for (size_t i = 0; i < MODELS; i++) {
    for (size_t t = 0; t < MAX_TENSORS && models[i].tensors[t].name != NULL; t++) {
      model m = models[i];
      model_tensor *tensor = &m.tensors[t];
      tensor->data = NULL;
      if (strcmp(tensor->name, "e") == 0) { /* a table may have more rows */
        tensor->columns += 2;
      } else {
        tensor->rows += 2;
      }
      poe_status status = open_model(&m, write_model(&m, NULL, NULL), m.d, &error);
      /* The message may name the layer whose weight or bias does not fit this one: two shapes in any case. */
      refused(&m, tensor->name, status, &error, (const char *const[]){"has shape [", "need", NULL});
    }
    model m = models[i];
    m.family = strcmp(m.family, "energy") == 0 ? "flow" : "energy";
    poe_status status = open_model(&models[i], write_model(&m, NULL, NULL), m.d, &error);
    refused(&models[i], "another family", status, &error, (const char *const[]){m.family, models[i].family, NULL});
  }
}

/* Sizes that nobody means, refused before any memory is taken for them. */
static void test_absurd(void **state) {
  (void)state;
  static const char *const inputs[] = {
      "[16777216,16777216]", "[9223372036854775807]", "[-4]", "[0]", "[1e99]", "[4.5]", "[]", "{}", "4",
      "[1,1,1,1,1,1,1,1,4]"};
  static const char *const layers[] = {
      "[{\"op\":\"reshape\",\"shape\":[4000000,4000000]}]",
      "[{\"op\":\"reshape\",\"shape\":[1,2,2]},{\"op\":\"upsample2d\",\"factor\":16000000}]",
      "[{\"op\":\"coupling\",\"transformed\":\"odd\",\"transform\":\"rqs\",\"bins\":1000000000,\"bound\":1,\"layers\":["
      "]}]",
      "[{\"op\":\"coupling\",\"transformed\":[0,99999999999],\"transform\":\"affine\",\"layers\":[]}]",
      "[{\"op\":\"no_such_layer\"}]",
      "[7]",
      "{}",
      "not JSON"};
  static const char *const outputs[] = {"{\"op\":\"categorical\",\"values\":9223372036854775807}",
                                        "{\"op\":\"gaussian_mixture\",\"components\":1000000000000}",
                                        "{\"op\":\"logistic_mixture\",\"values\":-1}", "{\"op\":\"what\"}", "[]"};
  poe_error error;
  struct rusage before, after;
  getrusage(RUSAGE_SELF, &before);
  for (size_t i = 0; i < MODELS; i++) {
    const model *m = &models[i];
    for (size_t k = 0; !is_machine(m) && k < sizeof inputs / sizeof inputs[0]; k++) {
      poe_status status = open_model(m, write_model(m, "poe.input", inputs[k]), m->d, &error);
      refused(m, inputs[k], status, &error, (const char *const[]){"model.safetensors", "poe.input", NULL});
    }
    for (size_t k = 0; !is_machine(m) && k < sizeof layers / sizeof layers[0]; k++) {
      poe_status status = open_model(m, write_model(m, "poe.layers", layers[k]), m->d, &error);
      refused(m, layers[k], status, &error, (const char *const[]){"model.safetensors", NULL});
    }
  }
  for (size_t k = 0; k < sizeof outputs / sizeof outputs[0]; k++) {
    poe_status status = open_model(&models[4], write_model(&models[4], "poe.output", outputs[k]), 3, &error);
    refused(&models[4], outputs[k], status, &error, (const char *const[]){"model.safetensors", "poe.output", NULL});
  }
  getrusage(RUSAGE_SELF, &after);
  assert_true(after.ru_maxrss - before.ru_maxrss < 64 * 1024); /* kilobytes */
}

/* A header that declares more than the file holds. */
static void test_declared(void **state) {
  (void)state;
  static const char *const shapes[] = {"[2000000000,2000000000]", "[18446744073709551615]", "[3,4]"};
  poe_error error;
  for (size_t i = 0; i < MODELS; i++) {
    for (size_t k = 0; k < 3; k++) {
      char text[300], bytes[400];
      int n = snprintf(text, sizeof text, "{\"%s\":{\"dtype\":\"F32\",\"shape\":%s,\"data_offsets\":[0,%s]}}",
                       models[i].tensors[0].name, shapes[k], k == 2 ? "48" : "16000000000000000000");
      unsigned char head[8] = {(unsigned char)n, (unsigned char)(n >> 8)};
      memcpy(bytes, head, 8);
      memcpy(bytes + 8, text, (size_t)n);
      const char *path = poet_temp_file("model.safetensors", bytes, (size_t)n + 8);
      refused(&models[i], shapes[k], open_model(&models[i], path, models[i].d, &error), &error,
              (const char *const[]){"model.safetensors", NULL});
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_good),    cmocka_unit_test(test_variable),
                                     cmocka_unit_test(test_numbers), cmocka_unit_test(test_missing),
                                     cmocka_unit_test(test_extra),   cmocka_unit_test(test_shapes),
                                     cmocka_unit_test(test_absurd),  cmocka_unit_test(test_declared)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
