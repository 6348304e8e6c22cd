/* Reading and writing npy arrays, and what is not a tensor file at all. */
#include <math.h>
#include <string.h>

#include "formats/tensor_file.h"
#include "formats/tensor_write.h"
#include "tests/formats/build.h"
#include "tests/support/check.h"

static build bytes;
static const unsigned char numbers[256] = {0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A,
                                           0x0B, 0x0C, 0x0D, 0x0E, 0x0F, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15,
                                           0x16, 0x17, 0x18, 0x19, 0x1A, 0x1B, 0x1C, 0x1D, 0x1E, 0x1F};

/* A file that numpy.save wrote: np.array([[1.5, -2.0]], dtype='<f4'). */
static void embedded_file_is_read(void **state) {
  (void)state;
  static const unsigned char saved[] =
      "\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }"
      "                                                          \n"
      "\x00\x00\xC0\x3F\x00\x00\x00\xC0";
  poei_tensor_file *file = NULL;
  poe_error error = {0};
  assert_int_equal(sizeof saved - 1, 128 + 8);
  check_ok(poei_tensor_file_open(poet_temp_file("saved.npy", saved, sizeof saved - 1), &file, &error), error);
  assert_string_equal(poei_tensor_file_format(file), "npy");
  const poei_tensor *tensor = poei_tensor_file_find(file, "");
  float values[2];
  poei_tensor_to_float(tensor, values);
  check_close(values[0], 1.5, 0, 0);
  check_close(values[1], -2, 0, 0);
  assert_int_equal(tensor->ndim, 2);
  assert_int_equal(poei_tensor_file_metadata_count(file), 0);
  poei_tensor_file_close(file);
}

static const struct {
  unsigned version;
  const char *dict;
  size_t data;
  poei_dtype dtype;
  size_t ndim, shape[3];
  double expected[6]; /* of the first numbers */
} good[] = {
    {1, "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }", 6, POEI_U8, 2, {2, 3}, {0, 1, 2, 3, 4, 5}},
    {2, "{'shape':(2,3),'fortran_order':True,'descr':'|u1'}", 6, POEI_U8, 2, {2, 3}, {0, 2, 4, 1, 3, 5}},
    {3,
     "{\"descr\": \"<u2\", 'fortran_order': True, 'shape': (2L, 1L, 2L,)}",
     8,
     POEI_U16,
     3,
     {2, 1, 2},
     {0x100, 0x504, 0x302, 0x706}},
    {1, "{'descr': '>u2', 'fortran_order': False, 'shape': (2,)}", 4, POEI_U16, 1, {2}, {1, 0x203}},
    {1, "{'descr': '>i4', 'fortran_order': True, 'shape': (1, 2)}", 8, POEI_I32, 2, {1, 2}, {0x10203, 0x4050607}},
    {1, "{'descr': '=i2', 'fortran_order': False, 'shape': ()}", 2, POEI_I16, 0, {0}, {0x100}},
    {1, "{'descr': 'i1', 'fortran_order': False, 'shape': (1,)}", 1, POEI_I8, 1, {1}, {0}},
    {1, "{'descr': '>b1', 'fortran_order': False, 'shape': (3,)}", 3, POEI_BOOL, 1, {3}, {0, 1, 1}},
    {1, "{'descr': '<f8', 'fortran_order': True, 'shape': (0, 5)}", 0, POEI_F64, 2, {0, 5}, {0}},
};

static void arrays_come_in_c_order(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
    poei_tensor_file *file = NULL;
    poe_error error = {0};
    double values[6];
    build_npy(&bytes, good[i].version, good[i].dict, numbers, good[i].data);
    check_ok(poei_tensor_file_open(build_file(&bytes, "good.npy"), &file, &error), error);
    const poei_tensor *tensor = poei_tensor_file_at(file, 0);
    assert_int_equal(tensor->dtype, good[i].dtype);
    assert_int_equal(tensor->ndim, good[i].ndim);
    for (size_t k = 0; k < good[i].ndim; k++) {
      assert_int_equal(tensor->shape[k], good[i].shape[k]);
    }
    poei_tensor_to_double(tensor, values);
    for (size_t k = 0; k < tensor->count; k++) {
      check_close(values[k], good[i].expected[k], 0, 0);
    }
    poei_tensor_file_close(file);
  }
}

/* A 4-d Fortran array whose numbers say where they belong. */
static void fortran_order_of_many_dimensions(void **state) {
  (void)state;
  unsigned char data[2 * 3 * 4 * 5];
  for (size_t a = 0; a < 2; a++) {
    for (size_t b = 0; b < 3; b++) {
      for (size_t c = 0; c < 4; c++) {
        for (size_t d = 0; d < 5; d++) {
          data[a + 2 * (b + 3 * (c + 4 * d))] = (unsigned char)(((a * 3 + b) * 4 + c) * 5 + d);
        }
      }
    }
  }
  poei_tensor_file *file = NULL;
  poe_error error = {0};
  build_npy(&bytes, 1, "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3, 4, 5)}", data, sizeof data);
  check_ok(poei_tensor_file_open(build_file(&bytes, "fortran.npy"), &file, &error), error);
  for (size_t i = 0; i < sizeof data; i++) {
    assert_int_equal(poei_tensor_file_at(file, 0)->data[i], i);
  }
  poei_tensor_file_close(file);
}

#define DICT(descr, shape) "{'descr': " descr ", 'fortran_order': False, 'shape': " shape ", }"

static const struct {
  const char *dict;
  size_t data;
  poe_status status;
  const char *part;
} hostile[] = {
    {DICT("'|O'", "(1,)"), 8, POE_E_UNSUPPORTED, "Python objects"},
    {DICT("'<U5'", "(1,)"), 20, POE_E_UNSUPPORTED, "text (dtype '<U5')"},
    {DICT("'|S3'", "(1,)"), 3, POE_E_UNSUPPORTED, "text (dtype '|S3')"},
    {DICT("'<c16'", "(1,)"), 16, POE_E_UNSUPPORTED, "complex"},
    {DICT("'|V2'", "(1,)"), 2, POE_E_UNSUPPORTED, "raw or structured"},
    {DICT("'<M8[ns]'", "(1,)"), 8, POE_E_UNSUPPORTED, "dates"},
    {DICT("'<f16'", "(1,)"), 16, POE_E_UNSUPPORTED, "dtype '<f16'"},
    {DICT("'<x4'", "(1,)"), 4, POE_E_UNSUPPORTED, "dtype '<x4'"},
    {DICT("'f'", "(1,)"), 4, POE_E_UNSUPPORTED, "dtype 'f'"},
    {DICT("'<'", "(1,)"), 4, POE_E_UNSUPPORTED, "dtype '<'"},
    {DICT("[('a', '<f4'), ('b', '<i4')]", "(1,)"), 8, POE_E_UNSUPPORTED, "structured array"},
    {DICT("'|f4'", "(1,)"), 4, POE_E_FORMAT, "without byte order"},
    {DICT("''", "()"), 0, POE_E_FORMAT, "descr that is not a type"},
    {DICT("4", "()"), 0, POE_E_FORMAT, "descr that is not a type"},
    {DICT("'\\x3cf4'", "()"), 4, POE_E_FORMAT, "descr that is not a type"},
    {"{'descr': '<f4", 4, POE_E_FORMAT, "descr that is not a type"},
    {DICT("'<f4'", "1"), 4, POE_E_FORMAT, "shape that is not a tuple"},
    {DICT("'<f4'", "(1)"), 4, POE_E_FORMAT, "shape that is a number"},
    {DICT("'<f4'", "(-1,)"), 4, POE_E_FORMAT, "not a tuple of sizes"},
    {DICT("'<f4'", "(1.0,)"), 4, POE_E_FORMAT, "not a tuple of sizes"},
    {DICT("'<f4'", "(1 1)"), 4, POE_E_FORMAT, "not a tuple of sizes"},
    {DICT("'<f4'", "(,)"), 4, POE_E_FORMAT, "not a tuple of sizes"},
    {DICT("'<f4'", "(1,"), 4, POE_E_FORMAT, "not a tuple of sizes"},
    {DICT("'<f4'", "(1,1,1,1,1,1,1,1,1)"), 4, POE_E_UNSUPPORTED, "more than 8 dimensions"},
    {DICT("'<f4'", "(18446744073709551616,)"), 4, POE_E_FORMAT, "dimension that overflows"},
    {DICT("'<f4'", "(4294967296, 4294967296)"), 0, POE_E_FORMAT, "overflows"},
    {DICT("'<f4'", "(0, 9223372036854775808, 4)"), 0, POE_E_FORMAT, "overflows"},
    {DICT("'<f4'", "(3,)"), 8, POE_E_FORMAT, "F32 of shape [3] takes 12 bytes, the file holds 8"},
    {DICT("'<f4'", "(1,)"), 8, POE_E_FORMAT, "takes 4 bytes, the file holds 8"},
    {DICT("'<f4'", "(9999999999,)"), 8, POE_E_FORMAT, "the file holds 8"},
    {"{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}", 4, POE_E_FORMAT, "neither True nor False"},
    {"{'descr': '<f4', 'fortran_order': Truely, 'shape': (1,)}", 4, POE_E_FORMAT, "not a dict of keys"},
    {"{'descr': '<f4', 'shape': (1,)}", 4, POE_E_FORMAT, "lacks fortran_order"},
    {"{'fortran_order': False, 'shape': (1,)}", 4, POE_E_FORMAT, "lacks descr"},
    {"{'descr': '<f4', 'fortran_order': False}", 4, POE_E_FORMAT, "lacks shape"},
    {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", 4, POE_E_FORMAT, "key twice"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}", 4, POE_E_FORMAT, "key beside"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x", 4, POE_E_FORMAT, "goes on after"},
    {"{'descr': '<f4' 'fortran_order': False, 'shape': (1,)}", 4, POE_E_FORMAT, "not a dict of keys"},
    {"['descr']", 4, POE_E_FORMAT, "is not a dict"},
    {"{", 4, POE_E_FORMAT, "not a dict of keys"},
    {"", 4, POE_E_FORMAT, "is not a dict"},
};

static void hostile_files_are_refused(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof hostile / sizeof hostile[0]; i++) {
    poei_tensor_file *file = NULL;
    poe_error error = {0};
    build_npy(&bytes, 1 + (unsigned)i % 3, hostile[i].dict, numbers, hostile[i].data);
    check_fails(poei_tensor_file_open(build_file(&bytes, "bad.npy"), &file, &error), hostile[i].status, error,
                hostile[i].part);
    assert_non_null(strstr(error.message, "bad.npy'"));
    assert_null(file);
  }
}

/* One text of bytes, as scipy.sparse names a format, is its bytes. */
static void one_text_is_bytes(void **state) {
  (void)state;
  poei_tensor_file *file = NULL;
  poe_error error = {0};
  build_npy(&bytes, 1, DICT("'|S3'", "()"), "csr", 3);
  check_ok(poei_tensor_file_open(build_file(&bytes, "text.npy"), &file, &error), error);
  const poei_tensor *tensor = poei_tensor_file_at(file, 0);
  assert_int_equal(tensor->dtype, POEI_U8);
  assert_int_equal(tensor->ndim, 1);
  assert_int_equal(tensor->count, 3);
  assert_memory_equal(tensor->data, "csr", 3);
  poei_tensor_file_close(file);
}

static void preamble_is_checked(void **state) {
  (void)state;
  static const struct {
    const char *start;
    size_t size;
    poe_status status;
    const char *part;
  } starts[] = {{"\x93NUMPY\1\0\x76\0", 10, POE_E_FORMAT, "too few"},
                {"\x93NUMPY\1\0\x76\0{}", 12, POE_E_FORMAT, "ends beyond the file's end"},
                {"\x93NUMPY\2\0\x76\0\0\0", 12, POE_E_FORMAT, "ends beyond the file's end"},
                {"\x93NUMPY\2\0\xFF\xFF\xFF\xFF", 12, POE_E_FORMAT, "the limit is 1048576"},
                {"\x93NUMPY\3\0\1\0\x10\0", 12, POE_E_FORMAT, "the limit is 1048576"},
                {"\x93NUMPY\4\0\x76\0\0\0", 12, POE_E_UNSUPPORTED, "version 4.0"},
                {"\x93NUMPY\0\0\x76\0\0\0", 12, POE_E_UNSUPPORTED, "version 0.0"},
                {"\x93NUMPY\1\1\x76\0\0\0", 12, POE_E_UNSUPPORTED, "version 1.1"}};
  for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++) {
    poei_tensor_file *file = NULL;
    poe_error error = {0};
    const char *path = poet_temp_file("start.npy", starts[i].start, starts[i].size);
    check_fails(poei_tensor_file_open(path, &file, &error), starts[i].status, error, starts[i].part);
  }
}

static void other_files_are_named(void **state) {
  (void)state;
  static const struct {
    const char *start;
    size_t size;
    poe_status status;
    const char *part;
  } others[] = {{"", 0, POE_E_FORMAT, "is empty"},
                {"\x89HDF\r\n\x1a\n", 8, POE_E_UNSUPPORTED, "HDF5"},
                {"CDF\1", 4, POE_E_UNSUPPORTED, "netCDF"},
                {"GGUF\3\0\0\0", 8, POE_E_UNSUPPORTED, "GGUF"},
                {"\x1f\x8b\x08", 3, POE_E_UNSUPPORTED, "gzip"},
                {"MATLAB 5.0 MAT-file", 19, POE_E_UNSUPPORTED, "MATLAB"},
                {"1,2,3\n4,5,6\n", 12, POE_E_FORMAT, "not a tensor file"},
                {"\x80", 1, POE_E_FORMAT, "not a tensor file"},
                {"\x80\x02\x8a\x0al\xfc\x9c\x46\xf9 j\xa8P\x19.", 15, POE_E_UNSUPPORTED, "pickle"},
                {"\x80\x04\x95", 3, POE_E_UNSUPPORTED, "pickle"}};
  for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
    poei_tensor_file *file = NULL;
    poe_error error = {0};
    const char *path = poet_temp_file("other.bin", others[i].start, others[i].size);
    check_fails(poei_tensor_file_open(path, &file, &error), others[i].status, error, others[i].part);
    if (strcmp(others[i].part, "pickle") == 0) {
      assert_non_null(strstr(error.hint, "save_file({k: v.contiguous() for k, v in m.items()}, \"m.safetensors\")"));
    }
  }
  poei_tensor_file *file = NULL;
  poe_error error = {0};
  check_fails(poei_tensor_file_open(poet_temp_path("absent.npy"), &file, &error), POE_E_FILE, error, "No such file");
  check_fails(poei_tensor_file_open(poet_temp_dir(), &file, &error), POE_E_FILE, error, "Is a directory");
}

static void written_file_comes_back(void **state) {
  (void)state;
  static const struct {
    size_t ndim, shape[8];
  } shapes[] = {{0, {0}}, {1, {3}}, {2, {3, 4}}, {3, {2, 0, 3}}, {8, {1, 2, 1, 2, 1, 2, 1, 2}}};
  double data[16];
  for (int i = 0; i < 16; i++) {
    data[i] = i == 3 ? -INFINITY : i == 5 ? NAN : 0.1 * i;
  }
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
    poei_tensor_file *file = NULL;
    poe_error error = {0};
    const char *path = poet_temp_path("out.npy");
    check_ok(poei_npy_write(path, POEI_F64, shapes[i].ndim, shapes[i].shape, data, &error), error);
    check_ok(poei_tensor_file_open(path, &file, &error), error);
    const poei_tensor *tensor = poei_tensor_file_at(file, 0);
    assert_int_equal(tensor->ndim, shapes[i].ndim);
    assert_memory_equal(tensor->shape, shapes[i].shape, sizeof tensor->shape);
    assert_memory_equal(tensor->data, data, 8 * tensor->count);
    poei_tensor_file_close(file);
  }
  poe_error error = {0};
  const size_t large[2] = {SIZE_MAX / 2, 3};
  check_fails(poei_npy_write(poet_temp_path("x.npy"), POEI_BF16, 1, shapes[1].shape, data, &error), POE_E_UNSUPPORTED,
              error, "BF16");
  check_fails(poei_npy_write(poet_temp_path("x.npy"), POEI_F64, 2, large, data, &error), POE_E_USAGE, error,
              "too large");
}

/* Every binary16, by its definition: (-1)^s 2^(e-15) (1 + f/1024), without the 1 and with e = 1 when e is 0. */
static void halves_are_exact(void **state) {
  (void)state;
  static unsigned char data[2 * 65536];
  static float values[65536];
  static double doubles[65536];
  for (unsigned i = 0; i < 65536; i++) {
    data[2 * i] = (unsigned char)(i & 0xFF);
    data[2 * i + 1] = (unsigned char)(i >> 8);
  }
  poei_tensor tensor = {.dtype = POEI_F16, .ndim = 1, .shape = {65536}, .count = 65536, .data = data};
  poei_tensor_to_float(&tensor, values);
  poei_tensor_to_double(&tensor, doubles);
  for (unsigned i = 0; i < 65536; i++) {
    int exponent = (int)(i >> 10 & 31);
    double fraction = i & 1023;
    double size = exponent == 31 ? (fraction == 0 ? INFINITY : NAN)
                                 : ldexp(fraction / 1024 + (exponent > 0), (exponent > 0 ? exponent : 1) - 15);
    double expected = i >= 32768 ? -size : size;
    if (isnan(expected)) {
      assert_true(isnan(values[i]) && isnan(doubles[i]));
    } else {
      check_close(values[i], expected, 0, 0);
      check_close(doubles[i], expected, 0, 0);
      assert_int_equal(signbit(values[i]) != 0, i >= 32768);
    }
  }
}

static void every_type_is_converted(void **state) {
  (void)state;
  static const struct {
    poei_dtype dtype;
    unsigned char data[16]; /* two numbers */
    double expected[2];
  } cases[] = {
      {POEI_F64, {0, 0, 0, 0, 0, 0, 0xF8, 0x3F, 0, 0, 0, 0, 0, 0, 0xF0, 0xFF}, {1.5, -INFINITY}},
      {POEI_F32, {0, 0, 0x20, 0xC1, 1, 0, 0, 0}, {-10, 0x1p-149}},
      {POEI_F16, {0x00, 0x3C, 0xFF, 0xFB}, {1, -65504}},
      {POEI_BF16, {0x80, 0x3F, 0x49, 0xC0}, {1, -3.140625}},
      {POEI_I64, {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0x80}, {-1, -0x1p63}},
      {POEI_I32, {0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F}, {-2, 2147483647}},
      {POEI_I16, {0x00, 0x80, 0xFF, 0x7F}, {-32768, 32767}},
      {POEI_I8, {0x80, 0x7F}, {-128, 127}},
      {POEI_U64, {0, 0, 0, 0, 0, 0, 0, 0x80, 1}, {0x1p63, 1}},
      {POEI_U32, {0xFF, 0xFF, 0xFF, 0xFF, 1}, {4294967295, 1}},
      {POEI_U16, {0xFF, 0xFF, 1}, {65535, 1}},
      {POEI_U8, {0xFF, 1}, {255, 1}},
      {POEI_BOOL, {0, 1}, {0, 1}},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    poei_tensor tensor = {.dtype = cases[i].dtype, .ndim = 1, .shape = {2}, .count = 2, .data = cases[i].data};
    double doubles[2];
    float floats[2];
    assert_int_equal(cases[i].dtype, i); /* no type is left out */
    poei_tensor_to_double(&tensor, doubles);
    poei_tensor_to_float(&tensor, floats);
    for (int k = 0; k < 2; k++) {
      check_close(doubles[k], cases[i].expected[k], 0, 0);
      check_close(floats[k], (float)cases[i].expected[k], 0, 0);
    }
  }
  assert_string_equal(poei_dtype_name(POEI_BF16), "BF16");
  assert_int_equal(poei_dtype_size(POEI_I16), 2);
}

static void shapes_are_written_out(void **state) {
  (void)state;
  const size_t shape[] = {784, 512, 3};
  char text[32];
  assert_string_equal(poei_shape_text(2, shape, text, sizeof text), "[784, 512]");
  assert_string_equal(poei_shape_text(0, shape, text, sizeof text), "[]");
  assert_string_equal(poei_shape_text(1, shape, text, sizeof text), "[784]");
  assert_string_equal(poei_shape_text(3, shape, text, 8), "[784, 5");
  assert_string_equal(poei_shape_text(3, shape, text, 1), "");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(embedded_file_is_read),
      cmocka_unit_test(arrays_come_in_c_order),
      cmocka_unit_test(fortran_order_of_many_dimensions),
      cmocka_unit_test(hostile_files_are_refused),
      cmocka_unit_test(one_text_is_bytes),
      cmocka_unit_test(preamble_is_checked),
      cmocka_unit_test(other_files_are_named),
      cmocka_unit_test(written_file_comes_back),
      cmocka_unit_test(halves_are_exact),
      cmocka_unit_test(every_type_is_converted),
      cmocka_unit_test(shapes_are_written_out),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
