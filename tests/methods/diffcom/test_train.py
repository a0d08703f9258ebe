"""DiffCom's recipes on tiny networks and made photographs: every stage learns, and what comes out are presets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gencomm_cli import presets
from gencomm_cli.errors import InputError
from gencomm_cli.methods.base import Received, Request
from gencomm_cli.methods.diffcom.method import DiffCom
from gencomm_cli.methods.diffcom.options import Receiver, Transmitter, preset_of_codec
from gencomm_cli.methods.diffcom.train import (
    CODECS,
    STAGES,
    CodecRecipe,
    DiffComTrainer,
    PriorRecipe,
    open_trainer,
    through_channel,
)
from gencomm_cli.training.channel import ChannelDraw
from gencomm_cli.training.data import is_validation
from gencomm_cli.training.trainer import TrainOptions, load_config, recipe_from, train
from tests.methods.diffcom.test_method import write_preset
from tests.support.training import CPU, asked, figures, quiet

MODELS: dict[str, dict[str, Any]] = {
    "adjscc": {"class": "ADJSCC", "model": {"code_channels": 6, "width": 16, "rate_adaptive": True}},
    "swinjscc": {
        "class": "SwinJSCC",
        "model": {"dims": [8, 24], "depths": [1, 1], "heads": [1, 2], "window": 2, "trained_size": 16},
    },
    "prior": {
        "class": "ConditionalUNet",
        "model": {"widths": [8, 8], "context_widths": [], "fold": 2, "kernel": 3, "time_width": 8, "variances": [0.02, 0.25]},
    },
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for index in range(8):
        if not is_validation(name := f"{index}.png"):
            plain = rng.integers(0, 256, (1, 1, 3)) + rng.integers(-20, 20, (24, 24, 3))
            Image.fromarray(plain.clip(0, 255).astype(np.uint8)).save(folder / name)
    return folder


def recipe(steps: int = 3, batch: int = 2) -> dict[str, Any]:
    values = {"schedule": {"steps": steps, "learning_rate": 1e-2, "warmup": 3, "ema": 0.5}, "batch": batch, "crop": 8}
    config: dict[str, Any] = {name: {**model, "recipe": dict(values)} for name, model in MODELS.items()}
    return config | {"name": "tiny", "settings": {"sampling": {"hifi": {"eta": 0.01, "likelihood": "norm"}}}}


def test_presets_for_every_codec_over_one_prior(data: Path, tmp_path: Path) -> None:
    path, out, said = tmp_path / "recipe.json", tmp_path / "run", list[str]()
    lrisc = tmp_path / "models" / "lrisc" / "tiny"
    config = recipe() | {"ntscc": str(lrisc)}
    config["settings"]["codecs"] = {"ntscc": {"cbr_range": [1 / 96, 1 / 24]}}
    path.write_text(json.dumps(config))
    first = train("diffcom", TrainOptions(data, out, path), said.append)
    assert said[-1].startswith("ntscc: left out (")
    lrisc.mkdir(parents=True)
    write_preset(lrisc, {"transform": "transform", "jscc": "jscc", "rates": "rates"}, "lrisc")
    assert train("diffcom", TrainOptions(data, out, path, resume=True), quiet) == first  # nothing is trained again
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    priors = set()
    for codec in (*CODECS, "ntscc"):
        preset = presets.load_config(Path(preset_of_codec(str(first), codec)))
        priors.add(preset.components["prior"].path)
        method = DiffCom.load(preset, CPU)
        assert method.cbr_range[1] == pytest.approx(1 / 24 if codec == "ntscc" else 1 / 16)
        sent = method.encode(image, Request(16, options=Transmitter()))
        decoded = method.decode(Received(sent.symbols, None, 0.1, (16, 16), side=sent.side), Receiver(), seed=0)
        assert decoded.refined[0].shape == (16, 16, 3)
    assert len(priors) == 1
    again = DiffComTrainer(asked(recipe(), data, out), quiet)
    assert all(again.restore(stage) for stage in STAGES)
    third = open_trainer(asked(recipe(), data, tmp_path / "third", start=str(first)), quiet)
    for stage in STAGES:  # what a preset holds is in half precision
        pairs = zip(third.module(stage).parameters(), again.module(stage).parameters(), strict=True)
        assert all(torch.allclose(ours, theirs, atol=2e-3, rtol=1e-3) for ours, theirs in pairs)
    with pytest.raises(InputError, match="there is no tune"):
        train("diffcom", TrainOptions(data, tmp_path / "other", path, stages=("tune",)), quiet)


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_learns(stage: str, data: Path, tmp_path: Path) -> None:
    config = recipe(steps=100, batch=4)
    config[stage]["recipe"] |= {"seed": 0}
    if stage in CODECS:
        config[stage]["recipe"] |= {"snr_db": [15, 20], "shares": [1, 0, 0], "cbr": [1 / 20, 1 / 16]}
    DiffComTrainer(asked(config, data, tmp_path / "run"), quiet).run(stage)
    first, last = figures(tmp_path / "run", stage)
    assert last < 0.98 * first


def test_what_was_not_trained_is_not_written(data: Path, tmp_path: Path) -> None:
    path, out, said = tmp_path / "recipe.json", tmp_path / "run", list[str]()
    path.write_text(json.dumps(recipe()))
    train("diffcom", TrainOptions(data, out, path, stages=("adjscc",)), said.append)
    assert not (out / "models" / "diffcom").exists()
    assert said[-1].startswith("no preset yet")
    train("diffcom", TrainOptions(data, out, path, stages=("prior",), resume=True), said.append)
    assert [folder.name for folder in (out / "models" / "diffcom").iterdir()] == ["tiny"]
    assert "swinjscc: left out (not trained)" in said


def test_fading_is_equalised_and_awgn_is_left_as_it_is() -> None:
    class Code:
        multiple = 1

        def symbols(self, wanted: int, size: tuple[int, int]) -> int:
            return wanted

        def encode(self, image: torch.Tensor, symbols: int, snr_db: torch.Tensor) -> torch.Tensor:
            return torch.ones(len(image), symbols, dtype=torch.complex64)

        def decode(self, equalised: torch.Tensor, size: tuple[int, int], snr_db: torch.Tensor) -> torch.Tensor:
            self.snr_db = snr_db
            return torch.view_as_real(equalised)

    torch.manual_seed(0)
    code, snr_db = Code(), torch.tensor([30.0, 30.0, 0.0])
    heard = through_channel(code, torch.zeros(3, 3, 64, 64), 1 / 16, ChannelDraw(snr_db, snr_db, torch.tensor([0, 1, 0])))
    errors = (heard - torch.tensor([1.0, 0.0])).square().sum(-1).mean(1)
    assert errors[0] == pytest.approx(1e-3, rel=0.2)
    assert errors[2] == pytest.approx(1.0, rel=0.2)
    assert 1e-3 < errors[1] < 0.05  # deep fades cost more
    assert code.snr_db[[0, 2]].tolist() == pytest.approx([30, 0], abs=1e-3)
    assert 10 < code.snr_db[1] < 30


def test_the_shipped_recipe_is_whole() -> None:
    config = load_config(None, "diffcom/nano.json", {"name", *STAGES, "settings"})
    for codec in CODECS:
        assert recipe_from(CodecRecipe, config[codec]["recipe"]).schedule.max_minutes == 15
    assert recipe_from(PriorRecipe, config["prior"]["recipe"]).schedule.max_minutes == 45
