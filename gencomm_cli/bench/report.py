"""What one looks at after a bench: ``report.html``, plots and tables."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

from gencomm_cli import __version__, console
from gencomm_cli.bench import folder as bench_folder
from gencomm_cli.bench import papers, plots, references, tables
from gencomm_cli.bench.folder import Results
from gencomm_cli.bench.gallery import Gallery, gallery
from gencomm_cli.bench.layout import lay_out
from gencomm_cli.bench.quantities import CHANNELS, compact, in_order, quantity
from gencomm_cli.bench.references import Reference
from gencomm_cli.bench.settings import (
    Chart,
    Setting,
    charts,
    condition_text,
    held_text,
    option_axes,
    settings,
    short,
    styles,
    title,
)
from gencomm_cli.outputs import check, check_folder, utf8, write_files
from gencomm_cli.textfiles import jsonable

FILES = ("report.html", "table.md", "table.tex", "rows.csv", "compressai.json")
"""What is written beside the plots."""


def write_report(folder: Path, output: Path | None = None, beside: Sequence[Reference] = ()) -> Path:
    """Writes ``report.html``, ``table.md``, ``table.tex``, ``rows.csv``, ``compressai.json``, ``plots/*.png`` and ``plots/*.svg``:
    all of them or none. Other files stay as they are.

    Args:
        folder: a bench folder: ``rows.jsonl``, and where there are any ``sets.jsonl``, ``images/`` and ``originals/``.
        output: folder for all of it, made if need be; without it ``folder`` itself.
        beside: what others published, to be drawn beside.

    Returns:
        The html's path.

    Raises:
        InputError: the folder holds no rows, matplotlib is missing, or a file cannot be written.
    """
    plots.require()
    results = bench_folder.read(folder)
    output = output or folder
    check_folder(output / "plots")
    if output.is_dir():
        check(*(output / name for name in FILES), inputs=(folder / "rows.jsonl", folder / "sets.jsonl"))
    found, strays = settings(results)
    for line in (*results.skipped, *strays):
        console.say(line)
    drawn = [references.beside(chart, found, beside) for chart in charts(found)]
    shown = {line.label for chart in drawn for line in chart.references if line.metric in plots.names(found, chart)}
    for each in beside:
        if isinstance(each, references.Published) and each.label not in shown:
            console.say(f"--published: {each.label}: is on no plot, as none has its metric, channel, and CBR or SNR")
    with console.progress("pictures") as bar:
        pictures = gallery(folder, results, found, bar)
    html = _html(folder, results, found, drawn, beside, pictures, [*results.skipped, *strays])
    texts = (html, tables.markdown(found), tables.latex(found), tables.rows_csv(results.rows), tables.compressai(found))
    contents = {output / name: utf8(content) for name, content in zip(FILES, texts, strict=True)}
    count = sum(len(plots.names(found, chart)) for chart in drawn)
    with console.progress("plots") as bar:
        for index, (stem, png, svg) in enumerate(plots.draw(found, drawn, references.styles(beside)), 1):
            contents |= {output / "plots" / f"{stem}.png": png, output / "plots" / f"{stem}.svg": svg}
            if bar:
                bar(index, count)
    (output / "plots").mkdir(parents=True, exist_ok=True)
    write_files(contents)
    return output / "report.html"


def _html(
    folder: Path,
    results: Results,
    found: Sequence[Setting],
    drawn: Sequence[Chart],
    beside: Sequence[Reference],
    pictures: Gallery,
    skipped: list[str],
) -> str:
    """The template with the data in it as JSON that no HTML parser can be led out of."""
    names = in_order({name for s in found for name in s.values})
    axes = option_axes(s.cell for s in found)
    data: dict[str, Any] = {
        "name": folder.resolve().name,
        "versions": sorted({row.cell.version for row in results.rows}),
        "reporter": __version__,
        "counts": {"sends": len(results.rows), **Counter(row.status for row in results.rows)},
        "images": len({(row.cell.image, row.cell.image_sha256) for row in results.rows}),
        "quantities": [{**asdict(quantity(name)), "title": quantity(name).title} for name in names],
        "axes": {chart.axis: title(chart.axis) for chart in drawn},
        "short": {chart.axis: short(chart.axis) for chart in drawn},
        "options": {axis: short(axis) for axis in axes},
        "channels": CHANNELS,
        "colours": plots.COLOURS,
        "styles": styles(found) | references.styles(beside),
        "grey": plots.GREY,
        "settings": [_setting(s, axes) for s in found],
        "charts": [_chart(chart) for chart in drawn],
        "papers": _papers(found),
        "titles": papers.titles(),
        "terms": {each.label: each.terms for each in beside},
        "sources": {each.label: each.source for each in beside},
        "gallery": asdict(pictures),
        "conditions": [condition_text(condition) for condition in dict.fromkeys(s.condition for s in found)],
        "failures": _failures(results),
        "skipped": skipped,
        "incomplete": tables.INCOMPLETE,
    }
    text = json.dumps(jsonable(data), allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    text = text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    template = (files("gencomm_cli.bench") / "data" / "report.html").read_text("utf-8")
    return template.replace("REPORT_DATA", text, 1)


def _setting(s: Setting, axes: Sequence[str]) -> dict[str, Any]:
    return {
        "label": s.label, "condition": condition_text(s.condition), "channel": s.cell.channel, "snr_db": s.cell.snr_db,
        "cbr": s.cell.cbr, "options": {axis: s.cell.number(axis) for axis in axes}, "total": s.cbr.get("total"), "counts": s.counts,
        "images": s.images, "complete": s.complete, "bound": s.is_bound, "notes": s.notes,
        "values": {name: (value.mean, value.half, value.count) for name, value in s.values.items()},
    }  # fmt: skip


def _chart(chart: Chart) -> dict[str, Any]:
    layout = lay_out(chart)
    curves = [
        {
            "label": c.label,
            "points": [(None if x is None else layout.places[x], None if x is None else compact(x), i) for x, i in c.points],
        }
        for c in chart.curves
    ]
    ends = {"log": layout.log, "low": layout.low, "high": layout.high, "ticks": layout.ticks}
    return {"axis": chart.axis, "channel": chart.channel, "held": held_text(chart.held), "curves": curves, **ends} | {
        "references": [asdict(line) for line in chart.references]
    }


def _papers(found: Sequence[Setting]) -> list[dict[str, Any]]:
    return [
        {
            "metric": c.metric,
            "condition": condition_text(found[c.ours[0]].condition),
            "ours": c.ours,
            "theirs": [asdict(n) for n in c.theirs],
        }
        for c in papers.beside(found)
    ]


def _failures(results: Results) -> list[dict[str, Any]]:
    """Outages, infeasible and failed cells, equal ones together."""
    groups: dict[tuple[str, str, str, str], list[str]] = {}
    for row in results.rows:
        if row.status != "ok":
            condition = condition_text((row.cell.channel, row.cell.snr_db, row.cell.cbr))
            error = row.error or f"scored as {row.cell.outage}" * (row.status == "outage")
            groups.setdefault((row.status, row.cell.method, condition, error), []).append(row.cell.image)
    return [
        {
            "status": status,
            "method": method,
            "condition": condition,
            "error": error,
            "images": sorted(set(images)),
            "sends": len(images),
        }
        for (status, method, condition, error), images in groups.items()
    ]
