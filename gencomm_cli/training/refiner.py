"""textguided's two training stages: control module and JSCC over the frozen UNet (paper 000, section III-D)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.models import UNet2DConditionModel
from torch import Tensor, nn

from gencomm_cli.channels.equalisers import effective_snr_db
from gencomm_cli.diffusion.schedule import sampling_steps, scaled_linear
from gencomm_cli.errors import InputError
from gencomm_cli.methods.textguided.method import StartTable, diffuse, sample
from gencomm_cli.methods.textguided.options import Parameterization
from gencomm_cli.metrics.lpips import LPIPS
from gencomm_cli.networks.control import LatentControlNet, controlled, csi_features
from gencomm_cli.networks.rate_adaptive import RateAdaptiveJSCC
from gencomm_cli.networks.text import TextEncoder
from gencomm_cli.networks.vae import Domain, LatentCodec
from gencomm_cli.training.air import draw, draw_cbr
from gencomm_cli.training.data import to_tensor
from gencomm_cli.training.jscc import through_air
from gencomm_cli.training.latent_space import decoder_of
from gencomm_cli.training.latents import Latents
from gencomm_cli.training.loop import Schedule, autocast, fit
from gencomm_cli.training.parallel import rows

STEPS = 5
"""Steps of the sampler that stage 2 trains through."""


@dataclass(frozen=True)
class RefinerRecipe:
    """L = E‖u − û‖² + λ_D MSE(z, z_c) [+ λ_M MSE(s, s̃) + λ_L LPIPS(s, s̃)] (eqs. 18, 19).

    Attributes:
        diffusion, latent, pixel, perceptual: weights of the terms; ``pixel`` = ``perceptual`` = 0 is stage 1.
        parameterization: what the network predicts: u, or the paper's ε.
        coarse: weight of MSE(s, D(z_c)) on a quarter of the batch, so that the coarse image stays a good picture too.
        decoder: train the VAE's decoder along. The paper freezes it; a small decoder that saw an hour's training gains from meeting
            the latents it will have to decode. The same terms on clean latents (another quarter) keep it a decoder of the VAE.
        grid: weight of the fold's own pattern in s̃ − s (see ``fold_pattern``).
        drop: share of prompts replaced by the empty one.
    """

    schedule: Schedule
    batch: int = 8
    crop: int = 16
    diffusion: float = 1.0
    latent: float = 1.0
    pixel: float = 0.0
    perceptual: float = 0.0
    coarse: float = 0.0
    grid: float = 0.0
    decoder: bool = False
    drop: float = 0.1
    parameterization: Parameterization = "u"
    seed: int = 3


def fold_pattern(error: Tensor, fold: int, cells: int = 8) -> Tensor:
    """Power of the part of an error [B, C, H, W] that repeats with the fold's period over cells × cells folds.

    Each of the fold² pixel phases is averaged over such a neighbourhood; what differs between the phases' means is the net that a
    small folded decoder lays over flat areas, which neither MSE nor LPIPS minds. Zero for a fold of 1.
    """
    phases = F.avg_pool2d(F.pixel_unshuffle(error, fold), cells).unflatten(1, (error.shape[1], fold**2))
    return (phases - phases.mean(2, keepdim=True)).square().mean()


def train_refiner(
    stage: str,
    control: LatentControlNet,
    jscc: RateAdaptiveJSCC,
    unet: UNet2DConditionModel,
    codec: LatentCodec,
    text: TextEncoder,
    latents: Latents,
    recipe: RefinerRecipe,
    judges: list[LPIPS],
    out: Path,
    device: torch.device,
    report: Callable[[str], None] = print,
    *,
    domain: Domain = "latent",
) -> None:
    """Trains control module and JSCC (and the VAE's decoder, if asked) in place; UNet, encoder and text encoder stay frozen.

    Stage 1 draws t uniformly in 1 … N_s. Stage 2 runs the whole sampler, ``STEPS`` steps or fewer, and takes the losses on what it
    ends in, with the gradient through all of its steps: one prediction at a random t would teach neither the states that the
    sampler meets nor, through the little that the last step changes, the encoder. Its diffusion term is the error of z̃_0.
    """
    alpha_bar = scaled_linear().float().to(device)
    generator = np.random.default_rng(recipe.seed)
    torch.manual_seed(recipe.seed)
    refining = recipe.pixel > 0 or recipe.perceptual > 0
    if refining and recipe.parameterization == "paper":
        raise InputError("parameterization paper: an ε-prediction has no ẑ_0 at t = N_s, where stage 2 starts; use u")
    for module in (control, unet, codec):
        module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    jscc.to(device)

    def loss(_: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        clean, pixels, captions = latents.crops(recipe.batch, recipe.crop, generator)
        clean, image = clean.to(device), to_tensor(pixels, device)
        air, cbr = draw(recipe.batch, generator, device), draw_cbr(generator)
        start = StartTable()(cbr) if generator.random() < 0.7 else int(generator.integers(150, 601))
        starts = torch.full((recipe.batch,), start, device=device)
        dropped = rows(generator.random, recipe.batch) < recipe.drop
        captions = ["" if drop else caption for drop, caption in zip(dropped, captions, strict=True)]
        with autocast(device, recipe.schedule.precision):
            field = clean if domain == "latent" else image
            decoded, trust, gain = through_air(jscc, field, 3 * pixels[0, :, :, 0].size, cbr, air)
            coarse = decoded if domain == "latent" else codec.encode(decoded.clamp(0, 1)).float()
            with torch.no_grad():
                prompt = text(captions)
            csi = csi_features(effective_snr_db(trust.mean(1)), starts, gain)

            def predict(z: Tensor, t: Tensor) -> Tensor:
                return controlled(unet, control, z, t, prompt, coarse, csi).float()

            noise = torch.randn_like(clean)
            if refining:
                count = STEPS if generator.random() < 0.6 else int(generator.integers(1, STEPS))
                steps = sampling_steps(start, count)
                z = sample(coarse, noise, steps, alpha_bar, lambda z, t: predict(z, torch.full_like(starts, t)))
                diffusion = (z - clean).square().mean()
            else:
                t = torch.from_numpy(rows(lambda n: generator.integers(1, start + 1, n), recipe.batch)).to(device)
                z, target = diffuse(clean, coarse, noise, t, starts, alpha_bar)
                if recipe.parameterization == "paper":
                    target = noise
                diffusion = (predict(z, t) - target).square().mean()
            latent = (coarse - clean).square().mean()
            total = recipe.diffusion * diffusion + recipe.latent * latent
            figures = {"diffusion": float(diffusion.detach()), "latent": float(latent.detach())}
            if refining:
                quarter = max(1, recipe.batch // 4)
                fields = [z, coarse[:quarter]] + ([clean[-quarter:]] if recipe.decoder else [])
                pictures = codec.decode(torch.cat(fields)).float().split([len(field) for field in fields])
                seen = [pictures[0], *pictures[2:]]
                wanted = [image, image[-quarter:]][: len(seen)]
                mse = torch.stack([(a - b).square().mean() for a, b in zip(seen, wanted, strict=True)])
                perceptual = torch.stack(
                    [judge(a, b).mean() for a, b in zip(seen, wanted, strict=True) for judge in judges]
                ).view(len(seen), -1).mean(1)  # fmt: skip
                coarse_mse = (pictures[1] - image[:quarter]).square().mean()
                total = total + recipe.pixel * mse.mean() + recipe.perceptual * perceptual.mean() + recipe.coarse * coarse_mse
                if recipe.grid and codec.fold > 1:
                    pattern = torch.stack([fold_pattern(a - b, codec.fold) for a, b in zip(seen, wanted, strict=True)]).mean()
                    total = total + recipe.grid * pattern
                    figures["grid"] = float(pattern.detach())
                figures |= {"psnr": float(-10 * mse[0].detach().log10()), "lpips": float(perceptual[0].detach())}
                figures["coarse_psnr"] = float(-10 * coarse_mse.detach().log10())
        return total, figures

    control.train()
    jscc.train()
    modules: dict[str, nn.Module] = {"control": control, "jscc": jscc}
    if recipe.decoder:
        modules["decoder"] = decoder_of(codec)
    fit(modules, loss, generator, recipe.schedule, out, stage, report=report)
    control.eval()
    jscc.eval()
    codec.eval().requires_grad_(False)
