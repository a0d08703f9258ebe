"""Photographs in and out: any mode that Pillow opens becomes uint8 RGB [H, W, 3]."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from gencomm_cli.errors import InputError
from gencomm_cli.symbols import MAX_PIXELS

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = NDArray[np.uint8]
MAX_FILE = 2**30


def read_image(source: Path | BinaryIO) -> Pixels:
    """The image as uint8 RGB [H, W, 3], upright (EXIF orientation applied), transparency laid over white.

    16-bit grey is scaled by 1/257. Floating-point images are taken to be in 0…1 if no value exceeds 1, else in 0…255.

    Raises:
        InputError: no such file, not an image, or more than 2^27 pixels (seen before anything is decoded).
    """
    name = str(source) if isinstance(source, Path) else "standard input"
    try:
        data = source.read_bytes() if isinstance(source, Path) else source.read(MAX_FILE)
    except FileNotFoundError:
        raise InputError(f"{name}: no such file; name an image") from None
    except IsADirectoryError:
        raise InputError(f"{name}: is a folder; name an image") from None
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror}); name a readable image") from None
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large images; the limit here is ours
            with Image.open(io.BytesIO(data)) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise InputError(f"{name}: {width}x{height} is more than 2^27 pixels; scale it down")
                image.load()
                return rgb(ImageOps.exif_transpose(image))
    except InputError:
        raise
    except UnidentifiedImageError:
        raise InputError(f"{name}: is not an image that Pillow knows; PNG, JPEG, WebP and TIFF are among those it does") from None
    except Exception as error:  # a broken file makes Pillow's plugins raise anything at all
        raise InputError(f"{name}: cannot be decoded as an image ({error}); is it damaged or cut off?") from None


def rgb(image: Image) -> Pixels:
    """An image of Pillow's as uint8 RGB [H, W, 3], transparency laid over white."""
    from PIL import Image as pillow

    if image.mode.startswith("I"):
        return _grey(np.asarray(image).astype(np.float64) / 257)
    if image.mode == "F":
        values = np.asarray(image, np.float64)
        if not np.isfinite(values).all():
            raise ValueError("it holds values that are not finite")
        return _grey(values * (255 if values.max() <= 1 else 1))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        above = image.convert("RGBA")
        image = pillow.alpha_composite(pillow.new("RGBA", above.size, "white"), above)
    return np.array(image.convert("RGB"))


def _grey(values: NDArray[np.float64]) -> Pixels:
    return np.repeat(np.rint(values).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


BEST: Mapping[str, Mapping[str, Any]] = {
    "JPEG": {"quality": 100, "subsampling": 0},
    "MPO": {"quality": 100, "subsampling": 0},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 100, "subsampling": "4:4:4"},
}
"""By Pillow's name of a format: what makes its files lossless, or as good as they can be. The others are so by themselves."""

LONGEST = {"JPEG": 65500, "MPO": 65500}
"""Pixels of a side that libjpeg takes; it would say so itself, on standard error."""


def suffix_of(target: str | Path) -> str:
    """What says the format: the name's suffix, ``.png`` for standard output, and for a device or pipe without a suffix."""
    path = Path(target)
    return path.suffix or (".png" if str(target) == "-" or (path.exists() and not path.is_file()) else "")


def check_format(target: Path, shape: tuple[int, ...]) -> int:
    """Says before any work that pictures of this shape cannot be written to ``target``, or not be read back.

    Args:
        shape: [H, W, 3] or [H, W].

    Returns:
        Bytes of a black one, which has about the fewest.

    Raises:
        InputError: the suffix is of no format, or its format has no such size.
    """
    suffix = suffix_of(target)
    black = np.zeros(shape, np.uint8)
    try:
        content = encoded(black, suffix)
        there = read_image(io.BytesIO(content)).shape[:2]
    except KeyError:
        raise InputError(f"{target}: {suffix or 'no suffix'} is not an image format; use .png, .webp, .tif or .jpg") from None
    except Exception as error:  # Pillow's plug-ins raise anything at all
        reason = "it cannot be read back" if isinstance(error, InputError) else str(error)
        raise InputError(f"{target}: no {shape[1]}x{shape[0]} picture can be a {suffix} ({reason}); use .png or .tif") from None
    if there != shape[:2]:
        raise InputError(f"{target}: a {suffix} holds {there[1]}x{there[0]} of {shape[1]}x{shape[0]} pixels; use .png or .tif")
    return len(content)


def encoded(pixels: Pixels, suffix: str = ".png") -> bytes:
    """The image [H, W, 3] or [H, W], uint8, as a file of the format that belongs to ``suffix``, as good as it can be.

    Raises:
        KeyError: it belongs to none that Pillow writes. ValueError: the image is too large for it.
    """
    from PIL import Image

    Image.init()
    name = Image.EXTENSION[suffix.lower()]
    if name not in Image.SAVE:
        raise KeyError(name)
    if max(pixels.shape) > LONGEST.get(name, MAX_PIXELS):
        raise ValueError(f"its sides have at most {LONGEST[name]} pixels")
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, name, **BEST.get(name, {}))
    return buffer.getvalue()


def heat_map(values: NDArray[np.int64], under: Pixels) -> Pixels:
    """``values`` [rows, columns], at least 1, as colours over a grey version of ``under`` [H, W, 3]: from black (the smallest) over
    red and yellow to white (the largest), by their logarithms. A value stands for a square block of pixels."""
    height, width = under.shape[:2]
    side = max(-(-height // values.shape[0]), -(-width // values.shape[1]))
    heat = np.log(values / values.min()) / max(float(np.log(values.max() / values.min())), 1e-9)
    blocks = heat.repeat(side, 0).repeat(side, 1)[:height, :width, None]
    colours = np.clip(3 * blocks - np.arange(3), 0, 1)  # black, red, yellow, white
    grey = under.mean(2, keepdims=True) / 255
    picture: Pixels = np.rint(255 * (0.7 * colours + 0.3 * grey)).astype(np.uint8)
    return picture


def side_by_side(images: Mapping[str, Pixels]) -> Pixels:
    """Images of one size in a row on white, each under its label."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = next(iter(images.values())).shape[:2]
    size = max(10, min(width // 16, 28))
    gap, top = 8, 2 * size
    font = ImageFont.load_default(size)
    canvas = Image.new("RGB", (len(images) * (width + gap) - gap, top + height), "white")
    draw = ImageDraw.Draw(canvas)
    for index, (label, pixels) in enumerate(images.items()):
        left = index * (width + gap)
        draw.text((left + width / 2, top / 2), label, fill="black", anchor="mm", font=font)
        canvas.paste(Image.fromarray(pixels), (left, top))
    return np.asarray(canvas)
