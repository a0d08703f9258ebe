"""The colours of Pillow's images, of any mode, depth and colour space, as 8-bit sRGB."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

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
SRGB = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
"""x and y of white, red, green and blue, as PNG's cHRM has them (CIE 1931)."""
ADOBE_RGB = (0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
GAMMA = 1 / 2.2
"""Of light: PNG's gAMA. With sRGB's primaries it stands for sRGB's own curve, which it is near."""


def srgb(image: Image.Image) -> NDArray[np.uint8]:
    """An image of Pillow's as sRGB, uint8 [H, W, 3].

    It is upright by its EXIF and converted by its ICC profile, transparency lies over white. A profile that is broken, or of other
    colours than the image, counts as none; without one, PNG's gAMA and cHRM chunks count (PNG, 3rd edition, 11.3.2), or EXIF's
    Adobe RGB (DCF 2.0, R03). Grey of more than 8 bits spans the range of its type: that of a TIFF file's bits; of 16
    bits elsewhere, and where 32 hold no more. Floating-point images are taken to be in 0…1 if no value exceeds 1, else in 0…255.

    Raises:
        ValueError: a mode that Pillow cannot convert, or values that are not finite.
        OSError: the pixels cannot be decoded.
    """
    packed = (
        {"L;2": 85, "L;4": 17}.get(str(image.tile[0][3])) if isinstance(image, PngImagePlugin.PngImageFile) and image.tile else None
    )
    image.load()  # some formats turn themselves then
    if packed and "transparency" in image.info:  # Pillow spreads such levels over 8 bits, and leaves this one as it is
        image.info["transparency"] *= packed
    turn, profile, space = _turn(image), image.info.get("icc_profile"), _space(image)
    if image.mode == "F" or image.mode.startswith("I"):
        image = _eight_bits(image)
    elif image.mode in ("La", "RGBa"):  # premultiplied
        image = image.convert(image.mode.upper())
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    if image.mode != "CMYK":
        image = image.convert("L" if Image.getmodebase(image.mode) == "L" else "RGB")
    image = _profiled(image, profile) if profile or space is None else _from_space(image.convert("RGB"), *space)
    if alpha is not None:
        image.putalpha(alpha)
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return np.array(image if turn is None else image.transpose(turn))


def _turn(image: Image.Image) -> Image.Transpose | None:
    try:
        return TURNS.get(image.getexif().get(ExifTags.Base.Orientation))  # type: ignore[arg-type]
    except Exception:  # an EXIF block may be anything at all; viewers show such pictures as they are
        return None


def _space(image: Image.Image) -> tuple[float, tuple[float, ...]] | None:
    """Gamma and chromaticities (as ``SRGB``) of an image without profile; None for sRGB."""
    gamma, chromaticity = image.info.get("gamma"), image.info.get("chromaticity", SRGB)
    if gamma and "srgb" not in image.info:
        near = abs(gamma / GAMMA - 1) <= 0.05 and np.allclose(chromaticity, SRGB, atol=0.005)  # as libpng has it
        return None if near else (gamma, chromaticity)
    try:
        exif = image.getexif()
        uncalibrated = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.ColorSpace) == 0xFFFF
        adobe = uncalibrated and str(exif.get_ifd(ExifTags.IFD.Interop).get(ExifTags.Interop.InteropIndex)).startswith("R03")
    except Exception:  # as in _turn
        return None
    return (GAMMA, ADOBE_RGB) if adobe else None


def _from_space(image: Image.Image, gamma: float, chromaticity: tuple[float, ...]) -> Image.Image:
    """An RGB image of these primaries and this gamma in sRGB, white to white; as it is where there are no such colours."""
    try:
        with np.errstate(all="raise"):
            matrix = np.linalg.inv(_xyz(SRGB)) @ _xyz(chromaticity)
            linear = (np.arange(256) / 255) ** (1 / gamma)
    except (ValueError, FloatingPointError, np.linalg.LinAlgError):
        return image
    pixels = np.array(image)
    for rows in np.array_split(pixels, -(-pixels.size // 2**22)):  # so much at once, as floats
        light = (linear[rows] @ matrix.T).clip(0, 1)
        rows[:] = np.rint(255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055))
    return Image.fromarray(pixels)


def _xyz(chromaticity: tuple[float, ...]) -> NDArray[np.float64]:
    """Linear RGB → XYZ over that of white [3, 3]."""
    x, y = np.array(chromaticity, np.float64).reshape(4, 2).T
    white, *primaries = np.stack([x / y, np.ones(4), (1 - x - y) / y], 1)
    matrix = np.stack(primaries, 1)
    return matrix * np.linalg.solve(matrix, white) / white[:, None]


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
        inverted = tags.get(ExifTags.Base.PhotometricInterpretation) == 0  # white is 0, which Pillow sees to in 8 bits alone
        if inverted and not signed:
            values = white - values.astype(np.int64)
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
