/* Evaluates a network for the comparison with PyTorch, or times it for bench/mlp.py:
 *   interop_net MODEL X.npy SEEDS.npy OUT.npz [LAYERS ACTIVATION OUTPUT_ACTIVATION]
 *   interop_net MODEL time ROWS SECONDS
 * X [n, in], SEEDS [n, out] float64. OUT gets y = f(x) and dx = the gradient of sum(seeds * f(x)). LAYERS is a
 * comma-separated list of prefixes. The second form prints the seconds of one evaluation with gradient, of its matrix
 * products alone, its operations, and the core that BLAS chose.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/linalg.h"
#include "formats/tensor_write.h"
#include "net/net.h"

static void die(const poe_error *error) {
  fprintf(stderr, "%s %s\n", error->message, error->hint);
  exit(1);
}

static double *read_numbers(const char *path, size_t *rows, size_t *columns) {
  poe_error error = {0};
  poei_tensor_file *file;
  if (poei_tensor_file_open(path, &file, &error) != POE_OK) {
    die(&error);
  }
  const poei_tensor *tensor = poei_tensor_file_at(file, 0);
  *rows = tensor->shape[0];
  *columns = tensor->shape[1];
  double *numbers = malloc((tensor->count + 1) * sizeof *numbers);
  poei_tensor_to_double(tensor, numbers);
  poei_tensor_file_close(file);
  return numbers;
}

static poe_status pull_seeds(void *context, poe_rows y, double *dy, poe_scratch *scratch, poe_error *error) {
  (void)scratch;
  (void)error;
  memcpy(dy, context, y.n * y.d * sizeof *dy);
  return POE_OK;
}

static void compare(const poei_net *net, char **argv) {
  size_t n, in, out, n_seeds;
  double *x = read_numbers(argv[2], &n, &in), *seeds = read_numbers(argv[3], &n_seeds, &out);
  if (in != poei_net_in_dim(net) || out != poei_net_out_dim(net) || n != n_seeds) {
    die(&(poe_error){.message = "the arrays do not fit the network"});
  }
  double *y = calloc(n * out, sizeof *y), *dx = calloc(n * in, sizeof *dx);
  poe_rows rows = {n, in, in, x};
  poe_scratch *scratch = poe_scratch_create(poei_net_scratch(net, POE_WANT_GRAD, n));
  poe_error error = {0};
  poei_npz_writer *writer;
  poei_net_eval(net, rows, y, out, scratch);
  if (poei_net_eval_vjp(net, rows, pull_seeds, seeds, dx, in, scratch, &error) != POE_OK ||
      poei_npz_writer_open(argv[4], &writer, &error) != POE_OK ||
      poei_npz_writer_add(writer, "y", POEI_F64, 2, (size_t[]){n, out}, y, &error) != POE_OK ||
      poei_npz_writer_add(writer, "dx", POEI_F64, 2, (size_t[]){n, in}, dx, &error) != POE_OK ||
      poei_npz_writer_commit(writer, &error) != POE_OK) {
    die(&error);
  }
  poe_scratch_destroy(scratch);
  free(x);
  free(seeds);
  free(y);
  free(dx);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Best times within a budget; the network and its products take turns, so that both see the same machine. */
static void measure(const poei_net *net, size_t n, double budget) {
  size_t in = poei_net_in_dim(net), out = poei_net_out_dim(net);
  double *x = calloc(n * in, sizeof *x), *seeds = calloc(n * out, sizeof *seeds), *dx = calloc(n * in, sizeof *dx);
  for (size_t i = 0; i < n * in; i++) {
    x[i] = sin((double)i);
  }
  for (size_t i = 0; i < n * out; i++) {
    seeds[i] = 1.0;
  }
  poe_scratch *scratch = poe_scratch_create(poei_net_scratch(net, POE_WANT_GRAD, n));
  poe_error error = {0};
  double best = INFINITY, products = INFINITY, flops = 0.0, end = now() + budget;
  do {
    for (int i = 0; i < 5; i++) {
      double start = now();
      if (poei_net_eval_vjp(net, (poe_rows){n, in, in, x}, pull_seeds, seeds, dx, in, scratch, &error) != POE_OK) {
        die(&error);
      }
      best = fmin(best, now() - start);
    }
    double seconds;
    if (poei_net_time_gemms(net, POE_WANT_GRAD, n, 5, &seconds, &flops, &error) != POE_OK) {
      die(&error);
    }
    products = fmin(products, seconds);
  } while (now() < end);
  printf("%.9g %.9g %.9g %s\n", best, products, flops, poei_linalg_core_name());
  poe_scratch_destroy(scratch);
  free(x);
  free(seeds);
  free(dx);
}

int main(int argc, char **argv) {
  if (argc != 5 && argc != 8) {
    fprintf(stderr,
            "usage: interop_net MODEL X SEEDS OUT [LAYERS ACTIVATION OUTPUT_ACTIVATION] | MODEL time ROWS SECONDS\n");
    return 2;
  }
  poe_error error = {0};
  poei_tensor_file *file;
  poei_net *net;
  if (poei_tensor_file_open(argv[1], &file, &error) != POE_OK) {
    die(&error);
  }
  poei_net_source source = {.file = file};
  const char *layers[64];
  if (argc == 8) {
    for (char *word = strtok(argv[5], ","); word != NULL && source.n_layers < 64; word = strtok(NULL, ",")) {
      layers[source.n_layers++] = word;
    }
    source.layers = layers;
    source.activation = argv[6];
    source.output_activation = argv[7];
  }
  if (poei_net_load(&source, &net, &error) != POE_OK) {
    die(&error);
  }
  if (strcmp(argv[2], "time") == 0) {
    measure(net, (size_t)strtoul(argv[3], NULL, 10), strtod(argv[4], NULL));
  } else {
    compare(net, argv);
  }
  poei_net_release(net);
  poei_tensor_file_close(file);
  return 0;
}
