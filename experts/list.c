/* The lists of families and maps as arrays, and lookup by the word of the language. */
#include "experts/list.h"

#include <string.h>

const poe_expert_ops *const poei_families[] = {
#define FAMILY_POINTER(name) &poei_##name##_ops,
    POEI_FAMILY_LIST(FAMILY_POINTER) NULL};

const poei_family_group poei_family_groups[] = {
#define GROUP_ENTRY(title, list) {title, (const poe_expert_ops *const[]){list(FAMILY_POINTER) NULL}},
    POEI_FAMILY_GROUP_LIST(GROUP_ENTRY)
#undef GROUP_ENTRY
#undef FAMILY_POINTER
        {NULL, NULL}};

const poe_map_ops *const poei_maps[] = {
#define MAP_POINTER(name) &poei_##name##_ops,
    POEI_MAP_LIST(MAP_POINTER)
#undef MAP_POINTER
        NULL};

const poe_expert_ops *poei_family_find(const char *kind) {
  for (const poe_expert_ops *const *family = poei_families; *family != NULL; family++) {
    if (strcmp((*family)->kind, kind) == 0) {
      return *family;
    }
  }
  return NULL;
}

const poe_map_ops *poei_map_find(const char *kind) {
  for (const poe_map_ops *const *map = poei_maps; *map != NULL; map++) {
    if (strcmp((*map)->kind, kind) == 0) {
      return *map;
    }
  }
  return NULL;
}
