"""A small bench folder with figures that are worked out by hand."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gencomm_cli.bench import folder, gallery, papers, tables
from gencomm_cli.bench.folder import Results, SetMetrics
from gencomm_cli.bench.layout import lay_out
from gencomm_cli.bench.report import write_report
from gencomm_cli.bench.rows import Cell, Row
from gencomm_cli.bench.settings import Setting, charts, settings, styles
from gencomm_cli.bench.statistics import estimate
from gencomm_cli.bench.store import image_file
from gencomm_cli.errors import InputError


def row(image: str = "a.png", method: str = "textguided", snr: float = 1.0, status: Any = "ok", **change: Any) -> Row:
    options = {name: str(change.pop(name)) for name in ("steps", "guidance_scale", "zeta", "variant") if name in change}
    change["options"] = tuple(options.items())
    names = Cell.__dataclass_fields__.keys()
    fields = {name: value for name, value in change.items() if name in names}
    values = {name: value for name, value in change.items() if name not in names}
    cell = Cell(image, "0" * 64, method, "nano", "w", snr_db=snr, **{"channel": "awgn", "cbr": 0.0033, "version": "1.0", **fields})
    cbr: dict[str, float | None] = {"requested": cell.cbr, "image": cell.cbr, "prompt": 0.0007, "total": cell.cbr + 0.0007}
    return Row(cell, status, **{"cbr": cbr, "metrics": {"psnr": 20.0}, "size": (48, 64), **values})


def results(*rows: Row, sets: tuple[SetMetrics, ...] = ()) -> Results:
    return Results(rows, sets, ())


def found(*rows: Row, sets: tuple[SetMetrics, ...] = ()) -> list[Setting]:
    return settings(results(*rows, sets=sets))[0]


def write(where: Path, *rows: Row, more: str = "") -> Path:
    (where / "images").mkdir(parents=True, exist_ok=True)
    (where / "rows.jsonl").write_text("".join(json.dumps(r.to_json()) + "\n" for r in rows) + more)
    return where


def data_of(html: Path) -> dict[str, Any]:
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', html.read_text(), re.DOTALL)
    assert block
    document: dict[str, Any] = json.loads(block[1])
    return document


def picture(path: Path, level: int, size: tuple[int, int] = (64, 48)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, level, level)).save(path)


def test_the_clip_ratio_is_an_axis_where_it_varies() -> None:
    """Nothing clipped stands at ∞; other channels keep their charts, and one ratio alone is part of the channel's name."""
    channels = ("awgn", "multipath", "multipath:clip=0.8:cp=0", "multipath:clip=1.2", "multipath:clip=0.8")
    several = charts(found(*(row(channel=channel, snr=snr) for channel in channels for snr in (1.0, 5.0))))
    clipped = [chart for chart in several if chart.axis == "clip"]
    assert [(chart.channel, dict(chart.held)) for chart in clipped] == [
        ("multipath", {"snr_db": 1.0}),
        ("multipath", {"snr_db": 5.0}),
    ]
    assert [x for x, _ in clipped[0].curves[0].points] == [0.8, 1.2, math.inf]
    assert [(chart.channel, dict(chart.held)) for chart in several if chart.axis == "snr_db"] == [
        ("awgn", {}), ("multipath", {"clip": 0.8}), ("multipath", {"clip": 1.2}), ("multipath", {"clip": math.inf}),
        ("multipath:cp=0", {"clip": 0.8}),
    ]  # fmt: skip
    alone = charts(found(*(row(channel=channel, snr=snr) for channel in ("awgn", "multipath:clip=0.8") for snr in (1.0, 5.0))))
    assert [(chart.channel, dict(chart.held)) for chart in alone] == [("awgn", {}), ("multipath:clip=0.8", {})]


def test_interval_by_hand() -> None:
    # images 20, 22, 27: mean 23, deviations -3, -1, 4, s² = 26/2 = 13; t of 2 degrees of freedom is 4.30265
    value = estimate({"a": [20.0], "b": [21.0, 23.0], "c": [27.0]})
    assert value.mean == 23
    assert value.half == pytest.approx(4.30265 * math.sqrt(13 / 3), rel=1e-5)
    assert value.count == 3


def test_one_image_takes_its_repeats_one_sample_and_infinity_have_no_interval() -> None:
    # 1, 3: mean 2, s² = 2, half = 12.7062 · √(2/2)
    assert estimate({"a": [1.0, 3.0]}).half == pytest.approx(12.7062, rel=1e-5)
    assert estimate({"a": [1.0]}).half is None
    assert estimate({"a": [math.inf], "b": [30.0]}) == replace(estimate({"a": [1.0]}), mean=math.inf, count=2)


def test_outages_count_in_the_mean_infeasible_and_failed_do_not() -> None:
    (s,) = found(
        row("a.png", metrics={"psnr": 30.0}), row("b.png", status="outage", metrics={"psnr": 10.0}),
        row("c.png", status="infeasible", metrics={"psnr": 99.0}), row("d.png", status="error", metrics={}),
    )  # fmt: skip
    assert s.values["psnr"].mean == 20
    assert s.values["outage_rate"].mean == 50
    assert s.values["outage_rate"].half is None
    assert s.counts == {"ok": 1, "outage": 1, "infeasible": 1, "error": 1}
    assert (s.images, s.complete) == (2, False)
    assert s.cbr == pytest.approx({"total": 0.004, "image": 0.0033})


def test_labels_say_what_varies_and_nothing_else() -> None:
    labels = [s.label for s in found(row(), row(prompt="own"), row(method="separate:avif"), row(method="separate:avif", snr=5.0))]
    assert sorted(set(labels)) == ["separate:avif", "textguided, prompt none", "textguided, prompt own"]


def test_coarse_and_capacity_share_the_colour() -> None:
    looks = styles(found(row(method="m:coarse"), row(method="m"), row(method="s:avif:capacity"), row(method="s:avif")))
    assert looks["m"][0] == looks["m:coarse"][0] != looks["s:avif"][0] == looks["s:avif:capacity"][0]
    assert looks["m"][1] == looks["s:avif"][1] == ""
    assert len({dash for _, dash, _ in looks.values()}) == 3
    assert len({marker for _, _, marker in looks.values()}) == 4


def test_charts_hold_the_other_axes_and_stepless_methods_are_level_lines() -> None:
    rows = [row(steps=n, snr=snr) for n in (1, 5) for snr in (1.0, 10.0)] + [
        row(method="separate:avif", snr=s) for s in (1.0, 10.0)
    ]
    every = found(*rows)
    drawn = charts(every)
    assert [(c.axis, dict(c.held)) for c in drawn] == [
        ("snr_db", {"steps": 1}), ("snr_db", {"steps": 5}), ("steps", {"snr_db": 1.0}), ("steps", {"snr_db": 10.0})
    ]  # fmt: skip
    assert [[x for x, _ in curve.points] for curve in drawn[0].curves] == [[1.0, 10.0], [1.0, 10.0]]
    assert [[x for x, _ in curve.points] for curve in drawn[2].curves] == [[1, 5], [None]]
    assert all(every[i].cell.number("steps") in (1, None) for curve in drawn[0].curves for _, i in curve.points)


def test_any_option_that_is_a_number_is_an_axis_and_others_are_labels() -> None:
    rows = [row(zeta=zeta, variant=variant, snr=5.0) for zeta in (0.5, 8) for variant in ("hifi", "blind")] + [row("a.png", "jscc")]
    every = found(*rows)
    assert {s.label for s in every} == {"textguided, variant hifi", "textguided, variant blind", "jscc"}
    (chart,) = (each for each in charts(every) if each.axis == "zeta")
    assert [[x for x, _ in curve.points] for curve in chart.curves] == [[0.5, 8.0], [0.5, 8.0]]
    assert lay_out(chart).log
    head = tables.markdown(every).splitlines()[2]
    assert head.startswith("| Method | Zeta | CBR total |")
    assert "8" in next(line for line in tables.markdown(every).splitlines() if line.startswith("| textguided, variant hifi | 8"))


def test_layout_places_infinite_snr_after_the_last_and_cbr_on_round_ticks() -> None:
    (over_snr,) = charts(found(row(snr=1.0), row(snr=5.0), row(snr=math.inf)))
    assert lay_out(over_snr).places[math.inf] == 9
    assert [text for _, text in lay_out(over_snr).ticks] == ["1", "5", "∞"]
    (over_cbr,) = charts(found(row(cbr=1 / 384), row(cbr=1 / 32)))
    layout = lay_out(over_cbr)
    assert layout.log
    assert [text for _, text in layout.ticks] == ["0.005", "0.01", "0.02"]


def test_set_metrics_go_to_the_one_setting_they_fit() -> None:
    setting = {"method": "textguided", "snr_db": 1.0}
    fid = SetMetrics(setting, {"fid": 117.9}, 60, "fewer samples than dimensions")
    some, strays = settings(results(row(), row(snr=5.0), sets=(fid, replace(fid, setting={"method": "none"}))))
    assert some[0].values["fid"].mean == 117.9
    assert some[0].notes == {"fid": "fewer samples than dimensions"}
    assert "fid" not in some[1].values
    assert len(strays) == 1
    assert "no setting" in strays[0]
    assert "2 settings" in settings(results(row(), row(prompt="own"), sets=(fid,)))[1][0]


def test_paper_numbers_stand_beside_matching_conditions_only() -> None:
    fid = SetMetrics({"method": "diffjscc"}, {"fid": 130.0}, 60, "")
    (match,) = papers.beside(found(row(method="diffjscc", cbr=1 / 384), sets=(fid,)))
    theirs = [(n.paper, n.method, n.kind, n.value, n.dataset) for n in match.theirs]
    assert theirs == [("diffjscc", "DiffJSCC", kind, value, "Kodak") for kind, value in (("value", 117.9), ("percent", -28.7))]
    assert papers.beside(found(row(method="diffjscc", cbr=1.03 / 384), sets=(fid,))) == []
    assert papers.beside(found(row(method="diffjscc", cbr=1 / 384, channel="rayleigh"), sets=(fid,))) == []
    imagenet = papers.beside(found(row(method="diffcom", cbr=1 / 48, snr=0.0, metrics={"lpips_vgg": 0.3})))
    assert {n.method for n in imagenet[0].theirs} >= {"VTM + 5G LDPC", "HiFi-DiffCom (NTSCC)"}


def test_paper_numbers_are_whole() -> None:
    for number in papers.numbers():
        assert number.paper in papers.titles()
        assert (number.against is None) == (number.kind == "value")
    table = {(n.method, n.metric): n.value for n in papers.numbers() if n.where == "Table I"}
    assert table["HiFi-DiffCom (NTSCC)", "lpips"] == 0.088
    assert len(table) == 10 * 7


def test_lines_that_are_no_rows_are_left_out_and_said(tmp_path: Path) -> None:
    good = json.dumps(row().to_json())
    forged = good.replace('"id": "', '"id": "0')
    typed = row(snr=5.0).to_json()
    typed["metrics"] = {"psnr": "<b>"}
    write(tmp_path, more="\n".join([good, forged, json.dumps(typed), "[" * 100_000, good[:50]]))
    read = folder.read(tmp_path)
    assert [r.cell for r in read.rows] == [row().cell]
    assert [line.split(" and ")[0] for line in read.skipped] == [
        *(f"rows.jsonl: line {n} is damaged, or of another version" for n in (2, 3, 4)), "rows.jsonl: line 5 is cut short"
    ]  # fmt: skip


def test_the_last_row_of_an_id_counts(tmp_path: Path) -> None:
    write(tmp_path, row(status="error", metrics={}), row(metrics={"psnr": 25.0}))
    assert [r.status for r in folder.read(tmp_path).rows] == ["ok"]


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "images/link.png", "images/none.png", "images", "a\0b", ""])
def test_images_outside_the_folder_are_not_read(tmp_path: Path, name: str) -> None:
    picture(tmp_path / "secret.png", 77)
    bench = write(tmp_path / "bench", row())
    (bench / "images/link.png").symlink_to(tmp_path / "secret.png")
    assert image_file(bench, name) is None


def test_latex_and_markdown_escape() -> None:
    assert tables.latex_escape(r"a_b%c&d\{$#~^") == (
        r"a\_b\%c\&d\textbackslash{}\{\$\#\textasciitilde{}\textasciicircum{}"
    )  # fmt: skip
    some = found(row(method="separate:a_b%c&d|e<script>"), row(method="n", metrics={"psnr": math.inf}))
    latex, markdown = tables.latex(some), tables.markdown(some)
    assert r"separate:a\_b\%c\&d\textbar{}e\textless{}script\textgreater{}" in latex
    assert r"\textbf{$\infty$}" in latex
    assert r"separate:a\_b%c&amp;d\|e&lt;script&gt;" in markdown
    body = [line for line in latex.splitlines() if line.endswith(r"\\") and not line.startswith(r"\multicolumn")]
    assert len({len(re.findall(r"(?<!\\)&", line)) for line in body}) == 1
    assert latex.count("{") - latex.count(r"\{") == latex.count("}") - latex.count(r"\}")


def test_best_is_bold_by_the_metrics_own_direction_and_bounds_do_not_compete() -> None:
    some = found(
        row(method="a", metrics={"psnr": 20.0, "lpips_alex": 0.3, "new": 1.0}),
        row(method="b", metrics={"psnr": 25.0, "lpips_alex": 0.4, "new": 2.0}),
        row(method="b:capacity", metrics={"psnr": 40.0, "lpips_alex": 0.1, "new": 3.0}),
    )
    assert tables.best(some, "psnr") == {1}
    assert tables.best(some, "lpips_alex") == {0}
    assert tables.best(some, "new") == set()
    assert "| **25.00** | 0.400 |" in tables.markdown(some)


def test_csv_and_compressai() -> None:
    rows = [row(cbr=0.01, metrics={"psnr": math.inf}), row(cbr=0.0033, metrics={"psnr": 21.0}, error="=cmd()")]
    table = list(csv.DictReader(io.StringIO(tables.rows_csv(rows))))
    assert [line["metrics.psnr"] for line in table] == ["inf", "21.0"]
    assert table[1]["error"] == "'=cmd()"
    (curve,) = json.loads(tables.compressai(found(*rows)))
    assert curve["name"] == "textguided"
    assert curve["results"]["cbr"] == pytest.approx([0.004, 0.0107])
    assert curve["results"]["psnr-rgb"] == [21.0, None]
    assert "in place of bpp" in curve["description"]


def test_gallery_keeps_the_first_repeat_and_the_size_of_the_original(tmp_path: Path) -> None:
    rows = [
        row(repeat=1, output="images/second.png"), row(repeat=0, output="images/first.png"),
        row(method="other", output="images/small.png"), row(method="third", output="images/broken.png"),
    ]  # fmt: skip
    write(tmp_path, *rows)
    picture(tmp_path / "originals/a.png", 255)
    picture(tmp_path / "images/first.png", 10)
    picture(tmp_path / "images/second.png", 200)
    picture(tmp_path / "images/small.png", 10, (32, 32))
    (tmp_path / "images/broken.png").write_bytes(b"\x89PNG\r\n")
    read = folder.read(tmp_path)
    shown = gallery.gallery(tmp_path, read, settings(read)[0])
    (exhibit,) = shown.exhibits
    assert exhibit.size == (48, 64)
    assert [shot.status for shot in exhibit.shots] == ["ok"]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(exhibit.shots[0].uri.split(",")[1]))))
    assert pixels.shape == (48, 64, 3)
    assert abs(int(pixels.mean()) - 10) <= 2
    assert sorted(shown.left_out) == ["1 pictures: damaged or too large to read", "1 pictures: of another size than their original"]


def test_gallery_scales_down_and_stops_at_the_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row(f"{n}.png", output=f"images/{n}.png") for n in range(12)]
    write(tmp_path, *rows)
    noise = np.random.default_rng(0).integers(0, 256, (300, 600, 3), np.uint8)
    for n in range(12):
        Image.fromarray(noise).save(tmp_path / f"images/{n}.png")
    read = folder.read(tmp_path)
    monkeypatch.setattr(gallery, "CAP", 700_000)
    assert gallery.gallery(tmp_path, read, settings(read)[0]).side in (384, 256)
    monkeypatch.setattr(gallery, "CAP", 40_000)
    shown = gallery.gallery(tmp_path, read, settings(read)[0])
    assert shown.side == 192
    assert 0 < len(shown.exhibits) < 12
    assert shown.left_out == (f"{12 - len(shown.exhibits)} pictures: over the size limit; the files lie in the bench folder",)


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    rows = [
        row(image, method, snr, metrics={"psnr": psnr + snr, "lpips_alex": None}, output=f"images/{image}")
        for image, psnr in (("a.png", 20.0), ("b.png", 22.0))
        for method in ("textguided", "textguided:coarse")
        for snr in (1.0, 5.0)
    ]
    picture(tmp_path / "bench/images/a.png", 50)
    picture(tmp_path / "bench/images/b.png", 60)
    return write(tmp_path / "bench", *rows)


def test_report_has_the_figures_and_no_network(bench: Path) -> None:
    (bench / "mine.txt").write_text("mine")
    html = write_report(bench)
    assert html == bench / "report.html"
    data = data_of(html)
    # 20 and 22 at +1 dB: mean 22, s = √2, half = 12.7062 · √2 / √2
    mean, half, count = data["settings"][0]["values"]["psnr"]
    assert (mean, count) == (22, 2)
    assert half == pytest.approx(12.7062, rel=1e-5)
    assert data["counts"] == {"sends": 8, "ok": 8}
    assert data["versions"] == ["1.0"]
    text = html.read_text()
    assert not re.search(r"""(src|href|url|@import)\s*[=(]?\s*["']?\s*(https?:)?//""", text)
    assert "connect" not in text
    assert "default-src 'none'" in text
    assert {path.name for path in (bench / "plots").iterdir()} == {"psnr-vs-snr-awgn.png", "psnr-vs-snr-awgn.svg"}
    with Image.open(bench / "plots/psnr-vs-snr-awgn.png") as plot:
        assert plot.width == 1050  # 3.5 inches at 300 dpi
    assert {path.name for path in bench.iterdir()} == {
        "report.html", "table.md", "table.tex", "rows.csv", "compressai.json", "plots", "images", "rows.jsonl", "mine.txt"
    }  # fmt: skip


def test_output_goes_to_another_folder(bench: Path, tmp_path: Path) -> None:
    assert write_report(bench, tmp_path / "new/there") == tmp_path / "new/there/report.html"
    assert {path.name for path in bench.iterdir()} == {"images", "rows.jsonl"}
    assert (tmp_path / "new/there/plots/psnr-vs-snr-awgn.svg").exists()


def test_a_second_report_equals_the_first_and_leaves_other_files(bench: Path) -> None:
    write_report(bench)
    (bench / "plots/mine.png").write_bytes(b"mine")
    before = {path: path.read_bytes() for path in bench.rglob("*") if path.is_file()}
    write_report(bench)
    assert {path: path.read_bytes() for path in bench.rglob("*") if path.is_file()} == before


def test_hostile_rows_stay_text(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script><!--$\\frac"
    rows = [
        row(
            f"../{evil}.png",
            f"separate:{evil}",
            snr,
            channel="../../x",
            metrics={"psnr": 1.0, f"../{evil}": 2.0},
            output="../s.png",
            error=evil,
        )
        for snr in (1.0, 5.0)
    ]
    picture(tmp_path / "s.png", 77)
    bench = write(tmp_path / "bench", *rows, row(method=evil, status="error", error=evil, metrics={}))
    text = write_report(bench).read_text()
    assert len(re.findall("<script", text)) == 2
    assert "alert(1)" in text
    assert "<!--" not in text
    data = data_of(bench / "report.html")
    assert data["settings"][0]["label"] == f"separate:{evil}"
    assert data["gallery"]["exhibits"] == []
    assert data["gallery"]["left_out"] == ["2 pictures: missing, or not inside the bench folder"]
    assert {path.name for path in tmp_path.iterdir()} == {"bench", "s.png"}
    assert all(re.fullmatch(r"[a-z0-9._-]+", path.name) for path in (bench / "plots").iterdir())
    assert len(list((bench / "plots").iterdir())) == 4


def test_infinite_psnr_and_snr_are_drawn(tmp_path: Path) -> None:
    rows = [row(snr=snr, metrics={"psnr": psnr}) for snr, psnr in ((1.0, 20.0), (5.0, 30.0), (math.inf, math.inf))]
    html = write_report(write(tmp_path / "bench", *rows))
    assert data_of(html)["settings"][2]["values"]["psnr"][0] == "inf"
    assert (tmp_path / "bench/plots/psnr-vs-snr-awgn.svg").stat().st_size > 0


def test_user_errors(tmp_path: Path, bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"there is no rows\.jsonl"):
        write_report(tmp_path)
    (tmp_path / "rows.jsonl").write_text("nonsense\n")
    with pytest.raises(InputError, match="holds no row"):
        write_report(tmp_path)
    with pytest.raises(InputError, match="cannot be written"):
        write_report(bench, bench / "rows.jsonl")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match="pip install"):
        write_report(bench)
    assert not (bench / "report.html").exists()
