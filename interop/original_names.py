"""Do diffusers' own converters of original checkpoints understand the names that the engine's table gives a model's tensors?

    original_names.py           one line a case; exits 1 where one fails

1. Small models with random weights are renamed by crates/engine/src/names/original.json, put into practice here in plain Python, and given
   to the converter that diffusers has for their class. It must make the very tensors of the model again: the same names, the same bits.
2. Two converters let names pass that no original checkpoint has: Wan's leaves what it does not know, Qwen-Image's changes nothing. The
   names of these families are compared with lists of their own (`MODULES`).
3. The names must be those by which ComfyUI-GGUF and stable-diffusion.cpp tell what a file holds (`LOOKED_FOR`).
4. Configurations of another shape must be left to no family (`REFUSED`).
5. Each damage of `damages`, done to the table, must be noticed.
"""
import copy
import json
import os
import re
import sys
import types

import loading  # noqa: F401  sets the environment before torch is imported
import torch
import diffusers
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES

TABLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "crates", "engine", "src", "names", "original.json")

FLUX = dict(patch_size=1, in_channels=4, num_layers=2, num_single_layers=3, attention_head_dim=16, num_attention_heads=4,
            joint_attention_dim=32, pooled_projection_dim=48, axes_dims_rope=(4, 6, 6))
SD3 = dict(sample_size=4, patch_size=2, in_channels=4, num_layers=3, attention_head_dim=16, num_attention_heads=4,
           caption_projection_dim=64, joint_attention_dim=32, pooled_projection_dim=48, out_channels=4, pos_embed_max_size=8)
WAN = dict(patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=16, in_channels=4, out_channels=4, text_dim=32, freq_dim=256,
           ffn_dim=64, num_layers=11, rope_max_seq_len=32)
I2V = dict(WAN, in_channels=9, image_dim=24, added_kv_proj_dim=32, num_layers=2)
QWEN = dict(patch_size=2, in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=4,
            joint_attention_dim=32, axes_dims_rope=(8, 4, 4))
CROSS_DOWN, CROSS_UP = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"
UNET = dict(sample_size=8, norm_num_groups=8, attention_head_dim=8, layers_per_block=2)
SD1 = dict(UNET, block_out_channels=(16, 32, 32, 48), down_block_types=(*[CROSS_DOWN] * 3, "DownBlock2D"),
           up_block_types=("UpBlock2D", *[CROSS_UP] * 3), cross_attention_dim=24)
XL = dict(addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=80)
SDXL = dict(UNET, block_out_channels=(16, 32, 48), down_block_types=("DownBlock2D", CROSS_DOWN, CROSS_DOWN),
            up_block_types=(CROSS_UP, CROSS_UP, "UpBlock2D"), cross_attention_dim=2048, transformer_layers_per_block=(1, 2, 3),
            use_linear_projection=True, **XL)

# Case: (architecture, class, configuration, modules that published models have beside diffusers' own and that it ignores)
CASES = {
    "flux": ("flux", "FluxTransformer2DModel", FLUX),
    "flux-guidance": ("flux", "FluxTransformer2DModel", dict(FLUX, guidance_embeds=True)),
    "sd3": ("sd3", "SD3Transformer2DModel", SD3),
    "sd3.5-large": ("sd3", "SD3Transformer2DModel", dict(SD3, qk_norm="rms_norm")),
    "sd3.5-medium": ("sd3", "SD3Transformer2DModel", dict(SD3, qk_norm="rms_norm", dual_attention_layers=(0, 1))),
    "wan-t2v": ("wan", "WanTransformer3DModel", WAN),
    "wan-i2v": ("wan", "WanTransformer3DModel", I2V),
    "wan-i2v-published": ("wan", "WanTransformer3DModel", I2V, [f"blocks.{i}.attn2.norm_added_q.weight" for i in (0, 1)]),
    "wan-flf2v": ("wan", "WanTransformer3DModel", dict(I2V, pos_embed_seq_len=6)),
    "qwen-image": ("qwen_image", "QwenImageTransformer2DModel", QWEN),
    "qwen-image-layered": ("qwen_image", "QwenImageTransformer2DModel", dict(QWEN, use_additional_t_cond=True)),
    "sd1": ("sd1", "UNet2DConditionModel", SD1),
    "sd2": ("sd1", "UNet2DConditionModel", dict(SD1, use_linear_projection=True, attention_head_dim=(2, 4, 4, 6))),
    "sdxl": ("sdxl", "UNet2DConditionModel", SDXL),
}

# Configurations that no family may take, and tensors that none may.
REFUSED = {
    "an unknown class": ("PixArtTransformer2DModel", {}),
    "one layer a block": ("UNet2DConditionModel", dict(SD1, layers_per_block=1)),
    "three blocks without text_time": ("UNet2DConditionModel", dict(SDXL, addition_embed_type=None)),
    "four blocks with text_time, as in SDXL's refiner": ("UNet2DConditionModel", dict(SD1, **XL)),
    "sdxl with other text": ("UNet2DConditionModel", dict(SDXL, cross_attention_dim=1280)),
    "attention elsewhere": ("UNet2DConditionModel", dict(SD1, down_block_types=("DownBlock2D", *[CROSS_DOWN] * 3))),
}
FOREIGN = {
    "flux-guidance": "transformer_blocks.0.attn.to_qkv.weight",
    "sd3.5-medium": "transformer_blocks.0.attn2.add_q_proj.weight",
    "wan-flf2v": "vace_blocks.0.proj_out.weight",
    "qwen-image-layered": "transformer_blocks.0.img_mlp.w1.weight",
    "sd1": "class_embedding.linear_1.weight",
    "sdxl": "down_blocks.1.attentions.0.transformer_blocks.0.fuser.linear.weight",
}

# In this order the first whose keys are all there is what a file holds. From ComfyUI-GGUF, `keys_detect` in tools/convert.py, less the
# keys of diffusers; Qwen-Image, which is not there, from get_sd_version in stable-diffusion.cpp, src/model_loader.cpp, with its Wan key.
LOOKED_FOR = {
    "flux": ["double_blocks.0.img_attn.proj.weight"],
    "sd3": ["joint_blocks.0.x_block.attn.qkv.weight"],
    "wan": ["blocks.0.self_attn.norm_q.weight", "text_embedding.2.weight", "head.modulation", "blocks.0.cross_attn.norm_k.weight"],
    "sdxl": ["input_blocks.3.0.op.weight", "input_blocks.6.0.op.weight", "output_blocks.2.2.conv.weight", "output_blocks.5.2.conv.weight"],
    "sd1": ["input_blocks.3.0.op.weight", "input_blocks.6.0.op.weight", "input_blocks.9.0.op.weight", "output_blocks.2.1.conv.weight",
            "output_blocks.5.2.conv.weight", "output_blocks.8.2.conv.weight"],
    "qwen_image": ["transformer_blocks.0.img_mod.1.weight"],
}
# Keys by which ComfyUI-GGUF tells that a file has diffusers' names. Qwen-Image has them by right.
BANNED = {"flux": "transformer_blocks.0.attn.norm_added_k.weight", "sd3": "transformer_blocks.0.attn.add_q_proj.weight"}


def below(prefix, *names):
    return {f"{prefix}.{name}" for name in names}


# The modules that stable-diffusion.cpp builds (src/model/diffusion/wan.hpp, qwen_image.hpp), a # for the number of a block.
ADDED = ("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out", "norm_added_q", "norm_added_k")
MODULES = {
    "wan": {"patch_embedding", "time_projection.1", *below("time_embedding", 0, 2), *below("text_embedding", 0, 2),
            *below("img_emb", "emb_pos", "proj.0", "proj.1", "proj.3", "proj.4"), *below("head", "head", "modulation"),
            *below("blocks.#", "modulation", "norm3", "ffn.0", "ffn.2"),
            *below("blocks.#.self_attn", "q", "k", "v", "o", "norm_q", "norm_k"),
            *below("blocks.#.cross_attn", "q", "k", "v", "o", "norm_q", "norm_k", "k_img", "v_img", "norm_k_img")},
    "qwen_image": {"img_in", "txt_in", "txt_norm", "norm_out.linear", "proj_out",
                   *below("time_text_embed", "timestep_embedder.linear_1", "timestep_embedder.linear_2", "addition_t_embedding"),
                   *below("transformer_blocks.#", "img_mod.1", "txt_mod.1"),
                   *below("transformer_blocks.#.img_mlp.net", "0.proj", 2), *below("transformer_blocks.#.txt_mlp.net", "0.proj", 2),
                   *below("transformer_blocks.#.attn", "to_q", "to_k", "to_v", "to_out.0", "norm_q", "norm_k", *ADDED)},
}


class Refused(Exception):
    """The table does not fit the model."""


def family_of(table, config):
    """The families that take a configuration are one or none."""
    of_class = [f for f in table["families"] if config["_class_name"] in f["classes"]]
    found = [f for f in of_class if all(config.get(key) == value for key, value in f.get("requires", {}).items())]
    if len(found) != 1:
        raise Refused(f"{len(found)} families")
    return found[0]


def expanded(entries, parts):
    for entry in entries:
        if "parts" not in entry:
            yield entry
            continue
        for before, after in parts[entry["parts"]].items():
            yield entry | {"from": [f"{module}.{before}" for module in entry["from"]], "to": f"{entry['to']}.{after}"}


def pattern(module):
    seen = set()

    def number(match):
        letter = match[1]
        again = letter in seen
        seen.add(letter)
        return f"(?P={letter})" if again else rf"(?P<{letter}>\d+)"

    return re.compile(re.sub(r"\\\{([a-z])\\\}", number, re.escape(module)))


def filled(module, letters):
    def total(match):
        terms = [re.fullmatch(r"(\d*)([a-z])|(\d+)", term) for term in match[1].split("+")]
        return str(sum(int(t[3]) if t[3] else int(t[1] or 1) * letters[t[2]] for t in terms))

    return re.sub(r"\{([^}]*)\}", total, module)


def parted(name):
    """(module, suffix)"""
    return re.fullmatch(r"(.*?)(\.weight|\.bias)?", name).groups("")


def deciding(entries, module, config):
    """(the entry that decides, its letters)"""
    for patterns, entry in entries:
        for match in filter(None, (p.fullmatch(module) for p in patterns)):
            letters = {letter: int(number) for letter, number in match.groupdict().items()}
            if all(letters[letter] == config[key] - 1 for letter, key in entry.get("last", {}).items()):
                return entry, letters
    raise Refused(f"no entry for {module}")


def renamed(table, config, names):
    """{new name: (op, names of what it is made of)}"""
    family = family_of(table, config)
    entries = [([pattern(module) for module in e["from"]], e) for e in expanded(family["entries"], table["parts"])]
    made = {}
    for name in names:
        module, suffix = parted(name)
        entry, letters = deciding(entries, module, config)
        if entry["to"] is None:
            continue
        after = suffix and "." + entry.get("suffixes", {}).get(suffix[1:], suffix[1:])
        new = filled(entry["to"], letters) + after
        what = (entry.get("op"), [filled(module, letters) + suffix for module in entry["from"]])
        if made.setdefault(new, what) != what:
            raise Refused(f"{new} is made twice")
        if set(what[1]) - names.keys():
            raise Refused(f"{new} lacks {sorted(set(what[1]) - names.keys())}")
    sources = [name for _, of in made.values() for name in of]
    if len(set(sources)) < len(sources):
        raise Refused("a tensor is used twice")
    return made


def halves_exchanged(t):
    if len(t) % 2:
        raise Refused(f"{len(t)} rows have no halves")
    return torch.cat([t[len(t) // 2:], t[:len(t) // 2]])


def original(table, config, tensors):
    ops = {None: lambda parts: parts[0], "rows": torch.cat, "swap_halves": lambda parts: halves_exchanged(parts[0])}
    return {new: ops[op]([tensors[name] for name in names]) for new, (op, names) in renamed(table, config, tensors).items()}


def converter(config):
    """diffusers' function that makes its own names of an original checkpoint's."""
    convert = SINGLE_FILE_LOADABLE_CLASSES[config["_class_name"]]["checkpoint_mapping_fn"]
    if config["_class_name"] != "FluxTransformer2DModel":
        return convert
    # The width of published models is a number in its code; the small model has another.
    width, consts = config["num_attention_heads"] * config["attention_head_dim"], convert.__code__.co_consts
    assert consts.count(3072) == 1
    code = convert.__code__.replace(co_consts=tuple(width if c == 3072 else c for c in consts))
    return types.FunctionType(code, convert.__globals__)


def converted(config, tensors):
    """What diffusers makes of an original checkpoint."""
    convert = converter(config)
    if config["_class_name"] == "UNet2DConditionModel":
        # Of a whole checkpoint it takes the denoiser, told by its prefix; the others do without one.
        tensors = {f"model.diffusion_model.{name}": t for name, t in tensors.items()}
    found = convert(dict(tensors), config=config)
    if config["_class_name"] == "WanTransformer3DModel" and "img_emb.emb_pos" in found:
        # Known to diffusers' scripts/convert_wan_to_diffusers.py alone.
        found["condition_embedder.image_embedder.pos_embed"] = found.pop("img_emb.emb_pos")
    return found


def origins(config, shapes, problems):
    """{name in diffusers: name in the file}. A tensor filled with a number shows where it comes out of the converter."""
    names = sorted(shapes)
    marks = {name: torch.full(shapes[name], float(i)) for i, name in enumerate(names)}
    found = {}
    for name, mark in converted(config, marks).items():
        if mark.min() != mark.max():
            problems.append(f"{name}: made of several tensors of the file")
        found[name] = names[int(mark.reshape(-1)[0])]
    problems += [f"{name}: no tensor that diffusers asks for" for name in sorted(set(names) - set(found.values()))]
    return found


def differences(want, got):
    problems = [f"{name} is missing" for name in sorted(want.keys() - got.keys())]
    problems += [f"{name} is too many" for name in sorted(got.keys() - want.keys())]
    same = lambda a, b: b is not None and a.dtype == b.dtype and torch.equal(a, b)  # noqa: E731
    return problems + [f"{name} is another tensor" for name in sorted(want.keys() & got.keys()) if not same(want[name], got[name])]


def names_problems(architecture, names):
    problems = []
    found = next((a for a, keys in LOOKED_FOR.items() if all(k in names for k in keys)), None)
    if found != architecture:
        problems.append(f"its keys are those of {found}")
    if BANNED.get(architecture) in names:
        problems.append(f"it has {BANNED[architecture]}")
    if architecture in MODULES:
        modules = {re.sub(r"^((transformer_)?blocks)\.\d+\.", r"\1.#.", parted(name)[0]) for name in names}
        problems += [f"no original checkpoint has {module}" for module in sorted(modules - MODULES[architecture])]
    return problems


def check(table, architecture, config, tensors, ignored=()):
    """What is wrong."""
    try:
        if family_of(table, config)["architecture"] != architecture:
            return [f"taken for {family_of(table, config)['architecture']}"]
        made = original(table, config, tensors)
        got = converted(config, made)
    except (Refused, KeyError, RuntimeError) as error:  # converters fail so where names or shapes are not theirs
        return [f"{type(error).__name__}: {error}"]
    want = {name: t for name, t in tensors.items() if name not in ignored}
    return differences(want, got) + names_problems(architecture, made)


def small_model(cls, config, more=()):
    """(config.json, {name: random tensor}), no two of which are alike."""
    torch.manual_seed(0)
    model = getattr(diffusers, cls)(**config)
    tensors = {name: torch.randn(t.shape) for name, t in model.state_dict().items()} | {name: torch.randn(32) for name in more}
    return json.loads(model.to_json_string()), tensors


def later(to):
    """Every number that a sum makes of letters, one higher."""
    return re.sub(r"\{([a-z0-9+]+)\}", lambda m: "{" + m[1] + "+1}", to)


def damages(table, architecture):
    """(kind, which entry, the table damaged in that way)"""
    at = [f["architecture"] for f in table["families"]].index(architecture)
    entries, of_parts = table["families"][at]["entries"], set()

    def damaged(change):
        copied = copy.deepcopy(table)
        change(copied["families"][at]["entries"], copied["parts"])
        return copied

    def put(i, **more):
        return damaged(lambda e, _: e[i].update(more))

    for i, entry in enumerate(entries):
        what, other = f"{entry['from'][0]} at {i}", entries[i - 1]
        of_parts |= {entry["parts"]} if "parts" in entry else set()
        yield "entries dropped", what, damaged(lambda e, _: e.pop(i))
        if entry["to"] and other["to"] != entry["to"]:
            yield "entries with another's name", what, put(i, to=other["to"])
            yield "entries exchanged", what, damaged(lambda e, _: (e[i].update(to=other["to"]), e[i - 1].update(to=entry["to"])))
        if entry["to"] not in (None, *entry["from"]):
            yield "entries with diffusers' name", what, put(i, to=entry["from"][0])
        if entry["to"] and "{" in entry["to"]:
            yield "entries one further", what, put(i, to=later(entry["to"]))
        if "suffixes" in entry:
            yield "suffixes left alone", what, put(i, suffixes={})
        if "last" in entry:
            yield "entries for every block", what, damaged(lambda e, _: e[i].pop("last"))
        if entry.get("op") == "swap_halves":
            yield "halves left alone", what, put(i, op=None)
        elif "op" not in entry and entry["to"]:
            yield "halves exchanged", what, put(i, op="swap_halves")
        for a in range(len(entry["from"]) - 1):
            order = list(entry["from"])
            order[a], order[a + 1] = order[a + 1], order[a]
            yield "orders of rows", what, put(i, **{"from": order})
    for name in sorted(of_parts):
        keys = list(table["parts"][name])
        for key, other in zip(keys, keys[1:] + keys[:1]):
            yield "parts dropped", key, damaged(lambda _, p: p[name].pop(key))
            yield "parts exchanged", key, damaged(lambda _, p: p[name].update({key: p[name][other], other: p[name][key]}))


def main():
    with open(TABLE) as f:
        table = json.load(f)
    failed = []

    def say(what, problems):
        text = f"original names {what}"
        print(f"FAIL {text}: {'; '.join(problems[:5])}" if problems else f"ok   {text}", flush=True)
        failed.extend([what] if problems else [])

    models = {}
    for case, (architecture, cls, config, *ignored) in CASES.items():
        ignored = ignored[0] if ignored else []
        models[case] = (architecture, *small_model(cls, config, ignored), ignored)
        say(case, check(table, *models[case]))

    for what, (cls, config) in REFUSED.items():
        problems = check(table, None, json.loads(json.dumps(config)) | {"_class_name": cls}, {})
        say(f"refused: {what}", [] if problems == ["Refused: 0 families"] else problems)
    for case, name in FOREIGN.items():
        architecture, config, tensors, ignored = models[case]
        problems = check(table, architecture, config, tensors | {name: torch.zeros(2, 2)}, ignored)
        say(f"refused: {case} with {name}", [] if problems == [f"Refused: no entry for {parted(name)[0]}"] else problems or ["taken"])

    # A damage is noticed where one of the architecture's cases does not pass. The last ones have the most tensors.
    for architecture in LOOKED_FOR:
        cases = [model for model in reversed(models.values()) if model[0] == architecture]
        kinds = {}
        for kind, what, damaged in damages(table, architecture):
            noticed = any(check(damaged, *model) for model in cases)
            kinds.setdefault(kind, []).append((what, noticed))
        for kind, done in kinds.items():
            say(f"{architecture}, damaged: {len(done)} {kind}", [f"not noticed: {what}" for what, noticed in done if not noticed])
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
