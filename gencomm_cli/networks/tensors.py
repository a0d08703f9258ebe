"""What the networks take and give: images, what was received, and SNRs in the range that they know."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gencomm_cli.channels.equalisers import effective_snr_db, mmse, reliability
from gencomm_cli.errors import NotFinite
from gencomm_cli.methods.base import Image, Received
from gencomm_cli.presets.finite import is_finite
from gencomm_cli.symbols import Symbols

SNR_RANGE = (-10.0, 30.0)
"""The SNRs in dB that networks get; they were trained on −5 … 20."""


def to_tensor(image: Image, multiple: int, device: torch.device) -> Tensor:
    """uint8 [H, W, 3] → [1, 3, H', W'] in [0, 1], edges repeated up to a multiple of ``multiple``."""
    x = torch.tensor(image, device=device).permute(2, 0, 1)[None].float() / 255
    return F.pad(x, (0, -image.shape[1] % multiple, 0, -image.shape[0] % multiple), mode="replicate")


def padded_size(size: tuple[int, int], multiple: int) -> tuple[int, int]:
    """(H', W') of :func:`to_tensor` for an image of (H, W)."""
    return size[0] + -size[0] % multiple, size[1] + -size[1] % multiple


def finite(values: Tensor, network: str) -> Tensor:
    """The same values. Raises NotFinite where ``network``, which made them, gave others."""
    if not is_finite(values):
        raise NotFinite(network)
    return values


def as_symbols(z: Tensor, network: str) -> Symbols:
    """What ``network`` made to be sent, [k], as complex64. Raises NotFinite."""
    return finite(z, network).cpu().numpy().astype(np.complex64)


def to_image(x: Tensor, size: tuple[int, int], network: str = "decoder") -> Image:
    """[1, 3, H', W'] of ``network`` → uint8 [H, W, 3], cropped. Raises NotFinite."""
    out = finite(x, network)[0, :, : size[0], : size[1]].clamp(0, 1).mul(255).round().byte().permute(1, 2, 0)
    return cast(Image, out.contiguous().cpu().numpy())


def within_range(snr_db: float | None) -> float:
    """An SNR in dB as networks get it, within ``SNR_RANGE``; NaN where the transmitter does not know it."""
    return math.nan if snr_db is None else min(max(snr_db, SNR_RANGE[0]), SNR_RANGE[1])


@dataclass(frozen=True)
class Heard:
    """What arrived of an image, and how good it is, as a batch of one.

    Attributes:
        y: received symbols, complex64 [1, k]. gain: h of each, complex64 [1, k]; None where the receiver knows none.
        reliability: |h|²/(|h|² + N0) of each, float32 [1, k]. n0: N0, noise power per complex symbol.
    """

    y: Tensor
    gain: Tensor | None
    reliability: Tensor
    n0: float

    @classmethod
    def of(cls, received: Received, device: torch.device) -> Heard:
        """On ``device``; one gain is that of every symbol."""
        y = torch.tensor(received.symbols, device=device)[None]
        gain = None if received.gain is None else torch.tensor(received.gain, device=device)[None].expand_as(y)
        each = torch.as_tensor(reliability(gain, received.n0), device=device)  # type: ignore[type-var]
        return cls(y, gain, each.float().expand(y.shape), received.n0)

    def mmse(self) -> Tensor:
        """MMSE estimates of the unit-power symbols that were sent, complex64 [1, k]."""
        return mmse(self.y, self.gain, self.n0)  # type: ignore[type-var]

    @property
    def snr_db(self) -> Tensor:
        """−10·log10(N0) in dB, float32 [1], within ``SNR_RANGE``."""
        return torch.tensor([within_range(-10 * math.log10(max(self.n0, 1e-9)))], device=self.y.device)

    @cached_property
    def mean_snr_db(self) -> float:
        """Effective SNR of all symbols together in dB, with no limits but those of :func:`effective_snr_db`."""
        return float(effective_snr_db(float(self.reliability.mean())))

    @property
    def effective_snr_db(self) -> Tensor:
        """Effective SNR in dB, float32 [1], within ``SNR_RANGE``."""
        return torch.tensor([within_range(self.mean_snr_db)], device=self.y.device)
