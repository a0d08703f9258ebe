"""What the scripts of this folder share: photographs with captions, and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gencomm_cli.datasets import images_of
from gencomm_cli.images import Pixels, read_image
from gencomm_cli.photographs import captions, is_hidden


@dataclass(frozen=True)
class Photograph:
    """An image, uint8 [H, W, 3], with its caption, empty where there is none."""

    name: str
    pixels: Pixels
    caption: str


def photographs(folder: Path, limit: int | None = None) -> list[Photograph]:
    """Images of ``folder`` by name, with their lines of ``captions.tsv`` (file name, tab, caption)."""
    files = [file for file in images_of(folder, "test") if not is_hidden(file.name)][:limit]
    if not files:
        raise SystemExit(f"{folder}: holds no images")
    return [Photograph(file.name, read_image(file), caption) for file, caption in zip(files, captions(files), strict=True)]


def central(image: Pixels, side: int = 256) -> Pixels:
    """The central ``side``² pixels of an image [H, W, 3]."""
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return image[top : top + side, left : left + side]


def numbers(text: str) -> list[float]:
    """``1,5,10`` as numbers."""
    return [float(part) for part in text.split(",")]


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; numbers with four significant digits, None as a dash."""
    return "\n".join(markdown_line(row) for row in (header, ["---"] * len(header), *rows))


def markdown_line(row: Sequence[object]) -> str:
    """One line of such a table, for one that is printed as it grows."""
    cells = ("–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value) for value in row)
    return "| " + " | ".join(cells) + " |"
