"""Both parametrisations and both spacings, from equal short stage-1 runs.

usage: python examples/compare_parameterizations.py RUN --data DIR --metric-weights DIR [--config FILE] [--steps 150] [--images 16]

RUN is a folder of `gencomm train textguided` in which the stages vae, prior and jscc are finished, FILE its recipe if not nano's.
From the same starting point a control module is trained twice, once to predict u and once the paper's ε; then validation
photographs (never Kodak) are sent at CBR 0.0033 and refined in five steps with either spacing. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import central

from gencomm_cli.diffusion.schedule import sampling_steps, scaled_linear
from gencomm_cli.methods.textguided.method import StartTable, sample
from gencomm_cli.methods.textguided.refiner import RefinerRecipe, refiner_stage, through_channel
from gencomm_cli.methods.textguided.train import TextGuidedTrainer
from gencomm_cli.networks.control import LatentControlNet
from gencomm_cli.networks.controlled import controlled, csi_features
from gencomm_cli.networks.text import TextEncoder
from gencomm_cli.training.channel import ChannelDraw
from gencomm_cli.training.data import load, to_tensor
from gencomm_cli.training.loop import Schedule
from gencomm_cli.training.stage import Stage, frozen, run_stage
from gencomm_cli.training.trainer import TrainOptions

CPU = torch.device("cpu")


def score(trainer: TextGuidedTrainer, control: LatentControlNet, kind: str, spacing: str, data: Path, images: int) -> list[float]:
    """Mean latent error and LPIPS (AlexNet, SqueezeNet) of refined validation windows at 1 and 10 dB."""
    photographs = load(data, trainer.out / "cache", validation=True)
    parts: dict[str, Any] = trainer.parts
    codec, text, alpha_bar = trainer.codec(), TextEncoder(trainer.tokenizer, parts["text_encoder"]), scaled_linear()
    start = StartTable()(0.0033)
    rows = []
    torch.manual_seed(0)
    for index in range(images):
        image = to_tensor(central(photographs.image(index))[None].copy(), CPU)
        with torch.no_grad():
            z_0 = codec.encode(image)
            snr = torch.tensor([1.0 if index % 2 else 10.0])
            z_c, _, gain = through_channel(parts["jscc"], z_0, image, 0.0033, ChannelDraw(snr, snr, torch.tensor([0])))
            prompt, csi = text([photographs.captions[index]]), csi_features(snr, torch.tensor([start]), gain)
            z = sample(
                z_c, torch.randn_like(z_c), sampling_steps(start, 5, spacing), alpha_bar,  # type: ignore[arg-type]
                lambda z, t: controlled(parts["unet"], control, z, torch.tensor([t]), prompt, z_c, csi),  # noqa: B023
                parameterization=kind,  # type: ignore[arg-type]
            )  # fmt: skip
            refined = codec.decode(z).clamp(0, 1)
            rows.append([float((z - z_0).square().mean()), *(float(lpips(refined, image)) for lpips in trainer.perceptual)])
    return [float(value) for value in np.mean(rows, 0)]


def main() -> None:
    """Trains both control modules and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--metric-weights", type=Path)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--images", type=int, default=16)
    given = parser.parse_args()
    options = TrainOptions(given.data, given.run, given.config, given.metric_weights, resume=True)
    trainer = TextGuidedTrainer(options, lambda _: None)
    for stage in ("vae", "prior", "jscc", "decoder"):
        if not trainer.restore(stage) and stage != "decoder":
            raise SystemExit(f"error: {given.run}: stage {stage} is not finished there; run `gencomm train textguided` first")
    parts: dict[str, Any] = trainer.parts
    recipe = RefinerRecipe(Schedule(given.steps, 5e-4, warmup=20, ema=0.98), latent=0.0)
    text, latents = TextEncoder(trainer.tokenizer, frozen(parts["text_encoder"])), trainer.latents(trainer.codec(), recipe.crop)
    print("| predicts | spacing | latent MSE | LPIPS AlexNet | LPIPS SqueezeNet |\n|---|---|---|---|---|")
    for kind in ("u", "paper"):
        control, numbers = LatentControlNet.over(parts["unet"]), dataclasses.replace(recipe, parameterization=kind)

        def stage(generator: np.random.Generator) -> Stage:
            networks = (control, parts["jscc"], parts["unet"], trainer.codec(), text, latents)  # noqa: B023
            made = refiner_stage(*networks, numbers, (), generator, CPU)  # noqa: B023
            frozen(parts["jscc"])
            return Stage({"control": control}, made.loss)  # noqa: B023

        with tempfile.TemporaryDirectory() as out:
            run_stage(kind, numbers, stage, Path(out), lambda _: None)
        for spacing in ("uniform", "quadratic"):
            figures = score(trainer, control, kind, spacing, given.data, given.images)
            print(f"| {kind} | {spacing} | " + " | ".join(f"{value:.3f}" for value in figures) + " |", flush=True)


if __name__ == "__main__":
    main()
