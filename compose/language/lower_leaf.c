/* Calls of families to experts.
 *
 * Arguments become poe_args; formulas are built from their code; files are noted as read. What `create` finds wrong is
 * told at the place of the argument. Where a variable was declared narrower than the family's own support, the density
 * is restricted to the declaration (not renormalised). One that reads a number of a simplex becomes a density over the
 * whole simplex: what is over part of one has no measure of its own.
 */
#include <math.h>
#include <string.h>

#include "compose/language/program_parts.h"
#include "compose/nodes/nodes.h"

/* ---- formulas ---- */

static bool build_formula(poei_checker *checker, const poei_leaf *leaf, const poei_code *code, poei_formula **formula) {
  poei_formula_value *values = poei_region_take(&checker->program->region, code->n, sizeof *values);
  poei_formula_builder *builder = poei_formula_builder_create(code->dim);
  if (!values || !builder) {
    poei_formula_builder_destroy(builder);
    checker->program->region.failed = true;
    return false;
  }
  for (size_t i = 0; i < code->n; i++) {
    const poei_code_node *node = &code->nodes[i];
    if (node->op == POEI_CODE_CONSTANT) {
      values[i] = poei_formula_constant(builder, node->constant);
    } else if (node->op == POEI_CODE_COORDINATE) {
      values[i] = poei_formula_coordinate(builder, node->coordinate);
    } else {
      poei_formula_value *args = poei_region_take(&checker->program->region, node->n, sizeof *args);
      for (size_t a = 0; args && a < node->n; a++) {
        args[a] = values[node->args[a]];
      }
      values[i] = args ? poei_formula_apply(builder, (poei_formula_op)node->op, node->n, args) : -1;
    }
  }
  poe_error error = {0};
  poe_status status = poei_formula_finish(builder, values[code->root], formula, &error);
  poei_formula_builder_destroy(builder);
  return status == POE_OK || poei_report_at(checker, leaf->syntax->span, &error);
}

/* ---- arguments ---- */

/* The place of the argument an error points at, else of the file when a file is to blame, else of the call. */
static poei_span blame(const poei_leaf *leaf, const poe_error *error) {
  const poei_syntax *call = leaf->syntax;
  bool file = error->status == POE_E_FILE || error->status == POE_E_FORMAT || error->status == POE_E_UNSUPPORTED;
  for (size_t i = 0; i < leaf->n_args; i++) {
    const poe_arg *arg = &leaf->args[i];
    bool here = error->line > 0 && error->line == arg->line && error->column == arg->column;
    if (!here && !(file && error->line == 0 && arg->type == POE_ARG_FILE)) {
      continue;
    }
    for (size_t j = 0; j < call->n; j++) {
      const poei_syntax *item = call->items[j];
      if (item->kind == POEI_SYNTAX_ARGUMENT && strcmp(item->text, arg->name) == 0) {
        return item->items[0]->span;
      }
    }
  }
  return call->span;
}

static bool report_create(poei_checker *checker, const poei_leaf *leaf, poe_error *error) {
  poei_span span = blame(leaf, error);
  if (error->line > 0 && error->file[0] == '\0') {
    error->line = error->column = 0; /* told again with its file */
  }
  return poei_report_at(checker, span, error);
}

/* The call as a family sees it; formulas[n_args] are built. */
static bool fill_args(poei_checker *checker, const poei_leaf *leaf, poe_args *args, poei_formula **formulas) {
  poei_region *region = &checker->program->region;
  poe_subject *subjects = poei_region_take(region, leaf->n_parts, sizeof *subjects);
  poe_arg *list = poei_region_copy(region, leaf->args, leaf->n_args, sizeof *list);
  if (!subjects || !list) {
    return false;
  }
  for (size_t p = 0; p < leaf->n_parts; p++) {
    subjects[p] = leaf->parts[p].subject;
  }
  for (size_t i = 0; i < leaf->n_args; i++) {
    if (leaf->codes[i] && !build_formula(checker, leaf, leaf->codes[i], &formulas[i])) {
      return false;
    }
    list[i].formula = formulas[i];
    if (list[i].type == POE_ARG_FILE && !poei_program_read(checker, list[i].text)) {
      return false;
    }
  }
  *args = (poe_args){
      .kind = leaf->kind, .n_subjects = leaf->n_parts, .subjects = subjects, .n_args = leaf->n_args, .args = list};
  return true;
}

static const poei_made *find_made(const poei_program *program, const poei_leaf *leaf, const void *ops) {
  size_t at = program->n_made == 0 ? 0 : program->made_bucket[leaf->hash & (program->made_capacity - 1)];
  while (at > 0) {
    const poei_made *made = &program->made[at - 1];
    if (made->hash == leaf->hash && made->ops == ops && poei_leaf_same(made->leaf, leaf)) {
      return made;
    }
    at = made->next;
  }
  return NULL;
}

/* Creates an expert (family) or a map of a leaf, or finds the one that was. */
static bool make(poei_checker *checker, const poei_leaf *leaf, const poe_expert_ops *family, const poe_map_ops *map_ops,
                 poe_expert **expert, poe_map **map) {
  const void *ops = family ? (const void *)family : (const void *)map_ops;
  const poei_made *made = find_made(checker->program, leaf, ops);
  if (made) {
    *expert = made->expert;
    *map = made->map;
    return true;
  }
  poei_formula **formulas = poei_region_take(&checker->program->region, leaf->n_args, sizeof(poei_formula *));
  poe_args args;
  poe_error error = {0};
  if (!formulas) {
    return false;
  }
  bool ok = fill_args(checker, leaf, &args, formulas);
  if (ok) {
    poe_status status =
        family ? poe_expert_create(family, &args, expert, &error) : poe_map_create(map_ops, &args, map, &error);
    ok = status == POE_OK || report_create(checker, leaf, &error);
  }
  for (size_t i = 0; i < leaf->n_args; i++) {
    poei_formula_release(formulas[i]);
  }
  return ok && (family ? poei_keep_expert(checker, leaf, ops, *expert) : poei_keep_map(checker, leaf, ops, *map));
}

bool poei_make_map(poei_checker *checker, const poei_leaf *leaf, const poe_map_ops *ops, poe_map **map) {
  poe_expert *expert = NULL;
  if (!make(checker, leaf, NULL, ops, &expert, map)) {
    return false;
  }
  size_t in_dim = ops->in_dim(poe_map_self(*map));
  return in_dim == leaf->dim || poei_report(&checker->reader, POE_E_SHAPE, leaf->syntax->span, NULL,
                                            "'%s' reads %zu numbers, these are %zu", leaf->kind, in_dim, leaf->dim);
}

/* ---- supports ---- */

poe_support poei_space_intersect(const poe_support *a, const poe_support *b) {
  poe_support out = *a;
  if (b->low > a->low || (b->low == a->low && b->low_open)) {
    out.low = b->low;
    out.low_open = b->low_open;
  }
  if (b->high < a->high || (b->high == a->high && b->high_open)) {
    out.high = b->high;
    out.high_open = b->high_open;
  }
  return out;
}

static bool check_kinds(poei_checker *checker, const poei_leaf *leaf, const poe_traits *traits) {
  size_t at = 0;
  for (size_t p = 0; p < leaf->n_parts; p++) {
    const poe_subject *subject = &leaf->parts[p].subject;
    for (size_t i = 0; i < subject->dim; i++, at++) {
      bool discrete = subject->support[i].kind == POE_DISCRETE;
      if ((traits->support[at].kind == POE_DISCRETE) != discrete) {
        bool wants_real = discrete;
        return poei_report(&checker->reader, POE_E_TYPE, leaf->syntax->span, NULL, "'%s' is over %s, but '%s' holds %s",
                           leaf->kind, wants_real ? "real numbers" : "integers", subject->name,
                           wants_real ? "integers" : "real numbers");
      }
    }
  }
  return true;
}

/* The leaf restricted to the declared supports; takes no reference, gives one. */
static bool restrict_leaf(poei_checker *checker, const poei_leaf *leaf, poe_expert *expert, poe_expert **out) {
  const poe_traits *traits = poe_expert_traits(expert);
  poe_support *box = poei_region_take(&checker->program->region, leaf->dim, sizeof *box);
  if (!box || !check_kinds(checker, leaf, traits)) {
    return false;
  }
  bool narrower = false;
  size_t at = 0;
  for (size_t p = 0; p < leaf->n_parts; p++) {
    for (size_t i = 0; i < leaf->parts[p].subject.dim; i++, at++) {
      const poe_support *declared = &leaf->parts[p].subject.support[i], *own = &traits->support[at];
      box[at] = poei_space_intersect(own, declared);
      bool interval = declared->kind == POE_CONTINUOUS || declared->kind == POE_DISCRETE;
      narrower = narrower || (interval && (declared->low > own->low || declared->high < own->high));
    }
  }
  if (!narrower) {
    *out = poe_expert_retain(expert);
    return true;
  }
  poe_error error = {0};
  return poei_restrict_create(expert, box, out, &error) == POE_OK ||
         poei_report_at(checker, leaf->syntax->span, &error);
}

/* Over the coordinates of the term, where those it reads are not all; on its simplices. Takes a reference, gives one.
 */
static bool on_simplices(poei_checker *checker, const poei_term *term, poe_expert *expert, poe_expert **out) {
  poei_span span = term->leaf->syntax->span;
  poe_support *support = poei_region_take(&checker->program->region, term->dim, sizeof *support);
  poe_expert *wide = NULL;
  if (!support) {
    poe_expert_release(expert);
    return false;
  }
  if (!poei_widen(checker, span, expert, term->n_read, term->read, term->dim, term->coordinate, &wide)) {
    return false;
  }
  size_t simplices = 0, known = 0; /* numbers of simplices, and those that the expert knows of */
  for (size_t i = 0; i < term->dim; i++) {
    support[i] = checker->program->support[term->coordinate[i]];
    bool simplex = support[i].kind == POE_SIMPLEX || support[i].kind == POE_SIMPLEX_NEXT;
    simplices += simplex;
    known += simplex && poe_expert_traits(wide)->support[i].kind == support[i].kind;
  }
  if (simplices == known) {
    *out = wide;
    return true;
  }
  if (known > 0) {
    poe_expert_release(wide);
    return poei_report(&checker->reader, POE_E_TYPE, span, "write the name of the simplex alone",
                       "'%s' is over all numbers of a simplex, these are a part", term->leaf->kind);
  }
  poe_error error = {0};
  poe_status status = poei_simplex_create(wide, support, out, &error);
  poe_expert_release(wide);
  return status == POE_OK || poei_report_at(checker, span, &error);
}

bool poei_lower_leaf(poei_checker *checker, const poei_term *term, poe_expert **expert) {
  const poei_leaf *leaf = term->leaf;
  poe_expert *made = NULL, *restricted = NULL;
  poe_map *map = NULL;
  if (!make(checker, leaf, term->family, NULL, &made, &map)) {
    return false;
  }
  if (poe_expert_traits(made)->dim != leaf->dim) {
    return poei_report(&checker->reader, POE_E_SHAPE, leaf->syntax->span, NULL,
                       "'%s' has %zu dimensions, these are %zu", leaf->kind, poe_expert_traits(made)->dim, leaf->dim);
  }
  if (!restrict_leaf(checker, leaf, made, &restricted)) {
    return false;
  }
  if (term->has_derived) {
    poe_expert *through = NULL;
    return poei_lower_through(checker, term, restricted, &through) && on_simplices(checker, term, through, expert);
  }
  size_t *ids = poei_region_take(&checker->program->region, leaf->dim, sizeof *ids), at = 0;
  for (size_t p = 0; ids && p < leaf->n_parts; p++) {
    memcpy(ids + at, leaf->parts[p].index, leaf->parts[p].subject.dim * sizeof *ids);
    at += leaf->parts[p].subject.dim;
  }
  if (!ids) {
    poe_expert_release(restricted);
    return false;
  }
  poe_expert *placed = NULL;
  return poei_widen(checker, leaf->syntax->span, restricted, leaf->dim, ids, term->n_read, term->read, &placed) &&
         on_simplices(checker, term, placed, expert);
}
