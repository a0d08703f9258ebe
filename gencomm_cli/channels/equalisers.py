"""One-tap equalisers, and the AWGN channel that is as good. Without fading, or where the receiver does not know it, the gain is
None and stands for h = 1."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Array = TypeVar("Array", NDArray[np.complex64], "Tensor")
Real = TypeVar("Real", float, NDArray[np.floating[Any]], "Tensor")

_TINY = 1e-30
"""Keeps 0/0 (a gain of exactly zero on a clean channel) at 0; far below anything float32 notices beside |h|²."""


def mmse(y: Array, gain: Array | None, n0: float | Array) -> Array:
    """Estimate of unit-power symbols x from y = h·x + CN(0, N0): h*·y / (|h|² + N0), with mean squared error N0/(|h|² + N0)."""
    if gain is None:
        return y / (1.0 + n0)
    return gain.conj() * y / (_power(gain) + n0 + _TINY)


def zero_forcing(y: Array, gain: Array | None) -> Array:
    """Unbiased estimate y/h; a gain of exactly zero gives 0."""
    return y if gain is None else mmse(y, gain, 0.0)


def reliability(gain: Array | None, n0: float | Array) -> Any:
    """|h|²/(|h|² + N0) in 0…1 for each gain: the share of the MMSE estimate's power that is signal.

    Real, of the gain's shape; without a gain of ``n0``'s.
    """
    if gain is None:
        return 1.0 / (1.0 + n0)
    power = _power(gain)
    return power / (power + n0 + _TINY)


def effective_snr_db(mean: Real) -> Real:
    """Effective SNR 10·log10(r/(1 − r)) in dB: that of the AWGN channel whose symbols are as reliable, as 1/(1 + N0) = r there.

    Args:
        mean: r, the mean of :func:`reliability` over the symbols that count as one, in 0…1; a number, or real of any shape.

    Returns:
        dB, of the type and shape of ``mean``, −40 … 90: below, nothing arrives; above, float32 knows no difference.
    """
    xp: Any = np if isinstance(mean, float | np.ndarray) else sys.modules["torch"]
    return 10 * xp.log10(xp.clip(mean, 1e-4, None) / xp.clip(1 - mean, 1e-9, None))


def _power(gain: Array) -> Any:
    """|h|², real, with a gradient that is finite at zero."""
    return (gain * gain.conj()).real
