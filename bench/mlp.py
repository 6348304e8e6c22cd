#!/usr/bin/env python3
"""Energy + gradient of an MLP (784-512-512-1, SiLU): poe against its own matrix products and against PyTorch.

    bench/mlp.py BUILD/tests/interop/interop_net [--widths 784,512,512,1] [--rows 1,4,16,64,256,1024] [--seconds 1]

Runs each row of the table as poe, products, PyTorch in turn, three rounds, and takes the best of each, so that all see
the same machine. One thread. "fraction" is the time of the raw matrix products (the same shapes, the same BLAS) over
the time of the whole evaluation: above 1 where kernels of our own beat BLAS. PyTorch is left out where it is not
installed. Set OPENBLAS_CORETYPE to see other kernels of OpenBLAS.
"""
import argparse
import os
import re
import subprocess
import tempfile
import time

parser = argparse.ArgumentParser()
parser.add_argument("program")
parser.add_argument("--widths", default="784,512,512,1")
parser.add_argument("--rows", default="1,4,16,64,256,1024")
parser.add_argument("--seconds", type=float, default=1.0)
options = parser.parse_args()

import numpy as np

try:
    import torch
except ImportError:
    torch = None

page = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "docs", "MODEL-FORMAT.md")
blocks = re.findall(r"```python\n(.*?)```", open(page, encoding="utf-8").read(), re.S)
scope = {}
exec(next(b for b in blocks if "def save_model" in b), scope)

rng = np.random.default_rng(1)
widths = [int(w) for w in options.widths.split(",")]
tensors, layers = {}, []
for i, (a, b) in enumerate(zip(widths, widths[1:])):
    tensors[f"{i}.weight"] = (rng.standard_normal((b, a)) / np.sqrt(a)).astype(np.float32)
    tensors[f"{i}.bias"] = np.zeros(b, np.float32)
    layers.append({"op": "linear", "weight": f"{i}.weight", "bias": f"{i}.bias"})
    if i + 2 < len(widths):
        layers.append({"op": "silu"})


def torch_seconds(rows, budget):
    parts = []
    for i in range(len(widths) - 1):
        linear = torch.nn.Linear(widths[i], widths[i + 1])
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(tensors[f"{i}.weight"]))
            linear.bias.zero_()
        parts += [linear] + ([torch.nn.SiLU()] if i + 2 < len(widths) else [])
    net = torch.nn.Sequential(*parts).requires_grad_(False)
    x = torch.randn(rows, widths[0], requires_grad=True)
    best, end = float("inf"), time.perf_counter() + budget
    while time.perf_counter() < end:
        start = time.perf_counter()
        y = net(x)
        torch.autograd.grad(y.sum(), x)
        best = min(best, time.perf_counter() - start)
    return best


if torch is not None:
    torch.set_num_threads(1)
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "mlp.safetensors")
    scope["save_model"](path, tensors, "energy", [widths[0]], layers)
    print(f"{'rows':>6} {'poe us':>10} {'GFLOP/s':>9} {'products us':>12} {'fraction':>9} {'torch us':>10} {'speedup':>8}")
    for rows in [int(r) for r in options.rows.split(",")]:
        ours = products = theirs = float("inf")
        for _ in range(3):
            words = subprocess.run([options.program, path, "time", str(rows), str(options.seconds / 3)], check=True,
                                   capture_output=True, text=True).stdout.split()
            ours, products, flops = min(ours, float(words[0])), min(products, float(words[1])), float(words[2])
            core = words[3] if len(words) > 3 else "?"
            if torch is not None:
                theirs = min(theirs, torch_seconds(rows, options.seconds / 3))
        print(f"{rows:6d} {ours * 1e6:10.1f} {flops / ours * 1e-9:9.1f} {products * 1e6:12.1f} {products / ours:9.2f} "
              f"{theirs * 1e6:10.1f} {theirs / ours:8.2f}")
    print(f"BLAS core: {core}; PyTorch: {torch.__version__ if torch is not None else 'not installed'}; one thread")
