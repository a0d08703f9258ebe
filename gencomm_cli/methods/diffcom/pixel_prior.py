"""Unconditional pixel priors for the posterior samplers: networks that predict noise, or the clean image.

Images are in [−1, 1]; x̂_{0|t} is clamped to them, as the published samplers do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from gencomm_cli.methods.diffcom.posterior import Prior
from gencomm_cli.networks.conditional_unet import ConditionalUNet

COSINE_OFFSET = 0.008

Network = Callable[[Tensor, Tensor], Tensor]
"""(images [B, 3, H, W], step [1] or time [B]) → what it predicts of them."""


def pixel_prior(
    network: nn.Module, alpha_bar: Tensor, faster: Callable[[Network], Network] = lambda network: network
) -> tuple[Prior, int]:
    """x̂_{0|t} by a preset's network over the steps of ``alpha_bar``, and what the sides of its images are multiples of.

    Args:
        faster: makes another function of the network's, which computes the same.
    """
    if not isinstance(network, ConditionalUNet):
        unet = cast(Any, network)  # diffusers' UNet2DModel, which takes seconds to import

        def noise(x: Tensor, told: Tensor) -> Tensor:
            out: Tensor = unet(x.to(unet.dtype), told).sample
            return out.to(x.dtype)

        return noise_prior(faster(noise), alpha_bar), 2 ** (len(unet.config.block_out_channels) - 1)
    conditional = network

    def unconditional(x: Tensor, time: Tensor) -> Tensor:
        out: Tensor = conditional(x, time, conditional.no_contexts(len(x), (x.shape[2], x.shape[3])))
        return out

    return clean_prior(faster(unconditional), alpha_bar), conditional.config.multiple


def noise_prior(network: Network, alpha_bar: Tensor) -> Prior:
    """x̂_{0|t} = (x_t − √(1 − ᾱ_t) ε̂)/√ᾱ_t (eq. 15), of a network (x, t − 1 [1]) → ε̂ that was trained on the steps of
    ``alpha_bar``.

    A network of 6 output channels also gives the reverse step's variance [Nichol & Dhariwal, 2021].
    """

    def prior(x: Tensor, t: int) -> tuple[Tensor, Tensor | None]:
        noise, *learned = network(x, torch.full((1,), t - 1, device=x.device)).split(3, 1)
        a = float(alpha_bar[t])
        v = (learned[0].detach() + 1) / 2 if learned else None
        return ((x - (1 - a) ** 0.5 * noise) / a**0.5).clamp(-1, 1), v

    return prior


def clean_prior(network: Network, alpha_bar: Tensor) -> Prior:
    """x̂_{0|t} of a network (x, time [B]) → x_0 that was trained on a cosine schedule and is told the time in 0 … 1 (paper 002).

    The sampler's steps are those of ``alpha_bar``: the network is told the time at which its own ᾱ is the same.
    """

    def prior(x: Tensor, t: int) -> tuple[Tensor, None]:
        time = torch.full((len(x),), cosine_time(float(alpha_bar[t])), device=x.device)
        return network(x, time).clamp(-1, 1), None

    return prior


def cosine_time(a: float) -> float:
    """The time in 0 … 1 at which ᾱ of the cosine schedule, cos²((time + s)/(1 + s) · π/2) over its value at 0, is ``a``."""
    least = math.cos(COSINE_OFFSET / (1 + COSINE_OFFSET) * math.pi / 2) ** 2
    return max(0.0, math.acos(math.sqrt(a * least)) * 2 / math.pi * (1 + COSINE_OFFSET) - COSINE_OFFSET)
