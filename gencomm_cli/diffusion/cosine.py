"""The cosine noise schedule (Nichol & Dhariwal, arXiv:2102.09672): in T steps, as CDC's program has it, and in continuous time.

In steps n = 0 … T − 1 a network is given the time n/T, which is nearly continuous. In continuous time, within the limits that
Stable Cascade gives it, a state is x_t = √ᾱ x_0 + √(1 − ᾱ) ε, and its level is log ᾱ/(1 − ᾱ); a network takes the time that the
level has without shift, so that a shifted schedule needs no other network.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

OFFSET = 0.008
"""s of the schedule."""
LEAST, MOST = 1e-4, 0.9999
"""ᾱ at the ends of the schedule."""
MOST_BETA = 0.999
STEPS = 8193
"""T of the published program."""


def _curve(time: Tensor) -> Tensor:
    return torch.cos((time + OFFSET) / (1 + OFFSET) * (math.pi / 2)) ** 2


def cosine_alpha_bar(steps: int = STEPS) -> Tensor:
    """ᾱ_n = Π (1 − β_i), float64 [steps]."""
    curve = _curve(torch.linspace(0, 1, steps + 1, dtype=torch.float64, device="cpu"))
    betas = (1 - curve[1:] / curve[:-1]).clamp(0, MOST_BETA)
    return torch.cumprod(1 - betas, 0)


def alpha_bar_at(time: Tensor) -> Tensor:
    """ᾱ as a function of n/T in [0, 1): closed form, which :func:`cosine_alpha_bar` follows up to its clipped last β."""
    return _curve(time.double() + 1 / STEPS) / _curve(torch.zeros((), dtype=torch.float64))


def cosine_time(a: float) -> float:
    """The time in 0 … 1 at which ᾱ of the schedule, cos²((time + s)/(1 + s) · π/2) over its value at 0, is ``a``."""
    least = math.cos(OFFSET / (1 + OFFSET) * math.pi / 2) ** 2
    return max(0.0, math.acos(math.sqrt(a * least)) * 2 / math.pi * (1 + OFFSET) - OFFSET)


def log_snr(t: Tensor, shift: float = 1.0, s: float = OFFSET) -> Tensor:
    """Level log ᾱ/(1 − ᾱ) at times ``t`` in 0 … 1: ᾱ = cos²(π/2 · (t + s)/(1 + s)), scaled to 1 at t = 0, in ``LEAST`` … ``MOST``.

    Args:
        s: of the schedule; 0.02 is used, too.
        shift: divides the amplitude's SNR √ᾱ/√(1 − ᾱ): above 1 for images with more pixels than a network was trained on.
    """
    alpha_bar = (torch.cos((t + s) / (1 + s) * math.pi / 2).clamp(0, 1) / _first(s)).square().clamp(LEAST, MOST)
    return (torch.logit(alpha_bar) - 2 * math.log(shift)).clamp(_logit(LEAST), _logit(MOST))


def time_of(level: Tensor, s: float = OFFSET) -> Tensor:
    """The time t in 0 … 1 of a level under the schedule without shift."""
    return ((level.sigmoid().sqrt() * _first(s)).acos() / (math.pi / 2)) * (1 + s) - s


def amplitudes(level: Tensor) -> tuple[Tensor, Tensor]:
    """√ᾱ and √(1 − ᾱ) at a level."""
    return level.sigmoid().sqrt(), (-level).sigmoid().sqrt()


def _first(s: float) -> float:
    return math.cos(s / (1 + s) * math.pi / 2)


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))
