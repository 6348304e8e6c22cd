/* Whole files, atomic files, pictures, JSON and digests. */
#include <dirent.h>
#include <math.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/alloc.h"
#include "formats/file_error.h"
#include "formats/text_file.h"
#include "tests/support/check.h"

static void check_content(const char *path, const char *expected) {
  char *text;
  size_t size;
  poe_error error = {0};
  check_ok(poei_file_read(path, 1 << 20, &text, &size, &error), error);
  assert_int_equal(size, strlen(expected));
  assert_string_equal(text, expected);
  poei_free(text);
}

/* Files in the temporary directory whose name holds `part`. */
static int count_files(const char *part) {
  int n = 0;
  DIR *dir = opendir(poet_temp_dir());
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
    n += strstr(entry->d_name, part) != NULL;
  }
  closedir(dir);
  return n;
}

static poe_status write_text(const char *path, const char *text, poe_error *error) {
  poei_atomic_file *file;
  poe_status status = poei_atomic_open(path, &file, error);
  if (status != POE_OK) {
    return status;
  }
  assert_string_equal(poei_atomic_path(file), path);
  fputs(text, poei_atomic_stream(file));
  return poei_atomic_commit(file, error);
}

static void whole_files_are_read(void **state) {
  (void)state;
  static char large[100001];
  char *text = NULL;
  size_t size = 7;
  poe_error error = {0};
  check_content(poet_temp_file("empty.txt", "", 0), "");
  memset(large, 'a', sizeof large - 1);
  check_content(poet_temp_file("large.txt", large, sizeof large - 1), large);
  check_content(poet_temp_file("edge.txt", large, 4095), large + sizeof large - 4096);
  const char *path = poet_temp_path("large.txt");
  check_ok(poei_file_read(path, 100000, &text, &size, &error), error);
  poei_free(text);
  size = 7;
  check_fails(poei_file_read(path, 99999, &text, &size, &error), POE_E_FILE, error, "longer than the 99999 bytes");
  check_fails(poei_file_read("/dev/zero", 100000, &text, &size, &error), POE_E_FILE, error, "longer than");
  check_fails(poei_file_read(poet_temp_path("absent"), 1, &text, &size, &error), POE_E_FILE, error,
              "absent': No such file");
  check_fails(poei_file_read(poet_temp_dir(), 1, &text, &size, &error), POE_E_FILE, error, "Is a directory");
  assert_int_equal(size, 7);
}

static void atomic_files_appear_when_complete(void **state) {
  (void)state;
  const char *path = poet_temp_path("atomic.txt");
  poei_atomic_file *file;
  poe_error error = {0};
  check_ok(write_text(path, "old", &error), error);
  check_content(path, "old");
  check_ok(poei_atomic_open(path, &file, &error), error);
  fputs("new", poei_atomic_stream(file));
  fflush(poei_atomic_stream(file));
  check_content(path, "old");
  assert_int_equal(count_files("atomic.txt"), 2);
  check_ok(poei_atomic_commit(file, &error), error);
  check_content(path, "new");
  check_ok(poei_atomic_open(path, &file, &error), error);
  fputs("newer", poei_atomic_stream(file));
  poei_atomic_abort(file);
  poei_atomic_abort(NULL);
  check_content(path, "new");
  assert_int_equal(count_files("atomic.txt"), 1);
}

static void atomic_files_keep_mode_and_links(void **state) {
  (void)state;
  const char *path = poet_temp_path("mode.txt"), *link = poet_temp_path("link.txt");
  struct stat info;
  poe_error error = {0};
  mode_t mask = umask(027);
  check_ok(write_text(path, "a", &error), error);
  umask(mask);
  assert_int_equal(stat(path, &info), 0);
  assert_int_equal(info.st_mode & 0777, 0640);
  assert_int_equal(chmod(path, 0604), 0);
  assert_int_equal(symlink("mode.txt", link), 0);
  check_ok(write_text(link, "b", &error), error);
  check_content(path, "b");
  assert_int_equal(lstat(link, &info), 0);
  assert_true(S_ISLNK(info.st_mode));
  assert_int_equal(stat(path, &info), 0);
  assert_int_equal(info.st_mode & 0777, 0604);
}

static void two_writers_do_not_meet(void **state) {
  (void)state;
  const char *path = poet_temp_path("both.txt");
  poei_atomic_file *one, *two;
  poe_error error = {0};
  check_ok(poei_atomic_open(path, &one, &error), error);
  check_ok(poei_atomic_open(path, &two, &error), error);
  fputs("one", poei_atomic_stream(one));
  fputs("two", poei_atomic_stream(two));
  check_ok(poei_atomic_commit(two, &error), error);
  check_content(path, "two");
  check_ok(poei_atomic_commit(one, &error), error);
  check_content(path, "one");
}

static void write_failures_are_named(void **state) {
  (void)state;
  poe_error error = {0};
  check_fails(write_text("/dev/full", "text", &error), POE_E_FILE, error, "cannot write '/dev/full': No space left");
  check_fails(write_text(poet_temp_path("no/file.txt"), "", &error), POE_E_FILE, error, "no/file.txt': No such file");
  check_fails(write_text(poet_temp_dir(), "", &error), POE_E_FILE, error, "Is a directory");
  struct stat info; /* devices are written, not replaced */
  check_ok(write_text("/dev/null", "text", &error), error);
  assert_int_equal(stat("/dev/null", &info), 0);
  assert_true(S_ISCHR(info.st_mode));
  assert_int_equal(count_files(".part"), 0);
}

/* The target's place is taken by a directory between open and commit. */
static void failed_rename_leaves_no_file(void **state) {
  (void)state;
  const char *path = poet_temp_path("taken");
  poei_atomic_file *file;
  poe_error error = {0};
  check_ok(poei_atomic_open(path, &file, &error), error);
  assert_int_equal(mkdir(path, 0700), 0);
  check_fails(poei_atomic_commit(file, &error), POE_E_FILE, error, "taken': Is a directory");
  assert_int_equal(rmdir(path), 0);
  assert_int_equal(count_files("taken"), 0);
}

static void pictures_come_back(void **state) {
  (void)state;
  enum { WIDTH = 5, HEIGHT = 3 };
  uint8_t pixels[HEIGHT * WIDTH * 3], back[HEIGHT * WIDTH * 3];
  for (size_t i = 0; i < sizeof pixels; i++) {
    pixels[i] = (uint8_t)(i * 37);
  }
  for (size_t channels = 1; channels <= 3; channels += 2) {
    const char *path = poet_temp_path("out.png");
    poe_error error = {0};
    png_image image = {.version = PNG_IMAGE_VERSION};
    check_ok(poei_png_write(path, WIDTH, HEIGHT, channels, pixels, &error), error);
    assert_int_not_equal(png_image_begin_read_from_file(&image, path), 0);
    assert_int_equal(image.width, WIDTH);
    assert_int_equal(image.height, HEIGHT);
    assert_int_equal(image.format, channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB);
    assert_int_not_equal(png_image_finish_read(&image, NULL, back, 0, NULL), 0);
    assert_memory_equal(back, pixels, HEIGHT * WIDTH * channels);
  }
  poe_error error = {0};
  const char *path = poet_temp_path("bad.png");
  check_fails(poei_png_write(path, 0, 1, 1, pixels, &error), POE_E_USAGE, error, "0 x 1 pixels");
  check_fails(poei_png_write(path, 1, 2000000, 1, pixels, &error), POE_E_USAGE, error, "1 x 2000000 pixels");
  check_fails(poei_png_write(path, 1, 1, 2, pixels, &error), POE_E_USAGE, error, "2 channels");
  check_fails(poei_png_write("/dev/full", 5, 3, 1, pixels, &error), POE_E_FILE, error, "No space");
  check_fails(poei_png_write(poet_temp_path("no/x.png"), 5, 3, 1, pixels, &error), POE_E_FILE, error, "No such file");
  assert_int_equal(count_files("bad.png"), 0);
}

static void json_numbers_are_numbers_or_words(void **state) {
  (void)state;
  const double values[] = {0.1, INFINITY, -INFINITY, NAN, 0};
  json_t *array = poei_json_numbers(values, 5);
  poe_error error = {0};
  check_close(json_real_value(json_array_get(array, 0)), 0.1, 0, 0);
  assert_string_equal(json_string_value(json_array_get(array, 1)), "inf");
  assert_string_equal(json_string_value(json_array_get(array, 2)), "-inf");
  assert_string_equal(json_string_value(json_array_get(array, 3)), "nan");
  assert_true(json_is_real(json_array_get(array, 4)));
  const char *path = poet_temp_path("out.json");
  check_ok(poei_json_write(path, array, &error), error);
  char *text;
  size_t size;
  check_ok(poei_file_read(path, 1000, &text, &size, &error), error);
  json_t *back = poei_json_parse(text, size, &error);
  assert_true(json_equal(array, back));
  assert_int_equal(text[size - 1], '\n');
  poei_free(text);
  json_decref(back);
  json_decref(array);
  array = poei_json_numbers(values, 0);
  check_fails(poei_json_write("/dev/full", array, &error), POE_E_FILE, error, "No space");
  json_decref(array);
}

static void json_errors_have_a_place(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int line;
    const char *part;
  } bad[] = {{"{\"a\": 1,\n \"a\": 2}", 2, "line 2"},
             {"[1,\n2,,]", 2, "line 2"},
             {"", 1, "not JSON"},
             {"{} {}", 1, "line 1"},
             {"[\"\\u0000\"]", 1, "line 1"},
             {"nan", 1, "line 1"},
             {"\"\xFF\"", 1, "not JSON"}};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    poe_error error = {0};
    assert_null(poei_json_parse(bad[i].text, strlen(bad[i].text), &error));
    check_fails(error.status, POE_E_FORMAT, error, bad[i].part);
    assert_int_equal(error.line, bad[i].line);
  }
  static char deep[100000];
  memset(deep, '[', sizeof deep);
  poe_error error = {0};
  assert_null(poei_json_parse(deep, sizeof deep, &error));
  check_fails(error.status, POE_E_FORMAT, error, "depth");
}

/* FIPS 180-4 examples, and lengths around the padding's edges by their file and by their bytes. */
static void digests_are_sha256(void **state) {
  (void)state;
  static const struct {
    const char *text, *hex;
  } known[] = {
      {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
      {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
      {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
       "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
  };
  char hex[65];
  poe_error error = {0};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    poei_sha256(known[i].text, strlen(known[i].text), hex);
    assert_string_equal(hex, known[i].hex);
    const char *path = poet_temp_file("digest", known[i].text, strlen(known[i].text));
    check_ok(poei_sha256_file(path, hex, &error), error);
    assert_string_equal(hex, known[i].hex);
  }
  static char million[1000000];
  memset(million, 'a', sizeof million);
  check_ok(poei_sha256_file(poet_temp_file("million", million, sizeof million), hex, &error), error);
  assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  for (size_t size = 50; size < 140; size++) {
    char other[65];
    check_ok(poei_sha256_file(poet_temp_file("digest", million, size), hex, &error), error);
    poei_sha256(million, size, other);
    assert_string_equal(hex, other);
  }
  check_fails(poei_sha256_file(poet_temp_path("absent"), hex, &error), POE_E_FILE, error, "No such file");
  check_fails(poei_sha256_file(poet_temp_dir(), hex, &error), POE_E_FILE, error, "Is a directory");
}

static void texts_are_made_fit_to_show(void **state) {
  (void)state;
  static const struct {
    const char *text, *shown;
    bool valid;
  } cases[] = {{"plain", "plain", true},
               {"\xC3\xA4 \xE2\x82\xAC \xF0\x9F\x98\x80", "\xC3\xA4 \xE2\x82\xAC \xF0\x9F\x98\x80", true},
               {"\x1b[31m\n\x7F", "?[31m??", true},
               {"\xC2\x9B"
                "31m",
                "?31m", true},
               {"\xFF", "?", false},
               {"\xC0\x80", "??", false},
               {"\xE0\x80\x80", "???", false},
               {"\xED\xA0\x80", "???", false},
               {"\xF4\x90\x80\x80", "????", false},
               {"\xF0\x80\x80\x80", "????", false},
               {"\xE2\x82", "??", false},
               {"\xE2\x82x", "??x", false}};
  poei_shown shown;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    assert_string_equal(poei_show(&shown, cases[i].text, strlen(cases[i].text)), cases[i].shown);
    assert_int_equal(poei_utf8_valid(cases[i].text, strlen(cases[i].text)), cases[i].valid);
  }
  char text[301];
  for (size_t i = 0; i < 300; i += 3) {
    memcpy(text + i, "\xE2\x82\xAC", 3);
  }
  text[300] = '\0';
  poei_show(&shown, text, 300);
  assert_true(poei_utf8_valid(shown.text, strlen(shown.text)) && strlen(shown.text) < sizeof shown.text);
  assert_string_equal(shown.text + strlen(shown.text) - 3, "...");
  memset(text, 'p', 300);
  memcpy(text + 290, "/file.npz", 10);
  poei_show_path(&shown, text);
  assert_memory_equal(shown.text, "...p", 4);
  assert_string_equal(shown.text + strlen(shown.text) - 9, "/file.npz");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(whole_files_are_read),
      cmocka_unit_test(atomic_files_appear_when_complete),
      cmocka_unit_test(atomic_files_keep_mode_and_links),
      cmocka_unit_test(two_writers_do_not_meet),
      cmocka_unit_test(write_failures_are_named),
      cmocka_unit_test(failed_rename_leaves_no_file),
      cmocka_unit_test(pictures_come_back),
      cmocka_unit_test(json_numbers_are_numbers_or_words),
      cmocka_unit_test(json_errors_have_a_place),
      cmocka_unit_test(digests_are_sha256),
      cmocka_unit_test(texts_are_made_fit_to_show),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
