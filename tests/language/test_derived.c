/* Derived variables: densities over the output of a map, alone, in slices, beside what the map reads, through several
 * maps and maps of maps. Values against the same arithmetic written out here, gradients against central differences.
 *
 * Decoder D: y = W z + b, R^2 -> R^3; decoder U: z = V y, R^3 -> R^2; energy E(y) = y_0 - 2 y_1 + 3 y_2.
 */
#include <stdio.h>
#include <string.h>

#include "compose/nodes/nodes.h"
#include "core/alloc.h"
#include "formats/tensor_write.h"
#include "tests/language/evaluate.h"

static const double W[3][2] = {{1, 2}, {-1, 0.5}, {0.25, 3}}, B[3] = {0.5, -1, 2};
static const double V[2][3] = {{1, 0, 2}, {0.5, -1, 1}};

static char prelude[2048];

static void write_linear(const char *path, const char *family, size_t out, size_t in, const double *weight,
                         const double *bias) {
  char input[32], layers[128];
  snprintf(input, sizeof input, "[%zu]", in);
  snprintf(layers, sizeof layers, "[{\"op\":\"linear\",\"weight\":\"w\"%s}]", bias ? ",\"bias\":\"b\"" : "");
  const char *const metadata[][2] = {
      {"poe.format", "1"}, {"poe.family", family}, {"poe.input", input}, {"poe.layers", layers}};
  poei_tensor tensors[2] = {
      {.name = "w",
       .dtype = POEI_F64,
       .ndim = 2,
       .shape = {out, in},
       .count = out * in,
       .data = (const unsigned char *)weight},
      {.name = "b", .dtype = POEI_F64, .ndim = 1, .shape = {out}, .count = out, .data = (const unsigned char *)bias}};
  poe_error error = {0};
  check_ok(poei_safetensors_write(path, bias ? 2 : 1, tensors, 4, metadata, &error), error);
}

static int setup(void **state) {
  (void)state;
  static const double e[3] = {1, -2, 3};
  const char *d = poet_temp_path("d.safetensors"), *u = poet_temp_path("u.safetensors"),
             *energy = poet_temp_path("e.safetensors");
  write_linear(d, "decoder", 3, 2, &W[0][0], B);
  write_linear(u, "decoder", 2, 3, &V[0][0], NULL);
  write_linear(energy, "energy", 1, 3, e, NULL);
  snprintf(prelude, sizeof prelude,
           "var z : real[2]\n"
           "var t : real\n"
           "dfile = \"%s\"\n"
           "ufile = \"%s\"\n"
           "efile = \"%s\"\n"
           "code = gaussian(z | mean=0, sd=1)\n"
           "image = decoder(z | file=dfile)\n",
           d, u, energy);
  return 0;
}

static void decode(const double *z, double *y) {
  for (int i = 0; i < 3; i++) {
    y[i] = W[i][0] * z[0] + W[i][1] * z[1] + B[i];
  }
}

static void undecode(const double *y, double *z) {
  for (int i = 0; i < 2; i++) {
    z[i] = V[i][0] * y[0] + V[i][1] * y[1] + V[i][2] * y[2];
  }
}

static poei_program *load(const char *rest) {
  char text[4096];
  snprintf(text, sizeof text, "%s%s", prelude, rest);
  return poet_load("derived.poe", text);
}

/* Lowers `a` of a program, compares its tree, its value and its gradient; x holds the target's coordinates. */
static void check_target(const char *definition, const char *tree, const double *x, double expected) {
  poei_program *program = load(definition);
  poei_target target;
  char text[256];
  double grad[8], moved[8], h = 1e-6;
  poet_target(program, "a", &target);
  poet_tree_text(target.expert, text, sizeof text);
  assert_string_equal(text, tree);
  check_close(poet_log_density(target.expert, x, grad), expected, 1e-12, 1e-12);
  for (size_t i = 0; i < target.dim; i++) {
    memcpy(moved, x, target.dim * sizeof *x);
    moved[i] = x[i] + h;
    double up = poet_log_density(target.expert, moved, NULL);
    moved[i] = x[i] - h;
    double down = poet_log_density(target.expert, moved, NULL);
    check_close(grad[i], (up - down) / (2 * h), 1e-6, 1e-6);
  }
  poei_target_free(&target);
  poei_program_free(program);
}

static const double z[2] = {0.3, -0.7};

static void test_energy(void **state) {
  (void)state;
  double y[3];
  decode(z, y);
  double energy = y[0] - 2 * y[1] + 3 * y[2];
  check_target("a = energy(image | file=efile)\n", "through(energy)", z, -energy);
  check_target("a = energy(decoder(z | file=dfile) | file=efile)\n", "through(energy)", z, -energy);
  check_target("a = energy(image | file=efile)^2 * code\n", "product(through(energy),gaussian)", z,
               -2 * energy - 1.8378770664093453 - (z[0] * z[0] + z[1] * z[1]) / 2);
}

static void test_slices(void **state) {
  (void)state;
  double y[3], w[3], swapped[2] = {z[1], z[0]};
  decode(z, y);
  check_target("a = formula(image[1:3] | energy=image[1]*image[2]^2)\n", "through(slice(formula))", z,
               -y[1] * y[2] * y[2]);
  check_target("a = formula(image[2], image[0] | energy=image[2] + 2*image[0])\n", "through(slice(formula))", z,
               -y[2] - 2 * y[0]);
  decode(swapped, w);
  check_target("a = formula(decoder(z[1], z[0] | file=dfile), z[0] | energy=z[0])\n", "through(formula)", z, -z[0]);
  check_target("other = decoder(z[1], z[0] | file=dfile)\na = formula(other | energy=other[0]^2)\n",
               "slice(through(formula))", z, -w[0] * w[0]);
  check_target("shaped = decoder(z | file=dfile, shape=[1, 3])\na = formula(shaped | energy=shaped[0, 2]^2)\n",
               "through(formula)", z, -y[2] * y[2]);
}

static void test_beside_variables(void **state) {
  (void)state;
  double y[3], x[3] = {0.3, -0.7, 1.5};
  decode(z, y);
  check_target("a = formula(image, t | energy=image[0]*t + t^2)\n", "through(formula)", x, -y[0] * 1.5 - 1.5 * 1.5);
  check_target("a = formula(t, image | energy=image[0]*t + t^2)\n", "through(slice(formula))", x,
               -y[0] * 1.5 - 1.5 * 1.5);
  /* what the map reads, too: one function of z gives all the leaf reads */
  check_target("a = formula(image, z | energy=image[0]*z[1] + z[0])\n", "through(formula)", z, -y[0] * z[1] - z[0]);
  check_target("a = formula(z[1], image[2], t | energy=image[2]*z[1]*t)\n", "through(formula)", x, -y[2] * z[1] * 1.5);
}

static void test_maps_of_maps(void **state) {
  (void)state;
  double y[3], back[2], again[3];
  decode(z, y);
  undecode(y, back);
  decode(back, again);
  check_target("back = decoder(image | file=ufile)\na = formula(back | energy=back[0]*back[1])\n", "through(formula)",
               z, -back[0] * back[1]);
  check_target(
      "back = decoder(image | file=ufile)\nagain = decoder(back | file=dfile)\na = energy(again | file=efile)\n",
      "through(energy)", z, -(again[0] - 2 * again[1] + 3 * again[2]));
  check_target("back = decoder(image | file=ufile)\n"
               "a = formula(back, image, z | energy=back[0]*image[1]*z[0] + back[1]^2)\n",
               "through(formula)", z, -back[0] * y[1] * z[0] - back[1] * back[1]);
  /* a map that reads half of another's output and a variable */
  double x[3] = {0.3, -0.7, 1.5}, mixed[3] = {0, y[1], 1.5}, w[3];
  decode(mixed + 1, w);
  check_target("half = decoder(image[1], t | file=dfile)\na = formula(half, t | energy=half[0]*half[2] + t)\n",
               "through(formula)", x, -w[0] * w[2] - 1.5);
}

static void test_two_maps(void **state) {
  (void)state;
  double y[3], w[3], swapped[2] = {z[1], z[0]};
  decode(z, y);
  decode(swapped, w);
  check_target("other = decoder(z[1], z[0] | file=dfile)\na = formula(image, other | energy=image[0]*other[1])\n",
               "through(formula)", z, -y[0] * w[1]);
}

/* One decoder for all who read it: the planner may run it once. */
static void test_sharing(void **state) {
  (void)state;
  poei_program *program = load("a = energy(image | file=efile)\n"
                               "b = formula(image | energy=image[0])\n"
                               "c = energy(decoder(z | file=dfile) | file=efile)\n");
  poei_target a, b, c;
  poet_target(program, "a", &a);
  poet_target(program, "b", &b);
  poet_target(program, "c", &c);
  assert_ptr_equal(poei_through_map(a.expert), poei_through_map(b.expert));
  assert_ptr_equal(poei_through_map(a.expert), poei_through_map(c.expert));
  assert_ptr_equal(poei_node_child(a.expert, 0), poei_node_child(c.expert, 0));
  assert_int_equal(poei_program_file_count(program), 2);
  poei_target_free(&a);
  poei_target_free(&b);
  poei_target_free(&c);
  poei_program_free(program);
}

static void apply(const poei_derived *derived, const double *x, double *y) {
  const poe_map_ops *ops = poe_map_ops_of(derived->map);
  const void *self = poe_map_self(derived->map);
  poe_scratch *scratch = poe_scratch_create(ops->scratch(self, POE_WANT_LOGP, 1));
  poe_error error = {0};
  check_ok(ops->apply(self, (poe_rows){1, derived->in_dim, derived->in_dim, x},
                      (poe_rows_out){1, derived->dim, derived->dim, y}, scratch, &error),
           error);
  poe_scratch_destroy(scratch);
}

static void test_derived(void **state) {
  (void)state;
  poei_program *program = load("back = decoder(image | file=ufile)\nhead = image[0:2]\n"
                               "shaped = decoder(z[1], z[0] | file=dfile, shape=[3, 1])\n");
  poei_derived derived;
  poe_error error = {0};
  double y[3], expected[3], twice[2];
  check_ok(poei_program_derived(program, "image", &derived, &error), error);
  assert_string_equal(derived.name, "image");
  assert_int_equal(derived.dim, 3);
  assert_int_equal(derived.in_dim, 2);
  assert_int_equal(derived.coordinates[1], 1);
  apply(&derived, z, y);
  decode(z, expected);
  for (int i = 0; i < 3; i++) {
    check_close(y[i], expected[i], 1e-14, 0);
  }
  check_ok(poei_program_derived(program, "back", &derived, &error), error);
  assert_int_equal(derived.dim, 2);
  assert_int_equal(derived.in_dim, 2);
  apply(&derived, z, y);
  undecode(expected, twice);
  check_close(y[0], twice[0], 1e-13, 0);
  check_ok(poei_program_derived(program, "shaped", &derived, &error), error);
  assert_int_equal(derived.ndim, 2);
  assert_int_equal(derived.shape[0], 3);
  assert_int_equal(derived.coordinates[0], 1);
  check_fails(poei_program_derived(program, "code", &derived, &error), POE_E_NAME, error, "not a derived variable");
  check_fails(poei_program_derived(program, "z", &derived, &error), POE_E_NAME, error, "not a derived variable");
  check_fails(poei_program_derived(program, "head", &derived, &error), POE_E_NAME, error, "not a derived variable");
  poei_program_free(program);
}

/* Mistakes with derived variables, and bare networks where an integral is needed. */
static void test_wrong(void **state) {
  (void)state;
  static const struct {
    const char *rest, *part;
    bool loads;
  } wrong[] = {
      {"a = image * code\n", "an expert is needed here, this is a derived variable", false},
      {"a = energy(image[3] | file=efile)\n", "index 3 is outside 0..2 of 'image'", false},
      {"a = code given image = 3\n", "this is a derived variable, not a variable", false},
      {"a = decoder(t | file=dfile)\n", "2", false},
      {"a = energy(z | file=efile)\n", "3", true},
      {"a = energy(image | file=efile) or code\n", "a bare network over an unbounded space", true},
      {"a = normalise(energy(image | file=efile)^2)\n", "a bare network over an unbounded space", true},
      {"a = formula(decoder(z | file=dfile) | energy=image[0])\n", "is not among the variables of this formula", false},
      {"a = formula(z | energy=decoder(z | file=dfile)[0])\n", "expected ',' or ')'", false},
      {"a = formula(z | energy=sum(decoder(z | file=dfile)))\n", "a map cannot stand inside a formula", false},
      {"a = decoder(image | file=image)\n", "'file' must be the path of a file, in quotes, not a derived variable",
       false},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    char text[4096];
    snprintf(text, sizeof text, "%s%s", prelude, wrong[i].rest);
    poei_diagnostics diagnostics = {0};
    poei_program *program = NULL;
    poe_status status = poei_program_load("wrong.poe", text, 0, NULL, &diagnostics, &program);
    if (wrong[i].loads) {
      assert_int_equal(status, POE_OK);
      poei_target target;
      status = poei_program_target(program, "a", &target, &diagnostics);
    }
    assert_true(status != POE_OK && diagnostics.n == 1);
    if (!strstr(diagnostics.items[0].error.message, wrong[i].part) || diagnostics.items[0].error.line != 8) {
      poet_print_diagnostics(&diagnostics, text);
      fail_msg("%s: %s", wrong[i].rest, wrong[i].part);
    }
    poei_program_free(program);
    poei_diagnostics_free(&diagnostics);
  }
}

/* A Gaussian factor shows that the integral of networks is finite: no warning; heavy tails do not. */
static void test_finite(void **state) {
  (void)state;
  static const struct {
    const char *rest;
    size_t warnings;
  } cases[] = {{"a = (code * energy(image | file=efile)) or code\n", 0},
               {"a = normalise((0.5*code + 0.5*code) * energy(image | file=efile)^-1)\n", 0},
               {"a = normalise(student_t(z | df=3, loc=0, scale=1) * energy(image | file=efile))\n", 1},
               {"a = normalise(product(i in 0:2 -> gaussian(z[i] | mean=0, sd=1)) * energy(image | file=efile))\n", 0},
               {"a = normalise(gaussian(z[0] | mean=0, sd=1) * energy(image | file=efile))\n", SIZE_MAX}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    poei_program *program = load(cases[i].rest);
    poei_diagnostics diagnostics = {0};
    poei_target target = {0};
    poe_status status = poei_program_target(program, "a", &target, &diagnostics);
    if (cases[i].warnings == SIZE_MAX) {
      assert_int_equal(status, POE_E_IMPROPER);
      assert_non_null(strstr(diagnostics.items[0].error.message, "z[1] is unbounded"));
    } else {
      assert_int_equal(status, POE_OK);
      assert_int_equal(diagnostics.n, cases[i].warnings);
      assert_int_equal(diagnostics.errors, 0);
    }
    poei_target_free(&target);
    poei_diagnostics_free(&diagnostics);
    poei_program_free(program);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_energy),       cmocka_unit_test(test_slices),   cmocka_unit_test(test_beside_variables),
      cmocka_unit_test(test_maps_of_maps), cmocka_unit_test(test_two_maps), cmocka_unit_test(test_sharing),
      cmocka_unit_test(test_derived),      cmocka_unit_test(test_wrong),    cmocka_unit_test(test_finite)};
  return cmocka_run_group_tests(tests, setup, NULL);
}
