"""Where bursts begin in a capture, and how far their carriers are off: Schmidl and Cox (IEEE Trans. Commun. 45(12), 1997).

All of it at one sample for each that OFDM needs (:func:`decimated`). The first preamble symbol's halves are the same: their
correlation finds it and gives the frequency offset within one carrier; the second symbol, relative to the first, gives the whole
carriers; the known samples of both then give the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gencomm_cli.radio.waveform import PREAMBLE, Complex, Waveform

Floats = NDArray[np.float64]

BLOCK = 2**19
"""Samples of a capture that are looked at together."""
_SPAN = 16
"""Half of the filter, in samples after decimation."""


class Capture(Protocol):
    """Complex baseband samples, of which only those that are asked for need to be in memory."""

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int) -> NDArray[np.complex64]:
        """Samples ``start`` to ``stop``, complex64, all finite."""


@dataclass(frozen=True)
class Found:
    """A preamble: ``start`` is the sample of the capture where its first symbol's DFT begins; ``cfo`` is in carriers."""

    start: int
    cfo: float


def decimated(samples: Complex, waveform: Waveform) -> Complex:
    """One sample in ``oversample``, complex128 [⌊n/r⌋], behind a linear-phase filter that passes the carriers wherever a frequency
    offset within ``max_cfo`` puts them, and whose stopband (60 dB) begins where aliases would reach them. Sample j is the capture's
    j·r-th."""
    rate = waveform.oversample
    if rate == 1:
        return samples.astype(np.complex128)
    from scipy.signal import firwin, upfirdn  # which takes a while to import

    taps = firwin(2 * _SPAN * rate + 1, 1 / rate, window=("kaiser", 5.65))
    return upfirdn(taps, samples.astype(np.complex128), 1, rate)[_SPAN:][: samples.size // rate]


def excerpt(capture: Capture, start: int, count: int, offset: complex, waveform: Waveform) -> Complex:
    """``count`` decimated samples, the first of them the capture's sample ``start``; what lies outside of the capture is 0.

    ``offset``: of the receiver's DC, which is taken off.
    """
    rate = waveform.oversample
    first, last = start - _SPAN * rate, start + (count + _SPAN) * rate
    inside = capture.read(max(first, 0), min(last, len(capture)))
    padded = np.zeros(last - first, np.complex64)
    begin = max(-first, 0)
    padded[begin : begin + inside.size] = inside - np.complex64(offset)
    return decimated(padded, waveform)[_SPAN:][:count]


def metric(samples: Complex, half: int) -> tuple[Complex, Floats]:
    """P_d = Σ_m r*_(d+m) r_(d+m+L) over m < L = ``half``, and M_d = |P_d|²/(E_d E_(d+L)) in 0 … 1, for each d with 2L samples from
    there on. E are the energies of the halves: with both, where the paper has the second's square, a burst's edges do not exceed 1.
    """
    lagged = _moving_sum(samples[:-half].conj() * samples[half:], half)
    energy = _moving_sum(np.abs(samples) ** 2, half)
    energy = energy + 1e-9 * energy.max(initial=1e-30)  # digital silence is rounding errors, which may correlate
    return lagged, np.abs(lagged) ** 2 / (energy[:-half] * energy[half:])


def threshold(waveform: Waveform) -> float:
    """Of M, averaged over the prefix: noise alone, where L·M is about Exp(1), seldom gets there, and is refused later; 0 dB of SNR,
    where M = 1/4, does."""
    return max(0.1, 6 / (waveform.fft // 2))


def find(capture: Capture, waveform: Waveform) -> Iterator[Found]:
    """Preambles from the capture's begin to its end. Raises InputError where samples are not finite."""
    rate, length = waveform.oversample, waveform.length
    offset = mean(capture)
    overlap = 5 * length * rate
    last = -len(capture)
    for begin in range(0, max(len(capture) - overlap, 1), BLOCK):
        count = (min(BLOCK + overlap, len(capture) - begin)) // rate
        samples = excerpt(capture, begin, count, offset, waveform)
        for place in candidates(samples, waveform):
            found = synchronise(samples, place, waveform)
            if found is None:
                continue
            start = begin + found.start * rate
            if start - last >= length * rate:
                last = start
                yield Found(start, found.cfo)


def mean(capture: Capture) -> complex:
    """The mean sample, which is the receiver's DC."""
    total = 0j
    for begin in range(0, len(capture), BLOCK):
        total += complex(capture.read(begin, min(begin + BLOCK, len(capture))).sum(dtype=np.complex128))
    return total / max(len(capture), 1)


def candidates(samples: Complex, waveform: Waveform) -> Iterator[int]:
    """Where the metric says that a preamble's prefix may begin."""
    half, prefix = waveform.fft // 2, waveform.prefix
    if samples.size < 2 * waveform.length + prefix:
        return
    _, sharp = metric(samples, half)
    smooth = _moving_sum(sharp, prefix + 1) / (prefix + 1)
    above = np.flatnonzero(smooth > threshold(waveform))
    at = 0
    while at < above.size:
        window = smooth[above[at] :][: waveform.length]
        place = int(above[at] + window.argmax())
        yield place
        at = int(np.searchsorted(above, place + waveform.length))


def synchronise(samples: Complex, place: int, waveform: Waveform) -> Found | None:
    """The preamble whose prefix begins about at ``place``; None if there is none. ``start`` counts these samples."""
    size, prefix, length = waveform.fft, waveform.prefix, waveform.length
    first = max(place - prefix, 0)
    chunk = samples[first : place + 4 * prefix + PREAMBLE * length]
    if chunk.size < PREAMBLE * length + 2 * prefix:
        return None
    lagged, _ = metric(samples[place : place + size + prefix], size // 2)
    fraction = float(np.angle(lagged.sum())) / np.pi  # of the two carriers that the halves cannot tell apart
    turned = chunk * np.exp(-2j * np.pi * fraction / size * np.arange(chunk.size))
    whole = _whole_carriers(turned[place - first + prefix - prefix // 4 :], waveform)
    if whole is None or abs(whole + fraction) > waveform.max_cfo + 1:
        return None
    turned *= np.exp(-2j * np.pi * whole / size * np.arange(chunk.size))
    known = preamble_samples(waveform)
    correlation = np.abs(np.correlate(turned, known, "valid")) ** 2
    energy = _moving_sum(np.abs(turned) ** 2, known.size) * np.sum(np.abs(known) ** 2)
    best = int(correlation.argmax())
    if not correlation[best] > max(0.03, 12 / known.size) * energy[best]:
        return None
    return Found(first + best, whole + fraction)


@cache
def preamble_samples(waveform: Waveform) -> Complex:
    """The preamble from its first DFT on, at one sample for each that OFDM needs: complex64 [2·fft + prefix]."""
    plain = Waveform(waveform.fft, 1, 0)  # as its receiver sees it
    return plain.samples(plain.known(0)[0])[plain.prefix :]


def _whole_carriers(samples: Complex, waveform: Waveform) -> int | None:
    """The even number of carriers that the preamble is off by; samples begin with its first DFT."""
    size, known = waveform.fft, waveform.known(0)[0]
    if samples.size < waveform.length + size:
        return None
    first, second = (np.fft.fft(samples[begin : begin + size]) for begin in (0, waveform.length))
    even = waveform.carriers[waveform.carriers % 2 == 0]
    turn = (known[1].conj() * known[0])[waveform.carriers % 2 == 0]
    most = waveform.max_cfo // 2 + 1
    shifts = 2 * np.arange(-most, most + 1)
    bins = (even + shifts[:, None]) % size
    return int(shifts[np.abs(np.sum(first[bins].conj() * second[bins] * turn, 1)).argmax()])


def _moving_sum(values: NDArray[Any], count: int) -> NDArray[Any]:
    """Sums of ``count`` neighbours, [n - count + 1]."""
    total = np.concatenate((np.zeros(1, values.dtype), np.cumsum(values)))
    return total[count:] - total[:-count]
