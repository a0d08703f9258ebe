"""What others published, beside ours: codecs as if an ideal channel code carried their bits, and numbers of the user's own.

No code reaches capacity, so the first are a bound. Over AWGN at capacity, a CBR of ρ carries 3·ρ·log₂(1 + SNR) bits a pixel.
``data/references.json`` holds what was published: LPIPS (AlexNet) on Kodak by bits a pixel, between published points interpolated
over the logarithm of the bits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path

from gencomm_cli.bench.channels import name as channel_name
from gencomm_cli.bench.settings import Chart, ReferenceLine, Setting
from gencomm_cli.errors import InputError
from gencomm_cli.symbols import fields
from gencomm_cli.textfiles import decoded, parse_json, read_bytes

METRIC = "lpips_alex"
MAX_BYTES, MAX_CURVES, MAX_POINTS = 1 << 20, 100, 1000
"""Of a file of the user's."""


@dataclass(frozen=True)
class IdealCode:
    """A published codec. ``points``: bits a pixel, LPIPS, and how the figure was had. ``source``: the project's file with them."""

    terms = (
        "Grey: published codecs on Kodak (LPIPS, AlexNet) with an ideal channel code, a bound: at capacity, a CBR of ρ carries "
        "3·ρ·log₂(1 + SNR) bit a pixel over AWGN, without loss or header. Compare them with means over Kodak alone."
    )
    system: str
    source: str
    points: tuple[tuple[float, float, str], ...]

    @property
    def label(self) -> str:
        """Of its curve."""
        return f"{self.system} + ideal code"

    def line(self, axis: str, channel: str, held: float) -> ReferenceLine | None:
        """Its curve over ``axis``, the other one of SNR in dB and CBR being ``held``; None over fading and without noise."""
        if channel != "awgn" or not math.isfinite(held):
            return None

        def place(bpp: float) -> float:
            if axis == "cbr":
                return bpp / (3 * math.log2(1 + 10 ** (held / 10)))
            return 10 * math.log10(2 ** (bpp / (3 * held)) - 1)

        return ReferenceLine(self.label, METRIC, tuple(sorted((place(bpp), lpips, how) for bpp, lpips, how in self.points)))


@dataclass(frozen=True)
class Published:
    """A published curve of one metric. ``points``: x and value, over CBR where ``snr_db`` is held, over SNR where ``cbr`` is."""

    terms = "Grey, with a source of their own: as published, on the images and by the rules of that source."
    label: str
    source: str
    metric: str
    points: tuple[tuple[float, float], ...]
    channel: str = "awgn"
    cbr: float | None = None
    snr_db: float | None = None

    def line(self, axis: str, channel: str, held: float) -> ReferenceLine | None:
        """Its curve, where it is over that axis of that channel, and what is held there is within 2 % of what is held here."""
        own = self.cbr if axis == "snr_db" else self.snr_db
        if own is None or channel != self.channel or not math.isclose(own, held, rel_tol=0.02):
            return None
        return ReferenceLine(self.label, self.metric, tuple((x, value, "as published") for x, value in sorted(self.points)))


Reference = IdealCode | Published


@cache
def codecs() -> tuple[IdealCode, ...]:
    """The published codecs that come along."""
    entries = json.loads((files("gencomm_cli.bench") / "data" / "references.json").read_text("utf-8"))
    return tuple(IdealCode(each["system"], each["source"], tuple(map(tuple, each["points"]))) for each in entries)


def read(path: Path) -> tuple[Published, ...]:
    """The curves of a JSON file: a list of objects with the fields of :class:`Published`, ``cbr`` or ``snr_db`` among them.

    Raises:
        InputError: it cannot be read, or holds something else.
    """
    data = read_bytes(path, MAX_BYTES, "a file of JSON")
    try:
        entries = parse_json(decoded(data), "the file")
        if not isinstance(entries, list) or len(entries) > MAX_CURVES:
            raise InputError(f"is not a JSON list of at most {MAX_CURVES} curves")
        return tuple(_published(f"[{index}]", entry) for index, entry in enumerate(entries))
    except InputError as error:
        raise InputError(f"--published {path}: {error}") from None


def _published(where: str, entry: object) -> Published:
    text = fields.rule(lambda value: isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable(), "1 to 200 letters")
    pair = fields.rule(
        lambda value: (
            isinstance(value, list)
            and 0 < len(value) <= MAX_POINTS
            and all(isinstance(p, list) and len(p) == 2 and all(type(n) in (int, float) and abs(n) < 1e9 for n in p) for p in value)
        ),
        f"a list of 1 to {MAX_POINTS} pairs [x, value]",
        lambda value: tuple((float(x), float(y)) for x, y in value),
    )
    rules = {
        "label": text, "source": text, "metric": text, "points": pair, "channel": lambda value: channel_name(text(value)),
        "cbr": fields.number(1e-9, 1), "snr_db": fields.number(-100, 100),
    }  # fmt: skip
    found = fields.read(where, entry, rules, ("channel", "cbr", "snr_db"))
    if ("cbr" in found) == ("snr_db" in found):
        raise InputError(f"{where}: give cbr for points over the SNR in dB, or snr_db for points over the CBR")
    return Published(**found)


def beside(chart: Chart, found: Sequence[Setting], references: Sequence[Reference]) -> Chart:
    """The chart with those of ``references`` that belong there, where it is over SNR at one CBR, or over CBR at one SNR."""
    cells = [found[index].cell for curve in chart.curves for _, index in curve.points]
    held = {cell.cbr if chart.axis == "snr_db" else cell.snr_db for cell in cells}
    if chart.axis not in ("snr_db", "cbr") or len(held) != 1:
        return chart
    (value,) = held
    lines = (each.line(chart.axis, chart.channel, value) for each in references)
    return replace(chart, references=tuple(line for line in lines if line))


def styles(references: Sequence[Reference]) -> dict[str, tuple[int, str, int]]:
    """By label, as :func:`gencomm_cli.bench.settings.styles`; the colour −1 is grey."""
    return {each.label: (-1, "1.5 3", index) for index, each in enumerate(references)}
