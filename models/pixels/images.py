"""The pixels' data: MNIST as grey levels, dequantised, and as logits.

A grey level k of 0..255 becomes v = (k + u) / 256 with u uniform on (0, 1), and y = logit(ALPHA + (1 - 2 ALPHA) v)
(Papamakarios, Pavlakou and Murray 2017, appendix E: the same ALPHA).  A density p(y) is a density of v,
    log p(v) = log p(y) + sum_j log((1 - 2 ALPHA) / (s_j (1 - s_j))),    s = sigmoid(y),
and bits per pixel are -log2 p(v) / d + 8: an upper bound, in the mean over u, on the cost of the grey levels.

Small images, 14 x 14, are means of 2 x 2 pixels, rounded to a grey level again.

Half A of the training set (models/digits/data.py cuts it) trains the small models, so that the judge of models/digits,
trained on half B, shares no image with them; the whole training set trains the 28 x 28 flow.  The test set trains
nothing.
"""
import importlib.util
import os

import numpy as np
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
ALPHA = 1e-6
LEVELS = 256


def digits_data():
    """The module models/digits/data.py."""
    path = os.path.join(HERE, os.pardir, "digits", "data.py")
    spec = importlib.util.spec_from_file_location("digits_data", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pool(grey):
    """uint8 [n, 28, 28] -> uint8 [n, 14, 14]: rounded means of 2 x 2."""
    wide = grey.astype(np.uint16)
    total = wide[:, ::2, ::2] + wide[:, ::2, 1::2] + wide[:, 1::2, ::2] + wide[:, 1::2, 1::2]
    return ((total + 2) // 4).astype(np.uint8)


def load(folder):
    """Returns (all training images, half A, test images) as uint8 [n, 28, 28], and the test labels."""
    source = digits_data()
    paths = [os.path.join(folder, f"{part}-images-idx3-ubyte.gz") for part in ("train", "t10k")]
    train, test = (np.rint(source.read_images(p) * 255).astype(np.uint8).reshape(-1, 28, 28) for p in paths)
    order = np.random.default_rng(source.SPLIT_SEED).permutation(len(train))
    labels = source.read_labels(paths[1].replace("images-idx3", "labels-idx1"))
    return train, train[np.sort(order[:30000])], test, labels


def dequantise(grey, uniform):
    """Grey levels [n, ...] and numbers of (0, 1) of the same shape -> v, float64 inside (0, 1)."""
    return (grey.astype(np.float64) + uniform) / LEVELS


def logit(v):
    s = ALPHA + (1 - 2 * ALPHA) * v
    return np.log(s) - np.log1p(-s)


def batch_of_logits(grey, generator):
    """torch uint8 [n, h, w] -> float32 logits [n, 1, h, w], fresh noise each time."""
    u = torch.rand(grey.shape, generator=generator, dtype=torch.float64)
    s = ALPHA + (1 - 2 * ALPHA) * (grey.double() + u) / LEVELS
    return (s.log() - (-s).log1p()).float()[:, None]


def log_slope(y):
    """y [n, d] -> [n]: sum_j log dy_j / dv_j, float64."""
    y = np.asarray(y, np.float64).reshape(len(y), -1)
    return (np.log(1 - 2 * ALPHA) + np.logaddexp(0, y) + np.logaddexp(0, -y)).sum(1)


def bits_per_pixel(log_p_of_v, d):
    return -np.mean(log_p_of_v) / np.log(2) / d + np.log2(LEVELS)
