"""Photographs of a folder: which, and the crops of them."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gencomm_cli.training import data
from gencomm_cli.training.data import Photographs, is_validation, load
from tests.support.training import photographs

__all__ = ["photographs"]


def test_split_is_a_rule_by_name(photographs: Photographs) -> None:
    assert len(photographs) == sum(zlib.crc32(f"{index}.png".encode()) % 20 != 0 for index in range(40))
    assert not any(is_validation(name) for name in photographs.names)
    assert photographs.captions[0] == f"picture number {photographs.names[0][:-4]}"


def test_a_changed_image_is_decoded_again_and_caches_of_earlier_releases_stay(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    image, index, cache = tmp_path / "photos" / "0.png", tmp_path / "cache" / "train.json", tmp_path / "cache"

    def level(value: int) -> int:
        Image.new("RGB", (8, 8), (value,) * 3).save(image)
        os.utime(image, ns=(value, value))  # the same number of bytes: the time tells
        return int(load(image.parent, cache, validation=False).image(0).max())

    assert [level(7), level(9)] == [7, 9]
    document = json.loads(index.read_text())
    del document["stamps"]
    index.write_text(json.dumps(document))
    written = index.read_bytes(), index.stat().st_mtime_ns
    assert level(5) == 9
    assert (index.read_bytes(), index.stat().st_mtime_ns) == written


def test_a_cache_that_was_left_unfinished_is_not_taken_for_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos, cache = tmp_path / "photos", tmp_path / "cache"
    photos.mkdir()
    names = ("0.png", os.fsdecode(b"caf\xe9.png"))
    for value, name in enumerate(names, 3):
        Image.new("RGB", (8, 8), (value,) * 3).save(photos / name)
    first = load(photos, cache, validation=False)
    assert first.names == sorted(names)
    saved = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in photos.iterdir()}
    Image.new("RGB", (8, 8), (99,) * 3).save(photos / names[0])
    usable = data._usable

    def killed(name: str, file: Path) -> Any:
        if name != names[0]:
            raise KeyboardInterrupt
        return usable(name, file)

    monkeypatch.setattr(data, "_usable", killed)
    with pytest.raises(KeyboardInterrupt):
        load(photos, cache, validation=False)
    monkeypatch.undo()
    for path, (content, time) in saved.items():
        path.write_bytes(content)
        os.utime(path, ns=(time, time))
    again = load(photos, cache, validation=False)
    assert [again.image(index).max() for index in range(2)] == [3, 4]


@pytest.mark.parametrize("damage", ["train.json cut", "train.json of something else", "train.u8 cut", "train.u8 gone"])
def test_a_damaged_cache_is_made_anew(tmp_path: Path, damage: str) -> None:
    photos, cache = tmp_path / "photos", tmp_path / "cache"
    photos.mkdir()
    Image.new("RGB", (8, 8), (3, 3, 3)).save(photos / "0.png")
    load(photos, cache, validation=False)
    path = cache / damage.split()[0]
    whole = path.read_bytes()
    if damage.endswith("gone"):
        path.unlink()
    else:
        path.write_bytes(whole[:20] if damage.endswith("cut") else b"[1]")
    assert load(photos, cache, validation=False).image(0).min() == 3
    assert path.read_bytes() == whole


def test_crops_are_pieces_of_their_images(photographs: Photographs) -> None:
    crops, captions = photographs.crops(4, 32, np.random.default_rng(3))
    for crop, caption in zip(crops, captions, strict=True):
        image = photographs.image(photographs.captions.index(caption))
        rows = [np.lib.stride_tricks.sliding_window_view(image, (32, 32), (0, 1))]
        found = [np.all(rows[0] == np.moveaxis(c, -1, 0), axis=(2, 3, 4)).any() for c in (crop, crop[:, ::-1])]
        assert any(found)


def gradient(height: int, width: int) -> np.ndarray:
    """A picture whose red is its row and whose green its column, uint8 [H, W, 3]."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.zeros_like(rows)], -1).astype(np.uint8)


def of_images(*images: np.ndarray) -> Photographs:
    sizes = np.array([image.shape[:2] for image in images])
    pixels = np.concatenate([image.reshape(-1) for image in images])
    offsets = np.concatenate([[0], np.cumsum(3 * sizes.prod(1))[:-1]])
    return Photographs([str(i) for i in range(len(images))], ["" for _ in images], pixels, offsets, sizes)


def test_small_photographs_are_enlarged_and_others_are_scaled_half_of_the_time() -> None:
    small = of_images(gradient(20, 40)).crops(50, 32, np.random.default_rng(0))[0]
    assert small.shape == (50, 32, 32, 3)
    spans = small[..., 0].max((1, 2)).astype(int) - small[..., 0].min((1, 2))
    assert (abs(spans - 19) <= 1).all()  # all 20 rows, in 32
    large = of_images(gradient(200, 220))
    as_they_are = large.crops(200, 32, np.random.default_rng(0))[0]
    spans = as_they_are[..., 0].max((1, 2)).astype(int) - as_they_are[..., 0].min((1, 2))
    assert (spans == 31).all()
    starts = as_they_are[..., 0].min((1, 2))
    assert starts.min() < 20
    assert starts.max() > 150  # any window
    mirrored = as_they_are[:, 0, 0, 1] > as_they_are[:, 0, -1, 1]
    assert 0.35 < mirrored.mean() < 0.65
    scaled = large.crops(400, 32, np.random.default_rng(0), (0.5, 2.0))[0]
    scale = 31 / (scaled[..., 0].max((1, 2)).astype(float) - scaled[..., 0].min((1, 2)))
    assert 0.4 < np.mean(scale == 1) < 0.6
    assert 0.45 < scale.min() < 0.6
    assert 1.7 < scale.max() < 2.3
    assert abs(np.log(scale[scale != 1]).mean()) < 0.15


def test_a_view_is_a_piece_of_the_whole_resized() -> None:
    image = np.asarray(Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize((60, 45)))
    photographs = of_images(image)
    assert np.array_equal(photographs.view(0, (45, 60), (5, 7), (20, 30)), image[5:25, 7:37])
    for size in ((90, 121), (31, 40)):
        whole = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC)).astype(int)
        found = photographs.view(0, size, (3, 11), (20, 25))
        assert np.abs(found - whole[3:23, 11:36]).max() <= 1


def test_a_paper_may_prepare_its_photographs_first(tmp_path: Path) -> None:
    """Whole ones stretched, or scaled and cut at the centre; decoded anew where a cache holds them prepared in another way."""
    (tmp_path / "photos").mkdir()
    for index in range(4):
        Image.fromarray(gradient(40, 80)).save(tmp_path / "photos" / f"{index}.png")
    for how, height, columns in (("none", 40, (0, 79)), ("stretch:20", 20, (1, 77)), ("fit:20", 20, (20, 59))):
        found = load(tmp_path / "photos", tmp_path / "cache", validation=False, how=how)
        picture = found.image(0).astype(int)
        assert len(picture) == height
        assert np.allclose((picture[..., 1].min(), picture[..., 1].max()), columns, atol=2)
