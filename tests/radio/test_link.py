"""Symbol files through waveforms: what arrives, how well, what is lost, and what a receiver does not believe."""

from __future__ import annotations

import contextlib
import json
import math
import tracemalloc
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gencomm_cli.channels.fading import draw_noise
from gencomm_cli.errors import InputError
from gencomm_cli.pipeline import pass_channel
from gencomm_cli.radio import framing, link
from gencomm_cli.radio.framing import BurstHeader
from gencomm_cli.radio.impairments import impaired
from gencomm_cli.radio.options import Impairments
from gencomm_cli.radio.recordings import of_samples
from gencomm_cli.radio.waveform import Waveform
from gencomm_cli.reception import channel_state
from gencomm_cli.symbols import ChannelRecord, Header, from_bytes, to_bytes
from gencomm_cli.symbols.checks import mean_power
from tests.radio.support import RATE, SMALL, SPACING, counted, evm_db, file, joined, recorded, through
from tests.support.symbols import ideal, received

CHEAP: dict[str, Any] = {"delay": 777.3, "cfo": -3.4 * SPACING, "clock_offset": 20.0, "phase_noise": -85.0}


def test_a_file_arrives_with_its_header_and_estimated_gains() -> None:
    sent = file(k_side=30)
    (found,) = link.demodulate(through(sent, 20, **CHEAP), SMALL)
    header = found.file.header
    assert found.lost == ()
    assert replace(header, stage="tx", channel=None, n0=None, cbr=sent.header.cbr) == replace(
        sent.header, provenance=header.provenance
    )
    assert header.channel is not None
    assert (header.channel.kind, header.channel.csi) == ("radio", "estimated")
    assert header.channel.snr_db == pytest.approx(20, abs=1)
    assert evm_db(found.file, sent) == pytest.approx(-20, abs=1)
    state = channel_state(found.file)
    assert state.gain is found.file.csi_gain
    assert mean_power(np.concatenate([found.file.csi_gain, found.file.prompt_csi_gain, found.file.side_csi_gain])) == (  # type: ignore[list-item]
        pytest.approx(1, abs=1e-3)
    )
    again = from_bytes(to_bytes(found.file))
    assert again.header == header
    burst = found.bursts[0]
    assert burst.found.cfo == pytest.approx(-3.4, abs=0.03)
    assert burst.clock_offset == pytest.approx(20e-6, abs=6e-6)


@pytest.mark.parametrize("snr_db", [0, 5, 15, 30])
def test_evm_is_that_of_theory(snr_db: float) -> None:
    """1/SNR on AWGN within 0.5 dB, and what the receiver says of its own SNR."""
    sent = file(5000)
    (found,) = link.demodulate(through(sent, snr_db, Waveform(), seed=round(snr_db)))
    assert evm_db(found.file, sent) == pytest.approx(-snr_db, abs=0.5)
    assert found.file.header.n0 == pytest.approx(10 ** (-snr_db / 10), rel=0.12)


def test_several_paths_are_equalised() -> None:
    """Carriers in fades have small gains: their symbols are as unreliable as the estimate says."""
    sent = file(3000)
    recording = recorded(sent, Waveform())
    taps = np.zeros(25, np.complex64)
    taps[[0, 7, 24]] = (0.7, 0.6j, -0.38)
    echoed = np.convolve(recording.read(0, len(recording)), taps)
    (found,) = link.demodulate(impaired(replace(recording, parts=of_samples(echoed).parts), Impairments(), 20))
    gain, n0 = found.file.csi_gain, found.file.header.n0
    assert gain is not None
    assert n0 is not None
    power = np.abs(gain) ** 2
    assert power.max() > 4 * power.min()
    error = np.abs(found.file.symbols - gain * sent.symbols) ** 2
    weak = power < np.median(power)
    assert np.mean(error[weak]) == pytest.approx(n0, rel=0.15)
    assert np.mean(error[~weak]) == pytest.approx(n0, rel=0.15)


def test_a_tone_makes_its_carriers_unreliable_and_no_others() -> None:
    sent = file(3000)
    quiet, loud = (
        link.demodulate(through(sent, 20, Waveform(), tones=tones))[0].file for tones in ((), ((20.3e3, -10.0),))
    )  # fmt: skip
    assert loud.csi_gain is not None
    assert quiet.csi_gain is not None
    lost = np.abs(loud.csi_gain) < 0.5
    assert 0.005 < lost.mean() < 0.15
    assert not (np.abs(quiet.csi_gain) < 0.5).any()
    assert loud.header.n0 is not None
    error = np.abs(loud.symbols - loud.csi_gain * sent.symbols) ** 2
    assert np.mean(error) < 2 * loud.header.n0


def test_bursts_of_several_files_in_any_order_and_a_lost_one() -> None:
    waveform = Waveform(fft=128, burst=32)
    first, second = file(2500, 1), file(900, 2, k_prompt=0)
    sent = link.modulate(first, waveform)
    assert len(sent.starts) == 3
    part = [of_samples(sent.samples[start:][:count]) for start, count in zip(sent.starts, sent.counts, strict=True)]
    capture = joined(part[2], recorded(second, waveform), part[0], part[0])
    noisy = of_samples(capture.read(0, len(capture)) + np.float32(0.01) * draw_noise(len(capture), np.random.default_rng(0)))
    found = link.demodulate(noisy, waveform)
    assert [each.lost for each in found] == [(1,), ()]
    one, two = (each.file for each in found)
    assert one.csi_gain is not None
    erased = one.csi_gain == 0
    assert erased.mean() == pytest.approx(1 / 3, abs=0.05)
    assert not one.symbols[erased].any()
    np.testing.assert_allclose(one.symbols[~erased] / one.csi_gain[~erased], first.symbols[~erased], atol=0.5)
    assert evm_db(two, second) < -20
    from_bytes(to_bytes(one))


def test_what_a_capture_s_end_cuts_off_is_erased() -> None:
    """The symbols that are there are as good as ever; of two copies the whole one is taken, even if it is weaker."""
    sent, waveform = file(4000), Waveform()
    whole = through(sent, 20, waveform, delay=500)
    cut = of_samples(whole.read(0, len(whole) * 2 // 3))
    (found,) = link.demodulate(cut, waveform)
    assert found.lost == ()
    assert 8 < found.bursts[0].missing < 14
    gain, n0 = found.file.csi_gain, found.file.header.n0
    assert gain is not None
    assert n0 == pytest.approx(0.01, rel=0.15)
    there = gain != 0
    assert there.mean() == pytest.approx(0.5, abs=0.1)
    assert not found.file.symbols[~there].any()
    assert np.mean(np.abs(found.file.symbols - gain * sent.symbols)[there] ** 2) == pytest.approx(n0, rel=0.1)
    from_bytes(to_bytes(found.file))
    (both,) = link.demodulate(joined(cut, of_samples(np.zeros(5000, np.complex64)), through(sent, 12, waveform)), waveform)
    assert both.bursts[0].missing == 0


@pytest.mark.parametrize("what", ["blank", "dropped", "jammed"])
def test_a_disturbed_part_of_a_burst_leaves_the_rest_alone(what: str) -> None:
    """Samples that are 0, that a radio lost, or that another transmitter covers: their symbols are unreliable, and no others."""
    sent, waveform = file(6000), Waveform()
    arrived = through(sent, 20, waveform)
    samples = arrived.read(0, len(arrived)).copy()
    first, last = len(samples) * 6 // 10, len(samples) * 8 // 10
    if what == "blank":
        samples[first:last] = 0
    elif what == "jammed":
        samples[first:last] += draw_noise(last - first, np.random.default_rng(0)) * np.float32(samples.std())
    else:
        samples = np.delete(samples, slice(first, first + 500))
    (found,) = link.demodulate(of_samples(samples), waveform)
    gain, n0 = found.file.csi_gain, found.file.header.n0
    assert gain is not None
    assert n0 is not None
    reliable = np.abs(gain) ** 2 > 20 * n0
    assert 0.4 < reliable.mean() < 0.8
    error = np.abs(found.file.symbols - gain * sent.symbols) ** 2
    assert np.mean(error[reliable]) == pytest.approx(n0, rel=0.5)
    assert np.mean(error[~reliable]) < 1.5 * n0


def test_few_carriers_are_found_at_3_db() -> None:
    waveform = Waveform(fft=64)
    sent = link.modulate(file(300), waveform).recording(waveform, RATE)
    arrived = [impaired(sent, Impairments(delay=99.3 * seed, cfo=1e3 * seed), 3, seed) for seed in range(8)]
    assert [len(list(link.bursts(each, waveform))) for each in arrived] == [1] * 8


def test_a_received_file_that_contradicts_itself_is_refused() -> None:
    (found,) = link.demodulate(through(file(), 20), SMALL)
    with pytest.raises(InputError, match="csi_gain is missing"):
        to_bytes(replace(found.file, csi_gain=None))
    meta = json.loads(json.dumps(found.file.header.to_json()))
    for wrong in ({"cbr": meta["cbr"] | {"total": 0.1}}, {"channel": meta["channel"] | {"csi": "perfect"}}):
        with pytest.raises(InputError, match=r"waveform|estimated"):
            Header.from_json(meta | wrong)
    with pytest.raises(InputError, match="modulate"):
        pass_channel(file(), ChannelRecord("radio", 3.0, "received", "estimated"), 0)


def test_every_channel_use_counts() -> None:
    sent = file(2500)
    waveform = Waveform(fft=128, oversample=1, window=0, burst=32)
    modulated = link.modulate(sent, waveform)
    (found,) = link.demodulate(modulated.recording(waveform, RATE), waveform)
    assert sum(modulated.counts) == modulated.uses
    assert found.file.header.cbr.total * counted(sent) == pytest.approx(modulated.uses)
    assert found.file.header.cbr.waveform == found.file.header.cbr.total


def test_dc_iq_imbalance_clipping_and_few_bits_are_noise_at_most() -> None:
    sent = file(2000)
    (found,) = link.demodulate(through(sent, math.inf, Waveform(), dc=0.0, iq_gain=0.3, iq_phase=2.0, bits=8, clip=2.0))
    assert evm_db(found.file, sent) < -20


def test_no_burst_in_noise_silence_tones_or_half_a_burst() -> None:
    rng = np.random.default_rng(0)
    tone = np.exp(0.3j * np.arange(40000)).astype(np.complex64)
    whole = through(file(), 20)
    captures = [of_samples(draw_noise(120000, rng)), of_samples(np.zeros(40000, np.complex64)), of_samples(tone)]
    captures += [of_samples(whole.read(0, len(whole) // 2)), of_samples(tone[:7])]
    for capture in captures:
        assert not list(link.bursts(capture, SMALL))
        with pytest.raises(InputError, match="no burst"):
            link.demodulate(capture, SMALL)


def test_what_no_waveform_carries() -> None:
    for wrong, word in (
        (received(), "tx"),
        (ideal(), "capacity"),
        (replace(file(), header=replace(file().header, tx_gain=1j)), "gain"),
    ):
        with pytest.raises(InputError, match=word):
            link.modulate(wrong, SMALL)
    with pytest.raises(InputError, match="samples, more than 33554432; use longer bursts"):
        link.modulate(file(200_000), Waveform(fft=64, burst=40, oversample=16))


def described(**changes: object) -> bytes:
    """The description of a file, with other fields."""
    good = framing.describe(framing.Description(file().header, (600, 20, 0)))
    meta = json.loads(zlib.decompressobj(-15, framing._TYPICAL).decompress(good[32:])) | changes
    deflate = zlib.compressobj(9, wbits=-15, zdict=framing._TYPICAL)
    return good[:32] + deflate.compress(json.dumps(meta).encode()) + deflate.flush()


def test_descriptions_that_cannot_be_are_refused_and_take_no_memory() -> None:
    """What a CRC cannot show: sizes beyond all limits, fields that are not there, no JSON, and deflate that never ends."""
    assert framing.read_description(described()).counts == (600, 20, 0)
    counts = ([0, 20, 0], [2**21, 20, 0], [2**60, 20, 0], [600, 20], [600, 0, 0], "x", [-1, 20, 0], None, [600.0, 20, 0])
    wrong = [described(counts=each) for each in counts]
    wrong += [described(**each) for each in ({"image_size": [2**30, 2**30]}, {"method": "../x"}, {"more": 1}, {"power": 2.0})]
    bomb = zlib.compressobj(9, wbits=-15)
    wrong += [b"", b"x" * 40, bytes(32) + bomb.compress(b"[" * 2**26) + bomb.flush()]
    tracemalloc.start()
    for data in wrong:
        with pytest.raises(InputError):
            framing.read_description(data)
    rng = np.random.default_rng(0)
    for _ in range(200):
        noise = bytearray(described())
        noise[rng.integers(32, len(noise))] ^= 1 << rng.integers(8)
        with contextlib.suppress(InputError):
            framing.read_description(bytes(noise))
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


def test_headers_that_cannot_be_are_lost_bursts() -> None:
    """A burst may claim more symbols than it has, an index beyond its bursts, or a description of no length."""
    gain = np.ones(20000, np.complex64)

    def read(description: bytes, index: int = 0, bursts: int = 1, **changes: int) -> object:
        header = replace(BurstHeader(7, index, bursts, 10, len(description)), **changes)
        cells = np.concatenate((framing.encode_header(header, description), np.ones(620, np.complex64)))
        first = framing.decode_header(cells[: framing.first_cells()], gain[: framing.first_cells()])
        return None if first is None else framing.decode_description(*first, cells, gain[: cells.size])

    assert isinstance(read(described()), framing.Description)
    assert read(described(counts=[601, 20, 0])) is None
    assert read(described(), 1, 1) is None
    assert read(described(), description_bytes=0) is None
    assert read(described(), description_bytes=2**16 - 1) is None
