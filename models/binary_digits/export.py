"""Writes pixelcnn.safetensors from the checkpoint: the network of network.py as layers of docs/MODEL-FORMAT.md.

Masks are multiplied into the weights: what is not seen is a zero there.  A bias by place is batch normalisation with
mean 0, variance 1 - eps and weight 1 over 32 * 784 channels of one number each.
"""
import json
import os

import numpy as np
import torch

import network
import safetensors

EPS = 1e-5


def conv(name, module):
    layer = {"op": "conv2d", "weight": f"{name}.weight", "bias": f"{name}.bias"}
    if isinstance(module, network.Masked):
        layer["padding"] = list(module.padding)
        if module.dilation[0] > 1:
            layer["dilation"] = module.dilation[0]
    return layer


def place(name, shape):
    """A bias for each channel and place."""
    count = int(np.prod(shape))
    return [{"op": "reshape", "shape": [count, 1, 1]},
            {"op": "batch_norm", "running_mean": f"{name}.zero", "running_var": f"{name}.one", "bias": name,
             "eps": EPS},
            {"op": "reshape", "shape": list(shape)}]  # fmt: skip


def program(model):
    """-> (tensors, layers)"""
    tensors, layers = {}, [{"op": "reshape", "shape": [1, network.SIDE, network.SIDE]}]

    def keep(name, module):
        weight = module.weight * module.mask if isinstance(module, network.Masked) else module.weight
        tensors[f"{name}.weight"] = weight.detach().contiguous().numpy()
        tensors[f"{name}.bias"] = module.bias.detach().numpy()
        return conv(name, module)

    def keep_place(name, value):
        tensors[name] = value.detach().contiguous().numpy().reshape(-1)
        tensors[f"{name}.zero"] = np.zeros(value.numel(), np.float32)
        tensors[f"{name}.one"] = np.full(value.numel(), 1 - EPS, np.float32)
        return place(name, value.shape)

    layers.append(keep("first", model.first))
    for i, block in enumerate(model.blocks):
        if i in network.PLACED:
            k = network.PLACED.index(i)
            layers += keep_place(f"place.{k}", model.place[k])
        inner = [{"op": "relu"}, keep(f"blocks.{i}.look", block.look), {"op": "relu"},
                 keep(f"blocks.{i}.mix", block.mix)]  # fmt: skip
        layers.append({"op": "residual", "layers": inner})
    layers += [{"op": "relu"}, keep("wide", model.wide), {"op": "relu"}, keep("last", model.last)]
    layers += keep_place("last_place", model.last_place)
    return tensors, layers + [{"op": "flatten"}]


def main(out, scratch):
    model = network.PixelNet()
    saved = torch.load(os.path.join(scratch, "checkpoint.pt"))
    model.load_state_dict(saved["model"])
    tensors, layers = program(model)
    metadata = {
        "poe.format": "1",
        "poe.family": "autoregressive",
        "poe.input": [network.SIDE**2],
        "poe.layers": layers,
        "poe.output": {"op": "bernoulli"},
        "poe.license": "MIT",
        "poe.data": "binarised MNIST (Y. LeCun, C. Cortes, C. Burges; binarised by H. Larochelle)",
        "poe.note": f"trained on the 50,000 training images, {saved['step']} steps",
    }
    safetensors.save(os.path.join(out, "pixelcnn.safetensors"), tensors, metadata)
