/* Tables and image grids: the text and the pixels. */
#include <math.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "report/image_grid.h"
#include "report/table.h"
#include "tests/support/check.h"

/* ---- tables ---- */

static void printed(const poei_table *table, poe_status expected, char *text, size_t size) {
  memset(text, 0, size);
  FILE *out = fmemopen(text, size, "w");
  assert_int_equal(poei_table_print(table, out), expected);
  fclose(out);
}

static void test_table(void **state) {
  (void)state;
  poei_table *table = poei_table_create(3);
  static const char *const cells[] = {"name", "p", "q", "a", "1.25", "x", "longer", "3", "\xc2\xb1 7", "last", "0"};
  for (size_t i = 0; i < sizeof cells / sizeof cells[0]; i++) {
    poei_table_cell(table, "%s", cells[i]);
  }
  char text[1024];
  printed(table, POE_OK, text, sizeof text);
  assert_string_equal(text, "name       p    q\n"
                            "-----------------\n"
                            "a       1.25    x\n"
                            "longer     3  \xc2\xb1 7\n"
                            "last       0\n");
  poei_table_free(table);
  poei_table_free(NULL);
  table = poei_table_create(1); /* no cell */
  printed(table, POE_OK, text, sizeof text);
  assert_string_equal(text, "");
  poei_table_free(table);
}

static void test_table_memory(void **state) {
  (void)state;
  char text[256];
  poei_alloc_fail_at(1);
  assert_null(poei_table_create(2));
  for (uint64_t n = 1; n <= 2; n++) { /* the array, a cell */
    poei_table *table = poei_table_create(2);
    poei_alloc_fail_at(n);
    poei_table_cell(table, "lost");
    poei_alloc_fail_at(0);
    poei_table_cell(table, "kept");
    printed(table, POE_E_MEMORY, text, sizeof text);
    assert_string_equal(text, "");
    poei_table_free(table);
  }
}

/* ---- grids ---- */

typedef struct picture {
  size_t width, height;
  unsigned char *pixels; /* [height, width] */
} picture;

static picture picture_read(const char *path) {
  png_image image = {.version = PNG_IMAGE_VERSION};
  assert_true(png_image_begin_read_from_file(&image, path) != 0);
  image.format = PNG_FORMAT_GRAY;
  picture p = {image.width, image.height, malloc(PNG_IMAGE_SIZE(image))};
  assert_true(png_image_finish_read(&image, NULL, p.pixels, 0, NULL) != 0);
  return p;
}

static unsigned char pixel(const picture *p, size_t x, size_t y) {
  assert_true(x < p->width && y < p->height);
  return p->pixels[y * p->width + x];
}

/* Sizes of the drawing: margin 12, captions of 7 x 2 dots and 10 below, gaps of 2, small images 4 times as large. */
static void test_grid(void **state) {
  (void)state;
  poe_error error = {0};
  static const double images[3][4] = {{0.0, 1.0, 0.5, 0.25}, {-7.0, 3.0, INFINITY, NAN}, {1.0, 1.0, 1.0, 0.0}};
  const poei_image_band bands[2] = {{"I", 3, images[0]}, {"\xc3\xa9", 1, images[2]}};
  const char *path = poet_temp_path("grid.png");
  check_ok(poei_image_grid_check(2, 2, 2, 2, bands, &error), error);
  check_ok(poei_image_grid_write(path, 2, 2, 2, 2, bands, &error), error);
  picture p = picture_read(path);
  size_t cell = 2 * 4 + 2, caption = 24;
  assert_int_equal(p.width, 2 * 12 + 2 * cell + (2 * cell < 24 ? 24 - 2 * cell : 0));
  assert_int_equal(p.height, 12 + (caption + 2 * cell + 12) + (caption + cell + 12));
  /* the caption: a capital I is 3 dots wide at the top, of 2 x 2 pixels, its stem in the middle */
  assert_int_equal(pixel(&p, 12 + 0, 12), 255);
  assert_int_equal(pixel(&p, 12 + 2, 12), 20);
  assert_int_equal(pixel(&p, 12 + 7, 12), 20);
  assert_int_equal(pixel(&p, 12 + 8, 12), 255);
  assert_int_equal(pixel(&p, 12 + 2, 12 + 4), 255);
  assert_int_equal(pixel(&p, 12 + 4, 12 + 4), 20);
  assert_int_equal(pixel(&p, 0, 0), 255);
  /* images: the first, the clipped second beside it, the third below */
  size_t y = 12 + caption;
  static const unsigned char first[4] = {0, 255, 128, 64}, second[4] = {0, 255, 255, 0}, third[4] = {255, 255, 255, 0};
  for (size_t k = 0; k < 4; k++) {
    size_t dx = k % 2 * 4, dy = k / 2 * 4;
    for (size_t corner = 0; corner < 2; corner++) {
      assert_int_equal(pixel(&p, 12 + dx + 3 * corner, y + dy + 3 * corner), first[k]);
      assert_int_equal(pixel(&p, 12 + cell + dx + 3 * corner, y + dy + 3 * corner), second[k]);
      assert_int_equal(pixel(&p, 12 + dx + 3 * corner, y + cell + dy + 3 * corner), third[k]);
    }
  }
  assert_int_equal(pixel(&p, 12 + 8, y), 255); /* the gap */
  /* what is not ASCII is left blank */
  for (size_t x = 0; x < p.width; x++) {
    assert_int_equal(pixel(&p, x, y + 2 * cell + 12 + 4), 255);
  }
  free(p.pixels);
}

static void test_grid_refused(void **state) {
  (void)state;
  poe_error error = {0};
  static const double image[4] = {0};
  const char *path = poet_temp_path("absurd.png");
  const poei_image_band one = {"x", 1, image};
  static const size_t absurd[][3] = {/* height, width, columns */
                                     {0, 2, 2},        {2, 0, 2},    {2, 2, 0},        {5000, 2, 2},
                                     {2, SIZE_MAX, 2}, {2, 2, 3000}, {2, 2, SIZE_MAX}, {4096, 4096, 5}};
  for (size_t i = 0; i < sizeof absurd / sizeof absurd[0]; i++) {
    check_fails(poei_image_grid_write(path, absurd[i][0], absurd[i][1], absurd[i][2], 1, &one, &error), POE_E_SHAPE,
                error, "");
  }
  static const size_t many[] = {20000, SIZE_MAX, SIZE_MAX / 10};
  for (size_t i = 0; i < 3; i++) {
    const poei_image_band band = {"x", many[i], image};
    check_fails(poei_image_grid_check(2, 2, 2, 1, &band, &error), POE_E_SHAPE, error, "too large");
  }
  check_fails(poei_image_grid_write("/none/such.png", 2, 2, 2, 1, &one, &error), POE_E_FILE, error, "/none/such");
  for (uint64_t n = 1; n < 4; n++) {
    poei_alloc_fail_at(n);
    poe_status status = poei_image_grid_write(path, 2, 2, 2, 1, &one, &error);
    poei_alloc_fail_at(0);
    assert_true(status == POE_E_MEMORY || status == POE_OK);
    assert_true(n > 1 || status == POE_E_MEMORY);
  }
}

/* A caption of any length is cut at the edge. */
static void test_grid_caption(void **state) {
  (void)state;
  poe_error error = {0};
  static const double image[4] = {0};
  static char caption[5000];
  memset(caption, 'M', sizeof caption - 1);
  const poei_image_band one = {caption, 1, image};
  const char *path = poet_temp_path("caption.png");
  check_ok(poei_image_grid_write(path, 2, 2, 2, 1, &one, &error), error);
  picture p = picture_read(path);
  assert_true(p.width < 3000);
  free(p.pixels);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_table),        cmocka_unit_test(test_table_memory), cmocka_unit_test(test_grid),
      cmocka_unit_test(test_grid_refused), cmocka_unit_test(test_grid_caption),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
