#!/usr/bin/env python3
"""Trains every weight file of this folder from the sprites.  CPU, one thread, about half an hour.

    /usr/bin/python3 models/sprites/train.py --data DIR [--out DIR] [--scratch DIR] [--stage NAME ...]

DIR holds minisprites.npz (data.py).  Stages run in the order decoder, concepts, evaluate; each has its own seed,
so that one can be repeated alone.

decoder   five standard normal numbers to an image, by cross-entropy.  Each number says one factor: its range is cut
          into parts of equal probability, one for each value, and a sprite is shown at random points of its cell.
          Nothing but this network knows which number says what.
concepts  one network with a head for each factor, by cross-entropy, on sprites and on what the decoder makes of random
          latents: images that are a sprite (pixel by pixel, at the threshold 1/2) have its labels, those that are none
          have all labels alike.  Labels are smoothed by SMOOTH, which bounds what a concept can veto.
"""
import argparse
import math
import os
import sys
import tempfile
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, os.pardir, "common")]
import data  # noqa: E402
import safetensors  # noqa: E402

LATENT = 5
STEEP = 100.0
MARGIN = 0.02
STEPS = (8000, 4000)
SMOOTH = 1e-3
SEEDS = {"decoder": 301, "concepts": 303}
PROVENANCE = {"poe.format": "1", "poe.license": "MIT", "poe.data": "procedural sprites"}
STARTED = time.time()


def say(text):
    print(f"[{time.time() - STARTED:6.0f} s] {text}", flush=True)


def mlp(*widths):
    layers = []
    for i, (a, b) in enumerate(zip(widths, widths[1:])):
        layers += [nn.Linear(a, b)] + ([nn.SiLU()] if i + 2 < len(widths) else [])
    return nn.Sequential(*layers)


def arrays(module, prefix):
    return {f"{prefix}.{k}": v.detach().numpy() for k, v in module.state_dict().items()}


def set_rate(optimiser, peak, step, steps):
    """Linear warm-up over the first twentieth, then a cosine down to a hundredth of the peak."""
    t = step / steps
    rate = peak * min(1.0, t / 0.05 + 0.01) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * t)))
    for group in optimiser.param_groups:
        group["lr"] = rate


# ---------------------------------------------------------------------------------------------- decoder and prior


def quantile(share):
    """The standard normal's."""
    return math.sqrt(2) * torch.erfinv((2 * share - 1).clamp(-1 + 1e-6, 1 - 1e-6))


def place(sprites, rows):
    """z [n, LATENT]: a random point of the cell of the standard normal where each of the sprites belongs."""
    share = []
    for number, of in latents(sprites):
        inside = MARGIN + (1 - 2 * MARGIN) * torch.rand(len(rows))
        share.append((torch.from_numpy(number[rows]) + inside) / of)
    return quantile(torch.stack(share, 1))


def latents(sprites):
    """What each latent says, and how many values it has."""
    return [(sprites.factor[name], len(values)) for name, values in data.FACTORS.items()] + [(sprites.orientation, 8)]


def stairs():
    """The first layer at the start: a unit for each border between two values of a latent; sigmoid makes it a step."""
    of = [len(values) for values in data.FACTORS.values()] + [8]
    weight, bias = [], []
    for j, k in enumerate(of):
        for border in quantile(torch.arange(1, k) / k):
            weight.append(STEEP * F.one_hot(torch.tensor(j), LATENT).float())
            bias.append(-STEEP * border)
    layer = nn.Linear(LATENT, len(bias))
    with torch.no_grad():
        layer.weight.copy_(torch.stack(weight))
        layer.bias.copy_(torch.stack(bias))
    return layer


def fit_decoder(decoder, sprites, known, steps, peak, batch=128):
    optimiser = torch.optim.Adam(decoder.parameters(), peak)
    x = torch.from_numpy(sprites.x)
    total = 0.0
    for step in range(steps):
        set_rate(optimiser, peak, step, steps)
        rows = known[torch.randint(len(known), (batch,)).numpy()]
        loss = F.binary_cross_entropy_with_logits(decoder(place(sprites, rows)), x[rows], reduction="sum") / batch
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        total += loss.item()
        if step % 250 == 249:
            say(f"decoder: step {step + 1}, miss {total / 250:.2f}")
            total = 0.0


def train_decoder(sprites, out, scratch):
    """First without the held-out sprites, for their sake; then, with steeper stairs, on all."""
    torch.manual_seed(SEEDS["decoder"])
    first = stairs()
    decoder = nn.Sequential(first, nn.Sigmoid(), *mlp(first.out_features, 512, 512, data.SIDE**2))
    path = os.path.join(scratch, "decoder.pt")
    if not os.path.exists(path):
        fit_decoder(decoder, sprites, np.flatnonzero(~sprites.held_out), STEPS[0], 2e-3)
        torch.save(decoder.state_dict(), path)
    decoder.load_state_dict(torch.load(path))
    with torch.no_grad():
        first.weight *= 4
        first.bias *= 4
    torch.manual_seed(SEEDS["decoder"] + 1)
    fit_decoder(decoder, sprites, np.arange(len(sprites.x)), STEPS[1], 1.5e-3)
    layers = safetensors.mlp_layers("decoder", 4, "silu", "sigmoid")
    layers[1] = {"op": "sigmoid"}
    meta = {**PROVENANCE, "poe.family": "decoder", "poe.input": [LATENT], "poe.layers": layers}
    meta["poe.note"] = "latent to 32 x 32 image, row by row, ink in [0, 1]"
    tensors = safetensors.shrink(arrays(decoder, "decoder"))
    safetensors.save(os.path.join(out, "decoder.safetensors"), tensors, meta)


# ---------------------------------------------------------------------------------------------- concepts


def soften(x):
    """x [n, 1024] -> images blurred by random amounts, and with a little noise; no label changes."""
    image = x.reshape(-1, 1, data.SIDE, data.SIDE)
    kernel = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]).reshape(1, 1, 3, 3) / 16
    image = torch.lerp(image, F.conv2d(image, kernel, padding=1), 0.6 * torch.rand(len(x), 1, 1, 1))
    return (image + 0.05 * torch.randn_like(image)).clamp(0, 1).flatten(1)


def targets(labels, known):
    """{factor: labels [n]}, known: bool [n] -> {factor: smoothed probabilities [n, k]}, uniform where not known"""
    out = {}
    for name, values in data.FACTORS.items():
        k = len(values)
        hot = F.one_hot(torch.from_numpy(labels[name]), k).float() * (1 - SMOOTH) + SMOOTH / k
        out[name] = torch.where(torch.from_numpy(known)[:, None], hot, torch.full_like(hot, 1 / k))
    return out


def head_loss(logits, truth):
    """Cross-entropy, summed over the heads."""
    parts = torch.split(logits, [len(v) for v in data.FACTORS.values()], 1)
    return sum(-(truth[name] * F.log_softmax(part, 1)).sum(1).mean() for name, part in zip(data.FACTORS, parts))


def drawn_examples(sprites, out, count):
    """Images that the decoder, as written, makes of draws: (images, targets)"""
    decoder = safetensors.Program(os.path.join(out, "decoder.safetensors"))
    with torch.no_grad():
        image = decoder(torch.randn(count, LATENT)).numpy()
    row, gap = data.Exact(sprites).nearest(image)
    say(f"concepts: {(gap == 0).mean():.3f} of the prior's draws are sprites, pixel by pixel")
    return torch.from_numpy(image), targets({n: v[row] for n, v in sprites.factor.items()}, gap == 0)


def train_concepts(sprites, out, steps=6000, batch=128):
    torch.manual_seed(SEEDS["concepts"])
    x = torch.from_numpy(sprites.x)
    truth = targets(sprites.factor, np.ones(len(x), bool))
    drawn, drawn_truth = drawn_examples(sprites, out, 60_000)
    net = mlp(data.SIDE**2, 256, 128, sum(len(v) for v in data.FACTORS.values()))
    optimiser = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=0.02)
    total = 0.0
    for step in range(steps):
        set_rate(optimiser, 2e-3, step, steps)
        a, b = torch.randint(len(x), (batch // 2,)), torch.randint(len(drawn), (batch,))
        seen = torch.cat([soften(x[a]), drawn[b]])
        loss = head_loss(net(seen), {n: torch.cat([truth[n][a], drawn_truth[n][b]]) for n in truth})
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        total += loss.item()
        if step % 1000 == 999:
            say(f"concepts: step {step + 1}, loss {total / 1000:.4f}")
            total = 0.0
    layers = safetensors.mlp_layers("net", 3, "silu")
    meta = {**PROVENANCE, "poe.family": "classifier", "poe.input": [data.SIDE**2], "poe.layers": layers}
    heads = [{"name": name, "kind": "softmax", "labels": list(values)} for name, values in data.FACTORS.items()]
    meta.update({"poe.heads": heads, "poe.note": f"labels smoothed by {SMOOTH:g}; what is no sprite has all alike"})
    path = os.path.join(out, "concepts.safetensors")
    safetensors.save(path, safetensors.shrink(arrays(net, "net")), meta)


def main():
    stages = ("decoder", "concepts", "evaluate")
    parser = argparse.ArgumentParser(description="Trains the weight files of models/sprites.")
    parser.add_argument("--data", required=True, help="folder with minisprites.npz")
    parser.add_argument("--out", default=HERE, help="folder for the weight files (default: this one)")
    parser.add_argument("--scratch", default=os.path.join(tempfile.gettempdir(), "poe-sprites"))
    parser.add_argument("--poe", default="poe", help="the command that `evaluate` measures with")
    parser.add_argument("--stage", action="append", choices=stages, help="only this stage (repeatable)")
    arguments = parser.parse_args()
    os.makedirs(arguments.scratch, exist_ok=True)
    torch.set_num_threads(1)
    sprites = data.Sprites(arguments.data)
    wanted = arguments.stage or stages
    if "decoder" in wanted:
        train_decoder(sprites, arguments.out, arguments.scratch)
    if "concepts" in wanted:
        train_concepts(sprites, arguments.out)
    if "evaluate" in wanted:
        import evaluate

        evaluate.main(sprites, arguments.out, arguments.poe)
    say("done")


if __name__ == "__main__":
    main()
