"""Tables III to VII of DiffCom (arXiv:2406.07390) with one's own preset: ``python examples/tables_diffcom.py 4 PHOTOGRAPHS``

All five at 24 images and two sizes: ``for t in 3 4 5 6 7; do python examples/tables_diffcom.py $t KODAK --size 128 256; done``

3  Blind-DiffCom over multipath without pilots: success ratio (PSNR of at least 15 dB), and ‖h − h*‖² of what succeeded
4  components of HiFi-DiffCom: adaptive start, confirming term, at 10 and 0 dB
5  guidance strength ζ, with the measurement distance
6  forms of the likelihood, on AWGN and over multipath
7  steps: η, against plain DiffCom

What they lack: FFHQ (name its folder), FID, and the time of an RTX 4090. DISTS needs weights.

The squared distance guides, as the paper prints it, with its ζ = γ = 0.3 and η = 1 for HiFi and what ζ each table has for plain
DiffCom (docs/papers/diffcom.md). ``--own`` takes the preset's likelihood, ζ and η instead, which are for its own networks.

Images are cropped to their central ``--size``², and each line is printed as soon as it is known. A send whose samples diverge is
counted as failed, and no figure is taken of it; of table 3 it is no success. What starts from pure noise takes ``--steps`` of the
1000 steps: each costs a pass through prior and codec and back, about half a second on two cores at 256², and the paper's 1000 take
their time.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from _common import Photograph, markdown, markdown_line, photographs

from gencomm_cli import pipeline
from gencomm_cli.channels.fading import Kind
from gencomm_cli.channels.ofdm import OfdmConfig, draw_taps
from gencomm_cli.errors import InputError
from gencomm_cli.methods.diffcom.options import Likelihood, Transmitter
from gencomm_cli.metrics.report import measure
from gencomm_cli.seeds import generator
from gencomm_cli.symbols import Csi

METRICS = ("psnr", "ms_ssim", "gmsd", "lpips_alex", "lpips_squeeze", "dists")
SUCCESS_DB = 15.0
GAMMA = 0.3
"""Of the paper's HiFi-DiffCom; given, as a preset may have none."""


@dataclass(frozen=True)
class Row:
    """One line of a table: its name, the options it decodes with, and where."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    snr_db: float = 10.0
    kind: Kind = "awgn"
    csi: Csi = "perfect"

    @property
    def readings(self) -> list[str]:
        """The lines that it becomes: of the first sample, and where there are several of the one with the least distance."""
        samples = self.options.get("samples", 1)
        return [self.name] + [f"{self.name}, best of {samples}"] * (samples > 1)


def rows(table: str, steps: int, sweep: bool = False, own: bool = False) -> list[Row]:
    """The lines of a table, the coarse image of each channel first.

    Args:
        sweep: table III's pairs of step sizes too. own: with the preset's likelihood, ζ and η, not the paper's.
    """

    def printed(**options: Any) -> dict[str, Any]:
        return {} if own else options

    squared, coarse = printed(likelihood="squared"), Row("coarse", {"coarse": True})
    plain = squared | {"variant": "diffcom", "steps": steps}
    noise = squared | {"gamma": GAMMA, "start_step": 1000, "steps": steps}
    hifi = squared | {"gamma": GAMMA} | printed(eta=1.0)
    if table == "3":
        blind = squared | {"variant": "blind", "steps": steps, "blind_h": "diffusion"}
        pairs = [(0.3, 0.1), (0.3, 0.2), (0.3, 0.3), (0.6, 0.1), (0.9, 0.1)] if sweep else []
        found = [Row(f"blind, ζ {x:g}, ζ_h {h:g}", blind | {"zeta": x, "zeta_h": h}) for x, h in pairs]
        found += [Row("blind", blind | {"samples": 3}), Row("blind, lmmse", blind | {"samples": 3, "blind_h": "lmmse"})]
        return [replace(row, kind="multipath", csi="none") for row in (coarse, *found)]
    if table == "4":
        neither = noise | {"gamma": 0.0} | printed(zeta=0.9)
        parts = {"neither": neither, "start": hifi | {"gamma": 0.0}, "confirming": noise, "both": hifi}
        lines = [coarse, *(Row(name, options) for name, options in parts.items())]
        return [replace(row, snr_db=snr_db) for snr_db in (10.0, 0.0) for row in lines]
    if table == "5":
        strengths = [Row(f"DiffCom, ζ {zeta:g}", plain | {"zeta": zeta}) for zeta in (0.3, 0.6, 0.9, 1.2)]
        return [coarse, *strengths, Row("HiFi", hifi)]
    if table == "6":
        lines = [
            coarse, Row("Variant 1: x_d alone", noise | {"zeta": 0.0}), Row("DiffCom", plain | printed(zeta=0.9)),
            Row("Variant 2: x_d as it is", noise | {"confirm": "pixels"}), Row("HiFi", hifi),
        ]  # fmt: skip
        forms = [form for form in get_args(Likelihood) if own or form != "squared"]
        lines += [Row(f"HiFi, {form}", {"likelihood": form} | printed(eta=1.0)) for form in forms]
        return [*lines, *(replace(row, kind="multipath", csi="estimated") for row in lines)]
    scales = [Row(f"HiFi, η {eta:g}", hifi | {"eta": eta}) for eta in (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)]
    return [coarse, Row("DiffCom", plain | printed(zeta=0.3)), *scales]


def centre(photo: Photograph, size: int) -> Photograph:
    """The central ``size``² pixels."""
    top, left = ((side - size) // 2 for side in photo.pixels.shape[:2])
    if min(top, left) < 0:
        raise SystemExit(f"{photo.name}: is smaller than --size {size}")
    return Photograph(photo.name, photo.pixels[top : top + size, left : left + size], photo.caption)


Figures = dict[str, float | None]


def send(codec: pipeline.Codec, photo: Photograph, row: Row, cbr: float, seed: int, weights: Path | None) -> list[Figures] | None:
    """The figures of one transmission, of each of ``row.readings``; None where the samples diverge."""

    def say(line: str) -> None:
        print(f"{photo.name}: {line}", file=sys.stderr)

    unread = "rates" in codec.preset.components and row.csi == "none"  # its rates, which cross the same channel
    options = Transmitter(allocation="uniform" if unread else None)
    sent = codec.encode(photo.pixels, cbr=cbr, snr=row.snr_db, fading=row.kind, options=options, say=say)
    received = pipeline.transmit(sent, snr=row.snr_db, fading=row.kind, csi=row.csi, seed=seed)
    started, counted = time.perf_counter(), [0]

    def count(done: int, total: int, note: str = "", /) -> None:
        counted[0] = total

    try:
        reception = codec.decode(received, seed=seed, say=say, progress=count, **row.options)
    except InputError as error:
        say(str(error))
        return None
    spent: Figures = {"steps": float(counted[0]), "seconds": time.perf_counter() - started}
    best = int(np.argmin(reception.distances)) if reception.distances else 0  # none where side symbols were lost
    return [spent | figures(photo, reception, index, seed, weights) for index in (0, best)[: len(row.readings)]]


def figures(photo: Photograph, reception: pipeline.Reception, index: int, seed: int, weights: Path | None) -> Figures:
    """Metrics of a sample, its measurement distance and its ‖h − h*‖²."""
    picture = reception.refined[index] if reception.refined else reception.coarse
    found = measure(photo.pixels, picture, weights)
    out: Figures = {metric: found.get(metric) for metric in METRICS}
    out["distance"] = reception.distances[index] if reception.distances else None
    if reception.taps:
        true = draw_taps(OfdmConfig(pilots=0), generator(seed, "image fading"))
        out["d_h"] = float(np.sum(np.abs(reception.taps[index] - true) ** 2))
    return out


def mean(values: list[float | None]) -> float | None:
    """Of those that are there."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=("3", "4", "5", "6", "7"))
    parser.add_argument("folder", type=Path, help="images of at least --size on both sides")
    parser.add_argument("--preset", default="nano")
    parser.add_argument("--codec", default="adjscc")
    parser.add_argument("--cbr", type=float, default=1 / 48)
    parser.add_argument("--size", type=int, nargs="+", default=[256], help="one or several; default 256")
    parser.add_argument("--steps", type=int, default=100, help="of what starts from pure noise")
    parser.add_argument("--seeds", type=int, help="how many channels, noises and samples an image; default 1, of table 3 3")
    parser.add_argument("--sweep", action="store_true", help="table 3: also the paper's pairs of ζ and ζ_h")
    parser.add_argument("--own", action="store_true", help="the preset's likelihood, ζ and η instead of the paper's")
    parser.add_argument("--limit", type=int, help="images at most")
    parser.add_argument("--metric-weights", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto", help="of the prior: auto (half precision on CUDA), fp32, bf16 or fp16")
    arguments = parser.parse_args()

    photos = photographs(arguments.folder, arguments.limit)
    codec = pipeline.load(
        "diffcom", arguments.preset, device=arguments.device, precision=arguments.precision,
        options=Transmitter(codec=arguments.codec),
    )  # fmt: skip
    blind, names = arguments.table == "3", [*METRICS, "distance", "steps", "seconds"]
    seeds = arguments.seeds or (3 if blind else 1)
    print(markdown(["", "size", "channel", "SNR/dB", "failed", *(["success", "d_h"] if blind else []), *names], []), flush=True)
    every = rows(arguments.table, arguments.steps, arguments.sweep, arguments.own)
    for size, row in itertools.product(arguments.size, every):
        crops = [centre(photo, size) for photo in photos]
        sends = [  # every image has channels of its own, and all rows the same
            send(codec, crops[number // seeds], row, arguments.cbr, number, arguments.metric_weights)
            for number in range(len(crops) * seeds)
        ]
        arrived = [one for one in sends if one is not None]
        for index, reading in enumerate(row.readings):
            readings = [one[index] for one in arrived]
            good = [one for one in readings if not blind or (one["psnr"] or 0.0) >= SUCCESS_DB]
            extra = [f"{len(good)}/{len(sends)}", mean([one.get("d_h") for one in good])] if blind else []
            line = [reading, size, row.kind, row.snr_db, len(sends) - len(arrived), *extra]
            print(markdown_line([*line, *(mean([one[name] for one in good]) for name in names)]), flush=True)


if __name__ == "__main__":
    main()
