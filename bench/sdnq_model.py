"""SDNQ on a whole model: `sdnq_model.py MODEL OUT --threads N`. Prints one line of JSON: seconds from opening to saved, without imports, and
the peak memory of the process."""
import argparse
import json
import resource
import time

import torch
from diffusers import FluxTransformer2DModel
from sdnq import SDNQConfig

p = argparse.ArgumentParser(description=__doc__)
p.add_argument("model")
p.add_argument("out")
p.add_argument("--threads", type=int, default=2)
a = p.parse_args()
torch.set_num_threads(a.threads)
begun = time.perf_counter()
config = SDNQConfig(weights_dtype="uint4", group_size=64)
model = FluxTransformer2DModel.from_pretrained(a.model, torch_dtype=torch.bfloat16, quantization_config=config)
model.save_pretrained(a.out)
seconds = time.perf_counter() - begun
print(json.dumps({"seconds": seconds, "maxRss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
