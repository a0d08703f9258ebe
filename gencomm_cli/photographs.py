"""Folders of photographs as people have them: which files are images, their captions, and what is left out."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import BinaryIO

from gencomm_cli.errors import InputError
from gencomm_cli.images import REFUSED, Pixels, load_plugins, read_image
from gencomm_cli.symbols import MAX_PIXELS
from gencomm_cli.textfiles import read_table

CAPTIONS = "captions.tsv"
NAMED = 8
"""Files that are named of those that are left out."""


@cache
def suffixes() -> frozenset[str]:
    """Of the files that are images: of all formats that can be read here, and of some that can be elsewhere, so that it is said."""
    from PIL import Image, ImageFile

    load_plugins()
    stubs = {name for name, (made, _) in Image.OPEN.items() if isinstance(made, type) and issubclass(made, ImageFile.StubImageFile)}
    known = {suffix for suffix, name in Image.EXTENSION.items() if name in set(Image.OPEN) - stubs - {*REFUSED, "MPEG"}}
    return frozenset(known | {".mpo", ".avif", ".heic", ".heif"})


def images_in(folder: Path) -> list[Path]:
    """The files of a folder that are images by their suffix, hidden and broken ones too, by name.

    Raises:
        InputError: the folder cannot be read.
    """
    try:
        found = [path for path in folder.iterdir() if path.suffix.lower() in suffixes()]
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}); name a readable folder") from None
    return sorted(path for path in found if path.is_file() or not path.exists())  # no pipes, no folders; but links to nowhere


def is_hidden(name: str) -> bool:
    """Whether a file of that name, or path, is hidden."""
    return Path(name).name.startswith(".")


def read_found(source: Path | BinaryIO, name: str) -> Pixels:
    """An image [H, W, 3] that was found in a folder, or as a stream in an archive, not named by anyone.

    Raises:
        InputError: it is hidden, as ``._photo.jpg`` of macOS, or as :func:`~gencomm_cli.images.read_image`.
    """
    if is_hidden(name):
        raise InputError(f"{name}: is hidden; rename it if it is a photograph")
    return read_image(source, stream=name)


def prepare(pixels: Pixels, how: str) -> Pixels:
    """The image [H, W, 3] as a protocol has it.

    Args:
        how: ``none``; ``crop:N``, the N×N centre; ``fit:N``, the shorter side scaled to N, then ``crop:N``;
            ``stretch:N``, scaled to N×N whatever its shape.

    Raises:
        InputError: another word, or an image smaller than its crop.
    """
    kind, side = check_preparation(how)
    if kind == "none":
        return pixels
    height, width = pixels.shape[:2]
    if kind != "crop":
        scale = side / min(height, width)
        size = (side, side) if kind == "stretch" else (round(width * scale), round(height * scale))
        if size[0] * size[1] > MAX_PIXELS:
            raise InputError(f"--prepare {how}: an image of {width}x{height} is too narrow; use stretch:{side} or another image")
        import numpy as np
        from PIL import Image

        pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
        height, width = pixels.shape[:2]
    if min(height, width) < side:
        raise InputError(f"--prepare {how}: an image of {width}x{height} is too small; use fit:{side} or larger images")
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side].copy()


def check_preparation(how: str) -> tuple[str, int]:
    """What :func:`prepare` is to do, and to which side. Raises InputError where it is another word."""
    match = re.fullmatch(r"(none)|(crop|fit|stretch):([1-9]\d{0,4})", how)
    if match is None:
        raise InputError(f"--prepare: {how!r} is not none, crop:N, fit:N or stretch:N")
    return match[1] or match[2], int(match[3] or 0)


def pixel_hash(pixels: Pixels) -> str:
    """SHA-256 of the pixels with their shape."""
    return hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()


def captions(files: Sequence[Path]) -> list[str]:
    """The caption of each file: its line of ``captions.tsv`` beside it (file name, tab, caption); empty where it has none.

    Raises:
        InputError: a table cannot be read.
    """
    tables: dict[Path, dict[str, str]] = {}
    for folder in {file.parent for file in files}:
        rows = read_table(folder / CAPTIONS) if (folder / CAPTIONS).is_file() else []
        tables[folder] = {unicodedata.normalize("NFC", name): text for name, text in rows}  # macOS writes another form than most
    return [tables[file.parent].get(unicodedata.normalize("NFC", file.name), "") for file in files]


def left_out(reasons: Mapping[str, str], total: int) -> str:
    """What to say of files that were left out, by name, of ``total``: how many, which, and why the first was."""
    names = list(reasons)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"images: {len(names)} of {total} left out: {', '.join(names[:NAMED])}{more}; {reasons[names[0]]}"
