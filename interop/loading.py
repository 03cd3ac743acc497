"""Opens a denoiser with its real loader, in float32, and calls it. Shared by the checks."""
import contextlib
import glob
import json
import os
import sys

os.environ.setdefault("SDNQ_USE_TORCH_COMPILE", "0")  # compiling on a CPU takes longer than everything here
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
import torch
from safetensors.torch import load_file

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

# Data that lies beside the weights and is no part of the model.
NOT_WEIGHTS = {"calibration.safetensors", "reference.safetensors"}


def read_json(path):
    with open(path) as f:
        return json.load(f)


def component(path):
    """The folder with the denoiser's config.json: the folder itself, or the pipeline's transformer/ or unet/."""
    for sub in ("", "transformer", "unet"):
        if os.path.isfile(os.path.join(path, sub, "config.json")):
            return os.path.join(path, sub) if sub else path
    raise FileNotFoundError(f"no config.json in {path}, {path}/transformer or {path}/unet")


def weight_files(path):
    files = glob.glob(os.path.join(component(path), "*.safetensors"))
    return sorted(f for f in files if os.path.basename(f) not in NOT_WEIGHTS)


def weight_bytes(path):
    return sum(os.path.getsize(f) for f in weight_files(path))


def tensors_of(path):
    """Every stored tensor of the denoiser, as stored."""
    return {name: t for f in weight_files(path) for name, t in load_file(f).items()}


def quantization_config(path):
    return read_json(os.path.join(component(path), "config.json")).get("quantization_config")


def open_model(path):
    """(model in eval mode, {missing_keys, unexpected_keys, mismatched_keys}) from from_pretrained alone."""
    folder = component(path)
    config = read_json(os.path.join(folder, "config.json"))
    with contextlib.redirect_stdout(sys.stderr):
        if "_class_name" in config:
            import diffusers
            # sdnq is NOT imported here: diffusers must find the format by the config alone, as it does for a user.
            loader = getattr(diffusers, config["_class_name"])
            model, info = loader.from_pretrained(folder, torch_dtype=torch.float32, output_loading_info=True)
        else:
            import transformers
            import sdnq  # noqa: F401  transformers learns of the format by this import
            transformers.utils.logging.disable_progress_bar()
            loader = getattr(transformers, config["architectures"][0])
            model, info = loader.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    keys = {k: sorted(map(str, info.get(k) or [])) for k in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    return model.eval().requires_grad_(False), keys


class Questions:
    """The inputs a model is asked about: its reference.safetensors, or fixed random ones where there is none (FLUX shape)."""

    def __init__(self, original, samples=None):
        self.root, self.config = original, read_json(os.path.join(component(original), "config.json"))
        self.kind = self.config.get("_class_name") or self.config["architectures"][0]
        path = os.path.join(original, "reference.safetensors")
        self.reference = load_file(path) if os.path.isfile(path) else self.invent()
        self.samples = samples
        self.is_text = self.kind.endswith("CausalLM")

    def invent(self):
        if self.kind != "FluxTransformer2DModel":
            raise FileNotFoundError(f"{self.root} has no reference.safetensors")
        g = torch.Generator().manual_seed(7)
        make = lambda *shape: torch.randn(3, 2, *shape, generator=g)  # noqa: E731  [steps, samples, ...]
        return {"timesteps": torch.tensor([0.05, 0.5, 0.95]), "x": make(16, self.config["in_channels"]),
                "text": make(8, self.config["joint_attention_dim"]), "pooled": make(self.config["pooled_projection_dim"])}

    def steps(self):
        return self.reference["timesteps"].tolist()

    def row(self, key, i):
        return self.reference[key][i][: self.samples]

    @torch.no_grad()
    def ask(self, model, i):
        """The model's prediction at the i-th recorded step."""
        x, t = self.row("x", i), self.steps()[i]
        if self.is_text:
            # An additive all-visible mask makes a causal class attend both ways.
            return model(input_ids=x.long(), attention_mask=torch.zeros(len(x), 1, x.shape[1], x.shape[1])).logits
        time = torch.full((len(x),), t)
        if self.kind == "DiTTransformer2DModel":
            return model(x, timestep=time, class_labels=self.row("labels", i)).sample
        if self.kind == "FluxTransformer2DModel":
            ids = torch.zeros(x.shape[1], 3)
            ids[:, 1], ids[:, 2] = torch.arange(len(ids)) // 4, torch.arange(len(ids)) % 4
            text = self.row("text", i)
            return model(hidden_states=x, encoder_hidden_states=text, pooled_projections=self.row("pooled", i), timestep=time,
                         guidance=torch.full((len(x),), 3.5), img_ids=ids, txt_ids=torch.zeros(text.shape[1], 3)).sample
        return model(x, time).sample
