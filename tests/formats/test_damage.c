/* Files cut at every byte, files with bytes changed, and every allocation failing in turn. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "formats/npz_zip64.h"
#include "formats/tensor_reader.h"
#include "formats/tensor_write.h"
#include "formats/text_file.h"
#include "tests/formats/build.h"
#include "tests/support/check.h"

enum { SAMPLES = 5 };
static build samples[SAMPLES]; /* one valid file per reader and feature */

static void make_samples(void) {
  static const double numbers[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  build npy[2];
  build_safetensors(&samples[0],
                    "{\"__metadata__\":{\"a\":\"b\",\"c\":\"d\"},\"w\":{\"dtype\":\"F32\",\"shape\":[2,2],"
                    "\"data_offsets\":[0,16]},\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[16,19]}}",
                    19);
  build_npy(&samples[1], 1, "{'descr': '>f8', 'fortran_order': True, 'shape': (3, 4), }", numbers, sizeof numbers);
  build_npy(&npy[0], 1, "{'descr': '<f8', 'fortran_order': True, 'shape': (3, 4), }", numbers, sizeof numbers);
  build_npy(&npy[1], 3, "{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }", numbers, 16);
  const build_member members[] = {{"a.npy", npy[0].at, npy[0].size, 8, 0, 0}, {"b", npy[1].at, npy[1].size, 0, 0, 0}};
  build_zip_places places;
  build_zip(&samples[2], members, 2, &places);
  for (int wide = 0; wide < 2; wide++) {
    poei_npz_writer *writer = NULL;
    poe_error error = {0};
    const size_t shape[2] = {3, 4};
    char *data;
    const char *path = poet_temp_path("sample.npz");
    check_ok(poei_npz_writer_open(path, &writer, &error), error);
    if (wide) {
      poei_npz_writer_zip64_from(writer, 1);
    }
    check_ok(poei_npz_writer_add(writer, "x", POEI_F64, 2, shape, numbers, &error), error);
    check_ok(poei_npz_writer_add(writer, "y", POEI_U8, 2, shape, numbers, &error), error);
    check_ok(poei_npz_writer_commit(writer, &error), error);
    check_ok(poei_file_read(path, sizeof samples[0].at, &data, &samples[3 + wide].size, &error), error);
    memcpy(samples[3 + wide].at, data, samples[3 + wide].size);
    poei_free(data);
  }
}

/* Opens data[size] from memory that ends there, so that reading beyond it is seen by the sanitizers. */
static poe_status parse(const unsigned char *data, size_t size, poei_tensor_file **file, poe_error *error) {
  void *copy = poei_copy(data, size, 1);
  assert_non_null(copy);
  return poei_tensor_file_parse("damaged.bin", copy, size, file, error);
}

/* Touches every number, so that a wrong size is seen by the sanitizers. */
static double use_all(const poei_tensor_file *file) {
  double sum = 0;
  for (size_t i = 0; i < poei_tensor_file_count(file); i++) {
    const poei_tensor *tensor = poei_tensor_file_at(file, i);
    double *values = poei_alloc(tensor->count, sizeof *values);
    assert_non_null(values);
    poei_tensor_to_double(tensor, values);
    for (size_t k = 0; k < tensor->count; k++) {
      sum += values[k];
    }
    poei_free(values);
    assert_ptr_equal(poei_tensor_file_find(file, tensor->name), tensor);
  }
  return sum;
}

static void truncated_files_are_refused(void **state) {
  (void)state;
  for (size_t i = 0; i < SAMPLES; i++) {
    for (size_t size = 0; size < samples[i].size; size++) {
      poei_tensor_file *file = NULL;
      poe_error error = {0};
      check_fails(parse(samples[i].at, size, &file, &error), POE_E_FORMAT, error, "damaged.bin'");
      assert_null(file);
    }
  }
}

static void longer_files_are_refused(void **state) {
  (void)state;
  for (size_t i = 0; i < SAMPLES; i++) {
    static unsigned char longer[sizeof samples[0].at + 1];
    poei_tensor_file *file = NULL;
    poe_error error = {0};
    memcpy(longer, samples[i].at, samples[i].size);
    longer[samples[i].size] = 0;
    check_fails(parse(longer, samples[i].size + 1, &file, &error), POE_E_FORMAT, error, "damaged.bin'");
  }
}

static void changed_files_do_no_harm(void **state) {
  (void)state;
  uint64_t seed = 88172645463325252u;
  for (size_t i = 0; i < SAMPLES; i++) {
    size_t refused = 0;
    for (int round = 0; round < 1500; round++) {
      static unsigned char copy[sizeof samples[0].at];
      memcpy(copy, samples[i].at, samples[i].size);
      int changes = 1 + round % 3;
      for (int k = 0; k < changes; k++) {
        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        static const unsigned char values[] = {0, 1, 0x7F, 0x80, 0xFF};
        size_t at = (size_t)(seed >> 20) % samples[i].size;
        unsigned flipped = copy[at] ^ 1u << (seed >> 8 & 7);
        copy[at] = seed & 1 ? values[(seed >> 8) % sizeof values] : (unsigned char)(flipped & 0xFF);
      }
      poei_tensor_file *file = NULL;
      poe_error error = {0};
      poe_status status = parse(copy, samples[i].size, &file, &error);
      if (status == POE_OK) {
        use_all(file);
        poei_tensor_file_close(file);
      } else {
        assert_true(status == POE_E_FORMAT || status == POE_E_UNSUPPORTED);
        assert_true(error.status == status && error.message[0] != '\0');
        refused++;
      }
    }
    assert_true(refused > 300); /* the changes do reach what is checked */
  }
}

static poe_status step_json_parse(poe_error *error);

/* jansson's memory from the allocator under test. */
static void *test_alloc(size_t size) {
  return poei_alloc(size, 1);
}

/* Runs `step` with its first, second, ... allocation failing until it succeeds: first those of ours alone, then also
 * those that jansson makes for it. jansson takes some of its own for syntax errors: that is no reason to crash or leak.
 */
static void fail_in_turn(poe_status (*step)(poe_error *)) {
  for (int jansson = 0; jansson < 2; jansson++) {
    uint64_t n = 0;
    poe_status status;
    if (jansson) {
      json_set_alloc_funcs(test_alloc, poei_free);
    }
    do {
      poe_error error = {0};
      poei_alloc_fail_at(++n);
      status = step(&error);
      poei_alloc_fail_at(0);
      if (status != POE_OK && !(jansson && status == POE_E_FORMAT)) {
        check_fails(status, POE_E_MEMORY, error, "out of memory");
      }
      assert_true(n < 10000);
    } while (status != POE_OK);
    json_set_alloc_funcs(malloc, free);
    assert_true(n > 1 || (step == step_json_parse && !jansson));
  }
}

static const char *step_path;

static poe_status step_open(poe_error *error) {
  poei_tensor_file *file = NULL;
  poe_status status = poei_tensor_file_open(step_path, &file, error);
  if (status == POE_OK) {
    poei_tensor_file_close(file);
  } else {
    assert_null(file);
  }
  return status;
}

static poe_status step_npz(poe_error *error) {
  poei_npz_writer *writer = NULL;
  const double numbers[2] = {1, 2};
  const size_t shape[1] = {2};
  poe_status status = poei_npz_writer_open(step_path, &writer, error);
  if (status != POE_OK) {
    return status;
  }
  for (char name[2] = "a"; name[0] < 'm' && status == POE_OK; name[0]++) {
    status = poei_npz_writer_add(writer, name, POEI_F64, 1, shape, numbers, error);
  }
  if (status == POE_OK) {
    return poei_npz_writer_commit(writer, error);
  }
  poei_npz_writer_abort(writer);
  return status;
}

static poe_status step_safetensors(poe_error *error) {
  const poei_tensor tensors[] = {
      {.name = "a", .dtype = POEI_U8, .ndim = 1, .shape = {4}, .data = (const unsigned char *)"abcd"},
      {.name = "b", .dtype = POEI_U16, .ndim = 1, .shape = {2}, .data = (const unsigned char *)"abcd"}};
  const char *const metadata[][2] = {{"k", "v"}};
  return poei_safetensors_write(step_path, 2, tensors, 1, metadata, error);
}

static poe_status step_npy(poe_error *error) {
  return poei_npy_write(step_path, POEI_U8, 0, NULL, "a", error);
}

static poe_status step_csv_read(poe_error *error) {
  poei_csv csv = {0};
  poe_status status = poei_csv_read(step_path, &csv, error);
  poei_csv_free(&csv);
  return status;
}

static poe_status step_csv_write(poe_error *error) {
  const double numbers[4] = {1, 2, 3, 4};
  return poei_csv_write(step_path, 2, 2, numbers, NULL, error);
}

static poe_status step_png(poe_error *error) {
  return poei_png_write(step_path, 2, 1, 1, (const uint8_t *)"ab", error);
}

static poe_status step_json(poe_error *error) {
  const double numbers[3] = {1, 1.0 / 0.0, 0.5};
  json_t *object = json_object();
  if (object == NULL || json_object_set_new(object, "numbers", poei_json_numbers(numbers, 3)) != 0) {
    json_decref(object);
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  poe_status status = poei_json_write(step_path, object, error);
  json_decref(object);
  return status;
}

static poe_status step_json_parse(poe_error *error) {
  const char text[] = "{\"a\": [1, 2.5, null, \"x\"], \"b\": {\"c\": true}}";
  json_t *value = poei_json_parse(text, sizeof text - 1, error);
  json_decref(value);
  return value == NULL ? error->status : POE_OK;
}

static void every_allocation_of_the_readers_fails(void **state) {
  (void)state;
  for (size_t i = 0; i < SAMPLES; i++) {
    step_path = build_file(&samples[i], "memory.bin");
    fail_in_turn(step_open);
  }
  step_path = poet_temp_file("memory.csv", "a,b,\"c\"\n1,2,3\n4,5,6\n", 20);
  fail_in_turn(step_csv_read);
  fail_in_turn(step_json_parse);
}

static void every_allocation_of_the_writers_fails(void **state) {
  (void)state;
  step_path = poet_temp_path("memory.out");
  fail_in_turn(step_npz);
  fail_in_turn(step_safetensors);
  fail_in_turn(step_npy);
  fail_in_turn(step_csv_write);
  fail_in_turn(step_png);
  fail_in_turn(step_json);
}

static int make_samples_once(void **state) {
  (void)state;
  make_samples();
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(truncated_files_are_refused),
      cmocka_unit_test(longer_files_are_refused),
      cmocka_unit_test(changed_files_do_no_harm),
      cmocka_unit_test(every_allocation_of_the_readers_fails),
      cmocka_unit_test(every_allocation_of_the_writers_fails),
  };
  return cmocka_run_group_tests(tests, make_samples_once, NULL);
}
