"""Spaced ancestral sampling (DDPM) with intermediate guidance (paper 001, section II-C, Algorithm 1).

Between two visited steps t > s the forward process is one step with α = ᾱ_t/ᾱ_s and β = 1 − α; eqs. 12 and 16 hold for it as they
stand. (Algorithm 1 prints √(1 − ᾱ_t) before z_t where eq. 12 has √(1 − β_t); eq. 12 is right.)
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

GuidanceForm = Literal["paper", "authors"]


@dataclass(frozen=True)
class Guidance:
    """Intermediate guidance of ẑ_0 towards a latent f_v.

    Attributes:
        target: f_v [B, C, H, W]. weight: λ, 0 … C·H·W; 0 is no guidance, C·H·W puts ẑ_0 on f_v.
        form: ``paper`` takes the posterior of the guided ẑ_0 (eq. 17). ``authors``, as their program does, adds half of the
            correction to the mean of the unguided posterior, ``repeats`` times.
        above, below: steps t with above < t < below are guided.
    """

    target: Tensor
    weight: float
    form: GuidanceForm = "paper"
    repeats: int = 1
    above: int = 0
    below: int = 1001

    def apply(self, z_0: Tensor) -> tuple[Tensor, Tensor | float]:
        """The ẑ_0 to take the posterior's mean of, and what is added to that mean."""
        strength, shift = self.weight / z_0[0].numel(), torch.zeros_like(z_0)
        if self.form == "paper":
            return z_0 - strength * (z_0 - self.target), 0.0  # eq. 17
        guided = z_0
        for _ in range(self.repeats):
            step = -strength * (guided - self.target)
            guided, shift = guided + step, shift + 0.5 * step
        return z_0, shift


def spaced_steps(count: int, total: int = 1000) -> list[int]:
    """t_1 = T > … > t_N = 1, evenly spaced, then 0: N + 1 numbers of T = ``total`` (a single step goes from T)."""
    steps = torch.linspace(total, 1, count, dtype=torch.float64).round().int().tolist()
    return [*dict.fromkeys(steps), 0]


def sample(
    z: Tensor,
    steps: Sequence[int],
    alpha_bar: Tensor,
    predict: Callable[[Tensor, int], Tensor],
    draw: Callable[[int], Tensor] | None = None,
    *,
    guidance: Guidance | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """From z_T ~ N(0, I) to z_0.

    Args:
        z: z_T [B, C, H, W].
        steps: t_1 > … > t_N > 0, as :func:`spaced_steps` gives them.
        alpha_bar: ᾱ_0 … ᾱ_T.
        predict: ε_θ(z_t, t).
        draw: standard normal noise of z's shape for the i-th transition, 0 … N − 2; None samples without noise.
        progress: called with (steps done, steps in all).
    """
    alpha_bar = alpha_bar.double()
    for index, (t, s) in enumerate(itertools.pairwise(steps)):
        a, a_next = float(alpha_bar[t]), float(alpha_bar[s])
        alpha, beta = a / a_next, 1 - a / a_next
        z_0 = (z - (1 - a) ** 0.5 * predict(z, t)) / a**0.5  # eq. 16
        shift: Tensor | float = 0.0
        if guidance is not None and guidance.above < t < guidance.below:
            z_0, shift = guidance.apply(z_0)
        z = a_next**0.5 * beta / (1 - a) * z_0 + alpha**0.5 * (1 - a_next) / (1 - a) * z + shift  # eq. 12
        if draw is not None and s > 0:
            z = z + (beta * (1 - a_next) / (1 - a)) ** 0.5 * draw(index).to(z)
        if progress is not None:
            progress(index + 1, len(steps) - 1)
    return z
