/* Programs from texts, and numbers out of them. */
#ifndef POE_TESTS_LANGUAGE_EVALUATE_H
#define POE_TESTS_LANGUAGE_EVALUATE_H

#include "compose/language/program.h"
#include "tests/support/check.h"

/* Loads a text that must be right; prints the diagnostics and fails the test otherwise. */
poei_program *poet_load(const char *path, const char *text);
/* Lowers a target that must be right. */
void poet_target(poei_program *program, const char *expression, poei_target *target);
/* log p at x[dim]; with grad[dim] not NULL its gradient too. */
double poet_log_density(const poe_expert *expert, const double *x, double *grad);
/* "product(gaussian,plate(formula))": the kinds of an expert and its children, into text[size]. */
void poet_tree_text(const poe_expert *expert, char *text, size_t size);
/* Prints diagnostics to stderr. */
void poet_print_diagnostics(const poei_diagnostics *diagnostics, const char *source);

#endif
