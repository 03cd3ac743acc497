"""Our blocks against ggml's own library:

    ggml.py WEIGHTS.safetensors --ggml PATH/libggml-base.so --ours FOLDER   error and speed of ggml's quantizer, error of our blocks as ggml
                                                                            decodes them, one JSON line for each tensor and type
    ggml.py --ggml PATH --random FOLDER                                     random blocks of each type and what ggml decodes them to
    ggml.py --ggml PATH --golden FILE                                       the same for the test of the kernels: blocks in hexadecimal and
                                                                            FNV-1a of the bits of their values
"""
import argparse
import ctypes
import json
import os

import numpy as np

from peers import Ggml, fastest, figures

# Number in enum ggml_type, weights of a block, its bytes, and where its halves stand.
TYPES = {
    "Q8_0": (8, 32, 34, [0]), "Q5_1": (7, 32, 24, [0, 2]), "Q5_0": (6, 32, 22, [0]), "Q4_1": (3, 32, 20, [0, 2]), "Q4_0": (2, 32, 18, [0]),
    "Q6_K": (14, 256, 210, [208]), "Q5_K": (13, 256, 176, [0, 2]), "Q4_K": (12, 256, 144, [0, 2]), "Q3_K": (11, 256, 110, [108]),
    "Q2_K": (10, 256, 84, [80, 82]),
}


class Blocks(Ggml):
    def decode(self, name, blocks):
        _, weights, size, _ = TYPES[name]
        out = np.empty(blocks.size // size * weights, np.float32)
        row = getattr(self.lib, f"dequantize_row_{name.replace('Q', 'q')}")
        row(ctypes.c_void_p(blocks.ctypes.data), ctypes.c_void_p(out.ctypes.data), ctypes.c_int64(out.size))
        return out

    def encode(self, name, w):
        number, weights, size, _ = TYPES[name]
        out = np.zeros(w.size // weights * size, np.uint8)
        self.lib.ggml_quantize_init(number)
        seconds = fastest(lambda: self.lib.ggml_quantize_chunk(number, w.ctypes.data, out.ctypes.data, 0, len(w), w.shape[1], None))
        return out, seconds


def random_blocks(name, count, seed):
    """Any bytes, but halves that are finite: positive and negative, small and large."""
    _, _, size, halves = TYPES[name]
    g = np.random.default_rng(seed)
    blocks = g.integers(0, 256, (count, size), np.uint8)
    for at in halves:
        values = (g.standard_normal(count) * 10.0 ** g.uniform(-7, 3, count)).astype(np.float16)
        blocks[:, at:at + 2] = values.view(np.uint8).reshape(count, 2)
    return np.ascontiguousarray(blocks).reshape(-1)


def fnv(values):
    h = 0xCBF29CE484222325
    for byte in values.tobytes():
        h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("weights", nargs="?")
    p.add_argument("--ggml", required=True)
    p.add_argument("--ours")
    p.add_argument("--random")
    p.add_argument("--golden")
    a = p.parse_args()
    lib = Blocks(a.ggml)
    if a.golden:
        with open(a.golden, "w") as f:
            for i, name in enumerate(TYPES):
                blocks = random_blocks(name, 3, i)
                f.write(f"{name} {blocks.tobytes().hex()} {fnv(lib.decode(name, blocks)):016x}\n")
    if a.random:
        for i, name in enumerate(TYPES):
            blocks = random_blocks(name, 4096, 100 + i)
            blocks.tofile(os.path.join(a.random, f"{name}.blocks"))
            lib.decode(name, blocks).tofile(os.path.join(a.random, f"{name}.f32"))
    if a.ours:
        from safetensors import safe_open
        with safe_open(a.weights, "numpy") as file:
            for tensor in sorted(file.keys()):
                w = np.ascontiguousarray(file.get_tensor(tensor))
                for name, (_, weights, _, _) in TYPES.items():
                    path = os.path.join(a.ours, f"{tensor}-{name}")
                    if w.shape[1] % weights or not os.path.exists(path):
                        continue
                    ours = lib.decode(name, np.fromfile(path, np.uint8)).reshape(w.shape)
                    blocks, seconds = lib.encode(name, w)
                    theirs = lib.decode(name, blocks).reshape(w.shape)
                    bits = blocks.size * 8 / w.size
                    print(json.dumps({"tensor": tensor, "type": name, "ours": figures(0, bits, w, ours, 1)["sqnrDb"], **figures(0, bits, w, theirs, seconds)}), flush=True)


if __name__ == "__main__":
    main()
