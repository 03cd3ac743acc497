"""Records what the layers of a denoiser are given, per time step: a calibration file for arrow-quant (docs/calibration.md).

    capture_calibration.py MODEL OUT.safetensors --prompts prompts.txt --steps 20        a pipeline of diffusers
    capture_calibration.py MODEL OUT.safetensors --texts texts.txt --ratios 0.1 0.5 0.9  a masked-diffusion language model

or, for any denoiser that is a torch module:

    with Capture(pipe.unet, rows=64) as capture:
        pipe("a lighthouse", num_inference_steps=20)
    capture.save("OUT.safetensors")
"""
from __future__ import annotations

import argparse
import contextlib
import fnmatch
import inspect
import json
import sys
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

try:
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file
    from torch import Tensor, nn
except ImportError as missing:
    if __name__ == "__main__":
        sys.exit(f"error: {missing.name} is not installed: pip install torch safetensors diffusers transformers accelerate")
    raise

DTYPES = {"f16": torch.float16, "bf16": torch.bfloat16, "f32": torch.float32}
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TIME_ARGUMENTS = ("timestep", "timesteps", "sigma", "sigmas", "t")
BLOCK_VALUES = 1 << 24  # of input rows, in memory at a time where all rows are summed up
Take = Callable[[Tensor], Tensor]


class CaptureError(ValueError):
    """Something that the user can change, in one line."""


def width(layer: nn.Module) -> int:
    """Values of a row, prod(weight.shape[1:]). Not read from the weight: that may be packed, or elsewhere."""
    return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels * torch.Size(layer.kernel_size).numel()


def rows_of(layer: nn.Module, x: Tensor) -> tuple[int, Take]:
    """How many rows an input has, and what gathers those of given numbers: [n, width], on the input's device.

    A convolution's row is what one output position sees, in the order (channel, kernel...).
    """
    if isinstance(layer, nn.Linear):
        x = x.unsqueeze(0) if x.dim() == 1 else x
        return x.shape[:-1].numel(), lambda index: x[torch.unravel_index(index.to(x.device), x.shape[:-1])]
    axes = len(layer.kernel_size)
    x = x.unsqueeze(0) if x.dim() == axes + 1 else x
    pads = []
    for axis, (kernel, dilation) in enumerate(zip(layer.kernel_size, layer.dilation)):
        both = dilation * (kernel - 1)
        named = {"valid": (0, 0), "same": (both // 2, both - both // 2)}
        pads.append(named[layer.padding] if isinstance(layer.padding, str) else (layer.padding[axis],) * 2)
    if layer.padding_mode != "zeros":
        x = nn.functional.pad(x, [pad for pair in reversed(pads) for pad in pair], mode=layer.padding_mode)
        pads = [(0, 0)] * axes
    along = list(zip(layer.kernel_size, layer.stride, layer.dilation, pads, x.shape[2:]))
    places = torch.Size([len(x)] + [(size + sum(pad) - d * (k - 1) - 1) // stride + 1 for k, stride, d, pad, size in along])

    def take(index: Tensor) -> Tensor:
        sample, *outputs = torch.unravel_index(index.to(x.device), places)
        at, inside = [sample.view(-1, *[1] * axes)], True
        for axis, (output, (kernel, stride, dilation, pad, size)) in enumerate(zip(outputs, along)):
            place = output[:, None] * stride - pad[0] + torch.arange(kernel, device=x.device) * dilation
            place = place.view(-1, *[kernel if a == axis else 1 for a in range(axes)])
            at.append(place.clamp(0, size - 1))
            inside = inside & (place >= 0) & (place < size)
        patches = x.movedim(1, -1)[tuple(at)]  # [n, kernel..., channel]
        return torch.where(inside[..., None], patches, 0).movedim(-1, 1).flatten(1)

    return places.numel(), take


class Sample:
    """At most `most` of the rows that pass, each with equal chance: those of the smallest random keys.

    They stand in the order of their keys, so that the first n are a fair sample too: a job may use fewer rows than there are.
    """

    def __init__(self, most: int, columns: int, dtype: torch.dtype, seed: str) -> None:
        self.most, self.dtype, self.seed, self.seen, self.refused = most, dtype, seed, 0, 0
        self.keys, self.rows = torch.empty(0, dtype=torch.float64), torch.empty(0, columns, dtype=dtype)

    def offer(self, count: int, take: Take) -> None:
        # The seed knows the step and the rows before, not the layer: layers with a common input keep the same rows.
        # (A checksum, since of a seed torch takes the lower 32 bits only.)
        generator = torch.Generator().manual_seed(zlib.crc32(f"{self.seed},{self.seen}".encode()))
        self.seen += count
        keys = torch.cat([self.keys, torch.rand(count, generator=generator, dtype=torch.float64)])
        best = keys.topk(min(self.most, len(keys)), largest=False).indices
        new = best >= len(self.keys)
        if not new.any():
            return
        rows = take(best[new] - len(self.keys))
        finite = rows.isfinite().all(1).cpu()
        self.refused += int((~finite).sum())
        narrow = rows.to("cpu", self.dtype)
        fits = narrow[finite].isfinite().all()
        where, kept = torch.where(new, len(self.rows) + new.cumsum(0) - 1, best), torch.ones_like(new)
        kept[new] = finite
        # Mixed types become F32: one value beyond F16 widens the layer at this step, and it stays wide.
        merged = torch.cat([self.rows, narrow if fits else rows.to("cpu", torch.float32)])
        self.keys, self.rows = keys[best][kept], merged[where[kept]]

    def tensors(self, name: str) -> dict[str, Tensor]:
        return {name: self.rows} if len(self.rows) else {}


class Sums:
    """Mean and mean square of all rows that pass; no rows."""

    def __init__(self, columns: int) -> None:
        self.seen, self.refused, self.sums = 0, 0, torch.zeros(2, columns, dtype=torch.float64)

    def offer(self, count: int, take: Take) -> None:
        for index in torch.arange(count).split(max(1, BLOCK_VALUES // self.sums.shape[1])):
            rows = take(index).float()
            rows = rows[rows.isfinite().all(1)]
            self.seen, self.refused = self.seen + len(rows), self.refused + len(index) - len(rows)
            self.sums = self.sums + torch.stack([rows.square().sum(0), rows.sum(0)]).cpu().double()

    def tensors(self, name: str) -> dict[str, Tensor]:
        m2, mean = (self.sums / max(1, self.seen)).float()
        return {f"{name}#m2": m2.clone(), f"{name}#mean": mean.clone()} if self.seen else {}


def check_model(model: nn.Module) -> None:
    """Refuses models whose modules are not those of the weight file, or call no hooks."""
    for name, module in model.named_modules():
        compiled = hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None
        if compiled or isinstance(module, torch.jit.ScriptModule):
            raise CaptureError(f"{name or 'the denoiser'} is compiled, and compiled code calls no hooks: record before compiling")
        if any(hasattr(module, mark) for mark in ("parametrizations", "weight_g", "base_layer")):
            raise CaptureError(f"{name} is parametrized or has an adapter (weight norm, LoRA): fuse or remove that first")


class Capture:
    """Records the inputs of a denoiser's layers while the `with` block lasts; rows stay in memory until `save`.

    `rows`: at most so many for each layer and step. `layers`: globs; none means all. `summaries`: layers with wider rows than that
    get `#m2` and `#mean` instead. `axis`: by default sigma if the first time step is a fraction in 0..1, else timestep. `step_of`:
    makes the recorded step from the denoiser's own. `prefix`: 'transformer_2/' where several components go into one file.
    """

    def __init__(self, denoiser: nn.Module, rows: int = 64, layers: Sequence[str] = (), dtype: str = "f16",
                 summaries: int | None = None, axis: str | None = None, step_of: Callable[[float], int] | None = None,
                 prefix: str = "", seed: int = 0, model: str | None = None) -> None:
        check_model(denoiser)
        if rows < 1 or dtype not in DTYPES or axis not in (None, "timestep", "sigma", "mask_ratio"):
            raise CaptureError(f"rows {rows}, dtype {dtype}, axis {axis}: 1 or more; f16, bf16 or f32; timestep, sigma or mask_ratio")
        self.denoiser, self.rows, self.dtype, self.summaries = denoiser, rows, DTYPES[dtype], summaries
        self.axis, self.step_of, self.prefix, self.seed = axis, step_of, prefix, seed
        self.model = model or getattr(getattr(denoiser, "config", None), "_name_or_path", None) or type(denoiser).__name__
        self.steps: list[int] = []
        self.found: dict[tuple[str, int], Sample | Sums] = {}
        self.strange: list[str] = []  # without a weight of that name
        self.mixed: list[str] = []  # steps of calls with several
        self._now: int | None = None
        self._fixed: int | None = None
        named = [(name, module) for name, module in denoiser.named_modules() if isinstance(module, (nn.Linear, *CONVOLUTIONS))
                 and (not layers or any(fnmatch.fnmatchcase(name, glob) for glob in layers))]
        # A convolution that does something to its input first cannot be told from outside.
        odd = [name for name, m in named if getattr(m, "groups", 1) != 1
               or (not isinstance(m, nn.Linear) and type(m).forward not in [kind.forward for kind in CONVOLUTIONS])]
        self.skipped, self.layers = odd, {name: module for name, module in named if name not in odd}
        if not self.layers:
            raise CaptureError(f"{type(denoiser).__name__} has no Linear or convolution to record {' '.join(layers)}")

    def __enter__(self) -> Capture:
        begin = self.denoiser.register_forward_pre_hook(self._begin, with_kwargs=True)
        self._hooks: list[Any] = [begin, self.denoiser.register_forward_hook(self._end, always_call=True)]
        self._hooks += [each.register_forward_pre_hook(partial(self._record, name), with_kwargs=True) for name, each in self.layers.items()]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self._now = None

    def at(self, step: int | None) -> None:
        """The step of the calls that follow, whatever they say; None: they tell it again."""
        self._fixed = step

    def _begin(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._now = self._step(args, kwargs) if self._fixed is None else self._fixed
        if not 0 <= self._now < 1 << 31:
            raise CaptureError(f"step {self._now} cannot be stored: pass step_of, which makes a whole number from 0 of it")
        self.steps += [] if self._now in self.steps else [self._now]

    def _end(self, *_: object) -> None:
        self._now = None

    def _step(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
        if self.axis == "mask_ratio":
            raise CaptureError("a call does not tell the masked share: say capture.at(per_mille) before it")
        given = dict(zip(list(inspect.signature(type(self.denoiser).forward).parameters)[1:], args)) | kwargs
        second = args[1] if len(args) > 1 and getattr(args[1], "ndim", 0) < 2 else None
        value = next((given[name] for name in TIME_ARGUMENTS if given.get(name) is not None), second)
        if not isinstance(value, (Tensor, int, float)) or (isinstance(value, Tensor) and value.numel() == 0):
            raise CaptureError(f"{type(self.denoiser).__name__} was called without a time step: say capture.at(step) before the call")
        value = torch.as_tensor(value).detach().cpu()
        time = value.double().max().item()
        self.mixed += [f"{time:g}"] if (value != value.max()).any() else []
        if self.step_of is not None:
            return int(self.step_of(time))
        if self.axis is None:
            self.axis = "sigma" if value.is_floating_point() and 0 <= time <= 1 else "timestep"
        if self.axis == "sigma" and time > 1:
            raise CaptureError(f"time step {time:g} on an axis that began in 0..1: pass axis 'timestep'")
        return round(time * 1000 if self.axis == "sigma" else time)

    def _record(self, name: str, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        x = next(iter([*args, *kwargs.values()]), None)
        if self._now is None or not isinstance(x, Tensor) or x.numel() == 0:
            return
        key, columns = (name, self._now), width(layer)
        if key not in self.found:
            wide = self.summaries is not None and columns > self.summaries
            self.found[key] = Sums(columns) if wide else Sample(self.rows, columns, self.dtype, f"{self.seed},{self._now}")
        self.found[key].offer(*rows_of(layer, x.detach()))

    def save(self, path: str | Path, *others: Capture, quiet: bool = False) -> None:
        """Writes what this capture holds, and others with other prefixes, and says what is in the file and what is not."""
        path, captures = check_path(path), (self, *others)
        steps = list(dict.fromkeys(step for capture in captures for step in capture.steps))
        axis = next((capture.axis for capture in captures if capture.axis), "timestep")
        tensors: dict[str, Tensor] = {}
        for capture in captures:
            for (name, step), found in capture.found.items():
                tensors |= found.tensors(f"{capture.prefix}{name}@{step}")
        if not tensors:
            raise CaptureError("nothing was recorded: the denoiser was not called inside the with block")
        part = path.with_name(f".{path.name}.part")
        save_file(tensors, part, metadata={"format": "arrow-quant-calibration", "version": "1", "axis": axis,
                                           "timesteps": json.dumps(steps), "model": str(self.model), "rows": str(self.rows)})
        part.replace(path)
        if not quiet:
            print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, {len(tensors)} tensors, axis {axis}, {len(steps)} steps {steps}")
            print("\n".join(line for capture in captures for line in report(capture)))


def check_path(path: str | Path) -> Path:
    if Path(path).suffix != ".safetensors" or not Path(path).absolute().parent.is_dir():
        raise CaptureError(f"{path}: the file has to end with .safetensors and stand in a folder that exists")
    return Path(path)


def report(capture: Capture) -> list[str]:
    """What was recorded, in lines."""
    rows: dict[str, list[int]] = {name: [] for name in capture.layers}
    for (name, _), found in capture.found.items():
        rows[name] += [len(found.rows) if isinstance(found, Sample) else -1]
    sampled = {name: counts for name, counts in rows.items() if counts and -1 not in counts}
    each = [count for counts in sampled.values() for count in counts]
    lists = {
        "with summaries instead of rows": [name for name, counts in rows.items() if -1 in counts],
        "never called": [name for name, counts in rows.items() if not counts],
        "not recorded (groups, or a forward of their own)": capture.skipped,
        "warning: without a weight of that name in the model's files": capture.strange,
        "warning: fewer than in/8 rows in total": [
            f"{name} ({sum(counts)} of {width(capture.layers[name])})" for name, counts in sampled.items()
            if sum(counts) < width(capture.layers[name]) / 8],
        "warning: rows with Inf or NaN left out": sorted({name for (name, _), found in capture.found.items() if found.refused}),
        "warning: several time steps in one call, recorded at the largest": list(dict.fromkeys(capture.mixed)),
    }
    return [f"{capture.prefix}*: {len(sampled)} layers with {min(each, default=0)} to {max(each, default=0)} rows a step",
            *(f"{what}: {len(names)}: {', '.join(names[:8])}{', ...' if names[8:] else ''}" for what, names in lists.items() if names)]


def match_names(capture: Capture, folder: Path, base: str = "") -> None:
    """Gives layers the names of a folder's weight files (a bare transformers model lacks `base.`), and finds those without."""
    files = [safe_open(file, "pt") for file in sorted(folder.glob("*.safetensors"))]
    stored = {name.removesuffix(".weight") for file in files for name in file.keys()}  # noqa: SIM118 (no mapping)
    longer = {name: f"{base}.{name}" for name in capture.layers if name not in stored and f"{base}.{name}" in stored}
    capture.layers = {longer.get(name, name): layer for name, layer in capture.layers.items()}
    capture.found = {(longer.get(name, name), step): found for (name, step), found in capture.found.items()}
    capture.strange = [name for name in capture.layers if stored and name not in stored]


def make_capture(args: argparse.Namespace, denoiser: nn.Module, prefix: str = "", axis: str | None = None) -> Capture:
    capture = Capture(denoiser, args.rows, args.layers, args.dtype, args.summaries, axis, None, prefix, args.seed, Path(args.model).name)
    widths = [width(layer) for layer in capture.layers.values() if args.summaries is None or width(layer) <= args.summaries]
    most = sum(widths) * args.rows * DTYPES[args.dtype].itemsize / 1e6
    print(f"{prefix or type(denoiser).__name__}: {len(widths)} layers, {sum(widths)} inputs together, at most {most:.1f} MB a step")
    return capture


def options(library: Any, args: argparse.Namespace, dtype: torch.dtype) -> dict[str, Any]:
    since = {"diffusers": [0, 42], "transformers": [5, 0]}[library.__name__]  # older ones know the other name only
    name = "dtype" if [int(part) for part in library.__version__.split(".")[:2]] >= since else "torch_dtype"
    return {name: dtype, "trust_remote_code": args.trust_remote_code}


def run_pipeline(args: argparse.Namespace, dtype: torch.dtype) -> list[Capture]:
    import diffusers
    pipe = diffusers.DiffusionPipeline.from_pretrained(args.model, variant=args.variant, **options(diffusers, args, dtype))
    modules = {name: part for name, part in pipe.components.items() if isinstance(part, nn.Module)}
    chosen = args.component or [name for name in modules if name.split("_")[0] in ("transformer", "unet")]
    if not chosen or not set(chosen) <= set(modules):
        raise CaptureError(f"--component {' '.join(chosen)}: the pipeline has {', '.join(modules)}")
    known = inspect.signature(type(pipe).__call__).parameters
    prompts = [{"prompt": line} for line in Path(args.prompts).read_text("utf-8").split("\n") if line.strip()] if args.prompts else [{}]
    common = {"num_inference_steps": args.steps, "output_type": "latent", "generator": torch.Generator().manual_seed(args.seed)}
    common = {name: value for name, value in common.items() if name in known} | args.call
    pipe.enable_model_cpu_offload(device=args.device) if args.offload else pipe.to(args.device)
    with contextlib.ExitStack() as recording:
        captures = [recording.enter_context(make_capture(args, modules[name], f"{name}/" if chosen[1:] else "")) for name in chosen]
        for prompt in prompts:
            pipe(**common, **prompt)
    for capture, name in zip(captures, chosen):
        match_names(capture, Path(args.model) / name)
    return captures


def run_text(args: argparse.Namespace, dtype: torch.dtype) -> list[Capture]:
    import transformers
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.model, trust_remote_code=args.trust_remote_code)
    config = transformers.AutoConfig.from_pretrained(args.model, trust_remote_code=args.trust_remote_code)
    usual = "AutoModelForCausalLM"
    kind = usual if usual in (getattr(config, "auto_map", None) or [usual]) else "AutoModel"  # Dream has only that one
    model = getattr(transformers, kind).from_pretrained(args.model, **options(transformers, args, dtype)).eval().to(args.device)
    masks = (args.mask_token_id, getattr(model.config, "mask_token_id", None), tokenizer.mask_token_id)
    mask = next((number for number in masks if number is not None), None)
    # A causal class of transformers itself looks back only, unless told; one that came with the model knows how it attends.
    causal = type(model).__module__.startswith("transformers.models.") and type(model).__name__.endswith("CausalLM")
    full = args.attention == "full" or (args.attention == "auto" and causal)
    model.config.use_cache = False
    ids = torch.tensor(tokenizer(Path(args.texts).read_text("utf-8"), add_special_tokens=False)["input_ids"])
    length = min(args.length, len(ids))
    if mask is None or not length:
        raise CaptureError("there is no text, or neither configuration nor tokenizer tell the mask token (--mask-token-id)")
    windows = ids[: len(ids) // length * length].view(-1, length)
    print(f"{len(windows)} windows of {length} tokens, mask token {mask}, attention {'full' if full else 'own'}")
    generator = torch.Generator().manual_seed(args.seed)
    with make_capture(args, model, axis="mask_ratio") as capture, torch.no_grad():
        for ratio in args.ratios:
            capture.at(round(1000 * ratio))
            hidden = torch.rand(windows.shape, generator=generator).argsort(1) < max(1, round(ratio * length))
            for batch in torch.where(hidden, mask, windows).to(args.device).split(args.batch):
                visible = torch.zeros(len(batch), 1, length, length, dtype=dtype, device=args.device)
                model(input_ids=batch, **{"attention_mask": visible} if full else {})
    match_names(capture, Path(args.model), getattr(model, "base_model_prefix", ""))
    return [capture]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("model", help="folder or hub name")
    add("out", help="the .safetensors file to make")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--prompts", metavar="FILE", help="the pipeline runs once for each line; without it, once with --call alone")
    kind.add_argument("--texts", metavar="FILE", help="what a masked-diffusion language model is shown")
    add("--steps", type=int, default=20, help="of the sampler (%(default)s)")
    add("--call", type=json.loads, default={}, metavar="JSON", help="""more arguments of the pipeline: '{"height": 512}'""")
    add("--component", action="append", help="denoiser; may be repeated (all named transformer or unet)")
    add("--offload", action="store_true", help="keep only the component at work on the device")
    add("--variant", help="of the weight files: fp16")
    add("--ratios", type=float, nargs="+", default=[n / 10 for n in range(1, 11)], help="masked shares of the text (0.1 0.2 ... 1)")
    add("--length", type=int, default=256, help="tokens of a window of text (%(default)s)")
    add("--batch", type=int, default=4, help="windows of text at a time (%(default)s)")
    add("--mask-token-id", type=int, help="where configuration and tokenizer do not tell")
    add("--attention", choices=["auto", "full", "own"], default="auto", help="full: a mask by which all see all (%(default)s)")
    add("--trust-remote-code", action="store_true", help="run Python code that comes with the model")
    add("--rows", type=int, default=64, help="at most, for each layer and step (%(default)s)")
    add("--layers", action="append", default=[], metavar="GLOB", help="only these; may be repeated")
    add("--summaries", type=int, metavar="WIDTH", help="layers with more inputs: mean and mean square instead of rows")
    add("--dtype", choices=list(DTYPES), default="f16", help="of stored rows (%(default)s)")
    add("--seed", type=int, default=0)
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="where the model runs (%(default)s)")
    add("--compute", choices=list(DTYPES), help="in which type it runs (f32 on cpu, else bf16)")
    args = parser.parse_args(argv)
    try:
        check_path(args.out)
        if not isinstance(args.call, dict) or not all(0 < ratio <= 1 for ratio in args.ratios) or min(args.length, args.batch) < 1:
            raise CaptureError("--call is a JSON object, --ratios lie in 0..1, --length and --batch are 1 or more")
        dtype = DTYPES[args.compute or ("f32" if args.device == "cpu" else "bf16")]
        first, *others = (run_text if args.texts else run_pipeline)(args, dtype)
        first.save(args.out, *others)
    except (ValueError, TypeError, ImportError, OSError) as error:  # CaptureError, and what loaders raise
        sys.exit(f"error: {' '.join(str(error).split())[:500] or type(error).__name__}")


if __name__ == "__main__":
    main()
