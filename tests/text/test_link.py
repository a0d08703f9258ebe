import dataclasses
import subprocess
import sys
import zlib

import numpy as np
import pytest

from gencomm_cli.errors import InputError
from gencomm_cli.text import range_coder
from gencomm_cli.text.link import receive_prompt, transmit_prompt
from gencomm_cli.text.modes import Fading
from gencomm_cli.text.payload import PayloadFormat
from tests.text.test_range_coder import random_text

CAPTION = "A brown dog with a red collar runs through tall grass next to a white fence, ok."  # 80 characters
Received = tuple[np.ndarray, np.ndarray | None, float]


def over_the_air(symbols: np.ndarray, fading: str, snr_db: float, rng: np.random.Generator) -> Received:
    n0 = 10 ** (-snr_db / 10)
    noise = rng.normal(size=(2, len(symbols))) * np.sqrt(n0 / 2)
    size = {"awgn": 0, "block": 1, "rayleigh": len(symbols)}[fading]
    parts = rng.normal(size=(2, size)) * np.sqrt(0.5)
    gain = parts[0] + 1j * parts[1] if size else None
    return symbols * (1 if gain is None else gain) + noise[0] + 1j * noise[1], gain, n0


@pytest.mark.parametrize("fading", ["awgn", "rayleigh"])
@pytest.mark.parametrize("snr", [-5, -1, 3, 7, 12, 20])
def test_captions_arrive(fading: Fading, snr: int) -> None:
    """At a loss of 1 %, 3 or more of 40 are lost with a probability below 1 %."""
    assert len(CAPTION) == 80
    rng = np.random.default_rng(snr + 10)
    symbols, fmt = transmit_prompt(CAPTION, snr_db=snr, fading=fading)
    results = [receive_prompt(*over_the_air(symbols, fading, snr, rng), fmt) for _ in range(40)]
    assert set(results) <= {CAPTION, None}
    assert results.count(None) < 3


def test_random_unicode_passes_the_link() -> None:
    rng = np.random.default_rng(0)
    for i in range(200):
        text = random_text(rng)
        symbols, fmt = transmit_prompt(text, snr_db=12, fading="awgn")
        received = receive_prompt(*over_the_air(symbols, "awgn", 16, rng), fmt)
        assert received is not None
        assert transmit_prompt(received, snr_db=12, fading="awgn")[0].tobytes() == symbols.tobytes(), i


def test_four_kibibytes_take_several_codewords_under_one_crc() -> None:
    text = "\U0001f600é日" * 455
    symbols, fmt = transmit_prompt(text, snr_db=20, fading="awgn")
    assert fmt.payload_bits > 20_000
    assert receive_prompt(symbols, None, 0.01, fmt) == text
    symbols[5000:10000] = 0.3
    assert receive_prompt(symbols, None, 0.01, fmt) is None


def test_symbols_are_of_unit_power_deterministic_and_as_many_as_announced() -> None:
    cases: list[tuple[float | None, Fading]] = [(None, "unknown"), (3.0, "rayleigh"), (10.0, "awgn"), (10.0, "block")]
    for snr, fading in cases:
        symbols, fmt = transmit_prompt(CAPTION, snr_db=snr, fading=fading)
        assert symbols.dtype == np.complex64
        assert np.allclose(np.abs(symbols), 1)
        assert len(symbols) == fmt.symbols
        assert symbols.tobytes() == transmit_prompt(CAPTION, snr_db=snr, fading=fading)[0].tobytes()
    assert 0 < range_coder.encode(CAPTION).size < 130


def test_bits_on_air_are_pinned() -> None:
    """CRC, code, copies and interleaver: where these bits change, older files cannot be read any more."""
    text = "a tropical island with palm trees across a calm grey sea under big white clouds"
    symbols, fmt = transmit_prompt(text, snr_db=3.0, fading="awgn")
    assert fmt == PayloadFormat(112, "r12n288", "qpsk", 1, "gencomm-text-1", 24)
    assert zlib.crc32((symbols.real < 0).tobytes() + (symbols.imag < 0).tobytes()) == 2081721301


def test_unknown_channel_survives_0_db_rayleigh() -> None:
    rng = np.random.default_rng(3)
    symbols, fmt = transmit_prompt(CAPTION, snr_db=None, fading="unknown")
    results = [receive_prompt(*over_the_air(symbols, "rayleigh", 0, rng), fmt) for _ in range(60)]
    assert set(results) <= {CAPTION, None}
    assert results.count(None) < 4


def test_a_lost_prompt_is_known_to_be_lost() -> None:
    rng = np.random.default_rng(4)
    symbols, fmt = transmit_prompt(CAPTION, snr_db=10, fading="awgn")
    for snr in (-20, -10, 0):
        assert receive_prompt(*over_the_air(symbols, "awgn", snr, rng), fmt) is None
    assert receive_prompt(np.zeros_like(symbols), None, 0.1, fmt) is None
    assert receive_prompt(np.ones_like(symbols), None, 0.1, fmt) is None


def test_receiver_without_csi_takes_the_gain_as_one() -> None:
    symbols, fmt = transmit_prompt(CAPTION, snr_db=5, fading="awgn")
    turned = symbols * np.exp(2.5j)
    assert receive_prompt(turned, None, 0.1, fmt) is None
    assert receive_prompt(turned, np.array([np.exp(2.5j)]), 0.1, fmt) == CAPTION


@pytest.mark.parametrize(
    "change",
    [
        {"payload_bits": -1}, {"payload_bits": 10**12}, {"payload_bits": True}, {"payload_bits": 3.5}, {"payload_bits": None},
        {"code": "r12n385"}, {"code": ["r12n384"]}, {"code": {}}, {"modulation": "16qam"},
        {"repetition": 3}, {"repetition": 1.0}, {"repetition": True},
        {"text_model": "gencomm-text-0"}, {"text_model": None}, {"crc_bits": 0}, {"crc_bits": 32},
    ],
)  # fmt: skip
def test_hostile_format_is_refused(change: dict[str, object]) -> None:
    symbols, fmt = transmit_prompt(CAPTION, snr_db=5, fading="awgn")
    hostile: PayloadFormat = dataclasses.replace(fmt, **change)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^prompt format: "):
        receive_prompt(symbols, None, 0.1, hostile)


def test_arrays_that_do_not_fit_the_format_are_refused() -> None:
    symbols, fmt = transmit_prompt(CAPTION, snr_db=5, fading="awgn")
    for wrong in (symbols[:-1], symbols[:0], symbols[None]):
        with pytest.raises(InputError, match=r"^prompt symbols: "):
            receive_prompt(wrong, None, 0.1, fmt)
    with pytest.raises(InputError, match=r"^prompt gains: "):
        receive_prompt(symbols, np.ones(3, complex), 0.1, fmt)


def test_transmitting_imports_nothing_heavy() -> None:
    code = (
        "import sys; from gencomm_cli.text.link import transmit_prompt; transmit_prompt('a dog', snr_db=1.0, fading='rayleigh');"
        "assert not {'torch', 'pyldpc', 'numba', 'scipy', 'PIL'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
