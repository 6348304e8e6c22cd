/* A checked program: what a .poe file means. The only door into the language for the floors below.
 *
 * text -> tokens (lex.c) -> syntax tree with spans (parse.c) -> checked tree (check.c: scopes, sorts, spaces, shapes)
 * -> experts over coordinates (lower.c). All names, sorts and shapes are checked before anything is created.
 */
#ifndef POE_COMPOSE_LANGUAGE_PROGRAM_H
#define POE_COMPOSE_LANGUAGE_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>

#include "compose/language/verbs.h"
#include "compose/names.h"
#include "poe/expert.h"

/* ---- diagnostics ---- */

typedef enum poei_severity { POEI_ERROR, POEI_WARNING } poei_severity;

typedef struct poei_diagnostic {
  poei_severity severity;
  poe_error error; /* status, file, place, message, hint */
} poei_diagnostic;

/* A growing list, owned by the caller; zero-initialise. */
typedef struct poei_diagnostics {
  size_t n, capacity, errors;
  poei_diagnostic *items;
} poei_diagnostics;
void poei_diagnostics_free(poei_diagnostics *diagnostics);
/* Appends to a list, unless it is there already; false when out of memory. */
bool poei_diagnostics_add(poei_diagnostics *diagnostics, poei_severity severity, const poe_error *error);
/* Prints one diagnostic as in DESIGN 4 into a text on the heap: "file:line:col: error: message", the source line with a
 * gutter, carets with the hint. `source` is the text of its file or NULL. `colour` uses ANSI codes. */
char *poei_diagnostic_text(const poei_diagnostic *diagnostic, const char *source, bool colour);

/* ---- the program ---- */

typedef struct poei_program poei_program;

/* One override of --set name.param=value: the definition's constructor argument, value in the language. */
typedef struct poei_override {
  const char *name, *param, *value;
} poei_override;

/* Reads, parses and checks a file (and what it includes). Diagnostics are appended; returns the status of the first
 * error, POE_OK when there were only warnings. *program is set only on POE_OK. `text` non-NULL is used instead of the
 * contents of `path` (which then only names it and anchors relative paths). */
poe_status poei_program_load(const char *path, const char *text, size_t n_overrides, const poei_override *overrides,
                             poei_diagnostics *diagnostics, poei_program **program);
void poei_program_free(poei_program *program);
/* Is the file a UAI network by its ending? Then it stands for the program that poei_uai_program writes on the heap: its
 * variables as x, their density as `net`, and given the evidence (path or NULL) as `observed`. Load it as the text of
 * `path`. */
bool poei_uai_named(const char *path);
poe_status poei_uai_program(const char *path, const char *evidence, char **text, poe_error *error);

const char *poei_program_path(const poei_program *program);
/* Source text of a file of the program (the main one or an included one), NULL when unknown. */
const char *poei_program_source(const poei_program *program, const char *file);
/* Files read so far: the .poe files, and every model or data file that lowering opened. */
size_t poei_program_file_count(const poei_program *program);
const char *poei_program_file(const poei_program *program, size_t index);
/* The file in canonical form (parse o print is a fixed point); on the heap. */
char *poei_program_print(const poei_program *program);
/* Parses text and prints it canonically, without checking; NULL and diagnostics when it does not parse. */
char *poei_language_format(const char *path, const char *text, poei_diagnostics *diagnostics);

/* ---- variables: coordinates are numbered 0.. over all variables in declaration order ---- */

typedef enum poei_space_kind {
  POEI_SPACE_REAL,
  POEI_SPACE_BINARY,
  POEI_SPACE_INT,
  POEI_SPACE_SIMPLEX,
  POEI_SPACE_TOKENS
} poei_space_kind;

typedef struct poei_variable {
  const char *name;
  poei_space_kind space;
  size_t ndim, shape[POE_MAX_DIMS];
  size_t dim, offset;         /* number of coordinates, id of the first */
  const poe_support *support; /* [dim]                                  */
} poei_variable;
size_t poei_program_variable_count(const poei_program *program);
const poei_variable *poei_program_variable(const poei_program *program, size_t index);
const poei_variable *poei_program_variable_find(const poei_program *program, const char *name);

/* ---- derived variables ---- */

/* The map behind a derived variable, with the coordinates it reads ([in_dim], ids; owned by the program) and the shape
 * of its value. POE_E_NAME when `name` is not one. */
typedef struct poei_derived {
  const char *name;
  const poe_map *map;
  size_t in_dim;
  const size_t *coordinates;
  size_t ndim, shape[POE_MAX_DIMS], dim;
} poei_derived;
poe_status poei_program_derived(poei_program *program, const char *name, poei_derived *derived, poe_error *error);

/* ---- lowering ---- */

/* A density over coordinates. `coordinates` are the free ones, ascending, = the expert's dimensions. */
typedef struct poei_target {
  poe_expert *expert;
  char *text;                 /* the expression, canonical                                       */
  char *name;                 /* the definition's name, or the expression                        */
  size_t dim, *coordinates;   /* [dim] ids                                                       */
  size_t n_clamped, *clamped; /* [n_clamped] ids fixed by an outermost `given`                  */
  double *clamped_value;      /* [n_clamped]                                                     */
  const char *file;           /* place of the expression: the program's text of the path, */
  int line, column, span;     /* 1-based, length in bytes                               */
  bool normalised;            /* known to integrate to 1 over its coordinates                    */
  poei_names names;           /* of its dimensions, for messages; as long as the target and the program live */
} poei_target;
/* Lowers a definition's name or an expression in the language (NULL: the last density defined). Experts are created
 * once per definition and shared. Diagnostics (warnings too) are appended. */
poe_status poei_program_target(poei_program *program, const char *expression, poei_target *target,
                               poei_diagnostics *diagnostics);
void poei_target_free(poei_target *target);
/* Coordinate id -> "z[3]", "x[2, 0]" or "c" (scalar) into text[size]; returns text. */
const char *poei_program_coordinate_text(const poei_program *program, size_t coordinate, char *text, size_t size);
/* Coordinates ids[n], ascending, as a person would write them: "x, y[0:4], s (405 of 704)", cut with "..." where text
 * ends; returns text. Those of the first variable alone begin at *at (0 to begin with), which moves behind them: false
 * when there are no more. */
const char *poei_program_over_text(const poei_program *program, size_t n, const size_t *ids, char *text, size_t size);
bool poei_program_over_next(const poei_program *program, size_t n, const size_t *ids, size_t *at,
                            const poei_variable **variable, size_t *count, char *text, size_t size);

/* ---- targets as written (outline.c), for `explain` ---- */

typedef struct poei_outline poei_outline;

/* A numbers' place that a call reads: coordinates of variables, or numbers that a map makes. */
typedef struct poei_outline_over {
  const char *name, *text; /* of the variable; as a person would write what is read of it */
  size_t count, of;        /* numbers read, numbers there are                             */
  bool derived;            /* made by a map, which is a child                             */
} poei_outline_over;

/* One node. Equal factors, as a comprehension makes them, are told once, with their number. */
struct poei_outline {
  const char *kind;   /* "product", "mixture", "given" ..., or the word of a family or map    */
  const char *name;   /* of the definition it is, NULL                                        */
  const char *inside; /* of the definition it is written in, NULL                             */
  const char *text;   /* families and maps: the call as written; others: NULL                 */
  bool map, again;    /* again: written out before, no children here                          */
  const char *file;
  int line, column; /* line 0: the file has no text, as a UAI network                       */
  double factor;    /* exponent in a product, weight in a mixture; else 1                   */
  size_t count;     /* how many factors this stands for, each with coordinates of its own   */
  const char *step; /* at which steps of a comprehension they were made: "k = 0; 1; ..."; or NULL */
  size_t n_over;
  const poei_outline_over *over; /* of all of them */
  size_t n_gone;                 /* given, marginal, profile: coordinates that disappear here */
  const size_t *gone;            /* [n_gone] ids */
  const double *gone_value;      /* given: [n_gone] */
  double beta;                   /* marginal */
  size_t n;
  const poei_outline *const *children;

  const struct poei_term *term; /* for poei_outline_mentions, with where they are among the parent's terms */
  size_t n_position;
  const size_t *position; /* [n_position] */
};

/* The tree of a target as written. It lives as long as the program; nothing is lowered. NULL and diagnostics when the
 * target is not one or memory ran out. */
const poei_outline *poei_program_outline(poei_program *program, const char *expression, poei_diagnostics *diagnostics);

/* Calls tell() for every density of the tree that was lowered, the equal ones too: the expert, over coordinates
 * ids[dim], the node that writes it, and the step of a comprehension that made it (NULL: none). Stops when it gives
 * false. */
bool poei_outline_mentions(const poei_outline *outline,
                           bool (*tell)(void *context, const poe_expert *expert, size_t dim, const size_t *ids,
                                        const poei_outline *node, const char *step),
                           void *context);

/* Where an expert that a tree is made of was written: its place into *error, and *name: that of the definition which is
 * nothing else, or NULL. False, and nothing changed, when it is no call of a family in the program. Equal calls are one
 * expert: the first place counts. */
bool poei_program_origin(const poei_program *program, const poe_expert *expert, const char **name, poe_error *error);

/* The arguments of the call that made such an expert, *n of them; the program's. NULL when it is none. */
const poe_arg *poei_program_arguments(const poei_program *program, const poe_expert *expert, size_t *n);

/* Names of the definitions that are densities, in order (for --each and compare). */
size_t poei_program_density_count(const poei_program *program);
const char *poei_program_density(const poei_program *program, size_t index);
/* Is it a building block: named in another definition, or nothing but a family's call? */
bool poei_program_density_is_part(const poei_program *program, size_t index);
/* The density definitions mentioned directly in a target's expression (the named experts, in order, each once); names
 * belong to the program. */
size_t poei_program_mentions(poei_program *program, const char *expression, const char **names, size_t capacity);

/* ---- actions ---- */

/* An option as given: in the file or, by cli/, on the command line. Lists keep their items' text. */
typedef struct poei_option_value {
  const char *name;
  const char *text; /* canonical text of the value: number, string without quotes, name       */
  size_t n_items;
  const char *const *items; /* a list's items                                                         */
  int line, column, span;
} poei_option_value;

typedef struct poei_action {
  const poei_verb *verb;
  size_t n_targets;
  const char *const *targets; /* canonical texts of its positional arguments                           */
  size_t n_options;
  const poei_option_value *options;
  int line, column, span;
} poei_action;
size_t poei_program_action_count(const poei_program *program);
const poei_action *poei_program_action(const poei_program *program, size_t index);

#endif
