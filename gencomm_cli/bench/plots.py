"""Figures for a paper, one column wide, by matplotlib."""

from __future__ import annotations

import io
import itertools
import logging
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from gencomm_cli.bench.layout import lay_out
from gencomm_cli.bench.quantities import CHANNELS, NOT_QUALITY, compact, in_order, quantity
from gencomm_cli.bench.settings import Chart, Setting, held_text, short, styles, title
from gencomm_cli.errors import imported

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555")
"""Okabe and Ito's, which colour-blind readers tell apart; yellow, too faint on white, left out."""
GREY = "#808080"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
WIDTH, AXES_HEIGHT = 3.5, 2.1
"""Inches: of a column, and of the axes alone."""
_STYLE: Any = {
    "font.family": "STIXGeneral", "mathtext.fontset": "stix", "font.size": 9, "axes.labelsize": 9, "legend.fontsize": 7.5,
    "xtick.labelsize": 8, "ytick.labelsize": 8, "xtick.direction": "in", "ytick.direction": "in", "xtick.top": True,
    "ytick.right": True, "axes.grid": True, "grid.linewidth": 0.4, "grid.alpha": 0.5, "axes.axisbelow": True,
    "axes.linewidth": 0.6, "lines.linewidth": 1.1, "lines.markersize": 4, "svg.hashsalt": "gencomm", "savefig.dpi": 300,
}  # fmt: skip


def require() -> None:
    """Raises InputError where matplotlib is missing."""
    imported("matplotlib", "plots: matplotlib is not installed; run `pip install 'gencomm[plots]'`")


def names(found: Sequence[Setting], chart: Chart) -> list[str]:
    """The quality metrics that at least one curve of the chart has at two points."""
    every = in_order({name for s in found for name in s.values} - set(NOT_QUALITY))
    return [n for n in every if any(len({x for x, i in curve.points if n in found[i].values}) > 1 for curve in chart.curves)]


def stem(name: str, chart: Chart) -> str:
    """File name without suffix: quantity, axis, channel and what is held, of harmless characters only."""
    held = (f"{short(axis)}{compact(value)}" for axis, value in chart.held.items())
    words = (name, "vs", short(chart.axis), chart.channel, *held)
    return re.sub(r"[^A-Za-z0-9.\-]+", "_", "-".join(words).replace("∞", "inf"))[:120].lower().lstrip(".")


def draw(
    found: Sequence[Setting], charts: Sequence[Chart], others: dict[str, tuple[int, str, int]]
) -> Iterator[tuple[str, bytes, bytes]]:
    """Stem, PNG and SVG of every quantity on every chart. The same input gives the same bytes. ``others``: styles of references."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    looks = styles(found) | others
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a method's name may hold characters that the font lacks
        for chart, name in ((c, name) for c in charts for name in names(found, c)):
            figure = _figure(found, chart, name, looks)
            FigureCanvasAgg(figure)
            png, svg = io.BytesIO(), io.BytesIO()
            figure.savefig(png, format="png")
            figure.savefig(svg, format="svg", metadata={"Date": None})
            yield stem(name, chart), png.getvalue(), svg.getvalue()


def _figure(found: Sequence[Setting], chart: Chart, name: str, looks: dict[str, tuple[int, str, int]]) -> Figure:
    """The curves over the legend. In every figure the axes are of one size, so that they align on a page."""
    from matplotlib.figure import Figure

    labels = [curve.label for curve in chart.curves if any(name in found[i].values for _, i in curve.points)]
    labels += [line.label for line in chart.references if line.metric == name]
    columns = 1 if any(len(label) > 26 for label in labels) else 2
    below = 0.46 + 0.155 * math.ceil(len(labels) / columns)
    height = below + AXES_HEIGHT + 0.25
    figure = Figure(figsize=(WIDTH, height))
    axes = figure.add_axes((0.6 / WIDTH, below / height, (WIDTH - 0.7) / WIDTH, AXES_HEIGHT / height))
    _curves(axes, found, chart, name, looks)
    axes.yaxis.set_label_coords(-0.46 / (WIDTH - 0.7), 0.5)
    theirs = {_plain(line.label) for line in chart.references}
    named = sorted(zip(*axes.get_legend_handles_labels(), strict=True), key=lambda each: each[1] in theirs)
    figure.legend(
        *zip(*named, strict=True),
        loc="lower center",
        ncols=columns,
        frameon=False,
        handlelength=2.6,
        columnspacing=1.2,
        borderaxespad=0.1,
        borderpad=0.1,
    )
    return figure


def _curves(axes: Axes, found: Sequence[Setting], chart: Chart, name: str, looks: dict[str, tuple[int, str, int]]) -> None:
    layout = lay_out(chart)
    for curve in chart.curves:
        points = [(x, found[i].values[name]) for x, i in curve.points if name in found[i].values]
        if not points:
            continue
        colour, dash, marker = looks[curve.label]
        line: dict[str, Any] = {"color": COLOURS[colour % len(COLOURS)], "label": _plain(curve.label), "linestyle": _dash(dash)}
        if points[0][0] is None:
            axes.axhline(points[0][1].mean, **line)
            continue
        shape = MARKERS[marker % len(MARKERS)]
        x = [layout.places[x] for x, _ in points if x is not None]
        y = [e.mean if math.isfinite(e.mean) else math.nan for _, e in points]
        bars = axes.errorbar(x, y, [e.half or 0 for _, e in points], marker=shape, capsize=1.5, elinewidth=0.5, **line)
        for part in itertools.chain(bars.lines[1], bars.lines[2]):
            part.set_alpha(0.6)
        above = [place for place, (_, e) in zip(x, points, strict=True) if e.mean == math.inf]
        top = axes.get_xaxis_transform()
        axes.plot(above, [1] * len(above), "^", color=line["color"], transform=top, clip_on=False)
        for place in above:
            axes.annotate("∞", (place, 1), xycoords=top, xytext=(0, 3), textcoords="offset points", ha="center")
    for reference in (line for line in chart.references if line.metric == name):
        _, dash, marker = looks[reference.label]
        line = {"color": GREY, "label": _plain(reference.label), "linestyle": _dash(dash), "marker": MARKERS[marker % len(MARKERS)]}
        places, values = [x for x, _, _ in reference.points], [y for _, y, _ in reference.points]
        axes.plot(places, values, markerfacecolor="none", markeredgewidth=0.8, zorder=1.5, **line)
    means = [found[i].values[name].mean for curve in chart.curves for _, i in curve.points if name in found[i].values]
    means += [y for line in chart.references if line.metric == name for _, y, _ in line.points]
    lowest, highest = min(means), max(filter(math.isfinite, means), default=math.inf)
    if 0 < (spread := highest - lowest) < math.inf:  # intervals of two images may be many times as long, and are cut off
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, lowest - spread), min(high, highest + spread))
    axes.set_xscale("log" if layout.log else "linear")
    axes.set_xticks([place for place, _ in layout.ticks], [text for _, text in layout.ticks])
    axes.minorticks_off()
    axes.set_xlim(layout.low, layout.high)
    what = quantity(name)
    axes.set_xlabel(title(chart.axis))
    axes.set_ylabel(_plain(f"{what.label} ({what.unit})" if what.unit else what.label))
    held = held_text(chart.held)
    axes.set_title(_plain(CHANNELS.get(chart.channel, chart.channel) + (f", {held}" if held else "")), fontsize=9)


def _dash(pattern: str) -> str | tuple[int, tuple[float, ...]]:
    return (0, tuple(float(length) for length in pattern.split())) if pattern else "-"


def _plain(text: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f]", " ", text).replace("$", r"\$")
