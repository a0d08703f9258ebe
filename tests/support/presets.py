"""Tiny but real presets: the same classes as the shipped ones, a few thousand random weights."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models import AutoencoderKL, StableCascadeUNet, UNet2DConditionModel
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from gencomm_cli.methods.diffjscc.method import CsiEmbedding
from gencomm_cli.methods.scsic.cascade import PaellaVQModel
from gencomm_cli.methods.scsic.efficientnet import EfficientNetEncoder
from gencomm_cli.methods.scsic.previewer import Previewer
from gencomm_cli.methods.textguided.prior import SPECIAL_TOKENS, train_tokenizer
from gencomm_cli.networks.control import LatentControlNet, control_arguments
from gencomm_cli.networks.deepjscc import DeepJSCC, DeepJSCCConfig
from gencomm_cli.networks.rate_adaptive import JSCCConfig, RateAdaptiveJSCC
from gencomm_cli.presets import Component, load_config
from gencomm_cli.presets.build import builders
from gencomm_cli.presets.write import Part, write_preset
from gencomm_cli.training.linear_start import token_statistics

VAE = {
    "in_channels": 12, "out_channels": 12, "latent_channels": 4, "block_out_channels": [8, 8], "norm_num_groups": 4,
    "down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2, "mid_block_add_attention": False,
}  # fmt: skip
UNET = {
    "in_channels": 4, "out_channels": 4, "block_out_channels": [8, 16], "layers_per_block": 1, "norm_num_groups": 4,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"], "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    "cross_attention_dim": 16, "attention_head_dim": 2,
}  # fmt: skip
CSI: dict[str, Any] = {"width": 8, "scale": 4.0}
PUBLISHED: dict[str, Any] = {
    "code_channels": 4, "downsamplings": 3, "width": 4, "encoder_width": 8, "decoder_width": 8, "encoder_blocks": 1,
    "decoder_blocks": 1, "fading": True,
}  # fmt: skip
TEXT = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 12,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip

ENCODER: dict[str, Any] = {
    "stages": [["fused", 1, 1, 4, 1], ["fused", 2, 2, 4, 1], ["fused", 2, 2, 8, 1], ["mb", 2, 2, 8, 1], ["mb", 2, 2, 8, 1]],
    "stem": 4, "width": 8,
}  # fmt: skip
STAGE_A: dict[str, Any] = {"bottleneck_blocks": 1, "embed_dim": 8, "num_vq_embeddings": 8, "scale_factor": 0.5}
STAGE_B: dict[str, Any] = {
    "in_channels": 4, "out_channels": 4, "timestep_ratio_embedding_dim": 8, "patch_size": 2, "conditioning_dim": 8,
    "block_out_channels": [8, 16], "num_attention_heads": [-1, 2], "down_num_layers_per_block": [1, 1],
    "up_num_layers_per_block": [1, 1], "clip_text_pooled_in_channels": 4, "clip_seq": 1, "effnet_in_channels": 16,
    "block_types_per_layer": [
        ["SDCascadeResBlock", "SDCascadeTimestepBlock"], ["SDCascadeResBlock", "SDCascadeTimestepBlock", "SDCascadeAttnBlock"],
    ],
    "timestep_conditioning_type": ["sca"], "dropout": [0.0, 0.0],
}  # fmt: skip
PREVIEWER: dict[str, Any] = {"hidden": 8}


def loaded_to_encode(method: str, preset: str, cbr: float | None = None) -> set[str]:
    """The top-level modules that a process of its own has imported once it has loaded a method and encoded an image."""
    program = (
        "import sys\nfrom gencomm_cli import pipeline\nimport numpy as np\n"
        f"codec = pipeline.load({method!r}, {preset!r})\n"
        "image = np.full((64, 64, 3), 90, np.uint8)\n"
        f"codec.encode(image, cbr={cbr}, snr=9, fading='awgn')\n"
        "print(*(name for name in sys.modules if '.' not in name))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def randomise(module: nn.Module, seed: int) -> None:
    """Non-zero weights everywhere, zero-initialised layers included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)


def randomised(parts: Mapping[str, tuple[str, nn.Module, dict[str, Any]]], seed: int = 0) -> dict[str, Part]:
    """Class, network and arguments of each component as parts of a preset, random everywhere, in full precision."""
    for index, (_, module, _) in enumerate(parts.values()):
        randomise(module, seed + index)
    return {name: Part(kind, config, module.state_dict()) for name, (kind, module, config) in parts.items()}


def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(["a red house", "two dogs on grass"] * 4, 300)


@pytest.fixture(scope="session")
def make_preset(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """(domain, **settings) → a preset folder."""

    def make(domain: str = "latent", pretrained: bool = False, **settings: Any) -> Path:
        folder = tmp_path_factory.mktemp("preset")
        words = tokenizer()
        words.backend_tokenizer.save(str(folder / "tokenizer.json"))
        text = {**TEXT, "vocab_size": len(words)}
        unet = UNet2DConditionModel(**UNET)
        jscc: dict[str, Any] = {"channels": 4 if domain == "latent" else 3, "code_channels": 16, "dims": [8], "depths": [1]}
        if domain == "pixel":
            jscc |= {"dims": [8, 8], "depths": [1, 1]}
        parts: dict[str, tuple[str, nn.Module, dict[str, Any]]] = {
            "vae": ("AutoencoderKL", AutoencoderKL(**VAE), VAE),
            "unet": ("UNet2DConditionModel", unet, UNET),
            "text_encoder": ("CLIPTextModel", CLIPTextModel(CLIPTextConfig(**text)), text),
            "control": ("LatentControlNet", LatentControlNet.over(unet), control_arguments(unet)),
            "jscc": ("RateAdaptiveJSCC", RateAdaptiveJSCC(JSCCConfig.from_json(jscc)), jscc),
        }
        made: dict[str, Part | Component] = {
            "tokenizer": Part("PreTrainedTokenizerFast", SPECIAL_TOKENS, folder / "tokenizer.json"), **randomised(parts)
        }  # fmt: skip
        if pretrained:
            full = str(folder / "full")
            for name in ("vae", "unet", "text_encoder"):
                kind, module, _ = parts[name]
                module.save_pretrained(folder / "full" / name)  # type: ignore[operator]
                made[name] = Component(name, kind, None, "", {}, full, name)
            words.save_pretrained(folder / "full" / "tokenizer")
            made["tokenizer"] = Component("tokenizer", "CLIPTokenizer", None, "", {}, full, "tokenizer")
        write_preset(folder, "textguided", made, {"domain": domain, "cbr_range": [0.001, 0.1], **settings}, "tiny")
        return folder

    return make


@pytest.fixture(scope="session")
def make_diffjscc(make_preset: Callable[..., Path]) -> Callable[..., Path]:
    """(latent, pixel or published: the kind of JSCC, **settings) → a preset folder of diffjscc."""

    def make(kind: str = "latent", **settings: Any) -> Path:
        base = load_config(make_preset("latent" if kind == "published" else kind))
        arguments = control_arguments(UNet2DConditionModel(**UNET)) | {"csi_width": CsiEmbedding(**CSI).size}
        parts: dict[str, tuple[str, nn.Module, dict[str, Any]]] = {
            "control": ("LatentControlNet", LatentControlNet(**arguments), arguments)
        }
        if kind == "published":
            parts["jscc"] = ("DeepJSCC", DeepJSCC(DeepJSCCConfig(**PUBLISHED)), PUBLISHED)
        settings = {**base.settings, "csi": CSI, "steps": 3, "captioner": "none", **settings}
        return write_preset(base.folder, "diffjscc", {**base.components, **randomised(parts, 10)}, settings, "tiny").folder

    return make


@pytest.fixture(scope="session")
def make_scsic(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """**settings → a preset folder of scsic; all have the same weights."""

    def make(**settings: Any) -> Path:
        folder = tmp_path_factory.mktemp("preset")
        torch.manual_seed(0)
        stage_b = STAGE_B | {"effnet_in_channels": 17 if settings.get("snr_aware") else 16}
        parts: dict[str, tuple[str, nn.Module, dict[str, Any]]] = {
            "encoder": ("EfficientNetEncoder", EfficientNetEncoder(**ENCODER), ENCODER),
            "stage_a": ("PaellaVQModel", PaellaVQModel(**STAGE_A), STAGE_A),
            "stage_b": ("StableCascadeUNet", StableCascadeUNet(**stage_b), stage_b),
            "previewer": ("Previewer", Previewer(**PREVIEWER), PREVIEWER),
        }
        return write_preset(folder, "scsic", randomised(parts), {"steps": 3, **settings}, "tiny").folder

    return make


LRISC: dict[str, tuple[str, dict[str, Any]]] = {
    "transform": (
        "NonlinearTransform",
        {
            "widths": [8, 8, 8, 128], "halvings": [True, True, True, False], "context_widths": [4, 8, 8, 8],
            "hyper_widths": [8, 8, 8], "fold": 2, "kernel": 3, "coarse": True,
        },
    ),
    "jscc": ("LatentJSCC", {"channels": 128, "depth": 1, "heads": 2, "window": 4, "snr_width": 8}),
    "rates": ("RateTables", {}),
    "unet": (
        "ConditionalUNet",
        {
            "widths": [8, 8, 8, 8, 8, 8], "context_widths": [4, 8, 8, 8], "fold": 2, "kernel": 3, "time_width": 8,
            "variances": [0.02, 0.25],
        },
    ),
}  # fmt: skip
"""The components of LRISC's tiny preset: class and arguments."""

RESIDUAL_LRISC: dict[str, tuple[str, dict[str, Any]]] = {
    "transform": (
        "ResidualTransform",
        {
            "channels": 128, "encoder_widths": [8, 8], "encoder_depths": [1, 1], "context_widths": [8, 8, 8, 8],
            "context_depths": [1, 1, 1, 1], "hyper_widths": [8, 8, 8], "edge": 4,
        },
    ),
    "jscc": ("KLTLatentJSCC", {"channels": 128, "width": 16, "depth": 1, "heads": 2, "window": 4, "snr_width": 8}),
    "rates": ("RateTables", {}),
    "unet": ("ResidualUNet", {"widths": [8, 8, 8], "depths": [1, 1, 1], "context_widths": [8, 8, 8, 8], "time_width": 8}),
}  # fmt: skip
"""The same around PCA, KLT and LMMSE."""


def scenes(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Pictures with quiet and busy halves, uint8 [count, 128, 128, 3]."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(count):
        smooth = Image.fromarray(rng.integers(0, 256, (3, 3, 3), dtype=np.uint8)).resize((128, 128), Image.Resampling.BICUBIC)
        detail = Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)).resize((128, 128), Image.Resampling.BICUBIC)
        picture = np.asarray(smooth).copy()
        picture[:, 64:] = np.asarray(detail)[:, 64:]
        out.append(picture)
    return np.stack(out)


def linear_lrisc(sizes: Mapping[str, tuple[str, dict[str, Any]]] = LRISC) -> dict[str, nn.Module]:
    """Networks at the linear start, which send pictures already, with small random weights beside."""
    torch.manual_seed(0)
    modules: dict[str, Any] = {name: builders()[kind](**config) for name, (kind, config) in sizes.items()}
    pictures = torch.from_numpy(scenes(64)).permute(0, 3, 1, 2).float() / 127.5 - 1
    residual = sizes is RESIDUAL_LRISC
    modules["transform"].start_linear(*token_statistics(pictures, 16), *([] if residual else [0.2]))
    with torch.no_grad():
        z = modules["transform"].encode(pictures)
        modules["jscc"].start_linear(z.transpose(0, 1).flatten(1).std(1))
        if residual:
            modules["unet"].start_linear(pictures - modules["transform"].image(z, modules["transform"].contexts(z)))
    nn.init.normal_((modules["unet"].last[-1] if residual else modules["unet"].final_conv[1]).weight, 0, 0.005)
    return modules


@pytest.fixture(scope="session")
def make_lrisc(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """(sizes, **settings) → a preset folder of lrisc at the linear start."""

    def make(sizes: Mapping[str, tuple[str, dict[str, Any]]] = LRISC, **settings: Any) -> Path:
        folder = tmp_path_factory.mktemp("lrisc")
        modules = linear_lrisc(sizes)
        parts = {name: Part(kind, config, modules[name].state_dict()) for name, (kind, config) in sizes.items()}
        return write_preset(folder, "lrisc", parts, {"cbr_range": [0.0033, 0.0417], "steps": 3, **settings}, "tiny").folder

    return make
