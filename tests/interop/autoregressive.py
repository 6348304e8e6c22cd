"""Autoregressive models from PyTorch: densities, gradients and draws of `poe` against PyTorch's own arithmetic.

autoregressive.py POE MODEL-FORMAT.md

Random masked autoencoders and pixel networks with every kind of output are written by the writer printed on the page and
read by the command. Densities and gradients: 1e-5 relative in single, 1e-10 in double. Small ones are also enumerated:
the probabilities add up to 1. Exit code 77 (skipped) without PyTorch.
"""
import json
import os
import re
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import torch
    from torch import nn
    import torch.nn.functional as F
except ImportError:
    print("PyTorch or NumPy is not installed: skipped")
    sys.exit(77)

POE, PAGE = sys.argv[1:3]
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
failures = 0


def writer_of_the_page():
    blocks = re.findall(r"```python\n(.*?)```", open(PAGE, encoding="utf-8").read(), re.S)
    scope = {}
    exec(next(b for b in blocks if "def save_model" in b), scope)
    return scope["save_model"]


save_model = writer_of_the_page()


class MaskedLinear(nn.Linear):
    """As tutorials write it: a buffer `mask` of the weight's shape."""

    def __init__(self, mask):
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask)

    def forward(self, x):
        return F.linear(x, self.weight * self.mask, self.bias)


class MaskedConv2d(nn.Conv2d):
    """Type "A" sees what comes before a pixel, type "B" the pixel's place as well."""

    def __init__(self, kind, channels, out, kernel):
        super().__init__(channels, out, kernel, padding=kernel // 2)
        mask = torch.ones_like(self.weight)
        mask[:, :, kernel // 2, kernel // 2 + (kind == "B"):] = 0
        mask[:, :, kernel // 2 + 1:] = 0
        self.register_buffer("mask", mask)

    def forward(self, x):
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


class Scale(nn.Module):
    """Values 0 .. k-1 to [-1, 1]."""

    def __init__(self, k):
        super().__init__()
        self.factor = 2 / (k - 1)

    def forward(self, x):
        return self.factor * x - 1


ACTIVATIONS = {nn.Tanh: "tanh", nn.ReLU: "relu", nn.SiLU: "silu"}


def describe(model):
    layers = []
    for name, m in model.named_children():
        tensors = {"weight": name + ".weight", "bias": name + ".bias", "mask": name + ".mask"}
        if isinstance(m, MaskedLinear):
            layers.append({"op": "linear", **tensors})
        elif isinstance(m, MaskedConv2d):
            layers.append({"op": "conv2d", **tensors, "padding": m.padding})
        elif isinstance(m, Scale):
            layers.append({"op": "affine", "scale": m.factor, "shift": -1})
        else:
            layers.append({"op": ACTIVATIONS[type(m)]})
    return layers


def made(rng, d, parameters, interleaved):
    """Germain et al. 2015: degrees in a random order."""
    order, hidden = torch.tensor(rng.permutation(d)), [int(rng.integers(2, 40)) for _ in range(rng.integers(1, 3))]
    degrees, layers = order, []
    for width in hidden:
        own = torch.tensor(rng.integers(0, max(d - 1, 1), width))
        layers += [MaskedLinear((own[:, None] >= degrees[None, :]).float()), list(ACTIVATIONS)[rng.integers(0, 3)]()]
        degrees = own
    out = order.repeat_interleave(parameters) if interleaved else order.repeat(parameters)
    layers.append(MaskedLinear((out[:, None] > degrees[None, :]).float()))
    return nn.Sequential(*layers)


def pixels(rng, parameters):
    width = int(rng.integers(2, 9))
    layers = [MaskedConv2d("A", 1, width, int(rng.choice([3, 5])))]
    for _ in range(rng.integers(1, 3)):
        layers += [nn.ReLU() if rng.integers(0, 2) else nn.SiLU(), MaskedConv2d("B", width, width, 3)]
    return nn.Sequential(*layers, nn.Tanh(), MaskedConv2d("B", width, parameters, 1))


def log_density(output, t, x):
    """t [n, parameters, d], x [n, d]: from the definitions."""
    if output["op"] == "bernoulli":
        return -F.binary_cross_entropy_with_logits(t[:, 0], x, reduction="none").sum(1)
    if output["op"] == "categorical":
        return -F.cross_entropy(t, x.long(), reduction="none").sum(1)
    m = output["components"]
    logits, mean, scale = (torch.zeros_like(t[:, :1]), t[:, :1], t[:, 1:]) if m == 1 else t.split(m, 1)
    scale = scale.clamp(min=output.get("log_scale_min", -np.inf)).exp()
    if output["op"] == "gaussian_mixture":
        each = torch.distributions.Normal(mean, scale).log_prob(x[:, None])
    else:
        k = output["values"]
        center = (2 * x / (k - 1) - 1)[:, None]
        high = torch.sigmoid((center + 1 / (k - 1) - mean) / scale)
        low = torch.sigmoid((center - 1 / (k - 1) - mean) / scale)
        high = torch.where(x[:, None] == k - 1, torch.ones_like(high), high)
        low = torch.where(x[:, None] == 0, torch.zeros_like(low), low)
        each = (high - low).log()
    return torch.logsumexp(F.log_softmax(logits, 1) + each, 1).sum(1)


def run(verb, program, *options):
    done = subprocess.run([POE, verb, program, *options, "--json"], capture_output=True, text=True)
    if done.returncode not in (0, 3):
        sys.exit(f"{verb}: {done.stderr}")
    return json.loads(done.stdout)


def report(name, worst, tolerance):
    global failures
    failures += not worst <= tolerance
    print(f"{'ok  ' if worst <= tolerance else 'FAIL'} {name}: {worst:.1e}")


def relative(ours, truth):
    ours, truth = np.asarray(ours, dtype=float), truth.detach().double().numpy()
    return np.max(np.abs(ours - truth)) / max(1.0, np.max(np.abs(truth))) if ours.shape == truth.shape else np.inf


def check(folder, rng, name, model, output, shape, values):
    d, n = int(np.prod(shape)), 40
    parameters = {"bernoulli": 1, "categorical": values}.get(output["op"])
    parameters = parameters or output["components"] * (2 if output["components"] == 1 else 3)
    x = rng.integers(0, values, (n, d)).astype(float) if values else rng.standard_normal((n, d)).round(4)
    space = f"real[{d}]" if not values else f"binary[{d}]" if values == 2 else f"int({values})[{d}]"
    model = nn.Sequential(Scale(values), *model) if values > 2 else model
    program = os.path.join(folder, "m.poe")
    with open(program, "w", encoding="utf-8") as file:
        file.write(f'var x : {space}\na = autoregressive(x | file="m.safetensors")\n')
    np.save(os.path.join(folder, "x.npy"), x)
    for dtype in (torch.float32, torch.float64):
        net = model.to(dtype)
        at = torch.tensor(x, dtype=dtype, requires_grad=True)
        t = net(at.reshape(n, *shape)).reshape(n, -1)
        t = t.reshape(n, d, parameters).transpose(1, 2) if output.get("layout") == "interleaved" \
            else t.reshape(n, parameters, d)
        truth = log_density(output, t.double(), at.double())
        arrays = {k: v.detach().numpy() for k, v in net.state_dict().items()}
        save_model(os.path.join(folder, "m.safetensors"), arrays, "autoregressive", shape, describe(net),
                   output=json.dumps(output))
        ours = run("score", program, "a", "--data", os.path.join(folder, "x.npy"), *([] if values else ["--grad"]))
        worst = relative(ours["log_density"], truth)
        if not values:
            (gradient,) = torch.autograd.grad(truth.sum(), at)
            worst = max(worst, relative(ours["grad"], gradient))
        report(f"{name}, {dtype}", worst, TOLERANCE[dtype])
    if values and values ** d <= 5000:
        grid = np.array(np.meshgrid(*[np.arange(values)] * d, indexing="ij")).reshape(d, -1).T.astype(float)
        np.save(os.path.join(folder, "all.npy"), grid)
        ours = np.array(run("score", program, "a", "--data", os.path.join(folder, "all.npy"))["log_density"])
        report(f"{name}, sum over {len(grid)} states", abs(np.exp(ours).sum() - 1), 1e-10)


def main():
    torch.manual_seed(17)
    torch.set_num_threads(1)
    rng = np.random.default_rng(17)
    outputs = [({"op": "bernoulli"}, 1, 2), ({"op": "categorical", "values": 5}, 5, 5),
               ({"op": "logistic_mixture", "components": 3, "values": 9, "log_scale_min": -3}, 9, 9),
               ({"op": "logistic_mixture", "components": 1, "values": 256}, 2, 256),
               ({"op": "gaussian_mixture", "components": 1}, 2, 0),
               ({"op": "gaussian_mixture", "components": 4, "log_scale_min": -1}, 12, 0)]
    with tempfile.TemporaryDirectory() as folder:
        for output, parameters, values in outputs:
            for interleaved in (False, True):
                d = int(rng.integers(1, 13)) if values != 2 else 9 + int(interleaved)
                d = 4 if values in (5, 9) and interleaved else d
                one = {**output, "layout": "interleaved"} if interleaved else output
                check(folder, rng, f"made, {one}", made(rng, d, parameters, interleaved), one, [d], values)
            side = [1, int(rng.integers(3, 7)), int(rng.integers(3, 7))]
            side = [1, 3, 3] if values == 2 else side
            check(folder, rng, f"pixels, {output}", pixels(rng, parameters), output, side, values)
    sys.exit(1 if failures else 0)


main()
