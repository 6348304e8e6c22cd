"""Draws and log Z of (flow * cnn)^0.5 and of flow * cnn for the two small models, from two starts.  numpy and torch.

Over the logits y the densities have walls (the noise of a blank pixel ends where the next grey level would begin),
which Hamiltonian chains cross in small steps.  The moves here take no steps.  A chain that leaves flow^a cnn^c as it
is moves by turns
-  some of the flow's noise z, y = T(z): rho z + sqrt(1 - rho^2) noise keeps the standard normal, and hence the flow;
   accepted by what is left, flow^(a - 1) cnn^c (Neal 1999; Cotter, Roberts, Stuart and White 2013);
-  some pixels, drawn anew from what the network says of them given the pixels before them as they are: both ways are
   known from one pass each (Hastings 1970).
How many, and how far, is drawn anew each time.  No gradient is needed, and a third to nearly all moves are accepted.

Chains do not leave the digit that they are at, so they are tempered: a ladder of chains, flow^a cnn^c with exponents
that go from a model that can be drawn to the target, whose neighbours exchange their states, by turns the even and the
odd pairs (Geyer 1991; Syed, Bouchard-Cote, Deligiannidis and Doucet 2022).  The lowest rung is drawn anew in every
round.

`middle`   from the flow by way of (flow * cnn)^0.5 to the network, which is drawn now and then: log Z is 0 at both ends
`product`  from the flow to flow * cnn

Every ladder is started twice: with all its chains at draws of the flow; and at draws of the network that sequential
Monte Carlo (Del Moral, Doucet and Jasra 2006) took down the ladder.  What is claimed has to come out the same; errors
are from ladders, which share nothing but where they start and the network's draws.
"""
import math

import numpy as np
import torch
import torch.nn.functional as F

import nets

LADDERS, ROUNDS = 6, {"middle": 480, "product": 240}  # the first half of the rounds is left out
PARTICLES, MOVES, RAMP = 96, 14, 12  # of annealing; steps from the network to the product
STEPS, POWER = 20, 1.5  # b = 1 - (1 - k / STEPS)^POWER: closer together at the network, which is the farther end
RUNGS = 16  # to the product
FRESH = 12  # rounds from one draw of the network to the next
KEPT = 4  # rounds from one draw of a target to the next
PIXELS, NOISE = 32, 196  # most coordinates of a move


def unspline(value, r):
    """The inverse of nets.spline: (v [n, m], log slope of the spline at v [n, m])."""
    bins, bound, least = nets.BINS, nets.BOUND, nets.LEAST
    inside = (value > -bound) & (value < bound)
    at = value.clamp(-bound, bound)

    def axis(raw):
        size = 2 * bound * (least + (1 - bins * least) * torch.softmax(raw, 1))
        return size, F.pad(torch.cumsum(size, 1), (0, 0, 1, 0)) - bound

    width, x = axis(r[:, :bins])
    height, y = axis(r[:, bins : 2 * bins])
    slope = F.pad(least + F.softplus(r[:, 2 * bins :]), (0, 0, 1, 1), value=1.0)
    k = (at[:, None] >= y[:, 1:-1]).sum(1, keepdim=True)
    w, x0, h, y0 = (g.gather(1, k)[:, 0] for g in (width, x, height, y))
    d0, d1 = slope.gather(1, k)[:, 0], slope.gather(1, k + 1)[:, 0]
    s, u = h / w, (at - y0).clamp(min=0)
    bend = d0 + d1 - 2 * s
    a, b, c = h * (s - d0) + u * bend, h * d0 - u * bend, -s * u
    t = (2 * c / (-b - (b * b - 4 * a * c).clamp(min=0).sqrt())).clamp(0, 1)
    q = t * (1 - t)
    log_slope = 2 * (s / (s + bend * q)).log() + (d1 * t * t + 2 * s * q + d0 * (1 - t) ** 2).log()
    return torch.where(inside, x0 + t * w, value), torch.where(inside, log_slope, torch.zeros_like(value))


def to_noise(flow, y):
    """y [n, 196] -> (z [n, 196] in the order in which the flow splits it off, log flow(y) [n])."""
    t, parts, total = nets.SCALE * y.reshape(-1, 1, 14, 14) + nets.SHIFT, [], y.shape[1] * math.log(nets.SCALE)
    for step in flow.steps:
        if isinstance(step, nets.Split):
            t, noise = t.chunk(2, 1)
            parts.append(noise.flatten(1))
        else:
            t, log_slope = step(t)
            total = total + log_slope
    z = torch.cat([*parts, t.flatten(1)], 1)
    return z, total + nets.Flow.normal(z)


def from_noise(flow, z):
    """The inverse of to_noise, for a flow that splits once: z [n, 196] -> (y [n, 196], log flow(y) [n])."""
    noise, t = (part.reshape(-1, 2, 7, 7) for part in z.chunk(2, 1))
    total = z.shape[1] * math.log(nets.SCALE)
    for step in reversed(flow.steps):
        if isinstance(step, nets.Split):
            t = torch.cat([t, noise], 1)
        elif isinstance(step, nets.Permute):
            t = t[:, np.argsort(step.order).tolist()]
        elif isinstance(step, nets.Squeeze):
            t = F.pixel_shuffle(t, 2)
        else:
            h = t[:, step.kept]
            h = h.flatten(1) if step.kernels is None else h
            h = step.net[2](F.relu(step.net[1](F.relu(step.net[0](h)))))
            value, log_slope = unspline(t[:, step.moved].flatten(1), h.reshape(len(t), nets.PARAMETERS, -1))
            t = t.clone()
            t[:, step.moved] = value.reshape(len(t), -1, *t.shape[2:])
            total = total + log_slope.sum(1)
    return ((t - nets.SHIFT) / nets.SCALE).flatten(1), total + nets.Flow.normal(z)


class Moves:
    """Moves of [n] chains.  A state is a dict of arrays of n rows: `y`, `z`, `flow` and `cnn` (log densities), and the
    network's mixtures `weight` (log), `mean`, `log_sd` [n, 5, 196], which are of t = SCALE y + SHIFT."""

    def __init__(self, flow, cnn, seed):
        self.models, self.generator, self.evaluations = (flow, cnn), torch.Generator().manual_seed(seed), 0
        for model in self.models:
            model.requires_grad_(False)

    def uniform(self, *shape):
        return torch.rand(shape, generator=self.generator)

    def state(self, y=None, z=None):
        """From y, or from z."""
        flow, cnn = self.models
        if z is None:
            z, log_flow = to_noise(flow, y)
        else:
            y, log_flow = from_noise(flow, z)
        self.evaluations += len(y)
        h = cnn.first(nets.SCALE * y.reshape(-1, 1, 14, 14) + nets.SHIFT)
        for block in cnn.blocks:
            h = block(h)
        weight, mean, log_sd = cnn.last[1](F.relu(cnn.last[0](F.relu(h)))).flatten(2).chunk(3, 1)
        out = {"y": y, "z": z, "flow": log_flow, "weight": F.log_softmax(weight, 1), "mean": mean,
               "log_sd": log_sd.clamp(min=cnn.LEAST_LOG_SD)}  # fmt: skip
        out["cnn"] = self.each(out, y).sum(1)
        return out

    @staticmethod
    def each(state, y):
        """The network's log densities of every pixel [n, 196] of y, given the pixels before it in `state`."""
        far = (nets.SCALE * y[:, None] + nets.SHIFT - state["mean"]) * (-state["log_sd"]).exp()
        log_p = state["weight"] - 0.5 * far**2 - state["log_sd"]
        return torch.logsumexp(log_p, 1) - 0.5 * math.log(2 * math.pi) + math.log(nets.SCALE)

    def some(self, n, most):
        """Which coordinates move [n, 196]: between 1 and `most`, small numbers as often as large ones."""
        number = torch.exp(self.uniform(n, 1) * math.log(most))
        return self.uniform(n, 196).argsort(1) < number

    def take(self, state, new, log_odds):
        yes = self.uniform(len(log_odds)).log() < torch.nan_to_num(log_odds, nan=-math.inf)
        kept = {k: torch.where(yes.reshape(-1, *[1] * (v.dim() - 1)), new[k], v) for k, v in state.items()}
        return kept, yes

    def noise(self, state, a, c):
        """Exponents a, c [n].  Where the target is the flow alone all of z is drawn anew."""
        inside = self.some(len(state["z"]), NOISE)
        share = self.uniform(len(inside), 1) ** 2
        exact = ((a == 1) & (c == 0))[:, None]
        inside, share = inside | exact, torch.where(exact, torch.ones_like(share), share)
        fresh = torch.randn(state["z"].shape, generator=self.generator)
        new = self.state(z=torch.where(inside, (1 - share**2).sqrt() * state["z"] + share * fresh, state["z"]))
        return self.take(state, new, (a - 1) * (new["flow"] - state["flow"]) + c * (new["cnn"] - state["cnn"]))

    def pixels(self, state, a, c):
        inside = self.some(len(state["y"]), PIXELS)
        gumbel = -torch.log(-torch.log(self.uniform(*state["weight"].shape).clamp(1e-30)))
        k = (state["weight"] + gumbel).argmax(1, keepdim=True)
        mean, log_sd = (state[name].gather(1, k)[:, 0] for name in ("mean", "log_sd"))
        t = mean + log_sd.exp() * torch.randn(mean.shape, generator=self.generator)
        new = self.state(y=torch.where(inside, (t - nets.SHIFT) / nets.SCALE, state["y"]))
        back = (self.each(new, state["y"]) - self.each(state, new["y"])) * inside
        change = a * (new["flow"] - state["flow"]) + c * (new["cnn"] - state["cnn"])
        return self.take(state, new, change + back.sum(1))

    def exchange(self, state, a, c, levels, odd):
        """Neighbours on ladders of `levels` chains each.  Returns the state, where each row came from, and which of
        the pairs were exchanged."""
        n = len(a)
        low = torch.arange(n)
        low = low[(low % levels % 2 == odd) & (low % levels < levels - 1)]
        gain = sum((e[low] - e[low + 1]) * (state[k][low + 1] - state[k][low]) for k, e in (("flow", a), ("cnn", c)))
        yes = self.uniform(len(low)).log() < gain
        at = torch.arange(n)
        at[low[yes]], at[low[yes] + 1] = low[yes] + 1, low[yes]
        return {k: v[at] for k, v in state.items()}, at, yes


def exponents(target):
    """(a [levels], c [levels], the level that is wanted)."""
    if target == "product":
        c = np.linspace(0, 1, RUNGS)
        return np.ones(RUNGS), c, RUNGS - 1
    b = np.union1d(1 - (1 - np.arange(STEPS + 1) / STEPS) ** POWER, [0.5])
    return 1 - b, b, int(np.searchsorted(b, 0.5))


def descend(moves, target, network):
    """Where the ladders begin [ladders * levels, 196]: draws of the network, taken to the target and down to the
    flow by sequential Monte Carlo; LADDERS of its particles at each level, by weight."""
    a, c, _ = exponents(target)
    path = list(zip(a, c))[::-1]
    if target == "product":
        path = [(t, 1.0) for t in np.arange(RAMP) / RAMP] + path
    state = moves.state(y=torch.from_numpy(network[:PARTICLES].copy()).float())
    log_w, kept = np.zeros(PARTICLES), []
    for last, at in zip(path[:1] + path, path):
        log_w += (at[0] - last[0]) * state["flow"].double().numpy() + (at[1] - last[1]) * state["cnn"].double().numpy()
        w = np.exp(log_w - log_w.max())
        if w.sum() ** 2 / (w * w).sum() < PARTICLES / 2:
            comb = (np.arange(PARTICLES) + moves.uniform(1).numpy()) / PARTICLES
            pick = np.minimum(np.searchsorted(np.cumsum(w) / w.sum(), comb), PARTICLES - 1)
            log_w, state, w = np.zeros(PARTICLES), {k: v[pick] for k, v in state.items()}, np.ones(PARTICLES)
        own = [torch.full((PARTICLES,), float(e)) for e in at]
        for k in range(MOVES):
            state, _ = (moves.pixels if k % 2 else moves.noise)(state, *own)
        comb = (np.arange(LADDERS) + moves.uniform(1).numpy()) / LADDERS
        kept.append(state["y"][np.minimum(np.searchsorted(np.cumsum(w) / w.sum(), comb), PARTICLES - 1)].numpy())
    return np.stack(kept[: -len(a) - 1 : -1], 1).reshape(-1, 196)


def climb(moves, target, start, network, say=print):
    """start [ladders * levels, 196]: where chains begin; network [n, 196]: draws of it.

    Returns the log densities `flow`, `cnn` [rounds, ladders, levels], draws of the target [ladders, kept, 196], the
    share of exchanges [levels - 1], mean acceptances (noise, pixels) of the target's chains, and how many states
    `arrived` at the target's level after they were drawn anew at an end.
    """
    a_level, c_level, wanted = exponents(target)
    levels = len(a_level)
    a, c = (torch.from_numpy(np.tile(e, LADDERS)).float() for e in (a_level, c_level))
    state = moves.state(y=torch.from_numpy(start[: len(a)]).float())
    log_p, draws, accepted, arrived = {"flow": [], "cnn": []}, [], np.zeros(2), 0
    exchanged, tried = np.zeros(levels - 1), np.zeros(levels - 1)
    fresh = np.zeros(len(a), bool)  # was at an end since it was last at the target's level
    rows, top = np.arange(LADDERS) * levels + wanted, torch.arange(LADDERS) * levels + levels - 1
    for k in range(ROUNDS[target]):
        for i, move in enumerate((moves.noise, moves.pixels)):
            state, yes = move(state, a, c)
            accepted[i] += yes[rows].double().mean().item() / ROUNDS[target]
        if target == "middle" and k % FRESH == 0:
            y = network[(np.arange(LADDERS) + k // FRESH * LADDERS) % len(network)]
            new = moves.state(y=torch.from_numpy(y).float())
            for name in state:
                state[name][top] = new[name]
            fresh[top.numpy()] = True
        fresh[::levels] = True
        state, at, yes = moves.exchange(state, a, c, levels, k % 2)
        pairs = np.arange(k % 2, levels - 1, 2)
        exchanged[pairs] += yes.double().reshape(LADDERS, -1).mean(0).numpy()
        tried[pairs] += 1
        fresh = fresh[at.numpy()]
        arrived += int(fresh[rows].sum())
        fresh[rows] = False
        for name in log_p:
            log_p[name].append(state[name].double().numpy().reshape(LADDERS, levels))
        if k >= ROUNDS[target] // 2 and k % KEPT == 0:
            draws.append(state["y"][rows].numpy())
        if k % 20 == 19:
            f, n = (np.array(log_p[name])[-20:, :, wanted].mean() for name in ("flow", "cnn"))
            say(f"  {target} round {k + 1}: flow {f:.1f}, cnn {n:.1f}, {moves.evaluations} evaluations")
    return {**{k: np.array(v) for k, v in log_p.items()}, "draws": np.stack(draws, 1), "exchanged": exchanged / tried,
            "accepted": accepted, "arrived": arrived}  # fmt: skip


def log_ratio(forward, backward):
    """log Z_1 - log Z_0 from log(p_1 / p_0) at draws of p_0 and of p_1: Bennett 1976, equal numbers."""
    low, high = min(forward.min(), backward.min()), max(forward.max(), backward.max())
    for _ in range(60):
        middle = 0.5 * (low + high)
        more = (1 / (1 + np.exp(middle - forward))).sum() - (1 / (1 + np.exp(backward - middle))).sum()
        low, high = (middle, high) if more > 0 else (low, middle)
    return 0.5 * (low + high)


def log_z(found, target, ladders):
    """log Z of every level [levels], from some of the ladders."""
    a, c, _ = exponents(target)
    flow, cnn = (found[name][ROUNDS[target] // 2 :, ladders] for name in ("flow", "cnn"))
    steps = [(a[i + 1] - a[i]) * flow + (c[i + 1] - c[i]) * cnn for i in range(len(a) - 1)]
    return np.cumsum([0] + [log_ratio(s[..., i].ravel(), s[..., i + 1].ravel()) for i, s in enumerate(steps)])


def summary(found, target):
    """Means over the ladders, with standard errors: of ladders for means, by the jackknife for log Z."""
    _, _, wanted = exponents(target)

    def of_ladders(values):
        return [values.mean(), values.std(ddof=1) / math.sqrt(LADDERS)]

    def jackknife(level):
        every = log_z(found, target, range(LADDERS))[level]
        left = np.array([log_z(found, target, [j for j in range(LADDERS) if j != i])[level] for i in range(LADDERS)])
        return [every, math.sqrt((LADDERS - 1) * left.var())]

    flow, cnn = (found[name][:, :, wanted] for name in ("flow", "cnn"))
    late, last = ROUNDS[target] // 2, ROUNDS[target] - ROUNDS[target] // 6
    parts = {"flow": flow, "cnn": cnn, "sum": flow + cnn}
    out = {name: of_ladders(values[late:].mean(0)) for name, values in parts.items()}
    out["sum_in_the_last_sixth"] = of_ladders((flow + cnn)[last:].mean(0))
    out["log_z"] = jackknife(wanted)
    if target == "middle":
        out["log_z_of_the_network_which_is_0"] = jackknife(-1)
    blocks = (flow + cnn).mean(1).reshape(12, -1).mean(1)
    return {**out, "sum_along_the_rounds": blocks, "least_exchanged": found["exchanged"].min(),
            "accepted": found["accepted"], "arrived": int(found["arrived"])}  # fmt: skip
