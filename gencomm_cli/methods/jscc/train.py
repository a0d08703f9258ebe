"""Training of a learned image codec alone: what the papers compare with, at the rates that they compare at.

deepjscc   Bourtsoulatze, Kurka & Gündüz (2019): MSE, AWGN of one SNR, which is nowhere told to the networks
swinjscc   Yang et al. (arXiv:2308.09361): MSE
mambajscc  Wu et al. (arXiv:2405.03125): MSE and LPIPS, as textguided's paper (arXiv:2510.21299) trains it
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gencomm_cli.presets import find, verify
from gencomm_cli.presets.write import write_preset
from gencomm_cli.training.codec import CodecRecipe, codec_stage, start_linear_code
from gencomm_cli.training.stage import Plan, Stage
from gencomm_cli.training.trainer import Report, Trainer, TrainOptions

STAGES = {"codec": Plan(CodecRecipe, ("codec",))}


class JSCCTrainer(Trainer):
    """One codec in one stage."""

    method = "jscc"
    shipped = "deepjscc-1-96"
    plans = STAGES

    def build(self) -> None:
        self.make("codec", self.config["codec"]["class"], self.config["codec"]["model"])
        if self.options.start is not None:
            preset = find(self.method, self.options.start)
            verify(preset)
            self.take("codec", preset.components["codec"])

    def stage(self, stage: str, recipe: Any, generator: np.random.Generator) -> Stage:
        codec, backbones = self.module("codec"), self.perceptual if recipe.perceptual else ()
        if recipe.linear and self.options.start is None:
            start_linear_code(codec, self.photographs, recipe.usual)
        return codec_stage(codec, self.photographs, recipe, generator, self.device, backbones)

    def export(self, models: Path) -> Path:
        """Writes ``models/jscc/<name>``."""
        folder = models / self.method / self.config["name"]
        return write_preset(folder, self.method, {"codec": self.part("codec")}, self.settings).folder


def open_trainer(options: TrainOptions, report: Report) -> Trainer:
    """The trainer of what is asked for; raises what :func:`gencomm_cli.training.trainer.train` does."""
    return JSCCTrainer(options, report)
