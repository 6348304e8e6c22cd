/* Marginals and profiles over some of the discrete coordinates (poei_summed_over of summed.h).
 *
 *   (1/beta) log sum_h exp(beta log p(x, h)),   max_h log p(x, h)
 *
 * The factors over discrete coordinates alone become a graph, once; at a point the coordinates that stay have values,
 * which leaves of every table that reads one the part that agrees with them (a slice). What no slice and no mixed
 * factor reaches is eliminated when the expert is made (live.h). Hidden variables of the factors are summed plainly,
 * before the latent ones, unless the coordinates determine them: then there is one term, and any order will do.
 */
#include <math.h>
#include <string.h>

#include "compose/exact/junction_parts.h"
#include "compose/exact/summed_parts.h"
#include "core/alloc.h"

static poe_status no_memory(poe_error *error) {
  return poe_error_set(error, POE_E_MEMORY, "out of memory");
}

/* ---- a row ---- */

void poei_summed_slice_at(const poei_summed *self, const poei_summed_slice *slice, const double *x, double *table) {
  double *to = table + slice->start;
  size_t at = 0;
  bool inside = true;
  double outside = -INFINITY;
  for (size_t k = 0; k < slice->n; k++) {
    const poe_support *support = &self->support[slice->from[k]];
    double value = x[slice->from[k]];
    inside = inside && value >= support->low && value <= support->high && value == floor(value);
    at += inside ? (size_t)(value - support->low) * slice->stride[k] : 0;
    if (isnan(value)) {
      outside = NAN;
    }
  }
  for (size_t s = 0; s < slice->states; s++) {
    to[s] = inside ? slice->table[at + slice->offset[s]] : outside;
  }
}

/* ---- the graph with the coordinates that stay left out ---- */

/* What making it needs. */
typedef struct slicer {
  const poei_field *graph;
  size_t *row;          /* [graph variables] coordinate of the row, SIZE_MAX: not one that stays */
  size_t *shared;       /* [graph tables] the same table in `rest`, SIZE_MAX: not there yet      */
  unsigned char *mixed; /* [graph factors] 1: a mixed factor's                                   */
  unsigned char *first; /* [graph variables] 1: hidden, to be summed first                       */
  size_t *live;         /* [graph factors] the live ones                                         */
  poei_field *rest;
} slicer;

static void slicer_free(slicer *s) {
  poei_free(s->row);
  poei_free(s->shared);
  poei_free(s->mixed);
  poei_free(s->first);
  poei_free(s->live);
  poei_field_destroy(s->rest);
}

static size_t count_free(const slicer *s, const poei_field_factor_data *factor) {
  size_t n = 0;
  for (size_t k = 0; k < factor->n; k++) {
    n += s->row[factor->variable[k]] != SIZE_MAX;
  }
  return n;
}

/* Which variables are which; what goes first at this beta. */
static poe_status sort_variables(slicer *s, const poei_summing *opening, const size_t *place, poe_error *error) {
  size_t n = s->graph->n, coordinates = 0;
  for (size_t v = 0; v < n; v++) {
    s->row[v] = SIZE_MAX;
  }
  for (size_t c = 0; c < opening->traits->dim; c++) {
    if (opening->traits->support[c].kind == POE_DISCRETE) {
      if (!poei_summing_has(opening, c)) { /* read by no member: any value will do */
        s->row[coordinates] = place[c] == SIZE_MAX ? 0 : place[c];
      }
      s->first[coordinates++] = 1;
    }
  }
  poe_status status = opening->beta == 1.0 ? POE_OK : poei_field_determine(s->graph, s->first, error);
  for (size_t v = 0; v < n; v++) {
    s->first[v] = !s->first[v];
  }
  return status;
}

/* Factor f as it is, or room for what will be left of it. */
static poe_status add_factor(slicer *s, size_t f, poe_error *error) {
  const poei_field_factor_data *factor = &s->graph->factor[f];
  const poei_field_table_data *table = &s->graph->table[factor->table];
  size_t made = s->shared[factor->table], size = 1;
  poe_status status = POE_OK;
  if (!s->mixed[f] && count_free(s, factor) == 0) {
    if (made == SIZE_MAX) {
      status = poei_field_table(s->rest, table->size, table->log_value, &made, error);
      s->shared[factor->table] = made;
    }
  } else {
    for (size_t k = 0; k < factor->n; k++) {
      size *= poei_field_cardinality(s->rest, factor->variable[k]);
    }
    double *room = poei_calloc(size, sizeof *room);
    status = room == NULL ? no_memory(error) : poei_field_table(s->rest, size, room, &made, error);
    poei_free(room);
  }
  return status == POE_OK ? poei_field_factor(s->rest, factor->n, factor->variable, made, error) : status;
}

static poe_status open_rest(slicer *s, poe_error *error) {
  size_t variable;
  poe_status status = poei_field_create(&s->rest, error);
  for (size_t v = 0; v < s->graph->n && status == POE_OK; v++) {
    status = poei_field_variable(s->rest, s->row[v] != SIZE_MAX ? 1 : s->graph->cardinality[v], &variable, error);
  }
  for (size_t t = 0; t < s->graph->n_tables; t++) {
    s->shared[t] = SIZE_MAX;
  }
  for (size_t f = 0; f < s->graph->n_factors && status == POE_OK; f++) {
    status = add_factor(s, f, error);
  }
  if (status == POE_OK) { /* the tables are less their tops: the graph's constant has them */
    poei_field_scale(s->rest, s->graph->constant);
    poei_field_scale(s->rest, s->graph->constant_lost);
  }
  return status;
}

/* ---- slices ---- */

/* Where what is left of the factor's table is in it, and how the coordinates that stay move that. */
static poe_status set_slice(const slicer *s, size_t f, poei_summed_slice *slice, poe_error *error) {
  const poei_field_factor_data *factor = &s->graph->factor[f];
  size_t free_ones = count_free(s, factor), stride = 1, block = 1;
  slice->table = s->graph->table[factor->table].log_value;
  slice->states = s->rest->table[s->rest->factor[f].table].size;
  slice->from = poei_alloc(2 * free_ones, sizeof *slice->from);
  slice->offset = poei_calloc(slice->states, sizeof *slice->offset);
  if (slice->from == NULL || slice->offset == NULL) {
    return no_memory(error);
  }
  slice->stride = slice->from + free_ones;
  for (size_t k = factor->n; k-- > 0;) {
    size_t v = factor->variable[k], values = s->graph->cardinality[v];
    if (s->row[v] != SIZE_MAX) {
      slice->from[slice->n] = s->row[v];
      slice->stride[slice->n++] = stride;
    } else {
      for (size_t i = 0; i < slice->states; i++) {
        slice->offset[i] += i / block % values * stride;
      }
      block *= values;
    }
    stride *= values;
  }
  return POE_OK;
}

static poe_status set_slices(poei_summed *self, const slicer *s, size_t live, poe_error *error) {
  poe_status status = POE_OK;
  self->slice = poei_calloc(live - self->n, sizeof *self->slice);
  if (self->slice == NULL) {
    return no_memory(error);
  }
  for (size_t i = self->n; i < live && status == POE_OK; i++) {
    poei_summed_slice *slice = &self->slice[self->n_slices++];
    slice->start = poei_live_start(self->live, i);
    status = set_slice(s, s->live[i], slice, error);
  }
  return status;
}

poe_status poei_summed_slice_tree(poei_summed *self, const poei_summing *opening, const size_t *factor,
                                  const size_t *place, poe_error *error) {
  const poei_field *graph = self->graph->graph;
  slicer s = {.graph = graph};
  s.row = poei_alloc(graph->n, sizeof *s.row);
  s.shared = poei_alloc(graph->n_tables, sizeof *s.shared);
  s.mixed = poei_calloc(graph->n_factors, 1);
  s.first = poei_calloc(graph->n, 1);
  s.live = poei_alloc(graph->n_factors, sizeof *s.live);
  poe_status status = s.row == NULL || s.shared == NULL || s.mixed == NULL || s.first == NULL || s.live == NULL
                          ? no_memory(error)
                          : sort_variables(&s, opening, place, error);
  size_t live = 0;
  for (size_t m = 0; m < self->n && status == POE_OK; m++) {
    s.mixed[factor[m]] = 1;
    s.live[live++] = factor[m];
  }
  if (status == POE_OK) {
    status = open_rest(&s, error);
  }
  for (size_t f = 0; f < graph->n_factors && status == POE_OK; f++) {
    if (!s.mixed[f] && count_free(&s, &graph->factor[f]) > 0) {
      s.live[live++] = f;
    }
  }
  if (status == POE_OK) {
    status = poei_live_create_at(s.rest, live, s.live, opening->beta, s.first, opening->options->byte_limit,
                                 &self->live, error);
  }
  if (status == POE_OK) {
    status = set_slices(self, &s, live, error);
  }
  if (status == POE_OK) {
    status = poei_summed_list_readers(self, error);
  }
  slicer_free(&s);
  return status;
}

/* ---- all of it ---- */

/* A factor over discrete coordinates alone that gives no table is evaluated instead, where it reads one that stays. */
static poe_status evaluate_opaque(poei_summing *opening, poe_error *error) {
  poei_plan_options own = *opening->options;
  own.names = (poei_names){0};
  unsigned char *member = poei_calloc(opening->parts->n, 1);
  poe_status status = member == NULL ? no_memory(error) : POE_OK;
  for (size_t i = 0; i < opening->parts->n && status == POE_OK; i++) {
    const poei_part *part = &opening->parts->item[i];
    poei_discrete *alone = NULL;
    poe_error why = {0};
    size_t stay = 0;
    for (size_t j = 0; j < part->n; j++) {
      stay += !poei_summing_has(opening, part->index[j]);
    }
    if (opening->sorts[i] != POEI_ALL_DISCRETE || stay == 0) {
      continue;
    }
    member[i] = 1;
    status = poei_discrete_open_among(opening->traits, opening->parts, member, 0, NULL, NULL, NULL, &own, &alone, &why);
    member[i] = 0;
    poei_discrete_destroy(alone);
    if (status == POE_E_CAPABILITY) {
      opening->sorts[i] = POEI_MIXED;
      status = POE_OK;
    } else if (status != POE_OK) {
      *error = why;
    }
  }
  poei_free(member);
  return status;
}

/* S; *error says why where it cannot be had. */
static poe_status make(poei_summing *opening, poe_expert **out, poe_error *error) {
  poe_status status = poei_summed_make(opening, out, error);
  if (status != POE_E_CAPABILITY) {
    return status;
  }
  size_t before = 0, after = 0;
  for (size_t i = 0; i < opening->parts->n; i++) {
    before += opening->sorts[i] == POEI_MIXED;
  }
  poe_error own = {0};
  status = evaluate_opaque(opening, &own);
  if (status != POE_OK) {
    *error = own;
    return status;
  }
  for (size_t i = 0; i < opening->parts->n; i++) {
    after += opening->sorts[i] == POEI_MIXED;
  }
  return after > before ? poei_summed_make(opening, out, error) : POE_E_CAPABILITY;
}

static poe_status over(const poe_expert *expert, const unsigned char *latent, double beta,
                       const poei_plan_options *options, poe_expert **out, poe_error *error) {
  const poe_traits *traits = poe_expert_traits(expert);
  poei_parts parts = {0};
  poe_expert *summed = NULL;
  poe_status status = poei_mixed_factors(expert, &parts, error);
  poei_sort *sorts = status == POE_OK ? poei_alloc(parts.n, sizeof *sorts) : NULL;
  if (status == POE_OK && sorts == NULL) {
    status = no_memory(error);
  }
  poei_summing opening = {traits, &parts, sorts, options, latent, beta};
  for (size_t i = 0; i < parts.n && status == POE_OK; i++) {
    sorts[i] = poei_summed_sort(&opening, &parts.item[i]);
  }
  if (status == POE_OK) {
    status = make(&opening, &summed, error);
  }
  if (status == POE_OK) {
    status = poei_summed_close(&opening, summed, out, error);
  }
  poe_expert_release(summed);
  poei_free(sorts);
  poei_parts_free(&parts);
  return status;
}

poe_status poei_summed_over(const poe_expert *expert, size_t n, const size_t *latent, double beta,
                            const poei_plan_options *options, poe_expert **out, poe_error *error) {
  const poe_traits *traits = poe_expert_traits(expert);
  unsigned char *mark = poei_calloc(traits->dim, 1);
  if (mark == NULL) {
    return no_memory(error);
  }
  poe_status status = POE_OK;
  for (size_t k = 0; k < n && status == POE_OK; k++) {
    if (traits->support[latent[k]].kind != POE_DISCRETE) {
      status = poe_error_set(error, POE_E_CAPABILITY, "latent coordinate %zu is continuous", latent[k]);
    }
    mark[latent[k]] = 1;
  }
  if (status == POE_OK) {
    status = over(expert, mark, beta, options, out, error);
  }
  poei_free(mark);
  return status;
}
