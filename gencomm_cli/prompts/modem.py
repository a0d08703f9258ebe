"""BPSK and Gray-mapped QPSK at unit power, exact soft demodulation, repetition and interleaving.

LLRs are log p(bit = 0 | y) / p(bit = 1 | y) for y = h x + n with n ~ CN(0, N0). With BPSK, x = 1 - 2b, |y - h x|^2 differs
between the two bits by 4 Re(h* y); with QPSK, x = ((1 - 2b0) + j (1 - 2b1)) / sqrt(2), the two bits are independent:

    BPSK: 4 Re(h* y) / N0        QPSK: 2 sqrt(2) Re(h* y) / N0  and  2 sqrt(2) Im(h* y) / N0
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BITS_PER_SYMBOL = {"bpsk": 1, "qpsk": 2}

Bits = NDArray[np.uint8]
Symbols = NDArray[np.complexfloating]
Floats = NDArray[np.float64]


def modulate(bits: Bits, modulation: str) -> NDArray[np.complex64]:
    """Bits uint8 [n] to complex64 symbols [ceil(n / bits a symbol)], each of power 1; a zero fills up the last one."""
    if modulation == "bpsk":
        symbols = 1.0 - 2.0 * bits
    else:
        pairs = 1.0 - 2.0 * np.append(bits, np.zeros(len(bits) % 2, np.uint8)).reshape(-1, 2)
        symbols = (pairs[:, 0] + 1j * pairs[:, 1]) / np.sqrt(2)
    return np.asarray(symbols, np.complex64)


def demodulate(symbols: Symbols, gain: Symbols | None, n0: float, modulation: str) -> Floats:
    """LLRs float64 [s * bits a symbol] of received symbols [s] with gains [s] or [1] (None: 1) and noise power n0 a symbol."""
    y = symbols.astype(np.complex128)
    matched = (y if gain is None else np.conj(gain.astype(np.complex128)) * y) / n0
    if modulation == "bpsk":
        return np.asarray(4.0 * matched.real, np.float64)
    return np.asarray(np.sqrt(8.0) * np.stack((matched.real, matched.imag), axis=-1).reshape(-1), np.float64)


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
