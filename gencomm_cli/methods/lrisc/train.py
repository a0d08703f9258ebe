"""LRISC's recipe: Algorithm 1 of paper 002 in four stages, a fifth for a small network; then the tables that code the rate indices,
and the preset folder.

transform   stage 1: g_e, h_e, h_d, p(y), the ladder of contexts, g_s and the U-Net, no channel
fixed       stage 2: f_e, f_d at 10 dB, without the SNR-adaptive modules
adaptive    stage 2: f_e, f_d whole, at every SNR
joint       stage 3: everything, but for the linear optimum that transform and code started from
rollout     the same once more, at the states of the sampler's own path: a small U-Net's errors add up along it, and a small code
            does best to send what that U-Net can use
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from gencomm_cli.diffusion.cosine import STEPS, cosine_alpha_bar
from gencomm_cli.diffusion.steps import ddim_step as next_state
from gencomm_cli.methods.lrisc.method import visited
from gencomm_cli.metrics.lpips import LPIPS
from gencomm_cli.networks.conditional_unet import ConditionalUNet, UNetConfig
from gencomm_cli.networks.entropy import bits, gaussian_likelihood, noisy
from gencomm_cli.networks.ntscc import LatentJSCC, NTSCCConfig, embedding_snr, unit_power
from gencomm_cli.networks.ntscc_codec import NTSCC
from gencomm_cli.networks.rate_allocation import GROUPS, Levels, group_means, quantise, solve_beta, spread, uniform
from gencomm_cli.networks.rate_indices import RateTables, estimate
from gencomm_cli.networks.tensors import to_tensor as padded
from gencomm_cli.networks.transform import NonlinearTransform, TransformConfig
from gencomm_cli.presets import FORMAT, VERSION, Preset, file_hash, find, verify
from gencomm_cli.presets.weights import filled
from gencomm_cli.training.air import Air, draw, send
from gencomm_cli.training.data import Photographs, load, to_tensor
from gencomm_cli.training.jscc import token_statistics
from gencomm_cli.training.loop import Schedule, autocast, fit
from gencomm_cli.training.parallel import rows
from gencomm_cli.training.workshop import StagedWorkshop, TrainOptions, load_judges, recipe_from, store

NETWORKS = {
    "transform": ("transform", "unet"),
    "fixed": ("jscc",),
    "adaptive": ("jscc",),
    "joint": ("transform", "jscc", "unet"),
    "rollout": ("transform", "jscc", "unet"),
}
"""What each stage trains, in the order of the stages."""

STAGES = tuple(NETWORKS)
PARTS = {"transform": "NonlinearTransform", "jscc": "LatentJSCC", "unet": "ConditionalUNet"}
"""The networks of a preset and their classes."""

Report = Callable[[str], None]

SYMBOLS = (1.3, 34.0)
"""Range of the mean number of symbols an embedding, uniform in its logarithm: a little more than CBR 0.0033 … 0.0417 takes."""
MODES = {"adaptive": 0.8, "uniform": 0.15, "lost": 0.05}
"""How often a picture's rates are its own, all alike, or its own but unknown to the receiver."""


@dataclass(frozen=True)
class Recipe:
    """L_RDP (eq. 11): (1 − η) d + η d_p on x̂_0 and x̄_0, and λ bits a pixel; images in [−1, 1].

    Attributes:
        batch: crops a step, of which ``drop`` without a condition (the diffusion prior alone). pictures: that the others make up;
            those of one picture share rate, power and channel.
        distortion: d is this many times the mean squared error. perceptual: η. rate: λ.
        weights: between which eq. 7's ᾱ/(1 − ᾱ) is held: beyond, only one end of the schedule would be learnt.
        coarse: weight of d of the coarse image, which has no part in d_p. own: share of steps at which x_n comes from the
            network's own first prediction, as it does in the sampler. path: x_n is a state of the sampler's path of 1 to this many
            steps, all of the same weight; 0: never.
        refined: share of the crops that go through the U-Net. latent: weight of the error of ẑ, in units of its rounding step.
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


def through_air(jscc: LatentJSCC, z: Tensor, levels: Tensor, believed: Tensor, air: Air) -> Tensor:
    """ẑ of z [B, C, rows, columns] through the channels ``air`` of as many pictures, whose crops follow one another."""
    crops = len(z) // len(air.snr_db)
    mask = jscc.mask(levels)
    symbols = jscc.encode(z, levels, air.told.repeat_interleave(crops))
    pictures = (len(air.snr_db), -1, mask.shape[-1])
    symbols = unit_power(symbols.reshape(pictures), mask.reshape(pictures))
    equalised, trust = (part.reshape(mask.shape) for part in send(symbols.flatten(1), air)[:2])
    known = jscc.mask(believed)
    return jscc.decode(equalised * known, believed, embedding_snr(trust, known))


class Trainer:
    """One stage's loss."""

    def __init__(
        self, networks: Networks, stage: str, recipe: Recipe, photographs: Photographs, judges: list[LPIPS], device: torch.device
    ) -> None:
        self.networks, self.stage, self.recipe = networks, stage, recipe
        self.photographs, self.judges, self.device = photographs, judges, device
        self.generator = np.random.default_rng(recipe.seed)
        self.alpha_bar = cosine_alpha_bar().float().to(device)

    def distortion(self, image: Tensor, other: Tensor, weight: Tensor | float, figures: dict[str, float], name: str) -> Tensor:
        """(1 − η) d of images [B, 3, H, W], weighted by ``weight`` [B]; the PSNR is put down as ``name``."""
        mse = (other.float() - image).square().mean((1, 2, 3))
        figures[name] = float(-10 * (mse.detach().mean() / 4).log10())
        return (1 - self.recipe.perceptual) * self.recipe.distortion * (mse * weight).mean()

    def perception(self, image: Tensor, other: Tensor) -> Tensor:
        """η d_p by one of the two backbones, at random: their mean costs twice the time."""
        judge = self.judges[int(self.generator.integers(len(self.judges)))]
        return self.recipe.perceptual * judge((image + 1) / 2, (other.float() + 1) / 2).mean()

    def on_path(self, contexts: list[Tensor], coarse: Tensor) -> tuple[Tensor, Tensor]:
        """X_θ(x_n, ẑ, n/T) at a random state of the sampler's path, and weights of 1 [B]."""
        count = int(self.generator.integers(1, self.recipe.path + 1))
        visit = visited(count)[: int(self.generator.integers(count)) + 1]
        x, last = torch.randn_like(coarse), visit[-1]
        for n, following in pairwise(visit):
            with torch.no_grad():
                clean = self.networks.unet(x, self.time(n, x), contexts, coarse).float().clamp(-1, 1)
            x = next_state(x, clean, float(self.alpha_bar[n]), float(self.alpha_bar[following]))
        return self.networks.unet(x, self.time(last, x), contexts, coarse), torch.ones(len(x), device=self.device)

    def time(self, n: int, x: Tensor) -> Tensor:
        """n/T for every image [B]."""
        return torch.full((len(x),), n / STEPS, device=self.device)

    def refined(self, image: Tensor, contexts: list[Tensor], coarse: Tensor | None) -> tuple[Tensor, Tensor]:
        """X_θ(x_n, ẑ, n/T) at random n, and eq. 7's weights [B]."""
        if coarse is not None and self.recipe.path:
            return self.on_path(contexts, coarse)
        n = torch.from_numpy(rows(lambda count: self.generator.integers(0, STEPS, count), len(image))).to(self.device)
        bar = self.alpha_bar[n][:, None, None, None]
        start = image
        if coarse is not None and self.generator.random() < self.recipe.own:
            with torch.no_grad():
                last = torch.full_like(n, STEPS - 1) / STEPS
                start = self.networks.unet(torch.randn_like(image), last, contexts, coarse).float().clamp(-1, 1)
        x_n = bar.sqrt() * start + (1 - bar).sqrt() * torch.randn_like(image)
        weight = (bar / (1 - bar)).flatten().clamp(*self.recipe.weights)
        return self.networks.unet(x_n, n / STEPS, contexts, coarse), weight

    def rate(self, z: Tensor, z_noisy: Tensor) -> Tensor:
        """λ times −log2 p(z | y) − log2 p(y) in bits a pixel, and the medians' loss."""
        transform = self.networks.transform
        y = noisy(transform.hyper_encode(z).float())
        mean, scale = (part.float() for part in transform.hyper_decode(y))
        count = bits(gaussian_likelihood(z_noisy, mean, scale)).sum() + bits(transform.prior.likelihood(y)).sum()
        pixels = z[:, 0].numel() * transform.config.factor**2
        return self.recipe.rate * count / pixels + self.recipe.medians * transform.prior.median_loss()

    def __call__(self, step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        """Loss and figures of one step."""
        recipe, transform, unet = self.recipe, self.networks.transform, self.networks.unet
        image = 2 * to_tensor(self.photographs.crops(recipe.batch, recipe.crop, self.generator)[0], self.device) - 1
        dropped = round(recipe.drop * recipe.batch) if "unet" in NETWORKS[self.stage] else 0
        alone, image = image[:dropped], image[dropped:]
        figures: dict[str, float] = {}
        total = torch.zeros((), device=self.device)

        with autocast(self.device, recipe.schedule.precision):
            z = transform.encode(image).float()
            z_noisy = received = noisy(z)
            if "transform" in NETWORKS[self.stage]:
                rate = self.rate(z, z_noisy)
                figures["rate"] = float(rate.detach())
                total = total + rate
            if self.stage != "transform":
                received = self.through_air(z)
                total = total + recipe.latent * (received - z).square().mean()
            contexts = transform.contexts(received)
            coarse = transform.image(received, contexts).float()
            total = total + recipe.coarse * self.distortion(image, coarse, 1.0, figures, "coarse")
            if some := round(recipe.refined * len(image)):
                x, weight = self.refined(image[:some], [context[:some] for context in contexts], coarse[:some])
                total = total + self.distortion(image[:some], x, weight, figures, "psnr")
                perception = self.perception(image[:some], x)
                total, figures["perception"] = total + perception, float(perception.detach())
                if self.stage not in ("transform", "rollout"):  # x̄_0, what the transform alone makes: of one crop of the batch
                    clean = transform.contexts(z_noisy[-1:])
                    x, weight = self.refined(image[-1:], clean, transform.image(z_noisy[-1:], clean).float())
                    bare = self.distortion(image[-1:], x, weight, figures, "bare") + self.perception(image[-1:], x)
                    total = total + bare / len(image)
            if dropped:
                x, weight = self.refined(alone, unet.no_contexts(dropped, (recipe.crop, recipe.crop)), None)
                total = total + recipe.drop * self.distortion(alone, x, weight, figures, "alone")
        return total, figures

    def through_air(self, z: Tensor) -> Tensor:
        """ẑ of z through random channels at random rates (``fixed``: AWGN at 10 dB)."""
        with torch.no_grad():
            information = self.networks.transform.information(z.detach()).float()
        levels, believed = draw_levels(information, self.recipe.pictures, self.generator)
        air = draw(self.recipe.pictures, self.generator, self.device)
        if self.stage == "fixed":
            ten = torch.full_like(air.snr_db, 10.0)
            air = Air(ten, ten, torch.zeros_like(air.kind))
        return through_air(self.networks.jscc, z, levels, believed, air).float()


class Workshop(StagedWorkshop):
    """The networks of one run, built from the recipe and started from the linear optimum."""

    networks = NETWORKS

    def __init__(self, config: dict[str, Any], data: Path, out: Path, judges: list[LPIPS], device: torch.device) -> None:
        self.config, self.out, self.judges, self.device = config, out, judges, device
        torch.manual_seed(0)
        self.photographs = load(data, out / "cache", validation=False)
        self.parts = Networks(
            NonlinearTransform(TransformConfig.from_json(config["networks"]["transform"])),
            LatentJSCC(NTSCCConfig.from_json(config["networks"]["jscc"])),
            ConditionalUNet(UNetConfig.from_json(config["networks"]["unet"])),
        )
        self.started: set[str] = set()

    def start_from(self, preset: Preset) -> None:
        """Takes the weights of the networks that a preset has: all, or those of an imported one."""
        verify(preset)
        self.started = PARTS.keys() & preset.components.keys()
        for name in self.started:
            filled(self.module(name), preset.components[name], torch.device("cpu"))

    def module(self, name: str) -> nn.Module:
        """``transform``, ``jscc`` or ``unet``."""
        found: nn.Module = getattr(self.parts, name)
        return found

    def fields(self, count: int) -> Tensor:
        """Crops to take statistics of: [count, 3, 128, 128] in [−1, 1]."""
        return 2 * to_tensor(self.photographs.crops(count, 128, np.random.default_rng(0))[0], torch.device("cpu")).contiguous() - 1

    def start(self, stage: str) -> None:
        """Sets what ``stage`` is the first to train to the linear optimum, unless that started from a preset."""
        transform = self.parts.transform
        if stage == "transform" and "transform" not in self.started:
            transform.start_linear(*token_statistics(self.fields(800), transform.config.factor), self.config["step"])
            for parameter in self.parts.unet.final_conv[1].parameters():
                nn.init.zeros_(parameter)
        elif stage == "fixed" and "jscc" not in self.started:
            with torch.no_grad():
                z = torch.cat([transform.encode(part.to(self.device)) for part in self.fields(200).split(20)])
            self.parts.jscc.start_linear(z.transpose(0, 1).flatten(1).std(1).cpu())

    def run(self, stage: str, max_minutes: float | None, report: Report) -> None:
        """Trains one stage, whose predecessors are finished."""
        recipe = recipe_from(Recipe, self.config[stage], max_minutes)
        torch.manual_seed(recipe.seed)
        self.start(stage)
        for name in PARTS:
            trained = name in NETWORKS[stage]
            for part in self.module(name).to(self.device).requires_grad_(trained).train(trained).modules():
                if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
                    part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if stage == "fixed":
            for module in (self.parts.jscc.sent_snr, self.parts.jscc.received_snr):
                module.requires_grad_(False)
        if stage in ("joint", "rollout"):
            self.keep_linear()
        loss = Trainer(self.parts, stage, recipe, self.photographs, self.judges, self.device)
        modules = {name: self.module(name) for name in NETWORKS[stage]}
        slower = {"transform": recipe.codec, "jscc": recipe.codec}
        fit(modules, loss, loss.generator, recipe.schedule, self.out, stage, slower=slower, report=report)

    def keep_linear(self) -> None:
        """Freezes what the linear optimum has become by now: its weights are small and lie on large inputs, so that steps that the
        networks beside it need would be noise on it. What is zero (g_s of an imported transform) is left to be learnt."""
        transform, jscc = self.parts.transform, self.parts.jscc
        linear: list[nn.Module] = [jscc.scale_in, jscc.scale_out]
        if transform.config.coarse:
            linear += [transform.analysis, transform.synthesis]
        for layer in linear:
            layer.requires_grad_(not cast(Tensor, layer.weight).any())

    def tables(self, report: Report) -> RateTables:
        """The tables that code the rate indices, from the levels that training photographs get at random rates."""
        generator = np.random.default_rng(0)
        codec = NTSCC(self.parts.transform, self.parts.jscc, RateTables()).eval()
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
        report(f"tables: from {len(photographs)} photographs")
        return codec.tables

    def export(self, models: Path, report: Report = print) -> Path:
        """Writes ``models/lrisc/<name>`` in half precision, and ``<name>-uniform``, the same weights without side symbols: what the
        allocation is worth."""
        own = models / "lrisc" / self.config["name"]
        own.mkdir(parents=True, exist_ok=True)
        components = {}
        networks = {name: self.module(name) for name in PARTS} | {"rates": self.tables(report)}
        for name, class_name in (PARTS | {"rates": "RateTables"}).items():
            path = own / f"{name}.safetensors"
            store(networks[name], path)
            components[name] = {
                "class": class_name, "file": str(path.relative_to(models)), "sha256": file_hash(path),
                "config": self.config["networks"].get(name, {}),
            }  # fmt: skip
        settings: dict[str, Any] = self.config["settings"]
        for folder, changed in ((own, {}), (own.with_name(f"{own.name}-uniform"), {"side_share": 0.0})):
            document = {
                "format": FORMAT, "version": VERSION, "method": "lrisc", "name": folder.name,
                "components": components, "settings": settings | changed,
            }  # fmt: skip
            folder.mkdir(exist_ok=True)
            (folder / "config.json").write_text(json.dumps(document, indent=1) + "\n")
        return own


def _sizes(networks: dict[str, Any], preset: Preset) -> dict[str, Any]:
    """The recipe's sizes, with those of the networks that the preset has in their place."""
    sizes = networks | {name: dict(preset.components[name].config) for name in PARTS if name in preset.components}
    return sizes | {"jscc": sizes["jscc"] | {"channels": sizes["transform"]["widths"][-1]}}


def train(options: TrainOptions, report: Report = print) -> Path:
    """Trains every stage that is not finished and writes the presets to ``options.out / "models"``.

    The networks of a preset to start from bring their sizes.

    Raises:
        InputError: unusable recipe, data or folder.
    """
    config = options.open("lrisc/nano.json", {"name", "networks", "step", *STAGES, "tables", "settings"})
    preset = None if options.start is None else find("lrisc", options.start)
    if preset is not None:
        config["networks"] = _sizes(config["networks"], preset)
    device = torch.device(options.device)
    workshop = Workshop(config, options.data, options.out, load_judges(options.metric_weights, device), device)
    if preset is not None:
        workshop.start_from(preset)
    return workshop.complete(options.stages or STAGES, options, report)
