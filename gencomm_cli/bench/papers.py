"""What the methods' papers print, from ``numbers.json`` of each method's package, and how they measure.

Differences and percentages are against another method of the same paper. A paper's data set, crops and LPIPS backbone are its own:
the numbers stand beside ours for orientation and are named with their data set.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from gencomm_cli.bench.quantities import in_order
from gencomm_cli.bench.settings import Setting
from gencomm_cli.errors import InputError
from gencomm_cli.methods import specs
from gencomm_cli.methods.spec import Protocol


@dataclass(frozen=True)
class PaperNumber:
    """One printed number.

    Attributes:
        paper: the method's name. where: table or figure, None where only the text gives it. method: as the paper calls it.
        metric: the row's name for it; ``lpips`` where the paper does not name the backbone.
        kind: ``value``, or ``difference`` or ``percent`` against the method ``against``.
        dataset, channel, snr_db, cbr: its conditions, None where the paper does not state one or averages over it.
        plus_minus: its standard deviation, if printed. note: what else sets it apart.
    """

    paper: str
    where: str | None
    method: str
    metric: str
    value: float
    kind: Literal["value", "difference", "percent"]
    against: str | None
    dataset: str
    channel: str | None
    snr_db: float | None
    cbr: float | None
    plus_minus: float | None
    note: str

    def matches(self, setting: Setting, metric: str) -> bool:
        """Same channel, SNR and metric, and CBR within 2.5 %: image and side symbols, as papers count, of two digits."""
        cbr = setting.cbr.get("image", setting.cell.cbr)
        return (
            (metric == self.metric or metric.startswith(self.metric + "_"))
            and (self.channel, self.snr_db) == (setting.cell.channel, setting.cell.snr_db)
            and self.cbr is not None
            and abs(cbr - self.cbr) <= 0.025 * self.cbr
        )


@dataclass(frozen=True)
class Comparison:
    """``ours``: indices of settings. ``theirs``: the papers' numbers for the same metric and conditions."""

    metric: str
    ours: tuple[int, ...]
    theirs: tuple[PaperNumber, ...]


def titles() -> dict[str, str]:
    """Authors and title by paper."""
    return {spec.name: f"{spec.authors}, {spec.title}, {spec.reference}" for spec in specs().values() if spec.reference}


@cache
def numbers() -> tuple[PaperNumber, ...]:
    """Every number."""
    found: list[PaperNumber] = []
    for spec in specs().values():
        if spec.reference and (path := files(spec.package) / "numbers.json").is_file():
            found += (PaperNumber(paper=spec.name, **number) for number in json.loads(path.read_text("utf-8")))
    return tuple(found)


def protocols() -> dict[str, Protocol]:
    """How papers measure, by METHOD, and by METHOD:DATA where they do so otherwise with other data."""
    own = {spec.name: spec.protocol for spec in specs().values() if spec.protocol is not None}
    return own | {f"{spec.name}:{data}": other for spec in specs().values() for data, other in spec.protocols.items()}


def protocol(name: str) -> Protocol:
    """A method's protocol, by one of the names of :func:`protocols` or by the protocol's alias.

    Raises:
        InputError: there is none.
    """
    known = protocols()
    for found in known.values():
        if found.alias == name != "":
            return found
    if name not in known:
        raise InputError(f"--protocol: {name!r} is no method whose paper measures; there is: {', '.join(known)}")
    return known[name]


def beside(found: Sequence[Setting]) -> list[Comparison]:
    """The papers' numbers that some setting matches, gathered by metric and conditions."""
    groups: dict[tuple[str, tuple[int, ...]], list[PaperNumber]] = defaultdict(list)
    for metric in in_order({name for setting in found for name in setting.values}):
        for number in numbers():
            ours = tuple(i for i, s in enumerate(found) if metric in s.values and number.matches(s, metric))
            if ours:
                groups[metric, ours].append(number)
    return [Comparison(metric, ours, tuple(theirs)) for (metric, ours), theirs in groups.items()]
