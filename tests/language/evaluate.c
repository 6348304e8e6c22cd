/* Programs from texts, and numbers out of them (evaluate.h). */
#include "tests/language/evaluate.h"

#include <stdio.h>
#include <string.h>

#include "compose/nodes/nodes.h"
#include "core/alloc.h"

void poet_print_diagnostics(const poei_diagnostics *diagnostics, const char *source) {
  for (size_t i = 0; i < diagnostics->n; i++) {
    char *text = poei_diagnostic_text(&diagnostics->items[i], source, false);
    fputs(text ? text : "out of memory\n", stderr);
    poei_free(text);
  }
}

poei_program *poet_load(const char *path, const char *text) {
  poei_diagnostics diagnostics = {0};
  poei_program *program = NULL;
  poe_status status = poei_program_load(path, text, 0, NULL, &diagnostics, &program);
  if (status != POE_OK) {
    poet_print_diagnostics(&diagnostics, text);
  }
  poei_diagnostics_free(&diagnostics);
  assert_int_equal(status, POE_OK);
  return program;
}

void poet_target(poei_program *program, const char *expression, poei_target *target) {
  poei_diagnostics diagnostics = {0};
  poe_status status = poei_program_target(program, expression, target, &diagnostics);
  if (status != POE_OK) {
    poet_print_diagnostics(&diagnostics, NULL);
  }
  poei_diagnostics_free(&diagnostics);
  assert_int_equal(status, POE_OK);
}

double poet_log_density(const poe_expert *expert, const double *x, double *grad) {
  size_t dim = poe_expert_traits(expert)->dim;
  poe_scratch *scratch = poe_scratch_create(poe_expert_scratch(expert, grad ? POE_WANT_GRAD : POE_WANT_LOGP, 1));
  double logp = 0, one = 1;
  poe_error error = {0};
  assert_non_null(scratch);
  if (grad) {
    memset(grad, 0, dim * sizeof *grad);
  }
  poe_accum out = {.logp = &logp, .grad = grad, .ldg = dim};
  check_ok(poe_expert_eval_add(expert, (poe_rows){1, dim, dim, x}, (poe_weights){&one, 0}, out, scratch, &error),
           error);
  poe_scratch_destroy(scratch);
  return logp;
}

static void add(char *text, size_t size, const char *piece) {
  size_t n = strlen(text);
  if (n + 1 < size) {
    snprintf(text + n, size - n, "%s", piece);
  }
}

static void add_tree(const poe_expert *expert, char *text, size_t size) {
  add(text, size, poe_expert_ops_of(expert)->kind);
  size_t n = poei_node_child_count(expert);
  for (size_t i = 0; i < n; i++) {
    add(text, size, i == 0 ? "(" : ",");
    add_tree(poei_node_child(expert, i), text, size);
  }
  add(text, size, n > 0 ? ")" : "");
}

void poet_tree_text(const poe_expert *expert, char *text, size_t size) {
  text[0] = '\0';
  add_tree(expert, text, size);
}
