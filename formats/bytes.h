/* Little-endian numbers at any address. Compilers turn these into single loads and stores where the machine allows. */
#ifndef POE_FORMATS_BYTES_H
#define POE_FORMATS_BYTES_H

#include <stdint.h>

static inline uint16_t poei_load_u16(const unsigned char *at) {
  return (uint16_t)(at[0] | (unsigned)at[1] << 8);
}

static inline uint32_t poei_load_u32(const unsigned char *at) {
  return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static inline uint64_t poei_load_u64(const unsigned char *at) {
  return (uint64_t)poei_load_u32(at) | (uint64_t)poei_load_u32(at + 4) << 32;
}

static inline void poei_store_u16(unsigned char *at, unsigned value) {
  at[0] = (unsigned char)(value & 0xFF);
  at[1] = (unsigned char)(value >> 8 & 0xFF);
}

static inline void poei_store_u32(unsigned char *at, uint32_t value) {
  poei_store_u16(at, value & 0xFFFF);
  poei_store_u16(at + 2, value >> 16);
}

static inline void poei_store_u64(unsigned char *at, uint64_t value) {
  poei_store_u32(at, (uint32_t)(value & 0xFFFFFFFF));
  poei_store_u32(at + 4, (uint32_t)(value >> 32));
}

#endif
