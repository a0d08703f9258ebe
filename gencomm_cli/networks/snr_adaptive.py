"""The SNR-adaptive module: features scaled by what the SNR says of each of them (LRISC, section III-A.3; Yang et al., 2024)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

MODULATIONS = 7
SCALE = 10.0
"""A network gets the SNR in units of so many dB."""


class Modulation(nn.Sequential):
    """SM: three fully connected layers from an SNR [..., 1] to factors in 0 … 1 [..., width]."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Linear(1, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.Sigmoid())


class SnrAdaptive(nn.Module):
    """8 fully connected layers that alternate with 7 modulations; what comes out gates the features.

        x ─┬─► FC ─► ⊙ ─► FC ─► ⊙ ─► … ─► FC ─► ⊙ ─► FC ─► σ ─┐
           │          ▲          ▲                  ▲           ▼
           │   SNR ─► SM  SNR ─► SM          SNR ─► SM          │
           └───────────────────────────────────────────────────⊙──► x ⊙ gate

    The last layer starts at zero, so every gate starts at ½.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        sizes = [channels, *[width] * MODULATIONS]
        self.layers = nn.ModuleList(nn.Linear(before, width) for before in sizes[:-1])
        self.modulations = nn.ModuleList(Modulation(width) for _ in range(MODULATIONS))
        self.last = nn.Linear(width, channels)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, snr_db: Tensor) -> Tensor:
        """Features x [..., C] under an SNR in dB each [...] → [..., C]."""
        scaled = snr_db[..., None] / SCALE
        h = x
        for layer, modulation in zip(self.layers, self.modulations, strict=True):
            h = layer(h) * modulation(scaled)
        return x * torch.sigmoid(self.last(h))
