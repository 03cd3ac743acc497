"""compressed-tensors folders as transformers opens them, and as numpy decodes them by the rules of the format alone.

1. The index names every stored tensor exactly once, in the shard that holds it.
2. Words, scales and shapes have the types and sizes of the format; what numpy makes of them is bit-equal to what our own decoder made of the
   folder (`plain`) and near the original. Everything else is the original's, bit for bit.
3. Each quantized module is a target of exactly one group, with the width and the group size of its tensors; `ignore` has every nn.Linear that
   stays in float, and nothing that is quantized.
4. AutoModelForCausalLM opens it without missing or unexpected keys, decompresses to the same weights and computes the same logits. Where
   there are zero points, it opens it with CompressedTensorsConfig(dequantize=True) alone, which rounds to the type of the scales.
5. Two folders that are to be the same after a way there and back are so, tensor by tensor.

The name is not that of the package: beside checker.py it would be imported in its place.
"""
import collections
import contextlib
import functools
import json
import os
import shutil
import sys

import numpy as np
import torch
from safetensors.torch import load_file, save_file

import loading
from gguf_files import linears, same_bits
from open_sdnq import manifest_layers

INDEX = "model.safetensors.index.json"
LOGIT_TOLERANCE = 1e-4
# Root of relative squared error to the original: of a tensor a tenth above the largest measured (0.447, 0.115, 0.0069), and in multiples of
# that (measured: 1.7) of any run of weights with one scale.
MOST_ERROR = {2: 0.49, 4: 0.127, 8: 0.0076}
GROUP_FACTOR = 2
# transformers decodes zero points in the type of the scales: a value is rounded to BF16, the widest step of those.
SCALES_ROUND = 2.0**-8
PARTS = {"packed": (torch.int32,), "scale": (torch.float16, torch.bfloat16, torch.float32), "shape": (torch.int64,)}
ZEROS = "zero_point"

Layer = collections.namedtuple("Layer", "bits group channels symmetric values")


class Folder:
    """Shards, index and configuration, all of which may be changed before `write`."""

    def __init__(self, path):
        self.path = path
        self.shards = {os.path.basename(f): load_file(f) for f in loading.weight_files(path)}
        index = os.path.join(path, INDEX)
        self.index = loading.read_json(index) if os.path.isfile(index) else None
        self.named = (self.index or {}).get("weight_map", {})
        self.config = loading.read_json(os.path.join(path, "config.json"))

    def tensors(self):
        return {name: tensor for shard in self.shards.values() for name, tensor in shard.items()}

    def shard_of(self, name):
        return next(shard for shard in self.shards.values() if name in shard)

    def said(self, key):
        return self.config["quantization_config"][key]

    def write(self, path):
        shutil.copytree(self.path, path)
        for name, shard in self.shards.items():
            save_file(shard, os.path.join(path, name), metadata={"format": "pt"})
        for name, value in ((INDEX, self.index), ("config.json", self.config)):
            with open(os.path.join(path, name), "w") as f:
                json.dump(value, f)


def check_index(folder, problems):
    """A single file may go without an index; several may not."""
    if folder.index is None:
        if len(folder.shards) != 1:
            problems.append(f"{len(folder.shards)} shards without an index")
        return
    held = [(name, shard) for shard, tensors in folder.shards.items() for name in tensors]
    for name, count in collections.Counter(name for name, _ in held).items():
        if count != 1:
            problems.append(f"{name}: in {count} shards")
    for name, shard in held:
        if folder.named.get(name) != shard:
            problems.append(f"index: {name} is in {shard}, it says {folder.named.get(name)}")
    problems += [f"index: {name} is in no shard" for name in sorted(set(folder.named) - {name for name, _ in held})]
    size = sum(t.numel() * t.element_size() for shard in folder.shards.values() for t in shard.values())
    if folder.index.get("metadata", {}).get("total_size") != size:
        problems.append(f"index: total_size {folder.index.get('metadata')} instead of {size}")


def unpack(words, bits, channels):
    """Codes of rows of words, and whether anything stands after a row's last code: a dense stream, lowest bit first."""
    stream = np.unpackbits(words.astype("<i4").view(np.uint8), axis=1, bitorder="little")
    used = channels * bits
    codes = np.packbits(stream[:, :used].reshape(len(words), channels, bits), axis=2, bitorder="little")[:, :, 0]
    return codes.astype(np.int32) - (1 << (bits - 1)), bool(stream[:, used:].any())


def read_layer(module, tensors, weight, problems):
    """The layer whose `weight` in the original this was, or nothing where its tensors do not belong together."""
    parts = {part: tensors.get(f"{module}.weight_{part}") for part in PARTS}
    for part, kinds in PARTS.items():
        if parts[part] is None or parts[part].dtype not in kinds:
            problems.append(f"{module}.weight_{part}: {'missing' if parts[part] is None else parts[part].dtype}")
            return None
    packed, scale, shape = parts.values()
    out, channels = weight.shape
    if shape.tolist() != [out, channels]:
        problems.append(f"{module}.weight_shape: {shape.tolist()}, the original's is {[out, channels]}")
    bits = next((b for b in MOST_ERROR if tuple(packed.shape) == (out, -(-channels * b // 32))), None)
    if bits is None:
        problems.append(f"{module}.weight_packed: {tuple(packed.shape)} is no width of {(out, channels)}")
        return None
    if scale.dim() != 2 or scale.shape[0] != out or scale.shape[1] == 0 or channels % scale.shape[1]:
        problems.append(f"{module}.weight_scale: {tuple(scale.shape)} for {(out, channels)}")
        return None
    codes, stray = unpack(packed.numpy(), bits, channels)
    if stray:
        problems.append(f"{module}.weight_packed: bits after a row's last code")
    scales = scale.float().numpy()
    packed_zeros = tensors.get(f"{module}.weight_{ZEROS}")
    zeros = 0 if packed_zeros is None else read_zeros(module, packed_zeros, bits, scale.shape, problems)
    values = (codes.reshape(*scales.shape, -1) - zeros).astype(np.float32) * scales[:, :, None]
    return Layer(bits, channels // scale.shape[1], channels, packed_zeros is None, values.reshape(out, channels))


def read_zeros(module, packed, bits, shape, problems):
    """Zero points `[out, groups, 1]`: of each group a stream over the rows, whose words stand below one another."""
    out, groups = shape
    if packed.dtype != torch.int32 or tuple(packed.shape) != (-(-out * bits // 32), groups):
        problems.append(f"{module}.weight_{ZEROS}: {packed.dtype} {tuple(packed.shape)} for {(out, groups)} of {bits} bits")
        return 0
    zeros, stray = unpack(np.ascontiguousarray(packed.numpy().T), bits, out)
    if stray:
        problems.append(f"{module}.weight_{ZEROS}: bits after the last row's")
    return zeros.T[:, :, None]


def check_error(module, layer, want, problems):
    lost, whole = ((x.astype(np.float64) ** 2).reshape(-1, layer.group).sum(1) for x in (layer.values - want, want))
    error = float(np.sqrt(lost.sum() / whole.sum()))
    worst = float(np.sqrt((lost / np.maximum(whole, 1e-6 * whole.mean())).max()))
    if not error <= MOST_ERROR[layer.bits]:  # a NaN must not pass
        problems.append(f"{module}: relative error {error:.3g} at {layer.bits} bits")
    elif not worst <= GROUP_FACTOR * MOST_ERROR[layer.bits]:
        problems.append(f"{module}: relative error {worst:.3g} of one group at {layer.bits} bits")
    return error, worst


def check_tensors(tensors, original, plain, problems):
    """({module: Layer}, {bits: (largest error of a tensor, of a group)})."""
    layers, errors = {}, {}
    ours = {f"{m}.weight_{part}" for m in (n.removesuffix(".weight") for n in original) for part in (*PARTS, ZEROS)}
    problems += [f"{name}: neither the original's nor part of a quantized weight" for name in sorted(set(tensors) - set(original) - ours)]
    for name, want in original.items():
        module, decoded = name.removesuffix(".weight"), plain.get(name)
        if decoded is None:
            problems.append(f"{name}: the own decoder did not write it")
        elif not any(f"{module}.weight_{part}" in tensors for part in PARTS):
            if name not in tensors:
                problems.append(f"{name}: not in the folder")
            elif not identical(tensors[name], want):
                problems.append(f"{name}: its values are not the original's")
        elif (layer := read_layer(module, tensors, want, problems)) is not None:
            layers[module] = layer
            if decoded.shape != want.shape or not same_bits(decoded.float().numpy(), layer.values):
                problems.append(f"{name}: numpy's values are not the own decoder's")
            error = check_error(module, layer, want.float().numpy(), problems)
            errors[layer.bits] = tuple(map(max, error, errors.get(layer.bits, error)))
    problems += [f"{name}: the own decoder made it up" for name in sorted(set(plain) - set(original))]
    if not layers:
        problems.append("no module is quantized")
    return layers, errors


def check_config(config, layers, linear, original, problems):
    found = config.get("quantization_config") or {}
    for key, want in (("quant_method", "compressed-tensors"), ("format", "pack-quantized"), ("quantization_status", "compressed")):
        if found.get(key) != want:
            problems.append(f"config: {key} is {found.get(key)}")
    targets = collections.defaultdict(list)
    for name, group in found.get("config_groups", {}).items():
        for target in group["targets"]:
            targets[target].append(name)
        if group.get("input_activations") or group.get("output_activations"):
            problems.append(f"config: {name} quantizes activations")
    problems += [f"config: target {name} is not quantized" for name in sorted(set(targets) - set(layers))]
    for module, layer in layers.items():
        if len(targets[module]) != 1:
            problems.append(f"config: {module} is in {len(targets[module])} targets")
            continue
        weights = found["config_groups"][targets[module][0]]["weights"]
        got = tuple(weights.get(key) for key in ("num_bits", "group_size", "strategy", "type", "symmetric"))
        grouped = (layer.bits, layer.group, "group", "int", layer.symmetric)
        whole = (layer.bits, None, "channel", "int", layer.symmetric)
        if got != grouped and (layer.group != layer.channels or got != whole):
            problems.append(f"config: {module} is {got}, its tensors are {grouped}")
    ignore = found.get("ignore", [])
    problems += [f"config: {name} stays in float and is not ignored" for name in sorted(linear - set(layers) - set(ignore))]
    problems += [f"config: {name} is quantized and ignored" for name in sorted(set(layers) & set(ignore))]
    problems += [f"config: ignored {name} has no weight" for name in ignore if f"{name}.weight" not in original]


def check_manifest(folder, layers, problems):
    rows = manifest_layers(folder)
    problems += [f"{name}: the manifest and the tensors disagree whether it is quantized" for name in sorted(set(rows) ^ set(layers))]
    for name in set(rows) & set(layers):
        scheme = rows[name]["scheme"]
        got, want = (layers[name].bits, layers[name].group, layers[name].symmetric), (scheme["bits"], scheme["storedGroupSize"], scheme["symmetric"])
        if got != want:
            problems.append(f"{name}: bits, group and symmetry are {got}, the manifest says {want}")


@functools.cache
def base(original):
    """One model for all sets of weights that are compared."""
    import transformers
    config = transformers.AutoConfig.from_pretrained(original)
    with contextlib.redirect_stdout(sys.stderr):
        return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval().requires_grad_(False)


@torch.no_grad()
def ask(model):
    """Logits of fixed random tokens, each of which sees all others: a model of masked diffusion is called this way."""
    ids = torch.randint(model.config.vocab_size, (4, 48), generator=torch.Generator().manual_seed(11))
    return model(input_ids=ids, attention_mask=torch.zeros(len(ids), 1, ids.shape[1], ids.shape[1])).logits


@functools.lru_cache(maxsize=1)
def plain_logits(original, plain):
    model = base(original)
    model.load_state_dict({name: t.float() for name, t in loading.tensors_of(plain).items()})
    return ask(model)


def check_transformers(original, folder, plain, layers, problems):
    """The largest difference of a logit, or nothing where the model cannot be computed with."""
    import transformers
    transformers.utils.logging.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            model, info = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    except Exception as error:  # whatever its loader stumbles over, it is the folder that cannot be opened
        problems.append(f"transformers refuses the folder: {type(error).__name__}: {error}"[:300])
        return None
    wrong = {kind: sorted(map(str, names)) for kind, names in info.items() if names}
    problems += [f"transformers: {kind} {names[:3]} ({len(names)})" for kind, names in wrong.items()]
    schemes = {n: s.weights for n, m in model.named_modules() if (s := getattr(m, "quantization_scheme", None)) is not None}
    problems += [f"{name}: transformers and the tensors disagree whether it is quantized" for name in sorted(set(schemes) ^ set(layers))]
    for name in set(schemes) & set(layers):
        got = schemes[name].num_bits, schemes[name].group_size or layers[name].channels
        if got != layers[name][:2]:
            problems.append(f"{name}: {got} for transformers, {layers[name][:2]} by its tensors")
    if wrong:
        return None
    try:
        logits = ask(model.eval())
    except Exception as error:  # likewise
        problems.append(f"transformers cannot compute with it: {type(error).__name__}: {error}"[:300])
        return None
    # The first call has decompressed the weights.
    state = model.state_dict()
    for name, want in loading.tensors_of(plain).items():
        got = state.get(name)
        if got is None or got.shape != want.shape or not torch.equal(got, want.float()):
            problems.append(f"{name}: its values for transformers are not the own decoder's")
    off = (logits - plain_logits(original, plain)).abs().max().item()
    if not off <= LOGIT_TOLERANCE:
        problems.append(f"logits: off by {off:.2e}")
    return off


def check_library(read, layers, problems):
    """What compressed-tensors itself makes of each module, by the scheme that the configuration has for it."""
    from compressed_tensors.compressors import PackedQuantizationCompressor
    from compressed_tensors.quantization import QuantizationScheme
    tensors, groups = read.tensors(), read.said("config_groups").values()
    for module, layer in layers.items():
        scheme = next((QuantizationScheme(**group) for group in groups if module in group["targets"]), None)
        parts = {f"weight_{part}": t for part in (*PARTS, ZEROS) if (t := tensors.get(f"{module}.weight_{part}")) is not None}
        parts["weight_scale"] = parts["weight_scale"].float()  # its result has the type of the scales
        try:
            got = PackedQuantizationCompressor.decompress(parts, scheme)["weight"].numpy()
        except Exception as error:  # whatever it stumbles over, it is the folder that cannot be decoded
            problems.append(f"{module}: compressed-tensors refuses it: {type(error).__name__}: {error}"[:300])
            continue
        if got.shape != layer.values.shape or not np.array_equal(got, layer.values):
            problems.append(f"{module}: compressed-tensors makes other values of it")


def check_dequantized(folder, plain, layers, problems):
    """The largest difference of a weight, of its own size, as transformers decodes all of them by one scheme in the type of the scales."""
    import transformers
    one = transformers.CompressedTensorsConfig(dequantize=True)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            model, info = transformers.AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, quantization_config=one, output_loading_info=True)
        ask(model.eval())
    except Exception as error:  # likewise
        problems.append(f"transformers refuses the folder: {type(error).__name__}: {error}"[:300])
        return None
    wrong = {kind: sorted(map(str, names)) for kind, names in info.items() if names}
    problems += [f"transformers: {kind} {names[:3]} ({len(names)})" for kind, names in wrong.items()]
    state, most = model.state_dict(), 0.0
    for name, want in loading.tensors_of(plain).items():
        got, rounds = state.get(name), name.removesuffix(".weight") in layers
        if got is None or got.shape != want.shape:
            problems.append(f"{name}: {'missing' if got is None else tuple(got.shape)} for transformers")
            continue
        off = ((got.float() - want.float()).abs() / want.float().abs().clamp_min(1e-30)).max().item()
        most = max(most, off)
        if not off <= (SCALES_ROUND if rounds else 0):
            problems.append(f"{name}: off by {off:.2e} of a value for transformers")
    return most


def check(original, folder, plain, zeros=False, uniform=False):
    """`zeros`: there must be zero points, else there must be none; `uniform`: all modules have one scheme."""
    problems, read = [], Folder(folder)
    check_index(read, problems)
    layers, errors = check_tensors(read.tensors(), weights_of(original), loading.tensors_of(plain), problems)
    problems += [f"{module}: {'no ' * zeros}zero points" for module, layer in layers.items() if layer.symmetric == zeros]
    check_config(read.config, layers, linears(original), weights_of(original), problems)
    check_manifest(folder, layers, problems)
    check_library(read, layers, problems)
    if zeros:
        logits = check_dequantized(folder, plain, layers, problems) if uniform else None
    else:
        logits = check_transformers(original, folder, plain, layers, problems)
    kinds = collections.Counter((layer.bits, layer.group) for layer in layers.values())
    return {"problems": problems, "kinds": [[*kind, count] for kind, count in sorted(kinds.items())], "errors": errors, "logits": logits,
            "shards": len(read.shards)}


@functools.cache
def weights_of(original):
    return loading.tensors_of(original)


def identical(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))


def same(first, second):
    """Two folders of one layout, tensor by tensor, and what their configurations say of them."""
    a, b, problems = Folder(first), Folder(second), []
    for shard in sorted(set(a.shards) | set(b.shards)):
        x, y = a.shards.get(shard, {}), b.shards.get(shard, {})
        problems += [f"{name}: not in {shard} of both folders" for name in sorted(set(x) ^ set(y))]
        problems += [f"{name}: changed on the way" for name in sorted(set(x) & set(y)) if not identical(x[name], y[name])]
    if a.config != b.config:
        problems.append("config.json: changed on the way")
    scales = sum("scale" in name for name in a.tensors())
    if not scales:
        problems.append(f"{first} has no quantized weights")
    return {"problems": problems, "tensors": len(a.tensors()), "scales": scales}


def make_odd(folder):
    """A model with random weights whose rows do not fill whole words at 2 bits, nor all of them at 4 and 8."""
    import transformers
    torch.manual_seed(0)
    sizes = dict(hidden_size=120, intermediate_size=150, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=2, vocab_size=50)
    config = transformers.LlamaConfig(**sizes, max_position_embeddings=64, tie_word_embeddings=False)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder
