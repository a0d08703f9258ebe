"""Options of waveforms and of what befalls them. Imports nothing heavy: ``--help`` comes through here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gencomm_cli.errors import OptionError
from gencomm_cli.options import Flag, check_values

MAX_BURST = 1024
FFT_SIZES = (64, 128, 256, 512, 1024, 2048, 4096)
MAX_BURST_SAMPLES = 2**19
"""Less prefixes. Demodulating a burst takes some 240 bytes for each, within 200 MB."""
MAX_MODULATED = 2**25
"""Samples of a file's bursts: they take 256 MiB of memory, and as much again on their way into an archive."""
MAX_SAMPLES = 2**22
"""Of a recording that is changed by impairments, for which it is held in memory several times."""
_LARGE = 1e9
Tones = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class WaveformOptions:
    """What transmitter and receiver must agree on; the receiver reads ``fft`` and ``oversample`` alone."""

    fft: Annotated[int, Flag("Size of the DFT, a power of two; default 256.", metavar="N", low=64, high=4096)] = 256
    oversample: Annotated[int, Flag("Samples for each one that OFDM needs; default 2.", metavar="N", low=1, high=16)] = 2
    window: Annotated[
        int | None,
        Flag("Samples (before oversampling) over which OFDM symbols fade into one another; default fft/32.", "N", 0, 256),
    ] = None
    rrc: Annotated[
        float | None, Flag("Shape the spectrum with a root-raised-cosine filter of this roll-off.", "ROLLOFF", 0.01, 0.25)
    ] = None
    burst: Annotated[int, Flag("Most OFDM symbols of a burst; default 64.", metavar="N", low=16, high=MAX_BURST)] = 64

    def __post_init__(self) -> None:
        """Raises OptionError where a value cannot be."""
        check_values(self)
        if self.fft not in FFT_SIZES:
            raise OptionError("fft", f"{self.fft} is not a power of two; one of {', '.join(map(str, FFT_SIZES))}")
        if self.ramp > self.prefix // 2:
            raise OptionError("window", f"{self.ramp} samples leave too little of the prefix; at most {self.prefix // 2}")
        if self.rrc is not None and self.oversample == 1:
            raise OptionError("rrc", "shapes nothing without oversampling; give --oversample 2 or more")
        if self.burst * self.fft * self.oversample > MAX_BURST_SAMPLES:
            raise OptionError("burst", f"{self.burst} OFDM symbols take more than {MAX_BURST_SAMPLES} samples; use fewer")

    @property
    def prefix(self) -> int:
        """Samples of the cyclic prefix."""
        return self.fft // 8

    @property
    def ramp(self) -> int:
        """Samples of the window."""
        return self.fft // 32 if self.window is None else self.window


def read_tones(text: str) -> Tones:
    """``HZ:DB,HZ:DB`` as pairs."""
    pairs = [part.split(":") for part in text.split(",")]
    if not all(len(pair) == 2 and abs(float(pair[0])) <= _LARGE and abs(float(pair[1])) <= 100 for pair in pairs):
        raise ValueError(text)
    return tuple((float(pair[0]), float(pair[1])) for pair in pairs)


@dataclass(frozen=True)
class Impairments:
    """``clip``: amplitudes are limited to this ratio times the root of the signal's mean power. The others say what they are."""

    delay: Annotated[float, Flag("Silence before it, in samples and fractions.", "SAMPLES", 0, MAX_SAMPLES)] = 0.0
    clock_offset: Annotated[float, Flag("The receiver's sampling clock is fast by this.", "PPM", -1000, 1000)] = 0.0
    cfo: Annotated[float, Flag("Carrier frequency offset.", "HZ", -_LARGE, _LARGE)] = 0.0
    phase_noise: Annotated[
        float | None, Flag("Wiener phase noise: its level 10 kHz from the carrier, such as -80.", "DBC/HZ", -200, -20)
    ] = None
    tones: Annotated[
        Tones, Flag("Interference: frequency and power of each tone, relative to the signal.", "HZ:DB,…", parse=read_tones)
    ] = ()
    iq_gain: Annotated[float, Flag("Gain of the receiver's Q over its I.", "DB", -20, 20)] = 0.0
    iq_phase: Annotated[float, Flag("How far its Q is from 90 degrees behind I.", "DEGREES", -45, 45)] = 0.0
    dc: Annotated[float | None, Flag("Power of the receiver's DC, relative to the signal.", "DB", -100, 40)] = None
    bits: Annotated[int | None, Flag("Quantise to this many bits; the largest sample is full scale.", "N", 1, 24)] = None
    clip: float | None = None

    def __post_init__(self) -> None:
        """Raises OptionError where a value is out of its range."""
        check_values(self)
