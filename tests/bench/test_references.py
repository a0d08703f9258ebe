"""Published codecs beside ours: where they stand on an axis, and on which charts."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gencomm_cli.bench import references
from gencomm_cli.bench.settings import Chart, charts
from gencomm_cli.errors import InputError
from tests.bench.test_report import data_of, found, row, write
from tests.support.commands import Result


def drawn(*points: tuple[float, float], **cell: Any) -> list[Chart]:
    settings = found(*(row(snr=snr, cbr=cbr, **cell) for snr, cbr in points))
    return [references.beside(chart, settings, references.codecs()) for chart in charts(settings)]


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
    for each in references.codecs():
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


CURVE: dict[str, Any] = {
    "label": "Theirs, table 2",
    "source": "arXiv:2501.00001",
    "metric": "psnr",
    "cbr": 0.0033,
    "points": [[1, 20.5], [10, 22]],
}


def report(here: Callable[..., Result], folder: Path, *curves: object) -> Result:
    (folder / "theirs.json").write_text(json.dumps(list(curves)))
    return here("bench", "report", "bench", "--published", "theirs.json")


def test_curves_of_the_users_are_drawn_where_they_belong(here: Callable[..., Result], tmp_path: Path) -> None:
    """Over SNR at their CBR, over CBR at their SNR; a curve that no plot can have is named."""
    write(tmp_path / "bench", *(row(snr=snr, cbr=0.0033, metrics={"psnr": 21.0}) for snr in (1.0, 10.0)))
    over_cbr = {**CURVE, "label": "over CBR", "snr_db": 10, "points": [[0.001, 20]]}
    del over_cbr["cbr"]
    elsewhere = [{**CURVE, "label": word, **other} for word, other in (
        ("faded", {"channel": "rayleigh"}), ("at twice the rate", {"cbr": 0.0066}), ("of no row", {"metric": "fid"}),
    )]  # fmt: skip
    said = report(here, tmp_path, CURVE, over_cbr, *elsewhere)
    assert said.returncode == 0
    assert [line.split(": ")[1] for line in said.stderr.decode().splitlines() if line.startswith("--published")] == [
        "over CBR", "faded", "at twice the rate", "of no row"
    ]  # fmt: skip
    page = data_of(tmp_path / "bench/report.html")
    (chart,) = page["charts"]
    assert [(line["label"], line["points"]) for line in chart["references"] if line["metric"] == "psnr"] == [
        (CURVE["label"], [[1, 20.5, "as published"], [10, 22, "as published"]])
    ]
    assert page["sources"][CURVE["label"]] == CURVE["source"]
    assert CURVE["label"] in (tmp_path / "bench/plots/psnr-vs-snr-awgn.svg").read_text()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cbr": 0}, "[0].cbr: 0 is not a number from 1e-09 to 1"),
        ({"snr_db": 3}, "[0]: give cbr for points over the SNR in dB, or snr_db for points over the CBR"),
        ({"points": [[1, 2, 3]]}, "[0].points: [[1, 2, 3]] is not a list of 1 to 1000 pairs [x, value]"),
        ({"points": [[1, 1e999]]}, "the file is not JSON (1e999 is no finite number)"),
        ({"label": "a\nb"}, "[0].label: 'a\\nb' is not 1 to 200 letters"),
        ({"colour": "red"}, "[0].'colour' is a field that this version of gencomm does not know"),
    ],
)
def test_a_curve_that_cannot_be_is_refused(change: dict[str, object], said: str, tmp_path: Path) -> None:
    path = tmp_path / "theirs.json"
    path.write_text(json.dumps([CURVE | change]).replace("Infinity", "1e999"))
    with pytest.raises(InputError) as error:
        references.read(path)
    assert str(error.value) == f"--published {path}: {said}"


def test_what_is_no_list_of_curves_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "theirs.json"
    for content, said in (("{}", "is not a JSON list of at most 100 curves"), ("[", "the file is not JSON")):
        path.write_text(content)
        with pytest.raises(InputError, match=said):
            references.read(path)
    with pytest.raises(InputError, match="is a folder"):
        references.read(tmp_path)
