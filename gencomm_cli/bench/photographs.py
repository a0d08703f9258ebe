"""The images of a bench: found, prepared as a paper has them, and kept in the bench folder."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gencomm_cli.bench.store import original
from gencomm_cli.errors import InputError
from gencomm_cli.images import Pixels, encoded, read_image
from gencomm_cli.outputs import write_files

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"}


@dataclass(frozen=True)
class Photograph:
    """An image of the bench. ``caption``: its line in captions.tsv, or "". ``sha256``: of its prepared pixels with their shape."""

    name: str
    caption: str
    sha256: str


def find(images: Sequence[Path]) -> list[tuple[Path, str]]:
    """Files and folders → image files with their captions (``captions.tsv`` beside them: file name, tab, caption).

    Raises:
        InputError: a path does not exist, a folder holds no images, or two images have one name.
    """
    files: list[Path] = []
    for path in images:
        if path.is_file():
            files.append(path)
            continue
        if not path.exists():
            raise InputError(f"{path}: no such file; name images, or folders of them")
        found = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        if not found:
            raise InputError(f"{path}: holds no images; name a folder with {', '.join(sorted(SUFFIXES))} files")
        files += found
    names = Counter(original(file.name) for file in files)
    for file in files:
        if names[original(file.name)] > 1:
            raise InputError(f"{file}: two images have this name, or a.jpg and a.jpg.png; rename one, as rows go by name")
    captions = {folder: _captions(folder / "captions.tsv") for folder in {file.parent for file in files}}
    return [(file, captions[file.parent].get(file.name, "")) for file in files]


def _captions(path: Path) -> dict[str, str]:
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    return {name: caption.strip() for name, _, caption in (line.partition("\t") for line in lines)}


def prepare(pixels: Pixels, how: str) -> Pixels:
    """The image [H, W, 3] as a protocol has it.

    Args:
        how: ``none``; ``crop:N``, the N×N centre; ``fit:N``, the shorter side scaled to N, then ``crop:N``;
            ``stretch:N``, scaled to N×N whatever its shape.

    Raises:
        InputError: another word, or an image smaller than its crop.
    """
    if how == "none":
        return pixels
    match = re.fullmatch(r"(crop|fit|stretch):([1-9]\d{0,4})", how)
    if match is None:
        raise InputError(f"--prepare: {how!r} is not none, crop:N, fit:N or stretch:N")
    kind, side = match[1], int(match[2])
    height, width = pixels.shape[:2]
    if kind != "crop":
        scale = side / min(height, width)
        size = (side, side) if kind == "stretch" else (round(width * scale), round(height * scale))
        from PIL import Image

        pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
        height, width = pixels.shape[:2]
    if min(height, width) < side:
        raise InputError(f"--prepare {how}: an image of {width}x{height} is too small; use fit:{side} or larger images")
    top, left = (height - side) // 2, (width - side) // 2
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])


def pixel_hash(pixels: Pixels) -> str:
    """SHA-256 of the pixels with their shape."""
    return hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()


def gather(images: Sequence[Path], how: str, folder: Path) -> list[Photograph]:
    """Reads and prepares images, and writes them to ``folder``/originals, from where they are sent.

    Raises:
        InputError: as :func:`find`, :func:`prepare` and ``read_image``; or the folder holds another image of that name.
    """
    photographs = []
    for path, caption in find(images):
        try:
            pixels = prepare(read_image(path), how)
        except InputError as error:
            raise error if str(path) in str(error) else InputError(f"{path}: {error}") from None
        kept = folder / original(path.name)
        photograph = Photograph(path.name, caption, pixel_hash(pixels))
        if not kept.exists():
            write_files({kept: encoded(pixels)})
        elif pixel_hash(read_image(kept)) != photograph.sha256:
            raise InputError(f"{kept}: is another image than {path} with --prepare {how}; use another --out")
        photographs.append(photograph)
    return photographs
