"""Tables over time, as written beside a model, against what numpy makes of the same calibration and of the weights before and after."""
import json
import os

import numpy as np
from safetensors import safe_open

import loading

# Of more values than these, percentiles are estimated.
MOST_VALUES = 1 << 16
PARTS = {"groups", "min", "max", "percentiles", "sqnr_db", "bias_shift"}


def tensors(path):
    """Tensors and metadata of a file; bfloat16 as float32."""
    with safe_open(path, "pt") as f:
        return {k: (t.float() if t.is_floating_point() else t).numpy() for k in f.keys() for t in [f.get_tensor(k)]}, f.metadata()


def rows_of(calibration, module):
    found = {int(k.rsplit("@", 1)[1]): v.astype(np.float64) for k, v in calibration.items() if k.rsplit("@", 1)[0] == module}
    return dict(sorted(found.items()))


def near(name, got, want, tolerance, problems):
    if got.shape != want.shape or not np.all(np.abs(got - want) <= tolerance):
        worst = float(np.max(np.abs(got - want))) if got.shape == want.shape else None
        problems.append(f"{name}: off by {worst}" if worst is not None else f"{name}: {got.shape} instead of {want.shape}")


def compare(table, ranges, percentiles, module, rows, before, after):
    """Problems of one layer's table."""
    problems = []
    of = lambda part: table[f"{module}#{part}"]  # noqa: E731
    groups = [[t for t in rows if first <= t <= last] for first, last in ranges]
    known = [i for i, steps in enumerate(groups) if steps]
    if of("groups").tolist() != known:
        return [f"{module}: groups {of('groups').tolist()} instead of {known}"]
    lost = (before - after).reshape(len(before), -1).astype(np.float64)
    whole = before.reshape(len(before), -1).astype(np.float64)
    for at, group in enumerate(known):
        each = [rows[t] for t in groups[group]]
        values = np.sort(np.concatenate([x.ravel() for x in each]))
        near(f"{module} min", of("min")[at], values[0], 0, problems)
        near(f"{module} max", of("max")[at], values[-1], 0, problems)
        # The value of nearest rank; two neighbours where the rank is half way, more where not all values were looked at.
        around = 0.5 if len(values) <= MOST_VALUES else 0.004 * len(values)
        ranks = np.array(percentiles) / 100 * (len(values) - 1)
        place = lambda rank: rank.round(6).clip(0, len(values) - 1).astype(int)  # noqa: E731
        low, high = values[place(np.floor(ranks - around))], values[place(np.ceil(ranks + around))]
        got = of("percentiles")[at]
        if not np.all((low <= got) & (got <= high)):
            problems.append(f"{module} percentiles: {got.tolist()}")
        error, signal = [x @ lost.T for x in each], [x @ whole.T for x in each]
        shift = np.mean([e.mean(0) for e in error], axis=0)
        # Half a step of bfloat16, and what a difference of two outputs in f32 leaves.
        scale = np.abs(shift) * 2.0**-8 + 1e-6 * np.sqrt(np.mean([(s**2).mean() for s in signal]))
        near(f"{module} bias_shift", of("bias_shift")[at], shift, scale, problems)
        power = lambda list: sum((a**2).sum() for a in list)  # noqa: E731
        near(f"{module} sqnr_db", of("sqnr_db")[at], 10 * np.log10(power(signal) / power(error)), 0.01, problems)
    return problems


def damaged(table, module):
    """What a table could have got wrong, each of which must be noticed."""
    change = lambda part, f: {**table, f"{module}#{part}": f(table[f"{module}#{part}"])}  # noqa: E731
    yield "another sign of the shift", change("bias_shift", lambda v: -v)
    yield "groups in another order", change("bias_shift", lambda v: v[::-1])
    yield "extremes exchanged", change("min", lambda v: v + 1e-3 * np.abs(v))
    yield "percentiles exchanged", change("percentiles", lambda v: v[:, ::-1])
    yield "error of another group", change("sqnr_db", lambda v: np.roll(v, 1))


def check(original, plain, calibration):
    """A model written as `plain` in f32 with that calibration; layers whose inputs were recorded are compared."""
    with open(os.path.join(plain, "arrow-quant.json")) as f:
        layers = json.load(f)["layers"]
    table, metadata = tensors(os.path.join(plain, "arrow-quant", "time-groups.safetensors"))
    problems = []
    if metadata["format"] != "arrow-quant-time-groups" or metadata["version"] != "1":
        problems.append(f"metadata {metadata}")
    judged = {l["name"] for l in layers if l["timeGroups"]}
    expected = {f"{name}#{part}" for name in judged for part in PARTS} | {"time_groups"}
    if set(table) != expected:
        problems.append(f"tensors: {sorted(set(table) ^ expected)[:5]}")
    before, after = (loading.tensors_of(path) for path in (original, plain))
    rows, _ = tensors(calibration)
    percentiles, ranges = json.loads(metadata["percentiles"]), table["time_groups"].tolist()
    recorded = [l["name"] for l in layers if l["name"] in judged and (l.get("secondMoments") or {}).get("inputs") == "recorded"]
    unnoticed = []
    for number, module in enumerate(recorded):
        weights = [w[f"{module}.weight"].float().numpy() for w in (before, after)]
        one = lambda t: compare(t, ranges, percentiles, module, rows_of(rows, module), *weights)  # noqa: E731
        problems += one(table)
        if number == 0:
            unnoticed = [what for what, wrong in damaged(table, module) if not one(wrong)]
    if not recorded:
        problems.append("no layer has recorded inputs")
    return {"problems": problems, "layers": len(recorded), "groups": len(ranges), "unnoticed": unnoticed, "damages": 5}
