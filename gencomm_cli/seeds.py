"""Random streams, one a purpose, so that adding one never moves another."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def generator(seed: int, purpose: str) -> np.random.Generator:
    """The generator of one purpose (``"image noise"``, ``"sampler"``, …), seeded by (seed ≥ 0, SHA-256 of the purpose)."""
    digest = np.frombuffer(hashlib.sha256(purpose.encode()).digest(), dtype="<u4")
    return np.random.Generator(np.random.PCG64([seed, *digest.tolist()]))


def torch_normal(shape: tuple[int, ...], seed: int, purpose: str, device: torch.device | None = None) -> Tensor:
    """Standard normal numbers, float32: drawn on the CPU, so that every device sees the same noise, then moved to ``device``."""
    import torch

    drawn = torch.from_numpy(generator(seed, purpose).standard_normal(shape, dtype=np.float32))
    if device is None or device.type != "cuda":
        return drawn.to(device)
    return drawn.pin_memory().to(device, non_blocking=True)  # from other memory the copy would wait for all that runs there
