"""The latent space: autoencoders behind one small interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gencomm_cli.networks.autoencoder import Autoencoder
from gencomm_cli.networks.tiles import tiled

if TYPE_CHECKING:
    from diffusers.models import AutoencoderKL

TILE, OVERLAP = 1024, 256
"""Side of a tile in pixels, and what neighbours share, where a picture has more pixels than two tiles."""


class LatentCodec(nn.Module, ABC):
    """Image [B, 3, H, W] in [0, 1] ↔ latent [B, C, H/f, W/f] of a variance near 1; H and W multiples of f.

    The autoencoder may have a number format of its own: what goes in comes out in the same format. Large pictures go through it in
    tiles. :func:`latent_codec` makes the codec of an autoencoder.

    Attributes:
        autoencoder: the network. channels: latent channels C. factor: image pixels per latent position along each side, f.
        fold: side of the blocks of pixels that the decoder's last layer makes from one position.
        scaling: what the autoencoder's own latents are multiplied by.
    """

    channels: int
    factor: int
    fold: int
    scaling: float

    def __init__(self, autoencoder: nn.Module) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def encode(self, image: Tensor) -> Tensor:
        """z = E(s)."""
        return self._in_tiles(self._encode, image, 1, self.factor)

    def decode(self, latent: Tensor) -> Tensor:
        """s = D(z), not clamped, so that training sees gradients outside [0, 1]."""
        return self._in_tiles(self._decode, latent, self.factor)

    @abstractmethod
    def decoder(self) -> nn.ModuleDict:
        """The parts of the autoencoder that decode."""

    def encoding(self) -> dict[str, Tensor]:
        """The tensors that latents depend on: all but those of the decoder."""
        decoding = {id(parameter) for parameter in self.decoder().parameters()}
        return {name: tensor for name, tensor in self.state_dict(keep_vars=True).items() if id(tensor) not in decoding}

    @abstractmethod
    def _encode(self, image: Tensor) -> Tensor: ...

    @abstractmethod
    def _decode(self, latent: Tensor) -> Tensor: ...

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the autoencoder."""
        return next(self.autoencoder.parameters()).dtype

    def _in_tiles(self, network: Callable[[Tensor], Tensor], x: Tensor, pixels: int, multiple: int = 1) -> Tensor:
        """``network`` of x, ``pixels`` of the picture to a position along each side."""
        if x.shape[2] * x.shape[3] * pixels**2 <= 2 * TILE**2:
            return network(x)
        return tiled(network, x, TILE // pixels, OVERLAP // pixels, multiple)


class KLCodec(LatentCodec):
    """Over diffusers' AutoencoderKL.

    When its input has 3·p² channels the image is folded p×p first (``pixel_unshuffle``), which spares a small network the costly
    full-resolution layers; Stable Diffusion's has p = 1. Latents are multiplied by its ``scaling_factor``.
    """

    autoencoder: AutoencoderKL

    def __init__(self, autoencoder: AutoencoderKL) -> None:
        super().__init__(autoencoder)
        config = autoencoder.config
        self.fold, self.scaling = round((config.in_channels / 3) ** 0.5), float(config.scaling_factor)
        self.channels, self.factor = int(config.latent_channels), int(self.fold * 2 ** (len(config.block_out_channels) - 1))

    def moments(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the unscaled posterior; H and W multiples of f."""
        both = self._in_tiles(self._moments, image, 1, self.factor)
        mean, logvar = both.chunk(2, 1)
        return mean, logvar

    def _moments(self, image: Tensor) -> Tensor:
        folded = F.pixel_unshuffle(2 * image - 1, self.fold).to(self.dtype)
        posterior = self.autoencoder.encode(folded).latent_dist
        return torch.cat([posterior.mean, posterior.logvar], 1).to(image.dtype)

    def _encode(self, image: Tensor) -> Tensor:
        """The posterior's mode, scaled."""
        return self._moments(image).chunk(2, 1)[0] * self.scaling

    def _decode(self, latent: Tensor) -> Tensor:
        pixels = self.autoencoder.decode((latent / self.scaling).to(self.dtype)).sample
        return (F.pixel_shuffle(pixels.to(latent.dtype), self.fold) + 1) / 2

    def decoder(self) -> nn.ModuleDict:
        """Its second half."""
        return nn.ModuleDict({"decoder": self.autoencoder.decoder, "post_quant_conv": self.autoencoder.post_quant_conv})


class PCACodec(LatentCodec):
    """Over :class:`~gencomm_cli.networks.autoencoder.Autoencoder`, whose latents have unit variance by themselves."""

    autoencoder: Autoencoder
    scaling = 1.0

    def __init__(self, autoencoder: Autoencoder) -> None:
        super().__init__(autoencoder)
        self.channels, self.factor, self.fold = autoencoder.channels, autoencoder.factor, autoencoder.unfold

    def _encode(self, image: Tensor) -> Tensor:
        return self.autoencoder.encode(image.to(self.dtype)).to(image.dtype)

    def _decode(self, latent: Tensor) -> Tensor:
        return self.autoencoder.decode(latent.to(self.dtype)).to(latent.dtype)

    def decoder(self) -> nn.ModuleDict:
        """Its residual; the linear part has no weights to learn."""
        return nn.ModuleDict({"decoder": self.autoencoder.decoder})


def latent_codec(autoencoder: nn.Module) -> LatentCodec:
    """The codec over an Autoencoder, or over diffusers' AutoencoderKL."""
    if isinstance(autoencoder, Autoencoder):
        return PCACodec(autoencoder)
    return KLCodec(cast("AutoencoderKL", autoencoder))


def kl_divergence(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mean, e^logvar) ‖ N(0, 1)) [B] in nats, summed over the latent."""
    return 0.5 * torch.sum(mean.square() + logvar.exp() - 1 - logvar, dim=(1, 2, 3))
