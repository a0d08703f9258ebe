"""The classical baseline from image to image, through the pipeline."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gencomm_cli import pipeline, symbols
from gencomm_cli.channels.fading import Kind
from gencomm_cli.channels.ofdm import OfdmConfig, places
from gencomm_cli.errors import ImageLost, InputError, RateError
from gencomm_cli.methods.base import Fading
from gencomm_cli.methods.separate import codecs
from gencomm_cli.symbols import SymbolFile
from tests.support.classical import scene
from tests.support.presets import loaded_to_encode

IMAGE = scene()


@pytest.fixture(scope="module")
def codec() -> pipeline.Codec:
    return pipeline.load("separate", "classical")


def encode(
    loaded: pipeline.Codec, *, snr: float | None = 10.0, fading: Fading = "awgn", cbr: float = 1 / 24, **how: Any
) -> SymbolFile:
    return loaded.encode(IMAGE, cbr=cbr, snr=snr, fading=fading, say=pytest.fail, **how)


def receive(
    codec: pipeline.Codec,
    sent: SymbolFile,
    snr: float,
    kind: Kind = "awgn",
    seed: int = 0,
    csi: symbols.Csi = "perfect",
    **how: Any,
) -> pipeline.Reception:
    return decode(codec, pipeline.transmit(sent, snr=snr, fading=kind, csi=csi, seed=seed), **how)


def decode(codec: pipeline.Codec, received: SymbolFile, strict: bool = False) -> pipeline.Reception:
    through_a_file = symbols.from_bytes(symbols.to_bytes(received))
    return codec.decode(through_a_file, strict=strict)


@pytest.mark.parametrize("name", ["avif", "jpeg2000", "webp", "hevc"])
def test_what_arrives_is_the_codecs_own_picture(codec: pipeline.Codec, name: str) -> None:
    if name == "hevc":
        pytest.importorskip("pillow_heif")
    sent = encode(codec, codec=name)
    form = sent.header.classical
    assert form is not None
    mode = codec.method.modes.mode(form.fec, form.code, form.code_rate, form.modulation)  # type: ignore[attr-defined]
    budget = math.floor(IMAGE.size / 24)
    expected = codecs.fit(codecs.find(name), IMAGE, mode.payload_bytes(budget))
    reception = receive(codec, sent, 10.0)
    assert not reception.outage
    assert reception.refined == ()
    np.testing.assert_array_equal(reception.coarse, expected.shown)
    assert len(expected.payload) == form.payload_bytes
    size = codecs.coded_size(IMAGE.shape[1], IMAGE.shape[0], form.scale)
    whole = codecs.find(name).container.restore(expected.payload, *size) if form.container == "stripped" else expected.payload
    assert sent.header.provenance.container_bytes == len(whole) - form.payload_bytes
    assert sent.symbols.size == mode.link.symbols(8 * form.payload_bytes + 24) <= budget


@pytest.mark.parametrize("cbr", [0.0033, 0.0104, 1 / 48, 0.1])
@pytest.mark.parametrize("capacity", [False, True])
def test_the_budget_is_met_and_never_exceeded(codec: pipeline.Codec, cbr: float, capacity: bool) -> None:
    try:
        sent = encode(codec, cbr=cbr, snr=15.0, capacity=capacity)
    except RateError:
        assert cbr < 0.005
        assert not capacity
        return
    assert sent.header.cbr.total <= cbr
    assert sent.header.cbr.total > 0.75 * cbr


@pytest.mark.parametrize(("kind", "snr"), [("awgn", 5.0), ("rayleigh", 12.0), ("awgn", math.inf)])
def test_chosen_modes_hold_at_the_snr_that_was_known(codec: pipeline.Codec, kind: Kind, snr: float) -> None:
    sent = encode(codec, snr=snr, fading=kind)
    assert sum(receive(codec, sent, snr, kind, seed).outage for seed in range(8)) == 0
    assert receive(codec, sent, min(snr, 20) - 6, kind).outage


def test_an_outage_is_grey_and_strict_refuses_it(codec: pipeline.Codec) -> None:
    sent = encode(codec)
    lost = receive(codec, sent, -5.0)
    assert lost.outage
    assert (lost.coarse == 128).all()
    assert lost.coarse.shape == IMAGE.shape
    with pytest.raises(ImageLost, match="image: lost"):
        receive(codec, sent, -5.0, strict=True)


def test_without_csi_fading_is_an_outage(codec: pipeline.Codec) -> None:
    assert receive(codec, encode(codec, fading="rayleigh"), 30.0, "rayleigh", csi="none").outage


def test_block_fading_is_lost_as_often_as_the_fade_is_deep(codec: pipeline.Codec) -> None:
    """Chosen 5 dB below the mean: at most 1 - exp(-10^-0.5) = 27 % are lost."""
    sent = encode(codec, snr=15.0, fading="block", cbr=1 / 48)
    assert 0 < np.mean([receive(codec, sent, 15.0, "block", seed).outage for seed in range(25)]) < 0.5


def test_capacity_delivers_at_its_snr_and_not_below(codec: pipeline.Codec) -> None:
    sent = encode(codec, snr=7.0, capacity=True)
    form = sent.header.classical
    assert form is not None
    assert sent.ideal_bits is not None
    assert 8 * form.payload_bytes <= sent.symbols.size * math.log2(1 + 10**0.7)
    assert sent.ideal_bits.size == form.payload_bytes
    np.testing.assert_array_equal(sent.ideal_bits[:4], encode(codec, snr=7.0, capacity=True, cbr=1 / 24).ideal_bits[:4])  # type: ignore[index]
    assert not receive(codec, sent, 7.0).outage
    assert receive(codec, sent, 6.0).outage
    assert not receive(codec, sent, math.inf).outage
    assert receive(codec, sent, 7.0, "rayleigh").outage  # its capacity is lower


def test_capacity_on_fading_channels(codec: pipeline.Codec) -> None:
    sent = encode(codec, snr=7.0, fading="rayleigh", capacity=True)
    assert not receive(codec, sent, 7.0, "rayleigh").outage
    assert receive(codec, sent, 6.0, "rayleigh").outage
    assert receive(codec, sent, 20.0, "rayleigh", csi="none").outage
    block = encode(codec, snr=15.0, fading="block", capacity=True)
    form = block.header.classical
    assert form is not None
    rate = 8 * form.payload_bytes / block.symbols.size
    for seed in range(20):
        received = pipeline.transmit(block, snr=15.0, fading="block", seed=seed)
        assert received.csi_gain is not None
        assert decode(codec, received).outage == (rate > math.log2(1 + abs(received.csi_gain[0]) ** 2 * 10**1.5))


def test_capacity_over_multipath_is_that_of_the_carriers_as_they_were(codec: pipeline.Codec) -> None:
    sent = encode(codec, snr=10.0, fading="multipath", capacity=True)
    form = sent.header.classical
    assert form is not None
    rate = 8 * form.payload_bytes / sent.symbols.size
    lost = []
    for seed in range(60):
        received = pipeline.transmit(sent, snr=10.0, fading="multipath", seed=seed)
        assert received.csi_cir is not None
        carriers = np.fft.fft(received.csi_cir, 256)[places(sent.symbols.size, OfdmConfig()) % 256]
        lost.append(decode(codec, received).outage)
        assert lost[-1] == (rate > np.mean(np.log2(1 + 10 * np.abs(carriers) ** 2)))
    assert 0 < sum(lost) < 6  # chosen to be lost in 2.5 % of all draws
    assert receive(codec, sent, 30.0, "multipath", csi="none").outage
    assert receive(codec, sent, 10.0, "multipath", seed=lost.index(False), csi="estimated").outage is False


def test_codes_hold_over_multipath(codec: pipeline.Codec) -> None:
    sent = encode(codec, snr=10.0, fading="multipath")
    assert sum(receive(codec, sent, 10.0, "multipath", seed, "estimated").outage for seed in range(8)) <= 1


def test_capacity_beats_every_code(codec: pipeline.Codec) -> None:
    ideal, real = (encode(codec, capacity=switch).header.classical for switch in (True, False))
    assert ideal is not None
    assert real is not None
    assert ideal.payload_bytes > 1.2 * real.payload_bytes


def test_ideal_symbols_carry_nothing(codec: pipeline.Codec) -> None:
    """They are the same numbers for any picture, Gaussian and of unit power."""
    sent = encode(codec, capacity=True).symbols
    assert np.mean(np.abs(sent.astype(complex)) ** 2) == pytest.approx(1, abs=1e-6)
    assert np.mean(np.abs(sent.astype(complex)) ** 4) == pytest.approx(2, abs=0.2)
    other = codec.encode(IMAGE[::-1].copy(), cbr=1 / 24, snr=10, fading="awgn", capacity=True, say=pytest.fail)
    shared = min(sent.size, other.symbols.size)
    np.testing.assert_allclose(sent[:shared] / other.symbols[:shared], sent[0] / other.symbols[0], rtol=1e-5)


def test_the_file_holds_no_payload_in_clear(codec: pipeline.Codec) -> None:
    sent = encode(codec)
    form = sent.header.classical
    assert form is not None
    mode = codec.method.modes.mode(form.fec, form.code, form.code_rate, form.modulation)  # type: ignore[attr-defined]
    payload = codecs.fit(codecs.find("avif"), IMAGE, mode.payload_bytes(math.floor(IMAGE.size / 24))).payload
    received = pipeline.transmit(sent, snr=10)
    for data in (symbols.to_bytes(sent), symbols.to_bytes(received)):
        assert not any(payload[i : i + 8] in data for i in range(0, len(payload) - 8, 8))
    assert receive(codec, sent, -20.0).outage  # noise alone decides: nothing else tells the picture


def test_energy_per_bit(codec: pipeline.Codec) -> None:
    sent = encode(codec, snr=None, modulation="qpsk", code_rate="1/2")
    form = sent.header.classical
    assert form is not None
    received = pipeline.transmit(sent, snr=3.0, snr_type="ebn0")
    assert received.header.n0 == pytest.approx(10**-0.3 * sent.symbols.size / (8 * form.payload_bytes))
    assert not decode(codec, received).outage
    with pytest.raises(InputError, match="noise power"):
        symbols.to_bytes(replace(received, header=replace(received.header, n0=1.1 * (received.header.n0 or 0))))


@pytest.mark.parametrize(
    "change",
    [
        {"code": "r12n576"}, {"code": "r99n2304"}, {"code_rate": "3/7"}, {"modulation": "8psk"}, {"fec": "turbo"}, {"crc_bits": 0},
        {"scale": 5}, {"codec": "gif"}, {"payload_bytes": 2**28}, {"payload_bytes": 1},
    ],
)  # fmt: skip
def test_headers_that_do_not_fit_are_refused(codec: pipeline.Codec, change: dict[str, Any]) -> None:
    sent = encode(codec)
    assert sent.header.classical is not None
    header = replace(sent.header, classical=replace(sent.header.classical, **change))
    with pytest.raises(InputError):
        receive(codec, replace(sent, header=header), 10.0)


@pytest.mark.parametrize("change", [{"codec": "webp"}, {"container": "kept"}, {"scale": 8}])
def test_fields_that_the_crc_covers_are_an_outage(codec: pipeline.Codec, change: dict[str, Any]) -> None:
    sent = encode(codec)
    assert sent.header.classical is not None
    header = replace(sent.header, classical=replace(sent.header.classical, **change))
    assert receive(codec, replace(sent, header=header), 20.0).outage


@pytest.mark.parametrize("name", ["avif", "jpeg2000", "webp", "hevc"])
@pytest.mark.parametrize("container", ["stripped", "kept"])
def test_bytes_that_are_no_picture_are_an_outage_and_raise_nothing(codec: pipeline.Codec, name: str, container: str) -> None:
    """An ideal code delivers whatever it is given: a payload as hostile as one that passes its CRC."""
    if name == "hevc":
        pytest.importorskip("pillow_heif")
    sent = encode(codec, codec=name, capacity=True, cbr=1 / 48)
    form = sent.header.classical
    assert form is not None
    assert sent.ideal_bits is not None
    rng = np.random.default_rng(0)
    for turn in range(25):
        bits = sent.ideal_bits.copy()
        bits[rng.integers(bits.size, size=1 + turn)] = rng.integers(256, size=1 + turn)
        if turn % 5 == 0:
            bits = np.frombuffer(rng.bytes(bits.size), np.uint8).copy()
        header = replace(sent.header, classical=replace(form, container=container))
        shown = receive(codec, replace(sent, header=header, ideal_bits=bits), 10.0)
        assert shown.coarse.shape == IMAGE.shape
        assert shown.outage or container == "stripped"


def test_5g(codec: pipeline.Codec) -> None:
    pytest.importorskip("sionna")
    sent = encode(codec, snr=None, fec="5g", modulation="16qam", code_rate="1/2")
    assert not receive(codec, sent, 10.0).outage
    assert receive(codec, sent, 3.0).outage


def test_runs_without_torch() -> None:
    assert not {"torch", "pyldpc", "scipy", "sionna"} & loaded_to_encode("separate", "classical", cbr=0.1)
