"""LRISC's recipe: Algorithm 1 of the paper in four stages, a fifth against a critic; then the tables that code the rate indices,
and the preset folder.

transform   stage 1 (lines 1 … 10): g_e, h_e, h_d, p(y), the ladder of contexts, g_s and the U-Net, no channel
fixed       stage 2 (lines 11 … 17): f_e, f_d at 10 dB, without the SNR-adaptive modules
adaptive    stage 2 (the same lines): f_e, f_d whole, at every SNR
joint       stage 3 (lines 18 … 23): everything, but for the linear optimum that transform and code started from
rollout     not in the paper, and only where the recipe has it: the same once more without x̄_0, and beside it what the sampler ends
            in, by what a critic and the statistics of its textures say alone: a regression would teach the U-Net to ignore x_n

The loss is eq. 11 in every stage. In ``transform``, ``fixed`` and ``adaptive`` nano trains by the coarse image alone (``refined``
is 0): of eq. 11 there is then neither x̂_0 nor x̄_0, for the sake of time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from gencomm_cli.diffusion.cosine import STEPS, cosine_alpha_bar
from gencomm_cli.diffusion.steps import noised, signal_to_noise
from gencomm_cli.errors import InputError
from gencomm_cli.methods.lrisc.method import sample, visited
from gencomm_cli.metrics.efficientnet_lite import EfficientNetLite
from gencomm_cli.metrics.lpips import LPIPS
from gencomm_cli.networks.conditional_unet import ConditionalUNet
from gencomm_cli.networks.entropy import bits, gaussian_likelihood, noisy
from gencomm_cli.networks.klt_latent import KLTLatentJSCC
from gencomm_cli.networks.layers import zeroed
from gencomm_cli.networks.linear_code import pilots_for, size_of, sized
from gencomm_cli.networks.ntscc import LatentJSCC, unit_power
from gencomm_cli.networks.ntscc_codec import NTSCC
from gencomm_cli.networks.rate_allocation import GROUPS, Levels, group_means, quantise, solve_beta, spread, uniform
from gencomm_cli.networks.rate_indices import RateTables, estimate
from gencomm_cli.networks.residual_transform import ResidualTransform
from gencomm_cli.networks.residual_unet import ResidualUNet
from gencomm_cli.networks.tensors import to_tensor as padded
from gencomm_cli.networks.transform import NonlinearTransform
from gencomm_cli.presets import find, verify
from gencomm_cli.presets.weights import filled
from gencomm_cli.presets.write import Part, write_preset
from gencomm_cli.training.channel import ChannelDraw, awgn, draw, send
from gencomm_cli.training.critic import critic_of
from gencomm_cli.training.data import Photographs, to_tensor
from gencomm_cli.training.linear_start import token_statistics
from gencomm_cli.training.loop import Schedule, autocast
from gencomm_cli.training.losses import fold_pattern, perceptual_loss
from gencomm_cli.training.parallel import rows
from gencomm_cli.training.stage import Plan, Stage
from gencomm_cli.training.trainer import Report, Trainer, TrainOptions, stage_values

PARTS = {"transform": "NonlinearTransform", "jscc": "LatentJSCC", "unet": "ConditionalUNet"}
"""The networks of a preset, and their classes where the recipe names none."""

SYMBOLS = (1.3, 34.0)
"""Range of the mean number of symbols an embedding, uniform in its logarithm: a little more than CBR 0.0033 … 0.0417 takes."""


@dataclass(frozen=True)
class Recipe:
    """L_RDP (eq. 11): (1 − η) d + η d_p of x̂_0 and as much of x̄_0, and λ bits a pixel; images in [−1, 1].

    x̂_0 is made of the received ẑ, x̄_0 of z + U(−½, ½), which no channel has touched. Without a channel (``transform``) they are
    one, and count once, as in Algorithm 1, line 8. ``fixed`` and ``adaptive`` leave x̄_0 out, which has nothing of what they train,
    and so does ``rollout``.

    Attributes:
        batch: crops a step. pictures: that they make up; those of one picture share rate, power and channel.
        beta: β of eq. 3; None: random rates. uniform, lost: how often a picture's rates are all alike, or its own but unknown to
            the receiver. snr_db, shares, informed: as :func:`~gencomm_cli.training.channel.draw` has them (``fixed``: 10 dB).
        distortion: d is this many times the mean squared error. perceptual: η. rate: λ.
        weights: between which eq. 7's ᾱ/(1 − ᾱ) is held: beyond, only one end of the schedule would be learnt.
        power: n/N is u^power for a uniform u, and what is seen more often counts that much less: the mean is that of eq. 7.
        coarse: weight of d of the coarse image, not squared there. coarse_perceptual: of its d_p, from the share
            ``perceptual_from`` of the stage on. grid: weight of what the error of coarse image, x̂_0 and x̄_0 has in common in all
            embeddings' blocks: where ẑ says little, d_p is pleased by a texture that repeats from block to block.
        refined: share of the crops of which x̂_0 is made, from the share ``refined_from`` of the stage on: until then transform and
            code learn faster alone. bare: share of these of which x̄_0 is.
        latent: weight of the error of ẑ, in units of its rounding step. medians: of the prior's medians. variances: of how unlikely
            x_0 − c is under the U-Net's variances, which learn by nothing else.
        codec: learning rate of transform and code as a share of the U-Net's.
        critic: weight of the hinge loss of what a sampler of ``path`` steps (now and then fewer) ends in, beside the coarse image,
            for the share ``played`` of the crops; its gradient goes through the last two steps. It counts from the tenth of the
            stage on, the critic's own loss from the start. textures: of how unlike the original's the sample's textures are, a
            distance between statistics, no regression: without it the critic is pleased by hatching.
    """

    schedule: Schedule
    batch: int = 8
    crop: int = 128
    pictures: int = 2
    beta: float | None = None
    uniform: float = 0.15
    lost: float = 0.05
    snr_db: tuple[float, float] = (-5.0, 20.0)
    shares: tuple[float, float, float] = (0.5, 0.35, 0.15)
    informed: float = 0.6
    distortion: float = 3.0
    perceptual: float = 0.5
    rate: float = 0.03
    weights: tuple[float, float] = (0.3, 3.0)
    power: float = 1.0
    coarse: float = 1.0
    coarse_perceptual: float = 0.0
    perceptual_from: float = 0.0
    grid: float = 0.0
    refined: float = 1.0
    refined_from: float = 0.0
    bare: float = 1.0
    latent: float = 0.0
    medians: float = 1e-3
    variances: float = 0.1
    codec: float = 1.0
    critic: float = 0.0
    textures: float = 0.0
    path: int = 5
    played: float = 0.5
    seed: int = 5


STAGES = {
    "transform": Plan(Recipe, ("transform", "unet"), pictured=True),
    "fixed": Plan(Recipe, ("jscc",), pictured=True),
    "adaptive": Plan(Recipe, ("jscc",), pictured=True),
    "joint": Plan(Recipe, ("transform", "jscc", "unet"), pictured=True),
    "rollout": Plan(Recipe, ("transform", "jscc", "unet"), pictured=True, watched=True),
}


@dataclass(frozen=True)
class Networks:
    """The three networks of a preset."""

    transform: NonlinearTransform | ResidualTransform
    jscc: LatentJSCC
    unet: ConditionalUNet | ResidualUNet


def draw_levels(
    information: Tensor, pictures: int, generator: np.random.Generator, *, beta: float | None = None, uniform_share: float = 0.15,
    lost_share: float = 0.05,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Levels at the transmitter and at the receiver, int64 [B, rows, columns], for information [B, rows, columns].

    The crops of a picture share β, so that busy ones get more than their share, as busy regions of a photograph do. Without
    ``beta``, β is that of a random rate. The shares are of pictures, see :class:`Recipe`.
    """
    modes = {"adaptive": 1 - uniform_share - lost_share, "uniform": uniform_share, "lost": lost_share}
    sent = []
    believed = []
    by_picture = information.double().cpu().numpy().reshape(pictures, -1, *information.shape[1:])
    drawn = rows(lambda count: [_draw_rate(generator, modes) for _ in range(count)], pictures)
    for crops, (mean, mode, group) in zip(by_picture, drawn, strict=True):
        shape = crops.shape[1:]
        if mode == "uniform":
            levels = np.stack([uniform(max(int(mean * crop.size), crop.size), shape) for crop in crops])
        else:
            grouped = np.stack([group_means(crop, group) for crop in crops])
            chosen = quantise((solve_beta(grouped, mean * grouped.size) if beta is None else beta) * grouped)
            levels = np.stack([spread(crop, group, shape) for crop in chosen])
        sent.append(levels)
        believed.append(np.zeros_like(levels) if mode == "lost" else levels)
    return tuple(torch.from_numpy(np.concatenate(parts)).to(information.device) for parts in (sent, believed))  # type: ignore[return-value]


def _draw_rate(generator: np.random.Generator, modes: Mapping[str, float]) -> tuple[float, str, int]:
    """A picture's mean number of symbols an embedding, its mode, and the side of the groups that share a rate."""
    mean = float(np.exp(generator.uniform(*np.log(SYMBOLS))))
    return mean, str(generator.choice(list(modes), p=list(modes.values()))), int(generator.choice([1, 2, 4]))


def through_channel(jscc: LatentJSCC, z: Tensor, levels: Tensor, believed: Tensor, channel: ChannelDraw) -> Tensor:
    """ẑ of z [B, C, rows, columns], as ``jscc`` has it, through channels of as many pictures, whose crops follow one another."""
    pictures = len(channel.snr_db)
    known, tx_snr_db = jscc.mask(believed), channel.tx_snr_db.repeat_interleave(len(z) // pictures)
    mask = jscc.mask(levels).view(pictures, -1, known.shape[-1])
    symbols = jscc.encode(z, levels, tx_snr_db, pictures).view(mask.shape)
    size = None
    if jscc.piloted:
        symbols, sent = (symbols * mask).flatten(1), mask.flatten(1).sum(1, keepdim=True)
        count = pilots_for(sent)
        scale, pilot = sized(symbols, sent.float(), count.float())
        there = torch.arange(int(count.max()), device=z.device) < count
        equalised, reliability, _ = send(torch.cat([scale * symbols, pilot * there], 1), channel)
        end = symbols.shape[1]
        size = size_of(equalised[:, end:] * there, reliability[:, end:] * there)[:, 0].repeat_interleave(len(z) // pictures)
        equalised, reliability = equalised[:, :end], reliability[:, :end]
    else:
        equalised, reliability, _ = send(unit_power(symbols, mask).flatten(1), channel)
    equalised, reliability = equalised.reshape(known.shape) * known, reliability.reshape(known.shape)
    return jscc.receive(equalised, reliability, believed, tx_snr_db, size, pictures)


class StageLoss:
    """The loss of a stage."""

    def __init__(
        self, networks: Networks, stage: str, recipe: Recipe, photographs: Photographs, backbones: list[LPIPS],
        generator: np.random.Generator, device: torch.device, settings: Mapping[str, Any] | None = None,
        features: EfficientNetLite | None = None,
    ) -> None:  # fmt: skip
        self.networks, self.stage, self.recipe, self.trained = networks, stage, recipe, STAGES[stage].networks
        self.photographs, self.backbones, self.generator, self.device = photographs, backbones, generator, device
        self.spacing = (settings or {}).get("spacing", {})
        self.start_noise = float((settings or {}).get("start_noise", 1.0))
        self.critic = critic_of(features, device) if recipe.critic else None
        self.alpha_bar = cosine_alpha_bar().float().to(device)

    def distortion(self, image: Tensor, other: Tensor, weight: Tensor | float, figures: dict[str, float], name: str) -> Tensor:
        """(1 − η) d (eqs. 9, 11) of images [B, 3, H, W], a mean over them with eq. 7's ``weight`` [B]. ``name``: of the PSNR."""
        error = other.float() - image
        mse = error.square().mean((1, 2, 3))
        figures[name] = float(-10 * (mse.detach().mean() / 4).log10())
        return (1 - self.recipe.perceptual) * self.recipe.distortion * (mse * weight).mean() + self.net(error)

    def norm(self, image: Tensor, coarse: Tensor, figures: dict[str, float]) -> Tensor:
        """(1 − η) d of the coarse image, d the norm itself, as eq. 9 is put in words: squared, the worst channels would drown the
        good ones."""
        mse = (coarse - image).square().mean((1, 2, 3))
        figures["coarse"] = float(-10 * (mse.detach() / 4).log10().mean())
        return (1 - self.recipe.perceptual) * mse.clamp_min(1e-8).sqrt().mean() + self.net(coarse - image)

    def net(self, error: Tensor) -> Tensor:
        """What repeats from block to block, by its weight."""
        factor = self.networks.transform.config.factor
        return self.recipe.grid * fold_pattern(error, factor) if self.recipe.grid else error.new_zeros(())

    def perception(self, image: Tensor, other: Tensor, *, textures: bool = False) -> Tensor:
        """η d_p (eqs. 10, 11), a mean over the batch, by one of the two backbones, at random: their mean costs twice the time."""
        lpips = self.backbones[int(self.generator.integers(len(self.backbones)))]
        made, original = (other.float() + 1) / 2, (image + 1) / 2
        return self.recipe.perceptual * perceptual_loss([lpips], made, original, self.generator, textures=textures)

    def time(self, time: float, x: Tensor) -> Tensor:
        """n/T for every image [B]."""
        return torch.full((len(x),), time, device=self.device)

    def refined(self, image: Tensor, contexts: list[Tensor], coarse: Tensor) -> tuple[Tensor, Tensor]:
        """X_θ(x_n, ẑ, n/T) at random n (Algorithm 1, lines 5 and 7), and eq. 7's weights [B], held between two bounds, over how
        much more often than others each n is drawn."""
        power = self.recipe.power
        u = torch.from_numpy(rows(self.generator.random, len(image))).to(self.device)
        n = (STEPS * u**power).long().clamp_max(STEPS - 1)
        bar = self.alpha_bar[n][:, None, None, None]
        x_n = noised(image, bar, torch.randn_like(image))  # line 5
        weight = signal_to_noise(bar).flatten().clamp(*self.recipe.weights) * (power * u ** (power - 1)).float()
        return self.networks.unet(x_n, n / STEPS, contexts, coarse), weight  # line 7

    def sampled(self, contexts: list[Tensor], coarse: Tensor) -> Tensor:
        """What the sampler (eq. 8) ends in, with gradients through its last two steps."""
        most = self.recipe.path
        count = most if self.generator.random() < 0.6 else int(self.generator.integers(2, most + 1))
        visit = visited(count, **self.spacing)

        def predict(x: Tensor, time: float) -> Tensor:
            with torch.set_grad_enabled(time <= visit[-2] / STEPS):
                return self.networks.unet(x, self.time(time, x), contexts, coarse).float()

        return sample(self.start_noise * torch.randn_like(coarse), visit, self.alpha_bar, predict)

    def told_apart(self, image: Tensor, contexts: list[Tensor], coarse: Tensor, progress: float) -> tuple[Tensor, dict[str, float]]:
        """The hinge losses of the sampler and the critic, who sees pictures beside the coarse one; and the textures' distance."""
        assert self.critic is not None
        coarse, contexts = coarse.detach(), [context.detach() for context in contexts]
        made = self.sampled(contexts, coarse)
        real, drawn, beside = ((picture + 1) / 2 for picture in (image, made, coarse))
        total, figures = self.critic.loss(real, drawn, beside, self.generator, progress)
        total = self.recipe.critic * total
        if self.recipe.textures:
            unlike = self.perception(image, made, textures=True)
            figures["textures"] = float(unlike.detach())
            total = total + self.recipe.textures * unlike
        return total, figures

    def rate(self, z: Tensor, z_noisy: Tensor) -> Tensor:
        """λ [−log2 p(z | y) − log2 p(y)] (eqs. 9, 11) in bits a pixel, and the medians' loss."""
        transform = self.networks.transform
        y = noisy(transform.hyper_encode(z).float())
        mean, scale = (part.float() for part in transform.hyper_decode(y))
        count = bits(gaussian_likelihood(z_noisy, mean, scale)).sum() + bits(transform.prior.likelihood(y)).sum()
        pixels = z[:, 0].numel() * transform.config.factor**2
        return self.recipe.rate * count / pixels + self.recipe.medians * transform.prior.median_loss()

    def __call__(self, step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        """Loss (eq. 11) and figures of one step."""
        recipe, transform, unet = self.recipe, self.networks.transform, self.networks.unet
        image = 2 * to_tensor(self.photographs.crops(recipe.batch, recipe.crop, self.generator)[0], self.device) - 1
        figures: dict[str, float] = {}
        total = torch.zeros((), device=self.device)

        with autocast(self.device, recipe.schedule.precision):
            z = transform.encode(image).float()
            z_noisy = received = noisy(z)  # Algorithm 1, line 6
            if "transform" in self.trained:
                rate = self.rate(z, z_noisy)
                figures["rate"] = float(rate.detach())
                total = total + rate
            if self.stage != "transform":
                received = self.received(z)
                missed = (received[:, : z.shape[1]] - z).square().mean()
                figures["latent"] = float(missed.detach())
                total = total + recipe.latent * missed
            contexts = transform.contexts(received)
            coarse = transform.image(received, contexts).float()
            total = total + recipe.coarse * self.norm(image, coarse, figures)
            if recipe.coarse_perceptual:
                perception = recipe.coarse_perceptual * self.perception(image, coarse)
                figures["coarse_perception"] = float(perception.detach())
                total = total + perception * (progress >= recipe.perceptual_from)
            if (some := round(recipe.refined * len(image))) and progress >= recipe.refined_from:
                if isinstance(unet, ResidualUNet) and "unet" in self.trained:
                    surprise = unet.surprise(image - coarse, contexts)
                    total, figures["surprise"] = total + recipe.variances * surprise, float(surprise.detach())
                x, weight = self.refined(image[:some], [context[:some] for context in contexts], coarse[:some])
                total = total + self.distortion(image[:some], x, weight, figures, "psnr")
                perception = self.perception(image[:some], x)
                total, figures["perception"] = total + perception, float(perception.detach())
                bare = round(recipe.bare * some)
                # x̄_0; in ``transform`` that is what x was, and of what ``fixed`` and ``adaptive`` train it has nothing.
                if bare and self.stage == "joint":
                    clean = transform.contexts(z_noisy[:bare])
                    x, weight = self.refined(image[:bare], clean, transform.image(z_noisy[:bare], clean).float())
                    total = total + self.distortion(image[:bare], x, weight, figures, "bare") + self.perception(image[:bare], x)
            if self.critic is not None:
                some = max(1, round(recipe.played * len(image)))
                loss, found = self.told_apart(image[:some], [context[:some] for context in contexts], coarse[:some], progress)
                total, figures = total + loss, figures | found
        return total, figures

    def show(self, image: Tensor) -> Tensor:
        """What the sampler (eq. 8), or g_s where that is not trained, makes of images [B, 3, H, W] in [0, 1], sent at 10 dB and
        random rates."""
        transform, unet = self.networks.transform, self.networks.unet
        z = transform.encode(2 * image - 1).float()
        if self.stage != "transform":
            levels, _ = draw_levels(transform.information(z).float(), len(z), np.random.default_rng(0))
            z = through_channel(self.networks.jscc, z, levels, levels, awgn(len(z), 10.0, self.device)).float()
        contexts = transform.contexts(z)
        coarse = transform.image(z, contexts).float()
        if not self.recipe.refined:
            return (coarse + 1) / 2
        visit = visited(self.recipe.path, **self.spacing)
        noise = self.start_noise * torch.randn_like(coarse)
        made = sample(noise, visit, self.alpha_bar, lambda x, t: unet(x, self.time(t, x), contexts, coarse))
        return (made + 1) / 2

    def received(self, z: Tensor) -> Tensor:
        """ẑ of z through random channels at random rates (``fixed``: AWGN at 10 dB)."""
        with torch.no_grad():
            information = self.networks.transform.information(z.detach()).float()
        recipe = self.recipe
        levels, believed = draw_levels(
            information, recipe.pictures, self.generator, beta=recipe.beta, uniform_share=recipe.uniform, lost_share=recipe.lost
        )
        channel = draw(recipe.pictures, self.generator, self.device, recipe.snr_db, recipe.shares, recipe.informed)
        if self.stage == "fixed":
            ten = torch.full_like(channel.snr_db, 10.0)
            channel = ChannelDraw(ten, ten, torch.zeros_like(channel.kind))
        return through_channel(self.networks.jscc, z, levels, believed, channel).float()


class LRISCTrainer(Trainer):
    """The networks are built from the recipe and start from the linear optimum where there is one; those that the preset ``base``
    has, all or an imported one's, are ``base``'s in size and weights.

    The recipe's networks may name their ``class`` beside their sizes. ``step``: the unit of a :class:`NonlinearTransform`'s latent;
    without it, that and a :class:`LatentJSCC` start from random weights, as in the paper.
    """

    method = "lrisc"
    needed = frozenset({"networks", "tables"})
    plans = STAGES

    @classmethod
    def expected(cls) -> set[str]:
        return super().expected() - {"rollout"}

    def build(self) -> None:
        sizes: dict[str, dict[str, Any]] = {name: dict(self.config["networks"][name]) for name in PARTS}
        classes = {name: sizes[name].pop("class", usual) for name, usual in PARTS.items()}
        theirs = {} if self.base is None else {name: self.base.components[name] for name in PARTS & self.base.components.keys()}
        if self.base is not None:
            verify(self.base)
            sizes |= {name: dict(component.config) for name, component in theirs.items()}
            classes |= {name: component.class_name for name, component in theirs.items()}
            latent = sizes["transform"].get("channels") or sizes["transform"]["widths"][-1]
            sizes["jscc"] = sizes["jscc"] | {"channels": latent}
        if classes["transform"] == "NonlinearTransform" and not sizes["transform"].get("coarse"):
            raise InputError("--config: networks, transform: makes no coarse image, which decode --coarse shows; add coarse: true")
        for name in PARTS:
            self.make(name, classes[name], sizes[name])
        for name, component in theirs.items():
            filled(partial(self.parts.__getitem__, name), component, torch.device("cpu"))
        self.started = set(theirs)

    def networks(self) -> Networks:
        """The three of them."""
        return Networks(**self.parts)  # type: ignore[arg-type]

    def fields(self, count: int) -> Tensor:
        """Crops to take statistics of: [count, 3, 128, 128] in [−1, 1]."""
        return 2 * to_tensor(self.photographs.crops(count, 128, np.random.default_rng(0))[0], torch.device("cpu")).contiguous() - 1

    @torch.no_grad()
    def start(self, stage: str) -> None:
        """Sets what ``stage`` is the first to train to the linear optimum, unless that started from a preset."""
        networks, step = self.networks(), self.config.get("step")
        transform, jscc, unet = networks.transform, networks.jscc, networks.unet
        if stage == "transform" and "transform" not in self.started:
            if isinstance(transform, ResidualTransform):
                transform.start_linear(*token_statistics(self.fields(800), transform.config.factor))
            elif step is not None:
                transform.start_linear(*token_statistics(self.fields(800), transform.config.factor), step)
        if stage == "transform" and "unet" not in self.started and isinstance(unet, ConditionalUNet) and unet.config.variances:
            zeroed(unet.final_conv[1])
        if stage == "fixed" and "jscc" not in self.started and (step is not None or isinstance(jscc, KLTLatentJSCC)):
            z = torch.cat([transform.encode(part.to(self.device)) for part in self.fields(200).split(20)])
            jscc.start_linear(z.transpose(0, 1).flatten(1).std(1))
            if isinstance(jscc, KLTLatentJSCC):
                fit_variances(jscc, z, transform.information(z))
        used = "unet" in STAGES[stage].networks and stage_values(self.config, stage).get("refined", 1.0) > 0
        if used and isinstance(unet, ResidualUNet) and not unet.last[-1].weight.any():  # type: ignore[operator, union-attr]
            unet.start_linear(self.residuals(stage))

    def residuals(self, stage: str) -> Tensor:
        """x_0 − c of photographs [64, 3, 128, 128], through random channels at random rates where the stage has a channel."""
        networks, generator, made = self.networks(), np.random.default_rng(0), []
        images = self.fields(64).to(self.device)
        for part in images.split(16):
            z = networks.transform.encode(part)
            received = z
            if stage != "transform":
                levels, believed = draw_levels(networks.transform.information(z), 8, generator)
                received = through_channel(networks.jscc, z, levels, believed, draw(8, generator, self.device))
            made.append(networks.transform.image(received, networks.transform.contexts(received)))
        return images - torch.cat(made)

    def stage(self, stage: str, recipe: Recipe, generator: np.random.Generator) -> Stage:
        networks, names = self.networks(), STAGES[stage].networks
        for part in self.parts.values():
            part.to(self.device)
        self.start(stage)
        for name in PARTS:
            of_stage = name in names
            for part in self.parts[name].requires_grad_(of_stage).train(of_stage).modules():
                if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
                    part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if stage == "fixed":
            for module in (networks.jscc.sent_snr, networks.jscc.received_snr):
                module.requires_grad_(False)
        if stage in ("joint", "rollout") and (self.started or self.config.get("step") is not None):
            keep_linear(networks)
        loss = StageLoss(
            networks, stage, recipe, self.photographs, self.perceptual, generator, self.device, self.settings,
            self.features if recipe.critic else None,
        )  # fmt: skip
        slower = {"transform": recipe.codec, "jscc": recipe.codec}
        trained = {name: self.parts[name] for name in names} | ({} if loss.critic is None else {"critic": loss.critic})
        return Stage(trained, loss, slower, loss.show, [part for name, part in self.parts.items() if name not in names])

    def tables(self) -> RateTables:
        """The tables that code the rate indices, from the levels that training photographs get at random rates."""
        generator, networks = np.random.default_rng(0), self.networks()
        codec = NTSCC(networks.transform, networks.jscc, RateTables()).eval()
        grids: dict[int, list[Levels]] = {group: [] for group in GROUPS}
        photographs = generator.permutation(len(self.photographs))[: self.config["tables"]]
        for index in photographs:
            image = self.photographs.image(index)
            with torch.no_grad():
                z = codec.latent(padded(image, codec.multiple, self.device))
            information = codec.information(z, image.shape[:2])
            for group, found in grids.items():
                means = group_means(information, group)
                for _ in range(6):
                    mean = float(np.exp(generator.uniform(*np.log(SYMBOLS))))
                    found.append(quantise(solve_beta(means, mean * means.size) * means))
        for place, group in enumerate(GROUPS):
            codec.tables.frequencies[place] = torch.from_numpy(estimate(grids[group]))
        self.report(f"tables: from {len(photographs)} photographs")
        return codec.tables

    def export(self, models: Path) -> Path:
        """Writes ``models/lrisc/<name>``, and ``<name>-uniform``, the same weights without side symbols: what the allocation is
        worth."""
        parts = {name: self.part(name) for name in PARTS} | {"rates": Part("RateTables", {}, self.tables())}
        made = write_preset(models / self.method / self.config["name"], self.method, parts, self.settings)
        uniform = made.folder.with_name(f"{made.name}-uniform")
        write_preset(uniform, self.method, made.components, self.settings | {"side_share": 0.0})
        return made.folder


@torch.enable_grad()
def fit_variances(jscc: KLTLatentJSCC, z: Tensor, information: Tensor, steps: int = 120, draws: int = 12) -> None:
    """Sets the variances that the code expects of an embedding by its rate to the likeliest for z [N, C, rows, columns], in
    pictures of eight random crops at random rates."""
    generator = np.random.default_rng(0)
    optimizer = torch.optim.Adam(jscc.log_spread.requires_grad_(True).parameters(), 1e-2)
    batches: list[tuple[Tensor, Tensor]] = []
    for _ in range(draws):
        chosen = torch.from_numpy(generator.choice(len(z), min(64, len(z) // 8 * 8), replace=False)).to(z.device)
        levels, _ = draw_levels(information[chosen], len(chosen) // 8, generator)
        batches.append((z[chosen].detach().flatten(2).transpose(1, 2), levels))
    for step in range(steps):
        rows_of_z, levels = batches[step % draws]
        expected = jscc.spread(levels, len(levels) // 8)
        optimizer.zero_grad()
        (expected.log() + (rows_of_z / expected).square() / 2).mean().backward()
        optimizer.step()


def keep_linear(networks: Networks) -> None:
    """Freezes what the linear optimum has become by now, where it is weights: they are small and lie on large inputs, so that steps
    that the networks beside it need would be noise on it. What is zero (g_s of an imported transform) is left to be learnt."""
    transform, jscc, linear = networks.transform, networks.jscc, list[nn.Module]()
    if not isinstance(jscc, KLTLatentJSCC):
        linear += [jscc.scale_in, jscc.scale_out]
    if isinstance(transform, NonlinearTransform) and transform.config.coarse:
        linear += [transform.analysis, transform.synthesis]
    for layer in linear:
        layer.requires_grad_(not cast(Tensor, layer.weight).any())


def open_trainer(options: TrainOptions, report: Report) -> Trainer:
    """The trainer of what is asked for; raises what :func:`gencomm_cli.training.trainer.train` does."""
    return LRISCTrainer(options, report, None if options.start is None else find("lrisc", options.start))
