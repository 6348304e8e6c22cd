/* What the families and maps on networks share: their parameters, and opening the file. */
#ifndef POE_EXPERTS_NETWORK_H
#define POE_EXPERTS_NETWORK_H

#include "net/activation.h"
#include "net/heads.h"
#include "net/net.h"

/* A row of the parameter table of every family that reads poe.* metadata. */
#define POEI_DESCRIPTION_PARAM                                                                                         \
  {                                                                                                                    \
    "description", POE_ARG_FILE, "", NULL,                                                                             \
        "JSON file with the poe.* metadata of a state dict that has none: poe.family, poe.input, poe.layers, ..."      \
  }

/* Rows of a parameter table. */
#define POEI_NETWORK_PARAMS                                                                                            \
  {"file", POE_ARG_FILE, "", NULL, "safetensors or npz file with the network's weights"}, POEI_DESCRIPTION_PARAM,      \
      {"layers", POE_ARG_STRINGS, "", NULL, "bare state dicts: prefixes of the linear layers in order"},               \
      {"activation", POE_ARG_SYMBOL, POEI_ACTIVATION_WORDS, NULL, "bare state dicts: what stands between the layers"}, \
      {"output_activation", POE_ARG_SYMBOL, POEI_ACTIVATION_WORDS, NULL,                                               \
       "bare state dicts: what follows the last layer (default: identity)"},                                           \
  {                                                                                                                    \
    "precision", POE_ARG_SYMBOL, "single|double", NULL, "arithmetic of the network (default: that of its weights)"     \
  }

/* Loads the network of the arguments above, whose input is the subjects' coordinates. The file must be of that family
 * if it says one. *scale (may be NULL) is its poe.energy_scale, 1 when it has none. Errors carry the place of `file`.
 */
poe_status poei_network_open(const poe_args *args, const char *family, poei_net **net, double *scale, poe_error *error);

/* Opens `file` of the arguments, with the metadata of `description` where that is given; POE_E_USAGE without `file`. */
poe_status poei_network_file(const poe_args *args, poei_tensor_file **file, poe_error *error);

/* The same for a `classifier`, whose input has in_dim numbers; *heads is what its logits mean (released with
 * poei_heads_free), none where the file does not say. */
poe_status poei_network_open_classifier(const poe_args *args, size_t in_dim, poei_net **net, poei_heads *heads,
                                        poe_error *error);

/* The network of an `energy` expert or of a `decoder` map (borrowed); NULL when it is something else. */
const poei_net *poei_energy_net(const poe_expert *expert);
const poei_net *poei_decoder_net(const poe_map *map);
/* That of a `classifier`; *continuous: all it reads is, so that there is a way back through it. */
const poei_net *poei_classifier_net(const poe_expert *expert, bool *continuous);
/* Whether an expert is a flow that its variable's bounds cut off, so that it is neither normalised nor drawn exactly;
 * *low, *high: where it reaches by itself in the first coordinate where they do. */
bool poei_flow_cut(const poe_expert *expert, double *low, double *high);

/* How often an evaluation goes through a network. */
typedef struct poei_net_use {
  const poei_net *net;
  size_t forward, both; /* forwards alone; forwards and backwards */
} poei_net_use;

/* The networks of an expert of any family (borrowed) and how a row's evaluation, or one with gradient, uses them:
 * writes up to `capacity` of them, returns how many there are. */
size_t poei_expert_nets(const poe_expert *expert, bool gradient, poei_net_use *uses, size_t capacity);

#endif
