"""Channel estimation over a frame: from pilots that come again and again to every carrier of every OFDM symbol between them.

The receiver does not know the paths, but what bounds them: the cyclic prefix, within which it takes delays for uniform, with which
the error is the same for every channel within it (Li, Cimini and Sollenberger, IEEE Trans. Commun. 46(7), 1998), and the largest
Doppler shift, to which it takes Jakes' spectrum to belong.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gencomm_cli.channels.estimation import Estimator
from gencomm_cli.channels.ofdm import OfdmConfig, pilot_symbols

Gains = NDArray[np.complex64]
Reals = NDArray[np.floating[Any]]

_WINDOW = 8
"""Groups of pilots that an estimate is made of, those around it."""
_DIRECTIONS = 2 * np.pi * (np.arange(128) + 0.5) / 128
_TINY = 1e-12


def track(
    received: Gains, pilot_times: Reals, data_times: Reals, doppler: float, noise: float, config: OfdmConfig, estimator: Estimator
) -> tuple[Gains, float]:
    """Gains from received pilots.

    ``ls``: Y/X at the pilots, and between them linear in time. ``authors``: each of these times 1/(1 + noise). ``lmmse``: jointly
    over carriers and time, E[H | Y] of a Gaussian channel.

    Args:
        received: complex64 [G, P, M], in the order of ``pilot_times`` [G], in s. data_times: [D], each after the first pilots.
        doppler: f_D in Hz. noise: power a carrier of all that is not gain times pilot.

    Returns:
        Gains [D, M] and their mean squared error a carrier.
    """
    observed = np.mean(pilot_symbols(config).conj() * received, axis=1)
    noise = max(noise / config.pilots, _TINY)
    basis, powers = _basis(config.carriers, config.cp) if estimator == "lmmse" else (None, np.ones(1))
    projected = observed if basis is None else observed @ basis.conj()
    found, errors = np.empty((data_times.size, projected.shape[1]), np.complex64), 0.0
    last = np.searchsorted(pilot_times, data_times) - 1  # the group before each OFDM symbol of data
    for group in np.unique(last):
        here = np.flatnonzero(last == group)
        first = group if basis is None else max(0, min(group - _WINDOW // 2 + 1, pilot_times.size - _WINDOW))
        near = slice(first, first + (2 if basis is None else _WINDOW))
        between = _correlation(data_times[here, None] - pilot_times[near], doppler)
        among = _correlation(pilot_times[near, None] - pilot_times[near], doppler)
        if basis is None:
            weights = _linear(pilot_times[near], data_times[here]) / (1 + noise * (estimator == "authors"))
            found[here] = weights @ projected[near]
            missed = weights @ (among + noise * np.eye(len(among))) - 2 * between
            errors += float(np.sum(1 + np.sum(missed * weights, 1)))
            continue
        values, vectors = np.linalg.eigh(among)
        gained = powers / (np.maximum(values, 0)[:, None] * powers + noise)
        weights = between @ vectors
        found[here] = weights @ (gained * (vectors.T @ projected[near]))
        errors += float(np.sum(1 - weights**2 @ gained @ powers / config.carriers))
    return (found if basis is None else found @ basis.T).astype(np.complex64), errors / data_times.size


def _linear(ends: Reals, times: Reals) -> Reals:
    """Weights [D, 1 or 2] of linear interpolation between two times, or of what is held from the one that there is."""
    if ends.size == 1:
        return np.ones((times.size, 1))
    share = (times - ends[0]) / (ends[1] - ends[0])
    return np.stack((1 - share, share), 1)


def _correlation(lag: Reals, doppler: float) -> Reals:
    """J0(2πf_D·lag): of a gain with itself so many seconds later, paths arriving from all directions alike."""
    return np.mean(np.cos(2 * np.pi * doppler * lag[..., None] * np.cos(_DIRECTIONS)), -1)


@cache
def _basis(carriers: int, cp: int) -> tuple[Gains, Reals]:
    """Eigenvectors [M, R] and eigenvalues [R], of sum M, of the carriers' covariance where delays are uniform within the prefix;
    R ≪ M, but where the prefix is longer than a quarter of the OFDM symbol, and carriers are taken for independent."""
    if cp > carriers / 4:
        return np.eye(carriers, dtype=np.complex64), np.ones(carriers)
    delays = np.linspace(0, cp, 2 * cp + 1)
    steering = np.exp(-2j * np.pi * np.outer(np.fft.fftfreq(carriers), delays)) / delays.size**0.5
    vectors, values, _ = np.linalg.svd(steering, full_matrices=False)
    kept = values**2 > 1e-9 * carriers
    return vectors[:, kept].astype(np.complex64), values[kept] ** 2
