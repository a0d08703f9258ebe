"""One reverse step from ᾱ_t = ``a`` to the ᾱ_s = ``a_next`` of a later state, s < t: DDIM's and DDPM's.

The states between may be left out: the forward process from s to t is one step with α = ᾱ_t/ᾱ_s and β = 1 − α.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


def noised(x_0: Tensor, a: Tensor | float, noise: Tensor) -> Tensor:
    """x_t ~ q(x_t | x_0) = N(√ᾱ_t x_0, 1 − ᾱ_t), by reparametrisation with ``noise`` ~ N(0, I)."""
    return a**0.5 * x_0 + (1 - a) ** 0.5 * noise


def signal_to_noise(a: Tensor) -> Tensor:
    """ᾱ/(1 − ᾱ): the SNR of a state, elementwise."""
    return a / (1 - a)


def min_snr_weight(a: Tensor, gamma: float = 5.0) -> Tensor:
    """min(SNR, γ)/SNR: weight of the squared error of ε at ᾱ = ``a``, elementwise (Hang et al., arXiv:2303.09556).

    Errors of ẑ_0 then count min(SNR, γ) times: states with hardly any noise do not outweigh the others.
    """
    return (gamma / signal_to_noise(a)).clamp_max(1)


def ddim_step(x: Tensor, x_0: Tensor, a: float, a_next: float, sigma: float = 0.0) -> Tensor:
    """x_s from x_t and the image predicted there (Song et al., arXiv:2010.02502); noise of ``sigma`` is yet to be added."""
    noise = (x - a**0.5 * x_0) / (1 - a) ** 0.5
    return a_next**0.5 * x_0 + (1 - a_next - sigma**2) ** 0.5 * noise


@dataclass(frozen=True)
class AncestralStep:
    """q(x_s | x_t, x_0), DDPM's reverse step (Ho et al., arXiv:2006.11239)."""

    a: float
    a_next: float

    @property
    def alpha(self) -> float:
        """α = ᾱ_t / ᾱ_s."""
        return self.a / self.a_next

    @property
    def beta(self) -> float:
        """β = 1 − α."""
        return 1 - self.alpha

    @property
    def variance(self) -> float:
        """σ̃² = β (1 − ᾱ_s) / (1 − ᾱ_t)."""
        return self.beta * (1 - self.a_next) / (1 - self.a)

    def mean(self, x: Tensor, x_0: Tensor) -> Tensor:
        """E[x_s | x_t, x_0]."""
        keep, draw = self.alpha**0.5 * (1 - self.a_next), self.a_next**0.5 * self.beta
        return (keep * x + draw * x_0) / (1 - self.a)

    def deviation(self, v: Tensor | None) -> Tensor | float:
        """σ̃, or what the network learned (Nichol & Dhariwal, arXiv:2102.09672): log σ² = v log β + (1 − v) log σ̃²."""
        if v is None or self.variance == 0:
            return self.variance**0.5
        return torch.exp(0.5 * (v * math.log(self.beta) + (1 - v) * math.log(self.variance)))
