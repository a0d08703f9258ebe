"""Figures of whole sets of images, FID and KID: one line of ``sets.jsonl`` for each setting of a bench folder.

A line is ``{"setting": …, "metrics": {"fid": …, "kid": …}, "count": …, "note": …, "rows": …}``: the cell's fields that the set has
in common, the number of images, and a hash of its rows, so that a set that has not changed is not measured again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gencomm_cli.bench.rows import Cell, Row
from gencomm_cli.bench.store import original, read_rows
from gencomm_cli.errors import InputError
from gencomm_cli.images import read_image
from gencomm_cli.metrics import weights
from gencomm_cli.metrics.features import Features
from gencomm_cli.metrics.fid import fid
from gencomm_cli.metrics.inception import Inception
from gencomm_cli.metrics.kid import kid
from gencomm_cli.outputs import write_files

NAME = "sets.jsonl"
LOST_FID = 500.0
"""What SC-SIC (arXiv:2507.17416) gives an image that was lost; a set takes the mean, weighted by the share of lost images."""
OF_ONE_IMAGE = ("image", "image_sha256", "prompt_text", "seed", "repeat")

Array = NDArray[np.float64]


def setting(cell: Cell) -> Cell:
    """The cell less what differs within a set: the image, its prompt and the seed."""
    return replace(cell, image="", image_sha256="", prompt_text="", seed=0, repeat=0)


def load_model(folder: Path | None, device: str) -> Inception:
    """Inception with the published weights.

    Raises:
        InputError: they are not in ``folder``.
    """
    if folder is None or not (folder / "inception.npz").exists():
        raise InputError("--fid: Inception's weights are not here; `gencomm models get inception` fetches them once")
    model: Inception = weights.load_inception(folder).to(device)
    return model


def write_sets(folder: Path, model: Inception, by_patch: bool, say: Callable[[str], None]) -> None:
    """Measures every setting whose received images were kept.

    Args:
        by_patch: over half-overlapping 256² patches instead of whole images.
    """
    groups: dict[Cell, list[Row]] = {}
    for row in read_rows(folder):
        if row.output:
            groups.setdefault(setting(row.cell), []).append(row)
    known = _known(folder / NAME)
    features = Features(model, by_patch)
    originals: dict[str, Array] = {}

    def of(name: str) -> Array:
        pixels = read_image(folder / name)
        return features.of(torch.tensor(pixels).permute(2, 0, 1)[None].float() / 255)

    lines = []
    for number, (cell, rows) in enumerate(groups.items(), 1):
        key = hashlib.sha256(json.dumps([by_patch, *sorted(row.cell.id for row in rows)]).encode()).hexdigest()[:16]
        if key not in known:
            for name in {original(row.cell.image) for row in rows} - set(originals):
                originals[name] = of(name)
            reference = [originals[name] for name in dict.fromkeys(original(row.cell.image) for row in rows)]
            arrived = [row for row in rows if not _scored_as_lost(row)]
            known[key] = _measured(cell, reference, [of(row.output) for row in arrived], len(rows) - len(arrived), by_patch)
            known[key]["rows"] = key
            say(f"sets: {number} of {len(groups)}")
        lines.append(json.dumps(known[key], allow_nan=False))
    write_files({folder / NAME: "".join(f"{line}\n" for line in lines).encode()})


def _scored_as_lost(row: Row) -> bool:
    return row.status == "outage" and row.cell.outage == "sc-sic"


def _measured(cell: Cell, reference: Sequence[Array], received: Sequence[Array], lost: int, by_patch: bool) -> dict[str, Any]:
    first, second = np.concatenate(reference), np.concatenate(received) if received else np.empty((0, 1))
    distance, kernel = fid(first, second), kid(first, second)
    notes = ["half-overlapping 256² patches" if by_patch else "", distance.note, kernel.note]
    value, kernel_value = distance.value, kernel.value
    if lost:
        count = lost + len(received)
        known = value if received else 0.0
        value = None if known is None else (known * len(received) + LOST_FID * lost) / count
        kernel_value = None
        notes.append(f"{lost} of {count} images lost, each counted as FID {LOST_FID:g}")
    common = {name: value for name, value in cell.to_json().items() if name not in OF_ONE_IMAGE}
    return {
        "setting": common,
        "metrics": {"fid": value, "kid": kernel_value},
        "count": lost + len(received),
        "note": "; ".join(filter(None, notes)),
    }


def _known(path: Path) -> dict[str, dict[str, Any]]:
    """Lines of an earlier run by their ``rows``; what is no such line is measured again."""
    found: dict[str, dict[str, Any]] = {}
    for line in path.read_text("utf-8").splitlines() if path.exists() else []:
        try:
            document = json.loads(line)
            found[document["rows"]] = document
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return found
