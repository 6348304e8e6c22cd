/* Activation functions, fused with the bias they follow and with the derivative that reverse mode will want.
 *
 * One pass reads z + bias and writes the activation and, when wanted, its derivative; the backward pass is then a
 * multiplication, and no exponential is computed twice. The list below is the whole set; formulas and conventions are
 * those of PyTorch (docs/MODEL-FORMAT.md). Each element goes through the same instructions whatever its position, so a
 * row's bits do not depend on where it stands.
 */
#ifndef POE_NET_ACTIVATION_H
#define POE_NET_ACTIVATION_H

#include <stddef.h>

/* X(name, word in files and in the language, default of its parameter) */
#define POEI_ACTIVATION_LIST(X)                                                                                        \
  X(IDENTITY, identity, 0.0)                                                                                           \
  X(RELU, relu, 0.0)                                                                                                   \
  X(LEAKY_RELU, leaky_relu, 0.01)                                                                                      \
  X(ELU, elu, 1.0)                                                                                                     \
  X(GELU, gelu, 0.0)                                                                                                   \
  X(GELU_TANH, gelu_tanh, 0.0)                                                                                         \
  X(SILU, silu, 0.0)                                                                                                   \
  X(SOFTPLUS, softplus, 0.0)                                                                                           \
  X(TANH, tanh, 0.0)                                                                                                   \
  X(SIGMOID, sigmoid, 0.0)

typedef enum poei_activation {
#define POEI_ACTIVATION_ENUM(name, word, parameter) POEI_##name,
  POEI_ACTIVATION_LIST(POEI_ACTIVATION_ENUM)
#undef POEI_ACTIVATION_ENUM
      POEI_ACTIVATION_COUNT
} poei_activation;

/* The words of the list, "identity|relu|...", as an address constant: for parameter tables and messages. */
#define POEI_ACTIVATION_WORD(name, word, parameter) "|" #word
#define POEI_ACTIVATION_WORDS (&(POEI_ACTIVATION_LIST(POEI_ACTIVATION_WORD))[1])

/* "silu" ...; static text. */
const char *poei_activation_name(poei_activation activation);
/* Default of the activation's parameter: slope of leaky_relu, alpha of elu, else 0. */
double poei_activation_parameter(poei_activation activation);
/* The activation of that word (a trailing difference in case is not forgiven); POEI_ACTIVATION_COUNT when unknown. */
poei_activation poei_activation_find(const char *word);

/* y[r, c] = f(v) and, when d is not NULL, d[r, c] = f'(v), with v = z[r, c] + bias[r * row_step + c * column_step]
 * (bias NULL: no bias). z, y, d are [rows, width], contiguous; z may be y or d, never both y and d the same. At the
 * kinks of relu, leaky_relu and elu the derivative is the left one. */
void poei_activate_float(poei_activation activation, float parameter, size_t rows, size_t width, const float *bias,
                         size_t row_step, size_t column_step, const float *z, float *y, float *d);
void poei_activate_double(poei_activation activation, double parameter, size_t rows, size_t width, const double *bias,
                          size_t row_step, size_t column_step, const double *z, double *y, double *d);

#endif
