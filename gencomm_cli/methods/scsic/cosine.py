"""Stable Cascade's diffusion: continuous time, a cosine schedule, few ancestral steps.

x_t = √ᾱ x_0 + √(1 − ᾱ) ε (paper 004, eq. 3, where x_0 is misprinted as x_t), and the time t in 0 … 1 fixes log ᾱ/(1 − ᾱ). That
level is what a network is told, so that a shifted schedule needs no other network.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

Target = Literal["epsilon", "v"]
"""What a network predicts: the noise ε (eq. 4), or v = √ᾱ ε − √(1 − ᾱ) x_0, which says x_0 itself where there is noise alone."""

OFFSET = 0.008
"""s of the cosine schedule (Nichol & Dhariwal, 2021, eq. 17)."""

LEAST, MOST = 1e-4, 0.9999
"""ᾱ at the ends of the schedule."""


def log_snr(t: Tensor, shift: float = 1.0) -> Tensor:
    """log ᾱ/(1 − ᾱ) at times ``t`` in 0 … 1: ᾱ = cos²(π/2 · (t + s)/(1 + s)), scaled to 1 at t = 0, within ``LEAST`` … ``MOST``.

    Args:
        shift: divides the amplitude's SNR √ᾱ/√(1 − ᾱ): above 1 for images with more pixels than a network was trained on.
    """
    alpha_bar = (torch.cos((t + OFFSET) / (1 + OFFSET) * math.pi / 2).clamp(0, 1) / _first()).square().clamp(LEAST, MOST)
    return (torch.logit(alpha_bar) - 2 * math.log(shift)).clamp(_logit(LEAST), _logit(MOST))


def time_of(level: Tensor) -> Tensor:
    """The time t of a log ᾱ/(1 − ᾱ) under the schedule without shift: what networks are told."""
    return ((level.sigmoid().sqrt() * _first()).acos() / (math.pi / 2)) * (1 + OFFSET) - OFFSET


def amplitudes(level: Tensor) -> tuple[Tensor, Tensor]:
    """√ᾱ and √(1 − ᾱ) of log ᾱ/(1 − ᾱ)."""
    return level.sigmoid().sqrt(), (-level).sigmoid().sqrt()


def clean_and_noise(x: Tensor, predicted: Tensor, level: Tensor, target: Target) -> tuple[Tensor, Tensor]:
    """x̂_0 and ε̂ of x_t, by what was predicted of ``target``; ``level`` broadcasts against x."""
    a, b = amplitudes(level)
    if target == "v":
        return a * x - b * predicted, b * x + a * predicted
    return (x - b * predicted) / a, predicted


def guide(conditional: Tensor, unconditional: Tensor, weight: float, rescale: float = 0.7) -> Tensor:
    """Classifier-free guidance: ``unconditional`` + weight · difference; the share ``rescale`` of it with ``conditional``'s
    standard deviation, which guidance would raise [Lin et al., "Common diffusion noise schedules…", 2024, section 3.4]."""
    guided = torch.lerp(unconditional, conditional, weight)
    return guided * (rescale * conditional.std() / (guided.std() + 1e-9) + 1 - rescale)


def times(steps: int) -> list[float]:
    """t_0 = 1 > … > t_N = 0, evenly spaced."""
    return [1 - index / steps for index in range(steps + 1)]


def sample(
    x: Tensor,
    times: Sequence[float],
    predict: Callable[[Tensor, Tensor], Tensor],
    draw: Callable[[int], Tensor] | None = None,
    *,
    target: Target = "epsilon",
    shift: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """From noise to x_0: ancestral sampling, or (without ``draw``) DDIM.

    Args:
        x: standard normal [B, C, H, W].
        times: t_0 > … > t_N; the prediction at t_{N−1} is the result.
        predict: (x_t, time [B]) → prediction of ``target``.
        draw: standard normal noise of x's shape for the i-th transition, 0 … N − 2.
        shift: of the schedule. progress: called with (steps done, steps in all).
    """
    levels = log_snr(torch.tensor(times, dtype=torch.float32), shift)  # stay on the CPU: numbers that never wait for a device
    told = torch.stack([time_of(level) for level in levels]).to(x.device)
    for index, (here, there) in enumerate(itertools.pairwise(levels)):
        x_0, epsilon = clean_and_noise(x, predict(x, told[index].expand(len(x))), here, target)
        if progress is not None:
            progress(index + 1, len(times) - 1)
        if index == len(times) - 2:
            break
        (a, b), (a_next, b_next) = amplitudes(here), amplitudes(there)
        fresh = (
            0.0 if draw is None else float(b_next / b * (1 - (a / a_next).square()).clamp_min(0).sqrt())
        )  # deviation of the posterior
        x = a_next * x_0 + (b_next.square() - fresh**2).sqrt() * epsilon
        if draw is not None:
            x = x + fresh * draw(index).to(x)
    return x_0


def _first() -> float:
    return math.cos(OFFSET / (1 + OFFSET) * math.pi / 2)


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))
