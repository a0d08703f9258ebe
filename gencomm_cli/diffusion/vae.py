"""The latent space: diffusers' AutoencoderKL behind one small interface."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from diffusers.models import AutoencoderKL
from torch import Tensor, nn

Domain = Literal["latent", "pixel"]
"""What the JSCC sends: the latent (the paper's proposal), or the image itself (its other variant)."""


class LatentCodec(nn.Module):
    """Image [B, 3, H, W] in [0, 1] ↔ scaled latent [B, C, H/f, W/f].

    Args:
        autoencoder: diffusers' AutoencoderKL. When its input has 3·p² channels the image is folded p×p first
            (``pixel_unshuffle``), which spares a small network the costly full-resolution layers; Stable Diffusion's has p = 1.

    Latents are multiplied by ``autoencoder.config.scaling_factor`` so that their variance is near 1.
    """

    def __init__(self, autoencoder: AutoencoderKL) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.fold = round((autoencoder.config.in_channels / 3) ** 0.5)
        self.scaling = float(autoencoder.config.scaling_factor)

    @property
    def channels(self) -> int:
        """Latent channels C."""
        return int(self.autoencoder.config.latent_channels)

    @property
    def factor(self) -> int:
        """Image pixels per latent position along each side, f."""
        return int(self.fold * 2 ** (len(self.autoencoder.config.block_out_channels) - 1))

    def moments(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the unscaled posterior; H and W multiples of f."""
        posterior = self.autoencoder.encode(F.pixel_unshuffle(2 * image - 1, self.fold)).latent_dist
        return posterior.mean, posterior.logvar

    def encode(self, image: Tensor) -> Tensor:
        """The posterior's mode, scaled: z = E(s)."""
        return self.moments(image)[0] * self.scaling

    def decode(self, latent: Tensor) -> Tensor:
        """s = D(z), not clamped, so that training sees gradients outside [0, 1]."""
        pixels = self.autoencoder.decode(latent / self.scaling).sample
        return (F.pixel_shuffle(pixels, self.fold) + 1) / 2


def kl_divergence(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mean, e^logvar) ‖ N(0, 1)) [B] in nats, summed over the latent."""
    return 0.5 * torch.sum(mean.square() + logvar.exp() - 1 - logvar, dim=(1, 2, 3))
