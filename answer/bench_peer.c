/* A child process at the other end of a socket (bench_peer.h): JSON objects, one a line, each answered by one. No shell
 * is involved; what the process writes to its standard error is dropped. Everything waits with a limit, in slices, so
 * that a process that hangs or ends costs neither the run nor a signal.
 */
#include "answer/bench_peer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "answer/bench_torch.h" /* made from bench_torch.py: static const char bench_torch_script[] */
#include "answer/session.h"
#include "core/alloc.h"

extern char **environ;

const char *const poei_peer_pythons[] = {"/usr/bin/python3", "python3", NULL};

enum { PEER_LINE = 1 << 16, PEER_SLICE_MS = 50 };

struct poei_peer {
  pid_t pid;
  int socket;
  size_t have; /* bytes in line */
  char line[PEER_LINE];
};

/* ---- waiting ---- */

typedef enum peer_state { PEER_READY, PEER_LATE, PEER_GONE, PEER_STOPPED } peer_state;

static peer_state peer_wait(const poei_peer *peer, short events, double end, const atomic_bool *stop) {
  while (stop == NULL || !atomic_load(stop)) {
    struct pollfd ready = {.fd = peer->socket, .events = events};
    int found = poll(&ready, 1, PEER_SLICE_MS);
    if (found > 0) {
      return (ready.revents & events) != 0 ? PEER_READY : PEER_GONE;
    }
    if (found < 0 && errno != EINTR) {
      return PEER_GONE;
    }
    if (poei_clock() > end) {
      return PEER_LATE;
    }
  }
  return PEER_STOPPED;
}

static peer_state peer_send(poei_peer *peer, const char *text, size_t size, double end, const atomic_bool *stop) {
  while (size > 0) {
    peer_state state = peer_wait(peer, POLLOUT, end, stop);
    if (state != PEER_READY) {
      return state;
    }
    ssize_t sent = send(peer->socket, text, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
      return PEER_GONE;
    }
    if (sent > 0) {
      text += sent;
      size -= (size_t)sent;
    }
  }
  return PEER_READY;
}

/* The next line into peer->line, ended by a NUL in place of its newline. */
static peer_state peer_receive(poei_peer *peer, double end, const atomic_bool *stop) {
  for (peer->have = 0;;) {
    peer_state state = peer_wait(peer, POLLIN, end, stop);
    if (state != PEER_READY) {
      return state;
    }
    ssize_t got = recv(peer->socket, peer->line + peer->have, PEER_LINE - 1 - peer->have, MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
      return PEER_GONE;
    }
    peer->have += got > 0 ? (size_t)got : 0;
    char *newline = memchr(peer->line, '\n', peer->have);
    if (newline != NULL) {
      *newline = '\0';
      return PEER_READY;
    }
    if (peer->have == PEER_LINE - 1) {
      return PEER_GONE; /* no line of ours is as long */
    }
  }
}

/* ---- questions ---- */

static void peer_why(const json_t *reply, peer_state state, char *why, size_t size) {
  const char *absent = json_string_value(json_object_get(reply, "absent"));
  if (absent != NULL) {
    snprintf(why, size, "%s", absent);
  } else {
    snprintf(why, size, "%s",
             state == PEER_LATE   ? "PyTorch did not answer in time"
             : state == PEER_GONE ? "PyTorch ended without an answer"
                                  : "PyTorch's answer cannot be read");
  }
}

/* *final: it could answer but not this, so that asking another is in vain. */
static poe_status peer_ask(poei_peer *peer, const json_t *request, double limit_s, const atomic_bool *stop,
                           json_t **reply, bool *final, char *why, size_t size, poe_error *error) {
  double end = poei_clock() + limit_s;
  size_t length = json_dumpb(request, NULL, 0, JSON_COMPACT);
  char *text = poei_alloc(length + 1, 1);
  *reply = NULL;
  if (text == NULL || length == 0) {
    poei_free(text);
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  json_dumpb(request, text, length, JSON_COMPACT);
  text[length] = '\n';
  peer_state state = peer_send(peer, text, length + 1, end, stop);
  poei_free(text);
  /* A process that answers before it reads all may be gone by now: its answer is there all the same. */
  if (state == PEER_READY || state == PEER_GONE) {
    state = peer_receive(peer, end, stop);
  }
  if (state == PEER_STOPPED) {
    return poe_error_set(error, POE_E_INTERRUPTED, "interrupted");
  }
  json_t *answer = state == PEER_READY ? json_loads(peer->line, JSON_REJECT_DUPLICATES, NULL) : NULL;
  if (!json_is_object(answer) || json_object_get(answer, "absent") != NULL) {
    *final = json_is_true(json_object_get(answer, "final"));
    peer_why(answer, state, why, size);
    json_decref(answer);
    return POE_OK;
  }
  *reply = answer;
  return POE_OK;
}

poe_status poei_peer_ask(poei_peer *peer, const json_t *request, double limit_s, const atomic_bool *stop,
                         json_t **reply, char *why, size_t size, poe_error *error) {
  bool final = false;
  return peer_ask(peer, request, limit_s, stop, reply, &final, why, size, error);
}

/* ---- the process ---- */

void poei_peer_close(poei_peer *peer) {
  if (peer == NULL) {
    return;
  }
  close(peer->socket);
  kill(peer->pid, SIGKILL);
  while (waitpid(peer->pid, NULL, 0) < 0 && errno == EINTR) {
  }
  poei_free(peer);
}

/* The variables by which BLAS and OpenMP are told how many threads to take, and our environment but for those. */
static char **peer_environment(const json_t *request, char settings[4][48]) {
  static const char *const names[] = {
      "OPENBLAS_NUM_THREADS=", "OMP_NUM_THREADS=", "MKL_NUM_THREADS=", "OMP_WAIT_POLICY="};
  size_t n = 0, kept = 0;
  long long threads = (long long)json_integer_value(json_object_get(request, "threads"));
  while (environ[n] != NULL) {
    n++;
  }
  char **all = poei_alloc(n + 5, sizeof *all);
  for (size_t i = 0; all != NULL && i < n; i++) {
    bool ours = false;
    for (size_t k = 0; k < 4; k++) {
      ours = ours || strncmp(environ[i], names[k], strlen(names[k])) == 0;
    }
    if (!ours) {
      all[kept++] = environ[i];
    }
  }
  for (size_t k = 0; all != NULL && k < 4; k++) {
    if (k < 3) {
      snprintf(settings[k], 48, "%s%lld", names[k], threads);
    } else {
      snprintf(settings[k], 48, "%sPASSIVE", names[k]); /* threads that wait spinning cost both sides */
    }
    all[kept++] = settings[k];
  }
  if (all != NULL) {
    all[kept] = NULL;
  }
  return all;
}

static bool peer_spawn(const char *program, char **environment, int child, pid_t *pid) {
  char *const arguments[] = {(char *)program, (char *)"-I", (char *)"-c", (char *)bench_torch_script, NULL};
  posix_spawn_file_actions_t actions;
  if (posix_spawn_file_actions_init(&actions) != 0) {
    return false;
  }
  bool ok = posix_spawn_file_actions_adddup2(&actions, child, 0) == 0 &&
            posix_spawn_file_actions_adddup2(&actions, child, 1) == 0 &&
            posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0) == 0 &&
            posix_spawnp(pid, program, &actions, NULL, arguments, environment) == 0;
  posix_spawn_file_actions_destroy(&actions);
  return ok;
}

/* NULL, with POE_OK, when there is no such program. */
static poe_status peer_start(const char *program, const json_t *request, poei_peer **out, poe_error *error) {
  char settings[4][48];
  poei_peer *peer = poei_calloc(1, sizeof *peer);
  char **environment = peer_environment(request, settings);
  int ends[2] = {-1, -1};
  *out = NULL;
  if (peer == NULL || environment == NULL) {
    poei_free(peer);
    poei_free(environment);
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  bool started = socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0 && fcntl(ends[0], F_SETFD, FD_CLOEXEC) == 0 &&
                 fcntl(ends[1], F_SETFD, FD_CLOEXEC) == 0 && peer_spawn(program, environment, ends[1], &peer->pid);
  poei_free(environment);
  if (ends[1] >= 0) {
    close(ends[1]);
  }
  if (!started) {
    if (ends[0] >= 0) {
      close(ends[0]);
    }
    poei_free(peer);
    return POE_OK;
  }
  peer->socket = ends[0];
  *out = peer;
  return POE_OK;
}

poe_status poei_peer_open(const char *const *programs, const json_t *request, double limit_s, const atomic_bool *stop,
                          poei_peer **peer, json_t **reply, char *why, size_t size, poe_error *error) {
  poe_status status = POE_OK;
  bool final = false;
  snprintf(why, size, "there is no python3");
  *peer = NULL;
  *reply = NULL;
  for (size_t i = 0; status == POE_OK && *reply == NULL && !final && programs[i] != NULL; i++) {
    status = peer_start(programs[i], request, peer, error);
    if (status == POE_OK && *peer != NULL) {
      status = peer_ask(*peer, request, limit_s, stop, reply, &final, why, size, error);
    }
    if (*reply == NULL) {
      poei_peer_close(*peer);
      *peer = NULL;
    }
  }
  return status;
}
