"""The cosine noise schedule (Nichol & Dhariwal, arXiv:2102.09672), as CDC's program has it, and its continuous form.

Training has T steps n = 0 … T − 1; a network is given the time n/T, which is nearly continuous.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

OFFSET = 0.008
MOST_BETA = 0.999
STEPS = 8193
"""T of the published program."""


def _curve(time: Tensor) -> Tensor:
    return torch.cos((time + OFFSET) / (1 + OFFSET) * (math.pi / 2)) ** 2


def cosine_alpha_bar(steps: int = STEPS) -> Tensor:
    """ᾱ_n = Π (1 − β_i), float64 [steps]."""
    curve = _curve(torch.linspace(0, 1, steps + 1, dtype=torch.float64))
    betas = (1 - curve[1:] / curve[:-1]).clamp(0, MOST_BETA)
    return torch.cumprod(1 - betas, 0)


def alpha_bar_at(time: Tensor) -> Tensor:
    """ᾱ as a function of n/T in [0, 1): closed form, which :func:`cosine_alpha_bar` follows up to its clipped last β."""
    return _curve(time.double() + 1 / STEPS) / _curve(torch.zeros((), dtype=torch.float64))


def cosine_time(a: float) -> float:
    """The time in 0 … 1 at which ᾱ of the schedule, cos²((time + s)/(1 + s) · π/2) over its value at 0, is ``a``."""
    least = math.cos(OFFSET / (1 + OFFSET) * math.pi / 2) ** 2
    return max(0.0, math.acos(math.sqrt(a * least)) * 2 / math.pi * (1 + OFFSET) - OFFSET)
