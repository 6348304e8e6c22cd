"""Writes files with numpy, and checks those that the C test wrote. Called by test_numpy.c: write DIR, or check DIR."""
import os
import sys

import numpy as np

TYPES = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "b1"]
SHAPES = [(), (1,), (7,), (3, 4), (2, 3, 4), (0, 5), (2, 0), (1, 2, 1, 3, 2)]


def array(code, shape):
    """The array that test_numpy.c expects under this type and shape: k mod 2 as booleans, k - 3 or k as integers, k / 8
    as floats, in C order."""
    k = np.arange(int(np.prod(shape, dtype=int))).reshape(shape)
    if code[0] == "f":
        return (k / 8 - 1).astype(code)
    return (k % 2 if code == "b1" else k - 3 if code[0] == "i" else k).astype(code)


def arrays():
    for code in TYPES:
        for shape in SHAPES:
            yield code + "_" + "x".join(map(str, shape)), array(code, shape)


def write(folder):
    everything = dict(arrays())
    np.savez(os.path.join(folder, "stored.npz"), **everything)
    np.savez_compressed(os.path.join(folder, "deflated.npz"), **everything)
    np.savez(os.path.join(folder, "fortran.npz"), **{k: np.asarray(v, order="F") for k, v in everything.items()})
    np.savez(os.path.join(folder, "big.npz"), **{k: v.astype(v.dtype.newbyteorder(">")) for k, v in everything.items()})
    np.savez(os.path.join(folder, "none.npz"))
    np.save(os.path.join(folder, "one.npy"), array("f4", (3, 4)))
    np.save(os.path.join(folder, "objects.npy"), np.array([{}, None], dtype=object), allow_pickle=True)
    np.save(os.path.join(folder, "records.npy"), np.zeros(2, dtype=[("a", "f4"), ("b", "i4")]))
    np.save(os.path.join(folder, "text.npy"), np.array(["a", "bcd"]))
    np.save(os.path.join(folder, "complex.npy"), np.zeros(2, complex))


def check(folder):
    expected = dict(arrays())
    for name in ("ours.npz", "ours64.npz"):
        with np.load(os.path.join(folder, name), allow_pickle=False) as found:
            assert sorted(found.files) == sorted(expected), name
            for key, value in expected.items():
                assert found[key].dtype == value.dtype and found[key].shape == value.shape, (name, key)
                assert np.array_equal(found[key], value), (name, key)
    one = np.load(os.path.join(folder, "ours.npy"), allow_pickle=False)
    assert np.array_equal(one, array("f4", (3, 4))) and one.dtype == np.float32


if __name__ == "__main__":
    {"write": write, "check": check}[sys.argv[1]](sys.argv[2])
