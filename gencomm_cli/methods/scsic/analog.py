"""Analog transmission of an embedding (paper 004, section 3.2): its reals, two by two, are the complex symbols.

    Z ─► ÷ gain ─► pairs ─► x, E|x|² = 1 ─► channel ─► unbiased equaliser ─► · gain ─► Ẑ = Z + ε

The noise of a pair is shared out between its reals, and the signal too: the SNR of every real is Es/N0 (eq. 5).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gencomm_cli.channels.equalisers import zero_forcing
from gencomm_cli.text import short_code

STEP_DB = 0.4
_LEVELS = 2**short_code.BITS
LIMIT = 10.0
"""Of an equalised real under fading, in units of the gain: beyond it there is noise alone, from a fade to nearly nothing."""


def pairs(z: Tensor) -> Tensor:
    """Embedding [B, C, h, w], C even → complex [B, C·h·w / 2]: the first half of the channels is real, the second imaginary."""
    real, imaginary = z.float().chunk(2, 1)
    return torch.complex(real, imaginary).flatten(1)


def unpairs(symbols: Tensor, channels: int, grid: tuple[int, int]) -> Tensor:
    """Undoes :func:`pairs`: complex [B, C·h·w / 2] → [B, C, h, w]."""
    shaped = symbols.reshape(len(symbols), channels // 2, *grid)
    return torch.cat([shaped.real, shaped.imag], 1)


def normalise(z: Tensor) -> tuple[Tensor, Tensor]:
    """Symbols [B, k] of unit mean power, and the gain [B] they were divided by: the root mean square of Z's reals.

    ``unpairs(√2 · symbols) · gain`` is Z.
    """
    gain = z.float().square().mean((1, 2, 3)).sqrt().clamp_min(1e-6)
    return pairs(z) / (math.sqrt(2) * gain[:, None]), gain


def denormalise(received: Tensor, fading: Tensor | None, gain: Tensor | float, channels: int, grid: tuple[int, int]) -> Tensor:
    """Ẑ [B, C, h, w] of received symbols [B, k] (eq. 6): Z + ε as it arrived on AWGN, y/h where there is fading.

    Args:
        fading: h [B, k], or None where there is none, or the receiver does not know it. gain: Z's, [B] or a number.
    """
    z = math.sqrt(2) * unpairs(zero_forcing(received, fading), channels, grid)
    if fading is not None:
        z = z.clamp(-LIMIT, LIMIT)
    return z * (gain.view(-1, 1, 1, 1) if isinstance(gain, Tensor) else gain)


def gain_index(gain: float) -> int:
    """The gain as a number 0 … 31: steps of ``STEP_DB`` about 0 dB, so that it is met within 0.2 dB from −6.4 to 6 dB."""
    return min(max(round(20 * math.log10(gain) / STEP_DB) + _LEVELS // 2, 0), _LEVELS - 1)


def gain_of(index: int | None) -> float:
    """The gain of an index; 1 where it was lost, as the mapper normalises every channel."""
    return 1.0 if index is None else float(10 ** ((index - _LEVELS // 2) * STEP_DB / 20))
