"""Calibration of the example model, recorded from one's own loop: tools/capture_calibration.py where there is no pipeline to run.

    python examples/capture_calibration.py [OUT.safetensors]      needs torch, diffusers and safetensors
    arrow-quant calibrate examples/out/digits-dit-calibration.safetensors --model examples/digits-dit
    arrow-quant quantize examples/digits-dit -o examples/out/digits-dit-calibrated --bit-width 2 \\
        --calibration examples/out/digits-dit-calibration.safetensors

A whole pipeline or a text model needs no code at all: docs/calibration.md has the commands, and says how many rows and steps it takes.
"""
from __future__ import annotations

import sys
from pathlib import Path

import torch
from diffusers import DDIMScheduler, DiTTransformer2DModel

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
from capture_calibration import Capture  # noqa: E402

MODEL = ROOT / "examples/digits-dit"
STEPS = 10


def main() -> None:
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "examples/out/digits-dit-calibration.safetensors"
    out.parent.mkdir(parents=True, exist_ok=True)
    model = DiTTransformer2DModel.from_pretrained(MODEL / "transformer", torch_dtype=torch.float32).eval()
    scheduler = DDIMScheduler.from_pretrained(MODEL / "scheduler")
    scheduler.set_timesteps(STEPS)

    # Two of each digit, made as a user would make them: what the layers see then is what counts.
    labels = torch.arange(10).repeat(2)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(len(labels), 1, 8, 8, generator=generator)
    with torch.no_grad(), Capture(model, rows=64) as capture:
        for step in scheduler.timesteps:
            noise = model(images, timestep=step.expand(len(labels)), class_labels=labels).sample
            images = scheduler.step(noise, step, images).prev_sample
    capture.save(out)


if __name__ == "__main__":
    main()
