"""Protected bits: they come back or are known to be lost, and a format from anywhere is checked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gencomm_cli.channels.fading import draw_gain, draw_noise, transmit
from gencomm_cli.errors import InputError
from gencomm_cli.text.protected import receive_bits, symbols_needed, transmit_bits


def payload(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, length).astype(np.uint8)


@pytest.mark.parametrize("length", [0, 1, 290, 5000])
def test_bits_come_back(length: int) -> None:
    bits = payload(length)
    symbols, form = transmit_bits(bits, snr_db=1.0, fading="awgn")
    assert symbols.size == form.symbols == symbols_needed(length, snr_db=1.0, fading="awgn")
    assert np.mean(np.abs(symbols) ** 2) == pytest.approx(1)
    rng = np.random.default_rng(3)
    received = transmit(symbols, None, draw_noise(symbols.size, rng), 10**-0.1)
    assert np.array_equal(receive_bits(received, None, 10**-0.1, form), bits)  # type: ignore[arg-type]


def test_an_unknown_channel_is_taken_to_be_a_bad_one() -> None:
    bits = payload(290)
    symbols, form = transmit_bits(bits, snr_db=None, fading="unknown")
    rng = np.random.default_rng(4)
    gain = draw_gain("rayleigh", symbols.size, rng)
    received = transmit(symbols, gain, draw_noise(symbols.size, rng), 1.0)
    assert np.array_equal(receive_bits(received, gain, 1.0, form), bits)  # type: ignore[arg-type]
    assert symbols.size > symbols_needed(290, snr_db=10.0, fading="awgn")


def test_a_loss_is_known() -> None:
    symbols, form = transmit_bits(payload(290), snr_db=20.0, fading="awgn")
    for seed in range(20):
        noise = draw_noise(symbols.size, np.random.default_rng(seed))
        assert receive_bits(transmit(symbols, None, noise, 3.0), None, 3.0, form) is None


def test_one_wrong_length_is_a_loss() -> None:
    """The CRC covers the length: a shorter claim that fits the symbols does not pass."""
    symbols, form = transmit_bits(payload(289), snr_db=10.0, fading="awgn")
    for claim in (288, 290):
        other = replace(form, payload_bits=claim)
        if other.symbols == symbols.size:
            assert receive_bits(symbols, None, 1e-3, other) is None


def test_hostile_formats_are_refused() -> None:
    symbols, form = transmit_bits(payload(100), snr_db=10.0, fading="awgn")
    for change in (
        {"payload_bits": -1}, {"payload_bits": 1 << 40}, {"payload_bits": True}, {"code": "none"}, {"modulation": "64qam"},
        {"repetition": 3}, {"crc_bits": 0},
    ):  # fmt: skip
        with pytest.raises(InputError, match="side format"):
            receive_bits(symbols, None, 0.1, replace(form, **change))
    with pytest.raises(InputError, match="side symbols"):
        receive_bits(symbols[:-1], None, 0.1, form)
    with pytest.raises(InputError, match="side gains"):
        receive_bits(symbols, np.ones(3, np.complex64), 0.1, form)
