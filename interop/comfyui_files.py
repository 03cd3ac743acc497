"""ComfyUI's quantized safetensors as comfy-kitchen decodes them, whose tensor classes ComfyUI computes with.

1. There is one file: ComfyUI takes no shards. Each module with codes has what its loader asks for, in the types and shapes that its kernels
   take, and nothing is left that no module asks for.
2. What comfy-kitchen decodes in float32 is what our own decoder made of the same file, and its product with inputs in bfloat16 is near that
   of the decoded weights.
3. diffusers' converter of original checkpoints makes the original's names and shapes of it; decoded weights are near the original's,
   everything else has their values, bit for bit.
4. Codes stand in weights of nn.Linear alone, and are not packed where ComfyUI takes the width of a layer from the shape in the file.
5. The manifest, and what our own decoder says of a layer, agree with comfy_quant.

The rules of 1 and 4 are those of ComfyUI's comfy/ops.py (at 0271a46) and comfy/model_detection.py (at 0b61ce5), which no package has.
comfyui_by_hand.py writes files of its own, which must pass, and damages files, which must be noticed.
"""
import collections
import functools
import json
import os
import re

import loading
import numpy as np
import torch
from comfy_kitchen.tensor import QuantizedTensor, get_layout_class
from safetensors import safe_open
from safetensors.torch import load_file

import original_names
from gguf_files import linears
from open_sdnq import relative

# The class of comfy-kitchen, bits, tensors with the names of its parameters, and what comfy_quant may say beside the format.
Format = collections.namedtuple("Format", "layout bits parts said")
ROWS, GROUPS = "int8_tensorwise", "awq_w4a16"
FORMATS = {
    ROWS: Format("TensorWiseINT8Layout", 8, {"weight_scale": "scale"}, {"convrot": bool, "convrot_groupsize": int}),
    GROUPS: Format("TensorCoreAWQW4A16Layout", 4, {"weight_scale": "scale", "weight_zeros": "zeros"}, {"group_size": int}),
}
PARTS = ("comfy_quant", "weight_scale", "weight_zeros")
# What ComfyUI assumes where comfy_quant does not say it.
GROUP, ROTATED = 64, 256

# Weights whose columns ComfyUI takes for the width of what goes in; of several that match, the first. Packed, they look half as wide.
TO_K = r"input_blocks\.\d+\.1\.transformer_blocks\.0\.attn2\.to_k"
READ_COLUMNS = {"flux": ["img_in", "txt_in", r"vector_in\.in_layer"], "sd3": ["context_embedder", r"y_embedder\.mlp\.0"], "wan": [],
                "qwen_image": ["img_in"], "sd1": [r"label_emb\.0\.0", TO_K], "sdxl": [r"label_emb\.0\.0", TO_K]}

# Root of relative squared error to the original, of a tensor and, in multiples of that, of any run of weights with one scale. Random weights,
# encoded by minimum and maximum, had 0.0085 and 0.0932, and runs of them 0.0114 and 0.146.
MOST_ERROR = {ROWS: 0.012, GROUPS: 0.11}
# The same where the manifest's method is gptq: codes, scales and zeros that make the output's error least, for inputs that lie in few
# directions, leave a larger one in the weights. Modulation of these models has computed inputs of the time path.
MOST_ERROR_BY_OUTPUT = {ROWS: 0.016, GROUPS: 0.2}
GROUP_FACTOR = 2
# Codes times scales are exact in float32 with awq's scales of 16 bits, and rounded once with int8's: both decoders should be equal. Sums of
# 256 rotated weights depend on the order of addition.
OWN_TOLERANCE, ROTATED_TOLERANCE = 1e-6, 4e-6
# Kernels of awq decode in bfloat16, those of int8 round each row of inputs to 8 bits.
PRODUCT_TOLERANCE = 0.03

# values: as decoded by comfy-kitchen in float32, or None where that is not possible; group: weights with one scale.
Layer = collections.namedtuple("Layer", "conf group rotation values")


def file_of(folder):
    files = loading.weight_files(folder)
    if len(files) != 1:
        raise FileNotFoundError(f"{len(files)} safetensors files instead of one")
    return files[0]


def read_conf(name, tensor, problems):
    """The JSON of a comfy_quant tensor, where ComfyUI knows its format."""
    if tensor.dtype != torch.uint8 or tensor.ndim != 1:
        problems.append(f"{name}: {tensor.dtype} {list(tensor.shape)} instead of bytes")
        return None
    try:
        conf = json.loads(tensor.numpy().tobytes())
    except ValueError as error:
        problems.append(f"{name}: no JSON, {error}")
        return None
    if not isinstance(conf, dict) or conf.get("format") not in FORMATS:
        problems.append(f"{name}: no format that is expected, {conf}")
        return None
    said = FORMATS[conf["format"]].said
    wrong = [f"{name}: {key} is {value!r}" for key, value in conf.items() if key != "format" and type(value) is not said.get(key)]
    if conf.get("convrot") and "convrot_groupsize" not in conf:
        wrong.append(f"{name}: convrot without convrot_groupsize, which stable-diffusion.cpp asks for")
    problems += wrong
    return None if wrong else conf


def expected_parts(conf, rows, columns):
    """{tensor: (types, shape)} beside the codes."""
    if conf["format"] == ROWS:
        return {"weight_scale": ((torch.float32,), [rows, 1])}
    half = (torch.bfloat16, torch.float16)
    return {part: (half, [columns // conf.get("group_size", GROUP), rows]) for part in ("weight_scale", "weight_zeros")}


def read_parts(module, conf, tensors, problems):
    """Codes, scales and zeros, where they have the types and shapes that ComfyUI's kernels take."""
    codes, before = tensors.get(f"{module}.weight"), len(problems)
    if codes is None or codes.dtype != torch.int8 or codes.ndim != 2:
        problems.append(f"{module}.weight: {codes is not None and (codes.dtype, list(codes.shape))} instead of a matrix of int8")
        return None
    rows, columns = len(codes), codes.shape[1] * 8 // FORMATS[conf["format"]].bits
    group, rotation = conf.get("group_size", GROUP), conf.get("convrot_groupsize", ROTATED) if conf.get("convrot") else 1
    if conf["format"] == GROUPS and (group < 1 or group % 8 or columns % group):
        problems.append(f"{module}: {columns} columns, groups of {group}")
        return None
    if 4 ** round(np.emath.logn(4, max(rotation, 1))) != rotation or columns % rotation:
        problems.append(f"{module}: {columns} columns, rotated by {rotation}")
        return None
    found = {}
    for part, (types, shape) in expected_parts(conf, rows, columns).items():
        tensor = tensors.get(f"{module}.{part}")
        if tensor is None:
            problems.append(f"{module}.{part}: missing")
        elif tensor.dtype not in types or list(tensor.shape) != shape:
            problems.append(f"{module}.{part}: {tensor.dtype} {list(tensor.shape)} instead of {types[0]} {shape}")
        else:
            found[part] = tensor
    if len({tensor.dtype for tensor in found.values()}) > 1:
        problems.append(f"{module}: scales and zeros have two types")
    problems += [f"{module}.{part}: not asked for" for part in PARTS[1:]
                 if part not in FORMATS[conf["format"]].parts and f"{module}.{part}" in tensors]
    return (codes, columns, found) if len(problems) == before else None


def kitchen(codes, columns, conf, found, dtype):
    """The weight as ComfyUI makes it for a model that computes in `dtype`."""
    kind = FORMATS[conf["format"]]
    parts = {kind.parts[part]: tensor for part, tensor in found.items()}
    sizes = {key: value for key, value in conf.items() if key != "format"}
    params = get_layout_class(kind.layout).Params(**parts, **sizes, orig_dtype=dtype, orig_shape=(len(codes), columns))
    return QuantizedTensor(codes, kind.layout, params)


def check_product(module, weight, values, problems):
    x = torch.randn(6, values.shape[1], generator=torch.Generator().manual_seed(5)).bfloat16()
    off = relative(torch.nn.functional.linear(x, weight).float(), x.float() @ values.T)
    if not off <= PRODUCT_TOLERANCE:
        problems.append(f"{module}: its product with inputs is off by {off:.2e}")
    return off


def read_layer(module, tensors, products, problems):
    """A layer, or None. Notes in `products` how far its product with inputs is off, for one layer of each kind and shape."""
    conf = read_conf(f"{module}.comfy_quant", tensors[f"{module}.comfy_quant"], problems)
    read = conf and read_parts(module, conf, tensors, problems)
    if not read:
        return None
    codes, columns, found = read
    kind = conf["format"], conf.get("convrot_groupsize"), tuple(codes.shape)
    try:
        values = kitchen(codes, columns, conf, found, torch.float32).dequantize()
        if kind not in products:
            products[kind] = check_product(module, kitchen(codes, columns, conf, found, torch.bfloat16), values, problems)
    except Exception as error:  # whatever comfy-kitchen stumbles over, it is the layer that cannot be decoded
        problems.append(f"{module}: comfy-kitchen refuses it, {type(error).__name__}: {error}"[:300])
        return None
    if values.dtype != torch.float32 or values.shape != (len(codes), columns):
        problems.append(f"{module}: decoded as {values.dtype} {list(values.shape)}")
        return None
    group = conf.get("group_size", GROUP) if conf["format"] == GROUPS else columns
    return Layer(conf, group, conf.get("convrot_groupsize") if conf.get("convrot") else None, values)


def read_layers(tensors, problems):
    """({module: layer}, {name: values} of the whole file as ComfyUI has it, {format: the largest difference of a product})"""
    suffix, layers, products = ".comfy_quant", {}, {}
    marked = {name.removesuffix(suffix) for name in tensors if name.endswith(suffix)}
    for module in sorted(marked):
        layer = read_layer(module, tensors, products, problems)
        if layer is not None:
            layers[module] = layer
    largest = {kind: max(off for (found, *_), off in products.items() if found == kind) for kind, *_ in products}
    values = {f"{module}.weight": layer.values for module, layer in layers.items()}
    for name, tensor in tensors.items():
        module, _, part = name.rpartition(".")
        if module in marked and part in ("weight", *PARTS):
            continue
        if part in PARTS:
            problems.append(f"{name}: {module} has no comfy_quant")
        elif not tensor.is_floating_point():
            problems.append(f"{name}: {tensor.dtype} without comfy_quant")
        else:
            values[name] = tensor
    if not layers:
        problems.append("no module has codes")
    return layers, values, largest


def check_own(layers, own, problems):
    """How far our own decoder is from comfy-kitchen, by format: the largest difference of a weight, in multiples of the layer's largest."""
    values, said = load_file(own["file"]), {layer["name"].removesuffix(".weight"): layer for layer in own["layers"]}
    differences = {}
    problems += [f"{name}: the own decoder and the tensors disagree whether it has codes" for name in sorted(set(said) ^ set(layers))]
    for module in sorted(set(said) & set(layers)):
        layer, want = layers[module], values[f"{module}.weight"]
        kind = layer.conf["format"]
        if want.shape != layer.values.shape:
            problems.append(f"{module}: the own decoder made {list(want.shape)} of it")
            continue
        off = ((layer.values - want).abs().max() / layer.values.abs().max().clamp_min(1e-30)).item()
        label = f"{kind} rotated" if layer.rotation else kind
        differences[label] = max(differences.get(label, 0.0), off)
        if not off <= (ROTATED_TOLERANCE if layer.rotation else OWN_TOLERANCE):
            problems.append(f"{module}: the own decoder is off by {off:.2e}")
        got = tuple(said[module][key] for key in ("layout", "bits", "symmetric", "rotation"))
        if got != ("comfyui", *described(layer)):
            problems.append(f"{module}: the own decoder says {got}, comfy_quant {layer.conf}")
    return differences


def described(layer):
    """(bits, symmetric, rotation)"""
    return FORMATS[layer.conf["format"]].bits, layer.conf["format"] == ROWS, layer.rotation


def check_manifest(folder, layers, problems):
    manifest = loading.read_json(os.path.join(folder, "arrow-quant.json"))
    rows = {row.get("writtenAs", row["name"]).removesuffix(".weight"): row["scheme"] for row in manifest["layers"]}
    problems += [f"{name}: the manifest and the tensors disagree whether it has codes" for name in sorted(set(rows) ^ set(layers))]
    for name in sorted(set(rows) & set(layers)):
        scheme, layer = rows[name], layers[name]
        if (scheme["bits"], scheme["symmetric"], scheme["rotation"]) != described(layer):
            problems.append(f"{name}: the manifest says {scheme}, comfy_quant {layer.conf}")
        elif layer.group != layer.values.shape[1] and scheme["storedGroupSize"] != layer.group:
            problems.append(f"{name}: groups of {layer.group}, the manifest says {scheme['storedGroupSize']}")


def by_output(folder):
    """Modules, as the file has them, that the manifest says are encoded for the least error of their output."""
    rows = loading.read_json(os.path.join(folder, "arrow-quant.json"))["layers"]
    return {row.get("writtenAs", row["name"]).removesuffix(".weight") for row in rows if row["scheme"]["method"] == "gptq"}


def check_error(name, layer, got, want, most, problems):
    """Root of relative squared error of a tensor and of its worst run with one scale. `most` is the limit of the former."""
    kind = layer.conf["format"]
    lost, whole = ((x.double() ** 2).reshape(-1, layer.group).sum(1) for x in (got - want, want))
    error, worst = (lost.sum() / whole.sum()).sqrt().item(), (lost / whole.clamp_min(1e-6 * whole.mean())).max().sqrt().item()
    if not error <= most:  # a NaN must not pass
        problems.append(f"{name}: relative error {error:.3g} as {kind}")
    elif not worst <= GROUP_FACTOR * most:
        problems.append(f"{name}: relative error {worst:.3g} of one group as {kind}")
    return error, worst


class Model:
    """The original that a file is held against, and which modules of the file are encoded for their output."""

    def __init__(self, original, left_out=(), by_output=()):
        self.original, self.weights = original, loading.tensors_of(original)
        self.config = loading.read_json(os.path.join(loading.component(original), "config.json"))
        self.architecture = original_names.family_of(original_table(), self.config)["architecture"]
        self.left_out, self.by_output = set(left_out), set(by_output)

    def origins(self, values, problems):
        return original_names.origins(self.config, {name: tensor.shape for name, tensor in values.items()}, problems)

    def check_widths(self, layers, names, problems):
        for pattern in READ_COLUMNS[self.architecture]:
            modules = (name.removesuffix(".weight") for name in names if re.fullmatch(pattern + r"\.weight", name))
            first = min(modules, key=lambda name: [int(n) for n in re.findall(r"\d+", name)], default=None)
            if first in layers and FORMATS[layers[first].conf["format"]].bits < 8:
                problems.append(f"{first}: packed, but ComfyUI takes a width from its shape")

    def compare(self, layers, values, problems):
        """{format, and whether by output: (largest error of a tensor, of a group)} of what the converter makes of the file."""
        try:
            origins, got = self.origins(values, problems), original_names.converted(self.config, values)
        except (IndexError, KeyError, RuntimeError) as error:  # converters fail so where names or shapes are not theirs
            problems.append(f"diffusers' converter fails, {type(error).__name__}: {error}")
            return {}
        wanted, errors = self.weights.keys() - self.left_out, {}
        problems += [f"{name}: missing" for name in sorted(wanted - got.keys())]
        problems += [f"{name}: too many" for name in sorted(got.keys() - wanted)]
        for name in sorted(wanted & got.keys()):
            layer, want = layers.get(origins[name].removesuffix(".weight")), self.weights[name].float()
            if got[name].shape != want.shape:
                problems.append(f"{name}: shape {list(got[name].shape)}, the original's is {list(want.shape)}")
            elif layer is None or not origins[name].endswith(".weight"):
                if not torch.equal(got[name].float(), want):
                    problems.append(f"{name}: its values are not the original's")
            else:
                if name.removesuffix(".weight") not in linears(self.original):
                    problems.append(f"{name}: has codes, though it is no weight of an nn.Linear")
                kind, said = layer.conf["format"], origins[name].removesuffix(".weight") in self.by_output
                most = (MOST_ERROR_BY_OUTPUT if said else MOST_ERROR)[kind]
                error, label = check_error(name, layer, got[name], want, most, problems), kind + " by output" * said
                errors[label] = tuple(map(max, error, errors.get(label, error)))
        return errors

    def judge(self, path, own):
        """One file, and what our own decoder made of it: {"file": its values, "layers": what it says of each}."""
        problems, tensors = [], load_file(path)
        with safe_open(path, "pt") as f:
            if "_quantization_metadata" in (f.metadata() or {}):
                problems.append("the metadata has _quantization_metadata, which ComfyUI takes instead of comfy_quant")
        layers, values, products = read_layers(tensors, problems)
        problems += original_names.names_problems(self.architecture, values)
        self.check_widths(layers, values, problems)
        own_differences = check_own(layers, own, problems)
        errors = self.compare(layers, values, problems)
        kinds = collections.Counter(layer.conf["format"] + (" rotated" if layer.rotation else "") for layer in layers.values())
        return {"problems": problems, "kinds": kinds, "floats": len(values) - len(layers), "own": own_differences, "errors": errors,
                "products": products}, layers


@functools.cache
def original_table():
    return loading.read_json(original_names.TABLE)


def left_out(name):
    """What published models have beside diffusers' own and the original has not."""
    return (list(original_names.CASES[name][3:]) or [[]])[0] if name in original_names.CASES else []


def check(original, folder, own, name=None, bits=None, rotates=False):
    """`name` is the case of original_names.py, where it is one; `bits` the width of the job, which rows that allow it must have."""
    result, layers = Model(original, left_out(name), by_output(folder)).judge(file_of(folder), own)
    check_manifest(folder, layers, result["problems"])
    found = {FORMATS[layer.conf["format"]].bits for layer in layers.values()}
    if bits is not None and (bits not in found or min(found) < bits):
        result["problems"].append(f"modules have {sorted(found)} bits, the job {bits}")
    if rotates and not any(layer.rotation for layer in layers.values()):
        result["problems"].append("no module is rotated, in spite of outliers")
    return result
