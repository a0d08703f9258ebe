"""Capacity of the channels in bits per complex symbol: what an ideal code would carry. A bound, not a scheme."""

from __future__ import annotations

import math

from gencomm_cli.channels.fading import Kind

EULER = 0.5772156649015329


def awgn(snr: float) -> float:
    """C = log2(1 + γ) at the linear SNR γ."""
    return math.log2(1.0 + snr)


def rayleigh(snr: float) -> float:
    """Ergodic capacity E[log2(1 + γ|h|²)] = e^(1/γ) E1(1/γ) / ln 2, h known to the receiver [Lee, IEEE Trans. VT 39(3), 1990]."""
    return snr if snr in (0.0, math.inf) else scaled_e1(1.0 / snr) / math.log(2.0)


def scaled_e1(x: float) -> float:
    """e^x E1(x) for x > 0, by its power series below 1 and its continued fraction above [Abramowitz & Stegun, 5.1.11, 5.1.22]."""
    if x < 1.0:
        term, total = 1.0, -EULER - math.log(x)
        for n in range(1, 30):
            term *= -x / n
            total -= term / n
        return math.exp(x) * total
    fraction = 0.0
    for n in range(100, 0, -1):
        fraction = n / (1.0 + n / (x + fraction))
    return 1.0 / (x + fraction)


def capacity(kind: Kind, snr: float) -> float:
    """Bits per complex symbol of AWGN (and of a block whose |h|² is in ``snr``) or per-symbol Rayleigh fading, at a linear SNR."""
    return rayleigh(snr) if kind == "rayleigh" else awgn(snr)


def shannon_db(rate: float, kind: Kind) -> float:
    """The SNR in dB at which the capacity is ``rate`` bits per complex symbol."""
    low, high = -60.0, 100.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if capacity(kind, 10 ** (middle / 10)) < rate else (low, middle)
    return high
