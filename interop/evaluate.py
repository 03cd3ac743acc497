"""How far is a quantized denoiser's prediction from the original's, on a fixed set of inputs?

    evaluate.py --model ORIGINAL_DIR --quantized DIR [--json OUT]

Both compute in float32 through the real loader, so what is measured is the error of the weights. Images: SQNR in dB, 10 log10 of signal
power over error power, over the samples of one time step; the mean is over steps, of dB. Text: over the hidden positions, KL(original ||
quantized) in nats, and the share of positions with the same most likely symbol.
"""
import argparse
import json
import math

import torch

from loading import Questions, open_model, weight_bytes


def sqnr(want, got):
    """dB; equal predictions count as 200, anything not finite as -999."""
    error = (want - got).double().square().sum().item()
    signal = want.double().square().sum().item()
    if not math.isfinite(error):
        return -999.0
    return 10 * math.log10(max(signal, 1e-30) / max(error, signal * 1e-20, 1e-30))


def measure(questions, model):
    rows = []
    for i, step in enumerate(questions.steps()):
        want, got = questions.row("output", i).float(), questions.ask(model, i).float()
        row = {"step": step}
        if questions.is_text:
            hidden = questions.row("x", i) == questions.config["mask_token_id"]
            want, got = want[hidden], got[hidden]
            p, q = want.log_softmax(-1), got.log_softmax(-1)
            row["kl"] = (p.exp() * (p - q)).sum(-1).mean().item()
            row["top1"] = (want.argmax(-1) == got.argmax(-1)).float().mean().item()
        row["sqnrDb"] = sqnr(want, got)
        row["cosine"] = torch.nn.functional.cosine_similarity(want.flatten(1), got.flatten(1)).mean().item()
        rows.append(row)
    return rows


def evaluate(original, quantized):
    questions = Questions(original)
    model, keys = open_model(quantized)
    rows = measure(questions, model)
    mean = {key: sum(row[key] for row in rows) / len(rows) for key in rows[0] if key != "step"}
    result = {"bytes": weight_bytes(quantized), "originalBytes": weight_bytes(original), "loading": keys, "mean": mean,
              "worstSqnrDb": min(row["sqnrDb"] for row in rows), "steps": rows}
    if questions.is_text:
        result["worstKl"] = max(row["kl"] for row in rows)
    return result


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", required=True, help="the original's folder, with reference.safetensors")
    p.add_argument("--quantized", required=True)
    p.add_argument("--json", help="write everything there")
    a = p.parse_args()
    result = evaluate(a.model, a.quantized)
    for row in result["steps"]:
        print("  ".join(f"{key} {value:.5g}" for key, value in row.items()))
    print("mean  " + "  ".join(f"{key} {value:.5g}" for key, value in result["mean"].items()))
    print(f"worst step {result['worstSqnrDb']:.2f} dB, {result['bytes']:,} bytes of {result['originalBytes']:,}")
    if a.json:
        with open(a.json, "w") as f:
            json.dump(result, f, indent=1)


if __name__ == "__main__":
    main()
