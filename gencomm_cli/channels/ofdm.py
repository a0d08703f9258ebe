"""OFDM over a multipath channel (DiffCom, arXiv:2406.07390, section IV-A3): the simulator's channel, and W_h of DiffCom's samplers.

    symbols ─► interleaver ─► carriers ─► IDFT, cyclic prefix ─► clipping ─► L taps ─► DFT ─► de-interleaver ─► received carriers

Functions of NumPy arrays or torch tensors, complex64 or complex128, differentiable in symbols and taps. The DFT is unitary: time
samples have the symbols' power, and white noise of power N0 in time is white noise of power N0 on the carriers, where the caller
adds it. With a prefix of at least L − 1 samples and without clipping a carrier has one gain, H of
:func:`response`; with less of a prefix, neighbouring OFDM symbols and carriers interfere.

Pilots and interleaver are public: both ends know them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gencomm_cli.channels.fading import draw_noise
from gencomm_cli.channels.ofdm_config import OfdmConfig as OfdmConfig
from gencomm_cli.seeds import generator

if TYPE_CHECKING:
    from torch import Tensor

Array = TypeVar("Array", NDArray[np.complex64], "Tensor")


@dataclass(frozen=True)
class ExtraUses:
    """Channel uses besides those of symbols: pilots, cyclic prefixes, and carriers that stay empty."""

    pilots: int = 0
    cp: int = 0
    idle: int = 0


def extra_uses(counts: Sequence[int], config: OfdmConfig) -> ExtraUses:
    """What bursts of so many symbols cost besides, with ``config.pilots`` OFDM symbols of pilots before the first of them."""
    data = sum(config.ofdm_symbols(count) for count in counts)
    return ExtraUses(config.pilots * config.carriers, (data + config.pilots) * config.cp, data * config.carriers - sum(counts))


def delay_profile(config: OfdmConfig) -> NDArray[np.float64]:
    """σ_l² = c·e^(−l/r) for l = 0 … L − 1, with c such that they add up to 1; float64 [L]."""
    powers = np.exp(-np.arange(config.taps) / config.decay)
    return powers / powers.sum()


def draw_taps(config: OfdmConfig, rng: np.random.Generator) -> NDArray[np.complex64]:
    """An impulse response h_l ~ CN(0, σ_l²), complex64 [L], never renormalised."""
    return np.sqrt(delay_profile(config)).astype(np.float32) * draw_noise(config.taps, rng)


def qpsk(count: int, purpose: str = "pilots") -> NDArray[np.complex64]:
    """Public unit-power QPSK, complex64 [count], the same on every machine (raw bits are, unlike drawn numbers)."""
    bits = generator(0, purpose).bit_generator.random_raw(count)
    phases = (bits >> np.uint64(62)).astype(np.float64) * (np.pi / 2) + np.pi / 4
    return np.exp(1j * phases).astype(np.complex64)


def pilot_symbols(config: OfdmConfig) -> NDArray[np.complex64]:
    """Pilots as sent, complex64 [N_p, M]."""
    return qpsk(config.pilots * config.carriers).reshape(config.pilots, config.carriers)


def places(count: int, config: OfdmConfig) -> NDArray[np.int64]:
    """Where each of ``count`` symbols goes: int64 [count], OFDM symbol · M + carrier. Places that none takes stay empty."""
    if not config.interleaver:
        return np.arange(count)
    every = config.ofdm_symbols(count) * config.carriers
    return np.argsort(generator(0, "interleaver").bit_generator.random_raw(every), kind="stable")[:count]


def through(
    symbols: Array, cir: Array, config: OfdmConfig, pilots: int = 0, straight_through: bool = False
) -> tuple[Array, Array]:  # fmt: skip
    """W_h: one burst of symbols through transmitter, channel and DFT, without noise.

    Args:
        symbols: complex [..., k]. cir: h, complex [..., taps], any number of taps up to M; batches broadcast.
        pilots: OFDM symbols of pilots that go before; at most ``config.pilots``.
        straight_through: the gradient passes clipping as if there were none (torch alone).

    Returns:
        Received carriers complex [..., k] in the symbols' order, and received pilots complex [..., pilots, M].
    """
    xp, count = _namespace(symbols), symbols.shape[-1]
    where = places(count, config)
    order = np.full(config.ofdm_symbols(count) * config.carriers, count)
    order[where] = np.arange(count)
    filled = xp.concatenate((symbols, 0 * symbols[..., :1]), -1)[..., order]
    grid: Any = filled.reshape(*symbols.shape[:-1], -1, config.carriers)
    if pilots:
        known: Any = _constant(pilot_symbols(config)[:pilots], symbols)
        grid = xp.concatenate((xp.broadcast_to(known, (*grid.shape[:-2], *known.shape)), grid), -2)
    received = demodulate(convolve(transmitted(grid, config, straight_through), cir), config)
    data = received[..., pilots:, :]
    return data.reshape(*data.shape[:-2], -1)[..., where], received[..., :pilots, :]


def transmitted(grid: Array, config: OfdmConfig, straight_through: bool = False) -> Array:
    """Carriers [..., S, M] to what the antenna sends, complex [..., S·(M + cp)]: IDFT, cyclic prefix, clipping."""
    xp = _namespace(grid)
    time = xp.fft.ifft(grid, None, -1, "ortho")
    prefixed = xp.concatenate((time[..., config.carriers - config.cp :], time), -1)
    signal = prefixed.reshape(*grid.shape[:-2], -1)
    if config.clip is None:
        return signal
    clipped = clip(signal, config.clip)
    return signal + (clipped - signal).detach() if straight_through else clipped  # type: ignore[union-attr]


def clip(signal: Array, ratio: float) -> Array:
    """Limits amplitudes to ``ratio``·√P_s, with P_s the signal's [..., n] mean power; phases stay."""
    power: Any = signal.real**2 + signal.imag**2 + 1e-30  # no 0/0, nor in the gradient
    limit = ratio * power.mean(-1, keepdims=True) ** 0.5
    return signal * (limit / power**0.5).clip(max=1.0)


def papr_db(signal: Array) -> Any:
    """Peak-to-average power ratio of signals [..., n] in dB, real [...]."""
    power: Any = signal.real**2 + signal.imag**2
    xp = _namespace(signal)
    return 10 * xp.log10(xp.amax(power, -1) / power.mean(-1))


def convolve(signal: Array, cir: Array) -> Array:
    """y_n = Σ_l h_l x_(n−l) after silence: complex [..., n], what comes after the signal's end cut off."""
    length, taps = signal.shape[-1], cir.shape[-1]
    silence = 0 * signal[..., : taps - 1]
    padded = _namespace(signal).concatenate((silence, signal), -1)
    echoes = (cir[..., tap, None] * padded[..., taps - 1 - tap :][..., :length] for tap in range(taps))
    return sum(echoes)


def demodulate(signal: Array, config: OfdmConfig) -> Array:
    """Received samples [..., S·(M + cp)] to carriers complex [..., S, M]: prefix removed, DFT."""
    framed = signal.reshape(*signal.shape[:-1], -1, config.carriers + config.cp)
    return _namespace(signal).fft.fft(framed[..., config.cp :], None, -1, "ortho")


def response(cir: Array, config: OfdmConfig) -> Array:
    """H_m = Σ_l h_l e^(−2πi·l·m/M), complex [..., M], with E|H_m|² = Σσ_l² = 1."""
    return _namespace(cir).fft.fft(cir, config.carriers, -1)


def _namespace(array: Any) -> Any:
    """numpy or torch, whichever the array is of; torch is not imported for NumPy's."""
    return np if isinstance(array, np.ndarray) else sys.modules["torch"]


def _constant(values: NDArray[Any], like: Any) -> Any:
    """Values as an array of ``like``'s kind, dtype and device."""
    return values.astype(like.dtype) if isinstance(like, np.ndarray) else sys.modules["torch"].from_numpy(values).to(like)
