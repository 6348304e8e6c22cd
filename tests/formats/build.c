#include "tests/formats/build.h"

#include <string.h>
#include <zlib.h>

#include "tests/support/check.h"

void build_put(build *out, const void *data, size_t size) {
  if (size > sizeof out->at - out->size) {
    fail_msg("the built file is too large");
  }
  memcpy(out->at + out->size, data, size);
  out->size += size;
}

void build_number(build *out, uint64_t value, size_t width) {
  for (size_t i = 0; i < width; i++) {
    unsigned char byte = (unsigned char)(value >> (8 * i) & 0xFF);
    build_put(out, &byte, 1);
  }
}

void build_safetensors(build *out, const char *header, size_t data) {
  out->size = 0;
  build_number(out, strlen(header), 8);
  build_put(out, header, strlen(header));
  for (size_t i = 0; i < data; i++) {
    build_number(out, i, 1);
  }
}

void build_npy(build *out, unsigned version, const char *dict, const void *data, size_t size) {
  size_t start = version == 1 ? 10 : 12, length = strlen(dict) + 1;
  length += (16 - (start + length) % 16) % 16;
  out->size = 0;
  build_put(out, "\x93NUMPY", 6);
  build_number(out, version, 2);
  build_number(out, length, version == 1 ? 2 : 4);
  build_put(out, dict, strlen(dict));
  for (size_t i = strlen(dict); i + 1 < length; i++) {
    build_put(out, " ", 1);
  }
  build_put(out, "\n", 1);
  build_put(out, data, size);
}

static size_t build_deflate(const build_member *member, unsigned char *out, size_t room) {
  z_stream z = {0};
  assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY), Z_OK);
  z.next_in = (Bytef *)member->data;
  z.avail_in = (uInt)member->size;
  z.next_out = out;
  z.avail_out = (uInt)room;
  assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
  size_t size = room - z.avail_out;
  deflateEnd(&z);
  return size;
}

void build_zip(build *out, const build_member *members, size_t n, build_zip_places *places) {
  static unsigned char packed[1 << 16];
  size_t packed_size[8];
  uint32_t crc[8];
  out->size = 0;
  for (size_t i = 0; i < n; i++) {
    const build_member *member = &members[i];
    places->local[i] = out->size;
    crc[i] = (uint32_t)crc32(0, member->data, (uInt)member->size);
    packed_size[i] = member->method == 8 ? build_deflate(member, packed, sizeof packed) : member->size;
    build_number(out, 0x04034B50, 4);
    build_number(out, 20, 2);
    build_number(out, 0, 2);
    build_number(out, member->method, 2);
    build_number(out, 0x00210000, 4);
    build_number(out, crc[i], 4);
    build_number(out, packed_size[i], 4);
    build_number(out, member->size - member->declared_less, 4);
    build_number(out, strlen(member->name), 2);
    build_number(out, 0, 2);
    build_put(out, member->name, strlen(member->name));
    places->data[i] = out->size;
    build_put(out, member->method == 8 ? packed : member->data, packed_size[i]);
    build_put(out, packed, member->tail);
    packed_size[i] += member->tail;
  }
  size_t start = out->size;
  for (size_t i = 0; i < n; i++) {
    places->central[i] = out->size;
    build_number(out, 0x02014B50, 4);
    build_number(out, 20 | 20 << 16, 4);
    build_number(out, 0, 2);
    build_number(out, members[i].method, 2);
    build_number(out, 0x00210000, 4);
    build_number(out, crc[i], 4);
    build_number(out, packed_size[i], 4);
    build_number(out, members[i].size - members[i].declared_less, 4);
    build_number(out, strlen(members[i].name), 2);
    build_number(out, 0, 8); /* extra field, note, disk, internal attributes */
    build_number(out, 0, 4); /* external attributes */
    build_number(out, places->local[i], 4);
    build_put(out, members[i].name, strlen(members[i].name));
  }
  places->end = out->size;
  build_number(out, 0x06054B50, 4);
  build_number(out, 0, 4);
  build_number(out, n, 2);
  build_number(out, n, 2);
  build_number(out, places->end - start, 4);
  build_number(out, start, 4);
  build_number(out, 0, 2);
}

const char *build_file(const build *bytes, const char *name) {
  return poet_temp_file(name, bytes->at, bytes->size);
}
