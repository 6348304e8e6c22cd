/* What the kernels of several operators share, for one type (each_type.h). All arrays are [n, count], contiguous; see
 * poei_call for their meaning. */

/* dz = dy * f'(z): in place on dy, with the derivative that the forward pass left on the tape. */
static inline void NAME(through_activation)(const poei_call *call) {
  const REAL *slope = call->tape;
  REAL *dy = call->dy;
  size_t count = call->n * call->node->shape.count;
  for (size_t i = 0; i < count; i++) {
    dy[i] *= slope[i];
  }
}

/* Sets or adds `scale * from` to the wanted gradient of input i. */
static inline void NAME(give)(const poei_call *call, size_t i, REAL scale, const REAL *from) {
  REAL *dx = call->dx[i];
  size_t count = call->n * call->in[i]->count;
  if (dx == NULL) {
    return;
  }
  if (call->accumulate[i]) {
    for (size_t k = 0; k < count; k++) {
      dx[k] += scale * from[k];
    }
  } else {
    for (size_t k = 0; k < count; k++) {
      dx[k] = scale * from[k];
    }
  }
}

/* The gradient of input 0 at 0, unless it is to be added to; NULL when it is not wanted. */
static inline REAL *NAME(start)(const poei_call *call) {
  if (call->dx[0] != NULL && !call->accumulate[0]) {
    memset(call->dx[0], 0, call->n * call->in[0]->count * sizeof(REAL));
  }
  return call->dx[0];
}
