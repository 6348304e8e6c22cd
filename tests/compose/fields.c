/* Random factor graphs and their truth by brute force (see fields.h). */
#include "tests/compose/fields.h"

#include <math.h>
#include <stdlib.h>

#include "core/numerics.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

size_t below(poe_stream *stream, size_t n) {
  size_t i = (size_t)(poe_stream_uniform(stream) * (double)n);
  return i < n ? i : n - 1;
}

static void random_factor(poei_field *graph, const shape *s, poe_stream *stream, const size_t *possible) {
  size_t n = 1 + below(stream, s->most_scope), scope[8], size = 1, at = 0;
  n = n < s->variables ? n : s->variables;
  for (size_t i = 0; i < n; i++) {
    bool again = true;
    while (again) {
      scope[i] = below(stream, s->variables);
      again = false;
      for (size_t k = 0; k < i; k++) {
        again = again || scope[k] == scope[i];
      }
    }
    size_t cardinality = poei_field_cardinality(graph, scope[i]);
    size *= cardinality;
    at = at * cardinality + possible[scope[i]];
  }
  double *value = poet_doubles(size);
  for (size_t i = 0; i < size; i++) {
    value[i] = s->scale * poe_stream_normal(stream);
    double low = poe_stream_uniform(stream), zero = poe_stream_uniform(stream);
    value[i] -= low < 0.15 && i != at ? s->steep : 0.0;
    value[i] = zero < s->zeros && i != at ? -INFINITY : value[i];
  }
  poe_error error = {0};
  check_ok(poei_field_add(graph, n, scope, value, &error), error);
  free(value);
}

poei_field *random_graph(const shape *s, uint64_t seed) {
  poe_stream stream = poe_stream_open(poe_rng_seed(seed));
  poei_field *graph = NULL;
  poe_error error = {0};
  check_ok(poei_field_create(&graph, &error), error);
  size_t possible[MOST], variable;
  for (size_t i = 0; i < s->variables; i++) {
    size_t cardinality = s->all ? s->most_values : 1 + below(&stream, s->most_values);
    check_ok(poei_field_variable(graph, cardinality, &variable, &error), error);
    assert_int_equal(variable, i);
    possible[i] = below(&stream, cardinality);
  }
  for (size_t f = 0; f < s->factors; f++) {
    random_factor(graph, s, &stream, possible);
  }
  poei_field_scale(graph, 3.25);
  return graph;
}

/* ---- brute force ---- */

void unpack(const truth *all, size_t s, size_t *x) {
  for (size_t i = all->n; i-- > 0;) {
    x[i] = s % all->cardinality[i];
    s /= all->cardinality[i];
  }
}

truth enumerate(const poei_field *graph) {
  truth all = {.n = poei_field_variables(graph), .states = 1};
  all.cardinality = calloc(all.n, sizeof *all.cardinality);
  for (size_t i = 0; i < all.n; i++) {
    all.cardinality[i] = poei_field_cardinality(graph, i);
    all.states *= all.cardinality[i];
  }
  all.log_p = poet_doubles(all.states);
  size_t x[MOST];
  for (size_t s = 0; s < all.states; s++) {
    unpack(&all, s, x);
    all.log_p[s] = poei_field_log_value(graph, x);
  }
  all.log_z = poei_log_sum_exp(all.log_p, all.states, 1);
  return all;
}

void forget(truth *all) {
  free(all->cardinality);
  free(all->log_p);
}

poei_junction *junction_within(const poei_field *graph, poei_junction_goal goal, size_t byte_limit,
                               const unsigned char *summed) {
  poei_junction_options options = {goal, byte_limit, summed};
  poei_junction *junction = NULL;
  poe_error error = {0};
  check_ok(poei_junction_create(graph, &options, &junction, &error), error);
  check_ok(poei_junction_run(junction, &error), error);
  return junction;
}

poei_junction *junction_of(const poei_field *graph, poei_junction_goal goal, const unsigned char *summed) {
  return junction_within(graph, goal, (size_t)1 << 30, summed);
}
