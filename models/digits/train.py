#!/usr/bin/env python3
"""Trains every weight file of this folder from the MNIST files.  CPU, one thread, about half an hour.

    /usr/bin/python3 models/digits/train.py --data DIR [--out DIR] [--scratch DIR] [--stage NAME ...]

DIR holds the four gzipped idx files of MNIST; the concepts are measured on their pixels (data.py).  Stages run in the
order decoder, prior, experts, judge, fingerprint, evaluate; each has its own seed, so that one can be repeated
alone.  The encoder is not shipped: it stays in the scratch folder, where the later stages find it.

decoder      a variational autoencoder (Kingma and Welling 2014, eq. 3) with the Bernoulli likelihood on grey levels
             and a weight BETA on the divergence: first under the prior N(0, I), then under the mixture that is
             fitted to its own aggregated posterior, so that prior and decoder meet.
prior        that mixture: full covariances, fitted by EM class by class, pooled with the classes' frequencies.
experts      one network per concept, l(x), by cross-entropy; shipped as the energy of a floored probability
                 E(x) = -log p_eps(x),   p_eps = eps + (1 - eps) sigmoid(l),   eps = exp(-FLOOR)
                      = softplus(-l) - softplus(-l - FLOOR),                   0 <= E <= FLOOR.
             The floor keeps a quotient proper and bounds what one expert can veto.
judge        a small convolutional network on half B: another architecture, another half, another seed.  It never
             sees a reconstruction, a draw or an expert.
fingerprint  random projections of half A: distances to the nearest training image without shipping one.
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

LATENT = 16
BETA = 0.5
PER_CLASS = 15  # mixture components per digit class
FLOOR = 8.0
SEEDS = {"decoder": 101, "prior": 102, "experts": 103, "judge": 904, "fingerprint": 105}
PROVENANCE = {
    "poe.format": "1",
    "poe.license": "MIT",
    "poe.data": "MNIST (Y. LeCun, C. Cortes, C. Burges)",
}
STARTED = time.time()


def say(text):
    print(f"[{time.time() - STARTED:6.0f} s] {text}", flush=True)


def mlp(*widths, activation=nn.SiLU):
    layers = []
    for i, (a, b) in enumerate(zip(widths, widths[1:])):
        layers += [nn.Linear(a, b)] + ([activation()] if i + 2 < len(widths) else [])
    return nn.Sequential(*layers)


def arrays(module, prefix):
    return {f"{prefix}.{k}": v.detach().numpy() for k, v in module.state_dict().items()}


def batches(n, size, rng):
    order = rng.permutation(n)
    for i in range(0, n - size + 1, size):
        yield torch.from_numpy(order[i : i + size])


def set_rate(optimiser, peak, step, steps):
    """Linear warm-up over the first twentieth, then a cosine down to a hundredth of the peak."""
    t = step / steps
    rate = peak * min(1.0, t / 0.05 + 0.01) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * t)))
    for group in optimiser.param_groups:
        group["lr"] = rate


# ---------------------------------------------------------------------------------------------- decoder and prior


class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = mlp(784, 512, 512, 2 * LATENT)
        self.decoder = mlp(LATENT, 512, 512, 784)

    def posterior(self, x):
        mean, log_sd = self.encoder(x).chunk(2, 1)
        return mean, log_sd.clamp(-7, 3)


def posterior_sample(model, x, rng, times=1):
    """numpy [times * n, LATENT] from q(z | x)."""
    with torch.no_grad():
        mean, log_sd = model.posterior(torch.from_numpy(x))
    mean, sd = mean.numpy(), log_sd.exp().numpy()
    return np.concatenate([mean + sd * rng.standard_normal(mean.shape) for _ in range(times)])


def decoded(model, z):
    """numpy z [n, LATENT] -> numpy images [n, 784]."""
    with torch.no_grad():
        return torch.cat([torch.sigmoid(model.decoder(part)) for part in torch.from_numpy(z).split(5000)]).numpy()


class Gmm:
    """k Gaussians with full covariances, by EM (Dempster, Laird, Rubin 1977), float64."""

    RIDGE = 1e-3

    def __init__(self, weights, means, covs):
        self.weights, self.means, self.covs = weights, means, covs

    @staticmethod
    def start(z, k, rng):
        means = z[rng.choice(len(z), k, replace=False)]
        return Gmm(np.full(k, 1 / k), means, np.repeat(np.diag(z.var(0))[None] * 0.5, k, 0))

    def joint(self, z):
        """log weights[k] N(z; k), [n, k]."""
        out = np.empty((len(z), len(self.weights)))
        for j, (w, m, c) in enumerate(zip(self.weights, self.means, self.covs)):
            factor = np.linalg.cholesky(c)
            white = np.linalg.solve(factor, (z - m).T)
            log_det = np.log(np.diag(factor)).sum()
            out[:, j] = np.log(w) - log_det - 0.5 * len(m) * math.log(2 * math.pi) - 0.5 * (white**2).sum(0)
        return out

    def step(self, z):
        joint = self.joint(z)
        share = np.exp(joint - np.logaddexp.reduce(joint, 1, keepdims=True))
        mass = share.sum(0) + 1e-9
        self.weights = mass / mass.sum()
        self.means = (share.T @ z) / mass[:, None]
        for j in range(len(mass)):
            delta = z - self.means[j]
            self.covs[j] = (share[:, j, None] * delta).T @ delta / mass[j] + self.RIDGE * np.eye(z.shape[1])


def fit_classes(z, digit, rng, steps, old=None):
    """A mixture per digit class (warm-started from `old`)."""
    out = []
    for c in range(10):
        rows = z[digit == c].astype(np.float64)
        gmm = old[c] if old else Gmm.start(rows, PER_CLASS, rng)
        for _ in range(steps):
            gmm.step(rows)
        out.append(gmm)
    return out


def pool(classes, digit):
    share = np.bincount(digit, minlength=10) / len(digit)
    return Gmm(
        np.concatenate([s * g.weights for s, g in zip(share, classes)]),
        np.concatenate([g.means for g in classes]),
        np.concatenate([g.covs for g in classes]),
    )


class FixedMixture:
    """log density of a pooled mixture as torch float32, for the decoder's second phase."""

    def __init__(self, gmm):
        factors = np.linalg.cholesky(gmm.covs)
        whiten = np.linalg.inv(factors)
        self.whiten = torch.from_numpy(whiten.reshape(-1, LATENT).astype(np.float32))  # [k * d, d]
        self.shift = torch.from_numpy(np.einsum("kij,kj->ki", whiten, gmm.means).astype(np.float32))
        log_det = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(1)
        constant = np.log(gmm.weights) - log_det - 0.5 * LATENT * math.log(2 * math.pi)
        self.constant = torch.from_numpy(constant.astype(np.float32))

    def log_density(self, z):
        white = (z @ self.whiten.T).reshape(len(z), *self.shift.shape) - self.shift
        return torch.logsumexp(self.constant - 0.5 * (white**2).sum(2), 1)


def train_decoder(half, out, scratch, epochs=(45, 25)):
    torch.manual_seed(SEEDS["decoder"])
    rng = np.random.default_rng(SEEDS["decoder"])
    model = Autoencoder()
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    x = torch.from_numpy(half.x)
    total = sum(epochs) * (len(x) // 200)
    step, classes, mixture = 0, None, None
    for epoch in range(sum(epochs)):
        if epoch >= epochs[0]:
            z = posterior_sample(model, half.x, rng)
            classes = fit_classes(z, half.digit, rng, 2 if classes else 15, classes)
            mixture = FixedMixture(pool(classes, half.digit))
        sums = np.zeros(2)
        for rows in batches(len(x), 200, rng):
            set_rate(optimiser, 1.5e-3, step, total)
            step += 1
            # A little noise at the encoder's door, so that it does not learn the training images by heart.
            mean, log_sd = model.posterior(x[rows] + 0.1 * torch.randn(len(rows), 784))
            noise = torch.randn_like(mean)
            z = mean + log_sd.exp() * noise
            miss = F.binary_cross_entropy_with_logits(model.decoder(z), x[rows], reduction="sum") / len(rows)
            if mixture is None:
                kl = 0.5 * (mean**2 + (2 * log_sd).exp() - 1 - 2 * log_sd).sum(1).mean()
            else:
                log_q = -(0.5 * noise**2 + log_sd).sum(1) - 0.5 * LATENT * math.log(2 * math.pi)
                kl = (log_q - mixture.log_density(z)).mean()
            optimiser.zero_grad()
            (miss + BETA * kl).backward()
            optimiser.step()
            sums += [miss.item(), kl.item()]
        if epoch % 5 == 4:
            miss, kl = sums * 200 / len(x)
            say(f"decoder: epoch {epoch + 1}, miss {miss:.2f}, divergence {kl:.2f}")
    torch.save(model.state_dict(), os.path.join(scratch, "autoencoder.pt"))
    layers = safetensors.mlp_layers("decoder", 3, "silu", "sigmoid")
    meta = {**PROVENANCE, "poe.family": "decoder", "poe.input": [LATENT], "poe.layers": layers}
    meta["poe.note"] = "latent to 28x28 image, row by row, ink in [0,1]; trained on half A"
    path = os.path.join(out, "decoder.safetensors")
    safetensors.save(path, safetensors.shrink(arrays(model.decoder, "decoder")), meta)


def load_autoencoder(scratch):
    model = Autoencoder()
    model.load_state_dict(torch.load(os.path.join(scratch, "autoencoder.pt")))
    return model.eval()


def fit_prior(half, out, scratch):
    rng = np.random.default_rng(SEEDS["prior"])
    z = posterior_sample(load_autoencoder(scratch), half.x, rng, times=3)
    digit = np.tile(half.digit, 3)
    gmm = pool(fit_classes(z, digit, rng, 40), half.digit)
    tensors = {"weights": gmm.weights, "means": gmm.means, "covs": 0.5 * (gmm.covs + gmm.covs.transpose(0, 2, 1))}
    tensors = {k: v.astype(np.float32) for k, v in tensors.items()}
    meta = {**PROVENANCE, "poe.family": "gmm", "poe.note": "prior over the decoder's latent, fitted to half A"}
    safetensors.save(os.path.join(out, "prior.safetensors"), tensors, meta)
    say(f"prior: {len(gmm.weights)} components, training log density {np.logaddexp.reduce(gmm.joint(z), 1).mean():.2f}")


# ------------------------------------------------------------------------------------------------ experts and judge


def soften(x, rng):
    """x [n, 784] -> [n, 784], each image blurred by its own random amount."""
    image = torch.from_numpy(x).reshape(-1, 1, 28, 28)
    share = torch.from_numpy(rng.random((len(x), 1, 1, 1), np.float32))
    return ((1 - share) * image + share * F.conv2d(image, data.SOFTEN, padding=1)).reshape(-1, 784).numpy()


def disturb(x, noise):
    """One-pixel shifts and some noise: [n, 784] -> [n, 784] in [0, 1].  None of it changes a label."""
    move = torch.randint(0, 9, (1,)).item()
    image = torch.roll(x.reshape(-1, 28, 28), (move // 3 - 1, move % 3 - 1), (1, 2))
    image = image + noise * torch.rand(len(x), 1, 1) * torch.randn(len(x), 28, 28)
    return image.reshape(-1, 784).clamp(0, 1)


def join(parts, names):
    """Images [n, 784] and truth [n, names] of several parts, as float32 tensors."""
    truth = np.concatenate([np.stack([part.truth[c] for c in names], 1) for part in parts])
    return torch.from_numpy(np.concatenate([part.x for part in parts])), torch.from_numpy(truth.astype(np.float32))


def train_experts(half, thresholds, out, scratch, epochs=10):
    torch.manual_seed(SEEDS["experts"])
    rng = np.random.default_rng(SEEDS["experts"])
    model = load_autoencoder(scratch)
    # Most of what the experts see has been through the autoencoder: such are the images that they will meet.  An
    # attribute is always measured on the image that is shown; the digit of a reconstruction is its source's, and
    # what lies halfway between two different digits' codes is no digit at all.
    z = posterior_sample(model, half.x, rng, times=2).astype(np.float32)
    digit = np.tile(half.digit, 2)
    other = rng.permutation(len(half.x))
    share = rng.uniform(0.4, 0.6, (len(half.x), 1)).astype(np.float32)
    between = (share * z[: len(half.x)] + (1 - share) * z[other])[half.digit != half.digit[other]]
    parts = [half, data.Part(soften(half.x, rng), half.digit, thresholds)]
    parts.append(data.Part(decoded(model, z), digit, thresholds))
    parts.append(data.Part(decoded(model, between), np.full(len(between), -1), thresholds))
    x, truth = join(parts, data.CONCEPTS)
    nets = nn.ModuleList([mlp(784, 256, 128, 1) for _ in data.CONCEPTS])
    optimiser = torch.optim.AdamW(nets.parameters(), 1e-3, weight_decay=0.02)
    step, total = 0, epochs * (len(x) // 250)
    for epoch in range(epochs):
        loss_sum = 0.0
        for rows in batches(len(x), 250, rng):
            set_rate(optimiser, 1.5e-3, step, total)
            step += 1
            seen = disturb(x[rows], 0.1)
            logits = torch.cat([net(seen) for net in nets], 1)
            loss = F.binary_cross_entropy_with_logits(logits, truth[rows], reduction="sum") / len(rows)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            loss_sum += loss.item()
        if epoch % 2 == 1:
            say(f"experts: epoch {epoch + 1}, loss {loss_sum * 250 / len(x):.4f} over {len(nets)} concepts")
    layers = safetensors.mlp_layers("net", 3, "silu") + [{"op": "softplus"}]
    layers.append({"op": "linear", "weight": "difference.weight", "bias": "difference.bias"})
    for concept, net in zip(data.CONCEPTS, nets):
        tensors = arrays(net, "net")
        weight, bias = tensors["net.4.weight"], tensors["net.4.bias"]
        tensors["net.4.weight"] = -np.concatenate([weight, weight])
        tensors["net.4.bias"] = -np.concatenate([bias, bias + FLOOR])
        tensors["difference.weight"] = np.array([[1, -1]])
        tensors["difference.bias"] = np.zeros(1)
        meta = {**PROVENANCE, "poe.family": "energy", "poe.input": [784], "poe.layers": layers}
        meta["poe.note"] = f"energy = -log(eps + (1-eps) p({concept}|x)), eps = exp(-{FLOOR:g}); trained on half A"
        safetensors.save(os.path.join(out, f"{concept}.safetensors"), safetensors.shrink(tensors), meta)


class Judge(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.ModuleList([nn.Conv2d(1, 32, 5, 2, 2), nn.Conv2d(32, 64, 3, 2, 1), nn.Conv2d(64, 64, 3, 2, 1)])
        self.head = nn.ModuleList([nn.Linear(1024, 128), nn.Linear(128, 10 + len(data.ATTRIBUTES))])

    def forward(self, x):
        x = x.reshape(-1, 1, 28, 28)
        for conv in self.conv:
            x = F.relu(conv(x))
        return self.head[1](F.relu(self.head[0](x.flatten(1))))


def train_judge(half, thresholds, out, epochs=14):
    torch.manual_seed(SEEDS["judge"])
    rng = np.random.default_rng(SEEDS["judge"])
    # Blur is all that prepares it for a decoder's images; the attributes are measured on the blurred image.
    x, truth = join([half, data.Part(soften(half.x, rng), half.digit, thresholds)], data.ATTRIBUTES)
    digit = torch.from_numpy(np.tile(half.digit, 2))
    judge = Judge()
    optimiser = torch.optim.AdamW(judge.parameters(), 1e-3, weight_decay=0.02)
    step, total = 0, epochs * (len(x) // 100)
    for epoch in range(epochs):
        loss_sum = 0.0
        for rows in batches(len(x), 100, rng):
            set_rate(optimiser, 2e-3, step, total)
            step += 1
            logits = judge(disturb(x[rows], 0.1))
            loss = F.cross_entropy(logits[:, :10], digit[rows])
            loss = loss + F.binary_cross_entropy_with_logits(logits[:, 10:], truth[rows], reduction="sum") / len(rows)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            loss_sum += loss.item()
        if epoch % 2 == 1:
            say(f"judge: epoch {epoch + 1}, loss {loss_sum * 100 / len(x):.4f}")
    layers = [{"op": "reshape", "shape": [1, 28, 28]}]
    for i, conv in enumerate(judge.conv):
        layers.append({"op": "conv2d", "weight": f"conv.{i}.weight", "bias": f"conv.{i}.bias",
                       "stride": conv.stride[0], "padding": conv.padding[0]})  # fmt: skip
        layers.append({"op": "relu"})
    layers += [{"op": "linear", "weight": "head.0.weight", "bias": "head.0.bias"}, {"op": "relu"},
               {"op": "linear", "weight": "head.1.weight", "bias": "head.1.bias"}]  # fmt: skip
    heads = [{"name": "digit", "kind": "softmax", "labels": list(data.DIGITS)}]
    heads += [{"name": name, "kind": "sigmoid"} for name in data.ATTRIBUTES]
    meta = {**PROVENANCE, "poe.family": "classifier", "poe.input": [784], "poe.layers": layers, "poe.heads": heads}
    meta["poe.note"] = "trained on half B alone; took no part in any expert"
    tensors = {k: v.detach().numpy() for k, v in judge.state_dict().items()}
    safetensors.save(os.path.join(out, "judge.safetensors"), tensors, meta)


# ------------------------------------------------------------------------------------------------------ fingerprint


def make_fingerprint(half, test, out, width=64, held_out=2000):
    """|x P - code scale| / sqrt(width) estimates a Euclidean pixel distance (Johnson and Lindenstrauss 1984)."""
    rng = np.random.default_rng(SEEDS["fingerprint"])
    projection = rng.standard_normal((784, width)).astype(np.float32)
    image = half.x @ projection
    scale = np.float32(np.abs(image).max() / 127)
    codes = np.round(image / scale).astype(np.int8)
    distance = nearest(test.x[:held_out] @ projection, codes, scale)
    np.savez_compressed(os.path.join(out, "fingerprint.npz"), projection=projection, codes=codes,
                        scale=scale, heldout_nearest=distance)  # fmt: skip


def nearest(probe, codes, scale):
    """probe [m, width] -> float32 [m]: distance to the nearest code, in pixel units."""
    codes = codes.astype(np.float32) * scale
    out = []
    for rows in np.array_split(probe, max(1, len(probe) // 500)):
        square = (rows**2).sum(1)[:, None] - 2 * rows @ codes.T + (codes**2).sum(1)
        out.append(np.sqrt(np.maximum(square.min(1), 0) / probe.shape[1]))
    return np.concatenate(out).astype(np.float32)


def main():
    stages = ("decoder", "prior", "experts", "judge", "fingerprint", "evaluate")
    parser = argparse.ArgumentParser(description="Trains the weight files of models/digits.")
    parser.add_argument("--data", required=True, help="folder with the four gzipped idx files of MNIST")
    parser.add_argument("--out", default=HERE, help="folder for the weight files (default: this one)")
    parser.add_argument("--scratch", default=os.path.join(tempfile.gettempdir(), "poe-digits"))
    parser.add_argument("--stage", action="append", choices=stages, help="only this stage (repeatable)")
    arguments = parser.parse_args()
    os.makedirs(arguments.scratch, exist_ok=True)
    torch.set_num_threads(1)
    a, b, test, thresholds = data.load(arguments.data)
    say(f"data: {len(a.x)} + {len(b.x)} training images, {len(test.x)} held out, thresholds {thresholds}")
    wanted = arguments.stage or stages
    if "decoder" in wanted:
        train_decoder(a, arguments.out, arguments.scratch)
    if "prior" in wanted:
        fit_prior(a, arguments.out, arguments.scratch)
    if "experts" in wanted:
        train_experts(a, thresholds, arguments.out, arguments.scratch)
    if "judge" in wanted:
        train_judge(b, thresholds, arguments.out)
    if "fingerprint" in wanted:
        make_fingerprint(a, test, arguments.out)
    if "evaluate" in wanted:
        import evaluate

        evaluate.main(arguments.data, arguments.out, arguments.scratch)
    say("done")


if __name__ == "__main__":
    main()
