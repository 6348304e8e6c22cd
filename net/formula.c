/* Building formulas (net/formula.h): hash-consing, constant folding, and the pruned, immutable result.
 *
 * Rewritings keep every IEEE value they can meet: x + 0, x - 0, x * 1, x / 1, x ^ 1, - - x, and small integer powers as
 * products. x * 0 stays, because it is NaN where x is infinite.
 */
#include "net/formula.h"

#include <string.h>

#include "core/alloc.h"
#include "net/formula_nodes.h"

enum { FORMULA_MAX_NODES = 1 << 20, FORMULA_CACHE_NUMBERS = 1 << 15 };

struct poei_formula_builder {
  size_t dim;
  poe_status failed; /* sticky; POE_OK while all is well */
  size_t n_nodes, node_capacity;
  poei_formula_node *nodes;
  poei_formula_value *next; /* [node_capacity] chain of the hash bucket, -1 = end */
  size_t n_args, arg_capacity;
  poei_formula_value *args;
  size_t n_buckets; /* a power of two */
  poei_formula_value *buckets;
};

static const size_t formula_arity[] = {
#define FORMULA_ARITY(name, arity, word) arity,
    POEI_FORMULA_OP_LIST(FORMULA_ARITY)
#undef FORMULA_ARITY
};

enum { FORMULA_FIRST_BUCKETS = 256 };

poei_formula_builder *poei_formula_builder_create(size_t dim) {
  poei_formula_builder *builder = poei_calloc(1, sizeof *builder);
  if (builder == NULL) {
    return NULL;
  }
  builder->dim = dim;
  builder->n_buckets = FORMULA_FIRST_BUCKETS;
  builder->buckets = poei_alloc(builder->n_buckets, sizeof *builder->buckets);
  if (builder->buckets == NULL) {
    poei_free(builder);
    return NULL;
  }
  memset(builder->buckets, 0xff, builder->n_buckets * sizeof *builder->buckets); /* all -1 */
  return builder;
}

void poei_formula_builder_destroy(poei_formula_builder *builder) {
  if (builder != NULL) {
    poei_free(builder->nodes);
    poei_free(builder->next);
    poei_free(builder->args);
    poei_free(builder->buckets);
    poei_free(builder);
  }
}

static poei_formula_value formula_fail(poei_formula_builder *builder, poe_status status) {
  if (builder->failed == POE_OK) {
    builder->failed = status;
  }
  return -1;
}

/* ---- hash-consing ---- */

static uint64_t formula_mix(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
  return hash ^ (hash >> 29);
}

static uint64_t formula_bits(double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static uint64_t formula_hash(const poei_formula_node *node, const poei_formula_value *args) {
  uint64_t hash = formula_mix((uint64_t)node->kind, (uint64_t)node->op);
  hash = formula_mix(hash, node->kind == POEI_FORMULA_CONSTANT ? formula_bits(node->constant) : node->coordinate);
  for (size_t i = 0; i < node->n_args; i++) {
    hash = formula_mix(hash, (uint64_t)args[i]);
  }
  return hash;
}

static bool formula_same(const poei_formula_builder *builder, const poei_formula_node *a, const poei_formula_node *b,
                         const poei_formula_value *b_args) {
  return a->kind == b->kind && a->op == b->op && a->n_args == b->n_args && a->coordinate == b->coordinate &&
         formula_bits(a->constant) == formula_bits(b->constant) &&
         (b->n_args == 0 || memcmp(builder->args + a->first, b_args, b->n_args * sizeof *b_args) == 0);
}

/* Makes room for one more node and `n` more arguments. */
static bool formula_reserve(poei_formula_builder *builder, size_t n) {
  if (builder->n_nodes == builder->node_capacity) {
    size_t wanted = builder->node_capacity == 0 ? 64 : 2 * builder->node_capacity;
    poei_formula_node *nodes = poei_realloc(builder->nodes, wanted, sizeof *nodes);
    builder->nodes = nodes == NULL ? builder->nodes : nodes;
    poei_formula_value *next = poei_realloc(builder->next, wanted, sizeof *next);
    builder->next = next == NULL ? builder->next : next;
    if (nodes == NULL || next == NULL) {
      return false;
    }
    builder->node_capacity = wanted;
  }
  if (builder->arg_capacity - builder->n_args < n) {
    size_t wanted = 2 * builder->arg_capacity + n + 64;
    poei_formula_value *args = poei_realloc(builder->args, wanted, sizeof *args);
    if (args == NULL) {
      return false;
    }
    builder->args = args;
    builder->arg_capacity = wanted;
  }
  return true;
}

/* Doubles the number of buckets; staying with the old ones is only slower, so running out of memory is no failure. */
static void formula_rehash(poei_formula_builder *builder) {
  size_t wanted = 2 * builder->n_buckets;
  poei_formula_value *buckets = poei_alloc(wanted, sizeof *buckets);
  if (buckets == NULL) {
    return;
  }
  memset(buckets, 0xff, wanted * sizeof *buckets);
  for (size_t i = 0; i < builder->n_nodes; i++) {
    const poei_formula_node *node = &builder->nodes[i];
    size_t bucket = (size_t)(formula_hash(node, builder->args + node->first) & (wanted - 1));
    builder->next[i] = buckets[bucket];
    buckets[bucket] = (poei_formula_value)i;
  }
  poei_free(builder->buckets);
  builder->buckets = buckets;
  builder->n_buckets = wanted;
}

/* The node that equals *node, made if there is none. */
static poei_formula_value formula_intern(poei_formula_builder *builder, poei_formula_node node,
                                         const poei_formula_value *args) {
  uint64_t hash = formula_hash(&node, args);
  size_t bucket = (size_t)(hash & (builder->n_buckets - 1));
  for (poei_formula_value v = builder->buckets[bucket]; v >= 0; v = builder->next[v]) {
    if (formula_same(builder, &builder->nodes[v], &node, args)) {
      return v;
    }
  }
  if (builder->n_nodes >= FORMULA_MAX_NODES || node.n_args > FORMULA_MAX_NODES) {
    return formula_fail(builder, POE_E_UNSUPPORTED);
  }
  if (!formula_reserve(builder, node.n_args)) {
    return formula_fail(builder, POE_E_MEMORY);
  }
  node.first = builder->n_args;
  if (node.n_args > 0) {
    memcpy(builder->args + node.first, args, node.n_args * sizeof *args);
  }
  builder->n_args += node.n_args;
  poei_formula_value made = (poei_formula_value)builder->n_nodes++;
  builder->nodes[made] = node;
  builder->next[made] = builder->buckets[bucket];
  builder->buckets[bucket] = made;
  if (builder->n_nodes > builder->n_buckets) {
    formula_rehash(builder);
  }
  return made;
}

poei_formula_value poei_formula_constant(poei_formula_builder *builder, double value) {
  return formula_intern(builder, (poei_formula_node){.kind = POEI_FORMULA_CONSTANT, .constant = value}, NULL);
}

poei_formula_value poei_formula_coordinate(poei_formula_builder *builder, size_t index) {
  if (index >= builder->dim) {
    return formula_fail(builder, POE_E_SHAPE);
  }
  return formula_intern(
      builder, (poei_formula_node){.kind = POEI_FORMULA_COORDINATE, .coordinate = index, .varies = true}, NULL);
}

/* ---- rewriting ---- */

static bool formula_is(const poei_formula_builder *builder, poei_formula_value v, double constant) {
  const poei_formula_node *node = &builder->nodes[v];
  return node->kind == POEI_FORMULA_CONSTANT && node->constant == constant;
}

static poei_formula_value formula_fold(poei_formula_builder *builder, poei_formula_op op, size_t n,
                                       const poei_formula_value *args) {
  double few[4], *values = n <= 4 ? few : poei_alloc(n, sizeof *values);
  if (values == NULL) {
    return formula_fail(builder, POE_E_MEMORY);
  }
  for (size_t i = 0; i < n; i++) {
    values[i] = builder->nodes[args[i]].constant;
  }
  double value = poei_formula_scalar(op, n, values);
  if (values != few) {
    poei_free(values);
  }
  return poei_formula_constant(builder, value);
}

static poei_formula_value formula_power(poei_formula_builder *builder, poei_formula_value base, poei_formula_value by) {
  if (formula_is(builder, by, 1.0)) {
    return base;
  }
  if (formula_is(builder, by, 2.0) || formula_is(builder, by, 3.0)) {
    poei_formula_value square = poei_formula_apply(builder, POEI_FORMULA_MUL, 2, (poei_formula_value[]){base, base});
    return formula_is(builder, by, 2.0)
               ? square
               : poei_formula_apply(builder, POEI_FORMULA_MUL, 2, (poei_formula_value[]){square, base});
  }
  if (formula_is(builder, by, -1.0)) {
    poei_formula_value one = poei_formula_constant(builder, 1.0);
    return poei_formula_apply(builder, POEI_FORMULA_DIV, 2, (poei_formula_value[]){one, base});
  }
  return -1;
}

/* A node that is equal for every value of its arguments, -1 when there is none simpler. */
static poei_formula_value formula_simpler(poei_formula_builder *builder, poei_formula_op op, size_t n,
                                          const poei_formula_value *args) {
  switch (op) {
  case POEI_FORMULA_ADD:
    return formula_is(builder, args[0], 0.0) ? args[1] : formula_is(builder, args[1], 0.0) ? args[0] : -1;
  case POEI_FORMULA_SUB:
    return formula_is(builder, args[1], 0.0) ? args[0] : -1;
  case POEI_FORMULA_MUL:
    return formula_is(builder, args[0], 1.0) ? args[1] : formula_is(builder, args[1], 1.0) ? args[0] : -1;
  case POEI_FORMULA_DIV:
    return formula_is(builder, args[1], 1.0) ? args[0] : -1;
  case POEI_FORMULA_POW:
    return formula_power(builder, args[0], args[1]);
  case POEI_FORMULA_NEG: {
    const poei_formula_node *inner = &builder->nodes[args[0]];
    bool twice = inner->kind == POEI_FORMULA_APPLY && inner->op == POEI_FORMULA_NEG;
    return twice ? builder->args[inner->first] : -1;
  }
  case POEI_FORMULA_MIN:
  case POEI_FORMULA_MAX:
  case POEI_FORMULA_SUM:
  case POEI_FORMULA_LOGSUMEXP:
    return n == 1 ? args[0] : -1;
  case POEI_FORMULA_NORM:
    return n == 1 ? poei_formula_apply(builder, POEI_FORMULA_ABS, 1, args) : -1;
  default:
    return -1;
  }
}

poei_formula_value poei_formula_apply(poei_formula_builder *builder, poei_formula_op op, size_t n,
                                      const poei_formula_value *args) {
  size_t arity = formula_arity[op];
  if (builder->failed != POE_OK || n == 0 || (arity != 0 && n != arity)) {
    return formula_fail(builder, POE_E_TYPE);
  }
  bool varies = false;
  for (size_t i = 0; i < n; i++) {
    if (args[i] < 0 || (size_t)args[i] >= builder->n_nodes) {
      return formula_fail(builder, POE_E_TYPE);
    }
    varies = varies || builder->nodes[args[i]].varies;
  }
  if (!varies) { /* then all arguments are constants: they were folded before */
    return formula_fold(builder, op, n, args);
  }
  poei_formula_value simpler = formula_simpler(builder, op, n, args);
  if (simpler >= 0 || builder->failed != POE_OK) {
    return simpler;
  }
  poei_formula_value sorted[2];
  if ((op == POEI_FORMULA_ADD || op == POEI_FORMULA_MUL) && args[0] > args[1]) {
    sorted[0] = args[1];
    sorted[1] = args[0];
    args = sorted;
  }
  return formula_intern(builder, (poei_formula_node){.kind = POEI_FORMULA_APPLY, .op = op, .n_args = n, .varies = true},
                        args);
}

/* ---- the result ---- */

/* Marks what the root needs: index[i] becomes the new number of node i, -1 = not needed. Returns how many. */
static size_t formula_number(const poei_formula_builder *builder, poei_formula_value root, poei_formula_value *index,
                             size_t *n_args) {
  memset(index, 0xff, builder->n_nodes * sizeof *index);
  index[root] = 0;
  for (size_t i = (size_t)root + 1; i-- > 0;) {
    const poei_formula_node *node = &builder->nodes[i];
    for (size_t k = 0; index[i] >= 0 && k < node->n_args; k++) {
      index[builder->args[node->first + k]] = 0;
    }
  }
  size_t count = 0;
  *n_args = 0;
  for (size_t i = 0; i <= (size_t)root; i++) {
    if (index[i] >= 0) {
      index[i] = (poei_formula_value)count++;
      *n_args += builder->nodes[i].n_args;
    }
  }
  return count;
}

/* Rows at a time: a power of two from 8 to 64, such that values and adjoints of all nodes fit the cache. */
static size_t formula_block(size_t n_nodes) {
  size_t block = 64;
  while (block > 8 && 2 * n_nodes * block > FORMULA_CACHE_NUMBERS) {
    block /= 2;
  }
  return block;
}

static poe_status formula_failure(const poei_formula_builder *builder, poe_error *error) {
  switch (builder->failed) {
  case POE_E_MEMORY:
    return poe_error_set(error, POE_E_MEMORY, "out of memory for a formula");
  case POE_E_UNSUPPORTED:
    return poe_error_set(error, POE_E_UNSUPPORTED, "a formula has more than %d operations", FORMULA_MAX_NODES);
  case POE_E_SHAPE:
    return poe_error_set(error, POE_E_SHAPE, "a formula of %zu coordinates uses one beyond them", builder->dim);
  default:
    return poe_error_set(error, POE_E_TYPE, "an operation in a formula has the wrong number of arguments");
  }
}

poe_status poei_formula_finish(poei_formula_builder *builder, poei_formula_value root, poei_formula **formula,
                               poe_error *error) {
  if (builder->failed != POE_OK) {
    return formula_failure(builder, error);
  }
  if (root < 0 || (size_t)root >= builder->n_nodes) {
    return poe_error_set(error, POE_E_TYPE, "a formula has no value");
  }
  poei_formula_value *index = poei_alloc(builder->n_nodes, sizeof *index);
  poei_formula *made = poei_calloc(1, sizeof *made);
  if (index != NULL && made != NULL) {
    made->n_nodes = formula_number(builder, root, index, &made->n_args);
    made->nodes = poei_alloc(made->n_nodes, sizeof *made->nodes);
    made->args = poei_alloc(made->n_args, sizeof *made->args);
  }
  if (index == NULL || made == NULL || made->nodes == NULL || made->args == NULL) {
    poei_free(index);
    if (made != NULL) {
      poei_free(made->nodes);
      poei_free(made->args);
    }
    poei_free(made);
    return poe_error_set(error, POE_E_MEMORY, "out of memory for a formula");
  }
  size_t used = 0;
  for (size_t i = 0; i <= (size_t)root; i++) {
    if (index[i] < 0) {
      continue;
    }
    poei_formula_node node = builder->nodes[i];
    for (size_t k = 0; k < node.n_args; k++) {
      made->args[used + k] = index[builder->args[node.first + k]];
    }
    node.first = used;
    used += node.n_args;
    made->nodes[index[i]] = node;
  }
  poei_free(index);
  made->references = 1;
  made->dim = builder->dim;
  made->block = formula_block(made->n_nodes);
  *formula = made;
  return POE_OK;
}

poei_formula *poei_formula_retain(const poei_formula *formula) {
  poei_formula *counted = (poei_formula *)formula; /* only the counter changes */
  atomic_fetch_add_explicit(&counted->references, 1, memory_order_relaxed);
  return counted;
}

void poei_formula_release(poei_formula *formula) {
  if (formula != NULL && atomic_fetch_sub_explicit(&formula->references, 1, memory_order_acq_rel) == 1) {
    poei_free(formula->nodes);
    poei_free(formula->args);
    poei_free(formula);
  }
}

size_t poei_formula_dim(const poei_formula *formula) {
  return formula->dim;
}
