"""compressed-tensors folders as transformers opens them, and as numpy decodes them by the rules of the format alone.

1. The index names every stored tensor exactly once, in the shard that holds it.
2. Words, scales and shapes have the types and sizes of the format; what numpy makes of them is bit-equal to what our own decoder made of the
   folder (`plain`) and near the original. Everything else is the original's, bit for bit.
3. Each quantized module is a target of exactly one group, with the width and the group size of its tensors; `ignore` has every nn.Linear that
   stays in float, and nothing that is quantized.
4. AutoModelForCausalLM opens it without missing or unexpected keys, decompresses to the same weights and computes the same logits.
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
import tempfile

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
PARTS = {"packed": (torch.int32,), "scale": (torch.float16, torch.bfloat16, torch.float32), "shape": (torch.int64,)}

Layer = collections.namedtuple("Layer", "bits group channels values")


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
    values = codes.reshape(*scales.shape, -1).astype(np.float32) * scales[:, :, None]
    return Layer(bits, channels // scale.shape[1], channels, values.reshape(out, channels))


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
    ours = {f"{m}.weight_{part}" for m in (n.removesuffix(".weight") for n in original) for part in PARTS}
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
        grouped = (layer.bits, layer.group, "group", "int", True)
        whole = (layer.bits, None, "channel", "int", True)
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
        got, want = (layers[name].bits, layers[name].group, True), (scheme["bits"], scheme["storedGroupSize"], scheme["symmetric"])
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


def check(original, folder, plain):
    problems, read = [], Folder(folder)
    check_index(read, problems)
    layers, errors = check_tensors(read.tensors(), weights_of(original), loading.tensors_of(plain), problems)
    check_config(read.config, layers, linears(original), weights_of(original), problems)
    check_manifest(folder, layers, problems)
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


MODULE, OTHER = "model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.v_proj"


def edit(name, change, at=...):
    """Replaces a tensor, or what stands at one place of it, by what `change` makes of a copy."""
    def apply(folder):
        shard = folder.shard_of(name)
        copy = shard[name].clone()
        if at is ...:
            copy = change(copy).contiguous()
        else:
            copy[at] = change(copy[at])
        shard[name] = copy
    return apply


def exchange(folder):
    """Two modules of one shape and scheme change places."""
    for part in PARTS:
        x, y = (f"{name}.weight_{part}" for name in (MODULE, OTHER))
        a, b = folder.shard_of(x), folder.shard_of(y)
        a[x], b[y] = b[y], a[x]


def in_group(folder):
    """The group that MODULE is in, and the other one."""
    return sorted(folder.said("config_groups").values(), key=lambda group: MODULE not in group["targets"])


def move(to_other, stay):
    def apply(folder):
        own, other = in_group(folder)
        if not stay:
            own["targets"].remove(MODULE)
        if to_other:
            other["targets"].append(MODULE)
    return apply


PACKED, SCALE, SHAPE = (f"{MODULE}.weight_{part}" for part in PARTS)
NORM = "model.norm.weight"
NUMPY, OPENED, NOT_ITS_GROUP = "numpy's values", "its values for transformers", "its tensors are (4, 64, 'group'"
LOWEST_BIT = edit(PACKED, lambda word: word ^ 1 << 8, (3, 2))
# What is done to a folder, and words that must all be among what the check reports: damage that a loader can see must be seen through it too.
DAMAGE = {
    "the lowest bit of a code flipped": (LOWEST_BIT, (NUMPY, OPENED)),
    "the highest bit of a code flipped": (edit(PACKED, lambda word: word ^ 1 << 11, (3, 2)), (NUMPY, OPENED, "logits: off", "of one group")),
    "one scale changed": (edit(SCALE, lambda s: s * 1.25, (3, 1)), (NUMPY, OPENED, "logits: off")),
    "the scales of a column negated": (edit(SCALE, lambda s: -s, (slice(None), 1)), (NUMPY, OPENED, "logits: off", "relative error")),
    "the words of two rows swapped": (edit(PACKED, lambda w: w[[1, 0, *range(2, len(w))]]), (NUMPY, OPENED, "logits: off", "relative error")),
    "bytes of words reversed": (edit(PACKED, lambda w: torch.from_numpy(w.numpy().byteswap())), (NUMPY, OPENED, "logits: off", "relative error")),
    "a word a row too few": (edit(PACKED, lambda w: w[:, 1:]), ("is no width of", "transformers")),
    "two modules exchanged": (exchange, (NUMPY, OPENED, "logits: off", "relative error")),
    "weight_shape changed": (edit(SHAPE, lambda s: s - torch.tensor([0, 64])), ("weight_shape: [256, 192]", "transformers")),
    "weight_shape as I32": (edit(SHAPE, lambda s: s.int()), ("weight_shape: torch.int32",)),
    "scales missing": (lambda f: f.shard_of(PACKED).pop(SCALE), ("weight_scale: missing", "is in no shard", "missing_keys")),
    "a tensor too many": (lambda f: f.shard_of(PACKED).update({"stray": torch.ones(2)}), ("neither the original's", "unexpected_keys")),
    "a norm changed by one unit": (edit(NORM, lambda w: (w.view(torch.int16) + 1).view(w.dtype)), ("not the original's", OPENED)),
    "another group_size": (lambda f: in_group(f)[0]["weights"].update(group_size=32), (NOT_ITS_GROUP, "transformers")),
    "another num_bits": (lambda f: in_group(f)[0]["weights"].update(num_bits=8), (NOT_ITS_GROUP, "transformers")),
    "strategy channel": (lambda f: in_group(f)[0]["weights"].update(strategy="channel", group_size=None), (NOT_ITS_GROUP, "transformers")),
    "a module missing in targets": (move(False, False), ("is in 0 targets", "unexpected_keys")),
    "a module in two groups": (move(True, True), ("is in 2 targets",)),
    "a module in the other group": (move(True, False), (NOT_ITS_GROUP, "transformers")),
    "a target that is no module": (lambda f: in_group(f)[1]["targets"].append("model.layers.9"), ("target model.layers.9 is not quantized",)),
    "a Linear missing in ignore": (lambda f: f.said("ignore").remove("lm_head"), ("lm_head stays in float",)),
    "a quantized module in ignore": (lambda f: f.said("ignore").append(MODULE), ("is quantized and ignored", "unexpected_keys")),
    "a tensor missing in the index": (lambda f: f.named.pop(PACKED), (f"index: {PACKED} is in model-",)),
    "another shard in the index": (lambda f: f.named.update({PACKED: f.named["lm_head.weight"]}), (f"index: {PACKED} is in model-",)),
    "a tensor too many in the index": (lambda f: f.named.update(stray=f.named[PACKED]), ("index: stray is in no shard",)),
    "a tensor in two shards": (lambda f: f.shard_of(PACKED).update({NORM: f.shard_of(NORM)[NORM].clone()}), (f"{NORM}: in 2 shards", "total_size")),
}
# The same for `same`.
CHANGED = {
    "the lowest bit of a code flipped": (LOWEST_BIT, ("changed on the way",)),
    "scales of another type with the same values": (edit(SCALE, torch.Tensor.float), ("changed on the way",)),
    "a tensor missing": (lambda f: f.shard_of(PACKED).pop(PACKED), ("of both folders",)),
    "another num_bits": (lambda f: in_group(f)[0]["weights"].update(num_bits=8), ("config.json: changed",)),
}


def self_test(original, folder, plain):
    """Writes the folder as it is, then in one damaged way after another; names what is not reported, or not by its words."""
    missed = []
    checks = [(DAMAGE, lambda path: check(original, path, plain)), (CHANGED, lambda path: same(folder, path))]
    with tempfile.TemporaryDirectory(prefix="aq-compressed-") as work:
        for damages, ask_check in checks:
            for number, (what, (change, words)) in enumerate({"nothing": (lambda _: None, ()), **damages}.items()):
                copy, path = Folder(folder), os.path.join(work, f"{len(damages)}-{number}")
                change(copy)
                copy.write(path)
                problems = ask_check(path)["problems"]
                if not words and problems:
                    missed.append(f"an undamaged folder fails, {problems[0]}")
                missed += [f"{what} ({word!r} is not in {problems[:4]})" for word in words if not any(word in p for p in problems)]
    return {"unnoticed": missed, "damages": len(DAMAGE) + len(CHANGED)}
