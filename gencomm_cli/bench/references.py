"""Published codecs beside ours, as if an ideal channel code carried their bits: a bound, as no code reaches capacity.

Over AWGN at capacity, a CBR of ρ carries 3·ρ·log₂(1 + SNR) bits a pixel. ``data/references.json`` holds what was published: LPIPS
(AlexNet) on Kodak by bits a pixel, between published points interpolated over the logarithm of the bits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

from gencomm_cli.bench.settings import Chart, ReferenceLine, Setting

METRIC = "lpips_alex"
TERMS = (
    "Grey: published codecs on Kodak (LPIPS, AlexNet) with an ideal channel code, a bound: at capacity, a CBR of ρ carries "
    "3·ρ·log₂(1 + SNR) bit a pixel over AWGN, without loss or header. Compare them with means over Kodak alone."
)


@dataclass(frozen=True)
class Published:
    """``points``: bits a pixel, LPIPS, and how the figure was had. ``source``: the project's file with its figures."""

    system: str
    source: str
    points: tuple[tuple[float, float, str], ...]

    @property
    def label(self) -> str:
        """Of its curve."""
        return f"{self.system} + ideal code"


@cache
def published() -> tuple[Published, ...]:
    """All of them."""
    entries = json.loads((files("gencomm_cli.bench") / "data" / "references.json").read_text("utf-8"))
    return tuple(Published(each["system"], each["source"], tuple(map(tuple, each["points"]))) for each in entries)


def beside(chart: Chart, found: Sequence[Setting]) -> Chart:
    """The chart with the published codecs in it, where it is over SNR at one CBR, or over CBR at one SNR, of AWGN."""
    cells = [found[index].cell for curve in chart.curves for _, index in curve.points]
    held = {cell.cbr if chart.axis == "snr_db" else cell.snr_db for cell in cells}
    if chart.channel != "awgn" or chart.axis not in ("snr_db", "cbr") or len(held) != 1 or not math.isfinite(value := held.pop()):
        return chart

    def place(bpp: float) -> float:
        if chart.axis == "cbr":
            return bpp / (3 * math.log2(1 + 10 ** (value / 10)))
        return 10 * math.log10(2 ** (bpp / (3 * value)) - 1)

    lines = (
        ReferenceLine(each.label, METRIC, tuple(sorted((place(bpp), lpips, how) for bpp, lpips, how in each.points)))
        for each in published()
    )
    return replace(chart, references=tuple(lines))


def styles() -> dict[str, tuple[int, str, int]]:
    """By label, as :func:`gencomm_cli.bench.settings.styles`; the colour −1 is grey."""
    return {each.label: (-1, "1.5 3", index) for index, each in enumerate(published())}
