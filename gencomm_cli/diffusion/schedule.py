"""Noise schedules and time steps: arrays, nothing more.

Steps are counted as the papers do: t = 1 … T, with ᾱ_0 = 1 (no noise). A network gets t − 1. They are
computed on the CPU, within ``torch.device`` too: there ``linspace`` may be transformers', which is the CPU's always.
"""

from __future__ import annotations

import math
from itertools import accumulate, repeat
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Spacing = Literal["uniform", "quadratic"]


def scaled_linear(steps: int = 1000, first: float = 0.00085, last: float = 0.012) -> Tensor:
    """ᾱ_0 … ᾱ_T, float64 [T + 1], of Stable Diffusion's schedule: √β linear between √first and √last."""
    betas = torch.linspace(math.sqrt(first), math.sqrt(last), steps, dtype=torch.float64, device="cpu") ** 2
    return torch.cat([torch.ones(1, dtype=torch.float64, device="cpu"), torch.cumprod(1 - betas, 0)])


def linear(steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> Tensor:
    """ᾱ_0 … ᾱ_T, float64 [T + 1], of DDPM's schedule: β linear between ``first`` and ``last``."""
    betas = torch.linspace(first, last, steps, dtype=torch.float64, device="cpu")
    return torch.cat([torch.ones(1, dtype=torch.float64, device="cpu"), torch.cumprod(1 - betas, 0)])


def linear_float32() -> Tensor:
    """The same with its β and ᾱ rounded to float32 at every step, as DiffCom's program has them; float64 [T + 1].

    1 − ᾱ differs by up to 2.7e-4 of itself.
    """
    alpha_bar = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000).astype(np.float32))
    return torch.cat([torch.ones(1, dtype=torch.float64, device="cpu"), torch.from_numpy(alpha_bar).double()])


def sampling_steps(start: int, count: int, spacing: Spacing = "uniform") -> list[int]:
    """t_0 = N_s > t_1 > … > t_N = 0: the steps a sampler visits, ``count`` intervals (fewer where ``start`` < ``count``).

    ``uniform``: t_i = N_s (1 − i/N). ``quadratic``: t_i = N_s (1 − i/N)², which spends more steps near the image.
    """
    power = 1 if spacing == "uniform" else 2
    steps = [round(start * (1 - index / count) ** power) for index in range(count + 1)]
    return sorted(set(steps), reverse=True)


def spaced_steps(count: int, total: int = 1000) -> list[int]:
    """t_1 = T > … > t_N = 1, evenly spaced, then 0: N + 1 numbers of T = ``total`` (a single step goes from T).

    These are the steps of the programs after improved diffusion (``space_timesteps``; arXiv:2102.09672), which add up the stride
    from t − 1 = 0: where that comes near a half, its last bits decide.
    """
    if count == 1:
        return [total, 0]
    upward = accumulate(repeat((total - 1) / (count - 1), count - 1), initial=0.0)
    return [*sorted({round(step) + 1 for step in upward}, reverse=True), 0]
