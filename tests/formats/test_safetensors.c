/* Reading and writing safetensors: every rule of the format has a file that breaks it. */
#include <stdio.h>
#include <string.h>

#include "formats/tensor_file.h"
#include "formats/tensor_write.h"
#include "tests/formats/build.h"
#include "tests/support/check.h"

static build bytes;

static void good_file_is_read(void **state) {
  (void)state;
  poei_tensor_file *file = NULL;
  poe_error error = {0};
  /* In the file's order: an empty tensor shares the offset of its neighbour; padding and unknown order of keys. */
  build_safetensors(&bytes,
                    "{\"w\":{\"shape\":[2,3],\"dtype\":\"I16\",\"data_offsets\":[4,16]},"
                    "\"__metadata__\":{\"poe.family\":\"energy\",\"empty\":\"\"},"
                    "\"none\":{\"dtype\":\"F64\",\"shape\":[0,7],\"data_offsets\":[4,4]},"
                    "\"scalar\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}   ",
                    16);
  const char *path = build_file(&bytes, "good.safetensors");
  check_ok(poei_tensor_file_open(path, &file, &error), error);
  assert_string_equal(poei_tensor_file_format(file), "safetensors");
  assert_string_equal(poei_tensor_file_path(file), path);
  assert_int_equal(poei_tensor_file_count(file), 3);
  assert_string_equal(poei_tensor_file_at(file, 0)->name, "w");
  const poei_tensor *w = poei_tensor_file_find(file, "w");
  assert_int_equal(w->ndim, 2);
  assert_int_equal(w->shape[0], 2);
  assert_int_equal(w->shape[1], 3);
  assert_int_equal(w->count, 6);
  double values[6];
  poei_tensor_to_double(w, values);
  for (int i = 0; i < 6; i++) {
    check_close(values[i], (4 + 2 * i) + 256 * (5 + 2 * i), 0, 0);
  }
  assert_int_equal(poei_tensor_file_find(file, "none")->count, 0);
  assert_int_equal(poei_tensor_file_find(file, "scalar")->count, 1);
  assert_int_equal(poei_tensor_file_find(file, "scalar")->ndim, 0);
  assert_null(poei_tensor_file_find(file, "W"));
  assert_null(poei_tensor_file_find(file, "w.npy"));
  assert_int_equal(poei_tensor_file_metadata_count(file), 2);
  assert_string_equal(poei_tensor_file_metadata(file, "poe.family"), "energy");
  assert_null(poei_tensor_file_metadata(file, "poe"));
  const char *key, *value;
  poei_tensor_file_metadata_at(file, 1, &key, &value);
  assert_string_equal(key, "empty");
  assert_string_equal(value, "");
  poei_tensor_file_close(file);
}

static void missing_tensor_lists_what_is_there(void **state) {
  (void)state;
  poei_tensor_file *file = NULL;
  const poei_tensor *tensor = NULL;
  poe_error error = {0};
  build_safetensors(&bytes,
                    "{\"net.0.weight\":{\"dtype\":\"U8\",\"shape\":[2,3],\"data_offsets\":[0,6]},"
                    "\"net.0.bias\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[6,8]}}",
                    8);
  check_ok(poei_tensor_file_open(build_file(&bytes, "list.safetensors"), &file, &error), error);
  check_ok(poei_tensor_file_require(file, "net.0.bias", &tensor, &error), error);
  assert_int_equal(tensor->count, 2);
  check_fails(poei_tensor_file_require(file, "net.1.weight", &tensor, &error), POE_E_FORMAT, error, "'net.1.weight'");
  assert_non_null(strstr(error.message, "list.safetensors"));
  assert_non_null(strstr(error.message, "'net.0.weight' [2, 3], 'net.0.bias' [2]"));
  poei_tensor_file_close(file);
}

static void long_lists_are_cut(void **state) {
  (void)state;
  poei_tensor tensors[64];
  char names[64][40];
  poei_tensor_file *file = NULL;
  const poei_tensor *tensor = NULL;
  poe_error error = {0};
  for (int i = 0; i < 64; i++) {
    snprintf(names[i], sizeof names[i], "layers.%d.attention.projection.weight", i);
    tensors[i] = (poei_tensor){.name = names[i], .dtype = POEI_U8, .ndim = 1, .shape = {0}};
  }
  const char *path = poet_temp_path("many.safetensors");
  check_ok(poei_safetensors_write(path, 64, tensors, 0, NULL, &error), error);
  check_ok(poei_tensor_file_open(path, &file, &error), error);
  check_fails(poei_tensor_file_require(file, "w", &tensor, &error), POE_E_FORMAT, error, " more");
  assert_non_null(strstr(error.message, "'layers.0.attention.projection.weight' [0], "));
  for (int i = 0; i < 64; i++) {
    assert_ptr_equal(poei_tensor_file_find(file, names[i]), poei_tensor_file_at(file, (size_t)i));
  }
  poei_tensor_file_close(file);
}

#define ENTRY(text) "{\"x\":{" text "}}"
#define F32_ "\"dtype\":\"F32\","

static const struct {
  const char *header;
  size_t data;
  poe_status status;
  const char *part;
} hostile[] = {
    {"", 4, POE_E_FORMAT, "does not begin with '{'"},
    {" {}", 0, POE_E_FORMAT, "does not begin with '{'"},
    {"[]", 0, POE_E_FORMAT, "does not begin with '{'"},
    {"{", 0, POE_E_FORMAT, "not JSON: line 1"},
    {"{} x", 0, POE_E_FORMAT, "not JSON"},
    {"{\"x\":\xFF}", 0, POE_E_FORMAT, "not JSON"},
    {ENTRY(F32_ "\"shape\":[1e400],\"data_offsets\":[0,4]"), 4, POE_E_FORMAT, "not JSON"},
    {ENTRY(F32_ "\"shape\":[99999999999999999999],\"data_offsets\":[0,4]"), 4, POE_E_FORMAT, "not JSON"},
    {"{\"x\":{" F32_ "\"shape\":[1],\"data_offsets\":[0,4]},\"x\":{" F32_ "\"shape\":[1],\"data_offsets\":[4,8]}}", 8,
     POE_E_FORMAT, "duplicate"},
    {ENTRY(F32_ F32_ "\"shape\":[1],\"data_offsets\":[0,4]"), 4, POE_E_FORMAT, "duplicate"},
    {"{\"x\":[]}", 0, POE_E_FORMAT, "'x': the entry is not an object"},
    {ENTRY("\"shape\":[1],\"data_offsets\":[0,4]"), 4, POE_E_FORMAT, "dtype is missing"},
    {ENTRY("\"dtype\":4,\"shape\":[1],\"data_offsets\":[0,4]"), 4, POE_E_FORMAT, "dtype is not a text"},
    {ENTRY("\"dtype\":\"F8_E4M3\",\"shape\":[4],\"data_offsets\":[0,4]"), 4, POE_E_UNSUPPORTED, "F8_E4M3"},
    {ENTRY("\"dtype\":\"f32\",\"shape\":[1],\"data_offsets\":[0,4]"), 4, POE_E_UNSUPPORTED, "f32"},
    {ENTRY(F32_ "\"data_offsets\":[0,4]"), 4, POE_E_FORMAT, "shape is missing"},
    {ENTRY(F32_ "\"shape\":1,\"data_offsets\":[0,4]"), 4, POE_E_FORMAT, "shape is not a list"},
    {ENTRY(F32_ "\"shape\":[-1],\"data_offsets\":[0,4]"), 4, POE_E_FORMAT, "dimension 0"},
    {ENTRY(F32_ "\"shape\":[1,1.0],\"data_offsets\":[0,4]"), 4, POE_E_FORMAT, "dimension 1"},
    {ENTRY(F32_ "\"shape\":[\"1\"],\"data_offsets\":[0,4]"), 4, POE_E_FORMAT, "dimension 0"},
    {ENTRY(F32_ "\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]"), 4, POE_E_UNSUPPORTED, "9 dimensions"},
    {ENTRY(F32_ "\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]"), 0, POE_E_FORMAT, "overflows"},
    {ENTRY(F32_ "\"shape\":[4611686018427387904],\"data_offsets\":[0,0]"), 0, POE_E_FORMAT, "overflows"},
    {ENTRY(F32_ "\"shape\":[0,4294967296,4294967296],\"data_offsets\":[0,0]"), 0, POE_E_FORMAT, "overflows"},
    {ENTRY(F32_ "\"shape\":[1]"), 4, POE_E_FORMAT, "data_offsets are missing"},
    {ENTRY(F32_ "\"shape\":[1],\"data_offsets\":[0]"), 4, POE_E_FORMAT, "data_offsets are not two sizes"},
    {ENTRY(F32_ "\"shape\":[1],\"data_offsets\":[0,4,8]"), 4, POE_E_FORMAT, "data_offsets are not two sizes"},
    {ENTRY(F32_ "\"shape\":[1],\"data_offsets\":[-4,0]"), 4, POE_E_FORMAT, "data_offsets are not two sizes"},
    {ENTRY(F32_ "\"shape\":[1],\"data_offsets\":[8,4]"), 8, POE_E_FORMAT, "begin at 8 and end before"},
    {ENTRY(F32_ "\"shape\":[2],\"data_offsets\":[0,8]"), 4, POE_E_FORMAT, "ends at byte 8 of a buffer of 4"},
    {ENTRY(F32_ "\"shape\":[1],\"data_offsets\":[9223372036854775804,9223372036854775807]"), 4, POE_E_FORMAT,
     "buffer of 4"},
    {ENTRY(F32_ "\"shape\":[3],\"data_offsets\":[0,8]"), 8, POE_E_FORMAT, "F32 of shape [3] takes 12 bytes"},
    {ENTRY(F32_ "\"shape\":[1],\"data_offsets\":[0,4],\"more\":1"), 4, POE_E_FORMAT, "keys beside"},
    {ENTRY(F32_ "\"shape\":[1],\"data_offsets\":[4,8]"), 8, POE_E_FORMAT, "hole of 4 bytes"},
    {ENTRY(F32_ "\"shape\":[1],\"data_offsets\":[0,4]"), 7, POE_E_FORMAT, "3 bytes at the end"},
    {"{}", 1, POE_E_FORMAT, "1 bytes at the end"},
    {"{\"a\":{" F32_ "\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{" F32_ "\"shape\":[2],\"data_offsets\":[4,12]}}", 12,
     POE_E_FORMAT, "'b': its data overlaps that of 'a'"},
    {"{\"a\":{" F32_ "\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{" F32_ "\"shape\":[1],\"data_offsets\":[8,12]}}", 12,
     POE_E_FORMAT, "'b': a hole of 4 bytes"},
    {"{\"__metadata__\":[]}", 0, POE_E_FORMAT, "is not an object"},
    {"{\"__metadata__\":{\"layers\":3}}", 0, POE_E_FORMAT, "'layers' is not a text"},
};

static void hostile_files_are_refused(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof hostile / sizeof hostile[0]; i++) {
    poei_tensor_file *file = NULL;
    poe_error error = {0};
    build_safetensors(&bytes, hostile[i].header, hostile[i].data);
    check_fails(poei_tensor_file_open(build_file(&bytes, "bad.safetensors"), &file, &error), hostile[i].status, error,
                hostile[i].part);
    assert_non_null(strstr(error.message, "bad.safetensors'"));
    assert_null(file);
  }
}

/* Headers whose declared length is the lie. */
static void header_length_is_checked(void **state) {
  (void)state;
  static const struct {
    uint64_t length;
    const char *part;
  } lies[] = {{0, "does not begin"},
              {3, "ends beyond the file's end"},
              {100000000, "ends beyond the file's end"},
              {100000001, "limit is 100000000"},
              {UINT64_MAX, "limit is 100000000"},
              {UINT64_MAX - 7, "limit is 100000000"}};
  for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
    poei_tensor_file *file = NULL;
    poe_error error = {0};
    bytes.size = 0;
    build_number(&bytes, lies[i].length, 8);
    build_put(&bytes, "{}", 2);
    check_fails(poei_tensor_file_open(build_file(&bytes, "lie.safetensors"), &file, &error), POE_E_FORMAT, error,
                lies[i].part);
  }
  for (size_t size = 0; size < 8; size++) {
    poei_tensor_file *file = NULL;
    poe_error error = {0};
    bytes.size = size;
    check_fails(poei_tensor_file_open(build_file(&bytes, "short.safetensors"), &file, &error), POE_E_FORMAT, error,
                "too few");
  }
}

/* Brackets deeper than the parser follows. */
static void nesting_is_limited(void **state) {
  (void)state;
  static char header[20001];
  memcpy(header, "{\"a\":", 5);
  memset(header + 5, '[', sizeof header - 6);
  poei_tensor_file *file = NULL;
  poe_error error = {0};
  build_safetensors(&bytes, header, 0);
  check_fails(poei_tensor_file_open(build_file(&bytes, "deep.safetensors"), &file, &error), POE_E_FORMAT, error,
              "depth");
}

/* A header of 640 bytes begins with 80 02, as pickles do, one of 0x4B50 + 0x04030000 with PK\3\4. */
static void lengths_are_not_taken_for_magic(void **state) {
  (void)state;
  char header[641];
  memset(header, ' ', 640);
  memcpy(header, "{\"x\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 53);
  header[640] = '\0';
  poei_tensor_file *file = NULL;
  poe_error error = {0};
  build_safetensors(&bytes, header, 1);
  check_ok(poei_tensor_file_open(build_file(&bytes, "length.weights"), &file, &error), error);
  assert_int_equal(poei_tensor_file_count(file), 1);
  poei_tensor_file_close(file);
}

static void written_file_comes_back(void **state) {
  (void)state;
  const unsigned char small[3] = {1, 0, 1};
  const unsigned char wide[16] = {0, 0, 0, 0, 0, 0, 0xF0, 0x3F, 0, 0, 0, 0, 0, 0, 0, 0xC0}; /* 1, -2 */
  const poei_tensor tensors[] = {
      {.name = "flags", .dtype = POEI_BOOL, .ndim = 1, .shape = {3}, .data = small},
      {.name = "Gewicht \xC3\xBC", .dtype = POEI_F64, .ndim = 2, .shape = {2, 1}, .data = wide},
      {.name = "half", .dtype = POEI_BF16, .ndim = 0, .data = wide + 14},
  };
  const char *const metadata[][2] = {{"poe.layers", "[{\"op\": \"linear\"}]"}, {"b", "\n\"quoted\""}};
  const char *path = poet_temp_path("out.safetensors");
  poei_tensor_file *file = NULL;
  poe_error error = {0};
  check_ok(poei_safetensors_write(path, 3, tensors, 2, metadata, &error), error);
  check_ok(poei_tensor_file_open(path, &file, &error), error);
  assert_int_equal(poei_tensor_file_count(file), 3);
  for (size_t i = 0; i < 3; i++) {
    const poei_tensor *back = poei_tensor_file_find(file, tensors[i].name);
    assert_non_null(back);
    assert_int_equal(back->dtype, tensors[i].dtype);
    assert_int_equal(back->ndim, tensors[i].ndim);
    assert_memory_equal(back->shape, tensors[i].shape, sizeof back->shape);
    assert_memory_equal(back->data, tensors[i].data, back->count * poei_dtype_size(back->dtype));
    assert_string_equal(poei_tensor_file_metadata(file, metadata[i % 2][0]), metadata[i % 2][1]);
  }
  double values[2];
  poei_tensor_to_double(poei_tensor_file_find(file, "half"), values);
  check_close(values[0], -2, 0, 0);
  poei_tensor_file_close(file);
}

static void writer_refuses_what_cannot_be_read(void **state) {
  (void)state;
  const poei_tensor twice[] = {{.name = "a", .dtype = POEI_U8, .ndim = 1}, {.name = "a", .dtype = POEI_U8, .ndim = 1}};
  const poei_tensor names[] = {{.name = "__metadata__", .dtype = POEI_U8, .ndim = 1},
                               {.name = "\xFF", .dtype = POEI_U8, .ndim = 1},
                               {.name = "deep", .dtype = POEI_U8, .ndim = 9},
                               {.name = "big", .dtype = POEI_F64, .ndim = 2, .shape = {SIZE_MAX / 2, 3}}};
  const char *const metadata[][2] = {{"k", "1"}, {"k", "2"}};
  const char *path = poet_temp_path("refused.safetensors");
  poe_error error = {0};
  check_fails(poei_safetensors_write(path, 2, twice, 0, NULL, &error), POE_E_USAGE, error, "'a'");
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    check_fails(poei_safetensors_write(path, 1, &names[i], 0, NULL, &error), POE_E_USAGE, error, "refused.safetensors");
  }
  check_fails(poei_safetensors_write(path, 0, NULL, 2, metadata, &error), POE_E_USAGE, error, "twice");
  poei_tensor_file *file = NULL;
  check_fails(poei_tensor_file_open(path, &file, &error), POE_E_FILE, error, "No such file");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(good_file_is_read),
      cmocka_unit_test(missing_tensor_lists_what_is_there),
      cmocka_unit_test(long_lists_are_cut),
      cmocka_unit_test(hostile_files_are_refused),
      cmocka_unit_test(header_length_is_checked),
      cmocka_unit_test(nesting_is_limited),
      cmocka_unit_test(lengths_are_not_taken_for_magic),
      cmocka_unit_test(written_file_comes_back),
      cmocka_unit_test(writer_refuses_what_cannot_be_read),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
