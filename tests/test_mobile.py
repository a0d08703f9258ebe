"""Paths that change in the symbol file: what it holds and counts, what its receiver makes of it, what is refused; the command."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gencomm_cli
from gencomm_cli import symbols
from gencomm_cli.channels import measured
from gencomm_cli.channels.equalisers import mmse
from gencomm_cli.channels.ofdm import OfdmConfig
from gencomm_cli.channels.path_model import LIGHT, PathModel
from gencomm_cli.errors import InputError
from gencomm_cli.reception import channel_state
from gencomm_cli.symbols import SymbolFile
from tests.support.commands import Result, failed
from tests.support.schemas import validator
from tests.support.symbols import members, packed, refused, same, sent, through, unit, with_meta

Gencomm = Callable[..., Result]
SAMPLES = 3 * 37 * 53
FAST = PathModel(tdl="a", delay_spread=300e-9, speed=120)


def passed(file: SymbolFile | None = None, **changes: Any) -> SymbolFile:
    given: dict[str, Any] = {
        "kind": "multipath", "snr_db": 10.0, "snr_type": "esn0", "csi": "perfect", "seed": 7, "paths": FAST,
        "ofdm": OfdmConfig(cp=18),
    } | changes  # fmt: skip
    return through(file or sent(), **given)


def impulse_responses(folder: Path, rows: int = 400) -> Path:
    rng = np.random.default_rng(1)
    steps = rng.normal(size=(rows, 3)) + 1j * rng.normal(size=(rows, 3))
    gains = np.stack([np.convolve(column, np.hanning(60), "same") for column in steps.T], 1)
    np.savez(folder / "cir.npz", delays=[0, 3e-7, 1e-6], gains=gains, interval=[1e-4])
    return folder / "cir.npz"


@pytest.mark.parametrize(
    "file",
    [
        passed(),
        passed(csi="estimated"),
        passed(csi="none"),
        passed(ofdm=OfdmConfig(64, 5, 2, clip=0.8, interleaver=False), paths=replace(FAST, pilot_period=0)),
        passed(ofdm=OfdmConfig(pilots=0)),
        passed(sent(k_prompt=0, k_side=13), snr_type="received", snr_db=math.inf, rx_snr_db=3.0),
    ],
)
def test_what_is_written_comes_back(file: SymbolFile) -> None:
    same(symbols.read(io.BytesIO(symbols.to_bytes(file))), file)
    validator("meta.json").validate(json.loads(json.dumps(file.header.to_json())))


def test_files_hold_what_the_receiver_may_know_and_nothing_else() -> None:
    arrays = {"symbols", "prompt_symbols", "side_symbols"}
    assert passed().arrays().keys() == arrays | {"pilot_symbols", "csi_gain", "prompt_csi_gain"}
    assert passed(csi="estimated").arrays().keys() == arrays | {"pilot_symbols"}
    blind = passed(csi="none")
    assert blind.arrays().keys() == arrays
    state = channel_state(blind)
    assert (state.gain, state.prompt_gain, state.n0) == (None, None, blind.header.n0)
    # Only the channel's interference and what was asked for is in the record: no draw, no gain.
    assert passed(csi="estimated").header.to_json()["channel"]["paths"] == {
        "tdl": "a", "delay_spread": 300e-9, "speed": 120.0, "carrier_frequency": 3.5e9, "subcarrier_spacing": 15e3,
        "pilot_period": 4,
    }  # fmt: skip


def test_every_pilot_counts() -> None:
    cbr = passed(sent(k=649, k_prompt=200)).header.cbr  # 3 + 1 OFDM symbols of data, and pilots before and after them
    assert cbr.pilots * SAMPLES == pytest.approx(2 * 256)
    assert cbr.cp * SAMPLES == pytest.approx(18 * (2 + 4))
    assert cbr.idle * SAMPLES == pytest.approx(4 * 256 - 849)
    assert cbr.total == pytest.approx(cbr.image + cbr.prompt + cbr.pilots + cbr.cp + cbr.idle)
    often = passed(sent(k=649, k_prompt=200), paths=replace(FAST, pilot_period=1)).header.cbr
    assert often.pilots * SAMPLES == pytest.approx(5 * 256)
    received = passed(csi="estimated")
    assert received.pilot_symbols is not None
    assert received.pilot_symbols.size == round(received.header.cbr.pilots * SAMPLES)


@pytest.mark.parametrize(
    ("csi", "speed", "config"),
    [
        ("perfect", 120.0, OfdmConfig(cp=18)), ("estimated", 120.0, OfdmConfig(cp=18)), ("estimated", 400.0, OfdmConfig(cp=18)),
        ("perfect", 400.0, OfdmConfig(cp=2)), ("estimated", 0.0, OfdmConfig(clip=0.8)),
    ],
)  # fmt: skip
def test_a_symbol_is_its_gain_times_what_was_sent_in_noise_of_the_power_that_is_said(
    csi: str, speed: float, config: OfdmConfig
) -> None:
    paths, ratio = replace(FAST, speed=speed, pilot_period=2), []
    for seed in range(25):
        file = replace(sent(k=4 * 256), symbols=unit(4 * 256, seed))
        received = passed(file, csi=csi, seed=seed, ofdm=config, paths=paths, snr_db=15.0)
        state = channel_state(received)
        assert state.gain is not None
        ratio.append(np.mean(np.abs(received.symbols - state.gain * file.symbols) ** 2) / state.n0)
    assert np.mean(ratio) == pytest.approx(1, abs=0.12)


def test_without_noise_a_channel_at_rest_is_equalised_exactly() -> None:
    file = sent(k=700, k_prompt=20, k_side=30)
    received = passed(file, snr_db=math.inf, paths=replace(FAST, speed=0))
    state = channel_state(received)
    assert state.n0 == 0
    for name, gain in (("symbols", state.gain), ("prompt_symbols", state.prompt_gain), ("side_symbols", state.side_gain)):
        np.testing.assert_allclose(mmse(getattr(received, name), gain, 0.0), getattr(file, name), atol=1e-3)


def test_pilots_that_come_again_beat_estimates_at_rest_at_speed() -> None:
    file, error = replace(sent(k=12 * 256), symbols=unit(12 * 256)), {}
    for period in (0, 4):
        squares = []
        for seed in range(8):
            received = passed(file, csi="estimated", seed=seed, paths=replace(FAST, speed=250, pilot_period=period), snr_db=20.0)
            state = channel_state(received)
            squares.append(np.mean(np.abs(mmse(received.symbols, state.gain, state.n0) - file.symbols) ** 2))
        error[period] = np.mean(squares)
    assert error[4] < 0.3 * error[0]


@pytest.mark.parametrize(
    ("speed", "period", "config", "expected"),
    [(0, None, OfdmConfig(), 4), (300, None, OfdmConfig(), 4), (500, None, OfdmConfig(), 2), (3000, None, OfdmConfig(), 1),
     (500, None, OfdmConfig(pilots=2), 1), (500, 4, OfdmConfig(), 4), (500, 0, OfdmConfig(), 0)],
)  # fmt: skip
def test_pilots_come_as_often_as_the_speed_asks_for(speed: float, period: int | None, config: OfdmConfig, expected: int) -> None:
    received = passed(csi="estimated", ofdm=config, paths=replace(FAST, speed=speed, pilot_period=period))
    assert received.header.to_json()["channel"]["paths"]["pilot_period"] == expected


def test_the_default_pilots_suffice_at_500_km_h() -> None:
    """Within 1 dB of perfect CSI; pilots every 4 OFDM symbols cost 6."""
    file, error = replace(sent(k=12 * 256), symbols=unit(12 * 256)), {}
    for csi, period in (("perfect", None), ("estimated", None), ("estimated", 4)):
        paths, squares = replace(FAST, speed=500, pilot_period=period), []
        for seed in range(4):
            received = passed(file, csi=csi, seed=seed, paths=paths, snr_db=15.0)
            state = channel_state(received)
            squares.append(np.mean(np.abs(mmse(received.symbols, state.gain, state.n0) - file.symbols) ** 2))
        error[csi, period] = 10 * np.log10(np.mean(squares))
    assert error["estimated", None] < error["perfect", None] + 1
    assert error["estimated", 4] > error["perfect", None] + 5


def test_a_prompt_does_not_change_the_image_s_channel() -> None:
    alone, both = passed(sent(k_prompt=0)), passed(sent())
    np.testing.assert_array_equal(alone.symbols, both.symbols)
    np.testing.assert_array_equal(alone.csi_gain, both.csi_gain)  # type: ignore[arg-type]


def test_the_library_takes_paths_and_measured_ones(tmp_path: Path) -> None:
    file = sent()
    found = gencomm_cli.transmit(file, snr=10, paths=FAST, ofdm=OfdmConfig(cp=18), seed=7)
    same(found, passed())
    known = measured.read(impulse_responses(tmp_path))
    received = gencomm_cli.transmit(file, snr=math.inf, paths=PathModel(cir=known.sha256), measured=known)
    same(symbols.read(io.BytesIO(symbols.to_bytes(received))), received)
    channel = received.header.channel
    assert channel is not None
    assert channel.paths is not None
    assert channel.paths.doppler == pytest.approx(known.doppler)
    assert received.csi_gain is not None
    np.testing.assert_allclose(received.symbols, received.csi_gain * file.symbols, atol=0.02)
    with pytest.raises(InputError, match="give it with --cir"):
        gencomm_cli.transmit(file, snr=10, paths=PathModel(cir="0" * 64), measured=known)
    with pytest.raises(InputError, match="multipath: the models"):
        gencomm_cli.transmit(file, snr=10, fading="block", paths=FAST)
    with pytest.raises(InputError, match="taps: with --decay"):
        gencomm_cli.transmit(file, snr=10, paths=FAST, ofdm=OfdmConfig(taps=3))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"tdl": "f"}, "tdl"), ({"tdl": None}, "tdl"), ({"cdl": "a"}, "exactly one"), ({"speed": 1e9}, "speed"),
        ({"speed": "fast"}, "speed"), ({"speed": None}, "speed"), ({"carrier_frequency": 0}, "carrier_frequency"),
        ({"subcarrier_spacing": 1e300}, "subcarrier_spacing"), ({"pilot_period": 10**9}, "pilot_period"),
        ({"pilot_period": 5}, "cbr"), ({"pilot_period": 2.5}, "pilot_period"), ({"delay_spread": -1}, "delay_spread"),
        ({"cir": "../secret"}, "cir"), ({"seed": 7}, "seed"),
    ],
)  # fmt: skip
def test_hostile_headers_are_refused(changes: dict[str, Any], match: str) -> None:
    file = passed(sent(k=12 * 256))
    channel = file.header.to_json()["channel"]
    refused(with_meta(file, channel=channel | {"paths": channel["paths"] | changes}), match)


def test_headers_and_arrays_that_disagree_are_refused() -> None:
    file = passed()
    channel = file.header.to_json()["channel"]
    refused(with_meta(file, channel={name: value for name, value in channel.items() if name != "paths"}), "interference")
    refused(with_meta(file, channel=channel | {"interference": -1}), "interference")
    refused(with_meta(file, channel={**channel, "kind": "rayleigh", "ofdm": None}), "ofdm")
    refused(packed({name: array for name, array in members(file).items() if name != "csi_gain"}), "csi_gain is missing")
    refused(packed(members(file) | {"csi_cir": np.ones(8, np.complex64)}), "csi_cir is there")
    refused(packed(members(file) | {"pilot_symbols": np.ones(256, np.complex64)}), "pilot_symbols holds 256")
    refused(packed(members(passed(csi="estimated")) | {"csi_gain": np.ones(100, np.complex64)}), "csi_gain is there")


def test_the_command_sends_over_models_and_files_and_says_what_does_not_go(here: Gencomm, tmp_path: Path) -> None:
    sent().save("tx.npz")
    cir = impulse_responses(tmp_path)
    fast = ["--tdl", "a", "--delay-spread", "300e-9", "--speed", 120, "--cp", 18]
    assert here("channel", "tx.npz", "--snr", 10, "--seed", 7, *fast).returncode == 0
    same(gencomm_cli.open_symbols("rx.npz"), passed())
    shown = here("inspect", "rx.npz").stdout.decode()
    assert "paths tdl a, delay_spread 3e-07, speed 120" in shown
    assert here("channel", "tx.npz", "--snr", 10, "--cir", cir, "--csi", "estimated").returncode == 0
    assert gencomm_cli.open_symbols("rx.npz").header.channel.paths.cir == measured.read(cir).sha256  # type: ignore[union-attr]
    known = gencomm_cli.open_symbols("rx.npz").header.channel
    assert known is not None
    assert known.paths is not None
    assert known.paths.speed == pytest.approx(3.6 * measured.read(cir).doppler * LIGHT / 3.5e9)
    too_long = "--pilot-period: 9 is too long for gains that change by 1621 Hz"
    for spacing, right in ((15e3, "2 would do"), (5e3, "take more --subcarrier-spacing")):
        given = ["--tdl", "a", "--speed", 500, "--subcarrier-spacing", spacing, "--pilot-period", 9]
        assert f"{too_long}; {right}" in here("channel", "tx.npz", "--snr", 10, "--csi", "estimated", *given).stderr.decode()
        assert b"--pilot-period" not in here("channel", "tx.npz", "--snr", 10, *given).stderr
    refusals: list[tuple[list[object], list[str]]] = [
        (["--tdl", "a", "--cdl", "b"], ["--tdl", "exactly one"]),
        (["--speed", 30], ["--tdl", "exactly one"]),
        (["--tdl", "a", "--rayleigh"], ["--multipath"]),
        (["--tdl", "a", "--decay", 3], ["--decay"]),
        (["--cir", "missing.npz"], ["missing.npz: no such file; name an .npz of impulse responses"]),
        (["--cir", "tx.npz"], ["--cir", "delays, gains, interval were expected"]),
        (["--cir", cir, "--subcarrier-spacing", 1], ["--cir", "lasts"]),
        (["--tdl", "a", "--speed", "nan"], ["--speed"]),
    ]
    for flags, words in refusals:
        failed(here("channel", "tx.npz", "--snr", 10, *flags), 2, *words)
