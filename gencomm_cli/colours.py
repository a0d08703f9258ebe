"""The colours of Pillow's images, of any mode, depth and colour space, as 8-bit sRGB."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms

MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""Pillow's mode for the colours that an ICC profile is of."""
STEPS = 17 * np.indices((16, 16, 16), np.uint8).reshape(3, 64, 64).transpose(1, 2, 0)
"""Colours from all over the cube, [64, 64, 3], by which a profile is known for one of sRGB."""
TURNS = dict(
    enumerate(
        (
            Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.TRANSPOSE,
            Image.Transpose.ROTATE_270, Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_90,
        ),
        2,
    )
)  # fmt: skip
"""What puts an image upright, by its EXIF orientation."""


def srgb(image: Image.Image) -> NDArray[np.uint8]:
    """An image of Pillow's as sRGB, uint8 [H, W, 3].

    It is upright by its EXIF and converted by its ICC profile, transparency lies over white. A profile that is broken, or of other
    colours than the image, counts as none. Grey of more than 8 bits spans the range of its type: that of a TIFF file's bits; of 16
    bits elsewhere, and where 32 hold no more. Floating-point images are taken to be in 0…1 if no value exceeds 1, else in 0…255.

    Raises:
        ValueError: a mode that Pillow cannot convert, or values that are not finite.
        OSError: the pixels cannot be decoded.
    """
    image.load()  # some formats turn themselves then
    turn, profile = _turn(image), image.info.get("icc_profile")
    if image.mode == "F" or image.mode.startswith("I"):
        image = _eight_bits(image)
    elif image.mode in ("La", "RGBa"):  # premultiplied
        image = image.convert(image.mode.upper())
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    if image.mode != "CMYK":
        image = image.convert("L" if Image.getmodebase(image.mode) == "L" else "RGB")
    image = _profiled(image, profile)
    if alpha is not None:
        image.putalpha(alpha)
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return np.array(image if turn is None else image.transpose(turn))


def _turn(image: Image.Image) -> Image.Transpose | None:
    try:
        return TURNS.get(image.getexif().get(ExifTags.Base.Orientation))  # type: ignore[arg-type]
    except Exception:  # an EXIF block may be anything at all; viewers show such pictures as they are
        return None


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey in 8 bits (L), or LA where one level is transparent."""
    values: NDArray[Any] = np.asarray(image)
    if image.mode == "F":
        if not np.isfinite(values).all():
            raise ValueError("it holds values that are not finite")
        white = 1 if values.max() <= 1 else 255
    else:
        tags = getattr(image, "tag_v2", {})
        bits, signed = tags.get(ExifTags.Base.BitsPerSample, (16,))[0], tags.get(ExifTags.Base.SampleFormat, (1,))[0] == 2
        if bits == 32 and not signed:
            values = values.view(np.uint32)
        white = 65535 if bits == 32 and values.max() <= 65535 else 2 ** (bits - signed) - 1
    grey = Image.fromarray(np.rint(values.clip(0, white).astype(np.float64) * 255 / white).astype(np.uint8))
    if "transparency" in image.info:
        grey.putalpha(Image.fromarray(np.where(values == image.info["transparency"], 0, 255).astype(np.uint8)))
    return grey


def _profiled(image: Image.Image, profile: bytes | None) -> Image.Image:
    """An opaque image (L, RGB or CMYK) in sRGB. One that has a profile of sRGB keeps its very numbers."""
    plain = image.convert("RGB")
    if not profile:
        return plain
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = MODES[source.profile.xcolor_space.strip()]
        convert = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
        image = plain if mode == "RGB" else image
        if mode != image.mode:
            return plain
        steps = Image.fromarray(STEPS).convert(mode)
        changed = np.subtract(np.asarray(convert.apply(steps)), np.asarray(steps.convert("RGB")), dtype=np.int16)
        return plain if np.abs(changed).max() <= 2 else convert.apply(image)
    except (OSError, KeyError, ValueError, ImageCms.PyCMSError):
        return plain
