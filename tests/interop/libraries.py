"""State dicts in the layouts of common flow libraries, read as they are: a description beside them names the tensors.

libraries.py POE

The modules below are written here; what they share with nflows, zuko, normflows and FrEIA is the names, shapes and
types in their state dicts (buffers that are no weights included) and the formulas of the papers. Each state dict is
saved whole, without metadata, as npz and as safetensors, in both precisions; the description (a JSON file) names its
tensors and ignores the rest. Log-densities and gradients of `poe score` against PyTorch in double: 1e-5 and 1e-10
relative to the largest number. `poe info` must print a line for the modules it can know, leave out the rest by name,
and find that file and description together can be opened. Exit code 77 (skipped) without PyTorch.
"""
import json
import math
import os
import struct
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import torch
    import torch.nn.functional as F
    from torch import nn
except ImportError:
    print("PyTorch or NumPy is not installed: skipped")
    sys.exit(77)

POE = os.path.abspath(sys.argv[1])
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
failures = 0


def linear(prefix, masked=False):
    return {"op": "linear", "weight": prefix + ".weight", "bias": prefix + ".bias",
            **({"mask": prefix + ".mask"} if masked else {})}


class List(nn.Module):
    """A module with one list under a name of its choice."""

    def __init__(self, name, modules):
        super().__init__()
        setattr(self, name, nn.ModuleList(modules))


# ---- rational-quadratic splines (Durkan et al. 2019), linear tails ----

def spline(v, widths, heights, slopes, bound):
    """widths, heights [..., K] sum to 2 bound; slopes [..., K + 1]."""
    x, y = (F.pad(torch.cumsum(w, -1), (1, 0)) - bound for w in (widths, heights))
    inside = (v > -bound) & (v < bound)
    at = torch.where(inside, v, torch.zeros_like(v))
    k = (at[..., None] >= x[..., 1:-1]).sum(-1, keepdim=True)
    w, h, x, y, d0, d1 = (a.gather(-1, k + i)[..., 0] for a, i in
                          ((widths, 0), (heights, 0), (x, 0), (y, 0), (slopes, 0), (slopes, 1)))
    s, t = h / w, (at - x) / w
    below = s + (d0 + d1 - 2 * s) * t * (1 - t)
    value = y + h * (s * t ** 2 + d0 * t * (1 - t)) / below
    above = d1 * t ** 2 + 2 * s * t * (1 - t) + d0 * (1 - t) ** 2
    log_slope = 2 * torch.log(s) + torch.log(above) - 2 * torch.log(below)
    return torch.where(inside, value, v), torch.where(inside, log_slope, torch.zeros_like(v))


# ---- nflows: _transform._transforms.N ----

class DegreesLinear(nn.Linear):
    """autoregressive_net's layers: buffers mask [out, in] and degrees [out] (whole numbers)."""

    def __init__(self, degrees_in, degrees_out, last=False):
        super().__init__(len(degrees_in), len(degrees_out))
        above = degrees_out[:, None] > degrees_in if last else degrees_out[:, None] >= degrees_in
        self.register_buffer("mask", above.float())
        self.register_buffer("degrees", degrees_out)

    def forward(self, x):
        return F.linear(x, self.weight * self.mask, self.bias)


class ResidualPair(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.linear_layers = nn.ModuleList([make(), make()])

    def forward(self, x):
        return x + self.linear_layers[1](torch.relu(self.linear_layers[0](torch.relu(x))))


class ResidualNet(nn.Module):
    def __init__(self, first, pair, last, blocks):
        super().__init__()
        self.initial_layer, self.final_layer = first, last
        self.blocks = nn.ModuleList([ResidualPair(pair) for _ in range(blocks)])

    def forward(self, x):
        x = self.initial_layer(x)
        for block in self.blocks:
            x = block(x)
        return self.final_layer(x)

    def layers(self, prefix, masked):
        out = [linear(prefix + "initial_layer", masked)]
        for i in range(len(self.blocks)):
            one, two = (linear(f"{prefix}blocks.{i}.linear_layers.{k}", masked) for k in (0, 1))
            out.append({"op": "residual", "layers": [{"op": "relu"}, one, {"op": "relu"}, two]})
        return out + [linear(prefix + "final_layer", masked)]


class NflowsMAF(nn.Module):
    """MaskedAffineAutoregressiveTransform: scale first, softplus(u) + 1e-3."""

    def __init__(self, d, hidden, blocks):
        super().__init__()
        inputs, inner = torch.arange(1, d + 1), torch.arange(hidden) % max(1, d - 1) + min(1, d - 1)
        self.autoregressive_net = ResidualNet(
            DegreesLinear(inputs, inner), lambda: DegreesLinear(inner, inner),
            DegreesLinear(inner, inputs.repeat_interleave(2), last=True), blocks)

    def forward(self, x):
        scale, shift = self.autoregressive_net(x).reshape(*x.shape, 2).unbind(-1)
        scale = F.softplus(scale) + 1e-3
        return scale * x + shift, torch.log(scale).sum(1)

    def json(self, prefix):
        return {"op": "autoregressive", "transform": "affine", "scale": "softplus", "eps": 1e-3, "first": "scale",
                "layout": "interleaved",
                "layers": self.autoregressive_net.layers(prefix + "autoregressive_net.", True)}


class NflowsRQS(nn.Module):
    """PiecewiseRationalQuadraticCouplingTransform with linear tails."""

    def __init__(self, d, hidden, blocks, bins, bound):
        super().__init__()
        self.bins, self.bound, self.hidden = bins, bound, hidden
        self.register_buffer("identity_features", torch.arange(0, d, 2))
        self.register_buffer("transform_features", torch.arange(1, d, 2))
        m = len(self.transform_features)
        self.transform_net = ResidualNet(nn.Linear(d - m, hidden), lambda: nn.Linear(hidden, hidden),
                                         nn.Linear(hidden, m * (3 * bins - 1)), blocks)

    def forward(self, x):
        v = x[:, self.transform_features]
        raw = self.transform_net(x[:, self.identity_features]).reshape(*v.shape, -1)
        w, h, d = raw.split([self.bins, self.bins, self.bins - 1], -1)
        w, h = (1e-3 + (1 - 1e-3 * self.bins) * torch.softmax(u / math.sqrt(self.hidden), -1) for u in (w, h))
        d = F.pad(1e-3 + F.softplus(d), (1, 1), value=1.0)
        y, log_slope = spline(v, 2 * self.bound * w, 2 * self.bound * h, d, self.bound)
        out = x.clone()
        out[:, self.transform_features] = y
        return out, log_slope.sum(1)

    def json(self, prefix):
        return {"op": "coupling", "transformed": prefix + "transform_features", "transform": "rqs", "bins": self.bins,
                "bound": self.bound, "factor": 1 / math.sqrt(self.hidden), "layout": "interleaved",
                "layers": self.transform_net.layers(prefix + "transform_net.", False)}


class NflowsPermutation(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.register_buffer("_permutation", torch.randperm(d))

    def forward(self, x):
        return x[:, self._permutation], 0

    def json(self, prefix):
        return {"op": "permute", "permutation": prefix + "_permutation"}


class NflowsLU(nn.Module):
    def __init__(self, d):
        super().__init__()
        n = d * (d - 1) // 2
        self.bias, self.lower_entries = nn.Parameter(torch.randn(d)), nn.Parameter(0.3 * torch.randn(n))
        self.upper_entries = nn.Parameter(0.3 * torch.randn(n))
        self.unconstrained_upper_diag = nn.Parameter(torch.randn(d))

    def forward(self, x):
        d = len(self.bias)
        lower, upper = torch.eye(d).to(x), torch.zeros(d, d).to(x)
        lower[np.tril_indices(d, -1)] = self.lower_entries
        upper[np.triu_indices(d, 1)] = self.upper_entries
        diagonal = F.softplus(self.unconstrained_upper_diag) + 1e-3
        return x @ (lower @ (upper + torch.diag(diagonal))).T + self.bias, torch.log(diagonal).sum()

    def json(self, prefix):
        return {"op": "lu", "lower": prefix + "lower_entries", "upper": prefix + "upper_entries",
                "bias": prefix + "bias",
                "diagonal": prefix + "unconstrained_upper_diag", "diagonal_map": "softplus", "eps": 1e-3}


class NflowsActNorm(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.register_buffer("initialized", torch.tensor(True))
        self.log_scale, self.shift = nn.Parameter(0.3 * torch.randn(d)), nn.Parameter(torch.randn(d))

    def forward(self, x):
        return torch.exp(self.log_scale) * x + self.shift, self.log_scale.sum()

    def json(self, prefix):
        return {"op": "affine", "log_scale": prefix + "log_scale", "shift": prefix + "shift"}


class Nflows(nn.Module):
    """Flow(CompositeTransform(...), StandardNormal)."""
    ignored = ["*.degrees", "*.identity_features", "*.initialized", "_distribution._log_z"]

    def __init__(self, *steps):
        super().__init__()
        self._transform, self._distribution = List("_transforms", steps), nn.Module()
        self._distribution.register_buffer("_log_z", torch.tensor(1.0))

    def log_prob(self, x):
        total = 0
        for step in self._transform._transforms:
            x, log_det = step(x)
            total = total + log_det
        return total + torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(1)

    def layers(self):
        return [step.json(f"_transform._transforms.{i}.") for i, step in enumerate(self._transform._transforms)], {}


# ---- zuko: transform.transforms.N.hyper ----

class BoolLinear(nn.Linear):
    def __init__(self, mask):
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask)

    def forward(self, x):
        return F.linear(x, self.mask * self.weight, self.bias)


class ZukoStep(nn.Module):
    """MaskedAutoregressiveTransform: hyper is a sequence of masked layers, `order` the rank of each feature."""

    def __init__(self, d, hidden, per_feature, reverse):
        super().__init__()
        order = torch.arange(d).flip(0) if reverse else torch.arange(d)
        self.register_buffer("order", order)
        inner = torch.arange(hidden) % max(1, d - 1)
        last = order.repeat_interleave(per_feature)[:, None] > inner
        self.hyper = nn.Sequential(BoolLinear(inner[:, None] >= order), nn.ReLU(), BoolLinear(inner[:, None] >= inner),
                                   nn.ReLU(), BoolLinear(last))

    def parameters_at(self, x):
        return self.hyper(x).reshape(*x.shape, -1)

    def layers(self, prefix):
        names = [linear(f"{prefix}hyper.{k}", True) for k in (0, 2, 4)]
        return [names[0], {"op": "relu"}, names[1], {"op": "relu"}, names[2]]


def soft(raw, limit):
    return raw / (1 + abs(raw / limit))


class ZukoMAF(ZukoStep):
    def __init__(self, d, hidden, reverse):
        super().__init__(d, hidden, 2, reverse)

    def forward(self, x):
        shift, scale = self.parameters_at(x).unbind(-1)
        scale = soft(scale, math.log(1e-3))
        return x * torch.exp(scale) + shift, scale.sum(1)

    def json(self, prefix):
        return {"op": "autoregressive", "transform": "affine", "scale": "soft", "layout": "interleaved",
                "layers": self.layers(prefix)}


class ZukoNSF(ZukoStep):
    def __init__(self, d, hidden, reverse, bins):
        super().__init__(d, hidden, 3 * bins - 1, reverse)
        self.bins = bins

    def forward(self, x):
        w, h, d = self.parameters_at(x).split([self.bins, self.bins, self.bins - 1], -1)
        limit = math.log(1e-3)
        w, h = (10 * torch.softmax(soft(u, limit / 2), -1) for u in (w, h))
        y, log_slope = spline(x, w, h, torch.exp(F.pad(soft(d, limit), (1, 1))), 5.0)
        return y, log_slope.sum(1)

    def json(self, prefix):
        return {"op": "autoregressive", "transform": "rqs", "knots": "exp", "bins": self.bins, "bound": 5,
                "layout": "interleaved", "layers": self.layers(prefix)}


class Zuko(nn.Module):
    ignored = ["*.order"]

    def __init__(self, d, *steps):
        super().__init__()
        self.transform, self.base = List("transforms", steps), nn.Module()
        self.base.register_buffer("loc", torch.randn(d))
        self.base.register_buffer("scale", 0.5 + torch.rand(d))

    def log_prob(self, x):
        total = 0
        for step in self.transform.transforms:
            x, log_det = step(x)
            total = total + log_det
        return total + torch.distributions.Normal(self.base.loc, self.base.scale).log_prob(x).sum(1)

    def layers(self):
        return ([step.json(f"transform.transforms.{i}.") for i, step in enumerate(self.transform.transforms)],
                {"op": "normal", "location": "base.loc", "scale": "base.scale"})


# ---- normflows: flows.N, from the noise to the data ----

class NormflowsCoupling(nn.Module):
    """AffineCouplingBlock: flows.1 of three has the network; z2 exp(s) + t, t and s in turn."""

    def __init__(self, d, hidden):
        super().__init__()
        step, step.param_map = nn.Module(), nn.Module()
        half = (d + 1) // 2
        step.param_map.net = nn.Sequential(nn.Linear(half, hidden), nn.LeakyReLU(0.0),
                                           nn.Linear(hidden, 2 * (d - half)))
        self.flows = nn.ModuleList([nn.Identity(), step, nn.Identity()])

    def backwards(self, x):
        one, two = x.chunk(2, 1)
        raw = self.flows[1].param_map.net(one)
        shift, log_scale = raw[:, 0::2], raw[:, 1::2]
        return torch.cat([one, (two - shift) * torch.exp(-log_scale)], 1), -log_scale.sum(1)

    def json(self, prefix):
        net = prefix + "flows.1.param_map.net."
        return {"op": "coupling", "transformed": "last_half", "transform": "affine", "layout": "interleaved",
                "inverse": True, "layers": [linear(net + "0"), {"op": "relu"}, linear(net + "2")]}


class NormflowsPermute(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.register_buffer("perm", torch.randperm(d))
        self.register_buffer("inv_perm", torch.argsort(self.perm))

    def backwards(self, x):
        return x[:, self.inv_perm], 0

    def json(self, prefix):
        return {"op": "permute", "permutation": prefix + "inv_perm"}


class NormflowsActNorm(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.register_buffer("data_dep_init_done", torch.tensor(1.0))
        self.s, self.t = nn.Parameter(0.3 * torch.randn(1, d)), nn.Parameter(torch.randn(1, d))

    def backwards(self, x):
        return (x - self.t) * torch.exp(-self.s), -self.s.sum()

    def json(self, prefix):
        return {"op": "affine", "log_scale": prefix + "s", "shift": prefix + "t", "inverse": True}


class Normflows(nn.Module):
    ignored = ["*.perm", "*.data_dep_init_done"]

    def __init__(self, d, *steps):
        super().__init__()
        self.q0 = nn.Module()
        self.q0.loc, self.q0.log_scale = nn.Parameter(torch.randn(1, d)), nn.Parameter(0.3 * torch.randn(1, d))
        self.flows = nn.ModuleList(steps)

    def log_prob(self, x):
        total = 0
        for step in reversed(self.flows):
            x, log_det = step.backwards(x)
            total = total + log_det
        return total + torch.distributions.Normal(self.q0.loc, torch.exp(self.q0.log_scale)).log_prob(x).sum(1)

    def layers(self):
        steps = [step.json(f"flows.{i}.") for i, step in enumerate(self.flows)]
        return steps[::-1], {"op": "normal", "location": "q0.loc", "log_scale": "q0.log_scale"}


# ---- FrEIA: module_list.N ----

class FreiaGlow(nn.Module):
    """GLOWCouplingBlock: both halves in turn, log scales clamped by clamp 0.636 atan."""

    def __init__(self, d, hidden, clamp):
        super().__init__()
        self.one, self.clamp = d // 2, clamp
        make = lambda i, o: nn.Sequential(nn.Linear(i, hidden), nn.ReLU(), nn.Linear(hidden, 2 * o))
        self.subnet1, self.subnet2 = make(self.one, d - self.one), make(d - self.one, self.one)

    def forward(self, x):
        x1, x2 = x[:, :self.one], x[:, self.one:]
        scale, shift = self.subnet2(x2).split(self.one, 1)
        first = self.clamp * 0.636 * torch.atan(scale)
        y1 = torch.exp(first) * x1 + shift
        scale, shift = self.subnet1(y1).split(x2.shape[1], 1)
        second = self.clamp * 0.636 * torch.atan(scale)
        return torch.cat([y1, torch.exp(second) * x2 + shift], 1), first.sum(1) + second.sum(1)

    def json(self, prefix):
        d = self.one + self.subnet1[2].weight.shape[0] // 2
        same = {"op": "coupling", "transform": "affine", "first": "scale", "scale": "atan", "limit": 0.636 * self.clamp}
        return [{**same, "transformed": part, "layers": [linear(f"{prefix}{net}.0"), {"op": "relu"},
                                                         linear(f"{prefix}{net}.2")]}
                for net, part in (("subnet2", list(range(self.one))), ("subnet1", list(range(self.one, d))))]


class FreiaPermute(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.perm = nn.Parameter(torch.randperm(d), requires_grad=False)
        self.perm_inv = nn.Parameter(torch.argsort(self.perm), requires_grad=False)

    def forward(self, x):
        return x[:, self.perm], 0

    def json(self, prefix):
        return [{"op": "permute", "permutation": prefix + "perm"}]


class Freia(nn.Module):
    ignored = ["*.perm_inv"]

    def __init__(self, *steps):
        super().__init__()
        self.module_list = nn.ModuleList(steps)

    def log_prob(self, x):
        total = 0
        for step in self.module_list:
            x, log_det = step(x)
            total = total + log_det
        return total + torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(1)

    def layers(self):
        return [line for i, step in enumerate(self.module_list) for line in step.json(f"module_list.{i}.")], {}


# ---- files, without metadata ----

DTYPES = {"float64": "F64", "float32": "F32", "int64": "I64", "bool": "BOOL"}


def write_safetensors(path, arrays):
    header, blobs, at = {}, [], 0
    for name, array in arrays.items():
        blob = np.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": DTYPES[array.dtype.name], "shape": list(array.shape),
                        "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def poe(*arguments):
    done = subprocess.run([POE, *arguments, "--json"], capture_output=True, text=True)
    return done.returncode, json.loads(done.stdout) if done.returncode == 0 else done.stderr


def report(name, good, what):
    global failures
    failures += not good
    print(f"{'ok  ' if good else 'FAIL'} {name}: {what}")


def difference(ours, truth):
    return np.abs(np.asarray(ours) - truth).max() / np.abs(truth).max()


def names_in(value):
    """All texts inside lists and objects."""
    if isinstance(value, str):
        return {value}
    return set().union(set(), *map(names_in, value.values() if isinstance(value, dict) else
                                   value if isinstance(value, list) else []))


def check_info(name, file, arrays, description):
    """Of a bare state dict every weight is told what it may be, bases aside; with the description all is well."""
    code, said = poe("info", file)
    lines = [json.loads(line) for line in said["suggestion"]] if code == 0 else []
    told, left = set().union(*map(names_in, lines)) & set(arrays), set(said["unnamed"]) if code == 0 else set()
    weights = {k for k, v in arrays.items()
               if v.dtype.kind == "f" and v.ndim > 0 and not k.startswith(("base.", "q0."))}
    good = code == 0 and told | left == set(arrays) and not told & left and weights <= told
    report(f"{name}, info", good, f"{len(lines)} modules, {len(left)} tensors left out")
    code, said = poe("info", file, "--description", "flow.json")
    report(f"{name}, info with description", code == 0 and "problem" not in said and said["family"] == "flow"
           and said["declare"] == [f"var x : real[{description['poe.input'][0]}]"], said.get("problem", "opens"))


def check(name, model, d, rng):
    model = model.double()
    with torch.no_grad():  # weights that both precisions hold
        for p in model.parameters():
            if p.is_floating_point():
                p.copy_(p.float().double())
        for b in model.buffers():
            if b.is_floating_point():
                b.copy_(b.float().double())
    x = (1.5 * rng.standard_normal((25, d))).round(3)
    np.save("x.npy", x)
    at = torch.tensor(x, requires_grad=True)
    truth = model.log_prob(at)
    (gradient,) = torch.autograd.grad(truth.sum(), at)
    layers, base = model.layers()
    description = {"poe.format": "1", "poe.family": "flow", "poe.input": [d], "poe.layers": layers,
                   "poe.ignore": model.ignored, **({"poe.base": base} if base else {})}
    with open("flow.json", "w", encoding="utf-8") as file:
        json.dump(description, file, indent=1)
    for word in TOLERANCE:
        arrays = {k: v.numpy().astype(word) if v.is_floating_point() else v.numpy()
                  for k, v in model.state_dict().items()}
        np.savez("state.npz", **arrays)
        write_safetensors("state.safetensors", arrays)
        for file in ("state.npz", "state.safetensors"):
            with open("flow.poe", "w", encoding="utf-8") as out:
                out.write(f'var x : real[{d}]\na = flow(x | file="{file}", description="flow.json")\n')
            code, said = poe("score", "flow.poe", "a", "--data", "x.npy", "--grad")
            if code != 0:
                report(f"{name}, {word}, {file}", False, said)
                continue
            worst = max(difference(said["log_density"], truth.detach().numpy()),
                        difference(said["grad"], gradient.numpy()))
            report(f"{name}, {word}, {file}", worst <= TOLERANCE[word], f"{worst:.1e}")
    check_info(name, "state.safetensors", arrays, description)
    # Nothing is left out in silence: without poe.ignore the file is refused, by name and shape.
    del description["poe.ignore"]
    with open("flow.json", "w", encoding="utf-8") as file:
        json.dump(description, file)
    code, said = poe("score", "flow.poe", "a", "--data", "x.npy")
    extra = [k for k in arrays if any(k.endswith(word.strip("*")) for word in model.ignored)]
    shape = str(list(arrays[extra[0]].shape))
    report(f"{name}, without poe.ignore", code == 3 and "used by no layer" in said and shape in said, f"exit {code}")


def models():
    yield "nflows MAF", 5, Nflows(NflowsActNorm(5), NflowsMAF(5, 24, 2), NflowsPermutation(5), NflowsMAF(5, 24, 1))
    yield "nflows RQS", 6, Nflows(NflowsLU(6), NflowsRQS(6, 20, 2, 7, 3.0), NflowsPermutation(6), NflowsLU(6),
                                  NflowsRQS(6, 20, 1, 5, 4.0))
    yield "zuko MAF", 4, Zuko(4, ZukoMAF(4, 30, False), ZukoMAF(4, 30, True), ZukoMAF(4, 30, False))
    yield "zuko NSF", 5, Zuko(5, ZukoNSF(5, 30, False, 6), ZukoNSF(5, 30, True, 6))
    yield "normflows RealNVP", 5, Normflows(5, NormflowsCoupling(5, 16), NormflowsPermute(5), NormflowsActNorm(5),
                                            NormflowsCoupling(5, 16))
    yield "FrEIA GLOW", 5, Freia(FreiaGlow(5, 16, 2.0), FreiaPermute(5), FreiaGlow(5, 16, 1.5))


def main():
    torch.manual_seed(23)
    torch.set_num_threads(1)
    rng = np.random.default_rng(23)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name, d, model in models():
            check(name, model, d, rng)
        os.chdir("/")
    sys.exit(1 if failures else 0)


main()
