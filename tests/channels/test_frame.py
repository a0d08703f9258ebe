"""OFDM over paths that change: against convolution written out, a law of interference, and pilots that come again and again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import j0

from gencomm_cli.channels import frame, ofdm
from gencomm_cli.channels.estimation import clipping
from gencomm_cli.channels.fading import draw_noise
from gencomm_cli.channels.ofdm import OfdmConfig
from gencomm_cli.channels.path_model import PathModel
from gencomm_cli.channels.paths import Paths, draw_paths
from gencomm_cli.channels.tracking import track
from gencomm_cli.errors import InputError
from gencomm_cli.seeds import generator

RATE = 3.84e6


def draw(count: int, seed: int = 0) -> NDArray[np.complex64]:
    return draw_noise(count, generator(seed, "test"))


@pytest.mark.parametrize(("data", "pilots", "period"), [(10, 1, 4), (8, 2, 4), (1, 1, 4), (7, 1, 0), (5, 0, 4), (3, 3, 1)])
def test_frames_have_pilots_before_between_and_after(data: int, pilots: int, period: int) -> None:
    config = OfdmConfig(carriers=16, cp=2, taps=2, pilots=pilots)
    groups, rest = frame.slots(data, config, period)
    assert sorted([*groups.reshape(-1), *rest]) == list(range(groups.size + data))
    order = "".join("P" if index in groups else "D" for index in range(groups.size + data))
    once = "P" * pilots
    pieces = ["D" * min(period or data, data - start) for start in range(0, data, period or data)]
    assert order == once + once.join(pieces) + (once if period else "")
    counts = (16 * (data - 1) + 3, 0) if data > 1 else (3, 0)
    uses = frame.frame_uses(counts, config, period)
    assert uses == ofdm.ExtraUses(groups.size * 16, (groups.size + data) * 2, 13)
    assert frame.duration(counts, config, period, 1.0) == (groups.size + data) * 18


@pytest.mark.parametrize("cp", [0, 2, 6])
def test_carriers_receive_what_convolution_with_changing_taps_brings(cp: int) -> None:
    """Whole delays, so that samples are convolved as they are; the prefix may be too short."""
    config = OfdmConfig(carriers=16, cp=cp, taps=2, pilots=1)
    burst, delays = draw(40), np.array([0, 1, 4, 5])
    samples = (3 + 3) * (16 + cp)
    gains = draw(4 * samples, 1).reshape(4, -1)
    arrived = frame.send([burst], Paths(delays / RATE, gains, 1 / RATE), config, 2, RATE)
    groups, data = frame.slots(3, config, 2)
    grid = np.zeros((6, 16), np.complex64)
    grid[groups] = ofdm.pilot_symbols(config)
    flat = np.zeros(48, np.complex64)
    flat[ofdm.places(40, config)] = burst
    grid[data] = flat.reshape(3, 16)
    signal = ofdm.transmitted(grid, config)
    expected = sum(
        gain * np.concatenate((np.zeros(delay), signal[: samples - delay])) for gain, delay in zip(gains, delays, strict=True)
    )
    carriers = ofdm.demodulate(expected, config)  # type: ignore[type-var]
    np.testing.assert_allclose(arrived.symbols[0], carriers[data].reshape(-1)[ofdm.places(40, config)], atol=1e-5)
    np.testing.assert_allclose(arrived.pilots, carriers[groups].reshape(-1), atol=1e-5)


@pytest.mark.parametrize("clip", [None, 0.8])
def test_at_rest_carriers_have_one_gain_each_and_equalise_exactly(clip: float | None) -> None:
    config = OfdmConfig(cp=18, clip=clip)
    model = PathModel(tdl="c", delay_spread=300e-9, speed=0)
    bursts = [draw(700), draw(0), draw(30)]
    paths = draw_paths(model, 1.0, generator(2, "test"))
    arrived = frame.send(bursts, paths, config, 4, RATE)
    turns = np.exp(-2j * np.pi * np.outer(np.fft.fftfreq(256, 1 / RATE), paths.delays)) @ paths.gains[:, 0]
    if clip is None:
        assert arrived.interference == 0
        np.testing.assert_allclose(arrived.gains[2], turns[ofdm.places(30, config) % 256], atol=1e-5)
        for burst, received, gain in zip(bursts, arrived.symbols, arrived.gains, strict=True):
            np.testing.assert_allclose(received / gain, burst, atol=2e-4)
    else:
        alpha, distortion = clipping(config)
        assert arrived.interference == pytest.approx(distortion * np.mean(np.abs(turns) ** 2), rel=0.3)
        np.testing.assert_allclose(arrived.gains[2], alpha * turns[ofdm.places(30, config) % 256], atol=1e-5)


def test_interference_of_changing_gains_has_the_power_of_the_law() -> None:
    """1 − Σ_n Σ_m J0(2πf_D(n − m)/f_s)/M² (Russell and Stüber, IEEE Vehicular Technology Conference 1995)."""
    config, model = OfdmConfig(cp=18, pilots=0), PathModel(tdl="a", delay_spread=50e-9, speed=500)
    burst = draw(8 * 256)
    lag = np.arange(256) - np.arange(256)[:, None]
    law = 1 - np.mean(j0(2 * np.pi * model.doppler * lag / RATE))
    found = []
    for seed in range(25):
        paths = draw_paths(model, 8 * 274 / RATE, generator(seed, "test"))
        arrived = frame.send([burst], paths, config, 4, RATE)
        assert arrived.interference == pytest.approx(np.mean(np.abs(arrived.symbols[0] - arrived.gains[0] * burst) ** 2), rel=0.01)
        found.append(arrived.interference)
    assert np.mean(found) == pytest.approx(law, rel=0.2)
    assert law > 0.01


def test_paths_longer_than_an_ofdm_symbol_are_refused() -> None:
    with pytest.raises(InputError, match="768 samples"):
        frame.send([draw(30)], Paths(np.array([0, 2e-4]), draw(2)[:, None], 1.0), OfdmConfig(), 4, RATE)


def errors(model: PathModel, noise: float, estimator: Any, seeds: int = 12, period: int = 4) -> tuple[float, float]:
    """The mean squared error of an estimate of the gains, and what it is said to be."""
    config, burst, found, said = OfdmConfig(cp=18), draw(12 * 256), [], 0.0
    groups, data = frame.slots(12, config, period)
    for seed in range(seeds):
        paths = draw_paths(model, 16 * 274 / RATE, generator(seed, "test"))
        arrived = frame.send([burst], paths, config, period, RATE)
        pilots = (arrived.pilots + noise**0.5 * draw(arrived.pilots.size, seed)).reshape(-1, 1, 256)
        times = groups.mean(1) * 274 / RATE, data * 274 / RATE
        gains, error = track(pilots, *times, model.doppler, noise + arrived.interference, config, estimator)
        estimate = gains.reshape(-1)[ofdm.places(burst.size, config)]
        found.append(np.mean(np.abs(estimate - arrived.gains[0]) ** 2))
        said += error / seeds
    return float(np.mean(found)), said


@pytest.mark.parametrize("speed", [0.0, 60.0, 250.0])
@pytest.mark.parametrize("estimator", ["ls", "lmmse", "authors"])
def test_estimates_are_as_good_as_they_say(speed: float, estimator: str) -> None:
    error, said = errors(PathModel(tdl="b", delay_spread=200e-9, speed=speed), 0.1, estimator)
    assert error == pytest.approx(said, rel=0.3)


def test_pilots_that_come_again_beat_those_that_only_go_before_at_speed() -> None:
    fast, still = PathModel(tdl="a", speed=250), PathModel(tdl="a", speed=0)
    once, again = errors(fast, 0.03, "lmmse", period=0)[0], errors(fast, 0.03, "lmmse")[0]
    assert again < 0.05 * once
    assert errors(still, 0.03, "lmmse", period=0)[0] < 0.01


def test_lmmse_beats_ls_at_every_speed() -> None:
    for speed in (0, 120, 350):
        model = PathModel(tdl="a", speed=speed)
        assert errors(model, 0.1, "lmmse", 6)[0] < 0.2 * errors(model, 0.1, "ls", 6)[0]
