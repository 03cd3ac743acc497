"""Damages compressed-tensors folders on purpose: each check of compressed_tensors_files.py must notice, by the words that are meant for it."""

import torch

import damage
from compressed_tensors_files import PARTS, ZEROS, Folder, check, same

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


PACKED, SCALE, SHAPE, ZERO = (f"{MODULE}.weight_{part}" for part in (*PARTS, ZEROS))
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

# The same for a folder with zero points, which transformers does not open where widths are mixed.
ZERO_DAMAGE = {
    "the lowest bit of a zero point flipped": (edit(ZERO, lambda word: word ^ 1 << 8, (3, 1)), (NUMPY,)),
    "the highest bit of a zero point flipped": (edit(ZERO, lambda word: word ^ 1 << 11, (3, 1)), (NUMPY, "of one group")),
    "the zero points of two columns swapped": (edit(ZERO, lambda z: z[:, [1, 0, *range(2, z.shape[1])]]), (NUMPY, "relative error")),
    "zero points packed along the groups": (edit(ZERO, lambda z: z.T), ("weight_zero_point: torch.int32",)),
    "zero points in bytes": (edit(ZERO, lambda z: z.to(torch.int8)), ("weight_zero_point: torch.int8",)),
    "zero points missing": (lambda f: f.shard_of(ZERO).pop(ZERO), ("no zero points", "compressed-tensors refuses", "is in no shard")),
    "symmetric: true": (lambda f: in_group(f)[0]["weights"].update(symmetric=True), ("its tensors are (4, 64, 'group', 'int', False)",)),
}


def self_test(original, folder, plain, zeros=False):
    """Writes the folder as it is, then in one damaged way after another; names what is not reported, or not by its words. `zeros`: it has some."""
    missed = []
    checks = [(ZERO_DAMAGE, lambda path: check(original, path, plain, zeros=True))] if zeros else [
        (DAMAGE, lambda path: check(original, path, plain)), (CHANGED, lambda path: same(folder, path))]
    for damages, ask_check in checks:
        missed += damage.unnoticed(lambda: Folder(folder), damages, lambda path: ask_check(path)["problems"])  # noqa: B023  called at once
    return {"unnoticed": missed, "damages": sum(len(damages) for damages, _ in checks)}
