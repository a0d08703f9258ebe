"""Where a chart's x values are drawn, and its ticks: the same for the plots and for the report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from gencomm_cli.bench.settings import Chart


@dataclass(frozen=True)
class Layout:
    """``places``: position by x; ∞ stands one step beyond the last. ``ticks``: positions and texts. ``low``, ``high``: the ends."""

    log: bool
    places: Mapping[float, float]
    ticks: tuple[tuple[float, str], ...]
    low: float
    high: float


def lay_out(chart: Chart) -> Layout:
    """All axes but SNR and clip ratio are logarithmic where the largest x is eight times the smallest or more; CBR, being measured,
    has round ticks."""
    values = {x for curve in chart.curves for x, _ in curve.points if x is not None}
    finite = sorted(x for x in values if math.isfinite(x)) or [0.0]
    log = chart.axis not in ("snr_db", "clip") and finite[0] > 0 and finite[-1] >= 8 * finite[0]
    places = {x: x for x in finite}
    if math.inf in values:
        places[math.inf] = finite[-1] + (finite[-1] - finite[-2] if len(finite) > 1 else 1)
    first, last = _scale(finite[0], log), _scale(max(places.values()), log)
    margin = 0.05 * (last - first) or 0.5
    low, high = (10 ** (first - margin), 10 ** (last + margin)) if log else (first - margin, last + margin)
    ticks: list[tuple[float, str]] = []
    for x, place in _round(low, high, log) if chart.axis == "cbr" else places.items():
        if not ticks or _scale(place, log) - _scale(ticks[-1][0], log) > 0.06 * (last - first):
            ticks.append((place, f"{x:.4g}" if math.isfinite(x) else "∞"))
    return Layout(log, places, tuple(ticks), low, high)


def _scale(value: float, log: bool) -> float:
    return math.log10(value) if log else value


def _round(low: float, high: float, log: bool) -> list[tuple[float, float]]:
    """The numbers 1, 2, 5 times a power of ten in a logarithmic range, or four to nine multiples of one in a linear range."""
    powers = range(math.floor(math.log10(low)) if log else math.floor(math.log10(high - low)) - 2, math.ceil(math.log10(high)) + 1)
    steps = [float(f"{m}e{power}") for power in powers for m in (1, 2, 5)]
    if not log:
        step = next((step for step in steps if (high - low) / step <= 7), steps[-1])
        steps = [float(f"{k * step:.12g}") for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return [(step, step) for step in steps if low <= step <= high]
