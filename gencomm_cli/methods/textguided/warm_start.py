"""Residual diffusion from a coarse latent (paper 000, section III-C): the forward process, its two parametrisations, the sampler.

With γ = √ᾱ_Ns / √(1 − ᾱ_Ns) and κ_t = √ᾱ_t − √(1 − ᾱ_t) γ, eq. 7 reads

    z_t = √ᾱ_t z_0 + √(1 − ᾱ_t) (γ (z_c − z_0) + ε) = √ᾱ_t z_c + κ_t (z_0 − z_c) + √(1 − ᾱ_t) ε.

κ is exactly zero at t = N_s: the state there holds no z_0, so eq. 9 divides by zero on the sampler's first step. Predicting
u = ε + γ (z_c − z_0) instead, ẑ_0 = (z_t − √(1 − ᾱ_t) û) / √ᾱ_t is finite everywhere and equals eq. 9 elsewhere; u is also what a
plain ε-network predicts at z_t, so that guidance mixes like with like. Eq. 9 as printed lacks √(1 − ᾱ_t) before ε, and eq. 14 a
square root; both are corrected here.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Literal

from torch import Tensor

Parameterization = Literal["u", "paper"]

Predict = Callable[[Tensor, int], Tensor]
"""(z_t, t) → the network's output, of z_t's shape."""


def residual_weight(alpha_bar: Tensor, start: int) -> Tensor:
    """γ = √ᾱ_Ns / √(1 − ᾱ_Ns) (eq. 15)."""
    return (alpha_bar[start] / (1 - alpha_bar[start])).sqrt()


def diffuse(z_0: Tensor, z_c: Tensor, noise: Tensor, t: Tensor, start: Tensor, alpha_bar: Tensor) -> tuple[Tensor, Tensor]:
    """z_t by eq. 7, and the target u = ε + γ (z_c − z_0).

    Args:
        z_0, z_c, noise: [B, C, H, W].
        t, start: int64 [B]; 1 ≤ t ≤ N_s = ``start``.
        alpha_bar: ᾱ_0 … ᾱ_T.
    """
    shape = (-1, 1, 1, 1)
    a, gamma = alpha_bar[t].view(shape), residual_weight(alpha_bar, start).view(shape)  # type: ignore[arg-type]
    u = noise + gamma * (z_c - z_0)
    return (a.sqrt() * z_0 + (1 - a).sqrt() * u).to(z_0.dtype), u.to(z_0.dtype)


def clean_from_u(z_t: Tensor, u: Tensor, a: Tensor) -> Tensor:
    """ẑ_0 = (z_t − √(1 − ᾱ_t) û) / √ᾱ_t."""
    return (z_t - (1 - a).sqrt() * u) / a.sqrt()


def clean_from_noise(z_t: Tensor, z_c: Tensor, noise: Tensor, a: Tensor, gamma: Tensor) -> Tensor:
    """ẑ_0 by Algorithm 1, line 8 (eq. 9 corrected); infinite at t = N_s."""
    sigma = (1 - a).sqrt()
    return (z_t - sigma * (gamma * z_c + noise)) / (a.sqrt() - sigma * gamma)


def ddim_step(z_t: Tensor, z_0: Tensor, a: Tensor, a_next: Tensor) -> Tensor:
    """z_t' = a_t z_t + b_t ẑ_0 (eqs. 10, 13, 14 corrected; σ = 0): plain DDIM."""
    keep = (1 - a_next).sqrt() / (1 - a).sqrt()
    return keep * z_t + (a_next.sqrt() - a.sqrt() * keep) * z_0


def sample(
    z_c: Tensor,
    noise: Tensor,
    steps: list[int],
    alpha_bar: Tensor,
    conditional: Predict,
    unconditional: Predict | None = None,
    *,
    guidance: float = 1.0,
    parameterization: Parameterization = "u",
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Algorithm 1: from the coarse latent to z̃_0, deterministic but for the starting ``noise``; differentiable (stage 2 is).

    Args:
        z_c, noise: [B, C, H, W].
        steps: N_s = t_0 > … > t_N = 0.
        conditional: predicts u (or ε, with ``paper``) from z_t, told of z_c and the prompt.
        unconditional: the frozen network's prediction of u; called only where ``guidance`` ≠ 1.
        guidance: ω; 1 is the conditional prediction alone.
        parameterization: ``paper`` predicts ε, takes ẑ_0 = z_c at t = N_s, and mixes the branches in ẑ_0.
        progress: called with (steps done, steps in all).
    """
    alpha_bar = alpha_bar.to(z_c.dtype)  # stays on the CPU: numbers that never wait for a device
    start = steps[0]
    gamma = residual_weight(alpha_bar, start)
    z = alpha_bar[start].sqrt() * z_c + (1 - alpha_bar[start]).sqrt() * noise  # eq. 5
    for index, (t, following) in enumerate(itertools.pairwise(steps)):
        a = alpha_bar[t]
        if parameterization == "paper":
            z_0 = z_c if t == start else clean_from_noise(z, z_c, conditional(z, t), a, gamma)
        else:
            z_0 = clean_from_u(z, conditional(z, t), a)
        if guidance != 1.0 and unconditional is not None:
            free = clean_from_u(z, unconditional(z, t), a)
            z_0 = free + guidance * (z_0 - free)  # line 7; ẑ_0 is affine in û, so mixing either is the same
        z = ddim_step(z, z_0, a, alpha_bar[following])
        if progress is not None:
            progress(index + 1, len(steps) - 1)
    return z
