"""Model files, written and read with nothing but numpy, and the layer programs they carry, run by torch.

A safetensors file is: a little-endian u64 N, then N bytes of JSON, then the tensors' bytes.  The JSON maps a
tensor's name to {dtype, shape, data_offsets [begin, end) relative to the end of the header}; its `__metadata__`
maps strings to strings and holds what poe needs to know: family, input shape and layers (docs/MODEL-FORMAT.md).

`run(file, x)` evaluates such a program by the letter of the format.  Recipes use it to measure what they *wrote*
(after rounding to the stored precision) and not what they had in memory.
"""
import json
import os
import struct

import numpy as np

DTYPES = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4"), "F64": np.dtype("<f8"), "I64": np.dtype("<i8")}


def save(path, tensors, metadata):
    """Writes tensors (name -> array) and metadata (name -> str, or anything JSON can hold) to path."""
    header, offset, blobs = {}, 0, []
    header["__metadata__"] = {k: v if isinstance(v, str) else json.dumps(v) for k, v in metadata.items()}
    # Widest first, so that each tensor stays aligned to its own element size.
    for name, array in sorted(tensors.items(), key=lambda item: (-np.asarray(item[1]).dtype.itemsize, item[0])):
        array = np.ascontiguousarray(array)
        code = next(c for c, d in DTYPES.items() if d == array.dtype)
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
        blobs.append(array.astype(DTYPES[code], copy=False).tobytes())
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path + ".part", "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))
    os.replace(path + ".part", path)


def load(path):
    """Returns (tensors: name -> array, metadata: name -> str)."""
    with open(path, "rb") as f:
        (n,) = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(n))
        body = f.read()
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        tensors[name] = np.frombuffer(body[begin:end], DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors, metadata


def shrink(tensors, at_least=4096):
    """Stores large matrices as float16 (11 significant bits), everything small as float32."""
    return {k: np.asarray(v, np.float16 if np.size(v) >= at_least else np.float32) for k, v in tensors.items()}


class Program:
    """A network file ready to run: x [n, input...] -> y [n, output...] (torch tensors of one precision)."""

    def __init__(self, path, precision=np.float32):
        import torch

        tensors, self.metadata = load(path)
        self.tensors = {k: torch.from_numpy(v.astype(precision)) for k, v in tensors.items()}
        self.layers = json.loads(self.metadata["poe.layers"])
        self.family = self.metadata["poe.family"]

    def __call__(self, x):
        return self.layers_of(self.layers, x)

    def layers_of(self, layers, x):
        import torch.nn.functional as F

        for layer in layers:
            op = layer["op"]
            weight, bias = (self.tensors.get(layer.get(k)) for k in ("weight", "bias"))
            if op == "linear":
                x = F.linear(x.flatten(1), weight, bias)
            elif op == "conv2d":
                spread = (layer.get("stride", 1), layer.get("padding", 0), layer.get("dilation", 1))
                x = F.conv2d(x, weight, bias, *spread)
            elif op == "batch_norm":
                mean, var = (self.tensors[layer[k]] for k in ("running_mean", "running_var"))
                x = F.batch_norm(x, mean, var, weight, bias, eps=layer["eps"])
            elif op == "residual":
                x = x + self.layers_of(layer["layers"], x)
            elif op == "reshape":
                x = x.reshape(x.shape[0], *layer["shape"])
            elif op == "flatten":
                x = x.flatten(1)
            elif op == "affine":
                x = x * layer["scale"] + layer["shift"]
            elif op in ("silu", "relu", "gelu", "softplus", "sigmoid", "tanh"):
                x = getattr(F, op)(x) if op not in ("sigmoid", "tanh") else getattr(x, op)()
            else:
                raise ValueError(f"{op}: a layer these recipes do not write")
        return x


def mlp_layers(prefix, count, activation, last=None):
    """Layer list of `count` linear layers named prefix.0, prefix.2, ... with activations between them."""
    layers = []
    for i in range(count):
        layers.append({"op": "linear", "weight": f"{prefix}.{2 * i}.weight", "bias": f"{prefix}.{2 * i}.bias"})
        if i + 1 < count:
            layers.append({"op": activation})
    return layers + ([{"op": last}] if last else [])


class Mixture:
    """A gmm file ready to use: log density, and exact draws (torch, float64 inside)."""

    def __init__(self, path):
        import torch

        tensors, self.metadata = load(path)
        t = {k: torch.from_numpy(v.astype(np.float64)) for k, v in tensors.items()}
        self.weights, self.means = t["weights"] / t["weights"].sum(), t["means"]
        self.factors = torch.linalg.cholesky(t["covs"])  # [k, d, d]

    def log_density(self, z):
        import math
        import torch

        d = self.means.shape[1]
        delta = (z.double()[:, None, :] - self.means).permute(1, 2, 0)  # [k, d, n]
        white = torch.linalg.solve_triangular(self.factors, delta, upper=False)
        log_det = self.factors.diagonal(dim1=1, dim2=2).log().sum(1)
        each = -0.5 * (white**2).sum(1) - (log_det + 0.5 * d * math.log(2 * math.pi) - self.weights.log())[:, None]
        return torch.logsumexp(each, 0)

    def sample(self, n, rng):
        """rng is a numpy Generator; returns float32 [n, d]."""
        import torch

        pick = rng.choice(len(self.weights), n, p=self.weights.numpy())
        noise = torch.from_numpy(rng.standard_normal((n, self.means.shape[1])))
        out = self.means[pick].clone()
        for k in np.unique(pick):
            rows = torch.from_numpy(np.flatnonzero(pick == k))
            out[rows] += noise[rows] @ self.factors[k].T
        return out.float()
