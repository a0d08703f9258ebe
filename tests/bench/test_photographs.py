"""Images of a bench: found, prepared, kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gencomm_cli.bench.photographs import Found, find, gather
from gencomm_cli.bench.store import opened
from gencomm_cli.errors import InputError
from gencomm_cli.images import read_image
from gencomm_cli.photographs import prepare
from tests.support.commands import picture


def test_files_and_folders_with_captions(photos: Path) -> None:
    red, dogs = Found(photos / "a.png", "a red house", False), Found(photos / "b.jpg", 'two dogs, it\'s "grass"', False)
    assert find([photos]) == [red, dogs]
    assert find([photos / "b.jpg"]) == [replace(dogs, named=True)]
    with pytest.raises(InputError, match="two images have this name"):
        find([photos, photos / "a.png"])
    (photos / "empty").mkdir()
    with pytest.raises(InputError, match="holds no images"):
        find([photos / "empty"])


def test_preparations() -> None:
    pixels = picture(100, 160)
    assert prepare(pixels, "none") is pixels
    np.testing.assert_array_equal(prepare(pixels, "crop:64"), pixels[18:82, 48:112])
    assert prepare(pixels, "fit:64").shape == (64, 64, 3)
    assert prepare(pixels, "fit:200").shape == (200, 200, 3)
    assert prepare(pixels, "stretch:48").shape == (48, 48, 3)
    for how in ("crop", "crop:0", "cut:64", "crop:101"):
        with pytest.raises(InputError, match="--prepare"):
            prepare(pixels, how)


def test_originals_are_what_is_sent_and_are_not_replaced(photos: Path, tmp_path: Path) -> None:
    with opened(tmp_path / "out") as store:
        first, second = gather(find([photos]), "crop:32", store.folder)
        assert read_image(store.folder / "originals/b.jpg.png").shape == (32, 32, 3)
        np.testing.assert_array_equal(read_image(store.folder / "originals/a.png"), picture(64, 96)[16:48, 32:64])
        assert gather(find([photos]), "crop:32", store.folder) == [first, second]
        with pytest.raises(InputError, match="another image"):
            gather(find([photos]), "none", store.folder)
        Image.fromarray(picture(32, 32)).save(photos / "a.png")
        with pytest.raises(InputError, match="another image"):
            gather(find([photos]), "crop:32", store.folder)
