#!/usr/bin/env python3
"""Energy and gradient of an MLP (784-512-512-1, SiLU, float32): `poe bench`, which times PyTorch beside itself.

    bench/mlp.py [PROGRAM] [--widths 784,512,512,1] [--rows 1,64,1024] [--rounds 3]

PROGRAM is the command (build/release/poe when left out). Writes the model and runs the command on one thread, --rounds
times for every number of rows; the best of each column counts, ratios are those of what is shown.

  values/s, grads/s   rows per second: log density alone; log density and gradient
  of GEMM             arithmetic rate of `grads/s` over that of the bare matrix products of the same shapes in BLAS.
                      Above 1 where kernels of our own beat BLAS.
  torch/s, ratio      PyTorch's gradients, rows per second, and grads/s over that; - where it is not installed

Absolute times mean little on a shared machine. The ratios are what to look at.
"""
import argparse
import tempfile

from shared import default_program, poe, say, write_composition

KEYS = ("rows_per_second", "gradient_rows_per_second", "gflops", "gemm_gflops", "pytorch_gradient_rows_per_second")


def main():
    parser = argparse.ArgumentParser(description="poe's MLP energy beside raw matrix products and PyTorch")
    parser.add_argument("program", nargs="?", default=default_program)
    parser.add_argument("--widths", default="784,512,512,1")
    parser.add_argument("--rows", default="1,64,1024")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    widths = [int(w) for w in options.widths.split(",")]
    best = {int(rows): dict.fromkeys(KEYS, 0.0) for rows in options.rows.split(",")}
    with tempfile.TemporaryDirectory() as folder:
        path = write_composition(folder, widths)
        for _ in range(options.rounds):
            for rows, b in best.items():
                seen = poe(options.program, "bench", path, "e", "--rows", rows)
                b.update({key: max(b[key], seen.get(key, 0.0)) for key in KEYS})
    say(f"MLP {'-'.join(map(str, widths))}, SiLU, float32; one thread; best of {options.rounds} runs")
    say(f"{'rows':>6} {'values/s':>10} {'grads/s':>10} {'of GEMM':>8} {'torch/s':>10} {'ratio':>6}")
    for rows, b in best.items():
        values, grads, gflops, gemm, torch = (b[key] for key in KEYS)
        theirs = f"{torch:10.0f} {grads / torch:6.2f}" if torch > 0.0 else f"{'-':>10} {'-':>6}"
        say(f"{rows:6d} {values:10.0f} {grads:10.0f} {gflops / gemm:8.2f} {theirs}")
    say(f"poe's BLAS: OpenBLAS, kernels for {seen['blas_core']}")
    say(f"PyTorch: {seen.get('pytorch_version') or 'none: ' + seen.get('pytorch_absent', '')}")
    say("Absolute rates mean little on a shared machine; `of GEMM` and `ratio` were taken side by side.")


if __name__ == "__main__":
    main()
