"""Every kind of folder through ``gencomm bench``: its photographs are taken, the rest is named or refused, in one line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gencomm_cli.bench.photographs import find
from gencomm_cli.bench.store import read_rows
from tests.support.commands import Result, failed
from tests.support.folders import Folder, folders, put, tables
from tests.support.pictures import SCENE, saved

Gencomm = Callable[..., Result]
FINISHED = ["--out", "out", "--methods", "folder:photos", "--snr", 1, "--metrics", "psnr"]
"""The photographs stand for what was received: no network is needed."""
KINDS = dict(folders()) | {
    "none": Folder(shutil.rmtree, says=("photos: no such file",), fails=True),
    "a small one": Folder(put(c__png=saved(SCENE[:1, :1])), ("a.png", "b.jpg", "c.png")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder(kind: str, here: Gencomm) -> None:
    folder = KINDS[kind]
    folder.make(Path("photos"))
    done = here("bench", "photos", *FINISHED)
    if folder.fails:
        failed(done, 2, *folder.says)
        assert not Path("out").exists()
        return
    assert done.returncode == 0, done.stderr
    assert [row.cell.image for row in read_rows(Path("out"))] == [*folder.taken]
    lines = [line for line in done.stderr.decode().splitlines() if not line.startswith("bench: ")]
    assert len(lines) == (1 if folder.says else 0), lines
    assert all(word in lines[0] for word in folder.says)


def test_too_small_for_the_crop(here: Gencomm) -> None:
    Folder(put(c__png=saved(SCENE[:9]), d__png=saved(SCENE[:1].repeat(22, 1)))).make(Path("photos"))
    for how, words in (("crop:16", "2 of 4 left out: c.png, d.png"), ("fit:460", "1 of 4 left out: d.png"), ("crop:99", "4 of 4")):
        done = here("bench", "photos", *FINISHED, "--prepare", how)
        if how == "crop:99":
            failed(done, 2, words, "is too small")
        else:
            assert words in done.stderr.decode()
            assert here("bench", "photos/d.png", *FINISHED, "--prepare", how).returncode == 2  # it was named itself
            shutil.rmtree("out")
        assert not Path("out").exists()
    failed(here("bench", "photos", *FINISHED, "--prepare", "crop"), 2, "error: --prepare: 'crop' is not")
    assert not Path("out").exists()


def test_names_in_two_folders(here: Gencomm) -> None:
    for number in (1, 2):
        Folder(put(__c__png=b"")).make(Path(f"{number}"))
        (Path(f"{number}") / "a.png").rename(f"{number}/a{number}.png")
        (Path(f"{number}") / "b.jpg").unlink()
    Path("finished").mkdir()
    for name in ("a1.png", "a2.png", ".c.png"):
        (Path("finished") / name).write_bytes(saved(SCENE))
    finished = [*FINISHED[:3], "folder:finished", *FINISHED[4:]]
    done = here("bench", "1", "2", *finished)
    assert done.returncode == 0, done.stderr
    assert [row.cell.image for row in read_rows(Path("out"))] == ["a1.png", "a2.png"]
    Path("1/.c.png").write_bytes(saved(SCENE))
    assert here("bench", "1/.c.png", *finished).returncode == 0  # who names it, means it
    Path("2/a2.png").rename("2/a1.png")
    failed(here("bench", "1", "2", *finished), 2, "two images have this name")


@pytest.mark.parametrize("kind", tables())
def test_captions(kind: str, tmp_path: Path) -> None:
    table, captions = tables()[kind]
    folder = Folder(put(captions__tsv=table)).make(tmp_path / "photos")
    assert [found.caption for found in find([folder])] == captions
