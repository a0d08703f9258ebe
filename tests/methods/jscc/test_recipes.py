"""Every small recipe of a codec alone starts, learns, and gives a preset that sends at the rate that it is named after."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gencomm_cli import pipeline
from gencomm_cli.errors import InputError
from gencomm_cli.networks.convolutional import ConvolutionalJSCC, ConvolutionalJSCCConfig
from gencomm_cli.presets import load_config as load_preset
from gencomm_cli.presets.build import build
from gencomm_cli.training import losses
from gencomm_cli.training.trainer import load_config, train
from tests.support.training import CPU, asked, backbones, figures, quiet, write_photographs

RATES = {"0.0033": 1 / 307.2, "1-96": 1 / 96, "1-48": 1 / 48}
FILES = (path.name.removesuffix(".json") for path in files("gencomm_cli.methods.jscc").iterdir() if path.name.endswith(".json"))
RECIPES = sorted(name for name in FILES if "-" in name)
"""Those for two cores; the published sizes are test_train's."""
SMALL: dict[str, dict[str, Any]] = {
    "SwinJSCC": {"dims": [8, 8, 8, 40], "depths": [1] * 4, "heads": [1] * 4, "window": 2},
    "MambaJSCC": {"dims": [8] * 4, "depths": [1] * 4, "states": 2},
    "ConvolutionalJSCC": {},
}


def small(name: str, **schedule: Any) -> dict[str, Any]:
    """The recipe with narrow networks, for a few steps."""
    config = load_config(None, f"jscc/{name}.json", ())
    codec = config["codec"]
    model = codec["model"]
    model.get("mamba", model).update(SMALL[codec["class"]])
    codec["recipe"] |= {"batch": 2, "crop": 32, "linear": name == "swinjscc-0.0033"}
    codec["recipe"]["schedule"] |= {"steps": 3, "log_every": 1, "precision": "fp32", **schedule}
    return config


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_photographs(tmp_path_factory.mktemp("photographs"), 3, size=(200, 300))
    folder.joinpath("0.png").rename(folder / "first.png")
    return write_photographs(folder, 3, size=(48, 40))


@pytest.fixture
def lpips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "load_perceptual", lambda *_: backbones("squeeze"))


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gencomm_cli.methods.jscc.train.STATISTICS", 20)


def test_there_are_the_codecs_that_the_papers_compare_with() -> None:
    assert {f"{codec}-{rate}" for codec in ("deepjscc", "swinjscc", "mambajscc") for rate in ("0.0033", "1-96")} <= set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains_and_sends_at_its_rate(name: str, data: Path, tmp_path: Path, lpips: None) -> None:
    folder = train("jscc", asked(small(name), data, tmp_path / "run"), quiet)
    assert folder.name == name
    assert np.isfinite(figures(tmp_path / "run", "codec")).all()
    assert len(figures(tmp_path / "run", "codec")) == 3
    codec = pipeline.load("jscc", str(folder), device="cpu")
    image = np.random.default_rng(0).integers(0, 256, (64, 128, 3), dtype=np.uint8)
    sent = codec.encode(image, snr=10)
    assert sent.header.cbr.image == pytest.approx(RATES[name.partition("-")[2]], rel=0.01)
    assert sent.side_symbols.size == 0  # the decoder needs no gain
    assert codec.decode(pipeline.transmit(sent, snr=10, seed=0)).coarse.shape == image.shape


@pytest.mark.parametrize(("name", "steps"), [("deepjscc-1-48", 160), ("pdjscc-1-48", 20)])
def test_every_codec_learns(name: str, steps: int, data: Path, tmp_path: Path, lpips: None) -> None:
    config = small(name, steps=steps, learning_rate=5e-3, warmup=3, log_every=steps // 10)
    config["codec"]["recipe"] |= {"snr_db": [15, 20], "shares": [1, 0, 0]}
    train("jscc", asked(config, data, tmp_path / "run"), quiet)
    first, *_, last = figures(tmp_path / "run", "codec", "psnr")
    assert last > first + 1


def test_training_goes_on_from_a_preset(data: Path, tmp_path: Path) -> None:
    first = train("jscc", asked(small("deepjscc-1-96"), data, tmp_path / "first"), quiet)
    second = train("jscc", asked(small("deepjscc-1-96", learning_rate=0.0), data, tmp_path / "second", start=str(first)), quiet)
    ours, theirs = (build(load_preset(folder).components["codec"], CPU).state_dict() for folder in (first, second))
    assert all((ours[key] - theirs[key]).abs().max() < 1e-3 for key in ours)


def test_a_linear_start_is_for_codecs_that_have_one(data: Path, tmp_path: Path) -> None:
    config = small("deepjscc-1-96")
    config["codec"]["recipe"]["linear"] = True
    with pytest.raises(InputError, match="linear is for SwinJSCC"):
        train("jscc", asked(config, data, tmp_path / "run"), quiet)


@pytest.mark.parametrize("halvings", [2, 4, 5])
def test_more_halvings_are_lower_rates(halvings: int) -> None:
    code = ConvolutionalJSCC(ConvolutionalJSCCConfig(code_channels=4, halvings=halvings))
    assert code.symbols(0, (64, 64)) == 2 * (64 // 2**halvings) ** 2
    assert code.multiple == 2**halvings
