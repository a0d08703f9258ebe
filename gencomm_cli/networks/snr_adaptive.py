"""Features scaled by what the SNR, or the rate, says of each of them: LRISC's module, and the ModNet that it is after."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from gencomm_cli.networks.layers import named, zeroed

MODULATIONS = 7
SCALE = 10.0
"""A network gets the SNR in units of so many dB."""


class Modulation(nn.Sequential):
    """SM: three fully connected layers from an SNR [..., 1] to factors in 0 … 1 [..., width]."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Linear(1, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.Sigmoid())


def modnet(dim: int) -> tuple[nn.ModuleList, nn.ModuleList]:
    """7 modulations and 8 linear layers, as SwinJSCC's authors have them (Yang et al., 2024)."""
    width = int(1.5 * dim)
    modulations = nn.ModuleList(named(fc=Modulation(width)) for _ in range(MODULATIONS))
    return modulations, nn.ModuleList(nn.Linear(*pair) for pair in pairwise([dim, *[width] * MODULATIONS, dim]))


def gates(modulations: nn.ModuleList, layers: nn.ModuleList, x: Tensor, value: Tensor) -> Tensor:
    """What a ModNet multiplies the features [B, rows, columns, C] by, for an SNR in dB or a rate in channels [B]."""
    y = x
    for modulation, layer in zip(modulations, layers, strict=False):  # one linear layer more than modulations
        y = layer(y) * modulation(value[:, None].to(x))[:, None, None]
    return torch.sigmoid(layers[-1](y))


class SnrAdaptive(nn.Module):
    """LRISC's (section III-A.3): 8 fully connected layers that alternate with 7 modulations; what comes out gates the features.

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
        self.last = zeroed(nn.Linear(width, channels))

    def forward(self, x: Tensor, snr_db: Tensor) -> Tensor:
        """Features x [..., C] under an SNR in dB each [...] → [..., C]."""
        scaled = snr_db[..., None] / SCALE
        h = x
        for layer, modulation in zip(self.layers, self.modulations, strict=True):
            h = layer(h) * modulation(scaled)
        return x * torch.sigmoid(self.last(h))
