"""WebDataset shards as training data: what the library writes is read, and what is hostile is refused in one line."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gencomm_cli.errors import InputError
from gencomm_cli.training import data
from gencomm_cli.training.data import is_validation, load

webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed (extra `train`)")


def pixels(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (10 + index, 12, 3), dtype=np.uint8)


def png(index: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels(index)).save(buffer, "PNG")
    return buffer.getvalue()


def write(path: Path, entries: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in entries.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def test_shards_are_a_folder_of_their_images(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for shard in range(2):
        with webdataset.TarWriter(str(tmp_path / f"train-{shard:03}.tar")) as writer:
            for index in range(20 * shard, 20 * shard + 20):
                writer.write({"__key__": f"{index:03}", "png": png(index), "txt": f"picture\n{index}", "json": b"{}"})
                (folder / f"{index:03}.png").write_bytes(png(index))
    (folder / "captions.tsv").write_text("".join(f"{index:03}.png\tpicture {index}\n" for index in range(40)))
    for validation in (False, True):
        read = load(tmp_path / "train-{000..001}.tar", tmp_path / "cache", validation=validation)
        expected = load(folder, tmp_path / "other", validation=validation)
        assert read.names == expected.names == [name for i in range(40) if is_validation(name := f"{i:03}.png") == validation]
        assert read.captions == expected.captions
        assert all(np.array_equal(read.image(index), expected.image(index)) for index in range(len(read)))


def test_they_are_decoded_once_and_again_where_they_have_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = write(tmp_path / "a.tar", {"0.png": png(0), "0.txt": b"one"})
    assert load(shard, tmp_path / "cache", validation=False).captions == ["one"]
    with monkeypatch.context() as patch:
        patch.setattr(data, "_samples", None)
        assert load(shard, tmp_path / "cache", validation=False).captions == ["one"]
    write(shard, {"0.png": png(0), "0.txt": b"another"})
    assert load(shard, tmp_path / "cache", validation=False).captions == ["another"]


@pytest.mark.parametrize(
    ("entries", "mode", "words"),
    [
        ({"0.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"}, "w", "no training images"),
        ({"0.png": b""}, "w", "no training images"),
        ({"0.txt": b"x" * (data.MAX_CAPTION + 1)}, "w", "0.txt has 65537 bytes, more than 65536"),
        ({"0.png": png(0)}, "w:gz", "not an uncompressed tar"),
        ({"0.png": png(0), "0.PNG": png(1)}, "w", "duplicate"),
        ({"0.pkl": b"cos\nsystem\n(S'true'\ntR.", "x.pyd": b"1"}, "w", "no training images"),
    ],
)
def test_what_is_hostile_or_damaged_is_one_line(tmp_path: Path, entries: dict[str, bytes], mode: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        load(write(tmp_path / "0.tar", entries, mode), tmp_path / "cache", validation=False)
    assert "\n" not in str(caught.value)


def test_links_are_not_followed_and_lies_about_size_are_found(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "0.tar", "w") as archive:
        link = tarfile.TarInfo("0.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(InputError, match="no training images"):
        load(tmp_path / "0.tar", tmp_path / "cache", validation=False)
    claimed = tarfile.TarInfo("0.png")
    claimed.size = 2**40
    (tmp_path / "1.tar").write_bytes(claimed.tobuf() + png(0))
    with pytest.raises(InputError, match="1099511627776 bytes, more than"):
        load(tmp_path / "1.tar", tmp_path / "cache", validation=False)
    with pytest.raises(InputError, match=r"no folder or tar file .*nowhere-1\.tar"):
        load(tmp_path / "nowhere-{1..2}.tar", tmp_path / "cache", validation=False)
