"""Which claims of the five papers hold with the shipped presets: makes docs/claims.md from the rows of `gencomm bench run`.

    python examples/claims.py KODAK --page docs/claims.md                       every claim: hours on a CPU
    python examples/claims.py KODAK --images 6 --minutes 10                     a piece of 10 minutes; the same command goes on
    python examples/claims.py KODAK --only lrisc-psnr lrisc-gap                 some claims, printed
    python examples/claims.py VALIDATION --preset lrisc=runs/lrisc/models/lrisc/nano --only lrisc-psnr

KODAK is a folder of photographs of at least 256 pixels a side, with captions.tsv. Rows are kept in --out, a bench folder for each
sweep, and are made once for each version of the weights. The interval is that of a paired bootstrap: pictures are drawn with
replacement, then the repeats of each.
"""

from __future__ import annotations

import _thread
import argparse
import shlex
import signal
import sys
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
from _claims import CLAIMS, SWEEPS, Claim, Line, values
from _common import markdown_line

from gencomm_cli import __version__
from gencomm_cli.app import run
from gencomm_cli.bench.plan import scheme
from gencomm_cli.bench.predictability import load_model, pairwise
from gencomm_cli.bench.rows import Row
from gencomm_cli.bench.store import ROWS, read_rows
from gencomm_cli.datasets import images_of
from gencomm_cli.images import read_image
from gencomm_cli.methods import specs
from gencomm_cli.metrics import weights
from gencomm_cli.photographs import is_hidden

LEAST = 6
"""Pictures of a verdict: of fewer, all lie on one side by chance more than once in 20 times (2 · 2⁻⁵)."""
DRAWS = 10_000
METRICS = "psnr,gmsd,lpips_alex"
UNTESTED = "cannot be tested at nano size"


@dataclass(frozen=True)
class Figure:
    """A claim's figure: its mean, its 95 % interval (None below two samples), of how many pictures and samples, and the lines'."""

    mean: float
    interval: tuple[float, float] | None
    pictures: int
    samples: int
    levels: tuple[float, ...]


@dataclass(frozen=True)
class Bench:
    """The rows that are there, by sweep, of the weights at hand.

    ``folder``: of all bench folders. ``presets``: in the place of the shipped ones, by method. ``images``: names that count.
    """

    folder: Path
    presets: Mapping[str, str]
    images: frozenset[str]

    def methods(self, sweep: str) -> str:
        """The sweep's methods with the presets that were named."""
        named = (method.partition(":") for method in SWEEPS[sweep].methods.split(","))
        return ",".join(f"{base}{f'@{self.presets[base]}' if base in self.presets else ''}{sep}{rest}" for base, sep, rest in named)

    def command(self, sweep: str) -> str:
        """The flags of its `gencomm bench run`, less images and metrics."""
        return f"--out {shlex.quote(str(self.folder / sweep))} --methods {shlex.quote(self.methods(sweep))} {SWEEPS[sweep].flags}"

    def rows(self, sweep: str) -> list[Row]:
        """Rows of these images by the weights and the version at hand."""
        if not (self.folder / sweep / ROWS).exists():
            return []
        wanted = {(each.name, each.weights_sha256) for each in map(scheme, self.methods(sweep).split(","))}
        return [
            row
            for row in read_rows(self.folder / sweep)
            if (row.cell.method, row.cell.weights_sha256) in wanted
            and row.cell.version == __version__
            and row.cell.image in self.images
        ]

    def samples(self, which: Line, metric: str) -> dict[tuple[str, int], float]:
        """The metric of a line, by picture and repeat."""
        rows = [row for row in self.rows(which.sweep) if which.takes(row.cell)]
        return self._spread(which.sweep, rows) if metric == "spread" else values(rows, metric)

    def _spread(self, sweep: str, rows: Sequence[Row]) -> dict[tuple[str, int], float]:
        """LPIPS (AlexNet) of each received picture to those of the other repeats."""
        if (folder := weights.folder()) is None:
            return {}
        groups: dict[str, dict[int, Path]] = defaultdict(dict)
        for row in rows:
            if row.output:
                groups[row.cell.image][row.cell.repeat] = self.folder / sweep / row.output
        found: dict[tuple[str, int], list[float]] = defaultdict(list)
        model = load_model("alex", folder)
        for image, sends in groups.items():
            pixels = {repeat: read_image(path) for repeat, path in sends.items()}
            for first, second in permutations(sorted(pixels), 2):
                found[image, first].append(pairwise([pixels[first], pixels[second]], model)[0])
        return {key: float(np.mean(each)) for key, each in found.items()}


def figure(terms: Sequence[tuple[float, Mapping[tuple[str, int], float]]]) -> Figure | None:
    """Σ weight · value of the pictures and repeats that every term has; None where there are none."""
    keys = sorted(set.intersection(*(set(each) for _, each in terms)))
    if not keys:
        return None
    columns = np.array([[each[key] for key in keys] for _, each in terms])
    sums = np.array([weight for weight, _ in terms]) @ columns
    groups: dict[str, list[float]] = defaultdict(list)
    for (image, _), value in zip(keys, sums, strict=True):
        groups[image].append(float(value))
    mean = float(np.mean([np.mean(each) for each in groups.values()]))
    interval = bootstrap(list(groups.values())) if len(keys) > 1 else None
    return Figure(mean, interval, len(groups), len(keys), tuple(map(float, columns.mean(1))))


def bootstrap(groups: Sequence[Sequence[float]], draws: int = DRAWS, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of the mean of the pictures' means: pictures are drawn with replacement, then each one's repeats."""
    generator = np.random.default_rng(seed)
    chosen = generator.integers(len(groups), size=(draws, len(groups)))
    means = np.empty(chosen.shape)
    for index, each in enumerate(groups):
        here = chosen == index
        means[here] = np.asarray(each)[generator.integers(len(each), size=(here.sum(), len(each)))].mean(1)
    low, high = np.quantile(means.mean(1), (0.025, 0.975))
    return float(low), float(high)


def verdict(claim: Claim, found: Figure | None) -> str:
    """Whether the claim holds: the whole interval lies where it should, or where it should not."""
    if not claim.terms:
        return UNTESTED
    if found is None:
        return "not measured"
    if found.interval is None or found.pictures < LEAST:
        return "too few pictures"
    low, high = (end - claim.bound for end in found.interval)
    low, high = (-high, -low) if claim.wanted == "above" else (low, high)
    return "**holds**" if high < 0 or (low == high == 0) else "does not hold" if low > 0 else "not decided"


def shown(found: Figure | None) -> str:
    """The figure with its interval, and the levels of a difference."""
    if found is None:
        return "–"
    text = f"{found.mean:.4g}" + ("" if found.interval is None else " [{:.3g}, {:.3g}]".format(*found.interval))
    if len(found.levels) == 2:
        text += " ({1:.4g} → {0:.4g})".format(*found.levels)
    return f"{text}, {found.pictures} pictures"


HEAD = """# What the papers claim, and what nano shows

{counts}

Made by `python examples/claims.py KODAK {arguments}` with version {version}; it is made again with each new preset. A claim
**holds** where the whole 95 % interval (paired bootstrap over pictures and repeats) lies on its side of the bound, *does not hold*
where it lies on the other, and is *not decided* where the bound is within; of fewer than {least} pictures there is no verdict. The
presets are small networks that were trained on two cores, and other programs stand for the papers' baselines, as each line says:
what does not hold here is nano's failure before it is the paper's. LPIPS is AlexNet's, which the shipped networks learned from;
beside it is what happened to GMSD (lower is better), which none has seen.

A claim's command makes the rows that it needs and prints its line:

```sh
python examples/claims.py KODAK --only lrisc-psnr
```
"""
COLUMNS = ("claim", "in the paper", "tested by", "figure [95 %]", "GMSD", "verdict", "command")


def page(claims: Sequence[Claim], bench: Bench, arguments: str) -> str:
    """The page, a table for each method."""
    tables, verdicts = [], []
    for method in dict.fromkeys(claim.paper for claim in claims):
        lines = [f"## {method} ({specs()[method].reference})", "", markdown_line(COLUMNS), markdown_line(["---"] * len(COLUMNS))]
        for claim in (each for each in claims if each.paper == method):
            print(f"claims: {claim.name}", file=sys.stderr)
            found = measured(claim, bench, claim.metric) if claim.terms else None
            seen = measured(claim, bench, "gmsd") if claim.metric == "lpips_alex" else None
            verdicts.append(verdict(claim, found))
            command = f"`--only {claim.name}`" if claim.terms else "–"
            beside = "–" if seen is None else f"{seen.mean:+.3f}"
            cells = [claim.says, claim.place, claim.tested, shown(found), beside, verdicts[-1], command]
            lines.append(markdown_line(cells))
        tables.append("\n".join(lines))
    counts = ", ".join(f"{verdicts.count(each)} {each}" for each in dict.fromkeys(verdicts))
    head = HEAD.format(counts=f"Of {len(claims)} claims: {counts}.", arguments=arguments, version=__version__, least=LEAST)
    return head + "\n" + "\n\n".join(tables) + "\n"


def measured(claim: Claim, bench: Bench, metric: str) -> Figure | None:
    """The claim's figure, by its own or another metric."""
    return figure([(weight, bench.samples(which, metric)) for weight, which in claim.terms])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/claims"), help="bench folders; default runs/claims")
    parser.add_argument("--images", type=int, help="how many of the photographs, by name; default all")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[claim.name for claim in CLAIMS], help="claims; default all")
    parser.add_argument("--preset", nargs="+", metavar="METHOD=PRESET", default=[], help="in the place of what ships")
    parser.add_argument("--minutes", type=float, help="stop after so long, 0 at once; what is done stays, and the page shows it")
    parser.add_argument("--page", type=Path, help="file to write instead of printing")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()

    claims = [claim for claim in CLAIMS if given.only is None or claim.name in given.only]
    photographs = [path for path in images_of(given.folder, "test") if not is_hidden(path.name)][: given.images]
    presets = dict(text.split("=", 1) for text in given.preset)
    bench = Bench(given.out, presets, frozenset(path.name for path in photographs))
    wanted = {sweep for claim in claims for sweep in claim.sweeps}
    if given.minutes != 0:
        timer = threading.Timer(60 * (given.minutes or threading.TIMEOUT_MAX / 60), _thread.interrupt_main)
        timer.daemon = True
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs ignore
        timer.start()
        for sweep in (each for each in SWEEPS if each in wanted):
            print(f"claims: gencomm bench run {given.folder} {bench.command(sweep)}", file=sys.stderr)
            words = [*map(str, photographs), *shlex.split(bench.command(sweep)), "--metrics", METRICS, "--device", given.device]
            if (status := run(["bench", "run", *words])) == 130:  # interrupted: by the timer, or by the user
                break
            if status:
                raise SystemExit(status)
        timer.cancel()
    text = page(claims, bench, f"--images {len(photographs)}")
    if given.page is None:
        print(text)
    else:
        given.page.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
