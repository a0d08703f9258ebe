"""`gencomm train`: which recipe a method's name starts, and with what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gencomm_cli.commands.train import train
from gencomm_cli.errors import InputError
from gencomm_cli.methods.diffjscc import train as diffjscc
from gencomm_cli.methods.scsic import train as scsic
from gencomm_cli.methods.textguided import train as textguided


@pytest.mark.parametrize(("method", "recipe"), [("textguided", textguided), ("diffjscc", diffjscc), ("scsic", scsic)])
def test_the_methods_own_recipe_is_run_with_its_own_stages(
    method: Any, recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, Any]] = []

    def note(name: str) -> Callable[..., None]:
        return lambda options, report: calls.append({"recipe": name, "options": options})

    for module in (textguided, diffjscc, scsic):
        monkeypatch.setattr(module, "train", note(module.__name__.split(".")[-2]))
    for stages, expected in ((None, None), (recipe.STAGES[-1], (recipe.STAGES[-1],))):
        train(method, tmp_path, tmp_path / "out", max_minutes=3.0, stages=stages, start="nano", device="cpu")
        call = calls.pop()
        assert (call["recipe"], call["options"].stages, call["options"].start) == (method, expected, "nano")
        assert call["options"].max_minutes == 3.0
        assert call["options"].device == "cpu"


def test_a_captioner_is_checked_and_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(textguided, "train", lambda options, report: calls.append(options.captioner))
    train("textguided", tmp_path, tmp_path / "out", device="cpu")
    train("textguided", tmp_path, tmp_path / "out", device="cpu", captioner="builtin")
    assert calls == ["none", "builtin"]
    for method, captioner, words in (("scsic", "builtin", "without captions"), ("diffjscc", "hf:/nowhere", "no folder /nowhere")):
        with pytest.raises(InputError, match=words):
            train(method, tmp_path, tmp_path / "out", device="cpu", captioner=captioner)  # type: ignore[arg-type]
