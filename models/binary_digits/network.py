"""The pixel network of this folder: one logit per pixel from the pixels before it (van den Oord, Kalchbrenner and
Kavukcuoglu 2016, here with residual blocks of dilated masked convolutions and biases by place).

Which pixels a pixel may see is cut narrower than the raster order allows: of the row k above, not more than SLOPE * k
columns to the right.  Pixels with the same  column + (SLOPE + 1) * row  then do not see each other, and a draw takes
27 + 27 * (SLOPE + 1) + 1 = 136 passes of the network in the place of 784.
"""
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

SIDE = 28
SLOPE = 3
CHANNELS = 32
REACH = (6, 9)  # rows up and columns to each side that the first layer sees
DILATIONS = (1, 2, 4, 1, 2, 4, 1, 2)
PLACED = (0, 4)  # blocks before which a bias by place is added


def first_mask():
    """[1, 1, 2 rows + 1, 2 columns + 1]: what a pixel's own logit may see, itself not."""
    up, aside = REACH
    mask = np.zeros((1, 1, 2 * up + 1, 2 * aside + 1), np.float32)
    for k in range(up + 1):
        last = aside + (min(SLOPE * k, aside) if k > 0 else -1)
        mask[0, 0, up - k, : last + 1] = 1
    return mask


def inner_mask():
    """[1, 1, 3, 3]: the row above, the pixel to the left and the place itself; dilation keeps the slope at 1."""
    return np.array([[1, 1, 1], [1, 1, 0], [0, 0, 0]], np.float32)[None, None]


class Masked(nn.Conv2d):
    def __init__(self, inputs, outputs, mask, dilation=1):
        rows, columns = mask.shape[2] // 2 * dilation, mask.shape[3] // 2 * dilation
        super().__init__(inputs, outputs, mask.shape[2:], padding=(rows, columns), dilation=dilation)
        self.register_buffer("mask", torch.from_numpy(mask), persistent=False)
        with torch.no_grad():
            self.weight *= float(np.sqrt(mask.size / mask.sum()))

    def forward(self, x):
        return F.conv2d(x, self.weight * self.mask, self.bias, 1, self.padding, self.dilation)


class Block(nn.Module):
    """h + 1x1(relu(masked 3x3(relu(h))))"""

    def __init__(self, dilation):
        super().__init__()
        self.look = Masked(CHANNELS, CHANNELS, inner_mask(), dilation)
        self.mix = nn.Conv2d(CHANNELS, CHANNELS, 1)
        with torch.no_grad():
            self.mix.weight *= 0.3

    def forward(self, h):
        return h + self.mix(F.relu(self.look(F.relu(h))))


class PixelNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = Masked(1, CHANNELS, first_mask())
        self.blocks = nn.ModuleList([Block(d) for d in DILATIONS])
        self.place = nn.ParameterList([nn.Parameter(torch.zeros(CHANNELS, SIDE, SIDE)) for _ in PLACED])
        self.wide = nn.Conv2d(CHANNELS, 64, 1)
        self.last = nn.Conv2d(64, 1, 1)
        self.last_place = nn.Parameter(torch.zeros(1, SIDE, SIDE))

    def forward(self, x):
        """x [n, 784] of 0 and 1 -> logits [n, 784]"""
        h = self.first(x.reshape(-1, 1, SIDE, SIDE).contiguous(memory_format=torch.channels_last))
        for i, block in enumerate(self.blocks):
            if i in PLACED:
                h = h + self.place[PLACED.index(i)]
            h = block(h)
        return (self.last(F.relu(self.wide(F.relu(h)))) + self.last_place).flatten(1)


def nll(model, x):
    """[n], nats"""
    return F.binary_cross_entropy_with_logits(model(x), x, reduction="none").sum(1)
