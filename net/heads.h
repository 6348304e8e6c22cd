/* What the logits of a classifier mean: the metadata poe.heads of a model file (docs/MODEL-FORMAT.md). */
#ifndef POE_NET_HEADS_H
#define POE_NET_HEADS_H

#include <stdbool.h>

#include "formats/tensor_file.h"

/* Names of heads and labels, and how many labels the heads of one file may have together. */
enum { POEI_LABEL_SIZE = 64, POEI_MAX_LABELS = 4096 };

typedef struct poei_head {
  char name[POEI_LABEL_SIZE];     /* "" where a softmax head has none                                */
  bool sigmoid;                   /* one logit: that of the label being there                        */
  size_t first, size;             /* its logits                                                      */
  char (*label)[POEI_LABEL_SIZE]; /* [size]; of a sigmoid head its name                          */
} poei_head;

/* Owned by the caller; zero-initialise. */
typedef struct poei_heads {
  size_t n;
  poei_head *head; /* [n] */
} poei_heads;

/* Reads the heads of a network with that many logits; none where the file does not say. Labels of a file are distinct.
 * POE_E_FORMAT naming the file and the head. */
poe_status poei_heads_read(const poei_tensor_file *file, size_t logits, poei_heads *heads, poe_error *error);
void poei_heads_free(poei_heads *heads);

#endif
