"""Files appear whole or not at all, wherever they go; what cannot be written is said before any work."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gencomm_cli import outputs
from gencomm_cli.errors import InputError
from gencomm_cli.outputs import check, check_folder, replacing, utf8, write_files
from gencomm_cli.presets.write import whole


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """As a user whom permissions hold for, which they do not for root."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder of one file, which everybody may write to."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    (folder / "there").write_bytes(b"old and longer")
    (folder / "there").chmod(0o666)
    yield folder
    folder.chmod(0o777)
    shutil.rmtree(folder)


def test_a_file_takes_the_place_of_another_with_its_mode(place: Path) -> None:
    (place / "there").chmod(0o640)
    write_files({place / "there": b"new", place / "other": b"more"})
    assert (place / "there").read_bytes() == b"new"
    assert stat.S_IMODE((place / "there").stat().st_mode) == 0o640
    assert stat.S_IMODE((place / "other").stat().st_mode) == 0o666 & ~outputs.umask()
    assert sorted(os.listdir(place)) == ["other", "there"]


def test_nothing_is_left_of_a_block_that_fails(place: Path) -> None:
    def fail(target: Path, error: BaseException) -> None:
        with replacing(target) as path:
            assert path.parent == place
            path.write_bytes(b"half")
            raise error

    with pytest.raises(ValueError, match="no"):
        fail(place / "there", ValueError("no"))
    with pytest.raises(InputError, match=r"there: cannot be written \(No space left"):
        fail(place / "there", OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(KeyboardInterrupt):
        fail(place / "new", KeyboardInterrupt())
    assert os.listdir(place) == ["there"]
    assert (place / "there").read_bytes() == b"old and longer"


def test_one_of_several_that_cannot_be_written_leaves_all_as_they_were(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if content == b"large":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="b: cannot be written"):
        write_files({place / "there": b"new", place / "b": b"large"})
    assert os.listdir(place) == ["there"]
    assert (place / "there").read_bytes() == b"old and longer"


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EXDEV, errno.EPERM])
def test_where_no_rename_can_be_the_file_that_is_there_is_written_to(
    place: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", refuse)  # a mount point, and a folder in which files are their owners'
    before = (place / "there").stat().st_ino
    write_files({place / "there": b"new"})
    assert ((place / "there").read_bytes(), (place / "there").stat().st_ino) == (b"new", before)
    with pytest.raises(InputError, match="new: cannot be written"):
        write_files({place / "new": b"new"})

    def half(source: Any, file: Any) -> None:
        file.write(b"ne")
        refuse()

    monkeypatch.setattr(shutil, "copyfileobj", half)
    with pytest.raises(InputError, match="there: cannot be written"):
        write_files({place / "there": b"newer"})
    assert (place / "there").read_bytes() == b"new"
    assert os.listdir(place) == ["there"]


def test_permissions_are_those_of_file_and_folder(place: Path) -> None:
    place.chmod(0o555)
    with as_nobody():
        check(place / "there")
        write_files({place / "there": b"new"})
        for refused in (check, check_folder):
            with pytest.raises(InputError, match="Permission denied"):
                refused(place / "new")
    assert (place / "there").read_bytes() == b"new"
    place.chmod(0o777)
    (place / "there").chmod(0o444)
    with as_nobody(), pytest.raises(InputError, match="Permission denied"):
        check(place / "there")
    place.chmod(0o000)
    with as_nobody(), pytest.raises(InputError, match="Permission denied"):
        check(place / "there")


def test_free_space_is_looked_at_where_it_is_known(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for total, refuses in ((10**6, True), (0, False)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, total=total: shutil._ntuple_diskusage(total, total, 99))
        for asked in (check, check_folder):
            asked(place / "new", size=99)
            with (
                pytest.raises(InputError, match="100 bytes are to be written and 99 are free")
                if refuses
                else contextlib.nullcontext()
            ):
                asked(place / "new", size=100)


def test_folders_are_made_where_they_can_be(place: Path) -> None:
    check_folder(place / "a" / "b")
    for name, words in (("there", "is a file"), ("there/a", "Not a directory"), ("a" * 256, "File name too long")):
        with pytest.raises(InputError, match=words):
            check_folder(place / name)
    assert os.listdir(place) == ["there"]


def test_text_of_any_name_is_utf_8() -> None:
    assert utf8("café") == "café".encode()
    assert utf8(os.fsdecode(b"caf\xe9")) == rb"caf\udce9"


@pytest.mark.parametrize("kind", ["touch", "mkdir"])
def test_a_signal_right_after_something_is_made_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    make = getattr(Path, kind)

    def made_and_interrupted(path: Path, *arguments: Any, **named: Any) -> None:
        make(path, *arguments, **named)
        if path.name.startswith(outputs.TEMPORARY):
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, kind, made_and_interrupted)
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "a") if kind == "touch" else whole(tmp_path / "a"):
        pass
    assert list(tmp_path.iterdir()) == []
