"""DiffCom's recipes (section IV-A2): each codec by its root mean squared error, the unconditional prior alone.

adjscc, swinjscc   E‖x − D(W⁻¹(W(E(x))))‖, or its square (eq. 1 without L_R, as no rate is learnt), over AWGN and Rayleigh fading,
                   at random rates; never over multipath
prior              E‖x_0 − x̂_0(x_t, t)‖² (eq. 8 for a network that predicts x_0), weighted by noise level, t not uniform, and LPIPS
                   at small t; or as the paper's priors were trained: E‖ε − ε̂(x_t, t)‖², t uniform, and the variational bound for
                   the variance

nano's codecs and its prior start as the best linear ones. NTSCC is LRISC's: its preset is taken as it is. ``paper.json`` has codecs
and prior at the paper's sizes. The paper trains none of them: what its recipe needs beside sizes is from where they were published,
or was chosen here (docs/papers/diffcom.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from gencomm_cli.channels.equalisers import effective_snr_db, mmse, reliability
from gencomm_cli.diffusion.schedule import linear as linear_schedule
from gencomm_cli.diffusion.steps import noised, signal_to_noise
from gencomm_cli.errors import InputError
from gencomm_cli.methods.diffcom.options import preset_of_codec
from gencomm_cli.methods.diffcom.pixel_prior import pixel_prior
from gencomm_cli.methods.diffcom.residual_prior import ResidualPrior
from gencomm_cli.metrics.lpips import LPIPS
from gencomm_cli.networks.entropy import bits, gaussian_likelihood
from gencomm_cli.networks.pixel_codec import PixelCodec
from gencomm_cli.networks.residual_adjscc import ResidualADJSCC
from gencomm_cli.networks.swinjscc import SwinJSCC
from gencomm_cli.presets import Component, find, verify
from gencomm_cli.presets.write import Part, taken, write_preset
from gencomm_cli.training.channel import ChannelDraw, SentRecipe, awgn, block_gains, draw, through
from gencomm_cli.training.data import Photographs, to_tensor
from gencomm_cli.training.linear_start import start_swin, token_statistics
from gencomm_cli.training.loop import Schedule, autocast
from gencomm_cli.training.losses import perceptual_loss
from gencomm_cli.training.parallel import rows
from gencomm_cli.training.stage import Plan, Stage, trained
from gencomm_cli.training.trainer import Report, Trainer, TrainOptions

CODECS = ("adjscc", "swinjscc")


@dataclass(frozen=True)
class CodecRecipe(SentRecipe):
    """Attributes:
    crop: side in pixels. cbr: the rate is log-uniform in it, but 1/48 for two fifths of the batches. squared: L_D is the mean
        squared error, not its root.
    linear: the codec starts as a linear code for 10 dB (SwinJSCC's for CBR 1/48), not from random weights.
    """

    batch: int = 12
    crop: int = 128
    cbr: tuple[float, float] = (1 / 96, 1 / 16)
    shares: tuple[float, float, float] = (0.7, 0.2, 0.1)
    squared: bool = False
    linear: bool = False
    seed: int = 2


@dataclass(frozen=True)
class PriorRecipe:
    """Attributes:
    early: share of the samples whose t is uniform in 1 … ``start``, where HiFi works; the others' in 1 … T.
    gamma: a sample weighs min(ᾱ/(1 − ᾱ), γ): what min-SNR weights of the noise's error make of that of x̂_0 (arXiv:2303.09556).
    perceptual: weight of LPIPS, averaged over both backbones, of x̂_0 where t is at most ``start``; 0: none.
    """

    schedule: Schedule
    batch: int = 16
    crop: int = 128
    early: float = 0.6
    start: int = 300
    gamma: float = 50.0
    perceptual: float = 0.0
    seed: int = 3


@dataclass(frozen=True)
class NoisePriorRecipe:
    """Of a prior that predicts the noise and the reverse step's variance, as guided-diffusion's do.

    Attributes:
    bound: weight of the variational bound in bits a number of the image, all T steps together.
    """

    schedule: Schedule
    batch: int = 16
    crop: int = 256
    bound: float = 1e-3
    seed: int = 3


def through_channel(code: PixelCodec, image: Tensor, cbr: float, channel: ChannelDraw) -> Tensor:
    """x_d of images [B, 3, H, W]: fading is equalised (MMSE), and taken as the AWGN channel of its effective SNR."""
    size = (image.shape[2], image.shape[3])
    sent = code.encode(image, code.symbols(round(cbr * image[0].numel()), size), channel.tx_snr_db)
    received, gain, n0 = through(sent, channel, block_gains(channel))
    each = reliability(gain, n0)
    snr_db = effective_snr_db(each.mean(1))
    equalised: Tensor = mmse(received, gain, n0)  # type: ignore[type-var]
    if isinstance(code, ResidualADJSCC):
        return code.decode(equalised, size, snr_db, each, channel.tx_snr_db).float()
    return code.decode(torch.where(channel.kind[:, None] == 0, received, equalised), size, snr_db).float()


def codec_stage(
    codec: nn.Module, photographs: Photographs, recipe: CodecRecipe, generator: np.random.Generator, device: torch.device
) -> Stage:
    """A codec by eq. 1."""
    trained(codec, device, channels_last=isinstance(codec, ResidualADJSCC))

    def loss(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        image = to_tensor(photographs.crops(recipe.batch, recipe.crop, generator)[0], device)
        channel = draw(recipe.batch, generator, device, recipe.snr_db, recipe.shares, recipe.informed)
        usual = generator.random() < 0.4
        cbr = 1 / 48 if usual else float(np.exp(generator.uniform(*np.log(recipe.cbr))))
        with autocast(device, recipe.schedule.precision):
            error = (through_channel(cast(PixelCodec, codec), image, cbr, channel) - image).square().mean((1, 2, 3))
        shown = (channel.snr_db.sub(10).abs() < 3) & (channel.kind == 0)
        figures = {"at10dB": float(error[shown].mean().detach()) * 2.5 if usual and shown.any() else 0.0}
        return (error if recipe.squared else error.sqrt()).mean(), figures  # squared, the worst channels drown the good ones

    def show(image: Tensor) -> Tensor:
        return through_channel(cast(PixelCodec, codec), image, 1 / 48, awgn(len(image), 10.0, device))

    return Stage({"codec": codec}, loss, show=show)


def prior_stage(
    unet: ResidualPrior,
    photographs: Photographs,
    recipe: PriorRecipe,
    generator: np.random.Generator,
    device: torch.device,
    *,
    backbones: Sequence[LPIPS] = (),
    linear: bool = True,
) -> Stage:
    """The prior by eq. 8, on the noise levels of the samplers' schedule; from the Wiener filter on, unless ``linear`` is false.

    The network predicts x_0; the score at x_t is (√ᾱ_t x̂_0 − x_t)/(1 − ᾱ_t), so that eq. 8 is the error of x̂_0 with the weight
    ᾱ_t/(1 − ᾱ_t)². The weight here grows more slowly, and t is small more often (see :class:`PriorRecipe`).
    """
    alpha_bar = linear_schedule()
    trained(unet, device)
    if linear:
        crops = photographs.crops(1000, recipe.crop, np.random.default_rng(recipe.seed + 1))[0]
        unet.start_linear(2 * to_tensor(crops, device) - 1)

    def loss(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        image = to_tensor(photographs.crops(recipe.batch, recipe.crop, generator)[0], device)
        clean = 2 * image - 1
        last = np.where(rows(generator.random, recipe.batch) < recipe.early, recipe.start, len(alpha_bar) - 1)
        t = torch.from_numpy((1 + rows(generator.random, recipe.batch) * last).astype(np.int64))  # uniform in 1 … last
        a, few = alpha_bar[t].float().to(device), (t <= recipe.start).to(device)
        noisy = noised(clean, a[:, None, None, None], torch.randn_like(clean))  # eq. 5
        with autocast(device, recipe.schedule.precision):
            predicted = unet(noisy, a)
            error = (predicted - clean).square().mean((1, 2, 3))
            total = (error * signal_to_noise(a).clamp_max(recipe.gamma)).mean()
            figures = {"few": float(error[few].mean().detach()) if few.any() else 0.0}
            if recipe.perceptual:
                seen = torch.where(few[:, None, None, None], predicted, clean)
                lpips = perceptual_loss(backbones, (seen + 1) / 2, image, generator)
                total, figures["lpips"] = total + recipe.perceptual * lpips, float(lpips.detach())
        return total, figures

    return Stage({"prior": unet}, loss, show=lambda image: denoised(unet, image, recipe.start))


def noise_prior_stage(
    unet: nn.Module, photographs: Photographs, recipe: NoisePriorRecipe, generator: np.random.Generator, device: torch.device
) -> Stage:
    """The prior by eq. 8 times 1 − ᾱ_t, which is the error of the noise (s_θ = −ε̂/√(1 − ᾱ_t)), t uniform in 1 … T; the variance by
    :func:`variational_bound`, as improved DDPM has both (Nichol & Dhariwal, arXiv:2102.09672)."""
    alpha_bar = linear_schedule()
    last = len(alpha_bar) - 1
    trained(unet, device)

    def loss(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        clean = 2 * to_tensor(photographs.crops(recipe.batch, recipe.crop, generator)[0], device) - 1
        t = torch.from_numpy((1 + rows(generator.random, recipe.batch) * last).astype(np.int64))
        a = alpha_bar[t].to(device)[:, None, None, None]
        noise = torch.randn_like(clean)
        noisy = noised(clean, a, noise).float()  # eq. 5
        with autocast(device, recipe.schedule.precision):
            predicted, v = unet(noisy, (t - 1).to(device)).sample.float().split(3, 1)
        x_0 = ((noisy - (1 - a) ** 0.5 * predicted.detach()) / a**0.5).float()  # eq. 15
        error = (predicted - noise).square().mean()
        bound = variational_bound(clean, x_0, (v + 1) / 2, t, alpha_bar).mean()
        return error + recipe.bound * last * bound, {"noise": float(error.detach()), "bound": float(bound.detach())}

    return Stage({"prior": unet}, loss, show=lambda image: denoised(unet, image, 3 * last // 10))


def variational_bound(clean: Tensor, x_0: Tensor, v: Tensor, t: Tensor, alpha_bar: Tensor) -> Tensor:
    """The t-th term of the bound on −log2 p(x_0), KL(q(x_t−1 | x_t, x_0) ‖ p(x_t−1 | x_t)), of whole grey levels
    at t = 1: a mean over the numbers of an image [B].

    Args:
        clean: images [B, 3, H, W] in [−1, 1]. x_0: x̂_{0|t}, through which no gradient goes. v: the variance's place, see
            :meth:`~gencomm_cli.diffusion.steps.AncestralStep.deviation`. t: 1 … T [B]. alpha_bar: ᾱ_0 … ᾱ_T.
    """
    a, a_next = (alpha_bar[index].to(clean.device)[:, None, None, None] for index in (t.clamp_min(2), t.clamp_min(2) - 1))
    beta = 1 - a / a_next
    least, most = (beta * (1 - a_next) / (1 - a)).log().float(), beta.log().float()  # at t = 1 the least of t = 2
    first = (t == 1).to(clean.device)[:, None, None, None]
    log_variance = v * torch.where(first, (1 - alpha_bar[1]).log().float(), most) + (1 - v) * least
    missed = (a_next**0.5 * beta / (1 - a)).float() * (clean - x_0)
    divergence = (log_variance - least + ((least - log_variance).exp() + missed.square() / log_variance.exp()) - 1) / 2
    levels = bits(gaussian_likelihood(127.5 * clean, 127.5 * x_0, 127.5 * (log_variance / 2).exp()))
    return torch.where(first, levels, divergence / math.log(2)).mean((1, 2, 3))


def denoised(network: nn.Module, image: Tensor, t: int) -> Tensor:
    """x̂_{0|t} of images [B, 3, H, W] in [0, 1] under noise of step t."""
    alpha_bar = linear_schedule()
    noisy = noised(2 * image - 1, float(alpha_bar[t]), torch.randn_like(image))
    return (pixel_prior(network, alpha_bar)(noisy, t)[0] + 1) / 2


STAGES = {
    "adjscc": Plan(CodecRecipe, ("adjscc",)),
    "swinjscc": Plan(CodecRecipe, ("swinjscc",)),
    "prior": Plan(PriorRecipe, ("prior",)),
}


class DiffComTrainer(Trainer):
    """The codecs and the prior of one run; none needs another."""

    method = "diffcom"
    plans = STAGES

    def kind(self, stage: str) -> type[Any]:
        noise = stage == "prior" and not isinstance(self.parts["prior"], ResidualPrior)
        return NoisePriorRecipe if noise else super().kind(stage)

    def build(self) -> None:
        self.taken: set[str] = set()  # from presets
        for name in STAGES:
            self.make(name, self.config[name]["class"], self.config[name]["model"])
        if "prior" in self.stages and self.config["prior"]["recipe"].get("perceptual"):
            _ = self.perceptual  # now: what is missing should not be missed hours later
        if self.options.start is not None:
            self.start_from(self.options.start)

    def start_from(self, base: str) -> None:
        """Takes the prior's weights, and those of every codec that has a preset, from the presets named after ``base``."""
        for name in CODECS:
            try:
                preset = find("diffcom", preset_of_codec(base, name))
            except InputError:
                continue
            verify(preset)
            self.take(name, preset.components["codec"])
            self.take("prior", preset.components["prior"])
            self.taken |= {name, "prior"}

    def start_linear(self, codec: nn.Module) -> None:
        """Sets a codec to the linear code of the training photographs' statistics."""
        fields = to_tensor(self.photographs.crops(1000, 128, np.random.default_rng(0))[0], torch.device("cpu")).contiguous()
        if isinstance(codec, SwinJSCC):
            start_swin(codec, fields, 1 / 48)
        elif isinstance(codec, ResidualADJSCC):
            codec.start_linear(*token_statistics(fields, codec.factor))
        else:
            raise InputError("--config: linear is for ResidualADJSCC and SwinJSCC; leave it out of other codecs")

    def stage(self, stage: str, recipe: Any, generator: np.random.Generator) -> Stage:
        module = self.parts[stage]
        if isinstance(recipe, NoisePriorRecipe):
            return noise_prior_stage(module, self.photographs, recipe, generator, self.device)
        if isinstance(recipe, PriorRecipe):
            assert isinstance(module, ResidualPrior)
            backbones = self.perceptual if recipe.perceptual else ()
            fresh = stage not in self.taken
            return prior_stage(
                module, self.photographs, recipe, generator, self.device, backbones=backbones, linear=fresh
            )  # fmt: skip
        if recipe.linear and stage not in self.taken:
            self.start_linear(module)
        return codec_stage(module, self.photographs, recipe, generator, self.device)

    def export(self, models: Path) -> Path:
        """Writes ``models/diffcom/<name>`` with the first codec, and a preset for each other codec over the same prior.

        A codec that is not trained yet is left out, and NTSCC's where there is no LRISC preset to take it from; exporting again
        adds it. Without a prior there is no preset.
        """
        first = models / self.method / self.config["name"]
        if not self._trained("prior"):
            self.report("no preset yet: it needs the prior; train it with --stages prior --resume")
            return models
        prior = self.part("prior", first)
        for codec in CODECS:
            if self._trained(codec):
                self._write(first, codec, {"codec": self.part(codec), "prior": prior})
            else:
                self.report(f"{codec}: left out (not trained)")
        if (lrisc := self.config.get("ntscc")) is not None:
            try:
                theirs = find("lrisc", lrisc)
            except InputError as error:
                self.report(f"ntscc: left out ({error})")
                return first
            folder = models / "lrisc" / theirs.folder.name
            parts = {name: taken(theirs.components[name], folder) for name in ("transform", "jscc", "rates")}
            self._write(first, "ntscc", parts | {"prior": prior})
        return first

    def _trained(self, name: str) -> bool:
        """Whether a network is more than the random weights it began with."""
        return name in self.taken or (self.out / f"{name}.{name}.safetensors").exists()

    def _write(self, first: Path, codec: str, parts: Mapping[str, Part | Component]) -> None:
        """A codec's preset; what the settings say of one codec holds for that one."""
        settings = dict(self.settings)
        own = settings.pop("codecs", {}).get(codec, {})
        write_preset(first.with_name(preset_of_codec(first.name, codec)), self.method, parts, settings | own)


def open_trainer(options: TrainOptions, report: Report) -> Trainer:
    """The trainer of what is asked for; raises what :func:`gencomm_cli.training.trainer.train` does."""
    return DiffComTrainer(options, report)
