"""Stage 0: the autoencoder around PCA, whose latent space methods share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gencomm_cli.metrics.lpips import LPIPS
from gencomm_cli.networks.autoencoder import Autoencoder
from gencomm_cli.training.data import Photographs, to_tensor
from gencomm_cli.training.loop import Schedule, autocast
from gencomm_cli.training.losses import psnr, rolled
from gencomm_cli.training.stage import Stage, trained


@dataclass(frozen=True)
class AutoencoderRecipe:
    """Loss = ``pixel`` · MSE + mean LPIPS after a random roll, on random crops.

    Attributes:
        noise: standard deviation of what is added to the latent, as a share of the latent's own in each channel: no channel gains
            by growing, and none can hide what a receiver cannot know.
        scales: photographs are scaled by a factor drawn log-uniformly from this range, half of them not at all.
    """

    schedule: Schedule
    batch: int = 16
    crop: int = 128
    pixel: float = 25.0
    noise: float = 0.05
    scales: tuple[float, float] = (0.6, 1.5)
    seed: int = 0


def autoencoder_stage(
    codec: Autoencoder,
    photographs: Photographs,
    recipe: AutoencoderRecipe,
    backbones: Sequence[LPIPS],
    generator: np.random.Generator,
    device: torch.device,
    *,
    linear: bool = True,
) -> Stage:
    """From PCA on, unless ``linear`` is false; then shift and scale are set so that latents have zero mean and unit variance."""
    trained(codec, device)
    if linear:
        f, draw = codec.factor, np.random.default_rng(recipe.seed + 1)
        crops = to_tensor(photographs.crops(2048, 8 * f, draw, recipe.scales)[0], torch.device("cpu"))
        codec.start(crops.unfold(2, f, f).unfold(3, f, f).permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, f, f).to(device))

    def loss(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        image = to_tensor(photographs.crops(recipe.batch, recipe.crop, generator, recipe.scales)[0], device)
        with autocast(device, recipe.schedule.precision):
            latent = codec.encode(image)
            deviation = latent.float().std((0, 2, 3), keepdim=True)
            decoded = codec.decode(latent + recipe.noise * deviation * torch.randn_like(latent)).float()
            mse = (decoded - image).square().mean()
            a, b = rolled(decoded, image, generator)
            perceptual = [lpips(a, b).mean() for lpips in backbones]
        figures = {"psnr": psnr(mse), "lowest_std": float(deviation.detach().min())}
        figures |= {f"lpips_{n}": float(p.detach()) for n, p in enumerate(perceptual)}
        return recipe.pixel * mse + torch.stack(perceptual).mean(), figures

    @torch.no_grad()
    def normalise() -> None:
        crops = to_tensor(photographs.crops(512, recipe.crop, generator, recipe.scales)[0], device)
        codec.normalise(torch.cat([codec.encode(some).float() for some in crops.split(32)]))

    return Stage({"autoencoder": codec}, loss, show=lambda image: codec.decode(codec.encode(image)), finish=normalise)
