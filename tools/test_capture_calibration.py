# ruff: noqa: E402 (the environment is set before torch is imported)
"""Tests of capture_calibration.py: `python tools/test_capture_calibration.py [WORD ...]`; with words, those whose name holds one.

Needs what interop/requirements.txt lists, and no network. With AQ_MODELS=DIR, the folder of the trained models with their full
calibration, names and widths are held against those files too.
"""
from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error"}
sys.dont_write_bytecode = True

import capture_calibration as tool
import diffusers
import torch
import transformers
from capture_calibration import Capture, CaptureError, Sample, rows_of
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parent.parent
DIT, UNET, DLLM = ROOT / "examples/digits-dit", ROOT / "testdata/digits-unet", ROOT / "testdata/verses-dllm"
MODELS = os.environ.get("AQ_MODELS")
TEXT = "In the beginning God created the heaven and the earth. And the earth was without form, and void. " * 8
diffusers.utils.logging.disable_progress_bar()


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return file.metadata()


def layers_of(path: Path) -> dict[str, int]:
    """Layer and width, of a calibration file."""
    return {name.split("@")[0]: tensor.shape[1] for name, tensor in load_file(path).items()}


def check_layers(file: Path, folder: Path, denoiser: nn.Module, trained: str = "") -> None:
    """Layers and widths of a file are those of the weights that belong to such modules, and those of the calibration there is."""
    stored = {name: tensor for path in folder.glob("*.safetensors") for name, tensor in load_file(path).items()}
    kinds = {f"{name}.weight" for name, module in denoiser.named_modules() if isinstance(module, (nn.Linear, *tool.CONVOLUTIONS))}
    assert layers_of(file) == {name.removesuffix(".weight"): stored[name][0].numel() for name in stored if name in kinds}
    assert len(layers_of(file)) == len(kinds) > 20
    if MODELS and trained:
        assert layers_of(file) == layers_of(Path(MODELS) / trained / "calibration.safetensors")


def fails(words: str, run: Callable[[], object]) -> None:
    try:
        run()
    except CaptureError as error:
        assert words in str(error) and "\n" not in str(error), f"{error} does not say {words}"
    else:
        raise AssertionError(f"no error that says {words}")


def command(*arguments: str | Path) -> tuple[str, str]:
    """(what is printed, the error that it ends with) of a command line."""
    out, error = io.StringIO(), ""
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        try:
            tool.main([str(argument) for argument in arguments])
        except SystemExit as end:
            error = str(end.code)
    assert "\n" not in error, f"an error of several lines: {error}"
    return out.getvalue(), error


def unet() -> nn.Module:
    return diffusers.UNet2DConditionModel(
        block_out_channels=(8, 16), layers_per_block=1, sample_size=8, in_channels=4, out_channels=4, norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=12, attention_head_dim=4).eval()


class Toy(nn.Module):
    """A denoiser whose inputs are known: row i of the input holds i everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.idle = nn.Linear(4, 3), nn.Linear(4, 3), nn.Linear(4, 3)
        self.deep = nn.Conv1d(4, 4, 3, groups=4)

    def forward(self, sample: Tensor, timestep: object, more: object = None) -> Tensor:
        return self.q(sample) + self.k(sample) + self.deep(sample.movedim(-1, -2)).sum()


def numbered(*rows: int) -> Tensor:
    return torch.arange(rows[0], rows[1]).float()[:, None].expand(-1, 4)


def check_rows(layer: nn.Module, x: Tensor, channel_axis: int) -> None:
    with torch.no_grad():
        want = layer(x).movedim(channel_axis, -1).reshape(-1, len(layer.weight))
    count, take = rows_of(layer, x)
    assert count == len(want), f"{layer}: {count} rows, {len(want)} outputs"
    index = torch.randperm(count)[: max(1, count // 2)]
    rows = take(index)
    assert rows.shape == (len(index), tool.width(layer)) and tool.width(layer) == layer.weight[0].numel(), f"{layer}: {rows.shape}"
    got = rows @ layer.weight.detach().reshape(len(layer.weight), -1).T + layer.bias.detach()
    assert torch.allclose(got, want[index], atol=1e-5), f"{layer} of {tuple(x.shape)}: off by {(got - want[index]).abs().max()}"


def test_rows_give_the_outputs(_: Path) -> None:
    for shape in ((6,), (5, 6), (2, 5, 6), (2, 3, 4, 6)):
        check_rows(nn.Linear(6, 7), torch.randn(shape), -1)
        check_rows(nn.Linear(6, 7), torch.randn(shape[:-1] + (12,))[..., ::2], -1)
    for kind, sizes in ((nn.Conv1d, (23,)), (nn.Conv2d, (13, 11)), (nn.Conv3d, (9, 8, 7))):
        kernel, padding = (3, 2, 1)[-len(sizes):], (1, 0, 2)[: len(sizes)]
        for stride, dilation, pad in itertools.product((1, 2), (1, 2), (0, padding, "valid")):
            check_rows(kind(3, 5, kernel, stride, pad, dilation), torch.randn(2, 3, *sizes), 1)
        for mode in ("zeros", "reflect", "replicate", "circular"):
            check_rows(kind(3, 5, 3, 1, padding, padding_mode=mode), torch.randn(2, 3, *sizes), 1)
            for dilation in (1, 2):
                check_rows(kind(3, 5, (2, 3, 4)[: len(sizes)], 1, "same", dilation, padding_mode=mode), torch.randn(2, 3, *sizes), 1)
        check_rows(kind(3, 5, 3, stride=(1, 2, 3)[: len(sizes)], padding=1), torch.randn(3, *sizes), 0)
        check_rows(kind(3, 5, 3), torch.randn(2, *sizes, 3).movedim(-1, 1), 1)


def sampled(most: int, pieces: tuple[int, ...], seed: str) -> list[int]:
    sample, first = Sample(most, 1, torch.float32, seed), 0
    for piece in pieces:
        sample.offer(piece, lambda index, first=first: (index + first).float()[:, None])
        first += piece
    assert len(set(sample.rows.flatten().tolist())) == len(sample.rows) == min(most, first), "a row twice, or too few"
    return sample.rows.flatten().int().tolist()


def test_every_row_has_the_same_chance_and_samples_repeat(_: Path) -> None:
    pieces, most, rounds = (1, 50, 7, 60, 2, 80), 40, 3000
    for first in (most, 10):  # a prefix is a fair sample too
        counts = torch.zeros(sum(pieces))
        for round_ in range(rounds):
            counts[sampled(most, pieces, f"{round_},5")[:first]] += 1
        share = first / sum(pieces)
        off = (counts - rounds * share) / (rounds * share * (1 - share)) ** 0.5
        assert off.abs().max() < 4.5, f"a row comes {off.abs().max():.1f} standard deviations too often or too seldom"
        spread = off.square().mean().item()
        assert 0.7 < spread < 1.3, f"chances scatter {spread:.2f} times as they should"
    assert sampled(9, pieces, "1,5") == sampled(9, pieces, "1,5") and sorted(sampled(999, pieces, "1,5")) == list(range(sum(pieces)))
    assert len({tuple(sampled(9, pieces, f"{seed},{step}")) for seed in range(5) for step in range(5)}) == 25


def test_samples_over_calls_and_denoisers(out: Path) -> None:
    files = []
    for name in ("a", "b"):
        torch.manual_seed(3)
        with Capture(toy := Toy(), rows=16, seed=4) as capture:
            for first in (0, 100):
                toy(numbered(first, first + 100), torch.tensor([981, 981]))
                toy(numbered(first, first + 10), timestep=torch.tensor(1))
                toy.q(numbered(500, 550))  # not a call of the denoiser
        capture.save(out / f"{name}.safetensors", quiet=True)
        files.append(load_file(out / f"{name}.safetensors"))
    first = files[0]
    assert all(torch.equal(first[name], files[1][name]) for name in first) and len(first) == len(files[1]) == 4
    assert torch.equal(first["q@981"], first["k@981"]), "layers with a common input keep other rows"
    assert first["q@981"].shape == first["q@1"].shape == (16, 4)
    assert set(first["q@1"][:, 0].tolist()) <= {*range(10), *range(100, 110)}
    assert (first["q@981"][:, 0] >= 100).any() and (first["q@981"][:, 0] < 100).any()
    one, other = Capture(Toy(), prefix="transformer/"), Capture(Toy(), prefix="transformer_2/")
    with one, other:
        one.denoiser(numbered(0, 5), 900)
        other.denoiser(numbered(0, 5), 100)
    one.save(out / "c.safetensors", other, quiet=True)
    assert {"transformer/q@900", "transformer_2/q@100"} <= set(load_file(out / "c.safetensors"))
    assert metadata(out / "c.safetensors")["timesteps"] == "[900, 100]"


def test_types_and_what_is_no_number(out: Path) -> None:
    for dtype, wide, wanted in (("f16", 7e4, torch.float32), ("f16", 6e4, torch.float16), ("bf16", 7e4, torch.bfloat16)):
        with Capture(toy := Toy(), dtype=dtype, layers=["[qk]"]) as capture:
            toy(numbered(0, 5), 1)
            toy(torch.full((3, 4), wide), 1)
            toy(numbered(0, 5), 2)
        capture.save(out / "c.safetensors", quiet=True)
        found = load_file(out / "c.safetensors")
        assert found["q@1"].dtype == wanted and found["q@2"].dtype == tool.DTYPES[dtype], f"{dtype}, {wide}: {found['q@1'].dtype}"
        assert abs(found["q@1"].max().item() / wide - 1) < 0.01
    x = numbered(0, 6).clone()
    x[2, 1], x[4, 3] = float("nan"), float("inf")
    with Capture(toy := Toy()) as capture, contextlib.redirect_stdout(io.StringIO()) as said:
        toy(x, 7)
        capture.save(out / "c.safetensors")
    assert sorted(load_file(out / "c.safetensors")["q@7"][:, 0].tolist()) == [0, 1, 3, 5]
    assert "warning: rows with Inf or NaN left out: 2: k, q" in said.getvalue(), said.getvalue()


def test_summaries(out: Path) -> None:
    model = unet()
    found, inputs = [], [(torch.randn(2, 4, 8, 8), torch.randn(2, 3, 12)) for _ in range(2)]
    for options in ({"rows": 10_000}, {"summaries": 40}):
        with Capture(model, **options) as capture, torch.no_grad():
            for x, text in inputs:
                model(x, 500, text)
        capture.save(out / "c.safetensors", quiet=True)
        found.append(load_file(out / "c.safetensors"))
    rows, summed = found
    assert "conv_in@500" in summed and "mid_block.resnets.0.conv1@500" not in summed
    for name in [name for name in rows if name not in summed]:
        want = rows[name].float()
        assert want.shape[1] > 40 and torch.allclose(summed[f"{name}#m2"], want.square().mean(0), rtol=1e-2, atol=1e-4)
        assert torch.allclose(summed[f"{name}#mean"], want.mean(0), rtol=1e-2, atol=1e-3)


def step_of(*arguments: object, **options: object) -> tuple[list[int], str | None]:
    with Capture(toy := Toy(), **options) as capture:
        for argument in arguments:
            toy(numbered(0, 5), argument)
    return capture.steps, capture.axis


def test_steps(_: Path) -> None:
    assert step_of(torch.tensor(999), torch.tensor([0, 0]), 1) == ([999, 0, 1], "timestep")
    assert step_of(torch.tensor([998.7]), 0.4) == ([999, 0], "timestep")
    assert step_of(torch.tensor([1.0]), torch.tensor([0.1234]), 0.0) == ([1000, 123, 0], "sigma")
    assert step_of(0.5, axis="timestep")[1] == "timestep" and step_of(0.25, -1.6, step_of=lambda t: round(100 * t) + 500)[0] == [525, 340]
    assert step_of(torch.tensor([[7, 3], [3, 3]])) == ([7], "timestep")
    fails("axis 'timestep'", lambda: step_of(0.5, 400.0))
    fails("cannot be stored", lambda: step_of(-3))
    fails("without a time step", lambda: step_of(None))
    fails("capture.at", lambda: step_of(500, axis="mask_ratio"))


def test_unet_names_shapes_and_values(out: Path) -> None:
    model = unet()
    model.save_pretrained(out / "unet")
    sums: dict[str, Tensor] = {}
    for name, layer in model.named_modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            axis = -1 if isinstance(layer, nn.Linear) else 1
            layer.register_forward_hook(
                lambda _l, _i, y, name=name, axis=axis: sums.update({name: y.movedim(axis, -1).flatten(0, -2).mean(0)}))
    with Capture(model, rows=10_000, dtype="f32", model="tiny") as capture, torch.no_grad():
        model(torch.randn(2, 4, 8, 8), torch.tensor(980), torch.randn(2, 3, 12))
    assert not any(layer._forward_pre_hooks for layer in model.modules()), "hooks stay"
    capture.save(out / "c.safetensors", quiet=True)
    found = load_file(out / "c.safetensors")
    check_layers(out / "c.safetensors", out / "unet", model)
    for name, want in sums.items():
        layer = model.get_submodule(name)
        got = found[f"{name}@980"].mean(0) @ layer.weight.reshape(len(layer.weight), -1).T + (0 if layer.bias is None else layer.bias)
        assert torch.allclose(got, want, atol=1e-4), f"{name}: mean output off by {(got - want).abs().max()}"
    assert metadata(out / "c.safetensors") == {"format": "arrow-quant-calibration", "version": "1", "axis": "timestep",
                                               "timesteps": "[980]", "model": "tiny", "rows": "10000"}


def test_flux_has_sigmas(out: Path) -> None:
    model = diffusers.FluxTransformer2DModel(
        patch_size=1, in_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=12, pooled_projection_dim=8, axes_dims_rope=(4, 4, 8))
    model.save_pretrained(out / "transformer")
    with Capture(model, rows=8) as capture, torch.no_grad():
        for sigma in (1.0, 0.75, 0.0312):
            model(torch.randn(1, 16, 4), torch.randn(1, 5, 12), torch.randn(1, 8), torch.tensor([sigma]), torch.zeros(16, 3),
                  torch.zeros(5, 3))
    capture.save(out / "c.safetensors", quiet=True)
    check_layers(out / "c.safetensors", out / "transformer", model)
    assert {"axis": "sigma", "timesteps": "[1000, 750, 31]"}.items() <= metadata(out / "c.safetensors").items()


def test_trained_dit(out: Path) -> None:
    model = diffusers.DiTTransformer2DModel.from_pretrained(DIT / "transformer", torch_dtype=torch.float32)
    with Capture(model, rows=12) as capture, torch.no_grad():
        for step in (980, 0):
            model(torch.randn(3, 1, 8, 8), timestep=torch.full((3,), step), class_labels=torch.tensor([1, 2, 10]))
    capture.save(out / "c.safetensors", quiet=True)
    check_layers(out / "c.safetensors", DIT / "transformer", model, "digits-dit")


def test_pipeline_by_command(out: Path) -> None:
    said, error = command(UNET, out / "c.safetensors", "--steps", 3, "--rows", 20, "--call", '{"batch_size": 2}')
    assert not error, error
    check_layers(out / "c.safetensors", UNET / "unet", diffusers.UNet2DModel.from_pretrained(UNET / "unet"), "digits-unet")
    about = metadata(out / "c.safetensors")
    assert about["axis"] == "timestep" and len(json.loads(about["timesteps"])) == 3 and about["model"] == "digits-unet"
    assert "with 2 to 20 rows a step" in said and "fewer than in/8" in said and "without a weight" not in said, said


def test_masked_text(out: Path) -> None:
    (out / "texts.txt").write_text(TEXT)
    files = []
    for attention in ("auto", "own"):
        said, error = command(DLLM, out / "c.safetensors", "--texts", out / "texts.txt", "--ratios", 0.25, 1, "--rows", 500,
                              "--length", 48, "--attention", attention)
        assert not error, error
        files.append(load_file(out / "c.safetensors"))
        assert f"mask token 1, attention {'full' if attention == 'auto' else 'own'}" in said, said
    check_layers(out / "c.safetensors", DLLM, transformers.LlamaForCausalLM.from_pretrained(DLLM), "verses-dllm")
    about = metadata(out / "c.safetensors")
    assert about["axis"] == "mask_ratio" and json.loads(about["timesteps"]) == [250, 1000]
    both, back = (file["model.layers.0.self_attn.o_proj@250"] for file in files)
    assert both.shape == (500, 256) and not torch.equal(both, back), "the mask does not change what is attended to"
    # A quarter of the tokens, and all of them, are the mask: these have one embedding, so one input row of the first layer.
    for step, share in ((250, 0.25), (1000, 1.0)):
        rows = files[0][f"model.layers.0.self_attn.q_proj@{step}"]
        most = torch.unique(rows, dim=0, return_counts=True)[1].max().item() / len(rows)
        assert abs(most - share) < 0.07, f"{most:.2f} of the rows are those of the mask at {step}"


def test_names_of_a_bare_model(out: Path) -> None:
    capture = Capture(nn.ModuleDict({"layers": Toy()}), layers=["layers.*"])
    capture.found[("layers.q", 5)] = Sample(1, 4, torch.float16, "")
    tool.match_names(capture, UNET / "unet", "model")
    assert capture.strange == ["layers.q", "layers.k", "layers.idle"]
    tool.save_file({f"model.{name}.weight": torch.zeros(1) for name in ("layers.q", "layers.k", "layers.idle")}, out / "w.safetensors")
    tool.match_names(capture, out, "model")
    assert set(capture.layers) == {"model.layers.q", "model.layers.k", "model.layers.idle"} and ("model.layers.q", 5) in capture.found
    assert not capture.strange


def test_report(out: Path) -> None:
    with Capture(toy := Toy(), rows=3) as capture, contextlib.redirect_stdout(io.StringIO()) as said:
        toy(numbered(0, 5), torch.tensor([4, 9]))
        capture.save(out / "c.safetensors")
    for words in ("2 tensors, axis timestep, 1 steps [9]", "2 layers with 3 to 3 rows a step", "never called: 1: idle",
                  "not recorded (groups, or a forward of their own): 1: deep", "one call, recorded at the largest: 1: 9"):
        assert words in said.getvalue(), f"{words} not in {said.getvalue()}"
    assert "in/8" not in said.getvalue()


def test_errors(out: Path) -> None:
    class Padded(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(nn.functional.pad(x, (1, 1, 1, 1)))
    in_place, normed, adapted = Toy(), Toy(), Toy()
    in_place.q.compile()
    nn.utils.parametrizations.weight_norm(normed.q)
    adapted.q.base_layer = nn.Linear(4, 3)
    fails("the denoiser is compiled", lambda: Capture(torch.compile(Toy())))
    fails("q is compiled", lambda: Capture(in_place))
    fails("q is parametrized or has an adapter", lambda: Capture(normed))
    fails("q is parametrized or has an adapter", lambda: Capture(adapted))
    fails("no Linear or convolution to record nothing*", lambda: Capture(Toy(), layers=["nothing*"]))
    fails("no Linear or convolution", lambda: Capture(Padded(3, 3, 3)))
    fails("rows 0", lambda: Capture(Toy(), rows=0))
    fails("nothing was recorded", lambda: Capture(Toy()).save(out / "c.safetensors"))
    fails("has to end with .safetensors", lambda: Capture(Toy()).save(out / "c.bin"))
    (out / "texts.txt").write_text(TEXT)
    for words, arguments in {
        "has to end with": [UNET, out / "c.bin"],
        "nothing": [out / "nothing", out / "c.safetensors"],
        "No such file": [UNET, out / "c.safetensors", "--prompts", out / "none.txt"],
        "argument 'prompt'": [UNET, out / "c.safetensors", "--prompts", out / "texts.txt"],
        "argument 'hight'": [UNET, out / "c.safetensors", "--call", '{"hight": 8}'],
        "the pipeline has unet": [UNET, out / "c.safetensors", "--component", "vae"],
        "--ratios": [DLLM, out / "c.safetensors", "--texts", out / "texts.txt", "--ratios", "1.5"],
    }.items():
        _, error = command(*arguments)
        assert error.startswith("error: ") and words in error, f"{error} does not say {words}"
    assert not (out / "c.safetensors").exists() and not list(out.glob(".*"))


def test_missing_imports(out: Path) -> None:
    script = str(ROOT / "tools/capture_calibration.py")
    for module in ("torch", "diffusers"):
        code = f"import sys, runpy; sys.modules[{module!r}] = None; sys.argv = {[script, str(UNET), str(out / 'c.safetensors')]}; " \
               f"runpy.run_path({script!r}, run_name='__main__')"
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        lines = ended.stderr.strip().splitlines()
        assert ended.returncode == 1 and len(lines) == 1 and lines[0].startswith("error: ") and module in lines[0], ended.stderr


def main(words: list[str]) -> int:
    passed = failed = 0
    tests = {name.removeprefix("test_").replace("_", " "): test for name, test in globals().items() if name.startswith("test_")}
    for title, test in ((title, test) for title, test in tests.items() if not words or any(word in title for word in words)):
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory(prefix="aq-capture-") as folder:
            try:
                test(Path(folder))
            except Exception:  # noqa: BLE001 (whatever it is, the test failed)
                failed += 1
                print(f"FAIL {title}\n{traceback.format_exc(limit=-3)}")
            else:
                passed += 1
                print(f"ok   {title}")
    if not MODELS:
        print("AQ_MODELS is not set: names and widths were not held against the full calibration files")
    print(f"{passed} passed, {failed} failed")
    return int(failed > 0 or passed == 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
