/* The inside of poei_program, and the checker's working state. Private to compose/language. */
#ifndef POE_COMPOSE_LANGUAGE_PROGRAM_PARTS_H
#define POE_COMPOSE_LANGUAGE_PROGRAM_PARTS_H

#include "compose/language/checked.h"

enum {
  POEI_MAX_COORDINATES = 1 << 22, /* of all variables together                               */
  POEI_MAX_DEPTH = 1000,          /* expressions being worked out inside one another         */
  POEI_MAX_TERM_DEPTH = 200,      /* densities inside one another                            */
  POEI_MAX_SIZE = 1 << 22,        /* leaves of one density, and steps of one comprehension   */
  POEI_MAX_STEPS = 1 << 24,       /* expressions worked out in all                           */
  POEI_MAX_INCLUDES = 256,
  POEI_MAX_MEMORY = 1 << 29 /* bytes of the region */
};

typedef enum poei_definition_state { POEI_UNCHECKED, POEI_CHECKING, POEI_CHECKED, POEI_FAILED } poei_definition_state;

typedef struct poei_definition {
  const char *name;
  const poei_statement *statement;
  poei_definition_state state;
  poei_value value; /* without formals, once checked */
  bool called;      /* with formals: its body was worked out at least once */
  bool used;        /* another definition names it */
} poei_definition;

typedef struct poei_symbol {
  const char *name;
  poei_span span;
  const poei_variable *variable; /* one of these two */
  poei_definition *definition;
} poei_symbol;

/* A file of numbers read by data(...). */
typedef struct poei_data {
  const char *path, *key;
  poei_value value;
  struct poei_data *next;
} poei_data;

/* An expert or map kept until the program is freed, with what it was made from. */
typedef struct poei_made {
  uint64_t hash;
  const poei_leaf *leaf; /* NULL for compositions */
  const void *ops;
  poe_expert *expert;
  poe_map *map;
  size_t next; /* of the same bucket, plus 1; 0: none */
} poei_made;

struct poei_program {
  poei_region region;
  const char *path;
  size_t n_sources, source_capacity;
  const poei_source **sources; /* [0] is the main file, then the included ones, then targets given as text */
  poei_document main;          /* the main file as it was parsed */
  size_t n_statements, statement_capacity;
  poei_statement **statements; /* of all files, an included file in the place of its include */
  size_t n_files, file_capacity;
  const char **files;

  size_t n_variables, variable_capacity, n_coordinates;
  poei_variable **variables;
  size_t *identity;     /* [n_coordinates] 0, 1, 2 ...: places of whole variables are pieces of it */
  poe_support *support; /* [n_coordinates] */
  size_t n_definitions, definition_capacity;
  poei_definition **definitions;
  size_t n_symbols, table_size; /* open addressing, table_size a power of two */
  poei_symbol **table;
  size_t n_densities;
  const char **densities;
  size_t n_actions, action_capacity;
  poei_action *actions;
  poei_data *data;
  size_t n_made, made_capacity; /* made_capacity is a power of two */
  poei_made *made;
  size_t *made_bucket; /* [made_capacity] the last leaf made with hash % made_capacity, plus 1 */
};

/* The formula being worked out: places become coordinates of it. */
typedef struct poei_formula_frame {
  poei_code *code;
  const poei_leaf *leaf;
  struct poei_formula_coordinate *sorted; /* [leaf dim] by (derivation, index) */
} poei_formula_frame;

typedef struct poei_checker {
  poei_reader reader;
  poei_program *program;
  size_t depth, steps;
  size_t inside; /* definitions being worked out */
  bool stopped;  /* a limit was reached and told: everything fails from now on */
  poei_formula_frame *formula;
} poei_checker;

/* What a name is wanted for, to word the message when it is unknown. */
typedef enum poei_want { POEI_WANT_ANY, POEI_WANT_EXPERT, POEI_WANT_NUMBER, POEI_WANT_PLACE } poei_want;

/* All functions below return false after a report (or when out of memory, which is told at the end). */

/* check.c */
bool poei_evaluate(poei_checker *checker, const poei_scope *scope, const poei_syntax *syntax, poei_want want,
                   poei_value *value);
bool poei_check_definition(poei_checker *checker, poei_definition *definition, poei_span used);
bool poei_check_program(poei_checker *checker);
/* Reports memory or limits that ran out; true when all is well. */
bool poei_checker_finish(poei_checker *checker);

/* names.c */
poei_symbol *poei_symbol_find(const poei_program *program, const char *name);
bool poei_symbol_add(poei_checker *checker, const poei_name *name, const poei_variable *variable,
                     poei_definition *definition);
/* The names of a statement with an error: known, so that their users fail silently. */
void poei_symbol_fail(poei_checker *checker, const poei_statement *statement);
/* Is the word a function, an operation or a family, which may not be defined with formals? */
const char *poei_reserved_call(const char *word);
bool poei_unknown_name(poei_checker *checker, const poei_scope *scope, const poei_syntax *place, poei_want want);
bool poei_unknown_call(poei_checker *checker, const poei_syntax *call);
/* "did you mean 'word'?" or, when nothing is near, "the <what> are a, b, c"; in the region. */
const char *poei_suggest(poei_checker *checker, const char *word, const char *what, size_t n, const char *const *words);
/* The word of `alternatives`, "a|b|c", nearest to a word; words[n] split in the region. */
bool poei_split_words(poei_checker *checker, const char *alternatives, size_t *n, const char *const **words);
/* Names used in the body of a definition with formals that nobody calls. */
void poei_check_names(poei_checker *checker, const poei_definition *definition);

/* spaces.c */
bool poei_check_var(poei_checker *checker, const poei_statement *statement);
const poei_variable *poei_variable_of(const poei_program *program, size_t coordinate);
/* How many numbers the simplex has that a coordinate belongs to, and its first; 0: it belongs to none. */
size_t poei_simplex_of(const poei_program *program, size_t coordinate, size_t *first);
/* Coordinates ids[n], ascending and distinct, hold all numbers of a simplex or none; what: "given". */
bool poei_check_whole_simplices(poei_checker *checker, poei_span span, size_t n, const size_t *ids, const char *what);
/* Is a value inside the support of a coordinate? */
bool poei_space_contains(const poe_support *support, double value);
/* "int(3), which holds 0..2" */
const char *poei_space_text(poei_checker *checker, const poei_variable *variable, const poe_support *support);

/* places.c */
bool poei_evaluate_place(poei_checker *checker, const poei_scope *scope, const poei_syntax *syntax, poei_want want,
                         poei_value *value);
bool poei_evaluate_whole(poei_checker *checker, const poei_scope *scope, const poei_syntax *syntax, const char *what,
                         double *number);
/* A place inside a formula: the nodes of its coordinates. */
bool poei_place_numbers(poei_checker *checker, poei_span span, const poei_value *place, poei_value *numbers);

/* numbers.c */
bool poei_numbers_scalar(poei_checker *checker, double number, poei_value *value);
bool poei_numbers_apply(poei_checker *checker, poei_span span, poei_formula_op op, size_t n, const poei_value *args,
                        poei_value *value);
bool poei_numbers_list(poei_checker *checker, const poei_syntax *syntax, size_t n, const poei_value *items,
                       poei_value *value);
/* A node for a constant in the formula being worked out; negative when out of memory. */
int32_t poei_code_constant(poei_checker *checker, double number);
/* A function of the language on numbers: exp, sum, dot, norm ... */
bool poei_is_function(const char *word);
bool poei_call_function(poei_checker *checker, const poei_scope *scope, const poei_syntax *call, poei_value *value);
extern const char *const poei_function_words[];

/* data.c */
bool poei_call_data(poei_checker *checker, const poei_scope *scope, const poei_syntax *call, poei_value *value);
const char *poei_resolve_path(poei_region *region, const poei_source *source, const char *path);
bool poei_program_read(poei_checker *checker, const char *path);

/* calls.c */
bool poei_call_definition(poei_checker *checker, const poei_scope *scope, const poei_syntax *call,
                          poei_definition *definition, poei_value *value);
bool poei_call_family(poei_checker *checker, const poei_scope *scope, const poei_syntax *call,
                      const poe_expert_ops *family, poei_value *value);
bool poei_call_map(poei_checker *checker, const poei_scope *scope, const poei_syntax *call, const poe_map_ops *map,
                   poei_value *value);
const poe_param *poei_find_param(const poe_param *params, const char *name);
bool poei_unknown_param(poei_checker *checker, const char *kind, const poe_param *params, const poei_syntax *argument);

/* arguments.c */
bool poei_evaluate_argument(poei_checker *checker, const poei_scope *scope, const poe_param *param,
                            const poei_syntax *argument, const poei_leaf *leaf, poe_arg *arg, const poei_code **code);

/* densities.c: operators on densities */
const char *poei_sort_text(const poei_value *value);
/* A density that stands on its own; tells what is wrong with a weight, a negation, a number. */
bool poei_need_density(poei_checker *checker, const poei_syntax *syntax, const poei_value *value);
bool poei_density_product(poei_checker *checker, const poei_syntax *syntax, size_t n, const poei_value *items,
                          const bool *inverse, poei_value *value);
bool poei_density_power(poei_checker *checker, const poei_syntax *syntax, const poei_value *base,
                        const poei_value *exponent, poei_value *value);
bool poei_density_sum(poei_checker *checker, const poei_syntax *syntax, size_t n, const poei_value *items,
                      const bool *inverse, poei_value *value);
bool poei_density_or(poei_checker *checker, const poei_syntax *syntax, size_t n, const poei_value *items,
                     poei_value *value);
bool poei_density_and(poei_checker *checker, const poei_syntax *syntax, size_t n, const poei_value *items,
                      poei_value *value);
bool poei_density_not(poei_checker *checker, const poei_syntax *syntax, const poei_value *item, poei_value *value);
bool poei_density_wrap(poei_checker *checker, const poei_scope *scope, const poei_syntax *call, poei_value *value);
bool poei_density_given(poei_checker *checker, const poei_scope *scope, const poei_syntax *syntax, poei_value *value);

/* marginals.c */
bool poei_density_marginal(poei_checker *checker, const poei_scope *scope, const poei_syntax *call, poei_value *value);

/* comprehensions.c */
bool poei_call_product(poei_checker *checker, const poei_scope *scope, const poei_syntax *call, poei_value *value);
bool poei_call_mixture(poei_checker *checker, const poei_scope *scope, const poei_syntax *call, poei_value *value);
/* All values of the body, in order. */
bool poei_evaluate_each(poei_checker *checker, const poei_scope *scope, const poei_syntax *each, poei_want want,
                        size_t *n, poei_value **values);

/* terms.c */
poei_term *poei_term_leaf(poei_checker *checker, const poei_syntax *syntax, const poe_expert_ops *family,
                          const poei_leaf *leaf);
/* Factors of unnamed products inside are spliced in; a single factor with exponent 1 is itself. */
poei_term *poei_term_product(poei_checker *checker, const poei_syntax *syntax, size_t n, poei_term *const *children,
                             const double *exponents);
poei_term *poei_term_mixture(poei_checker *checker, const poei_syntax *syntax, size_t n, poei_term *const *children,
                             const double *weights);
poei_term *poei_term_wrap(poei_checker *checker, const poei_syntax *syntax, poei_term_kind kind, poei_term *child);
poei_term *poei_term_given(poei_checker *checker, const poei_syntax *syntax, poei_term *child, size_t n,
                           const size_t *ids, const double *values);
/* Without coordinates ids[n] (ascending): integrated out at inverse temperature beta, or maximised over (infinite). */
poei_term *poei_term_marginal(poei_checker *checker, const poei_syntax *syntax, poei_term *child, size_t n,
                              const size_t *ids, double beta);
poei_term *poei_term_plate(poei_checker *checker, const poei_syntax *syntax, poei_term *child, size_t count,
                           const size_t *index);
/* The same structure over other coordinates? Then image[a dim] says which coordinate of b stands for each of a's. */
bool poei_term_same(const poei_term *a, const poei_term *b, size_t *image);
bool poei_leaf_same(const poei_leaf *a, const poei_leaf *b);
/* Sorts and removes doubles in place; returns how many are left. */
size_t poei_sort_unique(size_t *ids, size_t n);
uint64_t poei_hash_bytes(uint64_t hash, const void *data, size_t size);

/* actions.c */
bool poei_check_action(poei_checker *checker, const poei_statement *statement);

/* include.c, overrides.c */
bool poei_load_sources(poei_checker *checker, const char *path, const char *text);
bool poei_apply_overrides(poei_checker *checker, size_t n, const poei_override *overrides);
/* Adds a text to the sources; copies nothing. */
poei_source *poei_program_add_source(poei_checker *checker, const char *path, const char *anchor, const char *text,
                                     size_t size);

/* lower.c */
bool poei_lower_term(poei_checker *checker, poei_term *term);
/* Keeps an expert (one reference) until the program is freed. */
bool poei_keep_expert(poei_checker *checker, const poei_leaf *leaf, const void *ops, poe_expert *expert);
bool poei_keep_map(poei_checker *checker, const poei_leaf *leaf, const void *ops, poe_map *map);
/* lower_leaf.c */
bool poei_lower_leaf(poei_checker *checker, const poei_term *term, poe_expert **expert);
/* The values in both supports (of one kind); low > high when there are none. */
poe_support poei_space_intersect(const poe_support *a, const poe_support *b);
bool poei_make_map(poei_checker *checker, const poei_leaf *leaf, const poe_map_ops *ops, poe_map **map);
/* lower_derived.c */
bool poei_derivation_flatten(poei_checker *checker, poei_derivation *derivation);
bool poei_lower_through(poei_checker *checker, const poei_term *term, poe_expert *leaf, poe_expert **expert);
/* lower_flat.c: constant factors for the coordinates of a product that only factors with exponent 0 read */
typedef struct poei_flat_factors {
  size_t n;
  poe_expert **expert; /* [n] owned by whoever asked: poei_flat_release */
  size_t *coordinate;  /* [n] of the product                            */
} poei_flat_factors;
poe_status poei_lower_flat(poei_checker *checker, const poei_term *term, const size_t *const *index,
                           poei_flat_factors *out, poe_error *error);
void poei_flat_release(poei_flat_factors *flat);
/* lower_mixture.c */
bool poei_lower_mixture(poei_checker *checker, poei_term *term, poe_expert **expert);
bool poei_lower_normalise(poei_checker *checker, poei_term *term, poe_expert **expert);
/* Reports an error of a family, node or file at a place of the program unless it has one there already. */
bool poei_report_at(poei_checker *checker, poei_span span, poe_error *error);
/* An expert over coordinates `from` as one over the ascending union `to`; consumes a reference of `expert`. */
bool poei_widen(poei_checker *checker, poei_span span, poe_expert *expert, size_t n_from, const size_t *from,
                size_t n_to, const size_t *to, poe_expert **out);

/* target.c */
bool poei_check_target(poei_checker *checker, const char *expression, const poei_syntax **syntax, poei_term **term);

#endif
