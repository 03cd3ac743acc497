"""Samples of a model and of quantized forms of it, all from the same noise:

    samples.py MODEL [NAME=FOLDER ...] [--sdnq BITS] [--png FILE] [--n 100] [--steps 50] [--seed 5]

MODEL and FOLDERs are pipelines of an image model on pixels, opened by diffusers' own from_pretrained and computed in F32; --sdnq adds SDNQ
itself at that many bits: groups of 64, convolutions too for a UNet, everything else as its defaults say, saved and opened again. DDIM; a
model with classes gets them in turn, with guidance 2.

Prints one JSON line a method: `distance` is the Euclidean distance between its sample and the original's from the same noise (pixels
in [-1, 1]), mean over the samples, `standardError` that of the mean, `bytes` those of its weight files. The line of the original's samples
from other noise (of the same class) says how far apart samples are that only share the model. FILE shows the first 40 of each.
"""
import argparse
import contextlib
import json
import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "interop"))
from loading import component, open_model, read_json, tensors_of, weight_bytes  # noqa: E402  before torch: it sets the threads
import diffusers  # noqa: E402
import torch  # noqa: E402
from PIL import Image, ImageDraw, ImageFont  # noqa: E402  a dependency of diffusers

GUIDANCE = 2.0
CLASSES = 10
GROUP = 64
SHOWN, ACROSS = 40, 8
ENLARGED, MARGIN, GAP, TITLE = 5, 4, 20, 30
PAPER, INK = 255, 0


@torch.no_grad()
def sample(model, root, count, steps, seed):
    """[count, channels, height, width] in [-1, 1], made by DDIM, which draws nothing but the noise it begins with."""
    shape = (count, model.config.in_channels, model.config.sample_size, model.config.sample_size)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    scheduler = diffusers.DDIMScheduler.from_config(read_json(os.path.join(root, "scheduler", "scheduler_config.json")))
    scheduler.set_timesteps(steps)
    with_classes = model.config.get("num_embeds_ada_norm")
    if with_classes:
        labels = torch.arange(count) % CLASSES
        labels = torch.cat([labels, torch.full_like(labels, with_classes)])  # the last number is "no class"
    for t in scheduler.timesteps:
        if with_classes:
            asked, free = model(torch.cat([x, x]), timestep=t.repeat(2 * count), class_labels=labels).sample.chunk(2)
            noise = free + GUIDANCE * (asked - free)
        else:
            noise = model(x, t).sample
        x = scheduler.step(noise, t, x).prev_sample
    if not torch.isfinite(x).all():
        raise SystemExit("the samples are not finite")
    return x.clamp(-1, 1)


def quantize_by_sdnq(root, bits, folder):
    """What SDNQ's users get: quantized as it is opened, in the type it is stored in."""
    import sdnq
    source = component(root)
    kind = getattr(diffusers, read_json(os.path.join(source, "config.json"))["_class_name"])
    config = sdnq.SDNQConfig(weights_dtype=f"uint{bits}", group_size=GROUP, quant_conv="UNet" in kind.__name__)
    stored = next(iter(tensors_of(root).values())).dtype
    with contextlib.redirect_stdout(sys.stderr):
        kind.from_pretrained(source, torch_dtype=stored, quantization_config=config).save_pretrained(folder)


def grid(images):
    """The first images as one picture, ACROSS in a row, each pixel a square."""
    size = images.shape[-1] * ENLARGED + MARGIN
    picture = Image.new("L", (ACROSS * size - MARGIN, -(-len(images) // ACROSS) * size - MARGIN), PAPER)
    for i, image in enumerate(images):
        pixels = Image.fromarray(((image[0] + 1) * 127.5).round().to(torch.uint8).numpy())
        picture.paste(pixels.resize((size - MARGIN, size - MARGIN), Image.Resampling.NEAREST), (i % ACROSS * size, i // ACROSS * size))
    return picture


def save_picture(columns, path):
    """Grids side by side under their titles."""
    grids = {title: grid(images[:SHOWN]) for title, images in columns.items()}
    width, height = next(iter(grids.values())).size
    sheet = Image.new("L", (len(grids) * (width + GAP) + GAP, TITLE + height + GAP), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(18)
    for i, (title, picture) in enumerate(grids.items()):
        left = GAP + i * (width + GAP)
        draw.text((left, 5), title, INK, font)
        sheet.paste(picture, (left, TITLE))
    sheet.save(path, optimize=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("quantized", nargs="*", metavar="NAME=FOLDER")
    p.add_argument("--sdnq", type=int, metavar="BITS")
    p.add_argument("--png")
    p.add_argument("--n", type=int, default=100)
    p.add_argument("--steps", type=int, default=50)
    p.add_argument("--seed", type=int, default=5)
    a = p.parse_args()
    columns = {}

    def say(method, samples, size):
        apart = (samples - columns["original"]).flatten(1).norm(dim=1)
        error = apart.std().item() / len(apart) ** 0.5
        print(json.dumps({"method": method, "bytes": size, "distance": apart.mean().item(), "standardError": error}), flush=True)

    def measure(method, folder):
        model, keys = open_model(folder)
        if any(keys.values()):
            raise SystemExit(f"{folder}: {keys}")
        columns[method] = sample(model, a.model, a.n, a.steps, a.seed)
        say(method, columns[method], weight_bytes(folder))

    measure("original", a.model)
    # As many on as there are classes: another noise, the same class.
    say("original, other noise", columns["original"].roll(CLASSES, 0), None)
    for method, folder in (pair.split("=", 1) for pair in a.quantized):
        measure(method, folder)
    if a.sdnq:
        with tempfile.TemporaryDirectory(prefix="aq-sdnq-") as folder:
            quantize_by_sdnq(a.model, a.sdnq, folder)
            measure("SDNQ", folder)
    if a.png:
        save_picture(columns, a.png)


if __name__ == "__main__":
    main()
