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
from statistics import fmean, stdev
from typing import Any

from scipy.special import stdtrit


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
    t = float(stdtrit(len(samples) - 1, 0.975))
    return Estimate(mean, t * stdev(samples) / math.sqrt(len(samples)), len(samples))
