/* Shared by the files of compare: the job, its experts, the draws of one target. */
#ifndef POE_EVALUATE_COMPARE_INTERNAL_H
#define POE_EVALUATE_COMPARE_INTERNAL_H

#include "evaluate/judge.h"
#include "report/image_grid.h"

typedef struct compare_expert {
  const char *name;
  poei_solved solved; /* values only                                         */
  size_t label;       /* the judge's label of that name, SIZE_MAX when none  */
  double threshold;   /* of its log-density                                  */
} compare_expert;

typedef struct compare_job {
  poei_session *session;
  const poei_action *action;
  poei_run_options run;
  size_t total;   /* coordinates of the program                     */
  bool any_label; /* the judge knows at least one of the experts    */
  const char *base;
  double quantile;
  size_t columns;
  size_t n_experts;
  compare_expert *experts;
  poei_judge *judge;
  poei_reference *reference;
  bool has_view;
  poei_derived view; /* map NULL: a variable, from view_offset */
  size_t view_offset;
  char *grid; /* where the image grid goes, on the heap; NULL: nowhere */
  size_t n_bands;
  poei_image_band *bands; /* captions and images on the heap */
  bool gate_failed;
  char gate_target[128];
  char gate_reason[POEI_GATE_REASON_SIZE];
} compare_job;

/* Draws of one expression over all coordinates of the program. */
typedef struct compare_draws {
  poei_solved solved;
  poei_sampling sampling;
  poei_gate gate;
  size_t n;     /* chains * draws */
  double *full; /* [n, total]     */
} compare_draws;

/* Is the base measured too, before the targets, because it is not one of them? */
bool compare_adds_base(const compare_job *job);
poe_status compare_draw(const compare_job *job, const char *expression, compare_draws *draws, poe_error *error);
void compare_draws_free(compare_draws *draws);
int compare_ascending(const void *a, const void *b); /* of doubles, for qsort */
/* Remembers the first gate that failed. */
void compare_gate(compare_job *job, const char *target, const poei_gate *gate);
/* Draws a target, measures it, and adds its entry to `targets` and its images to the job. */
poe_status compare_measure(compare_job *job, const char *expression, json_t *targets, poe_error *error);
/* {q5, median, q95} of distances[n], which is sorted in place; NULL when out of memory. */
json_t *compare_distances(size_t n, double *distances);
/* Finds where the image grid goes and whether it can be written, before anything is drawn. */
poe_status compare_grid_open(compare_job *job, poe_error *error);
poe_status compare_grid_write(const compare_job *job, poe_error *error);
/* Keeps a few of a target's images, view[draws->n, dim], evenly spread over all chains and draws. */
poe_status compare_grid_keep(compare_job *job, const compare_draws *draws, const double *view, poe_error *error);

#endif
