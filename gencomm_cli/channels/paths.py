"""Paths of a mobile radio channel: their delays, and their gains over time.

The tapped delay lines (TDL) of 3GPP TR 38.901 V19.2.0, section 7.7.2, are drawn here; :mod:`gencomm_cli.channels.sionna_paths` has
its other models, :mod:`gencomm_cli.channels.measured` the impulse responses of a file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gencomm_cli.channels.fading import draw_noise
from gencomm_cli.channels.path_model import PathModel
from gencomm_cli.errors import OptionError

SINUSOIDS = 32
"""Of one tap: they come from as many directions."""
SAMPLES_PER_CYCLE = 64
"""Of the largest Doppler shift: between samples gains are interpolated linearly, with an error of -58 dB at most."""

TABLES: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "a": (
        (0, 0.3819, 0.4025, 0.5868, 0.4610, 0.5375, 0.6708, 0.5750, 0.7618, 1.5375, 1.8978, 2.2242, 2.1718, 2.4942, 2.5119, 3.0582,
         4.0810, 4.4579, 4.5695, 4.7966, 5.0066, 5.3043, 9.6586),
        (-13.4, 0, -2.2, -4, -6, -8.2, -9.9, -10.5, -7.5, -15.9, -6.6, -16.7, -12.4, -15.2, -10.8, -11.3, -12.7, -16.2, -18.3,
         -18.9, -16.6, -19.9, -29.7),
    ),
    "b": (
        (0, 0.1072, 0.2155, 0.2095, 0.2870, 0.2986, 0.3752, 0.5055, 0.3681, 0.3697, 0.5700, 0.5283, 1.1021, 1.2756, 1.5474, 1.7842,
         2.0169, 2.8294, 3.0219, 3.6187, 4.1067, 4.2790, 4.7834),
        (0, -2.2, -4, -3.2, -9.8, -1.2, -3.4, -5.2, -7.6, -3, -8.9, -9, -4.8, -5.7, -7.5, -1.9, -7.6, -12.2, -9.8, -11.4, -14.9,
         -9.2, -11.3),
    ),
    "c": (
        (0, 0.2099, 0.2219, 0.2329, 0.2176, 0.6366, 0.6448, 0.6560, 0.6584, 0.7935, 0.8213, 0.9336, 1.2285, 1.3083, 2.1704, 2.7105,
         4.2589, 4.6003, 5.4902, 5.6077, 6.3065, 6.6374, 7.0427, 8.6523),
        (-4.4, -1.2, -3.5, -5.2, -2.5, 0, -2.2, -3.9, -7.4, -7.1, -10.7, -11.1, -5.1, -6.8, -8.7, -13.2, -13.9, -13.9, -15.8, -17.1,
         -16, -15.7, -21.6, -22.8),
    ),
    "d": (
        (0, 0, 0.035, 0.612, 1.363, 1.405, 1.804, 2.596, 1.775, 4.042, 7.937, 9.424, 9.708, 12.525),
        (-0.2, -13.5, -18.8, -21, -22.8, -17.9, -20.1, -21.9, -22.9, -27.8, -23.6, -24.8, -30, -27.7),
    ),
    "e": (
        (0, 0, 0.5133, 0.5440, 0.5630, 0.5440, 0.7112, 1.9092, 1.9293, 1.9589, 2.6426, 3.7136, 5.4524, 12.0034, 20.6519),
        (-0.03, -22.03, -15.8, -18.1, -19.8, -22.9, -22.4, -18.6, -20.8, -22.6, -22.3, -25.6, -20.2, -29.8, -29.2),
    ),
}  # fmt: skip
"""Delays in units of the delay spread, and powers in dB: TR 38.901, tables 7.7.2-1 to 7.7.2-5. The first path of d and e is the
line of sight, which does not fade."""
_SIGHT_DOPPLER = 0.7
"""Doppler shift of the line of sight over the largest one (TR 38.901, notes of tables 7.7.2-4 and 7.7.2-5)."""


@dataclass(frozen=True)
class Paths:
    """One channel: y(t) = Σ_l a_l(t)·x(t − τ_l).

    Attributes:
        delays: τ_l ≥ 0 in s, float64 [L]. gains: a_l at the times 0, ``interval``, 2·``interval`` …, complex [L, T], with
            E Σ_l |a_l|² = 1. interval: in s.
    """

    delays: NDArray[np.float64]
    gains: NDArray[np.complex64]
    interval: float

    def at(self, times: NDArray[np.float64]) -> NDArray[np.complex64]:
        """a_l at any ``times`` in s, [...] from 0 to the end: complex64 [L, ...]; linear between samples, constant if T = 1."""
        last = self.gains.shape[1] - 1
        if last == 0:
            return np.broadcast_to(self.gains.reshape(-1, *(1,) * times.ndim), (len(self.gains), *times.shape))
        places = times / self.interval
        before = np.minimum(places.astype(np.int64), last - 1)
        share = (places - before).astype(np.float32)
        return self.gains[:, before] * (1 - share) + self.gains[:, before + 1] * share


def over_paths(signal: NDArray[np.complex64], paths: Paths, sample_rate: float) -> NDArray[np.complex128]:
    """y(t) = Σ_l a_l(t)·x(t − τ_l) of a sampled signal [n], complex128 [n]; what comes after its end is cut off.

    Delays are exact for what lies within the band, in samples and fractions.
    """
    size = signal.size + math.ceil(paths.delays.max() * sample_rate) + 64  # the DFT's signal is periodic: silence lies between
    spectrum, frequencies = np.fft.fft(signal.astype(np.complex128), size), np.fft.fftfreq(size, 1 / sample_rate)
    times, total = np.arange(signal.size) / sample_rate, np.zeros(signal.size, np.complex128)
    for index, delay in enumerate(paths.delays):
        late = np.fft.ifft(spectrum * np.exp(-2j * np.pi * frequencies * delay))[: signal.size]
        total += replace(paths, gains=paths.gains[index : index + 1]).at(times)[0] * late
    return total


def interval(doppler: float, duration: float) -> tuple[float, int]:
    """Seconds between samples of gains that change at most so fast (in Hz), and how many last for ``duration``; 1 at rest."""
    if doppler * duration < 1e-9:
        return duration, 1
    step = 1 / (SAMPLES_PER_CYCLE * doppler)
    return step, math.ceil(duration / step) + 2


def tapped_delay_line(model: PathModel, duration: float, rng: np.random.Generator) -> Paths:
    """Paths of a TDL that last for ``duration`` in s.

    Every tap but the line of sight fades with Jakes' spectrum, independently of the others: a sum of sinusoids from directions that
    are stratified over the circle (Xiao, Zheng and Beaulieu, IEEE Trans. Wireless Commun. 5(12), 2006, eq. 6), whose amplitudes are
    Gaussian here, so that a tap is exactly so, CN(0, p_l) with autocorrelation p_l·J0(2πf_D·t), however many sinusoids there are.
    """
    assert model.tdl is not None
    assert model.delay_spread is not None
    delays, powers_db = (np.array(column) for column in TABLES[model.tdl])
    powers = 10 ** (powers_db / 10)
    powers /= powers.sum()
    step, count = interval(model.doppler, duration)
    strata = np.arange(SINUSOIDS) + rng.random((delays.size, SINUSOIDS))
    shifts = model.doppler * np.cos(2 * np.pi * strata / SINUSOIDS)
    amplitudes = draw_noise(shifts.size, rng).reshape(shifts.shape) * np.sqrt(powers[:, None] / SINUSOIDS)
    if model.tdl in ("d", "e"):
        shifts[0], amplitudes[0] = _SIGHT_DOPPLER * model.doppler, 0
        amplitudes[0, 0] = np.sqrt(powers[0]) * np.exp(2j * np.pi * rng.random())
    times = step * np.arange(count)
    gains = np.stack([a @ np.exp(2j * np.pi * np.outer(f, times)) for a, f in zip(amplitudes, shifts, strict=True)])
    return Paths(delays * model.delay_spread, gains.astype(np.complex64), step)


def draw_paths(model: PathModel, duration: float, rng: np.random.Generator) -> Paths:
    """Paths of a model of 3GPP that last for ``duration`` in s; of one at rest the gains are constant.

    Raises:
        InputError: the model needs Sionna, which is not installed.
        OptionError: its impulse responses are in a file.
    """
    if model.tdl is not None:
        return tapped_delay_line(model, duration, rng)
    if model.cir is not None:
        raise OptionError("cir", "the impulse responses are in a file; give it with --cir")
    from gencomm_cli.channels.sionna_paths import sionna_paths

    return sionna_paths(model, duration, rng)
