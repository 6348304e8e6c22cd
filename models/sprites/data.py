"""The sprites: 6,144 binary images 32 x 32, one for each of 3 shapes x 4 scales x 8 orientations x 8 x 8 places.

minisprites.npz holds `imgs`, packed bits along axis 1, and `latents`, [6144, 5].  Turning a square by a right angle or
an ellipse by a half gives the same image: 3,584 of the images are different, and each of them has one shape, scale and
place.  So an image that equals one of them answers for itself, exactly (Exact).

One in ten of the 768 combinations of shape, scale and place, in all its orientations, trains nothing (held out).
"""
import os

import numpy as np

SIDE = 32
FACTORS = {"shape": ("square", "ellipse", "heart"), "scale": ("tiny", "small", "medium", "large"),
           "column": tuple(f"column{i}" for i in range(8)), "row": tuple(f"row{i}" for i in range(8))}  # fmt: skip
COLUMN_OF = {"shape": 0, "scale": 1, "column": 3, "row": 4}  # of `latents`
HELD_OUT = 77
SPLIT_SEED = 30


class Sprites:
    """x: float32 [n, 1024]; factor: name -> int [n]; held_out: bool [n]"""

    def __init__(self, folder):
        packed = np.load(os.path.join(folder, "minisprites.npz"))
        latents = packed["latents"].astype(np.int64)
        self.x = np.unpackbits(packed["imgs"], axis=1)[:, : SIDE * SIDE].astype(np.float32)
        self.factor = {name: latents[:, column] for name, column in COLUMN_OF.items()}
        self.orientation = latents[:, 2]
        cell = np.ravel_multi_index([self.factor[name] for name in FACTORS], (3, 4, 8, 8))
        out = np.random.default_rng(SPLIT_SEED).permutation(768)[:HELD_OUT]
        self.held_out = np.isin(cell, out)
        self.cell = cell


class Exact:
    """What an image shows, by comparing it pixel by pixel with all sprites."""

    def __init__(self, sprites):
        self.sprites = sprites
        self.count = sprites.x.sum(1)

    def nearest(self, image, chunk=2000):
        """image [n, 1024] in [0, 1] -> (row of the nearest sprite [n], pixels that differ at the threshold 1/2 [n])"""
        row, gap = [], []
        for part in np.array_split(image, max(1, len(image) // chunk)):
            bits = (part > 0.5).astype(np.float32)
            distance = bits.sum(1)[:, None] + self.count - 2 * bits @ self.sprites.x.T
            row.append(distance.argmin(1))
            gap.append(distance.min(1))
        return np.concatenate(row), np.rint(np.concatenate(gap)).astype(np.int64)
