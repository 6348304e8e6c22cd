/* numpy reads what we write, we read what numpy writes: every type and several shapes, stored, deflated, in Fortran
 * order and big-endian. Skipped where the system's Python has no numpy. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/npz_zip64.h"
#include "formats/tensor_file.h"
#include "formats/tensor_write.h"
#include "tests/support/check.h"

static const struct {
  const char *code;
  poei_dtype dtype;
} types[] = {{"f8", POEI_F64}, {"f4", POEI_F32}, {"f2", POEI_F16}, {"i8", POEI_I64},
             {"i4", POEI_I32}, {"i2", POEI_I16}, {"i1", POEI_I8},  {"u8", POEI_U64},
             {"u4", POEI_U32}, {"u2", POEI_U16}, {"u1", POEI_U8},  {"b1", POEI_BOOL}};
static const struct {
  const char *name;
  size_t ndim, shape[5];
} shapes[] = {{"", 0, {0}},
              {"1", 1, {1}},
              {"7", 1, {7}},
              {"3x4", 2, {3, 4}},
              {"2x3x4", 3, {2, 3, 4}},
              {"0x5", 2, {0, 5}},
              {"2x0", 2, {2, 0}},
              {"1x2x1x3x2", 5, {1, 2, 1, 3, 2}}};
enum { TYPES = sizeof types / sizeof types[0], SHAPES = sizeof shapes / sizeof shapes[0] };

static double expected_number(poei_dtype dtype, size_t k) {
  double value = (double)k;
  switch (types[dtype > POEI_F16 ? dtype - 1 : dtype].code[0]) { /* the list has no BF16 */
  case 'f':
    return value / 8 - 1;
  case 'i':
    return value - 3;
  case 'b':
    return (double)(k % 2);
  default:
    return value;
  }
}

static bool run_python(const char *verb) {
  char command[512];
  snprintf(command, sizeof command, "/usr/bin/python3 '%s/tests/formats/numpy_files.py' %s '%s'", POE_SOURCE_DIR, verb,
           poet_temp_dir());
  return system(command) == 0;
}

static bool has_numpy(void) {
  return system("/usr/bin/python3 -c 'import numpy' >/dev/null 2>&1") == 0;
}

static void check_archive(const char *name) {
  poei_tensor_file *file = NULL;
  poe_error error = {0};
  double values[32];
  check_ok(poei_tensor_file_open(poet_temp_path(name), &file, &error), error);
  assert_int_equal(poei_tensor_file_count(file), TYPES * SHAPES);
  for (size_t t = 0; t < TYPES; t++) {
    for (size_t s = 0; s < SHAPES; s++) {
      char key[32];
      const poei_tensor *tensor;
      snprintf(key, sizeof key, "%s_%s", types[t].code, shapes[s].name);
      check_ok(poei_tensor_file_require(file, key, &tensor, &error), error);
      assert_int_equal(tensor->dtype, types[t].dtype);
      assert_int_equal(tensor->ndim, shapes[s].ndim);
      assert_memory_equal(tensor->shape, shapes[s].shape, tensor->ndim * sizeof(size_t));
      poei_tensor_to_double(tensor, values);
      for (size_t k = 0; k < tensor->count; k++) {
        double expected = expected_number(tensor->dtype, k);
        if (tensor->dtype >= POEI_U64 && tensor->dtype <= POEI_U8) {
          expected = (double)k;
        }
        check_close(values[k], expected, 0, 0);
      }
    }
  }
  poei_tensor_file_close(file);
}

static void numpy_files_are_read(void **state) {
  (void)state;
  if (!has_numpy()) {
    skip();
  }
  assert_true(run_python("write"));
  check_archive("stored.npz");
  check_archive("deflated.npz");
  check_archive("fortran.npz");
  check_archive("big.npz");
  poei_tensor_file *file = NULL;
  poe_error error = {0};
  check_ok(poei_tensor_file_open(poet_temp_path("none.npz"), &file, &error), error);
  assert_int_equal(poei_tensor_file_count(file), 0);
  poei_tensor_file_close(file);
  check_ok(poei_tensor_file_open(poet_temp_path("one.npy"), &file, &error), error);
  assert_int_equal(poei_tensor_file_at(file, 0)->count, 12);
  poei_tensor_file_close(file);
  static const char *const refused[][2] = {{"objects.npy", "Python objects"},
                                           {"records.npy", "structured"},
                                           {"text.npy", "text"},
                                           {"complex.npy", "complex"}};
  for (size_t i = 0; i < 4; i++) {
    check_fails(poei_tensor_file_open(poet_temp_path(refused[i][0]), &file, &error), POE_E_UNSUPPORTED, error,
                refused[i][1]);
  }
}

/* The numbers 0.. of a type as numpy would hold them. */
static void fill(poei_dtype dtype, size_t n, unsigned char *out) {
  size_t item = poei_dtype_size(dtype);
  for (size_t k = 0; k < n; k++) {
    double value = expected_number(dtype, k);
    int64_t whole = (int64_t)value;
    float single = (float)value;
    /* binary16 of k/8 - 1 for k < 24: sign, exponent and fraction by hand */
    int eighths = (int)k - 8, size = abs(eighths), exponent = 0;
    while (size >> (exponent + 1) != 0) {
      exponent++;
    }
    unsigned half = size == 0 ? 0
                              : (eighths < 0 ? 0x8000u : 0) | (unsigned)(exponent + 12) << 10 |
                                    (((unsigned)size << (10 - exponent)) & 1023u);
    const void *from = dtype == POEI_F64   ? (const void *)&value
                       : dtype == POEI_F32 ? (const void *)&single
                       : dtype == POEI_F16 ? (const void *)&half
                                           : (const void *)&whole;
    memcpy(out + k * item, from, item); /* little-endian, as these tests' machines are */
  }
}

static void write_archive(const char *name, uint64_t wide) {
  poei_npz_writer *writer = NULL;
  poe_error error = {0};
  check_ok(poei_npz_writer_open(poet_temp_path(name), &writer, &error), error);
  if (wide > 0) {
    poei_npz_writer_zip64_from(writer, wide);
  }
  for (size_t t = 0; t < TYPES; t++) {
    for (size_t s = 0; s < SHAPES; s++) {
      char key[32];
      unsigned char data[24 * 8];
      size_t n = 1;
      for (size_t k = 0; k < shapes[s].ndim; k++) {
        n *= shapes[s].shape[k];
      }
      snprintf(key, sizeof key, "%s_%s", types[t].code, shapes[s].name);
      fill(types[t].dtype, n, data);
      check_ok(poei_npz_writer_add(writer, key, types[t].dtype, shapes[s].ndim, shapes[s].shape, data, &error), error);
    }
  }
  check_ok(poei_npz_writer_commit(writer, &error), error);
  check_archive(name);
}

static void our_files_are_read_by_numpy(void **state) {
  (void)state;
  if (!has_numpy()) {
    skip();
  }
  unsigned char data[48];
  poe_error error = {0};
  write_archive("ours.npz", 0);
  write_archive("ours64.npz", 1);
  fill(POEI_F32, 12, data);
  check_ok(poei_npy_write(poet_temp_path("ours.npy"), POEI_F32, 2, shapes[3].shape, data, &error), error);
  assert_true(run_python("check"));
}

/* The shipped models are what their recipes (Python) wrote. */
static void shipped_models_are_read(void **state) {
  (void)state;
  poei_tensor_file *file = NULL;
  poe_error error = {0};
  const poei_tensor *tensor = NULL;
  const char *path = POE_SOURCE_DIR "/models/digits/three.safetensors";
  poe_status status = poei_tensor_file_open(path, &file, &error);
  if (status == POE_E_FILE) {
    skip();
  }
  check_ok(status, error);
  assert_non_null(poei_tensor_file_metadata(file, "poe.family"));
  assert_true(poei_tensor_file_count(file) > 1);
  check_fails(poei_tensor_file_require(file, "no such tensor", &tensor, &error), POE_E_FORMAT, error,
              "the file holds '");
  poei_tensor_file_close(file);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(numpy_files_are_read),
      cmocka_unit_test(our_files_are_read_by_numpy),
      cmocka_unit_test(shipped_models_are_read),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
