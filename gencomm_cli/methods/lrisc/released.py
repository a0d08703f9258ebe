"""CDC (Yang & Mandt, 2023), the diffusion that LRISC (arXiv:2504.21577) builds on: transform and U-Net of a preset of ``lrisc``.

A released file is an averaged copy of the whole training object: ``context_fn`` is the transform with its hyperprior,
``denoise_fn`` the U-Net, both under the names that they have here. It has no code for the channel: ``gencomm train lrisc --start``
adds one. It has no coarse image either; the layers for it start where they add nothing to what the program computes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gencomm_cli.diffusion.cosine import STEPS, cosine_alpha_bar
from gencomm_cli.errors import InputError
from gencomm_cli.networks.transform import NonlinearTransform, TransformConfig
from gencomm_cli.released.checkpoint import Checkpoint
from gencomm_cli.released.conversion import Conversion, ConvertedComponent, only
from gencomm_cli.released.names import under

KIND = "cdc"

TRANSFORM, UNET, SCHEDULE = "context_fn.", "denoise_fn.", "train_"
MOST_HALVINGS = 6
FIRST = "0.block1.block.0.weight"
"""Of a level: its first convolution."""

CONVENTIONS = (
    "images in [−1, 1], predictions of the image itself, clamped in every step",
    "the sampler starts from noise of standard deviation 0.8 and visits 65 of 8193 steps, both ends included",
    "the latent is sent with noise of the channel here, where the program rounds it to whole distances from its mean",
)


def _levels(tensors: Mapping[str, Tensor], part: str) -> list[tuple[int, ...]]:
    """Shapes of the first convolutions of the levels ``part.0``, ``part.1``, …"""
    shapes: list[tuple[int, ...]] = []
    while (first := tensors.get(f"{part}.{len(shapes)}.{FIRST}")) is not None:
        shapes.append(tuple(first.shape))
    return shapes


def transform_config(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of a :class:`TransformConfig`, as the shapes of ``context_fn``'s tensors say."""
    encoder, decoder = _levels(tensors, "enc"), _levels(tensors, "dec")
    contexts = [tensors[f"dec.{level}.1.conv.weight"].shape[1] for level in reversed(range(len(decoder)))]
    return {
        "widths": [shape[0] for shape in encoder],
        "halvings": [f"enc.{level}.1.conv.weight" in tensors for level in range(len(encoder))],
        "context_widths": contexts,
        "last_width": None if decoder[-1][0] == contexts[0] else decoder[-1][0],
        "hyper_widths": [len(tensors[f"hyper_enc.{layer}.0.bias"]) for layer in range(3)],
        "kernel": encoder[0][-1],
        "coarse": True,
    }


def unet_config(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of a :class:`gencomm_cli.networks.conditional_unet.UNetConfig`, as the shapes of ``denoise_fn``'s tensors say."""
    levels = _levels(tensors, "downs")
    before = [3, *(shape[0] for shape in levels)]
    contexts = [shape[1] - width for shape, width in zip(levels, before, strict=False)]
    return {
        "widths": before[1:],
        "context_widths": [width for width in contexts if width > 0],
        "kernel": levels[0][-1],
        "time_width": len(tensors["time_mlp.2.bias"]),
    }


def _without_coarse(config: Mapping[str, Any]) -> dict[str, Tensor]:
    """The layers that make a coarse image, set so that z = g_e(x) as published and the coarse image is grey."""
    latent, finest = config["widths"][-1], config["context_widths"][0]
    factor = TransformConfig.from_json(config).factor
    return {
        "analysis.weight": torch.zeros(latent, 3, factor, factor),
        "analysis.bias": torch.zeros(latent),
        "synthesis.weight": torch.zeros(latent, 3, factor, factor),
        "synthesis.bias": torch.zeros(3),
        "to_latent.weight": torch.eye(latent)[:, :, None, None].contiguous(),
        "to_latent.bias": torch.zeros(latent),
        "to_pixels.weight": torch.zeros(3, finest, 3, 3),
        "to_pixels.bias": torch.zeros(3),
    }


def _check_schedule(checkpoint: Checkpoint) -> None:
    """Raises InputError where the checkpoint was trained with another schedule than the x-prediction's."""
    published = checkpoint.tensors.get(f"{SCHEDULE}alphas_cumprod")
    if published is None:
        return
    ours = cosine_alpha_bar().float()
    if published.shape != ours.shape or not torch.allclose(published.float(), ours, rtol=1e-3, atol=1e-7):
        raise InputError(
            f"{checkpoint.path}: its schedule has {len(published)} steps, not the {STEPS} of the x-prediction; "
            "give the checkpoint that predicts x"
        )


def recognises(tensors: Mapping[str, Tensor]) -> bool:
    """Whether names are those of CDC's checkpoints."""
    return f"{TRANSFORM}enc.0.{FIRST}" in tensors and f"{UNET}downs.0.{FIRST}" in tensors


def convert(checkpoints: Sequence[Checkpoint], config: Mapping[str, Any]) -> Conversion:
    """Components ``transform`` and ``unet`` of ``lrisc``.

    Raises:
        InputError: it was trained with another schedule, or its embeddings stand for too many pixels.
    """
    checkpoint = only(checkpoints, KIND)
    _check_schedule(checkpoint)
    tensors = checkpoint.tensors
    context, denoise = under(TRANSFORM, tensors), under(UNET, tensors)
    sizes, unet = transform_config(context), unet_config(denoise)
    if sum(sizes["halvings"]) > MOST_HALVINGS:
        raise InputError(f"{checkpoint.path}: halves the picture {sum(sizes['halvings'])} times; up to {MOST_HALVINGS} are known")
    added = _without_coarse(sizes)
    return Conversion(
        "lrisc",
        (
            ConvertedComponent("transform", NonlinearTransform.__name__, sizes, context | added),
            ConvertedComponent("unet", "ConditionalUNet", unet, denoise),
        ),
        {"steps": 65, "start_noise": 0.8},
        tuple((f"{TRANSFORM}{name}", f"transform.{name}") for name in context)
        + tuple((f"{UNET}{name}", f"unet.{name}") for name in denoise),
        tuple((name, _reason(name)) for name in tensors if not name.startswith((TRANSFORM, UNET))),
        tuple(f"transform.{name} = {'1' if name == 'to_latent.weight' else '0'}" for name in added),
        CONVENTIONS,
        ("jscc, rates: LRISC's code for the channel, which `gencomm train lrisc --start FOLDER` adds",),
    )


def _reason(name: str) -> str:
    """Why a tensor is not needed."""
    if name.startswith(SCHEDULE):
        return "a buffer of the noise schedule, which is computed"
    return "LPIPS, the loss of training" if name.startswith("loss_fn_vgg.") else "of training: neither end of the link has it"
