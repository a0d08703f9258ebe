"""BPSK and Gray-mapped square QAM at unit power, exact soft demodulation, repetition and interleaving.

Bits map to levels as in 3GPP TS 38.211, section 5.1: the even bits of a symbol choose its real part, the odd ones its imaginary
part. LLRs are log p(bit = 0 | y) / p(bit = 1 | y) for y = h x + n with n ~ CN(0, N0). As the axes are independent, an axis with
levels a has log p(a | y) = (2 Re(h* y) a - |h|^2 a^2) / N0 + constant (likewise with Im), and the LLR of a bit is the log-sum-exp
over the levels where it is 0 less that over the levels where it is 1.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

BITS_PER_SYMBOL = {"bpsk": 1, "qpsk": 2, "16qam": 4, "64qam": 6}

Bits = NDArray[np.uint8]
Symbols = NDArray[np.complexfloating]
Floats = NDArray[np.float64]


@cache
def _axis(modulation: str) -> tuple[int, Bits, Floats]:
    """Axes (1 or 2), and of each one the labels uint8 [levels, bits] and levels float64 [levels]; a symbol has power 1."""
    axes = 1 if modulation == "bpsk" else 2
    width = BITS_PER_SYMBOL[modulation] // axes
    labels = (np.arange(2**width)[:, None] >> np.arange(width)[::-1] & 1).astype(np.uint8)
    levels = 1.0 - 2.0 * labels[:, -1]
    for place, bit in enumerate(labels.T[-2::-1], 1):
        levels = (1.0 - 2.0 * bit) * (2.0**place - levels)
    return axes, labels, levels / np.sqrt(axes * np.mean(levels**2))


def modulate(bits: Bits, modulation: str) -> NDArray[np.complex64]:
    """Bits uint8 [n] to complex64 symbols [ceil(n / bits a symbol)], of mean power 1; zeros fill up the last one."""
    axes, labels, levels = _axis(modulation)
    width = labels.shape[1]
    groups = np.append(bits, np.zeros(-len(bits) % (width * axes), np.uint8)).reshape(-1, width, axes)
    parts = levels[np.tensordot(groups, 1 << np.arange(width)[::-1], (1, 0))]
    return np.asarray(parts[:, 0] if axes == 1 else parts[:, 0] + 1j * parts[:, 1], np.complex64)


def demodulate(symbols: Symbols, gain: Symbols | None, n0: float, modulation: str) -> Floats:
    """LLRs float64 [s * bits a symbol] of received symbols [s] with gains [s] or [1] (None: 1) and noise power n0 a symbol."""
    axes, labels, levels = _axis(modulation)
    h = np.ones(1, np.complex128) if gain is None else gain.astype(np.complex128)
    matched = np.conj(h) * symbols.astype(np.complex128)
    parts = np.stack((matched.real, matched.imag), axis=1)[:, :axes, None]
    exponents = (2.0 * parts * levels - (np.abs(h) ** 2)[:, None, None] * levels**2) / n0
    llr = [
        np.logaddexp.reduce(exponents[..., bit == 0], -1) - np.logaddexp.reduce(exponents[..., bit == 1], -1) for bit in labels.T
    ]
    return np.stack(llr, axis=1).reshape(-1)


def interleaver(n: int, copy: int) -> NDArray[np.int64]:
    """The order in which copy number ``copy`` of n coded bits is sent: sorted by the splitmix64 hash of (copy, index).

    Neighbours in a codeword, and the copies of one bit, so meet independent fades [Steele, Lea & Flood, "Fast splittable
    pseudorandom number generators", 2014: the hash].
    """
    x = np.arange(n, dtype=np.uint64) + np.uint64((copy + 1) << 32)
    x = x * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.argsort(x ^ (x >> np.uint64(31)))


def spread(bits: Bits, repetition: int) -> Bits:
    """Coded bits uint8 [n] to ``repetition`` interleaved copies, one after the other, uint8 [n * repetition]."""
    return np.concatenate([bits[interleaver(len(bits), copy)] for copy in range(repetition)])


def combine(llr: Floats, n: int, repetition: int) -> Floats:
    """Undo ``spread`` for LLRs [at least n * repetition]: the copies' LLRs add up to float64 [n]."""
    total = np.zeros(n)
    for copy in range(repetition):
        total[interleaver(n, copy)] += llr[copy * n : (copy + 1) * n]
    return total
