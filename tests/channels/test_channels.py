"""Channels and equalisers against their laws: noise power, |h|², outage, independence, the MMSE closed form, torch and NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from scipy.special import exp1

from gencomm_cli.channels import equalisers
from gencomm_cli.channels.fading import Kind, draw_gain, draw_noise, transmit
from gencomm_cli.channels.snr import n0_from_db, noise_power
from gencomm_cli.seeds import generator, torch_normal

COUNT = 200_000


def qpsk(count: int, rng: np.random.Generator) -> NDArray[np.complex64]:
    bits = rng.integers(0, 2, (2, count)) * 2 - 1
    symbols: NDArray[np.complex64] = ((bits[0] + 1j * bits[1]) / np.sqrt(2)).astype(np.complex64)
    return symbols


def gains(count: int, seed: int = 1) -> NDArray[np.complex64]:
    drawn = draw_gain("rayleigh", count, generator(seed, "image fading"))
    assert drawn is not None
    return drawn


@pytest.mark.parametrize("snr_db", [-5.0, 1.0, 10.0, 20.0])
def test_noise_power_is_n0_a_complex_symbol(snr_db: float) -> None:
    n0 = n0_from_db(snr_db)
    sent = qpsk(COUNT, generator(0, "test"))
    error = transmit(sent, None, draw_noise(COUNT, generator(0, "image noise")), n0) - sent
    assert 10 * np.log10(1 / np.mean(np.abs(error) ** 2)) == pytest.approx(snr_db, abs=0.03)
    # circular: both parts carry half of it and are uncorrelated
    assert np.var(error.real) == pytest.approx(n0 / 2, rel=0.02)
    assert np.var(error.imag) == pytest.approx(n0 / 2, rel=0.02)
    assert abs(np.corrcoef(error.real, error.imag)[0, 1]) < 5 / np.sqrt(COUNT)
    assert stats.kstest(error.real / np.sqrt(n0 / 2), "norm").pvalue > 1e-3


def test_an_infinite_snr_has_no_noise() -> None:
    sent = qpsk(100, generator(0, "test"))
    assert n0_from_db(float("inf")) == 0
    np.testing.assert_array_equal(transmit(sent, None, draw_noise(100, generator(0, "x")), 0.0), sent)


def test_rayleigh_gains_follow_their_law_and_are_independent_a_symbol() -> None:
    power = np.abs(gains(COUNT)) ** 2
    assert stats.kstest(power, "expon").pvalue > 1e-3  # |h|² is exponential with mean 1
    assert stats.kstest(np.angle(gains(COUNT)), "uniform", (-np.pi, 2 * np.pi)).pvalue > 1e-3
    for lag in (1, 2, 7):
        assert abs(np.corrcoef(power[:-lag], power[lag:])[0, 1]) < 5 / np.sqrt(COUNT)


@pytest.mark.parametrize(("snr_db", "threshold_db"), [(0.0, -5.0), (10.0, 0.0), (10.0, 8.0)])
def test_block_fading_received_snr_is_exponential_and_outage_is_its_law(snr_db: float, threshold_db: float) -> None:
    sends = 20_000
    drawn = [draw_gain("block", 64, generator(seed, "image fading")) for seed in range(sends)]
    assert all(gain is not None and gain.shape == (1,) for gain in drawn)
    received = np.array([abs(gain[0]) ** 2 for gain in drawn if gain is not None]) / n0_from_db(snr_db)
    mean = 10 ** (snr_db / 10)
    assert stats.kstest(received, "expon", (0, mean)).pvalue > 1e-3
    outage = 1 - np.exp(-(10 ** (threshold_db / 10)) / mean)
    count = int(np.sum(received < 10 ** (threshold_db / 10)))
    low, high = stats.binom.interval(0.9999, sends, outage)
    assert low <= count <= high


@pytest.mark.parametrize("kind", ["awgn", "rayleigh", "block"])
def test_received_snr_counts_what_arrives(kind: Kind) -> None:
    sent = qpsk(4096, generator(0, "test"))
    gain = draw_gain(kind, sent.size, generator(3, "image fading"))
    n0 = noise_power(7.0, "received", sent, gain)
    arrived = sent if gain is None else gain * sent
    assert 10 * np.log10(np.mean(np.abs(arrived) ** 2) / n0) == pytest.approx(7.0, abs=1e-4)
    assert noise_power(7.0, "esn0", sent, gain) == pytest.approx(10**-0.7)


def test_mmse_reaches_its_closed_form_error() -> None:
    n0 = n0_from_db(4.0)
    rng = generator(5, "test")
    sent = draw_noise(COUNT, rng)  # Gaussian symbols: here the linear estimate is the conditional mean
    for magnitude in (0.2, 1.0, 1.7):
        gain = np.full(COUNT, magnitude * np.exp(0.7j), np.complex64)
        received = transmit(sent, gain, draw_noise(COUNT, rng), n0)
        error = np.mean(np.abs(equalisers.mmse(received, gain, n0) - sent) ** 2)
        assert error == pytest.approx(n0 / (magnitude**2 + n0), rel=0.02)
        # no other scaling of the matched filter does better
        for scale in (0.95, 1.05):
            assert np.mean(np.abs(scale * equalisers.mmse(received, gain, n0) - sent) ** 2) > error
        assert equalisers.reliability(gain, n0)[0] == pytest.approx(magnitude**2 / (magnitude**2 + n0))


def test_zero_forcing_undoes_the_channel() -> None:
    sent, gain = qpsk(1000, generator(0, "test")), gains(1000)
    np.testing.assert_allclose(equalisers.zero_forcing(gain * sent, gain), sent, atol=2e-4)
    n0 = n0_from_db(10.0)
    received = transmit(sent, gain, draw_noise(1000, generator(0, "n")), n0)
    biased = equalisers.mmse(received, gain, n0)
    # MMSE is zero forcing shrunk by the reliability
    np.testing.assert_allclose(biased, equalisers.reliability(gain, n0) * equalisers.zero_forcing(received, gain), atol=1e-4)


def test_without_a_known_gain_the_equalisers_take_h_as_one() -> None:
    received = qpsk(10, generator(0, "test"))
    np.testing.assert_allclose(equalisers.mmse(received, None, 0.25), received / 1.25, rtol=1e-6)
    np.testing.assert_array_equal(equalisers.zero_forcing(received, None), received)
    assert equalisers.reliability(None, 0.25) == pytest.approx(0.8)


@pytest.mark.parametrize("snr_db", [-30.0, -5.0, 0.0, 7.3, 20.0, 60.0])
def test_the_effective_snr_of_awgn_is_its_snr(snr_db: float) -> None:
    r = float(equalisers.reliability(None, n0_from_db(snr_db)))
    assert equalisers.effective_snr_db(r) == pytest.approx(snr_db, abs=1e-6)
    assert equalisers.effective_snr_db(np.array([[r]])) == pytest.approx(np.array([[snr_db]]), abs=1e-6)
    assert equalisers.effective_snr_db(torch.tensor([r], dtype=torch.float64)).tolist() == pytest.approx([snr_db], abs=1e-6)


@pytest.mark.parametrize("n0", [0.1, 1.0])
def test_the_effective_snr_under_rayleigh_fading_has_a_closed_form(n0: float) -> None:
    """|h|² is exponential: E[|h|²/(|h|² + N0)] = 1 − N0·e^N0·E₁(N0), below 1/(1 + N0) of AWGN (Jensen)."""
    mean = float(equalisers.reliability(gains(400_000), n0).mean())
    expected = 1 - n0 * np.exp(n0) * exp1(n0)
    assert equalisers.effective_snr_db(mean) == pytest.approx(10 * np.log10(expected / (1 - expected)), abs=0.03)
    assert equalisers.effective_snr_db(mean) < -10 * np.log10(n0) - 1


def test_the_effective_snr_is_finite() -> None:
    assert equalisers.effective_snr_db(np.array([0.0, 1.0], np.float32)).tolist() == pytest.approx([-40, 90])
    assert equalisers.effective_snr_db(torch.tensor([0.0, 1.0])).tolist() == pytest.approx([-40, 90])
    assert equalisers.effective_snr_db(1.0) == pytest.approx(90)
    assert equalisers.effective_snr_db(torch.rand(3, 4)).shape == (3, 4)
    assert equalisers.effective_snr_db(torch.rand(2)).dtype == torch.float32


def test_a_gain_of_zero_gives_zero_and_no_nan() -> None:
    received, gain = np.ones(2, np.complex64), np.array([0, 1], np.complex64)
    for n0 in (0.0, 0.1):
        estimate = equalisers.mmse(received, gain, n0)
        assert estimate[0] == 0
        assert np.isfinite(equalisers.zero_forcing(received, gain)).all()
        assert equalisers.reliability(gain, n0)[0] == 0


def test_torch_and_numpy_agree_on_the_same_draws() -> None:
    sent, noise, gain = qpsk(500, generator(0, "a")), draw_noise(500, generator(0, "b")), gains(500)
    tensors = [torch.from_numpy(array) for array in (sent, noise, gain)]
    for n0 in (0.0, 0.3, 10.0):
        for h, t in ((gain, tensors[2]), (gain[:1], tensors[2][:1]), (None, None)):
            received, torch_received = transmit(sent, h, noise, n0), transmit(tensors[0], t, tensors[1], n0)
            assert received.dtype == np.complex64
            assert torch_received.dtype == torch.complex64
            np.testing.assert_allclose(torch_received.numpy(), received, rtol=1e-6, atol=1e-6)
            for ours, theirs in (
                (equalisers.mmse(received, h, n0), equalisers.mmse(torch_received, t, n0)),
                (equalisers.zero_forcing(received, h), equalisers.zero_forcing(torch_received, t)),
            ):
                np.testing.assert_allclose(theirs.numpy(), ours, rtol=2e-5, atol=2e-5)
            if t is not None:
                np.testing.assert_allclose(equalisers.reliability(t, n0).numpy(), equalisers.reliability(h, n0), rtol=1e-5)


def test_batches_take_a_noise_power_an_image() -> None:
    sent = torch.ones(3, 1000, dtype=torch.complex64)
    noise = torch.from_numpy(draw_noise(3000, generator(0, "n"))).view(3, 1000)
    n0 = torch.tensor([[0.0], [0.1], [10.0]])
    measured = (transmit(sent, None, noise, n0) - sent).abs().square().mean(1)
    torch.testing.assert_close(measured, n0[:, 0], rtol=0.15, atol=1e-6)


def test_gradients_pass_through_channel_and_equaliser() -> None:
    rng = np.random.default_rng(0)
    sent, gain, noise = (
        torch.tensor(rng.normal(size=6) + 1j * rng.normal(size=6), dtype=torch.complex128, requires_grad=True) for _ in range(3)
    )
    n0 = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)

    def whole(x: torch.Tensor, h: torch.Tensor, n: torch.Tensor, power: torch.Tensor) -> torch.Tensor:
        received = transmit(x, h, n, power)
        return torch.cat([equalisers.mmse(received, h, power), equalisers.zero_forcing(received, h)])

    assert torch.autograd.gradcheck(whole, (sent, gain, noise, n0))
    assert torch.autograd.gradcheck(equalisers.reliability, (gain, n0))


def test_streams_are_their_own() -> None:
    first = draw_noise(8, generator(0, "image noise"))
    np.testing.assert_array_equal(draw_noise(8, generator(0, "image noise")), first)
    for seed, purpose in ((1, "image noise"), (0, "prompt noise"), (0, "image fading")):
        assert not np.any(draw_noise(8, generator(seed, purpose)) == first)
    assert draw_noise(8, generator(0, "image noise"))[0] == draw_noise(100, generator(0, "image noise"))[0]
    drawn = torch_normal((2, 3), 4, "sampler")
    assert drawn.dtype == torch.float32
    np.testing.assert_array_equal(drawn.numpy(), generator(4, "sampler").standard_normal((2, 3), dtype=np.float32))
