/* Models over sequences (sequence_models.h). Weight i of the tensor at `site` is number(site + i) everywhere. */
#include "tests/conformance/sequence_models.h"

#include <stdio.h>
#include <string.h>

#include "experts/list.h"
#include "formats/tensor_write.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

enum { MOST_UNITS = 8, MOST_TENSORS = 16, MOST_NUMBERS = 2048 };

static double number(size_t i) {
  return 0.9 * sin(1.9 * (double)i + 0.4);
}

static double sigmoid(double v) {
  return 1.0 / (1.0 + exp(-v));
}

/* ---- arithmetic ---- */

/* y[rows] = W x + b, W [rows, columns] at `site`, b at site + 500. */
static void affine(size_t rows, size_t columns, size_t site, const double *x, double *y) {
  for (size_t i = 0; i < rows; i++) {
    y[i] = number(site + 500 + i);
    for (size_t j = 0; j < columns; j++) {
      y[i] += number(site + i * columns + j) * x[j];
    }
  }
}

/* A layer's tensors stand at `site`: weight_ih and bias_ih, weight_hh and bias_hh at site + 1000. */
static void gru(size_t in, size_t units, size_t site, const double *x, double *h) {
  double a[3 * MOST_UNITS], b[3 * MOST_UNITS];
  affine(3 * units, in, site, x, a);
  affine(3 * units, units, site + 1000, h, b);
  for (size_t i = 0; i < units; i++) {
    double r = sigmoid(a[i] + b[i]), z = sigmoid(a[units + i] + b[units + i]);
    double n = tanh(a[2 * units + i] + r * b[2 * units + i]);
    h[i] = (1.0 - z) * n + z * h[i];
  }
}

static void lstm(size_t in, size_t units, size_t site, const double *x, double *h, double *c) {
  double a[4 * MOST_UNITS], b[4 * MOST_UNITS];
  affine(4 * units, in, site, x, a);
  affine(4 * units, units, site + 1000, h, b);
  for (size_t i = 0; i < units; i++) {
    double input = sigmoid(a[i] + b[i]), forget = sigmoid(a[units + i] + b[units + i]);
    double g = tanh(a[2 * units + i] + b[2 * units + i]), o = sigmoid(a[3 * units + i] + b[3 * units + i]);
    c[i] = forget * c[i] + input * g;
    h[i] = o * tanh(c[i]);
  }
}

static double log_softmax(size_t k, const double *t, size_t v) {
  double sum = 0.0;
  for (size_t i = 0; i < k; i++) {
    sum += exp(t[i]);
  }
  return t[v] - log(sum);
}

static double log_normal(double x, double mean, double log_sd) {
  double z = (x - mean) / exp(log_sd);
  return -0.5 * z * z - log_sd - 0.5 * log(2.0 * acos(-1.0));
}

double poet_log_strings(const double *x) {
  double sum = 0.0, h[4] = {0}, t[4], e[3];
  bool ended = false;
  for (size_t j = 0; j < 4; j++) {
    size_t before = j == 0 ? 4 : (size_t)x[j - 1];
    for (size_t i = 0; i < 3; i++) {
      e[i] = number(before * 3 + i);
    }
    gru(3, 4, 3000, e, h);
    affine(4, 4, 5000, h, t);
    sum += ended ? (x[j] == 0.0 ? 0.0 : -INFINITY) : log_softmax(4, t, (size_t)x[j]);
    ended = ended || x[j] == 1.0;
  }
  return sum;
}

double poet_log_letters(const double *x) {
  double sum = 0.0, h[2][3] = {{0}}, c[2][3] = {{0}}, t[3], e[3];
  for (size_t j = 0; j < 4; j++) {
    for (size_t i = 0; i < 3; i++) {
      e[i] = j == 0 ? number(i) : (size_t)x[j - 1] == i ? 1.0 : 0.0;
    }
    lstm(3, 3, 3000, e, h[0], c[0]);
    lstm(3, 3, 7000, h[0], h[1], c[1]);
    affine(3, 3, 5000, h[1], t);
    sum += log_softmax(3, t, (size_t)x[j]);
  }
  return sum;
}

double poet_log_numbers(const double *x) {
  double sum = 0.0, h[3] = {0}, c[3] = {0}, t[2], before = 0.7;
  for (size_t j = 0; j < 2; j++) {
    lstm(1, 3, 3000, &before, h, c);
    affine(2, 3, 5000, h, t);
    sum += log_normal(x[j], t[0], t[1]);
    before = x[j];
  }
  return sum;
}

double poet_log_pairs(const double *x) {
  double sum = 0.0, h[5] = {0}, t[4], before[2] = {-0.25, -0.25};
  for (size_t j = 0; j < 4; j += 2) {
    gru(2, 5, 3000, before, h);
    affine(4, 5, 5000, h, t);
    sum += log_normal(x[j], t[0], t[1]) + log_normal(x[j + 1], t[2], t[3]);
    memcpy(before, x + j, sizeof before);
  }
  return sum;
}

/* t[p] of coordinate j: W [h, d] at 0, V [d, p, h] at 1000, b [d, p] at 2000, c [h] at 3000. */
static void nade_parameters(size_t d, size_t h, size_t p, const double *x, size_t j, double *t) {
  for (size_t k = 0; k < p; k++) {
    t[k] = number(2000 + j * p + k);
    for (size_t i = 0; i < h; i++) {
      double a = number(3000 + i);
      for (size_t m = 0; m < j; m++) {
        a += number(i * d + m) * x[m];
      }
      t[k] += number(1000 + (j * p + k) * h + i) * sigmoid(a);
    }
  }
}

double poet_log_nade(const double *x) {
  double sum = 0.0, t[1];
  for (size_t j = 0; j < 6; j++) {
    nade_parameters(6, 5, 1, x, j, t);
    sum += log(x[j] == 1.0 ? sigmoid(t[0]) : sigmoid(-t[0]));
  }
  return sum;
}

double poet_log_real_nade(const double *x) {
  double sum = 0.0, t[6];
  for (size_t j = 0; j < 2; j++) {
    nade_parameters(2, 4, 6, x, j, t);
    double w = 1.0 / (1.0 + exp(t[1] - t[0]));
    sum += log(w * exp(log_normal(x[j], t[2], t[4])) + (1.0 - w) * exp(log_normal(x[j], t[3], t[5])));
  }
  return sum;
}

/* ---- files ---- */

/* A file under construction. */
typedef struct model {
  size_t n, used;
  poei_tensor tensors[MOST_TENSORS];
  double numbers[MOST_NUMBERS];
} model;

static void tensor(model *m, const char *name, size_t site, size_t ndim, const size_t *shape) {
  assert_true(m->n < MOST_TENSORS);
  poei_tensor *t = &m->tensors[m->n++];
  *t = (poei_tensor){.name = name, .dtype = POEI_F64, .ndim = ndim, .count = 1};
  for (size_t i = 0; i < ndim; i++) {
    t->shape[i] = shape[i];
    t->count *= shape[i];
  }
  assert_true(m->used + t->count <= MOST_NUMBERS);
  double *to = m->numbers + m->used;
  m->used += t->count;
  t->data = (const unsigned char *)to;
  for (size_t i = 0; i < t->count; i++) {
    to[i] = number(site + i);
  }
}

static void matrix(model *m, const char *name, size_t site, size_t rows, size_t columns) {
  tensor(m, name, site, 2, (size_t[]){rows, columns});
}

static void vector(model *m, const char *name, size_t site, size_t count) {
  tensor(m, name, site, 1, &count);
}

static void recurrent(model *m, const char *const names[4], size_t gates, size_t in, size_t units, size_t site) {
  matrix(m, names[0], site, gates * units, in);
  matrix(m, names[1], site + 1000, gates * units, units);
  vector(m, names[2], site + 500, gates * units);
  vector(m, names[3], site + 1500, gates * units);
}

static void head(model *m, size_t out, size_t in) {
  matrix(m, "head.weight", 5000, out, in);
  vector(m, "head.bias", 5500, out);
}

static const char *const first_layer[4] = {"r.weight_ih_l0", "r.weight_hh_l0", "r.bias_ih_l0", "r.bias_hh_l0"};
static const char *const second_layer[4] = {"r.weight_ih_l1", "r.weight_hh_l1", "r.bias_ih_l1", "r.bias_hh_l1"};

#define HEAD "{\"op\":\"linear\",\"weight\":\"head.weight\",\"bias\":\"head.bias\"}]"

static poe_status build(const model *m, const char *name, const char *input, const char *layers, const char *output,
                        size_t d, size_t values, poe_expert **expert, poe_error *error) {
  char file[64], path[256];
  snprintf(file, sizeof file, "sequence-%s.safetensors", name);
  snprintf(path, sizeof path, "%s", poet_temp_path(file));
  FILE *there = fopen(path, "rb"); /* written once: later builds, in which allocations fail, read it */
  if (there == NULL) {
    const char *const metadata[][2] = {{"poe.format", "1"},
                                       {"poe.family", "autoregressive"},
                                       {"poe.input", input},
                                       {"poe.layers", layers},
                                       {"poe.output", output}};
    poe_error written = {0};
    check_ok(poei_safetensors_write(path, m->n, m->tensors, 5, metadata, &written), written);
  } else {
    fclose(there);
  }
  poet_args a;
  poet_args_start(&a, "autoregressive");
  if (values == 0) {
    poet_args_real_variable(&a, "x", d);
  } else {
    poet_args_discrete_variable(&a, "x", d, values);
  }
  poet_args_text(&a, "file", POE_ARG_FILE, path);
  return poe_expert_create(&poei_autoregressive_ops, &a.args, expert, error);
}

poe_status poet_build_strings(poe_expert **expert, poe_error *error) {
  static model m;
  m.n = m.used = 0;
  matrix(&m, "embed", 0, 5, 3);
  recurrent(&m, first_layer, 3, 3, 4, 3000);
  head(&m, 4, 4);
  return build(&m, "strings", "[\"length\"]",
               "[{\"op\":\"shift\",\"start\":4},{\"op\":\"embedding\",\"weight\":\"embed\"},"
               "{\"op\":\"gru\",\"prefix\":\"r\"}," HEAD,
               "{\"op\":\"categorical\",\"values\":4,\"end\":1,\"padding\":0}", 4, 4, expert, error);
}

poe_status poet_build_letters(poe_expert **expert, poe_error *error) {
  static model m;
  m.n = m.used = 0;
  vector(&m, "start", 0, 3);
  recurrent(&m, first_layer, 4, 3, 3, 3000);
  recurrent(&m, second_layer, 4, 3, 3, 7000);
  head(&m, 3, 3);
  return build(&m, "letters", "[4]",
               "[{\"op\":\"one_hot\",\"values\":3},{\"op\":\"shift\",\"start\":\"start\"},"
               "{\"op\":\"lstm\",\"prefix\":\"r\"}," HEAD,
               "{\"op\":\"categorical\",\"values\":3}", 4, 3, expert, error);
}

poe_status poet_build_numbers(poe_expert **expert, poe_error *error) {
  static model m;
  m.n = m.used = 0;
  recurrent(&m, first_layer, 4, 1, 3, 3000);
  head(&m, 2, 3);
  return build(&m, "numbers", "[2]", "[{\"op\":\"shift\",\"start\":0.7},{\"op\":\"lstm\",\"prefix\":\"r\"}," HEAD,
               "{\"op\":\"gaussian_mixture\",\"components\":1}", 2, 0, expert, error);
}

poe_status poet_build_pairs(poe_expert **expert, poe_error *error) {
  static model m;
  m.n = m.used = 0;
  recurrent(&m, first_layer, 3, 2, 5, 3000);
  head(&m, 4, 5);
  return build(&m, "pairs", "[\"length\",2]",
               "[{\"op\":\"shift\",\"start\":-0.25},{\"op\":\"gru\",\"prefix\":\"r\"}," HEAD,
               "{\"op\":\"gaussian_mixture\",\"components\":1}", 4, 0, expert, error);
}

static void nade_model(model *m, size_t d, size_t h, size_t p) {
  m->n = m->used = 0;
  matrix(m, "W", 0, h, d);
  tensor(m, "V", 1000, p == 1 ? 2 : 3, p == 1 ? (size_t[]){d, h} : (size_t[]){d, p, h});
  tensor(m, "b", 2000, p == 1 ? 1 : 2, (size_t[]){d, p});
  vector(m, "c", 3000, h);
}

#define NADE "[{\"op\":\"nade\",\"W\":\"W\",\"V\":\"V\",\"b\":\"b\",\"c\":\"c\"}]"

poe_status poet_build_nade(poe_expert **expert, poe_error *error) {
  static model m;
  nade_model(&m, 6, 5, 1);
  return build(&m, "nade", "[6]", NADE, "{\"op\":\"bernoulli\"}", 6, 2, expert, error);
}

poe_status poet_build_real_nade(poe_expert **expert, poe_error *error) {
  static model m;
  nade_model(&m, 2, 4, 6);
  return build(&m, "real-nade", "[2]", NADE, "{\"op\":\"gaussian_mixture\",\"components\":2}", 2, 0, expert, error);
}
