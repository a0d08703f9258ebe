"""Where results can go: every kind of target through the commands, right or refused in one line before any network is loaded."""

from __future__ import annotations

import json
import math
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gencomm_cli import pipeline, symbols
from gencomm_cli.bench.rows import Cell, Row
from gencomm_cli.bench.store import read_rows
from gencomm_cli.commands import results
from gencomm_cli.images import Pixels, read_image
from tests.support.commands import Result, failed, picture

Here = Callable[..., Result]
CAFE = os.fsdecode(b"caf\xe9")
"""A name that is not UTF-8."""
ROW = json.dumps(Row(Cell("a.png", "0" * 64, "textguided", "nano", "1" * 64, "awgn", 1.0, 0.0033), "ok").to_json()).encode() + b"\n"


@pytest.fixture(scope="module")
def sent(make_preset: Callable[..., Path]) -> tuple[str, bytes, bytes]:
    """A tiny preset, and what it sends and receives."""
    preset = str(make_preset())
    tx = pipeline.load("textguided", preset, device="cpu").encode(picture(), cbr=0.02)
    return preset, symbols.to_bytes(tx), symbols.to_bytes(pipeline.transmit(tx, snr=10, seed=0))


@pytest.fixture
def commands(sent: tuple[str, bytes, bytes], photo: Path) -> dict[str, list[str]]:
    """Each command that writes a file, but for the file."""
    preset, tx, rx = sent
    photo.with_name("tx.npz").write_bytes(tx)
    photo.with_name("rx.npz").write_bytes(rx)
    return {
        "channel": ["channel", "tx.npz", "--snr", "10"],
        "decode": ["decode", "rx.npz", "--coarse", "--preset", preset],
        "encode": ["encode", "photo.png", "--preset", preset],
        "roundtrip": ["roundtrip", "photo.png", "--snr", "10", "--coarse", "--preset", preset],
    }


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Pixels:
    """A picture that decoding takes no time for: nothing is computed."""
    image = np.random.default_rng(0).integers(-20, 21, (64, 96, 3)) + picture()
    pixels: Pixels = image.clip(0, 255).astype(np.uint8)
    monkeypatch.setattr(pipeline.Codec, "decode", lambda *_, **__: pipeline.Reception(pixels))
    return pixels


def link(name: str, to: str) -> str:
    os.symlink(to, name)
    return name


def second_name(source: str, name: str) -> str:
    os.link(source, name)
    return name


def folder(name: str) -> str:
    os.mkdir(name)
    return name


def there(name: str) -> str:
    Path(name).write_bytes(b"old")
    return name


def fifo(name: str) -> str:
    os.mkfifo(name)
    threading.Thread(target=lambda: Path("read").write_bytes(Path(name).read_bytes()), name="pipe", daemon=True).start()
    return name


WRITTEN: dict[str, Callable[[str], str]] = {
    "a new name": lambda end: f"new{end}",
    "an old name": lambda end: there(f"old{end}"),
    "240 bytes": lambda end: "a" * (240 - len(end)) + end,
    "255 bytes": lambda end: "a" * (255 - len(end)) + end,
    "255 bytes of other letters": lambda end: "é" * 125 + "a" + end,
    "no UTF-8": lambda end: CAFE + end,
    "spaces, quotes and a line break": lambda end: f" a 'b' \"c\"\n{end}",
    "a link": lambda end: link(f"link{end}", there(f"old{end}")),
    "a link to what is not there yet": lambda end: link(f"link{end}", f"new{end}"),
    "in another folder": lambda end: f"{folder('out')}/new{end}",
    "the null device": lambda end: "/dev/null",
    "a pipe": lambda end: fifo(f"pipe{end}"),
}
REFUSED: dict[str, tuple[Callable[[str, str], str], str]] = {
    "256 bytes": (lambda end, _: "a" * (256 - len(end)) + end, "File name too long"),
    "a path of 5000 bytes": (lambda end, _: "a/" * 2500 + f"a{end}", "File name too long"),
    "a folder": (lambda end, _: folder(f"out{end}"), "is a folder"),
    "a folder that is not there": (lambda *_: "out/", "is no name of a file"),
    "nothing": (lambda *_: "", "-o: an empty word is given"),
    "in a folder that is not there": (lambda end, _: f"out/new{end}", "there is no folder out"),
    "in a file": (lambda end, _: f"photo.png/new{end}", "there is no folder photo.png"),
    "a link to nowhere": (lambda end, _: link(f"link{end}", f"out/new{end}"), "there is no folder"),
    "links in a circle": (lambda end, _: link(f"a{end}", link(f"b{end}", f"a{end}")), "symbolic links"),
    "the input": (lambda _, source: source, "is the input itself"),
    "the input by another path": (lambda _, source: f"{folder('out')}/../{source}", "is the input itself"),
    "a link to the input": (lambda end, source: link(f"link{end}", source), "is the input itself"),
    "another name of the input": (lambda end, source: second_name(source, f"same{end}"), "is the input itself"),
}


@pytest.mark.parametrize("command", ["channel", "decode"])
@pytest.mark.parametrize("kind", WRITTEN)
def test_what_can_be_written_is(here: Here, commands: dict[str, list[str]], kind: str, command: str, decoded: Pixels) -> None:
    target = WRITTEN[kind](".npz" if command == "channel" else ".png")
    done = here(*commands[command], "-o", target)
    assert done.returncode == 0, done.stderr
    assert done.stdout == os.fsencode(target) + b"\n"
    for thread in threading.enumerate():
        if thread.name == "pipe":
            thread.join(5)
    if kind != "the null device":
        (symbols.read if command == "channel" else read_image)(Path("read" if kind == "a pipe" else target))
    assert os.path.islink(target) == kind.startswith("a link")
    assert not [name for name in os.listdir() if name.startswith(".")]


@pytest.mark.parametrize("command", ["channel", "decode", "encode", "roundtrip"])
@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_written_is_refused_before_a_network_is_loaded(
    here: Here, commands: dict[str, list[str]], kind: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, words = REFUSED[kind]
    target = make(".npz" if command in ("channel", "encode") else ".png", commands[command][1])
    before = contents()
    monkeypatch.setattr(pipeline, "load", None)
    failed(here(*commands[command], "-o", target), 2, words)
    assert contents() == before


def contents() -> dict[str, bytes]:
    """What the files here hold."""
    return {name: Path(name).read_bytes() for name in os.listdir() if os.path.isfile(name)}


@pytest.mark.parametrize("command", ["channel", "decode", "encode", "roundtrip"])
def test_a_write_that_fails_is_one_line(here: Here, commands: dict[str, list[str]], command: str, decoded: Pixels) -> None:
    before = contents()
    done = here(*commands[command], "-o", "/dev/full")
    assert done.returncode == 2
    assert done.stderr.decode().splitlines()[-1].startswith("error: /dev/full: cannot be written (No space left on device)")
    assert contents() == before


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".tif", ".bmp", ".webp", ".jp2", ".ppm", ".tga", ".jpg", ".avif", ".gif"])
def test_metrics_are_those_of_the_file(here: Here, commands: dict[str, list[str]], suffix: str, decoded: Pixels) -> None:
    done = here(*commands["decode"], "-o", f"out{suffix}", "--reference", "photo.png", "--json")
    assert done.returncode == 0, done.stderr
    written = read_image(Path(f"out{suffix}")).astype(float)
    printed = json.loads(done.stdout)["metrics"]["psnr"]
    assert printed == pytest.approx(-10 * math.log10(np.square((written - picture()) / 255).mean()), abs=1e-4)
    assert np.abs(written - decoded).max() <= {".jpg": 8, ".avif": 8, ".gif": 255}.get(suffix.lower(), 0)


@pytest.mark.parametrize(
    ("suffix", "shape", "words"),
    [
        (".pdf", (64, 96, 3), "cannot be read back"),
        (".xbm", (64, 96, 3), "mode RGB"),
        (".hdf", (64, 96, 3), "not installed"),
        (".icns", (64, 96, 3), "holds"),
        (".ico", (300, 300, 3), "holds 256x256 of 300x300"),
        (".webp", (1, 16384, 3), "no 16384x1 picture"),
        (".jpg", (65536, 1, 3), "no 1x65536 picture"),
        (".npz", (64, 96, 3), ".npz is not an image format"),
        ("", (64, 96, 3), "no suffix is not an image format"),
    ],
)
def test_formats_that_cannot_hold_the_picture_are_refused_before_a_network_is_loaded(
    here: Here, commands: dict[str, list[str]], suffix: str, shape: tuple[int, ...], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(np.zeros(shape, np.uint8)).save("photo.png")
    monkeypatch.setattr(pipeline, "load", None)
    before = contents()
    failed(here(*commands["roundtrip"], "-o", f"out{suffix}"), 2, f"out{suffix}: ", words)
    failed(here(*commands["roundtrip"], "-o", "out.png", "--compare", f"both{suffix}"), 2, f"both{suffix}: ")
    assert contents() == before


@pytest.mark.parametrize("command", ["channel", "decode", "encode", "roundtrip"])
def test_a_full_disk_is_seen_before_the_work(
    here: Here, commands: dict[str, list[str]], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("encode", "decode", "roundtrip"):
        monkeypatch.setattr(pipeline.Codec, name, None)
    monkeypatch.setattr(pipeline, "pass_channel", None)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6, 7))
    before = contents()
    failed(here(*commands[command]), 2, "bytes are to be written and 7 are free; choose another place")
    assert contents() == before


def test_two_results_do_not_share_a_file(here: Here, commands: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "load", None)
    os.symlink("same.png", "link.png")
    os.mkdir("out.std.png")
    for output, compare in (
        ("same.png", "same.png"),
        ("./same.png", "same.png"),
        ("link.png", "same.png"),
        ("same.png", "SAME.png"),
    ):
        failed(here(*commands["roundtrip"], "-o", output, "--compare", compare), 2, compare, "is the same file as")
    failed(here(*commands["roundtrip"], "--compare", "photo.rx.png"), 2, "is the same file as photo.rx.png")
    failed(here(*commands["roundtrip"], "--compare", "photo.png"), 2, "photo.png: is the input itself")
    failed(here(*commands["decode"], "-o", "photo.png", "--reference", "photo.png"), 2, "photo.png: is the input itself")
    refined = [each for each in commands["decode"] if each != "--coarse"]
    failed(here(*refined, "-o", "out.png", "--samples", 2), 2, "out.std.png: is a folder")


def test_a_full_disk_is_seen_before(here: Here, commands: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "load", None)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 10**4))
    failed(here(*commands["roundtrip"], "-o", "out.bmp"), 2, "out.bmp: at least 18486 bytes are to be written and 10000 are free")


def test_a_default_name_that_replaces_a_file_is_said(here: Here, commands: dict[str, list[str]]) -> None:
    Image.open("photo.png").save("photo.jpg")
    assert b"photo.tx.npz: was there" not in here(*commands["encode"]).stderr
    other = ["photo.jpg" if each == "photo.png" else each for each in commands["encode"]]
    assert b"photo.tx.npz: was there and is replaced; -o names another file\n" in here(*other).stderr
    assert b"was there" not in here(*other, "-o", "photo.tx.npz").stderr
    there("rx.png")
    assert b"rx.png: was there and is replaced" in here(*commands["decode"]).stderr


def test_names_of_any_bytes_go_through_a_bench_and_its_report(
    here: Here, sent: tuple[str, bytes, bytes], photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (f"{CAFE}.png", "é.png"):
        shutil.copy(photo, name)
    os.mkdir(CAFE)
    shutil.copy(photo, f"{CAFE}/{CAFE}.png")
    shutil.copy(photo, f"{CAFE}/é.png")
    methods = f"textguided@{sent[0]}:coarse,folder:{CAFE}"
    sweep = ["bench", f"{CAFE}.png", "é.png", "--methods", methods, "--snr", "5", "--cbr", "0.02",
             "--metrics", "psnr", "--out", f"{CAFE}.out"]  # fmt: skip
    done = here(*sweep)
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"caf\xe9.out/rows.jsonl: 4 ok\n"
    lines = Path(f"{CAFE}.out/rows.jsonl").read_text("utf-8")
    assert [row.cell.image for row in read_rows(Path(f"{CAFE}.out"))] == [f"{CAFE}.png", "é.png"] * 2
    printed = here(*sweep, "--json")
    assert json.loads(printed.stdout) == {"output": f"{CAFE}.out", "rows": {"ok": 4, "outage": 0, "infeasible": 0, "error": 0}}
    assert Path(f"{CAFE}.out/rows.jsonl").read_text("utf-8") == lines
    assert here("bench", "merge", f"{CAFE}.out", "-o", "merged").returncode == 0
    done = here("bench", "report", "merged")
    assert done.returncode == 0, done.stderr
    assert r"caf\udce9.png" in Path("merged/rows.csv").read_text("utf-8")
    assert "folder:caf?" in Path("merged/table.md").read_text("utf-8")


def test_two_images_that_would_be_kept_under_one_name_are_refused(here: Here, photo: Path) -> None:
    for name in ("a.jpg", "a.jpg.png"):
        Image.open(photo).save(name)
    failed(here("bench", "a.jpg", "a.jpg.png", "--out", "out", "--methods", "separate"), 2, "a.jpg.png")
    assert sorted(os.listdir()) == ["a.jpg", "a.jpg.png", "photo.png"]


FOLDERS: dict[str, tuple[Callable[[], str], str]] = {
    "a file": (lambda: there("out"), "out"),
    "in a file": (lambda: "photo.png/out", "Not a directory"),
    "256 bytes": (lambda: "a" * 256, "File name too long"),
    "links in a circle": (lambda: link("a", link("b", "a")), "symbolic links"),
}


@pytest.mark.parametrize("kind", FOLDERS)
@pytest.mark.parametrize(
    "arguments",
    [
        ["models", "import", "photo.png", "-o"],
        ["models", "pack", "models", "-o"],
        ["models", "get", "niqe", "--metric-weights"],
        ["models", "add", "textguided", "--name", "x", "--sd", "here", "--out"],
        ["train", "textguided", "--data", ".", "--out"],
        ["bench", "photo.png", "--methods", "separate", "--out"],
        ["bench", "predictability", "photo.png", "--methods", "separate", "--out"],
        ["bench", "report", "rows", "-o"],
        ["bench", "merge", "rows", "-o"],
    ],
    ids=" ".join,
)
def test_folders_that_cannot_be_are_refused_before_any_work(
    here: Here, photo: Path, arguments: list[str], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkdir("rows")
    Path("rows/rows.jsonl").write_bytes(ROW)
    os.mkdir("models")
    Path("models/config.json").write_text("{}")
    make, words = FOLDERS[kind]
    target, before = make(), contents()
    monkeypatch.setattr(pipeline, "load", None)
    failed(here(*arguments, target), 2, words)
    assert contents() == before


def test_a_checkpoint_is_not_replaced_by_what_it_becomes_nor_photographs_by_a_run(here: Here, photo: Path) -> None:
    os.mkdir("run")
    Path("run/config.json").write_text("theirs")
    failed(here("models", "import", "run/config.json", "-o", "run", "--force"), 2, "run: holds what is imported")
    assert Path("run/config.json").read_text() == "theirs"
    failed(here("train", "textguided", "--data", ".", "--out", ".", "--resume"), 2, "--out .: is --data too")


def test_metrics_without_weights_are_left_out_of_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    results.show({"psnr": 20.0, "ms_ssim": None, "lpips_alex": None, "dists": 0.3}, {"psnr": 21.0, "dists": None})
    assert [line.split() for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["psnr", "20.0000", "21.0000"], ["ms_ssim", "-", "-"], ["dists", "0.3000", "-"],
    ]  # fmt: skip
