/* Reading the case files and checking a case (cases.h). */
#include "tests/language/cases.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"

#define FOLDER POE_SOURCE_DIR "/tests/language/cases"

/* ---- files ---- */

char *poet_read_text(const char *path) {
  FILE *file = fopen(path, "rb");
  if (!file) {
    return NULL;
  }
  char *text = NULL;
  size_t n = 0;
  for (size_t got = 1; got > 0;) {
    text = realloc(text, n + 4097);
    got = fread(text + n, 1, 4096, file);
    n += got;
  }
  fclose(file);
  text[n] = '\0';
  return text;
}

static char *copy_text(const char *text, size_t length) {
  char *copy = malloc(length + 1);
  memcpy(copy, text, length);
  copy[length] = '\0';
  return copy;
}

static size_t split(const char *path, const char *text, size_t n, poet_case **cases) {
  const char *base = strrchr(path, '/') + 1;
  for (const char *at = strstr(text, "#---- "); at; at = strstr(at, "#---- ")) {
    at += strlen("#---- ");
    size_t title = strcspn(at, "\n");
    const char *body = at + title + (at[title] == '\n');
    const char *end = strstr(body, "#---- ");
    size_t length = end ? (size_t)(end - body) : strlen(body);
    *cases = realloc(*cases, (n + 1) * sizeof **cases);
    char name[512];
    snprintf(name, sizeof name, "%s: %.*s", base, (int)(title < 200 ? title : 200), at);
    (*cases)[n++] = (poet_case){copy_text(name, strlen(name)), copy_text(path, strlen(path)), copy_text(body, length)};
  }
  return n;
}

static int compare_names(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

size_t poet_cases_read(poet_case **cases) {
  DIR *folder = opendir(FOLDER);
  char *names[256];
  size_t n_names = 0, n = 0;
  *cases = NULL;
  for (struct dirent *entry; folder && (entry = readdir(folder)) && n_names < 256;) {
    size_t length = strlen(entry->d_name);
    if (length > 4 && strcmp(entry->d_name + length - 4, ".poe") == 0) {
      names[n_names++] = copy_text(entry->d_name, length);
    }
  }
  if (folder) {
    closedir(folder);
  }
  qsort(names, n_names, sizeof *names, compare_names);
  for (size_t i = 0; i < n_names; i++) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", FOLDER, names[i]);
    char *text = poet_read_text(path);
    n = split(path, text, n, cases);
    free(text);
    free(names[i]);
  }
  if (n == 0) {
    fprintf(stderr, "no cases in %s\n", FOLDER);
    abort();
  }
  return n;
}

void poet_cases_free(size_t n, poet_case *cases) {
  for (size_t i = 0; i < n; i++) {
    free(cases[i].name);
    free(cases[i].path);
    free(cases[i].text);
  }
  free(cases);
}

/* ---- expectations ---- */

typedef struct case_run {
  const poet_case *test;
  poei_diagnostics diagnostics;
  bool *told; /* [diagnostics.n] an expectation matched it */
  poei_program *program;
  bool ok;
} case_run;

static void complain(case_run *run, const char *line, const char *why) {
  size_t length = strcspn(line, "\n");
  fprintf(stderr, "%s: `%.*s`: %s\n", run->test->name, (int)length, line, why);
  run->ok = false;
}

static bool starts(const char *line, const char *word, const char **rest) {
  size_t n = strlen(word);
  if (strncmp(line, word, n) != 0) {
    return false;
  }
  *rest = line + n;
  return true;
}

/* "3:7 part of the message" against the diagnostics. */
static void expect_diagnostic(case_run *run, const char *line, const char *what, poei_severity severity) {
  int row = 0, column = 0, used = 0;
  char part[512];
  snprintf(part, sizeof part, "%.*s", (int)strcspn(what, "\n"), what);
  if (sscanf(part, "%d:%d %n", &row, &column, &used) < 2) {
    complain(run, line, "no place");
    return;
  }
  for (size_t i = 0; i < run->diagnostics.n; i++) {
    const poei_diagnostic *d = &run->diagnostics.items[i];
    if (d->severity == severity && d->error.line == row && d->error.column == column &&
        strstr(d->error.message, part + used)) {
      run->told[i] = true;
      return;
    }
  }
  complain(run, line, "it did not occur");
}

static void expect_hint(case_run *run, const char *line, const char *what) {
  char part[512];
  snprintf(part, sizeof part, "%.*s", (int)strcspn(what, "\n"), what);
  for (size_t i = 0; i < run->diagnostics.n; i++) {
    if (strstr(run->diagnostics.items[i].error.hint, part)) {
      return;
    }
  }
  complain(run, line, "no such hint");
}

static void expect_print(case_run *run, const char *line, const char *what) {
  char *text = poei_program_print(run->program);
  size_t n = strcspn(what, "\n");
  bool found = false;
  for (const char *at = text; at && *at && !found; at += strcspn(at, "\n"), at += *at == '\n') {
    found = strcspn(at, "\n") == n && strncmp(at, what, n) == 0;
  }
  if (!found) {
    complain(run, line, "no such line in the canonical form:");
    fputs(text ? text : "", stderr);
  }
  poei_free(text);
}

static void expect_tree(case_run *run, const char *line, const poei_target *target, const char *what) {
  char text[4096];
  poet_tree_text(target->expert, text, sizeof text);
  if (strcspn(what, "\n") != strlen(text) || strncmp(what, text, strlen(text)) != 0) {
    complain(run, line, text);
  }
}

static bool near(double a, double b) {
  return a == b || fabs(a - b) <= 1e-9 * (1 + fabs(b));
}

static void expect_logz(case_run *run, const char *line, const poei_target *target, const char *what) {
  double log_z = NAN;
  poe_error error = {0};
  if (poe_expert_log_z(target->expert, &log_z, &error) != POE_OK) {
    complain(run, line, error.message);
  } else if (!near(log_z, strtod(what, NULL))) {
    char text[64];
    snprintf(text, sizeof text, "it is %.15g", log_z);
    complain(run, line, text);
  }
}

static void expect_logp(case_run *run, const char *line, const poei_target *target, const char *what) {
  double x[64];
  size_t n = 0;
  char *end = NULL;
  for (const char *at = what; n < 64; at = end + 1) {
    x[n++] = strtod(at, &end);
    if (end == at || *end != ',') {
      break;
    }
  }
  if (n != target->dim || strncmp(end, " = ", 3) != 0) {
    complain(run, line, "not a point of this target");
    return;
  }
  double logp = poet_log_density(target->expert, x, NULL);
  if (!near(logp, strtod(end + 3, NULL))) {
    char text[64];
    snprintf(text, sizeof text, "it is %.15g", logp);
    complain(run, line, text);
  }
}

static void expect_over(case_run *run, const char *line, const poei_target *target, const char *what) {
  char text[2048] = "", name[64];
  for (size_t i = 0; i < target->dim; i++) {
    size_t n = strlen(text);
    snprintf(text + n, sizeof text - n, "%s%s", i > 0 ? " " : "",
             poei_program_coordinate_text(run->program, target->coordinates[i], name, sizeof name));
  }
  if (strcspn(what, "\n") != strlen(text) || strncmp(what, text, strlen(text)) != 0) {
    complain(run, line, text);
  }
}

/* "NAME rest": lowers NAME. */
static void expect_target(case_run *run, const char *line, const char *what,
                          void (*check)(case_run *, const char *, const poei_target *, const char *)) {
  char name[128];
  size_t n = strcspn(what, " \n");
  snprintf(name, sizeof name, "%.*s", (int)(n < 127 ? n : 127), what);
  poei_target target = {0};
  poei_diagnostics none = {0};
  if (poei_program_target(run->program, name, &target, &none) != POE_OK) {
    complain(run, line, "it cannot be lowered");
  } else {
    check(run, line, &target, what + n + (what[n] == ' '));
  }
  poei_target_free(&target);
  poei_diagnostics_free(&none);
}

static void expect(case_run *run, const char *line) {
  const char *what;
  if (starts(line, "error ", &what) || starts(line, "warning ", &what)) {
    expect_diagnostic(run, line, what, line[0] == 'e' ? POEI_ERROR : POEI_WARNING);
  } else if (starts(line, "hint ", &what)) {
    expect_hint(run, line, what);
  } else if (starts(line, "ok", &what)) {
    if (!run->program) {
      complain(run, line, "it was refused");
    }
  } else if (!run->program) {
    complain(run, line, "the program was refused");
  } else if (starts(line, "print ", &what)) {
    expect_print(run, line, what);
  } else if (starts(line, "tree ", &what)) {
    expect_target(run, line, what, expect_tree);
  } else if (starts(line, "logz ", &what)) {
    expect_target(run, line, what, expect_logz);
  } else if (starts(line, "logp ", &what)) {
    expect_target(run, line, what, expect_logp);
  } else if (starts(line, "over ", &what)) {
    expect_target(run, line, what, expect_over);
  } else {
    complain(run, line, "unknown expectation");
  }
}

/* Lowers every density; what is wrong is told with the rest. */
static void lower_all(case_run *run) {
  for (size_t i = 0; i < poei_program_density_count(run->program); i++) {
    const char *name = poei_program_density(run->program, i);
    poei_target target = {0};
    poei_program_target(run->program, name, &target, &run->diagnostics);
    poei_target_free(&target);
    if (!poei_program_outline(run->program, name, &run->diagnostics)) {
      complain(run, name, "no outline");
    }
  }
}

bool poet_case_check(const poet_case *test) {
  case_run run = {.test = test, .ok = true};
  poei_program_load(test->path, test->text, 0, NULL, &run.diagnostics, &run.program);
  if (run.program) {
    lower_all(&run);
  }
  run.told = calloc(run.diagnostics.n + 1, sizeof *run.told);
  size_t expectations = 0;
  for (const char *at = strstr(test->text, "# expect "); at; at = strstr(at, "# expect ")) {
    at += strlen("# expect ");
    expect(&run, at);
    expectations++;
  }
  if (expectations == 0) {
    complain(&run, "", "nothing is expected of it");
  }
  for (size_t i = 0; i < run.diagnostics.n; i++) {
    if (!run.told[i]) {
      complain(&run, "", "an error that is not expected:");
      poet_print_diagnostics(&(poei_diagnostics){.n = 1, .items = &run.diagnostics.items[i]}, test->text);
    }
  }
  free(run.told);
  poei_diagnostics_free(&run.diagnostics);
  poei_program_free(run.program);
  return run.ok;
}
