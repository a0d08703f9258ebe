"""Stage 0: the latent VAE that latent diffusion methods share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from gencomm_cli.metrics.lpips import LPIPS
from gencomm_cli.networks.vae import KLCodec, LatentCodec, kl_divergence
from gencomm_cli.training.data import Photographs, to_tensor
from gencomm_cli.training.latents import Latents
from gencomm_cli.training.loop import Schedule, autocast
from gencomm_cli.training.losses import perceptual_loss, psnr
from gencomm_cli.training.stage import Stage, frozen, trained


@dataclass(frozen=True)
class VAERecipe:
    """Loss = MSE + ``perceptual`` · mean LPIPS + ``kl`` · KL per source sample, on random crops.

    The KL term charges each latent dimension for its precision: dimensions that matter little to the picture end with little
    variance, so that mean squared error in the latent space means something for the picture.
    """

    schedule: Schedule
    batch: int = 12
    crop: int = 128
    perceptual: float = 0.06
    kl: float = 0.01
    seed: int = 0


def vae_stage(
    codec: KLCodec,
    photographs: Photographs,
    recipe: VAERecipe,
    backbones: Sequence[LPIPS],
    generator: np.random.Generator,
    device: torch.device,
) -> Stage:
    """Encoder and decoder together; then the scaling factor is set so that latents have unit variance."""
    trained(codec, device)

    def loss(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        image = to_tensor(photographs.crops(recipe.batch, recipe.crop, generator)[0], device)
        with autocast(device, recipe.schedule.precision):
            mean, logvar = codec.moments(image)
            logvar = logvar.clamp(-12, 4)
            latent = mean + (0.5 * logvar).exp() * torch.randn_like(mean)
            decoded = codec.decode(latent * codec.scaling).float()
            mse = (decoded - image).square().mean()
            perceptual = perceptual_loss(backbones, decoded, image, generator)
        kl = kl_divergence(mean.float(), logvar.float()).mean() / (3 * recipe.crop**2)
        figures = {"psnr": psnr(mse), "lpips": float(perceptual.detach()), "kl": float(kl.detach())}
        return mse + recipe.perceptual * perceptual + recipe.kl * kl, figures

    @torch.no_grad()
    def scale() -> None:
        means = [codec.moments(to_tensor(photographs.crops(32, recipe.crop, generator)[0], device))[0] for _ in range(8)]
        codec.autoencoder.register_to_config(scaling_factor=float(1 / torch.cat(means).std()))

    return Stage({"vae": codec}, loss, show=lambda image: codec.decode(codec.encode(image)), finish=scale)


@dataclass(frozen=True)
class DecoderRecipe:
    """The decoder alone on slightly degraded latents z + σ·n, σ uniform in 0 … ``noise``: the encoder, and with it the latent
    space that other networks have learned, stays as it is."""

    schedule: Schedule
    batch: int = 12
    crop: int = 16
    noise: float = 0.4
    perceptual: float = 0.06
    seed: int = 5


def decoder_of(codec: LatentCodec) -> nn.ModuleDict:
    """The decoder's half of a VAE, ready to train."""
    return codec.decoder().requires_grad_(True).train()


def decoder_stage(
    codec: LatentCodec,
    latents: Latents,
    recipe: DecoderRecipe,
    backbones: Sequence[LPIPS],
    generator: np.random.Generator,
    device: torch.device,
) -> Stage:
    """The decoder alone."""
    frozen(codec).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        clean, pixels, *_ = latents.crops(recipe.batch, recipe.crop, generator)
        image = to_tensor(pixels, device)
        sigma = recipe.noise * torch.rand(recipe.batch, 1, 1, 1)
        with autocast(device, recipe.schedule.precision):
            decoded = codec.decode((clean + sigma * torch.randn_like(clean)).to(device, memory_format=torch.channels_last)).float()
            mse = (decoded - image).square().mean()
            perceptual = perceptual_loss(backbones, decoded, image, generator)
        return mse + recipe.perceptual * perceptual, {"psnr": psnr(mse), "lpips": float(perceptual.detach())}

    return Stage({"decoder": decoder_of(codec)}, loss, show=lambda image: codec.decode(codec.encode(image)))
