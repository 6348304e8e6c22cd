"""Boltzmann machines from PyTorch: densities and log Z of `poe` against PyTorch's own arithmetic.

machines.py POE MODEL-FORMAT.md

State dicts are written as the page says (its `save_rbm` is run), read by the command, and compared: minus the free
energies and their gradients by autograd, log Z and the sum over hidden layers by adding up all states. 1e-9 relative.
Exit code 77 (skipped) without PyTorch.
"""
import json
import os
import re
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import torch
    import torch.nn.functional as F
except ImportError:
    print("PyTorch or NumPy is not installed: skipped")
    sys.exit(77)

POE, PAGE = sys.argv[1:3]
failures = 0


def writer_of_the_page():
    blocks = re.findall(r"```python\n(.*?)```", open(PAGE, encoding="utf-8").read(), re.S)
    scope = {"np": np}
    exec(next(b for b in blocks if "def save_rbm" in b), scope)
    return scope["save_rbm"]


class Machine(torch.nn.Module):
    """A restricted Boltzmann machine as tutorials write it: W [hidden, visible], used by F.linear."""

    def __init__(self, visible, hidden, dtype):
        super().__init__()
        self.W = torch.nn.Parameter(torch.randn(hidden, visible, dtype=dtype) * 0.7)
        self.v_bias = torch.nn.Parameter(torch.randn(visible, dtype=dtype))
        self.h_bias = torch.nn.Parameter(torch.randn(hidden, dtype=dtype))

    def log_density(self, v):
        return v @ self.v_bias.double() + F.softplus(F.linear(v, self.W.double(), self.h_bias.double()),
                                                     threshold=1000.0).sum(1)


def run(verb, program, *options):
    done = subprocess.run([POE, verb, program, *options, "--json"], capture_output=True, text=True)
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


def compare(name, ours, truth):
    global failures
    ours, truth = np.asarray(ours, dtype=float), np.asarray(truth, dtype=float)
    worst = np.max(np.abs(ours - truth) / (1.0 + np.abs(truth))) if ours.shape == truth.shape else np.inf
    failures += worst > 1e-9
    print(f"{'ok  ' if worst <= 1e-9 else 'FAIL'} {name}: {worst:.1e}")


def states(n):
    return torch.tensor([[i >> j & 1 for j in range(n)] for i in range(2 ** n)], dtype=torch.float64)


def write(folder, text):
    path = os.path.join(folder, "m.poe")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def binary(folder, dtype):
    machine = Machine(9, 7, dtype)
    state = {name: tensor.detach() for name, tensor in machine.state_dict().items()}
    writer_of_the_page()(os.path.join(folder, "rbm.npz"), state)
    rows = states(9)[::3]
    np.save(os.path.join(folder, "rows.npy"), rows.numpy())
    program = write(folder, 'var v : binary[9]\na = rbm(v | file="rbm.npz")\n')
    _, score, _ = run("score", program, "a", "--data", os.path.join(folder, "rows.npy"))
    compare(f"rbm in {dtype}, densities", score["log_density"], machine.log_density(rows).detach())
    _, logz, _ = run("logz", program, "a")
    compare(f"rbm in {dtype}, log Z", logz["log_z"], torch.logsumexp(machine.log_density(states(9)), 0).item())
    # The state dict as it is: the weight the other way round is refused with the reason.
    np.savez(os.path.join(folder, "state.npz"), **{name: tensor.numpy() for name, tensor in state.items()})
    program = write(folder, 'var v : binary[9]\n'
                            'a = rbm(v | file="state.npz", tensors=["W", "v_bias", "h_bias"])\n')
    code, _, text = run("logz", program, "a")
    global failures
    told = code == 3 and "[7, 9], but [9, hidden] is needed" in text and "transposed" in text
    failures += not told
    print(f"{'ok  ' if told else 'FAIL'} rbm in {dtype}, the state dict as it is: {text.splitlines()[:1]}")


def gaussian(folder):
    w, b, c = torch.randn(4, 6).double(), torch.randn(4).double(), torch.randn(6).double()
    sd = torch.rand(4).double() + 0.5
    np.savez(os.path.join(folder, "gaussian.npz"), W=w.numpy(), b=b.numpy(), c=c.numpy(), sd=sd.numpy())
    rows = torch.randn(50, 4).double().requires_grad_()
    value = -((rows - b) ** 2 / (2 * sd ** 2)).sum(1) + F.softplus(c + (rows / sd ** 2) @ w, threshold=1000.0).sum(1)
    value.sum().backward()
    np.save(os.path.join(folder, "rows.npy"), rows.detach().numpy())
    program = write(folder, 'var v : real[4]\na = rbm(v | file="gaussian.npz")\n')
    _, score, _ = run("score", program, "a", "--data", os.path.join(folder, "rows.npy"), "--grad")
    compare("Gaussian rbm, densities", score["log_density"], value.detach())
    compare("Gaussian rbm, gradients", score["grad"], rows.grad)
    hidden = states(6)
    mean = b + hidden @ w.T
    weight = hidden @ c + ((mean ** 2 - b ** 2) / (2 * sd ** 2)).sum(1)
    truth = torch.logsumexp(weight, 0) + (torch.log(sd) + 0.5 * np.log(2 * np.pi)).sum()
    _, logz, _ = run("logz", program, "a")
    compare("Gaussian rbm, log Z", logz["log_z"], truth.item())


def deep(folder):
    sizes = [7, 5, 4]
    w = [torch.randn(n, m).double() for n, m in zip(sizes, sizes[1:])]
    bias = [torch.randn(n).double() for n in sizes]
    np.savez(os.path.join(folder, "dbm.npz"), W1=w[0].numpy(), W2=w[1].numpy(), b=bias[0].numpy(), c1=bias[1].numpy(),
             c2=bias[2].numpy())
    v, h1, h2 = states(7), states(5), states(4)
    inner = (h1 @ bias[1])[:, None] + (h2 @ bias[2])[None, :] + h1 @ w[1] @ h2.T
    value = v @ bias[0] + torch.logsumexp((v @ w[0] @ h1.T)[:, :, None] + inner[None], (1, 2))
    np.save(os.path.join(folder, "rows.npy"), v.numpy())
    program = write(folder, 'var v : binary[7]\na = dbm(v | file="dbm.npz")\n')
    _, score, _ = run("score", program, "a", "--data", os.path.join(folder, "rows.npy"))
    compare("dbm, densities", score["log_density"], value)
    _, logz, _ = run("logz", program, "a")
    compare("dbm, log Z", logz["log_z"], torch.logsumexp(value, 0).item())


def main():
    torch.manual_seed(11)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        binary(folder, torch.float64)
        binary(folder, torch.float32)
        gaussian(folder)
        deep(folder)
    sys.exit(1 if failures else 0)


main()
