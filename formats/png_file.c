/* 8-bit grey and RGB pictures as PNG (ISO/IEC 15948) through libpng, whose memory comes from our allocator and whose
 * errors come back by longjmp. Invariant: nothing but the png_writer changes between setjmp and longjmp. */
#include "formats/png_file.h"

#include <png.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>

#include "core/alloc.h"
#include "formats/atomic_file.h"
#include "formats/file_error.h"

typedef struct png_writer {
  png_structp png;
  png_infop info;
  FILE *out;
  bool no_memory;
  char reason[96];
} png_writer;

static void png_writer_error(png_structp png, png_const_charp reason) {
  png_writer *writer = png_get_error_ptr(png);
  snprintf(writer->reason, sizeof writer->reason, "%s", reason);
  png_longjmp(png, 1);
}

static void png_writer_warning(png_structp png, png_const_charp reason) {
  (void)png;
  (void)reason;
}

static png_voidp png_writer_alloc(png_structp png, png_alloc_size_t size) {
  png_writer *writer = png_get_mem_ptr(png);
  void *memory = poei_alloc(size, 1);
  writer->no_memory |= memory == NULL;
  return memory;
}

static void png_writer_free(png_structp png, png_voidp memory) {
  (void)png;
  poei_free(memory);
}

static void png_writer_put(png_structp png, png_bytep data, size_t size) {
  png_writer *writer = png_get_io_ptr(png);
  if (fwrite(data, 1, size, writer->out) != size) {
    png_error(png, "write failed");
  }
}

static void png_writer_flush(png_structp png) {
  (void)png;
}

/* False when libpng gave up; writer->reason then says why. */
static bool png_encode(png_writer *writer, size_t width, size_t height, size_t channels, const uint8_t *pixels) {
  writer->png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, writer, png_writer_error, png_writer_warning, writer,
                                          png_writer_alloc, png_writer_free);
  if (writer->png == NULL) {
    return false;
  }
  if (setjmp(png_jmpbuf(writer->png)) != 0) {
    return false;
  }
  writer->info = png_create_info_struct(writer->png);
  if (writer->info == NULL) {
    return false;
  }
  png_set_write_fn(writer->png, writer, png_writer_put, png_writer_flush);
  png_set_IHDR(writer->png, writer->info, (png_uint_32)width, (png_uint_32)height, 8,
               channels == 1 ? PNG_COLOR_TYPE_GRAY : PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_BASE,
               PNG_FILTER_TYPE_BASE);
  png_write_info(writer->png, writer->info);
  for (size_t row = 0; row < height; row++) {
    png_write_row(writer->png, pixels + row * width * channels);
  }
  png_write_end(writer->png, NULL);
  return true;
}

poe_status poei_png_write(const char *path, size_t width, size_t height, size_t channels, const uint8_t *pixels,
                          poe_error *error) {
  enum { LARGEST = 1000000 }; /* libpng's own limit for a side */
  if (width == 0 || height == 0 || width > LARGEST || height > LARGEST) {
    return poei_file_error(error, POE_E_USAGE, path, NULL, "a picture of %zu x %zu pixels (sides are 1 to %d)", width,
                           height, LARGEST);
  }
  if (channels != 1 && channels != 3) {
    return poei_file_error(error, POE_E_USAGE, path, NULL, "%zu channels (1 is grey, 3 is rgb)", channels);
  }
  poei_atomic_file *file;
  poe_status status = poei_atomic_open(path, &file, error);
  if (status != POE_OK) {
    return status;
  }
  png_writer writer = {.out = poei_atomic_stream(file)};
  bool done = png_encode(&writer, width, height, channels, pixels);
  png_destroy_write_struct(&writer.png, &writer.info);
  if (done || ferror(writer.out)) {
    return poei_atomic_commit(file, error); /* which says what the system said of a failed write */
  }
  poei_atomic_abort(file);
  return writer.no_memory
             ? poei_file_memory_error(error, path)
             : poei_file_error(error, POE_E_FILE, path, NULL, "cannot be written as PNG: %s", writer.reason);
}
