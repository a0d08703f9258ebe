"""Every kind of folder as training data, some of them through ``gencomm train``."""

from __future__ import annotations

import json
import tarfile
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gencomm_cli.errors import InputError
from gencomm_cli.training.data import load
from tests.methods.diffcom.test_train import recipe
from tests.support.commands import Result
from tests.support.folders import TWIN, WANTED, Folder, folders, put, tables
from tests.support.pictures import SCENE, Kind, good, saved

Gencomm = Callable[..., Result]
KINDS = dict(folders())


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder(kind: str, tmp_path: Path) -> None:
    folder, said = KINDS[kind], list[str]()
    data = folder.make(tmp_path / "photos")
    if folder.fails:
        with pytest.raises(InputError) as caught:
            load(data, tmp_path / "cache", validation=False, report=said.append)
        assert all(word in " ".join((*said, str(caught.value))) for word in folder.says)
        return
    found = load(data, tmp_path / "cache", validation=False, report=said.append)
    assert found.names == [*folder.taken]
    assert len(said) == (1 if folder.says else 0)
    assert all(word in said[0] for word in folder.says)
    assert load(data, tmp_path / "cache", validation=False, report=said.append).names == found.names  # from the cache now


def test_every_kind_of_picture(tmp_path: Path) -> None:
    """The same pixels as ``encode`` sends: one reader."""
    kinds: list[Kind] = [kind for kind in good().values() if min(kind.pixels.shape[:2]) >= 8]
    for kind in kinds:
        (tmp_path / kind.name).write_bytes(kind.data)
    for validation in (False, True):
        found = load(tmp_path, tmp_path / "cache", validation=validation)
        for index, name in enumerate(found.names):
            kind = good()[name]
            error = np.abs(found.image(index) - np.rint(kind.pixels))
            assert error.mean() <= kind.mean, name
            assert error.max() <= kind.most, name
        kinds = [kind for kind in kinds if kind.name not in found.names]
    assert not kinds


@pytest.mark.parametrize("kind", tables())
def test_captions(kind: str, tmp_path: Path) -> None:
    table, captions = tables()[kind]
    folder = Folder(put(captions__tsv=table)).make(tmp_path / "photos")
    assert load(folder, tmp_path / "cache", validation=False).captions == captions


def test_captions_of_names_in_another_normal_form(tmp_path: Path) -> None:
    names = [unicodedata.normalize("NFC", "Größe.png"), unicodedata.normalize("NFD", "Größe.png")]
    for number, (name, other) in enumerate((names, names[::-1])):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        (folder / name).write_bytes(saved(SCENE))
        (folder / "captions.tsv").write_text(f"{other}\twie groß", "utf-8")
        captions = [caption for split in (False, True) for caption in all_captions(folder, tmp_path / f"cache{number}", split)]
        assert captions == ["wie groß"]


def all_captions(folder: Path, cache: Path, validation: bool) -> list[str]:
    """None where a split has no images."""
    try:
        return load(folder, cache, validation=validation).captions
    except InputError:
        return []


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    name = tmp_path / b"gr\xf6\xdfe.png".decode("utf-8", "surrogateescape")
    try:
        name.write_bytes(saved(SCENE))
    except (OSError, UnicodeError):
        pytest.skip("this file system has no such names")
    assert len([*all_captions(tmp_path, tmp_path / "cache", False), *all_captions(tmp_path, tmp_path / "cache", True)]) == 1


def test_small_and_narrow_ones_are_left_out(tmp_path: Path) -> None:
    said = list[str]()
    narrow = saved(np.tile(SCENE[:8], (1, 20, 1)))
    Folder(put(c__png=saved(SCENE[:7]), d__png=narrow, e__png=saved(SCENE[:8, :8]))).make(tmp_path / "photos")
    found = load(tmp_path / "photos", tmp_path / "cache", validation=False, report=said.append)
    assert found.names == ["a.png", "b.jpg", "e.png"]
    assert said == ["images: 2 of 5 left out: c.png, d.png; c.png: 32x7 is too small or too narrow to learn from"]


def test_a_cache_of_plain_photographs_stays_as_it_is(tmp_path: Path) -> None:
    """Laid down as earlier releases did, it is neither decoded again nor written."""
    folder, cache = Folder(put(captions__tsv="a.png\tgröße \n".encode())).make(tmp_path / "photos"), tmp_path / "cache"
    files = [folder / "a.png", folder / "b.jpg"]
    index = {
        "source": [["a.png", "größe "], ["b.jpg", ""]],
        "stamps": [[file.stat().st_size, file.stat().st_mtime_ns] for file in files],
        "names": ["a.png", "b.jpg"], "captions": ["größe ", ""], "sizes": [[24, 32], [24, 32]],
    }  # fmt: skip
    cache.mkdir()
    (cache / "train.json").write_text(json.dumps(index))
    (cache / "train.u8").write_bytes(bytes(2 * SCENE.size))
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in cache.iterdir()}
    assert load(folder, cache, validation=False).image(0).max() == 0
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in cache.iterdir()} == before
    for path in cache.iterdir():
        path.unlink()
    load(folder, cache, validation=False)
    assert json.loads((cache / "train.json").read_text()) == index | {"prepare": "none"}
    assert (cache / "train.u8").read_bytes()[: SCENE.size] == SCENE.tobytes()


def test_shards_packed_by_macos(tmp_path: Path) -> None:
    pytest.importorskip("webdataset", reason="webdataset is not installed (extra `train`)")
    import io

    with tarfile.open(tmp_path / "0.tar", "w") as archive:
        for name, data in (("a.heic", b"broken"), ("b.tif", good()["plain.tif"].data), ("b.txt", WANTED[0].encode("utf-16"))):
            for prefix, content in (("._", TWIN), ("", data)):
                entry = tarfile.TarInfo(f"./photos/{prefix}{name}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    said = list[str]()
    found = load(tmp_path / "0.tar", tmp_path / "cache", validation=False, report=said.append)
    assert found.names == ["./photos/b.tif"]
    assert found.captions == [" ".join(WANTED[0].split())]
    assert len(said) == 1
    assert "1 of 2 left out: ./photos/a.heic" in said[0]


TRAINED = ("macOS's twins", "twelve broken ones", "formats", "all broken", "all hidden", "nothing in it", "no image in it")


@pytest.mark.parametrize("kind", TRAINED)
def test_through_the_command(kind: str, here: Gencomm) -> None:
    folder = KINDS[kind]
    folder.make(Path("photos"))
    Path("recipe.json").write_text(json.dumps(recipe(steps=1)), "utf-8-sig")  # as Windows' editors write it
    done = here("train", "diffcom", "--data", "photos", "--out", "out", "--config", "recipe.json", "--stages", "adjscc")
    if folder.fails:
        assert done.returncode == 2
        assert b"no training images" in done.stderr
        assert b"internal fault" not in done.stderr
        assert not Path("out").exists()
        return
    assert done.returncode == 0, done.stderr
    assert all(word in done.stderr.decode() for word in folder.says)
