"""What the measurements share: a network with random weights, the command, and one thread everywhere.

Import this before NumPy and PyTorch: both would otherwise give OpenBLAS one thread per core.
"""
import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

import json
import re
import subprocess
import sys

try:
    import numpy as np
except ImportError:
    sys.exit("these scripts need NumPy (Debian: python3-numpy; then run them with /usr/bin/python3)")

root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
default_program = os.path.join(root, "build", "release", "poe")


def say(text):
    print(text, flush=True)


def weights(widths):
    """Random [out, in] matrices, scaled so that activations keep their size."""
    rng = np.random.default_rng(1)
    return [(rng.standard_normal((b, a)) / np.sqrt(a)).astype(np.float32) for a, b in zip(widths, widths[1:])]


def write_composition(folder, widths):
    """energy.safetensors and bench.poe (`e`, and `target` = e times a standard normal); gives the latter's path.
    The writer is the one printed in docs/MODEL-FORMAT.md."""
    with open(os.path.join(root, "docs", "MODEL-FORMAT.md"), encoding="utf-8") as file:
        blocks = re.findall(r"```python\n(.*?)```", file.read(), re.S)
    scope = {}
    exec(next(b for b in blocks if "def save_model" in b), scope)
    tensors, layers = {}, []
    for i, matrix in enumerate(weights(widths)):
        tensors[f"{i}.weight"] = matrix
        tensors[f"{i}.bias"] = np.zeros(len(matrix), np.float32)
        layers.append({"op": "linear", "weight": f"{i}.weight", "bias": f"{i}.bias"})
        if i + 2 < len(widths):
            layers.append({"op": "silu"})
    scope["save_model"](os.path.join(folder, "energy.safetensors"), tensors, "energy", [widths[0]], layers)
    path = os.path.join(folder, "bench.poe")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f'var x : real[{widths[0]}]\n'
                   'e = energy(x | file="energy.safetensors")\n'
                   'prior = gaussian(x | mean=0, sd=1)\n'
                   'target = prior * e\n')
    return path


def poe(program, *arguments):
    """The JSON object that the command prints; ends the script with the command's message when it fails."""
    try:
        done = subprocess.run([program, *map(str, arguments), "--threads", "1", "--json", "--quiet"],
                              capture_output=True, text=True)
    except OSError as failure:
        sys.exit(f"{program}: {failure.strerror}; build it, or name it as the first argument")
    if done.returncode != 0:
        sys.exit(f"{' '.join([program, *map(str, arguments)])}: exit {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout)


class Least(dict):
    """The smallest value seen under each key."""

    def see(self, key, value):
        self[key] = min(self.get(key, float("inf")), value)
