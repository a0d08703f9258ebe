"""The scripts of the papers' figures and tables, with tiny presets and pictures: every command of theirs works."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gencomm_cli.bench.store import read_rows
from gencomm_cli.methods.diffcom import method
from gencomm_cli.methods.diffcom.options import Receiver
from gencomm_cli.methods.diffcom.settings import Sampling
from gencomm_cli.training.trainer import load_config
from tests.methods.diffcom.test_method import KINDS, write_preset
from tests.support.commands import Result

Here = Callable[..., Result]
EXAMPLES = Path(__file__).parents[1] / "examples"
RECORD = """#!/bin/sh
for word; do printf '%s\\037' "$word"; done >>"$RECORDED"
printf '\\036' >>"$RECORDED"
"""
"""Stands for gencomm: it writes down what it is asked for."""

needs_sh = pytest.mark.skipif(shutil.which("sh") is None, reason="no shell here")


@pytest.fixture
def diffcom(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    write_preset(folder, KINDS["adjscc"])
    return folder


def recorded(script: str, folder: Path, *arguments: str, **environment: str) -> list[list[str]]:
    """The command lines that a script types."""
    stand_in = folder / "gencomm"
    stand_in.write_text(RECORD)
    stand_in.chmod(0o755)
    seen = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "RECORDED": str(folder / "recorded")}
    subprocess.run(["sh", EXAMPLES / script, *arguments], env=os.environ | seen | environment, check=True)
    return [line.split("\x1f")[:-1] for line in (folder / "recorded").read_text("utf-8").split("\x1e")[:-1]]


@needs_sh
def test_figures_of_lrisc(
    here: Here, photo: Path, tmp_path: Path, make_lrisc: Callable[..., Path], make_diffjscc: Callable[..., Path]
) -> None:
    tiny = str(make_lrisc())
    presets = {"PRESET": tiny, "UNIFORM": f"lrisc@{make_lrisc()}", "DEEPJSCC": f"diffjscc@{make_diffjscc()}:coarse"}
    lines = recorded("figures_lrisc.sh", tmp_path, "out", PHOTOS=str(photo), CODEC="webp", **presets)
    assert [line[:2] for line in lines[:4]] == [["bench", "run"]] * 3 + [["bench", "report"]]
    for line in lines:
        if line[1] != "report":
            assert here(*line).returncode == 0, line
    rows = read_rows(Path("out"))
    assert {row.cell.cbr for row in rows} == {0.0033, 1 / 96, 1 / 48}
    assert {row.cell.method for row in rows if row.status == "ok"} >= {"lrisc", "lrisc:coarse", "diffjscc:coarse"}
    assert len([*Path("out").glob("figure6_photo_*dB.png")]) == 4


@needs_sh
def test_figures_of_diffcom(here: Here, photo: Path, tmp_path: Path, diffcom: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(method, "adaptive_start", lambda *_: 2)
    lines = recorded("figures_diffcom.sh", tmp_path, "out", PHOTO=str(photo), SIZE="32", PRESET=str(diffcom))
    assert [line[1] for line in lines[:5]] == ["run"] * 4 + ["report"]
    for line in lines:
        if line[1] != "report":
            assert here(*line).returncode == 0, line
    of_figure_7 = [row for row in read_rows(Path("out")) if (row.cell.channel, row.cell.snr_db) == ("awgn", 10)]
    assert {(row.cell.method, row.cell.cbr) for row in of_figure_7} == {
        (name, cbr) for name in ("diffcom", "diffcom:coarse", "separate:avif") for cbr in (1 / 48, 1 / 16)
    }
    assert len([*Path("out").glob("figure9_*dB.png")]) == 3
    assert all(Path(f"out/figure11_{what}.png").is_file() for what in ("fading", "clipping", "no_prefix", "0dB"))


@needs_sh
def test_figures_of_scsic_are_of_the_preset_that_is_named(tmp_path: Path) -> None:
    lines = recorded("figures_scsic.sh", tmp_path, "out", PRESET="tuned", PLAIN="plain")
    asked = [name for line in lines if "--methods" in line for name in line[line.index("--methods") + 1].split(",")]
    assert {name.split(":")[0] for name in asked if name.startswith("scsic")} == {"scsic@tuned", "scsic@plain"}


@needs_sh
@pytest.mark.parametrize("method", ["textguided", "diffjscc"])
def test_ablations_are_of_the_presets_that_are_named(method: str, tmp_path: Path) -> None:
    lines = recorded(f"figures_{method}.sh", tmp_path, "out", "kodak", FULL="1", METHODS="jscc@m", ABLATED=f"{method}@tuned")
    last = [line[len(line) - line[::-1].index("--methods")] for line in lines if "--methods" in line]
    assert {name for name in last if not name.startswith("separate")} == {"jscc@m", f"{method}@tuned"}


@needs_sh
@pytest.mark.parametrize(
    ("environment", "asked"), [({}, ["own", "none,own,wrong", "own"]), ({"CAPTIONER": "hf:m"}, ["hf:m", "none,hf:m", "hf:m"])]
)
def test_prompts_of_textguided_are_written_by_whom_is_named(environment: dict[str, str], asked: list[str], tmp_path: Path) -> None:
    lines = recorded("figures_textguided.sh", tmp_path, "out", "kodak", FULL="1", **environment)
    assert [line[line.index("--prompts") + 1] for line in lines if "--prompts" in line] == asked


@pytest.mark.parametrize(("table", "lines"), [("3", 5), ("4", 10), ("5", 6), ("6", 18), ("7", 8)])
def test_tables_of_diffcom(
    table: str, lines: int, photo: Path, diffcom: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At two sizes, with a line for each of the paper's."""
    for start in ("adaptive_start", "authors_start"):
        monkeypatch.setattr(method, start, lambda *_: 2)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    asked = [table, photo.parent, "--preset", diffcom, "--size", 32, 33, "--steps", 2, "--seeds", 1, "--device", "cpu"]
    monkeypatch.setattr("sys.argv", ["tables_diffcom.py", *map(str, asked)])
    runpy.run_path(str(EXAMPLES / "tables_diffcom.py"), run_name="__main__")
    header, _, *rows = capsys.readouterr().out.strip().splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert [row[1] for row in cells] == ["32"] * lines + ["33"] * lines
    assert all(row[4] == "0" for row in cells)  # none diverged
    psnr = header.split("|")[1:-1].index(" psnr ")
    assert all(float(row[psnr]) > 0 for row in cells if row[psnr] != "–")


@pytest.mark.parametrize("own", [False, True])
def test_tables_of_diffcom_with_a_preset_without_confirming_term(own: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """nano's recipe has γ = 0 and the score's likelihood: the paper's lines keep their confirming term, ζ and likelihood."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    rows = runpy.run_path(str(EXAMPLES / "tables_diffcom.py"))["rows"]
    settings = load_config(None, "diffcom/nano.json", ())["settings"]
    of = {
        table: {
            (row.name, row.kind, row.snr_db): (row, Sampling.settle(Receiver(**row.options), settings, snr_db=row.snr_db))
            for row in rows(table, 2, True, own)
        }
        for table in "34567"
    }
    confirmed = {name for (name, *_), (_, settled) in (of["4"] | of["6"]).items() if settled.gamma}
    assert confirmed >= {"confirming", "both", "HiFi", "Variant 1: x_d alone", "Variant 2: x_d as it is"}
    assert not confirmed & {"neither", "start", "DiffCom"}
    assert {row.csi for row, _ in of["6"].values() if row.kind == "multipath"} == {"estimated"}
    strengths = [settled for (name, *_), (_, settled) in (of["3"] | of["5"]).items() if "ζ" in name]
    assert len(strengths) == 9
    assert ({settled.likelihood for settled in strengths} == {"squared"}) is not own
    both = of["4"]["both", "awgn", 0.0][1]
    assert (both.likelihood, both.zeta, both.eta) == (("score", 1.0, 0.2) if own else ("squared", 0.3, 1.0))
