"""Photographs of a folder: which, and the crops of them."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

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


def test_crops_are_pieces_of_their_images(photographs: Photographs) -> None:
    crops, captions = photographs.crops(4, 32, np.random.default_rng(3))
    for crop, caption in zip(crops, captions, strict=True):
        image = photographs.image(photographs.captions.index(caption))
        rows = [np.lib.stride_tricks.sliding_window_view(image, (32, 32), (0, 1))]
        found = [np.all(rows[0] == np.moveaxis(c, -1, 0), axis=(2, 3, 4)).any() for c in (crop, crop[:, ::-1])]
        assert any(found)
