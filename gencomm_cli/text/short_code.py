"""A handful of protected bits in 8 symbols: the first-order Reed–Muller code RM(1, 4) over QPSK.

Five bits are an affine function on {0, 1}⁴, its 16 values the codeword; two codewords differ in 8 places, or in all 16. There are
32 of them, so the receiver weighs every one: its decision has a probability, which stands for a check sum.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gencomm_cli.text import modem

BITS = 5
LENGTH = 16
MODULATION = "qpsk"
SYMBOLS = LENGTH // modem.BITS_PER_SYMBOL[MODULATION]
MIN_PROBABILITY = 0.9
"""Below it, what arrived counts as lost."""

_POINTS = np.arange(LENGTH)[:, None] >> np.arange(BITS - 1) & 1
_GENERATOR = np.concatenate((np.ones((LENGTH, 1), np.int64), _POINTS), axis=1)  # [LENGTH, BITS]
_CODEWORDS = (_GENERATOR @ (np.arange(2**BITS) >> np.arange(BITS)[:, None] & 1) & 1).T.astype(np.uint8)  # [2**BITS, LENGTH]


def transmit(value: int) -> NDArray[np.complex64]:
    """A number 0 … 31 as symbols complex64 [8], each of power 1."""
    return modem.modulate(_CODEWORDS[value], MODULATION)


def receive(symbols: NDArray[np.complexfloating], gain: NDArray[np.complexfloating] | None, n0: float) -> int | None:
    """The likeliest number, or None where its probability given what arrived is below ``MIN_PROBABILITY``.

    Args:
        symbols: as received, complex [8]. gain: fading gains, complex [8] or [1]; None where the receiver knows none and takes 1.
        n0: noise power per complex symbol.
    """
    llr = modem.demodulate(symbols, gain, max(n0, 1e-9), MODULATION)  # log p(0) / p(1) of every bit
    scores = -_CODEWORDS.astype(np.float64) @ llr  # log-likelihood of every codeword, up to a constant
    best = int(scores.argmax())
    probability = 1 / np.exp(scores - scores[best]).sum()
    return best if probability >= MIN_PROBABILITY else None
