"""What the window shows beside pictures: the constellation and the figures, as HTML."""

from __future__ import annotations

from html import escape

import numpy as np

from gencomm_cli.bench.quantities import number, quantity
from gencomm_cli.symbols import SymbolFile, Symbols
from gencomm_cli.ui.desk import METRICS, View

POINTS = 1200
"""Most symbols that a constellation shows, evenly spread over those that were sent."""
STYLE = """
#figures th, #figures td { border: 0; border-top: 1px solid var(--border-color-primary); padding: .3rem .6rem; text-align: right;
  font-variant-numeric: tabular-nums; }
#figures thead th { border-top: 0; }
#figures th { font-weight: 400; } #figures th:first-child { text-align: left; }
#figures table { width: 100%; border: 0; margin: 0 0 .8rem; } #figures tr { border: 0; }
#figures p, #symbols p, #figures thead th { color: color-mix(in srgb, var(--body-text-color) 72%, transparent); }
#figures p, #symbols p { margin: .3rem 0; font-size: .92em; overflow-wrap: anywhere; }
#figures .wrong { color: #c2410c; font-weight: 600; } .dark #figures .wrong { color: #fb923c; }
#status { text-align: right; align-self: center; min-width: 12rem; } #status .progress-level { display: none; }
#symbols svg { display: block; width: 100%; max-width: 20rem; margin: 0 auto; }
#symbols path { fill: none; stroke-linecap: round; stroke: currentColor; }
#symbols .axis { stroke: var(--border-color-primary); }
#symbols .received { color: #D55E00; } #symbols .sent { color: #0072B2; } .dark #symbols .sent { color: #56B4E9; }
@media (max-width: 700px) {
  #results { display: contents; } #results > * { min-width: 100%; }
  #results > .first { order: -1; } #results > .last { order: 1; }
}
"""
"""Of the page. On a phone the pictures go before the controls, and the figures behind them."""


def constellation(sent: SymbolFile, received: SymbolFile) -> str:
    """Image symbols as they were sent and as they came, before equalisation, in one drawing."""
    step = -(-sent.symbols.size // POINTS)
    before, after = sent.symbols[::step], received.symbols[::step]
    reach = 1.05 * max(1.5, *(float(np.quantile(np.abs(np.r_[part.real, part.imag]), 0.995)) for part in (before, after)))
    return f"""<div><svg viewBox="-{reach} -{reach} {2 * reach} {2 * reach}" role="img"
 aria-label="Symbols sent and received"><path class="axis" stroke-width="{reach / 200}" d="M-{reach} 0H{reach}M0 -{reach}V{reach}"/>
<path class="received" opacity=".45" stroke-width="{reach / 45}" d="{_dots(after)}"/>
<path class="sent" opacity=".8" stroke-width="{reach / 50}" d="{_dots(before)}"/></svg>
<p><span class="sent">●</span> sent, <span class="received">●</span> received before equalisation;
{before.size} of {sent.symbols.size} image symbols, axes to ±{reach:.1f}</p></div>"""


def figures(view: View) -> str:
    """Metrics, symbols and CBR by part, and what the codec said."""
    columns = {"coarse": view.coarse_metrics} | ({"refined": view.refined_metrics} if view.refined_metrics else {})
    heads = "".join(f"<th>{name}</th>" for name in columns)
    rows = ""
    for name in METRICS:
        if view.coarse_metrics[name] is not None:  # LPIPS has a line where its weights are here
            cells = "".join(f"<td>{_figure(name, column[name])}</td>" for column in columns.values())
            rows += f"<tr><th>{quantity(name).title}</th>{cells}</tr>"
    cbr = view.received.header.cbr
    parts = {"image": cbr.image, "prompt": cbr.prompt, "side": cbr.side, "pilots": cbr.pilots, "prefix": cbr.cp, "idle": cbr.idle}
    samples = view.original.size
    uses = "".join(
        f"<tr><th>{name}</th><td>{round(value * samples)}</td><td>{value:.5f}</td></tr>"
        for name, value in (parts | {"total": cbr.total}).items()
        if value or name == "total"
    )
    notes = "".join(f"<p>{escape(line)}</p>" for line in view.notes)
    height, width = view.original.shape[:2]
    return f"""<div><table><thead><tr><th></th>{heads}</tr></thead><tbody>{rows}</tbody></table>
<table><thead><tr><th>sent for {width} × {height}</th><th>symbols</th><th>CBR</th></tr></thead><tbody>{uses}</tbody></table>
{notes}</div>"""


def failure(line: str) -> str:
    """A failure's line in the place of the figures."""
    return f'<div><p class="wrong" role="alert">{escape(line)}</p></div>'


def _figure(name: str, value: float | None) -> str:
    return "–" if value is None else number(value, quantity(name).digits)


def _dots(symbols: Symbols) -> str:
    return "".join(f"M{point.real:.3f} {-point.imag:.3f}h0" for point in symbols)
