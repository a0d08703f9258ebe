"""Photographs in and out: any image that Pillow opens becomes uint8 sRGB [H, W, 3]."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from gencomm_cli.errors import InputError
from gencomm_cli.symbols import MAX_PIXELS
from gencomm_cli.textfiles import read_bytes

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = NDArray[np.uint8]
MAX_FILE = 2**30
REFUSED = ("EPS", "IPTC")
"""Pillow's formats that start programs: EPS is Ghostscript's, and IPTC holds a file of any format."""
NEW_SUBFILE_TYPE = 254
"""TIFF's tag that says what a frame is; 1: a reduced version of another one."""
PLUGINS = ("pillow_heif.HeifImagePlugin", "pillow_avif", "pillow_jxl")
"""Modules that make more formats known to Pillow as they are imported."""


def read_image(source: Path | BinaryIO, most: int = MAX_PIXELS, stream: str = "standard input") -> Pixels:
    """The image as sRGB, uint8 [H, W, 3], of every format that Pillow and its installed plug-ins know but those of ``REFUSED``.

    Upright, transparency over white, any mode and depth: as :func:`gencomm_cli.colours.srgb` has it. Of several frames, the first.

    Args:
        most: pixels that it may have, a power of two; seen before anything is decoded. stream: name of a source that is no file.

    Raises:
        InputError: no such file, not an image, or too large.
    """
    name = str(source) if isinstance(source, Path) else stream
    data = read_bytes(source, MAX_FILE, "an image", name)
    from PIL import Image, UnidentifiedImageError

    from gencomm_cli.colours import srgb

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large images; the limit here is ours
            with _opened(data) as image:
                if image.format in REFUSED:
                    raise InputError(f"{name}: is {image.format}, which may start other programs; save it as PNG, JPEG or TIFF")
                if getattr(image, "tag_v2", {}).get(NEW_SUBFILE_TYPE) == 1:
                    raise InputError(
                        f"{name}: holds a small preview first, as cameras' raw files do; develop it to PNG, JPEG or TIFF"
                    )
                width, height = image.size
                if width * height > most:
                    raise InputError(f"{name}: {width}x{height} is more than 2^{most.bit_length() - 1} pixels; scale it down")
                return srgb(image)
    except (InputError, MemoryError):
        raise
    except UnidentifiedImageError:
        missing = data[4:8] == b"ftyp" and "HEIF" not in Image.OPEN
        right = "pip install 'gencomm[heif]' for HEIC" if missing else "PNG, JPEG, WebP and TIFF are among those it does"
        raise InputError(f"{name}: is not an image that Pillow knows, or damaged; {right}") from None
    except Exception as error:  # a broken file makes Pillow's plugins raise anything at all
        raise InputError(f"{name}: cannot be decoded as an image ({error}); is it damaged or cut off?") from None


def _opened(data: bytes) -> Image:
    """The image, not yet decoded. What Pillow does not know at once is tried again with all plug-ins."""
    from PIL import Image, PngImagePlugin, UnidentifiedImageError

    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY  # 64 MiB: programs keep their projects there, and profiles
    try:
        return Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        load_plugins()
        return Image.open(io.BytesIO(data))


@cache
def load_plugins() -> None:
    """Makes Pillow know all its formats, and those of the plug-ins that are installed."""
    from PIL import Image

    Image.init()
    for name in PLUGINS:
        with contextlib.suppress(ImportError):
            import_module(name)


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
    return np.rint(255 * (0.7 * colours + 0.3 * grey)).astype(np.uint8)


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
