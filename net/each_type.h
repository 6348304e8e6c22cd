/* Compiles the kernels in the file POEI_KERNELS for float and for double: they see REAL, NAME(x), the functions of
 * that type, and what kernels share (below). Included by the files of operators; has no guard. */
#define REAL float
#define NAME(x) x##_float
#define PRODUCT poei_product_float
#define PRODUCT_STEADY poei_product_steady_float
#define PRODUCT_BACK poei_product_back_float
#define PRODUCT_HEAD poei_product_head_float
#define ACTIVATE poei_activate_float
#define GEMM poei_sgemm
#include "net/shared_kernels.h"
#include POEI_KERNELS
#undef REAL
#undef NAME
#undef PRODUCT
#undef PRODUCT_STEADY
#undef PRODUCT_BACK
#undef PRODUCT_HEAD
#undef ACTIVATE
#undef GEMM

#define REAL double
#define NAME(x) x##_double
#define PRODUCT poei_product_double
#define PRODUCT_STEADY poei_product_steady_double
#define PRODUCT_BACK poei_product_back_double
#define PRODUCT_HEAD poei_product_head_double
#define ACTIVATE poei_activate_double
#define GEMM poei_dgemm
#include "net/shared_kernels.h"
#include POEI_KERNELS
#undef REAL
#undef NAME
#undef PRODUCT
#undef PRODUCT_STEADY
#undef PRODUCT_BACK
#undef PRODUCT_HEAD
#undef ACTIVATE
#undef GEMM
