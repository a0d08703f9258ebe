"""Random streams, one a purpose, so that adding one never moves another."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


def generator(seed: int, purpose: str) -> np.random.Generator:
    """The generator of one purpose (``"image noise"``, ``"sampler"``, …), seeded by (seed ≥ 0, SHA-256 of the purpose)."""
    digest = np.frombuffer(hashlib.sha256(purpose.encode()).digest(), dtype="<u4")
    return np.random.Generator(np.random.PCG64([seed, *digest.tolist()]))


def torch_normal(shape: tuple[int, ...], seed: int, purpose: str) -> Tensor:
    """Standard normal numbers, float32, on the CPU: move them afterwards, so that every device sees the same noise."""
    import torch

    return torch.from_numpy(generator(seed, purpose).standard_normal(shape, dtype=np.float32))
