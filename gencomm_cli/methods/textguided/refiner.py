"""textguided's own stages: the JSCC alone, then control module and JSCC over the frozen UNet (section III-D)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers.models import UNet2DConditionModel
from torch import Tensor, nn

from gencomm_cli.channels.equalisers import effective_snr_db
from gencomm_cli.diffusion.schedule import sampling_steps, scaled_linear
from gencomm_cli.errors import InputError
from gencomm_cli.methods.options import Domain
from gencomm_cli.methods.textguided.method import (
    StartTable,
    clean_from_noise,
    clean_from_u,
    diffuse,
    diffusion_loss,
    residual_weight,
    sample,
)
from gencomm_cli.methods.textguided.options import Parameterization
from gencomm_cli.metrics.efficientnet_lite import EfficientNetLite
from gencomm_cli.metrics.lpips import LPIPS
from gencomm_cli.networks.coarse import CoarseHead
from gencomm_cli.networks.control import LatentControlNet
from gencomm_cli.networks.controlled import controlled, csi_features
from gencomm_cli.networks.klt_jscc import KLTJSCC, FieldCode
from gencomm_cli.networks.text import TextEncoder
from gencomm_cli.networks.vae import LatentCodec
from gencomm_cli.training.channel import ChannelDraw, SentRecipe, awgn, send
from gencomm_cli.training.critic import critic_of
from gencomm_cli.training.data import to_tensor
from gencomm_cli.training.latent_space import decoder_of
from gencomm_cli.training.latents import Latents
from gencomm_cli.training.linear_start import start_code
from gencomm_cli.training.loop import autocast
from gencomm_cli.training.losses import fold_pattern, perceptual_loss, psnr
from gencomm_cli.training.parallel import rows
from gencomm_cli.training.stage import Stage, frozen, trained

STEPS = 5
"""Steps of the sampler that stage 2 trains through."""

SHOWN_SNR_DB = 10.0
"""How the pictures of the sheets are sent."""


@dataclass(frozen=True)
class JSCCRecipe(SentRecipe):
    """``latent`` · √MSE(z, z_c) [+ ``pixel`` · √MSE(s, s_c) + ``perceptual`` · LPIPS(s, s_c)], with s_c of the coarse head.

    Roots of each sample's error: of the errors themselves low rates and SNRs would be nearly all. The first is that of the second
    term of eqs. 18 and 19. Not in the paper, whose stage 1 starts without it.

    Attributes:
        emphasis: an error in a channel of the latent counts as the power ``emphasis`` of what it does to the picture; 0: all alike.
        shown: side in pixels of the piece of each picture that LPIPS sees.
    """

    batch: int = 16
    crop: int = 24
    latent: float = 1.0
    pixel: float = 0.0
    perceptual: float = 0.0
    emphasis: float = 0.0
    shown: int = 128
    seed: int = 2


@dataclass(frozen=True)
class RefinerRecipe(SentRecipe):
    """L_1 = E‖u − û‖² + λ_D MSE(z, z_c) (eq. 18); L_2 = MSE(z, z̃_0) + λ_D MSE(z, z_c) + λ_M MSE(s, s̃) + λ_L LPIPS(s, s̃) (eq. 19).

    The first term of L_2 is ours where ``path`` is set: see :func:`refiner_stage`. LPIPS is the mean over two backbones.

    Attributes:
        diffusion: weight of the first term, 1 in the paper. latent, pixel, perceptual: λ_D, λ_M, λ_L; stage 1 has λ_M = λ_L = 0.
            ``coarse``, ``coarse_perceptual``, ``grid``, ``critic``, ``path`` and ``decoder`` are not in the paper.
        path: take L_2 at the end of the sampler's whole path; false: of one prediction at a random t ≤ N_s, as in the paper.
        parameterization: what the network predicts: u, or the paper's ε.
        coarse, coarse_perceptual: weights of MSE and LPIPS of (s, D(z_c)) on a quarter of the batch, so that the coarse image stays
            a good picture too.
        decoder: train the VAE's decoder along. The paper freezes it; a small decoder that saw an hour's training gains from meeting
            the latents it will have to decode. The same terms on clean latents (another quarter) keep it a decoder of the VAE.
        grid: weight of the fold's own pattern in s̃ − s (see :func:`~gencomm_cli.training.losses.fold_pattern`).
        critic: weight of a hinge loss on s̃ beside the coarse picture, against a critic that learns along: MSE and LPIPS alone end
            in the mean of what the picture may be. It counts once a tenth of the stage is over, the critic's own from the start.
        through: how many of the path's last steps gradients go through.
        drop: share of prompts replaced by the empty one.
        other_starts: share of the batches whose N_s is uniform in 150 … 600 instead of the CBR's: not in the paper.
    """

    crop: int = 16
    diffusion: float = 1.0
    latent: float = 1.0
    pixel: float = 0.0
    perceptual: float = 0.0
    coarse: float = 0.0
    coarse_perceptual: float = 0.0
    grid: float = 0.0
    critic: float = 0.0
    path: bool = True
    through: int = STEPS
    decoder: bool = False
    drop: float = 0.1
    other_starts: float = 0.3
    parameterization: Parameterization = "u"
    seed: int = 3


def through_channel(
    jscc: FieldCode, field: Tensor, image: Tensor, cbr: float, channel: ChannelDraw
) -> tuple[Tensor, Tensor, Tensor]:
    """Sends fields [B, C, H, W] of images [B, 3, …]: what is decoded, reliabilities [B, k], block gains [B]."""
    size = (field.shape[2], field.shape[3])
    symbols = jscc.encode(field, jscc.symbols(round(cbr * image[0].numel()), size), channel.tx_snr_db, image)
    equalised, reliability, gain = send(symbols, channel)
    return jscc.decode(equalised, reliability, size, channel.snr_db, channel.tx_snr_db).float(), reliability, gain


def jscc_stage(
    jscc: FieldCode,
    codec: LatentCodec,
    latents: Latents,
    recipe: JSCCRecipe,
    generator: np.random.Generator,
    device: torch.device,
    *,
    domain: Domain = "latent",
    linear: bool = True,
    coarse: CoarseHead | None = None,
    backbones: Sequence[LPIPS] = (),
) -> Stage:
    """Over random channels and rates, on latents or on pixels; ``linear`` sets code and coarse head to the linear optimum first.

    Raises:
        InputError: the recipe wants pictures, and there is no coarse head.
    """
    if coarse is None and (recipe.pixel or recipe.perceptual or recipe.emphasis):
        raise InputError("--config: jscc.recipe: pixel, perceptual and emphasis are of the coarse head's picture; give jscc.coarse")

    def draw_fields(count: int) -> tuple[Tensor, Tensor]:
        clean, pixels, *_ = latents.crops(count, recipe.crop, generator)
        image = to_tensor(pixels, torch.device("cpu"))
        return (clean if domain == "latent" else image).contiguous(), image

    start_code(jscc, coarse, *draw_fields(2000), emphasis=recipe.emphasis, linear=linear)
    networks: dict[str, nn.Module] = {"jscc": trained(jscc, device, channels_last=isinstance(jscc, KLTJSCC))}
    counts = torch.ones((), device=device)
    if coarse is not None:
        networks["coarse"] = trained(coarse, device)
        counts = coarse.importance().pow(recipe.emphasis)[:, None, None]
        counts = counts / counts.mean()

    def loss(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        clean, image = (each.to(device) for each in draw_fields(recipe.batch))
        channel, cbr = recipe.draw(generator, device)
        with autocast(device, recipe.schedule.precision):
            z_c, _, _ = through_channel(jscc, clean, image, cbr, channel)
            error = (z_c - clean).square().mean((1, 2, 3))
            total = recipe.latent * root(counts * (z_c - clean).square())
            figures = {"latent": float(error.mean().detach())}
            if coarse is not None:
                picture = coarse(z_c).float()
                squared = (picture - image).square()
                total, figures["psnr"] = total + recipe.pixel * root(squared), psnr(squared.mean())
                if recipe.perceptual:
                    perceptual = perceptual_loss(backbones, picture, image, generator, recipe.shown)
                    total, figures["lpips"] = total + recipe.perceptual * perceptual, float(perceptual.detach())
        reference = channel.snr_db.sub(10).abs() < 3
        shown = cbr == 0.0033 and bool(reference.any())
        return total, figures | {"at10dB": float(error[reference].mean().detach()) * 2.5 if shown else 0.0}

    def show(image: Tensor) -> Tensor:
        field = codec.encode(image) if domain == "latent" else image
        z_c, _, _ = through_channel(jscc, field, image, recipe.shown_cbr, awgn(len(image), SHOWN_SNR_DB, device))
        return (coarse or codec.decode)(z_c) if domain == "latent" else z_c

    return Stage(networks, loss, show=show)


def root(squared: Tensor) -> Tensor:
    """Mean over samples of the root of each one's mean; a little more than zero for none."""
    return (squared.mean((1, 2, 3)) + 1e-6).sqrt().mean()


def refiner_stage(
    control: LatentControlNet,
    jscc: FieldCode,
    unet: UNet2DConditionModel,
    codec: LatentCodec,
    text: TextEncoder,
    latents: Latents,
    recipe: RefinerRecipe,
    backbones: Sequence[LPIPS],
    generator: np.random.Generator,
    device: torch.device,
    *,
    domain: Domain = "latent",
    head: CoarseHead | None = None,
    features: EfficientNetLite | None = None,
) -> Stage:
    """Control module, JSCC and coarse head (and the VAE's decoder, if asked); UNet, encoder and text encoder stay frozen.

    L_1 (eq. 18) where λ_M = λ_L = 0, which is stage 1; else L_2 (eq. 19), stage 2.

    Stage 1 draws t uniformly in 1 … N_s. Stage 2 runs the whole sampler (``path``), ``STEPS`` steps or fewer, and takes the losses
    on what it ends in, with the gradient through all of its steps: one prediction at a random t, as in the paper, teaches neither
    the states that the sampler meets nor, through the little that the last step changes, the encoder. Its diffusion term is then
    the error of z̃_0.

    Args:
        features: what the recipe's critic looks through.
    """
    alpha_bar = scaled_linear().float().to(device)
    refining = recipe.pixel > 0 or recipe.perceptual > 0
    u_is_predicted = recipe.parameterization == "u"
    if refining and recipe.path and not u_is_predicted:
        raise InputError('--config: an ε-prediction has no ẑ_0 at t = N_s, where the path starts; use u, or "path": false')
    for module in (unet, codec):
        frozen(module).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    networks: dict[str, nn.Module] = {"control": trained(control, device), "jscc": trained(jscc, device, channels_last=False)}
    if head is not None:
        networks["coarse"] = trained(head, device)
    critic = critic_of(features, device) if recipe.critic else None
    if critic is not None:
        networks["critic"] = critic
    if recipe.decoder:
        networks["decoder"] = decoder_of(codec)

    def received(
        field: Tensor, image: Tensor, captions: list[str], channel: ChannelDraw, cbr: float, starts: Tensor
    ) -> tuple[Tensor, Callable[[Tensor, Tensor], Tensor]]:
        """z_c, and the network's prediction at (z_t, t), of fields that were sent with these captions."""
        decoded, reliability, gain = through_channel(jscc, field, image, cbr, channel)
        coarse = decoded if domain == "latent" else codec.encode(decoded.clamp(0, 1)).float()
        with torch.no_grad():
            prompt = text(captions)
        csi = csi_features(effective_snr_db(reliability.mean(1)), starts, gain)
        return coarse, lambda z, t: controlled(unet, control, z, t, prompt, coarse, csi).float()

    def loss(_: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        clean, pixels, captions = latents.crops(recipe.batch, recipe.crop, generator)[:3]
        clean, image = clean.to(device), to_tensor(pixels, device)
        channel, cbr = recipe.draw(generator, device)
        start = StartTable()(cbr) if generator.random() < 1 - recipe.other_starts else int(generator.integers(150, 601))
        starts = torch.full((recipe.batch,), start, device=device)
        dropped = rows(generator.random, recipe.batch) < recipe.drop
        captions = ["" if drop else caption for drop, caption in zip(dropped, captions, strict=True)]
        with autocast(device, recipe.schedule.precision):
            field = clean if domain == "latent" else image
            coarse, predict = received(field, image, captions, channel, cbr, starts)
            noise = torch.randn_like(clean)
            if refining and recipe.path:
                count = STEPS if generator.random() < 0.6 else int(generator.integers(1, STEPS))
                steps = sampling_steps(start, count)

                def stepped(z: Tensor, t: int) -> Tensor:
                    with torch.set_grad_enabled(t in steps[-recipe.through - 1 :]):
                        return predict(z, torch.full_like(starts, t))

                z = sample(coarse, noise, steps, alpha_bar, stepped)
                diffusion = (z - clean).square().mean()  # in place of the first term of eq. 19
            else:
                last = start if u_is_predicted or not refining else start - 1  # eq. 9 holds below N_s
                t = torch.from_numpy(rows(lambda n: generator.integers(1, last + 1, n), recipe.batch)).to(device)
                z_t, u = diffuse(clean, coarse, noise, t, starts, alpha_bar)
                predicted = predict(z_t, t)
                diffusion = diffusion_loss(u if u_is_predicted else noise, predicted)
                a = alpha_bar[t].view(-1, 1, 1, 1)
                gamma = residual_weight(alpha_bar, start)
                z = clean_from_u(z_t, predicted, a) if u_is_predicted else clean_from_noise(z_t, coarse, predicted, a, gamma)  # ẑ_0
            latent = (coarse - clean).square().mean()
            total = recipe.diffusion * diffusion + recipe.latent * latent  # eq. 18
            figures = {"diffusion": float(diffusion.detach()), "latent": float(latent.detach())}
            if refining:
                quarter = max(1, recipe.batch // 4)
                fields = [z, *([clean[-quarter:]] if recipe.decoder else []), *([coarse[:quarter]] if head is None else [])]
                pictures = list(codec.decode(torch.cat(fields)).float().split([len(field) for field in fields]))
                coarse_picture = pictures.pop() if head is None else head(coarse[:quarter]).float()
                pairs = list(zip(pictures, [image, image[-quarter:]], strict=False))
                # The other terms of eq. 19; the first pair is (s̃, s).
                mse = torch.stack([(a - b).square().mean() for a, b in pairs])
                perceptual = torch.stack([perceptual_loss(backbones, a, b, generator) for a, b in pairs])
                coarse_mse = (coarse_picture - image[:quarter]).square().mean()
                total = total + recipe.pixel * mse.mean() + recipe.perceptual * perceptual.mean() + recipe.coarse * coarse_mse
                if recipe.coarse_perceptual:
                    coarse_lpips = perceptual_loss(backbones, coarse_picture, image[:quarter], generator)
                    total = total + recipe.coarse_perceptual * coarse_lpips
                if recipe.grid and codec.fold > 1:
                    pattern = torch.stack([fold_pattern(a - b, codec.fold) for a, b in pairs]).mean()
                    total = total + recipe.grid * pattern
                    figures["grid"] = float(pattern.detach())
                if critic is not None:
                    with torch.no_grad():
                        seen = (codec.decode if head is None else head)(coarse).float()
                    told_apart, found = critic.loss(image, pictures[0], seen, generator, progress)
                    total, figures = total + recipe.critic * told_apart, figures | found
                figures |= {"psnr": psnr(mse[0]), "lpips": float(perceptual[0].detach()), "coarse_psnr": psnr(coarse_mse)}
        return total, figures

    def show(image: Tensor) -> Tensor:
        start, channel = StartTable()(recipe.shown_cbr), awgn(len(image), SHOWN_SNR_DB, device)
        starts = torch.full((len(image),), start, device=device)
        field = codec.encode(image) if domain == "latent" else image
        coarse, predict = received(field, image, [""] * len(image), channel, recipe.shown_cbr, starts)
        z = sample(
            coarse, torch.randn_like(coarse), sampling_steps(start, STEPS), alpha_bar,
            lambda z, t: predict(z, torch.full_like(starts, t)), parameterization=recipe.parameterization,
        )  # fmt: skip
        return codec.decode(z)

    return Stage(networks, loss, show=show, through=(unet, codec))
