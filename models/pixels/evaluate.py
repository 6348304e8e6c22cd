"""Measures the files of this folder and writes metrics.json, sample.npz and the grids.  Called by train.py.

Everything is read back from disk: densities by the command poe (`poe score`) and once more by torch in double
precision with the weights as stored; draws by `poe sample`.  Draws are kept in the scratch folder: what was interrupted
goes on from there, and an empty one measures everything anew.  sample.npz holds draws and torch's log densities of them
for the project's tests; no image of MNIST is in it.
"""
import json
import os
import struct
import subprocess
import zlib

import numpy as np
import torch

import images
import nets
import safetensors
from train import STAGES

DRAWS = 256
CHAINS, LEAPFROG = 48, 16  # of the product: HMC that starts at draws of the flow,
LEGS = ((40, 3, 8), (16, 3, 10))  # warmup, draws, steps per draw of runs that begin where the one before ended
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


def product_draws(poe):
    """(draws of the AND along its chains [CHAINS, kept, 196], after how many transitions [kept])."""
    x, kept, after, passed = poe.sample("start", "flow", "--chains", 1, "--draws", CHAINS, "--seed", 5)[0], [], [], 0
    for leg, (warmup, draws, thin) in enumerate(LEGS):
        path = os.path.join(poe.scratch, f"start-{leg}-points.npy")
        np.save(path, x)
        options = {"leapfrog": LEAPFROG, "chains": CHAINS, "warmup": warmup, "draws": draws, "thin": thin}
        words = ["--seed", 7 + leg] + [word for name, value in options.items() for word in ("--" + name, value)]
        kept.append(poe.sample(f"both-{leg}", "both", "--method", "hmc", "--init", path, *words))
        after += [passed + warmup + thin * (k + 1) for k in range(draws)]
        x, passed = kept[-1][:, -1], after[-1]
    return np.concatenate(kept, 1), after


def write_sample(folder, draws, v28):
    """For the tests: a few draws, one point far from everything, and torch's log densities of them."""
    y = np.concatenate([draws["flow"][:2], draws["cnn"][:2], draws["both"][:2], np.zeros((1, 196))]).astype(np.float32)
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
    kept, after = product_draws(poe)
    draws["both"] = kept[:, -1]
    large = os.path.join(folder, "flow28.poe")
    v28 = poe.sample("large", "digit", "--chains", 1, "--draws", DRAWS, program=large, variable="x")[0]

    sets = dict(draws)
    pick = rng.permutation(len(test))[:TESTED]
    for name, grey in {"test digits": images.pool(test[pick]), **others(test[pick], rng)}.items():
        sets[name] = images.logit(images.dequantise(grey, rng.random(grey.shape))).reshape(len(grey), -1)
    scores = {name: poe.score(y, "either") for name, y in sets.items()}
    least = {expert: np.quantile(scores[expert]["each." + expert], AGREE) for expert in ("flow", "cnn")}
    metrics["and_along_its_chains"] = {
        "transitions": after,
        "log_density": [poe.score(kept[:, k], "both")["log_density"].mean() for k in range(len(after))],
    }
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

    grids = {"flow": "flow14.png", "cnn": "pixelcnn14.png", "either": "either.png", "both": "both.png"}
    for name, file in grids.items():
        save_grid(1 / (1 + np.exp(-draws[name][:CHAINS])), 14, 16, os.path.join(folder, file), 3)
    save_grid(v28[:64], 28, 16, os.path.join(folder, "flow28.png"), 2)
    write_sample(folder, draws, v28)
    with open(os.path.join(folder, "metrics.json"), "w") as out:
        json.dump(rounded(metrics), out, indent=1)
        out.write("\n")
