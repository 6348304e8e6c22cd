/* The C locale for the calling thread while numbers are read or written as text: the decimal point is a point whatever
 * the user's locale says. */
#ifndef POE_FORMATS_C_LOCALE_H
#define POE_FORMATS_C_LOCALE_H

#include <locale.h>
#include <stdbool.h>

typedef struct poei_c_locale {
  locale_t c, before;
} poei_c_locale;

/* False when out of memory; nothing has changed then. */
static inline bool poei_c_locale_enter(poei_c_locale *scope) {
  scope->c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
  if (scope->c == (locale_t)0) {
    return false;
  }
  scope->before = uselocale(scope->c);
  return true;
}

static inline void poei_c_locale_leave(poei_c_locale *scope) {
  uselocale(scope->before);
  freelocale(scope->c);
}

#endif
