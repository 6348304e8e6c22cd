/* The checked tree: what the text means, with every name, sort, space and shape resolved, and nothing created yet but
 * maps (whose output shapes the checks need).
 *
 * A value is what an expression stands for: numbers, texts, a place (coordinates of variables, or of the output of a
 * map) or a density. A density is a term: a tree of leaves (calls of families over coordinates) and compositions over
 * sorted coordinates, shared where definitions share. All of it lives in the program's region and is immutable, except
 * for the experts that lowering remembers in the terms.
 */
#ifndef POE_COMPOSE_LANGUAGE_CHECKED_H
#define POE_COMPOSE_LANGUAGE_CHECKED_H

#include "compose/language/syntax.h"
#include "net/formula.h"
#include "poe/expert.h"

/* ---- formulas ---- */

enum { POEI_CODE_CONSTANT = -1, POEI_CODE_COORDINATE = -2 }; /* beside the poei_formula_op values */

/* One operation of a formula; arguments come before it. */
typedef struct poei_code_node {
  int op; /* a poei_formula_op or POEI_CODE_... */
  size_t n;
  const int32_t *args; /* [n] indices of earlier nodes */
  double constant;
  size_t coordinate; /* of the leaf: position among its subjects' coordinates */
} poei_code_node;

/* A formula over the coordinates of a leaf, before it is built. */
typedef struct poei_code {
  size_t n, capacity;
  poei_code_node *nodes;
  int32_t root;
  size_t dim;
  uint64_t hash; /* of all nodes */
} poei_code;

/* ---- leaves ---- */

typedef struct poei_derivation poei_derivation;

/* Coordinates that stand before the bar: of variables, or (of != NULL) of a map's output. */
typedef struct poei_part {
  poe_subject subject;       /* as the family will see it  */
  const poei_derivation *of; /* NULL: index are coordinate ids */
  const size_t *index;       /* [subject.dim]              */
} poei_part;

/* A call of a family or map. */
typedef struct poei_leaf {
  const char *kind;
  const poei_syntax *syntax;
  size_t n_parts;
  const poei_part *parts;
  size_t dim; /* of all parts */
  size_t n_args;
  poe_arg *args; /* [n_args]; the formula of a FORMULA argument is in codes until it is built */
  const poei_code **codes;
  uint64_t hash; /* of everything but the coordinates */
} poei_leaf;

/* A derived variable: the output of a map. */
struct poei_derivation {
  const poei_leaf *leaf;
  const char *name; /* of the definition, NULL for an inline call */
  poe_map *map;     /* owned by the program */
  size_t ndim, shape[POE_MAX_DIMS], dim;
  const size_t *identity; /* [dim] 0, 1, 2 ...                              */
  /* The same as a function of coordinates of variables: the map itself, or one that runs the maps it reads first. */
  poe_map *flat;
  size_t flat_dim;
  const size_t *flat_coordinate; /* [flat_dim] ids in the order the map reads them */
};

/* ---- terms ---- */

typedef enum poei_term_kind {
  POEI_TERM_LEAF,
  POEI_TERM_PRODUCT,      /* children with exponents; none: the constant 1 over no coordinates */
  POEI_TERM_PLATE,        /* children[0] over `count` index sets                               */
  POEI_TERM_MIXTURE,      /* children with weights                                             */
  POEI_TERM_NORMALISE,    /* children[0]                                                       */
  POEI_TERM_UNNORMALISED, /* children[0]                                                      */
  POEI_TERM_GIVEN,        /* children[0] with coordinates clamped                              */
  POEI_TERM_MARGINAL      /* children[0] with coordinates integrated out or maximised over     */
} poei_term_kind;

typedef struct poei_term poei_term;
struct poei_term {
  poei_term_kind kind;
  const poei_syntax *syntax; /* as written                                  */
  const char *name;          /* of the definition it is, NULL               */
  const char *step;          /* of the comprehension that made it, "i = 0, j = 2"; NULL: none, or a late one */
  size_t dim;
  const size_t *coordinate; /* [dim] free coordinates, ascending            */
  size_t depth;             /* terms inside one another                     */
  size_t size;              /* leaves below, shared ones counted each time  */
  uint64_t hash;            /* of the structure, blind to coordinates       */

  const poe_expert_ops *family; /* LEAF */
  const poei_leaf *leaf;
  size_t n_read;      /* LEAF: the coordinates it reads; `coordinate` holds all numbers of a simplex it reads one of */
  const size_t *read; /* [n_read] ascending */
  bool has_derived;   /* a leaf below reads a derived variable                  */

  size_t n;
  poei_term **children;
  const double *factor; /* [n] exponents of a product, weights of a mixture  */
  size_t count;         /* PLATE */
  const size_t *index;  /* PLATE: [count, children[0] dim] coordinate ids, in the order of the child's coordinates */
  size_t n_clamped;     /* values fixed by `given` here and below, ascending ids */
  const size_t *clamped;
  const double *clamped_value;
  size_t n_given; /* GIVEN: those fixed right here; MARGINAL: those that disappear, in given[] */
  const size_t *given;
  const double *given_value;
  double beta; /* MARGINAL: inverse temperature; infinite: maximised */

  poe_expert *expert; /* lowered; owned by the program */
  double log_z;       /* known exactly by construction, NaN otherwise */
};

/* ---- values ---- */

typedef enum poei_sort {
  POEI_SORT_NUMBERS, /* a number (ndim 0), a list or a table of them                       */
  POEI_SORT_TEXT,
  POEI_SORT_TEXTS,
  POEI_SORT_PLACE,
  POEI_SORT_DENSITY,
  POEI_SORT_WEIGHTED, /* weight * density: only a sum takes it                              */
  POEI_SORT_NEGATED   /* not density: only `and` takes it                                   */
} poei_sort;

typedef struct poei_value {
  poei_sort sort;
  size_t ndim, shape[POE_MAX_DIMS];
  size_t n;              /* NUMBERS, PLACE: product of shape; TEXTS: how many              */
  const double *number;  /* NUMBERS: [n]                                                   */
  const int32_t *code;   /* NUMBERS inside a formula: [n] node, -1 for a constant; or NULL */
  const char *text;      /* TEXT                                                           */
  const poei_source *in; /* TEXT: where it was written (anchors paths)                     */
  const char *const *texts;
  const poei_derivation *of; /* PLACE: NULL for variables */
  const size_t *index;       /* PLACE: [n]                */
  const char *name;          /* PLACE: of the variable    */
  poei_term *term;
  double weight;
} poei_value;

/* Names of formals and indices: the innermost first. */
typedef struct poei_scope {
  const char *name;
  poei_value value;
  const struct poei_scope *outer;
} poei_scope;

#endif
