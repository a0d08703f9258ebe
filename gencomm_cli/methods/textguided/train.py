"""The whole recipe of a textguided preset: VAE, prior, JSCC, control module, stage 2; then the preset folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.models import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from gencomm_cli.errors import InputError
from gencomm_cli.methods.textguided.prior import SPECIAL_TOKENS, PriorRecipe, train_prior, train_tokenizer
from gencomm_cli.metrics.lpips import LPIPS
from gencomm_cli.networks.backbone import Backbone
from gencomm_cli.networks.control import LatentControlNet, control_arguments
from gencomm_cli.networks.rate_adaptive import JSCCConfig, RateAdaptiveJSCC
from gencomm_cli.networks.text import TextEncoder
from gencomm_cli.networks.vae import Domain, LatentCodec
from gencomm_cli.presets import FORMAT, VERSION, Preset, entry_of, file_hash, find, is_pretrained, verify
from gencomm_cli.presets.build import build
from gencomm_cli.training.data import Photographs
from gencomm_cli.training.jscc import JSCCRecipe, train_jscc
from gencomm_cli.training.latent_space import DecoderRecipe, VAERecipe, frozen, train_decoder, train_vae
from gencomm_cli.training.latents import Latents, compute
from gencomm_cli.training.parallel import first
from gencomm_cli.training.refiner import RefinerRecipe, train_refiner
from gencomm_cli.training.workshop import StagedWorkshop, TrainOptions, load_judges, recipe_from, store

NETWORKS = {
    "vae": ("vae",),
    "prior": ("unet", "text_encoder"),
    "jscc": ("jscc",),
    "decoder": ("vae",),
    "control": ("control", "jscc"),
    "refine": ("control", "jscc", "vae"),
}
"""What each stage trains, in the order of the stages."""

STAGES = tuple(NETWORKS)

OVER_BACKBONE = {"jscc": ("jscc",), "control": ("control", "jscc"), "refine": ("control", "jscc")}
"""The same where VAE, UNet and text encoder are others' and stay as they are."""


class Workshop(StagedWorkshop):
    """The networks of one run, built from the recipe, trained stage by stage; finished stages are loaded from ``out``."""

    networks = NETWORKS

    def __init__(
        self, config: dict[str, Any], photographs: Photographs, out: Path, judges: list[LPIPS], device: torch.device
    ) -> None:
        self.config, self.photographs, self.out, self.judges, self.device = config, photographs, out, judges, device
        torch.manual_seed(0)
        self.autoencoder = AutoencoderKL(**config["vae"]["model"])
        self.unet = UNet2DConditionModel(**config["prior"]["unet"])
        self.jscc = RateAdaptiveJSCC(JSCCConfig.from_json(config["jscc"]["model"]))
        tokenizer_file = out / "tokenizer.json"
        with first():
            if not tokenizer_file.exists():
                train_tokenizer(self.photographs.captions).backend_tokenizer.save(str(tokenizer_file))
        self.tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(tokenizer_file), **SPECIAL_TOKENS)
        self.text_config = {**config["prior"]["text"], "vocab_size": len(self.tokenizer)}
        self.text_model = CLIPTextModel(CLIPTextConfig(**self.text_config))
        self._control: LatentControlNet | None = None
        self.started = False
        self.domain: Domain = config["settings"].get("domain", "latent")

    @property
    def control(self) -> LatentControlNet:
        """The control module, started from the trained UNet's encoder."""
        if self._control is None:
            self._control = LatentControlNet.over(self.unet)
        return self._control

    def module(self, name: str) -> nn.Module:
        """A network by the name it has in a preset."""
        if name == "control":
            return self.control
        known: dict[str, nn.Module] = {
            "vae": self.autoencoder,
            "unet": self.unet,
            "text_encoder": self.text_model,
            "jscc": self.jscc,
        }
        return known[name]

    def start_from(self, preset: Preset) -> None:
        """Takes every network's weights, and the tokeniser they were trained with, from a preset of the same sizes."""
        verify(preset)
        for name in ("vae", "unet", "text_encoder", "control", "jscc"):
            built = build(preset.components[name], torch.device("cpu"))
            self.module(name).load_state_dict(built.state_dict())
        self.autoencoder.register_to_config(scaling_factor=preset.components["vae"].config["scaling_factor"])
        path = preset.components["tokenizer"].path
        if path is None or path.read_bytes() != (self.out / "tokenizer.json").read_bytes():
            raise InputError(f"--start {preset.name}: its tokeniser differs from the one in {self.out}; name a new --out")
        self.started = True

    def notes(self, name: str) -> dict[str, str]:
        """The VAE's scaling factor, which is no tensor."""
        return {"scaling_factor": str(self.autoencoder.config.scaling_factor)} if name == "vae" else {}

    def heed(self, name: str, notes: Mapping[str, str]) -> None:
        """Takes up the VAE's scaling factor."""
        if name == "vae":
            self.autoencoder.register_to_config(scaling_factor=float(notes["scaling_factor"]))

    def codec(self) -> LatentCodec:
        """The trained VAE, frozen."""
        codec = LatentCodec(self.autoencoder).to(self.device)
        frozen(codec)
        return codec

    def latents(self, report: Callable[[str], None]) -> Latents:
        """Latents of the training photographs."""
        return compute(self.codec(), self.photographs, self.out / "latents.npy", self.device, report)

    def run(self, stage: str, max_minutes: float | None, report: Callable[[str], None]) -> None:
        """Trains one stage, whose predecessors are finished."""
        config, run = self.config[stage], (self.out, self.device, report)
        if stage == "vae":
            train_vae(self.autoencoder, self.photographs, recipe_from(VAERecipe, config["recipe"], max_minutes), self.judges, *run)
            return
        latents = self.latents(report)
        if stage == "prior":
            recipe = recipe_from(PriorRecipe, config["recipe"], max_minutes)
            train_prior(self.unet, self.text_model, self.tokenizer, latents, recipe, *run)
        elif stage == "jscc":
            jscc_recipe = recipe_from(JSCCRecipe, config["recipe"], max_minutes)
            train_jscc(self.jscc, latents, jscc_recipe, *run, domain=self.domain, linear=not self.started)
        elif stage == "decoder":
            train_decoder(self.codec(), latents, recipe_from(DecoderRecipe, config, max_minutes), self.judges, *run)
        else:
            frozen(self.unet.to(self.device))
            text = TextEncoder(self.tokenizer, frozen(self.text_model.to(self.device)))
            refiner = recipe_from(RefinerRecipe, config, max_minutes)
            train_refiner(
                stage,
                self.control,
                self.jscc,
                self.unet,
                self.codec(),
                text,
                latents,
                refiner,
                self.judges,
                *run,
                domain=self.domain,
            )

    def export(self, models: Path, report: Callable[[str], None] = print) -> Path:
        """Writes ``models/textguided/<name>`` and ``models/shared/<name>`` in half precision."""
        name = self.config["name"]
        own, shared = models / "textguided" / name, models / "shared" / name
        own.mkdir(parents=True, exist_ok=True)
        shared.mkdir(parents=True, exist_ok=True)
        (shared / "tokenizer.json").write_bytes((self.out / "tokenizer.json").read_bytes())
        vae_config = {**self.config["vae"]["model"], "scaling_factor": self.autoencoder.config.scaling_factor}
        entries: list[tuple[str, str, Path, nn.Module | None, dict[str, Any]]] = [
            ("vae", "AutoencoderKL", shared, self.autoencoder, vae_config),
            ("unet", "UNet2DConditionModel", shared, self.unet, self.config["prior"]["unet"]),
            ("text_encoder", "CLIPTextModel", shared, self.text_model, self.text_config),
            ("tokenizer", "PreTrainedTokenizerFast", shared, None, SPECIAL_TOKENS),
            ("control", "LatentControlNet", own, self.control, control_arguments(self.unet)),
            ("jscc", "RateAdaptiveJSCC", own, self.jscc, self.config["jscc"]["model"]),
        ]  # fmt: skip
        components = {}
        for component, class_name, where, module, arguments in entries:
            path = where / ("tokenizer.json" if module is None else f"{component}.safetensors")
            if module is not None:
                store(module, path)
            components[component] = {
                "class": class_name, "file": str(path.relative_to(models)), "sha256": file_hash(path), "config": arguments,
            }  # fmt: skip
        document = {
            "format": FORMAT, "version": VERSION, "method": "textguided", "name": name,
            "components": components, "settings": self.config["settings"],
        }  # fmt: skip
        (own / "config.json").write_text(json.dumps(document, indent=1) + "\n")
        return own


class BackboneWorkshop(Workshop):
    """JSCC, control module and stage 2 over the pretrained backbone of the preset ``base``, which stays as it is.

    JSCC and control module start from ``base``'s where it has them, else from the linear optimum and the UNet's encoder.
    """

    networks = OVER_BACKBONE

    def __init__(
        self,
        config: dict[str, Any],
        base: Preset,
        photographs: Photographs,
        out: Path,
        judges: list[LPIPS],
        device: torch.device,
    ) -> None:
        self.config, self.base, self.photographs, self.out, self.judges, self.device = (
            config,
            base,
            photographs,
            out,
            judges,
            device,
        )
        if config["refine"].get("decoder"):
            raise InputError("--config: refine.decoder trains the VAE, which a pretrained backbone keeps; leave it out")
        torch.manual_seed(0)
        backbone = Backbone(base, device)
        self.autoencoder, self.unet = backbone.codec.autoencoder, backbone.unet
        self.tokenizer, self.text_model = backbone.text.tokenizer, backbone.text.model
        self.jscc = RateAdaptiveJSCC(JSCCConfig.from_json(config["jscc"]["model"]))
        self._control = None
        self.started = "jscc" in base.components
        for name in {"control", "jscc"} & set(base.components):
            self.module(name).load_state_dict(build(base.components[name], torch.device("cpu")).state_dict())
        self.domain = config["settings"].get("domain", "latent")

    def export(self, models: Path, report: Callable[[str], None] = print) -> Path:
        """Writes ``models/textguided/<name>``: own weights in half precision, and where the backbone is."""
        own = models / "textguided" / self.config["name"]
        own.mkdir(parents=True, exist_ok=True)
        components = {name: entry_of(self.base.components[name]) for name in ("vae", "unet", "text_encoder", "tokenizer")}
        for name, class_name, module, arguments in (
            ("control", "LatentControlNet", self.control, control_arguments(self.unet)),
            ("jscc", "RateAdaptiveJSCC", self.jscc, self.config["jscc"]["model"]),
        ):
            path = own / f"{name}.safetensors"
            store(module, path)
            components[name] = {"class": class_name, "file": path.name, "sha256": file_hash(path), "config": arguments}
        document = {
            "format": FORMAT, "version": VERSION, "method": "textguided", "name": self.config["name"],
            "components": components, "settings": self.config["settings"],
        }  # fmt: skip
        (own / "config.json").write_text(json.dumps(document, indent=1) + "\n")
        return own


def train(options: TrainOptions, report: Callable[[str], None] = print) -> Path:
    """Trains every stage that is not finished and writes the preset to ``options.out / "models"``.

    Raises:
        InputError: unusable recipe, data or folder.
    """
    device = torch.device(options.device)
    if options.start is not None and is_pretrained(base := find("textguided", options.start)):
        over = options.open("textguided/paper.json", {"name", *OVER_BACKBONE, "settings"})
        judges = load_judges(options.metric_weights, device)
        workshop: Workshop = BackboneWorkshop(over, base, options.photographs(report), options.out, judges, device)
        return workshop.complete(options.stages or tuple(OVER_BACKBONE), options, report)
    config = options.open("textguided/nano.json", {"name", *STAGES, "settings"})
    if options.start is not None:
        words = find("textguided", options.start).components["tokenizer"].path
        with first():
            if words is not None and not (options.out / "tokenizer.json").exists():
                (options.out / "tokenizer.json").write_bytes(words.read_bytes())
    workshop = Workshop(config, options.photographs(report), options.out, load_judges(options.metric_weights, device), device)
    if options.start is not None:
        workshop.start_from(find("textguided", options.start))
    return workshop.complete(options.stages or STAGES, options, report)
