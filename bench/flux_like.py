"""A sharded FLUX-shaped transformer folder with random weights: `flux_like.py OUT_DIR [--double 1] [--single 3] [--shard-mb 450]`.

Real shapes (hidden 3072, 24 heads of 128), fewer blocks; bf16; diffusers names, config.json and index, so
FluxTransformer2DModel.from_pretrained opens it. Defaults give about 0.83 G parameters. `--hidden 256` keeps every layer and
every name at a few MB (heads stay 128 wide, which the rotary axes demand). Needs numpy only; weights are written shard by shard.
"""
import argparse
import json
import os
import struct

import numpy as np

HEAD, POOLED, CHANNELS = 128, 768, 64


def linear(name, rows, columns):
    return [(f"{name}.weight", (rows, columns)), (f"{name}.bias", (rows,))]


def norms(prefix, names):
    return [(f"{prefix}attn.{n}.weight", (HEAD,)) for n in names]


def double_block(prefix, h):
    t = linear(prefix + "norm1.linear", 6 * h, h) + linear(prefix + "norm1_context.linear", 6 * h, h)
    for name in ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"):
        t += linear(f"{prefix}attn.{name}", h, h)
    t += norms(prefix, ("norm_q", "norm_k", "norm_added_q", "norm_added_k"))
    for name in ("ff", "ff_context"):
        t += linear(f"{prefix}{name}.net.0.proj", 4 * h, h) + linear(f"{prefix}{name}.net.2", h, 4 * h)
    return t


def single_block(prefix, h):
    t = linear(prefix + "norm.linear", 3 * h, h) + linear(prefix + "proj_mlp", 4 * h, h)
    t += linear(prefix + "proj_out", h, 5 * h)
    for name in ("to_q", "to_k", "to_v"):
        t += linear(f"{prefix}attn.{name}", h, h)
    return t + norms(prefix, ("norm_q", "norm_k"))


def tensors(double, single, h, context):
    t = linear("x_embedder", h, CHANNELS) + linear("context_embedder", h, context)
    for name, width in (("timestep_embedder", 256), ("guidance_embedder", 256), ("text_embedder", POOLED)):
        t += linear(f"time_text_embed.{name}.linear_1", h, width) + linear(f"time_text_embed.{name}.linear_2", h, h)
    for b in range(double):
        t += double_block(f"transformer_blocks.{b}.", h)
    for b in range(single):
        t += single_block(f"single_transformer_blocks.{b}.", h)
    return t + linear("norm_out.linear", 2 * h, h) + linear("proj_out", CHANNELS, h)


def bf16(x):
    """Round to nearest, ties to even."""
    u = x.view(np.uint32)
    return ((u + 0x7FFF + ((u >> 16) & 1)) >> 16).astype(np.uint16)


def size_of(shape):
    return 2 * int(np.prod(shape))


def split(all_tensors, limit):
    shards, size = [[]], 0
    for name, shape in all_tensors:
        if shards[-1] and size + size_of(shape) > limit:
            shards.append([])
            size = 0
        shards[-1].append((name, shape))
        size += size_of(shape)
    return shards


def write_shard(path, shard, rng):
    offset, header = 0, {"__metadata__": {"format": "pt"}}
    for name, shape in shard:
        end = offset + size_of(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(head)) + head)
        for name, shape in shard:
            if len(shape) == 1:
                w = np.zeros(shape, np.float32) if name.endswith("bias") else np.ones(shape, np.float32)
            else:
                w = rng.standard_normal(shape, dtype=np.float32) * np.float32(0.02)
                w *= np.exp(0.4 * rng.standard_normal((shape[0], 1), dtype=np.float32))
            f.write(bf16(w).tobytes())


def config(a):
    return {"_class_name": "FluxTransformer2DModel", "_diffusers_version": "0.40.0", "attention_head_dim": HEAD,
            "num_attention_heads": a.hidden // HEAD, "axes_dims_rope": [16, 56, 56], "guidance_embeds": True,
            "in_channels": CHANNELS, "joint_attention_dim": a.context, "pooled_projection_dim": POOLED,
            "num_layers": a.double, "num_single_layers": a.single, "patch_size": 1}


def write_json(path, value):
    with open(path, "w") as f:
        json.dump(value, f, indent=1)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out")
    p.add_argument("--double", type=int, default=1, help="blocks of the two-stream kind")
    p.add_argument("--single", type=int, default=3, help="blocks of the one-stream kind")
    p.add_argument("--hidden", type=int, default=3072, help="width; a multiple of 128")
    p.add_argument("--context", type=int, default=4096, help="width of the text sequence")
    p.add_argument("--shard-mb", type=float, default=450)
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    if a.hidden % HEAD:
        p.error(f"--hidden must be a multiple of {HEAD}")
    os.makedirs(a.out, exist_ok=True)
    all_tensors = tensors(a.double, a.single, a.hidden, a.context)
    shards = split(all_tensors, a.shard_mb * 2**20)
    rng, weight_map, stem = np.random.default_rng(a.seed), {}, "diffusion_pytorch_model"
    for i, shard in enumerate(shards):
        part = "" if len(shards) == 1 else f"-{i + 1:05d}-of-{len(shards):05d}"
        file = f"{stem}{part}.safetensors"
        write_shard(os.path.join(a.out, file), shard, rng)
        weight_map |= {name: file for name, _ in shard}
    total = sum(size_of(s) for _, s in all_tensors)
    if len(shards) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        write_json(os.path.join(a.out, f"{stem}.safetensors.index.json"), index)
    write_json(os.path.join(a.out, "config.json"), config(a))
    print(f"{total // 2 / 1e6:.1f} M parameters, {total / 2**30:.2f} GiB, {len(shards)} shards")


if __name__ == "__main__":
    main()
