/* What autoregressive models over sequences refuse, by name, and that long ones are walked through with the values and
 * bounds of short ones. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "experts/list.h"
#include "formats/tensor_write.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

/* A tensor of numbers sin(i), of one axis where columns is 0. */
typedef struct part {
  const char *name;
  size_t rows, columns;
} part;

enum { MOST_PARTS = 8, MOST_NUMBERS = 1 << 15 };

typedef struct model {
  part parts[MOST_PARTS]; /* ends with a name NULL */
  const char *input, *layers, *output, *degrees;
  size_t d, values; /* of the variable; 0: real */
  const char *bad;  /* tensor whose last number is NaN */
} model;

static poet_args a;

static const char *file(const model *m) {
  static double numbers[MOST_NUMBERS];
  poei_tensor tensors[MOST_PARTS];
  size_t n = 0, used = 0;
  for (; n < MOST_PARTS && m->parts[n].name != NULL; n++) {
    const part *p = &m->parts[n];
    poei_tensor t = {.name = p->name, .dtype = POEI_F64, .ndim = p->columns == 0 ? 1 : 2};
    t.shape[0] = p->rows;
    t.shape[1] = p->columns;
    t.count = p->rows * (p->columns == 0 ? 1 : p->columns);
    assert_true(used + t.count <= MOST_NUMBERS);
    for (size_t i = 0; i < t.count; i++) {
      numbers[used + i] = 0.8 * sin(1.7 * (double)(used + i));
    }
    if (m->bad != NULL && strcmp(m->bad, p->name) == 0) {
      numbers[used + t.count - 1] = NAN;
    }
    t.data = (const unsigned char *)(numbers + used);
    used += t.count;
    tensors[n] = t;
  }
  const char *const metadata[][2] = {{"poe.format", "1"},       {"poe.family", "autoregressive"},
                                     {"poe.input", m->input},   {"poe.layers", m->layers},
                                     {"poe.output", m->output}, {"poe.degrees", m->degrees}};
  poe_error error = {0};
  const char *path = poet_temp_path("model.safetensors");
  check_ok(poei_safetensors_write(path, n, tensors, m->degrees == NULL ? 5 : 6, metadata, &error), error);
  return path;
}

static poe_status create(const model *m, poe_expert **expert, poe_error *error) {
  poet_args_start(&a, "autoregressive");
  if (m->values > 0) {
    poet_args_discrete_variable(&a, "x", m->d, m->values);
  } else {
    poet_args_real_variable(&a, "x", m->d);
  }
  poet_args_text(&a, "file", POE_ARG_FILE, file(m));
  return poe_expert_create(&poei_autoregressive_ops, &a.args, expert, error);
}

/* The message has both parts, is the file's fault and stands at the argument. */
static void refuses(const model *m, poe_status status, const char *one, const char *other) {
  poe_expert *expert = NULL;
  poe_error error = {0};
  check_fails(create(m, &expert, &error), status, error, one);
  assert_non_null(strstr(error.message, other));
  assert_null(expert);
  assert_int_equal(error.column, 10);
}

#define GRU_PARTS                                                                                                      \
  {"e", 3, 2}, {"r.weight_ih_l0", 12, 2}, {"r.weight_hh_l0", 12, 4}, {                                                 \
    "h", 3, 4                                                                                                          \
  }
#define BEFORE "[{\"op\":\"shift\"},{\"op\":\"embedding\",\"weight\":\"e\"},"
#define AFTER ",{\"op\":\"linear\",\"weight\":\"h\"}]"
#define GRU_LAYERS BEFORE "{\"op\":\"gru\",\"prefix\":\"r\"}" AFTER

static const model sound = {{GRU_PARTS}, "[5]", GRU_LAYERS, "{\"op\":\"categorical\",\"values\":3}", NULL, 5, 3, NULL};

static void test_sound(void **state) {
  (void)state;
  poe_expert *expert = NULL;
  poe_error error = {0};
  check_ok(create(&sound, &expert, &error), error);
  poe_expert_release(expert);
}

static void test_tensors(void **state) {
  (void)state;
  model m = sound;
  m.parts[2].name = "r.weight_hh";
  refuses(&m, POE_E_FORMAT, "'r.weight_hh_l0'", "'r.weight_hh'");
  m = sound;
  m.parts[4] = (part){"r.weight_hh_l1", 12, 4};
  refuses(&m, POE_E_FORMAT, "used by no layer", "'r.weight_hh_l1' [12, 4]");
  m = sound;
  m.parts[2].columns = 5;
  refuses(&m, POE_E_FORMAT, "'r.weight_hh_l0' has shape [12, 5]", "needs [12, 4] beside 'r.weight_ih_l0'");
  m = sound;
  m.parts[1].rows = 13;
  refuses(&m, POE_E_FORMAT, "'r.weight_ih_l0' has shape [13, 2]", "its input [5, 2] needs [3 h, 2]");
  m = sound;
  m.parts[0].columns = 3;
  refuses(&m, POE_E_FORMAT, "'r.weight_ih_l0' has shape [12, 2]", "needs [3 h, 3]");
  m = sound;
  m.parts[4] = (part){"r.bias_hh_l0", 4, 0};
  refuses(&m, POE_E_FORMAT, "'r.bias_hh_l0' has shape [4]", "needs [12]");
  m = sound;
  m.bad = "r.weight_hh_l0";
  refuses(&m, POE_E_FORMAT, "r.weight_hh_l0", "number 47 of this weight is not finite");
  m = sound;
  m.parts[4] = (part){"r.weight_ih_l0_reverse", 12, 2};
  refuses(&m, POE_E_UNSUPPORTED, "layer 3 ('gru')", "bidirectional");
  m = sound;
  m.parts[4] = (part){"r.weight_hr_l0", 2, 4};
  refuses(&m, POE_E_UNSUPPORTED, "layer 3 ('gru')", "projections");
  m = sound;
  m.layers = BEFORE "{\"op\":\"lstm\",\"prefix\":\"r\"}" AFTER;
  refuses(&m, POE_E_FORMAT, "'r.weight_hh_l0' has shape [12, 4]", "needs [12, 3]");
}

static void test_layers(void **state) {
  (void)state;
  model m = sound;
  m.layers = "[{\"op\":\"embedding\",\"weight\":\"e\"},{\"op\":\"gru\",\"prefix\":\"r\"}" AFTER;
  refuses(&m, POE_E_FORMAT, "not autoregressive", "coordinate 0 depend on coordinate 0, itself");
  m.layers = BEFORE "{\"op\":\"gru\",\"prefix\":3}" AFTER;
  refuses(&m, POE_E_FORMAT, "layer 3 ('gru')", "'prefix' must be");
  m.layers = BEFORE "{\"op\":\"gru\",\"prefix\":\"r\",\"layers\":1}" AFTER;
  refuses(&m, POE_E_FORMAT, "layer 3 ('gru')", "it has no 'layers'");
  m.layers = "[{\"op\":\"shift\",\"start\":[1]}" AFTER;
  refuses(&m, POE_E_FORMAT, "layer 1 ('shift')", "'start' must be");
  m.layers = "[{\"op\":\"shift\",\"start\":\"h\"}" AFTER;
  refuses(&m, POE_E_FORMAT, "layer 1 ('shift')", "as many numbers as there are at a position");
  m.layers = "[{\"op\":\"affine\",\"scale\":2},{\"op\":\"embedding\",\"weight\":\"e\"}]";
  refuses(&m, POE_E_UNSUPPORTED, "layer 2 ('embedding')", "the network's input as it is");
  m.layers = "[{\"op\":\"one_hot\",\"values\":0}]";
  refuses(&m, POE_E_FORMAT, "layer 1 ('one_hot')", "needs the number of values");
  m.layers = "[{\"op\":\"one_hot\",\"values\":16000000}]";
  refuses(&m, POE_E_FORMAT, "layer 1 ('one_hot')", "holds more than");
}

static void test_variables(void **state) {
  (void)state;
  model m = sound;
  m.values = 0;
  refuses(&m, POE_E_UNSUPPORTED, "layer 2 ('embedding')", "discrete");
  m = sound;
  m.values = 4;
  refuses(&m, POE_E_TYPE, "over 3 values", "`x`");
  m = sound;
  m.d = 6;
  refuses(&m, POE_E_FORMAT, "poe.input [5] takes 5 numbers", "the variable has 6");
  m.input = "[\"length\",4]";
  refuses(&m, POE_E_FORMAT, "poe.input takes 4 numbers at each position", "the variable has 6");
  m.input = "[\"long\"]";
  refuses(&m, POE_E_FORMAT, "poe.input is not a list", "sizes");
  m.input = "[\"length\",99999999999]";
  refuses(&m, POE_E_FORMAT, "poe.input is not a list", "sizes");
}

static void test_ends(void **state) {
  (void)state;
  model m = sound;
  m.output = "{\"op\":\"categorical\",\"values\":3,\"end\":3}";
  refuses(&m, POE_E_FORMAT, "'end' must be an integer from 0 to 2", "poe.output");
  m.output = "{\"op\":\"categorical\",\"values\":3,\"padding\":0}";
  refuses(&m, POE_E_FORMAT, "'padding'", "'end'");
  m.output = "{\"op\":\"categorical\",\"values\":3,\"end\":1,\"padding\":-1}";
  refuses(&m, POE_E_FORMAT, "'padding' must be", "poe.output");
  m.output = "{\"op\":\"bernoulli\",\"end\":1}";
  refuses(&m, POE_E_FORMAT, "'bernoulli' has no 'end'", "poe.output");
  /* coordinate 0 from coordinate 1: an order, but not that of strings */
  model turned = {{{"w", 6, 2}},
                  "[2]",
                  "[{\"op\":\"linear\",\"weight\":\"w\"}]",
                  "{\"op\":\"categorical\",\"values\":3,\"layout\":\"interleaved\",\"end\":0}",
                  "[[2,1]]",
                  2,
                  3,
                  NULL};
  refuses(&turned, POE_E_FORMAT, "follow each other in turn", "coordinate 0 depend on coordinate 1");
  turned.degrees = "[[1,2]]";
  poe_expert *expert = NULL;
  poe_error error = {0};
  check_ok(create(&turned, &expert, &error), error);
  poe_expert_release(expert);
}

static void test_nade(void **state) {
  (void)state;
  static const char layers[] = "[{\"op\":\"nade\",\"W\":\"W\",\"V\":\"V\",\"b\":\"b\",\"c\":\"c\"}]";
  const model nade = {
      {{"W", 4, 6}, {"V", 6, 4}, {"b", 6, 0}, {"c", 4, 0}}, "[6]", layers, "{\"op\":\"bernoulli\"}", NULL, 6, 2, NULL};
  poe_expert *expert = NULL;
  poe_error error = {0};
  check_ok(create(&nade, &expert, &error), error);
  poe_expert_release(expert);
  model m = nade;
  m.parts[0] = (part){"W", 6, 4};
  refuses(&m, POE_E_FORMAT, "weight 'W' has shape [6, 4]", "its input [6] needs [hidden, 6]");
  m = nade;
  m.parts[1] = (part){"V", 4, 6};
  refuses(&m, POE_E_FORMAT, "weight 'V' has shape [4, 6]", "needs [6, 4] or [6, parameters, 4]");
  m = nade;
  m.parts[2] = (part){"b", 4, 0};
  refuses(&m, POE_E_FORMAT, "weight 'b' has shape [4]", "needs [6]");
  m = nade;
  m.parts[3] = (part){"c", 6, 0};
  refuses(&m, POE_E_FORMAT, "weight 'c' has shape [6]", "needs [4]");
  m = nade;
  m.input = "[2,3]";
  refuses(&m, POE_E_FORMAT, "its input [2, 3]", "flat");
  m = nade;
  m.parts[3].name = "d";
  refuses(&m, POE_E_FORMAT, "'c'", "'d'");
  m = nade;
  m.layers = "[{\"op\":\"nade\",\"W\":\"W\",\"V\":\"V\",\"b\":\"b\",\"c\":\"c\",\"activation\":\"step\"}]";
  refuses(&m, POE_E_FORMAT, "'activation' must be one of", "sigmoid");
  m.layers = "[{\"op\":\"nade\",\"W\":\"W\",\"V\":\"V\",\"b\":\"b\"}]";
  refuses(&m, POE_E_FORMAT, "layer 1 ('nade')", "'c' must be the name of a tensor");
}

static void test_degrees(void **state) {
  (void)state;
  static const char layers[] =
      "[{\"op\":\"linear\",\"weight\":\"w\"},{\"op\":\"tanh\"},{\"op\":\"linear\",\"weight\":\"v\"}]";
  model m = {{{"w", 4, 3}, {"v", 3, 4}}, "[3]", layers, "{\"op\":\"bernoulli\"}", "[[1,2,3],[1,2,2,1]]", 3, 2, NULL};
  poe_expert *expert = NULL;
  poe_error error = {0};
  check_ok(create(&m, &expert, &error), error);
  poe_expert_release(expert);
  m.degrees = "[[1,2,3],[1,2,2]]";
  refuses(&m, POE_E_FORMAT, "list 1 of poe.degrees has 3 numbers", "4 are needed");
  m.degrees = "[[1,2,3]]";
  refuses(&m, POE_E_FORMAT, "gives 4 numbers", "each of 3 coordinates");
  m.degrees = "[[1,2,3],[1,2,2,1],[1]]";
  refuses(&m, POE_E_FORMAT, "list 2 of poe.degrees has 1", "3 are needed");
  m.degrees = "[[1,2,3],[1,\"a\",2,1]]";
  refuses(&m, POE_E_FORMAT, "number 1 of list 1", "poe.degrees");
  m.degrees = "[[1,2,3],\"w\"]";
  refuses(&m, POE_E_FORMAT, "list 1 of poe.degrees has 12", "4 are needed");
  m.degrees = "3";
  refuses(&m, POE_E_FORMAT, "poe.degrees is not a list", "lists");
  m.degrees = "[]";
  refuses(&m, POE_E_FORMAT, "poe.degrees is not a list", "lists");
}

/* log p of row x[d] with each value of coordinate j, by evaluation, against the single-site view. */
static void check_site(const poe_expert *expert, void *view, double *x, size_t d, size_t j, poe_scratch *scratch) {
  double seen[3], value = 0.0, kept = x[j];
  poe_error error = {0};
  check_ok(poe_expert_local(expert)->conditional(poe_expert_self(expert), view, j, seen, scratch, &error), error);
  for (size_t v = 0; v < 3; v++) {
    x[j] = (double)v;
    assert_int_equal(poet_eval(expert, 1, d, x, &value, NULL), POE_OK);
    check_close(seen[v], value, 0.0, 1e-12);
  }
  x[j] = kept;
}

/* Sites forwards, backwards and after changes: more positions than there are checkpoints for. */
static void check_view(const poe_expert *expert, double *x, size_t d) {
  static const size_t sites[] = {0, 1, 4000, 4001, 4002, 8999, 17, 8998, 4001};
  const poe_local_ops *local = poe_expert_local(expert);
  const void *self = poe_expert_self(expert);
  poe_error error = {0};
  size_t bytes = local->state_bytes(self);
  assert_true(bytes < (size_t)3 << 19); /* of which the row and the sums are a part */
  void *view = aligned_alloc(64, (bytes + 63) / 64 * 64);
  assert_non_null(view);
  poe_scratch *scratch = poe_scratch_create(local->scratch(self));
  check_ok(local->open(self, x, view, scratch, &error), error);
  for (size_t i = 0; i < sizeof sites / sizeof *sites; i++) {
    check_site(expert, view, x, d, sites[i], scratch);
    x[sites[i]] = (double)((size_t)(x[sites[i]] + 1.0) % 3);
    check_ok(local->set(self, view, sites[i], x[sites[i]], scratch, &error), error);
  }
  poe_scratch_destroy(scratch);
  free(view);
}

/* 9000 positions: evaluated by a walk, in memory far below that of whole sequences; the value is the sum of the steps
 * of the prefix facet. */
static void test_long(void **state) {
  (void)state;
  enum { N = 64, D = 9000 };
  model m = sound;
  m.input = "[\"length\"]";
  m.d = D;
  poe_expert *expert = NULL;
  poe_error error = {0};
  poet_args_start(&a, "autoregressive");
  static poe_support support[D];
  for (size_t j = 0; j < D; j++) {
    support[j] = (poe_support){POE_DISCRETE, 0.0, 2.0, false, false};
  }
  size_t shape = D;
  poe_subject subject = {.name = "x", .ndim = 1, .shape = &shape, .dim = D, .support = support};
  poet_args_text(&a, "file", POE_ARG_FILE, file(&m));
  poe_args args = a.args;
  args.n_subjects = 1;
  args.subjects = &subject;
  check_ok(poe_expert_create(&poei_autoregressive_ops, &args, &expert, &error), error);
  assert_true(poe_expert_scratch(expert, POE_WANT_LOGP, N) < (size_t)20 << 20);
  double *x = poet_doubles((size_t)N * D), *many = poet_doubles(N), one = 0.0;
  assert_int_equal(poet_draw(expert, 3, N, D, x), POE_OK);
  assert_int_equal(poet_eval(expert, N, D, x, many, NULL), POE_OK);
  assert_int_equal(poet_eval(expert, 1, D, x, &one, NULL), POE_OK);
  check_close(many[0], one, 0.0, 1e-12);
  const poe_prefix_ops *prefix = poe_expert_prefix(expert);
  const void *self = poe_expert_self(expert);
  void *walk = aligned_alloc(64, (prefix->state_bytes(self) + 63) / 64 * 64);
  poe_scratch *scratch = poe_scratch_create(prefix->scratch(self));
  double sum = 0.0, log_p = 0.0;
  check_ok(prefix->open(self, walk, scratch, &error), error);
  for (size_t j = 0; j < D; j++) {
    check_ok(prefix->density(self, walk, 1, &x[j], &log_p, scratch, &error), error);
    check_ok(prefix->step(self, walk, x[j], scratch, &error), error);
    sum += log_p;
  }
  check_close(sum, one, 0.0, 1e-12);
  check_view(expert, x, D);
  poe_scratch_destroy(scratch);
  free(walk);
  free(x);
  free(many);
  poe_expert_release(expert);
}

/* Sizes that cannot be: no memory is taken for them. */
static void test_absurd(void **state) {
  (void)state;
  model m = sound;
  m.input = "[1048576]";
  refuses(&m, POE_E_FORMAT, "takes 1048576 numbers", "the variable has 5");
  m = sound;
  m.input = "[5,99999999]";
  refuses(&m, POE_E_FORMAT, "poe.input", "sizes");
  m = sound;
  m.layers = "[{\"op\":\"one_hot\",\"values\":3},{\"op\":\"upsample2d\",\"factor\":16777216}]";
  refuses(&m, POE_E_FORMAT, "layer 2 ('upsample2d')", "");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_sound),     cmocka_unit_test(test_tensors), cmocka_unit_test(test_layers),
      cmocka_unit_test(test_variables), cmocka_unit_test(test_ends),    cmocka_unit_test(test_nade),
      cmocka_unit_test(test_degrees),   cmocka_unit_test(test_long),    cmocka_unit_test(test_absurd)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
