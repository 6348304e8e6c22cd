/* The numbers of a tensor as double or float. F16 is IEEE 754 binary16, BF16 the upper half of a binary32; both are
 * exact in float, as all types but F64, U32, I32 and the 64-bit integers are. */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "formats/bytes.h"
#include "formats/tensor_file.h"

static float number_from_bits32(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static double number_from_bits64(uint64_t bits) {
  double value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* Subnormals of binary16 are normal in binary32; infinities and NaN keep their payload. */
static float number_from_half(uint16_t half) {
  uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 0x1F, fraction = half & 0x3FF;
  if (exponent == 0) {
    float value = (float)fraction * 0x1p-24f;
    return sign != 0 ? -value : value;
  }
  if (exponent == 0x1F) {
    return number_from_bits32(sign | 0x7F800000 | fraction << 13);
  }
  return number_from_bits32(sign | (exponent + 112) << 23 | fraction << 13);
}

/* Two's complement without leaving defined behaviour. */
static int32_t number_signed(uint32_t value, unsigned bits) {
  uint32_t half = (uint32_t)1 << (bits - 1);
  return value < half ? (int32_t)value : (int32_t)(value - half) - (int32_t)(half - 1) - 1;
}

static int64_t number_signed64(uint64_t value) {
  return value <= INT64_MAX ? (int64_t)value : -(int64_t)(UINT64_MAX - value) - 1;
}

#define NUMBER_F64(at) number_from_bits64(poei_load_u64(at))
#define NUMBER_F32(at) number_from_bits32(poei_load_u32(at))
#define NUMBER_F16(at) number_from_half(poei_load_u16(at))
#define NUMBER_BF16(at) number_from_bits32((uint32_t)poei_load_u16(at) << 16)
#define NUMBER_I64(at) number_signed64(poei_load_u64(at))
#define NUMBER_I32(at) number_signed(poei_load_u32(at), 32)
#define NUMBER_I16(at) number_signed(poei_load_u16(at), 16)
#define NUMBER_I8(at) number_signed(*(at), 8)
#define NUMBER_U64(at) poei_load_u64(at)
#define NUMBER_U32(at) poei_load_u32(at)
#define NUMBER_U16(at) poei_load_u16(at)
#define NUMBER_U8(at) (*(at))
#define NUMBER_BOOL(at) (*(at) != 0)

void poei_tensor_to_double(const poei_tensor *tensor, double *out) {
  const unsigned char *at = tensor->data;
  size_t n = tensor->count;
  switch (tensor->dtype) {
#define NUMBER_TO_DOUBLE(name, size)                                                                                   \
  case POEI_##name:                                                                                                    \
    for (size_t i = 0; i < n; i++) {                                                                                   \
      out[i] = (double)NUMBER_##name(at + (size)*i);                                                                   \
    }                                                                                                                  \
    break;
    POEI_DTYPE_LIST(NUMBER_TO_DOUBLE)
#undef NUMBER_TO_DOUBLE
  }
}

void poei_tensor_to_float(const poei_tensor *tensor, float *out) {
  const unsigned char *at = tensor->data;
  size_t n = tensor->count;
  switch (tensor->dtype) {
#define NUMBER_TO_FLOAT(name, size)                                                                                    \
  case POEI_##name:                                                                                                    \
    for (size_t i = 0; i < n; i++) {                                                                                   \
      out[i] = (float)NUMBER_##name(at + (size)*i);                                                                    \
    }                                                                                                                  \
    break;
    POEI_DTYPE_LIST(NUMBER_TO_FLOAT)
#undef NUMBER_TO_FLOAT
  }
}
