"""One-tap equalisers. Without fading, or where the receiver does not know it, the gain is None and stands for h = 1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Array = TypeVar("Array", NDArray[np.complex64], "Tensor")

_TINY = 1e-30
"""Keeps 0/0 (a gain of exactly zero on a clean channel) at 0; far below anything float32 notices beside |h|²."""


def mmse(y: Array, gain: Array | None, n0: float | Array) -> Array:
    """Estimate of unit-power symbols x from y = h·x + CN(0, N0): h*·y / (|h|² + N0), with mean squared error N0/(|h|² + N0)."""
    if gain is None:
        return y / (1.0 + n0)
    estimate: Array = gain.conj() * y / (_power(gain) + n0 + _TINY)
    return estimate


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


def _power(gain: Array) -> Any:
    """|h|², real, with a gradient that is finite at zero."""
    return (gain * gain.conj()).real
