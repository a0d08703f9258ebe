"""SC-SIC's recipe (section 4.1), and one stage more for a small network.

vqgan       stage A
encoder     encoder and previewer, together
diffusion   stage B on clean embeddings
finetune    stage B through the channel
rollout     stage B at the states of the sampler's own path, by the picture that stage A makes: a small one's errors add up along it

The paper takes all before ``finetune`` from Stable Cascade, and ends there. What ``finetune`` starts from is its ablation "not
fine-tuned" (figure 8a).
"""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.models import StableCascadeUNet
from torch import Tensor, nn

from gencomm_cli.channels.equalisers import reliability
from gencomm_cli.diffusion.cosine import log_snr, time_of
from gencomm_cli.errors import InputError
from gencomm_cli.methods.scsic.cascade import PaellaVQModel, StageA, StageB, take_reliability
from gencomm_cli.methods.scsic.efficientnet import EfficientNetEncoder
from gencomm_cli.methods.scsic.method import (
    SCALE,
    Target,
    denoising_error,
    grid_at,
    noised_at,
    resize,
    sample,
    times,
    to_embedding,
    to_symbols,
    with_reliability,
)
from gencomm_cli.methods.scsic.networks import ScSicNetworks
from gencomm_cli.methods.scsic.previewer import Previewer
from gencomm_cli.metrics.lpips import LPIPS
from gencomm_cli.presets import Preset, find, is_pretrained, verify
from gencomm_cli.presets.build import build
from gencomm_cli.presets.write import taken, write_preset
from gencomm_cli.training.channel import block_gains, draw, through
from gencomm_cli.training.data import Photographs, to_tensor
from gencomm_cli.training.latents import Latents
from gencomm_cli.training.loop import Schedule, autocast
from gencomm_cli.training.losses import fold_pattern, perceptual_loss, psnr
from gencomm_cli.training.parallel import rows
from gencomm_cli.training.patchgan import PatchGAN, adversarial_losses
from gencomm_cli.training.stage import Plan, Stage, frozen, trained
from gencomm_cli.training.trainer import Report, Trainer, TrainOptions, load_config

CLASSES: dict[str, type[nn.Module]] = {
    "stage_a": PaellaVQModel, "encoder": EfficientNetEncoder, "previewer": Previewer, "stage_b": StableCascadeUNet
}  # fmt: skip
"""The networks of a preset."""

Range = tuple[float, float]


@dataclass(frozen=True)
class VqganRecipe:
    """Loss = MSE + ``perceptual`` · mean LPIPS + ``codebook`` · VQ loss + ``adversarial`` · PatchGAN loss, on random crops.

    Attributes:
        crop: side in pixels. quantised: share of the images whose latents are quantised; the sampler's never are.
        critic: width of the PatchGAN. adversarial_from: the share of the stage before it takes part, when there is nothing yet
            to tell apart that is not plain to see.
    """

    schedule: Schedule
    batch: int = 12
    crop: int = 128
    perceptual: float = 0.06
    codebook: float = 0.25
    quantised: float = 0.25
    adversarial: float = 0.01
    critic: int = 32
    adversarial_from: float = 0.5
    seed: int = 0


@dataclass(frozen=True)
class EncoderRecipe:
    """Loss = MSE + ``perceptual`` · mean LPIPS of the previewer's picture, at its own size.

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
    perceptual: float = 0.06
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
    """Loss = ``latent`` · ‖x̂_0 − x_0‖² + MSE + ``perceptual`` · mean LPIPS + ``grid`` · pattern of stage A's picture of x̂_0.

    x̂_0 is what stage B makes of a state of the sampler's path of 1 to ``path`` steps, reached by its own predictions without
    guidance.

    Attributes:
        grid: weight of what repeats from patch to patch of stage B (see :func:`fold_pattern`): it lets a small network please LPIPS
            with a wallpaper.
    """

    path: int = 10
    latent: float = 0.05
    perceptual: float = 0.08
    grid: float = 60.0


def over_channel(z: Tensor, snr_db: Range | None, shares: Sequence[float], generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Ẑ of embeddings [B, C, h, w] (eqs. 5, 6), and how reliable each of its symbols [B, C·h·w / 2] is."""
    symbols, gain = to_symbols(z)
    if snr_db is None:
        return z, torch.ones_like(symbols.real)
    channel = draw(len(z), generator, z.device, snr_db, shares)
    received, fading, n0 = through(symbols, channel, block_gains(channel))
    z_hat = to_embedding(received, fading, gain, z.shape[1], (z.shape[2], z.shape[3]))
    return z_hat, reliability(fading, n0)  # type: ignore[type-var]


@torch.no_grad()
def settle(module: nn.Module, run: Callable[[], object], rounds: int = 50) -> None:
    """Batch normalisation's statistics for the averaged weights: their mean over ``rounds`` runs. Leaves ``module`` frozen."""
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    module.train()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over all runs
    for _ in range(rounds):
        run()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    frozen(module)


def vqgan_stage(
    vqgan: PaellaVQModel,
    photographs: Photographs,
    recipe: VqganRecipe,
    backbones: Sequence[LPIPS],
    generator: np.random.Generator,
    device: torch.device,
) -> Stage:
    """Stage A; then its scale is set so that latents have unit variance."""
    networks: dict[str, nn.Module] = {"vqgan": trained(vqgan, device)}
    critic = PatchGAN(recipe.critic).to(device) if recipe.adversarial else None
    if critic is not None:
        networks["critic"] = critic

    def images() -> Tensor:
        return to_tensor(photographs.crops(recipe.batch, recipe.crop, generator)[0], device)

    def loss(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        image = images()
        with autocast(device, recipe.schedule.precision):
            latent = vqgan.encode(image).latents.float()
            quantised, codebook, _ = vqgan.vquantizer(latent)
            chosen = torch.from_numpy(rows(generator.random, len(latent)) < recipe.quantised).to(device).view(-1, 1, 1, 1)
            made = vqgan.decode(torch.where(chosen, quantised, latent)).sample.float()
            mse, perceptual = (made - image).square().mean(), perceptual_loss(backbones, made, image, generator)
            total = mse + recipe.perceptual * perceptual + recipe.codebook * codebook
            figures = {"psnr": psnr(mse), "lpips": float(perceptual.detach()), "vq": float(codebook.detach())}
            if critic is not None and progress >= recipe.adversarial_from:
                fooling, telling = adversarial_losses(critic, image, made)
                total = total + recipe.adversarial * (fooling + telling)
                figures |= {"fooling": float(fooling.detach()), "telling": float(telling.detach())}
        return total, figures

    @torch.no_grad()
    def scale() -> None:
        settle(vqgan, lambda: vqgan.encode(images()))
        spread = torch.cat([vqgan.encode(images()).latents for _ in range(20)]).std()
        vqgan.register_to_config(scale_factor=float(spread))

    return Stage(networks, loss, show=lambda image: vqgan.decode(vqgan.encode(image).latents).sample, finish=scale)


def encoder_stage(
    encoder: EfficientNetEncoder,
    previewer: Previewer,
    photographs: Photographs,
    recipe: EncoderRecipe,
    backbones: Sequence[LPIPS],
    antialias: bool,
    generator: np.random.Generator,
    device: torch.device,
) -> Stage:
    """Both together."""
    both = trained(nn.ModuleDict({"encoder": encoder, "previewer": previewer}), device)

    def pictures() -> tuple[Tensor, Tensor]:
        """What the previewer makes of a batch, and what it should."""
        image = to_tensor(photographs.crops(recipe.batch, recipe.crop, generator)[0], device)
        grid = grid_at(float(generator.choice(recipe.scales)), (recipe.crop, recipe.crop))
        z = encoder(resize(image, grid, antialias)).float()
        made = previewer(over_channel(z, recipe.snr_db, recipe.shares, generator)[0]).float()
        return made, F.interpolate(image, made.shape[2:], mode="bilinear", antialias=True)

    def loss(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        with autocast(device, recipe.schedule.precision):
            made, image = pictures()
            mse, perceptual = (made - image).square().mean(), perceptual_loss(backbones, made, image, generator)
        return mse + recipe.perceptual * perceptual, {"psnr": psnr(mse), "lpips": float(perceptual.detach())}

    def show(image: Tensor) -> Tensor:
        made: Tensor = previewer(encoder(resize(image, grid_at(recipe.scales[0], (image.shape[2], image.shape[3])), antialias)))
        return made

    networks = {"encoder": encoder, "previewer": previewer}
    return Stage(networks, loss, show=show, finish=lambda: settle(both, pictures))


def diffusion_stage(
    stage_b: StageB,
    stage_a: StageA,
    encoder: EfficientNetEncoder,
    latents: Latents,
    recipe: DiffusionRecipe,
    settings: Mapping[str, Any],
    generator: np.random.Generator,
    device: torch.device,
) -> Stage:
    """Stage B by eq. 4, on latents of the frozen stage A and embeddings of the frozen encoder; stage A shows pictures."""
    target = _target(settings)
    trained(stage_b, device)

    def loss(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        clean, pixels, *_ = latents.crops(recipe.batch, recipe.crop, generator)
        x_0 = clean.to(device, memory_format=torch.channels_last)
        epsilon = torch.randn_like(x_0)
        level = log_snr(torch.from_numpy(rows(generator.random, recipe.batch).astype(np.float32)).to(device))
        with autocast(device, recipe.schedule.precision):
            condition = _conditions(encoder, to_tensor(pixels, device), recipe, settings, generator)
            predicted = stage_b(noised_at(x_0, level, epsilon), time_of(level), condition).float()
        error = denoising_error(predicted, x_0, epsilon, level, target)
        early = level < 0
        return error.mean(), {"early": float(error[early].mean().detach()) if early.any() else 0.0}

    return Stage({"stage_b": stage_b}, loss, show=_shows(stage_b, stage_a, encoder, recipe, settings))


def rollout_stage(
    stage_b: StageB,
    stage_a: StageA,
    encoder: EfficientNetEncoder,
    latents: Latents,
    recipe: RolloutRecipe,
    settings: Mapping[str, Any],
    backbones: Sequence[LPIPS],
    generator: np.random.Generator,
    device: torch.device,
) -> Stage:
    """Stage B along the sampler's path, through the frozen stage A.

    Raises:
        InputError: stage B predicts ε.
    """
    if (target := _target(settings)) != "v":  # of noise alone x̂_0 would be ε's error a hundredfold
        raise InputError(
            '--config: rollout needs "target": "v" among the settings; leave it out of --stages for a stage B that predicts ε'
        )
    shift = settings.get("shift", 1.0)
    trained(stage_b, device)
    patch = stage_a.factor * int(stage_b.unet.config.patch_size)

    def loss(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        clean, pixels, *_ = latents.crops(recipe.batch, recipe.crop, generator)
        x_0, image = clean.to(device), to_tensor(pixels, device)
        count = int(generator.integers(1, recipe.path + 1))
        visit = times(count)[: int(generator.integers(count)) + 2]
        left = len(visit) - 1

        with autocast(device, recipe.schedule.precision):
            condition = _conditions(encoder, image, recipe, settings, generator)

            def predict(x: Tensor, time: Tensor) -> Tensor:
                nonlocal left
                left -= 1
                with torch.set_grad_enabled(left == 0):  # the path leads to a state; the loss is of what is predicted there
                    return stage_b(x, time, condition).float()

            made = sample(torch.randn_like(x_0), visit, predict, lambda _: torch.randn_like(x_0), target=target, shift=shift)
            picture = stage_a.decode(made).float()
        error, mse = (made - x_0).square().mean(), (picture - image).square().mean()
        perceptual, pattern = perceptual_loss(backbones, picture, image, generator), fold_pattern(picture - image, patch)
        figures = {"latent": error, "psnr": -10 * mse.log10(), "lpips": perceptual, "grid": pattern}
        total = recipe.latent * error + mse + recipe.perceptual * perceptual + recipe.grid * pattern
        return total, {name: float(figure.detach()) for name, figure in figures.items()}

    return Stage({"stage_b": stage_b}, loss, show=_shows(stage_b, stage_a, encoder, recipe, settings), through=(stage_a,))


def _shows(
    stage_b: StageB, stage_a: StageA, encoder: EfficientNetEncoder, recipe: DiffusionRecipe, settings: Mapping[str, Any]
) -> Callable[[Tensor], Tensor]:
    """What makes pictures of images' embeddings, by ten steps without a channel."""

    def show(image: Tensor) -> Tensor:
        grid = grid_at(recipe.scales[0], (image.shape[2], image.shape[3]))
        z = encoder(resize(image, grid, settings.get("antialias", False))).float()
        if settings.get("snr_aware", False):
            z = with_reliability(z, torch.ones(len(z), z[0].numel() // 2, device=z.device))
        noise = torch.randn_like(stage_a.encode(image))
        made = sample(
            noise, times(10), lambda x, time: stage_b(x, time, z).float(), lambda _: torch.randn_like(noise),
            target=_target(settings), shift=settings.get("shift", 1.0),
        )  # fmt: skip
        return stage_a.decode(made)

    return show


def _target(settings: Mapping[str, Any]) -> Target:
    target: Target = settings.get("target", "epsilon")
    return target


@torch.no_grad()
def _conditions(
    encoder: EfficientNetEncoder,
    image: Tensor,
    recipe: DiffusionRecipe,
    settings: Mapping[str, Any],
    generator: np.random.Generator,
) -> Tensor:
    """Ẑ of images [B, 3, H, W] as stage B gets it, zero where it is left out."""
    grid = grid_at(float(generator.choice(recipe.scales)), (image.shape[2], image.shape[3]))
    z = encoder(resize(image, grid, settings.get("antialias", False))).float()
    z_hat, reliable = over_channel(z, recipe.snr_db, recipe.shares, generator)
    given = with_reliability(z_hat, reliable) if settings.get("snr_aware", False) else z_hat
    return given * torch.from_numpy(rows(generator.random, len(image)) >= recipe.drop).to(given).view(-1, 1, 1, 1)


def sizes(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Arguments of the networks that a recipe with all stages makes, by their names in a preset."""
    encoder = config["encoder"]["model"]
    channels = encoder.get("channels", 16)
    return {
        "stage_a": config["vqgan"]["model"],
        "encoder": encoder,
        "previewer": {"channels": channels} | config["encoder"]["previewer"],
        "stage_b": config["diffusion"]["model"] | {"effnet_in_channels": channels + config["settings"].get("snr_aware", False)},
    }


def unlike(preset: Preset, config: Mapping[str, Any]) -> list[str]:
    """The networks that a preset lacks, or has in other sizes than the recipe.

    Its stage B may not take the reliability where the recipe's does: :func:`take_reliability` makes up for that.
    """
    found = []
    for name, wanted in sizes(config).items():
        component = preset.components.get(name)
        if component is None:
            found.append(name)
            continue
        ours, theirs = _arguments(name, wanted), _arguments(name, component.config)
        if name == "stage_b":
            theirs["effnet_in_channels"] = max(theirs["effnet_in_channels"], ours["effnet_in_channels"])
        if component.class_name != CLASSES[name].__name__ or ours != theirs:
            found.append(name)
    return found


def _arguments(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of a network as JSON has them, but stage A's scale, which is measured."""
    bound = inspect.signature(CLASSES[name]).bind(**given)
    bound.apply_defaults()
    arguments: dict[str, Any] = json.loads(json.dumps(bound.arguments, default=astuple))
    return {key: value for key, value in arguments.items() if key != "scale_factor"}


STAGES = {
    "vqgan": Plan(VqganRecipe, ("stage_a",), pictured=True),
    "encoder": Plan(EncoderRecipe, ("encoder", "previewer"), pictured=True),
    "diffusion": Plan(DiffusionRecipe, ("plain",)),  # stage B before it is fine-tuned
    "finetune": Plan(DiffusionRecipe, ("stage_b",)),
    "rollout": Plan(RolloutRecipe, ("stage_b",), pictured=True),
}

OVER_CASCADE = {"finetune": STAGES["finetune"]}
"""The same over Stable Cascade, or any preset whose networks stay as large as they are."""


class SCSICTrainer(Trainer):
    """Everything from nothing, or from another preset of the recipe's sizes."""

    method = "scsic"
    plans = STAGES
    measured: ClassVar = {"stage_a": "scale_factor"}

    def build(self) -> None:
        arguments = sizes(self.config)
        vqgan = cast(PaellaVQModel, self.make("stage_a", "PaellaVQModel", arguments["stage_a"]))
        nn.init.normal_(vqgan.vquantizer.embedding.weight)  # as spread out as the latents are
        self.make("encoder", "EfficientNetEncoder", arguments["encoder"])
        previewer = cast(Previewer, self.make("previewer", "Previewer", arguments["previewer"]))
        for last in (vqgan.out_block[0], previewer.blocks[-1]):  # both draw in [0, 1]: they begin at its middle
            nn.init.constant_(cast(Tensor, last.bias), 0.5)
        self.make("plain", "StableCascadeUNet", arguments["stage_b"])
        if self.base is not None:
            self.start_from(self.base)

    def start_from(self, preset: Preset) -> None:
        """Takes every network's weights from a preset of the recipe's sizes.

        Raises:
            InputError: its sizes are others. ModelMismatch: its weights are damaged.
        """
        if others := unlike(preset, self.config):
            raise InputError(
                f"--start {preset.name}: has no {', '.join(others)} of the recipe's size; a --config with `finetune` alone keeps "
                "those of the preset"
            )
        verify(preset)
        for name in ("stage_a", "encoder", "previewer"):
            self.take(name, preset.components[name])
        theirs = cast(StableCascadeUNet, build(preset.components["stage_b"], torch.device("cpu")))
        if theirs.config.effnet_in_channels < cast(StableCascadeUNet, self.parts["plain"]).config.effnet_in_channels:
            take_reliability(theirs)
        self.parts["plain"].load_state_dict(theirs.state_dict())

    def derived(self, name: str) -> nn.Module:
        """The fine-tuned stage B, which starts as a copy of the plain one."""
        self.blueprints["stage_b"] = self.blueprints["plain"]
        return copy.deepcopy(self.parts["plain"])

    def stage(self, stage: str, recipe: Any, generator: np.random.Generator) -> Stage:
        parts, run = cast(dict[str, Any], self.parts), (generator, self.device)
        if stage == "vqgan":
            return vqgan_stage(parts["stage_a"], self.photographs, recipe, self.perceptual, *run)
        if stage == "encoder":
            antialias = self.settings.get("antialias", False)
            return encoder_stage(parts["encoder"], parts["previewer"], self.photographs, recipe, self.perceptual, antialias, *run)
        stage_a = frozen(StageA(parts["stage_a"]).to(self.device))
        latents = self.latents(stage_a, recipe.crop)
        stage_b, encoder = StageB(parts[self.plans[stage].networks[0]]), frozen(parts["encoder"].to(self.device))
        if stage == "rollout":
            return rollout_stage(stage_b, stage_a, encoder, latents, recipe, self.settings, self.perceptual, *run)
        return diffusion_stage(stage_b, stage_a, encoder, latents, recipe, self.settings, *run)

    def export(self, models: Path) -> Path:
        """Writes ``models/scsic/<name>``, and ``<name>-plain``: the same with stage B as it was before it was fine-tuned."""
        folder = models / self.method / self.config["name"]
        parts = {name: self.part(name) for name in ("stage_b", "encoder", "stage_a", "previewer")}
        made = write_preset(folder, self.method, parts, self.settings)
        plain = folder.with_name(f"{folder.name}-plain")
        write_preset(plain, self.method, {**made.components, "stage_b": self.part("plain")}, self.settings)
        return folder


class CascadeTrainer(SCSICTrainer):
    """The paper's own training (section 4.1): stage B alone is fine-tuned, of pretrained Stable Cascade or any other preset."""

    shipped = "paper"
    plans = OVER_CASCADE

    def build(self) -> None:
        assert self.base is not None
        self.settings = {**self.base.settings, **self.settings}
        cascade = ScSicNetworks(self.base, self.device)
        unet: StableCascadeUNet = cascade.stage_b.unet
        self.parts |= {"stage_a": cascade.stage_a.vqgan, "encoder": cascade.encoder, "stage_b": unet}
        known = unet.config.effnet_in_channels - cascade.encoder.channels
        aware = self.settings.get("snr_aware", False)
        if known > aware:
            raise InputError(f'--config: preset {self.base.name} takes the reliability; leave "snr_aware" out of the settings')
        if aware > known:
            take_reliability(unet)
        arguments = {key: value for key, value in unet.config.items() if not key.startswith("_")}
        self.blueprints["stage_b"] = "StableCascadeUNet", arguments

    def export(self, models: Path) -> Path:
        """Writes ``models/scsic/<name>``: stage B, the base's own files, and where the rest is."""
        assert self.base is not None
        parts = {name: taken(component) for name, component in self.base.components.items()} | {"stage_b": self.part("stage_b")}
        return write_preset(models / self.method / self.config["name"], self.method, parts, self.settings).folder


def tunes_alone(base: Preset, recipe: Path | None) -> bool:
    """Whether a preset to start from keeps its sizes, stage B being fine-tuned alone: a pretrained one; any, by a recipe without
    the other stages; without a recipe, one that has not nano's sizes."""
    if is_pretrained(base):
        return True
    config = load_config(recipe, "scsic/nano.json", ())
    return STAGES.keys().isdisjoint(config.keys() - OVER_CASCADE.keys()) if recipe else bool(unlike(base, config))


def open_trainer(options: TrainOptions, report: Report) -> Trainer:
    """The trainer of what is asked for; raises what :func:`gencomm_cli.training.trainer.train` does."""
    base = None if options.start is None else find("scsic", options.start)
    if base is None or not tunes_alone(base, options.config):
        return SCSICTrainer(options, report, base)
    if options.config is None and not is_pretrained(base):
        report(
            f"--start {base.name}: is of other sizes than nano; its stage B alone is trained on (finetune), by the recipe for "
            "Stable Cascade. Give --config for another"
        )
    return CascadeTrainer(options, report, base)
