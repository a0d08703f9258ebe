"""Rounding of deep images, what cannot be read, and what is written; kinds of picture are in test_pictures."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gencomm_cli.errors import InputError
from gencomm_cli.images import check_format, encoded, read_image, side_by_side
from tests.support.commands import picture


def through(image: Image.Image, file_format: str = "PNG") -> np.ndarray:
    buffer = io.BytesIO()
    image.save(buffer, file_format)
    buffer.seek(0)
    return read_image(buffer)


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    ramp = np.array([[0, 128, 257, 30000, 65535]], np.uint16)
    np.testing.assert_array_equal(through(Image.fromarray(ramp))[0, :, 0], [0, 0, 1, 117, 255])


def test_floating_point() -> None:
    np.testing.assert_array_equal(through(Image.fromarray(np.array([[0, 0.5, 1]], np.float32)), "TIFF")[0, :, 0], [0, 128, 255])
    np.testing.assert_array_equal(through(Image.fromarray(np.array([[0, 100, 300]], np.float32)), "TIFF")[0, :, 0], [0, 100, 255])
    with pytest.raises(InputError, match="not finite"):
        through(Image.fromarray(np.array([[0, np.nan]], np.float32)), "TIFF")


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    png = encoded(picture())
    for data in (b"", b"hello", png[:200], png[:-2000]):
        with pytest.raises(InputError, match="standard input") as caught:
            read_image(io.BytesIO(data))
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="no such file"):
        read_image(tmp_path / "a.png")
    with pytest.raises(InputError, match="is a folder"):
        read_image(tmp_path)


def test_formats_to_write() -> None:
    for suffix in (".png", ".webp", ".tif", ".JPG"):
        assert check_format(Path("a" + suffix), (64, 96, 3)) > 30
        assert read_image(io.BytesIO(encoded(picture(), suffix))).shape == (64, 96, 3)
    for name in ("a.npz", "a", "a.txt"):
        with pytest.raises(InputError, match="not an image format"):
            check_format(Path(name), (64, 96, 3))
    assert encoded(picture()) == encoded(picture())


def test_side_by_side_keeps_every_pixel() -> None:
    row = side_by_side({"original": picture(), "coarse": 255 - picture(), "refined": picture()})
    bottom = row[-64:]
    np.testing.assert_array_equal(bottom[:, :96], picture())
    np.testing.assert_array_equal(bottom[:, -96:], picture())
    assert (row[:-64] < 128).any()  # labels
