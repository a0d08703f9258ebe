"""DiffJSCC's released checkpoints: ``config.yaml`` beside ``model.ckpt`` (arXiv:2404.17736), as a preset of ``diffjscc``.

One Lightning checkpoint holds Stable Diffusion's autoencoder and UNet under the names of latent diffusion, OpenCLIP's text model,
the control module and the convolutional codec. Diffusers knows them all but for the codec, which has the published names here too.

The control module is Stable Diffusion's encoder with an 8-channel first convolution over (z_t, f_v). Ours is diffusers' ControlNet
with a second convolution for f_v beside ``conv_in``: the same map, as a convolution of joined channels is the sum of two. The one
parameter without a counterpart is that second convolution's bias, which is zero here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.single_file_utils import (
    convert_controlnet_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from gencomm_cli.errors import InputError
from gencomm_cli.networks.deepjscc import DeepJSCCConfig
from gencomm_cli.released.checkpoint import Checkpoint, read_config
from gencomm_cli.released.conversion import Conversion, ConvertedComponent, only
from gencomm_cli.released.names import Renaming, traced, under

KIND = "diffjscc"

UNET, VAE, TEXT, CONTROL, CODEC = (
    "model.diffusion_model.", "first_stage_model.", "cond_stage_model.model.", "control_model.", "preprocess_model.",
)  # fmt: skip
COPY = "cond_encoder."
"""A copy of the autoencoder's encoder, with which the program encodes the coarse image."""
SCALE = 0.18215
"""Of Stable Diffusion's latents."""

UNREAD = ("text_projection", "logit_scale", "attn_mask")
"""Of OpenCLIP: what no feature of a word depends on, and a mask that is computed."""

PUBLISHED = {
    "linear_start": 0.00085,
    "linear_end": 0.012,
    "timesteps": 1000,
    "parameterization": "eps",
    "use_ema": False,
    "scale_factor": SCALE,
}
"""What :mod:`gencomm_cli.methods.diffjscc.method` takes for granted."""

COUNTS = {"num_res_blocks": 16, "transformer_depth": 16, "in_channels": 64}
UNET_NUMBERS = COUNTS | {"model_channels": 4096, "context_dim": 1 << 14, "num_head_channels": 4096}
UNET_LISTS = {"channel_mult": 64, "attention_resolutions": 64}
VAE_NUMBERS = {"in_channels": 64, "out_ch": 64, "ch": 4096, "z_channels": 64, "num_res_blocks": 16, "resolution": 1 << 16}
CODEC_NUMBERS = {
    "C_channel": 4096, "n_downsample": 8, "ngf": 4096, "max_ngf_E": 4096, "max_ngf_D": 4096, "n_blocks_E": 64, "n_blocks_D": 64,
}  # fmt: skip
"""Numbers (and lists of them) of each network's parameters, and the most that is believed."""


def control_weights(released: Mapping[str, Tensor], blocks: int) -> dict[str, Tensor]:
    """State dict of a :class:`gencomm_cli.networks.control.LatentControlNet` from a released ``control_model``.

    Args:
        released: the authors' tensors, without the prefix ``control_model.``.
        blocks: residual blocks a resolution (``layers_per_block``; 2 in Stable Diffusion).

    Raises:
        KeyError: a tensor that a control module does not have, or one that it lacks.
    """
    ours: dict[str, Tensor] = convert_controlnet_checkpoint(dict(released), {"layers_per_block": blocks})
    found = {id(tensor) for tensor in ours.values()}
    if strange := [name for name in released if id(released[name]) not in found and not name.startswith("snr_embed.")]:
        raise KeyError(strange[0])
    for theirs, layer in (("snr_embed.0", "linear_1"), ("snr_embed.2", "linear_2")):
        ours |= {f"class_embedding.{layer}.{kind}": released[f"{theirs}.{kind}"] for kind in ("weight", "bias")}
    ours["conv_in.weight"], ours["controlnet_cond_embedding.weight"] = ours["conv_in.weight"].chunk(2, 1)
    return ours | {"controlnet_cond_embedding.bias": torch.zeros_like(ours["conv_in.bias"])}


def unet_config(params: Mapping[str, Any]) -> dict[str, Any]:
    """Diffusers' arguments of the UNet that latent diffusion's describe."""
    widths = [params["model_channels"] * factor for factor in params["channel_mult"]]
    attends = [2**level in params["attention_resolutions"] for level in range(len(widths))]
    return {
        "in_channels": params["in_channels"],
        "out_channels": params["out_channels"],
        "down_block_types": ["CrossAttnDownBlock2D" if here else "DownBlock2D" for here in attends],
        "up_block_types": ["CrossAttnUpBlock2D" if here else "UpBlock2D" for here in reversed(attends)],
        "block_out_channels": widths,
        "layers_per_block": params["num_res_blocks"],
        "cross_attention_dim": params["context_dim"],
        "attention_head_dim": [width // params["num_head_channels"] for width in widths],  # diffusers means the number of heads
        "use_linear_projection": params["use_linear_in_transformer"],
        "transformer_layers_per_block": params["transformer_depth"],
    }


def control_config(params: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a :class:`gencomm_cli.networks.control.LatentControlNet` for latent diffusion's."""
    shared = unet_config({**params, "out_channels": params["in_channels"]})
    return {name: value for name, value in shared.items() if name not in ("out_channels", "up_block_types")} | {
        "hint_channels": params["hint_channels"],
        "csi_width": params["model_channels"],
    }


def vae_config(params: Mapping[str, Any]) -> dict[str, Any]:
    """Diffusers' arguments of the autoencoder that latent diffusion's (``ddconfig``) describe."""
    widths = [params["ch"] * factor for factor in params["ch_mult"]]
    return {
        "in_channels": params["in_channels"],
        "out_channels": params["out_ch"],
        "down_block_types": ["DownEncoderBlock2D"] * len(widths),
        "up_block_types": ["UpDecoderBlock2D"] * len(widths),
        "block_out_channels": widths,
        "layers_per_block": params["num_res_blocks"],
        "latent_channels": params["z_channels"],
        "sample_size": params["resolution"],
        "scaling_factor": SCALE,
    }


def text_config(text: Mapping[str, Tensor]) -> dict[str, Any]:
    """Transformers' arguments of OpenCLIP's text model without its last layer; heads are 64 wide, as all of OpenCLIP's are."""
    layers = {name.split(".")[2] for name in text if name.startswith("transformer.resblocks.")}
    words, width = text["token_embedding.weight"].shape
    return {
        "vocab_size": words,
        "hidden_size": width,
        "intermediate_size": len(text["transformer.resblocks.0.mlp.c_fc.weight"]),
        "num_hidden_layers": len(layers) - 1,
        "num_attention_heads": max(1, width // 64),
        "max_position_embeddings": len(text["positional_embedding"]),
        "hidden_act": "gelu",
        "bos_token_id": words - 2,
        "eos_token_id": words - 1,
    }


def codec_config(params: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a :class:`gencomm_cli.networks.deepjscc.DeepJSCCConfig` for the program's."""
    return {
        "code_channels": params["C_channel"],
        "downsamplings": params["n_downsample"],
        "width": params["ngf"],
        "encoder_width": params["max_ngf_E"],
        "decoder_width": params["max_ngf_D"],
        "encoder_blocks": params["n_blocks_E"],
        "decoder_blocks": params["n_blocks_D"],
        "fading": params["channel"] == "Rayleigh",
        "unknown_snr_db": (params["SNR_low"] + params["SNR_high"]) / 2,
    }


def _text_names(config: Mapping[str, Any]) -> Renaming:
    """OpenCLIP's names to those of the transformers that is here: since version 5 they have no ``text_model.`` in front."""
    with torch.device("meta"):
        model = CLIPTextModel(CLIPTextConfig(**config))
    ours, last = set(model.state_dict()), f"transformer.resblocks.{config['num_hidden_layers']}."

    def rename(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        read = {name: tensor for name, tensor in theirs.items() if not name.startswith(last) and name not in UNREAD}
        found = convert_open_clip_checkpoint(model, read, prefix="")
        return {name if name in ours else name.removeprefix("text_model."): tensor for name, tensor in found.items()}

    return rename


def _document(path: Path, document: Any) -> Mapping[str, Any]:
    """The ``params`` of DiffJSCC's configuration.

    Raises:
        InputError: it describes a model that is not DiffJSCC's.
    """
    params = document.get("params") if isinstance(document, dict) else None
    if not isinstance(params, dict):
        raise InputError(f"{path}: not DiffJSCC's config.yaml; give the one that was released beside model.ckpt")
    for name, published in PUBLISHED.items():
        if (given := params.get(name, published)) != published:
            raise InputError(f"{path}: {name} is {str(given)[:40]}, where DiffJSCC has {published}; this is another model")
    return params


def _params(path: Path, document: Any, *place: str, numbers: dict[str, int], lists: dict[str, int] | None = None) -> dict[str, Any]:
    """One network's parameters, of which ``numbers`` and ``lists`` are seen to be whole numbers from 1 to what is given there.

    Raises:
        InputError: one is missing or out of range.
    """
    for name in place:
        document = document.get(name) if isinstance(document, dict) else None
    if not isinstance(document, dict):
        raise InputError(f"{path}: has no {'.'.join(place)}; give the config.yaml that was released beside model.ckpt")
    for name, most in (numbers | (lists or {})).items():
        given = document.get(name)
        each = given if lists and name in lists and isinstance(given, list) else [given]
        if not 1 <= len(each) <= 8 or not all(type(one) is int and 1 <= one <= most for one in each):
            raise InputError(f"{path}: {place[0]}: {name} is {str(given)[:40]}; from 1 to {most} would be right")
    return document


def _codec(path: Path, document: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the codec.

    Raises:
        InputError: it is not the convolutional one.
    """
    place, params = document.get("preprocess_config"), {}
    if not isinstance(place, dict) or place.get("target") != "model.deepjscc_cnn.DeepJSCC":
        raise InputError(f"{path}: preprocess_config is not the convolutional codec (model.deepjscc_cnn), the only one released")
    params = _params(path, document, "preprocess_config", "params", numbers=CODEC_NUMBERS)
    ends = [params.get("SNR_low", 0), params.get("SNR_high", 14)]
    if params.get("channel") not in ("AWGN", "Rayleigh") or not all(isinstance(end, int | float) for end in ends):
        raise InputError(f"{path}: preprocess_config: channel is AWGN or Rayleigh, and SNR_low and SNR_high are numbers in dB")
    return codec_config(params | {"SNR_low": ends[0], "SNR_high": ends[1]})


def recognises(tensors: Mapping[str, Tensor]) -> bool:
    """Whether names are those of DiffJSCC's checkpoints."""
    return all(any(name.startswith(part) for name in tensors) for part in (UNET, VAE, TEXT, CONTROL, CODEC))


def convert(checkpoints: Sequence[Checkpoint], config: Mapping[str, Any]) -> Conversion:
    """A preset of ``diffjscc`` that lacks the tokeniser alone.

    Args:
        config: what the checkpoint's ``config.yaml`` holds; where it is empty, the file beside the checkpoint is read.

    Raises:
        InputError: the configuration is not DiffJSCC's.
    """
    checkpoint = only(checkpoints, KIND)
    tensors, path = checkpoint.tensors, checkpoint.path.with_name("config.yaml")
    document = _document(path, config or read_config(path))
    unet = unet_config(
        _params(path, document, "unet_config", "params", numbers=UNET_NUMBERS | {"out_channels": 64}, lists=UNET_LISTS)
    )
    guide = _params(
        path, document, "control_stage_config", "params", numbers=UNET_NUMBERS | {"hint_channels": 64}, lists=UNET_LISTS
    )
    ddconfig = _params(path, document, "first_stage_config", "params", "ddconfig", numbers=VAE_NUMBERS, lists={"ch_mult": 64})
    words = _params(path, document, "cond_stage_config", "params", numbers={})
    if words.get("layer") != "penultimate":
        raise InputError(
            f"{path}: cond_stage_config: layer is {str(words.get('layer'))[:40]}, where DiffJSCC takes the penultimate"
        )
    vae, control, codec = vae_config(ddconfig), control_config(guide), _codec(path, document)
    text = text_config(under(TEXT, tensors))
    networks: dict[str, tuple[str, dict[str, Any], str, Renaming]] = {
        "vae": ("AutoencoderKL", vae, VAE, lambda theirs: convert_ldm_vae_checkpoint(dict(theirs), vae)),
        "unet": ("UNet2DConditionModel", unet, UNET, lambda theirs: convert_ldm_unet_checkpoint(_prefixed(UNET, theirs), unet)),
        "text_encoder": ("CLIPTextModel", text, TEXT, _text_names(text)),
        "control": ("LatentControlNet", control, CONTROL, lambda theirs: control_weights(theirs, control["layers_per_block"])),
        "jscc": ("DeepJSCC", codec, CODEC, dict),
    }
    components, mapped, missed = [], [], []
    for name, (class_name, arguments, prefix, rename) in networks.items():
        ours, pairs = traced(rename, under(prefix, tensors))
        components.append(ConvertedComponent(name, class_name, arguments, ours))
        mapped += [(f"{prefix}{theirs}", f"{name}.{our}") for theirs, our in pairs]
        missed += [f"{name}.{our} = 0" for our in ours if our not in {pair[1] for pair in pairs}]
    known = {theirs for theirs, _ in mapped}
    copied = all(
        torch.equal(tensor, tensors[f"{VAE}{name}"]) for name, tensor in under(COPY, tensors).items() if f"{VAE}{name}" in tensors
    )
    differs = f"{COPY}* differs from the autoencoder's encoder, which takes its place: the published program would use it"
    settings = {
        "steps": 100,
        "guidance_form": "authors",
        "guidance_lambda": 0.0,
        "colour_fix": True,
        "cbr_range": [DeepJSCCConfig(**codec).cbr] * 2,
        "csi": {
            "width": control["csi_width"],
            "scale": float(guide.get("snr_scale", 100)),
            "minimum": float(guide.get("min_snr", 0)),
            "gain": False,
        },
    }
    return Conversion(
        "diffjscc",
        tuple(components),
        settings,
        tuple(mapped),
        tuple((name, _reason(name, copied)) for name in tensors if name not in known),
        tuple(missed),
        CONVENTIONS if copied else (*CONVENTIONS, differs),
        ("tokenizer: it is not in the checkpoint; give the folder of Stable Diffusion 2's with --tokenizer",),
    )


CONVENTIONS = (
    "unit power for each image, SNR in dB per complex symbol; the first half of the code's channels are real parts",
    "equaliser: zero-forcing; the decoder takes the equalised symbols at unit power",
    "the networks are given the SNR in dB as it is, the control module a sinusoid of snr_scale · SNR − min_snr, and not h",
    "100 steps, noise prediction, no classifier-free guidance; the coarse image's colours (wavelet) are put under the refined one",
    "the published program captions the coarse image with BLIP-2 (Salesforce/blip2-opt-2.7b): --captioner hf:…",
)


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def _reason(name: str, copied: bool) -> str:
    """Why a tensor is not needed."""
    if name.startswith(COPY):
        return "a copy of the autoencoder's encoder" if copied else "the autoencoder's own encoder takes its place"
    if name.startswith(f"{TEXT}transformer.resblocks."):
        return "the text model's last layer: the one before it is what the UNet takes"
    if name.startswith(TEXT):
        return "of contrastive training: the UNet takes features of words"
    if "." not in name:
        return "a buffer of the noise schedule, which is computed"
    return "of training: no network at the receiver has it"
