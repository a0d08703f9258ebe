"""What a posterior sample costs: ``python examples/cost_diffcom.py PHOTOGRAPH [cost.png]``

HiFi-DiffCom's decoding time against the number of steps, for the central 256² pixels, and against the number of pixels, for 10
steps; the largest resident memory beside it, measured in a process of its own. Both should lie on straight lines. 214 steps are
η = 1 at 10 dB (eq. 21); the last row is the preset's own η.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from _common import markdown

from gencomm_cli import pipeline
from gencomm_cli.images import read_image
from gencomm_cli.methods.diffcom.options import Transmitter

SIDES = (128, 192, 256, 384, 512)
STEPS = (10, 20, 40, 80, 160, 214)


def decode(path: Path, side: int, steps: int | None, arguments: argparse.Namespace) -> tuple[float, float, int]:
    """Median seconds of three decodings, the peak MiB of the process, and the steps taken: ``steps``, or the preset's."""
    pixels = read_image(path)
    top, left = ((length - side) // 2 for length in pixels.shape[:2])
    codec = pipeline.load("diffcom", arguments.preset, device=arguments.device, options=Transmitter(codec=arguments.codec))
    sent = codec.encode(pixels[top : top + side, left : left + side], cbr=1 / 48, snr=10.0, say=print)
    received = pipeline.transmit(sent, snr=10.0)
    seconds, taken = [], [0]

    def count(done: int, total: int, note: str = "", /) -> None:
        taken[0] = total

    for _ in range(3):
        started = time.perf_counter()
        codec.decode(received, say=print, progress=count, steps=steps, start_step=steps)
        seconds.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return statistics.median(seconds), peak, taken[0]


def alone(*case: Any) -> tuple[float, float, int]:
    """:func:`decode` in a process of its own."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(decode, case)


def straight(x: list[float], y: list[float]) -> tuple[float, float, float]:
    """Slope and intercept of the least-squares line, and its R²."""
    slope, intercept = np.polyfit(x, y, 1)
    left = np.array(y) - (slope * np.array(x) + intercept)
    return float(slope), float(intercept), float(1 - left.var() / np.var(y))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path, help="at least 512 pixels on both sides")
    parser.add_argument("plot", type=Path, nargs="?", default=Path("cost.png"))
    parser.add_argument("--preset", default="nano")
    parser.add_argument("--codec", default="adjscc")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()

    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    runs = {
        "steps": [(steps, 256, steps) for steps in STEPS],
        "pixels": [(side**2, side, 10) for side in SIDES],
    }
    lines = []
    for axis, (quantity, cases) in zip(axes, runs.items(), strict=True):
        x, y = [float(case[0]) for case in cases], []
        for amount, side, steps in cases:
            seconds, peak, _ = alone(arguments.image, side, steps, arguments)
            y.append(seconds)
            lines.append([f"{side}²", steps, seconds, peak])
            print(f"{quantity} {amount}: {seconds:.2f} s", file=sys.stderr)
        slope, intercept, fit = straight(x, y)
        axis.plot(x, y, "o", color="C0")
        axis.plot(x, [slope * value + intercept for value in x], color="C1", label=f"straight line, R² = {fit:.4f}")
        axis.set(xlabel=quantity + (" at 256²" if quantity == "steps" else ", 10 steps"), ylabel="seconds", ylim=(0, None))
        axis.legend()
        print(f"{quantity}: {slope:.3g} s each, R² {fit:.4f}")
    figure.savefig(arguments.plot, dpi=120)
    seconds, peak, steps = alone(arguments.image, 256, None, arguments)
    lines.append(["256², the preset's η", steps, seconds, peak])
    print(markdown(["image", "steps", "seconds", "peak MiB"], lines))


if __name__ == "__main__":
    main()
