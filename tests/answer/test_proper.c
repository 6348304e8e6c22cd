/* Quotients refused for their tails, against a scan of all directions; whose doing a density is that is not finite;
 * runs that get nowhere. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "poe/rng.h"
#include "tests/answer/fixture.h"
#include "tests/support/check.h"

/* ---- tails ---- */

enum { MOST_DIM = 3, FACTORS = 4, COMPONENTS = 2, SCAN = 4 };

/* prod_i (0.5 N(0, cov_i0) + 0.5 N(1, cov_i1))^exponent_i */
typedef struct quotient {
  size_t d;
  double exponent[FACTORS];
  double cov[FACTORS][COMPONENTS][MOST_DIM][MOST_DIM];
  double precision[FACTORS][COMPONENTS][MOST_DIM][MOST_DIM];
} quotient;

/* Inverse by Gauss and Jordan; matrices here are well conditioned. */
static void invert(size_t d, double cov[MOST_DIM][MOST_DIM], double inverse[MOST_DIM][MOST_DIM]) {
  double a[MOST_DIM][2 * MOST_DIM] = {{0.0}};
  for (size_t i = 0; i < d; i++) {
    memcpy(a[i], cov[i], d * sizeof(double));
    a[i][d + i] = 1.0;
  }
  for (size_t i = 0; i < d; i++) {
    double pivot = a[i][i];
    for (size_t j = 0; j < 2 * d; j++) {
      a[i][j] /= pivot;
    }
    for (size_t k = 0; k < d; k++) {
      double factor = a[k][i];
      for (size_t j = 0; j < 2 * d && k != i; j++) {
        a[k][j] -= factor * a[i][j];
      }
    }
  }
  for (size_t i = 0; i < d; i++) {
    memcpy(inverse[i], a[i] + d, d * sizeof(double));
  }
}

static quotient quotient_draw(uint64_t seed) {
  quotient q = {.d = 2 + seed % 2};
  poe_stream stream = poe_stream_open(poe_rng_seed(seed));
  for (size_t i = 0; i < FACTORS; i++) {
    q.exponent[i] = (i < 2 ? 1.0 : -0.45) * (0.5 + poe_stream_uniform(&stream));
    for (size_t k = 0; k < COMPONENTS; k++) {
      double root[MOST_DIM][MOST_DIM];
      for (size_t a = 0; a < q.d; a++) {
        for (size_t b = 0; b < q.d; b++) {
          root[a][b] = poe_stream_normal(&stream);
        }
      }
      for (size_t a = 0; a < q.d; a++) {
        for (size_t b = 0; b < q.d; b++) {
          q.cov[i][k][a][b] = a == b ? 0.3 : 0.0;
          for (size_t c = 0; c < q.d; c++) {
            q.cov[i][k][a][b] += root[a][c] * root[b][c];
          }
        }
      }
      invert(q.d, q.cov[i][k], q.precision[i][k]);
    }
  }
  return q;
}

static double quotient_along(const quotient *q, const double *v) {
  double total = 0.0;
  for (size_t i = 0; i < FACTORS; i++) {
    double widest = INFINITY;
    for (size_t k = 0; k < COMPONENTS; k++) {
      double own = 0.0;
      for (size_t a = 0; a < q->d; a++) {
        for (size_t b = 0; b < q->d; b++) {
          own += v[a] * q->precision[i][k][a][b] * v[b];
        }
      }
      widest = fmin(widest, own);
    }
    total += q->exponent[i] * widest;
  }
  return total;
}

/* The least total precision over a fine grid of directions. */
static double quotient_scan(const quotient *q) {
  double least = INFINITY, pi = acos(-1.0);
  size_t turns = 60 * SCAN, tilts = q->d == 3 ? 30 * SCAN : 0;
  for (size_t t = 0; t <= tilts; t++) {
    double tilt = tilts == 0 ? pi / 2.0 : pi * (double)t / (double)tilts;
    for (size_t i = 0; i < turns; i++) {
      double turn = pi * (double)i / (double)turns; /* v and -v are alike */
      double v[3] = {sin(tilt) * cos(turn), sin(tilt) * sin(turn), cos(tilt)};
      least = fmin(least, quotient_along(q, v));
    }
  }
  return least;
}

static void quotient_write(const quotient *q, bool through_formula, FILE *out) {
  fprintf(out, "var x : real[%zu]\nt = ", q->d);
  for (size_t i = 0; i < FACTORS; i++) {
    fprintf(out, "%s(", i == 0 ? "" : q->exponent[i] < 0.0 ? " / " : " * ");
    for (size_t k = 0; k < COMPONENTS; k++) {
      fprintf(out, "%s0.5*gaussian(x | mean=%zu, cov=[", k > 0 ? " + " : "", k);
      for (size_t a = 0; a < q->d; a++) {
        fprintf(out, "%s[", a > 0 ? ", " : "");
        for (size_t b = 0; b < q->d; b++) {
          fprintf(out, "%s%.17g", b > 0 ? ", " : "", q->cov[i][k][a][b]);
        }
        fputs("]", out);
      }
      fputs("])", out);
    }
    fprintf(out, ")^%.17g", fabs(q->exponent[i]));
  }
  fputs(through_formula ? " * formula(x | energy=cos(x[0]))\n" : "\n", out);
}

/* The direction that a message names, "0.71*x[0] - 0.71*x[1]" or "x[1]". */
static void direction_of(const char *message, double *v) {
  memset(v, 0, MOST_DIM * sizeof *v);
  const char *at = strstr(message, "along ");
  assert_non_null(at);
  double sign = 1.0;
  for (at += 6; *at != '\0' && strncmp(at, "the", 3) != 0 && *at != '('; at++) {
    double weight = 1.0;
    int used = 0;
    size_t index;
    if (*at == '-') {
      sign = -1.0;
    } else if (*at == '+') {
      sign = 1.0;
    } else if ((sscanf(at, "%lf*x[%zu]%n", &weight, &index, &used) == 2 ||
                sscanf(at, "x[%zu]%n", &index, &used) == 1) &&
               used > 0) {
      assert_true(index < MOST_DIM);
      v[index] = sign * weight;
      at += used - 1;
    }
  }
}

/* Refused exactly where a direction exists, and in a direction that is one (as rounded as it is printed). */
static void test_tails(void **state) {
  (void)state;
  size_t refused = 0, rotated = 0, passed = 0;
  for (uint64_t seed = 0; seed < 150; seed++) {
    quotient q = quotient_draw(seed);
    double least = quotient_scan(&q);
    if (fabs(least) < 0.02) {
      continue; /* the scan's own resolution */
    }
    char text[8192];
    FILE *out = fmemopen(text, sizeof text, "w");
    quotient_write(&q, false, out);
    fclose(out);
    fixture f;
    fixture_open(&f, "tails.poe", text, 0);
    poei_target target;
    poe_error error = {0};
    assert_int_equal(poei_program_target(f.session.program, NULL, &target, &f.diagnostics), POE_OK);
    poe_status status = poei_target_check_proper(&f.session, &target, &error);
    if (status != (least < 0.0 ? POE_E_IMPROPER : POE_OK)) {
      fail_msg("seed %d, least total precision %g: %s %s", (int)seed, least, poe_status_name(status), error.message);
    }
    refused += status != POE_OK;
    passed += status == POE_OK;
    if (status != POE_OK) {
      double v[MOST_DIM], axis = INFINITY;
      direction_of(error.message, v);
      if (!(quotient_along(&q, v) < 0.02)) {
        fail_msg("seed %d: %g along the direction of: %s", (int)seed, quotient_along(&q, v), error.message);
      }
      for (size_t a = 0; a < q.d; a++) {
        double e[MOST_DIM] = {0.0};
        e[a] = 1.0;
        axis = fmin(axis, quotient_along(&q, e));
      }
      rotated += axis > 0.0;
    }
    poei_target_free(&target);
    fixture_close(&f);
  }
  assert_true(refused >= 30 && rotated >= 8 && passed >= 30);
}

static void improper(const char *text, const char *part) {
  fixture f;
  fixture_open(&f, "tails.poe", text, 0);
  poei_target target;
  poe_error error = {0};
  assert_int_equal(poei_program_target(f.session.program, NULL, &target, &f.diagnostics), POE_OK);
  poe_status status = poei_target_check_proper(&f.session, &target, &error);
  if (status != (part == NULL ? POE_OK : POE_E_IMPROPER) || (part != NULL && strstr(error.message, part) == NULL)) {
    fail_msg("%s: %s %s", text, poe_status_name(status), error.message);
  }
  poei_target_free(&target);
  fixture_close(&f);
}

/* By hand: with a slower factor, in a box, on half-lines, beside a formula, with names. */
static void test_tails_by_hand(void **state) {
  (void)state;
#define RIDGE(place) "gaussian(" place " | mean=0, cov=[[1, 0.9], [0.9, 1]])"
#define TWINS(place) "(" RIDGE(place) " + gaussian(" place " | mean=3, cov=[[1, 0.85], [0.85, 1]]))"
#define NARROW(place) "gaussian(" place " | mean=0, cov=[[0.3, 0], [0, 0.3]])"
  improper("var x, y : real\nq = " NARROW("x, y") " / " RIDGE("x, y") "^0.5\n", "along 0.71*x - 0.71*y (value -1.67)");
  improper("var x, y : real\nq = " NARROW("x, y") " / " TWINS("x, y") "^0.6\n",
           "along 0.71*x - 0.71*y the divisors fall off faster than the rest (total precision -0.667)");
  improper("var x, y : real\nq = " NARROW("x, y") " / " TWINS("x, y") "^0.4\n", NULL);
  improper("var x, y : real\nq = " NARROW("x, y") " * student_t(y | df=1, loc=0, scale=1) / " TWINS("x, y") "^0.6\n",
           "0.71*x - 0.71*y");
  improper("var x, y : real\nq = " NARROW("x, y") " * gaussian(y | mean=0, sd=0.7) / " TWINS("x, y") "^0.6\n", NULL);
  improper("var x : real\nvar y : real in (-9, 9)\nq = " NARROW("x, y") " / " TWINS("x, y") "^0.6\n", NULL);
  improper("var x, y : real in (0, inf)\nq = " NARROW("x, y") " / " RIDGE("x, y") "^0.5\n", NULL);
  improper("var x : real in (0, inf)\nvar y : real in (-inf, 0)\nq = " NARROW("x, y") " / " RIDGE("x, y") "^0.5\n",
           "0.71*x - 0.71*y");
  improper("var x, y : real\nq = " NARROW("x, y") " * formula(y | energy=cos(y)) / " TWINS("x, y") "^0.6\n",
           "grows without bound, where it is divided by a mixture of 2 Gaussians"); /* no form shows it: a ray does */
  improper("var x, y, z : real\nq = " NARROW("z, y") " * formula(x | energy=x^4) / " TWINS("z, y") "^0.6\n",
           "0.71*y - 0.71*z");
  improper("var z : real[3]\nq = gaussian(z | mean=0, sd=1) / gaussian(z[1] | mean=0, sd=0.9)\n", "along z[1]");
}

/* Every allocation failing in turn: out of memory, or the verdict there is with it. */
static void test_tails_memory(void **state) {
  (void)state;
  static const struct {
    const char *text;
    poe_status expected;
  } cases[] = {{"var x, y : real\nq = " NARROW("x, y") " / " RIDGE("x, y") "^0.5\n", POE_E_IMPROPER},
               {"var x, y : real\nq = " NARROW("x, y") " / " TWINS("x, y") "^0.6\n", POE_E_IMPROPER},
               {"var x, y : real\nq = " NARROW("x, y") " / " TWINS("x, y") "^0.4\n", POE_OK},
               {"var x, y : real\nq = " NARROW("x, y") " * formula(y | energy=cos(y)) / " TWINS("x, y") "^0.6\n",
                POE_E_IMPROPER}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    fixture f;
    fixture_open(&f, "tails.poe", cases[i].text, 0);
    poei_target target;
    assert_int_equal(poei_program_target(f.session.program, NULL, &target, &f.diagnostics), POE_OK);
    bool more = true;
    for (uint64_t n = 1; more; n++) {
      poe_error error = {0};
      uint64_t before = poei_alloc_count();
      poei_alloc_fail_at(n);
      poe_status status = poei_target_check_proper(&f.session, &target, &error);
      poei_alloc_fail_at(0);
      more = poei_alloc_count() - before >= n;
      if (status != cases[i].expected && (status != POE_E_MEMORY || !more)) {
        fail_msg("%s, allocation %d: %s %s", cases[i].text, (int)n, poe_status_name(status), error.message);
      }
    }
    poei_target_free(&target);
    fixture_close(&f);
  }
}

/* ---- rays ---- */

/* What grows along a ray that no form shows; and proper densities that are hard to tell from it: narrow ridges that get
 * higher as they get thinner (one in 21 dimensions, wider than 1/r as far as is looked), cancelling factors, formulas
 * of which rounding is all that is left far out or that overflow there, flat tails, exponents of all sizes. */
static void test_rays(void **state) {
  (void)state;
  static const char *const grow[][2] = {
      {"var x, y : real\nq = formula(x, y | energy=x^2*y^2 - 0.5*y^2)\n",
       "along y it grows without bound, as a formula in it does"},
      {"var x, y : real\nq = gaussian(x, y | mean=0, sd=2) * formula(x, y | energy=x^2*y^2 - 0.5*y^2)\n",
       "along y it grows without bound"},
      {"var x, y, z : real\nq = gaussian(x, y, z | mean=0, sd=1) * formula(x, y, z | log_density=exp(x + y*z))\n",
       "grows without bound"},
      {"var x, y, z : real\nq = gaussian(x, y, z | mean=0, sd=1) *\n"
       "  formula(x, y, z | log_density=0.6*y^2*(1 + 1e-9*tanh(x*z)) - 0.01*log1p(x^2*z^2))\n",
       "along y it grows without bound, as a formula in it does"},
      {"var x : real[4]\nq = laplace(x | loc=0, scale=1) / formula(x | energy=norm(x)^1.5)\n",
       "where it is divided by a formula"},
      {"var x : real[4]\nq = student_t(x | df=3, loc=0, scale=1) / formula(x | energy=norm(x)^0.5)\n",
       "where it is divided by a formula"},
      {"var r : real in (0, inf)\nvar u : real in [0, 1]\nq = formula(r, u | energy=u*sqrt(r) - r)\n",
       "along r it grows without bound"},
      {"var x : real[3]\nvar k : int(3)\nq = gaussian(x | mean=0, sd=1) * categorical(k | p=[0.5, 0.3, 0.2]) *\n"
       "  formula(x, k | energy=-k*(x[0] + x[1])^2*(1 + cos(x[2])^2/9))\n",
       "grows without bound"},
  };
  static const char *const proper[] = {
      "var v : real\nvar x : real[2]\nq = gaussian(v | mean=0, sd=3) * formula(v, x | energy=dot(x, x)*exp(-v)/2 + "
      "v)\n",
      "var v : real\nvar x : real\nq = student_t(v | df=2, loc=0, scale=1) *\n"
      "  formula(v, x | energy=x^2*exp(-v)/2 + v/2)\n",
      "var x, y : real\nq = formula(x, y | energy=x^2*y^2 + abs(x) + abs(y) - 5*sin(x*y))\n",
      "var x : real[3]\nq = student_t(x | df=0.3, loc=0, scale=1) * formula(x | energy=cos(sum(x)))\n",
      "var x : real[3]\nq = gaussian(x | mean=0, sd=1) / formula(x | energy=norm(x)^1.9)\n",
      "var x : real[2]\nq = student_t(x | df=3, loc=0, scale=1) * gaussian(x | mean=1e6, sd=1e5) /\n"
      "  formula(x | energy=cos(x[0])*norm(x))\n",
      "var x : real[3]\nn = gaussian(x | mean=0, sd=0.1)\nq = student_t(x | df=3, loc=0, scale=1) *\n"
      "  formula(x | energy=norm(x - 0.1)^2*7 + cos(sum(x))) / formula(x | energy=norm(x - 0.1)^2*7)\n",
      "var x : real\nq = formula(x | energy=1e-12*x^4 - 3*x^2)\n",
      "var x : real\nq = gaussian(x | mean=1e20, sd=1) * formula(x | energy=cos(x))\n",
      "var x : real[2]\nq = kde(x | data=[[0, 0], [1, 1], [2, 0.5]], bandwidth=1) / formula(x | energy=abs(x[0] + "
      "x[1]))\n",
      "var r : real in (0, inf)\nq = lognormal(r | mu=3, sigma=8) * formula(r | energy=cos(r))\n",
      "var x : real[2]\nq = formula(x | energy=100*(x[1] - x[0]^2)^2 + (1 - x[0])^2)\n",
      "var v : real\nvar x : real[20]\nq = student_t(v | df=2, loc=0, scale=1) *\n"
      "  formula(v, x | energy=exp(abs(v)^0.1)*norm(x) - 20*abs(v)^0.1)\n",
      "var x, y : real\nq = gaussian(x, y | mean=0, sd=100) * formula(x, y | log_density=log(exp(3*x) + exp(y)))\n",
      "var x : real\nq = formula(x | energy=(x/3)^4*81 - x^4 + x^2)\n",
      "var x : real\nq = formula(x | energy=(x - 1)^6 - x^6 + 6*x^5 - 15*x^4 + 20*x^3)\n",
      "var x : real[2]\nq = formula(x | energy=norm(x)^4 - dot(x, x)^2 + norm(x))\n",
      "var x : real[2]\nq = formula(x | energy=(x[1]*0.7)^4 - 0.2401*x[1]^4 + norm(x)^2)\n",
  };
  for (size_t i = 0; i < sizeof grow / sizeof grow[0]; i++) {
    improper(grow[i][0], grow[i][1]);
  }
  for (size_t i = 0; i < sizeof proper / sizeof proper[0]; i++) {
    improper(proper[i], NULL);
  }
}

/* ---- whose doing ---- */

static const char broken[] = "var x, y : real\n"
                             "var z : real\n"
                             "a = gaussian(x, y, z | mean=0, sd=1)\n"
                             "root = formula(x, y | log_density=sqrt(x + y) - x^2)\n"
                             "tie = formula(x, z | log_density=-x^2*z^2)\n"
                             "bump = formula(y | log_density=log(max(1 - y^2, 0)))\n"
                             "edge(p, q) =\n"
                             "  formula(p, q | log_density=-sqrt(p - q))\n"
                             "var u, v, w : real\n"
                             "b = gaussian(u, v, w | mean=0, sd=1)\n"
                             "lone = a * tie * root\n"
                             "pole = a * tie * formula(z, y | log_density=-log(max(z, y, 0)))\n"
                             "pairs = a * tie * edge(x, y) * edge(y, z)\n"
                             "mixed = a * tie * root or a\n"
                             "posed = b * formula(u, v, w | log_density=sqrt(u*v*w)) given w = 2\n"
                             "apart = a * tie * b * formula(u, v, w | energy=log(u*v*w))\n"
                             "flat = a * tie / bump\n"
                             "kink = a * tie * formula(x, y, z | log_density=-sqrt(abs(x*y*z)))\n";

typedef struct blame_case {
  const char *verb, *target, *method;
  int line, column;
  const char *message, *hint;
} blame_case;

static void test_blame(void **state) {
  (void)state;
  static const blame_case cases[] = {
      {"logz", "lone", NULL, 4, 8, "nan at a draw that the path starts from; it comes from 'root'", "x = "},
      {"sample", "lone", NULL, 4, 8, "it comes from 'root'", ", z = "},
      {"sample", "lone", "hmc", 4, 8, "the log density at its start is nan; it comes from 'root'", "finite"},
      {"sample", "lone", "rwm", 4, 8, "it comes from 'root'", "finite"},
      {"logz", "pole", NULL, 12, 18, "inf at a draw that the path starts from; it comes from `formula`", "y = "},
      {"logz", "pairs", NULL, 8, 3, "it comes from `formula`", "x = "},
      {"logz", "mixed", NULL, 4, 8, "it comes from 'root'", "met at "},
      {"logz", "apart", NULL, 16, 23, "nan at a draw that the path starts from; it comes from `formula`", "u = "},
      {"verify", "lone", NULL, 4, 8, "it comes from 'root'", "x = "},
      {"score", "lone", NULL, 4, 8, "row 1 is not a number; it comes from 'root'", ""},
      {"score", "pairs", NULL, 8, 3, "row 0 is not a number; it comes from `formula`", ""},
      {"score", "flat", NULL, 6, 8, "row 0 is +infinity; it comes from dividing by 'bump', which is 0 there", "zero"},
      {"score", "lone^-1", NULL, 4, 8, "row 1 is not a number; it comes from 'root'", ""},
  };
  fixture f;
  fixture_open(&f, "broken.poe", broken, 3);
  f.session.no_cache = true;
  const char points[] = "1,1.5,3\n-1,0,0\n0,1e5,0\n";
  const char *path = poet_temp_file("points.csv", points, strlen(points));
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    const blame_case *c = &cases[i];
    static const struct {
      const char *name;
      fixture_verb *verb;
    } verbs[] = {{"logz", poei_answer_logz},
                 {"sample", poei_answer_sample},
                 {"verify", poei_answer_verify},
                 {"score", poei_answer_score}};
    const char *const options[][2] = {{strcmp(c->verb, "score") == 0 ? "data"
                                       : c->method != NULL           ? "method"
                                                                     : NULL,
                                       c->method != NULL ? c->method : path},
                                      {NULL, NULL}};
    for (size_t k = 0; k < sizeof verbs / sizeof verbs[0]; k++) {
      if (strcmp(verbs[k].name, c->verb) == 0) {
        fixture_action a;
        poe_error error = {0};
        assert_null(
            fixture_perform(&f, verbs[k].verb, fixture_act(&a, c->verb, c->target, options), POE_E_NUMERIC, &error));
        if (strstr(error.message, c->message) == NULL || error.line != c->line || error.column != c->column ||
            strstr(error.file, "broken.poe") == NULL || strstr(error.hint, c->hint) == NULL) {
          fail_msg("%s %s: %s:%d:%d %s (%s)", c->verb, c->target, error.file, error.line, error.column, error.message,
                   error.hint);
        }
      }
    }
  }
  fixture_close(&f);
}

/* Starts given by the user: a density that is 0 there, and a gradient that is not finite. */
static void test_blame_starts(void **state) {
  (void)state;
  fixture f;
  fixture_open(&f, "broken.poe", broken, 3);
  static const struct {
    const char *target, *start, *method, *message;
    int line, column;
  } cases[] = {{"a * tie * bump", "0,1e5,0\n", "rwm", "is -inf; it comes from 'bump'", 6, 8},
               {"kink", "0,0.5,1\n", "hmc", "its gradient is not finite; it comes from `formula`", 18, 18}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    fixture_action a;
    poe_error error = {0};
    const char *path = poet_temp_file("start.csv", cases[i].start, strlen(cases[i].start));
    const char *const options[][2] = {{"method", cases[i].method}, {"init", path}, {NULL, NULL}};
    assert_null(fixture_perform(&f, poei_answer_sample, fixture_act(&a, "sample", cases[i].target, options),
                                POE_E_NUMERIC, &error));
    if (strstr(error.message, cases[i].message) == NULL || error.line != cases[i].line ||
        error.column != cases[i].column) {
      fail_msg("%s: %d:%d %s", cases[i].target, error.line, error.column, error.message);
    }
  }
  fixture_close(&f);
}

/* ---- paths that get nowhere ---- */

/* What no rule sees through and no ray meets (a ridge that winds about the axis, a rise within rounding) the path does.
 */
static void test_paths(void **state) {
  (void)state;
  static const struct {
    const char *target, *message;
    int line;
  } cases[] = {{"wide", "the particles run away along y: ", 3},
               {"edge", "the particles run away along y: ", 4},
               {"blocks", "the particles run away along v: ", 7},
               {"mixed", "the particles run away along coordinate 1: ", 8}};
  fixture f;
  fixture_open(&f, "paths.poe",
               "var x, y, z : real\n"
               "a = gaussian(x, y, z | mean=0, sd=1)\n"
               "wide = a * formula(x, y, z | log_density=0.6*y^2 - 50*(x - 0.2*y*sin(log1p(y^2)))^2 - "
               "0.01*log1p(x^2*z^2))\n"
               "edge = a * formula(x, y, z | log_density=0.5*y^2*(1 + 1e-9*tanh(x*z)) - 0.01*log1p(x^2*z^2))\n"
               "var u, v, w : real\n"
               "b = gaussian(u, v, w | mean=0, sd=1)\n"
               "blocks = a * formula(x, y, z | energy=x^2*y^2*z^2) * b * formula(u, v, w | energy=-0.6*v^2 + "
               "50*(u - 0.2*v*sin(log1p(v^2)))^2 - cos(u*w))\n"
               "mixed = wide or a\n",
               0);
  f.session.no_cache = true;
  for (uint64_t seed = 0; seed < 4; seed++) {
    f.session.seed = seed;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
      fixture_action a;
      poe_error error = {0};
      if (seed % 2 == 1 && strcmp(cases[i].target, "edge") != 0) {
        continue; /* draws of winding ridges take seconds */
      }
      fixture_verb *verb = seed % 2 == 0 ? poei_answer_logz : poei_answer_sample;
      const char *word = seed % 2 == 0 ? "logz" : "sample";
      assert_null(fixture_perform(&f, verb, fixture_act(&a, word, cases[i].target, NULL), POE_E_NUMERIC, &error));
      if (strstr(error.message, cases[i].message) == NULL || error.line != cases[i].line || error.hint[0] == '\0') {
        fail_msg("%s, seed %d: %d %s", cases[i].target, (int)seed, error.line, error.message);
      }
    }
  }
  fixture_close(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_tails), cmocka_unit_test(test_tails_by_hand), cmocka_unit_test(test_blame),
      cmocka_unit_test(test_rays),  cmocka_unit_test(test_tails_memory),  cmocka_unit_test(test_blame_starts),
      cmocka_unit_test(test_paths),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
