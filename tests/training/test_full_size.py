"""Training over pretrained backbones: stand-ins for Stable Diffusion and Stable Cascade, which have to stay as they are."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from diffusers.models import StableCascadeUNet
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file

from gencomm_cli import presets
from gencomm_cli.commands.train import _recipe as named
from gencomm_cli.errors import InputError
from gencomm_cli.methods import load_method, specs
from gencomm_cli.methods.base import Received, Request
from gencomm_cli.methods.diffjscc import train as diffjscc
from gencomm_cli.methods.options import build
from gencomm_cli.methods.scsic import train as scsic
from gencomm_cli.methods.scsic.cascade import StageB
from gencomm_cli.methods.scsic.method import with_reliability
from gencomm_cli.methods.scsic.networks import ScSicNetworks
from gencomm_cli.methods.textguided.refiner import RefinerRecipe
from gencomm_cli.presets.build import builders
from gencomm_cli.presets.pretrained import add
from gencomm_cli.rates import symbols_within
from gencomm_cli.released.checkpoint import read_checkpoint
from gencomm_cli.released.conversion import convert, write_preset
from gencomm_cli.training import losses
from gencomm_cli.training import trainer as trainers
from gencomm_cli.training.trainer import TrainOptions, changed, load_config, recipe_from, stage_values, train
from tests.methods.scsic import test_released as test_stable_cascade
from tests.support.presets import PUBLISHED, make_scsic
from tests.support.released import Weights
from tests.support.standins import JSCC, stable_cascade, stable_diffusion
from tests.support.training import CPU, asked, backbones, quiet, write_photographs

__all__ = ["make_scsic"]

FAST: dict[str, Any] = {
    "schedule": {"steps": 3, "learning_rate": 1e-3, "warmup": 1, "ema": 0.5, "accumulate": 1}, "batch": 2, "crop": 8
}  # fmt: skip


def small(method: str, changes: dict[str, Any]) -> dict[str, Any]:
    """The paper's recipe at the sizes of the stand-ins, without its name."""
    recipe = changed(load_config(None, f"{method}/paper.json", ()), changes)
    del recipe["name"]
    return recipe


RECIPES = {
    "textguided": small(
        "textguided",
        {
            "prepare": "fit:64",
            "jscc": {"model": JSCC, "recipe": FAST},
            "control": FAST,
            "refine": FAST | {"crop": 4},
            "settings": {"cbr_range": [0.0005, 0.02], "steps": 2},
        },
    ),
    "diffjscc": small(
        "diffjscc",
        {
            "jscc": {"model": PUBLISHED, "recipe": FAST | {"crop": 64}},
            "control": FAST,
            "rollout": FAST,
            "adversarial": FAST,
            "settings": {"steps": 2, "csi": {"width": 8}, "captioner": "none"},
        },
    ),
    "scsic": small("scsic", {"prepare": "stretch:128", "finetune": FAST | {"crop": 32}, "settings": {"steps": 2}}),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photographs(tmp_path_factory.mktemp("photographs"), 6, (4, 4), (300, 200))


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENCOMM_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(losses, "load_perceptual", lambda *_: backbones("squeeze"))


def bare(method: str, folder: Path) -> presets.Preset:
    """A preset over a stand-in, with nothing of its own."""
    make, kind = stable_cascade if method == "scsic" else stable_diffusion, specs()[method].sources
    assert kind is not None
    return presets.load_config(add(method, "bare", build(kind, {kind.base: str(make(folder / "full"))}), None, quiet))


@pytest.mark.parametrize("method", ["textguided", "diffjscc", "scsic"])
def test_what_is_trained_over_a_backbone_sends_pictures_with_it(method: str, data: Path, tmp_path: Path) -> None:
    before = bare(method, tmp_path)
    (tmp_path / "recipe.json").write_text(json.dumps({**RECIPES[method], "name": "mine"}))
    made = train(method, TrainOptions(data, tmp_path / "out", tmp_path / "recipe.json", start="bare"), quiet)
    after = presets.load_config(made)
    kept = ("encoder", "stage_a", "previewer") if method == "scsic" else ("vae", "unet", "text_encoder", "tokenizer")
    own = ("stage_b",) if method == "scsic" else ("control", "jscc")
    assert {name: after.components[name] for name in kept} == {name: before.components[name] for name in kept}
    assert all(after.components[name].path is not None for name in own)
    ready = load_method(after, CPU)
    image = np.asarray(Image.open(data / "0.png").convert("RGB"))[:64, :64]
    sent = ready.encode(image, Request(ready.symbol_budget(ready.default_cbr, (64, 64)), 10.0))
    received = Received(sent.symbols, None, 0.1, (64, 64), side_symbols=sent.side_symbols)
    assert ready.decode(received, specs()[method].receiver(), seed=0).refined[0].shape == (64, 64, 3)


def refined(preset: presets.Preset, data: Path) -> NDArray[np.uint8]:
    """What a preset of scsic makes of a picture of 64 × 64, whole numbers 0 … 255."""
    ready = load_method(preset, CPU)
    image = np.asarray(Image.open(data / "0.png").convert("RGB"))[:64, :64]
    sent = ready.encode(image, Request(ready.symbol_budget(ready.default_cbr, (64, 64))))
    received = Received(sent.symbols, None, 0.1, (64, 64), side_symbols=sent.side_symbols)
    return ready.decode(received, specs()["scsic"].receiver(), seed=0).refined[0]


@pytest.mark.parametrize("own", [False, True])
def test_stage_b_learns_to_use_the_reliability_from_where_it_was(
    own: bool, data: Path, make_scsic: Callable[..., Path], tmp_path: Path
) -> None:
    """With weights of zero for the reliability it computes what it did, in a preset over Stable Cascade and in one of its own."""
    base = presets.load_config(make_scsic()) if own else bare("scsic", tmp_path)
    config: dict[str, Any] = {"name": "aware", **RECIPES["scsic"]} | {"settings": {"steps": 2, "snr_aware": True}}

    def open_with(base: presets.Preset, **settings: Any) -> scsic.CascadeTrainer:
        return scsic.CascadeTrainer(asked({**config, "settings": settings}, data, tmp_path / "out"), quiet, base)

    trainer = open_with(base, **config["settings"])
    x, time, z, reliability = torch.randn(2, 4, 16, 16), torch.rand(2), torch.randn(2, 16, 2, 2), torch.rand(2, 32)
    widened = StageB(cast(StableCascadeUNet, trainer.module("stage_b")))
    with torch.no_grad():
        out = widened(x, time, with_reliability(z, reliability))
        torch.testing.assert_close(out, ScSicNetworks(base, CPU).stage_b(x, time, z))
    before = presets.load_config(trainer.export(tmp_path / "before"))
    assert before.components["stage_b"].config["effnet_in_channels"] == 17
    difference = np.abs(refined(before, data).astype(int) - refined(replace(base, settings={**base.settings, "steps": 2}), data))
    assert difference.mean() < 0.2  # stored in half precision
    trainer.run("finetune")
    weight = cast(torch.Tensor, trainer.module("stage_b").get_parameter("effnet_mapper.0.weight"))
    assert float(weight[:, 16].abs().max()) > 0
    after = presets.load_config(trainer.export(tmp_path / "after"))
    assert not np.array_equal(refined(after, data), refined(before, data))
    again = open_with(after)
    assert again.module("stage_b").get_parameter("effnet_mapper.0.weight").shape[1] == 17
    with pytest.raises(InputError, match="preset aware takes the reliability"):
        open_with(after, snr_aware=False)


def imported(folder: Path) -> presets.Preset:
    """Stand-ins for the released files, as `models import` makes a preset of them: without a previewer."""
    files = []
    states = test_stable_cascade.released(Weights, test_stable_cascade.Design(), 16, 2)
    for name, state in zip(("stage_a", "stage_b", "effnet_encoder"), states, strict=True):
        files.append(folder / f"{name}.safetensors")
        save_file(state, files[-1])
    write_preset(
        convert([read_checkpoint(path) for path in files], None, {"scale_factor": 0.43, "head_width": 64}),
        folder / "released",
        "released",
        files,
    )
    return presets.load_config(folder / "released")


def test_what_was_imported_is_fine_tuned_and_sends_pictures(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a recipe, that of Stable Cascade is taken, as nano's networks are of another kind."""
    base, small, shipped = imported(tmp_path), {**RECIPES["scsic"], "name": "mine"}, trainers.load_config
    monkeypatch.setattr(trainers, "load_config", lambda path, name, *rest: small if "paper" in name else shipped(path, name, *rest))
    options = TrainOptions(data, tmp_path / "out", stages=("finetune",), start=str(base.folder))
    said: list[str] = []
    made = train("scsic", options, said.append)
    assert sum("--start released: stage B alone is trained on" in line for line in said) == 1
    after = presets.load_config(made)
    assert set(after.components) == {"encoder", "stage_a", "stage_b"}
    for name in ("encoder", "stage_a"):
        assert after.components[name].path == made / f"{name}.safetensors"
        assert after.components[name].sha256 == base.components[name].sha256
        assert after.components[name].config == base.components[name].config
    presets.verify(after)
    shutil.rmtree(base.folder)
    assert refined(after, data).shape == (64, 64, 3)


def test_a_recipe_for_another_kind_of_preset_is_one_line(data: Path, tmp_path: Path) -> None:
    base = imported(tmp_path)
    (tmp_path / "recipe.json").write_text(json.dumps({"name": "mine", "settings": {}}))
    with pytest.raises(InputError, match="lacks finetune"):
        train("scsic", TrainOptions(data, tmp_path / "out", tmp_path / "recipe.json", start=str(base.folder)), quiet)


def test_a_stage_that_would_change_the_backbone_is_refused(data: Path, tmp_path: Path) -> None:
    bare("textguided", tmp_path)
    (tmp_path / "recipe.json").write_text(json.dumps({**RECIPES["textguided"], "name": "mine"}))
    options = TrainOptions(data, tmp_path / "out", tmp_path / "recipe.json", stages=("prior",), start="bare")
    with pytest.raises(InputError, match="there is no prior; there is: jscc, control, refine"):
        train("textguided", options, quiet)


SHIPPED = [path for method in RECIPES for path in sorted(Path(diffjscc.__file__).parents[1].joinpath(method).glob("paper*.json"))]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_recipe_of_the_papers_is_known_and_fits(path: Path) -> None:
    """Its fields; its code has the rate that it says, by the published sizes, without numbers."""
    method = path.parent.name
    config = load_config(path, f"{method}/paper.json", {"name", "settings"})
    plans = import_module(specs()[method].training).STAGES
    for stage in config.keys() & plans.keys():
        values = {key: value for key, value in stage_values(config, stage).items() if key != "checkpointing"}
        assert recipe_from(plans[stage].recipe, values).schedule.final in (1.0, 0.001, 0.02)
    if method == "scsic":
        return
    sizes, rate = config["jscc"], re.search("1-([0-9]+)$", path.stem)
    with torch.device("meta"):
        code: Any = builders()[sizes.get("class", "RateAdaptiveJSCC")](**sizes["model"])
    if method == "diffjscc":
        assert code.symbols(1, (512, 512)) / (3 * 512**2) == pytest.approx(1 / int(rate[1] if rate else 384))
    else:
        pixels, printed = code.config.factor * (8 if config["settings"]["domain"] == "latent" else 1), config["settings"]["cbr"]
        reals, limits = code.config.code_channels, config["settings"]["cbr_range"]
        assert reals == round(6 * pixels**2 * printed)
        at = {rate: min(symbols_within(rate, limits, (256, 256)), 128 * reals) for rate in (printed, printed / 2)}
        assert at == {
            printed: pytest.approx(128 * reals, rel=0.01),
            printed / 2: pytest.approx(64 * reals, rel=0.03),
        }  # or a prompt
        assert config["settings"]["cbr_range"][1] == printed == config["refine"]["cbr"][0] == config["control"]["cbr"][1]


def test_a_recipe_may_be_named() -> None:
    assert named("diffjscc", Path("paper-1-96")) in SHIPPED
    with pytest.raises(InputError, match=r"no file other, nor a recipe of that name; scsic has nano, paper$"):
        named("scsic", Path("other"))


def test_the_papers_numbers() -> None:
    """Of sections IV-A, III-A2 and 4.1."""
    of = {method: load_config(None, f"{method}/paper.json", ()) for method in RECIPES}
    refine, control, codec = of["textguided"]["refine"], of["diffjscc"]["control"], of["diffjscc"]["jscc"]["recipe"]
    weights = recipe_from(RefinerRecipe, {name: value for name, value in refine.items() if name != "checkpointing"})
    assert (weights.diffusion, weights.latent, weights.pixel, weights.perceptual, weights.path) == (1, 1, 10, 1, False)
    assert not weights.decoder
    assert (control["batch"] * control["schedule"]["accumulate"], control["schedule"]["steps"]) == (16, 25000)
    assert (codec["batch"], codec["crop"], codec["snr_db"], codec["informed"]) == (32, 256, [0, 14], 1)
    assert [stage for stage, plan in diffjscc.OverBackbone.plans.items() if not plan.optional] == ["jscc", "control"]
    tune = of["scsic"]["finetune"]
    assert (tune["batch"], tune["schedule"]["steps"], tune["snr_db"], 4 * tune["crop"]) == (4, 15000, [1, 20], 1024)
