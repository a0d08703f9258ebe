"""Rows that differ in image and repeat only are one setting; settings that differ along one axis only are one curve."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from gencomm_cli.bench.folder import Results, SetMetrics
from gencomm_cli.bench.quantities import CHANNELS, RATES, compact
from gencomm_cli.bench.rows import Cell, Row, common
from gencomm_cli.bench.statistics import Estimate, estimate

_AXES = ("snr_db", "cbr", "clip")
"""Of every method; options that are numbers are axes too."""
_TITLES = {
    "snr_db": "SNR (dB)",
    "cbr": "CBR, total (channel uses / 3HW)",
    "clip": "Clip ratio (∞: none)",
    "speed": "Speed (km/h)",
    "delay_spread": "RMS delay spread (s)",
}
_SHORT = {"snr_db": "SNR", "cbr": "CBR"}
_UNITS = {"snr_db": " dB", "speed": " km/h", "delay_spread": " s"}
_VARIANTS = {
    "preset": "", "prompt": "prompt ", "tx_snr_db": "tx SNR ", "csi": "csi ", "snr_type": "", "cbr_is_total": "",
    "outage": "outage ", "draws": "draws ", "version": "v", "weights_sha256": "weights ",
}  # fmt: skip
_BOUNDS = (":coarse", ":capacity")


@dataclass(frozen=True)
class Setting:
    """One point of the sweep.

    Attributes:
        cell: with image, prompt text, seed and repeat left blank.
        label: of its curve: the method, and what sets it apart from others of the same method.
        counts: rows by status. images: how many images count in the means (``ok`` and ``outage``).
        complete: no image of the bench is missing.
        cbr: measured, mean: ``total``, and ``image`` (with side information), which the papers count.
        values: by name of the quantity. notes: what is to be known of a value, by the same names.
    """

    cell: Cell
    label: str
    counts: Mapping[str, int]
    images: int
    complete: bool
    cbr: Mapping[str, float]
    values: Mapping[str, Estimate]
    notes: Mapping[str, str]

    @property
    def is_bound(self) -> bool:
        """It assumes an ideal code, so it competes for nothing."""
        return ":capacity" in self.cell.method

    @property
    def condition(self) -> tuple[str, float, float]:
        """Channel, SNR and requested CBR: what methods are compared at."""
        return self.cell.channel, self.cell.snr_db, self.cell.cbr


@dataclass(frozen=True)
class Curve:
    """``points``: x (None: the curve does not depend on the axis) and the index of the setting."""

    label: str
    points: tuple[tuple[float | None, int], ...]


@dataclass(frozen=True)
class ReferenceLine:
    """What others published of one metric. ``points``: x, value, and how it was had."""

    label: str
    metric: str
    points: tuple[tuple[float, float, str], ...]


@dataclass(frozen=True)
class Chart:
    """Curves over ``axis`` on one channel, with the other axes held at the values of ``held``, and what they are compared with."""

    axis: str
    channel: str
    held: Mapping[str, float | None]
    curves: tuple[Curve, ...]
    references: tuple[ReferenceLine, ...] = ()


def settings(results: Results) -> tuple[list[Setting], list[str]]:
    """All settings in the order of a table, and one line for each set metric that belongs to none or to several of them."""
    groups: dict[Cell, list[Row]] = defaultdict(list)
    for row in results.rows:
        groups[common(row.cell)].append(row)
    everything = {_image(row) for row in results.rows}
    axes = option_axes(groups)
    labels = _labels(groups, axes)
    order = {label: index for index, label in enumerate(dict.fromkeys(labels.values()))}
    sets, strays = _matched(results.sets, groups)
    found = [_setting(cell, labels[cell], rows, len(everything), sets.get(cell, ())) for cell, rows in groups.items()]
    found.sort(key=lambda s: (*s.condition, order[s.label], *(s.cell.number(axis) or 0 for axis in axes)))
    return found, strays


def option_axes(cells: Iterable[Cell]) -> list[str]:
    """The options that are numbers and take several values."""
    taken: dict[str, set[float | None]] = defaultdict(set)
    for cell in cells:
        for name, _ in cell.options:
            taken[name].add(cell.number(name))
    return [name for name, values in sorted(taken.items()) if len(values) > 1 and None not in values]


def title(axis: str) -> str:
    """What is written along an axis: an option by its name."""
    return _TITLES.get(axis) or short(axis).capitalize()


def short(axis: str) -> str:
    """The axis within a line."""
    return _SHORT.get(axis) or axis.replace("_", " ")


def value_at(cell: Cell, axis: str) -> float | None:
    """Where on the axis a cell is; None where it does not depend on it."""
    return getattr(cell, axis) if axis in _AXES else cell.number(axis)


def charts(found: Sequence[Setting]) -> list[Chart]:
    """Every chart on which at least one curve has two points; CBR is the measured total.

    Where the clip ratio varies it is an axis, and channels that differ in nothing else are one.
    """
    options = option_axes(s.cell for s in found)
    every = ("snr_db", "cbr", *options, "clip")
    axes = [axis for axis in every if len({value for s in found if (value := value_at(s.cell, axis)) is not None}) > 1]
    chosen: dict[tuple[str, str], set[float | None]] = defaultdict(set)
    for s, axis in itertools.product(found, options):
        chosen[s.label, axis].add(value_at(s.cell, axis))
    free = {key for key, some in chosen.items() if len(some) == 1}  # such a curve is drawn whatever the others are held at
    places: dict[str, list[int]] = defaultdict(list)
    for index, s in enumerate(found):
        places[s.cell.unclipped if "clip" in axes else s.cell.channel].append(index)
    taken = {axis: {value_at(s.cell, axis) for s in found if (s.label, axis) not in free} for axis in axes}
    values = {axis: sorted(some, key=lambda value: -math.inf if value is None else value) for axis, some in taken.items()}
    result = []
    for axis, channel in itertools.product(axes, places):
        clipped = any(found[index].cell.clip is not None for index in places[channel])
        others = [other for other in axes if other != axis and (other != "clip" or clipped)]
        for held in (dict(zip(others, point, strict=True)) for point in itertools.product(*(values[other] for other in others))):
            points: dict[str, list[tuple[float | None, int]]] = defaultdict(list)
            for index in places[channel]:
                s = found[index]
                if all((s.label, a) in free or value_at(s.cell, a) == v for a, v in held.items()):
                    x = s.cbr.get("total", s.cell.cbr) if axis == "cbr" else value_at(s.cell, axis)
                    if s.values and (x is not None or (s.label, axis) in free):
                        points[s.label].append((x, index))
            if any(len({x for x, _ in curve}) > 1 for curve in points.values()):
                curves = (Curve(label, tuple(sorted(curve, key=lambda point: point[0] or 0))) for label, curve in points.items())
                result.append(Chart(axis, channel, held, tuple(curves)))
    return result


def styles(found: Sequence[Setting]) -> dict[str, tuple[int, str, int]]:
    """By label: index of the colour, dash pattern, index of the marker. METHOD:coarse and METHOD:capacity share METHOD's colour."""
    labels = sorted(dict.fromkeys(s.label for s in found), key=lambda label: any(bound in label for bound in _BOUNDS))
    families: dict[str, int] = {}
    looks = {}
    for index, label in enumerate(labels):
        family = label.replace(":coarse", "").replace(":capacity", "")
        dash = "5 3" if ":coarse" in label else "1.5 2.5" if ":capacity" in label else ""
        looks[label] = families.setdefault(family, len(families)), dash, index
    return looks


def condition_text(condition: tuple[str, float, float]) -> str:
    """``AWGN, 10 dB, CBR 0.0033``."""
    channel, snr, cbr = condition
    return f"{CHANNELS.get(channel, channel)}, {compact(snr)} dB, CBR {compact(cbr)}"


def held_text(held: Mapping[str, float | None]) -> str:
    """``SNR 10, steps 5``."""
    return ", ".join(f"{short(axis)} {compact(value)}{_UNITS.get(axis, '')}" for axis, value in held.items())


def _setting(cell: Cell, label: str, rows: list[Row], images: int, given: Sequence[SetMetrics]) -> Setting:
    scored = [row for row in rows if row.status in ("ok", "outage")]
    samples: dict[str, dict[tuple[str, str], list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in scored:
        for name, value in _quantities(row).items():
            if value is not None:
                samples[name][_image(row)].append(value)
    values = {name: estimate(by_image) for name, by_image in samples.items()}
    values = {name: replace(value, half=None) if name in RATES else value for name, value in values.items()}
    values |= {name: Estimate(value, None, some.count) for some in given for name, value in some.metrics.items()}
    totals = [row.cbr["total"] for row in scored if row.cbr.get("total") is not None]
    papers = [(row.cbr["image"] or 0) + (row.cbr.get("side") or 0) for row in scored if row.cbr.get("image") is not None]
    cbr = {name: math.fsum(v or 0 for v in some) / len(some) for name, some in (("total", totals), ("image", papers)) if some}
    notes = {name: some.note for some in given if some.note for name in some.metrics}
    present = len({_image(row) for row in scored})
    return Setting(cell, label, Counter(row.status for row in rows), present, present == images, cbr, values, notes)


def _quantities(row: Row) -> dict[str, float | None]:
    return {
        **row.metrics,
        **row.signal,
        "prompt_error_rate": None if row.prompt_ok is None else 100.0 * (not row.prompt_ok),
        "side_error_rate": None if row.side_ok is None else 100.0 * (not row.side_ok),
        "outage_rate": 100.0 * (row.status == "outage"),
        "encode_seconds": row.seconds.get("encode"),
        "decode_seconds": row.seconds.get("decode"),
    }


def _image(row: Row) -> tuple[str, str]:
    return row.cell.image, row.cell.image_sha256


def _labels(cells: Iterable[Cell], axes: Sequence[str]) -> dict[Cell, str]:
    """The method, and what sets a cell apart from others of it, less what is an axis."""
    cells = list(cells)
    labels = {}
    for cell in cells:
        alike = [other for other in cells if other.method == cell.method]
        varied = [name for name in _VARIANTS if len({getattr(other, name) for other in alike}) > 1]
        words = [f"{_VARIANTS[name]}{_word(getattr(cell, name), name)}" for name in varied]
        for name, value in cell.options:
            if name not in axes and len({other.option(name) for other in alike}) > 1:
                words.append(f"{name.replace('_', '-')} {value}")
        label = ", ".join((cell.method, *filter(None, words)))
        label = label.encode("utf-8", "replace").decode()  # a folder's name may be no UTF-8, which no plot takes
        labels[cell] = label if len(label) <= 80 else label[:79] + "…"
    return labels


def _word(value: object, name: str) -> str:
    if name == "cbr_is_total":
        return "total CBR" if value else "image CBR"
    return str(value)[:8] if name == "weights_sha256" else compact(value) if isinstance(value, float) else str(value)


def _matched(sets: Iterable[SetMetrics], cells: Iterable[Cell]) -> tuple[dict[Cell, list[SetMetrics]], list[str]]:
    documents = {cell: cell.to_json() for cell in cells}
    matched: dict[Cell, list[SetMetrics]] = defaultdict(list)
    strays = []
    for given in sets:
        fitting = [cell for cell in documents if given.setting.items() <= documents[cell].items()]
        if len(fitting) == 1:
            matched[fitting[0]].append(given)
        else:
            where = ", ".join(f"{name} {value}" for name, value in given.setting.items())
            what = "no setting" if not fitting else f"{len(fitting)} settings"
            strays.append(f"sets.jsonl: {', '.join(given.metrics)} of {what} ({where}) was left out")
    return matched, strays
