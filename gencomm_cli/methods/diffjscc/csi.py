"""What DiffJSCC's control module is told of the channel (paper 001, section II-C2); the MLP behind it is the module's own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gencomm_cli.networks.rate_adaptive import sinusoid


@dataclass(frozen=True)
class CsiEmbedding:
    """γ and h as a vector: a sinusoid of ``scale`` · γ − ``minimum`` (γ in dB), then Re h and Im h.

    Attributes:
        width: of the sinusoid. gain: whether h follows it.

    The authors' program: width 320, scale 100, the least SNR of training as minimum (which it does not scale), no gain.
    """

    width: int = 320
    scale: float = 100.0
    minimum: float = 0.0
    gain: bool = True

    @property
    def size(self) -> int:
        """Numbers in the vector: ``csi_width`` of the control module."""
        return self.width + 2 * self.gain

    def __call__(self, snr_db: Tensor, gain: Tensor) -> Tensor:
        """[B, size] of γ in dB [B] and h complex [B]."""
        told = sinusoid(self.scale * snr_db - self.minimum, self.width)
        return torch.cat([told, torch.view_as_real(gain)], 1) if self.gain else told
