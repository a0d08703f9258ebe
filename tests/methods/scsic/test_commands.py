"""`--method scsic` on the command line: three commands, sizes, ratios, channels, flags."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gencomm_cli import rates, symbols
from gencomm_cli.images import read_image
from tests.support.commands import Result, failed, picture
from tests.support.presets import make_scsic

__all__ = ["make_scsic"]
Gencomm = Callable[..., Result]


@pytest.fixture(scope="module")
def folder(make_scsic: Callable[..., Path]) -> Path:
    return make_scsic()


@pytest.fixture
def tiny(folder: Path) -> list[object]:
    return ["--method", "scsic", "--preset", folder]


def parsed(result: Result) -> dict[str, Any]:
    assert result.returncode == 0, result.stderr.decode()
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_three_commands_and_roundtrip_agree(here: Gencomm, photo: Path, tiny: list[object]) -> None:
    assert here("encode", "photo.png", *tiny).stdout == b"photo.tx.npz\n"
    assert here("channel", "photo.tx.npz", "--snr", 5).stdout == b"photo.rx.npz\n"
    assert here("decode", "photo.rx.npz", "--preset", tiny[3]).returncode == 0
    once = photo.with_name("photo.rx.png").read_bytes()
    trip = parsed(here("roundtrip", "photo.png", "-o", "trip.png", *tiny, "--snr", 5, "--json"))
    assert photo.with_name("trip.png").read_bytes() == once
    assert trip["cbr"]["side"] == pytest.approx(8 / (3 * 64 * 96))
    assert trip["prompt"] == {"sent": None, "received": None, "ok": None}
    coarse = here("decode", "photo.rx.npz", "--preset", tiny[3], "--coarse", "-o", "coarse.png")
    assert coarse.returncode == 0
    assert photo.with_name("coarse.png").read_bytes() != once


@pytest.mark.parametrize(
    ("side", "cbr", "shape", "ratio"),
    [(512, None, 12, 341), (512, 0.00146, 11, 406), (512, 0.00148, 12, 341), (1024, None, 24, 341), (1024, 0.00261, 32, 192)],
)
def test_the_papers_sizes_and_ratios(
    here: Gencomm, tmp_path: Path, tiny: list[object], side: int, cbr: float | None, shape: int, ratio: int
) -> None:
    Image.fromarray(picture(side, side)).save(tmp_path / "square.png")
    asked = [] if cbr is None else ["--cbr", cbr]
    sent = here("encode", "square.png", *tiny, *asked)
    last = sent.stderr.decode().splitlines()[-1]
    assert f"compression ratio {ratio} + 8 of side information" in last
    assert symbols.read(tmp_path / "square.tx.npz").symbols.size == 8 * shape**2
    assert ("cannot be met" in sent.stderr.decode()) == (cbr == 0.00146)  # which the embedding exceeds with its gain
    assert f"compression ratio {ratio}" in here("inspect", "square.tx.npz").stdout.decode()
    assert parsed(here("inspect", "square.tx.npz", "--json"))["compression_ratio"] == pytest.approx(ratio, abs=0.5)
    assert here("channel", "square.tx.npz", "--snr", 10).returncode == 0
    assert here("decode", "square.rx.npz", "--preset", tiny[3], "--steps", 1).returncode == 0
    assert read_image(tmp_path / "square.rx.png").shape == (side, side, 3)


@pytest.mark.parametrize(("side", "cbr", "ratio"), [(512, "0.00148", 341), (1024, "0.00261", 192)])
def test_there_and_back_at_the_papers_sizes(
    here: Gencomm, tmp_path: Path, tiny: list[object], side: int, cbr: str, ratio: int
) -> None:
    Image.fromarray(picture(side, side)).save(tmp_path / "square.png")
    trip = parsed(here("roundtrip", "square.png", *tiny, "--cbr", cbr, "--snr", 10, "--steps", 1, "--json"))
    assert trip["compression_ratio"] == pytest.approx(ratio, abs=0.5)
    assert np.isfinite(trip["metrics"]["psnr"])
    assert read_image(tmp_path / "square.rx.png").shape == (side, side, 3)


@pytest.mark.parametrize(
    "channel",
    [
        ["--awgn"], ["--rayleigh"], ["--block-rayleigh"], ["--rayleigh", "--csi", "none"],
        ["--block-rayleigh", "--csi", "estimated"], ["--multipath"], ["--multipath", "--csi", "estimated"],
    ],
)  # fmt: skip
@pytest.mark.parametrize("snr", [-5, 20, "inf"])
def test_every_channel(here: Gencomm, photo: Path, tiny: list[object], channel: list[str], snr: object) -> None:
    printed = parsed(here("roundtrip", "photo.png", *tiny, "--snr", snr, *channel, "--json"))
    assert np.isfinite(printed["metrics"]["psnr"])
    assert read_image(photo.with_name("photo.rx.png")).shape == (64, 96, 3)


def test_flags_that_it_does_not_read(here: Gencomm, photo: Path, tiny: list[object]) -> None:
    for flag, text in (("prompt", "a dog"), ("captioner", "builtin"), ("gain", "1,0")):
        failed(here("encode", "photo.png", *tiny, f"--{flag}", text), 2, f"--{flag}: scsic does not read it")
    for flag, value in (("start-step", 300), ("guidance-lambda", 2), ("spacing", "uniform"), ("condition", "csi")):
        failed(here("roundtrip", "photo.png", *tiny, "--snr", 5, f"--{flag}", value), 2, f"--{flag}: scsic does not read it")
    failed(here("encode", "photo.png", *tiny, "--cbr", 0.1, "--cbr-strict"), 5, "--cbr", "the nearest is")


def test_a_file_that_does_not_fit_its_image(here: Gencomm, photo: Path, tiny: list[object]) -> None:
    here("encode", "photo.png", *tiny, "--cbr", 0.0026)
    here("channel", "photo.tx.npz", "--snr", 5)
    file = symbols.read(photo.with_name("photo.rx.npz"))
    cbr = rates.account(None, (64, 96), image=file.symbols.size - 1, prompt=0, side=8)
    cut = replace(file, header=replace(file.header, cbr=cbr), symbols=file.symbols[:-1])
    cut.save(photo.with_name("cut.npz"))
    failed(here("decode", "cut.npz", "--preset", tiny[3]), 2, "no embedding of 96x64 pixels")


def test_a_bench_of_it(here: Gencomm, photo: Path, tiny: list[object]) -> None:
    """The coarse image is read off the same transmission, and both are those of `roundtrip`."""
    method = f"scsic@{tiny[3]}"
    sweep = ["bench", "photo.png", "--out", "out", "--methods", f"{method},{method}:coarse", "--snr", "1,10", "--cbr", 0.0026]
    assert here(*sweep, "--channels", "awgn,multipath", "--steps", 2, "--metrics", "psnr").returncode == 0
    rows = [json.loads(line) for line in Path("out/rows.jsonl").read_text().splitlines()]
    assert [row["status"] for row in rows] == ["ok"] * 8
    for name, more in (("scsic", ["--steps", 2]), ("scsic:coarse", ["--coarse"])):
        row = next(row for row in rows if tuple(row["cell"][key] for key in ("method", "channel", "snr_db")) == (name, "awgn", 10))
        command = shlex.split(row["command"])
        flags = ["--cbr", 0.0026, "--snr", 10, "--seed", command[command.index("--seed") + 1], "-o", "trip.png", *more]
        assert here("roundtrip", "photo.png", *tiny, *flags).returncode == 0
        assert np.array_equal(read_image(Path("trip.png")), read_image(Path("out") / row["output"]))
    assert here("bench", "report", "out").returncode == 0
