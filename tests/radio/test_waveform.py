"""The waveform against its definition, closed forms of the detector's metric, and the pulse."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

from gencomm_cli.channels.fading import draw_noise
from gencomm_cli.errors import InputError
from gencomm_cli.radio.synchronisation import decimated, metric, preamble_samples
from gencomm_cli.radio.waveform import Waveform, root_raised_cosine
from tests.radio.support import SMALL
from tests.support.symbols import unit


@pytest.mark.parametrize("waveform", [Waveform(), Waveform(64, 1, 0), Waveform(512, 4), Waveform(256, 2, rrc=0.2)])
def test_a_receiver_with_scipys_fft_finds_every_cell(waveform: Waveform) -> None:
    """The middle of a grid's samples, prefix cut off, carries the cells: with windows, since they eat the prefix alone."""
    cells = unit(3 * waveform.cells_per_symbol - 5)
    grid = waveform.grid(cells)
    rate, length = waveform.oversample, waveform.length * waveform.oversample
    samples = waveform.samples(grid)
    found = []
    for row in range(len(grid)):
        body = samples[row * length + waveform.prefix * rate :][: waveform.fft * rate]
        found.append(np.fft.fft(body)[waveform.carriers] / np.sqrt(waveform.fft) / rate)
    tolerance = 1e-5 if waveform.rrc is None else 0.02
    np.testing.assert_allclose(np.array(found)[1:-1], grid[1:-1], atol=tolerance)
    _, free = waveform.known(3)
    np.testing.assert_array_equal(grid[free][: cells.size], cells)
    assert np.mean(np.abs(samples) ** 2) == pytest.approx(waveform.carriers.size / waveform.fft, rel=0.1)


def test_pilots_are_an_eighth_and_visit_every_carrier() -> None:
    known, free = SMALL.known(8)
    np.testing.assert_array_equal(np.sum(known[2:] != 0, 1), SMALL.carriers.size // 8)
    np.testing.assert_array_equal(np.sum(known[2:] != 0, 0), 1)
    np.testing.assert_array_equal(free[2:], known[2:] == 0)
    assert 0 not in SMALL.carriers


def test_the_metric_is_one_on_the_prefix_and_falls_as_the_square_of_the_overlap() -> None:
    """Of a clean preamble: 1 from the prefix to the symbol, ((L - t)/L)² where t samples of the second half are of the next."""
    plain = Waveform(4096, 1, 0)
    samples = plain.samples(plain.known(0)[0])
    found = metric(samples.astype(np.complex128), 2048)[1]
    np.testing.assert_allclose(found[: plain.prefix + 1], 1, atol=1e-5)
    late = np.array([256, 512, 1024, 1536])
    np.testing.assert_allclose(found[plain.prefix + late], (1 - late / 2048) ** 2, atol=0.05)


def test_the_metrics_phase_is_the_frequency_offset() -> None:
    plain = Waveform(256, 1, 0)
    samples = plain.samples(plain.known(0)[0])
    turned = samples * np.exp(2j * np.pi * 0.3 / 256 * np.arange(samples.size))
    np.testing.assert_allclose(np.angle(metric(turned, 128)[0][: plain.prefix + 1]), np.pi * 0.3, atol=1e-5)


def test_the_metric_under_noise_has_its_expected_value() -> None:
    """E[M] is near (S/(S + N))² where the halves are the same, and 1/L in noise alone."""
    rng = np.random.default_rng(0)
    plain = Waveform(256, 1, 0)
    body = plain.samples(plain.known(0)[0])[32:288]
    power = np.mean(np.abs(body) ** 2)
    for snr in (1.0, 4.0):
        noisy = [metric(body + (power / snr) ** 0.5 * draw_noise(256, rng), 128)[1][0] for _ in range(300)]
        assert np.mean(noisy) == pytest.approx((snr / (1 + snr)) ** 2, rel=0.05)
    assert np.mean([metric(draw_noise(256, rng), 128)[1][0] for _ in range(3000)]) == pytest.approx(1 / 128, rel=0.06)


def test_the_pulse_is_nyquist_and_the_filter_flat() -> None:
    pulse = root_raised_cosine(0.25, 4)
    both = np.convolve(pulse, pulse)[len(pulse) - 1 :: 4]
    np.testing.assert_allclose(both[:8], [1, *[0] * 7], atol=2e-3)
    waveform = Waveform(256, 4)
    impulse = np.zeros(1024, np.complex64)
    impulse[512] = 1
    gains = np.abs(np.fft.fft(decimated(impulse, waveform), 256)) * 4
    np.testing.assert_allclose(gains[np.abs(np.fft.fftfreq(256, 1 / 256)) < 100 + waveform.max_cfo], 1, atol=4e-3)
    times = np.arange(4096)
    alias = decimated(np.exp(2j * np.pi * (0.25 - 0.1) * times), waveform)
    assert np.abs(alias[50:-50]).max() < 2e-3


def test_the_preamble_is_scipys_resampling_of_the_oversampled_one() -> None:
    waveform = Waveform(256, 4, 0)
    rich = waveform.samples(waveform.known(0)[0])
    np.testing.assert_allclose(
        signal.resample(rich[1152 + 128 :][:1024], 256), preamble_samples(waveform)[-256:], atol=1e-5
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"fft": 100}, "fft"),
        ({"window": 30}, "window"),
        ({"oversample": 1, "rrc": 0.2}, "rrc"),
        ({"fft": 4096, "burst": 256}, "burst"),
    ],
)
def test_what_no_waveform_can_be(given: dict[str, int], word: str) -> None:
    with pytest.raises(InputError, match=word):
        Waveform(**given)
