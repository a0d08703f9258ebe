"""One OFDM transmission over paths whose gains change while it lasts, with pilots that come again and again.

    pilots │ data × period │ pilots │ data × period │ … │ data │ pilots

Image, prompt and side symbols follow one another as data, each in OFDM symbols of its own. What a carrier receives is its gain
times what was sent, and interference: of other carriers, since gains change within an OFDM symbol, and of the OFDM symbol before,
where paths are longer than the cyclic prefix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gencomm_cli.channels.estimation import clipping
from gencomm_cli.channels.ofdm import ExtraUses, OfdmConfig, clip, extra_uses, pilot_symbols, places
from gencomm_cli.channels.path_model import PathModel
from gencomm_cli.channels.paths import Paths
from gencomm_cli.errors import InputError

Symbols = NDArray[np.complex64]
Slots = NDArray[np.int64]

_AT_ONCE = 64
"""OFDM symbols, which bounds the memory that gains at every sample take."""
_NOTHING = 1e-11
"""Interference below this is float32's."""
_CYCLES = 0.4
"""Of the largest Doppler shift, from pilots to pilots: more are ambiguous at 0.5, and cost dB before."""


@dataclass(frozen=True)
class Arrived:
    """A frame without noise.

    Attributes:
        symbols, gains: of each burst, complex64 [k]: what its carriers receive, and their gains. pilots: complex64 [G·P·M].
        interference: mean power a carrier of what is not its gain times what was sent.
    """

    symbols: tuple[Symbols, ...]
    gains: tuple[Symbols, ...]
    pilots: Symbols
    interference: float


def slots(data: int, config: OfdmConfig, period: int) -> tuple[Slots, Slots]:
    """The OFDM symbols of a frame that are pilots, [G, P], and those that are data, [``data``]."""
    index = np.arange(data)
    if not config.pilots:
        return np.empty((0, 0), np.int64), index
    groups = index // period if period else 0 * index
    starts = np.arange(groups[-1] + 1) * (period + config.pilots)
    if period:
        starts = np.append(starts, data + starts.size * config.pilots)
    return starts[:, None] + np.arange(config.pilots), index + (groups + 1) * config.pilots


def longest_period(model: PathModel, config: OfdmConfig) -> float:
    """OFDM symbols of data between pilots, at most, from which gains can be estimated: f_D·(period + pilots)·T ≤ 0.4, with T of an
    OFDM symbol and its prefix. Below 1 none suffices."""
    symbol = (1 + config.cp / config.carriers) / model.subcarrier_spacing
    return _CYCLES / max(model.doppler * symbol, 1e-9) - config.pilots


def pilot_period(model: PathModel, config: OfdmConfig) -> int:
    """The model's, or else 4 and less where gains change too fast for that."""
    return max(1, min(4, int(longest_period(model, config)))) if model.pilot_period is None else model.pilot_period


def frame_uses(counts: Sequence[int], config: OfdmConfig, period: int) -> ExtraUses:
    """What a frame of bursts of so many symbols costs besides them."""
    plain, data = extra_uses(counts, config), sum(config.ofdm_symbols(count) for count in counts)
    groups = 1 + -(-data // period) if period else 1
    more = (groups - 1) * config.pilots
    return ExtraUses(plain.pilots + more * config.carriers, plain.cp + more * config.cp, plain.idle)


def duration(counts: Sequence[int], config: OfdmConfig, period: int, sample_rate: float) -> float:
    """Seconds that a frame lasts."""
    return (sum(counts) + sum(vars(frame_uses(counts, config, period)).values())) / sample_rate


def send(bursts: Sequence[Symbols], paths: Paths, config: OfdmConfig, period: int, sample_rate: float) -> Arrived:
    """Bursts (complex64 [k], some may be empty) through transmitter, paths and DFT.

    Raises:
        InputError: a path is longer than an OFDM symbol.
    """
    if (longest := paths.delays.max() * sample_rate) > config.carriers:
        raise InputError(
            f"paths: the longest is {longest:.0f} samples, more than an OFDM symbol has ({config.carriers}); take more --carriers, "
            "or less --subcarrier-spacing or --delay-spread"
        )
    sizes = [config.ofdm_symbols(burst.size) for burst in bursts]
    pilot_slots, data_slots = slots(sum(sizes), config, period)
    grid = np.zeros((pilot_slots.size + data_slots.size, config.carriers), np.complex64)
    grid[pilot_slots] = pilot_symbols(config)
    where = []
    for burst, size, first in zip(bursts, sizes, np.cumsum([0, *sizes]), strict=False):
        symbol, carrier = np.divmod(places(burst.size, config), config.carriers)
        where.append((data_slots[first : first + size][symbol], carrier))
        grid[where[-1]] = burst
    sent = np.fft.ifft(grid, norm="ortho").astype(np.complex64)
    if config.clip is not None:
        sent = clip(sent, config.clip)  # each prefix repeats a part of its OFDM symbol, and is clipped alike
    received, gains = _through(np.fft.fft(sent, norm="ortho"), paths, config, sample_rate)
    gains *= clipping(config)[0]
    rest = float(np.mean(np.abs(received - gains * grid) ** 2))
    return Arrived(
        tuple(received[place] for place in where), tuple(gains[place] for place in where), received[pilot_slots].reshape(-1),
        rest if rest > _NOTHING else 0.0,
    )  # fmt: skip


def _through(grid: NDArray[Any], paths: Paths, config: OfdmConfig, sample_rate: float) -> tuple[Symbols, Symbols]:
    """Carriers as received, and their gains, both complex64 [S, M].

    A path's delay, in samples and fractions, turns each carrier of the OFDM symbol that arrives. At its first samples the one
    before still arrives, where the delay is longer than the prefix.
    """
    carriers, cp = config.carriers, config.cp
    frequencies, within = np.fft.fftfreq(carriers), np.arange(carriers)
    before = np.concatenate((0 * grid[:1], grid[:-1]))
    received, gains = np.empty(grid.shape, np.complex64), np.zeros(grid.shape, np.complex64)
    for start in range(0, len(grid), _AT_ONCE):
        block = slice(start, start + _AT_ONCE)
        number = np.arange(len(grid))[block, None]
        arriving = np.zeros(grid[block].shape, np.complex128)
        over_time = paths.at((number * (carriers + cp) + cp + within) / sample_rate)
        for gain, delay in zip(over_time, paths.delays * sample_rate, strict=True):
            turn = np.exp(-2j * np.pi * frequencies * delay)
            own = within >= delay - cp
            signal = np.fft.ifft(grid[block] * turn, norm="ortho")
            if not own.all():
                earlier = np.roll(np.fft.ifft(before[block] * turn, norm="ortho"), -cp, axis=-1)
                signal = np.where(own, signal, earlier)
            arriving += gain * signal
            gains[block] += turn * np.mean(gain * own, axis=-1, keepdims=True)
        received[block] = np.fft.fft(arriving, norm="ortho")
    return received, gains
