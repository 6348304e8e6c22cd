#!/usr/bin/env python3
"""How much of a run is the sampler's own work: `poe sample` beside `poe bench` on the same target.

    bench/sampler.py [PROGRAM] [--methods ula,mala,hmc] [--chains 64] [--steps 1000] [--rounds 5]

The target is an MLP energy (784-512-512-1, SiLU) times a standard normal prior over its 784 coordinates. PROGRAM is the
command (build/release/poe when left out). One thread.

A run costs start-up, warmup steps, drawing steps, and work per kept draw (storing, summaries, the gate). Runs that
differ in one of them alone are subtracted; each run is repeated in every round, with `poe bench` between, and the
shortest of each counts:

  draw      microseconds per gradient in drawing steps (two values of --thin)
  warmup    the same in warmup steps, which adapt besides (two values of --warmup)
  target    microseconds per gradient in `poe bench` at as many rows as chains
  own       (us/gradient - target) / target in %: what the sampler adds to its target
  us per kept draw
            what a draw of one chain costs beside its step when it is kept: storing it, its share in summary and gate

The sampler evaluates its chains in tiles of its own (`poei_tile_rows`: 32 rows for fewer than 256 chains), which may be
faster or slower than `chains` rows at once; `own, tiles` counts against `poe bench` at those rows. It is the stricter
figure where small tiles are fast.

Absolute times mean little on a shared machine.
"""
import argparse
import tempfile

from shared import Least, default_program, poe, say, write_composition

BASE = {"warmup": 100, "draws": 10, "thin": 1}


def sample(program, path, method, chains, settings):
    words = [w for key, value in settings.items() for w in (f"--{key}", value)]
    result = poe(program, "sample", path, "target", "--method", method, "--chains", chains, "--gate", "report", *words)
    return result["seconds"], result["gradient_evaluations"]


def main():
    parser = argparse.ArgumentParser(description="a sampler's own work beside its target's")
    parser.add_argument("program", nargs="?", default=default_program)
    parser.add_argument("--methods", default="ula,mala,hmc")
    parser.add_argument("--chains", type=int, default=64)
    parser.add_argument("--steps", type=int, default=1000, help="steps added to a run (hmc: a quarter)")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    methods, chains = options.methods.split(","), options.chains
    tile = min(chains, 64 if chains >= 256 else 32)
    seconds, gradients = Least(), {}
    with tempfile.TemporaryDirectory() as folder:
        path = write_composition(folder, [784, 512, 512, 1])
        for _ in range(options.rounds):
            for method in methods:
                steps = options.steps // 4 if method == "hmc" else options.steps
                runs = {"base": BASE, "draw": {**BASE, "thin": 1 + steps // BASE["draws"]},
                        "warmup": {**BASE, "warmup": BASE["warmup"] + steps},
                        "thinned": {**BASE, "thin": 10}, "kept": {**BASE, "draws": 10 * BASE["draws"]}}
                for run, settings in runs.items():
                    for rows in {chains, tile} if run in ("draw", "warmup") else ():
                        rate = poe(options.program, "bench", path, "target", "--rows", rows, "--grad")
                        seconds.see(rows, 1.0 / rate["gradient_rows_per_second"])
                    taken, gradients[method, run] = sample(options.program, path, method, chains, settings)
                    seconds.see((method, run), taken)
    at_once, in_tiles = seconds[chains] * 1e6, seconds[tile] * 1e6
    say(f"target: {at_once:.2f} us per gradient at {chains} rows, {in_tiles:.2f} us at {tile} rows; {chains} chains, "
        f"one thread, best of {options.rounds} interleaved rounds")
    say(f"{'method':>6} {'phase':>7} {'us/gradient':>12} {'own':>7} {'own, tiles':>11} {'us per kept draw':>17}")
    for method in methods:
        kept = (seconds[method, "kept"] - seconds[method, "thinned"]) / (9 * BASE["draws"] * chains) * 1e6
        for phase in ("draw", "warmup"):
            cost = (seconds[method, phase] - seconds[method, "base"]) * 1e6
            cost /= gradients[method, phase] - gradients[method, "base"]
            say(f"{method:>6} {phase:>7} {cost:12.2f} {100 * (cost / at_once - 1):6.1f}% "
                f"{100 * (cost / in_tiles - 1):10.1f}% {f'{kept:17.1f}' if phase == 'draw' else '-':>17}")
    say("Absolute times mean little on a shared machine; the shares were taken side by side.")


if __name__ == "__main__":
    main()
