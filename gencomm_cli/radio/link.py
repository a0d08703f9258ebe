"""A symbol file to samples, and samples to symbol files. A capture is read piece by piece, however long it is."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gencomm_cli.channels.ofdm import papr_db
from gencomm_cli.errors import InputError
from gencomm_cli.radio import framing
from gencomm_cli.radio.receiver import Burst, receive
from gencomm_cli.radio.recordings import PEAK, Recording, Span, of_samples
from gencomm_cli.radio.synchronisation import Capture, find, mean
from gencomm_cli.radio.waveform import PREAMBLE, Waveform
from gencomm_cli.symbols import SymbolFile

DEFAULT = Waveform()
_SILENCE = 2
"""OFDM symbols of silence before the first burst and after the last, for a radio to settle."""


@dataclass(frozen=True)
class Modulated:
    """Samples complex64 [n], full scale 1; where each burst begins, and how many samples each takes; channel uses of all."""

    samples: NDArray[np.complex64]
    starts: tuple[int, ...]
    counts: tuple[int, ...]
    uses: int

    @property
    def papr_db(self) -> float:
        """Peak-to-average power ratio of the bursts, in dB."""
        return float(papr_db(self.samples[self.starts[0] : self.starts[-1] + self.counts[-1]]))

    def recording(self, waveform: Waveform, sample_rate: float) -> Recording:
        """The samples as a recording that says where the bursts are, and what their receiver must know."""
        spacing = sample_rate / (waveform.oversample * waveform.fft)
        edge = spacing * (float(waveform.carriers[-1]) + 0.5)
        spans = tuple(
            Span(start, count, -edge, edge, f"burst {index}")
            for index, (start, count) in enumerate(zip(self.starts, self.counts, strict=True))
        )
        settings = (("fft", waveform.fft), ("oversample", waveform.oversample))
        return of_samples(self.samples, sample_rate, spans=spans, settings=settings)


@dataclass(frozen=True)
class Transmission:
    """A received file, and the bursts that brought it; ``lost`` are the indices of those that did not arrive."""

    file: SymbolFile
    bursts: tuple[Burst, ...]
    lost: tuple[int, ...]


def modulate(file: SymbolFile, waveform: Waveform = DEFAULT) -> Modulated:
    """The bursts of a file that was sent, one after the other. Raises InputError for what no waveform carries."""
    every = framing.split(file, waveform)
    symbols = [waveform.ofdm_symbols(cells.size) for cells in every]
    counts = tuple(waveform.sample_count(each) for each in symbols)
    silence = _SILENCE * waveform.length * waveform.oversample
    starts = tuple(itertools.accumulate(counts[:-1], initial=silence))
    samples = np.zeros(2 * silence + sum(counts), np.complex64)
    for cells, start, count in zip(every, starts, counts, strict=True):
        samples[start : start + count] = waveform.samples(waveform.grid(cells))
    parts = samples.view(np.float32)
    parts *= np.float32(PEAK / max(parts.max(), -parts.min()))
    return Modulated(samples, starts, counts, waveform.length * sum(PREAMBLE + each for each in symbols))


def bursts(capture: Capture, waveform: Waveform = DEFAULT) -> Iterator[Burst]:
    """Every burst that arrived, by time. Raises InputError where samples are not finite."""
    offset = mean(capture)
    for found in find(capture, waveform):
        burst = receive(capture, found, offset, waveform)
        if burst is not None:
            yield burst


def demodulate(capture: Capture, waveform: Waveform = DEFAULT) -> list[Transmission]:
    """The files whose bursts are in a capture, by their first bursts; of a burst that came twice the better is taken.

    Raises:
        InputError: there is no burst, or samples are not finite.
    """
    files: dict[tuple[object, ...], dict[int, Burst]] = {}
    for burst in bursts(capture, waveform):
        found = files.setdefault((burst.transmission, burst.bursts, framing.describe(burst.description)), {})
        found[burst.piece.index] = max(found.get(burst.piece.index, burst), burst, key=lambda each: each.quality)
    if not files:
        raise InputError(
            f"capture: there is no burst of gencomm in {len(capture)} samples; give the --fft and --oversample of the transmitter"
        )
    return [_joined(tuple(found.values()), waveform) for found in files.values()]


def _joined(found: tuple[Burst, ...], waveform: Waveform) -> Transmission:
    count = found[0].bursts
    file = framing.join(found[0].description, count, [burst.piece for burst in found], waveform)
    lost = set(range(count)) - {burst.piece.index for burst in found}
    return Transmission(file, found, tuple(sorted(lost)))
