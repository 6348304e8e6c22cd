#!/usr/bin/env python3
"""A row for each neural family: densities, gradients and exact draws of `poe bench` beside PyTorch, one thread each.

    bench/neural.py [PROGRAM] [--families energy,maf] [--rows 1,64,1024] [--rounds 5] [--markdown]

PROGRAM is the command (build/release/poe when left out). Every model has random weights; PyTorch's module and poe's
file hold the same ones, and the log-densities must agree before anything is timed. In each round the command and PyTorch
are timed one after the other, by their processor time; a ratio is the median over the rounds of poe's rate over
PyTorch's of the same round. Draws in PyTorch: one pass through the inverse of couplings, and as many passes as there are
coordinates of autoregressive models, of which one is timed (they cost the same). Where draws take long they are only
timed for few rows; `poe` draws up to 64 rows at a time.

  values, grads, draws   rows per second of poe; `x` the ratio to PyTorch, above 1: poe is faster

Absolute rates mean little on a shared machine; the ratios were taken side by side.
"""
import argparse
import json
import os
import re
import statistics
import tempfile
import time

from shared import default_program, poe, root, say  # before NumPy and PyTorch: one thread

try:
    import numpy as np
    import torch
    import torch.nn.functional as F
    from torch import nn
except ImportError as missing:
    raise SystemExit(f"{missing}: this script needs Debian's python3-torch (run it with /usr/bin/python3)")

torch.set_num_threads(1)


def page_code(page, word):
    """The Python block of a page that has `word`."""
    with open(os.path.join(root, "docs", page), encoding="utf-8") as file:
        return next(b for b in re.findall(r"^```python\n(.*?)^```$", file.read(), re.S | re.M) if word in b)


scope = {}
exec(page_code("MODEL-FORMAT.md", "def save_model"), scope)
exec(page_code("RECIPES.md", "def describe"), scope)
save_model, describe, arrays_of = scope["save_model"], scope["describe"], scope["arrays_of"]
MaskedLinear, MaskedConv2d = scope["MaskedLinear"], scope["MaskedConv2d"]


class Case:
    """One family: the program, PyTorch's log-density of x [n, d] and, where there are exact draws, draw(n) in `passes`
    equal passes."""

    def __init__(self, what, program, log_density, d, values=0, draw=None, passes=1, draw_rows=1024):
        self.what, self.program, self.log_density, self.d, self.values = what, program, log_density, d, values
        self.draw, self.passes, self.draw_rows = draw, passes, draw_rows


def dense(*widths, act=nn.SiLU):
    layers = []
    for a, b in zip(widths, widths[1:]):
        layers += [nn.Linear(a, b), act()]
    return nn.Sequential(*layers[:-1])


# ---- the families ----

def energy():
    net = dense(784, 512, 512, 1)
    save_model("m.safetensors", arrays_of(net), "energy", [784], describe(net))
    return Case("MLP 784-512-512-1", 'var x : real[784]\na = energy(x | file="m.safetensors")\n',
                lambda x: -net(x)[:, 0], 784)


def cnn():
    net = nn.Sequential(nn.Unflatten(1, (1, 28, 28)), nn.Conv2d(1, 32, 3, stride=2, padding=1), nn.SiLU(),
                        nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.SiLU(), nn.Flatten(), nn.Linear(64 * 49, 128),
                        nn.SiLU(), nn.Linear(128, 1))
    save_model("m.safetensors", arrays_of(net), "energy", [784], describe(net))
    return Case("28x28, convolutions 32, 64, dense 128", 'var x : real[784]\na = energy(x | file="m.safetensors")\n',
                lambda x: -net(x)[:, 0], 784)


def classifier():
    net = dense(784, 512, 512, 10, act=nn.ReLU)
    save_model("m.safetensors", arrays_of(net), "classifier", [784], describe(net))
    return Case("MLP 784-512-512-10, given a label",
                'var x : real[784]\nvar c : int(10)\nb = classifier(x, c | file="m.safetensors")\na = b given c = 3\n',
                lambda x: torch.log_softmax(net(x), 1)[:, 3], 784)


def decoder():
    net = nn.Sequential(*dense(16, 256, 512, 784), nn.Sigmoid())
    head = dense(784, 256, 1)
    save_model("m.safetensors", arrays_of(net), "decoder", [16], describe(net))
    save_model("e.safetensors", arrays_of(head), "energy", [784], describe(head))
    return Case("energy 784-256-1 of a decoder 16-256-512-784",
                'var z : real[16]\nimage = decoder(z | file="m.safetensors")\n'
                'a = energy(image | file="e.safetensors")\n',
                lambda z: -head(net(z))[:, 0], 16)


def normal(z):
    return -0.5 * (z ** 2).sum(1) - 0.5 * z.shape[1] * np.log(2 * np.pi)


class Coupling(nn.Module):
    def __init__(self, d, odd, hidden, parameters):
        super().__init__()
        self.on, self.off = slice(int(odd), d, 2), slice(1 - int(odd), d, 2)
        self.net = dense(d // 2, hidden, hidden, d // 2 * parameters, act=nn.ReLU)


class Affine(Coupling):
    def forward(self, x):
        t, s = self.net(x[:, self.off]).chunk(2, 1)
        s = torch.tanh(s)
        z = x.clone()
        z[:, self.on] = x[:, self.on] * torch.exp(s) + t
        return z, s.sum(1)

    def inverse(self, z):
        t, s = self.net(z[:, self.off]).chunk(2, 1)
        x = z.clone()
        x[:, self.on] = (z[:, self.on] - t) * torch.exp(-torch.tanh(s))
        return x


def chain(steps):
    def log_density(x):
        total = 0
        for step in steps:
            x, log_det = step(x)
            total = total + log_det
        return total + normal(x)
    return log_density


def coupling():
    d, steps = 64, nn.ModuleList([Affine(64, i % 2 == 0, 256, 2) for i in range(8)])
    layers = [{"op": "coupling", "transformed": "odd" if i % 2 == 0 else "even", "transform": "affine", "scale": "tanh",
               "layers": describe(step.net, f"{i}.net.")} for i, step in enumerate(steps)]
    save_model("m.safetensors", arrays_of(steps), "flow", [d], layers)

    def draw(n):
        x = torch.randn(n, d)
        for step in reversed(steps):
            x = step.inverse(x)
        return x
    return Case("d 64, 8 affine couplings, networks 32-256-256-64",
                f'var x : real[{d}]\na = flow(x | file="m.safetensors")\n', chain(steps), d, draw=draw)


BINS, BOUND = 8, 4.0


def knots(raw):
    w, h, d = raw[..., :BINS], raw[..., BINS:2 * BINS], raw[..., 2 * BINS:]
    w, h = (2 * BOUND * (1e-3 + (1 - 1e-3 * BINS) * torch.softmax(v, -1)) for v in (w, h))
    d = F.pad(1e-3 + F.softplus(d), (1, 1), value=1.0)
    return (w, h, d, F.pad(torch.cumsum(w, -1), (1, 0)) - BOUND, F.pad(torch.cumsum(h, -1), (1, 0)) - BOUND)


class Spline(Coupling):
    def forward(self, x):
        v = x[:, self.on]
        w, h, d, left, bottom = knots(self.net(x[:, self.off]).reshape(*v.shape, -1))
        inside = (v > -BOUND) & (v < BOUND)
        at = torch.where(inside, v, torch.zeros_like(v))
        k = (at[..., None] >= left[..., 1:-1]).sum(-1, keepdim=True)
        w, h, left, bottom, d0, d1 = (a.gather(-1, k + i)[..., 0] for a, i in
                                      ((w, 0), (h, 0), (left, 0), (bottom, 0), (d, 0), (d, 1)))
        s, t = h / w, (at - left) / w
        under = s + (d0 + d1 - 2 * s) * t * (1 - t)
        y = bottom + h * (s * t ** 2 + d0 * t * (1 - t)) / under
        log_slope = 2 * torch.log(s) + torch.log(d1 * t ** 2 + 2 * s * t * (1 - t) + d0 * (1 - t) ** 2) \
            - 2 * torch.log(under)
        z = x.clone()
        z[:, self.on] = torch.where(inside, y, v)
        return z, torch.where(inside, log_slope, torch.zeros_like(v)).sum(1)

    def inverse(self, z):
        v = z[:, self.on]
        w, h, d, left, bottom = knots(self.net(z[:, self.off]).reshape(*v.shape, -1))
        inside = (v > -BOUND) & (v < BOUND)
        at = torch.where(inside, v, torch.zeros_like(v))
        k = (at[..., None] >= bottom[..., 1:-1]).sum(-1, keepdim=True)
        w, h, left, bottom, d0, d1 = (a.gather(-1, k + i)[..., 0] for a, i in
                                      ((w, 0), (h, 0), (left, 0), (bottom, 0), (d, 0), (d, 1)))
        s, up = h / w, at - bottom
        a, b, c = h * (s - d0) + up * (d0 + d1 - 2 * s), h * d0 - up * (d0 + d1 - 2 * s), -s * up
        t = 2 * c / (-b - torch.sqrt(b ** 2 - 4 * a * c))
        x = z.clone()
        x[:, self.on] = torch.where(inside, t * w + left, v)
        return x


def spline():
    d, steps = 32, nn.ModuleList([Spline(32, i % 2 == 0, 128, 3 * BINS - 1) for i in range(4)])
    layers = [{"op": "coupling", "transformed": "odd" if i % 2 == 0 else "even", "transform": "rqs", "bins": BINS,
               "bound": BOUND, "layout": "interleaved", "layers": describe(step.net, f"{i}.net.")}
              for i, step in enumerate(steps)]
    save_model("m.safetensors", arrays_of(steps), "flow", [d], layers)

    def draw(n):
        x = torch.randn(n, d)
        for step in reversed(steps):
            x = step.inverse(x)
        return x
    return Case("d 32, 4 spline couplings of 8 bins, networks 16-128-128-368",
                f'var x : real[{d}]\na = flow(x | file="m.safetensors")\n', chain(steps), d, draw=draw)


def masked(d, hidden, outputs):
    """`outputs` numbers for each coordinate, grouped."""
    order, inner = torch.arange(d), torch.arange(hidden) % max(d - 1, 1)
    last = (order.repeat(outputs)[:, None] > inner[None, :]).float()
    return nn.Sequential(MaskedLinear((inner[:, None] >= order[None, :]).float()), nn.ReLU(),
                         MaskedLinear((inner[:, None] >= inner[None, :]).float()), nn.ReLU(), MaskedLinear(last))


class MAF(nn.Module):
    def __init__(self, d, hidden):
        super().__init__()
        self.net = masked(d, hidden, 2)

    def forward(self, x):
        t, s = self.net(x).chunk(2, 1)
        s = torch.tanh(s)
        return x * torch.exp(s) + t, s.sum(1)


def maf():
    d, steps = 64, nn.ModuleList([MAF(64, 256) for _ in range(3)])
    layers = [{"op": "autoregressive", "transform": "affine", "scale": "tanh", "layers": describe(m.net, f"{i}.net.")}
              for i, m in enumerate(steps)]
    save_model("m.safetensors", arrays_of(steps), "flow", [d], layers)

    def draw(n):  # one of the d passes
        x = torch.randn(n, d)
        for step in steps:
            t, s = step.net(x).chunk(2, 1)
            x[:, 0] = (x[:, 0] - t[:, 0]) * torch.exp(-torch.tanh(s[:, 0]))
        return x
    return Case("d 64, 3 steps, networks 64-256-256-128", f'var x : real[{d}]\na = flow(x | file="m.safetensors")\n',
                chain(steps), d, draw=draw, passes=d, draw_rows=64)


def made():
    d, net = 784, masked(784, 500, 1)
    save_model("m.safetensors", arrays_of(net), "autoregressive", [d], describe(net), output='{"op": "bernoulli"}')

    def draw(n):
        x = torch.zeros(n, d)
        x[:, 0] = torch.bernoulli(torch.sigmoid(net(x)[:, 0]))
        return x
    return Case("784 bits, 784-500-500-784", f'var x : binary[{d}]\na = autoregressive(x | file="m.safetensors")\n',
                lambda x: -F.binary_cross_entropy_with_logits(net(x), x, reduction="none").sum(1), d, 2, draw, d, 64)


def pixelcnn():
    d, layers = 784, [MaskedConv2d("A", 1, 32, 7), nn.ReLU()]
    for _ in range(3):
        layers += [MaskedConv2d("B", 32, 32, 3), nn.ReLU()]
    net = nn.Sequential(*layers, MaskedConv2d("B", 32, 1, 1))
    save_model("m.safetensors", arrays_of(net), "autoregressive", [1, 28, 28], describe(net),
               output='{"op": "bernoulli"}')
    logits = lambda x: net(x.reshape(-1, 1, 28, 28)).flatten(1)

    def draw(n):
        x = torch.zeros(n, d)
        x[:, 0] = torch.bernoulli(torch.sigmoid(logits(x)[:, 0]))
        return x
    return Case("28x28 bits, 32 channels, 5 masked convolutions",
                'var x : binary[28, 28]\na = autoregressive(x | file="m.safetensors")\n',
                lambda x: -F.binary_cross_entropy_with_logits(logits(x), x, reduction="none").sum(1), d, 2, draw, d, 1)


def rbm():
    w, b, c = 0.1 * torch.randn(784, 500), torch.randn(784), torch.randn(500)
    np.savez("m.npz", W=w.numpy(), b=b.numpy(), c=c.numpy())
    return Case("784 bits, 500 hidden units (poe in double)", 'var x : binary[784]\na = rbm(x | file="m.npz")\n',
                lambda x: x @ b + F.softplus(x @ w + c).sum(1), 784, 2)


class Characters(nn.Module):
    def __init__(self, k, cell, hidden):
        super().__init__()
        self.embed, self.rnn = nn.Embedding(k + 1, 32), cell(32, hidden, batch_first=True)
        self.head, self.k = nn.Linear(hidden, k), k

    def forward(self, x):
        start = torch.full_like(x[:, :1], self.k)
        return self.head(self.rnn(self.embed(torch.cat([start, x[:, :-1]], 1)))[0])


def recurrent(word, cell):
    d, k, model = 64, 64, Characters(64, cell, 256)
    layers = [{"op": "shift", "start": k}, {"op": "embedding", "weight": "embed.weight"}, {"op": word, "prefix": "rnn"},
              {"op": "linear", "weight": "head.weight", "bias": "head.bias"}]
    save_model("m.safetensors", arrays_of(model), "autoregressive", ["length"], layers,
               output=json.dumps({"op": "categorical", "values": k}))

    def draw(n):  # one position of d, with the state kept
        state = torch.zeros(1, n, 256)
        x = model.embed(torch.full((n, 1), k))
        out, _ = model.rnn(x, state if cell is nn.GRU else (state, state))
        return torch.multinomial(torch.softmax(model.head(out[:, 0]), 1), 1)
    return Case("64 characters of 64, embedding 32, hidden 256",
                f'var x : int({k})[{d}]\na = autoregressive(x | file="m.safetensors")\n',
                lambda x: -F.cross_entropy(model(x.long()).transpose(1, 2), x.long(), reduction="none").sum(1), d, k,
                draw, d)


def gru():
    return recurrent("gru", nn.GRU)


def lstm():
    return recurrent("lstm", nn.LSTM)


def nade():
    d, h = 256, 128
    arrays = {"W": 0.1 * torch.randn(h, d), "V": 0.1 * torch.randn(d, h), "b": torch.randn(d), "c": torch.randn(h)}
    w, v, b, c = arrays.values()
    save_model("m.safetensors", {key: a.numpy() for key, a in arrays.items()}, "autoregressive", [d],
               [{"op": "nade", "W": "W", "V": "V", "b": "b", "c": "c"}], output='{"op": "bernoulli"}')

    def log_density(x):
        terms = x[:, :, None] * w.T
        hidden = torch.sigmoid(c + torch.cumsum(terms, 1) - terms)
        return -F.binary_cross_entropy_with_logits((hidden * v).sum(2) + b, x, reduction="none").sum(1)

    def draw(n):  # one coordinate of d
        a = torch.zeros(n, h) + c
        x = torch.bernoulli(torch.sigmoid(torch.sigmoid(a) @ v[0] + b[0]))
        return a + x[:, None] * w[:, 0]
    return Case("256 bits, 128 hidden units", f'var x : binary[{d}]\na = autoregressive(x | file="m.safetensors")\n',
                log_density, d, 2, draw, d)


FAMILIES = {f.__name__: f for f in (energy, cnn, classifier, decoder, coupling, maf, spline, made, pixelcnn, nade, gru,
                                    lstm, rbm)}


# ---- timing ----

def seconds(action, budget=0.25):
    """Of one call: the best of a few passes within about that many seconds, as `poe bench` takes it."""
    action()
    start = time.process_time()
    action()
    repeats = max(1, int(budget / 5 / max(time.process_time() - start, 1e-7)))
    best = float("inf")
    for _ in range(5 if repeats > 1 else 2):
        start = time.process_time()
        for _ in range(repeats):
            action()
        best = min(best, (time.process_time() - start) / repeats)
    return best


def points(case, n):
    return torch.randint(case.values, (n, case.d)).float() if case.values else torch.randn(n, case.d)


def torch_rates(case, n, draws):
    x = points(case, n)

    def value():
        with torch.no_grad():
            case.log_density(x)

    def gradient():
        at = x.clone().requires_grad_(True)
        torch.autograd.grad(case.log_density(at).sum(), at)

    def draw():
        with torch.no_grad():
            case.draw(n)
    return {"values": n / seconds(value), "grads": None if case.values else n / seconds(gradient),
            "draws": n / (case.passes * seconds(draw)) if draws else None}


def poe_rates(program, n, draws):
    seen = poe(program, "bench", "m.poe", "a", "--rows", n, "--peer", "none", *(["--draws"] if draws else []))
    return {"values": seen["rows_per_second"], "grads": seen["gradient_rows_per_second"],
            "draws": seen.get("draws_per_second")}


def agree(program, case):
    x = points(case, 5)
    np.save("x.npy", x.numpy().astype(float))
    ours = np.array(poe(program, "score", "m.poe", "a", "--data", "x.npy")["log_density"])
    with torch.no_grad():
        theirs = case.log_density(x).numpy()
    if not np.allclose(ours, theirs, rtol=1e-4, atol=1e-3):
        raise SystemExit(f"{case.what}: log-densities differ: {ours} and {theirs}")


def measure(program, name, rows, rounds, line):
    torch.manual_seed(1)
    case = FAMILIES[name]()
    for p in case.log_density.__closure__ or ():  # weights want no gradient, as in a sampler
        if isinstance(p.cell_contents, nn.Module):
            p.cell_contents.requires_grad_(False)
    with open("m.poe", "w", encoding="utf-8") as file:
        file.write(case.program)
    agree(program, case)
    for n in rows:
        draws = case.draw is not None and n <= case.draw_rows
        seen = [(poe_rates(program, n, draws), torch_rates(case, n, draws)) for _ in range(rounds)]
        cells = []
        for key in ("values", "grads", "draws"):
            pairs = [(o[key], t[key]) for o, t in seen if isinstance(o[key], (int, float)) and t[key]]
            cells += [statistics.median(o for o, _ in pairs), statistics.median(o / t for o, t in pairs)] if pairs \
                else [None, None]
        line(name, n, cells, case.what)


def main():
    parser = argparse.ArgumentParser(description="poe's neural families beside PyTorch")
    parser.add_argument("program", nargs="?", default=default_program)
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--rows", default="1,64,1024")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--markdown", action="store_true", help="print a table for README.md")
    options = parser.parse_args()
    program, rows = os.path.abspath(options.program), [int(n) for n in options.rows.split(",")]
    head = ["family", "rows", "values/s", "x", "grads/s", "x", "draws/s", "x"]

    def line(name, n, cells, what):
        shown = [name, str(n)] + ["-" if c is None else f"{c:.2f}" if i % 2 else f"{c:.3g}" if c < 100 else f"{c:.0f}"
                                  for i, c in enumerate(cells)]
        say("| " + " | ".join(shown) + " |" if options.markdown else
            "{:>11} {:>5} {:>10} {:>6} {:>10} {:>6} {:>10} {:>6}".format(*shown)
            + (f"   {what}" if n == rows[0] else ""))
    if options.markdown:
        say("| " + " | ".join(head) + " |")
        say("|---|" + "---:|" * 7)
    else:
        say("{:>11} {:>5} {:>10} {:>6} {:>10} {:>6} {:>10} {:>6}".format(*head))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name in options.families.split(","):
            measure(program, name, rows, options.rounds, line)
        os.chdir("/")
    say(f"one thread each; medians of {options.rounds} paired rounds; PyTorch {torch.__version__}; x: poe over PyTorch")


if __name__ == "__main__":
    main()
