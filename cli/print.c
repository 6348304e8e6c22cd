/* Results for a person: views of the JSON objects the verbs give. */
#include <math.h>
#include <string.h>

#include "cli/cli.h"
#include "report/table.h"

/* A number of a result; "inf", "-inf" and "nan" are texts in JSON. */
static double print_number(const json_t *object, const char *key) {
  const json_t *value = json_object_get(object, key);
  const char *text = json_string_value(value);
  if (text != NULL) {
    return strcmp(text, "inf") == 0 ? INFINITY : (strcmp(text, "-inf") == 0 ? -INFINITY : NAN);
  }
  return json_is_number(value) ? json_number_value(value) : NAN;
}

static const char *print_text(const json_t *object, const char *key) {
  const char *text = json_string_value(json_object_get(object, key));
  return text == NULL ? "" : text;
}

static bool print_true(const json_t *object, const char *key) {
  return json_is_true(json_object_get(object, key));
}

/* A table is made, filled and shown; memory for it can end anywhere. */
static poei_table *print_table_open(FILE *out, size_t columns) {
  poei_table *table = poei_table_create(columns);
  if (table == NULL) {
    fputs("(out of memory for a table)\n", out);
  }
  return table;
}

static void print_table_close(FILE *out, poei_table *table) {
  if (poei_table_print(table, out) != POE_OK) {
    fputs("(out of memory for a table)\n", out);
  }
  poei_table_free(table);
}

/* What there is to say of a log Z that may be off by more than its standard error. */
static void print_warning(FILE *out, const json_t *r) {
  if (json_object_get(r, "warning") != NULL) {
    fprintf(out, "warning: %s\n", print_text(r, "warning"));
  }
  if (json_object_get(r, "caution") != NULL) {
    fprintf(out, "warning: %s\n", print_text(r, "caution"));
  }
}

static void print_logz(FILE *out, const json_t *r) {
  double se = print_number(r, "std_error");
  if (print_true(r, "exact")) {
    fprintf(out, "log Z of %s = %.12g  (exact: %s)\n", print_text(r, "target"), print_number(r, "log_z"),
            print_text(r, "method"));
  } else {
    fprintf(out, "log Z of %s = %.6g ± %.2g  (%s)\n", print_text(r, "target"), print_number(r, "log_z"), se,
            print_text(r, "method"));
  }
  if (isfinite(print_number(r, "log10_z"))) {
    fprintf(out, "log10 Z = %.12g\n", print_number(r, "log10_z"));
  }
  if (json_is_false(json_object_get(r, "tolerance_reached"))) {
    fputs("the standard error asked for was not reached: allow more with --particles\n", out);
  }
  print_warning(out, r);
}

/* What independent proposals were worth. */
static void print_proposals(FILE *out, const json_t *r) {
  const json_t *proposal = json_object_get(r, "proposal");
  if (proposal != NULL) {
    fprintf(out, "proposals from %s: %.0f %% accepted; %lld of them are worth %.0f draws of the target\n",
            json_string_value(json_object_get(proposal, "from")), 100.0 * print_number(r, "acceptance"),
            (long long)json_integer_value(json_object_get(proposal, "draws")), print_number(proposal, "ess"));
  }
}

static void print_gate(FILE *out, const json_t *gate) {
  if (json_is_true(json_object_get(gate, "passed"))) {
    fputs("gate: passed\n", out);
    return;
  }
  fputs("gate: FAILED\n", out);
  size_t i;
  json_t *reason;
  json_array_foreach(json_object_get(gate, "reasons"), i, reason) {
    fprintf(out, "  %s\n", json_string_value(reason));
  }
}

static void print_summary_row(poei_table *table, const char *name, size_t size, const json_t *row) {
  const char *own = print_text(row, "name");
  if (own[0] != '\0' || size == 1) {
    poei_table_cell(table, "%s", own[0] != '\0' ? own : name);
  } else {
    poei_table_cell(table, "%s[%lld]", name, (long long)json_integer_value(json_object_get(row, "index")));
  }
  static const char *const keys[] = {"mean", "mcse_mean", "sd", "q5", "median", "q95"};
  for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++) {
    poei_table_cell(table, "%.4g", print_number(row, keys[k]));
  }
  poei_table_cell(table, "%.3f", print_number(row, "rhat"));
  poei_table_cell(table, "%.0f", print_number(row, "ess_bulk"));
  poei_table_cell(table, "%.0f", print_number(row, "ess_tail"));
}

enum { PRINT_MAX_ROWS = 40 };

static void print_sample(FILE *out, const json_t *r) {
  fprintf(out, "%s: %lld chains of %lld draws by %s%s\n", print_text(r, "target"),
          (long long)json_integer_value(json_object_get(r, "chains")),
          (long long)json_integer_value(json_object_get(r, "draws")), print_text(r, "method"),
          print_true(r, "exact") ? " (exact)" : "");
  poei_table *table = print_table_open(out, 10);
  if (table == NULL) {
    return;
  }
  static const char *const heads[] = {"", "mean", "mcse", "sd", "q5", "median", "q95", "rhat", "ess_bulk", "ess_tail"};
  for (size_t k = 0; k < 10; k++) {
    poei_table_cell(table, "%s", heads[k]);
  }
  const char *name;
  json_t *rows;
  size_t shown = 0, hidden = 0;
  json_object_foreach(json_object_get(r, "summary"), name, rows) {
    for (size_t i = 0; i < json_array_size(rows); i++) {
      if (shown < PRINT_MAX_ROWS) {
        print_summary_row(table, name, json_array_size(rows), json_array_get(rows, i));
        shown++;
      } else {
        hidden++;
      }
    }
  }
  print_table_close(out, table);
  if (hidden > 0) {
    fprintf(out, "... and %zu more coordinates (--json prints all)\n", hidden);
  }
  if (json_object_get(r, "log_z") != NULL) {
    fprintf(out, "log Z = %.6g ± %.2g%s\n", print_number(r, "log_z"), print_number(r, "log_z_std_error"),
            print_true(r, "log_z_exact") ? " (exact)" : "");
  }
  print_warning(out, r);
  print_proposals(out, r);
  print_gate(out, json_object_get(r, "gate"));
  if (json_object_get(r, "file") != NULL) {
    fprintf(out, "draws: %s\n", print_text(r, "file"));
  }
}

/* A number, or its text where it is not finite. */
static void print_value(poei_table *table, const json_t *value) {
  if (json_is_string(value)) {
    poei_table_cell(table, "%s", json_string_value(value));
  } else {
    poei_table_cell(table, "%.10g", json_number_value(value));
  }
}

enum { PRINT_MAX_POINTS = 10000 };

static void print_score(FILE *out, const json_t *r) {
  json_t *values = json_object_get(r, "log_density"), *each = json_object_get(r, "each");
  size_t n = json_array_size(values);
  poei_table *table = print_table_open(out, 2 + json_object_size(each));
  if (table == NULL) {
    return;
  }
  poei_table_cell(table, "row");
  poei_table_cell(table, "%s", print_text(r, "target"));
  const char *name;
  json_t *column;
  json_object_foreach(each, name, column) {
    poei_table_cell(table, "%s", name);
  }
  const json_t *rank = json_object_get(r, "rank");
  for (size_t k = 0; k < n && k < PRINT_MAX_POINTS; k++) {
    size_t i = rank == NULL ? k : (size_t)json_integer_value(json_array_get(rank, k));
    poei_table_cell(table, "%zu", i);
    print_value(table, json_array_get(values, i));
    json_object_foreach(each, name, column) {
      print_value(table, json_array_get(column, i));
    }
  }
  print_table_close(out, table);
  if (n > PRINT_MAX_POINTS) {
    fprintf(out, "... and %zu more points (--json prints all)\n", n - PRINT_MAX_POINTS);
  }
  if (json_object_get(r, "relative_to") != NULL) {
    fprintf(out, "differences from row %lld: the normalising constant cancels\n",
            (long long)json_integer_value(json_object_get(r, "relative_to")));
  } else if (!print_true(r, "normalised")) {
    fputs("not normalised: only differences of these numbers mean something\n", out);
  }
  if (json_object_get(r, "file") != NULL) {
    fprintf(out, "numbers: %s\n", print_text(r, "file"));
  } else if (json_object_get(r, "grad") != NULL) {
    fputs("gradients: with --json, or --output FILE\n", out);
  }
}

/* "1.5 -0.25 3 ..." of a point. */
static void print_point(poei_table *table, const json_t *x) {
  enum { SHOWN = 8 };
  char text[SHOWN * 16 + 8] = "";
  size_t used = 0, n = json_array_size(x);
  for (size_t j = 0; j < n && j < SHOWN; j++) {
    double value = json_number_value(json_array_get(x, j));
    used += (size_t)snprintf(text + used, sizeof text - used, "%s%.6g", j > 0 ? " " : "", value);
  }
  poei_table_cell(table, "%s%s", text, n > SHOWN ? " ..." : "");
}

/* Rows "x[2, 0]  p p p" of a nested list of probabilities. */
static void print_marginal(FILE *out, const char *name, const json_t *value) {
  if (json_is_null(value)) {
    return;
  }
  size_t i;
  json_t *item;
  if (!json_is_number(json_array_get(value, 0))) {
    json_array_foreach(value, i, item) {
      char longer[128];
      size_t length = strlen(name);
      bool nested = length > 0 && name[length - 1] == ']';
      snprintf(longer, sizeof longer, "%.*s%s%zu]", (int)(nested ? length - 1 : length), name, nested ? ", " : "[", i);
      print_marginal(out, longer, item);
    }
    return;
  }
  fprintf(out, "%-10s", name);
  json_array_foreach(value, i, item) {
    fprintf(out, " %9.6g", json_number_value(item));
  }
  fputc('\n', out);
}

static void print_marginals(FILE *out, const json_t *r) {
  const char *name;
  json_t *value;
  json_object_foreach(json_object_get(r, "marginals"), name, value) {
    print_marginal(out, name, value);
  }
  cli_print_moments(out, json_object_get(r, "moments"));
  if (print_true(r, "exact")) {
    fprintf(out, "exact: %s\n", print_text(r, "method"));
  } else if (json_object_get(r, "draws") == NULL) {
    fprintf(out, "%s, errors up to %.2g\n", print_text(r, "method"),
            json_number_value(json_object_get(r, "error_bound")));
  } else {
    fprintf(out, "%s (%lld), standard errors up to %.2g\n", print_text(r, "method"),
            (long long)json_integer_value(json_object_get(r, "draws")),
            json_number_value(json_object_get(r, "largest_std_error")));
    print_gate(out, json_object_get(r, "gate"));
  }
}

/* "x[0] x[1] c" over the numbers of a point, or x where they are many. */
static void print_coordinates(poei_table *table, const json_t *names) {
  enum { SHOWN = 8 };
  char text[512] = "";
  size_t i, used = 0;
  json_t *name;
  json_array_foreach(names, i, name) {
    int more = snprintf(text + used, sizeof text - used, "%s%s", i > 0 ? " " : "", json_string_value(name));
    used += more < 0 ? 0 : (size_t)more;
    if (used >= sizeof text) {
      break;
    }
  }
  bool few = json_array_size(names) > 0 && json_array_size(names) <= SHOWN && used < sizeof text;
  poei_table_cell(table, "%s", few ? text : "x");
}

static void print_minimize(FILE *out, const json_t *r) {
  const json_t *modes = json_object_get(r, "modes");
  bool rows = json_object_get(json_array_get(modes, 0), "row") != NULL, exact = print_true(r, "exact");
  poei_table *table = print_table_open(out, 3);
  if (table == NULL) {
    return;
  }
  poei_table_cell(table, rows ? "row" : exact ? "" : "starts");
  poei_table_cell(table, "log density");
  print_coordinates(table, json_object_get(r, "coordinates"));
  size_t i;
  json_t *mode;
  json_array_foreach(modes, i, mode) {
    if (i == PRINT_MAX_POINTS) {
      break;
    }
    json_int_t count = json_integer_value(json_object_get(mode, rows ? "row" : "starts"));
    const char *end = print_text(mode, "end"), *what = print_true(mode, "at_bound") ? " (at a bound)" : "";
    what = strcmp(end, "kink") == 0 ? " (a kink)" : strcmp(end, "unfinished") == 0 ? " (not a mode yet)" : what;
    poei_table_cell(table, "%lld%s", rows || !exact ? (long long)count : (long long)i + 1,
                    strcmp(end, "infinite") == 0 ? " (infinite, at a bound)" : what);
    poei_table_cell(table, "%.9g", print_number(mode, "log_density"));
    print_point(table, json_object_get(mode, "x"));
  }
  print_table_close(out, table);
  if (json_array_size(modes) > PRINT_MAX_POINTS) {
    fprintf(out, "... and %zu more (--json prints all)\n", json_array_size(modes) - PRINT_MAX_POINTS);
  }
  fprintf(out, "%s%s\n", exact ? "exact: " : "", print_text(r, "method"));
  long long left = (long long)json_integer_value(json_object_get(r, "unconverged"));
  if (left > 0) {
    fprintf(out, "%lld searches ended short of a mode\n", left);
  }
}

static void print_verify(FILE *out, const json_t *r) {
  size_t i;
  json_t *check;
  json_array_foreach(json_object_get(r, "checks"), i, check) {
    fprintf(out, "%s  %-28s %s\n", print_true(check, "passed") ? "pass" : "FAIL", print_text(check, "name"),
            print_text(check, "detail"));
  }
}

/* A column of the sizes, left out where none of them has a number. */
typedef struct bench_column {
  const char *key, *head, *format;
  double scale;
  bool shown;
} bench_column;

static void print_bench_rows(FILE *out, const json_t *sizes, bench_column *columns, size_t n) {
  size_t i, shown = 1;
  json_t *size;
  for (size_t k = 0; k < n; k++) {
    json_array_foreach(sizes, i, size) {
      columns[k].shown = columns[k].shown || isfinite(print_number(size, columns[k].key));
    }
    shown += columns[k].shown;
  }
  poei_table *table = print_table_open(out, shown);
  if (table == NULL) {
    return;
  }
  poei_table_cell(table, "rows");
  for (size_t k = 0; k < n; k++) {
    if (columns[k].shown) {
      poei_table_cell(table, "%s", columns[k].head);
    }
  }
  json_array_foreach(sizes, i, size) {
    poei_table_cell(table, "%lld", (long long)json_integer_value(json_object_get(size, "rows")));
    for (size_t k = 0; k < n; k++) {
      if (columns[k].shown) {
        double value = columns[k].scale * print_number(size, columns[k].key);
        poei_table_cell(table, isfinite(value) ? columns[k].format : "-", value);
      }
    }
  }
  print_table_close(out, table);
}

static void print_bench(FILE *out, const json_t *r) {
  bench_column columns[] = {{"rows_per_second", "values/s", "%.0f", 1.0, false},
                            {"gradient_rows_per_second", "gradients/s", "%.0f", 1.0, false},
                            {"draws_per_second", "draws/s", "%.1f", 1.0, false},
                            {"gflops", "GFLOP/s", "%.1f", 1.0, false},
                            {"fraction", "of GEMM", "%.0f %%", 100.0, false},
                            {"pytorch_gradient_rows_per_second", "pytorch", "%.0f", 1.0, false},
                            {"pytorch_ratio", "ratio", "%.2f", 1.0, false}};
  long long threads = (long long)json_integer_value(json_object_get(r, "threads"));
  fprintf(out, "%s: rows per second, %lld thread%s, BLAS core %s\n", print_text(r, "target"), threads,
          threads == 1 ? "" : "s", print_text(r, "blas_core"));
  print_bench_rows(out, json_object_get(r, "sizes"), columns, sizeof columns / sizeof columns[0]);
  if (isfinite(print_number(r, "fraction"))) {
    const char *what = isfinite(print_number(r, "gradient_rows_per_second")) ? "gradients" : "values";
    fprintf(out, "of GEMM: arithmetic of the %s over that of bare matrix products of the same shapes\n", what);
  } else if (json_object_get(r, "gemm_absent") != NULL) {
    fprintf(out, "of GEMM: -, %s\n", print_text(r, "gemm_absent"));
  }
  if (json_object_get(r, "pytorch_version") != NULL) {
    fprintf(out, "pytorch: gradients of PyTorch %s, same network, rows and threads; ratio: ours over its\n",
            print_text(r, "pytorch_version"));
  } else if (json_object_get(r, "pytorch_absent") != NULL) {
    fprintf(out, "no PyTorch beside it: %s\n", print_text(r, "pytorch_absent"));
  }
}

/* "97.3 (1246)" */
static void print_fraction(poei_table *table, const json_t *fractions, const json_t *counts, const char *key) {
  if (json_object_get(fractions, key) == NULL) {
    poei_table_cell(table, "-");
  } else if (counts == NULL) {
    poei_table_cell(table, "%.1f %%", 100.0 * print_number(fractions, key));
  } else {
    poei_table_cell(table, "%.1f %% (%lld)", 100.0 * print_number(fractions, key),
                    (long long)json_integer_value(json_object_get(counts, key)));
  }
}

static void print_compare_head(poei_table *table, const json_t *r, const char *title) {
  size_t i;
  json_t *expert;
  poei_table_cell(table, "%s", title);
  json_array_foreach(json_object_get(r, "experts"), i, expert) {
    poei_table_cell(table, "%s", json_string_value(expert));
  }
  poei_table_cell(table, "all");
}

static void print_compare_satisfaction(FILE *out, const json_t *r) {
  poei_table *table = print_table_open(out, json_array_size(json_object_get(r, "experts")) + 2);
  if (table == NULL) {
    return;
  }
  print_compare_head(table, r, "by the experts");
  const char *name;
  json_t *target, *expert;
  size_t i;
  json_object_foreach(json_object_get(r, "targets"), name, target) {
    poei_table_cell(table, "%s%s", name, strcmp(name, print_text(r, "base")) == 0 ? " (base rate)" : "");
    json_array_foreach(json_object_get(r, "experts"), i, expert) {
      print_fraction(table, json_object_get(target, "satisfaction"), NULL, json_string_value(expert));
    }
    print_fraction(table, target, NULL, "all");
  }
  print_table_close(out, table);
}

static void print_compare_judge(FILE *out, const json_t *r) {
  poei_table *table = print_table_open(out, json_array_size(json_object_get(r, "experts")) + 3);
  if (table == NULL) {
    return;
  }
  print_compare_head(table, r, "by the judge");
  poei_table_cell(table, "draws");
  const char *name;
  json_t *target, *expert;
  size_t i;
  json_object_foreach(json_object_get(r, "targets"), name, target) {
    const json_t *judge = json_object_get(target, "judge"), *counts = json_object_get(target, "judge_counts");
    poei_table_cell(table, "%s%s", name, strcmp(name, print_text(r, "base")) == 0 ? " (base rate)" : "");
    json_array_foreach(json_object_get(r, "experts"), i, expert) {
      print_fraction(table, judge, counts, json_string_value(expert));
    }
    print_fraction(table, judge, counts, "all");
    poei_table_cell(table, "%lld", (long long)json_integer_value(json_object_get(target, "draws")));
  }
  print_table_close(out, table);
}

/* Why there are dashes in the judge's table. */
static void print_compare_unjudged(FILE *out, const json_t *r) {
  const json_t *experts = json_object_get(r, "unjudged"), *labels = json_object_get(r, "judge_labels");
  size_t i;
  json_t *item;
  if (json_array_size(experts) == 0) {
    return;
  }
  fputs("-: the judge has no label named", out);
  json_array_foreach(experts, i, item) {
    fprintf(out, "%s %s", i > 0 ? "," : "", json_string_value(item));
  }
  fputs("; it has", out);
  json_array_foreach(labels, i, item) {
    fprintf(out, "%s %s", i > 0 ? "," : "", json_string_value(item));
  }
  fputc('\n', out);
}

static void print_distances(poei_table *table, const char *name, const json_t *d) {
  poei_table_cell(table, "%s", name);
  poei_table_cell(table, "%.2f", print_number(d, "q5"));
  poei_table_cell(table, "%.2f", print_number(d, "median"));
  poei_table_cell(table, "%.2f", print_number(d, "q95"));
}

static void print_compare_nearest(FILE *out, const json_t *r) {
  poei_table *table = print_table_open(out, 4);
  if (table == NULL) {
    return;
  }
  static const char *const heads[] = {"nearest training image", "5 %", "median", "95 %"};
  for (size_t k = 0; k < 4; k++) {
    poei_table_cell(table, "%s", heads[k]);
  }
  print_distances(table, "held-out images", json_object_get(r, "heldout_nearest"));
  const char *name;
  json_t *target;
  json_object_foreach(json_object_get(r, "targets"), name, target) {
    print_distances(table, name, json_object_get(target, "nearest"));
  }
  print_table_close(out, table);
}

static void print_compare(FILE *out, const json_t *r) {
  print_compare_satisfaction(out, r);
  const char *name;
  json_t *target;
  bool judged = false;
  json_object_foreach(json_object_get(r, "targets"), name, target) {
    judged = judged || json_object_get(target, "judge") != NULL;
  }
  if (judged) {
    fputc('\n', out);
    print_compare_judge(out, r);
    print_compare_unjudged(out, r);
  }
  if (json_object_get(r, "heldout_nearest") != NULL) {
    fputc('\n', out);
    print_compare_nearest(out, r);
  }
  fputc('\n', out);
  json_object_foreach(json_object_get(r, "targets"), name, target) {
    fprintf(out, "%-12s %s", name, print_text(target, "method"));
    if (json_object_get(target, "log_z") != NULL) {
      fprintf(out, ", log Z %.4g ± %.2g", print_number(target, "log_z"), print_number(target, "log_z_se"));
    }
    fputs(", ", out);
    print_gate(out, json_object_get(target, "gate"));
    print_warning(out, target);
  }
  if (json_object_get(r, "grid") != NULL) {
    fprintf(out, "image grid: %s\n", print_text(r, "grid"));
  }
}

static void print_check(FILE *out, const json_t *r) {
  if (print_true(r, "ok")) {
    fprintf(out, "%s: no errors\n", print_text(r, "target"));
  }
}

static void print_run(FILE *out, const json_t *r) {
  fprintf(out, "results in %s/\n", print_text(r, "folder"));
}

void cli_print(FILE *out, const poei_verb *verb, const json_t *result) {
  static const struct {
    const char *name;
    void (*print)(FILE *, const json_t *);
  } views[] = {{"logz", print_logz},       {"sample", print_sample},     {"explain", cli_print_explain},
               {"score", print_score},     {"minimize", print_minimize}, {"marginals", print_marginals},
               {"info", cli_print_info},   {"verify", print_verify},     {"bench", print_bench},
               {"compare", print_compare}, {"check", print_check},       {"run", print_run}};
  for (size_t i = 0; i < sizeof views / sizeof views[0]; i++) {
    if (strcmp(views[i].name, verb->name) == 0) {
      views[i].print(out, result);
    }
  }
}
