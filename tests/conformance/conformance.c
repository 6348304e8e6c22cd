/* Running the checks: reports, one check by name, all checks of an entry. */
#include "tests/conformance/conformance.h"

#include <stdio.h>
#include <string.h>

#include "tests/support/check.h"

void poet_fail(poet_report *report, const char *format, ...) {
  report->failures++;
  size_t used = strlen(report->text), room = sizeof report->text - used;
  if (room < 400) {
    return;
  }
  va_list list;
  va_start(list, format);
  memcpy(report->text + used, "    ", 4);
  vsnprintf(report->text + used + 4, room - 5, format, list);
  va_end(list);
  size_t end = strlen(report->text);
  memcpy(report->text + end, "\n", 2);
}

bool poet_close(poet_report *report, double actual, double expected, double tolerance, const char *what, size_t row,
                size_t column) {
  double scale = 1.0 + fmax(fabs(actual), fabs(expected));
  if (actual == expected || (isfinite(actual) && isfinite(expected) && fabs(actual - expected) <= tolerance * scale)) {
    return true;
  }
  poet_fail(report, "%s at row %zu, column %zu is %.17g, not %.17g (difference %.3g, allowed %.3g)", what, row, column,
            actual, expected, actual - expected, tolerance * scale);
  return false;
}

typedef struct named_check {
  const char *name;
  void (*run)(const poet_case *c, const poe_expert *expert, poet_report *report);
} named_check;

static const named_check checks[] = {
#define CHECK_ROW(name) {#name, poet_check_##name},
    POET_CHECK_LIST(CHECK_ROW)
#undef CHECK_ROW
};

void poet_run_check(const poet_case *c, const char *check, poet_report *report) {
  poe_expert *expert = NULL;
  poe_error error = {0};
  if (c->build(&expert, &error) != POE_OK) {
    poet_fail(report, "%s cannot be built: %s", c->name, error.message);
    return;
  }
  bool found = false;
  for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++) {
    if (check != NULL && strcmp(check, checks[i].name) != 0) {
      continue;
    }
    found = true;
    size_t before = report->failures;
    checks[i].run(c, expert, report);
    if (report->failures > before) {
      poet_fail(report, "^ %s, check `%s`", c->name, checks[i].name);
    }
  }
  if (!found) {
    poet_fail(report, "there is no check `%s`", check);
  }
  poe_expert_release(expert);
}

void poet_run_entry(const poet_entry *entry) {
  static poet_report report;
  memset(&report, 0, sizeof report);
  assert_true(entry->n > 0);
  for (size_t i = 0; i < entry->n; i++) {
    poet_run_check(&entry->cases[i], NULL, &report);
  }
  if (report.failures > 0) {
    fail_msg("%s does not conform:\n%s", entry->word, report.text);
  }
}
