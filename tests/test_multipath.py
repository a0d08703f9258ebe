"""Multipath and pilots in the symbol file: what it holds, what it counts, what its receiver makes of it, and what it refuses."""

from __future__ import annotations

import io
import math
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from gencomm_cli import pipeline, rates, symbols
from gencomm_cli.channels import ofdm
from gencomm_cli.channels.equalisers import mmse
from gencomm_cli.channels.ofdm import OfdmConfig
from gencomm_cli.channels.snr import n0_from_db
from gencomm_cli.errors import InputError
from gencomm_cli.reception import channel_state
from gencomm_cli.seeds import generator
from gencomm_cli.symbols import ChannelRecord, SymbolFile
from gencomm_cli.text.link import receive_prompt, transmit_prompt
from tests.support.symbols import members, packed, refused, same, sent, through, unit, with_meta

SAMPLES = 3 * 37 * 53


def passed(file: SymbolFile | None = None, **changes: Any) -> SymbolFile:
    given: dict[str, Any] = {"kind": "multipath", "snr_db": 10.0, "snr_type": "esn0", "csi": "perfect", "seed": 7} | changes
    return through(file or sent(), **given)


def reread(file: SymbolFile) -> SymbolFile:
    return symbols.read(io.BytesIO(symbols.to_bytes(file)))


@pytest.mark.parametrize(
    "file",
    [
        passed(),
        passed(csi="estimated"),
        passed(csi="none"),
        passed(ofdm=OfdmConfig(64, 0, 2, 8, clip=0.8, interleaver=False)),
        passed(ofdm=OfdmConfig(pilots=0)),
        passed(snr_db=math.inf, rx_snr_db=3.0),
        passed(sent(k_prompt=0, k_side=13), snr_type="received"),
        passed(kind="block", csi="estimated"),
    ],
)
def test_what_is_written_comes_back(file: SymbolFile) -> None:
    same(reread(file), file)


def test_files_hold_what_the_receiver_may_know_and_nothing_else() -> None:
    symbol_arrays = {"symbols", "prompt_symbols", "side_symbols"}
    assert passed().arrays().keys() == symbol_arrays | {"pilot_symbols", "csi_cir"}
    assert passed(csi="estimated").arrays().keys() == symbol_arrays | {"pilot_symbols"}
    assert passed(csi="none").arrays().keys() == symbol_arrays
    assert passed(kind="block", csi="estimated").arrays().keys() == symbol_arrays | {"pilot_symbols"}
    assert passed(kind="block").arrays().keys() == symbol_arrays | {"csi_gain", "prompt_csi_gain"}


def test_a_blind_receiver_has_neither_gains_nor_pilots() -> None:
    blind = passed(csi="none")
    assert blind.header.channel is not None
    assert blind.header.channel.ofdm is not None
    assert blind.header.channel.ofdm.pilots == 0
    assert blind.header.cbr.pilots == 0
    state = channel_state(blind)
    assert (state.gain, state.prompt_gain, state.side_gain, state.cir) == (None, None, None, None)
    assert state.n0 == blind.header.n0
    np.testing.assert_array_equal(blind.symbols, passed(ofdm=OfdmConfig(pilots=0)).symbols)  # the channel itself is the same


def test_pilots_prefixes_and_empty_carriers_are_counted() -> None:
    cbr = passed(sent(k=649, k_prompt=200)).header.cbr
    assert cbr.pilots * SAMPLES == pytest.approx(256)
    assert cbr.cp * SAMPLES == pytest.approx(10 * (1 + 3 + 1))
    assert cbr.idle * SAMPLES == pytest.approx(3 * 256 - 649 + 56)
    assert cbr.total == pytest.approx(cbr.image + cbr.prompt + cbr.pilots + cbr.cp + cbr.idle)
    assert passed(ofdm=OfdmConfig(cp=0, pilots=2)).header.cbr.cp == 0
    assert passed(ofdm=OfdmConfig(cp=0, pilots=2)).header.cbr.pilots * SAMPLES == pytest.approx(512)
    assert passed(csi="none").header.cbr.pilots == 0
    block = passed(kind="block", csi="estimated").header.cbr
    assert block.pilots * SAMPLES == pytest.approx(16)
    assert block.total == pytest.approx(sent().header.cbr.total + block.pilots)
    assert passed(kind="block").header.cbr == sent().header.cbr
    assert "idle" not in passed(kind="block").header.to_json()["cbr"]


def test_a_total_bounds_pilots_prefixes_and_empty_carriers_too() -> None:
    record = pipeline.channel_record("multipath", 10.0, "esn0", "estimated")
    for total in (0.0033, 0.01, 0.05):
        for prompt in (0, 150):
            image = round(rates.image_target(total, True, prompt, (512, 768), record.extra_uses) * 3 * 512 * 768)
            used = image + prompt + sum(asdict(record.extra_uses((image, prompt))).values())
            assert used <= total * 3 * 512 * 768 < used + 266
    assert rates.image_target(0.0033, True, 0, (37, 53), record.extra_uses) <= 0
    assert rates.image_target(0.0033, False, 150, (512, 768), record.extra_uses) == 0.0033


@pytest.mark.parametrize("config", [OfdmConfig(), OfdmConfig(cp=0), OfdmConfig(clip=0.8)])
@pytest.mark.parametrize("csi", ["perfect", "estimated"])
def test_a_symbol_is_its_gain_times_what_was_sent_in_noise_of_the_power_that_is_said(config: OfdmConfig, csi: str) -> None:
    """E|y − ĝx|² is the state's N0, with everything in it: noise, estimation error, clipping, interference."""
    for snr_db in (0.0, 15.0):
        ratio = []
        for seed in range(80):  # 4 OFDM symbols have few late samples: other symbols each time
            file = replace(sent(k=4 * 256), symbols=unit(4 * 256, seed))
            received = passed(file, snr_db=snr_db, csi=csi, seed=seed, ofdm=config)
            state = channel_state(received)
            assert state.gain is not None
            ratio.append(np.mean(np.abs(received.symbols - state.gain * file.symbols) ** 2) / state.n0)
        assert np.mean(ratio) == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("kind", ["multipath", "block"])
def test_noise_has_the_power_of_the_snr(kind: str) -> None:
    file = sent(k=4096)
    clean, noisy = (passed(file, kind=kind, snr_db=snr_db) for snr_db in (math.inf, 3.0))
    assert np.mean(np.abs(noisy.symbols - clean.symbols) ** 2) == pytest.approx(n0_from_db(3.0), rel=0.05)
    if kind == "multipath":
        assert noisy.pilot_symbols is not None
        assert clean.pilot_symbols is not None
        assert np.mean(np.abs(noisy.pilot_symbols - clean.pilot_symbols) ** 2) == pytest.approx(n0_from_db(3.0), rel=0.2)
    arrived = passed(file, kind=kind, snr_type="received")
    power = np.mean(np.abs(clean.symbols) ** 2)
    assert arrived.header.n0 == pytest.approx(power / 10, rel=1e-5)


def test_lmmse_receives_better_than_ls_at_low_snr() -> None:
    file, error = sent(k=1024), {}
    for estimator in ("ls", "authors", "lmmse"):
        squares = []
        for seed in range(40):
            received = passed(file, snr_db=0.0, csi="estimated", seed=seed)
            state = channel_state(received, estimator)  # type: ignore[arg-type]
            squares.append(np.mean(np.abs(mmse(received.symbols, state.gain, state.n0) - file.symbols) ** 2))
        error[estimator] = np.mean(squares)
    assert error["lmmse"] < 0.8 * min(error["ls"], error["authors"])


def test_one_impulse_response_carries_image_prompt_and_side_symbols() -> None:
    file = sent(k=300, k_prompt=40, k_side=30)
    received = passed(file, snr_db=math.inf)
    state = channel_state(received)
    for name, gain in (("symbols", state.gain), ("prompt_symbols", state.prompt_gain), ("side_symbols", state.side_gain)):
        np.testing.assert_allclose(getattr(received, name), gain * getattr(file, name), atol=3e-6)
    assert received.csi_cir is not None
    np.testing.assert_array_equal(received.csi_cir, ofdm.draw_taps(OfdmConfig(), generator(7, "image fading")))
    np.testing.assert_allclose(state.cir, received.csi_cir, atol=1e-6)  # type: ignore[arg-type]
    without = passed(sent(k=300, k_prompt=0), snr_db=10.0)
    np.testing.assert_array_equal(without.symbols, passed(file, snr_db=10.0).symbols)


@pytest.mark.parametrize("snr_db", [5.0, 15.0])
def test_prompts_survive_in_the_mode_that_is_chosen_for_multipath(snr_db: float) -> None:
    prompt, form = transmit_prompt("two macaws before green leaves", snr_db=snr_db, fading="multipath")
    file = sent(k_prompt=0)
    cbr = rates.account(0.0033, (37, 53), image=100, prompt=prompt.size, side=0)
    file = replace(file, header=replace(file.header, prompt=form, cbr=cbr), prompt_symbols=prompt)
    lost = 0
    for seed in range(50):
        received = passed(file, snr_db=snr_db, csi="estimated", seed=seed)
        state = channel_state(received)
        lost += receive_prompt(received.prompt_symbols, state.prompt_gain, state.n0, form) is None
    assert lost <= 3


def test_a_receiver_can_be_given_another_snr() -> None:
    true, misled = passed(snr_db=10.0), passed(snr_db=10.0, rx_snr_db=0.0)
    np.testing.assert_array_equal(true.symbols, misled.symbols)
    assert misled.header.n0 == pytest.approx(1)
    assert channel_state(misled).n0 == pytest.approx(1)
    assert misled.header.to_json()["channel"]["rx_snr_db"] == 0.0


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"kind": "awgn", "csi": "estimated"}, "csi: estimated"),
        ({"kind": "rayleigh", "csi": "estimated"}, "csi: estimated"),
        ({"kind": "awgn", "ofdm": OfdmConfig()}, "ofdm is there"),
        ({"csi": "estimated", "ofdm": OfdmConfig(pilots=0)}, "pilots"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        passed(**changes)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"carriers": 10**9}, "carriers"), ({"carriers": True}, "carriers"), ({"carriers": 0}, "carriers"), ({"cp": 300}, "cp"),
        ({"cp": 1.5}, "cp"), ({"taps": 2**15}, "taps"), ({"taps": 9}, "csi_cir holds 8"), ({"pilots": 2}, "cbr"),
        ({"decay": "inf"}, "decay"), ({"decay": 0}, "decay"), ({"clip": -1}, "clip"), ({"clip": "0.8"}, "clip"),
        ({"interleaver": 1}, "interleaver"), ({"seed": 7}, "seed"),
    ],
)  # fmt: skip
def test_hostile_headers_are_refused(changes: dict[str, Any], match: str) -> None:
    file = passed()
    channel = file.header.to_json()["channel"]
    refused(with_meta(file, channel=channel | {"ofdm": channel["ofdm"] | changes}), match)


def test_headers_and_arrays_that_disagree_are_refused() -> None:
    file = passed()
    channel = file.header.to_json()["channel"]
    refused(with_meta(file, channel={name: value for name, value in channel.items() if name != "ofdm"}), "ofdm is missing")
    refused(with_meta(file, channel=channel | {"ofdm": None}), "ofdm")
    refused(with_meta(file, channel=channel | {"csi": "none"}), "pilots")
    refused(with_meta(file, channel=channel | {"rx_snr_db": 3.0}), "not the noise power of 3 dB")
    refused(with_meta(file, channel=channel | {"kind": "rayleigh"}), "ofdm is there")
    for name in ("pilot_symbols", "csi_cir"):
        refused(packed({key: value for key, value in members(file).items() if key != name}), f"{name} is missing")
        refused(packed(members(file) | {name: np.ones(5, np.complex64)}), f"{name} holds 5")
        refused(packed(members(sent()) | {name: np.ones(256, np.complex64)}), f"{name} is there")
    refused(packed(members(passed(csi="none")) | {"pilot_symbols": np.ones(256, np.complex64)}), "pilot_symbols is there")
    refused(packed(members(passed(csi="estimated")) | {"csi_cir": np.ones(8, np.complex64)}), "csi_cir is there")
    refused(packed(members(file) | {"csi_gain": np.ones(100, np.complex64)}), "csi_gain is there")
    for name in ("pilots", "cp", "idle"):
        cbr = file.header.to_json()["cbr"]
        changed = cbr | {name: cbr[name] + 1e-3, "total": cbr["total"] + 1e-3}
        refused(with_meta(file, cbr=changed), f"cbr.{name}")


def test_a_record_says_what_its_channel_adds() -> None:
    assert ChannelRecord("rayleigh", 1.0, "esn0", "perfect").extra_uses((100, 20, 0)) == ofdm.ExtraUses()
    assert ChannelRecord("block", 1.0, "esn0", "estimated").extra_uses((100, 20, 0)) == ofdm.ExtraUses(pilots=16)
    with pytest.raises(InputError, match="ofdm is missing"):
        ChannelRecord("multipath", 1.0, "esn0", "perfect")
    assert replace(ChannelRecord("block", 1.0, "esn0", "perfect")).ofdm is None
