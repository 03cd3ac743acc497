"""The Python prototype of our methods on a trained model: `prototype.py --prototype DIR --scripts DIR MODEL BITS...`.

The prototype is no part of this repository: DIR holds its bench.py, the scripts' folder the common.py that it opens models with. MODEL is a
folder with calibration.safetensors and reference.safetensors, both used whole. Every width is quantized as the row "calibration, blocks
alike" of quality.mjs has it, but for the time path: all its layers take 8 bits here, from recorded inputs.

One JSON line for each width: model, bits, mean and worst (SQNR of the prediction in dB, mean over steps and the worst step); of text also
kl (nats, mean over steps).
"""
import argparse
import json
import math
import os
import sys

sys.dont_write_bytecode = True  # the two folders are others'

# Second moments pooled over steps, damped by 1 % of their diagonal's mean; one sweep after compensation.
SAME = dict(gs=64, method="gptq", weight="pooled", rel=0.01, sweeps=1)
# Columns as they stand, the scales of a group searched when compensation reaches it; or by energy, with scales searched before.
NATURAL, ORDERED = dict(order=False, dynamic=True), dict(order=True, dynamic=False)
# Scales are stored in the types that our files have; rotation "auto" tries both and takes the smaller error of the outputs.
SETTINGS = {
    2: dict(SAME, **NATURAL, had="on", refit=True, meta="bf16"),
    4: dict(SAME, **ORDERED, had="auto", refit=True, meta="bf16"),
    8: dict(SAME, **ORDERED, had="off", refit=False, meta="f16"),
}
TIME = dict(SETTINGS[8], bits=8, had=False)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("bits", type=int, nargs="+", choices=SETTINGS)
    p.add_argument("--prototype", required=True, help="the folder of its bench.py")
    p.add_argument("--scripts", required=True, help="the folder of the common.py that it imports")
    p.add_argument("--threads", type=int, default=1)
    a = p.parse_args()
    for folder, name in ((a.prototype, "bench.py"), (a.scripts, "common.py")):
        if not os.path.isfile(os.path.join(folder, name)):
            p.error(f"no {name} in {folder}")

    import torch

    sys.path.insert(0, a.prototype)
    from bench import Bench

    bench = Bench(a.model, a.scripts)
    torch.set_num_threads(a.threads)  # after common.py, which sets it too
    for bits in a.bits:
        result = bench.run(bits, time_bits=TIME, **SETTINGS[bits])
        line = {"model": os.path.basename(os.path.abspath(a.model)), "bits": bits, "mean": result.mean(), "worst": result.worst()}
        if "kl" in result.per[0]:
            line["kl"] = math.fsum(row["kl"] for row in result.per) / len(result.per)
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
