"""Text without an end, and JSON or YAML nested so deep that its reader gives up: refused in one line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gencomm_cli import textfiles
from gencomm_cli.errors import InputError
from gencomm_cli.released.checkpoint import read_config
from tests.support.commands import Result, failed

DEEP = "[" * 100_000
RUN = ("bench", "run", "photo.png", "--methods", "folder:finished", "--out", "rows")


@pytest.mark.parametrize(
    ("name", "arguments", "what"),
    [
        ("preset/config.json", ("models", "verify", "preset"), "config.json"),
        ("preset/config.json", ("encode", "photo.png", "--preset", "preset"), "preset/config.json: is not JSON"),
        (
            "recipe.json",
            ("train", "textguided", "--data", "finished", "--out", "o", "--config", "recipe.json"),
            "recipe.json: not JSON",
        ),
        ("rows/rows.jsonl", RUN, "rows/rows.jsonl, line 1: not a row"),
        ("rows/rows.jsonl", ("bench", "report", "rows"), "no row"),
        ("rows/sets.jsonl", ("bench", "report", "rows"), "no rows.jsonl"),
    ],
)
def test_json_nested_too_deep(here: Callable[..., Result], photo: Path, name: str, arguments: tuple[str, ...], what: str) -> None:
    for folder in ("preset", "rows", "finished"):
        os.mkdir(folder)
    (photo.parent / "finished/photo.png").write_bytes(photo.read_bytes())
    Path(name).write_text(DEEP + "\n")
    failed(here(*arguments), 2, what)


def test_yaml_nested_too_deep(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("[" * 5000)
    with pytest.raises(InputError, match="neither YAML nor JSON"):
        read_config(tmp_path / "config.yaml")


def test_rows_are_not_read_from_a_device(here: Callable[..., Result], photo: Path) -> None:
    os.mkdir("rows")
    os.symlink("/dev/zero", "rows/rows.jsonl")
    os.mkdir("finished")
    (photo.parent / "finished/photo.png").write_bytes(photo.read_bytes())
    failed(here(*RUN), 2, "holds no rows.jsonl")


def test_text_without_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textfiles, "LARGEST", 1000)
    (tmp_path / "captions.tsv").write_text("a.png\tb\n" * 126)
    for path in (tmp_path / "captions.tsv", Path("/dev/zero")):
        with pytest.raises(InputError, match="has more than 1000 bytes"):
            textfiles.read_table(path)
    (tmp_path / "captions.tsv").write_text("a.png\tb\n" * 125)
    assert len(textfiles.read_table(tmp_path / "captions.tsv")) == 125
