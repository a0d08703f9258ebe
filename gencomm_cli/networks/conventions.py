"""How a published program makes symbols of a code's reals and reals of symbols, where programs differ.

What is sent is the same for all: complex symbols with E|z|² = 1 for each image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gencomm_cli.channels.equalisers import mmse, zero_forcing
from gencomm_cli.networks.config import Config

Pairing = Literal["halves", "alternate", "rows"]
Equaliser = Literal["mmse", "zero-forcing", "phase"]
LOUDEST = 1e3
"""Of a zero-forced symbol: in a deep fade there is noise alone, which must not overflow."""


def forced(received: Tensor, gain: Tensor | None) -> Tensor:
    """Zero-forced symbols, complex [B, k], for h of a shape that broadcasts, or None for h = 1; real and imaginary parts are
    clamped to ±``LOUDEST``."""
    found = torch.view_as_real(zero_forcing(received, gain))  # type: ignore[type-var]
    return torch.view_as_complex(found.clamp(-LOUDEST, LOUDEST))


@dataclass(frozen=True)
class Conventions(Config):
    """Part of a codec's config.

    Attributes:
        pairing: which reals make a symbol: the first half of all is real and the second imaginary (``halves``), even and odd ones
            take turns (``alternate``), or the upper and the lower half of each channel's rows (``rows``).
        real_power: mean power of each real as the decoder takes it; ½ is that of the symbols as they are sent.
        restored: the decoder takes the code at its own power, image by image. The gain is sent beside the symbols then.
        equaliser: what fading symbols go through: ``mmse``, ``zero-forcing``, or ``phase``, which corrects the phase alone and
            stands for programs whose gains are real and are not equalised. Without fading symbols are taken as they arrive.
        snr_offset_db: Es/N0 in dB less what the program calls SNR; its networks are given, and its files named after, the latter.
    """

    pairing: Pairing = "halves"
    real_power: float = 0.5
    restored: bool = False
    equaliser: Equaliser = "mmse"
    snr_offset_db: float = 0.0

    def pair(self, reals: Tensor) -> Tensor:
        """Reals [B, n] or, for ``rows``, [B, C, h, w] → complex [B, ⌈n/2⌉] at the power they have; an odd n has a zero added."""
        if self.pairing == "rows":
            upper, lower = reals.float().chunk(2, 2)
            return torch.complex(upper.flatten(1), lower.flatten(1))
        flat = reals.float().flatten(1)
        flat = torch.cat([flat, flat.new_zeros(len(flat), flat.shape[1] % 2)], 1)
        if self.pairing == "alternate":
            return torch.view_as_complex(flat.unflatten(1, (-1, 2)).contiguous())
        return torch.complex(*flat.chunk(2, 1))

    def unpair(self, symbols: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Undoes :meth:`pair`: complex [B, k] of unit power → reals [B, *shape], each of power ``real_power``."""
        sent, own = 2 * symbols.shape[1], math.prod(shape)  # a zero that was added has no share of the decoder's own power
        scaled = symbols if self.real_power == 0.5 else math.sqrt(2 * self.real_power * own / sent) * symbols
        if self.pairing == "rows":
            half = (shape[0], shape[1] // 2, shape[2])
            return torch.cat([scaled.real.unflatten(1, half), scaled.imag.unflatten(1, half)], 2)
        parts = torch.stack([scaled.real, scaled.imag], 2 if self.pairing == "alternate" else 1).flatten(1)
        return parts[:, : math.prod(shape)].unflatten(1, shape)

    def equalise(self, received: Tensor, gain: Tensor | None, n0: float | Tensor) -> Tensor:
        """Received symbols [B, k] as the decoder expects them, for gains h [B, k], or None where none are known.

        ``n0``: N0, one for all or [B, 1].
        """
        if gain is None:
            return received
        if self.equaliser == "mmse":
            return mmse(received, gain, n0)  # type: ignore[type-var]
        if self.equaliser == "phase":
            return received * torch.exp(-1j * gain.angle())
        return forced(received, gain)

    def program_snr(self, snr_db: Tensor) -> Tensor:
        """Es/N0 in dB as the program counts SNR."""
        return snr_db - self.snr_offset_db


USUAL = Conventions()
"""This project's own."""
