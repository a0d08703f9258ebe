"""The autoencoder's stage: it starts at PCA, learns beyond it, ends normalised, and goes on where it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gencomm_cli import presets
from gencomm_cli.methods import load_method
from gencomm_cli.methods.base import Received, Request
from gencomm_cli.methods.textguided.options import Receiver
from gencomm_cli.methods.textguided.train import TextGuidedTrainer
from gencomm_cli.networks.autoencoder import Autoencoder
from gencomm_cli.training import losses
from gencomm_cli.training.autoencoder import AutoencoderRecipe, autoencoder_stage
from gencomm_cli.training.data import Photographs, to_tensor
from gencomm_cli.training.loop import Schedule
from gencomm_cli.training.losses import rolled
from gencomm_cli.training.stage import Stage, run_stage
from gencomm_cli.training.trainer import train
from tests.methods.textguided.test_train import tiny_recipe
from tests.support.training import CPU, asked, backbones, figures, photographs, quiet, write_photographs

__all__ = ["photographs", "tiny_recipe"]

SIZES: dict[str, Any] = {
    "channels": 4, "factor": 4, "encoder_widths": [8, 8], "encoder_depths": [1, 1], "decoder_widths": [8, 8],
    "decoder_depths": [1, 1], "edge": 4,
}  # fmt: skip


def run(photographs: Photographs, out: Path, steps: int, report: Callable[[str], None] = quiet) -> Autoencoder:
    torch.manual_seed(0)
    network = Autoencoder(**SIZES)
    plan = Schedule(steps, 3e-3, 5, ema=0.9, log_every=10, precision="fp32", save_minutes=0.0)
    recipe = AutoencoderRecipe(plan, batch=4, crop=32)

    def stage(generator: np.random.Generator) -> Stage:
        return autoencoder_stage(network, photographs, recipe, backbones("alex"), generator, CPU)

    run_stage("vae", recipe, stage, out, report)
    return network


def test_it_learns_and_its_latents_are_normalised(photographs: Photographs, tmp_path: Path) -> None:
    network = run(photographs, tmp_path, 60)
    seen = figures(tmp_path, "vae")
    assert seen[-1] < seen[0]
    assert min(figures(tmp_path, "vae", "lowest_std")) > 0.1
    image = to_tensor(photographs.crops(200, 32, np.random.default_rng(9), (0.6, 1.5))[0], CPU)
    with torch.no_grad():
        z = network.encode(image)
    assert torch.allclose(z.mean((0, 2, 3)), torch.zeros(4), atol=0.2)
    assert torch.allclose(z.std((0, 2, 3)), torch.ones(4), atol=0.2)
    assert not network.training


def test_an_interrupted_run_is_the_whole_run(photographs: Photographs, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    whole = run(photographs, tmp_path / "whole", 20)

    def stop(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(photographs, tmp_path, 20, stop)
    assert torch.load(tmp_path / "vae.ckpt", weights_only=True)["step"] == 9
    again = run(photographs, tmp_path, 20)
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor)


def test_rolled_rolls_both_alike() -> None:
    first, generator = torch.rand(2, 3, 20, 24), np.random.default_rng(0)
    offsets = set()
    for _ in range(30):
        a, b = rolled(first, 2 * first, generator)
        assert torch.equal(2 * a, b)
        (place,) = [(y, x) for y in range(16) for x in range(16) if torch.equal(torch.roll(first, (y, x), (2, 3)), a)]
        offsets.add(place)
    assert len(offsets) > 20


def test_a_textguided_preset_over_it(tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From photographs to a picture that was sent, and from there to another run."""
    monkeypatch.setattr(losses, "load_perceptual", lambda *_: backbones("alex"))
    schedule = {"steps": 3, "learning_rate": 1e-3}
    tiny_recipe["vae"] = {"class": "Autoencoder", "model": SIZES, "recipe": {"schedule": schedule, "batch": 2, "crop": 32}}
    (tmp_path / "data").mkdir()
    write_photographs(tmp_path / "data", 40, size=(72, 64))
    options = asked(tiny_recipe, tmp_path / "data", tmp_path / "run")
    preset = presets.load_config(train("textguided", options, quiet))
    assert (preset.components["vae"].class_name, dict(preset.components["vae"].config)) == ("Autoencoder", SIZES)
    method = load_method(preset, CPU)
    image = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    sent = method.encode(image, Request(12))
    assert method.decode(Received(sent.symbols, None, 0.1, (40, 30)), Receiver(), seed=0).refined[0].shape == image.shape
    more = TextGuidedTrainer(asked(tiny_recipe, tmp_path / "data", tmp_path / "more"), quiet, preset)
    before = {name: tensor.clone() for name, tensor in more.module("vae").state_dict().items()}
    more.run("vae")
    for name in ("basis", "mean", "spread"):  # it goes on from the preset's, not from PCA
        assert torch.equal(more.module("vae").state_dict()[name], before[name])
