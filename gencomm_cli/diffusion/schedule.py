"""Noise schedules and time steps: arrays, nothing more.

Steps are counted as the papers do: t = 1 … T, with ᾱ_0 = 1 (no noise). A network is told t − 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Spacing = Literal["uniform", "quadratic"]


@dataclass(frozen=True)
class StartTable:
    """Warm-start step N_s over CBR and SNR; by default the paper's, by CBR alone (paper 000, section IV-A).

    Attributes:
        cbr, snr_db: increasing. steps: one row a CBR, one column an SNR (or a single column).
    """

    cbr: tuple[float, ...] = (0.0020, 0.0033, 0.0059, 0.011)
    snr_db: tuple[float, ...] = (0.0,)
    steps: tuple[tuple[int, ...], ...] = ((600,), (500,), (400,), (300,))

    def __call__(self, cbr: float, snr_db: float = 0.0) -> int:
        """N_s, interpolated in log CBR and in dB, clamped at the table's ends."""
        rows = [float(np.interp(snr_db, self.snr_db, row)) for row in self.steps]
        return round(float(np.interp(math.log(cbr), np.log(self.cbr), rows)))


def scaled_linear(steps: int = 1000, first: float = 0.00085, last: float = 0.012) -> Tensor:
    """ᾱ_0 … ᾱ_T, float64 [T + 1], of Stable Diffusion's schedule: √β linear between √first and √last."""
    betas = torch.linspace(math.sqrt(first), math.sqrt(last), steps, dtype=torch.float64) ** 2
    return torch.cat([torch.ones(1, dtype=torch.float64), torch.cumprod(1 - betas, 0)])


def linear(steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> Tensor:
    """ᾱ_0 … ᾱ_T, float64 [T + 1], of DDPM's schedule: β linear between ``first`` and ``last``."""
    betas = torch.linspace(first, last, steps, dtype=torch.float64)
    return torch.cat([torch.ones(1, dtype=torch.float64), torch.cumprod(1 - betas, 0)])


def sampling_steps(start: int, count: int, spacing: Spacing = "uniform") -> list[int]:
    """t_0 = N_s > t_1 > … > t_N = 0: the steps a sampler visits, ``count`` intervals (fewer where ``start`` < ``count``).

    ``uniform``: t_i = N_s (1 − i/N), Algorithm 1. ``quadratic``: t_i = N_s (1 − i/N)², which spends more steps near the image.
    """
    power = 1 if spacing == "uniform" else 2
    steps = [round(start * (1 - index / count) ** power) for index in range(count + 1)]
    return sorted(set(steps), reverse=True)
