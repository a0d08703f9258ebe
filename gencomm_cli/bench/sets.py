"""Figures of whole sets of images, FID and KID: a line of ``sets.jsonl`` for each setting of a bench folder and each network.

A line is ``{"setting": …, "metrics": {"fid": …, "kid": …}, "count": …, "note": …, "rows": …}``: the cell's fields that the set has
in common, the number of images, and a hash of its rows, so that a set that has not changed is not measured again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gencomm_cli.bench.folder import lines, set_metrics
from gencomm_cli.bench.rows import Cell, Row, common
from gencomm_cli.bench.store import original, read_rows
from gencomm_cli.errors import InputError
from gencomm_cli.images import read_image
from gencomm_cli.metrics import weights
from gencomm_cli.metrics.features import Features
from gencomm_cli.metrics.fid import FID, fid
from gencomm_cli.metrics.kid import KID, kid
from gencomm_cli.outputs import write_files

NAME = "sets.jsonl"
LOST_FID = 500.0
"""What SC-SIC (arXiv:2507.17416) gives an image that was lost; a set takes the mean, weighted by the share of lost images."""
OF_ONE_IMAGE = ("image", "image_sha256", "prompt_text", "seed", "repeat")

Array = NDArray[np.float64]
Line = dict[str, Any]


@dataclass(frozen=True)
class Measure:
    """Figures that one network's features give.

    Attributes:
        key: tells this measure's lines from another's; one of :data:`KEYS`.
        names: of the figures.
        distances: the figures of the features of originals and received images, float64 [N, D] and [M, D].
        note: how the features were taken, or "".
    """

    key: bool | str
    names: tuple[str, ...]
    features: Features
    distances: Callable[[Array, Array], Sequence[FID | KID]]
    note: str


KEYS: tuple[bool | str, ...] = (False, True, "kid_lite1")
"""Inception's over whole images and over patches, EfficientNet-Lite1's."""


def with_inception(folder: Path | None, device: str, by_patch: bool) -> Measure:
    """FID and KID.

    Args:
        folder: of the metric weights.
        by_patch: over half-overlapping 256² patches instead of whole images.

    Raises:
        InputError: Inception's weights are not in ``folder``.
    """
    if folder is None or not (folder / "inception.npz").exists():
        raise InputError(
            "--fid: Inception's weights are not here; `gencomm models get inception` fetches them once, --kid-lite does without"
        )
    features = Features(weights.load_inception(folder).to(device), by_patch)
    note = "half-overlapping 256² patches" if by_patch else ""
    return Measure(by_patch, ("fid", "kid"), features, lambda first, second: (fid(first, second), kid(first, second)), note)


def with_lite(device: str) -> Measure:
    """KID × 1000 with EfficientNet-Lite1 over half-overlapping 256² patches.

    Raises:
        InputError: its weights are not installed.
    """
    features = Features(weights.load_efficientnet_lite("lite1").to(device), by_patch=True)
    return Measure("kid_lite1", ("kid_lite1",), features, _kid_in_thousandths, "EfficientNet-Lite1, half-overlapping 256² patches")


def _kid_in_thousandths(first: Array, second: Array) -> tuple[KID]:
    found = kid(first, second)
    return (replace(found, value=None if found.value is None else 1000 * found.value),)


def write_sets(folder: Path, measures: Sequence[Measure], say: Callable[[str], None]) -> None:
    """Measures every setting whose received images were kept. What other measures found of the same images stays."""
    groups: dict[Cell, list[Row]] = {}
    for row in read_rows(folder):
        if row.output:
            groups.setdefault(common(row.cell), []).append(row)
    known = _known(folder / NAME)
    now = {name for measure in measures for name in measure.names}
    others = set(KEYS) - {measure.key for measure in measures}
    keys = {_key(key, rows) for rows in groups.values() for key in others}
    found = [line for key, line in known.items() if key in keys and now.isdisjoint(line["metrics"])]
    for measure in measures:
        found += _lines(folder, measure, groups, known, say)
    write_files({folder / NAME: "".join(f"{json.dumps(line, allow_nan=False)}\n" for line in found).encode()})


def _lines(
    folder: Path, measure: Measure, groups: Mapping[Cell, list[Row]], known: Mapping[str, Line], say: Callable[[str], None]
) -> Iterator[Line]:
    originals: dict[str, Array] = {}

    def of(name: str) -> Array:
        pixels = read_image(folder / name)
        return measure.features.of(torch.tensor(pixels).permute(2, 0, 1)[None].float() / 255)

    for number, (cell, rows) in enumerate(groups.items(), 1):
        key = _key(measure.key, rows)
        if key in known and known[key]["metrics"].keys() == set(measure.names):
            yield known[key]
            continue
        for name in {original(row.cell.image) for row in rows} - set(originals):
            originals[name] = of(name)
        reference = [originals[name] for name in dict.fromkeys(original(row.cell.image) for row in rows)]
        arrived = [row for row in rows if (row.status, row.cell.outage) != ("outage", "sc-sic")]
        line = _measured(cell, reference, [of(row.output) for row in arrived], len(rows) - len(arrived), measure)
        undefined = f": {line['note']}" if None in line["metrics"].values() else ""
        say(f"sets: {number} of {len(groups)}{undefined}")
        yield line | {"rows": key}


def _key(measure: bool | str, rows: Sequence[Row]) -> str:
    return hashlib.sha256(json.dumps([measure, *sorted(row.cell.id for row in rows)]).encode()).hexdigest()[:16]


def _measured(cell: Cell, reference: Sequence[Array], received: Sequence[Array], lost: int, measure: Measure) -> Line:
    first, second = np.concatenate(reference), np.concatenate(received) if received else np.empty((0, 1))
    distances = measure.distances(first, second)
    values = {name: distance.value for name, distance in zip(measure.names, distances, strict=True)}
    notes = [measure.note, *(distance.note for distance in distances)]
    count = lost + len(received)
    if lost:
        known = values.get("fid") if received else 0.0
        mean = None if known is None else (known * len(received) + LOST_FID * lost) / count
        values = {name: mean if name == "fid" else None for name in values}
        notes.append(f"{lost} of {count} images lost, each counted as FID {LOST_FID:g}")
    common = {name: value for name, value in cell.to_json().items() if name not in OF_ONE_IMAGE}
    return {"setting": common, "metrics": values, "count": count, "note": "; ".join(filter(None, notes))}


def _known(path: Path) -> dict[str, Line]:
    """Lines of an earlier run by their ``rows``; what is no such line is measured again."""

    def keyed(document: Line) -> tuple[str, Line]:
        set_metrics(document)
        json.dumps(document, allow_nan=False)  # raises ValueError
        return str(document["rows"]), document

    return dict(lines(path, keyed)[0]) if path.is_file() else {}
