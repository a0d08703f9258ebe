"""Training over pretrained backbones: stand-ins for Stable Diffusion and Stable Cascade, which have to stay as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gencomm_cli import presets
from gencomm_cli.diffusion.components import BUILDERS
from gencomm_cli.errors import InputError
from gencomm_cli.jscc.rate_adaptive import JSCCConfig, RateAdaptiveJSCC
from gencomm_cli.methods import load_method
from gencomm_cli.methods.base import DecodeOptions, Received, Request
from gencomm_cli.metrics.lpips import LPIPS
from gencomm_cli.pretrained import Plan, add
from gencomm_cli.training import diffjscc, scsic, textguided
from gencomm_cli.training.jscc import JSCCRecipe
from gencomm_cli.training.refiner import RefinerRecipe
from gencomm_cli.training.workshop import TrainOptions, load_config, recipe_from
from tests.methods.conftest import PUBLISHED
from tests.standins import JSCC, stable_cascade, stable_diffusion

CPU = torch.device("cpu")
FAST: dict[str, Any] = {"schedule": {"steps": 3, "learning_rate": 1e-3, "warmup": 1, "ema": 0.5}, "batch": 2, "crop": 8}
RECIPES: dict[str, dict[str, Any]] = {
    "textguided": {
        "jscc": {"model": JSCC, "recipe": FAST},
        "control": FAST,
        "refine": FAST | {"crop": 4, "pixel": 1.0, "perceptual": 0.1},
        "settings": {"domain": "latent", "cbr_range": [0.0005, 0.02], "steps": 2},
    },
    "diffjscc": {
        "start": "sd",
        "jscc": {"class": "DeepJSCC", "model": PUBLISHED, "recipe": FAST | {"crop": 64}},
        "control": FAST,
        "rollout": FAST,
        "adversarial": FAST,
        "settings": {"steps": 2, "csi": {"width": 8}, "captioner": "none"},
    },
    "scsic": {"finetune": FAST | {"crop": 32, "snr_db": [1, 20]}, "settings": {"steps": 2}},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for index in range(6):
        coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((256, 256), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    return folder


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENCOMM_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for recipe in (textguided, diffjscc):
        monkeypatch.setattr(recipe, "load_judges", lambda *_: [LPIPS("squeeze").eval().requires_grad_(False)])


def quiet(line: str) -> None:
    """Swallows progress."""


def bare(method: str, folder: Path) -> presets.Preset:
    """A preset over a stand-in, with nothing of its own."""
    make = stable_cascade if method == "scsic" else stable_diffusion
    return presets.load_config(add(Plan(method, "bare", str(make(folder / "full"))), None, quiet))


@pytest.mark.parametrize("method", ["textguided", "diffjscc", "scsic"])
def test_what_is_trained_over_a_backbone_sends_pictures_with_it(method: str, data: Path, tmp_path: Path) -> None:
    before = bare(method, tmp_path)
    recipe = {"textguided": textguided, "diffjscc": diffjscc, "scsic": scsic}[method]
    (tmp_path / "recipe.json").write_text(json.dumps({"name": "mine", **RECIPES[method]}))
    made = recipe.train(TrainOptions(data, tmp_path / "out", tmp_path / "recipe.json", start="bare"), quiet)
    after = presets.load_config(made)
    kept = ("encoder", "stage_a", "previewer") if method == "scsic" else ("vae", "unet", "text_encoder", "tokenizer")
    own = ("stage_b",) if method == "scsic" else ("control", "jscc")
    assert {name: after.components[name] for name in kept} == {name: before.components[name] for name in kept}
    assert all(after.components[name].path is not None for name in own)
    ready = load_method(after, CPU)
    image = np.asarray(Image.open(data / "0.png").convert("RGB"))[:64, :64]
    sent = ready.encode(image, Request(ready.symbol_budget(ready.default_cbr, (64, 64)), 10.0))
    received = Received(sent.symbols, None, 0.1, (64, 64), side_symbols=sent.side_symbols)
    assert ready.decode(received, DecodeOptions(), seed=0).refined[0].shape == (64, 64, 3)


def test_a_stage_that_would_change_the_backbone_is_refused(data: Path, tmp_path: Path) -> None:
    bare("textguided", tmp_path)
    (tmp_path / "recipe.json").write_text(json.dumps({"name": "mine", **RECIPES["textguided"]}))
    asked = TrainOptions(data, tmp_path / "out", tmp_path / "recipe.json", stages=("prior",), start="bare")
    with pytest.raises(InputError, match="there is no prior; there is: jscc, control, refine"):
        textguided.train(asked, quiet)


def test_the_shipped_full_size_recipes_fit_stable_diffusion_and_stable_cascade() -> None:
    """Sizes by the published configurations, without numbers; every field of a recipe is known."""
    of_textguided = load_config(None, "textguided-sd.json", {"name"})
    with torch.device("meta"):
        jscc = RateAdaptiveJSCC(JSCCConfig.from_json(of_textguided["jscc"]["model"]))
    assert jscc.config.channels == 4
    recipe_from(JSCCRecipe, of_textguided["jscc"]["recipe"])
    assert not recipe_from(RefinerRecipe, of_textguided["refine"]).decoder
    of_diffjscc = load_config(None, "diffjscc-sd.json", {"name", "start"})
    with torch.device("meta"):
        code = BUILDERS[of_diffjscc["jscc"]["class"]](**of_diffjscc["jscc"]["model"])  # type: ignore[operator]
    assert code.config.cbr == pytest.approx(1 / 384)  # type: ignore[union-attr]
    for kind, name in (
        (diffjscc.ControlRecipe, "control"),
        (diffjscc.RolloutRecipe, "rollout"),
        (diffjscc.CodecRecipe, "adversarial"),
    ):
        recipe_from(kind, of_diffjscc[name])
    of_scsic = load_config(None, "scsic-cascade.json", {"name", "settings"})
    assert recipe_from(scsic.DiffusionRecipe, of_scsic["finetune"]).schedule.steps == 15000  # as in the paper
