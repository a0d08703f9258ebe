"""The pictures that a report carries: each image as every setting delivered it, small enough that the file still opens."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gencomm_cli.bench.folder import Results
from gencomm_cli.bench.rows import common
from gencomm_cli.bench.settings import Setting
from gencomm_cli.bench.store import image_file, original
from gencomm_cli.console import Progress
from gencomm_cli.errors import InputError
from gencomm_cli.images import Pixels, read_image

SIDES = (768, 512, 384, 256, 192)
"""Longer sides to try, in pixels; the largest with which everything fits is taken."""
CAP = 15_000_000
"""Bytes of all pictures together; as text in the html they take a third more."""
LARGEST = 2**26
"""Pixels of a picture that is read at all."""


@dataclass(frozen=True)
class Shot:
    """One transmission's picture, of a setting's index. ``uri``: a data URI. ``metrics``: of this image alone."""

    setting: int
    uri: str
    status: str
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Exhibit:
    """One image: its original, if there is one, its [height, width], and what became of it."""

    name: str
    size: tuple[int, int]
    original: str
    shots: tuple[Shot, ...]


@dataclass(frozen=True)
class Gallery:
    """``side``: the longer side that pictures were scaled down to. ``left_out``: one line for each kind of omission."""

    side: int
    exhibits: tuple[Exhibit, ...]
    left_out: tuple[str, ...]


def gallery(folder: Path, results: Results, found: Sequence[Setting], report: Progress | None = None) -> Gallery:
    """The first repeat of every image and setting, images in the order of the rows."""
    wanted, left = _wanted(folder, results, found)
    originals = {image: image_file(folder, original(image[0])) for image in wanted}
    total = sum(map(len, wanted.values())) + sum(path is not None for path in originals.values())
    side = _side([path for items in wanted.values() for path, _ in items], total)
    exhibits = []
    used = done = 0
    for image, items in wanted.items():
        shots: list[Shot] = []
        before, size = "", (0, 0)
        for path, shot in [*([(sent, None)] if (sent := originals[image]) else []), *items]:
            done += 1
            if report:
                report(done, total)
            if used > CAP:
                left["over the size limit; the files lie in the bench folder"] += 1
                continue
            try:
                pixels = read_image(path, LARGEST)
            except InputError:
                left["damaged or too large to read"] += 1
                continue
            data = _webp(pixels, side)
            used += len(data)
            uri = "data:image/webp;base64," + base64.b64encode(data).decode()
            if shot is None:
                before, size = uri, pixels.shape[:2]
            elif size not in ((0, 0), pixels.shape[:2]):
                left["of another size than their original"] += 1
            else:
                size = pixels.shape[:2]
                shots.append(replace(shot, uri=uri))
        if shots:
            exhibits.append(Exhibit(image[0], size, before, tuple(shots)))
    return Gallery(side, tuple(exhibits), tuple(f"{count} pictures: {why}" for why, count in left.items()))


def _wanted(
    folder: Path, results: Results, found: Sequence[Setting]
) -> tuple[dict[tuple[str, str], list[tuple[Path, Shot]]], Counter[str]]:
    """Files and shots without their pictures, by image and its hash; and how many are left out, by the reason."""
    index = {s.cell: i for i, s in enumerate(found)}
    wanted: dict[tuple[str, str], list[tuple[Path, Shot]]] = {}
    left: Counter[str] = Counter()
    taken = set()
    for row in sorted(results.rows, key=lambda row: row.cell.repeat):
        setting = index[common(row.cell)]
        image = (row.cell.image, row.cell.image_sha256)
        if not row.output or (image, setting) in taken:
            continue
        path = image_file(folder, row.output)
        if path is None:
            left["missing, or not inside the bench folder"] += 1
            continue
        taken.add((image, setting))
        metrics = {name: value for name, value in row.metrics.items() if value is not None}
        wanted.setdefault(image, []).append((path, Shot(setting, "", row.status, metrics)))
    return {image: sorted(items, key=lambda item: item[1].setting) for image, items in wanted.items()}, left


def _side(paths: Sequence[Path], total: int) -> int:
    """Judged by eight of the pictures."""
    samples = []
    for path in paths[:: max(1, len(paths) // 8)][:8]:
        try:
            samples.append(read_image(path, LARGEST))
        except InputError:
            continue
    sizes = ((side, np.mean([len(_webp(pixels, side)) for pixels in samples]) if samples else 0) for side in SIDES)
    return next((side for side, size in sizes if size * total < 0.9 * CAP), SIDES[-1])


def _webp(pixels: Pixels, side: int) -> bytes:
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=84, method=2)
    return buffer.getvalue()
