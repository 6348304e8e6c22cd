#!/usr/bin/env python3
"""Trains the pixel network of this folder on the fixed binarised MNIST.  CPU, one thread, about an hour.

    /usr/bin/python3 models/binary_digits/train.py --data DIR [--out DIR] [--scratch DIR] [--stage NAME ...]

DIR holds binarized.npz (data.py).  Stages: train, export, evaluate.  Training is by maximum likelihood (Adam) at a
constant rate that falls to nothing, linearly, over the last DECAY steps.  Every pass over the images has its own seed, and every
EVERY steps leave a checkpoint in the scratch folder: an interrupted run goes on where it was and ends with the same weights.
"""
import argparse
import os
import sys
import tempfile
import time

import numpy as np
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, os.pardir, "common")]
import data  # noqa: E402
import network  # noqa: E402

SEED = 501
BATCH = 32
RATE = 2e-3
STEPS = 6000  # 3.8 passes over the training images
DECAY = 1500
EVERY = 250
STARTED = time.time()


def say(text):
    print(f"[{time.time() - STARTED:6.0f} s] {text}", flush=True)


def mean_nll(model, x, batch=250):
    with torch.no_grad():
        return float(torch.cat([network.nll(model, part) for part in x.split(batch)]).double().mean())


def rate(step, steps):
    """The rate at a step: 50 steps of warm-up, RATE, then linearly to nothing over the last DECAY steps."""
    return RATE * min(1.0, (steps - step) / DECAY, (step + 1) / 50)


def train(bits, valid, scratch, steps):
    torch.manual_seed(SEED)
    model = network.PixelNet().to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(model.parameters(), RATE, betas=(0.9, 0.99))
    with torch.no_grad():  # the logits start at those of the pixels' frequencies
        model.last_place.copy_(torch.logit(bits.mean(0).clamp(0.001, 0.999)).reshape_as(model.last_place))
    path = os.path.join(scratch, "checkpoint.pt")
    start, epoch, total = 0, len(bits) // BATCH, 0.0
    if os.path.exists(path):
        saved = torch.load(path)
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        start = saved["step"]
    say(f"{sum(p.numel() for p in model.parameters())} parameters, from step {start}")
    for step in range(start, steps):
        if step == start or step % epoch == 0:
            order = torch.from_numpy(np.random.default_rng([SEED, step // epoch]).permutation(len(bits)))
        for group in optimiser.param_groups:
            group["lr"] = rate(step, steps)
        at = step % epoch * BATCH
        loss = network.nll(model, bits[order[at : at + BATCH]]).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 50.0)
        optimiser.step()
        total += loss.item()
        if (step + 1) % EVERY == 0 or step + 1 == steps:
            state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1}
            torch.save(state, path + ".part")
            os.replace(path + ".part", path)
            say(f"step {step + 1}: train {total / EVERY:.3f}, valid (500) {mean_nll(model, valid[::20]):.3f} nats")
            total = 0.0


def main():
    stages = ("train", "export", "evaluate")
    parser = argparse.ArgumentParser(description="Trains the weight file of models/binary_digits.")
    parser.add_argument("--data", required=True, help="folder with binarized.npz")
    parser.add_argument("--out", default=HERE, help="folder for the files (default: this one)")
    parser.add_argument("--scratch", default=os.path.join(tempfile.gettempdir(), "poe-binary-digits"))
    parser.add_argument("--poe", default="poe", help="the command that `evaluate` measures with")
    parser.add_argument("--stage", action="append", choices=stages, help="only this stage (repeatable)")
    arguments = parser.parse_args()
    os.makedirs(arguments.scratch, exist_ok=True)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    bits = data.load(arguments.data)
    wanted = arguments.stage or stages
    if "train" in wanted:
        train(bits["train"], bits["valid"], arguments.scratch, STEPS)
    if "export" in wanted:
        import export

        export.main(arguments.out, arguments.scratch)
    if "evaluate" in wanted:
        import evaluate

        evaluate.main(bits, arguments.out, arguments.poe)
    say("done")


if __name__ == "__main__":
    main()
