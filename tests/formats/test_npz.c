/* Reading and writing npz archives: every field of the zip records that can lie has a case. */
#include <string.h>
#include <sys/stat.h>

#include "core/alloc.h"
#include "formats/npz_zip64.h"
#include "formats/tensor_file.h"
#include "formats/tensor_write.h"
#include "formats/whole_file.h"
#include "poe/rng.h"
#include "tests/formats/build.h"
#include "tests/support/check.h"

static build archive, first, second, third;
static build_zip_places places;

/* a.npy (deflated, [3] of F64) and b.npy (stored, [2, 2] of I32). */
static void base_archive(void) {
  static const double a[3] = {1, 2, 4};
  static const int32_t b[4] = {5, 6, 7, 8};
  build_npy(&first, 1, "{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }", a, sizeof a);
  build_npy(&second, 1, "{'descr': '<i4', 'fortran_order': True, 'shape': (2, 2), }", b, sizeof b);
  const build_member members[] = {{"a.npy", first.at, first.size, 8, 0, 0}, {"b.npy", second.at, second.size, 0, 0, 0}};
  build_zip(&archive, members, 2, &places);
}

static void good_archive_is_read(void **state) {
  (void)state;
  poei_tensor_file *file = NULL;
  poe_error error = {0};
  double values[4];
  base_archive();
  check_ok(poei_tensor_file_open(build_file(&archive, "good.npz"), &file, &error), error);
  assert_string_equal(poei_tensor_file_format(file), "npz");
  assert_int_equal(poei_tensor_file_count(file), 2);
  const poei_tensor *a = poei_tensor_file_find(file, "a"), *b = poei_tensor_file_find(file, "b");
  assert_ptr_equal(a, poei_tensor_file_find(file, "a.npy"));
  poei_tensor_to_double(a, values);
  check_close(values[2], 4, 0, 0);
  poei_tensor_to_double(b, values);
  check_close(values[1], 7, 0, 0);
  check_close(values[2], 6, 0, 0);
  assert_null(poei_tensor_file_find(file, ".npy"));
  poei_tensor_file_close(file);
}

static void empty_archive_is_read(void **state) {
  (void)state;
  poei_tensor_file *file = NULL;
  poe_error error = {0};
  const poei_tensor *tensor;
  build_zip(&archive, NULL, 0, &places);
  check_ok(poei_tensor_file_open(build_file(&archive, "empty.npz"), &file, &error), error);
  assert_int_equal(poei_tensor_file_count(file), 0);
  check_fails(poei_tensor_file_require(file, "x", &tensor, &error), POE_E_FORMAT, error, "the file holds none");
  poei_tensor_file_close(file);
}

enum { LOCAL_A, LOCAL_B, DATA_A, DATA_B, CENTRAL_A, CENTRAL_B, END };

typedef struct patch {
  int where, offset, width;
  uint64_t value;
} patch;

static const struct {
  patch patches[3]; /* width 0 = none */
  poe_status status;
  const char *part;
} hostile[] = {
    {{{CENTRAL_A, 8, 2, 1}}, POE_E_UNSUPPORTED, "'a.npy': is encrypted"},
    {{{CENTRAL_A, 8, 2, 0x40}}, POE_E_UNSUPPORTED, "is encrypted"},
    {{{CENTRAL_A, 8, 2, 0x2000}}, POE_E_UNSUPPORTED, "is encrypted"},
    {{{CENTRAL_B, 10, 2, 99}}, POE_E_UNSUPPORTED, "'b.npy': is encrypted"},
    {{{CENTRAL_A, 8, 2, 0x20}}, POE_E_UNSUPPORTED, "patch data"},
    {{{CENTRAL_A, 10, 2, 12}}, POE_E_UNSUPPORTED, "method 12 (bzip2)"},
    {{{CENTRAL_A, 10, 2, 14}}, POE_E_UNSUPPORTED, "method 14 (lzma)"},
    {{{CENTRAL_A, 10, 2, 77}}, POE_E_UNSUPPORTED, "method 77 (unknown)"},
    {{{CENTRAL_A, 10, 2, 0}}, POE_E_FORMAT, "is stored"},
    {{{LOCAL_A, 8, 2, 0}}, POE_E_FORMAT, "another method"},
    {{{LOCAL_A, 30, 1, 'c'}}, POE_E_FORMAT, "another name"},
    {{{LOCAL_A, 26, 2, 4}}, POE_E_FORMAT, "another name"},
    {{{LOCAL_A, 28, 2, 65535}}, POE_E_FORMAT, "cut off"},
    {{{LOCAL_B, 0, 4, 0}}, POE_E_FORMAT, "no local header"},
    {{{CENTRAL_A, 16, 4, 1}}, POE_E_FORMAT, "'a.npy': the checksum"},
    {{{CENTRAL_B, 16, 4, 1}}, POE_E_FORMAT, "'b.npy': the checksum"},
    {{{DATA_B, 90, 1, 0x77}}, POE_E_FORMAT, "'b.npy': the checksum"},
    {{{DATA_A, 0, 4, 0xFFFFFFFF}}, POE_E_FORMAT, "'a.npy': the compressed data is damaged: it is not a deflate stream"},
    {{{CENTRAL_A, 24, 4, 1000}}, POE_E_FORMAT, "F64 of shape [3] takes 24 bytes"},
    {{{CENTRAL_A, 24, 4, 0xFFFFFFF}}, POE_E_FORMAT, "cannot stand for the declared 268435455"},
    {{{CENTRAL_A, 24, 4, 0x1FFFF}}, POE_E_FORMAT, "cannot stand for the declared 131071"},
    {{{CENTRAL_A, 24, 4, 0xFFFFFFFF}}, POE_E_FORMAT, "broken zip64 field"},
    {{{CENTRAL_A, 24, 4, 5}}, POE_E_FORMAT, "is not an npy array (5 bytes)"},
    {{{CENTRAL_A, 24, 4, 50}}, POE_E_FORMAT, "does not fit"},
    {{{CENTRAL_A, 20, 4, 20}}, POE_E_FORMAT, "ends before the declared size"},
    {{{CENTRAL_A, 20, 4, 4000}}, POE_E_FORMAT, "cut off"},
    {{{CENTRAL_A, 20, 4, 200}}, POE_E_FORMAT, "'b.npy': overlaps"},
    {{{CENTRAL_A, 42, 4, 0x7FFFFFFF}}, POE_E_FORMAT, "outside of the archive"},
    {{{CENTRAL_B, 42, 4, 0}}, POE_E_FORMAT, "another name"},
    {{{CENTRAL_B, 42, 4, 0}, {CENTRAL_B, 46, 1, 'a'}, {CENTRAL_B, 10, 2, 8}}, POE_E_FORMAT, "overlaps"},
    {{{CENTRAL_A, 46, 1, 0}}, POE_E_FORMAT, "name is empty or not UTF-8"},
    {{{CENTRAL_A, 46, 1, 0xFF}}, POE_E_FORMAT, "name is empty or not UTF-8"},
    {{{CENTRAL_A, 28, 2, 0}}, POE_E_FORMAT, "name is empty or not UTF-8"},
    {{{CENTRAL_B, 28, 2, 600}}, POE_E_FORMAT, "entry that is cut off"},
    {{{CENTRAL_B, 0, 4, 0}}, POE_E_FORMAT, "fewer entries than declared"},
    {{{LOCAL_B, 30, 1, 'a'}, {CENTRAL_B, 46, 1, 'a'}}, POE_E_FORMAT, "'a': the file holds this name twice"},
    {{{END, 8, 2, 1}, {END, 10, 2, 1}}, POE_E_FORMAT, "more than the declared entries"},
    {{{END, 8, 2, 60000}, {END, 10, 2, 60000}}, POE_E_FORMAT, "more entries than its directory has room for"},
    {{{END, 8, 2, 1}}, POE_E_FORMAT, "split over several files"},
    {{{END, 4, 2, 1}}, POE_E_FORMAT, "split over several files"},
    {{{END, 16, 4, 0xFFFFFF}}, POE_E_FORMAT, "does not lie before its end record"},
    {{{END, 12, 4, 0xFFFFFF}}, POE_E_FORMAT, "does not lie before its end record"},
    {{{END, 16, 4, 0}}, POE_E_FORMAT, "fewer entries than declared"},
    {{{END, 10, 2, 0xFFFF}}, POE_E_FORMAT, "lacks the zip64 records"},
    {{{END, 16, 4, 0xFFFFFFFF}}, POE_E_FORMAT, "lacks the zip64 records"},
    {{{END, 20, 2, 1}}, POE_E_FORMAT, "no end record"},
    {{{END, 0, 4, 0}}, POE_E_FORMAT, "no end record"},
};

static size_t place_of(int where) {
  const size_t at[] = {places.local[0],   places.local[1],   places.data[0], places.data[1],
                       places.central[0], places.central[1], places.end};
  return at[where];
}

static void hostile_archives_are_refused(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof hostile / sizeof hostile[0]; i++) {
    poei_tensor_file *file = NULL;
    poe_error error = {0};
    base_archive();
    for (size_t k = 0; k < 3; k++) {
      const patch *change = &hostile[i].patches[k];
      for (int b = 0; b < change->width; b++) {
        archive.at[place_of(change->where) + (size_t)(change->offset + b)] =
            (unsigned char)(change->value >> (8 * b) & 0xFF);
      }
    }
    check_fails(poei_tensor_file_open(build_file(&archive, "bad.npz"), &file, &error), hostile[i].status, error,
                hostile[i].part);
    assert_non_null(strstr(error.message, "bad.npz'"));
    assert_null(file);
  }
}

/* Members that are wrong in themselves. */
static void hostile_members_are_refused(void **state) {
  (void)state;
  static const unsigned char zeros[40000];
  build_npy(&first, 1, "{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }", zeros, 24);
  build_npy(&second, 1, "{'descr': '<f8', 'fortran_order': False, 'shape': (1000,), }", zeros, 8000);
  build_npy(&third, 1, "{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }", zeros, 16);
  const struct {
    build_member member;
    poe_status status;
    const char *part;
  } cases[] = {
      {{"x.npy", first.at, first.size, 8, 8, 0}, POE_E_FORMAT, "goes on beyond the declared size"},
      {{"x.npy", third.at, third.size, 8, 0, 3}, POE_E_FORMAT, "bytes follow its end"},
      {{"x.npy", first.at, first.size, 8, 0, 0}, POE_E_FORMAT, "takes 16 bytes, the entry declares 24"},
      {{"x.npy", first.at, first.size, 0, 0, 0}, POE_E_FORMAT, "takes 16 bytes, the entry declares 24"},
      {{"x.npy", second.at, second.size - 8, 8, 0, 0}, POE_E_FORMAT, "takes 8000 bytes, the entry declares 7992"},
      {{"x.npy", zeros, 40000, 8, 0, 0}, POE_E_FORMAT, "'x.npy': is not an npy array"},
      {{"x.txt", zeros, 40000, 0, 0, 0}, POE_E_FORMAT, "'x.txt': is not an npy array"},
      {{"folder/", zeros, 0, 0, 0, 0}, POE_E_FORMAT, "'folder/': is not an npy array"},
      {{"x.npy", (const unsigned char *)"\x93NUMPY\1\0\0\0{}{}", 14, 0, 0, 0}, POE_E_FORMAT, "does not fit"},
      {{"archive/data.pkl", zeros, 30, 0, 0, 0}, POE_E_UNSUPPORTED, "pickle"},
      {{"data.pkl", zeros, 30, 8, 0, 0}, POE_E_UNSUPPORTED, "pickle"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    poei_tensor_file *file = NULL;
    poe_error error = {0};
    build_zip(&archive, &cases[i].member, 1, &places);
    check_fails(poei_tensor_file_open(build_file(&archive, "member.npz"), &file, &error), cases[i].status, error,
                cases[i].part);
  }
}

static void comments_and_names_are_accepted(void **state) {
  (void)state;
  poei_tensor_file *file = NULL;
  poe_error error = {0};
  build_npy(&first, 2, "{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }", "\1\2\3", 3);
  const build_member members[] = {{"plain", first.at, first.size, 8, 0, 0},
                                  {"sample_stats.lp.npy", first.at, first.size, 0, 0, 0},
                                  {"z\xC3\xA4hler.npy", first.at, first.size, 8, 0, 0}};
  build_zip(&archive, members, 3, &places);
  archive.at[places.end + 20] = 7; /* a comment, with the end record's own mark in it */
  build_put(&archive, "PK\5\6abc", 7);
  check_ok(poei_tensor_file_open(build_file(&archive, "names.npz"), &file, &error), error);
  assert_non_null(poei_tensor_file_find(file, "plain"));
  assert_non_null(poei_tensor_file_find(file, "plain.npy"));
  assert_non_null(poei_tensor_file_find(file, "sample_stats.lp"));
  assert_int_equal(poei_tensor_file_find(file, "z\xC3\xA4hler")->data[2], 3);
  poei_tensor_file_close(file);
}

enum { MANY = 5000 };

/* Writes three arrays with zip64 fields from `wide` on (0 = the format's own limit). */
static void write_three(const char *path, uint64_t wide, const double *numbers) {
  poei_npz_writer *writer = NULL;
  poe_error error = {0};
  const size_t shape[3] = {2, 5, MANY / 10}, none[2] = {0, 3};
  check_ok(poei_npz_writer_open(path, &writer, &error), error);
  if (wide > 0) {
    poei_npz_writer_zip64_from(writer, wide);
  }
  check_ok(poei_npz_writer_add(writer, "x", POEI_F64, 3, shape, numbers, &error), error);
  check_ok(poei_npz_writer_add(writer, "sample_stats.lp", POEI_F32, 0, NULL, numbers, &error), error);
  check_ok(poei_npz_writer_add(writer, "none", POEI_BOOL, 2, none, NULL, &error), error);
  check_ok(poei_npz_writer_commit(writer, &error), error);
}

static void written_archive_comes_back(void **state) {
  (void)state;
  static double numbers[MANY];
  uint64_t seed = 1;
  for (size_t i = 0; i < MANY; i++) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    numbers[i] = i % 3 == 0 ? 0 : (double)(seed >> 11) * 0x1p-53;
  }
  const uint64_t wide[] = {0, 1, 1000, 30000};
  for (size_t i = 0; i < 4; i++) {
    const char *path = poet_temp_path("out.npz");
    poei_tensor_file *file = NULL;
    poe_error error = {0};
    write_three(path, wide[i], numbers);
    check_ok(poei_tensor_file_open(path, &file, &error), error);
    assert_int_equal(poei_tensor_file_count(file), 3);
    const poei_tensor *x = poei_tensor_file_find(file, "x");
    assert_int_equal(x->ndim, 3);
    assert_int_equal(x->shape[2], MANY / 10);
    assert_memory_equal(x->data, numbers, sizeof numbers);
    assert_int_equal(poei_tensor_file_find(file, "sample_stats.lp")->count, 1);
    assert_int_equal(poei_tensor_file_find(file, "none")->shape[1], 3);
    poei_tensor_file_close(file);
  }
}

static void bytes_are_a_function_of_the_arrays(void **state) {
  (void)state;
  static double numbers[MANY];
  char *one, *two;
  size_t n, m;
  poe_error error = {0};
  write_three(poet_temp_path("one.npz"), 0, numbers);
  write_three(poet_temp_path("two.npz"), 0, numbers);
  check_ok(poei_file_read(poet_temp_path("one.npz"), 1 << 20, &one, &n, &error), error);
  check_ok(poei_file_read(poet_temp_path("two.npz"), 1 << 20, &two, &m, &error), error);
  assert_int_equal(n, m);
  assert_memory_equal(one, two, n);
  assert_memory_equal(one + 10, "\0\0\x21\0", 4); /* midnight of 1 January 1980 */
  assert_int_equal(one[28], 0);                   /* no extra field: the sizes behind the data have 4 bytes */
  poei_free(one);
  poei_free(two);
}

/* The zip64 records, when they lie. */
static void hostile_zip64_is_refused(void **state) {
  (void)state;
  static const struct {
    size_t back; /* from the file's end: 22 end record, 20 locator, 56 zip64 end record */
    size_t width;
    uint64_t value;
    const char *part;
  } cases[] = {
      {42, 4, 0, "lacks the zip64 records"},
      {42 - 4, 4, 1, "split over several files"},
      {42 - 16, 4, 2, "split over several files"},
      {42 - 8, 8, UINT64_MAX, "not where it should be"},
      {42 - 8, 8, 0, "not where it should be"},
      {98, 4, 0, "not where it should be"},
      {98 - 16, 4, 1, "split over several files"},
      {98 - 24, 8, 1, "split over several files"},
      {98 - 40, 8, UINT64_MAX, "does not lie before its end record"},
      {98 - 48, 8, UINT64_MAX, "does not lie before its end record"},
      {98 - 40, 8, 10, "more entries than its directory has room for"},
      {98 + 28, 2, 2, "broken zip64 field"}, /* id of the last entry's extra field, 4 + 3 * 8 bytes */
  };
  static double numbers[MANY];
  char *data;
  size_t size;
  poe_error error = {0};
  write_three(poet_temp_path("wide.npz"), 1, numbers);
  check_ok(poei_file_read(poet_temp_path("wide.npz"), 1 << 20, &data, &size, &error), error);
  assert_int_equal(data[28], 20); /* the extra field that says that the sizes behind the data have 8 bytes */
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    static unsigned char copy[1 << 16];
    poei_tensor_file *file = NULL;
    size_t at = size - cases[i].back;
    memcpy(copy, data, size);
    for (size_t b = 0; b < cases[i].width; b++) {
      copy[at + b] = (unsigned char)(cases[i].value >> (8 * b) & 0xFF);
    }
    error = (poe_error){0};
    check_fails(poei_tensor_file_open(poet_temp_file("wide-bad.npz", copy, size), &file, &error), POE_E_FORMAT, error,
                cases[i].part);
  }
  poei_free(data);
}

/* Large noise is not squeezed, large patterns are; both come back. */
static void large_arrays(void **state) {
  (void)state;
  enum { N = 1 << 18 };
  double *x = poei_alloc(N, sizeof *x);
  for (int noise = 0; noise <= 1; noise++) {
    for (size_t i = 0; i < N; i++) {
      x[i] = (double)(i % 7);
    }
    if (noise) {
      poe_rng_normals(poe_rng_seed(1), N, x);
    }
    const char *path = poet_temp_path("large.npz");
    poei_npz_writer *writer = NULL;
    poei_tensor_file *file = NULL;
    poe_error error = {0};
    size_t n = N, small = 3;
    check_ok(poei_npz_writer_open(path, &writer, &error), error);
    check_ok(poei_npz_writer_add(writer, "x", POEI_F64, 1, &n, x, &error), error);
    check_ok(poei_npz_writer_add(writer, "y", POEI_F64, 1, &small, x, &error), error);
    check_ok(poei_npz_writer_commit(writer, &error), error);
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    size_t size = (size_t)status.st_size;
    assert_true(noise ? size > N * sizeof *x && size < N * sizeof *x + 8192 : size < N * sizeof *x / 20);
    check_ok(poei_tensor_file_open(path, &file, &error), error);
    assert_memory_equal(poei_tensor_file_find(file, "x")->data, x, N * sizeof *x);
    assert_memory_equal(poei_tensor_file_find(file, "y")->data, x, 3 * sizeof *x);
    poei_tensor_file_close(file);
  }
  poei_free(x);
}

static void writer_refuses_and_aborts(void **state) {
  (void)state;
  poei_npz_writer *writer = NULL;
  poei_tensor_file *file = NULL;
  poe_error error = {0};
  const size_t shape[1] = {1}, large[2] = {SIZE_MAX / 2, 3};
  const double number = 1;
  const char *path = poet_temp_path("refused.npz");
  check_ok(poei_npz_writer_open(path, &writer, &error), error);
  check_ok(poei_npz_writer_add(writer, "x", POEI_F64, 1, shape, &number, &error), error);
  check_fails(poei_npz_writer_add(writer, "x", POEI_F64, 1, shape, &number, &error), POE_E_USAGE, error, "already");
  check_fails(poei_npz_writer_add(writer, "\xC0", POEI_F64, 1, shape, &number, &error), POE_E_USAGE, error, "UTF-8");
  check_fails(poei_npz_writer_add(writer, "y", POEI_BF16, 1, shape, &number, &error), POE_E_UNSUPPORTED, error, "BF16");
  check_fails(poei_npz_writer_add(writer, "y", POEI_F64, 2, large, &number, &error), POE_E_USAGE, error, "too large");
  check_fails(poei_npz_writer_add(writer, "y", POEI_F64, 9, NULL, &number, &error), POE_E_USAGE, error, "9 dimensions");
  check_ok(poei_npz_writer_commit(writer, &error), error); /* refusals leave the archive whole */
  check_ok(poei_tensor_file_open(path, &file, &error), error);
  assert_int_equal(poei_tensor_file_count(file), 1);
  poei_tensor_file_close(file);

  check_ok(poei_npz_writer_open(path, &writer, &error), error);
  poei_npz_writer_abort(writer);
  poei_npz_writer_abort(NULL);
  check_ok(poei_tensor_file_open(path, &file, &error), error); /* the old file is there */
  poei_tensor_file_close(file);

  check_fails(poei_npz_writer_open(poet_temp_path("no/where.npz"), &writer, &error), POE_E_FILE, error, "No such file");
  static double numbers[MANY * 20];
  const size_t many[1] = {MANY * 20};
  for (size_t i = 0; i < MANY * 20; i++) {
    numbers[i] = 1.0 / (double)(i + 1);
  }
  check_ok(poei_npz_writer_open("/dev/full", &writer, &error), error);
  check_fails(poei_npz_writer_add(writer, "x", POEI_F64, 1, many, numbers, &error), POE_E_FILE, error,
              "'x': cannot write");
  check_fails(poei_npz_writer_commit(writer, &error), POE_E_FILE, error, "/dev/full");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(good_archive_is_read),
      cmocka_unit_test(empty_archive_is_read),
      cmocka_unit_test(hostile_archives_are_refused),
      cmocka_unit_test(hostile_members_are_refused),
      cmocka_unit_test(comments_and_names_are_accepted),
      cmocka_unit_test(written_archive_comes_back),
      cmocka_unit_test(bytes_are_a_function_of_the_arrays),
      cmocka_unit_test(hostile_zip64_is_refused),
      cmocka_unit_test(large_arrays),
      cmocka_unit_test(writer_refuses_and_aborts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
