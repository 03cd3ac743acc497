"""Do diffusers' own layers see what the engine computes for the layers that the time embedding drives?

    time_path.py OUT_DIR        makes OUT_DIR/<case>/ for each case, a small model with random weights

`check` takes such a folder and what the example `time_inputs` of aq-engine wrote for it. Each damage of `damages` must be noticed.

1. The computed layers are exactly those on the time path: the two layers of each embedder of the step, and every linear layer that takes
   the SiLU of the conditioning. Both are told by what goes into them in real forward passes, not by their names. Left out are layers that
   the engine keeps in float (`FLOAT`) and those whose input it does not know (`unknown`, `may_be_unknown`).
2. An embedder's layers take the row that was computed for the step, and no other.
3. So do driven layers, where nothing but the step is in the conditioning. Otherwise each computed row is one of those that the layer takes
   when every condition is tried: every label, or every vector that the engine samples, times every strength of guidance.

Models are called with the time that their pipelines pass: a thousandth of the step for FLUX and Qwen-Image, elsewhere the step.
"""
import os
import re
import sys
from collections import defaultdict

import loading
import numpy as np
import torch
from safetensors.torch import load_file

STEPS = range(0, 1000, 111)  # to the last one
ABSOLUTE, RELATIVE = 1e-4, 1e-4
FAR = 1e9  # in units of what is allowed; also what is no number
# Kept in float by the rules for a last layer (crates/engine/src/rules/rules.json), whatever drives them.
FLOAT = {"norm_out.linear", "proj_out_1"}
# Modules whose output is the conditioning; a UNet adds theirs up.
CONDITIONING = re.compile(
    r"(time|class|add)_embedding|transformer_blocks\.\d+\.norm1\.emb|adaln_single\.emb|condition_embedder\.time_embedder|time_text_embed")

UNET = dict(sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(64, 64), norm_num_groups=8,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"))
STABLE = dict(sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(64, 64), norm_num_groups=8,
              down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
              cross_attention_dim=32)
XL = dict(addition_embed_type="text_time", addition_time_embed_dim=32, projection_class_embeddings_input_dim=64 + 6 * 32)
DIT = dict(sample_size=4, patch_size=2, in_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=4)
PIXART = dict(DIT, out_channels=8, caption_channels=32, cross_attention_dim=64)
SIZED = dict(num_attention_heads=6, cross_attention_dim=96)  # three parts of the conditioning
# The class under which DiT and PixArt models were published; diffusers goes by norm_type (models/model_loading_utils.py).
LEGACY = dict(DIT, activation_fn="gelu-approximate", attention_bias=True, norm_elementwise_affine=False)
QWEN = dict(patch_size=2, in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=4,
            joint_attention_dim=32, axes_dims_rope=(8, 4, 4))
FLUX = dict(patch_size=1, in_channels=4, num_layers=2, num_single_layers=2, attention_head_dim=16, num_attention_heads=4,
            joint_attention_dim=32, pooled_projection_dim=48, axes_dims_rope=(4, 6, 6))

CASES = {
    "unet": ("UNet2DModel", UNET),
    "unet-sines-first": ("UNet2DModel", dict(UNET, flip_sin_to_cos=False, freq_shift=1)),
    "unet-labels": ("UNet2DModel", dict(UNET, flip_sin_to_cos=False, freq_shift=1, num_class_embeds=10)),
    "unet-scale-shift": ("UNet2DModel", dict(UNET, resnet_time_scale_shift="scale_shift", time_embedding_dim=128)),
    "unet-resnet-samplers": ("UNet2DModel", dict(UNET, downsample_type="resnet", upsample_type="resnet")),
    "stable": ("UNet2DConditionModel", STABLE),
    "stable-labels": ("UNet2DConditionModel", dict(STABLE, num_class_embeds=7)),
    "stable-activated": ("UNet2DConditionModel", dict(STABLE, time_embedding_act_fn="silu")),
    "stable-xl": ("UNet2DConditionModel", STABLE | XL),
    "dit": ("DiTTransformer2DModel", dict(DIT, num_embeds_ada_norm=10)),
    "dit-legacy": ("Transformer2DModel", dict(LEGACY, num_embeds_ada_norm=10, norm_type="ada_norm_zero")),
    "pixart": ("PixArtTransformer2DModel", dict(PIXART, use_additional_conditions=False)),
    "pixart-legacy": ("Transformer2DModel", dict(LEGACY | PIXART, num_embeds_ada_norm=1000, norm_type="ada_norm_single")),
    "pixart-sizes": ("PixArtTransformer2DModel", dict(PIXART | SIZED, use_additional_conditions=True)),
    # That sizes are added follows from sample_size here.
    "pixart-sizes-unsaid": ("PixArtTransformer2DModel", dict(PIXART | SIZED, sample_size=128)),
    "wan": ("WanTransformer3DModel", dict(
        patch_size=(1, 2, 2), num_attention_heads=4, attention_head_dim=16, in_channels=4, out_channels=4, text_dim=32, freq_dim=256,
        ffn_dim=64, num_layers=2, rope_max_seq_len=32)),
    "qwen": ("QwenImageTransformer2DModel", QWEN),
    "qwen-additional": ("QwenImageTransformer2DModel", dict(QWEN, use_additional_t_cond=True)),
    "qwen-zero": ("QwenImageTransformer2DModel", dict(QWEN, zero_cond_t=True)),
    "flux": ("FluxTransformer2DModel", FLUX),
    "flux-guidance": ("FluxTransformer2DModel", dict(FLUX, guidance_embeds=True)),
    "sd3": ("SD3Transformer2DModel", dict(
        sample_size=4, patch_size=1, in_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=4, caption_projection_dim=64,
        joint_attention_dim=32, pooled_projection_dim=48, out_channels=4, pos_embed_max_size=8, dual_attention_layers=(0,))),
}


def make(name, folder):
    """Fresh weights of the embedders are so small that SiLU is nearly a straight line there: three times as large, it bends."""
    import diffusers
    from diffusers.models.embeddings import PixArtAlphaTextProjection, TimestepEmbedding
    torch.manual_seed(0)
    cls, config = CASES[name]
    model = getattr(diffusers, cls)(**config).float()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (TimestepEmbedding, PixArtAlphaTextProjection)):
                for parameter in module.parameters():
                    parameter *= 3
    model.save_pretrained(folder)


# What the engine has for inputs that are not in the file (crates/engine/src/time_path/compute.rs).
VECTORS, GUIDANCE, SIZES = 61, (3.5, 2.5, 5.0, 4.0), (1024, 1024, 0, 0, 1024, 1024)


def sampled(width):
    """Its vectors of pooled text: sums of twelve uniform numbers of a 64-bit generator, less six."""
    state, uniform = 0x5EED, np.empty(VECTORS * width * 12, np.float32)
    for i in range(len(uniform)):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        uniform[i] = (state >> 40) / 2**24
    return torch.from_numpy(uniform.reshape(VECTORS, width, 12).sum(2) - 6)


def every_pair(a, b):
    return a.repeat_interleave(len(b), 0), b.repeat(len(a))


def conditions(kind, config):
    """How many conditions there are to a step, and the keyword arguments that pass them all at once."""
    if kind.startswith("UNet") and config.get("addition_embed_type") == "text_time":
        text = sampled(config.projection_class_embeddings_input_dim - len(SIZES) * config.addition_time_embed_dim)
        return VECTORS, {"added_cond_kwargs": {"text_embeds": text, "time_ids": torch.tensor([SIZES] * VECTORS)}}
    if kind.startswith("UNet") and config.num_class_embeds:
        return config.num_class_embeds, {"class_labels": torch.arange(config.num_class_embeds)}
    if kind.startswith("DiT"):
        labels = config.num_embeds_ada_norm + 1  # the last one stands for no label
        return labels, {"class_labels": torch.arange(labels)}
    if kind.startswith("PixArt"):
        return 1, {"added_cond_kwargs": {"resolution": torch.tensor([[1024.0, 1024.0]]), "aspect_ratio": torch.tensor([[1.0]])}}
    if kind.startswith("Qwen") and config.use_additional_t_cond:
        return 2, {"additional_t_cond": torch.arange(2)}
    if kind.startswith("Flux") and config.guidance_embeds:
        pooled, guidance = every_pair(sampled(config.pooled_projection_dim), torch.tensor(GUIDANCE))
        return len(pooled), {"pooled_projections": pooled, "guidance": guidance}
    if kind.startswith(("Flux", "SD3")):
        return VECTORS, {"pooled_projections": sampled(config.pooled_projection_dim)}
    return 1, {}


class Model:
    """A model that is called at a step with every condition, one sample of a batch for each, and that remembers what went where."""

    def __init__(self, model):
        from diffusers.models.embeddings import TimestepEmbedding
        self.model, self.config, self.kind = model, model.config, type(model).__name__
        self.count, self.conditions = conditions(self.kind, self.config)
        self.embedders = [name for name, m in model.named_modules() if isinstance(m, TimestepEmbedding)]
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.Linear):
                module.register_forward_pre_hook(lambda _, args, name=name: self.inputs[name].append(args[0]))
            if CONDITIONING.fullmatch(name):
                module.register_forward_hook(lambda _, args, out: self.outputs.append(out))

    def noise(self, *shape):
        return torch.randn(self.count, *shape, generator=torch.Generator().manual_seed(7))

    def arguments(self, step):
        c, tokens = self.config, self.kind.startswith(("Flux", "Qwen"))
        text = next((c[k] for k in ("joint_attention_dim", "text_dim", "caption_channels", "cross_attention_dim") if c.get(k)), None)
        frames = (1,) if self.kind.startswith("Wan") else ()
        more = {"timestep": torch.full((self.count,), step / 1000 if tokens else step)}
        more["sample" if self.kind.startswith("UNet") else "hidden_states"] = \
            self.noise(4, c.in_channels) if tokens else self.noise(c.in_channels, *frames, 4, 4)
        if text and not self.kind.startswith("DiT"):
            more["encoder_hidden_states"] = self.noise(3, text)
        if self.kind.startswith("Flux"):
            more |= {"img_ids": torch.zeros(4, 3), "txt_ids": torch.zeros(3, 3)}
        if self.kind.startswith("Qwen"):
            more |= {"encoder_hidden_states_mask": torch.ones(self.count, 3), "img_shapes": [[(1, 2, 2)]] * self.count}
        return more | self.conditions

    @torch.no_grad()
    def at(self, step):
        """{layer: the rows that it takes}, of layers that take one row a sample; and the activated conditionings."""
        self.inputs, self.outputs = defaultdict(list), []
        self.model(**self.arguments(step))
        sums = [sum(self.outputs)] if self.kind.startswith("UNet") else self.outputs
        rows = {name: torch.cat(all_) for name, all_ in self.inputs.items() if all(x.dim() == 2 for x in all_)}
        return rows, [torch.nn.functional.silu(s) for s in sums]

    def layers(self):
        """({layers of the step's embedders}, {driven layers}). An embedder is the step's if what it takes depends on the step alone."""
        (early, _), (late, sums) = self.at(1), self.at(500)
        embedding = {f"{e}.linear_{i}" for e in self.embedders for i in (1, 2)
                     if not torch.equal(early[f"{e}.linear_1"], late[f"{e}.linear_1"])}
        is_sum = lambda x: any(x.shape[1] == s.shape[1] and bool((distance(x, s)[0] <= 1).all()) for s in sums)  # noqa: E731
        return embedding, {name for name, rows in late.items() if name not in embedding and is_sum(rows)}


def distance(rows, others):
    """For each row: how far off the nearest of the others is, in units of what is allowed, and which one that is."""
    off = ((rows[:, None] - others[None]).abs() / (ABSOLUTE + RELATIVE * others[None].abs())).amax(2)
    return off.nan_to_num(FAR, FAR).clamp(max=FAR).min(1)


def unknown(model, driven):
    """Driven layers whose input the engine does not know: a PixArt model may add sizes of the image."""
    sized = model.kind.startswith("PixArt") and model.model.adaln_single.emb.use_additional_conditions
    return driven if sized else set()


def may_be_unknown(config):
    """Whether a setting is rare enough for the engine to compute nothing at all: what it computes must be right all the same."""
    return any(config.get(key) for key in ("time_embedding_act_fn", "zero_cond_t", "use_additional_conditions"))


def expected(model, steps):
    """{layer: {step: rows}} of diffusers, and which layers are driven."""
    embedding, driven = model.layers()
    names = (embedding | driven) - FLOAT - unknown(model, driven)
    seen = {step: model.at(step)[0] for step in steps}
    return {name: {step: seen[step][name] for step in steps} for name in names}, driven


def read(file):
    """{layer: {step: rows}}"""
    computed = defaultdict(dict)
    for key, rows in load_file(file).items():
        name, step = key.rsplit("@", 1)
        computed[name][int(step)] = rows
    return dict(computed)


def compare(seen, driven, count, computed):
    """What is wrong, and the largest difference in units of what is allowed."""
    problems = [f"{name}: computed, but its input is not known" for name in sorted(set(computed) - set(seen))]
    problems += [f"{name}: not computed" for name in sorted(set(seen) - set(computed))]
    worst = 0.0
    for name in sorted(set(seen) & set(computed)):
        conditional, met, offs = name in driven and count > 1, set(), {}
        for step, rows in seen[name].items():
            ours = computed[name].get(step)
            if ours is None or ours.shape[1] != rows.shape[1]:
                problems.append(f"{name}: step {step} is {'missing' if ours is None else f'{ours.shape[1]} wide, not {rows.shape[1]}'}")
                continue
            off, nearest = distance(ours, rows)
            if not conditional:
                off = torch.cat([off, distance(rows, ours)[0]])
            met |= set(nearest.tolist())
            offs[step] = off.max().item()
        bad = [step for step, off in offs.items() if off > 1]
        if bad:
            problems.append(f"{name}: steps {bad} are off, by up to {max(offs.values()):.4g} times what is allowed")
        if conditional and len(met) < 2:
            problems.append(f"{name}: one condition only, of {count}")
        worst = max(worst, *offs.values(), 0.0)
    return problems, worst


def damages(computed, driven):
    """(what, computed rows damaged in that way), for a layer of each place on the path."""
    of_embedders = {f"linear_{i}": [n for n in computed if n.endswith(f".linear_{i}") and n not in driven] for i in (1, 2)}
    for place, names in ({"driven": sorted(driven & set(computed))} | of_embedders).items():
        if not names:
            continue
        name = names[0]
        rows = computed[name]
        first, *others = steps = sorted(rows)
        after = dict(zip(steps, [*others, first]))
        one = {f"{place} at the next step": {s: rows[after[s]] for s in steps},
               f"{place} 1 % too large": {s: rows[s] * 1.01 for s in steps},
               f"{place} with halves exchanged": {s: rows[s].roll(rows[s].shape[1] // 2, 1) for s in steps},
               f"{place} with one number off": rows | {first: poked(rows[first], 0.01)},
               f"{place} with a NaN": rows | {first: poked(rows[first], float("nan"))},
               f"{place} without a step": {s: rows[s] for s in others}}
        yield from ((what, computed | {name: damaged}) for what, damaged in one.items())
        yield f"{place} missing", {n: r for n, r in computed.items() if n != name}
    yield "a layer too many", computed | {"conv_in": {0: torch.zeros(1, 64)}}


def poked(rows, by):
    rows = rows.clone()
    rows[-1, -1] += by
    return rows


def check(original, computed):
    model, computed = Model(loading.open_model(original)[0]), read(computed)
    nothing = not computed and may_be_unknown(model.config)
    seen, driven = ({}, set()) if nothing else expected(model, STEPS)
    problems, worst = compare(seen, driven, model.count, computed)
    damaged = {what: compare(seen, driven, model.count, rows)[0] for what, rows in damages(computed, driven)}
    return {"problems": problems, "unnoticed": [what for what, found in damaged.items() if found == problems], "damages": len(damaged),
            "layers": len(computed), "conditions": model.count, "worst": worst}


def cases():
    return list(CASES)


def main():
    for case in CASES:
        make(case, os.path.join(sys.argv[1], case))


if __name__ == "__main__":
    main()
