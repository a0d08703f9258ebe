"""Cosine noise schedule and DDIM sampling of an x-prediction (paper 002, eqs. 5–8).

Training has T steps n = 0 … T − 1. A sampler visits any number of them, and the network is told the pseudo-continuous n/T, so
that a trained network serves every number of steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

OFFSET = 0.008
MOST_BETA = 0.999
STEPS = 8193
"""T of the published program."""


def _cosine(t: Tensor) -> Tensor:
    return torch.cos((t + OFFSET) / (1 + OFFSET) * (math.pi / 2)) ** 2


def cosine_betas(steps: int = STEPS) -> Tensor:
    """β_n of the cosine schedule [Nichol & Dhariwal, 2021], float64 [steps]."""
    curve = _cosine(torch.linspace(0, 1, steps + 1, dtype=torch.float64))
    return (1 - curve[1:] / curve[:-1]).clamp(0, MOST_BETA)


def cosine_alpha_bar(steps: int = STEPS) -> Tensor:
    """ᾱ_n = Π (1 − β_i), float64 [steps]."""
    return torch.cumprod(1 - cosine_betas(steps), 0)


def alpha_bar_at(time: Tensor) -> Tensor:
    """ᾱ as a function of n/T in [0, 1): closed form, which :func:`cosine_alpha_bar` follows up to its clipped last β."""
    return _cosine(time.double() + 1 / STEPS) / _cosine(torch.zeros((), dtype=torch.float64))


def visited(count: int, steps: int = STEPS) -> list[int]:
    """The ``count`` steps of training that a sampler visits, evenly spaced from T − 1 down to 0 (a single one is T − 1)."""
    return [steps - 1] if count == 1 else [index * (steps - 1) // (count - 1) for index in reversed(range(count))]


def next_state(x: Tensor, clean: Tensor, a: float, a_next: float, sigma: float = 0.0) -> Tensor:
    """x at ᾱ = ``a_next`` from x at ᾱ = ``a`` and the image predicted there (eq. 8); noise of ``sigma`` is yet to be added."""
    noise = (x - a**0.5 * clean) / (1 - a) ** 0.5
    return a_next**0.5 * clean + (1 - a_next - sigma**2) ** 0.5 * noise


def sample(
    x: Tensor,
    visit: Sequence[int],
    alpha_bar: Tensor,
    predict: Callable[[Tensor, float], Tensor],
    *,
    eta: float = 0.0,
    draw: Callable[[int], Tensor] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """From x_N to x_0 by eq. 8; the last prediction is the image.

    Args:
        x: x_N, noise [B, 3, H, W].
        visit: steps in falling order, as :func:`visited` gives them.
        alpha_bar: ᾱ_n of every step of training.
        predict: X_θ(x_n, n/T), clamped to [−1, 1] here.
        eta: 0 is deterministic (eq. 8); 1 adds as much noise as ancestral sampling does. draw: i ↦ that noise, i = 0 … N − 2.
        progress: called with (steps done, steps in all).
    """
    for index, n in enumerate(visit):
        clean = predict(x, n / len(alpha_bar)).clamp(-1, 1)
        if index < len(visit) - 1:
            a, a_next = float(alpha_bar[n]), float(alpha_bar[visit[index + 1]])
            sigma = eta * ((1 - a_next) / (1 - a) * (1 - a / a_next)) ** 0.5
            x = next_state(x, clean, a, a_next, sigma)
            if draw is not None and sigma > 0:
                x = x + sigma * draw(index).to(x)
        if progress is not None:
            progress(index + 1, len(visit))
    return clean
