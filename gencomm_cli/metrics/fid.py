"""Fréchet inception distance between two sets of images (Heusel et al., 2017).

::

    features = Features(load_inception(folder))
    originals, received = zip(*((features.of(original), features.of(image)) for original, image in pairs))  # [B, 3, H, W] in [0, 1]
    print(fid(np.concatenate(originals), np.concatenate(received)))
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FID:
    """``value``: None below two samples in a set. ``note``: why the value is to be read with care, or ""."""

    value: float | None
    note: str = ""


def statistics(features: Array) -> tuple[Array, Array]:
    """Mean [D] and unbiased covariance [D, D] of ``features``, float64 [N, D] with N at least 2."""
    return features.mean(0), np.atleast_2d(np.cov(features, rowvar=False))


def frechet_distance(mu1: Array, sigma1: Array, mu2: Array, sigma2: Array) -> float:
    """|μ1 - μ2|² + tr(Σ1 + Σ2 - 2·(Σ1·Σ2)^½) of two Gaussians, means [D] and covariances [D, D], in float64.

    (Σ1·Σ2)^½ has the trace of (Σ1^½·Σ2·Σ1^½)^½, whose argument is symmetric: eigenvalues are real even where a covariance is
    singular, and rounding below 0 is cut off. No general matrix root is needed.
    """
    values, vectors = np.linalg.eigh(sigma1.astype(np.float64))
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    inner = root @ sigma2.astype(np.float64) @ root
    shared = np.sqrt(np.linalg.eigvalsh((inner + inner.T) / 2).clip(min=0)).sum()
    distance = np.sum((mu1 - mu2) ** 2) + np.trace(sigma1) + np.trace(sigma2) - 2 * shared
    return max(0.0, float(distance))


def fid(first: Array, second: Array) -> FID:
    """FID between features, float64 [N, D] and [M, D], of two sets.

    With no more samples than dimensions a covariance is singular and the value too high by an amount that depends on the number
    of samples: the note says so, and only values of equal numbers can be compared.
    """
    fewest, dimensions = min(len(first), len(second)), first.shape[1]
    if fewest < 2:
        return FID(None, f"FID is not defined for {fewest} samples; at least 2 are needed")
    note = "" if fewest > dimensions else f"{fewest} samples for {dimensions} dimensions: biased upwards"
    return FID(frechet_distance(*statistics(first), *statistics(second)), note)
