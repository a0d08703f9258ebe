"""Made photographs, stages of a few steps, and trainers of tiny recipes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models import AutoencoderKL
from PIL import Image

from gencomm_cli.metrics.lpips import LPIPS
from gencomm_cli.networks.vae import KLCodec
from gencomm_cli.training.data import Photographs, load
from gencomm_cli.training.latents import Latents, compute
from gencomm_cli.training.loop import Schedule
from gencomm_cli.training.stage import Recipe, Stage, run_stage
from gencomm_cli.training.trainer import TrainOptions
from tests.support.presets import VAE

CPU = torch.device("cpu")


def quiet(line: str) -> None:
    """Swallows progress."""


def write_photographs(folder: Path, count: int, grid: tuple[int, int] = (2, 2), size: tuple[int, int] = (288, 256)) -> Path:
    """Smooth pictures of random colours at the points of a grid (rows, columns), size (width, height)."""
    rng = np.random.default_rng(0)
    for index in range(count):
        coarse = rng.integers(0, 256, (*grid, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Photographs:
    folder = write_photographs(tmp_path_factory.mktemp("photographs"), 40, (5, 6), (300, 256))
    (folder / "captions.tsv").write_text("\n".join(f"{index}.png\tpicture number {index}" for index in range(40)))
    return load(folder, tmp_path_factory.mktemp("cache"), validation=False)


@pytest.fixture(scope="module")
def latents(photographs: Photographs, tmp_path_factory: pytest.TempPathFactory) -> Latents:
    torch.manual_seed(0)
    codec = KLCodec(AutoencoderKL(**VAE, scaling_factor=3.0)).eval()
    return compute(codec, photographs, tmp_path_factory.mktemp("latents") / "latents.npy", CPU, quiet)


def schedule(steps: int) -> Schedule:
    return Schedule(steps=steps, learning_rate=3e-3, warmup=5, ema=0.9, log_every=min(steps, 50))


def figures(out: Path, stage: str, name: str = "loss") -> list[float]:
    """A figure of each line of a stage's log."""
    return [json.loads(line)[name] for line in (out / f"{stage}.log").read_text().splitlines()]


def backbones(*names: str) -> list[LPIPS]:
    """The perceptual loss with random weights."""
    torch.manual_seed(0)
    return [LPIPS(name).eval().requires_grad_(False) for name in names or ("alex", "squeeze")]  # type: ignore[arg-type]


def asked(config: dict[str, Any], data: Path, out: Path, **options: Any) -> TrainOptions:
    """What trains that recipe, in a folder that may hold a run already."""
    out.mkdir(parents=True, exist_ok=True)
    path = out.with_name(f"{out.name}.recipe.json")
    path.write_text(json.dumps(config))
    return TrainOptions(data, out, path, **{"resume": True, **options})


def learn(name: str, recipe: Recipe, out: Path, stage: Callable[..., Stage], *arguments: Any, **options: Any) -> None:
    """Runs ``stage(*arguments[, generator, device], **options)``."""
    run_stage(name, recipe, lambda generator: stage(*arguments, generator, CPU, **options), out, quiet)
