"""What the scripts of this folder share: photographs with captions, tables, and rows that survive an interruption."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gencomm_cli.images import Pixels, read_image

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"}


@dataclass(frozen=True)
class Photograph:
    """An image, uint8 [H, W, 3], with its caption, empty where there is none."""

    name: str
    pixels: Pixels
    caption: str


def photographs(folder: Path, limit: int | None = None) -> list[Photograph]:
    """Images of ``folder`` by name, with their lines of ``captions.tsv`` (file name, tab, caption)."""
    names = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)[:limit]
    if not names:
        raise SystemExit(f"{folder}: holds no images")
    table = folder / "captions.tsv"
    lines = table.read_text("utf-8").splitlines() if table.is_file() else []
    captions = {name: caption for name, _, caption in (line.partition("\t") for line in lines)}
    return [Photograph(name, read_image(folder / name), captions.get(name, "")) for name in names]


def numbers(text: str) -> list[float]:
    """``1,5,10`` as numbers."""
    return [float(part) for part in text.split(",")]


def names(text: str) -> list[str]:
    """``a,b`` as names."""
    return text.split(",")


class Rows:
    """A CSV file to which rows are appended, each flushed as it is made; a rerun reads back those that are complete."""

    def __init__(self, path: Path, key: Sequence[str], values: Sequence[str]) -> None:
        self.key, self.fields = list(key), [*key, *values]
        self.rows: list[dict[str, str]] = []
        if path.exists():
            text = path.read_text("utf-8")
            path.write_text(text[: text.rfind("\n") + 1], "utf-8")  # a line cut short by an interruption is made again
            with path.open(newline="") as file:
                reader = csv.DictReader(file)
                if reader.fieldnames is not None and list(reader.fieldnames) != self.fields:
                    raise SystemExit(f"{path}: has other columns; name another file")
                self.rows = list(reader)
        self.done = {self._key(row) for row in self.rows}
        self.file = path.open("a", newline="")
        self.writer = csv.DictWriter(self.file, self.fields, lineterminator="\n")
        if self.file.tell() == 0:
            self.writer.writeheader()

    def _key(self, row: dict[str, Any]) -> tuple[str, ...]:
        return tuple(str(row[name]) for name in self.key)

    def has(self, row: dict[str, Any]) -> bool:
        """Whether a row with these key columns is there."""
        return self._key(row) in self.done

    def add(self, row: dict[str, Any]) -> None:
        """Appends a row; None becomes an empty cell."""
        cells = {name: "" if row.get(name) is None else str(row[name]) for name in self.fields}
        self.writer.writerow(cells)
        self.file.flush()
        self.rows.append(cells)
        self.done.add(self._key(cells))


def mean(rows: Sequence[dict[str, str]], column: str) -> float | None:
    """Mean of a column over the rows that have it; None if none has."""
    values = [float(row[column]) for row in rows if row[column] != ""]
    return math.fsum(values) / len(values) if values else None


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; numbers with four significant digits, None as a dash."""

    def cell(value: object) -> str:
        return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)

    lines = [header, ["---"] * len(header), *([cell(value) for value in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
