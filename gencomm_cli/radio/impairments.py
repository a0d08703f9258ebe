"""What cheap radios and their neighbours do to a waveform, in the order of the signal: the transmitter's amplifier, delay and
clocks, oscillators, interference, noise, the receiver's mixer and converter. Each is off by default.

Powers are relative to the signal's mean power where a recording says that a signal is (its annotations), or else everywhere.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gencomm_cli.channels.fading import draw_noise
from gencomm_cli.channels.ofdm import clip
from gencomm_cli.errors import InputError
from gencomm_cli.radio.options import MAX_SAMPLES, Impairments
from gencomm_cli.radio.recordings import PEAK, Recording, Span, of_samples
from gencomm_cli.seeds import generator

Samples = NDArray[np.complexfloating[Any, Any]]
_HALF = 24
"""Samples on either side that an interpolated one is made of."""
_PHASE_NOISE_AT = 1e4


def impaired(recording: Recording, impairments: Impairments, snr_db: float = math.inf, seed: int = 0) -> Recording:
    """The recording as it arrives; as with automatic gain, its largest part of a sample is near full scale.

    Args:
        snr_db: signal to noise within the signal's own bandwidth (Es/N0 of a carrier, for an OFDM signal); infinite: no noise.

    Raises:
        InputError: the recording is too long to be held in memory, or is silent.
    """
    if len(recording) + impairments.delay > MAX_SAMPLES:
        raise InputError(f"recording: takes more than {MAX_SAMPLES} samples; cut it")
    samples, rate = recording.read(0, len(recording)), recording.sample_rate
    power, density = _signal(samples, recording)
    if impairments.clip is not None:
        samples = clip(samples, impairments.clip * (power / float(np.mean(np.abs(samples) ** 2))) ** 0.5)
    stretch = 1 + 1e-6 * impairments.clock_offset
    if impairments.delay or impairments.clock_offset:
        count = math.ceil((samples.size + impairments.delay) * stretch)
        samples = resampled(samples, np.arange(count) / stretch - impairments.delay)
    time = np.arange(samples.size)
    phase = 2 * np.pi * impairments.cfo / rate * time
    if impairments.phase_noise is not None:
        deviation = 2 * np.pi * _PHASE_NOISE_AT * 10 ** (impairments.phase_noise / 20) / rate**0.5
        phase += deviation * np.cumsum(generator(seed, "phase noise").standard_normal(samples.size))
    arrived = samples * np.exp(1j * phase)
    for frequency, level in impairments.tones:
        arrived += (power * 10 ** (level / 10)) ** 0.5 * np.exp(2j * np.pi * frequency / rate * time)
    if snr_db != math.inf:
        noise = draw_noise(samples.size, generator(seed, "waveform noise"))
        arrived += (density * 10 ** (-snr_db / 10)) ** 0.5 * noise
    arrived = _mixed(arrived, impairments)
    if impairments.dc is not None:
        arrived += (power * 10 ** (impairments.dc / 10) / 2) ** 0.5 * (1 + 1j)
    parts = arrived.astype(np.complex64).view(np.float32)
    parts = quantised(parts, impairments.bits) if impairments.bits else parts
    parts = parts * np.float32(PEAK / max(float(np.abs(parts).max()), 1e-30))
    spans = tuple(_moved(span, impairments, stretch) for span in recording.spans)
    return replace(of_samples(parts.view(np.complex64), rate), spans=spans, settings=recording.settings)


def resampled(samples: Samples, positions: NDArray[np.float64]) -> Samples:
    """A band-limited signal at any positions, in samples, complex128; before its begin and after its end it is silent.

    Interpolation with a sinc under a Blackman window of 48 samples: exact to -60 dB for frequencies within ±0.4 of the rate.
    """
    padded = np.concatenate((np.zeros(_HALF, samples.dtype), samples, np.zeros(_HALF + 1, samples.dtype)))
    found = np.empty(positions.size, np.complex128)
    for begin in range(0, positions.size, 2**15):
        at = positions[begin : begin + 2**15].clip(-_HALF, samples.size + _HALF)
        whole = np.floor(at).astype(np.int64)
        near = np.arange(1 - _HALF, _HALF + 1)
        apart = (at - whole)[:, None] - near
        angle = np.pi * apart / _HALF
        weights = np.sinc(apart) * (0.42 + 0.5 * np.cos(angle) + 0.08 * np.cos(2 * angle))
        found[begin : begin + 2**15] = np.sum(padded[(whole[:, None] + near + _HALF).clip(0, padded.size - 1)] * weights, 1)
    return found


def quantised(parts: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    """Numbers on 2^bits equal steps, of which the outermost reach the largest magnitude; each in the middle of its step."""
    top = float(np.abs(parts).max())
    step = 2 * top / 2**bits
    levels = np.floor(parts / max(step, 1e-30)).clip(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return np.asarray((levels + 0.5) * step, np.float32)


def _signal(samples: Samples, recording: Recording) -> tuple[float, float]:
    """Mean power of the signal, and what a sample of noise has where its density within the signal's band is the signal's."""
    spans = recording.spans or (Span(0, len(recording), -recording.sample_rate / 2, recording.sample_rate / 2),)
    energies = [float(np.sum(np.abs(samples[span.start : span.start + span.count].astype(np.complex128)) ** 2)) for span in spans]
    count = sum(span.count for span in spans)
    if not sum(energies):
        raise InputError("recording: is silent, so that nothing can be relative to its power; modulate a symbol file first")
    per_band = (energy * recording.sample_rate / (span.high - span.low) for energy, span in zip(energies, spans, strict=True))
    return sum(energies) / count, sum(per_band) / count


def _mixed(samples: Samples, impairments: Impairments) -> Samples:
    """Re x + j·g·Im(x·e^{-jφ}), as αx + βx*."""
    if not (impairments.iq_gain or impairments.iq_phase):
        return samples
    turn = 10 ** (impairments.iq_gain / 20) * np.exp(1j * np.deg2rad(impairments.iq_phase))
    return (1 + turn.conjugate()) / 2 * samples + (1 - turn) / 2 * samples.conj()


def _moved(span: Span, impairments: Impairments, stretch: float) -> Span:
    start, count = round((span.start + impairments.delay) * stretch), round(span.count * stretch)
    return replace(span, start=start, count=count, low=span.low + impairments.cfo, high=span.high + impairments.cfo)
