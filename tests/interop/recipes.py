"""docs/RECIPES.md, run as it is printed: every model is built, exported by its own lines and read by `poe`.

recipes.py POE RECIPES.md MODEL-FORMAT.md

Each section is executed in an empty folder, in float32 and in float64; its composition is scored at random rows and
compared with PyTorch: log-densities and, where all variables are real, gradients, to 1e-5 relative in float32 and 1e-10
in double (of the largest number). PyTorch computes in double from the exported weights: in single it would itself be
off by as much, in splines by more. Every section with Python in it must have a reference below. `poe info` must know
each exported file. Exit code 77 (skipped) without PyTorch.
"""
import copy
import json
import os
import re
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import torch
    import torch.nn.functional as F
except ImportError:
    print("PyTorch or NumPy is not installed: skipped")
    sys.exit(77)

POE, RECIPES, FORMAT = os.path.abspath(sys.argv[1]), sys.argv[2], sys.argv[3]
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
ROWS = 30
failures = 0


def text_of(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def blocks(text, language):
    """The fenced blocks of that language, "" for plain ones."""
    return [body for word, body in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.S | re.M) if word == language]


def sections(page):
    """(title, Python blocks, compositions) in order."""
    for part in re.split(r"^## ", page, flags=re.M)[1:]:
        yield part.split("\n")[0], blocks(part, "python"), blocks(part, "")


# ---- log-densities from the model of the page; x [n, d] in the order of the variables ----

def normal(y, mean, sd):
    return torch.distributions.Normal(mean, sd).log_prob(y).flatten(1).sum(1)


def pixels(model, x):
    logits = model((2 / 3 * x - 1).reshape(-1, 1, 6, 6))
    return -F.cross_entropy(logits.flatten(2), x.long(), reduction="none").sum(1)


def classifier(model, x):
    return -F.cross_entropy(model(x[:, :20]), x[:, 20].long(), reduction="none")


def bits(model, x):
    return -F.binary_cross_entropy_with_logits(model(x), x, reduction="none").sum(1)


def symbols(model, x):
    return -F.cross_entropy(model(x.long()).transpose(1, 2), x.long(), reduction="none").sum(1)


def series(model, x):
    mean, log_sd = model(x)
    return normal(x, mean, torch.exp(log_sd))


REFERENCES = {
    "Energy: an MLP": lambda model, x: -model(x)[:, 0],
    "Energy: a convolutional network": lambda model, x: -model(x)[:, 0],
    "Classifier": classifier,
    "Decoder": lambda model, x: normal(model(x), 0.5, 0.3),
    "Coupling flow (Real NVP)": lambda model, x: model.log_prob(x),
    "Masked autoregressive flow (MAF, IAF)": lambda model, x: model.log_prob(x),
    "Spline flow": lambda model, x: model.log_prob(x),
    "MADE": bits,
    "MADE, masked by degrees": bits,
    "PixelCNN": pixels,
    "NADE": bits,
    "GRU over symbols": symbols,
    "LSTM over real numbers": series,
    "Restricted Boltzmann machine": lambda model, x: -model.free_energy(x),
    "A state dict as it is": lambda model, x: model.log_prob(x),
}


# ---- rows ----

def rows(composition, rng):
    """Random rows for the `var` lines, and whether all of them are real."""
    columns, real = [], True
    for space, shape in re.findall(r"^var \w+ : ([\w()]+)(?:\[([\d, ]+)\])?", composition, re.M):
        d = int(np.prod([int(k) for k in shape.split(",")])) if shape else 1
        values = 2 if space == "binary" else int(space[4:-1]) if space.startswith("int") else 0
        real = real and values == 0
        columns.append(rng.integers(0, values, (ROWS, d)) if values else rng.standard_normal((ROWS, d)).round(3))
    return np.concatenate(columns, 1).astype(float), real


def poe(*arguments):
    done = subprocess.run([POE, *arguments, "--json"], capture_output=True, text=True)
    if done.returncode != 0:
        print(f"FAIL {' '.join(arguments)}: exit {done.returncode}: {done.stderr}")
        return None
    return json.loads(done.stdout)


def difference(ours, truth):
    ours, truth = np.asarray(ours, dtype=float), truth.detach().double().numpy()
    scale = np.max(np.abs(truth))
    return np.max(np.abs(ours - truth)) / scale if ours.shape == truth.shape and scale > 0 else np.inf


def report(name, worst, tolerance):
    global failures
    good = worst <= tolerance
    failures += not good
    print(f"{'ok  ' if good else 'FAIL'} {name}: {worst:.1e}")


def compare(name, dtype, model, reference, composition, rng):
    x, real = rows(composition, rng)
    np.save("rows.npy", x)
    at = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    truth = reference(copy.deepcopy(model).double(), at)
    ours = poe("score", "recipe.poe", "a", "--data", "rows.npy", *(["--grad"] if real else []))
    worst = np.inf if ours is None else difference(ours["log_density"], truth)
    if real and ours is not None:
        (gradient,) = torch.autograd.grad(truth.sum(), at)
        worst = max(worst, difference(ours["grad"], gradient))
    report(f"{name}, {str(dtype)[6:]}", worst, TOLERANCE[dtype])


def check_info(name, composition):
    """What `poe info` says to write is what the recipe writes, up to names."""
    file, more = re.search(r'file="([^"]*)"(?:, description="([^"]*)")?', composition).groups()
    said = poe("info", file, *(["--description", more] if more else []))
    lines = [] if said is None else said.get("declare", []) + [said.get("use", "")] + said.get("suggestion", [])
    told = any(f'file="{file}"' in line for line in lines) and "problem" not in said
    report(f"{name}, poe info", 0.0 if told else np.inf, 0.0)


def run(page, scope, dtype, seed):
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    torch.set_default_dtype(dtype)
    done = set()
    for title, python, compositions in sections(page):
        for block in python:
            exec(block, scope)
        for composition in compositions:
            with open("recipe.poe", "w", encoding="utf-8") as file:
                file.write(composition)
            reference = REFERENCES.get(title)
            if reference is None:
                report(f"{title}: no reference in the test", np.inf, 0.0)
                continue
            done.add(title)
            compare(title, dtype, scope["model"], reference, composition, rng)
            check_info(title, composition)
    for title in REFERENCES.keys() - done:
        report(f"{title}: not on the page", np.inf, 0.0)


def main():
    torch.set_num_threads(1)
    page, scope = text_of(RECIPES), {}
    exec(next(b for b in blocks(text_of(FORMAT), "python") if "def save_model" in b), scope)
    for dtype in TOLERANCE:
        for seed in (3, 4):
            with tempfile.TemporaryDirectory() as folder:
                back = os.getcwd()
                os.chdir(folder)
                run(page, scope, dtype, seed)
                os.chdir(back)
    sys.exit(1 if failures else 0)


main()
