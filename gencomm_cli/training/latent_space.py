"""Stage 0: the latent VAE that textguided and DiffJSCC share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from diffusers.models import AutoencoderKL
from torch import Tensor, nn

from gencomm_cli.metrics.lpips import LPIPS
from gencomm_cli.networks.vae import LatentCodec, kl_divergence
from gencomm_cli.training.data import Photographs, to_tensor
from gencomm_cli.training.latents import Latents
from gencomm_cli.training.loop import Schedule, autocast, fit

Module = TypeVar("Module", bound=nn.Module)


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


def train_vae(
    autoencoder: AutoencoderKL,
    photographs: Photographs,
    recipe: VAERecipe,
    judges: list[LPIPS],
    out: Path,
    device: torch.device,
    report: Callable[[str], None] = print,
) -> None:
    """Trains encoder and decoder together, in place; then sets the scaling factor so that latents have unit variance."""
    codec = LatentCodec(autoencoder).to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    generator = np.random.default_rng(recipe.seed)
    torch.manual_seed(recipe.seed)

    def loss(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        image = to_tensor(photographs.crops(recipe.batch, recipe.crop, generator)[0], device)
        with autocast(device, recipe.schedule.precision):
            mean, logvar = codec.moments(image)
            logvar = logvar.clamp(-12, 4)
            latent = mean + (0.5 * logvar).exp() * torch.randn_like(mean)
            decoded = codec.decode(latent * codec.scaling).float()
            mse = (decoded - image).square().mean()
            perceptual = torch.stack([judge(decoded, image).mean() for judge in judges]).mean()
        kl = kl_divergence(mean.float(), logvar.float()).mean() / (3 * recipe.crop**2)
        figures = {"psnr": float(-10 * mse.detach().log10()), "lpips": float(perceptual.detach()), "kl": float(kl.detach())}
        return mse + recipe.perceptual * perceptual + recipe.kl * kl, figures

    fit({"vae": codec}, loss, generator, recipe.schedule, out, "vae", report=report)
    with torch.no_grad():
        means = [codec.moments(to_tensor(photographs.crops(32, recipe.crop, generator)[0], device))[0] for _ in range(8)]
        autoencoder.register_to_config(scaling_factor=float(1 / torch.cat(means).std()))
    codec.eval()


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
    half = nn.ModuleDict({"decoder": codec.autoencoder.decoder, "post_quant_conv": codec.autoencoder.post_quant_conv})
    return half.requires_grad_(True).train()


def train_decoder(
    codec: LatentCodec,
    latents: Latents,
    recipe: DecoderRecipe,
    judges: list[LPIPS],
    out: Path,
    device: torch.device,
    report: Callable[[str], None] = print,
) -> None:
    """Trains the decoder in place."""
    codec.to(device, memory_format=torch.channels_last).requires_grad_(False)  # type: ignore[call-overload]
    decoder = decoder_of(codec)
    generator = np.random.default_rng(recipe.seed)
    torch.manual_seed(recipe.seed)

    def loss(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        clean, pixels, _ = latents.crops(recipe.batch, recipe.crop, generator)
        image = to_tensor(pixels, device)
        sigma = recipe.noise * torch.rand(recipe.batch, 1, 1, 1)
        with autocast(device, recipe.schedule.precision):
            decoded = codec.decode((clean + sigma * torch.randn_like(clean)).to(device, memory_format=torch.channels_last)).float()
            mse = (decoded - image).square().mean()
            perceptual = torch.stack([judge(decoded, image).mean() for judge in judges]).mean()
        return mse + recipe.perceptual * perceptual, {
            "psnr": float(-10 * mse.detach().log10()),
            "lpips": float(perceptual.detach()),
        }

    fit({"decoder": decoder}, loss, generator, recipe.schedule, out, "decoder", report=report)
    codec.eval().requires_grad_(False)


def frozen(module: Module) -> Module:
    """The module in evaluation mode, without gradients for its parameters."""
    return module.eval().requires_grad_(False)
