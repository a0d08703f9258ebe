"""Channel estimation against its claimed errors, the authors' numbers and a matrix formula; the noise that is left behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gencomm_cli.channels import estimation, ofdm
from gencomm_cli.channels.equalisers import mmse, zero_forcing
from gencomm_cli.channels.estimation import Estimator, clipping, estimate_block, estimate_response
from gencomm_cli.channels.fading import draw_gain, draw_noise, transmit
from gencomm_cli.channels.ofdm import OfdmConfig, through
from gencomm_cli.channels.snr import n0_from_db
from gencomm_cli.seeds import generator

VECTORS = Path(__file__).parents[1] / "vectors" / "diffcom_ofdm_a.npz"


def pilots(config: OfdmConfig, n0: float, seed: int) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
    """H [M] and received pilots [N_p, M] of one draw."""
    cir = ofdm.draw_taps(config, generator(seed, "image fading"))
    _, clean = through(np.ones(1, np.complex64), cir, config, config.pilots)
    noise = draw_noise(clean.size, generator(seed, "pilot noise")).reshape(clean.shape)
    return ofdm.response(cir, config), transmit(clean, None, noise, n0)


def errors(config: OfdmConfig, n0: float, estimator: Estimator, draws: int = 400) -> tuple[float, float]:
    """Mean squared error a carrier, measured and claimed."""
    measured, claimed = [], 0.0
    for seed in range(draws):
        truth, received = pilots(config, n0, seed)
        estimate, claimed = estimate_response(received, n0, config, estimator)
        measured.append(np.mean(np.abs(estimate - truth) ** 2))
    return float(np.mean(measured)), claimed


@pytest.mark.parametrize("snr_db", [-5.0, 5.0, 20.0])
@pytest.mark.parametrize("config", [OfdmConfig(), OfdmConfig(carriers=64, pilots=3)])
@pytest.mark.parametrize("estimator", ["ls", "lmmse", "authors"])
def test_estimates_have_the_error_that_they_claim(estimator: Estimator, config: OfdmConfig, snr_db: float) -> None:
    measured, claimed = errors(config, n0_from_db(snr_db), estimator)
    assert measured == pytest.approx(claimed, rel=0.12)


def test_lmmse_beats_ls_most_of_all_at_low_snr() -> None:
    gaps = []
    for snr_db in (-10.0, 0.0, 10.0, 20.0):
        error = {name: errors(OfdmConfig(), n0_from_db(snr_db), name, 100)[0] for name in ("ls", "authors", "lmmse")}  # type: ignore[arg-type]
        assert error["lmmse"] < error["authors"] < error["ls"]
        gaps.append(error["ls"] - error["lmmse"])
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[0] > 9


def test_lmmse_is_the_conditional_mean_of_the_carriers() -> None:
    config, n0 = OfdmConfig(carriers=16, cp=4, taps=4, pilots=2), 0.3
    _, received = pilots(config, n0, 0)
    fourier = np.exp(-2j * np.pi * np.outer(np.arange(16), np.arange(4)) / 16)
    prior = fourier @ np.diag(ofdm.delay_profile(config)) @ fourier.conj().T
    design = np.concatenate([np.diag(row) for row in ofdm.pilot_symbols(config)])  # Y = X H + noise, both pilot symbols
    gain = prior @ design.conj().T @ np.linalg.inv(design @ prior @ design.conj().T + n0 * np.eye(32))
    estimate, error = estimate_response(received, n0, config, "lmmse")
    np.testing.assert_allclose(estimate, gain @ received.reshape(-1), atol=1e-5)
    posterior = prior - gain @ design @ prior
    np.testing.assert_allclose(np.diag(posterior).real, error, rtol=1e-6)


def test_without_noise_every_estimator_is_exact() -> None:
    for estimator in ("ls", "lmmse", "authors"):
        truth, received = pilots(OfdmConfig(), 0.0, 1)
        estimate, error = estimate_response(received, 0.0, OfdmConfig(), estimator)  # type: ignore[arg-type]
        np.testing.assert_allclose(estimate, truth, atol=3e-6)
        assert error == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("estimator", ["ls", "lmmse"])
def test_a_block_gain_is_estimated_with_the_error_that_is_claimed(estimator: Estimator) -> None:
    n0, squares, claimed = n0_from_db(3.0), [], 0.0
    for seed in range(4000):
        gain = draw_gain("block", 1, generator(seed, "image fading"))
        assert gain is not None
        noise = draw_noise(estimation.BLOCK_PILOTS, generator(seed, "pilot noise"))
        received = transmit(ofdm.qpsk(estimation.BLOCK_PILOTS), gain, noise, n0)
        estimate, claimed = estimate_block(received, n0, estimator)
        assert estimate.shape == (1,)
        squares.append(abs(complex(estimate[0] - gain[0])) ** 2)
    assert np.mean(squares) == pytest.approx(claimed, rel=0.1)
    assert claimed == pytest.approx(n0 / 16 if estimator == "ls" else n0 / (16 + n0))


@pytest.mark.parametrize("ratio", [0.5, 0.8, 1.5, 3.0])
def test_clipping_is_a_gain_and_noise(ratio: float) -> None:
    config = OfdmConfig(clip=ratio)
    x = draw_noise(400_000, generator(0, "test"))
    y = ofdm.clip(x, ratio)
    alpha, distortion = clipping(config)
    assert np.mean(y * x.conj()).real == pytest.approx(alpha, abs=0.003)
    assert np.mean(np.abs(y - alpha * x) ** 2) == pytest.approx(distortion, abs=0.002)
    assert clipping(OfdmConfig()) == (1.0, 0.0)


def test_interference_of_late_paths_is_what_is_added() -> None:
    config = OfdmConfig(carriers=64, cp=1, taps=8, interleaver=False)
    measured, claimed = [], []
    for seed in range(60):
        cir = ofdm.draw_taps(config, generator(seed, "test"))
        symbols = ofdm.qpsk(64 * 30)
        received, _ = through(symbols, cir, config)
        clean = np.tile(ofdm.response(cir, config), 30) * symbols
        measured.append(np.mean(np.abs(received - clean)[64:] ** 2))  # nothing comes before the first OFDM symbol
        claimed.append(estimation.interference(cir, config))
    np.testing.assert_allclose(measured, claimed, rtol=0.3)
    assert np.mean(measured) == pytest.approx(np.mean(claimed), rel=0.05)
    assert estimation.interference(cir, OfdmConfig()) == 0


@pytest.mark.parametrize("case", [1, 3, 5, 7])
def test_the_authors_program_estimates_and_equalises_the_same(case: int) -> None:
    with np.load(VECTORS, allow_pickle=False) as archive:
        vector: dict[str, NDArray[Any]] = dict(archive)
    data = {name.split(".")[1]: value for name, value in vector.items() if name.startswith(f"case{case}.")}
    n0 = float(64 * data["noise_pwr"])
    ours = ofdm.qpsk(64)  # their pilots are others: turned into ours, the estimates are the same
    received = (data["rx_pilot"] * ours / vector["pilot"])[None]
    config = OfdmConfig(64)
    least_squares, _ = estimate_response(received, n0, config, "ls")
    np.testing.assert_allclose(least_squares, data["H_ls"], atol=1e-5)
    shrunk, _ = estimate_response(received, n0, config, "authors")
    np.testing.assert_allclose(shrunk, data["H_lmmse"], atol=1e-5)
    np.testing.assert_allclose(zero_forcing(data["rx_data"], least_squares), data["eq_zf_ls"], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(mmse(data["rx_data"], shrunk, n0), data["eq_mmse_lmmse"], rtol=1e-4, atol=1e-5)
    truth = ofdm.response(vector["taps"], config)
    np.testing.assert_allclose(mmse(data["rx_data"], truth, n0), data["eq_mmse_perfect"], rtol=1e-4, atol=1e-5)
