/* Words for experts (words.h). A family is called what people call it; a closed form by what is in it. */
#include "compose/exact/words.h"

#include <stdio.h>
#include <string.h>

#include "compose/nodes/node.h"
#include "core/alloc.h"
#include "experts/natural.h"
#include "experts/rbm.h"
#include "experts/sparse_normal.h"

static const char *family_word(const char *kind) {
  static const char *const words[][2] = {
      {"gaussian", "Gaussian"},
      {"linear_gaussian", "linear Gaussian"},
      {"gmm", "mixture of Gaussians"},
      {"energy", "neural energy"},
      {"rbm", "restricted Boltzmann machine"},
      {"dbm", "deep Boltzmann machine"},
      {"ising", "Ising model"},
      {"potts", "Potts model"},
      {"markov", "Markov chain"},
      {"hmm", "hidden Markov model"},
      {"uai", "factor graph"},
      {"truncated", "truncated Gaussian"},
      {"student_t", "Student t"},
      {"kde", "kernel density estimate"},
      {"categorical", "categorical distribution"},
      {"poisson", "Poisson"},
      {"laplace", "Laplace"},
      {"von_mises", "von Mises"},
      {"bernoulli", "Bernoulli"},
  };
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
    if (strcmp(words[i][0], kind) == 0) {
      return words[i][1];
    }
  }
  return kind;
}

const char *poei_article(const char *word) {
  return strchr("aeiouAEIO", word[0]) != NULL && word[0] != '\0' ? "an" : "a";
}

/* The one family of all coordinates of an expert made of exponential families; NULL: several, or none. */
static const char *natural_word(const poe_expert *expert) {
  size_t dim = poe_expert_traits(expert)->dim;
  poei_natural_coordinate *coordinate = poei_calloc(dim, sizeof *coordinate);
  const char *word = NULL;
  double constant;
  poe_error ignored;
  bool same = coordinate != NULL && poei_natural_read(expert, coordinate, &constant, &ignored) == POE_OK;
  for (size_t j = 0; j < dim && same; j++) {
    const char *own = poei_natural_kind(&coordinate[j]);
    same = own != NULL && (word == NULL || strcmp(own, word) == 0);
    word = own;
  }
  poei_free(coordinate);
  return same ? word : NULL;
}

/* What a form holds; false when there is none. */
static bool form_words(const poe_expert *expert, char *text, size_t size) {
  poe_form form = {0};
  poe_error ignored;
  if ((poe_expert_traits(expert)->capabilities & POE_CAN_FORM) == 0 ||
      poe_expert_form(expert, &form, &ignored) != POE_OK) {
    return false;
  }
  if (form.kind == POE_FORM_TABLE) {
    size_t entries = 1;
    for (size_t j = 0; j < form.dim; j++) {
      entries *= form.cardinality[j];
    }
    snprintf(text, size, "table of %zu entries", entries);
  } else if (form.components == 1) {
    snprintf(text, size, "Gaussian");
  } else {
    snprintf(text, size, "mixture of %zu Gaussians", form.components);
  }
  poe_form_release(&form);
  return true;
}

static const char *leaf_words(const poe_expert *expert, char *text, size_t size) {
  const char *kind = poe_expert_ops_of(expert)->kind;
  if (poei_sparse_normal_of(expert) != NULL) {
    snprintf(text, size, "sparse Gaussian");
    return text;
  }
  const poei_boltzmann *machine = poei_boltzmann_of(expert);
  if (machine != NULL) {
    snprintf(text, size, "%s of %zu visible and %zu hidden units", family_word(kind), machine->size[0],
             machine->units - machine->size[0]);
    return text;
  }
  if (strcmp(kind, "closed") != 0) {
    snprintf(text, size, "%s", family_word(kind));
    return text;
  }
  const char *word = natural_word(expert);
  bool gaussian = word == NULL || strcmp(word, "gaussian") == 0;
  if (!gaussian) {
    snprintf(text, size, "%s%s", word, poe_expert_traits(expert)->dim > 1 ? " in each coordinate" : "");
  } else if (!form_words(expert, text, size)) {
    snprintf(text, size, word != NULL ? "Gaussian" : "closed form");
  }
  return text;
}

const char *poei_expert_words(const poe_expert *expert, char *text, size_t size) {
  size_t n = poei_node_child_count(expert);
  const char *name = poei_node_kind_name(poei_node_kind_of(expert));
  switch (poei_node_kind_of(expert)) {
  case POEI_NODE_LEAF:
    return leaf_words(expert, text, size);
  case POEI_NODE_product:
    snprintf(text, size, "product of %zu factor%s", n, n == 1 ? "" : "s");
    return text;
  case POEI_NODE_mixture:
    if (n == 1) {
      return poei_expert_words(poei_node_child(expert, 0), text, size);
    }
    snprintf(text, size, "mixture of %zu components", n);
    return text;
  case POEI_NODE_plate:
    n = poei_plate_count(expert);
    snprintf(text, size, "product of %zu equal factors", n);
    return text;
  case POEI_NODE_given:
    n = poei_given_count(expert);
    snprintf(text, size, "conditional given %zu value%s", n, n == 1 ? "" : "s");
    return text;
  case POEI_NODE_through:
    snprintf(text, size, "density of a map's value");
    return text;
  case POEI_NODE_normalise:
  case POEI_NODE_slice:
  case POEI_NODE_restrict:
    return poei_expert_words(poei_node_child(expert, 0), text, size);
  default:
    snprintf(text, size, "%s", name);
    return text;
  }
}
