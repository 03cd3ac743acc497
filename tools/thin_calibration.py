"""Thin a calibration file: `thin_calibration.py IN OUT [--rows 8]` keeps so many rows of every layer and step, evenly spaced.

How the calibration of the small trained models in this repository was made from the full files that their training scripts record.
"""
import argparse

from safetensors import safe_open
from safetensors.torch import save_file

ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("source")
ap.add_argument("target")
ap.add_argument("--rows", type=int, default=8)
args = ap.parse_args()
with safe_open(args.source, "pt") as f:
    metadata = dict(f.metadata(), rows=str(args.rows))
    tensors = {}
    for name in f.keys():
        rows = f.get_tensor(name)
        count = min(args.rows, len(rows))
        tensors[name] = rows[[i * len(rows) // count for i in range(count)]].contiguous()
save_file(tensors, args.target, metadata=metadata)
print(f"{args.target}: {len(tensors)} tensors, at most {args.rows} rows each")
