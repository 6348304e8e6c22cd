/* The shipped models of models/binary_digits and models/sprites as a user meets them: the command on the programs that
 * lie beside the weights, against what torch said about the stored images, and against the bounds that their READMEs
 * state. */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "formats/json_text.h"
#include "formats/tensor_file.h"
#include "tests/support/check.h"

enum { OUTPUT_SIZE = 1 << 20, IMAGES = 20, PIXELS = 784, LAST = 10 };

static const char folder[] = POE_SOURCE_DIR "/models/";

/* Runs `poe <arguments>` in the temporary directory; the JSON object it prints is the test's. */
static json_t *poe(const char *arguments) {
  static char text[OUTPUT_SIZE];
  char line[8192];
  snprintf(line, sizeof line, "cd %s && XDG_CACHE_HOME=%s %s %s --json 2>err.txt </dev/null", poet_temp_dir(),
           poet_temp_dir(), POE_COMMAND, arguments);
  FILE *pipe = popen(line, "r");
  assert_non_null(pipe);
  text[fread(text, 1, sizeof text - 1, pipe)] = '\0';
  int status = pclose(pipe);
  json_error_t error;
  json_t *value = json_loads(text, 0, &error);
  if (value == NULL || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    fail_msg("poe %s: status %d, %.300s", arguments, status, text);
  }
  return value;
}

/* out[count] of an array in a file of models/. */
static void numbers(const char *file, const char *name, size_t count, double *out) {
  char path[1024];
  poei_tensor_file *tensors = NULL;
  poe_error error = {0};
  snprintf(path, sizeof path, "%s%s", folder, file);
  check_ok(poei_tensor_file_open(path, &tensors, &error), error);
  const poei_tensor *tensor = poei_tensor_file_find(tensors, name);
  assert_non_null(tensor);
  assert_int_equal(tensor->count, count);
  poei_tensor_to_double(tensor, out);
  poei_tensor_file_close(tensors);
}

/* ---- binary_digits ---- */

/* Single precision against torch in double: relative to numbers of about 100. */
static void test_digits_score(void **state) {
  (void)state;
  char arguments[2048];
  double expected[IMAGES];
  numbers("binary_digits/heldout.npz", "log_p", IMAGES, expected);
  snprintf(arguments, sizeof arguments,
           "score %sbinary_digits/binary_digits.poe digits --data %sbinary_digits/heldout.npz", folder, folder);
  json_t *result = poe(arguments);
  const json_t *log_p = json_object_get(result, "log_density");
  assert_int_equal(json_array_size(log_p), IMAGES);
  assert_true(json_is_true(json_object_get(result, "normalised")));
  for (size_t i = 0; i < IMAGES; i++) {
    check_close(json_number_value(json_array_get(log_p, i)), expected[i], 0.0, 1e-5);
  }
  json_decref(result);
}

/* The first n pixels as a list of the language. */
static void write_pixels(FILE *file, const double *x, size_t n) {
  for (size_t i = 0; i < n; i++) {
    fprintf(file, "%s%d", i == 0 ? "[" : ", ", x[i] == 1.0 ? 1 : 0);
  }
  fputs("]\n", file);
}

/* All pixels but the last ten are given: their probability is what torch says about them alone. Once from the
 * conditionals, and once as the sum over the 1024 images that are left (a table of zeros keeps it from the
 * conditionals), which is the same because the conditionals are normalised. */
static void test_digits_normalised(void **state) {
  (void)state;
  char arguments[2048];
  double corner[PIXELS], before;
  numbers("binary_digits/heldout.npz", "corner", PIXELS, corner);
  numbers("binary_digits/heldout.npz", "corner_before", 1, &before);
  const char *path = poet_temp_path("corner.poe");
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fprintf(file,
          "var x : binary[784]\n"
          "digits = autoregressive(x | file=\"%sbinary_digits/pixelcnn.safetensors\")\n"
          "flat = digits * table(x[783] | p=[1, 1])\n"
          "known = ",
          folder);
  write_pixels(file, corner, PIXELS - LAST);
  fputs("told = digits given x[0:774] = known\nsummed = flat given x[0:774] = known\n", file);
  fclose(file);
  static const char *const targets[] = {"told", "summed"};
  for (size_t t = 0; t < 2; t++) {
    snprintf(arguments, sizeof arguments, "logz %s %s", path, targets[t]);
    json_t *result = poe(arguments);
    check_close(json_number_value(json_object_get(result, "log_z")), before, 0.0, 1e-5);
    assert_true(json_is_true(json_object_get(result, "exact")));
    const char *method = json_string_value(json_object_get(result, "method"));
    assert_string_equal(method, t == 0 ? "closed form" : "enumeration");
    json_decref(result);
  }
}

/* ---- sprites ---- */

enum { LATENTS = 5, MOST_DRAWS = 1024 };

/* Where the decoder's latents stand for a heart, a large one, one in column 1: parts of the standard normal. */
static const double heart = 0.43072729929545744, large = 0.67448975019608171; /* its quantiles at 2/3 and 3/4 */
static const double left = -1.1503493803760083, right = -0.67448975019608171; /* at 1/8 and 2/8                */

typedef struct seen {
  double heart, large, column, all;
} seen;

/* Draws of a target of sprites.poe's experts: how many of them have latents that stand for each, as fractions. */
static seen drawn(const char *program, const char *target, const char *options) {
  char arguments[2048];
  poei_tensor_file *file = NULL;
  poe_error error = {0};
  snprintf(arguments, sizeof arguments, "sample %s %s %s --chains 8 --draws 64 --gate report --output sprites.npz",
           program, target, options);
  json_decref(poe(arguments));
  check_ok(poei_tensor_file_open(poet_temp_path("sprites.npz"), &file, &error), error);
  const poei_tensor *tensor = poei_tensor_file_find(file, "z");
  assert_non_null(tensor);
  assert_true(tensor->count <= MOST_DRAWS * LATENTS && tensor->count % LATENTS == 0);
  double z[MOST_DRAWS * LATENTS], n = (double)(tensor->count / LATENTS);
  poei_tensor_to_double(tensor, z);
  seen found = {0};
  for (const double *row = z; row < z + tensor->count; row += LATENTS) {
    bool is_heart = row[0] > heart, is_large = row[1] > large, is_left = row[2] > left && row[2] < right;
    found.heart += is_heart / n;
    found.large += is_large / n;
    found.column += is_left / n;
    found.all += (is_heart && is_large && is_left) / n;
  }
  poei_tensor_file_close(file);
  return found;
}

/* The concepts see images, what is looked at here is the latents. Base rates: a third, a quarter, an eighth, 1/96. The
 * README's figures are above 0.95 and below 0.01; the bounds leave room for chains that have moved a few times only. */
static void test_sprites(void **state) {
  (void)state;
  const char *program = poet_temp_path("sprites.poe");
  FILE *file = fopen(program, "w");
  assert_non_null(file);
  fprintf(file,
          "var z : real[5]\nvar s : int(3)\nvar t : int(4)\nvar u : int(8)\n"
          "code = gaussian(z | mean=0, sd=1)\n"
          "image = decoder(z | file=\"%ssprites/decoder.safetensors\", shape=[32, 32])\n",
          folder);
  static const char *const heads[][3] = {{"shape", "s", "2"}, {"scale", "t", "3"}, {"column", "u", "1"}};
  for (size_t h = 0; h < 3; h++) {
    fprintf(file, "%s = classifier(image, %s | file=\"%ssprites/concepts.safetensors\", head=\"%s\") given %s = %s\n",
            heads[h][0], heads[h][1], folder, heads[h][0], heads[h][1], heads[h][2]);
  }
  fputs("both = code * (shape * scale * column)^2\nother = code * scale^2 / shape\n", file);
  fclose(file);
  seen base = drawn(program, "code", "");
  assert_true(fabs(base.large - 0.25) < 0.12 && base.all < 0.06); /* 512 independent draws: 6 standard deviations */
  seen both = drawn(program, "both", "--method imh --warmup 800");
  assert_true(both.heart > 0.8 && both.large > 0.8 && both.column > 0.8 && both.all > 0.75);
  seen other = drawn(program, "other", "--method imh --warmup 200");
  assert_true(other.large > 0.8 && other.heart < 0.05);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_digits_score),
      cmocka_unit_test(test_digits_normalised),
      cmocka_unit_test(test_sprites),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
