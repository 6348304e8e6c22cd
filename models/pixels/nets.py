"""The networks of models/pixels in torch, each with its description in poe's file format (docs/MODEL-FORMAT.md).

All of them read t = SCALE y + SHIFT of the logits y: background at about -1, ink at about 2.

Flow         couplings by monotone rational-quadratic splines (Durkan, Bekasov, Murray and Papamakarios 2019) in a
             multi-scale arrangement (Dinh, Sohl-Dickstein and Bengio 2017).  A squeeze puts the four interleaved
             quarters of an image side by side, a b / c d; what is split off is given what is kept, so that
                 p(image) = p(b, c | a, d) p(d | a) p(a)
             and a is an image of half the side, where the same begins again.  What is kept is never transformed
             before the split: every level is a conditional density of its own, trained by its own term.
PixelCnn     masked convolutions (van den Oord, Kalchbrenner and Kavukcuoglu 2016), and for every pixel a mixture of
             Gaussians.
"""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

SCALE, SHIFT = 0.25, 0.6
BINS, BOUND = 8, 4.0
LEAST = 1e-3  # width, height and slope
PARAMETERS = 3 * BINS - 1


def spline(v, r):
    """v [n, m], raw parameters r [n, PARAMETERS, m] -> (T(v) [n, m], log slope [n, m])."""
    inside = (v > -BOUND) & (v < BOUND)
    at = v.clamp(-BOUND, BOUND)

    def axis(raw):
        size = 2 * BOUND * (LEAST + (1 - BINS * LEAST) * torch.softmax(raw, 1))
        return size, F.pad(torch.cumsum(size, 1), (0, 0, 1, 0)) - BOUND  # sizes [n, K, m], knots [n, K + 1, m]

    width, x = axis(r[:, :BINS])
    height, y = axis(r[:, BINS : 2 * BINS])
    slope = F.pad(LEAST + F.softplus(r[:, 2 * BINS :]), (0, 0, 1, 1), value=1.0)
    k = (at[:, None] >= x[:, 1:-1]).sum(1, keepdim=True)
    w, x0, h, y0 = (g.gather(1, k)[:, 0] for g in (width, x, height, y))
    d0, d1 = slope.gather(1, k)[:, 0], slope.gather(1, k + 1)[:, 0]
    s, t = h / w, ((at - x0) / w).clamp(0, 1)
    q = t * (1 - t)
    below = s + (d0 + d1 - 2 * s) * q
    value = y0 + h * (s * t * t + d0 * q) / below
    log_slope = 2 * (s / below).log() + (d1 * t * t + 2 * s * q + d0 * (1 - t) ** 2).log()
    return torch.where(inside, value, v), torch.where(inside, log_slope, torch.zeros_like(v))


class Coupling(nn.Module):
    """Transforms the channels `moved` given all others, by a network of the others."""

    def __init__(self, shape, moved, hidden, kernels):
        """kernels: sides of two convolutions, or None for a dense network."""
        super().__init__()
        channels, height, width = shape
        self.moved, self.kept = list(moved), [c for c in range(channels) if c not in moved]
        a, b = len(self.kept), len(self.moved)
        self.kernels = kernels
        if kernels is None:
            area = height * width
            layers = [nn.Linear(a * area, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, PARAMETERS * b * area)]
        else:
            layers = [nn.Conv2d(a, hidden, kernels[0], padding=kernels[0] // 2),
                      nn.Conv2d(hidden, hidden, kernels[1], padding=kernels[1] // 2),
                      nn.Conv2d(hidden, PARAMETERS * b, 1)]  # fmt: skip
        self.net = nn.ModuleList(layers)
        with torch.no_grad():  # the identity
            self.net[2].weight.mul_(0.01)
            bias = self.net[2].bias.view(PARAMETERS, -1)
            bias.zero_()
            bias[2 * BINS :] = math.log(math.expm1(1 - LEAST))

    def forward(self, t):
        h = t[:, self.kept]
        h = h.flatten(1) if self.kernels is None else h
        h = self.net[2](F.relu(self.net[1](F.relu(self.net[0](h)))))
        v = t[:, self.moved]
        value, log_slope = spline(v.flatten(1), h.reshape(len(t), PARAMETERS, -1))
        out = t.clone()
        out[:, self.moved] = value.reshape(v.shape)
        return out, log_slope.sum(1)

    def describe(self, prefix):
        layers = []
        for i, layer in enumerate(self.net):
            entry = {"op": "conv2d" if self.kernels else "linear", "weight": f"{prefix}.net.{i}.weight",
                     "bias": f"{prefix}.net.{i}.bias"}  # fmt: skip
            if self.kernels and layer.kernel_size[0] > 1:
                entry["padding"] = layer.kernel_size[0] // 2
            layers += [entry] + ([{"op": "relu"}] if i < 2 else [])
        return {"op": "coupling", "transformed": self.moved, "transform": "rqs", "bins": BINS, "bound": BOUND,
                "layers": layers}  # fmt: skip


class Squeeze(nn.Module):
    def forward(self, t):
        return F.pixel_unshuffle(t, 2), 0.0

    def describe(self, prefix):
        return {"op": "squeeze"}


class Permute(nn.Module):
    def __init__(self, order):
        super().__init__()
        self.order = list(order)

    def forward(self, t):
        return t[:, self.order], 0.0

    def describe(self, prefix):
        return {"op": "permute", "permutation": self.order}


class Split(nn.Module):
    """The first half of the channels goes on; the others are standard normal noise."""

    def describe(self, prefix):
        return {"op": "split", "keep": "first"}


class Flow(nn.Module):
    """log p(y) by level: the levels end where a part is split off, and at the end."""

    def __init__(self, steps):
        super().__init__()
        self.steps = nn.ModuleList(steps)

    def levels(self, y):
        """y [n, 1, h, w] -> list of [n], the last of them the coarsest; their sum is log p(y)."""
        t, found = SCALE * y + SHIFT, []
        total = 0.0
        for step in self.steps:
            if isinstance(step, Split):
                t, noise = t.chunk(2, 1)
                found.append(total + self.normal(noise))
                total = 0.0
            else:
                t, log_slope = step(t)
                total = total + log_slope
        return found + [total + self.normal(t) + y[0].numel() * math.log(SCALE)]

    def forward(self, y):
        return sum(self.levels(y))

    @staticmethod
    def normal(z):
        return -0.5 * (z * z + math.log(2 * math.pi)).flatten(1).sum(1)

    def describe(self):
        steps = [step.describe(f"steps.{i}") for i, step in enumerate(self.steps)]
        return [{"op": "affine", "scale": SCALE, "shift": SHIFT}] + steps


def half(hidden, kernels, side):
    """The step from an image to every second pixel of it: [4, side, side] of quarters -> [1, side, side]."""
    wide, narrow, rounds = hidden
    quarters = (4, side, side)
    eighths = (8, side // 2, side // 2)
    return [
        Coupling(quarters, [1, 2], wide, kernels),
        Coupling(quarters, [1], wide, kernels),
        Coupling(quarters, [2], wide, kernels),
        Permute([0, 3, 1, 2]),
        Split(),
        Squeeze(),  # four interleaved parts of a, four of d
        *[Coupling(eighths, [4, 7] if r % 2 == 0 else [5, 6], narrow, (3, 3)) for r in range(rounds)],
        Split(),
    ]


def coarse(hidden, narrow, rounds):
    """The density of an image of 14 x 14, which arrives as its quarters [4, 7, 7]."""
    quarters, pair = (4, 7, 7), (2, 7, 7)
    return [
        Coupling(quarters, [1, 2], narrow, (3, 3)),
        Coupling(quarters, [1], narrow, (3, 3)),
        Coupling(quarters, [2], narrow, (3, 3)),
        Permute([0, 3, 1, 2]),
        Split(),
        *[Coupling(pair, [1 - r % 2], hidden, None) for r in range(rounds)],
    ]


def flow28():
    return Flow([Squeeze(), *half((40, 48, 3), (5, 1), 14), *coarse(128, 48, 6)])


def flow14():
    return Flow([Squeeze(), *coarse(128, 48, 6)])


class MaskedConv(nn.Conv2d):
    """Sees the pixels above, and left of, each pixel; with `itself` that pixel too."""

    def __init__(self, inputs, outputs, side, itself):
        super().__init__(inputs, outputs, side, padding=side // 2)
        mask = torch.ones(side, side)
        mask[side // 2, side // 2 + (1 if itself else 0) :] = 0
        mask[side // 2 + 1 :] = 0
        self.register_buffer("mask", mask)

    def forward(self, x):
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        inner = width // 2
        self.conv = nn.ModuleList([nn.Conv2d(width, inner, 1), MaskedConv(inner, inner, 3, True),
                                   nn.Conv2d(inner, width, 1)])  # fmt: skip

    def forward(self, x):
        h = x
        for conv in self.conv:
            h = conv(F.relu(h))
        return x + h


class PixelCnn(nn.Module):
    COMPONENTS = 5
    LEAST_LOG_SD = -4.0  # of t

    def __init__(self, width=48, blocks=5):
        super().__init__()
        self.first = MaskedConv(1, width, 7, False)
        self.blocks = nn.ModuleList([Block(width) for _ in range(blocks)])
        self.last = nn.ModuleList([nn.Conv2d(width, width, 1), nn.Conv2d(width, 3 * self.COMPONENTS, 1)])
        with torch.no_grad():
            self.last[1].weight.mul_(0.1)
            self.last[1].bias.copy_(torch.tensor([1.0, 1, 0, 0, 0, -1.2, -0.8, 0.5, 1.5, 2.2] + [-1.0] * 5))

    def forward(self, y):
        """y [n, 1, h, w] -> log p(y) [n]."""
        t = SCALE * y + SHIFT
        h = self.first(t)
        for block in self.blocks:
            h = block(h)
        weight, mean, log_sd = self.last[1](F.relu(self.last[0](F.relu(h)))).chunk(3, 1)
        log_sd = log_sd.clamp(min=self.LEAST_LOG_SD)
        each = -0.5 * ((t - mean) * (-log_sd).exp()) ** 2 - log_sd - 0.5 * math.log(2 * math.pi)
        log_p = torch.logsumexp(F.log_softmax(weight, 1) + each, 1)
        return log_p.flatten(1).sum(1) + y[0].numel() * math.log(SCALE)

    def describe(self):
        """(layers, poe.output); the densities in units of y: `arrays` turns the last layer's means and log sds."""

        def conv(name, module):
            entry = {"op": "conv2d", "weight": name + ".weight", "bias": name + ".bias"}
            return {**entry, "padding": module.padding[0]} if module.padding[0] else entry

        layers = [{"op": "affine", "scale": SCALE, "shift": SHIFT}, conv("first", self.first)]
        for i, block in enumerate(self.blocks):
            inner = []
            for k, module in enumerate(block.conv):
                inner += [{"op": "relu"}, conv(f"blocks.{i}.conv.{k}", module)]
            layers.append({"op": "residual", "layers": inner})
        for k, module in enumerate(self.last):
            layers += [{"op": "relu"}, conv(f"last.{k}", module)]
        return layers, {"op": "gaussian_mixture", "components": self.COMPONENTS,
                        "log_scale_min": self.LEAST_LOG_SD - math.log(SCALE)}  # fmt: skip

    def arrays(self):
        """name -> numpy array: masked weights are 0, masks are left out."""
        out = {}
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d):
                weight = module.weight * module.mask if isinstance(module, MaskedConv) else module.weight
                out[name + ".weight"], out[name + ".bias"] = weight.detach().numpy(), module.bias.detach().numpy()
        m = self.COMPONENTS
        weight, bias = out["last.1.weight"].copy(), out["last.1.bias"].copy()
        weight[m : 2 * m] /= SCALE
        bias[m : 2 * m] = (bias[m : 2 * m] - SHIFT) / SCALE
        bias[2 * m :] -= math.log(SCALE)
        return {**out, "last.1.weight": weight, "last.1.bias": bias}
