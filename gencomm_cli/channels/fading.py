"""AWGN, Rayleigh fading that is independent for every symbol, and block fading with one gain for everything sent.

Multipath has a module of its own, :mod:`gencomm_cli.channels.ofdm`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["awgn", "rayleigh", "block", "multipath"]
Array = TypeVar("Array", NDArray[np.complex64], "Tensor")


def transmit(x: Array, gain: Array | None, noise: Array, n0: float | Array) -> Array:
    """Received symbols y = h·x + √N0·n.

    Args:
        x: sent symbols, complex [..., k].
        gain: h, broadcast against ``x``, or None for a channel without fading.
        noise: n, complex [..., k] with E|n|² = 1.
        n0: noise power per complex symbol; in training a real tensor that broadcasts.
    """
    return (x if gain is None else gain * x) + n0**0.5 * noise


def draw_gain(kind: Kind, count: int, rng: np.random.Generator) -> NDArray[np.complex64] | None:
    """Gains h ~ CN(0, 1), so E|h|² = 1, never renormalised: [count] for ``rayleigh``, [1] for ``block``, else None."""
    if kind not in ("rayleigh", "block"):
        return None
    return draw_noise(1 if kind == "block" else count, rng)


def draw_noise(count: int, rng: np.random.Generator) -> NDArray[np.complex64]:
    """Circular complex Gaussian numbers CN(0, 1), complex64 [count]."""
    pairs = rng.standard_normal((count, 2), dtype=np.float32) * np.float32(0.5**0.5)
    return pairs.view(np.complex64)[:, 0]
