/* Progress on a terminal, colours, and interruption: the first SIGINT or SIGTERM asks the run to end after its current
 * step, the second ends the process. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/cli.h"

static atomic_bool monitor_stop;
static bool monitor_drawn;

static void monitor_signal(int number) {
  if (atomic_exchange(&monitor_stop, true)) {
    signal(number, SIG_DFL);
    raise(number);
  }
}

static void monitor_report(void *context, const char *phase, size_t done, size_t total) {
  static double last;
  double now = poei_clock();
  (void)context;
  if (now - last < 0.1 && done < total) {
    return;
  }
  last = now;
  fprintf(stderr, "\r\033[K%s %zu of %zu", phase, done, total);
  fflush(stderr);
  monitor_drawn = true;
}

poei_monitor cli_monitor(bool quiet) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = monitor_signal;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
  poei_monitor monitor = {.stop = &monitor_stop};
  if (!quiet && isatty(STDERR_FILENO)) {
    monitor.report = monitor_report;
  }
  return monitor;
}

void cli_monitor_end(void) {
  if (monitor_drawn) {
    fputs("\r\033[K", stderr);
    monitor_drawn = false;
  }
}

bool cli_colour(FILE *stream) {
  const char *no_colour = getenv("NO_COLOR");
  return (no_colour == NULL || no_colour[0] == '\0') && isatty(fileno(stream));
}

size_t cli_width(FILE *stream) {
  enum { NARROWEST = 40, WIDEST = 400, USUAL = 100 };
  struct winsize window = {0};
  const char *given = getenv("COLUMNS");
  long columns = given == NULL ? 0 : strtol(given, NULL, 10);
  if (columns <= 0 && isatty(fileno(stream)) && ioctl(fileno(stream), TIOCGWINSZ, &window) == 0) {
    columns = window.ws_col;
  }
  if (columns <= 0) {
    return USUAL;
  }
  return columns < NARROWEST ? NARROWEST : columns > WIDEST ? WIDEST : (size_t)columns;
}
