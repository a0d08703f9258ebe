"""A bench folder as it is read: rows, set metrics and images. Its files may come from anyone, so everything is checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gencomm_cli.bench.rows import Row, figures, options_of_text, options_text
from gencomm_cli.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class SetMetrics:
    """Figures of a whole set of images, as FID is.

    ``setting``: fields of the cell that single it out, as in a row. ``count``: of how many samples. ``note``: how to read
    them, or "".
    """

    setting: Mapping[str, Any]
    metrics: Mapping[str, float]
    count: int
    note: str


@dataclass(frozen=True)
class Results:
    """``skipped`` says in one line each which lines were left out."""

    rows: tuple[Row, ...]
    sets: tuple[SetMetrics, ...]
    skipped: tuple[str, ...]


def read(folder: Path) -> Results:
    """All rows, the last one of each id; lines that are no rows are left out and named.

    Raises:
        InputError: there is no ``rows.jsonl``, or no row in it.
    """
    path = folder / "rows.jsonl"
    if not path.is_file():
        raise InputError(f"{folder}: there is no rows.jsonl in it; name a folder that `gencomm bench run` wrote")
    rows, skipped = lines(path, Row.from_json)
    if not rows:
        raise InputError(f"{path}: holds no row; run `gencomm bench run` first")
    sets, also = lines(folder / "sets.jsonl", set_metrics) if (folder / "sets.jsonl").is_file() else ([], [])
    return Results(tuple({row.cell.id: row for row in rows}.values()), tuple(sets), (*skipped, *also))


def lines(path: Path, parse: Callable[[dict[str, Any]], T]) -> tuple[list[T], list[str]]:
    """What ``parse`` makes of each line of JSON, and what to say of those it cannot take. Raises InputError as :func:`read`."""
    good: list[T] = []
    skipped = []
    try:
        found = path.read_bytes().splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); name a readable folder") from None
    for index, line in enumerate(found, 1):
        if not line.strip():
            continue
        try:
            good.append(parse(json.loads(line)))
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, RecursionError):
            reason = "is cut short" if index == len(found) else "is damaged, or of another version"
            skipped.append(f"{path.name}: line {index} {reason} and was left out")
    return good, skipped


def set_metrics(document: dict[str, Any]) -> SetMetrics:
    """A line of ``sets.jsonl``. Raises TypeError, KeyError, ValueError, AttributeError or OverflowError where it is none."""
    setting = dict(document["setting"])
    if not all(value is None or type(value) in (str, int, float, bool) for value in setting.values()):
        raise TypeError("a field of the setting is of another type")
    if "options" in setting:
        setting["options"] = options_text(options_of_text(setting["options"]))
    metrics = {name: value for name, value in figures(document["metrics"]).items() if value is not None}
    return SetMetrics(setting, metrics, int(document["count"]), str(document.get("note") or ""))
