"""The scripts of ``examples/`` that no test of its own runs, each with its smallest settings: tiny presets, a picture or two.

Those that call ``gencomm`` are followed up to where it would load weights, every point of theirs and with ``FULL``.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gencomm_cli.app import run
from gencomm_cli.methods.textguided.train import TextGuidedTrainer
from gencomm_cli.presets import models_root
from gencomm_cli.training import losses
from gencomm_cli.training.data import is_validation
from tests.methods.diffcom.test_method import KINDS, write_preset
from tests.methods.textguided.test_train import tiny_recipe
from tests.support.commands import Result
from tests.support.presets import make_preset
from tests.support.training import asked, backbones, quiet, write_photographs
from tests.test_manual import Reached, dry

__all__ = ["dry", "make_preset", "tiny_recipe"]
EXAMPLES = Path(__file__).parents[1] / "examples"
Script = Callable[..., list[str]]


@pytest.fixture
def script(here: object, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Script:
    """Runs a script with other values of its constants, in an empty folder; gives the lines that it printed."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setattr(losses, "load_perceptual", lambda *_: backbones())

    def call(name: str, *arguments: object, **constants: Any) -> list[str]:
        monkeypatch.setattr("sys.argv", [name, *map(str, arguments)])
        main = runpy.run_path(str(EXAMPLES / name))["main"]
        main.__globals__.update(constants)
        main()
        return capfdbinary.readouterr().out.decode().splitlines()

    return call


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Photographs with captions, some for validation, as large as the central square that scripts take."""
    (tmp_path / "data").mkdir()
    folder = write_photographs(tmp_path / "data", 4, (3, 4), (260, 256))
    (folder / "3.png").rename(folder / "38.png")
    assert is_validation("38.png")
    (folder / "captions.tsv").write_text("\n".join(f"{path.name}\ta red house" for path in sorted(folder.iterdir())))
    return folder


def test_parametrisations_are_compared(script: Script, data: Path, tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    tiny_recipe["vae"]["recipe"]["schedule"] |= {"precision": "fp32"}
    options = asked(tiny_recipe, data, tmp_path / "run", stages=("prior", "jscc"))
    trainer = TextGuidedTrainer(options, quiet)
    trainer.save("vae")  # as one that was trained elsewhere
    trainer.work()
    arguments = (tmp_path / "run", "--data", data, "--config", options.config, "--steps", 2, "--images", 1)
    table = script("compare_parameterizations.py", *arguments)
    assert [row.split("|")[1:3] for row in table[2:]] == [
        [f" {kind} ", f" {spacing} "] for kind in ("u", "paper") for spacing in ("uniform", "quadratic")
    ]
    assert np.isfinite([float(cell) for row in table[2:] for cell in row.split("|")[3:6]]).all()
    (tmp_path / "run" / "jscc.jscc.safetensors").unlink()
    with pytest.raises(SystemExit, match="stage jscc is not finished there"):
        script("compare_parameterizations.py", *arguments)


def test_settings_are_chosen(script: Script, data: Path, make_preset: Callable[..., Path]) -> None:
    small = {"CBRS": (0.0033,), "SNRS": (6.0,), "STARTS": (150, 300)}
    printed = script("choose_settings.py", "--data", data, "--preset", make_preset(), "--images", 1, "--device", "cpu", **small)
    assert json.loads(printed[-1])["start_steps"]["cbr"] == [0.0033]
    assert len([line for line in printed if line.startswith(("| uniform", "| quadratic"))]) == 6


def test_a_preset_is_counted_and_leaks_nothing(script: Script, data: Path, make_preset: Callable[..., Path]) -> None:
    preset = make_preset()
    counted = [line.split()[0] for line in script("count.py", "--preset", preset, "--size", 32, 32)]
    assert counted == ["vae", "unet", "text_encoder", "control", "jscc", "both", "one", "coarse"]
    few = ("--preset", preset, "--seeds", 1, "--limit", 2, "--size", 64, "--bound", 9, "--device", "cpu")
    with pytest.raises(SystemExit, match=r"^(0|False)$"):
        script("leak_test.py", data, *few)


def test_rates_are_what_the_header_says(script: Script, data: Path, make_preset: Callable[..., Path]) -> None:
    with pytest.raises(SystemExit, match=r"^(0|False)$"):
        script("rate_check.py", data / "0.png", "--preset", make_preset(), "--cbr", "0.0033,0.01", SIZES=((37, 53), (64, 64)))


def test_diffcoms_tables_and_cost(script: Script, data: Path, tmp_path: Path) -> None:
    write_preset(tmp_path, KINDS["published"])
    few = ("--preset", tmp_path, "--size", 32, "--steps", 2, "--limit", 1, "--device", "cpu")
    table = script("tables_diffcom.py", 3, data, *few, "--seeds", 1)
    assert len(table) == 2 + 1 + 2 * 2
    cost: dict[str, Any] = {"SIDES": (16, 32, 48), "STEPS": (1, 2, 3)}
    main = runpy.run_path(str(EXAMPLES / "cost_diffcom.py"))
    cost["alone"] = lambda path, side, steps, given: main["decode"](path, min(side, 48), steps or 2, given)
    printed = script("cost_diffcom.py", data / "0.png", tmp_path / "cost.png", "--preset", tmp_path, "--device", "cpu", **cost)
    assert printed[0].startswith("steps: ")
    assert Image.open(tmp_path / "cost.png").width > 100


def test_no_step_depends_on_data(script: Script) -> None:
    """Networks of the full-size classes; a step that did would not be exported."""
    printed = script("export_steps.py", "--tiny")[2:]
    assert Counter(row.split("|")[1].strip() for row in printed) == {
        "textguided": 5,
        "diffjscc": 5,
        "lrisc": 6,
        "diffcom": 5,
        "scsic": 4,
    }
    assert all(int(row.split("|")[4]) > 5 for row in printed)


def test_commands_are_timed(script: Script, here: Callable[..., Result], photo: Path) -> None:
    done: list[str] = []

    def at_once(command: list[str], folder: Path) -> tuple[float, float]:
        words = command[1 if command[0].endswith("gencomm") else 3 :]
        with contextlib.chdir(folder):
            assert here(*words).returncode == 0
        done.append(words[0])
        return 1.0, 1.0

    script("timings.py", photo, "--runs", 1, run=at_once)
    assert done[::2] == done[1::2] == ["--help", "encode", "channel", "decode", "decode", "roundtrip"]


SHELL = sorted(path.name for path in EXAMPLES.glob("*.sh"))


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("name", SHELL)
def test_every_command_of_a_shell_script_can_be_typed(name: str, full: bool, dry: None, tmp_path: Path) -> None:
    """By a ``gencomm`` that notes what it is given."""
    noted, program = tmp_path / "noted", tmp_path / "bin" / "gencomm"
    program.parent.mkdir()
    noted.mkdir()
    program.write_text(f'#!/bin/sh\nprintf "%s\\0" "$@" >"$(mktemp {noted}/XXXXXX)"\n')  # a file each: those of a pipe run at once
    program.chmod(0o755)
    (tmp_path / "out").mkdir()
    for made in ("rx.png", "piped.png"):
        (tmp_path / "out" / made).touch()
    out, photos = str(tmp_path / "out"), str(tmp_path / "photos")
    first = [str(EXAMPLES / "kodim23.png"), out] if name == "pipeline.sh" else [out, photos]
    environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "SLURM_ARRAY_TASK_ID": "1"}
    environment |= {"SLURM_ARRAY_TASK_COUNT": "8", **({"FULL": "1", "PLAIN": out} if full else {})}
    more = ["--methods", "separate"] if name == "bench_slurm_array.sh" else []
    done = subprocess.run(["sh", str(EXAMPLES / name), *first, *more], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    lines = [file.read_text().split("\0")[:-1] for file in noted.iterdir()]
    assert lines
    for words in lines:
        with contextlib.suppress(Reached):
            assert run(words) == 0, words


def test_what_the_package_ships_is_built_again(script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Smallest runs of examples/build: the search for parity-check matrices alone takes minutes, and was run by hand."""
    monkeypatch.syspath_prepend(str(EXAMPLES / "build"))
    captions = EXAMPLES / "captions.tsv"
    losses_of = ("--losses", "--fading", "awgn", "--snr", 10, 10, "--sends", 2)
    printed = script("build/prompts_benchmark.py", "--tsv", captions, "--unicode", 3, *losses_of)
    assert "3 captions" in printed[0]
    assert "all come back: True" in printed[0]
    assert printed[2] == "3 random Unicode strings: 0 came back changed"
    assert "lost   0.00%, wrong 0" in printed[3]
    (tmp_path / "texts").write_text("a red door\na dog on grass\n" * 30)
    script("build/text_link.py", "text", tmp_path / "texts", "--captioner", captions, "-o", tmp_path / "text.npz")
    with np.load(tmp_path / "text.npz") as made:
        assert len(made.files) > 5
    card = script("build/separate_codes.py", "card")
    assert card[2] in (models_root() / "separate" / "classical" / "README.md").read_text()


def test_the_figures_of_the_channels_are_drawn(script: Script, tmp_path: Path) -> None:
    script("figures_channels.py", tmp_path)
    for name in ("channels-response.png", "channels-tracking.png"):
        assert Image.open(tmp_path / name).width > 400
