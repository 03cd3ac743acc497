"""torchao and AutoRound on a whole model, and how near what came out is, ours included. Run by rivals.mjs, with their folders on PYTHONPATH.

    rivals.py quantize WHO MODEL OUT [--group N] [--iters N]    seconds from opening to saved, without imports
    rivals.py judge WHO MODEL OUT [--predict]    bits, weights, signal and noise of each layer, bytes, who opens it, and the prediction
    rivals.py versions

Each prints one line of JSON; of a tool that cannot do it, `skipped` with its own message. WHO is one of WRITERS, or `ours` to judge.
OMP_NUM_THREADS sets the threads, of AutoRound's workers too.
"""
import argparse
import contextlib
import importlib.metadata
import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "interop"))
from loading import Questions, component, open_model, read_json, tensors_of, weight_bytes  # noqa: E402  before torch: it sets the threads
import torch  # noqa: E402
from evaluate import measure  # noqa: E402

BITS, GROUP = 4, 64
PACKED = "packed.pt"
# What the kernel of torchao's packed tensors wants the rows to be a multiple of.
PACKED_ROWS = 16
# AutoRound's own for 200 iterations, and its advice for 50.
LEARNING_RATE = 5e-3
# What AutoRound is tuned on: windows of text, or pictures and how many steps of each.
WINDOWS, PICTURES, STEPS = 128, 20, 8


def kind_of(model):
    return read_json(os.path.join(component(model), "config.json"))


def is_diffusers(model):
    return "_class_name" in kind_of(model)


def open_as_stored(model, config=None, folder=None):
    """By the loader, in the type of the stored weights; with a config of torchao's, quantized while it is opened."""
    kind, folder, dtype = kind_of(model), folder or component(model), next(iter(tensors_of(model).values())).dtype
    if is_diffusers(model):
        import diffusers
        wrapped = {} if config is None else {"quantization_config": diffusers.TorchAoConfig(config)}
        return getattr(diffusers, kind["_class_name"]).from_pretrained(folder, torch_dtype=dtype, **wrapped)
    import transformers
    wrapped = {} if config is None else {"quantization_config": transformers.TorchAoConfig(config)}
    return getattr(transformers, kind["architectures"][0]).from_pretrained(folder, dtype=dtype, **wrapped)


def torchao_config(who, group):
    from torchao.quantization import Int4WeightOnlyConfig, IntxWeightOnlyConfig
    from torchao.quantization.granularity import PerGroup
    from torchao.quantization.quant_primitives import MappingType
    if who == "torchao-hqq":  # scales only: it has no zeros
        return IntxWeightOnlyConfig(torch.int4, PerGroup(group), MappingType.SYMMETRIC, intx_choose_qparams_algorithm="hqq_scale_only")
    if who == "torchao-int4":
        return Int4WeightOnlyConfig(group_size=group)
    if who == "torchao-packed":
        from torchao.prototype.int4_opaque_tensor import Int4WeightOnlyOpaqueTensorConfig
        return Int4WeightOnlyOpaqueTensorConfig(group_size=group, set_inductor_config=False)
    return IntxWeightOnlyConfig(torch.int4, PerGroup(group), MappingType.ASYMMETRIC)


def torchao_quantize(a):
    config = torchao_config(a.who, a.group)
    if a.who == "torchao-packed":  # no loader saves these tensors, so they are pickled
        from torchao.quantization import quantize_
        opened = open_as_stored(a.model)
        quantize_(opened, config, lambda module, _: isinstance(module, torch.nn.Linear) and module.out_features % PACKED_ROWS == 0)
        os.makedirs(a.out)
        torch.save(opened.state_dict(), os.path.join(a.out, PACKED))
        return
    open_as_stored(a.model, config).save_pretrained(a.out)


def whole(weight):
    """The weight of one of torchao's tensors, in float32; the packed one tells it only by multiplying."""
    if "Opaque" not in type(weight).__name__:
        return weight.dequantize().float()
    unit = torch.eye(weight.shape[1], dtype=weight.dtype)
    return torch.nn.functional.linear(unit, weight).T.float().contiguous()


def torchao_open(a):
    """Decoded into the original's float32 model: torchao's own is computed in the type that is stored."""
    if a.who == "torchao-packed":
        state = torch.load(os.path.join(a.out, PACKED), weights_only=False)
    else:
        state = open_as_stored(a.model, folder=a.out).state_dict()
    opened, found = open_model(a.model)[0], {}
    for name, tensor in state.items():
        quantized = hasattr(tensor, "block_size")
        if quantized:
            found[name.removesuffix(".weight")] = BITS
        state[name] = whole(tensor) if quantized else tensor.float()
    opened.load_state_dict(state)
    return opened, found


def scheme(group):
    from auto_round.schemes import QuantizationScheme
    return QuantizationScheme(bits=BITS, group_size=group, sym=False, data_type="int", act_bits=16)


def autoround_quantize(a):
    """Its mode for weights alone: shard by shard, without the model's classes. Compiling takes longer than it saves here."""
    from auto_round import AutoRound
    work = AutoRound(model=component(a.model), scheme=scheme(a.group), model_free=True, enable_torch_compile=False)
    work.quantize_and_save(a.out, format="auto_round")


def hidden_text(model):
    """The texts of the reference inputs under masks of our own: tuned on the texts that it is judged by, if not on the inputs."""
    texts, random = Questions(model).reference["targets"].flatten(0, 1).long(), torch.Generator().manual_seed(1)
    texts = texts[torch.randperm(len(texts), generator=random)[:WINDOWS]]
    hidden = torch.rand(texts.shape, generator=random) < torch.rand(len(texts), 1, generator=random)
    return torch.where(hidden, kind_of(model)["mask_token_id"], texts)


def see_both_ways(module, args, kwargs):
    """A causal class attends both ways under an additive mask of zeros, of which AutoRound knows nothing."""
    rows, length = kwargs["input_ids"].shape
    return args, kwargs | {"attention_mask": torch.zeros(rows, 1, length, length)}


@torch.no_grad()
def make_pictures(pipe, numbers, num_inference_steps, **_):
    """AutoRound records inputs while a pipeline runs; this stands for the pipeline's own call, which would want a VAE or takes no prompt."""
    import diffusers
    scheduler, denoiser = diffusers.DDIMScheduler.from_config(pipe.scheduler.config), getattr(pipe, "transformer", None) or pipe.unet
    scheduler.set_timesteps(num_inference_steps)
    config = denoiser.config
    classes = config.get("num_embeds_ada_norm")  # one more stands for no class
    labels = {"class_labels": torch.tensor(numbers) % (classes + 1)} if classes else {}
    shape = (len(numbers), config.in_channels, config.sample_size, config.sample_size)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(numbers[0]))
    for t in scheduler.timesteps:
        x = scheduler.step(denoiser(x, timestep=t.repeat(len(x)), **labels).sample, t, x).prev_sample


def autoround_tune(a):
    from auto_round import AutoRound
    options = dict(scheme=scheme(a.group), iters=a.iters, lr=LEARNING_RATE, disable_model_free=True, low_cpu_mem_usage=False,
                   enable_torch_compile=False)
    if is_diffusers(a.model):
        import diffusers
        parts = read_json(os.path.join(a.model, "model_index.json"))
        pipe = diffusers.DiffusionPipeline.from_pretrained(a.model, **({"vae": None} if "vae" in parts else {}))
        pipe._autoround_pipeline_fn = make_pictures
        for denoiser in (part for part in pipe.components.values() if isinstance(part, torch.nn.Module)):
            denoiser._no_split_modules = denoiser._no_split_modules or []  # it takes a list for granted
        data = [([i], [i]) for i in range(PICTURES)]
        work = AutoRound(model=pipe, dataset=data, nsamples=PICTURES, calib_num_inference_steps=STEPS, **options)
    else:
        import transformers
        opened = transformers.AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32)
        opened.model.register_forward_pre_hook(see_both_ways, with_kwargs=True)
        text = hidden_text(a.model)
        data = [{"input_ids": row[None], "attention_mask": torch.ones(1, len(row), dtype=torch.long)} for row in text]
        tokens = transformers.AutoTokenizer.from_pretrained(a.model)
        work = AutoRound(model=opened, tokenizer=tokens, dataset=data, seqlen=text.shape[1], nsamples=len(text), **options)
    work.quantize_and_save(a.out, format="auto_round:auto_gptq")


def unpacked(codes, zeros, scales, off, shape):
    """GPTQ's packing: eight codes a word, codes down the inputs, zeros across the outputs; both may be filled up."""
    shifts = torch.arange(0, 32, BITS)
    codes = (codes[:, None, :] >> shifts[:, None] & 15).flatten(0, 1)[: shape[1], : shape[0]]
    zeros = (zeros[:, :, None] >> shifts & 15).flatten(1)[:, : shape[0]] + off
    group = torch.arange(shape[1]) // -(-shape[1] // len(scales)) if shape[1] % GROUP == 0 else torch.arange(shape[1]) // GROUP
    return ((codes - zeros[group]) * scales.float()[group, : shape[0]]).T.contiguous()


def written(out):
    """Where AutoRound put the model: there, or in a folder of its own below."""
    return next(folder for folder, _, names in os.walk(out) if "config.json" in names)


def autoround_open(a):
    """Decoded here: neither loader gives the weights that were stored."""
    folder = written(a.out)
    opened, stored = open_model(a.model)[0], tensors_of(folder)
    off = 1 if read_json(os.path.join(folder, "quantization_config.json"))["packing_format"].endswith("gptq") else 0
    state, found = {}, {}
    for name, tensor in stored.items():
        module, part = name.rpartition(".")[::2]
        if part == "qweight":
            shape = opened.get_submodule(module).weight.shape
            parts = (stored[f"{module}.{p}"] for p in ("qzeros", "scales"))
            state[f"{module}.weight"] = unpacked(tensor, *parts, off, shape)
            found[module] = BITS
        elif part not in ("qzeros", "scales", "g_idx"):
            state[name] = tensor.float()
    opened.load_state_dict(state)
    return opened, found


def ours_open(a):
    """By SDNQ, which decodes what it loads."""
    opened, keys = open_model(a.out)
    if any(keys.values()):
        raise ValueError(f"keys of the loader: {keys}")
    return opened, {name: m.sdnq_dequantizer.num_bits for name, m in opened.named_modules() if hasattr(m, "sdnq_dequantizer")}


WRITERS = {**dict.fromkeys(("torchao", "torchao-hqq", "torchao-int4", "torchao-packed"), torchao_quantize), "autoround": autoround_quantize,
           "autoround-tuned": autoround_tune}
READERS = {**dict.fromkeys(("torchao", "torchao-hqq", "torchao-int4", "torchao-packed"), torchao_open), "ours": ours_open,
           **dict.fromkeys(("autoround", "autoround-tuned"), autoround_open)}


def weight_of(module):
    if hasattr(module, "sdnq_dequantizer"):
        return module.sdnq_dequantizer(module.weight, module.scale, zero_point=getattr(module, "zero_point", None)).float()
    return module.weight


def opens(a):
    """Whether a loader opens it as it stands, with no key left over; or what it says. Pickled tensors are for torch alone."""
    if not a.who.startswith("autoround"):  # the others were opened by their loaders to be judged
        return a.who != "torchao-packed"
    try:
        left = sum(map(len, open_model(written(a.out))[1].values()))
        return f"{left} keys missing, unexpected or mismatched" if left else True
    except Exception as e:  # whatever a loader does with a folder that it does not know
        return f"{type(e).__name__}: {e}"


def size_of(out):
    names = [os.path.join(folder, name) for folder, _, files in os.walk(out) for name in files if name.endswith((".safetensors", ".pt"))]
    return sum(map(os.path.getsize, names))


def quantize(a):
    if a.who.startswith("torchao"):
        import torchao  # noqa: F401
        import diffusers  # noqa: F401
        import transformers  # noqa: F401
    else:
        import auto_round  # noqa: F401
    begun = time.perf_counter()
    WRITERS[a.who](a)
    return {"seconds": time.perf_counter() - begun}


def judge(a):
    opened, found = READERS[a.who](a)
    original, layers = tensors_of(a.model), {}
    for name, bits in found.items():
        want = original[f"{name}.weight"].float()
        got = weight_of(opened.get_submodule(name)).detach().reshape(want.shape)
        signal, noise = (x.double().square().sum().item() for x in (want, want - got))
        layers[name] = [bits, want.numel(), signal, noise]
    result = {"layers": layers, "weights": sum(t.numel() for t in original.values()), "bytes": size_of(a.out), "opens": opens(a)}
    if a.who == "ours":
        result["bytes"] = weight_bytes(a.out)
    if a.predict:
        rows = measure(Questions(a.model), opened)
        result |= {"mean": sum(row["sqnrDb"] for row in rows) / len(rows), "worst": min(row["sqnrDb"] for row in rows)}
        if "kl" in rows[0]:
            result["kl"] = sum(row["kl"] for row in rows) / len(rows)
    return result


def versions(_):
    names = ("torch", "diffusers", "transformers", "sdnq", "torchao", "auto-round")
    return {name: importlib.metadata.version(name) for name in names}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=["quantize", "judge", "versions"])
    p.add_argument("who", nargs="?", choices=[*READERS])
    p.add_argument("model", nargs="?")
    p.add_argument("out", nargs="?")
    p.add_argument("--group", type=int, default=GROUP)
    p.add_argument("--iters", type=int, default=200)
    p.add_argument("--predict", action="store_true")
    a = p.parse_args()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            line = {"quantize": quantize, "judge": judge, "versions": versions}[a.what](a)
    except Exception as e:  # whatever a foreign package does with a model that it does not know
        line = {"skipped": f"{type(e).__name__}: {e}"}
    print(json.dumps(line), flush=True)


if __name__ == "__main__":  # AutoRound's workers import this file again
    main()
