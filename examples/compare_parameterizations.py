"""Both parametrisations and both spacings, from equal short stage-1 runs.

usage: python examples/compare_parameterizations.py RUN --data DIR --metric-weights DIR [--steps 150] [--images 16]

RUN is a folder of `gencomm train textguided` in which the stages vae, prior and jscc are finished. From the same starting point a
control module is trained twice, once to predict u and once the paper's ε; then validation photographs (never Kodak) are sent at CBR
0.0033 and refined in five steps with either spacing. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import torch

from gencomm_cli.diffusion.schedule import sampling_steps, scaled_linear
from gencomm_cli.methods.textguided.method import StartTable, sample
from gencomm_cli.methods.textguided.train import Workshop
from gencomm_cli.networks.control import LatentControlNet, controlled, csi_features
from gencomm_cli.networks.text import TextEncoder
from gencomm_cli.training.air import Air, send
from gencomm_cli.training.data import load, to_tensor
from gencomm_cli.training.latent_space import frozen
from gencomm_cli.training.latents import window
from gencomm_cli.training.loop import Schedule
from gencomm_cli.training.refiner import RefinerRecipe, train_refiner
from gencomm_cli.training.workshop import load_config, load_judges

CPU = torch.device("cpu")


def score(shop: Workshop, control: LatentControlNet, kind: str, spacing: str, data: Path, images: int) -> list[float]:
    """Mean latent error and LPIPS (AlexNet, SqueezeNet) of refined validation windows at 1 and 10 dB."""
    photographs = load(data, shop.out / "cache", validation=True)
    codec, text, alpha_bar = shop.codec(), TextEncoder(shop.tokenizer, shop.text_model), scaled_linear()
    start = StartTable()(0.0033)
    rows = []
    torch.manual_seed(0)
    for index in range(images):
        image = to_tensor(window(photographs.image(index))[None].copy(), CPU)
        with torch.no_grad():
            z_0 = codec.encode(image)
            snr = torch.tensor([1.0 if index % 2 else 10.0])
            symbols = shop.jscc.encode(z_0, round(0.0033 * image.numel()), snr)
            equalised, reliability, gain = send(symbols, Air(snr, snr, torch.tensor([0])))
            z_c = shop.jscc.decode(equalised, reliability, (z_0.shape[2], z_0.shape[3]), snr)
            prompt, csi = text([photographs.captions[index]]), csi_features(snr, torch.tensor([start]), gain)
            z = sample(
                z_c, torch.randn_like(z_c), sampling_steps(start, 5, spacing), alpha_bar,  # type: ignore[arg-type]
                lambda z, t: controlled(shop.unet, control, z, torch.tensor([t]), prompt, z_c, csi),  # noqa: B023
                parameterization=kind,  # type: ignore[arg-type]
            )  # fmt: skip
            refined = codec.decode(z).clamp(0, 1)
            rows.append([float((z - z_0).square().mean()), *(float(judge(refined, image)) for judge in shop.judges)])
    return [float(value) for value in np.mean(rows, 0)]


def main() -> None:
    """Trains both control modules and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--metric-weights", type=Path)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--images", type=int, default=16)
    given = parser.parse_args()
    config, judges = load_config(None, "textguided/nano.json", ()), load_judges(given.metric_weights, CPU)
    shop = Workshop(config, load(given.data, given.run / "cache", validation=False), given.run, judges, CPU)
    for stage in ("vae", "prior", "jscc", "decoder"):
        if not shop.restore(stage) and stage != "decoder":
            raise SystemExit(f"error: {given.run}: stage {stage} is not finished there; run `gencomm train textguided` first")
    frozen(shop.unet)
    frozen(shop.text_model)
    text, latents = TextEncoder(shop.tokenizer, shop.text_model), shop.latents(lambda _: None)
    shop.jscc.requires_grad_(False)
    recipe = RefinerRecipe(Schedule(given.steps, 5e-4, warmup=20, ema=0.98), latent=0.0)
    print("| predicts | spacing | latent MSE | LPIPS AlexNet | LPIPS SqueezeNet |\n|---|---|---|---|---|")
    for kind in ("u", "paper"):
        control = LatentControlNet.over(shop.unet)
        with tempfile.TemporaryDirectory() as out:
            run = dataclasses.replace(recipe, parameterization=kind)
            train_refiner(kind, control, shop.jscc, shop.unet, shop.codec(), text, latents, run, [], Path(out), CPU, lambda _: None)
        for spacing in ("uniform", "quadratic"):
            figures = score(shop, control, kind, spacing, given.data, given.images)
            print(f"| {kind} | {spacing} | " + " | ".join(f"{value:.3f}" for value in figures) + " |", flush=True)


if __name__ == "__main__":
    main()
