"""SC-SIC's recipe (paper 004, section 4.1), and one stage more for a small network.

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
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.models import StableCascadeUNet
from torch import Tensor, nn

from gencomm_cli.channels.equalisers import reliability
from gencomm_cli.diffusion.cosine import amplitudes, log_snr, time_of
from gencomm_cli.errors import InputError
from gencomm_cli.methods.scsic.cascade import PaellaVQModel, StageA, StageB, take_reliability
from gencomm_cli.methods.scsic.efficientnet import EfficientNetEncoder
from gencomm_cli.methods.scsic.method import (
    SCALE,
    Target,
    grid_at,
    resize,
    sample,
    times,
    to_embedding,
    to_symbols,
    with_reliability,
)
from gencomm_cli.methods.scsic.networks import Cascade
from gencomm_cli.methods.scsic.previewer import Previewer
from gencomm_cli.metrics.lpips import LPIPS
from gencomm_cli.presets import FORMAT, VERSION, Preset, entry_of, file_hash, find, is_pretrained, verify
from gencomm_cli.presets.build import build
from gencomm_cli.training.air import block_gains, draw, through
from gencomm_cli.training.data import Photographs, load, to_tensor
from gencomm_cli.training.latent_space import frozen
from gencomm_cli.training.latents import Latents, compute
from gencomm_cli.training.loop import Schedule, autocast, fit
from gencomm_cli.training.parallel import rows
from gencomm_cli.training.patchgan import PatchGAN, adversarial_losses
from gencomm_cli.training.refiner import fold_pattern
from gencomm_cli.training.workshop import StagedWorkshop, TrainOptions, load_config, load_judges, recipe_from, store

NETWORKS = {"vqgan": ("stage_a",), "encoder": ("encoder", "previewer"), "diffusion": ("plain",), "finetune": ("stage_b",),
            "rollout": ("stage_b",)}  # fmt: skip
"""What each stage trains, in the order of the stages; ``plain`` is stage B before it is fine-tuned."""

STAGES = tuple(NETWORKS)

OVER_CASCADE: dict[str, tuple[str, ...]] = {"finetune": ("stage_b",)}
"""The same over Stable Cascade, or any preset whose networks stay as large as they are."""

CLASSES: dict[str, type[nn.Module]] = {
    "stage_a": PaellaVQModel, "encoder": EfficientNetEncoder, "previewer": Previewer, "stage_b": StableCascadeUNet
}  # fmt: skip
"""The networks of a preset."""

Report = Callable[[str], None]
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
    """E‖ε − ε̄(X_VG,t, t, Ẑ)‖² (eq. 4) over t uniform in 0 … 1; encoder and stage A are frozen.

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


def over_the_air(z: Tensor, snr_db: Range | None, shares: Sequence[float], generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Ẑ of embeddings [B, C, h, w] (eqs. 5, 6), and how reliable each of its symbols [B, C·h·w / 2] is."""
    symbols, power = to_symbols(z)
    if snr_db is None:
        return z, torch.ones_like(symbols.real)
    air = draw(len(z), generator, z.device, snr_db, shares)
    received, gain, n0 = through(symbols, air, block_gains(air))
    z_hat = to_embedding(received, gain, power, z.shape[1], (z.shape[2], z.shape[3]))
    return z_hat, reliability(gain, n0)  # type: ignore[type-var]


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


def perceptual_loss(judges: list[LPIPS], made: Tensor, image: Tensor) -> Tensor:
    """Mean LPIPS over images and backbones."""
    return torch.stack([judge(made, image).mean() for judge in judges]).mean()


def train_vqgan(
    vqgan: PaellaVQModel,
    photographs: Photographs,
    recipe: VqganRecipe,
    judges: list[LPIPS],
    out: Path,
    device: torch.device,
    report: Report = print,
) -> None:
    """Trains stage A in place; then sets its scale so that latents have unit variance."""
    vqgan.to(device, memory_format=torch.channels_last).requires_grad_(True).train()
    generator = np.random.default_rng(recipe.seed)
    torch.manual_seed(recipe.seed)
    modules: dict[str, nn.Module] = {"vqgan": vqgan}
    critic = PatchGAN(recipe.critic).to(device) if recipe.adversarial else None
    if critic is not None:
        modules["critic"] = critic

    def images() -> Tensor:
        return to_tensor(photographs.crops(recipe.batch, recipe.crop, generator)[0], device)

    def loss(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        image = images()
        with autocast(device, recipe.schedule.precision):
            latent = vqgan.encode(image).latents.float()
            quantised, codebook, _ = vqgan.vquantizer(latent)
            chosen = torch.from_numpy(rows(generator.random, len(latent)) < recipe.quantised).to(device).view(-1, 1, 1, 1)
            made = vqgan.decode(torch.where(chosen, quantised, latent)).sample.float()
            mse, perceptual = (made - image).square().mean(), perceptual_loss(judges, made, image)
            total = mse + recipe.perceptual * perceptual + recipe.codebook * codebook
            figures = {
                "psnr": float(-10 * mse.detach().log10()),
                "lpips": float(perceptual.detach()),
                "vq": float(codebook.detach()),
            }
            if critic is not None and progress >= recipe.adversarial_from:
                fooling, telling = adversarial_losses(critic, image, made)
                total = total + recipe.adversarial * (fooling + telling)
                figures |= {"fooling": float(fooling.detach()), "telling": float(telling.detach())}
        return total, figures

    fit(modules, loss, generator, recipe.schedule, out, "vqgan", report=report)
    settle(vqgan, lambda: vqgan.encode(images()))
    with torch.no_grad():
        spread = torch.cat([vqgan.encode(images()).latents for _ in range(20)]).std()
    vqgan.register_to_config(scale_factor=float(spread))


def train_encoder(
    encoder: EfficientNetEncoder,
    previewer: Previewer,
    photographs: Photographs,
    recipe: EncoderRecipe,
    judges: list[LPIPS],
    antialias: bool,
    out: Path,
    device: torch.device,
    report: Report = print,
) -> None:
    """Trains both in place."""
    both = nn.ModuleDict({"encoder": encoder, "previewer": previewer}).requires_grad_(True).train()
    both.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = np.random.default_rng(recipe.seed)
    torch.manual_seed(recipe.seed)

    def pictures() -> tuple[Tensor, Tensor]:
        """What the previewer makes of a batch, and what it should."""
        image = to_tensor(photographs.crops(recipe.batch, recipe.crop, generator)[0], device)
        grid = grid_at(float(generator.choice(recipe.scales)), (recipe.crop, recipe.crop))
        z = encoder(resize(image, grid, antialias)).float()
        made = previewer(over_the_air(z, recipe.snr_db, recipe.shares, generator)[0]).float()
        return made, F.interpolate(image, made.shape[2:], mode="bilinear", antialias=True)

    def loss(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        with autocast(device, recipe.schedule.precision):
            made, image = pictures()
            mse, perceptual = (made - image).square().mean(), perceptual_loss(judges, made, image)
        figures = {"psnr": float(-10 * mse.detach().log10()), "lpips": float(perceptual.detach())}
        return mse + recipe.perceptual * perceptual, figures

    fit({"encoder": encoder, "previewer": previewer}, loss, generator, recipe.schedule, out, "encoder", report=report)
    settle(both, pictures)


def train_stage_b(
    stage: str,
    stage_b: StageB,
    encoder: EfficientNetEncoder,
    latents: Latents,
    recipe: DiffusionRecipe,
    settings: Mapping[str, Any],
    out: Path,
    device: torch.device,
    report: Report = print,
) -> None:
    """Trains stage B in place, on latents of the frozen stage A and embeddings of the frozen encoder."""
    generator, target = _begin(stage_b, recipe, device), _target(settings)

    def loss(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        clean, pixels, _ = latents.crops(recipe.batch, recipe.crop, generator)
        x_0 = clean.to(device, memory_format=torch.channels_last)
        epsilon = torch.randn_like(x_0)
        level = log_snr(torch.from_numpy(rows(generator.random, recipe.batch).astype(np.float32)).to(device))
        a, b = (amplitude.view(-1, 1, 1, 1) for amplitude in amplitudes(level))
        with autocast(device, recipe.schedule.precision):
            told = _conditions(encoder, to_tensor(pixels, device), recipe, settings, generator)
            predicted = stage_b(a * x_0 + b * epsilon, time_of(level), told).float()  # eq. 3
        error = (predicted - (epsilon if target == "epsilon" else a * epsilon - b * x_0)).square().mean((1, 2, 3))
        early = level < 0
        return error.mean(), {"early": float(error[early].mean().detach()) if early.any() else 0.0}

    fit({stage: stage_b}, loss, generator, recipe.schedule, out, stage, report=report)
    frozen(stage_b)


def roll_out(
    stage_b: StageB,
    stage_a: StageA,
    encoder: EfficientNetEncoder,
    latents: Latents,
    recipe: RolloutRecipe,
    settings: Mapping[str, Any],
    judges: list[LPIPS],
    out: Path,
    device: torch.device,
    report: Report = print,
) -> None:
    """Trains stage B in place along the sampler's path, through the frozen stage A.

    Raises:
        InputError: stage B predicts ε.
    """
    if (target := _target(settings)) != "v":  # of noise alone x̂_0 would be ε's error a hundredfold
        raise InputError(
            '--config: rollout needs "target": "v" among the settings; leave it out of --stages for a stage B that predicts ε'
        )
    generator, shift = _begin(stage_b, recipe, device), settings.get("shift", 1.0)
    patch = stage_a.factor * int(stage_b.unet.config.patch_size)

    def loss(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        clean, pixels, _ = latents.crops(recipe.batch, recipe.crop, generator)
        x_0, image = clean.to(device), to_tensor(pixels, device)
        count = int(generator.integers(1, recipe.path + 1))
        visited = times(count)[: int(generator.integers(count)) + 2]
        left = len(visited) - 1

        with autocast(device, recipe.schedule.precision):
            told = _conditions(encoder, image, recipe, settings, generator)

            def predict(x: Tensor, time: Tensor) -> Tensor:
                nonlocal left
                left -= 1
                with torch.set_grad_enabled(left == 0):  # the path leads to a state; the loss is of what is predicted there
                    return stage_b(x, time, told).float()

            made = sample(torch.randn_like(x_0), visited, predict, lambda _: torch.randn_like(x_0), target=target, shift=shift)
            picture = stage_a.decode(made).float()
        error, mse = (made - x_0).square().mean(), (picture - image).square().mean()
        perceptual, pattern = perceptual_loss(judges, picture, image), fold_pattern(picture - image, patch)
        figures = {"latent": error, "psnr": -10 * mse.log10(), "lpips": perceptual, "grid": pattern}
        total = recipe.latent * error + mse + recipe.perceptual * perceptual + recipe.grid * pattern
        return total, {name: float(figure.detach()) for name, figure in figures.items()}

    fit({"rollout": stage_b}, loss, generator, recipe.schedule, out, "rollout", report=report)
    frozen(stage_b)


def _begin(stage_b: StageB, recipe: DiffusionRecipe, device: torch.device) -> np.random.Generator:
    """Makes stage B ready to be trained; returns what its batches are drawn from."""
    stage_b.to(device, memory_format=torch.channels_last).requires_grad_(True).train()  # type: ignore[call-overload]
    torch.manual_seed(recipe.seed)
    return np.random.default_rng(recipe.seed)


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
    """Ẑ of images [B, 3, H, W] as stage B is told it, zero where it is left out."""
    grid = grid_at(float(generator.choice(recipe.scales)), (image.shape[2], image.shape[3]))
    z = encoder(resize(image, grid, settings.get("antialias", False))).float()
    z_hat, trust = over_the_air(z, recipe.snr_db, recipe.shares, generator)
    told = with_reliability(z_hat, trust) if settings.get("snr_aware", False) else z_hat
    return told * torch.from_numpy(rows(generator.random, len(image)) >= recipe.drop).to(told).view(-1, 1, 1, 1)


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

    Its stage B may be told nothing of the channel where the recipe's is: :func:`take_reliability` makes up for that.
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


class Workshop(StagedWorkshop):
    """The networks of one run, built from the recipe, trained stage by stage; finished stages are loaded from ``out``."""

    networks = NETWORKS

    def __init__(self, config: dict[str, Any], data: Path, out: Path, judges: list[LPIPS], device: torch.device) -> None:
        self.config, self.out, self.judges, self.device = config, out, judges, device
        self.settings: dict[str, Any] = config["settings"]
        torch.manual_seed(0)
        self.photographs = load(data, out / "cache", validation=False)
        self.sizes = sizes(config)
        self.vqgan = PaellaVQModel(**self.sizes["stage_a"])
        nn.init.normal_(self.vqgan.vquantizer.embedding.weight)  # as spread out as the latents are
        self.encoder = EfficientNetEncoder(**self.sizes["encoder"])
        self.previewer = Previewer(**self.sizes["previewer"])
        for last in (self.vqgan.out_block[0], self.previewer.blocks[-1]):  # both draw in [0, 1]: they begin at its middle
            nn.init.constant_(cast(Tensor, last.bias), 0.5)
        self.plain = StageB(StableCascadeUNet(**self.sizes["stage_b"]))
        self._stage_b: StageB | None = None

    def module(self, name: str) -> nn.Module:
        """A network by its name; ``stage_b`` starts as a copy of the ``plain`` one, which is trained before it."""
        if name == "stage_b":
            if self._stage_b is None:
                self._stage_b = copy.deepcopy(self.plain)
            return self._stage_b.unet
        known = {"stage_a": self.vqgan, "encoder": self.encoder, "previewer": self.previewer, "plain": self.plain.unet}
        return known[name]

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
        for component, name in (("stage_a", "stage_a"), ("encoder", "encoder"), ("previewer", "previewer"), ("stage_b", "plain")):
            built = build(preset.components[component], torch.device("cpu"))
            if isinstance(built, StableCascadeUNet) and built.config.effnet_in_channels < self.plain.unet.config.effnet_in_channels:
                take_reliability(built)
            self.module(name).load_state_dict(built.state_dict())
            if isinstance(built, PaellaVQModel):
                self.vqgan.register_to_config(scale_factor=built.config.scale_factor)

    def notes(self, name: str) -> dict[str, str]:
        """Stage A's scale, which is no tensor."""
        return {"scale_factor": str(self.vqgan.config.scale_factor)} if name == "stage_a" else {}

    def heed(self, name: str, notes: Mapping[str, str]) -> None:
        """Takes up stage A's scale."""
        if name == "stage_a":
            self.vqgan.register_to_config(scale_factor=float(notes["scale_factor"]))

    def run(self, stage: str, max_minutes: float | None, report: Report) -> None:
        """Trains one stage, whose predecessors are finished."""
        config, run = self.config[stage], (self.out, self.device, report)
        if stage == "vqgan":
            recipe = recipe_from(VqganRecipe, config["recipe"], max_minutes)
            train_vqgan(self.vqgan, self.photographs, recipe, self.judges, *run)
        elif stage == "encoder":
            antialias = self.settings.get("antialias", False)
            encoding = recipe_from(EncoderRecipe, config["recipe"], max_minutes)
            train_encoder(self.encoder, self.previewer, self.photographs, encoding, self.judges, antialias, *run)
        else:
            stage_a = frozen(StageA(self.vqgan).to(self.device))
            latents = compute(stage_a, self.photographs, self.out / "latents.npy", self.device, report)
            self.module(NETWORKS[stage][0])  # the fine-tuned one starts from what is trained by now
            stage_b = self.plain if stage == "diffusion" else self._stage_b
            assert stage_b is not None
            encoder, values = frozen(self.encoder.to(self.device)), config.get("recipe") or config
            if stage == "rollout":
                rollout = recipe_from(RolloutRecipe, values, max_minutes)
                roll_out(stage_b, stage_a, encoder, latents, rollout, self.settings, self.judges, *run)
            else:
                recipe_b = recipe_from(DiffusionRecipe, values, max_minutes)
                train_stage_b(stage, stage_b, encoder, latents, recipe_b, self.settings, *run)

    def export(self, models: Path, report: Report = print) -> Path:
        """Writes ``models/scsic/<name>``, and ``<name>-plain``: the same with stage B as it was before it was fine-tuned."""
        name = self.config["name"]
        scaled = self.sizes["stage_a"] | {"scale_factor": self.vqgan.config.scale_factor}
        components: dict[str, Any] = {}
        for preset, stage_b in ((name, "stage_b"), (f"{name}-plain", "plain")):
            own = models / "scsic" / preset
            own.mkdir(parents=True, exist_ok=True)
            shared = ("encoder", "stage_a", "previewer") if preset == name else ()
            for part in ("stage_b", *shared):
                path = own / f"{part}.safetensors"
                store(self.module(stage_b if part == "stage_b" else part), path)
                components[part] = {
                    "class": CLASSES[part].__name__, "file": str(path.relative_to(models)), "sha256": file_hash(path),
                    "config": scaled if part == "stage_a" else self.sizes[part],
                }  # fmt: skip
            document = {
                "format": FORMAT, "version": VERSION, "method": "scsic", "name": preset,
                "components": components, "settings": self.settings,
            }  # fmt: skip
            (own / "config.json").write_text(json.dumps(document, indent=1) + "\n")
        return models / "scsic" / name


class CascadeWorkshop(Workshop):
    """The paper's own training (section 4.1): stage B alone is fine-tuned, of pretrained Stable Cascade or any other preset."""

    networks = OVER_CASCADE

    def __init__(self, config: dict[str, Any], base: Preset, data: Path, out: Path, device: torch.device) -> None:
        self.config, self.base, self.out, self.device = config, base, out, device
        self.settings = {**base.settings, **config["settings"]}
        torch.manual_seed(0)
        cascade = Cascade(base, device)
        self.vqgan, self.encoder, self._stage_b = cascade.stage_a.vqgan, cascade.encoder, cascade.stage_b
        told, aware = self._stage_b.unet.config.effnet_in_channels - self.encoder.channels, self.settings.get("snr_aware", False)
        if told > aware:
            raise InputError(f'--config: preset {base.name} is told of the channel; leave "snr_aware" out of the settings')
        if aware > told:
            take_reliability(self._stage_b.unet)
        self.photographs = load(data, out / "cache", validation=False)

    def export(self, models: Path, report: Report = print) -> Path:
        """Writes ``models/scsic/<name>``: stage B in half precision, the base's own files, and where the rest is."""
        own = models / "scsic" / self.config["name"]
        own.mkdir(parents=True, exist_ok=True)
        path, stage_b = own / "stage_b.safetensors", self.module("stage_b")
        store(stage_b, path)
        arguments = {key: value for key, value in cast(StableCascadeUNet, stage_b).config.items() if not key.startswith("_")}
        components = {}
        for name, component in self.base.components.items():
            components[name] = entry_of(component)
            if component.path is not None and name != "stage_b":
                shutil.copyfile(component.path, own / f"{name}.safetensors")
                components[name]["file"] = f"{name}.safetensors"
        components["stage_b"] = {"class": "StableCascadeUNet", "file": path.name, "sha256": file_hash(path), "config": arguments}
        document = {
            "format": FORMAT, "version": VERSION, "method": "scsic", "name": self.config["name"],
            "components": components, "settings": self.settings,
        }  # fmt: skip
        (own / "config.json").write_text(json.dumps(document, indent=1) + "\n")
        return own


def tunes_alone(base: Preset, recipe: Path | None) -> bool:
    """Whether a preset to start from keeps its sizes, stage B being fine-tuned alone: a pretrained one; any, by a recipe without
    the other stages; without a recipe, one that has not nano's sizes."""
    if is_pretrained(base):
        return True
    config = load_config(recipe, "scsic/nano.json", ())
    return set(STAGES).isdisjoint(config.keys() - OVER_CASCADE.keys()) if recipe else bool(unlike(base, config))


def train(options: TrainOptions, report: Report = print) -> Path:
    """Trains every stage that is not finished and writes the preset to ``options.out / "models"``.

    Raises:
        InputError: unusable recipe, data or folder.
    """
    device, base = torch.device(options.device), None if options.start is None else find("scsic", options.start)
    if base is not None and tunes_alone(base, options.config):
        if options.config is None and not is_pretrained(base):
            report(
                f"--start {base.name}: is of other sizes than nano; its stage B alone is trained on (finetune), by the recipe for "
                "Stable Cascade. Give --config for another"
            )
        tuned = options.open("scsic/paper.json", {"name", *OVER_CASCADE, "settings"})
        return CascadeWorkshop(tuned, base, options.data, options.out, device).complete(
            options.stages or tuple(OVER_CASCADE), options, report
        )
    config = options.open("scsic/nano.json", {"name", *STAGES, "settings"})
    workshop = Workshop(config, options.data, options.out, load_judges(options.metric_weights, device), device)
    if base is not None:
        workshop.start_from(base)
    return workshop.complete(options.stages or STAGES, options, report)
