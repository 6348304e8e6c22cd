"""PyTorch's side of `poe bench`: the energy of one MLP and its gradient, timed when asked.

Started by answer/bench_peer.c as `python3 -I -c <this text>`; one JSON object a line, in and out:

    in   {"file", "layers", "activation", "output_activation", "precision", "dim", "threads", "x"}
    out  {"version", "python", "log_density"}, the log density at x;  or {"absent": why there is no answer}, with
         "final" when no other Python would have one
    in   {"rows", "seconds"}
    out  {"seconds"}, of one evaluation, the mean over about the seconds asked for; of the processor on one thread
"""
import importlib.util
import json
import sys
import time


def say(**reply):
    print(json.dumps(reply), flush=True)


class Absent(Exception):
    """No answer from here."""


class Unable(Exception):
    """No answer from PyTorch, here or elsewhere."""


def read_tensors(path, torch):
    """Tensors and metadata of a safetensors or npz file."""
    if path.endswith(".npz"):
        import numpy
        with numpy.load(path, allow_pickle=False) as file:
            return {name: torch.from_numpy(file[name]) for name in file.files}, {}
    kinds = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        body = bytearray(file.read())
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        if entry["dtype"] in kinds:
            first, last = entry["data_offsets"]
            flat = torch.frombuffer(body[first:last], dtype=kinds[entry["dtype"]])
            tensors[name] = flat.reshape(entry["shape"])
    return tensors, metadata


def describe(request, tensors, metadata):
    """The layers in order, as in poe.layers."""
    if not request["layers"]:
        return json.loads(metadata["poe.layers"])
    layers = []
    for i, prefix in enumerate(request["layers"]):
        layers.append({"op": "linear", "weight": prefix + ".weight"})
        if prefix + ".bias" in tensors:
            layers[-1]["bias"] = prefix + ".bias"
        last = i + 1 == len(request["layers"])
        layers.append({"op": request["output_activation" if last else "activation"] or "identity"})
    return layers


class Affine:
    def __new__(cls, torch, scale, shift):
        class Module(torch.nn.Module):
            def forward(self, x):
                return scale * x + shift
        return Module()


def build(layers, tensors, torch):
    nn = torch.nn
    activations = {
        "identity": lambda _: nn.Identity(), "relu": lambda _: nn.ReLU(), "silu": lambda _: nn.SiLU(),
        "leaky_relu": lambda e: nn.LeakyReLU(e.get("slope", 0.01)), "elu": lambda e: nn.ELU(e.get("alpha", 1.0)),
        "gelu": lambda _: nn.GELU(), "gelu_tanh": lambda _: nn.GELU(approximate="tanh"),
        "softplus": lambda _: nn.Softplus(), "tanh": lambda _: nn.Tanh(), "sigmoid": lambda _: nn.Sigmoid()}
    parts = []
    for entry in layers:
        op = entry["op"]
        if op == "linear":
            weight = tensors[entry["weight"]]
            linear = nn.Linear(weight.shape[1], weight.shape[0], bias="bias" in entry, dtype=weight.dtype)
            with torch.no_grad():
                linear.weight.copy_(weight)
                if "bias" in entry:
                    linear.bias.copy_(tensors[entry["bias"]])
            parts.append(linear)
        elif op == "affine":
            parts.append(Affine(torch, entry.get("scale", 1.0), entry.get("shift", 0.0)))
        elif op == "flatten":
            parts.append(nn.Flatten(1))
        elif op in activations:
            parts.append(activations[op](entry))
        else:
            raise Unable("the network is no MLP: it has a layer `%s`" % op)
    return nn.Sequential(*parts).requires_grad_(False)


def gradient(net, x, torch):
    energy = net(x)
    return energy, torch.autograd.grad(energy.sum(), x)[0]


def answer(net, request, dtype, torch):
    x = torch.randn(request["rows"], request["dim"], dtype=dtype).requires_grad_(True)
    clock = time.process_time if request["threads"] == 1 else time.perf_counter
    count, start = 0, clock()
    while True:
        gradient(net, x, torch)
        count += 1
        taken = clock() - start
        if taken >= request["seconds"]:
            return taken / count


def main():
    if importlib.util.find_spec("torch") is None:
        raise Absent("PyTorch is not installed for %s" % sys.executable)
    request = json.loads(sys.stdin.readline())
    import torch
    torch.set_num_threads(request["threads"])
    tensors, metadata = read_tensors(request["file"], torch)
    layers = describe(request, tensors, metadata)
    used = [tensors[e["weight"]].dtype for e in layers if e["op"] == "linear"]
    double = request["precision"] == "double" or (not request["precision"] and all(t == torch.float64 for t in used))
    dtype = torch.float64 if double else torch.float32
    net = build(layers, tensors, torch).to(dtype)
    x = torch.tensor([request["x"]], dtype=dtype).requires_grad_(True)
    energy, _ = gradient(net, x, torch)
    scale = float(metadata.get("poe.energy_scale", 1.0))
    say(version=torch.__version__, python=sys.executable, log_density=-energy.item() / scale)
    for line in sys.stdin:
        say(seconds=answer(net, {**json.loads(line), "dim": request["dim"], "threads": request["threads"]}, dtype, torch))


try:
    main()
except Absent as absent:
    say(absent=str(absent))
except Unable as unable:
    say(absent=str(unable), final=True)
except Exception as failure:  # whatever PyTorch of whatever version makes of it
    say(absent="PyTorch cannot: %s: %s" % (type(failure).__name__, str(failure)[:200]))
