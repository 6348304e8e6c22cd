#!/usr/bin/env python3
"""Trains every weight file of this folder from the MNIST files.  CPU, one thread, about 25 minutes.

    /usr/bin/python3 models/pixels/train.py --data DIR [--out DIR] [--scratch DIR] [--stage NAME ...]

DIR holds the four gzipped idx files of MNIST.  Stages:

flow28       a flow over the pixels of MNIST, 28 x 28, in (0, 1)
flow14       a flow over the logits of small digits, 14 x 14
pixelcnn14   an autoregressive model over the same variable
evaluate     measures the files as written (evaluate.py; needs the command poe)

Maximum likelihood by Adam; noise of the dequantisation is fresh in every step.  What is shipped is the running mean of
the weights (Polyak and Juditsky 1992).  Each stage has its own seed and saves its state, so that a run that was
interrupted goes on from there.
"""
import argparse
import math
import os
import sys
import tempfile
import time

import numpy as np
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, os.pardir, "common")]
import images  # noqa: E402
import nets  # noqa: E402
import safetensors  # noqa: E402

# model, seed, side, steps, batch, peak rate
STAGES = {
    "flow28": (nets.flow28, 201, 28, 2250, 32, 2e-3),
    "flow14": (nets.flow14, 202, 14, 2250, 50, 2e-3),
    "pixelcnn14": (nets.PixelCnn, 203, 14, 2750, 50, 2e-3),
}
MEAN = 0.998  # of the running mean of the weights
PROVENANCE = {
    "poe.format": "1",
    "poe.license": "MIT",
    "poe.data": "MNIST (Y. LeCun, C. Cortes, C. Burges)",
}
STARTED = time.time()


def say(text):
    print(f"[{time.time() - STARTED:6.0f} s, {time.process_time():6.0f} s CPU] {text}", flush=True)


def set_rate(optimiser, peak, step, steps):
    """Linear warm-up over the first fiftieth, then a cosine down to a hundredth of the peak."""
    t = step / steps
    rate = peak * min(1.0, t / 0.02 + 0.01) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * t)))
    for group in optimiser.param_groups:
        group["lr"] = rate


def mean_log_p(model, grey, seed, most=2000):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        y = images.batch_of_logits(grey[:most], generator)
        log_p = torch.cat([model(part) for part in y.split(200)])
    return log_p.double().numpy() + images.log_slope(y.numpy())


def train(name, grey, held_out, scratch):
    """grey, held_out: uint8 [n, side, side].  Returns the model with its mean weights."""
    make, seed, side, steps, batch, peak = STAGES[name]
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = make()
    mean = {k: v.clone() for k, v in model.state_dict().items()}
    optimiser = torch.optim.Adam(model.parameters(), peak, betas=(0.9, 0.99))
    path, begin = os.path.join(scratch, name + ".pt"), 0
    if os.path.exists(path):
        state = torch.load(path)
        begin, mean = state["step"], state["mean"]
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        generator.set_state(state["generator"])
    grey, held_out = torch.from_numpy(grey), torch.from_numpy(held_out)
    say(f"{name}: {sum(p.numel() for p in model.parameters())} weights, from step {begin} of {steps}")
    total, seen = 0.0, 0
    for step in range(begin, steps):
        set_rate(optimiser, peak, step, steps)
        rows = torch.randint(len(grey), (batch,), generator=generator)
        loss = -model(images.batch_of_logits(grey[rows], generator)).mean() / side**2
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        with torch.no_grad():
            keep = min(MEAN, 1 - 1 / (1 + step / 10))
            for k, v in model.state_dict().items():
                mean[k].mul_(keep).add_(v, alpha=1 - keep)
        total, seen = total + loss.item(), seen + 1
        if step % 250 == 249 or step + 1 == steps:
            torch.save({"step": step + 1, "mean": mean, "model": model.state_dict(), "generator": generator.get_state(),
                        "optimiser": optimiser.state_dict()}, path + ".part")  # fmt: skip
            os.replace(path + ".part", path)
            averaged = make()
            averaged.load_state_dict(mean)
            bits = images.bits_per_pixel(mean_log_p(averaged, held_out, 1, 500), side**2)
            say(f"{name}: step {step + 1}, loss {total / seen:.4f}, {bits:.4f} bits per pixel of 500 test images")
            total, seen = 0.0, 0
    model.load_state_dict(mean)
    return model


def write(name, model, folder):
    meta = {**PROVENANCE, "poe.input": [1, STAGES[name][2], STAGES[name][2]]}
    path = os.path.join(folder, name + ".safetensors")
    if isinstance(model, nets.PixelCnn):
        layers, output = model.describe()
        meta.update({"poe.family": "autoregressive", "poe.layers": layers, "poe.output": output})
        safetensors.save(path, {k: v.astype(np.float32) for k, v in model.arrays().items()}, meta)
        return
    layers = model.describe()
    if name == "flow28":
        layers = [{"op": "logit", "alpha": images.ALPHA}] + layers
    meta.update({"poe.family": "flow", "poe.layers": layers})
    safetensors.save(path, safetensors.shrink({k: v.numpy() for k, v in model.state_dict().items()}), meta)


def write_view(folder):
    """The logits as grey levels, every pixel 2 x 2 times: what the judge of models/digits can look at."""
    layers = [{"op": "sigmoid"}, {"op": "upsample2d", "factor": 2}]
    meta = {**PROVENANCE, "poe.family": "decoder", "poe.input": [1, 14, 14], "poe.layers": layers}
    safetensors.save(os.path.join(folder, "view.safetensors"), {}, meta)


def main():
    stages = (*STAGES, "evaluate")
    parser = argparse.ArgumentParser(description="Trains the weight files of models/pixels.")
    parser.add_argument("--data", required=True, help="folder with the four gzipped idx files of MNIST")
    parser.add_argument("--out", default=HERE, help="folder for the weight files (default: this one)")
    parser.add_argument("--scratch", default=os.path.join(tempfile.gettempdir(), "poe-pixels"))
    parser.add_argument("--poe", default="poe", help="the command poe, for evaluate")
    parser.add_argument("--stage", action="append", choices=stages, help="only this stage (repeatable)")
    arguments = parser.parse_args()
    os.makedirs(arguments.scratch, exist_ok=True)
    torch.set_num_threads(1)
    whole, half_a, test, _ = images.load(arguments.data)
    for name in arguments.stage or stages:
        if name == "evaluate":
            import evaluate

            evaluate.main(arguments.data, arguments.out, arguments.scratch, arguments.poe)
        elif name == "flow28":
            write(name, train(name, whole, test, arguments.scratch), arguments.out)
        else:
            write(name, train(name, images.pool(half_a), images.pool(test), arguments.scratch), arguments.out)
            write_view(arguments.out)
    say("done")


if __name__ == "__main__":
    main()
