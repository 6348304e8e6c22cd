"""Autoregressive models over sequences: `poe` against PyTorch's recurrent layers and plain NumPy.

sequences.py POE MODEL-FORMAT.md

Random GRU and LSTM models (one-hot, embedded, binary and real sequences, one to three layers, with and without biases)
are written by the writer printed on the page and read by the command. Densities, and gradients in real coordinates:
1e-5 relative in single, 1e-10 in double. NADE against its recursion in NumPy, masks made from degrees against
materialised ones. Small models are enumerated: the probabilities add up to 1. Draws are compared with the enumerated
probabilities by a chi-square test; each comparison of three seeds rejects a correct model with probability 1e-6 per seed.
Exit code 77 (skipped) without PyTorch.
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
    from scipy.stats import chi2
except ImportError:
    print("PyTorch, NumPy or SciPy is not installed: skipped")
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


class Characters(nn.Module):
    """The usual character model: what came before, embedded or one-hot, through a recurrent layer to logits."""

    def __init__(self, rng, kind, k, one_hot, learned_start):
        super().__init__()
        width = k if one_hot else int(rng.integers(2, 9))
        self.k, self.one_hot, self.learned_start = k, one_hot, learned_start
        if not one_hot:
            self.embed = nn.Embedding(k + (not learned_start), width)  # one row more: the start symbol
        if learned_start:
            self.start = nn.Parameter(torch.randn(width))
        self.rnn = kind(width, int(rng.integers(3, 30)), num_layers=int(rng.integers(1, 4)), batch_first=True,
                        bias=bool(rng.integers(0, 4)))
        self.head = nn.Linear(self.rnn.hidden_size, k)

    def forward(self, x):
        x = x.long()
        if self.learned_start or self.one_hot:
            e = F.one_hot(x, self.k).to(self.head.weight.dtype) if self.one_hot else self.embed(x)
            first = self.start if self.learned_start else torch.zeros(e.shape[-1], dtype=e.dtype)
            e = torch.cat([first.expand(len(x), 1, -1), e[:, :-1]], 1)
        else:
            e = self.embed(torch.cat([torch.full_like(x[:, :1], self.k), x[:, :-1]], 1))
        return self.head(self.rnn(e)[0])

    def layers(self):
        table = {"op": "one_hot", "values": self.k} if self.one_hot else {"op": "embedding", "weight": "embed.weight"}
        shift = {"op": "shift", "start": "start"} if self.learned_start else \
            {"op": "shift"} if self.one_hot else {"op": "shift", "start": self.k}
        before = [shift, table] if not self.learned_start and not self.one_hot else [table, shift]
        return before + [{"op": type(self.rnn).__name__.lower(), "prefix": "rnn"},
                         {"op": "linear", "weight": "head.weight", "bias": "head.bias"}]


class Numbers(nn.Module):
    """A recurrent model fed with the numbers themselves, `each` at a position."""

    def __init__(self, rng, kind, each, parameters, start):
        super().__init__()
        self.start = start
        self.rnn = kind(each, int(rng.integers(3, 30)), num_layers=int(rng.integers(1, 3)), batch_first=True)
        self.norm = nn.LayerNorm(self.rnn.hidden_size)
        self.mid = nn.Linear(self.rnn.hidden_size, 7)
        self.head = nn.Linear(7, each * parameters)

    def forward(self, x):
        x = x.reshape(len(x), -1, self.rnn.input_size)
        x = torch.cat([torch.full_like(x[:, :1], self.start), x[:, :-1]], 1)
        return self.head(F.silu(self.mid(self.norm(self.rnn(x)[0]))))

    def layers(self):
        return [{"op": "shift", "start": self.start}, {"op": type(self.rnn).__name__.lower(), "prefix": "rnn"},
                {"op": "layer_norm", "weight": "norm.weight", "bias": "norm.bias"},
                {"op": "linear", "weight": "mid.weight", "bias": "mid.bias"}, {"op": "silu"},
                {"op": "linear", "weight": "head.weight", "bias": "head.bias"}]


def log_density(output, t, x):
    """t [n, d, parameters], x [n, d]: from the definitions."""
    if output["op"] == "bernoulli":
        return -F.binary_cross_entropy_with_logits(t[:, :, 0], x, reduction="none").sum(1)
    if output["op"] == "categorical":
        each = -F.cross_entropy(t.transpose(1, 2), x.long(), reduction="none")
        if "end" in output:
            after = torch.cumsum((x == output["end"]).long(), 1).roll(1, 1)
            after[:, 0] = 0
            sure = torch.where(x == output.get("padding", output["end"]), 0.0, -np.inf).to(each.dtype)
            each = torch.where(after > 0, sure, each)
        return each.sum(1)
    m = output["components"]
    logits, mean, scale = (torch.zeros_like(t[..., :1]), t[..., :1], t[..., 1:]) if m == 1 else t.split(m, -1)
    each = torch.distributions.Normal(mean, scale.exp()).log_prob(x[..., None])
    return torch.logsumexp(F.log_softmax(logits, -1) + each, -1).sum(1)


def run(verb, program, *options):
    done = subprocess.run([POE, verb, program, *options, "--json"], capture_output=True, text=True)
    if done.returncode not in (0, 1, 3):
        sys.exit(f"{verb}: {done.stderr}")
    if done.returncode == 3:
        sys.exit(f"{verb}: {done.stdout} {done.stderr}")
    return json.loads(done.stdout)


def report(name, worst, tolerance):
    global failures
    failures += not worst <= tolerance
    print(f"{'ok  ' if worst <= tolerance else 'FAIL'} {name}: {worst:.1e} (at most {tolerance:.1e})")


def relative(ours, truth):
    """Largest difference over the largest number; infinities must be the same."""
    ours, truth = np.asarray(ours, dtype=float), np.asarray(truth, dtype=float)
    if ours.shape != truth.shape or not np.array_equal(np.isinf(ours), np.isinf(truth)):
        return np.inf
    finite = np.isfinite(truth)
    return np.max(np.abs(ours[finite] - truth[finite])) / max(1.0, np.max(np.abs(truth[finite])))


def numbers(values):
    return np.array([float(str(v).replace("inf", "inf")) for v in values])


def write_program(folder, d, values):
    program = os.path.join(folder, "m.poe")
    space = f"real[{d}]" if not values else f"binary[{d}]" if values == 2 else f"int({values})[{d}]"
    with open(program, "w", encoding="utf-8") as file:
        file.write(f'var x : {space}\na = autoregressive(x | file="m.safetensors")\n')
    return program


def score(folder, program, x, *options):
    np.save(os.path.join(folder, "x.npy"), x)
    return run("score", program, "a", "--data", os.path.join(folder, "x.npy"), *options)


def states(d, values):
    return np.array(np.meshgrid(*[np.arange(values)] * d, indexing="ij")).reshape(d, -1).T.astype(float)


def enumerate_and_draw(folder, name, program, d, values):
    """All states: the sum, and draws against them."""
    every = states(d, values)
    p = np.exp(numbers(score(folder, program, every)["log_density"]))
    report(f"{name}, sum over {len(every)} states", abs(p.sum() - 1), 1e-6 if "float32" in name else 1e-12)
    for seed in (1, 2, 3):
        out = os.path.join(folder, "draws.npz")
        run("sample", program, "a", "-o", out, "--draws", "5000", "--seed", str(seed))
        drawn = np.load(out)["x"].reshape(-1, d)
        at = (drawn @ values ** np.arange(d - 1, -1, -1)).astype(int)
        count, expected = np.bincount(at, minlength=len(every)), p * len(drawn)
        impossible = count[p == 0].sum()
        rare = expected < 10
        cells = np.append(expected[~rare], expected[rare].sum())
        seen = np.append(count[~rare], count[rare].sum())
        cells, seen = (cells[:-1], seen[:-1]) if cells[-1] < 10 else (cells, seen)
        statistic = ((seen - cells) ** 2 / cells).sum()
        report(f"{name}, draws of seed {seed}, chi-square", statistic, chi2.isf(1e-6, len(cells) - 1))
        report(f"{name}, draws that cannot be", impossible, 0)


def check(folder, rng, name, model, output, shape, d, values):
    """Weights larger than those that PyTorch starts with: a model that is far from uniform."""
    n = 37
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 1.7
    x = rng.integers(0, values, (n, d)).astype(float) if values else rng.standard_normal((n, d)).round(4)
    program = write_program(folder, d, values)
    for dtype in (torch.float32, torch.float64):
        net = model.to(dtype)
        at = torch.tensor(x, dtype=dtype, requires_grad=True)
        t = net(at).reshape(n, d, -1)
        truth = log_density(output, t.double(), at.double())
        arrays = {k: v.detach().numpy() for k, v in net.state_dict().items()}
        save_model(os.path.join(folder, "m.safetensors"), arrays, "autoregressive", shape, net.layers(),
                   output=json.dumps(output))
        ours = score(folder, program, x, *([] if values else ["--grad"]))
        worst = relative(numbers(ours["log_density"]), truth.detach().numpy())
        if not values:
            (gradient,) = torch.autograd.grad(truth.sum(), at)
            worst = max(worst, relative(ours["grad"], gradient.double().numpy()))
        report(f"{name}, {dtype}", worst, TOLERANCE[dtype])
    for what, wrong in variants(arrays):
        save_model(os.path.join(folder, "m.safetensors"), wrong, "autoregressive", shape, net.layers(),
                   output=json.dumps(output))
        ours = score(folder, program, x)
        away = relative(numbers(ours["log_density"]), truth.detach().numpy())
        report(f"{name}, {what}: 1/difference", 1 / max(away, 1e-300), 1e6)
    save_model(os.path.join(folder, "m.safetensors"), arrays, "autoregressive", shape, net.layers(),
               output=json.dumps(output))
    if values and values ** d <= 5000:
        enumerate_and_draw(folder, name, program, d, values)


def variants(arrays):
    """Files of other models, which the comparison must tell from the right one."""
    h = arrays["rnn.weight_hh_l0"].shape[1]
    turned = {k: v.copy() for k, v in arrays.items()}
    for k in turned:
        if k.endswith("_l0"):
            turned[k][:2 * h] = np.concatenate([turned[k][h:2 * h], turned[k][:h]])
    found = [("first two gates exchanged", turned)]
    if "rnn.bias_hh_l0" in arrays:
        found.append(("a bias left out", {k: v for k, v in arrays.items() if k != "rnn.bias_hh_l0"}))
    if len(arrays["rnn.weight_hh_l0"]) == 3 * h and "rnn.bias_hh_l0" in arrays:
        moved = {k: v.copy() for k, v in arrays.items()}  # of no consequence where the reset came before the product
        moved["rnn.bias_ih_l0"][2 * h:] += moved["rnn.bias_hh_l0"][2 * h:]
        moved["rnn.bias_hh_l0"][2 * h:] = 0
        found.append(("the new gate's biases together", moved))
    return found


def check_page(folder):
    """The character model of the page."""
    text = open(PAGE, encoding="utf-8").read()
    recipe = [b for b in re.findall(r"```python\n(.*?)```", text, re.S) if "Characters" in b or "names.safetensors" in b]
    program = re.search(r"```\n(var name[^`]*names.safetensors[^`]*)```", text).group(1)
    scope = {"torch": torch, "np": np, "json": json,
             "save_model": lambda path, *rest, **more: save_model(os.path.join(folder, path), *rest, **more)}
    exec(recipe[0], scope)
    scope["model"] = model = scope["Characters"](27, 8, 20)
    exec(recipe[1], scope)
    with open(os.path.join(folder, "m.poe"), "w", encoding="utf-8") as file:
        file.write(program + "a = model\n")
    x = np.random.default_rng(1).integers(0, 27, (50, 12)).astype(float)
    x[:20, 7:] = 0
    truth = log_density({"op": "categorical", "end": 0}, model(torch.tensor(x).long()).double(), torch.tensor(x))
    ours = score(folder, os.path.join(folder, "m.poe"), x)
    report("the page's character model", relative(numbers(ours["log_density"]), truth.detach().numpy()), 1e-5)


def nade(rng, d, h, p):
    """Weights as in the paper; log density of binary rows, or of real ones with p parameters, by the recursion."""
    shape = (d, h) if p == 1 else (d, p, h)
    arrays = {"W": rng.standard_normal((h, d)), "V": rng.standard_normal(shape),
              "b": rng.standard_normal(shape[:-1]), "c": rng.standard_normal(h)}

    def parameters(x):
        a, t = np.tile(arrays["c"], (len(x), 1)), []
        for j in range(d):
            t.append(1 / (1 + np.exp(-a)) @ arrays["V"].reshape(d, p, h)[j].T + arrays["b"].reshape(d, p)[j])
            a = a + x[:, j, None] * arrays["W"][:, j]
        return np.stack(t, 1)
    return arrays, parameters


def check_nade(folder, rng, d, h, output, p, values):
    arrays, parameters = nade(rng, d, h, p)
    x = rng.integers(0, 2, (41, d)).astype(float) if values else rng.standard_normal((41, d)).round(4)
    program = write_program(folder, d, values)
    truth = log_density(output, torch.tensor(parameters(x)), torch.tensor(x)).numpy()
    layers = [{"op": "nade", "W": "W", "V": "V", "b": "b", "c": "c"}]
    for dtype in (np.float32, np.float64):
        save_model(os.path.join(folder, "m.safetensors"), {k: v.astype(dtype) for k, v in arrays.items()},
                   "autoregressive", [d], layers, output=json.dumps(output))
        ours = score(folder, program, x)
        report(f"NADE of {d}, {h} hidden, {output}, {dtype.__name__}", relative(ours["log_density"], truth),
               1e-5 if dtype == np.float32 else 1e-12)
    if values and d <= 12:
        enumerate_and_draw(folder, f"NADE of {d}", program, d, 2)
    if not values:
        g = score(folder, program, x, "--grad")["grad"]
        step, worst = 1e-5, 0.0
        for j in range(d):
            e = step * np.eye(d)[j]
            value = [log_density(output, torch.tensor(parameters(x + s * e)), torch.tensor(x + s * e)).numpy()
                     for s in (1, -1)]
            worst = max(worst, relative(np.array(g)[:, j], (value[0] - value[1]) / (2 * step)))
        report(f"NADE of {d}, gradient against differences", worst, 1e-7)


def check_degrees(folder, rng, d, hidden, output, parameters, values, named):
    """Raw weights and degrees against the same weights times masks made here."""
    widths = [d, *hidden, d * parameters]
    degrees = [rng.permutation(d) + 1] + [rng.integers(1, d, m) for m in hidden]
    interleaved = output.get("layout") == "interleaved"
    outs = degrees[1:] + [np.repeat(degrees[0], parameters) if interleaved else np.tile(degrees[0], parameters)]
    arrays, masked, layers = {}, {}, []
    for i, (a, b) in enumerate(zip(widths, widths[1:])):
        arrays[f"w{i}"], arrays[f"b{i}"] = rng.standard_normal((b, a)), rng.standard_normal(b)
        mask = outs[i][:, None] > degrees[i] if i == len(hidden) else outs[i][:, None] >= degrees[i]
        masked[f"w{i}"], masked[f"b{i}"] = arrays[f"w{i}"] * mask, arrays[f"b{i}"]
        layers += [{"op": "tanh"}] * (i > 0) + [{"op": "linear", "weight": f"w{i}", "bias": f"b{i}"}]
    x = rng.integers(0, values, (30, d)).astype(float) if values else rng.standard_normal((30, d)).round(4)
    program, path = write_program(folder, d, values), os.path.join(folder, "m.safetensors")
    save_model(path, masked, "autoregressive", [d], layers, output=json.dumps(output))
    truth = score(folder, program, x)["log_density"]
    listed = [m.tolist() for m in degrees]
    if named:
        arrays |= {f"m{i}": m.astype(np.float32) for i, m in enumerate(degrees)}
        listed = [f"m{i}" for i in range(len(degrees))]
    save_model(path, arrays, "autoregressive", [d], layers, output=json.dumps(output), degrees=json.dumps(listed))
    report(f"degrees, {output}, {'tensors' if named else 'lists'}", relative(score(folder, program, x)["log_density"],
                                                                            truth), 0)


def main():
    torch.manual_seed(29)
    torch.set_num_threads(1)
    rng = np.random.default_rng(29)
    with tempfile.TemporaryDirectory() as folder:
        check_page(folder)
        for kind in (nn.GRU, nn.LSTM):
            for one_hot in (False, True):
                for learned in (False, True):
                    k, d = (4, 5) if learned else (int(rng.integers(3, 40)), int(rng.integers(1, 30)))
                    output = {"op": "categorical", "values": k}
                    if one_hot and learned:
                        output |= {"end": 1, "padding": 0} if kind is nn.GRU else {"end": 3}
                    check(folder, rng, f"{kind.__name__}, k={k}, one_hot={one_hot}, start={learned}, {output}",
                          Characters(rng, kind, k, one_hot, learned), output, ["length"] if learned else [d], d, k)
            check(folder, rng, f"{kind.__name__}, binary", Numbers(rng, kind, 1, 1, 0.5), {"op": "bernoulli"}, [10], 10,
                  2)
            for components, each, length in ((1, 1, 9), (3, 2, 7)):
                check(folder, rng, f"{kind.__name__}, real, {components} components, {each} at a position",
                      Numbers(rng, kind, each, 2 if components == 1 else 9, -1.0),
                      {"op": "gaussian_mixture", "components": components},
                      [length] if each == 1 else ["length", each], length * each, 0)
            d, output = 500, {"op": "categorical", "values": 12}
            check(folder, rng, f"{kind.__name__}, long", Characters(rng, kind, 12, True, False), output, [d], d, 12)
            check(folder, rng, f"{kind.__name__}, long, real", Numbers(rng, kind, 1, 2, 0.0),
                  {"op": "gaussian_mixture", "components": 1}, [300], 300, 0)
        check_nade(folder, rng, 10, 17, {"op": "bernoulli"}, 1, 2)
        check_nade(folder, rng, 60, 33, {"op": "bernoulli"}, 1, 2)
        check_nade(folder, rng, 8, 12, {"op": "gaussian_mixture", "components": 2}, 6, 0)
        check_degrees(folder, rng, 7, [12, 9], {"op": "bernoulli"}, 1, 2, False)
        check_degrees(folder, rng, 5, [30], {"op": "categorical", "values": 3, "layout": "interleaved"}, 3, 3, True)
        check_degrees(folder, rng, 4, [8, 8, 8], {"op": "gaussian_mixture", "components": 2}, 6, 0, True)
    sys.exit(1 if failures else 0)


main()
