"""What every method's trainer does: recipes, folders and presets to start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from gencomm_cli.errors import InputError
from gencomm_cli.methods.textguided.prior import PriorRecipe
from gencomm_cli.methods.textguided.train import STAGES
from gencomm_cli.training.trainer import TrainOptions, load_config, recipe_from, train


def test_recipes_refuse_what_they_do_not_know(tmp_path: Path) -> None:
    assert recipe_from(PriorRecipe, load_config(None, "textguided/nano.json", ())["prior"]["recipe"], 3.0).schedule.max_minutes == 3
    with pytest.raises(InputError, match="unknown key bacth"):
        recipe_from(PriorRecipe, {"schedule": {"steps": 1, "learning_rate": 1}, "bacth": 2})
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(InputError, match="lacks"):
        load_config(tmp_path / "bad.json", "textguided/nano.json", STAGES)
    with pytest.raises(InputError, match="--resume"):
        train("textguided", TrainOptions(tmp_path, tmp_path))
