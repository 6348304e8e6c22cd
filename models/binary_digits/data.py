"""The fixed binarised MNIST (Salakhutdinov and Murray 2008; the split of Larochelle and Murray 2011).

50,000 images train, 10,000 validate, 10,000 test; 28 x 28 pixels of 0 and 1, drawn once with the grey levels as
probabilities.  binarized.npz holds `train_bits`, `valid_bits`, `test_bits`: numpy.packbits along axis 1.
"""
import os

import numpy as np
import torch


def load(folder):
    """-> {"train", "valid", "test": float32 torch tensor [n, 784]}"""
    packed = np.load(os.path.join(folder, "binarized.npz"))
    parts = {part: np.unpackbits(packed[part + "_bits"], axis=1)[:, :784] for part in ("train", "valid", "test")}
    return {part: torch.from_numpy(bits.astype(np.float32)) for part, bits in parts.items()}
