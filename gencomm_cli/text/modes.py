"""Which code, modulation and repetition carry a prompt: the cheapest in symbols whose measured threshold is met.

``thresholds.npz`` holds, for every code, at several fills (message bits sent / k) and for four channels (AWGN with QPSK; Rayleigh
fading of every symbol with QPSK and repetition 1, 2, 4), the median and the spread in dB of a normal distribution function that
was fitted to the loss probability of a codeword over the SNR in dB. Other modes follow exactly (BPSK at an SNR is QPSK at twice
the SNR, and r copies on AWGN are r times the SNR) or from the safe side (BPSK under fading: its bits do not even share fades).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gencomm_cli.text import ldpc
from gencomm_cli.text.coded_modulation import CodedModulation

Fading = Literal["awgn", "rayleigh", "block", "multipath", "unknown"]

DESIGN_LOSS = 0.003
MODULATIONS = ("bpsk", "qpsk")
REPETITIONS = (1, 2, 4)
CHANNELS = ("awgn", "rayleigh1", "rayleigh2", "rayleigh4")
# With one fade for the whole prompt no mode is safe. A threshold this far below the mean SNR makes the outage
# 1 - exp(-10**-0.5) = 27 % at most instead of 63 %; each further dB would cost another quarter of the symbols.
# Over multipath symbols fade as under Rayleigh fading, but not independently: this far below, the capacity of the default
# channel (8 taps) is under that of independent fading in 2.5 % of all draws, at any SNR from -5 to 20 dB.
FADE_MARGIN_DB = {"block": 5.0, "multipath": 4.0}


@dataclass(frozen=True)
class Mode(CodedModulation):
    """A coded modulation whose losses were measured."""

    code: ldpc.Code

    def loss_curve(self, bits: int, fading: Fading) -> tuple[float, float]:
        """Median and spread in dB (Es/N0) of one codeword's loss probability; on AWGN or under Rayleigh fading."""
        thresholds = load()
        curves = thresholds.curves[self.code.name]
        _, each = self.split(bits)
        channel = "rayleigh" + str(self.repetition) if fading in ("rayleigh", "multipath") else "awgn"
        i = CHANNELS.index(channel)
        median, spread = (float(np.interp(each / self.code.k, thresholds.fills, curves[:, i, j])) for j in range(2))
        if channel == "awgn":
            median -= 10 * math.log10(self.repetition)
        if self.modulation == "bpsk":
            median -= 10 * math.log10(2)
        return median, spread

    def threshold_db(self, bits: int, fading: Fading) -> float:
        """SNR in dB at which a message of ``bits`` is lost with the design probability."""
        median, spread = self.loss_curve(bits, fading)
        return median - spread * NormalDist().inv_cdf(DESIGN_LOSS / self.split(bits)[0])


@dataclass(frozen=True)
class Thresholds:
    """Fills (ascending) [f] and for each code the curves [f, channels, (median, spread)] in dB, of QPSK symbols."""

    fills: NDArray[np.float64]
    curves: dict[str, NDArray[np.float64]]


@cache
def load() -> Thresholds:
    """The measured thresholds."""
    with as_file(files("gencomm_cli.text") / "data" / "thresholds.npz") as path, np.load(path) as archive:
        return Thresholds(archive["fills"], {key: archive[key] for key in archive.files if key != "fills"})


def every() -> Iterator[Mode]:
    """All modes."""
    for code in ldpc.load().values():
        for modulation in MODULATIONS:
            for repetition in REPETITIONS:
                yield Mode(code, modulation, repetition)


def choose(bits: int, snr_db: float | None, fading: Fading) -> Mode:
    """The mode for a message of ``bits``: the fewest symbols among those whose threshold is met.

    An unknown SNR is taken as 0 dB with Rayleigh fading, unknown fading as Rayleigh. On block Rayleigh fading and over multipath
    losses are unavoidable; the threshold (of AWGN, of Rayleigh fading) is kept below the mean SNR by ``FADE_MARGIN_DB``. If no
    threshold is met: four copies of BPSK, with the code that needs the least energy a prompt.
    """
    snr = 0.0 if snr_db is None else snr_db
    kind: Fading = "rayleigh" if fading == "unknown" or snr_db is None else fading
    target = snr - FADE_MARGIN_DB.get(kind, 0.0)
    candidates = [(mode, mode.symbols(bits), mode.threshold_db(bits, kind)) for mode in every()]
    met = [(symbols, threshold, mode) for mode, symbols, threshold in candidates if threshold <= target]
    if met:
        return min(met, key=lambda m: m[:2])[2]
    robust = [c for c in candidates if c[0].modulation == "bpsk" and c[0].repetition == REPETITIONS[-1]]
    return min(robust, key=lambda c: c[2] + 10 * math.log10(c[1]))[0]
