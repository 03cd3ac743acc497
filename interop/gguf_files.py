"""GGUF files as gguf-py and diffusers read them, against the original's weights and against what our own decoder makes of them.

1. Names and shapes are the original's, all shards together; each tensor starts where ggml expects it; the keys readers ask for are there.
2. What is no block is F32 or F16 and has the original's value, bit for bit.
3. Blocks stand in weights of nn.Linear alone, are of the type that the manifest names, and dequantize to something near the original.
4. Where a `plain` folder is given, what gguf-py dequantizes is what our decoder made of the same file.
5. FluxTransformer2DModel.from_single_file takes every tensor, dequantizes each to nearly the same and predicts nearly the same.
"""
import collections
import contextlib
import functools
import glob
import os
import re
import sys

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Kind

import damage
import loading
from open_sdnq import manifest_layers, relative

# The largest root of relative squared error of a tensor, a tenth above what was measured on the models here (0.264, 0.145, 0.0843, 0.0719,
# 0.0718, 0.0400, 0.0349, 0.0357, 0.0175, 0.00555).
MOST_ERROR = {"Q2_K": 0.29, "Q3_K": 0.16, "Q4_0": 0.093, "Q4_1": 0.08, "Q4_K": 0.08, "Q5_0": 0.044, "Q5_1": 0.039, "Q5_K": 0.0395,
              "Q6_K": 0.0195, "Q8_0": 0.0061}
# The same of any run of weights with a scale of its own, in multiples of that (measured: 1.4 to 1.8; Q6_K, where scales are coarse beside the
# largest of their block, 2.4). One wrong scale among thousands drowns in the error of its tensor.
GROUP_FACTOR = collections.defaultdict(lambda: 2, Q6_K=2.6)
GROUP = collections.defaultdict(lambda: 32, Q2_K=16, Q3_K=16, Q6_K=16)
OWN_TOLERANCE = 1e-6
# Kinds of files: the type of most layers, and that of those that make attention's values or end a feed-forward.
KINDS = {"Q3_K_M": ("Q3_K", "Q5_K"), "Q5_K_M": ("Q5_K", "Q6_K")}
MORE = re.compile(r"\.(to_v|add_v_proj|v_proj|ff\.net\.2|ff_context\.net\.2|down_proj)$")
# diffusers dequantizes in float16. A weight of a type without an offset is rounded once, by 2^-11 of itself. With an offset the scale and
# its product with the code are rounded, each by 2^-11 of up to twice the largest weight, then the offset and the difference by 2^-11 of it:
# no more than 6 * 2^-11 of the largest, and half of that was never passed (measured: 1.35e-3; of the norm 8.4e-4).
WEIGHT_TOLERANCE, PREDICTION_TOLERANCE = 1e-3, 2e-4
ROUNDED_ONCE, WITH_OFFSET = 2.0**-11, 3 * 2.0**-11
REQUIRED = {"general.architecture": "STRING", "general.quantization_version": "UINT32", "general.file_type": "UINT32"}


def file_of(folder):
    files = glob.glob(os.path.join(loading.component(folder), "*.gguf"))
    if len(files) != 1:
        raise FileNotFoundError(f"{len(files)} GGUF files instead of one")
    return files[0]


def shape_of(tensor):
    """In torch's order; the file has it the other way round."""
    return tuple(int(n) for n in reversed(tensor.shape))


def values_of(tensor):
    return np.array(gguf.quants.dequantize(tensor.data, tensor.tensor_type), np.float32)


def all_values(file):
    return {tensor.name: values_of(tensor) for tensor in gguf.GGUFReader(file).tensors}


def is_block(tensor):
    return tensor.tensor_type not in (Kind.F32, Kind.F16)


@functools.cache
def linears(folder):
    """Names of the nn.Linear modules of the class that config.json names; on the meta device, which holds no values."""
    path = loading.component(folder)
    config = loading.read_json(os.path.join(path, "config.json"))
    with torch.device("meta"), contextlib.redirect_stdout(sys.stderr):
        if "_class_name" in config:
            import diffusers
            model = getattr(diffusers, config["_class_name"]).from_config(config)
        else:
            import transformers
            model = getattr(transformers, config["architectures"][0])(transformers.AutoConfig.from_pretrained(path))
    return {name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}


def check_keys(reader, problems, asked=None):
    found = {name: field.types[0].name for name, field in reader.fields.items()}
    for name, kind in REQUIRED.items():
        if found.get(name) != kind:
            problems.append(f"{name}: {found.get(name, 'missing')} instead of {kind}")
    if "general.quantization_version" in found and reader.fields["general.quantization_version"].contents() != 2:
        problems.append("general.quantization_version is not 2")
    if "general.file_type" in found:
        weights = collections.Counter()
        for tensor in filter(is_block, reader.tensors):
            weights[tensor.tensor_type.name] += tensor.n_elements
        named = gguf.LlamaFileType(reader.fields["general.file_type"].contents()).name
        if asked is not None:
            if named != f"MOSTLY_{asked}":
                problems.append(f"general.file_type: {named} instead of {asked}")
        elif weights and not named.startswith("MOSTLY_" + weights.most_common(1)[0][0]):
            problems.append(f"general.file_type: {named}, but most weights are {weights.most_common(1)[0][0]}")


def check_kind(reader, asked, problems):
    """Layers of the job's width have one of two types, by their names; the others have types of other widths."""
    most, more = KINDS.get(asked, (asked, asked))
    found = set()
    for tensor in reader.tensors:
        kind, module = tensor.tensor_type.name, tensor.name.removesuffix(".weight")
        wanted = more if MORE.search(module) else most
        found.add(kind)
        if kind in (most, more) and kind != wanted:
            problems.append(f"{tensor.name}: {kind} instead of {wanted} in a file of {asked}")
    problems += [f"no tensor is {kind} in a file of {asked}" for kind in sorted({most, more} - found)]


def check_places(reader, problems):
    """ggml takes a file only where each tensor follows the padded end of the one before it."""
    place = reader.data_offset
    for tensor in reader.tensors:
        if tensor.data_offset != place:
            problems.append(f"{tensor.name}: starts at {tensor.data_offset} instead of {place}")
        place = tensor.data_offset + -(-tensor.n_bytes // int(reader.alignment)) * int(reader.alignment)
    if len(reader.data) != place:
        problems.append(f"the file ends at {len(reader.data)} instead of {place}")


def same_bits(a, b):
    return np.array_equal(a.view(np.uint32), b.view(np.uint32))


def check_error(tensor, got, want, problems):
    """Root of relative squared error of the tensor and of its worst run with one scale."""
    kind = tensor.tensor_type.name
    lost, whole = (((x.astype(np.float64)) ** 2).reshape(-1, GROUP[kind]).sum(1) for x in (got - want, want))
    error = float(np.sqrt(lost.sum() / whole.sum()))
    worst = float(np.sqrt((lost / np.maximum(whole, 1e-6 * whole.mean())).max()))
    if not error <= MOST_ERROR[kind]:  # a NaN must not pass
        problems.append(f"{tensor.name}: relative error {error:.3g} as {kind}")
    elif not worst <= GROUP_FACTOR[kind] * MOST_ERROR[kind]:
        problems.append(f"{tensor.name}: relative error {worst:.3g} of one group as {kind}")
    return error, worst


def check_own(tensor, got, plain, own, problems):
    """Notes in `own` how far our decoder is from gguf-py, a type at a time."""
    want = plain.get(tensor.name)
    if want is None or want.dtype != torch.float32 or tuple(want.shape) != got.shape:
        problems.append(f"{tensor.name}: the own decoder made {want is not None and (want.dtype, tuple(want.shape))} of it")
        return
    want, kind = want.numpy(), tensor.tensor_type.name
    off = float(np.abs(got - want).max() / (np.abs(got).max() or 1))
    own[kind] = max(own.get(kind, 0.0), off if off or same_bits(got, want) else np.finfo(np.float32).tiny)
    if not off <= OWN_TOLERANCE:
        problems.append(f"{tensor.name}: the own decoder is off by {off:.2e} as {kind}")


def judge(original, linear, layers, file, plain=None, asked=None):
    """One file against the original's tensors, the names of linear modules, the manifest's layers and, if given, our decoder's values and the
    kind of file that was asked for."""
    reader, problems = gguf.GGUFReader(file), []
    check_keys(reader, problems, asked)
    if asked is not None:
        check_kind(reader, asked, problems)
    check_places(reader, problems)
    names = {tensor.name for tensor in reader.tensors}
    problems += [f"{name}: not in the file" for name in sorted(set(original) - names)]
    problems += [f"{name}: not in the original" for name in sorted(names - set(original))]
    types, own = {}, {}
    for tensor in reader.tensors:
        kind, module, shape = tensor.tensor_type.name, tensor.name.removesuffix(".weight"), shape_of(tensor)
        promised = ((layers.get(module) or {}).get("scheme") or {}).get("blockType")
        if promised != (kind if is_block(tensor) else None) and tensor.name.endswith(".weight"):
            problems.append(f"{tensor.name}: {kind}, the manifest says {promised}")
        if is_block(tensor) and (len(shape) != 2 or module == tensor.name or module not in linear):
            problems.append(f"{tensor.name}: {kind}, though it is no weight of an nn.Linear")
        if is_block(tensor) and kind not in MOST_ERROR:
            problems.append(f"{tensor.name}: {kind}, which is not expected")
            continue
        if tensor.name not in original:
            continue
        want, got = original[tensor.name].float().numpy(), values_of(tensor)
        if shape != want.shape or got.shape != want.shape:
            problems.append(f"{tensor.name}: shape {shape}, dequantized {got.shape}, the original's is {want.shape}")
            continue
        counted = types.setdefault(kind, {"tensors": 0, "error": 0.0, "groupError": 0.0})
        counted["tensors"] += 1
        if is_block(tensor):
            error, worst = check_error(tensor, got, want, problems)
            counted["error"], counted["groupError"] = max(counted["error"], error), max(counted["groupError"], worst)
        elif not same_bits(got, want):
            problems.append(f"{tensor.name}: its values are not the original's")
        if plain is not None:
            check_own(tensor, got, plain, own, problems)
    if set(types) <= {"F32", "F16"}:
        problems.append("no tensor has blocks")
    return {"problems": problems, "types": types, "own": own if plain is not None else None, "header": header(reader)}


def header(reader):
    """What another reader must see: keys, and name, shape in torch's order, type and place of each tensor."""
    return {"keys": {name: field.contents() for name, field in reader.fields.items()},
            "tensors": [[t.name, shape_of(t), int(t.tensor_type), t.data_offset] for t in reader.tensors]}


def check(original, folder, plain=None, asked=None):
    return judge(loading.tensors_of(original), linears(folder), manifest_layers(folder), file_of(folder),
                 None if plain is None else loading.tensors_of(plain), asked)


def element_tolerance(kind):
    return ROUNDED_ONCE if kind in ("Q8_0", "Q4_0", "Q5_0") else WITH_OFFSET


def compare_diffusers(questions, folder, file, values):
    """The flux-shaped `file` as diffusers opens it, against a model of the same class with float32 `values`."""
    import diffusers
    tensors = gguf.GGUFReader(file).tensors
    names, kinds = {t.name for t in tensors}, {t.name: t.tensor_type for t in tensors if is_block(t)}
    loader, config = diffusers.FluxTransformer2DModel, diffusers.GGUFQuantizationConfig(compute_dtype=torch.float32)
    with contextlib.redirect_stdout(sys.stderr):
        exact = loader.from_config(loader.load_config(folder)).eval()
        exact.load_state_dict({name: torch.from_numpy(v) for name, v in values.items()})
        try:
            model = loader.from_single_file(file, config=folder, quantization_config=config, torch_dtype=torch.float32).eval()
        except Exception as error:  # whatever its loader stumbles over, it is the file that cannot be opened
            return {"problems": [f"diffusers refuses the file: {type(error).__name__}: {error}"[:300]]}
    state = model.requires_grad_(False).state_dict(keep_vars=True)
    problems = [f"{name}: unexpected by diffusers" for name in sorted(names - set(state))]
    problems += [f"{name}: missing for diffusers" for name, parameter in state.items() if name not in names or parameter.is_meta]
    problems += unhandled(model, kinds)
    if problems:
        return {"problems": problems}  # such a model cannot be computed with
    weight, element = compare_parameters(state, kinds, values, problems)
    prediction = 0.0
    for i, step in enumerate(questions.steps()):
        off = relative(questions.ask(model, i), questions.ask(exact, i))
        prediction = max(prediction, off)
        if not off <= PREDICTION_TOLERANCE:
            problems.append(f"prediction at step {step}: relative difference {off:.2e}")
    return {"problems": problems, "blocks": len(kinds), "worstWeightDifference": weight, "worstElementDifference": element,
            "worstPredictionDifference": prediction}


def unhandled(model, kinds):
    """Blocks, BF16 among them, that no GGUFLinear decodes: diffusers would compute with their bytes."""
    from diffusers.quantizers.gguf.utils import GGUFLinear
    taken = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, GGUFLinear)}
    return [f"{name}: {kind.name}, but not the weight of a GGUFLinear" for name, kind in kinds.items() if name not in taken]


def compare_parameters(state, kinds, values, problems):
    """The largest difference to gguf-py's values, of a tensor's norm and of its largest element."""
    from diffusers.quantizers.gguf.utils import dequantize_gguf_tensor
    worst_weight = worst_element = 0.0
    for name, parameter in state.items():
        if getattr(parameter, "quant_type", None) != kinds.get(name):
            problems.append(f"{name}: {getattr(parameter, 'quant_type', None)} for diffusers, {kinds.get(name)} in the file")
        got, want = dequantize_gguf_tensor(parameter).float(), torch.from_numpy(values[name])
        if got.shape != want.shape:
            problems.append(f"{name}: shape {tuple(got.shape)} for diffusers, gguf-py has {tuple(want.shape)}")
            continue
        weight, element = relative(got, want), ((got - want).abs().max() / want.abs().max().clamp_min(1e-30)).item()
        worst_weight, worst_element = max(worst_weight, weight), max(worst_element, element)
        if not weight <= WEIGHT_TOLERANCE:
            problems.append(f"{name}: relative difference {weight:.2e} for diffusers")
        elif not element <= (element_tolerance(kinds[name].name) if name in kinds else 0):
            problems.append(f"{name}: off by {element:.2e} of its largest for diffusers")
    return worst_weight, worst_element


def check_diffusers(original, folder):
    file = file_of(folder)
    return compare_diffusers(loading.Questions(original), folder, file, all_values(file))


class Parts:
    """A file taken apart, to be changed and written anew by gguf-py: {name: [type, bytes or floats]} and {key: (value, type, type of elements)}."""

    def __init__(self, file):
        reader = gguf.GGUFReader(file)
        self.tensors = {t.name: [t.tensor_type, np.array(t.data)] for t in reader.tensors}
        self.keys = {n: (f.contents(), *f.types[:2]) for n, f in reader.fields.items() if not n.startswith("GGUF.")}

    def write(self, file):
        writer = gguf.GGUFWriter(file, self.keys.pop("general.architecture")[0])
        for name, value in self.keys.items():
            writer.add_key_value(name, *value)
        for name, (kind, data) in self.tensors.items():
            writer.add_tensor(name, np.ascontiguousarray(data), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    def pick(self, kind, dims=2):
        return next(n for n, (k, data) in self.tensors.items() if k == kind and data.ndim == dims and len(set(data.shape)) == dims)

    def data(self, kind, dims=2):
        return self.tensors[self.pick(kind, dims)][1]

    def requantize(self, name, kind):
        """A convolution's weight as a matrix: its last dimension alone holds no block."""
        values = self.tensors[name][1]
        self.tensors[name] = [kind, gguf.quants.quantize(values.reshape(len(values), -1) if values.ndim > 2 else values, kind)]


def edit_bytes(kind, where, change):
    """The bytes `where` of the third block of some tensor of that type."""
    def apply(parts):
        block = parts.data(kind).reshape(-1)[2 * gguf.GGML_QUANT_SIZES[kind][1]:]
        block[where] = change(block[where].copy())
    return apply


def exchange(parts):
    """Two tensors of one type and shape change places."""
    first = parts.pick(Kind.Q4_K)
    kind, data = parts.tensors[first]
    second = next(n for n, (k, d) in parts.tensors.items() if n != first and k == kind and d.shape == data.shape)
    parts.tensors[first], parts.tensors[second] = parts.tensors[second], parts.tensors[first]


def values_as_queries(parts):
    """The blocks of a layer that makes values change places with those of one that makes queries."""
    of_queries = {n.replace("q_proj", "v_proj"): n for n, (k, _) in parts.tensors.items() if n.endswith(".q_proj.weight") and k == Kind.Q3_K}
    values, queries = next((v, q) for v, q in of_queries.items() if parts.tensors[v][0] == Kind.Q5_K)
    parts.tensors[values], parts.tensors[queries] = parts.tensors[queries], parts.tensors[values]


def turn(parts):
    name = parts.pick(Kind.F32)
    parts.tensors[name][1] = parts.tensors[name][1].reshape(parts.tensors[name][1].shape[::-1])


def nudge(parts):
    values = parts.data(Kind.F32, 1)
    values[0] = np.nextafter(values[0], np.float32(9))


# What is done to a file, the words by which the check must report it. The first F32 matrix of the text model is its embedding.
DAMAGE = {
    "nibbles of a Q4_K block swapped": (edit_bytes(Kind.Q4_K, slice(16, 144), lambda b: b << 4 | b >> 4), "relative error"),
    "a scale byte of a Q4_K block changed": (edit_bytes(Kind.Q4_K, slice(4, 5), lambda b: b ^ 0x20), "of one group"),
    "d of a Q8_0 block with its bytes swapped": (edit_bytes(Kind.Q8_0, slice(0, 2), lambda b: b[::-1]), "relative error"),
    "the lowest bit of a code changed": (edit_bytes(Kind.Q4_K, slice(16, 17), lambda b: b ^ 1), "own decoder"),
    "two tensors exchanged": (exchange, "relative error"),
    "a shape reversed": (turn, "the original's is"),
    "a tensor missing": (lambda p: p.tensors.pop(p.pick(Kind.Q8_0)), "not in the file"),
    "a tensor too many": (lambda p: p.tensors.update(stray=[Kind.F32, np.ones(2, np.float32)]), "not in the original"),
    "a BF16 vector": (lambda p: p.requantize(p.pick(Kind.F32, 1), Kind.BF16), "BF16, though it is no weight"),
    "a vector changed by one unit": (nudge, "not the original's"),
    "general.quantization_version gone": (lambda p: p.keys.pop("general.quantization_version"), "quantization_version: missing"),
    "another general.file_type": (lambda p: p.keys.update({"general.file_type": (10, gguf.GGUFValueType.UINT32)}), "MOSTLY_Q2_K"),
    "another type than the manifest's": (lambda p: p.requantize(p.pick(Kind.F32), Kind.Q8_0), "the manifest says"),
    "blocks in an embedding": (lambda p: p.requantize(p.pick(Kind.F32), Kind.Q8_0), "no weight of an nn.Linear"),
}
CONVOLUTION = {
    "blocks in a convolution": (lambda p: p.requantize("down_blocks.1.resnets.0.conv2.weight", Kind.Q8_0), "no weight of an nn.Linear"),
}
# A file of Q3_K_M; two matrices of one shape.
KIND = {
    "another kind in general.file_type": (lambda p: p.keys.update({"general.file_type": (11, gguf.GGUFValueType.UINT32)}), "MOSTLY_Q3_K_S instead"),
    "values of attention with the type of most": (values_as_queries, "Q3_K instead of Q5_K"),
}
# The values that diffusers' are held against are those of the undamaged file.
DIFFUSERS = {name: (DAMAGE[name][0], words) for name, words in {
    "nibbles of a Q4_K block swapped": "relative difference", "a scale byte of a Q4_K block changed": "relative difference",
    "two tensors exchanged": "prediction at step", "a tensor missing": "diffusers refuses", "a tensor too many": "diffusers refuses",
    "a BF16 vector": "not the weight of a GGUFLinear", "a vector changed by one unit": "of its largest"}.items()}


def unnoticed(file, damages, problems_of):
    """Writes the file once as it is, then in one damaged way after another; names what the check does not report, or not by its words."""
    missed = damage.unnoticed(lambda: Parts(file), damages, problems_of, ".gguf")
    return {"unnoticed": missed, "damages": len(damages)}


def self_test(original, folder, kind, asked=None):
    """Damages of one kind: `file`, `convolution` and `kind` for `check`, `diffusers` for `check_diffusers`."""
    file = file_of(folder)
    values = all_values(file)
    if kind == "diffusers":
        questions = loading.Questions(original)
        return unnoticed(file, DIFFUSERS, lambda path: compare_diffusers(questions, folder, path, values)["problems"])
    plain = {name: torch.from_numpy(v) for name, v in values.items()}
    known = loading.tensors_of(original), linears(folder), manifest_layers(folder)
    damages = {"file": DAMAGE, "convolution": CONVOLUTION, "kind": KIND}[kind]
    return unnoticed(file, damages, lambda path: judge(*known, path, plain, asked)["problems"])
