/* Evaluates a flow for the comparison with PyTorch:
 *   interop_flow MODEL X.npy OUT.npz
 * X [n, d] float64. OUT gets log_p [n, 1], its gradient [n, d], the noise of X [n, d], n draws [n, d] with the
 * noise [n, d] that they were made from, and again the noise of the draws [n, d]. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "experts/flow.h"
#include "experts/list.h"
#include "formats/tensor_write.h"

static void stop(const poe_error *error) {
  fprintf(stderr, "%s %s\n", error->message, error->hint);
  exit(1);
}

int main(int argc, char **argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: interop_flow MODEL X OUT\n");
    return 2;
  }
  poe_error error = {0};
  poei_tensor_file *file;
  if (poei_tensor_file_open(argv[2], &file, &error) != POE_OK) {
    stop(&error);
  }
  const poei_tensor *tensor = poei_tensor_file_at(file, 0);
  size_t n = tensor->shape[0], d = tensor->shape[1], tensor_count = tensor->count;
  double *x = calloc(tensor_count + 1, sizeof *x), *log_p = calloc(n + 1, sizeof *log_p);
  double *noise = calloc(tensor_count + 1, sizeof *noise), *grad = calloc(tensor_count + 1, sizeof *grad);
  double *draws = calloc(tensor_count + 1, sizeof *draws), *from = calloc(tensor_count + 1, sizeof *from);
  poe_support *support = calloc(d, sizeof *support);
  poe_rng *at = calloc(n + 1, sizeof *at);
  poei_tensor_to_double(tensor, x);
  poei_tensor_file_close(file);
  for (size_t j = 0; j < d; j++) {
    support[j] = (poe_support){POE_CONTINUOUS, -INFINITY, INFINITY, true, true};
  }
  poe_subject subject = {"x", 1, &d, d, support};
  poe_arg arg = {.name = "file", .type = POE_ARG_FILE, .text = argv[1]};
  poe_args args = {"flow", 1, &subject, 1, &arg};
  poe_expert *expert;
  poei_flow *flow;
  if (poe_expert_create(&poei_flow_ops, &args, &expert, &error) != POE_OK ||
      poei_flow_read(argv[1], NULL, d, &flow, &error) != POE_OK) {
    stop(&error);
  }
  double one = 1.0;
  size_t need = poe_expert_scratch(expert, POE_WANT_GRAD, n), draw = poe_expert_scratch(expert, POE_WANT_SAMPLE, n);
  poe_scratch *scratch = poe_scratch_create(need > draw ? need : draw);
  for (size_t i = 0; i < n; i++) {
    at[i] = poe_rng_seed(9);
    at[i].chain = (uint32_t)i;
    poei_flow_base_draw(&flow->base, d, at[i], from + i * d);
  }
  memcpy(noise, x, n * d * sizeof *x);
  double *unused = calloc(n + 1, sizeof *unused), *again = calloc(tensor_count + 1, sizeof *again);
  poei_flow_pass pass = {.flow = flow, .n = n, .d = d, .x = noise, .log_p = unused, .scratch = scratch};
  poei_flow_pass second = {.flow = flow, .n = n, .d = d, .x = again, .log_p = unused, .scratch = scratch};
  poei_npz_writer *writer;
  if (poe_expert_eval_add(expert, (poe_rows){n, d, d, x}, (poe_weights){&one, 0}, (poe_accum){log_p, grad, d}, scratch,
                          &error) != POE_OK ||
      poe_expert_sample(expert, (poe_rows_out){n, d, d, draws}, at, scratch, &error) != POE_OK ||
      poei_flow_rest(&pass, &error) != POE_OK || memcpy(again, draws, n * d * sizeof *draws) == NULL ||
      poei_flow_rest(&second, &error) != POE_OK || poei_npz_writer_open(argv[3], &writer, &error) != POE_OK ||
      poei_npz_writer_add(writer, "log_p", POEI_F64, 2, (size_t[]){n, 1}, log_p, &error) != POE_OK ||
      poei_npz_writer_add(writer, "grad", POEI_F64, 2, (size_t[]){n, d}, grad, &error) != POE_OK ||
      poei_npz_writer_add(writer, "noise", POEI_F64, 2, (size_t[]){n, d}, noise, &error) != POE_OK ||
      poei_npz_writer_add(writer, "draws", POEI_F64, 2, (size_t[]){n, d}, draws, &error) != POE_OK ||
      poei_npz_writer_add(writer, "from", POEI_F64, 2, (size_t[]){n, d}, from, &error) != POE_OK ||
      poei_npz_writer_add(writer, "again", POEI_F64, 2, (size_t[]){n, d}, again, &error) != POE_OK ||
      poei_npz_writer_commit(writer, &error) != POE_OK) {
    stop(&error);
  }
  poei_flow_destroy(flow);
  poe_expert_release(expert);
  poe_scratch_destroy(scratch);
  free(x);
  free(log_p);
  free(noise);
  free(grad);
  free(draws);
  free(from);
  free(unused);
  free(again);
  free(support);
  free(at);
  return 0;
}
