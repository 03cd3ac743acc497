"""ComfyUI's files written by hand, which comfyui_files.py must pass, and damaged ones, which it must notice by the words that they were made for.

    comfyui_by_hand.py        writes small files, checks them and damages one; exits 1 where a check fails
"""
import collections
import functools
import json
import os
import re
import shutil
import sys
import tempfile

import loading
import numpy as np
import torch
from safetensors.torch import load_file, save_file

import damage
import original_names
from comfyui_files import (FORMATS, GROUP, GROUPS, PARTS, READ_COLUMNS, ROTATED, ROWS, Model, by_output, check, file_of, left_out,
                           original_table)
from gguf_files import linears


def make_outliers(original, folder):
    """A copy with a large column in each matrix that can be rotated, but for those whose inputs are computed: they are encoded for these."""
    shutil.copytree(original, folder)
    for path in loading.weight_files(folder):
        tensors = load_file(path)
        for name, tensor in tensors.items():
            if tensor.ndim == 2 and tensor.shape[1] % ROTATED == 0 and not re.search(r"norm|timestep_embedder", name):
                tensor[:, 1] *= 20
        save_file(tensors, path, {"format": "pt"})


class File:
    """A file's tensors, to be changed and written anew."""

    def __init__(self, tensors):
        self.tensors = {name: tensor.clone() for name, tensor in tensors.items()}

    def write(self, path):
        save_file({name: tensor.contiguous() for name, tensor in self.tensors.items()}, path)

    def conf(self, module):
        return json.loads(self.tensors[f"{module}.comfy_quant"].numpy().tobytes())

    def say(self, module, **changes):
        conf = self.conf(module) | changes
        self.put(module, comfy_quant=as_bytes(json.dumps({key: value for key, value in conf.items() if value is not None})))

    def put(self, module, **parts):
        self.tensors.update({f"{module}.{part}": tensor for part, tensor in parts.items()})

    def part(self, module, part):
        return self.tensors[f"{module}.{part}"]

    def modules(self, kind, rotated=False):
        """Those of a format, the largest first."""
        marked = [name.removesuffix(".comfy_quant") for name in sorted(self.tensors) if name.endswith(".comfy_quant")]
        found = [m for m in marked if self.conf(m)["format"] == kind and self.conf(m).get("convrot", False) == rotated]
        return sorted(found, key=lambda m: -self.part(m, "weight").numel())

    def encode(self, module, kind, **said):
        """Puts codes in the place of a weight."""
        weight = self.tensors.pop(f"{module}.weight").float()
        self.put(module, **ENCODE[kind](weight, **said), comfy_quant=as_bytes(json.dumps({"format": kind, **said})))


def as_bytes(text):
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)


def rotated(weight, size):
    """Groups of `size` columns times the regular Hadamard matrix, which undoes itself."""
    return (weight.reshape(len(weight), -1, size) @ hadamard(size)).reshape(weight.shape)


@functools.cache
def hadamard(size):
    """The entry at (i, j) is negative where an odd number of their digits to the base of 4, digit by digit, add up to 3."""
    digits = lambda n: [n // 4**k % 4 for k in range(round(np.emath.logn(4, size)))]  # noqa: E731
    signs = [[(-1) ** sum(a + b == 3 for a, b in zip(digits(i), digits(j))) for j in range(size)] for i in range(size)]
    return torch.tensor(signs, dtype=torch.float32) / size**0.5


def encode_rows(weight, convrot=False, convrot_groupsize=ROTATED):
    weight = rotated(weight, convrot_groupsize) if convrot else weight
    scale = weight.abs().amax(1, keepdim=True) / 127
    return {"weight": (weight / scale).round().to(torch.int8), "weight_scale": scale}


def encode_groups(weight, group_size=GROUP):
    """Zeros are what code 8 stands for."""
    groups = weight.reshape(len(weight), -1, group_size)
    low, high = groups.amin(2, keepdim=True), groups.amax(2, keepdim=True)
    scale = ((high - low) / 15).bfloat16()
    zeros = (low + 8 * scale.float()).bfloat16()
    codes = ((groups - zeros.float()) / scale.float() + 8).round().clamp(0, 15).to(torch.uint8).reshape(weight.shape)
    packed = (codes[:, ::2] | codes[:, 1::2] << 4).view(torch.int8)
    return {"weight": packed, "weight_scale": scale[:, :, 0].T.contiguous(), "weight_zeros": zeros[:, :, 0].T.contiguous()}


ENCODE = {ROWS: encode_rows, GROUPS: encode_groups}


def decoded(parts, conf):
    """By the rules alone, in numpy: what stands in for our own decoder in the self-test of this file."""
    arrays = {part: tensor.numpy() if part == "weight" else tensor.float().numpy() for part, tensor in parts.items()}
    codes, scale = arrays["weight"], arrays["weight_scale"]
    if conf["format"] == GROUPS:
        pairs = codes.view(np.uint8)
        steps = np.stack([pairs & 15, pairs >> 4], 2).reshape(len(codes), len(scale), -1).astype(np.float32) - 8
        return torch.from_numpy((steps * scale.T[:, :, None] + arrays["weight_zeros"].T[:, :, None]).reshape(len(codes), -1))
    values = torch.from_numpy(codes.astype(np.float32) * scale)
    return rotated(values, conf["convrot_groupsize"]) if conf.get("convrot") else values


def edit(kind, part, change, at=...):
    """Replaces a part of the largest module of a format, or what stands at one place of it, by what `change` makes of it."""
    def apply(file):
        module = file.modules(kind)[0]
        tensor = file.part(module, part)
        if at is ...:
            file.put(module, **{part: change(tensor)})
        else:
            tensor[at] = change(tensor[at])
    return apply


def said(kind, rotated=False, **changes):
    return lambda file: file.say(file.modules(kind, rotated)[0], **changes)


def without(kind, part):
    return lambda file: file.tensors.pop(f"{file.modules(kind)[0]}.{part}")


def exchanged(file):
    """Two modules of one format and shape change places."""
    kinds = collections.defaultdict(list)
    for kind in FORMATS:
        for module in file.modules(kind):
            kinds[kind, file.part(module, "weight").shape].append(module)
    first, second = next(modules for modules in kinds.values() if len(modules) > 1)[:2]
    for part in ("weight", *PARTS):
        a, b = f"{first}.{part}", f"{second}.{part}"
        if a in file.tensors:
            file.tensors[a], file.tensors[b] = file.tensors[b], file.tensors[a]


def moved(module, order):
    """Cuts a layer's rows into as many pieces as `order` has and puts these in that order; scales and zeros of groups have them as columns."""
    def apply(file):
        packed = f"{module}.weight_zeros" in file.tensors
        for part in ("weight", "weight_scale", "weight_zeros"):
            if (tensor := file.tensors.get(f"{module}.{part}")) is not None:
                axis = 1 if packed and part != "weight" else 0
                pieces = tensor.tensor_split(len(order), axis)
                file.put(module, **{part: torch.cat([pieces[i] for i in order], axis)})
    return apply


def packed_embedder(file):
    """A layer whose width ComfyUI takes from the file, packed, whatever it was."""
    module, conf = "vector_in.in_layer", None
    if f"{module}.comfy_quant" in file.tensors:
        conf = json.loads(file.tensors.pop(f"{module}.comfy_quant").numpy().tobytes())
        parts = {part: file.tensors.pop(f"{module}.{part}") for part in ("weight", *PARTS[1:]) if f"{module}.{part}" in file.tensors}
        file.tensors[f"{module}.weight"] = decoded(parts, conf)
    columns = file.tensors[f"{module}.weight"].shape[1]
    file.encode(module, GROUPS, group_size=next(g for g in (64, 32, 16, 8) if columns % g == 0))


def nudged(file):
    name = next(n for n, t in sorted(file.tensors.items()) if t.is_floating_point() and t.ndim == 1)
    file.tensors[name][0] += 0.5


QKV, LAST = "double_blocks.1.txt_attn.qkv", "final_layer.adaLN_modulation.1"
# What is done to a FLUX file with modules of both formats, and words by which it must be reported.
DAMAGES = {
    "nibbles swapped": (edit(GROUPS, "weight", lambda q: (q.view(torch.uint8) << 4 | q.view(torch.uint8) >> 4).view(torch.int8)), "relative error"),
    "the lowest bit of a packed code changed": (edit(GROUPS, "weight", lambda q: q ^ 1, (2, 3)), "own decoder is off"),
    "the lowest bit of a code changed": (edit(ROWS, "weight", lambda q: q ^ 1, (2, 3)), "own decoder is off"),
    "one scale of a group changed": (edit(GROUPS, "weight_scale", lambda s: s * 1.25, (0, 3)), "of one group"),
    "one scale of a row changed": (edit(ROWS, "weight_scale", lambda s: s * 1.05, (3, 0)), "of one group"),
    "zeros negated": (edit(GROUPS, "weight_zeros", lambda z: -z), "own decoder is off"),
    "zeros that code 0 stands for": (lambda f: f.put(f.modules(GROUPS)[0], weight_zeros=f.part(f.modules(GROUPS)[0], "weight_zeros")
                                                     - 8 * f.part(f.modules(GROUPS)[0], "weight_scale")), "relative error"),
    "scales and zeros exchanged": (lambda f: f.put(f.modules(GROUPS)[0], weight_scale=f.part(f.modules(GROUPS)[0], "weight_zeros"),
                                                   weight_zeros=f.part(f.modules(GROUPS)[0], "weight_scale")), "relative error"),
    "scales of groups transposed": (edit(GROUPS, "weight_scale", lambda s: s.T), "weight_scale: torch.bfloat16"),
    "scales of groups in float32": (edit(GROUPS, "weight_scale", torch.Tensor.float), "weight_scale: torch.float32"),
    "zeros of another type": (edit(GROUPS, "weight_zeros", torch.Tensor.half), "have two types"),
    "scales of rows without a dimension": (edit(ROWS, "weight_scale", lambda s: s[:, 0]), "weight_scale: torch.float32"),
    "scales of rows in bfloat16": (edit(ROWS, "weight_scale", torch.Tensor.bfloat16), "weight_scale: torch.bfloat16"),
    "codes as unsigned bytes": (edit(ROWS, "weight", lambda q: q.view(torch.uint8)), "instead of a matrix of int8"),
    "comfy_quant missing": (without(GROUPS, "comfy_quant"), "has no comfy_quant"),
    "comfy_quant of signed bytes": (edit(GROUPS, "comfy_quant", lambda b: b.view(torch.int8)), "instead of bytes"),
    "comfy_quant cut short": (edit(GROUPS, "comfy_quant", lambda b: b[:-1]), "no JSON"),
    "another format": (said(GROUPS, format="convrot_w4a4"), "no format that is expected"),
    "the other format": (said(GROUPS, format=ROWS, group_size=None), "weight_scale: torch.bfloat16"),
    "a word that ComfyUI does not know": (said(GROUPS, groupsize=64), "groupsize is 64"),
    "a number as text": (said(GROUPS, group_size="64"), "group_size is '64'"),
    "another group size": (said(GROUPS, group_size=32), "weight_scale: torch.bfloat16"),
    "rotation that is none": (said(ROWS, convrot=True, convrot_groupsize=4), "own decoder is off"),
    "rotation of an unsaid size": (said(ROWS, convrot=True), "without convrot_groupsize"),
    "scales missing": (without(ROWS, "weight_scale"), "weight_scale: missing"),
    "zeros missing": (without(GROUPS, "weight_zeros"), "weight_zeros: missing"),
    "zeros too many": (lambda f: f.put(f.modules(ROWS)[0], weight_zeros=torch.zeros(1)), "not asked for"),
    "scales of no module": (lambda f: f.tensors.update({"stray.weight_scale": torch.ones(2, 1)}), "has no comfy_quant"),
    "a tensor that the converter drops": (lambda f: f.tensors.update(stray=torch.ones(2)), "no tensor that diffusers asks for"),
    "a tensor missing": (lambda f: f.tensors.pop("img_in.bias"), "img_in.bias"),
    "a tensor with the name of diffusers": (lambda f: f.tensors.update({"x_embedder.bias": f.tensors.pop("img_in.bias")}), "img_in.bias"),
    "two modules exchanged": (exchanged, "relative error"),
    "rows of q and k exchanged": (moved(QKV, (1, 0, 2)), "transformer_blocks.1.attn.add_q_proj.weight: "),
    "halves left as diffusers has them": (moved(LAST, (1, 0)), "norm_out.linear.weight: "),
    "a layer packed from which ComfyUI takes a width": (packed_embedder, "vector_in.in_layer: packed"),
    "a vector changed": (nudged, "not the original's"),
}
# The same for files with rotated layers.
ROTATED_DAMAGES = {
    "rotation not told": (said(ROWS, True, convrot=None, convrot_groupsize=None), "relative error"),
    "rotation of another size": (said(ROWS, True, convrot_groupsize=16), "relative error"),
    "rotation of a size that is no power of 4": (said(ROWS, True, convrot_groupsize=32), "rotated by 32"),
}


def unnoticed(path, model, own):
    """Writes the file once as it is, then in one damaged way after another; names what is not reported, or not by its words."""
    damages = DAMAGES | (ROTATED_DAMAGES if File(load_file(path)).modules(ROWS, True) else {})
    missed = damage.unnoticed(lambda: File(load_file(path)), damages, lambda at: model.judge(at, own)[0]["problems"], ".safetensors")
    return {"unnoticed": missed, "damages": len(damages)}


def self_test(original, folder, own, name=None):
    """Damages a FLUX file that has modules of both formats."""
    return unnoticed(file_of(folder), Model(original, left_out(name), by_output(folder)), own)


def write_by_hand(folder, original, name=None):
    """Writes the model into `folder`, in both formats, and beside it what numpy decodes, which it returns as `own`."""
    model = Model(original, left_out(name))
    file = File(original_names.original(original_table(), model.config, model.weights))
    made = original_names.renamed(original_table(), model.config, model.weights)
    modules = [new.removesuffix(".weight") for new, (_, of) in sorted(made.items()) if new.endswith(".weight")
               and all(source.removesuffix(".weight") in linears(original) for source in of)]
    own, layers, rows = {}, [], []
    for number, module in enumerate(modules):
        columns = file.tensors[f"{module}.weight"].shape[1]
        if number % 7 == 6:
            continue
        reads = any(re.fullmatch(pattern, module) for pattern in READ_COLUMNS[model.architecture])
        kind = GROUPS if columns % GROUP == 0 and number % 4 and not reads else ROWS
        rotation = max((size for size in (16, 64, 256) if columns % size == 0), default=None) if kind == ROWS and number % 8 == 0 else None
        said = {"group_size": GROUP} if kind == GROUPS else {"convrot": True, "convrot_groupsize": rotation} if rotation else {}
        file.encode(module, kind, **said)
        parts = {part: file.part(module, part) for part in ("weight", *FORMATS[kind].parts)}
        own[f"{module}.weight"] = decoded(parts, file.conf(module)).contiguous()
        scheme = dict(bits=FORMATS[kind].bits, symmetric=kind == ROWS, rotation=rotation)
        layers.append({"name": module, "layout": "comfyui", **scheme})
        stored = {"storedGroupSize": GROUP if kind == GROUPS else columns, "method": "rtn"}
        rows.append({"name": "?", "writtenAs": f"{module}.weight", "scheme": scheme | stored})
    os.makedirs(folder)
    file.write(os.path.join(folder, "model.safetensors"))
    for name, value in (("config.json", model.config), ("arrow-quant.json", {"layers": rows})):
        with open(os.path.join(folder, name), "w") as f:
            json.dump(value, f)
    save_file(own, f"{folder}-own.safetensors")
    return {"file": f"{folder}-own.safetensors", "layers": layers}


def main():
    import gguf_original
    failed = []

    def say(what, problems, figures):
        print(f"FAIL {what}: {'; '.join(problems[:5])}" if problems else f"ok   {what}: {figures}", flush=True)
        failed.extend(problems)

    with tempfile.TemporaryDirectory(prefix="aq-comfyui-") as work:
        files = {}
        for name in gguf_original.CASES:
            original, folder = os.path.join(work, name), os.path.join(work, f"{name}-by-hand")
            gguf_original.make(name, original)
            files[name] = original, folder, write_by_hand(folder, original, name)
            result = check(*files[name], name)
            say(f"comfyui by hand {name}", result.pop("problems"), json.dumps(result))
        tested = self_test(*files["flux-guidance"])
        say("self-test comfyui by hand", tested["unnoticed"], f"{tested['damages']} kinds of damage are noticed")
        original, folder, own = files["wan-t2v"]
        save_file({"x": torch.ones(1)}, os.path.join(folder, "second.safetensors"))
        try:
            check(original, folder, own)
            say("self-test comfyui by hand, two files", ["taken"], "")
        except FileNotFoundError as error:
            say("self-test comfyui by hand, two files", [], str(error))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
