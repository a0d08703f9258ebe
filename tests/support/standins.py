"""Stand-ins for full-size models: the published classes and folder layouts, a few thousand random numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from diffusers.models import AutoencoderKL, StableCascadeUNet, UNet2DConditionModel
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from gencomm_cli.methods.diffjscc.method import CsiEmbedding
from gencomm_cli.methods.scsic.cascade import PaellaVQModel
from gencomm_cli.methods.scsic.efficientnet import EfficientNetEncoder
from gencomm_cli.methods.scsic.previewer import Previewer
from gencomm_cli.networks.control import LatentControlNet, control_arguments
from gencomm_cli.networks.rate_adaptive import JSCCConfig, RateAdaptiveJSCC
from gencomm_cli.presets.write import Part, write_preset
from tests.support.presets import ENCODER, PREVIEWER, STAGE_A, STAGE_B, UNET, randomise

VAE: dict[str, Any] = {
    "in_channels": 3, "out_channels": 3, "latent_channels": 4, "block_out_channels": [8, 8, 8, 8], "norm_num_groups": 4,
    "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4, "layers_per_block": 1,
    "scaling_factor": 0.18215,
}  # fmt: skip
TEXT: dict[str, Any] = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 77,
}  # fmt: skip
JSCC: dict[str, Any] = {"channels": 4, "code_channels": 16, "dims": [8], "depths": [1]}


def clip_tokenizer(folder: Path) -> CLIPTokenizer:
    """CLIP's tokeniser with letters for words, from the two files that it is published as."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer.from_pretrained(folder)


def stable_diffusion(folder: Path) -> Path:
    """What ``StableDiffusionPipeline.save_pretrained`` writes."""
    torch.manual_seed(0)
    tokenizer = clip_tokenizer(folder.with_name("words"))
    text = CLIPTextConfig(
        **TEXT, vocab_size=len(tokenizer), bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id
    )
    parts: dict[str, nn.Module] = {
        "vae": AutoencoderKL(**VAE), "unet": UNet2DConditionModel(**UNET), "text_encoder": CLIPTextModel(text),
    }  # fmt: skip
    for seed, module in enumerate(parts.values()):
        randomise(module, seed)
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False, steps_offset=1
    )
    pipeline = StableDiffusionPipeline(
        **parts,
        tokenizer=tokenizer,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


def trained(folder: Path, method: str) -> Path:
    """A preset with a control module and a JSCC for :func:`stable_diffusion`, as training or an import leaves it."""
    torch.manual_seed(1)
    csi: dict[str, Any] = {"width": 8, "scale": 4.0}
    arguments = control_arguments(UNet2DConditionModel(**UNET))
    settings: dict[str, Any] = {"domain": "latent", "cbr_range": [0.0005, 0.02], "steps": 3}
    if method == "diffjscc":
        arguments, settings = arguments | {"csi_width": CsiEmbedding(**csi).size}, settings | {"csi": csi, "captioner": "none"}
    control, jscc = LatentControlNet(**arguments), RateAdaptiveJSCC(JSCCConfig.from_json(JSCC))
    for seed, module in enumerate((control, jscc)):
        randomise(module, 20 + seed)
    parts = {
        "control": Part("LatentControlNet", arguments, control.state_dict()),
        "jscc": Part("RateAdaptiveJSCC", JSCC, jscc.state_dict()),
    }
    return write_preset(folder, method, parts, settings).folder


def stable_cascade(folder: Path) -> Path:
    """The published repository: stages A and B in diffusers' layout, encoder and previewer as files beside them."""
    torch.manual_seed(0)
    parts: dict[str, Any] = {"vqgan": PaellaVQModel(**STAGE_A), "decoder": StableCascadeUNet(**STAGE_B)}
    for seed, (name, module) in enumerate(parts.items()):
        randomise(module, seed)
        module.save_pretrained(folder / name)
    own: dict[str, tuple[nn.Module, dict[str, Any]]] = {
        "effnet_encoder": (EfficientNetEncoder(**ENCODER), ENCODER), "previewer": (Previewer(**PREVIEWER), PREVIEWER),
    }  # fmt: skip
    for seed, (name, (module, sizes)) in enumerate(own.items()):
        randomise(module, 10 + seed)
        save_file(module.state_dict(), folder / f"{name}.safetensors")
        (folder / f"{name}.json").write_text(json.dumps(sizes))
    return folder
