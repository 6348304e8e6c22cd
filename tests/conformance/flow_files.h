/* Writing random normalizing flows as model files, piece by piece: each piece adds its tensors and its layer. */
#ifndef POE_TESTS_FLOW_FILES_H
#define POE_TESTS_FLOW_FILES_H

#include "formats/tensor_write.h"

enum { FLOW_TENSORS = 160, FLOW_TEXT = 1 << 16 };

typedef struct flow_maker {
  uint32_t site; /* of the random numbers */
  poei_dtype dtype;
  size_t n;
  poei_tensor tensors[FLOW_TENSORS];
  char names[FLOW_TENSORS][24];
  void *owned[FLOW_TENSORS];
  char layers[FLOW_TEXT];
  const char *base; /* JSON, NULL: none */
} flow_maker;

/* seed: which random weights. dtype F32 or F64 (rounded to single either way, so that both hold the same numbers). */
flow_maker *flow_maker_start(uint32_t seed, poei_dtype dtype);
/* A tensor of normal numbers times scale; returns its name. */
const char *flow_maker_random(flow_maker *m, size_t ndim, const size_t *shape, double scale);
const char *flow_maker_tensor(flow_maker *m, size_t ndim, const size_t *shape, const double *numbers);
/* Appends a layer, a JSON object without its end: the text, then e.g. a network and "}". */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void flow_maker_text(flow_maker *m, const char *format, ...);
/* ", "layers": [...]": in -> hidden tanh -> hidden tanh -> out, output weights times scale. */
void flow_maker_mlp(flow_maker *m, size_t in, size_t hidden, size_t out, double scale);
/* The same with the masks of a MADE over d coordinates and out = d * parameters numbers (interleaved: those of a
 * coordinate next to each other). */
void flow_maker_made(flow_maker *m, size_t d, size_t hidden, size_t parameters, bool interleaved, double scale);
/* Convolutions 3 x 3 of [in, h, w] to [out, h, w]. */
void flow_maker_conv(flow_maker *m, size_t in, size_t hidden, size_t out, double scale);
/* Writes the file, frees the maker, returns the path. shape: JSON. */
const char *flow_maker_write(flow_maker *m, const char *file, const char *shape);

/* Whole flows. X(word, dimension) */
#define FLOW_KIND_LIST(X)                                                                                              \
  X(additive, 2)        /* additive couplings, affine in between                */                                     \
  X(coupling, 2)        /* affine couplings, exponential of tanh                */                                     \
  X(coupling_wide, 5)   /* odd and even, LU, permutation, inverse, interleaved  */                                     \
  X(maf, 2)             /* two masked autoregressive layers                     */                                     \
  X(maf_wide, 5)        /* the same, softplus scales                            */                                     \
  X(iaf, 3)             /* two inverse autoregressive layers                    */                                     \
  X(iaf_plane, 2)       /*                                                      */                                     \
  X(iaf_inverse, 4)     /* with the inverse of the curve                        */                                     \
  X(spline_coupling, 2) /* rational-quadratic, linear tails                     */                                     \
  X(spline_maf, 3)      /* the same, autoregressive                             */                                     \
  X(spline_plane, 2)    /* one layer of it                                      */                                     \
  X(spline_wide, 5)     /* knots by exponentials, inverse, both kinds           */                                     \
  X(spline_iaf, 3)      /* read from the noise                                  */                                     \
  X(linear_student, 3)  /* a dense matrix and a Student base                    */                                     \
  X(laplace_base, 5)    /* coupling and a Laplace base with location and scale  */                                     \
  X(logistic_base, 2)   /*                                                      */                                     \
  X(logit_plane, 2)     /* on (0, 1)                                            */                                     \
  X(image, 16)          /* [1, 4, 4]: everything an image flow is made of       */

typedef enum flow_kind {
#define FLOW_KIND_ENUM(word, d) FLOW_##word,
  FLOW_KIND_LIST(FLOW_KIND_ENUM)
#undef FLOW_KIND_ENUM
      FLOW_KINDS
} flow_kind;

size_t flow_kind_dim(flow_kind kind);
const char *flow_kind_name(flow_kind kind);
/* Writes the file once; later calls give the same path. */
const char *flow_kind_file(flow_kind kind, uint32_t seed, poei_dtype dtype);

#endif
