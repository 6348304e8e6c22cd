#!/usr/bin/env python3
"""Trains and measures the two-dimensional experts: under a minute on one CPU thread, no data needed.

    /usr/bin/python3 models/shapes2d/train.py [--out DIR]

grid.safetensors      a 5 x 5 Gaussian mixture, written down, not trained.
moons.safetensors     energies of two networks 2-64-64-1, by noise-contrastive estimation (Gutmann and Hyvarinen 2010,
circle.safetensors    eq. 8) with the noise N(0, 2^2 I): the logistic classifier's logit l(x) then tends to
                      log p(x) - log N(x; 0, 2^2 I), so the energy E = -l is a *residual*, and the expert is
                          gaussian(x | mean=0, sd=2) * energy(x | file=...)          with log Z near 0.
                      A bare silu network grows at most linearly, so the Gaussian confines every such product.
metrics.json          how near each network is to the density it learnt (known here), and reference values of the
                      compositions in shapes2d.poe: log Z, mean and covariance by Gauss-Legendre quadrature.
"""
import argparse
import json
import math
import os
import sys

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "common"))
import safetensors  # noqa: E402

SEED = 31
BASE_SD = 2.0
MOONS_SD = 0.12
CIRCLE_RADIUS, CIRCLE_SD = 1.0, 0.1
GRID_SIDE, GRID_STEP, GRID_SD = 5, 1.0, 0.15
META = {"poe.format": "1", "poe.license": "MIT", "poe.trained_on": "synthetic, by models/shapes2d/train.py"}


# --------------------------------------------------------------------------------------- what the networks learn


def moons_arc(t):
    """t [...] in [0, 2 pi) -> [..., 2]: the upper half circle for t < pi, then the lower one, shifted."""
    upper = np.stack([np.cos(t), np.sin(t)], -1)
    lower = np.stack([1 - np.cos(t - np.pi), 0.5 - np.sin(t - np.pi)], -1)
    return np.where((t < np.pi)[..., None], upper, lower) - [0.5, 0.25]


def circle_arc(t):
    return CIRCLE_RADIUS * np.stack([np.cos(t), np.sin(t)], -1)


def smoothed_log_density(x, arc, sd, nodes=600):
    """log of the arc's uniform distribution convolved with N(0, sd^2 I), at x [n, 2], by the midpoint rule."""
    centres = arc((np.arange(nodes) + 0.5) * 2 * np.pi / nodes)
    out = []
    for part in np.array_split(x, max(1, len(x) // 2000)):
        square = ((part[:, None, :] - centres) ** 2).sum(2)
        out.append(np.logaddexp.reduce(-square / (2 * sd**2), 1))
    return np.concatenate(out) - math.log(nodes) - math.log(2 * math.pi * sd**2)


def base_log_density(x):
    return -(x**2).sum(1) / (2 * BASE_SD**2) - math.log(2 * math.pi * BASE_SD**2)


def train_energy(arc, sd, path, steps=8000, size=1000):
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    net = nn.Sequential(nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, 1e-5)
    for step in range(steps):
        real = arc(rng.uniform(0, 2 * np.pi, size)) + sd * rng.standard_normal((size, 2))
        noise = BASE_SD * rng.standard_normal((size, 2))
        energy = net(torch.from_numpy(np.concatenate([real, noise]).astype(np.float32)))[:, 0]
        loss = F.softplus(energy[:size]).mean() + F.softplus(-energy[size:]).mean()  # logit = -energy
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 2000 == 1999:
            print(f"{os.path.basename(path)}: step {step + 1}, loss {loss.item():.4f}", flush=True)
    tensors = {f"net.{k}": v.detach().numpy() for k, v in net.state_dict().items()}
    meta = {**META, "poe.family": "energy", "poe.input": [2], "poe.layers": safetensors.mlp_layers("net", 3, "silu")}
    meta["poe.note"] = "a residual: multiply it by gaussian(x | mean=0, sd=2)"
    safetensors.save(path, tensors, meta)


def write_grid(path):
    axis = (np.arange(GRID_SIDE) - GRID_SIDE // 2) * GRID_STEP
    means = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    tensors = {
        "weights": np.full(len(means), 1 / len(means)),
        "means": means,
        "sds": np.full(means.shape, GRID_SD),
    }
    meta = {**META, "poe.family": "gmm", "poe.trained_on": "nothing", "poe.note": "5 x 5 grid, spacing 1, sd 0.15"}
    safetensors.save(path, tensors, meta)


# -------------------------------------------------------------------------------------------------- quadrature


def plane(low=-14.0, high=14.0, panel=0.25, order=10):
    """Gauss-Legendre on square panels: points [n, 2], weights [n].  Multiples of `panel` fall between panels, so a box
    with such edges is integrated without error from its edge."""
    node, weight = np.polynomial.legendre.leggauss(order)
    left = np.arange(low, high, panel)
    x = (left[:, None] + panel * (node + 1) / 2).ravel()
    w = np.tile(weight * panel / 2, len(left))
    points = np.stack(np.meshgrid(x, x, indexing="ij"), -1).reshape(-1, 2)
    return points, np.outer(w, w).ravel()


def moments(log_density, points, weights):
    top = log_density.max()
    mass = np.exp(log_density - top) * weights
    z = mass.sum()
    mean = mass @ points / z
    delta = points - mean
    return {"log_z": top + math.log(z), "mean": mean.tolist(), "cov": ((mass[:, None] * delta).T @ delta / z).tolist()}


def experts(folder, x):
    """Every expert of shapes2d.poe at x [n, 2], float64: name -> log density [n] as the file writes it."""
    out = {"base": base_log_density(x)}
    radius = np.hypot(x[:, 0], x[:, 1])
    out["ring"] = -((radius - 1) ** 2) / (2 * 0.1**2)
    out["near_ring"] = np.log(0.02 + np.exp(-((radius - 1) ** 2) / (2 * 0.3**2)))
    inside = (x[:, 0] >= 0) & (x[:, 0] <= 2) & (np.abs(x[:, 1]) <= 2)
    out["box"] = np.where(inside, -math.log(8), -np.inf)
    tensors, _ = safetensors.load(os.path.join(folder, "grid.safetensors"))
    grid = np.full(len(x), -np.inf)
    for w, m, s in zip(*(tensors[k] for k in ("weights", "means", "sds"))):
        grid = np.logaddexp(grid, np.log(w) - (((x - m) / s) ** 2).sum(1) / 2 - np.log(2 * math.pi * s.prod()))
    out["grid"] = grid
    for name in ("moons", "circle"):
        net = safetensors.Program(os.path.join(folder, f"{name}.safetensors"), np.float64)
        with torch.no_grad():
            energy = torch.cat([net(part)[:, 0] for part in torch.from_numpy(x).split(50_000)]).numpy()
        out[name] = out["base"] - energy
    return out


def compositions(e, points, weights):
    """name -> log density of each composition of shapes2d.poe at the quadrature's points."""

    def either(*names):
        normalised = [e[n] - moments(e[n], points, weights)["log_z"] for n in names]
        return np.logaddexp.reduce(normalised, 0) - math.log(len(names))

    return {
        "ring_and_grid": e["ring"] + e["grid"],
        "ring_and_moons": e["ring"] + e["moons"],
        "ring_in_box": e["ring"] + e["box"],
        "moons_and_circle": e["moons"] + e["circle"] - e["base"],
        "ring_or_moons": either("ring", "moons"),
        "any": either("ring", "grid", "moons"),
        "moons_not_ring": e["moons"] - e["near_ring"],
        "grid_not_ring": e["grid"] - 2 * e["near_ring"],
    }


def measure(folder):
    points, weights = plane()
    with np.errstate(divide="ignore"):
        e = experts(folder, points)
        metrics = {"quadrature": "Gauss-Legendre, order 10 on panels of 1/4 over [-14, 14]^2, float64", "networks": {}}
        for name, arc, sd in (("moons", moons_arc, MOONS_SD), ("circle", circle_arc, CIRCLE_SD)):
            rng = np.random.default_rng(SEED + 1)
            probe = arc(rng.uniform(0, 2 * np.pi, 20_000)) + sd * rng.standard_normal((20_000, 2))
            log_z = moments(e[name], points, weights)["log_z"]
            true = smoothed_log_density(probe, arc, sd)
            model = experts(folder, probe)[name] - log_z
            metrics["networks"][name] = {
                "log_z_with_base": log_z,
                "held_out_log_likelihood_nats": model.mean(),
                "held_out_log_likelihood_of_truth": true.mean(),
                "kl_from_truth_nats": (true - model).mean(),
            }
        metrics["experts"] = {k: moments(v, points, weights) for k, v in e.items() if k != "near_ring"}
        metrics["compositions"] = {k: moments(v, points, weights) for k, v in compositions(e, points, weights).items()}
        s = 0.1  # closed form of the ring's mass, as a check of the quadrature
        tail = math.erf(1 / (s * math.sqrt(2)))
        ring = 2 * math.pi * (s * math.sqrt(math.pi / 2) * (1 + tail) + s**2 * math.exp(-1 / (2 * s**2)))
        metrics["ring_log_z_closed_form"] = math.log(ring)
    with open(os.path.join(folder, "metrics.json"), "w") as out:
        json.dump(metrics, out, indent=1)
        out.write("\n")


def main():
    parser = argparse.ArgumentParser(description="Trains the weight files of models/shapes2d.")
    parser.add_argument("--out", default=HERE, help="folder for the weight files (default: this one)")
    parser.add_argument("--measure-only", action="store_true", help="only rewrite metrics.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if not arguments.measure_only:
        write_grid(os.path.join(arguments.out, "grid.safetensors"))
        train_energy(moons_arc, MOONS_SD, os.path.join(arguments.out, "moons.safetensors"))
        train_energy(circle_arc, CIRCLE_SD, os.path.join(arguments.out, "circle.safetensors"))
    measure(arguments.out)


if __name__ == "__main__":
    main()
