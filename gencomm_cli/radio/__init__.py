"""Symbol files as OFDM waveforms, and back: what a radio sends, and what it recorded.

    tx.npz ─► modulate ─► recording ─► radio, or impairments ─► recording ─► demodulate ─► rx.npz

Works on complex baseband samples; the recordings' formats are in :mod:`gencomm_cli.radio.recordings`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gencomm_cli.errors import InputError
from gencomm_cli.radio import framing
from gencomm_cli.radio.receiver import MAX_SAMPLES, Burst, receive
from gencomm_cli.radio.synchronisation import Capture, find, mean
from gencomm_cli.radio.waveform import Waveform
from gencomm_cli.symbols import SymbolFile

__all__ = ["Burst", "Modulated", "Transmission", "Waveform", "bursts", "demodulate", "modulate"]

PEAK = 0.9
"""Of the samples' real and imaginary parts: full scale is 1."""
_SILENCE = 2
"""OFDM symbols of silence before the first burst and after the last, for a radio to settle."""


@dataclass(frozen=True)
class Modulated:
    """Samples complex64 [n], full scale 1; where each burst begins, and how many samples each takes."""

    samples: NDArray[np.complex64]
    starts: tuple[int, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Transmission:
    """A received file, and the bursts that brought it; ``lost`` are the indices of those that did not arrive."""

    file: SymbolFile
    bursts: tuple[Burst, ...]
    lost: tuple[int, ...]


def modulate(file: SymbolFile, waveform: Waveform = Waveform()) -> Modulated:  # noqa: B008 - frozen
    """The bursts of a file that was sent, one after the other. Raises InputError for what no waveform carries."""
    parts = [waveform.samples(waveform.grid(cells)) for cells in framing.split(file, waveform)]
    silence = np.zeros(_SILENCE * waveform.length * waveform.oversample, np.complex64)
    counts = tuple(part.size for part in parts)
    starts = tuple(int(silence.size + sum(counts[:index])) for index in range(len(parts)))
    samples = np.concatenate((silence, *parts, silence))
    return Modulated(samples * np.float32(PEAK / np.abs(samples.view(np.float32)).max()), starts, counts)


def bursts(capture: Capture, waveform: Waveform = Waveform()) -> Iterator[Burst]:  # noqa: B008
    """Every burst that arrived, by time. Raises InputError where samples are not finite."""
    offset = mean(capture)
    for found in find(capture, waveform):
        burst = receive(capture, found, offset, waveform)
        if burst is not None:
            yield burst


def demodulate(capture: Capture, waveform: Waveform = Waveform()) -> list[Transmission]:  # noqa: B008
    """The files whose bursts are in a capture, in the order of their first bursts; of a burst that came twice the stronger is taken.

    Raises:
        InputError: there is no burst, or samples are not finite.
    """
    files: dict[tuple[object, ...], dict[int, Burst]] = {}
    for burst in bursts(capture, waveform):
        found = files.setdefault((burst.transmission, burst.bursts, framing.describe(burst.description)), {})
        if burst.piece.index not in found or burst.snr_db > found[burst.piece.index].snr_db:
            found[burst.piece.index] = burst
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
