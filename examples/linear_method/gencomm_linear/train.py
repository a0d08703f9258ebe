"""Training: U learns to undo V behind a noisy channel, by mean squared error."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from gencomm_cli.presets.write import write_preset
from gencomm_cli.training.data import to_tensor
from gencomm_cli.training.loop import Schedule
from gencomm_cli.training.stage import Plan, Stage, trained
from gencomm_cli.training.trainer import Report, Trainer, TrainOptions
from gencomm_linear.network import BlockTransform

BLOCKS = 512
"""Crops that the principal components are of."""


@dataclass(frozen=True)
class SynthesisRecipe:
    """``crop``: side in pixels. ``snr_db``: uniform."""

    schedule: Schedule
    batch: int = 8
    crop: int = 64
    snr_db: tuple[float, float] = (0.0, 20.0)
    seed: int = 0


class LinearTrainer(Trainer):
    """The transform, started from the principal components of the photographs' blocks."""

    method = "linear"
    plans: ClassVar = {"synthesis": Plan(SynthesisRecipe, ("transform",))}
    needed = frozenset({"transform"})

    def build(self) -> None:
        """V and U by principal component analysis."""
        transform = self.make("transform", "BlockTransform", self.config["transform"])
        assert isinstance(transform, BlockTransform)
        f = transform.factor
        crops = to_tensor(self.photographs.crops(BLOCKS, 4 * f, np.random.default_rng(0))[0], torch.device("cpu"))
        transform.fit(crops.unfold(2, f, f).unfold(3, f, f).permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, f, f))

    def stage(self, stage: str, recipe: SynthesisRecipe, generator: np.random.Generator) -> Stage:
        """E‖x − D(E(x) + √N0 n)‖²."""
        transform = trained(self.module("transform"), self.device)
        assert isinstance(transform, BlockTransform)

        def loss(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
            image = to_tensor(self.photographs.crops(recipe.batch, recipe.crop, generator)[0], self.device)
            n0 = 10 ** (-generator.uniform(*recipe.snr_db) / 10)
            sent = transform.encode(image)
            mse = (transform.decode(sent + n0**0.5 * torch.randn_like(sent)) - image).square().mean()
            return mse, {"psnr": float(-10 * mse.detach().log10())}

        return Stage({"transform": transform}, loss)

    def export(self, models: Path) -> Path:
        """Writes ``models/linear/<name>``."""
        folder = models / self.method / self.config["name"]
        write_preset(folder, self.method, {"transform": self.part("transform")}, self.settings)
        return folder


def open_trainer(options: TrainOptions, report: Report) -> Trainer:
    """The trainer of what is asked for."""
    return LinearTrainer(options, report)
