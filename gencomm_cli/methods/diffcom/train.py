"""DiffCom's recipes (paper 003, section IV-A2): each codec by its root mean squared error, the unconditional prior alone.

adjscc, swinjscc   E‖x − D(W⁻¹(W(E(x))))‖ over AWGN and Rayleigh fading, at random rates; never over multipath
prior              E‖x_0 − x̂_0(x_t, t)‖², weighted by noise level

NTSCC is LRISC's: its preset is taken as it is.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from gencomm_cli.channels.equalisers import effective_snr_db, mmse, reliability
from gencomm_cli.errors import InputError
from gencomm_cli.methods.diffcom.options import preset_of_codec
from gencomm_cli.methods.diffcom.pixel_prior import cosine_time
from gencomm_cli.methods.diffcom.posterior import linear_schedule
from gencomm_cli.networks.adjscc import ADJSCC
from gencomm_cli.networks.conditional_unet import ConditionalUNet
from gencomm_cli.networks.source_codec import SourceCodec
from gencomm_cli.networks.swinjscc import SwinJSCC
from gencomm_cli.presets import FORMAT, VERSION, Component, Preset, file_hash, find, verify
from gencomm_cli.presets.build import build, builders
from gencomm_cli.training.air import Air, block_gains, draw, through
from gencomm_cli.training.data import Photographs, load, to_tensor
from gencomm_cli.training.jscc import token_statistics
from gencomm_cli.training.linear_convolutions import start_linear_convolutions
from gencomm_cli.training.linear_start import start_linear
from gencomm_cli.training.loop import Schedule, autocast, fit
from gencomm_cli.training.parallel import rows
from gencomm_cli.training.workshop import StagedWorkshop, TrainOptions, recipe_from, store

CODECS = ("adjscc", "swinjscc")
NETWORKS = {name: (name,) for name in (*CODECS, "prior")}
"""What each stage trains."""
STAGES = tuple(NETWORKS)

Report = Callable[[str], None]


@dataclass(frozen=True)
class CodecRecipe:
    """Attributes:
    crop: side in pixels. cbr: the rate is log-uniform in it, but 1/48 for two fifths of the batches.
    snr_db: uniform. shares: of AWGN, of Rayleigh fading symbol by symbol, of one gain a picture.
    linear: the codec starts as a linear code for 10 dB (SwinJSCC's for CBR 1/48), not from random weights.
    """

    schedule: Schedule
    batch: int = 12
    crop: int = 128
    cbr: tuple[float, float] = (1 / 96, 1 / 16)
    snr_db: tuple[float, float] = (-5.0, 20.0)
    shares: tuple[float, float, float] = (0.7, 0.2, 0.1)
    linear: bool = False
    seed: int = 2


@dataclass(frozen=True)
class PriorRecipe:
    """Attributes:
    early: share of the samples whose t is uniform in 1 … ``start``, where HiFi works; the others' in 1 … T.
    weights: between which √(ᾱ/(1 − ᾱ)), the weight of a sample, is held: about the inverse of the error that can be reached.
    """

    schedule: Schedule
    batch: int = 12
    crop: int = 128
    early: float = 0.6
    start: int = 300
    weights: tuple[float, float] = (0.2, 30.0)
    seed: int = 3


def through_air(code: SourceCodec, image: Tensor, cbr: float, air: Air) -> Tensor:
    """x_d of images [B, 3, H, W]: fading is equalised (MMSE) and taken as the AWGN channel of its effective SNR."""
    size = (image.shape[2], image.shape[3])
    sent = code.encode(image, code.symbols(round(cbr * image[0].numel()), size), air.told)
    received, gain, n0 = through(sent, air, block_gains(air))
    snr_db = effective_snr_db(reliability(gain, n0).mean(1))  # type: ignore[type-var]
    equalised = torch.where(air.kind[:, None] == 0, received, mmse(received, gain, n0))  # type: ignore[type-var]
    return code.decode(equalised, size, snr_db).float()


def train_codec(
    stage: str, codec: nn.Module, photographs: Photographs, recipe: CodecRecipe, out: Path, device: torch.device, report: Report
) -> None:
    """Trains a codec in place; the SNR is unknown to its encoder 40 % of the time."""
    generator = np.random.default_rng(recipe.seed)
    torch.manual_seed(recipe.seed)
    codec.to(device).requires_grad_(True).train()

    def loss(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        image = to_tensor(photographs.crops(recipe.batch, recipe.crop, generator)[0], device)
        air = draw(recipe.batch, generator, device, recipe.snr_db, recipe.shares)
        usual = generator.random() < 0.4
        cbr = 1 / 48 if usual else float(np.exp(generator.uniform(*np.log(recipe.cbr))))
        with autocast(device, recipe.schedule.precision):
            error = (through_air(cast(SourceCodec, codec), image, cbr, air) - image).square().mean((1, 2, 3))
        shown = (air.snr_db.sub(10).abs() < 3) & (air.kind == 0)
        figures = {"at10dB": float(error[shown].mean().detach()) * 2.5 if usual and shown.any() else 0.0}
        return error.sqrt().mean(), figures  # squared, the worst channels would drown the good ones

    fit({"codec": codec}, loss, generator, recipe.schedule, out, stage, report=report)
    codec.eval().requires_grad_(False)


def train_prior(
    unet: ConditionalUNet, photographs: Photographs, recipe: PriorRecipe, out: Path, device: torch.device, report: Report
) -> None:
    """Trains the prior in place, on the noise levels of the samplers' schedule."""
    alpha_bar = linear_schedule()
    times = torch.tensor([cosine_time(float(a)) for a in alpha_bar])
    generator = np.random.default_rng(recipe.seed)
    torch.manual_seed(recipe.seed)
    unet.to(device, memory_format=torch.channels_last).requires_grad_(True).train()  # type: ignore[call-overload]
    contexts = unet.no_contexts(recipe.batch, (recipe.crop, recipe.crop))

    def loss(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        clean = 2 * to_tensor(photographs.crops(recipe.batch, recipe.crop, generator)[0], device) - 1
        last = np.where(rows(generator.random, recipe.batch) < recipe.early, recipe.start, len(alpha_bar) - 1)
        t = torch.from_numpy((1 + rows(generator.random, recipe.batch) * last).astype(np.int64))  # uniform in 1 … last
        a = alpha_bar[t].float().to(device)
        bar = a[:, None, None, None]
        noisy = bar.sqrt() * clean + (1 - bar).sqrt() * torch.randn_like(clean)
        with autocast(device, recipe.schedule.precision):
            predicted = unet(noisy, times[t].to(device), contexts)
        error = (predicted.float() - clean).square().mean((1, 2, 3))
        few = (t <= recipe.start).to(device)
        figures = {"few": float(error[few].mean().detach()) if few.any() else 0.0}
        return (error * (a / (1 - a)).sqrt().clamp(*recipe.weights)).mean(), figures

    fit({"prior": unet}, loss, generator, recipe.schedule, out, "prior", report=report)
    unet.eval().requires_grad_(False)


class Workshop(StagedWorkshop):
    """The codecs and the prior of one run; none needs another."""

    networks = NETWORKS

    def __init__(self, config: dict[str, Any], data: Path, out: Path, device: torch.device) -> None:
        self.config, self.out, self.device = config, out, device
        torch.manual_seed(0)
        self.photographs = load(data, out / "cache", validation=False)
        self.taken: set[str] = set()  # from presets
        self.parts: dict[str, nn.Module] = {
            name: builders()[config[name]["class"]](**config[name]["model"])
            for name in STAGES  # type: ignore[operator]
        }
        if isinstance(prior := self.parts["prior"], ConditionalUNet):  # the linear estimate at first, and nothing else
            for parameter in prior.final_conv[1].parameters():
                nn.init.zeros_(parameter)

    def start_from(self, base: str) -> None:
        """Takes the prior's weights, and those of every codec that has a preset, from the presets named after ``base``."""
        for name in CODECS:
            try:
                preset = find("diffcom", preset_of_codec(base, name))
            except InputError:
                continue
            verify(preset)
            self._take(name, preset, "codec")
            self._take("prior", preset, "prior")

    def _take(self, name: str, preset: Preset, component: str) -> None:
        self.parts[name].load_state_dict(build(preset.components[component], torch.device("cpu")).state_dict())
        self.taken.add(name)

    def start_linear(self, codec: nn.Module) -> None:
        """Sets a codec to the linear code of the training photographs' statistics."""
        fields = to_tensor(self.photographs.crops(600, 128, np.random.default_rng(0))[0], torch.device("cpu")).contiguous()

        def covariances(sides: Sequence[int]) -> list[Tensor]:
            return [token_statistics(fields, side)[1] for side in sides]

        if isinstance(codec, SwinJSCC):
            sides = [2 ** (stage + 1) for stage in range(len(codec.config.dims))]
            start_linear(codec, fields.mean((0, 2, 3)), covariances(sides), reals=6 * sides[-1] ** 2 // 48, snr_db=10.0)
        elif isinstance(codec, ADJSCC):
            start_linear_convolutions(codec, fields[:200], covariances((2, 4)), snr_db=10.0)
        else:
            raise InputError("--config: linear is for ADJSCC and SwinJSCC; leave it out of other codecs")

    def module(self, name: str) -> nn.Module:
        """A codec, or ``prior``."""
        return self.parts[name]

    def run(self, stage: str, max_minutes: float | None, report: Report) -> None:
        """Trains one stage."""
        values, module = self.config[stage]["recipe"], self.parts[stage]
        if stage == "prior":
            recipe = recipe_from(PriorRecipe, values, max_minutes)
            train_prior(cast(ConditionalUNet, module), self.photographs, recipe, self.out, self.device, report)
        else:
            codec_recipe = recipe_from(CodecRecipe, values, max_minutes)
            if codec_recipe.linear and stage not in self.taken:
                self.start_linear(module)
            train_codec(stage, module, self.photographs, codec_recipe, self.out, self.device, report)

    def export(self, models: Path, report: Report = print) -> Path:
        """Writes ``models/diffcom/<name>`` with the first codec, and a preset for each other codec over the same prior.

        A codec that is not trained yet is left out, and NTSCC's where there is no LRISC preset to take it from; exporting again
        adds it. Without a prior there is no preset.
        """
        name = self.config["name"]
        if not self._trained("prior"):
            report("no preset yet: it needs the prior; train it with --stages prior --resume")
            return models
        prior = self._stored("prior", models / "diffcom" / name / "prior.safetensors", models)
        for codec in CODECS:
            if not self._trained(codec):
                report(f"{codec}: left out (not trained)")
                continue
            own = models / "diffcom" / preset_of_codec(name, codec)
            self._write(own, {"codec": self._stored(codec, own / "codec.safetensors", models), "prior": prior})
        if (lrisc := self.config.get("ntscc")) is not None:
            try:
                components = find("lrisc", lrisc).components
            except InputError as error:
                report(f"ntscc: left out ({error})")
                return models / "diffcom" / name
            parts = {part: _copied(components[part], models) for part in ("transform", "jscc", "rates")}
            self._write(models / "diffcom" / preset_of_codec(name, "ntscc"), parts | {"prior": prior})
        return models / "diffcom" / name

    def _trained(self, name: str) -> bool:
        """Whether a network is more than the random weights it began with."""
        return name in self.taken or (self.out / f"{name}.{name}.safetensors").exists()

    def _write(self, folder: Path, components: dict[str, Any]) -> None:
        """A preset's config; what its settings say of one codec holds for that one."""
        folder.mkdir(parents=True, exist_ok=True)
        settings = dict(self.config["settings"])
        own = settings.pop("codecs", {}).get(folder.name.removeprefix(self.config["name"]).lstrip("-"), {})
        document = {
            "format": FORMAT, "version": VERSION, "method": "diffcom", "name": folder.name, "components": components,
            "settings": settings | own,
        }  # fmt: skip
        (folder / "config.json").write_text(json.dumps(document, indent=1) + "\n")

    def _stored(self, name: str, path: Path, models: Path) -> dict[str, Any]:
        """Writes a network in half precision; its entry in a preset's config."""
        path.parent.mkdir(parents=True, exist_ok=True)
        store(self.parts[name], path)
        entry = {"class": self.config[name]["class"], "file": str(path.relative_to(models)), "sha256": file_hash(path)}
        return entry | {"config": self.config[name]["model"]}


def _copied(component: Component, models: Path) -> dict[str, Any]:
    """A component of another method's preset, copied to the same place inside ``models``, as a config names it."""
    assert component.path is not None
    relative = component.path.relative_to(component.path.parent.parent.parent)
    (models / relative).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(component.path, models / relative)
    return {
        "class": component.class_name, "file": str(relative), "sha256": component.sha256, "config": dict(component.config)
    }  # fmt: skip


def train(options: TrainOptions, report: Report = print) -> Path:
    """Trains every stage that is not finished and writes the presets to ``options.out / "models"``.

    Raises:
        InputError: unusable recipe, data or folder; ``metric_weights`` is given, which no stage reads.
    """
    if options.metric_weights is not None:
        raise InputError("--metric-weights: diffcom trains without perceptual losses and does not read it; drop it")
    config = options.open("diffcom/nano.json", {"name", *STAGES, "settings"})
    workshop = Workshop(config, options.data, options.out, torch.device(options.device))
    if options.start is not None:
        workshop.start_from(options.start)
    return workshop.complete(options.stages or STAGES, options, report)
