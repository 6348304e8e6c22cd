/* bench: its numbers, and the peer beside it: PyTorch where it is there, and processes that answer in every wrong way.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "answer/bench_peer.h"
#include "tests/answer/fixture.h"
#include "tests/net/model_file.h"
#include "tests/support/check.h"

/* ---- the process ---- */

static const char *script(const char *name, const char *text) {
  char body[2048];
  int size = snprintf(body, sizeof body, "#!/bin/sh\n%s\n", text);
  const char *path = poet_temp_file(name, body, (size_t)size);
  assert_int_equal(chmod(path, 0700), 0);
  return path;
}

static void no_children(void) {
  errno = 0;
  assert_true(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
}

static void test_peer(void **state) {
  (void)state;
  char good[512];
  snprintf(good, sizeof good, "%s", script("good.sh", "while read line; do echo '{\"seconds\": 0.25}'; done"));
  json_t *request = json_pack("{s:i}", "threads", 3), *reply = NULL;
  poei_peer *peer = NULL;
  poe_error error = {0};
  char why[200] = "";
  static const struct {
    const char *text, *why;
  } wrong[] = {
      {"echo '{\"absent\": \"not today\"}'", "not today"},
      {"read line; echo '{\"absent\": \"not this one\"}'; sleep 100", "not this one"},
      {"exit 3", "ended without an answer"},
      {"echo 'Traceback (most recent call last):'", "cannot be read"},
      {"echo '[1, 2]'", "cannot be read"},
      {"echo '{\"seconds\": 1, \"seconds\": 2}'", "cannot be read"},
      {"printf '{\"seconds\": 1}'; exit 0", "ended without an answer"},
      {"while true; do printf 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'; done", "without an answer"},
      {"exec sleep 100", "in time"},
      {"exec 0<&- 1>&-; exec sleep 100", "without an answer"}};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    const char *programs[] = {script("wrong.sh", wrong[i].text), NULL, NULL};
    double start = poei_clock();
    check_ok(poei_peer_open(programs, request, 2.0, NULL, &peer, &reply, why, sizeof why, &error), error);
    if (peer != NULL || reply != NULL || strstr(why, wrong[i].why) == NULL || poei_clock() - start > 10.0) {
      fail_msg("%s: %s after %g s", wrong[i].text, why, poei_clock() - start);
    }
    no_children();
    programs[1] = good; /* the next one is asked then */
    check_ok(poei_peer_open(programs, request, 2.0, NULL, &peer, &reply, why, sizeof why, &error), error);
    assert_non_null(peer);
    check_close(json_number_value(json_object_get(reply, "seconds")), 0.25, 0, 0);
    json_decref(reply);
    check_ok(poei_peer_ask(peer, request, 2.0, NULL, &reply, why, sizeof why, &error), error);
    check_close(json_number_value(json_object_get(reply, "seconds")), 0.25, 0, 0);
    json_decref(reply);
    poei_peer_close(peer);
    no_children();
  }
  const char *programs[] = {script("wrong.sh", "echo '{\"absent\": \"nobody can\", \"final\": true}'"), good, NULL};
  check_ok(poei_peer_open(programs, request, 2.0, NULL, &peer, &reply, why, sizeof why, &error), error);
  assert_null(peer);
  assert_string_equal(why, "nobody can");
  json_decref(request);
}

static void test_peer_edges(void **state) {
  (void)state;
  poei_peer *peer = NULL;
  json_t *reply = NULL, *request = json_pack("{s:i}", "threads", 3), *numbers = json_array();
  poe_error error = {0};
  char why[200] = "";
  const char *nowhere[] = {"/none/such/python3", "no-such-python3", NULL};
  check_ok(poei_peer_open(nowhere, request, 2.0, NULL, &peer, &reply, why, sizeof why, &error), error);
  assert_null(peer);
  assert_string_equal(why, "there is no python3");
  /* threads and the like reach it through the environment, ours does too */
  setenv("POE_TEST_WORD", "passed", 1);
  setenv("OMP_NUM_THREADS", "7", 1);
  const char *tells[] = {script("tells.sh", "echo \"{\\\"word\\\": \\\"$POE_TEST_WORD $OMP_NUM_THREADS "
                                            "$OPENBLAS_NUM_THREADS $1\\\"}\""),
                         NULL};
  check_ok(poei_peer_open(tells, request, 5.0, NULL, &peer, &reply, why, sizeof why, &error), error);
  assert_string_equal(json_string_value(json_object_get(reply, "word")), "passed 3 3 -I");
  json_decref(reply);
  /* it is gone now: asking it is no error, and no signal */
  check_ok(poei_peer_ask(peer, request, 2.0, NULL, &reply, why, sizeof why, &error), error);
  assert_null(reply);
  poei_peer_close(peer);
  /* a question larger than any buffer, to one who does not listen */
  for (size_t i = 0; i < 30000; i++) {
    json_array_append_new(numbers, json_real(0.123456789));
  }
  json_object_set(request, "x", numbers);
  const char *deaf[] = {script("deaf.sh", "exec sleep 100"), NULL};
  check_ok(poei_peer_open(deaf, request, 0.3, NULL, &peer, &reply, why, sizeof why, &error), error);
  assert_null(peer);
  assert_non_null(strstr(why, "in time"));
  const char *reader[] = {script("reader.sh", "read line; echo \"{\\\"size\\\": ${#line}}\"; read line"), NULL};
  check_ok(poei_peer_open(reader, request, 20.0, NULL, &peer, &reply, why, sizeof why, &error), error);
  assert_true(json_integer_value(json_object_get(reply, "size")) > 30000 * 11);
  json_decref(reply);
  poei_peer_close(peer);
  atomic_bool stop = true;
  check_fails(poei_peer_open(deaf, request, 20.0, &stop, &peer, &reply, why, sizeof why, &error), POE_E_INTERRUPTED,
              error, "interrupted");
  assert_null(peer);
  no_children();
  json_decref(numbers);
  json_decref(request);
}

/* ---- the verb ---- */

static void check_positive(const json_t *object, const char *key) {
  double value = fixture_number(object, key);
  if (!(isfinite(value) && value > 0.0)) {
    fail_msg("%s is %g", key, value);
  }
}

static void test_sizes(void **state) {
  (void)state;
  fixture f;
  fixture_action a;
  poe_error error = {0};
  fixture_open(&f, "bench.poe",
               "var x : real[3]\nvar c : int(3)\na = gaussian(x | mean=0, sd=1)\n"
               "p = categorical(c | p=[0.2, 0.3, 0.5])\nrough = formula(x | energy=norm(x)^4)\n",
               0);
  static const size_t rows[] = {1, 64, 1024};
  for (size_t k = 0; k < 4; k++) {
    const char *const options[][2] = {{"peer", k == 1 ? "none" : "auto"}, {k == 2 ? "rows" : NULL, "5"}, {NULL, NULL}};
    const char *target = k == 3 ? "p" : "a";
    json_t *r = fixture_perform(&f, poei_answer_bench, fixture_act(&a, "bench", target, options), POE_OK, &error);
    json_t *sizes = json_object_get(r, "sizes");
    assert_int_equal(json_array_size(sizes), k == 2 ? 1 : 3);
    for (size_t i = 0; i < json_array_size(sizes); i++) {
      json_t *size = json_array_get(sizes, i);
      assert_int_equal(fixture_number(size, "rows"), k == 2 ? 5 : rows[i]);
      check_positive(size, "rows_per_second");
      if (k < 3) {
        check_positive(size, "gradient_rows_per_second");
      }
      assert_null(json_object_get(size, "pytorch_ratio"));
    }
    static const char *const keys[] = {"rows",   "rows_per_second", "gradient_rows_per_second",
                                       "gflops", "gemm_gflops",     "fraction"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) { /* beside `sizes`: the last of them */
      json_t *last = json_array_get(sizes, json_array_size(sizes) - 1);
      assert_true(json_equal(json_object_get(r, keys[i]), json_object_get(last, keys[i])));
    }
    assert_string_equal(json_string_value(json_object_get(r, "gemm_absent")), "there is no network in the target");
    assert_int_equal(fixture_number(r, "threads"), 2);
    assert_int_equal(json_object_get(r, "pytorch_absent") != NULL, k != 1);
    json_decref(r);
  }
  const char *const must[][2] = {{"peer", "pytorch"}, {NULL, NULL}};
  assert_null(fixture_perform(&f, poei_answer_bench, fixture_act(&a, "bench", "a", must), POE_E_CAPABILITY, &error));
  assert_non_null(strstr(error.message, "energy alone"));
  /* exact draws, of what has them */
  const char *const draws[][2] = {{"draws", "true"}, {"rows", "70"}, {"peer", "none"}, {NULL, NULL}};
  json_t *r = fixture_perform(&f, poei_answer_bench, fixture_act(&a, "bench", "p", draws), POE_OK, &error);
  check_positive(r, "draws_per_second");
  json_decref(r);
  assert_null(
      fixture_perform(&f, poei_answer_bench, fixture_act(&a, "bench", "rough", draws), POE_E_CAPABILITY, &error));
  assert_non_null(strstr(error.message, "no exact draws"));
  fixture_close(&f);
}

/* Operations of the yardstick in one row, counted by hand: 2 for every weight that a pass forwards goes through, 4 with
 * the way back. A discrete model has nothing to go back to; a flow that reads its noise goes through its network once
 * for each of its three coordinates, and back for two. */
static void test_networks(void **state) {
  (void)state;
  static const float below[9] = {0, 0, 0, 1, 0, 0, 1, 1, 0}, twice[18] = {0, 0, 0, 1, 0, 0, 1, 1, 0}; /* and zeros */
#define DENSE "{\"op\":\"linear\",\"weight\":\"w\"}"
#define TWO "[" DENSE ",{\"op\":\"tanh\"},{\"op\":\"linear\",\"weight\":\"v\"}]"
  static const struct {
    const char *family, *name, *input, *layers, *output;
    model_tensor tensors[4];
    double operations; /* 0: there are none */
    const char *why;
  } models[] = {
      {"classifier", "label.safetensors", "[4]", TWO, NULL, {{"w", 3, 4, NULL}, {"v", 5, 3, NULL}}, 4.0 * 27.0, ""},
      {"flow",
       "coupling.safetensors",
       "[4]",
       "[{\"op\":\"coupling\",\"transformed\":\"odd\",\"transform\":\"affine\",\"layers\":" TWO "}]",
       NULL,
       {{"w", 3, 2, NULL}, {"v", 4, 3, NULL}},
       4.0 * 18.0,
       ""},
      {"flow",
       "iaf.safetensors",
       "[3]",
       "[{\"op\":\"autoregressive\",\"from\":\"noise\",\"transform\":\"affine\",\"layers\":[" DENSE "]}]",
       NULL,
       {{"w", 6, 3, twice}},
       3.0 * 2.0 * 18.0 + 2.0 * 4.0 * 18.0,
       ""},
      {"autoregressive",
       "bits.safetensors",
       "[3]",
       "[" DENSE "]",
       "{\"op\":\"bernoulli\"}",
       {{"w", 3, 3, below}},
       18.0,
       ""},
      {"autoregressive",
       "reals.safetensors",
       "[3]",
       "[" DENSE "]",
       "{\"op\":\"gaussian_mixture\",\"components\":1}",
       {{"w", 6, 3, twice}},
       4.0 * 18.0,
       ""},
      {"autoregressive",
       "nade.safetensors",
       "[3]",
       "[{\"op\":\"nade\",\"W\":\"w\",\"V\":\"v\",\"b\":\"b\",\"c\":\"c\"}]",
       "{\"op\":\"bernoulli\"}",
       {{"w", 5, 3, NULL}, {"v", 3, 5, NULL}, {"b", 3, 0, NULL}, {"c", 5, 0, NULL}},
       0.0,
       "nothing in its networks"}};
  enum { N = sizeof models / sizeof models[0] };
  for (size_t i = 0; i < N; i++) {
    const char *const metadata[][2] = {{"poe.format", "1"},
                                       {"poe.family", models[i].family},
                                       {"poe.input", models[i].input},
                                       {"poe.layers", models[i].layers},
                                       {models[i].output == NULL ? NULL : "poe.output", models[i].output},
                                       {NULL, NULL}};
    size_t n = 0;
    while (n < 4 && models[i].tensors[n].name != NULL) {
      n++;
    }
    model_write(models[i].name, n, models[i].tensors, metadata);
  }
  fixture f;
  fixture_action a;
  poe_error error = {0};
  fixture_open(&f, "networks.poe",
               "var x : real[4]\nvar c : int(5)\nvar y : real[3]\nvar b : binary[3]\n"
               "e0 = classifier(x, c | file=\"label.safetensors\")\ne1 = flow(x | file=\"coupling.safetensors\")\n"
               "e2 = flow(y | file=\"iaf.safetensors\")\ne3 = autoregressive(b | file=\"bits.safetensors\")\n"
               "e4 = autoregressive(y | file=\"reals.safetensors\")\n"
               "e5 = autoregressive(b | file=\"nade.safetensors\")\n",
               0);
  for (size_t i = 0; i < N; i++) {
    const char target[] = {'e', (char)('0' + i), '\0'};
    const char *const options[][2] = {{"rows", "64"}, {"grad", "true"}, {"peer", "none"}, {NULL, NULL}};
    json_t *r = fixture_perform(&f, poei_answer_bench, fixture_act(&a, "bench", target, options), POE_OK, &error);
    const char *why = json_string_value(json_object_get(r, "gemm_absent"));
    if (models[i].operations > 0.0) {
      assert_null(why);
      check_positive(r, "fraction");
      check_positive(r, "gemm_gflops");
      check_close(fixture_number(r, "gflops") / fixture_number(r, "gradient_rows_per_second") * 1e9,
                  models[i].operations, 0, 1e-9);
    } else {
      assert_true(json_is_null(json_object_get(r, "fraction")) && json_is_null(json_object_get(r, "gflops")));
      assert_non_null(why);
      assert_non_null(strstr(why, models[i].why));
    }
    json_decref(r);
  }
  fixture_close(&f);
}

static bool has_torch(void) {
  return system("{ /usr/bin/python3 -I -c 'import torch' || python3 -I -c 'import torch'; } >/dev/null 2>&1") == 0;
}

/* The peer's own log-density must agree with ours, or it is refused: its numbers being there says that it did. */
static void test_torch(void **state) {
  (void)state;
  const model_tensor mlp[] = {{"0.weight", 8, 6, NULL},
                              {"0.bias", 8, 0, NULL},
                              {"2.weight", 4, 8, NULL},
                              {"4.weight", 1, 4, NULL},
                              {"4.bias", 1, 0, NULL}};
  const char *const described[][2] = {
      {"poe.format", "1"},
      {"poe.family", "energy"},
      {"poe.input", "[6]"},
      {"poe.energy_scale", "0.25"},
      {"poe.layers",
       "[{\"op\": \"linear\", \"weight\": \"0.weight\", \"bias\": \"0.bias\"}, {\"op\": \"elu\", \"alpha\": "
       "0.5}, {\"op\": \"linear\", \"weight\": \"2.weight\"}, {\"op\": \"gelu\"}, {\"op\": \"affine\", "
       "\"scale\": -2, \"shift\": 0.5}, {\"op\": \"linear\", \"weight\": \"4.weight\", \"bias\": "
       "\"4.bias\"}]"},
      {NULL, NULL}};
  const model_tensor pooled[] = {{"w", 1, 2, NULL}};
  const char *const images[][2] = {
      {"poe.format", "1"},
      {"poe.family", "energy"},
      {"poe.input", "[1, 2, 4]"},
      {"poe.layers", "[{\"op\": \"avg_pool2d\", \"size\": 2}, {\"op\": \"linear\", \"weight\": \"w\"}]"},
      {NULL, NULL}};
  const char *const bare[][2] = {{NULL, NULL}};
  model_write("described.safetensors", 5, mlp, described);
  model_write("images.safetensors", 1, pooled, images);
  model_write("bare.safetensors", 5, mlp, bare);
  fixture f;
  fixture_action a;
  poe_error error = {0};
  fixture_open(&f, "torch.poe",
               "var x : real[6] in [-4, 4]\nvar y : real[8]\n"
               "described = energy(x | file=\"described.safetensors\")\n"
               "bare = energy(x | file=\"bare.safetensors\", layers=[\"0\", \"2\", \"4\"], activation=tanh, "
               "output_activation=softplus, precision=double)\n"
               "images = energy(y | file=\"images.safetensors\")\n",
               0);
  bool torch = has_torch();
  static const char *const targets[] = {"described", "bare", "images"};
  for (size_t i = 0; i < 3; i++) {
    const char *const options[][2] = {{"rows", "3"}, {"grad", "true"}, {NULL, NULL}};
    json_t *r = fixture_perform(&f, poei_answer_bench, fixture_act(&a, "bench", targets[i], options), POE_OK, &error);
    json_t *size = json_array_get(json_object_get(r, "sizes"), 0);
    const char *absent = json_string_value(json_object_get(r, "pytorch_absent"));
    check_positive(size, "gradient_rows_per_second");
    if (torch && i < 2) {
      if (absent != NULL) {
        fail_msg("%s: %s", targets[i], absent);
      }
      check_positive(size, "pytorch_gradient_rows_per_second");
      check_close(fixture_number(size, "pytorch_ratio") * fixture_number(size, "pytorch_gradient_rows_per_second"),
                  fixture_number(size, "gradient_rows_per_second"), 0, 1e-12);
      assert_non_null(json_string_value(json_object_get(r, "pytorch_version")));
    } else if (absent == NULL || strstr(absent, torch ? "`avg_pool2d`" : "") == NULL) {
      fail_msg("%s: %s", targets[i], absent == NULL ? "present" : absent);
    }
    json_decref(r);
  }
  no_children();
  fixture_close(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_peer), cmocka_unit_test(test_peer_edges),
                                     cmocka_unit_test(test_sizes), cmocka_unit_test(test_networks),
                                     cmocka_unit_test(test_torch)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
