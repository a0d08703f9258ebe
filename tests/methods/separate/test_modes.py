"""Codes, the measured table and the choice of a mode."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import NormalDist

import numpy as np
import pytest
import separate_codes

from gencomm_cli.errors import InputError, OptionError, RateError
from gencomm_cli.methods.base import Fading
from gencomm_cli.methods.options import build as build_options
from gencomm_cli.methods.options import options_of
from gencomm_cli.methods.separate.capacity import shannon_db
from gencomm_cli.methods.separate.codecs import CODECS
from gencomm_cli.methods.separate.five_g import FiveG
from gencomm_cli.methods.separate.modes import CHANNELS, IMAGE_LOSS, MOTHERS, RATES, TAIL, Modes
from gencomm_cli.methods.separate.options import Transmitter
from gencomm_cli.text import modem

AUTO = Transmitter()


def test_codes_are_regular_systematic_and_of_their_rates(modes: Modes) -> None:
    assert sorted(modes.codes) == sorted(f"{mother}n{n}" for mother in MOTHERS.values() for n in (576, 2304))
    for name, code in modes.codes.items():
        rate = int(name[1]) / int(name[2])
        assert code.k / code.n == pytest.approx(rate, abs=0.01)
        assert (np.bincount(code.checks.reshape(-1), minlength=code.n) == 3).all()
        messages = np.random.default_rng(0).integers(0, 2, (4, code.k)).astype(np.uint8)
        words = code.encode(messages)
        np.testing.assert_array_equal(words[:, : code.k], messages)
        assert not (words[:, code.checks].sum(axis=2) & 1).any()


def test_no_mode_beats_capacity_and_none_is_absurd(modes: Modes) -> None:
    for mode in modes.candidates(AUTO):
        for channel in CHANNELS:
            bits = mode.link.code.k
            limit = shannon_db(bits / mode.link.symbols(bits), channel)
            assert limit + 1 < modes.threshold_db(mode, bits, channel) < limit + 10


@pytest.mark.parametrize(("code", "modulation", "channel"), [("r12n576", "16qam", "awgn"), ("r23n576", "qpsk", "rayleigh")])
def test_table_is_what_decoding_gives(modes: Modes, code: str, modulation: str, channel: str) -> None:
    """1000 words through modem, channel and pyldpc's algorithm, at the SNR where a fifth is lost."""
    pytest.importorskip("numba")
    median, spread = modes.curves[code, modulation, channel]
    snr = median - spread * NormalDist().inv_cdf(0.2)
    rate = separate_codes.loss_rate(modes.codes[code], 576, modulation, channel, np.random.default_rng(5), snr, 1000)
    assert rate == pytest.approx(0.2, abs=0.07)


@pytest.mark.parametrize("fading", ["awgn", "rayleigh", "block"])
def test_choice_carries_most_of_what_holds(modes: Modes, fading: Fading) -> None:
    sizes = []
    for snr in range(0, 26, 5):
        chosen = modes.choose(6000, snr, fading, AUTO)
        size = chosen.payload_bytes(6000)
        sizes.append(size)
        assert modes.threshold_db(chosen, 8 * size + 24, fading) <= snr
        for other in modes.candidates(AUTO):
            more = other.payload_bytes(6000)
            assert more <= size or modes.threshold_db(other, 8 * more + 24, fading) > snr
        limit = 6000 * math.log2(1 + 10 ** (snr / 10)) / 8
        assert size < limit
    assert all(a < b for a, b in pairwise(sizes) if a < sizes[-1])


def test_image_loss_counts_every_codeword(modes: Modes) -> None:
    mode = modes.mode("ldpc", "r12n2304", "1/2", "qpsk")
    median, spread = modes.loss_curve(mode, mode.link.code.k, "awgn")
    one, ten = (modes.threshold_db(mode, words * mode.link.code.k, "awgn") for words in (1, 10))
    for threshold, words in ((one, 1), (ten, 10)):
        assert 1 - NormalDist(median, spread).cdf(threshold - TAIL * spread) == pytest.approx(IMAGE_LOSS / words)


def test_nothing_known_is_rayleigh_at_0_db(modes: Modes) -> None:
    assert modes.choose(5000, None, "awgn", AUTO) == modes.choose(5000, 0.0, "rayleigh", AUTO)
    assert modes.choose(5000, 9.0, "unknown", AUTO) == modes.choose(5000, 9.0, "rayleigh", AUTO)


def test_papers_modes_stay_as_they_were_fixed(modes: Modes) -> None:
    for modulation, rate in (("bpsk", "2/3"), ("16qam", "1/2")):
        mode = modes.choose(3893, -20.0, "awgn", build_options(Transmitter, {"modulation": modulation, "code_rate": rate}))
        assert mode.name == f"{modulation} {rate}"
        assert mode.link.code.name.endswith("n2304")
    assert modes.choose(3893, 20.0, "awgn", Transmitter(modulation="qpsk")).name == "qpsk 5/6"


@pytest.mark.parametrize("symbols", [250, 3893, 12288, 100_000])
def test_payload_fills_the_symbols_and_no_more(modes: Modes, symbols: int) -> None:
    for mode in modes.candidates(AUTO):
        size = mode.payload_bytes(symbols)
        if size >= 0:
            assert mode.link.symbols(8 * size + 24) <= symbols < mode.link.symbols(8 * (size + 1) + 24)


def test_nothing_that_holds_is_infeasible(modes: Modes) -> None:
    with pytest.raises(RateError, match="no mode that was allowed holds at -20 dB"):
        modes.choose(5000, -20.0, "awgn", AUTO)
    with pytest.raises(RateError, match="10 symbols"):
        modes.choose(10, 20.0, "awgn", AUTO)


def test_options_are_those_of_the_tables() -> None:
    known = {"code_rate": ("auto", *RATES), "modulation": ("auto", *modem.BITS_PER_SYMBOL)}
    known |= {"fec": ("ldpc", "5g"), "codec": tuple(CODECS)}
    for field, value in {"code_rate": "7/8", "modulation": "8psk", "fec": "polar", "codec": "gif"}.items():
        assert options_of(Transmitter)[field].choices == known[field]
        with pytest.raises(OptionError, match=f"{field}: '{value}' is not one of its values; there is: {', '.join(known[field])}"):
            Transmitter(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "names", [("ldpc", "r12n576", "2/3", "qpsk"), ("ldpc", "r99n1", "1/2", "qpsk"), ("5g", "r12n576", "1/2", "qpsk"),
              ("ldpc", "r12n2304", "1/2", "8psk"), ("turbo", "r12n2304", "1/2", "qpsk"), ("ldpc", "r12", "1/2", "qpsk")]
)  # fmt: skip
def test_modes_that_cannot_be_are_refused(modes: Modes, names: tuple[str, str, str, str]) -> None:
    with pytest.raises(InputError, match="not a mode"):
        modes.mode(*names)


def test_repetition_is_a_lower_rate_of_the_same_code(modes: Modes) -> None:
    quarter, sixteenth = (modes.mode("ldpc", "r14n2304", rate, "bpsk") for rate in ("1/4", "1/16"))
    assert sixteenth.link.symbols(500) == 4 * quarter.link.symbols(500)
    gain = modes.threshold_db(quarter, 500, "awgn") - modes.threshold_db(sixteenth, 500, "awgn")
    assert gain == pytest.approx(10 * math.log10(4))


@pytest.mark.parametrize("rate", list(MOTHERS))
@pytest.mark.parametrize("bits", [5, 100, 400])
def test_5g_codes_correct_what_they_should(rate: str, bits: int) -> None:
    pytest.importorskip("sionna")
    code = FiveG(rate)
    rng = np.random.default_rng(1)
    messages = rng.integers(0, 2, (3, bits)).astype(np.uint8)
    words = code.encode(messages)
    assert words.shape == (3, code.coded_bits(bits))
    assert bits / words.shape[1] == pytest.approx(int(rate[0]) / int(rate[2]), rel=0.05) or bits < 12
    llr = 6.0 - 12.0 * words.astype(np.float64)
    llr[:, rng.choice(words.shape[1], max(1, words.shape[1] // 100), replace=False)] *= -0.3
    np.testing.assert_array_equal(code.decode(llr, bits), messages)


def test_5g_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "sionna.phy.fec.ldpc", None)
    with pytest.raises(InputError, match=r"gencomm\[sionna\]"):
        FiveG("1/2").encode(np.zeros((1, 333), np.uint8))


def test_5g_codes_are_nearer_to_capacity_than_regular_ones(modes: Modes) -> None:
    """Above all at low rates, where regular codes are known to be weak."""
    for rate in MOTHERS:
        for channel in CHANNELS:
            regular, five_g = (
                modes.mode(fec, name, rate, "qpsk") for fec, name in (("ldpc", f"{MOTHERS[rate]}n2304"), ("5g", FiveG(rate).name))
            )
            bits = int(FiveG(rate).k)
            gain = modes.loss_curve(regular, regular.link.code.k, channel)[0] - modes.loss_curve(five_g, bits, channel)[0]
            assert (0.4 if rate in ("1/4", "1/2") else 0.0) < gain < 3
    short, long = (modes.threshold_db(modes.mode("5g", "5g-r12", "1/2", "qpsk"), bits, "awgn") for bits in (200, 1152))
    assert long < short
    assert modes.choose(6000, 10.0, "awgn", Transmitter(fec="5g")).payload_bytes(6000) > modes.choose(
        6000, 10.0, "awgn", AUTO
    ).payload_bytes(6000)
