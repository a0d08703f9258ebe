"""The results as Markdown, LaTeX (booktabs), CSV, and in CompressAI's result schema."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from gencomm_cli.bench.quantities import CHANNELS, NOT_QUALITY, compact, in_order, number, quantity
from gencomm_cli.bench.rows import Cell, Row
from gencomm_cli.bench.settings import Setting, condition_text, option_axes, title
from gencomm_cli.bench.statistics import Estimate

INCOMPLETE = "not over all images of the bench: the means are of those that were sent and scored"


@dataclass(frozen=True)
class _Markup:
    """How a table is written: cells escaped, the best one emphasised, ± between mean and half the interval."""

    escape: Callable[[str], str]
    bold: str
    plus_minus: str
    infinity: str
    mark: str


_LATEX_CHARACTERS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "∞": r"$\infty$", "†": r"\textdagger{}", "…": r"\ldots{}",
    "²": r"\textsuperscript{2}",
}  # fmt: skip


def latex_escape(text: str) -> str:
    """``text`` as LaTeX prints it, on one line."""
    return "".join(_LATEX_CHARACTERS.get(character, character) for character in _one_line(text))


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", _one_line(text)).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _one_line(text: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f\u2028\u2029]+", " ", text)


_MARKDOWN = _Markup(_markdown, "**{}**", " ± ", "∞", "<sup>{}</sup>")
_LATEX = _Markup(latex_escape, r"\textbf{{{}}}", r" $\pm$ ", r"$\infty$", r"\textsuperscript{{{}}}")


def best(found: Sequence[Setting], name: str) -> set[int]:
    """Indices of the settings that are best at ``name`` as printed; none where neither way is better or one alone has it.

    Bounds do not compete.
    """
    what = quantity(name)
    means = {i: round(s.values[name].mean, what.digits) for i, s in enumerate(found) if name in s.values and not s.is_bound}
    if not what.better or len(means) < 2:
        return set()
    winner = max(means.values()) if what.better == "higher" else min(means.values())
    return {i for i, mean in means.items() if mean == winner}


def markdown(found: Sequence[Setting]) -> str:
    """One table for each condition (channel, SNR, requested CBR); the best mean is bold."""
    head, groups, notes = _table(found, _MARKDOWN)
    lines = []
    for condition, body in groups:
        lines += [f"### {_markdown(condition)}", "", _line(head), _line(["---"] + ["---:"] * (len(head) - 1))]
        lines += [*map(_line, body), ""]
    lines += [
        "Mean ± half the 95 % confidence interval (Student t over images); bold is best, bounds (capacity) aside. "
        + "; ".join(notes),
        "",
    ]
    return "\n".join(lines)


def latex(found: Sequence[Setting]) -> str:
    """A tabular for ``\\input``; needs booktabs."""
    head, groups, notes = _table(found, _LATEX)
    width = len(head)
    lines = [r"% \usepackage{booktabs}", rf"\begin{{tabular}}{{l{'r' * (width - 1)}}}", r"\toprule", " & ".join(head) + r" \\"]
    for condition, body in groups:
        lines += [r"\midrule", rf"\multicolumn{{{width}}}{{l}}{{\emph{{{latex_escape(condition)}}}}} \\"]
        lines += [" & ".join(cells) + r" \\" for cells in body]
    lines += [r"\bottomrule"]
    notes = [
        r"Mean $\pm$ half the 95\,\% confidence interval (Student $t$ over images); bold is best, bounds (capacity) aside.",
        *notes,
    ]
    lines += [rf"\multicolumn{{{width}}}{{l}}{{\footnotesize {note}}} \\" for note in notes]
    return "\n".join([*lines, r"\end{tabular}", ""])


def rows_csv(rows: Iterable[Row]) -> str:
    """One line a row, nested fields as ``metrics.psnr``. Texts that a spreadsheet would take for a formula get an apostrophe."""
    flat = [dict(_flat(row.to_json())) for row in rows]
    columns = list(dict.fromkeys(itertools.chain.from_iterable(flat)))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _harmless(value) for name, value in row.items()} for row in flat)
    return buffer.getvalue()


def compressai(found: Sequence[Setting]) -> str:
    """A list of CompressAI's result objects, one for each curve over CBR; ``cbr`` (measured total) stands where it has ``bpp``.

    A value that is undefined or infinite is null.
    """
    curves: dict[tuple[str, Cell], list[Setting]] = {}
    for s in found:
        if s.cbr.get("total") is not None:
            curves.setdefault((s.label, replace(s.cell, cbr=0.0)), []).append(s)
    documents = []
    for (label, cell), curve in curves.items():
        points = sorted(curve, key=lambda s: s.cbr["total"])
        names = in_order({name for s in curve for name in s.values})
        means = {name: [s.values[name].mean if name in s.values else math.nan for s in points] for name in names}
        results = {name: [mean if math.isfinite(mean) else None for mean in some] for name, some in means.items()}
        chosen = "".join(f", {name.replace('_', ' ')} {value}" for name, value in cell.options)
        where = f"{CHANNELS.get(cell.channel, cell.channel)}, {compact(cell.snr_db)} dB{chosen}"
        description = f"{where}; cbr is channel uses / 3HW, in place of bpp"
        renamed = {{"psnr": "psnr-rgb", "ms_ssim": "ms-ssim-rgb"}.get(name, name): values for name, values in results.items()}
        documents.append(
            {"name": label, "description": description, "results": {"cbr": [s.cbr["total"] for s in points], **renamed}}
        )
    return json.dumps(documents, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _table(found: Sequence[Setting], markup: _Markup) -> tuple[list[str], list[tuple[str, list[list[str]]]], list[str]]:
    """Head, the lines under each condition, and notes."""
    metrics = in_order({name for s in found for name in s.values} - set(NOT_QUALITY))
    axes = option_axes(s.cell for s in found)
    lost = [status for status in ("outage", "infeasible", "error") if any(s.counts.get(status) for s in found)]
    remarks = list(dict.fromkeys(note for s in found for note in s.notes.values()))
    titles = [quantity(name).title for name in metrics]
    head = [markup.escape(t) for t in ("Method", *map(title, axes), "CBR total", "Images", *map(str.capitalize, lost), *titles)]
    groups = []
    for condition, group in itertools.groupby(found, key=lambda s: s.condition):
        members = list(group)
        winners = {name: best(members, name) for name in metrics}
        body = []
        for index, s in enumerate(members):
            mark = "" if s.complete else markup.mark.format(markup.escape("†"))
            total = f"{s.cbr['total']:.5f}" if "total" in s.cbr else "–"
            cells = [
                markup.escape(s.label) + mark,
                *("–" if (value := s.cell.number(axis)) is None else compact(value) for axis in axes),
            ]
            cells += [total, str(s.images), *(str(s.counts.get(status, 0)) for status in lost)]
            for name in metrics:
                text = _estimate(s.values.get(name), quantity(name).digits, markup)
                note = markup.mark.format(remarks.index(s.notes[name]) + 1) if name in s.notes else ""
                cells.append((markup.bold.format(text) if index in winners[name] else text) + note)
            body.append(cells)
        groups.append((condition_text(condition), body))
    notes = [markup.escape(f"† {INCOMPLETE}.")] if not all(s.complete for s in found) else []
    notes += [markup.mark.format(index) + " " + markup.escape(note) for index, note in enumerate(remarks, 1)]
    return head, groups, notes


def _estimate(value: Estimate | None, digits: int, markup: _Markup) -> str:
    if value is None:
        return "–"
    mean = number(value.mean, digits).replace("∞", markup.infinity)
    return mean if value.half is None else mean + markup.plus_minus + number(value.half, digits)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _flat(document: Mapping[str, object], prefix: str = "") -> Iterable[tuple[str, object]]:
    for name, value in document.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _harmless(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t") else value
