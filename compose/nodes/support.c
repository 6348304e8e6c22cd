/* Supports of single coordinates: intersection (products), hull (mixtures), and questions about them.
 *
 * A node that says nothing about a coordinate gives it all reals, the neutral element of the intersection: a discrete
 * coordinate stays discrete whatever it is intersected with, and a number of a simplex one of a simplex.
 */
#include <math.h>

#include "compose/nodes/node.h"

poe_support poei_support_reals(void) {
  return (poe_support){.kind = POE_CONTINUOUS, .low = -INFINITY, .high = INFINITY, .low_open = true, .high_open = true};
}

/* Rounds the ends of a support to the integers inside it. */
static void make_discrete(poe_support *a) {
  if (a->kind == POE_DISCRETE) {
    return;
  }
  a->kind = POE_DISCRETE;
  if (isfinite(a->low)) {
    double up = ceil(a->low);
    a->low = (up == a->low && a->low_open) ? up + 1.0 : up;
    a->low_open = false;
  }
  if (isfinite(a->high)) {
    double down = floor(a->high);
    a->high = (down == a->high && a->high_open) ? down - 1.0 : down;
    a->high_open = false;
  }
}

/* Two kinds of coordinate become one: reals give way. */
static void join_kinds(poe_support *a, poe_support *b) {
  if (a->kind == POE_DISCRETE || b->kind == POE_DISCRETE) {
    make_discrete(a);
    make_discrete(b);
  } else if (a->kind == POE_CONTINUOUS) {
    a->kind = b->kind;
  }
}

bool poei_support_intersect(poe_support *a, const poe_support *b) {
  poe_support other = *b;
  join_kinds(a, &other);
  if (other.low > a->low) {
    a->low = other.low;
    a->low_open = other.low_open;
  } else if (other.low == a->low) {
    a->low_open = a->low_open || other.low_open;
  }
  if (other.high < a->high) {
    a->high = other.high;
    a->high_open = other.high_open;
  } else if (other.high == a->high) {
    a->high_open = a->high_open || other.high_open;
  }
  return a->kind == POE_DISCRETE ? a->low <= a->high : a->low < a->high;
}

void poei_support_hull(poe_support *a, const poe_support *b) {
  poe_support other = *b;
  if (a->kind == POE_DISCRETE || other.kind == POE_DISCRETE) {
    make_discrete(a);
    make_discrete(&other);
  } else if (a->kind != other.kind) { /* more than a simplex */
    a->kind = POE_CONTINUOUS;
  }
  if (other.low < a->low) {
    a->low = other.low;
    a->low_open = other.low_open;
  } else if (other.low == a->low) {
    a->low_open = a->low_open && other.low_open;
  }
  if (other.high > a->high) {
    a->high = other.high;
    a->high_open = other.high_open;
  } else if (other.high == a->high) {
    a->high_open = a->high_open && other.high_open;
  }
}

bool poei_support_contains(const poe_support *a, double x) {
  if (!(x >= a->low && x <= a->high)) {
    return false;
  }
  if ((x == a->low && a->low_open && isfinite(a->low)) || (x == a->high && a->high_open && isfinite(a->high))) {
    return false;
  }
  return a->kind != POE_DISCRETE || x == floor(x);
}

bool poei_support_covers(const poe_support *a, const poe_support *b) {
  poe_support both = *b;
  if (!poei_support_intersect(&both, a)) {
    return false;
  }
  /* Whether an end belongs to it changes no integral, so open against closed does not count for reals. */
  return both.kind == b->kind && both.low == b->low && both.high == b->high;
}

bool poei_support_unbounded(const poe_support *a) {
  return !isfinite(a->low) || !isfinite(a->high);
}

size_t poei_support_states(const poe_support *a) {
  if (a->kind != POE_DISCRETE || poei_support_unbounded(a)) {
    return 0;
  }
  double states = a->high - a->low + 1.0;
  return states >= 1.0 && states < 9e15 ? (size_t)states : 0;
}
