"""Kernel inception distance between two sets of images (Bińkowski, Sutherland, Arbel and Gretton, 2018).

Takes the same features as :mod:`gencomm_cli.metrics.fid`, or those of another network, whose values are not comparable.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class KID:
    """``value``: mean over subsets, ``deviation``: standard deviation over them; None below two samples in a set.

    ``note``: why the value is to be read with care, or "".
    """

    value: float | None
    deviation: float | None
    note: str = ""


def mmd2(first: Array, second: Array) -> float:
    """Unbiased squared maximum mean discrepancy (Gretton et al., 2012, eq. 3) of [N, D] and [M, D], N and M at least 2.

    The kernel is (x·y/D + 1)³; the value may be negative.
    """

    def kernel(a: Array, b: Array) -> Array:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(a: Array) -> float:
        values = kernel(a, a)
        return float(values.sum() - values.trace()) / (len(a) * (len(a) - 1))

    return within(first) + within(second) - 2 * float(kernel(first, second).mean())


def kid(first: Array, second: Array, subsets: int = 100, subset_size: int = 1000, seed: int = 0) -> KID:
    """KID between features, float64 [N, D] and [M, D]: mean and deviation of :func:`mmd2` over random subsets of both sets.

    Args:
        subsets: how many pairs are drawn. subset_size: samples in each, drawn without replacement; where a set has fewer,
            all of the smaller number are drawn and the note says so. seed: of the draw.
    """
    fewest = min(len(first), len(second))
    if fewest < 2:
        return KID(None, None, f"KID is not defined for {fewest} samples; at least 2 are needed")
    size = min(subset_size, fewest)
    note = "" if size == subset_size else f"subsets of {size} samples, not {subset_size}: there are no more"
    if size == len(first) == len(second):
        subsets = 1  # every draw is the two whole sets
    random = np.random.default_rng(seed)
    values = [
        mmd2(first[random.choice(len(first), size, replace=False)], second[random.choice(len(second), size, replace=False)])
        for _ in range(subsets)
    ]
    return KID(float(np.mean(values)), float(np.std(values)), note)
