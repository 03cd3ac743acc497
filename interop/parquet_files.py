"""Parquet archives as pyarrow and DuckDB read them, and as numpy decodes them by the rules of the format.

1. Columns, their types and the file's own metadata are those of the format; every row is a row group; codes, scales and zeros stand
   in the file as they are.
2. Each row says of itself what follows from its bytes (sizes, bits per weight, CRC-32C by an implementation of its own) and what the
   manifest says; its JSON parses. There is one row for each tensor of the original.
3. What numpy makes of codes, scales and zeros is what our own decoder made of them (`opened`): bit-equal, or within float32 rounding where
   rows are rotated. The error figures are those of these values. What is not quantized has the original's bytes.
4. DuckDB answers questions in SQL as pyarrow's rows do, and reads the same bytes.

What becomes of such files in other layouts, and damaged ones, are in parquet_ways.py.
"""
import functools
import glob
import json
import os

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file

import loading
from gguf_files import same_bits
from open_sdnq import manifest_layers

ENDING = ".arrow-quant.parquet"
COLUMNS = {
    "layer_name": pa.string(), "tensor_name": pa.string(), "part": pa.int32(), "parts": pa.int32(), "shape": pa.list_(pa.int64()),
    "dtype": pa.string(), "data": pa.large_binary(), "num_params": pa.int64(), "quant_type": pa.string(), "symmetric": pa.bool_(),
    "scales": pa.large_binary(), "zero_points": pa.large_binary(), "meta_dtype": pa.string(), "quant_axis": pa.int32(),
    "group_size": pa.int32(), "rotation": pa.string(), "method": pa.string(), "bias_correction": pa.binary(),
    "is_diffusion_model": pa.bool_(), "modality": pa.string(), "time_aware_quant_json": pa.string(), "spatial_quant_json": pa.string(),
    "activation_stats_json": pa.string(), "cosine": pa.float64(), "sqnr_db": pa.float64(), "worst_row_cosine": pa.float64(),
    "bits_per_weight": pa.float64(), "crc32c": pa.int64()}
BYTES = ("data", "scales", "zero_points")
JSON = ("time_aware_quant_json", "spatial_quant_json", "activation_stats_json")
FIGURES = {"cosine": "cosine", "sqnr_db": "sqnrDb", "worst_row_cosine": "worstRowCosine", "bits_per_weight": "bitsPerWeight"}
METADATA = ("arrow_quant.format_version", "arrow_quant.version", "arrow_quant.config", "arrow_quant.source")
BITS = {"int2": 2, "int4": 4, "int8": 8}
META = {"bf16": 2, "f16": 2, "f32": 4}
DTYPES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64", torch.int32: "I32",
          torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL"}
# Rotated values, of the largest of their layer: float32 sums of up to 256 values, of which float64 knows no rounding (measured: 7e-8).
ROTATED_TOLERANCE = 5e-7
FIGURE_TOLERANCE = {"cosine": 1e-7, "worst_row_cosine": 1e-7, "sqnr_db": 1e-4}
QUESTION = "SELECT layer_name, bits_per_weight, cosine FROM '{}' WHERE quant_type <> 'none' ORDER BY cosine LIMIT 5"
SUMS = "SELECT count(*), sum(num_params), sum(octet_length(data)), sum(octet_length(scales)), sum(octet_length(zero_points)) FROM '{}'"


def crc_table():
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = table >> 1 ^ np.where(table & 1, np.uint32(0x82F63B78), np.uint32(0))
    return table


TABLE, LANE = crc_table(), 1024
BYTE = TABLE.tolist()


def advance(states, columns):
    """Many CRC registers at once, each by the bytes of its own lane."""
    for column in columns:
        states = TABLE[(states ^ column) & 255] ^ states >> 8
    return states


@functools.cache
def lane_of_zeros():
    """What LANE bytes of zeros make of a register, a byte of it at a time: registers are linear."""
    of = [advance(np.arange(256, dtype=np.uint32) << 8 * byte, np.zeros(LANE, np.uint32)) for byte in range(4)]
    return [part.tolist() for part in of]


@functools.lru_cache(maxsize=1024)
def crc32c(data):
    """Lanes side by side, then one after the other: byte by byte Python would take seconds. Damaged files have most bytes in common."""
    lanes = len(data) // LANE
    head = np.frombuffer(data, np.uint8, lanes * LANE).reshape(lanes, LANE).T.astype(np.uint32)
    state, shift = 0xFFFFFFFF, lane_of_zeros()
    for lane in advance(np.zeros(lanes, np.uint32), head).tolist():
        state = lane ^ shift[0][state & 255] ^ shift[1][state >> 8 & 255] ^ shift[2][state >> 16 & 255] ^ shift[3][state >> 24]
    for byte in data[lanes * LANE:]:
        state = BYTE[(state ^ byte) & 255] ^ state >> 8
    return state ^ 0xFFFFFFFF


def seal(row):
    row["crc32c"] = crc32c(b"".join(row[part] or b"" for part in BYTES))


def file_of(folder):
    path = loading.component(folder)
    name = "model" if path == folder else os.path.basename(path)
    found = sorted(map(os.path.basename, glob.glob(os.path.join(path, "*.parquet"))))
    if found != [name + ENDING] or loading.weight_files(folder):
        raise FileNotFoundError(f"{found} and {len(loading.weight_files(folder))} safetensors files instead of {name + ENDING} alone")
    return os.path.join(path, name + ENDING)


class Archive:
    """Rows of a file, to be changed and written anew by pyarrow in the same way."""

    def __init__(self, file):
        with pq.ParquetFile(file) as parquet:
            self.schema = parquet.schema_arrow
            self.metadata = {key.decode(): value.decode() for key, value in (parquet.metadata.metadata or {}).items()}
            self.rows = [row for group in range(parquet.num_row_groups) for row in parquet.read_row_group(group).to_pylist()]
        self.options = {"compression": "none", "use_dictionary": False, "column_encoding": "PLAIN", "write_statistics": False}
        self.group = 1

    def write(self, file):
        metadata = {key: value for key, value in self.metadata.items() if key != "ARROW:schema"}
        table = pa.Table.from_pylist(self.rows, schema=self.schema.with_metadata(metadata))
        pq.write_table(table, file, row_group_size=self.group, **self.options)

    def pick(self, **want):
        """The first row with these values: of a matrix, or of a tensor of another shape where no matrix has them."""
        found = [r for r in self.rows if r["data"] and all(r[key] == value for key, value in want.items())]
        if not found:
            raise LookupError(f"no row to damage has {want}")
        return min(found, key=lambda r: len(r["shape"]) != 2)


def check_schema(schema, problems):
    if schema.names != list(COLUMNS):
        wrong = [name for name in schema.names if name not in COLUMNS] + [name for name in COLUMNS if name not in schema.names]
        problems.append(f"columns: {wrong or schema.names}")
    for field in schema:
        want = COLUMNS.get(field.name, field.type)
        if field.type != want:
            problems.append(f"column {field.name}: {field.type} instead of {want}")
    if "data" in schema.names and schema.field("data").nullable:
        problems.append("column data: may be null")


def check_chunks(file, rows, problems):
    """Bytes stand in the file as they are: a chunk of one value ends with it."""
    raw = memoryview(np.fromfile(file, np.uint8))
    with pq.ParquetFile(file) as parquet:
        meta = parquet.metadata
    if any(meta.row_group(at).num_rows != 1 for at in range(meta.num_row_groups)):
        problems.append("a row group has several rows, or none")
        return
    for at, row in enumerate(rows):
        for name in BYTES:
            chunk = meta.row_group(at).column(list(COLUMNS).index(name))
            how = chunk.path_in_schema, chunk.compression, chunk.has_dictionary_page
            if how != (name, "UNCOMPRESSED", False) or not set(chunk.encodings) <= {"PLAIN", "RLE"}:
                problems.append(f"{row['tensor_name']}: chunk {how}, encodings {chunk.encodings}")
            elif row[name] and row[name] != raw[chunk.data_page_offset:][:chunk.total_compressed_size][-len(row[name]):]:
                problems.append(f"{row['tensor_name']}: {name} is not at the end of its chunk")


def check_metadata(metadata, manifest, original, problems):
    missing = [key for key in METADATA if key not in metadata]
    if missing:
        problems.append(f"metadata: {missing} missing")
        return
    version, package, config, source = (metadata[key] for key in METADATA)
    if (version, package) != ("2", manifest["version"]):
        problems.append(f"metadata: version {version}, of arrow-quant {package}")
    try:
        config, source = json.loads(config), json.dumps(json.loads(source))
    except ValueError as error:
        problems.append(f"metadata: {error}")
        return
    if config != manifest["config"]:
        problems.append("metadata: arrow_quant.config is not the manifest's")
    for path in loading.weight_files(original):
        if os.path.basename(path) not in source or str(os.path.getsize(path)) not in source:
            problems.append(f"metadata: arrow_quant.source does not tell name and size of {os.path.basename(path)}")


def check_row(row, modality, problems):
    """What holds for each row. Returns whether there are codes that can be decoded."""
    def wrong(what):
        problems.append(f"{row['tensor_name']}: {what}")
    if row["layer_name"] != row["tensor_name"].removesuffix(".weight"):
        wrong(f"layer_name {row['layer_name']}")
    if (row["part"], row["parts"]) != (0, 1):
        wrong(f"part {row['part']} of {row['parts']}")
    counted = row["num_params"] == int(np.prod(row["shape"], dtype=np.int64))
    if not counted:
        wrong(f"num_params {row['num_params']} of shape {row['shape']}")
    if row["is_diffusion_model"] is None or row["modality"] != modality:
        wrong(f"is_diffusion_model {row['is_diffusion_model']}, modality {row['modality']} instead of {modality}")
    for name in JSON:
        try:
            json.loads(row[name] or "null")
        except ValueError as error:
            wrong(f"{name}: {error}")
    size = 8 * sum(len(row[part] or b"") for part in BYTES) / max(row["num_params"], 1)
    if row["bits_per_weight"] is None or not (size > 0 and abs(row["bits_per_weight"] - size) <= 1e-9 * size):
        wrong(f"bits_per_weight {row['bits_per_weight']} instead of {size}")
    sealed = dict(row)
    seal(sealed)
    if row["crc32c"] != sealed["crc32c"]:
        wrong(f"crc32c {row['crc32c']} instead of {sealed['crc32c']}")
    if row["quant_type"] == "none":
        if row["scales"] is not None or row["zero_points"] is not None:
            wrong("scales or zeros without codes")
        return False
    if row["quant_type"] not in BITS or row["meta_dtype"] not in META or None in (row["symmetric"], row["rotation"], row["method"]):
        wrong(f"{row['quant_type']}, {row['meta_dtype']}, symmetric {row['symmetric']}, rotation {row['rotation']}, {row['method']}")
        return False
    if row["quant_axis"] != 1 or len(row["shape"]) < 2 or not row["group_size"] or row["shape"][1] % row["group_size"]:
        wrong(f"quant_axis {row['quant_axis']}, group_size {row['group_size']} of shape {row['shape']}")
        return False
    for name in ("cosine", "worst_row_cosine"):
        if row[name] is None or not 0 <= row[name] <= 1:
            wrong(f"{name} {row[name]}")
    zeros = row["num_params"] // row["group_size"] * META[row["meta_dtype"]]
    want = row["num_params"] * BITS[row["quant_type"]] // 8, zeros, None if row["symmetric"] else zeros
    got = tuple(None if row[part] is None else len(row[part]) for part in BYTES)
    if got != want:
        wrong(f"bytes of codes, scales and zeros are {got} instead of {want}")
    block = block_of(row)
    turns = block is not None and row["num_params"] // row["shape"][0] % block == 0
    if not turns:
        wrong(f"rotation {row['rotation']} of shape {row['shape']}")
    return counted and turns and got == want


def block_of(row):
    """1: not rotated; nothing where the block is no power of two that SDNQ rotates by."""
    if row["rotation"] == "none":
        return 1
    size = row["rotation"].removeprefix("hadamard")
    return int(size) if "hadamard" + size == row["rotation"] and size in ("4", "8", "16", "32", "64", "128", "256") else None


@functools.cache
def hadamard(size):
    """SDNQ's: powers of a matrix of four where the size is one, else Sylvester's."""
    base = [[1, 1, 1, -1], [1, 1, -1, 1], [1, -1, 1, 1], [-1, 1, 1, 1]] if size.bit_length() % 2 else [[1, 1], [1, -1]]
    matrix = np.ones((1, 1))
    while len(matrix) < size:
        matrix = np.kron(matrix, base)
    return matrix / np.sqrt(size)


def numbers(data, kind):
    if kind == "bf16":
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(data, "<f2" if kind == "f16" else "<f4").astype(np.float32)


def decode(row):
    """Values in the order of the shape: bit for bit what the format says where nothing is rotated, else in float64."""
    bits, (out, channels, *kernel) = BITS[row["quant_type"]], row["shape"]
    grid = out, channels // row["group_size"], row["group_size"], int(np.prod(kernel, dtype=np.int64))
    codes = np.frombuffer(row["data"], np.uint8)[:, None] >> np.arange(0, 8, bits, dtype=np.uint8) & (1 << bits) - 1
    codes = codes.astype(np.float32).reshape(grid)
    scales, zeros = (row[part] and numbers(row[part], row["meta_dtype"]).reshape(out, grid[1], 1, grid[3]) for part in BYTES[1:])
    values = (codes - np.float32(1 << bits - 1)) * scales if row["symmetric"] else codes * scales + zeros
    if (block := block_of(row)) > 1:
        values = values.astype(np.float64).reshape(-1, block) @ hadamard(block)
    return values.reshape(row["shape"])


def check_values(row, opened, problems):
    """How far from our own decoder's."""
    values, own = decode(row), opened.get(row["layer_name"])
    if own is None or tuple(own.shape) != values.shape:
        problems.append(f"{row['tensor_name']}: the own decoder made {own is not None and tuple(own.shape)} of it")
        return values, 0.0
    off = float(np.abs(values - own.numpy()).max() / np.abs(own.numpy()).max())
    if row["rotation"] == "none" and not same_bits(values, own.numpy()) or not off <= ROTATED_TOLERANCE:
        problems.append(f"{row['tensor_name']}: numpy's values are off the own decoder's by {off:.2e}, rotation {row['rotation']}")
    return values, off


def figures(got, want):
    got, want = (x.astype(np.float64).reshape(len(x), -1) for x in (got, want))
    ww, vv, wv, ee = ((a * b).sum(1) for a, b in ((want, want), (got, got), (want, got), (want - got, want - got)))
    rows = np.where(ee == 0, 1, wv / np.maximum(np.sqrt(ww * vv), 1e-300))
    whole = wv.sum() / np.sqrt(ww.sum() * vv.sum())
    return {"cosine": whole, "sqnr_db": min(200, 10 * np.log10(ww.sum() / max(ee.sum(), 1e-300))), "worst_row_cosine": rows.min()}


def check_figures(row, values, want, promised, problems):
    found = figures(values, want.float().numpy())
    for name, tolerance in FIGURE_TOLERANCE.items():
        if row[name] is None or not abs(row[name] - found[name]) <= tolerance:
            problems.append(f"{row['tensor_name']}: {name} {row[name]}, its values have {found[name]:.9g}")
    scheme = promised["scheme"]
    said = scheme["bits"], scheme["storedGroupSize"], scheme["symmetric"], scheme["rotation"] or 1, scheme["scaleDtype"], scheme["method"]
    got = BITS[row["quant_type"]], row["group_size"], row["symmetric"], block_of(row), row["meta_dtype"], row["method"]
    if got != said:
        problems.append(f"{row['tensor_name']}: {got}, the manifest says {said}")
    off = [name for name, key in FIGURES.items() if row[name] is None or abs(row[name] - promised[key]) > 1e-9 * abs(promised[key])]
    if off:
        problems.append(f"{row['tensor_name']}: {off} not the manifest's")


def ask(connection, question, file):
    return connection.sql(question.format(file.replace("'", "''"))).fetchall()


def check_duckdb(file, rows, problems):
    """Questions as a user asks them, and all bytes."""
    coded = [(r["layer_name"], r["bits_per_weight"], r["cosine"]) for r in rows if r["quant_type"] != "none"]
    coded.sort(key=lambda r: (r[2] is None, r[2] or 0))
    want = (len(rows), sum(r["num_params"] for r in rows), *(sum(len(r[part] or b"") for r in rows) or None for part in BYTES))
    with duckdb.connect(config={"threads": 2}) as connection:
        try:
            worst, sums = ask(connection, QUESTION, file), ask(connection, SUMS, file)[0]
            cells = ask(connection, "SELECT tensor_name, shape, data, scales, zero_points FROM '{}'", file)
        except duckdb.Error as error:
            problems.append(f"DuckDB: {type(error).__name__}: {error}"[:300])
            return
    if [r[2] for r in worst] != [r[2] for r in coded[:5]] or not set(worst) <= set(coded):
        problems.append(f"DuckDB: the least cosines are {worst}, in pyarrow {coded[:5]}")
    if sums != want:
        problems.append(f"DuckDB: rows, parameters and bytes are {sums}, in pyarrow {want}")
    same = {r["tensor_name"]: tuple(r[name] for name in ("shape", *BYTES)) for r in rows}
    problems += [f"{name}: DuckDB reads other bytes than pyarrow" for name, *cell in cells if same.get(name) != tuple(cell)]


def check_float(row, want, problems):
    data = want.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    if (row["dtype"], row["shape"]) != (DTYPES[want.dtype], list(want.shape)) or row["data"] != data:
        problems.append(f"{row['tensor_name']}: its values are not the original's")


def judge(known, file, calibrated=False):
    """One file against the original's folder and tensors, the manifest and its layers, and our own decoder's values."""
    path, original, manifest, layers, opened = known
    archive, problems, kinds, off = Archive(file), [], {}, 0.0
    check_schema(archive.schema, problems)
    if archive.schema.names != list(COLUMNS):
        return {"problems": problems}  # such rows cannot be read
    check_metadata(archive.metadata, manifest, path, problems)
    check_chunks(file, archive.rows, problems)
    names = [row["tensor_name"] for row in archive.rows]
    problems += [f"{name}: in {names.count(name)} rows" for name in sorted(original.keys() | set(names)) if names.count(name) != 1]
    problems += [f"{name}: not in the original" for name in sorted(set(names) - set(original))]
    coded = {row["layer_name"] for row in archive.rows if row["quant_type"] != "none"}
    problems += [f"{name}: the manifest and the rows disagree whether it is quantized" for name in sorted(coded ^ set(layers))]
    for row in archive.rows:
        readable, want = check_row(row, manifest["modality"], problems), original.get(row["tensor_name"])
        if want is None:
            continue
        if row["quant_type"] == "none":
            check_float(row, want, problems)
        elif row["dtype"] != DTYPES[want.dtype] or row["shape"] != list(want.shape):
            problems.append(f"{row['tensor_name']}: {row['dtype']} {row['shape']}, the original's is {want.dtype} {list(want.shape)}")
        elif readable:
            values, distance = check_values(row, opened, problems)
            off = max(off, distance)
            if row["layer_name"] in layers:
                check_figures(row, values, want, layers[row["layer_name"]], problems)
        kind = " ".join([row["quant_type"]] + [row["rotation"]] * (row["rotation"] not in (None, "none")))
        kinds[kind] = kinds.get(kind, 0) + 1
    if calibrated and not all(any(row[name] for row in archive.rows) for name in ("time_aware_quant_json", "activation_stats_json")):
        problems.append("no row has time groups, or none has statistics of activations, in spite of calibration")
    if path.endswith("_outliers") and not any("hadamard" in kind for kind in kinds):
        problems.append("no layer is rotated, though every one has an outlier")
    check_duckdb(file, archive.rows, problems)
    return {"problems": problems, "kinds": kinds, "rows": len(names), "rotatedDifference": off}


def known_of(original, folder, opened):
    manifest = loading.read_json(os.path.join(folder, "arrow-quant.json"))
    component = os.path.basename(loading.component(folder)) + "/"
    values = {name.removeprefix(component): t for name, t in load_file(opened).items()}
    return original, loading.tensors_of(original), manifest, manifest_layers(folder), values


def check(original, folder, opened, calibrated=False):
    return judge(known_of(original, folder, opened), file_of(folder), calibrated)
