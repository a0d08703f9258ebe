"""Adaptive modulation and coding: which code rate and modulation hold at an SNR, as measured.

``modes.json`` holds for each code, modulation and channel the median and the spread in dB (Es/N0) of a normal distribution
function that was fitted to the measured loss rate of a codeword. BPSK at an SNR is QPSK at twice the SNR, and r copies of each bit
are r times the SNR: exactly so on AWGN, from the safe side on Rayleigh fading, where bits and copies then meet more fades. So is
shortening, which makes a code stronger.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import NormalDist
from typing import Literal

from gencomm_cli.errors import InputError, RateError
from gencomm_cli.methods.base import Fading
from gencomm_cli.methods.separate.five_g import FiveG
from gencomm_cli.methods.separate.options import Transmitter
from gencomm_cli.text import crc, ldpc, modem
from gencomm_cli.text.coded_modulation import CodedModulation
from gencomm_cli.text.ldpc import BlockCode
from gencomm_cli.text.modes import FADE_MARGIN_DB

IMAGE_LOSS = 0.01
"""Above this probability of losing an image a mode is not chosen."""
TAIL = 0.5
"""Spreads that are added to every threshold: 10,000 words at each of several modes lost 2 to 5 times what the fit's tail says."""
CHANNELS: tuple[Literal["awgn", "rayleigh"], ...] = ("awgn", "rayleigh")
MOTHERS = {"1/4": "r14", "1/2": "r12", "2/3": "r23", "3/4": "r34", "5/6": "r56"}
RATES = {"1/16": ("1/4", 4), "1/8": ("1/4", 2)} | {rate: (rate, 1) for rate in MOTHERS}
"""Code rates by name: the mother code's rate, and how often each of its bits is sent."""
NEARLY = 0.9
"""Of a fixed rate's codes the longest is taken that carries this share of what another length would."""


@dataclass(frozen=True)
class Mode:
    """A code rate with a modulation, and the code that gives it."""

    code_rate: str
    link: CodedModulation

    @property
    def name(self) -> str:
        """As people write it: ``16qam 1/2``."""
        return f"{self.link.modulation} {self.code_rate}"

    def payload_bytes(self, symbols: int) -> int:
        """The most bytes that, with their CRC, fit into so many symbols; negative where not even the CRC does."""
        low, high = -1, symbols * modem.BITS_PER_SYMBOL[self.link.modulation] // 8
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.link.symbols(8 * middle + crc.BITS) <= symbols else (low, middle - 1)
        return low


@dataclass(frozen=True)
class Modes:
    """The shipped codes, and the curves (median, spread) in dB by (code, modulation, channel)."""

    codes: Mapping[str, ldpc.Code]
    curves: Mapping[tuple[str, str, str], tuple[float, float]]

    @classmethod
    def load(cls, codes: Path, table: Path) -> Modes:
        """The files ``codes.npz`` and ``modes.json``."""
        rows = json.loads(table.read_text("utf-8"))["curves"]
        curves = {(row["code"], row["modulation"], row["channel"]): (row["median_db"], row["spread_db"]) for row in rows}
        return cls(ldpc.read(codes), curves)

    @cached_property
    def lengths(self) -> list[int]:
        """Lengths of the shipped codes in bits, the longest first."""
        return sorted({code.n for code in self.codes.values()}, reverse=True)

    def mode(self, fec: str, code: str, code_rate: str, modulation: str) -> Mode:
        """The mode that a header names.

        Raises:
            InputError: there is no such mode.
        """
        mother, repetition = RATES.get(code_rate, ("", 1))
        found: BlockCode | None = None
        if fec == "5g" and mother and code == FiveG(mother).name:
            found = FiveG(mother)
        elif fec == "ldpc" and code.partition("n")[0] == MOTHERS.get(mother):
            found = self.codes.get(code)
        if found is None or modulation not in modem.BITS_PER_SYMBOL:
            raise InputError(f"classical: {fec} {code} {code_rate} {modulation} is not a mode that this version knows")
        return Mode(code_rate, CodedModulation(found, modulation, repetition))

    def candidates(self, options: Transmitter) -> list[Mode]:
        """All modes that the options allow; longer codes before shorter ones."""
        rates = tuple(RATES) if options.code_rate == "auto" else (options.code_rate,)
        modulations = tuple(modem.BITS_PER_SYMBOL) if options.modulation == "auto" else (options.modulation,)
        names = {
            rate: [FiveG(mother).name] if options.fec == "5g" else [f"{MOTHERS[mother]}n{length}" for length in self.lengths]
            for rate, (mother, _) in RATES.items()
        }
        return [
            self.mode(options.fec, name, rate, modulation) for modulation in modulations for rate in rates for name in names[rate]
        ]

    def loss_curve(self, mode: Mode, bits: int, channel: str) -> tuple[float, float]:
        """Median and spread in dB (Es/N0) of the loss of one codeword of a message of ``bits``, on ``awgn`` or ``rayleigh``."""
        link = mode.link
        modulation, gain = ("qpsk", 2.0) if link.modulation == "bpsk" else (link.modulation, 1.0)
        names = link.code.curves(link.split(bits)[1]) if isinstance(link.code, FiveG) else {link.code.name: 1.0}
        median, spread = (
            sum(weight * self.curves[name, modulation, channel][i] for name, weight in names.items()) for i in range(2)
        )
        return median - 10 * math.log10(gain * link.repetition), spread

    def threshold_db(self, mode: Mode, bits: int, fading: Fading) -> float:
        """Mean SNR in dB (Es/N0) at which a message of ``bits`` is lost with probability ``IMAGE_LOSS``.

        On block fading (over multipath), where no mode is safe: the AWGN (Rayleigh) threshold and a margin, as for prompts.
        """
        median, spread = self.loss_curve(mode, bits, "awgn" if fading in ("awgn", "block") else "rayleigh")
        words, _ = mode.link.split(bits)
        margin = TAIL * spread + FADE_MARGIN_DB.get(fading, 0.0)
        return median - spread * NormalDist().inv_cdf(IMAGE_LOSS / words) + margin

    def choose(
        self, symbols: int, snr_db: float | None, fading: Fading, options: Transmitter, least: Callable[[], int] = lambda: 1
    ) -> Mode:
        """The mode that carries most in so many symbols among those that hold at the SNR that the transmitter knows.

        An unknown SNR is taken as 0 dB with Rayleigh fading, unknown fading as Rayleigh. What the user fixes stays fixed; with
        both code rate and modulation fixed, no threshold is asked for.

        Args:
            least: bytes that have to be carried, which is asked where no mode carries one.

        Raises:
            RateError: nothing fits, or nothing holds.
        """
        modes = [(mode.payload_bytes(symbols), mode) for mode in self.candidates(options)]
        fits = [(size, mode) for size, mode in modes if size > 0]
        snr, kind = (0.0, "rayleigh") if snr_db is None else (snr_db, fading)

        def threshold(mode: Mode, size: int) -> float:
            return self.threshold_db(mode, 8 * size + crc.BITS, kind)  # type: ignore[arg-type]

        if not fits:
            size = least()
            holding = [mode for _, mode in modes if options.mode_is_fixed or threshold(mode, size) <= snr]
            would = [mode.link.symbols(8 * size + crc.BITS) for mode in holding]
            raise RateError(
                f"{symbols} symbols do not carry a codeword of any mode that was allowed", fits=min(would, default=None)
            )
        if options.mode_is_fixed:
            most = max(size for size, _ in fits)
            return next(mode for size, mode in fits if size >= NEARLY * most)
        held = [(size, mode) for size, mode in fits if threshold(mode, size) <= snr]
        if not held:
            raise RateError(
                f"no mode that was allowed holds at {snr:g} dB ({kind}) with {symbols} symbols; "
                "fix --modulation and --code-rate to send all the same",
                "snr",
            )
        return max(held, key=lambda entry: (entry[0], -threshold(entry[1], entry[0])))[1]
