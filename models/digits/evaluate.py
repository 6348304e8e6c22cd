"""Measures the files of this folder and writes metrics.json.  Called by train.py; everything is read back from disk.

The compositions' reference values are importance sampling in its plainest form: many exact draws z of the prior, each
weighted by the experts' product w(z).  log Z = log mean w; resampling by w gives draws that are exact in the limit.
A sampler's log Z and the judge's counts on its draws can be held against these numbers.
"""
import json
import math
import os

import numpy as np
import torch

import data
import safetensors
import train

DRAWS = 400_000
KEPT = 4000  # resampled draws that the judge sees
CHUNK = 10_000


class Judge:
    def __init__(self, folder):
        self.net = safetensors.Program(os.path.join(folder, "judge.safetensors"))

    def __call__(self, x):
        """x [n, 784] -> (digit probabilities [n, 10], attribute probabilities: name -> [n])."""
        with torch.no_grad():
            logits = torch.cat([self.net(part) for part in torch.as_tensor(x).split(CHUNK)])
        digit = torch.softmax(logits[:, :10], 1).numpy()
        return digit, {name: torch.sigmoid(logits[:, 10 + i]).numpy() for i, name in enumerate(data.ATTRIBUTES)}


def calibration_error(probability, right, bins=15):
    """Expected calibration error: mean |confidence - frequency| over equal bins of [0, 1]."""
    place = np.minimum((probability * bins).astype(int), bins - 1)
    gap = [abs(probability[place == b].sum() - right[place == b].sum()) for b in range(bins)]
    return sum(gap) / len(probability)


def binary_scores(probability, truth):
    p = np.clip(probability.astype(np.float64), 1e-12, 1 - 1e-12)
    rate = truth.mean()
    return {
        "accuracy": ((p > 0.5) == truth).mean(),
        "base_rate": rate,
        "recall": (p[truth] > 0.5).mean(),
        "precision": truth[p > 0.5].mean(),
        "log_loss_nats": -np.where(truth, np.log(p), np.log1p(-p)).mean(),
        "log_loss_of_base_rate": -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate)),
        "calibration_error": calibration_error(p, truth),
    }


def judge_scores(judge, test):
    digit, attribute = judge(test.x)
    best = digit.argmax(1)
    scores = {"digit": {
        "accuracy": (best == test.digit).mean(),
        "log_loss_nats": -np.log(np.maximum(digit[np.arange(len(best)), test.digit], 1e-12)).mean(),
        "calibration_error": calibration_error(digit.max(1), best == test.digit),
    }}  # fmt: skip
    for name in data.ATTRIBUTES:
        scores[name] = binary_scores(attribute[name], test.truth[name])
    return scores


def expert_scores(experts, x, truth):
    out = {}
    for name, expert in experts.items():
        with torch.no_grad():
            energy = expert(torch.as_tensor(x)).numpy()[:, 0]
        floor = math.exp(-train.FLOOR)
        p = (np.exp(-energy.astype(np.float64)) - floor) / (1 - floor)
        out[name] = binary_scores(p, truth[name])
    return out


def likelihood(decoder, prior, model, test, times=20):
    """Bounds on the held-out log-likelihood, nats per image, of the stochastically binarised image.

    The Bernoulli log-likelihood is linear in the pixel, so its value at a grey image is the mean over binarisations;
    and any q(z) gives a valid bound, the one that saw the grey image too.
    """
    rng = np.random.default_rng(1)
    torch.manual_seed(1)
    x = torch.from_numpy(test.x)
    bounds = {"mixture": [], "standard_normal": [], "gaussian_fitted": []}
    miss, tight = [], []
    draws = prior.sample(100_000, rng).double()
    fitted = torch.distributions.MultivariateNormal(draws.mean(0), torch.cov(draws.T))
    with torch.no_grad():
        mean, log_sd = model.posterior(x)
        for rows in torch.arange(len(x)).split(1000):
            log_weight = []
            for _ in range(times):
                noise = torch.randn_like(mean[rows])
                z = mean[rows] + log_sd[rows].exp() * noise
                p = decoder(z).clamp(1e-6, 1 - 1e-6)
                log_x = (x[rows] * p.log() + (1 - x[rows]) * (-p).log1p()).sum(1).double()
                log_q = -(0.5 * noise**2 + log_sd[rows]).sum(1).double() - 0.5 * z.shape[1] * math.log(2 * math.pi)
                half = -0.5 * z.shape[1] * math.log(2 * math.pi)
                log_p = {"mixture": prior.log_density(z), "gaussian_fitted": fitted.log_prob(z.double()),
                         "standard_normal": half - 0.5 * (z.double() ** 2).sum(1)}  # fmt: skip
                for name, value in log_p.items():
                    bounds[name].append((log_x + value - log_q).numpy())
                miss.append(log_x.numpy())
                log_weight.append(log_x + log_p["mixture"] - log_q)
            tight.append((torch.logsumexp(torch.stack(log_weight), 0) - math.log(times)).numpy())
    return {
        "unit": "nats per image, lower bound on the log-likelihood of the stochastically binarised test images",
        "elbo_mixture_prior": np.concatenate(bounds["mixture"]).mean(),
        "elbo_gaussian_prior_fitted": np.concatenate(bounds["gaussian_fitted"]).mean(),
        "elbo_standard_normal_prior": np.concatenate(bounds["standard_normal"]).mean(),
        f"importance_weighted_{times}_mixture_prior": np.concatenate(tight).mean(),
        "reconstruction_term": np.concatenate(miss).mean(),
    }


def judged(judge, x, energies=None):
    """The judge's counts on images x [n, 784] (and the experts' own, probability above one half)."""
    digit, attribute = judge(x)
    best = digit.argmax(1)
    found = {name: best == data.DIGITS.index(name) for name in ("three", "eight", "zero")}
    found.update({name: attribute[name] > 0.5 for name in data.ATTRIBUTES})
    out = {"judge": {name: hit.mean() for name, hit in found.items()}}
    out["judge"]["three_thick_slanted"] = (found["three"] & found["thick"] & found["slanted"]).mean()
    out["judge_confident"] = (digit.max(1) > 0.9).mean()
    if energies is not None:
        out["experts"] = {name: (energy < math.log(2)).mean() for name, energy in energies.items()}
    return out


def compositions():
    """name -> list of (experts' exponents): a mixture with equal weights of products on the prior."""
    return {
        "both": [{"three": 2, "thick": 2, "slanted": 2}],
        "both_at_power_one": [{"three": 1, "thick": 1, "slanted": 1}],
        "either": [{"three": 1, "thick": 1}, {"three": 1, "slanted": 1}],
        "no_loop": [{"looped": -1}],
        "three_only": [{"three": 1}],
        "thick_zero": [{"zero": 1, "thick": 1}],
        "wide_eight": [{"eight": 1, "wide": 1}],
    }


def quantiles(values):
    return {f"q{q:02d}": np.quantile(values, q / 100) for q in (5, 25, 50, 75, 95)}


def reference(folder, decoder, prior, experts, judge):
    """Draws of the prior, and of each composition by resampling them: (draws' scores, composition -> scores)."""
    rng = np.random.default_rng(2)
    z = prior.sample(DRAWS, rng)
    energy = {name: np.empty(DRAWS) for name in experts}
    with torch.no_grad():
        for begin in range(0, DRAWS, CHUNK):
            x = decoder(z[begin : begin + CHUNK])
            for name, expert in experts.items():
                energy[name][begin : begin + CHUNK] = expert(x).numpy()[:, 0]
    print_ = np.load(os.path.join(folder, "fingerprint.npz"))

    def describe(rows):
        with torch.no_grad():
            x = decoder(z[torch.from_numpy(rows)])
        out = judged(judge, x, {name: e[rows] for name, e in energy.items()})
        near = train.nearest(x[:2000].numpy() @ print_["projection"], print_["codes"], print_["scale"])
        out["nearest_training_image"] = quantiles(near)
        return out

    base = describe(np.arange(KEPT))
    result = {}
    for name, branches in compositions().items():
        entry, rows = {"branches": []}, []
        for powers in branches:
            log_w = -sum(power * energy[e] for e, power in powers.items())
            top = log_w.max()
            w = np.exp(log_w - top)
            log_z = top + math.log(w.mean())
            entry["branches"].append({
                "experts": powers,
                "log_z": log_z,
                "log_z_se": w.std() / w.mean() / math.sqrt(DRAWS),
                "ess": w.sum() ** 2 / (w**2).sum(),
            })  # fmt: skip
            rows.append(rng.choice(DRAWS, KEPT // len(branches), p=w / w.sum()))
        rows = np.concatenate(rows)
        result[name] = {**entry, **describe(rows)}
    return base, result


def rounded(value):
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return value if isinstance(value, (str, int)) else float(f"{float(value):.5g}")


def main(folder_of_data, folder, scratch):
    a, b, test, thresholds = data.load(folder_of_data)
    decoder = safetensors.Program(os.path.join(folder, "decoder.safetensors"))
    prior = safetensors.Mixture(os.path.join(folder, "prior.safetensors"))
    experts = {c: safetensors.Program(os.path.join(folder, f"{c}.safetensors")) for c in data.CONCEPTS}
    judge = Judge(folder)
    model = train.load_autoencoder(scratch)
    with torch.no_grad():
        rebuilt = decoder(model.posterior(torch.from_numpy(test.x))[0]).numpy()
    rebuilt = data.Part(rebuilt, test.digit, thresholds)
    print_ = np.load(os.path.join(folder, "fingerprint.npz"))
    rebuilt_nearest = train.nearest(rebuilt.x[:2000] @ print_["projection"], print_["codes"], print_["scale"])
    base, composed = reference(folder, decoder, prior, experts, judge)
    metrics = {
        "data": {"half_a": len(a.x), "half_b": len(b.x), "test": len(test.x), "thresholds": thresholds,
                 "test_rates": {c: t.mean() for c, t in test.truth.items()}},
        "likelihood": likelihood(decoder, prior, model, test),
        "experts": {"floor_nats": train.FLOOR, "test_images": expert_scores(experts, test.x, test.truth),
                    "test_reconstructions": expert_scores(experts, rebuilt.x, rebuilt.truth)},
        "judge": judge_scores(judge, test),
        "judge_on_reconstructions": judge_scores(judge, rebuilt),
        "judge_on_test_images": judged(judge, test.x),
        "draws_of_the_prior": base,
        "heldout_nearest_training_image": quantiles(print_["heldout_nearest"]),
        "reconstructions_nearest_training_image": quantiles(rebuilt_nearest),
        "reference": {"method": f"importance sampling from the prior, {DRAWS} draws, {KEPT} resampled for the judge",
                      "compositions": composed},
    }  # fmt: skip
    with open(os.path.join(folder, "metrics.json"), "w") as out:
        json.dump(rounded(metrics), out, indent=1)
        out.write("\n")
