#include "tests/conformance/flow_files.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "poe/rng.h"
#include "tests/support/check.h"

/* ---- pieces ---- */

flow_maker *flow_maker_start(uint32_t seed, poei_dtype dtype) {
  flow_maker *m = calloc(1, sizeof *m);
  assert_non_null(m);
  m->site = 1000 * seed;
  m->dtype = dtype;
  return m;
}

const char *flow_maker_tensor(flow_maker *m, size_t ndim, const size_t *shape, const double *numbers) {
  assert_true(m->n < FLOW_TENSORS);
  poei_tensor *t = &m->tensors[m->n];
  *t = (poei_tensor){.dtype = m->dtype, .ndim = ndim, .count = 1};
  for (size_t i = 0; i < ndim; i++) {
    t->shape[i] = shape[i];
    t->count *= shape[i];
  }
  m->owned[m->n] = calloc(t->count + 1, sizeof(double));
  assert_non_null(m->owned[m->n]);
  for (size_t i = 0; i < t->count; i++) {
    if (m->dtype == POEI_F32) {
      ((float *)m->owned[m->n])[i] = (float)numbers[i];
    } else {
      ((double *)m->owned[m->n])[i] = (double)(float)numbers[i];
    }
  }
  snprintf(m->names[m->n], sizeof m->names[m->n], "t%zu", m->n);
  t->name = m->names[m->n];
  t->data = m->owned[m->n];
  return m->names[m->n++];
}

const char *flow_maker_random(flow_maker *m, size_t ndim, const size_t *shape, double scale) {
  size_t count = 1;
  for (size_t i = 0; i < ndim; i++) {
    count *= shape[i];
  }
  double *numbers = calloc(count + 1, sizeof *numbers);
  assert_non_null(numbers);
  poe_rng at = poe_rng_seed(77);
  at.site = m->site++;
  poe_rng_normals(at, count, numbers);
  for (size_t i = 0; i < count; i++) {
    numbers[i] *= scale;
  }
  const char *name = flow_maker_tensor(m, ndim, shape, numbers);
  free(numbers);
  return name;
}

void flow_maker_text(flow_maker *m, const char *format, ...) {
  size_t used = strlen(m->layers);
  va_list list;
  va_start(list, format);
  int length = vsnprintf(m->layers + used, sizeof m->layers - used, format, list);
  va_end(list);
  assert_true(length >= 0 && (size_t)length < sizeof m->layers - used);
}

static void maker_linear(flow_maker *m, const char *before, size_t in, size_t out, double scale, const char *mask) {
  const char *w = flow_maker_random(m, 2, (size_t[]){out, in}, scale);
  const char *b = flow_maker_random(m, 1, (size_t[]){out}, 0.3);
  flow_maker_text(m, "%s{\"op\":\"linear\",\"weight\":\"%s\",\"bias\":\"%s\"", before, w, b);
  flow_maker_text(m, mask == NULL ? "}" : ",\"mask\":\"%s\"}", mask);
}

void flow_maker_mlp(flow_maker *m, size_t in, size_t hidden, size_t out, double scale) {
  maker_linear(m, ",\"layers\":[", in, hidden, 0.7, NULL);
  maker_linear(m, ",{\"op\":\"tanh\"},", hidden, hidden, 0.4, NULL);
  maker_linear(m, ",{\"op\":\"tanh\"},", hidden, out, scale, NULL);
  flow_maker_text(m, "]");
}

/* Degrees of Germain et al. 2015: inputs 0..d-1, hidden k % max(1, d - 1), outputs those of their coordinates; a
 * hidden unit sees inputs of degree <= its own, an output hidden units of degree < its own. */
static const char *maker_mask(flow_maker *m, size_t in, size_t out, const size_t *from, const size_t *to, bool strict) {
  double *mask = calloc(in * out, sizeof *mask);
  assert_non_null(mask);
  for (size_t o = 0; o < out; o++) {
    for (size_t i = 0; i < in; i++) {
      mask[o * in + i] = (strict ? from[i] < to[o] : from[i] <= to[o]) ? 1.0 : 0.0;
    }
  }
  const char *name = flow_maker_tensor(m, 2, (size_t[]){out, in}, mask);
  free(mask);
  return name;
}

void flow_maker_made(flow_maker *m, size_t d, size_t hidden, size_t parameters, bool interleaved, double scale) {
  enum { MOST = 512 };
  size_t input[MOST], unit[MOST], output[MOST];
  assert_true(d * parameters <= MOST && hidden <= MOST);
  for (size_t i = 0; i < MOST; i++) {
    input[i] = i;
    unit[i] = i % (d > 1 ? d - 1 : 1);
    output[i] = interleaved ? i / parameters : i % d;
  }
  maker_linear(m, ",\"layers\":[", d, hidden, 0.7, maker_mask(m, d, hidden, input, unit, false));
  flow_maker_text(m, ",{\"op\":\"residual\",\"layers\":[{\"op\":\"tanh\"}");
  maker_linear(m, ",", hidden, hidden, 0.4, maker_mask(m, hidden, hidden, unit, unit, false));
  flow_maker_text(m, "]}");
  maker_linear(m, ",{\"op\":\"tanh\"},", hidden, d * parameters, scale,
               maker_mask(m, hidden, d * parameters, unit, output, true));
  flow_maker_text(m, "]");
}

static void maker_conv_layer(flow_maker *m, const char *before, size_t in, size_t out, double scale) {
  const char *w = flow_maker_random(m, 4, (size_t[]){out, in, 3, 3}, scale);
  const char *b = flow_maker_random(m, 1, (size_t[]){out}, 0.3);
  flow_maker_text(m, "%s{\"op\":\"conv2d\",\"weight\":\"%s\",\"bias\":\"%s\",\"padding\":1}", before, w, b);
}

void flow_maker_conv(flow_maker *m, size_t in, size_t hidden, size_t out, double scale) {
  maker_conv_layer(m, ",\"layers\":[", in, hidden, 0.3);
  maker_conv_layer(m, ",{\"op\":\"tanh\"},", hidden, out, scale);
  flow_maker_text(m, "]");
}

const char *flow_maker_write(flow_maker *m, const char *file, const char *shape) {
  char layers[FLOW_TEXT + 2];
  snprintf(layers, sizeof layers, "[%s]", m->layers);
  const char *metadata[][2] = {
      {"poe.format", "1"}, {"poe.family", "flow"}, {"poe.input", shape}, {"poe.layers", layers}, {"poe.base", m->base}};
  const char *path = poet_temp_path(file);
  poe_error error = {0};
  check_ok(poei_safetensors_write(path, m->n, m->tensors, m->base == NULL ? 4 : 5, metadata, &error), error);
  for (size_t i = 0; i < m->n; i++) {
    free(m->owned[i]);
  }
  free(m);
  return path;
}

/* ---- whole flows ---- */

static void couple(flow_maker *m, const char *keys, size_t in, size_t out, double scale) {
  flow_maker_text(m, "{\"op\":\"coupling\",%s", keys);
  flow_maker_mlp(m, in, 12, out, scale);
  flow_maker_text(m, "}");
}

static void regress(flow_maker *m, const char *keys, size_t d, size_t parameters, bool interleaved, double scale) {
  flow_maker_text(m, "{\"op\":\"autoregressive\",%s", keys);
  flow_maker_made(m, d, 14, parameters, interleaved, scale);
  flow_maker_text(m, "}");
}

static const char affine_first[] = "\"transformed\":\"first_half\",\"transform\":\"affine\",\"scale\":\"tanh\"";
static const char affine_last[] = "\"transformed\":\"last_half\",\"transform\":\"affine\",\"scale\":\"tanh\"";

static void make_additive(flow_maker *m) {
  couple(m, "\"transformed\":\"odd\",\"transform\":\"additive\"", 1, 1, 0.4);
  flow_maker_text(m, ",{\"op\":\"affine\",\"scale\":\"%s\"",
                  flow_maker_tensor(m, 1, (size_t[]){2}, (double[]){-0.8, 1.5}));
  flow_maker_text(m, ",\"shift\":0.25},");
  couple(m, "\"transformed\":\"even\",\"transform\":\"additive\",\"inverse\":true", 1, 1, 0.4);
}

static void make_coupling(flow_maker *m) {
  couple(m, affine_first, 1, 2, 0.25);
  flow_maker_text(m, ",");
  couple(m, affine_last, 1, 2, 0.25);
  flow_maker_text(m, ",{\"op\":\"reverse\"},");
  couple(m, affine_first, 1, 2, 0.25);
}

static void make_coupling_wide(flow_maker *m) {
  couple(m, "\"transformed\":\"odd\",\"transform\":\"affine\",\"scale\":\"sigmoid\",\"offset\":2,\"eps\":1e-3", 3, 4,
         0.3);
  const char *lower = flow_maker_random(m, 1, (size_t[]){10}, 0.2),
             *upper = flow_maker_random(m, 1, (size_t[]){10}, 0.2);
  const char *diagonal = flow_maker_random(m, 1, (size_t[]){5}, 0.3),
             *bias = flow_maker_random(m, 1, (size_t[]){5}, 0.3);
  flow_maker_text(m,
                  ",{\"op\":\"lu\",\"lower\":\"%s\",\"upper\":\"%s\",\"diagonal\":\"%s\",\"diagonal_map\":\"softplus\","
                  "\"bias\":\"%s\"},{\"op\":\"permute\",\"permutation\":[3,0,4,1,2]},",
                  lower, upper, diagonal, bias);
  couple(m,
         "\"transformed\":[0,2,3],\"transform\":\"affine\",\"scale\":\"soft\",\"inverse\":true,"
         "\"layout\":\"interleaved\",\"first\":\"scale\"",
         2, 6, 0.3);
  const char *scale = flow_maker_random(m, 1, (size_t[]){5}, 0.3), *shift = flow_maker_random(m, 1, (size_t[]){5}, 0.3);
  flow_maker_text(m, ",{\"op\":\"affine\",\"log_scale\":\"%s\",\"shift\":\"%s\",\"inverse\":true},", scale, shift);
  couple(m, "\"transformed\":\"even\",\"masked\":true,\"transform\":\"affine\",\"scale\":\"tanh\"", 5, 10, 0.3);
}

static const char maf[] = "\"transform\":\"affine\",\"scale\":\"tanh\"";
static const char iaf[] = "\"from\":\"noise\",\"transform\":\"affine\",\"scale\":\"tanh\"";

static void make_maf(flow_maker *m) {
  regress(m, maf, 2, 2, false, 0.3);
  flow_maker_text(m, ",{\"op\":\"reverse\"},");
  regress(m, maf, 2, 2, false, 0.3);
}

static void make_maf_wide(flow_maker *m) {
  regress(m, "\"transform\":\"affine\",\"scale\":\"softplus\",\"offset\":0.5,\"eps\":1e-3,\"layout\":\"interleaved\"",
          5, 2, true, 0.3);
  flow_maker_text(m, ",{\"op\":\"permute\",\"permutation\":[4,2,0,1,3]},");
  regress(m, "\"transform\":\"affine\",\"inverse\":true,\"first\":\"scale\"", 5, 2, false, 0.2);
}

static void make_iaf_of(flow_maker *m, size_t d) {
  regress(m, iaf, d, 2, false, 0.25);
  flow_maker_text(m, ",{\"op\":\"reverse\"},");
  regress(m, iaf, d, 2, false, 0.25);
}

static void make_iaf(flow_maker *m) {
  make_iaf_of(m, 3);
}

static void make_iaf_plane(flow_maker *m) {
  make_iaf_of(m, 2);
}

static void make_iaf_inverse(flow_maker *m) {
  regress(m, "\"from\":\"noise\",\"inverse\":true,\"transform\":\"affine\",\"layout\":\"interleaved\"", 4, 2, true,
          0.2);
  flow_maker_text(m, ",{\"op\":\"reverse\"},");
  regress(m, iaf, 4, 2, false, 0.25);
}

static const char spline[] = "\"transform\":\"rqs\",\"bins\":5,\"bound\":3,\"layout\":\"interleaved\"";

static void make_spline_coupling(flow_maker *m) {
  char keys[160];
  snprintf(keys, sizeof keys, "\"transformed\":\"first_half\",%s", spline);
  couple(m, keys, 1, 14, 0.1);
  flow_maker_text(m, ",{\"op\":\"reverse\"},");
  couple(m, keys, 1, 14, 0.1);
}

static void make_spline_maf(flow_maker *m) {
  regress(m, spline, 3, 14, true, 0.1);
  flow_maker_text(m, ",{\"op\":\"reverse\"},");
  regress(m, spline, 3, 14, true, 0.1);
}

static void make_spline_plane(flow_maker *m) {
  regress(m, spline, 2, 14, true, 0.1);
}

static void make_spline_wide(flow_maker *m) {
  regress(m, "\"transform\":\"rqs\",\"knots\":\"exp\",\"bins\":4,\"bound\":4,\"inverse\":true", 5, 11, false, 0.4);
  flow_maker_text(m, ",{\"op\":\"reverse\"},");
  couple(m, "\"transformed\":\"even\",\"transform\":\"rqs\",\"knots\":\"exp\",\"bins\":4,\"bound\":4,\"inverse\":true",
         2, 33, 0.4);
}

static void make_spline_iaf(flow_maker *m) {
  regress(m, "\"from\":\"noise\",\"transform\":\"rqs\",\"bins\":3,\"bound\":3,\"factor\":0.5", 3, 8, false, 0.5);
}

static void make_linear_student(flow_maker *m) {
  static const double w[9] = {0.9, 0.3, -0.2, -0.4, 0.2, 1.1, 0.1, 1.2, 0.4};
  flow_maker_text(m, "{\"op\":\"linear\",\"weight\":\"%s\"", flow_maker_tensor(m, 2, (size_t[]){3, 3}, w));
  flow_maker_text(m, ",\"bias\":0.5},{\"op\":\"linear\",\"inverse\":true,\"weight\":\"%s\"}",
                  flow_maker_tensor(m, 2, (size_t[]){3, 3}, w));
  m->base = "{\"op\":\"student_t\",\"df\":5,\"scale\":0.8}";
}

static void make_laplace_base(flow_maker *m) {
  make_coupling_wide(m);
  m->base = "{\"op\":\"laplace\",\"location\":0.3,\"log_scale\":-0.4}";
}

static void make_logistic_base(flow_maker *m) {
  make_coupling(m);
  m->base = "{\"op\":\"logistic\",\"location\":-0.3,\"scale\":0.5}";
}

static void make_logit_plane(flow_maker *m) {
  flow_maker_text(m, "{\"op\":\"logit\"},{\"op\":\"affine\",\"scale\":1.5},");
  make_coupling(m);
}

static void make_image(flow_maker *m) {
  flow_maker_text(m,
                  "{\"op\":\"dequantize\",\"levels\":256},{\"op\":\"logit\",\"alpha\":0.05},"
                  "{\"op\":\"coupling\",\"transformed\":\"checkerboard_odd\",\"masked\":true,\"transform\":\"affine\","
                  "\"scale\":\"tanh\"");
  flow_maker_conv(m, 1, 6, 2, 0.2);
  flow_maker_text(m, "},{\"op\":\"squeeze\"},{\"op\":\"linear\",\"weight\":\"%s\"}",
                  flow_maker_random(m, 4, (size_t[]){4, 4, 1, 1}, 0.7));
  flow_maker_text(m, ",{\"op\":\"coupling\",\"transformed\":\"last_half\",\"transform\":\"affine\",\"scale\":\"tanh\","
                     "\"layout\":\"interleaved\"");
  flow_maker_conv(m, 2, 6, 4, 0.2);
  flow_maker_text(m, "},{\"op\":\"affine\",\"log_scale\":\"%s\"}", flow_maker_random(m, 3, (size_t[]){4, 1, 1}, 0.2));
  flow_maker_text(m, ",{\"op\":\"split\",\"keep\":\"last\"},{\"op\":\"reverse\"},"
                     "{\"op\":\"coupling\",\"transformed\":\"even\",\"transform\":\"rqs\",\"bins\":3,\"bound\":3,"
                     "\"layout\":\"interleaved\"");
  flow_maker_conv(m, 1, 4, 8, 0.2);
  flow_maker_text(m, "}");
}

size_t flow_kind_dim(flow_kind kind) {
  static const size_t dims[FLOW_KINDS] = {
#define FLOW_KIND_DIM(word, d) d,
      FLOW_KIND_LIST(FLOW_KIND_DIM)};
  return dims[kind];
}

const char *flow_kind_name(flow_kind kind) {
  static const char *const names[FLOW_KINDS] = {
#define FLOW_KIND_NAME(word, d) #word,
      FLOW_KIND_LIST(FLOW_KIND_NAME)};
  return names[kind];
}

const char *flow_kind_file(flow_kind kind, uint32_t seed, poei_dtype dtype) {
  static void (*const make[FLOW_KINDS])(flow_maker *) = {
#define FLOW_KIND_MAKE(word, d) make_##word,
      FLOW_KIND_LIST(FLOW_KIND_MAKE)};
  enum { SEEDS = 8 };
  static char paths[FLOW_KINDS][SEEDS][2][256];
  char *path = paths[kind][seed][dtype == POEI_F64], file[96], shape[32];
  assert_true(seed < SEEDS);
  if (path[0] == '\0') {
    flow_maker *m = flow_maker_start(seed, dtype);
    make[kind](m);
    snprintf(file, sizeof file, "%s-%u-%s.safetensors", flow_kind_name(kind), seed, dtype == POEI_F64 ? "64" : "32");
    snprintf(shape, sizeof shape, kind == FLOW_image ? "[1,4,4]" : "[%zu]", flow_kind_dim(kind));
    const char *fresh = flow_maker_write(m, file, shape);
    assert_true(strlen(fresh) < sizeof paths[0][0][0]);
    memcpy(path, fresh, strlen(fresh) + 1);
  }
  return path;
}
