"""Measures the files of this folder, as written, and writes metrics.json.  Called by train.py.

Compositions are answered by the command `poe run` on programs made here; what its draws show is told by comparing their
images with all sprites (data.Exact), which no network takes part in.
"""
import json
import math
import os
import subprocess
import tempfile

import numpy as np
import torch

import data
import safetensors
import train

CELLS = 12  # combinations of shape, scale, column and row that are asked for, half of them the decoder's held-out ones
CHAINS, WARMUP, DRAWS, THIN = 4, 4000, 16, 250


def images_of(poe, program, name):
    """The images that `sample(name, save=[image])` of a program draws: [n, 1024]"""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "ask.poe")
        with open(path, "w") as out:
            out.write(f"{program}\nsample({name}, method=imh, chains={CHAINS}, warmup={WARMUP}, draws={DRAWS}, "
                      f"thin={THIN}, save=[image], gate=report)\n")  # fmt: skip
        command = [poe, "run", path, "--gate", "report", "--output", os.path.join(folder, "out"), "--quiet"]
        subprocess.run(command, check=True, capture_output=True)
        drawn = np.load(os.path.join(folder, "out", f"{name}.npz"))
        return drawn["image"].reshape(-1, data.SIDE**2)


def shown(exact, image):
    """What images show: {factor: labels [n]} of the nearest sprite, and whether they are that sprite, [n]."""
    row, gap = exact.nearest(image)
    return {name: values[row] for name, values in exact.sprites.factor.items()}, gap == 0


def fractions(exact, image, right):
    """right(labels) -> bool [n]"""
    labels, same = shown(exact, image)
    hit = right(labels)
    return {"draws": len(image), "nearest_sprite_is_right": hit.mean(), "is_a_right_sprite": (hit & same).mean(),
            "is_a_sprite": same.mean()}  # fmt: skip


def head_accuracy(path, x, truth):
    with torch.no_grad():
        logits = safetensors.Program(path)(torch.from_numpy(x)).numpy()
    out, at = {}, 0
    for name, values in data.FACTORS.items():
        out[name] = (logits[:, at : at + len(values)].argmax(1) == truth[name]).mean()
        at += len(values)
    return out


def asked(z):
    """The values that the latents z [n, 5] stand for: {factor: [n]}"""
    share = 0.5 * (1 + torch.erf(z / math.sqrt(2))).numpy()
    of = [len(values) for values in data.FACTORS.values()]
    return {name: np.minimum((share[:, j] * of[j]).astype(int), of[j] - 1) for j, name in enumerate(data.FACTORS)}


def decoder_rates(path, exact, count=20_000):
    """How often the image of a random latent is the sprite that it stands for; and such images."""
    z = torch.randn(count, train.LATENT, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        image = safetensors.Program(path)(z).numpy()
    wanted = asked(z)
    cell = np.ravel_multi_index([wanted[name] for name in data.FACTORS], (3, 4, 8, 8))
    held_out = np.isin(cell, exact.sprites.cell[exact.sprites.held_out])
    labels, same = shown(exact, image)
    hit = np.all([labels[name] == wanted[name] for name in data.FACTORS], 0)
    rates = {}
    for name, rows in (("all", np.ones(count, bool)), ("held_out_in_the_first_phase", held_out)):
        rates[name] = {"is_a_sprite": same[rows].mean(), "nearest_sprite_is_right": hit[rows].mean()}
    return rates, image


def definitions(folder):
    """The head of sprites.poe, with the files' whole paths, up to the concepts of its own."""
    with open(os.path.join(folder, "sprites.poe")) as text:
        head = text.read().split("heart   =")[0]
    return head.replace('file="', 'file="' + os.path.abspath(folder) + "/")


def cells(sprites):
    rng = np.random.default_rng(8)
    out = np.unique(sprites.cell[sprites.held_out])
    kept = np.setdiff1d(np.arange(768), out)
    chosen = np.concatenate([rng.choice(part, CELLS // 2, replace=False) for part in (kept, out)])
    return np.stack(np.unravel_index(chosen, (3, 4, 8, 8)), 1)


def all_of(exact, poe, head):
    """AND of four concepts for CELLS cells: (the mean over them, one by one)"""
    each = []
    for cell in cells(exact.sprites):
        terms = [f"({n} given {v} = {k})" for n, v, k in zip(data.FACTORS, "stuv", cell)]
        image = images_of(poe, head + "both = code * (" + " * ".join(terms) + ")^2", "both")

        def right(labels, cell=cell):
            return np.all([labels[name] == k for name, k in zip(data.FACTORS, cell)], 0)

        each.append({"cell": [int(k) for k in cell], **fractions(exact, image, right)})
        print(each[-1], flush=True)
    keys = ("nearest_sprite_is_right", "is_a_right_sprite", "is_a_sprite")
    mean = {key: np.mean([e[key] for e in each]) for key in keys}
    mean["fewest_right_of_a_cell"] = min(e["nearest_sprite_is_right"] for e in each)
    return mean, each


def others(exact, poe, head, base):
    """OR and NOT, each with the rate of the same among draws of the latent's density."""
    heart, square = "(shape given s = 2)", "(shape given s = 0)"
    large, left = "(scale given t = 3)", "(column given u = 1)"
    asks = {
        "code * large^2": (f"code * {large}^2", lambda f: f["scale"] == 3),
        "code * (large * left)^2": (f"code * ({large} * {left})^2", lambda f: (f["scale"] == 3) & (f["column"] == 1)),
        "code * ((heart * large)^2 + (square * left)^2)": (
            f"code * (unnormalised(({heart} * {large})^2) + unnormalised(({square} * {left})^2))",
            lambda f: ((f["shape"] == 2) & (f["scale"] == 3)) | ((f["shape"] == 0) & (f["column"] == 1))),
        "code / heart": (f"code / {heart}", lambda f: f["shape"] != 2),
        "code * large^2 / heart": (f"code * {large}^2 / {heart}", lambda f: (f["scale"] == 3) & (f["shape"] != 2)),
    }  # fmt: skip
    out = {}
    for name, (text, right) in asks.items():
        image = images_of(poe, head + "target = " + text, "target")
        out[name] = {**fractions(exact, image, right), "base_rate": right(shown(exact, base)[0]).mean()}
        if " + " in name:
            labels = shown(exact, image)[0]
            out[name]["large_hearts"] = ((labels["shape"] == 2) & (labels["scale"] == 3)).mean()
        print(name, out[name], flush=True)
    return out


def rounded(value):
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return value if isinstance(value, (str, int)) else float(f"{float(value):.4g}")


def main(sprites, folder, poe):
    exact = data.Exact(sprites)
    head = definitions(folder)
    rates, base = decoder_rates(os.path.join(folder, "decoder.safetensors"), exact)
    labels, same = shown(exact, base)
    concepts = os.path.join(folder, "concepts.safetensors")
    drawn = {name: values[same] for name, values in labels.items()}
    mean, each = all_of(exact, poe, head)
    metrics = {
        "sprites": {"images": len(sprites.x), "different": len(np.unique(sprites.x, axis=0))},
        "decoder": rates,
        "concepts_accuracy": {"sprites": head_accuracy(concepts, sprites.x, sprites.factor),
                              "draws_that_are_sprites": head_accuracy(concepts, base[same], drawn)},
        "and": {"combinations": CELLS, "base_rate": 1 / 768, "mean": mean, "each": each},
        "others": others(exact, poe, head, base),
    }  # fmt: skip
    with open(os.path.join(folder, "metrics.json"), "w") as out:
        json.dump(rounded(metrics), out, indent=1)
        out.write("\n")
