/* A compiled tensor program: what neural experts and maps run on.
 *
 * A graph (net/graph.h) is built once, compiled once (memory planned, weights packed), and evaluated per tile with no
 * allocation; input gradients by reverse mode over the operators' vector-Jacobian products. Inputs and outputs are
 * double; the inside is float32 or double. A network has one input [n, in...] and one output [n, out...].
 */
#ifndef POE_NET_NET_H
#define POE_NET_NET_H

#include "formats/tensor_file.h"
#include "poe/expert.h"

typedef enum poei_precision { POEI_FLOAT32, POEI_FLOAT64 } poei_precision;

typedef struct poei_net poei_net; /* immutable, reference-counted */

/* How to find the architecture of a file. All NULL/0: from the file's own metadata poe.layers (docs/MODEL-FORMAT.md).
 */
typedef struct poei_net_source {
  const poei_tensor_file *file;
  size_t n_layers;               /* bare state dicts: tensor prefixes in order ("net.0": net.0.weight, net.0.bias) */
  const char *const *layers;     /* [n_layers]                                                                      */
  const char *activation;        /* between them                                                                    */
  const char *output_activation; /* after the last, NULL = identity                                             */
  const char *precision;         /* "single", "double", NULL = that of the weights (half types compute in single)   */
  size_t in_dim;                 /* what the variable offers; a disagreement is POE_E_SHAPE naming file and tensor   */
  bool integers;                 /* the variable is discrete: tables may be looked up at its values                  */
} poei_net_source;

poe_status poei_net_load(const poei_net_source *source, poei_net **net, poe_error *error);
poei_net *poei_net_retain(const poei_net *net);
void poei_net_release(poei_net *net); /* NULL is allowed */

/* Whether the file may be opened as that family ("energy", "decoder", ...): POE_E_FORMAT naming the family it says it
 * is, with a hint. Files without poe.* metadata (bare state dicts) may be anything. */
poe_status poei_net_check_family(const poei_tensor_file *file, const char *family, poe_error *error);

size_t poei_net_in_dim(const poei_net *net);
size_t poei_net_out_dim(const poei_net *net);
/* The output's shape before it is flattened: writes up to POEI_MAX_DIMS sizes, returns how many. */
size_t poei_net_out_shape(const poei_net *net, size_t *shape);
size_t poei_net_parameters(const poei_net *net); /* number of weights                     */
double poei_net_flops(const poei_net *net);      /* floating-point operations per row, forwards */
poei_precision poei_net_precision(const poei_net *net);

/* Bytes of scratch for eval, or (POE_WANT_GRAD) for eval_vjp, on n rows. */
size_t poei_net_scratch(const poei_net *net, unsigned want, size_t n);
/* y[n, ldy] = f(x). */
void poei_net_eval(const poei_net *net, poe_rows x, double *y, size_t ldy, poe_scratch *scratch);
/* Forwards; `pull` fills dy[n, out] (contiguous) from y[n, out]; then dx[n, ldx] += J' dy. */
poe_status poei_net_eval_vjp(const poei_net *net, poe_rows x,
                             poe_status (*pull)(void *context, poe_rows y, double *dy, poe_scratch *scratch,
                                                poe_error *error),
                             void *context, double *dx, size_t ldx, poe_scratch *scratch, poe_error *error);

/* ---- one position after the other ----
 * A network over sequences [positions, ...] whose output at position t depends on the input before t only may be walked
 * through with a state that is carried from one position to the next, at the cost of one position each. The input's and
 * the output's t-th parts of in_dim / positions and out_dim / positions numbers belong to position t. */

/* 0: the network is none of that kind. That it is one is found in its operators: each position of the output comes from
 * inputs before it whatever the weights are. */
size_t poei_net_positions(const poei_net *net);
/* Bytes of the state of n rows that go together. It is plain memory, 64-byte aligned; all 0 before the first position,
 * forked by copying. */
size_t poei_net_state(const poei_net *net, size_t n);
/* The state of n rows that are all where the one of `from` is. */
void poei_net_state_repeat(const poei_net *net, const void *from, size_t n, void *to);
size_t poei_net_step_scratch(const poei_net *net, size_t n);
/* y[n, ldy], the output at position t, from the input at position t - 1 x[n, ldx] (NULL for t = 0). Positions come in
 * turn. steady: a row's bits do not depend on n; else many rows are faster. */
void poei_net_step(const poei_net *net, bool steady, size_t n, size_t t, const double *x, size_t ldx, double *y,
                   size_t ldy, void *state, poe_scratch *scratch);

/* One matrix product, C[m, n] = op(A)[m, k] op(B)[k, n], done `times` times. */
typedef struct poei_gemm_shape {
  bool transposed_a, transposed_b;
  size_t m, n, k, times;
} poei_gemm_shape;

/* The matrix products that an evaluation of n rows consists of, forwards or (POE_WANT_GRAD) forwards and backwards, in
 * order: writes up to `capacity` of them, returns how many there are. What `poe bench` compares a network with. */
size_t poei_net_gemms(const poei_net *net, unsigned want, size_t n, poei_gemm_shape *shapes, size_t capacity);
/* Seconds that these products alone take (the best of `repeats` passes over all of them, operands warm), by the same
 * BLAS calls and precision as the network's. Allocates. POE_E_MEMORY. */
poe_status poei_net_time_gemms(const poei_net *net, unsigned want, size_t n, size_t repeats, double *seconds,
                               double *flops, poe_error *error);

#endif
