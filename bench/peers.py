"""Speed and error of other quantizers on the same weights:
`peers.py WEIGHTS.safetensors --ggml PATH/libggml-base.so --threads 2`.

One JSON line for each 2-D F32 tensor and peer: tensor, peer, bits, bpw (scales and zeros included, as stored), sqnrDb,
mweightsPerS (best of 3 after a warm-up; HQQ also on one thread, if faster). A peer that cannot run is one line
with `skipped` and the reason.
"""
import argparse
import ctypes
import json
import os
import threading
import time

import numpy as np
from safetensors import safe_open

# The number in enum ggml_type, and the bits of a code.
GGML = {"Q8_0": (8, 8), "Q4_0": (2, 4), "Q4_K": (12, 4), "Q2_K": (10, 2)}
HQQ_BITS, HQQ_GROUP = 4, 64
REPEAT = 3


class Ggml:
    def __init__(self, path):
        self.lib = lib = ctypes.CDLL(path)
        pointer, count = ctypes.c_void_p, ctypes.c_int64
        lib.ggml_quantize_chunk.argtypes = [ctypes.c_int, pointer, pointer, count, count, count, pointer]
        lib.ggml_quantize_chunk.restype = lib.ggml_row_size.restype = lib.ggml_type_size.restype = ctypes.c_size_t
        lib.ggml_row_size.argtypes = [ctypes.c_int, count]
        lib.ggml_blck_size.restype = count

    def measure(self, name, w, threads):
        (rows, cols), (number, bits) = w.shape, GGML[name]
        block = self.lib.ggml_blck_size(number)
        if cols % block:
            raise ValueError(f"{cols} columns are not a multiple of {block}")
        # Made once, so that no run pays for fresh pages.
        out, back = np.zeros(rows * self.lib.ggml_row_size(number, cols), np.uint8), np.empty_like(w)
        step = -(-rows // threads)

        def part(first):
            n = min(step, rows - first)
            self.lib.ggml_quantize_chunk(number, w.ctypes.data, out.ctypes.data, first * cols, n, cols, None)

        def run():  # ctypes lets go of the interpreter's lock during a call
            jobs = [threading.Thread(target=part, args=(first,)) for first in range(0, rows, step)]
            for job in jobs:
                job.start()
            for job in jobs:
                job.join()

        self.lib.ggml_quantize_init(number)
        seconds = fastest(run)
        decode = getattr(self.lib, f"dequantize_row_{name.replace('Q', 'q')}")
        decode(ctypes.c_void_p(out.ctypes.data), ctypes.c_void_p(back.ctypes.data), ctypes.c_int64(w.size))
        return figures(bits, self.lib.ggml_type_size(number) * 8 / block, w, back, seconds)


class Hqq:
    def __init__(self):
        import torch
        from hqq.core.quantize import Quantizer

        self.torch, self.quantizer = torch, Quantizer

    def measure(self, name, w, threads):
        torch = self.torch
        options = dict(nbits=HQQ_BITS, group_size=HQQ_GROUP, axis=1, device="cpu", compute_dtype=torch.float32)
        run = lambda: self.quantizer.quantize(torch.from_numpy(w), **options)
        seconds = float("inf")
        # torch's threads wait by spinning: where not all cores are free, one is several times as fast as two.
        for count in {1, threads}:
            torch.set_num_threads(count)
            seconds = min(seconds, fastest(run))
        codes, meta = run()
        # Stored as F16, which `bpw` counts; computed in F32.
        meta |= {key: meta[key].half().float() for key in ("scale", "zero")} | {"compute_dtype": torch.float32}
        back = self.quantizer.dequantize(codes, meta).numpy()
        return figures(HQQ_BITS, HQQ_BITS + 32 / HQQ_GROUP, w, back, seconds)


def fastest(run):
    def timed():
        begun = time.perf_counter()
        run()
        return time.perf_counter() - begun

    run()
    return min(timed() for _ in range(REPEAT))


def figures(bits, bpw, w, back, seconds):
    signal, noise = (np.square(x, dtype=np.float64).sum() for x in (w, w - back))
    sqnr = float(10 * np.log10(signal / noise)) if noise > 0 else None
    return {"bits": bits, "bpw": bpw, "sqnrDb": sqnr, "mweightsPerS": w.size / seconds / 1e6}


def say(**line):
    print(json.dumps(line), flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("weights")
    p.add_argument("--ggml")
    p.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    a = p.parse_args()

    def ggml():
        if a.ggml is None:
            raise ValueError("no --ggml")
        return Ggml(a.ggml)

    peers = {}
    for names, make in ((GGML, ggml), ([f"HQQ {HQQ_BITS}b g{HQQ_GROUP}"], Hqq)):
        try:
            peers |= dict.fromkeys(names, make())
        except Exception as e:  # whatever a foreign package or library does while it loads
            for name in names:
                say(peer=name, skipped=f"{type(e).__name__}: {e}")
    with safe_open(a.weights, "numpy") as file:
        for tensor in sorted(file.keys()):
            view = file.get_slice(tensor)
            if view.get_dtype() != "F32" or len(view.get_shape()) != 2:
                continue
            w = np.ascontiguousarray(file.get_tensor(tensor))
            for name, peer in peers.items():
                try:
                    say(tensor=tensor, peer=name, **peer.measure(name, w, a.threads))
                except Exception as e:
                    say(tensor=tensor, peer=name, skipped=f"{type(e).__name__}: {e}")


if __name__ == "__main__":
    main()
