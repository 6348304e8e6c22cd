#!/usr/bin/env python3
"""Energy and gradient of an MLP (784-512-512-1, SiLU, float32): `poe bench` beside raw matrix products and PyTorch.

    bench/mlp.py [PROGRAM] [--widths 784,512,512,1] [--rows 1,64,1024] [--rounds 5]

PROGRAM is the command (build/release/poe when left out). One thread everywhere. A round runs every number of rows, poe
and PyTorch in turn, so that all see the same machine; the best of the rounds counts.

  values/s, grads/s   rows per second: log density alone; log density and gradient
  of GEMM             arithmetic rate of `grads/s` over that of the bare matrix products of the same shapes in BLAS,
                      timed in the same process, the best round of each. Above 1 where kernels of our own beat BLAS.
  torch/s             PyTorch, energy and gradient by autograd, rows per second; - where it is not installed
  ratio               grads/s over torch/s

Absolute times mean little on a shared machine. The two right columns are what to look at.
"""
import argparse
import tempfile
import time

from shared import default_program, poe, say, weights, write_composition

try:
    import torch
except ImportError:
    torch = None


def torch_energy(widths):
    parts = []
    for i, matrix in enumerate(weights(widths)):
        linear = torch.nn.Linear(widths[i], widths[i + 1])
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(matrix))
            linear.bias.zero_()
        parts += [linear] + ([torch.nn.SiLU()] if i + 2 < len(widths) else [])
    return torch.nn.Sequential(*parts).requires_grad_(False)


def torch_rate(net, d, rows, budget):
    """Rows per second of the fastest of many evaluations."""
    x = torch.randn(rows, d, requires_grad=True)
    best, end = float("inf"), time.perf_counter() + budget
    while time.perf_counter() < end:
        start = time.perf_counter()
        torch.autograd.grad(net(x).sum(), x)
        best = min(best, time.perf_counter() - start)
    return rows / best


def torch_blas():
    with open("/proc/self/maps", encoding="utf-8") as file:
        names = {line.split("/")[-1].strip() for line in file if "/" in line}
    return ", ".join(sorted(n for n in names if "openblas" in n or "dnnl" in n or "mkl" in n)) or "unknown"


def main():
    parser = argparse.ArgumentParser(description="poe's MLP energy beside raw matrix products and PyTorch")
    parser.add_argument("program", nargs="?", default=default_program)
    parser.add_argument("--widths", default="784,512,512,1")
    parser.add_argument("--rows", default="1,64,1024")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    widths = [int(w) for w in options.widths.split(",")]
    counts = [int(r) for r in options.rows.split(",")]
    net = None
    if torch is not None:
        torch.set_num_threads(1)
        net = torch_energy(widths)
    best = {rows: {"values": 0.0, "grads": 0.0, "gflops": 0.0, "gemm": 0.0, "torch": 0.0} for rows in counts}
    core = "?"
    with tempfile.TemporaryDirectory() as folder:
        path = write_composition(folder, widths)
        for _ in range(options.rounds):
            for rows in counts:
                ours, b = poe(options.program, "bench", path, "e", "--rows", rows), best[rows]
                core = ours["blas_core"]
                b["values"] = max(b["values"], ours["rows_per_second"])
                b["grads"] = max(b["grads"], ours["gradient_rows_per_second"])
                b["gemm"] = max(b["gemm"], ours["gemm_gflops"])
                b["gflops"] = max(b["gflops"], ours["gflops"])
                if net is not None:
                    b["torch"] = max(b["torch"], torch_rate(net, widths[0], rows, 0.7))
    say(f"MLP {'-'.join(map(str, widths))}, SiLU, float32; one thread; best of {options.rounds} interleaved rounds")
    say(f"{'rows':>6} {'values/s':>10} {'grads/s':>10} {'of GEMM':>8} {'torch/s':>10} {'ratio':>6}")
    for rows in counts:
        b = best[rows]
        theirs = f"{b['torch']:10.0f} {b['grads'] / b['torch']:6.2f}" if net is not None else f"{'-':>10} {'-':>6}"
        say(f"{rows:6d} {b['values']:10.0f} {b['grads']:10.0f} {b['gflops'] / b['gemm']:8.2f} {theirs}")
    say(f"poe's BLAS: OpenBLAS, kernels for {core}")
    say(f"PyTorch: {torch.__version__ + ' with ' + torch_blas() if torch is not None else 'not installed'}")
    say("Absolute rates mean little on a shared machine; `of GEMM` and `ratio` were taken side by side.")


if __name__ == "__main__":
    main()
