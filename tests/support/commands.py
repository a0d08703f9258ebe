"""Runs the command line as a user does, in a process of its own, and in this one where no pipe is involved."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import typer.main
from numpy.typing import NDArray
from PIL import Image

from gencomm_cli import app
from tests.support.schemas import check_printed

Result = subprocess.CompletedProcess[bytes]
COMMAND = [sys.executable, "-c", "from gencomm_cli.__main__ import main; main()"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "200"}


@cache
def commands() -> Callable[..., object]:
    """The command line, put together."""
    return typer.main.get_command(app.app)


@pytest.fixture
def gencomm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """A real process in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object, stdin: bytes = b"", **environment: str) -> Result:
        done = subprocess.run(
            [*COMMAND, *map(str, arguments)], input=stdin, capture_output=True, env=ENVIRONMENT | environment, check=False
        )
        check_printed([*map(str, arguments)], done.stdout)
        return done

    return call


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., Result]:
    """The same in this process, in an empty folder: quicker, as torch is loaded and the commands are put together once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(app, "app", commands())

    def call(*arguments: object) -> Result:
        capfdbinary.readouterr()
        status = app.run([str(argument) for argument in arguments])
        sys.stdout.flush()
        out, err = capfdbinary.readouterr()
        check_printed([*map(str, arguments)], out)
        return subprocess.CompletedProcess([*map(str, arguments)], status, out, err)

    return call


@pytest.fixture
def interrupting_children(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of commands whose worker processes get a Ctrl-C when they are born, before anything of ours runs in them."""
    folder = tmp_path_factory.mktemp("born")
    (folder / "sitecustomize.py").write_text(
        "import os, signal, sys\nif '--multiprocessing-fork' in sys.orig_argv: os.kill(os.getpid(), signal.SIGINT)\n"
    )
    return ENVIRONMENT | {"PYTHONPATH": f"{folder}{os.pathsep}{ENVIRONMENT['PYTHONPATH']}"}


def picture(height: int = 64, width: int = 96) -> NDArray[np.uint8]:
    """A smooth scene with an edge, uint8 [H, W, 3]."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    scene = np.stack([x, y, 0.5 + 0.5 * np.sin(6 * x + 4 * y)], axis=2)
    scene[height // 3 : height // 2, width // 4 : width // 2] = (0.9, 0.2, 0.1)
    pixels: NDArray[np.uint8] = np.rint(255 * scene.clip(0, 1)).astype(np.uint8)
    return pixels


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.fromarray(picture()).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def failed(result: Result, status: int, *words: str) -> None:
    """One line on stderr with these words, nothing on stdout, this exit status."""
    text = result.stderr.decode()
    assert result.returncode == status, text
    assert result.stdout == b""
    assert text.startswith("error: ")
    assert text.count("\n") == 1, text
    assert "Traceback" not in text
    for word in words:
        assert word in text, text
