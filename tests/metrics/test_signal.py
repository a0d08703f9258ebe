"""The signal's figures against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gencomm_cli.channels.equalisers import mmse, reliability
from gencomm_cli.metrics.signal import evm_percent, received_snr_db

SENT = np.array([1, 1j, -1, -1j], np.complex64)


def test_received_snr_counts_what_arrives() -> None:
    gain = np.array([2, 0, 1j, 1], np.complex64)
    assert received_snr_db(SENT, None, 0.1) == pytest.approx(10)
    assert received_snr_db(SENT, gain, 0.1) == pytest.approx(10 * math.log10((4 + 0 + 1 + 1) / 4 / 0.1))
    assert received_snr_db(2 * SENT, gain[:1], 0.1) == pytest.approx(10 * math.log10(16 / 0.1))
    assert received_snr_db(SENT, None, 0.0) == math.inf
    assert received_snr_db(SENT[:0], None, 0.1) is None
    assert received_snr_db(0 * SENT, None, 0.1) is None


def test_evm_of_known_errors() -> None:
    gain = np.array([2, 1j, 1 + 1j, 0.5], np.complex64)
    error = np.array([0.3, 0, 0.4j, 0], np.complex64)
    assert evm_percent(SENT, gain * (SENT + error), gain) == pytest.approx(100 * math.sqrt((0.09 + 0.16) / 4), rel=1e-5)
    assert evm_percent(SENT, SENT, None) == 0
    assert evm_percent(SENT, 1.1 * SENT, None) == pytest.approx(10, rel=1e-5)
    assert evm_percent(SENT[:0], SENT[:0], None) is None
    lost = np.array([0, 1, 1, 1], np.complex64)
    assert evm_percent(SENT, lost * SENT, lost) == pytest.approx(50)


def test_the_unbiased_mmse_estimate_has_the_same_evm() -> None:
    rng = np.random.default_rng(0)
    gain = (rng.normal(size=500) + 1j * rng.normal(size=500)).astype(np.complex64)
    sent = np.exp(2j * np.pi * rng.random(500)).astype(np.complex64)
    received = gain * sent + (0.1 * (rng.normal(size=500) + 1j * rng.normal(size=500))).astype(np.complex64)
    unbiased = mmse(received, gain, 0.02) / reliability(gain, 0.02)
    expected = 100 * np.sqrt(np.mean(np.abs(unbiased - sent) ** 2))
    assert evm_percent(sent, received, gain) == pytest.approx(expected, rel=1e-4)


def test_evm_in_noise_is_its_power() -> None:
    rng = np.random.default_rng(1)
    sent = np.exp(2j * np.pi * rng.random(100_000)).astype(np.complex64)
    noise = np.sqrt(0.01 / 2) * (rng.normal(size=100_000) + 1j * rng.normal(size=100_000))
    assert evm_percent(sent, (sent + noise).astype(np.complex64), None) == pytest.approx(10, rel=0.01)
