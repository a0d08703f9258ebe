"""`gencomm train`: which recipe a method's name starts, and with what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gencomm_cli.commands.train import train
from gencomm_cli.errors import InputError
from gencomm_cli.training import trainer


@pytest.fixture(autouse=True)
def _photograph(tmp_path: Path) -> None:
    (tmp_path / "photograph.png").touch()


@pytest.mark.parametrize(("method", "stage"), [("textguided", "refine"), ("diffjscc", "rollout"), ("scsic", "rollout")])
def test_the_methods_own_recipe_is_run_with_its_own_stages(
    method: Any, stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, trainer.TrainOptions]] = []
    monkeypatch.setattr(trainer, "train", lambda method, options, report: calls.append((method, options)))
    for stages, expected in ((None, None), (stage, (stage,))):
        train(method, tmp_path, tmp_path / "out", max_minutes=3.0, stages=stages, start="nano", device="cpu")
        asked, options = calls.pop()
        assert (asked, options.stages, options.start) == (method, expected, "nano")
        assert options.max_minutes == 3.0
        assert options.device == "cpu"


def test_a_captioner_is_checked_and_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(trainer, "train", lambda method, options, report: calls.append(options.captioner))
    train("textguided", tmp_path, tmp_path / "out", device="cpu")
    train("textguided", tmp_path, tmp_path / "out", device="cpu", captioner="builtin")
    assert calls == ["none", "builtin"]
    for method, captioner, words in (("scsic", "builtin", "without captions"), ("diffjscc", "hf:/nowhere", "no folder /nowhere")):
        with pytest.raises(InputError, match=words):
            train(method, tmp_path, tmp_path / "out", device="cpu", captioner=captioner)  # type: ignore[arg-type]
