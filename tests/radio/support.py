"""Captures made by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from gencomm_cli import rates
from gencomm_cli.radio import link
from gencomm_cli.radio.impairments import impaired
from gencomm_cli.radio.options import Impairments
from gencomm_cli.radio.recordings import Recording, of_samples
from gencomm_cli.radio.waveform import Waveform
from gencomm_cli.symbols import SymbolFile
from tests.support.symbols import sent, unit

SMALL = Waveform(fft=128, burst=64)
RATE = 1e6
SPACING = RATE / (SMALL.fft * SMALL.oversample)
"""Of its carriers, in Hz."""


def file(k: int = 600, seed: int = 0, **parts: int) -> SymbolFile:
    """A file that was sent, of ``k`` image symbols, with a prompt."""
    made = sent(k=k, **parts)
    return replace(made, symbols=unit(k, seed))


def recorded(sent: SymbolFile, waveform: Waveform = SMALL) -> Recording:
    return link.modulate(sent, waveform).recording(waveform, RATE)


def through(sent: SymbolFile, snr_db: float, waveform: Waveform = SMALL, seed: int = 0, **radio: Any) -> Recording:
    """The file's waveform through a radio."""
    return impaired(recorded(sent, waveform), Impairments(**radio), snr_db, seed)


def evm_db(received: SymbolFile, sent: SymbolFile) -> float:
    """Of the image symbols, after zero forcing."""
    assert received.csi_gain is not None
    error = received.symbols / received.csi_gain - sent.symbols
    return float(10 * np.log10(np.mean(np.abs(error) ** 2)))


def joined(*recordings: Recording) -> Recording:
    return of_samples(np.concatenate([each.read(0, len(each)) for each in recordings]))


def counted(sent: SymbolFile) -> int:
    return rates.samples(sent.header.image_size)
