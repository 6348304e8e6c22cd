/* Normalizing flows: a chain of invertible layers from data to noise, and the noise's density.
 *
 *   z = f_L( ... f_2(f_1(x))),   log p(x) = log base(z) + sum_k log |det df_k|      (Tabak and Vanden-Eijnden 2010)
 *
 * A layer changes the first `view.count` of the d columns in place; columns that a `split` has taken out of the view
 * stay as they are. One evaluation is one nested call: a layer transforms the rows, lets the rest of the flow run
 * (poei_flow_rest), and on the way back turns the gradient at its output into the one at its input. What the way back
 * needs a layer keeps in the scratch meanwhile, so forwards and backwards are one pass each. States and
 * log-determinants are double; only the networks inside the layers compute in single precision, and both directions
 * see the same network outputs, which is why inverses are good to rounding.
 */
#ifndef POE_EXPERTS_FLOW_H
#define POE_EXPERTS_FLOW_H

#include "net/layers.h"
#include "poe/expert.h"

/* X(word): the layers a file may name; poei_flow_read_<word> reads one. */
#define POEI_FLOW_LAYER_LIST(X)                                                                                        \
  X(affine)         /* y = s x + t, elementwise: actnorm, batch normalisation         */                               \
  X(dequantize)     /* grey values to the middle of their cells                       */                               \
  X(logit)          /* y = logit(a + (1 - 2a) x)                                      */                               \
  X(permute)        /* y_i = x_perm(i), of coordinates or of channels                 */                               \
  X(reverse)        /* the order turned round                                         */                               \
  X(squeeze)        /* [c, h, w] -> [4c, h/2, w/2]                                    */                               \
  X(split)          /* half of the channels leave                                     */                               \
  X(linear)         /* y = W x + b, of coordinates or (1 x 1 convolution) of channels */                               \
  X(lu)             /* the same, W = P L U given by its factors                       */                               \
  X(coupling)       /* some coordinates transformed given the others                  */                               \
  X(autoregressive) /* each coordinate transformed given those before it              */

/* ---- evaluation ---- */

typedef struct poei_flow poei_flow;

/* One tile of rows on its way through the flow. */
typedef struct poei_flow_pass {
  const poei_flow *flow;
  size_t next;   /* layer that runs next                                                                    */
  size_t n, d;   /* rows, columns                                                                           */
  double *x;     /* [n, d] where the rows are                                                               */
  double *log_p; /* [n] sum of the log-determinants so far, at the end log p(x); -inf: outside              */
  double *grad;  /* [n, d] NULL: not wanted. Written by the base: d log p / d x at where the rows are then  */
  poe_scratch *scratch;
} poei_flow_pass;

/* Runs the layers from pass->next on and the base. */
poe_status poei_flow_rest(poei_flow_pass *pass, poe_error *error);

/* One kind of layer; `self` is immutable. */
typedef struct poei_bijector {
  /* Whether the image of a box is a box: every coordinate goes to one coordinate. */
  bool keeps_boxes;
  void (*destroy)(void *self);
  /* Bytes of apply (with POE_WANT_GRAD held while the rest runs, else released before) or, with POE_WANT_SAMPLE, of
   * invert. NULL: none. */
  size_t (*scratch)(const void *self, unsigned want, size_t n);
  /* Data to noise, then the rest, then the gradient from noise to data. */
  poe_status (*apply)(const void *self, poei_flow_pass *pass, poe_error *error);
  /* Noise to data: pass->x alone. */
  void (*invert)(const void *self, poei_flow_pass *pass);
} poei_bijector;

typedef struct poei_flow_layer {
  const poei_bijector *ops;
  void *self;
} poei_flow_layer;

/* ---- the density of the noise ---- */

typedef enum poei_flow_law {
  POEI_FLOW_NORMAL,
  POEI_FLOW_LOGISTIC,
  POEI_FLOW_LAPLACE,
  POEI_FLOW_STUDENT_T,
  POEI_FLOW_UNIFORM /* on (0, 1) before location and scale */
} poei_flow_law;
#define POEI_FLOW_LAW_WORDS "normal|logistic|laplace|student_t|uniform"

/* Independent coordinates z_j = location_j + scale_j e_j. */
typedef struct poei_flow_base {
  poei_flow_law law;
  double df;        /* STUDENT_T: degrees of freedom                             */
  double *location; /* [d]                                                       */
  double *scale;    /* [d] > 0                                                   */
  double constant;  /* log p at e = 0 (or anywhere in the cube), scales included */
} poei_flow_base;

/* pass->log_p += log base(x), pass->grad = its gradient. */
void poei_flow_base_apply(const poei_flow_base *base, poei_flow_pass *pass);
/* x[d], a function of the address. */
void poei_flow_base_draw(const poei_flow_base *base, size_t d, poe_rng at, double *x);
void poei_flow_base_clear(poei_flow_base *base);

/* ---- the whole ---- */

struct poei_flow {
  size_t d, n_layers;
  poei_flow_layer *layers; /* [n_layers] from data to noise */
  poei_flow_base base;
  double *low, *high; /* [d] the box of x where the density is defined; infinite ends for the whole line */
};

enum { POEI_FLOW_MAX_LAYERS = 512 };
/* Scales lie between this and its inverse, and shifts below it: squares of what comes of a point are still numbers. */
#define POEI_FLOW_LARGEST 1e150

/* Reads a model file of family `flow` with d coordinates (docs/MODEL-FORMAT.md). precision: "single", "double", NULL =
 * that of the file. */
poe_status poei_flow_from_file(const poei_tensor_file *file, const char *precision, size_t d, poei_flow **flow,
                               poe_error *error);
/* The same for the file at `path`. */
poe_status poei_flow_read(const char *path, const char *precision, size_t d, poei_flow **flow, poe_error *error);
void poei_flow_destroy(poei_flow *flow);
/* That of a `flow` expert (borrowed). */
const poei_flow *poei_flow_chain(const poe_expert *expert);

/* ---- reading layers ---- */

/* A file being read. */
typedef struct poei_flow_reader {
  poei_layers from; /* file and which of its tensors were used; its graph is set while a network is read */
  poei_precision precision;
  const json_t *layer; /* the object being read, its word, its number from 1 (0: poe.base) */
  const char *word;
  size_t number;
  poei_shape view; /* of what the layer acts on: [count], or [channels, height, width] */
} poei_flow_reader;

#define POEI_FLOW_DECLARE(word)                                                                                        \
  poe_status poei_flow_read_##word(poei_flow_reader *reader, poei_flow_layer *layer, poe_error *error);
POEI_FLOW_LAYER_LIST(POEI_FLOW_DECLARE)
#undef POEI_FLOW_DECLARE
poe_status poei_flow_read_base(poei_flow_reader *reader, size_t d, poei_flow_base *base, poe_error *error);

/* "'path': flow layer 3 ('coupling'): ..." */
#if defined(__GNUC__)
__attribute__((format(printf, 4, 5)))
#endif
poe_status
poei_flow_refuse(const poei_flow_reader *reader, poe_error *error, poe_status status, const char *format, ...);
poe_status poei_flow_no_memory(const poei_flow_reader *reader, poe_error *error);
/* The object may have "op" and the keys of `words` ("weight|bias") and no others. */
poe_status poei_flow_keys(const poei_flow_reader *reader, const char *words, poe_error *error);
/* A key with one of the values `words` ("a|b|c"): *which is its number; the fallback when it is missing. */
poe_status poei_flow_choice(const poei_flow_reader *reader, const char *key, const char *words, size_t fallback,
                            size_t *which, poe_error *error);
/* A number in [low, high]; the fallback when it is missing. */
poe_status poei_flow_number(const poei_flow_reader *reader, const char *key, double fallback, double low, double high,
                            double *value, poe_error *error);
poe_status poei_flow_flag(const poei_flow_reader *reader, const char *key, bool *value, poe_error *error);
/* The tensor that a key names, as finite doubles on the heap; NULL when the key is missing and not required. */
poe_status poei_flow_tensor(poei_flow_reader *reader, const char *key, bool required, const poei_tensor **tensor,
                            double **numbers, poe_error *error);
/* The same spread over `count` coordinates: one number, one for each channel of the view, or one for each coordinate;
 * `fallback` when the key is missing. */
poe_status poei_flow_spread(poei_flow_reader *reader, const char *key, double fallback, size_t count, double **numbers,
                            poe_error *error);
/* The numbers of a list of integers (others become -1) or of the tensor that a text names, on the heap. */
poe_status poei_flow_list(poei_flow_reader *reader, const char *key, double **numbers, size_t *count, poe_error *error);
/* Channels and pixels of the view: [m] has m channels of one pixel. */
size_t poei_flow_channels(const poei_flow_reader *reader);
size_t poei_flow_pixels(const poei_flow_reader *reader);

/* The network in the layer's "layers", from `input` to `outputs` numbers. With levels [input->count] not NULL it must
 * be autoregressive with outputs owner[outputs] -> coordinate; the level of a coordinate is then the length of the
 * longest chain of coordinates that it depends on. */
poe_status poei_flow_network(poei_flow_reader *reader, const poei_shape *input, size_t outputs, const size_t *owner,
                             size_t *levels, poei_net **net, poe_error *error);

#endif
