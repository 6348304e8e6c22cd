/* The networks inside the experts of the neural families and how an evaluation goes through them: what `poe bench`
 * takes its matrix products from. */
#include "experts/autoregressive.h"
#include "experts/flow_conditioned.h"
#include "experts/list.h"
#include "experts/network.h"

/* Once: forwards, or forwards and backwards. */
static poei_net_use uses_once(const poei_net *net, bool gradient) {
  return (poei_net_use){net, gradient ? 0 : 1, gradient ? 1 : 0};
}

/* Layers of a flow with a network; where it reads the noise, a pass for each level and one back for all but the first.
 */
static size_t uses_of_flow(const poei_flow *flow, bool gradient, poei_net_use *uses, size_t capacity) {
  size_t count = 0;
  for (size_t k = 0; k < flow->n_layers; k++) {
    if (flow->layers[k].ops != &poei_conditioned_layer) {
      continue;
    }
    const poei_conditioned *c = flow->layers[k].self;
    if (count < capacity) {
      uses[count] =
          c->from_noise ? (poei_net_use){c->net, c->passes, gradient ? c->passes - 1 : 0} : uses_once(c->net, gradient);
    }
    count++;
  }
  return count;
}

size_t poei_expert_nets(const poe_expert *expert, bool gradient, poei_net_use *uses, size_t capacity) {
  const poe_expert_ops *ops = poe_expert_ops_of(expert);
  bool continuous = true;
  const poei_net *net = poei_energy_net(expert);
  if (ops == &poei_flow_ops) {
    return uses_of_flow(poei_flow_chain(expert), gradient, uses, capacity);
  }
  if (ops == &poei_classifier_ops) {
    net = poei_classifier_net(expert, &continuous);
  } else if (ops == &poei_autoregressive_ops) {
    const poei_autoregressive *a = poe_expert_self(expert);
    net = a->net;
    continuous = a->conditional.values == 0;
  }
  if (net != NULL && capacity > 0) {
    uses[0] = uses_once(net, gradient && continuous);
  }
  return net != NULL;
}
