"""Images as the networks take them and give them, and the SNR as they are told it."""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from gencomm_cli.methods.base import Image

SNR_RANGE = (-10.0, 30.0)
"""What networks are told of the SNR, in dB; they were trained on −5 … 20."""


def to_tensor(image: Image, multiple: int, device: torch.device) -> Tensor:
    """uint8 [H, W, 3] → [1, 3, H', W'] in [0, 1], edges repeated up to a multiple of ``multiple``."""
    x = torch.tensor(image, device=device).permute(2, 0, 1)[None].float() / 255
    return F.pad(x, (0, -image.shape[1] % multiple, 0, -image.shape[0] % multiple), mode="replicate")


def padded_size(size: tuple[int, int], multiple: int) -> tuple[int, int]:
    """(H', W') of :func:`to_tensor` for an image of (H, W)."""
    return size[0] + -size[0] % multiple, size[1] + -size[1] % multiple


def to_image(x: Tensor, size: tuple[int, int]) -> Image:
    """[1, 3, H', W'] → uint8 [H, W, 3], cropped."""
    out = x[0, :, : size[0], : size[1]].clamp(0, 1).mul(255).round().byte().permute(1, 2, 0)
    return cast(Image, out.contiguous().cpu().numpy())


def told_snr(n0: float, device: torch.device) -> Tensor:
    """The SNR in dB [1] of unit-power symbols in noise of power ``n0``, within ``SNR_RANGE``."""
    return torch.tensor([within_range(-10 * math.log10(max(n0, 1e-9)))], device=device)


def within_range(snr_db: float | None) -> float:
    """The SNR that a transmitter is told, within ``SNR_RANGE``; NaN where it is told nothing."""
    return math.nan if snr_db is None else min(max(snr_db, SNR_RANGE[0]), SNR_RANGE[1])
