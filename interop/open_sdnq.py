"""Is an sdnq folder opened by the real loader as what we say it is?

    open_sdnq.py --original DIR --sdnq DIR --plain DIR [--samples N]

1. from_pretrained reports no missing, unexpected or mismatched keys, for both folders.
2. The modules that came out quantized are exactly the layers of the manifest, with the manifest's bits and kind of zero.
3. Each dequantized weight equals the plain folder's tensor within 1e-5 (norm of the difference / norm), and no element is off by more
   than 1e-4 of the weight's largest.
4. Everything else equals the original's tensor bit for bit.
5. The prediction equals that of the plain folder within 1e-3 (where the model comes with reference inputs).

Prints one JSON object and exits 1 when something is wrong.
"""
import argparse
import json
import os
import sys

import torch

from loading import Questions, component, open_model, quantization_config, read_json, tensors_of

WEIGHT_TOLERANCE, ELEMENT_TOLERANCE, PREDICTION_TOLERANCE = 1e-5, 1e-4, 1e-3


def manifest_layers(folder):
    """{module name: its row} of arrow-quant.json; a pipeline's `component/` prefix is taken off."""
    manifest = read_json(os.path.join(folder, "arrow-quant.json"))
    prefix = os.path.basename(component(folder)) + "/"
    return {row["name"].removeprefix(prefix).removesuffix(".weight"): row for row in manifest["layers"]}


def relative(got, want):
    scale = want.double().norm().item()
    difference = (got.double() - want.double()).norm().item()
    return difference / scale if scale else difference


def dequantized(module):
    return module.sdnq_dequantizer(module.weight, module.scale, zero_point=getattr(module, "zero_point", None))


def check_modules(modules, layers, problems):
    for name in sorted(set(layers) - set(modules)):
        problems.append(f"{name}: in the manifest, but the loader left it in float")
    for name in sorted(set(modules) - set(layers)):
        problems.append(f"{name}: quantized by the loader, but not in the manifest")
    for name in sorted(set(layers) & set(modules)):
        found, scheme = modules[name].sdnq_dequantizer, layers[name]["scheme"]
        if found.num_bits != scheme["bits"] or found.is_unsigned == scheme["symmetric"]:
            problems.append(f"{name}: loaded as {found.weights_dtype}, the manifest says {scheme}")
        if (found.hadamard_group_size if found.use_hadamard else None) != scheme.get("rotation"):
            problems.append(f"{name}: loaded with rotation {found.use_hadamard}, {found.hadamard_group_size}, the manifest says {scheme}")


def check_weights(modules, plain, problems):
    worst = ("", 0.0)
    for name, module in modules.items():
        want = plain.get(name + ".weight")
        if want is None:
            problems.append(f"{name}: no such tensor in the plain folder")
            continue
        # The plain layout may store a narrower type than float32; the comparison is made in that type.
        got = dequantized(module).to(want.dtype).float()
        want = want.float()
        if got.shape != want.shape:
            problems.append(f"{name}: shape {tuple(got.shape)}, plain has {tuple(want.shape)}")
            continue
        off, largest = relative(got, want), want.abs().max().item()
        worst = max(worst, (name, off), key=lambda pair: pair[1])
        if not torch.isfinite(got).all():
            problems.append(f"{name}: not finite")
        elif largest == 0:
            problems.append(f"{name}: all zero")
        elif off > WEIGHT_TOLERANCE:
            problems.append(f"{name}: relative difference {off:.2e} to the plain tensor")
        elif (got - want).abs().max().item() > ELEMENT_TOLERANCE * largest:
            problems.append(f"{name}: one element is off by {(got - want).abs().max().item():.2e}, largest {largest:.2e}")
    return worst


def check_rest(original, sdnq, plain, modules, problems):
    own = {f"{name}.{part}" for name in modules for part in ("weight", "scale", "zero_point")}
    for label, stored in (("sdnq", sdnq), ("plain", plain)):
        for name, tensor in original.items():
            if name in own:
                continue
            if name not in stored:
                problems.append(f"{label}: {name} is gone")
            elif stored[name].dtype != tensor.dtype or not torch.equal(stored[name], tensor):
                problems.append(f"{label}: {name} was changed, though it is not quantized")


def check(original, sdnq, plain, samples=None, predict=True):
    problems = []
    if (quantization_config(sdnq) or {}).get("quant_method") != "sdnq":
        problems.append("sdnq: config.json has no quantization_config of method sdnq")
    if quantization_config(plain):
        problems.append("plain: config.json has a quantization_config")
    quantized_model, keys = open_model(sdnq)
    plain_model, plain_keys = open_model(plain)
    for label, found in (("sdnq", keys), ("plain", plain_keys)):
        problems += [f"{label}: {kind} {names[:3]} ({len(names)})" for kind, names in found.items() if names]
    if keys["missing_keys"] or keys["mismatched_keys"]:
        return {"problems": problems}  # such a module cannot be computed with

    modules = {n: m for n, m in quantized_model.named_modules() if hasattr(m, "sdnq_dequantizer")}
    layers = manifest_layers(sdnq)
    if not modules:
        problems.append("no module is quantized")
    check_modules(modules, layers, problems)
    rotated = sum(layer["scheme"].get("rotation") is not None for layer in layers.values())
    if os.path.basename(os.path.normpath(original)).endswith("_outliers") and not rotated:
        problems.append("no layer is rotated, though every one has an outlier")
    plain_tensors = tensors_of(plain)
    worst = check_weights(modules, plain_tensors, problems)
    check_rest(tensors_of(original), tensors_of(sdnq), plain_tensors, modules, problems)

    prediction = 0.0
    questions = Questions(original, samples) if predict else None
    for i, step in enumerate(questions.steps() if predict else ()):
        off = relative(questions.ask(quantized_model, i), questions.ask(plain_model, i))
        prediction = max(prediction, off)
        if not off <= PREDICTION_TOLERANCE:  # a NaN must not pass
            problems.append(f"prediction at step {step}: relative difference {off:.2e} to plain")
    return {"problems": problems, "quantized": len(modules), "manifest": len(layers), "rotated": rotated, "worstWeight": worst[0],
            "worstWeightDifference": worst[1], "worstPredictionDifference": prediction}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("original", "sdnq", "plain"):
        p.add_argument(f"--{name}", required=True)
    p.add_argument("--samples", type=int, help="samples per step, default all")
    a = p.parse_args()
    result = check(a.original, a.sdnq, a.plain, a.samples)
    print(json.dumps(result, indent=1))
    sys.exit(bool(result["problems"]))


if __name__ == "__main__":
    main()
