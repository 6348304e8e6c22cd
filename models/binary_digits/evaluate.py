"""Measures pixelcnn.safetensors as written and writes metrics.json and heldout.npz.  Called by train.py.

The held-out log-likelihood is a density's exact value, no bound: by `poe score`, and for every tenth image by torch in
double precision (Program).  For the tests, heldout.npz keeps 20 test images, two of each digit, with torch's values; and
one of them moved into the lower right corner, so that its last ten pixels are uncertain, with what torch says about all
pixels before those.  upper.csv keeps the upper halves of four test images.  (The data set is sorted by digit.)
"""
import json
import os
import subprocess
import tempfile

import numpy as np
import torch
import torch.nn.functional as F

import safetensors

KEPT = slice(250, None, 500)  # 20 of the test images
UPPER = (3200, 5500, 8050, 9100)  # a three, a five, an eight, a nine
LAST = 10
PUBLISHED = {  # test, nats; all on the same fixed binarisation
    "MADE, 1 mask (Germain et al. 2015)": 88.40,
    "NADE (Larochelle and Murray 2011)": 88.33,
    "MADE, 2 layers, 32 masks (Germain et al. 2015)": 86.64,
    "EoNADE, 2 layers, 128 orders (Uria et al. 2014)": 85.10,
    "PixelCNN (van den Oord et al. 2016)": 81.30,
    "Diagonal BiLSTM PixelRNN, 7 layers (van den Oord et al. 2016)": 79.20,
}


def by_torch(path, x, precision, batch=100):
    """log p of the rows of x, [n] float64"""
    net = safetensors.Program(path, precision)
    out = []
    with torch.no_grad():
        for part in x.numpy().astype(precision).reshape(-1, batch, x.shape[1]):
            part = torch.from_numpy(part)
            out.append(-F.binary_cross_entropy_with_logits(net(part), part, reduction="none").double().sum(1).numpy())
    return np.concatenate(out)


def by_poe(poe, program, x):
    """The same by the command `poe score`."""
    with tempfile.TemporaryDirectory() as folder:
        rows = os.path.join(folder, "rows.npz")
        np.savez(rows, x=x.numpy().astype(np.float64))
        command = [poe, "score", program, "digits", "--data", rows, "--json"]
        answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return np.array(answer["log_density"])


def summary(log_p):
    return {"nll_nats": round(float(-log_p.mean()), 3),
            "standard_error": round(float(log_p.std() / np.sqrt(len(log_p))), 3),
            "bits_per_pixel": round(float(-log_p.mean() / np.log(2) / 784), 4)}  # fmt: skip


def keep(bits, path, folder):
    """heldout.npz and upper.csv"""
    kept = bits["test"][KEPT]
    corner = torch.roll(kept[6].reshape(28, 28), (5, 7), (0, 1)).reshape(1, 784)
    with torch.no_grad():
        logits = safetensors.Program(path, np.float64)(corner.double())
    each = -F.binary_cross_entropy_with_logits(logits, corner.double(), reduction="none").numpy()[0]
    images = {name: value.numpy().reshape(-1, 28, 28) for name, value in (("x", kept), ("corner", corner))}
    log_p = by_torch(path, kept, np.float64, batch=len(kept))
    np.savez_compressed(os.path.join(folder, "heldout.npz"), log_p=log_p, corner_before=each[:-LAST].sum(),
                        corner_last=each[-LAST:], **images)  # fmt: skip
    upper = bits["test"][list(UPPER)].reshape(-1, 28, 28)[:, :14].reshape(-1, 28).numpy()
    np.savetxt(os.path.join(folder, "upper.csv"), upper, fmt="%d", delimiter=",")


def main(bits, folder, poe):
    path, program = os.path.join(folder, "pixelcnn.safetensors"), os.path.join(folder, "binary_digits.poe")
    keep(bits, path, folder)
    test = by_poe(poe, program, bits["test"])
    few = slice(0, None, 10)
    exact = by_torch(path, bits["test"][few], np.float64)
    metrics = {
        "unit": "nats per image; the logarithm of a normalised mass function, no bound",
        "parameters": int(sum(v.size for k, v in safetensors.load(path)[0].items() if not k.endswith(("zero", "one")))),
        "train_every_25th": summary(by_torch(path, bits["train"][::25], np.float32)),
        "valid_every_5th": summary(by_torch(path, bits["valid"][::5], np.float32)),
        "test": {"images": len(test), "by_poe": summary(test),
                 "every_10th": {"by_poe": summary(test[few]), "by_torch_double": summary(exact),
                                "largest_difference": float(f"{np.abs(test[few] - exact).max():.2g}")}},
        "published_test_nll_nats": PUBLISHED,
    }  # fmt: skip
    with open(os.path.join(folder, "metrics.json"), "w") as out:
        json.dump(metrics, out, indent=1)
        out.write("\n")
