"""Unconditional pixel priors for the posterior samplers: networks that predict noise, or the clean image.

Images are in [−1, 1]; x̂_{0|t} is clamped to them, as the published samplers do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from gencomm_cli.diffusion.cosine import cosine_time
from gencomm_cli.methods.diffcom.residual_prior import ResidualPrior, ResidualPriorConfig
from gencomm_cli.networks.conditional_unet import ConditionalUNet, UNetConfig
from gencomm_cli.presets import Component
from gencomm_cli.presets.build import pretrained_config

Prior = Callable[[Tensor, int], tuple[Tensor, Tensor | None]]
"""(x_t, t) → x̂_{0|t} and, where the network learned the reverse step's variance, its place v from log σ̃_t² (0) to log β_t (1)."""

Network = Callable[[Tensor, Tensor], Tensor]
"""(images [B, 3, H, W], step [1], or time or ᾱ [B]) → what it predicts of them."""


def sides_multiple(component: Component) -> int:
    """What the sides of a prior's images are multiples of, by its configuration: a transmitter has no use for the network."""
    if component.class_name == ConditionalUNet.__name__:
        return UNetConfig.from_json(component.config).multiple
    if component.class_name == ResidualPrior.__name__:
        return ResidualPriorConfig.from_json(component.config).multiple
    config = component.config or pretrained_config(component)
    return int(2 ** (len(config["block_out_channels"]) - 1))


def pixel_prior(network: nn.Module, alpha_bar: Tensor, faster: Callable[[Network], Network] = lambda network: network) -> Prior:
    """x̂_{0|t} by a preset's network over the steps of ``alpha_bar``.

    Args:
        faster: makes another function of the network's, which computes the same.
    """
    if isinstance(network, ResidualPrior):
        estimate = faster(network)
        return lambda x, t: (estimate(x, alpha_bar[t].to(x).expand(len(x))).clamp(-1, 1), None)
    if isinstance(network, ConditionalUNet):

        def clean(x: Tensor, time: Tensor) -> Tensor:
            return network(x, time, network.no_contexts(len(x), (x.shape[2], x.shape[3])))

        return clean_prior(faster(clean), alpha_bar)
    unet = cast(Any, network)  # diffusers' UNet2DModel, which takes seconds to import

    def noise(x: Tensor, step: Tensor) -> Tensor:
        out: Tensor = unet(x.to(unet.dtype), step).sample
        return out.to(x.dtype)

    return noise_prior(faster(noise), alpha_bar)


def noise_prior(network: Network, alpha_bar: Tensor) -> Prior:
    """x̂_{0|t} = (x_t − √(1 − ᾱ_t) ε̂)/√ᾱ_t (eq. 15, with the score −ε̂/√(1 − ᾱ_t)), of a network (x, t − 1 [1]) → ε̂ that was
    trained on the steps of ``alpha_bar``.

    A network of 6 output channels also gives the reverse step's variance (Nichol & Dhariwal, arXiv:2102.09672).
    """

    def prior(x: Tensor, t: int) -> tuple[Tensor, Tensor | None]:
        noise, *learned = network(x, torch.full((1,), t - 1, device=x.device)).split(3, 1)
        a = float(alpha_bar[t])
        v = (learned[0].detach() + 1) / 2 if learned else None
        return ((x - (1 - a) ** 0.5 * noise) / a**0.5).clamp(-1, 1), v

    return prior


def clean_prior(network: Network, alpha_bar: Tensor) -> Prior:
    """x̂_{0|t} of a network (x, time [B]) → x_0 that was trained on a cosine schedule, with the time in 0 … 1 (as LRISC's is).

    This takes the place of eq. 15: the mean itself is predicted, and no score.

    The sampler's steps are those of ``alpha_bar``: the network is given the time at which its own ᾱ is the same.
    """

    def prior(x: Tensor, t: int) -> tuple[Tensor, None]:
        time = torch.full((len(x),), cosine_time(float(alpha_bar[t])), device=x.device)
        return network(x, time).clamp(-1, 1), None

    return prior
