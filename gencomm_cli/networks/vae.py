"""The latent space: diffusers' AutoencoderKL behind one small interface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from diffusers.models import AutoencoderKL
from torch import Tensor, nn

from gencomm_cli.networks.tiles import tiled

Domain = Literal["latent", "pixel"]
"""What the JSCC sends: the latent (the paper's proposal), or the image itself (its other variant)."""

TILE, OVERLAP = 1024, 256
"""Side of a tile in pixels, and what neighbours share, where a picture has more pixels than two tiles."""


class LatentCodec(nn.Module):
    """Image [B, 3, H, W] in [0, 1] ↔ scaled latent [B, C, H/f, W/f].

    Args:
        autoencoder: diffusers' AutoencoderKL. When its input has 3·p² channels the image is folded p×p first
            (``pixel_unshuffle``), which spares a small network the costly full-resolution layers; Stable Diffusion's has p = 1.

    Latents are multiplied by ``autoencoder.config.scaling_factor`` so that their variance is near 1. The autoencoder may have a
    number format of its own: what goes in comes out in the same format. Large pictures go through it in tiles.
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
        both = self._in_tiles(self._moments, image, 1, self.factor)
        mean, logvar = both.chunk(2, 1)
        return mean, logvar

    def _moments(self, image: Tensor) -> Tensor:
        folded = F.pixel_unshuffle(2 * image - 1, self.fold).to(self.autoencoder.dtype)
        posterior = self.autoencoder.encode(folded).latent_dist
        return torch.cat([posterior.mean, posterior.logvar], 1).to(image.dtype)

    def encode(self, image: Tensor) -> Tensor:
        """The posterior's mode, scaled: z = E(s)."""
        return self.moments(image)[0] * self.scaling

    def decode(self, latent: Tensor) -> Tensor:
        """s = D(z), not clamped, so that training sees gradients outside [0, 1]."""
        return self._in_tiles(self._decode, latent, self.factor)

    def _decode(self, latent: Tensor) -> Tensor:
        pixels = self.autoencoder.decode((latent / self.scaling).to(self.autoencoder.dtype)).sample
        return (F.pixel_shuffle(pixels.to(latent.dtype), self.fold) + 1) / 2

    def _in_tiles(self, network: Callable[[Tensor], Tensor], x: Tensor, pixels: int, multiple: int = 1) -> Tensor:
        """``network`` of x, ``pixels`` of the picture to a position along each side."""
        if x.shape[2] * x.shape[3] * pixels**2 <= 2 * TILE**2:
            return network(x)
        return tiled(network, x, TILE // pixels, OVERLAP // pixels, multiple)


def kl_divergence(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mean, e^logvar) ‖ N(0, 1)) [B] in nats, summed over the latent."""
    return 0.5 * torch.sum(mean.square() + logvar.exp() - 1 - logvar, dim=(1, 2, 3))
