/* decoder(z | file=...): a deterministic network as a map R^in -> R^out, such as the decoder of an image model.
 *
 * The network is read as for energy (experts/energy.c, docs/MODEL-FORMAT.md). Its output's shape is that of its last
 * layer, or `shape`, which must hold as many numbers.
 */
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "experts/family.h"
#include "experts/list.h"
#include "experts/network.h"

static const poe_param decoder_params[] = {
    POEI_NETWORK_PARAMS,
    {"shape", POE_ARG_REAL, "k", NULL, "shape of the output, such as [28, 28] (default: that of the last layer)"},
    {0},
};

typedef struct decoder {
  poei_net *net;
  size_t ndim, shape[POE_MAX_DIMS];
} decoder;

static void decoder_destroy(void *self) {
  decoder *m = self;
  if (m != NULL) {
    poei_net_release(m->net);
    poei_free(m);
  }
}

/* The argument `shape`: sizes whose product is the network's output. */
static poe_status decoder_read_shape(const poe_arg *arg, decoder *m, poe_error *error) {
  size_t n = arg->ndim == 0 ? 1 : arg->shape[0];
  double product = 1.0;
  bool good = arg->type == POE_ARG_REAL && arg->ndim <= 1 && n >= 1 && n <= POE_MAX_DIMS;
  for (size_t i = 0; good && i < n; i++) {
    good = arg->real[i] >= 1.0 && arg->real[i] <= 1e9 && arg->real[i] == floor(arg->real[i]);
    product *= arg->real[i];
  }
  if (!good || product != (double)poei_net_out_dim(m->net)) {
    return poe_args_error(arg, error, POE_E_SHAPE, "`shape` must be sizes whose product is %zu, the network's output",
                          poei_net_out_dim(m->net));
  }
  m->ndim = n;
  for (size_t i = 0; i < n; i++) {
    m->shape[i] = (size_t)arg->real[i];
  }
  return POE_OK;
}

static poe_status decoder_create(const poe_args *args, void **self, poe_error *error) {
  poe_status status = poei_family_need(args, POE_CONTINUOUS, error);
  if (status != POE_OK) {
    return status;
  }
  decoder *m = poei_calloc(1, sizeof *m);
  if (m == NULL) {
    return poei_family_memory(args->kind, error);
  }
  const poe_arg *shape = poe_args_find(args, "shape");
  status = poei_network_open(args, "decoder", &m->net, NULL, error);
  if (status == POE_OK) {
    m->ndim = poei_net_out_shape(m->net, m->shape);
    status = shape == NULL ? POE_OK : decoder_read_shape(shape, m, error);
  }
  if (status != POE_OK) {
    decoder_destroy(m);
    return status;
  }
  *self = m;
  return POE_OK;
}

static size_t decoder_in_dim(const void *self) {
  return poei_net_in_dim(((const decoder *)self)->net);
}

static size_t decoder_out_shape(const void *self, size_t *shape) {
  const decoder *m = self;
  memcpy(shape, m->shape, m->ndim * sizeof *shape);
  return m->ndim;
}

static size_t decoder_scratch(const void *self, unsigned want, size_t n) {
  return poei_net_scratch(((const decoder *)self)->net, want, n);
}

static poe_status decoder_apply(const void *self, poe_rows x, poe_rows_out y, poe_scratch *scratch, poe_error *error) {
  (void)error;
  poei_net_eval(((const decoder *)self)->net, x, y.x, y.ld, scratch);
  return POE_OK;
}

static poe_status decoder_apply_vjp(const void *self, poe_rows x,
                                    poe_status (*pull)(void *context, poe_rows y, double *dy, poe_scratch *scratch,
                                                       poe_error *error),
                                    void *context, double *dx, size_t ldx, poe_scratch *scratch, poe_error *error) {
  return poei_net_eval_vjp(((const decoder *)self)->net, x, pull, context, dx, ldx, scratch, error);
}

const poe_map_ops poei_decoder_ops = {
    .struct_size = sizeof(poe_map_ops),
    .kind = "decoder",
    .doc = "a deterministic network from a latent space to an image or vector",
    .params = decoder_params,
    .create = decoder_create,
    .destroy = decoder_destroy,
    .in_dim = decoder_in_dim,
    .out_shape = decoder_out_shape,
    .scratch = decoder_scratch,
    .apply = decoder_apply,
    .apply_vjp = decoder_apply_vjp,
};

const poei_net *poei_decoder_net(const poe_map *map) {
  return poe_map_ops_of(map) == &poei_decoder_ops ? ((const decoder *)poe_map_self(map))->net : NULL;
}
