"""Impairments against their definitions and SciPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import signal

from gencomm_cli.channels.fading import draw_noise
from gencomm_cli.errors import InputError
from gencomm_cli.radio.impairments import impaired, quantised, resampled
from gencomm_cli.radio.options import Impairments, read_tones
from gencomm_cli.radio.recordings import PEAK, Span, of_samples

RATE = 1e6


def changed(samples: np.ndarray[Any, Any], snr_db: float = math.inf, **impairments: Any) -> np.ndarray[Any, Any]:
    """Samples after impairments and the gain control."""
    recording = impaired(of_samples(samples, RATE), Impairments(**impairments), snr_db)
    return recording.read(0, len(recording))


def band_limited(count: int) -> np.ndarray[Any, Any]:
    spectrum = np.fft.fft(draw_noise(count, np.random.default_rng(0)))
    spectrum[np.abs(np.fft.fftfreq(count)) > 0.38] = 0
    return np.fft.ifft(spectrum)


def test_resampling_is_scipys() -> None:
    """Twice as many samples of a periodic band-limited signal, away from its ends; and whole positions change nothing."""
    samples = band_limited(1024)
    twice = resampled(samples, np.arange(2048) / 2)
    np.testing.assert_allclose(twice[200:-200], signal.resample(samples, 2048)[200:-200], atol=2e-3)
    np.testing.assert_allclose(resampled(samples, np.arange(1024.0)), samples, atol=1e-12)
    np.testing.assert_allclose(resampled(samples, np.array([-60.0, -30.5, 1060.5, 1100.0])), 0, atol=1e-12)


def test_delay_clock_and_frequency() -> None:
    tone = np.exp(2j * np.pi * 0.05 * np.arange(4000)).astype(np.complex64)
    late = changed(tone, delay=100.25, clock_offset=100.0, cfo=1000.0)
    inside = np.arange(500, 3500)
    expected = np.exp(2j * np.pi * (0.05 * (inside / (1 + 1e-4) - 100.25) + 1e-3 * inside))
    np.testing.assert_allclose(late[inside] / np.abs(late[inside]), expected, atol=2e-3)
    np.testing.assert_allclose(late[:50], 0, atol=1e-9)


def test_noise_fills_the_signals_band_at_the_snr() -> None:
    """Es/N0 in the span's bandwidth, where the signal is on half of the time."""
    samples = np.concatenate((np.zeros(50000), band_limited(50000)))
    span = Span(50000, 50000, -0.38 * RATE, 0.38 * RATE)
    recording = impaired(of_samples(samples.astype(np.complex64), RATE, spans=(span,)), Impairments(), 7.0)
    arrived = recording.read(0, 100000)
    noise, both = (np.mean(np.abs(part) ** 2) for part in (arrived[:50000], arrived[50000:]))
    assert (both - noise) / (0.76 * noise) == pytest.approx(10**0.7, rel=0.03)
    assert np.abs(arrived.view(np.float32)).max() == pytest.approx(PEAK)


def test_phase_noise_has_the_level_that_was_asked_for() -> None:
    """A Wiener phase's spectrum is L(f) = level·(10 kHz/f)², one sided of the carrier."""
    carrier = np.ones(2**18, np.complex64)
    phase = np.unwrap(np.angle(changed(carrier, phase_noise=-80.0)))
    frequency, density = signal.welch(phase, RATE, nperseg=2**14, return_onesided=False, detrend="linear")
    near = (frequency > 8e3) & (frequency < 12e3)
    assert 10 * np.log10(np.mean(density[near] * (frequency[near] / 1e4) ** 2)) == pytest.approx(-80, abs=0.5)


def test_imbalance_makes_an_image_dc_and_tones_lines() -> None:
    """Image rejection of gain g and angle φ: |1 + g·e^(-jφ)|²/|1 - g·e^(jφ)|²."""
    tone = np.exp(2j * np.pi * 64 / 1024 * np.arange(1024)).astype(np.complex64)
    lines = np.abs(np.fft.fft(changed(tone, iq_gain=1.0, iq_phase=5.0, dc=-20.0, tones=((250e3, -10.0),)))) ** 2
    g, turn = 10**0.05, np.exp(1j * np.deg2rad(5))
    assert lines[64] / lines[-64] == pytest.approx(abs(1 + g / turn) ** 2 / abs(1 - g * turn) ** 2, rel=1e-3)
    wanted = abs(1 + g / turn) ** 2 / 4
    assert lines[0] / lines[64] == pytest.approx(0.01 / wanted, rel=1e-3)
    assert lines[256] / lines[64] == pytest.approx(0.1, rel=1e-2)


def test_quantisation_noise_and_clipping() -> None:
    """Δ²/12 of a uniform signal, 2^n levels; amplitudes limited at a ratio to the root mean power."""
    parts = np.random.default_rng(0).uniform(-1, 1, 50000).astype(np.float32)
    coarse = quantised(parts, 6)
    assert np.unique(coarse).size == 64
    assert np.mean((coarse - parts) ** 2) == pytest.approx((2 / 64) ** 2 / 12, rel=0.03)
    limited = changed(draw_noise(20000, np.random.default_rng(0)), clip=1.0)
    amplitude = np.abs(limited)
    assert np.mean(amplitude > 0.999 * amplitude.max()) == pytest.approx(math.exp(-1), abs=0.01)


def test_what_cannot_be() -> None:
    for given in ({"bits": 0}, {"delay": -1.0}, {"clock_offset": 5000.0}, {"iq_phase": math.nan}):
        with pytest.raises(InputError):
            Impairments(**given)
    with pytest.raises(InputError, match="silent"):
        changed(np.zeros(10, np.complex64))
    with pytest.raises(ValueError, match="x"):
        read_tones("1:x")
    assert read_tones("1e3:-10,-5:0") == ((1000.0, -10.0), (-5.0, 0.0))
