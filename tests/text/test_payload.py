"""Protected bits: they come back or are known to be lost, and a format from anywhere is checked."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gencomm_cli.channels.fading import draw_gain, draw_noise, transmit
from gencomm_cli.errors import InputError
from gencomm_cli.text.payload import PayloadFormat
from gencomm_cli.text.text_model import VERSION

MODELS = pytest.mark.parametrize(("model", "what"), [(None, "side"), (VERSION, "prompt")])


def bits(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, length).astype(np.uint8)


@pytest.mark.parametrize("model", [None, VERSION])
@pytest.mark.parametrize("length", [0, 1, 290, 5000])
def test_bits_come_back(length: int, model: str | None) -> None:
    payload, form = bits(length), PayloadFormat.choose(length, snr_db=1.0, fading="awgn", text_model=model)
    symbols = form.transmit(payload)
    assert symbols.size == form.symbols
    assert np.mean(np.abs(symbols) ** 2) == pytest.approx(1)
    received = transmit(symbols, None, draw_noise(symbols.size, np.random.default_rng(3)), 10**-0.1)
    np.testing.assert_array_equal(form.receive(received, None, 10**-0.1), payload)  # type: ignore[arg-type]


def test_an_unknown_channel_is_taken_to_be_a_bad_one() -> None:
    payload, form = bits(290), PayloadFormat.choose(290, snr_db=None, fading="unknown")
    symbols, rng = form.transmit(payload), np.random.default_rng(4)
    gain = draw_gain("rayleigh", symbols.size, rng)
    received = transmit(symbols, gain, draw_noise(symbols.size, rng), 1.0)
    np.testing.assert_array_equal(form.receive(received, gain, 1.0), payload)  # type: ignore[arg-type]
    assert symbols.size > PayloadFormat.choose(290, snr_db=10.0, fading="awgn").symbols


def test_side_bits_on_air_are_pinned() -> None:
    """Where these change, older files cannot be read any more; a prompt's are pinned in ``test_link``."""
    form = PayloadFormat.choose(290, snr_db=3.0, fading="rayleigh")
    symbols = form.transmit((np.arange(290) % 7 < 3).astype(np.uint8))
    assert form == PayloadFormat(290, "r12n1152", "qpsk", 1, None, 24)
    assert zlib.crc32((symbols.real < 0).tobytes() + (symbols.imag < 0).tobytes()) == 1401404758


def test_a_loss_is_known() -> None:
    form = PayloadFormat.choose(290, snr_db=20.0, fading="awgn")
    symbols = form.transmit(bits(290))
    for seed in range(20):
        noise = draw_noise(symbols.size, np.random.default_rng(seed))
        assert form.receive(transmit(symbols, None, noise, 3.0), None, 3.0) is None


def test_one_wrong_length_is_a_loss() -> None:
    """The CRC covers the length: a shorter claim that fits the symbols does not pass."""
    form = PayloadFormat.choose(289, snr_db=10.0, fading="awgn")
    symbols = form.transmit(bits(289))
    fitting = [other for claim in range(260, 320) if (other := replace(form, payload_bits=claim)).symbols == symbols.size]
    assert len(fitting) > 1
    for other in fitting:
        assert (other.receive(symbols, None, 1e-3) is None) == (other != form)


def test_a_prompt_is_no_side_information() -> None:
    """The CRC covers the text model: the same bits under another heading are a loss."""
    form = PayloadFormat.choose(100, snr_db=10.0, fading="awgn", text_model=VERSION)
    assert replace(form, text_model=None).receive(form.transmit(bits(100)), None, 1e-3) is None


@MODELS
@pytest.mark.parametrize(
    "change",
    [
        {"payload_bits": -1}, {"payload_bits": 1 << 40}, {"payload_bits": True}, {"payload_bits": 3.5}, {"code": "none"},
        {"code": ["r12n384"]}, {"modulation": "64qam"}, {"repetition": 3}, {"repetition": True}, {"crc_bits": 0},
    ],
)  # fmt: skip
def test_hostile_formats_are_refused(change: dict[str, Any], model: str | None, what: str) -> None:
    form = PayloadFormat.choose(100, snr_db=10.0, fading="awgn", text_model=model)
    symbols, hostile = form.transmit(bits(100)), replace(form, **change)
    with pytest.raises(InputError, match=f"^{what} format: {next(iter(change))}"):
        hostile.receive(symbols, None, 0.1)
    with pytest.raises(InputError, match=f"^{what} format"):
        assert hostile.symbols


@MODELS
def test_arrays_that_do_not_fit_the_format_are_refused(model: str | None, what: str) -> None:
    form = PayloadFormat.choose(100, snr_db=10.0, fading="awgn", text_model=model)
    symbols = form.transmit(bits(100))
    for wrong in (symbols[:-1], symbols[:0], symbols[None]):
        with pytest.raises(InputError, match=f"^{what} symbols: "):
            form.receive(wrong, None, 0.1)
    with pytest.raises(InputError, match=f"^{what} gains: "):
        form.receive(symbols, np.ones(3, np.complex64), 0.1)
    for payload in (bits(99), bits(100)[None]):
        with pytest.raises(InputError, match=f"^{what} payload: "):
            form.transmit(payload)


def test_prompts_are_shorter_than_side_information_may_be() -> None:
    form = PayloadFormat.choose(1 << 20, snr_db=10.0, fading="awgn")
    assert form.symbols > 1 << 19
    with pytest.raises(InputError, match="prompt format: payload_bits"):
        replace(form, text_model=VERSION).mode()
