"""What every method's trainer does: recipes, folders and presets to start from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from gencomm_cli.errors import InputError
from gencomm_cli.methods.textguided.prior import PriorRecipe
from gencomm_cli.methods.textguided.refiner import JSCCRecipe
from gencomm_cli.methods.textguided.train import STAGES, TextGuidedTrainer
from gencomm_cli.training import losses
from gencomm_cli.training.data import is_validation
from gencomm_cli.training.pictures import COLUMNS, COUNT, SIZE
from gencomm_cli.training.trainer import TrainOptions, load_config, recipe_from, train
from tests.methods.textguided.test_train import tiny_recipe
from tests.support.training import asked, backbones, figures, quiet, write_photographs

__all__ = ["tiny_recipe"]


def test_recipes_refuse_what_they_do_not_know(tmp_path: Path) -> None:
    assert recipe_from(PriorRecipe, load_config(None, "textguided/nano.json", ())["prior"]["recipe"], 3.0).schedule.max_minutes == 3
    with pytest.raises(InputError, match="unknown key bacth"):
        recipe_from(PriorRecipe, {"schedule": {"steps": 1, "learning_rate": 1}, "bacth": 2})
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(InputError, match="lacks"):
        load_config(tmp_path / "bad.json", "textguided/nano.json", STAGES)
    with pytest.raises(InputError, match="--resume"):
        train("textguided", TrainOptions(tmp_path, tmp_path))
    (tmp_path / "mine.json").write_text('{"like": "nano", "prior": {"recipe": {"batch": 3}}}')
    mine, nano = (load_config(path, "textguided/nano.json", STAGES) for path in (tmp_path / "mine.json", None))
    assert mine["prior"]["recipe"] == nano["prior"]["recipe"] | {"batch": 3}
    assert {**mine, "prior": 0} == {**nano, "prior": 0}
    (tmp_path / "bad.json").write_text('{"like": "nano", "name": {"prior": 1}}')
    assert load_config(tmp_path / "bad.json", "textguided/nano.json", STAGES)["name"] == {"prior": 1}
    for text in ("[]", "{", '{"like": NaN}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(InputError, match=r"is not (a JSON object|JSON)"):
            load_config(tmp_path / "bad.json", "textguided/nano.json", STAGES)
    (tmp_path / "bad.json").write_text('{"like": "other"}')
    with pytest.raises(InputError, match=r"there is no recipe textguided/other\.json"):
        load_config(tmp_path / "bad.json", "textguided/nano.json", ())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schedule": 5}, "5 is no Schedule"), ({"schedule": {"steps": 1}}, "a Schedule lacks learning_rate"),
        ({"schedule": {"steps": 0, "learning_rate": 1}}, "Schedule, steps: 0 is too small; 1 or more"),
        ({"schedule": {"steps": 1, "learning_rate": "1e-3"}}, "Schedule, learning_rate: '1e-3' is no float"),
        ({"schedule": {"steps": 1, "learning_rate": -1}}, "learning_rate: -1 is too small; 0 or more"),
        ({"schedule": {"steps": 1, "learning_rate": 1, "precision": "fp8"}}, "precision: 'fp8' is no Literal"),
        ({"batch": "2"}, "batch: '2' is no int"), ({"batch": 0}, "batch: 0 is too small; 1"),
        ({"batch": True}, "batch: True is no int"),
        ({"crop": None}, "crop: None is no int"), ({"seed": -1}, "seed: -1 is too small; 0"),
        ({"snr_db": 3}, "snr_db: 3 is no tuple"),
        ({"cbr": [0.1]}, "cbr: .* is no tuple"), ({"shares": [0.5, "x", 0]}, "shares: .* is no tuple"),
        ({"shares": [0.5, -0.5, 1]}, "shares: .* is too small; 0"),
    ],
)  # fmt: skip
def test_numbers_that_a_stage_cannot_take_are_refused(change: dict[str, Any], said: str) -> None:
    fine = {"schedule": {"steps": 1, "learning_rate": 1}, "snr_db": [-5, 20], "cbr": [0.01, 0.1], "batch": 2}
    assert recipe_from(JSCCRecipe, fine).batch == 2
    with pytest.raises(InputError, match=said):
        recipe_from(JSCCRecipe, fine | change)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"jscc": 5}, "jscc: is not a JSON object with a schedule"),
        ({"jscc": {"class": "Nope"}}, "--config: lacks 'model'"),
        ({"jscc": {"class": "Nope", "model": {}}}, "jscc: there is no class Nope; there is: "),
        ({"jscc": {"model": {"channels": -3}}}, "jscc: no KLTJSCC has these sizes"),
        ({"jscc": {"model": {"chanels": 8}}}, "jscc: no KLTJSCC has these sizes .*chanels"),
        ({"refine": {"batch": 0}}, "batch: 0 is too small"),
    ],
)
def test_a_recipe_is_looked_at_before_anything_is_trained(
    change: dict[str, Any], said: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "load_perceptual", lambda *_: backbones("alex"))
    (tmp_path / "recipe.json").write_text(json.dumps({"like": "nano"} | change))
    with pytest.raises(InputError, match=said):
        train("textguided", TrainOptions(data, tmp_path / "out", tmp_path / "recipe.json"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Photographs of which some are for validation."""
    (tmp_path / "data").mkdir()
    folder = write_photographs(tmp_path / "data", 40, size=(72, 64))
    assert any(is_validation(path.name) for path in folder.iterdir())
    return folder


@pytest.fixture(autouse=True)
def _perceptual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "load_perceptual", lambda *_: backbones("alex"))


def test_a_stage_may_save_memory_and_shows_pictures(data: Path, tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    tiny_recipe["vae"]["recipe"]["schedule"] |= {"log_every": 1, "precision": "fp32"}
    runs = []
    for name in ("plain", "saving"):
        tiny_recipe["vae"]["recipe"]["checkpointing"] = name == "saving"
        TextGuidedTrainer(asked(tiny_recipe, data, tmp_path / name, stages=("vae",)), quiet).run("vae")
        runs.append(figures(tmp_path / name, "vae"))
        with Image.open(tmp_path / name / "vae.png") as sheet:
            assert sheet.size == (COLUMNS * 2 * SIZE, COUNT // COLUMNS * SIZE)
    assert runs[0] == pytest.approx(runs[1], rel=1e-4)


def test_a_finished_stage_that_is_damaged_is_named(data: Path, tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    trainer = TextGuidedTrainer(asked(tiny_recipe, data, tmp_path / "run"), quiet)
    trainer.save("vae")
    kept = tmp_path / "run/vae.vae.safetensors"
    whole = kept.read_bytes()
    for content in (b"", whole[:-9], whole.replace(b"encoder", b"ENCODER")):
        kept.write_bytes(content)
        with pytest.raises(InputError, match=r"vae\.vae\.safetensors: is of another recipe or damaged; delete it"):
            trainer.restore("vae")


@pytest.mark.parametrize(("taken", "left"), [(8.0, 2.0), (11.0, 0.0)])
def test_minutes_that_a_stage_took_too_long_are_gone(
    taken: float, left: float, data: Path, tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of ten minutes the first of two stages has five, and the second what the first has left; never 0, which is no limit."""
    limits: dict[str, float] = {}
    trainer = TextGuidedTrainer(asked(tiny_recipe, data, tmp_path / "run", stages=("vae", "prior"), max_minutes=10.0), quiet)
    for name, value in (("run", limits.__setitem__), ("restore", lambda _: False), ("save", lambda _: None)):
        monkeypatch.setattr(trainer, name, value)
    monkeypatch.setattr("time.monotonic", lambda: 60 * taken * len(limits))
    trainer.work()
    monkeypatch.undo()
    assert limits == {"vae": 5.0, "prior": pytest.approx(left, abs=1e-5)}
    assert limits["prior"] > 0


def test_without_photographs_of_the_validation_split_there_is_no_sheet(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    folder = write_photographs(tmp_path / "data", 6, size=(72, 64))
    assert not any(is_validation(path.name) for path in folder.iterdir())
    TextGuidedTrainer(asked(tiny_recipe, folder, tmp_path / "run", stages=("vae",)), quiet).run("vae")
    assert not (tmp_path / "run" / "vae.png").exists()


def test_lpips_weights_are_asked_for_only_where_a_stage_needs_them(
    data: Path, tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: Any) -> None:
        raise InputError("--metric-weights: none")

    monkeypatch.setattr(losses, "load_perceptual", missing)
    TextGuidedTrainer(asked(tiny_recipe, data, tmp_path / "run", stages=("prior", "jscc", "control")), quiet)
    with pytest.raises(InputError, match="--metric-weights"):
        TextGuidedTrainer(asked(tiny_recipe, data, tmp_path / "run", stages=("prior", "refine")), quiet)


def test_threads_are_torchs(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", taken.append)
    with pytest.raises(InputError, match="there is no nothing"):
        train("textguided", TrainOptions(data, tmp_path / "run", threads=3, stages=("nothing",)))
    assert taken == [3]
