"""Every mode that Pillow opens becomes the same upright RGB; what is too large or broken is refused."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gencomm_cli.errors import InputError
from gencomm_cli.images import check_format, encoded, read_image, side_by_side
from tests.support.commands import picture

SCENE = Image.fromarray(picture())


def through(image: Image.Image, file_format: str = "PNG", **options: Any) -> np.ndarray:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    buffer.seek(0)
    pixels = read_image(buffer)
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    return pixels


def test_rgb_is_untouched() -> None:
    np.testing.assert_array_equal(through(SCENE), picture())
    assert through(SCENE, "JPEG", quality=95).shape == (64, 96, 3)


def test_grey_palette_and_bilevel() -> None:
    grey = SCENE.convert("L")
    np.testing.assert_array_equal(through(grey), np.repeat(np.asarray(grey)[..., None], 3, 2))
    palette = SCENE.convert("P", palette=Image.Palette.ADAPTIVE)
    np.testing.assert_array_equal(through(palette), np.asarray(palette.convert("RGB")))
    assert set(np.unique(through(SCENE.convert("1")))) == {0, 255}
    assert through(SCENE.convert("CMYK"), "TIFF").shape == (64, 96, 3)


def test_alpha_lies_over_white() -> None:
    for mode, value, expected in (
        ("RGBA", (0, 0, 0, 0), 255),
        ("RGBA", (0, 0, 0, 255), 0),
        ("RGBA", (0, 0, 0, 51), 204),
        ("LA", (0, 0), 255),
        ("LA", (100, 255), 100),
    ):
        assert np.unique(through(Image.new(mode, (5, 4), value))).tolist() == [expected]
    transparent = Image.new("P", (5, 4))
    transparent.putpalette([0, 0, 0])
    assert (through(transparent, transparency=0) == 255).all()
    assert (through(Image.new("L", (5, 4), 7), transparency=7) == 255).all()


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    ramp = np.array([[0, 128, 257, 30000, 65535]], np.uint16)
    np.testing.assert_array_equal(through(Image.fromarray(ramp))[0, :, 0], [0, 0, 1, 117, 255])


def test_floating_point() -> None:
    np.testing.assert_array_equal(through(Image.fromarray(np.array([[0, 0.5, 1]], np.float32)), "TIFF")[0, :, 0], [0, 128, 255])
    np.testing.assert_array_equal(through(Image.fromarray(np.array([[0, 100, 300]], np.float32)), "TIFF")[0, :, 0], [0, 100, 255])
    with pytest.raises(InputError, match="not finite"):
        through(Image.fromarray(np.array([[0, np.nan]], np.float32)), "TIFF")


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: rotate by 90 degrees clockwise
    np.testing.assert_array_equal(through(SCENE, exif=exif), np.rot90(picture(), -1))


def test_large_images_are_refused_before_they_are_decoded() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    for side in (11_586, 2**30):
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
        with pytest.raises(InputError, match=r"2\^27|decompression bomb"):
            read_image(io.BytesIO(data))


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
