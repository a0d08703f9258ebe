"""The OFDM waveform of a burst: which carriers hold what, and carriers to samples.

    | A: preamble | B: preamble | cells: header, description, symbols … each OFDM symbol with its cyclic prefix

A and B are Schmidl and Cox's (IEEE Trans. Commun. 45(12), 1997): A has even carriers alone, so that its two halves are the same; B
has all. An eighth of the carriers of every later OFDM symbol are pilots, at
other places in each, so that a burst has some on every carrier. Every carrier has unit power (A's two), and all that is known is
public QPSK.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gencomm_cli.channels.ofdm import qpsk
from gencomm_cli.radio.options import WaveformOptions

Complex = NDArray[np.complexfloating[Any, Any]]
Mask = NDArray[np.bool_]

PREAMBLE = 2
"""OFDM symbols before the first cells."""
PILOT_SPACING, PILOT_STEP = 8, 3
_FILTER_SPAN = 16
"""Critical samples on either side of a pulse's centre."""


@dataclass(frozen=True)
class Waveform(WaveformOptions):
    """What the options make. The cyclic prefix is an eighth of the DFT; with oversampling r, carriers are rate/(r·fft) apart."""

    @property
    def length(self) -> int:
        """Samples of an OFDM symbol with its prefix, before oversampling."""
        return self.fft + self.prefix

    @cached_property
    def carriers(self) -> NDArray[np.int64]:
        """Used carriers, int64 [U], ascending: about 78 % of all, without DC."""
        half = PILOT_SPACING * round(self.fft * 25 / 32 / PILOT_SPACING) // 2
        return np.concatenate((np.arange(-half, 0), np.arange(1, half + 1)))

    @property
    def max_cfo(self) -> int:
        """The largest carrier frequency offset that a receiver finds, in carriers."""
        return (self.fft - self.carriers.size) // 4

    @property
    def cells_per_symbol(self) -> int:
        """Cells of an OFDM symbol that are not pilots."""
        return self.carriers.size * (PILOT_SPACING - 1) // PILOT_SPACING

    def ofdm_symbols(self, cells: int) -> int:
        """OFDM symbols, besides the preamble, that so many cells take."""
        return -(-cells // self.cells_per_symbol)

    def sample_count(self, symbols: int) -> int:
        """Samples of a burst of preamble and so many OFDM symbols."""
        return ((PREAMBLE + symbols) * self.length + self.ramp) * self.oversample

    def known(self, symbols: int) -> tuple[NDArray[np.complex64], Mask]:
        """What the receiver knows of a burst of preamble and ``symbols``: carriers complex64 [2 + symbols, U], 0 where it knows
        nothing, and where the cells are, bool of the same shape."""
        used = self.carriers.size
        row = np.arange(symbols)[:, None]
        pilots = np.arange(used) % PILOT_SPACING == PILOT_STEP * row % PILOT_SPACING
        preamble = qpsk(PREAMBLE * used, "preamble").reshape(PREAMBLE, used)
        preamble[0] *= np.where(self.carriers % 2 == 0, np.float32(2**0.5), 0)
        sent = np.concatenate((preamble, qpsk(symbols * used).reshape(-1, used) * pilots))
        return sent.astype(np.complex64), np.concatenate((np.zeros((PREAMBLE, used), bool), ~pilots))

    def grid(self, cells: Complex) -> NDArray[np.complex64]:
        """A burst's carriers complex64 [S, U] with ``cells`` in their places; what they leave empty is filled with QPSK."""
        count = self.ofdm_symbols(cells.size)
        grid, free = self.known(count)
        filler = qpsk(count * self.cells_per_symbol, "filler")
        filler[: cells.size] = cells
        grid[free] = filler
        return grid

    def samples(self, grid: Complex) -> NDArray[np.complex64]:
        """Carriers [S, U] to samples complex64 [(S·length + ramp)·oversample] of power U/fft: IDFT, prefix, window, pulse."""
        size, rate = self.fft * self.oversample, self.oversample
        bins = np.zeros((len(grid), size), np.complex128)
        bins[:, self.carriers % size] = grid
        time = np.fft.ifft(bins, norm="ortho") * rate**0.5
        ramp = self.ramp * rate
        extended = np.concatenate((time[:, size - self.prefix * rate :], time, time[:, :ramp]), 1)
        rising = np.sin(np.pi / 2 * (np.arange(ramp) + 0.5) / max(ramp, 1)) ** 2
        extended[:, :ramp] *= rising
        extended[:, extended.shape[1] - ramp :] *= rising[::-1]
        step = self.length * rate
        signal = np.zeros(self.sample_count(len(grid) - PREAMBLE), np.complex128)
        signal[: len(grid) * step] = extended[:, :step].reshape(-1)
        for tail, end in zip(extended[:, step:], range(step, len(grid) * step + 1, step), strict=True):
            signal[end : end + ramp] += tail
        return self._shaped(signal).astype(np.complex64)

    def _shaped(self, signal: Complex) -> Complex:
        if self.rrc is None:
            return signal
        taps = root_raised_cosine(self.rrc, self.oversample)
        return np.convolve(signal, taps / taps.sum(), "same")


def root_raised_cosine(rolloff: float, rate: int) -> NDArray[np.float64]:
    """The pulse whose spectrum is the root of a raised cosine: unit energy, ``rate`` samples a symbol, float64 [32·rate + 1]."""
    t = np.arange(-_FILTER_SPAN * rate, _FILTER_SPAN * rate + 1) / rate + 1e-9  # off the two points where the formula is 0/0
    b = 4 * rolloff * t
    pulse = (np.sin(np.pi * t * (1 - rolloff)) + b * np.cos(np.pi * t * (1 + rolloff))) / (np.pi * t * (1 - b**2))
    return pulse / np.sqrt(np.sum(pulse**2))
