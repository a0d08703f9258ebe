"""The cosine schedule in continuous time [Nichol & Dhariwal, 2021, eq. 17], within the limits that Stable Cascade gives it.

A state is x_t = √ᾱ x_0 + √(1 − ᾱ) ε, and its level is log ᾱ/(1 − ᾱ). A network takes the time that the level has without shift:
a shifted schedule needs no other network.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

OFFSET = 0.008
"""s of the schedule."""
LEAST, MOST = 1e-4, 0.9999
"""ᾱ at the ends of the schedule."""


def log_snr(t: Tensor, shift: float = 1.0) -> Tensor:
    """Level log ᾱ/(1 − ᾱ) at times ``t`` in 0 … 1: ᾱ = cos²(π/2 · (t + s)/(1 + s)), scaled to 1 at t = 0, in ``LEAST`` … ``MOST``.

    Args:
        shift: divides the amplitude's SNR √ᾱ/√(1 − ᾱ): above 1 for images with more pixels than a network was trained on.
    """
    alpha_bar = (torch.cos((t + OFFSET) / (1 + OFFSET) * math.pi / 2).clamp(0, 1) / _first()).square().clamp(LEAST, MOST)
    return (torch.logit(alpha_bar) - 2 * math.log(shift)).clamp(_logit(LEAST), _logit(MOST))


def time_of(level: Tensor) -> Tensor:
    """The time t in 0 … 1 of a level under the schedule without shift."""
    return ((level.sigmoid().sqrt() * _first()).acos() / (math.pi / 2)) * (1 + OFFSET) - OFFSET


def amplitudes(level: Tensor) -> tuple[Tensor, Tensor]:
    """√ᾱ and √(1 − ᾱ) at a level."""
    return level.sigmoid().sqrt(), (-level).sigmoid().sqrt()


def _first() -> float:
    return math.cos(OFFSET / (1 + OFFSET) * math.pi / 2)


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))
