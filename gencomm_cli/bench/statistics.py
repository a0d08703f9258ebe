"""Means with 95 % confidence intervals.

Images are the samples. Repeats of an image are averaged first, since they share its difficulty and are no further evidence about
other images; where there is one image only, its repeats are the samples, and the interval speaks of that image. The interval is
mean ± t·s/√n with the sample's standard deviation s (n − 1) and Student's t of n − 1 degrees of freedom. One sample has none,
nor has a mean that is infinite (PSNR of equal images).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean, stdev
from typing import Any


@dataclass(frozen=True)
class Estimate:
    """A mean, half the width of its 95 % interval (None: there is none), and how many samples it is of."""

    mean: float
    half: float | None
    count: int


def estimate(values: Mapping[Any, Sequence[float]]) -> Estimate:
    """Of the values of each image, at least one."""
    samples = [fmean(repeats) for repeats in values.values()] if len(values) > 1 else list(*values.values())
    mean = fmean(samples)
    if len(samples) < 2 or not math.isfinite(mean):
        return Estimate(mean, None, len(samples))
    return Estimate(mean, student_t(len(samples) - 1) * stdev(samples) / math.sqrt(len(samples)), len(samples))


@cache
def student_t(freedom: int) -> float:
    """The t that |T| stays below with probability 0.95, T being Student's of ``freedom`` degrees of freedom."""
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _central_probability(middle, freedom) < 0.95 else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


def _central_probability(angle: float, freedom: int) -> float:
    """P(|T| < √freedom · tan(angle)): Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    odd = freedom % 2
    term = total = math.cos(angle) if odd else 1.0
    for k in range(2 + odd, freedom - 1, 2):
        term *= (k - 1) / k * math.cos(angle) ** 2
        total += term
    if not odd:
        return math.sin(angle) * total
    return 2 / math.pi * (angle + (math.sin(angle) * total if freedom > 1 else 0))
