"""Channel estimation from pilots, and the noise that is left behind the estimate.

Symbols have unit power, so an estimate with mean squared error e turns y = h·x + n into y = ĥ·x + n' with E|n'|² = N0 + e: the
receiver's N0 from there on. The LMMSE error is orthogonal to its estimate, which makes that exact.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gencomm_cli.channels.ofdm import OfdmConfig, delay_profile, pilot_symbols, qpsk

Estimator = Literal["lmmse", "ls", "authors"]
Gains = NDArray[np.complex64]

BLOCK_PILOTS = 16
"""QPSK pilots of one block-fading gain: they leave an error of N0/16, a loss of 0.26 dB."""
_TINY = 1e-30


def estimate_block(received: Gains, n0: float, estimator: Estimator) -> tuple[Gains, float]:
    """h ~ CN(0, 1) from its received pilots, complex64 [n]: the estimate [1], and its mean squared error."""
    least_squares = np.mean(qpsk(received.size).conj() * received, keepdims=True)
    return _shrunk(least_squares, n0 / received.size, estimator)


def estimate_response(received: Gains, n0: float, config: OfdmConfig, estimator: Estimator) -> tuple[Gains, float]:
    """H from received pilots, complex64 [N_p, M]: the estimate [M], and its mean squared error a carrier.

    ``ls``: Y/X, the mean of the pilot symbols. ``lmmse``: that, in the delay domain, where L taps of variances σ_l² are all there
    is, each shrunk by σ_l²/(σ_l² + ν) with ν the noise of a tap. ``authors``: Y·X*/(1 + N0/N_p), as DiffCom's program has it, which
    takes carriers for independent.
    """
    gain, distortion = clipping(config)
    observed = np.mean(pilot_symbols(config).conj() * received, axis=0) / np.float32(gain)
    noise = (n0 + distortion) / (gain**2 * config.pilots)
    if estimator != "lmmse":
        return _shrunk(observed, noise, estimator)
    profile = delay_profile(config)
    shrink = profile / (profile + noise / config.carriers + _TINY)
    taps = shrink * np.fft.ifft(observed)[: config.taps]
    return np.fft.fft(taps, config.carriers).astype(np.complex64), float(np.sum((1 - shrink) * profile))


def _shrunk(observed: Gains, noise: float, estimator: Estimator) -> tuple[Gains, float]:
    """The estimate of gains CN(0, 1), each on its own, and its error; least squares leave them as observed."""
    if estimator == "ls":
        return observed.astype(np.complex64), noise
    return (observed / (1 + noise)).astype(np.complex64), noise / (1 + noise)


def impulse_response(response: Gains, config: OfdmConfig) -> Gains:
    """The L taps of a response H [M]; what an estimate has beyond them is noise."""
    return np.fft.ifft(response)[: config.taps].astype(np.complex64)


def clipping(config: OfdmConfig) -> tuple[float, float]:
    """(α, d) of a clipped signal αx + CN(0, d), with d relative to the power of x.

    Bussgang's theorem for Gaussian x, as OFDM's is, limited at c times its root mean power: α = 1 − e^(−c²) + c·erfc(c)·√π/2, and
    d = 1 − e^(−c²) − α².
    """
    if config.clip is None:
        return 1.0, 0.0
    inside = 1 - math.exp(-(config.clip**2))
    alpha = inside + config.clip * math.erfc(config.clip) * math.sqrt(math.pi) / 2
    return alpha, inside - alpha**2


def interference(cir: Gains, config: OfdmConfig) -> float:
    """Power a carrier that paths longer than the prefix add: of the n_l late samples of path l, |h|²·n_l/M from the OFDM symbol
    before, and as much from what they lack of their own."""
    late = np.maximum(np.arange(cir.size) - config.cp, 0)
    return float(2 * np.sum(np.abs(cir) ** 2 * late) / config.carriers)
