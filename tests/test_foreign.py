"""A sixth method, from a package that somebody else publishes: everything works with it, and nothing here is edited for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gencomm_cli import __version__
from tests.support.commands import picture

PACKAGE = Path(__file__).parents[1] / "examples" / "linear_method"
Gencomm = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package installed in it, as pip leaves it."""
    folder = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source") / "linear_method"
    subprocess.run(["cp", "-r", PACKAGE, source], check=True)  # so that no build folder is left beside the source
    how = ("-q", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(folder))
    subprocess.run([sys.executable, "-m", "pip", "install", *how, str(source)], check=True)
    return folder


@pytest.fixture
def gencomm(site: Path, tmp_path: Path) -> Gencomm:
    """The command line, in a process that finds the package, in an empty folder with ``photo.png`` in it."""
    Image.fromarray(picture(64, 96)).save(tmp_path / "photo.png")
    path = os.pathsep.join((str(Path(__file__).parents[1]), str(site)))

    def call(*arguments: object, status: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "gencomm_cli", *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "120"}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        return done

    return call


def test_each_stage_runs_by_itself(gencomm: Gencomm, tmp_path: Path) -> None:
    gencomm("encode", "photo.png", "--method", "linear", "--cbr", 0.05, "-o", "tx.npz")
    gencomm("channel", "tx.npz", "--snr", 30, "-o", "rx.npz")
    meta = json.loads(gencomm("inspect", "rx.npz", "--json").stdout)["meta"]
    assert (meta["method"], meta["preset"]) == ("linear", "nano")
    assert meta["cbr"]["image"] + meta["cbr"]["side"] <= 0.05
    for amount, name in ((0, "plain.png"), (2, "sharp.png")):
        gencomm("decode", "rx.npz", "--sharpen", amount, "-o", name)
    plain, sharp = (np.asarray(Image.open(tmp_path / name), np.int64) for name in ("plain.png", "sharp.png"))
    assert plain.shape == (64, 96, 3)
    assert np.abs(plain - picture(64, 96).astype(np.int64)).mean() < 12
    assert (plain != sharp).any()


def test_roundtrip_tells_what_it_does(gencomm: Gencomm) -> None:
    printed = json.loads(
        gencomm("roundtrip", "photo.png", "--method", "linear", "--snr", 20, "--rayleigh", "--limit", 1.5, "--json").stdout
    )
    assert printed["metrics"]["psnr"] > 15
    assert printed["metrics"] != printed["coarse_metrics"]


def test_its_flags_are_in_the_help_and_refused_elsewhere(gencomm: Gencomm) -> None:
    for command, there, not_there in (("encode", "--limit", "--sharpen"), ("decode", "--sharpen", "--limit")):
        text = gencomm(command, "--help").stdout
        assert there in text
        assert not_there not in text
    refused = gencomm("encode", "photo.png", "--limit", 2, status=2).stderr
    assert refused.startswith("error: --limit: ")
    assert "it is for linear" in refused
    assert "0.5 to 100" in gencomm("roundtrip", "photo.png", "--snr", 1, "--method", "linear", "--limit", 0.1, status=2).stderr


def test_bench_sweeps_its_flags_and_reports(gencomm: Gencomm, tmp_path: Path) -> None:
    sweep = ("bench", "photo.png", "--out", "out", "--methods", "linear,linear:coarse", "--snr", "5,15", "--cbr", 0.05)
    options = ("--option", "sharpen=0,1", "--option", "limit=1,3")
    gencomm(*sweep, *options)
    rows = [json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_text().splitlines()]
    assert {row["status"] for row in rows} == {"ok"}
    assert {row["cell"]["version"] for row in rows} == {f"{__version__}, gencomm-linear 1.0"}
    assert len({row["metrics"]["psnr"] for row in rows if row["cell"]["method"] == "linear"}) == 8  # 2 SNRs x 2 x 2
    assert any("--limit 3" in row["command"] and "--sharpen 1" in row["command"] for row in rows)
    gencomm("bench", "report", "out")
    assert "sharpen" in (tmp_path / "out" / "report.html").read_text("utf-8")
    again = gencomm(*sweep, *options)
    assert "0 left" in again.stderr


def test_it_is_trained_and_listed(gencomm: Gencomm, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for index in range(3):
        Image.fromarray(np.roll(picture(96, 128), 17 * index, 1)).save(tmp_path / "photos" / f"{index}.png")
    gencomm("train", "linear", "--data", "photos", "--out", "run")
    preset = tmp_path / "run" / "models" / "linear" / "nano"
    gencomm("roundtrip", "photo.png", "--snr", 20, "--method", "linear", "--preset", preset)
    listed = gencomm("models", "list").stdout
    assert "linear/nano" in listed
    assert "gencomm-linear" in listed
    gencomm("models", "verify", "linear/nano")


def test_a_broken_package_is_one_line(gencomm: Gencomm, site: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    (broken / "broken-1.0.dist-info").mkdir(parents=True)
    (broken / "broken-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (broken / "broken-1.0.dist-info" / "entry_points.txt").write_text("[gencomm.methods]\nseventh = no_such_module:SPEC\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(Path(__file__).parents[1]), str(site), str(broken)))}
    command = [sys.executable, "-m", "gencomm_cli", "models", "list"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("broken: its method seventh is left out (ModuleNotFoundError")
    assert "linear/nano" in done.stdout
