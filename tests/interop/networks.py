"""Random networks: values and input gradients against torch.autograd.

networks.py INTEROP_NET MODEL-FORMAT.md

The files are written by the writer printed in MODEL-FORMAT.md, so the page is tested too. Largest difference relative to
the largest number: below 1e-5 in single, 1e-10 in double. Exit code 77 (skipped) without PyTorch.
"""
import os
import re
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import torch
    from torch import nn
except ImportError:
    print("PyTorch or NumPy is not installed: skipped")
    sys.exit(77)

PROGRAM, PAGE = sys.argv[1:3]
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def writer_of_the_page():
    blocks = re.findall(r"```python\n(.*?)```", open(PAGE, encoding="utf-8").read(), re.S)
    scope = {}
    exec(next(b for b in blocks if "def save_model" in b), scope)
    return scope["save_model"]


save_model = writer_of_the_page()

ACTIVATIONS = {
    "identity": nn.Identity, "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "elu": nn.ELU, "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU(approximate="tanh"), "silu": nn.SiLU,
    "softplus": lambda: nn.Softplus(threshold=1000.0), "tanh": nn.Tanh, "sigmoid": nn.Sigmoid,
}


class Residual(nn.Module):
    def __init__(self, *inner):
        super().__init__()
        self.inner = nn.Sequential(*inner)

    def forward(self, x):
        return x + self.inner(x)


class Shortcut(nn.Module):
    def __init__(self, inner, shortcut):
        super().__init__()
        self.inner, self.shortcut = inner, shortcut

    def forward(self, x):
        return self.shortcut(x) + self.inner(x)


class Affine(nn.Module):
    def __init__(self, scale, shift):
        super().__init__()
        self.scale, self.shift = scale, shift

    def forward(self, x):
        return self.scale * x + self.shift


def describe(module, prefix=""):
    """poe.layers of a Sequential."""
    layers = []
    for name, m in module.named_children():
        full = prefix + name
        weights = {"weight": full + ".weight"}
        if getattr(m, "bias", None) is not None:
            weights["bias"] = full + ".bias"
        if isinstance(m, nn.Linear):
            layers.append({"op": "linear", **weights})
        elif isinstance(m, nn.Conv2d):
            layers.append({"op": "conv2d", **weights, "stride": m.stride, "padding": m.padding, "dilation": m.dilation,
                           "groups": m.groups})
        elif isinstance(m, nn.ConvTranspose2d):
            layers.append({"op": "conv_transpose2d", **weights, "stride": m.stride, "padding": m.padding,
                           "output_padding": m.output_padding, "dilation": m.dilation, "groups": m.groups})
        elif isinstance(m, nn.BatchNorm2d):
            layers.append({"op": "batch_norm", **weights, "running_mean": full + ".running_mean",
                           "running_var": full + ".running_var", "eps": m.eps})
        elif isinstance(m, nn.GroupNorm):
            layers.append({"op": "group_norm", "groups": m.num_groups, **weights, "eps": m.eps})
        elif isinstance(m, nn.InstanceNorm2d):
            layers.append({"op": "instance_norm", **(weights if m.affine else {}), "eps": m.eps})
        elif isinstance(m, nn.Upsample):
            layers.append({"op": "upsample2d", "factor": int(m.scale_factor)})
        elif isinstance(m, nn.AdaptiveAvgPool2d):
            layers.append({"op": "global_avg_pool2d"})
        elif isinstance(m, nn.LayerNorm):
            layers.append({"op": "layer_norm", **weights, "eps": m.eps})
        elif isinstance(m, nn.AvgPool2d):
            layers.append({"op": "avg_pool2d", "size": m.kernel_size, "stride": m.stride, "padding": m.padding})
        elif isinstance(m, nn.MaxPool2d):
            layers.append({"op": "max_pool2d", "size": m.kernel_size, "stride": m.stride, "padding": m.padding})
        elif isinstance(m, nn.Flatten):
            layers.append({"op": "flatten"})
        elif isinstance(m, nn.Unflatten):
            layers.append({"op": "reshape", "shape": list(m.unflattened_size)})
        elif isinstance(m, Residual):
            layers.append({"op": "residual", "layers": describe(m.inner, full + ".inner.")})
        elif isinstance(m, Shortcut):
            layers.append({"op": "residual", "layers": describe(m.inner, full + ".inner."),
                           "shortcut": describe(m.shortcut, full + ".shortcut.")})
        elif isinstance(m, Affine):
            layers.append({"op": "affine", "scale": m.scale, "shift": m.shift})
        else:
            word = next(w for w, make in ACTIVATIONS.items()
                        if type(make()) is type(m) and getattr(make(), "approximate", 0) == getattr(m, "approximate", 0))
            layers.append({"op": word})
    return layers


def random_mlp(rng, activation):
    widths = [int(rng.integers(1, 70))] + [int(rng.integers(1, 90)) for _ in range(rng.integers(1, 4))]
    widths.append(int(rng.choice([1, 1, 3, 40])))
    layers = []
    for i in range(len(widths) - 1):
        layers.append(nn.Linear(widths[i], widths[i + 1], bias=bool(rng.integers(0, 4))))
        if i + 2 < len(widths):
            if rng.integers(0, 3) == 0:
                layers.append(nn.LayerNorm(widths[i + 1]))
            layers.append(ACTIVATIONS[activation]())
            if rng.integers(0, 3) == 0:
                layers.append(Residual(nn.Linear(widths[i + 1], widths[i + 1]), ACTIVATIONS[activation]()))
    if rng.integers(0, 2):
        layers.insert(0, Affine(0.5, 0.25))
    return nn.Sequential(*layers), [widths[0]]


def random_cnn(rng, activation):
    channels, side = int(rng.integers(1, 4)), int(rng.integers(8, 17))
    layers, c, shape = [], channels, [channels, side, side + 1]
    for i in range(rng.integers(1, 4)):
        out, kernel, stride = int(rng.integers(2, 9)), int(rng.integers(1, 4)), int(rng.integers(1, 3)) if i == 0 else 1
        layers += [nn.Conv2d(c, out, kernel, stride=stride, padding=int(rng.integers(0, 2)),
                             bias=bool(rng.integers(0, 4))), ACTIVATIONS[activation]()]
        c = out
    layers.append([nn.AvgPool2d, nn.MaxPool2d][rng.integers(0, 2)](2))
    layers.append(nn.Flatten())
    with torch.no_grad():
        width = nn.Sequential(*layers)(torch.zeros(1, *shape)).shape[1]
    layers.append(nn.Linear(width, int(rng.choice([1, 5, 30]))))
    if rng.integers(0, 2):  # a flat input, as a variable image[784] has
        layers.insert(0, nn.Unflatten(1, tuple(shape)))
        shape = [int(np.prod(shape))]
    return nn.Sequential(*layers), shape


def random_norm(rng, channels):
    """A normalisation layer in the state that training leaves: weights and statistics of its own."""
    norm = [lambda: nn.BatchNorm2d(channels), lambda: nn.GroupNorm(2, channels),
            lambda: nn.InstanceNorm2d(channels, affine=True), lambda: nn.InstanceNorm2d(channels)][rng.integers(0, 4)]()
    for name, value in list(norm.named_parameters()) + list(norm.named_buffers()):
        if value.dtype == torch.float32:
            value.data.uniform_(0.5, 1.5)
    return norm


def random_energy_cnn(rng, activation):
    """Blocks of a convolutional energy: normalisation, residual with a projection, pools, down to one number."""
    pair = lambda low, high: (int(rng.integers(low, high)), int(rng.integers(low, high)))
    channels, side, c = int(rng.integers(1, 4)), int(rng.integers(11, 18)), 2 * int(rng.integers(1, 5))
    shape, act = [channels, side, side - 1], ACTIVATIONS[activation]
    layers = [nn.Conv2d(channels, c, 3, padding=pair(0, 3)), random_norm(rng, c), act()]
    layers.append(nn.Conv2d(c, 2 * c, pair(1, 4), stride=pair(1, 3), padding=pair(0, 2), dilation=pair(1, 3),
                            groups=2, bias=bool(rng.integers(0, 2))))
    inner = nn.Sequential(random_norm(rng, 2 * c), act(), nn.Conv2d(2 * c, c, 3, padding=1))
    layers += [Shortcut(inner, nn.Sequential(nn.Conv2d(2 * c, c, 1)))]
    layers += [nn.MaxPool2d(3, stride=2, padding=1), Residual(nn.Conv2d(c, c, 3, padding=1, groups=c), act())]
    layers += [nn.AvgPool2d(2, stride=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, 1)]
    return nn.Sequential(*layers).eval(), shape


def random_decoder(rng, activation):
    """A convolutional decoder: a code to a small image, up to a larger one."""
    code, c, act = int(rng.integers(2, 20)), 2 * int(rng.integers(1, 5)), ACTIVATIONS[activation]
    stride = (2, int(rng.integers(1, 4)))
    layers = [nn.Linear(code, c * 4 * 3), nn.Unflatten(1, (c, 4, 3)), random_norm(rng, c), act(),
              nn.ConvTranspose2d(c, 2 * c, (4, 3), stride=stride, padding=1, output_padding=(1, 0),
                                 groups=int(rng.choice([1, 2]))),
              random_norm(rng, 2 * c), act(), nn.Upsample(scale_factor=2), nn.Conv2d(2 * c, 1, 3, padding=1),
              nn.Sigmoid()]
    return nn.Sequential(*layers).eval(), [code]


def difference(ours, theirs):
    assert np.abs(theirs).max() > 0.0  # else the comparison says nothing
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def check(name, model, shape, folder, rng, bare=None):
    worst = {}
    for dtype in (torch.float32, torch.float64):
        net = model.to(dtype)
        n = int(rng.choice([1, 2, 7, 33]))
        x = rng.standard_normal((n, *shape)).astype(np.float32).astype(np.float64)
        at = torch.tensor(x, dtype=dtype, requires_grad=True)
        y = net(at).reshape(n, -1)
        seeds = rng.standard_normal(tuple(y.shape)).astype(np.float32).astype(np.float64)
        (gradient,) = torch.autograd.grad((y * torch.tensor(seeds, dtype=dtype)).sum(), at)
        path = lambda f: os.path.join(folder, f)
        arrays = {k: v.detach().numpy() for k, v in net.state_dict().items() if v.is_floating_point()}
        if bare is None:
            save_model(path("m.safetensors"), arrays, "energy", shape, describe(net))
            command = [PROGRAM, path("m.safetensors")]
        else:
            np.savez(path("m.npz"), **arrays)
            command = [PROGRAM, path("m.npz")]
        np.save(path("x.npy"), x.reshape(n, -1))
        np.save(path("s.npy"), seeds)
        command += [path("x.npy"), path("s.npy"), path("out.npz")] + (bare or [])
        subprocess.run(command, check=True)
        out = np.load(path("out.npz"))
        worst[dtype] = max(difference(out["y"], y.detach().double().numpy()),
                           difference(out["dx"], gradient.double().numpy().reshape(n, -1)))
    good = all(worst[d] <= TOLERANCE[d] for d in worst)
    print(f"{'ok  ' if good else 'FAIL'} {name}: single {worst[torch.float32]:.1e}, double {worst[torch.float64]:.1e}")
    return good


def main():
    torch.manual_seed(5)
    torch.set_num_threads(1)
    rng = np.random.default_rng(5)
    good = True
    with tempfile.TemporaryDirectory() as folder:
        for activation in ACTIVATIONS:
            for kind, make in (("mlp", random_mlp), ("cnn", random_cnn), ("energy cnn", random_energy_cnn),
                               ("decoder", random_decoder)):
                model, shape = make(rng, activation)
                good &= check(f"{kind} {activation}", model, shape, folder, rng)
        for activation in ("silu", "tanh", "gelu"):
            model = nn.Sequential(nn.Linear(9, 33), ACTIVATIONS[activation](), nn.Linear(33, 20),
                                  ACTIVATIONS[activation](), nn.Linear(20, 2), nn.Softplus(threshold=1000.0))
            good &= check(f"bare {activation}", model, [9], folder, rng, ["0,2,4", activation, "softplus"])
    sys.exit(0 if good else 1)


main()
