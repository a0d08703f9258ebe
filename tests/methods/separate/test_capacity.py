"""Capacities against another formula, an expectation over drawn fades, and inequalities that hold for any channel."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gencomm_cli.methods.separate import capacity


def test_awgn() -> None:
    assert capacity.awgn(0.0) == 0
    assert capacity.awgn(1.0) == 1
    assert capacity.awgn(15.0) == 4
    assert capacity.awgn(math.inf) == math.inf


@pytest.mark.parametrize("x", [1e-6, 1e-3, 0.3, 0.999, 1.0, 1.001, 3.0, 50.0, 600.0])
def test_exponential_integral_is_scipys(x: float) -> None:
    from scipy.special import exp1

    assert capacity.scaled_e1(x) == pytest.approx(math.exp(x) * exp1(x), rel=1e-9)


@pytest.mark.parametrize("snr_db", [-20.0, -5.0, 1.0, 10.0, 30.0])
def test_rayleigh_is_the_mean_over_fades_and_below_awgn(snr_db: float) -> None:
    snr = 10 ** (snr_db / 10)
    power = -np.log((np.arange(1_000_000) + 0.5) / 1_000_000)  # quantiles of an exponential distribution
    assert capacity.rayleigh(snr) == pytest.approx(float(np.mean(np.log2(1 + snr * power))), rel=1e-4)
    assert capacity.rayleigh(snr) < capacity.awgn(snr)


def test_capacities_at_the_ends() -> None:
    assert capacity.rayleigh(0.0) == 0
    assert capacity.rayleigh(math.inf) == math.inf
    assert capacity.rayleigh(1e-9) == pytest.approx(1e-9 / math.log(2), rel=1e-3)


def test_shannon_limit_is_the_inverse() -> None:
    assert capacity.shannon_db(1.0, "awgn") == pytest.approx(0, abs=1e-5)
    assert capacity.rayleigh(10 ** (capacity.shannon_db(2.0, "rayleigh") / 10)) == pytest.approx(2, rel=1e-6)
