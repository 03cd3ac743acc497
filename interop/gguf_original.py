"""GGUF files with the names of original checkpoints, against the same model's file with the names of diffusers.

1. A convolution of a UNet stands in rows of 256 weights, and a key, an INT32 array as ComfyUI-GGUF reads it, has its shape.
2. What gguf-py makes of the blocks goes through the converter that diffusers has for original checkpoints. Out of it must come every
   tensor of the other file, bit for bit. A joined tensor has the widest of the types that its members have in the other file; a member of
   which that is not the type, and every tensor once more, is held against the original's weights, within the error of the type.
3. general.architecture, and the names by which readers tell what a file holds; their lengths; no tensor that the converter drops.
4. from_single_file, which converts on its own, must make the same parameters of both files, and models that predict the same.
5. Each of `DAMAGES`, `SHAPE_DAMAGES` and `LOADER_DAMAGES` must be noticed.
"""
import collections
import contextlib
import math
import os
import sys
import types
from unittest import mock

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Kind

import loading
import original_names
from families import FAMILIES
from gguf_files import Parts, check_error, check_keys, check_places, file_of, is_block, unhandled, unnoticed, values_of
from open_sdnq import manifest_layers
from original_names import SINGLE_FILE_LOADABLE_CLASSES

# ggml keeps 64 bytes for a name, its end included; ComfyUI-GGUF and stable-diffusion.cpp are built with 128.
PLAIN_GGML, MOST_BYTES = 63, 127
# Keys with the shapes of what stands in other rows than its own; architectures that have such; the length of their rows.
SHAPE, RESHAPED, ROW = "comfy.gguf.orig_shape.", {"sd1", "sdxl"}, 256
# What the rows of a model must come to at a width, so that both 256 and 32 are met.
TYPES = {4: {"Q4_K", "Q4_1"}, 8: {"Q8_0"}}

# Case of original_names.py: (what is changed in its configuration, element type, largest shard). Each has rows of 256 and of 32 weights.
CASES = {
    "flux-guidance": ({}, torch.bfloat16, "300KB"),
    "sd3.5-medium": ({}, torch.float32, "1GB"),
    "wan-i2v-published": (dict(ffn_dim=256), torch.bfloat16, "1GB"),
    "wan-t2v": (dict(ffn_dim=256), torch.float32, "1GB"),
    "qwen-image-layered": ({}, torch.float32, "500KB"),
    "sd1": (dict(block_out_channels=(32, 64, 64, 64), cross_attention_dim=32), torch.bfloat16, "1GB"),
    "sdxl": (dict(block_out_channels=(32, 64, 64)), torch.float32, "10MB"),
}
# Models that no family takes: those of families.py, the second with two blocks instead of three.
UNKNOWN = {"unknown class": "pixart", "another shape of a known class": "sdxl"}


def graft(model, name, tensor):
    """Puts in a parameter that the class does not have."""
    *parents, last = name.split(".")
    for parent in parents:
        if getattr(model, parent, None) is None:
            setattr(model, parent, torch.nn.Module())
        model = getattr(model, parent)
    setattr(model, last, torch.nn.Parameter(tensor))


def small(cls, config, more=None):
    """Random weights, no two tensors of which are alike."""
    import diffusers
    torch.manual_seed(0)
    model = getattr(diffusers, cls)(**config)
    for name, tensor in (more or {}).items():
        graft(model, name, tensor)
    model.load_state_dict({name: torch.randn(t.shape) / 5 for name, t in model.state_dict().items()})
    return model


def make(name, folder):
    """Saves a model, with what published ones have beside diffusers' own."""
    _, cls, config, *ignored = original_names.CASES[name]
    change, dtype, shard = CASES[name]
    more = {n: torch.zeros(32) for n in (ignored or [[]])[0]}
    small(cls, config | change, more).to(dtype).save_pretrained(folder, max_shard_size=shard)
    shards = len(loading.weight_files(folder))
    if (shards > 1) != (shard != "1GB"):
        raise ValueError(f"{name} has {shards} files at {shard}: adjust it")
    return {"shards": shards}


def make_refused(what, folder):
    """Saves a model that cannot get original names and returns what must be named. `what` is of UNKNOWN, of FOREIGN, or "part"."""
    if what in UNKNOWN:
        small(*FAMILIES[UNKNOWN[what]]).save_pretrained(folder)
        return None
    if what == "part":
        model = small(*original_names.CASES["flux-guidance"][1:3])
        model.transformer_blocks[0].attn.to_k = None
        model.save_pretrained(folder)
        return "transformer_blocks.0.attn.to_k"
    name = original_names.FOREIGN[what]
    small(*original_names.CASES[what][1:3], {name: torch.zeros(32, 32)}).save_pretrained(folder)
    return name


class File:
    """Values, in the shape that a key has for them, and types by name, and the reader itself."""

    def __init__(self, path):
        self.path, self.reader = path, gguf.GGUFReader(path)
        self.values = {t.name: torch.from_numpy(values_of(t)) for t in self.reader.tensors}
        self.kinds = {t.name: t.tensor_type for t in self.reader.tensors}
        self.stored = {name: tuple(values.shape) for name, values in self.values.items()}
        keys = {name.removeprefix(SHAPE): field for name, field in self.reader.fields.items() if name.startswith(SHAPE)}
        self.types = {name: [kind.name for kind in field.types] for name, field in keys.items()}
        self.shapes = {name: tuple(field.contents()) for name, field in keys.items()}
        for name, shape in self.shapes.items():
            if name in self.values and math.prod(shape) == self.values[name].numel():
                self.values[name] = self.values[name].reshape(shape)

    def check_shapes(self, architecture, problems):
        """Keys of shapes, and the rows that stand for them."""
        for name, shape in self.shapes.items():
            stored = self.stored.get(name)
            if architecture not in RESHAPED or stored is None:
                problems.append(f"{SHAPE}{name}: of {architecture}, where there is {stored or 'no such tensor'}")
                continue
            if self.types[name] != ["ARRAY", "INT32"]:
                problems.append(f"{SHAPE}{name}: {self.types[name]} instead of an INT32 array")
            if len(shape) != 4 or stored != (math.prod(shape) // ROW, ROW) or not is_block(types.SimpleNamespace(tensor_type=self.kinds[name])):
                problems.append(f"{SHAPE}{name}: {shape}, stored are {self.kinds[name].name} {stored}")
        if architecture in RESHAPED and not self.shapes:
            problems.append("no convolution has blocks")


def width(kind):
    """Bits a weight; the widest of several types is the one that joined layers get."""
    weights, size = gguf.GGML_QUANT_SIZES[kind]
    return size * 8 / weights


class Model:
    """What a file is held against: the original, and the file with the names of diffusers."""

    def __init__(self, name, original, plain, renamed):
        self.layers = manifest_layers(renamed)
        self.architecture, _, _, *ignored = original_names.CASES[name]
        self.left_out = set((ignored or [[]])[0])
        self.original, self.plain = original, File(file_of(plain))
        self.config = loading.read_json(os.path.join(original, "config.json"))
        self.weights = loading.tensors_of(original)

    def origins(self, file, problems):
        return original_names.origins(self.config, {name: tensor.shape for name, tensor in file.values.items()}, problems)

    def wrong_type(self, name, of, origins, file):
        """Why the type is not the one it must have; members of a joined tensor share the widest. Convolutions are floats in the other file."""
        if of in file.shapes:
            stated = self.layers.get(name.removesuffix(".weight"), {}).get("scheme", {}).get("blockType")
            return None if file.kinds[of].name == stated else f"{name}: {file.kinds[of].name}, the manifest says {stated}"
        members = [n for n, other in origins.items() if other == of and n in self.plain.kinds]
        widest = max((self.plain.kinds[n] for n in members), key=width)
        if file.kinds[of] != widest:
            joined = f"the widest of {len(members)}" if len(members) > 1 else "joined with nothing"
            return f"{name}: {file.kinds[of].name} instead of {widest.name}, {joined}"

    def judge(self, path, bits):
        file, problems = File(path), []
        check_keys(file.reader, problems)
        check_places(file.reader, problems)
        file.check_shapes(self.architecture, problems)
        stated = file.reader.fields["general.architecture"].contents()
        if stated != self.architecture:
            problems.append(f"general.architecture: {stated} instead of {self.architecture}")
        problems += original_names.names_problems(self.architecture, file.values)
        lengths = [len(name.encode()) for name in file.values]
        if max(lengths) > MOST_BYTES:
            problems.append(f"a name of {max(lengths)} bytes")
        kinds = collections.Counter(kind.name for kind in file.kinds.values())
        problems += [f"no tensor is {kind}" for kind in sorted(TYPES[bits] - set(kinds))]
        counts = self.compare(file, problems)
        return {"problems": problems, "kinds": kinds, "long": sum(n > PLAIN_GGML for n in lengths), "longest": max(lengths),
                "leftOut": len(self.left_out), **counts}

    def compare(self, file, problems):
        """Counts tensors of one type in both files, which must be equal, and those of two."""
        counts = {"same": 0, "apart": 0, "joined": 0, "reshaped": 0}
        try:
            origins, got = self.origins(file, problems), original_names.converted(self.config, file.values)
        except (IndexError, KeyError, RuntimeError) as error:  # converters fail so where names or shapes are not theirs
            problems.append(f"diffusers' converter fails, {type(error).__name__}: {error}")
            return counts
        wanted = set(self.plain.values) - self.left_out
        problems += [f"{name}: missing" for name in sorted(wanted - got.keys())]
        problems += [f"{name}: too many" for name in sorted(got.keys() - wanted)]
        problems += [f"{name}: not in the original" for name in sorted(wanted - self.weights.keys())]
        counts["joined"] = sum(n > 1 for n in collections.Counter(origins.values()).values())
        for name in sorted(wanted & got.keys() & self.weights.keys()):
            kind, want = file.kinds[origins[name]], self.weights[name].float()
            if want.shape != got[name].shape:
                problems.append(f"{name}: shape {tuple(got[name].shape)}, the original's is {tuple(want.shape)}")
                continue
            reshaped = origins[name] in file.shapes
            counts["reshaped" if reshaped else "same" if kind == self.plain.kinds[name] else "apart"] += 1
            if self.architecture in RESHAPED and want.dim() == 4 and not want.numel() % ROW and not reshaped:
                problems.append(f"{name}: its shape is in no key, though its {want.numel()} weights fill blocks")
            problems += filter(None, [self.wrong_type(name, origins[name], origins, file)])
            if kind == self.plain.kinds[name] and not torch.equal(got[name], self.plain.values[name]):
                problems.append(f"{name}: not the tensor of the file with diffusers' names")
            self.near(name, kind, got[name], want, problems)
        return counts

    def near(self, name, kind, got, want, problems):
        """Both files may be wrong alike: the original's weights are asked too."""
        tensor = types.SimpleNamespace(name=name, tensor_type=kind)
        if is_block(tensor):
            check_error(tensor, got.numpy(), want.numpy(), problems)
        elif not torch.equal(got, want):
            problems.append(f"{name}: its values are not the original's")

    def opened(self, path):
        """(model, None), or (None, why there is none)."""
        import diffusers
        cls = self.config["_class_name"]
        loader, config = getattr(diffusers, cls), diffusers.GGUFQuantizationConfig(compute_dtype=torch.float32)
        convert = mock.patch.dict(SINGLE_FILE_LOADABLE_CLASSES[cls], checkpoint_mapping_fn=original_names.converter(self.config))
        with contextlib.redirect_stdout(sys.stderr), convert:
            try:
                model = loader.from_single_file(path, config=self.original, quantization_config=config, torch_dtype=torch.float32)
            except Exception as error:  # whatever its loader stumbles over, it is the file that cannot be opened
                return None, f"diffusers refuses the file: {type(error).__name__}: {error}"[:300]
        return model.eval().requires_grad_(False), None

    def judge_loader(self, path, predict):
        """from_single_file on both files."""
        from diffusers.quantizers.gguf.utils import dequantize_gguf_tensor
        (model, why), (plain, also) = self.opened(path), self.opened(self.plain.path)
        if why or also:
            return {"problems": [p for p in (why, also) if p]}
        got, want, problems = *(m.state_dict(keep_vars=True) for m in (model, plain)), []
        problems += [f"{name}: missing for diffusers" for name, parameter in got.items() if parameter.is_meta]
        problems += [f"{name}: in one model alone" for name in sorted(got.keys() ^ want.keys())]
        blocks = {name: p.quant_type for name, p in got.items() if hasattr(p, "quant_type")}
        problems += unhandled(model, blocks)
        if problems:
            return {"problems": problems}  # such a model cannot be computed with
        for name, parameter in got.items():
            kind, other = getattr(parameter, "quant_type", None), getattr(want[name], "quant_type", None)
            if kind != other:
                problems.append(f"{name}: {kind and kind.name} for diffusers instead of {other and other.name}")
            elif not torch.equal(dequantize_gguf_tensor(parameter), dequantize_gguf_tensor(want[name])):
                problems.append(f"{name}: other values for diffusers")
        questions = loading.Questions(self.original) if predict else None
        for i, step in enumerate(questions.steps() if predict else []):
            one, other = questions.ask(model, i), questions.ask(plain, i)
            if not (torch.isfinite(one).all() and one.std() > 0 and torch.equal(one, other)):
                problems.append(f"prediction at step {step}: off by {(one - other).abs().max():.2e}")
        return {"problems": problems, "parameters": len(got), "blocks": len(blocks), "steps": len(questions.steps()) if predict else 0}


def check(name, original, plain, renamed, bits):
    return Model(name, original, plain, renamed).judge(file_of(renamed), bits)


def check_loader(name, original, plain, renamed, predict):
    return Model(name, original, plain, renamed).judge_loader(file_of(renamed), predict)


def moved(name, order):
    """Cuts a tensor's rows into as many pieces as `order` has and puts these in that order."""
    def apply(parts):
        data = parts.tensors[name][1]
        parts.tensors[name][1] = np.concatenate([np.split(data, len(order))[i] for i in order])
    return apply


def called(name, other):
    return lambda parts: parts.tensors.update({other: parts.tensors.pop(name)})


def exchanged(first, second):
    return lambda p: p.tensors.update({first: p.tensors[second], second: p.tensors[first]})


def retyped(name, kind):
    def apply(parts):
        old, data = parts.tensors[name]
        parts.tensors[name] = [kind, gguf.quants.quantize(gguf.quants.dequantize(data, old), kind)]
    return apply


IMG, TXT, LAST = "double_blocks.1.img_attn", "double_blocks.1.txt_attn", "final_layer.adaLN_modulation.1"
OTHER = "not the tensor of the file"
# What is done to flux-guidance with mixed widths (gguf-original.mjs), and the words by which it must be reported. The img_attn.qkv has 8
# bits there for its v, so only the original's weights tell its rows of q from those of k; the txt_attn.qkv has one width.
DAMAGES = {
    "halves left as diffusers has them": (moved(f"{LAST}.weight", (1, 0)), f"norm_out.linear.weight: {OTHER}"),
    "halves of a bias left as diffusers has them": (moved(f"{LAST}.bias", (1, 0)), f"norm_out.linear.bias: {OTHER}"),
    "rows of q and k exchanged": (moved(f"{TXT}.qkv.weight", (1, 0, 2)), f"transformer_blocks.1.attn.add_q_proj.weight: {OTHER}"),
    "rows of q and k exchanged at a shared width": (moved(f"{IMG}.qkv.weight", (1, 0, 2)), "attn.to_q.weight: relative error"),
    "biases of q and k exchanged": (moved(f"{IMG}.qkv.bias", (1, 0, 2)), f"transformer_blocks.1.attn.to_q.bias: {OTHER}"),
    "rows of v and of the MLP exchanged": (moved("single_blocks.0.linear1.weight", (0, 1, 3, 2, 4, 5, 6)), f"attn.to_v.weight: {OTHER}"),
    "norms of q and k exchanged": (exchanged(f"{IMG}.norm.query_norm.scale", f"{IMG}.norm.key_norm.scale"), f"norm_q.weight: {OTHER}"),
    "another architecture": (lambda p: p.keys.update({"general.architecture": ("sd3", gguf.GGUFValueType.STRING)}), "architecture: sd3"),
    "a tensor missing": (lambda p: p.tensors.pop("double_blocks.1.txt_mlp.2.weight"), "double_blocks.1.txt_mlp.2.weight"),
    "a bias missing": (lambda p: p.tensors.pop("img_in.bias"), "img_in.bias"),
    "a tensor with the name of diffusers": (called("img_in.weight", "x_embedder.weight"), "img_in.weight"),
    "a tensor that the converter drops": (lambda p: p.tensors.update(stray=[Kind.F32, np.ones(2, np.float32)]), "stray: no tensor"),
    "the tensor that readers look for renamed": (
        called("double_blocks.0.img_attn.proj.weight", "proj.weight"), "its keys are those of None"),
    "a name of diffusers by which readers know it": (
        lambda p: p.tensors.update({original_names.BANNED["flux"]: [Kind.F32, np.ones(2, np.float32)]}), "it has transformer_blocks.0"),
    "a name that is too long": (lambda p: p.tensors.update({"n" * 128: [Kind.F32, np.ones(2, np.float32)]}), "a name of 128 bytes"),
    "another type where nothing is joined": (retyped("final_layer.linear.weight", Kind.Q8_0), "Q8_0 instead of F32, joined with nothing"),
    "another type than the widest": (retyped(f"{TXT}.qkv.weight", Kind.Q8_0), "Q8_0 instead of Q4_1, the widest of 3"),
}
LOADER_DAMAGES = {
    "halves left as diffusers has them": (moved(f"{LAST}.weight", (1, 0)), "norm_out.linear.weight: other values"),
    "rows of q and k exchanged": (moved(f"{TXT}.qkv.weight", (1, 0, 2)), "attn.add_q_proj.weight: other values"),
    "a bias exchanged with another": (exchanged(f"{IMG}.proj.bias", f"{TXT}.proj.bias"), "prediction at step"),
    "a tensor missing": (lambda p: p.tensors.pop("double_blocks.1.txt_mlp.2.weight"), "double_blocks.1.txt_mlp.2.weight"),
    "another type": (retyped(f"{TXT}.qkv.weight", Kind.Q8_0), "Q8_0 for diffusers"),
}

CONV = "input_blocks.1.0.in_layers.2.weight"
CONV_KEY, INT32 = SHAPE + CONV, (gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.INT32)


def restated(change, kind=INT32):
    """Changes what the key says of CONV."""
    return lambda p: p.keys.update({CONV_KEY: (change(p.keys[CONV_KEY][0]), *kind)})


# The same for sd1.
SHAPE_DAMAGES = {
    "a shape missing": (lambda p: p.keys.pop(CONV_KEY), "down_blocks.0.resnets.0.conv1.weight: shape"),
    "all shapes missing": (lambda p: [p.keys.pop(key) for key in list(p.keys) if key.startswith(SHAPE)], "no convolution has blocks"),
    "a shape reversed": (restated(lambda shape: shape[::-1]), "down_blocks.0.resnets.0.conv1.weight: shape"),
    "a shape of unsigned numbers": (restated(list, (INT32[0], gguf.GGUFValueType.UINT32)), "'UINT32'] instead of an INT32 array"),
    "a shape of other weights": (restated(lambda shape: [2 * shape[0], *shape[1:]]), f"{CONV_KEY}: (64,"),
    "a shape of no tensor": (lambda p: p.keys.update({f"{SHAPE}stray": ([2, 2, 8, 8], *INT32)}), "where there is no such tensor"),
    "halves of a convolution exchanged": (moved(CONV, (1, 0)), "conv1.weight: relative error"),
    "another type than the manifest's": (retyped(CONV, Kind.Q4_1), "Q4_1, the manifest says Q8_0"),
}


def self_test(name, original, plain, renamed, kind):
    """`kind` is file, of files with mixed widths, shapes, of a UNet, or loader, of files in which no type differs."""
    model = Model(name, original, plain, renamed)
    if kind == "loader":
        return unnoticed(file_of(renamed), LOADER_DAMAGES, lambda path: model.judge_loader(path, True)["problems"])
    damages = {"file": DAMAGES, "shapes": SHAPE_DAMAGES}[kind]
    return unnoticed(file_of(renamed), damages, lambda path: model.judge(path, 4)["problems"])
