"""Figures of the signal itself, before any decoder: received SNR, error vector magnitude, prompt error rate."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from gencomm_cli.channels.equalisers import zero_forcing

Symbols = NDArray[np.complex64]


def received_snr_db(sent: Symbols, gain: Symbols | None, n0: float) -> float | None:
    """10·log10(mean |h·x|² / N0) in dB of the symbols that were really sent; ``inf`` without noise, None without symbols.

    Args:
        sent: complex64 [k]. gain: the channel's true h, [k], [1], or None for 1. n0: noise power per complex symbol.
    """
    arrived = sent.astype(np.complex128) * (1 if gain is None else gain)
    power = float(np.mean(np.abs(arrived) ** 2)) if sent.size else 0.0
    if power == 0:
        return None
    return math.inf if n0 == 0 else 10 * math.log10(power / n0)


def evm_percent(sent: Symbols, received: Symbols, gain: Symbols | None) -> float | None:
    """Error vector magnitude in percent: 100·√(mean |x̂ - x|² / mean |x|²) with x̂ = y/h; None without symbols.

    With one tap a symbol the unbiased MMSE estimate, ``mmse / reliability``, is y/h too: there is one EVM, not two.

    Args:
        sent, received: complex64 [k]. gain: what the receiver knows of h, [k], [1], or None (then x̂ = y).
    """
    power = float(np.mean(np.abs(sent.astype(np.complex128)) ** 2)) if sent.size else 0.0
    if power == 0:
        return None
    error = zero_forcing(received, gain).astype(np.complex128) - sent
    return 100 * math.sqrt(float(np.mean(np.abs(error) ** 2)) / power)
