"""Can the checks fail? Writes a small sdnq and plain pair of its own, expects it to pass, then damages it in one way after another.

    selftest.py MODEL_DIR [MODEL_DIR ...]

The writer here is independent of the package: it follows the layout as SDNQ's loader reads it, with min/max codes. For each model both
kinds of zero are written at every width.
"""
import argparse
import json
import os
import shutil
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file

import loading
import open_sdnq

GROUP = 32


def pack(codes, bits):
    """LSB first, C order."""
    if bits == 8:
        return codes
    per_byte = codes.reshape(-1, 8 // bits).to(torch.int32)
    return sum(per_byte[:, i] << (bits * i) for i in range(8 // bits)).to(torch.uint8)


def group_count(channels):
    """The loader's own rule, step by step: 144 channels in groups of 32 give 3 groups, though 4 would divide."""
    if GROUP >= channels:
        return 1
    size, count = GROUP, channels // GROUP
    while count * size != channels:
        count -= 1
        if count <= 1:
            return 1
        size = channels // count
    return count


def encode(weight, bits, symmetric):
    """{suffix: tensor} as stored, and the dequantized weight."""
    rows, channels, *taps = weight.shape
    groups = group_count(channels)
    shape = (rows, groups, channels // groups, *taps) if groups > 1 else tuple(weight.shape)
    axis = 2 if groups > 1 else 1
    v, top, half = weight.float().reshape(shape), 2**bits - 1, 2 ** (bits - 1)
    if symmetric:
        scale = (v.abs().amax(axis, keepdim=True) / max(half - 1, 1)).to(torch.bfloat16)
        codes = (v / scale.float()).round().clamp(-half, half - 1)
        stored = codes.to(torch.int8) if bits == 8 else pack((codes + half).to(torch.uint8), bits)
        return {"weight": stored, "scale": scale}, (codes * scale.float()).reshape(weight.shape)
    low, high = v.amin(axis, keepdim=True), v.amax(axis, keepdim=True)
    zero = low.to(torch.bfloat16)
    scale = ((high - zero.float()) / top).to(torch.bfloat16)
    codes = ((v - zero.float()) / scale.float()).round().clamp(0, top)
    return {"weight": pack(codes.to(torch.uint8), bits), "scale": scale, "zero_point": zero}, \
        (codes * scale.float() + zero.float()).reshape(weight.shape)


def eligible(name, tensor):
    return name.endswith(".weight") and tensor.dim() in (2, 4) and tensor.shape[1] >= GROUP and "embed" not in name


def write(original, sdnq, plain):
    source = loading.component(original)
    tensors, exact, rows, keep, kinds = {}, {}, [], [], {}
    for i, (name, tensor) in enumerate(loading.tensors_of(original).items()):
        if not eligible(name, tensor) or i % 5 == 0:
            tensors[name] = exact[name] = tensor
            keep += [name] if tensor.dim() > 1 else []
            continue
        bits, symmetric = (2, 4, 8)[i % 3], i % 2 == 0
        parts, exact[name] = encode(tensor, bits, symmetric)
        tensors |= {f"{name.removesuffix('weight')}{part}": t.contiguous() for part, t in parts.items()}
        kinds.setdefault(f"{'' if symmetric else 'u'}int{bits}", []).append(name)
        rows.append({"name": name.removesuffix(".weight"), "scheme": {"bits": bits, "symmetric": symmetric}})
    config = loading.read_json(os.path.join(source, "config.json"))
    for folder, stored in ((plain, exact), (sdnq, tensors)):
        os.makedirs(folder)
        stem = "diffusion_pytorch_model" if "_class_name" in config else "model"
        save_file(stored, os.path.join(folder, stem + ".safetensors"), metadata={"format": "pt"})
        if folder == sdnq:
            config["quantization_config"] = {
                "quant_method": "sdnq", "weights_dtype": "uint4", "group_size": GROUP, "quant_conv": True, "dequantize_fp32": False,
                "modules_to_not_convert": keep, "modules_dtype_dict": kinds, "add_skip_keys": False}
        write_json(os.path.join(folder, "config.json"), config)
    write_json(os.path.join(sdnq, "arrow-quant.json"), {"layers": rows})


def write_json(path, value):
    with open(path, "w") as f:
        json.dump(value, f)


def edit_json(path, change):
    value = loading.read_json(path)
    change(value)
    write_json(path, value)


def edit_weights(folder, change):
    file = loading.weight_files(folder)[0]
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def pick(tensors, suffix):
    return next(name for name in sorted(tensors) if name.endswith(suffix) and tensors[name].dim() > 1)


def nudge(tensors):
    name = pick(tensors, ".scale")
    tensors[name].view(-1)[0] *= 1.5


def flip_code(tensors):
    name = pick(tensors, ".scale").removesuffix("scale") + "weight"
    tensors[name].view(-1)[0] ^= 1


DAMAGE = {
    "a scale changed": lambda s, p: edit_weights(s, nudge),
    "a code changed": lambda s, p: edit_weights(s, flip_code),
    "a scale missing": lambda s, p: edit_weights(s, lambda t: t.pop(pick(t, ".scale"))),
    "a tensor too many": lambda s, p: edit_weights(s, lambda t: t.update({"stray.scale": torch.ones(2)})),
    "a bias changed": lambda s, p: edit_weights(s, lambda t: t.update({n: v + 1 for n, v in t.items() if v.dim() == 1 and v.is_floating_point()})),
    "a manifest row missing": lambda s, p: edit_json(os.path.join(s, "arrow-quant.json"), lambda m: m["layers"].pop()),
    "a wrong width in the manifest": lambda s, p: edit_json(os.path.join(s, "arrow-quant.json"), lambda m: m["layers"][0]["scheme"].update(bits=3)),
    "no quantization_config": lambda s, p: edit_json(os.path.join(s, "config.json"), lambda c: c.pop("quantization_config")),
    "plain not a number": lambda s, p: edit_weights(p, lambda t: t.update({n: v * float("nan") for n, v in t.items() if n.endswith("weight")})),
}


def attempt(original, sdnq, plain):
    try:
        return open_sdnq.check(original, sdnq, plain, samples=2)["problems"]
    except Exception as error:  # the loader refusing the folder is as good as a listed problem
        return [f"{type(error).__name__}: {error}"[:150]]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("models", nargs="+")
    p.add_argument("--damage", action="store_true", help="damage the first model's folders too")
    a = p.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="aq-selftest-") as work:
        for n, original in enumerate(a.models):
            sdnq, plain = os.path.join(work, f"{n}-sdnq"), os.path.join(work, f"{n}-plain")
            write(original, sdnq, plain)
            problems = attempt(original, sdnq, plain)
            failed += bool(problems)
            print(f"{'FAIL' if problems else 'ok'}  {os.path.basename(original)}: sound folder passes {problems[:3] or ''}")
            for title, damage in (DAMAGE.items() if a.damage and n == 0 else ()):
                bad = [os.path.join(work, kind) for kind in ("bad-sdnq", "bad-plain")]
                for good, copy in zip((sdnq, plain), bad):
                    shutil.rmtree(copy, ignore_errors=True)
                    shutil.copytree(good, copy)
                damage(*bad)
                problems = attempt(original, *bad)
                failed += not problems
                print(f"{'ok' if problems else 'FAIL'}  {title}: {problems[0] if problems else 'not noticed'}")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
