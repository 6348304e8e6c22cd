"""The digits' data: MNIST, its two halves, and the concepts' definitions.

Half A trains the decoder, the prior and the concept experts; half B trains the judge and nothing else; the test set
trains nothing.  The halves are disjoint, 30,000 images each, cut by a seeded permutation.

A concept is a yes/no question that the pixels answer:
  three, eight, zero   the label says so
  thick                stroke thickness is in the top third
  slanted              slant (positive leans right) is in the top third
  wide                 the bounding box at half intensity is at least WIDE pixels wide (the number next to a third)
  looped               a hole: at half intensity, at least LOOP background pixels cannot reach the border in 4-steps
Thresholds of thick and slanted are the 2/3 quantiles of half A.
"""
import gzip
import os

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CONCEPTS = ("three", "eight", "zero", "thick", "slanted", "wide", "looped")
ATTRIBUTES = ("thick", "slanted", "wide", "looped")  # the judge's heads beside the ten digits
WIDE = 17
LOOP = 4
SPLIT_SEED = 20
SOFTEN = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]).reshape(1, 1, 3, 3) / 16  # the binomial blur


def read_images(path):
    """idx3 file -> float32 [n, 784] in [0, 1]."""
    raw = gzip.open(path).read()
    return np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 784).astype(np.float32) / 255


def read_labels(path):
    """idx1 file -> uint8 [n]."""
    return np.frombuffer(gzip.open(path).read(), np.uint8, offset=8)


def hole_area(x):
    """x [n, 784] -> int [n]: background pixels at half intensity that are cut off from the border."""
    background = np.pad(x.reshape(-1, 28, 28) < 0.5, ((0, 0), (1, 1), (1, 1)), constant_values=True)
    within = np.zeros((3, 3, 3), bool)  # four neighbours inside an image, none across images
    within[1] = [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    label, _ = ndimage.label(background, within)
    return (background & (label != label[:, :1, :1])).sum((1, 2))


def thickness(x):
    """x [n, 784] -> [n], pixels: 2 area / perimeter of the level set at half intensity, measured below the pixel.

    The image is blurred a little and interpolated to three times its size, its edge is a ramp around one half; the
    perimeter is then the total variation.  Counting whole pixels instead would put their staircase into the label;
    without the blur a decoder's smooth outline would count as shorter than a scanner's rough one.
    """
    out = []
    for part in torch.as_tensor(x).reshape(-1, 1, 28, 28).split(2000):
        soft = F.conv2d(part, SOFTEN, padding=2)
        fine = F.interpolate(soft, scale_factor=3, mode="bilinear", align_corners=False)[:, 0]
        ink = ((fine - 0.5) / 0.3 + 0.5).clamp(0, 1)
        a, b, c, d = ink[:, :-1, :-1], ink[:, :-1, 1:], ink[:, 1:, :-1], ink[:, 1:, 1:]
        variation = torch.hypot((b + d - a - c) / 2, (c + d - a - b) / 2).sum((1, 2))
        out.append(2 * ink.sum((1, 2)) / variation.clamp(min=1) / 3)
    return torch.cat(out).numpy()


def slant(x):
    """x [n, 784] -> [n], radians from the vertical, by second moments: atan(-mu11 / mu02), rows counted downwards."""
    grey = x.reshape(-1, 28, 28)
    mass = np.maximum(grey.sum((1, 2)), 1e-6)
    at = np.arange(28, dtype=np.float32)
    row, column = grey.sum(2) @ at / mass, grey.sum(1) @ at / mass
    mu11 = np.einsum("nij,i,j->n", grey, at, at, optimize=True) / mass - row * column
    mu02 = grey.sum(2) @ at**2 / mass - row**2
    return np.arctan(-mu11 / np.maximum(mu02, 1e-6))


def width(x):
    """x [n, 784] -> int [n]: columns from the first to the last one that reaches half intensity."""
    column = (x.reshape(-1, 28, 28) >= 0.5).any(1)
    return np.where(column.any(1), 28 - column.argmax(1) - column[:, ::-1].argmax(1), 0)


class Part:
    """x [n, 784] in [0, 1], digit [n], truth: concept -> bool [n]."""

    def __init__(self, x, digit, thresholds):
        self.x, self.digit = x, digit.astype(np.int64)
        self.truth = {name: self.digit == DIGITS.index(name) for name in ("three", "eight", "zero")}
        self.truth["thick"] = thickness(x) >= thresholds["thick"]
        self.truth["slanted"] = slant(x) >= thresholds["slanted"]
        self.truth["wide"] = width(x) >= thresholds["wide"]
        self.truth["looped"] = hole_area(x) >= thresholds["looped"]


def load(folder):
    """Returns (half A, half B, test set, thresholds)."""
    x = read_images(os.path.join(folder, "train-images-idx3-ubyte.gz"))
    digit = read_labels(os.path.join(folder, "train-labels-idx1-ubyte.gz"))
    order = np.random.default_rng(SPLIT_SEED).permutation(len(x))
    a, b = np.sort(order[:30000]), np.sort(order[30000:])
    thresholds = {
        "thick": float(np.quantile(thickness(x[a]), 2 / 3)),
        "slanted": float(np.quantile(slant(x[a]), 2 / 3)),
        "wide": WIDE,
        "looped": LOOP,
    }
    test_x = read_images(os.path.join(folder, "t10k-images-idx3-ubyte.gz"))
    test_digit = read_labels(os.path.join(folder, "t10k-labels-idx1-ubyte.gz"))
    parts = [Part(x[a], digit[a], thresholds), Part(x[b], digit[b], thresholds), Part(test_x, test_digit, thresholds)]
    return *parts, thresholds
