"""Chooses the step sizes of a diffcom preset on validation photographs (never Kodak), for each SNR: η, ζ and γ of HiFi, ζ of blind.

usage: python examples/choose_diffcom.py --data DIR --metric-weights DIR [--preset nano] [--codec adjscc] [--snr 0,10] [--crops 4]

One size after the other is varied, the others kept at the best so far, on random crops over AWGN (``blind``: over multipath
without CSI, by ``--blind-h lmmse``). HiFi's worth is its least gain over the coarse image, of PSNR in 0.1 dB (from 5 dB of SNR on),
GMSD in 0.002 and LPIPS-AlexNet in 0.01: positive where it is better by all of them. Blind's is the share of pictures of at least
15 dB, with the least measurement distance of three samples. Prints a Markdown table, and the JSON for the preset's settings.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _common import markdown, markdown_line, numbers

from gencomm_cli import pipeline
from gencomm_cli.errors import InputError
from gencomm_cli.images import Pixels
from gencomm_cli.methods.diffcom.options import Transmitter
from gencomm_cli.metrics.report import measure
from gencomm_cli.training.data import load

UNITS = {"psnr": 0.1, "gmsd": -0.002, "lpips_alex": -0.01}
"""What counts as one, and which way is better."""
SUCCESS_DB = 15.0
HIFI = {"eta": (0.2, 0.05, 0.1, 0.4), "zeta": (1.0, 0.3, 0.6, 2.0), "gamma": (0.0, 0.1, 0.3, 1.0)}
TAPS = {"likelihood": "norm", "blind_h": "lmmse"}
BLIND = {"zeta": (5.0, 2.0, 3.5, 8.0)}


@dataclass(frozen=True)
class Bench:
    """Where settings are tried.

    Attributes:
        crops: uint8 [N, H, W, 3]. blind: over multipath without CSI. steps: of blind's.
    """

    codec: pipeline.Codec
    crops: Sequence[Pixels]
    cbr: float
    blind: bool
    steps: int
    weights: Path | None

    def figures(self, snr_db: float, options: Mapping[str, Any]) -> dict[str, float]:
        """Mean metrics over the crops, and the share of successes; nothing where samples diverge."""
        found: list[dict[str, float | None]] = []
        for index, crop in enumerate(self.crops):
            fading = "multipath" if self.blind else "awgn"
            allocation = "uniform" if self.blind and "rates" in self.codec.preset.components else None
            sent = self.codec.encode(crop, cbr=self.cbr, snr=snr_db, fading=fading, options=Transmitter(allocation=allocation))
            csi = "none" if self.blind else "perfect"
            received = pipeline.transmit(sent, snr=snr_db, fading=fading, csi=csi, seed=index)
            try:
                picture = self.codec.decode(received, seed=index, **options).image
            except InputError:  # the samples diverge
                return {}
            found.append(measure(crop, picture, self.weights))
        means = {name: float(np.mean([one[name] or 0.0 for one in found])) for name in UNITS}
        return means | {"success": float(np.mean([(one["psnr"] or 0.0) >= SUCCESS_DB for one in found]))}

    def worth(self, snr_db: float, coarse: Mapping[str, float], made: Mapping[str, float]) -> float:
        """What the largest of is looked for."""
        if not made:
            return -np.inf
        if self.blind:
            return made["success"] + made["psnr"] / 1000
        counted = [name for name in UNITS if name != "psnr" or snr_db >= 5]
        return min((made[name] - coarse[name]) / UNITS[name] for name in counted)

    def search(self, snr_db: float, likelihood: str) -> dict[str, float]:
        """The best sizes at an SNR; prints each that was tried."""
        sizes = BLIND if self.blind else HIFI
        fixed: dict[str, Any] = {"variant": "hifi", "likelihood": likelihood}
        if self.blind:
            fixed = {"variant": "blind", "samples": 3, "pick": "best", "steps": self.steps, **TAPS}
        coarse = self.figures(snr_db, {"coarse": True})
        print(markdown_line([snr_db, "coarse", *coarse.values(), 0.0]), flush=True)
        best = {name: values[0] for name, values in sizes.items()}
        most = -np.inf
        for number, (name, values) in enumerate(sizes.items()):
            for value in values[bool(number) :]:  # what all begin with was tried with the first
                tried = best | {name: value}
                made = self.figures(snr_db, fixed | tried)
                worth = self.worth(snr_db, coarse, made)
                words = ", ".join(f"{key} {size:g}" for key, size in tried.items())
                print(markdown_line([snr_db, words, *(made or dict.fromkeys(coarse)).values(), float(worth)]), flush=True)
                if worth > most:
                    most, best = worth, tried
        return best


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="training photographs; those of the validation split are used")
    parser.add_argument("--metric-weights", type=Path)
    parser.add_argument("--preset", default="nano")
    parser.add_argument("--codec", default="adjscc")
    parser.add_argument("--snr", type=numbers, default=[0.0, 10.0])
    parser.add_argument("--cbr", type=float, default=1 / 48)
    parser.add_argument("--crops", type=int, default=4)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--likelihood", default="score", choices=("score", "norm", "squared"))
    parser.add_argument("--blind", action="store_true")
    parser.add_argument("--steps", type=int, default=100, help="of blind's 1000")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    codec = pipeline.load("diffcom", given.preset, device=given.device, options=Transmitter(codec=given.codec))
    with tempfile.TemporaryDirectory() as cache:
        crops = load(given.data, Path(cache), validation=True).crops(given.crops, given.size, np.random.default_rng(0))[0]
    bench = Bench(codec, list(crops), given.cbr, given.blind, given.steps, given.metric_weights)
    print(markdown(["SNR/dB", "", *UNITS, "success", "worth"], []), flush=True)
    chosen = {snr_db: bench.search(snr_db, given.likelihood) for snr_db in given.snr}
    names = next(iter(chosen.values()))
    pairs = {name: [[snr_db, sizes[name]] for snr_db, sizes in chosen.items()] for name in names}
    kind = {"blind": TAPS | pairs} if given.blind else {"hifi": {"likelihood": given.likelihood, **pairs}}
    print("\n" + json.dumps({"sampling": kind}))


if __name__ == "__main__":
    main()
