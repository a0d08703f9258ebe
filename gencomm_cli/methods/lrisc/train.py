"""LRISC's recipe: Algorithm 1 of the paper in four stages, a fifth for a small network; then the tables that code the rate indices,
and the preset folder.

transform   stage 1 (lines 1 … 10): g_e, h_e, h_d, p(y), the ladder of contexts, g_s and the U-Net, no channel
fixed       stage 2 (lines 11 … 17): f_e, f_d at 10 dB, without the SNR-adaptive modules
adaptive    stage 2 (the same lines): f_e, f_d whole, at every SNR
joint       stage 3 (lines 18 … 23): everything, but for the linear optimum that transform and code started from
rollout     the same once more without x̄_0, at the states of the sampler's own path: a small U-Net's errors add up along it, and a
            small code does best to send what that U-Net can use

The loss is eq. 11 in every stage. In ``fixed`` and ``adaptive`` nano trains by the coarse image alone (``refined`` is 0): of eq. 11
there is then neither x̂_0 nor x̄_0, for the sake of time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from gencomm_cli.diffusion.cosine import STEPS, cosine_alpha_bar
from gencomm_cli.diffusion.steps import ddim_step, noised, signal_to_noise
from gencomm_cli.methods.lrisc.method import visited
from gencomm_cli.metrics.lpips import LPIPS
from gencomm_cli.networks.conditional_unet import ConditionalUNet
from gencomm_cli.networks.entropy import bits, gaussian_likelihood, noisy
from gencomm_cli.networks.ntscc import LatentJSCC, embedding_snr, unit_power
from gencomm_cli.networks.ntscc_codec import NTSCC
from gencomm_cli.networks.rate_allocation import GROUPS, Levels, group_means, quantise, solve_beta, spread, uniform
from gencomm_cli.networks.rate_indices import RateTables, estimate
from gencomm_cli.networks.tensors import to_tensor as padded
from gencomm_cli.networks.transform import NonlinearTransform
from gencomm_cli.presets import find, verify
from gencomm_cli.presets.weights import filled
from gencomm_cli.presets.write import Part, write_preset
from gencomm_cli.training.channel import ChannelDraw, awgn, draw, send
from gencomm_cli.training.data import Photographs, to_tensor
from gencomm_cli.training.linear_start import token_statistics
from gencomm_cli.training.loop import Schedule, autocast
from gencomm_cli.training.losses import perceptual_loss
from gencomm_cli.training.parallel import rows
from gencomm_cli.training.stage import Plan, Stage
from gencomm_cli.training.trainer import Report, Trainer, TrainOptions

PARTS = {"transform": "NonlinearTransform", "jscc": "LatentJSCC", "unet": "ConditionalUNet"}
"""The networks of a preset and their classes."""

SYMBOLS = (1.3, 34.0)
"""Range of the mean number of symbols an embedding, uniform in its logarithm: a little more than CBR 0.0033 … 0.0417 takes."""
MODES = {"adaptive": 0.8, "uniform": 0.15, "lost": 0.05}
"""How often a picture's rates are its own, all alike, or its own but unknown to the receiver."""


@dataclass(frozen=True)
class Recipe:
    """L_RDP (eq. 11): (1 − η) d + η d_p of x̂_0 and as much of x̄_0, and λ bits a pixel; images in [−1, 1].

    x̂_0 is made of the received ẑ, x̄_0 of z + U(−½, ½), which no channel has touched. Without a channel (``transform``) they are
    one, and count once, as in Algorithm 1, line 8. ``rollout`` leaves x̄_0 out.

    Attributes:
        batch: crops a step, of which ``drop`` without a condition (the diffusion prior alone). pictures: that the others make up;
            those of one picture share rate, power and channel.
        distortion: d is this many times the mean squared error. perceptual: η. rate: λ.
        weights: between which eq. 7's ᾱ/(1 − ᾱ) is held: beyond, only one end of the schedule would be learnt.
        coarse: weight of d of the coarse image, which has no part in d_p. own: share of steps at which x_n comes from the
            network's own first prediction, as it does in the sampler. path: x_n is a state of the sampler's path of 1 to this many
            steps, all of the same weight; 0: never.
        refined: share of the crops of which x̂_0 and x̄_0 are made. latent: weight of the error of ẑ, in units of its rounding step.
        medians: weight of the prior's medians. codec: learning rate of transform and code as a share of the U-Net's.
    """

    schedule: Schedule
    batch: int = 10
    crop: int = 128
    pictures: int = 2
    drop: float = 0.2
    distortion: float = 3.0
    perceptual: float = 0.5
    rate: float = 0.03
    weights: tuple[float, float] = (0.3, 3.0)
    coarse: float = 1.0
    own: float = 0.0
    path: int = 0
    refined: float = 1.0
    latent: float = 0.0
    medians: float = 1e-3
    codec: float = 1.0
    seed: int = 5


STAGES = {
    "transform": Plan(Recipe, ("transform", "unet"), pictured=True),
    "fixed": Plan(Recipe, ("jscc",), pictured=True),
    "adaptive": Plan(Recipe, ("jscc",), pictured=True),
    "joint": Plan(Recipe, ("transform", "jscc", "unet"), pictured=True),
    "rollout": Plan(Recipe, ("transform", "jscc", "unet"), pictured=True),
}


@dataclass(frozen=True)
class Networks:
    """The three networks of a preset."""

    transform: NonlinearTransform
    jscc: LatentJSCC
    unet: ConditionalUNet


def draw_levels(information: Tensor, pictures: int, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Levels at the transmitter and at the receiver, int64 [B, rows, columns], for information [B, rows, columns].

    The crops of a picture share β, so that busy ones get more than their share, as busy regions of a photograph do.
    """
    sent = []
    believed = []
    by_picture = information.double().cpu().numpy().reshape(pictures, -1, *information.shape[1:])
    drawn = rows(lambda count: [_draw_rate(generator) for _ in range(count)], pictures)
    for crops, (mean, mode, group) in zip(by_picture, drawn, strict=True):
        shape = crops.shape[1:]
        if mode == "uniform":
            levels = np.stack([uniform(max(int(mean * crop.size), crop.size), shape) for crop in crops])
        else:
            grouped = np.stack([group_means(crop, group) for crop in crops])
            chosen = quantise(solve_beta(grouped, mean * grouped.size) * grouped)
            levels = np.stack([spread(crop, group, shape) for crop in chosen])
        sent.append(levels)
        believed.append(np.zeros_like(levels) if mode == "lost" else levels)
    return tuple(torch.from_numpy(np.concatenate(parts)).to(information.device) for parts in (sent, believed))  # type: ignore[return-value]


def _draw_rate(generator: np.random.Generator) -> tuple[float, str, int]:
    """A picture's mean number of symbols an embedding, its mode, and the side of the groups that share a rate."""
    mean = float(np.exp(generator.uniform(*np.log(SYMBOLS))))
    return mean, str(generator.choice(list(MODES), p=list(MODES.values()))), int(generator.choice([1, 2, 4]))


def through_channel(jscc: LatentJSCC, z: Tensor, levels: Tensor, believed: Tensor, channel: ChannelDraw) -> Tensor:
    """ẑ of z [B, C, rows, columns] through the channels of as many pictures, whose crops follow one another."""
    crops = len(z) // len(channel.snr_db)
    mask = jscc.mask(levels)
    symbols = jscc.encode(z, levels, channel.tx_snr_db.repeat_interleave(crops))
    pictures = (len(channel.snr_db), -1, mask.shape[-1])
    symbols = unit_power(symbols.reshape(pictures), mask.reshape(pictures))
    equalised, reliability = (part.reshape(mask.shape) for part in send(symbols.flatten(1), channel)[:2])
    known = jscc.mask(believed)
    return jscc.decode(equalised * known, believed, embedding_snr(reliability, known))


class StageLoss:
    """The loss of a stage."""

    def __init__(
        self, networks: Networks, stage: str, recipe: Recipe, photographs: Photographs, backbones: list[LPIPS],
        generator: np.random.Generator, device: torch.device,
    ) -> None:  # fmt: skip
        self.networks, self.stage, self.recipe, self.trained = networks, stage, recipe, STAGES[stage].networks
        self.photographs, self.backbones, self.generator, self.device = photographs, backbones, generator, device
        self.alpha_bar = cosine_alpha_bar().float().to(device)

    def distortion(self, image: Tensor, other: Tensor, weight: Tensor | float, figures: dict[str, float], name: str) -> Tensor:
        """(1 − η) d (eqs. 9, 11) of images [B, 3, H, W], a mean over them with eq. 7's ``weight`` [B]. ``name``: of the PSNR."""
        mse = (other.float() - image).square().mean((1, 2, 3))
        figures[name] = float(-10 * (mse.detach().mean() / 4).log10())
        return (1 - self.recipe.perceptual) * self.recipe.distortion * (mse * weight).mean()

    def perception(self, image: Tensor, other: Tensor) -> Tensor:
        """η d_p (eqs. 10, 11), a mean over the batch, by one of the two backbones, at random: their mean costs twice the time."""
        lpips = self.backbones[int(self.generator.integers(len(self.backbones)))]
        return self.recipe.perceptual * perceptual_loss([lpips], (other.float() + 1) / 2, (image + 1) / 2, self.generator)

    def on_path(self, contexts: list[Tensor], coarse: Tensor) -> tuple[Tensor, Tensor]:
        """X_θ(x_n, ẑ, n/T) at a random state of the sampler's path (eq. 8), and weights of 1 [B]."""
        count = int(self.generator.integers(1, self.recipe.path + 1))
        visit = visited(count)[: int(self.generator.integers(count)) + 1]
        x, last = torch.randn_like(coarse), visit[-1]
        for n, following in pairwise(visit):
            with torch.no_grad():
                clean = self.networks.unet(x, self.time(n, x), contexts, coarse).float().clamp(-1, 1)
            x = ddim_step(x, clean, float(self.alpha_bar[n]), float(self.alpha_bar[following]))
        return self.networks.unet(x, self.time(last, x), contexts, coarse), torch.ones(len(x), device=self.device)

    def time(self, n: int, x: Tensor) -> Tensor:
        """n/T for every image [B]."""
        return torch.full((len(x),), n / STEPS, device=self.device)

    def refined(self, image: Tensor, contexts: list[Tensor], coarse: Tensor | None) -> tuple[Tensor, Tensor]:
        """X_θ(x_n, ẑ, n/T) at random n (Algorithm 1, lines 5 and 7), and eq. 7's weights [B], held between two bounds."""
        if coarse is not None and self.recipe.path:
            return self.on_path(contexts, coarse)
        n = torch.from_numpy(rows(lambda count: self.generator.integers(0, STEPS, count), len(image))).to(self.device)
        bar = self.alpha_bar[n][:, None, None, None]
        start = image
        if coarse is not None and self.generator.random() < self.recipe.own:
            with torch.no_grad():
                last = torch.full_like(n, STEPS - 1) / STEPS
                start = self.networks.unet(torch.randn_like(image), last, contexts, coarse).float().clamp(-1, 1)
        x_n = noised(start, bar, torch.randn_like(image))  # line 5
        weight = signal_to_noise(bar).flatten().clamp(*self.recipe.weights)
        return self.networks.unet(x_n, n / STEPS, contexts, coarse), weight  # line 7

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
        dropped = round(recipe.drop * recipe.batch) if "unet" in self.trained else 0
        alone, image = image[:dropped], image[dropped:]
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
                total = total + recipe.latent * (received - z).square().mean()
            contexts = transform.contexts(received)
            coarse = transform.image(received, contexts).float()
            total = total + recipe.coarse * self.distortion(image, coarse, 1.0, figures, "coarse")
            if some := round(recipe.refined * len(image)):
                x, weight = self.refined(image[:some], [context[:some] for context in contexts], coarse[:some])
                total = total + self.distortion(image[:some], x, weight, figures, "psnr")
                perception = self.perception(image[:some], x)
                total, figures["perception"] = total + perception, float(perception.detach())
                if self.stage not in ("transform", "rollout"):  # x̄_0; in ``transform`` that is what x was
                    bare = z_noisy[:some]
                    clean = transform.contexts(bare)
                    x, weight = self.refined(image[:some], clean, transform.image(bare, clean).float())
                    total = total + self.distortion(image[:some], x, weight, figures, "bare") + self.perception(image[:some], x)
            if dropped:
                x, weight = self.refined(alone, unet.no_contexts(dropped, (recipe.crop, recipe.crop)), None)
                total = total + recipe.drop * self.distortion(alone, x, weight, figures, "alone")
        return total, figures

    def show(self, image: Tensor) -> Tensor:
        """What one step of the sampler (eq. 8) makes of images [B, 3, H, W] in [0, 1], sent at 10 dB and random rates."""
        transform, unet = self.networks.transform, self.networks.unet
        z = transform.encode(2 * image - 1).float()
        if self.stage != "transform":
            levels, _ = draw_levels(transform.information(z).float(), len(z), np.random.default_rng(0))
            z = through_channel(self.networks.jscc, z, levels, levels, awgn(len(z), 10.0, self.device)).float()
        contexts = transform.contexts(z)
        coarse = transform.image(z, contexts).float()
        made: Tensor = unet(torch.randn_like(coarse), self.time(STEPS - 1, coarse), contexts, coarse)
        return (made + 1) / 2

    def received(self, z: Tensor) -> Tensor:
        """ẑ of z through random channels at random rates (``fixed``: AWGN at 10 dB)."""
        with torch.no_grad():
            information = self.networks.transform.information(z.detach()).float()
        levels, believed = draw_levels(information, self.recipe.pictures, self.generator)
        channel = draw(self.recipe.pictures, self.generator, self.device)
        if self.stage == "fixed":
            ten = torch.full_like(channel.snr_db, 10.0)
            channel = ChannelDraw(ten, ten, torch.zeros_like(channel.kind))
        return through_channel(self.networks.jscc, z, levels, believed, channel).float()


class LRISCTrainer(Trainer):
    """The networks are built from the recipe and start from the linear optimum; those that the preset ``base`` has, all or an
    imported one's, are ``base``'s in size and weights."""

    method = "lrisc"
    needed = frozenset({"networks", "step", "tables"})
    plans = STAGES

    def build(self) -> None:
        sizes: dict[str, dict[str, Any]] = self.config["networks"]
        theirs = {} if self.base is None else {name: self.base.components[name] for name in PARTS & self.base.components.keys()}
        if self.base is not None:
            verify(self.base)
            sizes |= {name: dict(component.config) for name, component in theirs.items()}
            sizes["jscc"] = sizes["jscc"] | {"channels": sizes["transform"]["widths"][-1]}
        for name, class_name in PARTS.items():
            self.make(name, class_name, sizes[name])
        for name, component in theirs.items():
            filled(partial(self.parts.__getitem__, name), component, torch.device("cpu"))
        self.started = set(theirs)

    def networks(self) -> Networks:
        """The three of them."""
        return Networks(**self.parts)  # type: ignore[arg-type]

    def fields(self, count: int) -> Tensor:
        """Crops to take statistics of: [count, 3, 128, 128] in [−1, 1]."""
        return 2 * to_tensor(self.photographs.crops(count, 128, np.random.default_rng(0))[0], torch.device("cpu")).contiguous() - 1

    def start(self, stage: str) -> None:
        """Sets what ``stage`` is the first to train to the linear optimum, unless that started from a preset."""
        networks = self.networks()
        transform = networks.transform
        if stage == "transform" and "transform" not in self.started:
            transform.start_linear(*token_statistics(self.fields(800), transform.config.factor), self.config["step"])
            for parameter in networks.unet.final_conv[1].parameters():
                nn.init.zeros_(parameter)
        elif stage == "fixed" and "jscc" not in self.started:
            with torch.no_grad():
                z = torch.cat([transform.encode(part.to(self.device)) for part in self.fields(200).split(20)])
            networks.jscc.start_linear(z.transpose(0, 1).flatten(1).std(1).cpu())

    def stage(self, stage: str, recipe: Recipe, generator: np.random.Generator) -> Stage:
        self.start(stage)
        networks, names = self.networks(), STAGES[stage].networks
        for name in PARTS:
            of_stage = name in names
            for part in self.parts[name].to(self.device).requires_grad_(of_stage).train(of_stage).modules():
                if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
                    part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if stage == "fixed":
            for module in (networks.jscc.sent_snr, networks.jscc.received_snr):
                module.requires_grad_(False)
        if stage in ("joint", "rollout"):
            keep_linear(networks)
        loss = StageLoss(networks, stage, recipe, self.photographs, self.perceptual, generator, self.device)
        slower = {"transform": recipe.codec, "jscc": recipe.codec}
        return Stage({name: self.parts[name] for name in names}, loss, slower, loss.show)

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


def keep_linear(networks: Networks) -> None:
    """Freezes what the linear optimum has become by now: its weights are small and lie on large inputs, so that steps that the
    networks beside it need would be noise on it. What is zero (g_s of an imported transform) is left to be learnt."""
    transform, jscc = networks.transform, networks.jscc
    linear: list[nn.Module] = [jscc.scale_in, jscc.scale_out]
    if transform.config.coarse:
        linear += [transform.analysis, transform.synthesis]
    for layer in linear:
        layer.requires_grad_(not cast(Tensor, layer.weight).any())


def open_trainer(options: TrainOptions, report: Report) -> Trainer:
    """The trainer of what is asked for; raises what :func:`gencomm_cli.training.trainer.train` does."""
    return LRISCTrainer(options, report, None if options.start is None else find("lrisc", options.start))
