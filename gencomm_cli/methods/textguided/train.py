"""What is trained for a textguided preset, in which stage: VAE, prior, JSCC, control module, stage 2.

``control`` and ``refine`` are the paper's stages 1 and 2 (arXiv:2510.21299, eqs. 18, 19). The others are not in the paper: ``vae``,
``prior`` and ``decoder`` make what a pretrained Stable Diffusion is there, and ``jscc`` is a start for stage 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import nn
from transformers import PreTrainedTokenizerFast

from gencomm_cli.errors import InputError
from gencomm_cli.methods.options import Domain
from gencomm_cli.methods.textguided.prior import SPECIAL_TOKENS, PriorRecipe, prior_stage, train_tokenizer
from gencomm_cli.methods.textguided.refiner import JSCCRecipe, RefinerRecipe, jscc_stage, refiner_stage
from gencomm_cli.networks.autoencoder import Autoencoder
from gencomm_cli.networks.backbone import BACKBONE, Backbone
from gencomm_cli.networks.control import LatentControlNet, control_arguments
from gencomm_cli.networks.text import TextEncoder
from gencomm_cli.networks.vae import KLCodec, LatentCodec, latent_codec
from gencomm_cli.outputs import write_files
from gencomm_cli.presets import Component, Preset, find, is_pretrained, verify
from gencomm_cli.presets.write import Part, taken, write_preset
from gencomm_cli.training.autoencoder import AutoencoderRecipe, autoencoder_stage
from gencomm_cli.training.latent_space import DecoderRecipe, VAERecipe, decoder_stage, vae_stage
from gencomm_cli.training.parallel import first
from gencomm_cli.training.stage import Plan, Stage, frozen
from gencomm_cli.training.trainer import Report, Trainer, TrainOptions

STAGES = {
    "vae": Plan(VAERecipe, ("vae",), pictured=True),
    "prior": Plan(PriorRecipe, ("unet", "text_encoder")),
    "jscc": Plan(JSCCRecipe, ("jscc",)),
    "decoder": Plan(DecoderRecipe, ("vae",), pictured=True),
    "control": Plan(RefinerRecipe, ("control", "jscc")),
    "refine": Plan(RefinerRecipe, ("control", "jscc", "vae"), pictured=True, watched=True),
}


OVER_BACKBONE = {
    "jscc": replace(STAGES["jscc"], optional=True),
    "control": STAGES["control"],
    "refine": replace(STAGES["refine"], networks=("control", "jscc")),
}
"""The same where VAE, UNet and text encoder are others' and stay as they are. The paper has no ``jscc``."""


class TextGuidedTrainer(Trainer):
    """Everything from nothing, or from another preset, whose sizes it keeps."""

    method = "textguided"
    plans = STAGES
    measured: ClassVar = {"vae": "scaling_factor"}

    def build(self) -> None:
        vae, prior = self.config["vae"], self.config["prior"]
        self.tokenizer = self._tokenizer()
        if self.base is None:
            self.make("vae", vae.get("class", "AutoencoderKL"), vae["model"])
            self.make("unet", "UNet2DConditionModel", prior["unet"])
            self.make("text_encoder", "CLIPTextModel", {**prior["text"], "vocab_size": len(self.tokenizer)})
            self.make_code({})
            return
        verify(self.base)
        for name in ("vae", "unet", "text_encoder"):
            self.make(name, self.base.components[name].class_name, dict(self.base.components[name].config))
        self.make_code(self.base.components)
        for name in {*self.parts, "control"} & self.base.components.keys():
            self.take(name, self.base.components[name])

    def make_code(self, theirs: Mapping[str, Component]) -> None:
        """The JSCC, and the coarse head where the recipe has one: of the sizes of ``theirs``, else of the recipe's."""
        sizes = self.config["jscc"]
        ours = {"jscc": (sizes.get("class", "RateAdaptiveJSCC"), sizes["model"])}
        if "coarse" in sizes:
            ours["coarse"] = "CoarseHead", sizes["coarse"]
            along = {name: plan for name, plan in type(self).plans.items() if "jscc" in plan.networks}  # the head with the JSCC
            along = {name: replace(plan, networks=(*plan.networks, "coarse")) for name, plan in along.items()}
            self.plans = type(self).plans | along  # type: ignore[misc]
        if sizes["recipe"].get("perceptual") and "jscc" in self.stages:
            _ = self.perceptual  # now, as for the stages that are pictured
        for name, made in ours.items():
            self.make(name, *((theirs[name].class_name, dict(theirs[name].config)) if name in theirs else made))

    def _tokenizer(self) -> PreTrainedTokenizerFast:
        """The run's own, which is that of the preset to start from, or made of the photographs' captions."""
        path, theirs = self.out / "tokenizer.json", None if self.base is None else self.base.components["tokenizer"].path
        with first():
            if not path.exists() and theirs is not None:
                write_files({path: theirs.read_bytes()})
            elif not path.exists():
                made = train_tokenizer(self.photographs.captions, self.config["prior"].get("vocabulary", 2048))
                write_files({path: made.backend_tokenizer.to_str(pretty=True).encode()})
        if self.base is not None and (theirs is None or path.read_bytes() != theirs.read_bytes()):
            raise InputError(f"--start {self.base.name}: its tokeniser differs from the one in {self.out}; name a new --out")
        return PreTrainedTokenizerFast(tokenizer_file=str(path), **SPECIAL_TOKENS)

    def derived(self, name: str) -> nn.Module:
        """The control module, started from the trained UNet's encoder."""
        unet: Any = self.parts["unet"]
        self.blueprints["control"] = "LatentControlNet", control_arguments(unet)
        return LatentControlNet.over(unet)

    @property
    def domain(self) -> Domain:
        """What the JSCC sends."""
        return self.settings.get("domain", "latent")

    def codec(self) -> LatentCodec:
        """The trained VAE, frozen."""
        return frozen(latent_codec(self.parts["vae"])).to(self.device)

    def kind(self, stage: str) -> type[Any]:
        """That of the class of autoencoder, and the others'."""
        around_pca = stage == "vae" and isinstance(self.parts["vae"], Autoencoder)
        return AutoencoderRecipe if around_pca else super().kind(stage)

    def stage(self, stage: str, recipe: Any, generator: np.random.Generator) -> Stage:
        parts: dict[str, Any] = self.parts
        run = (generator, self.device)
        if stage == "vae":
            if isinstance(parts["vae"], Autoencoder):
                linear = self.base is None
                return autoencoder_stage(parts["vae"], self.photographs, recipe, self.perceptual, *run, linear=linear)
            return vae_stage(KLCodec(parts["vae"]), self.photographs, recipe, self.perceptual, *run)
        latents = self.latents(self.codec(), recipe.crop)
        if stage == "prior":
            fresh = self.base is None
            return prior_stage(parts["unet"], parts["text_encoder"], self.tokenizer, latents, recipe, *run, fresh=fresh)
        if stage == "jscc":
            linear = self.base is None or "jscc" not in self.base.components
            return jscc_stage(
                parts["jscc"], self.codec(), latents, recipe, *run, domain=self.domain, linear=linear, coarse=parts.get("coarse"),
                backbones=self.perceptual if recipe.perceptual else (),
            )  # fmt: skip
        if stage == "decoder":
            return decoder_stage(self.codec(), latents, recipe, self.perceptual, *run)
        text = TextEncoder(self.tokenizer, frozen(parts["text_encoder"].to(self.device)))
        backbones = self.perceptual if self.plans[stage].pictured else ()
        return refiner_stage(
            parts["control"], parts["jscc"], parts["unet"], self.codec(), text, latents, recipe, backbones, *run,
            domain=self.domain, head=parts.get("coarse"), features=self.features if recipe.critic else None,
        )  # fmt: skip

    def export(self, models: Path) -> Path:
        """Writes ``models/textguided/<name>`` and ``models/shared/<name>``."""
        shared = models / "shared" / self.config["name"]
        tokenizer = Part("PreTrainedTokenizerFast", SPECIAL_TOKENS, self.out / "tokenizer.json", shared)
        parts = {name: self.part(name, shared) for name in ("vae", "unet", "text_encoder")} | {"tokenizer": tokenizer}
        return self._write(models, parts)

    def _write(self, models: Path, backbone: Any) -> Path:
        parts = backbone | {name: self.part(name) for name in ("control", "jscc", *(["coarse"] if "coarse" in self.parts else []))}
        return write_preset(models / self.method / self.config["name"], self.method, parts, self.settings).folder


class OverBackbone(TextGuidedTrainer):
    """JSCC, control module and stage 2 over the pretrained backbone of the preset ``base``, which stays as it is.

    JSCC and control module start from ``base``'s where it has them, else at random and from the UNet's encoder. The stage ``jscc``,
    if it is asked for, starts from the linear optimum.
    """

    shipped = "paper"
    plans = OVER_BACKBONE

    def build(self) -> None:
        assert self.base is not None
        if self.config["refine"].get("decoder"):
            raise InputError("--config: refine.decoder trains the VAE, which a pretrained backbone keeps; leave it out")
        backbone = Backbone(self.base, self.device)
        self.parts |= {"vae": backbone.codec.autoencoder, "unet": backbone.unet, "text_encoder": backbone.text.model}
        self.tokenizer = backbone.text.tokenizer
        self.make_code({})
        for name in {"control", *self.parts} & set(self.base.components) - set(BACKBONE):
            self.take(name, self.base.components[name])
        self.module("control")  # before the UNet that it starts from is rounded
        backbone.keep_in(self.frozen_dtype)

    def export(self, models: Path) -> Path:
        """Writes ``models/textguided/<name>``: own weights, and where the backbone is."""
        assert self.base is not None
        return self._write(models, {name: taken(self.base.components[name]) for name in BACKBONE})


def open_trainer(options: TrainOptions, report: Report) -> Trainer:
    """The trainer of what is asked for; raises what :func:`gencomm_cli.training.trainer.train` does."""
    base: Preset | None = None if options.start is None else find("textguided", options.start)
    return (OverBackbone if base is not None and is_pretrained(base) else TextGuidedTrainer)(options, report, base)
