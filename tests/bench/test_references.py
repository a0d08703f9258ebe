"""Published codecs beside ours: where they stand on an axis, and on which charts."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gencomm_cli.bench import references
from gencomm_cli.bench.settings import Chart, charts
from tests.bench.test_report import data_of, found, row, write
from tests.support.commands import Result


def drawn(*points: tuple[float, float], **cell: Any) -> list[Chart]:
    settings = found(*(row(snr=snr, cbr=cbr, **cell) for snr, cbr in points))
    return [references.beside(chart, settings) for chart in charts(settings)]


def places(chart: Chart, system: str) -> dict[float, float]:
    (line,) = (line for line in chart.references if line.label.startswith(system))
    return {round(x, 5): value for x, value, _ in line.points}


def test_at_capacity_0_0033_carries_the_published_rates_at_1_and_10_db() -> None:
    """3·0.0033·log₂(1 + 10) = 0.0342 and 3·0.0033·log₂(1 + 1.2589) = 0.0116 bits a pixel."""
    (chart,) = drawn((1, 0.0033), (10, 0.0033))
    snr = sorted(places(chart, "StableCodec").items())
    assert [x for x, _ in snr] == pytest.approx([1, 10], abs=0.03)  # published as rounded bits
    assert [value for _, value in snr] == [0.239, 0.166]
    assert [*places(chart, "PerCo").values()] == [0.30]


def test_over_cbr_they_stand_where_the_same_bits_are_carried() -> None:
    (chart,) = drawn((0, 0.002), (0, 0.01))
    assert places(chart, "StableCodec") == pytest.approx({round(0.0342 / 3, 5): 0.166, round(0.0116 / 3, 5): 0.239})


@pytest.mark.parametrize(
    ("points", "cell"),
    [
        ([(1, 0.0033), (10, 0.0033)], {"channel": "rayleigh"}),
        ([(math.inf, 0.002), (math.inf, 0.01)], {}),
    ],
    ids=["fading", "no noise"],
)
def test_elsewhere_there_is_none(points: list[tuple[float, float]], cell: dict[str, Any]) -> None:
    (chart,) = drawn(*points, **cell)
    assert chart.references == ()


def test_every_figure_has_a_source_and_says_how_it_was_had() -> None:
    for each in references.published():
        assert each.source
        assert all(0 < bpp < 0.1 and 0 < lpips < 1 and how for bpp, lpips, how in each.points)


def test_they_are_in_the_report_where_they_are_asked_for(here: Callable[..., Result], tmp_path: Path) -> None:
    rows = [row(snr=snr, metrics={"lpips_alex": 0.3}) for snr in (1.0, 10.0)]
    write(tmp_path / "bench", *rows)
    plots = []
    for flags in ((), ("--references",)):
        assert here("bench", "report", "bench", *flags).returncode == 0
        plots.append((tmp_path / "bench/plots/lpips_alex-vs-snr-awgn.svg").read_bytes())
        (chart,) = data_of(tmp_path / "bench/report.html")["charts"]
        assert len(chart["references"]) == (7 if flags else 0)
    assert len(plots[1]) > len(plots[0])
