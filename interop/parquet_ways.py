"""Parquet archives on their way to other layouts and back, which must give codes, scales and zeros back.

And damaged ones: the checks of parquet_files.py must notice each of them, by the words that it was made for.
"""
import copy
import json
import os

import numpy as np
import pyarrow as pa
import torch

import damage
import loading
from compressed_tensors_files import identical
from gguf_files import same_bits
from parquet_files import BYTES, Archive, check_duckdb, crc32c, file_of, judge, known_of, seal

# What must come back from another layout, which does not know the element type that a layer in codes once had.
KEPT = ("layer_name", "part", "parts", "shape", *BYTES, "num_params", "quant_type", "symmetric", "meta_dtype", "quant_axis", "group_size",
        "rotation", "bits_per_weight", "crc32c")
# CRC-32C: the check value, and those of RFC 3720, B.4.
VECTORS = {b"123456789": 0xE3069283, bytes(32): 0x8A9136AA, b"\xff" * 32: 0x62A8AB43, bytes(range(32)): 0x46DD794E, b"": 0}


def same_rows(first, second):
    """Rows of two archives, by tensor: their order is that of the files they were made of."""
    a, b = ({(row["tensor_name"], row["part"]): row for row in rows} for rows in (first, second))
    problems = [f"{name}: not in both archives" for name, _ in sorted(a.keys() ^ b.keys())]
    for key in sorted(a.keys() & b.keys()):
        names = KEPT + ("dtype",) * (a[key]["quant_type"] == "none")
        off = [name for name in names if a[key][name] != b[key][name]]
        problems += [f"{key[0]}: {off} changed on the way"] if off else []
    return problems


def same_tensors(a, b):
    problems = [f"{name}: not in both folders" for name in sorted(a.keys() ^ b.keys())]
    return problems + [f"{name}: changed on the way" for name in sorted(a.keys() & b.keys()) if not identical(a[name], b[name])]


def plain_values(original, plain, rows, opened):
    """What `plain` has of layers in codes is our own decoder's, all else is the original's."""
    problems = [f"{name}: not in plain and the original" for name in sorted(original.keys() ^ plain.keys())]
    kinds = {row["tensor_name"]: row for row in rows}
    for name in sorted(original.keys() & plain.keys() & kinds.keys()):
        if kinds[name]["quant_type"] == "none":
            if not identical(plain[name], original[name]):
                problems.append(f"{name}: in plain not the original's")
            continue
        want, got = opened.get(kinds[name]["layer_name"]), plain[name]
        if want is None or got.dtype != torch.float32 or got.shape != want.shape or not same_bits(got.numpy(), want.numpy()):
            problems.append(f"{name}: in plain not what the own decoder made of the archive")
    return problems


def in_order(value):
    """Names in lists stand in the order of the files' tensors, which may be another one after an archive."""
    if isinstance(value, dict):
        return {key: in_order(v) for key, v in value.items()}
    return sorted(map(str, value)) if isinstance(value, list) else value


def ways(original, archive, opened, again, plain, sdnq, back):
    """`archive` went to sdnq and came back as `again`; `sdnq` went to Parquet and came back as `back`; `plain` was made of `archive`."""
    first, second = (Archive(file_of(folder)).rows for folder in (archive, again))
    known = known_of(original, archive, opened)
    tensors, returned = loading.tensors_of(sdnq), loading.tensors_of(back)
    problems = [f"parquet: {p}" for p in same_rows(first, second)] + [f"sdnq: {p}" for p in same_tensors(tensors, returned)]
    problems += plain_values(known[1], loading.tensors_of(plain), first, known[4])
    if in_order(loading.quantization_config(sdnq)) != in_order(loading.quantization_config(back)):
        problems.append("sdnq: quantization_config changed on the way")
    scales = sum(name.endswith(".scale") for name in tensors)
    if not scales:
        problems.append(f"{sdnq} has no quantized weights")
    return {"problems": problems, "rows": len(first), "tensors": len(tensors), "scales": scales}


def make_outliers(folder):
    """A UNet with random weights and one large column in each of them, so that layers are rotated; its name ends as the check wants."""
    import diffusers
    import families
    torch.manual_seed(0)
    cls, config = families.FAMILIES["unet2dcond"]
    path = os.path.join(folder, "unet2dcond_outliers")
    families.with_outliers(getattr(diffusers, cls)(**config).float()).save_pretrained(path)
    return path


def set_to(sealed=False, pick=None, **values):
    """Columns of one row replaced: by a value, or by what a function makes of the one that stands there."""
    def apply(archive):
        row = archive.pick(**(pick or {"quant_type": "int4"}))
        for name, value in values.items():
            row[name] = value(row[name]) if callable(value) else value
        if sealed:
            seal(row)
    return apply


def flip(mask, at=0):
    """Some bits of one byte."""
    def change(data):
        changed = bytearray(data)
        changed[at] ^= mask
        return bytes(changed)
    return change


def retype(name, kind):
    def apply(archive):
        at = archive.schema.get_field_index(name)
        archive.schema = archive.schema.set(at, pa.field(name, kind))
    return apply


def reorder(archive):
    order = archive.schema.names[1::-1] + archive.schema.names[2:]
    archive.schema = pa.schema([archive.schema.field(name) for name in order])


def exchange(archive):
    """Two rows of one shape and scheme get each other's bytes, with the checksums that belong to them."""
    like = ("shape", "quant_type", "meta_dtype", "group_size", "rotation")
    kinds = {}
    for row in archive.rows:
        if row["quant_type"] != "none":
            kinds.setdefault(json.dumps([row[key] for key in like]), []).append(row)
    alike = max(kinds.values(), key=len)
    if len(alike) < 2:
        raise LookupError("no two rows of one shape and scheme to exchange")
    first, second = alike[:2]
    for name in (*BYTES, "crc32c"):
        first[name], second[name] = second[name], first[name]


def forget(archive):
    archive.metadata.pop("arrow_quant.source")


def option(**options):
    return lambda archive: archive.options.update(options)


FLOAT = {"quant_type": "none"}
NUMPY = "numpy's values"
# What is done to a file, and the words by which the check must report it. That asks for a layer of 4 bits with zeros and a float.
DAMAGE = {
    "a bit of a code flipped": (set_to(data=flip(1)), ("crc32c", NUMPY)),
    "the same with a new checksum": (set_to(True, data=flip(1)), (NUMPY,)),
    "nibbles swapped": (set_to(True, data=lambda d: bytes(b << 4 & 240 | b >> 4 for b in d)), (NUMPY, "its values have")),
    "a bit of a scale flipped": (set_to(True, scales=flip(1)), (NUMPY,)),
    "a bit of a zero flipped": (set_to(True, zero_points=flip(1, 2)), (NUMPY,)),
    "another checksum": (set_to(crc32c=lambda c: c ^ 1), ("crc32c",)),
    "two rows exchanged": (exchange, (NUMPY, "its values have")),
    "half of the scales": (set_to(True, scales=lambda d: d[len(d) // 2:]), ("bytes of codes", "bits_per_weight")),
    "no zeros": (set_to(True, zero_points=None), ("bytes of codes",)),
    "symmetric, with zeros": (set_to(symmetric=True), ("bytes of codes",)),
    "scales of a float": (set_to(pick=FLOAT, scales=b"\0\0"), ("without codes",)),
    "another meta_dtype": (set_to(meta_dtype=lambda kind: "f16" if kind == "bf16" else "bf16"), (NUMPY,)),
    "another width": (set_to(quant_type="int8"), ("bytes of codes",)),
    "another group_size": (set_to(group_size=lambda size: size // 2), ("bytes of codes",)),
    "a group_size that divides nothing": (set_to(group_size=7), ("quant_axis 1, group_size 7",)),
    "another quant_axis": (set_to(quant_axis=0), ("quant_axis 0",)),
    "another rotation in words alone": (set_to(rotation=lambda r: "hadamard32" if r == "none" else "none"), (NUMPY, "the manifest says")),
    "a rotation without a name": (set_to(rotation="hadamard256x"), ("rotation hadamard256x",)),
    "no method": (set_to(method=None), ("None",)),
    "a shape turned": (set_to(pick={"quant_type": "int4"}, shape=lambda s: [s[0] // 2, 2 * s[1]]), ("the original's is",)),
    "another num_params": (set_to(num_params=5), ("num_params 5",)),
    "another dtype": (set_to(dtype="F64"), ("F64",)),
    "another layer_name": (set_to(layer_name="a"), ("layer_name a", "disagree whether")),
    "another tensor_name": (set_to(tensor_name="a.weight", layer_name="a"), ("a.weight: not in the original", "in 0 rows")),
    "part 1 of 2": (set_to(part=1, parts=2), ("part 1 of 2",)),
    "a cosine above 1": (set_to(cosine=1.5), ("cosine 1.5", "not the manifest's")),
    "no cosine": (set_to(cosine=None), ("cosine None",)),
    "another sqnr_db": (set_to(sqnr_db=lambda x: x + 0.01), ("sqnr_db",)),
    "bits_per_weight 0": (set_to(bits_per_weight=0.0), ("bits_per_weight 0.0",)),
    "JSON cut short": (set_to(time_aware_quant_json='{"groups": ['), ("time_aware_quant_json: ",)),
    "another modality": (set_to(modality="audio"), ("modality audio",)),
    "a value of a float changed": (set_to(True, FLOAT, data=flip(1)), ("not the original's",)),
    "a row missing": (lambda a: a.rows.remove(a.pick(quant_type="int4")), ("in 0 rows", "disagree whether")),
    "a row twice": (lambda a: a.rows.append(a.rows[0]), ("in 2 rows",)),
    "rows that share a group": (lambda a: setattr(a, "group", 2), ("a row group has several",)),
    "bytes compressed": (option(compression="snappy"), ("SNAPPY",)),
    "bytes in a dictionary": (option(use_dictionary=True, column_encoding=None), ("encodings",)),
    "a column of another type": (retype("data", pa.binary()), ("column data: binary instead", "may be null")),
    "a column missing": (lambda a: setattr(a, "schema", a.schema.remove(a.schema.get_field_index("method"))), ("columns: ['method']",)),
    "a column too many": (lambda a: setattr(a, "schema", a.schema.append(pa.field("x", pa.int8()))), ("columns: ['x']",)),
    "columns in another order": (reorder, ("columns: ['tensor_name', 'layer_name'",)),
    "another format version": (lambda a: a.metadata.update({"arrow_quant.format_version": "3"}), ("metadata: version 3",)),
    "no source": (forget, ("arrow_quant.source'] missing",)),
    "a source of other files": (lambda a: a.metadata.update({"arrow_quant.source": "[]"}), ("source does not tell",)),
    "a config that is not JSON": (lambda a: a.metadata.update({"arrow_quant.config": "{"}), ("metadata: Expecting",)),
    "another config": (lambda a: a.metadata.update({"arrow_quant.config": "{}"}), ("not the manifest's",)),
}
# The same for a layer in rotated codes.
ROTATED = {
    "a bit of a rotated code flipped": (lambda a: rotated(a)(True, data=flip(1)), (NUMPY,)),
    "another block": (lambda a: rotated(a)(rotation=lambda r: "hadamard16" if r == "hadamard32" else "hadamard32"), (NUMPY,)),
}


def rotated(archive):
    name = next(row["rotation"] for row in archive.rows if row["rotation"] not in (None, "none"))
    return lambda *sealed, **values: set_to(*sealed, pick={"rotation": name}, **values)(archive)


def changed_on_the_way(archive):
    """What `same_rows`, `same_tensors`, `plain_values` and the comparison with DuckDB do not notice."""
    changes = {"data": flip(1), "scales": flip(1), "zero_points": flip(1), "group_size": lambda g: 2 * g, "meta_dtype": lambda _: "f32"}
    missed = []
    for name, change in changes.items():
        other = copy.deepcopy(archive)
        set_to(**{name: change})(other)
        if not same_rows(archive.rows, other.rows):
            missed.append(f"rows with another {name}")
    if not same_rows(archive.rows, archive.rows[1:]) or same_rows(archive.rows, archive.rows[::-1]):
        missed.append("a row missing on the way, or rows in another order are a change")
    tensors, nudged = {"a": torch.ones(3)}, {"a": torch.nextafter(torch.ones(3), torch.zeros(3))}
    if same_tensors(tensors, dict(tensors)) or not all(same_tensors(tensors, b) for b in (nudged, {}, {"a": torch.ones(3).half()})):
        missed.append("tensors that changed on the way")
    row = [{"tensor_name": "a", "layer_name": "a", "quant_type": "int4"}]
    if plain_values(tensors, tensors, row, tensors) or not plain_values(tensors, nudged, row, tensors):
        missed.append("values of plain that are not the decoder's")
    return missed, len(changes) + 3


def self_test(original, folder, opened):
    """Writes the file as it is, then in one damaged way after another; names what is not reported, or not by its words."""
    file, known = file_of(folder), known_of(original, folder, opened)
    archive = Archive(file)
    longer = bytes(np.arange(5000, dtype=np.uint16).astype(np.uint8))
    turned = any(row["rotation"] not in (None, "none") for row in archive.rows)
    damages = {**DAMAGE, **(ROTATED if turned else {})}
    missed, count = changed_on_the_way(archive)
    missed += [f"CRC-32C of {data!r}" for data, want in VECTORS.items() if crc32c(data) != want]
    if crc32c(longer) != slow_crc32c(longer):
        missed.append("CRC-32C of several lanes")
    missed += damage.unnoticed(lambda: copy.deepcopy(archive), damages, lambda path: judge(known, path)["problems"], ".parquet")
    problems, other = [], copy.deepcopy(archive)
    set_to(data=flip(1), cosine=0.0)(other)
    check_duckdb(file, other.rows, problems)
    missed += [f"DuckDB: {word}" for word in ("other bytes", "least cosines") if not any(word in p for p in problems)]
    return {"unnoticed": missed, "damages": len(damages) + count + 2}


def slow_crc32c(data):
    """Bit by bit, as it is defined."""
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    return state ^ 0xFFFFFFFF
