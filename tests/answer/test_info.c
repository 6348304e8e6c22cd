/* info: what it says of model files: what to declare and write, shapes, operators that are missing, why a file cannot
 * be opened, and what a state dict without metadata looks like. What it says to write is then built by the language. */
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "tests/answer/fixture.h"
#include "tests/net/model_file.h"
#include "tests/support/check.h"

static poe_error error;

static json_t *info(const char *path, const char *description) {
  json_t *r = NULL;
  memset(&error, 0, sizeof error);
  check_ok(poei_answer_info(path, description, &r, &error), error);
  return r;
}

static const char *text_of(const json_t *object, const char *key) {
  const char *text = json_string_value(json_object_get(object, key));
  return text == NULL ? "" : text;
}

static void has(const json_t *r, const char *key, const char *part) {
  if (strstr(text_of(r, key), part) == NULL) {
    fail_msg("%s: `%s` is `%s`, without `%s`", text_of(r, "file"), key, text_of(r, key), part);
  }
}

static void check_list(const json_t *list, size_t n, const char *const *lines) {
  assert_int_equal(json_array_size(list), n);
  for (size_t i = 0; i < n; i++) {
    assert_string_equal(json_string_value(json_array_get(list, i)), lines[i]);
  }
}

/* The lines under `declare` or `suggestion`, and `use`, are a program that can be built. */
static void check_builds(const json_t *r, const char *lines) {
  char program[2048] = "";
  size_t i, used = 0;
  json_t *line;
  json_array_foreach(json_object_get(r, lines), i, line) {
    used += (size_t)snprintf(program + used, sizeof program - used, "%s\n", json_string_value(line));
  }
  snprintf(program + used, sizeof program - used, "%s\nz0 = gaussian(q | mean=0, sd=1)\n", text_of(r, "use"));
  char whole[2100];
  snprintf(whole, sizeof whole, "var q : real\n%s", program);
  fixture f;
  fixture_open(&f, "info.poe", whole, 0);
  fixture_close(&f);
}

#define DENSE "{\"op\":\"linear\",\"weight\":\"w\",\"bias\":\"b\"}"

static const float below[9] = {0, 0, 0, 1, 0, 0, 1, 1, 0};

typedef struct info_case {
  const char *metadata[6][2];
  model_tensor tensors[4];
  const char *declare[2];
  size_t n;
  const char *use;   /* up to the bar */
  int input, output; /* first sizes; 0: not said */
} info_case;

static const info_case cases[] = {
    {{{"poe.format", "1"},
      {"poe.family", "energy"},
      {"poe.input", "[2,2]"},
      {"poe.layers", "[{\"op\":\"flatten\"}," DENSE "]"}},
     {{"w", 1, 4, NULL}, {"b", 1, 0, NULL}},
     {"var x : real[2, 2]"},
     1,
     "a = energy(x | ",
     2,
     1},
    {{{"poe.format", "1"}, {"poe.family", "decoder"}, {"poe.input", "[2]"}, {"poe.layers", "[" DENSE "]"}},
     {{"w", 6, 2, NULL}, {"b", 6, 0, NULL}},
     {"var z : real[2]"},
     1,
     "image = decoder(z | ",
     2,
     6},
    {{{"poe.format", "1"},
      {"poe.family", "classifier"},
      {"poe.input", "[2]"},
      {"poe.layers", "[" DENSE "]"},
      {"poe.heads", "[{\"name\":\"thick\",\"kind\":\"sigmoid\"},{\"name\":\"digit\",\"kind\":\"softmax\",\"labels\":"
                    "[\"a\",\"b\",\"c\"]}]"}},
     {{"w", 4, 2, NULL}, {"b", 4, 0, NULL}},
     {"var x : real[2]", "var c : binary"},
     2,
     "a = classifier(x, c | ",
     2,
     4},
    {{{"poe.format", "1"},
      {"poe.family", "flow"},
      {"poe.input", "[3]"},
      {"poe.layers", "[{\"op\":\"logit\",\"alpha\":0},{\"op\":\"affine\",\"scale\":\"w\"}]"}},
     {{"w", 3, 0, NULL}},
     {"var x : real[3] in [0, 1]"},
     1,
     "a = flow(x | ",
     3,
     0},
    {{{"poe.format", "1"},
      {"poe.family", "autoregressive"},
      {"poe.input", "[3]"},
      {"poe.layers", "[{\"op\":\"linear\",\"weight\":\"w\"}]"},
      {"poe.output", "{\"op\":\"bernoulli\"}"}},
     {{"w", 3, 3, below}},
     {"var x : binary[3]"},
     1,
     "a = autoregressive(x | ",
     3,
     3},
    {{{"poe.format", "1"}, {"poe.family", "rbm"}},
     {{"W", 3, 2, NULL}, {"b", 3, 0, NULL}, {"c", 2, 0, NULL}},
     {"var v : binary[3]"},
     1,
     "a = rbm(v | ",
     3,
     0},
    {{{"poe.format", "1"}, {"poe.family", "gmm"}},
     {{"weights", 2, 0, NULL}, {"means", 2, 3, NULL}, {"sds", 2, 3, NULL}},
     {"var x : real[3]"},
     1,
     "a = gmm(x | ",
     3,
     0},
};
enum { CASES = sizeof cases / sizeof cases[0] };

static const char *write_case(const info_case *c) {
  size_t n = 0;
  while (n < 4 && c->tensors[n].name != NULL) {
    n++;
  }
  return model_write("info.safetensors", n, c->tensors, c->metadata);
}

static void test_families(void **state) {
  (void)state;
  for (size_t i = 0; i < CASES; i++) {
    const info_case *c = &cases[i];
    json_t *r = info(write_case(c), NULL);
    if (json_object_get(r, "problem") != NULL) {
      fail_msg("%s: %s", c->metadata[1][1], text_of(r, "problem"));
    }
    assert_string_equal(text_of(r, "family"), c->metadata[1][1]);
    check_list(json_object_get(r, "declare"), c->n, c->declare);
    has(r, "use", c->use);
    has(r, "use", "info.safetensors\"");
    assert_int_equal(json_array_size(json_object_get(r, "missing_ops")), 0);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(r, "input_shape"), 0)), c->input);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(r, "output_shape"), 0)), c->output);
    size_t numbers = 0;
    for (size_t k = 0; k < 4 && c->tensors[k].name != NULL; k++) {
      numbers += c->tensors[k].rows * (c->tensors[k].columns > 0 ? c->tensors[k].columns : 1);
    }
    assert_int_equal(fixture_number(r, "parameters"), numbers);
    assert_int_equal(fixture_number(r, "bytes"), 4 * numbers);
    check_builds(r, "declare");
    json_decref(r);
  }
  json_t *r = info(write_case(&cases[2]), NULL);
  has(r, "use", "head=\"thick\"");
  assert_int_equal(json_array_size(json_object_get(r, "heads")), 2);
  json_decref(r);
}

static void test_masks(void **state) {
  (void)state;
  const model_tensor tensors[] = {{"w", 3, 3, NULL}, {"m", 3, 3, below}};
  const char *const metadata[][2] = {{"poe.format", "1"},
                                     {"poe.family", "autoregressive"},
                                     {"poe.input", "[3]"},
                                     {"poe.layers", "[{\"op\":\"linear\",\"weight\":\"w\",\"mask\":\"m\"}]"},
                                     {"poe.output", "{\"op\":\"categorical\",\"values\":1}"},
                                     {NULL, NULL}};
  json_t *r = info(model_write("masks.safetensors", 2, tensors, metadata), NULL);
  assert_int_equal(fixture_number(r, "parameters"), 9);
  assert_int_equal(fixture_number(r, "numbers"), 18);
  json_decref(r);
}

/* The bounds that are printed are those of the flow to the last bit: rounded inwards they would cut it off. */
static void test_bounds(void **state) {
  (void)state;
  const float scale[] = {1, 2, 3};
  const model_tensor tensors[] = {{"w", 3, 0, scale}};
  const char *const metadata[][2] = {
      {"poe.format", "1"},
      {"poe.family", "flow"},
      {"poe.input", "[3]"},
      {"poe.layers", "[{\"op\":\"logit\",\"alpha\":1e-6},{\"op\":\"affine\",\"scale\":\"w\"}]"},
      {NULL, NULL}};
  json_t *r = info(model_write("bounds.safetensors", 1, tensors, metadata), NULL);
  const char *line = json_string_value(json_array_get(json_object_get(r, "declare"), 0));
  double low = 0.0, high = 0.0;
  assert_int_equal(sscanf(line, "var x : real[3] in [%lf, %lf]", &low, &high), 2);
  check_close(low, -1e-6 / (1.0 - 2e-6), 0, 1e-15);
  check_close(high, 1.0 + 1e-6 / (1.0 - 2e-6), 0, 1e-15);
  /* so that it is drawn from directly; within [0, 1] it is not, and why is said */
  for (size_t cut = 0; cut < 2; cut++) {
    char program[512];
    snprintf(program, sizeof program, "%s\n%s\n", cut ? "var x : real[3] in [0, 1]" : line, text_of(r, "use"));
    fixture f;
    fixture_action a;
    fixture_open(&f, "bounds.poe", program, 0);
    json_t *e = fixture_perform(&f, poei_answer_explain, fixture_act(&a, "explain", "a", NULL), POE_OK, &error);
    has(e, "reason", cut ? "bounds cut off part of a flow, which reaches from -1.000002" : "is drawn from directly");
    json_decref(e);
    fixture_close(&f);
  }
  json_decref(r);
}

/* Degrees, of which masks are made, are no parameters. */
static void test_degrees(void **state) {
  (void)state;
  const float hidden[] = {1, 2, 1, 2};
  const model_tensor tensors[] = {{"w", 4, 3, NULL}, {"v", 3, 4, NULL}, {"m", 4, 0, hidden}};
  const char *const metadata[][2] = {
      {"poe.format", "1"},
      {"poe.family", "autoregressive"},
      {"poe.input", "[3]"},
      {"poe.layers", "[{\"op\":\"linear\",\"weight\":\"w\"},{\"op\":\"relu\"},{\"op\":\"linear\",\"weight\":\"v\"}]"},
      {"poe.degrees", "[[2,1,3],\"m\"]"},
      {"poe.output", "{\"op\":\"bernoulli\"}"},
      {NULL, NULL}};
  json_t *r = info(model_write("degrees.safetensors", 3, tensors, metadata), NULL);
  assert_null(json_object_get(r, "problem"));
  assert_int_equal(fixture_number(r, "parameters"), 24);
  assert_int_equal(fixture_number(r, "numbers"), 28);
  json_decref(r);
}

/* A model of sequences of any length: what is said is for one length, and says so. Embeddings need whole numbers. */
static void test_any_length(void **state) {
  (void)state;
  const model_tensor embedded[] = {{"e", 4, 2, NULL},
                                   {"weight_ih_l0", 6, 2, NULL},
                                   {"weight_hh_l0", 6, 2, NULL},
                                   {"w", 3, 2, NULL},
                                   {"b", 3, 0, NULL}};
  const model_tensor real[] = {
      {"weight_ih_l0", 8, 2, NULL}, {"weight_hh_l0", 8, 2, NULL}, {"w", 4, 2, NULL}, {"b", 4, 0, NULL}};
  static const struct {
    const char *input, *layers, *output, *declare;
    int ndim, out;
  } texts[] = {{"[\"length\"]",
                "[{\"op\":\"shift\",\"start\":3},{\"op\":\"embedding\",\"weight\":\"e\"},{\"op\":\"gru\",\"prefix\":"
                "\"\"}," DENSE "]",
                "{\"op\":\"categorical\",\"values\":3}", "var x : int(3)[16]", 1, 3},
               {"[\"length\",2]", "[{\"op\":\"shift\"},{\"op\":\"lstm\",\"prefix\":\"\"}," DENSE "]",
                "{\"op\":\"gaussian_mixture\",\"components\":1}", "var x : real[16, 2]", 2, 4}};
  for (size_t i = 0; i < 2; i++) {
    const char *const metadata[][2] = {{"poe.format", "1"},
                                       {"poe.family", "autoregressive"},
                                       {"poe.input", texts[i].input},
                                       {"poe.layers", texts[i].layers},
                                       {"poe.output", texts[i].output},
                                       {NULL, NULL}};
    json_t *r = info(model_write("sequences.safetensors", i == 0 ? 5 : 4, i == 0 ? embedded : real, metadata), NULL);
    if (json_object_get(r, "problem") != NULL) {
      fail_msg("%s: %s", texts[i].declare, text_of(r, "problem"));
    }
    check_list(json_object_get(r, "declare"), 1, &texts[i].declare);
    has(r, "note", "any length: 16 stands for it");
    assert_int_equal(json_array_size(json_object_get(r, "missing_ops")), 0);
    const json_t *in = json_object_get(r, "input_shape"), *out = json_object_get(r, "output_shape");
    assert_int_equal(json_array_size(in), texts[i].ndim);
    assert_int_equal(json_integer_value(json_array_get(in, 0)), 16);
    assert_int_equal(json_integer_value(json_array_get(out, 0)), 16);
    assert_int_equal(json_integer_value(json_array_get(out, 1)), texts[i].out);
    check_builds(r, "declare");
    json_decref(r);
  }
}

/* What is wrong is part of the answer, not an error. */
static void test_problems(void **state) {
  (void)state;
  static const struct {
    const char *family, *layers, *problem, *hint, *missing;
  } wrong[] = {{"enrgy", "[]", "enrgy", "did you mean 'energy'?", NULL},
               {"energy", "[" DENSE ",{\"op\":\"hyena\"},{\"op\":\"residual\",\"layers\":[{\"op\":\"mamba\"}]}]",
                "this layer is not known", "known are linear", "hyena"},
               {"flow", "[{\"op\":\"neural_ode\"},{\"op\":\"affine\",\"scale\":\"w\"}]", "this layer is not known", "",
                "neural_ode"},
               {"energy", "[" DENSE "]", "5 numbers per row", "", NULL},
               {"classifier", "[{\"op\":\"linear\",\"weight\":\"v\"}]", "'v'", "", NULL}};
  const model_tensor tensors[] = {{"w", 5, 4, NULL}, {"b", 5, 0, NULL}};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    const char *const metadata[][2] = {{"poe.format", "1"},
                                       {"poe.family", wrong[i].family},
                                       {"poe.input", "[4]"},
                                       {"poe.layers", wrong[i].layers},
                                       {NULL, NULL}};
    json_t *r = info(model_write("wrong.safetensors", 2, tensors, metadata), NULL);
    has(r, "problem", wrong[i].problem);
    has(r, "hint", wrong[i].hint);
    const json_t *missing = json_object_get(r, "missing_ops");
    assert_int_equal(json_array_size(missing), wrong[i].missing == NULL ? 0 : i == 1 ? 2 : 1);
    if (wrong[i].missing != NULL) {
      assert_string_equal(json_string_value(json_array_get(missing, 0)), wrong[i].missing);
    }
    json_decref(r);
  }
}

static const char *const no_metadata[][2] = {{NULL, NULL}};

static void test_bare(void **state) {
  (void)state;
  char expected[300];
  /* linear layers in a row, in the order of numbers */
  const model_tensor stack[] = {
      {"net.10.weight", 1, 3, NULL}, {"net.2.bias", 3, 0, NULL}, {"net.2.weight", 3, 5, NULL}};
  const char *path = model_write("stack.safetensors", 3, stack, no_metadata);
  json_t *r = info(path, NULL);
  snprintf(expected, sizeof expected, "a = energy(x | file=\"%s\", layers=[\"net.2\", \"net.10\"], activation=relu)",
           path);
  check_list(json_object_get(r, "suggestion"), 2, (const char *const[]){"var x : real[5]", expected});
  check_builds(r, "suggestion");
  json_decref(r);
  /* several outputs: a decoder, or a classifier */
  const model_tensor wide[] = {{"weight", 4, 2, NULL}, {"bias", 4, 0, NULL}};
  r = info(model_write("wide.safetensors", 2, wide, no_metadata), NULL);
  assert_int_equal(json_array_size(json_object_get(r, "suggestion")), 4);
  check_builds(r, "suggestion");
  json_decref(r);
  /* modules of other kinds, and what none of them has */
  const model_tensor mixed[] = {{"a.lower_entries", 3, 0, NULL},
                                {"a.upper_entries", 3, 0, NULL},
                                {"a.unconstrained_upper_diag", 3, 0, NULL},
                                {"b.s", 1, 3, NULL},
                                {"b.t", 1, 3, NULL},
                                {"c.weight", 3, 3, NULL},
                                {"c.mask", 3, 3, NULL},
                                {"c.degrees", 3, 0, NULL},
                                {"d.running_mean", 3, 0, NULL},
                                {"d.running_var", 3, 0, NULL},
                                {"lonely", 2, 2, NULL}};
  r = info(model_write("mixed.safetensors", 11, mixed, no_metadata), NULL);
  check_list(json_object_get(r, "suggestion"), 4,
             (const char *const[]){
                 "{\"op\": \"lu\", \"lower\": \"a.lower_entries\", \"upper\": \"a.upper_entries\", \"diagonal\": "
                 "\"a.unconstrained_upper_diag\", \"diagonal_map\": \"softplus\", \"eps\": 0.001}",
                 "{\"op\": \"affine\", \"log_scale\": \"b.s\", \"shift\": \"b.t\", \"inverse\": true}",
                 "{\"op\": \"linear\", \"weight\": \"c.weight\", \"mask\": \"c.mask\"}",
                 "{\"op\": \"batch_norm\", \"running_mean\": \"d.running_mean\", \"running_var\": \"d.running_var\"}"});
  check_list(json_object_get(r, "unnamed"), 2, (const char *const[]){"c.degrees", "lonely"});
  json_decref(r);
  /* nothing that is known, and machines, which need no metadata */
  const model_tensor odd[] = {{"x.y", 3, 0, NULL}},
                     machine[] = {{"W", 3, 2, NULL}, {"b", 3, 0, NULL}, {"c", 2, 0, NULL}};
  r = info(model_write("odd.safetensors", 1, odd, no_metadata), NULL);
  assert_null(json_object_get(r, "suggestion"));
  json_decref(r);
  r = info(model_write("machine.safetensors", 3, machine, no_metadata), NULL);
  has(r, "use", "a = rbm(v | ");
  check_builds(r, "declare");
  json_decref(r);
}

static void test_description(void **state) {
  (void)state;
  const model_tensor tensors[] = {{"w", 1, 4, NULL}, {"b", 1, 0, NULL}, {"steps", 1, 0, NULL}};
  const char *path = model_write("state.safetensors", 3, tensors, no_metadata);
  static const struct {
    const char *text;
    poe_status status;
    const char *part;
  } texts[] = {{"{\"poe.format\": 1, \"poe.family\": \"energy\", \"poe.input\": [4], \"poe.layers\": [" DENSE
                "], \"poe.ignore\": [\"steps\"]}",
                POE_OK, ""},
               {"{\"poe.family\": ", POE_E_FORMAT, "not JSON"},
               {"[1]", POE_E_FORMAT, "JSON object"},
               {"{\"family\": \"energy\"}", POE_E_FORMAT, "'family'"},
               {"", POE_E_FORMAT, "not JSON"}};
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    const char *json = poet_temp_file("state.json", texts[i].text, strlen(texts[i].text));
    json_t *r = NULL;
    if (texts[i].status != POE_OK) {
      check_fails(poei_answer_info(path, json, &r, &error), texts[i].status, error, texts[i].part);
      assert_non_null(strstr(error.message, "state.json"));
      assert_null(r);
      continue;
    }
    r = info(path, json);
    assert_null(json_object_get(r, "problem"));
    has(r, "use", "description=\"");
    check_builds(r, "declare");
    json_decref(r);
    json_t *other = NULL;
    for (uint64_t k = 1;; k++) { /* each allocation fails in turn */
      poei_alloc_fail_at(k);
      poe_status status = poei_answer_info(path, json, &other, &error);
      poei_alloc_fail_at(0);
      if (status == POE_OK) {
        break;
      }
      assert_int_equal(status, POE_E_MEMORY);
      assert_true(k < 10000);
    }
    json_decref(other);
  }
  json_t *r = NULL;
  check_fails(poei_answer_info(path, poet_temp_path("none.json"), &r, &error), POE_E_FILE, error, "none.json");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_families),   cmocka_unit_test(test_masks),
                                     cmocka_unit_test(test_bounds),     cmocka_unit_test(test_degrees),
                                     cmocka_unit_test(test_any_length), cmocka_unit_test(test_problems),
                                     cmocka_unit_test(test_bare),       cmocka_unit_test(test_description)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
