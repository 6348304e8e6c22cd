"""Measures the files of this folder and writes metrics.json, sample.npz and the grids.  Called by train.py.

Everything is read back from disk: densities by the command poe (`poe score`) and once more by torch in double
precision with the weights as stored; draws by `poe sample`, but those of the geometric mean and of the product, which
are bridge.py's.  Draws are kept in the scratch folder: what was interrupted goes on from there, and an empty one
measures everything anew.  sample.npz holds draws and torch's log densities of them for the project's tests, middle.npy
draws of the geometric mean, where chains of poe can begin; no image of MNIST is in either.
"""
import json
import os
import struct
import subprocess
import zlib

import numpy as np
import torch

import bridge
import images
import nets
import safetensors
from train import STAGES

DRAWS = 256
LADDER_DRAWS = 8  # of each ladder, evenly over the last sixth of its rounds
SHOWN = 48  # images of a grid
HMC = {"leapfrog": 16, "warmup": 20, "draws": 4, "thin": 5}
EACH_START = 12  # chains of HMC
TESTED = 500
AGREE = 0.05  # an image satisfies a model above this quantile of the model's own draws


class Poe:
    def __init__(self, command, folder, scratch):
        self.command, self.folder, self.scratch = command, folder, scratch
        self.program = os.path.join(folder, "pixels.poe")

    def run(self, *words):
        subprocess.run([self.command, *map(str, words), "--quiet"], check=True, stdout=subprocess.DEVNULL)

    def score(self, points, target, program=None):
        """points [n, d] -> dict of log densities [n]: `log_density`, and those of the experts inside."""
        data, out = (os.path.join(self.scratch, name) for name in ("points.npy", "scores.npz"))
        np.save(data, points)
        self.run("score", program or self.program, target, "--data", data, "--each", "--output", out)
        return dict(np.load(out))

    def sample(self, keep, target, *options, program=None, variable="y"):
        """[chains, draws, d]; kept in the scratch folder under the name `keep`."""
        kept, out = (os.path.join(self.scratch, keep + ending) for ending in (".npy", ".npz"))
        if not os.path.exists(kept):
            self.run("sample", program or self.program, target, "--output", out, "--gate", "report", *options)
            np.save(kept, np.load(out)[variable])
        return np.load(kept)


def restore(name, folder):
    """The torch model of a stored file, in double precision."""
    tensors, _ = safetensors.load(os.path.join(folder, name + ".safetensors"))
    state = {k: torch.from_numpy(v.astype(np.float64)) for k, v in tensors.items()}
    model = STAGES[name][0]().double()
    if isinstance(model, nets.PixelCnn):
        m, scale, shift = model.COMPONENTS, nets.SCALE, nets.SHIFT
        state["last.1.weight"][m : 2 * m] *= scale
        state["last.1.bias"][m : 2 * m] = state["last.1.bias"][m : 2 * m] * scale + shift
        state["last.1.bias"][2 * m :] += np.log(scale)
        state.update({k: v for k, v in model.state_dict().items() if k.endswith("mask")})
    model.load_state_dict(state)
    return model


def torch_log_p(model, y):
    side = int(round(y.shape[1] ** 0.5))
    with torch.no_grad():
        parts = torch.from_numpy(y).reshape(-1, 1, side, side).split(100)
        return torch.cat([model(part) for part in parts]).numpy()


def likelihood(poe, folder, test, rng):
    """Bits per pixel of the test images by poe, and how far torch is from it."""
    out = {}
    for name, (_, _, side, *_) in STAGES.items():
        grey = test if side == 28 else images.pool(test)
        v = images.dequantise(grey, rng.random(grey.shape)).reshape(len(grey), -1)
        y = images.logit(v)
        slope = images.log_slope(y)
        if side == 28:
            log_p = poe.score(v, "digit", os.path.join(folder, "flow28.poe"))["log_density"]
        else:
            log_p = poe.score(y, "flow" if name == "flow14" else "cnn")["log_density"] + slope
        few = slice(0, 500)
        by_torch = torch_log_p(restore(name, folder), y[few]) + slope[few]
        bits = -log_p / np.log(2) / side**2 + 8
        out[name] = {
            "images": len(v),
            "bits_per_pixel": bits.mean(),
            "bits_per_pixel_se": bits.std() / np.sqrt(len(v)),
            "log_p_of_v_nats": log_p.mean(),
            "log_p_of_logits_nats": (log_p - slope).mean(),
            "torch_largest_difference_nats": np.abs(by_torch - log_p[few]).max(),
            "torch_largest_relative_difference": np.abs(by_torch / log_p[few] - 1).max(),
        }
    return out


def others(test, rng):
    """Images that are no digits, or digits out of place: name -> uint8 [n, 14, 14]."""
    grey = images.pool(test)
    noise = grey.copy()
    hit = rng.random(grey.shape) < 0.03
    noise[hit] = rng.integers(0, 256, hit.sum())
    halves = grey.copy()
    halves[:, 7:] = grey[rng.permutation(len(grey)), 7:]
    flat = grey.reshape(len(grey), -1)
    return {
        "moved 3 pixels to the right": np.roll(grey, 3, 2),
        "upside down": grey[:, ::-1].copy(),
        "top half of one, bottom half of another": halves,
        "3 % of the pixels replaced": noise,
        "pixels in random order": np.take_along_axis(flat, rng.random(flat.shape).argsort(1), 1).reshape(grey.shape),
        "blank": np.zeros_like(grey),
    }


def view(y):
    """logits [n, 196] -> [n, 784], as the map of pixels.poe."""
    x = 1 / (1 + np.exp(-y.reshape(-1, 14, 14)))
    return x.repeat(2, 1).repeat(2, 2).reshape(len(x), -1).astype(np.float32)


def judged(judge, x):
    with torch.no_grad():
        p = torch.softmax(judge(torch.from_numpy(x))[:, :10], 1).double().numpy()
    share = np.bincount(p.argmax(1), minlength=10) / len(p)
    return {
        "sure_above_0.9": (p.max(1) > 0.9).mean(),
        "mean_confidence": p.max(1).mean(),
        "classes": share,
        "entropy_of_classes_nats": -(share[share > 0] * np.log(share[share > 0])).sum(),
    }


def spread(values):
    q = np.quantile(values, [0.05, 0.95])
    return {"mean": values.mean(), "se": values.std() / np.sqrt(len(values)), "q05": q[0], "q95": q[1]}


def save_png(picture, path):
    """uint8 [rows, columns] -> a grey PNG."""
    rows, columns = picture.shape
    lines = np.pad(picture, ((0, 0), (1, 0)))  # a filter type, none, before every line
    with open(path, "wb") as out:
        out.write(b"\x89PNG\r\n\x1a\n")
        for kind, body in ((b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)),
                           (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b"")):  # fmt: skip
            out.write(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)))


def save_grid(x, side, columns, path, zoom):
    rows = len(x) // columns
    tiles = np.pad(x[: rows * columns].reshape(rows, columns, side, side), ((0, 0), (0, 0), (0, 1), (0, 1)),
                   constant_values=0.5)  # fmt: skip
    picture = tiles.transpose(0, 2, 1, 3).reshape(rows * (side + 1), -1)
    save_png(np.rint(picture * 255).clip(0, 255).astype(np.uint8).repeat(zoom, 0).repeat(zoom, 1), path)


def ladders(scratch, folder, draws):
    """target -> start -> what bridge.climb found; every run is kept in the scratch folder."""
    out = {}
    with torch.no_grad():
        for t, target in enumerate(("middle", "product")):
            for k, start in enumerate(("flow", "cnn")):
                kept = os.path.join(scratch, f"ladder-{target}-{start}.npz")
                if not os.path.exists(kept):
                    flow, cnn = (restore(name, folder).float() for name in ("flow14", "pixelcnn14"))
                    network = draws["cnn"][:: 1 if start == "flow" else -1]
                    moves = bridge.Moves(flow, cnn, 300 + 10 * t + k)
                    begin = draws["flow"] if start == "flow" else bridge.descend(moves, target, network)
                    np.savez_compressed(kept, **bridge.climb(moves, target, begin, network))
                out.setdefault(target, {})[start] = dict(np.load(kept))
    return out


def of_ladders(found):
    """[n, 196]: evenly over the last sixth of the rounds, an equal number from every ladder of both starts."""
    y = np.concatenate([one["draws"] for one in found.values()])
    at = np.linspace(2 * y.shape[1] / 3, y.shape[1] - 1, LADDER_DRAWS).round().astype(int)
    return y[:, at].reshape(-1, y.shape[2]).astype(np.float64)


def hamiltonian(poe, draws):
    """HMC by poe on the geometric mean from three starts: half the sum of the log densities along the chains."""
    starts = ("flow", "cnn", "middle")
    path = os.path.join(poe.scratch, "hmc-points.npy")
    np.save(path, np.concatenate([draws[name][:: len(draws[name]) // EACH_START][:EACH_START] for name in starts]))
    words = [word for name, value in HMC.items() for word in ("--" + name, value)]
    words += ["--method", "hmc", "--chains", len(starts) * EACH_START, "--init", path, "--seed", 7]
    y = np.concatenate([np.load(path)[:, None], poe.sample("hmc", "middle", *words)], 1)
    after = [0] + [HMC["warmup"] + HMC["thin"] * (k + 1) for k in range(HMC["draws"])]
    log_p = np.stack([poe.score(y[:, k], "middle")["log_density"] for k in range(len(after))], 1)
    parts = dict(zip(starts, log_p.reshape(len(starts), EACH_START, -1)))
    parts["middle, from the flow"], parts["middle, from the network"] = np.split(parts["middle"], 2)
    out = {"transitions": after}
    for name, v in parts.items():
        change, root = v[:, 1:].mean(1) - v[:, 0], len(v) ** 0.5
        out[name] = {"mean": v.mean(0), "se": v.std(0, ddof=1) / root, "mean_change": change.mean(),
                     "mean_change_se": change.std(ddof=1) / root}  # fmt: skip
    return out


def write_sample(folder, draws, v28):
    """For the tests: a few draws, one point far from everything, and torch's log densities of them."""
    y = np.concatenate([*(draws[k][:2] for k in ("flow", "cnn", "middle")), np.zeros((1, 196))]).astype(np.float32)
    v = np.concatenate([v28[:3], np.full((1, 784), 0.5)]).astype(np.float32)
    y, v = y.astype(np.float64), v.astype(np.float64)
    z = images.logit(v)
    np.savez_compressed(
        os.path.join(folder, "sample.npz"), y=y, flow=torch_log_p(restore("flow14", folder), y),
        cnn=torch_log_p(restore("pixelcnn14", folder), y), x=v,
        digit=torch_log_p(restore("flow28", folder), z) + images.log_slope(z))  # fmt: skip


def rounded(value):
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, (list, np.ndarray)):
        return [rounded(v) for v in value]
    return value if isinstance(value, (str, int)) else float(f"{float(value):.5g}")


def main(folder_of_data, folder, scratch, command):
    rng = np.random.default_rng(7)
    poe = Poe(command, folder, scratch)
    _, _, test, labels = images.load(folder_of_data)
    found = os.path.join(scratch, "likelihood.json")
    if not os.path.exists(found):
        with open(found, "w") as out:
            json.dump(rounded(likelihood(poe, folder, test, np.random.default_rng(8))), out)
    metrics = {"likelihood": json.load(open(found))}

    exact = {"flow": "flow", "cnn": "cnn", "either": "either"}
    draws = {name: poe.sample(name, target, "--chains", 1, "--draws", DRAWS)[0] for name, target in exact.items()}
    found = ladders(scratch, folder, draws)
    draws["middle"], draws["both"] = of_ladders(found["middle"]), of_ladders(found["product"])
    metrics["ladders"] = {
        target: {start: bridge.summary(one, target) for start, one in runs.items()} for target, runs in found.items()
    }
    metrics["hmc"] = hamiltonian(poe, draws)
    large = os.path.join(folder, "flow28.poe")
    v28 = poe.sample("large", "digit", "--chains", 1, "--draws", DRAWS, program=large, variable="x")[0]

    sets = dict(draws)
    pick = rng.permutation(len(test))[:TESTED]
    for name, grey in {"test digits": images.pool(test[pick]), **others(test[pick], rng)}.items():
        sets[name] = images.logit(images.dequantise(grey, rng.random(grey.shape))).reshape(len(grey), -1)
    scores = {name: poe.score(y, "either") for name, y in sets.items()}
    least = {expert: np.quantile(scores[expert]["each." + expert], AGREE) for expert in ("flow", "cnn")}
    metrics["densities"] = {}
    for name, score in scores.items():
        inside = {expert: score["each." + expert] >= least[expert] for expert in least}
        metrics["densities"][name] = {
            "images": len(sets[name]),
            "flow": spread(score["each.flow"]),
            "cnn": spread(score["each.cnn"]),
            "both": spread(score["each.flow"] + score["each.cnn"]),
            "either": spread(score["log_density"]),
            "agrees_flow": inside["flow"].mean(),
            "agrees_cnn": inside["cnn"].mean(),
            "agrees_both": (inside["flow"] & inside["cnn"]).mean(),
        }
    judge = safetensors.Program(os.path.join(folder, os.pardir, "digits", "judge.safetensors"))
    judged_sets = {name: judged(judge, view(y)) for name, y in sets.items()}
    digits = view(sets["test digits"])
    with torch.no_grad():
        right = judge(torch.from_numpy(digits))[:, :10].argmax(1).numpy() == labels[pick]
    judged_sets["test digits"]["right"] = right.mean()
    judged_sets["28 x 28: test digits"] = judged(judge, test[pick].reshape(TESTED, -1).astype(np.float32) / 255)
    judged_sets["28 x 28: draws of the flow"] = judged(judge, v28.astype(np.float32))
    metrics["judge"] = judged_sets

    grids = {"flow": "flow14", "cnn": "pixelcnn14", "either": "either", "middle": "middle", "both": "both"}
    for name, file in grids.items():
        y = draws[name][np.linspace(0, len(draws[name]) - 1, SHOWN).round().astype(int)]
        save_grid(1 / (1 + np.exp(-y)), 14, 16, os.path.join(folder, file + ".png"), 3)
    np.save(os.path.join(folder, "middle.npy"), draws["middle"].astype(np.float32))
    save_grid(v28[:64], 28, 16, os.path.join(folder, "flow28.png"), 2)
    write_sample(folder, draws, v28)
    with open(os.path.join(folder, "metrics.json"), "w") as out:
        json.dump(rounded(metrics), out, indent=1)
        out.write("\n")
