"""SC-SIC's recipe (section 4.1), and what comes before it where there is no Stable Cascade.

encoder     encoder and previewer, together, from the best linear code of blocks on
diffusion   stage B on clean embeddings, from a text-guided prior on
finetune    stage B through the channel
rollout     the same, and a critic of what its own sampler draws in few steps

The paper ends with ``finetune``, and takes all before it from Stable Cascade. What ``finetune`` starts from is its ablation "not
fine-tuned" (figure 8a). Stage A is the prior's autoencoder.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.models import StableCascadeUNet
from torch import Tensor, nn

from gencomm_cli.channels.equalisers import reliability
from gencomm_cli.diffusion.cosine import OFFSET, log_snr, time_of
from gencomm_cli.errors import InputError
from gencomm_cli.methods.scsic.blocks import BlockEncoder, BlockPreviewer, start
from gencomm_cli.methods.scsic.cascade import take_reliability
from gencomm_cli.methods.scsic.efficientnet import FACTOR
from gencomm_cli.methods.scsic.latent_stage_b import LatentStageB
from gencomm_cli.methods.scsic.method import (
    SCALE,
    Target,
    denoising_error,
    grid_at,
    noised_at,
    preview,
    resize,
    sample,
    times,
    to_embedding,
    to_symbols,
    with_reliability,
)
from gencomm_cli.methods.scsic.networks import ScSicNetworks, stage_a_of
from gencomm_cli.metrics.efficientnet_lite import EfficientNetLite
from gencomm_cli.metrics.lpips import LPIPS
from gencomm_cli.networks.backbone import Backbone
from gencomm_cli.networks.vae import LatentCodec
from gencomm_cli.presets import find, find_any, is_pretrained, verify
from gencomm_cli.presets.build import build
from gencomm_cli.presets.write import taken, write_preset
from gencomm_cli.training.channel import block_gains, draw, through
from gencomm_cli.training.critic import critic_of
from gencomm_cli.training.data import Photographs, to_tensor
from gencomm_cli.training.latents import Latents
from gencomm_cli.training.loop import Schedule, autocast
from gencomm_cli.training.losses import fold_pattern, perceptual_loss, psnr
from gencomm_cli.training.parallel import rows
from gencomm_cli.training.stage import Plan, Stage, frozen, trained
from gencomm_cli.training.trainer import Report, Trainer, TrainOptions

Range = tuple[float, float]
Denoiser = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class EncoderRecipe:
    """Loss = MSE + ``perceptual`` · mean LPIPS of the previewer's picture, at its own size, + ``grid`` · what the error has in
    common in all of the encoder's blocks: a texture that repeats from block to block would please LPIPS.

    Attributes:
        crop: side in pixels. scales: s is drawn from them; one that stands there twice is drawn twice as often.
        snr_db: the embedding meets noise of an SNR uniform in it; None for none. shares: of AWGN, of fading symbol by symbol,
            of slow fading.
    """

    schedule: Schedule
    batch: int = 12
    crop: int = 256
    scales: tuple[float, ...] = (SCALE,)
    snr_db: Range | None = None
    shares: tuple[float, float, float] = (1.0, 0.0, 0.0)
    perceptual: float = 0.02
    grid: float = 0.0
    seed: int = 1


@dataclass(frozen=True)
class DiffusionRecipe:
    """E‖ε − ε̄(X_VG,t, t, Ẑ)‖² (eq. 4) over t uniform in 0 … 1, or the same of v; encoder and stage A are frozen.

    Attributes:
        crop: side in latent positions. scales, snr_db, shares: as in :class:`EncoderRecipe`. The paper fine-tunes with
            ``snr_db`` (1, 20), batch 4, 15,000 steps, learning rate 1e-4.
        drop: Ẑ is left out for this share of the samples, for guidance.
    """

    schedule: Schedule
    batch: int = 4
    crop: int = 32
    scales: tuple[float, ...] = (SCALE,)
    snr_db: Range | None = None
    shares: tuple[float, float, float] = (1.0, 0.0, 0.0)
    drop: float = 0.1
    seed: int = 2


@dataclass(frozen=True)
class RolloutRecipe(DiffusionRecipe):
    """Eq. 4 as before, and ``critic`` times a hinge loss and ``textures`` times a distance of statistics on the picture of what the
    sampler ends in.

    The critic learns along, and sees a picture beside the previewer's; alone it is pleased by hatching. A regression along the path
    would teach stage B to ignore its noise: to draw the mean.

    Attributes:
        played: share of each batch that the sampler draws. path: its most steps; it takes 2 to so many. shown: side in pixels of
            the piece of each picture that the critic sees.
    """

    critic: float = 0.05
    textures: float = 1.0
    played: float = 0.5
    path: int = 10
    shown: int = 128


def over_channel(z: Tensor, snr_db: Range | None, shares: Sequence[float], generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Ẑ of embeddings [B, C, h, w] (eqs. 5, 6), and how reliable each of its symbols [B, C·h·w / 2] is."""
    symbols, gain = to_symbols(z)
    if snr_db is None:
        return z, torch.ones_like(symbols.real)
    channel = draw(len(z), generator, z.device, snr_db, shares)
    received, fading, n0 = through(symbols, channel, block_gains(channel))
    z_hat = to_embedding(received, fading, gain, z.shape[1], (z.shape[2], z.shape[3]))
    return z_hat, reliability(fading, n0)  # type: ignore[type-var]


def encoder_stage(
    encoder: BlockEncoder,
    previewer: BlockPreviewer,
    photographs: Photographs,
    recipe: EncoderRecipe,
    backbones: Sequence[LPIPS],
    antialias: bool,
    generator: np.random.Generator,
    device: torch.device,
    *,
    linear: bool = True,
) -> Stage:
    """Both together, from the best linear code of blocks on unless ``linear`` is false."""
    for network in (encoder, previewer):
        trained(network, device)

    def scaled(image: Tensor, scale: float) -> Tensor:
        return resize(image, grid_at(scale, (image.shape[2], image.shape[3])), antialias)

    if linear:
        some = to_tensor(photographs.crops(512, recipe.crop, np.random.default_rng(recipe.seed + 1))[0], torch.device("cpu"))
        blocks = F.unfold(scaled(some, recipe.scales[0]), FACTOR, stride=FACTOR).transpose(1, 2)
        start(encoder, previewer, blocks.reshape(-1, 3, FACTOR, FACTOR).to(device))

    def loss(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        image = to_tensor(photographs.crops(recipe.batch, recipe.crop, generator)[0], device)
        image = scaled(image, float(generator.choice(recipe.scales)))
        with autocast(device, recipe.schedule.precision):
            z_hat, _ = over_channel(encoder(image).float(), recipe.snr_db, recipe.shares, generator)
            made = previewer(z_hat).float()
            mse, perceptual = (made - image).square().mean(), perceptual_loss(backbones, made, image, generator)
            total = mse + recipe.perceptual * perceptual
            if recipe.grid:
                total = total + recipe.grid * fold_pattern(made - image, FACTOR)
        return total, {"psnr": psnr(mse), "lpips": float(perceptual.detach())}

    def show(image: Tensor) -> Tensor:
        return previewer(encoder(scaled(image, recipe.scales[0])))

    return Stage({"encoder": encoder, "previewer": previewer}, loss, show=show)


@dataclass
class Batches:
    """Batches of what stage B learns from: latents of the frozen stage A, and embeddings of the frozen encoder.

    Attributes:
        stage_a: makes pictures of latents. previewer: what a critic compares with. settings: of the preset.
    """

    stage_a: LatentCodec
    encoder: nn.Module
    previewer: nn.Module | None
    latents: Latents
    recipe: DiffusionRecipe
    settings: Mapping[str, Any]
    generator: np.random.Generator
    device: torch.device

    def draw(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """X_VG; X; Ẑ; and what stage B gets of it, zero where it is left out."""
        clean, pixels, *_ = self.latents.crops(self.recipe.batch, self.recipe.crop, self.generator)
        x_0 = clean.to(self.device, memory_format=torch.channels_last)
        image = to_tensor(pixels, self.device)
        scale = float(self.generator.choice(self.recipe.scales))
        z_hat, given = self.conditions(image, scale, self.recipe.snr_db, self.recipe.shares, self.generator)
        kept = torch.from_numpy(rows(self.generator.random, len(given)) >= self.recipe.drop).to(given)
        return x_0, image, z_hat, given * kept.view(-1, 1, 1, 1)

    @torch.no_grad()
    def conditions(
        self, image: Tensor, scale: float, snr_db: Range | None, shares: Sequence[float], generator: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Ẑ of images [B, 3, H, W] at s = ``scale``, and the condition that stage B takes."""
        grid = grid_at(scale, (image.shape[2], image.shape[3]))
        z = self.encoder(resize(image, grid, self.settings.get("antialias", False))).float()
        z_hat, reliable = over_channel(z, snr_db, shares, generator)
        return z_hat, with_reliability(z_hat, reliable) if self.settings.get("snr_aware", False) else z_hat

    def draws(self, stage_b: Denoiser, condition: Tensor, noise: Tensor, steps: int) -> Tensor:
        """What the sampler ends in; the last prediction alone has a gradient, if any may."""
        left, grad = steps, torch.is_grad_enabled()

        def predict(x: Tensor, time: Tensor) -> Tensor:
            nonlocal left
            left -= 1
            with torch.set_grad_enabled(grad and left == 0):
                return stage_b(x, time, condition).float()

        return sample(
            noise, times(steps), predict, lambda _: torch.randn_like(noise), target=self.settings.get("target", "epsilon"),
            shift=self.settings.get("shift", 1.0), s=self.settings.get("s", OFFSET),
        )  # fmt: skip

    def show(self, stage_b: Denoiser, image: Tensor) -> Tensor:
        """Pictures of images' embeddings by ten steps, on AWGN at 10 dB where the recipe has a channel."""
        snr_db = (10.0, 10.0) if self.recipe.snr_db else None
        _, given = self.conditions(image, self.recipe.scales[0], snr_db, (1.0, 0.0, 0.0), np.random.default_rng(0))
        latent = self.draws(stage_b, given, torch.randn_like(self.stage_a.encode(image)), 10)
        return self.stage_a.decode(latent)


def diffusion_stage(
    stage_b: nn.Module, batches: Batches, features: EfficientNetLite | None = None, backbones: Sequence[LPIPS] = ()
) -> Stage:
    """Stage B by eq. 4; stage A makes pictures. ``features``: what the critic looks through. ``backbones``: what sees textures."""
    recipe, device, s = batches.recipe, batches.device, batches.settings.get("s", OFFSET)
    target: Target = batches.settings.get("target", "epsilon")
    networks: dict[str, nn.Module] = {"stage_b": trained(stage_b, device)}
    critic = None
    if isinstance(recipe, RolloutRecipe):
        if target != "v":  # of noise alone x̂_0 would be ε's error a hundredfold
            raise InputError(
                '--config: rollout needs "target": "v" among the settings; leave it out of --stages for a stage B that predicts ε'
            )
        if batches.previewer is None:
            raise InputError("--config: rollout needs a preset with a previewer; leave it out of --stages")
        critic = networks["critic"] = critic_of(features, device)

    def told_apart(
        image: Tensor, z_hat: Tensor, condition: Tensor, noise: Tensor, progress: float
    ) -> tuple[Tensor, dict[str, float]]:
        assert isinstance(recipe, RolloutRecipe)
        assert critic is not None
        assert batches.previewer is not None
        made = batches.draws(stage_b, condition, noise, int(batches.generator.integers(2, recipe.path + 1)))
        with torch.no_grad():
            beside = preview(batches.previewer, z_hat, (image.shape[2], image.shape[3])).float()
        # A piece of each: a picture takes as long as the rest of the step.
        factor = batches.latents.factor
        area: list[Any] = [...]
        for length in made.shape[2:]:
            side = min(recipe.shown // factor, length)
            first = int(batches.generator.integers(length - side + 1))
            area.append(slice(first, first + side))
        drawn = batches.stage_a.decode(made[tuple(area)]).float()
        area[1:] = (slice(factor * part.start, factor * part.stop) for part in area[1:])
        seen = image[tuple(area)]
        total, figures = critic.loss(seen, drawn, beside[tuple(area)], batches.generator, progress)
        unlike = perceptual_loss(backbones, drawn, seen, batches.generator, textures=True)
        return recipe.critic * total + recipe.textures * unlike, figures | {"textures": float(unlike.detach())}

    def loss(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        level = log_snr(torch.from_numpy(rows(batches.generator.random, recipe.batch).astype(np.float32)).to(device), s=s)
        with autocast(device, recipe.schedule.precision):
            x_0, image, z_hat, condition = batches.draw()
            epsilon = torch.randn_like(x_0)
            predicted = stage_b(noised_at(x_0, level, epsilon), time_of(level, s), condition).float()
            error = denoising_error(predicted, x_0, epsilon, level, target)
            total, early = error.mean(), level < 0
            figures = {"early": float(error[early].mean().detach()) if early.any() else 0.0}
            if isinstance(recipe, RolloutRecipe):
                some = max(1, round(recipe.played * len(x_0)))
                noise = torch.randn_like(x_0[:some])
                more, found = told_apart(image[:some], z_hat[:some], condition[:some], noise, progress)
                total, figures = total + more, figures | found
        return total, figures

    codec = [batches.stage_a] if critic is not None else []
    return Stage(networks, loss, show=lambda image: batches.show(cast(Denoiser, stage_b), image), through=codec)


STAGES = {
    "encoder": Plan(EncoderRecipe, ("encoder", "previewer"), pictured=True),
    "diffusion": Plan(DiffusionRecipe, ("plain",)),  # stage B before it is fine-tuned
    "finetune": Plan(DiffusionRecipe, ("stage_b",)),
    "rollout": Plan(RolloutRecipe, ("stage_b",), watched=True),
}

OVER_CASCADE = {"finetune": STAGES["finetune"]}
"""The same over Stable Cascade, or any preset with networks of its kind, which stay as large as they are."""


class SCSICTrainer(Trainer):
    """Over the autoencoder and the prior of the textguided preset that the recipe names or ``base`` is; or from a preset of its own
    kind, whose weights it goes on with."""

    method = "scsic"
    needed = frozenset({"start"})
    plans = STAGES

    def build(self) -> None:
        base = self.base = self.base or find("textguided", self.config["start"])
        sizes = self.config["encoder"]
        channels = sizes["model"].get("channels", 16)
        self.make("encoder", "BlockEncoder", sizes["model"])
        self.make("previewer", "BlockPreviewer", {"channels": channels} | sizes["previewer"])
        self.own = base.method == self.method
        if self.own:
            verify(base)
            for name in ("encoder", "previewer"):
                self.make(name, base.components[name].class_name, dict(base.components[name].config))
                self.take(name, base.components[name])
        self.autoencoder = base.components["stage_a" if self.own else "vae"]
        self.stage_a = stage_a_of(build(self.autoencoder, self.device))

    def derived(self, name: str) -> nn.Module:
        """Stage B before it is fine-tuned, from the prior and the trained previewer, or ``base``'s; and a copy of it, to be."""
        assert self.base is not None
        if name == "stage_b":
            plain = self.module("plain")
            self.blueprints[name] = self.blueprints["plain"]
            return copy.deepcopy(plain)
        if self.own:
            theirs = self.base.components["stage_b"]
            self.blueprints[name] = theirs.class_name, dict(theirs.config)
            return build(theirs, torch.device("cpu"))
        backbone, previewer = Backbone(self.base, torch.device("cpu")), self.blueprints["previewer"][1]
        text = backbone.text([""])
        unet: Any = backbone.unet.config
        arguments = {
            "unet": {key: value for key, value in unet.items() if not key.startswith("_")}, "words": text.shape[1],
            **{key: value for key, value in previewer.items() if key != "edge"},
            "channels": previewer["channels"] + self.settings.get("snr_aware", False),
        }  # fmt: skip
        stage_b = cast(LatentStageB, self.make(name, "LatentStageB", arguments))
        stage_b.start(backbone.unet, text, cast(BlockPreviewer, self.parts["previewer"]).trunk)
        return stage_b

    def stage(self, stage: str, recipe: Any, generator: np.random.Generator) -> Stage:
        encoder, previewer = self.parts["encoder"], self.parts["previewer"]
        if stage == "encoder":
            return encoder_stage(
                cast(BlockEncoder, encoder), cast(BlockPreviewer, previewer), self.photographs, recipe, self.perceptual,
                self.settings.get("antialias", False), generator, self.device, linear=not self.own,
            )  # fmt: skip
        for network in (encoder, previewer):
            frozen(network.to(self.device))
        latents = self.latents(self.stage_a, recipe.crop)
        batches = Batches(self.stage_a, encoder, previewer, latents, recipe, self.settings, generator, self.device)
        eyes = (self.features, self.perceptual) if stage == "rollout" else (None, ())
        return diffusion_stage(self.parts[self.plans[stage].networks[0]], batches, *eyes)

    def export(self, models: Path) -> Path:
        """Writes ``models/scsic/<name>``, and ``<name>-plain``: the same with stage B as it was before it was fine-tuned."""
        assert self.base is not None
        folder = models / self.method / self.config["name"]
        parts: dict[str, Any] = {name: self.part(name) for name in ("stage_b", "encoder", "previewer")}
        parts["stage_a"] = taken(self.autoencoder, models / "shared" / self.base.name)
        made = write_preset(folder, self.method, parts, self.settings)
        plain = folder.with_name(f"{folder.name}-plain")
        write_preset(plain, self.method, {**made.components, "stage_b": self.part("plain")}, self.settings)
        return folder


class CascadeTrainer(Trainer):
    """The paper's own training (section 4.1): stage B alone is fine-tuned, of pretrained Stable Cascade or a preset like it."""

    method = "scsic"
    shipped = "paper"
    plans = OVER_CASCADE

    def build(self) -> None:
        assert self.base is not None
        self.settings = {**self.base.settings, **self.settings}
        self.cascade = ScSicNetworks(self.base, self.device)
        unet = cast(StableCascadeUNet, self.cascade.stage_b.unet)
        self.parts["stage_b"] = unet
        known = unet.config.effnet_in_channels - self.cascade.encoder.channels
        aware = self.settings.get("snr_aware", False)
        if known > aware:
            raise InputError(f'--config: preset {self.base.name} takes the reliability; leave "snr_aware" out of the settings')
        if aware > known:
            take_reliability(unet)
        arguments = {key: value for key, value in unet.config.items() if not key.startswith("_")}
        self.blueprints["stage_b"] = "StableCascadeUNet", arguments

    def stage(self, stage: str, recipe: Any, generator: np.random.Generator) -> Stage:
        cascade = self.cascade
        latents = self.latents(cascade.stage_a, recipe.crop)
        batches = Batches(
            cascade.stage_a, cascade.encoder, cascade.previewer, latents, recipe, self.settings, generator, self.device
        )  # fmt: skip
        return diffusion_stage(cascade.stage_b, batches)

    def export(self, models: Path) -> Path:
        """Writes ``models/scsic/<name>``: stage B, the base's own files, and where the rest is."""
        assert self.base is not None
        parts = {name: taken(component) for name, component in self.base.components.items()} | {"stage_b": self.part("stage_b")}
        return write_preset(models / self.method / self.config["name"], self.method, parts, self.settings).folder


def open_trainer(options: TrainOptions, report: Report) -> Trainer:
    """The trainer of what is asked for; raises what :func:`gencomm_cli.training.trainer.train` does."""
    base = None if options.start is None else find_any(options.start, "scsic", "textguided")
    if base is None or base.method != "scsic" or base.components["stage_b"].class_name == "LatentStageB":
        return SCSICTrainer(options, report, base)
    if options.config is None and not is_pretrained(base):
        report(f"--start {base.name}: stage B alone is trained on, by the recipe for Stable Cascade; give --config for another")
    return CascadeTrainer(options, report, base)
